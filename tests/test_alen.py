"""The attention network: its size, its ablations, and what its output is made of."""

import dataclasses
from typing import Literal

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from alen.cfa import (
    CFA,
    XTRANS_PLANES,
    FilterArray,
    mosaic_from_rgb,
    pack,
    pack_xtrans,
    xtrans_places,
    xtrans_reference,
)
from alen.color import eotf_inverse_srgb
from alen.config import DEMOSAICKED, PYRAMID, PYRAMID_CEILING, PYRAMID_NOISE, AlenConfig
from alen.demosaic import demosaic_malvar, xtrans_kernels
from alen.errors import SettingsError
from alen.models.alen import Alen, pyramid
from alen.models.attention import NonLocal
from alen.models.layers import compress_highlights, eotf_srgb, expand_highlights

_ABLATIONS = {
    "backbone": AlenConfig(downsample="max", channel_attention=False, spatial_attention=False),
    "channel attention": AlenConfig(downsample="max", spatial_attention=False),
    "mixed attention": AlenConfig(downsample="max"),
    "inverted shuffle": AlenConfig(),
    "strided": AlenConfig(downsample="strided"),
    "inverted shuffle alone": AlenConfig(channel_attention=False, spatial_attention=False),
    "with a base": dataclasses.replace(AlenConfig.shipped(), widths=AlenConfig().widths, unshuffle=1),
    "shipped": AlenConfig.shipped(),
    "gaussian": AlenConfig(pairwise="gaussian"),
    "dot product": AlenConfig(pairwise="dot_product"),
    "concatenation": AlenConfig(pairwise="concatenation"),
}
"""The paper's ablations, cumulative, and what else a configuration can say."""

every_ablation = pytest.mark.parametrize("config", _ABLATIONS.values(), ids=_ABLATIONS.keys())


def _small(config: AlenConfig) -> Alen:
    torch.manual_seed(0)
    return Alen(dataclasses.replace(config, widths=(4, 8, 8, 16)))


def _perturbed(network: Alen) -> Alen:
    """Move every parameter a little, so that none is zero by initialization."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in network.parameters():
            p += 0.05 * torch.randn(p.shape, generator=generator)
    return network


def _planes(n: int, h: int, w: int) -> Tensor:
    return torch.rand((n, 4, h, w), generator=torch.Generator().manual_seed(3)) * 1.5 - 0.1


@pytest.mark.parametrize(
    ("config", "count"),
    [
        (AlenConfig(), 2_771_316),
        (AlenConfig(downsample="max"), 2_685_076),
        (AlenConfig.shipped(), 2_837_808),
        (AlenConfig.fast(), 1_080_336),
        # without θ and φ, C → C/4 with biases at 32, 64 and 128 channels
        (AlenConfig(pairwise="gaussian"), 2_771_316 - 2 * sum(c // 4 * (c + 1) for c in (32, 64, 128))),
        (AlenConfig(pairwise="dot_product"), 2_771_316),
        (AlenConfig(pairwise="concatenation"), 2_771_316 + 2 * sum(c // 4 for c in (32, 64, 128))),  # + w
    ],
)
def test_parameter_count_of_the_paper(config: AlenConfig, count: int) -> None:
    assert sum(p.numel() for p in Alen(config).parameters()) == count


@pytest.mark.parametrize(("h", "w"), [(8, 24), (6, 14), (2, 2), (18, 40)])
@pytest.mark.parametrize("config", [AlenConfig(cfa="xtrans", input_levels="sid"), AlenConfig.xtrans()])
def test_xtrans_takes_nine_planes_and_whole_patterns(h: int, w: int, config: AlenConfig) -> None:
    network = _perturbed(_small(config))
    planes = torch.rand((2, 9, h, w), generator=torch.Generator().manual_seed(3))
    with torch.inference_mode():
        pictures = network(planes)
        assert pictures.shape == (2, 3, 3 * h, 3 * w)
        torch.testing.assert_close(pictures, torch.cat([network(frame[None]) for frame in planes]))
    assert torch.isfinite(pictures).all()


@pytest.mark.parametrize("base", ["none", "mixtures"])
def test_odd_sizes_are_continued_by_their_edge_and_cropped(base: Literal["none", "mixtures"]) -> None:
    config = dataclasses.replace(AlenConfig.shipped(), base=base, demosaicking="formulas")
    network, planes = _perturbed(_small(config)), _planes(1, 13, 16)
    with torch.inference_mode():
        by_hand = network(torch.cat([planes, planes[:, :, -1:].expand(-1, -1, 3, -1)], dim=2))
        torch.testing.assert_close(network(planes), by_hand[:, :, :26])


def test_attention_is_a_small_part() -> None:
    sizes = {name: sum(p.numel() for p in Alen(config).parameters()) for name, config in _ABLATIONS.items()}
    assert sizes["backbone"] < sizes["channel attention"] < sizes["mixed attention"] < sizes["inverted shuffle"]
    assert sizes["inverted shuffle"] < sizes["with a base"] < sizes["inverted shuffle"] + 2500


@every_ablation
def test_gradients_reach_every_parameter(config: AlenConfig) -> None:
    network = _perturbed(_small(config))
    for module in network.modules():  # a ReLU that is shut between all positions of so small a network passes nothing
        if isinstance(module, NonLocal) and config.pairwise == "concatenation":
            nn.init.constant_(module.weigh.weight, 0.1)
            nn.init.ones_(module.query.bias)
    network(_planes(2, 80, 136)).square().sum().backward()  # large enough for more than one key at every scale
    without = {name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()}
    # a softmax over the keys does not see what all scores of a row have in common; rounding may leave it exactly zero
    assert {name for name in without if not name.endswith("spatial.key.bias")} == set()


@every_ablation
@pytest.mark.parametrize(("h", "w"), [(8, 8), (40, 24), (56, 88)])  # pooled features of 1, of 3 × 5 and of 7 × 11
def test_sizes_and_batches(config: AlenConfig, h: int, w: int) -> None:
    network, planes = _perturbed(_small(config)), _planes(3, h, w)
    with torch.inference_mode():
        pictures = network(planes)
        one_by_one = torch.cat([network(frame[None]) for frame in planes])
    assert pictures.shape == (3, 3, 2 * h, 2 * w)
    assert pictures.dtype == torch.float32
    assert torch.isfinite(pictures).all()
    torch.testing.assert_close(pictures, one_by_one, rtol=1e-4, atol=1e-5)


def test_gates_that_start_as_the_identity() -> None:
    """With scale 2 the untrained network is the one without gates."""
    config = AlenConfig(gate_scale=2.0)
    gated, plain = _small(config), _small(dataclasses.replace(config, channel_attention=False))
    plain.load_state_dict({name: value for name, value in gated.state_dict().items() if ".gate." not in name})
    planes = _planes(2, 16, 16)
    with torch.inference_mode():
        torch.testing.assert_close(gated(planes), plain(planes), rtol=0, atol=0)


def test_published_gates_start_near_a_half() -> None:
    with torch.inference_mode():
        gates = Alen().stem.gate.gate(torch.rand(1, 16, 8, 8))  # type: ignore[union-attr, operator]
    assert 0.3 < float(gates.mean()) < 0.7


def test_input_stack() -> None:
    network = Alen(AlenConfig(brightness=(0.5, 2.0)))
    planes = torch.tensor([-0.8, 0.1, 0.7, 40.0]).reshape(1, 4, 1, 1)
    expected = torch.tensor([-0.4, 0.05, 0.35, 1.0, -1.0, 0.2, 1.0, 1.0]).reshape(1, 8, 1, 1)
    torch.testing.assert_close(network.expose(planes), expected)
    assert Alen().stem.conv1.in_channels == 16


def _head(painted: float, weight: float, h: int, w: int) -> Tensor:
    return torch.cat([torch.full((1, 12, h, w), painted), torch.full((1, 4, h, w), weight)], dim=1)


def _demosaicked(planes: Tensor) -> NDArray[np.float32]:
    """Demosaicked as the base is: what is above white as its fourth root."""
    values = planes[0].numpy()
    above = demosaic_malvar(np.where(values > 1, np.maximum(values, 1) ** np.float32(0.25), values))
    return np.where(above > 1, above**4, above)


def _shares(config: AlenConfig, share: int, h: int, w: int) -> Tensor:
    """A head that paints nothing and gives luma and color one of the pictures alone."""
    head = torch.zeros(1, config.head_channels, h, w)
    for mixture in (0, DEMOSAICKED + len(PYRAMID)):
        head[:, config.picture_channels + mixture + share] = 60.0
    return head


@pytest.mark.parametrize("value", [-3.0, 0.0, 0.5, 1.0, 1.5, 300.0])
def test_highlights_come_back(value: float) -> None:
    compressed = compress_highlights(torch.tensor(value))
    assert compressed.item() == pytest.approx(value if value <= 1 else value**0.25)
    assert expand_highlights(compressed).item() == pytest.approx(value, rel=1e-5)


@pytest.mark.parametrize("share", range(DEMOSAICKED))
def test_no_filter_undershoots_beside_a_lamp(share: int) -> None:
    network, planes = Alen(AlenConfig(base="mixtures")), torch.full((1, 4, 16, 16), 0.1)
    planes[:, :, 4:12, 8:] = 300.0
    picture = eotf_srgb(network.compose(_shares(network.config, share, 16, 16), planes))
    assert picture.min() > -2  # without the root -75 and less
    assert 250 < picture.max() < 1500


def test_a_weight_of_one_shows_the_demosaicked_input() -> None:
    network, planes = Alen(AlenConfig(base="demosaic")), _planes(1, 7, 11)
    picture = network.compose(_head(0.0, 60.0, 7, 11), planes)[0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(picture, eotf_inverse_srgb(_demosaicked(planes)), atol=1e-5)


def test_a_weight_of_zero_shows_the_paint() -> None:
    network = Alen(AlenConfig(base="demosaic"))
    picture = network.compose(_head(0.25, -60.0, 7, 11), _planes(1, 7, 11))
    torch.testing.assert_close(picture, torch.full((1, 3, 14, 22), 0.25))


def test_weights_are_per_pixel() -> None:
    """The four weight channels are the pixels (0, 0), (0, 1), (1, 0), (1, 1) of a cell, the same for all colors."""
    network, planes = Alen(AlenConfig(base="demosaic")), _planes(1, 2, 2)
    head = _head(0.0, -60.0, 2, 2)
    head[:, 13] = 60.0
    picture = network.compose(head, planes)
    shown = picture.abs() > 1e-9
    assert shown[:, :, 0::2, 1::2].all()
    assert not shown[:, :, 1::2].any()
    assert not shown[:, :, :, 0::2].any()


@pytest.mark.parametrize("level", [1, 2, 3, 4])
@pytest.mark.parametrize("size", [(7, 11), (40, 56), (136, 200)])
@pytest.mark.parametrize("cfa", ["bayer", "xtrans"])
def test_pyramid_averages_squares(level: int, size: tuple[int, int], cfa: FilterArray) -> None:
    """Averages of averages, clipped above the noise and continued bilinearly; written out in numpy."""
    config = AlenConfig(cfa=cfa)
    planes, side = 4 * torch.randn(1, config.plane_count, *size), PYRAMID[level - 1]
    planes[:, :, 3, 3] = 200.0
    average = pyramid(planes, config)[level - 1][0].numpy()
    assert average.shape == (3, *size)
    colors = ("R", "G", "G", "B") if cfa == "bayer" else XTRANS_PLANES
    squares = np.stack([planes[0, [c == color for c in colors]].mean(dim=0) for color in "RGB"])
    for smaller, larger in zip((1, *PYRAMID), PYRAMID[:level], strict=False):
        step = larger // smaller
        rows, columns = (-(-n // step) for n in squares.shape[1:])
        means = np.empty((3, rows, columns))
        for y, x in np.ndindex(rows, columns):
            means[:, y, x] = squares[:, y * step : (y + 1) * step, x * step : (x + 1) * step].mean(axis=(1, 2))
        squares = means.copy()
        for y, x in np.ndindex(rows, columns):
            first, last = ((n * larger // 64 * 64 // larger, -(-64 // larger)) for n in (y, x))
            around = means[:, first[0] : first[0] + first[1], last[0] : last[0] + last[1]]
            ceiling = PYRAMID_CEILING + PYRAMID_NOISE * np.maximum(-around, 0).mean(axis=(1, 2))
            squares[:, y, x] = np.minimum(means[:, y, x], ceiling)
    for y, x in ((0, 0), (size[0] - 1, size[1] - 1), (size[0] // 2, size[1] // 3)):
        at = [np.clip((n + 0.5) / side - 0.5, 0, count - 1) for n, count in ((y, rows), (x, columns))]
        low = [int(a) for a in at]
        high = [min(a + 1, count - 1) for a, count in zip(low, (rows, columns), strict=True)]
        fy, fx = at[0] - low[0], at[1] - low[1]
        top = squares[:, low[0], low[1]] * (1 - fx) + squares[:, low[0], high[1]] * fx
        bottom = squares[:, high[0], low[1]] * (1 - fx) + squares[:, high[0], high[1]] * fx
        np.testing.assert_allclose(average[:, y, x], top * (1 - fy) + bottom * fy, atol=1e-5)


def test_lamps_light_no_square_but_their_own() -> None:
    planes = torch.zeros(1, 4, 128, 128)
    planes[:, :, 2, 2] = 300.0
    finest, fine, middle, coarse = (average[0, :, :, :] for average in pyramid(planes, AlenConfig()))
    assert finest.max() == pytest.approx(PYRAMID_CEILING * 0.75**2)
    assert fine.max() <= PYRAMID_CEILING / 4
    assert middle.max() <= PYRAMID_CEILING / 64
    assert coarse.max() <= PYRAMID_CEILING / 1024


@pytest.mark.parametrize("deviation", [0.0, 0.5, 3.0, 20.0])
def test_noise_does_not_darken_averages(deviation: float) -> None:
    """Of frames darker than their noise: all sizes have the mean they should have, within four standard errors."""
    rng = np.random.default_rng(0)
    planes = torch.from_numpy(rng.normal(0.1, deviation, (1, 4, 256, 256)).astype(np.float32))
    for average in pyramid(planes, AlenConfig()):
        means = average[0].mean(dim=(1, 2)).numpy()
        np.testing.assert_allclose(means, 0.1, atol=4 * deviation / 256 + 1e-5)


def test_mixture_shows_what_it_is_told() -> None:
    network, planes = Alen(AlenConfig(base="mixtures")), _planes(1, 40, 56)

    def shown(share: int) -> Tensor:
        return network.compose(_shares(network.config, share, 40, 56), planes)

    malvar = shown(0)[0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(malvar, eotf_inverse_srgb(_demosaicked(planes)), atol=1e-5)
    transposed = planes[:, [0, 2, 1, 3]].transpose(2, 3)
    columns = network.compose(_shares(network.config, 1, 56, 40), transposed)
    torch.testing.assert_close(shown(2), columns.transpose(2, 3), atol=1e-5, rtol=0)
    for level, average in enumerate(pyramid(planes, network.config)):
        expected = average.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
        picture = shown(DEMOSAICKED + level).numpy()
        np.testing.assert_allclose(picture, eotf_inverse_srgb(expected.numpy()), atol=2e-6)


@pytest.mark.parametrize("config", [AlenConfig(base="mixtures"), AlenConfig.xtrans()], ids=["bayer", "xtrans"])
def test_luma_of_one_mixture_and_color_of_the_other(config: AlenConfig) -> None:
    """Luma (R + 2 G + B) / 4 of the one, color differences of the other, smaller where its luma is larger; linear."""
    network, count = Alen(config), DEMOSAICKED + len(PYRAMID)
    generator = torch.Generator().manual_seed(3)
    planes = torch.rand(1, config.plane_count, 12, 20, generator=generator)
    pictures = [eotf_srgb(network.compose(_shares(config, share, 12, 20), planes)) for share in range(count)]
    weight = 2 * torch.randn(1, 2 * count, 12, 20, generator=generator)
    head = torch.cat([torch.zeros(1, config.picture_channels, 12, 20), weight], dim=1)

    def mixture(logits: Tensor) -> Tensor:
        shares = logits.exp() / logits.exp().sum(dim=1, keepdim=True)
        pixels = shares.repeat_interleave(config.shuffle, 2).repeat_interleave(config.shuffle, 3)
        return sum((pixels[:, [i]] * picture for i, picture in enumerate(pictures)), torch.zeros(()))

    of_luma, color = mixture(weight[:, :count]), mixture(weight[:, count:])
    luma, own = ((p[:, [0]] + 2 * p[:, [1]] + p[:, [2]]) / 4 for p in (of_luma, color))
    assert (luma > own + 0.1).any()
    assert (luma < own - 0.1).any()
    shrunk = ((luma.clamp(min=0) + 0.02) / (own.clamp(min=0) + 0.02)).clamp(max=1)
    expected = luma + shrunk * (color - own)
    torch.testing.assert_close(eotf_srgb(network.compose(head, planes)), expected, atol=2e-5, rtol=0)


def test_the_base_alone_is_the_picture_without_paint() -> None:
    network = _small(AlenConfig(base="mixtures"))
    planes = _planes(1, 16, 24)
    with torch.no_grad():
        picture, base = network.with_base(planes)
        torch.testing.assert_close(picture, network(planes))
        assert (picture - base).abs().max() > 1e-3
        network.head.weight[:12], network.head.bias[:12] = 0, 0
        torch.testing.assert_close(base, network(planes), atol=1e-5, rtol=0)


@pytest.mark.parametrize("share", range(DEMOSAICKED))
def test_an_xtrans_mixture_shows_what_it_is_told(share: int) -> None:
    """Every pixel as the direction's filters predict it, the sites counted in the mosaic; flat colors stay flat."""
    network = Alen(AlenConfig.xtrans())
    rng = np.random.default_rng(0)
    mosaic = rng.uniform(0, 1, (48, 60)).astype(np.float32)
    planes = torch.from_numpy(pack_xtrans(mosaic, xtrans_reference()))[None]
    picture = network.compose(_shares(network.config, share, 16, 20), planes)[0].detach().permute(1, 2, 0).numpy()
    kernels = xtrans_kernels(("isotropic", "rows", "columns")[share])
    places = {place: 4 * plane + 2 * y + x for plane, (y, x), place in xtrans_places()}
    for y, x in ((6, 6), (20, 33), (41, 53)):  # a pattern away from the edge
        top, left = y // 6 * 6 - 6, x // 6 * 6 - 6
        for color in range(3):
            channel = 4 * (9 * color + 3 * (y % 3) + x % 3) + 2 * (y % 6 // 3) + x % 6 // 3
            expected = sum(
                kernels[channel, places[row % 6, column % 6], row // 6, column // 6] * mosaic[top + row, left + column]
                for row in range(18)
                for column in range(18)
            )
            assert picture[y, x, color] == pytest.approx(float(eotf_inverse_srgb(np.float32(expected))), abs=1e-5)


def test_xtrans_of_one_color_stays_so_up_to_the_edge() -> None:
    network, color = Alen(AlenConfig.xtrans()), np.array([0.3, 0.7, 0.1], dtype=np.float32)
    mosaic = mosaic_from_rgb(np.broadcast_to(color, (36, 48, 3)), xtrans_reference())
    planes = torch.from_numpy(pack_xtrans(mosaic, xtrans_reference()))[None]
    for share in range(DEMOSAICKED + len(PYRAMID)):
        picture = network.compose(_shares(network.config, share, 12, 16), planes)[0].detach().permute(1, 2, 0).numpy()
        np.testing.assert_allclose(picture, np.broadcast_to(eotf_inverse_srgb(color), picture.shape), atol=1e-5)


_LEARNED = [AlenConfig.fast(), AlenConfig.xtrans()]


@pytest.mark.parametrize("config", _LEARNED, ids=["bayer", "xtrans"])
def test_learned_filters_start_as_the_formulas(config: AlenConfig) -> None:
    learned, formulas = _small(config), _small(dataclasses.replace(config, demosaicking="formulas"))
    formulas.load_state_dict(learned.state_dict(), strict=False)
    planes = torch.rand(1, config.plane_count, 16, 24, generator=torch.Generator().manual_seed(3))
    with torch.inference_mode():
        torch.testing.assert_close(learned(planes), formulas(planes), atol=0, rtol=0)
    assert {*learned.state_dict()} - {*formulas.state_dict()} == {"isotropic", "along_rows", "along_columns"}


@pytest.mark.parametrize("config", _LEARNED, ids=["bayer", "xtrans"])
def test_balanced_filters_keep_flat_colors(config: AlenConfig) -> None:
    """Whatever they have learned, and no further from it than they have to be: balanced again, nothing moves."""
    network, cfa = _perturbed(_small(config)), xtrans_reference() if config.cfa == "xtrans" else CFA.bayer("RGGB")
    color = np.array([0.3, 0.7, 0.1], dtype=np.float32)
    mosaic = mosaic_from_rgb(np.broadcast_to(color, (36, 48, 3)), cfa)
    planes = torch.from_numpy(pack_xtrans(mosaic, cfa) if config.cfa == "xtrans" else pack(mosaic, cfa))[None]

    def worst() -> float:
        pictures = (
            network.compose(_shares(config, share, *planes.shape[2:]), planes)[0] for share in range(DEMOSAICKED)
        )
        wanted = torch.from_numpy(eotf_inverse_srgb(color))[:, None, None]
        with torch.inference_mode():
            return max(float((picture - wanted).abs().max()) for picture in pictures)

    assert worst() > 0.01
    network.balance_filters()
    assert worst() < 1e-5
    before = network.along_rows.detach().clone()
    network.balance_filters()
    torch.testing.assert_close(network.along_rows.detach(), before, atol=1e-6, rtol=0)


def test_the_last_level_is_what_no_other_level_needs() -> None:
    network = _small(AlenConfig.fast())
    last = {id(parameter) for parameter in network.last_level()}
    names = {name.split(".")[0] for name, parameter in network.named_parameters() if id(parameter) in last}
    assert names == {"up0", "decode0", "head", "isotropic", "along_rows", "along_columns"}


def test_without_a_base_the_head_is_the_picture() -> None:
    head = torch.arange(12.0).reshape(1, 12, 1, 1)
    picture = Alen().compose(head, _planes(1, 1, 1))
    assert picture.flatten(2).tolist() == [[[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]]


def test_the_pairwise_function_changes_nothing_by_default() -> None:
    names = set(Alen(AlenConfig()).state_dict())
    assert names == set(Alen(AlenConfig(pairwise="embedded_gaussian")).state_dict())
    assert {f"encode{n}.spatial.{part}.weight" for n in (1, 2, 3) for part in ("query", "key", "value")} < names


@pytest.mark.parametrize("bfloat16", [False, True])
def test_large_features_do_not_overflow_the_gaussian(bfloat16: bool) -> None:
    """Scores of raw features reach thousands; exp of them written out is infinite."""
    network = _small(AlenConfig(pairwise="gaussian"))
    block = network.encode2.spatial
    assert block is not None
    x = 40 * torch.randn((1, 8, 16, 16), generator=torch.Generator().manual_seed(2))
    with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        y = block(x.requires_grad_())
    y.float().square().sum().backward()
    assert (x.detach()[0].square().sum(dim=0).max() > 2000).item()
    assert x.grad is not None
    assert y.isfinite().all()
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("config", [AlenConfig(), AlenConfig.shipped()], ids=["paper", "shipped"])
def test_bf16_runs_and_returns_float32(config: AlenConfig) -> None:
    network, planes = _small(config), _planes(2, 16, 24)
    with torch.inference_mode():
        expected = network(planes)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            picture = network(planes)
    assert picture.dtype == torch.float32
    torch.testing.assert_close(picture, expected, atol=0.03, rtol=0.05)


def test_the_base_is_not_rounded_by_bf16() -> None:
    network, planes = Alen(AlenConfig(base="demosaic")), _planes(1, 8, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        picture = network.compose(_head(0.0, 60.0, 8, 8).bfloat16(), planes)
    torch.testing.assert_close(picture, network.compose(_head(0.0, 60.0, 8, 8), planes), rtol=0, atol=0)


def test_constants_are_not_weights() -> None:
    assert not {"brightness", "demosaic"} & set(Alen().state_dict())


def test_unshuffling_further_loses_nothing() -> None:
    """The stack holds every value of the planes at every brightness: position (y, x) of a square is channel 2y + x."""
    network = Alen(AlenConfig(unshuffle=2, brightness=(1.0, 0.5)))
    planes = _planes(2, 24, 40)
    stack = network.expose(planes)  # (2, 2 · 16, 12, 20)
    assert stack.shape == (2, 32, 12, 20)
    for copy, factor in enumerate((1.0, 0.5)):
        for plane in range(4):
            for y, x in ((0, 0), (0, 1), (1, 0), (1, 1)):
                seen = stack[:, 16 * copy + 4 * plane + 2 * y + x]
                torch.testing.assert_close(seen, (planes[:, plane, y::2, x::2] * factor).clamp(-1, 1))


@pytest.mark.parametrize("unshuffle", [1, 2])
def test_pictures_move_with_the_frame(unshuffle: int) -> None:
    """By the halvings' step; so the packed pixels that are made together are put where they belong."""
    step = 8 * unshuffle
    config = AlenConfig(unshuffle=unshuffle, channel_attention=False, spatial_attention=False, base="demosaic")
    network = _perturbed(_small(config)).eval()
    planes = _planes(1, 15 * step, 15 * step)
    with torch.inference_mode():
        whole, moved = network(planes), network(planes[:, :, step:, step:])
    inner = slice(12 * step, -12 * step)  # beyond it, the convolutions see the edge of the frame that moved
    torch.testing.assert_close(
        whole[:, :, 2 * step :, 2 * step :][:, :, inner, inner], moved[:, :, inner, inner], atol=2e-5, rtol=1e-4
    )


@pytest.mark.parametrize("shape", [(4, 8, 8), (1, 1, 4, 8, 8), (1, 3, 8, 8), (1, 9, 8, 8)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(SettingsError, match=r"\(N, 4, h, w\)"):
        _small(AlenConfig.shipped())(torch.zeros(shape))


@pytest.mark.parametrize(("h", "w"), [(7, 8), (8, 7)])
def test_parts_of_xtrans_patterns_are_refused(h: int, w: int) -> None:
    with pytest.raises(SettingsError, match=f"even sides.*{h} × {w}"):
        _small(AlenConfig.xtrans())(torch.zeros(1, 9, h, w))


@every_ablation
def test_sizes_can_be_told_without_computing(config: AlenConfig) -> None:
    """As programs that count operations do."""
    assert _small(config).to("meta")(torch.empty(2, 4, 13, 22, device="meta")).shape == (2, 3, 26, 44)

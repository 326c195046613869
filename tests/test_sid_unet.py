"""The See-in-the-Dark baseline: its size, its interface, and how the authors' layout maps onto ours."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F

from alen.config import SidUnetConfig
from alen.errors import SettingsError
from alen.models.sid_unet import SidUnet

_SMALL = SidUnetConfig(widths=(4, 4, 8, 8, 12))


def _planes(n: int, h: int, w: int) -> torch.Tensor:
    return torch.rand((n, 4, h, w), generator=torch.Generator().manual_seed(3)) * 1.5 - 0.1


def test_parameter_count() -> None:
    assert sum(p.numel() for p in SidUnet().parameters()) == 7_760_268


@pytest.mark.parametrize(("h", "w"), [(16, 32), (7, 13), (17, 31), (1, 1)])
def test_any_size(h: int, w: int) -> None:
    with torch.inference_mode():
        picture = SidUnet(_SMALL)(_planes(1, h, w))
    assert picture.shape == (1, 3, 2 * h, 2 * w)
    assert picture.dtype == torch.float32
    assert torch.isfinite(picture).all()


@pytest.mark.parametrize(("h", "w"), [(16, 32), (7, 13), (17, 31)])
def test_xtrans_takes_nine_planes_and_any_size(h: int, w: int) -> None:
    network = SidUnet(dataclasses.replace(_SMALL, cfa="xtrans", input_levels="sid"))
    with torch.inference_mode():
        picture = network(torch.rand((2, 9, h, w), generator=torch.Generator().manual_seed(3)))
    assert picture.shape == (2, 3, 3 * h, 3 * w)
    assert torch.isfinite(picture).all()


@pytest.mark.parametrize("shape", [(4, 16, 16), (1, 3, 16, 16), (1, 9, 16, 16)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(SettingsError, match=r"\(N, 4, h, w\)"):
        SidUnet(_SMALL)(torch.zeros(shape))


def test_biases_of_the_ports() -> None:
    biased = SidUnet(dataclasses.replace(_SMALL, up_bias=True))
    assert sum(p.numel() for p in biased.parameters()) == sum(p.numel() for p in SidUnet(_SMALL).parameters()) + 24


def test_a_batch_is_its_frames() -> None:
    torch.manual_seed(0)
    network, planes = SidUnet(_SMALL), _planes(3, 19, 16)
    with torch.inference_mode():
        torch.testing.assert_close(network(planes), torch.cat([network(frame[None]) for frame in planes]))


def test_padding_repeats_the_edge() -> None:
    torch.manual_seed(0)
    network, planes = SidUnet(_SMALL), _planes(1, 13, 16)
    with torch.inference_mode():
        by_hand = network(torch.cat([planes, planes[:, :, -1:].expand(-1, -1, 3, -1)], dim=2))
        torch.testing.assert_close(network(planes), by_hand[:, :, :26])


def test_input_is_clipped_at_one_and_keeps_its_sign() -> None:
    torch.manual_seed(0)
    network, planes = SidUnet(_SMALL), _planes(1, 16, 16)
    with torch.inference_mode():
        torch.testing.assert_close(network(planes), network(planes.clamp_max(1)))
        assert not torch.equal(network(planes), network(planes.clamp(0, 1)))


def test_gradients_reach_every_parameter() -> None:
    network = SidUnet(_SMALL)
    network(_planes(2, 16, 16)).square().sum().backward()
    assert not [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]


def test_bf16_runs_and_returns_float32() -> None:
    torch.manual_seed(0)
    network, planes = SidUnet(_SMALL), _planes(1, 16, 16)
    with torch.inference_mode():
        expected = network(planes)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            picture = network(planes)
    assert picture.dtype == torch.float32
    torch.testing.assert_close(picture, expected, atol=0.02, rtol=0.05)


def test_the_authors_channel_orders() -> None:
    """``depth_to_space`` written out: channel 3·(2y + x) + c becomes color c of pixel (y, x)."""
    theirs = torch.rand(1, 12, 3, 5)
    blocks = theirs.reshape(1, 2, 2, 3, 3, 5)  # (N, y, x, c, h, w)
    picture = blocks.permute(0, 3, 4, 1, 5, 2).reshape(1, 3, 6, 10)
    assert torch.equal(F.pixel_shuffle(theirs[:, [0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11]], 2), picture)

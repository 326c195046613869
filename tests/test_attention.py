"""Attention against its formulas written out in loops, and the properties that follow from them."""

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from alen.errors import SettingsError
from alen.models.attention import ChannelGate, NonLocal, NonLocalBlock

_FORMS = [
    ("gaussian", "sum"),
    ("gaussian", "count"),
    ("embedded_gaussian", "sum"),
    ("embedded_gaussian", "count"),
    ("dot_product", "count"),
    ("concatenation", "sum"),
    ("concatenation", "count"),
]


def _features(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(5), dtype=dtype)


def _conv(layer: torch.nn.Conv2d, x: np.ndarray) -> np.ndarray:
    """A 1 × 1 convolution of (C, h, w), one position at a time."""
    weight, bias = layer.weight.detach().numpy()[:, :, 0, 0], layer.bias.detach().numpy()
    out = np.empty((weight.shape[0], *x.shape[1:]))
    for y, column in itertools.product(range(x.shape[1]), range(x.shape[2])):
        out[:, y, column] = weight @ x[:, y, column] + bias
    return out


def _max_pool(x: np.ndarray, side: int) -> np.ndarray:
    """Largest value of every cell of side × side pixels; cells at the lower and right edge may be smaller."""
    rows, columns = math.ceil(x.shape[1] / side), math.ceil(x.shape[2] / side)
    out = np.empty((x.shape[0], rows, columns))
    for y, column in itertools.product(range(rows), range(columns)):
        cell = x[:, y * side : (y + 1) * side, column * side : (column + 1) * side]
        out[:, y, column] = cell.max(axis=(1, 2))
    return out


def _naive(layer: NonLocal, x: np.ndarray, key_pool: int) -> np.ndarray:
    """y_i = W · 1/C Σ_j f(x_i, x_j) g(x_j) of (C, h, w) in float64, as the paper writes it."""
    embedded = layer.pairwise != "gaussian"
    theta = (_conv(layer.query, x) if embedded else x).reshape(-1, x.shape[1] * x.shape[2])
    phi = _max_pool(_conv(layer.key, x) if embedded else x, key_pool).reshape(theta.shape[0], -1)
    g = _max_pool(_conv(layer.value, x), key_pool).reshape(-1, phi.shape[1])
    y = np.zeros((g.shape[0], theta.shape[1]))
    for i in range(theta.shape[1]):
        normalizer = 0.0
        for j in range(phi.shape[1]):
            if layer.pairwise == "concatenation":
                f = max(float(layer.weigh.weight.detach().numpy()[0] @ np.concatenate([theta[:, i], phi[:, j]])), 0.0)
            elif layer.pairwise == "dot_product":
                f = float(theta[:, i] @ phi[:, j])
            else:
                f = math.exp(theta[:, i] @ phi[:, j])
            y[:, i] += f * g[:, j]
            normalizer += f
        if layer.normalization == "count":
            y[:, i] /= phi.shape[1]
        elif normalizer > 0:  # a position whose ReLUs are all shut sees nothing
            y[:, i] /= normalizer
    return _conv(layer.project, y.reshape(-1, *x.shape[1:]))


@pytest.mark.parametrize(("pairwise", "normalization"), _FORMS)
@pytest.mark.parametrize("key_pool", [1, 2, 3])
def test_the_formula(pairwise: Any, normalization: Any, key_pool: int) -> None:
    torch.manual_seed(0)
    layer = NonLocal(6, 4, pairwise=pairwise, normalization=normalization, key_pool=key_pool).double()
    x = 0.5 * _features(2, 6, 5, 7)
    with torch.inference_mode():
        y = layer(x).numpy()
    expected = np.stack([_naive(layer, frame, key_pool) for frame in x.numpy()])
    np.testing.assert_allclose(y, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("pairwise", ["gaussian", "embedded_gaussian", "concatenation"])
def test_rows_sum_to_one_over_the_keys(pairwise: Any) -> None:
    torch.manual_seed(0)
    layer = NonLocal(6, 4, pairwise=pairwise, normalization="sum", query_pool=2, key_pool=2).double()
    with torch.inference_mode():
        weights = layer.attention(_features(3, 6, 10, 14))
    assert weights.shape == (3, 5 * 7, 3 * 4)  # (N, queries, keys)
    seeing = weights.any(dim=2)  # a position whose ReLUs are all shut sees nothing
    assert seeing.all() if pairwise != "concatenation" else seeing.float().mean() > 0.5
    torch.testing.assert_close(weights.sum(dim=2), seeing.double())
    assert (weights >= 0).all()
    assert not torch.allclose(weights.sum(dim=1) / 35 * 12, torch.ones(3, 12, dtype=torch.float64))  # not the queries


@pytest.mark.parametrize(("pairwise", "normalization"), _FORMS)
def test_the_weights_shown_are_the_weights_used(pairwise: Any, normalization: Any) -> None:
    torch.manual_seed(0)
    layer = NonLocal(6, 4, pairwise=pairwise, normalization=normalization, key_pool=2).double()
    x = 0.5 * _features(2, 6, 6, 5)
    with torch.inference_mode():
        query, key, value = layer.project_inputs(x)
        torch.testing.assert_close(layer.attend(query, key, value), layer.attention(x) @ value)


def test_fused_equals_written_out() -> None:
    layer = NonLocal(8, 8, pairwise="gaussian")
    query, key, value = (_features(2, n, 8, dtype=torch.float32) for n in (301, 97, 97))
    with torch.inference_mode():
        fused = layer.attend(query, key, value)
        scores = query.double() @ key.double().transpose(1, 2)
        written = torch.softmax(scores, dim=2) @ value.double()
    torch.testing.assert_close(fused.double(), written, rtol=1e-5, atol=1e-5)


def test_positions_have_no_order() -> None:
    """Without pooling, a permutation of the positions permutes the result."""
    torch.manual_seed(0)
    layer = NonLocal(4).double()
    x = _features(1, 4, 5, 7)
    order = torch.randperm(35)
    with torch.inference_mode():
        shuffled = layer(x.flatten(2)[:, :, order].unflatten(2, (5, 7)))
        torch.testing.assert_close(shuffled.flatten(2), layer(x).flatten(2)[:, :, order])


def test_pooled_queries_are_means_and_their_results_are_repeated() -> None:
    torch.manual_seed(0)
    layer = NonLocal(4, 2, query_pool=2, key_pool=2, subsample="average").double()
    whole = NonLocal(4, 2, key_pool=2, subsample="average").double()
    whole.load_state_dict(layer.state_dict())
    x = _features(1, 4, 7, 13)  # cells at the lower and right edge hold one row or column
    pooled = torch.stack(
        [x[:, :, 2 * y : 2 * y + 2, 2 * c : 2 * c + 2].mean(dim=(2, 3)) for y in range(4) for c in range(7)], dim=2
    ).unflatten(2, (4, 7))
    with torch.inference_mode():
        expected = whole(pooled).repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)[:, :, :7, :13]
        torch.testing.assert_close(layer(x), expected)


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (16, 16), (23, 41)])
def test_key_grid_is_the_same_for_every_size(size: tuple[int, int]) -> None:
    layer = NonLocal(4, 2, key_grid=3).double()
    x = _features(1, 4, *size)
    with torch.inference_mode():
        assert layer(x).shape == x.shape
        assert layer.attention(x).shape == (1, size[0] * size[1], 9)


def test_key_grid_cells_are_means() -> None:
    torch.manual_seed(0)
    layer = NonLocal(4, 2, key_grid=3).double()
    x = _features(2, 4, 9, 15)
    with torch.inference_mode():
        _, key, value = layer.project_inputs(x)
        expected = layer.key(x).unflatten(2, (3, 3)).unflatten(4, (3, 5)).mean(dim=(3, 5))
        torch.testing.assert_close(key, expected.flatten(2).transpose(1, 2))
        assert value.shape == (2, 9, 2)


@pytest.mark.parametrize("normalization", ["sum", "count"])
@pytest.mark.parametrize("stretch", [1.0, 1e3])
def test_limited_products_are_cosines(normalization: Any, stretch: float) -> None:
    torch.manual_seed(0)
    limit = 1.0
    layer = NonLocal(6, 3, normalization=normalization, limit=limit, key_pool=2, subsample="average").double()
    x = _features(1, 6, 5, 7)
    with torch.inference_mode():
        found = layer(x)
        pooled = [F.avg_pool2d(f(x), 2, ceil_mode=True).flatten(2)[0].numpy() for f in (layer.key, layer.value)]
        (phi, g), theta = pooled, _conv(layer.query, x[0].numpy()).reshape(3, -1)
        cosines = np.array([[a @ b / np.linalg.norm(a) / np.linalg.norm(b) for b in phi.T] for a in theta.T])
        f = np.exp(limit * cosines)  # (35, 12)
        y = (f / (f.sum(axis=1, keepdims=True) if normalization == "sum" else f.shape[1])) @ g.T
        np.testing.assert_allclose(_conv(layer.project, y.T.reshape(3, 5, 7)), found[0].numpy(), rtol=1e-9, atol=1e-12)
        for embed in (layer.query, layer.key):  # longer vectors do not harden it
            embed.weight *= stretch
            embed.bias *= stretch
        torch.testing.assert_close(layer(x), found)
        most = 1 / (1 + 11 * np.exp(-2 * limit)) if normalization == "sum" else np.exp(limit) / 12
        assert layer.attention(x).amax() <= most


def test_limited_products_of_nothing_see_all_keys_alike() -> None:
    layer = NonLocal(4, 2, limit=4.0).double()
    with torch.inference_mode():
        layer.query.weight.zero_()
        layer.query.bias.zero_()
        torch.testing.assert_close(layer.attention(_features(1, 4, 3, 5)), torch.full((1, 15, 15), 1 / 15).double())


@pytest.mark.parametrize("pairwise", ["gaussian", "embedded_gaussian", "dot_product", "concatenation"])
@pytest.mark.parametrize("key_pool", [1, 2])
def test_block_starts_as_the_identity(pairwise: Any, key_pool: int) -> None:
    torch.manual_seed(0)
    block = NonLocalBlock(6, pairwise=pairwise, key_pool=key_pool)
    x = _features(3, 6, 5, 7, dtype=torch.float32)
    assert torch.equal(block(x), x)
    optimizer = torch.optim.SGD(block.parameters(), lr=0.1)
    (block(x) - 2 * x).square().mean().backward()
    optimizer.step()
    assert not torch.equal(block(x), x)


def test_block_is_a_residual_of_its_operation() -> None:
    torch.manual_seed(0)
    block = NonLocalBlock(6, key_pool=2)
    torch.nn.init.normal_(block.nonlocal_operation.project.weight)
    x = _features(1, 6, 5, 7, dtype=torch.float32)
    torch.testing.assert_close(block(x), x + block.nonlocal_operation(x))
    assert block.nonlocal_operation.value.out_channels == 3  # half of the channels, as in the paper


def test_key_pool_keeps_the_queries() -> None:
    layer = NonLocal(6, key_pool=2)
    query, key, value = layer.project_inputs(_features(1, 6, 5, 7, dtype=torch.float32))
    assert (query.shape[1], key.shape[1], value.shape[1]) == (35, 12, 12)


@pytest.mark.parametrize("pairwise", ["gaussian", "embedded_gaussian", "dot_product", "concatenation"])
def test_gradients_reach_every_parameter(pairwise: Any) -> None:
    torch.manual_seed(0)
    layer = NonLocal(6, 4, pairwise=pairwise, key_pool=2).double()
    layer(_features(2, 6, 6, 6)).square().sum().backward()
    without = {name for name, p in layer.named_parameters() if p.grad is None or not p.grad.abs().max() > 1e-12}
    # the key's bias adds the same number to a whole row of scores, which a softmax does not see
    assert without == ({"key.bias"} if pairwise == "embedded_gaussian" else set())


def test_refusals() -> None:
    with pytest.raises(SettingsError, match="count"):
        NonLocal(4, pairwise="dot_product", normalization="sum")
    with pytest.raises(SettingsError, match="both"):
        NonLocal(4, key_pool=2, key_grid=3)
    with pytest.raises(SettingsError, match="limited"):
        NonLocal(4, pairwise="dot_product", limit=4.0)
    with pytest.raises(SettingsError, match="reduced"):
        ChannelGate(6, reduction=4)


def test_gate_formula() -> None:
    torch.manual_seed(0)
    gate = ChannelGate(6, reduction=2, scale=1.0)
    x = _features(3, 6, 5, 7, dtype=torch.float32)
    expected = torch.empty_like(x)
    for n in range(3):
        squeezed = torch.stack([x[n, c].mean() for c in range(6)])
        hidden = F.relu(gate.squeeze.weight @ squeezed + gate.squeeze.bias)
        gains = 1 / (1 + torch.exp(-(gate.excite.weight @ hidden + gate.excite.bias)))
        for c in range(6):
            expected[n, c] = x[n, c] * gains[c]
    torch.testing.assert_close(gate(x), expected)
    assert ((gate.gate(x) > 0) & (gate.gate(x) < 1)).all()


def test_gate_of_scale_two_starts_as_the_identity() -> None:
    x = _features(3, 8, 5, 7, dtype=torch.float32)
    assert torch.equal(ChannelGate(8, scale=2.0)(x), x)
    assert not torch.equal(ChannelGate(8)(x), x)


def test_bounded_gates_stay_open() -> None:
    """Whatever the features, no gate leaves s·sigmoid(±limit), and where the logits are small the bound is not felt."""
    torch.manual_seed(0)
    gate, plain = ChannelGate(8, scale=2.0, limit=2.0), ChannelGate(8, scale=2.0)
    with torch.no_grad():
        gate.excite.weight.normal_()
    plain.load_state_dict(gate.state_dict())
    x = _features(3, 8, 5, 7, dtype=torch.float32)
    least, most = 2 * torch.sigmoid(torch.tensor([-2.0, 2.0]))
    shut = plain.gate(1000 * x)
    assert shut.min() < 1e-6
    open_gates = gate.gate(1000 * x)
    assert open_gates.min() >= least - 1e-6
    assert open_gates.max() <= most + 1e-6
    for both in (gate, plain):
        both.excite.weight.data *= 0.02
        both.excite.bias.data.zero_()
    torch.testing.assert_close(gate.gate(x), plain.gate(x), atol=1e-3, rtol=0)


def test_gate_of_a_large_frame_in_bf16() -> None:
    """A running sum in bf16 would stop growing after 256 equal values."""
    gate = ChannelGate(2)
    x = torch.ones(1, 2, 512, 512)
    with torch.inference_mode():
        expected = gate.gate(x)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            gains = gate.gate(x.bfloat16())
    torch.testing.assert_close(gains.float(), expected, atol=0.01, rtol=0.01)


def test_the_fused_kernel_takes_what_the_operation_hands_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that do not lie together make torch fall back to the whole matrix, 1.2 GB for 12,000 × 12,000 positions."""
    fused = torch.nn.functional.scaled_dot_product_attention
    rows_lie_together = []

    def watched(*inputs: torch.Tensor, **settings: float) -> torch.Tensor:
        rows_lie_together.extend(x.stride(-1) == 1 for x in inputs)
        with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.FLASH_ATTENTION):  # or an error
            return fused(*inputs, **settings)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", watched)
    with torch.inference_mode():
        NonLocal(8, query_pool=2, key_grid=3)(torch.randn(2, 8, 14, 22))
    assert rows_lie_together == [True] * 3


@pytest.mark.parametrize(
    "settings",
    [
        {"pairwise": "concat"},
        {"pairwise": ""},
        {"normalization": "mean"},
        {"subsample": "min"},
        {"query_pool": 0},
        {"key_pool": 0},
        {"key_grid": 0},
        {"inner_channels": 0},
        {"limit": -1.0},
        {"limit": 0.0},
    ],
)
def test_words_and_numbers_out_of_range_are_refused(settings: dict[str, Any]) -> None:
    (name,) = settings
    with pytest.raises(SettingsError, match=f"^{name} is "):
        NonLocal(8, **settings)
    if name in ("pairwise", "normalization", "key_pool", "inner_channels"):
        with pytest.raises(SettingsError, match=f"^{name} is "):
            NonLocalBlock(8, **settings)


def test_features_without_a_batch_are_refused() -> None:
    for layer in (NonLocal(4), NonLocal(4, query_pool=2), NonLocalBlock(4)):
        with pytest.raises(SettingsError, match=r"got \(4, 6, 6\)"):
            layer(torch.zeros(4, 6, 6))


@pytest.mark.parametrize("side", [1, 7, 8, 9, 10, 23])
@pytest.mark.parametrize("pool", [2, 3, 4, 7])
def test_results_are_repeated_where_their_queries_were_averaged(pool: int, side: int) -> None:
    torch.manual_seed(0)
    layer, whole = NonLocal(4, query_pool=pool), NonLocal(4)
    whole.load_state_dict(layer.state_dict())
    x = _features(2, 4, side, side + 2, dtype=torch.float32)
    with torch.inference_mode():
        y = whole(F.avg_pool2d(x, pool, ceil_mode=True))
        expected = y.repeat_interleave(pool, dim=2).repeat_interleave(pool, dim=3)[:, :, :side, : side + 2]
        assert torch.equal(layer(x), expected)


@pytest.mark.parametrize(("pairwise", "normalization"), _FORMS)
def test_an_inserted_block_changes_nothing_however_large_the_features(pairwise: Any, normalization: Any) -> None:
    torch.manual_seed(0)
    block = NonLocalBlock(64, pairwise=pairwise, normalization=normalization)
    x = 30 * _features(1, 64, 8, 8, dtype=torch.float32)
    x.requires_grad_()
    y = block(x)
    assert torch.equal(y, x)
    y.sum().backward()
    assert x.grad is not None
    assert all(torch.isfinite(gradient).all() for gradient in (x.grad, block.nonlocal_operation.project.weight.grad))


@pytest.mark.parametrize(("pairwise", "normalization"), _FORMS)
def test_an_empty_batch(pairwise: Any, normalization: Any) -> None:
    """As of a detector that found nothing."""
    for layer in (
        NonLocalBlock(6, pairwise=pairwise, normalization=normalization, key_pool=2),
        NonLocal(6, pairwise=pairwise, normalization=normalization, query_pool=2, key_grid=3),
    ):
        y = layer(torch.empty(0, 6, 5, 7))
        assert y.shape == (0, 6, 5, 7)
        y.sum().backward()
        assert all(p.grad is not None and not p.grad.any() for p in layer.parameters())

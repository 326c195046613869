"""The network's blocks: what they keep, what they compute, and the curves around them."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from alen import color
from alen.errors import SettingsError
from alen.models.layers import (
    ChannelAttentionBlock,
    InvertedShuffle,
    MixedAttentionBlock,
    downsample,
    eotf_inverse_srgb,
    eotf_srgb,
)


def _features(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(5))


def test_inverted_shuffle_without_its_convolution_loses_nothing() -> None:
    shuffle = InvertedShuffle(3, 12)
    with torch.no_grad():
        shuffle.select.weight.copy_(torch.eye(12)[:, :, None, None])
        shuffle.select.bias.zero_()
        x = torch.randperm(2 * 3 * 6 * 10).reshape(2, 3, 6, 10).float()
        y = shuffle(x)
    assert y.shape == (2, 12, 3, 5)
    assert torch.equal(y, F.pixel_unshuffle(x, 2))
    assert torch.equal(y.flatten(1).sort().values, x.flatten(1).sort().values)
    assert torch.equal(F.pixel_shuffle(y, 2), x)


def test_inverted_shuffle_is_unshuffle_and_convolution() -> None:
    torch.manual_seed(0)
    shuffle = InvertedShuffle(5, 7)
    x = _features(3, 5, 6, 14)
    torch.testing.assert_close(shuffle(x), shuffle.select(F.pixel_unshuffle(x, 2)))


@pytest.mark.parametrize("size", [(7, 6), (6, 7)])
def test_inverted_shuffle_refuses_odd_sides(size: tuple[int, int]) -> None:
    with pytest.raises(SettingsError, match=f"{size[0]} × {size[1]}"):
        InvertedShuffle(3, 4)(_features(1, 3, *size))


@pytest.mark.parametrize("kind", ["isl", "max", "strided"])
def test_downsample_halves(kind: str) -> None:
    assert downsample(kind, 6)(_features(2, 6, 10, 14)).shape == (2, 6, 5, 7)  # type: ignore[arg-type]


def test_channel_attention_block() -> None:
    torch.manual_seed(0)
    block = ChannelAttentionBlock(4, 6)
    x = _features(2, 4, 5, 7)
    expected = F.leaky_relu(block.conv2(F.leaky_relu(block.conv1(block.gate(x)), 0.2)), 0.2)
    torch.testing.assert_close(block(x), expected)
    plain = ChannelAttentionBlock(4, 6, gated=False)
    assert {name.split(".")[0] for name, _ in plain.named_parameters()} == {"conv1", "conv2"}


@pytest.mark.parametrize("key_grid", [None, 4])
@pytest.mark.parametrize("size", [(3, 5), (16, 8), (13, 23)])
def test_mixed_attention_block(key_grid: int | None, size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    block = MixedAttentionBlock(8, 12, key_grid=key_grid)
    x = _features(2, 8, *size)
    assert block.spatial is not None
    torch.testing.assert_close(block(x), block.block(torch.cat([x, block.spatial(x)], dim=1)))
    assert block(x).shape == (2, 12, *size)


def test_mixed_attention_block_without_spatial_attention() -> None:
    torch.manual_seed(0)
    block = MixedAttentionBlock(8, 12, spatial=False)
    x = _features(2, 8, 6, 6)
    torch.testing.assert_close(block(x), block.block(x))


def test_curves_equal_those_of_numpy() -> None:
    values = np.concatenate([np.linspace(-3, 3, 4001), [0.0031308, 0.04045, -0.0031308, 300.0]]).astype(np.float32)
    tensor = torch.from_numpy(values)
    np.testing.assert_allclose(eotf_inverse_srgb(tensor).numpy(), color.eotf_inverse_srgb(values), rtol=2e-6, atol=1e-7)
    np.testing.assert_allclose(eotf_srgb(tensor).numpy(), color.eotf_srgb(values), rtol=2e-6, atol=1e-7)
    torch.testing.assert_close(eotf_srgb(eotf_inverse_srgb(tensor)), tensor, rtol=1e-5, atol=1e-6)


def test_curve_has_a_gradient_everywhere() -> None:
    x = torch.tensor([0.0, 1e-12, -1e-12, 0.0031308, -1.0, 300.0], requires_grad=True)
    eotf_inverse_srgb(x).sum().backward()
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()
    torch.testing.assert_close(x.grad[:3], torch.full((3,), 12.92))

"""Blocks of the attention network (https://arxiv.org/abs/2005.09829) and the curves around it.

CAB: a channel gate and two 3 × 3 convolutions. MAB: the features beside their non-local features, through a CAB. ISL,
the inverted shuffle layer: pixel-unshuffle, which loses nothing, and a 1 × 1 convolution that selects and compresses.
"""

from __future__ import annotations

import contextlib
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from alen.errors import SettingsError
from alen.models.attention import ChannelGate, NonLocal, Pairwise

Downsample = Literal["isl", "max", "strided"]

SLOPE = 0.2
"""Negative slope of every leaky ReLU."""


def without_autocast(device: torch.device) -> contextlib.AbstractContextManager[object]:
    """Return a context in which nothing is computed in a lower precision than it is given; also for "meta"."""
    if torch.amp.is_autocast_available(device.type):
        return torch.autocast(device.type, enabled=False)
    return contextlib.nullcontext()


def check_planes(planes: Tensor, count: int) -> None:
    """Raise SettingsError unless these are packed planes (N, ``count``, h, w)."""
    if planes.ndim != 4 or planes.shape[1] != count:
        raise SettingsError(f"Packed planes are (N, {count}, h, w); got {tuple(planes.shape)}.")


def eotf_inverse_srgb(linear: Tensor) -> Tensor:
    """Encode linear values for display: the curve of `alen.color.eotf_inverse_srgb`, any shape, differentiable."""
    magnitude = linear.abs()
    # the power's slope is infinite at 0: keep its branch away from there, also in the backward pass
    power = 1.055 * magnitude.clamp_min(0.0031308) ** (1 / 2.4) - 0.055
    return torch.where(magnitude <= 0.0031308, 12.92 * linear, torch.copysign(power, linear))


def eotf_srgb(encoded: Tensor) -> Tensor:
    """Decode display-encoded values to linear ones; the inverse of `eotf_inverse_srgb`."""
    magnitude = encoded.abs()
    power = ((magnitude.clamp_min(0.04045) + 0.055) / 1.055) ** 2.4
    return torch.where(magnitude <= 0.04045, encoded / 12.92, torch.copysign(power, encoded))


def compress_highlights(linear: Tensor) -> Tensor:
    """Return values above 1 to the power of ¼ and others as they are: what a linear demosaicking filter is given.

    Beside a lamp a hundred times brighter than white such a filter undershoots by several times white.
    """
    return torch.minimum(linear, linear.clamp_min(1).sqrt().sqrt())


def expand_highlights(compressed: Tensor) -> Tensor:
    """Return the inverse of `compress_highlights`."""
    above = compressed.clamp_min(1)
    return compressed + (above.square().square() - above)


class ChannelAttentionBlock(nn.Module):
    """CAB: channel gate, then two 3 × 3 convolutions with leaky ReLUs, (N, C, H, W) → (N, C', H, W)."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        gated: bool = True,
        gate_scale: float = 1.0,
        gate_limit: float | None = None,
    ) -> None:
        super().__init__()
        self.gate = ChannelGate(in_channels, scale=gate_scale, limit=gate_limit) if gated else nn.Identity()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's features."""
        x = F.leaky_relu(self.conv1(self.gate(x)), SLOPE)
        return F.leaky_relu(self.conv2(x), SLOPE)


class MixedAttentionBlock(nn.Module):
    """MAB: concat(x, nonlocal(x)), then a CAB over both, (N, C, H, W) → (N, C', H, W).

    Without ``spatial`` attention x alone goes through the CAB.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        gated: bool = True,
        spatial: bool = True,
        pairwise: Pairwise = "embedded_gaussian",
        gate_scale: float = 1.0,
        gate_limit: float | None = None,
        key_grid: int | None = None,
        attention_limit: float | None = None,
    ) -> None:
        super().__init__()
        self.spatial: NonLocal | None = None
        if spatial:
            self.spatial = NonLocal(
                in_channels,
                in_channels // 4,
                pairwise=pairwise,
                query_pool=2,
                key_pool=4 if key_grid is None else 1,
                key_grid=key_grid,
                subsample="average",
                limit=attention_limit,
            )
        block_channels = 2 * in_channels if spatial else in_channels
        self.block = ChannelAttentionBlock(
            block_channels, out_channels, gated=gated, gate_scale=gate_scale, gate_limit=gate_limit
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's features."""
        if self.spatial is not None:
            x = torch.cat([x, self.spatial(x)], dim=1)
        result: Tensor = self.block(x)
        return result


class InvertedShuffle(nn.Module):
    """ISL: pixel-unshuffle by 2 and a 1 × 1 convolution, (N, C, H, W) → (N, C', H/2, W/2).

    The two together are exactly one 2 × 2 convolution with stride 2, and that is how it runs: weight (C', C, 2, 2) is
    the 1 × 1 weight (C', 4C, 1, 1) reshaped, because unshuffled channel 4c + 2y + x is pixel (y, x) of channel c.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.select = nn.Conv2d(4 * in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return half-size features; H and W even, else SettingsError."""
        if x.shape[-2] % 2 or x.shape[-1] % 2:
            raise SettingsError(f"The inverted shuffle halves even sides; got {x.shape[-2]} × {x.shape[-1]}.")
        weight = self.select.weight
        folded = weight.view(weight.shape[0], -1, 2, 2)
        return F.conv2d(x, folded, self.select.bias, stride=2)


def downsample(kind: Downsample, channels: int) -> nn.Module:
    """Return the layer that halves H and W: the inverted shuffle, max-pooling or a strided 3 × 3 convolution."""
    if kind == "isl":
        return InvertedShuffle(channels, channels)
    if kind == "max":
        return nn.MaxPool2d(2)
    return nn.Conv2d(channels, channels, 3, stride=2, padding=1)

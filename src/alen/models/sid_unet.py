"""The See-in-the-Dark U-Net, the baseline every low-light RAW network is compared with.

"Learning to See in the Dark", C. Chen, Q. Chen, J. Xu, V. Koltun, CVPR 2018, https://arxiv.org/abs/1805.01934: five
scales with two 3 × 3 convolutions each, max-pooling, 2 × 2 transposed convolutions without bias, a linear 1 × 1 head of
12 channels, 7,760,268 parameters; for X-Trans 9 planes in and 27 channels out. What we changed: Bayer planes stand in
the order R, Gr, Gb, B, shadows keep their sign, and frames of any size are padded inside.

The authors pack R, Gr, B, Gb and shuffle with TensorFlow's ``depth_to_space``, whose channel 3·(2y + x) + c is our
4·c + 2y + x. Their weights fit after the input channels of ``encode0.conv1`` are taken in the order 0, 1, 3, 2 and
the output channels of ``head`` in the order 0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from alen.config import SidUnetConfig
from alen.models.layers import SLOPE, check_planes

__all__ = ["SidUnet", "SidUnetConfig"]

_MULTIPLE = 16
"""Four halvings: both packed sides are padded to a multiple of this."""


class ConvolutionPair(nn.Module):
    """Two 3 × 3 convolutions with leaky ReLUs, (N, C, H, W) → (N, C', H, W)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the pair's features."""
        return F.leaky_relu(self.conv2(F.leaky_relu(self.conv1(x), SLOPE)), SLOPE)


class SidUnet(nn.Module):
    """Packed planes in, display-encoded RGB at full resolution out: the interface of `alen.models.alen.Alen`."""

    def __init__(self, config: SidUnetConfig | None = None) -> None:
        super().__init__()
        self.config = config = config if config is not None else SidUnetConfig()
        w0, w1, w2, w3, w4 = config.widths
        self.encode0 = ConvolutionPair(config.plane_count, w0)
        self.encode1 = ConvolutionPair(w0, w1)
        self.encode2 = ConvolutionPair(w1, w2)
        self.encode3 = ConvolutionPair(w2, w3)
        self.encode4 = ConvolutionPair(w3, w4)
        self.up3 = nn.ConvTranspose2d(w4, w3, 2, stride=2, bias=config.up_bias)
        self.decode3 = ConvolutionPair(2 * w3, w3)
        self.up2 = nn.ConvTranspose2d(w3, w2, 2, stride=2, bias=config.up_bias)
        self.decode2 = ConvolutionPair(2 * w2, w2)
        self.up1 = nn.ConvTranspose2d(w2, w1, 2, stride=2, bias=config.up_bias)
        self.decode1 = ConvolutionPair(2 * w1, w1)
        self.up0 = nn.ConvTranspose2d(w1, w0, 2, stride=2, bias=config.up_bias)
        self.decode0 = ConvolutionPair(2 * w0, w0)
        self.head = nn.Conv2d(w0, config.picture_channels, 1)

    def forward(self, planes: Tensor) -> Tensor:
        """Return the picture of packed planes.

        Args:
            planes: (N, P, h, w) float32, the P planes of `alen.cfa.pack` or `alen.cfa.pack_xtrans` with the levels of
                `SidUnetConfig.input_levels`; clipped at 1 here, as in the paper. Any h and w: sides that are no
                multiples of 16 are continued by their last row and column, and the picture is cropped.

        Returns:
            (N, 3, s·h, s·w) float32, s = `SidUnetConfig.shuffle`; display-encoded, not clipped.

        Raises:
            SettingsError: The planes have another shape.
        """
        check_planes(planes, self.config.plane_count)
        h, w = planes.shape[2:]
        padded = F.pad(planes.clamp_max(1), (0, -w % _MULTIPLE, 0, -h % _MULTIPLE), mode="replicate")
        head = self.features(padded).float()  # (N, 3·s², h', w'); float32 also under autocast
        return F.pixel_shuffle(head[:, :, :h, :w], self.config.shuffle)

    def features(self, x: Tensor) -> Tensor:
        """Return the head's channels (N, 3·s², h, w) of clipped planes (N, P, h, w), h and w multiples of 16."""
        skip0 = self.encode0(x)
        skip1 = self.encode1(F.max_pool2d(skip0, 2))
        skip2 = self.encode2(F.max_pool2d(skip1, 2))
        skip3 = self.encode3(F.max_pool2d(skip2, 2))
        x = self.encode4(F.max_pool2d(skip3, 2))
        x = self.decode3(torch.cat([self.up3(x), skip3], dim=1))
        x = self.decode2(torch.cat([self.up2(x), skip2], dim=1))
        x = self.decode1(torch.cat([self.up1(x), skip1], dim=1))
        x = self.decode0(torch.cat([self.up0(x), skip0], dim=1))
        result: Tensor = self.head(x)
        return result

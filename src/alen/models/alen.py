"""The attention network for low-light RAW images.

"Attention-based network for low-light image enhancement", C. Zhang et al., ICME 2020, https://arxiv.org/abs/2005.09829,
as its figures draw it (the authors' released code swaps the inverted shuffle for max-pooling). What we add, each off by
default and on in `AlenConfig.shipped`: gates that start as the identity, keys on a fixed grid, attention that compares
directions, and a base under what the network paints, mixed cell by cell, luma and color apart, from the input
demosaicked in three ways, by filters that learn, and its averages.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from alen.config import (
    COLOR_FLOOR,
    DEMOSAICKED,
    FILTERS,
    LUMA,
    PYRAMID,
    PYRAMID_CEILING,
    PYRAMID_NOISE,
    AlenConfig,
)
from alen.demosaic import demosaicking_kernels
from alen.errors import SettingsError
from alen.models.layers import (
    SLOPE,
    ChannelAttentionBlock,
    InvertedShuffle,
    MixedAttentionBlock,
    check_planes,
    compress_highlights,
    downsample,
    eotf_inverse_srgb,
    expand_highlights,
    without_autocast,
)

__all__ = ["Alen", "AlenConfig"]

MARGIN = 2
"""Packed pixels around a picture that its base is made of, too: as far as the demosaicking filters reach."""


class Alen(nn.Module):
    """Packed planes in, display-encoded RGB at full resolution out.

    Encoder: CAB at the size of the input stack, then three times downsample → MAB. Decoder: three times transposed
    convolution → concatenation with the skip connection → CAB. A 1 × 1 head and a pixel shuffle make the picture.
    """

    def __init__(self, config: AlenConfig | None = None) -> None:
        super().__init__()
        self.config = config = config if config is not None else AlenConfig()
        w0, w1, w2, w3 = config.widths
        self.stem = self._gated(config.input_channels, w0)
        self.down1 = downsample(config.downsample, w0)
        self.encode1 = self._mixed(w0, w1)
        self.down2 = downsample(config.downsample, w1)
        self.encode2 = self._mixed(w1, w2)
        self.down3 = downsample(config.downsample, w2)
        self.encode3 = self._mixed(w2, w3)
        self.up2 = nn.ConvTranspose2d(w3, w2, 2, stride=2)
        self.decode2 = self._gated(2 * w2, w2)
        self.up1 = nn.ConvTranspose2d(w2, w1, 2, stride=2)
        self.decode1 = self._gated(2 * w1, w1)
        self.up0 = nn.ConvTranspose2d(w1, w0, 2, stride=2)
        self.decode0 = self._gated(2 * w0, w0)
        self.head = nn.Conv2d(w0, config.head_channels * config.unshuffle**2, 1)
        self.register_buffer("brightness", torch.tensor(config.brightness), persistent=False)
        for name, kernels in zip(FILTERS, demosaicking_kernels(config.cfa), strict=True):
            if config.demosaicking == "learned":
                self.register_parameter(name, nn.Parameter(torch.tensor(kernels)))
            else:
                self.register_buffer(name, torch.tensor(kernels), persistent=False)
        self._initialize()
        self.brightness: Tensor
        self.isotropic: Tensor
        self.along_rows: Tensor
        self.along_columns: Tensor

    def _initialize(self) -> None:
        """Start with features of one size at every depth (He et al., https://arxiv.org/abs/1502.01852).

        torch's own start shrinks them layer by layer; the deep layers' gradients are then a thousandth of the shallow
        ones', and under Adam, which scales that away, their weights wander until the features overflow.
        """
        for module in self.modules():
            if isinstance(module, ChannelAttentionBlock):
                for conv in (module.conv1, module.conv2):
                    nn.init.kaiming_normal_(conv.weight, a=SLOPE)
                    _zero_bias(conv)
            elif isinstance(module, InvertedShuffle):
                nn.init.kaiming_normal_(module.select.weight, nonlinearity="linear")
                _zero_bias(module.select)
            elif isinstance(module, nn.ConvTranspose2d):  # every output pixel sees one tap of each input channel
                nn.init.normal_(module.weight, std=module.in_channels**-0.5)
                _zero_bias(module)
        nn.init.normal_(self.head.weight, std=0.1 * self.head.in_channels**-0.5)
        _zero_bias(self.head)

    @torch.no_grad()
    def balance_filters(self) -> None:
        """Shift the taps of learned demosaicking filters so that areas of one color keep it.

        Of each filter those over its own color add up to 1, those over each other color to 0, as in the formulas.
        """
        if self.config.demosaicking != "learned":
            return
        for name in FILTERS:
            kernels = getattr(self, name)  # (3·n, inputs, rows, columns)
            own = torch.arange(len(kernels), device=kernels.device) * 3 // len(kernels)  # the color of each filter
            for color, planes in enumerate(self.config.color_planes):
                each = self.config.period**2
                inputs = [plane * each + pixel for plane in planes for pixel in range(each)]
                taps = kernels[:, inputs]
                excess = taps.mean(dim=(1, 2, 3)) - (own == color) / taps[0].numel()
                kernels[:, inputs] = taps - excess[:, None, None, None]

    def last_level(self) -> list[nn.Parameter]:
        """Return the weights of the decoder's last level and of what follows it: the head and learned filters."""
        parts = [*self.up0.parameters(), *self.decode0.parameters(), *self.head.parameters()]
        return parts + [getattr(self, name) for name in FILTERS if self.config.demosaicking == "learned"]

    def _gated(self, in_channels: int, out_channels: int) -> ChannelAttentionBlock:
        config = self.config
        return ChannelAttentionBlock(
            in_channels,
            out_channels,
            gated=config.channel_attention,
            gate_scale=config.gate_scale,
            gate_limit=config.gate_limit,
        )

    def _mixed(self, in_channels: int, out_channels: int) -> MixedAttentionBlock:
        config = self.config
        return MixedAttentionBlock(
            in_channels,
            out_channels,
            gated=config.channel_attention,
            spatial=config.spatial_attention,
            pairwise=config.pairwise,
            gate_scale=config.gate_scale,
            gate_limit=config.gate_limit,
            key_grid=config.key_grid,
            attention_limit=config.attention_limit,
        )

    def forward(self, planes: Tensor) -> Tensor:
        """Return the picture of packed planes.

        Args:
            planes: (N, P, h, w) float32, the P planes of `alen.cfa.pack` or `alen.cfa.pack_xtrans` with the levels of
                `AlenConfig.input_levels`. Any h and w, even for X-Trans: sides that are no multiples of
                `AlenConfig.multiple` are continued by their last row and column, and the picture is cropped.

        Returns:
            (N, 3, s·h, s·w) float32, s = `AlenConfig.shuffle`; display-encoded (see
            `alen.color.eotf_inverse_srgb`), not clipped.

        Raises:
            SettingsError: The planes have another shape.
        """
        check_planes(planes, self.config.plane_count)
        h, w = planes.shape[2:]
        if h % self.config.period or w % self.config.period:
            raise SettingsError(f"X-Trans planes have even sides, whole patterns; got {h} × {w}.")
        multiple = self.config.multiple
        if h % multiple or w % multiple:
            padded = self.continued(planes, (0, -w % multiple, 0, -h % multiple))
            return self.forward(padded)[:, :, : self.config.shuffle * h, : self.config.shuffle * w]
        return self.compose(self.features(self.expose(planes)), planes)

    def with_base(self, planes: Tensor) -> tuple[Tensor, Tensor]:
        """Return the picture, and the base alone that it was painted on, both as of `forward`.

        The sides are multiples of `AlenConfig.multiple`. Without a base that is zero.
        """
        head = self.features(self.expose(planes))
        picture = self.compose(head, planes)
        painted = head[:, : self.config.picture_channels].to(picture.dtype)
        return picture, picture - F.pixel_shuffle(painted, self.config.shuffle)

    def expose(self, planes: Tensor) -> Tensor:
        """Return the input stack: the planes at each brightness, clipped to [−1, 1], (N, B·P·u², h/u, w/u).

        u is `AlenConfig.unshuffle`.
        """
        planes = F.pixel_unshuffle(planes, self.config.unshuffle)  # (N, P·u², h/u, w/u)
        stack = planes[:, None] * self.brightness[:, None, None, None]  # (N, B, P·u², h/u, w/u)
        return stack.clamp(-1, 1).flatten(1, 2)

    def features(self, x: Tensor) -> Tensor:
        """Return the head's channels (N, 3·s² and more, h, w) of the input stack: everything that has weights."""
        skip0 = self.stem(x)
        skip1 = self.encode1(self.down1(skip0))
        skip2 = self.encode2(self.down2(skip1))
        x = self.encode3(self.down3(skip2))
        x = self.decode2(torch.cat([self.up2(x), skip2], dim=1))
        x = self.decode1(torch.cat([self.up1(x), skip1], dim=1))
        x = self.decode0(torch.cat([self.up0(x), skip0], dim=1))
        return F.pixel_shuffle(self.head(x), self.config.unshuffle)

    def compose(self, head: Tensor, planes: Tensor) -> Tensor:
        """Return the picture (N, 3, s·h, s·w) from the head's channels; float32 even where the network is not."""
        if self.config.base == "none":
            return self.mix(head, planes, [])
        around = self.continued(planes, (MARGIN,) * 4)
        return self.mix(head, around, pyramid(planes, self.config) if self.config.base == "mixtures" else [])

    def continued(self, planes: Tensor, padding: tuple[int, ...]) -> Tensor:
        """Return planes (N, P, h, w) with packed pixels added on the left, right, top and bottom.

        The outermost ones are repeated; of X-Trans the outermost whole patterns, and all numbers are even.
        """
        period = self.config.period
        patterns = F.pixel_unshuffle(planes, period)
        return F.pixel_shuffle(F.pad(patterns, tuple(side // period for side in padding), mode="replicate"), period)

    def mix(self, head: Tensor, around: Tensor, smooth: list[Tensor]) -> Tensor:
        """Return the picture of a piece of a frame, which is all of it in `compose`.

        Args:
            head: The head's channels (N, C, h, w) of the piece.
            around: (N, P, h + 2·`MARGIN`, w + 2·`MARGIN`) float32, the piece's planes and those around it; beyond the
                frame's edges they are repeated. Not looked at without a base. Of X-Trans a piece begins at an even row.
            smooth: With the base "mixtures" the piece of what `pyramid` returns, else nothing.

        Returns:
            (N, 3, s·h, s·w) float32.
        """
        with without_autocast(head.device):
            head = head.float()
            if self.config.base == "none":
                return F.pixel_shuffle(head, self.config.shuffle)
            side = self.config.shuffle
            painted, weight = head[:, : 3 * side**2], head[:, 3 * side**2 :]
            around = compress_highlights(around)
            isotropic = self._demosaicked(around, self.isotropic)
            if self.config.base == "demosaic":
                base = F.pixel_shuffle(eotf_inverse_srgb(isotropic), side)
                return F.pixel_shuffle(painted, side) + torch.sigmoid(F.pixel_shuffle(weight, side)) * base
            along_rows = self._demosaicked(around, self.along_rows)
            along_columns = self._demosaicked(around, self.along_columns)
            count = DEMOSAICKED + len(PYRAMID)
            of_luma, of_color = (torch.softmax(half, dim=1) for half in weight.chunk(2, dim=1))
            apart = (of_luma - of_color).chunk(count, dim=1)  # (N, 1, h, w) each, as the shares of color
            shares = of_color.chunk(count, dim=1)
            color, average = torch.zeros_like(isotropic), torch.zeros_like(smooth[0])
            luma = torch.zeros_like(color[:, : side**2])  # what the mixture for luma adds to that for color
            for picture, share, more in zip((isotropic, along_rows, along_columns), shares, apart, strict=False):
                color = color + share * picture
                luma = luma + more * _luma(picture)
            for level, share, more in zip(smooth, shares[DEMOSAICKED:], apart[DEMOSAICKED:], strict=True):
                average = average + share * level
                luma = luma + more * _luma(level)
            base = _join(color + average.repeat_interleave(side**2, dim=1), luma)
            return F.pixel_shuffle(painted + eotf_inverse_srgb(base), side)

    def _demosaicked(self, around: Tensor, kernels: Tensor) -> Tensor:
        """Return (N, 3·s², h, w) linear of planes (N, P, h + 2·`MARGIN`, w + 2·`MARGIN`) with compressed highlights."""
        period = self.config.period
        patterns = F.pixel_unshuffle(around, period)
        above, beside = (MARGIN // period - n // 2 for n in kernels.shape[2:])
        height, width = patterns.shape[2:]
        reached = patterns[:, :, above : height - above, beside : width - beside]
        return expand_highlights(F.pixel_shuffle(F.conv2d(reached, kernels), period))


def pyramid(planes: Tensor, config: AlenConfig) -> list[Tensor]:
    """Return the averages of packed planes over squares of `PYRAMID` pixels, continued bilinearly.

    Args:
        planes: (N, P, h, w) float32, packed planes.
        config: The network; it tells their colors.

    Returns:
        For each side (N, 3, h, w) float32: R, G and B, the means of their planes. A square that reaches over the edge
        averages what it has. Averages of linear values keep the color at any noise.
    """
    height, width = planes.shape[2:]
    levels = []
    for side, coarse in zip(PYRAMID, averages(planes, config), strict=True):
        fine = F.interpolate(coarse, scale_factor=side, mode="bilinear", align_corners=False)
        levels.append(fine[:, :, :height, :width])
    return levels


def averages(planes: Tensor, config: AlenConfig) -> list[Tensor]:
    """Return the averages of `pyramid`, one value per square: (N, 3, ⌈h/side⌉, ⌈w/side⌉) for each side.

    What stands out of its surroundings by more than their noise is clipped, see `alen.config.PYRAMID_CEILING`.
    """
    rgb = torch.stack([planes[:, list(of_color)].mean(dim=1) for of_color in config.color_planes], dim=1)
    levels, coarse, reached = [], rgb, 1
    for side in PYRAMID:
        coarse, reached = F.avg_pool2d(coarse, side // reached, ceil_mode=True), side
        around = max(PYRAMID) // side
        below = F.avg_pool2d((-coarse).clamp_min(0), around, ceil_mode=True)
        ceiling = (PYRAMID_CEILING + PYRAMID_NOISE * below).repeat_interleave(around, 2).repeat_interleave(around, 3)
        coarse = torch.minimum(coarse, ceiling[:, :, : coarse.shape[2], : coarse.shape[3]])
        levels.append(coarse)
    return levels


def _join(color: Tensor, more: Tensor) -> Tensor:
    """Return a picture (N, C, h, w) with the color of ``color`` and a luma that is brighter by ``more`` (N, C/3, h, w).

    Color differences are those of ``color``, smaller where the luma is: see `alen.config.COLOR_FLOOR`.
    """
    own = _luma(color)
    luma = own + more
    share = ((luma.clamp_min(0) + COLOR_FLOOR) / (own.clamp_min(0) + COLOR_FLOOR)).clamp_max(1)
    return luma.repeat(1, 3, 1, 1) + (color - own.repeat(1, 3, 1, 1)) * share.repeat(1, 3, 1, 1)


def _luma(picture: Tensor) -> Tensor:
    """Return the luma (N, C/3, h, w) of pictures whose first third of C channels is R, then G, then B."""
    red, green, blue = picture.chunk(3, dim=1)
    return LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue


def _zero_bias(layer: nn.Conv2d | nn.ConvTranspose2d) -> None:
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)

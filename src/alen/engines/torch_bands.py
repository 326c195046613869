"""The attention network in torch, band by band: what `alen.engines.bands` does for OpenVINO, for every device of torch.

Channel gates, keys and values describe the whole frame, so each level is finished before the next begins, and its
features are kept, in the engine's precision. What is between the layers of a level exists for a band of rows alone,
with the rows around it that its convolutions reach: the result does not depend on the size of the bands.

The layers are those of `alen.models.alen.Alen`. What differs is when they run, and three identities: a gate is a factor
of a channel in the whole frame, and so of the first convolution's weights; the mean of a transposed convolution follows
from the mean of its input; keys and values of averages are the averages of keys and values.

Memory: the first level's features, half of all, are made twice instead of kept where they would be larger than
`FIRST_BYTES`, and a level of the decoder is written over the features that were skipped for it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from alen.config import PYRAMID, AlenConfig
from alen.engines import Planes
from alen.models.alen import MARGIN, Alen, averages
from alen.models.attention import ChannelGate, NonLocal
from alen.models.layers import SLOPE, ChannelAttentionBlock, MixedAttentionBlock

_HALO: Final = 2
"""Rows that the two 3 × 3 convolutions of a block need above and below."""

_BLOCK: Final = 4
"""Bands begin at multiples of so many rows: halved they are averaged 2 × 2, and averages 4 × 4."""

FIRST_BYTES: Final = 200_000_000
"""First features up to this size are kept."""

_PAIRS: Final = 16_000_000
"""Queries times keys, about, of which the matrix is built at a time, for the pairwise function that builds it."""

_SURVEYED: Final = 128_000
"""Packed pixels, about, that are averaged at a time."""

_WORK: Final = {
    "survey": 1,
    "encode0": 8,
    "encode1": 10,
    "encode2": 10,
    "encode3": 7,
    "decode2": 13,
    "decode1": 13,
    "last": 38,
}
"""How long the stages take, in order, relative to each other: the last makes the picture, too."""

Rows = Callable[[slice], Tensor]
"""Makes features (1, C, n, W) of n rows of a frame."""


@dataclass(frozen=True)
class _Kept:
    """Features of a whole frame."""

    values: Tensor
    """(1, C, H, W) in the engine's precision, channels last."""
    means: Tensor
    """(C,) float32."""

    @property
    def shape(self) -> tuple[int, int]:
        """H and W."""
        return self.values.shape[2], self.values.shape[3]

    def rows(self, rows: slice) -> Tensor:
        """Return a view of rows (1, C, n, W)."""
        return self.values[:, :, rows]

    def doubled(self, rows: slice, width: int) -> Tensor:
        """Return rows (1, C, n, ``width``) of the features repeated 2 × 2; of the last column one may be left out."""
        part = self.values[:, :, rows.start // 2 : (rows.stop + 1) // 2]
        part = F.interpolate(part, scale_factor=2, mode="nearest")
        return part[:, :, rows.start % 2 :][:, :, : rows.stop - rows.start, :width]


class _Means:
    """The means of features (H, W) that are made row by row: over rows in float32, over columns in float64."""

    def __init__(self, channels: int, height: int, width: int, device: torch.device, *, doubled: bool = False) -> None:
        """With ``doubled`` the features come before they are repeated 2 × 2: ⌈H/2⌉ rows of ⌈W/2⌉."""
        self._down, across = _shares(height, doubled=doubled), _shares(width, doubled=doubled)
        self._across = across.float().to(device)
        self._rows = torch.empty((len(self._down), channels), device=device)

    def put(self, rows: slice, features: Tensor) -> None:
        """Have rows (1, C, n, W)."""
        pixels = features[0].permute(1, 2, 0).float()  # (n, W, C)
        self._rows[rows] = self._across @ pixels

    def means(self) -> Tensor:
        """Return (C,) float32."""
        return (self._down @ self._rows.cpu().double()).float().to(self._rows.device)  # mps has no float64


def _shares(size: int, *, doubled: bool) -> Tensor:
    """Return the share of each row in a mean, float64: of an odd frame, the last that is doubled counts once."""
    if not doubled:
        return torch.full((size,), 1 / size, dtype=torch.float64)
    often = torch.full(((size + 1) // 2,), 2.0, dtype=torch.float64)
    often[-1] -= size % 2
    return often / size


@dataclass(frozen=True)
class _Block:
    """A `ChannelAttentionBlock` for rows of a frame, whose gates are known."""

    weight1: Tensor
    bias1: Tensor
    weight2: Tensor
    bias2: Tensor

    @classmethod
    def of(cls, block: ChannelAttentionBlock, means: Tensor, dtype: torch.dtype) -> _Block:
        """Return a block in a precision; its gates are made of the means (C,) of what it will be fed."""
        weight = block.conv1.weight
        if isinstance(block.gate, ChannelGate):
            gates = block.gate.gate(means[None, :, None, None])[0]  # (C,): a frame of one pixel is its own mean
            weight = weight * gates[:, None, None]
        bias1, bias2 = cast(Tensor, block.conv1.bias), cast(Tensor, block.conv2.bias)
        return cls(weight.to(dtype), bias1.to(dtype), block.conv2.weight.to(dtype), bias2.to(dtype))

    def rows(self, source: Rows, rows: slice, height: int) -> Tensor:
        """Return rows (1, C', n, W) of the block's features of a frame of ``height`` rows, which ``source`` makes."""
        x = source(_around(rows, _HALO, height))
        x = _convolve(x, self.weight1, self.bias1, top=rows.start <= 1, bottom=rows.stop >= height - 1)
        return _convolve(x, self.weight2, self.bias2, top=rows.start == 0, bottom=rows.stop == height)


def _convolve(x: Tensor, weight: Tensor, bias: Tensor, *, top: bool, bottom: bool) -> Tensor:
    """Return a 3 × 3 convolution and leaky ReLU of rows, without the outermost rows unless the frame ends there."""
    y = F.leaky_relu(F.conv2d(x, weight, bias, padding=(int(top or bottom), 1)), SLOPE, inplace=True)
    if top != bottom:  # a row is made too many, which is less work than to put zeros on one side
        y = y[:, :, :-1] if top else y[:, :, 1:]
    return y


class BandedAlen:
    """An attention network that makes a frame's picture at bounded memory.

    Args:
        network: The network in float32, on its device; it is not changed.
        dtype: Precision of what is kept and of the layers with weights, but the last: torch.float32 or torch.bfloat16.
        band: Positions of the first level, about, that are computed at a time.
        first_bytes: First features up to this size are kept instead of made twice.
    """

    def __init__(self, network: Alen, dtype: torch.dtype, *, band: int, first_bytes: int = FIRST_BYTES) -> None:
        self._network = network
        self._layers = network if dtype == torch.float32 else copy.deepcopy(network).to(dtype)
        self.config = network.config
        self._dtype = dtype
        self._band = band
        self._first_bytes = first_bytes
        self._device = network.brightness.device
        self._progress: Callable[[float], None] | None = None

    @torch.inference_mode()
    def pictures(self, planes: Planes, progress: Callable[[float], None] | None = None) -> Iterator[Tensor]:
        """Yield the picture in pieces (1, 3, n, s·w) from top to bottom: float32, display-encoded, on the device.

        Args:
            planes: The frame; P planes of which both sides are multiples of `AlenConfig.multiple`.
            progress: Told the share of the work that is done.
        """
        self._progress = progress
        side = self.config.unshuffle
        height, width = planes.shape[1] // side, planes.shape[2] // side
        stack_means, smooth = self._survey(planes)
        stem = _Block.of(self._network.stem, stack_means, self._dtype)

        def first(rows: slice) -> Tensor:
            return stem.rows(lambda more: self._stack(planes, more), rows, height)

        keeps_first = first_features_bytes(self.config, height, width, self._dtype) <= self._first_bytes
        skip0, x = self._encode(0, first, height, width, keep=keeps_first)
        skip1, x = self._encode(1, self._mixed(1, x), *x.shape)
        skip2, x = self._encode(2, self._mixed(2, x), *x.shape)
        x = self._deepest(x)
        x = self._decode(2, x, skip2)
        del skip2  # memory is what this is about
        x = self._decode(1, x, skip1)
        del skip1
        source, block = self._decoder(0, x, skip0.means, skip0.rows if keeps_first else first)
        for rows in self._bands(0, height, width):
            features = block.rows(source, rows, height)
            head = F.pixel_shuffle(self._network.head(features.float()), side)  # float32: no steps in highlights
            self._tell("last", rows.stop / height)
            for part in self._bands(0, head.shape[2], head.shape[3]):
                there = slice(side * rows.start + part.start, side * rows.start + part.stop)
                yield self._mix(planes, head[:, :, part], there, smooth)

    def _survey(self, planes: Planes) -> tuple[Tensor, list[Tensor]]:
        """Return what has to be known of the whole frame: means of the input stack, and averages for the base."""
        _, height, width = planes.shape
        step = max(_SURVEYED // (width * max(PYRAMID)), 1) * max(PYRAMID)
        sums = torch.zeros(self.config.input_channels, dtype=torch.float64)
        smooth: list[Tensor] = []
        if self.config.base == "mixtures":
            shapes = [(1, 3, -(-height // side), -(-width // side)) for side in PYRAMID]
            smooth = [torch.empty(shape, device=self._device) for shape in shapes]
        for top in range(0, height, step):
            part = self._upload(planes, slice(top, min(top + step, height)))
            sums += self._network.expose(part).sum(dim=(2, 3))[0].cpu().double()
            if smooth:
                for level, side, piece in zip(smooth, PYRAMID, averages(part, self.config), strict=True):
                    level[:, :, top // side : top // side + piece.shape[2]] = piece
        self._tell("survey", 1.0)
        return (sums * self.config.unshuffle**2 / (height * width)).float().to(self._device), smooth

    def _stack(self, planes: Planes, rows: slice) -> Tensor:
        """Return rows (1, C, n, W) of the input stack."""
        side = self.config.unshuffle
        part = self._upload(planes, slice(side * rows.start, side * rows.stop))
        return self._network.expose(part).to(self._dtype, memory_format=torch.channels_last)

    def _encode(self, level: int, make: Rows, height: int, width: int, *, keep: bool = True) -> tuple[_Kept, _Kept]:
        """Return a level of the encoder, which ``make`` makes, and the same halved.

        Without ``keep`` there are only the means of the first.
        """
        channels = self.config.widths[level]
        values = self._empty(channels, height if keep else 0, width)
        down = self._empty(channels, height // 2, width // 2)
        means, down_means = self._means(channels, height, width), self._means(channels, height // 2, width // 2)
        layer = cast(nn.Module, getattr(self._layers, f"down{level + 1}"))
        beyond = 1 if self.config.downsample == "strided" else 0  # row above the band
        for rows in self._bands(level, height, width):
            more = slice(max(rows.start - beyond, 0), rows.stop)
            features = make(more)
            new = features[:, :, rows.start - more.start :]
            if keep:
                values[:, :, rows] = new
            means.put(rows, new)
            if isinstance(layer, nn.Conv2d):
                padded = F.pad(features, (0, 0, 1, 0)) if rows.start == 0 else features
                half = F.conv2d(padded, layer.weight, layer.bias, stride=2, padding=(0, 1))
            else:
                half = layer(features)
            half_rows = slice(rows.start // 2, rows.stop // 2)
            down[:, :, half_rows] = half
            down_means.put(half_rows, half)
            self._tell(f"encode{level}", rows.stop / height)
        return _Kept(values, means.means()), _Kept(down, down_means.means())

    def _mixed(self, level: int, x: _Kept) -> Rows:
        """Return what makes the features of level 1, 2 or 3 of the encoder."""
        height, width = x.shape
        mixed = cast(MixedAttentionBlock, getattr(self._network, f"encode{level}"))
        if mixed.spatial is None:
            block = _Block.of(mixed.block, x.means, self._dtype)
            return lambda rows: block.rows(x.rows, rows, height)
        seen = self._attend(level, mixed.spatial, x)
        block = _Block.of(mixed.block, torch.cat([x.means, seen.means]), self._dtype)

        def source(rows: slice) -> Tensor:
            return torch.cat([x.rows(rows), seen.doubled(rows, width)], dim=1)

        return lambda rows: block.rows(source, rows, height)

    def _attend(self, level: int, exact: NonLocal, x: _Kept) -> _Kept:
        """Return the non-local features of x at half its size, and their means once they are repeated 2 × 2."""
        spatial = cast(NonLocal, getattr(self._layers, f"encode{level}").spatial)
        height, width = ((size + 1) // 2 for size in x.shape)
        cells = self._cells(level, exact, x)
        embedded = cells if exact.pairwise == "gaussian" else exact.key(cells)
        key, value = (_positions(y).to(self._dtype) for y in (embedded, exact.value(cells)))  # (1, M, D)
        channels = x.values.shape[1]
        values, means = self._empty(channels, height, width), self._means(channels, *x.shape, doubled=True)
        most = _PAIRS // key.shape[1] if exact.pairwise == "concatenation" else None
        for rows in self._bands(level, height, width, most):
            pooled = _pooled(x, rows)
            query = pooled if exact.pairwise == "gaussian" else spatial.query(pooled)
            y = spatial.attend(_positions(query), key, value)  # (1, n·w, D)
            seen = spatial.project(y.transpose(1, 2).reshape(1, -1, rows.stop - rows.start, width))  # (1, C, n, w)
            values[:, :, rows] = seen
            means.put(rows, seen)
        return _Kept(values, means.means())

    def _cells(self, level: int, spatial: NonLocal, x: _Kept) -> Tensor:
        """Return the averages (1, C, k, l) float32 of features, of which keys and values are made."""
        height, width = ((size + 1) // 2 for size in x.shape)
        bands = self._bands(level, height, width)
        if spatial.key_grid is None:
            cells = [F.avg_pool2d(_pooled(x, rows).float(), spatial.key_pool, ceil_mode=True) for rows in bands]
            return torch.cat(cells, dim=2)  # (1, C, ⌈h/4⌉, ⌈w/4⌉)
        down, across = (_averaging(spatial.key_grid, size).to(self._device) for size in (height, width))
        lines = torch.cat([across @ _pooled(x, rows)[0].permute(1, 2, 0).float() for rows in bands])  # (h, k, C)
        means: Tensor = torch.tensordot(down, lines, dims=1).permute(2, 0, 1)[None]  # (1, C, k, k)
        return means

    def _deepest(self, x: _Kept) -> _Kept:
        """Return level 3 of the encoder."""
        height, width = x.shape
        channels = self.config.widths[3]
        make = self._mixed(3, x)
        values, means = self._empty(channels, height, width), self._means(channels, height, width)
        for rows in self._bands(3, height, width):
            features = make(rows)
            values[:, :, rows] = features
            means.put(rows, features)
            self._tell("encode3", rows.stop / height)
        return _Kept(values, means.means())

    def _decode(self, level: int, below: _Kept, skip: _Kept) -> _Kept:
        """Return level 2 or 1 of the decoder, which takes the place of the features that were skipped."""
        height, width = skip.shape
        means = self._means(skip.values.shape[1], height, width)
        above = skip.values[:, :, :0]  # the rows above the band that it reaches, as they were

        def skipped(rows: slice) -> Tensor:
            return torch.cat([above, skip.values[:, :, rows.start + above.shape[2] : rows.stop]], dim=2)

        source, block = self._decoder(level, below, skip.means, skipped)
        for rows in self._bands(level, height, width):
            features = block.rows(source, rows, height)
            above = skip.values[:, :, max(rows.stop - _HALO, 0) : rows.stop].clone()
            skip.values[:, :, rows] = features
            means.put(rows, features)
            self._tell(f"decode{level}", rows.stop / height)
        return _Kept(skip.values, means.means())

    def _decoder(self, level: int, below: _Kept, skip_means: Tensor, skipped: Rows) -> tuple[Rows, _Block]:
        """Return what makes the input of a level of the decoder, and the block it goes through.

        The means of a transposed convolution are the mean over its taps of what it makes of its input's means.
        """
        exact = cast(nn.ConvTranspose2d, getattr(self._network, f"up{level}"))
        up = cast(nn.ConvTranspose2d, getattr(self._layers, f"up{level}"))
        up_means = below.means @ exact.weight.mean(dim=(2, 3)) + cast(Tensor, exact.bias)
        block = cast(ChannelAttentionBlock, getattr(self._network, f"decode{level}"))

        def source(rows: slice) -> Tensor:
            raised = up(below.values[:, :, rows.start // 2 : (rows.stop + 1) // 2])
            raised = raised[:, :, rows.start % 2 :][:, :, : rows.stop - rows.start]
            return torch.cat([raised, skipped(rows)], dim=1)

        return source, _Block.of(block, torch.cat([up_means, skip_means]), self._dtype)

    def _mix(self, planes: Planes, head: Tensor, rows: slice, smooth: list[Tensor]) -> Tensor:
        """Return the picture of packed rows from the head's channels."""
        _, height, width = planes.shape
        if self.config.base == "none":
            return self._network.mix(head, head, [])
        there = _around(rows, MARGIN, height)
        above, below = there.start - (rows.start - MARGIN), rows.stop + MARGIN - there.stop
        around = self._network.continued(self._upload(planes, there), (MARGIN, MARGIN, above, below))
        continued = [_continued(level, side, rows, width) for level, side in zip(smooth, PYRAMID, strict=False)]
        return self._network.mix(head, around, continued)

    def _upload(self, planes: Planes, rows: slice) -> Tensor:
        """Return packed rows (1, P, n, w) float32 on the device."""
        part = torch.from_numpy(np.ascontiguousarray(planes.rows(rows.start, rows.stop)))[None]
        if self._device.type == "cuda":
            part = part.pin_memory()
        return part.to(self._device, non_blocking=True)

    def _empty(self, channels: int, height: int, width: int) -> Tensor:
        """Return memory for features; it is taken as it is written."""
        shape = (1, channels, height, width)
        return torch.empty(shape, dtype=self._dtype, device=self._device, memory_format=torch.channels_last)

    def _means(self, channels: int, height: int, width: int, *, doubled: bool = False) -> _Means:
        return _Means(channels, height, width, self._device, doubled=doubled)

    def _bands(self, level: int, height: int, width: int, most: int | None = None) -> Iterator[slice]:
        """Yield the rows of a level's bands, of about ``most`` pixels, or of as many as asked for."""
        pixels = self._band >> level  # channels double, so that a band takes as much memory at every level
        count = max(min(pixels, most or pixels) // width // _BLOCK, 1) * _BLOCK
        for top in range(0, height, count):
            yield slice(top, min(top + count, height))

    def _tell(self, stage: str, share: float) -> None:
        """Tell how much is done after a share of a stage."""
        if self._progress is not None:
            stages = list(_WORK)
            before = sum(_WORK[name] for name in stages[: stages.index(stage)])
            self._progress((before + share * _WORK[stage]) / sum(_WORK.values()))


def kept_bytes(config: AlenConfig, height: int, width: int, dtype: torch.dtype) -> int:
    """Return the bytes that packed planes (P, h, w) take at most at the same time: features and averages that are kept.

    Features are the most while a level of the encoder is made: what the decoder needs, what comes in, what goes out.
    """
    zero, one, two, three = config.widths
    seen = 1 if config.spatial_attention else 0
    channels = max(
        zero / 4 + seen * zero / 16 + one / 4 + one / 16,
        one / 4 + one / 16 + seen * one / 64 + two / 16 + two / 64,
        one / 4 + two / 16 + two / 64 + seen * two / 256 + three / 64,
    )
    side = config.unshuffle
    first = first_features_bytes(config, height // side, width // side, dtype)
    smooth = sum(12 * height * width / side**2 for side in PYRAMID) if config.base == "mixtures" else 0.0
    features = channels * dtype.itemsize * height * width / side**2
    return round(features + smooth) + (first if first <= FIRST_BYTES else 0)


def first_features_bytes(config: AlenConfig, height: int, width: int, dtype: torch.dtype) -> int:
    """Return the bytes of the first level's features of an input stack (N, C, H, W) of one frame."""
    return height * width * config.widths[0] * dtype.itemsize


def _around(rows: slice, halo: int, height: int) -> slice:
    """Return rows and those around them, as far as the frame goes."""
    return slice(max(rows.start - halo, 0), min(rows.stop + halo, height))


def _pooled(x: _Kept, rows: slice) -> Tensor:
    """Return rows (1, C, n, ⌈W/2⌉) of features averaged 2 × 2."""
    return F.avg_pool2d(x.values[:, :, 2 * rows.start : 2 * rows.stop], 2, ceil_mode=True)


def _positions(x: Tensor) -> Tensor:
    """Return features (1, C, h, w) as (1, h·w, C)."""
    return x.flatten(2).transpose(1, 2)


def _averaging(grid: int, size: int) -> Tensor:
    """Return the matrix (grid, size) float32 that averages as torch's adaptive pooling does, which mps lacks."""
    matrix = torch.zeros(grid, size)
    for index in range(grid):
        begin, end = index * size // grid, -(-(index + 1) * size // grid)
        matrix[index, begin:end] = 1 / (end - begin)
    return matrix


def _continued(level: Tensor, side: int, rows: slice, width: int) -> Tensor:
    """Return rows (1, 3, n, w) of averages (1, 3, ⌈h/side⌉, ⌈w/side⌉) of a frame, continued bilinearly."""
    position = ((torch.arange(rows.start, rows.stop, dtype=torch.float64) + 0.5) / side - 0.5).clamp_min(0)
    above = position.long()
    below = (above + 1).clamp_max(level.shape[2] - 1)
    share = (position - above).float()[:, None].to(level.device)
    lines = torch.lerp(level[:, :, above.to(level.device)], level[:, :, below.to(level.device)], share)
    return F.interpolate(lines, scale_factor=(1, side), mode="bilinear", align_corners=False)[:, :, :, :width]

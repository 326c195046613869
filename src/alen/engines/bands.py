"""The attention network on a whole frame, band by band: memory is bounded by what has to be kept of the frame.

Two things in the network describe the whole frame: the channel gates, which are computed from the means of all
features, and the keys and values that every position sees. So each level is finished before the next begins, and its
features are kept, in the engine's precision; what is between the layers of a level exists for a band alone. The result
does not depend on the size of the bands: every row is computed from the same numbers whichever band it is in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from alen.config import AlenConfig
from alen.engines import graph

_HALO: Final = 2
"""Rows that the two 3 × 3 convolutions of a block need above and below."""

_BLOCK: Final = 4
"""Bands are multiples of so many rows: halved they are averaged 2 × 2."""

_CACHED: Final = 1 << 16
"""Pixels of all planes that stay in a processor's cache."""

Means = NDArray[np.float32]
"""(C,), of every channel of a frame's features."""


class _Kept:
    """Features of a whole frame, (H, W, C), with rows of zeros above and below: a band has neighbors everywhere."""

    def __init__(self, height: int, width: int, channels: int, storage: ov.Type, *, halo: int) -> None:
        dtype = np.float32 if storage == ov.Type.f32 else np.uint16  # which bfloat16's bits go by: numpy has none
        self._array = np.empty((height + 2 * halo, width, channels), dtype=dtype)
        self._array[:halo] = 0
        self._array[halo + height :] = 0
        self._storage = storage
        self._halo = halo

    def rows(self, start: int, stop: int) -> ov.Tensor:
        """Return rows (1, stop − start, W, C) to be read or written where they are; they may reach into the halo."""
        part = self._array[None, self._halo + start : self._halo + stop]
        return ov.Tensor(part, ov.Shape(part.shape), self._storage)


@dataclass(frozen=True)
class _Encoded:
    """What a level of the encoder leaves."""

    skip: _Kept
    """For the decoder."""
    skip_means: Means
    down: _Kept
    """Halved, for the next level."""
    down_means: Means
    pooled: _Kept | None
    """Halved again by averaging, for its attention."""


@dataclass(frozen=True)
class _Decoded:
    """What a level of the decoder, or the deepest one, leaves."""

    y: _Kept
    means: Means


class BandedTrunk:
    """Everything of the attention network that has weights, made ready for one frame size.

    Args:
        config: The network.
        arrays: Its weights by name.
        height: Rows of the packed planes; a multiple of 8.
        width: Columns of the packed planes; a multiple of 8.
        compile_model: Compiles a graph in the engine's precision.
        storage: Type in which features are kept: ov.Type.bf16 or ov.Type.f32.
        band: Pixels of a level, about, that are computed at a time.
    """

    def __init__(
        self,
        config: AlenConfig,
        arrays: graph.Arrays,
        height: int,
        width: int,
        compile_model: Callable[[Any], Any],
        storage: ov.Type,
        *,
        band: int,
    ) -> None:
        self._config = config
        self._arrays = arrays
        self._storage = storage
        self._sizes = [(height >> level, width >> level) for level in range(4)]
        self._rows = [_band_rows(config, h, w, band) for h, w in self._sizes[:3]]

        def compiled(stage: Callable[..., Any], *arguments: int) -> Any:
            return compile_model(stage(config, arrays, *arguments, storage))

        widths = [w for _, w in self._sizes]
        self._front = compiled(graph.front, self._rows[0], width)
        self._encode = {level: compiled(graph.encode, level, self._rows[level], widths[level]) for level in (1, 2)}
        self._decode = {level: compiled(graph.decode, level, self._rows[level], widths[level]) for level in (2, 1, 0)}
        self._attend = {}
        if config.spatial_attention:
            self._attend = {level: compiled(graph.attend, level, *self._sizes[level + 1]) for level in (1, 2)}
        self._deepest = compiled(graph.deepest, *self._sizes[3])

    def heads(self, planes: NDArray[np.float32]) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """Yield rows of the frame, from top to bottom, and the head's channels (1, 12 and more, rows, w) of them.

        Args:
            planes: (4, h, w) float32, as `alen.engines.Engine.run` takes them.

        The channels are float32, and valid until the next are asked for.
        """
        level0 = self._run_front(planes)
        level1 = self._run_encode(1, level0)
        skip0, means0 = level0.skip, level0.skip_means
        del level0  # and with it what was halved: memory is what this is about
        level2 = self._run_encode(2, level1)
        skip1, means1 = level1.skip, level1.skip_means
        del level1
        decoded = self._run_deepest(level2)
        decoded = self._run_decode(2, decoded, level2.skip, level2.skip_means)
        del level2
        decoded = self._run_decode(1, decoded, skip1, means1)
        del skip1
        yield from self._run_last(decoded, skip0, means0)

    def _run_front(self, planes: NDArray[np.float32]) -> _Encoded:
        request = self._front.create_infer_request()
        height, width = planes.shape[1:]
        band = np.zeros((1, 4, self._rows[0] + 2 * _HALO, width), dtype=np.float32)
        request.set_tensor("planes", ov.Tensor(band, shared_memory=True))
        gate = self._gate("stem.gate", _stack_means(planes, self._config.brightness))
        request.set_tensor("gate", ov.Tensor(gate.reshape(1, -1, 1, 1)))

        def fill(start: int, stop: int) -> None:
            top, bottom = max(start - _HALO, 0), min(stop + _HALO, height)
            first = top - (start - _HALO)
            band[0, :, :first] = 0
            band[0, :, first : first + bottom - top] = planes[:, top:bottom]
            band[0, :, first + bottom - top :] = 0

        encoded = self._run_encoder(0, request, fill)
        self._front.release_memory()
        return encoded

    def _run_encode(self, level: int, before: _Encoded) -> _Encoded:
        request = self._encode[level].create_infer_request()
        means = before.down_means
        seen: _Kept | None = None
        if before.pooled is not None:
            seen, seen_means = self._run_attend(level, before.pooled)
            means = np.concatenate([means, seen_means])
        gate, gate_seen = np.split(self._gate(f"encode{level}.block.gate", means), [len(before.down_means)])
        request.set_tensor("gate", ov.Tensor(gate.reshape(1, 1, 1, -1)))
        if seen is not None:
            request.set_tensor("gate_seen", ov.Tensor(gate_seen.reshape(1, 1, 1, -1)))

        def fill(start: int, stop: int) -> None:
            request.set_tensor("x", before.down.rows(start - _HALO, stop + _HALO))
            if seen is not None:
                request.set_tensor("seen", seen.rows(start // 2 - 1, stop // 2 + 1))

        encoded = self._run_encoder(level, request, fill)
        self._encode[level].release_memory()
        return encoded

    def _run_encoder(self, level: int, request: Any, fill: Callable[[int, int], None]) -> _Encoded:
        """Run a stage of the encoder over all bands; ``fill`` sets its inputs for rows start to stop."""
        (height, width), (half_height, half_width) = self._sizes[level : level + 2]
        down_channels = self._config.widths[level]
        skip = _Kept(height, width, down_channels, self._storage, halo=_HALO)
        down = _Kept(half_height, half_width, down_channels, self._storage, halo=_HALO if level < 2 else 0)
        pooled: _Kept | None = None
        if level < 2 and self._config.spatial_attention:
            pooled = _Kept(half_height // 2, half_width // 2, down_channels, self._storage, halo=0)
        skip_sums, down_sums = np.zeros(down_channels), np.zeros(down_channels)
        for start, stop, new in _bands(height, self._rows[level]):
            fill(start, stop)
            request.set_tensor("mask", _mask(start - 1, stop + 1, height))
            request.set_tensor("skip", skip.rows(start, stop))
            request.set_tensor("down", down.rows(start // 2, stop // 2))
            if pooled is not None:
                request.set_tensor("pooled", pooled.rows(start // 4, stop // 4))
            request.infer()
            skip_sums += request.get_tensor("skip_means").data[0, :, new - start :].sum(axis=1, dtype=np.float64)
            down_sums += request.get_tensor("down_means").data[0, :, (new - start) // 2 :].sum(axis=1, dtype=np.float64)
        skip_means, down_means = (skip_sums / height).astype(np.float32), (down_sums / half_height).astype(np.float32)
        return _Encoded(skip, skip_means, down, down_means, pooled)

    def _run_attend(self, level: int, pooled: _Kept) -> tuple[_Kept, Means]:
        compiled = self._attend[level]
        height, width = self._sizes[level + 1]
        seen = _Kept(height, width, self._config.widths[level - 1], self._storage, halo=1)
        request = compiled.create_infer_request()
        request.set_tensor("pooled", pooled.rows(0, height))
        request.set_tensor("seen", seen.rows(0, height))
        request.infer()
        means = request.get_tensor("means").data[0].copy()
        compiled.release_memory()
        return seen, means

    def _run_deepest(self, level2: _Encoded) -> _Decoded:
        height, width = self._sizes[3]
        y = _Kept(height, width, self._config.widths[3], self._storage, halo=1)
        request = self._deepest.create_infer_request()
        request.set_tensor("x", level2.down.rows(0, height))
        request.set_tensor("y", y.rows(0, height))
        request.infer()
        means = request.get_tensor("means").data[0].copy()
        self._deepest.release_memory()
        return _Decoded(y, means)

    def _run_decode(self, level: int, below: _Decoded, skip: _Kept, skip_means: Means) -> _Decoded:
        request = self._decode[level].create_infer_request()
        height, width = self._sizes[level]
        y = _Kept(height, width, self._config.widths[level], self._storage, halo=1)
        sums = np.zeros(self._config.widths[level])
        gate = self._set_gates(level, request, below.means, skip_means)
        for start, stop, new in _bands(height, self._rows[level]):
            self._fill_decoder(request, below.y, skip, gate, start, stop, height)
            request.set_tensor("y", y.rows(start, stop))
            request.infer()
            sums += request.get_tensor("y_means").data[0, :, new - start :].sum(axis=1, dtype=np.float64)
        self._decode[level].release_memory()
        return _Decoded(y, (sums / height).astype(np.float32))

    def _run_last(self, below: _Decoded, skip: _Kept, skip_means: Means) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        request = self._decode[0].create_infer_request()
        height = self._sizes[0][0]
        gate = self._set_gates(0, request, below.means, skip_means)
        for start, stop, new in _bands(height, self._rows[0]):
            self._fill_decoder(request, below.y, skip, gate, start, stop, height)
            request.infer()
            yield slice(new, stop), request.get_tensor("head").data[:, :, new - start :]
        self._decode[0].release_memory()

    def _fill_decoder(
        self, request: Any, below: _Kept, skip: _Kept, gate: Means, start: int, stop: int, height: int
    ) -> None:
        request.set_tensor("x", below.rows(start // 2 - 1, stop // 2 + 1))
        request.set_tensor("skip", skip.rows(start - _HALO, stop + _HALO))
        inside = _inside(start - _HALO, stop + _HALO, height)
        request.set_tensor("gate", ov.Tensor((gate[:, None] * inside)[None, :, :, None].copy()))
        request.set_tensor("mask", _mask(start - 1, stop + 1, height))

    def _set_gates(self, level: int, request: Any, below_means: Means, skip_means: Means) -> Means:
        """Set the gates of what was skipped, and return those of what comes from below, doubled in size.

        The means of a transposed convolution are the mean over its taps of what it makes of its input's means.
        """
        weight, bias = (self._arrays[f"up{level}.{kind}"] for kind in ("weight", "bias"))
        means = below_means @ weight.mean(axis=(2, 3)) + bias
        gate, gate_skip = np.split(self._gate(f"decode{level}.gate", np.concatenate([means, skip_means])), [len(means)])
        request.set_tensor("gate_skip", ov.Tensor(gate_skip.reshape(1, 1, 1, -1)))
        return gate

    def _gate(self, name: str, means: Means) -> Means:
        """Return the gates of channels from their means, see `alen.models.attention.ChannelGate`."""
        if not self._config.channel_attention:
            return np.ones_like(means)
        squeeze, excite = (self._arrays[f"{name}.{layer}.weight"] for layer in ("squeeze", "excite"))
        hidden = np.maximum(squeeze @ means + self._arrays[f"{name}.squeeze.bias"], 0)
        gate = excite @ hidden + self._arrays[f"{name}.excite.bias"]
        gates: Means = (self._config.gate_scale / (1 + np.exp(-gate))).astype(np.float32)
        return gates


def _stack_means(planes: NDArray[np.float32], brightness: Sequence[float]) -> Means:
    """Return the means of the network's input stack: of every plane at every brightness, clipped to [−1, 1]."""
    _, height, width = planes.shape
    sums = np.zeros((len(brightness), len(planes)))
    rows = max(_CACHED // width, 1)
    for top in range(0, height, rows):
        part = planes[:, top : top + rows]
        scaled = np.empty_like(part)
        for index, factor in enumerate(brightness):
            np.multiply(part, np.float32(factor), out=scaled)
            np.minimum(scaled, np.float32(1), out=scaled)
            np.maximum(scaled, np.float32(-1), out=scaled)
            sums[index] += scaled.sum(axis=(1, 2))
    means: Means = (sums.ravel() / (height * width)).astype(np.float32)
    return means


def _band_rows(config: AlenConfig, height: int, width: int, band: int) -> int:
    """Return the rows of a band."""
    if config.downsample == "strided":  # its convolution reads a row above the band
        return height
    return min(max(band // width // _BLOCK, 1) * _BLOCK, height)


def _bands(height: int, rows: int) -> Iterator[tuple[int, int, int]]:
    """Yield (start, stop, new) of bands that are all as high: the last begins with rows before ``new`` again."""
    for new in range(0, height, rows):
        stop = min(new + rows, height)
        yield stop - rows, stop, new


def _inside(start: int, stop: int, height: int) -> Means:
    """Return 1 for every row of the frame, 0 for those beyond it."""
    rows = np.arange(start, stop)
    return ((rows >= 0) & (rows < height)).astype(np.float32)


def _mask(start: int, stop: int, height: int) -> ov.Tensor:
    return ov.Tensor(_inside(start, stop, height).reshape(1, 1, -1, 1))

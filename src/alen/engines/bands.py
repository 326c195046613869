"""The attention network on a whole frame, band by band: memory is bounded by what has to be kept of the frame.

Two things in the network describe the whole frame: the channel gates, which are computed from the means of all
features, and the keys and values that every position sees. So each level is finished before the next begins, and its
features are kept, in the engine's precision; what is between the layers of a level exists for a band alone. The result
does not depend on the size of the bands: every row is computed from the same numbers whichever band it is in.

Requests share their outputs: else OpenVINO's Python package copies them all.

Features take their memory as they are written, and give it back row by row as they are read for the last time. The
first level's, half of all, are made twice instead of kept where they would be larger than `FIRST_BYTES`.
"""

from __future__ import annotations

import contextlib
import math
import mmap
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from alen.config import AlenConfig
from alen.engines import UnshuffledPlanes, graph
from alen.openvino_runtime import ov

_HALO: Final = 2
"""Rows that the two 3 × 3 convolutions of a block need above and below."""

_BLOCKS: Final = (4, 4, 4, 2)
"""By level, the rows of which bands begin at a multiple: halved they are averaged 2 × 2; of the deepest they are paired
with what is repeated 2 × 2."""

WORK: Final = {
    "front": 4,
    "encode1": 2,
    "encode2": 1,
    "encode3": 1,
    "decode2": 1,
    "decode1": 2,
    "last": 13,
}
"""How long the stages take, in order, relative to each other: the last makes the picture, too."""

FIRST_BYTES: Final = 200_000_000
"""First features up to this size are kept: making them again is a fifth of the network's work."""

_PAGE: Final = mmap.PAGESIZE

Means = NDArray[np.float32]
"""(C,), of every channel of a frame's features."""


class _Kept:
    """Features of a whole frame, (H, W, C), with rows of zeros above and below: a band has neighbors everywhere."""

    def __init__(self, height: int, width: int, channels: int, storage: ov.Type, *, halo: int) -> None:
        dtype = np.float32 if storage == ov.Type.f32 else np.uint16  # which bfloat16's bits go by: numpy has none
        shape = (height + 2 * halo, width, channels)
        self._memory = _memory(np.dtype(dtype).itemsize * math.prod(shape))
        self._array = np.frombuffer(self._memory, dtype, math.prod(shape)).reshape(shape)  # fresh memory is zero
        self.channels = channels
        self._storage = storage
        self._halo = halo
        self._released = 0

    def rows(self, start: int, stop: int) -> ov.Tensor:
        """Return rows (1, stop − start, W, C) to be read or written where they are; they may reach into the halo."""
        part = self._array[None, self._halo + start : self._halo + stop]
        return ov.Tensor(part, ov.Shape(part.shape), self._storage)

    def values(self, start: int, stop: int) -> NDArray[np.float32]:
        """Return a copy of rows as numbers, (stop − start, W, C)."""
        return _numbers(self._array[self._halo + start : self._halo + stop])

    def release(self, stop: int) -> None:
        """Give the memory of the rows before ``stop`` back, which are not read again."""
        if not hasattr(mmap, "MADV_DONTNEED"):  # not on Windows
            return
        end = (max(self._halo + stop, 0) * self._array.strides[0]) // _PAGE * _PAGE
        if end > self._released:
            self._memory.madvise(mmap.MADV_DONTNEED, self._released, end - self._released)
            self._released = end


class _RowMeans:
    """The means of the rows of a band, (1, rows, 1, C): an output of a stage that is read after each band."""

    def __init__(self, rows: int, channels: int, storage: ov.Type) -> None:
        self._array = np.empty((1, rows, 1, channels), dtype=np.float32 if storage == ov.Type.f32 else np.uint16)
        self.tensor = ov.Tensor(self._array, ov.Shape(self._array.shape), storage)

    def values(self, first: int = 0) -> NDArray[np.float32]:
        """Return those of a row and all below it, (rows, C)."""
        return _numbers(self._array[0, first:, 0])

    def sum(self, first: int) -> NDArray[np.float64]:
        """Return the sum (C,) over a row and all below it."""
        total: NDArray[np.float64] = self.values(first).sum(axis=0, dtype=np.float64)
        return total


def _numbers(stored: NDArray[Any]) -> NDArray[np.float32]:
    """Return a copy of features as numbers."""
    if stored.dtype == np.float32:
        return stored.astype(np.float32)
    bits = stored.astype(np.uint32) << np.uint32(16)  # bfloat16 is the upper half of float32
    return bits.view(np.float32)


def _memory(size: int) -> mmap.mmap:
    """Return zeroed memory that takes room only where it is written, in large pages where there are such."""
    if sys.platform == "win32":
        return mmap.mmap(-1, size)
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):  # a kernel without them
            memory.madvise(mmap.MADV_HUGEPAGE)
    return memory


@dataclass(frozen=True)
class _Encoded:
    """What a level of the encoder leaves."""

    skip: _Kept | None
    """For the decoder; None of the first level, if it is made again."""
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
        height: Rows of the packed planes, unshuffled as the network wants them; a multiple of 8.
        width: Columns of them; a multiple of 8.
        compile_model: Compiles a graph in the engine's precision.
        storage: Type in which features are kept: ov.Type.bf16 or ov.Type.f32.
        first_bytes: First features up to this size are kept.
        band: Pixels of a level, about, that are computed at a time.
        threads: How many graphs are compiled at a time.
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
        first_bytes: int = FIRST_BYTES,
        threads: int = 1,
    ) -> None:
        self._config = config
        self._arrays = arrays
        self._storage = storage
        self._sizes = [(height >> level, width >> level) for level in range(4)]
        self._rows = [band_rows(config, level, h, w, band) for level, (h, w) in enumerate(self._sizes)]
        self._attend_rows: dict[int, int] = {}
        self._progress: Callable[[float], None] | None = None

        self._keeps_first = first_features_bytes(config, height, width, storage) <= first_bytes

        def model(stage: Callable[..., Any], *arguments: int, **settings: bool) -> Any:
            return stage(config, arrays, *arguments, storage, **settings)

        widths = [w for _, w in self._sizes]
        models = {
            "front": model(graph.front, self._rows[0], width, keep=self._keeps_first),
            "last": model(graph.last, self._rows[0], width, kept=self._keeps_first),
        }
        for level in (1, 2, 3):
            models[f"encode{level}"] = model(graph.encode, level, self._rows[level], widths[level])
        for level in (2, 1):
            models[f"decode{level}"] = model(graph.decode, level, self._rows[level], widths[level])
        if config.spatial_attention:
            for level in (1, 2, 3):
                pooled = [(n + 1) // 2 for n in self._sizes[level]]
                rows = min(max(band // pooled[1], 1), pooled[0])
                self._attend_rows[level] = rows
                key_count = math.prod(len(_cells(config, n)[0]) for n in pooled)
                models[f"attend{level}"] = model(graph.attend, level, rows, widths[level], key_count)

        with ThreadPoolExecutor(threads) as pool:
            self._compiled = dict(zip(models, pool.map(compile_model, models.values()), strict=True))

    def heads(
        self, planes: UnshuffledPlanes, stack_means: Means, progress: Callable[[float], None] | None = None
    ) -> Iterator[tuple[int, slice, ov.Tensor]]:
        """Yield (new, rows, head) from top to bottom: the head's channels of rows, see `alen.engines.graph.last`.

        The rows before ``new`` were among those before.

        Args:
            planes: The frame, unshuffled as the network wants it.
            stack_means: Means of the network's input stack over the frame, see `stack_sums`.
            progress: Told the share of the work that is done.

        The channels are valid until the next are asked for.
        """
        self._progress = progress
        gate = self._gate("stem.gate", stack_means)
        level0 = self._run_front(planes, gate)
        level1 = self._run_encode(1, level0)
        skip0, means0 = level0.skip, level0.skip_means
        del level0  # what was halved: memory is what this is about
        level2 = self._run_encode(2, level1)
        skip1, means1 = level1.skip, level1.skip_means
        del level1
        decoded = self._run_deepest(level2)
        decoded = self._run_decode(2, decoded, level2.skip, level2.skip_means)
        del level2
        decoded = self._run_decode(1, decoded, skip1, means1)
        del skip1
        yield from self._run_last(decoded, planes, gate, skip0, means0)

    def _run_front(self, planes: UnshuffledPlanes, gate: Means) -> _Encoded:
        request = self._compiled["front"].create_infer_request()
        request.set_tensor("gate_planes", ov.Tensor(gate.reshape(1, -1, 1, 1)))
        window = _Window(planes, self._rows[0], _HALO)
        request.set_tensor("planes", window.tensor)
        encoded = self._run_encoder(0, request, window.fill)
        self._compiled["front"].release_memory()
        return encoded

    def _run_encode(self, level: int, before: _Encoded) -> _Encoded:
        request = self._compiled[f"encode{level}"].create_infer_request()
        source = self._source(level, request, before)
        encoded = self._run_encoder(level, request, source.fill, source.release)
        self._compiled[f"encode{level}"].release_memory()
        return encoded

    def _source(self, level: int, request: Any, before: _Encoded) -> _Source:
        """Return what sets the inputs of a level of the encoder, and set its gates."""
        means = before.down_means
        seen: _Kept | None = None
        if before.pooled is not None:
            seen, seen_means = self._run_attend(level, before.pooled)
            means = np.concatenate([means, seen_means])
        gate, gate_seen = np.split(self._gate(f"encode{level}.block.gate", means), [len(before.down_means)])
        request.set_tensor("gate", ov.Tensor(gate.reshape(1, 1, 1, -1)))
        if seen is not None:
            request.set_tensor("gate_seen", ov.Tensor(gate_seen.reshape(1, 1, 1, -1)))
        return _Source(request, before.down, seen)

    def _run_encoder(
        self,
        level: int,
        request: Any,
        fill: Callable[[int, int], None],
        release: Callable[[int], None] | None = None,
    ) -> _Encoded:
        """Run a stage of the encoder over all bands.

        ``fill`` sets its inputs for rows start to stop, ``release`` is told the first row that is still to be read.
        """
        (height, width), (half_height, half_width) = self._sizes[level : level + 2]
        down_channels = self._config.widths[level]
        skip: _Kept | None = None
        if level > 0 or self._keeps_first:
            skip = _Kept(height, width, down_channels, self._storage, halo=_HALO)
        down = _Kept(half_height, half_width, down_channels, self._storage, halo=_HALO)
        pooled: _Kept | None = None
        if self._config.spatial_attention:
            pooled = _Kept((half_height + 1) // 2, (half_width + 1) // 2, down_channels, self._storage, halo=0)
        skip_sums, down_sums = np.zeros(down_channels), np.zeros(down_channels)
        rows = self._rows[level]
        skip_means, down_means = (_RowMeans(n, down_channels, self._storage) for n in (rows, rows // 2))
        request.set_tensor("skip_means", skip_means.tensor)
        request.set_tensor("down_means", down_means.tensor)
        for start, stop, new in _bands(level, height, rows):
            fill(start, stop)
            request.set_tensor("mask", _mask(start - 1, stop + 1, height))
            if skip is not None:
                request.set_tensor("skip", skip.rows(start, stop))
            request.set_tensor("down", down.rows(start // 2, stop // 2))
            if pooled is not None:
                request.set_tensor("pooled", pooled.rows(start // 4, (stop + 3) // 4))
            request.infer(share_outputs=True)
            skip_sums += skip_means.sum(new - start)
            down_sums += down_means.sum((new - start) // 2)
            if release is not None:
                release(_next_row(level, height, rows, stop))
            self._tell("front" if level == 0 else f"encode{level}", stop / height)
        of_skip, of_down = (skip_sums / height).astype(np.float32), (down_sums / half_height).astype(np.float32)
        return _Encoded(skip, of_skip, down, of_down, pooled)

    def _run_attend(self, level: int, pooled: _Kept) -> tuple[_Kept, Means]:
        """Return what averaged features see of the frame, and the means of what becomes of it."""
        height, width = ((n + 1) // 2 for n in self._sizes[level])
        compiled = self._compiled[f"attend{level}"]
        request = compiled.create_infer_request()
        averages = self._cell_averages(pooled, height, width)
        for output, name in (("keys", "key"), ("values", "value")):
            weight, bias = (self._arrays[f"encode{level}.spatial.{name}.{kind}"] for kind in ("weight", "bias"))
            # not by BLAS, whose threads then spin for a tenth of a second on cores that the next stage wants
            embedded = np.einsum("kc,dc->kd", averages, weight[:, :, 0, 0]) + bias
            limit = self._config.attention_limit
            if name == "key" and limit is not None:
                embedded *= limit / np.maximum(np.linalg.norm(embedded, axis=1, keepdims=True), 1e-12)
            request.set_tensor(output, ov.Tensor(embedded[None, None]))
        seen = _Kept(height, width, self._config.widths[level - 1], self._storage, halo=1)
        means = np.empty((height, self._config.widths[level - 1]), dtype=np.float32)
        rows = self._attend_rows[level]
        row_means = _RowMeans(rows, self._config.widths[level - 1], self._storage)
        request.set_tensor("seen_means", row_means.tensor)
        for top in range(0, height, rows):
            start = min(top, height - rows)
            request.set_tensor("pooled", pooled.rows(start, start + rows))
            request.set_tensor("seen", seen.rows(start, start + rows))
            request.infer(share_outputs=True)
            means[start : start + rows] = row_means.values()
            pooled.release(min(start + rows, height - rows))
        compiled.release_memory()
        often = np.full(height, 2.0)  # the last row of an odd frame is not repeated
        often[-1] -= self._sizes[level][0] % 2
        return seen, (often @ means / often.sum()).astype(np.float32)

    def _cell_averages(self, pooled: _Kept, height: int, width: int) -> NDArray[np.float32]:
        """Return the averages (K, C) of the cells of a frame, of which keys and values are made.

        Averaged before the 1 × 1 convolutions rather than after them as in the paper: the same, and less work.
        """
        tops, bottoms = _cells(self._config, height)
        lefts, rights = _cells(self._config, width)
        averages = np.empty((len(tops), len(lefts), pooled.channels), dtype=np.float32)
        sums = np.zeros((width + 1, pooled.channels))
        for index, (top, bottom) in enumerate(zip(tops, bottoms, strict=True)):
            np.cumsum(pooled.values(top, bottom).sum(axis=0), axis=0, dtype=np.float64, out=sums[1:])
            counts = (bottom - top) * (rights - lefts)
            averages[index] = (sums[rights] - sums[lefts]) / counts[:, None]
        return averages.reshape(-1, pooled.channels)

    def _run_deepest(self, before: _Encoded) -> _Decoded:
        compiled = self._compiled["encode3"]
        request = compiled.create_infer_request()
        source = self._source(3, request, before)
        height = self._sizes[3][0]

        def fill(start: int, stop: int) -> None:
            source.fill(start, stop)
            if source.seen is not None:
                inside = _inside(start - _HALO, stop + _HALO, height)
                request.set_tensor("inside", ov.Tensor(inside.reshape(1, 1, -1, 1)))

        return self._run_bands(3, compiled, request, fill, source.release)

    def _run_decode(self, level: int, below: _Decoded, skip: _Kept | None, skip_means: Means) -> _Decoded:
        assert skip is not None, "only the first level's features are made again"
        compiled = self._compiled[f"decode{level}"]
        request = compiled.create_infer_request()
        source = self._skipped(level, request, below, skip, skip_means)
        return self._run_bands(level, compiled, request, source.fill, source.release)

    def _skipped(self, level: int, request: Any, below: _Decoded, skip: _Kept, skip_means: Means) -> _Skipped:
        """Return what sets the inputs of a level of the decoder, and set the gate of what was skipped."""
        gate, gate_skip = self._decoder_gates(level, below.means, skip_means)
        request.set_tensor("gate_skip", ov.Tensor(gate_skip.reshape(1, 1, 1, -1)))
        return _Skipped(request, below.y, gate, skip, self._sizes[level][0])

    def _run_bands(
        self,
        level: int,
        compiled: Any,
        request: Any,
        fill: Callable[[int, int], None],
        release: Callable[[int], None],
    ) -> _Decoded:
        """Run a stage whose one result is features "y"; ``fill`` and ``release`` as of `_run_encoder`."""
        height, width = self._sizes[level]
        y = _Kept(height, width, self._config.widths[level], self._storage, halo=1)
        sums = np.zeros(self._config.widths[level])
        means = _RowMeans(self._rows[level], self._config.widths[level], self._storage)
        request.set_tensor("y_means", means.tensor)
        for start, stop, new in _bands(level, height, self._rows[level]):
            fill(start, stop)
            request.set_tensor("mask", _mask(start - 1, stop + 1, height))
            request.set_tensor("y", y.rows(start, stop))
            request.infer(share_outputs=True)
            sums += means.sum(new - start)
            release(_next_row(level, height, self._rows[level], stop))
            self._tell("encode3" if level == 3 else f"decode{level}", stop / height)
        compiled.release_memory()
        return _Decoded(y, (sums / height).astype(np.float32))

    def _run_last(
        self, below: _Decoded, planes: UnshuffledPlanes, stem_gate: Means, skip: _Kept | None, skip_means: Means
    ) -> Iterator[tuple[int, slice, ov.Tensor]]:
        compiled = self._compiled["last"]
        request = compiled.create_infer_request()
        height, rows = self._sizes[0][0], self._rows[0]
        source: _Skipped | _MadeAgain
        if skip is not None:
            source = self._skipped(0, request, below, skip, skip_means)
        else:
            window = _Window(planes, rows, 2 * _HALO)
            request.set_tensor("planes", window.tensor)
            request.set_tensor("gate_planes", ov.Tensor(stem_gate.reshape(1, -1, 1, 1)))
            gate, gate_skip = self._decoder_gates(0, below.means, skip_means)
            source = _MadeAgain(request, below.y, gate, window, gate_skip, height)
        for start, stop, new in _bands(0, height, rows):
            source.fill(start, stop)
            request.set_tensor("mask", _mask(start - 1, stop + 1, height))
            request.infer(share_outputs=True)
            self._tell("last", stop / height)
            yield new, slice(start, stop), request.get_tensor("head")
            source.release(_next_row(0, height, rows, stop))
        compiled.release_memory()

    def _tell(self, stage: str, share: float) -> None:
        """Tell how much is done after a share of a stage."""
        if self._progress is not None:
            stages = list(WORK)
            before = sum(WORK[name] for name in stages[: stages.index(stage)])
            self._progress((before + share * WORK[stage]) / sum(WORK.values()))

    def _decoder_gates(self, level: int, below_means: Means, skip_means: Means) -> tuple[Means, Means]:
        """Return the gates of what comes from below, doubled in size, and of what was skipped.

        The means of a transposed convolution are the mean over its taps of what it makes of its input's means.
        """
        weight, bias = (self._arrays[f"up{level}.{kind}"] for kind in ("weight", "bias"))
        means = below_means @ weight.mean(axis=(2, 3)) + bias
        gate, gate_skip = np.split(self._gate(f"decode{level}.gate", np.concatenate([means, skip_means])), [len(means)])
        return gate, gate_skip

    def _gate(self, name: str, means: Means) -> Means:
        """Return the gates of channels from their means, see `alen.models.attention.ChannelGate`."""
        if not self._config.channel_attention:
            return np.ones_like(means)
        squeeze, excite = (self._arrays[f"{name}.{layer}.weight"] for layer in ("squeeze", "excite"))
        hidden = np.maximum(squeeze @ means + self._arrays[f"{name}.squeeze.bias"], 0)
        gate = excite @ hidden + self._arrays[f"{name}.excite.bias"]
        limit = self._config.gate_limit
        if limit is not None:
            gate = limit * np.tanh(gate / limit)
        gates: Means = (self._config.gate_scale * 0.5 * (1 + np.tanh(0.5 * gate))).astype(np.float32)  # a sigmoid
        return gates


def kept_bytes(config: AlenConfig, height: int, width: int, storage: ov.Type) -> int:
    """Return the bytes of the features of planes (P, h, w), unshuffled, that are kept at the same time, at most.

    That is at the deepest level: what the decoder needs of those above it, what comes in and what is made.
    """
    _, one, two, three = config.widths
    channels = one / 4 + two / 16 + two / 64 + three / 64
    first = first_features_bytes(config, height, width, storage)
    return round(height * width * channels * _value_bytes(storage)) + (first if first <= FIRST_BYTES else 0)


def first_features_bytes(config: AlenConfig, height: int, width: int, storage: ov.Type) -> int:
    """Return the bytes of the first level's features of planes (P, h, w), unshuffled."""
    return height * width * config.widths[0] * _value_bytes(storage)


def _value_bytes(storage: ov.Type) -> int:
    return 4 if storage == ov.Type.f32 else 2


@dataclass(frozen=True)
class _Source:
    """The inputs of a level of the encoder."""

    request: Any
    x: _Kept
    seen: _Kept | None

    def fill(self, start: int, stop: int) -> None:
        """Set them for rows ``start``, which is even, to ``stop``."""
        self.request.set_tensor("x", self.x.rows(start - _HALO, stop + _HALO))
        if self.seen is not None:
            self.request.set_tensor("seen", self.seen.rows(start // 2 - 1, (stop + 1) // 2 + 1))

    def release(self, row: int) -> None:
        """Rows before ``row`` are not set again."""
        self.x.release(row - _HALO)
        if self.seen is not None:
            self.seen.release(row // 2 - 1)


@dataclass(frozen=True)
class _Skipped:
    """The inputs of a level of the decoder that gets what was skipped to it."""

    request: Any
    below: _Kept
    gate: Means
    """Of what comes from below."""
    skip: _Kept
    height: int

    def fill(self, start: int, stop: int) -> None:
        """Set them for rows ``start``, which is even, to ``stop``."""
        self.request.set_tensor("x", self.below.rows(start // 2 - 1, stop // 2 + 1))
        self.request.set_tensor("gate", _row_gate(self.gate, start, stop, self.height))
        self.request.set_tensor("skip", self.skip.rows(start - _HALO, stop + _HALO))

    def release(self, row: int) -> None:
        """Rows before ``row`` are not set again."""
        self.below.release(row // 2 - 1)
        self.skip.release(row - _HALO)


@dataclass(frozen=True)
class _MadeAgain:
    """The inputs of the last stage of the decoder if it makes the first features again."""

    request: Any
    below: _Kept
    gate: Means
    """Of what comes from below."""
    window: _Window
    gate_skip: Means
    height: int

    def fill(self, start: int, stop: int) -> None:
        """Set them for rows ``start``, which is even, to ``stop``."""
        self.request.set_tensor("x", self.below.rows(start // 2 - 1, stop // 2 + 1))
        self.request.set_tensor("gate", _row_gate(self.gate, start, stop, self.height))
        self.window.fill(start, stop)
        self.request.set_tensor("mask_planes", _mask(start - 1 - _HALO, stop + 1 + _HALO, self.height))
        self.request.set_tensor("gate_skip", _row_gate(self.gate_skip, start, stop, self.height))

    def release(self, row: int) -> None:
        """Rows before ``row`` are not set again."""
        self.below.release(row // 2 - 1)


class _Window:
    """Rows of the planes with those around them, and zeros beyond the frame: an input that is filled anew."""

    def __init__(self, planes: UnshuffledPlanes, rows: int, halo: int) -> None:
        self._planes = planes
        self._halo = halo
        count, self._height, width = planes.shape
        self._array = np.zeros((1, count, rows + 2 * halo, width), dtype=np.float32)
        self.tensor = ov.Tensor(self._array, shared_memory=True)

    def fill(self, start: int, stop: int) -> None:
        """Hold rows ``start`` to ``stop`` and the halo."""
        top, bottom = max(start - self._halo, 0), min(stop + self._halo, self._height)
        first = top - (start - self._halo)
        window = self._array[0]
        window[:, :first] = 0
        self._planes.put_rows(top, bottom, window[:, first : first + bottom - top])
        window[:, first + bottom - top :] = 0


def stack_sums(planes: NDArray[np.float32], brightness: Sequence[float], u: int) -> NDArray[np.float64]:
    """Return the sums over rows of the network's input stack: of every plane at every brightness, clipped to [−1, 1].

    Args:
        planes: (P, n, w) float32, packed; n and w multiples of ``u``.
        brightness: The factors.
        u: The network unshuffles them by so much; that need not be done for the sums.

    Returns:
        (factors × P·u²,), as channels are ordered in the stack.
    """
    count, rows, width = planes.shape
    sums = np.zeros((len(brightness), count, u, u))
    clipped = np.empty_like(planes)
    for index, factor in enumerate(brightness):  # clipped where their product would be, which saves a pass
        np.clip(planes, np.float32(-1 / factor), np.float32(1 / factor), out=clipped)
        of_columns = clipped.reshape(count, rows // u, u, width).sum(axis=1)  # the longer axis last
        for column in range(u):
            sums[index, :, :, column] = factor * of_columns[..., column::u].sum(axis=2, dtype=np.float64)
    return sums.ravel()


def _cells(config: AlenConfig, size: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return where the cells of a side begin and end that keys and values are averaged over.

    Of the fixed grid, as torch's adaptive pooling has them, or 4 wide.
    """
    if config.key_grid is None:
        begin = np.arange(0, size, 4)
        return begin, np.minimum(begin + 4, size)
    index = np.arange(config.key_grid)
    return index * size // config.key_grid, -(-(index + 1) * size // config.key_grid)


def band_rows(config: AlenConfig, level: int, height: int, width: int, band: int) -> int:
    """Return the rows of a level's bands: the last of them begins at a multiple of its blocks, too."""
    if config.downsample == "strided":  # its convolution reads a row above the band
        return height
    block = _BLOCKS[level]
    return min(max(band // width // block, 1) * block + height % block, height)


def _bands(level: int, height: int, rows: int) -> Iterator[tuple[int, int, int]]:
    """Yield (start, stop, new) of bands that are all as high: they may begin with rows before ``new`` again."""
    new = 0
    while new < height:
        start = _next_row(level, height, rows, new)
        yield start, start + rows, new
        new = start + rows


def _next_row(level: int, height: int, rows: int, stop: int) -> int:
    """Return the first row of the band that follows the one up to ``stop``."""
    return min(stop - stop % _BLOCKS[level], height - rows)


def _inside(start: int, stop: int, height: int) -> Means:
    """Return 1 for every row of the frame, 0 for those beyond it."""
    rows = np.arange(start, stop)
    return ((rows >= 0) & (rows < height)).astype(np.float32)


def _mask(start: int, stop: int, height: int) -> ov.Tensor:
    return ov.Tensor(_inside(start, stop, height).reshape(1, 1, -1, 1))


def _row_gate(gate: Means, start: int, stop: int, height: int) -> ov.Tensor:
    """Return gates (1, C, rows + 4, 1) of a band, zero in rows beyond the frame."""
    inside = _inside(start - _HALO, stop + _HALO, height)
    return ov.Tensor((gate[:, None] * inside)[None, :, :, None].copy())

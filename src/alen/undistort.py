"""Straight lines straight: the pixels of a picture fetched from where its lens has put them, from top to bottom.

A picture is made of squares; each square fetches from a part of the frame that is little larger than itself. Of the
frame no more is kept than the rows that squares to come still need.

Values are interpolated by cubics (R. Keys, 1981, with a = −0.75, as DNG readers do) that stay within the range of the
sixteen pixels they see: in linear light the dark side of a lamp's edge would else get a black rim.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from alen.engines.curves import Node
from alen.engines.openvino import compiled_for_one_core
from alen.lens_distortion import LensDistortion
from alen.openvino_runtime import ops, ov

_ROWS: Final = 64
_COLUMNS: Final = 256
"""Of a square."""

_STEP: Final = 16
"""Sides of what squares fetch from are multiples of it, where the frame has room: few shapes to compile for."""

_BEFORE: Final = 1
_BEHIND: Final = 2
"""Pixels that a cubic reaches to, from the one before the place."""


Piece: TypeAlias = tuple[slice, NDArray[np.float32], NDArray[np.float32] | None]
"""Rows of a picture, their pixels (n, W, 3), and gains (3, n, W) that give back what the lens lost, if there are."""


class Undistorter:
    """Makes a picture of a frame that comes from top to bottom.

    Args:
        distortion: What the lens has done.
        height: Rows of the frame, and of the picture.
        width: Columns of them.
        is_shaded: Whether pixels come with gains that give back what the lens lost.
    """

    def __init__(self, distortion: LensDistortion, height: int, width: int, *, is_shaded: bool = False) -> None:
        self._distortion = distortion
        self._height, self._width = height, width
        self._requests = [
            (colors, _compiled(len(colors), is_shaded).create_infer_request()) for colors in _moved_alike(distortion)
        ]
        self._needs = _needs(distortion, height, width)
        self._kept = np.empty((6 if is_shaded else 3, 0, width), dtype=np.float32)
        self._first = 0
        """The row that the first of those kept is."""
        self._made = 0
        """How many rows of the picture are."""

    def add(self, piece: NDArray[np.float32], gains: NDArray[np.float32] | None = None) -> Iterator[Piece]:
        """Take the next rows of the frame, and yield those of the picture that are ready; none before theirs came.

        Args:
            piece: (n, W, 3).
            gains: (3, n, W), if there are such.

        Yields:
            Each color of them is a plane of its own in memory.
        """
        planes = np.moveaxis(piece, 2, 0)
        new = planes if gains is None else np.concatenate([planes, gains])
        unneeded = min(max(self._still_needed() - self._first, 0), self._kept.shape[1])
        self._kept = np.concatenate([self._kept[:, unneeded:], new], axis=1)
        self._first += unneeded
        came = self._first + self._kept.shape[1]
        while self._made < min(came, self._height):
            rows = slice(self._made, min(self._made + _ROWS, self._height))
            if max(rows.stop, self._needs[self._made // _ROWS].stop) > came:
                break
            made = self._rows(rows)
            self._made = rows.stop
            yield rows, np.moveaxis(made[:3], 0, 2), None if gains is None else made[3:]

    def _still_needed(self) -> int:
        """Return the first row that rows of the picture to come need."""
        return min((need.start for need in self._needs[self._made // _ROWS :]), default=self._height)

    def _rows(self, rows: slice) -> NDArray[np.float32]:
        """Return rows of the picture, a whole band of squares but for the last: (P, n, W)."""
        made = np.empty((len(self._kept), rows.stop - rows.start, self._width), dtype=np.float32)
        y = np.arange(rows.start, rows.start + _ROWS, dtype=np.float32)[:, None]
        for left in range(0, self._width, _COLUMNS):
            columns = slice(left, min(left + _COLUMNS, self._width))
            x = np.arange(left, left + _COLUMNS, dtype=np.float32)[None]
            for colors, request in self._requests:
                square = self._square(colors, request, np.minimum(y, rows.stop - 1), np.minimum(x, columns.stop - 1))
                cut = square[:, : rows.stop - rows.start, : columns.stop - left]
                for plane, values in zip(_planes(colors, len(made)), cut, strict=True):
                    made[plane, :, columns] = values
        return made

    def _square(
        self, colors: list[int], request: Any, y: NDArray[np.float32], x: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Return a square of some colors, and of their gains: (P, `_ROWS`, `_COLUMNS`)."""
        sources = self._distortion.sources(colors[0], y, x, self._height, self._width)
        places = [np.clip(place, 0, side - 1) for place, side in zip(sources, (self._height, self._width), strict=True)]
        spans = [
            _rounded(_reach(float(place.min()), float(place.max()), side), end)
            for place, side, end in zip(
                places, (self._height, self._width), (self._first + self._kept.shape[1], self._width), strict=True
            )
        ]
        down, across = spans
        seen = slice(down.start - self._first, down.stop - self._first), slice(across.start, across.stop)
        frame = np.stack([self._kept[plane][seen] for plane in _planes(colors, len(self._kept))])
        grids = np.empty((2, 1, _ROWS, _COLUMNS, 2), dtype=np.float32)
        for axis, (place, span) in enumerate(zip(reversed(places), reversed(spans), strict=True)):
            # from −1 to 1, from edge to edge of what is seen, and of the extremes there
            first, side = span.start + _BEFORE, max(len(span) - _BEFORE - _BEHIND, 1)
            np.multiply(place + np.float32(0.5 - span.start), np.float32(2 / len(span)), out=grids[0, 0, ..., axis])
            np.multiply(np.floor(place) + np.float32(0.5 - first), np.float32(2 / side), out=grids[1, 0, ..., axis])
        grids -= 1
        light = frame[: len(colors)]
        inputs = {
            "frame": frame[None],
            "least": _extremes(np.minimum, light)[None],
            "most": _extremes(np.maximum, light)[None],
            "places": grids[0],
            "pixels": grids[1],
        }
        for name, values in inputs.items():
            request.set_tensor(name, ov.Tensor(values, shared_memory=True))
        request.infer(share_inputs=True, share_outputs=True)
        square: NDArray[np.float32] = request.get_output_tensor().data[0]
        return square


def undistorting(
    distortion: LensDistortion | None, height: int, width: int, *, is_shaded: bool
) -> Callable[[slice, NDArray[np.float32], NDArray[np.float32] | None], Iterator[Piece]]:
    """Return what takes the rows of a frame, as `Undistorter.add`, and gives those of the picture.

    Without a distortion it gives what it takes.
    """
    undistorter = None if distortion is None else Undistorter(distortion, height, width, is_shaded=is_shaded)

    def take(rows: slice, piece: NDArray[np.float32], gains: NDArray[np.float32] | None) -> Iterator[Piece]:
        return iter([(rows, piece, gains)]) if undistorter is None else undistorter.add(piece, gains)

    return take


def rows_of(gains: NDArray[np.float32], start: int, stop: int) -> NDArray[np.float32]:
    """Return the gains of some rows: `alen.color.Shading` of those at hand."""
    return gains[:, start:stop]


def kept_bytes(distortion: LensDistortion, height: int, width: int) -> int:
    """Return the memory that an `Undistorter` needs at most, about, with gains; but for the rows that come."""
    needs = _needs(distortion, height, width)
    first = np.minimum.accumulate([need.start for need in reversed(needs)])[::-1]
    last = np.maximum.accumulate([need.stop for need in needs])
    made = np.arange(len(needs)) * _ROWS
    rows = int((np.maximum(last, made) - first).max()) + _ROWS
    return 2 * 4 * 6 * rows * width  # twice, while rows are added


def _needs(distortion: LensDistortion, height: int, width: int) -> list[range]:
    """Return the rows of the frame that each band of squares needs.

    What lies higher in the picture lies higher in the frame, see `alen.lens_distortion.read_lens_distortion`: the first
    row of a band and its last tell.
    """
    needs: list[range] = []
    x = np.arange(width, dtype=np.float32)[None]
    for top in range(0, height, _ROWS):
        ends = np.array([[top], [min(top + _ROWS, height) - 1]], dtype=np.float32)
        rows = [distortion.sources(colors[0], ends, x, height, width)[0] for colors in _moved_alike(distortion)]
        least, most = min(float(y.min()) for y in rows), max(float(y.max()) for y in rows)
        needs.append(_reach(least - 1, most + 1, height))  # and what rounding may add
    return needs


def _moved_alike(distortion: LensDistortion) -> list[list[int]]:
    """Return the colors, those together that are moved alike: all, or none."""
    return [[0, 1, 2]] if distortion.is_one_for_all else [[0], [1], [2]]


def _planes(colors: list[int], planes: int) -> list[int]:
    """Return the planes of some colors, and of their gains if there are such: six in all."""
    return colors + [3 + color for color in colors if planes > 3]


def _reach(least: float, most: float, side: int) -> range:
    """Return the pixels that cubics at places from ``least`` to ``most`` see, of ``side``."""
    start = min(max(math.floor(least) - _BEFORE, 0), side - 1)
    return range(start, max(min(math.floor(most) + _BEHIND, side - 1), 0) + 1)


def _rounded(span: range, end: int) -> range:
    """Return pixels and some after them, up to ``end``, so that there are as many as `_STEP` asks."""
    return range(span.start, min(span.start + -(-len(span) // _STEP) * _STEP, end))


@functools.cache
def _compiled(colors: int, is_shaded: bool) -> Any:
    """Return the graph that makes a square: → (1, P, `_ROWS`, `_COLUMNS`).

    It gets "frame" (1, P, h, w), where P is 3, or 1, and twice that with gains; its `_extremes` "least" and "most"; and
    "places" and the "pixels" that they lie in, across and down, −1 to 1 from edge to edge of these.
    """
    planes = 2 * colors if is_shaded else colors
    frame = ops.parameter([1, planes, -1, -1], np.float32, name="frame")
    least, most = (ops.parameter([1, colors, -1, -1], np.float32, name=name) for name in ("least", "most"))
    places, pixels = (ops.parameter([1, _ROWS, _COLUMNS, 2], np.float32, name=name) for name in ("places", "pixels"))
    light: Node = frame
    gains: list[Node] = []
    if is_shaded:
        light, gain = ops.split(frame, 1, 2).outputs()
        gains = [_fetched(gain, places, "bilinear")]  # they hardly change from pixel to pixel
    cubic = _fetched(light, places, "bicubic")
    bounds = [_fetched(values, pixels, "nearest") for values in (least, most)]
    square = ops.minimum(ops.maximum(cubic, bounds[0]), bounds[1])
    if gains:
        square = ops.concat([square, *gains], 1)
    return compiled_for_one_core(
        ov.Model([ops.result(square)], [frame, least, most, places, pixels], "alen_undistortion")
    )


def _fetched(image: Node, places: Node, mode: str) -> Node:
    """Return the values of an image at places; beyond its edges as there."""
    return ops.grid_sample(image, places, {"align_corners": False, "mode": mode, "padding_mode": "border"})


def _extremes(of_two: np.ufunc, light: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the smallest or the largest of sixteen values each, four down and four across: (P, h − 3, w − 3).

    Of the cubic in a pixel, those that begin a row and a column before. Fewer than four are taken together.
    """
    for _ in range(2):
        if light.shape[1] <= _BEFORE + _BEHIND:
            light = of_two.reduce(light, axis=1, keepdims=True)
        else:
            light = of_two(light[:, :-1], light[:, 1:])
            light = of_two(light[:, :-2], light[:, 2:])
        light = light.swapaxes(1, 2)
    return np.ascontiguousarray(light)

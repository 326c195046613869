"""Defective pixels that a DNG lists itself, because its camera knows them.

Opcodes of OpcodeList1: FixBadPixelsConstant marks them by a value, FixBadPixelsList by their places. Source: Adobe's
Digital Negative Specification 1.6.0.0, chapter 7, "Opcode List Processing". The list is for the picture as it is
stored, before the active area is cut out of it. (Which colors they are of, BayerPhase, the filter array says as well.)
"""

from __future__ import annotations

import struct
from typing import Final

import numpy as np
from numpy.typing import NDArray

from alen.opcodes import each_opcode

_CONSTANT: Final = 4
_LIST: Final = 5
"""The opcodes' numbers."""

_MARKED: Final = struct.Struct(">2I")
"""The value, and BayerPhase."""

_COUNTS: Final = struct.Struct(">3I")
"""BayerPhase, points, rectangles. Row and column of the points follow, then the rectangles."""

_MAX_SHARE: Final = 0.005
"""Of a frame's pixels: a list of more is damaged."""


def read_listed_pixels(
    opcodes: bytes, mosaic: NDArray[np.uint16], top: int, left: int, *, is_as_stored: bool = True
) -> tuple[NDArray[np.intp], tuple[str, ...]]:
    """Read the value of OpcodeList1.

    Args:
        opcodes: The value.
        mosaic: (H, W) uint16, in DN, contiguous: the visible part of the picture that is stored.
        top: Rows above it.
        left: Columns to the left of it.
        is_as_stored: False if its values are others than those that are stored, so that none marks a pixel.

    Returns:
        Places (N,) into the flattened mosaic, ascending, and what else is asked for, in a few words each. A damaged
        opcode costs no other.
    """
    found: list[NDArray[np.intp]] = []
    others: list[str] = []
    room = int(_MAX_SHARE * mosaic.size)
    try:
        for number, parameters in each_opcode(opcodes):
            if number not in (_CONSTANT, _LIST) or (number == _CONSTANT and not is_as_stored):
                others.append(f"opcode {number}")
                continue
            try:
                places = (
                    _marked(parameters, mosaic)
                    if number == _CONSTANT
                    else _listed(parameters, mosaic.shape, top, left, room)
                )
                if len(places) > room:
                    raise ValueError("too many")
            except (struct.error, ValueError):
                others.append(f"a damaged opcode {number}")
                continue
            room -= len(places)
            found.append(places)
    except struct.error:
        others.append("a damaged list")
    return np.unique(np.concatenate([np.empty(0, dtype=np.intp), *found])), tuple(dict.fromkeys(others))


def _marked(parameters: bytes, mosaic: NDArray[np.uint16]) -> NDArray[np.intp]:
    """Return the places of a value."""
    value, _ = _MARKED.unpack_from(parameters)
    return np.flatnonzero(mosaic == value)


def _listed(parameters: bytes, shape: tuple[int, ...], top: int, left: int, room: int) -> NDArray[np.intp]:
    """Return the places of points and rectangles, as far as they are visible; ValueError if they are too many."""
    height, width = shape
    _, point_count, rectangle_count = _COUNTS.unpack_from(parameters)
    points = _numbers(parameters, _COUNTS.size, point_count, 2) - (top, left)
    points = points[np.all((points >= 0) & (points < shape), axis=1)]
    rectangles = _numbers(parameters, _COUNTS.size + 8 * point_count, rectangle_count, 4) - (top, left, top, left)
    rectangles = np.clip(rectangles, 0, (height, width, height, width))  # top, left, bottom, right
    sides = np.maximum(rectangles[:, 2:] - rectangles[:, :2], 0)
    areas = sides.prod(axis=1)
    if len(points) + int(areas.sum()) > room:
        raise ValueError("too many")
    places = [points[:, 0] * width + points[:, 1]]
    for first_row, first_column, last_row, last_column in rectangles[areas > 0].tolist():
        rows, columns = np.arange(first_row, last_row), np.arange(first_column, last_column)
        places.append((rows[:, None] * width + columns).ravel())
    return np.concatenate(places)


def _numbers(parameters: bytes, offset: int, count: int, width: int) -> NDArray[np.int64]:
    """Return rows of so many numbers; ValueError if there are fewer."""
    numbers = np.frombuffer(parameters, dtype=">i4", count=count * width, offset=offset) if count else np.empty(0)
    return numbers.astype(np.int64).reshape(count, width)

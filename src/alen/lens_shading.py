"""Lens shading: what a DNG says a lens and its sensor lose toward the corners, and the gains that give it back.

Cameras that leave the correction to the RAW converter (phones, action cameras) write GainMap opcodes into OpcodeList2:
a coarse grid of gains for each plane of the mosaic. Others, and converters, write FixVignetteRadial into OpcodeList3: a
polynomial of the distance from a center. Source: Adobe's Digital Negative Specification 1.6.0.0, chapter 7, "Opcode
List Processing", "GainMap" and "FixVignetteRadial". The maps are meant for the linear mosaic; here the clean linear
picture gets them, so that the network sees the noise of a sensor, not that of its corners amplified.
"""

from __future__ import annotations

import functools
import math
import operator
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from alen.cfa import CFA
from alen.color import Shading
from alen.opcodes import each_opcode

_VIGNETTE: Final = 3
_GAIN_MAP: Final = 9
"""The opcodes' numbers."""

_MAP: Final = struct.Struct(">10I4dI")
"""Top, left, bottom, right, plane, planes, row pitch, column pitch, points down and across, their spacing and origin
down and across in shares of the frame, planes of the map."""

_MAX_COEFFICIENT: Final = 1e4
"""Of a polynomial; they cancel each other in part."""

_RADIAL: Final = struct.Struct(">7d")
"""Five coefficients, and the center across and down."""

_MAX_SIDE: Final = 512
"""Points down and across: cameras write some dozens."""

_MAX_GAIN: Final = 100.0
"""The largest gain of a plane; what lies beyond is damaged."""


@dataclass(frozen=True, eq=False)
class GainMap:
    """Gains at the points of a grid, for a part of the mosaic's colors; between them they are bilinear."""

    gains: NDArray[np.float32]
    """(V, H)."""
    origin: tuple[float, float]
    """Where the first point lies, down and across, in shares of the frame."""
    spacing: tuple[float, float]
    """From one point to the next, likewise."""

    def over(self, height: int, width: int) -> Callable[[int, int], NDArray[np.float32]]:
        """Return what gives the gains (n, width) of rows ``start`` to ``stop`` of a frame (height, width)."""
        columns = self._places(1, width)
        points = np.arange(self.gains.shape[1])
        across = np.stack([np.interp(columns, points, gains) for gains in self.gains]).astype(np.float32)  # (V, width)
        steps = np.diff(across, axis=0, append=across[-1:])
        down = self._places(0, height)
        above = down.astype(np.intp)  # the point that a row lies at or after

        def rows(start: int, stop: int) -> NDArray[np.float32]:
            gains = np.empty((stop - start, width), dtype=np.float32)
            for point in np.unique(above[start:stop]):
                first, last = np.searchsorted(above[start:stop], [point, point + 1])
                beyond = (down[start + first : start + last, None] - point).astype(np.float32)
                np.multiply(beyond, steps[point], out=gains[first:last])
                gains[first:last] += across[point]
            return gains

        return rows

    def _places(self, axis: int, size: int) -> NDArray[np.float64]:
        """Return where a frame's rows, or columns, lie, counted in points from the first; beyond the last as there."""
        points = self.gains.shape[axis]
        places = (np.arange(size) + 0.5) / size - self.origin[axis]
        return np.clip(places / self.spacing[axis] if points > 1 else 0 * places, 0, points - 1)


@dataclass(frozen=True)
class RadialGain:
    """A gain that grows with the distance from a center, the same for all colors: 1 + k₀ r² + k₁ r⁴ + … + k₄ r¹⁰."""

    coefficients: tuple[float, ...]
    """k₀ to k₄, for distances r of 1 at the farthest corner."""
    center: tuple[float, float]
    """Down and across, in shares of the frame."""

    def over(self, height: int, width: int) -> Callable[[int, int], NDArray[np.float32]]:
        """Return what gives the gains (n, width) of rows ``start`` to ``stop`` of a frame (height, width)."""
        sides = np.array([height, width])
        middle = np.array(self.center) * sides
        farthest = float(np.square(np.maximum(middle, sides - middle)).sum())
        across = np.square(np.arange(width) + 0.5 - middle[1]) / farthest

        def rows(start: int, stop: int) -> NDArray[np.float32]:
            down = np.square(np.arange(start, stop) + 0.5 - middle[0]) / farthest
            return self.at((down[:, None] + across).astype(np.float32))

        return rows

    def at(self, square: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the gains at squared distances, any shape."""
        gains = np.zeros_like(square)
        for coefficient in reversed(self.coefficients):
            gains += np.float32(coefficient)
            gains *= square
        gains += 1
        return gains

    @property
    def largest(self) -> float:
        """The largest gain."""
        return float(self.at(_DISTANCES).max())


_DISTANCES: Final = np.linspace(0, 1, 257, dtype=np.float32)
"""Squared distances that gains are looked at, to judge them."""


@dataclass(frozen=True, eq=False)
class LensShading:
    """The gains of a picture's colors."""

    maps: tuple[tuple[GainMap, ...], ...] = ((), (), (), ())
    """Of the planes R, Gr, Gb and B: the maps that each is multiplied by."""
    radial: tuple[RadialGain, ...] = ()
    """What all are multiplied by."""

    def over(self, height: int, width: int) -> Shading:
        """Return what gives the gains of R, G and B for rows of a frame of any size, (3, n, width) float32.

        That of green is the mean of those of its two planes.
        """
        planes = [[of_map.over(height, width) for of_map in maps] for maps in self.maps]
        radial = [gain.over(height, width) for gain in self.radial]
        no_gain = np.ones((1, 1), dtype=np.float32)

        def rows(start: int, stop: int) -> NDArray[np.float32]:
            red, green_red, green_blue, blue = (
                functools.reduce(operator.mul, [of_map(start, stop) for of_map in plane] or [no_gain])
                for plane in planes
            )
            gains = np.empty((3, stop - start, width), dtype=np.float32)
            for gain, color in zip(gains, (red, (green_red + green_blue) * np.float32(0.5), blue), strict=True):
                gain[...] = color
            for of_distance in radial:
                gains *= of_distance(start, stop)
            return gains

        return rows

    @property
    def largest_stops(self) -> float:
        """The largest gain in stops."""
        of_maps = max(sum(math.log2(of_map.gains.max()) for of_map in maps) for maps in self.maps)
        return of_maps + sum(math.log2(gain.largest) for gain in self.radial)


def read_lens_shading(opcodes: bytes, cfa: CFA, height: int, width: int) -> tuple[LensShading | None, tuple[str, ...]]:
    """Read the value of OpcodeList2.

    Args:
        opcodes: The value.
        cfa: Filter array of the mosaic.
        height: Rows of the mosaic: the DNG's active area.
        width: Columns of it.

    Returns:
        The gains, None if there are none, and what else it asks for, in a few words each. Of a damaged list nothing is
        used.
    """
    maps: list[list[GainMap]] = [[], [], [], []]
    others: list[str] = []
    try:
        for number, parameters in each_opcode(opcodes):
            if number == _GAIN_MAP:
                gain_map, planes = _gain_map(parameters, cfa, height, width)
                for plane in planes:
                    maps[plane].append(gain_map)
                if not planes:
                    others.append("gains for a part of the pixels")
            else:
                others.append(f"opcode {number}")
    except (struct.error, ValueError):
        return None, ("a damaged list",)
    shading = LensShading(tuple(map(tuple, maps))) if any(maps) else None
    if shading is not None and not shading.largest_stops <= math.log2(_MAX_GAIN):
        return None, ("a damaged list",)
    return shading, tuple(dict.fromkeys(others))


def read_vignette(opcodes: bytes) -> tuple[RadialGain, ...]:
    """Read the FixVignetteRadial opcodes of an OpcodeList3; others there are passed over.

    Args:
        opcodes: The value.

    Returns:
        The gains; none if the list is damaged.
    """
    found: list[RadialGain] = []
    try:
        for number, parameters in each_opcode(opcodes):
            if number == _VIGNETTE:
                *coefficients, x, y = _RADIAL.unpack_from(parameters)
                gain = RadialGain(tuple(coefficients), (y, x))
                if not (0 <= x <= 1 and 0 <= y <= 1 and all(abs(k) <= _MAX_COEFFICIENT for k in coefficients)):
                    return ()
                at = gain.at(_DISTANCES)
                if at.min() <= 0 or at.max() > _MAX_GAIN:
                    return ()
                found.append(gain)
    except struct.error:
        return ()
    return tuple(found) if sum(math.log2(gain.largest) for gain in found) <= math.log2(_MAX_GAIN) else ()


def _gain_map(parameters: bytes, cfa: CFA, height: int, width: int) -> tuple[GainMap, set[int]]:
    """Return a map and the planes it is for, none if it is for pixels that are no plane.

    Raises:
        ValueError: It is damaged.
        struct.error: It is cut off.
    """
    top, left, bottom, right, plane, planes, row_pitch, column_pitch, down, across, *grid, map_planes = (
        _MAP.unpack_from(parameters)
    )
    if not 0 < min(down, across) <= max(down, across) <= _MAX_SIDE or map_planes < 1:
        raise ValueError("no grid")
    gains = np.frombuffer(parameters, dtype=">f4", count=down * across * map_planes, offset=_MAP.size)
    gains = gains.reshape(down, across, map_planes)[..., 0].astype(np.float32)  # a mosaic is one plane
    v, h, first, second = grid
    is_grid = all(map(math.isfinite, grid)) and (v > 0 or down == 1) and (h > 0 or across == 1)
    if not is_grid or not np.all((gains > 0) & (gains <= _MAX_GAIN)):
        raise ValueError("no gains")
    gain_map = GainMap(gains, (first, second), (v, h))
    pitch = row_pitch, column_pitch
    is_whole = top < row_pitch and left < column_pitch and bottom > height - row_pitch and right > width - column_pitch
    if plane != 0 or planes < 1 or not is_whole:
        return gain_map, set()
    if pitch == (1, 1):
        return gain_map, {0, 1, 2, 3}
    return gain_map, {int(cfa.plane_map(2, 2)[top, left])} if pitch == (2, 2) and cfa.is_bayer else set()

"""Lens distortion: where a DNG says that what belongs to a pixel of the picture lies in the frame, for each color.

Phones, drones and converters (from cameras whose lenses count on it) leave it to the RAW converter to make straight
lines straight, and to lay red and blue on green where the lens bends them differently. Their DNGs say how, by the
opcodes WarpRectilinear, WarpFisheye and WarpRectilinear2 in OpcodeList3. Source: Adobe's Digital Negative Specification
1.6.0.0, chapter 7, "Opcode List Processing". `alen.undistort` moves the pixels.
"""

from __future__ import annotations

import functools
import math
import struct
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from alen.opcodes import each_opcode

_RECTILINEAR: Final = 1
_FISHEYE: Final = 2
_RECTILINEAR_2: Final = 14
"""The opcodes' numbers."""

_PLANES: Final = struct.Struct(">I")
_CENTER: Final = struct.Struct(">2d")
"""Across and down."""

_NUMBERS: Final = {_RECTILINEAR: 6, _FISHEYE: 4, _RECTILINEAR_2: 19}
"""Numbers of a color: of the polynomial; then, but of fisheyes, two tangential ones; then, of the second, the valid
radii."""

_MAX_NUMBER: Final = 1e4
"""Of a polynomial; they cancel each other in part."""

_MAX_WARPS: Final = 4
"""Of a list: cameras ask for one, and each takes time for every pixel."""

_MAX_SHIFT: Final = 0.5
"""The farthest that a pixel is moved, in shares of the distance from the center to the farthest corner."""

_LOOKED_AT: Final = 33
"""Places down and across where a correction is looked at, to judge it."""

_STEPS: Final = 1024
"""Of the radius in tables of ratios: the straight lines between are right to some ten-thousandths of a pixel."""


@dataclass(frozen=True)
class ColorWarp:
    """How far from the center the light of one color lies that belongs to a radius r; 1 is the farthest corner."""

    coefficients: tuple[float, ...]
    """k₀, k₁ …: the radius is multiplied by k₀ + k₁ r + k₂ r² + …; of a fisheye it becomes k₀ θ + k₁ θ³ + k₂ θ⁵ + …
    with θ = atan r."""
    tangential: tuple[float, float] = (0.0, 0.0)
    """Of a lens that is not parallel to its sensor: kt₀ and kt₁ of the specification."""
    valid: tuple[float, float] = (0.0, 1.0)
    """Radii between which the polynomial holds; beyond, the ratio stays as there."""
    is_fisheye: bool = False
    is_reciprocal: bool = False
    """True if the radius is divided by the polynomial."""

    def ratio(self, radius: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return what radii are multiplied by, any shape."""
        if self.is_fisheye:
            angle = np.arctan(radius)
            of_angle = angle * angle
            shrunk = np.divide(angle, radius, out=np.ones_like(radius), where=radius > 0)
            return shrunk * self._polynomial(of_angle)
        value = self._polynomial(np.clip(radius, *self.valid))
        return np.reciprocal(value) if self.is_reciprocal else value

    def _polynomial(self, variable: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the sum of the coefficients times the powers of a variable."""
        value = np.zeros_like(variable)
        for coefficient in reversed(self.coefficients):
            value = value * variable + coefficient
        return value

    @functools.cached_property
    def table(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The ratios at `_STEPS` radii from 0 on, and how much further the next is."""
        ratios = self.ratio(np.linspace(0, 1, _STEPS + 1))
        ratios = np.append(ratios, ratios[-1])
        return ratios[:-1].astype(np.float32), np.diff(ratios).astype(np.float32)


@dataclass(frozen=True)
class Warp:
    """One correction."""

    colors: tuple[ColorWarp, ...]
    """One for all colors, or those of red, green and blue."""
    center: tuple[float, float]
    """The optical axis, down and across, in shares of the frame."""

    def sources(
        self, color: int, y: NDArray[np.float32], x: NDArray[np.float32], height: int, width: int
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return where the light lies that belongs to places of the picture.

        Args:
            color: 0 to 2.
            y: Rows, counted from the middle of the first pixel; any shape that goes with that of ``x``.
            x: Columns.
            height: Rows of the frame.
            width: Columns of it.

        Returns:
            Rows and columns, of one shape.
        """
        of_color = self.colors[color % len(self.colors)]
        middle_y, middle_x = self.center[0] * height, self.center[1] * width
        reach = math.hypot(max(middle_y, height - middle_y), max(middle_x, width - middle_x))
        down = (y + np.float32(0.5 - middle_y)) * np.float32(1 / reach)
        across = (x + np.float32(0.5 - middle_x)) * np.float32(1 / reach)
        square = down * down + across * across
        np.minimum(square, 1, out=square)
        steps = np.sqrt(square)
        steps *= np.float32(_STEPS)
        whole = steps.astype(np.int32)
        steps -= whole
        ratios, further = of_color.table
        ratio = further[whole]
        ratio *= steps
        ratio += ratios[whole]
        new_down, new_across = down * ratio, across * ratio
        first, second = of_color.tangential
        if first or second:
            both = 2 * down * across
            new_down += np.float32(first) * (square + 2 * down * down) + np.float32(second) * both
            new_across += np.float32(second) * (square + 2 * across * across) + np.float32(first) * both
        new_down *= np.float32(reach)
        new_down += np.float32(middle_y - 0.5)
        new_across *= np.float32(reach)
        new_across += np.float32(middle_x - 0.5)
        return new_down, new_across


@dataclass(frozen=True)
class LensDistortion:
    """The corrections of a picture, in the order of the file."""

    warps: tuple[Warp, ...]

    @property
    def is_one_for_all(self) -> bool:
        """True if no color moves in its own way."""
        return all(len(warp.colors) == 1 for warp in self.warps)

    def sources(
        self, color: int, y: NDArray[np.float32], x: NDArray[np.float32], height: int, width: int
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return where the light lies that belongs to places of the picture; as of `Warp`."""
        for warp in reversed(self.warps):
            y, x = warp.sources(color, y, x, height, width)
        return y, x

    def largest_shift(self, height: int, width: int) -> float:
        """Return the farthest that light of a frame is moved, in shares of half of its diagonal."""
        y, x = _places(height, width)
        shifts = [
            np.hypot(to_y - y, to_x - x).max()
            for to_y, to_x in (self.sources(color, y, x, height, width) for color in range(3))
        ]
        return float(max(shifts)) / math.hypot(height / 2, width / 2)


def _places(height: int, width: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return `_LOOKED_AT` rows (n, 1) and as many columns (1, n) of a frame, from edge to edge."""
    y = np.linspace(-0.5, height - 0.5, _LOOKED_AT, dtype=np.float32)
    x = np.linspace(-0.5, width - 0.5, _LOOKED_AT, dtype=np.float32)
    return y[:, None], x[None]


def read_lens_distortion(opcodes: bytes, height: int, width: int) -> LensDistortion | None:
    """Read the warps of an OpcodeList3; other opcodes there are passed over.

    Args:
        opcodes: The value.
        height: Rows of the frame: the DNG's active area.
        width: Columns of it.

    Returns:
        The corrections, None if there are none, or if all leave everything where it is.

    Raises:
        ValueError: The list is damaged, or folds the picture.
    """
    warps: list[Warp] = []
    try:
        for number, parameters in each_opcode(opcodes):
            if number in _NUMBERS:
                warps.append(_warp(number, parameters))
    except struct.error as error:
        raise ValueError("a damaged list") from error
    if not warps:
        return None
    if len(warps) > _MAX_WARPS:
        raise ValueError("a damaged list")
    distortion = LensDistortion(tuple(warps))
    y, x = _places(height, width)
    reach = math.hypot(height, width)
    shift = 0.0
    for color in range(3):
        with np.errstate(all="ignore"):  # what is no number is found out below
            to_y, to_x = distortion.sources(color, y, x, height, width)
        if not (np.all(np.diff(to_y, axis=0) > 0) and np.all(np.diff(to_x, axis=1) > 0)):  # nan is not, either
            raise ValueError("a picture that folds")
        shift = max(shift, float(np.hypot(to_y - y, to_x - x).max()))
    if shift > _MAX_SHIFT * reach / 2:
        raise ValueError("a picture moved too far")
    return distortion if shift > 0.01 else None  # of a pixel: an identity, with rounding


def _warp(number: int, parameters: bytes) -> Warp:
    """Return a correction.

    Raises:
        ValueError: Its numbers cannot be.
        struct.error: It is cut off.
    """
    (planes,) = _PLANES.unpack_from(parameters)
    if planes not in (1, 3):
        raise ValueError(f"{planes} planes")
    count = _NUMBERS[number]
    numbers = struct.unpack_from(f">{planes * count}d", parameters, _PLANES.size)
    x, y = _CENTER.unpack_from(parameters, _PLANES.size + 8 * planes * count)
    if not (0 <= x <= 1 and 0 <= y <= 1 and all(abs(each) <= _MAX_NUMBER for each in numbers)):
        raise ValueError("numbers that cannot be")
    of_colors = [numbers[start : start + count] for start in range(0, planes * count, count)]
    if number == _FISHEYE:
        return Warp(tuple(ColorWarp(each, is_fisheye=True) for each in of_colors), (y, x))
    if number == _RECTILINEAR:
        return Warp(tuple(ColorWarp(_of_all_powers(each[:4]), (each[4], each[5])) for each in of_colors), (y, x))
    (is_reciprocal,) = _PLANES.unpack_from(parameters, _PLANES.size + 8 * planes * count + _CENTER.size)
    if not all(0 <= each[17] < each[18] <= 1 for each in of_colors):
        raise ValueError("radii that cannot be")
    colors = (
        ColorWarp(each[:15], (each[15], each[16]), (each[17], each[18]), is_reciprocal=bool(is_reciprocal))
        for each in of_colors
    )
    return Warp(tuple(colors), (y, x))


def _of_all_powers(of_even: tuple[float, ...]) -> tuple[float, ...]:
    """Return the coefficients of all powers of r, given those of even ones."""
    return tuple(number for each in of_even for number in (each, 0.0))[:-1]

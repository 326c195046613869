"""The color filter array as data: its phase under crops, and mosaic ↔ packed planes.

A pattern is named by its rows, top left first, as in the EXIF tag CFAPattern: "RGGB" has red at (0, 0) and blue at
(1, 1). (OpenCV and kornia name the pixel (1, 1): their "BG" is our "RGGB".) Packed planes stand in the order
R, Gr, Gb, B, where Gr is the green of the red rows and Gb the green of the blue rows; that is the order in which
``torch.nn.PixelUnshuffle(2)`` takes an RGGB mosaic apart. See-in-the-Dark packs R, Gr, B, Gb instead.

X-Trans is packed as See-in-the-Dark packs it: 9 planes of one color each at a third of the resolution, in its order.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from alen.errors import SettingsError

BAYER_PHASES: Final = ("RGGB", "GRBG", "GBRG", "BGGR")
"""The four phases of the Bayer pattern."""

PLANES: Final = ("R", "Gr", "Gb", "B")
"""The order of packed planes and of every quantity given per CFA color."""

FilterArray = Literal["bayer", "xtrans"]
"""Filter arrays that networks are made for."""

XTRANS_PLANES: Final = ("R", "G", "B", "R", "B", "G", "G", "G", "G")
"""The color of each packed X-Trans plane, in See-in-the-Dark's order."""

PLANE_COLORS: Final[Mapping[FilterArray, tuple[str, ...]]] = {"bayer": ("R", "G", "G", "B"), "xtrans": XTRANS_PLANES}
"""By filter array: the color of each packed plane."""

_XTRANS_POSITIONS: Final = (
    ((0, 0), (0, 4), (3, 1), (3, 3)),
    ((0, 2), (0, 5), (3, 2), (3, 5)),
    ((0, 1), (0, 3), (3, 0), (3, 4)),
    ((1, 2), (2, 5), (5, 2), (4, 5)),
    ((2, 2), (1, 5), (4, 2), (5, 5)),
    ((1, 0), (1, 3), (4, 0), (4, 3)),
    ((1, 1), (1, 4), (4, 1), (4, 4)),
    ((2, 0), (2, 3), (5, 0), (5, 3)),
    ((2, 1), (2, 4), (5, 1), (5, 4)),
)
"""(row, column) in the 6 × 6 block of what each plane holds at (0, 0), (0, 1), (1, 0) and (1, 1) of its 2 × 2 block, as
See-in-the-Dark's published code has it. Every 3 × 3 pixels give one value to each plane."""

_XTRANS_REFERENCE_ROWS: Final = ("RBGBRG", "GGRGGB", "GGBGGR", "BRGRBG", "GGBGGR", "GGRGGB")
"""The phase that `_XTRANS_POSITIONS` is made for."""

_XTRANS_ROWS: Final = ("GBGGRG", "RGRBGB", "GBGGRG", "GRGGBG", "BGBRGR", "GRGGBG")


@dataclass(frozen=True)
class CFA:
    """A color filter array: a small pattern repeated over the sensor.

    Example:
        >>> CFA.bayer("RGGB").shifted(0, 1).name
        'GRBG'
    """

    rows: tuple[str, ...]
    """The repeated pattern, one string of "R", "G", "B" per row, top left first."""

    def __post_init__(self) -> None:
        """Raise SettingsError unless the pattern is a square of R, G and B of side 2 or 6."""
        side = len(self.rows)
        if side not in (2, 6) or any(len(row) != side or set(row) - set("RGB") for row in self.rows):
            raise SettingsError(f"A CFA pattern is 2 × 2 or 6 × 6 letters R, G, B; got {self.rows!r}.")

    @classmethod
    def bayer(cls, phase: str) -> CFA:
        """Return the Bayer pattern with this phase: "RGGB", "GRBG", "GBRG" or "BGGR"."""
        if phase not in BAYER_PHASES:
            raise SettingsError(f"The Bayer phase is one of {', '.join(BAYER_PHASES)}; got {phase!r}.")
        return cls((phase[:2], phase[2:]))

    @classmethod
    def xtrans(cls) -> CFA:
        """Return Fujifilm's 6 × 6 X-Trans pattern in the phase of the X-T2's visible area."""
        return cls(_XTRANS_ROWS)

    @property
    def size(self) -> int:
        """Side of the repeated pattern: 2 for Bayer, 6 for X-Trans."""
        return len(self.rows)

    @property
    def name(self) -> str:
        """The rows joined: "RGGB" for Bayer, 36 letters for X-Trans."""
        return "".join(self.rows)

    @property
    def is_bayer(self) -> bool:
        """True for one of the four Bayer phases."""
        return self.name in BAYER_PHASES

    @property
    def kind(self) -> FilterArray:
        """The word for it: "bayer", or "xtrans" for all patterns of 6 × 6."""
        return "bayer" if self.size == 2 else "xtrans"

    @property
    def packed_side(self) -> int:
        """Mosaic pixels along the side of a packed pixel: 2 of Bayer, 3 of X-Trans."""
        return 2 if self.kind == "bayer" else 3

    @property
    def plane_count(self) -> int:
        """Packed planes: 4 of Bayer, 9 of X-Trans."""
        return self.packed_side**2

    def shifted(self, rows: int, columns: int) -> CFA:
        """Return the pattern that remains when ``rows`` and ``columns`` are cropped from the top left.

        Negative numbers pad instead: ``cfa.shifted(-1, 0)`` is the pattern after one row was added above.
        """
        n = self.size
        return CFA(tuple("".join(self.rows[(y + rows) % n][(x + columns) % n] for x in range(n)) for y in range(n)))

    def color_map(self, height: int, width: int) -> NDArray[np.uint8]:
        """Return the color index of every pixel: (height, width) uint8, 0 = R, 1 = G, 2 = B."""
        tile = np.array([["RGB".index(c) for c in row] for row in self.rows], dtype=np.uint8)
        return _repeat(tile, height, width)

    def plane_map(self, height: int, width: int) -> NDArray[np.uint8]:
        """Return the plane of every pixel: (height, width) uint8, an index into `PLANES`.

        A green pixel belongs to Gb if its row of the pattern holds blue but no red, else to Gr.
        """
        tile = np.empty((self.size, self.size), dtype=np.uint8)
        for y, row in enumerate(self.rows):
            green = 2 if "B" in row and "R" not in row else 1
            tile[y] = [{"R": 0, "G": green, "B": 3}[c] for c in row]
        return _repeat(tile, height, width)


def rggb_offset(cfa: CFA) -> tuple[int, int]:
    """Return how many rows to add above and columns to the left so that a Bayer mosaic starts with RGGB.

    Raises:
        SettingsError: The pattern is not Bayer.
    """
    if not cfa.is_bayer:
        raise SettingsError("Only a Bayer mosaic can be shifted to RGGB.")
    index = cfa.name.index("R")
    return index // 2, index % 2


def pack(mosaic: NDArray[Any], cfa: CFA) -> NDArray[Any]:
    """Take a Bayer mosaic apart into its planes R, Gr, Gb, B.

    Args:
        mosaic: (H, W), any dtype; H and W even.
        cfa: Its Bayer pattern.

    Returns:
        (4, H/2, W/2), same dtype; a copy.

    Raises:
        SettingsError: The pattern is not Bayer, or a side is odd.

    Example:
        >>> pack(np.arange(4).reshape(2, 2), CFA.bayer("BGGR")).ravel().tolist()
        [3, 2, 1, 0]
    """
    height, width = mosaic.shape
    if height % 2 or width % 2:
        raise SettingsError(f"A mosaic to be packed has even sides; got {height} × {width}.")
    return np.stack([mosaic[y::2, x::2] for y, x in _plane_positions(cfa)])  # (4, H/2, W/2)


def unpack(planes: NDArray[Any], cfa: CFA) -> NDArray[Any]:
    """Put packed planes (4, H/2, W/2) together into the mosaic (H, W); the inverse of `pack`."""
    _, height, width = planes.shape
    mosaic = np.empty((2 * height, 2 * width), dtype=planes.dtype)
    for plane, (y, x) in zip(planes, _plane_positions(cfa), strict=True):
        mosaic[y::2, x::2] = plane
    return mosaic


def xtrans_reference() -> CFA:
    """Return the X-Trans pattern in the phase that `pack_xtrans` takes apart: the one that begins with RBGBRG."""
    return CFA(_XTRANS_REFERENCE_ROWS)


def xtrans_offset(cfa: CFA) -> tuple[int, int]:
    """Return how many rows to add above and columns to the left so that X-Trans starts in the reference phase.

    Adding to reach it, as `rggb_offset` does; cropping ``-rows % 6`` and ``-columns % 6`` reaches it, too. Of several
    ways the one that adds the fewest pixels.

    Raises:
        SettingsError: The pattern is not X-Trans.
    """
    offsets = [
        (y, x) for y in range(6) for x in range(6) if cfa.size == 6 and cfa.shifted(-y, -x) == xtrans_reference()
    ]
    if not offsets:
        raise SettingsError(f"Only an X-Trans mosaic can be shifted to the phase of its planes; got {cfa.name}.")
    return min(offsets, key=sum)


def reference(kind: FilterArray) -> CFA:
    """Return the filter array in the phase that networks see: RGGB, or `xtrans_reference`."""
    return CFA.bayer("RGGB") if kind == "bayer" else xtrans_reference()


def pack_any(mosaic: NDArray[Any], cfa: CFA) -> NDArray[Any]:
    """Take a mosaic apart by `pack`, or by `pack_xtrans` if it is not Bayer; see there."""
    return pack(mosaic, cfa) if cfa.is_bayer else pack_xtrans(mosaic, cfa)


def unpack_any(planes: NDArray[Any], cfa: CFA) -> NDArray[Any]:
    """Put packed planes together by `unpack`, or by `unpack_xtrans` if the mosaic is not Bayer; see there."""
    return unpack(planes, cfa) if cfa.is_bayer else unpack_xtrans(planes, cfa)


def pack_xtrans(mosaic: NDArray[Any], cfa: CFA) -> NDArray[Any]:
    """Take an X-Trans mosaic apart into nine planes of one color each, see `XTRANS_PLANES`.

    Args:
        mosaic: (H, W), any dtype; H and W multiples of 6.
        cfa: Its pattern, in the reference phase; others are shifted there before, see `xtrans_offset`.

    Returns:
        (9, H/3, W/3), same dtype; a copy.

    Raises:
        SettingsError: The pattern is in another phase or not X-Trans, or a side is no multiple of 6.
    """
    _check_xtrans(cfa)
    height, width = mosaic.shape
    if height % 6 or width % 6:
        raise SettingsError(
            f"An X-Trans mosaic to be packed has sides that are multiples of 6; got {height} × {width}."
        )
    planes = np.empty((9, height // 3, width // 3), dtype=mosaic.dtype)
    for plane, corner, (y, x) in xtrans_places():
        planes[plane, corner[0] :: 2, corner[1] :: 2] = mosaic[y::6, x::6]
    return planes


def unpack_xtrans(planes: NDArray[Any], cfa: CFA) -> NDArray[Any]:
    """Put packed planes (9, H/3, W/3) together into the mosaic (H, W); the inverse of `pack_xtrans`.

    Raises:
        SettingsError: The pattern is not X-Trans in the reference phase, or the planes have odd sides.
    """
    _check_xtrans(cfa)
    count, height, width = planes.shape
    if count != 9 or height % 2 or width % 2:
        raise SettingsError(f"Nine X-Trans planes with even sides are needed; got {planes.shape}.")
    mosaic = np.empty((3 * height, 3 * width), dtype=planes.dtype)
    for plane, corner, (y, x) in xtrans_places():
        mosaic[y::6, x::6] = planes[plane, corner[0] :: 2, corner[1] :: 2]
    return mosaic


def mosaic_from_rgb(rgb: NDArray[Any], cfa: CFA) -> NDArray[Any]:
    """Sample an RGB picture (H, W, 3) through the filter array; returns (H, W), same dtype."""
    height, width, _ = rgb.shape
    colors = cfa.color_map(height, width)
    return np.take_along_axis(rgb, colors[..., None].astype(np.intp), axis=2)[..., 0]


def pack_picture(picture: NDArray[Any], plane_count: int) -> NDArray[Any]:
    """Return the packed planes of an RGB picture seen through the filter array in the phase of `reference`.

    Args:
        picture: (s·h, s·w, 3), any dtype; s = 2 for four planes, 3 for nine, with h and w even.
        plane_count: 4 planes of Bayer or 9 of X-Trans.

    Returns:
        (P, h, w), same dtype: ``pack_any(mosaic_from_rgb(picture, cfa), cfa)``, but faster.
    """
    if plane_count == 4:
        return np.stack([picture[y::2, x::2, color] for y, x, color in ((0, 0, 0), (0, 1, 1), (1, 0, 1), (1, 1, 2))])
    height, width = (side // 3 for side in picture.shape[:2])
    planes = np.empty((9, height, width), dtype=picture.dtype)
    for plane, corner, (y, x) in xtrans_places():
        planes[plane, corner[0] :: 2, corner[1] :: 2] = picture[y::6, x::6, "RGB".index(XTRANS_PLANES[plane])]
    return planes


def _plane_positions(cfa: CFA) -> list[tuple[int, int]]:
    """Return the (row, column) of R, Gr, Gb and B in the 2 × 2 pattern."""
    if not cfa.is_bayer:
        raise SettingsError("Only a Bayer mosaic has the four planes R, Gr, Gb, B.")
    y, x = rggb_offset(cfa)
    return [(y, x), (y, 1 - x), (1 - y, x), (1 - y, 1 - x)]


def xtrans_places() -> Iterator[tuple[int, tuple[int, int], tuple[int, int]]]:
    """Yield the places of packed pixels: plane, (row, column) in its 2 × 2 block, and in the pattern of 6 × 6."""
    for plane, positions in enumerate(_XTRANS_POSITIONS):
        for corner, position in enumerate(positions):
            yield plane, (corner // 2, corner % 2), position


def _check_xtrans(cfa: CFA) -> None:
    """Raise SettingsError unless a pattern is X-Trans in the reference phase."""
    if cfa != xtrans_reference():
        raise SettingsError(
            f"Only X-Trans that begins with RBGBRG has these planes; got {cfa.name}. Shift it, see xtrans_offset."
        )


def _repeat(tile: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    side = tile.shape[0]
    return np.tile(tile, (-(-height // side), -(-width // side)))[:height, :width]

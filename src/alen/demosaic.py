"""Linear demosaicing as small convolutions over packed planes: from the 4 planes to 12 channels, then a pixel shuffle.

`malvar_kernels`: Malvar, He and Cutler, "High-quality linear interpolation for demosaicing of Bayer-patterned color
images", ICASSP 2004: bilinear interpolation of the missing color plus the Laplacian of the color that is there.

`directional_kernels`: green interpolated along the rows only or along the columns only, with the second derivative of
the color that is there as correction (Hamilton and Adams, US patent 5629734, expired), then red and blue from
bilinearly interpolated color differences. Along an edge this is right where an isotropic filter makes zippers; which
of the two is along the edge, somebody else has to say: the network does.

`xtrans_kernels`: the same for X-Trans, where no such formulas exist: the best linear prediction from a model of how
alike neighboring pixels are (co-kriging; Cressie, "Statistics for Spatial Data", 1993, section 3.2.3).
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from alen.cfa import FilterArray, xtrans_places, xtrans_reference
from alen.config import FILTERS

_GREEN_AT_RED_OR_BLUE = np.array(
    [[0, 0, -1, 0, 0], [0, 0, 2, 0, 0], [-1, 2, 4, 2, -1], [0, 0, 2, 0, 0], [0, 0, -1, 0, 0]], dtype=np.float64
)
_ROW_NEIGHBOR_AT_GREEN = np.array(
    [[0, 0, 0.5, 0, 0], [0, -1, 0, -1, 0], [-1, 4, 5, 4, -1], [0, -1, 0, -1, 0], [0, 0, 0.5, 0, 0]], dtype=np.float64
)
_DIAGONAL_NEIGHBOR = np.array(
    [[0, 0, -1.5, 0, 0], [0, 2, 0, 2, 0], [-1.5, 0, 6, 0, -1.5], [0, 2, 0, 2, 0], [0, 0, -1.5, 0, 0]], dtype=np.float64
)
_IDENTITY = np.pad(np.array([[8.0]]), 2)

_LUMINANCE_PX: Final = 6.0
_CHROMA_PX: Final = 12.0
_CHROMA_SHARE: Final = 0.2
_NOISE_SHARE: Final = 3e-4
_STRETCH: Final = 3.0
# The model behind `xtrans_kernels`: lengths over which brightness and color fall to 1/e of their likeness, variances of
# color and noise relative to that of brightness, and how much farther brightness reaches along a direction than it does
# in all, and less across. Searched on photographs of the training set; on those held out the filters of all directions
# reach 38.9 dB, where Malvar's reach 37.8 on Bayer mosaics of the same pictures.

Direction = Literal["isotropic", "rows", "columns"]
"""Along what a demosaicking filter looks for what is missing."""


@functools.cache
def malvar_kernels() -> NDArray[np.float32]:
    """Return the convolution that demosaics packed RGGB planes.

    Returns:
        (12, 4, 3, 3) float32, read-only: output channel 4·c + 2·y + x is color c (R, G, B) at row y, column x of each
        2 × 2 cell, the order that a pixel shuffle by 2 expects; input channels are the planes R, Gr, Gb, B. Each kernel
        sums to 1.
    """
    filters = {  # (color, cell row, cell column) -> 5 x 5 filter over the mosaic, times 8
        (0, 0, 0): _IDENTITY,
        (0, 0, 1): _ROW_NEIGHBOR_AT_GREEN,
        (0, 1, 0): _ROW_NEIGHBOR_AT_GREEN.T,
        (0, 1, 1): _DIAGONAL_NEIGHBOR,
        (1, 0, 0): _GREEN_AT_RED_OR_BLUE,
        (1, 0, 1): _IDENTITY,
        (1, 1, 0): _IDENTITY,
        (1, 1, 1): _GREEN_AT_RED_OR_BLUE,
        (2, 0, 0): _DIAGONAL_NEIGHBOR,
        (2, 0, 1): _ROW_NEIGHBOR_AT_GREEN.T,
        (2, 1, 0): _ROW_NEIGHBOR_AT_GREEN,
        (2, 1, 1): _IDENTITY,
    }
    kernels = np.zeros((12, 4, 3, 3), dtype=np.float32)
    for (color, y, x), taps in filters.items():
        for (dy, dx), value in np.ndenumerate(taps):
            row, column = y + dy - 2, x + dx - 2  # of the mosaic, relative to the cell's top left pixel
            plane = 2 * (row % 2) + column % 2
            kernels[4 * color + 2 * y + x, plane, row // 2 + 1, column // 2 + 1] += value / 8
    kernels.flags.writeable = False
    return kernels


def directional_kernels(*, vertical: bool) -> NDArray[np.float32]:
    """Return the convolution that demosaics packed RGGB planes with green taken from one direction.

    Args:
        vertical: Interpolate green along the columns instead of along the rows.

    Returns:
        (12, 4, 3, 5) float32, with ``vertical`` (12, 4, 5, 3); channels as in `malvar_kernels`. Each kernel sums to 1.
    """
    kernels = np.zeros((12, 4, 3, 5), dtype=np.float32)
    for channel in range(12):
        color, y, x = channel // 4, channel // 2 % 2, channel % 2
        for (row, column), tap in _along_rows(color, y, x).items():
            kernels[channel, 2 * (row % 2) + column % 2, row // 2 + 1, column // 2 + 2] = tap
    if not vertical:
        return kernels
    # transposing the mosaic swaps rows and columns within every cell: planes Gr and Gb, and pixels (0, 1) and (1, 0)
    transposed = kernels.transpose(0, 1, 3, 2)[:, [0, 2, 1, 3]]
    return np.ascontiguousarray(transposed.reshape(3, 2, 2, 4, 5, 3).swapaxes(1, 2).reshape(12, 4, 5, 3))


def demosaicking_kernels(
    cfa: FilterArray, weights: Mapping[str, NDArray[np.float32]] | None = None
) -> tuple[NDArray[np.float32], ...]:
    """Return the convolutions that demosaic packed planes, in the order of `alen.config.FILTERS`.

    Of X-Trans they are made for planes unshuffled by 2, see `xtrans_kernels`. From a network's ``weights``, where it
    has learned them, else from the formulas.
    """
    if weights is not None and FILTERS[0] in weights:
        return tuple(weights[name] for name in FILTERS)
    if cfa == "bayer":
        return malvar_kernels(), directional_kernels(vertical=False), directional_kernels(vertical=True)
    return xtrans_kernels("isotropic"), xtrans_kernels("rows"), xtrans_kernels("columns")


@functools.cache
def xtrans_kernels(direction: Direction) -> NDArray[np.float32]:
    """Return the convolution that demosaics packed X-Trans planes, unshuffled by 2.

    Each color of each pixel of a pattern is predicted from the 3 × 3 patterns of 6 × 6 pixels around. Brightness and
    the departures of the colors from it are taken for independent and stationary, with covariances
    exp(−(d/length)^1.5) of the distance d; of all linear predictions that are right wherever color and brightness are
    constant, this one's squared error is the least.

    Args:
        direction: Brightness reaches farther along the rows or columns, and less across; color never does.

    Returns:
        (108, 36, 3, 3) float32, read-only. Output channel 4·(9·c + 3·y + x) + 2·Y + X is color c at row 3Y + y, column
        3X + x of a pattern: two pixel shuffles, by 2 and by 3, make the picture. Input channel 4·p + 2·Y + X is plane p
        at (Y, X) of its 2 × 2 block, as torch's `pixel_unshuffle` has it. Each kernel sums to 1 over the pixels of
        its own color, to 0 over those of each other.
    """
    side = 18
    rows, columns = (axis.ravel() for axis in np.mgrid[:side, :side])  # of the sites
    colors = xtrans_reference().color_map(side, side).ravel().astype(np.intp)
    c, row, column = (axis.ravel() for axis in np.mgrid[:3, 6:12, 6:12])  # of what is predicted

    def likeness(to_rows: NDArray[np.intp], to_columns: NDArray[np.intp], to: NDArray[np.intp]) -> NDArray[np.float64]:
        """Return the covariances of the sites and others."""
        down, across = rows[:, None] - to_rows, columns[:, None] - to_columns
        stretch = {"isotropic": 1.0, "rows": _STRETCH, "columns": 1 / _STRETCH}[direction]
        brightness = np.exp(-((np.hypot(down * stretch, across / stretch) / _LUMINANCE_PX) ** 1.5))
        color = np.exp(-((np.hypot(down, across) / _CHROMA_PX) ** 1.5))
        return np.asarray(brightness + _CHROMA_SHARE * (colors[:, None] == to) * color)

    among = likeness(rows, columns, colors) + _NOISE_SHARE * np.eye(side**2)
    own = (colors[:, None] == np.arange(3)).astype(np.float64)  # (324, 3): sums over each color are prescribed
    system = np.block([[among, own], [own.T, np.zeros((3, 3))]])
    wanted = np.concatenate([likeness(row, column, c), (np.arange(3)[:, None] == c).astype(np.float64)])
    taps = np.linalg.solve(system, wanted)[: side**2].reshape(3, 6, 3, 6, 3, 2, 3, 2, 3)
    # (cell row, row, cell column, column | color, Y, y, X, x)
    parts = np.empty((3, 3, 3, 2, 2, 36, 3, 3), dtype=np.float32)  # (color, y, x, Y, X, input, cell row, cell column)
    for plane, (block_row, block_column), (y, x) in xtrans_places():
        at = taps[:, y, :, x].transpose(2, 4, 6, 3, 5, 0, 1)  # (color, y, x, Y, X, cell row, cell column)
        parts[:, :, :, :, :, 4 * plane + 2 * block_row + block_column] = at
    kernels: NDArray[np.float32] = parts.reshape(108, 36, 3, 3)
    kernels.flags.writeable = False
    return kernels


def _along_rows(color: int, y: int, x: int) -> dict[tuple[int, int], float]:
    """Return the taps (row, column) → weight, in mosaic pixels, that give a color at pixel (y, x) of the first cell."""
    if color == 1:
        return _green_along_row(y, x)
    if _color_at(y, x) == color:
        return {(y, x): 1.0}
    around = [(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if _color_at(y + dy, x + dx) == color]
    taps = _green_along_row(y, x)
    for site in around:  # plus the mean of color − green over the nearest pixels of that color
        taps[site] = taps.get(site, 0.0) + 1 / len(around)
        for place, tap in _green_along_row(*site).items():
            taps[place] = taps.get(place, 0.0) - tap / len(around)
    return taps


def _green_along_row(y: int, x: int) -> dict[tuple[int, int], float]:
    if _color_at(y, x) == 1:
        return {(y, x): 1.0}
    return {(y, x - 2): -0.25, (y, x - 1): 0.5, (y, x): 0.5, (y, x + 1): 0.5, (y, x + 2): -0.25}


def _color_at(row: int, column: int) -> int:
    """Return the color (0 R, 1 G, 2 B) of a pixel of an RGGB mosaic."""
    return row % 2 + column % 2


def demosaic_malvar(planes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Demosaic packed RGGB planes.

    Args:
        planes: (4, h, w) float32, planes R, Gr, Gb, B, linear and white-balanced (the method assumes that the
            Laplacians of the colors are alike). Edges are continued by repeating the outermost cell.

    Returns:
        (2h, 2w, 3) float32, same scale; not clipped.
    """
    _, h, w = planes.shape
    padded = np.pad(planes, ((0, 0), (1, 1), (1, 1)), mode="edge")
    kernels = malvar_kernels()
    channels = np.zeros((12, h * w), dtype=np.float32)
    for y in range(3):
        for x in range(3):
            window = padded[:, y : y + h, x : x + w].reshape(4, -1)
            channels += kernels[:, :, y, x] @ window
    rgb = channels.reshape(3, 2, 2, h, w)  # (color, y, x, row, column)
    return np.ascontiguousarray(rgb.transpose(3, 1, 4, 2, 0)).reshape(2 * h, 2 * w, 3)


def demosaic_xtrans(planes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Demosaic packed X-Trans planes by the isotropic `xtrans_kernels`.

    Args:
        planes: (9, h, w) float32, see `alen.cfa.pack_xtrans`, linear and white-balanced; h and w even. Edges are
            continued by repeating the outermost pattern.

    Returns:
        (3h, 3w, 3) float32, same scale; not clipped.
    """
    _, h, w = planes.shape
    rows, columns = h // 2, w // 2
    patterns = planes.reshape(9, rows, 2, columns, 2).transpose(0, 2, 4, 1, 3).reshape(36, rows, columns)
    padded = np.pad(patterns, ((0, 0), (1, 1), (1, 1)), mode="edge")
    kernels = xtrans_kernels("isotropic")
    channels = np.zeros((108, rows * columns), dtype=np.float32)
    for y in range(3):
        for x in range(3):
            window = padded[:, y : y + rows, x : x + columns].reshape(36, -1)
            channels += kernels[:, :, y, x] @ window
    rgb = channels.reshape(3, 3, 3, 2, 2, rows, columns)  # (color, y, x, Y, X, row, column)
    return np.ascontiguousarray(rgb.transpose(5, 3, 1, 6, 4, 2, 0)).reshape(3 * h, 3 * w, 3)


def demosaic_linear(planes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Demosaic packed planes (P, h, w) by `demosaic_malvar` or, nine of them, by `demosaic_xtrans`."""
    return demosaic_malvar(planes) if len(planes) == 4 else demosaic_xtrans(planes)

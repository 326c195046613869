"""Linear demosaicing as small convolutions over packed planes: from the 4 planes to 12 channels, then a pixel shuffle.

`malvar_kernels`: Malvar, He and Cutler, "High-quality linear interpolation for demosaicing of Bayer-patterned color
images", ICASSP 2004: bilinear interpolation of the missing color plus the Laplacian of the color that is there.

`directional_kernels`: green interpolated along the rows only or along the columns only, with the second derivative of
the color that is there as correction (Hamilton and Adams, US patent 5629734, expired), then red and blue from
bilinearly interpolated color differences. Along an edge this is right where an isotropic filter makes zippers; which
of the two is along the edge, somebody else has to say: the network does.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

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


def malvar_kernels() -> NDArray[np.float32]:
    """Return the convolution that demosaics packed RGGB planes.

    Returns:
        (12, 4, 3, 3) float32: output channel 4·c + 2·y + x is color c (R, G, B) at row y, column x of each 2 × 2 cell,
        the order that a pixel shuffle by 2 expects; input channels are the planes R, Gr, Gb, B. Each kernel sums to 1.
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
    rgb = np.zeros((h, 2, w, 2, 3), dtype=np.float32)
    for channel, kernel in enumerate(malvar_kernels()):
        color, y, x = channel // 4, channel // 2 % 2, channel % 2
        for plane, row, column in np.argwhere(kernel):
            window = padded[plane, row : row + h, column : column + w]
            rgb[:, y, :, x, color] += kernel[plane, row, column] * window
    return rgb.reshape(2 * h, 2 * w, 3)

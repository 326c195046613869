"""Linear demosaicing after Malvar, He and Cutler (ICASSP 2004), as one small convolution over packed planes.

"High-quality linear interpolation for demosaicing of Bayer-patterned color images": bilinear interpolation of the
missing color plus the Laplacian of the color that is there. Its 5 × 5 filters over the mosaic touch only the next
packed neighbor on each side, so the whole method is a fixed 3 × 3 convolution from the 4 packed planes to 12 channels,
followed by a pixel shuffle. The network's demosaicked base and the classical pipeline share these kernels.
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

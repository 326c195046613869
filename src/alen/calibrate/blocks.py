"""The pattern and the blocks of a frame: places of one color (phases), and their means in blocks."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

BLOCK_PX: Final = 64
"""Side of the blocks that frames of one exposure are made equal in, and that are the neighborhood of a pixel."""


def pattern_phases(period: int) -> list[tuple[slice, slice]]:
    """Return the places of a pattern as slices of a mosaic, row by row."""
    return [(slice(y, None, period), slice(x, None, period)) for y in range(period) for x in range(period)]


def means_of_phases(mosaic: NDArray[np.uint16], period: int) -> NDArray[np.float64]:
    """Return the mean of every phase: (period²,)."""
    return np.array([mosaic[phase].mean(dtype=np.float64) for phase in pattern_phases(period)])


Starts = tuple[NDArray[np.intp], NDArray[np.intp]]
"""First row of every row of blocks, first column of every column of blocks."""


def block_starts(shape: tuple[int, ...], period: int, side: int | None) -> Starts:
    """Return where the blocks of a phase begin: of about ``side`` pixels of the mosaic, one block for None."""
    counts = [1 if side is None else max(length * period // side, 1) for length in shape]
    rows, columns = (np.arange(n) * length // n for n, length in zip(counts, shape, strict=True))
    return rows, columns


def block_means(plane: NDArray[np.floating] | NDArray[np.uint16], starts: Starts) -> NDArray[np.float64]:
    """Return the mean of every block of a plane (h, w)."""
    rows, columns = starts
    sums = np.add.reduceat(np.add.reduceat(plane, columns, axis=1, dtype=np.float64), rows, axis=0)
    heights, widths = np.diff([*rows, plane.shape[0]]), np.diff([*columns, plane.shape[1]])
    return np.asarray(sums / np.outer(heights, widths))


def expanded(blocks: NDArray[np.floating], starts: Starts, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Return the plane (h, w) that has the value of its block everywhere."""
    rows, columns = starts
    wide = np.repeat(blocks.astype(np.float32), np.diff([*columns, shape[1]]), axis=1)
    return np.repeat(wide, np.diff([*rows, shape[0]]), axis=0)


def subtract_neighborhood(mean: NDArray[np.float32], period: int, sigma_dn: float) -> None:
    """Take the mean of its color in its block off every pixel (H, W), in place; hot pixels count as 5 sigma."""
    for phase in pattern_phases(period):
        plane = mean[phase]
        starts = block_starts(plane.shape, period, BLOCK_PX)
        plane -= expanded(block_means(plane, starts), starts, plane.shape)
        for _ in range(3):  # a saturated pixel has moved the first mean by several sigma
            tame = np.clip(plane, -5 * sigma_dn, 5 * sigma_dn)
            plane -= expanded(block_means(tame, starts), starts, plane.shape)

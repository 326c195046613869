"""Averages of packed planes over squares, the smooth part of the "mixtures" base: see `alen.models.alen.pyramid`.

They are kept one value per square, which is a sixteenth of the planes and less, and continued to every pixel where the
picture is composed: down the columns here, along the rows in `alen.engines.graph.composition`.
"""

from __future__ import annotations

import functools
from typing import Final

import numpy as np
from numpy.typing import NDArray

from alen.config import PYRAMID, PYRAMID_CEILING, PYRAMID_NOISE, AlenConfig

ROWS: Final = max(PYRAMID)
"""Packed rows that are averaged alone: pieces of a frame begin at multiples of it."""


def averages(planes: NDArray[np.float32], config: AlenConfig) -> list[NDArray[np.float32]]:
    """Average a piece of a frame over squares.

    Args:
        planes: (P, n, w) float32, rows of packed planes from a multiple of `ROWS` on, up to another or to the frame's
            last row; n and w even.
        config: The network; it tells the planes' colors.

    Returns:
        For each side of `PYRAMID` (3, ⌈n/side⌉, ⌈w/side⌉): R, G and B, the means of their planes. A square that reaches
        over the edge averages what it has.
    """
    coarse = np.stack([_mean([planes[index] for index in of_color]) for of_color in config.color_planes])
    levels, reached = [], 1
    for side in PYRAMID:
        coarse, reached = _average(coarse, side // reached), side
        around = ROWS // side
        ceilings = PYRAMID_CEILING + PYRAMID_NOISE * _average(np.maximum(-coarse, 0), around)
        _, height, width = coarse.shape
        ceiling = ceilings.repeat(around, axis=1)[:, :height].repeat(around, axis=2)[:, :, :width]
        np.minimum(coarse, ceiling, out=coarse)
        levels.append(coarse)
    return levels


def _mean(planes: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Return the mean of planes (n, w); a chain of sums, which is faster than a mean over the outermost axis."""
    mean: NDArray[np.float32] = functools.reduce(np.add, planes) * np.float32(1 / len(planes))
    return mean


def _average(x: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """Return (3, ⌈h/side⌉, ⌈w/side⌉) averages over squares."""
    _, height, width = x.shape
    rows, columns = np.arange(0, height, side), np.arange(0, width, side)
    if height % side == 0 and width % side == 0:
        lines = sum(x[:, k::side] for k in range(side))
        sums = sum(np.asarray(lines)[:, :, k::side] for k in range(side))
    else:
        sums = np.add.reduceat(np.add.reduceat(x, rows, axis=1), columns, axis=2)
    counts = np.minimum(side, height - rows)[:, None] * np.minimum(side, width - columns)
    means: NDArray[np.float32] = np.asarray(sums) / counts.astype(np.float32)
    return means


def between_rows(level: NDArray[np.float32], side: int, rows: slice, count: int, u: int) -> NDArray[np.float32]:
    """Continue averages bilinearly down the columns.

    Args:
        level: (3, ⌈h/side⌉, m) of the whole frame, pieces of `averages` one below the other.
        side: Rows of an average.
        rows: The rows of the frame that are wanted, a multiple of ``count``.
        count: Rows of a stripe, a multiple of ``u``.
        u: In a stripe the first of every so many rows come first, then the second ones and so on.

    Returns:
        (stripes, 3, count, m) float32.
    """
    wanted = np.arange(rows.start, rows.stop).reshape(-1, count // u, u).swapaxes(1, 2).ravel()
    position = np.maximum((wanted + 0.5) / side - 0.5, 0)
    above = position.astype(np.intp)
    below = np.minimum(above + 1, level.shape[1] - 1)
    first, last = above.min(), below.max()
    weights = np.zeros((len(wanted), last + 1 - first), dtype=np.float32)
    row = np.arange(len(weights))
    weights[row, above - first] = above + 1 - position
    weights[row, below - first] += position - above
    stripes = weights.reshape(-1, 1, count, last + 1 - first)
    between: NDArray[np.float32] = np.matmul(stripes, level[:, first : last + 1])
    return between

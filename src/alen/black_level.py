"""The black level of one image: lowered where its own pixels prove the file's too high.

A sensor's black level drifts with temperature, from frame to frame and by another amount for each color. In a frame
that is amplified a hundred times one DN of it is a color cast. No light is below black, so dark areas whose mean is,
beyond all noise, prove that black lies there or lower. A black level that is too low looks like light and cannot be
told from it. Pure numpy.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from alen.cfa import CFA

Levels = tuple[float, float, float, float]
"""DN of R, Gr, Gb and B."""

BLOCK: Final = 64
"""Side of the blocks, in pixels of one place of the pattern, whose means tell where black is."""
_ROW_STEP: Final = 4
"""Of their rows every fourth is read: enough, and a few milliseconds for twelve megapixels."""
_JOINED: Final = (1, 2, 4)
"""Sides of the squares of blocks that are looked at, in blocks: the larger, the weaker the drift that they prove."""
_DEVIATIONS: Final = 6.0
"""By how many standard errors the darkest of some thousand squares has to lie below black."""
_OUTLIER: Final = 5.0
"""Pixels further from the median of their block than this many deviations count as if they were that far: hot and dead
ones prove nothing."""


def proven_black_level(mosaic: NDArray[np.uint16], cfa: CFA, black_level: Levels) -> Levels:
    """Return the black level of an image: the file's, or a lower one of the colors that prove theirs too high.

    For each color the means of blocks of 64 × 64 of its pixels are taken, and of squares of 2 × 2 and 4 × 4 blocks. If
    the darkest lies below the file's black level by six standard errors, black is the mean of all squares that cannot
    be told from it.

    Args:
        mosaic: (H, W) uint16, in DN.
        cfa: Its pattern, Bayer or X-Trans.
        black_level: DN of R, Gr, Gb and B without light, as the file has it.

    Returns:
        DN of R, Gr, Gb and B, none above ``black_level``.

    Example:
        >>> dark = np.random.default_rng(0).normal(508, 3, (256, 256)).round().astype(np.uint16)
        >>> [round(level) for level in proven_black_level(dark, CFA.bayer("RGGB"), (512, 512, 512, 512))]
        [508, 508, 508, 508]
    """
    n = cfa.size
    rows, columns = (side // n // BLOCK for side in mosaic.shape)
    if not rows or not columns:
        return black_level
    places = cfa.plane_map(n, n)
    proven = list(black_level)
    for plane, level in enumerate(black_level):
        planes = [mosaic[y::n, x::n] for y, x in np.argwhere(places == plane).tolist()]
        if planes:  # X-Trans has one green
            blocks = [_blocks(pixels, rows, columns, level) for pixels in planes]
            means, variances = (np.mean(values, axis=0) for values in zip(*blocks, strict=True))
            proven[plane] = min(_black(means, variances / len(blocks), side, level) for side in _JOINED)
    return (proven[0], proven[1], proven[2], proven[3])


def _blocks(
    plane: NDArray[np.uint16], rows: int, columns: int, level: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the means of blocks (rows, columns), hot and dead pixels limited, and the variances of these means.

    Blocks that are brighter than black by all appearances have a mean of infinity.
    """
    lines = BLOCK // _ROW_STEP
    pixels = plane[: rows * BLOCK : _ROW_STEP, : columns * BLOCK].reshape(rows, lines, columns, BLOCK)
    of_lines = pixels.mean(axis=3, dtype=np.float32)  # (rows, lines, columns)
    is_dark = of_lines.mean(axis=1) < level + 3 * of_lines.std(axis=1) / math.sqrt(lines)
    dark = pixels.swapaxes(1, 2)[is_dark].astype(np.float32)  # (blocks, lines, pixels)
    count = lines * BLOCK
    flat = dark.reshape(len(dark), count)
    sixth = round(0.159 * count)
    ordered = np.partition(flat, (sixth, count // 2, count - 1 - sixth), axis=1)
    low, middle, high = (ordered[:, [k]] for k in (sixth, count // 2, count - 1 - sixth))
    reach = _OUTLIER * np.maximum((high - low) / 2, 1)  # of quantized dark frames all may be one DN
    limited = np.clip(flat, middle - reach, middle + reach)
    of_lines = limited.reshape(len(dark), lines, BLOCK).mean(axis=2, dtype=np.float64)
    means, variances = np.full((rows, columns), np.inf), np.ones((rows, columns))
    means[is_dark] = of_lines.mean(axis=1)
    # row noise moves whole lines, and then these tell less than their pixels do
    variances[is_dark] = np.maximum(of_lines.var(axis=1) / lines, limited.var(axis=1, dtype=np.float64) / count)
    return means, variances


def _black(means: NDArray[np.float64], variances: NDArray[np.float64], side: int, level: float) -> float:
    """Return what squares of side × side blocks prove of a color's black level: the level itself if nothing."""
    rows, columns = (n // side for n in means.shape)
    if not rows or not columns:
        return level

    def joined(values: NDArray[np.float64]) -> NDArray[np.float64]:
        squares = values[: rows * side, : columns * side].reshape(rows, side, columns, side)
        return np.asarray(squares.mean(axis=(1, 3)))

    of_squares = joined(means)
    # lines are shared by the blocks of a row: only those of other rows are independent
    errors = np.sqrt(joined(variances) / side)
    if not np.isfinite(of_squares).any():
        return level
    darkest = np.unravel_index(of_squares.argmin(), of_squares.shape)
    if level - of_squares[darkest] <= _DEVIATIONS * errors[darkest]:
        return level
    alike = of_squares - of_squares[darkest] <= _DEVIATIONS * errors[darkest]
    return min(level, float(of_squares[alike].mean()))

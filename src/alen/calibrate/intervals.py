"""Intervals: 95 % by bootstrap over the parts of a frame, and numbers rounded to what can be measured."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from alen.camera_file import Measured

_TILES: Final = (6, 8)
"""Rows and columns of the parts of a frame that the bootstrap draws."""

REPLICATES: Final = 300
"""Draws of the bootstrap."""


def frame_tiles(height: int, width: int) -> list[tuple[slice, slice]]:
    """Return the parts of a frame that the bootstrap draws; small frames have fewer."""
    rows, columns = min(_TILES[0], height), min(_TILES[1], width)
    ys, xs = ([length * i // n for i in range(n + 1)] for length, n in ((height, rows), (width, columns)))
    return [(slice(ys[i], ys[i + 1]), slice(xs[j], xs[j + 1])) for i in range(rows) for j in range(columns)]


def bootstrap_draws(rng: np.random.Generator, parts: int) -> NDArray[np.float64]:
    """Return how often each of so many parts is drawn, in every draw of the bootstrap: (draws, parts)."""
    return rng.multinomial(parts, np.full(parts, 1 / parts), size=REPLICATES).astype(np.float64)


def bootstrap_interval(value: float, replicates: NDArray[np.float64]) -> Measured:
    """Return a value with the middle 95 % of its replicates, which include it."""
    low, high = np.quantile(replicates, (0.025, 0.975))
    return Measured(value, min(float(low), value), max(float(high), value))


def six_digits(value: float) -> float:
    """Round to six digits: more than can be measured."""
    return float(f"{value:.6g}")


def rounded(measured: Measured) -> Measured:
    """Round a measured value and its interval."""
    return Measured(six_digits(measured.value), six_digits(measured.low), six_digits(measured.high))


def in_electrons(sigma: Measured, gain: Measured) -> Measured:
    """Return a noise in electrons; its interval holds the errors of both, which are independent."""
    value = sigma.value / gain.value
    below = math.hypot(sigma.value - sigma.low, sigma.value * (gain.high / gain.value - 1)) / gain.value
    above = math.hypot(sigma.high - sigma.value, sigma.value * (1 - gain.low / gain.value)) / gain.value
    return rounded(Measured(value, max(value - below, 0.0), value + above))


def four_rounded(values: Sequence[float] | NDArray[np.float64]) -> tuple[float, float, float, float]:
    """Return R, Gr, Gb, B, rounded."""
    r, gr, gb, b = (six_digits(float(value)) for value in values)
    return r, gr, gb, b


def four_measured(values: Sequence[Measured]) -> tuple[Measured, Measured, Measured, Measured]:
    """Return R, Gr, Gb, B."""
    r, gr, gb, b = values
    return r, gr, gb, b

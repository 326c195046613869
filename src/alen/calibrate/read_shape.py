"""The shape of the read noise: Gaussian, or Tukey lambda whose lambda maximizes the PPCC.

Found in differences of successive dark frames, from which fixed patterns fall out, against the numeric distribution of
such a difference, rounding included.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from alen.calibrate.intervals import REPLICATES, bootstrap_interval, frame_tiles
from alen.camera_file import Measured
from alen.errors import CalibrationError
from alen.noise import QUANTIZATION_VARIANCE_DN2, tukey_lambda_std

LAMBDA_SIGMA_DN: Final = 0.3
"""Read noise in DN below which rounding hides the shape of its distribution."""

_LAMBDAS: Final = tuple(round(-0.45 + 0.02 * index, 2) for index in range(53))
"""Shapes that are tried: from nearly infinite variance to a flat hump; the best is refined by a parabola."""

_HISTOGRAM_REACH: Final = 32
"""Standard deviations that histograms reach to both sides; what lies beyond counts as there."""

_HISTOGRAM_STEPS: Final = 16
"""Histogram bins per standard deviation."""

_GRID_STEP: Final = 1 / 64
"""Step of the numeric distributions, in standard deviations."""

_GRID_SIZE: Final = 1 << 13
"""Points of the numeric distributions: ±64 standard deviations."""


@dataclass(frozen=True, eq=False, kw_only=True)
class ReadShape:
    """Distribution of the read noise, found in differences of successive dark frames."""

    tukey_lambda: Measured
    """Shape of the Tukey-lambda distribution with the largest PPCC."""
    ppcc_tukey: float
    """That PPCC."""
    ppcc_gaussian: float
    """PPCC of the Gaussian distribution."""
    lambdas: tuple[float, ...]
    """Shapes that were tried."""
    ppcc: tuple[float, ...]
    """PPCC of each."""
    sigma_dn: float
    """Standard deviation of the differences."""
    values: NDArray[np.float64]
    """(n,) differences, in their standard deviations: the middles of histogram bins."""
    counts: NDArray[np.float64]
    """(n,) how often they occurred."""


def fit_read_shape(histogram: Histogram, pixel_sigma_dn: float, drawn: NDArray[np.float64]) -> ReadShape:
    """Fit the shape of the read noise to differences of successive frames; ``drawn`` (draws, tiles) for its interval.

    A difference is X₁ − X₂ + U₁ − U₂ with read noise X and rounding errors U, uniform over a DN. For every shape of X
    its distribution is computed on a grid (products of Fourier transforms); the PPCC compares the means of what fell
    into each histogram bin with the means of as many of that distribution's quantiles. Simulated darks of a half DN
    and more give back the shape to 0.01, of 0.4 DN to 0.02, of 0.3 DN to 0.08, which the interval includes.
    """
    sigma = math.sqrt(2 * (pixel_sigma_dn**2 + QUANTIZATION_VARIANCE_DN2))
    tables = [_DifferenceTable(shape, sigma) for shape in _LAMBDAS]
    whole = histogram.counts.sum(axis=0)
    ppcc = np.array([table.ppcc(whole) for table in tables])
    best = int(ppcc.argmax())
    value = _peak(ppcc, 0)
    near = slice(max(best - 6, 0), best + 7)
    draws = [
        _peak(np.array([table.ppcc(counts) for table in tables[near]]), near.start)
        for counts in (weights @ histogram.counts for weights in drawn[: REPLICATES // 4])
    ]
    error = 0.01 if pixel_sigma_dn >= 0.5 else 0.02 if pixel_sigma_dn >= 0.4 else 0.08
    interval = bootstrap_interval(value, np.array(draws))
    return ReadShape(
        tukey_lambda=Measured(value, max(interval.low - error, -0.49), interval.high + error),
        ppcc_tukey=float(ppcc[best]),
        ppcc_gaussian=_DifferenceTable(None, sigma).ppcc(whole),
        lambdas=_LAMBDAS,
        ppcc=tuple(float(value) for value in ppcc),
        sigma_dn=sigma,
        values=histogram.values * (histogram.scale / sigma),
        counts=whole,
    )


def _peak(ppcc: NDArray[np.float64], start: int) -> float:
    """Return the shape at the top of the parabola through the largest PPCC and its neighbors."""
    best = int(ppcc.argmax())
    position = float(best)
    if 0 < best < len(ppcc) - 1:
        left, top, right = ppcc[best - 1 : best + 2]
        curvature = left - 2 * top + right
        position += 0.5 * (left - right) / curvature if curvature < 0 else 0.0
    return float(_LAMBDAS[0] + (_LAMBDAS[1] - _LAMBDAS[0]) * (start + position))


class _DifferenceTable:
    """Distribution of the difference of two rounded values of read noise, on a grid of its standard deviations.

    Args:
        shape: Tukey's lambda of the read noise; None for a Gaussian.
        sigma_dn: Standard deviation of the difference in DN, rounding included.
    """

    def __init__(self, shape: float | None, sigma_dn: float) -> None:
        self.x = np.asarray((np.arange(_GRID_SIZE) - _GRID_SIZE // 2) * _GRID_STEP, np.float64)
        sigma = math.sqrt((1 - 2 * QUANTIZATION_VARIANCE_DN2 / sigma_dn**2) / 2)  # of one value, without rounding
        edges = np.append(self.x, -self.x[0]) - _GRID_STEP / 2
        once = np.fft.rfft(np.fft.ifftshift(np.diff(_distribution(shape, edges / sigma))))
        rounding = np.sinc(np.fft.rfftfreq(_GRID_SIZE, _GRID_STEP) / sigma_dn)
        mass = np.fft.fftshift(np.fft.irfft((np.abs(once) * rounding) ** 2, _GRID_SIZE))
        self.mass = np.asarray(np.maximum(mass, 0) / np.maximum(mass, 0).sum(), np.float64)
        self._probability = np.append(0.0, np.cumsum(self.mass))
        reached = np.clip(self.x, -_HISTOGRAM_REACH, _HISTOGRAM_REACH)
        self._integral = np.append(0.0, np.cumsum(self.mass * reached))

    def ppcc(self, counts: NDArray[np.float64]) -> float:
        """Return the correlation of a histogram (bins) of ordered values with the quantiles that they stand for."""
        filled = np.flatnonzero(counts)
        share = counts[filled] / counts.sum()
        until = np.append(0.0, np.cumsum(share))
        until[-1] = 1.0
        expected = np.diff(np.interp(until, self._probability, self._integral)) / share
        expected -= share @ expected
        found = filled - share @ filled
        return float((share @ (found * expected)) / math.sqrt((share @ found**2) * (share @ expected**2)))


def difference_density(shape: float | None, sigma_dn: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the density of the difference of two rounded values of read noise, for plots.

    Args:
        shape: Tukey's lambda of the read noise; None for a Gaussian.
        sigma_dn: Standard deviation of the difference in DN.

    Returns:
        Places and density there, both in standard deviations.
    """
    table = _DifferenceTable(shape, sigma_dn)
    return table.x, table.mass / _GRID_STEP


def _distribution(shape: float | None, x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the distribution function of variance 1 at ``x``: Tukey lambda, or Gaussian for None."""
    if shape is None:
        return np.array([0.5 * math.erfc(-value / math.sqrt(2)) for value in x.tolist()])
    t = np.linspace(-40, 40, 8_001)  # u = 1/(1 + exp(−t)), so the tails are sampled, too
    log_u, log_v = -np.logaddexp(0, -t), -np.logaddexp(0, t)
    quantile = log_u - log_v if abs(shape) < 1e-6 else (np.exp(shape * log_u) - np.exp(shape * log_v)) / shape
    return np.interp(x, quantile / tukey_lambda_std(shape), np.exp(log_u), left=0.0, right=1.0)


def tamed_std(values: NDArray[np.float32]) -> float:
    """Return the standard deviation of some of the values; what lies beyond 6 of these counts as there."""
    some = tame = values.ravel()[:: max(values.size // 1_000_000, 1)]
    for _ in range(4):
        deviation = float(tame.std(dtype=np.float64))
        tame = np.clip(some, -6 * deviation, 6 * deviation)
    return deviation


class Histogram:
    """Differences of successive frames by part of the frame, in steps of a share of their standard deviation."""

    def __init__(self, scale_dn: float, shape: tuple[int, ...]) -> None:
        if scale_dn == 0:
            raise CalibrationError("Two dark frames are the same: these are copies, or the camera removes its noise.")
        self.scale = scale_dn
        self._tiles = frame_tiles(*shape)
        self._middle = _HISTOGRAM_REACH * _HISTOGRAM_STEPS
        self.values = np.arange(-self._middle, self._middle + 1) / _HISTOGRAM_STEPS
        self.counts = np.zeros((len(self._tiles), self.values.size))

    def add(self, change: NDArray[np.float32]) -> None:
        """Count the differences (H, W) of two frames."""
        for index, tile in enumerate(self._tiles):
            steps = np.rint(change[tile] * np.float32(_HISTOGRAM_STEPS / self.scale))
            np.clip(steps, -self._middle, self._middle, out=steps)
            bins = steps.astype(np.int32).ravel() + self._middle
            self.counts[index] += np.bincount(bins, minlength=self.values.size)

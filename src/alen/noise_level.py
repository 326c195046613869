"""How noisy a frame is, told by the frame alone.

Photons make the variance of a pixel grow with its signal, the sensor's electronics add to it: variance = gain · signal
+ read variance. Both are read from the flattest squares of the frame. A Laplacian that any plane of brightness passes
(J. Immerkær, "Fast noise variance estimation", 1996, https://doi.org/10.1006/cviu.1996.0060) leaves noise and fine
detail; of the squares of about the same brightness those with the least of it hold next to no detail; a line through
their variances is the answer. Detail that is everywhere makes it too high. Cameras that compress their RAW files, or
clean them, take the finest noise away: then means of 2 × 2 pixels, where that shows less, are asked instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from alen.engines import Planes

_SQUARE: Final = {4: 8, 9: 5}
"""Side of the squares whose variance is looked at, in packed pixels, by the number of planes: 16 pixels of Bayer, 15 of
X-Trans. Larger ones find no flat place where all is textured."""

_QUANTILE: Final = 0.1
"""Share of the squares of about the same brightness that is taken to hold no detail."""

_QUANTILE_OF_NOISE: Final = {4: 0.628, 9: 0.472}
"""Where that quantile lies if there is no detail at all, as a share of the variance; by simulation, Gaussian noise."""

_GROUPS: Final = 24
"""Groups of squares by brightness, at most."""

_LEAST_SQUARES: Final = 100
"""Squares that make a group, at least."""

_SAMPLED: Final = 1_000_000
"""Packed pixels that are looked at, about: in bands of rows all over the frame."""

_BAND: Final = 2 * (2 * 8 + 2)
"""Rows of such a band: two squares, of X-Trans three, of means of 2 × 2 pixels, and what the Laplacian takes off."""

_BRIGHTEST: Final = 0.9
"""Squares that reach beyond this share of the saturation are left out: clipping takes noise away."""


_ROUNDS: Final = 4
"""Of fitting the line."""

_CORRELATED: Final = 2.0
"""From so many times the variance on, that of means of 2 × 2 pixels is due to a camera that cleans, not to detail."""


@dataclass(frozen=True)
class NoiseLevel:
    """The noise of a frame, its signal and its variance counted in shares of the saturation: black is 0, white 1."""

    gain: float
    """Variance per signal; at least 0."""
    read_variance: float
    """Variance without light; above 0."""
    darkest: float = 0.0
    """Signal of the darkest squares that were measured; below it their variance holds, which may be too much."""

    def variance(self, signal: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the variance of pixels of a signal, any shape."""
        variance: NDArray[np.float32] = np.maximum(signal, np.float32(self.darkest))
        variance *= np.float32(self.gain)
        variance += np.float32(self.read_variance)
        return variance


def estimate_noise_level(planes: Planes, saturation: NDArray[np.float32]) -> NoiseLevel | None:
    """Estimate the noise of a frame.

    Args:
        planes: Packed planes (P, h, w), at any scale.
        saturation: (P,) the value at which each plane saturates: white balance × ratio.

    Returns:
        None if too little of the frame can be used: it is too small, overexposed, or as good as noiseless.
    """
    _, height, width = planes.shape
    count = max(1, min(height // _BAND, _SAMPLED // (_BAND * width)))
    starts = np.linspace(0, max(height - _BAND, 0), count).astype(int)
    bands = [planes.rows(start, min(start + _BAND, height)) / saturation[:, None, None] for start in starts]
    median = max(float(np.median(np.concatenate([band[:, ::4, ::4].ravel() for band in bands]))), 0.0)
    fine = _estimate(bands, 1.0)
    coarse = _estimate([_halved(band) for band in bands], 4.0)
    if fine is None or coarse is None:
        return fine
    fine_variance, coarse_variance = (level.gain * median + level.read_variance for level in (fine, coarse))
    return coarse if coarse_variance > _CORRELATED * fine_variance else fine


def _estimate(bands: list[NDArray[np.float32]], factor: float) -> NoiseLevel | None:
    """Estimate noise from bands of planes; ``factor`` is by how much larger it is than the variance in them."""
    means, variances = (np.concatenate(values) for values in zip(*map(_squares, bands), strict=True))
    groups = min(_GROUPS, len(means) // _LEAST_SQUARES)
    if groups == 0:
        return None
    order = np.array_split(np.argsort(means, kind="stable"), groups)
    signal = np.array([max(float(means[group].mean()), 0.0) for group in order])
    level = NoiseLevel(0.0, float(np.quantile(variances, _QUANTILE)) + 1e-12)
    for _ in range(_ROUNDS):  # squares of a group are not alike: what is asked is how they compare with the line so far
        excess = variances / level.variance(means)
        factors = np.array(
            [np.quantile(excess[group], _QUANTILE) / _QUANTILE_OF_NOISE[len(bands[0])] for group in order]
        )
        usable = factors > 0  # black that is cut off has no variance
        if not usable.any():
            return None
        level = _lower_line(signal[usable], factors[usable] * level.variance(signal[usable].astype(np.float32)))
    return NoiseLevel(factor * level.gain, factor * level.read_variance, level.darkest)


def _halved(planes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return planes (P, h, w) as means of 2 × 2, a last odd row or column left out."""
    _, height, width = planes.shape
    whole = planes[:, : height // 2 * 2, : width // 2 * 2]
    rows = whole[:, ::2] + whole[:, 1::2]
    means: NDArray[np.float32] = (rows[..., ::2] + rows[..., 1::2]) * np.float32(0.25)
    return means


def _squares(rows: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return mean and variance, by the Laplacian, of every square of every plane that is not too bright."""
    laplacian = rows[:, :-2] + rows[:, 2:] - 2 * rows[:, 1:-1]
    laplacian = laplacian[:, :, :-2] + laplacian[:, :, 2:] - 2 * laplacian[:, :, 1:-1]
    laplacian /= 6  # of noise: its variance
    inner = rows[:, 1:-1, 1:-1]
    side = _SQUARE[len(rows)]
    count, height, width = len(inner), inner.shape[1] // side, inner.shape[2] // side

    def over_squares(values: NDArray[np.float32], function: np.ufunc) -> NDArray[np.float32]:
        whole = values[:, : height * side, : width * side]
        of_rows = function.reduce(whole.reshape(count, height, side, width * side), axis=2)  # the longer axis last
        result: NDArray[np.float32] = function.reduce(of_rows.reshape(count, height, width, side), axis=3)
        return result

    dark = over_squares(inner, np.maximum) < _BRIGHTEST
    means, squares = (over_squares(values, np.add)[dark] for values in (inner, laplacian * laplacian))
    return means * np.float32(1 / side**2), squares * np.float32(1 / side**2)


def _lower_line(signal: NDArray[np.float64], variance: NDArray[np.float64]) -> NoiseLevel:
    """Fit variance = gain · signal + read variance, neither below 0, by relative error; points above count less.

    What lies above the line is detail. Weights are those of Cauchy's, on that side alone.
    """
    weight = np.ones_like(variance)
    gain, read = 0.0, 0.0
    for _ in range(8):
        w = weight / variance**2
        s, ss, v, sv, one = ((w * x).sum() for x in (signal, signal**2, variance, signal * variance, 1.0))
        determinant = ss * one - s * s
        gain, read = 0.0, v / one
        if determinant > 1e-9 * ss * one:
            gain, read = (sv * one - s * v) / determinant, (ss * v - s * sv) / determinant
        if read < 0:
            gain, read = sv / ss, 0.0
        elif gain < 0:
            gain, read = 0.0, v / one
        above = np.maximum(variance / (gain * signal + read) - 1, 0)
        weight = 1 / (1 + (above / 0.15) ** 2)
    return NoiseLevel(float(gain), float(max(read, 1e-4 * variance.min())), float(signal.min()) / 2)

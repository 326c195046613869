"""Darks: read noise, row noise, hot pixels and black level, from frames without light."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from alen.calibrate.blocks import means_of_phases, subtract_neighborhood
from alen.calibrate.intervals import (
    bootstrap_draws,
    bootstrap_interval,
    four_measured,
    four_rounded,
    frame_tiles,
    six_digits,
)
from alen.calibrate.read_shape import LAMBDA_SIGMA_DN, Histogram, ReadShape, fit_read_shape, tamed_std
from alen.calibrate.stacks import Stack
from alen.camera_file import HotPixel, Measured
from alen.cfa import CFA
from alen.errors import CalibrationError
from alen.noise import QUANTIZATION_VARIANCE_DN2

HOT_SIGMAS: Final = 5.0
"""Read noises that a hot pixel exceeds its neighborhood by, in the mean of the darks."""

_FLASH_SIGMAS: Final = 32.0
"""Standard deviations from which on a difference between two darks is a cosmic ray or a pixel that jumps, no noise."""

_ROWS_PER_BAND: Final = 16
"""Rows that the bootstrap of the row noise draws together."""


@dataclass(frozen=True, eq=False, kw_only=True)
class DarkNoise:
    """What frames without light tell."""

    frames: int
    """Number of frames."""
    frame_black_dn: NDArray[np.float64]
    """(N, 4): mean of R, Gr, Gb, B of every frame."""
    sigma_dn: Measured
    """Standard deviation of a pixel over time: read noise, row noise and quantization together."""
    degrees: float
    """Degrees of freedom behind it."""
    pixel_sigma_dn: Measured
    """Read noise alone, as `alen.noise.NoiseParameters.read_sigma_dn` wants it: less row noise and quantization."""
    row_sigma_dn: Measured
    """Standard deviation of the offset that a row has of its own, over time: less what its frame has in common, and
    less the pixels' share in a row's mean."""
    row_floor_dn2: float
    """The pixels' share in the variance of a row's mean."""
    row_means_dn: NDArray[np.float32]
    """(N, H): what the rows of every frame differ by from their mean over the frames, and from their frame."""
    row_profile_dn: NDArray[np.float32]
    """(H,): fixed pattern of the rows: their mean over the frames, less that of all rows."""
    fixed_pattern_sigma_dn: float
    """Standard deviation from pixel to pixel of what all frames have in common; without hot pixels and shading."""
    hot: tuple[HotPixel, ...]
    """Hot pixels, the brightest first."""
    hot_threshold_dn: float
    """What makes a pixel a hot one."""
    shape: ReadShape | None
    """Distribution of the read noise; None where rounding hides it."""

    @property
    def black_dn(self) -> tuple[float, float, float, float]:
        """Mean of R, Gr, Gb, B in DN."""
        r, gr, gb, b = (float(value) for value in self.frame_black_dn.mean(axis=0))
        return r, gr, gb, b

    @property
    def mean_dn(self) -> float:
        """Mean of the four colors in DN."""
        return sum(self.black_dn) / 4

    @property
    def frame_sigma_dn(self) -> float:
        """Standard deviation of the mean of the colors from frame to frame, in DN."""
        return float(np.std(self.frame_black_dn.mean(axis=1), ddof=1))


def dark_noise(frames: Iterable[NDArray[np.uint16]], cfa: CFA) -> DarkNoise:
    """Measure black level, read noise, row noise and hot pixels from frames taken without light.

    Everything but fixed pattern and hot pixels is measured over time, so that fixed patterns fall out, and every
    frame's own mean per color is taken off first. Row means hold 1/W of the pixels' variance, which is taken out.

    Args:
        frames: (H, W) uint16 dark frames of the same exposure in DN, one after the other, at least two; an array
            (N, H, W) will do.
        cfa: Their pattern.

    Returns:
        Noises in DN, with their intervals.

    Raises:
        CalibrationError: There are fewer than two frames, of different sizes, or all alike.
    """
    stack: Stack | None = None
    histogram: Histogram | None = None
    rows: list[NDArray[np.float32]] = []
    means: list[NDArray[np.float64]] = []
    for mosaic in frames:
        if stack is None:
            stack = Stack(mosaic, cfa.size)
            before = np.zeros(mosaic.shape, np.float32)
            rows.append(np.zeros(len(mosaic), np.float32))
            means.append(means_of_phases(mosaic, cfa.size))
            continue
        residual, common = stack.add(mosaic)
        if histogram is None:
            histogram = Histogram(tamed_std(residual), residual.shape)
        reach = np.float32(_FLASH_SIGMAS * histogram.scale)
        np.clip(residual, -reach, reach, out=residual)  # a cosmic ray makes no row noise
        rows.append(residual.mean(axis=1))
        means.append(means[0] + np.concatenate([blocks.ravel() for blocks in common]))
        change = np.subtract(residual, before, out=before)
        change -= change.mean(axis=1)[:, None]
        histogram.add(change)
        before = residual
    if stack is None or histogram is None:
        raise CalibrationError(f"At least two dark frames are needed, better ten; got {0 if stack is None else 1}.")
    del before, change, residual
    return _dark_noise(stack, cfa, np.array(means), np.stack(rows), histogram)


def _dark_noise(
    stack: Stack,
    cfa: CFA,
    phase_means: NDArray[np.float64],
    rows: NDArray[np.float32],
    histogram: Histogram,
) -> DarkNoise:
    """Evaluate what was gathered: the pixels' moments, the means of phases (N, phases), those of rows (N, H)."""
    count, (height, width) = stack.count, stack.shape
    tiles = frame_tiles(height, width)
    deviation, variance = stack.taken()
    sigma = math.sqrt(float(np.median([variance[tile].mean(dtype=np.float64) for tile in tiles])))
    if sigma == 0:
        raise CalibrationError("The dark frames are all alike: these are copies, or the camera removes its noise.")
    threshold = HOT_SIGMAS * sigma
    subtract_neighborhood(deviation, cfa.size, sigma)
    # A single flash lies at 1 standard error of its pixel's mean, a pixel that is always bright above 3.
    is_hot = (deviation > threshold) & (deviation > 3 * np.sqrt(variance / count))
    hot = sorted(
        (HotPixel(int(y), int(x), six_digits(float(deviation[y, x]))) for y, x in np.argwhere(is_hot)),
        key=lambda pixel: -pixel.excess_dn,
    )
    is_calm = ~is_hot & (variance < (_FLASH_SIGMAS * sigma) ** 2)
    calm = np.array([np.count_nonzero(is_calm[tile]) for tile in tiles], np.float64)
    sums = np.array([variance[tile].sum(where=is_calm[tile], dtype=np.float64) for tile in tiles])
    total = float(sums.sum() / calm.sum())
    fixed = float(np.var(deviation[is_calm], dtype=np.float64)) - total / count
    np.minimum(deviation, threshold, out=deviation)
    profile = deviation.mean(axis=1)

    rows = rows - rows.mean(axis=0)
    of_rows = np.square(rows, dtype=np.float64).sum(axis=0) / (count - 1)  # (H,)
    of_rows *= height / max(height - cfa.size, 1)  # every frame's phases were made equal first
    starts = np.arange(0, height, _ROWS_PER_BAND)
    band_sums, band_rows = np.add.reduceat(of_rows, starts), np.diff([*starts, height])

    fixed_sigma = math.sqrt(max(fixed, 0.0))

    def split(total: NDArray[np.float64], of_rows: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
        """Tell row noise, pixels' share in the row means and read noise apart; variances in DN²."""
        within = (total - of_rows) * width / max(width - 1, 1)
        row = np.maximum(of_rows - within / width, 0)
        return row, within / width, _before_rounding(total - row, phase_means, fixed_sigma)

    rng = np.random.default_rng(0)
    drawn, drawn_bands = bootstrap_draws(rng, len(tiles)), bootstrap_draws(rng, len(starts))
    totals = (drawn @ sums) / np.maximum(drawn @ calm, 1)
    row, floor, pixel = split(np.array(total), np.array(of_rows.mean()))
    row_draws, _, pixel_draws = split(totals, (drawn_bands @ band_sums) / (drawn_bands @ band_rows))
    pixel_sigma = math.sqrt(float(pixel))
    # read noise that is no Gaussian rounds a little differently
    doubt = 0.25 * float(_rounding_swing(np.array(pixel))) / max(2 * float(pixel), 1e-12) * pixel_sigma
    interval = bootstrap_interval(pixel_sigma, np.sqrt(pixel_draws))
    planes = cfa.plane_map(cfa.size, cfa.size).ravel()
    black = [phase_means[:, planes == p].mean(axis=1) for p in range(4) if np.any(planes == p)]
    if len(black) == 3:  # X-Trans has no rows without red: its Gb is Gr
        black.insert(2, black[1])
    return DarkNoise(
        frames=count,
        frame_black_dn=np.stack(black, axis=1),
        sigma_dn=bootstrap_interval(math.sqrt(total), np.sqrt(totals)),
        degrees=float(calm.sum()) * (count - 1),
        pixel_sigma_dn=Measured(pixel_sigma, max(interval.low - doubt, 0.0), interval.high + doubt),
        row_sigma_dn=bootstrap_interval(math.sqrt(float(row)), np.sqrt(row_draws)),
        row_floor_dn2=float(floor),
        row_means_dn=rows,
        row_profile_dn=profile - profile.mean(),
        fixed_pattern_sigma_dn=fixed_sigma,
        hot=tuple(hot),
        hot_threshold_dn=threshold,
        shape=fit_read_shape(histogram, pixel_sigma, drawn) if pixel_sigma >= LAMBDA_SIGMA_DN else None,
    )


def _rounding_swing(variance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return by how much less a Gaussian around a whole number varies once rounded, than by its variance + 1/12, DN².

    First term of the Fourier series, e^(−2π²σ²) (1/π² + 4σ²): 8e-9 DN² at σ = 1 DN, 0.04 at 0.37. Around a half number
    it varies more by as much, in between by the cosine. Widrow & Kollár, "Quantization Noise", Cambridge 2008.
    """
    return np.asarray(np.exp(-2 * np.pi**2 * variance) * (1 / np.pi**2 + 4 * variance))


def _before_rounding(
    variance: NDArray[np.float64], means: NDArray[np.float64], fixed_sigma: float
) -> NDArray[np.float64]:
    """Return the variance of what was rounded, from that of whole numbers (any shape), their means, and fixed pattern.

    Rounding moves the means, too, by (1/π) e^(−2π²σ²) sin 2π·mean toward the next whole number.
    """
    rounded = np.maximum(variance - QUANTIZATION_VARIANCE_DN2, 0)[..., None]
    before = np.maximum(rounded, 0.01)  # (…, 1)
    places = np.broadcast_to(means.ravel(), (*variance.shape, means.size))
    for _ in range(30):
        pull = np.exp(-2 * np.pi**2 * (before + fixed_sigma**2)) / np.pi * np.sin(2 * np.pi * places)
        places = means.ravel() + pull
        swing = _rounding_swing(before) * math.exp(-2 * (math.pi * fixed_sigma) ** 2) * np.cos(2 * np.pi * places)
        lost = (swing + pull**2).mean(axis=-1, keepdims=True)
        before = np.maximum(0.5 * (before + rounded + lost), 0)
    return np.asarray(before[..., 0])


@dataclass(frozen=True, kw_only=True)
class Drift:
    """How the black level moves from frame to frame, against what the files say."""

    sigma_dn: Measured
    """Standard deviation of the mean of a color."""
    color_share: float
    """Share of the variance that each color has for itself, 0 to 1."""
    offset_dn: tuple[float, float, float, float]
    """Mean of the darks less the file's black level, of R, Gr, Gb, B."""
    mean_dn: tuple[Measured, Measured, Measured, Measured]
    """Mean of the darks, of R, Gr, Gb, B."""


def black_drift(frame_black_dn: NDArray[np.float64], file_black_dn: NDArray[np.float64]) -> Drift:
    """Tell how the black level lies and moves against what the files say.

    Args:
        frame_black_dn: (N, 4) mean of R, Gr, Gb, B of every dark frame.
        file_black_dn: (N, 4) black level that each file tells.
    """
    count = len(frame_black_dn)
    offsets = frame_black_dn - file_black_dn
    covariance = np.cov(offsets.T, ddof=1)  # (4, 4)
    variance = float(np.trace(covariance)) / 4
    common = float(covariance.sum() - np.trace(covariance)) / 12
    share = min(max(1 - common / variance, 0.0), 1.0) if variance > 0 else 0.0
    chi = np.random.default_rng(0).chisquare(count - 1, 200_000) / (count - 1)
    low, high = np.quantile(chi, (0.025, 0.975))
    sigma = math.sqrt(variance)
    student = float(np.quantile(np.abs(np.random.default_rng(1).standard_normal(chi.size)) / np.sqrt(chi), 0.95))
    means = []
    for color in range(4):
        mean = float(frame_black_dn[:, color].mean())
        reach = student * float(np.std(frame_black_dn[:, color], ddof=1)) / math.sqrt(count)
        means.append(Measured(mean, mean - reach, mean + reach))
    return Drift(
        sigma_dn=Measured(sigma, sigma / math.sqrt(high), sigma / math.sqrt(low)),
        color_share=share,
        offset_dn=four_rounded(offsets.mean(axis=0)),
        mean_dn=four_measured(means),
    )

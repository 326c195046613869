"""Sensor noise as physics: sample it and predict its variance. `alen.calibrate` measures it in real frames.

A pixel counts electrons (Poisson), multiplies them by the system gain K and gets read noise (Tukey lambda or
Gaussian), row noise, a black level that drifts per CFA color, rounding to integers and the limits of the ADC:

    DN = clip(round(K · Poisson(e) + read + row + drift + black), 0, white),    e = clean · (white − black) / K

The model is that of Wei et al., "A Physics-based Noise Formation Model for Extreme Low-light Raw Denoising", CVPR
2020 (https://arxiv.org/abs/2003.12751), with the joint sampling of K and the read noise it proposes, which
`alen.cameras` does.

Two things differ from the published models. Rounding is done, not simulated by uniform noise. And read noise is given
by its *standard deviation*: the Tukey-lambda numbers of calibrations are the scale of scipy's ``tukeylambda``, whose
standard deviation at scale 1 is `tukey_lambda_std` (1.81 for a logistic, 1.45 at 0.14), so a scale taken for a standard
deviation would make the noise half as strong as it is.

Everything is numpy; DN are digital numbers at the file's bit depth; quantities per CFA color are ordered R, Gr, Gb, B.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from alen.cfa import CFA
from alen.errors import SettingsError

QUANTIZATION_VARIANCE_DN2: Final = 1 / 12
"""Variance that rounding to integers adds, in DN²; it holds where the other noise is above about half a DN."""

EXACT_POISSON_BELOW: Final = 16.0
"""Expected electrons below which counts are drawn exactly; above, by the quantile expansion of `_count_electrons`."""

_BLOCK: Final = 1 << 15
"""Pixels worked on together where an algorithm makes many passes: they stay in the processor's cache."""


@dataclass(frozen=True, kw_only=True)
class NoiseParameters:
    """The noise of one exposure on one sensor.

    Raises:
        SettingsError: A value is out of its range.
    """

    gain: float
    """System gain K in DN per electron; positive."""

    read_sigma_dn: float
    """Standard deviation of the read noise in DN, without quantization; at least 0."""

    read_lambda: float | None = None
    """Shape of the read noise: Tukey's lambda, above −0.5 (finite variance); None for a Gaussian."""

    row_sigma_dn: float = 0.0
    """Standard deviation of the offset that a sensor row has in common, in DN."""

    black_drift_dn: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    """Offset of R, Gr, Gb, B in DN that the file's black level does not tell."""

    black_level_dn: float
    """Black level that the file tells, in DN."""

    white_level_dn: int
    """Largest value of the ADC and the level of saturation, in DN; at most 65535."""

    def __post_init__(self) -> None:
        """Raise SettingsError unless every value is finite and in its range."""
        if not (math.isfinite(self.gain) and self.gain > 0):
            raise SettingsError(f"The gain is a positive number of DN per electron; got {self.gain!r}.")
        for name in ("read_sigma_dn", "row_sigma_dn"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise SettingsError(f"{name} is a number of DN, at least 0; got {value!r}.")
        if self.read_lambda is not None and not -0.5 < self.read_lambda < 2:
            raise SettingsError(f"read_lambda lies between -0.5 and 2 (or is None); got {self.read_lambda!r}.")
        if len(self.black_drift_dn) != 4 or not all(math.isfinite(drift) for drift in self.black_drift_dn):
            raise SettingsError(f"black_drift_dn holds four numbers (R, Gr, Gb, B); got {self.black_drift_dn!r}.")
        if (
            not math.isfinite(self.white_level_dn)
            or self.white_level_dn != int(self.white_level_dn)
            or not 0 <= self.black_level_dn < self.white_level_dn <= 65535
        ):
            raise SettingsError(
                "Levels are 0 <= black < white <= 65535 with an integer white; "
                f"got black {self.black_level_dn!r}, white {self.white_level_dn!r}."
            )


def add_noise(
    clean: NDArray[np.float32], cfa: CFA, parameters: NoiseParameters, rng: np.random.Generator
) -> NDArray[np.uint16]:
    """Expose a noiseless mosaic on a sensor.

    Args:
        clean: (H, W) float32, normalized mosaic: 0 = black, 1 = white. Values outside [0, 1] are clipped (saturation).
        cfa: Its pattern (for the black drift).
        parameters: The sensor and its gain.
        rng: Source of randomness; the same state gives the same mosaic.

    Returns:
        (H, W) uint16, DN in [0, white_level_dn]. Shadows keep their noise on both sides of the black level.

    Raises:
        SettingsError: ``clean`` is not a normalized mosaic, or a value of it is not a number.
    """
    if clean.ndim != 2:
        raise SettingsError(f"A mosaic has two dimensions; got shape {clean.shape}.")
    if not np.issubdtype(clean.dtype, np.floating):
        raise SettingsError(f"A normalized mosaic has numbers from 0 to 1; got {clean.dtype}. Normalize it first.")
    if clean.size and np.isnan(clean.max()):
        raise SettingsError("A value of the mosaic is not a number.")
    height, width = clean.shape
    offsets = np.array(parameters.black_drift_dn) + parameters.black_level_dn
    rows = cfa.size * max(1, 4 * _BLOCK // (cfa.size * max(width, 1)))  # a band of whole patterns
    offset_map = offsets.astype(np.float32)[cfa.plane_map(min(rows, height), width)]
    mosaic = np.empty((height, width), np.uint16)
    for top in range(0, height, rows):
        band = clean[top : top + rows]
        signal = _expose(band, offset_map[: len(band)], parameters, rng)
        mosaic[top : top + rows] = signal  # whole numbers within uint16
    return mosaic


def variance_dn(clean_dn_above_black: NDArray[np.float32] | float, parameters: NoiseParameters) -> NDArray[np.float64]:
    """Return the variance that `add_noise` gives a pixel: K·x + read² + row² + 1/12.

    Clipping is left out: at 0 and at the white level the true variance is smaller.

    Args:
        clean_dn_above_black: Noiseless signal in DN above black, any shape.
        parameters: The sensor and its gain.

    Returns:
        Variance in DN², float64, same shape.

    Example:
        >>> p = NoiseParameters(gain=0.5, read_sigma_dn=2.0, black_level_dn=512, white_level_dn=16383)
        >>> round(float(variance_dn(100.0, p)), 3)
        54.083
    """
    constant = parameters.read_sigma_dn**2 + parameters.row_sigma_dn**2 + QUANTIZATION_VARIANCE_DN2
    return np.asarray(parameters.gain * np.maximum(np.asarray(clean_dn_above_black, np.float64), 0) + constant)


def tukey_lambda_std(shape: float) -> float:
    """Return the standard deviation of the Tukey-lambda distribution of scale 1.

    Var = 2/λ² · (1/(1 + 2λ) − Γ(λ + 1)²/Γ(2λ + 2)), and π²/3 (logistic) at λ = 0; finite above λ = −1/2.

    Example:
        >>> round(tukey_lambda_std(0.0), 4), round(tukey_lambda_std(0.14), 4)
        (1.8138, 1.4527)
    """
    if not shape > -0.5:
        raise SettingsError(f"The Tukey-lambda distribution has a variance above lambda = -0.5; got {shape!r}.")
    if abs(shape) < 1e-4:  # the formula loses its digits to cancellation
        return math.pi / math.sqrt(3)
    variance = 2 / shape**2 * (1 / (1 + 2 * shape) - math.gamma(shape + 1) ** 2 / math.gamma(2 * shape + 2))
    return math.sqrt(variance)


def _expose(
    clean: NDArray[np.float32],
    offset_map: NDArray[np.float32],
    parameters: NoiseParameters,
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """Expose one band of a mosaic: (h, W) normalized → (h, W) float32, whole DN in the range of the ADC."""
    expected = np.clip(clean, 0, 1, dtype=np.float32)
    expected *= np.float32((parameters.white_level_dn - parameters.black_level_dn) / parameters.gain)  # electrons
    signal = _count_electrons(expected, rng)
    signal *= np.float32(parameters.gain)  # DN above black
    if parameters.read_sigma_dn > 0:
        signal += _read_noise(signal.shape, parameters.read_sigma_dn, parameters.read_lambda, rng)
    if parameters.row_sigma_dn > 0:
        signal += rng.standard_normal((len(signal), 1), dtype=np.float32) * np.float32(parameters.row_sigma_dn)
    signal += offset_map
    np.rint(signal, out=signal)
    np.clip(signal, 0, parameters.white_level_dn, out=signal)
    return signal


def _count_electrons(expected: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Draw Poisson counts: (H, W) float32 expected electrons → (H, W) float32 whole electrons.

    Few electrons are drawn exactly. From `EXACT_POISSON_BELOW` on, a normal z goes through the Cornish-Fisher
    expansion of the Poisson quantile and is rounded, N = round(λ + s·z + (z² − 1)/6 + (z − z³)/(72·s)) with
    s² = λ − 1/12 (rounding gives the 1/12 back). From 16 electrons on, its distribution function is off by less than
    1.4e-4, its mean and variance by less than 1e-5 of λ, its third moment by 1.2 %.
    """
    few = expected < EXACT_POISSON_BELOW
    if few.all():
        return _count_few_electrons(expected.ravel(), rng).reshape(expected.shape)
    s = np.sqrt(np.maximum(expected, EXACT_POISSON_BELOW) - np.float32(1 / 12))
    z = rng.standard_normal(expected.shape, dtype=np.float32)
    square = z * z
    counts: NDArray[np.float32] = (1 - square) / (72 * s)
    counts += s
    counts *= z
    square -= 1
    square *= np.float32(1 / 6)
    counts += square
    counts += expected
    np.rint(counts, out=counts)
    np.maximum(counts, 0, out=counts)  # the expansion may go below 0 beyond 5 sigma
    if few.any():
        counts[few] = _count_few_electrons(expected[few], rng)
    return counts


def _count_few_electrons(expected: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Draw Poisson counts by walking up the distribution function: (n,) float32 → (n,) float32.

    Three times faster than ``rng.poisson`` up to 16 electrons; exact to the 24 bits of the uniform numbers.
    """
    counts = np.empty_like(expected)
    for start in range(0, expected.size, _BLOCK):
        block = expected[start : start + _BLOCK]
        u = rng.random(block.shape, dtype=np.float32)
        term = np.exp(-block)  # P(N = n)
        cumulated = term.copy()  # P(N <= n)
        count = np.zeros(block.shape, np.int8)
        largest = float(block.max())
        for n in range(1, int(largest + 7 * math.sqrt(largest) + 9)):  # beyond lies less than a float32 can tell
            above = u >= cumulated
            if not above.any():
                break
            count += above
            term *= block
            term *= np.float32(1 / n)
            cumulated += term
        counts[start : start + _BLOCK] = count
    return counts


def _read_noise(
    size: tuple[int, ...], sigma: float, shape: float | None, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Draw read noise of standard deviation ``sigma``: Gaussian, or Tukey lambda by its inverse distribution.

    Q(u) = (u^λ − (1 − u)^λ)/λ, the logit of u for λ → 0. u has 24 bits: tails end at a probability of 3e-8.
    """
    if shape is None:
        normal: NDArray[np.float32] = rng.standard_normal(size, dtype=np.float32)
        normal *= np.float32(sigma)
        return normal
    u = rng.random(size, dtype=np.float32)
    log_u: NDArray[np.float32] = np.log(np.maximum(u, np.float32(2**-25)))  # u may be 0, but not 1
    log_v: NDArray[np.float32] = np.log(1 - u)
    if abs(shape) < 1e-3:  # float32 cannot tell the difference from the limit
        log_u -= log_v
        log_u *= np.float32(sigma / tukey_lambda_std(0.0))
        return log_u
    noise: NDArray[np.float32] = np.exp(log_u * np.float32(shape))
    noise -= np.exp(log_v * np.float32(shape))
    noise *= np.float32(sigma / (shape * tukey_lambda_std(shape)))
    return noise

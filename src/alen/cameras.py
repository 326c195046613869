"""The noise of cameras: what `alen.noise.NoiseParameters` an exposure at some gain has.

`CAMERAS` holds published calibrations as constants; `sample_generic` is the wide prior that training for unknown
cameras needs; `MeasuredCamera` is a camera of one's own, as `alen.calibrate` measured it.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass
from typing import Final

import numpy as np

from alen.errors import SettingsError
from alen.noise import QUANTIZATION_VARIANCE_DN2, NoiseParameters


@dataclass(frozen=True, kw_only=True)
class SigmaLaw:
    """How a noise grows with the gain: log σ = slope · log K + bias ± spread, never below a floor.

    σ in DN, natural logarithms. The floor, added in quadrature, is noise that arises after the amplifier.
    """

    slope: float
    """Growth of log σ with log K."""

    bias: float
    """log σ at K = 1 DN per electron."""

    spread: float
    """Standard deviation of log σ around the line."""

    floor_dn: float = 0.0
    """Noise in DN that does not depend on the gain."""

    def sigma_dn(self, gain: float, deviation: float = 0.0) -> float:
        """Return σ in DN at a gain, ``deviation`` spreads above the line."""
        line = math.exp(self.slope * math.log(gain) + self.bias + deviation * self.spread)
        return math.hypot(line, self.floor_dn)


@dataclass(frozen=True, kw_only=True)
class GainMode:
    """A range of gains in which one set of laws holds; sensors with two conversion gains have two."""

    gain_range: tuple[float, float]
    """Smallest and largest system gain K in DN per electron."""

    read: SigmaLaw
    """Standard deviation of the read noise as calibrated: with the quantization of the calibration frames."""

    row: SigmaLaw
    """Standard deviation of the row noise."""

    lambda_range: tuple[float, float] | None
    """Tukey's lambda of the read noise, from … to; None: Gaussian, or not published."""


@dataclass(frozen=True, kw_only=True)
class BlackDrift:
    """How far the true black lies from the file's: normal with variance base² + (per_gain · K)²."""

    base_dn: float
    """Standard deviation of the drift at low gain, in DN."""

    per_gain: float
    """Standard deviation of the drift per K, in electrons; dominates at high gain."""

    color_share: float
    """Share of the variance that every CFA color has for itself; the rest is common to the four."""

    def sample(self, gain: float, rng: np.random.Generator) -> tuple[float, float, float, float]:
        """Draw the drift of R, Gr, Gb, B in DN."""
        sigma = math.hypot(self.base_dn, self.per_gain * gain)
        common = rng.standard_normal() * math.sqrt(1 - self.color_share)
        own = rng.standard_normal(4) * math.sqrt(self.color_share)
        r, gr, gb, b = (float(value) for value in sigma * (common + own))
        return (r, gr, gb, b)


@dataclass(frozen=True, kw_only=True)
class CameraNoise:
    """The calibrated noise of a camera over its gains."""

    name: str
    """Camera or sensor."""

    black_level_dn: int
    """Black level in DN at the bit depth of the calibration."""

    white_level_dn: int
    """White level in DN at the bit depth of the calibration."""

    gain_at_iso_100: float
    """System gain K at ISO 100, in DN per electron; K is proportional to ISO."""

    modes: tuple[GainMode, ...]
    """One, or more for sensors that switch their conversion gain; by rising gain."""

    drift: BlackDrift
    """How far the black level is off."""

    source: str
    """Where the numbers come from."""

    licence: str
    """Licence of the source."""

    @property
    def bit_depth(self) -> int:
        """Bits of the ADC: 10, 12 or 14."""
        return 2 * math.ceil(math.log2(self.white_level_dn) / 2)

    @property
    def gain_range(self) -> tuple[float, float]:
        """Smallest and largest calibrated K in DN per electron."""
        return self.modes[0].gain_range[0], self.modes[-1].gain_range[1]

    def gain_at(self, iso: float) -> float:
        """Return the system gain K in DN per electron at an ISO speed."""
        if not iso > 0:
            raise SettingsError(f"An ISO speed is positive; got {iso!r}.")
        return self.gain_at_iso_100 * iso / 100

    def sample(self, rng: np.random.Generator, gain: float | None = None) -> NoiseParameters:
        """Draw the noise of an exposure.

        Args:
            rng: Source of randomness.
            gain: K in DN per electron; None draws it, log-uniform over the calibrated range.

        Returns:
            Read and row noise from their laws at this gain with their spread, lambda from its range, a black drift.
        """
        if gain is None:
            low, high = self.gain_range
            gain = math.exp(rng.uniform(math.log(low), math.log(high)))
        mode = self._mode(gain)
        read, row = rng.standard_normal(2)
        return NoiseParameters(
            gain=gain,
            read_sigma_dn=_without_quantization(mode.read.sigma_dn(gain, float(read))),
            read_lambda=None if mode.lambda_range is None else float(rng.uniform(*mode.lambda_range)),
            row_sigma_dn=mode.row.sigma_dn(gain, float(row)),
            black_drift_dn=self.drift.sample(gain, rng),
            black_level_dn=self.black_level_dn,
            white_level_dn=self.white_level_dn,
        )

    def typical(self, iso: float) -> NoiseParameters:
        """Return the central parameters at an ISO speed, without drift: the same each time, for benchmarks.

        Outside the calibrated range of gains, the laws are extrapolated.
        """
        gain = self.gain_at(iso)
        mode = self._mode(gain)
        return NoiseParameters(
            gain=gain,
            read_sigma_dn=_without_quantization(mode.read.sigma_dn(gain)),
            read_lambda=None if mode.lambda_range is None else sum(mode.lambda_range) / 2,
            row_sigma_dn=mode.row.sigma_dn(gain),
            black_level_dn=self.black_level_dn,
            white_level_dn=self.white_level_dn,
        )

    def _mode(self, gain: float) -> GainMode:
        """Return the mode in force: the first whose largest gain is not exceeded (but by rounding), else the last."""
        return next((mode for mode in self.modes if gain <= mode.gain_range[1] * 1.000001), self.modes[-1])


def _without_quantization(sigma_dn: float) -> float:
    """Take the variance of rounding out of a calibrated σ; at least a tenth of it remains."""
    return math.sqrt(max(sigma_dn**2 - QUANTIZATION_VARIANCE_DN2, 0.01 * sigma_dn**2))


_ELD: Final = "ELD, https://github.com/Vandermode/ELD (CVPR 2020): camera_params, Profile-1"
_PMN: Final = "PMN, https://github.com/megvii-research/PMN (ACM MM 2022, TPAMI 2023)"

CAMERAS: Final[tuple[CameraNoise, ...]] = (
    CameraNoise(
        name="Sony A7S II",
        black_level_dn=512,
        white_level_dn=16383,
        gain_at_iso_100=0.09563,
        modes=(
            GainMode(  # ISO 100 to 1600
                gain_range=(0.09563, 1.53008),
                read=SigmaLaw(slope=0.90, bias=1.4904, spread=0.1, floor_dn=0.82),
                row=SigmaLaw(slope=0.709, bias=-0.3606, spread=0.1),
                lambda_range=(-0.05, 0.15),
            ),
            GainMode(  # ISO 2000 to 25600: high conversion gain
                gain_range=(1.9126, 24.48128),
                read=SigmaLaw(slope=0.94, bias=0.2849, spread=0.1, floor_dn=1.01),
                row=SigmaLaw(slope=0.742, bias=-1.6823, spread=0.1),
                lambda_range=(-0.1, -0.01),
            ),
        ),
        drift=BlackDrift(base_dn=1.22, per_gain=0.495, color_share=0.003),
        source=f"{_PMN}; black drift from {_ELD}",
        licence="Apache-2.0; drift MIT",
    ),
    CameraNoise(
        name="Nikon D850",
        black_level_dn=400,
        white_level_dn=16383,
        gain_at_iso_100=0.4150393,
        modes=(
            GainMode(
                gain_range=(0.4150393, 26.5625169),
                read=SigmaLaw(slope=0.563461, bias=0.799410, spread=0.214082),
                row=SigmaLaw(slope=0.448292, bias=-1.797710, spread=0.232180),
                lambda_range=(-0.243, -0.1),
            ),
        ),
        drift=BlackDrift(base_dn=0.92, per_gain=0.076, color_share=0.19),
        source=_ELD,
        licence="MIT",
    ),
    CameraNoise(
        name="Canon EOS 5D Mark IV",
        black_level_dn=512,
        white_level_dn=16383,
        gain_at_iso_100=0.2181895,
        modes=(
            GainMode(
                gain_range=(0.2181895, 13.9641288),
                read=SigmaLaw(slope=0.677127, bias=1.512188, spread=0.246411),
                row=SigmaLaw(slope=0.471280, bias=-0.807896, spread=0.243618),
                lambda_range=(0.014, 0.2),
            ),
        ),
        drift=BlackDrift(base_dn=0.53, per_gain=0.0, color_share=0.59),
        source=_ELD,
        licence="MIT",
    ),
    CameraNoise(
        name="Canon EOS 70D",
        black_level_dn=2048,
        white_level_dn=15000,
        gain_at_iso_100=0.4074970,
        modes=(
            GainMode(
                gain_range=(0.4074970, 26.0798077),
                read=SigmaLaw(slope=0.568118, bias=1.998266, spread=0.248702),
                row=SigmaLaw(slope=0.729222, bias=-0.937057, spread=0.250216),
                lambda_range=(-0.171, 0.143),
            ),
        ),
        drift=BlackDrift(base_dn=0.49, per_gain=0.154, color_share=0.32),
        source=_ELD,
        licence="MIT",
    ),
    CameraNoise(
        name="Canon EOS 700D",
        black_level_dn=2048,
        white_level_dn=15000,
        gain_at_iso_100=0.4476289,
        modes=(
            GainMode(
                gain_range=(0.4476289, 28.6482491),
                read=SigmaLaw(slope=0.652459, bias=2.079864, spread=0.257816),
                row=SigmaLaw(slope=0.622059, bias=-0.775647, spread=0.248481),
                lambda_range=(-0.157, 0.129),
            ),
        ),
        drift=BlackDrift(base_dn=0.46, per_gain=0.076, color_share=0.69),
        source=_ELD,
        licence="MIT",
    ),
    CameraNoise(
        name="Sony IMX686 (phone)",
        black_level_dn=64,
        white_level_dn=1023,
        gain_at_iso_100=0.1366021,
        modes=(
            GainMode(
                gain_range=(0.1366021, 8.7425333),
                read=SigmaLaw(slope=0.85187, bias=0.67991, spread=0.1, floor_dn=0.59),
                row=SigmaLaw(slope=0.87611, bias=-2.11455, spread=0.1),
                lambda_range=(0.0, 0.14),
            ),
        ),
        drift=BlackDrift(base_dn=0.15, per_gain=0.1, color_share=0.4),
        source=f"{_PMN}; ISO 100 and 6400: https://github.com/SonyResearch/raw_image_denoising",
        licence="Apache-2.0, MIT",
    ),
    CameraNoise(
        name="OPPO Reno 10x (phone)",
        black_level_dn=64,
        white_level_dn=1023,
        gain_at_iso_100=0.06864,
        modes=(
            GainMode(
                gain_range=(0.06864, 3.84566),
                read=SigmaLaw(slope=0.84, bias=0.5863, spread=0.1, floor_dn=0.395),
                row=SigmaLaw(slope=0.87611, bias=-2.11455, spread=0.1),
                lambda_range=None,
            ),
        ),
        drift=BlackDrift(base_dn=0.15, per_gain=0.1, color_share=0.4),
        source="PMRID, https://github.com/MegEngine/PMRID (ECCV 2020); row noise not published, that of the IMX686",
        licence="Apache-2.0",
    ),
    CameraNoise(
        name="Sony IMX385 (CRVD)",
        black_level_dn=240,
        white_level_dn=4095,
        gain_at_iso_100=0.2113,
        modes=(
            GainMode(  # ISO 1600 to 25600
                gain_range=(3.513262, 52.032536),
                read=SigmaLaw(slope=0.93582, bias=0.02947, spread=0.1),
                row=SigmaLaw(slope=0.93368, bias=-2.19692, spread=0.1),
                lambda_range=(0.0, 0.14),
            ),
        ),
        drift=BlackDrift(base_dn=0.7, per_gain=0.24, color_share=0.1),
        source=f"{_PMN}: CRVD points and regression",
        licence="Apache-2.0",
    ),
    CameraNoise(
        name="Raspberry Pi Global Shutter (IMX296)",
        black_level_dn=60,
        white_level_dn=1023,
        gain_at_iso_100=0.089,
        modes=(
            GainMode(  # ISO 100 only; read and row noise in electrons taken as constant beyond
                gain_range=(0.089, 0.089),
                read=SigmaLaw(slope=1.0, bias=1.674, spread=0.03),
                row=SigmaLaw(slope=1.0, bias=-0.537, spread=0.05),
                lambda_range=None,
            ),
        ),
        drift=BlackDrift(base_dn=0.2, per_gain=0.0, color_share=0.1),
        source="measured by `alen.calibrate` in ten frames of a still scene and four dark frames",
        licence="own measurement",
    ),
)
"""Calibrated cameras: five with large sensors, two phones, a surveillance sensor and an industrial one.

How the sources were read. ELD gives log-linear laws and their spread at 14 bits, over gains that span ISO 100 to 6400
(its K of the Sony at ISO 100 agrees with PMN's to 2 %): ``g_scale`` is the standard deviation of the read noise,
``G_scale`` and ``G_shape`` are scale and lambda of its Tukey distribution, ``R_scale`` is the row noise, ``color_bias``
the mean of dark frames above the black level. Here the standard deviation comes from ``g_scale`` and only the shape
from ``G_shape``: scale × `tukey_lambda_std` agrees with it to 16 % (and in PMN's values per ISO to 1 %), but for the
D850 above ISO 3200, where it is a third lower. Drift laws are fits to ``color_bias``. PMN's and PMRID's points follow a
line with a floor better than a line, so those are fits too (2 to 4 % rms; row noise less the pixels' share in the row
means). Where a source gives no spread, 10 % stands for the difference between two bodies of a model. Not published, so
assumed: row noise of the OPPO (as the IMX686), its lambda (Gaussian), lambda range of the IMX686 and IMX385, drift of
both phones, levels of the 70D and 700D.
"""


def sample_generic(rng: np.random.Generator) -> NoiseParameters:
    """Draw the noise of an imaginary camera at an imaginary ISO speed.

    The prior spans `CAMERAS` with a margin: full wells of 6 000 to 200 000 electrons at ISO 100, ISO 100 to
    25600, 10, 12 and 14 bits, read noise before the amplifier of 0.4 to 6 electrons and after it of 3e-5 to 6e-4 of
    the range, row noise of 0.03 to 0.35 of the read noise. The black level is exact in half of the draws; in the others
    it drifts by 5e-6 to 1e-4 of the range and 0.005 to 0.1 of the read noise (standard deviations, added in squares).
    """
    bit_depth = (10, 12, 14)[int(rng.choice(3, p=(0.25, 0.25, 0.5)))]
    white = 2**bit_depth - 1
    black = round((white + 1) * rng.uniform(0.015, 0.14))
    range_dn = white - black
    full_well = _log_uniform(rng, 6e3, 2e5) / _log_uniform(rng, 1, 256)  # electrons at white
    gain = range_dn / max(full_well, 50.0)
    read = math.hypot(_log_uniform(rng, 0.4, 6) * gain, _log_uniform(rng, 3e-5, 6e-4) * range_dn)
    drifts = rng.random() < 0.5
    drift_dn = math.hypot(_log_uniform(rng, 5e-6, 1e-4) * range_dn, _log_uniform(rng, 0.005, 0.1) * read)
    drift = BlackDrift(base_dn=drift_dn if drifts else 0.0, per_gain=0.0, color_share=float(rng.uniform(0, 0.6)))
    return NoiseParameters(
        gain=gain,
        read_sigma_dn=read,
        read_lambda=None if rng.random() < 0.2 else float(rng.uniform(-0.28, 0.22)),
        row_sigma_dn=read * _log_uniform(rng, 0.03, 0.35),
        black_drift_dn=drift.sample(gain, rng),
        black_level_dn=black,
        white_level_dn=white,
    )


# ---------------------------------------------------------------------------------------------------------------------
# A camera of one's own
# ---------------------------------------------------------------------------------------------------------------------

GAIN_MARGIN: Final = 0.05
"""Relative standard deviation by which sampled gains vary around a measured one, beside its error."""

NOISE_MARGIN: Final = 0.1
"""The same of read noise, row noise and drift: what differs between two bodies of a model, or with the temperature."""

_LEAST_SAMPLED_LAMBDA: Final = -0.35
"""There tails that end at a probability of 3e-8 lack a hundredth of the standard deviation, at -0.45 a seventh."""

_MOST_SAMPLED_LAMBDA: Final = 1.99
"""`NoiseParameters` takes less than 2."""

LAMBDA_MARGIN: Final = 0.03
"""What the range of Tukey's lambda is widened by at both ends."""


@dataclass(frozen=True, kw_only=True)
class MeasuredNoise:
    """The noise of one camera at one ISO speed, as `alen calibrate` measured it.

    Errors are relative standard errors. Quantities per CFA color are R, Gr, Gb, B.

    Raises:
        SettingsError: A value is out of its range.
    """

    iso: float
    """ISO speed."""
    gain: float
    """System gain K in DN per electron."""
    gain_error: float
    """Of the gain."""
    read_sigma_dn: float
    """Standard deviation of the read noise in DN, without quantization."""
    read_error: float
    """Of the read noise."""
    read_lambda: tuple[float, float] | None
    """Tukey's lambda of the read noise, from … to; None: Gaussian."""
    row_sigma_dn: float
    """Standard deviation of the row noise in DN."""
    row_error: float
    """Of the row noise."""
    black_offset_dn: tuple[float, float, float, float]
    """True black level less the file's, in DN."""
    drift_sigma_dn: float
    """Standard deviation of the black level from frame to frame, in DN."""
    drift_color_share: float
    """Share of its variance that every color has for itself."""
    black_level_dn: float
    """Black level that the file tells, mean of the colors, in DN."""
    white_level_dn: int
    """Level of saturation in DN."""

    def __post_init__(self) -> None:
        """Raise SettingsError unless it can be sampled."""
        self.typical()
        low, high = self.read_lambda or (0.0, 0.0)
        if not -0.5 < low <= high < 2:
            raise SettingsError(f"Tukey's lambda lies between -0.5 and 2; got {self.read_lambda}.")
        errors = (self.gain_error, self.read_error, self.row_error, self.drift_sigma_dn)
        if not all(math.isfinite(error) and error >= 0 for error in errors) or not 0 <= self.drift_color_share <= 1:
            raise SettingsError("Errors and drift are at least 0, and the share of a color 0 to 1.")

    def typical(self) -> NoiseParameters:
        """Return the measured values, without margins and drift, but with the offset of the black level."""
        return NoiseParameters(
            gain=self.gain,
            read_sigma_dn=self.read_sigma_dn,
            read_lambda=None if self.read_lambda is None else sum(self.read_lambda) / 2,
            row_sigma_dn=self.row_sigma_dn,
            black_drift_dn=self.black_offset_dn,
            black_level_dn=self.black_level_dn,
            white_level_dn=self.white_level_dn,
        )


@dataclass(frozen=True, kw_only=True)
class MeasuredCamera:
    """The noise of one camera as measured, for training: `alen train camera --camera`."""

    name: str
    """Maker and model."""
    noises: tuple[MeasuredNoise, ...]
    """At least one, by rising ISO speed."""

    def __post_init__(self) -> None:
        """Raise SettingsError if there is no noise."""
        if not self.noises:
            raise SettingsError(f"{self.name}: at least one ISO speed is needed.")

    @property
    def digest(self) -> str:
        """12 hexadecimal digits that tell these figures from others."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:12]

    def sample(self, rng: np.random.Generator) -> NoiseParameters:
        """Draw the noise of an exposure.

        K is drawn log-uniformly from the lowest to the highest one measured; the rest is interpolated, logarithms over
        the logarithm of K. Then each gets its error and a margin (`GAIN_MARGIN`, `NOISE_MARGIN`, `LAMBDA_MARGIN`). The
        black level drifts from frame to frame as measured. Its constant offset from the file's level is there in half
        of the draws: those who subtract dark frames have none.
        """
        lower, upper, t = self._neighbors(rng.random())

        def draw(name: str, error: str | None, margin: float) -> float:
            a, b = (max(float(getattr(noise, name)), 1e-9) for noise in (lower, upper))
            spread = 0.0 if error is None else (1 - t) * getattr(lower, error) + t * getattr(upper, error)
            return float(a ** (1 - t) * b**t * math.exp(math.hypot(margin, min(spread, 1.0)) * rng.standard_normal()))

        gain = draw("gain", "gain_error", GAIN_MARGIN)
        read = draw("read_sigma_dn", "read_error", NOISE_MARGIN)
        row = draw("row_sigma_dn", "row_error", NOISE_MARGIN)
        sigma = draw("drift_sigma_dn", None, NOISE_MARGIN)
        nearest = lower if t < 0.5 else upper
        u, has_offset = rng.random(), rng.random() < 0.5
        shape = None
        if nearest.read_lambda is not None:
            low, high = nearest.read_lambda[0] - LAMBDA_MARGIN, nearest.read_lambda[1] + LAMBDA_MARGIN
            shape = min(max(low + u * (high - low), _LEAST_SAMPLED_LAMBDA), _MOST_SAMPLED_LAMBDA)
        drift = BlackDrift(base_dn=sigma, per_gain=0.0, color_share=nearest.drift_color_share).sample(gain, rng)
        offsets = [(1 - t) * a + t * b for a, b in zip(lower.black_offset_dn, upper.black_offset_dn, strict=True)]
        r, gr, gb, b = (d + has_offset * offset for d, offset in zip(drift, offsets, strict=True))
        return NoiseParameters(
            gain=gain,
            read_sigma_dn=read,
            read_lambda=shape,
            row_sigma_dn=row,
            black_drift_dn=(r, gr, gb, b),
            black_level_dn=nearest.black_level_dn,
            white_level_dn=nearest.white_level_dn,
        )

    def _neighbors(self, u: float) -> tuple[MeasuredNoise, MeasuredNoise, float]:
        """Return the two noises around a place ``u`` in [0, 1) between the gains, and where between them it lies.

        Between two noises of different white levels, whose DN mean different things, it is the nearer one, twice.
        """
        noises = sorted(self.noises, key=lambda noise: noise.gain)
        logs = [math.log(noise.gain) for noise in noises]
        at = logs[0] + u * (logs[-1] - logs[0])
        index = max((i for i, log in enumerate(logs[:-1]) if log <= at), default=0)
        lower, upper = noises[index], noises[min(index + 1, len(noises) - 1)]
        span = math.log(upper.gain / lower.gain)
        t = (at - logs[index]) / span if span > 0 else 0.0
        if lower.white_level_dn != upper.white_level_dn:
            lower = upper = lower if t < 0.5 else upper
        return lower, upper, t


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return math.exp(rng.uniform(math.log(low), math.log(high)))

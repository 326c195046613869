"""Noise as sampled and as predicted; test_calibrate.py measures it back."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from alen.cameras import CAMERAS, sample_generic
from alen.cfa import BAYER_PHASES, CFA
from alen.errors import SettingsError
from alen.noise import NoiseParameters, add_noise, tukey_lambda_std, variance_dn

RGGB = CFA.bayer("RGGB")
RAW_14_BIT = NoiseParameters(gain=1.0, read_sigma_dn=2.0, black_level_dn=512, white_level_dn=16383)


def expose(
    level_dn: float, parameters: NoiseParameters, size: tuple[int, int] = (401, 601), seed: int = 0
) -> np.ndarray:
    """Expose a flat field and return DN above black in float64."""
    range_dn = parameters.white_level_dn - parameters.black_level_dn
    clean = np.full(size, level_dn / range_dn, np.float32)
    mosaic = add_noise(clean, RGGB, parameters, np.random.default_rng(seed))
    assert mosaic.dtype == np.uint16
    assert mosaic.shape == size
    return mosaic.astype(np.float64) - parameters.black_level_dn


@pytest.mark.parametrize("gain", [0.05, 0.8, 6.0, 40.0])
@pytest.mark.parametrize("level_dn", [0.0, 3.0, 40.0, 400.0, 5000.0])
@pytest.mark.parametrize("shape", [None, 0.1])
def test_mean_is_unbiased_and_variance_follows_the_model(gain: float, level_dn: float, shape: float | None) -> None:
    parameters = dataclasses.replace(RAW_14_BIT, gain=gain, read_sigma_dn=1.0 + gain, read_lambda=shape)
    sample = expose(level_dn, parameters)
    expected = float(variance_dn(level_dn, parameters))
    standard_error = math.sqrt(expected / sample.size)
    assert abs(sample.mean() - level_dn) < 4.5 * standard_error
    assert sample.var() == pytest.approx(expected, rel=0.02)  # 4.5 standard errors, heavy tails included


def test_variance_holds_down_to_half_a_dn_of_noise() -> None:
    parameters = dataclasses.replace(RAW_14_BIT, gain=0.01, read_sigma_dn=0.5)
    for fraction in (0.0, 0.25, 0.5):
        assert expose(10 + fraction, parameters).var() == pytest.approx(
            float(variance_dn(10 + fraction, parameters)), rel=0.04
        )


def test_variance_of_an_array() -> None:
    levels = np.array([[0.0, 10.0], [20.0, 1000.0]], np.float32)
    parameters = dataclasses.replace(RAW_14_BIT, gain=0.5, row_sigma_dn=1.5)
    expected = 0.5 * levels.astype(np.float64) + 4.0 + 2.25 + 1 / 12
    np.testing.assert_allclose(variance_dn(levels, parameters), expected, rtol=1e-12)


def test_shadows_stay_signed_and_unbiased() -> None:
    sample = expose(0.0, dataclasses.replace(RAW_14_BIT, read_sigma_dn=6.0))
    assert sample.min() < -20
    assert abs(sample.mean()) < 4.5 * 6 / math.sqrt(sample.size)
    assert np.mean(sample < 0) == pytest.approx(np.mean(sample > 0), abs=0.01)


@pytest.mark.parametrize("electrons", [0.02, 0.7, 4.0, 11.0, 15.99, 16.0, 23.5, 60.0, 2000.0])
def test_electrons_are_poisson(electrons: float) -> None:
    """The distance to Poisson's distribution function stays what chance allows; the method changes at 16."""
    parameters = dataclasses.replace(RAW_14_BIT, gain=1.0, read_sigma_dn=0.0)
    counts = expose(electrons, parameters, size=(1000, 1000)).astype(int)
    n = np.arange(counts.max() + 1)
    log_p = n * math.log(electrons) - electrons - np.array([math.lgamma(k + 1) for k in n])
    measured = np.cumsum(np.bincount(counts.ravel())) / counts.size
    assert counts.min() >= 0
    assert np.abs(measured - np.cumsum(np.exp(log_p))).max() < 1.9 / math.sqrt(counts.size)
    assert counts.var() == pytest.approx(electrons, rel=0.006, abs=0.001)
    assert np.mean((counts - electrons) ** 3) == pytest.approx(
        electrons,
        abs=6 * math.sqrt((15 * electrons**3 + 25 * electrons**2 + electrons) / counts.size) + 0.012 * electrons,
    )


def test_a_field_of_few_and_many_electrons_keeps_its_places() -> None:
    levels = np.array([0.0, 2.0, 15.0, 17.0, 90.0, 5000.0])
    clean = np.repeat(levels[None] / (16383 - 512), 20001, axis=0).astype(np.float32)
    sample = add_noise(clean, RGGB, RAW_14_BIT, np.random.default_rng(1)).astype(np.float64) - 512
    for column, level in enumerate(levels):
        assert abs(sample[:, column].mean() - level) < 5 * math.sqrt((level + 4.1) / 20001)
        assert sample[:, column].var() == pytest.approx(level + 4 + 1 / 12, rel=0.06)


def test_row_noise_moves_whole_rows_and_nothing_else() -> None:
    parameters = dataclasses.replace(RAW_14_BIT, row_sigma_dn=3.0)
    sample = expose(50.0, parameters, size=(3001, 201))
    pixel_variance = 50 + 4 + 1 / 12
    row_variance = sample.mean(axis=1).var() - pixel_variance / 201
    assert math.sqrt(row_variance) == pytest.approx(3.0, rel=0.06)
    assert (sample - sample.mean(axis=1, keepdims=True)).var() == pytest.approx(pixel_variance * 200 / 201, rel=0.02)
    assert sample.mean(axis=0).std() < 1.5 * math.sqrt(pixel_variance / 3001)


@pytest.mark.parametrize("phase", BAYER_PHASES)
def test_black_drift_falls_on_its_color_in_every_phase(phase: str) -> None:
    drift = (3.0, -2.0, 0.5, -4.0)
    parameters = dataclasses.replace(RAW_14_BIT, black_drift_dn=drift)
    cfa = CFA.bayer(phase)
    mosaic = add_noise(np.zeros((1001, 203), np.float32), cfa, parameters, np.random.default_rng(2))
    planes = cfa.plane_map(1001, 203)  # more than one band
    for plane in range(4):
        assert mosaic[planes == plane].mean() - 512 == pytest.approx(drift[plane], abs=0.1)


@pytest.mark.parametrize(("black", "white"), [(60, 1023), (240, 4095), (512, 16383)])
def test_quantization_and_range(black: int, white: int) -> None:
    quiet = NoiseParameters(gain=1e-9, read_sigma_dn=0.0, black_level_dn=black, white_level_dn=white)
    clean = np.linspace(0, 1, 10007, dtype=np.float32)[None]
    mosaic = add_noise(clean, RGGB, quiet, np.random.default_rng(3))
    assert np.abs(mosaic - (clean.astype(np.float64) * (white - black) + black)).max() < 0.51
    assert (mosaic.min(), mosaic.max()) == (black, white)
    loud = dataclasses.replace(quiet, gain=white / 50, read_sigma_dn=white / 10)
    mosaic = add_noise(np.repeat(clean, 20, axis=0), RGGB, loud, np.random.default_rng(3))
    assert (mosaic.min(), mosaic.max()) == (0, white)


def test_a_saturated_pixel_reads_white_however_bright_the_light() -> None:
    ones = add_noise(np.ones((64, 64), np.float32), RGGB, RAW_14_BIT, np.random.default_rng(4))
    lamp = add_noise(np.full((64, 64), 7.0, np.float32), RGGB, RAW_14_BIT, np.random.default_rng(4))
    np.testing.assert_array_equal(ones, lamp)
    assert ones.max() == 16383
    assert np.mean(ones == 16383) == pytest.approx(0.5, abs=0.05)
    below = add_noise(np.full((64, 64), -0.5, np.float32), RGGB, RAW_14_BIT, np.random.default_rng(4))
    assert below.mean() == pytest.approx(512, abs=0.2)


def tukey_moment(shape: float, order: int) -> float:
    """Moment of the Tukey-lambda distribution by quadrature of its quantile function."""
    x = np.linspace(-38, 38, 400_001)  # u = 1/(1 + exp(−x)), so the tails are sampled too
    log_u, log_v = -np.logaddexp(0, -x), -np.logaddexp(0, x)
    q = log_u - log_v if shape == 0 else (np.exp(shape * log_u) - np.exp(shape * log_v)) / shape
    return float(np.sum(q**order * np.exp(log_u + log_v)) * (x[1] - x[0]))


@pytest.mark.parametrize("shape", [0.5, 0.14, 0.02, 0.0, -0.02, -0.1, -0.25])
def test_tukey_lambda_std_is_the_root_of_its_second_moment(shape: float) -> None:
    assert tukey_lambda_std(shape) == pytest.approx(math.sqrt(tukey_moment(shape, 2)), rel=1e-4)


def test_tukey_lambda_std_agrees_with_scipy() -> None:
    stats = pytest.importorskip("scipy.stats", reason="scipy comes with the extra [bench] only")
    for shape in (0.3, 0.15, 0.01, -0.09, -0.24):
        assert tukey_lambda_std(shape) == pytest.approx(float(stats.tukeylambda.std(shape)), rel=1e-6)


def read_noise(shape: float | None, sigma: float = 500.0, seed: int = 5) -> np.ndarray:
    """Read noise alone, far from the limits and so strong that rounding does not matter."""
    parameters = NoiseParameters(
        gain=1.0, read_sigma_dn=sigma, read_lambda=shape, black_level_dn=32768, white_level_dn=65535
    )
    return expose(0.0, parameters, size=(1000, 800), seed=seed)


@pytest.mark.parametrize("shape", [None, 0.5, 0.14, 0.05, 0.0, -0.05])
def test_read_noise_has_the_asked_deviation_and_kurtosis(shape: float | None) -> None:
    sample = read_noise(shape)
    kurtosis = 3.0 if shape is None else tukey_moment(shape, 4) / tukey_moment(shape, 2) ** 2
    assert abs(sample.mean()) < 4.5 * 500 / math.sqrt(sample.size)
    assert sample.std() == pytest.approx(500, rel=0.006)
    assert np.mean((sample / sample.std()) ** 4) == pytest.approx(kurtosis, rel=0.06)


def test_heavy_tails_follow_the_quantile_function() -> None:
    shape = -0.2
    sample = read_noise(shape, sigma=300.0)
    for u in (1e-4, 0.01, 0.2, 0.5, 0.9, 0.999, 0.9999):
        expected = 300 / tukey_lambda_std(shape) * (u**shape - (1 - u) ** shape) / shape
        assert np.quantile(sample, u) == pytest.approx(expected, rel=0.05, abs=3)


def test_tukey_lambda_goes_to_the_logistic() -> None:
    logistic = read_noise(0.0)
    for shape in (1e-5, -1e-5, 1.01e-3, -1.01e-3):
        assert np.abs(read_noise(shape) - logistic).max() < 0.01 * np.abs(logistic).max()
    assert tukey_lambda_std(2e-4) == pytest.approx(math.pi / math.sqrt(3), rel=1e-3)


def test_the_seed_decides() -> None:
    rng = np.random.default_rng(6)
    parameters = CAMERAS[0].sample(rng)
    clean = rng.random((33, 35), dtype=np.float32) * np.float32(0.01)
    first, same, other = (add_noise(clean, RGGB, parameters, np.random.default_rng(seed)) for seed in (7, 7, 8))
    np.testing.assert_array_equal(first, same)
    assert (first != other).mean() > 0.5


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (7, 1), (13, 17)])
@pytest.mark.parametrize("cfa", [CFA.bayer("GBRG"), CFA.xtrans()])
def test_any_size_and_pattern(size: tuple[int, int], cfa: CFA) -> None:
    clean = np.full(size, 0.001, np.float32)
    parameters = sample_generic(np.random.default_rng(9))
    before = clean.copy()
    mosaic = add_noise(clean, cfa, parameters, np.random.default_rng(10))
    assert mosaic.shape == size
    np.testing.assert_array_equal(clean, before)


def test_a_picture_is_not_a_mosaic() -> None:
    with pytest.raises(SettingsError, match="two dimensions"):
        add_noise(np.zeros((4, 4, 3), np.float32), RGGB, RAW_14_BIT, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("clean", "message"),
    [(np.zeros((4, 4), np.uint16), "uint16"), (np.array([[0, np.nan], [0.5, 1]], np.float32), "not a number")],
)
def test_what_is_not_normalized_is_refused(clean: NDArray[Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        add_noise(clean, RGGB, RAW_14_BIT, np.random.default_rng(0))


@pytest.mark.parametrize(
    "wrong",
    [
        {"gain": 0.0},
        {"gain": math.nan},
        {"read_sigma_dn": -1.0},
        {"row_sigma_dn": math.inf},
        {"read_lambda": -0.5},
        {"black_drift_dn": (0.0, 0.0, 0.0)},
        {"black_drift_dn": (0.0, 0.0, 0.0, math.nan)},
        {"black_level_dn": 16383},
        {"white_level_dn": 70000},
        {"white_level_dn": math.nan},
        {"white_level_dn": math.inf},
        {"white_level_dn": 1000.5},
    ],
)
def test_impossible_parameters_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(SettingsError):
        dataclasses.replace(RAW_14_BIT, **wrong)  # type: ignore[arg-type]

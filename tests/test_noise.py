"""Noise as sampled and as predicted; test_calibrate.py measures it back."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest

from alen.cfa import BAYER_PHASES, CFA
from alen.errors import SettingsError
from alen.noise import (
    CAMERAS,
    GAIN_MARGIN,
    NOISE_MARGIN,
    BlackDrift,
    CameraNoise,
    MeasuredCamera,
    MeasuredNoise,
    NoiseParameters,
    SigmaLaw,
    add_noise,
    sample_generic,
    tukey_lambda_std,
    variance_dn,
)

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


# Cameras


@pytest.mark.parametrize("camera", CAMERAS, ids=lambda camera: camera.name)
def test_samples_stay_within_the_calibration(camera: CameraNoise) -> None:
    rng = np.random.default_rng(11)
    low, high = camera.gain_range
    samples = [camera.sample(rng) for _ in range(400)]
    gains = np.array([sample.gain for sample in samples])
    assert gains.min() >= low * (1 - 1e-12)
    assert gains.max() <= high * (1 + 1e-12)
    if high > low:
        middle = math.sqrt(low * high)
        assert np.mean(gains < middle) == pytest.approx(0.5, abs=0.1)  # log-uniform
    for sample in samples:
        mode = next(mode for mode in camera.modes if sample.gain <= mode.gain_range[1] * (1 + 1e-12))
        for sigma, law in (
            (math.hypot(sample.read_sigma_dn, math.sqrt(1 / 12)), mode.read),
            (sample.row_sigma_dn, mode.row),
        ):
            assert law.sigma_dn(sample.gain, -4.5) * 0.97 < sigma < law.sigma_dn(sample.gain, 4.5) * 1.03
        if mode.lambda_range is None:
            assert sample.read_lambda is None
        else:
            assert sample.read_lambda is not None
            assert mode.lambda_range[0] <= sample.read_lambda <= mode.lambda_range[1]
        assert (sample.black_level_dn, sample.white_level_dn) == (camera.black_level_dn, camera.white_level_dn)
        reach = math.hypot(camera.drift.base_dn, camera.drift.per_gain * sample.gain)
        assert max(map(abs, sample.black_drift_dn)) < 6 * reach
    assert camera.source
    assert camera.licence


@pytest.mark.parametrize("camera", CAMERAS, ids=lambda camera: camera.name)
def test_typical_parameters_are_central_and_fixed(camera: CameraNoise) -> None:
    iso = 100 * camera.gain_range[0] / camera.gain_at_iso_100
    typical = camera.typical(iso)
    assert typical == camera.typical(iso)
    assert typical.gain == pytest.approx(camera.gain_range[0])
    assert typical.black_drift_dn == (0, 0, 0, 0)
    rng = np.random.default_rng(12)
    samples = [camera.sample(rng, gain=typical.gain) for _ in range(401)]
    assert {sample.gain for sample in samples} == {typical.gain}
    for name in ("read_sigma_dn", "row_sigma_dn"):
        assert np.median([getattr(sample, name) for sample in samples]) == pytest.approx(
            getattr(typical, name), rel=0.06
        )


def test_cameras_are_named_once_and_know_their_bits() -> None:
    assert len({camera.name for camera in CAMERAS}) == len(CAMERAS) >= 9
    bits = {camera.name: camera.bit_depth for camera in CAMERAS}
    assert bits["Sony A7S II"] == bits["Canon EOS 70D"] == 14
    assert bits["Sony IMX385 (CRVD)"] == 12
    assert bits["Sony IMX686 (phone)"] == bits["Raspberry Pi Global Shutter (IMX296)"] == 10


@pytest.mark.parametrize(
    ("iso", "read", "row"),
    # standard deviations of read noise with quantization, and of row means, in DN (PMN, Apache-2.0)
    [(100, 1.007, 0.139), (400, 2.060, 0.362), (1600, 6.299, 0.989), (2000, 2.654, 0.331), (25600, 25.85, 2.276)],
)
def test_sony_agrees_with_its_measurements_in_both_conversion_gains(iso: float, read: float, row: float) -> None:
    typical = CAMERAS[0].typical(iso)
    assert math.sqrt(typical.read_sigma_dn**2 + 1 / 12) == pytest.approx(read, rel=0.07)
    assert typical.row_sigma_dn == pytest.approx(row, rel=0.15)


def test_drift_is_partly_common_and_grows_with_the_gain() -> None:
    drift = BlackDrift(base_dn=1.0, per_gain=2.0, color_share=0.3)
    rng = np.random.default_rng(13)
    for gain, expected in ((0.0, 1.0), (2.0, math.sqrt(17))):
        draws = np.array([drift.sample(gain, rng) for _ in range(20000)])
        np.testing.assert_allclose(draws.std(axis=0), expected, rtol=0.03)
        correlation = np.corrcoef(draws.T)
        np.testing.assert_allclose(correlation[~np.eye(4, dtype=bool)], 0.7, atol=0.03)


def test_sigma_law() -> None:
    law = SigmaLaw(slope=0.5, bias=math.log(3), spread=0.1, floor_dn=4.0)
    assert law.sigma_dn(1.0) == pytest.approx(5.0)
    assert law.sigma_dn(4.0, deviation=2.0) == pytest.approx(math.hypot(6 * math.exp(0.2), 4))


def test_iso_is_positive() -> None:
    assert CAMERAS[0].gain_at(1600) == pytest.approx(16 * CAMERAS[0].gain_at(100))
    with pytest.raises(SettingsError, match="positive"):
        CAMERAS[0].gain_at(0)


def signature(parameters: NoiseParameters) -> np.ndarray:
    """What makes the noise of two cameras alike whatever their bit depth, as logarithms."""
    range_dn = parameters.white_level_dn - parameters.black_level_dn
    return np.log(
        [
            range_dn / parameters.gain,  # electrons at white
            parameters.read_sigma_dn / range_dn,
            parameters.read_sigma_dn / parameters.gain,
            parameters.row_sigma_dn / parameters.read_sigma_dn,
        ]
    )


def test_the_generic_prior_covers_every_camera() -> None:
    rng = np.random.default_rng(14)
    prior = [sample_generic(rng) for _ in range(6000)]
    signatures = np.array([signature(parameters) for parameters in prior])
    assert {parameters.white_level_dn for parameters in prior} == {1023, 4095, 16383}
    shapes = [parameters.read_lambda for parameters in prior if parameters.read_lambda is not None]
    assert 0.1 < 1 - len(shapes) / len(prior) < 0.3
    spread = signatures.std(axis=0)
    for camera in CAMERAS:
        for _ in range(40):
            real = camera.sample(rng)
            distance = np.abs((signatures - signature(real)) / spread).max(axis=1)
            assert np.sort(distance)[4] < 0.6, f"{camera.name}: {real}"  # several neighbors, not one by luck
            assert real.read_lambda is None or min(shapes) < real.read_lambda < max(shapes)


def test_generic_parameters_are_reproducible() -> None:
    assert sample_generic(np.random.default_rng(15)) == sample_generic(np.random.default_rng(15))


# A camera of one's own


def measured(iso: float, gain: float, **others: Any) -> MeasuredNoise:
    given: dict[str, Any] = {
        "iso": iso,
        "gain": gain,
        "gain_error": 0.02,
        "read_sigma_dn": 4 * gain,
        "read_error": 0.01,
        "read_lambda": (-0.1, -0.06),
        "row_sigma_dn": 0.4 * gain,
        "row_error": 0.03,
        "black_offset_dn": (1.0, 2.0, 3.0, -4.0),
        "drift_sigma_dn": 0.2,
        "drift_color_share": 0.25,
        "black_level_dn": 512.0,
        "white_level_dn": 16383,
    }
    return MeasuredNoise(**given | others)


def test_samples_of_a_measured_camera_vary_around_it() -> None:
    camera = MeasuredCamera(name="Test", noises=(measured(800, 1.5),))
    rng = np.random.default_rng(20)
    samples = [camera.sample(rng) for _ in range(4000)]
    for name, value, spread in (
        ("gain", 1.5, math.hypot(GAIN_MARGIN, 0.02)),
        ("read_sigma_dn", 6.0, math.hypot(NOISE_MARGIN, 0.01)),
        ("row_sigma_dn", 0.6, math.hypot(NOISE_MARGIN, 0.03)),
    ):
        logs = np.log([getattr(sample, name) for sample in samples])
        assert logs.mean() == pytest.approx(math.log(value), abs=0.01)
        assert logs.std() == pytest.approx(spread, rel=0.05)
    shapes = [sample.read_lambda for sample in samples if sample.read_lambda is not None]
    assert len(shapes) == 4000
    assert (min(shapes), max(shapes)) == pytest.approx((-0.13, -0.03), abs=0.001)
    drifts = np.array([sample.black_drift_dn for sample in samples])
    has_offset = drifts[:, 3] < -2  # half of the draws, far from the drift alone
    assert has_offset.mean() == pytest.approx(0.5, abs=0.03)
    np.testing.assert_allclose(drifts[has_offset].mean(axis=0), (1, 2, 3, -4), atol=0.03)
    np.testing.assert_allclose(drifts[~has_offset].mean(axis=0), 0, atol=0.03)
    np.testing.assert_allclose(drifts[~has_offset].std(axis=0), 0.2, rtol=0.06)
    assert {(sample.black_level_dn, sample.white_level_dn) for sample in samples} == {(512, 16383)}
    assert camera.sample(np.random.default_rng(1)) == camera.sample(np.random.default_rng(1))


def test_between_two_iso_speeds_it_is_interpolated() -> None:
    low, high = measured(100, 0.2, read_sigma_dn=2.0), measured(6400, 12.8, read_sigma_dn=20.0)
    camera = MeasuredCamera(name="Test", noises=(low, high))
    rng = np.random.default_rng(21)
    samples = [camera.sample(rng) for _ in range(3000)]
    gains = np.log([sample.gain for sample in samples])
    assert np.mean(gains < math.log(1.6)) == pytest.approx(0.5, abs=0.03)  # log-uniform
    at = (gains - math.log(0.2)) / math.log(64)
    reads = np.log([sample.read_sigma_dn for sample in samples])
    np.testing.assert_allclose(reads - (math.log(2) + at * math.log(10)), 0, atol=6 * NOISE_MARGIN)
    assert high.typical().black_drift_dn == high.black_offset_dn
    other_levels = MeasuredCamera(name="Test", noises=(measured(100, 0.2, white_level_dn=4095), high))
    for _ in range(200):
        sample = other_levels.sample(rng)
        near_low = sample.gain < 1
        assert sample.white_level_dn == (4095 if near_low else 16383)
        assert sample.gain < 0.2 * math.exp(5 * 0.06) or sample.gain > 12.8 * math.exp(-5 * 0.06)


def test_the_digest_tells_cameras_apart() -> None:
    one = MeasuredCamera(name="Test", noises=(measured(100, 0.2),))
    assert one.digest == MeasuredCamera(name="Test", noises=(measured(100, 0.2),)).digest
    assert one.digest != MeasuredCamera(name="Test", noises=(measured(100, 0.2, row_error=0.031),)).digest
    assert len(one.digest) == 12


@pytest.mark.parametrize(
    "wrong", [{"gain": 0.0}, {"read_lambda": (0.1, 0.0)}, {"drift_color_share": 2.0}, {"row_error": math.nan}]
)
def test_impossible_measurements_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(SettingsError):
        measured(100, **{"gain": 1.0} | wrong)
    with pytest.raises(SettingsError, match="at least one"):
        MeasuredCamera(name="Test", noises=())

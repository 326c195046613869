"""Noise as sampled, as predicted, and as measured back."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest

from alen.cfa import BAYER_PHASES, CFA
from alen.errors import SettingsError
from alen.noise import (
    CAMERAS,
    BlackDrift,
    CameraNoise,
    NoiseParameters,
    SigmaLaw,
    add_noise,
    dark_noise,
    photon_transfer,
    sample_generic,
    tukey_lambda_std,
    variance_dn,
)

SHARED = Path(__file__).parents[2] / "shared" / "data" / "raw" / "pi-gs"
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


# Measuring


@pytest.mark.parametrize(
    ("gain", "read", "white", "black"), [(0.8, 2.5, 16383, 512), (0.12, 0.6, 1023, 60), (9.0, 12.0, 4095, 240)]
)
def test_photon_transfer_recovers_what_was_planted(gain: float, read: float, white: int, black: int) -> None:
    parameters = NoiseParameters(gain=gain, read_sigma_dn=read, black_level_dn=black, white_level_dn=white)
    rng = np.random.default_rng(16)
    texture = rng.random((255, 301), dtype=np.float32) ** 2 * np.float32(0.08)
    frames = np.stack([add_noise(texture, RGGB, parameters, rng) for _ in range(7)])
    frames[:, 5, 7] = (black, white, black, white, black, white, black)  # a pixel that jumps
    measured = photon_transfer(frames, black, white)
    assert measured.gain == pytest.approx(gain, rel=0.015)
    assert measured.variance_at_black_dn2 == pytest.approx(read**2 + 1 / 12, rel=0.08)
    assert len(measured.level_dn) == len(measured.variance_dn2) > 40


def test_photon_transfer_does_not_mind_saturation_flicker_or_the_black_level() -> None:
    rng = np.random.default_rng(17)
    scene = np.linspace(0, 2, 401, dtype=np.float32)[None].repeat(150, axis=0)
    frames = []
    for offset in (0.0, 3.0, -2.0, 5.0, 1.0):
        parameters = dataclasses.replace(RAW_14_BIT, gain=2.0, read_sigma_dn=4.0, black_drift_dn=(offset,) * 4)
        frames.append(add_noise(scene, RGGB, parameters, rng))
    stack = np.stack(frames)
    black = np.full((150, 401), 512.0)
    assert photon_transfer(stack, black, 16383).gain == pytest.approx(2.0, rel=0.03)
    assert photon_transfer(stack, 400.0, 16383).gain == pytest.approx(2.0, rel=0.03)


def test_photon_transfer_wants_frames_and_brightnesses() -> None:
    with pytest.raises(SettingsError, match="four frames"):
        photon_transfer(np.zeros((3, 8, 8), np.uint16), 0, 1023)
    with pytest.raises(SettingsError, match="brightnesses"):
        photon_transfer(np.full((4, 8, 8), 100, np.uint16), 60, 1023)
    with pytest.raises(SettingsError, match="saturation"):
        photon_transfer(np.full((4, 8, 8), 1023, np.uint16), 60, 1023)


def test_dark_noise_recovers_what_was_planted() -> None:
    rng = np.random.default_rng(18)
    cfa = CFA.bayer("GBRG")
    drift = (1.0, -1.5, 0.5, 2.0)
    parameters = dataclasses.replace(
        RAW_14_BIT, read_sigma_dn=2.5, read_lambda=0.05, row_sigma_dn=0.3, black_drift_dn=drift
    )
    fixed = rng.integers(0, 9, (901, 301)).astype(np.uint16)  # a fixed pattern, which must not count as noise
    frames = np.stack([add_noise(np.zeros((901, 301), np.float32), cfa, parameters, rng) for _ in range(3)]) + fixed
    measured = dark_noise(frames, cfa)
    assert measured.pixel_sigma_dn == pytest.approx(2.5, rel=0.01)
    assert measured.row_sigma_dn == pytest.approx(0.3, rel=0.06)
    assert measured.read_sigma_dn == pytest.approx(math.sqrt(2.5**2 + 0.3**2 + 1 / 12), rel=0.01)
    assert measured.frame_sigma_dn < 0.1
    pattern = [fixed[cfa.plane_map(901, 301) == plane].mean() for plane in range(4)]
    np.testing.assert_allclose(np.array(measured.black_dn) - 512 - pattern, drift, atol=0.06)
    assert measured.mean_dn == pytest.approx(sum(measured.black_dn) / 4)


def test_dark_noise_wants_two_frames() -> None:
    with pytest.raises(SettingsError, match="two frames"):
        dark_noise(np.zeros((1, 8, 8), np.uint16), RGGB)


def read_pi_frames(folder: str) -> np.ndarray:
    """Read the visible mosaics of a folder of DNGs: (N, H, W) uint16."""
    if not SHARED.is_dir():
        pytest.skip("the Raspberry Pi frames are not here")
    rawpy = pytest.importorskip("rawpy")
    frames = []
    for path in sorted((SHARED / folder).glob("*.dng")):
        with rawpy.imread(str(path)) as raw:
            frames.append(raw.raw_image_visible.copy())
    return np.stack(frames)


def test_gain_of_a_real_camera() -> None:
    """Ten frames of a still scene, so dark that it spans 15 DN; K = 0.0897 was found independently."""
    measured = photon_transfer(read_pi_frames("burst"), 60, 1023)
    assert measured.gain == pytest.approx(0.0897, rel=0.03)
    assert math.sqrt(measured.variance_at_black_dn2) == pytest.approx(0.47, rel=0.05)


def test_dark_frames_of_a_real_camera() -> None:
    """Row noise is what the rows of a frame have of their own: each frame as a whole moves by more."""
    measured = dark_noise(read_pi_frames("dark"), CFA.bayer("BGGR"))
    assert measured.read_sigma_dn == pytest.approx(0.47, rel=0.05)
    assert measured.mean_dn == pytest.approx(60.16, abs=0.05)
    assert measured.row_sigma_dn == pytest.approx(0.053, rel=0.1)
    assert measured.frame_sigma_dn == pytest.approx(0.144, rel=0.05)
    darkest = CAMERAS[-1].typical(100)
    assert darkest.read_sigma_dn == pytest.approx(measured.pixel_sigma_dn, rel=0.05)
    assert darkest.row_sigma_dn == pytest.approx(measured.row_sigma_dn, rel=0.05)

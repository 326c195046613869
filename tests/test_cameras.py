"""Noise as drawn for cameras: calibrated, imaginary, and one's own."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from alen.cameras import (
    CAMERAS,
    GAIN_MARGIN,
    NOISE_MARGIN,
    BlackDrift,
    CameraNoise,
    MeasuredCamera,
    MeasuredNoise,
    SigmaLaw,
    sample_generic,
)
from alen.errors import SettingsError
from alen.noise import NoiseParameters


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

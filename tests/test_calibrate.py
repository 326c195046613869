"""Calibration gives back the noise that frames were made with; files are strict; training takes it up."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from alen.calibrate import (
    DarkNoise,
    black_drift,
    calibrate,
    dark_noise,
    fit_gain,
    flat_points,
    photon_transfer,
)
from alen.camera_file import CameraFile, Measured, read_camera, write_camera
from alen.cameras import CAMERAS, BlackDrift
from alen.cfa import BAYER_PHASES, CFA
from alen.cli import main
from alen.dng import write_cfa_dng
from alen.errors import CalibrationError, TrainingError
from alen.noise import NoiseParameters, add_noise
from alen.raw import read_raw

RGGB = CFA.bayer("RGGB")
SONY = NoiseParameters(
    gain=0.8, read_sigma_dn=2.5, read_lambda=-0.1, row_sigma_dn=0.4, black_level_dn=512, white_level_dn=16383
)
PHONE = NoiseParameters(
    gain=0.12, read_sigma_dn=0.6, read_lambda=0.05, row_sigma_dn=0.08, black_level_dn=64, white_level_dn=1023
)
LOUD = NoiseParameters(
    gain=9.0, read_sigma_dn=12.0, read_lambda=-0.2, row_sigma_dn=1.5, black_level_dn=240, white_level_dn=4095
)
GAUSSIAN = NoiseParameters(gain=2.0, read_sigma_dn=5.0, row_sigma_dn=1.0, black_level_dn=512, white_level_dn=16383)
DRIFT = 0.3
SIZE = (241, 323)


class Camera:
    """A camera whose black level lies off by some DN and drifts."""

    def __init__(self, noise: NoiseParameters, phase: str = "RGGB", *, seed: int = 0, drift: float = DRIFT) -> None:
        self.noise = noise
        self.cfa = CFA.bayer(phase)
        self.offset = np.array([0.4, -0.2, 0.1, 0.7])
        self.rng = np.random.default_rng(seed)
        self.drift = BlackDrift(base_dn=drift, per_gain=0.0, color_share=0.2)

    def expose(self, clean: NDArray[np.float32]) -> NDArray[np.uint16]:
        r, gr, gb, b = (float(value) for value in self.offset + self.drift.sample(self.noise.gain, self.rng))
        noise = dataclasses.replace(self.noise, black_drift_dn=(r, gr, gb, b))
        return add_noise(clean, self.cfa, noise, self.rng)

    def darks(self, count: int, size: tuple[int, int] = SIZE) -> Iterator[NDArray[np.uint16]]:
        return (self.expose(np.zeros(size, np.float32)) for _ in range(count))


def holds(measured: Measured, truth: float) -> bool:
    return measured.low <= truth <= measured.high


def scene(size: tuple[int, int] = SIZE) -> NDArray[np.float32]:
    """A scene whose texture is as fine as pixels are."""
    return np.random.default_rng(3).random(size, dtype=np.float32) ** 2 * np.float32(0.3)


# ---------------------------------------------------------------------------------------------------- what was planted


@pytest.mark.parametrize(
    ("noise", "phase", "expected_lambda"),
    [(SONY, "RGGB", -0.1), (PHONE, "GBRG", 0.05), (LOUD, "BGGR", -0.2), (GAUSSIAN, "GRBG", 0.14)],
)
def test_planted_parameters_lie_in_their_intervals(noise: NoiseParameters, phase: str, expected_lambda: float) -> None:
    camera = Camera(noise, phase, seed=2)
    dark = dark_noise(camera.darks(8), camera.cfa)
    black = np.full((8, 4), float(noise.black_level_dn))
    drift = black_drift(dark.frame_black_dn, black)
    burst = (camera.expose(scene()) for _ in range(6))
    points = flat_points(burst, camera.cfa, dark.black_dn, noise.white_level_dn)
    assert points is not None
    gain = fit_gain([points], dark).gain
    assert holds(gain, noise.gain)
    assert gain.high - gain.low < 0.02 * noise.gain
    assert holds(dark.pixel_sigma_dn, noise.read_sigma_dn)
    assert dark.pixel_sigma_dn.high - dark.pixel_sigma_dn.low < 0.02 * noise.read_sigma_dn
    assert holds(dark.row_sigma_dn, noise.row_sigma_dn)
    assert dark.row_sigma_dn.value == pytest.approx(noise.row_sigma_dn, rel=0.06)
    assert dark.shape is not None
    assert dark.shape.tukey_lambda.value == pytest.approx(expected_lambda, abs=0.02)
    assert noise.read_lambda is None or holds(dark.shape.tukey_lambda, expected_lambda)
    assert (dark.shape.ppcc_tukey > dark.shape.ppcc_gaussian) == (noise.read_lambda is not None)
    assert holds(drift.sigma_dn, DRIFT)
    np.testing.assert_allclose(drift.offset_dn, camera.offset, atol=4 * DRIFT / np.sqrt(8))
    for mean, offset in zip(drift.mean_dn, camera.offset, strict=True):
        assert mean.low - 0.1 < noise.black_level_dn + offset < mean.high + 0.1
    assert dark.hot == ()
    assert dark.fixed_pattern_sigma_dn < 0.1 * noise.read_sigma_dn


def test_intervals_are_neither_too_narrow_nor_idle() -> None:
    """Of 16 intervals that hold the truth 95 times in 100, fewer than 13 do so once in 1,100 times."""
    hits = 0
    for seed in range(4):
        camera = Camera(SONY, seed=seed)
        dark = dark_noise(camera.darks(5, (160, 200)), camera.cfa)
        drift = black_drift(dark.frame_black_dn, np.full((5, 4), 512.0))
        burst = (camera.expose(scene((160, 200))) for _ in range(4))
        points = flat_points(burst, camera.cfa, dark.black_dn, 16383)
        assert points is not None
        pairs = (
            (fit_gain([points], dark).gain, 0.8),
            (dark.pixel_sigma_dn, 2.5),
            (dark.row_sigma_dn, 0.4),
            (drift.sigma_dn, DRIFT),
        )
        hits += sum(holds(*pair) for pair in pairs)
    assert hits >= 13


@pytest.mark.parametrize("offset", [0.0, 0.3, 0.5])
@pytest.mark.parametrize("sigma", [0.32, 0.45])
def test_read_noise_below_half_a_dn_is_told_from_its_rounding(sigma: float, offset: float) -> None:
    """What rounding adds depends on where between two whole numbers the black level lies."""
    noise = dataclasses.replace(PHONE, read_sigma_dn=sigma, read_lambda=None, row_sigma_dn=0.0)
    noise = dataclasses.replace(noise, black_drift_dn=(offset,) * 4)
    rng = np.random.default_rng(5)
    measured = dark_noise((add_noise(np.zeros(SIZE, np.float32), RGGB, noise, rng) for _ in range(4)), RGGB)
    assert measured.pixel_sigma_dn.value == pytest.approx(sigma, rel=0.05)
    assert holds(measured.pixel_sigma_dn, sigma)


def test_rounding_can_hide_the_shape() -> None:
    noise = dataclasses.replace(PHONE, read_sigma_dn=0.2)
    rng = np.random.default_rng(6)
    frames = [add_noise(np.zeros((90, 110), np.float32), RGGB, noise, rng) for _ in range(3)]
    assert dark_noise(frames, RGGB).shape is None


@pytest.mark.parametrize("phase", BAYER_PHASES)
def test_black_levels_stand_in_their_order(phase: str) -> None:
    camera = Camera(dataclasses.replace(SONY, read_sigma_dn=1.0, row_sigma_dn=0.0), phase, drift=0.0)
    camera.offset = np.array([1.0, -1.5, 0.5, 2.0])
    dark = dark_noise(camera.darks(2), camera.cfa)
    np.testing.assert_allclose(np.array(dark.black_dn) - 512, camera.offset, atol=0.03)
    assert dark.mean_dn == pytest.approx(512.5, abs=0.02)
    assert dark.frame_sigma_dn < 0.02


def test_x_trans_has_four_black_levels_too() -> None:
    rng = np.random.default_rng(7)
    noise = dataclasses.replace(SONY, black_drift_dn=(2.0, 0.0, 0.0, -2.0))
    frames = [add_noise(np.zeros((205, 240), np.float32), CFA.xtrans(), noise, rng) for _ in range(3)]
    measured = dark_noise(frames, CFA.xtrans())
    np.testing.assert_allclose(np.array(measured.black_dn) - 512, (2, 0, 0, -2), atol=0.05)
    assert measured.pixel_sigma_dn.value == pytest.approx(2.5, rel=0.02)


def test_fixed_pattern_is_no_noise() -> None:
    camera = Camera(SONY, "GBRG")
    fixed = np.maximum(np.random.default_rng(8).normal(8, 2, SIZE).round(), 0).astype(np.uint16)
    dark = dark_noise((frame + fixed for frame in camera.darks(3)), camera.cfa)
    assert dark.pixel_sigma_dn.value == pytest.approx(2.5, rel=0.015)
    assert dark.row_sigma_dn.value == pytest.approx(0.4, rel=0.08)
    assert dark.fixed_pattern_sigma_dn == pytest.approx(float(np.std(fixed)), rel=0.04)


def test_hot_pixels_are_found_where_they_are() -> None:
    camera = Camera(SONY, "BGGR")
    places = {(0, 0): 40, (17, 200): 300, (240, 322): 15000, (100, 101): 25}
    frames = list(camera.darks(6))
    for (y, x), excess in places.items():
        for frame in frames:
            frame[y, x] += excess
    frames[2][50, 60] += 900  # a cosmic ray: one frame alone
    dark = dark_noise(frames, camera.cfa)
    assert {(pixel.row, pixel.column) for pixel in dark.hot} == set(places)
    assert [(p.row, p.column) for p in dark.hot] == sorted(places, key=lambda place: -places[place])
    for pixel in dark.hot:
        assert pixel.excess_dn == pytest.approx(places[pixel.row, pixel.column], abs=6)
    assert dark.pixel_sigma_dn.value == pytest.approx(2.5, rel=0.02)
    assert dark.fixed_pattern_sigma_dn < 0.4


def test_frames_that_are_no_stack() -> None:
    zeros = np.zeros((32, 32), np.uint16)
    with pytest.raises(CalibrationError, match="two dark frames"):
        dark_noise([zeros], RGGB)
    with pytest.raises(CalibrationError, match="the same"):
        dark_noise([zeros, zeros], RGGB)
    with pytest.raises(CalibrationError, match="one size"):
        dark_noise([zeros, zeros[:, :30]], RGGB)
    with pytest.raises(CalibrationError, match="two dimensions"):
        dark_noise(np.zeros((2, 32, 32, 3), np.uint16), RGGB)
    with pytest.raises(CalibrationError, match="two flat frames"):
        flat_points([zeros], RGGB, (0,) * 4, 1023)
    with pytest.raises(CalibrationError, match="all alike"):
        flat_points([zeros + 100, zeros + 100], RGGB, (60,) * 4, 1023)


# --------------------------------------------------------------------------------------------------- photon transfer


@pytest.mark.parametrize(
    ("gain", "read", "white", "black"), [(0.8, 2.5, 16383, 512), (0.12, 0.6, 1023, 60), (9.0, 12.0, 4095, 240)]
)
def test_photon_transfer_recovers_what_was_planted(gain: float, read: float, white: int, black: int) -> None:
    parameters = NoiseParameters(gain=gain, read_sigma_dn=read, black_level_dn=black, white_level_dn=white)
    rng = np.random.default_rng(16)
    texture = rng.random((255, 301), dtype=np.float32) ** 2 * np.float32(0.08)
    frames = np.stack([add_noise(texture, RGGB, parameters, rng) for _ in range(7)])
    frames[:, 5, 7] = (black, white, black, white, black, white, black)  # a pixel that jumps
    measured = photon_transfer(frames, RGGB, (black,) * 4, white)
    assert measured.gain.value == pytest.approx(gain, rel=0.015)
    assert measured.variance_at_black_dn2 == pytest.approx(read**2 + 1 / 12, rel=0.08)
    assert len(measured.level_dn) == len(measured.variance_dn2) > 40


def test_photon_transfer_does_not_mind_saturation_flicker_or_the_black_level() -> None:
    rng = np.random.default_rng(17)
    ramp = np.linspace(0, 2, 401, dtype=np.float32)[None].repeat(150, axis=0)
    noise = NoiseParameters(gain=2.0, read_sigma_dn=4.0, black_level_dn=512, white_level_dn=16383)
    frames = []
    for offset, light in ((0.0, 1.0), (3.0, 1.02), (-2.0, 0.97), (5.0, 1.0), (1.0, 1.01)):
        parameters = dataclasses.replace(noise, black_drift_dn=(offset,) * 4)
        frames.append(add_noise(ramp * np.float32(light), RGGB, parameters, rng))
    for black in (512.0, 400.0):
        assert photon_transfer(frames, RGGB, (black,) * 4, 16383).gain.value == pytest.approx(2.0, rel=0.03)


@pytest.mark.parametrize("lights", [(1.0, 1.1), (1.0, 1.18), (1.1, 1.0), (1.0, *[1.1] * 5)])
def test_flicker_does_not_move_the_gain(lights: tuple[float, ...]) -> None:
    """Frames that are brighter hold the noise of the first by as much."""
    rng = np.random.default_rng(5)
    ramp = np.linspace(0, 0.8, 601, dtype=np.float32)[None].repeat(400, axis=0)
    noise = NoiseParameters(gain=2.0, read_sigma_dn=4.0, black_level_dn=512, white_level_dn=16383)
    frames = [add_noise(ramp * np.float32(light), RGGB, noise, rng) for light in lights]
    assert photon_transfer(frames, RGGB, (512.0,) * 4, 16383).gain.value == pytest.approx(2.0, rel=0.02)


def test_pairs_of_a_white_wall() -> None:
    """Two frames of each exposure, with vignetting, one of them too bright."""
    camera = Camera(GAUSSIAN, "GBRG")
    y, x = np.mgrid[-1 : 1 : SIZE[0] * 1j, -1 : 1 : SIZE[1] * 1j]
    wall = (1 - 0.2 * (x * x + y * y)).astype(np.float32)
    dark = dark_noise(camera.darks(4), camera.cfa)
    points = []
    for light in (0.01, 0.1, 0.5, 3.0):
        frames = [camera.expose(wall * np.float32(light)) for _ in range(2)]
        points.append(flat_points(frames, camera.cfa, dark.black_dn, 16383))
    assert points[-1] is None
    transfer = fit_gain([part for part in points if part is not None], dark)
    assert holds(transfer.gain, 2.0)
    assert transfer.gain.value == pytest.approx(2.0, rel=0.015)


def test_darks_hold_the_line_of_a_single_brightness() -> None:
    camera = Camera(GAUSSIAN)
    dark = dark_noise(camera.darks(4), camera.cfa)
    gray = np.full(SIZE, 0.4, np.float32)
    points = flat_points([camera.expose(gray) for _ in range(4)], camera.cfa, dark.black_dn, 16383)
    assert points is not None
    assert fit_gain([points], dark).gain.value == pytest.approx(2.0, rel=0.01)
    with pytest.raises(CalibrationError, match="do not tell the gain"):
        fit_gain([points])


def test_photon_transfer_wants_brightnesses() -> None:
    with pytest.raises(CalibrationError, match="saturation"):
        photon_transfer(np.full((4, 8, 8), 1023, np.uint16), RGGB, (60,) * 4, 1023)
    rng = np.random.default_rng(1)
    bright = [rng.integers(300, 400, (64, 64)).astype(np.uint16) + extra for extra in (0, 200)]
    with pytest.raises(CalibrationError, match="differ in brightness by 199 DN"):
        flat_points([np.asarray(frame, np.uint16) for frame in bright], RGGB, (60,) * 4, 1023)


# ------------------------------------------------------------------------------------------------------------- files

_XYZ2CAM = ((0.6941, -0.1164, -0.0857), (-0.3825, 1.1597, 0.2534), (-0.0416, 0.1540, 0.6039))
_SMALL = (64, 98)


def write(path: Path, mosaic: NDArray[np.uint16], **changes: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    settings: dict[str, Any] = {
        "cfa": CFA.bayer("GRBG"),
        "black_level": (512.0,) * 4,
        "white_level": 16383,
        "white_balance": (2.0, 1.0, 1.6),
        "xyz2cam": _XYZ2CAM,
        "iso": 800,
        "exposure_time_s": 0.1,
        "aperture": 4.0,
        "camera": "Test One",
    }
    write_cfa_dng(path, mosaic, **settings | changes)
    return path


def write_set(folder: Path, noise: NoiseParameters = SONY, *, darks: int = 3, **changes: Any) -> tuple[Path, Path]:
    """Write darks and a burst of a scene; return their folders."""
    camera = Camera(noise, "GRBG", seed=11)
    ramp = np.linspace(0, 0.5, _SMALL[1], dtype=np.float32)[None].repeat(_SMALL[0], axis=0)
    for index, frame in enumerate(camera.darks(darks, _SMALL)):
        write(folder / "darks" / f"d{index}.dng", frame, **changes)
    for index in range(4):
        write(folder / "flats" / f"f{index}.dng", camera.expose(ramp), **changes)
    return folder / "darks", folder / "flats"


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.dng"))


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Darks and flats of a small camera at ISO 800; not to be changed."""
    return write_set(tmp_path_factory.mktemp("frames"))


@pytest.fixture(scope="module")
def camera_file(frames: tuple[Path, Path]) -> CameraFile:
    return calibrate(files(frames[0]), files(frames[1])).camera


def test_calibration_of_files(camera_file: CameraFile) -> None:
    (iso,) = camera_file.isos
    assert (camera_file.camera, camera_file.cfa) == ("Test One", "GRBG")
    assert (camera_file.height_px, camera_file.width_px) == _SMALL
    assert (iso.iso, iso.bit_depth, iso.white_level_dn) == (800, 14, 16383)
    assert (iso.dark_frames, iso.flat_frames, iso.flat_exposures, iso.dark_exposures_s) == (3, 4, 1, (0.1,))
    assert iso.gain_dn_per_e.value == pytest.approx(0.8, rel=0.05)
    assert iso.read_sigma_dn.value == pytest.approx(2.5, rel=0.04)
    assert iso.read_sigma_e.value == pytest.approx(iso.read_sigma_dn.value / iso.gain_dn_per_e.value, rel=1e-4)
    assert holds(iso.read_sigma_e, 2.5 / 0.8)
    assert iso.notes == ("Only 3 darks: the drift from frame to frame is uncertain. Ten or more tell it.",)
    noise = camera_file.noise.noises[0]
    assert (noise.gain, noise.white_level_dn) == (iso.gain_dn_per_e.value, 16383)
    assert noise.black_offset_dn == iso.dark_offset_dn


Change = Callable[[Path, Path], None]


def _rewrite(path: Path, **changes: Any) -> None:
    mosaic = read_raw(path).mosaic
    path.unlink()
    write(path, changes.pop("mosaic", mosaic), **changes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda _d, f: _rewrite(f / "f1.dng", camera="Test Two"), "f1.dng: its camera is Test Two, but .* Test One"),
        (lambda d, _f: _rewrite(d / "d1.dng", iso=1600), "d1.dng: its ISO speed is 1600, but .* 800"),
        (lambda d, _f: _rewrite(d / "d2.dng", iso=None), "d2.dng: its ISO speed is unknown"),
        (lambda d, _f: _rewrite(d / "d0.dng", iso=None), "d0.dng: the file does not tell its ISO speed.*--iso"),
        (lambda _d, f: _rewrite(f / "f0.dng", cfa=RGGB), "f0.dng: its filter array is RGGB, but .* GRBG"),
        (lambda _d, f: _rewrite(f / "f2.dng", white_level=15000), "f2.dng: its white level is 15000"),
        (
            lambda _d, f: _rewrite(f / "f3.dng", mosaic=read_raw(f / "f3.dng").mosaic[:, :96]),
            "f3.dng: its size is 96 × 64, but .* 98 × 64",
        ),
        (lambda d, _f: [path.unlink() for path in files(d)[1:]], "two dark frames are needed, better ten; got 1"),
        (lambda _d, f: [path.unlink() for path in files(f)[1:]], "two flat frames are needed, better ten; got 1"),
        (
            lambda _d, f: [_rewrite(path, exposure_time_s=0.1 * 2**i) for i, path in enumerate(files(f))],
            "same exposure time and aperture are needed",
        ),
        (
            lambda _d, f: [_rewrite(path, mosaic=np.full(_SMALL, 16383, np.uint16)) for path in files(f)],
            "All flats are saturated",
        ),
        (lambda d, f: _rewrite(d / "d1.dng", mosaic=read_raw(f / "f1.dng").mosaic), "d1.dng: this is no dark frame"),
        (
            lambda d, _f: [
                _rewrite(
                    path, mosaic=read_raw(path).mosaic - np.minimum(read_raw(path).mosaic, 512), black_level=(0,) * 4
                )
                for path in files(d)
            ],
            "cuts off what lies below black",
        ),
        (lambda d, _f: _rewrite(d / "d1.dng", mosaic=read_raw(d / "d0.dng").mosaic), "are the same"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_frames_that_do_not_fit(tmp_path: Path, change: Change, message: str) -> None:
    darks, flats = write_set(tmp_path)
    change(darks, flats)
    with pytest.raises(CalibrationError, match=message):
        calibrate(files(darks), files(flats))


def test_a_frame_counts_once(frames: tuple[Path, Path]) -> None:
    darks, flats = (files(folder) for folder in frames)
    with pytest.raises(CalibrationError, match=r"d0.dng: is given twice"):
        calibrate([*darks, darks[0]], flats)


def test_darks_with_light_are_told_of(frames: tuple[Path, Path], tmp_path: Path) -> None:
    """A burst of a dark scene, taken for darks and for flats."""
    darks, flats = (files(folder) for folder in frames)
    assert not any("light" in note for note in calibrate(darks, flats).iso.notes)
    camera = Camera(SONY, "GRBG", seed=11)
    scene = np.linspace(0, 0.03, _SMALL[1], dtype=np.float32)[None].repeat(_SMALL[0], axis=0)
    burst = [write(tmp_path / f"{index}.dng", camera.expose(scene)) for index in range(6)]
    assert any("if light reached the darks" in note for note in calibrate(burst[:2], burst[2:]).iso.notes)


def test_darks_and_flats_that_changed_places_are_told_of(frames: tuple[Path, Path], tmp_path: Path) -> None:
    """Bright flats are no darks at once; dim ones are brighter than the darks."""
    darks, flats = (files(folder) for folder in frames)
    with pytest.raises(CalibrationError, match="this is no dark frame"):
        calibrate(flats, darks)
    camera = Camera(SONY, "GRBG", seed=11)
    scene = np.linspace(0, 0.03, _SMALL[1], dtype=np.float32)[None].repeat(_SMALL[0], axis=0)
    dim = [write(tmp_path / f"{index}.dng", camera.expose(scene)) for index in range(4)]
    with pytest.raises(CalibrationError, match="Perhaps --dark and --flat changed places"):
        calibrate(dim, darks)


def test_an_iso_speed_that_the_files_contradict_is_refused(frames: tuple[Path, Path]) -> None:
    darks, flats = (files(folder) for folder in frames)
    with pytest.raises(CalibrationError, match=r"was taken at ISO 800, not 100. Leave --iso out"):
        calibrate(darks, flats, iso=100)
    assert calibrate(darks, flats, iso=800).iso.iso == 800


def test_what_is_left_out_is_told(tmp_path: Path) -> None:
    darks, flats = write_set(tmp_path)
    _rewrite(flats / "f3.dng", exposure_time_s=0.5)
    _rewrite(darks / "d0.dng", exposure_time_s=1.0)
    for index in range(2):
        bright = np.full(_SMALL, 16383, np.uint16)
        write(flats / f"g{index}.dng", bright, exposure_time_s=2.0)
    iso = calibrate(files(darks), files(flats)).iso
    assert iso.notes[:3] == (
        "f3.dng is the only frame of its exposure and was left out.",
        "2 flats exposed like g0.dng are saturated and were left out.",
        "The darks were exposed for 0.1 s to 1 s; what their means differ by counts as drift.",
    )
    assert (iso.flat_frames, iso.flat_exposures) == (3, 1)


def test_round_trip(tmp_path: Path, camera_file: CameraFile) -> None:
    path = tmp_path / "new" / "camera.json"
    write_camera(path, camera_file)
    assert read_camera(path) == camera_file
    assert [p.name for p in path.parent.iterdir()] == ["camera.json"]
    text = path.read_text(encoding="utf-8")
    assert json.loads(text)["isos"][0]["gain_dn_per_e"]["value"] == camera_file.isos[0].gain_dn_per_e.value
    assert all(len(line) < 4000 for line in text.splitlines())


def test_iso_speeds_come_together(camera_file: CameraFile) -> None:
    (iso,) = camera_file.isos
    other = dataclasses.replace(camera_file, isos=(dataclasses.replace(iso, iso=100.0),))
    both = camera_file.merged(other)
    assert [entry.iso for entry in both.isos] == [100, 800]
    with pytest.raises(CalibrationError, match="ISO 100 is calibrated already"):
        both.merged(other)
    assert both.merged(other, replace=True) == both
    with pytest.raises(CalibrationError, match="another camera: the camera is Test One, but Test Two"):
        both.merged(dataclasses.replace(other, camera="Test Two"))


def _without(path: tuple[str | int, ...]) -> Callable[[Any], None]:
    def change(content: Any) -> None:
        for key in path[:-1]:
            content = content[key]
        del content[path[-1]]

    return change


def _with(path: tuple[str | int, ...], value: object) -> Callable[[Any], None]:
    def change(content: Any) -> None:
        for key in path[:-1]:
            content = content[key]
        content[path[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_with(("kind",), "weights"), "not a calibration"),
        (_with(("format",), 2), "is of format 2"),
        (_without(("isos", 0, "gain_dn_per_e")), r"camera.isos\[0\] lacks or has in excess: gain_dn_per_e"),
        (_with(("isos", 0, "extra"), 1), "in excess: extra"),
        (_with(("isos", 0, "iso"), "800"), r"isos\[0\].iso is '800', not a float"),
        (_with(("isos", 0, "dark_frames"), 2.5), "dark_frames is 2.5, not a int"),
        (_with(("isos", 0, "dark_frames"), True), "dark_frames is True"),
        (_with(("isos", 0, "gain_dn_per_e", "value"), -1.0), "within its interval"),
        (_with(("isos", 0, "gain_dn_per_e"), {"value": -1, "low": -1, "high": -1}), "gain are above 0"),
        (_with(("isos", 0, "gain_dn_per_e", "high"), 10**400), "not a finite number"),
        (_with(("isos", 0, "read_lambda"), {"value": -1, "low": -1, "high": 0}), "lambda"),
        (_with(("isos", 0, "dark_offset_dn"), [1.0, 2.0]), "dark_offset_dn is not a list of the right length"),
        (_with(("isos", 0, "white_level_dn"), 70000), "Levels"),
        (_with(("isos", 0, "hot_listed"), [[1, 2, 3.0]]), r"hot_listed\[0\] is not an object"),
        (_with(("isos",), []), "rising ISO speed"),
        (_with(("cfa",), "RGGX"), "A CFA pattern is"),
    ],
)
def test_the_reader_is_strict(
    tmp_path: Path, camera_file: CameraFile, change: Callable[[Any], None], message: str
) -> None:
    path = tmp_path / "camera.json"
    write_camera(path, camera_file)
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(CalibrationError, match=message) as caught:
        read_camera(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not readable as JSON"),
        (b"\xff\xfe\x00", "not readable as JSON"),
        (b"[1, 2]", "not a calibration"),
        (b'{"kind": NaN}', "NaN is no number"),
        (b'{"kind": 1, "kind": 2}', "twice"),
        (b"[" * 100_000, "not readable as JSON"),
        (b" " * 16_000_001, "longer than any calibration"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "camera.json"
    with pytest.raises(CalibrationError, match="no such calibration"):
        read_camera(path)
    path.write_bytes(data)
    with pytest.raises(CalibrationError, match=message):
        read_camera(path)


def test_a_calibration_that_cannot_be_written(tmp_path: Path, camera_file: CameraFile) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(CalibrationError, match="cannot be written"):
        write_camera(tmp_path / "taken" / "camera.json", camera_file)


# ------------------------------------------------------------------------------------------------------- command line


def test_the_command_measures_draws_and_adds(
    frames: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.chdir(tmp_path)
    darks, flats = frames
    given = ["calibrate", "--dark", *map(str, files(darks)), "--flat", str(flats), "-o", "camera.json"]
    assert main([*given, "--plots", "plots"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.startswith("Test One, ISO 800")
    for words in (
        "3 darks, 4 flats",
        "gain K",
        "DN per electron",
        "Tukey lambda",
        "drift between frames",
        "note: Only 3",
    ):
        assert words in out
    assert "camera.json: the calibration, ISO 800." in out
    names = {path.name for path in Path("plots").iterdir()}
    assert names == {"iso800-photon-transfer.png", "iso800-darks.png", "iso800-rows.png"}
    for name in names:
        with Image.open(Path("plots") / name) as picture:
            assert picture.format == "PNG"
            assert np.asarray(picture.convert("L")).std() > 5

    assert main(given) == 1
    assert capsys.readouterr().err.startswith("error: ISO 800 is calibrated already.")
    write_set(tmp_path, dataclasses.replace(SONY, gain=3.2, read_sigma_dn=8.0), iso=3200)
    assert main(["calibrate", "--dark", "darks", "--flat", "flats", "-o", "camera.json"]) == 0
    assert "camera.json: the calibration, ISO 800, 3200." in capsys.readouterr().out
    assert [entry.iso for entry in read_camera(Path("camera.json")).isos] == [800, 3200]
    assert main(["calibrate", "--dark", "darks", "--flat", "none", "-o", "camera.json", "--force"]) == 1
    assert "none: there is no such file or folder" in capsys.readouterr().err
    assert main([*given[:-1], "nowhere/camera.json"]) == 1
    assert "the folder for the calibration does not exist" in capsys.readouterr().err
    _rewrite(Path("darks") / "d0.dng", camera="Other Two")
    assert main(["calibrate", "--dark", "darks", "--flat", "flats", "-o", "camera.json"]) == 1
    assert "The calibration is of another camera" in capsys.readouterr().err


def test_plots_without_matplotlib(
    frames: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("alen.commands.calibrate.find_spec", lambda _: None)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    darks, flats = map(str, frames)
    output = str(tmp_path / "camera.json")
    assert main(["calibrate", "--dark", darks, "--flat", flats, "-o", output, "--plots", str(tmp_path / "p")]) == 0
    assert capsys.readouterr().out.endswith(
        "No plots: they need matplotlib, which is not installed. Install it with: pip install 'alen[plots]'\n"
    )
    assert Path(output).is_file()


# ----------------------------------------------------------------------------------------------------------- training


def test_training_for_a_camera_resumes(
    camera_file: CameraFile,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("torch")
    from alen.config import AlenConfig
    from alen.training import recipes
    from alen.training.config import Stage, TrainingConfig
    from alen.training.sources import Photographs
    from alen.weights import load_weights

    small = dataclasses.replace(AlenConfig.shipped(), widths=(8, 8, 8, 8), key_grid=2)
    tiny = TrainingConfig(
        network=small,
        steps=2,
        stages=(Stage(share=1.0, patch_size=16, batch_size=1),),
        warmup_steps=1,
        checkpoint_every=1,
        validate_every=2,
        precision="float32",
    )
    monkeypatch.setattr(recipes, "camera", lambda *_: tiny)
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    Path("photos").mkdir()
    for index in range(6):
        Image.fromarray(rng.integers(0, 256, (48, 48, 3), dtype=np.uint8)).save(f"photos/{index}.png")
    write_camera(Path("camera.json"), camera_file)
    given = ["train", "camera", "--photos", "photos", "--workers", "0", "--threads", "1", "--cache", "cache"]
    own = [*given, "--camera", "camera.json"]
    assert main([*own, "--out", "run"]) == 0
    assert "for the noise of a Test One" in capsys.readouterr().out
    weights = load_weights(Path("run/weights.safetensors"))
    assert weights.facts.data.endswith("with simulated sensor noise of a Test One")
    assert weights.facts.recipe["sensor"]["name"] == "Test One"
    source = Photographs(Path("photos"), Path("cache"))
    generic, measured = (source.pairs(dataclasses.replace(tiny, sensor=s)) for s in (None, camera_file.noise))
    assert (generic[0, 16][1] == measured[0, 16][1]).all()  # the same truth
    assert (generic[0, 16][0] != measured[0, 16][0]).any()
    digest = camera_file.noise.digest
    assert f"| sensor | Test One, calibrated at ISO 800, digest {digest} |" in Path("run/run.md").read_text()
    facts = json.loads(Path("run/config.json").read_text())
    assert facts["config"]["sensor"]["noises"][0]["gain"] == camera_file.isos[0].gain_dn_per_e.value

    assert main([*own, "--out", "run", "--resume"]) == 0  # nothing is left to do
    capsys.readouterr()
    assert main([*given, "--out", "run", "--resume"]) == 1
    assert "different: sensor" in capsys.readouterr().err
    (iso,) = camera_file.isos
    other = dataclasses.replace(iso, row_sigma_dn=Measured(0.5, 0.4, 0.6))
    write_camera(Path("camera.json"), dataclasses.replace(camera_file, isos=(other,)))
    assert main([*own, "--out", "run", "--resume"]) == 1
    assert "different: sensor" in capsys.readouterr().err
    assert main([*given, "--out", "new", "--camera", "none.json"]) == 1
    assert capsys.readouterr().err.startswith("error: none.json: there is no such calibration.")


def test_training_starts_from_shipped_weights_by_name() -> None:
    torch = pytest.importorskip("torch")
    from alen.training.loop import build_network, load_into
    from alen.weights import find_weights, load_weights, shipped_names

    name = shipped_names()[0]
    weights = load_weights(find_weights(name))
    network = build_network(weights.config)
    load_into(network, Path(name), weights.config)
    for key, value in network.state_dict().items():
        torch.testing.assert_close(value, torch.from_numpy(weights.arrays[key]))
    with pytest.raises(TrainingError, match="another network"):
        load_into(network, Path(name), dataclasses.replace(weights.config, target="srgb"))


# --------------------------------------------------------------------------------------------------------- real frames


@pytest.fixture(scope="module")
def pi_darks(shared_data: Path) -> tuple[list[Path], DarkNoise]:
    paths = files(shared_data / "raw" / "pi-gs" / "dark")
    return paths, dark_noise((read_raw(path).mosaic for path in paths), CFA.bayer("BGGR"))


def test_dark_frames_of_a_real_camera(pi_darks: tuple[list[Path], DarkNoise]) -> None:
    """Row noise is what the rows of a frame have of their own: each frame as a whole moves by more."""
    _, measured = pi_darks
    assert measured.sigma_dn.value == pytest.approx(0.47, rel=0.05)
    assert measured.mean_dn == pytest.approx(60.16, abs=0.05)
    assert measured.row_sigma_dn.value == pytest.approx(0.053, rel=0.1)
    assert measured.frame_sigma_dn == pytest.approx(0.144, rel=0.05)
    typical = CAMERAS[-1].typical(100)
    assert typical.read_sigma_dn == pytest.approx(measured.pixel_sigma_dn.value, rel=0.05)
    assert typical.row_sigma_dn == pytest.approx(measured.row_sigma_dn.value, rel=0.05)


def test_calibration_of_a_real_camera(shared_data: Path) -> None:
    """Ten frames of a still scene, so dark that it spans 15 DN; K = 0.0897 was found independently."""
    folder = shared_data / "raw" / "pi-gs"
    iso = calibrate(files(folder / "dark"), files(folder / "burst")).iso
    assert iso.gain_dn_per_e.value == pytest.approx(0.0897, rel=0.03)
    assert holds(iso.gain_dn_per_e, 0.0897)
    assert iso.dark_sigma_dn.value == pytest.approx(0.47, rel=0.05)
    assert iso.frame_drift_sigma_dn.value == pytest.approx(0.15, rel=0.1)
    assert (iso.iso, iso.bit_depth, iso.dark_frames, iso.flat_frames) == (100, 10, 4, 10)
    assert any("exposed for 0.000992 s to 0.005 s" in note for note in iso.notes)
    assert all(a <= b for a, b in pairwise(iso.dark_exposures_s))

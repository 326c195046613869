from __future__ import annotations

import imagecodecs
import numpy as np
import pytest
import rawpy
from numpy.typing import NDArray

from alen.cameras import CAMERAS
from alen.cfa import BAYER_PHASES, CFA, mosaic_from_rgb
from alen.color import cam2rgb_from_xyz2cam, develop
from alen.data.lens import blur
from alen.data.scene import night_scene
from alen.errors import PictureError, SettingsError
from alen.levels import amplify, normalize
from alen.noise import variance_dn
from alen.raw import read_raw
from alen.sample import (
    LENS_SIGMA_PX,
    WHITE_BALANCE,
    XYZ2CAM,
    SamplePaths,
    camera_truth,
    expose,
    make_sample,
    reference_path,
)

HEIGHT, WIDTH = 134, 202


@pytest.fixture(scope="module")
def sample(tmp_path_factory) -> SamplePaths:
    return make_sample(tmp_path_factory.mktemp("sample") / "night.dng", height=HEIGHT, width=WIDTH)


@pytest.fixture(scope="module")
def truth() -> NDArray[np.float32]:
    return camera_truth(HEIGHT, WIDTH)


def test_the_dng_decodes_to_an_almost_black_frame(sample):
    with rawpy.imread(str(sample.raw)) as raw:
        mosaic = raw.raw_image_visible.copy()
        pattern = "".join("RGBG"[color] for color in raw.raw_colors_visible[:2, :2].ravel())
        blacks, white = raw.black_level_per_channel, raw.white_level
        picture = raw.postprocess(use_camera_wb=True, no_auto_bright=True)
    assert mosaic.shape == (HEIGHT, WIDTH)
    assert pattern == "RGGB"
    assert blacks == [512] * 4
    assert white == 16383
    assert 0 < np.median(mosaic) - 512 < 0.001 * (16383 - 512)
    assert (mosaic < 512).mean() > 0.02  # shadows keep the noise below black
    assert np.median(picture) <= 1
    assert picture.mean() < 6


def test_the_metadata_tell_the_short_exposure(sample):
    raw = read_raw(sample.raw)
    assert (raw.iso, raw.exposure_time_s, raw.aperture) == (800, pytest.approx(0.1), 8)
    assert raw.white_balance == pytest.approx(WHITE_BALANCE, rel=1e-4)
    assert np.allclose(raw.cam2rgb, cam2rgb_from_xyz2cam(XYZ2CAM), atol=1e-3)
    assert raw.camera == "ALEN night sample"
    assert raw.warnings == ()
    assert raw.orientation == 1


def test_the_noise_profile_is_the_variance_of_the_noise(sample):
    ((scale, offset),) = read_raw(sample.raw).noise_profile
    parameters = CAMERAS[0].typical(800)
    for signal in (0.0, 0.001, 0.1):
        expected = variance_dn(signal * (16383 - 512), parameters) / (16383 - 512) ** 2
        assert scale * signal + offset == pytest.approx(float(expected), rel=1e-6)


def test_amplified_it_agrees_with_the_truth_within_the_noise(sample, truth):
    raw = read_raw(sample.raw)
    normalized = normalize(raw.mosaic, raw.cfa, raw.black_level, raw.white_level)
    found = amplify(normalized, raw.cfa, raw.white_balance, 100.0).astype(np.float64)
    wanted = mosaic_from_rgb(truth, raw.cfa).astype(np.float64)
    parameters = CAMERAS[0].typical(800)
    planes = raw.cfa.plane_map(HEIGHT, WIDTH)
    span = raw.white_level - 512
    for plane, gain in enumerate((WHITE_BALANCE[0], 1.0, 1.0, WHITE_BALANCE[2])):
        here = planes == plane
        clean_dn = wanted[here] / gain / 100 * span
        variance = variance_dn(clean_dn.astype(np.float32), parameters).mean() / here.sum()
        variance += parameters.row_sigma_dn**2 / (HEIGHT / 2)  # a row's pixels share their offset
        error_dn = (found[here].mean() - wanted[here].mean()) / gain / 100 * span
        assert abs(error_dn) < 4.5 * np.sqrt(variance)


def test_the_noise_differs_by_seed_only(truth):
    cfa = CFA.bayer("RGGB")
    first = expose(truth, cfa, ratio=100, iso=800, seed=4)
    assert np.array_equal(first, expose(truth, cfa, ratio=100, iso=800, seed=4))
    assert not np.array_equal(first, expose(truth, cfa, ratio=100, iso=800, seed=5))


def test_the_truth_is_the_scene_through_the_lens_in_camera_colors(truth):
    back = truth.astype(np.float64) @ cam2rgb_from_xyz2cam(XYZ2CAM).T
    assert truth.dtype == np.float32
    assert truth.min() >= 0
    assert np.allclose(back, blur(night_scene(HEIGHT, WIDTH), LENS_SIGMA_PX), rtol=1e-4, atol=1e-4)


def test_the_reference_is_upright_bright_and_of_the_same_size(sample, truth):
    assert sample.reference == sample.raw.with_name("night.reference.png")
    pixels = imagecodecs.png_decode(sample.reference.read_bytes())
    assert pixels.shape == (HEIGHT, WIDTH, 3)
    assert pixels.dtype == np.uint16
    expected = develop(truth, cam2rgb_from_xyz2cam(XYZ2CAM), clip_level=100.0)
    assert np.abs(pixels / 65535.0 - expected).max() < 1e-4
    assert 0.15 < np.median(expected) < 0.6
    upper, lower = pixels[: HEIGHT // 10], pixels[-HEIGHT // 10 :]
    assert lower.mean() > upper.mean()  # the lit table is below, the night sky above


@pytest.fixture(scope="module")
def odd_truth() -> NDArray[np.float32]:
    return camera_truth(77, 95, 2)


@pytest.mark.parametrize("phase", BAYER_PHASES)
def test_every_phase_and_odd_sizes(tmp_path, phase, odd_truth):
    paths = make_sample(tmp_path / "odd.dng", height=77, width=95, ratio=20, cfa=CFA.bayer(phase), seed=2)
    raw = read_raw(paths.raw)
    assert raw.cfa == CFA.bayer(phase)
    assert raw.mosaic.shape == (77, 95)
    assert raw.exposure_time_s == pytest.approx(0.5)
    assert np.array_equal(raw.mosaic, expose(odd_truth, raw.cfa, ratio=20, iso=800, seed=2))


def test_existing_files_are_replaced_only_by_force(tmp_path):
    path = tmp_path / "night.dng"
    small = {"height": 32, "width": 48}
    reference_path(path).write_text("mine")
    with pytest.raises(PictureError, match=r"night\.reference\.png: exists already.*--force"):
        make_sample(path, **small)
    assert not path.exists()
    assert reference_path(path).read_text() == "mine"
    first = make_sample(path, force=True, **small).raw.read_bytes()
    with pytest.raises(PictureError, match=r"night\.dng: exists already"):
        make_sample(path, seed=1, **small)
    assert path.read_bytes() == first
    assert make_sample(path, force=True, **small).raw.read_bytes() == first


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"ratio": 0.5}, SettingsError, "ratio"),
        ({"ratio": float("nan")}, SettingsError, "ratio"),
        ({"iso": 50.0}, SettingsError, "ISO"),
        ({"height": 8}, SettingsError, "16 × 16"),
    ],
)
def test_settings_out_of_range_write_nothing(tmp_path, settings, error, message):
    with pytest.raises(error, match=message):
        make_sample(tmp_path / "night.dng", **settings)
    assert list(tmp_path.iterdir()) == []


def test_the_name_ends_in_dng(tmp_path):
    with pytest.raises(SettingsError, match=r"ends in \.dng"):
        make_sample(tmp_path / "night.tif")

"""White balance from the mosaic alone: known lights are found again, and frames that say nothing are left alone."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from alen.cfa import BAYER_PHASES, CFA, mosaic_from_rgb, pack
from alen.color import develop
from alen.demosaic import demosaic_malvar
from alen.errors import SettingsError
from alen.levels import amplify, estimate_ratio, normalize
from alen.raw import read_raw
from alen.white_balance import _BIN, _BINS, _interpolate, daylight_xy, estimate_white_balance, planckian_xy

# DNG color matrices for daylight: Sony ILCE-7SM2, Canon EOS 550D.
SONY = np.array(((0.6640, -0.1847, -0.0503), (-0.5238, 1.3010, 0.2474), (-0.0993, 0.1673, 0.6527)))
CANON = np.array(((0.6941, -0.1164, -0.0857), (-0.3825, 1.1597, 0.2534), (-0.0416, 0.1540, 0.6039)))

Gains = tuple[float, float, float]


def gains_of(x: Any, y: Any, xyz2cam: np.ndarray) -> Gains:
    """Return the gains that make a light of this chromaticity neutral."""
    response = xyz2cam @ np.array([x / y, 1, (1 - x - y) / y])
    return float(response[1] / response[0]), 1.0, float(response[1] / response[2])


def lamp(temperature_k: float, xyz2cam: np.ndarray = SONY) -> Gains:
    locus = planckian_xy if temperature_k < 4000 else daylight_xy
    return gains_of(*locus(temperature_k), xyz2cam)


def angle(a: Gains, b: Gains) -> float:
    """Return the angle in degrees between two lights, given by the gains that make them neutral."""
    u, v = 1 / np.array(a), 1 / np.array(b)
    return float(np.degrees(np.arccos(np.clip(u @ v / np.linalg.norm(u) / np.linalg.norm(v), -1, 1))))


def patches(gains: Gains, *, height: int = 480, width: int = 640, seed: int = 0) -> np.ndarray:
    """Return what a sensor sees (H, W, 3) of rectangles under one light: 3 in 10 are gray, warm colors prevail."""
    rng = np.random.default_rng(seed)
    white_balanced = np.full((height, width, 3), 0.1, dtype=np.float32)
    for _ in range(120):
        h, w = rng.integers(height // 16, height // 5), rng.integers(width // 16, width // 5)
        y, x = rng.integers(0, height - h), rng.integers(0, width - w)
        level = rng.uniform(0.02, 0.8)
        tint = np.ones(3) if rng.random() < 0.3 else np.array([rng.uniform(0.5, 1), 0.6, rng.uniform(0.1, 0.9)])
        white_balanced[y : y + h, x : x + w] = level * tint
    return optics(white_balanced) / np.array(gains, np.float32) * np.float32(0.8)


def optics(scene: np.ndarray) -> np.ndarray:
    """Blur over 3 × 3 pixels, twice, as lenses do; a mosaic of perfectly sharp edges has false colors."""
    for axis in (0, 1, 0, 1):
        scene = (np.roll(scene, 1, axis) + scene + np.roll(scene, -1, axis)) / 3
    return scene


def with_noise(mosaic: np.ndarray, *, electrons_at_white: float, read_electrons: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    count: np.ndarray = rng.poisson(np.maximum(mosaic, 0) * electrons_at_white) + rng.normal(
        0, read_electrons, mosaic.shape
    )
    return (count / electrons_at_white).astype(np.float32)


def gray_world(sensor: np.ndarray) -> Gains:
    mean = sensor.mean(axis=(0, 1))
    return float(mean[1] / mean[0]), 1.0, float(mean[1] / mean[2])


def estimated(mosaic: np.ndarray, cfa: CFA, xyz2cam: np.ndarray = SONY) -> Gains:
    gains = estimate_white_balance(mosaic, cfa, xyz2cam)
    assert gains is not None
    return gains


# ---------------------------------------------------------------- the lights there are


def test_loci_pass_through_the_standard_illuminants() -> None:
    # CIE 15:2004, table T.3: A, D50, D55, D65, D75.
    np.testing.assert_allclose(planckian_xy(2856), (0.44757, 0.40745), atol=1e-3)
    for temperature, x, y in ((5003, 0.34567, 0.35850), (5503, 0.33242, 0.34743), (6504, 0.31272, 0.32903)):
        np.testing.assert_allclose(daylight_xy(temperature), (x, y), atol=2e-4)
    np.testing.assert_allclose(daylight_xy(7504), (0.29902, 0.31485), atol=2e-4)


@pytest.mark.parametrize("border", [2222.0, 4000.0])
def test_the_planckian_splines_join(border: float) -> None:
    low, high = planckian_xy(border - 1e-6), planckian_xy(border + 1e-6)
    np.testing.assert_allclose(low, high, atol=3e-4)


# ---------------------------------------------------------------- known lights are found


@pytest.mark.parametrize("phase", BAYER_PHASES)
@pytest.mark.parametrize("temperature", [2600, 3300, 4500, 6500, 9000])
def test_a_known_light_is_found_within_two_degrees(phase: str, temperature: float) -> None:
    truth, cfa = lamp(temperature), CFA.bayer(phase)
    gains = estimated(mosaic_from_rgb(patches(truth, seed=int(temperature)), cfa), cfa)
    assert gains[1] == 1
    assert min(gains) > 0
    assert angle(gains, truth) < 2


@pytest.mark.parametrize("duv", [-0.01, 0.012])
def test_a_tinted_light_is_found(duv: float) -> None:
    x, y = daylight_xy(4200)
    u, v = 4 * x / (12 * y - 2 * x + 3), 6 * y / (12 * y - 2 * x + 3) + duv  # nearly across the locus
    scale = 2 * u - 8 * v + 4
    truth, cfa = gains_of(3 * u / scale, 2 * v / scale, CANON), CFA.bayer("GRBG")
    assert angle(lamp(4200, CANON), truth) > 2
    assert angle(estimated(mosaic_from_rgb(patches(truth, seed=3), cfa), cfa, CANON), truth) < 2


def test_xtrans_works_alike() -> None:
    truth, cfa = lamp(3000), CFA.xtrans().shifted(1, 4)
    assert angle(estimated(mosaic_from_rgb(patches(truth, height=723, width=965), cfa), cfa), truth) < 2


def test_a_large_blue_window_behind_the_subject_does_not_deceive() -> None:
    # Two lights: the subject stands in lamp light before a wide, unsharp, bright window. Gray world takes their mean.
    lamp_light, window_light = lamp(2850), lamp(8000)
    y, x = np.mgrid[:960, :1280] / 960
    glow = (0.5 + 0.2 * np.sin(3 * x) * np.cos(2 * y))[..., None] / np.array(window_light)
    scene = glow.astype(np.float32)
    scene[240:800, 360:920] = patches(lamp_light, height=560, width=560, seed=5)
    cfa = CFA.bayer("RGGB")
    assert angle(gray_world(scene), lamp_light) > 12
    assert angle(estimated(mosaic_from_rgb(scene, cfa), cfa), lamp_light) < 3


@pytest.mark.parametrize("phase", BAYER_PHASES)
def test_a_noisy_dark_frame_gives_nearly_the_same(phase: str) -> None:
    # Two stops of the brightest patches above the read noise of a pixel: some 8 electrons in a white pixel.
    truth, cfa = lamp(3300), CFA.bayer(phase)
    mosaic = mosaic_from_rgb(patches(truth, height=960, width=1280, seed=8), cfa) / 250
    noisy = with_noise(mosaic, electrons_at_white=4000, read_electrons=2)
    assert angle(estimated(noisy, cfa), truth) < 3


def test_exposure_does_not_matter() -> None:
    cfa = CFA.bayer("GBRG")
    mosaic = mosaic_from_rgb(patches(lamp(5000)), cfa)
    reference = estimated(mosaic, cfa)
    for scale in (2**-1, 2**-4, 2**-9, 0.03):
        np.testing.assert_allclose(estimated(mosaic * np.float32(scale), cfa), reference, rtol=2e-3)


def test_black_level_errors_hardly_matter() -> None:
    # Steps do not see an offset; means of dark frames would.
    cfa, truth = CFA.bayer("RGGB"), lamp(3500)
    mosaic = mosaic_from_rgb(patches(truth), cfa) / 50
    offset = np.array([0.002, -0.001, 0.003], np.float32)[cfa.color_map(*mosaic.shape)]
    assert angle(estimated(mosaic + offset, cfa), truth) < 2.5


def test_the_phase_of_a_crop_does_not_matter() -> None:
    cfa = CFA.bayer("RGGB")
    mosaic = mosaic_from_rgb(patches(lamp(4000), height=481, width=643), cfa)
    whole = estimated(mosaic, cfa)
    for y, x in ((0, 1), (1, 0), (1, 1)):
        assert angle(estimated(mosaic[y:, x:], cfa.shifted(y, x)), whole) < 0.7


def test_the_same_mosaic_gives_the_same_gains_bit_for_bit() -> None:
    cfa = CFA.bayer("BGGR")
    mosaic = mosaic_from_rgb(patches(lamp(4000)), cfa)
    before = mosaic.copy()
    assert estimated(mosaic, cfa) == estimated(mosaic.copy(), cfa)
    np.testing.assert_array_equal(mosaic, before)


def test_the_scale_of_the_matrix_does_not_matter() -> None:
    cfa = CFA.bayer("RGGB")
    mosaic = mosaic_from_rgb(patches(lamp(4000)), cfa)
    np.testing.assert_allclose(estimated(mosaic, cfa, SONY * 7), estimated(mosaic, cfa), rtol=1e-5)


def test_clipped_highlights_do_not_vote() -> None:
    truth, cfa = lamp(2900), CFA.bayer("RGGB")
    scene = patches(truth, seed=2)
    scene[60:140:20, 100:560] = 1  # clipped lines are steps of the color of no light
    scene[200:300, 300:420] = 1
    assert angle(estimated(mosaic_from_rgb(scene, cfa), cfa), truth) < 2


# ---------------------------------------------------------------- frames that say nothing


def dark_frame(rng: np.random.Generator) -> np.ndarray:
    return rng.normal(0, 1e-3, (480, 640))


def bare_wall(rng: np.random.Generator) -> np.ndarray:
    return rng.normal(0.2, 0.02, (480, 640))


def uniform_noise(rng: np.random.Generator) -> np.ndarray:
    return rng.uniform(0, 0.9, (480, 640))


def black(rng: np.random.Generator) -> np.ndarray:
    return np.zeros((480, 640))


def all_clipped(rng: np.random.Generator) -> np.ndarray:
    return np.ones((480, 640))


def a_few_pixels(rng: np.random.Generator) -> np.ndarray:
    return rng.uniform(0, 1, (2, 3))


@pytest.mark.parametrize("frame", [dark_frame, bare_wall, uniform_noise, black, all_clipped, a_few_pixels])
@pytest.mark.parametrize("phase", BAYER_PHASES)
def test_frames_that_say_nothing_are_left_alone(frame: Any, phase: str) -> None:
    mosaic = frame(np.random.default_rng(1)).astype(np.float32)
    assert estimate_white_balance(mosaic, CFA.bayer(phase), SONY) is None


@pytest.mark.parametrize("height", [2, 17, 40, 97])
def test_any_size_gives_gains_or_none(height: int) -> None:
    for width in (2, 23, 64, 131):
        cfa = CFA.bayer("RGGB")
        mosaic = mosaic_from_rgb(patches(lamp(5000))[:height, :width], cfa)
        gains = estimate_white_balance(mosaic, cfa, SONY)
        assert gains is None or (gains[1] == 1 and np.all(np.isfinite(gains)) and min(gains) > 0)


@pytest.mark.parametrize("matrix", [np.eye(2), np.full((3, 3), np.nan), -SONY, np.zeros((3, 3))])
def test_useless_matrices_are_refused(matrix: np.ndarray) -> None:
    with pytest.raises(SettingsError, match="matrix"):
        estimate_white_balance(np.ones((64, 64), np.float32), CFA.bayer("RGGB"), matrix)


def test_a_mosaic_smaller_than_its_pattern_is_refused() -> None:
    with pytest.raises(SettingsError, match="pattern"):
        estimate_white_balance(np.ones((1, 64), np.float32), CFA.bayer("RGGB"), SONY)


# ---------------------------------------------------------------- real files


def chart_patches(picture: np.ndarray) -> np.ndarray:
    """Return the means (5, 3) of the grays of the chart's lowest row, from white to dark gray."""
    return np.stack([picture[912:944, x - 16 : x + 16].mean(axis=(0, 1)) for x in (703, 813, 924, 1035, 1146)])


def developed_chart(white_balance: Gains | None, shared_data: Path) -> np.ndarray:
    raw = read_raw(shared_data / "raw" / "canon-kiss-x4" / "colorchart.dng")
    gains = raw.white_balance if white_balance is None else white_balance
    normalized = normalize(raw.mosaic, raw.cfa, raw.black_level, raw.white_level)
    ratio = estimate_ratio(normalized, raw.cfa, gains)
    linear = demosaic_malvar(pack(amplify(normalized, raw.cfa, gains, ratio), raw.cfa))
    return chart_patches(develop(linear, raw.cam2rgb, clip_level=ratio * min(gains)))


def test_the_grays_of_a_chart_in_mixed_light_come_out_gray(shared_data: Path) -> None:
    # The file's preset is for daylight, the chart stands in lamp light before a daylight window. The darker patches
    # are tinted by that window's glare: no pair of gains brings all five below 7 % of their own brightness.
    grays = developed_chart(None, shared_data)
    spread = np.ptp(grays, axis=1)
    assert np.all(np.diff(grays.mean(axis=1)) < 0)  # white to dark gray: these are the patches
    assert np.all(spread <= 0.04)  # of the range of the picture
    preset = np.ptp(developed_chart((2.477, 1.0, 1.6943), shared_data), axis=1)
    assert np.all(spread[:4] < 0.25 * preset[:4])


def test_the_chart_says_what_was_done(shared_data: Path) -> None:
    raw = read_raw(shared_data / "raw" / "canon-kiss-x4" / "colorchart.dng")
    assert angle(raw.white_balance, (1.46, 1.0, 2.27)) < 1.5
    (warning,) = raw.warnings
    assert "R 2.48, B 1.69" in warning
    assert f"R {raw.white_balance[0]:.2f}, B {raw.white_balance[2]:.2f}" in warning


def test_an_outdoor_photograph_agrees_with_its_camera(shared_data: Path) -> None:
    raw = read_raw(shared_data / "raw" / "gopro-hero7" / "HERO7_GOPR9231.dng")
    normalized = normalize(raw.mosaic, raw.cfa, raw.black_level, raw.white_level)
    xyz2cam = np.array(((1.0344, -0.421, -0.062), (-0.2315, 1.0625, 0.1948), (0.0093, 0.1058, 0.5541)))  # ColorMatrix2
    assert angle(estimated(normalized, raw.cfa, xyz2cam), raw.white_balance) < 4


def test_a_real_dark_frame_is_left_alone(shared_data: Path) -> None:
    raw = read_raw(shared_data / "raw" / "pi-gs" / "dark" / "dark_1.dng")
    assert (
        estimate_white_balance(normalize(raw.mosaic, raw.cfa, raw.black_level, raw.white_level), raw.cfa, SONY) is None
    )


def test_scores_between_bins_are_bilinear() -> None:
    table, rng = np.random.default_rng(0).random((_BINS, _BINS)), np.random.default_rng(1)
    red, blue = rng.uniform(-1.9, 1.9, (2, 500))
    places = np.stack([red, blue]) / _BIN + _BINS // 2
    np.testing.assert_allclose(_interpolate(table, red, blue), map_coordinates(table, places, order=1), atol=1e-9)

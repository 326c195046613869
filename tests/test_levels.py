"""Levels, gains and the estimated exposure ratio, on scenes whose exposure is known."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
from numpy.typing import NDArray

from alen.cameras import CAMERAS
from alen.cfa import BAYER_PHASES, CFA, FilterArray, mosaic_from_rgb, pack_any, reference
from alen.color import develop, eotf_srgb
from alen.errors import SettingsError
from alen.levels import Look, amplify, amplify_packed, bright_ratio, estimate_ratio, exposure_ratio, normalize
from alen.noise import add_noise

PATTERNS = [*(CFA.bayer(phase) for phase in BAYER_PHASES), CFA.xtrans(), CFA.xtrans().shifted(1, 2)]
WHITE_BALANCE = (2.2, 1.0, 1.6)


@pytest.mark.parametrize("cfa", PATTERNS, ids=lambda cfa: cfa.name)
def test_normalize_and_amplify_take_each_pixel_by_its_color(cfa: CFA) -> None:
    mosaic = np.random.default_rng(0).integers(0, 16384, (37, 53), dtype=np.uint16)
    black, white = (500.0, 512.0, 510.5, 530.0), 16000.0
    normalized = normalize(mosaic, cfa, black, white)
    of_pixel = np.array(black)[cfa.plane_map(37, 53)]
    np.testing.assert_allclose(normalized, (mosaic - of_pixel) / (white - of_pixel), atol=1e-6)
    amplified = amplify(normalized, cfa, WHITE_BALANCE, 40.0)
    gain = np.array(WHITE_BALANCE)[cfa.color_map(37, 53)] * 40
    np.testing.assert_allclose(amplified, normalized * gain, rtol=1e-6)
    assert normalized.dtype == amplified.dtype == np.float32


@pytest.mark.parametrize("kind", ["bayer", "xtrans"])
def test_packed_first_the_levels_are_the_same(kind: FilterArray) -> None:
    cfa = reference(kind)
    mosaic = np.random.default_rng(0).integers(0, 65536, (42, 66), dtype=np.uint16)
    black, white = (500.0, 512.0, 510.5, 530.0), 16000.0
    expected = pack_any(amplify(normalize(mosaic, cfa, black, white), cfa, WHITE_BALANCE, 40.0), cfa)
    planes = amplify_packed(mosaic, cfa, black, white, WHITE_BALANCE, 40.0)
    assert planes.dtype == np.float32
    np.testing.assert_array_equal(planes, expected)
    with pytest.raises(SettingsError, match="below the white level"):
        amplify_packed(mosaic, cfa, black, 500, WHITE_BALANCE, 40.0)
    with pytest.raises(SettingsError, match="positive"):
        amplify_packed(mosaic, cfa, black, white, WHITE_BALANCE, 0.0)


def test_levels_are_signed_and_not_clipped() -> None:
    mosaic = np.array([[0, 512], [16383, 65535]], dtype=np.uint16)
    normalized = normalize(mosaic, CFA.bayer("RGGB"), (512, 512, 512, 512), 16383)
    np.testing.assert_allclose(normalized, [[-512 / 15871, 0], [1, 65023 / 15871]], rtol=1e-6)


def test_black_stays_where_it_is_on_average() -> None:
    dn = np.random.default_rng(1).normal(512.3, 4, (400, 400)).round().astype(np.uint16)
    normalized = normalize(dn, CFA.bayer("GBRG"), (512.3, 512.3, 512.3, 512.3), 16383)
    assert abs(normalized.mean()) < 5 * 4 / 15871 / 400


def test_levels_refuse_what_has_no_span() -> None:
    mosaic, cfa = np.zeros((4, 4), np.uint16), CFA.bayer("RGGB")
    for black, white in [((0, 0, 0, 100), 100), ((0, 0, 0, float("nan")), 100), ((0, 0, 0), 100)]:
        with pytest.raises(SettingsError, match="below the white level"):
            normalize(mosaic, cfa, black, white)  # type: ignore[arg-type]
    for balance, ratio in [((2, 1, 0), 10), ((2, 1, 1), -1), ((2, 1, 1), float("inf")), ((2, 1), 1)]:
        with pytest.raises(SettingsError, match="positive"):
            amplify(np.zeros((4, 4), np.float32), cfa, balance, ratio)  # type: ignore[arg-type]


def test_exposure_ratio_is_that_of_see_in_the_dark() -> None:
    assert exposure_ratio(10, 0.1) == pytest.approx(100)
    assert exposure_ratio(10, 0.04) == pytest.approx(250)
    assert exposure_ratio(30, 0.033) == 300
    assert exposure_ratio(30, 0.1, cap=1000) == pytest.approx(300)
    assert exposure_ratio(1, 2) == 0.5
    for times in ((np.inf, 1), (1, np.inf), (10, 0.1, np.inf)):
        with pytest.raises(SettingsError, match="positive numbers"):
            exposure_ratio(*times)
    for times in [(0, 1), (1, 0), (float("nan"), 1), (1, -1)]:
        with pytest.raises(SettingsError):
            exposure_ratio(*times)


# The estimate


def _scene(height: int, width: int, seed: int) -> NDArray[np.float64]:
    """A scene in white-balanced camera RGB: soft light and shade, a wall in the dark, a lamp thirty times white."""
    y, x = np.mgrid[:height, :width] / np.array([height, width]).reshape(2, 1, 1)
    light = 0.15 * np.exp(1.2 * np.sin(5 * x + seed) + np.cos(7 * y))
    light[height // 2 : height * 2 // 3] *= 0.02
    light[(x - 0.3) ** 2 + (y - 0.3) ** 2 < 0.002] = 30
    return light[..., None] * np.array([0.8, 1.0, 0.7])


def _expose(scene: NDArray[np.float64], cfa: CFA, ratio: float, gain_dn: float, read_dn: float) -> NDArray[np.float32]:
    """Take the scene ``ratio`` times too dark with a 14-bit sensor: shot noise, read noise, clipping, rounding."""
    rng = np.random.default_rng(round(ratio))
    dn = mosaic_from_rgb(scene / np.array(WHITE_BALANCE) / ratio, cfa) * 15871
    dn = gain_dn * rng.poisson(np.minimum(dn, 15871) / gain_dn) + read_dn * rng.standard_normal(dn.shape) + 512
    return normalize(dn.round().clip(0, 16383).astype(np.uint16), cfa, (512, 512, 512, 512), 16383)


@pytest.mark.parametrize("cfa", PATTERNS, ids=lambda cfa: cfa.name)
@pytest.mark.parametrize(("size", "gain_dn", "read_dn"), [((301, 403), 1, 1), ((211, 157), 16, 12)])
def test_estimate_follows_the_exposure(cfa: CFA, size: tuple[int, int], gain_dn: float, read_dn: float) -> None:
    """To a third of a stop from ratio 4 to 200, at low and at high ISO; the lamp and the noise do not matter."""
    scene = _scene(*size, seed=0)
    stops = [
        np.log2(estimate_ratio(_expose(scene, cfa, ratio, gain_dn, read_dn), cfa, WHITE_BALANCE) / ratio)
        for ratio in (4, 10, 30, 100, 200)
    ]
    assert np.ptp(stops) < 1 / 3
    assert np.abs(stops).max() < 1.25  # the scene is one that glares a little: its brightest parts lie above white


def test_estimate_does_not_depend_on_the_phase() -> None:
    scene = _scene(240, 320, seed=1)
    ratios = [estimate_ratio(_expose(scene, cfa, 20, 1, 1), cfa, WHITE_BALANCE) for cfa in PATTERNS]
    np.testing.assert_allclose(ratios, ratios[0], rtol=0.03)


def test_estimate_stays_between_1_and_300() -> None:
    cfa = CFA.bayer("RGGB")
    rng = np.random.default_rng(2)
    noise = 0.001 * rng.standard_normal((99, 101))
    for level, ratio in [(1.0, 1.0), (0.7, 1.0), (0.0, 300.0), (-0.01, 300.0), (1e-5, 300.0)]:
        assert estimate_ratio((noise + level).astype(np.float32), cfa, (1, 1, 1)) == ratio
    assert estimate_ratio(np.zeros((40, 40), np.float32), cfa, (2, 1, 2)) == 300
    assert type(estimate_ratio(np.full((2, 3), 0.01, np.float32), cfa, (1, 1, 1))) is float
    with pytest.raises(SettingsError):
        estimate_ratio(np.zeros((1, 9), np.float32), cfa, (1, 1, 1))


def test_hot_pixels_do_not_matter() -> None:
    cfa = CFA.bayer("GRBG")
    mosaic = _expose(_scene(301, 300, seed=2), cfa, 50, 1, 1)
    ratio = estimate_ratio(mosaic, cfa, WHITE_BALANCE)
    hot = np.random.default_rng(3).random(mosaic.shape) < 1e-4
    assert estimate_ratio(np.where(hot, np.float32(1), mosaic), cfa, WHITE_BALANCE) == pytest.approx(ratio, rel=0.1)


def test_black_surroundings_do_not_make_the_picture_glare() -> None:
    cfa = CFA.bayer("RGGB")
    lit = np.full((400, 400), 0.004, np.float32)
    on_black = lit.copy()
    on_black[:, 160:] = 0
    assert estimate_ratio(on_black, cfa, (1, 1, 1)) < 6 * estimate_ratio(lit, cfa, (1, 1, 1))


@pytest.mark.parametrize(("look", "least"), [("natural", 0.04), ("bright", 0.07)])
def test_estimated_pictures_have_natural_brightness(look: Look, least: float) -> None:
    cfa = CFA.bayer("BGGR")
    for seed in range(4):
        scene = _scene(200, 300, seed)
        ratio = estimate_ratio(_expose(scene, cfa, 40, 1, 1), cfa, WHITE_BALANCE, look=look)
        picture = develop((scene / 40 * ratio).astype(np.float32), np.eye(3), clip_level=ratio)
        gray = np.exp(np.log(np.maximum(eotf_srgb(picture).mean(axis=2), 0.005)).mean())
        assert least < gray < 0.25


def _night(lamps: float) -> NDArray[np.float32]:
    """A normalized mosaic (300, 400), R = G = B: a dim street, a few lit walls and a share of lamps; no noise."""
    night = np.full((300, 400), 0.0004, np.float32)
    night[:, :60] = 0.008
    night[: round(1000 * lamps), 100:220] = 0.5
    return night


@pytest.mark.parametrize("look", get_args(Look))
@pytest.mark.parametrize("lamps", [0.0, 0.01, 0.05])
def test_half_the_exposure_is_twice_the_ratio(look: Look, lamps: float) -> None:
    cfa = CFA.xtrans()
    ratios = [estimate_ratio(_night(lamps) * np.float32(factor), cfa, (1, 1, 1), look=look) for factor in (2, 1)]
    assert 1 < ratios[0] < ratios[1] < 300
    assert ratios[1] == pytest.approx(2 * ratios[0], rel=1e-5)


def test_a_night_stays_a_night_unless_it_is_to_be_bright() -> None:
    cfa = CFA.bayer("RGGB")
    natural, bright = (estimate_ratio(_night(0.01), cfa, (1, 1, 1), look=look) for look in get_args(Look))
    assert bright > 1.3 * natural
    day = np.random.default_rng(0).uniform(0.001, 0.004, (300, 400)).astype(np.float32)
    assert estimate_ratio(day, cfa, (1, 1, 1)) == pytest.approx(estimate_ratio(day, cfa, (1, 1, 1), look="bright"))


def test_more_light_never_raises_the_ratio() -> None:
    """Of any brightness, anywhere; and bright is never darker than natural."""
    cfa, rng = CFA.bayer("GBRG"), np.random.default_rng(4)
    for _ in range(40):
        frame = np.exp(rng.normal(-6, rng.uniform(0.1, 3), (96, 128))).astype(np.float32)
        more = frame.copy()
        y, x = rng.integers(0, 80, 2)
        more[y : y + 40, x : x + 40] += np.float32(np.exp(rng.normal(-6, 3)))
        natural, bright = (estimate_ratio(frame, cfa, (1, 1, 1), look=look) for look in get_args(Look))
        assert natural <= bright
        assert estimate_ratio(more, cfa, (1, 1, 1), look="natural") <= natural
        assert estimate_ratio(more, cfa, (1, 1, 1), look="bright") <= bright


@pytest.mark.parametrize("look", get_args(Look))
def test_noise_does_not_bias_the_estimate(look: Look) -> None:
    """Three hundred times too dark, at ISO 1600 of a measured camera: within a tenth of a stop of the same without."""
    cfa = CFA.bayer("RGGB")
    scene = 1.6 * _scene(768, 1024, seed=1)  # a little bright, so that the limit at 300 is far
    clean = np.minimum(mosaic_from_rgb(scene / np.array(WHITE_BALANCE) / 300, cfa), 1).astype(np.float32)
    truth = estimate_ratio(clean, cfa, WHITE_BALANCE, look=look)
    assert truth < 250
    for camera in CAMERAS[:5]:
        noise = camera.typical(1600)
        mosaic = add_noise(clean, cfa, noise, np.random.default_rng(0))
        noisy = normalize(mosaic, cfa, (noise.black_level_dn,) * 4, noise.white_level_dn)
        assert abs(np.log2(estimate_ratio(noisy, cfa, WHITE_BALANCE, look=look) / truth)) < 0.1


def test_a_lamp_counts_the_same_clipped_or_not() -> None:
    cfa = CFA.bayer("RGGB")
    for look in get_args(Look):
        clipped, whole = (
            estimate_ratio(np.minimum(_night(0.01), np.float32(top)), cfa, (1, 1, 1), look=look) for top in (0.05, 1)
        )
        assert clipped == pytest.approx(whole, rel=1e-5)


def test_a_few_lights_on_black_are_not_blown_out_without_limit() -> None:
    black = np.zeros((300, 400), np.float32)
    black[100:160, 100:160] = 0.1  # 3 % of the frame
    assert estimate_ratio(black, CFA.bayer("RGGB"), (1, 1, 1), look="bright") == pytest.approx(80)


def test_other_looks_are_refused() -> None:
    with pytest.raises(SettingsError, match="The look is natural or bright; got gloomy"):
        estimate_ratio(np.zeros((40, 40), np.float32), CFA.bayer("RGGB"), (1, 1, 1), look="gloomy")  # type: ignore[arg-type]


@pytest.mark.parametrize("cfa", PATTERNS, ids=lambda cfa: cfa.name)
def test_the_bright_ratio_brings_half_of_a_frame_to_the_level(cfa: CFA) -> None:
    scene = np.full((96, 144, 3), 0.01) / np.array(WHITE_BALANCE)
    scene[:, 80:] *= 50
    normalized = mosaic_from_rgb(scene.astype(np.float32), cfa)
    assert bright_ratio(normalized, cfa, WHITE_BALANCE, 0.7, 0.05) == pytest.approx(70, rel=0.01)
    assert bright_ratio(50 * normalized, cfa, WHITE_BALANCE, 0.3, 0.05) == 1
    assert bright_ratio(0 * normalized, cfa, WHITE_BALANCE, 0.7, 0.05) == np.inf


@pytest.mark.parametrize("cfa", PATTERNS, ids=lambda cfa: cfa.name)
def test_the_bright_ratio_leaves_a_dark_part_its_own(cfa: CFA) -> None:
    scene = np.full((96, 144, 3), 0.5) / np.array(WHITE_BALANCE)
    scene[:, :24] /= 500  # a sixth
    normalized = mosaic_from_rgb(scene.astype(np.float32), cfa)
    assert bright_ratio(normalized, cfa, WHITE_BALANCE, 0.7, 0.05) == pytest.approx(50, rel=0.01)
    normalized[:, :24] = -1e-4
    assert bright_ratio(normalized, cfa, WHITE_BALANCE, 0.7, 0.05) == np.inf

"""The sRGB curve, the matrices and the steps of `develop`: literals, and the properties that make a picture right."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray

from alen import color
from alen.color import cam2rgb_from_xyz2cam, develop, eotf_inverse_srgb, eotf_srgb
from alen.errors import SettingsError

SONY_A7S2 = (
    (1.9712269, -0.6789218, -0.29230508),
    (-0.29104823, 1.748401, -0.45735288),
    (0.02051281, -0.5380369, 1.5175241),
)
"""Camera RGB → linear sRGB of See-in-the-Dark's Sony camera."""

PI_GS = ((2.0459294, -0.7397111, -0.3062185), (-0.4719786, 2.1334307, -0.6614521), (-0.1082966, -0.5764628, 1.6847594))
"""Camera RGB → linear sRGB of a Raspberry Pi global shutter camera."""


def _pixel(*values: float) -> NDArray[np.float32]:
    return np.array(values, dtype=np.float32).reshape(1, 1, 3)


# The curve


@pytest.mark.parametrize(
    ("linear", "encoded"),
    [
        # colour 0.4: colour.models.eotf_inverse_sRGB(x)
        (0.18, 0.46135612950044164),
        (0.0, 0.0),
        (1.0, 1.0),
        (0.001, 0.01292),
        (0.0031308, 0.0404499360),
        (0.5, 0.7353569831),
        (4.0, 1.8247963),  # 1.055 · 4^(1/2.4) − 0.055
    ],
)
def test_srgb_curve_has_known_values(linear: float, encoded: float) -> None:
    assert eotf_inverse_srgb(np.array(linear)) == pytest.approx(encoded, rel=2e-6, abs=1e-9)
    assert eotf_srgb(np.array(encoded)) == pytest.approx(linear, rel=2e-6, abs=1e-9)


def test_srgb_curves_are_inverse_odd_and_float32() -> None:
    x = np.concatenate([np.linspace(0, 1, 70_001), np.geomspace(1e-6, 300, 70_001)]).astype(np.float32)
    np.testing.assert_allclose(eotf_srgb(eotf_inverse_srgb(x)), x, rtol=2e-6)
    np.testing.assert_allclose(eotf_inverse_srgb(eotf_srgb(x)), x, rtol=2e-6)
    for curve in (eotf_inverse_srgb, eotf_srgb):
        np.testing.assert_array_equal(curve(-x), -curve(x))
        assert curve(x).dtype == np.float32
        assert curve(np.zeros((0, 3))).shape == (0, 3)
        assert curve(np.float64(0.5)).shape == ()
        assert curve(np.zeros((7, 5, 3))[::2, :, 1:]).shape == (4, 5, 2)


@pytest.mark.parametrize(("curve", "joint"), [(eotf_inverse_srgb, 0.0031308), (eotf_srgb, 0.04045)])
def test_srgb_curves_are_continuous_and_rise_at_the_joint(curve, joint: float) -> None:
    x = np.linspace(joint * 0.99, joint * 1.01, 2001, dtype=np.float32)
    steps = np.diff(curve(x))
    assert steps.min() >= 0
    assert steps.max() < 3 * steps.mean()


# Matrices


def test_xyz_matrices_follow_from_the_primaries() -> None:
    x, y = np.array([[0.64, 0.30, 0.15], [0.33, 0.60, 0.06]])  # IEC 61966-2-1
    primaries = np.array([x / y, np.ones(3), (1 - x - y) / y])
    white = np.array([0.95047, 1.0, 1.08883])
    expected = primaries * np.linalg.solve(primaries, white)
    np.testing.assert_allclose(color.XYZ_FROM_RGB, expected, atol=1e-7)
    np.testing.assert_allclose(np.array(color.RGB_FROM_XYZ) @ color.XYZ_FROM_RGB, np.eye(3), atol=1e-6)


def test_cam2rgb_of_a_canon_550d_is_that_of_libraw() -> None:
    xyz2cam = np.array([[6461, -1164, -857], [-3825, 11597, 2534], [-416, 1540, 6039]]) / 10_000  # its ColorMatrix1
    # rawpy 0.28: imread(colorchart.dng).color_matrix[:, :3]
    libraw = [
        [1.8177627, -0.964303, 0.14654028],
        [-0.22892007, 1.7737942, -0.5448741],
        [-0.01954069, -0.46814167, 1.4876823],
    ]
    cam2rgb = cam2rgb_from_xyz2cam(xyz2cam)
    np.testing.assert_allclose(cam2rgb, libraw, atol=2e-4)
    np.testing.assert_allclose(cam2rgb.sum(axis=1), 1, atol=1e-12)
    np.testing.assert_allclose(cam2rgb_from_xyz2cam(xyz2cam * 7), cam2rgb, atol=1e-12)


def test_cam2rgb_of_a_camera_that_sees_srgb_is_the_identity() -> None:
    np.testing.assert_allclose(cam2rgb_from_xyz2cam(color.RGB_FROM_XYZ), np.eye(3), atol=1e-6)


@pytest.mark.parametrize("matrix", [np.eye(2), np.zeros((3, 3)), np.ones((3, 3)), np.full((3, 3), np.nan), -np.eye(3)])
def test_cam2rgb_refuses_matrices_without_inverse(matrix) -> None:
    with pytest.raises(SettingsError):
        cam2rgb_from_xyz2cam(matrix)


@pytest.mark.parametrize("channel", range(3))
def test_matrices_map_white_to_positive_values_in_every_channel(channel: int) -> None:
    signs = np.ones(3)
    signs[channel] = -1
    with pytest.raises(SettingsError, match="maps white to positive values"):
        cam2rgb_from_xyz2cam(color.RGB_FROM_XYZ * signs[:, None])


def test_each_color_has_its_own_shading() -> None:
    """Where nothing is clipped, the gains are as good as in the picture before."""
    rng = np.random.default_rng(4)
    rgb = rng.uniform(0.05, 0.4, (30, 40, 3)).astype(np.float32)
    gains = rng.uniform(1, 1.6, (3, 30, 40)).astype(np.float32)
    matrix = [[1.6, -0.4, -0.2], [-0.2, 1.5, -0.3], [0.0, -0.5, 1.5]]
    shaded = develop(rgb, matrix, clip_level=5.0, shading=lambda start, stop: gains[:, start:stop])
    np.testing.assert_allclose(shaded, develop(rgb * gains.transpose(1, 2, 0), matrix, clip_level=5.0), atol=1e-6)


# Development


@pytest.mark.parametrize("clip_level", [1.0, 2.5, 100.0])
@pytest.mark.parametrize("exposure_ev", [-2.0, 0.0, 1.7])
def test_neutral_stays_exactly_neutral(clip_level: float, exposure_ev: float) -> None:
    gray = np.concatenate([[-1, -1e-3, 0], np.geomspace(1e-6, 1e4, 4001)]).astype(np.float32)
    rgb = np.repeat(gray[None, :, None], 3, axis=2)
    picture = develop(rgb, PI_GS, exposure_ev=exposure_ev, clip_level=clip_level)
    np.testing.assert_array_equal(picture[..., 0], picture[..., 1])
    np.testing.assert_array_equal(picture[..., 2], picture[..., 1])
    assert np.diff(picture[0, :, 1]).min() >= -1e-6
    assert picture[0, 0, 1] == 0
    assert picture[0, -1, 1] > 1 - 1e-6


def test_mid_gray_and_shadows_keep_their_brightness() -> None:
    x = np.array([0.002, 0.01, 0.05, 0.18, 0.4], dtype=np.float32)
    picture = develop(np.repeat(x[None, :, None], 3, axis=2), SONY_A7S2, clip_level=100)[0, :, 1]
    np.testing.assert_allclose(picture, eotf_inverse_srgb(x), atol=0.035)
    assert picture[3] == pytest.approx(0.46135613, abs=1e-4)


@pytest.mark.parametrize(
    "hue", [(1, 1, 1), (0.02, 0.1, 1), (1, 0.03, 0.02), (0.1, 1, 0.2), (1, 0.02, 0.9), (1, 0.7, 0.4)]
)
@pytest.mark.parametrize("clip_level", [1.0, 3.0, 300.0])
def test_picture_rises_with_exposure_and_has_no_jumps(hue: tuple[float, ...], clip_level: float) -> None:
    stops = np.linspace(-12, 9, 4001)
    rgb = (np.array(hue) * 2.0 ** stops[:, None]).astype(np.float32)[None]
    picture = develop(rgb, PI_GS, clip_level=clip_level)[0]
    steps = np.diff(picture, axis=0)
    # one of 4000 steps over 21 stops; the quickest change is that of a clipped color to white within half a stop
    assert np.abs(steps).max() < 0.04
    luminance = eotf_srgb(picture) @ color.XYZ_FROM_RGB[1]
    assert (np.maximum.accumulate(luminance) - luminance).max() < 0.005
    assert picture[-1].min() > 1 - 1e-6


def test_exposure_moves_brightness_only_upward() -> None:
    rng = np.random.default_rng(4)
    rgb = (rng.random((1, 500, 3)) ** 3 * 3).astype(np.float32)
    pictures = [develop(rgb, SONY_A7S2, exposure_ev=ev, clip_level=2.0) for ev in np.arange(-4, 4.1, 0.25)]
    brightest = [picture.max(axis=2) for picture in pictures]
    for darker, brighter in itertools.pairwise(brightest):
        assert (brighter - darker).min() > -1e-5


def test_exposure_in_stops_is_a_factor() -> None:
    rgb = np.random.default_rng(0).random((5, 7, 3), dtype=np.float32)
    one = develop(rgb, SONY_A7S2, exposure_ev=2, clip_level=100)
    np.testing.assert_allclose(one, develop(rgb * 4, SONY_A7S2, clip_level=100), atol=1e-6)


@pytest.mark.parametrize("gains", [(2.5, 1, 1.7), (1.9, 1, 2.3), (1.2, 1, 3.4), (0.8, 1, 1.9)])
@pytest.mark.parametrize("ratio", [1.0, 2.5, 30.0, 300.0])
@pytest.mark.parametrize("matrix", [SONY_A7S2, PI_GS])
def test_a_clipped_lamp_is_neutral_white(gains: tuple[float, float, float], ratio: float, matrix) -> None:
    """White balance turns a saturated pixel into (gain R, 1, gain B) × ratio, magenta unless it is handled."""
    lamp = _pixel(*gains) * np.float32(ratio)
    noise = 1 + 0.01 * np.random.default_rng(1).standard_normal((20, 20, 3))
    picture = develop((lamp * noise).astype(np.float32), matrix, clip_level=ratio)
    np.testing.assert_array_equal(np.ptp(picture, axis=2), 0)
    assert picture.min() > 0.97


@pytest.mark.parametrize("gains", [(2.5, 1, 1.7), (1.9, 1, 2.3)])
def test_the_rim_of_a_lamp_has_no_magenta(gains: tuple[float, float, float]) -> None:
    """Light of the scene's white, of any brightness, through a sensor that clips: nowhere a visible cast."""
    light = np.geomspace(0.01, 8, 2000)[:, None] / np.array(gains)
    rgb = (np.minimum(light, 1) * gains).astype(np.float32)[None]
    picture = develop(rgb, SONY_A7S2, clip_level=1.0)[0]
    assert np.ptp(picture, axis=1).max() < 0.02


def test_colored_light_below_the_clip_level_keeps_its_color() -> None:
    for hue in [(1.2, 0.1, 1.3), (1.4, 0.5, 0.1), (1.2, 0.1, 0.1)]:
        picture = develop(_pixel(*hue), np.eye(3), clip_level=1.0)[0, 0]
        assert np.ptp(picture) > 0.4
        assert np.argmax(picture) == np.argmax(hue)


def test_far_over_range_becomes_white() -> None:
    for hue in [(1, 0.1, 0.1), (0.1, 0.1, 1), (0.1, 1, 0.1)]:
        near, far = (develop(_pixel(*hue) * np.float32(k), np.eye(3), clip_level=300)[0, 0] for k in (0.7, 40))
        assert np.ptp(near) > 0.4
        assert far.min() > 0.95


def test_deep_blue_light_does_not_turn_black() -> None:
    """Its luminance in sRGB is negative with many cameras' matrices."""
    blue = _pixel(0.02, 0.05, 1)
    assert (blue[0, 0] @ np.array(SONY_A7S2).T) @ color.XYZ_FROM_RGB[1] < 0.05
    picture = develop(blue, PI_GS, clip_level=100)[0, 0]
    assert picture[2] > 0.75
    assert np.argmax(picture) == 2


def test_colors_inside_srgb_keep_their_hue_and_saturation() -> None:
    rgb = np.array([[0.2, 0.12, 0.08], [0.05, 0.1, 0.15], [0.1, 0.15, 0.06]], dtype=np.float32)[None]
    linear = eotf_srgb(develop(rgb, np.eye(3), clip_level=100))
    ratios = linear / linear.max(axis=2, keepdims=True)
    np.testing.assert_allclose(ratios, rgb / rgb.max(axis=2, keepdims=True), atol=0.02)


def test_noise_around_black_leaves_little_cast() -> None:
    """White balance makes red and blue noise stronger; clipping it at 0 alone leaves twice as much red as green."""
    rng = np.random.default_rng(2)
    noise = 0.003 * np.array([2.56, 0.8, 2.08]) * rng.standard_normal((300, 300, 3))
    linear = eotf_srgb(develop(noise.astype(np.float32), PI_GS, clip_level=100)).mean(axis=(0, 1))
    clipped = np.clip(noise @ np.array(PI_GS).T, 0, 1).mean(axis=(0, 1))
    assert linear.max() < 0.35 * clipped.max()
    assert linear.max() / linear.min() < 0.8 * clipped.max() / clipped.min()


@pytest.mark.parametrize("value", [-1e30, -1.0, -1e-12, 0.0, 1e-38, 1e-12, 1e30])
def test_extreme_values_stay_in_range(value: float) -> None:
    for picked in itertools.product((value, 0.1), repeat=3):
        picture = develop(_pixel(*picked), PI_GS, clip_level=50)
        assert np.all(np.isfinite(picture))
        assert picture.min() >= 0
        assert picture.max() <= 1


@pytest.mark.parametrize("shape", [(1, 1), (37, 1), (1, 41), (331, 257), (3, 70_001)])
def test_blocks_agree_with_single_pixels(shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    rgb = (rng.standard_normal((*shape, 3)) * rng.choice([0.01, 1, 20], (*shape, 1))).astype(np.float32)
    whole = develop(rgb, PI_GS, clip_level=9.0)
    monkeypatch.setattr(color, "_BLOCK", 2048)
    np.testing.assert_allclose(develop(rgb, PI_GS, clip_level=9.0), whole, atol=2e-7)


def test_layout_input_and_out() -> None:
    rgb = np.random.default_rng(5).random((31, 47, 3), dtype=np.float32)
    before = rgb.copy()
    expected = develop(rgb, SONY_A7S2, clip_level=2.0)
    np.testing.assert_array_equal(rgb, before)
    planar = np.ascontiguousarray(rgb.transpose(2, 0, 1)).transpose(1, 2, 0)
    np.testing.assert_allclose(develop(planar, SONY_A7S2, clip_level=2.0), expected, atol=2e-7)
    assert develop(rgb, SONY_A7S2, clip_level=2.0, out=rgb) is rgb
    np.testing.assert_array_equal(rgb, expected)
    assert develop(np.zeros((0, 5, 3), np.float32), SONY_A7S2, clip_level=2.0).shape == (0, 5, 3)


def test_develop_refuses_what_it_cannot_use() -> None:
    rgb = np.zeros((2, 2, 3), np.float32)
    with pytest.raises(SettingsError, match=r"\(H, W, 3\)"):
        develop(rgb[..., 0], np.eye(3), clip_level=1)
    with pytest.raises(SettingsError, match="sum to 1"):
        develop(rgb, 2 * np.eye(3), clip_level=1)
    with pytest.raises(SettingsError, match="clip level"):
        develop(rgb, np.eye(3), clip_level=0)
    with pytest.raises(SettingsError, match="clip level"):
        develop(rgb, np.eye(3), clip_level=1, exposure_ev=float("nan"))
    with pytest.raises(SettingsError, match="float32"):
        develop(rgb, np.eye(3), clip_level=1, out=np.zeros((2, 2, 3), np.float16))  # type: ignore[arg-type]

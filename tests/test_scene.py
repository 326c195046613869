from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from alen.data.scene import COLOR_CHECKER_SRGB, night_scene
from alen.data.scene.arrangement import CARD_CORNER, CARD_DOWN, CARD_RIGHT
from alen.data.scene.textures import linear_light
from alen.data.scene.view import View
from alen.errors import SettingsError

HEIGHT, WIDTH = 160, 240


@pytest.fixture(scope="module")
def picture() -> NDArray[np.float32]:
    return night_scene(HEIGHT, WIDTH)


def test_the_same_seed_gives_the_same_picture_and_another_seed_another(picture):
    assert np.array_equal(picture, night_scene(HEIGHT, WIDTH, seed=0))
    assert not np.array_equal(night_scene(32, 48, seed=0), night_scene(32, 48, seed=1))


@pytest.mark.parametrize(("height", "width"), [(16, 16), (17, 31), (97, 53), (37, 131)])
def test_every_size_is_finite_and_not_negative(height, width):
    rendered = night_scene(height, width, seed=3)
    assert rendered.shape == (height, width, 3)
    assert rendered.dtype == np.float32
    assert np.isfinite(rendered).all()
    assert rendered.min() >= 0


def test_there_are_lamps_middle_gray_and_deep_shadows(picture):
    brightness = picture.mean(axis=2)
    assert 5 < picture.max() < 40
    assert ((brightness > 0.12) & (brightness < 0.27)).mean() > 0.1  # middle gray ± half a stop
    assert (brightness < 0.03).mean() > 0.1
    assert 0.03 < np.median(brightness) < 0.2


def test_the_light_is_neutral_enough_for_a_white_balanced_picture(picture):
    red, green, blue = picture.reshape(-1, 3).mean(axis=0)
    assert 0.8 < red / green < 2
    assert 0.4 < blue / green < 1.25


def test_a_smaller_rendering_shows_the_same_view(picture):
    small = night_scene(HEIGHT // 2, WIDTH // 2)  # its finest grain and its windows differ
    a, b = (np.log(view.reshape(10, len(view) // 10, 15, -1, 3).mean(axis=(1, 3))).ravel() for view in (small, picture))
    assert np.corrcoef(a, b)[0, 1] > 0.97


def test_the_color_checker_has_its_published_colors():
    rendered = night_scene(2 * HEIGHT, 2 * WIDTH)
    measured = _patches(rendered)
    expected = np.array([[linear_light(*patch) for patch in row] for row in COLOR_CHECKER_SRGB])
    light = measured[3] / expected[3]  # from the neutral row below, column by column
    ratio = measured[:3] / (expected[:3] * light)
    assert np.median(ratio) == pytest.approx(1, abs=0.35)  # the lamp is nearer to the upper rows
    for a, b in ((0, 1), (2, 1)):  # red and blue against green
        wanted = np.log2(expected[..., a] / expected[..., b]).ravel()
        found = np.log2(measured[..., a] / light[:, a] / (measured[..., b] / light[:, b])).ravel()
        assert np.corrcoef(wanted, found)[0, 1] > 0.97


def test_no_side_below_16_pixels():
    with pytest.raises(SettingsError, match="at least 16 × 16 pixels; got 15 × 40"):
        night_scene(15, 40)


def _patches(rendered: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the mean colors (4, 6, 3) in the middles of the patches."""
    view = View.covering(*rendered.shape[:2])
    corner, right, down = (np.array(p) for p in (CARD_CORNER, CARD_RIGHT, CARD_DOWN))
    v, u = np.meshgrid(0.05 + 0.84 * (np.arange(4) + 0.5) / 4, 0.035 + 0.93 * (np.arange(6) + 0.5) / 6, indexing="ij")
    points = corner + u[..., None] * right + v[..., None] * down
    pixels = view.project(points).astype(int)
    colors = [
        [
            rendered[row - 2 : row + 3, column - 2 : column + 3].mean(axis=(0, 1), dtype=np.float64)
            for column, row in line
        ]
        for line in pixels
    ]
    return np.array(colors)

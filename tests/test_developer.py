"""Compiled, the development makes the picture that numpy makes."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from alen.color import Development, develop
from alen.developer import Developer

MATRIX = np.array([[1.7, -0.6, -0.1], [-0.2, 1.5, -0.3], [0.05, -0.55, 1.5]])

Whole = type[np.uint8] | type[np.uint16]


def _scene(height: int, width: int) -> NDArray[np.float32]:
    """Return noise around black, colors, lamps and values of no camera, (H, W, 3)."""
    rng = np.random.default_rng(height + width)
    scale = rng.choice([0.003, 0.3, 1, 8, 3e7], (height, width, 1), p=[0.2, 0.4, 0.2, 0.19, 0.01])
    rgb: NDArray[np.float32] = (rng.normal(0.3, 0.5, (height, width, 3)) * scale).astype(np.float32)
    return rgb


def _developed(rgb: NDArray[np.float32], dtype: Whole, exposure_ev: float, clip_level: float) -> NDArray[np.int64]:
    out = np.empty(rgb.shape, dtype)
    Developer(Development.of(MATRIX, exposure_ev=exposure_ev, clip_level=clip_level), dtype).develop(rgb, out)
    return out.astype(np.int64)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("size", [(1, 1), (37, 53), (128, 128), (131, 257)])
@pytest.mark.parametrize(("exposure_ev", "clip_level"), [(0, 1.0), (0, 40.0), (-1.5, 3.0), (2.5, 300.0)])
def test_it_is_that_of_numpy_rounded(
    dtype: Whole, size: tuple[int, int], exposure_ev: float, clip_level: float
) -> None:
    """To one step; at 8 bits next to everywhere the same one."""
    rgb = _scene(*size)
    largest = int(np.iinfo(dtype).max)
    expected = np.rint(
        develop(rgb, MATRIX, exposure_ev=exposure_ev, clip_level=clip_level).astype(np.float64) * largest
    )
    different = np.abs(_developed(rgb, dtype, exposure_ev, clip_level) - expected)
    assert different.max() <= 1
    assert different.mean() < (0.001 if dtype is np.uint8 else 0.05)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_neutral_stays_neutral_and_rises(dtype: Whole) -> None:
    """To one step, exactly where the sensor is clipped: compilers contract products and sums."""
    gray = np.geomspace(1e-5, 400, 20_011, dtype=np.float32)[None, :, None] * np.ones(3, np.float32)
    picture = _developed(gray, dtype, 0.5, 50.0)
    green = picture[..., 1:2]
    np.testing.assert_allclose(picture, green * np.ones(3, int), atol=1)
    assert np.mean(picture != green) < 0.01
    assert np.all(np.diff(green[0, :, 0]) >= 0)
    assert picture[0, 0].max() < 10
    clipped = np.random.default_rng(0).uniform(50, 200, (40, 50, 3)).astype(np.float32)
    assert np.all(_developed(clipped, dtype, 0, 50.0) == np.iinfo(dtype).max)


def test_the_layout_in_memory_does_not_matter() -> None:
    rgb = _scene(61, 89)
    planar = np.ascontiguousarray(rgb.transpose(2, 0, 1)).transpose(1, 2, 0)
    wider = np.pad(rgb, ((2, 3), (4, 5), (0, 0)))[2:-3, 4:-5]
    expected = _developed(rgb, np.uint8, 0, 5.0)
    for other in (planar, wider):
        np.testing.assert_array_equal(_developed(other, np.uint8, 0, 5.0), expected)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_shading_is_that_of_numpy(dtype: Whole) -> None:
    rgb, rng = _scene(61, 283), np.random.default_rng(1)
    gains = rng.uniform(1, 3, (3, 61, 283)).astype(np.float32)
    development, largest = Development.of(MATRIX, exposure_ev=0.3, clip_level=5.0), int(np.iinfo(dtype).max)
    out = np.empty(rgb.shape, dtype)
    Developer(development, dtype, is_shaded=True).develop(rgb, out, gains)
    expected = develop(rgb, MATRIX, exposure_ev=0.3, clip_level=5.0, shading=lambda start, stop: gains[:, start:stop])
    assert np.abs(out - np.rint(expected.astype(np.float64) * largest)).max() <= 1
    unshaded = develop(rgb, MATRIX, exposure_ev=0.3, clip_level=5.0)
    assert np.abs(expected - unshaded).max() > 0.05


def test_rows_make_the_whole() -> None:
    """Developed into parts of a picture, which nothing else of it is changed by."""
    rgb = _scene(90, 331)
    developer = Developer(Development.of(MATRIX, exposure_ev=0, clip_level=5.0), np.uint8)
    picture = np.full((92, 331, 3), 7, np.uint8)
    for top in range(0, 90, 30):
        developer.develop(rgb[top : top + 30], picture[top + 1 : top + 31])
    np.testing.assert_array_equal(picture[1:-1], _developed(rgb, np.uint8, 0, 5.0))
    assert np.all(picture[[0, -1]] == 7)

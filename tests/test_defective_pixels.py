"""Hot and dead pixels: found at every site of every pattern, and nothing that a lens can make taken for one."""

import numpy as np
import pytest
from numpy.typing import NDArray

from alen.cfa import BAYER_PHASES, CFA, mosaic_from_rgb
from alen.defective_pixels import find_defective_pixels

_GAINS = (2.0, 1.0, 1.5)
_PATTERNS = [CFA.bayer(phase) for phase in BAYER_PHASES] + [CFA.xtrans(), CFA.xtrans().shifted(2, 5)]

every_pattern = pytest.mark.parametrize("cfa", _PATTERNS, ids=lambda cfa: cfa.name[:6])


def _noise(height: int, width: int, level: float, sigma: float, seed: int = 0) -> NDArray[np.uint16]:
    return np.random.default_rng(seed).normal(level, sigma, (height, width)).round().astype(np.uint16)


def _dots(height: int, width: int, step: int, seed: int = 1) -> NDArray[np.intp]:
    """Return places (N, 2) far from each other and from the edges, at all sites."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[10 : height - 16 : step, 10 : width - 16 : step]
    return np.stack([y.ravel(), x.ravel()], axis=1) + rng.integers(0, 6, (y.size, 2))


@every_pattern
@pytest.mark.parametrize("excess", [600, -600])
def test_every_hot_and_dead_pixel_is_found_and_nothing_else(cfa: CFA, excess: int) -> None:
    mosaic = _noise(301, 407, 1000, 5)
    dots = _dots(*mosaic.shape, 17)
    sites = {(int(y) % cfa.size, int(x) % cfa.size) for y, x in dots}
    assert len(sites) == cfa.size**2
    mosaic[dots[:, 0], dots[:, 1]] += np.uint16(excess % 65536)  # in uint16, whose sums wrap around
    before = mosaic.copy()
    found = find_defective_pixels(mosaic, cfa, _GAINS)
    np.testing.assert_array_equal(mosaic, before)
    wanted = np.sort(dots[:, 0] * mosaic.shape[1] + dots[:, 1])
    assert set(wanted) <= set(found.places.tolist())
    assert len(found) <= len(wanted) + 2  # of noise one in 100,000
    assert np.all(np.diff(found.places) > 0)
    repaired = found.replaced(mosaic)
    changed = np.flatnonzero(repaired != mosaic)
    assert set(changed) <= set(found.places.tolist())
    assert abs(repaired[dots[:, 0], dots[:, 1]].astype(float) - 1000).max() < 12


def test_what_takes_its_place_is_of_the_same_color() -> None:
    cfa = CFA.bayer("GRBG")
    colors = np.array([300, 600, 900])[cfa.color_map(60, 80)]
    mosaic = (colors + np.random.default_rng(0).integers(-2, 3, colors.shape)).astype(np.uint16)
    for y, x in ((20, 30), (21, 50), (40, 31), (41, 51)):
        mosaic[y, x] = 3000
    found = find_defective_pixels(mosaic, cfa, _GAINS)
    assert found.places.tolist() == [20 * 80 + 30, 21 * 80 + 50, 40 * 80 + 31, 41 * 80 + 51]
    np.testing.assert_allclose(found.values, colors.ravel()[found.places], atol=2)


@every_pattern
@pytest.mark.parametrize("sigma_px", [0.5, 0.7, 1.0])
@pytest.mark.parametrize("height", [100.0, 3000.0, 1e6])
def test_a_point_of_light_behind_a_lens_is_no_defect(cfa: CFA, sigma_px: float, height: float) -> None:
    """White points anywhere between the pixels, up to ones that are clipped; the sensor's gains undo the balance."""
    rng = np.random.default_rng(5)
    dots = _dots(301, 407, 17)
    samples = np.zeros((301 * 8, 407 * 8), dtype=np.float32)
    places = 8 * dots + rng.integers(0, 8, dots.shape)
    reach = np.arange(-40, 41)
    spread = np.exp(-0.5 * (reach / (8 * sigma_px)) ** 2)
    for y, x in places:
        samples[y - 40 : y + 41, x - 40 : x + 41] += height * np.outer(spread, spread)
    light = samples.reshape(301, 8, 407, 8).mean(axis=(1, 3))
    rgb = light[..., None] / np.array(_GAINS)
    mosaic = np.clip(mosaic_from_rgb(rgb, cfa) + _noise(301, 407, 500, 4), 0, 16383).round().astype(np.uint16)
    found = find_defective_pixels(mosaic, cfa, _GAINS)
    rows, columns = np.divmod(found.places, 407)
    near = np.abs(rows[:, None] - dots[:, 0]) + np.abs(columns[:, None] - dots[:, 1]) < 6
    assert near.sum() <= 0.01 * len(dots)


@every_pattern
def test_lines_edges_and_fine_patterns_stay(cfa: CFA) -> None:
    y, x = np.mgrid[:203, :301]
    for picture in (
        500 + 2000 * (x % 9 == 0),
        500 + 2000 * (y % 7 == 0),
        500 + 2000 * ((x + y) % 11 == 0),
        500 + 3000 * (x > 150) + 2000 * (y > 90),
        1500 + 900 * np.sin(2 * np.pi * (0.31 * x + 0.22 * y)),
    ):
        mosaic = np.rint(picture / np.array(_GAINS)[cfa.color_map(203, 301)]).astype(np.uint16)
        assert len(find_defective_pixels(mosaic, cfa, _GAINS)) == 0


@every_pattern
@pytest.mark.parametrize(("level", "sigma"), [(60, 0.47), (60, 0.1), (512, 3), (8000, 60)])
def test_noise_alone_is_hardly_touched(cfa: CFA, level: float, sigma: float) -> None:
    mosaic = _noise(600, 900, level, sigma)
    found = find_defective_pixels(mosaic, cfa, _GAINS)
    assert len(found) <= 2e-5 * mosaic.size


def test_defects_beside_each_other() -> None:
    """Of different colors: each is one of the other's four direct neighbors, of which the middle two decide."""
    mosaic = _noise(80, 90, 1000, 5)
    mosaic[40, 50:52] = 4000
    mosaic[20, 30] = mosaic[21, 30] = 4000
    found = find_defective_pixels(mosaic, CFA.bayer("RGGB"), _GAINS)
    assert {40 * 90 + 50, 40 * 90 + 51, 20 * 90 + 30, 21 * 90 + 30} <= set(found.places.tolist())


@every_pattern
@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 3), (4, 4), (5, 7), (11, 13), (19, 50), (97, 101)])
def test_any_size(cfa: CFA, height: int, width: int) -> None:
    mosaic = _noise(height, width, 1000, 5)
    mosaic[height // 2, width // 2] = 60_000
    found = find_defective_pixels(mosaic, cfa, _GAINS)
    assert np.all(found.places < mosaic.size)
    if min(height, width) > 18:
        assert height // 2 * width + width // 2 in found.places.tolist()


def test_without_defects_the_mosaic_is_not_copied() -> None:
    mosaic = np.full((64, 64), 500, dtype=np.uint16)
    found = find_defective_pixels(mosaic, CFA.bayer("RGGB"), _GAINS)
    assert len(found) == 0
    assert found.replaced(mosaic) is mosaic


@every_pattern
def test_extreme_values(cfa: CFA) -> None:
    """Black and white from pixel to pixel, where what pixels differ by is beyond uint16; and a dead pixel in white."""
    rng = np.random.default_rng(3)
    extreme = (rng.integers(0, 2, (150, 200)) * 65535).astype(np.uint16)
    found = find_defective_pixels(extreme, cfa, _GAINS)
    assert len(found) <= 0.01 * extreme.size
    saturated = np.full((150, 200), 65535, dtype=np.uint16)
    saturated[70, 90] = 0
    assert find_defective_pixels(saturated, cfa, _GAINS).places.tolist() == [70 * 200 + 90]

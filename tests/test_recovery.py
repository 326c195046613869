"""What stands out of the noise comes back, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

import alen.recovery
from alen.cfa import PLANE_COLORS, FilterArray, mosaic_from_rgb, pack_any, pack_picture, reference, unpack_any
from alen.engines import PlanesArray
from alen.noise_level import NoiseLevel
from alen.recovery import Recovery, recover

_NOISE = NoiseLevel(gain=0.0, read_variance=1e-4)
_SATURATION = {"bayer": np.full(4, 4, np.float32), "xtrans": np.full(9, 4, np.float32)}


def _exposed(
    cfa: FilterArray, size: tuple[int, int], rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Return a truth with a fine pattern in its middle, the same without it, and the noisy planes of the truth."""
    side = reference(cfa).packed_side
    height, width = (side * n for n in size)
    flat = np.full((height, width, 3), 0.4, np.float32)
    y, x = np.mgrid[:height, :width]
    inside = (abs(y - height / 2) < height / 4) & (abs(x - width / 2) < width / 4)
    truth = flat + np.float32(0.25) * (np.sin(1.9 * x + 0.7 * y) * inside)[..., None].astype(np.float32)
    planes = pack_picture(truth, _SATURATION[cfa].size)
    noisy: NDArray[np.float32] = planes + rng.normal(0, 0.04, planes.shape).astype(np.float32)
    return truth, flat, noisy


@pytest.mark.parametrize("cfa", ["bayer", "xtrans"])
def test_lost_detail_comes_back_and_noise_does_not(cfa: FilterArray) -> None:
    truth, flat, planes = _exposed(cfa, (100, 126), np.random.default_rng(0))
    recovered = recover(flat, planes, _SATURATION[cfa], _NOISE)
    height, width = truth.shape[:2]
    inside = np.s_[3 * height // 8 : 5 * height // 8, 3 * width // 8 : 5 * width // 8]
    assert np.mean((recovered - truth)[inside] ** 2) < 0.1 * np.mean((flat - truth)[inside] ** 2)
    outside = np.s_[: height // 6]
    assert np.mean(np.any(recovered[outside] != flat[outside], axis=-1)) < 0.01


@pytest.mark.parametrize("cfa", ["bayer", "xtrans"])
@pytest.mark.parametrize("size", [(34, 62), (150, 134)])
def test_as_written_out(cfa: FilterArray, size: tuple[int, int]) -> None:
    """The formula in float64 and scipy's filters, on whole arrays."""
    _, picture, planes = _exposed(cfa, size, np.random.default_rng(1))
    picture[:6, :6] = 1.0  # half faded out
    planes[:, -3:, -3:] = 4.0  # saturated
    sensor = reference(cfa)
    expected = pack_any(mosaic_from_rgb(picture, sensor), sensor).astype(np.float64)
    difference = (planes - expected) * np.clip((1.1 - expected.max(axis=0)) / 0.2, 0, 1)
    difference[planes >= 0.98 * 4] = 0
    excess = np.minimum((difference / 4) ** 2 / 1e-4, 25).mean(axis=0)
    large, near = (uniform_filter(excess, n, mode="nearest") for n in (7 if cfa == "bayer" else 5, 3))
    share = np.minimum(1 - 1.5 / np.maximum(large, 1.5), 1 - 1.3 / np.maximum(near, 1.3))
    share = uniform_filter(share, 3, mode="nearest")
    by_hand = picture + unpack_any(difference * share, sensor)[..., None]
    np.testing.assert_allclose(recover(picture, planes, _SATURATION[cfa], _NOISE), by_hand, atol=2e-5)


@pytest.mark.parametrize("cfa", ["bayer", "xtrans"])
def test_shares_of_colors_as_written_out(cfa: FilterArray) -> None:
    """Covariance over variance in squares of 5 × 5 packed pixels, as if all colors had the noise in common, besides."""
    sensor = reference(cfa)
    side, size = sensor.packed_side, (40, 56)
    rng = np.random.default_rng(5)
    base = rng.normal(0, 1, (*size, 3)) @ np.array([[1, 0.6, -0.8], [0.3, 1, 0.2], [0.1, -0.5, 1]])
    picture = (0.4 + 0.02 * base.repeat(side, axis=0).repeat(side, axis=1)).astype(np.float32)
    picture[:, : side * 20] = 0.4  # flat: all get the same
    planes = pack_picture(picture, _SATURATION[cfa].size)
    lost = rng.normal(0, 0.3, planes.shape).astype(np.float32)  # far above the noise: all of it is given back but 1.5 %
    noise = NoiseLevel(gain=1e-3, read_variance=1e-5)
    own = [
        picture[..., color].reshape(size[0], side, size[1], side).mean(axis=(1, 3), dtype=float) for color in range(3)
    ]

    def mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(uniform_filter(np.pad(values, 2, mode="edge"), 5)[2:-2, 2:-2])

    in_common = 16 * (1e-3 * mean(own[1]) / 4 + 1e-5)
    together = [[mean(a * b) - mean(a) * mean(b) + in_common for b in own] for a in own]
    given = recover(picture, planes + lost, _SATURATION[cfa], noise) - picture
    colors = ["RGB".index(color) for color in PLANE_COLORS[cfa]]
    alone = np.zeros_like(given)  # what a color lost itself, it gets
    for color in range(3):
        of_color = np.array([plane == color for plane in colors])[:, None, None]
        places = unpack_any(np.broadcast_to(of_color, planes.shape), sensor)
        alone[places, color] = given[places, color]
    for of in range(3):
        lost_by = alone[..., of]
        for color in range(3):
            share = np.clip(together[color][of] / together[of][of], -1.5, 1.5) if color != of else np.ones(size)
            expected = lost_by * share.repeat(side, axis=0).repeat(side, axis=1)
            places = lost_by != 0
            np.testing.assert_allclose(given[places, color], expected[places], atol=2e-3)


@pytest.mark.parametrize("cfa", ["bayer", "xtrans"])
@pytest.mark.parametrize("color", [(1, 1, 1), (1, 0, -1), (1, 0.5, -0.8), (-0.3, 1, 0.3), (0, 0.1, 1)], ids=str)
def test_detail_comes_back_in_its_color(cfa: FilterArray, color: tuple[float, float, float]) -> None:
    """Half of the contrast of colored stripes is lost: what a pixel tells of one color is told of all three."""
    side = reference(cfa).packed_side
    x = np.broadcast_to(np.arange(40.0 * 2 * side), (30 * 2 * side, 40 * 2 * side))
    stripes = (np.sin(0.5 * x) * 0.2)[..., None] * np.array(color)
    truth, picture = (np.asarray(0.45 + part * stripes, dtype=np.float32) for part in (1.0, 0.5))
    quiet = NoiseLevel(gain=0.0, read_variance=1e-5)
    recovered = recover(picture, pack_picture(truth, _SATURATION[cfa].size), _SATURATION[cfa], quiet)
    lost, left = (np.sqrt(np.mean((image - truth)[20:-20, 20:-20] ** 2, axis=(0, 1))) for image in (picture, recovered))
    assert np.all(left <= lost + 0.01)
    assert np.linalg.norm(left) < (0.4 if color == (1, 1, 1) else 0.9) * np.linalg.norm(lost)  # pixels of one color


@pytest.mark.parametrize("cfa", ["bayer", "xtrans"])
@pytest.mark.parametrize("rows", [1, 7, 32, 1000])
def test_pieces_make_the_whole(cfa: FilterArray, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of any height, odd ones of X-Trans, too; at least 16 rows are worked on at a time."""
    monkeypatch.setattr(alen.recovery, "_PIECE", 40 * 16)
    _, picture, planes = _exposed(cfa, (190, 40), np.random.default_rng(2))
    side = reference(cfa).packed_side
    recovery = Recovery(PlanesArray(planes), _SATURATION[cfa], _NOISE)
    pieces = [recovery.push(picture[top : top + side * rows]) for top in range(0, len(picture), side * rows)]
    assert (sum(len(piece) > 0 for piece in pieces) > 5) == (rows < 190)
    whole = recover(picture, planes, _SATURATION[cfa], _NOISE)
    np.testing.assert_allclose(np.concatenate(pieces), whole, atol=1e-6)


def test_a_hot_pixel_is_no_detail() -> None:
    flat = np.full((80, 80, 3), 0.2, np.float32)
    planes = pack_picture(flat, 4)
    planes[1, 20, 20] = 3.5
    np.testing.assert_array_equal(recover(flat, planes, _SATURATION["bayer"], _NOISE), flat)


def test_highlights_and_saturated_pixels_stay() -> None:
    rng = np.random.default_rng(3)
    bright = np.full((80, 80, 3), 1.2, np.float32)
    planes = pack_picture(bright, 4) + rng.normal(0, 0.5, (4, 40, 40)).astype(np.float32)
    np.testing.assert_array_equal(recover(bright, planes, _SATURATION["bayer"], _NOISE), bright)
    dark = np.full((80, 80, 3), 0.5, np.float32)
    clipped = np.full((4, 40, 40), 4.0, np.float32)
    np.testing.assert_array_equal(recover(dark, clipped, _SATURATION["bayer"], _NOISE), dark)


def test_without_a_noise_level_nothing_changes() -> None:
    picture = np.random.default_rng(4).random((20, 20, 3), np.float32)
    recovery = Recovery(PlanesArray(np.zeros((4, 10, 10), np.float32)), _SATURATION["bayer"], None)
    np.testing.assert_array_equal(recovery.push(picture), picture)

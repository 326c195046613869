"""Malvar's demosaicing against the paper's filters on the mosaic, and what linear interpolation must keep."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from alen.cfa import CFA, mosaic_from_rgb, pack, pack_xtrans, xtrans_reference
from alen.color import eotf_inverse_srgb
from alen.demosaic import (
    Direction,
    demosaic_linear,
    demosaic_malvar,
    demosaic_xtrans,
    directional_kernels,
    malvar_kernels,
    xtrans_kernels,
)
from alen.metrics import psnr

_RGGB = CFA.bayer("RGGB")

# Figure 2 of the paper, times 8
_GREEN = [[0, 0, -1, 0, 0], [0, 0, 2, 0, 0], [-1, 2, 4, 2, -1], [0, 0, 2, 0, 0], [0, 0, -1, 0, 0]]
_ROW = [[0, 0, 0.5, 0, 0], [0, -1, 0, -1, 0], [-1, 4, 5, 4, -1], [0, -1, 0, -1, 0], [0, 0, 0.5, 0, 0]]
_COLUMN = [list(column) for column in zip(*_ROW, strict=True)]
_DIAGONAL = [[0, 0, -1.5, 0, 0], [0, 2, 0, 2, 0], [-1.5, 0, 6, 0, -1.5], [0, 2, 0, 2, 0], [0, 0, -1.5, 0, 0]]


def _filter_for(color: int, y: int, x: int) -> list[list[float]] | None:
    """The filter that gives a color (0 R, 1 G, 2 B) at a pixel of an RGGB mosaic; None where it was measured."""
    here = "RGGB"[2 * (y % 2) + x % 2]
    if here == "RGB"[color]:
        return None
    if color == 1:
        return _GREEN
    if here != "G":
        return _DIAGONAL
    red_row = y % 2 == 0
    return _ROW if (color == 0) == red_row else _COLUMN


def test_equals_the_paper_filters_on_the_mosaic() -> None:
    mosaic = np.random.default_rng(0).normal(size=(14, 18)).astype(np.float32)
    picture = demosaic_malvar(pack(mosaic, _RGGB))
    for y in range(2, 12):
        for x in range(2, 16):
            for color in range(3):
                taps = _filter_for(color, y, x)
                window = mosaic[y - 2 : y + 3, x - 2 : x + 3].astype(np.float64)
                expected = mosaic[y, x] if taps is None else (window * np.array(taps)).sum() / 8
                np.testing.assert_allclose(picture[y, x, color], expected, atol=1e-5)


def test_kernels_sum_to_one() -> None:
    np.testing.assert_allclose(malvar_kernels().sum(axis=(1, 2, 3)), 1)


def test_a_constant_color_stays_at_the_border_too() -> None:
    color = np.array([0.3, 0.7, -0.2], np.float32)
    mosaic = mosaic_from_rgb(np.broadcast_to(color, (10, 14, 3)), _RGGB)
    np.testing.assert_allclose(demosaic_malvar(pack(mosaic, _RGGB)), np.broadcast_to(color, (10, 14, 3)), atol=1e-6)


def test_linear_ramps_of_every_color_are_exact() -> None:
    y, x = np.mgrid[0:16, 0:22]
    ramps = [0.1 + 0.02 * y - 0.01 * x, 0.5 - 0.03 * y + 0.02 * x, -0.2 + 0.01 * y + 0.04 * x]
    picture = np.stack(ramps, axis=2).astype(np.float32)
    result = demosaic_malvar(pack(mosaic_from_rgb(picture, _RGGB), _RGGB))
    np.testing.assert_allclose(result[2:-2, 2:-2], picture[2:-2, 2:-2], atol=1e-6)


def test_equals_the_convolution() -> None:
    planes = np.random.default_rng(0).normal(size=(4, 5, 7)).astype(np.float32)
    padded = F.pad(torch.from_numpy(planes)[None], (1, 1, 1, 1), mode="replicate")
    picture = F.pixel_shuffle(F.conv2d(padded, torch.tensor(malvar_kernels())), 2)[0].permute(1, 2, 0)
    np.testing.assert_allclose(demosaic_malvar(planes), picture.numpy(), atol=1e-5)


def test_measured_values_are_kept() -> None:
    mosaic = np.random.default_rng(0).normal(size=(6, 10)).astype(np.float32)
    picture = demosaic_malvar(pack(mosaic, _RGGB))
    np.testing.assert_array_equal(mosaic_from_rgb(picture, _RGGB), mosaic)


def _directional(planes: NDArray[np.float32], *, vertical: bool) -> NDArray[np.float32]:
    kernels = torch.from_numpy(directional_kernels(vertical=vertical))
    rows, columns = (n // 2 for n in kernels.shape[2:])
    padded = F.pad(torch.from_numpy(planes)[None], (columns, columns, rows, rows), mode="replicate")
    return F.pixel_shuffle(F.conv2d(padded, kernels), 2)[0].permute(1, 2, 0).numpy()


@pytest.mark.parametrize("vertical", [False, True])
def test_directional_green_follows_its_direction(vertical: bool) -> None:
    """Green against the formula written out, in a mosaic whose other direction is pure noise."""
    mosaic = np.random.default_rng(0).normal(size=(14, 18)).astype(np.float32)
    picture = _directional(pack(mosaic, _RGGB), vertical=vertical)
    step = np.array([1, 0]) if vertical else np.array([0, 1])
    for y in range(4, 10):
        for x in range(4, 14):
            far, near, next_, further = (mosaic[tuple(np.array([y, x]) + n * step)] for n in (-2, -1, 1, 2))
            interpolated = (near + next_) / 2 + (2 * mosaic[y, x] - far - further) / 4
            expected = mosaic[y, x] if (y + x) % 2 else interpolated
            np.testing.assert_allclose(picture[y, x, 1], expected, atol=1e-5)


@pytest.mark.parametrize("vertical", [False, True])
def test_directional_red_and_blue_are_interpolated_differences(vertical: bool) -> None:
    mosaic = np.random.default_rng(1).normal(size=(16, 20)).astype(np.float32)
    picture = _directional(pack(mosaic, _RGGB), vertical=vertical)
    green = picture[:, :, 1]
    for color, offset in ((0, 0), (2, 1)):
        for y in range(6, 10):
            for x in range(6, 14):
                sites = [
                    (j, i) for j in (y - 1, y, y + 1) for i in (x - 1, x, x + 1) if j % 2 == offset and i % 2 == offset
                ]
                if (y, x) in sites:
                    sites = [(y, x)]
                difference = np.mean([mosaic[site] - green[site] for site in sites])
                np.testing.assert_allclose(picture[y, x, color], green[y, x] + difference, atol=1e-5)


@pytest.mark.parametrize("vertical", [False, True])
def test_edges_along_the_direction_are_exact(vertical: bool) -> None:
    """Gray stripes along the direction come back without zippers; Malvar's filters cannot do that."""
    stripes = np.repeat(np.random.default_rng(2).random((16, 1, 1)), 20, axis=1).repeat(3, axis=2).astype(np.float32)
    picture = stripes.transpose(1, 0, 2) if vertical else stripes
    planes = pack(mosaic_from_rgb(picture, _RGGB), _RGGB)
    inner = slice(4, -4)
    np.testing.assert_allclose(_directional(planes, vertical=vertical)[inner, inner], picture[inner, inner], atol=1e-6)
    assert np.abs(demosaic_malvar(planes)[inner, inner] - picture[inner, inner]).max() > 0.05


# ------------------------------------------------------------------------------------------------------------- X-Trans

_XTRANS = xtrans_reference()

every_direction = pytest.mark.parametrize("direction", ["isotropic", "rows", "columns"])


@every_direction
def test_xtrans_kernels_keep_flat_colors(direction: Direction) -> None:
    """The weights of the pixels of a kernel's own color sum to 1, those of each other color to 0."""
    kernels = xtrans_kernels(direction)
    of_color = np.array([pack_xtrans(_XTRANS.color_map(6, 6), _XTRANS)[plane].ravel()[0] for plane in range(9)])
    for color in range(3):
        sums = kernels[36 * color : 36 * (color + 1)].reshape(36, 9, 4, 9).sum(axis=(2, 3))
        for other in range(3):
            np.testing.assert_allclose(sums[:, of_color == other].sum(axis=1), float(color == other), atol=1e-5)


@pytest.mark.parametrize(("direction", "other"), [("rows", "columns"), ("columns", "rows")])
def test_xtrans_kernels_look_along_edges(direction: Direction, other: Direction) -> None:
    """Stripes along the rows are best seen along the rows."""
    y, x = np.mgrid[:96, :96]
    stripes = 0.5 + 0.4 * np.sin((y if direction == "rows" else x) * 1.9)
    picture = np.repeat(stripes[..., None], 3, axis=2).astype(np.float32)
    inside = np.s_[12:-12, 12:-12]
    right, wrong = (_demosaic_xtrans(picture, way)[inside] for way in (direction, other))
    assert psnr(right, picture[inside], data_range=1.0) > psnr(wrong, picture[inside], data_range=1.0) + 6


def test_demosaic_xtrans_is_the_convolution() -> None:
    planes = np.random.default_rng(0).normal(size=(9, 12, 16)).astype(np.float32)
    patterns = F.pixel_unshuffle(torch.from_numpy(planes)[None], 2)
    kernels = torch.tensor(xtrans_kernels("isotropic"))
    channels = F.conv2d(F.pad(patterns, (1, 1, 1, 1), mode="replicate"), kernels)
    expected = F.pixel_shuffle(F.pixel_shuffle(channels, 2), 3)[0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(demosaic_xtrans(planes), expected, atol=1e-4)
    np.testing.assert_array_equal(demosaic_linear(planes), demosaic_xtrans(planes))
    np.testing.assert_array_equal(demosaic_linear(planes[:4]), demosaic_malvar(planes[:4]))


def test_demosaic_xtrans_is_no_worse_than_malvar_on_bayer() -> None:
    """On a smooth colored scene with detail: the filters are worth as much."""
    y, x = np.mgrid[:96, :96] / 96
    light = 0.5 + 0.3 * np.sin(40 * x * y + 9 * x) * np.cos(25 * y)
    color = np.stack([1 + 0.2 * np.sin(5 * x), np.ones_like(x), 1 + 0.2 * np.cos(4 * y)], axis=2)
    picture = (light[..., None] * color).astype(np.float32)
    inside = np.s_[12:-12, 12:-12]
    of_bayer = demosaic_malvar(pack(mosaic_from_rgb(picture, _RGGB), _RGGB))
    of_xtrans = demosaic_xtrans(pack_xtrans(mosaic_from_rgb(picture, _XTRANS), _XTRANS))
    scores = [
        psnr(eotf_inverse_srgb(result[inside]), eotf_inverse_srgb(picture[inside]), data_range=1.0)
        for result in (of_bayer, of_xtrans)
    ]
    assert scores[1] > scores[0] - 1


def _demosaic_xtrans(rgb: NDArray[np.float32], direction: Direction) -> NDArray[np.float32]:
    """Return a picture seen through the filter array and demosaicked along a direction."""
    planes = torch.from_numpy(pack_xtrans(mosaic_from_rgb(rgb, _XTRANS), _XTRANS))[None]
    patterns = F.pad(F.pixel_unshuffle(planes, 2), (1, 1, 1, 1), mode="replicate")
    channels = F.conv2d(patterns, torch.tensor(xtrans_kernels(direction)))
    return np.ascontiguousarray(F.pixel_shuffle(F.pixel_shuffle(channels, 2), 3)[0].permute(1, 2, 0).numpy())

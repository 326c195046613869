"""Malvar's demosaicing against the paper's filters on the mosaic, and what linear interpolation must keep."""

import numpy as np
import torch
import torch.nn.functional as F

from alen.cfa import CFA, mosaic_from_rgb, pack
from alen.demosaic import demosaic_malvar, malvar_kernels

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
    picture = F.pixel_shuffle(F.conv2d(padded, torch.from_numpy(malvar_kernels())), 2)[0].permute(1, 2, 0)
    np.testing.assert_allclose(demosaic_malvar(planes), picture.numpy(), atol=1e-5)


def test_measured_values_are_kept() -> None:
    mosaic = np.random.default_rng(0).normal(size=(6, 10)).astype(np.float32)
    picture = demosaic_malvar(pack(mosaic, _RGGB))
    np.testing.assert_array_equal(mosaic_from_rgb(picture, _RGGB), mosaic)

"""The shipped weights on a made-up night scene: a golden picture, and what must be true of any picture they make.

After new weights were shipped, `ALEN_WRITE_GOLDEN=1 pytest tests/test_golden.py` writes the golden picture: look at it.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from alen.cfa import CFA
from alen.color import eotf_inverse_srgb
from alen.demosaic import demosaic_linear
from alen.enhance import Enhanced, Enhancer, amplified_planes
from alen.metrics import psnr
from alen.raw import RawImage, read_raw
from alen.sample import camera_truth, expose, make_sample

GOLDEN = Path(__file__).parent / "golden"
HEIGHT, WIDTH, RATIO, ISO = 192, 288, 50.0, 800.0


@pytest.fixture(scope="module", params=["bayer", "xtrans"])
def raw(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> RawImage:
    path = tmp_path_factory.mktemp("sample") / "night.dng"
    raw = read_raw(make_sample(path, ratio=RATIO, iso=ISO, height=HEIGHT, width=WIDTH).raw)
    if request.param == "bayer":
        return raw
    cfa = CFA.xtrans()  # LibRaw does not read X-Trans files this small
    mosaic = expose(camera_truth(HEIGHT, WIDTH, 0), cfa, ratio=RATIO, iso=ISO)
    return dataclasses.replace(raw, mosaic=mosaic, cfa=cfa)


@pytest.fixture(scope="module")
def enhanced(raw: RawImage) -> Enhanced:
    return Enhancer(precision="float32").enhance(raw, ratio=RATIO)


def test_picture_is_the_golden_one(enhanced: Enhanced) -> None:
    picture = np.rint(255 * enhanced.picture()).astype(np.uint8)
    path = GOLDEN / ("night-x50.png" if enhanced.raw.cfa.is_bayer else "night-xtrans-x50.png")
    if os.environ.get("ALEN_WRITE_GOLDEN"):
        GOLDEN.mkdir(exist_ok=True)
        Image.fromarray(picture).save(path, optimize=True)
    golden = np.asarray(Image.open(path))
    assert picture.shape == golden.shape
    difference = np.abs(picture.astype(int) - golden)
    histogram = np.bincount(difference.ravel(), minlength=6)[:6]
    assert difference.max() <= 4, f"max {difference.max()}, mean {difference.mean():.3f}, histogram {histogram}"
    assert difference.mean() <= 0.2, f"max {difference.max()}, mean {difference.mean():.3f}, histogram {histogram}"


def test_picture_is_nearer_to_the_truth_than_the_amplified_frame(raw: RawImage, enhanced: Enhanced) -> None:
    truth = _encoded(camera_truth(HEIGHT, WIDTH, 0))
    amplified = amplified_planes(raw, RATIO)
    noisy = amplified.padding.crop(demosaic_linear(amplified.rows(0, amplified.shape[1])))
    gain = psnr(_encoded(enhanced.linear), truth, data_range=1.0) - psnr(_encoded(noisy), truth, data_range=1.0)
    assert gain > 1.5, f"{gain:.2f} dB"  # the scene is all fine detail at this size, and ×50 is not yet dark


def test_colors_of_large_areas_are_kept(enhanced: Enhanced) -> None:
    truth = camera_truth(HEIGHT, WIDTH, 0)
    squares = [
        np.clip(x, 0, 1).reshape(HEIGHT // 32, 32, WIDTH // 32, 32, 3).mean(axis=(1, 3))
        for x in (enhanced.linear, truth)
    ]
    error = _encoded(squares[0]) - _encoded(squares[1])
    assert np.abs(error.mean(axis=(0, 1))).max() < 0.02  # no cast
    assert np.sqrt(np.mean(error**2)) < 0.04


def test_bfloat16_is_invisible(raw: RawImage, enhanced: Enhanced) -> None:
    low = Enhancer(precision="auto").enhance(raw, ratio=RATIO)
    assert psnr(_encoded(low.linear), _encoded(enhanced.linear), data_range=1.0) >= 50


def _encoded(linear: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.clip(eotf_inverse_srgb(linear), 0, 1)

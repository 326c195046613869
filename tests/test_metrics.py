"""PSNR and SSIM: their properties, and parity with scikit-image."""

import math

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from alen.errors import SettingsError
from alen.metrics import psnr, ssim


def _pair(shape: tuple[int, ...], noise: float) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(7)
    truth = rng.random(shape)
    return truth + noise * rng.standard_normal(shape), truth


@pytest.mark.parametrize("shape", [(31, 53), (31, 53, 3), (11, 12, 3), (64, 17, 1)])
@pytest.mark.parametrize(("noise", "data_range"), [(0.02, 1.0), (0.5, 1.0), (0.1, 255.0)])
def test_ssim_equals_scikit_image(shape: tuple[int, ...], noise: float, data_range: float) -> None:
    prediction, truth = (data_range * x for x in _pair(shape, noise))
    expected = structural_similarity(
        prediction,
        truth,
        data_range=data_range,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        channel_axis=-1 if len(shape) == 3 else None,
    )
    assert ssim(prediction, truth, data_range=data_range) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("shape", [(7, 5), (13, 11, 3)])
def test_psnr_equals_scikit_image(shape: tuple[int, ...]) -> None:
    prediction, truth = _pair(shape, 0.1)
    assert psnr(prediction, truth, data_range=2.0) == pytest.approx(
        peak_signal_noise_ratio(truth, prediction, data_range=2.0), abs=1e-9
    )


def test_equal_pictures() -> None:
    _, truth = _pair((19, 23, 3), 0)
    assert psnr(truth, truth, data_range=1.0) == math.inf
    assert ssim(truth, truth, data_range=1.0) == 1.0


def test_symmetric_and_falling_with_noise() -> None:
    scores = []
    for noise in (0.01, 0.1, 1.0):
        prediction, truth = _pair((29, 37, 3), noise)
        score = ssim(prediction, truth, data_range=1.0)
        assert score == pytest.approx(ssim(truth, prediction, data_range=1.0), abs=1e-12)
        scores.append((psnr(prediction, truth, data_range=1.0), score))
    assert scores == sorted(scores, reverse=True)
    assert all(score < 1 for _, score in scores)


def test_float32_pictures_are_measured_in_float64() -> None:
    prediction, truth = (x.astype(np.float32) for x in _pair((40, 40), 1e-4))
    wide = psnr(prediction.astype(np.float64), truth.astype(np.float64), data_range=1.0)
    assert psnr(prediction, truth, data_range=1.0) == wide


@pytest.mark.parametrize("measure", [psnr, ssim])
def test_refusals(measure) -> None:  # type: ignore[no-untyped-def]
    picture = np.zeros((16, 16, 3))
    with pytest.raises(SettingsError, match="one shape"):
        measure(picture, picture[:, :, 0], data_range=1.0)
    with pytest.raises(SettingsError, match="one shape"):
        measure(picture[None], picture[None], data_range=1.0)
    with pytest.raises(SettingsError, match="data_range"):
        measure(picture, picture, data_range=0.0)
    with pytest.raises(TypeError, match="data_range"):
        measure(picture, picture)


def test_ssim_needs_room_for_its_window() -> None:
    picture = np.zeros((10, 30))
    with pytest.raises(SettingsError, match="at least 11"):
        ssim(picture, picture, data_range=1.0)

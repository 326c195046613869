"""PSNR, SSIM and MS-SSIM: their properties, parity with scikit-image and with a form written on torch."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from alen.errors import SettingsError
from alen.metrics import MS_SSIM_MIN_SIDE, ms_ssim, psnr, ssim


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


def test_pictures_with_an_infinite_value_are_infinitely_far() -> None:
    _, truth = _pair((19, 23, 3), 0)
    prediction = truth.copy()
    prediction[3, 5, 1] = np.inf
    assert psnr(prediction, truth, data_range=1.0) == -math.inf


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


@pytest.mark.parametrize("measure", [psnr, ssim, ms_ssim])
def test_refusals(measure) -> None:  # type: ignore[no-untyped-def]
    picture = np.zeros((16, 16, 3))
    with pytest.raises(SettingsError, match="one shape"):
        measure(picture, picture[:, :, 0], data_range=1.0)
    with pytest.raises(SettingsError, match="one shape"):
        measure(picture[None], picture[None], data_range=1.0)
    for other in (picture.tolist(), picture + 1j, picture.astype(str), torch.zeros(16, 16, 3), None):
        with pytest.raises(SettingsError, match="real numbers"):
            measure(picture, other, data_range=1.0)
    with pytest.raises(SettingsError, match="data_range"):
        measure(picture, picture, data_range=0.0)
    with pytest.raises(TypeError, match="data_range"):
        measure(picture, picture)


def test_ssim_needs_room_for_its_window() -> None:
    picture = np.zeros((10, 30))
    with pytest.raises(SettingsError, match="at least 11"):
        ssim(picture, picture, data_range=1.0)


def _ms_ssim_on_torch(prediction: np.ndarray, truth: np.ndarray, data_range: float) -> float:
    """Wang et al. 2003 with grouped convolutions and average pooling: shares no line with `alen.metrics`."""
    a, b = (torch.from_numpy(picture).permute(2, 0, 1)[None] for picture in (prediction, truth))
    channels = a.shape[1]
    line = torch.exp(-((torch.arange(11, dtype=torch.float64) - 5) ** 2) / (2 * 1.5**2))
    window = torch.outer(line, line)
    window = (window / window.sum()).expand(channels, 1, 11, 11)

    def blur(x: torch.Tensor) -> torch.Tensor:
        return F.conv2d(x, window, groups=channels)

    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    logarithm = torch.zeros(channels, dtype=torch.float64)
    for scale, weight in enumerate((0.0448, 0.2856, 0.3001, 0.2363, 0.1333)):
        mu_a, mu_b = blur(a), blur(b)
        cs = (2 * (blur(a * b) - mu_a * mu_b) + c2) / (blur(a**2) - mu_a**2 + blur(b**2) - mu_b**2 + c2)
        if scale == 4:
            cs = cs * (2 * mu_a * mu_b + c1) / (mu_a**2 + mu_b**2 + c1)
        logarithm += weight * torch.log(cs.mean(dim=(0, 2, 3)))
        a, b = F.avg_pool2d(a, 2), F.avg_pool2d(b, 2)
    return float(torch.exp(logarithm).mean())


@pytest.mark.parametrize("shape", [(176, 191, 3), (229, 177, 1)])
@pytest.mark.parametrize(("noise", "data_range"), [(0.02, 1.0), (0.3, 1.0), (0.1, 255.0)])
def test_ms_ssim_equals_another_form(shape: tuple[int, ...], noise: float, data_range: float) -> None:
    prediction, truth = (data_range * x for x in _pair(shape, noise))
    expected = _ms_ssim_on_torch(prediction, truth, data_range)
    assert ms_ssim(prediction, truth, data_range=data_range) == pytest.approx(expected, abs=1e-9)


def test_ms_ssim_is_symmetric_bounded_and_one_for_equals() -> None:
    prediction, truth = _pair((181, 200), 0.2)
    score = ms_ssim(prediction, truth, data_range=1.0)
    assert score == pytest.approx(ms_ssim(truth, prediction, data_range=1.0), abs=1e-12)
    assert 0 < score < 1
    assert ms_ssim(truth, truth, data_range=1.0) == 1.0
    assert ms_ssim(truth, 1 - truth, data_range=1.0) == 0.0  # negative structure has no real power


def test_ms_ssim_needs_room_for_five_scales() -> None:
    assert MS_SSIM_MIN_SIDE == 176
    picture = np.zeros((175, 300))
    with pytest.raises(SettingsError, match="at least 176"):
        ms_ssim(picture, picture, data_range=1.0)

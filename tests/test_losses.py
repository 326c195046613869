"""Losses: equal to independent forms, finite in their gradients, and what the recipes name."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from skimage.metrics import structural_similarity

from alen import metrics
from alen.errors import SettingsError
from alen.training import losses

Similarity = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def test_ssim_equals_scikit_image_inside_the_border() -> None:
    rng = np.random.default_rng(5)
    a = rng.random((23, 37, 3))
    b = np.clip(a + 0.1 * rng.standard_normal(a.shape), 0, 1)
    _, full = structural_similarity(
        a, b, data_range=1.0, channel_axis=2, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, full=True
    )
    tensors = [torch.from_numpy(x.transpose(2, 0, 1))[None] for x in (a, b)]
    assert losses.ssim(*tensors).item() == pytest.approx(full[5:-5, 5:-5].mean(), abs=1e-6)
    assert losses.ssim(*tensors, stride=2).item() == pytest.approx(full[5:-5:2, 5:-5:2].mean(), abs=1e-6)
    assert losses.ssim(tensors[0], tensors[0]).item() == pytest.approx(1)


def test_log_l2_is_the_mean_of_per_picture_logarithms() -> None:
    truth = torch.zeros(2, 3, 4, 4)
    prediction = torch.stack([torch.full((3, 4, 4), 0.1), torch.full((3, 4, 4), 0.3)])
    assert losses.log_l2(prediction, truth).item() == pytest.approx(math.log(math.sqrt(0.1 * 0.3)), abs=1e-3)


def test_roll_off_is_smooth_at_white_and_monotone() -> None:
    values = torch.linspace(-1, 12, 200, dtype=torch.float64, requires_grad=True)
    rolled = losses.roll_off(values)
    rolled.sum().backward()
    assert torch.equal(rolled[values <= 1], values[values <= 1])
    assert values.grad is not None
    assert (values.grad > 0).all()
    assert values.grad.max() == 1


def _pictures(height: int, width: int, *, noise: float = 0.1) -> tuple[torch.Tensor, torch.Tensor]:
    """Return two similar pictures (2, 3, H, W) float64 with detail at several scales."""
    rng = np.random.default_rng(7)
    y, x = np.mgrid[:height, :width] / 40
    waves = np.stack([np.sin(x + k) * np.cos(y * (1 + k)) for k in range(3)])
    a = np.clip(0.5 + 0.3 * waves + 0.1 * rng.standard_normal((2, 3, height, width)), 0, 1)
    b = np.clip(a + noise * rng.standard_normal(a.shape), 0, 1)
    return torch.from_numpy(a), torch.from_numpy(b)


def _ms_ssim_written_out(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """MS-SSIM of two planes (H, W), window by window: equation 7 of Wang, Simoncelli and Bovik, 2003."""
    offsets = np.arange(11) - 5
    window = np.exp(-(offsets[:, None] ** 2 + offsets[None] ** 2) / (2 * 1.5**2))
    window /= window.sum()
    result = 1.0
    for scale, weight in enumerate((0.0448, 0.2856, 0.3001, 0.2363, 0.1333)):
        if scale:
            a, b = (
                p[: p.shape[0] // 2 * 2, : p.shape[1] // 2 * 2]
                .reshape(p.shape[0] // 2, 2, p.shape[1] // 2, 2)
                .mean(axis=(1, 3))
                for p in (a, b)
            )
        views = [np.lib.stride_tricks.sliding_window_view(p, (11, 11)) for p in (a, b)]
        mean_a, mean_b = (np.einsum("yxij,ij->yx", view, window) for view in views)
        centered = [view - mean[..., None, None] for view, mean in zip(views, (mean_a, mean_b), strict=True)]
        var_a, var_b = (np.einsum("yxij,ij->yx", c**2, window) for c in centered)
        covariance = np.einsum("yxij,ij->yx", centered[0] * centered[1], window)
        term = (2 * covariance + 0.03**2) / (var_a + var_b + 0.03**2)
        if scale == 4:
            term = term * (2 * mean_a * mean_b + 0.01**2) / (mean_a**2 + mean_b**2 + 0.01**2)
        result *= term.mean() ** weight
    return float(result)


def test_ms_ssim_equals_the_formula_written_out() -> None:
    a, b = _pictures(179, 201)  # odd at several scales
    expected = np.mean([_ms_ssim_written_out(x.numpy(), y.numpy()) for x, y in zip(a[0], b[0], strict=True)])
    assert losses.ms_ssim(a[:1], b[:1]).item() == pytest.approx(expected, abs=1e-12)
    assert losses.ms_ssim(a, a).item() == pytest.approx(1)
    assert losses.ms_ssim(a, b).item() == pytest.approx(losses.ms_ssim(b, a).item())


def test_ms_ssim_has_finite_gradients_even_for_opposites() -> None:
    a, _ = _pictures(176, 176)
    for prediction in (1 - a, torch.full_like(a, 0.5), torch.zeros_like(a)):
        prediction.requires_grad_()
        losses.training_loss(prediction, a, "l1_ms_ssim", ssim_weight=0).backward()
        assert prediction.grad is not None
        assert prediction.grad.isfinite().all()


def test_ms_ssim_refuses_small_pictures() -> None:
    a, b = _pictures(175, 300)
    with pytest.raises(SettingsError, match="at least 176 pixels; got 175 × 300"):
        losses.ms_ssim(a, b)


def test_combined_losses() -> None:
    a, b = _pictures(176, 180)
    difference = (a - b).numpy()
    similarity = np.mean(
        [metrics.ssim(x.numpy().transpose(1, 2, 0), y.numpy().transpose(1, 2, 0), data_range=1) for x, y in zip(a, b)]  # noqa: B905 - of a length
    )
    expected = {
        "l1": np.abs(difference).mean(),
        "l2": np.square(difference).mean(),
        "l2_ssim": np.square(difference).mean() + 0.7 * (1 - similarity),
        "l1_ms_ssim": 0.85 * np.abs(difference).mean() + 0.15 * (1 - losses.ms_ssim(a, b).item()),
    }
    for kind, value in expected.items():
        assert losses.training_loss(a, b, kind, ssim_weight=0.7).item() == pytest.approx(value)  # type: ignore[arg-type]
    ours = losses.training_loss(a, b, "log_l2_ssim", ssim_weight=0.3)
    assert torch.equal(ours, losses.ssim_l2(a, b, ssim_weight=0.3))


def test_the_loss_of_a_batch_is_the_mean_of_its_pictures() -> None:
    a, b = _pictures(176, 176)
    for kind in ("l1", "l2", "l2_ssim", "l1_ms_ssim", "log_l2_ssim"):
        parts = [losses.training_loss(a[i : i + 1], b[i : i + 1], kind, ssim_weight=0.5).item() for i in (0, 1)]  # type: ignore[arg-type]
        assert losses.training_loss(a, b, kind, ssim_weight=0.5).item() == pytest.approx(np.mean(parts))  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("similarity", [losses.ssim, losses.ms_ssim])
def test_similarities_keep_their_digits_in_half_precision(similarity: Similarity, dtype: torch.dtype) -> None:
    """Variances are differences of means that are nearly equal: in bfloat16 MS-SSIM was off by 0.01."""
    a, b = (picture.to(dtype) for picture in _pictures(181, 190))
    expected = similarity(a.double(), b.double()).item()
    with torch.autocast("cpu", dtype=dtype):
        assert similarity(a, b).item() == pytest.approx(expected, abs=1e-5)
        assert similarity(a.float(), b).item() == pytest.approx(expected, abs=1e-5)
    assert similarity(a, b).item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("similarity", [losses.ssim, losses.ms_ssim])
def test_similarities_refuse_what_is_not_alike(similarity: Similarity) -> None:
    pictures = torch.zeros(2, 3, 176, 180)
    for other in (pictures[:1], pictures[:, :1], pictures[..., 1:]):
        with pytest.raises(SettingsError, match="one shape"):
            similarity(pictures, other)
    with pytest.raises(SettingsError, match=r"\(N, C, H, W\)"):
        similarity(pictures[0], pictures[0])
    with pytest.raises(SettingsError, match="at least 1"):
        similarity(pictures[..., :10], pictures[..., :10])

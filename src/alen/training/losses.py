"""Losses between display-encoded pictures.

The paper's loss is SSIM + L2, its released code's 0.85·L1 + 0.15·(1 − MS-SSIM). SSIM: Wang, Bovik, Sheikh and
Simoncelli, "Image quality assessment: from error visibility to structural similarity", 2004, with its Gaussian window
of 11 pixels and σ = 1.5. MS-SSIM: Wang, Simoncelli and Bovik, "Multiscale structural similarity for image quality
assessment", 2003, https://doi.org/10.1109/ACSSC.2003.1292216. Every loss is a mean over the pictures of a batch, so
that the gradient of a batch is the mean of the gradients of its equal parts. Similarities are computed in float32 at
least, inside autocast and of half precision, too: a variance is a difference of means that are nearly equal.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from alen.errors import SettingsError
from alen.models.layers import without_autocast
from alen.training.config import Loss

_WINDOW = 11
_SIGMA = 1.5

MS_SSIM_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Exponents of the scales, finest first."""

_FLOOR = 1e-4
"""Least similarity of a scale in `ms_ssim`."""


def roll_off(encoded: Tensor) -> Tensor:
    """Compress what lies above display white: v ≤ 1 stays, above it 1 + ln v.

    Lamps reach display-encoded 11; without this they would outweigh the rest of the picture.
    """
    return torch.where(encoded > 1, 1 + encoded.clamp_min(1).log(), encoded)


def log_l2(prediction: Tensor, truth: Tensor) -> Tensor:
    """Return the natural logarithm of the L2 norm of the error per picture over √n, averaged over the batch.

    The logarithm rather than the square: PSNR is that, a mean of logarithms, and squares would leave the training to
    the noisiest pictures of a batch.
    """
    squares = (prediction - truth).square().flatten(1).mean(dim=1)  # (N,)
    return 0.5 * (squares + 1e-5).log().mean()  # 50 dB is good enough: the constant bounds the gradient


def l1(prediction: Tensor, truth: Tensor) -> Tensor:
    """Return the mean absolute error of pictures (N, C, H, W)."""
    return (prediction - truth).abs().mean()


def l2(prediction: Tensor, truth: Tensor) -> Tensor:
    """Return the mean squared error of pictures (N, C, H, W)."""
    return (prediction - truth).square().mean()


def ssim(prediction: Tensor, truth: Tensor, *, data_range: float = 1.0, stride: int = 1) -> Tensor:
    """Return the mean structural similarity of pictures (N, C, H, W), in [−1, 1]; windows inside the picture only.

    With ``stride`` 2 every second window of every second row counts: nearly the same mean, at a third of the time.

    Raises:
        SettingsError: A side is below 11 pixels, or the pictures differ in shape.
    """
    prediction, truth = _comparable(prediction, truth, "SSIM", _WINDOW)
    luminance, covariances, variances = _similarities(prediction, truth, data_range=data_range, stride=stride)
    return (luminance * covariances / variances).mean()


def ms_ssim(prediction: Tensor, truth: Tensor, *, data_range: float = 1.0) -> Tensor:
    """Return the mean multi-scale structural similarity of pictures (N, C, H, W), in [0, 1].

    Five scales with the weights of the paper, `MS_SSIM_WEIGHTS`; between them means of 2 × 2 pixels, a last odd row or
    column left out. Windows inside the picture only. Computed by picture and channel, then averaged. What is not above
    zero is raised to `_FLOOR`: a power of it has no finite gradient.

    Raises:
        SettingsError: A side is below 176 pixels, and the coarsest scale smaller than a window, or the pictures differ
            in shape.
    """
    prediction, truth = _comparable(prediction, truth, "MS-SSIM", _WINDOW << (len(MS_SSIM_WEIGHTS) - 1))
    product: Tensor | float = 1.0
    for scale, weight in enumerate(MS_SSIM_WEIGHTS, start=1):
        luminance, covariances, variances = _similarities(prediction, truth, data_range=data_range)
        structure, last = covariances / variances, scale == len(MS_SSIM_WEIGHTS)
        similarity = (luminance * structure if last else structure).mean(dim=(2, 3))  # (N, C)
        product = product * similarity.clamp_min(_FLOOR) ** weight
        if not last:
            prediction, truth = F.avg_pool2d(prediction, 2), F.avg_pool2d(truth, 2)
    assert isinstance(product, Tensor)
    return product.mean()


def _comparable(prediction: Tensor, truth: Tensor, what: str, least: int) -> tuple[Tensor, Tensor]:
    """Return pictures in one type, float32 at least; SettingsError unless they are (N, C, H, W), large and alike."""
    if prediction.shape != truth.shape or prediction.ndim != 4:
        shapes = f"{tuple(prediction.shape)}, {tuple(truth.shape)}"
        raise SettingsError(f"{what} is of pictures (N, C, H, W) of one shape; got {shapes}.")
    if min(prediction.shape[2:]) < least:
        size = " × ".join(str(n) for n in prediction.shape[2:])
        raise SettingsError(f"{what} needs sides of at least {least} pixels; got {size}. Take larger patches.")
    dtype = torch.promote_types(torch.promote_types(prediction.dtype, truth.dtype), torch.float32)
    return prediction.to(dtype), truth.to(dtype)


def _similarities(
    prediction: Tensor, truth: Tensor, *, data_range: float, stride: int = 1
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the luminance term of every window, and dividend and divisor of its contrast-structure term.

    (N, C, H − 10, W − 10) each.
    """
    channels = prediction.shape[1]
    taps = torch.arange(_WINDOW, dtype=prediction.dtype, device=prediction.device) - _WINDOW // 2
    taps = torch.exp(-0.5 * (taps / _SIGMA).square())
    taps = taps / taps.sum()
    rows = taps.view(1, 1, 1, -1).expand(3 * channels, 1, 1, -1)

    def window_means(*maps: Tensor) -> list[Tensor]:
        joined = torch.cat(maps, dim=1)
        kernel = rows[: joined.shape[1]]
        with without_autocast(joined.device):
            joined = F.conv2d(joined, kernel, stride=(1, stride), groups=len(kernel))
            joined = F.conv2d(joined, kernel.transpose(2, 3), stride=(stride, 1), groups=len(kernel))
        return list(joined.chunk(len(maps), dim=1))

    mean_t, square_t = window_means(truth, truth * truth)  # apart: no gradient goes through them
    mean_p, square_p, product = window_means(prediction, prediction * prediction, prediction * truth)
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    luminance = (2 * mean_p * mean_t + c1) / (mean_p.square() + mean_t.square() + c1)
    covariance = product - mean_p * mean_t
    variances = square_p - mean_p.square() + square_t - mean_t.square()
    return luminance, 2 * covariance + c2, variances + c2


def training_loss(prediction: Tensor, truth: Tensor, kind: Loss, *, ssim_weight: float) -> Tensor:
    """Return the loss a recipe names, of display-encoded pictures (N, 3, H, W).

    | kind          |                                                                                            |
    |---------------|--------------------------------------------------------------------------------------------|
    | "log_l2_ssim" | log L2 + ``ssim_weight`` · (1 − SSIM), both after `roll_off`: ours, for lamps above white   |
    | "l2_ssim"     | mean squared error + ``ssim_weight`` · (1 − SSIM): the paper's                             |
    | "l1_ms_ssim"  | 0.85 · mean absolute error + 0.15 · (1 − MS-SSIM): the released code's                     |
    | "l1"          | mean absolute error: See-in-the-Dark's                                                     |
    | "l2"          | mean squared error                                                                         |
    """
    match kind:
        case "log_l2_ssim":
            return ssim_l2(prediction, truth, ssim_weight=ssim_weight)
        case "l2_ssim":
            return l2(prediction, truth) + ssim_weight * (1 - ssim(prediction, truth))
        case "l1_ms_ssim":
            return 0.85 * l1(prediction, truth) + 0.15 * (1 - ms_ssim(prediction, truth))
        case "l1":
            return l1(prediction, truth)
        case "l2":
            return l2(prediction, truth)


def ssim_l2(prediction: Tensor, truth: Tensor, *, ssim_weight: float) -> Tensor:
    """Return the training loss: log L2 + ``ssim_weight`` · (1 − SSIM), of display-encoded pictures (N, 3, H, W)."""
    prediction, truth = roll_off(prediction), roll_off(truth)
    return log_l2(prediction, truth) + ssim_weight * (1 - ssim(prediction, truth, stride=2))

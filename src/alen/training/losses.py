"""Losses between display-encoded pictures.

The paper's loss is SSIM + L2. SSIM: Wang, Bovik, Sheikh and Simoncelli, "Image quality assessment: from error
visibility to structural similarity", 2004, with its Gaussian window of 11 pixels and σ = 1.5.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_WINDOW = 11
_SIGMA = 1.5


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


def ssim(prediction: Tensor, truth: Tensor, *, data_range: float = 1.0, stride: int = 1) -> Tensor:
    """Return the mean structural similarity of pictures (N, C, H, W), in [−1, 1]; windows inside the picture only.

    With ``stride`` 2 every second window of every second row counts: nearly the same mean, at a third of the time.
    """
    channels = prediction.shape[1]
    taps = torch.arange(_WINDOW, dtype=prediction.dtype, device=prediction.device) - _WINDOW // 2
    taps = torch.exp(-0.5 * (taps / _SIGMA).square())
    taps = taps / taps.sum()
    maps = torch.cat([prediction, truth, prediction * prediction, truth * truth, prediction * truth], dim=1)
    vertical = taps.view(1, 1, -1, 1).expand(5 * channels, 1, -1, 1)
    maps = F.conv2d(maps, vertical, stride=(stride, 1), groups=5 * channels)
    maps = F.conv2d(maps, vertical.transpose(2, 3), stride=(1, stride), groups=5 * channels)
    mean_p, mean_t, square_p, square_t, product = maps.chunk(5, dim=1)
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    luminance = (2 * mean_p * mean_t + c1) / (mean_p.square() + mean_t.square() + c1)
    covariance = product - mean_p * mean_t
    variances = square_p - mean_p.square() + square_t - mean_t.square()
    return (luminance * (2 * covariance + c2) / (variances + c2)).mean()


def ssim_l2(prediction: Tensor, truth: Tensor, *, ssim_weight: float) -> Tensor:
    """Return the training loss: log L2 + ``ssim_weight`` · (1 − SSIM), of display-encoded pictures (N, 3, H, W)."""
    prediction, truth = roll_off(prediction), roll_off(truth)
    return log_l2(prediction, truth) + ssim_weight * (1 - ssim(prediction, truth, stride=2))

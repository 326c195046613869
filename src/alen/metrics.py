"""How near two pictures are: PSNR and SSIM as pure numpy functions.

SSIM: "Image quality assessment: from error visibility to structural similarity", Z. Wang et al., IEEE TIP 13(4), 2004,
https://doi.org/10.1109/TIP.2003.819861, with its 11 × 11 Gaussian window, K₁ = 0.01 and K₂ = 0.03. It equals
``skimage.metrics.structural_similarity(gaussian_weights=True, sigma=1.5, use_sample_covariance=False)``; SSIMs with
other windows or with the sample covariance differ from it by 1e-3.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from alen.errors import SettingsError

_SIGMA_PX: Final = 1.5
"""Standard deviation of SSIM's window in pixels."""

_RADIUS_PX: Final = 5
"""The window reaches 3.5 standard deviations to each side: 11 × 11 pixels."""

_K1, _K2 = 0.01, 0.03
"""Stabilizers of SSIM's two quotients, relative to the data range."""


def psnr(prediction: NDArray[Any], truth: NDArray[Any], *, data_range: float) -> float:
    """Return the peak signal-to-noise ratio, 10·log₁₀(data_range² / mean squared error).

    Args:
        prediction: (H, W) or (H, W, C), any real dtype; calculated in float64, not clipped.
        truth: Same shape.
        data_range: What a full-scale error would be: 1 for pictures in [0, 1].

    Returns:
        Decibels; infinity for equal pictures.

    Raises:
        SettingsError: The shapes differ or are not of a picture, or the data range is not above 0.

    Example:
        >>> round(psnr(np.full((4, 4), 0.1), np.zeros((4, 4)), data_range=1.0), 6)
        20.0
    """
    a, b = _checked(prediction, truth, data_range)
    error = float(np.mean(np.square(a - b)))
    return math.inf if error == 0 else 10 * math.log10(data_range**2 / error)


def ssim(prediction: NDArray[Any], truth: NDArray[Any], *, data_range: float) -> float:
    """Return the structural similarity, averaged over the pixels whose window lies inside, then over the channels.

    Args:
        prediction: (H, W) or (H, W, C), any real dtype; calculated in float64, not clipped. H and W at least 11.
        truth: Same shape.
        data_range: Range of the values: 1 for pictures in [0, 1].

    Returns:
        At most 1, which only equal pictures reach; symmetric in the two.

    Raises:
        SettingsError: The shapes differ or are not of a picture, or the data range is not above 0.

    Example:
        >>> ramp = np.linspace(0, 1, 256).reshape(16, 16)
        >>> ssim(ramp, ramp, data_range=1.0)
        1.0
    """
    a, b = _checked(prediction, truth, data_range)
    if min(a.shape[:2]) < 2 * _RADIUS_PX + 1:
        raise SettingsError(
            f"SSIM needs sides of at least {2 * _RADIUS_PX + 1} pixels; got {a.shape[0]} × {a.shape[1]}."
        )
    mean_a, mean_b = _window_mean(a), _window_mean(b)
    covariance = _window_mean(a * b) - mean_a * mean_b
    variances = _window_mean(a * a + b * b) - mean_a**2 - mean_b**2  # of both pictures, added
    c1, c2 = (_K1 * data_range) ** 2, (_K2 * data_range) ** 2
    luminance = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    structure = (2 * covariance + c2) / (variances + c2)
    return float(np.mean(luminance * structure))


def _checked(
    prediction: NDArray[Any], truth: NDArray[Any], data_range: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return both pictures in float64, or raise SettingsError."""
    if prediction.shape != truth.shape or prediction.ndim not in (2, 3) or prediction.size == 0:
        raise SettingsError(f"Two pictures (H, W) or (H, W, C) of one shape; got {prediction.shape}, {truth.shape}.")
    if not (math.isfinite(data_range) and data_range > 0):
        raise SettingsError(f"data_range is above 0; got {data_range}.")
    return prediction.astype(np.float64), truth.astype(np.float64)


def _window_mean(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the Gaussian means of all windows that lie inside, (H, W, …) → (H − 10, W − 10, …)."""
    offsets = np.arange(-_RADIUS_PX, _RADIUS_PX + 1)
    weights = np.exp(-0.5 * (offsets / _SIGMA_PX) ** 2)
    weights /= weights.sum()
    height, width = x.shape[0] - 2 * _RADIUS_PX, x.shape[1] - 2 * _RADIUS_PX
    rows = sum((w * x[i : i + height] for i, w in enumerate(weights)), start=np.zeros((height, *x.shape[1:])))
    return sum(
        (w * rows[:, i : i + width] for i, w in enumerate(weights)), start=np.zeros((height, width, *x.shape[2:]))
    )

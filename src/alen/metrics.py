"""How near two pictures are: PSNR, SSIM and MS-SSIM as pure numpy functions.

SSIM: "Image quality assessment: from error visibility to structural similarity", Z. Wang et al., IEEE TIP 13(4), 2004,
https://doi.org/10.1109/TIP.2003.819861, with its 11 × 11 Gaussian window, K₁ = 0.01 and K₂ = 0.03. It equals
``skimage.metrics.structural_similarity(gaussian_weights=True, sigma=1.5, use_sample_covariance=False)``; SSIMs with
other windows or with the sample covariance differ from it by 1e-3.

MS-SSIM: "Multiscale structural similarity for image quality assessment", Z. Wang, E. P. Simoncelli, A. C. Bovik,
Asilomar 2003, https://doi.org/10.1109/ACSSC.2003.1292216, with its five scales and exponents.

Pictures are measured in stripes of rows, so that a frame of 12 megapixels costs little more memory than it has itself.
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

_EXPONENTS: Final = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Exponents of MS-SSIM's scales, finest first (Wang et al. 2003, section 3.2)."""

MS_SSIM_MIN_SIDE: Final = (2 * _RADIUS_PX + 1) << (len(_EXPONENTS) - 1)
"""Smallest side in pixels whose coarsest scale still holds a window: 176."""

_STRIPE_VALUES: Final = 1 << 16
"""Pixels measured at a time: their temporaries stay in the processor's cache."""


def psnr(prediction: NDArray[Any], truth: NDArray[Any], *, data_range: float) -> float:
    """Return the peak signal-to-noise ratio, 10·log₁₀(data_range² / mean squared error).

    Args:
        prediction: (H, W) or (H, W, C), any real dtype; calculated in float64, not clipped.
        truth: Same shape.
        data_range: What a full-scale error would be: 1 for pictures in [0, 1].

    Returns:
        Decibels; infinity for equal pictures, its negative where a difference is infinite.

    Raises:
        SettingsError: The shapes differ, these are no pictures, or the data range is not above 0.

    Example:
        >>> round(psnr(np.full((4, 4), 0.1), np.zeros((4, 4)), data_range=1.0), 6)
        20.0
    """
    _check(prediction, truth, data_range)
    rows = max(1, _STRIPE_VALUES // prediction.shape[1])
    total = 0.0
    for top in range(0, prediction.shape[0], rows):
        a, b = (picture[top : top + rows].astype(np.float64) for picture in (prediction, truth))
        total += float(np.sum(np.square(a - b)))
    error = total / prediction.size
    if error == 0 or math.isinf(error):
        return math.inf if error == 0 else -math.inf
    return 10 * math.log10(data_range**2 / error)


def ssim(prediction: NDArray[Any], truth: NDArray[Any], *, data_range: float) -> float:
    """Return the structural similarity, averaged over the pixels whose window lies inside, then over the channels.

    Args:
        prediction: (H, W) or (H, W, C), any real dtype; calculated in float64, not clipped. H and W at least 11.
        truth: Same shape.
        data_range: Range of the values: 1 for pictures in [0, 1].

    Returns:
        At most 1, which only equal pictures reach; symmetric in the two.

    Raises:
        SettingsError: The shapes differ, these are no pictures, or the data range is not above 0.

    Example:
        >>> ramp = np.linspace(0, 1, 256).reshape(16, 16)
        >>> ssim(ramp, ramp, data_range=1.0)
        1.0
    """
    _check(prediction, truth, data_range)
    if min(prediction.shape[:2]) < 2 * _RADIUS_PX + 1:
        height, width = prediction.shape[:2]
        raise SettingsError(f"SSIM needs sides of at least {2 * _RADIUS_PX + 1} pixels; got {height} × {width}.")
    return float(np.mean(_similarities(_with_channels(prediction), _with_channels(truth), data_range)[0]))


def ms_ssim(prediction: NDArray[Any], truth: NDArray[Any], *, data_range: float) -> float:
    """Return the multi-scale structural similarity: five scales, each the 2 × 2 means of the finer one.

    Per channel Π cᵢ^wᵢ · l₅^w₅, where cᵢ is the mean of contrast · structure at scale i, at the coarsest scale that of
    luminance · contrast · structure, over the pixels whose window lies inside; then the mean over the channels. An odd
    last row or column is dropped before halving. A negative mean, which has no real power, counts as 0.

    Args:
        prediction: (H, W) or (H, W, C), any real dtype; calculated in float64, not clipped. H and W at least
            `MS_SSIM_MIN_SIDE`.
        truth: Same shape.
        data_range: Range of the values: 1 for pictures in [0, 1].

    Returns:
        A value in [0, 1]; 1 for equal pictures; symmetric in the two.

    Raises:
        SettingsError: The shapes differ, these are no pictures or too small, or the data range is not above 0.

    Example:
        >>> ramp = np.linspace(0, 1, 176 * 180).reshape(176, 180)
        >>> ms_ssim(ramp, ramp, data_range=1.0)
        1.0
    """
    _check(prediction, truth, data_range)
    if min(prediction.shape[:2]) < MS_SSIM_MIN_SIDE:
        height, width = prediction.shape[:2]
        raise SettingsError(f"MS-SSIM needs sides of at least {MS_SSIM_MIN_SIDE} pixels; got {height} × {width}.")
    a, b = _with_channels(prediction), _with_channels(truth)
    product = np.ones(a.shape[2])
    for scale, exponent in enumerate(_EXPONENTS):
        if scale > 0:
            a, b = _halved(a), _halved(b)
        whole, structure = _similarities(a, b, data_range)  # (C,) each
        term = whole if scale == len(_EXPONENTS) - 1 else structure
        product *= np.maximum(term, 0) ** exponent
    return float(product.mean())


def _check(prediction: NDArray[Any], truth: NDArray[Any], data_range: float) -> None:
    """Raise SettingsError unless these are two pictures of one shape and a data range."""
    for picture in (prediction, truth):
        if not isinstance(picture, np.ndarray) or picture.dtype.kind not in "biuf":
            given = picture.dtype if isinstance(picture, np.ndarray) else type(picture).__name__
            raise SettingsError(f"A picture is an array (H, W) or (H, W, C) of real numbers; got {given}.")
    if prediction.shape != truth.shape or prediction.ndim not in (2, 3) or prediction.size == 0:
        raise SettingsError(f"Two pictures (H, W) or (H, W, C) of one shape; got {prediction.shape}, {truth.shape}.")
    if not (math.isfinite(data_range) and data_range > 0):
        raise SettingsError(f"data_range is above 0; got {data_range}.")


def _with_channels(picture: NDArray[Any]) -> NDArray[Any]:
    """Return a view (H, W, C) of a picture (H, W) or (H, W, C)."""
    return picture[:, :, None] if picture.ndim == 2 else picture


def _similarities(
    a: NDArray[Any], b: NDArray[Any], data_range: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the means of luminance · structure and of structure alone, by channel: (C,) each, of (H, W, C)."""
    height, width = (side - 2 * _RADIUS_PX for side in a.shape[:2])
    c1, c2 = (_K1 * data_range) ** 2, (_K2 * data_range) ** 2
    whole, structure = np.zeros(a.shape[2]), np.zeros(a.shape[2])
    rows = max(1, _STRIPE_VALUES // width)
    for channel in range(a.shape[2]):
        for top in range(0, height, rows):
            below = min(top + rows, height) + 2 * _RADIUS_PX
            x, y = (picture[top:below, :, channel].astype(np.float64) for picture in (a, b))
            mean_x, mean_y = _window_mean(x), _window_mean(y)
            product, squares = mean_x * mean_y, mean_x**2 + mean_y**2
            covariance = _window_mean(x * y) - product
            variances = _window_mean(x * x + y * y) - squares  # of both pictures, added
            similar = (2 * covariance + c2) / (variances + c2)
            structure[channel] += similar.sum()
            similar *= (2 * product + c1) / (squares + c1)
            whole[channel] += similar.sum()
    return whole / (height * width), structure / (height * width)


def _halved(picture: NDArray[Any]) -> NDArray[np.float64]:
    """Return the means of all whole squares of 2 × 2 pixels, (H, W, C) → (H/2, W/2, C)."""
    height, width = (side // 2 * 2 for side in picture.shape[:2])
    half = np.zeros((height // 2, width // 2, picture.shape[2]))
    for y, x in ((0, 0), (0, 1), (1, 0), (1, 1)):
        half += picture[y:height:2, x:width:2]
    half *= 0.25
    return half


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

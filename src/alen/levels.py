"""Levels: black and white level, white balance gains and exposure ratio of a mosaic. Pure numpy."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from alen.cfa import CFA
from alen.errors import SettingsError


def normalize(
    mosaic: NDArray[np.uint16], cfa: CFA, black_level: tuple[float, float, float, float], white_level: float
) -> NDArray[np.float32]:
    """Map digital numbers to [0, 1]: (DN − black)/(white − black), per CFA color.

    Not clipped: shadows keep their sign, so that the mean of dark noise stays where it is; values above the white level
    stay above 1.

    Args:
        mosaic: (H, W) uint16, in DN.
        cfa: Its pattern, Bayer or X-Trans.
        black_level: DN of R, Gr, Gb and B without light.
        white_level: DN at which the sensor saturates.

    Returns:
        (H, W) float32.

    Raises:
        SettingsError: A black level is not below the white level.

    Example:
        >>> normalize(np.array([[512, 600], [400, 16383]], np.uint16), CFA.bayer("RGGB"), (512,) * 4, 16383)[1, 1]
        np.float32(1.0)
    """
    black = np.asarray(black_level, dtype=np.float64)
    span = white_level - black
    if black.shape != (4,) or not np.all(np.isfinite(span)) or np.any(span <= 0):
        raise SettingsError(f"Four black levels below the white level are needed; got {black_level}, {white_level}.")
    height, width = mosaic.shape
    planes = cfa.plane_map(cfa.size, width)  # (n, W)
    normalized = np.empty((height, width), dtype=np.float32)
    for y in range(cfa.size):
        rows = normalized[y :: cfa.size]  # a view
        np.subtract(mosaic[y :: cfa.size], black[planes[y]].astype(np.float32), out=rows)
        rows *= (1 / span)[planes[y]].astype(np.float32)
    return normalized


def amplify(
    normalized: NDArray[np.float32], cfa: CFA, white_balance: tuple[float, float, float], ratio: float
) -> NDArray[np.float32]:
    """Multiply a normalized mosaic by the white balance gain of each pixel's color and by the exposure ratio.

    Args:
        normalized: (H, W) float32, see `normalize`.
        cfa: Its pattern, Bayer or X-Trans.
        white_balance: Gains of R, G and B; green = 1.
        ratio: Exposure ratio, above 0.

    Returns:
        (H, W) float32; not clipped: a saturated green pixel has the value ``ratio``.

    Raises:
        SettingsError: A gain or the ratio is not a positive number.
    """
    gains = np.asarray(white_balance, dtype=np.float64) * ratio
    if gains.shape != (3,) or not np.all(np.isfinite(gains)) or np.any(gains <= 0):
        raise SettingsError(f"Three positive gains and a positive ratio are needed; got {white_balance}, {ratio}.")
    height, width = normalized.shape
    colors = cfa.color_map(cfa.size, width)  # (n, W)
    amplified = np.empty((height, width), dtype=np.float32)
    for y in range(cfa.size):
        np.multiply(
            normalized[y :: cfa.size],
            gains[colors[y]].astype(np.float32),
            out=amplified[y :: cfa.size],
            dtype=np.float32,
        )
    return amplified


def exposure_ratio(reference_s: float, short_s: float, cap: float = 300.0) -> float:
    """Return reference time / short time, at most ``cap`` (300, as See-in-the-Dark does).

    Args:
        reference_s: Exposure time of the bright reference in seconds.
        short_s: Exposure time of the dark frame in seconds.
        cap: Largest ratio that is returned.

    Raises:
        SettingsError: A time or the cap is not a positive number.

    Example:
        >>> exposure_ratio(10.0, 0.1), exposure_ratio(30.0, 0.04)
        (100.0, 300.0)
    """
    if not all(math.isfinite(value) and value > 0 for value in (reference_s, short_s, cap)):
        raise SettingsError(f"Exposure times and the cap are positive numbers; got {reference_s}, {short_s}, {cap}.")
    return min(reference_s / short_s, cap)

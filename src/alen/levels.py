"""Levels: black and white level, white balance gains and exposure ratio of a mosaic. Pure numpy."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from alen.cfa import CFA
from alen.errors import SettingsError

MAX_RATIO: Final = 300.0
"""Largest exposure ratio, as in See-in-the-Dark: beyond it the frames of most cameras hold noise alone."""

_MEAN_TARGET: Final = 0.16
"""Linear value that the log-average of a picture is brought to, if its highlights agree."""

_HIGHLIGHT_TARGET: Final = 1.1
"""Linear value that the brightest 2 % of a picture begin at, if its log-average agrees."""

_HIGHLIGHT_SHARE: Final = 0.25
"""Say of the highlights against the log-average."""

_HIGHLIGHT_PERCENTILE: Final = 98.0

_BLOCK_PX: Final = 16
"""Side of the blocks averaged before any statistics: their noise is a sixteenth of a pixel's."""

_BLOCKS: Final = 1000
"""Blocks that make percentiles meaningful; very small frames get smaller blocks."""

_FLOOR: Final = 0.02
"""Share of the mean below which a block counts as this share: black areas do not decide on the brightness."""


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


def exposure_ratio(reference_s: float, short_s: float, cap: float = MAX_RATIO) -> float:
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


def estimate_ratio(normalized: NDArray[np.float32], cfa: CFA, white_balance: tuple[float, float, float]) -> float:
    """Estimate by how much a dark frame has to be amplified to become a picture of natural brightness.

    From the frame alone. Blocks of the mosaic are averaged first, so that noise biases no percentile. The log-average
    of the blocks (Reinhard et al. 2002, eq. 1) would be brought to a middle gray, their brightest 2 % to white; the
    answer is a weighted geometric mean of the two, so that lamps in the night do not keep the scene dark and a
    bright wall does not glare. Halving the exposure doubles it.

    Args:
        normalized: (H, W) float32, signed, see `normalize`.
        cfa: Its pattern, Bayer or X-Trans.
        white_balance: Gains of R, G and B; green = 1.

    Returns:
        The ratio, in [1, 300]: it never darkens. 300 for a frame without light.

    Raises:
        SettingsError: The mosaic is smaller than its pattern.
    """
    brightness = _block_brightness(normalized, cfa, white_balance)
    highlights = float(np.percentile(brightness, _HIGHLIGHT_PERCENTILE))
    brightness = np.minimum(brightness, highlights)  # a lamp counts the same, clipped or not
    mean = float(brightness.mean())
    if not mean > 0:
        return MAX_RATIO
    log_mean = math.exp(float(np.log(np.maximum(brightness, _FLOOR * mean)).mean()))
    by_mean, by_highlights = _MEAN_TARGET / log_mean, _HIGHLIGHT_TARGET / highlights
    ratio = by_mean ** (1 - _HIGHLIGHT_SHARE) * by_highlights**_HIGHLIGHT_SHARE
    return min(max(float(ratio), 1.0), MAX_RATIO)


def _block_brightness(
    normalized: NDArray[np.float32], cfa: CFA, white_balance: tuple[float, float, float]
) -> NDArray[np.float64]:
    """Return (R + 2 G + B)/4 after white balance, averaged over square blocks: (rows, columns) of whole blocks."""
    n = cfa.size
    height, width = normalized.shape
    if height < n or width < n:
        raise SettingsError(f"A mosaic holds its pattern of {n} × {n} at least once; got {height} × {width}.")
    side = max(n, min(_BLOCK_PX, height, width, math.isqrt(height * width // _BLOCKS)) // n * n)
    rows, columns = height // side, width // side

    colors = cfa.color_map(n, n)
    share = np.array([0.25, 0.5, 0.25]) * white_balance * (side * side) ** -1 * n * n / np.bincount(colors.ravel())
    weights = np.tile(share[colors], (1, columns * side // n)).astype(np.float32)  # (n, columns × side)
    mosaic = normalized[: rows * side, : columns * side]
    lines = sum(mosaic[y::n] * weights[y] for y in range(n))  # (rows × side/n, columns × side)
    blocks = np.asarray(lines).reshape(rows, side // n, columns, side)
    return np.asarray(blocks.sum(axis=(1, 3), dtype=np.float64))

"""Levels: black and white level, white balance gains and exposure ratio of a mosaic. Pure numpy."""

from __future__ import annotations

import math
from typing import Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from alen.cfa import CFA, PLANE_COLORS, FilterArray, pack_any
from alen.errors import SettingsError

MAX_RATIO: Final = 300.0
"""Largest exposure ratio, as in See-in-the-Dark: beyond it the frames of most cameras hold noise alone."""

Look = Literal["natural", "bright"]
"""How bright an estimated ratio makes a picture: as photographers expose, nights as nights; or bright as by day."""

LOOK: Final[Look] = "bright"
"""The look if none is asked for."""

_HIGHLIGHTS_PERCENTILE: Final = 98.0
"""The brightest 2 % of a picture begin here: what is above counts no more, a lamp the same whether clipped or not."""

_HIGHLIGHTS_TARGET: Final = 0.62
"""Linear value that photographers bring them to: display white would be 1."""

_HIGHLIGHTS_LIMIT: Final = 8.0
"""Linear value that they are brought to at most: there `alen.color.develop` reaches display white."""

_LIGHTS_PERCENTILE: Final = 90.0
_LIGHTS_TARGET: Final = 0.38
"""Linear value that the brightest 10 % begin at, at least: if they are darker, the brightest 2 % are lamps."""

_MEAN_TARGETS: Final[dict[Look, float]] = {"natural": 0.10, "bright": 0.18}
"""Linear value that the mean of a picture, as it is seen, has at least. 0.18 is the gray card of exposure meters; 0.10
is a compromise: photographs that are dark on purpose would have it lower, rooms with large windows higher."""

_BLOCKS: Final = 1000
"""Blocks that a frame is averaged in before any statistics, about: enough for percentiles, and the larger the blocks,
the less noise there is in them."""


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
    black, span = np.asarray(black_level, dtype=np.float64), _span(black_level, white_level)
    height, width = mosaic.shape
    planes = cfa.plane_map(cfa.size, width)  # (n, W)
    normalized = np.empty((height, width), dtype=np.float32)
    for y in range(cfa.size):
        rows = normalized[y :: cfa.size]  # a view
        np.subtract(mosaic[y :: cfa.size], black[planes[y]].astype(np.float32), out=rows)
        rows *= (1 / span)[planes[y]].astype(np.float32)
    return normalized


def saturation(kind: FilterArray, white_balance: tuple[float, float, float], ratio: float) -> NDArray[np.float32]:
    """Return (P,) float32: the value at which each packed plane of an amplified mosaic saturates, gain × ratio."""
    gains = dict(zip("RGB", white_balance, strict=True))
    return np.array([gains[color] * ratio for color in PLANE_COLORS[kind]], dtype=np.float32)


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
    gains = _gains(white_balance, ratio)
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


def amplify_packed(
    mosaic: NDArray[np.uint16],
    cfa: CFA,
    black_level: tuple[float, float, float, float],
    white_level: float,
    white_balance: tuple[float, float, float],
    ratio: float,
) -> NDArray[np.float32]:
    """Return a mosaic normalized, amplified and packed, to the last bit, in half the time: packed as it is, first.

    Args:
        mosaic: (H, W) uint16, in DN; sides are multiples of the pattern's.
        cfa: Its pattern, in a phase that `pack_any` takes.
        black_level: As of `normalize`.
        white_level: As of `normalize`.
        white_balance: As of `amplify`.
        ratio: As of `amplify`.

    Returns:
        (P, h, w) float32.

    Raises:
        SettingsError: As of all three.
    """
    span = _span(black_level, white_level)
    gains = _gains(white_balance, ratio)
    size, side = cfa.size, cfa.packed_side
    plane_map = cfa.plane_map(size, size)
    factors = (np.asarray(black_level), 1 / span, gains[[0, 1, 1, 2]])  # of R, Gr, Gb and B
    black, scale, gain = (pack_any(of_plane[plane_map].astype(np.float32), cfa) for of_plane in factors)
    packed = pack_any(mosaic, cfa)
    planes = np.empty(packed.shape, dtype=np.float32)
    period = size // side  # packed rows of a whole pattern
    for y in range(period):
        for x in range(period):  # of Bayer one piece
            part = planes[:, y::period, x::period]
            np.subtract(packed[:, y::period, x::period], black[:, y, x, None, None], out=part)
            part *= scale[:, y, x, None, None]
            part *= gain[:, y, x, None, None]
    return planes


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


def estimate_ratio(
    normalized: NDArray[np.float32], cfa: CFA, white_balance: tuple[float, float, float], *, look: Look = LOOK
) -> float:
    """Estimate by how much a dark frame has to be amplified to become a picture of the right brightness.

    From the frame alone. The mosaic is averaged in blocks first, so that noise hardly biases its percentiles.
    Photographers expose for the highlights, so the brightest 2 % are brought to just below white. Where those are lamps
    or windows, the brightest 10 % are brought to a light gray instead, and lamps may pass white, as far as the
    development has room for them. What is darker stays as dark as it is, unless the mean of the picture would be below
    what the look asks for: a dark gray in the natural look, so that a night stays a night, and a middle gray in the
    bright one. That mean is the square of the mean of square roots, which is about how displays and eyes scale light.

    So the answer is the largest of three quotients target / brightness, limited by a fourth. Halving the exposure
    doubles it, more light anywhere never raises it, and bright is never darker than natural. The targets of the
    highlights were fitted to photographs (docs/auto-ratio.md).

    Args:
        normalized: (H, W) float32, signed, see `normalize`.
        cfa: Its pattern, Bayer or X-Trans.
        white_balance: Gains of R, G and B; green = 1.
        look: "natural" or "bright".

    Returns:
        The ratio, in [1, 300]: it never darkens. 300 for a frame without light.

    Raises:
        SettingsError: The mosaic is smaller than its pattern, or there is no such look.

    Example:
        >>> gray = np.full((64, 64), 0.0038, np.float32)
        >>> round(estimate_ratio(gray, CFA.bayer("RGGB"), (1.0, 1.0, 1.0)))
        163
    """
    check_look(look)
    brightness = np.maximum(_block_brightness(normalized, cfa, white_balance), 0)
    highlights = float(np.percentile(brightness, _HIGHLIGHTS_PERCENTILE))
    lights = float(np.percentile(brightness, _LIGHTS_PERCENTILE))
    mean = float(np.sqrt(np.minimum(brightness, highlights)).mean()) ** 2
    if not mean > 0:
        return MAX_RATIO
    by_highlights = _HIGHLIGHTS_TARGET / highlights
    by_lights = _LIGHTS_TARGET / max(lights, 1e-9 * highlights)  # black but for a few lights: the limit decides
    ratio = min(max(by_highlights, by_lights, _MEAN_TARGETS[look] / mean), _HIGHLIGHTS_LIMIT / highlights)
    return min(max(ratio, 1.0), MAX_RATIO)


def bright_ratio(
    normalized: NDArray[np.float32],
    cfa: CFA,
    white_balance: tuple[float, float, float],
    level: float,
    darkest_level: float,
) -> float:
    """Return the ratio that brings the middle of a frame's brightnesses, half of it, to a level.

    Or a higher one, with which the darkest tenth of the frame reaches a level of its own: in rooms with large windows.

    Args:
        normalized: (H, W) float32, signed, see `normalize`.
        cfa: Its pattern, Bayer or X-Trans.
        white_balance: Gains of R, G and B; green = 1.
        level: Linear value of the middle; display white is 1.
        darkest_level: Linear value that nine tenths of the frame reach.

    Returns:
        At least 1; infinite of a frame a tenth of which has no light.
    """
    darkest, middle = np.percentile(_block_brightness(normalized, cfa, white_balance), [10, 50]).tolist()
    return max(level / middle, darkest_level / darkest, 1.0) if darkest > 0 else math.inf


def check_look(look: str) -> None:
    """Raise SettingsError unless a look is one of `Look`."""
    if look not in get_args(Look):
        raise SettingsError(f"The look is {' or '.join(get_args(Look))}; got {look}.")


def _block_brightness(
    normalized: NDArray[np.float32], cfa: CFA, white_balance: tuple[float, float, float]
) -> NDArray[np.float64]:
    """Return (R + 2 G + B)/4 after white balance, averaged over square blocks: (rows, columns) of whole blocks."""
    n = cfa.size
    height, width = normalized.shape
    if height < n or width < n:
        raise SettingsError(f"A mosaic holds its pattern of {n} × {n} at least once; got {height} × {width}.")
    side = max(n, min(height, width, math.isqrt(height * width // _BLOCKS)) // n * n)
    rows, columns = height // side, width // side

    colors = cfa.color_map(n, n)
    share = np.array([0.25, 0.5, 0.25]) * white_balance * (side * side) ** -1 * n * n / np.bincount(colors.ravel())
    weights = np.tile(share[colors], (1, columns * side // n))  # (n, columns × side)
    lines = np.empty((rows, columns * side))
    for row, line in enumerate(lines):
        block = normalized[row * side : (row + 1) * side, : columns * side].reshape(side // n, n, -1)
        np.sum(block.sum(axis=0) * weights, axis=0, out=line)
    return np.asarray(lines.reshape(rows, columns, side).sum(axis=2))


def _span(black_level: tuple[float, float, float, float], white_level: float) -> NDArray[np.float64]:
    """Return what lies between black and white, of R, Gr, Gb and B; raises SettingsError if that is nothing."""
    black = np.asarray(black_level, dtype=np.float64)
    span: NDArray[np.float64] = white_level - black
    if black.shape != (4,) or not np.all(np.isfinite(span)) or np.any(span <= 0):
        raise SettingsError(f"Four black levels below the white level are needed; got {black_level}, {white_level}.")
    return span


def _gains(white_balance: tuple[float, float, float], ratio: float) -> NDArray[np.float64]:
    """Return the factors of R, G and B; raises SettingsError unless they are positive numbers."""
    gains: NDArray[np.float64] = np.asarray(white_balance, dtype=np.float64) * ratio
    if gains.shape != (3,) or not np.all(np.isfinite(gains)) or np.any(gains <= 0):
        raise SettingsError(f"Three positive gains and a positive ratio are needed; got {white_balance}, {ratio}.")
    return gains

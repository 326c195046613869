"""Automatic white balance from the statistics of a mosaic, for files whose own gains cannot be believed. Pure numpy.

The light is looked for among the lights there are: the Planckian and the CIE daylight locus with some tint, mapped into
the colors of this camera by its matrix. Each candidate is scored by the *contrasts* of the picture that it makes
neutral, not by its mean color (gray world), which every large colored area deceives, and a window behind an indoor
subject most of all. A step between a white and a black surface has the color of the light, whatever lies around; so
have shading and gloss. That is the idea of

- "Edge-Based Color Constancy", van de Weijer, Gevers and Gijsenij, IEEE Trans. Image Processing 2007, and of
- "On Finding Gray Pixels", Qian et al., CVPR 2019, https://arxiv.org/abs/1901.03198;

voting in a log-chroma histogram that is blurred by a heavy-tailed kernel comes from

- "Convolutional Color Constancy", Barron, ICCV 2015, https://arxiv.org/abs/1507.00410.

Ours are the weights of a vote: sharp steps count more than blurred ones of the same height (what is in focus is the
subject), the middle more than the borders, and a spot with much contrast less than its share.

Where two lights mix, the answer is one of them, not their mean. Where nothing is achromatic it is a guess: on 41
photographs seen by random cameras the error is 2° to 3° in the median, but above 10° in the worst tenth (gray world
over what is not clipped, as LibRaw does it: 5° and 15°).
"""

from __future__ import annotations

import math
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from alen.cfa import CFA
from alen.color import XYZ_FROM_RGB
from alen.errors import SettingsError

_CELLS: Final = 288
"""Cells along the longer side of the frame: their means are the picture that votes."""

_MIN_CELL_PX: Final = 8
"""Side of a cell at least: in smaller ones the colors would see different parts of an edge."""

_CLIPPED: Final = 0.95
"""Normalized value from which a pixel may be clipped; its cell does not vote."""

_LEVELS: Final = 4
"""Sizes of cells tried, each twice the one before: the noisier the frame, the larger."""

_ENOUGH: Final = 1000
"""Votes that make larger cells unnecessary."""

_TOO_FEW: Final = 60
"""Votes below which nothing is said: a dark frame, a lens cap, a bare wall."""

_NOISE_PERCENTILE: Final = 20
_NOISE_QUANTILE: Final = 0.2533
"""The differences of the two greens are measured by this percentile of their magnitude, which is as many standard
deviations of a normal distribution: the flat fifth of the picture tells its noise, texture does not count as noise."""

_SIGNIFICANCE: Final = 3.0
"""Height of a step, against the noise of a color's step (√3 times that of their mean), from which it votes: above five
standard deviations, as random votes would be many."""

_MIN_STEP: Final = 0.004
"""Height of a step, as a share of the highlights, from which it votes."""

_MAX_STEP: Final = 0.12
"""Height of a step, as a share of the highlights, above which it does not count more."""

_NOISE: Final = 0.1
"""Noise of a step, against its height, at which it counts half: its color is uncertain."""

_HIGHLIGHTS: Final = 98
"""Percentile of brightness that is called the highlights."""

_STEP_POWER: Final = 0.7
_SHARP_POWER: Final = 2.0
_TILE_POWER: Final = 0.4
"""Powers of the height of a step, of its sharpness, and of the (inverse) sum of votes in its tile."""

_TILES: Final = 12
"""Tiles along each side of the frame over which votes are evened out."""

_CENTER: Final = 4.0
"""Fall of the weight from the middle (1) to the middle of a border (e^−1) and the corners (e^−2)."""

_BINS: Final = 128
_BIN: Final = 1 / 32
"""Number of bins along each axis of the log-chroma histogram, and their width: it spans ±2 about daylight."""

_KERNEL_WIDTH: Final = 0.06
_KERNEL_POWER: Final = 1.6
"""Width (in log chroma) and power of the kernel (1 + (d/width)²)^−power."""

_FLOOR: Final = 1e-6
"""Score of a light that no contrast speaks for; keeps the logarithm finite."""

_MIRED: Final = np.linspace(1e6 / 12_000, 1e6 / 2_000, 121)
"""Candidates' reciprocal temperatures in 1e6/K, in which equal steps look alike."""

_DUV: Final = np.linspace(-0.024, 0.024, 25)
"""Candidates' tints: distance from the locus in the CIE 1960 (u, v) diagram, positive toward green."""

_MIRED_MEAN: Final = 230.0
_MIRED_STD: Final = 100.0
_DUV_MEAN: Final = 0.003
_DUV_STD: Final = 0.014
"""What is expected before looking. Wide: a good peak outweighs it. Of the as-shot balances of See-in-the-Dark's night
scenes nine in ten lie at 225 to 300 mired and Duv 0.001 to 0.015, seen through the camera's daylight matrix."""

_PEAK: Final = 0.1
"""Distance (in log chroma) from the best candidate within which candidates are averaged, weighted by score^8."""

_PEAK_POWER: Final = 8.0

_MIN_RESPONSE: Final = 0.02
"""Response of a channel to a candidate, against daylight, at least: extrapolated matrices can turn negative."""


class _Cells(NamedTuple):
    """A frame reduced to cells."""

    colors: NDArray[np.float32]
    """(h, w, 3) means of R, G, B; normalized."""
    variance: NDArray[np.float32]
    """(h, w, 3) variance of these means that noise makes."""
    is_clipped: NDArray[np.bool_]
    """(h, w)"""


class _Votes(NamedTuple):
    """Steps between neighboring cells; all (n,) float32."""

    red: NDArray[np.float32]
    """log(R/G) of the step; daylight = 0."""
    blue: NDArray[np.float32]
    """log(B/G) of the step; daylight = 0."""
    weight: NDArray[np.float32]


def estimate_white_balance(
    normalized: NDArray[np.float32], cfa: CFA, xyz2cam: ArrayLike
) -> tuple[float, float, float] | None:
    """Estimate the white balance gains of a frame from the frame alone.

    The same for every exposure of a scene, up to noise and clipping.

    Args:
        normalized: (H, W) float32, linear, signed; see `alen.levels.normalize`.
        cfa: Its pattern, Bayer or X-Trans.
        xyz2cam: (3, 3), XYZ → camera RGB before white balance, as in a DNG's ColorMatrix for daylight; its scale does
            not matter, but that of its rows against each other does: a matrix whose rows were made to sum to 1 says
            nothing about which light is warm.

    Returns:
        The gains of R, G and B; green = 1. None if the frame says too little: it is dark, flat or noise.

    Raises:
        SettingsError: The matrix is not (3, 3), or daylight is not positive in it.
    """
    matrix = np.asarray(xyz2cam, dtype=np.float64)
    if matrix.shape != (3, 3) or not np.all(np.isfinite(matrix)):
        raise SettingsError(f"A finite 3 × 3 matrix from XYZ to camera RGB is needed; got {xyz2cam!r}.")
    daylight = matrix @ np.sum(XYZ_FROM_RGB, axis=1)  # (3,), of D65
    if np.any(daylight <= 0):
        raise SettingsError(f"A matrix from XYZ to camera RGB maps daylight to positive values; got {xyz2cam!r}.")
    votes = _collect_votes(_reduce(normalized, cfa), daylight)
    if votes is None:
        return None

    response = np.maximum(_candidates() @ matrix.T / daylight, _MIN_RESPONSE)  # (temperatures, tints, 3)
    red, blue = np.log(response[..., 0] / response[..., 1]), np.log(response[..., 2] / response[..., 1])
    score = np.log(np.maximum(_interpolate(_blurred_histogram(votes), red, blue), _FLOOR))
    score -= 0.5 * ((_MIRED[:, None] - _MIRED_MEAN) / _MIRED_STD) ** 2
    score -= 0.5 * ((_DUV - _DUV_MEAN) / _DUV_STD) ** 2

    best = np.unravel_index(np.argmax(score), score.shape)
    is_near = (red - red[best]) ** 2 + (blue - blue[best]) ** 2 < _PEAK**2
    weight = is_near * np.exp(_PEAK_POWER * (score - score[best]))
    weight /= weight.sum()
    red_gain, blue_gain = (
        float(daylight[1] / daylight[channel] * math.exp(-float(np.sum(weight * chroma))))
        for channel, chroma in ((0, red), (2, blue))
    )
    return red_gain, 1.0, blue_gain


def planckian_xy(temperature_k: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the CIE 1931 chromaticity (x, y) of black bodies; within 1e-3 from 1667 to 25 000 K.

    Cubic splines by Kim et al., "Design of Advanced Color Temperature Control System for HDTV Applications", Journal of
    the Korean Physical Society 41 (2002), 865–871.

    Example:
        >>> [round(float(c), 4) for c in planckian_xy(2856)]  # CIE illuminant A: 0.4476, 0.4074
        [0.4471, 0.4075]
    """
    t = 1e3 / np.asarray(temperature_k, dtype=np.float64)
    x = np.where(
        t > 0.25,
        np.polyval([-0.2661239, -0.2343589, 0.8776956, 0.179910], t),
        np.polyval([-3.0258469, 2.1070379, 0.2226347, 0.240390], t),
    )
    y = np.where(
        t > 1e3 / 2222,
        np.polyval([-1.1063814, -1.34811020, 2.18555832, -0.20219683], x),
        np.where(
            t > 0.25,
            np.polyval([-0.9549476, -1.37418593, 2.09137015, -0.16748867], x),
            np.polyval([3.0817580, -5.87338670, 3.75112997, -0.37001483], x),
        ),
    )
    return x, y


def daylight_xy(temperature_k: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the CIE 1931 chromaticity (x, y) of the CIE daylight illuminants, 4000 to 25 000 K (CIE 15:2004, 3.1).

    Example:
        >>> [round(float(c), 4) for c in daylight_xy(6504)]  # D65
        [0.3127, 0.3291]
    """
    t = 1e3 / np.asarray(temperature_k, dtype=np.float64)
    x = np.where(
        t >= 1 / 7,
        np.polyval([-4.6070, 2.9678, 0.09911, 0.244063], t),
        np.polyval([-2.0064, 1.9018, 0.24748, 0.237040], t),
    )
    return x, np.asarray(np.polyval([-3.000, 2.870, -0.275], x))


def _candidates() -> NDArray[np.float64]:
    """Return the XYZ (Y = 1) of the candidates: (temperatures, tints, 3)."""

    def locus(mired: NDArray[np.float64]) -> NDArray[np.float64]:
        temperature = 1e6 / mired
        planckian = _uv(*planckian_xy(temperature))
        daylight = _uv(*daylight_xy(np.maximum(temperature, 4000)))
        share = np.clip((temperature - 3600) / 800, 0, 1)  # lamps below, the sky above, a smooth passage
        return planckian * (1 - share) + daylight * share  # (2, n)

    on_locus = locus(_MIRED)
    along = locus(_MIRED - 0.1) - on_locus  # toward blue: u and v fall
    across = np.stack([along[1], -along[0]]) / np.hypot(*along)  # perpendicular, v rises: toward green
    u, v = on_locus[:, :, None] + across[:, :, None] * _DUV
    scale = 2 * u - 8 * v + 4
    x, y = 3 * u / scale, 2 * v / scale
    return np.stack([x / y, np.ones_like(x), (1 - x - y) / y], axis=-1)


def _uv(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return CIE 1960 (u, v) of CIE 1931 (x, y), stacked."""
    return np.stack([4 * x, 6 * y]) / (12 * y - 2 * x + 3)


def _reduce(normalized: NDArray[np.float32], cfa: CFA) -> _Cells:
    """Average a mosaic over square cells of whole patterns, and measure the noise of the averages.

    The two greens (of the even and the odd rows of the pattern) of a cell see the same surface; what they differ by,
    beyond what they always differ by, is noise.
    """
    n = cfa.size
    height, width = normalized.shape
    if height < n or width < n:
        raise SettingsError(f"A mosaic holds its pattern of {n} × {n} at least once; got {height} × {width}.")
    side = max(-(-_MIN_CELL_PX // n), round(max(height, width) / _CELLS / n)) * n
    rows, columns, repeats = height // side, width // side, side // n
    if rows < 1 or columns < 1:
        side, rows, columns, repeats = n, height // n, width // n, 1
    mosaic = normalized[: rows * side, : columns * side].reshape(rows, repeats, n, columns * side)
    lines = _centered(mosaic)  # (rows, n, columns × side)
    patterns = lines.reshape(rows, n, columns, repeats, n).transpose(2, 3, 4, 0, 1)
    means = _centered(patterns).transpose(2, 0, 3, 1)  # (rows, columns, n, n)
    is_clipped = mosaic.max(axis=(1, 2)).reshape(rows, columns, side).max(axis=2) >= _CLIPPED
    around = np.pad(is_clipped, 1)  # centered cells reach into their neighbors
    is_clipped = np.any([around[y : y + rows, x : x + columns] for y in range(3) for x in range(3)], axis=0)

    pattern = cfa.color_map(n, n)
    colors = np.stack([means[..., pattern == color].mean(axis=-1) for color in range(3)], axis=-1)
    is_even = (np.arange(n) % 2 == 0)[:, None]
    even, odd = (pattern == 1) & is_even, (pattern == 1) & ~is_even
    difference = means[..., even].mean(axis=-1) - means[..., odd].mean(axis=-1)
    shares = (1 / np.count_nonzero(even) + 1 / np.count_nonzero(odd)) / repeats**2
    variance = _noise_curve(colors[..., 1], difference, colors) / np.float32(shares)  # of one pixel
    count = np.bincount(pattern.ravel(), minlength=3) * repeats**2
    return _Cells(colors, (variance / count).astype(np.float32), is_clipped)


def _centered(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Average cells along an axis, each pixel of the pattern over a cell moved by a part of a pixel.

    All colors then have the same center, and the same sharpness. Else red would lie a pixel before blue, and every step
    in brightness would be a step in color.

    Args:
        values: (cells, patterns in a cell, pixels n in a pattern, ...)

    Returns:
        (cells, n, ...)
    """
    count, n = values.shape[1:3]
    shift = ((n - 1) / 2 - np.arange(n, dtype=np.float32)) / np.float32(n)  # in patterns: Bayer ¼ and −¼
    shift = shift.reshape(n, *(1 for _ in values.shape[3:]))
    first, last = values[:, 0], values[:, -1]
    sums = values.sum(axis=1)
    sums[:-1] += np.maximum(shift, 0) * (first[1:] - first[:-1])
    sums[1:] -= np.minimum(shift, 0) * (last[:-1] - last[1:])
    sums /= np.float32(count)
    return np.asarray(sums)


def _noise_curve(level: NDArray[Any], difference: NDArray[Any], at: NDArray[Any]) -> NDArray[np.float64]:
    """Return the robust variance of ``difference`` as a function of ``level``, evaluated ``at`` other levels."""
    order = np.argsort(level, axis=None)
    groups = np.array_split(order, min(8, order.size))
    flat = difference.ravel()
    centers = [float(np.median(level.ravel()[group])) for group in groups]
    spreads = [
        float(np.percentile(np.abs(flat[group] - np.median(flat[group])), _NOISE_PERCENTILE)) / _NOISE_QUANTILE
        for group in groups
    ]
    return np.asarray(np.interp(at, centers, np.square(spreads)))


def _collect_votes(cells: _Cells, daylight: NDArray[np.float64]) -> _Votes | None:
    """Return the votes of the finest cells that have enough of them; None if none have."""
    colors = (cells.colors / daylight).astype(np.float32)
    variance = (cells.variance / daylight**2).mean(axis=2).astype(np.float32)
    is_clipped = cells.is_clipped
    votes = None
    for level in range(_LEVELS):
        if level:
            rows, columns = (size // 2 * 2 for size in is_clipped.shape)
            if min(rows, columns) < 2 * _TILES:
                break
            colors, variance = _halve(colors[:rows, :columns]), _halve(variance[:rows, :columns]) / np.float32(4)
            is_clipped = _halve(is_clipped[:rows, :columns].astype(np.float32)) > 0
        votes = _vote(colors, variance, is_clipped)
        if votes.weight.size >= _ENOUGH:
            break
    return votes if votes is not None and votes.weight.size >= _TOO_FEW else None


def _halve(array: NDArray[np.float32]) -> NDArray[np.float32]:
    """Average an array (h, w, ...) with even h and w over squares of 2 × 2."""
    height, width, *rest = array.shape
    return np.asarray(array.reshape(height // 2, 2, width // 2, 2, *rest).mean(axis=(1, 3)))


def _vote(colors: NDArray[np.float32], variance: NDArray[np.float32], is_clipped: NDArray[np.bool_]) -> _Votes:
    """Return the votes of all steps between neighboring cells.

    Args:
        colors: (h, w, 3) cells; daylight is neutral.
        variance: (h, w) of their noise, averaged over the colors.
        is_clipped: (h, w)
    """
    height, width = is_clipped.shape
    brightness = colors[~is_clipped].mean(axis=1)
    highlights = float(np.percentile(brightness, _HIGHLIGHTS)) if brightness.size else 0.0
    if not highlights > 0:
        return _Votes(*(np.empty(0, dtype=np.float32) for _ in range(3)))
    y, x = np.arange(height)[:, None], np.arange(width)
    center = np.exp(-_CENTER * ((y / height - 0.5) ** 2 + (x / width - 0.5) ** 2)).astype(np.float32)
    tile = (y * _TILES // height) * _TILES + x * _TILES // width

    index = np.arange(height * width).reshape(height, width)
    down = _steps(colors, variance, is_clipped, index, highlights)
    right = _steps(colors.swapaxes(0, 1), variance.T, is_clipped.T, index.T, highlights)
    step = np.concatenate([down[0], right[0]])  # (n, 3)
    weight = np.concatenate([down[1], right[1]])
    cells = np.concatenate([down[2], right[2]])
    weight *= center.ravel()[cells]
    tiles = tile.ravel()[cells]
    sums = np.bincount(tiles, weight, minlength=_TILES**2)
    weight *= ((sums + 0.05 * sums.mean() + 1e-30) ** -_TILE_POWER)[tiles]
    chroma = np.log(step)
    return _Votes(chroma[:, 0] - chroma[:, 1], chroma[:, 2] - chroma[:, 1], weight)


def _steps(
    colors: NDArray[np.float32],
    variance: NDArray[np.float32],
    is_clipped: NDArray[np.bool_],
    index: NDArray[np.intp],
    highlights: float,
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.intp]]:
    """Return the significant steps down the columns: colors (n, 3) > 0, weights (n,), cells (n,) where they end."""
    brightness = colors.mean(axis=2)
    height = np.abs(np.diff(brightness, axis=0))  # (h − 1, w), as all below
    noise = np.sqrt(variance[1:] + variance[:-1])
    is_vote = height > np.maximum(_SIGNIFICANCE * noise, np.float32(_MIN_STEP * highlights))
    is_vote &= ~(is_clipped[1:] | is_clipped[:-1])
    step = np.diff(colors, axis=0)[is_vote]  # (n, 3)
    step *= np.sign(step.sum(axis=1, keepdims=True))
    is_brighter = (step > 0).all(axis=1)  # in all colors; else it is another color, not more light
    is_vote[is_vote] = is_brighter

    height, noise = height[is_vote], noise[is_vote]  # (n,), as all below
    weight = np.minimum(height / np.float32(highlights), np.float32(_MAX_STEP)) ** np.float32(_STEP_POWER)
    weight *= np.clip((brightness[1:] + brightness[:-1])[is_vote] / np.float32(2 * highlights), 0, 1)
    weight *= _sharpness(brightness)[is_vote] ** np.float32(_SHARP_POWER)
    weight /= 1 + (noise / (np.float32(_NOISE) * height)) ** 2
    return step[is_brighter], weight, index[1:][is_vote]


def _sharpness(brightness: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return how much of the range of six cells about a step the step makes: (h − 1, w), 1 for a sharp edge."""
    rows = brightness.shape[0] - 1
    padded = np.pad(brightness, ((2, 2), (0, 0)), mode="edge")
    low, high = padded[:rows].copy(), padded[:rows].copy()
    for shift in range(1, 6):
        np.minimum(low, padded[shift : shift + rows], out=low)
        np.maximum(high, padded[shift : shift + rows], out=high)
    return np.asarray(np.abs(np.diff(brightness, axis=0)) / np.maximum(high - low, np.float32(1e-12)))


def _blurred_histogram(votes: _Votes) -> NDArray[np.float64]:
    """Return the histogram (_BINS, _BINS) of red and blue log chroma, of sum 1 and blurred by the kernel (peak 1)."""
    red, blue = ((chroma / _BIN + _BINS // 2) for chroma in (votes.red, votes.blue))
    is_inside = (np.minimum(red, blue) >= 0) & (np.maximum(red, blue) < _BINS - 1)
    red, blue, weight = red[is_inside], blue[is_inside], votes.weight[is_inside]
    i, j = red.astype(np.intp), blue.astype(np.intp)
    s, t = red - i, blue - j
    histogram = np.zeros(_BINS**2)
    for down, right, share in ((0, 0, (1 - s) * (1 - t)), (1, 0, s * (1 - t)), (0, 1, (1 - s) * t), (1, 1, s * t)):
        histogram += np.bincount((i + down) * _BINS + j + right, weight * share, minlength=_BINS**2)
    histogram /= max(float(votes.weight.sum()), 1e-30)

    distance = (np.arange(_BINS) - _BINS // 2) * _BIN
    square = (distance[:, None] ** 2 + distance**2) / _KERNEL_WIDTH**2
    kernel = np.fft.rfft2(np.fft.ifftshift((1 + square) ** -_KERNEL_POWER))
    return np.asarray(np.fft.irfft2(np.fft.rfft2(histogram.reshape(_BINS, _BINS)) * kernel, (_BINS, _BINS)))


def _interpolate(
    table: NDArray[np.float64], red: NDArray[np.float64], blue: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the histogram between its bins, bilinearly; beyond its border the border's."""
    red, blue = (np.clip(chroma / _BIN + _BINS // 2, 0, _BINS - 1.001) for chroma in (red, blue))
    i, j = red.astype(np.intp), blue.astype(np.intp)
    s, t = red - i, blue - j
    top = table[i, j] * (1 - t) + table[i, j + 1] * t
    bottom = table[i + 1, j] * (1 - t) + table[i + 1, j + 1] * t
    return np.asarray(top * (1 - s) + bottom * s)

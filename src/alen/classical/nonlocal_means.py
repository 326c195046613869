"""Non-local means: every pixel becomes the mean of the pixels whose surroundings look alike.

"A non-local algorithm for image denoising", A. Buades, B. Coll, J.-M. Morel, CVPR 2005, and their "Non-Local Means
Denoising", IPOL 2011, https://doi.org/10.5201/ipol.2011.bcm_nlm, pixelwise:

    y(p) = Σ_q w(p, q) x(q) / Σ_q w(p, q),   w(p, q) = exp(−max(d² − 2σ², 0)/h²)

over the square window around p, with d² the mean squared difference of the square patches around p and q, over all
channels, weighted by a Gaussian kernel if wanted. The weight of p itself is the largest of the others, so that a pixel
without a double is not left alone. Beyond the edges the picture is mirrored about its outermost pixels. What we add:
patches may be compared in another picture (a guide), and every channel may have its own strength, because eyes and
cameras treat luminance and color noise differently.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from alen.cores import usable_cores
from alen.errors import SettingsError

_BAND: Final = 24_576
"""Pixels worked on at a time: the dozen arrays of this size stay in a core's cache."""

_TILE_COLUMNS: Final = 1024
"""Widest part of a picture that one task takes, so that a band has enough rows."""

_TILE_ROWS: Final = (64, 256)
"""Fewest and most rows that one task takes, as there are threads to feed."""

_FAINTEST: Final = {np.dtype(np.float32): -32.0, np.dtype(np.float64): -600.0}
"""A pixel whose largest weight has an exponent below this is computed on its own: sums of such weights lose digits."""

_FINE: Final = 32.0
"""From this 2σ²/h² on, d² − 2σ² is the difference of large numbers and everything runs in float64."""

_RECOMMENDED: Final = {
    False: ((15, 3, 21, 0.40), (30, 5, 21, 0.40), (45, 7, 35, 0.35), (75, 9, 35, 0.35), (100, 11, 35, 0.30)),
    True: ((25, 3, 21, 0.55), (55, 5, 35, 0.40), (100, 7, 35, 0.35)),
}
"""Gray (False) and color (True): up to this σ on a scale of 255 the patch, the window and h/σ; IPOL 2011, section 3."""


@dataclass(frozen=True, kw_only=True)
class FilterSettings:
    """How non-local means compares and averages."""

    patch: int
    """Side of the patches in pixels, odd."""
    window: int
    """Side of the window in pixels, odd, at least 3; may be larger than the picture."""
    sigma: float
    """Standard deviation of the noise where patches are compared, in that picture's units; 0 or more."""
    h: float | tuple[float, ...]
    """Strength, in the same units, above 0: one for all channels of the picture, or one for each."""
    kernel_sigma: float | None = None
    """Standard deviation in pixels of the Gaussian that weights the pixels of a patch; None weights them alike."""
    least_weight: float = 0.0
    """A pixel whose largest weight (before normalization) is below this has no double and stays as it is; in [0, 1).
    0 is the formula as it reads: such a pixel, a lamp in the dark, becomes the mean of itself and the least unlike."""

    def __post_init__(self) -> None:
        """Raise SettingsError on values the filter is not defined for."""
        is_odd = all(isinstance(side, Integral) and side % 2 == 1 for side in (self.patch, self.window))
        if not is_odd or self.patch < 1 or self.window < 3:
            raise SettingsError(
                "Patch and window have odd sides in whole pixels, the window at least 3; "
                f"got {self.patch} and {self.window}."
            )
        if not (self.sigma >= 0 and math.isfinite(self.sigma)):
            raise SettingsError(f"sigma is a number of at least 0; got {self.sigma}.")
        numbers = [value for value in self.strengths if isinstance(value, Real)]
        if (
            not numbers
            or len(numbers) != len(self.strengths)
            or not all(value > 0 and math.isfinite(value) for value in numbers)
        ):
            raise SettingsError(f"h is one positive number, or a tuple of one for each channel; got {self.h!r}.")
        if self.kernel_sigma is not None and not (self.kernel_sigma > 0 and math.isfinite(self.kernel_sigma)):
            raise SettingsError(f"kernel_sigma is a positive number or None; got {self.kernel_sigma}.")
        if not 0 <= self.least_weight < 1:
            raise SettingsError(f"least_weight is at least 0 and below 1; got {self.least_weight}.")

    @property
    def strengths(self) -> tuple[float, ...]:
        """The strengths as a tuple: of length 1, or one for each channel."""
        return self.h if isinstance(self.h, tuple) else (self.h,)

    @property
    def reach(self) -> int:
        """Pixels from the middle of a window to its edge."""
        return self.window // 2

    @property
    def half(self) -> int:
        """Pixels from the middle of a patch to its edge."""
        return self.patch // 2

    @property
    def margin(self) -> int:
        """Pixels beyond the picture's edge that the filter looks at."""
        return self.reach + self.half

    @property
    def least_exponent(self) -> float:
        """Logarithm of ``least_weight``."""
        return math.log(self.least_weight) if self.least_weight > 0 else -math.inf

    def kernel(self) -> NDArray[np.float64]:
        """Return a patch's weights along one axis, (patch,) float64 with sum 1; the patch has their outer product."""
        if self.kernel_sigma is None:
            return np.full(self.patch, 1 / self.patch)
        kernel = np.exp(-0.5 * (np.arange(-self.half, self.half + 1) / self.kernel_sigma) ** 2)
        return np.asarray(kernel / kernel.sum(), dtype=np.float64)


def recommended_settings(sigma: float, *, data_range: float, color: bool) -> FilterSettings:
    """Return the settings that the authors of the filter recommend for a noise level.

    >>> recommended_settings(20, data_range=255, color=True)
    FilterSettings(patch=3, window=21, sigma=20, h=11.0, kernel_sigma=None, least_weight=0.0)

    Args:
        sigma: Standard deviation of the noise, in the picture's units; above 0, at most 100/255 of ``data_range``.
        data_range: From black to white in the same units: 1 for pictures in [0, 1], 255 for 8-bit ones.
        color: For three channels that share their structure, or for one.

    Raises:
        SettingsError: The noise lies outside the published table, or ``data_range`` is not positive.

    References:
        Buades, Coll, Morel: "Non-Local Means Denoising", IPOL 2011, the tables of section 3.
    """
    if not (data_range > 0 and math.isfinite(data_range)):
        raise SettingsError(f"data_range is a positive number, such as 1 or 255; got {data_range}.")
    table = _RECOMMENDED[color]
    level = sigma / data_range * 255
    if not 0 < level <= table[-1][0]:
        raise SettingsError(
            f"Settings are known for noise above 0 and up to {table[-1][0]}/255 of the data range; "
            f"got {sigma} of {data_range}."
        )
    _, patch, window, share = next(row for row in table if level <= row[0])
    return FilterSettings(patch=patch, window=window, sigma=sigma, h=share * sigma)


def nonlocal_means(
    image: NDArray[np.floating[Any]],
    settings: FilterSettings,
    *,
    guide: NDArray[np.floating[Any]] | None = None,
    threads: int | None = None,
) -> NDArray[np.float32]:
    """Denoise a picture by non-local means.

    Each pair of pixels is compared once and serves both. Sums over patches are running sums of the squared
    differences, so the time hardly grows with the patch; those over the window are gathered in float64. The result is
    within 1e-6 of the formula in float64, in units of the picture's range.

    Args:
        image: (H, W) or (H, W, C) of a floating type, any range; computed as float32.
        settings: Sides, noise and strength.
        guide: (H, W) or (H, W, C'), where patches are compared; None: ``image`` itself.
        threads: CPU threads; None: as many as there are cores.

    Returns:
        (H, W) or (H, W, C) float32 within the range of each channel of ``image``.

    Raises:
        SettingsError: A picture has another shape or type or is not finite, the guide has another size, there is not
            one strength for each channel, or no thread.
    """
    planes = _planes(image, "image")
    compared = planes if guide is None else _planes(guide, "guide")
    channels, height, width = planes.shape
    if compared.shape[1:] != (height, width):
        raise SettingsError(f"A guide has the size of the image, {height} × {width}; got {compared.shape[1:]}.")
    if len(settings.strengths) not in (1, channels):
        raise SettingsError(f"h is one number, or one for each of the {channels} channels; got {settings.h}.")
    if threads is not None and not (isinstance(threads, Integral) and threads >= 1):
        raise SettingsError(f"threads is a whole number of at least 1, or None for all cores; got {threads!r}.")
    workers = threads if threads is not None else usable_cores()

    lowest, highest = planes.min(axis=(1, 2), keepdims=True), planes.max(axis=(1, 2), keepdims=True)
    middle = 0.5 * lowest + 0.5 * highest  # sums of deviations from it are smaller, and exact for constants
    margin = settings.margin
    # one row more below, so that the last run of pixels may end in it
    around = ((0, 0), (margin, margin + 1), (margin, margin))
    padded = np.pad(planes - middle, around, mode="reflect")
    padded_guide = padded if guide is None else np.pad(compared, around, mode="reflect")
    result = np.empty_like(planes)

    def denoise(tile: tuple[slice, slice]) -> None:
        rows, columns = tile
        region = np.s_[:, rows.start : rows.stop + 2 * margin + 1, columns.start : columns.stop + 2 * margin]
        result[:, rows, columns] = _denoise_tile(padded[region], padded_guide[region], settings)

    tiles = list(_tiles(height, width, workers))
    if workers == 1 or len(tiles) == 1:
        for tile in tiles:
            denoise(tile)
    else:
        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(denoise, tiles))
    np.clip(result + middle, lowest, highest, out=result)  # a mean lies between; only rounding is cut
    return result[0] if image.ndim == 2 else np.moveaxis(result, 0, 2)


def nonlocal_weights(
    image: NDArray[np.floating[Any]], settings: FilterSettings, *, row: int, column: int
) -> NDArray[np.float64]:
    """Return the weights with which one pixel sees its window, for looking at them.

    Args:
        image: (H, W) or (H, W, C) of a floating type, where patches are compared.
        settings: Sides, noise and strength; one strength.
        row: Of the pixel, in [0, H).
        column: Of the pixel, in [0, W).

    Returns:
        (window, window) float64 with sum 1; the weight of pixel (row + dy, column + dx) at [reach + dy, reach + dx],
        beyond the edges that of mirrored pixels.

    Raises:
        SettingsError: The picture has another shape or type or is not finite, the pixel lies outside, or there are
            several strengths.
    """
    planes = _planes(image, "image")
    height, width = planes.shape[1:]
    if not (0 <= row < height and 0 <= column < width):
        raise SettingsError(f"The pixel lies inside the picture of {height} × {width}; got ({row}, {column}).")
    if len(settings.strengths) != 1:
        raise SettingsError(f"A map of weights belongs to one strength; got {settings.h}.")
    around = ((0, 0), (settings.margin, settings.margin), (settings.margin, settings.margin))
    padded = np.pad(planes, around, mode="reflect")
    distances = _distances(padded, np.array([row]), np.array([column]), settings)
    weights: NDArray[np.float64] = _weights(distances, settings, settings.strengths[0])[0]
    return weights


def _planes(image: NDArray[np.floating[Any]], name: str) -> NDArray[np.float32]:
    """Return a picture (H, W) or (H, W, C) as planes (C, H, W) float32; raise SettingsError if it is none."""
    if not isinstance(image, np.ndarray):
        raise SettingsError(f"The {name} is an array (H, W) or (H, W, C); got {type(image).__name__}.")
    if not np.issubdtype(image.dtype, np.floating) or image.ndim not in (2, 3) or image.size == 0:
        raise SettingsError(
            f"The {name} is an array (H, W) or (H, W, C) of floating-point numbers; got {image.shape} {image.dtype}."
        )
    planes = image[None] if image.ndim == 2 else np.moveaxis(image, 2, 0)
    planes = np.ascontiguousarray(planes, dtype=np.float32)
    if not np.isfinite(planes).all():
        raise SettingsError(f"The {name} holds values that are not finite in float32; non-local means spreads them.")
    return planes


def _tiles(height: int, width: int, workers: int) -> Iterator[tuple[slice, slice]]:
    """Yield the rows and columns of the parts that are denoised one by one."""
    fewest, most = _TILE_ROWS
    rows = min(max(-(-height // workers), fewest), most)
    for top in range(0, height, rows):
        for left in range(0, width, _TILE_COLUMNS):
            yield slice(top, min(top + rows, height)), slice(left, min(left + _TILE_COLUMNS, width))


def _denoise_tile(
    padded: NDArray[np.float32], padded_guide: NDArray[np.float32], settings: FilterSettings
) -> NDArray[np.float64]:
    """Return the weighted means of a part of the picture.

    Args:
        padded: (C, H + 2·margin + 1, W + 2·margin).
        padded_guide: (C', …) likewise.
        settings: Sides, noise and strength.

    Returns:
        (C, H, W) float64.
    """
    channels, stride = padded.shape[0], padded.shape[2]
    reach, half, margin = settings.reach, settings.half, settings.margin
    rows, columns = padded.shape[1] - 2 * margin - 1, stride - 2 * margin
    strengths = settings.strengths * channels if len(settings.strengths) == 1 else settings.strengths
    groups = sorted(set(strengths))
    # exponents of the smallest strength; the guide is brought to its unit
    span = float(padded_guide.max() - padded_guide.min())
    unit = max(groups[0], 1e-15 * span)
    offset = min(2 * (settings.sigma / unit) ** 2, 1e30)
    dtype = np.dtype(np.float32 if offset < _FINE else np.float64)
    kernel = settings.kernel().astype(dtype) if settings.kernel_sigma is not None else None
    scale = 1 / (unit * math.sqrt(padded_guide.shape[0]) * (settings.patch if kernel is None else 1))
    # Rows follow each other without a gap: a neighbor is a shift, whatever its direction, and runs of many rows are
    # handled as one vector. What wraps around at their ends stays in the margins.
    g = (padded_guide.astype(dtype) * dtype.type(scale)).reshape(padded_guide.shape[0], -1)
    x = padded.astype(dtype, copy=False).reshape(channels, -1)
    sums = np.zeros((len(groups) + channels, x.shape[1]))  # the sum of weights of each strength, then of each channel
    nearest = np.full(x.shape[1], -np.inf, dtype=dtype)  # exponent of the largest weight
    zeros = np.zeros(_BAND + stride, dtype=dtype)

    band = max(_BAND // stride, 1)
    for start in range(margin - reach, margin + rows, band):
        for dy in range(reach + 1):
            top, bottom = max(start, margin - dy), min(start + band, margin + rows)
            if top >= bottom:
                continue
            first, length = top * stride + half, (bottom - top) * stride - 2 * half
            here = slice(first, first + length)  # p
            forward = np.zeros((len(sums), length), dtype=dtype)  # what p gets from p + o
            backward = np.zeros((len(sums), length + 2 * reach), dtype=dtype)  # what p + o gets from p
            for dx in range(-reach if dy else 1, reach + 1):
                shift = dy * stride + dx
                there = slice(first + shift, first + shift + length)  # p + o
                onto = slice(reach + dx, reach + dx + length)
                exponents = _patch_distances(g, (top - half) * stride, bottom - top, stride, shift, settings, kernel)
                np.subtract(dtype.type(offset), exponents, out=exponents)
                np.minimum(exponents, zeros[:length], out=exponents)
                np.maximum(nearest[here], exponents, out=nearest[here])
                np.maximum(nearest[there], exponents, out=nearest[there])
                for index, strength in enumerate(groups):
                    weights = np.exp(exponents if index == 0 else exponents * dtype.type((unit / strength) ** 2))
                    forward[index] += weights
                    backward[index, onto] += weights
                    for channel in range(channels):
                        if strengths[channel] == strength:
                            forward[len(groups) + channel] += weights * x[channel, there]
                            backward[len(groups) + channel, onto] += weights * x[channel, here]
            sums[:, here] += forward
            sums[:, first + dy * stride - reach : first + dy * stride + length + reach] += backward

    inside = np.s_[..., margin : margin + rows, margin : margin + columns]
    sums = sums.reshape(len(sums), -1, stride)[inside]
    largest = nearest.reshape(-1, stride)[inside].astype(np.float64)
    result = np.empty((channels, rows, columns))
    faint = largest < _FAINTEST[dtype]
    alone = largest * (unit / groups[-1]) ** 2 < settings.least_exponent
    for channel, strength in enumerate(strengths):
        group, values = groups.index(strength), padded[channel][inside]
        own = np.exp(np.where(faint, 0, largest) * (unit / strength) ** 2)
        result[channel] = (sums[len(groups) + channel] + own * values) / (sums[group] + own)
        kept = largest * (unit / strength) ** 2 < settings.least_exponent
        result[channel][kept] = values[kept]
    for rows_faint, columns_faint in _portions(faint & ~alone):
        at = np.s_[:, rows_faint, columns_faint]
        result[at] = _exact_means(padded, padded_guide, rows_faint, columns_faint, settings)
    return result


def _patch_distances(
    guide: NDArray[np.floating[Any]],
    start: int,
    rows: int,
    stride: int,
    shift: int,
    settings: FilterSettings,
    kernel: NDArray[np.floating[Any]] | None,
) -> NDArray[np.floating[Any]]:
    """Return the sums of squared differences of patches, for ``rows`` rows of patches, but for what does not fit in.

    Args:
        guide: (C', n) rows of the padded guide one after the other.
        start: Where the first row that belongs to a patch starts.
        rows: Rows of patches.
        stride: Length of a row.
        shift: From a pixel to the one that it is compared with.
        settings: The side of the patches.
        kernel: (patch,) weights along one axis; None for plain sums.

    Returns:
        (rows·stride − patch + 1,)
    """
    length = (rows + settings.patch - 1) * stride
    squares = guide[0, start : start + length] - guide[0, start + shift : start + shift + length]
    np.multiply(squares, squares, out=squares)
    for plane in guide[1:]:
        difference = plane[start : start + length] - plane[start + shift : start + shift + length]
        np.multiply(difference, difference, out=difference)
        squares += difference
    if kernel is None:
        return _running_sums(_running_sums(squares, settings.patch, stride), settings.patch, 1)
    return _running_products(_running_products(squares, kernel, stride), kernel, 1)


def _running_sums(values: NDArray[np.floating[Any]], count: int, step: int) -> NDArray[np.floating[Any]]:
    """Return values[i] + values[i + step] + … of ``count`` terms, for every i that has them all.

    Sums of 1, 2, 4, … terms are made of each other, and those that the count is made of are added: log₂ additions and,
    unlike differences of an integral image, no loss of digits.
    """
    length = values.size - (count - 1) * step
    total: NDArray[np.floating[Any]] | None = None
    done, width, power = 0, 1, values
    while True:
        if count & width:
            part = power[done * step : done * step + length]
            total = part if total is None else total + part
            done += width
        if 2 * width > count:
            return total if total is not None else values
        power = power[: power.size - width * step] + power[width * step :]
        width *= 2


def _running_products(
    values: NDArray[np.floating[Any]], kernel: NDArray[np.floating[Any]], step: int
) -> NDArray[np.floating[Any]]:
    """Return kernel[0]·values[i] + kernel[1]·values[i + step] + …, for every i that has them all; kernel symmetric."""
    half = kernel.size // 2
    length = values.size - 2 * half * step
    total: NDArray[np.floating[Any]] = values[half * step : half * step + length] * kernel[half]
    for index in range(half):
        opposite = (kernel.size - 1 - index) * step
        pair = values[index * step : index * step + length] + values[opposite : opposite + length]
        pair *= kernel[index]
        total += pair
    return total


def _portions(mask: NDArray[np.bool_], size: int = 64) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Yield rows and columns of the True pixels, at most ``size`` at a time."""
    rows, columns = np.nonzero(mask)
    for start in range(0, rows.size, size):
        yield rows[start : start + size], columns[start : start + size]


def _exact_means(
    padded: NDArray[np.float32],
    padded_guide: NDArray[np.float32],
    rows: NDArray[np.intp],
    columns: NDArray[np.intp],
    settings: FilterSettings,
) -> NDArray[np.float64]:
    """Return the weighted means (C, n) of single pixels, however small their weights are before they are normalized."""
    distances = _distances(padded_guide, rows, columns, settings)  # (n, window, window)
    window = (settings.window, settings.window)
    views = np.lib.stride_tricks.sliding_window_view(padded, window, axis=(1, 2))
    values = views[:, rows + settings.half, columns + settings.half]  # (C, n, window, window)
    strengths = settings.strengths * len(padded) if len(settings.strengths) == 1 else settings.strengths
    means = [
        np.einsum("nyx,nyx->n", plane, _weights(distances, settings, strength))
        for plane, strength in zip(values, strengths, strict=True)
    ]
    return np.stack(means)


def _distances(
    padded: NDArray[np.float32], rows: NDArray[np.intp], columns: NDArray[np.intp], settings: FilterSettings
) -> NDArray[np.float64]:
    """Return d² between single pixels and their windows, (n, window, window), from the padded guide."""
    patch, reach = settings.patch, settings.reach
    side = settings.window + patch - 1
    views = np.lib.stride_tricks.sliding_window_view(padded, (side, side), axis=(1, 2))
    around = views[:, rows, columns].astype(np.float64)  # (C', n, side, side)
    middle = around[:, :, reach : reach + patch, reach : reach + patch]
    kernel = np.multiply.outer(settings.kernel(), settings.kernel()) / len(padded)
    distances = np.zeros((len(rows), settings.window, settings.window))
    for i in range(patch):
        for j in range(patch):
            for channel in range(len(padded)):
                there = around[channel, :, i : i + settings.window, j : j + settings.window]
                difference = there - middle[channel, :, i, j, None, None]
                np.multiply(difference, difference, out=difference)
                difference *= kernel[i, j]
                distances += difference
    return distances


def _weights(distances: NDArray[np.float64], settings: FilterSettings, strength: float) -> NDArray[np.float64]:
    """Return the normalized weights (n, window, window) of distances d² for a strength h; the center's is the largest.

    The largest exponent is taken off before exp, which changes nothing but that the weights cannot vanish together.
    A pixel whose largest weight is below ``least_weight`` sees itself alone.
    """
    exponents = -np.maximum(distances - 2 * settings.sigma**2, 0) / strength**2
    exponents[:, settings.reach, settings.reach] = -np.inf
    largest = exponents.max(axis=(1, 2), keepdims=True)
    exponents = np.where(largest < settings.least_exponent, -np.inf, exponents - largest)
    exponents[:, settings.reach, settings.reach] = 0
    weights = np.exp(exponents)
    return np.asarray(weights / weights.sum(axis=(1, 2), keepdims=True), dtype=np.float64)

"""Hot, stuck and dead pixels of one frame: found by the frame alone, and replaced before a network sees them.

Those that the file lists (`alen.listed_pixels`) are replaced likewise.

A long exposure of a sensor has thousands of pixels that light up by themselves. Amplified a hundred times each becomes
a colored dot, because a network rightly takes what no noise explains for a detail. What tells them from stars and
glints is the lens: it spreads the smallest point over its neighbors, which are of other colors, while a defect is one
pixel wide. So a pixel is replaced where it lies outside of all pixels of its color around it by more than these lie
apart, and its direct neighbors do not lie to that side of theirs. (Comparing with the neighbors of the same color is
what RAW converters do; asking those of other colors is what spares stars.)
"""

from __future__ import annotations

import functools
import itertools
import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from alen.cfa import CFA

_REACH: Final = {"bayer": 2, "xtrans": 3}
"""By filter array, how far the pixels that are looked at lie away, in rows and columns: eight and more of each color.
A frame's outermost pixels are left alone, of X-Trans its outermost patterns."""

_SAME: Final = 12
"""Of each color the nearest so many are looked at; of Bayer that are all."""

_APART: Final = 2.5
"""By how many times the range of its neighbors of the same color a defect lies outside of it. Of noise alone, eight
neighbors, that is 7 standard deviations."""

_SUPPORT: Final = 0.08
"""Share of a light's height that its direct neighbors reach, of whatever color: less is no lens's doing. A Gaussian
with a standard deviation of half a pixel spreads 0.16 of its peak to them, one of 0.6 pixels 0.25."""

_DIAGONAL: Final = 0.3
"""Likewise of two diagonal neighbors, for lines that no lens has blurred."""

_FIRST_DEVIATIONS: Final = 2.5
"""Mean absolute differences of a part of the frame that a pixel stands out by, or it is not looked at more closely."""

_ROWS: Final = 48
"""Rows of such parts, a multiple of the sides of all patterns."""

_COLUMNS: Final = 64
"""Columns of them."""

_ROW_STEP: Final = 4
"""Of their rows every fourth is read."""

_RINGS: Final = 8
"""How often what was replaced of a cluster helps to replace what lies deeper in it: rows and columns of up to 32
pixels, of X-Trans 48."""

Gains = tuple[float, float, float]
"""White balance of R, G and B."""

Offsets = tuple[tuple[int, int], ...]
"""(rows, columns) from a pixel."""


@dataclass(frozen=True, eq=False)
class DefectivePixels:
    """Where defective pixels are, and what takes their place."""

    places: NDArray[np.intp]
    """(N,) into the flattened mosaic, ascending."""
    values: NDArray[np.uint16]
    """(N,) DN: the median of the neighbors of the same color."""

    @classmethod
    def none(cls) -> Self:
        """Return no pixels."""
        return cls(np.empty(0, dtype=np.intp), np.empty(0, dtype=np.uint16))

    def __len__(self) -> int:
        return len(self.places)

    def replaced(self, mosaic: NDArray[np.uint16]) -> NDArray[np.uint16]:
        """Return a mosaic without them: a copy, or the mosaic itself if there are none."""
        if not len(self):
            return mosaic
        repaired = mosaic.copy()
        repaired.reshape(-1)[self.places] = self.values
        return repaired


def find_defective_pixels(mosaic: NDArray[np.uint16], cfa: CFA, white_balance: Gains) -> DefectivePixels:
    """Find the pixels of a mosaic that no light explains.

    Args:
        mosaic: (H, W) uint16, in DN, contiguous.
        cfa: Its pattern, Bayer or X-Trans.
        white_balance: Gains of R, G and B.

    Returns:
        The hot and the dead ones. Two that lie beside each other are found if they are of different colors; of two of
        the same color within two pixels only one that is far more so.

    Example:
        >>> mosaic = np.random.default_rng(0).normal(600, 3, (64, 64)).round().astype(np.uint16)
        >>> mosaic[20, 30] = 700
        >>> found = find_defective_pixels(mosaic, CFA.bayer("RGGB"), (2.0, 1.0, 1.5))
        >>> found.places.tolist() == [20 * 64 + 30]
        True
    """
    height, width = mosaic.shape
    if min(height, width) <= 2 * _REACH[cfa.kind]:
        return DefectivePixels.none()
    tops = range(0, height, _ROWS)
    with ThreadPoolExecutor(2) as pool:  # numpy leaves the interpreter's lock
        standing_out = np.concatenate(list(pool.map(lambda top: _standing_out(mosaic, cfa, top), tops)))
    rows, columns = np.divmod(standing_out, width)
    n = cfa.size
    site_of = rows % n * n + columns % n
    places, values = [], []
    for site in range(n * n):
        found, median = _examined(mosaic, standing_out[site_of == site], _site(cfa, *divmod(site, n)), white_balance)
        places.append(found)
        values.append(median)
    order = np.argsort(np.concatenate(places))
    return DefectivePixels(np.concatenate(places)[order], np.concatenate(values)[order])


def defective_pixels_at(mosaic: NDArray[np.uint16], cfa: CFA, places: NDArray[np.intp]) -> DefectivePixels:
    """Return pixels that are known to be defective, and what takes their place.

    That is the median of the nearest pixels of the same color that are sound. Clusters, rows and columns are filled
    from their edges; what lies deeper in them than `_RINGS` stays as it is.

    Args:
        mosaic: (H, W) uint16, in DN, contiguous.
        cfa: Its pattern, Bayer or X-Trans.
        places: (N,) into the flattened mosaic, ascending, each once.

    Example:
        >>> mosaic = np.full((12, 12), 600, np.uint16)
        >>> defective_pixels_at(mosaic, CFA.bayer("RGGB"), np.array([0, 7, 70])).values
        array([600, 600, 600], dtype=uint16)
    """
    height, width = mosaic.shape
    flat = mosaic.reshape(-1)
    rows, columns = np.divmod(places, width)
    n = cfa.size
    site_of = rows % n * n + columns % n
    values = np.full(len(places), np.nan)
    for _ in range(_RINGS):
        sound = values.copy()
        for site in np.unique(site_of[np.isnan(sound)]).tolist():
            index = np.flatnonzero(np.isnan(sound) & (site_of == site))
            offsets = np.array(_site(cfa, *divmod(site, n)).same)
            y, x = rows[index, None] + offsets[:, 0], columns[index, None] + offsets[:, 1]
            around = np.clip(y, 0, height - 1) * width + np.clip(x, 0, width - 1)
            known = np.minimum(np.searchsorted(places, around), len(places) - 1)
            near = np.where(places[known] == around, sound[known], flat[around])
            near[(y < 0) | (y >= height) | (x < 0) | (x >= width)] = np.nan
            has_any = ~np.isnan(near).all(axis=1)
            values[index[has_any]] = np.nanmedian(near[has_any], axis=1)
    is_filled = ~np.isnan(values)
    return DefectivePixels(places[is_filled], values[is_filled].round().astype(np.uint16))


@dataclass(frozen=True)
class _Site:
    """What lies around a pixel at one site of the pattern."""

    color: int
    same: Offsets
    """The other pixels of its color around it, the nearest first."""
    nearest: Offsets
    """Four of them, one to each side as far as there are such."""
    beside: tuple[tuple[int, tuple[int, int], Offsets], ...]
    """Of each of the eight pixels around it, the four direct neighbors first, its color, its place, and other pixels of
    its color."""


@functools.cache
def _site(cfa: CFA, row: int, column: int) -> _Site:
    n, reach = cfa.size, _REACH[cfa.kind]
    span = range(-reach, reach + 1)
    around = sorted(((y, x) for y in span for x in span if (y, x) != (0, 0)), key=lambda place: math.hypot(*place))

    def color(y: int, x: int) -> int:
        return "RGB".index(cfa.rows[(row + y) % n][(column + x) % n])

    direct, diagonal = [(0, -1), (0, 1), (-1, 0), (1, 0)], [(-1, -1), (-1, 1), (1, -1), (1, 1)]
    same = tuple(place for place in around if color(*place) == color(0, 0))[:_SAME]
    nearest = tuple(max(same, key=functools.partial(_towards, side)) for side in direct)
    beside = tuple(
        (color(*place), place, tuple(o for o in around if o not in lit and color(*o) == color(*place))[:_SAME])
        for place, lit in [*((place, direct) for place in direct), *((place, [place]) for place in diagonal)]
    )
    return _Site(color(0, 0), same, tuple(dict.fromkeys(nearest)), beside)


def _towards(side: tuple[int, int], place: tuple[int, int]) -> tuple[float, float]:
    """Return how straight a place lies to a side of a pixel, and then how near."""
    distance = math.hypot(*place)
    return round((place[0] * side[0] + place[1] * side[1]) / distance, 6), -distance


def _standing_out(mosaic: NDArray[np.uint16], cfa: CFA, top: int) -> NDArray[np.intp]:
    """Return the pixels of some rows that stand out of their nearest neighbors: places, in any order."""
    height, width = mosaic.shape
    p = 1 if cfa.is_bayer else cfa.size  # sites that are looked at alone: of Bayer the nearest lie alike for all
    margin = -(-_REACH[cfa.kind] // p)
    first, last = max(top // p, margin), min((top + _ROWS) // p, height // p - margin)
    wide = width // p
    if first >= last or wide <= 2 * margin:
        return np.empty(0, dtype=np.intp)
    rows = mosaic[p * (first - margin) : p * (last + margin), : p * wide]
    threshold = _threshold(rows, cfa.size)
    sites = np.ascontiguousarray(rows.reshape(-1, p, wide, p).transpose(1, 3, 0, 2))  # (p, p, rows, columns)

    def moved(y: int, x: int) -> NDArray[np.uint16]:
        down, right = margin + y // p, margin + x // p
        return sites[y % p, x % p, down : down + last - first, right : right + wide - 2 * margin]

    found = []
    for y, x in itertools.product(range(p), repeat=2):
        pixels = moved(y, x)
        neighbors = [moved(y + down, x + right) for down, right in _site(cfa, y, x).nearest]
        high, low = functools.reduce(np.maximum, neighbors), functools.reduce(np.minimum, neighbors)
        least = threshold[x::p][margin : wide - margin]
        # differences that end at 0: below its neighbors nothing stands out above them
        is_out = np.maximum(pixels, high) - high > least
        is_out |= low - np.minimum(pixels, low) > least
        down, right = np.nonzero(is_out)
        found.append((p * (first + down) + y) * width + p * (margin + right) + x)
    return np.concatenate(found)


def _threshold(rows: NDArray[np.uint16], period: int) -> NDArray[np.uint16]:
    """Return what pixels of some rows have to stand out by, (W,), from how much pixels of the same color differ."""
    width = rows.shape[1]
    sampled = rows[::_ROW_STEP]
    left, right = sampled[:, :-period], sampled[:, period:]
    difference = np.maximum(left, right) - np.minimum(left, right)
    columns = np.arange(0, difference.shape[1], _COLUMNS)
    of_columns = difference.sum(axis=0, dtype=np.float32)
    counts = np.minimum(_COLUMNS, difference.shape[1] - columns) * len(sampled)
    means = np.add.reduceat(of_columns, columns) / counts
    thresholds = np.minimum(_FIRST_DEVIATIONS * means, 65_535).astype(np.uint16)
    of_pixels: NDArray[np.uint16] = thresholds[np.minimum(np.arange(width) // _COLUMNS, len(thresholds) - 1)]
    return of_pixels


def _examined(
    mosaic: NDArray[np.uint16], places: NDArray[np.intp], site: _Site, white_balance: Gains
) -> tuple[NDArray[np.intp], NDArray[np.uint16]]:
    """Return which pixels of a site are defective, and the medians of their neighbors."""
    width = mosaic.shape[1]
    flat = mosaic.reshape(-1)

    def around(offsets: Offsets) -> NDArray[np.int32]:
        steps = np.array([y * width + x for y, x in offsets])
        values: NDArray[np.int32] = flat[places[:, None] + steps].astype(np.int32)
        return values

    pixels = flat[places].astype(np.int32)
    same = around(site.same)
    high, low = same.max(axis=1), same.min(axis=1)
    least = _APART * (high - low + 1)
    is_far = (pixels - high > least) | (low - pixels > least)
    places, pixels, same = places[is_far], pixels[is_far], same[is_far]
    median = np.median(same, axis=1)
    height = white_balance[site.color] * (pixels - median)
    beside = np.stack(
        [
            white_balance[color] * (around((place,))[:, 0] - np.median(around(others), axis=1))
            for color, place, others in site.beside
        ],
        axis=1,
    )
    beside *= np.sign(height)[:, None]
    # of four the middle two: a light between pixels is spread to one side, and a neighbor may be defective, too
    support = np.sort(beside[:, :4], axis=1)[:, 1:3].mean(axis=1)
    of_diagonal = np.sort(beside[:, 4:], axis=1)[:, 2]  # a line through the pixel has two of these
    np.maximum(support, _SUPPORT / _DIAGONAL * of_diagonal, out=support)
    is_defect = support < _SUPPORT * np.abs(height)
    return places[is_defect], median[is_defect].round().astype(np.uint16)

"""Detail that a network has lost, given back: what stands out of the noise is no noise.

A picture that lost nothing but noise differs from the raw frame by that noise, whose size is known (see
`alen.noise_level`). Where the difference is larger, over squares of about 14 pixels, the network took detail for noise:
a fine regular pattern, or texture in a clean frame. There a share of the difference is given back, Wiener's:
1 − noise/difference in squares, after what chance does is taken off. What a pixel of one color lost is added to the
others as they vary together around it: all alike where the picture is gray or flat, and the other way round between red
and blue. Where the network did well, as in nearly all of a dark frame, nothing is changed. (The difference is the
"method noise" of A. Buades, B. Coll and J. M. Morel, "A review of image denoising algorithms, with a new one", 2005,
https://doi.org/10.1137/040616024.)
"""

from __future__ import annotations

import functools
from typing import Final

import numpy as np
from numpy.typing import NDArray

from alen.cfa import PLANE_COLORS, FilterArray, pack_picture, reference, unpack_any
from alen.engines import Planes
from alen.noise_level import NoiseLevel

MARGIN: Final = 4
"""Packed rows around a piece that what is given back depends on; even, as pieces of X-Trans begin at even rows."""

_CHANCE: Final = 1.5
"""By how much a difference has to be larger than noise, in squares: 5 standard deviations of the mean over a square."""

_SQUARES: Final = {4: 7, 9: 5}
"""Side of the squares in packed pixels, by the number of planes: 14 pixels of Bayer, 15 of X-Trans."""

_NEAR: Final = 3
"""Side of the squares around a packed pixel that have to say so, too: beside an edge the large ones see both sides."""

_NEAR_CHANCE: Final = 1.3
"""As `_CHANCE`, for these."""

_SMOOTHED: Final = 3
"""Side of the squares, in packed pixels, over which shares are averaged."""

_ALIKE: Final = 5
"""Side of the squares, in packed pixels, that tell how colors go together."""

_MOST_ALIKE: Final = 1.5
"""A color gets at most so many times what another lost."""

_OUTLIER: Final = 25.0
"""A pixel's difference counts as 5 standard deviations at most, so that a hot pixel is not taken for detail."""

_SATURATED: Final = 0.98
"""From this share of the saturation on a pixel tells nothing."""

_HIGHLIGHTS: Final = (0.9, 1.1)
"""Between these levels of the picture, 1 is white, giving back fades out: the network is not exact above white."""

_ROWS: Final = 8
"""Packed rows that are compared at a time, even: what is made of them stays in a core's second-level cache."""

_PIECE: Final = 128_000
"""Packed pixels that are worked on at a time, about: more would take memory, fewer would work on margins twice."""


class Recovery:
    """Gives back detail piece by piece, as an engine makes a picture.

    Args:
        planes: The packed planes (P, h, w) that the picture is made of.
        saturation: (P,) the value at which each plane saturates: white balance × ratio.
        noise: Their noise; None leaves the picture as it is.
    """

    def __init__(self, planes: Planes, saturation: NDArray[np.float32], noise: NoiseLevel | None) -> None:
        self._planes = planes
        self._saturation = saturation
        self._noise = noise
        self._side = 2 if planes.shape[0] == 4 else 3
        self._pending = np.empty((3, 0, self._side * planes.shape[2]), dtype=np.float32)
        self._first = 0  # the packed row it begins with
        self._rows = max(_PIECE // planes.shape[2], 2 * MARGIN)  # packed rows to wait for
        self._done = 0  # packed rows that were returned

    def push(self, stripe: NDArray[np.float32]) -> NDArray[np.float32]:
        """Take the next rows of the picture and return those that are ready, from top to bottom: all by the last call.

        Args:
            stripe: (s·n, s·w, 3) linear camera RGB; s is 2, of X-Trans 3. Fastest with colors apart in memory.

        Returns:
            (s·m, s·w, 3), m ≥ 0, with colors apart in memory.
        """
        self.add(stripe)
        return self.ready()

    def add(self, stripe: NDArray[np.float32]) -> None:
        """Take the next rows of the picture, as `push`: a copy, so that their memory may be used again."""
        self._pending = np.concatenate([self._pending, stripe.transpose(2, 0, 1)], axis=1)

    def ready(self) -> NDArray[np.float32]:
        """Return the rows that are ready and have not been returned yet, as `push`."""
        side, height = self._side, self._planes.shape[1]
        if self._noise is None:
            rows, self._pending = self._pending, self._pending[:, :0]
            return rows.transpose(1, 2, 0)
        reached = self._first + self._pending.shape[1] // side // 2 * 2
        stop = height if reached == height else (reached - MARGIN) // 2 * 2
        if stop < min(self._done + self._rows, height):
            return self._pending[:, :0].transpose(1, 2, 0)
        planes = self._planes.rows(self._first, reached)
        whole = self._pending[:, : side * (reached - self._first)].transpose(1, 2, 0)
        recovered = recover(whole, planes, self._saturation, self._noise)
        ready = recovered[side * (self._done - self._first) : side * (stop - self._first)]
        kept = max(stop - MARGIN, 0)
        self._pending = self._pending[:, side * (kept - self._first) :]
        self._first, self._done = kept, stop
        return ready


def recover(
    picture: NDArray[np.float32], planes: NDArray[np.float32], saturation: NDArray[np.float32], noise: NoiseLevel
) -> NDArray[np.float32]:
    """Give back what a picture lost and stands out of the noise.

    Args:
        picture: (s·h, s·w, 3) linear camera RGB at the scale of the planes.
        planes: (P, h, w) the packed planes it is made of: 4 of Bayer with s = 2, or 9 of X-Trans with s = 3, h and w
            even.
        saturation: (P,) the value at which each plane saturates.
        noise: Their noise.

    Returns:
        (s·h, s·w, 3) float32, in memory in which colors lie as in that of the picture: the picture itself, if it lost
        nothing. At the edges the outermost packed pixels are repeated.
    """
    kind: FilterArray = "bayer" if len(planes) == 4 else "xtrans"
    cfa = reference(kind)
    side, of_planes = cfa.packed_side, ["RGB".index(color) for color in PLANE_COLORS[kind]]
    difference = np.empty_like(planes)
    excess = np.empty(planes.shape[1:], dtype=np.float32)  # (h, w); 1 is noise
    for top in range(0, len(excess), _ROWS):
        rows = slice(top, top + _ROWS)
        difference[:, rows], excess[rows] = _compared(
            picture[side * top : side * (top + _ROWS)], planes[:, rows], saturation, noise
        )
    share = _share(_box(excess, _SQUARES[len(planes)]), _CHANCE)
    if not share.any():
        return picture
    difference *= _box(np.minimum(share, _share(_box(excess, _NEAR), _NEAR_CHANCE)), _SMOOTHED)
    recovered = picture.copy(order="K")
    beyond = _ALIKE // 2
    reduced = np.stack([np.pad(_reduced(picture[..., color], side), beyond, mode="edge") for color in range(3)])
    for top in range(0, len(excess), _ROWS):
        rows = slice(top, min(top + _ROWS, len(excess)))
        if not difference[:, rows].any():
            continue
        shares = _shares_of_colors(reduced[:, top : rows.stop + 2 * beyond], saturation, noise)
        for color in range(3):
            given = unpack_any(difference[:, rows] * shares[color, of_planes], cfa)
            recovered[side * top : side * rows.stop, :, color] += given
    return recovered


def _shares_of_colors(
    reduced: NDArray[np.float32], saturation: NDArray[np.float32], noise: NoiseLevel
) -> NDArray[np.float32]:
    """Return what each color gets of what another lost: (3, 3, h, w), the color that gets first, for packed pixels.

    How they go together tell squares around the pixel, of ``reduced`` (3, h + 4, w + 4): covariance over variance. As
    if all had the noise in common, besides, so that where the picture is flat all three get the same.
    """
    count = np.float32(_ALIKE**2)
    sums = [_sums_over_squares(color, _ALIKE) for color in reduced]
    means = [total / count for total in sums]
    # of green, as often as there are pixels
    in_common = noise.variance(np.maximum(means[1] / saturation[1], 0)) * (saturation[1] ** 2 * count)
    shares = np.empty((3, 3, *in_common.shape), dtype=np.float32)
    variances = []
    for i in range(3):
        for j in range(i, 3):
            together = _sums_over_squares(reduced[i] * reduced[j], _ALIKE)
            together -= sums[i] * means[j]
            together += in_common
            if i == j:
                variances.append(np.maximum(together, in_common, out=together))
            else:
                shares[i, j] = shares[j, i] = together
    for of in range(3):
        for color in range(3):
            if color != of:
                shares[color, of] /= variances[of]
        shares[of, of] = 1
    return np.clip(shares, -_MOST_ALIKE, _MOST_ALIKE, out=shares)


def _reduced(values: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """Return the means of side × side of (side·h, side·w): (h, w)."""
    rows = functools.reduce(np.add, (values[k::side] for k in range(side)))
    means: NDArray[np.float32] = functools.reduce(np.add, (rows[:, k::side] for k in range(side)))
    means *= np.float32(1 / side**2)
    return means


def _compared(
    picture: NDArray[np.float32], planes: NDArray[np.float32], saturation: NDArray[np.float32], noise: NoiseLevel
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return by how much planes differ from a picture, (P, h, w), 0 where that tells nothing, and how noisy that is."""
    white = saturation[:, None, None]
    expected = pack_picture(picture, len(planes))  # (P, h, w)
    low, high = _HIGHLIGHTS
    difference: NDArray[np.float32] = planes - expected
    difference *= np.clip((high - expected.max(axis=0)) * np.float32(1 / (high - low)), 0, 1)
    difference[planes >= np.float32(_SATURATED) * white] = 0
    expected /= white
    squares = difference / white
    squares *= squares
    squares /= noise.variance(expected)
    np.minimum(squares, np.float32(_OUTLIER), out=squares)
    return difference, squares.mean(axis=0)


def _share(excess: NDArray[np.float32], chance: float) -> NDArray[np.float32]:
    """Return the share that is given back: 1 − chance/excess, and nothing up to there."""
    share: NDArray[np.float32] = np.maximum(excess, np.float32(chance))
    np.divide(np.float32(-chance), share, out=share)
    share += 1
    return share


def _box(values: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """Return the means over squares around every position of (h, w); edges are repeated."""
    means = _sums_over_squares(np.pad(values, side // 2, mode="edge"), side)
    means *= np.float32(1 / side**2)
    return means


def _sums_over_squares(values: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """Return the sums over all squares that lie inside of (h, w): (h − side + 1, w − side + 1)."""
    return _sums_over_rows(_sums_over_rows(values, side).T, side).T


def _sums_over_rows(values: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """Return the sums over so many rows, from each that has enough after it: of two halves, which are made once."""
    if count == 1:
        return values
    half, last = count // 2, len(values) - count + 1
    halves = _sums_over_rows(values, half)
    sums = halves[:last] + halves[half : half + last]
    if count % 2:
        sums += values[count - 1 :]
    return sums

"""Flats: the photon-transfer line, variance over mean of the pixels of a still scene, whose slope is the gain."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from alen.calibrate.blocks import BLOCK_PX, block_means, block_starts, expanded, pattern_phases
from alen.calibrate.darks import DarkNoise
from alen.calibrate.intervals import bootstrap_draws, bootstrap_interval, frame_tiles
from alen.calibrate.stacks import LINEAR_SHARE, Stack
from alen.camera_file import Measured
from alen.cfa import CFA
from alen.errors import CalibrationError

MAX_FLICKER: Final = 0.2
"""By what share of their mean frames of one exposure may differ in brightness."""

_EXCLUDED: Final = 255
"""Class of pixels that do not take part in the photon-transfer curve."""


@dataclass(frozen=True, eq=False, kw_only=True)
class FlatPoints:
    """Points of the photon-transfer curve from frames of one exposure, by part of the frame."""

    sums: NDArray[np.float64]
    """(tiles, classes, 3): pixels, sum of their levels above black in DN, sum of their variances in DN²."""
    degrees: float
    """Degrees of freedom of a pixel's variance."""
    frames: int
    """Frames that they are from."""

    @property
    def mean_dn(self) -> float:
        """Mean level above black in DN."""
        pixels, levels, _ = self.sums.sum(axis=(0, 1))
        return float(levels / max(pixels, 1))

    def points(self, weights: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
        """Return (3, classes): level, variance, degrees of freedom; ``weights`` (tiles,) count the parts."""
        sums = self.sums.sum(axis=0) if weights is None else np.tensordot(weights, self.sums, axes=1)  # (classes, 3)
        sums = sums[(sums[:, 0] > 1) & (sums[:, 2] > 0)]
        return np.stack([sums[:, 1] / sums[:, 0], sums[:, 2] / sums[:, 0], sums[:, 0] * self.degrees])


@dataclass(frozen=True, eq=False, kw_only=True)
class PhotonTransfer:
    """The mean-variance line of a sensor: variance = gain · level + variance at black."""

    gain: Measured
    """System gain K in DN per electron."""
    variance_at_black_dn2: float
    """Variance without light in DN²: read² + row² + 1/12."""
    level_dn: tuple[float, ...]
    """Mean above black of every point of the line, in DN."""
    variance_dn2: tuple[float, ...]
    """Variance over time of every point, in DN²."""


def flat_points(
    frames: Iterable[NDArray[np.uint16]],
    cfa: CFA,
    black_dn: Sequence[float] | NDArray[np.float64],
    white_dn: float,
    *,
    bins: int = 32,
) -> FlatPoints | None:
    """Measure mean and variance over time of the pixels of a still scene, gathered by brightness.

    As the variance is a line over the mean, the averages over *any* set of pixels lie on that line, if only the set was
    not chosen by the very values that are measured, which would tilt it. From four frames on, one half of them sorts
    the pixels into classes of brightness and the other gives level and variance, then the other way round. Of two or
    three frames, blocks of 64 pixels are sorted by their mean, whose own noise is small; a scene whose texture is finer
    has to be photographed four times.

    Against flicker, frames are brought to the contrast of the first, and each color of each block is made equal in all
    of them. Pixels (or blocks) above
    `LINEAR_SHARE` of the range, and pixels that vary more than noise can, do not take part.

    Args:
        frames: (H, W) uint16 in DN, one after the other, at least two of the same exposure; an array will do.
        cfa: Their pattern.
        black_dn: True black level of R, Gr, Gb, B in DN.
        white_dn: Level of saturation in DN.
        bins: Number of brightness classes, at most 127.

    Returns:
        The points; None if all pixels are saturated.

    Raises:
        CalibrationError: Fewer than two frames, of different sizes, all alike, or of different brightness.
    """
    black = np.asarray(black_dn, np.float64)
    range_dn = white_dn - float(black.mean())
    stack: Stack | None = None
    for mosaic in frames:
        if stack is None:
            levels = (float(black.mean()), range_dn)
            stack = Stack(mosaic, cfa.size, side=BLOCK_PX, parts=2, levels=levels)
            brightness = float(mosaic.mean(dtype=np.float64) - black.mean())
            continue
        _, common = stack.add(mosaic)
        moved = abs(float(np.mean([blocks.mean() for blocks in common])))
        if moved > MAX_FLICKER * max(brightness, 0.01 * range_dn):
            raise CalibrationError(
                f"Flats of the same exposure differ in brightness by {moved:.3g} DN at a mean of {brightness:.3g} DN. "
                "Take them in a row, in light that does not flicker, with the camera on manual."
            )
    if stack is None or stack.count < 2:
        raise CalibrationError("At least two flat frames of an exposure are needed, better four or more.")
    limit = LINEAR_SHARE * range_dn
    sums = []
    if stack.count >= 4:
        degrees = stack.count / 2 - 1
        halves = [stack.taken(part) for part in (0, 1)]
        for level, _ in halves:
            _subtract_black(level, cfa, black)
        for sorting, measured in ((0, 1), (1, 0)):
            classes = _classes(halves[sorting][0], halves[sorting][0], limit, bins)
            sums.append(_class_sums(classes, *halves[measured], bins))
    else:
        degrees = stack.count - 1.0
        level, variance = stack.taken()
        _subtract_black(level, cfa, black)
        blocks, brightest = _block_levels(level, cfa.size, limit)
        sums.append(_class_sums(_classes(blocks, brightest, limit, bins), level, variance, bins))
    found = np.concatenate(sums, axis=1)  # (tiles, classes, 3)
    if found[..., 0].sum() == 0:
        return None
    if found[..., 2].sum() == 0:
        raise CalibrationError("The flats of an exposure are all alike: these are copies, or hold no noise.")
    return FlatPoints(sums=found, degrees=degrees, frames=stack.count)


def fit_gain(points: Sequence[FlatPoints], dark: DarkNoise | None = None) -> PhotonTransfer:
    """Fit the photon-transfer line, robustly, each point weighted by its own uncertainty.

    The darks, if they are given, are a point of the line, at level 0. How far the black level of flats may lie from
    theirs is known from how it drifts between darks, and makes that point less certain; so it holds the line of bright
    flats, and leaves that of a dark scene to the scene.

    Args:
        points: From `flat_points`, for every exposure.
        dark: From `dark_noise`.

    Raises:
        CalibrationError: The points do not determine the gain.
    """
    frames = [part.frames for part in points]
    drift = 0.0 if dark is None else dark.frame_sigma_dn

    def fit(
        weights: NDArray[np.float64] | None, shifts: Sequence[float], start: tuple[float, float] | None = None
    ) -> tuple[float, float]:
        columns = []
        for part, shift in zip(points, shifts, strict=True):
            found = part.points(weights)
            found[0] += shift
            columns.append(found)
        if dark is not None:
            columns.append(np.array([[0.0], [dark.sigma_dn.value**2], [dark.degrees]]))
        level, variance, degrees = np.concatenate(columns, axis=1)
        errors = np.zeros_like(level)
        if dark is not None:
            errors[-1] = drift
        return _fit_line(level, variance, degrees, errors, start)

    level, variance, _ = np.concatenate([part.points() for part in points], axis=1)
    if len(np.unique(level)) < (3 if dark is None else 1):
        raise CalibrationError(
            "Photon transfer wants a scene of several brightnesses below saturation; got a flat one."
        )
    line = gain, at_black = fit(None, [0.0] * len(points))
    rng = np.random.default_rng(0)
    replicates = np.array(
        [
            fit(weights, [float(drift / math.sqrt(n) * rng.standard_normal()) for n in frames], line)[0]
            for weights in bootstrap_draws(rng, len(points[0].sums))
        ]
    )
    measured = bootstrap_interval(gain, replicates)
    if not measured.low > 0 or measured.high - measured.low > 0.5 * measured.value:
        raise CalibrationError(
            f"The flats do not tell the gain: K lies between {measured.low:.3g} and {measured.high:.3g} DN per "
            "electron. Take more of them, brighter ones, or of a scene with more contrast."
        )
    return PhotonTransfer(
        gain=measured,
        variance_at_black_dn2=at_black,
        level_dn=tuple(float(value) for value in level),
        variance_dn2=tuple(float(value) for value in variance),
    )


def photon_transfer(
    frames: Iterable[NDArray[np.uint16]],
    cfa: CFA,
    black_dn: Sequence[float] | NDArray[np.float64],
    white_dn: float,
    *,
    bins: int = 32,
) -> PhotonTransfer:
    """Measure the gain from repeated frames of one still scene, without darks: `flat_points` and `fit_gain` at once.

    If the black level is too low by d, `PhotonTransfer.variance_at_black_dn2` comes out lower by K·d; the gain does not
    depend on it.

    Raises:
        CalibrationError: Fewer than two frames, or fewer than three brightnesses below saturation.
    """
    points = flat_points(frames, cfa, black_dn, white_dn, bins=bins)
    if points is None:
        raise CalibrationError(f"Photon transfer wants pixels below {LINEAR_SHARE:.0%} of saturation; there are none.")
    return fit_gain([points])


def _subtract_black(level: NDArray[np.float32], cfa: CFA, black_dn: NDArray[np.float64]) -> None:
    """Take the black level of each color off a frame (H, W), in place."""
    planes = cfa.plane_map(cfa.size, cfa.size).ravel()
    for plane, phase in zip(planes, pattern_phases(cfa.size), strict=True):
        level[phase] -= np.float32(black_dn[plane])


def _classes(key: NDArray[np.float32], brightest: NDArray[np.float32], limit: float, bins: int) -> NDArray[np.uint8]:
    """Return the class of every pixel (H, W) by its key; `_EXCLUDED` where ``brightest`` is above a limit."""
    taken = key[brightest <= limit]
    classes = np.full(key.shape, _EXCLUDED, np.uint8)
    if taken.size:
        some = taken[:: max(taken.size // 1_000_000, 1)]
        edges = np.unique(np.quantile(some, np.linspace(0, 1, bins + 1)[1:-1])).astype(np.float32)  # integers tie
        for row, line in enumerate(key):
            classes[row] = np.searchsorted(edges, line, side="right")
        classes[brightest > limit] = _EXCLUDED
    return classes


def _class_sums(
    classes: NDArray[np.uint8], level: NDArray[np.float32], variance: NDArray[np.float32], bins: int
) -> NDArray[np.float64]:
    """Add up pixels, levels and variances (H, W) by part of the frame and class: (tiles, bins, 3).

    Pixels that jump are left out: 30 × the mean has a chance of 4e-8 even for pairs.
    """
    tiles = frame_tiles(*classes.shape)
    calm = np.full(classes.shape, True)
    for is_last in (False, True):
        sums = np.zeros((len(tiles), bins, 3))
        for index, tile in enumerate(tiles):
            taken = calm[tile] & (classes[tile] != _EXCLUDED)
            which = classes[tile][taken]
            sums[index, :, 0] = np.bincount(which, minlength=bins)
            sums[index, :, 1] = np.bincount(which, level[tile][taken], bins)
            sums[index, :, 2] = np.bincount(which, variance[tile][taken], bins)
        if not is_last:
            whole = sums.sum(axis=0)
            ceiling = np.full(_EXCLUDED + 1, np.inf)
            ceiling[:bins] = 30 * whole[:, 2] / np.maximum(whole[:, 0], 1)
            calm = variance <= ceiling.astype(np.float32)[classes]
    return sums


def _block_levels(
    level: NDArray[np.float32], period: int, limit: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the mean of every pixel's block, and a level above the limit where the block has bright pixels (H, W).

    More than one in a hundred: hot pixels do not exclude a block.
    """
    means, brightest = np.empty_like(level), np.empty_like(level)
    for phase in pattern_phases(period):
        plane = level[phase]
        starts = block_starts(plane.shape, period, BLOCK_PX)
        means[phase] = expanded(block_means(plane, starts), starts, plane.shape)
        bright = block_means((plane > limit).astype(np.float32), starts)
        brightest[phase] = expanded(np.where(bright > 0.01, np.inf, -np.inf), starts, plane.shape)
    return means, brightest


def _fit_line(
    level: NDArray[np.float64],
    variance: NDArray[np.float64],
    degrees: NDArray[np.float64],
    level_error: NDArray[np.float64],
    start: tuple[float, float] | None = None,
) -> tuple[float, float]:
    """Fit variance = slope · level + intercept robustly, each point weighted by its own uncertainty.

    A variance with n degrees of freedom has a standard error of √(2/n) of itself; "itself" is the fitted line, since
    weights from the measured value would favour points that came out low. An error of the level counts × slope. Huber's
    weights tame outliers. From a line ``start`` nearby, fewer rounds will do.
    """
    typical, middle = float(np.median(variance)), len(variance) // 2
    least = 1e-3 * typical
    slope, intercept = start or (0.0, typical)
    expected = slope * level + intercept
    tame = np.ones_like(variance)
    for _ in range(20 if start is None else 4):
        floor = np.maximum(expected, least)
        error = np.hypot(floor * np.sqrt(2 / degrees), slope * level_error)
        weight = tame / error**2
        total = weight.sum()
        center, height = weight @ level / total, weight @ variance / total
        spread = weight @ (level - center) ** 2
        slope = weight @ ((level - center) * (variance - height)) / spread if spread > 0 else 0.0
        intercept = height - slope * center
        expected = slope * level + intercept
        deviation = np.abs(variance - expected) / error
        scale = max(1.4826 * float(np.partition(deviation, middle)[middle]), 1e-12)
        tame = np.minimum(1, 1.5 * scale / np.maximum(deviation, 1e-12))
    return float(slope), float(intercept)

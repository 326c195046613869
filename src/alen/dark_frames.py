"""Dark frames: what a sensor shows without light, taken off a RAW image of the same camera.

Frames with the lens cap on tell a sensor's fixed pattern: stripes, glow, hot pixels. Their plain mean also holds the
read noise of N frames, σ²/N per pixel, which subtracting it would add to the picture: with few darks more than the
pattern it removes. So of the mean only that is taken off which the darks agree on: for smooth shading, for rows and
columns, and for single pixels, each is shrunk by the share of its power that two halves of the darks have in common
(Wiener); the means of the colors are taken off as they are, and hot pixels, far outside of the noise, nearly. With many
darks this becomes their mean.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from alen.cfa import CFA
from alen.errors import CalibrationError
from alen.raw import RawImage, read_raw

LOST_SHARE: Final = 0.5
"""Part of the range between black and white from which on the darkness of a pixel leaves no room for the picture."""

LEAST_BLACK_SHARE: Final = 1 / 64
"""Part of the white level that the black level has at least afterwards: room for noise below it."""

LIT_SHARE: Final = 0.002
"""Part of the range between black and white that dark frames are above black, at least, for a warning of light in them:
2 DN of 10 bits, 30 of 14."""

LIT_SHARE_OF_PICTURE: Final = 0.25
"""Part of what the picture has above black, likewise."""

HOT_DEVIATIONS: Final = 3.0
"""Deviations, of the noise in the mean, from which on a pixel counts by its own value."""

_BLOCK_PX: Final = 64
"""Distance of the supports of smooth shading."""

_ROWS: Final = 128
"""Rows worked on together, about."""


@dataclass(frozen=True, eq=False, kw_only=True)
class DarkFrame:
    """What dark frames have in common."""

    offset_dn: NDArray[np.float32]
    """(H, W) what they lie above the file's black level by, as far as they can tell it from their noise; signed."""
    cfa: CFA
    """Their pattern."""
    camera: str
    """Maker and model."""
    iso: float | None
    """Their ISO speed; None if unknown."""
    exposure_time_s: float | None
    """Exposure time of the first in seconds; None if unknown."""
    level_dn: float
    """How far they lie above the file's black level in the mean, in DN."""
    frames: int
    """How many there are."""
    name: str
    """Name of the first file, for messages."""


def read_dark_frames(paths: Sequence[Path], *, progress: Callable[[], None] | None = None) -> DarkFrame:
    """Read dark frames of one camera and ISO speed, one after the other; `combine_dark_frames` tells what it raises.

    Args:
        paths: RAW files.
        progress: Called after every file.

    Raises:
        RawError: A file cannot be used.
    """

    def frames() -> Iterable[RawImage]:
        for path in paths:
            yield read_raw(path)
            if progress is not None:
                progress()

    return combine_dark_frames(frames())


def combine_dark_frames(frames: Iterable[RawImage]) -> DarkFrame:
    """Find what dark frames have in common.

    Args:
        frames: RAW images taken without light: same camera, pattern, size and ISO speed, at least one. Of one frame
            noise and pattern of single pixels cannot be told apart; then only hot pixels count.

    Raises:
        CalibrationError: There is no frame, they are not of one kind, or one is much brighter than the others.
    """
    first: RawImage | None = None
    count = 0
    levels: list[tuple[float, str]] = []
    for raw in frames:
        if first is None:
            first = raw
            halves = [np.zeros(raw.mosaic.shape, np.float32) for _ in range(2)]
        else:
            _check_kind(raw, first.camera, first.cfa, first.mosaic.shape, first.iso, first.name)
        above = _above_black(raw)
        levels.append((float(above.mean(dtype=np.float64)), raw.name))
        halves[count % 2] += above
        count += 1
    if first is None:
        raise CalibrationError("No dark frame was given.")
    _check_levels(levels, first.white_level - max(first.black_level))
    mean = halves[0] + halves[1]
    mean /= np.float32(count)
    level_dn = float(mean.mean(dtype=np.float64))
    halves[0] /= np.float32((count + 1) // 2)
    halves[1] /= np.float32(max(count // 2, 1))  # stays 0 of a single frame, so that nothing is agreed on
    _keep_what_is_agreed(mean, halves[0], halves[1], first.cfa.size)
    del halves
    mean.flags.writeable = False
    return DarkFrame(
        offset_dn=mean,
        cfa=first.cfa,
        camera=first.camera,
        iso=first.iso,
        exposure_time_s=first.exposure_time_s,
        level_dn=level_dn,
        frames=count,
        name=first.name,
    )


def _check_levels(levels: Sequence[tuple[float, str]], range_dn: float) -> None:
    """Raise CalibrationError if one of some dark frames, (mean in DN, name), is brighter than half of them allow."""
    usual, _ = sorted(levels)[(len(levels) - 1) // 2]  # the median, or the lower one of two
    brightest, name = max(levels)
    if brightest - usual > LIT_SHARE * range_dn:
        raise CalibrationError(
            f"{name}: lies {brightest - usual:.3g} DN above the other dark frames in the mean: light reached it, or it "
            "is none. Leave it out; files to enhance are named before --dark."
        )


def subtract_dark(raw: RawImage, dark: DarkFrame) -> RawImage:
    """Take dark frames off a RAW image.

    The result has finer steps: DN × s, with the largest whole s that fits 16 bits (63 for 10 bits, 4 for 14, 1 for 16),
    since offsets are fractions of a DN. Black and white level are those of the image × s, plus a pedestal if the black
    level was below 1/64 of white and 16 bits have room for it. DN × s − offset × s is rounded up or down at random (the
    same each time), so that the mean is kept exactly, at the cost of a variance of at most 1/4 of such a step squared.
    Shadows keep their sign, down to a DN of 1. Saturated pixels stay saturated; where the darks themselves leave no
    room (`LOST_SHARE`), the mean of the neighbors of the same color stands in.

    Args:
        raw: The image; what it was taken of does not matter.
        dark: Dark frames of the same camera, pattern, size and ISO speed.

    Returns:
        The image with another mosaic, black and white level; a warning if the exposure times differ twofold, or if the
        darks are so bright beside the image that they may hold light.

    Raises:
        CalibrationError: The darks are of another camera, pattern, size or ISO speed.
    """
    _check_kind(raw, dark.camera, dark.cfa, dark.offset_dn.shape, dark.iso, dark.name)
    pedestal = max(0, math.ceil(LEAST_BLACK_SHARE * raw.white_level - min(raw.black_level)))
    pedestal = min(pedestal, max(65_535 - math.ceil(raw.white_level), 0))  # clipped pixels have to fit
    scale = max(math.floor(65_535 / (raw.white_level + pedestal)), 1)
    white = scale * (raw.white_level + pedestal)
    height = len(raw.mosaic)
    mosaic = np.empty_like(raw.mosaic)
    rng = np.random.default_rng(0)
    for top in range(0, height, _ROWS):
        rows = slice(top, min(top + _ROWS, height))
        corrected = raw.mosaic[rows] - dark.offset_dn[rows]  # float32
        corrected += np.float32(pedestal)
        corrected *= np.float32(scale)
        corrected += rng.random(corrected.shape, dtype=np.float32)
        np.floor(corrected, out=corrected)
        corrected[raw.mosaic[rows] >= raw.white_level] = white
        mosaic[rows] = np.clip(corrected, 1, 65_535)
    lost = dark.offset_dn > LOST_SHARE * (raw.white_level - max(raw.black_level))
    _fill(mosaic, lost, raw.cfa.size)
    mosaic.flags.writeable = False
    warnings = raw.warnings
    times = (raw.exposure_time_s, dark.exposure_time_s)
    if times[0] is not None and times[1] is not None and not 0.5 <= times[0] / times[1] <= 2:
        warnings += (
            f"The dark frames were exposed for {times[1]:.3g} s, this one for {times[0]:.3g} s; glow and hot pixels "
            "grow with the time.",
        )
    range_dn = raw.white_level - max(raw.black_level)
    own_dn = float(raw.mosaic.mean(dtype=np.float64)) - sum(raw.black_level) / 4
    if dark.level_dn > max(LIT_SHARE * range_dn, LIT_SHARE_OF_PICTURE * own_dn):
        warnings += (
            f"The dark frames lie {dark.level_dn:.3g} DN above black in the mean, this one {own_dn:.3g}: if light "
            "reached them, it was taken off the picture.",
        )
    r, gr, gb, b = (scale * (black + pedestal) for black in raw.black_level)
    return replace(
        raw,
        mosaic=mosaic,
        black_level=(r, gr, gb, b),
        white_level=white,
        scale=scale * raw.scale,
        pedestal_dn=raw.pedestal_dn + pedestal / raw.scale,
        warnings=warnings,
    )


def _above_black(raw: RawImage) -> NDArray[np.float32]:
    """Return DN above the file's black level (H, W)."""
    black = np.array(raw.black_level, np.float32)
    return np.asarray(raw.mosaic - black[raw.cfa.plane_map(*raw.mosaic.shape)], np.float32)


def _check_kind(raw: RawImage, camera: str, cfa: CFA, shape: tuple[int, ...], iso: float | None, name: str) -> None:
    """Raise CalibrationError if an image is of another kind than dark frames."""
    for what, ours, theirs in (
        ("camera", raw.camera, camera),
        ("size", f"{raw.mosaic.shape[1]} × {raw.mosaic.shape[0]}", f"{shape[1]} × {shape[0]}"),
        ("filter array", raw.cfa.name, cfa.name),
        ("ISO speed", f"{raw.iso or iso or 0:g}", f"{iso or raw.iso or 0:g}"),  # unknown is no difference
    ):
        if ours != theirs:
            raise CalibrationError(
                f"{raw.name}: its {what} is {ours}, that of the dark frame {name} is {theirs}. Dark frames are to be "
                "taken with the same camera and settings."
            )


def _keep_what_is_agreed(
    mean: NDArray[np.float32], half: NDArray[np.float32], other: NDArray[np.float32], period: int
) -> None:
    """Reduce the mean of dark frames (H, W), in place, to what two halves of them agree on; their means are used up."""
    for y in range(period):
        for x in range(period):
            phase = (slice(y, None, period), slice(x, None, period))
            planes = (mean[phase], half[phase], other[phase])  # views
            middles = [_without_outliers(plane) for plane in planes]
            for plane, (middle, _) in zip(planes, middles, strict=True):
                plane -= middle
            rest = planes[0]
            reach = 6 * middles[0][1]  # what lies beyond is hot
            agreed = np.full_like(rest, middles[0][0])
            for part in (_shading, _rows, _columns):
                values = [part(np.clip(plane, -reach, reach), period) for plane in planes]
                agreed += values[0] * np.float32(_agreement(*values))
                for plane, value in zip(planes, values, strict=True):
                    plane -= value
            is_bulk = np.abs(rest) <= reach
            share = _agreement(*(plane[is_bulk] for plane in planes))
            noise = (1 - share) * float(np.square(rest[is_bulk], dtype=np.float64).mean())
            own = 1 - HOT_DEVIATIONS**2 * noise / np.maximum(np.square(rest), 1e-12)
            rest *= np.maximum(own, share)
            rest += agreed


def _without_outliers(plane: NDArray[np.float32]) -> tuple[float, float]:
    """Return mean and standard deviation; what lies beyond 6 of these counts as there."""
    tame = plane
    for _ in range(6):  # a saturated pixel in ten thousand is tamed after three
        middle, deviation = float(tame.mean(dtype=np.float64)), float(tame.std(dtype=np.float64))
        tame = np.clip(plane, middle - 6 * deviation, middle + 6 * deviation)
    return middle, deviation


def _agreement(mean: NDArray[np.float32], half: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Return which share of a mean's power two halves have in common, 0 to 1."""
    common = float(np.mean(half * other, dtype=np.float64)) if mean.size else 0.0
    power = float(np.mean(mean * mean, dtype=np.float64)) if mean.size else 0.0
    return min(max(common / power, 0.0), 1.0) if power > 0 else 0.0


def _rows(plane: NDArray[np.float32], period: int) -> NDArray[np.float32]:  # noqa: ARG001 - as the others
    """Return the means of the rows of a plane: (h, 1)."""
    return np.asarray(plane.mean(axis=1, keepdims=True, dtype=np.float64), np.float32)


def _columns(plane: NDArray[np.float32], period: int) -> NDArray[np.float32]:  # noqa: ARG001 - as the others
    """Return the means of the columns of a plane: (1, w)."""
    return np.asarray(plane.mean(axis=0, keepdims=True, dtype=np.float64), np.float32)


def _shading(plane: NDArray[np.float32], period: int) -> NDArray[np.float32]:
    """Return what is smooth in a plane (h, w): its means over blocks, interpolated between their centers."""
    counts = [max(length * period // _BLOCK_PX, 1) for length in plane.shape]
    starts = [np.arange(count) * length // count for count, length in zip(counts, plane.shape, strict=True)]
    sizes = [np.diff([*start, length]) for start, length in zip(starts, plane.shape, strict=True)]
    sums = np.add.reduceat(np.add.reduceat(plane, starts[0], axis=0, dtype=np.float64), starts[1], axis=1)
    means = sums / np.outer(*sizes)
    centers = [start + (size - 1) / 2 for start, size in zip(starts, sizes, strict=True)]
    wide = np.stack([np.interp(np.arange(plane.shape[1]), centers[1], row) for row in means])  # (blocks, w)
    smooth = np.empty_like(plane)
    for row, position in enumerate(np.interp(np.arange(plane.shape[0]), centers[0], np.arange(len(means)))):
        upper = int(position)
        t = position - upper
        smooth[row] = (1 - t) * wide[upper] + t * wide[min(upper + 1, len(means) - 1)]
    return smooth


def _fill(mosaic: NDArray[np.uint16], lost: NDArray[np.bool_], period: int) -> None:
    """Give lost pixels, in place, the mean of their neighbors of the same color that are not lost; 0 to 4 of them."""
    height, width = mosaic.shape
    ys, xs = np.nonzero(lost)
    sums, counts = np.zeros(len(ys)), np.zeros(len(ys))
    for dy, dx in ((-period, 0), (period, 0), (0, -period), (0, period)):
        y, x = ys + dy, xs + dx
        inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
        y, x = np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)
        counts_here = inside & ~lost[y, x]
        sums += np.where(counts_here, mosaic[y, x], 0)
        counts += counts_here
    has_neighbors = counts > 0
    mosaic[ys[has_neighbors], xs[has_neighbors]] = np.rint(sums[has_neighbors] / counts[has_neighbors])

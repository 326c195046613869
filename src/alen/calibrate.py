"""Calibrating a camera: from dark and flat frames to the parameters of the noise model (`alen.noise`).

*Gain.* Light arrives as a Poisson process, so the variance of a pixel over time is a line over its mean, whose slope is
the system gain K: the photon-transfer curve, EMVA Standard 1288, release 4.0, sections 5 to 7
(https://www.emva.org/standards-technology/emva-1288/), with signal-dependent noise as in Foi et al., "Practical
Poissonian-Gaussian Noise Modeling and Fitting for Single-Image Raw-Data", IEEE TIP 17(10), 2008. Fixed patterns and the
scene fall out of the variance over time, so a burst of a still scene serves as well as frames of a white wall.

*Darks.* Read noise as a Gaussian and as a Tukey-lambda distribution whose shape maximizes the probability plot
correlation coefficient (PPCC), row noise, and the black level of the colors, as in Wei et al., "A Physics-based Noise
Formation Model for Extreme Low-light Raw Denoising", CVPR 2020 (https://arxiv.org/abs/2003.12751). Two things differ.
They fit single frames; here it is differences of successive frames, from which hot pixels and fixed patterns fall out,
against the distribution of a *difference* of two independent values that were rounded. And what a whole frame has in
common (drift) is told apart from what its rows have of their own (row noise).

Frames are taken one after the other; per pixel 18 bytes are kept, however many frames there are. Confidence intervals
are 95 %: by bootstrap over 48 parts of the frame and over bands of rows, and from the chi-squared and Student's
distribution for what is estimated from as few numbers as there are frames.

Everything is numpy. DN are digital numbers at the file's bit depth; quantities per CFA color are ordered R, Gr, Gb, B.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from alen import __version__
from alen.camera_file import CameraFile, HotPixel, IsoCalibration, Measured
from alen.cfa import CFA
from alen.errors import CalibrationError, SettingsError
from alen.noise import QUANTIZATION_VARIANCE_DN2, tukey_lambda_std
from alen.raw import RawHeader, RawImage, read_header, read_raw

LINEAR_SHARE: Final = 0.7
"""Part of the range between black and white that the line is fitted in: EMVA 1288 ends there, before sensors bend."""

MAX_FLICKER: Final = 0.2
"""By what share of their mean frames of one exposure may differ in brightness."""

MAX_DARK_SHARE: Final = 0.05
"""Part of the range that the mean of a dark frame may reach; dark current does not."""

MAX_DARK_SHARE_OF_FLATS: Final = 0.25
"""Part of the brightest flats' level, above the files' black level, from which on darks are worth a word."""

LAMBDA_SIGMA_DN: Final = 0.3
"""Read noise in DN below which rounding hides the shape of its distribution."""

HOT_SIGMAS: Final = 5.0
"""Read noises that a hot pixel exceeds its neighborhood by, in the mean of the darks."""

MAX_HOT_LISTED: Final = 1000
"""Hot pixels whose place is kept, the brightest."""

_FLASH_SIGMAS: Final = 32.0
"""Standard deviations from which on a difference between two darks is a cosmic ray or a pixel that jumps, no noise."""

_LAMBDAS: Final = tuple(round(-0.45 + 0.02 * index, 2) for index in range(53))
"""Shapes that are tried: from nearly infinite variance to a flat hump; the best is refined by a parabola."""

_BLOCK_PX: Final = 64
"""Side of the blocks that frames of one exposure are made equal in, and that are the neighborhood of a pixel."""

_TILES: Final = (6, 8)
"""Rows and columns of the parts of a frame that the bootstrap draws."""

_ROWS_PER_BAND: Final = 16
"""Rows that the bootstrap of the row noise draws together."""

_REPLICATES: Final = 300
"""Draws of the bootstrap."""

_HISTOGRAM_REACH: Final = 32
"""Standard deviations that histograms reach to both sides; what lies beyond counts as there."""

_HISTOGRAM_STEPS: Final = 16
"""Histogram bins per standard deviation."""

_GRID_STEP: Final = 1 / 64
"""Step of the numeric distributions, in standard deviations."""

_GRID_SIZE: Final = 1 << 13
"""Points of the numeric distributions: ±64 standard deviations."""

_FLICKER_SHARE: Final = 1e-3
"""Part of the range that the mean of a frame changes by at least if it is the light; black levels drift by less."""

_EXCLUDED: Final = 255
"""Class of pixels that do not take part in the photon-transfer curve."""


@dataclass(frozen=True, eq=False, kw_only=True)
class DarkNoise:
    """What frames without light tell."""

    frames: int
    """Number of frames."""
    frame_black_dn: NDArray[np.float64]
    """(N, 4): mean of R, Gr, Gb, B of every frame."""
    sigma_dn: Measured
    """Standard deviation of a pixel over time: read noise, row noise and quantization together."""
    degrees: float
    """Degrees of freedom behind it."""
    pixel_sigma_dn: Measured
    """Read noise alone, as `alen.noise.NoiseParameters.read_sigma_dn` wants it: less row noise and quantization."""
    row_sigma_dn: Measured
    """Standard deviation of the offset that a row has of its own, over time: less what its frame has in common, and
    less the pixels' share in a row's mean."""
    row_floor_dn2: float
    """The pixels' share in the variance of a row's mean."""
    row_means_dn: NDArray[np.float32]
    """(N, H): what the rows of every frame differ by from their mean over the frames, and from their frame."""
    row_profile_dn: NDArray[np.float32]
    """(H,): fixed pattern of the rows: their mean over the frames, less that of all rows."""
    fixed_pattern_sigma_dn: float
    """Standard deviation from pixel to pixel of what all frames have in common; without hot pixels and shading."""
    hot: tuple[HotPixel, ...]
    """Hot pixels, the brightest first."""
    hot_threshold_dn: float
    """What makes a pixel a hot one."""
    shape: ReadShape | None
    """Distribution of the read noise; None where rounding hides it."""

    @property
    def black_dn(self) -> tuple[float, float, float, float]:
        """Mean of R, Gr, Gb, B in DN."""
        r, gr, gb, b = (float(value) for value in self.frame_black_dn.mean(axis=0))
        return r, gr, gb, b

    @property
    def mean_dn(self) -> float:
        """Mean of the four colors in DN."""
        return sum(self.black_dn) / 4

    @property
    def frame_sigma_dn(self) -> float:
        """Standard deviation of the mean of the colors from frame to frame, in DN."""
        return float(np.std(self.frame_black_dn.mean(axis=1), ddof=1))


@dataclass(frozen=True, eq=False, kw_only=True)
class ReadShape:
    """Distribution of the read noise, found in differences of successive dark frames."""

    tukey_lambda: Measured
    """Shape of the Tukey-lambda distribution with the largest PPCC."""
    ppcc_tukey: float
    """That PPCC."""
    ppcc_gaussian: float
    """PPCC of the Gaussian distribution."""
    lambdas: tuple[float, ...]
    """Shapes that were tried."""
    ppcc: tuple[float, ...]
    """PPCC of each."""
    sigma_dn: float
    """Standard deviation of the differences."""
    values: NDArray[np.float64]
    """(n,) differences, in their standard deviations: the middles of histogram bins."""
    counts: NDArray[np.float64]
    """(n,) how often they occurred."""


@dataclass(frozen=True, kw_only=True)
class Drift:
    """How the black level moves from frame to frame, against what the files say."""

    sigma_dn: Measured
    """Standard deviation of the mean of a color."""
    color_share: float
    """Share of the variance that each color has for itself, 0 to 1."""
    offset_dn: tuple[float, float, float, float]
    """Mean of the darks less the file's black level, of R, Gr, Gb, B."""
    mean_dn: tuple[Measured, Measured, Measured, Measured]
    """Mean of the darks, of R, Gr, Gb, B."""


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


@dataclass(frozen=True, eq=False, kw_only=True)
class Calibration:
    """A calibration of one camera at one ISO speed, with what plots show of it."""

    camera: CameraFile
    """What is written."""
    dark: DarkNoise
    """What the darks told."""
    transfer: PhotonTransfer
    """What the flats told."""

    @property
    def iso(self) -> IsoCalibration:
        """The calibration at its ISO speed."""
        return self.camera.isos[0]


# ---------------------------------------------------------------------------------------------------------------------
# A camera
# ---------------------------------------------------------------------------------------------------------------------


def calibrate(
    darks: Sequence[Path],
    flats: Sequence[Path],
    *,
    iso: float | None = None,
    progress: Callable[[], None] | None = None,
) -> Calibration:
    """Measure the noise of a camera at one ISO speed.

    Args:
        darks: RAW files taken without light, at least two, better ten or more.
        flats: RAW files of an evenly lit surface or of a still scene: at least two of every exposure (time and
            aperture), better several exposures from dark to bright. With four frames and more of an exposure the
            texture of a scene is used, too.
        iso: ISO speed of all frames, where the files do not tell it.
        progress: Called after every frame.

    Raises:
        SettingsError: The ISO speed is not a positive number.
        CalibrationError: The frames are too few, of several cameras, sizes or ISO speeds, or do not show the noise.
        RawError: A file cannot be used.
    """
    if iso is not None and not 0 < iso < math.inf:
        raise SettingsError(f"The ISO speed is a number above 0; got {iso:g}.")
    headers = _headers(darks, flats, iso)
    groups, alone = _by_exposure([(path, headers[path]) for path in flats])
    times = {path: headers[path].exposure_time_s for path in darks}
    reader = _Reader(progress)
    file_black: list[tuple[float, float, float, float]] = []

    def dark_mosaics() -> Iterator[NDArray[np.uint16]]:
        for raw in reader.read(darks):
            _check_dark(raw)
            file_black.append(raw.black_level)
            yield raw.mosaic

    first = reader.open(darks[0])
    dark = dark_noise(dark_mosaics(), first.cfa)
    offsets = dark.frame_black_dn - np.array(file_black)  # (N, 4)

    notes = [f"{path.name} is the only frame of its exposure and was left out." for path in alone]
    points: list[FlatPoints] = []
    for group in groups:
        # the black level moves with the exposure time, too: darks of the same time know it best
        alike = [index for index, path in enumerate(darks) if times[path] == headers[group[0]].exposure_time_s]
        frames = reader.read(group)
        opening = next(frames)
        black = np.array(opening.black_level) + offsets[alike or slice(None)].mean(axis=0)
        mosaics = (raw.mosaic for raw in chain([opening], frames))
        found = flat_points(mosaics, first.cfa, black, first.white_level)
        if found is None:
            notes.append(f"{len(group)} flats exposed like {opening.name} are saturated and were left out.")
        else:
            points.append(found)
    if not points:
        raise CalibrationError(
            f"All flats are saturated: their pixels lie above {LINEAR_SHARE:.0%} of the range. Expose them shorter, so "
            "that their histogram ends in its middle."
        )
    above_black = float(offsets.mean())
    brightest = above_black + max(part.mean_dn for part in points)
    if 2 * brightest < above_black:
        raise CalibrationError(
            f"The darks are brighter than the flats: {above_black:.3g} DN above black as the files have it, the flats "
            f"{brightest:.3g} DN. Perhaps --dark and --flat changed places."
        )
    transfer = fit_gain(points, dark)
    dark_times = sorted({time for time in times.values() if time is not None})
    if len(dark_times) > 1 and dark_times[-1] > 1.5 * dark_times[0]:
        notes.append(
            f"The darks were exposed for {dark_times[0]:.3g} s to {dark_times[-1]:.3g} s; what their means differ by "
            "counts as drift."
        )
    if above_black > MAX_DARK_SHARE_OF_FLATS * brightest:
        notes.append(
            f"The darks lie {above_black:.3g} DN above the black level of the files, the brightest flats "
            f"{brightest:.3g} DN: if light reached the darks, all of this is wrong."
        )
    if len(darks) < 8:
        notes.append(f"Only {len(darks)} darks: the drift from frame to frame is uncertain. Ten or more tell it.")
    speed = first.iso if iso is None else iso
    assert speed is not None
    entry = IsoCalibration(
        iso=speed,
        bit_depth=math.ceil(math.log2(first.white_level + 1)),
        file_black_level_dn=_four(np.mean(file_black, axis=0)),
        white_level_dn=first.white_level,
        dark_exposures_s=tuple(dark_times),
        flat_frames=sum(part.frames for part in points),
        flat_exposures=len(points),
        notes=tuple(notes),
        program=f"alen {__version__}",
        **_of_darks(dark, black_drift(dark.frame_black_dn, np.array(file_black))),
        **_of_flats(dark, transfer),
    )
    height, width = first.mosaic.shape
    camera = CameraFile(camera=first.camera, cfa=first.cfa.name, height_px=height, width_px=width, isos=(entry,))
    return Calibration(camera=camera, dark=dark, transfer=transfer)


def _of_darks(dark: DarkNoise, drift: Drift) -> dict[str, Any]:
    """Return what the file says of the darks, by the names of `IsoCalibration`; rounded to what can be measured."""
    shape = dark.shape
    return {
        "dark_frames": dark.frames,
        "read_sigma_dn": _rounded(dark.pixel_sigma_dn),
        "dark_sigma_dn": _rounded(dark.sigma_dn),
        "read_lambda": None if shape is None else _rounded(shape.tukey_lambda),
        "read_tukey_scale_dn": None
        if shape is None
        else _round(dark.pixel_sigma_dn.value / tukey_lambda_std(shape.tukey_lambda.value)),
        "ppcc_tukey": None if shape is None else round(shape.ppcc_tukey, 8),
        "ppcc_gaussian": None if shape is None else round(shape.ppcc_gaussian, 8),
        "row_sigma_dn": _rounded(dark.row_sigma_dn),
        "dark_mean_dn": _four_measured([_rounded(mean) for mean in drift.mean_dn]),
        "dark_offset_dn": drift.offset_dn,
        "frame_drift_sigma_dn": _rounded(drift.sigma_dn),
        "frame_drift_color_share": _round(drift.color_share),
        "fixed_pattern_sigma_dn": _round(dark.fixed_pattern_sigma_dn),
        "hot_pixels": len(dark.hot),
        "hot_threshold_dn": _round(dark.hot_threshold_dn),
        "hot_listed": dark.hot[:MAX_HOT_LISTED],
    }


def _of_flats(dark: DarkNoise, transfer: PhotonTransfer) -> dict[str, Any]:
    """Return what the file says of the flats, and the noises in electrons that they make known."""
    return {
        "gain_dn_per_e": _rounded(transfer.gain),
        "read_sigma_e": _in_electrons(dark.pixel_sigma_dn, transfer.gain),
        "row_sigma_e": _in_electrons(dark.row_sigma_dn, transfer.gain),
        "curve_level_dn": tuple(_round(level) for level in transfer.level_dn),
        "curve_variance_dn2": tuple(_round(variance) for variance in transfer.variance_dn2),
    }


def _headers(darks: Sequence[Path], flats: Sequence[Path], iso: float | None) -> dict[Path, RawHeader]:
    """Return what the files say before they are decoded.

    Raises:
        CalibrationError: Frames are too few, given twice, or differ in camera, size or ISO speed.
    """
    for what, paths in (("dark", darks), ("flat", flats)):
        if len(paths) < 2:
            raise CalibrationError(f"At least two {what} frames are needed, better ten; got {len(paths)}.")
    seen: set[Path] = set()
    for path in (*darks, *flats):
        if path.resolve() in seen:
            raise CalibrationError(f"{path}: is given twice. Every frame counts once.")
        seen.add(path.resolve())
    headers = {path: read_header(path) for path in (*darks, *flats)}
    first = headers[darks[0]]
    if None not in (iso, first.iso) and iso != first.iso:
        raise CalibrationError(f"{darks[0]}: was taken at ISO {first.iso:g}, not {iso:g}. Leave --iso out.")
    if iso is None and first.iso is None:
        raise CalibrationError(f"{darks[0]}: the file does not tell its ISO speed. Tell it with --iso.")
    for path, header in headers.items():
        for what, ours, theirs in (
            ("camera", first.camera, header.camera),
            ("size", f"{first.width} × {first.height}", f"{header.width} × {header.height}"),
            ("ISO speed", _speed(first, iso), _speed(header, iso)),
        ):
            if ours != theirs:
                raise CalibrationError(
                    f"{path}: its {what} is {theirs}, but that of {darks[0].name} is {ours}. Calibrate each camera and "
                    "ISO speed by itself."
                )
    return headers


def _by_exposure(flats: Sequence[tuple[Path, RawHeader]]) -> tuple[list[list[Path]], list[Path]]:
    """Return the flats of every exposure time and aperture, and those that are alone in theirs.

    Raises:
        CalibrationError: All are alone.
    """
    groups: dict[tuple[float | None, float | None], list[Path]] = {}
    for path, header in flats:
        groups.setdefault((header.exposure_time_s, header.aperture), []).append(path)
    several = [group for group in groups.values() if len(group) > 1]
    if not several:
        raise CalibrationError(
            "At least two flats of the same exposure time and aperture are needed, better four or more; all of them "
            "differ. Take each exposure several times."
        )
    return several, [group[0] for group in groups.values() if len(group) == 1]


def _speed(header: RawHeader, iso: float | None) -> str:
    """Return the ISO speed of a file for comparison; the one that was told stands for those that are not known."""
    speed = iso if header.iso is None else header.iso
    return "unknown" if speed is None else f"{speed:g}"


class _Reader:
    """Reads frames one after the other and sees that they are of one kind."""

    def __init__(self, progress: Callable[[], None] | None) -> None:
        self._progress = progress
        self._first: RawImage | None = None
        self._opened: tuple[Path, RawImage] | None = None

    def open(self, path: Path) -> RawImage:
        """Read the frame that is to be the first of the next `read`, which then has it already."""
        raw = read_raw(path)
        self._opened = (path, raw)
        return raw

    def read(self, paths: Sequence[Path]) -> Iterator[RawImage]:
        """Yield frames.

        Raises:
            CalibrationError: A frame's filter array or white level is not that of the first.
        """
        for path in paths:
            raw = self._opened[1] if self._opened is not None and self._opened[0] == path else read_raw(path)
            self._opened = None
            if self._first is None:
                self._first = raw
            for what, ours, theirs in (
                ("filter array", self._first.cfa.name, raw.cfa.name),
                ("white level", f"{self._first.white_level:g}", f"{raw.white_level:g}"),
                ("size", str(self._first.mosaic.shape), str(raw.mosaic.shape)),
            ):
                if ours != theirs:
                    raise CalibrationError(
                        f"{path}: its {what} is {theirs}, but that of {self._first.name} is {ours}. All frames are to "
                        "be taken with the same settings."
                    )
            yield raw
            if self._progress is not None:
                self._progress()


def _check_dark(raw: RawImage) -> None:
    """Raise CalibrationError if a dark frame is not dark, or cut off at 0."""
    black = float(np.mean(raw.black_level))
    mean = float(raw.mosaic.mean(dtype=np.float64)) - black
    if mean > MAX_DARK_SHARE * (raw.white_level - black):
        raise CalibrationError(
            f"{raw.name}: this is no dark frame: its mean lies {mean:.3g} DN above black. Take darks with the lens cap "
            "on and the viewfinder covered."
        )
    zeros = 1 - np.count_nonzero(raw.mosaic) / raw.mosaic.size
    if zeros > 0.01:
        raise CalibrationError(
            f"{raw.name}: {zeros:.0%} of its pixels are 0: the camera cuts off what lies below black, and half of the "
            "noise with it, so it cannot be measured from darks."
        )


# ---------------------------------------------------------------------------------------------------------------------
# Darks
# ---------------------------------------------------------------------------------------------------------------------


def dark_noise(frames: Iterable[NDArray[np.uint16]], cfa: CFA) -> DarkNoise:
    """Measure black level, read noise, row noise and hot pixels from frames taken without light.

    Everything but fixed pattern and hot pixels is measured over time, so that fixed patterns fall out, and every
    frame's own mean per color is taken off first. Row means hold 1/W of the pixels' variance, which is taken out.

    Args:
        frames: (H, W) uint16 dark frames of the same exposure in DN, one after the other, at least two; an array
            (N, H, W) will do.
        cfa: Their pattern.

    Returns:
        Noises in DN, with their intervals.

    Raises:
        CalibrationError: There are fewer than two frames, of different sizes, or all alike.
    """
    stack: _Stack | None = None
    histogram: _Histogram | None = None
    rows: list[NDArray[np.float32]] = []
    means: list[NDArray[np.float64]] = []
    for mosaic in frames:
        if stack is None:
            stack = _Stack(mosaic, cfa.size)
            before = np.zeros(mosaic.shape, np.float32)
            rows.append(np.zeros(len(mosaic), np.float32))
            means.append(_phase_means(mosaic, cfa.size))
            continue
        residual, common = stack.add(mosaic)
        if histogram is None:
            histogram = _Histogram(_tamed_std(residual), residual.shape)
        reach = np.float32(_FLASH_SIGMAS * histogram.scale)
        np.clip(residual, -reach, reach, out=residual)  # a cosmic ray makes no row noise
        rows.append(residual.mean(axis=1))
        means.append(means[0] + np.concatenate([blocks.ravel() for blocks in common]))
        change = np.subtract(residual, before, out=before)
        change -= change.mean(axis=1)[:, None]
        histogram.add(change)
        before = residual
    if stack is None or histogram is None:
        raise CalibrationError(f"At least two dark frames are needed, better ten; got {0 if stack is None else 1}.")
    del before, change, residual
    return _dark_noise(stack, cfa, np.array(means), np.stack(rows), histogram)


def _dark_noise(
    stack: _Stack,
    cfa: CFA,
    phase_means: NDArray[np.float64],
    rows: NDArray[np.float32],
    histogram: _Histogram,
) -> DarkNoise:
    """Evaluate what was gathered: the pixels' moments, the means of phases (N, phases), those of rows (N, H)."""
    count, (height, width) = stack.count, stack.shape
    tiles = _tiles(height, width)
    deviation, variance = stack.taken()
    sigma = math.sqrt(float(np.median([variance[tile].mean(dtype=np.float64) for tile in tiles])))
    if sigma == 0:
        raise CalibrationError("The dark frames are all alike: these are copies, or the camera removes its noise.")
    threshold = HOT_SIGMAS * sigma
    _subtract_neighborhood(deviation, cfa.size, sigma)
    # A single flash lies at 1 standard error of its pixel's mean, a pixel that is always bright above 3.
    is_hot = (deviation > threshold) & (deviation > 3 * np.sqrt(variance / count))
    hot = sorted(
        (HotPixel(int(y), int(x), _round(float(deviation[y, x]))) for y, x in np.argwhere(is_hot)),
        key=lambda pixel: -pixel.excess_dn,
    )
    is_calm = ~is_hot & (variance < (_FLASH_SIGMAS * sigma) ** 2)
    calm = np.array([np.count_nonzero(is_calm[tile]) for tile in tiles], np.float64)
    sums = np.array([variance[tile].sum(where=is_calm[tile], dtype=np.float64) for tile in tiles])
    total = float(sums.sum() / calm.sum())
    fixed = float(np.var(deviation[is_calm], dtype=np.float64)) - total / count
    np.minimum(deviation, threshold, out=deviation)
    profile = deviation.mean(axis=1)

    rows = rows - rows.mean(axis=0)
    of_rows = np.square(rows, dtype=np.float64).sum(axis=0) / (count - 1)  # (H,)
    of_rows *= height / max(height - cfa.size, 1)  # every frame's phases were made equal first
    starts = np.arange(0, height, _ROWS_PER_BAND)
    band_sums, band_rows = np.add.reduceat(of_rows, starts), np.diff([*starts, height])

    fixed_sigma = math.sqrt(max(fixed, 0.0))

    def split(total: NDArray[np.float64], of_rows: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
        """Tell row noise, pixels' share in the row means and read noise apart; variances in DN²."""
        within = (total - of_rows) * width / max(width - 1, 1)
        row = np.maximum(of_rows - within / width, 0)
        return row, within / width, _before_rounding(total - row, phase_means, fixed_sigma)

    rng = np.random.default_rng(0)
    drawn, drawn_bands = _draws(rng, len(tiles)), _draws(rng, len(starts))
    totals = (drawn @ sums) / np.maximum(drawn @ calm, 1)
    row, floor, pixel = split(np.array(total), np.array(of_rows.mean()))
    row_draws, _, pixel_draws = split(totals, (drawn_bands @ band_sums) / (drawn_bands @ band_rows))
    pixel_sigma = math.sqrt(float(pixel))
    # read noise that is no Gaussian rounds a little differently
    doubt = 0.25 * float(_rounding_swing(np.array(pixel))) / max(2 * float(pixel), 1e-12) * pixel_sigma
    interval = _interval(pixel_sigma, np.sqrt(pixel_draws))
    planes = cfa.plane_map(cfa.size, cfa.size).ravel()
    black = [phase_means[:, planes == p].mean(axis=1) for p in range(4) if np.any(planes == p)]
    if len(black) == 3:  # X-Trans has no rows without red: its Gb is Gr
        black.insert(2, black[1])
    return DarkNoise(
        frames=count,
        frame_black_dn=np.stack(black, axis=1),
        sigma_dn=_interval(math.sqrt(total), np.sqrt(totals)),
        degrees=float(calm.sum()) * (count - 1),
        pixel_sigma_dn=Measured(pixel_sigma, max(interval.low - doubt, 0.0), interval.high + doubt),
        row_sigma_dn=_interval(math.sqrt(float(row)), np.sqrt(row_draws)),
        row_floor_dn2=float(floor),
        row_means_dn=rows,
        row_profile_dn=profile - profile.mean(),
        fixed_pattern_sigma_dn=fixed_sigma,
        hot=tuple(hot),
        hot_threshold_dn=threshold,
        shape=_read_shape(histogram, pixel_sigma, drawn) if pixel_sigma >= LAMBDA_SIGMA_DN else None,
    )


def _rounding_swing(variance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return by how much less a Gaussian around a whole number varies once rounded, than by its variance + 1/12, DN².

    First term of the Fourier series, e^(−2π²σ²) (1/π² + 4σ²): 8e-9 DN² at σ = 1 DN, 0.04 at 0.37. Around a half number
    it varies more by as much, in between by the cosine. Widrow & Kollár, "Quantization Noise", Cambridge 2008.
    """
    return np.asarray(np.exp(-2 * np.pi**2 * variance) * (1 / np.pi**2 + 4 * variance))


def _before_rounding(
    variance: NDArray[np.float64], means: NDArray[np.float64], fixed_sigma: float
) -> NDArray[np.float64]:
    """Return the variance of what was rounded, from that of whole numbers (any shape), their means, and fixed pattern.

    Rounding moves the means, too, by (1/π) e^(−2π²σ²) sin 2π·mean toward the next whole number.
    """
    rounded = np.maximum(variance - QUANTIZATION_VARIANCE_DN2, 0)[..., None]
    before = np.maximum(rounded, 0.01)  # (…, 1)
    places = np.broadcast_to(means.ravel(), (*variance.shape, means.size))
    for _ in range(30):
        pull = np.exp(-2 * np.pi**2 * (before + fixed_sigma**2)) / np.pi * np.sin(2 * np.pi * places)
        places = means.ravel() + pull
        swing = _rounding_swing(before) * math.exp(-2 * (math.pi * fixed_sigma) ** 2) * np.cos(2 * np.pi * places)
        lost = (swing + pull**2).mean(axis=-1, keepdims=True)
        before = np.maximum(0.5 * (before + rounded + lost), 0)
    return np.asarray(before[..., 0])


def black_drift(frame_black_dn: NDArray[np.float64], file_black_dn: NDArray[np.float64]) -> Drift:
    """Tell how the black level lies and moves against what the files say.

    Args:
        frame_black_dn: (N, 4) mean of R, Gr, Gb, B of every dark frame.
        file_black_dn: (N, 4) black level that each file tells.
    """
    count = len(frame_black_dn)
    offsets = frame_black_dn - file_black_dn
    covariance = np.cov(offsets.T, ddof=1)  # (4, 4)
    variance = float(np.trace(covariance)) / 4
    common = float(covariance.sum() - np.trace(covariance)) / 12
    share = min(max(1 - common / variance, 0.0), 1.0) if variance > 0 else 0.0
    chi = np.random.default_rng(0).chisquare(count - 1, 200_000) / (count - 1)
    low, high = np.quantile(chi, (0.025, 0.975))
    sigma = math.sqrt(variance)
    student = float(np.quantile(np.abs(np.random.default_rng(1).standard_normal(chi.size)) / np.sqrt(chi), 0.95))
    means = []
    for color in range(4):
        mean = float(frame_black_dn[:, color].mean())
        reach = student * float(np.std(frame_black_dn[:, color], ddof=1)) / math.sqrt(count)
        means.append(Measured(mean, mean - reach, mean + reach))
    return Drift(
        sigma_dn=Measured(sigma, sigma / math.sqrt(high), sigma / math.sqrt(low)),
        color_share=share,
        offset_dn=_four(offsets.mean(axis=0)),
        mean_dn=_four_measured(means),
    )


def _read_shape(histogram: _Histogram, pixel_sigma_dn: float, drawn: NDArray[np.float64]) -> ReadShape:
    """Fit the shape of the read noise to differences of successive frames; ``drawn`` (draws, tiles) for its interval.

    A difference is X₁ − X₂ + U₁ − U₂ with read noise X and rounding errors U, uniform over a DN. For every shape of X
    its distribution is computed on a grid (products of Fourier transforms); the PPCC compares the means of what fell
    into each histogram bin with the means of as many of that distribution's quantiles. Simulated darks of a half DN
    and more give back the shape to 0.01, of 0.4 DN to 0.02, of 0.3 DN to 0.08, which the interval includes.
    """
    sigma = math.sqrt(2 * (pixel_sigma_dn**2 + QUANTIZATION_VARIANCE_DN2))
    tables = [_DifferenceTable(shape, sigma) for shape in _LAMBDAS]
    whole = histogram.counts.sum(axis=0)
    ppcc = np.array([table.ppcc(whole) for table in tables])
    best = int(ppcc.argmax())
    value = _peak(ppcc, 0)
    near = slice(max(best - 6, 0), best + 7)
    draws = [
        _peak(np.array([table.ppcc(counts) for table in tables[near]]), near.start)
        for counts in (weights @ histogram.counts for weights in drawn[: _REPLICATES // 4])
    ]
    error = 0.01 if pixel_sigma_dn >= 0.5 else 0.02 if pixel_sigma_dn >= 0.4 else 0.08
    interval = _interval(value, np.array(draws))
    return ReadShape(
        tukey_lambda=Measured(value, max(interval.low - error, -0.49), interval.high + error),
        ppcc_tukey=float(ppcc[best]),
        ppcc_gaussian=_DifferenceTable(None, sigma).ppcc(whole),
        lambdas=_LAMBDAS,
        ppcc=tuple(float(value) for value in ppcc),
        sigma_dn=sigma,
        values=histogram.values * (histogram.scale / sigma),
        counts=whole,
    )


def _peak(ppcc: NDArray[np.float64], start: int) -> float:
    """Return the shape at the top of the parabola through the largest PPCC and its neighbors."""
    best = int(ppcc.argmax())
    position = float(best)
    if 0 < best < len(ppcc) - 1:
        left, top, right = ppcc[best - 1 : best + 2]
        curvature = left - 2 * top + right
        position += 0.5 * (left - right) / curvature if curvature < 0 else 0.0
    return float(_LAMBDAS[0] + (_LAMBDAS[1] - _LAMBDAS[0]) * (start + position))


class _DifferenceTable:
    """Distribution of the difference of two rounded values of read noise, on a grid of its standard deviations.

    Args:
        shape: Tukey's lambda of the read noise; None for a Gaussian.
        sigma_dn: Standard deviation of the difference in DN, rounding included.
    """

    def __init__(self, shape: float | None, sigma_dn: float) -> None:
        self.x = np.asarray((np.arange(_GRID_SIZE) - _GRID_SIZE // 2) * _GRID_STEP, np.float64)
        sigma = math.sqrt((1 - 2 * QUANTIZATION_VARIANCE_DN2 / sigma_dn**2) / 2)  # of one value, without rounding
        edges = np.append(self.x, -self.x[0]) - _GRID_STEP / 2
        once = np.fft.rfft(np.fft.ifftshift(np.diff(_distribution(shape, edges / sigma))))
        rounding = np.sinc(np.fft.rfftfreq(_GRID_SIZE, _GRID_STEP) / sigma_dn)
        mass = np.fft.fftshift(np.fft.irfft((np.abs(once) * rounding) ** 2, _GRID_SIZE))
        self.mass = np.asarray(np.maximum(mass, 0) / np.maximum(mass, 0).sum(), np.float64)
        self._probability = np.append(0.0, np.cumsum(self.mass))
        reached = np.clip(self.x, -_HISTOGRAM_REACH, _HISTOGRAM_REACH)
        self._integral = np.append(0.0, np.cumsum(self.mass * reached))

    def ppcc(self, counts: NDArray[np.float64]) -> float:
        """Return the correlation of a histogram (bins) of ordered values with the quantiles that they stand for."""
        filled = np.flatnonzero(counts)
        share = counts[filled] / counts.sum()
        until = np.append(0.0, np.cumsum(share))
        until[-1] = 1.0
        expected = np.diff(np.interp(until, self._probability, self._integral)) / share
        expected -= share @ expected
        found = filled - share @ filled
        return float((share @ (found * expected)) / math.sqrt((share @ found**2) * (share @ expected**2)))


def difference_density(shape: float | None, sigma_dn: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the density of the difference of two rounded values of read noise, for plots.

    Args:
        shape: Tukey's lambda of the read noise; None for a Gaussian.
        sigma_dn: Standard deviation of the difference in DN.

    Returns:
        Places and density there, both in standard deviations.
    """
    table = _DifferenceTable(shape, sigma_dn)
    return table.x, table.mass / _GRID_STEP


def _distribution(shape: float | None, x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the distribution function of variance 1 at ``x``: Tukey lambda, or Gaussian for None."""
    if shape is None:
        return np.array([0.5 * math.erfc(-value / math.sqrt(2)) for value in x.tolist()])
    t = np.linspace(-40, 40, 8_001)  # u = 1/(1 + exp(−t)), so the tails are sampled, too
    log_u, log_v = -np.logaddexp(0, -t), -np.logaddexp(0, t)
    quantile = log_u - log_v if abs(shape) < 1e-6 else (np.exp(shape * log_u) - np.exp(shape * log_v)) / shape
    return np.interp(x, quantile / tukey_lambda_std(shape), np.exp(log_u), left=0.0, right=1.0)


def _tamed_std(values: NDArray[np.float32]) -> float:
    """Return the standard deviation of some of the values; what lies beyond 6 of these counts as there."""
    some = tame = values.ravel()[:: max(values.size // 1_000_000, 1)]
    for _ in range(4):
        deviation = float(tame.std(dtype=np.float64))
        tame = np.clip(some, -6 * deviation, 6 * deviation)
    return deviation


class _Histogram:
    """Differences of successive frames by part of the frame, in steps of a share of their standard deviation."""

    def __init__(self, scale_dn: float, shape: tuple[int, ...]) -> None:
        if scale_dn == 0:
            raise CalibrationError("Two dark frames are the same: these are copies, or the camera removes its noise.")
        self.scale = scale_dn
        self._tiles = _tiles(*shape)
        self._middle = _HISTOGRAM_REACH * _HISTOGRAM_STEPS
        self.values = np.arange(-self._middle, self._middle + 1) / _HISTOGRAM_STEPS
        self.counts = np.zeros((len(self._tiles), self.values.size))

    def add(self, change: NDArray[np.float32]) -> None:
        """Count the differences (H, W) of two frames."""
        for index, tile in enumerate(self._tiles):
            steps = np.rint(change[tile] * np.float32(_HISTOGRAM_STEPS / self.scale))
            np.clip(steps, -self._middle, self._middle, out=steps)
            bins = steps.astype(np.int32).ravel() + self._middle
            self.counts[index] += np.bincount(bins, minlength=self.values.size)


# ---------------------------------------------------------------------------------------------------------------------
# Flats
# ---------------------------------------------------------------------------------------------------------------------


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
    stack: _Stack | None = None
    for mosaic in frames:
        if stack is None:
            levels = (float(black.mean()), range_dn)
            stack = _Stack(mosaic, cfa.size, side=_BLOCK_PX, parts=2, levels=levels)
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
            for weights in _draws(rng, len(points[0].sums))
        ]
    )
    measured = _interval(gain, replicates)
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
    for plane, phase in zip(planes, _phases(cfa.size), strict=True):
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
    tiles = _tiles(*classes.shape)
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
    for phase in _phases(period):
        plane = level[phase]
        starts = _block_starts(plane.shape, period, _BLOCK_PX)
        means[phase] = _expanded(_block_means(plane, starts), starts, plane.shape)
        bright = _block_means((plane > limit).astype(np.float32), starts)
        brightest[phase] = _expanded(np.where(bright > 0.01, np.inf, -np.inf), starts, plane.shape)
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


# ---------------------------------------------------------------------------------------------------------------------
# Stacks of frames
# ---------------------------------------------------------------------------------------------------------------------


class _Stack:
    """Moments over time of every pixel's difference from the first frame, added up frame by frame.

    Frames are made equal first: what a color has in common (a place in the pattern of the filter array, its "phase"),
    in the whole frame or in each of its blocks, is taken off. If the levels are told, light that has changed by more
    than the black level drifts (`_FLICKER_SHARE`) has changed the contrast in blocks, too, which is taken off as well.
    With two parts the frames go to one and the other in turn, each with moments of its own.

    Args:
        first: (H, W) uint16.
        period: Side of the pattern.
        side: Side of the blocks in pixels; None makes whole frames equal.
        parts: 1 or 2.
        levels: Mean black level and range in DN.
    """

    def __init__(
        self,
        first: NDArray[np.uint16],
        period: int,
        *,
        side: int | None = None,
        parts: int = 1,
        levels: tuple[float, float] | None = None,
    ) -> None:
        if first.ndim != 2:
            raise CalibrationError(f"A frame has two dimensions; got the shape {first.shape}.")
        self.shape = first.shape
        self.count = 1
        self._first = first.copy()
        self._period = period
        self._side = side
        self._counts = [1] + [0] * (parts - 1)
        self._weights = [1.0] + [0.0] * (parts - 1)  # of frames' brightness, squared; that of the first is 1
        self._sums = [np.zeros(first.shape, np.float32) for _ in range(parts)]
        self._squares = [np.zeros(first.shape, np.float32) for _ in range(parts)]
        self._common = [np.zeros(1)] * period**2
        self._levels = levels
        self._grown = 0.0  # sum of the shares by which frames are brighter than the first
        planes = [self._first[phase] for phase in _phases(period)]
        self._blocks = [_block_means(plane, self._starts(plane)) for plane in planes]

    def add(self, mosaic: NDArray[np.uint16]) -> tuple[NDArray[np.float32], list[NDArray[np.float64]]]:
        """Take a frame; returns its difference (H, W) from the first, and what was taken off by phase and block.

        Raises:
            CalibrationError: Its size is another.
        """
        if mosaic.shape != self.shape:
            raise CalibrationError(f"Frames of one size are needed; got {mosaic.shape} and {self.shape}.")
        residual = np.subtract(mosaic, self._first, dtype=np.float32)
        common = [_block_means(residual[phase], self._starts(residual[phase])) for phase in _phases(self._period)]
        growth = self._growth(common)
        for index, phase in enumerate(_phases(self._period)):
            plane = residual[phase]
            plane -= _expanded(common[index], self._starts(plane), plane.shape)
            if growth:
                plane -= np.float32(growth) * self._contrast(index, phase)
            self._common[index] = self._common[index] + common[index]
        part = self.count % len(self._sums)
        self._sums[part] += residual * np.float32(1 + growth)
        self._weights[part] += (1 + growth) ** 2
        self._squares[part] += residual * residual
        self._counts[part] += 1
        self._grown += growth
        self.count += 1
        return residual, common

    def _growth(self, changes: list[NDArray[np.float64]]) -> float:
        """Return by which share a frame is brighter than the first; 0 where the black level's drift may be the reason.

        From blocks that are well below saturation.
        """
        if self._levels is None:
            return 0.0
        black, range_dn = self._levels
        level = np.concatenate([blocks.ravel() for blocks in self._blocks]) - black
        change = np.concatenate([blocks.ravel() for blocks in changes])
        is_linear = level < 0.8 * LINEAR_SHARE * range_dn
        if not is_linear.any() or abs(change[is_linear].mean()) < _FLICKER_SHARE * range_dn:
            return 0.0
        return float(change[is_linear].sum() / level[is_linear].sum())

    def _contrast(self, index: int, phase: tuple[slice, slice]) -> NDArray[np.float32]:
        """Return what the pixels of a phase in the first frame differ from their blocks by: (h, w)."""
        plane = self._first[phase]
        return np.asarray(plane - _expanded(self._blocks[index], self._starts(plane), plane.shape), np.float32)

    def _starts(self, plane: NDArray[Any]) -> _Starts:
        """Return where the blocks of a phase begin."""
        return _block_starts(plane.shape, self._period, self._side)

    def taken(self, part: int | None = None) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return mean and variance (H, W) over the frames of a part, or of all; they are taken, to save memory.

        The mean is at the brightness that all frames have in the mean. The variance gets back what taking off the means
        of blocks has cost it.
        """
        chosen = range(len(self._counts)) if part is None else (part,)
        first, *others = chosen
        sums, squares = self._sums[first], self._squares[first]
        for other in others:
            sums += self._sums[other]
            squares += self._squares[other]
        for index in chosen:
            self._sums[index] = self._squares[index] = np.empty((0, 0), np.float32)
        count = sum(self._counts[index] for index in chosen)
        weight = sum(self._weights[index] for index in chosen)
        sums /= np.float32(weight)
        height, width = (side // self._period for side in self.shape)
        starts = _block_starts((height, width), self._period, self._side)
        pixels = height * width / (len(starts[0]) * len(starts[1]))  # of a phase in a block
        share = np.float32(pixels / max(pixels - 1, 1) / (count - 1))
        for rows in (slice(top, top + _BLOCK_PX) for top in range(0, self.shape[0], _BLOCK_PX)):
            squares[rows] = np.maximum(squares[rows] - np.float32(weight) * np.square(sums[rows]), 0) * share
        sums += self._first
        for index, phase in enumerate(_phases(self._period)):
            plane = sums[phase]
            starts = self._starts(plane)
            common = np.broadcast_to(self._common[index], [len(start) for start in starts])
            plane += _expanded(common / self.count, starts, plane.shape)
            if self._grown:
                plane += np.float32(self._grown / self.count) * self._contrast(index, phase)
        return sums, squares


def _phases(period: int) -> list[tuple[slice, slice]]:
    """Return the places of a pattern as slices of a mosaic, row by row."""
    return [(slice(y, None, period), slice(x, None, period)) for y in range(period) for x in range(period)]


def _phase_means(mosaic: NDArray[np.uint16], period: int) -> NDArray[np.float64]:
    """Return the mean of every phase: (period²,)."""
    return np.array([mosaic[phase].mean(dtype=np.float64) for phase in _phases(period)])


_Starts = tuple[NDArray[np.intp], NDArray[np.intp]]
"""First row of every row of blocks, first column of every column of blocks."""


def _block_starts(shape: tuple[int, ...], period: int, side: int | None) -> _Starts:
    """Return where the blocks of a phase begin: of about ``side`` pixels of the mosaic, one block for None."""
    counts = [1 if side is None else max(length * period // side, 1) for length in shape]
    rows, columns = (np.arange(n) * length // n for n, length in zip(counts, shape, strict=True))
    return rows, columns


def _block_means(plane: NDArray[np.floating] | NDArray[np.uint16], starts: _Starts) -> NDArray[np.float64]:
    """Return the mean of every block of a plane (h, w)."""
    rows, columns = starts
    sums = np.add.reduceat(np.add.reduceat(plane, columns, axis=1, dtype=np.float64), rows, axis=0)
    heights, widths = np.diff([*rows, plane.shape[0]]), np.diff([*columns, plane.shape[1]])
    return np.asarray(sums / np.outer(heights, widths))


def _expanded(blocks: NDArray[np.floating], starts: _Starts, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Return the plane (h, w) that has the value of its block everywhere."""
    rows, columns = starts
    wide = np.repeat(blocks.astype(np.float32), np.diff([*columns, shape[1]]), axis=1)
    return np.repeat(wide, np.diff([*rows, shape[0]]), axis=0)


def _subtract_neighborhood(mean: NDArray[np.float32], period: int, sigma_dn: float) -> None:
    """Take the mean of its color in its block off every pixel (H, W), in place; hot pixels count as 5 sigma."""
    for phase in _phases(period):
        plane = mean[phase]
        starts = _block_starts(plane.shape, period, _BLOCK_PX)
        plane -= _expanded(_block_means(plane, starts), starts, plane.shape)
        for _ in range(3):  # a saturated pixel has moved the first mean by several sigma
            tame = np.clip(plane, -5 * sigma_dn, 5 * sigma_dn)
            plane -= _expanded(_block_means(tame, starts), starts, plane.shape)


def _tiles(height: int, width: int) -> list[tuple[slice, slice]]:
    """Return the parts of a frame that the bootstrap draws; small frames have fewer."""
    rows, columns = min(_TILES[0], height), min(_TILES[1], width)
    ys, xs = ([length * i // n for i in range(n + 1)] for length, n in ((height, rows), (width, columns)))
    return [(slice(ys[i], ys[i + 1]), slice(xs[j], xs[j + 1])) for i in range(rows) for j in range(columns)]


def _draws(rng: np.random.Generator, parts: int) -> NDArray[np.float64]:
    """Return how often each of so many parts is drawn, in every draw of the bootstrap: (draws, parts)."""
    return rng.multinomial(parts, np.full(parts, 1 / parts), size=_REPLICATES).astype(np.float64)


def _interval(value: float, replicates: NDArray[np.float64]) -> Measured:
    """Return a value with the middle 95 % of its replicates, which include it."""
    low, high = np.quantile(replicates, (0.025, 0.975))
    return Measured(value, min(float(low), value), max(float(high), value))


def _round(value: float) -> float:
    """Round to six digits: more than can be measured."""
    return float(f"{value:.6g}")


def _rounded(measured: Measured) -> Measured:
    """Round a measured value and its interval."""
    return Measured(_round(measured.value), _round(measured.low), _round(measured.high))


def _in_electrons(sigma: Measured, gain: Measured) -> Measured:
    """Return a noise in electrons; its interval holds the errors of both, which are independent."""
    value = sigma.value / gain.value
    below = math.hypot(sigma.value - sigma.low, sigma.value * (gain.high / gain.value - 1)) / gain.value
    above = math.hypot(sigma.high - sigma.value, sigma.value * (1 - gain.low / gain.value)) / gain.value
    return _rounded(Measured(value, max(value - below, 0.0), value + above))


def _four(values: Sequence[float] | NDArray[np.float64]) -> tuple[float, float, float, float]:
    """Return R, Gr, Gb, B, rounded."""
    r, gr, gb, b = (_round(float(value)) for value in values)
    return r, gr, gb, b


def _four_measured(values: Sequence[Measured]) -> tuple[Measured, Measured, Measured, Measured]:
    """Return R, Gr, Gb, B."""
    r, gr, gb, b = values
    return r, gr, gb, b

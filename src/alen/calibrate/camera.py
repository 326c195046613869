"""A camera at one ISO speed, from its files: darks and flats together."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from alen import __version__
from alen.calibrate.darks import DarkNoise, Drift, black_drift, dark_noise
from alen.calibrate.flats import FlatPoints, PhotonTransfer, fit_gain, flat_points
from alen.calibrate.frames import FrameReader, by_exposure, check_dark, checked_headers
from alen.calibrate.intervals import four_measured, four_rounded, in_electrons, rounded, six_digits
from alen.calibrate.stacks import LINEAR_SHARE
from alen.camera_file import CameraFile, IsoCalibration
from alen.errors import CalibrationError, SettingsError
from alen.noise import tukey_lambda_std

MAX_DARK_SHARE_OF_FLATS: Final = 0.25
"""Part of the brightest flats' level, above the files' black level, from which on darks are worth a word."""

MAX_HOT_LISTED: Final = 1000
"""Hot pixels whose place is kept, the brightest."""


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
    headers = checked_headers(darks, flats, iso)
    groups, alone = by_exposure([(path, headers[path]) for path in flats])
    times = {path: headers[path].exposure_time_s for path in darks}
    reader = FrameReader(progress)
    file_black: list[tuple[float, float, float, float]] = []

    def dark_mosaics() -> Iterator[NDArray[np.uint16]]:
        for raw in reader.read(darks):
            check_dark(raw)
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
        file_black_level_dn=four_rounded(np.mean(file_black, axis=0)),
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
        "read_sigma_dn": rounded(dark.pixel_sigma_dn),
        "dark_sigma_dn": rounded(dark.sigma_dn),
        "read_lambda": None if shape is None else rounded(shape.tukey_lambda),
        "read_tukey_scale_dn": None
        if shape is None
        else six_digits(dark.pixel_sigma_dn.value / tukey_lambda_std(shape.tukey_lambda.value)),
        "ppcc_tukey": None if shape is None else round(shape.ppcc_tukey, 8),
        "ppcc_gaussian": None if shape is None else round(shape.ppcc_gaussian, 8),
        "row_sigma_dn": rounded(dark.row_sigma_dn),
        "dark_mean_dn": four_measured([rounded(mean) for mean in drift.mean_dn]),
        "dark_offset_dn": drift.offset_dn,
        "frame_drift_sigma_dn": rounded(drift.sigma_dn),
        "frame_drift_color_share": six_digits(drift.color_share),
        "fixed_pattern_sigma_dn": six_digits(dark.fixed_pattern_sigma_dn),
        "hot_pixels": len(dark.hot),
        "hot_threshold_dn": six_digits(dark.hot_threshold_dn),
        "hot_listed": dark.hot[:MAX_HOT_LISTED],
    }


def _of_flats(dark: DarkNoise, transfer: PhotonTransfer) -> dict[str, Any]:
    """Return what the file says of the flats, and the noises in electrons that they make known."""
    return {
        "gain_dn_per_e": rounded(transfer.gain),
        "read_sigma_e": in_electrons(dark.pixel_sigma_dn, transfer.gain),
        "row_sigma_e": in_electrons(dark.row_sigma_dn, transfer.gain),
        "curve_level_dn": tuple(six_digits(level) for level in transfer.level_dn),
        "curve_variance_dn2": tuple(six_digits(variance) for variance in transfer.variance_dn2),
    }

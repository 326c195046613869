"""White balance and color matrix: the file's, LibRaw's, or what the mosaic says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from alen.color import RGB_FROM_XYZ, cam2rgb_from_xyz2cam
from alen.errors import SettingsError
from alen.raw.image import Gains, Matrix
from alen.raw.metadata import Exposure

_NEUTRAL_MATRIX: Final[Matrix] = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
"""Camera RGB taken as linear sRGB: neutral stays neutral, other colors are pale."""


def choose_white_balance(
    raw: Any, exposure: Exposure, estimate: Callable[[], Gains | None], warnings: list[str]
) -> Gains:
    """Return the gains as shot if they can be believed, else estimated, as shot all the same, for daylight, or 1."""
    as_shot, daylight = _gains(raw.camera_whitebalance), _gains(raw.daylight_whitebalance)
    if as_shot is not None and (exposure.iso is not None or exposure.time_s is not None):
        return as_shot
    estimated = estimate()
    if estimated is not None and as_shot is not None:
        warnings.append(
            "The file knows neither its ISO nor its exposure time, so its white balance is taken for a preset "
            f"({_gains_in_words(as_shot)}); the one estimated from the picture is used ({_gains_in_words(estimated)})."
        )
        return estimated
    if estimated is not None:
        instead = f" and not that of daylight ({_gains_in_words(daylight)})" if daylight is not None else ""
        warnings.append(
            "The file holds no white balance; the one estimated from the picture is used "
            f"({_gains_in_words(estimated)}){instead}."
        )
        return estimated
    if as_shot is not None:
        return as_shot
    if daylight is not None:
        warnings.append("The file holds no white balance; that of daylight is used.")
        return daylight
    warnings.append("The file holds no white balance and none is known for the camera; all gains are 1.")
    return 1.0, 1.0, 1.0


def _gains(multipliers: Any) -> Gains | None:
    """Return LibRaw's multipliers with green = 1; None if they are missing, all equal or absurd."""
    red, green, blue = (float(gain) for gain in multipliers[:3])
    is_set = all(np.isfinite(gain) and gain > 0 for gain in (red, green, blue)) and not red == green == blue
    if is_set and all(1 / 32 < gain / green < 32 for gain in (red, blue)):
        return red / green, 1.0, blue / green
    return None


def _gains_in_words(gains: Gains) -> str:
    return f"R {gains[0]:.2f}, B {gains[2]:.2f}"


def choose_matrices(
    raw: Any, is_dng: bool, camera: str, warnings: list[str]
) -> tuple[Matrix, NDArray[np.float64] | None]:
    """Return the matrix to linear sRGB, and that from XYZ to camera RGB if it is known.

    The first one at hand: that of the DNG, LibRaw's for the camera, that of the MakerNote, a neutral one. LibRaw's
    ``color_matrix`` is already white-balanced camera RGB → linear sRGB; for a DNG it is made of the ColorMatrix nearest
    to D65, CameraCalibration and AnalogBalance, whose balance is in its daylight gains. ``rgb_xyz_matrix`` is XYZ →
    camera RGB.
    """
    own = np.asarray(raw.color_matrix, dtype=np.float64)[:, :3]
    table = np.asarray(raw.rgb_xyz_matrix, dtype=np.float64)[:3]
    for matrix, is_xyz2cam in ((own, False), (table, True)) if is_dng else ((table, True), (own, False)):
        if not np.any(matrix) or not np.all(np.isfinite(matrix)):
            continue
        xyz2cam = None
        if is_xyz2cam:
            try:
                cam2rgb = cam2rgb_from_xyz2cam(matrix)
            except SettingsError:
                continue  # singular: no better than missing
            xyz2cam = matrix
        else:
            sums = matrix.sum(axis=1, keepdims=True)
            if np.any(np.abs(sums - 1) > 0.01) or abs(np.linalg.det(matrix)) < 1e-3:
                continue
            cam2rgb = matrix / sums
            daylight = _gains(raw.daylight_whitebalance)
            if is_dng and daylight is not None:
                xyz2cam = np.linalg.inv(cam2rgb) @ RGB_FROM_XYZ / np.reshape(daylight, (3, 1))
        return matrix_value(cam2rgb), xyz2cam
    warnings.append(f"No color matrix is known for {camera}; its colors are taken as sRGB and look pale.")
    return _NEUTRAL_MATRIX, None


def matrix_value(matrix: NDArray[np.float64]) -> Matrix:
    """Return a matrix as a value."""
    rows = [(float(row[0]), float(row[1]), float(row[2])) for row in matrix]
    return rows[0], rows[1], rows[2]

"""What a RAW file holds, as values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from alen.cfa import CFA
from alen.lens_distortion import LensDistortion
from alen.lens_shading import LensShading

Matrix = tuple[tuple[float, float, float], tuple[float, float, float], tuple[float, float, float]]
"""A (3, 3) matrix, row by row."""

Gains = tuple[float, float, float]
"""White balance gains of R, G and B; green = 1."""


@dataclass(frozen=True, eq=False, kw_only=True)
class RawImage:
    """The mosaic of a RAW file with everything needed to interpret it. Owns its memory."""

    mosaic: NDArray[np.uint16]
    """(H, W) uint16, the visible area in sensor orientation, in DN; not writable."""
    cfa: CFA
    """Color filter array of the visible area: its first letter is the color of ``mosaic[0, 0]``."""
    black_level: tuple[float, float, float, float]
    """DN without light of R, Gr, Gb and B. Fractional where a DNG says so."""
    white_level: float
    """DN at which the sensor saturates; above all black levels."""
    white_balance: Gains
    """Gains of R, G and B; green = 1. As shot, if the file says so and knows its own exposure. A file with neither ISO
    nor exposure time was written by a program that did not know the camera's settings, so its gains are a preset: then,
    and if they are missing or all equal, they are estimated from the mosaic (`alen.white_balance`), with a warning that
    names both. If the mosaic says too little (dark, flat, noise), it is the file's gains all the same, else those of
    daylight."""
    cam2rgb: Matrix
    """White-balanced linear camera RGB → linear sRGB; rows sum to 1."""
    orientation: int
    """EXIF orientation 1…8: how the mosaic is to be turned to stand upright."""
    iso: float | None
    """ISO speed; None if unknown."""
    exposure_time_s: float | None
    """Exposure time in seconds; None if unknown."""
    aperture: float | None
    """F-number; None if unknown."""
    camera: str
    """Maker and model, "unknown camera" if the file does not say."""
    exif: bytes | None
    """EXIF block (it starts with the TIFF header) to write into pictures: camera, exposure, lens, dates, owner, GPS;
    no thumbnail, no MakerNote, orientation 1. None if nothing is known."""
    noise_profile: tuple[tuple[float, float], ...] | None
    """DNG NoiseProfile: (scale, offset) for all colors or for each; variance = scale · x + offset of the normalized
    signal x. None if missing."""
    scale: int = 1
    """Steps of the mosaic and of its levels per DN of the file: more than 1 after `alen.dark_frames.subtract_dark`."""
    pedestal_dn: float = 0.0
    """What was added to the file's DN."""
    xyz2cam: Matrix | None = None
    """(3, 3) from XYZ (D65) to camera RGB before white balance; None if the file and LibRaw do not know it."""
    lens_shading: LensShading | None = None
    """What the lens loses toward the corners, if a DNG says so; the mosaic has not been corrected."""
    lens_distortion: LensDistortion | None = None
    """Where the lens puts what belongs elsewhere, if a DNG says so; the mosaic has not been corrected."""
    listed_defects: NDArray[np.intp] | None = None
    """(N,) places into the flattened mosaic, ascending: pixels that a DNG lists as defective; they are in the mosaic as
    the sensor has them."""
    warnings: tuple[str, ...]
    """What had to be assumed, one sentence each."""
    name: str
    """File name, or "<bytes>"; for messages."""

    def in_dn(self, levels: Sequence[float]) -> tuple[float, ...]:
        """Return levels of the mosaic in DN of the file."""
        return tuple(level / self.scale - self.pedestal_dn for level in levels)


@dataclass(frozen=True, kw_only=True)
class RawHeader:
    """What a RAW file says before its mosaic is decoded."""

    height: int
    """Rows of the visible area."""
    width: int
    """Columns of the visible area."""
    camera: str
    """Maker and model, "unknown camera" if the file does not say."""
    iso: float | None
    """ISO speed; None if unknown."""
    exposure_time_s: float | None
    """Exposure time in seconds; None if unknown."""
    aperture: float | None
    """F-number; None if unknown."""

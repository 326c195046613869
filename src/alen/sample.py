"""A made-up, physically noisy, extremely dark RAW file with its bright reference, for first steps and for tests.

The night scene (`alen.data.scene`) is photographed by a virtual Sony A7S II: once long enough, which is the reference,
and once ``ratio`` times shorter, which is the DNG. A good lens spreads every point over some pixels. The colors pass
through that camera's color matrix and a white balance for lamp light, the noise is that of its calibration
(`alen.cameras`).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from alen import __version__
from alen.cameras import CAMERAS
from alen.cfa import CFA, mosaic_from_rgb
from alen.color import cam2rgb_from_xyz2cam, develop
from alen.data.lens import blur
from alen.data.scene import night_scene
from alen.dng import Field, encode_exif, write_cfa_dng
from alen.errors import PictureError, SettingsError
from alen.noise import NoiseParameters, add_noise
from alen.picture import write_picture

REFERENCE_EXPOSURE_S: Final = 10.0
"""Exposure time of the reference in seconds; the DNG's is this divided by the ratio."""

APERTURE: Final = 8.0
"""F-number of both exposures."""

XYZ2CAM: Final = ((0.5838, -0.1430, -0.0246), (-0.3497, 1.1477, 0.2297), (-0.0748, 0.1885, 0.5778))
"""Color matrix of the Sony A7S and A7S II for D65, as in dcraw's table of Adobe's coefficients ("Sony ILCE-7S")."""

WHITE_BALANCE: Final = (1.71, 1.0, 2.80)
"""Gains of R, G and B for lamp light: the warmest that the See-in-the-Dark frames of this camera carry."""

CAMERA: Final = "ALEN night sample"
"""Name of the virtual camera in the DNG. Not the real one's, so that no program takes the file for a photograph."""

LENS_SIGMA_PX: Final = 0.6
"""Standard deviation of a point's image. Without it the smallest lights and glints would be single pixels, which no
camera sees: at one site of the filter array they would have one color, at the next another."""

_SENSOR: Final = next(camera for camera in CAMERAS if camera.name == "Sony A7S II")


@dataclass(frozen=True)
class SamplePaths:
    """The files of a sample."""

    raw: Path
    """The dark DNG."""
    reference: Path
    """The same view, noiseless and ``ratio`` times longer exposed: 16-bit PNG, developed like an enhanced picture."""


def reference_path(path: str | os.PathLike[str]) -> Path:
    """Return where the reference of the sample at ``path`` lies: ``night.dng`` → ``night.reference.png``."""
    return Path(path).with_suffix(".reference.png")


def camera_truth(height: int = 1024, width: int = 1536, seed: int = 0) -> NDArray[np.float32]:
    """Return what a noiseless, fully sampled sensor would see in the reference exposure.

    Args:
        height: Rows.
        width: Columns.
        seed: Of the scene.

    Returns:
        (height, width, 3) float32: linear camera RGB, white-balanced, 1 where green saturates in the reference; not
        clipped. It is what `alen enhance --linear` of the DNG at the right ratio should give.
    """
    rgb2cam = np.linalg.inv(cam2rgb_from_xyz2cam(XYZ2CAM)).astype(np.float32)
    # every sRGB color lies inside this camera's gamut; the maximum only removes rounding
    seen = blur(night_scene(height, width, seed), LENS_SIGMA_PX)
    return np.asarray(np.maximum(seen @ rgb2cam.T, 0), dtype=np.float32)


def expose(truth: NDArray[np.float32], cfa: CFA, *, ratio: float, iso: float, seed: int = 0) -> NDArray[np.uint16]:
    """Take the short exposure.

    Args:
        truth: (H, W, 3) from `camera_truth`.
        cfa: Color filter array of the sensor.
        ratio: How many times shorter than the reference.
        iso: ISO speed: sets the gain and with it how few electrons there are.
        seed: Of the noise.

    Returns:
        (H, W) uint16 mosaic in DN.
    """
    sensor_rgb = truth / (np.float32(ratio) * np.asarray(WHITE_BALANCE, dtype=np.float32))
    return add_noise(mosaic_from_rgb(sensor_rgb, cfa), cfa, _SENSOR.typical(iso), np.random.default_rng(seed))


def make_sample(
    path: str | os.PathLike[str],
    *,
    ratio: float = 100.0,
    iso: float = 800.0,
    seed: int = 0,
    height: int = 1024,
    width: int = 1536,
    cfa: CFA = CFA.bayer("RGGB"),  # noqa: B008 (frozen)
    force: bool = False,
) -> SamplePaths:
    """Write an extremely dark DNG and its bright reference.

    Args:
        path: The DNG; the reference goes beside it, see `reference_path`.
        ratio: Exposure ratio in [1, 1000].
        iso: ISO speed of both exposures in [100, 25600], the range of the camera's calibration.
        seed: Of scene and noise; the same seed gives the same files.
        height: Rows, at least 16; LibRaw, and so `alen enhance`, reads 22 and more.
        width: Columns, likewise.
        cfa: Filter array: any phase of Bayer or X-Trans. LibRaw demosaics X-Trans from 512 × 512 pixels on.
        force: Replace existing files.

    Raises:
        PictureError: A file exists already (and ``force`` is not set), or cannot be written.
        SettingsError: A setting is out of its range, or the suffix is not .dng.
    """
    paths = SamplePaths(Path(path), reference_path(path))
    if not 1 <= ratio <= 1000:
        raise SettingsError(f"The exposure ratio of a sample lies between 1 and 1000; got {ratio}.")
    if not 100 <= iso <= 25600:
        raise SettingsError(f"The ISO speed of a sample lies between 100 and 25600; got {iso}.")
    if seed < 0:
        raise SettingsError(f"The seed is a whole number from 0 on; got {seed}.")
    _check_targets(paths, force=force)
    try:
        paths.raw.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror or str(error)
        raise PictureError(f"{paths.raw.parent}: the folder cannot be made ({reason}). Choose another one.") from error
    truth = camera_truth(height, width, seed)
    _write_reference(paths.reference, truth, ratio, iso)
    noise = _SENSOR.typical(iso)
    write_cfa_dng(
        paths.raw,
        expose(truth, cfa, ratio=ratio, iso=iso, seed=seed),
        cfa=cfa,
        black_level=(noise.black_level_dn,) * 4,
        white_level=noise.white_level_dn,
        white_balance=WHITE_BALANCE,
        xyz2cam=XYZ2CAM,
        iso=iso,
        exposure_time_s=REFERENCE_EXPOSURE_S / ratio,
        aperture=APERTURE,
        camera=CAMERA,
        noise_profile=[_noise_profile(noise)],
    )
    return paths


def _check_targets(paths: SamplePaths, *, force: bool) -> None:
    """Raise SettingsError if the file has a wrong name, PictureError if one stands there already."""
    if paths.raw.suffix.lower() != ".dng":
        raise SettingsError(f"{paths.raw}: a sample is a DNG file; choose a name that ends in .dng.")
    for file in (paths.raw, paths.reference):
        if file.exists() and not force:
            raise PictureError(f"{file}: exists already; choose another name, or pass force (--force) to replace it.")


def _write_reference(path: Path, truth: NDArray[np.float32], ratio: float, iso: float) -> None:
    """Develop the truth as an enhanced picture of the DNG would be, and write it."""
    picture = develop(truth, cam2rgb_from_xyz2cam(XYZ2CAM), clip_level=ratio * min(WHITE_BALANCE))
    exposure = {33434: Field.fractions((REFERENCE_EXPOSURE_S,)), 33437: Field.fractions((APERTURE,))}
    metadata = {
        "Software": f"ALEN {__version__}",
        "picture": "reference of a made-up sample: noiseless",
        "iso": f"{iso:g}",
        "ratio": f"{ratio:g}",
    }
    write_picture(path, picture, exif=encode_exif({272: Field.ascii(CAMERA)}, exposure), metadata=metadata)


def _noise_profile(noise: NoiseParameters) -> tuple[float, float]:
    """Return DNG's NoiseProfile (scale, offset): variance = scale · x + offset of the normalized signal x."""
    span = noise.white_level_dn - noise.black_level_dn
    return noise.gain / span, (noise.read_sigma_dn**2 + noise.row_sigma_dn**2 + 1 / 12) / span**2

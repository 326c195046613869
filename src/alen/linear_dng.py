"""Linear DNG: a clean, demosaiced RAW image for other programs to develop.

Source: Adobe's Digital Negative Specification 1.4.0.0 ("Linear Raw"). Structure and tags are those of `alen.dng`, but:

- IFD 0 holds a preview, the picture as we develop it, for programs that only show files; its SubIFD the main picture.
- PhotometricInterpretation 34892 (LinearRaw), three samples of 16 bits, in tiles of lossless JPEG.
- Samples are camera RGB before white balance, as sensors give it, so that white balance can still be chosen:
  AsShotNeutral and ColorMatrix1 are those of the RAW file. They are times the exposure ratio, which a reader's slider
  would not reach, and 65535 stands for up to `_HEADROOM` times display white; BaselineExposure says how many stops.
- What is brighter than that keeps its hue, what the sensor clipped is neutral, and below black there is nothing.
- Lens shading and distortion are corrected, as in pictures; there are no opcodes left to apply.
- NoiseReductionApplied is 1: readers should not smooth it again.
"""

from __future__ import annotations

import io
import math
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from alen.color import RGB_FROM_XYZ, Development
from alen.cores import usable_cores
from alen.dng import PHOTOMETRIC_LINEAR_RAW, Field, encode_exif, read_directories
from alen.enhance import Enhanced
from alen.errors import PictureError
from alen.picture import exif_fields, not_a_number, replacing_picture
from alen.sheets import reduced_to

_HEADROOM: Final = 4.0
"""How far above display white samples reach, at most: two stops, and 14 bits below."""

_PREVIEW_PX: Final = 1280
"""Longest side of the preview."""

_TILE: Final = 1024
"""Sides of a tile in pixels, at most; sides are multiples of 16 ("TileWidth")."""

_HEAD: Final = 1 << 20
"""Bytes of a file that are read to tell what it is: its directories."""

_BYTE, _SHORT, _LONG, _RATIONAL = 1, 3, 4, 5
"""TIFF field types."""


def write_linear_dng(
    path: str | os.PathLike[str],
    enhanced: Enhanced,
    *,
    exposure_ev: float = 0.0,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write an enhanced image as linear DNG, 16 bit, without loss after rounding, in sensor orientation.

    Args:
        path: The file, ending in .dng; an existing one is replaced.
        enhanced: The image.
        exposure_ev: Stops by which programs should develop it brighter by default.
        metadata: As of `alen.picture.write_picture`.

    Raises:
        PictureError: The file cannot be written, and nothing is left behind; or the image holds what is no number.
    """
    path = Path(path)
    raw = enhanced.raw
    if path.suffix.lower() != ".dng":
        raise PictureError(f"{path}: linear DNGs are written as .dng; choose this suffix.")
    samples, headroom = _samples(enhanced, path)
    main, exif, gps = exif_fields(path, raw.exif, samples.shape, metadata, color_space=65_535)
    height, width, _ = samples.shape
    across = min(_TILE, max(width // 16, 1) * 16)  # LibRaw reads no tiles that are wider than the picture
    down = min(_TILE, -(-height // 16) * 16)
    places = [(top, left) for top in range(0, height, down) for left in range(0, width, across)]
    with ThreadPoolExecutor(usable_cores()) as pool:  # imagecodecs leaves the interpreter's lock
        tiles = list(pool.map(lambda place: _tile(samples, place, (down, across)), places))
    preview, (preview_height, preview_width) = _preview(enhanced, exposure_ev)
    main |= {
        254: Field(_LONG, (1,)),  # NewSubFileType: a preview
        256: Field(_LONG, (preview_width,)),
        257: Field(_LONG, (preview_height,)),
        258: Field(_SHORT, (8,) * 3),  # BitsPerSample
        259: Field(_SHORT, (7,)),  # Compression: JPEG
        262: Field(_SHORT, (6,)),  # PhotometricInterpretation: YCbCr
        273: Field(_LONG, (0,)),  # StripOffsets, known below
        274: Field(_SHORT, (raw.orientation,)),
        277: Field(_SHORT, (3,)),  # SamplesPerPixel
        278: Field(_LONG, (preview_height,)),  # RowsPerStrip
        279: Field(_LONG, (len(preview),)),  # StripByteCounts
        284: Field(_SHORT, (1,)),  # PlanarConfiguration: chunky
        530: Field(_SHORT, (1, 1)),  # YCbCrSubSampling: none
        532: Field.fractions((0, 255, 128, 255, 128, 255)),  # ReferenceBlackWhite of JPEG
        50706: Field(_BYTE, bytes((1, 4, 0, 0))),  # DNGVersion
        50707: Field(_BYTE, bytes((1, 1, 0, 0))),  # DNGBackwardVersion
        50708: Field.ascii(raw.camera),  # UniqueCameraModel
        50721: Field.fractions(_xyz2cam(enhanced).ravel().tolist(), signed=True),  # ColorMatrix1
        50728: Field.fractions(_neutral(enhanced).tolist()),  # AsShotNeutral
        50730: Field.fractions((math.log2(headroom) + exposure_ev,), signed=True),  # BaselineExposure
        50731: Field(_RATIONAL, (1, 1)),  # BaselineNoise
        50732: Field(_RATIONAL, (1, 1)),  # BaselineSharpness
        50734: Field(_RATIONAL, (1, 1)),  # LinearResponseLimit
        50778: Field(_SHORT, (21,)),  # CalibrationIlluminant1: D65
        50827: Field.ascii(raw.name),  # OriginalRawFileName
        50970: Field(_LONG, (2,)),  # PreviewColorSpace: sRGB
    }
    picture = {
        254: Field(_LONG, (0,)),  # NewSubFileType: the main picture
        256: Field(_LONG, (width,)),
        257: Field(_LONG, (height,)),
        258: Field(_SHORT, (16,) * 3),  # BitsPerSample
        259: Field(_SHORT, (7,)),  # Compression: JPEG, here lossless
        262: Field(_SHORT, (PHOTOMETRIC_LINEAR_RAW,)),
        277: Field(_SHORT, (3,)),  # SamplesPerPixel
        284: Field(_SHORT, (1,)),  # PlanarConfiguration: chunky
        322: Field(_LONG, (across,)),  # TileWidth
        323: Field(_LONG, (down,)),  # TileLength
        324: Field(_LONG, (0,) * len(tiles)),  # TileOffsets, known below
        325: Field(_LONG, tuple(map(len, tiles))),  # TileByteCounts
        50714: Field(_SHORT, (0,) * 3),  # BlackLevel
        50717: Field(_SHORT, (65_535,) * 3),  # WhiteLevel
        50935: Field(_RATIONAL, (1, 1)),  # NoiseReductionApplied: all of it
    }
    first = len(encode_exif(main, exif, gps, picture))  # which does not depend on the values
    ends = np.cumsum([first, len(preview), *map(len, tiles)]).tolist()
    if ends[-1] >= 2**32:
        raise PictureError(f"{path}: a DNG file holds less than 4 GiB, the picture has {ends[-1] / 2**30:.1f}.")
    main[273] = Field(_LONG, (first,))
    picture[324] = Field(_LONG, tuple(ends[1:-1]))
    with replacing_picture(path) as file:
        for part in (encode_exif(main, exif, gps, picture), preview, *tiles):
            file.write(part)


def _preview(enhanced: Enhanced, exposure_ev: float) -> tuple[bytes, tuple[int, int]]:
    """Return the developed picture, reduced, as JPEG in sensor orientation, and its height and width."""
    small = reduced_to(enhanced, _PREVIEW_PX).developed(np.uint8, exposure_ev=exposure_ev)
    file = io.BytesIO()
    Image.fromarray(small).save(file, format="JPEG", quality=85, subsampling="4:4:4")
    return file.getvalue(), small.shape[:2]


def is_raw_file(path: Path) -> bool:
    """Tell whether a file is a DNG that is not of ours: from a camera, or a converter.

    Raises:
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        directories = read_directories(file.read(_HEAD))
    is_linear = any(directory.integers(262) == (PHOTOMETRIC_LINEAR_RAW,) for directory in directories)
    return bool(directories) and not (is_linear and directories[0].text(305).lower().startswith("alen"))


def _samples(enhanced: Enhanced, path: Path) -> tuple[NDArray[np.uint16], float]:
    """Return the samples (H, W, 3), and how many times display white 65535 is."""
    development = Development.of(enhanced.raw.cam2rgb, exposure_ev=0.0, clip_level=enhanced.clip_level)
    shading = enhanced.raw.lens_shading
    brightest = float(enhanced.linear.max()) * (1.0 if shading is None else 2**shading.largest_stops)
    if not (math.isfinite(brightest) and math.isfinite(enhanced.linear.min())):
        raise PictureError(not_a_number(path))
    headroom = min(max(brightest, 1.0), _HEADROOM)
    scale = (_neutral(enhanced) * (65_535 / headroom)).astype(np.float32)
    samples = np.empty(enhanced.linear.shape, dtype=np.uint16)
    for rows, piece, gains in enhanced.pieces():
        colors = np.ascontiguousarray(np.moveaxis(piece, 2, 0))
        of_colors = None if gains is None else (gains[0], gains[1], gains[2])
        colors = np.stack(development.neutralized(tuple(colors), of_colors, np.maximum, np.minimum))
        colors *= scale[:, None, None]
        largest = colors.max(axis=0)
        colors *= np.float32(65_535) / np.maximum(largest, np.float32(65_535))
        np.rint(colors, out=colors)
        samples[rows] = np.moveaxis(np.clip(colors, 0, 65_535), 0, 2)
    return samples, headroom


def _neutral(enhanced: Enhanced) -> NDArray[np.float64]:
    """Return the camera RGB of a neutral object, the largest 1."""
    neutral = 1 / np.array(enhanced.raw.white_balance, dtype=np.float64)
    scaled: NDArray[np.float64] = neutral / neutral.max()
    return scaled


def _xyz2cam(enhanced: Enhanced) -> NDArray[np.float64]:
    """Return the matrix from XYZ to camera RGB; where it is not known, one that gives the colors of our pictures."""
    raw = enhanced.raw
    if raw.xyz2cam is not None:
        return np.array(raw.xyz2cam)
    matrix: NDArray[np.float64] = _neutral(enhanced)[:, None] * (np.linalg.inv(raw.cam2rgb) @ RGB_FROM_XYZ)
    return matrix


def _tile(samples: NDArray[np.uint16], place: tuple[int, int], size: tuple[int, int]) -> bytes:
    """Return a tile as lossless JPEG, continued beyond the edges of the picture."""
    (top, left), (height, width) = place, size
    part = samples[top : top + height, left : left + width]
    beyond = [(0, height - part.shape[0]), (0, width - part.shape[1]), (0, 0)]
    tile = np.ascontiguousarray(np.pad(part, beyond, mode="edge"))
    return bytes(imagecodecs.jpeg8_encode(tile, lossless=True, predictor=1, bitspersample=16))

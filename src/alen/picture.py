"""Pictures: an array becomes a JPEG, PNG or TIFF file, upright, with color profile and EXIF.

=========== ========================================================================================================
.jpg .jpeg  8 bit, full color resolution (4:4:4) from quality 90 on, else 4:2:0
.png        16 bit, without loss; Huffman coding only, which for 16-bit photographs is as small and five times faster
.tif .tiff  16 bit, uncompressed: deflate saves a seventh of a photograph and takes ten times as long
=========== ========================================================================================================

`write_linear_tiff` writes 32-bit float TIFF for everything that goes on calculating. Values are rounded, not dithered.
A file appears under its name only when it is complete.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import io
import json
import os
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from alen.dng import Field, encode_exif, read_directories
from alen.errors import PictureError, SettingsError

SUFFIXES: Final = (".jpeg", ".jpg", ".png", ".tif", ".tiff")
"""Suffixes that `write_picture` takes, lower case."""

_MAX_JPEG_PX: Final = 65_500
"""Longest side of a JPEG: the format counts in 16 bits, libjpeg stops a little earlier."""

_MAX_JPEG_EXIF: Final = 65_533 - 6
"""Bytes of an EXIF block in a JPEG segment, whose length counts itself (2) and whose name takes 6 more."""

_MAX_TIFF_PIXELS: Final = 2**32 - 2**20
"""Bytes of the pixels in a TIFF file, whose offsets have 32 bits; the rest is for its directories."""

_FULL_COLOR_QUALITY: Final = 90
"""JPEG quality from which color is kept at full resolution: whoever asks for it looks at 100 %."""

_STRIPE_PX: Final = 1 << 17
"""Pixels quantized at a time: the float temporaries stay in the processor's cache."""

_BYTE, _SHORT, _LONG, _RATIONAL, _UNDEFINED = 1, 3, 4, 5, 7
"""TIFF field types."""

_KEPT_TAGS: Final = frozenset((270, 271, 272, 306, 315, 316, 33432))
"""Tags of IFD 0 that describe the photograph; the others describe the layout of the file they come from.

ImageDescription, Make, Model, DateTime, Artist, HostComputer and Copyright.
"""

_BOUND_TAGS: Final = frozenset((37500, 40965))
"""Tags of the Exif IFD that hold offsets into their file: MakerNote, Interoperability. They cannot move along."""

_REMEDIES: Final = {
    errno.ENOENT: "there is no such folder; make it first or choose another one",
    errno.ENOTDIR: "a part of the path is a file; choose another folder",
    errno.EISDIR: "a folder has this name; choose another name",
    errno.EACCES: "writing there is not permitted; choose another folder",
    errno.EPERM: "writing there is not permitted; choose another folder",
    errno.EROFS: "the file system is read-only; choose another folder",
    errno.ENOSPC: "the disk is full; make room or choose another folder",
    errno.EDQUOT: "your disk quota is used up; make room or choose another folder",
    errno.ENAMETOOLONG: "the name is too long; choose a shorter one",
}


Pixels = NDArray[np.float32] | NDArray[np.uint8] | NDArray[np.uint16]
"""(H, W, 3) of a picture."""


def bits(path: str | os.PathLike[str]) -> Literal[8, 16]:
    """Return the bits per channel of the format that a suffix (see `SUFFIXES`) stands for."""
    return 8 if Path(path).suffix.lower() in (".jpg", ".jpeg") else 16


def write_picture(
    path: str | os.PathLike[str],
    rgb: Pixels,
    *,
    orientation: int = 1,
    exif: bytes | None = None,
    quality: int = 95,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write a display-encoded sRGB picture; the format follows from the suffix (see `SUFFIXES`).

    The EXIF block of the RAW file is kept, except for its orientation, which becomes 1 because the pixels are turned,
    and for MakerNote, which cannot be moved. An sRGB profile is embedded.

    Args:
        path: The file; an existing one is replaced.
        rgb: (H, W, 3) display-encoded sRGB, sensor orientation: float32 in [0, 1], values outside are clipped; or whole
            numbers of the format's `bits`.
        orientation: EXIF orientation 1…8, applied to the pixels.
        exif: EXIF block of the RAW file, beginning with its TIFF header.
        quality: JPEG quality, 1…100; other formats lose nothing.
        metadata: What made the picture. "Software" becomes the tag of that name; the others go as a JSON object into
            UserComment.

    Raises:
        PictureError: The file cannot be written; nothing is left behind.
        SettingsError: The orientation, the quality or the shape of the picture is out of range.
    """
    path = Path(path)
    encode = _ENCODERS.get(path.suffix.lower())
    if encode is None:
        raise PictureError(f"{path}: pictures are written as {', '.join(SUFFIXES)}; choose one of these suffixes.")
    if quality not in range(1, 101):
        raise SettingsError(f"The JPEG quality is a whole number, 1…100; got {quality}.")
    _check(path, rgb)
    upright = orient(rgb, orientation)
    block = exif_fields(path, exif, upright.shape, metadata)
    with replacing_picture(path) as file:
        encode(file, path, upright, block, int(quality))  # Pillow takes no other whole numbers, such as numpy's


def write_linear_tiff(
    path: str | os.PathLike[str],
    rgb: NDArray[np.float32],
    *,
    exif: bytes | None = None,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write linear camera RGB as 32-bit float TIFF: uncompressed, without a profile, in sensor orientation.

    Args:
        path: The file, ending in .tif or .tiff; an existing one is replaced.
        rgb: (H, W, 3) float32, or another floating type, which is rounded; linear; neither clipped nor scaled.
        exif: As for `write_picture`.
        metadata: As for `write_picture`.

    Raises:
        PictureError: The file cannot be written; nothing is left behind.
        SettingsError: The shape or the type is wrong.
    """
    path = Path(path)
    if path.suffix.lower() not in (".tif", ".tiff"):
        raise PictureError(f"{path}: linear pictures are written as .tif or .tiff; choose one of these suffixes.")
    _check(path, rgb)
    if rgb.dtype.kind != "f":
        raise SettingsError(f"{path}: a linear picture is of float32; got an array of {rgb.dtype}.")
    with np.errstate(over="ignore"):  # told below
        pixels = np.ascontiguousarray(rgb, dtype="<f4")
    if not np.isfinite(pixels.sum(dtype=np.float64)):
        raise PictureError(not_a_number(path))
    with replacing_picture(path) as file:
        _write_tiff(file, path, pixels, exif_fields(path, exif, rgb.shape, metadata, color_space=65_535), profile=None)


def orient(picture: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Return a view of a picture (H, W, …) turned upright according to its EXIF orientation 1…8.

    Raises:
        SettingsError: There is no such orientation.
    """
    if orientation not in range(1, 9):
        raise SettingsError(f"The EXIF orientation is 1…8; got {orientation}.")
    if orientation >= 5:  # rows are columns
        picture = picture.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        picture = picture[::-1]
    if orientation in (2, 3, 6, 7):
        picture = picture[:, ::-1]
    return picture


@functools.cache
def srgb_profile() -> bytes:
    """Return an sRGB ICC profile (version 4, 588 bytes), the same bytes every time."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    profile[24:36] = struct.pack(">6H", 2000, 1, 1, 0, 0, 0)  # the time of creation, which would be now
    return bytes(profile)


def quantize(rgb: NDArray[Any], *, out: NDArray[Any], name: str | os.PathLike[str]) -> None:
    """Round a picture in [0, 1] to the full range of whole numbers; values outside are clipped.

    Args:
        rgb: (H, W, 3) float32.
        out: (H, W, 3) uint8 or uint16, where it goes.
        name: What the picture is called in an error.

    Raises:
        PictureError: A value is not a finite number.
    """
    scale = np.float32(np.iinfo(out.dtype).max)
    rows = max(1, _STRIPE_PX // rgb.shape[1])
    for top in range(0, rgb.shape[0], rows):
        stripe = rgb[top : top + rows] * scale
        np.rint(stripe, out=stripe)
        if not (np.isfinite(stripe.max()) and np.isfinite(stripe.min())):  # both pass nan on
            raise PictureError(not_a_number(name))
        np.clip(stripe, 0, scale, out=stripe)
        out[top : top + rows] = stripe


ExifFields = tuple[dict[int, Field], dict[int, Field], dict[int, Field]]
"""IFD 0, Exif IFD and GPS IFD of an EXIF block."""


def _write_jpeg(file: BinaryIO, path: Path, rgb: Pixels, fields: ExifFields, quality: int) -> None:
    """Write 8 bit, 4:4:4 or 4:2:0."""
    if max(rgb.shape) > _MAX_JPEG_PX:
        raise PictureError(f"{path}: a JPEG has at most {_MAX_JPEG_PX} pixels a side; write a PNG or TIFF instead.")
    block = encode_exif(*fields)
    while len(block) > _MAX_JPEG_EXIF:  # a photographer keeps more by losing one huge value than by losing all
        _drop_largest(fields)
        block = encode_exif(*fields)
    picture = Image.fromarray(_quantized(path, rgb, np.uint8))
    jpeg = io.BytesIO()  # Pillow hides the reason when it cannot write to a file
    picture.save(
        jpeg,
        format="JPEG",
        quality=quality,
        subsampling="4:4:4" if quality >= _FULL_COLOR_QUALITY else "4:2:0",
        icc_profile=srgb_profile(),
        exif=b"Exif\0\0" + block,
    )
    with jpeg.getbuffer() as data:  # given back even if writing fails: an error keeps it, and Python 3.13 complains
        file.write(data)


def _write_png(file: BinaryIO, path: Path, rgb: Pixels, fields: ExifFields, quality: int) -> None:  # noqa: ARG001 - all encoders are called alike
    """Write 16 bit; profile and EXIF follow the header, which is the first 33 bytes (PNG 3rd edition, 5.6)."""
    png = memoryview(
        imagecodecs.png_encode(
            _quantized(path, rgb, np.uint16),
            level=1,
            strategy=imagecodecs.PNG.STRATEGY.HUFFMAN_ONLY,
            filter=imagecodecs.PNG.FILTER.SUB,
        )
    )
    file.write(png[:33])
    file.write(_png_chunk(b"iCCP", b"sRGB\0\0" + zlib.compress(srgb_profile())))
    file.write(_png_chunk(b"eXIf", encode_exif(*fields)))
    file.write(png[33:])


def _png_chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _write_tiff16(file: BinaryIO, path: Path, rgb: Pixels, fields: ExifFields, quality: int) -> None:  # noqa: ARG001 - all encoders are called alike
    """Write 16 bit."""
    pixels = _quantized(path, rgb, np.uint16).astype("<u2", copy=False)
    _write_tiff(file, path, pixels, fields, profile=srgb_profile())


def _write_tiff(file: BinaryIO, path: Path, pixels: NDArray[Any], fields: ExifFields, *, profile: bytes | None) -> None:
    """Write (H, W, 3) little-endian pixels as one uncompressed strip after the directories.

    An EXIF block is a TIFF file without a picture; adding the tags of the picture to it keeps all of EXIF, as the
    TIFF writers at hand do not.
    """
    if pixels.nbytes > _MAX_TIFF_PIXELS:
        raise PictureError(f"{path}: a TIFF file holds less than 4 GiB, the picture has {pixels.nbytes / 2**30:.1f}.")
    height, width, channels = pixels.shape
    main, exif, gps = fields
    main |= {
        256: Field(_LONG, (width,)),  # ImageWidth
        257: Field(_LONG, (height,)),  # ImageLength
        258: Field(_SHORT, (pixels.dtype.itemsize * 8,) * channels),  # BitsPerSample
        259: Field(_SHORT, (1,)),  # Compression: none
        262: Field(_SHORT, (2,)),  # PhotometricInterpretation: RGB
        273: Field(_LONG, (0,)),  # StripOffsets, known below
        277: Field(_SHORT, (channels,)),  # SamplesPerPixel
        278: Field(_LONG, (height,)),  # RowsPerStrip
        279: Field(_LONG, (pixels.nbytes,)),  # StripByteCounts
        282: Field(_RATIONAL, (72, 1)),  # XResolution
        283: Field(_RATIONAL, (72, 1)),  # YResolution
        284: Field(_SHORT, (1,)),  # PlanarConfiguration: contiguous
        296: Field(_SHORT, (2,)),  # ResolutionUnit: inch
        339: Field(_SHORT, ((3 if pixels.dtype.kind == "f" else 1),) * channels),  # SampleFormat
    }
    if profile is not None:
        main[34675] = Field(_UNDEFINED, profile)  # InterColorProfile
    main[273] = Field(_LONG, (len(encode_exif(main, exif, gps)),))  # the length does not depend on the values
    file.write(encode_exif(main, exif, gps))
    file.write(pixels.data)


_ENCODERS: Final[dict[str, Callable[[BinaryIO, Path, Pixels, ExifFields, int], None]]] = {
    ".jpeg": _write_jpeg,
    ".jpg": _write_jpeg,
    ".png": _write_png,
    ".tif": _write_tiff16,
    ".tiff": _write_tiff16,
}


def _quantized(path: Path, rgb: Pixels, dtype: type[np.uint8] | type[np.uint16]) -> NDArray[Any]:
    """Return the picture as (H, W, 3) of a type, contiguous."""
    if rgb.dtype != np.float32:
        if rgb.dtype != dtype:
            raise SettingsError(
                f"{path}: has {np.iinfo(dtype).bits} bits per channel; got an array of {rgb.dtype}. Give one of "
                f"{np.dtype(dtype)}, or float32 in [0, 1]."
            )
        return np.ascontiguousarray(rgb)
    quantized = np.empty(rgb.shape, dtype=dtype)
    quantize(rgb, out=quantized, name=path)
    return quantized


def exif_fields(
    path: Path,
    exif: bytes | None,
    shape: Sequence[int],
    metadata: Mapping[str, str] | None,
    *,
    color_space: int = 1,
) -> ExifFields:
    """Return the fields of the new EXIF block: those of the RAW file, what has changed, and what made the picture.

    The color space is that of Exif 2.3: 1 is sRGB, 65535 "uncalibrated", which is any other.
    """
    main: dict[int, Field] = {}
    details: dict[int, Field] = {36864: Field(_UNDEFINED, b"0230")}  # ExifVersion
    gps: dict[int, Field] = {}
    if exif is not None:
        directories = read_directories(exif)
        if not directories:
            raise PictureError(f"{path}: the EXIF block to be kept does not begin with a TIFF header; leave it out.")
        main |= {tag: value for tag, value in directories[0].fields.items() if tag in _KEPT_TAGS}
        details |= {tag: value for tag, value in directories[0].exif.items() if tag not in _BOUND_TAGS}
        gps |= directories[0].gps
    others = dict(metadata or {})
    main[274] = Field(_SHORT, (1,))  # Orientation
    main[305] = Field.ascii(others.pop("Software", "ALEN"))  # Software
    details[40961] = Field(_SHORT, (color_space,))  # ColorSpace
    details[40962] = Field(_LONG, (shape[1],))  # PixelXDimension
    details[40963] = Field(_LONG, (shape[0],))  # PixelYDimension
    if others:
        details[37510] = Field(_UNDEFINED, b"ASCII\0\0\0" + json.dumps(others).encode("ascii"))  # UserComment
    return main, details, gps


def _drop_largest(fields: ExifFields) -> None:
    """Remove the largest value from the fields."""
    part, tag = max(((part, tag) for part in fields for tag in part), key=lambda place: len(place[0][place[1]].values))
    del part[tag]


def _check(path: Path, rgb: NDArray[Any]) -> None:
    if not isinstance(rgb, np.ndarray):
        raise SettingsError(
            f"{path}: a picture is an array (H, W, 3); got {type(rgb).__name__}. Of an enhanced image write the "
            "picture() that it returns."
        )
    if rgb.ndim != 3 or rgb.shape[2] != 3 or 0 in rgb.shape:
        raise SettingsError(f"{path}: a picture has the shape (H, W, 3); got {rgb.shape}.")


def not_a_number(name: str | os.PathLike[str]) -> str:
    """Return what to say of a picture that a number is missing in."""
    return f"{name}: the picture holds values that are not finite numbers; enhance it with float32 precision."


@contextlib.contextmanager
def replacing_picture(path: Path) -> Iterator[BinaryIO]:
    """Yield a file beside ``path`` that takes its name when the block ends well and vanishes when it does not.

    Raises:
        PictureError: It cannot be written; the message says what to do.
    """
    if "\0" in str(path):
        raise PictureError(f"{str(path)!r}: this cannot be the name of a file; choose another one.")
    temporary = path.with_name(f".{path.name[:32]}.{os.urandom(4).hex()}.part")  # a long name leaves no room for more
    try:
        try:
            with temporary.open("xb") as file:
                yield file
            temporary.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):  # the first error is the one to tell
                temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        remedy = _REMEDIES.get(error.errno or 0, f"{error.strerror or error}; choose another folder")
        raise PictureError(f"{path}: the picture cannot be written: {remedy}.") from error

"""RAW files: a path, bytes or a file becomes a `RawImage`, or a typed error. The only importer of rawpy.

LibRaw decodes (through rawpy); the levels, colors and dates it leaves out are read from the file's own TIFF directories
(`alen.dng`). LibRaw is made to show a picture whenever it can, so a damaged file may "succeed" with zeros, and 24 MB of
random bytes pass for a camera that wrote no header. Therefore a file is checked before (is it a container we know, do
its picture data lie inside it) and after decoding (are there unwritten areas, do the values fit the levels).
"""

from __future__ import annotations

import contextlib
import io
import os
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
import rawpy
from numpy.typing import NDArray

from alen.cfa import CFA, PLANES, xtrans_offset
from alen.color import RGB_FROM_XYZ, cam2rgb_from_xyz2cam
from alen.dng import (
    PHOTOMETRIC_CFA,
    PHOTOMETRIC_LINEAR_RAW,
    Directory,
    Field,
    encode_exif,
    read_directories,
)
from alen.errors import (
    CorruptRawError,
    NotRawError,
    RawError,
    RawNotFoundError,
    SettingsError,
    UnsupportedRawError,
)
from alen.lens_distortion import LensDistortion, read_lens_distortion
from alen.lens_shading import LensShading, read_lens_shading, read_vignette
from alen.levels import normalize
from alen.listed_pixels import read_listed_pixels
from alen.white_balance import estimate_white_balance

Matrix = tuple[tuple[float, float, float], tuple[float, float, float], tuple[float, float, float]]
"""A (3, 3) matrix, row by row."""

Gains = tuple[float, float, float]
"""White balance gains of R, G and B; green = 1."""

_NEUTRAL_MATRIX: Final[Matrix] = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
"""Camera RGB taken as linear sRGB: neutral stays neutral, other colors are pale."""

_MAX_BYTES: Final = 2**31 - 1
"""LibRaw counts file positions in 32 bits, signed."""

_MIN_SIDE: Final = 16
"""Below this nothing is a photograph."""

_LIBRAW_MIN_SIDE: Final = 22
"""LibRaw itself takes no smaller DNGs."""

_MAX_JPEG_MARKERS: Final = 1000
"""Segments before the data of a JPEG in a strip or tile, at most: ordinary ones have a handful."""

_MIN_BITS_PER_PIXEL: Final = 0.1
"""Lossless JPEG needs a bit per pixel even for a constant mosaic, wavelets for noise about one; stubs have 0.01."""

_MAX_UNWRITTEN: Final = 0.02
"""Part of the rows or columns that may hold a single value below white: a dead line, a masked edge."""

_MAX_ZEROS: Final = 0.25
"""Part of the pixels that may be 0 where the black level is far above 0; dead pixels are a thousandth."""

_EXIF_MAIN_TAGS: Final = (271, 272, 306, 315, 33432)
"""Make, Model, DateTime, Artist, Copyright."""

_EXIF_TAGS: Final = frozenset(
    {33434, 33437, 34850, 34855, *range(34864, 34867), 36864, 36867, 36868, *range(36880, 36883)}
    | {*range(37377, 37387), *range(37520, 37523), 41495, *range(41985, 41991)}
    | {*range(42032, 42038)}
)
"""Exposure, aperture, ISO, dates, focal length, flash, metering, lens and owner; neither MakerNote nor sizes."""

_GPS_TAGS: Final = frozenset(range(32))
"""All of the GPS IFD."""

_MAX_EXIF_VALUE: Final = 4096
"""Bytes of one value; a JPEG has 64 KB for all of them."""

_OTHER_FILES: Final = (
    (0, b"\xff\xd8\xff", "a JPEG picture"),
    (0, b"\x89PNG\r\n", "a PNG picture"),
    (0, b"GIF8", "a GIF picture"),
    (0, b"BM", "a BMP picture"),
    (0, b"8BPS", "a Photoshop picture"),
    (0, b"%PDF", "a PDF document"),
    (0, b"PK\x03\x04", "a ZIP archive"),
    (0, b"\x76\x2f\x31\x01", "an OpenEXR picture"),
    (0, b"#?RADIANCE", "a Radiance HDR picture"),
    (0, b"\xff\x0a", "a JPEG XL picture"),
    (4, b"JXL ", "a JPEG XL picture"),
    (4, b"jP  ", "a JPEG 2000 picture"),
    (8, b"WEBP", "a WebP picture"),
    (4, b"ftyphei", "a HEIF picture"),
    (4, b"ftypmif1", "a HEIF picture"),
    (4, b"ftypavif", "an AVIF picture"),
)
"""(position, first bytes, what it is) of files that are taken for RAW files by mistake."""

_RAW_FILES: Final = (
    (0, b"IIU\0", "a Panasonic RW2 file"),
    (0, b"IIRO", "an Olympus ORF file"),
    (0, b"IIRS", "an Olympus ORF file"),
    (0, b"MMOR", "an Olympus ORF file"),
    (8, b"CR", "a Canon CR2 file"),
    (8, b"IIII", "a Phase One file"),
    (0, b"FUJIFILM", "a Fujifilm RAF file"),
    (4, b"ftypcrx", "a Canon CR3 file"),
    (6, b"HEAPCCDR", "a Canon CRW file"),
    (0, b"\0MRM", "a Minolta MRW file"),
    (0, b"FOVb", "a Sigma X3F file"),
)
"""(position, first bytes, what it is) of RAW containers, besides those that are plain TIFF inside."""

_UNREADABLE_COMPRESSIONS: Final = {
    8: "Deflate",
    32946: "Deflate",
    9: "VC-5 (GoPro GPR)",
    52546: "JPEG XL",
}
"""Compressions of DNGs that LibRaw, as rawpy builds it, cannot decode."""

_EXIF_ORIENTATION: Final = {0: 1, 1: 2, 2: 4, 3: 3, 4: 5, 5: 8, 6: 6, 7: 7}
"""LibRaw's flip (bit 0 mirrors left and right, 1 top and bottom, 2 then transposes) as EXIF orientation."""

_CONVERT: Final = (
    "Convert it to an uncompressed or losslessly compressed DNG (Adobe DNG Converter does it) and try again."
)
_COPY_AGAIN: Final = "Copy it again from the camera or the card; if it stays so, the original is damaged."
_GIVE_RAW: Final = "Give the camera's RAW file (DNG, ARW, CR2, CR3, NEF, RW2, …)."


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


def read_raw(source: str | os.PathLike[str] | bytes | BinaryIO) -> RawImage:
    """Decode a RAW file with a Bayer or X-Trans mosaic.

    Args:
        source: A path, the bytes of a file, or a binary file that is read to its end.

    Returns:
        The picture; the same for every reading of the same file, bit for bit.

    Raises:
        RawNotFoundError: There is no such file.
        NotRawError: It is something else: a JPEG, a text, an empty file, a folder.
        CorruptRawError: It is a RAW file, but damaged or cut off.
        UnsupportedRawError: It is a sound RAW file, but of neither mosaic, or LibRaw cannot decode it.
        RawError: It cannot be opened.
    """
    with _opened(source) as opened:
        opened.raw.unpack()
        return _interpret(opened)


def read_header(source: str | os.PathLike[str] | bytes | BinaryIO) -> RawHeader:
    """Read size and exposure of a RAW file without decoding its mosaic.

    Args:
        source: A path, the bytes of a file, or a binary file that is read to its end.

    Raises:
        RawError: As in `read_raw`, as far as it can be told without decoding.
    """
    with _opened(source) as opened:
        tags = _tags(opened.data, opened.structure)
        exposure = _exposure(opened.raw, tags)
        return RawHeader(
            height=int(opened.raw.sizes.height),
            width=int(opened.raw.sizes.width),
            camera=_camera(tags, opened.structure),
            iso=exposure.iso,
            exposure_time_s=exposure.time_s,
            aperture=exposure.aperture,
        )


def render_reference(source: str | os.PathLike[str] | bytes | BinaryIO) -> NDArray[np.uint16]:
    """Render a RAW file as See-in-the-Dark renders its references: LibRaw's demosaicking, the camera's white balance.

    This is rawpy's ``postprocess(use_camera_wb=True, half_size=False, no_auto_bright=True, output_bps=16)``: sRGB
    primaries, the BT.709 curve (not that of sRGB), no brightening; AHD for Bayer, Markesteijn for X-Trans. Unlike
    there, a frame that was held upright is not turned, so that the picture always lies on the mosaic.

    Args:
        source: A path, the bytes of a file, or a binary file that is read to its end.

    Returns:
        (H, W, 3) uint16, display-encoded, 65535 = white; visible area, sensor orientation.

    Raises:
        RawError: As in `read_raw`.
    """
    with _opened(source) as opened:
        opened.raw.unpack()
        shape = (*_interpret(opened).mosaic.shape, 3)  # also refuses what decodes into nonsense
        picture = np.asarray(
            opened.raw.postprocess(
                use_camera_wb=True, half_size=False, no_auto_bright=True, output_bps=16, user_flip=0
            ),
            dtype=np.uint16,
        )
    if picture.shape != shape:
        raise UnsupportedRawError(
            f"{opened.name}: LibRaw renders {picture.shape[1]} × {picture.shape[0]} pixels of it, but its mosaic "
            f"has {shape[1]} × {shape[0]}; the pixels of a reference must lie on the mosaic."
        )
    return picture


@dataclass(frozen=True)
class _Opened:
    """A file that LibRaw has opened, with what messages and metadata need."""

    raw: Any
    """The rawpy object; its arrays die with it."""
    data: bytes
    structure: list[Directory]
    name: str
    kind: str


@contextlib.contextmanager
def _opened(source: str | os.PathLike[str] | bytes | BinaryIO) -> Iterator[_Opened]:
    """Check a file and open it; LibRaw's errors inside become ours."""
    data, name = _load(source)
    try:
        structure = read_directories(data)
    except MemoryError as error:
        raise RawError(f"{name}: the file is too large for the memory. Close other programs and try again.") from error
    kind = _recognize(data, structure, name)
    _check_structure(data, structure, name, kind)
    with _translated_errors(data, structure, name, kind), rawpy.imread(io.BytesIO(data)) as raw:
        _check_size(raw, data, name, kind)
        yield _Opened(raw, data, structure, name, kind)


def _load(source: str | os.PathLike[str] | bytes | BinaryIO) -> tuple[bytes, str]:
    """Return the bytes of a source and its name for messages."""
    if isinstance(source, (bytes, bytearray, memoryview)):
        data, name = bytes(source), "<bytes>"
    elif isinstance(source, (str, os.PathLike)):
        path = Path(source)
        name = path.name or str(path)
        try:
            size = path.stat().st_size
            if path.is_dir():
                raise NotRawError(f"{path}: this is a folder. Give the RAW files in it.")
            if not path.is_file():
                raise NotRawError(f"{path}: this is a device or pipe, not a file. {_GIVE_RAW}")
            with path.open("rb") as file:
                _reject_other_files(file.read(4096), name)  # a film is not read to its end for this
                file.seek(0)
                _check_length(size, name)
                data = file.read()
        except FileNotFoundError as error:
            raise RawNotFoundError(f"{path}: there is no such file. Check the path.") from error
        except OSError as error:
            raise RawError(f"{path}: the file cannot be read: {error.strerror}. Check its permissions.") from error
    else:
        name = Path(str(getattr(source, "name", "<file>"))).name
        data = source.read()
    if not data:
        raise NotRawError(f"{name}: the file is empty. {_COPY_AGAIN}")
    _check_length(len(data), name)
    return data, name


def _check_length(length: int, name: str) -> None:
    """Raise NotRawError if a file is longer than LibRaw can read."""
    if length > _MAX_BYTES:
        raise NotRawError(f"{name}: the file has more than 2 GiB, no RAW photograph is that large. {_GIVE_RAW}")


def _reject_other_files(head: bytes, name: str) -> None:
    """Raise NotRawError if these first bytes are those of a file of another kind."""
    for position, magic, what in _OTHER_FILES:
        if head.startswith(magic, position):
            raise NotRawError(f"{name}: this is {what}, not a RAW file, whatever its name says. {_GIVE_RAW}")
    if head.startswith(b"ftyp", 4) and not head.startswith(b"ftypcrx", 4):
        raise NotRawError(f"{name}: this is a video or HEIF file, not a RAW file. {_GIVE_RAW}")
    text = bytes((*range(32, 256), 9, 10, 13))
    if head and not head.translate(None, text) and (head.isascii() or b"\n" in head):
        raise NotRawError(f"{name}: this is a text, not a RAW file. {_GIVE_RAW}")


def _recognize(data: bytes, structure: list[Directory], name: str) -> str:
    """Return what kind of RAW file this is, in words; raises NotRawError if it is none."""
    _reject_other_files(data[:4096], name)
    if structure and 50706 in structure[0].fields:  # DNGVersion
        return "a DNG"
    for position, magic, what in _RAW_FILES:
        if data.startswith(magic, position):
            return what
    if not structure:
        # LibRaw knows headerless files by their size alone, and would take any bytes of that size for a photograph.
        raise NotRawError(f"{name}: nothing in this file says that it is a RAW file. {_GIVE_RAW}")
    pictures = [directory for directory in structure if directory.extents]
    if pictures and all(_is_finished_picture(directory) for directory in pictures):
        raise NotRawError(f"{name}: this is a TIFF picture, not a RAW file. {_GIVE_RAW}")
    return f"a RAW file by {structure[0].text(271) or 'an unknown maker'}"


def _is_finished_picture(directory: Directory) -> bool:
    """Tell whether a TIFF directory holds a gray, color or YCbCr picture rather than a mosaic."""
    return directory.photometric in (0, 1, 2, 3, 4, 5, 6, 8) and 33422 not in directory.fields  # CFAPattern


def _raw_directories(structure: list[Directory]) -> list[Directory]:
    """Return the directories of mosaics; without one, those of demosaicked data (Adobe's "enhanced" DNGs have both)."""
    mosaics = [directory for directory in structure if directory.photometric == PHOTOMETRIC_CFA]
    return mosaics or [directory for directory in structure if directory.photometric == PHOTOMETRIC_LINEAR_RAW]


def _check_structure(data: bytes, structure: list[Directory], name: str, kind: str) -> None:
    """Raise CorruptRawError if the picture data lie outside the file, UnsupportedRawError if we cannot decode them."""
    directories = _raw_directories(structure)
    end = 0
    if data[:4] in (b"II*\0", b"MM\0*"):  # others give lengths that mean something else
        with_data = directories or [directory for directory in structure if directory.extents]
        end = max((sum(extent) for directory in with_data for extent in directory.extents), default=0)
    elif data.startswith(b"FUJIFILMCCD-RAW") and len(data) >= 108:
        offsets = struct.unpack_from(">6I", data, 84)  # position and length of the JPEG, the metadata and the mosaic
        end = max(sum(offsets[i : i + 2]) for i in (0, 2, 4))
    elif data.startswith(b"ftypcrx", 4):
        end = max((box_end for _, _, box_end in _boxes(data, 0, len(data))), default=0)
    if end > len(data):
        raise CorruptRawError(
            f"{name}: this is {kind} that was cut off: its data reach to byte {end:,}, but the file ends at "
            f"{len(data):,}. {_COPY_AGAIN}"
        )
    for directory in directories:
        compression = next(iter(directory.integers(259)), None)
        if kind == "a DNG" and compression in _UNREADABLE_COMPRESSIONS:
            method = _UNREADABLE_COMPRESSIONS[compression]
            raise UnsupportedRawError(
                f"{name}: this is {kind} compressed with {method}, which LibRaw cannot decode. {_CONVERT}"
            )
        if directory.photometric == PHOTOMETRIC_CFA and 3 in directory.integers(339):  # SampleFormat: float
            raise UnsupportedRawError(
                f"{name}: this is {kind} with floating point values; a mosaic of integers is needed. {_CONVERT}"
            )
        sides = directory.integers(256)[:1] + directory.integers(257)[:1]
        stored = sum(count for _, count in directory.extents)
        if len(sides) == 2 and stored and 8 * stored < _MIN_BITS_PER_PIXEL * sides[0] * sides[1]:
            raise CorruptRawError(
                f"{name}: this is {kind} without its picture: {stored:,} bytes stand for "
                f"{sides[0]:,} × {sides[1]:,} pixels. {_COPY_AGAIN}"
            )
        if kind == "a DNG" and compression == 7 and not _is_covered(data, directory):
            # LibRaw leaves what the JPEGs do not cover as the memory was: every reading gives another picture.
            raise CorruptRawError(
                f"{name}: this is {kind} that is damaged: its compressed data do not fill its picture. {_COPY_AGAIN}"
            )


def _is_covered(data: bytes, directory: Directory) -> bool:
    """Tell whether the JPEGs in the strips or tiles have at least the samples that the picture needs of each."""

    def first(tag: int, default: int) -> int:
        return next(iter(directory.integers(tag)), default)

    width, height, samples = first(256, 0), first(257, 0), first(277, 1)  # ImageWidth, ImageLength, SamplesPerPixel
    tile_width, tile_height = first(322, width), first(323, first(278, height))  # TileWidth, TileLength, RowsPerStrip
    if not (width and height and tile_width and tile_height):
        return False
    columns, rows = -(-width // tile_width), -(-height // tile_height)
    extents = directory.extents
    if len(extents) < columns * rows:
        return False
    samples_at: dict[int, int] = {}  # tiles may all point at the same
    for offset, _ in extents:
        if offset not in samples_at:
            samples_at[offset] = _jpeg_samples(data, offset)
    return all(
        samples_at[extents[row * columns + column][0]]
        >= min(tile_height, height - row * tile_height) * min(tile_width, width - column * tile_width) * samples
        for row in range(rows)
        for column in range(columns)
    )


def _jpeg_samples(data: bytes, offset: int) -> int:
    """Return width × height × components of the JPEG at an offset; 0 if there is none or its header is damaged.

    LibRaw believes the header: a wrong Huffman table makes it decode memory that it never wrote.
    """
    samples = 0
    at = offset + 2  # after SOI
    for _ in range(_MAX_JPEG_MARKERS):
        if data[at : at + 1] != b"\xff" or at + 20 > len(data):
            return 0
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        body, end = at + 4, at + 2 + length
        if marker in (0xC0, 0xC1, 0xC3):  # SOF: baseline, extended, lossless
            precision, height, width, components = struct.unpack_from(">BHHB", data, body)
            if not 2 <= precision <= 16 or length != 8 + 3 * components:
                return 0
            samples = int(height * width * components)
        elif marker == 0xC4:  # DHT: tables of 16 counts, then the values counted
            while body < end:
                body += 17 + sum(data[body + 1 : body + 17])
            if body != end:
                return 0
        elif marker == 0xDA:  # SOS: the data follow
            return samples if length == 6 + 2 * data[body] else 0
        at = end
    return 0


def _check_size(raw: Any, data: bytes, name: str, kind: str) -> None:
    """Raise if the picture is too small, too large for the bytes of the file, or turned, before memory is taken."""
    sizes = raw.sizes
    if min(sizes.height, sizes.width) < _MIN_SIDE:
        raise CorruptRawError(
            f"{name}: this is {kind} of {sizes.width} × {sizes.height} pixels; at least {_MIN_SIDE} × {_MIN_SIDE} are "
            f"needed. {_COPY_AGAIN}"
        )
    if 8 * len(data) < _MIN_BITS_PER_PIXEL * sizes.raw_height * sizes.raw_width:
        raise CorruptRawError(
            f"{name}: this is {kind} without its picture: {len(data):,} bytes cannot hold {sizes.raw_width:,} × "
            f"{sizes.raw_height:,} pixels. {_COPY_AGAIN}"
        )
    if sizes.top_margin + sizes.height > sizes.raw_height or sizes.left_margin + sizes.width > sizes.raw_width:
        # LibRaw gives the size after rotation by 45° for Fujifilm's SuperCCD, whose mosaic stands on a corner.
        raise UnsupportedRawError(
            f"{name}: this is {kind} of a sensor with diagonal rows (SuperCCD); only rectangular Bayer sensors are "
            "supported."
        )


@contextlib.contextmanager
def _translated_errors(data: bytes, structure: list[Directory], name: str, kind: str) -> Iterator[None]:
    """Turn LibRaw's errors into ours."""
    try:
        yield
    except rawpy.LibRawFileUnsupportedError as error:
        is_whole = bool(structure) and not any(directory.is_damaged for directory in structure)
        if is_whole and (directories := _raw_directories(structure)):
            sides = directories[0].integers(256)[:1] + directories[0].integers(257)[:1]
            if kind == "a DNG" and sides and min(sides) < _LIBRAW_MIN_SIDE:
                raise UnsupportedRawError(
                    f"{name}: this is {kind} of {' × '.join(map(str, sides))} pixels; LibRaw takes DNGs from "
                    f"{_LIBRAW_MIN_SIDE} × {_LIBRAW_MIN_SIDE} on."
                ) from error
            raise UnsupportedRawError(
                f"{name}: this is {kind} of a camera or compression that LibRaw "
                f"{'.'.join(map(str, rawpy.libraw_version))} does not know. {_CONVERT}"
            ) from error
        raise CorruptRawError(
            f"{name}: this is {kind}, but LibRaw finds no picture in its {len(data):,} bytes. {_COPY_AGAIN} If other "
            "programs open it, convert it to DNG with them."
        ) from error
    except (rawpy.LibRawTooBigError, rawpy.LibRawUnsufficientMemoryError, MemoryError) as error:
        raise RawError(f"{name}: this is {kind} too large for the memory. Close other programs.") from error
    except (rawpy.LibRawNotImplementedError, rawpy.LibRawRequestForNonexistentImageError) as error:
        raise UnsupportedRawError(f"{name}: this is {kind} that LibRaw cannot decode ({_words(error)}).") from error
    except (rawpy.LibRawError, OSError) as error:
        raise CorruptRawError(
            f"{name}: this is {kind} that is damaged or cut off (LibRaw: {_words(error)}). {_COPY_AGAIN}"
        ) from error


def _words(error: BaseException) -> str:
    """Return LibRaw's message; rawpy hands on some as bytes."""
    argument = error.args[0] if error.args else ""
    return argument.decode("ascii", errors="replace") if isinstance(argument, bytes) else str(argument)


def _interpret(opened: _Opened) -> RawImage:
    """Build the RawImage from an unpacked rawpy object, metadata first: its arrays are views that die with it."""
    raw, data, structure, name, kind = opened.raw, opened.data, opened.structure, opened.name, opened.kind
    cfa, indices = _cfa(raw, name, kind)
    is_dng = kind == "a DNG"
    mosaic_directory = next(iter(_raw_directories(structure)), None) if is_dng else None
    warnings: list[str] = []
    black_level = _black_level(raw, cfa, indices, mosaic_directory)
    white_level = float(raw.white_level)
    if not all(0 <= black < white_level for black in black_level):
        raise CorruptRawError(
            f"{name}: this is {kind} with contradictory levels: black {black_level}, white {white_level:g}. {_CONVERT}"
        )
    tags = _tags(data, structure)
    exposure = _exposure(raw, tags)
    camera = _camera(tags, structure)
    cam2rgb, xyz2cam = _matrices(raw, is_dng, camera, warnings)
    sizes = raw.sizes
    if sizes.pixel_aspect != 1:
        warnings.append(f"The pixels are not square (aspect {sizes.pixel_aspect:g}); the picture looks stretched.")
    visible = sizes.height, sizes.width
    lens_shading = _lens_shading(mosaic_directory, cfa, visible, warnings)
    lens_distortion = _lens_distortion(mosaic_directory, visible, warnings)
    mosaic = np.array(raw.raw_image_visible, dtype=np.uint16, order="C")  # a copy
    _check_mosaic(mosaic, black_level, white_level, name, kind)
    mosaic.flags.writeable = False
    listed_defects = _listed_defects(mosaic_directory, mosaic, (sizes.top_margin, sizes.left_margin), warnings)

    def estimate() -> Gains | None:
        return (
            None
            if xyz2cam is None
            else estimate_white_balance(normalize(mosaic, cfa, black_level, white_level), cfa, xyz2cam)
        )

    white_balance = _white_balance(raw, exposure, estimate, warnings)
    return RawImage(
        mosaic=mosaic,
        cfa=cfa,
        black_level=black_level,
        white_level=white_level,
        white_balance=white_balance,
        cam2rgb=cam2rgb,
        xyz2cam=None if xyz2cam is None else _rows(xyz2cam),
        orientation=_EXIF_ORIENTATION.get(sizes.flip, 1),
        iso=exposure.iso,
        exposure_time_s=exposure.time_s,
        aperture=exposure.aperture,
        camera=camera,
        exif=_exif(tags, exposure),
        noise_profile=_noise_profile(structure),
        lens_shading=lens_shading,
        lens_distortion=lens_distortion,
        listed_defects=listed_defects,
        warnings=tuple(warnings),
        name=name,
    )


def _cfa(raw: Any, name: str, kind: str) -> tuple[CFA, NDArray[np.intp]]:
    """Return the pattern of the visible area and LibRaw's color index (0 = R, 1 = G1, 2 = B, 3 = G2) of its pixels."""
    if raw.raw_type != rawpy.RawType.Flat:
        raise UnsupportedRawError(
            f"{name}: this is {kind} that is demosaicked already (linear); the network takes the mosaic of the sensor. "
            "Give the camera's original RAW file, or a DNG converted without demosaicking."
        )
    if raw.num_colors != 3 or raw.color_desc != b"RGBG":
        raise UnsupportedRawError(
            f"{name}: this is {kind} without a filter array of red, green and blue; only Bayer sensors are supported."
        )
    sizes = raw.sizes
    # Equal to raw_colors_visible[:6, :6], which would build an array of the whole frame.
    indices = np.array(
        [[raw.raw_color(sizes.top_margin + y, sizes.left_margin + x) for x in range(6)] for y in range(6)]
    )  # (6, 6)
    letters = ["".join("RGBG"[index] if index < 4 else "?" for index in row) for row in indices.tolist()]
    side = 2 if np.array_equal(indices, np.tile(indices[:2, :2], (3, 3))) else 6
    try:
        cfa = CFA(tuple(row[:side] for row in letters[:side]))
    except SettingsError as error:
        raise UnsupportedRawError(f"{name}: this is {kind} with the unknown filter array {letters}.") from error
    if cfa.size == 2 and not cfa.is_bayer:
        raise UnsupportedRawError(
            f"{name}: this is {kind} with the filter array {cfa.name}; only the Bayer pattern in its four phases is "
            "supported."
        )
    if cfa.size == 6:
        try:
            xtrans_offset(cfa)
        except SettingsError as error:
            raise UnsupportedRawError(
                f"{name}: this is {kind} with a filter array of 6 × 6 pixels that is not X-Trans: {letters}."
            ) from error
    return cfa, indices


def _black_level(
    raw: Any, cfa: CFA, indices: NDArray[np.intp], directory: Directory | None
) -> tuple[float, float, float, float]:
    """Return the black levels of R, Gr, Gb and B; from the DNG's tags where LibRaw has cut off their fractions."""
    planes = cfa.plane_map(6, 6)
    levels = np.array(raw.black_level_per_channel, dtype=np.float64)[indices]  # (6, 6), of the colors R, G1, B, G2
    whole = _plane_means(levels, planes)
    if directory is not None:
        # the tag begins with the active area; of one that begins at an odd place LibRaw shows a row, or column, less
        top, left = directory.integers(50829)[:2] or (0, 0)
        cropped = raw.sizes.top_margin - top, raw.sizes.left_margin - left
        exact = _dng_black_level(cfa, directory, *cropped)
        is_alike = exact is not None and all(abs(a - b) < 1 for a, b in zip(whole, exact, strict=True))
        if exact is not None and (is_alike or any(pixels % 2 for pixels in cropped)):
            whole = exact
    return whole[0], whole[1], whole[2], whole[3]


def _dng_black_level(cfa: CFA, directory: Directory, cropped_rows: int, cropped_columns: int) -> list[float] | None:
    """Return the mean of the DNG tag BlackLevel over the pixels of R, Gr, Gb and B; None if it is not that simple.

    The pattern ``cfa`` begins so many rows and columns after what the tag begins with.
    """
    values = directory.numbers(50714)
    repeat = directory.integers(50713) or (1, 1)
    if 50715 in directory.fields or 50716 in directory.fields:  # BlackLevelDeltaH, -V
        return None
    if len(repeat) != 2 or not 0 < len(values) == repeat[0] * repeat[1] <= 64 or not np.all(np.isfinite(values)):
        return None
    rows, columns = repeat[0] * cfa.size, repeat[1] * cfa.size
    levels = np.tile(np.reshape(values, repeat), (cfa.size, cfa.size))  # (rows, columns)
    levels = np.roll(levels, (-cropped_rows, -cropped_columns), axis=(0, 1))
    return _plane_means(levels, cfa.plane_map(rows, columns))


def _plane_means(values: NDArray[np.float64], planes: NDArray[np.uint8]) -> list[float]:
    """Return the means over R, Gr, Gb and B; X-Trans has no rows without red, so its Gb is Gr."""
    means = [float(values[planes == plane].mean()) if np.any(planes == plane) else None for plane in range(len(PLANES))]
    return [means[1] or 0.0 if mean is None else mean for mean in means]


def _white_balance(raw: Any, exposure: _Exposure, estimate: Callable[[], Gains | None], warnings: list[str]) -> Gains:
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


def _matrices(raw: Any, is_dng: bool, camera: str, warnings: list[str]) -> tuple[Matrix, NDArray[np.float64] | None]:
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
        return _rows(cam2rgb), xyz2cam
    warnings.append(f"No color matrix is known for {camera}; its colors are taken as sRGB and look pale.")
    return _NEUTRAL_MATRIX, None


def _rows(matrix: NDArray[np.float64]) -> Matrix:
    """Return a matrix as a value."""
    rows = [(float(row[0]), float(row[1]), float(row[2])) for row in matrix]
    return rows[0], rows[1], rows[2]


def _check_mosaic(
    mosaic: NDArray[np.uint16], black_level: tuple[float, ...], white_level: float, name: str, kind: str
) -> None:
    """Raise CorruptRawError if the decoded values cannot be those of a sensor.

    What a decoder did not reach stays zero or keeps one value: lines of a single value below white. (A line of clipped
    pixels has a single value, too.)
    """
    problem = None
    for axis, what in ((1, "rows"), (0, "columns")):
        low, high = mosaic.min(axis=axis), mosaic.max(axis=axis)
        unwritten = float(np.mean((low == high) & (high < white_level)))
        if unwritten > _MAX_UNWRITTEN:
            problem = f"{unwritten:.0%} of its {what} are empty"
    if min(black_level) >= 16:
        zeros = 1 - np.count_nonzero(mosaic) / mosaic.size
        if zeros > _MAX_ZEROS:
            problem = problem or f"{zeros:.0%} of its pixels are zero"
    if high.max() > 1.5 * white_level:
        beyond = np.count_nonzero(mosaic > 1.5 * white_level) / mosaic.size
        if beyond > 0.01:
            problem = problem or f"{beyond:.0%} of its pixels lie far above the white level {white_level:g}"
    if problem:
        raise CorruptRawError(f"{name}: this is {kind} that is damaged: {problem}. {_COPY_AGAIN}")


@dataclass(frozen=True)
class _Tags:
    """Metadata of IFD 0, the Exif IFD and the GPS IFD, wherever the container keeps them."""

    main: Mapping[int, Field] = field(default_factory=dict)
    exif: Mapping[int, Field] = field(default_factory=dict)
    gps: Mapping[int, Field] = field(default_factory=dict)

    def has(self, tag: int) -> bool:
        """Tell whether the Exif IFD or IFD 0 holds a tag."""
        return tag in self.exif or tag in self.main

    def number(self, tag: int) -> float | None:
        """Return a number of the Exif IFD (or of IFD 0, where small programs put it); None if missing or not > 0."""
        value = self.exif.get(tag) or self.main.get(tag)
        numbers = value.numbers() if value is not None else ()
        return numbers[0] if numbers and np.isfinite(numbers[0]) and numbers[0] > 0 else None


@dataclass(frozen=True)
class _Exposure:
    iso: float | None
    time_s: float | None
    aperture: float | None
    focal_length_mm: float | None


def _tags(data: bytes, structure: list[Directory]) -> _Tags:
    """Return the metadata of a TIFF-based file, of the preview of a RAF, or of the CMT boxes of a CR3."""
    if structure:
        return _Tags(structure[0].fields, structure[0].exif, structure[0].gps)
    if data.startswith(b"FUJIFILM") and len(data) >= 92:
        offset, length = struct.unpack_from(">2I", data, 84)
        at = data.find(b"Exif\0\0", offset, offset + min(length, 65_536))
        blocks = read_directories(data, at + 6, 65_536) if at >= 0 else []
        return _Tags(blocks[0].fields, blocks[0].exif, blocks[0].gps) if blocks else _Tags()
    if data.startswith(b"ftypcrx", 4):
        parts: dict[bytes, Mapping[int, Field]] = {}
        for _, moov, moov_end in (box for box in _boxes(data, 0, len(data)) if box[0] == b"moov"):
            for _, uuid, uuid_end in (box for box in _boxes(data, moov, moov_end) if box[0] == b"uuid"):
                for kind, start, end in _boxes(data, uuid + 16, uuid_end):
                    if kind in (b"CMT1", b"CMT2", b"CMT4"):
                        blocks = read_directories(data, start, end - start)
                        parts[kind] = blocks[0].fields if blocks else {}
        return _Tags(parts.get(b"CMT1", {}), parts.get(b"CMT2", {}), parts.get(b"CMT4", {}))
    return _Tags()


def _boxes(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield type, start and end of the body of the ISO base media boxes in a range; the last may reach beyond it."""
    while start + 8 <= min(end, len(data)):
        size, kind = struct.unpack_from(">I4s", data, start)
        body = start + 8
        if size == 1 and start + 16 <= min(end, len(data)):
            (size,) = struct.unpack_from(">Q", data, body)
            body += 8
        elif size == 0:
            size = end - start
        if size < body - start:
            return
        yield kind, body, start + size
        start += size


def _exposure(raw: Any, tags: _Tags) -> _Exposure:
    """Return what the tags say about the exposure, else what LibRaw found in the MakerNote."""
    try:
        other = raw.other
        iso, time_s, aperture = other.iso_speed, other.shutter_speed, other.aperture
        focal_length = other.focal_length
    except (OverflowError, ValueError):  # a date of capture that is no date makes rawpy refuse all of it
        iso = time_s = aperture = focal_length = 0.0
    # LibRaw turns a time of 0/1 into 1 s and an F-number of 0 into 1, so a tag that is there decides alone. An ISO of
    # 65535 stands for "larger" (Exif 2.3).
    return _Exposure(
        iso=_positive(iso) if 0 < iso < 65_535 else tags.number(34866) or tags.number(34855) or _positive(iso),
        time_s=tags.number(33434) if tags.has(33434) else _positive(time_s),
        aperture=tags.number(33437) if tags.has(33437) else _positive(aperture),
        focal_length_mm=tags.number(37386) if tags.has(37386) else _positive(focal_length),
    )


def _positive(value: float) -> float | None:
    """Return a finite number > 0, else None; rounded to the digits that LibRaw's float32 has."""
    return float(f"{value:.7g}") if np.isfinite(value) and value > 0 else None


def _camera(tags: _Tags, structure: list[Directory]) -> str:
    """Return maker and model without saying the maker twice."""
    maker, model = (tags.main[tag].text() if tag in tags.main else "" for tag in (271, 272))
    if maker and model.lower().startswith(maker.split()[0].lower()):
        maker = ""
    unique = structure[0].text(50708) if structure else ""  # UniqueCameraModel
    return " ".join(part for part in (maker, model) if part) or unique or "unknown camera"


def _noise_profile(structure: list[Directory]) -> tuple[tuple[float, float], ...] | None:
    """Return the DNG NoiseProfile."""
    for directory in (*_raw_directories(structure), *structure[:1]):
        numbers = directory.numbers(51041)
        if numbers and len(numbers) % 2 == 0 and np.all(np.isfinite(numbers)) and min(numbers) >= 0:
            return tuple(zip(numbers[::2], numbers[1::2], strict=True))
    return None


def _lens_shading(
    directory: Directory | None, cfa: CFA, visible: tuple[int, int], warnings: list[str]
) -> LensShading | None:
    """Return the gains of a DNG's OpcodeList2 and OpcodeList3; warns of what else the first asks for."""
    before, after = (_opcodes(directory, tag) for tag in (51009, 51022))
    is_whole = _is_active_area(directory, visible)
    shading: LensShading | None = None
    others: tuple[str, ...] = ()
    if before is not None:
        shading, others = read_lens_shading(before, cfa, *visible) if is_whole else (None, ("another area",))
    radial = read_vignette(after) if after is not None and is_whole else ()
    if radial:
        shading = replace(shading or LensShading(), radial=radial)
    if others:
        warnings.append(
            f"The DNG asks for corrections (OpcodeList2: {', '.join(others)}) that are not applied"
            f"{'; its lens shading is corrected' if shading is not None else ''}."
        )
    return shading


def _lens_distortion(
    directory: Directory | None, visible: tuple[int, int], warnings: list[str]
) -> LensDistortion | None:
    """Return the warps of a DNG's OpcodeList3; warns if they cannot be used."""
    opcodes = _opcodes(directory, 51022)
    if opcodes is None or not _is_active_area(directory, visible):
        return None
    try:
        return read_lens_distortion(opcodes, *visible)
    except ValueError as error:
        warnings.append(f"The DNG's correction of the lens's distortion cannot be used ({error}); lines stay bent.")
        return None


def _opcodes(directory: Directory | None, tag: int) -> bytes | None:
    """Return an opcode list of a DNG."""
    field = None if directory is None else directory.fields.get(tag)
    return field.values if field is not None and isinstance(field.values, bytes) else None


def _is_active_area(directory: Directory | None, visible: tuple[int, int]) -> bool:
    """Return whether what LibRaw shows is the DNG's active area, which opcodes are for."""
    if directory is None:
        return False
    active = directory.integers(50829) or (0, 0, *directory.integers(257)[:1], *directory.integers(256)[:1])
    return len(active) == 4 and (active[2] - active[0], active[3] - active[1]) == visible


def _listed_defects(
    directory: Directory | None, mosaic: NDArray[np.uint16], margins: tuple[int, int], warnings: list[str]
) -> NDArray[np.intp] | None:
    """Return the pixels that a DNG's OpcodeList1 lists as defective; warns of what else it asks for."""
    opcodes = _opcodes(directory, 51008)
    if directory is None or opcodes is None:
        return None
    is_as_stored = 50712 not in directory.fields  # LinearizationTable
    places, others = read_listed_pixels(opcodes, mosaic, *margins, is_as_stored=is_as_stored)
    if others:
        warnings.append(f"The DNG asks for corrections (OpcodeList1: {', '.join(others)}) that are not applied.")
    return places if len(places) else None


def _exif(tags: _Tags, exposure: _Exposure) -> bytes | None:
    """Return the EXIF block for pictures."""
    main = {tag: tags.main[tag] for tag in _EXIF_MAIN_TAGS if tag in tags.main}
    exif = {tag: value for tag, value in {**tags.main, **tags.exif}.items() if tag in _EXIF_TAGS}
    gps = {tag: value for tag, value in tags.gps.items() if tag in _GPS_TAGS}
    found = {33434: exposure.time_s, 33437: exposure.aperture, 37386: exposure.focal_length_mm}
    exif |= {tag: Field.fractions((value,)) for tag, value in found.items() if value and tag not in exif}
    if exposure.iso and 34855 not in exif:
        exif[34855] = Field(3, (min(round(exposure.iso), 65_535),))
    for tag in (33434, 33437, 34855, 37386):  # 0 means "not known" here
        if tag in exif and not exif[tag].numbers()[:1] > (0,):
            del exif[tag]
    main, exif, gps = ({tag: v for tag, v in part.items() if _is_worth_keeping(v)} for part in (main, exif, gps))
    if not (main or exif or gps):
        return None
    exif.setdefault(36864, Field(7, b"0230"))  # ExifVersion
    main[274] = Field(3, (1,))  # Orientation: pictures are written upright
    return encode_exif(main, exif, gps)


def _is_worth_keeping(value: Field) -> bool:
    """Tell whether a value says something: not empty, not 0/0, not enormous."""
    if value.kind == 2:
        return len(value.text()) > 0 and len(value.values) <= _MAX_EXIF_VALUE
    if value.kind == 5:
        return bool(np.any(value.values[1::2]))
    return 0 < len(value.values) <= _MAX_EXIF_VALUE

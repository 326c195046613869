"""Files as they come: what kind of RAW file one is, if it is one, and whether its picture data lie inside it.

Nothing is decoded here.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from alen.dng import PHOTOMETRIC_CFA, PHOTOMETRIC_LINEAR_RAW, Directory
from alen.errors import (
    CorruptRawError,
    NotRawError,
    RawError,
    RawNotFoundError,
    SettingsError,
    UnsupportedRawError,
)

_MAX_BYTES: Final = 2**31 - 1
"""LibRaw counts file positions in 32 bits, signed."""

_MAX_JPEG_MARKERS: Final = 1000
"""Segments before the data of a JPEG in a strip or tile, at most: ordinary ones have a handful."""

MIN_BITS_PER_PIXEL: Final = 0.1
"""Lossless JPEG needs a bit per pixel even for a constant mosaic, wavelets for noise about one; stubs have 0.01."""

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

CONVERT: Final = (
    "Convert it to an uncompressed or losslessly compressed DNG (Adobe DNG Converter does it) and try again."
)

COPY_AGAIN: Final = "Copy it again from the camera or the card; if it stays so, the original is damaged."

_GIVE_RAW: Final = "Give the camera's RAW file (DNG, ARW, CR2, CR3, NEF, RW2, …)."


def load(source: str | os.PathLike[str] | bytes | BinaryIO) -> tuple[bytes, str]:
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
        except (FileNotFoundError, ValueError) as error:  # the latter for names that no file can have
            raise RawNotFoundError(f"{path}: there is no such file. Check the path.") from error
        except OSError as error:
            raise RawError(f"{path}: the file cannot be read: {error.strerror}. Check its permissions.") from error
    else:
        name = Path(str(getattr(source, "name", "<file>"))).name
        read: object = source.read() if hasattr(source, "read") else None
        if not isinstance(read, (bytes, bytearray, memoryview)):
            given = type(source).__name__ if read is None else f"{name}, opened for {type(read).__name__}"
            raise SettingsError(f"A path, the bytes of a RAW file or a file opened with 'rb' is needed; got {given}.")
        data = bytes(read)
    if not data:
        raise NotRawError(f"{name}: the file is empty. {COPY_AGAIN}")
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


def recognize(data: bytes, structure: list[Directory], name: str) -> str:
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


def raw_directories(structure: list[Directory]) -> list[Directory]:
    """Return the directories of mosaics; without one, those of demosaicked data (Adobe's "enhanced" DNGs have both)."""
    mosaics = [directory for directory in structure if directory.photometric == PHOTOMETRIC_CFA]
    return mosaics or [directory for directory in structure if directory.photometric == PHOTOMETRIC_LINEAR_RAW]


def check_structure(data: bytes, structure: list[Directory], name: str, kind: str) -> None:
    """Raise CorruptRawError if the picture data lie outside the file, UnsupportedRawError if we cannot decode them."""
    directories = raw_directories(structure)
    end = 0
    if data[:4] in (b"II*\0", b"MM\0*"):  # others give lengths that mean something else
        with_data = directories or [directory for directory in structure if directory.extents]
        end = max((sum(extent) for directory in with_data for extent in directory.extents), default=0)
    elif data.startswith(b"FUJIFILMCCD-RAW") and len(data) >= 108:
        offsets = struct.unpack_from(">6I", data, 84)  # position and length of the JPEG, the metadata and the mosaic
        end = max(sum(offsets[i : i + 2]) for i in (0, 2, 4))
    elif data.startswith(b"ftypcrx", 4):
        end = max((box_end for _, _, box_end in boxes(data, 0, len(data))), default=0)
    if end > len(data):
        raise CorruptRawError(
            f"{name}: this is {kind} that was cut off: its data reach to byte {end:,}, but the file ends at "
            f"{len(data):,}. {COPY_AGAIN}"
        )
    for directory in directories:
        compression = next(iter(directory.integers(259)), None)
        if kind == "a DNG" and compression in _UNREADABLE_COMPRESSIONS:
            method = _UNREADABLE_COMPRESSIONS[compression]
            raise UnsupportedRawError(
                f"{name}: this is {kind} compressed with {method}, which LibRaw cannot decode. {CONVERT}"
            )
        if directory.photometric == PHOTOMETRIC_CFA and 3 in directory.integers(339):  # SampleFormat: float
            raise UnsupportedRawError(
                f"{name}: this is {kind} with floating point values; a mosaic of integers is needed. {CONVERT}"
            )
        sides = directory.integers(256)[:1] + directory.integers(257)[:1]
        stored = sum(count for _, count in directory.extents)
        if len(sides) == 2 and stored and 8 * stored < MIN_BITS_PER_PIXEL * sides[0] * sides[1]:
            raise CorruptRawError(
                f"{name}: this is {kind} without its picture: {stored:,} bytes stand for "
                f"{sides[0]:,} × {sides[1]:,} pixels. {COPY_AGAIN}"
            )
        if kind == "a DNG" and compression == 7 and not _is_covered(data, directory):
            # LibRaw leaves what the JPEGs do not cover as the memory was: every reading gives another picture.
            raise CorruptRawError(
                f"{name}: this is {kind} that is damaged: its compressed data do not fill its picture. {COPY_AGAIN}"
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


def boxes(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
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

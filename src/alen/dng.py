"""DNG, the RAW format of the other programs: writing a mosaic, and the TIFF structure below it.

Source: Adobe's Digital Negative Specification 1.4.0.0 (tag names below are its section titles) on top of TIFF 6.0 and
TIFF/EP. Most camera formats (DNG, NEF, ARW, CR2, PEF, …) are TIFF files too, and an EXIF block is one, so `alen.raw`
uses `read_directories` and `encode_exif` for all of them.

What `write_cfa_dng` decides, and why:

- One directory (IFD 0) holds the mosaic itself (NewSubFileType 0, PhotometricInterpretation 32803 = CFA); no preview,
  one strip, no tiles: the smallest structure every reader accepts.
- Compression 7 (lossless JPEG, predictor 1) or 1 (none). A Bayer mosaic of even width is stored as two components per
  JPEG pixel, so that each sample is predicted from its own color ("Compression": the JPEG's width × components is the
  width of the strip); other mosaics have one component.
- BitsPerSample is 16 whatever the camera had; WhiteLevel says where the data end.
- BlackLevel has BlackLevelRepeatDim 2 × 2 in the order of the pixels, not of the colors; CFA patterns of 6 × 6 need
  6 × 6, or 1 × 1 if all levels are equal (the form LibRaw reduces to a common black).
- ActiveArea and DefaultCrop are left at their defaults: the whole mosaic is visible.
- CFAPlaneColor 0, 1, 2 and CFALayout 1 (rectangular) are the defaults, but strict readers look for them.
- CalibrationIlluminant1 is 21 (D65): ColorMatrix1 maps XYZ under D65 to camera RGB before white balance.
- AsShotNeutral is the camera RGB of a neutral object, the reciprocal of the white balance gains, largest value 1.
- BaselineExposure is 0 and BaselineNoise, BaselineSharpness, LinearResponseLimit are 1 unless stated.
- Exposure, ISO, aperture and date stand in the Exif IFD, as in cameras' files; an ISO above 65535 goes to
  RecommendedExposureIndex with PhotographicSensitivity 65535 (Exif 2.3, "SensitivityType").
- The bytes depend on the arguments alone: no date of writing, no random identifier.
"""

from __future__ import annotations

import contextlib
import math
import os
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO, Final, Protocol

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from alen.cfa import CFA
from alen.errors import PictureError, SettingsError

PHOTOMETRIC_CFA: Final = 32803
"""PhotometricInterpretation of a mosaic."""

PHOTOMETRIC_LINEAR_RAW: Final = 34892
"""PhotometricInterpretation of a DNG that is demosaicked already."""

_FORMATS: Final = {
    1: "B",  # BYTE
    2: "s",  # ASCII
    3: "H",  # SHORT
    4: "I",  # LONG
    5: "II",  # RATIONAL
    6: "b",  # SBYTE
    7: "s",  # UNDEFINED
    8: "h",  # SSHORT
    9: "i",  # SLONG
    10: "ii",  # SRATIONAL
    11: "f",  # FLOAT
    12: "d",  # DOUBLE
    13: "I",  # IFD
}
"""struct characters of one value of each TIFF field type."""

_BYTE, _ASCII, _SHORT, _LONG, _RATIONAL, _UNDEFINED, _SRATIONAL, _DOUBLE = 1, 2, 3, 4, 5, 7, 10, 12

_TIFF_MAGICS: Final = (42, 0x55, 0x4F52, 0x5352)
"""TIFF 6.0; Panasonic RW2; Olympus ORF (two kinds)."""

_MAX_DIRECTORIES: Final = 64
"""Cameras write fewer than ten; the bound keeps a crafted file from leading us around for long."""

_MAX_PART: Final = 2**31 - 1
"""Largest numerator and denominator that RATIONAL and SRATIONAL share."""

_MAX_SIDE: Final = 65_535
"""A lossless JPEG counts its lines and columns in 16 bits."""


@dataclass(frozen=True)
class Field:
    """The value of one TIFF tag, independent of byte order."""

    kind: int
    """TIFF field type, 1…13."""
    values: bytes | tuple[int | float, ...]
    """The bytes of BYTE, ASCII and UNDEFINED; else the numbers, numerator and denominator of fractions in turn."""

    def numbers(self) -> tuple[float, ...]:
        """Return the values as numbers, fractions divided; a fraction with denominator 0 is nan."""
        if self.kind in (5, 10):
            pairs = zip(self.values[::2], self.values[1::2], strict=True)
            return tuple(n / d if d else float("nan") for n, d in pairs)
        return tuple(float(value) for value in self.values)

    def integers(self) -> tuple[int, ...]:
        """Return the values as integers; empty if they are none."""
        return () if self.kind in (5, 10, 11, 12) else tuple(int(value) for value in self.values)

    def text(self) -> str:
        """Return an ASCII value without its padding; empty if it is none."""
        if not isinstance(self.values, bytes):
            return ""
        return self.values.split(b"\0", 1)[0].decode("utf-8", errors="replace").strip()

    @classmethod
    def fractions(cls, numbers: Sequence[float], *, signed: bool = False) -> Field:
        """Return the RATIONAL or SRATIONAL values nearest to ``numbers``; both parts fit into 31 bits."""
        limits = [_MAX_PART // max(1, math.ceil(abs(number))) for number in numbers]
        fractions = [
            Fraction(float(number)).limit_denominator(limit) for number, limit in zip(numbers, limits, strict=True)
        ]
        flat = tuple(part for fraction in fractions for part in (fraction.numerator, fraction.denominator))
        return cls(_SRATIONAL if signed else _RATIONAL, flat)

    @classmethod
    def ascii(cls, text: str) -> Field:
        """Return an ASCII value with its closing zero; other characters are replaced by "?"."""
        return cls(_ASCII, text.encode("ascii", errors="replace") + b"\0")


@dataclass(frozen=True)
class Directory:
    """One image file directory (IFD) of a TIFF file."""

    fields: Mapping[int, Field]
    """Values by tag. What lay outside the file is missing here."""
    is_damaged: bool = False
    """True if a value or a pointer led outside the file."""
    exif: Mapping[int, Field] = field(default_factory=dict)
    """The Exif IFD of this directory; empty if there is none."""
    gps: Mapping[int, Field] = field(default_factory=dict)
    """The GPS IFD of this directory; empty if there is none."""

    def integers(self, tag: int) -> tuple[int, ...]:
        """Return the integers of a tag; empty if it is missing."""
        return self.fields[tag].integers() if tag in self.fields else ()

    def numbers(self, tag: int) -> tuple[float, ...]:
        """Return the numbers of a tag; empty if it is missing."""
        return self.fields[tag].numbers() if tag in self.fields else ()

    def text(self, tag: int) -> str:
        """Return the text of a tag; empty if it is missing."""
        return self.fields[tag].text() if tag in self.fields else ""

    @property
    def photometric(self) -> int | None:
        """PhotometricInterpretation, None if missing."""
        return next(iter(self.integers(262)), None)

    @property
    def extents(self) -> tuple[tuple[int, int], ...]:
        """(offset, byte count) of every strip or tile of the picture data."""
        return tuple(zip(self.integers(273), self.integers(279), strict=False)) + tuple(
            zip(self.integers(324), self.integers(325), strict=False)
        )


def read_directories(data: bytes, start: int = 0, limit: int | None = None) -> list[Directory]:
    """Read the structure of a TIFF-based file or of an EXIF block; never fails on a damaged one.

    Args:
        data: The whole file.
        start: Where the TIFF header stands; offsets count from there.
        limit: Bytes that belong to it; None = to the end.

    Returns:
        The chain of directories, each followed by its SubIFDs. Empty if ``data`` is not TIFF.
    """
    block = memoryview(data)[start : None if limit is None else start + limit]
    order = {b"II": "<", b"MM": ">"}.get(bytes(block[:2]))
    if order is None or len(block) < 8 or struct.unpack_from(order + "H", block, 2)[0] not in _TIFF_MAGICS:
        return []
    directories: list[Directory] = []
    left = len(block)  # bytes that values may take: the same ones again and again would take much memory
    seen: set[int] = set()
    waiting = [struct.unpack_from(order + "I", block, 4)[0]]
    while waiting and len(directories) < _MAX_DIRECTORIES:
        offset = waiting.pop(0)
        if offset == 0 or offset in seen:
            continue
        seen.add(offset)
        fields, following, is_damaged, left = _read_fields(block, order, offset, left)
        parts: list[dict[int, Field]] = []
        for pointer in (34665, 34853):  # ExifTag, GPSTag
            part: dict[int, Field] = {}
            if target := fields[pointer].integers() if pointer in fields else ():
                part, _, part_is_damaged, left = _read_fields(block, order, target[0], left)
                is_damaged = is_damaged or part_is_damaged
            parts.append(part)
        directory = Directory(fields, is_damaged, *parts)
        directories.append(directory)
        waiting = [*directory.integers(330), *waiting, following]  # SubIFDs come before the next of the chain
    return directories


def encode_exif(
    main: Mapping[int, Field],
    exif: Mapping[int, Field] | None = None,
    gps: Mapping[int, Field] | None = None,
    sub: Mapping[int, Field] | None = None,
) -> bytes:
    r"""Return an EXIF block: a little-endian TIFF structure of IFD 0 and its Exif, GPS and SubIFDs, without a picture.

    It starts with the TIFF header: PNG takes it as it is, JPEG wants ``b"Exif\0\0"`` before it.
    """
    return _encode_tiff(main, exif or {}, gps or {}, sub or {})


def write_cfa_dng(
    target: str | os.PathLike[str] | BinaryIO,
    mosaic: NDArray[np.uint16],
    *,
    cfa: CFA,
    black_level: tuple[float, float, float, float],
    white_level: int,
    white_balance: tuple[float, float, float],
    xyz2cam: Sequence[Sequence[float]] | NDArray[Any],
    iso: float | None = None,
    exposure_time_s: float | None = None,
    aperture: float | None = None,
    camera: str = "ALEN",
    orientation: int = 1,
    taken: datetime | None = None,
    baseline_exposure_ev: float = 0.0,
    noise_profile: Sequence[tuple[float, float]] | None = None,
    compress: bool = True,
) -> None:
    """Write a mosaic as a CFA DNG, 16 bit, without loss.

    A path is written under a temporary name beside it and renamed, so that there is never half a file.

    Args:
        target: A path, or a binary file opened for writing (for a DNG in memory).
        mosaic: (H, W) uint16, the visible area.
        cfa: Its pattern, Bayer or X-Trans. LibRaw demosaics X-Trans from 512 × 512 pixels on.
        black_level: DN of R, Gr, Gb and B without light.
        white_level: DN at which the sensor saturates, up to 65535.
        white_balance: Gains of R, G and B that make a neutral object neutral.
        xyz2cam: (3, 3) from XYZ (D65) to camera RGB before white balance (ColorMatrix1).
        iso: ISO speed, or None.
        exposure_time_s: Exposure time in seconds, or None.
        aperture: F-number, or None.
        camera: Its name (UniqueCameraModel, Model); the first word is taken as its maker.
        orientation: EXIF orientation 1…8.
        taken: Date of the exposure in the camera's local time, or None.
        baseline_exposure_ev: Exposure that other programs add to the default development, in EV.
        noise_profile: (scale, offset) for all colors or for each: variance = scale · x + offset at the signal x in
            [0, 1] (NoiseProfile), or None.
        compress: Lossless JPEG if True, else uncompressed: larger, quicker to write and to read.

    Raises:
        SettingsError: An argument is out of its range.
        PictureError: The file cannot be written.
    """
    _check(mosaic, black_level, white_level, white_balance, orientation)
    for what, value in (("ISO speed", iso), ("exposure time", exposure_time_s), ("aperture", aperture)):
        if value is not None and not 0 < value < _MAX_PART:
            raise SettingsError(f"The {what} is a positive number or None; got {value}.")
    matrix = np.asarray(xyz2cam, dtype=np.float64)
    if matrix.shape != (3, 3) or not np.all(np.abs(matrix) < _MAX_PART) or abs(np.linalg.det(matrix)) < 1e-9:
        raise SettingsError(f"xyz2cam is an invertible 3 × 3 matrix; got {xyz2cam!r}.")
    if not abs(baseline_exposure_ev) < _MAX_PART:
        raise SettingsError(f"The baseline exposure is a number of stops; got {baseline_exposure_ev}.")
    noise = np.asarray([] if noise_profile is None else noise_profile, dtype=np.float64)
    if noise_profile is not None and (noise.shape not in ((1, 2), (3, 2)) or not np.all(np.isfinite(noise))):
        raise SettingsError(f"A noise profile is one pair (scale, offset), or one for R, G and B; got {noise_profile}.")
    height, width = mosaic.shape
    data = _compressed(mosaic, cfa) if compress else np.ascontiguousarray(mosaic, dtype="<u2").tobytes()
    repeat, blacks = _black_pattern(cfa, black_level)
    neutral = 1 / np.asarray(white_balance, dtype=np.float64)
    pattern = bytes("RGB".index(color) for color in cfa.name)
    main = {
        254: Field(_LONG, (0,)),  # NewSubFileType: the main picture
        256: Field(_LONG, (width,)),
        257: Field(_LONG, (height,)),
        258: Field(_SHORT, (16,)),  # BitsPerSample
        259: Field(_SHORT, (7 if compress else 1,)),  # Compression
        262: Field(_SHORT, (PHOTOMETRIC_CFA,)),
        271: Field.ascii(camera.split()[0] if camera.split() else "ALEN"),  # Make
        272: Field.ascii(camera),  # Model
        274: Field(_SHORT, (int(orientation),)),
        277: Field(_SHORT, (1,)),  # SamplesPerPixel
        278: Field(_LONG, (height,)),  # RowsPerStrip
        279: Field(_LONG, (len(data),)),  # StripByteCounts
        284: Field(_SHORT, (1,)),  # PlanarConfiguration: chunky
        33421: Field(_SHORT, (cfa.size, cfa.size)),  # CFARepeatPatternDim
        33422: Field(_BYTE, pattern),  # CFAPattern
        50706: Field(_BYTE, bytes((1, 4, 0, 0))),  # DNGVersion
        50707: Field(_BYTE, bytes((1, 1, 0, 0))),  # DNGBackwardVersion: nothing here is newer
        50708: Field.ascii(camera),  # UniqueCameraModel
        50710: Field(_BYTE, bytes((0, 1, 2))),  # CFAPlaneColor
        50711: Field(_SHORT, (1,)),  # CFALayout
        50713: Field(_SHORT, repeat),  # BlackLevelRepeatDim
        50714: Field.fractions(blacks),  # BlackLevel
        50717: Field(_LONG, (int(white_level),)),  # WhiteLevel
        50721: Field.fractions(matrix.ravel().tolist(), signed=True),  # ColorMatrix1
        50728: Field.fractions((neutral / neutral.max()).tolist()),  # AsShotNeutral
        50730: Field.fractions((baseline_exposure_ev,), signed=True),  # BaselineExposure
        50731: Field(_RATIONAL, (1, 1)),  # BaselineNoise
        50732: Field(_RATIONAL, (1, 1)),  # BaselineSharpness
        50734: Field(_RATIONAL, (1, 1)),  # LinearResponseLimit
        50778: Field(_SHORT, (21,)),  # CalibrationIlluminant1: D65
    }
    if noise_profile is not None:
        main[51041] = Field(_DOUBLE, tuple(noise.ravel().tolist()))  # NoiseProfile
    exif = _exposure_fields(iso, exposure_time_s, aperture, taken)
    with _opened(target) as file:
        file.write(_encode_tiff(main, exif, {}, {}, strip=True))
        file.write(data)


def _check(
    mosaic: NDArray[Any],
    black_level: Sequence[float],
    white_level: int,
    white_balance: Sequence[float],
    orientation: int,
) -> None:
    """Raise SettingsError for what cannot be written."""
    if mosaic.ndim != 2 or mosaic.dtype != np.uint16 or not 0 < min(mosaic.shape) <= max(mosaic.shape) <= _MAX_SIDE:
        raise SettingsError(
            f"A DNG takes a uint16 mosaic (H, W) with sides up to {_MAX_SIDE}; got {mosaic.dtype} {mosaic.shape}."
        )
    if len(black_level) != 4 or not 0 <= min(black_level) <= max(black_level) < white_level <= 65_535:
        raise SettingsError(
            f"Four black levels ≥ 0 below a white level ≤ 65535 are needed; got {black_level}, {white_level}."
        )
    if white_level != int(white_level):
        raise SettingsError(f"The white level of a DNG is a whole number; got {white_level}.")
    if len(white_balance) != 3 or not all(np.isfinite(gain) and gain > 0 for gain in white_balance):
        raise SettingsError(f"Three positive white balance gains R, G, B are needed; got {white_balance}.")
    if orientation not in range(1, 9):
        raise SettingsError(f"The EXIF orientation is 1…8; got {orientation}.")


def _compressed(mosaic: NDArray[np.uint16], cfa: CFA) -> bytes:
    """Return the mosaic as one lossless JPEG."""
    height, width = mosaic.shape
    samples = np.ascontiguousarray(mosaic)
    if cfa.is_bayer and width % 2 == 0:
        samples = samples.reshape(height, width // 2, 2)
    return bytes(imagecodecs.jpeg8_encode(samples, lossless=True, predictor=1, bitspersample=16))


def _black_pattern(cfa: CFA, black_level: Sequence[float]) -> tuple[tuple[int, int], list[float]]:
    """Return BlackLevelRepeatDim and BlackLevel in the order of the pixels."""
    if not cfa.is_bayer and len(set(black_level)) == 1:
        return (1, 1), [float(black_level[0])]
    planes = cfa.plane_map(cfa.size, cfa.size)
    return (cfa.size, cfa.size), [float(black_level[plane]) for plane in planes.ravel().tolist()]


def _exposure_fields(
    iso: float | None, exposure_time_s: float | None, aperture: float | None, taken: datetime | None
) -> dict[int, Field]:
    """Return the Exif IFD."""
    exif = {36864: Field(_UNDEFINED, b"0230")}  # ExifVersion
    if exposure_time_s is not None:
        exif[33434] = Field.fractions((exposure_time_s,))  # ExposureTime
    if aperture is not None:
        exif[33437] = Field.fractions((aperture,))  # FNumber
    if iso is not None:
        exif[34855] = Field(_SHORT, (min(round(iso), 65_535),))  # PhotographicSensitivity
        if iso > 65_535:
            exif[34864] = Field(_SHORT, (2,))  # SensitivityType: recommended exposure index
            exif[34866] = Field(_LONG, (round(iso),))  # RecommendedExposureIndex
    if taken is not None:
        exif[36867] = Field.ascii(taken.strftime("%Y:%m:%d %H:%M:%S"))  # DateTimeOriginal
    return exif


class _Writable(Protocol):
    def write(self, data: bytes, /) -> int: ...


@contextlib.contextmanager
def _opened(target: str | os.PathLike[str] | BinaryIO) -> Iterator[_Writable]:
    """Yield a file to write to; a path appears only when everything is written."""
    if not isinstance(target, (str, os.PathLike)):
        yield target
        return
    path = Path(target)
    if not path.name or "\0" in str(path):
        raise PictureError(f"{str(target)!r}: this cannot be the name of a file. Choose another one.")
    temporary = path.with_name(f".{path.name[:32]}.{os.urandom(4).hex()}.part")  # a long name leaves no room for more
    try:
        try:
            with temporary.open("xb") as file:
                yield file
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise PictureError(f"{path}: the DNG cannot be written: {error.strerror}. Choose another folder.") from error


def _encode_tiff(
    main: Mapping[int, Field],
    exif: Mapping[int, Field],
    gps: Mapping[int, Field],
    sub: Mapping[int, Field],
    *,
    strip: bool = False,
) -> bytes:
    """Return header and directories; with ``strip``, StripOffsets points to the first byte after them."""
    others = ((34665, exif), (34853, gps), (330, sub))  # ExifTag, GPSTag, SubIFDs
    pointers = {tag: Field(_LONG, (0,)) for tag, part in others if part}
    if strip:
        pointers[273] = Field(_LONG, (0,))  # StripOffsets
    # The size of a directory does not depend on where it stands, so one pass with zeros finds all places.
    end = 8 + len(_encode_fields({**main, **pointers}, 8))
    parts = []
    for tag, part in others:
        if part:
            pointers[tag] = Field(_LONG, (end,))
            parts.append(_encode_fields(part, end))
            end += len(parts[-1])
    if strip:
        pointers[273] = Field(_LONG, (end,))
    return struct.pack("<2sHI", b"II", 42, 8) + b"".join([_encode_fields({**main, **pointers}, 8), *parts])


def _encode_fields(fields: Mapping[int, Field], offset: int) -> bytes:
    """Return one directory as it stands at ``offset``, followed by the values that need more than four bytes."""
    values_at = offset + 2 + 12 * len(fields) + 4
    entries, values = bytearray(), bytearray()
    for tag, value in sorted(fields.items()):  # TIFF 6.0: sorted by tag
        characters = _FORMATS[value.kind]
        if isinstance(value.values, bytes):
            count, raw = len(value.values), value.values
        else:
            count = len(value.values) // len(characters)
            raw = struct.pack("<" + characters * count, *value.values)
        entries += struct.pack("<HHI", tag, value.kind, count)
        if len(raw) <= 4:
            entries += raw.ljust(4, b"\0")
        else:
            entries += struct.pack("<I", values_at + len(values))
            values += raw + b"\0" * (len(raw) % 2)  # TIFF 6.0: values begin on word boundaries
    return struct.pack("<H", len(fields)) + bytes(entries) + b"\0" * 4 + bytes(values)


def _read_fields(block: memoryview, order: str, offset: int, left: int) -> tuple[dict[int, Field], int, bool, int]:
    """Return the values of one directory, and where the next is.

    Then whether something lay outside the block, or took more than the bytes that are ``left``, and what is left then.
    """
    fields: dict[int, Field] = {}
    if not 0 <= offset <= len(block) - 2:
        return fields, 0, True, left
    (count,) = struct.unpack_from(order + "H", block, offset)
    is_damaged = False
    position = offset + 2
    for _ in range(count):
        if position + 12 > len(block):
            return fields, 0, True, left
        tag, kind, number = struct.unpack_from(order + "HHI", block, position)
        characters = _FORMATS.get(kind)
        if characters is not None:
            size = struct.calcsize("<" + characters) * number
            where = position + 8 if size <= 4 else struct.unpack_from(order + "I", block, position + 8)[0]
            fits = where + size <= len(block) and size <= left
            left -= size * fits
            if not fits:
                is_damaged = True
            elif kind in (_BYTE, _ASCII, _UNDEFINED):
                fields[tag] = Field(kind, bytes(block[where : where + size]))
            else:
                repeated = f"{number * len(characters)}{characters[0]}"
                fields[tag] = Field(kind, struct.unpack_from(order + repeated, block, where))
        position += 12
    if position + 4 > len(block):
        return fields, 0, True, left
    return fields, struct.unpack_from(order + "I", block, position)[0], is_damaged, left

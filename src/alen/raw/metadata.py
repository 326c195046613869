"""What RAW files say of camera and exposure: TIFF directories, the preview of a RAF, the boxes of a CR3."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from alen.dng import Directory, Field, encode_exif, read_directories
from alen.raw.containers import boxes, raw_directories

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


@dataclass(frozen=True)
class Tags:
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
class Exposure:
    """How a frame was exposed, as far as that is known."""

    iso: float | None
    time_s: float | None
    aperture: float | None
    focal_length_mm: float | None


def read_tags(data: bytes, structure: list[Directory]) -> Tags:
    """Return the metadata of a TIFF-based file, of the preview of a RAF, or of the CMT boxes of a CR3."""
    if structure:
        return Tags(structure[0].fields, structure[0].exif, structure[0].gps)
    if data.startswith(b"FUJIFILM") and len(data) >= 92:
        offset, length = struct.unpack_from(">2I", data, 84)
        at = data.find(b"Exif\0\0", offset, offset + min(length, 65_536))
        blocks = read_directories(data, at + 6, 65_536) if at >= 0 else []
        return Tags(blocks[0].fields, blocks[0].exif, blocks[0].gps) if blocks else Tags()
    if data.startswith(b"ftypcrx", 4):
        parts: dict[bytes, Mapping[int, Field]] = {}
        for _, moov, moov_end in (box for box in boxes(data, 0, len(data)) if box[0] == b"moov"):
            for _, uuid, uuid_end in (box for box in boxes(data, moov, moov_end) if box[0] == b"uuid"):
                for kind, start, end in boxes(data, uuid + 16, uuid_end):
                    if kind in (b"CMT1", b"CMT2", b"CMT4"):
                        blocks = read_directories(data, start, end - start)
                        parts[kind] = blocks[0].fields if blocks else {}
        return Tags(parts.get(b"CMT1", {}), parts.get(b"CMT2", {}), parts.get(b"CMT4", {}))
    return Tags()


def read_exposure(raw: Any, tags: Tags) -> Exposure:
    """Return what the tags say about the exposure, else what LibRaw found in the MakerNote."""
    try:
        other = raw.other
        iso, time_s, aperture = other.iso_speed, other.shutter_speed, other.aperture
        focal_length = other.focal_length
    except (OverflowError, ValueError):  # a date of capture that is no date makes rawpy refuse all of it
        iso = time_s = aperture = focal_length = 0.0
    # LibRaw turns a time of 0/1 into 1 s and an F-number of 0 into 1, so a tag that is there decides alone. An ISO of
    # 65535 stands for "larger" (Exif 2.3).
    return Exposure(
        iso=_positive(iso) if 0 < iso < 65_535 else tags.number(34866) or tags.number(34855) or _positive(iso),
        time_s=tags.number(33434) if tags.has(33434) else _positive(time_s),
        aperture=tags.number(33437) if tags.has(33437) else _positive(aperture),
        focal_length_mm=tags.number(37386) if tags.has(37386) else _positive(focal_length),
    )


def _positive(value: float) -> float | None:
    """Return a finite number > 0, else None; rounded to the digits that LibRaw's float32 has."""
    return float(f"{value:.7g}") if np.isfinite(value) and value > 0 else None


def camera_name(tags: Tags, structure: list[Directory]) -> str:
    """Return maker and model without saying the maker twice."""
    maker, model = (tags.main[tag].text() if tag in tags.main else "" for tag in (271, 272))
    if maker and model.lower().startswith(maker.split()[0].lower()):
        maker = ""
    unique = structure[0].text(50708) if structure else ""  # UniqueCameraModel
    return " ".join(part for part in (maker, model) if part) or unique or "unknown camera"


def read_noise_profile(structure: list[Directory]) -> tuple[tuple[float, float], ...] | None:
    """Return the DNG NoiseProfile."""
    for directory in (*raw_directories(structure), *structure[:1]):
        numbers = directory.numbers(51041)
        if numbers and len(numbers) % 2 == 0 and np.all(np.isfinite(numbers)) and min(numbers) >= 0:
            return tuple(zip(numbers[::2], numbers[1::2], strict=True))
    return None


def exif_block(tags: Tags, exposure: Exposure) -> bytes | None:
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

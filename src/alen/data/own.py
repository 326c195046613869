"""Own pairs: a CSV of short exposures and their references, anywhere on the disk.

    short,long,ratio,scene
    night/short.arw,night/long.arw,,night
    street/1.nef,street/2.nef,100,street

``ratio`` and ``scene`` may be left out, as columns or in a line.
"""

from __future__ import annotations

import csv as csv_format
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from alen.data.exposures import RawPair
from alen.errors import DataError, RawError
from alen.raw import RawHeader, read_header

_REQUIRED: Final = ("short", "long")
_OPTIONAL: Final = ("ratio", "scene")


@dataclass(frozen=True, kw_only=True)
class _Line:
    """What a line of the list says."""

    number: int
    """Which line."""
    short: Path
    """RAW file of the short exposure."""
    reference: Path
    """RAW file of the long exposure."""
    ratio: float | None
    """The given ratio."""
    scene: str | None
    """The given scene."""


def own_pairs(csv: Path, *, left_out: list[str] | None = None) -> list[RawPair]:
    """Read the pairs of a CSV.

    Exposure times come from the files. Without a ratio it is the times' (ISO speed and aperture have to be equal then).
    All pairs of a reference are of one scene: the given one, else it is named by the reference's file, or by its path
    where others are named so.

    Args:
        csv: UTF-8, with the header ``short,long[,ratio][,scene]``; paths are relative to its folder.
        left_out: Gets the messages of pairs whose RAW files are missing or cannot be used, and the others are returned;
            None raises instead.

    Raises:
        DataError: The file cannot be read, or a line is wrong; the message names the line.
        RawError: A RAW file is missing or cannot be used; the message names the line.
    """
    try:
        with csv.open(encoding="utf-8-sig", newline="") as file:
            reader = csv_format.DictReader(file, strict=True)
            columns = [column.strip().lower() for column in reader.fieldnames or ()]
            reader.fieldnames = columns
            _check_columns(csv, columns)
            rows = [(reader.line_num, row) for row in reader if any(row.values())]
    except (OSError, UnicodeDecodeError, csv_format.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise DataError(f"{csv}: the list of pairs cannot be read ({reason}).") from error
    if not rows:
        raise DataError(f"{csv}: there are no pairs in it. Each line is a short exposure and its reference.")
    lines = [_read_line(csv, number, row) for number, row in rows]
    _check_twice(csv, lines)
    pairs = []
    for line, name, scene in zip(lines, _names(csv, lines), _scenes(csv, lines), strict=True):
        try:
            pairs.append(_pair(csv, line, name, scene))
        except RawError as error:
            message = f"{csv}, line {line.number}: {error}"
            if left_out is None:
                raise type(error)(message) from error
            left_out.append(message)
    return pairs


def _check_columns(csv: Path, columns: list[str]) -> None:
    unknown = [column for column in columns if column not in (*_REQUIRED, *_OPTIONAL)]
    if not set(_REQUIRED) <= set(columns) or unknown or len(set(columns)) < len(columns):
        raise DataError(f"{csv}, line 1: expected the header short,long[,ratio][,scene]; got {','.join(columns)!r}.")


def _read_line(csv: Path, number: int, row: Mapping[str | None, str | list[str] | None]) -> _Line:
    """Return what a line says; the files need not be there."""
    if None in row:  # where csv puts what has no column
        raise DataError(f"{csv}, line {number}: there are more values than columns.")
    values = {str(name): value.strip() for name, value in row.items() if isinstance(value, str)}
    paths = []
    for column in _REQUIRED:
        text = values.get(column, "")
        if not text:
            raise DataError(f"{csv}, line {number}: “{column}” is empty. Name a RAW file, relative to the list.")
        paths.append(csv.parent / text)
    short, reference = paths
    ratio = _ratio(csv, number, values["ratio"]) if values.get("ratio") else None
    return _Line(number=number, short=short, reference=reference, ratio=ratio, scene=values.get("scene") or None)


def _check_twice(csv: Path, lines: Sequence[_Line]) -> None:
    """Raise DataError if a pair is there twice, or is of a single file."""
    seen: dict[tuple[Path, Path], int] = {}
    for line in lines:
        files = line.short.resolve(), line.reference.resolve()
        names = f"{line.short.name}, {line.reference.name}"
        if files[0] == files[1]:
            raise DataError(
                f"{csv}, line {line.number}: “short” and “long” are the same file, {line.short.name}. Name the longer "
                "exposure of the scene."
            )
        if files in seen:
            raise DataError(
                f"{csv}, line {seen[files]}: the pair {names} is there twice, again in line {line.number}. Remove one."
            )
        seen[files] = line.number


def _names(csv: Path, lines: Sequence[_Line]) -> list[str]:
    """Return a name of every line, unlike all others: the stem of its short exposure, with more where needed."""
    names = [line.short.stem for line in lines]
    longer: tuple[Callable[[_Line], str], ...] = (
        lambda line: f"{line.short.parent.name}-{line.short.stem}-{line.reference.stem}",
        lambda line: f"{_joined(csv, line.short.with_suffix(''))}-{line.reference.stem}",
        lambda line: f"{_joined(csv, line.short)}-{_joined(csv, line.reference)}",
        lambda line: f"{_joined(csv, line.short)}-{_joined(csv, line.reference)}-{line.number}",
    )
    for name_of in longer:
        counts = Counter(names)
        names = [name_of(line) if counts[name] > 1 else name for line, name in zip(lines, names, strict=True)]
    return names


def _joined(csv: Path, path: Path) -> str:
    """Return a path as the list has it as one word, which can be the name of a file."""
    relative = _relative(csv, path)
    return "-".join(part for part in relative.parts if part not in (relative.anchor, ".."))


def _scenes(csv: Path, lines: Sequence[_Line]) -> list[str]:
    """Return the scene of every line: that given to its reference, else its stem, or its path if others have the stem.

    Raises:
        DataError: A reference is given two scenes: one would be trained on while the other judges.
    """
    references: dict[Path, Path] = {}
    given: dict[Path, tuple[str, int]] = {}
    for line in lines:
        file = line.reference.resolve()
        references.setdefault(file, line.reference)
        if line.scene is None:
            continue
        scene, number = given.setdefault(file, (line.scene, line.number))
        if scene != line.scene:
            raise DataError(
                f"{csv}, line {line.number}: {line.reference.name} is of the scene {line.scene} here, of {scene} in "
                f"line {number}. All pairs of a reference are of one scene."
            )
    stems = Counter(path.stem for path in references.values())
    names = {
        file: path.stem if stems[path.stem] == 1 else _relative(csv, path).as_posix()
        for file, path in references.items()
    }
    names |= {file: scene for file, (scene, _) in given.items()}
    return [names[line.reference.resolve()] for line in lines]


def _relative(csv: Path, path: Path) -> Path:
    """Return a path as the list has it."""
    return path.relative_to(csv.parent) if path.is_relative_to(csv.parent) else path


def _pair(csv: Path, line: _Line, name: str, scene: str) -> RawPair:
    """Return the pair of a line."""
    place = f"{csv}, line {line.number}"
    paths = (line.short, line.reference)
    headers = [read_header(path) for path in paths]
    times = [header.exposure_time_s for header in headers]
    short_s, reference_s = times
    if short_s is None or reference_s is None:
        unknown = paths[times.index(None)]
        raise DataError(f"{place}: {unknown.name} does not tell its exposure time, which a pair needs.")
    if line.ratio is None:
        _check_alike(place, *headers)
    ratio = line.ratio if line.ratio is not None else reference_s / short_s
    if ratio < 1:
        raise DataError(
            f"{place}: “long” is exposed for {reference_s:g} s, “short” for {short_s:g} s; they are swapped."
        )
    return RawPair(
        name=name,
        scene=scene,
        camera=headers[0].camera,
        short=line.short,
        reference=line.reference,
        short_s=short_s,
        reference_s=reference_s,
        ratio=ratio,
    )


def _check_alike(place: str, short: RawHeader, reference: RawHeader) -> None:
    """Raise DataError if more than the exposure time differs, as far as the files tell."""
    for what, mark, a, b in (
        ("ISO speed", "ISO ", short.iso, reference.iso),
        ("aperture", "f/", short.aperture, reference.aperture),
    ):
        if a is not None and b is not None and not math.isclose(a, b, rel_tol=0.01):
            raise DataError(
                f"{place}: the {what} of “short” is {mark}{a:g}, that of “long” {mark}{b:g}, so the ratio is not that "
                "of the exposure times. Give it in the column “ratio”."
            )


def _ratio(csv: Path, line: int, text: str) -> float:
    try:
        ratio = float(text)
    except ValueError:
        ratio = math.nan
    if not (math.isfinite(ratio) and ratio >= 1):
        raise DataError(f"{csv}, line {line}: the ratio is a number, at least 1; got {text!r}.")
    return ratio

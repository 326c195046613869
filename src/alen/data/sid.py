"""See-in-the-Dark: short exposures of dark scenes and their long exposures, as RAW files of two cameras.

"Learning to See in the Dark", Chen et al., CVPR 2018, https://arxiv.org/abs/1805.01934. A folder of the set looks so:

    Sony/short/00001_00_0.1s.ARW    Sony/long/00001_00_10s.ARW    Sony_train_list.txt …
    Fuji/short/10019_00_0.033s.RAF  Fuji/long/10019_00_10s.RAF    Fuji_test_list.txt …

A file's name is the scene (five digits, of which the first is the split: 0 training, 1 test, 2 validation), the number
in the burst, and the exposure time, rounded (0.033 s is 1/30 s). A line of a list is a short exposure, its long one,
ISO speed and F-number.
"""

from __future__ import annotations

import logging
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final, Literal

from alen.data.exposures import RawPair
from alen.errors import DataError
from alen.levels import exposure_ratio

Subset = Literal["sony", "fuji"]
"""One of the two cameras."""

Split = Literal["train", "val", "test"]
"""Part of the set, by scenes."""

SPLITS: Final[tuple[Split, ...]] = ("train", "val", "test")
"""All parts."""

MISALIGNED_SCENES: Final = ("10034", "10045", "10172")
"""Sony test scenes whose references the authors found misaligned (their notice of August 2018); `sid_pairs` keeps them,
protocols may leave them out."""

_log = logging.getLogger(__name__)

_FIRST_DIGIT: Final[Mapping[Split, str]] = {"train": "0", "test": "1", "val": "2"}
"""The first digit of a scene tells its split, as the authors' description of the file names says."""

_NAME: Final = re.compile(r"(\d{5})_(\d{2,})_(\d+(?:\.\d+)?)s")
"""Scene, number in the burst, exposure time."""

_LINE: Final = re.compile(r"(\S+)\s+(\S+)\s+ISO(\d+(?:\.\d+)?)\s+F(\d+(?:\.\d+)?)")


@dataclass(frozen=True, kw_only=True)
class SidSubset:
    """One camera's part of the set, with its official counts."""

    folder: str
    """Its folder, and what its lists begin with."""
    suffix: str
    """Suffix of its RAW files."""
    pairs: Mapping[Split, int]
    """Lines of the official lists."""
    scenes: Mapping[Split, int]
    """Scenes of the official lists, each with one long exposure."""

    def list_name(self, split: Split) -> str:
        """Return the name of the list of a split."""
        return f"{self.folder}_{split}_list.txt"


SUBSETS: Final[Mapping[Subset, SidSubset]] = {
    "sony": SidSubset(
        folder="Sony",
        suffix=".ARW",
        pairs={"train": 1865, "val": 234, "test": 598},
        scenes={"train": 161, "val": 20, "test": 50},
    ),
    "fuji": SidSubset(
        folder="Fuji",
        suffix=".RAF",
        pairs={"train": 1655, "val": 218, "test": 524},
        scenes={"train": 135, "val": 17, "test": 41},
    ),
}
"""Sony α7S II (Bayer) and Fujifilm X-T2 (X-Trans)."""


@dataclass(frozen=True)
class ListLine:
    """A line of a list."""

    short: PurePosixPath
    """The short exposure, relative to the folder of the set."""
    reference: PurePosixPath
    """The long exposure, relative to the folder of the set."""
    iso: float
    """ISO speed of both."""
    aperture: float
    """F-number of both."""


@dataclass(frozen=True)
class SplitReport:
    """What there is of one split."""

    split: Split
    """Which."""
    pairs: int
    """Pairs listed, or derived from the files."""
    scenes: int
    """Scenes among them."""
    official_pairs: int
    """Pairs of the published set."""
    official_scenes: int
    """Scenes of the published set."""
    is_listed: bool
    """True if the list was there; False if the pairs were derived from the names of the files."""
    missing: tuple[Path, ...]
    """Files that are named, but not there."""

    @property
    def is_complete(self) -> bool:
        """True if all official pairs are there with their files."""
        return not self.missing and self.pairs == self.official_pairs and self.scenes == self.official_scenes

    @property
    def state(self) -> str:
        """Whether it is complete, and what is missing, in words."""
        if self.is_complete:
            return "complete"
        if self.missing:
            return f"incomplete, {len(self.missing):,} {'file' if len(self.missing) == 1 else 'files'} missing"
        if self.is_listed:
            return "incomplete; the list is not the official one"
        return "incomplete; the rest cannot be named without the list"


@dataclass(frozen=True)
class SidReport:
    """What there is of a subset."""

    subset: Subset
    """Which."""
    folder: Path
    """Where it was looked for."""
    splits: tuple[SplitReport, ...]
    """Those that were looked for."""

    @property
    def is_complete(self) -> bool:
        """True if every split is complete."""
        return all(split.is_complete for split in self.splits)

    @property
    def missing(self) -> tuple[Path, ...]:
        """All files that are named, but not there."""
        return tuple(path for split in self.splits for path in split.missing)

    def __str__(self) -> str:
        lines = [f"See-in-the-Dark, {SUBSETS[self.subset].folder}, in {self.folder}"]
        for split in self.splits:
            origin = "listed" if split.is_listed else "found by their names (no list)"
            lines.append(
                f"  {split.split:5}  {split.pairs:,} of {split.official_pairs:,} pairs, "
                f"{split.scenes} of {split.official_scenes} scenes {origin}; {split.state}"
            )
        return "\n".join(lines)


def read_list(path: Path) -> list[ListLine]:
    """Read a list of the set.

    Args:
        path: Such as Sony_train_list.txt. Empty lines are skipped.

    Raises:
        DataError: The file cannot be read, is empty, or a line is not of the list's form or leads out of the folder.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: the list cannot be read ({error}).") from error
    lines = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        match = _LINE.fullmatch(line.strip())
        if match is None:
            raise DataError(
                f"{path}, line {number}: expected “./Sony/short/x.ARW ./Sony/long/y.ARW ISO200 F8”; got {line[:200]!r}."
            )
        short, reference = (_inner_path(part, path, number) for part in match.group(1, 2))
        lines.append(ListLine(short, reference, float(match[3]), float(match[4])))
    if not lines:
        raise DataError(f"{path}: the list is empty. Copy it again from the authors' repository.")
    return lines


def sid_pairs(folder: Path, subset: Subset, split: Split) -> list[RawPair]:
    """Return the pairs of a split, each once, in the order of its list; the RAW files need not be there.

    Without the list, every short exposure found is paired with every long one of its scene, in the order of the names,
    and a warning is logged. (In the published set a scene has one long exposure, so these are the same pairs.)

    Args:
        folder: The folder that holds Sony/ or Fuji/ and the lists.
        subset: The camera.
        split: The part.

    Raises:
        DataError: There is neither the list nor a file, a list is damaged, or a name is not of the set's form.

    Example:
        >>> sid_pairs(Path("sid"), "sony", "train")[0].ratio          # doctest: +SKIP
        250.0
    """
    pairs, is_listed = _pairs(folder, subset, split)
    if not is_listed:
        path = folder / SUBSETS[subset].list_name(split)
        count = f"{len(pairs):,} {'pair was' if len(pairs) == 1 else 'pairs were'}"
        _log.warning("%s: there is no such list; %s derived from the names of the files", path, count)
    return pairs


def missing_files(pairs: Sequence[RawPair]) -> list[Path]:
    """Return the RAW files of pairs that are not there, each once, in the order of the pairs."""
    files = dict.fromkeys(path for pair in pairs for path in (pair.short, pair.reference))
    return [path for path in files if not path.is_file()]


def check(folder: Path, subset: Subset, splits: Sequence[Split] = SPLITS) -> SidReport:
    """Compare what is in a folder with the official counts.

    Args:
        folder: The folder that holds Sony/ or Fuji/ and the lists.
        subset: The camera.
        splits: The parts that are looked for.

    Returns:
        The report; ``str`` of it is readable.

    Raises:
        DataError: There is no such folder, or a list is damaged.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder. Name the folder that holds {SUBSETS[subset].folder}/.")
    return SidReport(subset, folder, tuple(_check_split(folder, subset, split) for split in splits))


def _check_split(folder: Path, subset: Subset, split: Split) -> SplitReport:
    part = SUBSETS[subset]
    is_listed = (folder / part.list_name(split)).exists()
    is_found = is_listed or all(_files(folder, part, split, kind) for kind in ("short", "long"))
    pairs = _pairs(folder, subset, split)[0] if is_found else []
    return SplitReport(
        split=split,
        pairs=len(pairs),
        scenes=len({pair.scene for pair in pairs}),
        official_pairs=part.pairs[split],
        official_scenes=part.scenes[split],
        is_listed=is_listed,
        missing=tuple(missing_files(pairs)),
    )


def _pairs(folder: Path, subset: Subset, split: Split) -> tuple[list[RawPair], bool]:
    """Return the pairs of a split, and whether its list is there."""
    part = SUBSETS[subset]
    path = folder / part.list_name(split)
    is_listed = path.exists()
    if is_listed:
        found = [(folder / line.short, folder / line.reference) for line in read_list(path)]
    else:
        found = _found_pairs(folder, part, split)
    files = dict.fromkeys(found)
    references = Counter(short for short, _ in files)
    return [_pair(short, reference, part.folder, references[short] > 1) for short, reference in files], is_listed


def _inner_path(text: str, path: Path, number: int) -> PurePosixPath:
    """Return a path of a list; raises DataError if it would leave the folder of the set."""
    inner = PurePosixPath(text)
    if inner.is_absolute() or ".." in inner.parts or "\\" in text or ":" in text or not inner.parts:
        raise DataError(f"{path}, line {number}: {text!r} leads out of the folder of the set; expected ./Sony/….")
    return inner


def _files(folder: Path, part: SidSubset, split: Split, kind: Literal["short", "long"]) -> list[Path]:
    """Return the RAW files of a split by name."""
    return sorted((folder / part.folder / kind).glob(f"{_FIRST_DIGIT[split]}*{part.suffix}"))


def _found_pairs(folder: Path, part: SidSubset, split: Split) -> list[tuple[Path, Path]]:
    """Return every short exposure with every long one of its scene; raises DataError if there are none."""
    shorts, longs = (_files(folder, part, split, kind) for kind in ("short", "long"))
    scenes: dict[str, list[Path]] = {}
    for path in longs:
        scenes.setdefault(_parse_name(path)[0], []).append(path)
    found = [(short, long) for short in shorts for long in scenes.get(_parse_name(short)[0], ())]
    if not found:
        raise DataError(
            f"{folder}: neither {part.list_name(split)} nor pairs of {part.folder}/short/ and {part.folder}/long/ for "
            f"“{split}”. Name the folder that holds {part.folder}/ (see docs/datasets.md)."
        )
    return found


def _pair(short: Path, reference: Path, camera: str, has_several: bool) -> RawPair:
    scene, _, short_s = _parse_name(short)
    reference_scene, _, reference_s = _parse_name(reference)
    if scene != reference_scene:
        raise DataError(f"{short.name} is paired with {reference.name} of another scene. Copy the list again.")
    return RawPair(
        name=f"{short.stem}-{reference.stem}" if has_several else short.stem,
        scene=scene,
        camera=camera,
        short=short,
        reference=reference,
        short_s=short_s,
        reference_s=reference_s,
        ratio=exposure_ratio(reference_s, short_s),
    )


def _parse_name(path: Path) -> tuple[str, int, float]:
    """Return scene, number in the burst and exposure time in seconds of a file by its name."""
    match = _NAME.fullmatch(path.stem)
    seconds = float(match[3]) if match is not None else 0.0
    if match is None or not (math.isfinite(seconds) and seconds > 0):
        raise DataError(f"{path}: a file of the set is named SCENE_NN_SECONDSs, like 00001_00_0.1s{path.suffix}.")
    return match[1], int(match[2]), seconds

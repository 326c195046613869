"""`alen data`: get, check and cache sets of real pairs."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from cyclopts import App, Parameter

from alen.commands.console import FAILED, OK, Flag, count
from alen.errors import DataError

if TYPE_CHECKING:
    from alen.data.exposures import RawPair
    from alen.data.sid import Split

_NAMED: Final = 10
"""Missing files that are listed."""

_REPORT_S: Final = 30.0
"""Seconds between the lines of a job that is not watched in a terminal."""

_Json = Annotated[bool, Parameter(name="--json", negative=(), show_default=False)]

data = App(
    name="data",
    help="Get, check and cache sets of real pairs.",
    usage="Usage: alen data SET PLACE [OPTIONS]",
    help_epilogue="Examples:\n\n"
    "  alen data sid sid/ --check\n"
    "  alen data sid sid/ --cache cache/sid\n"
    "  alen data own pairs.csv --cache cache/own",
)


@data.command(
    usage="Usage: alen data sid DIR [OPTIONS]",
    help_epilogue="Examples:\n\n"
    "  alen data sid sid/ --download\n"
    "  alen data sid sid/ --subset fuji --check\n"
    "  alen data sid sid/ --cache cache/sid --split test",
)
def sid(
    folder: Annotated[Path, Parameter(name="DIR")],
    /,
    *,
    subset: Literal["sony", "fuji"] = "sony",
    split: Literal["train", "val", "test"] | None = None,
    cache: Path | None = None,
    reference: Literal["rendered", "mosaic"] = "rendered",
    first_frames: Annotated[bool, Flag] = False,
    download: Annotated[bool, Flag] = False,
    downloads: Path | None = None,
    check: Annotated[bool, Flag] = False,
    as_json: _Json = False,
) -> int:
    """See-in-the-Dark: tell what is there, download it, cache it.

    The cache of each split is a folder of its own in the one given.

    Args:
        folder: The folder that holds Sony/ or Fuji/ and the lists.
        subset: The camera: Sony (Bayer) or Fuji (X-Trans).
        split: Only this part; by default all three.
        cache: Folder for the decoded pairs; what it holds already is kept.
        reference: What to cache of long exposures: as See-in-the-Dark renders them, or their mosaics.
        first_frames: Cache only the first short exposure of each burst: all that "alen train" reads.
        download: Download the set into DIR first (Sony 25 GB, Fuji 52 GB) and unpack it.
        downloads: Table of addresses to use instead of the one that ships.
        check: Fail unless the set is complete.
        as_json: Print what is there as JSON, all missing files included.
    """
    from alen.data.sid import SPLITS, sid_pairs
    from alen.data.sid import check as check_sid

    if download:
        _download(f"sid-{subset}", folder, downloads)
    chosen: Sequence[Split] = SPLITS if split is None else (split,)
    report = check_sid(folder, subset, chosen)
    parts, missing = report.splits, report.missing
    if as_json:
        splits = {
            part.split: {
                "pairs": part.pairs,
                "scenes": part.scenes,
                "official_pairs": part.official_pairs,
                "official_scenes": part.official_scenes,
                "is_listed": part.is_listed,
                "is_complete": part.is_complete,
                "missing": [str(path) for path in part.missing],
            }
            for part in parts
        }
        print(json.dumps({"set": "sid", "subset": subset, "folder": str(folder), "splits": splits}, indent=2))
    else:
        print(report)
        _print_missing(missing)
    if cache is not None:
        present = [part.split for part in parts if part.pairs]
        if missing or not present:
            files = f"{count(missing, 'file')} {'is' if len(missing) == 1 else 'are'} missing"
            raise DataError(f"{folder}: {files if missing else 'there are no pairs'}, so no cache was built.")
        sets = {str(name): sid_pairs(folder, subset, name) for name in present}
        if first_frames:
            sets = {name: [pair for pair in pairs if "_00_" in pair.short.stem] for name, pairs in sets.items()}
        _build(sets, cache, reference, quiet=as_json)
    return FAILED if missing or (check and not all(part.is_complete for part in parts)) else OK


@data.command(
    usage="Usage: alen data eld DIR [OPTIONS]",
    help_epilogue="Examples:\n\n"
    "  alen data eld eld/ --check\n"
    "  alen data eld eld/ --camera NikonD850 --cache cache/eld",
)
def eld(
    folder: Annotated[Path, Parameter(name="DIR")],
    /,
    *,
    camera: Literal["SonyA7S2", "NikonD850", "CanonEOS70D", "CanonEOS700D"] = "SonyA7S2",
    cache: Path | None = None,
    reference: Literal["rendered", "mosaic"] = "mosaic",
    check: Annotated[bool, Flag] = False,
    as_json: _Json = False,
) -> int:
    """ELD: tell what is there of a camera, cache it.

    The caches of the ratios are the folders x100 and x200 in the one given.

    Args:
        folder: The folder that holds SonyA7S2/ and the others.
        camera: Which camera.
        cache: Folder for the decoded pairs; what it holds already is kept.
        reference: What to cache of the references: their mosaics, or as See-in-the-Dark renders them.
        check: Fail unless all files are there.
        as_json: Print what is there as JSON, all missing files included.
    """
    from alen.data.eld import RATIOS, eld_pairs
    from alen.data.eld import check as check_eld

    report = check_eld(folder, camera)
    if as_json:
        facts = {
            "set": "eld",
            "camera": camera,
            "folder": str(folder),
            "files": report.files,
            "is_complete": report.is_complete,
            "missing": [str(path) for path in report.missing],
        }
        print(json.dumps(facts, indent=2))
    else:
        print(report)
        _print_missing(report.missing)
    if cache is not None:
        sets = {f"x{ratio}": eld_pairs(folder, camera, ratio) for ratio in RATIOS}
        _build(sets, cache, reference, quiet=as_json)
    return FAILED if check and not report.is_complete else OK


@data.command(
    usage="Usage: alen data own PAIRS.csv [OPTIONS]",
    help_epilogue="Example:\n\n"
    "  alen data own pairs.csv --cache cache/own\n\n"
    "pairs.csv, with paths relative to it:\n\n"
    "  short,long,ratio,scene\n"
    "  night/short.arw,night/long.arw,,night",
)
def own(
    pairs: Annotated[Path, Parameter(name="PAIRS.csv")],
    /,
    *,
    cache: Path | None = None,
    reference: Literal["rendered", "mosaic"] = "rendered",
    as_json: _Json = False,
) -> int:
    """Own pairs: check the list of them, cache them.

    Args:
        pairs: CSV with the columns short, long and, if you like, ratio and scene.
        cache: Folder for the decoded pairs; what it holds already is kept.
        reference: What to cache of long exposures: as See-in-the-Dark renders them, or their mosaics.
        as_json: Print the pairs as JSON.
    """
    from alen.data.own import own_pairs

    found = own_pairs(pairs)
    if as_json:
        facts = [{"name": pair.name, "scene": pair.scene, "camera": pair.camera, "ratio": pair.ratio} for pair in found]
        print(json.dumps({"set": "own", "list": str(pairs), "pairs": facts}, indent=2))
    else:
        scenes, cameras = {pair.scene for pair in found}, {pair.camera for pair in found}
        print(f"{pairs}: {count(found, 'pair')} of {count(scenes, 'scene')}, {', '.join(sorted(cameras))}")
    if cache is not None:
        _build({"": found}, cache, reference, quiet=as_json)
    return OK


def _download(name: str, folder: Path, table: Path | None) -> None:
    """Download a set and unpack it."""
    from alen.data.download import TABLE, download, read_sources, unpack

    sources = read_sources(TABLE if table is None else table)
    if name not in sources:
        raise DataError(f"{table}: there is no [{name}] in it.")
    source = sources[name]
    _say(f"{source.file}: about {source.gigabytes:g} GB from {source.url or 'an unknown address'}")
    with _Job("downloading", unit=1e9, unit_name="GB") as job:
        archive = download(source, folder, progress=job.report)
    with _Job("unpacking", unit_name="files") as job:
        files = unpack(archive, folder, progress=job.report)
    _say(f"{folder}: {len(files):,} files unpacked; {archive} may be deleted")


def _build(
    sets: dict[str, list[RawPair]], folder: Path, reference: Literal["rendered", "mosaic"], *, quiet: bool
) -> None:
    """Say how large the caches will be, and build them."""
    from alen.data.cache import PairCache

    everything = [pair for pairs in sets.values() for pair in pairs]
    size = sum(PairCache.forecast_bytes(pairs, reference=reference) for pairs in sets.values())
    place = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    free = shutil.disk_usage(place).free
    _say(f"{folder}: the cache of {count(everything, 'pair')} takes {_gigabytes(size)}; {_gigabytes(free)} are free")
    for name, pairs in sets.items():
        target = folder / name if name else folder
        with _Job(f"decoding {name}".strip(), unit_name="files") as job:
            cache = PairCache.build(pairs, target, progress=job.report, reference=reference)
        if not quiet:
            print(f"{target}: {count(cache.pairs, 'pair')}, ready")


def _print_missing(missing: Sequence[Path]) -> None:
    """Print the first missing files and how many there are."""
    for path in missing[:_NAMED]:
        print(f"  missing: {path}")
    if len(missing) > _NAMED:
        print(f"  … and {len(missing) - _NAMED:,} more; --json names all")


def _say(message: str) -> None:
    """Print a line about how it goes; results alone go to standard output."""
    print(message, file=sys.stderr, flush=True)


def _gigabytes(size: float) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"


class _Job:
    """How a long job goes, with the time left: a bar for those who watch, else a line now and then."""

    def __init__(self, what: str, *, unit_name: str, unit: float = 1) -> None:
        self._what, self._unit, self._unit_name = what, unit, unit_name
        self._bar: Any = None
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

            columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn(), TextColumn("left"))
            self._bar = Progress(*columns, console=Console(stderr=True), speed_estimate_period=300)
            self._task = self._bar.add_task(what, total=None)

    def __enter__(self) -> _Job:
        self._start = self._last = time.monotonic()
        self._first: int | None = None
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    @property
    def report(self) -> Callable[[int, int | None], None]:
        """What to call with how much is done, and how much there is in all."""
        return self._report

    def _report(self, done: int, total: int | None) -> None:
        now = time.monotonic()
        if self._first is None:  # what was there already says nothing about the speed
            self._first, self._start = done, now
        text = f"{self._what} {done / self._unit:,.4g}" + (f" of {total / self._unit:,.4g}" if total else "")
        if self._bar is not None:
            self._bar.update(self._task, completed=done, total=total, description=f"{text} {self._unit_name}")
        elif now - self._last >= _REPORT_S:
            self._last = now
            speed = (done - self._first) / max(now - self._start, 1e-9)
            left = f", {(total - done) / speed / 60:.0f} min left" if total and speed > 0 else ""
            _say(f"{text} {self._unit_name}{left}")

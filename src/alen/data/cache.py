"""Pairs of RAW files, decoded once, as uint16 memory maps: a crop costs a crop, however large the set is.

A cache is a folder: ``index.json`` with the pairs, and for each RAW file an array (.npy, uint16) with what its header
says beside it (.json). Files are decoded one at a time and appear under their names when they are whole, so that an
interrupted `PairCache.build` goes on where it was; a source file that has changed since is decoded again. Nothing is
pickled. A reference that several pairs share is stored once.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from alen.cfa import CFA
from alen.data.exposures import RawPair
from alen.errors import DataError, SettingsError
from alen.raw import Gains, Matrix, RawImage, read_header, read_raw, render_reference

Reference = Literal["rendered", "mosaic"]
"""What is kept of long exposures: See-in-the-Dark's rendering (for raw → sRGB), or the mosaic (for raw → raw)."""

_FORMAT: Final = "alen pair cache"
_VERSION: Final = 1
_INDEX: Final = "index.json"
_NAMED: Final = 10
"""Missing files that a message names."""

_FREE_BYTES: Final = 64 * 2**20
"""Disk space that stays free."""


@dataclass(frozen=True, eq=False, kw_only=True)
class CachedMosaic:
    """A mosaic on disk with what is needed to interpret it; the fields mean what they mean in `alen.raw.RawImage`."""

    mosaic: NDArray[np.uint16]
    """(H, W) uint16 memory map, the visible area in sensor orientation, in DN; not writable."""
    cfa: CFA
    """Color filter array: its first letter is the color of ``mosaic[0, 0]``."""
    black_level: tuple[float, float, float, float]
    """DN without light of R, Gr, Gb and B."""
    white_level: float
    """DN at which the sensor saturates."""
    white_balance: Gains
    """Gains of R, G and B; green = 1."""
    cam2rgb: Matrix
    """White-balanced linear camera RGB → linear sRGB; rows sum to 1."""


@dataclass(frozen=True)
class _Entry:
    """An array that a cache has to hold."""

    source: Path
    """RAW file it is made from."""
    kind: Literal["mosaic", "rendered"]
    """What is made of it."""

    @property
    def stem(self) -> str:
        """Name of its two files without suffix."""
        key = hashlib.sha256(str(self.source.resolve()).encode()).hexdigest()[:12]
        return f"{self.source.stem}-{key}-{self.kind}"


class PairCache:
    """Decoded pairs in a folder; made by `build` or `open`. Holds no open files, so it can be handed to workers.

    Example:
        >>> pairs = sid_pairs(Path("sid"), "sony", "train")                       # doctest: +SKIP
        >>> cache = PairCache.build(pairs, Path("cache/train"))                   # doctest: +SKIP
        >>> cache.short(0).mosaic[:512, :512], cache.reference(0)[:512, :512]     # doctest: +SKIP
    """

    def __init__(
        self,
        folder: Path,
        pairs: Sequence[RawPair],
        reference: Reference,
        stems: Sequence[tuple[str, str]],
        headers: Mapping[str, Mapping[str, Any]],
    ) -> None:
        self.folder = folder
        self.pairs: tuple[RawPair, ...] = tuple(pairs)
        self.kept: Reference = reference
        self._stems = tuple(stems)  # of the arrays of each pair's short exposure and reference
        self._headers = headers

    def __len__(self) -> int:
        return len(self.pairs)

    @staticmethod
    def forecast_bytes(pairs: Sequence[RawPair], *, reference: Reference = "rendered") -> int:
        """Return how many bytes the arrays of a cache will take, before it is built.

        The size of the frames is read from the header of one file of each camera: all frames of a camera are taken for
        equally large.

        Raises:
            DataError: Not one file of a camera is there.
            RawError: That file cannot be used.
        """
        frames: dict[str, int] = {}
        total = 0
        for entry, camera in _entries(pairs, reference).items():
            if camera not in frames:
                frames[camera] = _frame_pixels(camera, pairs)
            total += frames[camera] * _bytes_per_pixel(entry)
        return total

    @classmethod
    def build(
        cls,
        pairs: Sequence[RawPair],
        folder: Path,
        *,
        progress: Callable[[int, int], None] | None = None,
        reference: Reference = "rendered",
    ) -> PairCache:
        """Decode what the folder does not hold yet, and write its index.

        Args:
            pairs: In the order the cache will have them; one cache for each split.
            folder: Where to; made if it is not there. Arrays of other pairs in it stay.
            progress: Called with (arrays done, arrays in all) after each, those found included.
            reference: What to keep of the long exposures.

        Raises:
            DataError: There are no pairs, two have the same name, files are missing, a reference has another size than
                its short exposure, or the disk is too small; what has been decoded so far stays.
            RawError: A file cannot be used.
        """
        _check(pairs, reference)
        entries = list(_entries(pairs, reference))
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _remove_parts(folder)
            headers = {entry.stem: _found(entry, folder) for entry in entries}
            _check_space(folder, pairs, [entry for entry in entries if headers[entry.stem] is None])
            done: dict[str, Mapping[str, Any]] = {}
            for number, entry in enumerate(entries, start=1):
                done[entry.stem] = headers[entry.stem] or _make(entry, folder)
                if progress is not None:
                    progress(number, len(entries))
            _check_shapes(pairs, reference, done)
            stems = [(_Entry(pair.short, "mosaic").stem, _Entry(pair.reference, reference).stem) for pair in pairs]
            index = {
                "format": _FORMAT,
                "version": _VERSION,
                "reference": reference,
                "pairs": [asdict(pair) for pair in pairs],
                "pair_arrays": stems,
                "arrays": done,
            }
            _write(folder / _INDEX, json.dumps(index, indent=1, default=str).encode())  # paths become strings
        except OSError as error:
            raise DataError(f"{folder}: the cache cannot be written: {error.strerror or error}.") from error
        return cls(folder, pairs, reference, stems, done)

    @classmethod
    def open(cls, folder: Path) -> PairCache:
        """Return a cache that was built before; the RAW files need not be there.

        Raises:
            DataError: There is none, it is of another version, or a part of it is missing.
        """
        path = folder / _INDEX
        try:
            index = json.loads(path.read_text(encoding="utf-8"))
            if (index["format"], index["version"]) != (_FORMAT, _VERSION):
                raise DataError(f"{path}: this is no cache of this version. Build it again in an empty folder.")
            pairs = [
                RawPair(**record | {"short": Path(record["short"]), "reference": Path(record["reference"])})
                for record in index["pairs"]
            ]
            stems = [(str(short), str(reference)) for short, reference in index["pair_arrays"]]
            headers = {stem: dict(index["arrays"][stem]) for pair in stems for stem in pair}
            if len(stems) != len(pairs) or any(Path(stem).name != stem for stem in headers):
                raise ValueError("pairs and arrays do not fit")
            missing = [stem for stem, header in headers.items() if not _is_whole(folder, stem, header)]
        except FileNotFoundError as error:
            raise DataError(f"{folder}: there is no cache, or it is not finished. Build it first.") from error
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f"{path}: the index is damaged ({error}). Build the cache again.") from error
        if missing:
            raise DataError(f"{folder}: {missing[0]} is missing or cut off. Build the cache again; it goes on.")
        return cls(folder, pairs, index["reference"], stems, headers)

    def short(self, index: int) -> CachedMosaic:
        """Return the short exposure of a pair."""
        return self._mosaic(self._stems[index][0])

    def reference(self, index: int) -> NDArray[np.uint16]:
        """Return the rendered reference of a pair: (H, W, 3) uint16 memory map, see `alen.raw.render_reference`.

        Raises:
            DataError: The cache was built with mosaics of the references.
        """
        self._require("rendered")
        return self._array(self._stems[index][1])

    def reference_mosaic(self, index: int) -> CachedMosaic:
        """Return the mosaic of the reference of a pair.

        Raises:
            DataError: The cache was built with rendered references.
        """
        self._require("mosaic")
        return self._mosaic(self._stems[index][1])

    def _require(self, reference: Reference) -> None:
        if self.kept != reference:
            raise DataError(
                f"{self.folder}: this cache was built with reference={self.kept!r}; build one with {reference!r}."
            )

    def _mosaic(self, stem: str) -> CachedMosaic:
        header = self._headers[stem]
        black = [float(value) for value in header["black_level"]]
        gains = [float(value) for value in header["white_balance"]]
        rows = [(float(row[0]), float(row[1]), float(row[2])) for row in header["cam2rgb"]]
        return CachedMosaic(
            mosaic=self._array(stem),
            cfa=CFA(tuple(header["cfa"])),
            black_level=(black[0], black[1], black[2], black[3]),
            white_level=float(header["white_level"]),
            white_balance=(gains[0], gains[1], gains[2]),
            cam2rgb=(rows[0], rows[1], rows[2]),
        )

    def _array(self, stem: str) -> NDArray[np.uint16]:
        path = self.folder / f"{stem}.npy"
        try:
            array: NDArray[np.uint16] = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise DataError(
                f"{path}: the array cannot be read ({error}). Build the cache again; it goes on."
            ) from error
        return array


def _entries(pairs: Iterable[RawPair], reference: Reference) -> dict[_Entry, str]:
    """Return the arrays that pairs need, each once, with their cameras."""
    entries: dict[_Entry, str] = {}
    for pair in pairs:
        entries.setdefault(_Entry(pair.short, "mosaic"), pair.camera)
        entries.setdefault(_Entry(pair.reference, reference), pair.camera)
    return entries


def _check(pairs: Sequence[RawPair], reference: str) -> None:
    """Raise if there is nothing to build, or something is missing."""
    if reference not in ("rendered", "mosaic"):
        raise SettingsError(f"The reference is kept “rendered” or as “mosaic”; got {reference!r}.")
    if not pairs:
        raise DataError("There are no pairs to build a cache of.")
    names = [pair.name for pair in pairs]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"Two pairs are called {twice}; names are unique within a set.")
    files = dict.fromkeys(path for pair in pairs for path in (pair.short, pair.reference))
    missing = [str(path) for path in files if not path.is_file()]
    if missing:
        more = f" and {len(missing) - _NAMED:,} more" * (len(missing) > _NAMED)
        raise DataError(f"{len(missing):,} RAW files are missing: {', '.join(missing[:_NAMED])}{more}.")


def _frame_pixels(camera: str, pairs: Sequence[RawPair]) -> int:
    """Return height × width of a camera's frames, from the header of the first file that is there."""
    for pair in pairs:
        for path in (pair.short, pair.reference):
            if pair.camera == camera and path.is_file():
                header = read_header(path)
                return header.height * header.width
    raise DataError(f"None of the files of {camera} is there, so the size of its frames is not known.")


def _bytes_per_pixel(entry: _Entry) -> int:
    return 6 if entry.kind == "rendered" else 2


def _check_space(folder: Path, pairs: Sequence[RawPair], entries: Sequence[_Entry]) -> None:
    """Raise DataError if the disk cannot hold the arrays that are to be made."""
    cameras = {path: pair.camera for pair in pairs for path in (pair.short, pair.reference)}
    frames = {camera: _frame_pixels(camera, pairs) for camera in {cameras[entry.source] for entry in entries}}
    needed = sum(frames[cameras[entry.source]] * _bytes_per_pixel(entry) for entry in entries)
    free = shutil.disk_usage(folder).free
    if entries and needed + _FREE_BYTES > free:
        raise DataError(
            f"{folder}: the cache needs {needed / 1e9:.1f} GB more, but {free / 1e9:.1f} GB are free. Choose another "
            "disk, or fewer pairs."
        )


def _check_shapes(pairs: Sequence[RawPair], reference: Reference, headers: Mapping[str, Mapping[str, Any]]) -> None:
    """Raise DataError if a reference does not lie on its short exposure."""
    for pair in pairs:
        short = headers[_Entry(pair.short, "mosaic").stem]["shape"]
        long = headers[_Entry(pair.reference, reference).stem]["shape"][:2]
        if short != long:
            raise DataError(
                f"{pair.name}: the short exposure has {short[1]} × {short[0]} pixels, its reference "
                f"{pair.reference} {long[1]} × {long[0]}. Both are to be taken with the same camera and settings."
            )


def _source_stamp(path: Path) -> list[int]:
    """Return size and time of change: what tells that a file is another one."""
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns]


def _found(entry: _Entry, folder: Path) -> Mapping[str, Any] | None:
    """Return the header of an array if the folder holds it, made from the file as it is now."""
    try:
        header = json.loads((folder / f"{entry.stem}.json").read_text(encoding="utf-8"))
        is_current = header["source"] == _source_stamp(entry.source) and _is_whole(folder, entry.stem, header)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return dict(header) if is_current else None


def _is_whole(folder: Path, stem: str, header: Mapping[str, Any]) -> bool:
    """Tell whether an array is there in its full length."""
    path = folder / f"{stem}.npy"
    return path.is_file() and path.stat().st_size == header["bytes"]


def _make(entry: _Entry, folder: Path) -> Mapping[str, Any]:
    """Decode a file, write the array and then its header; return the header."""
    stamp = _source_stamp(entry.source)
    header: dict[str, Any] = {"source": stamp}
    if entry.kind == "rendered":
        array = render_reference(entry.source)
    else:
        raw = read_raw(entry.source)
        array = raw.mosaic
        header |= _facts(raw)
    path = folder / f"{entry.stem}.npy"
    (folder / f"{entry.stem}.json").unlink(missing_ok=True)  # it is not to describe the array of another file
    _write_array(path, array)
    header |= {"shape": list(array.shape), "bytes": path.stat().st_size}
    _write(folder / f"{entry.stem}.json", json.dumps(header).encode())
    return header


def _facts(raw: RawImage) -> dict[str, Any]:
    return {
        "cfa": list(raw.cfa.rows),
        "black_level": list(raw.black_level),
        "white_level": raw.white_level,
        "white_balance": list(raw.white_balance),
        "cam2rgb": [list(row) for row in raw.cam2rgb],
    }


def _write_array(path: Path, array: NDArray[np.uint16]) -> None:
    """Write an array under a temporary name, then rename it."""
    part = _part(path)
    try:
        with part.open("xb") as file:
            np.save(file, array, allow_pickle=False)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _write(path: Path, data: bytes) -> None:
    """Write bytes under a temporary name, then rename them."""
    part = _part(path)
    try:
        part.write_bytes(data)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _part(path: Path) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")


def _remove_parts(folder: Path) -> None:
    """Remove what a killed build left half-written."""
    for part in folder.glob(".*.part"):
        part.unlink(missing_ok=True)

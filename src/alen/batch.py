"""Many RAW files into pictures: where each picture goes, and one after the other, whatever happens to one of them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, Literal, TypeVar

import numpy as np

from alen.color import MAX_EV
from alen.dark_frames import DarkFrame, subtract_dark
from alen.enhance import Enhanced, Enhancer, Finished, check_ratio
from alen.errors import AlenError, NotRawError, PictureError, RawError, RawNotFoundError, SettingsError
from alen.levels import LOOK, Look, check_look
from alen.linear_dng import is_raw_file, write_linear_dng
from alen.picture import SUFFIXES, Pixels, bits, write_linear_tiff, write_picture
from alen.raw import RawImage, read_raw
from alen.sheets import before_after, ratio_sheet
from alen.trained_range import out_of_range

_SUFFIXES_BY_MAKER: Final = {
    "Adobe and others": (".dng", ".raw"),
    "Canon": (".cr2", ".cr3", ".crw"),
    "Epson": (".erf",),
    "Fujifilm": (".raf",),
    "Hasselblad": (".3fr", ".fff"),
    "Kodak": (".dcr", ".kdc"),
    "Leaf": (".mos",),
    "Leica": (".rwl",),
    "Mamiya": (".mef",),
    "Minolta": (".mrw",),
    "Nikon": (".nef", ".nrw"),
    "Olympus": (".orf", ".ori"),
    "Panasonic": (".rw2",),
    "Pentax": (".pef",),
    "Phase One": (".iiq",),
    "Samsung": (".srw",),
    "Sigma": (".x3f",),
    "Sony": (".arw", ".sr2", ".srf"),
}

RAW_SUFFIXES: Final = frozenset(suffix for suffixes in _SUFFIXES_BY_MAKER.values() for suffix in suffixes)
"""Suffixes, lower case, of what is taken from a folder. A file that is named itself may have any."""

Format = Literal["jpg", "png", "tif", "dng"]
"""Formats by the suffix they get."""

_OVERLAP_PX: Final = 40_000_000
"""Frames up to this size are read and written beside others: each takes another 2 and 3 to 12 bytes per pixel."""

_PICTURE_BYTES: Final = 6
_COMPARISON_BYTES: Final = 24
"""Bytes per pixel, about: of a developed picture, and of the three that are compared with what they come from."""

_SAMPLES_BYTES: Final = 10
"""Of a linear DNG: its samples, and the tiles that they become."""

_OUTPUTS: Final = (*SUFFIXES, ".dng")
"""Suffixes of what is written."""

_NOT_CORRECTED: Final = "The file's correction of lens {} is for pictures; this linear file has the sensor's values."
"""A warning."""

_SAME_SUFFIX: Final = {".jpeg": ".jpg", ".tiff": ".tif"}
"""Two spellings of a suffix."""


@dataclass(frozen=True, kw_only=True)
class PictureSettings:
    """How pictures are made of RAW files and written."""

    ratio: float | None = None
    """By how much the frames were exposed too short, 1 to 300; None estimates it for each."""
    look: Look | None = None
    """How bright an estimated ratio makes pictures, None as `alen.levels.LOOK`; not beside a given ratio."""
    exposure_ev: float = 0.0
    """Brighter or darker by this many stops; not for linear files, which hold the sensor's scale."""
    linear: bool = False
    """Write linear camera RGB as 32-bit float TIFF instead of a developed picture."""
    quality: int = 95
    """JPEG quality, 1 to 100."""
    compare: bool = False
    """Write a sheet beside each picture, too: as shot, merely brightened, enhanced."""
    ratios: bool = False
    """Write a sheet beside each picture, too, that shows it at other exposure ratios."""
    dng: bool = False
    """Write a linear DNG beside each picture, too."""
    overwrite: bool = False
    """Replace what exists already."""
    dark: DarkFrame | None = None
    """Dark frames that are taken off every RAW image first."""

    def __post_init__(self) -> None:
        """Raise SettingsError on values no picture can be made with."""
        check_ratio(self.ratio)
        if self.look is not None:
            check_look(self.look)
            if self.ratio is not None:
                raise SettingsError(
                    f"The look ({self.look}) is for estimated ratios; a ratio of {self.ratio:g} says already how "
                    "bright pictures get. Leave one of the two out."
                )
        if not abs(self.exposure_ev) <= MAX_EV:
            raise SettingsError(f"The exposure is a number of stops within ±{MAX_EV}; got {self.exposure_ev:g}.")
        if not 1 <= self.quality <= 100:
            raise SettingsError(f"The JPEG quality is 1 to 100; got {self.quality}.")


@dataclass(frozen=True)
class Job:
    """One RAW file and where its picture goes."""

    source: Path
    """The RAW file."""
    target: Path
    """The picture; its suffix is its format."""
    problem: AlenError | None = None
    """Why it cannot be done, as far as that is known before."""
    is_second: bool = False
    """True if the problem is another RAW file of the same name before it: it is none if that one cannot be read."""

    @property
    def is_dng(self) -> bool:
        """Whether the picture is a linear DNG."""
        return self.target.suffix.lower() == ".dng"

    @property
    def linear_dng(self) -> Path:
        """Where the linear DNG beside the picture goes: ``a.alen.jpg`` and ``a.jpg`` → ``a.alen.dng``."""
        return self.target.with_name(f"{self._name}.alen.dng")

    @property
    def comparison(self) -> Path:
        """Where the sheet with the comparison goes: ``a.alen.jpg`` and ``a.jpg`` → ``a.compare.jpg``."""
        return self.target.with_name(f"{self._name}.compare.jpg")

    @property
    def ratio_sheet(self) -> Path:
        """Where the sheet with other exposure ratios goes: ``a.alen.jpg`` and ``a.jpg`` → ``a.ratios.jpg``."""
        return self.target.with_name(f"{self._name}.ratios.jpg")

    @property
    def _name(self) -> str:
        return self.target.stem.removesuffix(".alen")

    def beside(self, settings: PictureSettings) -> list[Path]:
        """Return what is written beside the picture."""
        wanted = {
            self.linear_dng: settings.dng and not self.is_dng,
            self.comparison: settings.compare,
            self.ratio_sheet: settings.ratios,
        }
        return [path for path, is_wanted in wanted.items() if is_wanted]


@dataclass(frozen=True)
class Done:
    """What became of a RAW file."""

    source: Path
    """The RAW file."""
    target: Path
    """The picture."""
    linear_dng: Path | None
    """The linear DNG beside it."""
    comparison: Path | None
    """The sheet with the comparison."""
    ratio_sheet: Path | None
    """The sheet with other exposure ratios."""
    size_px: tuple[int, int]
    """Width and height of the picture, upright unless it is linear."""
    ratio: float
    """Exposure ratio it was amplified by."""
    ratio_is_estimated: bool
    """True if the ratio was estimated, False if it was given."""
    warnings: tuple[str, ...]
    """What had to be assumed, and what lies outside of what the weights were trained for; one sentence each."""
    seconds: Mapping[str, float]
    """Wall-clock seconds by part, in order: "decode", "darks" if there are any, "prepare", "network", "write"; with
    a linear DNG beside the picture "dng", with a sheet "sheets".

    Without these, pictures are developed while the network runs.
    """


@dataclass(frozen=True)
class Failed:
    """A RAW file that did not become a picture."""

    source: Path
    """The RAW file."""
    error: AlenError
    """Why, and what to do."""


def find_raw_files(paths: Sequence[Path]) -> list[Path]:
    """Return the files themselves, and the RAW files in folders (not in their subfolders), sorted by name.

    Hidden files are left out, such as the shadows "._NAME.ARW" that macOS leaves on memory cards, and linear DNGs of
    ours. A folder without any
    RAW file stands for itself. A file that is named twice is one.
    """
    found: dict[Path, Path] = {}
    for path in paths:
        for file in _raw_files_in(path) or [path]:
            found.setdefault(_in_full(file), file)
    return list(found.values())


def _raw_files_in(path: Path) -> list[Path]:
    """Return the RAW files in a folder, sorted by name; none if it is not one, or may not be looked into."""
    try:
        return sorted(
            file
            for file in (path.iterdir() if path.is_dir() else ())
            if file.suffix.lower() in RAW_SUFFIXES
            and not (file.name.startswith(".") or _is_linear_dng(file))
            and file.is_file()
        )
    except OSError:
        return []


def _is_linear_dng(path: Path) -> bool:
    """Tell whether a file has the name of a linear DNG of ours."""
    return path.name.lower().endswith(".alen.dng")


def _exists(path: Path) -> bool:
    """Tell whether there is something; what the system refuses is not there."""
    try:
        return path.exists()
    except OSError:
        return False


def is_folder(path: Path) -> bool:
    """Tell whether a path is a folder; what the system refuses, such as a name that is too long, is none."""
    try:
        return path.is_dir()
    except OSError:
        return False


def raw_files_of(paths: Sequence[Path], what: str) -> list[Path]:
    """Return the RAW files of paths that have to hold some.

    Args:
        paths: Files and folders, as of `find_raw_files`.
        what: What they are for, in an error.

    Raises:
        SettingsError: There are none.
        RawNotFoundError: A path does not exist.
        NotRawError: There is none in a folder.
    """
    if not paths:
        raise SettingsError(f"{what} needs RAW files, or folders of them; name at least one.")
    for path in paths:
        if not _exists(path):
            raise RawNotFoundError(f"{path}: there is no such file or folder. Check the path.")
    files = find_raw_files(paths)
    for file in files:
        if is_folder(file):
            raise NotRawError(no_raw_file_in(file))
    return files


def no_raw_file_in(folder: Path) -> str:
    """Return what to say of a folder that `find_raw_files` leaves as it is."""
    if os.access(folder, os.R_OK | os.X_OK):
        return f"{folder}: there is no RAW file in this folder. Name the files or another folder."
    return f"{folder}: this folder may not be looked into. Check its permissions."


def _in_full(path: Path) -> Path:
    """Return the one spelling of a path; a link stands for itself."""
    return Path(os.path.realpath(path.parent)) / path.name


def plan(
    paths: Sequence[Path],
    *,
    output: str | None = None,
    picture_format: Format | None = None,
    linear: bool = False,
    dng: bool = False,
    darks: Sequence[Path] = (),
) -> list[Job]:
    """Decide where the pictures of RAW files go.

    Args:
        paths: RAW files and folders of them.
        output: A folder, if it ends with a slash, exists as a folder, or several files or a folder are given; else the
            name of the one picture. None puts each picture beside its RAW file. In folders a picture is named
            ``NAME.alen.SUFFIX``.
        picture_format: "jpg" if it is not told by this or by the suffix of ``output``; "tif" for linear files. Linear
            DNGs in ``paths`` that this call writes are left out.
        linear: Whether linear files will be written.
        dng: Whether linear DNGs will be written beside the pictures.
        darks: Dark frames: they are not enhanced, and no picture may replace them.

    Raises:
        SettingsError: The arguments contradict each other.
    """
    if output == "":
        raise SettingsError("The name of the output is empty. Name a picture or a folder, or leave -o out.")
    if linear and picture_format not in (None, "tif"):
        raise SettingsError(f"Linear files are written as tif; --format {picture_format} cannot hold them.")
    suffix = f".{picture_format or ('tif' if linear else 'jpg')}"
    sources = find_raw_files(paths)
    is_alone = len(paths) == 1 and not is_folder(paths[0])
    if output is None:
        jobs = [Job(source, _named(source, source.parent, suffix)) for source in sources]
    elif output.endswith(("/", os.sep)) or is_folder(Path(output)):
        jobs = [Job(source, _named(source, Path(output), suffix)) for source in sources]
    elif is_alone:
        _check_output(Path(output), suffix if picture_format or linear else None, linear=linear)
        jobs = [Job(sources[0], Path(output))]
    elif Path(output).suffix.lower() in _OUTPUTS:
        raise SettingsError(
            f"{output} names one picture, but there are several; end the name of a folder with a slash."
        )
    else:
        jobs = [Job(source, _named(source, Path(output), suffix)) for source in sources]
    made = {_in_full(path) for job in jobs for path in (job.target, *[job.linear_dng] * dng)}
    jobs = [job for job in jobs if not (_is_linear_dng(job.source) and _in_full(job.source) in made)]
    named = [  # others may be our own pictures
        job.source for job in jobs if job.source.suffix.lower() not in SUFFIXES and not _is_linear_dng(job.source)
    ]
    return _with_problems(jobs, {_in_full(file) for file in (*named, *darks)}, darks)


def enhance_files(
    jobs: Sequence[Job],
    enhancer: Enhancer,
    settings: PictureSettings,
    progress: Callable[[float], None] | None = None,
) -> Iterator[Done | Failed]:
    """Enhance files one by one, yielding what became of each, in order; a failure does not stop the others.

    While the network works on a file, the next is read and the one before is written, unless frames are so large that
    memory matters more. ``progress`` is told how many files' work is done beyond those that were yielded: 0.5 is half
    of the next one.
    """
    taken: set[Path] = set()
    with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as writer:
        ahead: Future[_Read] | None = None
        behind: tuple[Job, Future[Done]] | None = None
        for index, job in enumerate(jobs):
            reading = ahead if ahead is not None else reader.submit(_read, job, settings, taken)
            read = _attempt(job, reading.result)
            overlaps = isinstance(read, _Read) and read.raw.mosaic.size <= _OVERLAP_PX
            ahead = (
                reader.submit(_read, jobs[index + 1], settings, taken) if overlaps and index + 1 < len(jobs) else None
            )
            told = _after(progress, 0 if behind is None else 1)
            made = _attempt(job, partial(_enhance, read, enhancer, settings, told)) if isinstance(read, _Read) else read
            if behind is not None:
                yield _attempt(behind[0], behind[1].result)
                behind = None
            if isinstance(made, Failed):
                yield made
            elif overlaps:
                behind = job, writer.submit(_write, made, settings)
            else:
                yield _attempt(job, partial(_write, made, settings))
        if behind is not None:
            yield _attempt(behind[0], behind[1].result)


_T = TypeVar("_T")


def _attempt(job: Job, work: Callable[[], _T]) -> _T | Failed:
    """Return what some work of a job returns, or why it failed."""
    try:
        return work()
    except AlenError as error:
        return Failed(job.source, _without_frames(error))
    except MemoryError:
        message = f"{job.source}: the picture is too large for the memory. Close other programs and try again."
        return Failed(job.source, RawError(message))
    except OSError as error:
        return Failed(job.source, RawError(f"{job.source}: cannot be enhanced ({error.strerror or error})."))
    except Exception as error:  # a mistake of the program's own: the other files are done all the same
        message = f"{job.source}: cannot be enhanced; this is a mistake in alen ({type(error).__name__}: {error})."
        return Failed(job.source, RawError(message))


_Error = TypeVar("_Error", bound=BaseException)


def _without_frames(error: _Error) -> _Error:
    """Return an error without its tracebacks: their frames would keep a RAW image in memory as long as it is kept."""
    each: BaseException | None = error
    while each is not None:
        each.__traceback__ = None
        each = each.__cause__ or each.__context__
    return error


def _after(progress: Callable[[float], None] | None, count: int) -> Callable[[float], None] | None:
    """Return what tells a share of the file that comes after ``count`` others."""
    return None if progress is None else lambda share: progress(count + share)


@dataclass(frozen=True)
class _Read:
    """A RAW file that is in memory."""

    job: Job
    raw: RawImage
    seconds: Mapping[str, float]


@dataclass(frozen=True)
class _Made:
    """What the network made of it."""

    read: _Read
    result: Enhanced | Finished
    warnings: tuple[str, ...]
    seconds: Mapping[str, float]


def _read(job: Job, settings: PictureSettings, taken: set[Path]) -> _Read:
    """Read a RAW file, if its picture may be written; ``taken`` are the pictures of those that were read."""
    if job.problem is not None and not (job.is_second and _in_full(job.target) not in taken):
        raise job.problem
    _check_targets(job, settings)
    clock = _Clock()
    raw = read_raw(job.source)
    taken.add(_in_full(job.target))
    clock.lap("decode")
    if settings.dark is not None:
        raw = subtract_dark(raw, settings.dark)
        clock.lap("darks")
    return _Read(job, raw, clock.seconds)


def _enhance(
    read: _Read, enhancer: Enhancer, settings: PictureSettings, progress: Callable[[float], None] | None
) -> _Made:
    """Run the network, and unless the linear picture is wanted as a whole develop what it makes."""
    result: Enhanced | Finished
    has_sheet = settings.compare or settings.ratios
    has_dng = settings.dng or read.job.is_dng
    if settings.linear or has_sheet or has_dng:
        result = enhancer.enhance(
            read.raw,
            ratio=settings.ratio,
            look=settings.look or LOOK,
            beside_bytes_per_pixel=max(  # one after the other
                _PICTURE_BYTES * (has_sheet or settings.dng) + _COMPARISON_BYTES * settings.compare,
                _SAMPLES_BYTES * has_dng,
            ),
            progress=progress,
        )
    else:
        result = enhancer.finish(
            read.raw,
            ratio=settings.ratio,
            look=settings.look or LOOK,
            exposure_ev=settings.exposure_ev,
            dtype=np.uint8 if bits(read.job.target) == 8 else np.uint16,
            progress=progress,
        )
    warnings = out_of_range(
        read.raw, result.ratio, result.raw.black_level, ratio_is_estimated=result.ratio_is_estimated
    )
    return _Made(read, result, warnings, {**read.seconds, **result.seconds})


def _write(made: _Made, settings: PictureSettings) -> Done:
    """Write the picture, and what is wanted beside it."""
    job, raw, result = made.read.job, made.read.raw, made.result
    clock = _Clock(made.seconds)
    metadata: dict[str, str] = {}
    if settings.dark is not None:
        metadata["DarkFrames"] = f"{settings.dark.frames}, {settings.dark.name} first"
    if isinstance(result, Enhanced) and settings.linear:
        orientation = str(raw.orientation)  # the pixels are not turned
        told = {**metadata, **result.metadata, "Source": raw.name, "Orientation": orientation}
        write_linear_tiff(job.target, result.linear, exif=raw.exif, metadata=told)
    else:
        write_enhanced(
            job.target, result, exposure_ev=settings.exposure_ev, quality=settings.quality, metadata=metadata
        )
    clock.lap("write")
    beside = job.beside(settings)
    if isinstance(result, Enhanced) and beside:
        try:
            if job.linear_dng in beside:
                write_enhanced(job.linear_dng, result, exposure_ev=settings.exposure_ev, metadata=metadata)
                clock.lap("dng")
            if settings.compare or settings.ratios:
                _write_sheets(job, result, settings)
                clock.lap("sheets")
        except PictureError as error:
            raise PictureError(f"{error} The picture itself, {job.target}, is complete.") from error
    height, width = raw.mosaic.shape
    is_turned = raw.orientation >= 5 and not settings.linear
    return Done(
        source=job.source,
        target=job.target,
        linear_dng=job.linear_dng if job.linear_dng in beside else None,
        comparison=job.comparison if settings.compare else None,
        ratio_sheet=job.ratio_sheet if settings.ratios else None,
        size_px=(height, width) if is_turned else (width, height),
        ratio=result.ratio,
        ratio_is_estimated=result.ratio_is_estimated,
        warnings=(
            *raw.warnings,
            *made.warnings,
            *(map(_NOT_CORRECTED.format, _corrections(result.raw)) if settings.linear else ()),
        ),
        seconds=clock.seconds,
    )


def write_enhanced(
    target: Path,
    result: Enhanced | Finished,
    *,
    exposure_ev: float = 0.0,
    quality: int = 95,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write a picture in the format that its suffix tells: one of `alen.picture.SUFFIXES`, or a linear DNG.

    Args:
        target: The file; an existing one is replaced.
        result: What it is made of; of a linear DNG with its linear values.
        exposure_ev: Brighter or darker by this many stops; of a picture that is finished, by how many it is.
        quality: JPEG quality.
        metadata: What else the picture tells of how it was made.

    Raises:
        PictureError: The file cannot be written; nothing is left behind.
    """
    raw = result.raw
    told = {**result.metadata, "Source": raw.name, **(metadata or {})}
    if exposure_ev:
        told["Exposure"] = f"{exposure_ev:+g} EV"
    if corrections := _corrections(raw):
        told["LensCorrection"] = ", ".join(corrections)
    if isinstance(result, Enhanced) and target.suffix.lower() == ".dng":
        write_linear_dng(target, result, exposure_ev=exposure_ev, metadata=told)
        return
    picture: Pixels
    if isinstance(result, Enhanced):
        picture = (
            result.developed(np.uint8, exposure_ev=exposure_ev)
            if bits(target) == 8
            else result.developed(np.uint16, exposure_ev=exposure_ev)
        )
    else:
        picture = result.picture
    write_picture(target, picture, orientation=raw.orientation, exif=raw.exif, quality=quality, metadata=told)


def _corrections(raw: RawImage) -> list[str]:
    """Return what of its lens is corrected in pictures."""
    of_lens = {"shading": raw.lens_shading, "distortion": raw.lens_distortion}
    return [name for name, correction in of_lens.items() if correction is not None]


def _write_sheets(job: Job, result: Enhanced, settings: PictureSettings) -> None:
    """Write the sheets that are wanted."""
    quality = max(settings.quality, 92)
    if settings.compare:
        sheet = before_after(result, exposure_ev=settings.exposure_ev)
        write_picture(job.comparison, sheet, quality=quality, metadata=result.metadata)
    if settings.ratios:
        sheet = ratio_sheet(result, exposure_ev=settings.exposure_ev)
        write_picture(job.ratio_sheet, sheet, quality=quality, metadata=result.metadata)


class _Clock:
    """Seconds by part."""

    def __init__(self, seconds: Mapping[str, float] | None = None) -> None:
        self.seconds = dict(seconds or {})
        self._last = time.perf_counter()

    def lap(self, part: str) -> None:
        """Count the time since the last call for a part."""
        now = time.perf_counter()
        self.seconds[part] = now - self._last
        self._last = now


def _named(source: Path, folder: Path, suffix: str) -> Path:
    """Return the path of a picture in a folder. Its ".alen" keeps it apart from the JPEG that the camera wrote."""
    return folder / f"{source.stem}.alen{suffix}"


def _check_output(output: Path, suffix: str | None, *, linear: bool) -> None:
    """Raise SettingsError if the name of a picture has no known suffix, or not the one of the format asked for."""
    own = output.suffix.lower()
    if own not in _OUTPUTS:
        raise SettingsError(
            f"{output}: the suffix tells the format of a picture, one of {', '.join(_OUTPUTS)}; end the name of a "
            "folder with a slash."
        )
    if suffix is not None and _SAME_SUFFIX.get(own, own) != suffix:
        raise SettingsError(
            f"{output}: its suffix contradicts the format {suffix.removeprefix('.')} "
            + ("of linear files." if linear else "that was asked for.")
        )


def _with_problems(jobs: Sequence[Job], raw_files: set[Path], darks: Sequence[Path]) -> list[Job]:
    """Mark jobs that would overwrite a RAW file or what another job wrote, folders without RAW files, dark frames."""
    dark_files = {_in_full(dark) for dark in darks}
    checked: list[Job] = []
    writers: dict[Path, Path] = {}
    for job in jobs:
        problem: AlenError | None = None
        is_second = False
        if is_folder(job.source):
            problem = NotRawError(no_raw_file_in(job.source))
        elif (own := _in_full(job.source)) in dark_files:
            problem = SettingsError(
                f"{job.source}: is named as a dark frame, too. Name the files to enhance before --dark."
            )
        elif any(_in_full(file) in raw_files - {own} for file in (job.target, job.comparison, job.ratio_sheet)):
            problem = PictureError(
                f"{job.target}: is a RAW file that was named, too, and these are never replaced. Choose another name."
            )
        elif (other := writers.setdefault(_in_full(job.target), job.source)) != job.source:
            is_second = True
            problem = PictureError(
                f"{job.source}: its picture {job.target} is that of {other}, too. Enhance it into another folder."
            )
        checked.append(Job(job.source, job.target, problem, is_second))
    return checked


def _check_targets(job: Job, settings: PictureSettings) -> None:
    """Raise PictureError if a file would be overwritten; make the folder of the picture.

    Before the work rather than after it.
    """
    try:
        for file in (job.target, *job.beside(settings)):
            if file.exists() and job.source.exists() and file.samefile(job.source):
                raise PictureError(f"{file}: is the RAW file itself, which is never replaced. Choose another name.")
            if file.exists() and not settings.overwrite:
                raise PictureError(f"{file}: exists already. Replace it with --force, or choose another name with -o.")
            if file.suffix.lower() == ".dng" and file.is_file() and is_raw_file(file):
                raise PictureError(f"{file}: is a RAW file, and these are never replaced. Choose another name.")
    except OSError as error:  # a folder that may not be looked into, a name that is too long
        reason = error.strerror or str(error)
        raise PictureError(f"{job.target}: cannot be written ({reason}). Choose another one with -o.") from error
    try:
        job.target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror or str(error)
        raise PictureError(f"{job.target.parent}: the folder cannot be made ({reason}). Choose another one.") from error

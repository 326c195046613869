"""Frames that were given to the web page: stored, enhanced one after the other, kept until they are taken away.

Nothing here knows HTTP. Every frame has a folder of its own under one temporary folder, named by a random token; names
that people give to files are shown, and never become paths.
"""

from __future__ import annotations

import contextlib
import io
import os
import queue
import secrets
import shutil
import threading
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from alen.batch import write_enhanced
from alen.color import MAX_EV
from alen.enhance import Enhanced, Enhancer, check_ratio
from alen.errors import AlenError, PictureError, SettingsError
from alen.levels import LOOK, Look, check_look
from alen.picture import orient, srgb_profile
from alen.raw import read_raw
from alen.sheets import reduced_to, without_network
from alen.trained_range import out_of_range

State = Literal["waiting", "working", "done", "failed"]
FORMATS: Final = ("jpg", "png", "tif", "dng")

_PREVIEW_PX: Final = 1600
"""Longest side of a preview."""

_PREVIEW_QUALITY: Final = 90

_PREVIEWS_BYTES: Final = 12
"""Bytes per pixel of the frame that making previews takes, about."""

_MAX_NAME: Final = 120
"""Characters of a name that is shown."""


@dataclass(frozen=True, kw_only=True)
class FrameSettings:
    """How a frame is to be enhanced."""

    ratio: float | None = None
    """By how much it was exposed too short, 1 to 300; None estimates it."""
    look: Look = LOOK
    """How bright an estimated ratio makes it."""

    def __post_init__(self) -> None:
        """Raise SettingsError on values no picture can be made with."""
        check_ratio(self.ratio)
        check_look(self.look)


@dataclass(frozen=True)
class _Stored:
    """An enhanced image whose linear values lie in a file."""

    path: Path
    without: Enhanced
    """It, without them; of its mosaic only the size is left."""

    @classmethod
    def of(cls, enhanced: Enhanced, folder: Path) -> _Stored:
        """Store an image in a folder."""
        path = folder / f"{secrets.token_hex(8)}.npy"
        np.save(path, enhanced.linear)
        nothing = np.empty((0, 0, 3), np.float32)
        mosaic = np.broadcast_to(np.uint16(0), enhanced.raw.mosaic.shape)
        return cls(path, replace(enhanced, linear=nothing, raw=replace(enhanced.raw, mosaic=mosaic)))

    def opened(self) -> Enhanced:
        """Return the image: a memory map, which counts as an open file as long as somebody works with it."""
        try:
            return replace(self.without, linear=np.load(self.path, mmap_mode="r"))
        except FileNotFoundError as error:
            raise FrameNotFoundError(f"{self.without.raw.name}: is no longer there.") from error


@dataclass(frozen=True)
class _Result:
    """What became of a frame."""

    whole: _Stored
    """The frame."""
    small: _Stored
    """It, reduced to `_PREVIEW_PX`."""
    before: bytes
    """JPEG of the same size: merely brightened."""
    warnings: tuple[str, ...]
    seconds: float


@dataclass
class _Frame:
    """A frame and where it is on its way."""

    token: str
    name: str
    folder: Path
    settings: FrameSettings
    state: State = "waiting"
    share: float = 0.0
    began: float = 0.0
    error: str = ""
    result: _Result | None = None
    is_removed: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)
    """Held while a picture is made of it, so that the folder stays."""

    @property
    def source(self) -> Path:
        """The RAW file."""
        return self.folder / "frame.raw"


class _NotWantedError(Exception):
    """A frame that is being enhanced has been removed, or everything ends."""


class FrameNotFoundError(AlenError):
    """There is no such frame, or it is not done yet."""


class FrameStore:
    """The frames; a thread enhances those that wait, the first first.

    Args:
        enhancer: What enhances them.
        folder: A temporary folder, for this alone.
        max_bytes: What all frames may take on disk, about: when there is more, the oldest that are done are removed.
    """

    def __init__(self, enhancer: Enhancer, folder: Path, *, max_bytes: int) -> None:
        self._enhancer = enhancer
        self._folder = folder
        self._max_bytes = max_bytes
        self._frames: dict[str, _Frame] = {}
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        """Held while a picture is written: several at a time would take as many times the memory."""
        self._waiting: queue.SimpleQueue[_Frame | None] = queue.SimpleQueue()
        self._is_closed = False
        self._thread = threading.Thread(target=self._work, daemon=True, name="enhance")
        self._thread.start()

    def close(self) -> None:
        """Enhance and write nothing more, and wait until what is being enhanced or written has ended."""
        self._is_closed = True
        self._waiting.put(None)
        self._thread.join()
        with self._writing:
            pass

    def new_upload(self) -> tuple[str, Path]:
        """Return a token, and the file that a frame is to be written into before it is `add`-ed; makes room for it.

        Raises:
            OSError: The temporary folder is full, or gone.
        """
        self._make_room()
        token = secrets.token_urlsafe(16)
        folder = self._folder / token
        folder.mkdir()
        return token, folder / "frame.raw"

    def discard_upload(self, token: str) -> None:
        """Remove what `new_upload` has made and nobody added."""
        shutil.rmtree(self._folder / token, ignore_errors=True)

    def add(self, token: str, name: str, settings: FrameSettings) -> dict[str, Any]:
        """Have an uploaded frame enhanced; return what `facts` does."""
        frame = _Frame(token, _shown(name), self._folder / token, settings)
        with self._lock:
            self._frames[token] = frame
        self._waiting.put(frame)
        return self.facts(token)

    def again(self, token: str, settings: FrameSettings) -> dict[str, Any]:
        """Have a frame that is done, or failed, enhanced in another way; return what `facts` does."""
        frame = self._frame(token)
        with self._lock:
            if frame.state not in ("done", "failed"):
                raise FrameNotFoundError(f"{frame.name}: is on its way; wait until it is done.")
            frame.settings, frame.state, frame.share, frame.error = settings, "waiting", 0.0, ""
            frame.result = None
        self._waiting.put(frame)
        return self.facts(token)

    def remove(self, token: str) -> None:
        """Forget a frame, and what it takes on disk once nobody works with it."""
        frame = self._frame(token)
        with self._lock:
            del self._frames[token]
            frame.is_removed = True
            is_free = frame.state != "working"
        if is_free:
            self._erase(frame)

    def all_facts(self) -> list[dict[str, Any]]:
        """Return the facts of all frames, the first first."""
        with self._lock:
            frames = list(self._frames.values())
        return [_facts(frame) for frame in frames]

    def facts(self, token: str) -> dict[str, Any]:
        """Return what there is to show of a frame, ready for JSON.

        Raises:
            FrameNotFoundError: There is no such frame.
        """
        return _facts(self._frame(token))

    def before(self, token: str) -> bytes:
        """Return a JPEG preview of the merely brightened frame; raises FrameNotFoundError until it is done."""
        return self._result(token).before

    def after(self, token: str, exposure_ev: float) -> bytes:
        """Return a JPEG preview of the picture; raises FrameNotFoundError until it is done."""
        small = self._result(token).small.opened()
        return _jpeg(small.developed(np.uint8, exposure_ev=_checked_ev(exposure_ev)), small.raw.orientation)

    def write(self, token: str, picture_format: str, exposure_ev: float) -> tuple[Path, str]:
        """Write the picture; return its file, which is the caller's to delete, and the name to save it under.

        The file outlives the frame.

        Raises:
            FrameNotFoundError: There is no such frame, or it is not done.
            SettingsError: There is no such format, or exposure.
            PictureError: It cannot be written.
        """
        if picture_format not in FORMATS:
            raise SettingsError(f"Pictures are written as {', '.join(FORMATS)}; got {picture_format!r}.")
        frame = self._frame(token)
        name = f"{Path(frame.name).stem}.alen.{picture_format}"
        target = self._folder / f"{secrets.token_hex(8)}.{picture_format}"
        with self._writing, frame.lock:
            if self._is_closed:
                raise FrameNotFoundError(f"{frame.name}: the page is being closed.")
            whole = self._result(token).whole.opened()
            try:
                write_enhanced(target, whole, exposure_ev=_checked_ev(exposure_ev))
            except PictureError as error:
                raise PictureError(str(error).replace(str(target), name)) from error
        return target, name

    def _frame(self, token: str) -> _Frame:
        with self._lock:
            frame = self._frames.get(token)
        if frame is None:
            raise FrameNotFoundError("There is no such frame; it may have been removed to make room.")
        return frame

    def _result(self, token: str) -> _Result:
        frame = self._frame(token)
        if frame.state != "done" or frame.result is None:
            raise FrameNotFoundError(f"{frame.name}: is not done.")
        return frame.result

    def _work(self) -> None:
        """Enhance what waits, until everything ends."""
        while (frame := self._waiting.get()) is not None and not self._is_closed:
            with self._lock:
                if frame.is_removed or frame.state != "waiting":
                    continue
                frame.state, frame.began = "working", time.monotonic()
            result, error = None, ""
            try:
                result = self._enhanced(frame)
            except _NotWantedError:
                error = f"{frame.name}: was removed."
            except AlenError as problem:
                error = str(problem).replace(str(frame.source), frame.name).replace(frame.source.name, frame.name)
            except MemoryError:
                error = f"{frame.name}: the memory is too small for this frame. Close other programs."
            except OSError as problem:
                reason = problem.strerror or "the disk is full"  # NumPy does not pass it on
                error = f"{frame.name}: cannot be stored ({reason}). Remove frames, or make room on the disk."
            except Exception as problem:  # a mistake of ours must not end the others' work
                error = f"{frame.name}: failed by a mistake in the program ({type(problem).__name__}: {problem})."
            if result is None:
                _drop_values(frame)
            self._make_room()
            with self._lock:
                frame.result, frame.error, frame.state = result, error, "failed" if result is None else "done"
                is_removed = frame.is_removed
            if is_removed:
                self._erase(frame)

    def _enhanced(self, frame: _Frame) -> _Result:
        """Enhance a frame."""

        def show(share: float) -> None:
            frame.share = share
            if frame.is_removed or self._is_closed:
                raise _NotWantedError

        _drop_values(frame)  # of the time before
        raw = replace(read_raw(frame.source), name=frame.name)
        settings = frame.settings
        enhanced = self._enhancer.enhance(
            raw,
            ratio=settings.ratio,
            look=settings.look,
            beside_bytes_per_pixel=_PREVIEWS_BYTES,
            progress=show,
        )
        _, brightened = without_network(enhanced, 0.0)
        small = reduced_to(enhanced, _PREVIEW_PX)
        rows, columns, _ = small.linear.shape
        like_small = Image.fromarray(brightened).resize((columns, rows), Image.Resampling.BOX)
        before = _jpeg(np.asarray(like_small), raw.orientation)
        warnings = out_of_range(
            raw, enhanced.ratio, enhanced.raw.black_level, ratio_is_estimated=enhanced.ratio_is_estimated
        )
        whole, reduced = (_Stored.of(each, frame.folder) for each in (enhanced, small))
        return _Result(whole, reduced, before, (*raw.warnings, *warnings), time.monotonic() - frame.began)

    def _make_room(self) -> None:
        """Remove the oldest frames that are done, until there is room."""
        while _bytes_in(self._folder) > self._max_bytes:
            with self._lock:
                oldest = next((frame for frame in self._frames.values() if frame.state in ("done", "failed")), None)
            if oldest is None:
                return
            with contextlib.suppress(FrameNotFoundError):  # somebody else has
                self.remove(oldest.token)

    def _erase(self, frame: _Frame) -> None:
        with frame.lock:
            frame.result = None
            shutil.rmtree(frame.folder, ignore_errors=True)


def _drop_values(frame: _Frame) -> None:
    """Delete the linear values that were stored of a frame."""
    for path in frame.folder.glob("*.npy"):
        with contextlib.suppress(OSError):  # some systems keep what is still read
            path.unlink()


def _facts(frame: _Frame) -> dict[str, Any]:
    """Return what `FrameStore.facts` does."""
    facts: dict[str, Any] = {"id": frame.token, "name": frame.name, "state": frame.state, "error": frame.error}
    if frame.state == "working":
        passed = time.monotonic() - frame.began
        share = min(frame.share, 1.0)
        facts |= {"share": share, "seconds_left": passed * (1 - share) / share if share > 0.02 else None}
    if frame.state == "done" and (result := frame.result) is not None:
        whole = result.whole.without
        raw = whole.raw
        height, width = raw.mosaic.shape
        is_turned = raw.orientation >= 5
        facts |= {
            "width": height if is_turned else width,
            "height": width if is_turned else height,
            "ratio": whole.ratio,
            "ratio_is_estimated": whole.ratio_is_estimated,
            "camera": raw.camera,
            "iso": raw.iso,
            "exposure_time_s": raw.exposure_time_s,
            "warnings": list(result.warnings),
            "seconds": result.seconds,
        }
    return facts


def _bytes_in(folder: Path) -> int:
    """Return what the files in a folder and its folders take; what vanishes meanwhile takes nothing."""
    total = 0
    for where, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += Path(where, name).stat().st_size
    return total


def _shown(name: str) -> str:
    """Return a name to show: the last part of a path, without what cannot be printed, not too long."""
    last = name.replace("\\", "/").rsplit("/", 1)[-1]
    printable = "".join(character for character in last if character.isprintable()).strip()
    return printable[-_MAX_NAME:] or "frame"


def _checked_ev(exposure_ev: float) -> float:
    if not abs(exposure_ev) <= MAX_EV:
        raise SettingsError(f"The exposure is a number of stops within ±{MAX_EV}; got {exposure_ev:g}.")
    return exposure_ev


def _jpeg(picture: NDArray[np.uint8], orientation: int) -> bytes:
    """Return a picture (H, W, 3) as upright JPEG."""
    file = io.BytesIO()
    upright = Image.fromarray(np.ascontiguousarray(orient(picture, orientation)))
    upright.save(file, format="JPEG", quality=_PREVIEW_QUALITY, icc_profile=srgb_profile())
    return file.getvalue()

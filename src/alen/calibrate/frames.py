"""The files of a calibration: of one camera and one ISO speed, by exposure, read one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from alen.errors import CalibrationError
from alen.raw import RawHeader, RawImage, read_header, read_raw

MAX_DARK_SHARE: Final = 0.05
"""Part of the range that the mean of a dark frame may reach; dark current does not."""


def checked_headers(darks: Sequence[Path], flats: Sequence[Path], iso: float | None) -> dict[Path, RawHeader]:
    """Return what the files say before they are decoded.

    Raises:
        CalibrationError: Frames are too few, given twice, or differ in camera, size or ISO speed.
    """
    for what, paths in (("dark", darks), ("flat", flats)):
        if len(paths) < 2:
            raise CalibrationError(f"At least two {what} frames are needed, better ten; got {len(paths)}.")
    seen: set[Path] = set()
    for path in (*darks, *flats):
        if path.resolve() in seen:
            raise CalibrationError(f"{path}: is given twice. Every frame counts once.")
        seen.add(path.resolve())
    headers = {path: read_header(path) for path in (*darks, *flats)}
    first = headers[darks[0]]
    if None not in (iso, first.iso) and iso != first.iso:
        raise CalibrationError(f"{darks[0]}: was taken at ISO {first.iso:g}, not {iso:g}. Leave --iso out.")
    if iso is None and first.iso is None:
        raise CalibrationError(f"{darks[0]}: the file does not tell its ISO speed. Tell it with --iso.")
    for path, header in headers.items():
        for what, ours, theirs in (
            ("camera", first.camera, header.camera),
            ("size", f"{first.width} × {first.height}", f"{header.width} × {header.height}"),
            ("ISO speed", _speed(first, iso), _speed(header, iso)),
        ):
            if ours != theirs:
                raise CalibrationError(
                    f"{path}: its {what} is {theirs}, but that of {darks[0].name} is {ours}. Calibrate each camera and "
                    "ISO speed by itself."
                )
    return headers


def by_exposure(flats: Sequence[tuple[Path, RawHeader]]) -> tuple[list[list[Path]], list[Path]]:
    """Return the flats of every exposure time and aperture, and those that are alone in theirs.

    Raises:
        CalibrationError: All are alone.
    """
    groups: dict[tuple[float | None, float | None], list[Path]] = {}
    for path, header in flats:
        groups.setdefault((header.exposure_time_s, header.aperture), []).append(path)
    several = [group for group in groups.values() if len(group) > 1]
    if not several:
        raise CalibrationError(
            "At least two flats of the same exposure time and aperture are needed, better four or more; all of them "
            "differ. Take each exposure several times."
        )
    return several, [group[0] for group in groups.values() if len(group) == 1]


def _speed(header: RawHeader, iso: float | None) -> str:
    """Return the ISO speed of a file for comparison; the one that was told stands for those that are not known."""
    speed = iso if header.iso is None else header.iso
    return "unknown" if speed is None else f"{speed:g}"


class FrameReader:
    """Reads frames one after the other and sees that they are of one kind."""

    def __init__(self, progress: Callable[[], None] | None) -> None:
        self._progress = progress
        self._first: RawImage | None = None
        self._opened: tuple[Path, RawImage] | None = None

    def open(self, path: Path) -> RawImage:
        """Read the frame that is to be the first of the next `read`, which then has it already."""
        raw = read_raw(path)
        self._opened = (path, raw)
        return raw

    def read(self, paths: Sequence[Path]) -> Iterator[RawImage]:
        """Yield frames.

        Raises:
            CalibrationError: A frame's filter array or white level is not that of the first.
        """
        for path in paths:
            raw = self._opened[1] if self._opened is not None and self._opened[0] == path else read_raw(path)
            self._opened = None
            if self._first is None:
                self._first = raw
            for what, ours, theirs in (
                ("filter array", self._first.cfa.name, raw.cfa.name),
                ("white level", f"{self._first.white_level:g}", f"{raw.white_level:g}"),
                ("size", str(self._first.mosaic.shape), str(raw.mosaic.shape)),
            ):
                if ours != theirs:
                    raise CalibrationError(
                        f"{path}: its {what} is {theirs}, but that of {self._first.name} is {ours}. All frames are to "
                        "be taken with the same settings."
                    )
            yield raw
            if self._progress is not None:
                self._progress()


def check_dark(raw: RawImage) -> None:
    """Raise CalibrationError if a dark frame is not dark, or cut off at 0."""
    black = float(np.mean(raw.black_level))
    mean = float(raw.mosaic.mean(dtype=np.float64)) - black
    if mean > MAX_DARK_SHARE * (raw.white_level - black):
        raise CalibrationError(
            f"{raw.name}: this is no dark frame: its mean lies {mean:.3g} DN above black. Take darks with the lens cap "
            "on and the viewfinder covered."
        )
    zeros = 1 - np.count_nonzero(raw.mosaic) / raw.mosaic.size
    if zeros > 0.01:
        raise CalibrationError(
            f"{raw.name}: {zeros:.0%} of its pixels are 0: the camera cuts off what lies below black, and half of the "
            "noise with it, so it cannot be measured from darks."
        )

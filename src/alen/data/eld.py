"""Extreme Low-light Denoising (ELD): ten indoor scenes before four cameras, at ×100 and ×200.

"A Physics-based Noise Formation Model for Extreme Low-light Raw Denoising", Wei et al., CVPR 2020,
https://arxiv.org/abs/2003.12751. A folder of the set looks so:

    SonyA7S2/scene-1/IMG_0001.ARW … IMG_0016.ARW    NikonD850/scene-10/IMG_0016.nef …

Each scene is a reference at base ISO, then for ISO 800, 1600 and 3200 the factors 1, 10, 100 and 200 and another
reference: images 1, 6, 11 and 16 are references, 4, 9, 14 are ×100 and 5, 10, 15 are ×200. The authors' evaluation
pairs each with the nearest reference (4 with 6, 5 with 6, 9 with 11, …) and amplifies by ISO × time of the reference
over ISO × time of the short exposure. Layout and order are checked against the authors' published evaluation and, for
the Sony, against the exposures of all ten scenes; for the other cameras the order is taken to be the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from alen.data.exposures import RawPair
from alen.errors import DataError, RawError, SettingsError
from alen.raw import RawHeader, read_header

CAMERAS: Final[Mapping[str, str]] = {
    "SonyA7S2": ".ARW",
    "NikonD850": ".nef",
    "CanonEOS70D": ".CR2",
    "CanonEOS700D": ".CR2",
}
"""Folders of the cameras, and the suffix of their RAW files."""

SCENES: Final = 10
"""Scenes of each camera."""

RATIOS: Final = (100, 200)
"""Factors that are judged; each has three pairs a scene, at ISO 800, 1600 and 3200."""

_REFERENCES: Final = (1, 6, 11, 16)
_SHORTS: Final[Mapping[int, tuple[int, ...]]] = {100: (4, 9, 14), 200: (5, 10, 15)}
"""Numbers of the images in a scene."""

_TOLERANCE: Final = 1.25
"""Factor by which ISO × time may differ from the nominal ratio: cameras round times to thirds of a stop."""


@dataclass(frozen=True)
class EldReport:
    """What there is of one camera."""

    camera: str
    """Which."""
    folder: Path
    """Where it was looked for."""
    files: int
    """RAW files that pairs need."""
    missing: tuple[Path, ...]
    """Those of them that are not there."""

    @property
    def is_complete(self) -> bool:
        """True if every file is there."""
        return not self.missing

    def __str__(self) -> str:
        state = "complete" if self.is_complete else f"incomplete, {len(self.missing):,} missing"
        there = self.files - len(self.missing)
        return f"ELD, {self.camera}, in {self.folder}\n  {there} of {self.files} files of {SCENES} scenes; {state}"


def eld_pairs(folder: Path, camera: str, ratio: int, *, left_out: list[str] | None = None) -> list[RawPair]:
    """Return the 30 pairs of a camera at a ratio, by scene and ISO speed.

    Exposure times are read from the files, since neither names nor lists tell them. The ratio of a pair is that of
    ISO × time, as in the authors' evaluation.

    Args:
        folder: The folder that holds SonyA7S2/ and the others.
        camera: One of `CAMERAS`.
        ratio: 100 or 200.
        left_out: Gets the messages of pairs whose files are missing or cannot be used, and the others are returned;
            None raises instead.

    Raises:
        SettingsError: The camera or the ratio is not one of the set's.
        DataError: Files are missing, or their exposures are not those of the published order.
        RawError: A file cannot be used.
    """
    numbered = _numbered(folder, camera, (ratio,))
    missing = _missing(numbered)
    if missing and left_out is None:
        raise DataError(f"{folder}: {len(missing):,} files of {camera} are missing, the first is {missing[0]}.")
    headers: dict[Path, RawHeader] = {}
    pairs = []
    for scene, short, reference in numbered:
        try:
            for path in (short, reference):
                if path not in headers:
                    headers[path] = read_header(path)
        except RawError as error:
            if left_out is None:
                raise
            left_out.append(str(error))
            continue
        pairs.append(_pair(scene, camera, ratio, short, reference, headers))
    return pairs


def check(folder: Path, camera: str, ratios: tuple[int, ...] = RATIOS) -> EldReport:
    """Look for the files of a camera that pairs at some ratios need.

    Returns:
        The report; ``str`` of it is readable.

    Raises:
        SettingsError: The camera or a ratio is not one of the set's.
        DataError: There is no such folder.
    """
    numbered = _numbered(folder, camera, ratios)
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder. Name the folder that holds {camera}/.")
    files = {path for _, short, reference in numbered for path in (short, reference)}
    return EldReport(camera, folder, len(files), tuple(_missing(numbered)))


def _numbered(folder: Path, camera: str, ratios: tuple[int, ...]) -> list[tuple[str, Path, Path]]:
    """Return scene, short exposure and nearest reference of all pairs."""
    if camera not in CAMERAS:
        raise SettingsError(f"The cameras of ELD are {', '.join(CAMERAS)}; got {camera!r}.")
    pairs = []
    for ratio in ratios:
        if ratio not in RATIOS:
            raise SettingsError(f"The ratios of ELD are 100 and 200; got {ratio!r}.")
        for scene in (f"scene-{number}" for number in range(1, SCENES + 1)):
            for number in _SHORTS[ratio]:
                nearest = min(_REFERENCES, key=lambda other, number=number: abs(other - number))  # type: ignore[misc]
                short, reference = (
                    folder / camera / scene / f"IMG_{index:04}{CAMERAS[camera]}" for index in (number, nearest)
                )
                pairs.append((scene, short, reference))
    return pairs


def _missing(numbered: list[tuple[str, Path, Path]]) -> list[Path]:
    files = dict.fromkeys(path for _, short, reference in numbered for path in (short, reference))
    return [path for path in files if not path.is_file()]


def _pair(
    scene: str, camera: str, ratio: int, short: Path, reference: Path, headers: Mapping[Path, RawHeader]
) -> RawPair:
    short_light, short_s = _exposure(short, headers[short])
    reference_light, reference_s = _exposure(reference, headers[reference])
    exact = reference_light / short_light
    if not ratio / _TOLERANCE < exact < ratio * _TOLERANCE:
        raise DataError(
            f"{short}: by ISO × time this is exposed {exact:.3g} times less than {reference.name}; expected {ratio}. "
            "The files are not in the published order."
        )
    return RawPair(
        name=f"{camera}-{scene}-{short.stem}",
        scene=f"{camera}-{scene}",
        camera=camera,
        short=short,
        reference=reference,
        short_s=short_s,
        reference_s=reference_s,
        ratio=exact,
    )


def _exposure(path: Path, header: RawHeader) -> tuple[float, float]:
    """Return ISO × time, and the time in seconds."""
    if header.iso is None or header.exposure_time_s is None:
        raise DataError(f"{path}: the file does not tell its ISO speed and exposure time, which ELD's ratio needs.")
    return header.iso * header.exposure_time_s, header.exposure_time_s

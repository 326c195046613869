"""A short exposure and its reference: what every set of real pairs is a list of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from alen.errors import DataError


@dataclass(frozen=True, kw_only=True)
class RawPair:
    """Two RAW files of one scene, taken from the same place with the same camera.

    Raises:
        DataError: The exposures are no positive times.
    """

    name: str
    """Unique within its set: the stem of the short exposure's file, with the reference's where one has several."""
    scene: str
    """The scene; all pairs of a scene belong to the same split."""
    camera: str
    """Camera, as the set names it."""
    short: Path
    """RAW file of the short exposure."""
    reference: Path
    """RAW file of the long exposure."""
    short_s: float
    """Exposure time of the short exposure in seconds."""
    reference_s: float
    """Exposure time of the reference in seconds."""
    ratio: float
    """By how much the short exposure is amplified, as the set's protocol defines it (SID caps it at 300)."""

    def __post_init__(self) -> None:
        """Raise DataError unless all three numbers are positive."""
        if not (self.short_s > 0 and self.reference_s > 0 and self.ratio > 0):
            numbers = f"{self.short_s}, {self.reference_s}, {self.ratio}"
            raise DataError(f"{self.name}: exposure times and ratio are positive; got {numbers}.")

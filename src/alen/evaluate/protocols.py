"""Named protocols: which pairs are scored, and exactly how.

Papers on this task print figures of at least four protocols under one name, and the same weights differ by 0.4 dB
between them. So a protocol has a name, a fixed number of images and one way to compare, and a list with another number
of images is refused, or marked as a deviation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final, Literal

from alen.cfa import FilterArray
from alen.data.exposures import RawPair
from alen.data.sid import MISALIGNED_SCENES, missing_files, sid_pairs
from alen.errors import DataError, SettingsError

Domain = Literal["picture", "mosaic"]
"""What is compared: finished sRGB pictures, or raw mosaics."""

ELD_CAMERAS: Final = ("SonyA7S2", "NikonD850", "CanonEOS70D", "CanonEOS700D")
"""Cameras that ELD's authors score, by the names of their folders."""

ELD_IMAGES: Final = 30
"""Pairs of one ELD camera at one ratio: 10 scenes at ISO 800, 1600 and 3200."""

CROP_PX: Final = 1024
"""Side of the central squares of the crop protocols in pixels of the mosaic: 512 packed pixels."""


@dataclass(frozen=True, kw_only=True)
class SidProtocol:
    """See-in-the-Dark, RAW to sRGB: https://arxiv.org/abs/1805.01934.

    Input: the short exposure, (DN − black)/(white − black), × ratio; networks with the target "srgb" get it without
    white balance and clipped to [0, 1], as the paper feeds them, the others as they were trained. Ratio: reference time
    / short time by the file names, at most 300; in a second run it is estimated from the short exposure alone.

    Prediction: of a network with the target "srgb" its output, clipped to [0, 1]. Of one with the target "camera" its
    linear camera RGB, rendered as LibRaw renders the reference (clip, camera matrix, sRGB primaries, BT.709 curve), so
    that the two can be compared at all; the white balance is the short exposure's own.

    Truth: LibRaw's rendering of the long exposure in 16 bits, camera white balance, BT.709 curve, no automatic
    brightness, divided by 65535.

    Both are quantized alike before they are compared: by default × 255 and cut off to 8 bits, as the code of the ALEN
    paper writes the PNGs it is scored on; See-in-the-Dark's own code rounds instead. Whole frames. PSNR with a data
    range of 1 over all pixels and channels of one image, then the mean over images; SSIM with the Gaussian window
    (σ 1.5) per channel.
    """

    name: str
    """What the command line calls it."""
    subset: Literal["sony", "fuji"]
    """The camera: Sony α7S II (Bayer) or Fujifilm X-T2 (X-Trans)."""
    split: Literal["val", "test"]
    """Part of the data set. Choose models on "val"; "test" is for reporting alone."""
    images: int
    """Pairs it has; another number is a deviation."""
    is_first_only: bool = False
    """Only the first short exposure of each burst: file names with ``_00_``."""
    left_out: tuple[str, ...] = ()
    """Scenes that are removed."""
    known_ratio: ClassVar = "from the exposure times in the files' names, at most 300"
    """Where the known ratio comes from, in words."""

    @property
    def domain(self) -> Domain:
        """Finished pictures are compared."""
        return "picture"

    @property
    def cfa(self) -> FilterArray:
        """Filter array of the camera."""
        return "bayer" if self.subset == "sony" else "xtrans"

    @property
    def crop_px(self) -> int | None:
        """None: whole frames are compared."""
        return None

    @property
    def selection(self) -> str:
        """Which images, in a sentence."""
        part = "all short exposures" if not self.is_first_only else "the first short exposure of each burst (_00_)"
        without = f", without the scenes {', '.join(self.left_out)}" if self.left_out else ""
        camera = {"sony": "Sony α7S II", "fuji": "Fujifilm X-T2"}[self.subset]
        return f"See-in-the-Dark, {camera}, split “{self.split}”: {part}{without}"

    def pairs(self, data: Path) -> list[RawPair]:
        """Return the pairs that the lists in the folder ``data`` name for this protocol; the files need not be there.

        Raises:
            DataError: There is no list, or it is damaged.
        """
        pairs = sid_pairs(data, self.subset, self.split)
        return [
            pair
            for pair in pairs
            if pair.scene not in self.left_out and (not self.is_first_only or pair.short.stem.split("_")[1] == "00")
        ]


@dataclass(frozen=True, kw_only=True)
class EldProtocol:
    """ELD, RAW to RAW: "A Physics-based Noise Formation Model for Extreme Low-light Raw Denoising", CVPR 2020.

    Input: the short exposure, normalized, × ratio: ISO speed × time of the long exposure over those of the short one,
    which is near 100 or 200; in a second run it is estimated. Prediction: the linear camera RGB of a network with the
    target "camera", of each pixel the color its filter has, white balance undone: a denoised mosaic. It is clipped to
    [0, 1] and its brightness aligned by one factor, α = ⟨p, g⟩/⟨p, p⟩ over the pixels where the truth is below 1
    (https://github.com/Vandermode/ELD does the same), then clipped again. Truth: the long exposure at low ISO,
    normalized and clipped to [0, 1].

    PSNR and SSIM over the four packed planes R, Gr, Gb, B, data range 1, float, not quantized; mean over images. SSIM
    has the Gaussian window (σ 1.5); ELD's code uses a uniform one of 7 × 7, which differs in the third decimal.
    Networks with the target "srgb" make no mosaic and cannot be scored.
    """

    name: str
    """What the command line calls it."""
    camera: str
    """Folder of the camera."""
    ratio: Literal[100, 200]
    """Ratio of the exposures."""
    crop_px: int | None = None
    """Side of the central square that is scored, in pixels of the mosaic, of which the network sees the whole frame;
    None scores whole frames, as ELD's authors do on ELD."""
    images: int = ELD_IMAGES
    """Pairs it has; another number is a deviation."""
    split: Literal["test"] = "test"
    """ELD is for testing alone."""
    known_ratio: ClassVar = "from ISO speed × exposure time of both files"
    """Where the known ratio comes from, in words."""

    @property
    def domain(self) -> Domain:
        """Mosaics are compared."""
        return "mosaic"

    @property
    def cfa(self) -> FilterArray:
        """Filter array of all its cameras."""
        return "bayer"

    @property
    def selection(self) -> str:
        """Which images, in a sentence."""
        part = "whole frames" if self.crop_px is None else f"central {self.crop_px // 2}² packed pixels"
        return f"ELD, {self.camera}, ×{self.ratio}, 10 scenes at ISO 800, 1600 and 3200, {part}"

    def pairs(self, data: Path, *, left_out: list[str] | None = None) -> list[RawPair]:
        """Return the pairs in the folder ``data``; their exposure times stand in the files, so these have to be there.

        Args:
            data: Folder of the data set.
            left_out: Gets the messages of pairs whose files are missing or cannot be used, and the others are returned;
                None raises instead.

        Raises:
            DataError: Files are missing, named one by one, or the folder has another layout.
            RawError: A file cannot be used.
        """
        from alen.data.eld import check, eld_pairs

        report = check(data, self.camera, (self.ratio,))
        if report.missing and (left_out is None or len(report.missing) == report.files):
            lines = "\n".join(f"  {path}" for path in report.missing)
            raise DataError(
                f"{self.name}: {len(report.missing)} of the {report.files} files of {self.camera} at ×{self.ratio} are "
                f"missing in {data}:\n{lines}\nUnpack the data set there, or score the pairs that are there with "
                "--partial."
            )
        return eld_pairs(data, self.camera, self.ratio, left_out=left_out)


@dataclass(frozen=True, kw_only=True)
class OwnProtocol:
    """Pairs of your own, RAW to sRGB, compared as `SidProtocol` does; figures compare with nobody else's."""

    name: str = "pairs"
    """What the command line calls it."""
    split: Literal["own"] = "own"
    """Whether these images may decide on anything is up to who took them."""
    images: None = None
    """Any number."""
    cfa: None = None
    """Any filter array."""
    known_ratio: ClassVar = "as the list gives it, else from the exposure times of both files"
    """Where the known ratio comes from, in words."""

    @property
    def domain(self) -> Domain:
        """Finished pictures are compared."""
        return "picture"

    @property
    def crop_px(self) -> int | None:
        """None: whole frames are compared."""
        return None

    @property
    def selection(self) -> str:
        """Which images, in a sentence."""
        return "own pairs, all of the list"

    def pairs(self, data: Path, *, left_out: list[str] | None = None) -> list[RawPair]:
        """Return the pairs of the CSV file ``data``.

        Args:
            data: The file.
            left_out: Gets the messages of pairs whose files are missing or cannot be used, and the others are returned;
                None raises instead.

        Raises:
            DataError: The file is missing or has other columns.
            RawError: A RAW file is missing or cannot be used.
        """
        from alen.data.own import own_pairs

        return own_pairs(data, left_out=left_out)


Protocol = SidProtocol | EldProtocol | OwnProtocol
"""Any of them."""

SID_PROTOCOLS: Final = (
    SidProtocol(name="sid-sony-598", subset="sony", split="test", images=598),
    SidProtocol(name="sid-sony-562", subset="sony", split="test", images=562, left_out=MISALIGNED_SCENES),
    SidProtocol(name="sid-sony-93", subset="sony", split="test", images=93, is_first_only=True),
    SidProtocol(
        name="sid-sony-88", subset="sony", split="test", images=88, is_first_only=True, left_out=MISALIGNED_SCENES
    ),
    SidProtocol(name="sid-sony-val", subset="sony", split="val", images=234),
    SidProtocol(name="sid-fuji-524", subset="fuji", split="test", images=524),
    SidProtocol(name="sid-fuji-94", subset="fuji", split="test", images=94, is_first_only=True),
    SidProtocol(name="sid-fuji-val", subset="fuji", split="val", images=218),
)
"""See-in-the-Dark; "sid-sony-88" is the ALEN paper's, the two "val" are those to choose models by."""

_ELD_RATIOS: Final[tuple[Literal[100, 200], ...]] = (100, 200)

ELD_PROTOCOLS: Final = tuple(
    EldProtocol(name=f"eld-{camera}-x{ratio}{suffix}", camera=camera, ratio=ratio, crop_px=crop)
    for camera in ELD_CAMERAS
    for ratio in _ELD_RATIOS
    for suffix, crop in (("", None), ("-crop512", CROP_PX))
)
"""ELD, by camera and ratio: whole frames, and central 512² packed pixels ("-crop512")."""

_ALL: Final[tuple[Protocol, ...]] = (*SID_PROTOCOLS, *ELD_PROTOCOLS, OwnProtocol())

PROTOCOLS: Final = {protocol.name: protocol for protocol in _ALL}
"""All protocols by name."""


def find_protocol(name: str) -> Protocol:
    """Return a protocol by its name, capitals or not.

    Raises:
        SettingsError: There is none of that name.
    """
    by_lower = {known.lower(): protocol for known, protocol in PROTOCOLS.items()}
    if name.lower() not in by_lower:
        raise SettingsError(f"{name}: no such protocol. There are: {', '.join(PROTOCOLS)}.")
    return by_lower[name.lower()]


@dataclass(frozen=True)
class Selection:
    """The pairs a run scores."""

    pairs: tuple[RawPair, ...]
    """In the order of their list."""
    deviation: str
    """Empty if they are the protocol's; else what they are instead, such as "4 of 88 images"."""
    left_out: tuple[str, ...] = ()
    """Why others cannot be scored, where that is known before."""


def select(protocol: Protocol, data: Path, *, is_partial: bool = False) -> Selection:
    """Return the pairs of a protocol whose files are there.

    Args:
        protocol: Which.
        data: Folder of the data set; of `OwnProtocol` the CSV file.
        is_partial: Take what there is and say so, instead of refusing a list with another number of pairs, or pairs
            without files or with damaged ones.

    Raises:
        DataError: Files are missing, named one by one; or the list has not the protocol's number of pairs; or nothing
            is left.
        RawError: A RAW file that tells its own exposure is missing or cannot be used.
    """
    left_out: list[str] = []
    if isinstance(protocol, SidProtocol):
        pairs = protocol.pairs(data)
    else:
        pairs = protocol.pairs(data, left_out=left_out if is_partial else None)
    missing = missing_files(pairs)
    if missing and not is_partial:
        raise DataError(_missing_message(protocol, data, pairs, missing))
    if protocol.images is not None and len(pairs) != protocol.images and not is_partial:
        raise DataError(
            f"{protocol.name} has {protocol.images} images, but the list in {data} names {len(pairs)}. Copy the list "
            "again, or score what there is with --partial; the records then say so."
        )
    gone = set(missing)
    present = tuple(pair for pair in pairs if pair.short not in gone and pair.reference not in gone)
    if not present and left_out:
        lines = "\n".join(f"  {message}" for message in left_out)
        raise DataError(f"{protocol.name}: no pair in {data} can be scored:\n{lines}")
    if not present:
        raise DataError(_missing_message(protocol, data, pairs, missing))
    expected = protocol.images if protocol.images is not None else len(pairs) + len(left_out)
    deviation = f"{len(present)} of {expected} images" if len(present) != expected else ""
    return Selection(present, deviation, tuple(left_out))


def _missing_message(protocol: Protocol, data: Path, pairs: Sequence[RawPair], missing: Sequence[Path]) -> str:
    """Return which files are missing, all of them."""
    files = len({path for pair in pairs for path in (pair.short, pair.reference)})
    lines = "\n".join(f"  {path}" for path in missing)
    return (
        f"{protocol.name}: {len(missing)} of the {files} files of its {len(pairs)} pairs are missing in {data}:\n"
        f"{lines}\nUnpack the data set there, or score the pairs that are there with --partial."
    )

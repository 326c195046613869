"""What lies outside of what the weights were trained for is told, in a sentence each; what lies inside is not."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest

from alen.black_level import proven_black_level
from alen.cfa import CFA
from alen.raw import RawImage
from alen.trained_range import out_of_range

_BLACK = (512.0, 513.0, 511.0, 512.0)


def _raw(light_dn: float = 40.0, **changes: object) -> RawImage:
    rng = np.random.default_rng(3)
    mosaic = np.rint(rng.normal(512 + light_dn, 12, (390, 520))).astype(np.uint16)
    raw = RawImage(
        mosaic=mosaic,
        cfa=CFA.bayer("GRBG"),
        black_level=_BLACK,
        white_level=16383.0,
        white_balance=(2.0, 1.0, 1.5),
        cam2rgb=((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)),
        orientation=1,
        iso=1600.0,
        exposure_time_s=0.1,
        aperture=2.8,
        camera="Test",
        exif=None,
        noise_profile=None,
        warnings=(),
        name="test.dng",
    )
    return dataclasses.replace(raw, **changes)  # type: ignore[arg-type]


def _told(raw: RawImage, ratio: float = 100.0, *, estimated: bool = True) -> str:
    black = proven_black_level(raw.mosaic, raw.cfa, raw.black_level)
    found = out_of_range(raw, ratio, black, ratio_is_estimated=estimated)
    assert all(sentence.endswith(".") and "\n" not in sentence for sentence in found)
    return " ".join(found)


def test_a_dark_frame_within_the_ranges_is_nothing_to_talk_about() -> None:
    assert _told(_raw()) == ""
    assert _told(_raw(iso=None)) == ""
    assert _told(_raw(light_dn=1.0)) == ""


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"iso": 102400.0}, "ISO 102400 is outside the 100 to 25600"),
        ({"iso": 50.0}, "ISO 50 is outside"),
        ({"white_level": 1023.0, "mosaic": np.full((390, 520), 520, np.uint16)}, "only 510 levels"),
        (
            {"white_level": 550.0 + 1000, "mosaic": np.full((390, 520), 1550, np.uint16)},
            "100% of the pixels are clipped",
        ),
    ],
)
def test_what_lies_outside_is_told(changes: dict[str, object], words: str) -> None:
    assert words in _told(_raw(**changes))


def test_frames_that_are_too_dark_are_told_if_the_ratio_was_estimated() -> None:
    assert "more than 300 times too dark" in _told(_raw(), 300.0)
    assert _told(_raw(), 300.0, estimated=False) == ""


@pytest.mark.parametrize("cfa", [CFA.bayer("GBRG"), CFA.xtrans()], ids=lambda cfa: cfa.kind)
@pytest.mark.parametrize("size", [(60, 91), (101, 127), (127, 700)])
def test_small_frames_below_black_are_told(cfa: CFA, size: tuple[int, int]) -> None:
    """They prove no lower level, and came out white without a word."""
    noise = np.random.default_rng(0).normal(0, 12, size)
    for above, below in ((-100, "100"), (-3000, "3000")):
        frame = np.rint(4000 + above + noise).astype(np.uint16)
        told = _told(_raw(mosaic=frame, cfa=cfa, black_level=(4000.0,) * 4))
        found = re.search(r"as a whole lies (\d+) DN below its black level", told)
        assert found is not None
        assert int(found[1]) == pytest.approx(int(below), abs=4)
    for above in (-1, 0, 1, 30):
        frame = np.rint(4000 + above + noise).astype(np.uint16)
        assert _told(_raw(mosaic=frame, cfa=cfa, black_level=(4000.0,) * 4)) == ""


def test_dark_areas_below_black_are_told() -> None:
    told = _told(_raw(light_dn=-30.0))
    assert re.search(r"up to 31\.\d DN below the black level of the file", told)
    assert "black is taken as 482.0, " in told
    assert "color cast" not in told

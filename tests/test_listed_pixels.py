"""Pixels that a DNG lists as defective: read at every place of every pattern, and replaced by what lies around them."""

from __future__ import annotations

import dataclasses
import io
import struct
import time
import tracemalloc

import numpy as np
import pytest
from numpy.typing import NDArray

from alen.cfa import BAYER_PHASES, CFA
from alen.dark_frames import DarkFrame, subtract_dark
from alen.defective_pixels import defective_pixels_at
from alen.dng import write_cfa_dng
from alen.enhance import Enhancer
from alen.listed_pixels import read_listed_pixels
from alen.raw import RawImage, read_raw
from frames import expose

_PATTERNS = [CFA.bayer(phase) for phase in BAYER_PHASES] + [CFA.xtrans(), CFA.xtrans().shifted(2, 5)]
_DEAD = 7
"""A value that no sound pixel of these tests has."""

every_pattern = pytest.mark.parametrize("cfa", _PATTERNS, ids=lambda cfa: cfa.name[:6])


def _opcode(number: int, parameters: bytes) -> bytes:
    return struct.pack(">4I", number, 0x01030000, 1, len(parameters)) + parameters


def _opcodes(*each: bytes) -> bytes:
    return struct.pack(">I", len(each)) + b"".join(each)


def _constant(value: int) -> bytes:
    return _opcode(4, struct.pack(">2I", value, 0))


def _list(points: list[tuple[int, int]], *rectangles: tuple[int, int, int, int]) -> bytes:
    """Return a FixBadPixelsList of (row, column) and (top, left, bottom, right)."""
    counts = struct.pack(">3I", 1, len(points), len(rectangles))
    numbers = [number for place in (*points, *rectangles) for number in place]
    return _opcode(5, counts + struct.pack(f">{len(numbers)}i", *numbers))


def _dng(
    mosaic: NDArray[np.uint16], cfa: CFA, opcodes: bytes, active: tuple[int, int, int, int] | None = None
) -> bytes:
    """Return a DNG in which OpcodeList1 and ActiveArea have taken the places of other tags."""
    file = io.BytesIO()
    write_cfa_dng(
        file,
        mosaic,
        cfa=cfa,
        black_level=(512.0,) * 4,
        white_level=16_383,
        white_balance=(2.0, 1.0, 1.6),
        xyz2cam=((0.8, -0.2, -0.1), (-0.5, 1.3, 0.2), (-0.1, 0.2, 0.6)),
        iso=100,
        exposure_time_s=0.1,
        compress=False,
    )
    dng = bytearray(file.getvalue())
    (count,) = struct.unpack_from("<H", dng, 8)
    at = {struct.unpack_from("<H", dng, p)[0]: p for p in range(10, 10 + 12 * count, 12)}
    struct.pack_into("<HHII", dng, at[50732], 51008, 7, len(opcodes), len(dng))
    dng += opcodes
    if active is not None:
        struct.pack_into("<HHII", dng, at[50731], 50829, 4, 4, len(dng))
        dng += struct.pack("<4I", *active)
    return bytes(dng)


def _mosaic(height: int, width: int) -> NDArray[np.uint16]:
    return np.random.default_rng(0).integers(1000, 2000, (height, width), dtype=np.uint16)


@every_pattern
@pytest.mark.parametrize(("top", "left"), [(0, 0), (1, 0), (0, 1), (3, 5), (6, 4)])
@pytest.mark.parametrize("kind", ["list", "constant"])
def test_places_are_those_of_the_stored_picture(cfa: CFA, top: int, left: int, kind: str) -> None:
    """Whatever is cut off around the active area, at odd places, too."""
    mosaic = _mosaic(113, 131)
    points = [(0, 0), (top, left), (7, 11), (8, 12), (top + 40, left + 41), (top + 100, 130), (112, 130)]
    rectangle = (top + 20, left + 30, top + 23, left + 35)
    for row, column in points:
        mosaic[row, column] = _DEAD
    mosaic[rectangle[0] : rectangle[2], rectangle[1] : rectangle[3]] = _DEAD
    opcodes = _opcodes(_list(points, rectangle) if kind == "list" else _constant(_DEAD))
    raw = read_raw(_dng(mosaic, cfa, opcodes, (top, left, top + 101, left + 119)))
    assert raw.warnings == ()
    assert raw.listed_defects is not None
    np.testing.assert_array_equal(raw.listed_defects, np.flatnonzero(raw.mosaic == _DEAD))
    assert len(raw.listed_defects) > 15


def _in_color(cfa: CFA, height: int, width: int) -> NDArray[np.uint16]:
    return np.array([3000, 6000, 9000], np.uint16)[cfa.color_map(height, width)]


@every_pattern
@pytest.mark.parametrize(
    "where",
    [np.s_[20, 30], np.s_[0, 0], np.s_[60, 90], np.s_[31, :], np.s_[:, 44], np.s_[0, :], np.s_[10:22, 50:69]],
    ids=["point", "first", "last", "row", "column", "top row", "rectangle"],
)
def test_what_takes_their_place_is_of_the_same_color(cfa: CFA, where: tuple[int | slice, int | slice]) -> None:
    """Also inside of clusters, none of whose pixels counts."""
    sound = _in_color(cfa, 61, 91)
    mosaic = sound.copy()
    mosaic[where] = 65_535
    defects = defective_pixels_at(mosaic, cfa, np.flatnonzero(mosaic == 65_535))
    np.testing.assert_array_equal(defects.replaced(mosaic), sound)


def test_what_has_no_sound_pixel_near_stays() -> None:
    mosaic = np.full((100, 100), 500, np.uint16)
    mosaic[20:80, 20:80] = 9000
    repaired = defective_pixels_at(mosaic, CFA.bayer("RGGB"), np.flatnonzero(mosaic == 9000)).replaced(mosaic)
    assert (repaired[20:36] == 500).all()
    assert repaired[50, 50] == 9000
    for cfa in _PATTERNS:
        alone = np.zeros((1, 1), np.uint16)
        assert len(defective_pixels_at(alone, cfa, np.array([0]))) == 0


_MANY = struct.pack(">3I", 0, 0xFFFFFFFF, 0xFFFFFFFF)


@pytest.mark.parametrize(
    "damaged",
    [
        _opcode(5, b""),
        _opcode(5, struct.pack(">3I", 0, 3, 0) + bytes(16)),
        _opcode(5, _MANY),
        _list([], (0, 0, 60, 80)),
        _list([], *[(0, 0, 5, 4)] * 1000),
        _list([], (-(2**31), -(2**31), 2**31 - 1, 2**31 - 1)),
        _opcode(4, b"\0\0"),
        _constant(1500),
    ],
    ids=["empty", "cut off", "endless", "all", "again and again", "enormous", "no value", "everywhere"],
)
def test_a_damaged_opcode_costs_no_other(damaged: bytes) -> None:
    mosaic = np.full((60, 80), 1500, np.uint16)
    mosaic[30, 40] = _DEAD
    opcodes = _opcodes(_list([(10, 20)]), damaged, _constant(_DEAD), _opcode(12, bytes(40)))
    places, others = read_listed_pixels(opcodes, mosaic, 0, 0)
    assert places.tolist() == [10 * 80 + 20, 30 * 80 + 40]
    assert others == (f"a damaged opcode {damaged[3]}", "opcode 12")


def test_of_a_list_that_is_cut_off_the_beginning_is_taken() -> None:
    mosaic = _mosaic(60, 80)
    whole = _opcodes(_list([(10, 20)]), _list([(11, 21)]))
    assert read_listed_pixels(whole[:-30], mosaic, 0, 0)[0].tolist() == [820]
    for data in (b"", b"\0\0", _opcodes(*[_list([(1, 1)])] * 65), np.random.default_rng(0).bytes(300)):
        places, others = read_listed_pixels(data, mosaic, 0, 0)
        assert len(places) == 0
        assert others == ("a damaged list",)
    assert read_listed_pixels(_opcodes(), mosaic, 0, 0)[1] == ()


def test_lists_are_bounded_together() -> None:
    """A two-hundredth of the frame: of 2,400 pixels twelve."""
    lists = [_list([(row, column) for column in range(5)]) for row in (3, 9, 20, 30)]
    places, others = read_listed_pixels(_opcodes(*lists), _mosaic(40, 60), 0, 0, is_as_stored=True)
    assert places.tolist() == [60 * row + column for row in (3, 9) for column in range(5)]
    assert others == ("a damaged opcode 5",)


def test_rectangles_may_reach_beyond_the_frame_or_be_empty() -> None:
    opcodes = _opcodes(_list([(-1, 5), (60, 5), (5, -1), (5, 80)], (-5, 3, 2, 4), (9, 9, 9, 20), (30, 20, 20, 30)))
    places, others = read_listed_pixels(opcodes, _mosaic(60, 80), 0, 0)
    assert (places.tolist(), others) == ([3, 83], ())


def test_a_value_marks_nothing_where_values_were_changed_since() -> None:
    mosaic = _mosaic(60, 80)
    mosaic[3, 4] = _DEAD
    opcodes = _opcodes(_constant(_DEAD), _list([(5, 6)]))
    places, others = read_listed_pixels(opcodes, mosaic, 0, 0, is_as_stored=False)
    assert (places.tolist(), others) == ([406], ("opcode 4",))


def test_what_else_is_asked_for_is_warned_of() -> None:
    raw = read_raw(_dng(_mosaic(60, 80), CFA.bayer("RGGB"), _opcodes(_opcode(12, bytes(40)), _list([(3, 4)]))))
    assert raw.listed_defects is not None
    assert raw.warnings == ("The DNG asks for corrections (OpcodeList1: opcode 12) that are not applied.",)
    assert read_raw(_dng(_mosaic(60, 80), CFA.bayer("RGGB"), _opcodes())).listed_defects is None


def _with_dead_column(cfa: CFA) -> tuple[RawImage, RawImage]:
    """Return a gray wall, and one in which a column and pixels that only a list can tell are dead."""
    clean = expose(np.full((67, 91, 3), 0.2), cfa)
    mosaic = clean.mosaic.copy()
    dead = np.zeros(mosaic.shape, bool)
    dead[:, 45] = dead[20:23, 10:13] = dead[0, 0] = True
    mosaic[dead] = 9000
    return clean, dataclasses.replace(clean, mosaic=mosaic, listed_defects=np.flatnonzero(dead))


@pytest.mark.parametrize("cfa", [*_PATTERNS[:4], CFA.xtrans()], ids=lambda cfa: cfa.name[:6])
@pytest.mark.parametrize("repair", [True, False])
def test_they_do_not_reach_the_picture(cfa: CFA, repair: bool) -> None:
    """Nor if hot pixels are to be kept: the file itself says that these hold no light."""
    clean, raw = _with_dead_column(cfa)
    enhancer = Enhancer("alen-fast" if cfa.is_bayer else "alen-xtrans", precision="float32", threads=1, repair=repair)
    enhanced = enhancer.enhance(raw, ratio=8.0)
    np.testing.assert_allclose(enhanced.linear, enhancer.enhance(clean, ratio=8.0).linear, atol=0.01)
    assert enhanced.metadata["ReplacedPixels"] == str(67 + 9 + 1)
    assert enhanced.raw.mosaic[30, 45] == 9000  # as shot
    if repair:
        hot = raw.mosaic.copy()
        hot[30, 44] = hot[30, 60] = 9000  # beside the dead column, too
        also = enhancer.enhance(dataclasses.replace(raw, mosaic=hot), ratio=8.0)
        np.testing.assert_allclose(also.linear, enhanced.linear, atol=0.01)


def test_dark_frames_leave_the_list() -> None:
    _, raw = _with_dead_column(CFA.bayer("RGGB"))
    dark = DarkFrame(
        offset_dn=np.zeros(raw.mosaic.shape, np.float32),
        cfa=raw.cfa,
        camera=raw.camera,
        iso=raw.iso,
        exposure_time_s=raw.exposure_time_s,
        level_dn=0.0,
        frames=2,
        name="dark.dng",
    )
    assert subtract_dark(raw, dark).listed_defects is raw.listed_defects


def test_a_crafted_list_takes_little_time() -> None:
    """As many pixels as a list may have, in one cluster: a second for 12 megapixels, about."""
    mosaic = np.zeros((3000, 4000), np.uint16)
    start = time.perf_counter()
    places, _ = read_listed_pixels(_opcodes(_list([], (1000, 1000, 1240, 1245))), mosaic, 0, 0)
    defective_pixels_at(mosaic, CFA.xtrans(), places)
    assert len(places) == 240 * 245
    assert time.perf_counter() - start < 10


def test_a_crafted_list_takes_little_memory() -> None:
    """Rectangles that are too many are told from their sides, before their pixels are listed."""
    mosaic = np.zeros((300, 400), np.uint16)
    opcodes = _opcodes(_list([], *[(0, 0, 300, 400)] * 100))
    tracemalloc.start()
    places, others = read_listed_pixels(opcodes, mosaic, 0, 0)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (len(places), others) == (0, ("a damaged opcode 5",))
    assert peak < 2_000_000  # the pixels of one rectangle take half of that, those of all a hundred megabytes

"""Gain maps of DNGs: read, continued between their points, and given to pictures."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.interpolate import RegularGridInterpolator

from alen.batch import Done, PictureSettings, enhance_files, plan
from alen.cfa import BAYER_PHASES, CFA, mosaic_from_rgb
from alen.color import develop
from alen.enhance import Enhancer
from alen.lens_shading import GainMap, LensShading, read_lens_shading, read_vignette
from alen.raw import read_raw
from alen.sheets import before_after
from frames import make_dng, with_opcodes


def opcode(gains: NDArray[np.float32], *, number: int = 9, **changes: Any) -> bytes:
    """Return a GainMap over a frame of 60 × 80 from edge to edge."""
    down, across = gains.shape
    area = {"top": 0, "left": 0, "bottom": 60, "right": 80, "plane": 0, "planes": 1, "row_pitch": 1, "column_pitch": 1}
    grid = {"down": down, "across": across, "v": 1 / max(down - 1, 1), "h": 1 / max(across - 1, 1), "y": 0.0, "x": 0.0}
    values = {**area, **grid, "map_planes": 1, **changes}
    parameters = struct.pack(">10I4dI", *values.values()) + gains.astype(">f4").tobytes()
    return struct.pack(">4I", number, 0x01030000, 1, len(parameters)) + parameters


def opcodes(*each: bytes) -> bytes:
    return struct.pack(">I", len(each)) + b"".join(each)


def of_planes(cfa: CFA, gains: list[NDArray[np.float32]]) -> bytes:
    """Return four maps, of the pixels of R, Gr, Gb and B."""
    places = {int(cfa.plane_map(2, 2)[y, x]): (y, x) for y in range(2) for x in range(2)}
    return opcodes(
        *(
            opcode(gain, top=places[plane][0], left=places[plane][1], row_pitch=2, column_pitch=2)
            for plane, gain in enumerate(gains)
        )
    )


def _grid(seed: int, shape: tuple[int, int] = (5, 7)) -> NDArray[np.float32]:
    return np.random.default_rng(seed).uniform(1, 3, shape).astype(np.float32)


@pytest.mark.parametrize("phase", BAYER_PHASES)
def test_maps_belong_to_colors_by_their_place_in_the_pattern(phase: str) -> None:
    gains = [_grid(plane) for plane in range(4)]
    shading, others = read_lens_shading(of_planes(CFA.bayer(phase), gains), CFA.bayer(phase), 60, 80)
    assert shading is not None
    assert others == ()
    for maps, gain in zip(shading.maps, gains, strict=True):
        np.testing.assert_array_equal(maps[0].gains, gain)
    assert shading.largest_stops == pytest.approx(np.log2(max(gain.max() for gain in gains)))


@pytest.mark.parametrize("size", [(60, 80), (61, 37), (5, 400)])
@pytest.mark.parametrize("shape", [(5, 7), (1, 4), (3, 1), (1, 1), (23, 22)])
def test_between_points_gains_are_bilinear_and_beyond_them_constant(
    size: tuple[int, int], shape: tuple[int, int]
) -> None:
    gains, origin, spacing = _grid(1, shape), (0.1, -0.05), (0.2, 0.15)
    height, width = size
    found = GainMap(gains, origin, spacing).over(height, width)(0, height)
    points = [origin[axis] + spacing[axis] * np.arange(max(n, 2)) for axis, n in enumerate(shape)]
    grid = np.broadcast_to(gains, (max(shape[0], 2), max(shape[1], 2))) if 1 in shape else gains
    interpolate = RegularGridInterpolator(points, grid)
    y, x = (np.clip((np.arange(n) + 0.5) / n, p[0], p[-1]) for n, p in zip(size, points, strict=True))
    np.testing.assert_allclose(found, interpolate(tuple(np.meshgrid(y, x, indexing="ij"))), rtol=1e-5)


def test_rows_are_those_of_the_whole() -> None:
    shading = LensShading(tuple((GainMap(_grid(plane), (0, 0), (0.25, 1 / 6)),) for plane in range(4)))
    rows = shading.over(47, 31)
    whole = rows(0, 47)
    assert whole.shape == (3, 47, 31)
    assert whole.dtype == np.float32
    np.testing.assert_allclose(rows(11, 30), whole[:, 11:30], rtol=1e-6)
    greens = [maps[0].over(47, 31)(0, 47) for maps in shading.maps[1:3]]
    np.testing.assert_allclose(whole[1], sum(greens) / 2, rtol=1e-6)


def test_maps_of_all_pixels_and_of_single_colors_multiply() -> None:
    cfa = CFA.bayer("GRBG")
    red = opcode(_grid(0), top=0, left=1, row_pitch=2, column_pitch=2)
    shading, others = read_lens_shading(opcodes(opcode(_grid(1)), red), cfa, 60, 80)
    assert shading is not None
    assert others == ()
    every = GainMap(_grid(1), (0, 0), (0.25, 1 / 6)).over(60, 80)(0, 60)
    of_red = GainMap(_grid(0), (0, 0), (0.25, 1 / 6)).over(60, 80)(0, 60)
    np.testing.assert_allclose(shading.over(60, 80)(0, 60), [every * of_red, every, every], rtol=1e-5)


def test_of_xtrans_maps_are_for_all_pixels() -> None:
    assert read_lens_shading(opcodes(opcode(_grid(0))), CFA.xtrans(), 60, 80)[0] is not None
    shading, others = read_lens_shading(opcodes(opcode(_grid(0), row_pitch=6, column_pitch=6)), CFA.xtrans(), 60, 80)
    assert shading is None
    assert others == ("gains for a part of the pixels",)


@pytest.mark.parametrize("changes", [{"bottom": 30}, {"left": 2, "column_pitch": 2, "row_pitch": 2}, {"plane": 1}])
def test_what_is_for_a_part_of_the_frame_is_told(changes: dict[str, int]) -> None:
    shading, others = read_lens_shading(opcodes(opcode(_grid(0), **changes)), CFA.bayer("RGGB"), 60, 80)
    assert shading is None
    assert others == ("gains for a part of the pixels",)


def test_other_opcodes_are_told_beside_the_gains() -> None:
    data = opcodes(opcode(_grid(0), number=5), opcode(_grid(0)), opcode(_grid(0), number=5))
    shading, others = read_lens_shading(data, CFA.bayer("RGGB"), 60, 80)
    assert shading is not None
    assert others == ("opcode 5",)


def _damaged() -> dict[str, bytes]:
    whole = opcodes(opcode(_grid(0)))
    nan, negative = _grid(0), _grid(0)
    nan[1, 1], negative[2, 2] = np.nan, -1
    return {
        "empty": b"",
        "cut off": whole[:-3],
        "cut off before": whole[:20],
        "many": struct.pack(">I", 0xFFFFFFFF) + whole[4:],
        "not a number": opcodes(opcode(nan)),
        "negative": opcodes(opcode(negative)),
        "no points": opcodes(opcode(_grid(0), down=0)),
        "enormous": opcodes(opcode(_grid(0), down=0xFFFFFFFF, across=0xFFFFFFFF)),
        "a point too many": opcodes(opcode(np.ones((1, 513), np.float32))),
        "gains that multiply to nonsense": opcodes(*[opcode(np.full((1, 1), 100, np.float32))] * 20),
        "endless": opcodes(*[opcode(np.ones((1, 1), np.float32))] * 65),
        "zero": opcodes(opcode(np.where(_grid(0) == _grid(0).min(), np.float32(0), _grid(0)))),
        "no spacing": opcodes(opcode(_grid(0), v=0.0)),
        "no spacing of columns": opcodes(opcode(_grid(0), h=0.0)),
        "spacing not a number": opcodes(opcode(_grid(0), h=float("nan"))),
        "noise": np.random.default_rng(0).bytes(400),
    }


@pytest.mark.parametrize("name", _damaged())
def test_of_a_damaged_list_nothing_is_used(name: str) -> None:
    assert read_lens_shading(_damaged()[name], CFA.bayer("RGGB"), 60, 80) == (None, ("a damaged list",))


@pytest.mark.parametrize("shape", [(1, 7), (5, 1)])
def test_maps_of_a_single_row_or_column_are_read(shape: tuple[int, int]) -> None:
    """Their spacing along it says nothing, and may be 0."""
    gains = _grid(3, shape)
    single = "v" if shape[0] == 1 else "h"
    shading, others = read_lens_shading(opcodes(opcode(gains, **{single: 0.0})), CFA.bayer("RGGB"), 60, 80)
    assert others == ()
    assert shading is not None
    np.testing.assert_array_equal(shading.maps[0][0].gains, gains)


def test_an_empty_list_asks_for_nothing() -> None:
    assert read_lens_shading(opcodes(), CFA.bayer("RGGB"), 60, 80) == (None, ())


# ---------------------------------------------------------------- gains by distance


def vignette(coefficients: tuple[float, ...], center: tuple[float, float] = (0.5, 0.5), number: int = 3) -> bytes:
    """Return a FixVignetteRadial; the center is across and down."""
    parameters = struct.pack(">7d", *coefficients, *center)
    return struct.pack(">4I", number, 0x01030000, 1, len(parameters)) + parameters


@pytest.mark.parametrize("size", [(60, 80), (61, 37), (1, 1)])
def test_gains_by_distance_are_as_written_out(size: tuple[int, int]) -> None:
    k, (x, y) = (0.6, -0.3, 0.2, 0.1, -0.05), (0.4, 0.55)
    (gain,) = read_vignette(opcodes(vignette((9.0,) * 5, number=1), vignette(k, (x, y))))
    height, width = size
    rows, columns = np.mgrid[:height, :width] + 0.5
    farthest = max((a - x * width) ** 2 + (b - y * height) ** 2 for a in (0, width) for b in (0, height))
    square = ((columns - x * width) ** 2 + (rows - y * height) ** 2) / farthest
    expected = 1 + sum(value * square ** (power + 1) for power, value in enumerate(k))
    np.testing.assert_allclose(gain.over(height, width)(0, height), expected, rtol=1e-5)
    both = LensShading(maps=((), (), (), ()), radial=(gain, gain)).over(height, width)(0, height)
    np.testing.assert_allclose(both, np.broadcast_to(expected**2, (3, height, width)), rtol=1e-5)
    assert gain.largest == pytest.approx((1 + np.polyval([*k[::-1], 0], np.linspace(0, 1, 257))).max(), rel=1e-5)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        opcodes(vignette((0.1,) * 5))[:-3],
        opcodes(vignette((float("nan"),) * 5)),
        opcodes(vignette((1e300, 0, 0, 0, 0))),
        opcodes(vignette((-2.0, 0, 0, 0, 0))),
        opcodes(vignette((200.0, 0, 0, 0, 0))),
        opcodes(*[vignette((20.0, 0, 0, 0, 0))] * 2),
        opcodes(vignette((0.1,) * 5, (0.5, 1.5))),
        opcodes(vignette((0.1,) * 5, (0.5, float("nan")))),
        opcodes(vignette((9.0,) * 5, number=1)),
        np.random.default_rng(0).bytes(400),
    ],
    ids=[
        "empty",
        "cut off",
        "nan",
        "huge",
        "negative",
        "large",
        "large together",
        "outside",
        "nowhere",
        "other",
        "noise",
    ],
)
def test_of_a_list_without_usable_gains_nothing_is_taken(data: bytes) -> None:
    assert read_vignette(data) == ()


# ---------------------------------------------------------------- in files and pictures

_WHITE_BALANCE = (2.0, 1.0, 1.6)


def _flat_field(shading: LensShading, level: float, cfa: CFA, data: bytes, tag: int = 51009) -> bytes:
    """Return the DNG of a gray wall, 60 × 80, through a lens with that shading."""
    gains = shading.over(60, 80)(0, 60).transpose(1, 2, 0)
    light = mosaic_from_rgb(level / (gains * np.array(_WHITE_BALANCE, np.float32)), cfa)
    return with_opcodes(make_dng(light, cfa, white_balance=_WHITE_BALANCE, iso=100), data, tag)


def _of_lens(cfa: CFA) -> tuple[bytes, LensShading]:
    """Return four maps that fall off toward the corners, and what they say."""
    y, x = np.meshgrid(np.linspace(-1, 1, 9), np.linspace(-1, 1, 11), indexing="ij")
    data = of_planes(cfa, [(1 + strength * (y**2 + x**2)).astype(np.float32) for strength in (0.5, 0.4, 0.4, 0.3)])
    shading, _ = read_lens_shading(data, cfa, 60, 80)
    assert shading is not None
    return data, shading


@pytest.fixture(scope="module")
def enhancer() -> Enhancer:
    return Enhancer("alen-fast", precision="float32", threads=1)


@pytest.mark.parametrize("phase", BAYER_PHASES)
def test_a_gray_wall_gets_even_and_the_linear_values_stay(enhancer: Enhancer, phase: str) -> None:
    cfa = CFA.bayer(phase)
    data, shading = _of_lens(cfa)
    raw = read_raw(_flat_field(shading, 0.3, cfa, data))
    assert raw.warnings == ()
    enhanced = enhancer.enhance(raw, ratio=1.0)
    gains = shading.over(60, 80)(0, 60).transpose(1, 2, 0)
    assert np.abs(enhanced.linear * gains / 0.3 - 1).mean() < 0.03
    assert enhanced.linear[:4, :4].mean() < 0.65 * enhanced.linear[28:32, 38:42].mean()
    picture = enhanced.picture()
    corner, middle = picture[:8, :8].mean(axis=(0, 1)), picture[26:34, 36:44].mean(axis=(0, 1))
    np.testing.assert_allclose(corner, middle, atol=0.015)
    finished = enhancer.finish(raw, ratio=1.0).picture
    np.testing.assert_array_equal(enhanced.developed(np.uint8), finished)
    assert np.abs(finished - np.rint(picture * 255)).max() <= 1
    brightened = before_after(enhanced)
    assert np.isfinite(brightened).all()


def test_gains_by_distance_reach_pictures(enhancer: Enhancer) -> None:
    cfa = CFA.bayer("GBRG")
    (gain,) = read_vignette(opcodes(vignette((0.8, 0.1, 0, 0, 0))))
    shading = LensShading(radial=(gain,))
    raw = read_raw(_flat_field(shading, 0.3, cfa, opcodes(vignette((0.8, 0.1, 0, 0, 0))), tag=51022))
    assert raw.warnings == ()
    assert raw.lens_shading is not None
    assert raw.lens_shading.largest_stops == pytest.approx(np.log2(1.9), abs=1e-3)
    picture = enhancer.enhance(raw, ratio=1.0).picture()
    corner, middle = picture[:8, :8].mean(axis=(0, 1)), picture[26:34, 36:44].mean(axis=(0, 1))
    np.testing.assert_allclose(corner, middle, atol=0.015)


def test_clipped_corners_are_white(enhancer: Enhancer) -> None:
    """Clipping is told by the sensor's values, not by those that the gains have raised."""
    cfa = CFA.bayer("RGGB")
    data, shading = _of_lens(cfa)
    raw = read_raw(_flat_field(shading, 4.0, cfa, data))
    picture = enhancer.finish(raw, ratio=1.0).picture
    assert picture[:6, :6].min() >= 250
    red = np.array([0.9, 0.35, 0.1], np.float32) * np.ones((60, 80, 1), np.float32)
    bright = LensShading(((GainMap(np.full((1, 1), 2, np.float32), (0, 0), (0, 0)),),) * 4)
    plain = develop(red, np.eye(3), clip_level=1.0, exposure_ev=1.0)
    shaded = develop(red, np.eye(3), clip_level=1.0, shading=bright.over(60, 80))
    assert abs(plain - shaded).max() < 0.05  # but for where display white lies


def test_lists_that_cannot_be_used_are_warned_of() -> None:
    cfa = CFA.bayer("RGGB")
    data, shading = _of_lens(cfa)
    for changed, words in ((data[:-5], "a damaged list"), (opcodes(opcode(_grid(0), number=5)), "opcode 5")):
        raw = read_raw(_flat_field(shading, 0.3, cfa, changed))
        assert raw.lens_shading is None
        assert any(words in warning for warning in raw.warnings)


def test_linear_files_keep_the_sensors_values_and_say_so(enhancer: Enhancer, tmp_path: Path) -> None:
    cfa = CFA.bayer("RGGB")
    data, shading = _of_lens(cfa)
    (tmp_path / "a.dng").write_bytes(_flat_field(shading, 0.3, cfa, data))
    jobs = plan([tmp_path / "a.dng"], linear=True)
    (done,) = enhance_files(jobs, enhancer, PictureSettings(ratio=1.0, linear=True))
    assert isinstance(done, Done)
    assert any("lens shading" in warning for warning in done.warnings)

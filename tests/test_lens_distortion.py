"""Warps of DNGs: read, computed, and given to pictures."""

from __future__ import annotations

import json
import math
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from alen.batch import Done, PictureSettings, enhance_files, plan
from alen.cfa import BAYER_PHASES, CFA, mosaic_from_rgb
from alen.enhance import Enhancer
from alen.errors import DeviceError
from alen.lens_distortion import LensDistortion, read_lens_distortion
from alen.lens_shading import GainMap, LensShading
from alen.raw import read_raw
from alen.sheets import before_after, ratio_sheet
from alen.undistort import Undistorter, kept_bytes, undistorting
from frames import make_dng, with_opcodes

Array = NDArray[np.float64]
IDENTITY = (1.0, 0.0, 0.0, 0.0, 0.0, 0.0)
BARREL = (1.03, -0.08, 0.01, -0.005, 0.0, 0.0)
"""Of a wide-angle lens: straight lines bulge outward."""
TILTED = (0.98, 0.03, 0.0, 0.0, 0.002, -0.003)


def rectilinear(*sets: tuple[float, ...], center: tuple[float, float] = (0.5, 0.5)) -> bytes:
    """Return a WarpRectilinear; the center is across and down."""
    return opcode(1, struct.pack(">I", len(sets)) + b"".join(struct.pack(">6d", *each) for each in sets), center)


def fisheye(*sets: tuple[float, ...], center: tuple[float, float] = (0.5, 0.5)) -> bytes:
    """Return a WarpFisheye."""
    return opcode(2, struct.pack(">I", len(sets)) + b"".join(struct.pack(">4d", *each) for each in sets), center)


def rectilinear_2(*sets: tuple[float, ...], center: tuple[float, float] = (0.5, 0.5), reciprocal: int = 0) -> bytes:
    """Return a WarpRectilinear2."""
    numbers = struct.pack(">I", len(sets)) + b"".join(struct.pack(">19d", *each) for each in sets)
    return opcode(14, numbers, center, struct.pack(">I", reciprocal))


def opcode(number: int, numbers: bytes, center: tuple[float, float], rest: bytes = b"") -> bytes:
    parameters = numbers + struct.pack(">2d", *center) + rest
    return struct.pack(">4I", number, 0x01060000, 1, len(parameters)) + parameters


def opcodes(*each: bytes) -> bytes:
    return struct.pack(">I", len(each)) + b"".join(each)


def read(*each: bytes, size: tuple[int, int] = (60, 80)) -> LensDistortion:
    distortion = read_lens_distortion(opcodes(*each), *size)
    assert distortion is not None
    return distortion


# ---------------------------------------------------------------- the formulas


def _written_out(
    y: float, x: float, height: int, width: int, center: tuple[float, float], ratio_of: object, kt: tuple[float, float]
) -> tuple[float, float]:
    """The specification's formulas, for one pixel; distances are from edge to edge, pixels lie in their middles."""
    assert callable(ratio_of)
    cx, cy = center[0] * width, center[1] * height
    m = math.hypot(max(cx, width - cx), max(cy, height - cy))
    dx, dy = (x + 0.5 - cx) / m, (y + 0.5 - cy) / m
    r = math.sqrt(dx * dx + dy * dy)
    f = ratio_of(r)
    tx = kt[0] * (2 * dx * dy) + kt[1] * (r * r + 2 * dx * dx)
    ty = kt[1] * (2 * dx * dy) + kt[0] * (r * r + 2 * dy * dy)
    return cy + m * (dy * f + ty) - 0.5, cx + m * (dx * f + tx) - 0.5


@pytest.mark.parametrize("size", [(60, 80), (241, 179), (3000, 4000)])
def test_each_kind_of_warp_is_as_written_out(size: tuple[int, int]) -> None:
    height, width = size
    center = (0.48, 0.53)
    powers = (1.01, 0.02, -0.05, 0.01, 0.0, -0.02, 0.01, 0, 0, 0, 0, 0, 0.001, 0, -0.002)
    of_fish = (1.2, -0.3, 0.05, -0.01)

    def of_even(k: tuple[float, ...]) -> object:
        return lambda r: k[0] + k[1] * r**2 + k[2] * r**4 + k[3] * r**6

    def of_powers(r: float) -> float:
        return sum(k * min(max(r, 0.1), 0.9) ** power for power, k in enumerate(powers))

    def of_angle(r: float) -> float:
        t = math.atan(r)
        return (of_fish[0] * t + of_fish[1] * t**3 + of_fish[2] * t**5 + of_fish[3] * t**7) / r

    cases: list[tuple[bytes, list[object], list[tuple[float, float]]]] = [
        (rectilinear(BARREL, center=center), [of_even(BARREL)] * 3, [(0.0, 0.0)] * 3),
        (
            rectilinear(BARREL, TILTED, IDENTITY, center=center),
            [of_even(BARREL), of_even(TILTED), of_even(IDENTITY)],
            [(0.0, 0.0), TILTED[4:], (0.0, 0.0)],  # type: ignore[list-item]
        ),
        (rectilinear_2((*powers, 0.001, 0.0, 0.1, 0.9), center=center), [of_powers] * 3, [(0.001, 0.0)] * 3),
        (
            rectilinear_2((*powers, 0.0, 0.0, 0.1, 0.9), center=center, reciprocal=1),
            [lambda r: 1 / of_powers(r)] * 3,
            [(0.0, 0.0)] * 3,
        ),
        (fisheye(of_fish, center=center), [of_angle] * 3, [(0.0, 0.0)] * 3),
    ]
    rng = np.random.default_rng(0)
    places = [(int(rng.integers(height)), int(rng.integers(width))) for _ in range(40)]
    places += [(0, 0), (0, width - 1), (height - 1, 0), (height - 1, width - 1)]
    for data, ratios, tangential in cases:
        distortion = read(data, size=size)
        for color in range(3):
            for y, x in places:
                found = distortion.sources(
                    color, np.full((1, 1), y, np.float32), np.full((1, 1), x, np.float32), height, width
                )
                expected = _written_out(y, x, height, width, center, ratios[color], tangential[color])
                assert float(found[0][0, 0]) == pytest.approx(expected[0], abs=0.005)
                assert float(found[1][0, 0]) == pytest.approx(expected[1], abs=0.005)


def test_warps_follow_each_other_in_the_order_of_the_file() -> None:
    """The picture is that of the last, whose light comes from that of the one before."""
    moved, bent = rectilinear((1, 0, 0, 0, 0, 0.01)), rectilinear(BARREL)
    first, second, both = read(moved), read(bent), read(moved, bent)
    y, x = np.mgrid[:60:7, :80:9].astype(np.float32)
    expected = first.sources(0, *second.sources(0, y, x, 60, 80), 60, 80)
    np.testing.assert_allclose(both.sources(0, y, x, 60, 80), expected, atol=1e-5)
    assert not np.allclose(read(bent, moved).sources(0, y, x, 60, 80), expected, atol=1e-3)


def test_what_moves_nothing_is_none() -> None:
    assert read_lens_distortion(opcodes(), 60, 80) is None
    assert read_lens_distortion(opcodes(rectilinear(IDENTITY)), 60, 80) is None
    assert read_lens_distortion(opcodes(struct.pack(">4I", 3, 0, 0, 56) + bytes(56)), 60, 80) is None  # a vignette
    assert read(rectilinear(IDENTITY, IDENTITY, BARREL)).largest_shift(60, 80) == pytest.approx(0.045, abs=0.002)


def _damaged() -> dict[str, bytes]:
    whole = opcodes(rectilinear(BARREL))
    return {
        "empty": b"",
        "cut off": whole[:-3],
        "cut off before": whole[:20],
        "many": opcodes(*[rectilinear(IDENTITY)] * 4, rectilinear(BARREL)),
        "endless": opcodes(*[rectilinear(BARREL)] * 65),
        "two planes": opcodes(rectilinear(BARREL, BARREL)),
        "no planes": opcodes(rectilinear()),
        "enormous": opcodes(opcode(1, struct.pack(">I", 0xFFFFFFFF), (0.5, 0.5))),
        "not a number": opcodes(rectilinear((float("nan"), 0, 0, 0, 0, 0))),
        "infinite": opcodes(rectilinear((1, float("inf"), 0, 0, 0, 0))),
        "huge": opcodes(rectilinear((1, 1e300, 0, 0, 0, 0))),
        "turned inside out": opcodes(rectilinear((-1, 0, 0, 0, 0, 0))),
        "all in one place": opcodes(rectilinear((0, 0, 0, 0, 0, 0))),
        "folded": opcodes(rectilinear((1, -0.9, 0, 0, 0, 0))),
        "folded by its slant": opcodes(rectilinear((1, 0, 0, 0, 0.5, 0))),
        "too far": opcodes(rectilinear((1.7, 0, 0, 0, 0, 0))),
        "center outside": opcodes(rectilinear(BARREL, center=(1.5, 0.5))),
        "center nowhere": opcodes(rectilinear(BARREL, center=(0.5, float("nan")))),
        "divided by zero": opcodes(rectilinear_2((*[0.0] * 17, 0.0, 1.0), reciprocal=1)),
        "no radii": opcodes(rectilinear_2((1.0, *[0.0] * 16, 0.5, 0.5))),
        "noise": np.random.default_rng(0).bytes(400),
    }


@pytest.mark.parametrize("name", _damaged())
def test_of_a_damaged_list_nothing_is_used(name: str) -> None:
    with pytest.raises(ValueError, match=r"damaged|folds|moved|planes|cannot be"):
        read_lens_distortion(_damaged()[name], 60, 80)


# ---------------------------------------------------------------- pixels


def _fetched(frame: Array, y: Array, x: Array) -> Array:
    """Cubic interpolation with a = −0.75 (Keys 1981, eq. 4 with that a), edges repeated, written out in float64."""
    height, width = frame.shape
    floor_y, floor_x = np.floor(y).astype(int), np.floor(x).astype(int)

    def weight(distance: Array) -> Array:
        a, d = -0.75, np.abs(distance)
        near = (a + 2) * d**3 - (a + 3) * d**2 + 1
        return np.where(d <= 1, near, np.where(d < 2, a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a, 0))

    total = np.zeros(y.shape)
    for down in range(-1, 3):
        for across in range(-1, 3):
            rows, columns = np.clip(floor_y + down, 0, height - 1), np.clip(floor_x + across, 0, width - 1)
            total += frame[rows, columns] * weight(y - floor_y - down) * weight(x - floor_x - across)
    return total


def _undistorted(
    distortion: LensDistortion, frame: NDArray[np.float32], piece: int, gains: NDArray[np.float32] | None = None
) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    """Return the picture of a frame that comes so many rows at a time."""
    height, width, _ = frame.shape
    undistorter = Undistorter(distortion, height, width, is_shaded=gains is not None)
    picture = np.full_like(frame, np.nan)
    gained = None if gains is None else np.full_like(gains, np.nan)
    end = 0
    for top in range(0, height, piece):
        of_piece = None if gains is None else gains[:, top : top + piece]
        for rows, straight, of_straight in undistorter.add(frame[top : top + piece], of_piece):
            assert rows.start == end  # in order, without gaps
            assert rows.stop <= top + piece  # not before its own rows came
            end = rows.stop
            picture[rows] = straight
            if gained is not None:
                assert of_straight is not None
                gained[:, rows] = of_straight
    assert end == height
    return picture, gained


@pytest.mark.parametrize("size", [(331, 611), (64, 256), (65, 257), (7, 300), (300, 7), (3, 2), (1, 1)])
@pytest.mark.parametrize("sets", [(BARREL,), ((0.95, 0.06, 0, 0, 0, 0),), (BARREL, TILTED, IDENTITY)])
def test_pixels_are_fetched_by_cubics_that_do_not_overshoot(
    size: tuple[int, int], sets: tuple[tuple[float, ...], ...]
) -> None:
    height, width = size
    frame = np.random.default_rng(1).random((height, width, 3), dtype=np.float32)
    distortion = read(rectilinear(*sets, center=(0.51, 0.47)), size=(600, 800))
    picture, _ = _undistorted(distortion, frame, 37)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    for color in range(3):
        from_y, from_x = distortion.sources(color, y, x, height, width)
        from_y, from_x = np.clip(from_y, 0, height - 1), np.clip(from_x, 0, width - 1)
        plane = frame[..., color].astype(np.float64)
        expected = _fetched(plane, from_y.astype(np.float64), from_x.astype(np.float64))
        floor_y, floor_x = np.floor(from_y).astype(int), np.floor(from_x).astype(int)
        seen = np.stack(
            [
                plane[np.clip(floor_y + down, 0, height - 1), np.clip(floor_x + across, 0, width - 1)]
                for down in range(-1, 3)
                for across in range(-1, 3)
            ]
        )
        bounded = np.clip(expected, seen.min(axis=0), seen.max(axis=0))
        inside = (floor_y >= 1) & (floor_y < height - 2) & (floor_x >= 1) & (floor_x < width - 2)
        np.testing.assert_allclose(picture[..., color][inside], bounded[inside], atol=2e-4)
        assert picture[..., color].min() >= plane.min() - 1e-6
        assert picture[..., color].max() <= plane.max() + 1e-6
        # at the edges the four pixels nearest to them count, not those that repeat them
        free = (expected > seen.min(axis=0)) & (expected < seen.max(axis=0))
        np.testing.assert_allclose(picture[..., color][free], expected[free], atol=2e-4)


@pytest.mark.parametrize("sets", [(BARREL,), (BARREL, TILTED, IDENTITY)])
def test_pieces_do_not_matter_and_little_is_kept(sets: tuple[tuple[float, ...], ...]) -> None:
    rng = np.random.default_rng(2)
    frame, gains = rng.random((509, 307, 3), dtype=np.float32), rng.random((3, 509, 307), dtype=np.float32)
    distortion = read(rectilinear(*sets), size=(509, 307))
    whole, whole_gains = _undistorted(distortion, frame, 509, gains)
    plain, _ = _undistorted(distortion, frame, 509)
    np.testing.assert_array_equal(whole, plain)
    assert whole_gains is not None
    for piece in (1, 64, 130):
        pieces, piece_gains = _undistorted(distortion, frame, piece, gains)
        np.testing.assert_allclose(pieces, whole, atol=2e-4)
        assert piece_gains is not None
        np.testing.assert_allclose(piece_gains, whole_gains, atol=2e-4)
    assert kept_bytes(distortion, 509, 307) < 2 * 4 * 6 * 307 * 509 / 2
    undistorter = Undistorter(distortion, 509, 307)
    most = 0
    for top in range(509):
        for _ in undistorter.add(frame[top : top + 1]):
            pass
        most = max(most, undistorter._kept.nbytes)
    assert 2 * 2 * most <= kept_bytes(distortion, 509, 307) * 1.05  # half of the planes, once


def test_smooth_light_is_where_the_formulas_say() -> None:
    """A scene known between the pixels, as the lens shows it, comes back straight."""
    height, width = 240, 320
    distortion = read(rectilinear(BARREL), size=(height, width))

    def scene(y: NDArray[np.float32], x: NDArray[np.float32]) -> NDArray[np.float32]:
        return (0.5 + 0.2 * np.sin(y / 5) + 0.2 * np.cos((x + y) / 7)).astype(np.float32)

    y, x = np.mgrid[:height, :width].astype(np.float32)
    frame = np.repeat(scene(y, x)[..., None], 3, axis=2)
    picture, _ = _undistorted(distortion, frame, 50)
    from_y, from_x = distortion.sources(0, y, x, height, width)
    inside = (from_y > 2) & (from_y < height - 3) & (from_x > 2) & (from_x < width - 3)
    assert np.abs(picture[..., 0] - scene(from_y, from_x))[inside].max() < 0.006


def test_gains_follow_their_pixels() -> None:
    height, width = 130, 170
    distortion = read(rectilinear(BARREL, TILTED, IDENTITY), size=(height, width))
    y, x = np.mgrid[:height, :width].astype(np.float32)
    gains = np.stack([1 + y / 100, 1 + x / 100, 1 + (x + y) / 200])
    _, gained = _undistorted(distortion, np.zeros((height, width, 3), np.float32), 64, gains)
    assert gained is not None
    for color in range(3):
        from_y, from_x = distortion.sources(color, y, x, height, width)
        from_y, from_x = np.clip(from_y, 0, height - 1), np.clip(from_x, 0, width - 1)
        expected = (1 + from_y / 100, 1 + from_x / 100, 1 + (from_x + from_y) / 200)[color]
        np.testing.assert_allclose(gained[color], expected, atol=1e-4)


def test_lamps_get_no_rims() -> None:
    """In linear light a cubic would go below the darkness beside a lamp by a good part of the lamp."""
    frame = np.full((90, 90, 3), 0.01, dtype=np.float32)
    frame[30:60, 30:60] = 100.0
    picture, _ = _undistorted(read(rectilinear(BARREL), size=(90, 90)), frame, 90)
    assert picture.min() >= np.float32(0.01) * (1 - 1e-5)
    assert picture.max() <= 100 * (1 + 1e-5)


def test_without_distortion_pieces_pass() -> None:
    piece, gains = np.ones((5, 8, 3), np.float32), np.ones((3, 5, 8), np.float32)
    ((rows, same, same_gains),) = undistorting(None, 20, 8, is_shaded=True)(slice(5, 10), piece, gains)
    assert (rows, same is piece, same_gains is gains) == (slice(5, 10), True, True)


# ---------------------------------------------------------------- files and pictures


def _grid_dng(cfa: CFA, data: bytes, size: tuple[int, int] = (150, 202)) -> bytes:
    """Return a DNG of dark lines on gray, 25 pixels apart, with an OpcodeList3."""
    height, width = size
    y, x = np.mgrid[:height, :width]
    scene = np.where((y % 25 < 3) | (x % 25 < 3), 0.03, 0.3)[..., None] / np.array([2.0, 1.0, 1.6])
    light = mosaic_from_rgb(scene.astype(np.float32), cfa)
    return with_opcodes(make_dng(light, cfa, white_balance=(2.0, 1.0, 1.6), iso=100), data, 51022)


@pytest.fixture(scope="module")
def enhancer() -> Enhancer:
    return Enhancer("alen-fast", precision="float32", threads=1)


@pytest.mark.parametrize("phase", BAYER_PHASES)
def test_pictures_are_straightened_and_the_linear_values_stay(enhancer: Enhancer, phase: str) -> None:
    cfa = CFA.bayer(phase)
    raw = read_raw(_grid_dng(cfa, opcodes(rectilinear(BARREL, TILTED, BARREL, center=(0.5, 0.52)))))
    assert raw.warnings == ()
    assert raw.lens_distortion is not None
    bent = replace(raw, lens_distortion=None)
    enhanced = enhancer.enhance(raw, ratio=1.0)
    np.testing.assert_array_equal(enhanced.linear, enhancer.enhance(bent, ratio=1.0).linear)
    straight, _ = _undistorted(raw.lens_distortion, enhanced.linear, 64)
    expected = replace(enhanced, linear=straight, raw=bent).picture()
    picture = enhanced.picture()
    np.testing.assert_allclose(picture, expected, atol=1e-6)
    finished = enhancer.finish(raw, ratio=1.0).picture
    assert np.abs(finished - np.rint(picture * 255)).max() <= 1
    own = enhanced.linear.copy()
    np.testing.assert_array_equal(replace(enhanced, linear=own).picture(out=own), picture)


def test_gains_and_warps_go_together(enhancer: Enhancer) -> None:
    """Gains belong to the pixels of the frame, which the warp moves with them."""
    raw = read_raw(_grid_dng(CFA.bayer("RGGB"), opcodes(rectilinear(BARREL))))
    gains = np.random.default_rng(0).uniform(1, 2, (5, 7)).astype(np.float32)
    shading = LensShading(((GainMap(gains, (0.0, 0.0), (0.25, 1 / 6)),),) * 4)
    raw = replace(raw, lens_shading=shading)
    enhanced = enhancer.enhance(raw, ratio=1.0)
    bright = enhanced.linear * shading.over(*raw.mosaic.shape)(0, len(raw.mosaic)).transpose(1, 2, 0)
    expected = replace(enhanced, linear=bright, raw=replace(raw, lens_shading=None)).picture()
    assert np.abs(enhanced.picture() - expected).mean() < 0.002  # at lines a product of cubics is another cubic
    finished = enhancer.finish(raw, ratio=1.0).picture
    np.testing.assert_array_equal(enhanced.developed(np.uint8), finished)
    assert np.abs(finished - np.rint(enhanced.picture() * 255)).max() <= 1
    for sheet in (before_after(enhanced), ratio_sheet(enhanced)):
        assert np.isfinite(sheet).all()


def test_sheets_show_what_the_picture_shows(enhancer: Enhancer) -> None:
    """As shot and brightened are straightened, too: lines lie where those of the picture lie."""
    raw = read_raw(_grid_dng(CFA.bayer("GRBG"), opcodes(rectilinear(BARREL))))
    sheet = before_after(enhancer.enhance(raw, ratio=1.0))
    height, width = raw.mosaic.shape
    shot, brightened, clean = (sheet[34 : 34 + height, 6 + i * (width + 6) :][:, :width].mean(axis=2) for i in range(3))
    assert np.corrcoef(shot.ravel(), clean.ravel())[0, 1] > 0.97
    assert np.corrcoef(brightened.ravel(), clean.ravel())[0, 1] > 0.97


def test_of_an_ensemble_pictures_are_straightened_alike() -> None:
    raw = read_raw(_grid_dng(CFA.bayer("BGGR"), opcodes(rectilinear(BARREL))))
    one, two = (Enhancer("alen-fast", precision="float32", ensemble=count) for count in (1, 2))
    difference = one.finish(raw, ratio=1.0).picture.astype(float) - two.finish(raw, ratio=1.0).picture
    assert np.abs(difference).mean() < 1.0


def test_the_choice_to_keep_lines_bent(enhancer: Enhancer) -> None:
    raw = read_raw(_grid_dng(CFA.bayer("RGGB"), opcodes(rectilinear(BARREL))))
    keeps = Enhancer("alen-fast", precision="float32", threads=1, undistort=False)
    bent = enhancer.finish(replace(raw, lens_distortion=None), ratio=1.0).picture
    np.testing.assert_array_equal(keeps.finish(raw, ratio=1.0).picture, bent)
    assert np.abs(keeps.enhance(raw, ratio=1.0).picture() * 255 - bent).max() < 1
    assert np.abs(enhancer.finish(raw, ratio=1.0).picture.astype(float) - bent).mean() > 5


def test_memory_counts_the_rows_that_are_kept(enhancer: Enhancer) -> None:
    raw = read_raw(_grid_dng(CFA.bayer("RGGB"), opcodes(rectilinear(BARREL))))
    assert raw.lens_distortion is not None
    needed = enhancer.needed_bytes(*raw.mosaic.shape)
    assert needed is not None
    tight = Enhancer("alen-fast", precision="float32", threads=1, max_memory_bytes=needed)
    with pytest.raises(DeviceError, match="megapixels need"):
        tight.finish(raw, ratio=1.0)
    roomy = needed + kept_bytes(raw.lens_distortion, *raw.mosaic.shape)
    Enhancer("alen-fast", precision="float32", threads=1, max_memory_bytes=roomy).finish(raw, ratio=1.0)


def test_lists_that_cannot_be_used_are_warned_of() -> None:
    raw = read_raw(_grid_dng(CFA.bayer("RGGB"), opcodes(rectilinear((1, -0.9, 0, 0, 0, 0)))))
    assert raw.lens_distortion is None
    assert any("distortion" in warning and "folds" in warning for warning in raw.warnings)


def test_linear_files_stay_bent_and_say_so(enhancer: Enhancer, tmp_path: Path) -> None:
    (tmp_path / "a.dng").write_bytes(_grid_dng(CFA.bayer("RGGB"), opcodes(rectilinear(BARREL))))
    jobs = plan([tmp_path / "a.dng"], linear=True)
    (done,) = enhance_files(jobs, enhancer, PictureSettings(ratio=1.0, linear=True))
    assert isinstance(done, Done)
    assert any("lens distortion" in warning for warning in done.warnings)
    assert b"LensCorrection" not in done.target.read_bytes()


def test_pictures_tell_that_they_were_corrected(enhancer: Enhancer, tmp_path: Path) -> None:
    (tmp_path / "a.dng").write_bytes(_grid_dng(CFA.bayer("RGGB"), opcodes(rectilinear(BARREL))))
    keeps = Enhancer("alen-fast", precision="float32", threads=1, undistort=False)
    for named, told in ((enhancer, "distortion"), (keeps, None)):
        jobs = plan([tmp_path / "a.dng"], output=f"{tmp_path}/{told}.jpg")
        (done,) = enhance_files(jobs, named, PictureSettings(ratio=1.0))
        assert isinstance(done, Done)
        assert done.warnings == ()
        assert _told(done.target).get("LensCorrection") == told


def _told(path: Path) -> dict[str, str]:
    """Return what a picture tells of how it was made."""
    with Image.open(path) as picture:
        comment = picture.getexif().get_ifd(34665)[37510]
    told: dict[str, str] = json.loads(comment.removeprefix(b"ASCII\0\0\0"))
    return told


def test_info_tells_how_far_pixels_are_moved(tmp_path: Path) -> None:
    path = tmp_path / "a.dng"
    path.write_bytes(_grid_dng(CFA.bayer("RGGB"), opcodes(rectilinear(BARREL))))
    command = [sys.executable, "-m", "alen", "info", str(path)]
    (facts,) = json.loads(subprocess.run([*command, "--json"], capture_output=True, check=True, text=True).stdout)
    assert facts["lens_distortion_percent"] == pytest.approx(4.5, abs=0.2)
    table = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    assert "lens distortion" in table

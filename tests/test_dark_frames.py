"""Dark frames take off what is fixed, and add no noise of their own."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from alen.cfa import BAYER_PHASES, CFA
from alen.cli import main
from alen.dark_frames import combine_dark_frames, read_dark_frames, subtract_dark
from alen.dng import write_cfa_dng
from alen.errors import CalibrationError
from alen.levels import normalize
from alen.noise import NoiseParameters, add_noise
from alen.raw import RawImage, read_raw

NOISE = NoiseParameters(gain=0.8, read_sigma_dn=3.0, black_level_dn=512, white_level_dn=16383)
SIZE = (190, 261)


def image(mosaic: NDArray[np.uint16], phase: str = "RGGB", **changes: Any) -> RawImage:
    settings: dict[str, Any] = {
        "cfa": CFA.bayer(phase),
        "black_level": (512.0,) * 4,
        "white_level": 16383.0,
        "white_balance": (2.0, 1.0, 1.6),
        "cam2rgb": ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)),
        "orientation": 1,
        "iso": 800.0,
        "exposure_time_s": 1.0,
        "aperture": None,
        "camera": "Test One",
        "exif": None,
        "noise_profile": None,
        "warnings": (),
        "name": "a.dng",
    }
    return RawImage(mosaic=mosaic, **settings | changes)


def pattern(size: tuple[int, int] = SIZE) -> NDArray[np.float32]:
    """Offset, glow in a corner, stripes, and a few hot pixels, in DN."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0 : 1 : size[0] * 1j, 0 : 1 : size[1] * 1j]
    fixed = 1.3 + 12 * np.exp(-8 * (x**2 + y**2)) + rng.normal(0, 0.8, (1, size[1])) + rng.normal(0, 0.5, (size[0], 1))
    fixed.ravel()[rng.choice(fixed.size, 40, replace=False)] += 300
    return np.asarray(fixed, np.float32)


def exposures(
    clean: float, count: int, *, fixed: NDArray[np.float32], phase: str = "RGGB", seed: int = 1, **changes: Any
) -> list[RawImage]:
    rng = np.random.default_rng(seed)
    range_dn = NOISE.white_level_dn - NOISE.black_level_dn
    light = np.full(fixed.shape, clean, np.float32)
    frames = []
    for _ in range(count):
        frame = add_noise(light, CFA.bayer(phase), NOISE, rng).astype(np.float64) + fixed
        frames.append(image(np.clip(np.rint(frame), 0, 16383).astype(np.uint16), phase, **changes))
    assert range_dn > 0
    return frames


def signal_dn(raw: RawImage) -> NDArray[np.float64]:
    """What the network sees, in DN of the camera."""
    return normalize(raw.mosaic, raw.cfa, raw.black_level, raw.white_level).astype(np.float64) * (16383 - 512)


@pytest.mark.parametrize("phase", BAYER_PHASES)
def test_what_is_fixed_goes_and_the_mean_is_exact(phase: str) -> None:
    fixed = pattern()
    dark = combine_dark_frames(exposures(0.0, 12, fixed=fixed, phase=phase))
    (raw,) = exposures(0.003, 1, fixed=fixed, phase=phase, seed=2)
    clean = subtract_dark(raw, dark)
    level = 0.003 * (16383 - 512)
    noise = np.sqrt(NOISE.gain * level + 9)
    assert signal_dn(raw).std() > 1.5 * noise
    assert signal_dn(clean).std() == pytest.approx(noise, rel=0.05)
    planes = clean.cfa.plane_map(*SIZE)
    for plane in range(4):
        assert signal_dn(clean)[planes == plane].mean() == pytest.approx(
            level, abs=5 * noise / np.sqrt(SIZE[0] * SIZE[1])
        )
    hot = fixed > 200
    assert abs(signal_dn(clean)[hot].mean() - level) < 0.02 * 300
    assert (clean.cfa, clean.name, clean.warnings) == (raw.cfa, raw.name, ())
    assert not clean.mosaic.flags.writeable


def test_few_darks_add_no_noise_where_nothing_is_fixed() -> None:
    """The plain mean of two darks would add half of the read noise's variance."""
    dark = combine_dark_frames(exposures(0.0, 2, fixed=np.zeros(SIZE, np.float32)))
    (raw,) = exposures(0.0, 1, fixed=np.zeros(SIZE, np.float32), seed=3)
    assert signal_dn(subtract_dark(raw, dark)).std() == pytest.approx(signal_dn(raw).std(), rel=0.015)
    assert dark.offset_dn.std() < 0.1 * 3.0


def test_many_darks_become_their_mean() -> None:
    fixed = np.random.default_rng(4).normal(0, 3, SIZE).astype(np.float32)
    frames = exposures(0.0, 40, fixed=fixed)
    dark = combine_dark_frames(frames)
    mean = np.mean([frame.mosaic for frame in frames], axis=0) - 512
    assert np.abs(dark.offset_dn - mean).max() < 1.0
    assert np.corrcoef(dark.offset_dn.ravel(), mean.ravel())[0, 1] > 0.999


def test_a_single_dark_tells_hot_pixels_alone() -> None:
    fixed = np.zeros(SIZE, np.float32)
    fixed[50, 60] = 400
    (frame,) = exposures(0.0, 1, fixed=fixed)
    dark = combine_dark_frames([frame])
    assert dark.frames == 1
    assert dark.offset_dn[50, 60] == pytest.approx(400, abs=15)
    rest = np.delete(dark.offset_dn.ravel(), 50 * SIZE[1] + 60)
    assert np.abs(rest).mean() < 0.1


def test_fractions_survive_the_rounding() -> None:
    """Offsets are fractions of a DN: the mosaic gets finer steps, rounded at random."""
    for white, scale in ((1023, 64), (4095, 16), (16383, 4), (32000, 2)):
        dark = combine_dark_frames([image(np.full((40, 40), 512, np.uint16), white_level=float(white))])
        dark = dataclasses.replace(dark, offset_dn=np.full((40, 40), 0.3, np.float32))
        raw = image(np.full((40, 40), 700, np.uint16), white_level=float(white))
        clean = subtract_dark(raw, dark)
        assert clean.white_level == scale * white
        assert clean.black_level == (scale * 512.0,) * 4
        assert clean.mosaic.mean() / scale == pytest.approx(699.7, abs=0.05 / scale)
        assert np.ptp(clean.mosaic) <= 1
        np.testing.assert_array_equal(clean.mosaic, subtract_dark(raw, dark).mosaic)


def test_shadows_keep_their_sign_and_a_floor_above_0() -> None:
    """A file without a black level gets a pedestal; what lies still lower ends at 1."""
    mosaic = np.full((40, 40), 3, np.uint16)
    mosaic[1, 1] = 0
    black = (0.0,) * 4
    dark = combine_dark_frames([image(mosaic, black_level=black, white_level=1023.0)])
    offset = np.full((40, 40), 5.0, np.float32)
    offset[8, 8] = 400.0
    clean = subtract_dark(
        image(mosaic, black_level=black, white_level=1023.0), dataclasses.replace(dark, offset_dn=offset)
    )
    pedestal = 16
    scale = 65535 // (1023 + pedestal)
    assert clean.black_level == (float(scale * pedestal),) * 4
    assert clean.white_level == scale * (1023 + pedestal)
    assert clean.mosaic[0, 0] == scale * (pedestal - 2)
    assert clean.mosaic[1, 1] == scale * (pedestal - 5)
    assert clean.mosaic[8, 8] == 1


def test_saturation_stays_and_lost_pixels_are_filled() -> None:
    mosaic = np.full((40, 40), 1000, np.uint16)
    mosaic[10, 10] = mosaic[20, 20] = mosaic[0, 0] = 16383
    dark = combine_dark_frames([image(np.full((40, 40), 512, np.uint16))])
    offset = np.full((40, 40), 20.0, np.float32)
    offset[20, 20] = offset[0, 0] = 15000.0
    offset[20, 22] = 15000.0  # a neighbor that is lost, too
    clean = subtract_dark(image(mosaic), dataclasses.replace(dark, offset_dn=offset))
    assert clean.mosaic[10, 10] == clean.white_level == 4 * 16383
    for y, x in ((20, 20), (20, 22), (0, 0)):
        assert clean.mosaic[y, x] == 4 * (1000 - 20)


@pytest.mark.parametrize(("white", "black"), [(65535, 0), (65000, 0), (65535, 512), (65535, 2048), (4095, 0)])
def test_saturation_stays_where_16_bits_leave_no_room(white: int, black: int) -> None:
    mosaic = np.full((40, 40), (white + black) // 2, np.uint16)
    mosaic[10, 10] = white
    levels: dict[str, Any] = {"white_level": float(white), "black_level": (float(black),) * 4}
    dark = combine_dark_frames([image(np.full((40, 40), black, np.uint16), **levels)] * 2)
    clean = subtract_dark(image(mosaic, **levels), dark)
    assert clean.mosaic[10, 10] == clean.white_level <= 65535
    middle = (float(clean.mosaic[20, 20]) - clean.black_level[0]) / (clean.white_level - clean.black_level[0])
    assert middle == pytest.approx((mosaic[20, 20] - black) / (white - black), abs=1e-3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"camera": "Test Two"}, "a.dng: its camera is Test One, that of the dark frame b.dng is Test Two"),
        ({"cfa": CFA.bayer("BGGR")}, "its filter array is RGGB, that of the dark frame b.dng is BGGR"),
        ({"iso": 1600.0}, "its ISO speed is 800, that of the dark frame b.dng is 1600"),
        ({"mosaic": np.full((40, 42), 512, np.uint16)}, "its size is 40 × 40, that of the dark frame b.dng is 42 × 40"),
    ],
)
def test_other_darks_are_refused(changes: dict[str, Any], message: str) -> None:
    plain = np.full((40, 40), 512, np.uint16)
    other = dataclasses.replace(image(plain, name="b.dng"), **changes)
    dark = combine_dark_frames([other])
    with pytest.raises(CalibrationError, match=message):
        subtract_dark(image(plain), dark)
    with pytest.raises(CalibrationError, match=message):
        combine_dark_frames([other, image(plain)])


def test_what_is_not_known_is_no_difference_but_the_time_is_told() -> None:
    plain = np.full((40, 40), 512, np.uint16)
    dark = combine_dark_frames([image(plain, iso=None, exposure_time_s=30.0)])
    assert subtract_dark(image(plain), dark).warnings == (
        "The dark frames were exposed for 30 s, this one for 1 s; glow and hot pixels grow with the time.",
    )
    with pytest.raises(CalibrationError, match="No dark frame"):
        combine_dark_frames([])


# ------------------------------------------------------------------------------------------------------- command line


def _write(path: Path, raw: RawImage, **changes: Any) -> Path:
    path.parent.mkdir(exist_ok=True)
    settings: dict[str, Any] = {"iso": 800, "exposure_time_s": 1.0, "camera": "Test One"}
    write_cfa_dng(
        path,
        raw.mosaic,
        cfa=raw.cfa,
        black_level=raw.black_level,
        white_level=16383,
        white_balance=raw.white_balance,
        xyz2cam=((0.6941, -0.1164, -0.0857), (-0.3825, 1.1597, 0.2534), (-0.0416, 0.1540, 0.6039)),
        **settings | changes,
    )
    return path


def test_the_command_line_takes_darks_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    size = (48, 64)
    fixed = np.zeros(size, np.float32)
    fixed[20:22, 30:32] = 900  # of every color one
    for index, frame in enumerate(exposures(0.0, 3, fixed=fixed)):
        _write(Path(f"darks/d{index}.dng"), frame)
    _write(Path("a.dng"), exposures(0.01, 1, fixed=fixed, seed=5)[0])
    _write(Path("b.dng"), exposures(0.01, 1, fixed=fixed, seed=6)[0], iso=1600)
    given = ["enhance", "a.dng", "b.dng", "--linear", "--ratio", "50", "-o"]
    assert main([*given, "plain/"]) == 0
    capsys.readouterr()
    assert main([*given, "clean/", "--dark", "darks"]) == 1
    out, err = capsys.readouterr()
    assert "darks 0.0" in out
    assert err.startswith("error: b.dng: its ISO speed is 1600, that of the dark frame d0.dng is 800.")
    plain, clean = (tifffile.imread(Path(folder) / "a.alen.tif") for folder in ("plain", "clean"))
    spot, around = (slice(20, 22), slice(30, 32)), (slice(6, 14), slice(6, 14))
    assert plain[spot].mean() > 1.5 * plain[around].mean()
    assert clean[spot].mean() < 1.3 * clean[around].mean()
    with tifffile.TiffFile(Path("clean/a.alen.tif")) as file:
        assert b"DarkFrames" in Path("clean/a.alen.tif").read_bytes()
        assert file.pages[0].shape == (*size, 3)
    assert main(["enhance", "a.dng", "--dark", "none.dng"]) == 1
    assert "none.dng: there is no such file" in capsys.readouterr().err


# --------------------------------------------------------------------------------------------------------- real frames


def test_darks_of_a_real_camera_do_no_harm(shared_data: Path) -> None:
    """Three darks of a camera with little fixed pattern: their plain mean would add an eighth to the noise."""
    paths = sorted((shared_data / "raw" / "pi-gs" / "dark").glob("*.dng"))
    for index in (1, 2, 3):
        dark = read_dark_frames([path for path in paths if path != paths[index]])
        raw = read_raw(paths[index])
        before = raw.mosaic.astype(np.float64)
        clean = subtract_dark(raw, dark)
        after = clean.mosaic.astype(np.float64) / (clean.white_level / raw.white_level)
        planes = raw.cfa.plane_map(*raw.mosaic.shape)
        spreads = [np.mean([values[planes == p].var() for p in range(4)]) for values in (before, after)]
        assert spreads[1] < 1.001 * spreads[0]


def test_a_picture_among_the_darks_is_refused() -> None:
    darks = [image(np.full((40, 40), 512 + index, np.uint16), name=f"dark{index}.dng") for index in range(4)]
    assert combine_dark_frames(darks).frames == 4
    lit = image(np.full((40, 40), 560, np.uint16), name="night.dng")
    for frames in ([*darks, lit], [lit, *darks], [darks[0], lit]):
        with pytest.raises(CalibrationError, match=r"night.dng: lies \d+(\.\d+)? DN above the other dark frames"):
            combine_dark_frames(frames)


def test_levels_stay_in_the_files_units() -> None:
    """Whatever the finer steps are: 16 and 10 bits, with and without a pedestal."""
    fixed = pattern()
    (raw,) = exposures(0.05, 1, fixed=fixed, seed=2)
    dark = combine_dark_frames(exposures(0.0, 4, fixed=fixed))
    clean = subtract_dark(raw, dark)
    assert clean.scale > 1
    assert clean.in_dn(clean.black_level) == pytest.approx(raw.black_level)
    assert clean.in_dn([clean.white_level]) == pytest.approx([raw.white_level])
    no_black = dataclasses.replace(raw, black_level=(20.0, 20.0, 20.0, 20.0))
    lifted = subtract_dark(no_black, dark)
    assert lifted.pedestal_dn > 0
    assert lifted.in_dn(lifted.black_level) == pytest.approx(no_black.black_level)


def test_darks_that_may_hold_light_are_told_of() -> None:
    fixed = pattern()
    (raw,) = exposures(0.02, 1, fixed=fixed, seed=2)
    for clean, is_told in ((0.0, False), (0.02, True)):
        dark = combine_dark_frames(exposures(clean, 4, fixed=fixed))
        assert any("light" in warning for warning in subtract_dark(raw, dark).warnings) is is_told

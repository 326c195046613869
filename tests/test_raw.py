import dataclasses
import io
import itertools
import os
import struct
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import rawpy
import tifffile
from numpy.testing import assert_array_equal
from PIL import Image

from alen.cfa import BAYER_PHASES, CFA, mosaic_from_rgb, pack
from alen.color import cam2rgb_from_xyz2cam
from alen.dng import Field, encode_exif, read_directories, write_cfa_dng
from alen.errors import (
    AlenError,
    CorruptRawError,
    NotRawError,
    RawError,
    RawNotFoundError,
    SettingsError,
    UnsupportedRawError,
)
from alen.levels import normalize
from alen.raw import read_header, read_raw, render_reference
from alen.raw.containers import boxes
from alen.raw.metadata import Tags, camera_name, exif_block, read_exposure, read_tags

# ColorMatrix2 (D65) of the Canon EOS 6D, as Adobe's DNG files have it.
XYZ2CAM = ((0.7034, -0.0804, -0.1014), (-0.4420, 1.2564, 0.2058), (-0.0851, 0.1994, 0.5758))

SETTINGS: dict[str, Any] = {
    "cfa": CFA.bayer("RGGB"),
    "black_level": (512.0, 512.0, 512.0, 512.0),
    "white_level": 16_383,
    "white_balance": (2.125, 1.0, 1.625),
    "xyz2cam": XYZ2CAM,
}

_NOTHING_KNOWN = SimpleNamespace(iso_speed=0.0, shutter_speed=0.0, aperture=0.0, focal_length=0.0)
"""As LibRaw tells it."""

BAD_FILES = {
    "Canon-R6-pruned.CR3": CorruptRawError,
    "CanonRaw.cr2": CorruptRawError,
    "CanonRaw.cr3": CorruptRawError,
    "DNG.dng": CorruptRawError,
    "FujiFilm.raf": CorruptRawError,
    "IMG_1361.dng": CorruptRawError,
    "Issue 247-1.nef": NotRawError,
    "Issue 247-2.nef": NotRawError,
    "Nikon.nef": CorruptRawError,
    "Panasonic.rw2": CorruptRawError,
    "PhaseOne.iiq": CorruptRawError,
    "exiv2-canon-powershot-s40.crw": CorruptRawError,
    "issue_1097_poc.crw": CorruptRawError,
    "issue_1791_new.raf": CorruptRawError,
    "issue_839_poc.rw2": CorruptRawError,
    "issue_857_poc.raf": CorruptRawError,
}


def random_mosaic(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(400, 16_384, (height, width), dtype=np.uint16)


def dng(mosaic: np.ndarray, **changes: Any) -> bytes:
    file = io.BytesIO()
    write_cfa_dng(file, mosaic, **{**SETTINGS, **changes})
    return file.getvalue()


def with_entry(data: bytes, tag: int, *, new_tag: int | None = None, value: int | None = None) -> bytes:
    """Return a DNG of ours with a tag renamed or its inline value replaced."""
    patched = bytearray(data)
    (count,) = struct.unpack_from("<H", patched, 8)
    (at,) = (p for p in range(10, 10 + 12 * count, 12) if struct.unpack_from("<H", patched, p)[0] == tag)
    if new_tag is not None:
        struct.pack_into("<H", patched, at, new_tag)
    if value is not None:
        struct.pack_into("<I", patched, at + 8, value)
    return bytes(patched)


def without(data: bytes, tag: int) -> bytes:
    return with_entry(data, tag, new_tag=65_000)


def picture_bytes(kind: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(file, kind)
    return file.getvalue()


def tiff_bytes(array: np.ndarray, **options: Any) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, array, **options)
    return file.getvalue()


# ---------------------------------------------------------------- what is read


@pytest.mark.parametrize("phase", BAYER_PHASES)
@pytest.mark.parametrize(
    ("size", "compress"), list(itertools.product([(22, 22), (23, 31), (37, 64), (48, 53), (97, 101)], [True, False]))
)
def test_every_phase_and_odd_size_is_read_as_written(phase: str, size: tuple[int, int], compress: bool) -> None:
    mosaic = random_mosaic(*size)
    black_level = (500.25, 501.5, 502.75, 503.125)  # LibRaw cuts off the fractions
    image = read_raw(dng(mosaic, cfa=CFA.bayer(phase), black_level=black_level, compress=compress))
    np.testing.assert_array_equal(image.mosaic, mosaic)
    assert image.cfa == CFA.bayer(phase)
    assert image.black_level == black_level
    assert image.white_level == 16_383
    assert image.white_balance == pytest.approx((2.125, 1.0, 1.625), rel=1e-6)
    np.testing.assert_allclose(image.cam2rgb, cam2rgb_from_xyz2cam(XYZ2CAM), atol=1e-6)
    np.testing.assert_allclose(np.sum(image.cam2rgb, axis=1), 1, atol=1e-12)
    assert image.warnings == ()


@pytest.mark.parametrize("phase", BAYER_PHASES)
def test_rolling_the_data_rolls_the_cfa(phase: str) -> None:
    mosaic, cfa = random_mosaic(41, 53), CFA.bayer(phase)
    whole = read_raw(dng(mosaic, cfa=cfa))
    for y, x in [(0, 1), (1, 0), (1, 1), (2, 3)]:
        part = read_raw(dng(mosaic[y:, x:], cfa=cfa.shifted(y, x)))
        assert part.cfa == whole.cfa.shifted(y, x)
        np.testing.assert_array_equal(part.mosaic, whole.mosaic[y:, x:])
        np.testing.assert_array_equal(part.cfa.color_map(10, 10), whole.cfa.color_map(10 + y, 10 + x)[y:, x:])


@pytest.mark.parametrize("phase", BAYER_PHASES)
@pytest.mark.parametrize(("top", "left"), [(0, 0), (1, 0), (0, 1), (3, 5), (2, 4)])
def test_black_levels_begin_with_the_active_area(phase: str, top: int, left: int) -> None:
    """One that begins at an odd place, too, of which LibRaw shows a row or a column less."""
    levels, mosaic = (500.5, 510.25, 520.75, 530.0), random_mosaic(70, 90)
    # the pattern of CFAPattern and of BlackLevel both begin with the active area
    whole = bytearray(dng(mosaic, cfa=CFA.bayer(phase), black_level=levels, compress=False))
    (count,) = struct.unpack_from("<H", whole, 8)
    (at,) = (p for p in range(10, 10 + 12 * count, 12) if struct.unpack_from("<H", whole, p)[0] == 50732)
    struct.pack_into("<HHII", whole, at, 50829, 4, 4, len(whole))  # ActiveArea instead of BaselineSharpness
    image = read_raw(bytes(whole) + struct.pack("<4I", top, left, top + 53, left + 71))
    first = np.argwhere((mosaic == image.mosaic[0, 0]) & (np.roll(mosaic, -1, axis=1) == image.mosaic[0, 1]))
    (begin,) = (place for place in first.tolist() if place[0] - top in (0, 1) and place[1] - left in (0, 1))
    assert image.cfa == CFA.bayer(phase).shifted(begin[0] - top, begin[1] - left)
    assert image.black_level == levels


@pytest.mark.parametrize("orientation", range(1, 9))
def test_all_orientations_are_kept(orientation: int) -> None:
    mosaic = random_mosaic(24, 36)
    image = read_raw(dng(mosaic, orientation=orientation))
    assert image.orientation == orientation
    np.testing.assert_array_equal(image.mosaic, mosaic)  # it stays in sensor orientation


def test_exposure_camera_and_exif_are_kept() -> None:
    data = dng(
        random_mosaic(24, 36),
        iso=102_400,
        exposure_time_s=1 / 30,
        aperture=2.8,
        camera="Maker Model 7",
        orientation=8,
        noise_profile=[(1e-4, 2e-7)],
    )
    image = read_raw(data)
    assert (image.iso, image.exposure_time_s, image.aperture) == (102_400, 1 / 30, 2.8)
    assert image.camera == "Maker Model 7"
    assert image.noise_profile == ((1e-4, 2e-7),)
    assert image.exif is not None
    exif = Image.Exif()
    exif.load(b"Exif\0\0" + image.exif)
    assert (exif[271], exif[272], exif[274]) == ("Maker", "Maker Model 7", 1)  # 1: pictures are written upright
    assert exif.get_ifd(34665)[33434] == pytest.approx(1 / 30)
    assert exif.get_ifd(34665)[34866] == 102_400


@pytest.mark.parametrize(("tag", "field"), [(33434, "exposure_time_s"), (33437, "aperture"), (34855, "iso")])
def test_a_zero_stands_for_what_is_not_known(tag: int, field: str) -> None:
    """Of a lens without contacts, say; pictures do not hand it on, and the rest is kept."""
    fields = {tag: Field.fractions((0,)) if tag != 34855 else Field(3, (0,)), 36867: Field.ascii("2026:01:02 03:04:05")}
    tags = Tags(exif=fields)
    exposure = read_exposure(SimpleNamespace(other=_NOTHING_KNOWN), tags)
    assert getattr(exposure, "time_s" if field == "exposure_time_s" else field) is None
    block = exif_block(tags, exposure)
    assert block is not None
    kept = read_directories(block)[0].exif
    assert tag not in kept
    assert kept[36867].text() == "2026:01:02 03:04:05"


def test_a_camera_without_maker_and_model_has_its_unique_name() -> None:
    data = without(without(dng(random_mosaic(24, 36), camera="Maker Model 7"), 271), 272)
    assert read_raw(data).camera == "Maker Model 7"
    assert read_raw(without(data, 50708)).camera == "unknown camera"


def _exif_of_a_camera() -> bytes:
    return encode_exif(
        {271: Field.ascii("FUJIFILM"), 272: Field.ascii("X-T5")}, {33434: Field.fractions((1 / 60,))}, {}
    )


def test_metadata_of_a_raf_are_in_its_preview() -> None:
    """Its header tells where the JPEG lies."""
    jpeg = b"\xff\xd8\xff\xe1\0\0Exif\0\0" + _exif_of_a_camera()
    head = bytearray(b"FUJIFILMCCD-RAW ".ljust(148, b"\0"))
    struct.pack_into(">2I", head, 84, len(head), len(jpeg))
    tags = read_tags(bytes(head) + jpeg, [])
    assert camera_name(tags, []) == "FUJIFILM X-T5"
    assert tags.number(33434) == pytest.approx(1 / 60)
    assert read_tags(bytes(head), []) == read_tags(bytes(head[:90]), []) == read_tags(b"other".ljust(200, b"\0"), [])
    assert camera_name(read_tags(bytes(head), []), []) == "unknown camera"


def test_metadata_of_a_cr3_are_in_its_boxes() -> None:
    """IFD 0, the Exif IFD and the GPS IFD: blocks of their own, in a box of Canon's in the movie's."""

    def box(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I4s", 8 + len(body), kind) + body

    def block(fields: dict[int, Field]) -> bytes:
        return encode_exif(fields, {}, {})

    inside = box(b"CMT1", block({272: Field.ascii("Canon EOS R6")})) + box(b"CNCV", b"other")
    inside += box(b"CMT2", block({33434: Field.fractions((1 / 60,))})) + box(b"CMT4", block({1: Field.ascii("N")}))
    data = box(b"ftyp", b"crx \0\0\0\1crx isom") + box(b"moov", box(b"uuid", bytes(16) + inside)) + box(b"mdat", b"")
    tags = read_tags(data, [])
    assert camera_name(tags, []) == "Canon EOS R6"
    assert tags.number(33434) == pytest.approx(1 / 60)
    assert tags.gps[1].text() == "N"


def test_what_is_not_known_is_none() -> None:
    image = read_raw(dng(random_mosaic(24, 36)))
    assert (image.iso, image.exposure_time_s, image.aperture, image.noise_profile) == (None, None, None, None)


def test_path_bytes_and_file_give_the_same_picture_twice(tmp_path: Path) -> None:
    path = tmp_path / "ein Bild ü.dng"
    path.write_bytes(dng(random_mosaic(37, 41), iso=100))
    with path.open("rb") as file:
        images = [read_raw(path), read_raw(str(path)), read_raw(file), read_raw(path.read_bytes()), read_raw(path)]
    assert [image.name for image in images] == [path.name] * 3 + ["<bytes>", path.name]
    for image in images[1:]:
        assert image.mosaic.tobytes() == images[0].mosaic.tobytes()
        for field in dataclasses.fields(image):
            if field.name not in ("mosaic", "name"):
                assert getattr(image, field.name) == getattr(images[0], field.name)


def test_the_picture_owns_its_memory_and_is_frozen() -> None:
    image = read_raw(dng(random_mosaic(24, 36)))
    assert image.mosaic.flags.owndata
    assert image.mosaic.flags.c_contiguous
    assert image.mosaic.dtype == np.uint16
    with pytest.raises(ValueError, match="read-only"):
        image.mosaic[0, 0] = 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        image.iso = 100.0  # type: ignore[misc]


def test_a_missing_white_balance_becomes_that_of_daylight() -> None:
    with rawpy.imread(io.BytesIO(dng(random_mosaic(24, 36)))) as raw:
        raw.unpack()
        red, green, blue = raw.daylight_whitebalance[:3]
    for data in (without(dng(random_mosaic(24, 36)), 50728), dng(random_mosaic(24, 36), white_balance=(1.0, 1.0, 1.0))):
        image = read_raw(data)
        assert image.white_balance == pytest.approx((red / green, 1, blue / green))
        assert any("daylight" in warning for warning in image.warnings)


LIGHT = (1.418, 1.0, 2.405)
"""Gains for a lamp of 3200 K seen through XYZ2CAM."""


def scene_mosaic(scale: float = 12_000.0) -> np.ndarray:
    """Return the RGGB mosaic of gray and colored rectangles under LIGHT."""
    rng = np.random.default_rng(0)
    scene = np.full((480, 640, 3), 0.1)
    for _ in range(120):
        y, x, height, width = rng.integers(0, 400), rng.integers(0, 540), rng.integers(30, 80), rng.integers(40, 100)
        tint = np.ones(3) if rng.random() < 0.4 else rng.uniform(0.2, 1, 3)
        scene[y : y + height, x : x + width] = rng.uniform(0.02, 0.8) * tint
    for axis in (0, 1, 0, 1):  # a mosaic of perfectly sharp edges has false colors
        scene = (np.roll(scene, 1, axis) + scene + np.roll(scene, -1, axis)) / 3
    sensor = mosaic_from_rgb(scene / np.array(LIGHT), CFA.bayer("RGGB"))
    return np.round(512 + scale * sensor + rng.normal(0, 3, sensor.shape)).astype(np.uint16)


@pytest.mark.parametrize("known", [{"iso": 100}, {"exposure_time_s": 0.1}])
def test_a_file_that_knows_its_exposure_is_believed(known: dict[str, float]) -> None:
    image = read_raw(dng(scene_mosaic(), **known))
    assert image.white_balance == pytest.approx((2.125, 1.0, 1.625), rel=1e-6)
    assert image.warnings == ()


def test_a_file_that_does_not_know_its_exposure_holds_a_preset() -> None:
    image = read_raw(dng(scene_mosaic(), aperture=2.8))
    np.testing.assert_allclose(image.white_balance, LIGHT, rtol=0.03)
    (warning,) = image.warnings
    assert "R 2.12, B 1.62" in warning
    assert f"R {image.white_balance[0]:.2f}, B {image.white_balance[2]:.2f}" in warning


def test_a_preset_is_kept_where_the_mosaic_says_too_little() -> None:
    image = read_raw(dng(scene_mosaic(scale=2.0)))
    assert image.white_balance == pytest.approx((2.125, 1.0, 1.625), rel=1e-6)
    assert image.warnings == ()


def test_a_missing_white_balance_is_estimated() -> None:
    for settings in ({"white_balance": (1.0, 1.0, 1.0)}, {"white_balance": (1.0, 1.0, 1.0), "iso": 100}):
        image = read_raw(dng(scene_mosaic(), **settings))
        np.testing.assert_allclose(image.white_balance, LIGHT, rtol=0.03)
        (warning,) = image.warnings
        assert f"R {image.white_balance[0]:.2f}, B {image.white_balance[2]:.2f}" in warning
        assert "daylight" in warning


def test_a_preset_is_kept_without_a_matrix_to_judge_it_by() -> None:
    image = read_raw(without(dng(scene_mosaic()), 50721))
    assert image.white_balance == pytest.approx((2.125, 1.0, 1.625), rel=1e-6)


def test_a_missing_matrix_becomes_neutral_with_a_warning() -> None:
    image = read_raw(without(dng(random_mosaic(24, 36), camera="Nobody's Camera"), 50721))
    np.testing.assert_array_equal(image.cam2rgb, np.eye(3))
    assert any("Nobody's Camera" in warning and "matrix" in warning for warning in image.warnings)
    assert image.white_balance == pytest.approx((2.125, 1.0, 1.625))


def test_neither_white_balance_nor_matrix() -> None:
    image = read_raw(without(without(dng(random_mosaic(24, 36)), 50721), 50728))
    assert image.white_balance == (1.0, 1.0, 1.0)
    assert len(image.warnings) == 2


def test_the_dngs_matrix_comes_before_that_of_libraws_table() -> None:
    image = read_raw(dng(random_mosaic(24, 36), camera="Canon EOS 5D Mark IV"))
    np.testing.assert_allclose(image.cam2rgb, cam2rgb_from_xyz2cam(XYZ2CAM), atol=1e-6)


def test_a_dark_frame_of_a_camera_that_subtracts_black_is_no_damage() -> None:
    noise = np.random.default_rng(0).normal(0, 3, (64, 96))
    mosaic = np.clip(np.round(noise), 0, None).astype(np.uint16)
    assert np.mean(mosaic == 0) > 0.5
    np.testing.assert_array_equal(read_raw(dng(mosaic, black_level=(0.0,) * 4)).mosaic, mosaic)


def test_a_clipped_sky_is_no_damage() -> None:
    mosaic = random_mosaic(64, 96)
    mosaic[:40] = 16_383
    np.testing.assert_array_equal(read_raw(dng(mosaic)).mosaic, mosaic)


# ---------------------------------------------------------------- headers and references


def test_a_header_needs_no_decoding() -> None:
    data = dng(random_mosaic(37, 41), iso=100, exposure_time_s=0.1, camera="Maker Model 7")
    header = read_header(data)
    assert (header.height, header.width) == (37, 41)
    assert (header.iso, header.exposure_time_s, header.camera) == (100, 0.1, "Maker Model 7")
    with pytest.raises(NotRawError):
        read_header(b"no RAW file, but a text")


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_reference_is_libraws_picture_on_the_mosaic(orientation: int) -> None:
    data = dng(scene_mosaic()[:60, :81], iso=100, orientation=orientation)
    picture = render_reference(data)
    assert picture.dtype == np.uint16
    assert picture.shape == (60, 81, 3)
    with rawpy.imread(io.BytesIO(data)) as raw:
        protocol = raw.postprocess(use_camera_wb=True, half_size=False, no_auto_bright=True, output_bps=16)
    np.testing.assert_array_equal(picture if orientation == 1 else np.rot90(picture, -1), protocol)


def test_a_reference_of_gray_has_the_curve_of_bt709() -> None:
    gains = np.array(SETTINGS["white_balance"])
    light = np.full((64, 96, 3), 0.18) / gains
    mosaic = np.round(512 + (16_383 - 512) * mosaic_from_rgb(light, CFA.bayer("RGGB"))).astype(np.uint16)
    mosaic[::7, ::5] += 1  # no line of one value
    # LibRaw scales so that the smallest gain is 1: green stays as it is
    expected = 65_535 * (1.099 * 0.18**0.45 - 0.099)
    np.testing.assert_allclose(np.median(render_reference(dng(mosaic, iso=100)), axis=(0, 1)), expected, rtol=0.01)


def test_damaged_references_are_refused() -> None:
    data = dng(random_mosaic(96, 128), iso=100)
    with pytest.raises(CorruptRawError, match="cut off"):
        render_reference(data[: len(data) // 2])
    with pytest.raises(RawNotFoundError):
        render_reference("missing.dng")


# ---------------------------------------------------------------- what is refused


def assert_refused(data: bytes, error: type[AlenError], tmp_path: Path, name: str = "IMG_0001.ARW") -> str:
    """Check that the same typed error comes from a path and from bytes, names the file and gives advice."""
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(error) as of_bytes:
        read_raw(data)
    with pytest.raises(error) as of_path:
        read_raw(path)
    assert type(of_path.value) is type(of_bytes.value) is error
    message = str(of_path.value)
    assert message.startswith(f"{name}: ")
    assert str(of_bytes.value).removeprefix("<bytes>") == message.removeprefix(name)
    assert message.endswith(".")
    return message


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (picture_bytes("JPEG"), "a JPEG picture"),
        (picture_bytes("PNG"), "a PNG picture"),
        (picture_bytes("GIF"), "a GIF picture"),
        (picture_bytes("BMP"), "a BMP picture"),
        (picture_bytes("WEBP"), "a WebP picture"),
        (picture_bytes("TIFF"), "a TIFF picture"),
        # LibRaw takes a gray TIFF for an RGGB mosaic.
        (tiff_bytes(np.random.default_rng(0).integers(0, 60_000, (300, 300), dtype=np.uint16)), "a TIFF picture"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + bytes(500), "a video"),
        (b"\0\0\0\x18ftypheic\0\0\0\0" + bytes(500), "a HEIF picture"),
        (b"Dear photographer,\nthis is no picture.\n", "a text"),
        (b"%PDF-1.7\n" + bytes(100), "a PDF"),
        (b"", "empty"),
        (bytes(100_000), "nothing in this file"),
        (np.random.default_rng(1).bytes(50), "nothing in this file"),
        (np.random.default_rng(1).bytes(100_000), "nothing in this file"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_other_files_are_named(data: bytes, words: str, tmp_path: Path) -> None:
    assert words in assert_refused(data, NotRawError, tmp_path)


def test_random_bytes_of_a_known_size_are_no_photograph() -> None:
    # LibRaw finds cameras without a header by the size of the file: these 24 MB "are" a 4000 × 3000 Bayer mosaic.
    data = np.random.default_rng(24_000_000).bytes(24_000_000)
    with rawpy.imread(io.BytesIO(data)) as raw:
        assert raw.sizes.raw_width == 4000
    with pytest.raises(NotRawError, match="nothing in this file"):
        read_raw(data)


def test_a_missing_file_is_also_a_file_not_found_error(tmp_path: Path) -> None:
    with pytest.raises(RawNotFoundError, match=r"missing\.dng: there is no such file"):
        read_raw(tmp_path / "missing.dng")
    with pytest.raises(FileNotFoundError):
        read_raw(str(tmp_path / "missing.dng"))


@pytest.mark.parametrize("read", [read_raw, read_header, render_reference])
def test_what_is_no_file_is_refused(read: Any, tmp_path: Path) -> None:
    with pytest.raises(RawNotFoundError, match="no such file"):
        read("a\0b.dng")
    for source in (None, 5, ["a.dng"], np.zeros(4, np.uint8)):
        with pytest.raises(SettingsError, match=f"needed; got {type(source).__name__}"):
            read(source)
    path = tmp_path / "a.dng"
    path.write_bytes(dng(random_mosaic(22, 22)))
    with path.open(encoding="latin-1") as text, pytest.raises(SettingsError, match=r"'rb'.*a\.dng, opened for str"):
        read(text)


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotRawError, match="folder"):
        read_raw(tmp_path)


def test_a_device_is_refused() -> None:
    with pytest.raises(NotRawError, match="device"):
        read_raw(os.devnull)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read every file")
def test_a_forbidden_file_is_a_raw_error(tmp_path: Path) -> None:
    path = tmp_path / "a.dng"
    path.write_bytes(dng(random_mosaic(24, 36)))
    path.chmod(0)
    with pytest.raises(RawError, match="permissions"):
        read_raw(path)


@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize("part", [0.1, 0.5, 0.9, 1 - 1e-4])
def test_cut_files_are_refused(part: float, compress: bool, tmp_path: Path) -> None:
    data = dng(random_mosaic(96, 128), compress=compress, iso=100)
    assert "cut off" in assert_refused(data[: int(part * len(data))], CorruptRawError, tmp_path, "cut.dng")


def test_a_cut_header_is_refused() -> None:
    data = dng(random_mosaic(24, 36), iso=100)
    for length in range(1, 700, 23):
        with pytest.raises(AlenError):
            read_raw(data[:length])


def test_xtrans_is_read() -> None:
    mosaic, cfa = random_mosaic(961, 1441), CFA.xtrans().shifted(2, 1)
    image = read_raw(dng(mosaic, cfa=cfa, compress=False, black_level=(1024.0,) * 4, camera="Fujifilm X-T2"))
    assert image.cfa == cfa
    assert image.black_level == (1024.0,) * 4
    np.testing.assert_array_equal(image.mosaic, mosaic)


@pytest.mark.parametrize("rows", [("RGGRGG",) * 6, ("BBGRBG", *CFA.xtrans().rows[1:]), ("RGBGBR",) * 6])
def test_other_filter_arrays_of_six_by_six_are_refused(rows: tuple[str, ...], tmp_path: Path) -> None:
    """One without blue, X-Trans with one wrong color, stripes."""
    data = dng(random_mosaic(60, 90), cfa=CFA(rows), compress=False, black_level=(512.0,) * 4)
    assert "that is not X-Trans" in assert_refused(data, UnsupportedRawError, tmp_path, "six.dng")


def test_a_linear_dng_is_refused(tmp_path: Path) -> None:
    data = tiff_bytes(
        np.random.default_rng(0).integers(0, 60_000, (64, 96, 3), dtype=np.uint16),
        photometric=34892,
        extratags=[(50706, 1, 4, b"\1\4\0\0", True), (50708, 2, 0, "Any camera", True)],
        metadata=None,
    )
    assert "demosaicked already" in assert_refused(data, UnsupportedRawError, tmp_path, "linear.dng")


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ((259, 52_546), UnsupportedRawError, "JPEG XL"),
        ((259, 9), UnsupportedRawError, "GPR"),
        ((259, 8), UnsupportedRawError, "Deflate"),
        ((259, 34_713), UnsupportedRawError, "does not know"),
        ((262, 34_892), UnsupportedRawError, "without a filter array"),  # one color: a monochrome camera
        ((33422, 0x03010100), UnsupportedRawError, "filter array"),  # red, green, green, cyan
        ((33422, 0x01020100), UnsupportedRawError, "filter array"),  # green in columns
        ((50717, 400), CorruptRawError, "levels"),
        ((257, 4_000_000), CorruptRawError, "without its picture"),
        ((256, 37), CorruptRawError, "do not fill"),
        ((257, 25), CorruptRawError, "do not fill"),
        ((256, 36 * 40), CorruptRawError, "do not fill"),
        ((279, 2**31), CorruptRawError, "cut off"),
        ((273, 2**31), CorruptRawError, "cut off"),
    ],
)
def test_odd_dngs_are_refused(change: tuple[int, int], error: type[AlenError], words: str, tmp_path: Path) -> None:
    data = with_entry(dng(random_mosaic(24, 36)), change[0], value=change[1])
    assert words in assert_refused(data, error, tmp_path, "odd.dng")


def test_floating_point_mosaics_are_refused(tmp_path: Path) -> None:
    data = with_entry(dng(random_mosaic(24, 36), compress=False), 50711, new_tag=339, value=3)  # SampleFormat
    assert "floating point" in assert_refused(data, UnsupportedRawError, tmp_path, "float.dng")


def test_a_file_of_several_strips_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    """The last one counts."""
    mosaic = random_mosaic(96, 128)
    extra = [(50706, 1, 4, b"\1\4\0\0", True), (33421, 3, 2, (2, 2), True), (33422, 1, 4, b"\0\1\1\2", True)]
    data = tiff_bytes(mosaic, photometric="cfa", rowsperstrip=16, extratags=extra, metadata=None)
    assert_array_equal(read_raw(data).mosaic, mosaic)
    assert "cut off" in assert_refused(data[:-100], CorruptRawError, tmp_path, "cut.dng")


def test_boxes_end_where_they_make_no_sense() -> None:
    whole = struct.pack(">I4s", 12, b"free") + b"1234" + struct.pack(">I4sQ", 1, b"mdat", 20) + b"5678"
    assert list(boxes(whole, 0, len(whole))) == [(b"free", 8, 12), (b"mdat", 28, 32)]
    last = whole + struct.pack(">I4s", 0, b"uuid") + b"90"  # to the end
    assert list(boxes(last, 0, len(last)))[-1] == (b"uuid", 40, 42)
    for size in (2, 7):  # smaller than its own head
        broken = whole + struct.pack(">I4s", size, b"moov") + bytes(20)
        assert list(boxes(broken, 0, len(broken))) == list(boxes(whole, 0, len(whole)))


@pytest.mark.parametrize(("marker", "offset"), [(b"\xff\xc3", 4), (b"\xff\xc4", 8), (b"\xff\xda", 3)])
def test_a_damaged_jpeg_header_is_refused(marker: bytes, offset: int, tmp_path: Path) -> None:
    # LibRaw decodes on with tables it never filled: two readings gave two pictures.
    data = bytearray(dng(random_mosaic(64, 48)))
    data[data.index(marker, data.index(b"\xff\xd8\xff")) + offset] ^= 0x60
    assert_refused(bytes(data), CorruptRawError, tmp_path, "damaged.dng")


def test_a_jpeg_of_endless_segments_is_refused(tmp_path: Path) -> None:
    data = dng(random_mosaic(24, 36))
    (directory,) = read_directories(data)
    ((offset, length),) = directory.extents
    comments = b"\xff\xfe\0\2" * 2000
    long = with_entry(data[: offset + 2] + comments + data[offset + 2 :], 279, value=length + len(comments))
    assert "do not fill" in assert_refused(long, CorruptRawError, tmp_path, "long.dng")


def test_one_damaged_tag_costs_that_tag_alone() -> None:
    data = bytearray(dng(random_mosaic(24, 36), iso=100, camera="Maker One"))
    (count,) = struct.unpack_from("<H", data, 8)
    (at,) = (p for p in range(10, 10 + 12 * count, 12) if struct.unpack_from("<H", data, p)[0] == 254)
    data[at + 7] = 0x40  # of the first tag's count of values
    image = read_raw(bytes(data))
    assert (image.camera, image.iso) == ("Maker One", 100)


def test_a_mosaic_below_16_pixels_is_refused(tmp_path: Path) -> None:
    assert_refused(dng(random_mosaic(12, 40)), UnsupportedRawError, tmp_path, "tiny.dng")


@pytest.mark.parametrize("size", [(21, 40), (700, 17)])
def test_what_is_too_small_for_libraw_is_told(size: tuple[int, int], tmp_path: Path) -> None:
    message = assert_refused(dng(random_mosaic(*size)), UnsupportedRawError, tmp_path, "tiny.dng")
    assert f"{size[1]} × {size[0]} pixels; LibRaw takes DNGs from 22 × 22 on" in message


def unwritten_rows(mosaic: np.ndarray) -> None:
    mosaic[60:] = 0


def unwritten_columns(mosaic: np.ndarray) -> None:
    mosaic[:, 60:] = 7_000


def unwritten_pixels(mosaic: np.ndarray) -> None:
    mosaic.reshape(-1)[np.random.default_rng(0).random(mosaic.size) < 0.5] = 0


def other_levels(mosaic: np.ndarray) -> None:
    mosaic[:] = np.random.default_rng(0).integers(0, 65_536, mosaic.shape)


@pytest.mark.parametrize("damage", [unwritten_rows, unwritten_columns, unwritten_pixels, other_levels])
def test_what_no_sensor_gives_is_refused(damage: Any, tmp_path: Path) -> None:
    mosaic = random_mosaic(96, 128)
    damage(mosaic)
    assert "damaged" in assert_refused(dng(mosaic), CorruptRawError, tmp_path, "damaged.dng")


def test_random_changes_give_a_picture_or_a_typed_error() -> None:
    data = dng(random_mosaic(48, 64), iso=100, exposure_time_s=0.1)
    rng = np.random.default_rng(0)
    for _ in range(150):
        changed = bytearray(data)
        for position in rng.integers(0, 700, rng.integers(1, 5)):
            changed[position] = rng.integers(256)
        try:
            image = read_raw(bytes(changed))
        except AlenError:
            continue
        assert image.mosaic.ndim == 2
        assert all(np.isfinite(image.white_balance))
        assert max(image.black_level) < image.white_level


# ---------------------------------------------------------------- real files


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_files_end_in_a_typed_error(name: str, shared_data: Path, tmp_path: Path) -> None:
    assert_refused((shared_data / "raw" / "bad" / name).read_bytes(), BAD_FILES[name], tmp_path, name)


def test_no_bad_file_is_forgotten(shared_data: Path) -> None:
    assert {path.name for path in (shared_data / "raw" / "bad").iterdir()} == set(BAD_FILES)


def test_a_real_linear_dng_is_refused(shared_data: Path) -> None:
    with pytest.raises(UnsupportedRawError, match=r"canon_eos_6d\.dng.*demosaicked already"):
        read_raw(shared_data / "raw" / "linear" / "canon_eos_6d.dng")


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("name", ["canon-kiss-x4/colorchart.dng", "pi-gs/burst/image_0.dng", "linear/canon_eos_6d.dng"])
def test_real_files_that_were_cut_are_refused(name: str, part: float, shared_data: Path) -> None:
    data = (shared_data / "raw" / name).read_bytes()
    with pytest.raises(CorruptRawError, match="cut off"):
        read_raw(data[: int(part * len(data))])


REAL_FILES = {
    "canon-kiss-x4/colorchart.dng": ((1156, 1734), "RGGB", 2056, 15_000, "Canon EOS Kiss X4", None),
    "gopro-hero7/HERO7_GOPR9231.dng": ((3000, 4000), "RGGB", 0, 16_383, "GoPro HERO7 Black", 252),
    "pi-gs/burst/image_0.dng": ((1088, 1456), "BGGR", 60, 1023, "RaspberryPi PiDNG / PiCamera2", 100),
    "pi-gs/dark/dark_1.dng": ((1088, 1456), "BGGR", 60, 1023, "RaspberryPi PiDNG / PiCamera2", 100),
}


@pytest.mark.parametrize("name", REAL_FILES)
def test_real_files(name: str, shared_data: Path) -> None:
    path = shared_data / "raw" / name
    image = read_raw(path)
    size, phase, black, white, camera, iso = REAL_FILES[name]
    assert (image.mosaic.shape, image.cfa.name, image.camera, image.iso) == (size, phase, camera, iso)
    assert image.black_level == (black,) * 4
    assert image.white_level == white
    assert 1 < image.white_balance[0] < 4
    assert 1 < image.white_balance[2] < 4
    np.testing.assert_allclose(np.sum(image.cam2rgb, axis=1), 1, atol=1e-12)
    assert np.all(np.diag(image.cam2rgb) > 1)
    neutral = 1 / np.array(read_directories(path.read_bytes())[0].numbers(50728))
    if name.startswith("canon"):  # neither ISO nor exposure time: its neutral is a preset that does not fit the light
        assert abs(image.white_balance[0] / neutral[0] * neutral[1] - 1) > 0.3
    else:
        np.testing.assert_allclose(image.white_balance, neutral / neutral[1], rtol=1e-6)
    with rawpy.imread(str(path)) as raw:
        colors = np.minimum(raw.raw_colors_visible[:6, :6] % 3 + (raw.raw_colors_visible[:6, :6] == 3), 2)
    np.testing.assert_array_equal(image.cfa.color_map(6, 6), colors)


@pytest.mark.parametrize("name", ["canon-kiss-x4/colorchart.dng", "pi-gs/burst/image_0.dng"])
def test_our_colors_are_libraws_colors(name: str, shared_data: Path) -> None:
    # CFA, black, white, white balance and matrix at once: linear sRGB at half size, without highlights.
    path = shared_data / "raw" / name
    image = read_raw(path)
    planes = pack(normalize(image.mosaic, image.cfa, image.black_level, image.white_level), image.cfa)
    with rawpy.imread(str(path)) as raw:
        as_shot = np.array(raw.camera_whitebalance[:3]) / raw.camera_whitebalance[1]
        camera_rgb = np.stack([planes[0], (planes[1] + planes[2]) / 2, planes[3]], axis=-1) * as_shot
        linear = camera_rgb @ np.array(image.cam2rgb).T
        libraw = raw.postprocess(
            half_size=True,
            use_camera_wb=True,
            gamma=(1, 1),
            no_auto_bright=True,
            output_bps=16,
            user_flip=0,
            adjust_maximum_thr=0.0,
        )
    expected = libraw.astype(np.float64) / 65_535
    valid = (expected > 0.002).all(-1) & (camera_rgb < 0.9).all(-1)
    assert valid.mean() > 0.5
    assert np.mean(np.abs(linear - expected)[valid]) < 5e-5


def test_gps_and_date_of_a_real_file_are_kept(shared_data: Path) -> None:
    image = read_raw(shared_data / "raw" / "gopro-hero7" / "HERO7_GOPR9231.dng")
    assert image.exif is not None
    exif = Image.Exif()
    exif.load(b"Exif\0\0" + image.exif)
    assert exif[306] == "2018:09:26 08:25:27"
    assert exif.get_ifd(34665)[33437] == pytest.approx(2.8)
    assert exif.get_ifd(34853)[2][:2] == (33, 7)
    assert 513 not in exif  # no thumbnail
    assert 37500 not in exif.get_ifd(34665)  # no MakerNote
    assert len(image.exif) < 1000

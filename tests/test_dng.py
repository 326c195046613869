import io
import itertools
import stat
import struct
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rawpy
import tifffile
from PIL import Image

from alen.cfa import BAYER_PHASES, CFA
from alen.dng import Field, encode_exif, read_directories, write_cfa_dng
from alen.errors import PictureError, SettingsError

# ColorMatrix2 (D65) of the Canon EOS 6D, as Adobe's DNG files have it.
XYZ2CAM = ((0.7034, -0.0804, -0.1014), (-0.4420, 1.2564, 0.2058), (-0.0851, 0.1994, 0.5758))

SETTINGS: dict[str, Any] = {
    "cfa": CFA.bayer("RGGB"),
    "black_level": (512.0, 512.0, 512.0, 512.0),
    "white_level": 16_383,
    "white_balance": (2.125, 1.0, 1.625),
    "xyz2cam": XYZ2CAM,
}


def random_mosaic(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 16_384, (height, width), dtype=np.uint16)


def dng(mosaic: np.ndarray, **changes: Any) -> bytes:
    file = io.BytesIO()
    write_cfa_dng(file, mosaic, **{**SETTINGS, **changes})
    return file.getvalue()


@pytest.mark.parametrize("phase", BAYER_PHASES)
@pytest.mark.parametrize(
    ("size", "compress"), list(itertools.product([(22, 22), (23, 31), (37, 64), (48, 53), (97, 101)], [True, False]))
)
def test_libraw_reads_back_what_was_written(phase: str, size: tuple[int, int], compress: bool) -> None:
    mosaic = random_mosaic(*size)
    cfa = CFA.bayer(phase)
    data = dng(mosaic, cfa=cfa, black_level=(500.0, 501.0, 502.0, 503.0), compress=compress)
    with rawpy.imread(io.BytesIO(data)) as raw:
        raw.unpack()
        np.testing.assert_array_equal(raw.raw_image_visible, mosaic)
        colors = np.array(["RGBG".index(c) for c in "RGB"])[cfa.color_map(*size)]
        np.testing.assert_array_equal(np.where(raw.raw_colors_visible == 3, 1, raw.raw_colors_visible), colors)
        assert raw.black_level_per_channel == [500, 501, 503, 502]  # R, G1 = Gr, B, G2 = Gb
        assert raw.white_level == 16_383
        np.testing.assert_allclose(raw.camera_whitebalance, [2.125, 1, 1.625, 0], rtol=1e-6)


@pytest.mark.parametrize("compress", [True, False])
def test_all_16_bits_survive(compress: bool) -> None:
    # Steps of 32768 are a case of their own in a lossless JPEG, and imagecodecs keeps 12 bits unless told otherwise.
    mosaic = np.random.default_rng(0).choice(np.array([0, 1, 32_767, 32_768, 65_535], np.uint16), (40, 50))
    with rawpy.imread(io.BytesIO(dng(mosaic, white_level=65_535, compress=compress))) as raw:
        raw.unpack()
        np.testing.assert_array_equal(raw.raw_image_visible, mosaic)


@pytest.mark.parametrize("shift", [(0, 0), (1, 2), (5, 3)])
@pytest.mark.parametrize("compress", [True, False])
def test_xtrans_is_read_back(shift: tuple[int, int], compress: bool) -> None:
    cfa = CFA.xtrans().shifted(*shift)
    mosaic = random_mosaic(961, 1441)  # LibRaw takes smaller ones for thumbnails
    with rawpy.imread(io.BytesIO(dng(mosaic, cfa=cfa, black_level=(1024.0,) * 4, compress=compress))) as raw:
        raw.unpack()
        np.testing.assert_array_equal(raw.raw_image_visible, mosaic)
        np.testing.assert_array_equal(raw.raw_colors_visible[:6, :6], cfa.color_map(6, 6))
        assert raw.black_level_per_channel == [1024] * 4


@pytest.mark.parametrize("compress", [True, False])
def test_an_independent_reader_agrees(compress: bool) -> None:
    mosaic = random_mosaic(32, 48)
    with tifffile.TiffFile(io.BytesIO(dng(mosaic, cfa=CFA.bayer("GBRG"), compress=compress))) as tiff:
        page = tiff.pages[0]
        tags = {tag.name: tag.value for tag in page.tags.values()}
        decoded = page.asarray()
    np.testing.assert_array_equal(decoded.reshape(mosaic.shape), mosaic)
    assert tags["CFAPattern"] == bytes([1, 2, 0, 1])
    assert tags["CalibrationIlluminant1"] == 21
    assert tags["BlackLevelRepeatDim"] == (2, 2)
    assert tags["ColorMatrix1"][:2] == (7034 // 2, 10_000 // 2)
    matrix = page.tags["ColorMatrix1"]
    assert matrix.dtype == 10  # SRATIONAL: others would read negative entries as large ones
    np.testing.assert_allclose(np.divide(matrix.value[::2], matrix.value[1::2]).reshape(3, 3), XYZ2CAM, atol=1e-4)
    assert tags["AsShotNeutral"] == (8, 17, 1, 1, 8, 13)
    assert {"DNGVersion", "UniqueCameraModel", "BaselineExposure", "Make", "Model"} <= set(tags)


def test_black_levels_stand_in_the_order_of_the_pixels() -> None:
    for phase, order in zip(BAYER_PHASES, ([0, 1, 2, 3], [1, 0, 3, 2], [2, 3, 0, 1], [3, 2, 1, 0]), strict=True):
        levels = (500.25, 501.5, 502.75, 503.125)
        (directory,) = read_directories(dng(random_mosaic(22, 22), cfa=CFA.bayer(phase), black_level=levels))
        assert directory.numbers(50714) == tuple(levels[plane] for plane in order)


def test_tags_are_sorted_and_there_are_strips_only() -> None:
    (directory,) = read_directories(dng(random_mosaic(22, 22)))
    tags = list(directory.fields)  # in file order
    assert tags == sorted(tags)
    assert not {322, 323, 324, 325} & set(tags)
    ((offset, count),) = directory.extents
    assert offset + count == len(dng(random_mosaic(22, 22)))


def test_exposure_is_kept() -> None:
    data = dng(
        random_mosaic(22, 22),
        iso=6400,
        exposure_time_s=1 / 30,
        aperture=2.8,
        camera="Maker Model 7",
        orientation=6,
        taken=datetime(2024, 5, 6, 7, 8, 9),
        noise_profile=[(1e-4, 2e-7)],
    )
    with rawpy.imread(io.BytesIO(data)) as raw:
        raw.unpack()
        other = raw.other
        assert (other.iso_speed, other.timestamp) == (6400, datetime(2024, 5, 6, 7, 8, 9))
        assert (other.shutter_speed, other.aperture) == (pytest.approx(1 / 30), pytest.approx(2.8))
        assert raw.sizes.flip == 6
    (directory,) = read_directories(data)
    assert (directory.text(271), directory.text(272)) == ("Maker", "Maker Model 7")
    assert directory.numbers(51041) == (1e-4, 2e-7)
    assert directory.exif[33434].values == (1, 30)


def test_iso_above_65535_goes_to_the_recommended_exposure_index() -> None:
    (directory,) = read_directories(dng(random_mosaic(22, 22), iso=409_600))
    assert directory.exif[34855].integers() == (65_535,)
    assert directory.exif[34866].integers() == (409_600,)


def test_the_bytes_depend_on_the_arguments_alone(tmp_path: Path) -> None:
    mosaic = random_mosaic(24, 31)
    write_cfa_dng(tmp_path / "a.dng", mosaic, **SETTINGS)
    write_cfa_dng(str(tmp_path / "b.dng"), mosaic[::1], **SETTINGS)
    assert (tmp_path / "a.dng").read_bytes() == (tmp_path / "b.dng").read_bytes() == dng(mosaic)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.dng", "b.dng"]


def test_a_view_is_written_like_its_copy() -> None:
    mosaic = random_mosaic(60, 80)
    assert dng(mosaic[1:41:2, ::2]) == dng(mosaic[1:41:2, ::2].copy())


def test_a_failure_leaves_the_old_file_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.dng"
    path.write_bytes(b"old")

    def fail(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(PictureError, match=r"a\.dng.*No space"):
        write_cfa_dng(path, random_mosaic(22, 22), **SETTINGS)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_folder_is_a_picture_error(tmp_path: Path) -> None:
    with pytest.raises(PictureError, match="folder"):
        write_cfa_dng(tmp_path / "missing" / "a.dng", random_mosaic(22, 22), **SETTINGS)


@pytest.mark.parametrize("name", ["", "a\0.dng"])
def test_what_cannot_be_a_name_is_a_picture_error(name: str) -> None:
    with pytest.raises(PictureError, match="name of a file"):
        write_cfa_dng(name, random_mosaic(22, 22), **SETTINGS)


def test_a_name_may_be_as_long_as_the_system_allows(tmp_path: Path) -> None:
    path = tmp_path / f"{'n' * 251}.dng"
    write_cfa_dng(path, random_mosaic(22, 22), **SETTINGS)
    assert list(tmp_path.iterdir()) == [path]


def test_a_written_file_has_ordinary_permissions(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    write_cfa_dng(tmp_path / "a.dng", random_mosaic(22, 22), **SETTINGS)
    assert stat.S_IMODE((tmp_path / "a.dng").stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


@pytest.mark.parametrize(
    "changes",
    [
        {"black_level": (0.0, 0.0, 0.0)},
        {"black_level": (-1.0, 0.0, 0.0, 0.0)},
        {"black_level": (16_383.0, 0.0, 0.0, 0.0)},
        {"white_level": 65_536},
        {"white_level": 1000.5},
        {"white_balance": (0.0, 1.0, 1.0)},
        {"white_balance": (float("nan"), 1.0, 1.0)},
        {"white_balance": (1.0, 1.0)},
        {"xyz2cam": np.zeros((3, 3))},
        {"xyz2cam": np.eye(4)},
        {"orientation": 0},
        {"orientation": 9},
        {"orientation": 1.5},
        {"xyz2cam": 1e12 * np.eye(3)},
        {"baseline_exposure_ev": float("inf")},
        {"baseline_exposure_ev": 1e12},
        {"noise_profile": [(1e-4, 1e-6, 0.0)]},
        {"noise_profile": [(1e-4, 1e-6)] * 2},
        {"noise_profile": [(float("nan"), 1e-6)]},
        {"iso": 0},
        {"exposure_time_s": -1.0},
        {"aperture": float("nan")},
    ],
)
def test_wrong_settings_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(SettingsError):
        dng(random_mosaic(22, 22), **changes)


@pytest.mark.parametrize("mosaic", [np.zeros((22, 22)), np.zeros((22, 22, 3), np.uint16), np.zeros((0, 22), np.uint16)])
def test_only_a_uint16_mosaic_is_written(mosaic: np.ndarray) -> None:
    with pytest.raises(SettingsError, match="uint16"):
        dng(mosaic)


def test_fractions_are_simple_and_fit() -> None:
    assert Field.fractions((1 / 8000, 0.1, 1000 / 2477, 16_000.25)).values == (1, 8000, 1, 10, 1000, 2477, 64_001, 4)
    for number in (np.pi, 65_535.123456789, 1e-9, 2**31 - 1.5):
        assert Field.fractions((number,)).numbers()[0] == pytest.approx(number, rel=1e-9, abs=1e-9)
        assert max(Field.fractions((number,)).values) < 2**31


def test_pillow_reads_our_exif() -> None:
    block = encode_exif(
        {271: Field.ascii("Maker"), 274: Field(3, (1,))},
        {33434: Field.fractions((0.005,)), 42034: Field.fractions((24, 105, 4, 4))},
        {1: Field.ascii("N"), 2: Field.fractions((33, 7, 36.0916))},
    )
    exif = Image.Exif()
    exif.load(b"Exif\0\0" + block)
    assert (exif[271], exif[274]) == ("Maker", 1)
    assert exif.get_ifd(34665)[33434] == pytest.approx(0.005)
    assert exif.get_ifd(34665)[42034] == (24, 105, 4, 4)
    assert exif.get_ifd(34853)[2][2] == pytest.approx(36.0916)


@pytest.mark.parametrize("order", ["<", ">"])
def test_both_byte_orders_and_chains_are_read(order: str) -> None:
    file = io.BytesIO()
    with tifffile.TiffWriter(file, byteorder=order) as tiff:
        tiff.write(np.zeros((16, 16), np.uint16), subifds=1, extratags=[(50714, 5, 2, (7, 2, 9, 4), False)])
        tiff.write(np.zeros((8, 9), np.uint8), subfiletype=1)
        tiff.write(np.zeros((4, 5), np.uint8))
    first, child, second = read_directories(file.getvalue())
    assert [d.integers(256) + d.integers(257) for d in (first, child, second)] == [(16, 16), (9, 8), (5, 4)]
    assert first.numbers(50714) == (3.5, 2.25)
    assert not any(directory.is_damaged for directory in (first, child, second))


def test_a_block_inside_a_file_is_read_by_its_own_offsets() -> None:
    block = encode_exif({271: Field.ascii("A maker with a long name")})
    (directory,) = read_directories(b"x" * 13 + block + b"y" * 99, 13, len(block))
    assert directory.text(271) == "A maker with a long name"


def test_damaged_structures_are_read_as_far_as_they_go() -> None:
    data = dng(random_mosaic(22, 22), iso=100)
    assert not read_directories(data)[0].is_damaged
    for length in range(0, 900, 7):
        directories = read_directories(data[:length])
        assert len(directories) <= 1
        assert not directories or directories[0].is_damaged or length > 600
    loop = bytearray(encode_exif({271: Field(3, (1,))}))
    loop[-4:] = (8).to_bytes(4, "little")  # the next directory is this one
    assert len(read_directories(bytes(loop))) == 1
    assert read_directories(b"") == read_directories(b"II") == read_directories(b"no TIFF file") == []


@pytest.mark.parametrize("tag", [330, 34665, 34853])
@pytest.mark.parametrize("pointer", [-5000, -3, -1, 2**31 - 1])
def test_pointers_outside_are_damage(tag: int, pointer: int) -> None:
    """Negative ones, too, as an SLONG can be."""
    data = struct.pack("<2sHI", b"II", 42, 8) + struct.pack("<HHHIi", 1, tag, 9, 1, pointer) + b"\0" * 4
    assert any(directory.is_damaged for directory in read_directories(data))


def test_values_that_repeat_the_file_are_not_kept() -> None:
    entries = 3000
    head = struct.pack("<2sHI", b"II", 42, 8) + struct.pack("<H", entries)
    table = b"".join(struct.pack("<HHII", 1000 + index, 7, 30_000, 8) for index in range(entries))
    (directory,) = read_directories(head + table + b"\0" * 4)
    assert directory.is_damaged
    assert sum(len(field.values) for field in directory.fields.values()) < 2 * len(table)


def test_directories_that_share_their_values_keep_them_once() -> None:
    """Sixty, each with Exif and GPS parts that are the same again, would be 180 times the file."""
    directories, values = 60, 40_000
    size = 2 + 12 * 3 + 4
    at = 8 + directories * size
    data = struct.pack("<2sHI", b"II", 42, 8)
    for index in range(directories):
        own = 8 + index * size
        entries = [(1000, 3, values, at), (34665, 4, 1, own), (34853, 4, 1, own)]
        table = b"".join(struct.pack("<HHII", *entry) for entry in entries)
        data += struct.pack("<H", 3) + table + struct.pack("<I", own + size if index + 1 < directories else 0)
    read = read_directories(data + bytes(2 * values))
    kept = [len(part[1000].values) for each in read for part in (each.fields, each.exif, each.gps) if 1000 in part]
    assert sum(kept) <= values + len(data) // 2
    assert any(directory.is_damaged for directory in read)

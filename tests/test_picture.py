"""Picture files: what was written is what other programs read, and a failed write leaves nothing behind."""

from __future__ import annotations

import errno
import io
import json
import stat
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps

from alen import picture
from alen.dng import Field, encode_exif, read_directories
from alen.errors import PictureError, SettingsError
from alen.picture import SUFFIXES, bits, orient, quantize, srgb_profile, write_linear_tiff, write_picture

EXIF = encode_exif(
    {
        271: Field.ascii("Canon"),
        272: Field.ascii("Canon EOS 550D"),
        274: Field(3, (6,)),
        306: Field.ascii("2024:01:02 03:04:05"),
        273: Field(4, (1234,)),  # StripOffsets of the RAW file
        33432: Field.ascii("A. Photographer"),
    },
    {
        33434: Field(5, (1, 30)),  # ExposureTime
        34855: Field(3, (6400,)),  # PhotographicSensitivity
        36867: Field.ascii("2024:01:02 03:04:05"),  # DateTimeOriginal
        37500: Field(7, b"offsets into the RAW file"),  # MakerNote
        42036: Field.ascii("EF50mm f/1.8"),  # LensModel
    },
    {1: Field.ascii("N"), 2: Field(5, (48, 1, 51, 1, 30, 1))},
)
METADATA = {"Software": "ALEN 9.9", "model": "alen-camera", "sha256": "0" * 64, "ratio": "×100"}


def _photo(height: int = 37, width: int = 53) -> NDArray[np.float32]:
    """A smooth picture without symmetry, a little out of range."""
    y, x = np.mgrid[:height, :width] / np.array([height, width]).reshape(2, 1, 1)
    return np.stack([1.1 * x, y * (1 - 0.5 * x), 0.3 - 0.4 * x * y + 0.2 * y], axis=2).astype(np.float32)


def _read(path: Path) -> NDArray[np.generic]:
    """Read with a library other than the one that wrote, where there is one."""
    if path.suffix == ".png":
        return np.asarray(imagecodecs.png_decode(path.read_bytes()))
    if path.suffix in (".tif", ".tiff"):
        return np.asarray(tifffile.imread(path))
    return np.asarray(imagecodecs.jpeg8_decode(path.read_bytes()))


def _exif(path: Path) -> bytes:
    """Return the EXIF block of a file."""
    if path.suffix in (".tif", ".tiff"):
        return path.read_bytes()
    with Image.open(path) as image:
        return bytes(image.info["exif"]).removeprefix(b"Exif\0\0")


@pytest.mark.parametrize("suffix", [".png", ".tif", ".TIFF"])
def test_sixteen_bits_are_the_rounded_values(tmp_path: Path, suffix: str) -> None:
    rgb = _photo()
    path = tmp_path / f"a{suffix}"
    write_picture(path, rgb)
    pixels = imagecodecs.png_decode(path.read_bytes()) if suffix == ".png" else tifffile.imread(path)
    assert pixels.dtype == np.uint16
    np.testing.assert_array_equal(pixels, np.rint(rgb.clip(0, 1) * 65535))
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", [".jpg", ".JPEG"])
def test_jpeg_is_near(tmp_path: Path, suffix: str) -> None:
    rgb = _photo()
    write_picture(tmp_path / f"a{suffix}", rgb, quality=95)
    pixels = imagecodecs.jpeg8_decode((tmp_path / f"a{suffix}").read_bytes())
    assert pixels.dtype == np.uint8
    assert np.abs(pixels / 255 - rgb.clip(0, 1)).max() < 0.02


def test_jpeg_keeps_full_color_resolution_at_high_quality(tmp_path: Path) -> None:
    for quality, blocks in [(95, (1, 1)), (90, (1, 1)), (80, (2, 2))]:
        write_picture(tmp_path / "a.jpg", _photo(), quality=quality)
        with Image.open(tmp_path / "a.jpg") as image:
            assert image.layer[0][1:3] == blocks  # type: ignore[attr-defined]


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pixels_are_turned_upright_as_pillow_does(tmp_path: Path, suffix: str, orientation: int) -> None:
    rgb = _photo()
    path = tmp_path / f"a{suffix}"
    write_picture(path, rgb, orientation=orientation, exif=EXIF)
    image = Image.fromarray(np.rint(rgb.clip(0, 1) * 255).astype(np.uint8))
    image.getexif()[274] = orientation
    expected = np.asarray(ImageOps.exif_transpose(image)) / 255
    pixels = _read(path)
    assert pixels.shape == expected.shape == orient(rgb, orientation).shape
    np.testing.assert_allclose(pixels / np.iinfo(pixels.dtype).max, expected, atol=0.02)
    assert read_directories(_exif(path))[0].integers(274) == (1,)


def test_orient_is_a_view_of_any_number_of_axes() -> None:
    plane = np.arange(6).reshape(2, 3)
    assert orient(plane, 6).tolist() == [[3, 0], [4, 1], [5, 2]]
    assert orient(plane, 8).tolist() == [[2, 5], [1, 4], [0, 3]]
    assert all(np.shares_memory(orient(plane, number), plane) for number in range(1, 9))
    with pytest.raises(SettingsError, match="1…8"):
        orient(plane, 0)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif"])
def test_exif_is_kept_and_says_what_made_the_picture(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    write_picture(path, _photo(), orientation=6, exif=EXIF, metadata=METADATA)
    (directory,) = read_directories(_exif(path))
    assert not directory.is_damaged
    assert directory.text(271) == "Canon"
    assert directory.text(272) == "Canon EOS 550D"
    assert directory.text(306) == "2024:01:02 03:04:05"
    assert directory.text(33432) == "A. Photographer"
    assert directory.text(305) == "ALEN 9.9"
    assert directory.integers(274) == (1,)
    assert directory.exif[33434].numbers() == (1 / 30,)
    assert directory.exif[34855].integers() == (6400,)
    assert directory.exif[42036].text() == "EF50mm f/1.8"
    assert 37500 not in directory.exif
    assert directory.exif[40962].integers() + directory.exif[40963].integers() == (37, 53)
    assert directory.gps[2].numbers() == (48, 51, 30)
    comment = directory.exif[37510].values
    assert isinstance(comment, bytes)
    assert json.loads(comment.removeprefix(b"ASCII\0\0\0")) == {
        key: value for key, value in METADATA.items() if key != "Software"
    }
    if suffix != ".tif":
        assert 273 not in directory.fields


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_pillow_reads_exif_and_profile(tmp_path: Path, suffix: str) -> None:
    write_picture(tmp_path / f"a{suffix}", _photo(), exif=EXIF)
    with Image.open(tmp_path / f"a{suffix}") as image:
        image.load()
        assert image.getexif()[272] == "Canon EOS 550D"
        assert image.getexif().get_ifd(34665)[34855] == 6400
        profile = ImageCms.ImageCmsProfile(io.BytesIO(image.info["icc_profile"]))
    assert "sRGB" in ImageCms.getProfileDescription(profile)


def test_tifffile_reads_exif_and_profile(tmp_path: Path) -> None:
    write_picture(tmp_path / "a.tif", _photo(), exif=EXIF)
    with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
        (page,) = tiff.pages
        assert page.tags["InterColorProfile"].value == srgb_profile()
        assert page.tags["ExifTag"].value["ISOSpeedRatings"] == 6400
        assert page.photometric == tifffile.PHOTOMETRIC.RGB


def test_profile_is_srgb_and_always_the_same() -> None:
    assert srgb_profile() == srgb_profile.__wrapped__()
    assert len(srgb_profile()) < 1000
    # the profile's curve is ours: a gray of linear 0.18 has the L* of 18 % reflectance
    lab = ImageCms.createProfile("LAB")
    transform = ImageCms.buildTransform(ImageCms.ImageCmsProfile(io.BytesIO(srgb_profile())), lab, "RGB", "LAB")
    gray = Image.new("RGB", (1, 1), (118, 118, 118))  # 255 × 0.4614
    lightness, a, b = ImageCms.applyTransform(gray, transform).getpixel((0, 0))  # type: ignore[misc,union-attr]
    assert lightness / 255 * 100 == pytest.approx(49.5, abs=0.5)
    assert (a, b) == (128, 128)  # Pillow counts from −128


def test_pictures_without_exif_still_say_who_made_them(tmp_path: Path) -> None:
    write_picture(tmp_path / "a.jpg", _photo())
    (directory,) = read_directories(_exif(tmp_path / "a.jpg"))
    assert directory.text(305) == "ALEN"
    assert 37510 not in directory.exif
    with pytest.raises(PictureError, match="TIFF header"):
        write_picture(tmp_path / "b.jpg", _photo(), exif=b"Exif\0\0nonsense")


def test_exif_too_large_for_a_jpeg_loses_its_largest_value_only(tmp_path: Path) -> None:
    large = encode_exif({271: Field.ascii("Canon")}, {37510: Field(7, b"x" * 70_000), 34855: Field(3, (6400,))})
    write_picture(tmp_path / "a.jpg", _photo(), exif=large)
    (directory,) = read_directories(_exif(tmp_path / "a.jpg"))
    assert directory.text(271) == "Canon"
    assert directory.exif[34855].integers() == (6400,)
    assert 37510 not in directory.exif


def test_linear_tiff_keeps_every_bit(tmp_path: Path) -> None:
    rgb = (np.random.default_rng(0).standard_normal((31, 17, 3)) * 100).astype(np.float32)
    write_linear_tiff(tmp_path / "a.tiff", rgb.transpose(1, 0, 2), metadata=METADATA)
    with tifffile.TiffFile(tmp_path / "a.tiff") as tiff:
        (page,) = tiff.pages
        np.testing.assert_array_equal(page.asarray(), rgb.transpose(1, 0, 2))
        assert page.dtype == np.float32
        assert page.planarconfig == tifffile.PLANARCONFIG.CONTIG
        assert "InterColorProfile" not in page.tags
        assert page.tags["Software"].value == "ALEN 9.9"
        assert page.tags["ExifTag"].value["ColorSpace"] == 65_535  # not sRGB
    np.testing.assert_array_equal(imagecodecs.imread(str(tmp_path / "a.tiff")), rgb.transpose(1, 0, 2))


def test_stripes_do_not_show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_picture(tmp_path / "a.tif", _photo(), orientation=7)
    monkeypatch.setattr(picture, "_STRIPE_PX", 100)
    write_picture(tmp_path / "b.tif", _photo(), orientation=7)
    assert (tmp_path / "a.tif").read_bytes() == (tmp_path / "b.tif").read_bytes()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_one_pixel_is_a_picture(tmp_path: Path, suffix: str) -> None:
    write_picture(tmp_path / f"a{suffix}", np.full((1, 1, 3), 0.5, np.float32))
    assert _read(tmp_path / f"a{suffix}").reshape(-1).shape == (3,)


# Failures


def test_an_existing_picture_is_replaced_only_by_a_complete_one(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    write_picture(path, _photo())
    before = path.read_bytes()
    broken = _photo()
    broken[20, 30, 1] = np.nan
    with pytest.raises(PictureError, match="not finite"):
        write_picture(path, broken)
    assert path.read_bytes() == before
    write_picture(path, 1 - _photo())
    assert path.read_bytes() != before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_full_disk_is_named_and_leaves_nothing(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / f"a{suffix}"
    opened = Path.open

    class FullDisk:
        def __init__(self, file: io.BufferedWriter) -> None:
            self.file = file

        def __enter__(self) -> FullDisk:
            return self

        def __exit__(self, *_: object) -> None:
            self.file.close()

        def write(self, data: bytes) -> int:
            self.file.write(bytes(data)[:10])
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "open", lambda self, mode: FullDisk(opened(self, mode)))
    with pytest.raises(PictureError, match=r"disk is full") as caught:
        write_picture(path, _photo())
    assert str(path) in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_interrupted_write_leaves_nothing(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(picture, "_quantized", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_picture(tmp_path / f"a{suffix}", _photo())
    assert list(tmp_path.iterdir()) == []


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(PictureError, match=r"nowhere.*no such folder"):
        write_picture(tmp_path / "nowhere" / "a.jpg", _photo())
    with pytest.raises(PictureError, match=r"nowhere.*no such folder"):
        write_linear_tiff(tmp_path / "nowhere" / "a.tif", _photo())


def test_a_folder_without_permission_or_in_the_way_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, mode: str) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    (tmp_path / "a.jpg").mkdir()
    with pytest.raises(PictureError, match="a folder has this name"):
        write_picture(tmp_path / "a.jpg", _photo())
    assert [file.name for file in tmp_path.iterdir()] == ["a.jpg"]
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(PictureError, match="a part of the path is a file"):
        write_picture(tmp_path / "file" / "a.jpg", _photo())
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(PictureError, match="not permitted"):
        write_picture(tmp_path / "b.jpg", _photo())


@pytest.mark.parametrize("name", ["a.bmp", "a", "a.jpg.part", ".png"])
def test_an_unknown_suffix_lists_the_known_ones(tmp_path: Path, name: str) -> None:
    with pytest.raises(PictureError, match=r"\.jpg, \.png"):
        write_picture(tmp_path / name, _photo())
    with pytest.raises(PictureError, match=r"\.tif or \.tiff"):
        write_linear_tiff(tmp_path / name, _photo())
    assert list(tmp_path.iterdir()) == []


def test_limits_of_the_formats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wide = np.zeros((1, 65_501, 3), np.float32)
    for orientation in (1, 6):
        with pytest.raises(PictureError, match="PNG or TIFF"):
            write_picture(tmp_path / "a.jpg", wide, orientation=orientation)
    write_picture(tmp_path / "a.jpg", wide[:, :65_500])
    write_picture(tmp_path / "a.png", wide)
    monkeypatch.setattr(picture, "_MAX_TIFF_PIXELS", 1000)
    with pytest.raises(PictureError, match="4 GiB"):
        write_picture(tmp_path / "a.tif", _photo())
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.jpg", "a.png"]


def test_settings_are_checked(tmp_path: Path) -> None:
    for rgb in (np.zeros((4, 4), np.float32), np.zeros((0, 4, 3), np.float32), np.zeros((3, 4, 4), np.float32)):
        with pytest.raises(SettingsError, match=r"\(H, W, 3\)"):
            write_picture(tmp_path / "a.png", rgb)
    for quality in (0, 101, 95.5, None):
        with pytest.raises(SettingsError, match="quality"):
            write_picture(tmp_path / "a.jpg", _photo(), quality=quality)  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="orientation"):
        write_picture(tmp_path / "a.jpg", _photo(), orientation=9)
    with pytest.raises(PictureError, match="not finite"):
        write_linear_tiff(tmp_path / "a.tif", np.full((4, 4, 3), np.nan, np.float32))
    assert list(tmp_path.iterdir()) == []


def test_a_quality_may_be_one_of_numpys_numbers(tmp_path: Path) -> None:
    write_picture(tmp_path / "a.jpg", _photo(), quality=np.int64(90))
    write_picture(tmp_path / "b.jpg", _photo(), quality=90)
    assert (tmp_path / "a.jpg").read_bytes() == (tmp_path / "b.jpg").read_bytes()


def test_files_have_ordinary_permissions(tmp_path: Path) -> None:
    """Temporary files of the standard library are readable by their owner alone; a picture is for everyone."""
    (tmp_path / "ordinary").touch()
    write_picture(tmp_path / "a.jpg", _photo())
    ordinary, picture_mode = ((tmp_path / name).stat().st_mode for name in ("ordinary", "a.jpg"))
    assert stat.S_IMODE(picture_mode) == stat.S_IMODE(ordinary)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("orientation", [1, 6])
def test_whole_numbers_make_the_same_file_as_what_they_were_rounded_from(
    tmp_path: Path, suffix: str, orientation: int
) -> None:
    rgb = np.random.default_rng(3).uniform(-0.1, 1.1, (37, 53, 3)).astype(np.float32)
    whole = np.empty(rgb.shape, dtype=np.uint8 if bits(f"a{suffix}") == 8 else np.uint16)
    quantize(rgb, out=whole, name="a")
    write_picture(tmp_path / f"float{suffix}", rgb, orientation=orientation)
    write_picture(tmp_path / f"whole{suffix}", whole, orientation=orientation)
    assert (tmp_path / f"whole{suffix}").read_bytes() == (tmp_path / f"float{suffix}").read_bytes()


@pytest.mark.parametrize(("name", "dtype"), [("a.jpg", np.uint16), ("a.png", np.uint8), ("a.tif", np.float64)])
def test_other_numbers_are_refused(tmp_path: Path, name: str, dtype: type) -> None:
    with pytest.raises(SettingsError, match=f"bits per channel; got an array of {np.dtype(dtype)}"):
        write_picture(tmp_path / name, np.zeros((8, 8, 3), dtype=dtype))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("dtype", [np.uint16, np.complex64, np.bool_, "U8", object])
def test_linear_pictures_of_other_numbers_are_refused(tmp_path: Path, dtype: Any) -> None:
    with pytest.raises(SettingsError, match="a linear picture is of float32; got an array of"):
        write_linear_tiff(tmp_path / "a.tif", np.zeros((8, 8, 3)).astype(dtype))
    assert list(tmp_path.iterdir()) == []


def test_linear_pictures_of_float64_are_rounded(tmp_path: Path) -> None:
    rgb = _photo().astype(np.float64) / 3
    write_linear_tiff(tmp_path / "a.tif", rgb)  # type: ignore[arg-type]
    assert np.array_equal(tifffile.imread(tmp_path / "a.tif"), rgb.astype(np.float32))
    with pytest.raises(PictureError, match="not finite"):
        write_linear_tiff(tmp_path / "b.tif", 1e300 * rgb)


def test_a_name_with_a_zero_byte_is_refused() -> None:
    for write, suffix in ((write_picture, "png"), (write_linear_tiff, "tif")):
        with pytest.raises(PictureError, match=r"a\\x00b.*cannot be the name"):
            write(f"a\0b.{suffix}", _photo())


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_a_number_is_not_rounded(value: float) -> None:
    rgb = np.zeros((400, 600, 3), dtype=np.float32)
    rgb[399, 1, 1] = value
    with pytest.raises(PictureError, match=r"night.arw: .*not finite numbers"):
        quantize(rgb, out=np.empty(rgb.shape, np.uint8), name="night.arw")

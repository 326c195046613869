"""Linear DNGs: what other programs read in them."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rawpy
import tifffile
from numpy.typing import NDArray
from PIL import Image

from alen.batch import Done, Failed, PictureSettings, enhance_files, plan
from alen.cfa import BAYER_PHASES, CFA, mosaic_from_rgb
from alen.cli import main
from alen.color import RGB_FROM_XYZ, cam2rgb_from_xyz2cam
from alen.dng import Field, encode_exif, read_directories
from alen.enhance import Enhanced, Enhancer
from alen.errors import PictureError, UnsupportedRawError
from alen.lens_distortion import ColorWarp, LensDistortion, Warp
from alen.lens_shading import GainMap, LensShading
from alen.linear_dng import write_linear_dng
from alen.picture import orient
from alen.raw import read_raw
from frames import GAINS, RATIO, XYZ2CAM, expose, make_dng, ramp


def _enhanced(linear: NDArray[np.floating[Any]], **changes: Any) -> Enhanced:
    """Return an enhanced image that is what it is told to be."""
    raw = expose(np.ones((*linear.shape[:2], 3)), CFA.bayer("RGGB"))
    rows = cam2rgb_from_xyz2cam(XYZ2CAM)
    matrix = tuple(tuple(float(value) for value in row) for row in rows)
    return Enhanced(
        linear.astype(np.float32), replace(raw, **{"cam2rgb": matrix, "xyz2cam": XYZ2CAM, **changes}), RATIO, False
    )


def _linear(size: tuple[int, int], largest: float, seed: int = 0) -> NDArray[np.float32]:
    """Return random light."""
    return (np.random.default_rng(seed).random((*size, 3)) * largest).astype(np.float32)


def _read(path: Path) -> tuple[NDArray[np.uint16], dict[int, Any]]:
    """Return the samples and the tags, by an independent reader."""
    with tifffile.TiffFile(path) as file:
        (preview,) = file.pages
        assert isinstance(preview, tifffile.TiffPage)
        assert preview.pages is not None
        (page,) = preview.pages
        assert isinstance(page, tifffile.TiffPage)
        return page.asarray(), {tag.code: tag.value for each in (preview, page) for tag in each.tags}


@pytest.mark.parametrize("size", [(37, 53), (1024, 16), (1025, 1030), (1, 1), (2, 700)])
@pytest.mark.parametrize("largest", [0.3, 1.0, 3.0])
def test_samples_are_the_light_before_white_balance(tmp_path: Path, size: tuple[int, int], largest: float) -> None:
    linear = _linear(size, largest)
    write_linear_dng(tmp_path / "a.dng", _enhanced(linear))
    samples, tags = _read(tmp_path / "a.dng")
    headroom = 2 ** (tags[50730][0] / tags[50730][1])
    assert headroom == pytest.approx(max(float(linear.max()), 1.0), rel=1e-6)
    neutral = np.array(tags[50728][::2]) / np.array(tags[50728][1::2])
    np.testing.assert_allclose(neutral, 1 / np.array(GAINS), rtol=1e-6)
    expected = linear * neutral
    np.testing.assert_allclose(samples / 65_535 * headroom, expected, atol=0.51 / 65_535 * headroom)
    assert samples.shape == (*size, 3)


def test_gains_below_one_do_not_clip_white(tmp_path: Path) -> None:
    """The neutral's largest channel is the one that reaches white first."""
    linear = np.full((8, 8, 3), 0.9, np.float32)
    write_linear_dng(tmp_path / "a.dng", _enhanced(linear, white_balance=(2.0, 1.0, 0.5)))
    samples, tags = _read(tmp_path / "a.dng")
    np.testing.assert_allclose(np.array(tags[50728][::2]) / np.array(tags[50728][1::2]), (0.25, 0.5, 1.0), rtol=1e-6)
    np.testing.assert_allclose(samples[0, 0] / 65_535, np.array((0.25, 0.5, 1.0)) * 0.9, atol=1e-5)


def test_what_is_too_bright_keeps_its_hue_and_what_was_clipped_is_neutral(tmp_path: Path) -> None:
    linear = np.full((6, 6, 3), 0.2, np.float32)
    linear[0, 0] = (6.0, 3.0, 0.6)  # a red lamp, below the clip level of 8
    linear[1, 1] = (RATIO * 2.0, RATIO, RATIO * 1.5)  # clipped in all colors: magenta after white balance
    linear[2, 2] = (-0.1, 0.3, -2.0)
    write_linear_dng(tmp_path / "a.dng", _enhanced(linear))
    samples, tags = _read(tmp_path / "a.dng")
    assert 2 ** (tags[50730][0] / tags[50730][1]) == pytest.approx(4.0)
    balanced = samples * np.array(GAINS) * 4 / 65_535
    np.testing.assert_allclose(balanced[0, 0] / balanced[0, 0, 0], np.array((6.0, 3.0, 0.6)) / 6, atol=1e-3)
    assert samples[1, 1].max() == 65_535
    np.testing.assert_allclose(balanced[1, 1] / balanced[1, 1].max(), 1, atol=1e-3)
    np.testing.assert_allclose(balanced[2, 2], (0, 0.3, 0), atol=1e-4)
    np.testing.assert_allclose(balanced[4, 4], 0.2, atol=1e-4)


@pytest.mark.parametrize("exposure_ev", [-1.5, 0.0, 2.0])
def test_the_exposure_is_a_wish_of_the_file(tmp_path: Path, exposure_ev: float) -> None:
    linear = _linear((9, 7), 2.0)
    write_linear_dng(tmp_path / "a.dng", _enhanced(linear), exposure_ev=exposure_ev)
    samples, tags = _read(tmp_path / "a.dng")
    assert tags[50730][0] / tags[50730][1] == pytest.approx(math.log2(linear.max()) + exposure_ev, abs=1e-6)
    write_linear_dng(tmp_path / "b.dng", _enhanced(linear))
    np.testing.assert_array_equal(samples, _read(tmp_path / "b.dng")[0])


@pytest.mark.parametrize("knows_matrix", [True, False])
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_libraw_shows_our_colors(tmp_path: Path, knows_matrix: bool, orientation: int) -> None:
    """Large flat patches, developed to linear sRGB by LibRaw and by our own matrix."""
    patches = np.random.default_rng(3).uniform(0.2, 0.8, (4, 6, 3))
    linear = np.repeat(np.repeat(patches, 40, axis=0), 40, axis=1).astype(np.float32)
    matrix = XYZ2CAM if knows_matrix else None
    enhanced = _enhanced(linear, xyz2cam=matrix, orientation=orientation)
    write_linear_dng(tmp_path / "a.dng", enhanced)
    with rawpy.imread(str(tmp_path / "a.dng")) as raw:
        assert raw.sizes.flip == {1: 0, 3: 3, 6: 6, 8: 5}[orientation]
        shown = raw.postprocess(
            use_camera_wb=True,
            no_auto_bright=True,
            gamma=(1, 1),
            output_bps=16,
            user_flip=0,
            highlight_mode=rawpy.HighlightMode.Ignore,
        )
    expected = linear @ np.array(enhanced.raw.cam2rgb).T
    mine = shown.reshape(4, 40, 6, 40, 3)[:, 20, :, 20] / 65_535
    truth = expected.reshape(4, 40, 6, 40, 3)[:, 20, :, 20]
    visible = (truth > 0.02).all(axis=-1) & (truth < 0.9).all(axis=-1)
    assert visible.sum() >= 8
    scale = np.median(mine[visible] / truth[visible])
    np.testing.assert_allclose(mine[visible] / scale, truth[visible], atol=0.012)


@pytest.mark.parametrize("width", [64, 245, 1023, 1024, 1025, 1500])
def test_libraw_reads_the_samples_of_any_width(tmp_path: Path, width: int) -> None:
    """It has read nonsense where a tile was wider than the picture."""
    write_linear_dng(tmp_path / "a.dng", _enhanced(_linear((75, width), 1.0)))
    with rawpy.imread(str(tmp_path / "a.dng")) as raw:
        np.testing.assert_array_equal(raw.raw_image_visible[..., :3], _read(tmp_path / "a.dng")[0])


def test_a_matrix_that_is_not_known_gives_our_colors(tmp_path: Path) -> None:
    """A neutral of the file is D65 white, and the matrix inverts ours."""
    enhanced = _enhanced(_linear((4, 4), 1.0), xyz2cam=None)
    write_linear_dng(tmp_path / "a.dng", enhanced)
    _, tags = _read(tmp_path / "a.dng")
    matrix = (np.array(tags[50721][::2]) / np.array(tags[50721][1::2])).reshape(3, 3)
    rgb2cam = matrix @ np.linalg.inv(RGB_FROM_XYZ)
    np.testing.assert_allclose(rgb2cam.sum(axis=1), 1 / np.array(GAINS), atol=1e-5)
    rgb2cam /= rgb2cam.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(np.linalg.inv(rgb2cam), enhanced.raw.cam2rgb, atol=1e-5)


def test_lenses_are_corrected(tmp_path: Path) -> None:
    linear = _linear((70, 90), 0.5)
    shading = LensShading(((GainMap(np.full((1, 1), 2.0, np.float32), (0, 0), (0, 0)),),) * 4)
    distortion = LensDistortion((Warp((ColorWarp((1.0, 0.0, -0.05)),), (0.5, 0.5)),))
    enhanced = _enhanced(linear, lens_shading=shading, lens_distortion=distortion)
    write_linear_dng(tmp_path / "a.dng", enhanced)
    straight = np.empty_like(linear)
    for rows, piece, _ in enhanced.pieces():
        straight[rows] = piece
    write_linear_dng(tmp_path / "b.dng", _enhanced(2 * straight))
    (samples, tags), (expected, expected_tags) = _read(tmp_path / "a.dng"), _read(tmp_path / "b.dng")
    scale = 2 ** (tags[50730][0] / tags[50730][1] - expected_tags[50730][0] / expected_tags[50730][1])
    np.testing.assert_allclose(samples * scale, expected, atol=2)


def test_exif_and_what_made_it_are_kept(tmp_path: Path) -> None:
    exif = encode_exif(
        {271: Field.ascii("Maker"), 272: Field.ascii("Model"), 315: Field.ascii("Somebody")},
        {33434: Field.fractions((0.1,)), 34855: Field(3, (800,))},
        {1: Field.ascii("N")},
    )
    enhanced = _enhanced(_linear((20, 30), 1.0), exif=exif, orientation=6)
    write_linear_dng(tmp_path / "a.dng", enhanced, metadata={"Software": "alen", "Model": "m"})
    directory, _ = read_directories((tmp_path / "a.dng").read_bytes())
    assert directory.text(271) == "Maker"
    assert directory.text(315) == "Somebody"
    assert directory.text(305) == "alen"
    assert directory.integers(274) == (6,)
    assert directory.exif[34855].values == (800,)
    assert directory.gps[1].text() == "N"
    assert b'{"Model": "m"}' in directory.exif[37510].values  # type: ignore[operator]
    write_linear_dng(tmp_path / "b.dng", enhanced, metadata={"Software": "alen", "Model": "m"})
    assert (tmp_path / "a.dng").read_bytes() == (tmp_path / "b.dng").read_bytes()


@pytest.mark.parametrize("exposure_ev", [0.0, 1.0])
@pytest.mark.parametrize("size", [(60, 90), (1500, 20), (1, 1)])
def test_the_preview_is_the_picture(tmp_path: Path, size: tuple[int, int], exposure_ev: float) -> None:
    """In sensor orientation, as the main picture: programs turn both."""
    height, width = size
    linear = np.repeat(np.linspace(0.1, 0.6, height * width).reshape(height, width, 1), 3, axis=2)
    enhanced = _enhanced(linear, orientation=6)
    write_linear_dng(tmp_path / "a.dng", enhanced, exposure_ev=exposure_ev)
    with Image.open(tmp_path / "a.dng") as preview:
        shown = np.asarray(preview.convert("RGB"), dtype=float)
    expected = orient(enhanced.picture(exposure_ev=exposure_ev) * 255, 6)  # as Pillow turns it
    side = -(-max(size) // 1280)
    assert shown.shape == (max(width // side, 1), max(height // side, 1), 3)
    if side == 1:
        assert np.abs(shown - expected).max() < 6


def test_what_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    for bad in (np.nan, np.inf, -np.inf):
        linear = _linear((5, 5), 1.0)
        linear[2, 2, 1] = bad
        with pytest.raises(PictureError, match="not finite numbers"):
            write_linear_dng(tmp_path / "a.dng", _enhanced(linear))
    with pytest.raises(PictureError, match=r"written as \.dng"):
        write_linear_dng(tmp_path / "a.tif", _enhanced(_linear((5, 5), 1.0)))
    with pytest.raises(PictureError, match="no such folder"):
        write_linear_dng(tmp_path / "no" / "a.dng", _enhanced(_linear((5, 5), 1.0)))
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------- of files


def _dng(path: Path, cfa: CFA, size: tuple[int, int] = (66, 98), **tags: Any) -> Path:
    scene = ramp(*size)
    light = mosaic_from_rgb(scene / (np.array(GAINS) * RATIO * scene.max()), cfa)
    path.write_bytes(make_dng(light, cfa, **tags))
    return path


@pytest.fixture(scope="module")
def enhancer() -> Enhancer:
    return Enhancer("alen-fast", precision="float32", threads=1)


@pytest.mark.parametrize("phase", BAYER_PHASES)
def test_a_raw_file_becomes_one(tmp_path: Path, enhancer: Enhancer, phase: str) -> None:
    source = _dng(tmp_path / "a.dng", CFA.bayer(phase))
    (done,) = enhance_files(plan([source], picture_format="dng"), enhancer, PictureSettings(ratio=RATIO))
    assert isinstance(done, Done)
    assert done.target == tmp_path / "a.alen.dng"
    samples, tags = _read(done.target)
    raw = read_raw(source)
    linear = enhancer.enhance(raw, ratio=RATIO).linear
    headroom = 2 ** (tags[50730][0] / tags[50730][1])
    inside = linear.max(axis=2) < 0.95 * headroom
    np.testing.assert_allclose(
        (samples * np.array(GAINS) * headroom / 65_535)[inside], np.maximum(linear, 0)[inside], atol=1e-3
    )
    assert raw.xyz2cam is not None
    np.testing.assert_allclose(
        np.array(tags[50721][::2]) / np.array(tags[50721][1::2]), np.ravel(raw.xyz2cam), atol=1e-6
    )
    assert tags[50827].strip("\0") == "a.dng"


def test_of_xtrans_as_well(tmp_path: Path, enhancer: Enhancer) -> None:
    source = _dng(tmp_path / "a.dng", CFA.xtrans(), (960, 1440))  # LibRaw reads none that are much smaller
    (done,) = enhance_files(plan([source], output=str(tmp_path / "b.dng")), enhancer, PictureSettings(ratio=RATIO))
    assert isinstance(done, Done)
    assert _read(tmp_path / "b.dng")[0].shape == (960, 1440, 3)


def test_ours_are_no_raw_files(tmp_path: Path, enhancer: Enhancer) -> None:
    source = _dng(tmp_path / "a.dng", CFA.bayer("RGGB"))
    settings = PictureSettings(ratio=RATIO, overwrite=True)
    for _ in range(2):  # once without it, once beside it
        for paths in ([tmp_path], [source], sorted(tmp_path.glob("*.dng"))):
            outcomes = list(enhance_files(plan(paths, picture_format="dng"), enhancer, settings))
            assert [type(outcome) for outcome in outcomes] == [Done]
    assert len(paths) == 2
    with pytest.raises(UnsupportedRawError, match="demosaicked"):
        read_raw(tmp_path / "a.alen.dng")
    (failed,) = enhance_files(plan([tmp_path / "a.alen.dng"]), enhancer, settings)
    assert isinstance(failed, Failed)
    (failed,) = enhance_files(plan([source], output=str(source)), enhancer, settings)
    assert isinstance(failed, Failed)
    assert "never replaced" in str(failed.error)


def test_raw_files_are_never_replaced_by_them(tmp_path: Path, enhancer: Enhancer) -> None:
    """Both have the same suffix, and a mosaic cannot be had back."""
    source, other = _dng(tmp_path / "a.dng", CFA.bayer("RGGB")), _dng(tmp_path / "b.dng", CFA.bayer("RGGB"))
    before = other.read_bytes()
    settings = PictureSettings(ratio=RATIO, overwrite=True)
    jobs = plan([source], output=str(other))
    (failed,) = enhance_files(jobs, enhancer, settings)
    assert isinstance(failed, Failed)
    assert "b.dng: is a RAW file, and these are never replaced" in str(failed.error)
    assert other.read_bytes() == before
    write_linear_dng(other, _enhanced(_linear((20, 30), 1.0)), metadata={"Software": "17.1"})  # as phones do
    (failed,) = enhance_files(jobs, enhancer, settings)
    assert isinstance(failed, Failed)
    other.unlink()
    for _ in range(2):
        (done,) = enhance_files(jobs, enhancer, settings)
        assert isinstance(done, Done)


def test_the_command_line_writes_them_with_sheets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = _dng(tmp_path / "a.dng", CFA.bayer("GBRG"))
    options = ["--format", "dng", "--ev", "1", "--ratio", "8", "--compare", "--model", "alen-fast"]
    assert main(["enhance", str(source), *options]) == 0
    assert (tmp_path / "a.compare.jpg").exists()
    _, tags = _read(tmp_path / "a.alen.dng")
    assert tags[50730][0] / tags[50730][1] >= 1
    assert main(["enhance", str(source), "-o", str(tmp_path / "b.dng"), "--linear"]) == 2
    assert "contradicts" in capsys.readouterr().err


@pytest.mark.parametrize("picture", [["--format", "png"], ["--linear"], ["--format", "dng"]])
def test_one_run_makes_the_picture_and_the_dng(
    tmp_path: Path, picture: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Each is what it is alone, and a second run over the folder takes no DNG of the first for a RAW file."""
    source = _dng(tmp_path / "a.dng", CFA.bayer("GBRG"), orientation=6)
    common = ["--ratio", "8", "--model", "alen-fast"]
    assert main(["enhance", str(source), "-o", f"{tmp_path}/both/", *picture, "--dng", *common]) == 0
    line = capsys.readouterr().out
    assert ("; linear DNG " in line) == ("dng" not in picture)
    assert main(["enhance", str(source), "-o", f"{tmp_path}/alone/", *picture, *common]) == 0
    assert main(["enhance", str(source), "-o", f"{tmp_path}/dng/", "--format", "dng", *common]) == 0
    alone = {path.name: path for folder in ("alone", "dng") for path in (tmp_path / folder).iterdir()}
    assert alone.keys() == {path.name for path in (tmp_path / "both").iterdir()}
    for name, path in alone.items():
        assert (tmp_path / "both" / name).read_bytes() == path.read_bytes()
    again = [source, *(tmp_path / "both").iterdir()]
    assert main(["enhance", *map(str, again), "-o", f"{tmp_path}/both/", "--dng", "--force", *common]) == int(
        "dng" not in picture  # the PNG and the TIFF are no RAW files
    )
    assert "a.alen.dng: " not in capsys.readouterr().err


def test_what_is_there_is_kept(tmp_path: Path, enhancer: Enhancer) -> None:
    """Before the work: a DNG beside the picture is not replaced unless told, and a camera's never."""
    source = _dng(tmp_path / "a.dng", CFA.bayer("RGGB"))
    (tmp_path / "out").mkdir()
    there = _dng(tmp_path / "out" / "a.alen.dng", CFA.bayer("RGGB"))
    before = there.read_bytes()
    for overwrite, reason in ((False, "exists already"), (True, "is a RAW file")):
        settings = PictureSettings(ratio=RATIO, dng=True, overwrite=overwrite)
        (failed,) = enhance_files(plan([source], output=f"{tmp_path}/out/", dng=True), enhancer, settings)
        assert isinstance(failed, Failed)
        assert reason in str(failed.error)
    assert there.read_bytes() == before
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.alen.dng"]

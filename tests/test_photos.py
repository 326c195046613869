"""Photographs become scenes, and scenes exposures, without losing what the truth is."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from alen.cfa import BAYER_PHASES, CFA, mosaic_from_rgb
from alen.data.photos import (
    XYZ2CAM,
    PhotoCache,
    find_photos,
    load_photo,
    random_scene,
    sample_camera,
    split,
    unprocess,
)
from alen.errors import DataError
from alen.training.sources import Photographs


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twelve small photographs and an HDR panorama."""
    rng = np.random.default_rng(0)
    photos = tmp_path / "photos"
    photos.mkdir()
    for index in range(12):
        pixels = rng.integers(0, 256, (70 + index, 91, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(photos / f"photo-{index:02d}.png")
    lamp = rng.random((64, 128, 3), dtype=np.float32)
    lamp[10:14, 20:24] = 200
    (photos / "lamp.hdr").write_bytes(imagecodecs.rgbe_encode(lamp))
    (photos / "notes.txt").write_text("not a photograph")
    return photos


def test_split_is_a_fixed_tenth(folder: Path) -> None:
    train, held_out = split(find_photos(folder))
    assert [path.name for path in held_out] == ["photo-05.png"]
    assert len(train) == 12
    assert not set(train) & set(held_out)


def test_folder_problems_name_the_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        find_photos(tmp_path / "nowhere")
    with pytest.raises(DataError, match="no photographs"):
        find_photos(tmp_path)
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"\xff\xd8\xff no picture")
    with pytest.raises(DataError, match=r"broken\.jpg"):
        load_photo(broken)


def test_cache_returns_the_photographs(folder: Path, tmp_path: Path) -> None:
    photos = find_photos(folder)
    cache = PhotoCache(photos, tmp_path / "cache")
    again = PhotoCache(photos, tmp_path / "cache")  # from the files of the first
    for index, path in enumerate(photos):
        if path.suffix == ".png":
            expected = np.asarray(Image.open(path)).astype(np.float32) / 255
            whole = cache.whole(index)
            assert whole.shape == expected.shape
            np.testing.assert_array_equal(whole, again.whole(index))
    hdr = cache.whole([path.suffix for path in photos].index(".hdr"))
    assert hdr.max() > 20  # lamps keep their range
    assert np.exp(np.log(hdr.mean(axis=2) + 1e-4).mean()) == pytest.approx(0.18, rel=0.02)


@pytest.mark.parametrize("size", [32, 64, 96])
def test_random_scene_is_linear_camera_rgb(folder: Path, tmp_path: Path, size: int) -> None:
    cache = PhotoCache(find_photos(folder), tmp_path / "cache")
    scene = random_scene(cache, size, np.random.default_rng(3))
    assert scene.rgb.shape == (size, size, 3)
    assert scene.rgb.dtype == np.float32
    assert scene.rgb.min() >= 0
    again = random_scene(cache, size, np.random.default_rng(3))
    np.testing.assert_array_equal(scene.rgb, again.rgb)


def test_sampled_cameras_keep_neutral_neutral() -> None:
    rng = np.random.default_rng(1)
    gains = []
    for _ in range(200):
        white_balance, cam2rgb = sample_camera(rng)
        assert white_balance[1] == 1
        np.testing.assert_allclose(cam2rgb.sum(axis=1), 1, atol=1e-9)
        gains.append(white_balance)
    red, _, blue = np.log(gains).T
    assert np.corrcoef(red, blue)[0, 1] < -0.3  # warm light needs much blue gain and little red
    assert len(XYZ2CAM) == 6


def test_unprocess_is_undone_by_the_matrix() -> None:
    rng = np.random.default_rng(2)
    white_balance, cam2rgb = sample_camera(rng)
    linear = 0.4 + 0.1 * rng.random((5, 7, 3), dtype=np.float32)  # weakly colored, so inside the camera's gamut
    scene = unprocess(linear, white_balance, cam2rgb)
    np.testing.assert_allclose(scene.rgb @ cam2rgb.T, linear, atol=1e-5)


@pytest.mark.parametrize("phase", BAYER_PHASES)
@pytest.mark.parametrize("ratio", [1.0, 7.0, 300.0])
def test_exposure_and_truth_agree(phase: str, ratio: float) -> None:
    cfa = CFA.bayer(phase)
    rng = np.random.default_rng(4)
    white_balance, cam2rgb = sample_camera(rng)
    scene = unprocess(2 * rng.random((9, 11, 3), dtype=np.float32), white_balance, cam2rgb)
    mosaic, truth = scene.expose(ratio, cfa)
    assert mosaic.max() <= 1
    gains = np.asarray(white_balance, dtype=np.float32)
    np.testing.assert_allclose(mosaic_from_rgb(truth / (gains * np.float32(ratio)), cfa), mosaic, rtol=1e-5)
    unclipped = scene.rgb < gains * np.float32(ratio)
    np.testing.assert_allclose(truth[unclipped], scene.rgb[unclipped], rtol=1e-5)
    np.testing.assert_allclose(truth[~unclipped], np.broadcast_to(gains * ratio, truth.shape)[~unclipped], rtol=1e-5)


def test_copies_of_photographs_held_out_are_not_trained_on(folder: Path, tmp_path: Path) -> None:
    """A folder with a backup in it would else be judged by what it is trained on."""
    shutil.copytree(folder, tmp_path / "photographs" / "a")
    shutil.copytree(folder, tmp_path / "photographs" / "b")
    source = Photographs(tmp_path / "photographs", tmp_path / "cache")
    assert source.facts()["photographs"] == {"train": 26 - 2 * 2, "held_out": ["photo-02.png", "photo-07.png"]}


def test_of_few_photographs_the_last_is_held_out(tmp_path: Path) -> None:
    few = [Path(f"{index}.png") for index in range(4)] + [Path("a.hdr")]
    train, held_out = split(few)
    assert held_out == [Path("3.png")]
    assert train == [*few[:3], few[4]]
    for index in range(2):
        folder = tmp_path / str(index)
        folder.mkdir()
        (folder / "a.hdr").touch()
        if index:
            (folder / "only.png").touch()
            (folder / "a.hdr").unlink()
        with pytest.raises(DataError, match="at least two photographs"):
            Photographs(folder, tmp_path / "cache")


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_gray_photographs_of_16_bits_keep_their_tones(tmp_path: Path, suffix: str) -> None:
    gray = np.linspace(0, 65535, 12, dtype=np.uint16).reshape(3, 4)
    path = tmp_path / f"gray{suffix}"
    Image.fromarray(gray).save(path)
    photo = load_photo(path)
    assert photo.dtype == np.uint8
    np.testing.assert_array_equal(photo, np.rint(gray[..., None] / 257).repeat(3, axis=2))


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_photographs_without_a_known_white_are_refused(tmp_path: Path, dtype: type) -> None:
    path = tmp_path / "strange.tif"
    Image.fromarray(np.ones((3, 4), dtype)).save(path)
    with pytest.raises(DataError, match=r"strange\.tif: .* white is not known.*Remove it"):
        load_photo(path)


def test_photographs_that_are_too_large_are_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(DataError, match=r"photo-00\.png: .*exceeds limit"):
        load_photo(folder / "photo-00.png")


def test_two_runs_decode_into_one_cache(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos, cache, save = find_photos(folder)[-2:], tmp_path / "cache", np.save

    def save_beside_another_run(stream: Any, array: Any) -> None:
        monkeypatch.setattr(np, "save", save)
        PhotoCache(photos, cache)
        save(stream, array)

    monkeypatch.setattr(np, "save", save_beside_another_run)
    PhotoCache(photos, cache)
    assert sorted(path.suffix for path in cache.iterdir()) == [".npy", ".npy"]

"""Photographs as RAW scenes: ordinary pictures turned back into clean, linear camera RGB.

"Unprocessing Images for Learned Raw Denoising", Brooks et al., CVPR 2019, https://arxiv.org/abs/1811.11127: undo the
display curve, leave sRGB for a camera's colors, undo the white balance. HDR panoramas need only the last two, and bring
what photographs lack: lamps and windows far above white. Gains and matrices come from real cameras.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from alen.cfa import CFA, mosaic_from_rgb
from alen.color import cam2rgb_from_xyz2cam, eotf_srgb
from alen.data.patterns import add_lamps, color_light, lift_highlights, random_pattern
from alen.errors import DataError

SUFFIXES: Final = frozenset({".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".hdr"})
"""Files taken for photographs; ".hdr" is Radiance RGBE, read as linear sRGB."""

HELD_OUT_EVERY: Final = 10
"""One photograph in this many is never trained on."""

XYZ2CAM: Final = (  # the first four from Brooks et al.'s published code, the others from the makers' DNG profiles
    ((1.0234, -0.2969, -0.2266), (-0.5625, 1.6328, -0.0469), (-0.0703, 0.2188, 0.6406)),
    ((0.4913, -0.0541, -0.0202), (-0.6130, 1.3513, 0.2906), (-0.1564, 0.2151, 0.7183)),
    ((0.8380, -0.2630, -0.0639), (-0.2887, 1.0725, 0.2496), (-0.0627, 0.1427, 0.5438)),
    ((0.6596, -0.2079, -0.0562), (-0.4782, 1.3016, 0.1933), (-0.0970, 0.1581, 0.5181)),
    ((0.6640, -0.1847, -0.0503), (-0.5238, 1.3010, 0.2474), (-0.0993, 0.1673, 0.6527)),  # Sony ILCE-7SM2
    ((0.6941, -0.1164, -0.0857), (-0.3825, 1.1597, 0.2534), (-0.0416, 0.1540, 0.6039)),  # Canon EOS 550D
)
"""DNG color matrices, XYZ (D65) to camera RGB before white balance, of sensors of several makers."""

_LOG_GAIN_MEAN: Final = (0.72, 0.80)
_LOG_GAIN_STD: Final = (0.20, 0.24)
_LOG_GAIN_CORRELATION: Final = -0.5
# The red and blue gains' logarithms. See-in-the-Dark's 231 scenes have means 0.72 and 0.89, deviations 0.08 and 0.11
# and a correlation of −0.50; the wider spread covers daylight, tungsten and other makers' filters.


@dataclass(frozen=True)
class Scene:
    """A noiseless scene as a camera with a perfect, fully sampled sensor would see it."""

    rgb: NDArray[np.float32]
    """(H, W, 3) linear camera RGB, white-balanced, 1 = display white; ≥ 0, lamps above 1."""
    white_balance: tuple[float, float, float]
    """Gains R, G, B that were divided out in front of the sensor; green = 1."""
    cam2rgb: NDArray[np.float64]
    """(3, 3) matrix back to linear sRGB; rows sum to 1."""

    def expose(self, ratio: float, cfa: CFA) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Take the scene with too short an exposure.

        Args:
            ratio: By how much the exposure is too short, ≥ 1.
            cfa: The sensor's filter array.

        Returns:
            The noiseless normalized mosaic (H, W) in [0, 1], and the truth (H, W, 3): what a noiseless, fully sampled
            sensor gives as (DN − black)/(white − black) × white balance × ratio, so clipped where the sensor clips.
        """
        gains = np.asarray(self.white_balance, dtype=np.float32)
        sensor = np.minimum(self.rgb / (gains * np.float32(ratio)), np.float32(1))  # (H, W, 3)
        return mosaic_from_rgb(sensor, cfa), sensor * (gains * np.float32(ratio))


def find_photos(folder: Path) -> list[Path]:
    """Return the photographs below a folder, sorted by their path within it.

    Raises:
        DataError: There is no such folder, or no photograph in it.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder. Name a folder of clean photographs (JPEG, PNG, WebP, TIFF, HDR).")
    found = sorted((p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES), key=lambda p: p.as_posix())
    if not found:
        raise DataError(f"{folder}: no photographs in it. Looked for {', '.join(sorted(SUFFIXES))}.")
    return found


def split(photos: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Return (training, held-out) photographs: every tenth of each kind, sorted by name, is held out.

    HDR panoramas and ordinary pictures are counted apart, so that both parts hold both. Of fewer than six ordinary ones
    the last is held out.
    """
    train: list[Path] = []
    held_out: list[Path] = []
    for is_hdr in (False, True):
        kind = sorted(
            (p for p in photos if (p.suffix.lower() == ".hdr") is is_hdr), key=lambda p: (p.name, p.as_posix())
        )
        first = HELD_OUT_EVERY // 2 if is_hdr else min(HELD_OUT_EVERY // 2, len(kind) - 1)
        for index, path in enumerate(kind):
            (held_out if index % HELD_OUT_EVERY == first else train).append(path)
    return train, held_out


def load_photo(path: Path) -> NDArray[np.uint8] | NDArray[np.float32]:
    """Decode a photograph: uint8 (H, W, 3) display-encoded sRGB, or float32 (H, W, 3) linear sRGB for ".hdr".

    Gray ones of 16 bits are rounded to 8.

    Raises:
        DataError: The file cannot be decoded, is too large, or has values whose white is not known.
    """
    try:
        if path.suffix.lower() == ".hdr":
            return np.ascontiguousarray(imagecodecs.rgbe_decode(path.read_bytes()), dtype=np.float32)
        with Image.open(path) as image:
            if image.mode.startswith("I;16"):  # Pillow would cut values off at 255
                gray = np.asarray(image).astype(np.float32)
                return np.repeat(np.rint(gray / np.float32(257)).astype(np.uint8)[..., None], 3, axis=2)
            if image.mode in ("I", "F"):
                raise ValueError(f"its pixels are of Pillow's mode {image.mode}, whose white is not known")
            return np.asarray(image.convert("RGB"))
    except (OSError, ValueError, Image.DecompressionBombError, imagecodecs.RgbeError) as error:
        raise DataError(f"{path}: cannot be decoded as a photograph ({error}). Remove it from the folder.") from error


class PhotoCache:
    """Decoded photographs as memory maps: a crop costs a crop, however many photographs there are.

    Each photograph is decoded once into ``folder`` as an uncompressed .npy (uint8, or float16 for HDR).
    """

    def __init__(self, photos: Sequence[Path], folder: Path, *, progress: Callable[[int], None] | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.photos = tuple(photos)
        self._files: list[Path] = []
        for done, path in enumerate(self.photos):
            stat = path.stat()
            key = hashlib.sha256(f"{path.resolve()}|{stat.st_size}|{stat.st_mtime_ns}".encode()).hexdigest()[:16]
            file = folder / f"{path.stem}-{key}.npy"
            if not file.exists():
                photo = load_photo(path)
                part = file.with_name(f".{file.name}.{secrets.token_hex(4)}.part")  # other runs may write it, too
                try:
                    with part.open("xb") as stream:
                        np.save(stream, photo if photo.dtype == np.uint8 else np.minimum(photo, 6e4).astype(np.float16))
                    part.replace(file)
                finally:
                    part.unlink(missing_ok=True)
            self._files.append(file)
            if progress is not None:
                progress(done + 1)

    def __len__(self) -> int:
        return len(self.photos)

    def linear_crop(self, index: int, size: int, rng: np.random.Generator) -> NDArray[np.float32]:
        """Return a random square of a photograph as linear sRGB (size, size, 3) float32, 1 = white.

        Half of the squares are taken twice as large and averaged down where the photograph allows it: that removes what
        is left of noise and compression, and shows finer detail. HDR squares are exposed so that their middle is grey.
        """
        photo = np.load(self._files[index], mmap_mode="r")  # (H, W, 3)
        height, width = photo.shape[:2]
        step = 2 if min(height, width) >= 2 * size and rng.random() < 0.5 else 1
        side = min(step * size, height, width)
        y, x = (int(rng.integers(0, n - side + 1)) for n in (height, width))
        crop = np.array(photo[y : y + side, x : x + side])
        if side < size:  # a small photograph: continue it by mirroring
            crop = np.pad(crop, ((0, size - side), (0, size - side), (0, 0)), mode="symmetric")
        if crop.dtype == np.uint8:
            # half a step of dither: eight bits are coarse in the shadows
            linear = eotf_srgb((crop + rng.random(crop.shape, dtype=np.float32) - np.float32(0.5)) / np.float32(255))
        else:
            linear = crop.astype(np.float32)
            middle = np.exp(np.mean(np.log(linear.mean(axis=2) + 1e-4)))
            linear *= np.float32(0.18 / max(float(middle), 1e-4))
        if step == 2 and side == 2 * size:
            linear = linear.reshape(size, 2, size, 2, 3).mean(axis=(1, 3))
        return np.maximum(linear, 0)

    def whole(self, index: int) -> NDArray[np.float32]:
        """Return a whole photograph as linear sRGB (H, W, 3) float32; HDR exposed as in `linear_crop`."""
        photo = np.load(self._files[index], mmap_mode="r")
        if photo.dtype == np.uint8:
            return eotf_srgb(np.asarray(photo, dtype=np.float32) / np.float32(255))
        linear = np.asarray(photo, dtype=np.float32)
        middle = np.exp(np.mean(np.log(linear.mean(axis=2) + 1e-4)))
        return linear * np.float32(0.18 / max(float(middle), 1e-4))


def _made_harder(linear: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Return a photograph (H, W, 3), linear sRGB, in colored light, with highlights or with lamps."""
    kind = rng.random()
    if kind < 0.6:
        linear = color_light(linear, rng)
    if kind > 0.4:
        linear = lift_highlights(linear, rng) if rng.random() < 0.5 else add_lamps(linear, rng)
    return linear


def sample_camera(rng: np.random.Generator) -> tuple[tuple[float, float, float], NDArray[np.float64]]:
    """Draw a camera and a light: white balance gains (R, G, B), and the matrix from camera RGB to linear sRGB (3, 3).

    The matrix is a random convex combination of `XYZ2CAM`.
    """
    weights = rng.dirichlet(np.full(len(XYZ2CAM), 0.6))
    cam2rgb = cam2rgb_from_xyz2cam(np.tensordot(weights, np.asarray(XYZ2CAM), axes=1))
    red, blue = rng.standard_normal(2)
    blue = _LOG_GAIN_CORRELATION * red + np.sqrt(1 - _LOG_GAIN_CORRELATION**2) * blue
    gains = np.exp([_LOG_GAIN_MEAN[0] + _LOG_GAIN_STD[0] * red, _LOG_GAIN_MEAN[1] + _LOG_GAIN_STD[1] * blue])
    gains = np.clip(gains, 1.0, 4.0)
    return (float(gains[0]), 1.0, float(gains[1])), cam2rgb


def unprocess(
    linear_srgb: NDArray[np.float32], white_balance: tuple[float, float, float], cam2rgb: NDArray[np.float64]
) -> Scene:
    """Turn linear sRGB (H, W, 3) into the scene a camera sees: its own colors, nothing below 0."""
    rgb2cam = np.linalg.inv(cam2rgb).astype(np.float32)
    return Scene(np.maximum(linear_srgb @ rgb2cam.T, 0), white_balance, cam2rgb)


def random_scene(cache: PhotoCache, size: int, rng: np.random.Generator, *, hard_share: float = 0.0) -> Scene:
    """Draw a scene for training: photograph, square, flips, exposure, camera and light at random.

    The exposure moves by −2 to +1 stops, more often down than up: night scenes are dark after development, too. Of the
    ``hard_share`` of scenes a third are patterns, the others photographs in colored light or with lamps
    (`alen.data.patterns`).
    """
    chance = rng.random() if hard_share > 0 else 1.0
    if chance < hard_share / 3:
        linear = random_pattern(size, rng)
    else:
        linear = cache.linear_crop(int(rng.integers(len(cache))), size, rng)
        if chance < hard_share:
            linear = _made_harder(linear, rng)
    if rng.random() < 0.5:
        linear = linear[::-1]
    if rng.random() < 0.5:
        linear = linear[:, ::-1]
    if rng.random() < 0.5:
        linear = linear.transpose(1, 0, 2)
    exposure = np.float32(2.0 ** rng.triangular(-2.0, 0.0, 1.0))
    return unprocess(linear * exposure, *sample_camera(rng))

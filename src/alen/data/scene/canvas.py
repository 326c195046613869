"""Pictures as float arrays: a rectangle of one, layers over it, resampling, blur and blending."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Array = NDArray[np.float32]

Color = tuple[float, float, float]


@dataclass(frozen=True)
class Box:
    """A rectangle of pixels."""

    top: int
    left: int
    height: int
    width: int

    def of(self, picture: Array) -> Array:
        """Return the view of a picture (H, W, 3) inside the rectangle."""
        return picture[self.top : self.top + self.height, self.left : self.left + self.width]


def over(picture: Array, box: Box, radiance: Array, coverage: Array) -> None:
    """Lay premultiplied radiance (h, w, 3) with its coverage (h, w) over the picture, in place."""
    target = box.of(picture)
    target *= (1 - coverage)[..., None]
    target += radiance


def shrink(samples: Array, box: Box, detail: int) -> Array:
    """Average ``detail`` × ``detail`` samples (h·detail, w·detail, …) to the box's pixels (h, w, …)."""
    shape = (box.height, detail, box.width, detail, *samples.shape[2:])
    return np.asarray(samples.reshape(shape).mean(axis=(1, 3)), dtype=np.float32)


def grow(coarse: Array, step: int, box: Box) -> Array:
    """Interpolate cells (h, w, C) of ``step`` pixels to the box's pixels (height, width, C)."""
    if step == 1:
        return coarse
    h, w = coarse.shape[0] * step, coarse.shape[1] * step
    return resize(coarse, h, w, Image.Resampling.BILINEAR)[: box.height, : box.width]


def resize(picture: Array, height: int, width: int, how: Image.Resampling) -> Array:
    """Resample a float picture (h, w) or (h, w, C) with Pillow, channel by channel."""
    if picture.ndim == 2:
        return np.asarray(Image.fromarray(picture).resize((width, height), how), dtype=np.float32)
    channels = [resize(np.ascontiguousarray(picture[..., c]), height, width, how) for c in range(picture.shape[2])]
    return np.stack(channels, axis=-1)


def blur(picture: Array, sigma: float) -> Array:
    """Blur a picture (H, W, C) by about a Gaussian of ``sigma`` pixels: reduced, smoothed by [1 2 1]/4, enlarged."""
    factor = max(1, round(sigma / 1.5))
    height, width = picture.shape[:2]
    h, w = math.ceil(height / factor), math.ceil(width / factor)
    small = resize(picture, h, w, Image.Resampling.BOX) if factor > 1 else picture
    for _ in range(max(1, round(2 * (sigma / factor) ** 2))):
        small = np.pad(small, ((1, 1), (1, 1), (0, 0)), mode="edge")
        small = np.asarray((small[:-2] + small[2:] + 2 * small[1:-1]) / 4, np.float32)
        small = np.asarray((small[:, :-2] + small[:, 2:] + 2 * small[:, 1:-1]) / 4, np.float32)
    return resize(small, height, width, Image.Resampling.BICUBIC) if factor > 1 else small


def mix(a: Array | Color, b: Array | Color, amount: Array) -> Array:
    """Blend two colors (3,) or (h, w, 3) by an amount (h, w)."""
    mixed = np.empty((*amount.shape, 3), dtype=np.float32)
    for c in range(3):  # broadcasting over a last axis of three is slow
        low, high = (np.asarray(color, dtype=np.float32)[..., c] for color in (a, b))
        mixed[..., c] = low + (high - low) * amount
    return mixed


def smoothstep(low: float, high: float, value: Array) -> Array:
    """Rise smoothly from 0 at ``low`` to 1 at ``high`` (which may be the smaller)."""
    t = np.clip((value - low) / (high - low), 0, 1)
    return np.asarray(t * t * (3 - 2 * t), dtype=np.float32)

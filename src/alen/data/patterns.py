"""What photographs have too little of: fine regular detail, pure colors, colored light, lamps far above white.

Drawn at random, for training alone. The charts that tell how well it was learned, `alen.data.charts`, are others.
"""

from __future__ import annotations

import string
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from alen.color import eotf_srgb

_LUMA: Final = np.array([0.2126, 0.7152, 0.0722], dtype=np.float32)

_HIGHEST_FREQUENCY: Final = 0.48
"""Cycles per pixel."""


def random_pattern(size: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Draw a pattern: waves, or shapes and letters, sometimes with lamps; linear sRGB (size, size, 3) float32, ≥ 0."""
    pattern = _waves(size, rng) if rng.random() < 0.4 else _shapes(size, rng)
    return add_lamps(pattern, rng) if rng.random() < 0.5 else pattern


def color_light(linear: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Put a scene (H, W, 3), linear sRGB, into stronger colors or colored light; its mean luminance stays."""
    if rng.random() < 0.5:
        luma = (linear @ _LUMA)[..., None]
        changed = np.maximum(luma + np.float32(rng.uniform(1.0, 2.5)) * (linear - luma), 0)
    else:
        changed = linear * np.exp(0.7 * rng.standard_normal(3)).astype(np.float32)
    before, after = float((linear @ _LUMA).mean()), float((changed @ _LUMA).mean())
    return np.asarray(changed * np.float32(before / max(after, 1e-6)), dtype=np.float32)


def lift_highlights(linear: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Give a scene (H, W, 3), linear sRGB, what a photograph clips: the nearly white becomes up to 32 × as bright."""
    whiteness = np.clip((linear.max(axis=2, keepdims=True) - np.float32(0.8)) / np.float32(0.2), 0, 1) ** 2
    return np.asarray(linear * (1 + whiteness * np.float32(2.0 ** rng.uniform(0, 5) - 1)), dtype=np.float32)


def add_lamps(linear: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Put one to four lamps into a scene (H, W, 3), linear sRGB: disks and bars, 1 to 64 × white, some colored."""
    height, width = linear.shape[:2]
    y, x = np.mgrid[:height, :width].astype(np.float32)
    result = linear.copy()
    for _ in range(rng.integers(1, 5)):
        across, up = x - np.float32(rng.uniform(0, width)), y - np.float32(rng.uniform(0, height))
        angle = rng.uniform(0, np.pi)
        along = np.abs(np.float32(np.cos(angle)) * across + np.float32(np.sin(angle)) * up)
        beside = np.abs(np.float32(np.cos(angle)) * up - np.float32(np.sin(angle)) * across)
        radius = np.float32(2.0 ** rng.uniform(0, 4))
        length = np.float32(rng.uniform(0, 0.4) * width) if rng.random() < 0.5 else np.float32(0)
        distance = np.hypot(np.maximum(along - length, 0), beside)
        share = np.clip(radius + np.float32(0.5) - distance, 0, 1)[..., None]  # a pixel of smooth edge
        color = np.ones(3) if rng.random() < 0.5 else _color(rng)
        lamp = (2.0 ** rng.uniform(0, 6) * color / max(float(color @ _LUMA), 0.1)).astype(np.float32)
        result += share * (lamp - result)
    return result


def _waves(size: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Draw waves between two colors; direction and length change across the square, none is shorter than 2 pixels."""
    y, x = np.mgrid[:size, :size].astype(np.float32) / np.float32(size) - np.float32(0.5)
    frequency, angle = 2.0 ** rng.uniform(-6, -1.1), rng.uniform(0, 2 * np.pi)
    room = (_HIGHEST_FREQUENCY - frequency) / 2
    bends = rng.uniform(-room, room, 2)  # by how much the frequency along x and y changes from the middle to the edge
    phase = frequency * (np.cos(angle) * x + np.sin(angle) * y) + bends[0] * x * x + bends[1] * y * y
    wave = 0.5 + 0.5 * rng.uniform(0.2, 1) * np.sin(2 * np.pi * size * phase + rng.uniform(0, 2 * np.pi))
    one, other = _color(rng), _color(rng)
    return np.asarray(one + wave[..., None] * (other - one), dtype=np.float32)


def _shapes(size: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Draw ellipses, polygons, lines and letters on a gradient, smoothed by drawing them twice as large."""
    side = 2 * size
    ramp = np.linspace(0, 1, size, dtype=np.float32)
    one, other, share = _color(rng), _color(rng), (ramp[:, None, None] if rng.random() < 0.5 else ramp[None, :, None])
    picture = np.broadcast_to(one + share * (other - one), (size, size, 3)).astype(np.float32)
    for _ in range(rng.integers(3, 13)):
        mask = Image.new("L", (side, side))
        draw = ImageDraw.Draw(mask)
        for _ in range(rng.integers(1, 6)):
            _draw_one(draw, side, rng)
        alpha = np.asarray(mask.reduce(2), dtype=np.float32)[..., None] / np.float32(255)
        picture += alpha * (_color(rng).astype(np.float32) - picture)
    return picture


def _draw_one(draw: ImageDraw.ImageDraw, side: int, rng: np.random.Generator) -> None:
    x, y = (float(v) for v in rng.uniform(0, side, 2))
    match int(rng.integers(4)):
        case 0:
            w, h = (float(v) for v in 2.0 ** rng.uniform(1, np.log2(side) - 1, 2))
            draw.ellipse([x, y, x + w, y + h], fill=255)
        case 1:
            corners = rng.uniform(-side / 4, side / 4, (int(rng.integers(3, 7)), 2))
            draw.polygon([(x + float(dx), y + float(dy)) for dx, dy in corners], fill=255)
        case 2:
            end = tuple(float(v) for v in rng.uniform(0, side, 2))
            draw.line([(x, y), end], fill=255, width=int(rng.integers(1, 9)))
        case _:
            letters = "".join(rng.choice(list(string.ascii_letters + string.digits), int(rng.integers(2, 12))))
            draw.text((x - side / 8, y), letters, fill=255, font=ImageFont.load_default(float(rng.uniform(14, 64))))


def _color(rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw a color, linear sRGB: gray, any, or pure, from black to white."""
    kind = rng.random()
    encoded = rng.random(3)
    if kind < 0.35:
        encoded = np.full(3, encoded[0])
    elif kind < 0.65:  # one channel at nothing, one at the top
        encoded = (encoded - encoded.min()) / max(float(np.ptp(encoded)), 1e-3) * rng.random()
    return np.asarray(eotf_srgb(encoded), dtype=np.float64)

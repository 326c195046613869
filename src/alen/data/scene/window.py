"""What is seen through the window: the city at night, out of focus, and the neon sign in front of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from PIL import ImageDraw

from alen.data.scene.canvas import Array, Color, blur, mix
from alen.data.scene.textures import Draw, mask, texel_grid


def night_city(seed: int) -> Draw:
    """Return the radiance behind the window: sky, stars, moon, buildings, lamps; a little out of focus."""

    def draw(height: int, width: int) -> Array:
        rng = np.random.default_rng(seed)
        city = _sky(height, width, rng)
        for depth in range(3):
            _add_buildings(city, depth, rng)
        _add_street_lamps(city, rng)
        return _defocus(city, 0.0042 * width)

    return draw


def _sky(height: int, width: int, rng: np.random.Generator) -> Array:
    """Return a clear sky (h, w, 3): glow of the city below, deep blue above, stars, a crescent moon."""
    v, u = texel_grid(height, width)
    rise = np.clip(v / 0.85, 0, 1)
    sky = mix((0.0035, 0.0060, 0.0150), (0.020, 0.024, 0.040), rise**2 * np.ones_like(u))
    glow = rise**6 * (0.6 + 0.4 * np.cos((u - 0.6) * 4))
    sky += glow[..., None] * np.array([0.085, 0.046, 0.024], np.float32)
    for _ in range(170):
        y, x = int(rng.uniform(0, 0.6) * height), int(rng.uniform() * width)
        warmth = rng.uniform(0.75, 1.2)
        sky[y, x] += rng.exponential(0.22) * np.array([warmth, 1.0, 1.9 - warmth]) * (width / 900) ** 2
    radius = 0.030
    across, along = (u - 0.155) / radius, (v - 0.20) * height / width / radius
    disk = np.clip((1.00 - np.hypot(across, along)) * radius * width, 0, 1)
    shadow = np.clip((0.98 - np.hypot(across + 0.42, along + 0.18)) * radius * width, 0, 1)
    return mix(sky, (2.6, 2.4, 2.0), disk * (1 - shadow))


def _add_buildings(city: Array, depth: int, rng: np.random.Generator) -> None:
    """Paint one row of buildings into the picture, in place; ``depth`` 0 is the farthest."""
    height, width, _ = city.shape
    haze = np.array([(0.030, 0.026, 0.032), (0.016, 0.015, 0.021), (0.0075, 0.0075, 0.011)][depth], np.float32)
    x = -0.05
    while x < 1.0:
        wide = rng.uniform(0.035, 0.085) * (0.8 + 0.35 * depth)
        top = 0.86 - rng.uniform(0.08, 0.42) * (1.0, 0.85, 0.55)[depth]
        left, right = max(0, round(x * width)), min(width, round((x + wide) * width))
        if right - left > 2:
            city[round(top * height) :, left:right] = haze
            if rng.uniform() < 0.3:  # an antenna with its red lamp
                middle, tip = (left + right) // 2, round((top - 0.05) * height)
                city[tip : round(top * height), middle : middle + max(1, width // 600)] = haze
                city[tip : tip + max(1, height // 300), middle : middle + max(1, width // 450)] = (2.4, 0.12, 0.06)
            _add_windows(city, (round(top * height), left, right), depth, rng)
        x += wide * rng.uniform(0.9, 1.25)


def _add_windows(city: Array, place: tuple[int, int, int], depth: int, rng: np.random.Generator) -> None:
    """Light some of the windows of the building at (top, left, right), in place."""
    top, left, right = place
    height, width, _ = city.shape
    cell_x, cell_y = width * (0.0062 + 0.0022 * depth), width * (0.0085 + 0.0030 * depth)
    pane_x, pane_y = max(1, round(cell_x * 0.55)), max(1, round(cell_y * 0.55))
    dimmed = 0.3025 * cell_x * cell_y / (pane_x * pane_y)  # whole texels stand for panes of another size
    warm, cool = np.array([1.0, 0.62, 0.26]), np.array([0.62, 0.85, 1.0])
    busy = rng.uniform(0.12, 0.5)
    for row in np.arange(top + cell_y, height, cell_y):
        for column in np.arange(left + 0.4 * cell_x, right - cell_x, cell_x):
            chance, level, hue = rng.uniform(), 0.10 + rng.exponential(0.22), rng.uniform()
            if chance < busy:
                tone = cool if hue < 0.22 else warm * (1.0, 0.9 + 0.3 * hue, 0.7 + hue)
                city[int(row) : int(row) + pane_y, int(column) : int(column) + pane_x] = (
                    dimmed * level * (0.6 + 0.3 * depth) * tone
                )


def _add_street_lamps(city: Array, rng: np.random.Generator) -> None:
    """Add the bright, saturated points along the streets, in place: lamps, signs, traffic."""
    height, width, _ = city.shape
    hues = (
        (1.0, 0.55, 0.16),
        (1.0, 0.78, 0.45),
        (1.0, 0.08, 0.05),
        (0.10, 0.9, 0.35),
        (0.2, 0.45, 1.0),
        (1.0, 0.2, 0.6),
    )
    size = max(1, round(width / 400))
    for _ in range(85):
        u, v = rng.uniform(), 0.80 + 0.2 * rng.beta(1.2, 2.0)
        hue = np.array(hues[rng.choice(len(hues), p=(0.34, 0.28, 0.14, 0.08, 0.08, 0.08))])
        x, y = int(u * (width - size)), int(v * (height - size))
        city[y : y + size, x : x + size] += rng.uniform(3, 22) * (width / 400 / size) ** 2 * hue


def _defocus(picture: Array, radius: float) -> Array:
    """Blur a picture (h, w, 3) by a disk, as a lens out of focus does; the disk's rim is a little brighter."""
    reach = math.ceil(radius)
    if radius < 0.6:
        return picture
    offsets = range(-reach, reach + 1)
    y, x = np.meshgrid(offsets, offsets, indexing="ij")
    distance = np.hypot(y, x)
    kernel = np.clip(radius + 0.5 - distance, 0, 1) * (1 + 0.35 * (distance / radius) ** 4)
    kernel = (kernel / kernel.sum()).astype(np.float32)
    height, width, _ = picture.shape
    padded = np.pad(picture, ((reach, reach), (reach, reach), (0, 0)), mode="edge")
    total = np.zeros_like(picture)
    for (j, i), weight in np.ndenumerate(kernel):
        if weight > 0:
            total += weight * padded[j : j + height, i : i + width]
    return total


_NEON: Final[tuple[tuple[Color, tuple[tuple[tuple[float, float], ...], ...]], ...]] = (
    (
        (15.0, 0.8, 4.1),
        (
            ((0.05, 0.66), (0.13, 0.12), (0.15, 0.12), (0.23, 0.66)),
            ((0.083, 0.46), (0.197, 0.46)),
            ((0.31, 0.12), (0.31, 0.66), (0.45, 0.66)),
            ((0.68, 0.12), (0.53, 0.12), (0.53, 0.66), (0.68, 0.66)),
            ((0.53, 0.39), (0.65, 0.39)),
            ((0.76, 0.66), (0.76, 0.12), (0.93, 0.66), (0.93, 0.12)),
        ),
    ),
    ((0.65, 7.8, 11.0), (tuple((0.05 + 0.022 * k, 0.84 + 0.045 * math.sin(0.9 * k)) for k in range(41)),)),
)
"""The sign: radiance of the gas, and strokes through points of the unit square, which is its inner half."""


def neon_sign(height: int, width: int) -> Array:
    """Return the sign's radiance (h, w, 4): tubes with a pale core and a saturated rim, glow around, coverage."""
    sign = np.zeros((height, width, 4), dtype=np.float32)
    for color, strokes in _NEON:
        tube, core = (_stroked(height, width, strokes, size * height) for size in (0.0165, 0.008))
        pale = 0.75 * np.asarray(color, np.float32) + 0.25 * max(color)
        light = mix((0.0, 0.0, 0.0), color, 0.5 * tube)
        light = mix(light, pale, core)
        sign[..., :3] += light
        sign[..., 3] = np.maximum(sign[..., 3], tube)
    for sigma, share in ((0.014, 0.10), (0.05, 0.05)):
        sign[..., :3] += share * blur(sign[..., :3], sigma * height)
    return sign


def _stroked(height: int, width: int, strokes: Sequence[Sequence[tuple[float, float]]], thickness: float) -> Array:
    """Return round-ended strokes as a mask (h, w), softly edged like a tube."""

    def paint(draw: ImageDraw.ImageDraw) -> None:
        for stroke in strokes:
            points = [(2 * (0.17 + 0.66 * u) * width, 2 * (0.27 + 0.46 * v) * height) for u, v in stroke]
            draw.line(points, 255, max(1, round(2 * thickness)), joint="curve")
            for x, y in (points[0], points[-1]):
                draw.ellipse((x - thickness, y - thickness, x + thickness, y + thickness), 255)

    return blur(mask(height, width, paint, 2)[..., None], max(0.5, 0.18 * thickness))[..., 0]

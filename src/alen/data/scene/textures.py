"""Textures: noise, lettering, and the plain surfaces of the room: paint, plaster, wood, cloth."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from alen.data.scene.canvas import Array, Color, mix, resize

Draw = Callable[[int, int], Array]
"""Draws a texture of (height, width) texels: (h, w, 3) color, or (h, w, 4) premultiplied color and coverage."""


def linear_light(red: int, green: int, blue: int) -> Color:
    """Return 8-bit sRGB as linear light in [0, 1] (IEC 61966-2-1)."""
    r, g, b = (v / 255 / 12.92 if v <= 10 else ((v / 255 + 0.055) / 1.055) ** 2.4 for v in (red, green, blue))
    return r, g, b


def texel_grid(height: int, width: int) -> tuple[Array, Array]:
    """Return v (h, 1) and u (1, w): the middles of the texels of the unit square."""
    v, u = ((np.arange(side) + 0.5) / side for side in (height, width))
    return v.astype(np.float32)[:, None], u.astype(np.float32)[None]


def fractal_noise(
    height: int, width: int, rng: np.random.Generator, cells: tuple[float, float], octaves: int = 5
) -> Array:
    """Return fractal value noise (h, w), mean about 0, within ±1: octaves of smoothly enlarged random grids.

    Args:
        height: Rows.
        width: Columns.
        rng: Source of the grids.
        cells: Grid cells of the coarsest octave along the height and the width.
        octaves: Each has twice the cells and half the amplitude of the one before.
    """
    total = np.zeros((height, width), dtype=np.float32)
    for octave in range(octaves):
        h, w = (min(side, max(2, round(c * 2**octave))) for c, side in zip(cells, (height, width), strict=True))
        grid = rng.uniform(-1, 1, (h, w)).astype(np.float32)
        total += resize(grid, height, width, Image.Resampling.BICUBIC) * 0.5 ** (octave + 1)
    return total


def mask(height: int, width: int, paint: Callable[[ImageDraw.ImageDraw], None], detail: int = 1) -> Array:
    """Return what ``paint`` draws in white on black, (h, w) in [0, 1], with ``detail`` samples per texel and side."""
    image = Image.new("L", (width * detail, height * detail))
    paint(ImageDraw.Draw(image))
    if detail > 1:
        image = image.resize((width, height), Image.Resampling.BOX)
    return np.asarray(np.asarray(image) / 255, dtype=np.float32)


def lettering(height: int, width: int, lines: Sequence[tuple[float, float, float, str]], room: float = 0.9) -> Array:
    """Return text as a mask (h, w) in [0, 1].

    Args:
        height: Rows.
        width: Columns.
        lines: Middle (u, v) in [0, 1], size as a part of the height, and the words.
        room: Longest a line may be, as a part of the width; a longer one is set smaller.
    """

    def paint(draw: ImageDraw.ImageDraw) -> None:
        for u, v, size, words in lines:
            px = size * height
            px *= min(1.0, room * width / max(1.0, draw.textlength(words, ImageFont.load_default(max(4.0, px)))))
            if px >= 3:  # smaller letters are no letters
                draw.text((u * width, v * height), words, 255, ImageFont.load_default(px), anchor="mm")

    return mask(height, width, paint)


def painted(color: Color, seed: int, grain: float = 0.12) -> Draw:
    """Return painted wood or paper of one color with a faint uneven grain."""

    def draw(height: int, width: int) -> Array:
        noise = fractal_noise(height, width, np.random.default_rng(seed), (4, 4), 6)
        return np.asarray(color, np.float32) * (1 + grain * noise)[..., None]

    return draw


def plaster(seed: int) -> Draw:
    """Return a painted, slightly rough wall with large, soft stains."""

    def draw(height: int, width: int) -> Array:
        rng = np.random.default_rng(seed)
        tone = (
            1
            + 0.16 * fractal_noise(height, width, rng, (2, 3), 4)
            + 0.10 * fractal_noise(height, width, rng, (90, 130), 3)
        )
        return np.asarray((0.30, 0.29, 0.275), np.float32) * tone[..., None]

    return draw


def wood(seed: int, boards: int, length: float = 1.0) -> Draw:
    """Return boards along u, one under another: rings, fibers, pores and the gaps between.

    Args:
        seed: Of the grain.
        boards: How many.
        length: Of a board, in units of about eight board widths.
    """

    def draw(height: int, width: int) -> Array:
        rng = np.random.default_rng(seed)
        v, u = texel_grid(height, width)
        board = np.minimum((v * boards).astype(int), boards - 1)[:, 0]
        offset, tint = rng.uniform(0, 40, boards).astype(np.float32), rng.uniform(-1, 1, boards).astype(np.float32)
        warp = fractal_noise(height, width, rng, (1.5 * boards, 4 * length), 4)
        across = v * boards - board[:, None] - 0.5 + 0.3 * tint[board][:, None]
        along = (u - (offset[board][:, None] * 0.37) % 1) * length
        age = 6.5 * np.sqrt(across**2 + 0.35 * along**2 + 0.004) + 1.3 * warp + offset[board][:, None]
        rings = (age % 1) ** 3  # slow growth in summer, a dark line in winter
        fibers = fractal_noise(height, width, rng, (70 * boards, 30 * length), 3)
        pores = np.maximum(fractal_noise(height, width, rng, (130 * boards, 90 * length), 1) - 0.28, 0)
        tone = 0.75 - 0.5 * rings + 0.34 * fibers + 0.14 * tint[board][:, None] + 0.25 * warp
        color = mix((0.070, 0.027, 0.011), (0.27, 0.130, 0.058), np.clip(tone, 0, 1.2))
        gap = np.abs((v * boards + 0.5) % 1 - 0.5) * height / boards  # texels from the nearest joint
        groove = 1 - 0.85 * np.exp(-((gap / max(1.0, 0.012 * height / boards)) ** 2))
        return np.asarray(color * ((1 - 1.6 * pores) * groove)[..., None], dtype=np.float32)

    return draw


def woven(seed: int, threads: int) -> Draw:
    """Return a plain weave in a checked pattern, ``threads`` along the width: over, under, over, under."""

    def draw(height: int, width: int) -> Array:
        rng = np.random.default_rng(seed)
        v, u = texel_grid(height, width)
        pitch = width / threads
        across, along = u * threads, v * height / pitch
        i, j = across.astype(int), along.astype(int)
        over = (i + j) % 2 == 0
        profile_u, profile_v = np.sin(math.pi * (across % 1)), np.sin(math.pi * (along % 1))
        crimp = np.where(over, profile_u * (0.55 + 0.45 * profile_v), profile_v * (0.55 + 0.45 * profile_u))
        warp_color, weft_color = _stripes(threads, rng), _stripes(int(along.max()) + 1, rng)
        color = np.where(over[..., None], warp_color[i[0]][None], weft_color[j[:, 0]][:, None])
        fuzz = 1 + 0.35 * fractal_noise(height, width, rng, (height / 6, width / 6), 2)
        return np.asarray(color * ((0.30 + 0.70 * crimp) * fuzz)[..., None], dtype=np.float32)

    return draw


def _stripes(count: int, rng: np.random.Generator) -> Array:
    """Return the colors (count, 3) of a set of threads: a broad check with thin lines, each thread a little uneven."""
    base, dark, line = (linear_light(*c) for c in ((205, 196, 178), (38, 70, 96), (196, 84, 48)))
    phase = np.arange(count) % 48
    color = np.where((phase[:, None] >= 26) & (phase[:, None] < 40), dark, base)
    color = np.where((phase[:, None] // 2) % 12 == 3, line, color)
    return np.asarray(color * rng.uniform(0.85, 1.1, (count, 1)), dtype=np.float32)

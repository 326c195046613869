"""The books: their titles, their spines and paper, a row on the table and two that lie."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from alen.data.scene.arrangement import LYING, SHELF
from alen.data.scene.canvas import Array, mix
from alen.data.scene.painters import Painter, Quad, block_painter
from alen.data.scene.textures import Draw, fractal_noise, lettering, linear_light, painted, texel_grid
from alen.data.scene.view import TABLE_Y, Point


@dataclass(frozen=True)
class _Volume:
    """A book on the shelf."""

    title: str
    author: str
    cloth: tuple[int, int, int]
    """8-bit sRGB."""
    ink: tuple[int, int, int]
    thickness: float
    height: float
    bands: int = 0
    """Raised bands across the spine."""


_LIBRARY: Final = (
    _Volume("PHOTON COUNTING", "A. Lumen", (122, 31, 34), (226, 190, 110), 0.062, 0.375, 3),
    _Volume("The Quiet Sensor", "M. Reed", (34, 66, 98), (225, 225, 215), 0.044, 0.340),
    _Volume("NIGHT OPTICS", "Ilse Dunkel", (30, 72, 52), (222, 196, 120), 0.070, 0.400, 4),
    _Volume("Shadows & Signs", "K. Umbra", (214, 176, 62), (40, 32, 30), 0.036, 0.315),
    _Volume("A FIELD GUIDE TO DARKNESS", "Nocturne Press", (226, 218, 200), (60, 44, 50), 0.054, 0.360),
    _Volume("Non-Local Means", "B. Collmorel", (86, 44, 96), (214, 204, 226), 0.050, 0.330, 2),
    _Volume("ATTENTION", "Q. K. Value", (24, 24, 28), (214, 74, 56), 0.066, 0.385),
    _Volume("The Lamp at Sea", "P. Fresnel", (40, 118, 128), (240, 232, 210), 0.040, 0.345),
    _Volume("DEMOSAIC", "G. Bayer", (190, 86, 40), (250, 236, 200), 0.048, 0.365, 2),
)


def _spine(book: _Volume, seed: int) -> Draw:
    """Return a spine: cloth, rounding, bands, the title reading downward and the author in small type."""

    def draw(height: int, width: int) -> Array:
        rng = np.random.default_rng(seed)
        v, u = texel_grid(height, width)
        across, down = np.sin(u * width * 1.5), np.sin(v * height * 1.5)
        weave = 1 + 0.10 * across * down + 0.22 * fractal_noise(height, width, rng, (9, 3), 6)
        color = np.asarray(linear_light(*book.cloth), np.float32) * weave[..., None]
        letters = lettering(width, height, [(0.485, 0.5, 0.60, book.title)], 0.62)
        letters += lettering(width, height, [(0.91, 0.5, 0.32, book.author), (0.07, 0.5, 0.26, "ALEN")], 0.14)
        lines = np.zeros((height, 1), np.float32)
        for edge in (0.13, 0.145, 0.82, 0.835):
            lines = np.maximum(lines, np.clip(1.5 - np.abs(v - edge) * height, 0, 1))
        ink = np.maximum(np.rot90(letters, -1), lines * 0.8 * (np.abs(u - 0.5) < 0.46))
        color = mix(color, linear_light(*book.ink), ink * np.clip(weave, 0, 1))
        ridge = sum(
            (np.exp(-(((v - 0.17 - 0.62 * k / max(1, book.bands)) * 90) ** 2)) for k in range(book.bands)), 0 * v
        )
        shade = 0.30 + 0.70 * np.clip(1 - (2 * u - 1) ** 4, 0, 1)
        slope = np.gradient(ridge[:, 0])[:, None] * height / 60
        return np.asarray(color * (shade * (1 + 0.5 * slope))[..., None], np.float32)

    return draw


def _pages(seed: int) -> Draw:
    """Return the edge of a block of paper: fine lines along u."""

    def draw(height: int, width: int) -> Array:
        sheets = np.random.default_rng(seed).uniform(0.65, 1.0, (height, 1)).astype(np.float32)
        return np.asarray((0.62, 0.56, 0.44), np.float32) * np.repeat(sheets, width, axis=1)[..., None]

    return draw


def book_painters(seed: int) -> list[Painter]:
    """Return the row of upright books, then the two that lie under the lamp."""
    painters: list[Painter] = []
    x, z, depth = SHELF.low[0], SHELF.low[2], 0.2
    for index, book in enumerate(_LIBRARY):
        y, tilt = TABLE_Y - book.height, 0.0
        if index == len(_LIBRARY) - 1:  # the last one leans on its neighbor
            tilt = -0.13
            y += 0.006
        right = (book.thickness * math.cos(tilt), book.thickness * math.sin(tilt), 0.0)
        down = (-book.height * math.sin(tilt), book.height * math.cos(tilt), 0.0)
        back: Point = (x, y, z + depth)
        painters.append(Quad(corner=back, right=right, down=(0.0, 0.0, -depth), draw=_pages(seed + index)).paint)
        painters.append(Quad(corner=(x, y, z), right=right, down=down, draw=_spine(book, seed + index)).paint)
        x += book.thickness + 0.0015
    for block, book in zip(LYING, (_LIBRARY[2], _LIBRARY[0]), strict=True):
        painters.append(
            block_painter(block, _lying_spine(book, seed + 40), painted(linear_light(*book.cloth), seed + 41))
        )
    return painters


def _lying_spine(book: _Volume, seed: int) -> Draw:
    """Return the spine of a book that lies on its side: the texture turned to read along u."""
    upright = _spine(replace(book, thickness=0.045, height=0.28), seed)
    return lambda height, width: np.ascontiguousarray(np.rot90(upright(width, height), 1))

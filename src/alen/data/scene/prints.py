"""What is printed or written: the color checker, the two pictures on the wall, the letter."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from alen.data.scene.canvas import Array, mix, smoothstep
from alen.data.scene.textures import Draw, fractal_noise, lettering, linear_light, texel_grid

COLOR_CHECKER_SRGB: Final = (
    ((115, 82, 68), (194, 150, 130), (98, 122, 157), (87, 108, 67), (133, 128, 177), (103, 189, 170)),
    ((214, 126, 44), (80, 91, 166), (193, 90, 99), (94, 60, 108), (157, 188, 64), (224, 163, 46)),
    ((56, 61, 150), (70, 148, 73), (175, 54, 60), (231, 199, 31), (187, 86, 149), (8, 133, 161)),
    ((243, 243, 242), (200, 200, 200), (160, 160, 160), (122, 122, 121), (85, 85, 85), (52, 52, 52)),
)
"""The 24 patches as 8-bit sRGB by row: the manufacturer's values, as printed in D. Pascale, "RGB coordinates of the
Macbeth ColorChecker", BabelColor, 2006, table 1 (column "sRGB (GMB)")."""


def color_checker() -> Draw:
    """Return the color checker: 24 patches with their reflectances on a black card, and a title."""
    colors = np.array([[linear_light(*patch) for patch in row] for row in COLOR_CHECKER_SRGB], dtype=np.float32)

    def draw(height: int, width: int) -> Array:
        v, u = texel_grid(height, width)
        x, y = (u - 0.035) / 0.93 * 6, (v - 0.05) / 0.84 * 4
        inside = (np.abs(x % 1 - 0.5) < 0.43) & (np.abs(y % 1 - 0.5) < 0.43) & (x > 0) & (x < 6) & (y > 0) & (y < 4)
        patch = colors[np.clip(y[:, 0], 0, 3).astype(int)][:, np.clip(x[0], 0, 5).astype(int)]
        card = np.where(inside[..., None], patch, np.float32(0.018))
        text = [(0.20, 0.945, 0.055, "24 COLORS · D65"), (0.82, 0.945, 0.055, "made-up night")]
        return mix(card, (0.5, 0.5, 0.5), lettering(height, width, text))

    return draw


def zone_print() -> Draw:
    """Return a print with a zone plate, stars, line pairs and captions of several sizes."""

    def draw(height: int, width: int) -> Array:
        v, u = texel_grid(height, width)
        x, y = u - 0.5, (v - 0.40) * height / width
        r2 = x * x + y * y
        rings = 0.5 + 0.5 * np.cos(math.pi * 0.22 * width * r2 / 0.40)  # local period ≥ 4.5 texels at the edge
        ink = np.where(r2 < 0.16, rings, 0).astype(np.float32)
        for cu, cv in ((0.16, 0.83), (0.84, 0.83)):
            sx, sy = u - cu, (v - cv) * height / width
            star = 0.5 + 0.5 * np.sin(36 * np.arctan2(sy, sx))
            radius = np.hypot(sx, sy)
            ink = np.where((radius < 0.11) & (radius > 0.018), smoothstep(0.35, 0.65, star), ink)
        for row in range(5):  # line pairs, each group finer
            period = max(2.0, width * 0.02 * 0.72**row)
            bars = (np.abs(u - 0.5) < 0.17) & (np.abs(v - 0.755 - 0.026 * row) < 0.010)
            ink = np.where(bars, smoothstep(0.3, 0.7, 0.5 + 0.5 * np.sin(2 * math.pi * u * width / period)), ink)
        text = [
            (0.5, 0.055, 0.040, "THE ZONE PLATE"),
            (0.5, 0.905, 0.026, "Fig. 4 - rings of equal area"),
            (0.5, 0.945, 0.018, "engraved by candle light for the society of night observers"),
        ]
        ink = np.maximum(ink, lettering(height, width, text))
        return mix((0.80, 0.77, 0.70), (0.02, 0.02, 0.025), ink)

    return draw


def contour_print(seed: int) -> Draw:
    """Return a map of an island: fine contour lines, blue water, red path, names."""

    def draw(height: int, width: int) -> Array:
        rng = np.random.default_rng(seed)
        v, u = texel_grid(height, width)
        hill = (
            1.1
            - 2.4 * np.hypot(u - 0.5, (v - 0.5) * height / width)
            + 0.8 * fractal_noise(height, width, rng, (3, 4), 3)
        )
        slope = np.hypot(*np.gradient(hill * 14)) + np.float32(1e-4)
        distance = np.abs((hill * 14 + 0.5) % 1 - 0.5) / slope  # texels from the nearest contour
        line = np.clip(1.35 - distance, 0, 1) * (hill > 0)
        land = mix((0.62, 0.66, 0.42), (0.80, 0.66, 0.46), np.clip(hill, 0, 1))
        paper = mix((0.36, 0.55, 0.62), land, np.clip(hill / slope * 14 + 0.5, 0, 1))
        paper = mix(paper, (0.22, 0.10, 0.05), 0.8 * line)
        names = [
            (0.22, 0.10, 0.075, "ISLE OF NOISE"),
            (0.76, 0.92, 0.05, "soundings in electrons"),
            (0.5, 0.5, 0.06, "Mt. Poisson"),
        ]
        return mix(paper, (0.03, 0.04, 0.09), lettering(height, width, names))

    return draw


def framed(inner: Draw, mat: float) -> Draw:
    """Return a picture inside a cream mat of ``mat`` of the width, with a beveled edge."""

    def draw(height: int, width: int) -> Array:
        border = max(1, round(mat * width))
        sheet = np.full((height, width, 3), (0.72, 0.70, 0.65), np.float32)
        if min(height, width) > 2 * border + 4:
            bevel = max(1, border // 12)
            sheet[border - bevel : height - border + bevel, border - bevel : width - border + bevel] = (
                0.35,
                0.34,
                0.31,
            )
            sheet[border:-border, border:-border] = inner(height - 2 * border, width - 2 * border)
        return sheet

    return draw


_LETTER: Final = (
    (0.120, "On seeing in the dark"),
    (0.085, "A lamp is a small sun"),
    (0.085, "that asks for nothing."),
    (0.070, "Around it the room falls off"),
    (0.070, "as one over r squared, and in"),
    (0.058, "the corners a few electrons are left:"),
    (0.058, "ten, or three, or none. The noise"),
    (0.048, "is their counting. Whoever reads this"),
    (0.040, "at one hundred per cent has a lamp, 0123456789"),
    (0.034, "or a good enhancer. Pack my box with five jugs."),
)


def written_letter(seed: int) -> Draw:
    """Return a ruled sheet with lines of text that get smaller."""

    def draw(height: int, width: int) -> Array:
        rng = np.random.default_rng(seed)
        v, _ = texel_grid(height, width)
        paper = (
            np.asarray((0.74, 0.71, 0.63), np.float32)
            * (1 + 0.05 * fractal_noise(height, width, rng, (5, 7), 5))[..., None]
        )
        rule = np.clip(1.2 - np.abs((v * 11.5 + 0.5) % 1 - 0.5) * height / 11.5, 0, 1) * np.ones((1, width), np.float32)
        paper = mix(paper, (0.32, 0.45, 0.62), 0.35 * rule * (v > 0.14))
        lines = [(0.5, 0.085 + 0.093 * k, size, words) for k, (size, words) in enumerate(_LETTER)]
        return mix(paper, (0.025, 0.025, 0.06), 0.93 * lettering(height, width, lines))

    return draw

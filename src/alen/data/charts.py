"""Test charts rendered by the program: the hard cases of a low-light enhancer, each alone and of known geometry.

Stars, lamps, neon tubes, text, a zone plate, a color checker, dark ramps and dark fields. Every chart is scene-linear
sRGB, (height, width, 3) float32, at the exposure of the reference, as `alen.data.scene.night_scene`: white is 1, lamps
lie above, nothing is clipped or below 0. `alen.data.photos.unprocess` takes it to the camera RGB of a sensor. Edges are
antialiased: 4 × 4 samples per pixel. Beside each chart stands what a measurement has to know of it: boxes, places,
frequencies.

The same size (and seed) gives the same chart. Sides are at least `MIN_SIDE`, odd ones too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from alen.color import eotf_srgb
from alen.data.lens import blur
from alen.data.scene import COLOR_CHECKER_SRGB
from alen.errors import SettingsError

Array = NDArray[np.float32]
Color = tuple[float, float, float]
Box = tuple[slice, slice]
"""Rows and columns: ``picture[box]``."""

MIN_SIDE: Final = 32
"""Least height and width of a chart in pixels."""

_DETAIL: Final = 4
"""Samples per pixel and side where edges are drawn."""


# -------------------------------------------------------------------------------------------------------- color checker


def color_checker(height: int, width: int) -> Array:
    """Render the 24 patches on a black card, evenly lit by D65: their values are those of `COLOR_CHECKER_SRGB`.

    Source of the values: D. Pascale, "RGB coordinates of the Macbeth ColorChecker", BabelColor, 2006, table 1.
    """
    chart = _plain(height, width, (0.012, 0.012, 0.012))
    colors = eotf_srgb(np.asarray(COLOR_CHECKER_SRGB, dtype=np.float32) / 255).reshape(24, 3)
    for box, color in zip(checker_boxes(height, width), colors, strict=True):
        chart[box] = color
    return chart


def checker_boxes(height: int, width: int) -> list[Box]:
    """Return where the 24 patches lie, row by row; the last six are the grays, white first."""
    return _cells(0, height, width, rows=4, columns=6, margin=0.06)


# --------------------------------------------------------------------------------------------- dark ramps, dark fields

RAMPS: Final[tuple[Color, ...]] = ((1.0, 1.0, 1.0), (1.0, 0.35, 0.2), (0.3, 0.8, 0.4), (0.25, 0.45, 1.0))
"""Colors of the ramps from above to below: neutral, red, green, blue."""

RAMP_END: Final = 0.4
"""Display-encoded value of a ramp's largest channel at its right end; the left end is black."""

FIELDS: Final[tuple[Color, ...]] = (
    (0.002, 0.002, 0.002),
    (0.006, 0.006, 0.006),
    (0.02, 0.02, 0.02),
    (0.06, 0.06, 0.06),
    (0.004, 0.008, 0.03),
    (0.03, 0.006, 0.004),
    (0.006, 0.016, 0.006),
    (0.025, 0.015, 0.008),
)
"""Linear colors of the flat fields, row by row: four grays; night blue, dark red, dark green, brown."""


def gradients(height: int, width: int) -> Array:
    """Render dark ramps in the upper half, even to the eye (in display-encoded values), and dark flat fields below."""
    chart = _plain(height, width, (0.0, 0.0, 0.0))
    ramp = eotf_srgb(np.linspace(0, RAMP_END, width))
    for (rows, columns), color in zip(ramp_boxes(height, width), RAMPS, strict=True):
        chart[rows, columns] = ramp[:, None] * np.asarray(color, dtype=np.float32)
    for box, color in zip(field_boxes(height, width), FIELDS, strict=True):
        chart[box] = color
    return chart


def ramp_boxes(height: int, width: int) -> list[Box]:
    """Return where the ramps lie, from above to below."""
    return _cells(0, height // 2, width, rows=len(RAMPS), columns=1)


def field_boxes(height: int, width: int) -> list[Box]:
    """Return where the flat fields lie, row by row."""
    return _cells(height // 2, height - height // 2, width, rows=2, columns=len(FIELDS) // 2)


# ---------------------------------------------------------------------------------------------------------- zone plate

ZONE_MEAN, ZONE_AMPLITUDE = 0.25, 0.2
"""Linear mean and amplitude of the rings."""


def zone_plate(height: int, width: int, *, max_frequency: float = 0.4) -> Array:
    """Render gray rings whose frequency grows linearly with the radius, up to the rim, and even gray around them.

    From 0.25 cycles per pixel on, red and blue of a Bayer mosaic are sampled too sparsely; from 0.5 on, so is the
    whole mosaic, and there is nothing. The rings fade out over a tenth of the radius, so that the rim has no edge.

    Args:
        height: Rows.
        width: Columns.
        max_frequency: At the rim, in cycles per pixel; below 0.5.

    Raises:
        SettingsError: A side is too short, or the frequency out of its range.
    """
    if not 0 < max_frequency < 0.5:
        raise SettingsError(f"The frequency at the rim lies between 0 and 0.5 cycles per pixel; got {max_frequency}.")
    _check(height, width)
    radius = _zone_radius(height, width)
    y, x = _centers(height, _DETAIL) - height / 2, _centers(width, _DETAIL) - width / 2
    square = y[:, None] ** 2 + x**2  # (4 H, 4 W), px²
    share = np.clip((1 - np.sqrt(square) / radius) / 0.1, 0, 1)
    rings = np.cos(math.pi * max_frequency / radius * square) * (share * share * (3 - 2 * share))
    gray = _reduced(ZONE_MEAN + ZONE_AMPLITUDE * rings)
    return np.repeat(gray[..., None], 3, axis=2)


def zone_frequency(height: int, width: int, *, max_frequency: float = 0.4) -> Array:
    """Return the local frequency of the zone plate in cycles per pixel, (H, W); infinity where the rings fade out."""
    radius = _zone_radius(height, width)
    y, x = _centers(height)[:, None] - height / 2, _centers(width) - width / 2
    distance = np.hypot(y, x)
    frequency = np.where(distance <= 0.9 * radius, max_frequency * distance / radius, np.inf)
    return np.asarray(frequency, dtype=np.float32)


def _zone_radius(height: int, width: int) -> float:
    return 0.49 * min(height, width)


# ---------------------------------------------------------------------------------------------------------------- text

TEXT_SIZES_PX: Final = (8, 10, 12, 15, 19, 24, 32)
"""Sizes of the letters from above to below, then again from the smallest, until the page is full."""

_INKS: Final = ((0.60, 0.03), (0.015, 0.22))
"""Linear gray of paper and letters: a lit page on the left, a dark board on the right."""

_WORDS: Final = (
    "Sphinx of black quartz, judge my vow 0123456789",
    "The five boxing wizards jump quickly at 23:58",
    "NIGHT BUS 47 to Harbour Street / no stop at Mill Lane",
    "illi1l| mnwm rnm 8B0O aeoc 5S2Z %&@#",
)


@dataclass(frozen=True)
class TextLine:
    """One line of text."""

    box: Box
    """Where it lies."""
    size_px: int
    """Size of its letters."""


def text(height: int, width: int) -> Array:
    """Render lines of small sharp letters, dark on a lit page and light on a dark board, in Pillow's default font."""
    _check(height, width)
    image = Image.new("L", (width * _DETAIL, height * _DETAIL))
    for index, line in enumerate(text_lines(height, width)):
        rows, columns = line.box
        tall, wide = ((s.stop - s.start) * _DETAIL for s in (rows, columns))
        slot = Image.new("L", (wide, tall))  # letters end with their half of the page
        words = "   ".join(_WORDS[(index + k) % len(_WORDS)] for k in range(len(_WORDS)))
        font = ImageFont.load_default(line.size_px * _DETAIL)
        ImageDraw.Draw(slot).text((4 * _DETAIL, tall // 2), words, 255, font, anchor="lm")
        image.paste(slot, (columns.start * _DETAIL, rows.start * _DETAIL))
    ink = _reduced(np.asarray(image, dtype=np.float32) / 255)
    left = (np.arange(width) < width // 2)[None]
    (page, letters), (board, chalk) = _INKS
    gray = np.where(left, page + (letters - page) * ink, board + (chalk - board) * ink)
    return np.repeat(gray.astype(np.float32)[..., None], 3, axis=2)


def text_lines(height: int, width: int) -> list[TextLine]:
    """Return the lines: those of the page on the left, then those of the board on the right."""
    lines: list[TextLine] = []
    for columns in (slice(0, width // 2), slice(width // 2, width)):
        top = 3
        for index in range(height):
            size = TEXT_SIZES_PX[index % len(TEXT_SIZES_PX)]
            bottom = top + math.ceil(1.4 * size)
            if bottom > height:
                break
            lines.append(TextLine((slice(top, bottom), columns), size))
            top = bottom
    return lines


# --------------------------------------------------------------------------------------------------------------- stars

SKY: Final[Color] = (0.004, 0.006, 0.011)
"""Linear color of the sky."""

_STAR_SIGMA_PX: Final = 0.75
"""Standard deviation of a star's picture in pixels, as a good lens makes it."""

_STAR_CELL_PX: Final = 20
"""One star in each cell of so many pixels: no two touch."""

STAR_PEAKS: Final = (0.03, 10.0)
"""Faintest and brightest star: linear green at its middle, above the sky; the logarithm is evenly distributed."""


@dataclass(frozen=True)
class Star:
    """One star."""

    row: float
    """Of its middle, in pixels; that of the first pixel's middle is 0.5."""
    column: float
    """Likewise."""
    peak: float
    """Linear green at its middle, above the sky."""
    color: Color
    """Relative to green."""


def star_field(height: int, width: int, seed: int = 0) -> Array:
    """Render stars, from faint to clipped, on an even dark sky. A pixel gets the light that falls on its square."""
    chart = _plain(height, width, SKY)
    for star in stars(height, width, seed):
        rows, row_light = _spread(star.row, height)
        columns, column_light = _spread(star.column, width)
        light = star.peak * row_light[:, None] * column_light  # (h, w)
        chart[rows, columns] += light[..., None] * np.asarray(star.color, dtype=np.float32)
    return chart


def stars(height: int, width: int, seed: int = 0) -> list[Star]:
    """Return the stars, row by row of their cells, of which each is at least 8 pixels away from the next."""
    rng = np.random.default_rng(seed)
    low, high = (math.log(peak) for peak in STAR_PEAKS)
    found: list[Star] = []
    for top in range(0, height, _STAR_CELL_PX):
        for left in range(0, width, _STAR_CELL_PX):
            y, x, brightness, warmth = rng.random(4)
            row, column = (start + 4 + (_STAR_CELL_PX - 8) * t for start, t in ((top, y), (left, x)))
            color = (0.8 + 0.4 * float(warmth), 1.0, 1.2 - 0.4 * float(warmth))
            if row < height - 4 and column < width - 4:
                found.append(Star(row, column, math.exp(low + (high - low) * brightness), color))
    return found


def _spread(middle: float, size: int) -> tuple[slice, Array]:
    """Return the pixels within four standard deviations of a place, and a Gaussian's mean over each; 1 at its peak."""
    start, stop = (round(middle + sign * 4 * _STAR_SIGMA_PX) for sign in (-1, 1))
    pixels = slice(max(start, 0), min(stop, size))
    edges = [(edge - middle) / (math.sqrt(2) * _STAR_SIGMA_PX) for edge in range(pixels.start, pixels.stop + 1)]
    integral = np.array([math.erf(edge) for edge in edges])
    return pixels, np.asarray(np.diff(integral) * _STAR_SIGMA_PX * math.sqrt(math.pi / 2), dtype=np.float32)


# --------------------------------------------------------------------------------------------------------------- lamps

WALL: Final = 0.02
"""Linear gray of the wall behind lamps and signs."""

LAMP_RADIANCES: Final = (4.0, 30.0, 200.0, 1000.0)
"""Linear radiance of the lamps, column by column; the last one clips at every exposure ratio."""

_LAMP_RADII: Final = (0.012, 0.03, 0.06)
"""Radii of the lamps, row by row, as shares of the shorter side."""


@dataclass(frozen=True)
class Lamp:
    """One lamp: a white disk."""

    row: float
    """Of its middle, in pixels; that of the first pixel's middle is 0.5."""
    column: float
    """Likewise."""
    radius_px: float
    """Radius."""
    radiance: float
    """Linear radiance; white is 1."""


def lamps(height: int, width: int) -> Array:
    """Render white disks far above white, sharply edged, on a dark even wall: no glare that would hide an error."""
    _check(height, width)
    chart = _plain(height, width, (WALL, WALL, WALL))
    y, x = _centers(height, _DETAIL), _centers(width, _DETAIL)
    for lamp in lamp_places(height, width):
        disk = _reduced(np.hypot(y[:, None] - lamp.row, x - lamp.column) < lamp.radius_px)
        chart += (disk * (lamp.radiance - WALL))[..., None].astype(np.float32)
    return chart


def lamp_places(height: int, width: int) -> list[Lamp]:
    """Return the lamps, row by row: each row one radius, each column one radiance."""
    side = min(height, width)
    rows, columns = len(_LAMP_RADII), len(LAMP_RADIANCES)
    return [
        Lamp((j + 0.5) * height / rows, (i + 0.5) * width / columns, max(1.5, radius * side), radiance)
        for j, radius in enumerate(_LAMP_RADII)
        for i, radiance in enumerate(LAMP_RADIANCES)
    ]


# ---------------------------------------------------------------------------------------------------------------- neon

Stroke = tuple[tuple[float, float], ...]
"""Points (u, v) of the unit square, joined by straight lines."""


def _wave(v: float, phase: float) -> Stroke:
    return tuple((0.06 + 0.022 * k, v + 0.035 * math.sin(0.8 * k + phase)) for k in range(41))


_LETTERS: Final[tuple[Stroke, ...]] = (
    ((0.06, 0.56), (0.14, 0.12), (0.16, 0.12), (0.24, 0.56)),
    ((0.095, 0.40), (0.205, 0.40)),
    ((0.31, 0.12), (0.31, 0.56), (0.45, 0.56)),
    ((0.68, 0.12), (0.53, 0.12), (0.53, 0.56), (0.68, 0.56)),
    ((0.53, 0.34), (0.65, 0.34)),
    ((0.76, 0.56), (0.76, 0.12), (0.93, 0.56), (0.93, 0.12)),
)
"""A, L, E, N."""

NEON_COLORS: Final[tuple[Color, ...]] = (
    (1.0, 0.06, 0.04),
    (1.0, 0.25, 0.01),
    (0.05, 1.0, 0.12),
    (0.04, 0.55, 1.0),
    (0.1, 0.08, 1.0),
    (1.0, 0.06, 0.55),
)
"""Light of the tubes relative to its largest channel: red, orange, green, cyan, blue, pink."""

_NEON_STROKES: Final[tuple[tuple[Stroke, ...], ...]] = (
    _LETTERS[:2],
    _LETTERS[2:3],
    _LETTERS[3:5],
    _LETTERS[5:],
    (_wave(0.70, 0.0),),
    (_wave(0.86, 1.5),),
)
"""The strokes of each color: the four letters, two waves below."""

NEON_RIM, NEON_CORE = 3.0, 300.0
"""Linear radiance of a tube's largest channel at its saturated rim and in its paler core."""

_TUBE: Final = ((3.5, 0.032), (1.0, 0.008))
"""Thickness of tube and core: least in pixels, and as a share of the shorter side."""

_GLOW: Final = ((0.02, 0.03), (0.06, 0.03))
"""Standard deviation of the glow as a share of the shorter side, and its share of the light of the rim."""


def neon_sign(height: int, width: int) -> Array:
    """Render saturated colored tubes far above clipping, with a paler core and a glow, on a dark wall."""
    _check(height, width)
    side = min(height, width)
    light = np.zeros((height, width, 3), dtype=np.float32)
    for color, strokes in zip(NEON_COLORS, _NEON_STROKES, strict=True):
        tube, core = (_stroked(height, width, strokes, max(least, part * side)) for least, part in _TUBE)
        saturated = np.asarray(color, dtype=np.float32)
        light += (NEON_RIM * tube * (1 - core))[..., None] * saturated
        light += (NEON_CORE * core)[..., None] * (0.8 * saturated + np.float32(0.2))
    soft = np.minimum(light, np.float32(NEON_RIM))
    return light + sum(share * blur(soft, part * side) for part, share in _GLOW) + np.float32(WALL)


def _stroked(height: int, width: int, strokes: tuple[Stroke, ...], thickness_px: float) -> Array:
    """Return round-ended strokes as a mask (H, W) in [0, 1]."""
    image = Image.new("L", (width * _DETAIL, height * _DETAIL))
    draw, radius = ImageDraw.Draw(image), thickness_px * _DETAIL / 2
    for stroke in strokes:
        points = [(u * width * _DETAIL, v * height * _DETAIL) for u, v in stroke]
        draw.line(points, 255, max(1, round(2 * radius)))
        for x, y in points:  # round joints and ends
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), 255)
    return _reduced(np.asarray(image, dtype=np.float32) / 255)


# ------------------------------------------------------------------------------------------------------------- helpers


def _check(height: int, width: int) -> None:
    if min(height, width) < MIN_SIDE:
        raise SettingsError(f"A chart needs at least {MIN_SIDE} × {MIN_SIDE} pixels; got {height} × {width}.")


def _plain(height: int, width: int, color: Color) -> Array:
    """Return one color, (H, W, 3)."""
    _check(height, width)
    return np.tile(np.asarray(color, dtype=np.float32), (height, width, 1))


def _cells(top: int, height: int, width: int, *, rows: int, columns: int, margin: float = 0.0) -> list[Box]:
    """Divide rows ``top`` to ``top + height`` into cells, row by row; a share of the shorter side is left around each.

    Borders lie between pixels. Cells without a margin cover everything.
    """
    gap = round(margin * min(height / rows, width / columns))
    y = [top + round(j * height / rows) for j in range(rows + 1)]
    x = [round(i * width / columns) for i in range(columns + 1)]
    return [
        (slice(y[j] + gap, y[j + 1] - gap), slice(x[i] + gap, x[i + 1] - gap))
        for j in range(rows)
        for i in range(columns)
    ]


def _centers(side: int, detail: int = 1) -> NDArray[np.float64]:
    """Return the middles of a row of pixels, or of their samples, in pixels: 0.5, 1.5 and so on."""
    return np.asarray((np.arange(side * detail) + 0.5) / detail, dtype=np.float64)


def _reduced(samples: NDArray[np.floating | np.bool_]) -> Array:
    """Average `_DETAIL` × `_DETAIL` samples: (4 H, 4 W) → (H, W)."""
    h, w = (side // _DETAIL for side in samples.shape)
    return np.asarray(samples.reshape(h, _DETAIL, w, _DETAIL).mean(axis=(1, 3)), dtype=np.float32)


CHARTS: Final[Mapping[str, Callable[[int, int], Array]]] = MappingProxyType(
    {
        "color checker": color_checker,
        "gradients": gradients,
        "lamps": lamps,
        "neon sign": neon_sign,
        "star field": star_field,
        "text": text,
        "zone plate": zone_plate,
    }
)
"""All charts by name: functions of height and width."""

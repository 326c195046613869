"""The scene as a whole: everything painted back to front, seen through a lens."""

from __future__ import annotations

from typing import Final

import numpy as np

from alen.data.scene.arrangement import lighting
from alen.data.scene.books import book_painters
from alen.data.scene.canvas import Array, Box, blur
from alen.data.scene.painters import Stage
from alen.data.scene.plant import plant_painter
from alen.data.scene.reflection import add_reflection
from alen.data.scene.room import room_painters
from alen.data.scene.still_life import (
    cloth_and_letter,
    paint_ball,
    paint_candle,
    paint_color_card,
    paint_cup,
    paint_fruit,
    paint_lamp,
    table_top,
)
from alen.data.scene.view import FOCAL, HORIZON, View
from alen.errors import SettingsError

_EXPOSURE: Final = 1.4
"""Brings the color checker's white near 1."""


def night_scene(height: int = 1024, width: int = 1536, seed: int = 0) -> Array:
    """Render the still life.

    Args:
        height: Rows, at least 16.
        width: Columns, at least 16. The scene is composed for 3:2; other shapes crop it about its middle.
        seed: Chooses grain, leaves, stars and windows; the arrangement stays.

    Returns:
        (height, width, 3) float32, scene-linear sRGB radiance at the exposure of the reference: about 0.18 is middle
        gray, white paper under the lamp is near 1, lamps reach about 30; not negative, not clipped.

    Raises:
        SettingsError: A side is below 16.
    """
    if min(height, width) < 16:
        raise SettingsError(f"The scene needs at least 16 × 16 pixels; got {height} × {width}.")
    view = View.covering(height, width)
    stage = Stage(view, lighting(), np.zeros((height, width, 3), np.float32))
    base = 1000 * seed
    room = room_painters(base)
    things = [
        *book_painters(base + 100),
        plant_painter(base + 200),
        paint_color_card,
        paint_lamp,
        paint_cup,
        paint_candle,
        paint_ball,
        paint_fruit,
    ]
    for paint in room:
        paint(stage)
    table_top(base + 300).paint(stage)
    add_reflection(stage, [*room, *things])
    for paint in [*cloth_and_letter(base + 400), *things]:
        paint(stage)
    return _through_the_lens(stage.picture, view)


def _through_the_lens(picture: Array, view: View) -> Array:
    """Return the picture with glare around the lamps and the corners darkened, as lenses do; exposed."""
    glare = np.zeros_like(picture)
    for size, share in ((0.004, 0.03), (0.02, 0.02), (0.09, 0.016)):
        glare += share * blur(picture, size * view.scale)
    rays = view.rays(Box(0, 0, view.height, view.width), 1)
    across, down = rays[..., 0] * FOCAL, rays[..., 1] * FOCAL + HORIZON  # frame heights from the middle
    falloff = 1 - 0.37 * np.minimum(across**2 + down**2, 1.3)
    exposed = _EXPOSURE * falloff[..., None] * (np.float32(0.934) * picture + glare)
    return np.asarray(np.maximum(exposed, 0), dtype=np.float32)

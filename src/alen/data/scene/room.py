"""The room: wall, window and pictures."""

from __future__ import annotations

from alen.data.scene.light import Block
from alen.data.scene.painters import Painter, Quad, block_painter
from alen.data.scene.prints import contour_print, framed, zone_print
from alen.data.scene.textures import painted, plaster
from alen.data.scene.view import WALL_Z
from alen.data.scene.window import neon_sign, night_city


def room_painters(seed: int) -> list[Painter]:
    """Return the wall, the city, the neon sign, the window frame and the pictures, back to front."""
    wall = Quad(
        corner=(-1.4, -0.75, WALL_Z),
        right=(2.8, 0.0, 0.0),
        down=(0.0, 1.32, 0.0),
        draw=plaster(seed),
        sharpness=(0.5, 0.5),
    )
    left, right, top, bottom = -1.02, 0.22, -0.50, 0.36
    city = Quad(
        corner=(left, top, WALL_Z), right=(right - left, 0.0, 0.0), down=(0.0, bottom - top, 0.0),
        draw=night_city(seed + 1), glow=True, sharpness=(0.5, 0.5),
    )  # fmt: skip
    sign = Quad(
        corner=(-0.86, -0.47, 2.97),
        right=(1.16, 0.0, 0.0),
        down=(0.0, 0.74, 0.0),
        draw=neon_sign,
        glow=True,
        sharpness=(0.55, 0.55),
    )
    paint = painted((0.36, 0.35, 0.33), seed + 2)
    bars = [
        Block((left - 0.05, top, 2.95), (left, bottom, WALL_Z)),
        Block((right, top, 2.95), (right + 0.05, bottom, WALL_Z)),
        Block((-0.712, top, 2.965), (-0.688, bottom, WALL_Z)),
        Block((left - 0.09, bottom, 2.86), (right + 0.09, bottom + 0.035, WALL_Z)),
    ]
    painters: list[Painter] = [wall.paint, city.paint, sign.paint, *(block_painter(bar, paint) for bar in bars)]
    for (x, y, w, h), sheet in (
        ((0.36, -0.33, 0.27, 0.37), zone_print()),
        ((0.37, 0.10, 0.25, 0.19), contour_print(seed + 3)),
    ):
        frame = Block((x - 0.016, y - 0.016, 2.965), (x + w + 0.016, y + h + 0.016, WALL_Z))
        painters.append(block_painter(frame, painted((0.03, 0.025, 0.022), seed + 4)))
        painters.append(
            Quad(corner=(x, y, 2.964), right=(w, 0.0, 0.0), down=(0.0, h, 0.0), draw=framed(sheet, 0.07)).paint
        )
    return painters

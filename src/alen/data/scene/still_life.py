"""The table and what stands and lies on it: cloth, letter, color checker, ball, fruit, cup, lamp, candle."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from alen.data.scene.arrangement import BALL, BULB, CANDLE, CARD_CORNER, CARD_DOWN, CARD_RIGHT, CUP, FRUIT
from alen.data.scene.canvas import Array, mix, smoothstep
from alen.data.scene.painters import Globe, Painter, Quad, Rod, Stage, Turned, matt
from alen.data.scene.prints import color_checker, written_letter
from alen.data.scene.reflection import glazed
from alen.data.scene.textures import fractal_noise, painted, texel_grid, wood, woven
from alen.data.scene.view import TABLE_Y, WALL_Z


def table_top(seed: int) -> Quad:
    """Return the table top."""
    return Quad(
        corner=(-1.25, TABLE_Y, WALL_Z), right=(2.5, 0.0, 0.0), down=(0.0, 0.0, -1.62),
        draw=wood(seed, 7), sharpness=(0.4, 0.25),
    )  # fmt: skip


def cloth_and_letter(seed: int) -> list[Painter]:
    """Return what lies flat on the table."""
    y = TABLE_Y - 0.002
    cloth = Quad(
        corner=(-0.22, y, 2.22),
        right=(0.62, 0.0, 0.06),
        down=(0.09, 0.0, -0.52),
        draw=woven(seed, 150),
        sharpness=(0.7, 0.7),
    )
    letter = Quad(
        corner=(-0.42, y, 1.93), right=(0.36, 0.0, -0.06), down=(0.0, 0.0, -0.39), draw=written_letter(seed + 1)
    )
    return [cloth.paint, letter.paint]


def paint_color_card(stage: Stage) -> None:
    """Paint the color checker, leaning back."""
    Quad(corner=CARD_CORNER, right=CARD_RIGHT, down=CARD_DOWN, draw=color_checker()).paint(stage)


def paint_ball(stage: Stage) -> None:
    """Paint the glazed ball."""
    Globe(center=BALL.center, radius=BALL.radius, material=glazed(stage, (0.05, 0.20, 0.24))).paint(stage)


def paint_fruit(stage: Stage) -> None:
    """Paint two tangerines: a dimpled peel with a soft sheen of the lamp."""
    dimples = fractal_noise(256, 256, np.random.default_rng(8), (64, 64), 2)

    def peel(points: Array, normals: Array, light: Array) -> Array:
        turned = np.arctan2(normals[..., 0], -normals[..., 2])
        tone = dimples[(np.abs(normals[..., 1]) * 150).astype(int) % 256, ((turned + 4) * 90).astype(int) % 256]
        to_lamp = np.asarray(BULB, np.float32) - points
        way = points - stage.view.origin
        half = to_lamp / np.linalg.norm(to_lamp, axis=-1, keepdims=True) - way / np.linalg.norm(
            way, axis=-1, keepdims=True
        )
        half /= np.linalg.norm(half, axis=-1, keepdims=True)
        shine = 0.35 * np.clip(np.einsum("hwc,hwc->hw", half, normals) + 0.03 * tone, 0, 1) ** 60
        color = np.asarray((0.46, 0.118, 0.007), np.float32) * (1 + 0.35 * tone)[..., None]
        return np.asarray((color + shine[..., None]) * light, np.float32)

    for ball in FRUIT:
        Globe(center=ball.center, radius=ball.radius, material=peel).paint(stage)


def paint_cup(stage: Stage) -> None:
    """Paint the cup of pencils: the pencils behind its front rim first stand in it."""
    profile = ((0.39, 0.068), (0.40, 0.066), (0.50, 0.066), (0.54, 0.062), (TABLE_Y, 0.054))
    inside = painted((0.10, 0.09, 0.08), 5)
    cup = Turned(x=CUP.x, z=CUP.z, profile=profile, material=glazed(stage, (0.55, 0.50, 0.42)), lid=(0, inside, False))
    cup.paint(stage)
    colors = ((0.46, 0.24, 0.012), (0.45, 0.03, 0.03), (0.03, 0.12, 0.40), (0.05, 0.26, 0.08), (0.46, 0.24, 0.012))
    for k, color in enumerate(colors):
        foot = (CUP.x + 0.02 * (k - 2), 0.43, CUP.z + 0.02)
        tip = (CUP.x + 0.043 * (k - 2), 0.24 + 0.025 * ((k * 2) % 3), CUP.z + 0.02)
        Rod(start=tip, end=foot, radius=0.0075, material=matt(color)).paint(stage)
        peak = (tip[0] + 0.022 * 0.043 * (k - 2) / 0.19, tip[1] - 0.022, tip[2])
        Rod(start=peak, end=tip, radius=0.0075, taper=0.12, material=matt((0.52, 0.34, 0.19))).paint(stage)
    replace(cup, lid=None).paint(stage)  # its near side hides their feet


def paint_lamp(stage: Stage) -> None:
    """Paint the desk lamp: foot, arm, shade, its bright inside and the bulb."""
    steel, enamel = matt((0.07, 0.066, 0.06)), glazed(stage, (0.02, 0.13, 0.075))
    foot = ((0.531, 0.088), (0.536, 0.094), (TABLE_Y, 0.095))
    Turned(x=0.80, z=2.42, profile=foot, material=enamel, lid=(0, painted((0.02, 0.13, 0.075), 6), False)).paint(stage)
    Rod(start=(0.80, 0.08, 2.42), end=(0.80, 0.525, 2.42), radius=0.011, material=steel).paint(stage)
    Rod(start=(BULB[0], -0.19, BULB[2]), end=(0.80, 0.085, 2.42), radius=0.010, material=steel).paint(stage)
    Globe(center=(0.80, 0.085, 2.42), radius=0.019, material=steel).paint(stage)
    shade = ((-0.225, 0.024), (-0.19, 0.028), (-0.185, 0.045), (-0.06, 0.135), (-0.05, 0.138))
    Turned(x=BULB[0], z=BULB[2], profile=shade, material=enamel, lid=(4, _shade_inside, True)).paint(stage)
    Globe(center=BULB, radius=0.030, material=_bulb).paint(stage)


def _bulb(_points: Array, normals: Array, _light: Array) -> Array:
    """Return the radiance (h, w, 3) of frosted glass around a filament: a little less toward the rim."""
    rim = (0.55 + 0.45 * np.abs(normals[..., 2:])) ** 1.5
    return np.asarray(rim * (22.0, 18.0, 12.5), dtype=np.float32)


def _shade_inside(height: int, width: int) -> Array:
    """Return the radiance (h, w, 3) of the white inside of the shade around the bulb."""
    v, u = texel_grid(height, width)
    radius = np.hypot(u - 0.5, v - 0.5) * 2
    return np.asarray(1.0 + 5.0 * np.exp(-((radius / 0.5) ** 2)), np.float32)[..., None] * np.array(
        [1.0, 0.80, 0.55], np.float32
    )


def paint_candle(stage: Stage) -> None:
    """Paint the candle in its glass, glowing from within, and the flame."""
    x, y, z = CANDLE

    def wax(points: Array, normals: Array, light: Array) -> Array:
        near = np.exp(-(((points[..., 1] - y) / 0.055) ** 2)) * (0.35 + 0.65 * np.abs(normals[..., 2]))
        glow = near[..., None] * (1.5, 0.62, 0.17)
        return np.asarray(light * (0.55, 0.50, 0.42) + glow, dtype=np.float32)

    def pool(height: int, width: int) -> Array:
        v, u = texel_grid(height, width)
        hot = np.exp(-(((u - 0.5) ** 2 + (v - 0.5) ** 2) / 0.06))
        return np.asarray(hot[..., None] * np.array([5.0, 2.7, 0.9]) + np.array([0.9, 0.45, 0.14]), np.float32)

    body = ((y + 0.035, 0.036), (TABLE_Y, 0.036))
    Turned(x=x, z=z, profile=body, material=wax, lid=(0, pool, True)).paint(stage)
    Rod(start=(x, y + 0.018, z), end=(x, y + 0.038, z), radius=0.0015, material=matt((0.02, 0.02, 0.02))).paint(stage)
    flame = Quad(
        corner=(x - 0.022, y - 0.05, z), right=(0.044, 0.0, 0.0), down=(0.0, 0.085, 0.0), draw=_flame, glow=True
    )
    flame.paint(stage)


def _flame(height: int, width: int) -> Array:
    """Return the flame's radiance and coverage (h, w, 4): a drop, white-hot in the middle, blue at its foot."""
    v, u = texel_grid(height, width)
    half = 0.30 * np.sin(3.14159 * v**1.7) ** 0.85
    inside = smoothstep(1.0, 0.55, np.abs(u - 0.5) / np.maximum(half, 1e-3))
    color = mix((16.0, 9.0, 3.0), (0.3, 0.8, 3.0), smoothstep(0.78, 0.97, v) * np.ones_like(u))
    color = color * (0.35 + 0.65 * smoothstep(1.0, 0.1, np.abs(u - 0.5) / np.maximum(half, 1e-3)))[..., None]
    return np.concatenate([color * inside[..., None], inside[..., None] * 0.8], axis=2).astype(np.float32)

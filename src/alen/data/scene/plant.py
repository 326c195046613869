"""The rubber plant."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from alen.data.scene.arrangement import POT
from alen.data.scene.canvas import Array, mix
from alen.data.scene.painters import Painter, Rod, Stage, Turned, matt, paint_round
from alen.data.scene.textures import fractal_noise, painted
from alen.data.scene.view import TABLE_Y, Point


def plant_painter(seed: int) -> Painter:
    """Return the painter of a rubber plant: stems, and leaves from the back ones to the front ones."""

    def paint(stage: Stage) -> None:
        rng = np.random.default_rng(seed)
        clay = fractal_noise(64, 64, rng, (6, 6))

        def terracotta(points: Array, _normals: Array, light: Array) -> Array:
            y, x = ((np.abs(points[..., k]) * 400 % 64).astype(int) for k in (1, 0))
            tone = 1 + 0.25 * clay[y, x]
            return np.asarray(tone[..., None] * light * (0.42, 0.15, 0.075), np.float32)

        pot = ((0.32, 0.135), (0.362, 0.135), (0.364, 0.122), (TABLE_Y, 0.088))
        earth = painted((0.035, 0.025, 0.018), seed + 1, 0.8)
        Turned(x=POT.x, z=POT.z, profile=pot, material=terracotta, lid=(0, earth, False)).paint(stage)
        stems = [
            (POT.x + dx, 0.34, POT.x + ex, ey)
            for dx, ex, ey in ((-0.02, -0.10, 0.02), (0.01, 0.02, -0.16), (0.03, 0.13, 0.05))
        ]
        for x0, y0, x1, y1 in stems:
            Rod(start=(x1, y1, POT.z), end=(x0, y0, POT.z), radius=0.007, material=matt((0.10, 0.085, 0.04))).paint(
                stage
            )
        for k in range(24):
            x0, y0, x1, y1 = stems[int(rng.integers(3))]
            t = rng.uniform(0.25, 1.0)
            side = 1 if rng.uniform() < 0.5 else -1
            angle = -math.pi / 2 + side * rng.uniform(0.25, 1.5)
            base = (x0 + t * (x1 - x0), y0 + t * (y1 - y0), POT.z - 0.004 * k)
            _paint_leaf(
                stage, base, angle, rng.uniform(0.15, 0.25), side * rng.uniform(0.05, 0.35), 0.45 + 0.55 * k / 23
            )

    return paint


def _paint_leaf(stage: Stage, base: Point, angle: float, length: float, droop: float, front: float) -> None:
    """Paint one leaf upright at the depth of its base.

    Args:
        stage: Where.
        base: The end of its stalk.
        angle: Of its first part, from x toward y, in radians.
        length: Of its midrib.
        droop: How far the tip bends aside, in lengths.
        front: Brightness in [0, 1]: leaves at the back stand in the others' shade.
    """
    along, across = np.array([math.cos(angle), math.sin(angle)]), np.array([-math.sin(angle), math.cos(angle)])

    def coordinates(points: Array) -> tuple[Array, Array]:
        x, y = points[..., 0] - base[0], points[..., 1] - base[1]
        s = ((x * along[0] + y * along[1]) / length).astype(np.float32)
        half = 0.19 * np.sin(3.14159 * np.clip(s, 0, 1) ** 0.85) ** 0.9 + 0.006 * (s < 0.3)
        t = ((x * across[0] + y * across[1]) / length).astype(np.float32) - droop * s * s
        return s, np.asarray(t / np.maximum(half, 1e-4), np.float32)

    def surface(origin: Array, rays: Array) -> tuple[Array, Array, NDArray[np.bool_]]:
        points = origin + np.float32(base[2]) * rays
        s, t = coordinates(points)
        lean = 0.75 * np.clip(t, -1, 1) + 0.25 * np.sign(t)
        normals = np.stack([lean * across[0], lean * across[1] - 0.35, np.full_like(s, -0.7)], axis=-1).astype(
            np.float32
        )
        normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
        return points, normals, (s > 0) & (s < 1) & (np.abs(t) < 1)

    def material(points: Array, normals: Array, light: Array) -> Array:
        s, t = coordinates(points)
        vein = np.exp(-((t / 0.06) ** 2)) + 0.35 * np.maximum(np.sin(46 * (s - 0.20 * np.abs(t))), 0) ** 12
        green = mix((0.035, 0.13, 0.030), (0.22, 0.30, 0.10), np.clip(vein, 0, 1))
        sheen = np.clip(normals @ np.array([0.35, -0.65, -0.67], np.float32), 0, 1) ** 10 * 0.10
        return np.asarray((green + sheen[..., None]) * light * front, np.float32)

    s, t = (c.ravel() for c in np.meshgrid(np.linspace(0, 1, 9), (-0.2, 0.2)))
    outline = np.asarray(base[:2]) + length * (s[:, None] * along + (t + droop * s * s)[:, None] * across)
    extent = np.column_stack([outline, np.full(len(s), base[2])]).astype(np.float32)
    paint_round(stage, extent, surface, material, step=5)

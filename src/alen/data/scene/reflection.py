"""What glaze and the varnish of the table mirror."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from PIL import Image

from alen.data.scene.arrangement import BULB, CANDLE
from alen.data.scene.canvas import Array, Box, Color, blur, mix, resize, smoothstep
from alen.data.scene.light import sky_light
from alen.data.scene.painters import Material, Painter, Stage
from alen.data.scene.textures import fractal_noise
from alen.data.scene.view import TABLE_Y, WALL_Z, View


def glazed(stage: Stage, color: Color) -> Material:
    """Return a glazed material that mirrors what is already painted, the lamp and the candle."""

    def material(points: Array, normals: Array, light: Array) -> Array:
        way = points - stage.view.origin
        way = way / np.linalg.norm(way, axis=-1, keepdims=True)
        facing = np.einsum("hwc,hwc->hw", way, normals)
        mirror = way - 2 * facing[..., None] * normals
        fresnel = 0.04 + 0.80 * np.clip(1 + facing, 0, 1) ** 5
        seen = _seen_in_mirror(stage, points, mirror)
        for lamp, size, radiance in ((BULB, 0.055, (22.0, 18.0, 12.5)), (CANDLE, 0.016, (12.0, 6.6, 2.4))):
            to_lamp = np.asarray(lamp, np.float32) - points
            distance = np.linalg.norm(to_lamp, axis=-1)
            cosine = np.einsum("hwc,hwc->hw", to_lamp, mirror) / distance
            angle = np.sqrt(np.maximum(2 - 2 * cosine, 0)) * distance
            seen = mix(seen, radiance, smoothstep(1.25 * size, 0.75 * size, angle))
        return np.asarray(np.asarray(color, np.float32) * light + fresnel[..., None] * seen, np.float32)

    return material


def _seen_in_mirror(stage: Stage, points: Array, mirror: Array) -> Array:
    """Return the radiance (h, w, 3) along mirrored rays: the picture where they meet it, else the dim room."""
    down, deep = np.maximum(mirror[..., 1], 1e-4), np.maximum(mirror[..., 2], 1e-4)
    distance = np.minimum((TABLE_Y - points[..., 1]) / down, (WALL_Z - points[..., 2]) / deep)
    met = points + np.minimum(distance, 3.0)[..., None] * mirror
    met[..., 2] = np.maximum(met[..., 2], 0.3)
    column, row = np.moveaxis(stage.view.project(met), -1, 0)
    height, width, _ = stage.picture.shape
    inside = (distance < 2.5) & (column > 0) & (column < width) & (row > 0) & (row < height)
    y, x = np.clip(row, 0, height - 1).astype(int), np.clip(column, 0, width - 1).astype(int)
    return np.where(inside[..., None], stage.picture[y, x], sky_light(mirror))


def add_reflection(stage: Stage, painters: Sequence[Painter]) -> None:
    """Add what the varnish of the table mirrors, in place: the scene seen by the mirrored camera, blurred."""
    view = stage.view
    h, w = max(4, view.height // 2), max(4, view.width // 2)
    mirrored = View(h, w, view.scale * h / view.height, mirrored=True, detail=1)
    below = replace(stage, view=mirrored, picture=np.zeros((h, w, 3), np.float32))
    for paint in painters:
        paint(below)
    soft = blur(np.minimum(below.picture, 8.0), 0.009 * view.scale)
    reflection = resize(soft, view.height, view.width, Image.Resampling.BILINEAR)
    rays = view.rays(Box(0, 0, view.height, view.width), 1)
    dip = rays[..., 1] / np.linalg.norm(rays, axis=-1)
    horizon = rays[..., 1] > TABLE_Y / WALL_Z  # the table ends where the wall stands
    fresnel = np.where(horizon, 0.03 + 0.75 * np.clip(1 - dip, 0, 1) ** 5, 0)
    worn = 0.8 + 0.5 * fractal_noise(view.height, view.width, np.random.default_rng(3), (5, 8), 4)
    stage.picture[:] += reflection * (fresnel * worn)[..., None].astype(np.float32)

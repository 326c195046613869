"""Painters: put a flat or a round body into the picture, and light it.

A parallelogram is a texture warped by its homography. Round bodies are intersected with the rays of their pixels. Each
covers what was painted before it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from alen.data.scene.canvas import Array, Box, Color, grow, over, shrink
from alen.data.scene.light import Block, Light
from alen.data.scene.textures import Draw, texel_grid
from alen.data.scene.view import Point, View


@dataclass(frozen=True)
class Stage:
    """What painters share: camera, light and the picture they paint on."""

    view: View
    light: Light
    picture: Array
    """(H, W, 3), painted in place."""

    def light_in(self, box: Box, surface: _Surface, step: int) -> Array:
        """Return the light (height, width, 3) on the surface seen in the box, from a grid of ``step`` pixels."""
        step = step if min(box.height, box.width) > 2 * step else 1
        points, normals, _ = surface(self.view.origin, self.view.rays(box, step))
        return grow(self.light.irradiance(points, normals), step, box)


_Surface = Callable[[Array, Array], tuple[Array, Array, NDArray[np.bool_]]]
"""(origin, rays (h, w, 3)) → points (h, w, 3), unit normals (h, w, 3) or (3,), hit (h, w)."""

Painter = Callable[[Stage], None]


@dataclass(frozen=True, kw_only=True)
class Quad:
    """A parallelogram with a texture."""

    corner: Point
    """Where texel (0, 0) lies."""
    right: Point
    """The texture's upper edge."""
    down: Point
    """The texture's left edge."""
    draw: Draw
    glow: bool = False
    """The texture is radiance, not reflectance."""
    sharpness: tuple[float, float] = (1.0, 1.0)
    """Texels per sample along ``right`` and ``down``; below 0.6 one sample per pixel is enough."""

    def corners(self) -> Array:
        """Return the four corners (4, 3), clockwise from the first."""
        a, u, v = (np.asarray(p, dtype=np.float32) for p in (self.corner, self.right, self.down))
        return np.stack([a, a + u, a + u + v, a + v])

    def normal(self, origin: Array) -> Array:
        """Return the unit normal (3,) on the side of ``origin``."""
        normal = np.cross(np.asarray(self.right, np.float32), np.asarray(self.down, np.float32))
        normal = normal / np.float32(np.linalg.norm(normal))
        return normal if (origin - self.corners()[0]) @ normal > 0 else -normal

    def surface(self, origin: Array, rays: Array) -> tuple[Array, Array, NDArray[np.bool_]]:
        """Intersect the plane with rays; see `_Surface`."""
        normal = self.normal(origin)
        slope = rays @ normal
        distance = ((self.corners()[0] - origin) @ normal) / np.where(np.abs(slope) < 1e-6, 1e-6, slope)
        points = origin + np.clip(distance, 0.1, 4.0)[..., None].astype(np.float32) * rays
        return points, normal, distance > 0

    def paint(self, stage: Stage) -> None:
        """Warp the texture into the picture and light it."""
        box = stage.view.box(self.corners())
        if box is None:
            return
        detail = int(stage.view.detail) if max(self.sharpness) > 0.6 else 1
        samples = self._warped(stage.view, box, detail)
        layer = shrink(samples, box, detail)
        color, coverage = layer[..., :3], layer[..., 3]
        if not self.glow:
            color = color * stage.light_in(box, self.surface, 4)
        over(stage.picture, box, color, coverage)

    def _warped(self, view: View, box: Box, detail: int) -> Array:
        """Return the texture at the box's samples: (h, w, 4), color × coverage and coverage."""
        corners = self.corners()
        depth = float(corners[:, 2].min())
        sides = zip(self.sharpness, (self.right, self.down), strict=True)
        w, h = (max(4, round(view.texels_per_unit(depth) * s * math.hypot(*edge))) for s, edge in sides)
        texture = self.draw(h, w)
        if texture.shape[2] == 3:
            texture = np.concatenate([texture, np.ones((*texture.shape[:2], 1), np.float32)], axis=2)
        pixels = (view.project(corners) - (box.left, box.top)) * detail
        h, w = texture.shape[:2]
        matrix = _homography(pixels, np.array([[0, 0], [w, 0], [w, h], [0, h]], dtype=np.float64))
        size = (box.width * detail, box.height * detail)
        warp = Image.Transform.PERSPECTIVE
        channels = [
            Image.fromarray(np.ascontiguousarray(texture[..., c])).transform(
                size, warp, matrix, Image.Resampling.BILINEAR
            )
            for c in range(4)
        ]
        return np.stack([np.asarray(channel) for channel in channels], axis=-1)


def _homography(source: NDArray[np.float64], target: NDArray[np.float64]) -> tuple[float, ...]:
    """Return Pillow's eight PERSPECTIVE coefficients that take four points (4, 2) to four others."""
    rows, values = [], []
    for (x, y), (u, v) in zip(source, target, strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        values += [u, v]
    return tuple(np.linalg.solve(np.array(rows), np.array(values)).tolist())


Material = Callable[[Array, Array, Array], Array]
"""(points (h, w, 3), normals (h, w, 3), light (h, w, 3)) → radiance (h, w, 3)."""


def paint_round(stage: Stage, extent: Array, surface: _Surface, material: Material, step: int = 2) -> None:
    """Paint a curved surface whose outline lies within the points ``extent`` (..., 3)."""
    box = stage.view.box(extent)
    if box is None:
        return
    detail = int(stage.view.detail)
    points, normals, hit = surface(stage.view.origin, stage.view.rays(box, 1 / detail))
    light = stage.light_in(box, surface, step)
    light = np.repeat(np.repeat(light, detail, axis=0), detail, axis=1)
    radiance = material(points, normals, light) * hit[..., None]
    over(stage.picture, box, shrink(radiance, box, detail), shrink(hit.astype(np.float32), box, detail))


def matt(color: Color) -> Material:
    """Return a matt material of one color."""
    return lambda _points, _normals, light: np.asarray(color, dtype=np.float32) * light


@dataclass(frozen=True, kw_only=True)
class Turned:
    """A body turned on a lathe about an upright axis: pots, cups, lamp parts."""

    x: float
    z: float
    profile: tuple[tuple[float, float], ...]
    """(y, radius) from top to bottom."""
    material: Material
    lid: tuple[int, Draw, bool] | None = None
    """(index into the profile, texture, glows): a level disk closing the body there."""

    def surface(self, origin: Array, rays: Array) -> tuple[Array, Array, NDArray[np.bool_]]:
        """Find the near side by a few fixed-point steps on the depth; see `_Surface`."""
        heights, radii = (np.array(column, dtype=np.float32) for column in zip(*self.profile, strict=True))
        slopes = np.gradient(radii, heights)
        z = np.full(rays.shape[:2], self.z - float(radii.max()), dtype=np.float32)
        for _ in range(4):
            y = origin[1] + z * rays[..., 1]
            x = z * rays[..., 0] - self.x
            radius = np.interp(y, heights, radii).astype(np.float32)
            z = self.z - np.sqrt(np.maximum(radius**2 - x * x, 0))
        points = np.stack([z * rays[..., 0], origin[1] + z * rays[..., 1], z], axis=-1)
        slope = np.interp(points[..., 1], heights, slopes).astype(np.float32)
        normals = np.stack([x, -slope * radius, z - self.z], axis=-1)
        normals /= np.linalg.norm(normals, axis=-1, keepdims=True) + np.float32(1e-9)
        hit = (np.abs(x) < radius) & (points[..., 1] >= heights[0]) & (points[..., 1] <= heights[-1])
        return points, normals, hit

    def extent(self) -> Array:
        """Return the corners (8, 3) of the box around the body."""
        radius = max(r for _, r in self.profile)
        ys = (self.profile[0][0], self.profile[-1][0])
        corners = [(self.x + i * radius, y, self.z + k * radius) for i in (-1, 1) for y in ys for k in (-1, 1)]
        return np.array(corners, dtype=np.float32)

    def paint(self, stage: Stage) -> None:
        """Paint the body, then its lid if it turns to the camera."""
        paint_round(stage, self.extent(), self.surface, self.material)
        if self.lid is None:
            return
        index, draw, glow = self.lid
        y, r = self.profile[index]
        seen_from_above = stage.view.origin[1] < y
        if seen_from_above == (index == 0):
            corner, right, down = (self.x - r, y, self.z + r), (2 * r, 0.0, 0.0), (0.0, 0.0, -2 * r)
            Quad(corner=corner, right=right, down=down, draw=_round_cut(draw), glow=glow).paint(stage)


def _round_cut(draw: Draw) -> Draw:
    """Return the texture with everything outside its inscribed circle made transparent."""

    def cut(height: int, width: int) -> Array:
        v, u = texel_grid(height, width)
        coverage = np.clip((0.5 - np.hypot(u - 0.5, v - 0.5)) * width, 0, 1).astype(np.float32)
        return np.concatenate([draw(height, width) * coverage[..., None], coverage[..., None]], axis=2)

    return cut


@dataclass(frozen=True, kw_only=True)
class Globe:
    """A sphere."""

    center: Point
    radius: float
    material: Material

    def surface(self, origin: Array, rays: Array) -> tuple[Array, Array, NDArray[np.bool_]]:
        """Intersect with rays; see `_Surface`."""
        to_center = np.asarray(self.center, dtype=np.float32) - origin
        a = np.einsum("hwc,hwc->hw", rays, rays)
        b = rays @ to_center
        rest = b * b - a * (to_center @ to_center - np.float32(self.radius**2))
        distance = (b - np.sqrt(np.maximum(rest, 0))) / a
        points = origin + distance[..., None] * rays
        normals = (points - np.asarray(self.center, dtype=np.float32)) / self.radius
        return points, normals / np.linalg.norm(normals, axis=-1, keepdims=True), rest > 0

    def paint(self, stage: Stage) -> None:
        """Paint the sphere."""
        offsets = np.array([[i, j, k] for i in (-1, 1) for j in (-1, 1) for k in (-1, 1)], np.float32)
        paint_round(stage, np.asarray(self.center, np.float32) + self.radius * offsets, self.surface, self.material)


@dataclass(frozen=True, kw_only=True)
class Rod:
    """A round rod between two points; its ends are cut square."""

    start: Point
    end: Point
    radius: float
    taper: float = 1.0
    """Radius at the start, as a part of ``radius``."""
    material: Material

    def surface(self, origin: Array, rays: Array) -> tuple[Array, Array, NDArray[np.bool_]]:
        """Take the rod for flat across the view, with the normals of a cylinder; see `_Surface`."""
        a, b = np.asarray(self.start, np.float32), np.asarray(self.end, np.float32)
        z = np.full(rays.shape[:2], a[2], dtype=np.float32)
        length2 = float((b - a)[:2] @ (b - a)[:2])
        for _ in range(3):
            x, y = z * rays[..., 0] - a[0], origin[1] + z * rays[..., 1] - a[1]
            t = (x * (b - a)[0] + y * (b - a)[1]) / length2
            z = a[2] + np.clip(t, 0, 1) * (b - a)[2]
        across = np.array([(b - a)[1], -(b - a)[0]]) / math.sqrt(length2)
        radius = self.radius * (self.taper + (1 - self.taper) * np.clip(t, 0, 1))
        s = ((x * across[0] + y * across[1]) / radius).astype(np.float32)
        depth = np.sqrt(np.maximum(1 - s * s, 0))
        normals = np.stack([s * across[0], s * across[1], -depth], axis=-1).astype(np.float32)
        points = np.stack([z * rays[..., 0], origin[1] + z * rays[..., 1], z - self.radius * depth], axis=-1)
        return points.astype(np.float32), normals, (np.abs(s) < 1) & (t >= 0) & (t <= 1)

    def paint(self, stage: Stage) -> None:
        """Paint the rod."""
        ends = np.array([self.start, self.end], np.float32)
        offsets = np.array([[i, j, 0] for i in (-1, 1) for j in (-1, 1)], np.float32) * self.radius
        paint_round(stage, ends[:, None] + offsets, self.surface, self.material)


def block_painter(block: Block, draw: Draw, top: Draw | None = None) -> Painter:
    """Return a painter of the faces of a box that turn to the camera."""
    (x0, y0, z0), (x1, y1, z1) = block.low, block.high
    right, down, deep = (x1 - x0, 0.0, 0.0), (0.0, y1 - y0, 0.0), (0.0, 0.0, z1 - z0)
    away: Point = (0.0, 0.0, z0 - z1)

    def paint(stage: Stage) -> None:
        x, y, _ = stage.view.origin
        if x < x0:
            Quad(corner=(x0, y0, z1), right=away, down=down, draw=draw).paint(stage)
        if x > x1:
            Quad(corner=(x1, y0, z0), right=deep, down=down, draw=draw).paint(stage)
        if y < y0:
            Quad(corner=(x0, y0, z1), right=right, down=away, draw=top or draw).paint(stage)
        if y > y1:
            Quad(corner=(x0, y1, z0), right=right, down=deep, draw=draw).paint(stage)
        Quad(corner=(x0, y0, z0), right=right, down=down, draw=draw).paint(stage)

    return paint

"""A still life at night, rendered by the program itself: the scene behind ``alen sample``.

A desk by a window, lit by a warm lamp, a candle, a neon sign and the city: wood grain, woven cloth, books with
readable spines, a color checker, printed charts, leaves, a glazed ball, smooth dark sky. Every kind of detail that a
low-light enhancer can lose stands somewhere in it, next to lamps about a hundred times brighter than middle gray.

The picture is a small deferred renderer. The world is measured in units of the frame's height at depth `_FOCAL`:
x to the right, y down, z into the picture; the camera stands at the origin and looks along z, with the lens shifted
so that verticals stay vertical. Objects are painted back to front; flat ones are textures warped by their homography,
round ones are intersected with the rays of their pixels. Light is computed on a coarse grid by shadow rays to area
lights and to the sky, in scene-linear sRGB. The reflection in the varnished table is the same scene seen by the
mirrored camera.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from alen.errors import SettingsError

Array = NDArray[np.float32]
Point = tuple[float, float, float]
Color = tuple[float, float, float]
Draw = Callable[[int, int], Array]
"""Draws a texture of (height, width) texels: (h, w, 3) color, or (h, w, 4) premultiplied color and coverage."""

_FOCAL: Final = 2.0
_HORIZON: Final = -0.25
"""Row of the horizon, in frame heights from the middle: the lens shift."""
_TABLE_Y: Final = 0.55
_WALL_Z: Final = 3.0
_EXPOSURE: Final = 1.4
"""Brings the color checker's white near 1."""

COLOR_CHECKER_SRGB: Final = (
    ((115, 82, 68), (194, 150, 130), (98, 122, 157), (87, 108, 67), (133, 128, 177), (103, 189, 170)),
    ((214, 126, 44), (80, 91, 166), (193, 90, 99), (94, 60, 108), (157, 188, 64), (224, 163, 46)),
    ((56, 61, 150), (70, 148, 73), (175, 54, 60), (231, 199, 31), (187, 86, 149), (8, 133, 161)),
    ((243, 243, 242), (200, 200, 200), (160, 160, 160), (122, 122, 121), (85, 85, 85), (52, 52, 52)),
)
"""The 24 patches as 8-bit sRGB by row: the manufacturer's values, as printed in D. Pascale, "RGB coordinates of the
Macbeth ColorChecker", BabelColor, 2006, table 1 (column "sRGB (GMB)")."""


# ------------------------------------------------------------------------------------------------ camera and canvas


@dataclass(frozen=True)
class _Box:
    """A rectangle of pixels."""

    top: int
    left: int
    height: int
    width: int

    def of(self, picture: Array) -> Array:
        """Return the view of a picture (H, W, 3) inside the rectangle."""
        return picture[self.top : self.top + self.height, self.left : self.left + self.width]


@dataclass(frozen=True)
class _View:
    """The camera: where a point of the world falls, and where a pixel looks."""

    height: int
    width: int
    scale: float
    """Pixels per unit at depth `_FOCAL`; the height of the frame that covers the picture at 3:2."""
    mirrored: bool = False
    """Seen from below the table top, as in its varnish."""
    detail: float = 2.0
    """Samples per pixel along each side."""

    @classmethod
    def covering(cls, height: int, width: int) -> _View:
        """Return the camera whose 3:2 frame just covers a picture of this size, centered."""
        return cls(height, width, max(float(height), width / 1.5))

    @property
    def origin(self) -> Array:
        """Where the rays start: the camera, or its mirror image under the table top."""
        return np.array([0.0, 2 * _TABLE_Y if self.mirrored else 0.0, 0.0], dtype=np.float32)

    def project(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return the (column, row) in pixels, continuous, of points (..., 3)."""
        x, y, z = np.moveaxis(points.astype(np.float64), -1, 0)
        if self.mirrored:
            y = 2 * _TABLE_Y - y
        column = self.width / 2 + self.scale * _FOCAL * x / z
        row = self.height / 2 + self.scale * (_HORIZON + _FOCAL * y / z)
        return np.stack([column, row], axis=-1)

    def box(self, points: Array) -> _Box | None:
        """Return the pixels around the projections of points (..., 3), or None if they miss the picture."""
        pixels = self.project(points).reshape(-1, 2)
        left, top = np.floor(pixels.min(axis=0)).astype(int) - 1
        right, bottom = np.ceil(pixels.max(axis=0)).astype(int) + 1
        left, top, right, bottom = max(left, 0), max(top, 0), min(right, self.width), min(bottom, self.height)
        return (
            _Box(int(top), int(left), int(bottom - top), int(right - left)) if top < bottom and left < right else None
        )

    def rays(self, box: _Box, step: float) -> Array:
        """Return the directions (h, w, 3), depth 1, through the middles of the box's cells of ``step`` pixels."""
        h, w = math.ceil(box.height / step), math.ceil(box.width / step)
        row = (box.top + (np.arange(h, dtype=np.float32) + 0.5) * step - self.height / 2) / self.scale - _HORIZON
        column = (box.left + (np.arange(w, dtype=np.float32) + 0.5) * step - self.width / 2) / self.scale
        direction = np.ones((h, w, 3), dtype=np.float32)
        direction[..., 0] = column / _FOCAL
        direction[..., 1] = (row / _FOCAL * (-1 if self.mirrored else 1))[:, None]
        return direction

    def texels_per_unit(self, depth: float) -> float:
        """Return how many samples one unit takes at this depth."""
        return self.detail * self.scale * _FOCAL / depth


def _over(picture: Array, box: _Box, radiance: Array, coverage: Array) -> None:
    """Lay premultiplied radiance (h, w, 3) with its coverage (h, w) over the picture, in place."""
    target = box.of(picture)
    target *= (1 - coverage)[..., None]
    target += radiance


def _shrink(samples: Array, box: _Box, detail: int) -> Array:
    """Average ``detail`` × ``detail`` samples (h·detail, w·detail, …) to the box's pixels (h, w, …)."""
    shape = (box.height, detail, box.width, detail, *samples.shape[2:])
    return np.asarray(samples.reshape(shape).mean(axis=(1, 3)), dtype=np.float32)


def _grow(coarse: Array, step: int, box: _Box) -> Array:
    """Interpolate cells (h, w, C) of ``step`` pixels to the box's pixels (height, width, C)."""
    if step == 1:
        return coarse
    h, w = coarse.shape[0] * step, coarse.shape[1] * step
    return _resize(coarse, h, w, Image.Resampling.BILINEAR)[: box.height, : box.width]


def _resize(picture: Array, height: int, width: int, how: Image.Resampling) -> Array:
    """Resample a float picture (h, w) or (h, w, C) with Pillow, channel by channel."""
    if picture.ndim == 2:
        return np.asarray(Image.fromarray(picture).resize((width, height), how), dtype=np.float32)
    channels = [_resize(np.ascontiguousarray(picture[..., c]), height, width, how) for c in range(picture.shape[2])]
    return np.stack(channels, axis=-1)


def _blur(picture: Array, sigma: float) -> Array:
    """Blur a picture (H, W, C) by about a Gaussian of ``sigma`` pixels: reduced, smoothed by [1 2 1]/4, enlarged."""
    factor = max(1, round(sigma / 1.5))
    height, width = picture.shape[:2]
    h, w = math.ceil(height / factor), math.ceil(width / factor)
    small = _resize(picture, h, w, Image.Resampling.BOX) if factor > 1 else picture
    for _ in range(max(1, round(2 * (sigma / factor) ** 2))):
        small = np.pad(small, ((1, 1), (1, 1), (0, 0)), mode="edge")
        small = np.asarray((small[:-2] + small[2:] + 2 * small[1:-1]) / 4, np.float32)
        small = np.asarray((small[:, :-2] + small[:, 2:] + 2 * small[:, 1:-1]) / 4, np.float32)
    return _resize(small, height, width, Image.Resampling.BICUBIC) if factor > 1 else small


# ------------------------------------------------------------------------------------------------------------ light


class _Occluder(Protocol):
    """Something that throws a shadow."""

    def hit(self, start: Array, way: Array) -> NDArray[np.bool_]:
        """Tell whether the segments start (3, N, 1) + t · way (3, N or 1, S), 0 < t < 1, meet it: (N, S)."""


@dataclass(frozen=True)
class _Block:
    """An axis-aligned box from its smallest to its largest corner."""

    low: Point
    high: Point

    def hit(self, start: Array, way: Array) -> NDArray[np.bool_]:
        """See `_Occluder.hit`: the slab test."""
        enter, leave = np.float32(1e-3), np.float32(1.0)
        for axis in range(3):
            inverse = 1 / (way[axis] + np.float32(1e-9))
            a, b = (self.low[axis] - start[axis]) * inverse, (self.high[axis] - start[axis]) * inverse
            enter, leave = np.maximum(enter, np.minimum(a, b)), np.minimum(leave, np.maximum(a, b))
        return np.asarray(enter < leave)


@dataclass(frozen=True)
class _Ball:
    """A sphere."""

    center: Point
    radius: float

    def hit(self, start: Array, way: Array) -> NDArray[np.bool_]:
        """See `_Occluder.hit`: the nearest point of the segment lies inside."""
        x, y, z = (c - s for c, s in zip(self.center, start, strict=True))
        nearest = (x * way[0] + y * way[1] + z * way[2]) / _dot(way, way)
        t = np.clip(nearest, 0, 1)
        return np.asarray((x - t * way[0]) ** 2 + (y - t * way[1]) ** 2 + (z - t * way[2]) ** 2 < self.radius**2)


@dataclass(frozen=True)
class _Column:
    """An upright cylinder."""

    x: float
    z: float
    radius: float
    top: float
    bottom: float

    def hit(self, start: Array, way: Array) -> NDArray[np.bool_]:
        """See `_Occluder.hit`: the interval inside the circle meets the interval between top and bottom."""
        x, z, inverse = start[0] - self.x, start[2] - self.z, 1 / (way[1] + np.float32(1e-9))
        a = way[0] * way[0] + way[2] * way[2] + np.float32(1e-9)
        half_b = x * way[0] + z * way[2]
        square = half_b * half_b - a * (x * x + z * z - self.radius**2)
        root = np.sqrt(np.maximum(square, 0))
        s, t = (self.top - start[1]) * inverse, (self.bottom - start[1]) * inverse
        enter = np.maximum(np.maximum((-half_b - root) / a, np.minimum(s, t)), np.float32(1e-3))
        leave = np.minimum(np.minimum((-half_b + root) / a, np.maximum(s, t)), np.float32(1.0))
        return np.asarray((enter < leave) & (square > 0))


def _dot(a: Array, b: Array) -> Array:
    """Return the scalar product over the first axis of a (3, …) and b (3, …)."""
    return np.asarray(a[0] * b[0] + a[1] * b[1] + a[2] * b[2])


@dataclass(frozen=True, kw_only=True)
class _Lamp:
    """An area light: points that share its power."""

    points: Array
    """(S, 3)."""
    color: Color
    """Irradiance at distance 1, in units where a white surface shows it as radiance."""
    cone: tuple[float, float] | None = None
    """Cosines to straight down at which a shade lets nothing and everything pass; None: all around."""
    leak: float = 0.0
    """What passes the shade elsewhere."""

    def irradiance(self, points: Array, normals: Array, occluders: Sequence[_Occluder]) -> Array:
        """Return the light (3, N) that falls on points (3, N) with normals (3, N)."""
        start = points[:, :, None]
        way = self.points.T[:, None, :] - start  # (3, N, S)
        distance2 = _dot(way, way)
        distance = np.sqrt(distance2)
        power = np.maximum(_dot(way, normals[:, :, None]), 0) / (distance2 * distance + np.float32(1e-6))
        if self.cone is not None:
            power *= self.leak + (1 - self.leak) * _smoothstep(*self.cone, -way[1] / distance)
        for occluder in occluders:
            power[occluder.hit(start, way)] = 0
        return np.asarray(np.outer(np.asarray(self.color), power.mean(axis=1)), dtype=np.float32)


@dataclass(frozen=True)
class _Light:
    """Everything that lights the scene, and everything that stands in the way."""

    lamps: tuple[_Lamp, ...]
    occluders: tuple[_Occluder, ...]
    ambient_reach: float = 0.45
    """How far away a thing still darkens the ambient light."""

    def irradiance(self, points: Array, normals: Array) -> Array:
        """Return the light (..., 3) on points (..., 3) with normals (..., 3) or (3,)."""
        shape = points.shape
        normals = np.ascontiguousarray(np.broadcast_to(normals, shape).reshape(-1, 3).T)
        points = points.reshape(-1, 3).T + np.float32(2e-3) * normals
        light = np.empty_like(points)
        for first in range(0, points.shape[1], 2048):  # pieces that stay in the cache
            part = slice(first, first + 2048)
            light[:, part] = self._ambient(points[:, part], normals[:, part])
            for lamp in self.lamps:
                light[:, part] += lamp.irradiance(points[:, part], normals[:, part], self.occluders)
        return np.ascontiguousarray(light.T).reshape(shape)

    def _ambient(self, points: Array, normals: Array) -> Array:
        weight = np.maximum(normals.T @ _SKY_DIRECTIONS.T, 0)  # (N, S)
        weight /= weight.sum(axis=1, keepdims=True)
        way = (_SKY_DIRECTIONS.T * self.ambient_reach)[:, None, :]
        for occluder in self.occluders:
            weight[occluder.hit(points[:, :, None], way)] *= np.float32(0.15)
        return np.asarray((weight @ _SKY_LIGHT).T)


def _smoothstep(low: float, high: float, value: Array) -> Array:
    """Rise smoothly from 0 at ``low`` to 1 at ``high`` (which may be the smaller)."""
    t = np.clip((value - low) / (high - low), 0, 1)
    return np.asarray(t * t * (3 - 2 * t), dtype=np.float32)


def _sphere_directions(count: int) -> Array:
    """Spread unit vectors (count, 3) evenly over the sphere: a Fibonacci lattice."""
    index = np.arange(count) + 0.5
    y = 1 - 2 * index / count
    angle = math.pi * (1 + math.sqrt(5)) * index
    around = np.sqrt(1 - y * y)
    return np.stack([around * np.cos(angle), y, around * np.sin(angle)], axis=-1).astype(np.float32)


_SKY_DIRECTIONS: Final = _sphere_directions(24)


def _sky_light(direction: Array) -> Array:
    """Return the dim light (..., 3) that comes from a direction: blue window, dark room, warm table."""
    x, y, z = np.moveaxis(direction, -1, 0)
    window = _smoothstep(0.0, 0.8, z - 0.5 * x)[..., None] * np.array([0.075, 0.105, 0.18], np.float32)
    room = _smoothstep(0.6, -0.6, z)[..., None] * np.array([0.14, 0.125, 0.115], np.float32)
    table = _smoothstep(0.0, 0.8, y)[..., None] * np.array([0.10, 0.058, 0.030], np.float32)
    return np.asarray(window + room + table + 0.015, dtype=np.float32)


_SKY_LIGHT: Final = _sky_light(_SKY_DIRECTIONS)


def _disk_points(center: Point, radius: float, count: int) -> Array:
    """Spread points (count, 3) evenly over a level disk: a sunflower."""
    index = np.arange(count) + 0.5
    r, angle = radius * np.sqrt(index / count), index * math.pi * (3 - math.sqrt(5))
    offset = np.stack([r * np.cos(angle), np.zeros(count), r * np.sin(angle)], axis=-1)
    return np.asarray(np.asarray(center) + offset, dtype=np.float32)


# --------------------------------------------------------------------------------------------------------- painters


@dataclass(frozen=True)
class _Stage:
    """What painters share: camera, light and the picture they paint on."""

    view: _View
    light: _Light
    picture: Array
    """(H, W, 3), painted in place."""

    def light_in(self, box: _Box, surface: _Surface, step: int) -> Array:
        """Return the light (height, width, 3) on the surface seen in the box, from a grid of ``step`` pixels."""
        step = step if min(box.height, box.width) > 2 * step else 1
        points, normals, _ = surface(self.view.origin, self.view.rays(box, step))
        return _grow(self.light.irradiance(points, normals), step, box)


_Surface = Callable[[Array, Array], tuple[Array, Array, NDArray[np.bool_]]]
"""(origin, rays (h, w, 3)) → points (h, w, 3), unit normals (h, w, 3) or (3,), hit (h, w)."""


@dataclass(frozen=True, kw_only=True)
class _Quad:
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

    def paint(self, stage: _Stage) -> None:
        """Warp the texture into the picture and light it."""
        box = stage.view.box(self.corners())
        if box is None:
            return
        detail = int(stage.view.detail) if max(self.sharpness) > 0.6 else 1
        samples = self._warped(stage.view, box, detail)
        layer = _shrink(samples, box, detail)
        color, coverage = layer[..., :3], layer[..., 3]
        if not self.glow:
            color = color * stage.light_in(box, self.surface, 4)
        _over(stage.picture, box, color, coverage)

    def _warped(self, view: _View, box: _Box, detail: int) -> Array:
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


_Material = Callable[[Array, Array, Array], Array]
"""(points (h, w, 3), normals (h, w, 3), light (h, w, 3)) → radiance (h, w, 3)."""


def _paint_round(stage: _Stage, extent: Array, surface: _Surface, material: _Material, step: int = 2) -> None:
    """Paint a curved surface whose outline lies within the points ``extent`` (..., 3)."""
    box = stage.view.box(extent)
    if box is None:
        return
    detail = int(stage.view.detail)
    points, normals, hit = surface(stage.view.origin, stage.view.rays(box, 1 / detail))
    light = stage.light_in(box, surface, step)
    light = np.repeat(np.repeat(light, detail, axis=0), detail, axis=1)
    radiance = material(points, normals, light) * hit[..., None]
    _over(stage.picture, box, _shrink(radiance, box, detail), _shrink(hit.astype(np.float32), box, detail))


def _plain(color: Color) -> _Material:
    """Return a matt material of one color."""
    return lambda _points, _normals, light: np.asarray(color, dtype=np.float32) * light


@dataclass(frozen=True, kw_only=True)
class _Turned:
    """A body turned on a lathe about an upright axis: pots, cups, lamp parts."""

    x: float
    z: float
    profile: tuple[tuple[float, float], ...]
    """(y, radius) from top to bottom."""
    material: _Material
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

    def paint(self, stage: _Stage) -> None:
        """Paint the body, then its lid if it turns to the camera."""
        _paint_round(stage, self.extent(), self.surface, self.material)
        if self.lid is None:
            return
        index, draw, glow = self.lid
        y, r = self.profile[index]
        seen_from_above = stage.view.origin[1] < y
        if seen_from_above == (index == 0):
            corner, right, down = (self.x - r, y, self.z + r), (2 * r, 0.0, 0.0), (0.0, 0.0, -2 * r)
            _Quad(corner=corner, right=right, down=down, draw=_round_cut(draw), glow=glow).paint(stage)


def _round_cut(draw: Draw) -> Draw:
    """Return the texture with everything outside its inscribed circle made transparent."""

    def cut(height: int, width: int) -> Array:
        v, u = _grid(height, width)
        coverage = np.clip((0.5 - np.hypot(u - 0.5, v - 0.5)) * width, 0, 1).astype(np.float32)
        return np.concatenate([draw(height, width) * coverage[..., None], coverage[..., None]], axis=2)

    return cut


@dataclass(frozen=True, kw_only=True)
class _Globe:
    """A sphere."""

    center: Point
    radius: float
    material: _Material

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

    def paint(self, stage: _Stage) -> None:
        """Paint the sphere."""
        offsets = np.array([[i, j, k] for i in (-1, 1) for j in (-1, 1) for k in (-1, 1)], np.float32)
        _paint_round(stage, np.asarray(self.center, np.float32) + self.radius * offsets, self.surface, self.material)


@dataclass(frozen=True, kw_only=True)
class _Rod:
    """A round rod between two points; its ends are cut square."""

    start: Point
    end: Point
    radius: float
    taper: float = 1.0
    """Radius at the start, as a part of ``radius``."""
    material: _Material

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

    def paint(self, stage: _Stage) -> None:
        """Paint the rod."""
        ends = np.array([self.start, self.end], np.float32)
        offsets = np.array([[i, j, 0] for i in (-1, 1) for j in (-1, 1)], np.float32) * self.radius
        _paint_round(stage, ends[:, None] + offsets, self.surface, self.material)


# --------------------------------------------------------------------------------------------------------- textures


def _linear(red: int, green: int, blue: int) -> Color:
    """Return 8-bit sRGB as linear light in [0, 1] (IEC 61966-2-1)."""
    r, g, b = (v / 255 / 12.92 if v <= 10 else ((v / 255 + 0.055) / 1.055) ** 2.4 for v in (red, green, blue))
    return r, g, b


def _grid(height: int, width: int) -> tuple[Array, Array]:
    """Return v (h, 1) and u (1, w): the middles of the texels of the unit square."""
    v, u = ((np.arange(side) + 0.5) / side for side in (height, width))
    return v.astype(np.float32)[:, None], u.astype(np.float32)[None]


def _noise(height: int, width: int, rng: np.random.Generator, cells: tuple[float, float], octaves: int = 5) -> Array:
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
        total += _resize(grid, height, width, Image.Resampling.BICUBIC) * 0.5 ** (octave + 1)
    return total


def _mix(a: Array | Color, b: Array | Color, amount: Array) -> Array:
    """Blend two colors (3,) or (h, w, 3) by an amount (h, w)."""
    mixed = np.empty((*amount.shape, 3), dtype=np.float32)
    for c in range(3):  # broadcasting over a last axis of three is slow
        low, high = (np.asarray(color, dtype=np.float32)[..., c] for color in (a, b))
        mixed[..., c] = low + (high - low) * amount
    return mixed


def _mask(height: int, width: int, paint: Callable[[ImageDraw.ImageDraw], None], detail: int = 1) -> Array:
    """Return what ``paint`` draws in white on black, (h, w) in [0, 1], with ``detail`` samples per texel and side."""
    image = Image.new("L", (width * detail, height * detail))
    paint(ImageDraw.Draw(image))
    if detail > 1:
        image = image.resize((width, height), Image.Resampling.BOX)
    return np.asarray(np.asarray(image) / 255, dtype=np.float32)


def _lettering(height: int, width: int, lines: Sequence[tuple[float, float, float, str]], room: float = 0.9) -> Array:
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

    return _mask(height, width, paint)


def _flat(color: Color, seed: int, grain: float = 0.12) -> Draw:
    """Return painted wood or paper of one color with a faint uneven grain."""

    def draw(height: int, width: int) -> Array:
        noise = _noise(height, width, np.random.default_rng(seed), (4, 4), 6)
        return np.asarray(color, np.float32) * (1 + grain * noise)[..., None]

    return draw


def _plaster(seed: int) -> Draw:
    """Return a painted, slightly rough wall with large, soft stains."""

    def draw(height: int, width: int) -> Array:
        rng = np.random.default_rng(seed)
        tone = 1 + 0.16 * _noise(height, width, rng, (2, 3), 4) + 0.10 * _noise(height, width, rng, (90, 130), 3)
        return np.asarray((0.30, 0.29, 0.275), np.float32) * tone[..., None]

    return draw


def _wood(seed: int, boards: int, length: float = 1.0) -> Draw:
    """Return boards along u, one under another: rings, fibers, pores and the gaps between.

    Args:
        seed: Of the grain.
        boards: How many.
        length: Of a board, in units of about eight board widths.
    """

    def draw(height: int, width: int) -> Array:
        rng = np.random.default_rng(seed)
        v, u = _grid(height, width)
        board = np.minimum((v * boards).astype(int), boards - 1)[:, 0]
        offset, tint = rng.uniform(0, 40, boards).astype(np.float32), rng.uniform(-1, 1, boards).astype(np.float32)
        warp = _noise(height, width, rng, (1.5 * boards, 4 * length), 4)
        across = v * boards - board[:, None] - 0.5 + 0.3 * tint[board][:, None]
        along = (u - (offset[board][:, None] * 0.37) % 1) * length
        age = 6.5 * np.sqrt(across**2 + 0.35 * along**2 + 0.004) + 1.3 * warp + offset[board][:, None]
        rings = (age % 1) ** 3  # slow growth in summer, a dark line in winter
        fibers = _noise(height, width, rng, (70 * boards, 30 * length), 3)
        pores = np.maximum(_noise(height, width, rng, (130 * boards, 90 * length), 1) - 0.28, 0)
        tone = 0.75 - 0.5 * rings + 0.34 * fibers + 0.14 * tint[board][:, None] + 0.25 * warp
        color = _mix((0.070, 0.027, 0.011), (0.27, 0.130, 0.058), np.clip(tone, 0, 1.2))
        gap = np.abs((v * boards + 0.5) % 1 - 0.5) * height / boards  # texels from the nearest joint
        groove = 1 - 0.85 * np.exp(-((gap / max(1.0, 0.012 * height / boards)) ** 2))
        return np.asarray(color * ((1 - 1.6 * pores) * groove)[..., None], dtype=np.float32)

    return draw


def _woven(seed: int, threads: int) -> Draw:
    """Return a plain weave in a checked pattern, ``threads`` along the width: over, under, over, under."""

    def draw(height: int, width: int) -> Array:
        rng = np.random.default_rng(seed)
        v, u = _grid(height, width)
        pitch = width / threads
        across, along = u * threads, v * height / pitch
        i, j = across.astype(int), along.astype(int)
        over = (i + j) % 2 == 0
        profile_u, profile_v = np.sin(math.pi * (across % 1)), np.sin(math.pi * (along % 1))
        crimp = np.where(over, profile_u * (0.55 + 0.45 * profile_v), profile_v * (0.55 + 0.45 * profile_u))
        warp_color, weft_color = _stripes(threads, rng), _stripes(int(along.max()) + 1, rng)
        color = np.where(over[..., None], warp_color[i[0]][None], weft_color[j[:, 0]][:, None])
        fuzz = 1 + 0.35 * _noise(height, width, rng, (height / 6, width / 6), 2)
        return np.asarray(color * ((0.30 + 0.70 * crimp) * fuzz)[..., None], dtype=np.float32)

    return draw


def _stripes(count: int, rng: np.random.Generator) -> Array:
    """Return the colors (count, 3) of a set of threads: a broad check with thin lines, each thread a little uneven."""
    base, dark, line = (_linear(*c) for c in ((205, 196, 178), (38, 70, 96), (196, 84, 48)))
    phase = np.arange(count) % 48
    color = np.where((phase[:, None] >= 26) & (phase[:, None] < 40), dark, base)
    color = np.where((phase[:, None] // 2) % 12 == 3, line, color)
    return np.asarray(color * rng.uniform(0.85, 1.1, (count, 1)), dtype=np.float32)


def _checker() -> Draw:
    """Return the color checker: 24 patches with their reflectances on a black card, and a title."""
    colors = np.array([[_linear(*patch) for patch in row] for row in COLOR_CHECKER_SRGB], dtype=np.float32)

    def draw(height: int, width: int) -> Array:
        v, u = _grid(height, width)
        x, y = (u - 0.035) / 0.93 * 6, (v - 0.05) / 0.84 * 4
        inside = (np.abs(x % 1 - 0.5) < 0.43) & (np.abs(y % 1 - 0.5) < 0.43) & (x > 0) & (x < 6) & (y > 0) & (y < 4)
        patch = colors[np.clip(y[:, 0], 0, 3).astype(int)][:, np.clip(x[0], 0, 5).astype(int)]
        card = np.where(inside[..., None], patch, np.float32(0.018))
        text = [(0.20, 0.945, 0.055, "24 COLORS · D65"), (0.82, 0.945, 0.055, "made-up night")]
        return _mix(card, (0.5, 0.5, 0.5), _lettering(height, width, text))

    return draw


def _zone_print() -> Draw:
    """Return a print with a zone plate, stars, line pairs and captions of several sizes."""

    def draw(height: int, width: int) -> Array:
        v, u = _grid(height, width)
        x, y = u - 0.5, (v - 0.40) * height / width
        r2 = x * x + y * y
        rings = 0.5 + 0.5 * np.cos(math.pi * 0.22 * width * r2 / 0.40)  # local period ≥ 4.5 texels at the edge
        ink = np.where(r2 < 0.16, rings, 0).astype(np.float32)
        for cu, cv in ((0.16, 0.83), (0.84, 0.83)):
            sx, sy = u - cu, (v - cv) * height / width
            star = 0.5 + 0.5 * np.sin(36 * np.arctan2(sy, sx))
            radius = np.hypot(sx, sy)
            ink = np.where((radius < 0.11) & (radius > 0.018), _smoothstep(0.35, 0.65, star), ink)
        for row in range(5):  # line pairs, each group finer
            period = max(2.0, width * 0.02 * 0.72**row)
            bars = (np.abs(u - 0.5) < 0.17) & (np.abs(v - 0.755 - 0.026 * row) < 0.010)
            ink = np.where(bars, _smoothstep(0.3, 0.7, 0.5 + 0.5 * np.sin(2 * math.pi * u * width / period)), ink)
        text = [
            (0.5, 0.055, 0.040, "THE ZONE PLATE"),
            (0.5, 0.905, 0.026, "Fig. 4 - rings of equal area"),
            (0.5, 0.945, 0.018, "engraved by candle light for the society of night observers"),
        ]
        ink = np.maximum(ink, _lettering(height, width, text))
        return _mix((0.80, 0.77, 0.70), (0.02, 0.02, 0.025), ink)

    return draw


def _contour_print(seed: int) -> Draw:
    """Return a map of an island: fine contour lines, blue water, red path, names."""

    def draw(height: int, width: int) -> Array:
        rng = np.random.default_rng(seed)
        v, u = _grid(height, width)
        hill = 1.1 - 2.4 * np.hypot(u - 0.5, (v - 0.5) * height / width) + 0.8 * _noise(height, width, rng, (3, 4), 3)
        slope = np.hypot(*np.gradient(hill * 14)) + np.float32(1e-4)
        distance = np.abs((hill * 14 + 0.5) % 1 - 0.5) / slope  # texels from the nearest contour
        line = np.clip(1.35 - distance, 0, 1) * (hill > 0)
        land = _mix((0.62, 0.66, 0.42), (0.80, 0.66, 0.46), np.clip(hill, 0, 1))
        paper = _mix((0.36, 0.55, 0.62), land, np.clip(hill / slope * 14 + 0.5, 0, 1))
        paper = _mix(paper, (0.22, 0.10, 0.05), 0.8 * line)
        names = [
            (0.22, 0.10, 0.075, "ISLE OF NOISE"),
            (0.76, 0.92, 0.05, "soundings in electrons"),
            (0.5, 0.5, 0.06, "Mt. Poisson"),
        ]
        return _mix(paper, (0.03, 0.04, 0.09), _lettering(height, width, names))

    return draw


def _framed(inner: Draw, mat: float) -> Draw:
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
        v, u = _grid(height, width)
        across, down = np.sin(u * width * 1.5), np.sin(v * height * 1.5)
        weave = 1 + 0.10 * across * down + 0.22 * _noise(height, width, rng, (9, 3), 6)
        color = np.asarray(_linear(*book.cloth), np.float32) * weave[..., None]
        letters = _lettering(width, height, [(0.485, 0.5, 0.60, book.title)], 0.62)
        letters += _lettering(width, height, [(0.91, 0.5, 0.32, book.author), (0.07, 0.5, 0.26, "ALEN")], 0.14)
        lines = np.zeros((height, 1), np.float32)
        for edge in (0.13, 0.145, 0.82, 0.835):
            lines = np.maximum(lines, np.clip(1.5 - np.abs(v - edge) * height, 0, 1))
        ink = np.maximum(np.rot90(letters, -1), lines * 0.8 * (np.abs(u - 0.5) < 0.46))
        color = _mix(color, _linear(*book.ink), ink * np.clip(weave, 0, 1))
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


def _letter(seed: int) -> Draw:
    """Return a ruled sheet with lines of text that get smaller."""

    def draw(height: int, width: int) -> Array:
        rng = np.random.default_rng(seed)
        v, _ = _grid(height, width)
        paper = (
            np.asarray((0.74, 0.71, 0.63), np.float32) * (1 + 0.05 * _noise(height, width, rng, (5, 7), 5))[..., None]
        )
        rule = np.clip(1.2 - np.abs((v * 11.5 + 0.5) % 1 - 0.5) * height / 11.5, 0, 1) * np.ones((1, width), np.float32)
        paper = _mix(paper, (0.32, 0.45, 0.62), 0.35 * rule * (v > 0.14))
        lines = [(0.5, 0.085 + 0.093 * k, size, words) for k, (size, words) in enumerate(_LETTER)]
        return _mix(paper, (0.025, 0.025, 0.06), 0.93 * _lettering(height, width, lines))

    return draw


# ------------------------------------------------------------------------------------------------------- the window


def _night_city(seed: int) -> Draw:
    """Return the radiance behind the window: sky, stars, moon, buildings, lamps; a little out of focus."""

    def draw(height: int, width: int) -> Array:
        rng = np.random.default_rng(seed)
        city = _sky(height, width, rng)
        for depth in range(3):
            _add_buildings(city, depth, rng)
        _add_street_lamps(city, rng)
        return _defocus(city, 0.0042 * width)

    return draw


def _sky(height: int, width: int, rng: np.random.Generator) -> Array:
    """Return a clear sky (h, w, 3): glow of the city below, deep blue above, stars, a crescent moon."""
    v, u = _grid(height, width)
    rise = np.clip(v / 0.85, 0, 1)
    sky = _mix((0.0035, 0.0060, 0.0150), (0.020, 0.024, 0.040), rise**2 * np.ones_like(u))
    glow = rise**6 * (0.6 + 0.4 * np.cos((u - 0.6) * 4))
    sky += glow[..., None] * np.array([0.085, 0.046, 0.024], np.float32)
    for _ in range(170):
        y, x = int(rng.uniform(0, 0.6) * height), int(rng.uniform() * width)
        warmth = rng.uniform(0.75, 1.2)
        sky[y, x] += rng.exponential(0.22) * np.array([warmth, 1.0, 1.9 - warmth]) * (width / 900) ** 2
    radius = 0.030
    across, along = (u - 0.155) / radius, (v - 0.20) * height / width / radius
    disk = np.clip((1.00 - np.hypot(across, along)) * radius * width, 0, 1)
    shadow = np.clip((0.98 - np.hypot(across + 0.42, along + 0.18)) * radius * width, 0, 1)
    return _mix(sky, (2.6, 2.4, 2.0), disk * (1 - shadow))


def _add_buildings(city: Array, depth: int, rng: np.random.Generator) -> None:
    """Paint one row of buildings into the picture, in place; ``depth`` 0 is the farthest."""
    height, width, _ = city.shape
    haze = np.array([(0.030, 0.026, 0.032), (0.016, 0.015, 0.021), (0.0075, 0.0075, 0.011)][depth], np.float32)
    x = -0.05
    while x < 1.0:
        wide = rng.uniform(0.035, 0.085) * (0.8 + 0.35 * depth)
        top = 0.86 - rng.uniform(0.08, 0.42) * (1.0, 0.85, 0.55)[depth]
        left, right = max(0, round(x * width)), min(width, round((x + wide) * width))
        if right - left > 2:
            city[round(top * height) :, left:right] = haze
            if rng.uniform() < 0.3:  # an antenna with its red lamp
                middle, tip = (left + right) // 2, round((top - 0.05) * height)
                city[tip : round(top * height), middle : middle + max(1, width // 600)] = haze
                city[tip : tip + max(1, height // 300), middle : middle + max(1, width // 450)] = (2.4, 0.12, 0.06)
            _add_windows(city, (round(top * height), left, right), depth, rng)
        x += wide * rng.uniform(0.9, 1.25)


def _add_windows(city: Array, place: tuple[int, int, int], depth: int, rng: np.random.Generator) -> None:
    """Light some of the windows of the building at (top, left, right), in place."""
    top, left, right = place
    height, width, _ = city.shape
    cell_x, cell_y = width * (0.0062 + 0.0022 * depth), width * (0.0085 + 0.0030 * depth)
    pane_x, pane_y = max(1, round(cell_x * 0.55)), max(1, round(cell_y * 0.55))
    dimmed = 0.3025 * cell_x * cell_y / (pane_x * pane_y)  # whole texels stand for panes of another size
    warm, cool = np.array([1.0, 0.62, 0.26]), np.array([0.62, 0.85, 1.0])
    busy = rng.uniform(0.12, 0.5)
    for row in np.arange(top + cell_y, height, cell_y):
        for column in np.arange(left + 0.4 * cell_x, right - cell_x, cell_x):
            chance, level, hue = rng.uniform(), 0.10 + rng.exponential(0.22), rng.uniform()
            if chance < busy:
                tone = cool if hue < 0.22 else warm * (1.0, 0.9 + 0.3 * hue, 0.7 + hue)
                city[int(row) : int(row) + pane_y, int(column) : int(column) + pane_x] = (
                    dimmed * level * (0.6 + 0.3 * depth) * tone
                )


def _add_street_lamps(city: Array, rng: np.random.Generator) -> None:
    """Add the bright, saturated points along the streets, in place: lamps, signs, traffic."""
    height, width, _ = city.shape
    hues = (
        (1.0, 0.55, 0.16),
        (1.0, 0.78, 0.45),
        (1.0, 0.08, 0.05),
        (0.10, 0.9, 0.35),
        (0.2, 0.45, 1.0),
        (1.0, 0.2, 0.6),
    )
    size = max(1, round(width / 400))
    for _ in range(85):
        u, v = rng.uniform(), 0.80 + 0.2 * rng.beta(1.2, 2.0)
        hue = np.array(hues[rng.choice(len(hues), p=(0.34, 0.28, 0.14, 0.08, 0.08, 0.08))])
        x, y = int(u * (width - size)), int(v * (height - size))
        city[y : y + size, x : x + size] += rng.uniform(3, 22) * (width / 400 / size) ** 2 * hue


def _defocus(picture: Array, radius: float) -> Array:
    """Blur a picture (h, w, 3) by a disk, as a lens out of focus does; the disk's rim is a little brighter."""
    reach = math.ceil(radius)
    if radius < 0.6:
        return picture
    offsets = range(-reach, reach + 1)
    y, x = np.meshgrid(offsets, offsets, indexing="ij")
    distance = np.hypot(y, x)
    kernel = np.clip(radius + 0.5 - distance, 0, 1) * (1 + 0.35 * (distance / radius) ** 4)
    kernel = (kernel / kernel.sum()).astype(np.float32)
    height, width, _ = picture.shape
    padded = np.pad(picture, ((reach, reach), (reach, reach), (0, 0)), mode="edge")
    total = np.zeros_like(picture)
    for (j, i), weight in np.ndenumerate(kernel):
        if weight > 0:
            total += weight * padded[j : j + height, i : i + width]
    return total


_NEON: Final[tuple[tuple[Color, tuple[tuple[tuple[float, float], ...], ...]], ...]] = (
    (
        (15.0, 0.8, 4.1),
        (
            ((0.05, 0.66), (0.13, 0.12), (0.15, 0.12), (0.23, 0.66)),
            ((0.083, 0.46), (0.197, 0.46)),
            ((0.31, 0.12), (0.31, 0.66), (0.45, 0.66)),
            ((0.68, 0.12), (0.53, 0.12), (0.53, 0.66), (0.68, 0.66)),
            ((0.53, 0.39), (0.65, 0.39)),
            ((0.76, 0.66), (0.76, 0.12), (0.93, 0.66), (0.93, 0.12)),
        ),
    ),
    ((0.65, 7.8, 11.0), (tuple((0.05 + 0.022 * k, 0.84 + 0.045 * math.sin(0.9 * k)) for k in range(41)),)),
)
"""The sign: radiance of the gas, and strokes through points of the unit square, which is its inner half."""


def _neon_sign(height: int, width: int) -> Array:
    """Return the sign's radiance (h, w, 4): tubes with a pale core and a saturated rim, glow around, coverage."""
    sign = np.zeros((height, width, 4), dtype=np.float32)
    for color, strokes in _NEON:
        tube, core = (_stroked(height, width, strokes, size * height) for size in (0.0165, 0.008))
        pale = 0.75 * np.asarray(color, np.float32) + 0.25 * max(color)
        light = _mix((0.0, 0.0, 0.0), color, 0.5 * tube)
        light = _mix(light, pale, core)
        sign[..., :3] += light
        sign[..., 3] = np.maximum(sign[..., 3], tube)
    for sigma, share in ((0.014, 0.10), (0.05, 0.05)):
        sign[..., :3] += share * _blur(sign[..., :3], sigma * height)
    return sign


def _stroked(height: int, width: int, strokes: Sequence[Sequence[tuple[float, float]]], thickness: float) -> Array:
    """Return round-ended strokes as a mask (h, w), softly edged like a tube."""

    def paint(draw: ImageDraw.ImageDraw) -> None:
        for stroke in strokes:
            points = [(2 * (0.17 + 0.66 * u) * width, 2 * (0.27 + 0.46 * v) * height) for u, v in stroke]
            draw.line(points, 255, max(1, round(2 * thickness)), joint="curve")
            for x, y in (points[0], points[-1]):
                draw.ellipse((x - thickness, y - thickness, x + thickness, y + thickness), 255)

    return _blur(_mask(height, width, paint, 2)[..., None], max(0.5, 0.18 * thickness))[..., 0]


# ------------------------------------------------------------------------------------------------------ the still life


_BULB: Final[Point] = (0.575, -0.035, 1.96)
_CANDLE: Final[Point] = (-0.535, 0.375, 1.93)
_BALL: Final = _Ball((-0.16, _TABLE_Y - 0.105, 1.98), 0.105)
_SHELF: Final = _Block((-0.50, 0.17, 2.38), (-0.055, _TABLE_Y, 2.60))
_POT: Final = _Column(-0.80, 2.40, 0.086, 0.37, _TABLE_Y)
_CUP: Final = _Column(0.66, 2.20, 0.053, 0.40, _TABLE_Y)
_LYING: Final = (
    _Block((0.44, 0.505, 2.40), (0.70, _TABLE_Y, 2.60)),
    _Block((0.46, 0.455, 2.41), (0.69, 0.505, 2.58)),
)
_CARD_CORNER: Final[Point] = (0.045, 0.325, 2.34)
_CARD_RIGHT: Final[Point] = (0.34, 0.0, 0.02)
_CARD_DOWN: Final[Point] = (0.0, 0.224, -0.085)
_FRUIT: Final = (_Ball((0.425, _TABLE_Y - 0.054, 2.06), 0.054), _Ball((0.50, _TABLE_Y - 0.049, 1.98), 0.049))


def _lighting() -> _Light:
    """Return the lamps and what stands in their way."""
    neon = np.array([[-0.57 + 0.22 * k, -0.10, 2.93] for k in range(3)], np.float32)
    flame = np.array(_CANDLE, np.float32) + np.array([[0.004 * (-1) ** k, -0.048 + 0.018 * k, 0] for k in range(4)])
    lamps = (
        _Lamp(points=_disk_points(_BULB, 0.035, 12), color=(0.72, 0.60, 0.44), cone=(0.22, 0.60), leak=0.05),
        _Lamp(points=flame.astype(np.float32), color=(0.060, 0.034, 0.0145)),
        _Lamp(points=neon, color=(0.034, 0.012, 0.026)),
        _Lamp(points=np.array([[0.50, 0.50, 2.10]], np.float32), color=(0.030, 0.018, 0.010)),  # the table's own glow
    )
    card = _Block((0.05, 0.335, 2.352), (0.38, _TABLE_Y, 2.358))
    wax = _Column(_CANDLE[0], _CANDLE[2], 0.034, _CANDLE[1] + 0.045, _TABLE_Y)
    stem = _Column(0.80, 2.42, 0.012, -0.10, _TABLE_Y)
    return _Light(lamps, (_BALL, _SHELF, _POT, _CUP, *_LYING, *_FRUIT, card, stem, wax))


_Painter = Callable[[_Stage], None]


def _block(block: _Block, draw: Draw, top: Draw | None = None) -> _Painter:
    """Return a painter of the faces of a box that turn to the camera."""
    (x0, y0, z0), (x1, y1, z1) = block.low, block.high
    right, down, deep = (x1 - x0, 0.0, 0.0), (0.0, y1 - y0, 0.0), (0.0, 0.0, z1 - z0)
    away: Point = (0.0, 0.0, z0 - z1)

    def paint(stage: _Stage) -> None:
        x, y, _ = stage.view.origin
        if x < x0:
            _Quad(corner=(x0, y0, z1), right=away, down=down, draw=draw).paint(stage)
        if x > x1:
            _Quad(corner=(x1, y0, z0), right=deep, down=down, draw=draw).paint(stage)
        if y < y0:
            _Quad(corner=(x0, y0, z1), right=right, down=away, draw=top or draw).paint(stage)
        if y > y1:
            _Quad(corner=(x0, y1, z0), right=right, down=deep, draw=draw).paint(stage)
        _Quad(corner=(x0, y0, z0), right=right, down=down, draw=draw).paint(stage)

    return paint


def _room(seed: int) -> list[_Painter]:
    """Return the wall, the city, the neon sign, the window frame and the pictures, back to front."""
    wall = _Quad(
        corner=(-1.4, -0.75, _WALL_Z),
        right=(2.8, 0.0, 0.0),
        down=(0.0, 1.32, 0.0),
        draw=_plaster(seed),
        sharpness=(0.5, 0.5),
    )
    left, right, top, bottom = -1.02, 0.22, -0.50, 0.36
    city = _Quad(
        corner=(left, top, _WALL_Z), right=(right - left, 0.0, 0.0), down=(0.0, bottom - top, 0.0),
        draw=_night_city(seed + 1), glow=True, sharpness=(0.5, 0.5),
    )  # fmt: skip
    sign = _Quad(
        corner=(-0.86, -0.47, 2.97),
        right=(1.16, 0.0, 0.0),
        down=(0.0, 0.74, 0.0),
        draw=_neon_sign,
        glow=True,
        sharpness=(0.55, 0.55),
    )
    paint = _flat((0.36, 0.35, 0.33), seed + 2)
    bars = [
        _Block((left - 0.05, top, 2.95), (left, bottom, _WALL_Z)),
        _Block((right, top, 2.95), (right + 0.05, bottom, _WALL_Z)),
        _Block((-0.712, top, 2.965), (-0.688, bottom, _WALL_Z)),
        _Block((left - 0.09, bottom, 2.86), (right + 0.09, bottom + 0.035, _WALL_Z)),
    ]
    painters: list[_Painter] = [wall.paint, city.paint, sign.paint, *(_block(bar, paint) for bar in bars)]
    for (x, y, w, h), sheet in (
        ((0.36, -0.33, 0.27, 0.37), _zone_print()),
        ((0.37, 0.10, 0.25, 0.19), _contour_print(seed + 3)),
    ):
        frame = _Block((x - 0.016, y - 0.016, 2.965), (x + w + 0.016, y + h + 0.016, _WALL_Z))
        painters.append(_block(frame, _flat((0.03, 0.025, 0.022), seed + 4)))
        painters.append(
            _Quad(corner=(x, y, 2.964), right=(w, 0.0, 0.0), down=(0.0, h, 0.0), draw=_framed(sheet, 0.07)).paint
        )
    return painters


def _books(seed: int) -> list[_Painter]:
    """Return the row of upright books, then the two that lie under the lamp."""
    painters: list[_Painter] = []
    x, z, depth = _SHELF.low[0], _SHELF.low[2], 0.2
    for index, book in enumerate(_LIBRARY):
        y, tilt = _TABLE_Y - book.height, 0.0
        if index == len(_LIBRARY) - 1:  # the last one leans on its neighbor
            tilt = -0.13
            y += 0.006
        right = (book.thickness * math.cos(tilt), book.thickness * math.sin(tilt), 0.0)
        down = (-book.height * math.sin(tilt), book.height * math.cos(tilt), 0.0)
        back: Point = (x, y, z + depth)
        painters.append(_Quad(corner=back, right=right, down=(0.0, 0.0, -depth), draw=_pages(seed + index)).paint)
        painters.append(_Quad(corner=(x, y, z), right=right, down=down, draw=_spine(book, seed + index)).paint)
        x += book.thickness + 0.0015
    for block, book in zip(_LYING, (_LIBRARY[2], _LIBRARY[0]), strict=True):
        painters.append(_block(block, _lying_spine(book, seed + 40), _flat(_linear(*book.cloth), seed + 41)))
    return painters


def _lying_spine(book: _Volume, seed: int) -> Draw:
    """Return the spine of a book that lies on its side: the texture turned to read along u."""
    upright = _spine(replace(book, thickness=0.045, height=0.28), seed)
    return lambda height, width: np.ascontiguousarray(np.rot90(upright(width, height), 1))


def _cloth_and_letter(seed: int) -> list[_Painter]:
    """Return what lies flat on the table."""
    y = _TABLE_Y - 0.002
    cloth = _Quad(
        corner=(-0.22, y, 2.22),
        right=(0.62, 0.0, 0.06),
        down=(0.09, 0.0, -0.52),
        draw=_woven(seed, 150),
        sharpness=(0.7, 0.7),
    )
    letter = _Quad(corner=(-0.42, y, 1.93), right=(0.36, 0.0, -0.06), down=(0.0, 0.0, -0.39), draw=_letter(seed + 1))
    return [cloth.paint, letter.paint]


def _glazed(stage: _Stage, color: Color) -> _Material:
    """Return a glazed material that mirrors what is already painted, the lamp and the candle."""

    def material(points: Array, normals: Array, light: Array) -> Array:
        way = points - stage.view.origin
        way = way / np.linalg.norm(way, axis=-1, keepdims=True)
        facing = np.einsum("hwc,hwc->hw", way, normals)
        mirror = way - 2 * facing[..., None] * normals
        fresnel = 0.04 + 0.80 * np.clip(1 + facing, 0, 1) ** 5
        seen = _seen_in_mirror(stage, points, mirror)
        for lamp, size, radiance in ((_BULB, 0.055, (22.0, 18.0, 12.5)), (_CANDLE, 0.016, (12.0, 6.6, 2.4))):
            to_lamp = np.asarray(lamp, np.float32) - points
            distance = np.linalg.norm(to_lamp, axis=-1)
            cosine = np.einsum("hwc,hwc->hw", to_lamp, mirror) / distance
            angle = np.sqrt(np.maximum(2 - 2 * cosine, 0)) * distance
            seen = _mix(seen, radiance, _smoothstep(1.25 * size, 0.75 * size, angle))
        return np.asarray(np.asarray(color, np.float32) * light + fresnel[..., None] * seen, np.float32)

    return material


def _seen_in_mirror(stage: _Stage, points: Array, mirror: Array) -> Array:
    """Return the radiance (h, w, 3) along mirrored rays: the picture where they meet it, else the dim room."""
    down, deep = np.maximum(mirror[..., 1], 1e-4), np.maximum(mirror[..., 2], 1e-4)
    distance = np.minimum((_TABLE_Y - points[..., 1]) / down, (_WALL_Z - points[..., 2]) / deep)
    met = points + np.minimum(distance, 3.0)[..., None] * mirror
    met[..., 2] = np.maximum(met[..., 2], 0.3)
    column, row = np.moveaxis(stage.view.project(met), -1, 0)
    height, width, _ = stage.picture.shape
    inside = (distance < 2.5) & (column > 0) & (column < width) & (row > 0) & (row < height)
    y, x = np.clip(row, 0, height - 1).astype(int), np.clip(column, 0, width - 1).astype(int)
    return np.where(inside[..., None], stage.picture[y, x], _sky_light(mirror))


def _ball(stage: _Stage) -> None:
    """Paint the glazed ball."""
    _Globe(center=_BALL.center, radius=_BALL.radius, material=_glazed(stage, (0.05, 0.20, 0.24))).paint(stage)


def _fruit(stage: _Stage) -> None:
    """Paint two tangerines: a dimpled peel with a soft sheen of the lamp."""
    dimples = _noise(256, 256, np.random.default_rng(8), (64, 64), 2)

    def peel(points: Array, normals: Array, light: Array) -> Array:
        turned = np.arctan2(normals[..., 0], -normals[..., 2])
        tone = dimples[(np.abs(normals[..., 1]) * 150).astype(int) % 256, ((turned + 4) * 90).astype(int) % 256]
        to_lamp = np.asarray(_BULB, np.float32) - points
        way = points - stage.view.origin
        half = to_lamp / np.linalg.norm(to_lamp, axis=-1, keepdims=True) - way / np.linalg.norm(
            way, axis=-1, keepdims=True
        )
        half /= np.linalg.norm(half, axis=-1, keepdims=True)
        shine = 0.35 * np.clip(np.einsum("hwc,hwc->hw", half, normals) + 0.03 * tone, 0, 1) ** 60
        color = np.asarray((0.46, 0.118, 0.007), np.float32) * (1 + 0.35 * tone)[..., None]
        return np.asarray((color + shine[..., None]) * light, np.float32)

    for ball in _FRUIT:
        _Globe(center=ball.center, radius=ball.radius, material=peel).paint(stage)


def _cup(stage: _Stage) -> None:
    """Paint the cup of pencils: the pencils behind its front rim first stand in it."""
    profile = ((0.39, 0.068), (0.40, 0.066), (0.50, 0.066), (0.54, 0.062), (_TABLE_Y, 0.054))
    inside = _flat((0.10, 0.09, 0.08), 5)
    cup = _Turned(
        x=_CUP.x, z=_CUP.z, profile=profile, material=_glazed(stage, (0.55, 0.50, 0.42)), lid=(0, inside, False)
    )
    cup.paint(stage)
    colors = ((0.46, 0.24, 0.012), (0.45, 0.03, 0.03), (0.03, 0.12, 0.40), (0.05, 0.26, 0.08), (0.46, 0.24, 0.012))
    for k, color in enumerate(colors):
        foot = (_CUP.x + 0.02 * (k - 2), 0.43, _CUP.z + 0.02)
        tip = (_CUP.x + 0.043 * (k - 2), 0.24 + 0.025 * ((k * 2) % 3), _CUP.z + 0.02)
        _Rod(start=tip, end=foot, radius=0.0075, material=_plain(color)).paint(stage)
        peak = (tip[0] + 0.022 * 0.043 * (k - 2) / 0.19, tip[1] - 0.022, tip[2])
        _Rod(start=peak, end=tip, radius=0.0075, taper=0.12, material=_plain((0.52, 0.34, 0.19))).paint(stage)
    replace(cup, lid=None).paint(stage)  # its near side hides their feet


def _lamp(stage: _Stage) -> None:
    """Paint the desk lamp: foot, arm, shade, its bright inside and the bulb."""
    steel, enamel = _plain((0.07, 0.066, 0.06)), _glazed(stage, (0.02, 0.13, 0.075))
    foot = ((0.531, 0.088), (0.536, 0.094), (_TABLE_Y, 0.095))
    _Turned(x=0.80, z=2.42, profile=foot, material=enamel, lid=(0, _flat((0.02, 0.13, 0.075), 6), False)).paint(stage)
    _Rod(start=(0.80, 0.08, 2.42), end=(0.80, 0.525, 2.42), radius=0.011, material=steel).paint(stage)
    _Rod(start=(_BULB[0], -0.19, _BULB[2]), end=(0.80, 0.085, 2.42), radius=0.010, material=steel).paint(stage)
    _Globe(center=(0.80, 0.085, 2.42), radius=0.019, material=steel).paint(stage)
    shade = ((-0.225, 0.024), (-0.19, 0.028), (-0.185, 0.045), (-0.06, 0.135), (-0.05, 0.138))
    _Turned(x=_BULB[0], z=_BULB[2], profile=shade, material=enamel, lid=(4, _shade_inside, True)).paint(stage)
    _Globe(center=_BULB, radius=0.030, material=_bulb).paint(stage)


def _bulb(_points: Array, normals: Array, _light: Array) -> Array:
    """Return the radiance (h, w, 3) of frosted glass around a filament: a little less toward the rim."""
    rim = (0.55 + 0.45 * np.abs(normals[..., 2:])) ** 1.5
    return np.asarray(rim * (22.0, 18.0, 12.5), dtype=np.float32)


def _shade_inside(height: int, width: int) -> Array:
    """Return the radiance (h, w, 3) of the white inside of the shade around the bulb."""
    v, u = _grid(height, width)
    radius = np.hypot(u - 0.5, v - 0.5) * 2
    return np.asarray(1.0 + 5.0 * np.exp(-((radius / 0.5) ** 2)), np.float32)[..., None] * np.array(
        [1.0, 0.80, 0.55], np.float32
    )


def _candle(stage: _Stage) -> None:
    """Paint the candle in its glass, glowing from within, and the flame."""
    x, y, z = _CANDLE

    def wax(points: Array, normals: Array, light: Array) -> Array:
        near = np.exp(-(((points[..., 1] - y) / 0.055) ** 2)) * (0.35 + 0.65 * np.abs(normals[..., 2]))
        glow = near[..., None] * (1.5, 0.62, 0.17)
        return np.asarray(light * (0.55, 0.50, 0.42) + glow, dtype=np.float32)

    def pool(height: int, width: int) -> Array:
        v, u = _grid(height, width)
        hot = np.exp(-(((u - 0.5) ** 2 + (v - 0.5) ** 2) / 0.06))
        return np.asarray(hot[..., None] * np.array([5.0, 2.7, 0.9]) + np.array([0.9, 0.45, 0.14]), np.float32)

    body = ((y + 0.035, 0.036), (_TABLE_Y, 0.036))
    _Turned(x=x, z=z, profile=body, material=wax, lid=(0, pool, True)).paint(stage)
    _Rod(start=(x, y + 0.018, z), end=(x, y + 0.038, z), radius=0.0015, material=_plain((0.02, 0.02, 0.02))).paint(
        stage
    )
    flame = _Quad(
        corner=(x - 0.022, y - 0.05, z), right=(0.044, 0.0, 0.0), down=(0.0, 0.085, 0.0), draw=_flame, glow=True
    )
    flame.paint(stage)


def _flame(height: int, width: int) -> Array:
    """Return the flame's radiance and coverage (h, w, 4): a drop, white-hot in the middle, blue at its foot."""
    v, u = _grid(height, width)
    half = 0.30 * np.sin(3.14159 * v**1.7) ** 0.85
    inside = _smoothstep(1.0, 0.55, np.abs(u - 0.5) / np.maximum(half, 1e-3))
    color = _mix((16.0, 9.0, 3.0), (0.3, 0.8, 3.0), _smoothstep(0.78, 0.97, v) * np.ones_like(u))
    color = color * (0.35 + 0.65 * _smoothstep(1.0, 0.1, np.abs(u - 0.5) / np.maximum(half, 1e-3)))[..., None]
    return np.concatenate([color * inside[..., None], inside[..., None] * 0.8], axis=2).astype(np.float32)


def _plant(seed: int) -> _Painter:
    """Return the painter of a rubber plant: stems, and leaves from the back ones to the front ones."""

    def paint(stage: _Stage) -> None:
        rng = np.random.default_rng(seed)
        clay = _noise(64, 64, rng, (6, 6))

        def terracotta(points: Array, _normals: Array, light: Array) -> Array:
            y, x = ((np.abs(points[..., k]) * 400 % 64).astype(int) for k in (1, 0))
            tone = 1 + 0.25 * clay[y, x]
            return np.asarray(tone[..., None] * light * (0.42, 0.15, 0.075), np.float32)

        pot = ((0.32, 0.135), (0.362, 0.135), (0.364, 0.122), (_TABLE_Y, 0.088))
        earth = _flat((0.035, 0.025, 0.018), seed + 1, 0.8)
        _Turned(x=_POT.x, z=_POT.z, profile=pot, material=terracotta, lid=(0, earth, False)).paint(stage)
        stems = [
            (_POT.x + dx, 0.34, _POT.x + ex, ey)
            for dx, ex, ey in ((-0.02, -0.10, 0.02), (0.01, 0.02, -0.16), (0.03, 0.13, 0.05))
        ]
        for x0, y0, x1, y1 in stems:
            _Rod(
                start=(x1, y1, _POT.z), end=(x0, y0, _POT.z), radius=0.007, material=_plain((0.10, 0.085, 0.04))
            ).paint(stage)
        for k in range(24):
            x0, y0, x1, y1 = stems[int(rng.integers(3))]
            t = rng.uniform(0.25, 1.0)
            side = 1 if rng.uniform() < 0.5 else -1
            angle = -math.pi / 2 + side * rng.uniform(0.25, 1.5)
            base = (x0 + t * (x1 - x0), y0 + t * (y1 - y0), _POT.z - 0.004 * k)
            _paint_leaf(
                stage, base, angle, rng.uniform(0.15, 0.25), side * rng.uniform(0.05, 0.35), 0.45 + 0.55 * k / 23
            )

    return paint


def _paint_leaf(stage: _Stage, base: Point, angle: float, length: float, droop: float, front: float) -> None:
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
        green = _mix((0.035, 0.13, 0.030), (0.22, 0.30, 0.10), np.clip(vein, 0, 1))
        sheen = np.clip(normals @ np.array([0.35, -0.65, -0.67], np.float32), 0, 1) ** 10 * 0.10
        return np.asarray((green + sheen[..., None]) * light * front, np.float32)

    s, t = (c.ravel() for c in np.meshgrid(np.linspace(0, 1, 9), (-0.2, 0.2)))
    outline = np.asarray(base[:2]) + length * (s[:, None] * along + (t + droop * s * s)[:, None] * across)
    extent = np.column_stack([outline, np.full(len(s), base[2])]).astype(np.float32)
    _paint_round(stage, extent, surface, material, step=5)


def _color_card(stage: _Stage) -> None:
    """Paint the color checker, leaning back."""
    _Quad(corner=_CARD_CORNER, right=_CARD_RIGHT, down=_CARD_DOWN, draw=_checker()).paint(stage)


def _table(seed: int) -> _Quad:
    """Return the table top."""
    return _Quad(
        corner=(-1.25, _TABLE_Y, _WALL_Z), right=(2.5, 0.0, 0.0), down=(0.0, 0.0, -1.62),
        draw=_wood(seed, 7), sharpness=(0.4, 0.25),
    )  # fmt: skip


def _add_reflection(stage: _Stage, painters: Sequence[_Painter]) -> None:
    """Add what the varnish of the table mirrors, in place: the scene seen by the mirrored camera, blurred."""
    view = stage.view
    h, w = max(4, view.height // 2), max(4, view.width // 2)
    mirrored = _View(h, w, view.scale * h / view.height, mirrored=True, detail=1)
    below = replace(stage, view=mirrored, picture=np.zeros((h, w, 3), np.float32))
    for paint in painters:
        paint(below)
    soft = _blur(np.minimum(below.picture, 8.0), 0.009 * view.scale)
    reflection = _resize(soft, view.height, view.width, Image.Resampling.BILINEAR)
    rays = view.rays(_Box(0, 0, view.height, view.width), 1)
    dip = rays[..., 1] / np.linalg.norm(rays, axis=-1)
    horizon = rays[..., 1] > _TABLE_Y / _WALL_Z  # the table ends where the wall stands
    fresnel = np.where(horizon, 0.03 + 0.75 * np.clip(1 - dip, 0, 1) ** 5, 0)
    worn = 0.8 + 0.5 * _noise(view.height, view.width, np.random.default_rng(3), (5, 8), 4)
    stage.picture[:] += reflection * (fresnel * worn)[..., None].astype(np.float32)


def _through_the_lens(picture: Array, view: _View) -> Array:
    """Return the picture with glare around the lamps and the corners darkened, as lenses do; exposed."""
    glare = np.zeros_like(picture)
    for size, share in ((0.004, 0.03), (0.02, 0.02), (0.09, 0.016)):
        glare += share * _blur(picture, size * view.scale)
    rays = view.rays(_Box(0, 0, view.height, view.width), 1)
    across, down = rays[..., 0] * _FOCAL, rays[..., 1] * _FOCAL + _HORIZON  # frame heights from the middle
    falloff = 1 - 0.37 * np.minimum(across**2 + down**2, 1.3)
    exposed = _EXPOSURE * falloff[..., None] * (np.float32(0.934) * picture + glare)
    return np.asarray(np.maximum(exposed, 0), dtype=np.float32)


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
    view = _View.covering(height, width)
    stage = _Stage(view, _lighting(), np.zeros((height, width, 3), np.float32))
    base = 1000 * seed
    room = _room(base)
    things = [*_books(base + 100), _plant(base + 200), _color_card, _lamp, _cup, _candle, _ball, _fruit]
    for paint in room:
        paint(stage)
    _table(base + 300).paint(stage)
    _add_reflection(stage, [*room, *things])
    for paint in [*_cloth_and_letter(base + 400), *things]:
        paint(stage)
    return _through_the_lens(stage.picture, view)

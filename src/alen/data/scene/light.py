"""The light: area lights and their shadows, and the dim light from all around.

Shadow rays meet a few simple bodies, which stand for the things that are painted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from alen.data.scene.canvas import Array, Color, smoothstep
from alen.data.scene.view import Point


class _Occluder(Protocol):
    """Something that throws a shadow."""

    def hit(self, start: Array, way: Array) -> NDArray[np.bool_]:
        """Tell whether the segments start (3, N, 1) + t · way (3, N or 1, S), 0 < t < 1, meet it: (N, S)."""


@dataclass(frozen=True)
class Block:
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
class Ball:
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
class Column:
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
class Lamp:
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
            power *= self.leak + (1 - self.leak) * smoothstep(*self.cone, -way[1] / distance)
        for occluder in occluders:
            power[occluder.hit(start, way)] = 0
        return np.asarray(np.outer(np.asarray(self.color), power.mean(axis=1)), dtype=np.float32)


@dataclass(frozen=True)
class Light:
    """Everything that lights the scene, and everything that stands in the way."""

    lamps: tuple[Lamp, ...]
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


def _sphere_directions(count: int) -> Array:
    """Spread unit vectors (count, 3) evenly over the sphere: a Fibonacci lattice."""
    index = np.arange(count) + 0.5
    y = 1 - 2 * index / count
    angle = math.pi * (1 + math.sqrt(5)) * index
    around = np.sqrt(1 - y * y)
    return np.stack([around * np.cos(angle), y, around * np.sin(angle)], axis=-1).astype(np.float32)


_SKY_DIRECTIONS: Final = _sphere_directions(24)


def sky_light(direction: Array) -> Array:
    """Return the dim light (..., 3) that comes from a direction: blue window, dark room, warm table."""
    x, y, z = np.moveaxis(direction, -1, 0)
    window = smoothstep(0.0, 0.8, z - 0.5 * x)[..., None] * np.array([0.075, 0.105, 0.18], np.float32)
    room = smoothstep(0.6, -0.6, z)[..., None] * np.array([0.14, 0.125, 0.115], np.float32)
    table = smoothstep(0.0, 0.8, y)[..., None] * np.array([0.10, 0.058, 0.030], np.float32)
    return np.asarray(window + room + table + 0.015, dtype=np.float32)


_SKY_LIGHT: Final = sky_light(_SKY_DIRECTIONS)


def disk_points(center: Point, radius: float, count: int) -> Array:
    """Spread points (count, 3) evenly over a level disk: a sunflower."""
    index = np.arange(count) + 0.5
    r, angle = radius * np.sqrt(index / count), index * math.pi * (3 - math.sqrt(5))
    offset = np.stack([r * np.cos(angle), np.zeros(count), r * np.sin(angle)], axis=-1)
    return np.asarray(np.asarray(center) + offset, dtype=np.float32)

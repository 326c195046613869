"""The measures of the world, and the camera: where a point falls, and where a pixel looks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from alen.data.scene.canvas import Array, Box

Point = tuple[float, float, float]

FOCAL: Final = 2.0
HORIZON: Final = -0.25
"""Row of the horizon, in frame heights from the middle: the lens shift."""
TABLE_Y: Final = 0.55
WALL_Z: Final = 3.0


@dataclass(frozen=True)
class View:
    """The camera: where a point of the world falls, and where a pixel looks."""

    height: int
    width: int
    scale: float
    """Pixels per unit at depth `FOCAL`; the height of the frame that covers the picture at 3:2."""
    mirrored: bool = False
    """Seen from below the table top, as in its varnish."""
    detail: float = 2.0
    """Samples per pixel along each side."""

    @classmethod
    def covering(cls, height: int, width: int) -> View:
        """Return the camera whose 3:2 frame just covers a picture of this size, centered."""
        return cls(height, width, max(float(height), width / 1.5))

    @property
    def origin(self) -> Array:
        """Where the rays start: the camera, or its mirror image under the table top."""
        return np.array([0.0, 2 * TABLE_Y if self.mirrored else 0.0, 0.0], dtype=np.float32)

    def project(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return the (column, row) in pixels, continuous, of points (..., 3)."""
        x, y, z = np.moveaxis(points.astype(np.float64), -1, 0)
        if self.mirrored:
            y = 2 * TABLE_Y - y
        column = self.width / 2 + self.scale * FOCAL * x / z
        row = self.height / 2 + self.scale * (HORIZON + FOCAL * y / z)
        return np.stack([column, row], axis=-1)

    def box(self, points: Array) -> Box | None:
        """Return the pixels around the projections of points (..., 3), or None if they miss the picture."""
        pixels = self.project(points).reshape(-1, 2)
        left, top = np.floor(pixels.min(axis=0)).astype(int) - 1
        right, bottom = np.ceil(pixels.max(axis=0)).astype(int) + 1
        left, top, right, bottom = max(left, 0), max(top, 0), min(right, self.width), min(bottom, self.height)
        return Box(int(top), int(left), int(bottom - top), int(right - left)) if top < bottom and left < right else None

    def rays(self, box: Box, step: float) -> Array:
        """Return the directions (h, w, 3), depth 1, through the middles of the box's cells of ``step`` pixels."""
        h, w = math.ceil(box.height / step), math.ceil(box.width / step)
        row = (box.top + (np.arange(h, dtype=np.float32) + 0.5) * step - self.height / 2) / self.scale - HORIZON
        column = (box.left + (np.arange(w, dtype=np.float32) + 0.5) * step - self.width / 2) / self.scale
        direction = np.ones((h, w, 3), dtype=np.float32)
        direction[..., 0] = column / FOCAL
        direction[..., 1] = (row / FOCAL * (-1 if self.mirrored else 1))[:, None]
        return direction

    def texels_per_unit(self, depth: float) -> float:
        """Return how many samples one unit takes at this depth."""
        return self.detail * self.scale * FOCAL / depth

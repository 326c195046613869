"""What a lens does to a made-up scene before a sensor sees it."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray


def blur(picture: NDArray[np.float32], sigma_px: float) -> NDArray[np.float32]:
    """Blur a picture by a Gaussian.

    Args:
        picture: (H, W, 3) float32, linear.
        sigma_px: Standard deviation in pixels, at least 0.

    Returns:
        (H, W, 3) float32, new memory; beyond its edges the picture is continued by its outermost pixels.
    """
    reach = math.ceil(3 * sigma_px)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / max(sigma_px, 1e-3)) ** 2)
    kernel /= kernel.sum()
    for axis in (0, 1):
        padding = [(reach, reach) if a == axis else (0, 0) for a in range(3)]
        padded = np.moveaxis(np.pad(picture, padding, mode="edge"), axis, 0)
        side = picture.shape[axis]
        total = sum(np.float32(weight) * padded[i : i + side] for i, weight in enumerate(kernel))
        picture = np.moveaxis(np.asarray(total, dtype=np.float32), 0, axis)
    return np.ascontiguousarray(picture)

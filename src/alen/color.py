"""Color: the sRGB transfer curve, camera matrices, and the development of linear camera RGB into a picture.

Pure numpy. Transfer functions follow IEC 61966-2-1:1999, continued outside [0, 1]: odd below 0 and by the same power
law above 1, so that signed shadows and unclipped highlights survive a round trip.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

_SRGB_LINEAR_END: Final = 0.0031308
"""Linear value up to which the sRGB curve is the straight line 12.92 x (IEC 61966-2-1)."""

_SRGB_ENCODED_END: Final = 0.04045
"""The same joint on the encoded side (IEC 61966-2-1)."""

_BLOCK: Final = 1 << 16
"""Values worked on at a time: the temporaries stay in the processor's cache and cost no memory."""


def eotf_inverse_srgb(linear: NDArray[Any]) -> NDArray[np.float32]:
    """Encode linear light for display with the sRGB curve; also for values outside [0, 1].

    Args:
        linear: Any shape; display white = 1.

    Returns:
        Same shape, float32; odd (f(−x) = −f(x)), not clipped.

    Example:
        >>> round(float(eotf_inverse_srgb(np.array(0.18))), 5)
        0.46136
    """
    source = np.ascontiguousarray(linear, dtype=np.float32)
    encoded = np.empty(np.shape(linear), dtype=np.float32)
    flat_source, flat = source.reshape(-1), encoded.reshape(-1)
    for start in range(0, flat.size, _BLOCK):
        x, y = flat_source[start : start + _BLOCK], flat[start : start + _BLOCK]
        magnitude = np.abs(x)
        np.power(magnitude, np.float32(1 / 2.4), out=y)
        y *= np.float32(1.055)
        y -= np.float32(0.055)
        np.multiply(magnitude, np.float32(12.92), out=y, where=magnitude <= _SRGB_LINEAR_END)
        np.copysign(y, x, out=y)
    return encoded


def eotf_srgb(encoded: NDArray[Any]) -> NDArray[np.float32]:
    """Decode display-encoded values into linear light: the inverse of `eotf_inverse_srgb`.

    Args:
        encoded: Any shape; display white = 1.

    Returns:
        Same shape, float32; odd, not clipped.

    Example:
        >>> round(float(eotf_srgb(np.array(0.5))), 5)
        0.21404
    """
    source = np.ascontiguousarray(encoded, dtype=np.float32)
    linear = np.empty(np.shape(encoded), dtype=np.float32)
    flat_source, flat = source.reshape(-1), linear.reshape(-1)
    for start in range(0, flat.size, _BLOCK):
        x, y = flat_source[start : start + _BLOCK], flat[start : start + _BLOCK]
        magnitude = np.abs(x)
        np.add(magnitude, np.float32(0.055), out=y)
        y *= np.float32(1 / 1.055)
        np.power(y, np.float32(2.4), out=y)
        np.multiply(magnitude, np.float32(1 / 12.92), out=y, where=magnitude <= _SRGB_ENCODED_END)
        np.copysign(y, x, out=y)
    return linear

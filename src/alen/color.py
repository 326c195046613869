"""Color: the sRGB transfer curve, camera matrices, and the development of linear camera RGB into a picture.

Pure numpy. Transfer functions follow IEC 61966-2-1:1999, continued outside [0, 1]: odd below 0 and by the same power
law above 1, so that signed shadows and unclipped highlights survive a round trip.

`develop` is a sequence of small steps on blocks that stay in the processor's cache. Every step is continuous, works on
each pixel alone and keeps a neutral pixel (R = G = B) exactly neutral. `alen.developer` has the same steps compiled,
where neutral is kept to one step of 16 bits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from alen.errors import SettingsError

_SRGB_LINEAR_END: Final = 0.0031308
"""Linear value up to which the sRGB curve is the straight line 12.92 x (IEC 61966-2-1)."""

_SRGB_ENCODED_END: Final = 0.04045
"""The same joint on the encoded side (IEC 61966-2-1)."""

_BLOCK: Final = 1 << 16
"""Values worked on at a time: the temporaries stay in the processor's cache and cost no memory."""

_Colors = tuple[Any, Any, Any]
_One = Callable[[Any], Any]
_Two = Callable[[Any, Any], Any]
"""Functions of one and of two values."""

Shading = Callable[[int, int], NDArray[np.float32]]
"""Gains of R, G and B for rows ``start`` to ``stop`` of a picture: (3, stop − start, W)."""

RGB_FROM_XYZ: Final = (
    (3.2404542, -1.5371385, -0.4985314),
    (-0.9692660, 1.8760108, 0.0415560),
    (0.0556434, -0.2040259, 1.0572252),
)
"""XYZ (D65, Y of white = 1) → linear sRGB: the primaries of IEC 61966-2-1 with D65 = (0.95047, 1, 1.08883).

B. Lindbloom, "RGB/XYZ Matrices", http://www.brucelindbloom.com.
"""

XYZ_FROM_RGB: Final = (
    (0.4124564, 0.3575761, 0.1804375),
    (0.2126729, 0.7151522, 0.0721750),
    (0.0193339, 0.1191920, 0.9503041),
)
"""Linear sRGB → XYZ (D65, Y of white = 1): the inverse of `RGB_FROM_XYZ`, same source."""

_LIMIT: Final = 1e6
"""Largest camera RGB value that is told apart from larger ones; squares and products of it are finite."""

MAX_EV: Final = 20
"""Largest change of exposure in stops, for the same reason."""

_CLIP_START: Final = 0.7
_CLIP_END: Final = 0.97
"""Share of the clip level where highlights begin to lose their color, and where they have none left.

The end lies below 1 because saturated areas come out of a demosaic or a network with a little noise.
"""

_NEUTRAL_SHARE: Final = 0.25
"""Share of red and of blue in the neutral that out-of-gamut colors are moved to."""

_NEUTRAL_SHARE_DARK: Final = 0.08
"""The same in the shadows: about the inverse variance of a channel whose gain is 2 against the other two."""

_NEUTRAL_DARK: Final = 0.02
"""Linear value half way between the two shares."""

_GAMUT_KNEE: Final = 0.9
"""Share of the way from neutral to the border of sRGB up to which colors are kept as they are."""

_SHADOW_NEUTRAL: Final = 0.001
"""Linear value at which half of the color is taken away: three of 255 steps above black, only noise has color."""

_SHOULDER: Final = 0.2
"""Linear value at which the highlight roll-off begins; everything below keeps its value."""

_HEADROOM: Final = 8.0
"""Linear value that becomes display white at most: three stops above the white of a plain encoding."""

_CONTRAST: Final = 0.35
"""Strength of the S-shaped tone curve; 1 would crush the shadows."""

_MID_GRAY: Final = 0.18
"""Linear value that the tone curve leaves where it is."""


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
        # the straight part times its slope and, beyond its end, what the power law adds to that
        np.maximum(np.abs(x), _SRGB_LINEAR_END, out=y)
        np.power(y, np.float32(1 / 2.4), out=y)
        y *= np.float32(1.055 / _SRGB_LINEAR_END)
        y += np.float32(12.92 - 1.055 * _SRGB_LINEAR_END ** (1 / 2.4) / _SRGB_LINEAR_END)
        y *= np.clip(x, -_SRGB_LINEAR_END, _SRGB_LINEAR_END)
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
        np.maximum(np.abs(x), _SRGB_ENCODED_END, out=y)  # as in `eotf_inverse_srgb`
        y += np.float32(0.055)
        y *= np.float32(1 / 1.055)
        np.power(y, np.float32(2.4), out=y)
        y *= np.float32(1 / _SRGB_ENCODED_END)
        y += np.float32(1 / 12.92 - ((_SRGB_ENCODED_END + 0.055) / 1.055) ** 2.4 / _SRGB_ENCODED_END)
        y *= np.clip(x, -_SRGB_ENCODED_END, _SRGB_ENCODED_END)
    return linear


def cam2rgb_from_xyz2cam(xyz2cam: ArrayLike) -> NDArray[np.float64]:
    """Turn a DNG ColorMatrix into the matrix from white-balanced camera RGB to linear sRGB.

    As in dcraw's ``cam_xyz_coeff``: linear sRGB → XYZ → camera RGB, each row divided by its sum, so that display white
    is the camera's white after white balance; then inverted.

    Args:
        xyz2cam: (3, 3), XYZ (D65) → camera RGB before white balance; its scale does not matter.

    Returns:
        (3, 3) float64; each row sums to 1, so that neutral stays neutral.

    Raises:
        SettingsError: The matrix is not (3, 3), not finite, or cannot be inverted.
    """
    matrix = np.asarray(xyz2cam, dtype=np.float64)
    if matrix.shape != (3, 3) or not np.all(np.isfinite(matrix)):
        raise SettingsError(f"A finite 3 × 3 matrix from XYZ to camera RGB is needed; got {xyz2cam!r}.")
    rgb2cam = matrix @ np.array(XYZ_FROM_RGB)
    white = rgb2cam.sum(axis=1, keepdims=True)
    if np.any(white <= 0):
        raise SettingsError(f"A matrix from XYZ to camera RGB maps white to positive values; got {xyz2cam!r}.")
    rgb2cam /= white
    if np.linalg.cond(rgb2cam) > 1e6:
        raise SettingsError(f"The matrix from XYZ to camera RGB cannot be inverted; got {xyz2cam!r}.")
    cam2rgb = np.linalg.inv(rgb2cam)
    return np.asarray(cam2rgb / cam2rgb.sum(axis=1, keepdims=True))


def develop(
    camera_rgb: NDArray[np.float32],
    cam2rgb: ArrayLike,
    *,
    exposure_ev: float = 0.0,
    clip_level: float,
    shading: Shading | None = None,
    out: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Develop linear camera RGB into a display-encoded sRGB picture.

    Args:
        camera_rgb: (H, W, 3) float32, finite; linear, white-balanced, × ratio, not clipped; any memory layout.
        cam2rgb: (3, 3) from white-balanced camera RGB to linear sRGB; its rows sum to 1.
        exposure_ev: Brightness in stops on top of the ratio.
        clip_level: Camera RGB value at which the first channel of the sensor saturates: the ratio × the smallest white
            balance gain, which is the ratio itself where green (gain 1) has the smallest. Pixels at or above come out
            neutral.
        shading: Gains of R, G and B (3, n, W) for rows ``start`` to ``stop``, which give back what the lens lost; by
            default 1. Clipped pixels are told before.
        out: Where to put the result: (H, W, 3) float32; may be ``camera_rgb`` itself. By default a new array.

    Returns:
        (H, W, 3) float32, display-encoded sRGB in [0, 1].

    Raises:
        SettingsError: A shape, the matrix, the exposure or the clip level is not usable.
    """
    development = Development.of(cam2rgb, exposure_ev=exposure_ev, clip_level=clip_level)
    if camera_rgb.ndim != 3 or camera_rgb.shape[2] != 3:
        raise SettingsError(f"Camera RGB has the shape (H, W, 3); got {camera_rgb.shape}.")
    picture = np.empty(camera_rgb.shape, dtype=np.float32) if out is None else out
    if picture.shape != camera_rgb.shape or picture.dtype != np.float32:
        raise SettingsError(f"The result has the shape {camera_rgb.shape} and is float32; got {picture.shape}.")

    height, width, _ = camera_rgb.shape
    rows = max(1, _BLOCK // 2 // max(width, 1))
    for top in range(0, height, rows):
        colors = np.ascontiguousarray(camera_rgb[top : top + rows].transpose(2, 0, 1))  # (3, rows, W)
        gains = None if shading is None else tuple(shading(top, min(top + rows, height)))
        for index, color in enumerate(development.develop(tuple(colors), gains, np.maximum, np.minimum, np.sqrt)):
            encoded = eotf_inverse_srgb(color)
            np.clip(encoded, 0, 1, out=picture[top : top + rows, :, index])
    return picture


@dataclass(frozen=True)
class Development:
    """How the pixels of a picture are developed, but for the last step, `eotf_inverse_srgb`.

    The formulas need nothing but operators and the three functions that they are given, so that they compute on arrays
    and describe a graph for a compiler as well: numbers, pixels and functions are those of either.
    """

    red_shares: tuple[Any, Any, Any]
    """What red, green and blue of the picture get of the difference of camera red to camera green."""
    blue_shares: tuple[Any, Any, Any]
    """The same of blue."""
    clip_scale: Any
    """1 over the camera RGB value at which the first channel of the sensor saturates."""
    gain: Any
    """Factor of brightness."""
    white: Any
    """Linear value that becomes display white, after the gain."""
    shoulder_scale: Any
    """1 over the fourth power of ``white`` in units of the shoulder."""

    @classmethod
    def of(cls, cam2rgb: ArrayLike, *, exposure_ev: float, clip_level: float) -> Self:
        """Return that of a picture, in numbers; arguments as of `develop`.

        Raises:
            SettingsError: The matrix, the exposure or the clip level is not usable.
        """
        matrix = np.asarray(cam2rgb, dtype=np.float64)
        if matrix.shape != (3, 3) or not np.allclose(matrix.sum(axis=1), 1, atol=1e-3):
            raise SettingsError(f"A 3 × 3 color matrix whose rows sum to 1 is needed; got {cam2rgb!r}.")
        if not (abs(exposure_ev) <= MAX_EV and math.isfinite(clip_level) and clip_level > 0):
            raise SettingsError(
                f"The exposure is within ±{MAX_EV} stops and the clip level positive; got {exposure_ev}, {clip_level}."
            )
        gain = 2.0**exposure_ev
        white = min(max(clip_level * gain, 1.0), _HEADROOM)
        shares = matrix.tolist()
        return cls(
            red_shares=(shares[0][0], shares[1][0], shares[2][0]),
            blue_shares=(shares[0][2], shares[1][2], shares[2][2]),
            clip_scale=1 / clip_level,
            gain=gain,
            white=white,
            shoulder_scale=((1 - _SHOULDER) / (white - _SHOULDER)) ** 4,
        )

    def develop(
        self, camera_rgb: _Colors, shading: _Colors | None, maximum: _Two, minimum: _Two, sqrt: _One
    ) -> _Colors:
        """Develop camera RGB, three values or arrays of one shape, into linear sRGB; ``shading`` are their gains."""
        limited = [maximum(minimum(color, _LIMIT), -_LIMIT) for color in camera_rgb]
        red, green, blue = self.neutralized(limited, shading, maximum, minimum)
        rgb, neutral = self._converted(red * self.gain, green * self.gain, blue * self.gain, maximum)
        rgb = _fitted(rgb, maximum(neutral, 0.0), maximum, minimum)
        return self._rolled_off(rgb, maximum, minimum, sqrt)

    def neutralized(self, rgb: Sequence[Any], shading: _Colors | None, maximum: _Two, minimum: _Two) -> _Colors:
        """Blend pixels whose sensor values are clipped to the neutral of their largest channel, and apply ``shading``.

        White balance sends a clipped pixel to (gain R, 1, gain B) × clip level, which looks magenta. Green, with the
        smallest gain, tells: it reaches the clip level first. Red and blue above it count half, so that the rim of a
        lamp goes neutral too, while red, orange and violet light, whose green is low, keeps its color.
        """
        red, green, blue = rgb
        level = (maximum(minimum(red, blue), green) + green) * self.clip_scale * 0.5
        ramp = minimum(maximum((level - _CLIP_START) * (1 / (_CLIP_END - _CLIP_START)), 0.0), 1.0)
        weight = ramp * ramp * (3.0 - ramp * 2.0)
        rest = 1.0 - weight
        if shading is not None:  # after the sensor's values have told what is clipped, and before that gets neutral
            red, green, blue = red * shading[0], green * shading[1], blue * shading[2]
        neutral = maximum(maximum(red, green), blue) * weight
        # not channel + weight × (largest − channel), which would round differently in each channel at weight 1
        return red * rest + neutral, green * rest + neutral, blue * rest + neutral

    def _converted(self, red: Any, green: Any, blue: Any, maximum: _Two) -> tuple[_Colors, Any]:
        """Apply the color matrix, and return the neutral of the same brightness, too.

        Written with differences to green, which are exactly 0 for a neutral pixel. Unlike the luminance of the result,
        the neutral is positive for every real light, deep blue lamps included: in the light it is (R + 2 G + B)/4 of
        camera RGB. In the shadows red and blue count less: white balance makes them the noisier channels, and with a
        share near the inverse of its variance no channel's noise decides alone where light begins.
        """
        of_red, of_blue = red - green, blue - green
        both = of_red + of_blue
        light = maximum(both * _NEUTRAL_SHARE_DARK + green, 0.0)
        share = light / (light + _NEUTRAL_DARK) * (_NEUTRAL_SHARE - _NEUTRAL_SHARE_DARK) + _NEUTRAL_SHARE_DARK
        first, second, third = (
            of_red * red_share + of_blue * blue_share + green
            for red_share, blue_share in zip(self.red_shares, self.blue_shares, strict=True)
        )
        return (first, second, third), both * share + green

    def _rolled_off(self, rgb: _Colors, maximum: _Two, minimum: _Two, sqrt: _One) -> _Colors:
        """Compress highlights up to ``white`` into [0, 1] and apply the tone curve.

        Both curves act on the largest channel, and all channels are scaled by the same factor: hue and saturation stay.
        What lies far above 1 then loses its color, as it does on film. The shoulder leaves `_SHOULDER` without a bend
        and reaches 1 at ``white``; with white = 1 it is the identity. It is the extended curve of Reinhard et al.,
        "Photographic Tone Reproduction for Digital Images" (2002), eq. 4, applied to squares, whose roots part from the
        diagonal with no curvature. The tone curve is a cubic S in the square root of the linear value.
        """
        span = 1 - _SHOULDER
        largest = maximum(maximum(maximum(rgb[0], rgb[1]), rgb[2]), 0.0)
        above = maximum(largest, _SHOULDER)
        x = (minimum(above, self.white) - _SHOULDER) * (1 / span)
        square = x * x
        shoulder = sqrt((square * self.shoulder_scale + 1.0) / (square + 1.0) * square)
        gain = (shoulder * span + _SHOULDER) / above  # 1 below the shoulder

        bleach = minimum((1.0 - gain) * (1 / (1 - 1 / _HEADROOM)), 1.0)
        bleach = bleach * bleach

        root = sqrt(largest * gain)
        curve = (1.0 - root) * (root - math.sqrt(_MID_GRAY)) * _CONTRAST + 1.0
        gain = gain * curve * curve
        white = largest * gain * bleach
        gain = gain * (1.0 - bleach)
        return rgb[0] * gain + white, rgb[1] * gain + white, rgb[2] * gain + white


def _fitted(rgb: _Colors, neutral: Any, maximum: _Two, minimum: _Two) -> _Colors:
    """Move colors outside sRGB toward their neutral, which is not negative, until no channel is.

    All channels move alike, which keeps the hue. The distance to the neutral is compressed from `_GAMUT_KNEE` of the
    way to the border on. Where the neutral is not positive there is no light but noise: black. Just above, the color
    fades in, so that negative noise, which cannot be shown, does not leave a cast behind.
    """
    smallest = minimum(minimum(rgb[0], rgb[1]), rgb[2])
    distance = maximum(neutral - smallest, 1e-12)  # ≥ 0 up to rounding
    room = neutral * (1 - _GAMUT_KNEE)
    kept = minimum(distance, neutral * _GAMUT_KNEE)
    excess = distance - kept
    scale = (kept + room * excess / (room + excess + 1e-12)) / distance
    scale = scale * (neutral / (neutral + _SHADOW_NEUTRAL))
    return tuple((color - neutral) * scale + neutral for color in rgb)

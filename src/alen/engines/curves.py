"""The sRGB transfer curves as OpenVINO operations, in ones that it vectorizes."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from alen.openvino_runtime import ops

_BRIGHTEST = 2000.0
"""Linear value up to which the curves are right to 1e-6: ratio 300 times a white balance gain of 6."""

Node = Any  # openvino.Node; the package has no type information


def constant(value: float | np.float32) -> Node:
    """Return a number of float32."""
    return ops.constant(np.float32(value))


def eotf_inverse_srgb(linear: Node) -> Node:
    """Inverse sRGB EOTF, odd below 0: see `alen.color.eotf_inverse_srgb`.

    x clamped to the straight part, times its slope and, beyond its end, the excess of the power law over that end.
    """
    end = 0.0031308
    x = _flat(linear)
    power = _power(ops.maximum(ops.abs(x), constant(end)), 1 / 2.4, end, _BRIGHTEST, halvings=2, degree=5)
    slope = ops.add(ops.multiply(power, constant(1.055 / end)), constant(12.92 - 1.055 * end ** (1 / 2.4) / end))
    return _unflat(ops.multiply(ops.clamp(x, -end, end), slope), linear)


def eotf_srgb(encoded: Node) -> Node:
    """The sRGB EOTF, odd below 0: see `alen.color.eotf_srgb`. A product, as in `eotf_inverse_srgb`."""
    end = 0.04045
    x = _flat(encoded)
    lifted = ops.multiply(ops.add(ops.maximum(ops.abs(x), constant(end)), constant(0.055)), constant(1 / 1.055))
    offset = 1 / 12.92 - ((end + 0.055) / 1.055) ** 2.4 / end
    low = (end + 0.055) / 1.055
    power = _power(lifted, 2.4, low, _BRIGHTEST ** (1 / 2.4), halvings=1, degree=4)
    slope = ops.add(ops.multiply(power, constant(1 / end)), constant(offset))
    return _unflat(ops.multiply(ops.clamp(x, -end, end), slope), encoded)


def _power(x: Node, exponent: float, low: float, high: float, *, halvings: int, degree: int) -> Node:
    """Return x to the power of a constant, to 1e-6 of it for x in [low, high] and worse beyond.

    With s = x^(1/2^h) that is x^i · s^j · s^f with whole i and j and 0 ≤ f < 1; s^f is a quotient of two polynomials.
    OpenVINO vectorizes roots, products and quotients, but neither its power nor its logarithm. A root takes as long as
    a quotient or a dozen products: ``halvings`` as few as a ``degree`` allows that float32 can sum up.
    """
    whole = math.floor(exponent)
    parts = 2**halvings * (exponent - whole)
    whole_parts = math.floor(parts)
    s = x
    for _ in range(halvings):
        s = ops.sqrt(s)
    above, below = _quotient(parts - whole_parts, low ** (1 / 2**halvings), high ** (1 / 2**halvings), degree)
    result = ops.divide(_polynomial(s, above), _polynomial(s, below))
    for factor, times in ((s, whole_parts), (x, whole)):
        for _ in range(times):
            result = ops.multiply(result, factor)
    return result


def _polynomial(x: Node, coefficients: Sequence[float]) -> Node:
    """Return the polynomial with these coefficients, the constant one first."""
    result = constant(coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        result = ops.add(ops.multiply(result, x), constant(coefficient))
    return result


@functools.cache
def _quotient(exponent: float, low: float, high: float, degree: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Fit x to the power of a constant by a quotient of two polynomials; returns the coefficients of both.

    Least squares of the relative error at Chebyshev's points of log x, linear in the coefficients once it is divided by
    the divisor of the round before (Sanathanan and Koerner, 1963).
    """
    points = np.cos(np.pi * (np.arange(400) + 0.5) / 400)
    x = np.exp(0.5 * (np.log(high * low) + np.log(high / low) * points))
    values, divisor = x**exponent, np.ones_like(x)
    powers = x[:, None] ** np.arange(degree + 1)
    for _ in range(12):
        columns = np.concatenate([powers, -values[:, None] * powers[:, 1:]], axis=1) / (values * divisor)[:, None]
        fitted = np.linalg.lstsq(columns, 1 / divisor, rcond=None)[0]
        above, below = fitted[: degree + 1], np.concatenate([[1.0], fitted[degree + 1 :]])
        divisor = powers @ below
    return tuple(above.tolist()), tuple(below.tolist())


def _flat(x: Node) -> Node:
    """Return all values in a row: 3 or 12 channels innermost, as OpenVINO lays them out, do not fill a vector."""
    return ops.reshape(x, np.array([-1]), special_zero=False)


def _unflat(x: Node, like: Node) -> Node:
    """Undo `_flat`."""
    return ops.reshape(x, ops.shape_of(like), special_zero=False)

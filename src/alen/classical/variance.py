"""Variance stabilization of Poisson–Gaussian noise: the generalized Anscombe transform and its exact unbiased inverse.

"Optimal inversion of the generalized Anscombe transformation for Poisson-Gaussian noise", M. Mäkitalo and A. Foi, IEEE
TIP 22(1), 2013, https://doi.org/10.1109/TIP.2012.2202675. After the transform, noise has a standard deviation of about
1 whatever the signal. A denoiser then returns the *mean of the transformed* values, and only the unbiased inverse leads
from there to the mean of the values; the algebraic one would darken the shadows by a quarter of an electron and more.
"""

from __future__ import annotations

import functools
import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

_TABLE_END: Final = 60.0
"""Electrons up to which the inverse is tabulated; above, the closed form is exact to 1e-4."""

_BELOW_BLACK: Final = 4.0
"""Read sigmas below black at which the table starts; the means of shadows stray no further."""


def stabilize(electrons: NDArray[np.float32], read_sigma: float) -> NDArray[np.float32]:
    """Return 2·sqrt(max(e + 3/8 + σ², 0)): the generalized Anscombe transform.

    Args:
        electrons: Signal above black in electrons, any shape; photon noise has variance e. Negative values are meant.
        read_sigma: Standard deviation of the other noise in electrons.

    Returns:
        Same shape, float32; standard deviation of the noise about 1.

    Example:
        >>> float(stabilize(np.array([99.625], np.float32), 0.0)[0])
        20.0
    """
    stabilized: NDArray[np.float32] = 2 * np.sqrt(np.maximum(electrons + np.float32(0.375 + read_sigma**2), 0))
    return stabilized


def unstabilize(means: NDArray[np.float32], read_sigma: float) -> NDArray[np.float32]:
    """Return the signal whose stabilized noisy values have these means: the exact unbiased inverse.

    Args:
        means: Expected values of `stabilize`, any shape.
        read_sigma: As there.

    Returns:
        Electrons, same shape, float32. Means below that of black give negative electrons, so that the mean of a dark
        area stays where it is.
    """
    expected, electrons = _inverse_table(float(read_sigma))
    d = np.asarray(means, dtype=np.float64)
    table = np.interp(d, expected, electrons)
    safe = np.maximum(d, expected[-1])  # the closed form has poles at 0, and is not used there
    closed = (
        safe**2 / 4
        + math.sqrt(3 / 2) / 4 / safe
        - 11 / 8 / safe**2
        + 5 / 8 * math.sqrt(3 / 2) / safe**3
        - 1 / 8
        - read_sigma**2
    )
    result: NDArray[np.float32] = np.where(d < expected[-1], table, closed).astype(np.float32)
    return result


@functools.lru_cache(maxsize=64)
def _inverse_table(read_sigma: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return rising means of stabilized values, and the electrons they belong to.

    The mean is summed over Poisson counts and integrated over the read noise by Gauss–Hermite quadrature. Below
    black there is no light: the signal is a constant shift.
    """
    dark = np.linspace(-_BELOW_BLACK * read_sigma, 0, 64, endpoint=False) if read_sigma > 0 else np.empty(0)
    electrons = np.concatenate([dark, [0.0], np.geomspace(1e-3, _TABLE_END, 512)])
    light, shift = np.maximum(electrons, 0), np.minimum(electrons, 0)
    counts = np.arange(int(_TABLE_END + 12 * math.sqrt(_TABLE_END)))
    log_factorials = np.array([math.lgamma(count + 1) for count in counts])
    with np.errstate(divide="ignore", invalid="ignore"):  # 0·log 0 is 0 here
        log_light = np.where(light[:, None] > 0, counts * np.log(light[:, None]), np.where(counts == 0, 0.0, -np.inf))
    probability = np.exp(log_light - light[:, None] - log_factorials)  # (X, counts)
    nodes, weights = np.polynomial.hermite_e.hermegauss(64)
    expected = np.zeros_like(electrons)
    for node, weight in zip(nodes, weights / weights.sum(), strict=True):
        values = shift[:, None] + counts + read_sigma * node + 0.375 + read_sigma**2
        expected += weight * np.sum(probability * 2 * np.sqrt(np.maximum(values, 0)), axis=1)
    return np.maximum.accumulate(expected), electrons

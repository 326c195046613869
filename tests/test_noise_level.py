"""A frame tells its own noise."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from alen.engines import PlanesArray
from alen.noise_level import NoiseLevel, estimate_noise_level

_GAIN, _READ_SIGMA = 4e-4, 1.5e-3


def _frame(
    rng: np.random.Generator, count: int = 4, size: tuple[int, int] = (259, 311), *, texture: float = 0.0
) -> NDArray[np.float32]:
    """Return normalized planes of a slope from dark to half bright, the right half textured, with noise."""
    height, width = size
    slope = np.linspace(0.001, 0.4, height)[:, None] * np.linspace(0.2, 1, width)
    slope = slope * (1 + texture * rng.choice([-1, 1], (height, width)) * (np.arange(width) > width // 2))
    clean = np.broadcast_to(slope, (count, height, width))
    photons = rng.poisson(clean / _GAIN) * _GAIN
    planes: NDArray[np.float32] = (photons + rng.normal(0, _READ_SIGMA, clean.shape)).astype(np.float32)
    return planes


@pytest.mark.parametrize("count", [4, 9])
@pytest.mark.parametrize("texture", [0.0, 0.3])
def test_known_noise_is_found(count: int, texture: float) -> None:
    """The variance at dark, middle and bright signals; texture over half of the frame makes it a little too high."""
    planes = _frame(np.random.default_rng(count), count, texture=texture)
    level = estimate_noise_level(PlanesArray(planes), np.ones(count, np.float32))
    assert level is not None
    signal = np.array([level.darkest, 0.05, 0.3], np.float32)
    np.testing.assert_allclose(level.variance(signal), _GAIN * signal + _READ_SIGMA**2, rtol=0.2 if texture else 0.1)


def test_white_balance_and_ratio_do_not_matter() -> None:
    planes = _frame(np.random.default_rng(1))
    saturation = np.array([190, 100, 100, 280], np.float32)
    level = estimate_noise_level(PlanesArray(planes), np.ones(4, np.float32))
    amplified = estimate_noise_level(PlanesArray(planes * saturation[:, None, None]), saturation)
    assert level is not None
    assert amplified is not None
    assert amplified.gain == pytest.approx(level.gain, rel=1e-3)
    assert amplified.read_variance == pytest.approx(level.read_variance, rel=1e-3)


def test_noise_that_a_camera_has_smoothed_is_not_missed() -> None:
    """The Laplacian of means over 3 × 3 has a tenth of their variance and less; half of it is found at least."""
    rng = np.random.default_rng(2)
    noise = rng.normal(0, 0.01, (4, 302, 302)).astype(np.float32)
    smoothed = sum(noise[:, y : y + 300, x : x + 300] for y in range(3) for x in range(3)) / np.float32(9)
    level = estimate_noise_level(PlanesArray(0.1 + np.asarray(smoothed)), np.ones(4, np.float32))
    assert level is not None
    found = level.gain * 0.1 + level.read_variance
    assert found > 0.5 * np.asarray(smoothed).var()


@pytest.mark.parametrize(
    "planes",
    [
        np.full((4, 16, 16), 0.1, np.float32),  # too small
        np.ones((4, 200, 200), np.float32),  # overexposed
        np.zeros((4, 200, 200), np.float32),  # cut off
    ],
)
def test_some_frames_tell_nothing(planes: NDArray[np.float32]) -> None:
    assert estimate_noise_level(PlanesArray(planes), np.ones(4, np.float32)) is None


def test_below_the_darkest_measured_signal_its_variance_holds() -> None:
    level = NoiseLevel(gain=1.0, read_variance=0.5, darkest=0.25)
    assert level.variance(np.array([-1, 0, 0.25, 1], np.float32)).tolist() == [0.75, 0.75, 0.75, 1.5]

"""The variance-stabilizing transform: noise of one size, and an inverse without bias."""

import numpy as np
import pytest

from alen.classical.variance import stabilize, unstabilize


@pytest.mark.parametrize("read_sigma", [0.5, 2.0, 6.0])
@pytest.mark.parametrize("electrons", [0.0, 0.3, 3.0, 20.0, 59.0, 61.0, 1000.0])
def test_inverse_of_the_mean_is_the_signal(read_sigma: float, electrons: float) -> None:
    rng = np.random.default_rng(0)
    n = 400_000
    noisy = rng.poisson(electrons, n) + read_sigma * rng.standard_normal(n)
    mean = stabilize(noisy.astype(np.float32), read_sigma).astype(np.float64).mean(keepdims=True)
    standard_error = np.sqrt(electrons + read_sigma**2) / np.sqrt(n)
    assert unstabilize(mean, read_sigma)[0] == pytest.approx(electrons, abs=6 * standard_error + 1e-3)


@pytest.mark.parametrize(("read_sigma", "electrons"), [(0.5, 10.0), (2.0, 1.0), (6.0, 0.0), (6.0, 300.0)])
def test_noise_has_one_size(read_sigma: float, electrons: float) -> None:
    rng = np.random.default_rng(0)
    noisy = rng.poisson(electrons, 200_000) + read_sigma * rng.standard_normal(200_000)
    assert stabilize(noisy.astype(np.float32), read_sigma).std() == pytest.approx(1, abs=0.1)


def test_inverse_rises_without_a_step() -> None:
    for read_sigma in (0.0, 1.0, 4.0):
        means = np.linspace(stabilize(np.float32(0), read_sigma), 40, 4001).astype(np.float32)
        electrons = unstabilize(means, read_sigma)
        assert (np.diff(electrons) >= 0).all()
        assert np.abs(np.diff(electrons, 2)).max() < 0.02


def test_shadows_keep_their_sign() -> None:
    """Black without light is 0, and what noise makes darker than black is negative."""
    dark = unstabilize(stabilize(np.array([-6.0], np.float32), 3.0), 3.0)
    assert -12 <= dark[0] < -2

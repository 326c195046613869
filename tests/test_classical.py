"""The classical pipelines: pictures that are where and what they should be."""

import numpy as np
import pytest

from alen.cfa import BAYER_PHASES, CFA, mosaic_from_rgb
from alen.classical.pipeline import (
    LibRawSettings,
    NonLocalMeansSettings,
    contrast,
    demosaic_with_libraw,
    libraw,
    nonlocal_means_pipeline,
)
from alen.errors import SettingsError
from alen.metrics import psnr

_WHITE_BALANCE = (2.0, 1.0, 1.6)


def _scene(height: int, width: int) -> np.ndarray:
    """A smooth color picture with a dark and a bright side, linear camera RGB in [0.02, 0.8]."""
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    return np.stack([0.1 + 0.6 * x, 0.05 + 0.5 * y, 0.3 + 0.3 * np.sin(6 * x) * y], axis=2).astype(np.float32)


def _expose(scene: np.ndarray, cfa: CFA, ratio: float, gain: float, read_sigma: float) -> np.ndarray:
    """A normalized mosaic of the scene with Poisson and Gaussian noise."""
    rng = np.random.default_rng(0)
    clean = mosaic_from_rgb(scene / np.array(_WHITE_BALANCE, np.float32) / np.float32(ratio), cfa)
    noisy = gain * rng.poisson(clean / gain) + read_sigma * rng.standard_normal(clean.shape)
    return noisy.astype(np.float32)


def _score(picture: np.ndarray, truth: np.ndarray) -> float:
    inner = np.s_[4:-4, 4:-4]
    return psnr(picture[inner], truth[inner], data_range=1.0)


_PATTERNS = [*(CFA.bayer(phase) for phase in BAYER_PHASES), CFA.xtrans(), CFA.xtrans().shifted(2, 5)]


@pytest.mark.parametrize("cfa", _PATTERNS, ids=lambda cfa: cfa.name[:6])
@pytest.mark.parametrize("size", [(48, 64), (47, 61)])
def test_colors_and_places(cfa: CFA, size: tuple[int, int]) -> None:
    """Almost without noise, both give the scene back: no color exchanged, no pixel shifted, in every phase."""
    scene = _scene(*size)
    mosaic = _expose(scene, cfa, 4.0, 1e-8, 1e-7)
    noise = {"gain": 1e-8, "read_sigma": 1e-7}
    assert _score(libraw(mosaic, cfa, _WHITE_BALANCE, 4.0, **noise), scene) > 44
    assert _score(nonlocal_means_pipeline(mosaic, cfa, _WHITE_BALANCE, 4.0, **noise), scene) > 44


@pytest.mark.parametrize("cfa", [CFA.bayer("GRBG"), CFA.xtrans()], ids=["Bayer", "X-Trans"])
def test_nonlocal_means_beats_libraw_in_noise(cfa: CFA) -> None:
    scene, ratio = _scene(96, 128), 100.0
    noise = {"gain": 1e-4, "read_sigma": 3e-4}
    mosaic = _expose(scene, cfa, ratio, **noise)
    classical = _score(nonlocal_means_pipeline(mosaic, cfa, _WHITE_BALANCE, ratio, **noise), scene)
    assert classical > _score(libraw(mosaic, cfa, _WHITE_BALANCE, ratio, **noise), scene) + 3


def test_the_mean_of_a_dark_area_is_kept() -> None:
    """Noise far above the signal: clipping at black would lift it, the algebraic inverse would lower it."""
    flat = np.full((96, 96, 3), 0.2, np.float32)
    gain, read_sigma, ratio, cfa = 1e-4, 2e-4, 200.0, CFA.bayer("RGGB")
    mosaic = _expose(flat, cfa, ratio, gain, read_sigma)
    picture = nonlocal_means_pipeline(mosaic, cfa, _WHITE_BALANCE, ratio, gain=gain, read_sigma=read_sigma)
    np.testing.assert_allclose(picture.mean(axis=(0, 1)), 0.2, atol=0.02)


def test_outputs_are_pictures() -> None:
    """Values above display white and below black come out clipped, in float32, also where the noise is enormous."""
    cfa = CFA.bayer("BGGR")
    mosaic = (2 * np.random.default_rng(0).standard_normal((40, 44))).astype(np.float32)
    for method in (libraw, nonlocal_means_pipeline):
        picture = method(mosaic, cfa, _WHITE_BALANCE, 3.0, gain=0.5, read_sigma=0.5)
        assert picture.shape == (40, 44, 3)
        assert picture.dtype == np.float32
        assert 0 <= picture.min() <= picture.max() <= 1


def test_given_settings_are_used() -> None:
    scene, cfa = _scene(48, 64), CFA.bayer("RGGB")
    noise = {"gain": 1e-3, "read_sigma": 1e-3}
    mosaic = _expose(scene, cfa, 2.0, **noise)
    default = libraw(mosaic, cfa, _WHITE_BALANCE, 2.0, **noise)
    median = libraw(mosaic, cfa, _WHITE_BALANCE, 2.0, **noise, settings=LibRawSettings(median_passes=5, fbdd="Full"))
    assert not np.array_equal(default, median)
    weak, strong = (
        nonlocal_means_pipeline(
            mosaic,
            cfa,
            _WHITE_BALANCE,
            2.0,
            **noise,
            settings=NonLocalMeansSettings(patch=3, window=9, strength=h, color_strength=2 * h),
        )
        for h in (0.1, 1.0)
    )
    assert np.diff(strong, axis=1).std() < np.diff(weak, axis=1).std() / 2


def test_contrast_counts_standard_deviations() -> None:
    """Without photon noise to speak of, white stands ratio⁻¹/σ above black; with it alone, at 2·sqrt(electrons)."""
    assert contrast(10.0, 1e-9, 1e-3) == pytest.approx(100, rel=0.01)
    assert contrast(4.0, 1e-4, 0.0) == pytest.approx(2 * np.sqrt(2500), rel=0.02)


def test_libraw_demosaicing_keeps_a_constant_color() -> None:
    color = np.array([0.2, 0.5, 0.9], np.float32)
    mosaic = mosaic_from_rgb(np.broadcast_to(color, (32, 36, 3)), CFA.bayer("GBRG"))
    np.testing.assert_allclose(
        demosaic_with_libraw(mosaic, CFA.bayer("GBRG")), np.broadcast_to(color, (32, 36, 3)), atol=2e-4
    )


def test_noise_numbers_are_checked() -> None:
    mosaic = np.zeros((32, 32), np.float32)
    with pytest.raises(SettingsError, match="gain"):
        nonlocal_means_pipeline(mosaic, CFA.bayer("RGGB"), _WHITE_BALANCE, 2.0, gain=0.0, read_sigma=0.1)

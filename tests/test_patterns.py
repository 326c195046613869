"""Hard cases to train on: drawn at random, the same from the same seed, and what they are meant to be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alen.data.patterns import _waves, add_lamps, color_light, lift_highlights, random_pattern
from alen.data.photos import PhotoCache, random_scene

_LUMA = np.array([0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize("size", [32, 47, 128])
def test_patterns_depend_on_the_seed_alone(size: int) -> None:
    for seed in range(8):
        pattern = random_pattern(size, np.random.default_rng(seed))
        assert pattern.shape == (size, size, 3)
        assert pattern.dtype == np.float32
        assert np.isfinite(pattern).all()
        assert pattern.min() >= 0
        np.testing.assert_array_equal(pattern, random_pattern(size, np.random.default_rng(seed)))
    assert (random_pattern(size, np.random.default_rng(0)) != random_pattern(size, np.random.default_rng(1))).any()


def test_some_patterns_have_lamps() -> None:
    brightest = [random_pattern(64, np.random.default_rng(seed)).max() for seed in range(20)]
    assert max(brightest) > 4
    assert min(brightest) <= 1.001


def test_waves_are_not_shorter_than_two_pixels() -> None:
    for seed in range(20):
        waves = _waves(96, np.random.default_rng(seed))
        assert waves.max() <= 1.001
        signal = waves @ _LUMA - (waves @ _LUMA).mean()
        window = np.hanning(96)[:, None] * np.hanning(96)
        power = np.abs(np.fft.fft2(signal * window)) ** 2
        fy, fx = np.meshgrid(np.abs(np.fft.fftfreq(96)), np.abs(np.fft.fftfreq(96)), indexing="ij")
        assert power[(fx > 0.49) | (fy > 0.49)].sum() < 0.02 * power.sum()


def test_colored_light_keeps_the_brightness_and_changes_the_color() -> None:
    scene = np.random.default_rng(0).random((24, 36, 3), dtype=np.float32)
    for seed in range(6):
        colored = color_light(scene, np.random.default_rng(seed))
        assert colored.dtype == np.float32
        assert colored.min() >= 0
        assert (colored @ _LUMA).mean() == pytest.approx((scene @ _LUMA).mean(), rel=1e-4)
        assert np.abs(colored - scene).max() > 0.01


def test_highlights_are_lifted_and_nothing_else() -> None:
    ramp = np.repeat(np.linspace(0, 1, 101, dtype=np.float32)[None, :, None], 3, axis=2)
    lifted = lift_highlights(ramp, np.random.default_rng(1))
    np.testing.assert_array_equal(lifted[:, :81], ramp[:, :81])
    assert lifted[0, -1, 0] > 1
    assert (np.diff(lifted[0, :, 0]) > 0).all()


def test_lamps_stand_in_an_unchanged_scene() -> None:
    scene = np.full((64, 80, 3), 0.1, dtype=np.float32)
    lit = add_lamps(scene, np.random.default_rng(5))
    changed = (lit != scene).any(axis=2)
    assert 0 < changed.mean() < 0.9
    assert lit.max() > 1
    assert scene.max() == np.float32(0.1)  # a copy


def test_hard_cases_are_drawn_as_often_as_asked_for(tmp_path: Path) -> None:
    gray = tmp_path / "gray.png"
    Image.new("RGB", (96, 96), (128, 128, 128)).save(gray)
    cache = PhotoCache([gray], tmp_path / "cache")

    def is_plain(seed: int, share: float) -> bool:
        scene = random_scene(cache, 32, np.random.default_rng(seed), hard_share=share)
        developed = scene.rgb @ scene.cam2rgb.T.astype(np.float32)
        return bool(np.ptp(developed) < 0.1 * developed.mean())

    assert all(is_plain(seed, 0.0) for seed in range(20))
    plain = sum(is_plain(seed, 0.5) for seed in range(60))
    assert 20 <= plain <= 48

"""Black levels are lowered where dark areas prove them too high, and nowhere else."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from alen.black_level import Levels, proven_black_level
from alen.cameras import CAMERAS, CameraNoise
from alen.cfa import BAYER_PHASES, CFA, PLANES
from alen.noise import add_noise

_FILE: Levels = (512.0, 512.0, 512.0, 512.0)


def _frame(
    camera: CameraNoise, cfa: CFA, drift_dn: Sequence[float], light: float | NDArray[np.float32] = 0.0, seed: int = 0
) -> NDArray[np.uint16]:
    drift = (drift_dn[0], drift_dn[1], drift_dn[2], drift_dn[3])
    noise = dataclasses.replace(camera.typical(3200), black_level_dn=512, black_drift_dn=drift)
    clean = np.broadcast_to(np.float32(light), (402, 540))
    return add_noise(clean, cfa, noise, np.random.default_rng(seed))


@pytest.mark.parametrize("phase", BAYER_PHASES)
@pytest.mark.parametrize("plane", range(4))
def test_a_level_that_is_too_high_is_lowered(phase: str, plane: int) -> None:
    """In any color, to where it belongs; the others stay what they are."""
    cfa = CFA.bayer(phase)
    for camera in CAMERAS[:3]:
        drift = np.zeros(4)
        drift[plane] = -20
        proven = proven_black_level(_frame(camera, cfa, drift), cfa, _FILE)
        assert proven[plane] == pytest.approx(492, abs=3), (camera.name, PLANES[plane])
        assert [level for i, level in enumerate(proven) if i != plane] == [512] * 3


@pytest.mark.parametrize("drift_dn", [0.0, 5.0, 30.0])
@pytest.mark.parametrize("cfa", [CFA.bayer("RGGB"), CFA.xtrans().shifted(1, 2)], ids=lambda cfa: cfa.kind)
def test_a_level_that_is_right_or_too_low_stays(cfa: CFA, drift_dn: float) -> None:
    for number, camera in enumerate(CAMERAS):
        mosaic = _frame(camera, cfa, [drift_dn] * 4, seed=number)
        assert proven_black_level(mosaic, cfa, _FILE) == _FILE, camera.name


def test_light_proves_nothing_and_dark_corners_are_enough() -> None:
    cfa, camera = CFA.bayer("GBRG"), CAMERAS[0]
    light = np.full((402, 540), 0.01, dtype=np.float32)
    assert proven_black_level(_frame(camera, cfa, [-20] * 4, light), cfa, _FILE) == _FILE
    light[:128, :128] = 0
    proven = proven_black_level(_frame(camera, cfa, [-20] * 4, light), cfa, _FILE)
    assert proven == pytest.approx((492,) * 4, abs=4)


def test_weak_drift_shows_in_large_dark_areas() -> None:
    """A DN, where the noise of a pixel is twenty."""
    cfa, rng = CFA.bayer("RGGB"), np.random.default_rng(0)
    mosaic = np.rint(rng.normal(510, 20, (1024, 1024))).astype(np.uint16)
    assert proven_black_level(mosaic, cfa, _FILE) == pytest.approx((510,) * 4, abs=0.6)
    assert proven_black_level(mosaic[:128, :128], cfa, _FILE) == _FILE


def test_xtrans_has_one_green() -> None:
    cfa = CFA.xtrans().shifted(2, 5)
    proven = proven_black_level(_frame(CAMERAS[0], cfa, [-20, -10, -10, -15]), cfa, _FILE)
    assert [proven[i] for i in (0, 1, 3)] == pytest.approx([492, 502, 497], abs=3)
    assert proven[2] == 512


def test_dead_and_hot_pixels_prove_nothing() -> None:
    cfa, rng = CFA.bayer("BGGR"), np.random.default_rng(5)
    mosaic = np.rint(rng.normal(512, 4, (402, 540))).astype(np.uint16)
    mosaic.reshape(-1)[rng.integers(0, mosaic.size, 400)] = 0
    mosaic.reshape(-1)[rng.integers(0, mosaic.size, 400)] = 16383
    assert proven_black_level(mosaic, cfa, _FILE) == _FILE


@pytest.mark.parametrize("size", [(100, 90), (127, 400), (16, 16)])
def test_small_frames_prove_nothing(size: tuple[int, int]) -> None:
    assert proven_black_level(np.zeros(size, dtype=np.uint16), CFA.bayer("RGGB"), _FILE) == _FILE


def test_constant_frames() -> None:
    """Without any noise every DN is proof."""
    mosaic = np.full((300, 300), 500, dtype=np.uint16)
    assert proven_black_level(mosaic, CFA.bayer("RGGB"), _FILE) == (500,) * 4

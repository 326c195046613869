"""A calibrated camera as a measured one, and the table of what its own noise is worth."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks import held_out_camera
from benchmarks.held_out_camera import Record, measured, planned, section

from alen.cameras import CAMERAS

_ABOUT: dict[str, Any] = {"steps": 1500, "commit": "0123456789abcdef", "hardware": {"processor": "Test"}}


@pytest.mark.parametrize("camera", CAMERAS, ids=lambda camera: camera.name)
def test_the_noise_learned_is_the_calibrated_one(camera: Any) -> None:
    """Of any gain drawn it has, within the margins, the read noise that the camera's laws have there; no drift."""
    own = measured(camera)
    rng = np.random.default_rng(0)
    for _ in range(20):
        drawn = own.sample(rng)
        law = camera.typical(100 * drawn.gain / camera.gain_at_iso_100)
        assert 0.4 < drawn.read_sigma_dn / law.read_sigma_dn < 2.5  # between two speeds a mode of the sensor may end
        assert drawn.black_drift_dn == pytest.approx((0,) * 4, abs=1e-6)
        assert (drawn.black_level_dn, drawn.white_level_dn) == (law.black_level_dn, law.white_level_dn)


def test_both_runs_differ_in_their_noise_alone() -> None:
    own, imaginary = planned(measured(CAMERAS[0]), 1500), planned(None, 1500)
    assert own != imaginary
    assert own.sensor is not None
    assert own.network == imaginary.network
    assert own.stages == imaginary.stages


def test_a_gain_of_the_own_noise_is_positive() -> None:
    records = [
        Record(photograph, "Test", 1600.0, ratio, 30.0, 30.0 + ratio / 10)
        for photograph in ("a", "b", "c")
        for ratio in (1.0, 8.0)
    ]
    row = next(line for line in section(records, _ABOUT).splitlines() if line.startswith("| Test |"))
    assert row.startswith("| Test | +0.10 | +0.80 | +0.45 |")


def test_a_run_of_other_settings_is_not_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "runs" / "imaginary-cameras-10-steps"
    run.mkdir(parents=True)
    (run / "config.json").write_text(json.dumps({"config": dataclasses.asdict(planned(None, 20))}))

    class Source:
        def __init__(self, *_: object) -> None: ...

    monkeypatch.setattr(held_out_camera, "Photographs", Source)
    with pytest.raises(SystemExit, match="imaginary-cameras-10-steps: a run with other settings is there"):
        held_out_camera.main(photos=tmp_path, runs=tmp_path / "runs", steps=10)

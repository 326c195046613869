"""The benchmark of training steps, on a network that takes none of its time."""

from __future__ import annotations

import dataclasses

import pytest
from benchmarks import training

from alen.config import AlenConfig
from alen.training.config import Stage, TrainingConfig


def test_both_sides_time_the_steps_after_the_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    network = dataclasses.replace(AlenConfig.shipped(), widths=(4, 4, 4, 4), key_grid=2)
    monkeypatch.setattr(training, "camera", lambda: TrainingConfig(network=network))
    monkeypatch.setattr("alen.training.records.find_spec", lambda _: None)
    shape = Stage(share=1.0, patch_size=16, batch_size=2)
    for side in (training.time_ours, training.time_plain):
        seconds = side(shape, 2, 1)
        assert len(seconds) == 2
        assert all(value > 0 for value in seconds)


def test_fresh_processes_share_nothing() -> None:
    assert training.in_a_fresh_process(abs, -3) == 3

"""The race is even, and its report says what the runs say."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from benchmarks.ablation import Outcome, Validation, planned
from benchmarks.race import CONTESTANTS, recorded, section

from alen.config import AlenConfig, SidUnetConfig
from alen.training.config import TrainingConfig

_ABOUT: dict[str, Any] = {
    "photographs": 134,
    "commit": "0123456789abcdef",
    "hardware": {"processor": "Test", "cores": 2},
}


def test_all_run_on_the_same_budget() -> None:
    """Everything but the network, and that a base is judged where there is one, is equal."""
    plans = [planned(variant, 5000, 0) for variant in CONTESTANTS]
    networks = [plan.network for plan in plans]
    assert networks == [
        SidUnetConfig(target="camera"),
        AlenConfig(target="camera"),
        AlenConfig.fast(),
        AlenConfig.shipped(),
    ]
    assert [plan.base_weight for plan in plans] == [0, 0, 0.5, 0.5]
    alike = {dataclasses.replace(plan, network=AlenConfig(target="camera"), base_weight=0.0) for plan in plans}
    assert len(alike) == 1


def test_the_table_tells_the_last_step() -> None:
    validations = tuple(
        Validation(step, ratio, 20.0 + step / 100 + ratio, 0.5) for step in (50, 100) for ratio in (1.0, 8.0)
    )
    outcome = Outcome("sid-unet", 0, 100, "", 7_760_268, 0.191, "abc", "cpu", 2, validations)
    text = section([outcome], _ABOUT, "images/race.svg")
    row = next(line for line in text.splitlines() if line.startswith("| **sid-unet**"))
    assert row.endswith("| 7,760,268 | 0.19 | 22.00 | 29.00 | 25.50 |")
    assert "for 100 steps" in text
    assert "images/race.svg" in text


def test_an_earlier_report_keeps_its_runs(tmp_path: Path) -> None:
    outcome = Outcome("sid-unet", 0, 100, "", 7_760_268, 0.191, "abc", "cpu", 2, (Validation(100, 1.0, 30.0, 0.8),))
    report = tmp_path / "race.json"
    assert recorded(report, 100) == {}

    def write(config: TrainingConfig) -> None:
        contestants = {"sid-unet": {"config": dataclasses.asdict(config)}}
        document = {"contestants": contestants, "runs": [dataclasses.asdict(outcome)]}
        report.write_text(json.dumps(document), encoding="utf-8")

    config = planned(CONTESTANTS[0], 100, 0)
    write(config)
    assert recorded(report, 100) == {"sid-unet": outcome}
    assert recorded(report, 200) == {}
    write(dataclasses.replace(config, learning_rate=1e-3))
    assert recorded(report, 100) == {}  # of other settings

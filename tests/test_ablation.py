"""The ablation's program, from photographs to the page, on variants that train in a second."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from benchmarks import ablation
from benchmarks.ablation import PAPER, VARIANTS, Outcome, Spread, Validation, Variant, differences, planned, section
from PIL import Image

from alen.config import AlenConfig, SidUnetConfig
from alen.training.config import Stage
from alen.training.loop import build_network


def _tiny(variant: Variant) -> Variant:
    network = variant.config.network
    assert isinstance(network, AlenConfig)
    config = dataclasses.replace(
        variant.config,
        network=dataclasses.replace(network, widths=(4, 4, 4, 4)),
        stages=(Stage(share=1.0, patch_size=16, batch_size=1),),
        precision="float32",
    )
    return dataclasses.replace(variant, config=config)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for index in range(6):
        coarse = Image.fromarray(rng.integers(0, 256, (4, 5, 3), dtype=np.uint8))
        coarse.resize((48, 40), Image.Resampling.BICUBIC).save(folder / f"{index}.png")
    return folder


def test_the_whole_program(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = {variant.name: variant for variant in VARIANTS}
    monkeypatch.setattr(ablation, "VARIANTS", (_tiny(known[PAPER]), _tiny(known["backbone"])))
    monkeypatch.setattr("alen.training.records.find_spec", lambda _: None)  # no curves of each run: they take longest
    page, out = tmp_path / "docs" / "ablation.md", tmp_path / "ablation.json"

    def run(*variants: str) -> None:
        runs = tmp_path / "runs"
        ablation.main(
            photos=photos, runs=runs, steps=2, variants=variants, threads=1, workers=0, page=page, out=out
        )  # fmt: skip

    run("backbone")
    assert "difference" in page.read_text()
    page.write_text(page.read_text() + "\nKept.\n")
    run()
    document = json.loads(out.read_text())
    assert [(r["variant"], r["seed"], r["failure"]) for r in document["runs"]] == [
        ("paper", 0, ""), ("paper", 1, ""), ("backbone", 0, ""), ("backbone", 1, "")
    ]  # fmt: skip
    for result in document["runs"]:
        assert {v["step"] for v in result["validations"]} == {1, 2}
        assert len(result["validations"]) == 2 * 5
        assert result["parameters"] > 0
        assert result["seconds_per_step"] > 0
    text = page.read_text()
    assert "2 steps of 1 patches of 16 × 16 packed pixels on 5 photographs" in text
    assert "once per seed: 0, 1" in text
    assert "±" in text
    assert text.endswith("\nKept.\n")
    curves = (page.parent / "images" / "ablation.svg").read_text()
    assert curves.lstrip().startswith("<?xml")
    assert 'id="legend_1"' in curves  # a panel is seen

    def fail(*_: object, **__: object) -> None:
        raise AssertionError("finished runs are trained again")

    monkeypatch.setattr(ablation, "train", fail)
    run()
    assert json.loads(out.read_text())["runs"] == document["runs"]
    with pytest.raises(SystemExit, match="No such variants: other"):
        run("other")
    changed = dataclasses.replace(_tiny(known[PAPER]).config, learning_rate=1e-5)
    other = dataclasses.replace(_tiny(known[PAPER]), config=changed)
    monkeypatch.setattr(ablation, "VARIANTS", (other, _tiny(known["backbone"])))
    with pytest.raises(SystemExit, match="paper-2-steps-seed-0: a run with other settings is there"):
        run("backbone")


def test_variants_differ_in_what_they_say_alone() -> None:
    assert len({variant.name for variant in VARIANTS}) == len(VARIANTS)
    paper = VARIANTS[0].config
    for variant in VARIANTS:
        same = dataclasses.replace(
            variant.config, network=paper.network, loss=paper.loss, ssim_weight=paper.ssim_weight
        )
        assert same == paper
        network = variant.config.network
        assert network.target == "camera"
        assert isinstance(network, SidUnetConfig) or variant.name == "shipped" or network.base == "none"
    assert sum(p.numel() for p in build_network(paper.network).parameters()) == 2_771_316
    assert paper.stages[0].patch_size * 2 >= 176  # MS-SSIM's five scales
    assert planned(VARIANTS[0], 1500, 1).validate_every == 250


def _outcome(variant: str, seed: int, psnr: float, *, failure: str = "") -> Outcome:
    scores = () if failure else (Validation(9, 1.0, psnr + 1, 0.5), Validation(9, 8.0, psnr - 1, 0.5))
    return Outcome(variant, seed, 9, failure, 10, 0.5, "c" * 40, "cpu", 2, scores)


def test_differences_are_taken_seed_by_seed() -> None:
    outcomes = [_outcome(PAPER, 0, 20.0), _outcome(PAPER, 1, 22.0), _outcome("l1", 0, 20.5), _outcome("l1", 1, 22.6)]
    spread = differences(outcomes, "l1", "psnr_db")
    assert spread is not None
    assert (spread.mean, spread.half_range) == (pytest.approx(0.55), pytest.approx(0.05))
    assert spread.show(2, signed=True) == "+0.55 ± 0.05"
    assert Spread.of([-1.25]).show(2, signed=True) == "−1.25"
    assert differences(outcomes, "l2", "psnr_db") is None


def test_failures_and_chance_are_said() -> None:
    outcomes = [
        *(_outcome(PAPER, seed, 20.0 + seed) for seed in (0, 1)),
        *(_outcome("l1", seed, 21.0 + seed) for seed in (0, 1)),
        *(_outcome("l2", seed, 20.1 - 0.4 * seed) for seed in (0, 1)),
        *(_outcome("gaussian", seed, 0.0, failure="Step 3: no longer a number") for seed in (0, 1)),
    ]
    about = {"photographs": 5, "held_out": 1, "commit": "c" * 40, "hardware": {"processor": "P", "cores": 2}}
    text = section(VARIANTS, outcomes, about, "a.svg")
    assert "paper's network in PSNR: l1; clearly below: none; open: l2" in text
    assert "failed: the loss stopped being a number" in text
    one = section(VARIANTS, [o for o in outcomes if o.seed == 0], about, "a.svg")
    assert "One seed says nothing about chance" in one

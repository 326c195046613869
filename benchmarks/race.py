"""A race: the See-in-the-Dark U-Net, the paper's network and the shipped forms on one budget, to its end.

``python -m benchmarks.race --photos DIR --runs FOLDER`` trains what is not trained yet, one run after the other: the
same pairs with the same noise in the same order, the same schedule and number of steps for all. It writes
``benchmarks/results/race.json``, a section of ``docs/results.md`` and its curves. Every run is an ordinary run folder,
resumable; results of as many steps and the same settings that the report holds already stay in it, and the weights are
left beside the runs, to be named on the scoreboard:
``python -m benchmarks.quality --weights FOLDER/race-sid-unet.safetensors …``.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any, Final

import cyclopts
import torch
from rich.console import Console

from alen.config import AlenConfig, SidUnetConfig
from alen.training.config import Stage, TrainingConfig
from alen.training.recipes import camera
from alen.training.sources import Photographs
from benchmarks.ablation import PAPER, Outcome, Validation, Variant, draw, planned, read_run, run_folder, run_missing
from benchmarks.quality import command, provenance, write_section

_MARKERS: Final = ("<!-- race: begin -->", "<!-- race: end -->")
"""Around the section of the page that this program owns."""

_QUESTION: Final = "whole networks"

_SEED: Final = 0


def recipe(network: AlenConfig | SidUnetConfig) -> TrainingConfig:
    """Return what all contestants have in common: the recipe of the weights "alen-fast", at half its learning rate.

    The base is judged, too, where there is one to judge.
    """
    stages = (
        Stage(share=0.62, patch_size=64, batch_size=12),
        Stage(share=0.34, patch_size=128, batch_size=6, hard_share=0.3),
        Stage(share=0.04, patch_size=256, batch_size=2, hard_share=0.3),
    )
    common = replace(camera("alen-fast"), base_weight=0.0, learning_rate=5e-4, stages=stages)
    has_base = isinstance(network, AlenConfig) and network.base == "mixtures"
    return replace(common, network=network, base_weight=0.5 if has_base else 0.0)


CONTESTANTS: Final = (
    Variant("sid-unet", _QUESTION, "The See-in-the-Dark U-Net.", recipe(SidUnetConfig(target="camera"))),
    Variant(PAPER, _QUESTION, "The paper's network, as drawn.", recipe(AlenConfig(target="camera"))),
    Variant("alen-fast", _QUESTION, "The form of the weights alen-fast.", recipe(AlenConfig.fast())),
    Variant("alen", _QUESTION, "The form of the weights alen.", recipe(AlenConfig.shipped())),
)
"""Everyone in the race; the loss is the one of the shipped weights for all."""


def section(outcomes: Sequence[Outcome], about: Mapping[str, Any], image: str) -> str:
    """Return the page's section."""
    ratios = sorted({v.ratio for o in outcomes for v in o.validations})
    sentences = {variant.name: variant.sentence for variant in CONTESTANTS}
    lines = [
        "## A race on one budget",
        "",
        f"Every network was trained from nothing for {outcomes[0].steps:,} steps on the same pairs of "
        f"{about['photographs']} photographs with simulated noise, in the same order, with the same loss and schedule. "
        "PSNR in dB on the central squares of held-out photographs after the last step; none is chosen by its score.",
        "",
        "| | | parameters | s/step | " + " | ".join(f"×{ratio:g}" for ratio in ratios) + " | mean |",
        "|---|---|---|---|" + "---|" * (len(ratios) + 1),
    ]
    for outcome in outcomes:
        last = {v.ratio: v.psnr_db for v in outcome.validations if v.step == outcome.steps}
        cells = " | ".join(f"{last[ratio]:.2f}" for ratio in ratios)
        lines.append(
            f"| **{outcome.variant}** | {sentences[outcome.variant]} | {outcome.parameters:,} | "
            f"{outcome.seconds_per_step:.2f} | {cells} | {fmean(last.values()):.2f} |"
        )
    lines += [
        "",
        f"![PSNR over the steps]({image})",
        "",
        "One seed, and one learning rate for all: differences of a tenth of a decibel mean nothing. The budget is "
        "equal in steps and pairs, not in time; other work on the machine disturbs the seconds.",
        "",
        f"Written at commit {about['commit'][:12]}, {about['hardware']['processor']}, {about['hardware']['cores']} "
        "cores; every validation, and the commit a run came from, is in `benchmarks/results/race.json`.",
    ]
    return "\n".join(lines) + "\n"


def recorded(path: Path, steps: int) -> dict[str, Outcome]:
    """Return what an earlier report says of runs of so many steps, by contestant: their folders need not be kept.

    Runs of other settings than those of now are not among them.
    """
    if not path.is_file():
        return {}
    document = json.loads(path.read_text(encoding="utf-8"))
    configs = {name: contestant["config"] for name, contestant in document["contestants"].items()}
    same = {v.name for v in CONTESTANTS if configs.get(v.name) == json.loads(_plain(v, steps))["config"]}
    runs = [run for run in document["runs"] if run["variant"] in same]
    outcomes = (Outcome(**run | {"validations": tuple(Validation(**v) for v in run["validations"])}) for run in runs)
    return {outcome.variant: outcome for outcome in outcomes if outcome.steps == steps}


app = cyclopts.App(help=__doc__)


@app.default
def main(
    *,
    photos: Path,
    runs: Path,
    steps: int = 5000,
    contestants: Annotated[tuple[str, ...], cyclopts.Parameter(consume_multiple=True, negative="")] = (),
    cache: Path | None = None,
    device: str = "cpu",
    threads: int | None = None,
    out: Path = Path("benchmarks/results/race.json"),
    page: Path = Path("docs/results.md"),
) -> None:
    """Train who has not run yet and write the report of all who have finished, here or in the report before.

    Args:
        photos: Folder of clean photographs; a tenth of them is held out.
        runs: Folder of the runs.
        steps: Optimizer steps of every run.
        contestants: Names of those to train; all, if none are named.
        cache: Folder for decoded photographs; runs/decoded if not given.
        device: cpu, cuda or cuda:N.
        threads: CPU threads of the network; torch's choice if not given.
        out: Where the scores go (JSON).
        page: Page whose section is replaced; the curves go to images/race.svg beside it.
    """
    console = Console()
    known = {variant.name: variant for variant in CONTESTANTS}
    if unknown := sorted(set(contestants) - set(known)):
        raise SystemExit(f"No such contestants: {', '.join(unknown)}. There are: {', '.join(known)}.")
    source = Photographs(photos, cache if cache is not None else runs / "decoded")

    def say(line: str) -> None:
        console.print(line, markup=False, soft_wrap=True)

    chosen = [known[name] for name in contestants or known]
    run_missing(chosen, source, runs, steps=steps, seeds=(_SEED,), device=device, threads=threads, say=say)
    read = {variant.name: read_run(variant, runs, steps, _SEED) for variant in CONTESTANTS}
    earlier = recorded(out, steps)
    finished = [outcome for outcome in read.values() if outcome is not None and not outcome.failure]
    for outcome in finished:
        weights = run_folder(runs, known[outcome.variant], steps, _SEED) / "weights.safetensors"
        shutil.copyfile(weights, runs / f"race-{outcome.variant}.safetensors")
    here = {outcome.variant: outcome for outcome in finished}
    outcomes = [found for name in known if (found := here.get(name, earlier.get(name))) is not None]
    about = provenance() | {"command": command(), "photographs": source.scenes}
    about["versions"]["torch"] = torch.__version__
    document = {
        "benchmark": "race",
        **about,
        "steps": steps,
        "contestants": {o.variant: json.loads(_plain(known[o.variant], steps)) for o in outcomes},
        "runs": [asdict(outcome) for outcome in outcomes],
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    draw(page.parent / "images" / "race.svg", CONTESTANTS, outcomes)
    write_section(page, section(outcomes, about, "images/race.svg"), markers=_MARKERS)
    say(f"{len(outcomes)} runs: {page}, {out}")


def _plain(variant: Variant, steps: int) -> str:
    return json.dumps({"sentence": variant.sentence, "config": asdict(planned(variant, steps, _SEED))})


if __name__ == "__main__":
    app()

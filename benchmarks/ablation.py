"""What the parts of the network are worth: every variant trained at the same, stated budget on photographs.

``python -m benchmarks.ablation --photos DIR --runs FOLDER`` trains what is not trained yet, one run after the other,
and writes ``benchmarks/results/ablation.json``, ``docs/ablation.md`` and its curves. All variants see the same pairs
with the same noise in the same order. Every run is an ordinary run folder of `alen.training.loop.train`: an interrupted
one goes on from its checkpoint, a finished one is only read.
"""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean, median
from typing import Annotated, Any, Final

import cyclopts
import matplotlib as mpl
import torch
from matplotlib.figure import Figure
from rich.console import Console

from alen.config import AlenConfig, SidUnetConfig
from alen.errors import TrainingError
from alen.training.config import Loss, Stage, TrainingConfig
from alen.training.loop import StepReport, train
from alen.training.sources import Photographs, Source
from alen.weights import load_weights
from benchmarks.quality import command, provenance, write_section

PAPER: Final = "paper"
"""Name of the variant all others are compared with."""

_MARKERS: Final = ("<!-- ablation: begin -->", "<!-- ablation: end -->")
"""Around the section of the page that this program owns."""


@dataclass(frozen=True)
class Variant:
    """A network and a loss whose worth is asked for."""

    name: str
    """Short, for the command line, the run's folder and the table."""
    question: str
    """What it is compared for: variants of one question share a panel of the figure."""
    sentence: str
    """What it is."""
    config: TrainingConfig
    """How it is trained; steps and seed are the program's."""


def recipe(network: AlenConfig | SidUnetConfig, *, loss: Loss = "l2_ssim", ssim_weight: float = 1.0) -> TrainingConfig:
    """Return what all variants have in common; patches as large as the five scales of MS-SSIM need."""
    return TrainingConfig(
        network=network,
        loss=loss,
        ssim_weight=ssim_weight,
        stages=(Stage(share=1.0, patch_size=96, batch_size=4),),
        ema_decay=0.99,  # an average over the last hundred steps: runs are short
    )


def _paper(**settings: Any) -> AlenConfig:
    """Return the paper's network for camera RGB, changed in some settings."""
    return AlenConfig(**({"target": "camera", "base": "none"} | settings))


_PARTS, _PAIRS, _INPUTS = "parts of the network", "pairwise function", "input and gates"
_LOSSES, _NETWORKS = "loss", "whole networks"

VARIANTS: Final = (
    Variant(
        PAPER, _PARTS, "The paper's network and loss: mixed attention, inverted shuffle, SSIM + L2.", recipe(_paper())
    ),
    Variant(
        "backbone",
        _PARTS,
        "Max-pooling, no attention.",
        recipe(_paper(downsample="max", channel_attention=False, spatial_attention=False)),
    ),
    Variant(
        "channel-attention",
        _PARTS,
        "The backbone with channel gates.",
        recipe(_paper(downsample="max", spatial_attention=False)),
    ),
    Variant("mixed-attention", _PARTS, "The same with non-local features.", recipe(_paper(downsample="max"))),
    Variant(
        "strided",
        _PARTS,
        "The paper's, a strided 3 × 3 convolution in place of the inverted shuffle.",
        recipe(_paper(downsample="strided")),
    ),
    Variant("gaussian", _PAIRS, "exp(x_iᵀ x_j), without embedding.", recipe(_paper(pairwise="gaussian"))),
    Variant("dot-product", _PAIRS, "θ(x_i)ᵀ φ(x_j) / N.", recipe(_paper(pairwise="dot_product"))),
    Variant("concatenation", _PAIRS, "ReLU(wᵀ[θ(x_i), φ(x_j)]) / N.", recipe(_paper(pairwise="concatenation"))),
    Variant("one-brightness", _INPUTS, "4 input channels: brightness 1 alone.", recipe(_paper(brightness=(1.0,)))),
    Variant(
        "wide-brightness",
        _INPUTS,
        "Brightness ¼, 1, 4 and 16 in place of ½, 0.8, 1 and 1.2.",
        recipe(_paper(brightness=(0.25, 1.0, 4.0, 16.0))),
    ),
    Variant(
        "identity-gates",
        _INPUTS,
        "Gates 2 · sigmoid that start as the identity, in place of the published sigmoid.",
        recipe(_paper(gate_scale=2.0)),
    ),
    Variant("l1", _LOSSES, "Mean absolute error.", recipe(_paper(), loss="l1")),
    Variant("l2", _LOSSES, "Mean squared error.", recipe(_paper(), loss="l2")),
    Variant("l1-ms-ssim", _LOSSES, "0.85 L1 + 0.15 (1 − MS-SSIM).", recipe(_paper(), loss="l1_ms_ssim")),
    Variant(
        "log-l2-ssim",
        _LOSSES,
        "The loss of the shipped weights: log L2 + 0.3 (1 − SSIM), rolled off above white.",
        recipe(_paper(), loss="log_l2_ssim", ssim_weight=0.3),
    ),
    Variant("sid-unet", _NETWORKS, "The See-in-the-Dark U-Net.", recipe(SidUnetConfig(target="camera"))),
    Variant(
        "shipped",
        _NETWORKS,
        "The paper's with what shipped networks add: wide brightness, identity gates, keys on a grid, mixture base.",
        recipe(_paper(brightness=(0.25, 1.0, 4.0, 16.0), gate_scale=2.0, key_grid=16, base="mixtures")),
    ),
)
"""All variants; the loss is the paper's where nothing else is said."""


@dataclass(frozen=True)
class Validation:
    """The scores of a run on the held-out photographs at one step and ratio."""

    step: int
    ratio: float
    psnr_db: float
    ssim: float


@dataclass(frozen=True)
class Outcome:
    """What a finished run says."""

    variant: str
    """Its name."""
    seed: int
    """Of its initial weights and samples."""
    steps: int
    """Optimizer steps."""
    failure: str
    """Why training stopped; empty if it did not. A failed run has no scores at its end."""
    parameters: int
    """Weights of the network; 0 if it failed before there were any."""
    seconds_per_step: float
    """Median, without waiting for data and without validation."""
    commit: str
    """What it ran from."""
    device: str
    """What it computed on."""
    threads: int
    """CPU threads."""
    validations: tuple[Validation, ...]
    """By step, then ratio."""

    def last(self, value: str) -> float:
        """Return the mean over the ratios of "psnr_db" or "ssim" at the last validation."""
        return fmean(getattr(v, value) for v in self.validations if v.step == self.steps)


@dataclass(frozen=True)
class Spread:
    """A value over the seeds."""

    mean: float
    half_range: float
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Return mean and half range of values."""
        return cls(fmean(values), (max(values) - min(values)) / 2, len(values))

    def show(self, digits: int, *, signed: bool = False) -> str:
        """Return "mean ± half range", without the second half for one seed."""
        mean = f"{self.mean:{'+' if signed else ''}.{digits}f}".replace("-", "−")
        return mean if self.count == 1 else f"{mean} ± {self.half_range:.{digits}f}"


# ---------------------------------------------------------------------------------------------------------------------
# Runs
# ---------------------------------------------------------------------------------------------------------------------


def planned(variant: Variant, steps: int, seed: int) -> TrainingConfig:
    """Return a variant's configuration for so many steps."""
    return replace(
        variant.config,
        steps=steps,
        seed=seed,
        warmup_steps=steps // 10,
        validate_every=max(steps // 6, 1),
        checkpoint_every=max(steps // 15, 1),
    )


def run_folder(runs: Path, variant: Variant, steps: int, seed: int) -> Path:
    """Return where a run lies."""
    return runs / f"{variant.name}-{steps}-steps-seed-{seed}"


def run_missing(
    variants: Sequence[Variant],
    source: Source,
    runs: Path,
    *,
    steps: int,
    seeds: Sequence[int],
    device: str = "cpu",
    threads: int | None = None,
    workers: int = 1,
    say: Callable[[str], None],
) -> None:
    """Train what is not trained yet, seed by seed, and say how long it will take.

    A run whose loss stops being a number is not tried again: its folder keeps the reason in failure.txt.
    """
    wanted = [(variant, seed) for seed in seeds for variant in variants]
    missing = [pair for pair in wanted if read_run(pair[0], runs, steps, pair[1]) is None]
    say(f"{len(wanted)} runs of {steps} steps, {len(missing)} of them missing.")
    start, done, left = time.perf_counter(), 0, steps * len(missing)

    def tell(report: StepReport) -> None:
        nonlocal done, left
        done, left = done + 1, steps * behind - report.step
        if report.validation is not None:
            seconds = (time.perf_counter() - start) / done * left
            decibels = fmean(psnr for psnr, _ in report.validation.values())
            say(f"{run.name}: step {report.step}, {decibels:.2f} dB; {_clock(seconds)} left for all runs.")

    for index, (variant, seed) in enumerate(missing):
        run, behind = run_folder(runs, variant, steps, seed), len(missing) - index
        config = planned(variant, steps, seed)
        refuse_other_settings(run, config)
        try:
            train(config, source, run, resume=True, device=device, threads=threads, workers=workers, report=tell)
        except TrainingError as error:
            (run / "failure.txt").write_text(f"{error}\n", encoding="utf-8")
            say(f"{run.name}: failed. {error}")


def refuse_other_settings(run: Path, config: TrainingConfig) -> None:
    """End the program if a run with another configuration is there, finished or not."""
    path = run / "config.json"
    if path.is_file() and json.loads(path.read_text(encoding="utf-8"))["config"] != _plain(config):
        raise SystemExit(f"{run}: a run with other settings is there. Move it away, or name another folder (--runs).")


def _plain(config: TrainingConfig) -> Any:
    """Return a configuration as JSON gives it back."""
    return json.loads(json.dumps(asdict(config)))


def _clock(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60}:{minutes % 60:02d} h"


def read_run(variant: Variant, runs: Path, steps: int, seed: int) -> Outcome | None:
    """Return what a run says, or None if it is not finished; a run of other settings ends the program."""
    run = run_folder(runs, variant, steps, seed)
    weights, failure = run / "weights.safetensors", run / "failure.txt"
    loaded = load_weights(weights) if weights.is_file() else None
    if not failure.is_file() and (loaded is None or loaded.facts.steps != steps):
        return None
    refuse_other_settings(run, planned(variant, steps, seed))
    facts = json.loads((run / "config.json").read_text(encoding="utf-8"))
    taken = [float(row["seconds"]) * (1 - float(row["waiting"])) for row in _rows(run / "log.csv")]
    return Outcome(
        variant=variant.name,
        seed=seed,
        steps=steps,
        failure=failure.read_text(encoding="utf-8").strip() if failure.is_file() else "",
        parameters=loaded.parameters if loaded is not None else 0,
        seconds_per_step=round(median(taken), 4) if taken else 0.0,
        commit=facts["commit"] or "unknown",
        device=facts["device"],
        threads=facts["threads"],
        validations=tuple(
            Validation(int(row["step"]), float(row["ratio"]), float(row["psnr"]), float(row["ssim"]))
            for row in _rows(run / "validation.csv")
        ),
    )


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


# ---------------------------------------------------------------------------------------------------------------------
# Report
# ---------------------------------------------------------------------------------------------------------------------


def differences(outcomes: Sequence[Outcome], name: str, value: str) -> Spread | None:
    """Return a variant's value less the paper's network's with the same seed; None without common seeds."""
    finished = {(o.variant, o.seed): o.last(value) for o in outcomes if not o.failure}
    pairs = [finished[name, s] - finished[PAPER, s] for n, s in finished if n == name and (PAPER, s) in finished]
    return Spread.of(pairs) if pairs else None


def section(variants: Sequence[Variant], outcomes: Sequence[Outcome], about: Mapping[str, Any], image: str) -> str:
    """Return the page's section."""
    seeds = sorted({o.seed for o in outcomes})
    ratios = sorted({v.ratio for o in outcomes for v in o.validations})
    config = planned(variants[0], outcomes[0].steps, seeds[0])
    stage = config.stages[0]
    lines = [
        f"Every variant was trained for {outcomes[0].steps} steps of {stage.batch_size} patches of "
        f"{stage.patch_size} × {stage.patch_size} packed pixels on {about['photographs']} photographs with simulated "
        f"sensor noise, ratios {config.ratios[0]:g} to {config.ratios[1]:g}, once per seed: "
        f"{', '.join(str(seed) for seed in seeds)}. With one seed all variants see the same pairs in the same order. "
        f"Learning rate {config.learning_rate:g} after {config.warmup_steps} steps of warm-up, falling along a cosine; "
        f"{config.precision}; the moving average of the weights is judged (decay {config.ema_decay:g}).",
        "",
        f"PSNR in dB and SSIM: means over the ratios {', '.join(f'×{r:g}' for r in ratios)} on the central squares of "
        f"{about['held_out']} held-out photographs, display-encoded camera RGB, after the last step; none is chosen by "
        "its score. Mean ± half the range over the seeds; differences to the paper's network are taken seed by seed.",
    ]
    for question in dict.fromkeys(v.question for v in variants):
        rows = [row for v in variants if v.question == question if (row := _row(v, outcomes, ratios)) is not None]
        if rows:
            lines += ["", f"## {question[0].upper()}{question[1:]}", ""]
            lines += ["| | | parameters | s/step | PSNR | difference | SSIM | difference | PSNR by ratio |"]
            lines += ["|---|---|---|---|---|---|---|---|---|", *rows]
    lines += ["", f"![PSNR over the steps, one panel per question, a line per seed]({image})", ""]
    lines += ["## What this says, and what it does not", "", *_says(variants, outcomes, len(seeds)), ""]
    lines += [
        f"Written at commit {about['commit'][:12]}, {about['hardware']['processor']}, {about['hardware']['cores']} "
        "cores; every validation of every run, and the commit it ran from, is in `benchmarks/results/ablation.json`.",
    ]
    return "\n".join(lines) + "\n"


def _row(variant: Variant, outcomes: Sequence[Outcome], ratios: Sequence[float]) -> str | None:
    mine = [o for o in outcomes if o.variant == variant.name]
    finished = [o for o in mine if not o.failure]
    if not mine:
        return None
    head = f"| **{variant.name}** | {variant.sentence}"
    if not finished:
        return f"{head} | | | failed: the loss stopped being a number | | | | |"
    cells = [f"{finished[0].parameters:,}", f"{median(o.seconds_per_step for o in finished):.2f}"]
    for value, digits in (("psnr_db", 2), ("ssim", 4)):
        cells.append(Spread.of([o.last(value) for o in finished]).show(digits))
        difference = differences(outcomes, variant.name, value) if variant.name != PAPER else None
        cells.append(difference.show(digits, signed=True) if difference is not None else "")
    by_ratio = (
        fmean(v.psnr_db for o in finished for v in o.validations if v.step == o.steps and v.ratio == ratio)
        for ratio in ratios
    )
    cells.append(" / ".join(f"{psnr:.2f}" for psnr in by_ratio))
    if len(finished) < len(mine):
        cells[0] += f" ({len(mine) - len(finished)} of {len(mine)} seeds failed)"
    return f"{head} | {' | '.join(cells)} |"


def _says(variants: Sequence[Variant], outcomes: Sequence[Outcome], seeds: int) -> list[str]:
    """Return what follows from the differences in PSNR, by a rule that is stated, and what does not."""
    better: list[str] = []
    worse: list[str] = []
    open_: list[str] = []
    for variant in variants:
        spread = differences(outcomes, variant.name, "psnr_db") if variant.name != PAPER else None
        if spread is None:
            continue
        is_clear = spread.count > 1 and abs(spread.mean) > 2 * spread.half_range
        (open_ if not is_clear else better if spread.mean > 0 else worse).append(variant.name)
    lines = []
    if seeds > 1:
        lines += [
            "- A difference counts as clear if its mean is more than twice the half range over the seeds. Clearly "
            f"above the paper's network in PSNR: {', '.join(better) or 'none'}; "
            f"clearly below: {', '.join(worse) or 'none'}; open: {', '.join(open_) or 'none'}. "
            f"{seeds} seeds are few: a clear difference may still be chance.",
        ]
    else:
        lines += ["- One seed says nothing about chance: no difference here is known to be more than that."]
    return [
        *lines,
        "- Short runs show what is learned first. Parts that pay late, larger networks above all, are underrated.",
        "- The budget is equal in steps and pairs, not in time: see s/step, which other work on the machine disturbs.",
        "- Learning rate, schedule and initialization are those of this project, for all variants alike; none was "
        "tuned for one of them.",
        "- Photographs turned into RAW with simulated noise are not See-in-the-Dark. The paper's own ablation there "
        "(PSNR, cumulative): backbone 28.57, channel attention 29.49, mixed attention 29.70, inverted shuffle 29.86. "
        "The numbers do not compare, at most their order.",
        "- Losses are judged by PSNR and SSIM; a loss that contains a measure has an advantage in it.",
    ]


def draw(path: Path, variants: Sequence[Variant], outcomes: Sequence[Outcome]) -> None:
    """Draw the mean PSNR over the steps, one panel per question, the paper's network in each, a line per seed."""
    questions = [
        q for q in dict.fromkeys(v.question for v in variants)
        if any(o.variant == v.name for v in variants if v.question == q for o in outcomes)
    ]  # fmt: skip
    columns = min(len(questions), 3)
    figure = Figure(figsize=(4.2 * columns, 3.6 * -(-len(questions) // columns)), layout="constrained")
    panels = figure.subplots(-(-len(questions) // columns), columns, squeeze=False).ravel()
    for axes in panels:
        axes.set_visible(False)
    for axes, question in zip(panels, questions, strict=False):
        axes.set_visible(True)
        names = dict.fromkeys([PAPER, *(v.name for v in variants if v.question == question)])
        for index, name in enumerate(names):
            color = "black" if name == PAPER else f"C{index - 1}"
            label: str | None = name
            for outcome in (o for o in outcomes if o.variant == name):
                steps = sorted({v.step for v in outcome.validations})
                means = [fmean(v.psnr_db for v in outcome.validations if v.step == step) for step in steps]
                axes.plot(steps, means, color=color, label=label, linewidth=1.2)
                label = None
        axes.set(title=question, xlabel="step", ylabel="PSNR in dB, mean over the ratios")
        axes.legend(fontsize="small")
    path.parent.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context({"svg.hashsalt": "ablation"}):  # the same file from the same numbers
        figure.savefig(path, format="svg", metadata={"Date": None})


app = cyclopts.App(help=__doc__)


@app.default
def main(
    *,
    photos: Path,
    runs: Path,
    steps: int = 1500,
    seeds: Annotated[tuple[int, ...], cyclopts.Parameter(consume_multiple=True, negative="")] = (0, 1),
    variants: Annotated[tuple[str, ...], cyclopts.Parameter(consume_multiple=True, negative="")] = (),
    cache: Path | None = None,
    device: str = "cpu",
    threads: int | None = None,
    workers: int = 1,
    out: Path = Path("benchmarks/results/ablation.json"),
    page: Path = Path("docs/ablation.md"),
) -> None:
    """Train what is missing of the ablation and write its report, of every finished run in the folder.

    Args:
        photos: Folder of clean photographs; a tenth of them is held out.
        runs: Folder of the runs.
        steps: Optimizer steps of every run.
        seeds: Seeds of initial weights and samples; every variant is trained with each.
        variants: Names of the variants to train; all, if none are named.
        cache: Folder for decoded photographs; runs/decoded if not given.
        device: cpu, cuda or cuda:N.
        threads: CPU threads of the network; torch's choice if not given.
        workers: Processes that make pairs ahead of time; 0 makes them in between.
        out: Where the scores go (JSON).
        page: Page whose section is replaced; the curves go to images/ablation.svg beside it.
    """
    console = Console()
    known = {variant.name: variant for variant in VARIANTS}
    if unknown := sorted(set(variants) - set(known)):
        raise SystemExit(f"No such variants: {', '.join(unknown)}. There are: {', '.join(known)}.")
    chosen = [known[name] for name in variants or known]
    source = Photographs(photos, cache if cache is not None else runs / "decoded")

    def say(line: str) -> None:
        console.print(line, markup=False, soft_wrap=True)

    run_missing(
        chosen, source, runs, steps=steps, seeds=seeds, device=device, threads=threads, workers=workers, say=say
    )
    found = sorted({int(run.name.rpartition("-")[2]) for run in runs.glob(f"*-{steps}-steps-seed-*")})
    read = [read_run(variant, runs, steps, seed) for variant in VARIANTS for seed in found]
    outcomes = [outcome for outcome in read if outcome is not None]
    about = provenance() | {
        "command": command(),
        "photographs": source.scenes,
        "held_out": len([n for n in source.facts()["photographs"]["held_out"] if not n.lower().endswith(".hdr")]),
    }
    about["versions"]["torch"] = torch.__version__
    document = {
        "benchmark": "ablation",
        **about,
        "steps": steps,
        "seeds": sorted({outcome.seed for outcome in outcomes}),
        "variants": {
            v.name: {"sentence": v.sentence, "config": _plain(planned(v, steps, 0))}
            for v in VARIANTS
            if any(o.variant == v.name for o in outcomes)
        },
        "runs": [asdict(outcome) for outcome in outcomes],
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    draw(page.parent / "images" / "ablation.svg", VARIANTS, outcomes)
    title = "What the parts of the network are worth"
    write_section(page, section(VARIANTS, outcomes, about, "images/ablation.svg"), markers=_MARKERS, title=title)
    say(f"{len(outcomes)} runs: {page}, {out}")


if __name__ == "__main__":
    app()

"""`alen train`: run recipes and show how they go."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

from cyclopts import App

from alen.commands.console import INTERRUPTED, OK, Flag, complain, require_torch

if TYPE_CHECKING:
    from alen.training.config import TrainingConfig
    from alen.training.loop import StepReport

_REPORT_EVERY: Final = 50
"""Steps between the lines of a training that is not watched in a terminal."""

train = App(
    name="train",
    help="Train weights of your own.",
    usage="Usage: alen train RECIPE [OPTIONS]",
    help_epilogue="Example:\n\n  alen train camera --photos photographs/ --out runs/first",
)


@train.command(
    usage="Usage: alen train camera --photos DIR --out RUN [OPTIONS]",
    help_epilogue="Examples:\n\n"
    "  alen train camera --photos photographs/ --out runs/first\n"
    "  alen train camera --photos photographs/ --out runs/first --resume\n"
    "  alen train camera --photos photographs/ --out runs/short --steps 2000 --patch 64 --batch 8",
)
def camera(
    *,
    photos: Path,
    out: Path,
    steps: int | None = None,
    batch: int | None = None,
    patch: int | None = None,
    lr: float | None = None,
    seed: int | None = None,
    resume: Annotated[bool, Flag] = False,
    init: Path | None = None,
    threads: int | None = None,
    cache: Path | None = None,
) -> int:
    """Train weights for every Bayer camera, from photographs and simulated noise.

    What is not given is as in the recipe of the shipped weights. The run can
    be interrupted and taken up again with --resume and the same settings.

    Args:
        photos: Folder of clean photographs: JPEG, PNG, WebP, TIFF or Radiance HDR. A tenth is held out to judge by.
        out: Folder of the run: weights, checkpoint, logs, pictures of how it goes.
        steps: Optimizer steps.
        batch: Patches per step; with it or --patch, all steps are alike instead of patches growing.
        patch: Side of the patches in packed pixels (half of the mosaic's), a multiple of 16.
        lr: Peak learning rate.
        seed: Decides initial weights and all chance.
        resume: Go on from the checkpoint of the run.
        init: Weights to start from.
        threads: CPU threads of the network.
        cache: Folder for the decoded photographs, to share between runs; by default inside the run.
    """
    require_torch()
    from alen.training.config import camera as recipe
    from alen.training.loop import train as run_training

    config = _changed(recipe(), steps=steps, batch=batch, patch=patch, learning_rate=lr, seed=seed)
    print(f"Training on the photographs in {photos} for {config.steps:,} steps; the run is in {out}")
    progress = _TrainingProgress(config.steps)
    try:
        with progress:
            weights = run_training(
                config,
                photos,
                out,
                resume=resume,
                initial_weights=init,
                cache=cache,
                threads=threads,
                report=progress.report,
            )
    except KeyboardInterrupt:
        complain(f"interrupted after step {progress.step:,}; go on with the same command and --resume.")
        return INTERRUPTED
    print(f"{weights}: the weights. Use them with --model {weights}")
    return OK


def _changed(
    config: TrainingConfig, *, steps: int | None, batch: int | None, patch: int | None, **settings: float | None
) -> TrainingConfig:
    """Return a recipe with what the user gave."""
    from alen.training.config import Stage

    changes: dict[str, Any] = {name: value for name, value in settings.items() if value is not None}
    if steps is not None:
        changes["steps"] = steps
    if batch is not None or patch is not None:
        first = config.stages[0]
        stage = Stage(
            share=1.0,
            patch_size=first.patch_size if patch is None else patch,
            batch_size=first.batch_size if batch is None else batch,
        )
        changes["stages"] = (stage,)
    return replace(config, **changes)


class _TrainingProgress:
    """How a training goes: a bar for those who watch, else a line now and then."""

    def __init__(self, total: int) -> None:
        self.step = 0
        self._total = total
        self._score = ""
        self._seconds = 0.0
        self._bar: Any = None
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            columns = (
                MofNCompleteColumn(),
                BarColumn(bar_width=10),
                TimeRemainingColumn(),
                TextColumn("{task.description}"),
            )
            self._bar = Progress(
                *columns,
                console=Console(stderr=True),
                redirect_stdout=sys.stdout.isatty(),
                speed_estimate_period=300,
            )
            self._task = self._bar.add_task("decoding the photographs", total=total)

    def __enter__(self) -> _TrainingProgress:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def report(self, report: StepReport) -> None:
        """Show the state after a step."""
        self.step = report.step
        is_first = self._seconds == 0.0
        self._seconds = report.seconds if is_first else 0.98 * self._seconds + 0.02 * report.seconds
        state = f"loss {report.loss:.4f}, {self._seconds:.2f} s/step"
        waiting = f"{report.waiting:.0%} waiting for data"
        scores = ""
        if report.validation is not None:
            scores = ", " + ", ".join(f"×{ratio:g} {psnr:.2f} dB" for ratio, (psnr, _) in report.validation.items())
            mean = sum(psnr for psnr, _ in report.validation.values()) / len(report.validation)
            self._score = f", {mean:.2f} dB"
        if self._bar is not None:
            if is_first:
                self._bar.reset(self._task, completed=report.step - 1)
            self._bar.update(
                self._task, completed=report.step, description=f"{state}, {report.waiting:.0%} wait{self._score}"
            )
        if scores or (self._bar is None and (is_first or report.step % _REPORT_EVERY == 0)):
            left = (self._total - report.step) * self._seconds / 60
            print(
                f"step {report.step:,} of {self._total:,}: {state}, {waiting}{scores}, {left:.0f} min left", flush=True
            )

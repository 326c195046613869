"""`alen train`: run recipes and show how they go."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from cyclopts import App, Parameter

from alen.commands.console import INTERRUPTED, OK, Flag, complain, require_torch

if TYPE_CHECKING:
    from alen.data.sid import Subset
    from alen.training.config import TrainingConfig
    from alen.training.loop import StepReport
    from alen.training.sources import Source

_REPORT_EVERY: Final = 50
"""Steps between the lines of a training that is not watched in a terminal."""

train = App(
    name="train",
    help="Train weights of your own.",
    usage="Usage: alen train RECIPE [OPTIONS]",
    help_epilogue="Examples:\n\n"
    "  alen train camera --photos photographs/ --out runs/first\n"
    "  alen train sid-sony --data sid/ --out runs/sony --device cuda",
)


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Options:
    """What every recipe lets you change; without it, the recipe's own."""

    out: Path
    """Folder of the run: weights, checkpoint, logs, pictures of how it goes, and a page that explains it, run.md."""
    steps: int | None = None
    """Optimizer steps."""
    batch: int | None = None
    """Patches per step; with it or --patch, all steps are alike instead of patches growing."""
    patch: int | None = None
    """Side of the patches in packed pixels (2 or, for X-Trans, 3 of the mosaic's), a multiple of 16."""
    accumulate: int | None = None
    """Batches per step, one after the other: the effect of a larger batch in the memory of one."""
    lr: float | None = None
    """Peak learning rate; later steps of it change in proportion."""
    parts: Literal["all", "last"] | None = None
    """What learns: all weights, or those of the last level alone, which makes the detail; of the attention network."""
    seed: int | None = None
    """Decides initial weights and all chance."""
    precision: Literal["bfloat16", "float32"] | None = None
    """Arithmetic of the network; float32 where the recipe wants bfloat16 and the processor only imitates it."""
    checkpoint_every: int | None = None
    """Steps between checkpoints."""
    validate_every: int | None = None
    """Steps between validations."""
    resume: Annotated[bool, Flag] = False
    """Go on from the checkpoint of the run."""
    init: Path | None = None
    """Weights to start from: a file, or the name of shipped weights such as alen."""
    threads: int | None = None
    """CPU threads of the network."""
    workers: int = 1
    """Processes that prepare the data ahead of time."""
    device: str = "cpu"
    """cpu, cuda or cuda:N."""
    cache: Path | None = None
    """Folder for the decoded data, to share between runs; by default inside the run."""


@train.command(
    usage="Usage: alen train camera --photos DIR --out RUN [OPTIONS]",
    help_epilogue="Examples:\n\n"
    "  alen train camera --photos photographs/ --out runs/first\n"
    "  alen train camera --photos photographs/ --out runs/first --resume\n"
    "  alen train camera --photos photographs/ --out runs/short --steps 2000 --patch 64 --batch 8\n"
    "  alen train camera --photos photographs/ --out runs/mine --camera camera.json --init alen --steps 3000 --lr 1e-4",
)
def camera(
    *,
    photos: Path,
    network: Literal["alen", "alen-fast", "alen-xtrans"] = "alen",
    calibration: Annotated[Path | None, Parameter(name="--camera")] = None,
    options: Options,
) -> int:
    """Train weights for every camera, from photographs and simulated noise.

    What is not given is as in the recipe of the weights that ship. The run can
    be interrupted and taken up again with --resume and the same settings.

    Args:
        photos: Folder of clean photographs: JPEG, PNG, WebP, TIFF or Radiance HDR. A tenth is held out to judge by.
        network: The form to train, by the name of the weights that ship of it; alen-xtrans is for X-Trans cameras.
        calibration: A calibration that alen calibrate wrote: noise of that camera instead of all cameras'.
        options: What every recipe lets you change.
    """
    require_torch()
    from alen.camera_file import read_camera
    from alen.training import recipes
    from alen.training.sources import Photographs

    sensor = None if calibration is None else read_camera(calibration).noise
    config = replace(_changed(recipes.camera(network), options), sensor=sensor)
    source = Photographs(photos, options.cache if options.cache is not None else options.out / "cache")
    what = f"Training on the photographs in {photos}" + (f" for the noise of a {sensor.name}" if sensor else "")
    return _run(config, source, options, what)


@train.command(
    usage="Usage: alen train pairs --data PAIRS.csv --out RUN [OPTIONS]",
    help_epilogue="Examples:\n\n"
    "  alen train pairs --data pairs.csv --out runs/mine --device cuda\n"
    "  alen train pairs --data cache/own --out runs/mine --steps 20000 --patch 256 --batch 4\n"
    "  alen evaluate pairs --data others.csv --weights runs/mine/weights.safetensors",
)
def pairs(*, data: Path, cfa: Literal["bayer", "xtrans"] = "bayer", options: Options) -> int:
    """Train the paper's network on short and long exposures of your own.

    Its weights paint finished pictures as LibRaw renders your long exposures;
    they are for "alen evaluate", not for "alen enhance".

    Args:
        data: CSV with the columns short, long and, if you like, ratio and scene; or a cache that "alen data own" made.
            Every tenth scene, at least one, is held out to judge by.
        cfa: The cameras' filter array: Bayer, or Fuji's X-Trans.
        options: What every recipe lets you change.
    """
    require_torch()
    from alen.training import recipes
    from alen.training.sources import own

    cache = options.cache if options.cache is not None else options.out / "cache"
    source = own(data, cache, progress=_report_decoding)
    config = _changed(recipes.pairs(cfa), options)
    return _run(config, source, options, f"Training on {source.scenes:,} of the scenes in {data}")


def _see_in_the_dark(recipe: str, subset: Subset, summary: str) -> None:
    """Add the command of a recipe for See-in-the-Dark."""
    name = recipe.replace("_", "-")

    def command(*, data: Path, options: Options) -> int:
        require_torch()
        from alen.training import recipes
        from alen.training.sources import see_in_the_dark

        cache = options.cache if options.cache is not None else options.out / "cache"
        source = see_in_the_dark(data, subset, cache, progress=_report_decoding)
        config = _changed(getattr(recipes, recipe)(), options)
        return _run(config, source, options, f"Training on {source.scenes:,} scenes of See-in-the-Dark in {data}")

    command.__doc__ = f"""{summary}

    The published schedule counts epochs, one patch of every scene;
    --steps N compresses it into N steps. With several processes:
    torchrun --nproc-per-node 2 -m alen.cli train {name} ...

    Args:
        data: Folder of the data set, with {subset.title()}/ and its lists; or of caches of it, train/ and val/.
        options: What every recipe lets you change.
    """
    train.command(
        command,
        name=name,
        usage=f"Usage: alen train {name} --data DIR --out RUN [OPTIONS]",
        help_epilogue=f"Examples:\n\n"
        f"  alen train {name} --data sid/ --out runs/{name} --device cuda\n"
        f"  alen train {name} --data sid/ --out runs/{name} --device cuda --resume",
    )


_see_in_the_dark("sid_sony", "sony", "Train the paper's network on Sony frames, with SSIM + L2.")
_see_in_the_dark("sid_fuji", "fuji", "Train the paper's network on Fuji frames, with SSIM + L2.")
_see_in_the_dark("sid_sony_released", "sony", "Train on Sony frames as the paper's released code does.")
_see_in_the_dark("sid_fuji_released", "fuji", "Train on Fuji frames as the paper's released code does.")
_see_in_the_dark("sid_unet_sony", "sony", "Train the See-in-the-Dark U-Net on Sony frames, with L1.")
_see_in_the_dark("sid_unet_fuji", "fuji", "Train the See-in-the-Dark U-Net on Fuji frames, with L1.")
_see_in_the_dark("ablation_backbone", "sony", "Train the paper's backbone, without attention.")
_see_in_the_dark("ablation_channel_attention", "sony", "Train the backbone with channel attention.")
_see_in_the_dark("ablation_mixed_attention", "sony", "Train the backbone with channel and non-local attention.")
_see_in_the_dark("ablation_inverted_shuffle", "sony", "Train the whole network: attention and inverted shuffle.")


def _run(config: TrainingConfig, source: Source, options: Options, what: str) -> int:
    """Train, and show how it goes; of several processes the first alone."""
    from alen.training.checkpoint import steps_done
    from alen.training.loop import check_folder, initial_weights_of
    from alen.training.loop import train as run_training
    from alen.training.processes import find_device, place_among_processes

    check_folder(options.out, resume=options.resume)  # before anything is announced
    find_device(options.device, local_rank=int(os.environ.get("LOCAL_RANK", "0")))
    if options.init is not None:
        initial_weights_of(options.init, config.network)
    config = config.in_steps(source.scenes)
    is_first = place_among_processes()[0] == 0
    if is_first:
        print(f"{what} for {config.steps:,} steps; the run is in {options.out}", flush=True)
    progress = _TrainingProgress(config.steps, watched=is_first and sys.stderr.isatty())
    try:
        with progress:
            weights = run_training(
                config,
                source,
                options.out,
                resume=options.resume,
                initial_weights=options.init,
                threads=options.threads,
                workers=options.workers,
                device=options.device,
                report=progress.report,
            )
    except KeyboardInterrupt:
        saved = steps_done(options.out / "checkpoint.safetensors")
        if is_first and saved:
            complain(f"interrupted; go on from step {saved:,} with the same command and --resume.")
        elif is_first:  # alone: while the others end, it may still be saving
            complain("interrupted before anything was saved; start again with the same command.")
        return INTERRUPTED
    if is_first:
        use = f"Use them with --model {weights}"
        if config.network.target != "camera":
            use = f"See what they are: alen models {weights}"
        print(f"{weights}: the weights. {use}")
    return OK


def _changed(config: TrainingConfig, options: Options) -> TrainingConfig:
    """Return a recipe with what the user gave, in arithmetic that the device computes in."""
    from alen.training.config import Stage
    from alen.training.processes import computes_bfloat16

    given = {
        "accumulate": options.accumulate,
        "parts": options.parts,
        "seed": options.seed,
        "precision": options.precision,
        "checkpoint_every": options.checkpoint_every,
        "validate_every": options.validate_every,
    }
    changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if options.precision is None and config.precision == "bfloat16" and not computes_bfloat16(options.device):
        changes["precision"] = "float32"
    if options.steps is not None:
        changes |= {"steps": options.steps, "epochs": None}
    if options.lr is not None:
        factor = options.lr / config.learning_rate
        drops = tuple(replace(drop, learning_rate=factor * drop.learning_rate) for drop in config.drops)
        final = min(config.final_learning_rate, options.lr)  # the cosine is not to rise
        changes |= {"learning_rate": options.lr, "final_learning_rate": final, "drops": drops}
    if options.batch is not None or options.patch is not None:
        first = config.stages[0]
        stage = Stage(
            share=1.0,
            patch_size=first.patch_size if options.patch is None else options.patch,
            batch_size=first.batch_size if options.batch is None else options.batch,
        )
        changes["stages"] = (stage,)
    return replace(config, **changes)


def _report_decoding(done: int, total: int) -> None:
    """Tell now and then how far the decoding is."""
    if done == total or done % _REPORT_EVERY == 0:
        print(f"decoded {done:,} of {total:,} files", flush=True)


class _TrainingProgress:
    """How a training goes: a bar for those who watch, else a line now and then."""

    def __init__(self, total: int, *, watched: bool) -> None:
        self.step = 0
        self._total = total
        self._score = ""
        self._seconds = 0.0
        self._bar: Any = None
        if watched:
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
            self._task = self._bar.add_task("decoding", total=total)

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

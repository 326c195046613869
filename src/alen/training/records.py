"""What a run leaves behind beside its weights: CSV tables, TensorBoard events, curves, and a page that explains it."""

from __future__ import annotations

import csv
import json
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

import alen
from alen.errors import TrainingError
from alen.replacing import replacing
from alen.training.config import TrainingConfig
from alen.training.processes import Processes
from alen.weights import find_weights, load_weights

_STEP_COLUMNS = ("step", "loss", "learning_rate", "gradient_norm", "seconds", "waiting")
_SCORE_COLUMNS = ("step", "ratio", "psnr", "ssim")

_STARTED = "- started from "
"""Start of the page's line on the initial weights."""

Scores = dict[float, tuple[float, float]]
"""Mean (PSNR in dB, SSIM) by exposure ratio."""


class Records:
    """The records of a run, written by its first process alone.

    log.csv has a line per step, validation.csv one per validation and ratio, curves.png both; tensorboard/ has the same
    for TensorBoard, if that is installed. A resumed run drops what came after its checkpoint.

    Args:
        run: The run's folder.
        start: Steps done.
    """

    def __init__(self, run: Path, start: int) -> None:
        self._run = run
        self._steps = _CsvLog(run / "log.csv", _STEP_COLUMNS, start)
        self._scores = _CsvLog(run / "validation.csv", _SCORE_COLUMNS, start)
        self._events: Any = None
        if find_spec("tensorboard") is not None:
            from torch.utils.tensorboard import SummaryWriter

            self._events = SummaryWriter(run / "tensorboard", purge_step=start + 1)

    def step(
        self, step: int, *, loss: float, learning_rate: float, gradient_norm: float, seconds: float, waiting: float
    ) -> None:
        """Note a step; see `alen.training.loop.StepReport` for what the values are."""
        self._steps.write(
            step, f"{loss:.6f}", f"{learning_rate:.3e}", f"{gradient_norm:.4f}", f"{seconds:.3f}", f"{waiting:.3f}"
        )
        values = {"loss": loss, "learning rate": learning_rate, "gradient norm": gradient_norm, "seconds": seconds}
        self._plot(step, {f"training/{name}": value for name, value in values.items()})

    def validation(self, step: int, scores: Scores) -> None:
        """Note the scores of a validation, and draw the curves anew."""
        for ratio, (decibels, similarity) in scores.items():
            self._scores.write(step, ratio, f"{decibels:.4f}", f"{similarity:.5f}")
            self._plot(step, {f"PSNR/x{ratio:g}": decibels, f"SSIM/x{ratio:g}": similarity})
        if self._events is not None:
            self._events.flush()
        if find_spec("matplotlib") is not None:
            draw_curves(self._run)

    def close(self) -> None:
        """Write what TensorBoard still holds back."""
        if self._events is not None:
            self._events.close()

    def _plot(self, step: int, values: Mapping[str, float]) -> None:
        if self._events is not None:
            for name, value in values.items():
                self._events.add_scalar(name, value, step)


def draw_curves(run: Path) -> Path:
    """Draw loss, learning rate, PSNR and SSIM of a run into curves.png; needs matplotlib."""
    from matplotlib.figure import Figure

    steps, scores = _columns(run / "log.csv"), _columns(run / "validation.csv")
    figure = Figure(figsize=(11, 7), layout="constrained")
    (loss, rate), (decibels, similarity) = figure.subplots(2, 2)
    width = max(len(steps["step"]) // 100, 1)  # as many means as the eye can tell apart
    groups = range(0, len(steps["step"]), width)
    loss.plot(
        [steps["step"][min(i + width, len(steps["step"])) - 1] for i in groups],
        [sum(part) / len(part) for part in (steps["loss"][i : i + width] for i in groups)],
    )
    loss.set(title=f"loss, mean of {width} steps" if width > 1 else "loss", xlabel="step")
    rate.plot(steps["step"], steps["learning_rate"])
    rate.set(title="learning rate", xlabel="step", yscale="log")
    for axes, column, title in ((decibels, "psnr", "PSNR in dB"), (similarity, "ssim", "SSIM")):
        for ratio in sorted(set(scores["ratio"])):
            rows = [i for i, value in enumerate(scores["ratio"]) if value == ratio]
            axes.plot([scores["step"][i] for i in rows], [scores[column][i] for i in rows], "o-", label=f"×{ratio:g}")
        axes.set(title=f"{title}, held-out part", xlabel="step")
        if scores["ratio"]:
            axes.legend()
    part = run / "curves.part"
    figure.savefig(part, format="png", dpi=100)
    return part.replace(run / "curves.png")


def check_data(run: Path, data: Mapping[str, Any]) -> None:
    """Raise TrainingError if a run that is resumed was begun with other data, as far as its config.json tells."""
    try:
        facts = json.loads((run / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return
    for key, value in json.loads(json.dumps(data)).items():
        if key in facts and facts[key] != value:
            raise TrainingError(
                f"{run}: was begun with other {key.replace('_', ' ')}: {_difference(facts[key], value)}. "
                "Resume with those it was begun with, or start a new run in another folder."
            )


def _difference(before: Any, now: Any) -> str:
    """Return how a source's facts differ: how many there were for what and are now, or the first of many numbers."""
    if not all(isinstance(f, dict) and all(isinstance(n, int | float) for n in f.values()) for f in (before, now)):
        return f"{_counted(before)}, now {_counted(now)}"
    first, *others = (name for name in {**before, **now} if before.get(name) != now.get(name))
    values = (f"{facts[first]:g}" if first in facts else "none" for facts in (before, now))
    more = f", and {len(others):,} more" if others else ""
    return f"{first} {', now '.join(values)}{more}"


def _counted(facts: Any) -> str:
    """Return how many there are for what, of a source's facts."""
    if not isinstance(facts, dict):
        return str(facts)
    counts = {key: len(value) if isinstance(value, list) else value for key, value in facts.items()}
    return ", ".join(f"{count} {key.replace('_', ' ')}" for key, count in counts.items())


def describe_run(
    run: Path,
    config: TrainingConfig,
    data: Mapping[str, Any],
    processes: Processes,
    initial_weights: Path | None,
    *,
    resumed: bool = False,
) -> None:
    """Write what the run is into config.json, for programs, and run.md, for people.

    What a resumed run was started from stays as the two say.
    """
    digest = initial_weights and load_weights(find_weights(str(initial_weights))).digest
    start = "fresh weights" if initial_weights is None else f"{initial_weights} {digest}"
    if resumed:
        digest, start = _start_of(run) or (digest, start)
    versions = {"alen": alen.__version__, "torch": torch.__version__, "python": platform.python_version()}
    facts = {
        "config": asdict(config),
        "network": type(config.network).__name__,
        **data,
        "initial_weights": digest,
        "versions": versions,
        "commit": _commit(),
        "command": shlex.join(sys.argv),
        "device": str(processes.device),
        "processes": processes.count,
        "threads": torch.get_num_threads(),
    }
    _write(run / "config.json", json.dumps(facts, indent=1) + "\n")
    name, settings = type(config.network).__name__.removesuffix("Config"), asdict(config)
    network = settings.pop("network")
    if config.sensor is not None:
        speeds = ", ".join(f"{noise.iso:g}" for noise in config.sensor.noises)
        settings["sensor"] = f"{config.sensor.name}, calibrated at ISO {speeds}, digest {config.sensor.digest}"
    page = [
        "# A training run of alen",
        "",
        f"    {facts['command']}",
        "",
        "- " + ", ".join(f"{package} {version}" for package, version in versions.items()),
        f"- commit: {facts['commit'] or 'unknown, not run from a checkout'}",
        f"- computed on {facts['device']} by {processes.count} process(es) of {facts['threads']} CPU threads",
        f"{_STARTED}{start}",
        f"- network {name}: " + ", ".join(f"{key} {value}" for key, value in network.items()),
        "",
        "| setting | value |",
        "|---|---|",
        *(f"| {key} | {value} |" for key, value in settings.items()),
        "",
        "| file | |",
        "|---|---|",
        "| weights.safetensors | the weights, for use: averaged over the last steps unless ema_decay is 0 |",
        "| checkpoint.safetensors | what the same command with --resume goes on from |",
        "| log.csv, validation.csv | every step; every validation, by exposure ratio |",
        "| curves.png, tensorboard/ | the same as pictures (with matplotlib) and for TensorBoard (if installed) |",
        "| pictures/ | held-out scenes as the network sees them; the last column is the truth |",
        "| config.json | what this page says, and the data, for programs |",
    ]
    _write(run / "run.md", "\n".join(page) + "\n")


def _start_of(run: Path) -> tuple[str | None, str] | None:
    """Return the digest of the weights a run was started from, and what its page calls them; None if unknown."""
    try:
        digest = json.loads((run / "config.json").read_text(encoding="utf-8"))["initial_weights"]
        page = (run / "run.md").read_text(encoding="utf-8").splitlines()
        return digest, next(line.removeprefix(_STARTED) for line in page if line.startswith(_STARTED))
    except (OSError, ValueError, LookupError, TypeError, StopIteration):
        return None


def _commit() -> str | None:
    """Return the commit this package runs from, with "-dirty" if changed; None outside of a checkout of it."""
    here = Path(__file__).parent
    try:
        for command in (
            ["ls-files", "--error-unmatch", "config.py"],
            ["describe", "--always", "--dirty", "--abbrev=40"],
        ):
            done = subprocess.run(["git", "-C", here, *command], capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _write(path: Path, text: str) -> None:
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8")


def _columns(path: Path) -> dict[str, list[float]]:
    """Return the columns of a CSV file of numbers."""
    with path.open(newline="") as file:
        header, *rows = csv.reader(file)
    return {name: [float(row[index]) for row in rows] for index, name in enumerate(header)}


class _CsvLog:
    """A CSV file that grows by a line at a time; a resumed run drops the lines after its checkpoint."""

    def __init__(self, path: Path, columns: tuple[str, ...], start: int) -> None:
        kept: list[list[str]] = []
        if start and path.exists():
            with path.open(newline="") as file:
                rows = list(csv.reader(file))[1:]
            kept = [row for row in rows if len(row) == len(columns) and int(row[0]) <= start]  # a kill cuts lines off
        self._path = path
        part = path.with_name(path.name + ".part")
        with part.open("w", newline="") as file:
            csv.writer(file).writerows([list(columns), *kept])
        part.replace(path)

    def write(self, *values: object) -> None:
        with self._path.open("a", newline="") as file:
            csv.writer(file).writerow(values)

"""How fast does ALEN train: our loop in bfloat16 against a plain float32 loop of the same network, on all cores.

``python -m benchmarks.training --photos DIR`` times, in turn and each in a fresh process, the steps of
`alen.training.loop.train` as they are (bfloat16, channels_last, freed memory kept, with clipping, averaged weights and
records) and of the loop one would write first (float32, NCHW, the allocator as it comes, nothing but forward, backward
and AdamW) on the same pairs in memory. Then it trains on photographs for a few steps and says which share of them went
into waiting for data. The medians go to ``benchmarks/results/training.json``.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any, Final, Literal

import cyclopts
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.utils.data import Dataset

from alen.training.config import Stage, TrainingConfig
from alen.training.loop import StepReport, build_network, train
from alen.training.losses import training_loss
from alen.training.recipes import camera
from alen.training.sources import Photographs
from benchmarks.quality import command, provenance

Side = Literal["ours", "plain"]

SIDES: Final[Mapping[Side, str]] = {
    "ours": "alen.training.loop.train: bfloat16, channels_last, freed memory kept",
    "plain": "plain loop: float32, NCHW, the allocator as it comes",
}
"""What is timed."""

SHAPES: Final = (Stage(share=1.0, patch_size=128, batch_size=4), Stage(share=1.0, patch_size=64, batch_size=8))
"""Patches of a step, in packed pixels."""

_WARM_UP: Final = 3
"""Steps of every process that are not timed: kernels are built and memory is fetched in them."""


class MadeUpPairs(Dataset[tuple[Tensor, Tensor]]):
    """The same few pairs again and again, from memory: planes (4, s, s) and truth (3, 2s, 2s)."""

    def __init__(self, size: int) -> None:
        generator = torch.Generator().manual_seed(0)
        self.planes = torch.rand((8, 4, size, size), generator=generator)
        self.truth = torch.rand((8, 3, 2 * size, 2 * size), generator=generator)

    def __getitem__(self, item: tuple[int, int]) -> tuple[Tensor, Tensor]:
        index = item[0] % len(self.planes)
        return self.planes[index], self.truth[index]


class NoValidation:
    """Judges nothing, so that a run is its steps alone."""

    def score(self, network: nn.Module, precision: str) -> dict[float, tuple[float, float]]:  # noqa: ARG002 - protocol
        """Return no scores."""
        return {}

    def write_pictures(self, network: nn.Module, precision: str, path: Path) -> None:
        """Write nothing."""


@dataclass(frozen=True)
class Unjudged:
    """Pairs as a source that holds nothing out."""

    dataset: Dataset[tuple[Tensor, Tensor]]
    """What is trained on."""
    scenes: int = 1
    """As many as nobody counts."""
    description: str = "pairs for measuring the time of a step"
    """For the header of the weights."""

    def facts(self) -> Mapping[str, Any]:
        """Return nothing."""
        return {}

    def prepare(self) -> None:
        """Do nothing."""

    def pairs(self, config: TrainingConfig) -> Dataset[tuple[Tensor, Tensor]]:  # noqa: ARG002 - protocol
        """Return the pairs."""
        return self.dataset

    def validation(self, config: TrainingConfig) -> NoValidation:  # noqa: ARG002 - protocol
        """Return nothing to judge by."""
        return NoValidation()


def recipe(shape: Stage, steps: int) -> TrainingConfig:
    """Return the recipe of the shipped weights with one size of patches."""
    return replace(camera(), stages=(shape,), steps=steps, checkpoint_every=steps, validate_every=steps)


def time_ours(shape: Stage, steps: int, threads: int) -> list[float]:
    """Return the seconds of each step of our loop."""
    seconds: list[float] = []
    source = Unjudged(MadeUpPairs(shape.patch_size))
    with tempfile.TemporaryDirectory() as folder:
        config = recipe(shape, _WARM_UP + steps)
        train(config, source, Path(folder), threads=threads, workers=0, report=lambda r: seconds.append(r.seconds))
    return seconds[_WARM_UP:]


def time_plain(shape: Stage, steps: int, threads: int) -> list[float]:
    """Return the seconds of each step of the loop one would write first."""
    torch.set_num_threads(threads)
    config = recipe(shape, _WARM_UP + steps)
    pairs = MadeUpPairs(shape.patch_size)
    network = build_network(config.network)
    optimizer = torch.optim.AdamW(network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    seconds: list[float] = []
    for step in range(config.steps):
        clock = time.perf_counter()
        items = [pairs[step * shape.batch_size + k, shape.patch_size] for k in range(shape.batch_size)]
        planes, truth = (torch.stack(part) for part in zip(*items, strict=True))
        optimizer.zero_grad()
        loss = training_loss(network(planes), truth, config.loss, ssim_weight=config.ssim_weight)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        loss.item()
        seconds.append(time.perf_counter() - clock)
    return seconds[_WARM_UP:]


def waiting_share(photos: Path, cache: Path, shape: Stage, steps: int, threads: int) -> dict[str, float]:
    """Return the median seconds of a step on photographs, and the share of all steps' time spent waiting for data."""
    reports: list[StepReport] = []
    config = recipe(shape, _WARM_UP + steps)
    source = Unjudged(Photographs(photos, cache).pairs(config))
    with tempfile.TemporaryDirectory() as folder:
        train(config, source, Path(folder), threads=threads, workers=1, report=reports.append)
    timed = reports[_WARM_UP:]
    total = sum(r.seconds for r in timed)
    return {
        "median_seconds": round(median(r.seconds for r in timed), 4),
        "waiting": round(sum(r.waiting * r.seconds for r in timed) / total, 4),
    }


def in_a_fresh_process(work: Callable[..., Any], *arguments: object) -> Any:
    """Return what a function returns in a process of its own: the allocator's settings hold for a whole process."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(work, *arguments).result()


def race(shape: Stage, steps: int, rounds: int, threads: int) -> dict[str, Any]:
    """Return the times of both sides, taken in turn, and how many times as fast ours is."""
    seconds: dict[Side, list[float]] = {"ours": [], "plain": []}
    for _ in range(rounds):
        seconds["ours"] += in_a_fresh_process(time_ours, shape, steps, threads)
        seconds["plain"] += in_a_fresh_process(time_plain, shape, steps, threads)
    medians = {side: median(values) for side, values in seconds.items()}
    return {
        "patch_px": shape.patch_size,
        "batch": shape.batch_size,
        "ratio": round(medians["plain"] / medians["ours"], 2),
        "sides": {
            side: {
                "median_seconds": round(medians[side], 4),
                "steps_per_second": round(1 / medians[side], 3),
                "seconds": [round(value, 4) for value in values],
            }
            for side, values in seconds.items()
        },
    }


app = cyclopts.App(help=__doc__)


@app.default
def main(
    *,
    photos: Path,
    cache: Path | None = None,
    steps: int = 20,
    rounds: int = 3,
    threads: int | None = None,
    out: Path = Path("benchmarks/results/training.json"),
) -> None:
    """Time training steps, ours against a plain float32 loop.

    Args:
        photos: Folder of clean photographs, for the share of time spent waiting for data.
        cache: Folder for decoded photographs; a temporary one if not given.
        steps: Timed steps of each process.
        rounds: Processes of each side, taken in turn.
        threads: CPU threads; all cores if not given.
        out: Where the times go (JSON).
    """
    count = threads or len(os.sched_getaffinity(0))
    about = provenance()
    about["versions"]["torch"] = torch.__version__
    table = Table("patches", "ours, s", "plain, s", "ratio", "on photographs, s", "waiting for data")
    results = []
    with tempfile.TemporaryDirectory() as folder:
        decoded = cache if cache is not None else Path(folder)
        for shape in SHAPES:
            result = race(shape, steps, rounds, count)
            loader = in_a_fresh_process(waiting_share, photos, decoded, shape, steps, count)
            results.append(result | {"on_photographs": loader})
            sides = (f"{result['sides'][side]['median_seconds']:.3f}" for side in SIDES)
            share = (f"{loader['median_seconds']:.3f}", f"{loader['waiting']:.1%}")
            name = f"{shape.batch_size} of {shape.patch_size} × {shape.patch_size}"
            table.add_row(name, *sides, f"{result['ratio']:.2f}", *share)
    Console().print(table)
    document = {
        "benchmark": "training",
        **about,
        "command": command(),
        "sides": SIDES,
        "network": asdict(camera().network),
        "loss": camera().loss,
        "threads": count,
        "rounds": rounds,
        "steps_per_round": steps,
        "results": results,
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    app()

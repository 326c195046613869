"""From a finished run to a weights file to ship: float16, with a card that tells all there is to know.

``python -m alen.training.release RUN OUT.safetensors --hardware TEXT --data TEXT --limits TEXT --command TEXT``
"""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import cyclopts
import torch

from alen.errors import TrainingError
from alen.training.config import TrainingConfig
from alen.training.loop import build_network, readable_scores
from alen.training.sources import Photographs
from alen.weights import load_weights, save_weights

_FIRST = 5
"""Steps whose losses the card tells."""

app = cyclopts.App(help=__doc__)


@app.default
def release(
    run: Path,
    out: Path,
    /,
    *,
    hardware: str,
    data: str,
    limits: str,
    command: str,
    earlier_steps: int = 0,
    first: Path | None = None,
    start: Path | None = None,
    share: float = 0.75,
    photos: Path | None = None,
    cache: Path | None = None,
) -> None:
    """Write the weights of a run with their card, under the licence of the project.

    A run that started from weights can be averaged with them: "Robust fine-tuning of zero-shot models", Wortsman et
    al., 2022, https://arxiv.org/abs/2109.01903. The average is judged anew, for which it takes the photographs.

    Args:
        run: Folder of the run, as `alen train` left it.
        out: The weights file to write; float16, half the size.
        hardware: What it was trained on, and for how long.
        data: What it was trained on, and under which licences.
        limits: Where it is known not to work well.
        command: What trains it, as a user would type it.
        earlier_steps: Steps behind the weights that the run started from.
        first: Folder of the run that the command begins with, if it is not this one; the card tells its first losses.
        start: The weights that the run started from, if they are averaged with its last.
        share: Of the last weights in the average.
        photos: The photographs of the run, to judge the average.
        cache: Folder for decoded photographs; run/decoded if not given.
    """
    weights = load_weights(run / "weights.safetensors")
    steps = _steps(run)
    if len(steps) < weights.facts.steps or int(steps[0]["step"]) != 1:
        raise TrainingError(f"{run}: log.csv does not tell of every step. Release a run that is whole.")
    settings = json.loads((run / "config.json").read_text(encoding="utf-8"))["config"]
    if weights.facts.steps != settings["steps"]:
        raise TrainingError(f"{run}: {weights.facts.steps:,} of {settings['steps']:,} steps are done. Finish it first.")
    arrays, scores = weights.arrays, weights.facts.scores
    if start is not None:
        before = load_weights(start)
        if photos is None or before.config != weights.config:
            raise TrainingError("An average takes weights of one network, and the photographs to judge it (--photos).")
        arrays = {name: (1 - share) * before.arrays[name] + share * array for name, array in arrays.items()}
        config = TrainingConfig(network=weights.config)
        network = build_network(config.network)
        network.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})
        judge = Photographs(photos, cache if cache is not None else run / "decoded").validation(config)
        scores = readable_scores(judge.score(network, config.precision))
    facts = replace(
        weights.facts,
        steps=earlier_steps + weights.facts.steps,
        scores=scores,
        licence="Apache-2.0",
        hardware=hardware,
        data=data,
        limits=limits,
        command=command,
        first_losses=[float(step["loss"]) for step in (_steps(first) if first is not None else steps)[:_FIRST]],
    )
    save_weights(out, arrays, weights.config, facts, half=True)


def _steps(run: Path) -> list[dict[str, str]]:
    """Return the log of a run."""
    with (run / "log.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


if __name__ == "__main__":
    app()

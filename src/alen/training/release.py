"""From a finished run to a weights file to ship: float16, with a card that tells all there is to know.

``python -m alen.training.release RUN OUT.safetensors --hardware TEXT --data TEXT --limits TEXT --command TEXT``
"""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import cyclopts

from alen.errors import TrainingError
from alen.weights import load_weights, save_weights

_FIRST = 5
"""Steps whose losses the card tells."""

app = cyclopts.App(help=__doc__)


@app.default
def release(
    run: Path, out: Path, /, *, hardware: str, data: str, limits: str, command: str, earlier_steps: int = 0
) -> None:
    """Write the weights of a run with their card.

    Args:
        run: Folder of the run, as `alen train` left it.
        out: The weights file to write; float16, half the size.
        hardware: What it was trained on, and for how long.
        data: What it was trained on, and under which licences.
        limits: Where it is known not to work well.
        command: What trains it, as a user would type it.
        earlier_steps: Steps behind the weights that the run started from.
    """
    weights = load_weights(run / "weights.safetensors")
    with (run / "log.csv").open(encoding="utf-8", newline="") as file:
        steps = list(csv.DictReader(file))
    if len(steps) < weights.facts.steps or int(steps[0]["step"]) != 1:
        raise TrainingError(f"{run}: log.csv does not tell of every step. Release a run that is whole.")
    settings = json.loads((run / "config.json").read_text(encoding="utf-8"))["config"]
    if weights.facts.steps != settings["steps"]:
        raise TrainingError(f"{run}: {weights.facts.steps:,} of {settings['steps']:,} steps are done. Finish it first.")
    facts = replace(
        weights.facts,
        steps=earlier_steps + weights.facts.steps,
        hardware=hardware,
        data=data,
        limits=limits,
        command=command,
        first_losses=[float(step["loss"]) for step in steps[:_FIRST]],
    )
    save_weights(out, weights.arrays, weights.config, facts, half=True)


if __name__ == "__main__":
    app()

"""A small run on a miniature See-in-the-Dark: a script for the tests that kill processes, and for torchrun.

Usage: real_run.py DATA CACHE RUN BATCH [--resume] [--ahead]. Each process leaves its number in RUN.pids.
"""

from __future__ import annotations

import dataclasses
import os
import sys
from pathlib import Path

from alen.config import AlenConfig
from alen.training.config import Stage, TrainingConfig
from alen.training.loop import train
from alen.training.recipes import sid_sony, sid_unet_fuji
from alen.training.sources import see_in_the_dark


def small(recipe: TrainingConfig, *, batch: int = 1, steps: int = 6) -> TrainingConfig:
    """Return a recipe with a tiny network and few, small patches."""
    network = recipe.network
    widths = (4, 4, 8, 8) if isinstance(network, AlenConfig) else (4, 4, 4, 8, 8)
    return dataclasses.replace(
        recipe,
        network=dataclasses.replace(network, widths=widths),  # type: ignore[arg-type]
        stages=(Stage(share=1.0, patch_size=16, batch_size=batch),),
        epochs=None,
        steps=steps,
        checkpoint_every=2,
        validate_every=steps,
    )


SONY, FUJI = sid_sony, sid_unet_fuji
"""One recipe of each network."""


def main(data: str, cache: str, run: str, batch: str, *options: str) -> None:
    folder = Path(run + ".pids")
    folder.mkdir(exist_ok=True)
    (folder / os.environ.get("RANK", "0")).write_text(str(os.getpid()))
    source = see_in_the_dark(Path(data), "sony", Path(cache))
    config = small(SONY(), batch=int(batch), steps=40)
    train(config, source, Path(run), resume="--resume" in options, threads=1, workers=int("--ahead" in options))


if __name__ == "__main__":
    main(*sys.argv[1:])

"""How fast is non-local means: ours against scikit-image's fast mode, on one megapixel of gray.

``python -m benchmarks.nonlocal_means`` runs both in turn on the same noisy picture (the program's own night scene) with
the same patch, window, strength and noise, ours on one thread and on all cores; scikit-image has one. The median of the
runs goes to ``benchmarks/results/nonlocal_means.json``, beside the time of the processor, which other programs on the
machine disturb less.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Any

import cyclopts
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from skimage.restoration import denoise_nl_means

from alen.classical.nonlocal_means import nonlocal_means, recommended_settings
from alen.color import eotf_inverse_srgb
from alen.data.scene import night_scene
from alen.metrics import psnr
from benchmarks.quality import command, provenance


def noisy_scene(side: int, sigma: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the luminance of the night scene, display-encoded in [0, 1], clean and with white noise, (side, side)."""
    luminance = night_scene(side, side) @ np.array([0.2126, 0.7152, 0.0722], dtype=np.float32)
    clean = eotf_inverse_srgb(np.clip(luminance, 0, 1))
    noise = np.random.default_rng(0).standard_normal(clean.shape).astype(np.float32)
    return clean, clean + np.float32(sigma) * noise


def race(level: float, side: int, runs: int) -> dict[str, Any]:
    """Return the settings, times and PSNR of all methods at one noise level, given on a scale of 255."""
    clean, noisy = noisy_scene(side, level / 255)
    settings = recommended_settings(level / 255, data_range=1.0, color=False)
    cores = len(os.sched_getaffinity(0))

    def scikit_image() -> NDArray[np.float32]:
        picture: NDArray[np.float32] = denoise_nl_means(
            noisy, settings.patch, settings.reach, h=settings.h, sigma=settings.sigma, fast_mode=True
        )
        return picture

    methods: dict[str, Callable[[], NDArray[np.float32]]] = {
        "scikit-image, fast mode, 1 thread": scikit_image,
        "alen, 1 thread": lambda: nonlocal_means(noisy, settings, threads=1),
        f"alen, {cores} threads": lambda: nonlocal_means(noisy, settings, threads=cores),
    }
    times: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in methods}
    scores: dict[str, float] = {}
    for index in range(runs + 1):  # the first is the warm-up
        for name, method in methods.items():
            wall, processor = time.perf_counter(), time.process_time()
            picture = method()
            if index > 0:
                times[name][0].append(time.perf_counter() - wall)
                times[name][1].append(time.process_time() - processor)
            scores[name] = psnr(picture, clean, data_range=1.0)
    return {
        "sigma_255": level,
        "settings": asdict(settings),
        "noisy_psnr_db": round(psnr(noisy, clean, data_range=1.0), 2),
        "methods": {
            name: {
                "median_seconds": round(median(wall), 3),
                "seconds": [round(value, 3) for value in wall],
                "median_processor_seconds": round(median(processor), 3),
                "psnr_db": round(scores[name], 2),
            }
            for name, (wall, processor) in times.items()
        },
    }


app = cyclopts.App(help=__doc__)


@app.default
def main(
    *,
    side: int = 1024,
    sigma: tuple[float, ...] = (10.0, 25.0),
    runs: int = 5,
    out: Path = Path("benchmarks/results/nonlocal_means.json"),
) -> None:
    """Time non-local means against scikit-image.

    Args:
        side: Of the square picture in pixels.
        sigma: Noise levels on a scale of 255; patch, window and strength are those recommended for them.
        runs: Timed runs of each method, after one that is not timed.
        out: Where the times go (JSON).
    """
    about = provenance()
    about["versions"]["scikit-image"] = metadata.version("scikit-image")
    results = [race(level, side, runs) for level in sigma]
    table = Table("σ", "patch", "window", "method", "seconds", "processor seconds", "PSNR in dB")
    for result in results:
        settings = result["settings"]
        for name, measured in result["methods"].items():
            row = (result["sigma_255"], settings["patch"], settings["window"], name)
            figures = (measured["median_seconds"], measured["median_processor_seconds"], measured["psnr_db"])
            table.add_row(*(str(cell) for cell in (*row, *figures)))
    Console().print(table)
    document = {"picture": [side, side], "runs": runs, "command": command(), **about, "results": results}
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    app()

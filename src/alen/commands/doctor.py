"""`alen doctor`: what this computer can do with pictures, and what frames of it will take."""

from __future__ import annotations

import json
import platform
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Final, Literal

from cyclopts import Parameter

from alen import __version__
from alen.commands.console import OK, print_table, waiting

if TYPE_CHECKING:
    from alen.doctor import Forecast

_SIZES_MP: Final = (6, 12, 24, 45, 61, 100)
"""Megapixels of common cameras, of which a forecast is shown."""

_PACKAGES: Final = ("openvino", "numpy", "rawpy", "imagecodecs", "torch", "onnx")
"""Packages whose versions matter, the last two of them optional."""


def doctor(
    *,
    model: str = "alen",
    device: str = "CPU",
    precision: Literal["auto", "bfloat16", "float32"] = "auto",
    threads: int | None = None,
    as_json: Annotated[bool, Parameter(name="--json", negative=(), show_default=False)] = False,
) -> int:
    """Show devices and precisions, and measure what frames take here.

    Enhances three made-up frames, which takes some seconds, and tells from them
    how long frames of common sizes will take, and how much memory.

    Args:
        model: Name of shipped weights (see "alen models"), or a weights file.
        device: Device to measure, as of "alen enhance".
        precision: Arithmetic to measure; "auto" is what "alen enhance" takes.
        threads: Processor cores to measure, as of "alen enhance".
        as_json: Print JSON instead of tables.
    """
    from alen.cores import usable_cores
    from alen.doctor import devices, measure, system, total_memory_bytes
    from alen.enhance import ENSEMBLE_BYTES
    from alen.weights import DEFAULT, FAST, shipped_names

    found, memory = devices(), total_memory_bytes()
    versions = {"alen": __version__, "python": platform.python_version()} | _versions()
    cores = usable_cores()
    if not as_json:
        rows = [("system", system()), ("cores", str(cores)), ("memory", _gigabytes(memory))]
        rows += [("versions", ", ".join(f"{name} {number}" for name, number in versions.items()))]
        for entry in found:
            kinds = "bfloat16 and float32" if entry.has_bfloat16 else "float32"
            rows.append((f"device {entry.name}", f"{entry.description}; {kinds}"))
        print_table("This computer", rows)
    with waiting("Enhancing three made-up frames ..."):
        measurements, forecasts = measure(
            model=model, device=device, precision=precision, threads=threads, forecast_mp=_SIZES_MP
        )
    small, large = measurements[0], measurements[-1]
    per_megapixel = (large.seconds - small.seconds) / (large.megapixels - small.megapixels)
    used = precision
    if precision == "auto":
        names = (device.lower(), f"{device.lower()}:0")  # "cuda" is the first
        has_bfloat16 = any(entry.has_bfloat16 for entry in found if entry.name.lower() in names)
        used = "bfloat16" if has_bfloat16 else "float32"
    if as_json:
        facts = {
            "system": system(),
            "cores": cores,
            "memory_bytes": memory,
            "versions": versions,
            "devices": [asdict(entry) for entry in found],
            "model": model,
            "device": device,
            "precision": used,
            "threads": threads,
            "seconds_per_megapixel": round(per_megapixel, 4),
            "measurements": [asdict(entry) for entry in measurements],
            "forecasts": [asdict(entry) for entry in forecasts],
        }
        print(json.dumps(facts, indent=2))
        return OK
    on_cores = "" if threads is None else f" on {threads} core{'s' if threads > 1 else ''}"
    timed = [("network", f"{model} on {device} in {used}{on_cores}"), ("a megapixel", f"{per_megapixel:.2f} s")]
    timed += [(f"{entry.megapixels:g} MP", _expectation(entry, memory)) for entry in forecasts]
    megabytes = f"{ENSEMBLE_BYTES} MB a megapixel more"  # bytes a pixel
    timed.append(("--ensemble 2|4|8", f"so many times the seconds, {megabytes}"))
    if used == "float32" and model == DEFAULT and FAST in shipped_names():
        timed.append(("faster", f"--model {FAST} takes a third of the operations; see docs/results.md"))
    print_table("Frames, the first of a call", timed)
    return OK


def _versions() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    versions = {}
    for name in _PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "not installed"
    return versions


def _expectation(entry: Forecast, memory: int | None) -> str:
    """Return time and memory of a frame, and whether there is as much."""
    words = f"{entry.seconds:.1f} s, {_gigabytes(entry.peak_bytes)}"
    if entry.peak_bytes is not None and memory is not None and entry.peak_bytes > 0.9 * memory:
        words += ": more than there is"
    return words


def _gigabytes(count: int | None) -> str:
    return f"{count / 1e9:.1f} GB" if count is not None else "memory unknown"

"""What this computer can do: devices, precisions, and how long and how much memory frames take, measured."""

from __future__ import annotations

import importlib.util
import io
import multiprocessing
import os
import platform
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np

from alen.cfa import FilterArray, reference
from alen.engines import Precision
from alen.engines.openvino import available_devices
from alen.weights import DEFAULT

SIZES_MP: Final = (4.0, 12.0, 20.0)
"""Megapixels of the frames that are measured. Of `alen` in bfloat16 the first features are kept up to the second; of
the third they are made twice (`alen.engines.bands`), as of all that are larger."""


@dataclass(frozen=True)
class Device:
    """Something to compute on."""

    name: str
    """As --device takes it."""
    description: str
    """Its maker's name for it."""
    has_bfloat16: bool
    """Whether it computes in bfloat16 unless told otherwise."""


@dataclass(frozen=True)
class Measurement:
    """A frame that was enhanced."""

    megapixels: float
    """Size of its mosaic, in millions of pixels."""
    seconds: float
    """From the decoded mosaic to the developed picture, the network's compilation included."""
    peak_bytes: int | None
    """Of the process so far; None where the system does not tell."""
    needed_bytes: int | None = None
    """What the program reckons with, see `alen.enhance.Enhancer.needed_bytes`."""


@dataclass(frozen=True)
class Forecast:
    """What a frame is expected to take."""

    megapixels: float
    """Size of its mosaic, in millions of pixels."""
    seconds: float
    """As of `Measurement`, not below 0."""
    peak_bytes: int | None
    """Of the whole process; None where the system does not tell."""


def devices() -> list[Device]:
    """Return what the engines can compute on; those of torch, which takes seconds to import, only if it is there."""
    found = available_devices()
    if importlib.util.find_spec("torch") is not None:
        from alen.engines import torch

        found |= torch.available_devices()
    return [Device(name, *facts) for name, facts in found.items()]


def total_memory_bytes() -> int | None:
    """Return the computer's memory, or None if the system does not tell."""
    names = os.sysconf_names if hasattr(os, "sysconf_names") else {}
    if "SC_PHYS_PAGES" not in names or "SC_PAGE_SIZE" not in names:
        return None
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def measure(
    *,
    model: str = DEFAULT,
    device: str = "CPU",
    precision: Precision = "auto",
    threads: int | None = None,
    sizes_mp: Sequence[float] = SIZES_MP,
    forecast_mp: Sequence[float] = (),
) -> tuple[list[Measurement], list[Forecast]]:
    """Enhance made-up frames of rising size in a process of their own.

    Args:
        model: Name of shipped weights, or the path of a weights file.
        device: As of `alen.enhance.Enhancer`.
        precision: As of `alen.enhance.Enhancer`.
        threads: As of `alen.enhance.Enhancer`.
        sizes_mp: Megapixels of the frames.
        forecast_mp: Megapixels of other frames, of which a forecast is wanted.

    Returns:
        What each frame took, and the forecasts.

    Raises:
        WeightsError: The weights cannot be used.
        DeviceError: The device is not there, or cannot compute in that precision.
    """
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_measure, model, device, precision, threads, tuple(sizes_mp), tuple(forecast_mp)).result()


def forecast(measurements: Sequence[Measurement], megapixels: float, needed_bytes: int | None) -> Forecast:
    """Return what a frame is expected to take, from what at least two others took.

    Time lies on the line through its two neighbors in size; above the largest it grows in proportion from what a frame
    of no size would take, by the two smallest. Memory is what the program reckons with, and what the frame next in size
    took beyond that.
    """
    small, second, largest = measurements[0], measurements[1], measurements[-1]
    start = _line(small, second, 0.0)
    if megapixels <= largest.megapixels:
        pairs = pairwise(measurements)
        below, above = next((a, b) for a, b in pairs if megapixels <= b.megapixels)
        seconds = _line(below, above, megapixels)
    else:
        seconds = start + (largest.seconds - start) * megapixels / largest.megapixels
    nearest = min(measurements, key=lambda entry: abs(entry.megapixels - megapixels))
    peak = None
    if needed_bytes is not None and nearest.peak_bytes is not None and nearest.needed_bytes is not None:
        peak = needed_bytes + nearest.peak_bytes - nearest.needed_bytes
    return Forecast(megapixels, max(seconds, 0.0), peak)


def _line(a: Measurement, b: Measurement, megapixels: float) -> float:
    """Return the seconds at a size on the line through two measurements."""
    return a.seconds + (megapixels - a.megapixels) / (b.megapixels - a.megapixels) * (b.seconds - a.seconds)


def _measure(
    model: str,
    device: str,
    precision: Precision,
    threads: int | None,
    sizes_mp: tuple[float, ...],
    forecast_mp: tuple[float, ...],
) -> tuple[list[Measurement], list[Forecast]]:
    from alen.enhance import Enhancer
    from alen.raw import read_raw

    enhancer = Enhancer(model, device=device, precision=precision, threads=threads)
    cfa = enhancer.weights.config.cfa
    enhancer.enhance(read_raw(made_up_dng(0.1, cfa)), ratio=100)  # whatever is done once in a process
    measurements = []
    for megapixels in sizes_mp:
        raw = read_raw(made_up_dng(megapixels, cfa))
        start = time.perf_counter()
        enhancer.finish(raw, ratio=100)
        seconds = time.perf_counter() - start
        needed = enhancer.needed_bytes(*raw.mosaic.shape)
        measurements.append(Measurement(megapixels, seconds, peak_bytes_of_process(), needed))
        del raw
    forecasts = [forecast(measurements, mp, enhancer.needed_bytes(*_made_up_shape(mp))) for mp in forecast_mp]
    return measurements, forecasts


def _made_up_shape(megapixels: float) -> tuple[int, int]:
    """Return the sides of a made-up frame, 2 : 3."""
    height = round((megapixels * 1e6 / 1.5) ** 0.5 / 16) * 16
    return height, height * 3 // 2


def made_up_dng(megapixels: float, cfa: FilterArray = "bayer") -> bytes:
    """Return a dark, noisy DNG with sides of 3 : 2, of a Bayer or X-Trans sensor."""
    from alen.dng import write_cfa_dng

    mosaic = np.random.default_rng(0).integers(500, 600, _made_up_shape(megapixels), dtype=np.uint16)
    file = io.BytesIO()
    write_cfa_dng(
        file,
        mosaic,
        cfa=reference(cfa),
        black_level=(512.0,) * 4,
        white_level=16_383,
        white_balance=(2.0, 1.0, 1.5),
        xyz2cam=np.eye(3),
        compress=False,
    )
    return file.getvalue()


def peak_bytes_of_process() -> int | None:
    """Return the largest memory of this process so far."""
    status = Path("/proc/self/status")
    if status.is_file():  # not getrusage: there it starts with the memory of the process that started this one
        for line in status.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    if sys.platform == "darwin":
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return None


def system() -> str:
    """Return operating system and machine in words."""
    return f"{platform.system()} {platform.release()}, {platform.machine()}"

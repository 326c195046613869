"""How good are the pictures: networks against LibRaw and tuned non-local means on held-out photographs.

``python -m benchmarks.quality --photos DIR`` exposes the held-out tenth of the photographs (those that `alen train`
never trains on) through the calibrated noise of five cameras, at several exposure ratios and in all four Bayer phases,
and lets every method make linear camera RGB of the same mosaics. It writes one record per image (JSON), a section of
``docs/results.md`` and a sheet of crops. With ``--cfa xtrans`` the sensors have Fuji's filter array; records, section
and sheet are others.
"""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field, replace
from importlib import metadata
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

import cyclopts
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from alen import __version__
from alen.cameras import CAMERAS, CameraNoise
from alen.cfa import BAYER_PHASES, CFA, FilterArray, pack_any, reference
from alen.classical.pipeline import libraw, nonlocal_means_pipeline
from alen.color import develop, eotf_inverse_srgb
from alen.config import AlenConfig
from alen.data.photos import PhotoCache, Scene, find_photos, sample_camera, split, unprocess
from alen.defective_pixels import find_defective_pixels
from alen.demosaic import demosaic_linear
from alen.engines import MULTIPLE, Engine, PlanesArray, Precision
from alen.engines.openvino import OpenVinoEngine
from alen.evaluate.summary import bootstrap_mean
from alen.levels import amplify, normalize, saturation
from alen.metrics import psnr, ssim
from alen.noise import QUANTIZATION_VARIANCE_DN2, add_noise
from alen.noise_level import estimate_noise_level
from alen.picture import write_picture
from alen.recovery import Recovery
from alen.self_ensemble import Turn, mean_stripes
from alen.tiling import Padding
from alen.weights import Weights, find_weights, load_weights, shipped_for, shipped_names

_MARKERS: Final = {
    "bayer": ("<!-- quality: begin -->", "<!-- quality: end -->"),
    "xtrans": ("<!-- quality, X-Trans: begin -->", "<!-- quality, X-Trans: end -->"),
}
"""By filter array, what stands around the section of the results page that this program owns."""

EngineName = Literal["openvino", "torch"]

_ALONE: Final = ", network alone"
"""Ends the name of a network's row without what is given back."""

_ALONE_LINE: Final = (
    "- **Network alone**: without the detail that `alen enhance` gives back where it stands out of the noise, which it "
    "estimates from the frame, and with the single pixels that it replaces before."
)

_ENSEMBLE: Final = ", ensemble of "
"""Ends, before a number, the name of a network's row as the mean of so many orientations."""

_ENSEMBLE_LINE: Final = (
    "- **Ensemble of n**: the mean of the pictures of n orientations of the frame, n times the time "
    "(`alen enhance --ensemble n`)."
)

OPPONENTS: Final = ("LibRaw", "Non-local means")
"""The methods that are no networks."""


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """Everything that decides which images are made; two results compare only if their protocols are equal."""

    filter_array: FilterArray = "bayer"
    """The sensors' filter array."""
    photographs: str = "every tenth photograph of each kind, sorted by name (alen.data.photos.split)"
    """Which photographs."""
    crop_px: int = 512
    """Side of the central square of each photograph, at most, in pixels of the mosaic."""
    cameras: tuple[str, ...] = tuple(camera.name for camera in CAMERAS[:5])
    """Cameras whose calibrated noise is used, each for every photograph."""
    iso: int = 1600
    """ISO speed of the noise: typical parameters, no black drift."""
    ratios: tuple[float, ...] = (1, 8, 32, 100, 250, 300)
    """Exposure ratios; every method is told the ratio."""
    phases: tuple[str, ...] = BAYER_PHASES
    """Phases of the filter array, taken in turn over photographs and cameras. Of X-Trans by the rows and columns that
    are cropped from `alen.cfa.CFA.xtrans`: "1+4"."""
    seed: int = 0
    """Seed of color matrices, white balances and noise, with the photograph, the camera and the ratio."""
    metric: str = (
        "PSNR and SSIM (Gaussian window 11, sigma 1.5) of camera RGB clipped to [0, 1] and display-encoded with the "
        "sRGB curve, against the noiseless truth; float, not quantized to 8 bits; mean over images"
    )
    """What is measured."""

    @classmethod
    def xtrans(cls, **settings: Any) -> Self:
        """Return the protocol of X-Trans: of two cameras' noise, because LibRaw and the filter take long."""
        phases = ("0+0", "1+4", "2+2", "5+3")
        cameras = tuple(camera.name for camera in CAMERAS[:5:3])
        return cls(**({"filter_array": "xtrans", "phases": phases, "cameras": cameras} | settings))

    def cfa(self, index: int) -> CFA:
        """Return the pattern of the image with a number."""
        phase = self.phases[index % len(self.phases)]
        if self.filter_array == "bayer":
            return CFA.bayer(phase)
        rows, _, columns = phase.partition("+")
        return CFA.xtrans().shifted(int(rows), int(columns))


@dataclass(frozen=True)
class Exposure:
    """One dark frame as a method gets it."""

    mosaic: NDArray[np.uint16]
    """(H, W) in DN."""
    black_level_dn: float
    """Of all colors."""
    white_level_dn: float
    """Where the sensor saturates."""
    normalized: NDArray[np.float32]
    """(H, W) the same, (DN − black)/(white − black), signed."""
    cfa: CFA
    """Its pattern."""
    white_balance: tuple[float, float, float]
    """Gains R, G, B; green = 1."""
    ratio: float
    """Exposure ratio."""
    gain: float
    """System gain in normalized units per electron; only the classical pipeline uses it."""
    read_sigma: float
    """Standard deviation of all noise but the photons', normalized; only the classical pipeline uses it."""

    def turned(self, turn: Turn) -> Exposure:
        """Return it in another orientation."""
        mosaic, normalized = (np.ascontiguousarray(turn.of(array)) for array in (self.mosaic, self.normalized))
        return replace(self, mosaic=mosaic, normalized=normalized, cfa=turn.cfa(self.cfa, *self.mosaic.shape))


Method = Callable[[Exposure], NDArray[np.float32]]
"""Makes linear camera RGB (H, W, 3) of a dark frame: white-balanced, × ratio."""


@dataclass(frozen=True)
class Record:
    """The scores of one method on one image."""

    photograph: str
    camera: str
    phase: str
    ratio: float
    method: str
    psnr_db: float
    ssim: float
    seconds: float


@dataclass(frozen=True)
class Sheet:
    """One row of the sheet of crops: 8-bit sRGB squares by caption."""

    ratio: float
    camera: str
    crops: Mapping[str, NDArray[np.uint8]]


@dataclass
class _Worker:
    """What a worker process keeps from task to task."""

    protocol: Protocol
    cache: PhotoCache
    methods: Mapping[str, Method]
    sheets: Mapping[float, tuple[int, int]]
    """For each ratio shown on the sheet the photograph and camera it shows."""


@dataclass(frozen=True)
class Result:
    """What a task returns: records of one photograph through one camera at all ratios."""

    records: list[Record] = field(default_factory=list)
    sheets: list[Sheet] = field(default_factory=list)


def run_libraw(exposure: Exposure) -> NDArray[np.float32]:
    """LibRaw's processing of the amplified mosaic."""
    e = exposure
    return libraw(e.normalized, e.cfa, e.white_balance, e.ratio, gain=e.gain, read_sigma=e.read_sigma)


def run_nonlocal_means(exposure: Exposure) -> NDArray[np.float32]:
    """Variance stabilization, non-local means, demosaicing."""
    e = exposure
    return nonlocal_means_pipeline(e.normalized, e.cfa, e.white_balance, e.ratio, gain=e.gain, read_sigma=e.read_sigma)


def demosaic_only(exposure: Exposure) -> NDArray[np.float32]:
    """The amplified mosaic, demosaicked and nothing else: what the methods start from."""
    padding, planes = _planes(exposure, exposure.cfa.size)
    return padding.crop(demosaic_linear(planes))


def network(weights: Weights, engine: EngineName, precision: Precision, *, shipped: bool, ensemble: int = 1) -> Method:
    """Return the method that runs a network on one thread; the See-in-the-Dark U-Net, for torch alone, in torch.

    With ``shipped`` as `alen enhance` does: defective pixels are replaced before, lost detail is given back after it.
    With ``ensemble`` the mean of so many orientations.
    """
    runner: Engine
    if engine == "openvino" and isinstance(weights.config, AlenConfig):
        runner = OpenVinoEngine(weights, precision=precision, threads=1)
    else:
        runner = _torch_engine(weights, precision)

    def run(exposure: Exposure) -> NDArray[np.float32]:
        if shipped:
            exposure = _repaired(exposure)

        def turned(turn: Turn) -> tuple[PlanesArray, Padding]:
            frame = exposure.turned(turn)
            padding, planes = _planes(frame, frame.cfa.packed_side * MULTIPLE, leaves_room=ensemble > 1)
            return PlanesArray(planes), padding

        planes, padding = turned(Turn())
        if ensemble == 1:
            picture = runner.run(planes.array)
        else:
            picture = np.concatenate(list(mean_stripes(runner, turned, ensemble)))
        if shipped:
            white = saturation(exposure.cfa.kind, exposure.white_balance, exposure.ratio)
            noise = estimate_noise_level(planes, white)
            picture = Recovery(planes, white, noise).push(picture)
        return padding.crop(picture)

    return run


def networks(
    weights: Weights,
    engine: EngineName,
    precision: Precision,
    *,
    shipped: bool,
    alone: bool = False,
    ensembles: Sequence[int] = (),
) -> dict[str, Method]:
    """Return the methods of one network by their names: those that ship as they do, all others alone.

    With ``alone`` those that ship a second time, without what is done before and after the network; with ``ensembles``
    all again as means of so many orientations.
    """
    methods = [network(weights, engine, precision, shipped=shipped)]
    if shipped and alone:
        methods.append(network(weights, engine, precision, shipped=False))
    methods += [network(weights, engine, precision, shipped=shipped, ensemble=count) for count in ensembles]
    names = method_names(weights.name, shipped=shipped, alone=alone, ensembles=ensembles)
    return dict(zip(names, methods, strict=True))


def method_names(name: str, *, shipped: bool, alone: bool = False, ensembles: Sequence[int] = ()) -> list[str]:
    """Return the names that `networks` gives the methods of a network."""
    names = [name]
    if shipped and alone:
        names.append(name + _ALONE)
    return names + [f"{name}{_ENSEMBLE}{count}" for count in ensembles]


def _repaired(exposure: Exposure) -> Exposure:
    """Return a frame without its defective pixels, and what the noise made to look like such."""
    e = exposure
    mosaic = find_defective_pixels(e.mosaic, e.cfa, e.white_balance).replaced(e.mosaic)
    normalized = normalize(mosaic, e.cfa, (e.black_level_dn,) * 4, e.white_level_dn)
    return replace(e, mosaic=mosaic, normalized=normalized)


def _torch_engine(weights: Weights, precision: Precision) -> Engine:
    from alen.engines.torch import TorchEngine

    return TorchEngine(weights, precision=precision, threads=1)


def _planes(exposure: Exposure, multiple: int, *, leaves_room: bool = False) -> tuple[Padding, NDArray[np.float32]]:
    amplified = amplify(exposure.normalized, exposure.cfa, exposure.white_balance, exposure.ratio)
    height, width = amplified.shape
    padding = Padding.to_reference(height, width, exposure.cfa, multiple, leaves_room=leaves_room)
    return padding, pack_any(padding.pad(amplified), reference(exposure.cfa.kind))


# ---------------------------------------------------------------------------------------------------------------------
# One photograph through one camera
# ---------------------------------------------------------------------------------------------------------------------

_worker: _Worker | None = None
"""What this process has prepared; set once by `_start_worker`."""


def _start_worker(
    protocol: Protocol,
    photos: Sequence[Path],
    cache_folder: Path,
    weights: Sequence[str],
    engine: EngineName,
    precision: Precision,
    alone: bool,
    ensembles: Sequence[int],
    sheets: Mapping[float, tuple[int, int]],
) -> None:
    """Prepare a process: photographs and methods."""
    global _worker
    threading.Thread(target=_end_with_parent, daemon=True).start()
    methods: dict[str, Method] = dict(zip(OPPONENTS, (run_libraw, run_nonlocal_means), strict=True))
    for name in weights:
        loaded = load_weights(find_weights(name))
        shipped = name in shipped_names()
        methods |= networks(loaded, engine, precision, shipped=shipped, alone=alone, ensembles=ensembles)
    _worker = _Worker(protocol, PhotoCache(photos, cache_folder), methods, sheets)


def _end_with_parent() -> None:
    """Wait for the main process to end, and end this one with it: a killed run leaves nothing behind."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "only the pool's processes come here"
    parent.join()
    os._exit(1)


def _run_task(photo: int, camera: int) -> Result:
    """Score every method at every ratio on one photograph through one camera."""
    assert _worker is not None, "the pool starts its processes with _start_worker"
    protocol = _worker.protocol
    scene = central_scene(_worker.cache, photo, protocol)
    cfa = protocol.cfa(photo + camera)
    model = next(c for c in CAMERAS if c.name == protocol.cameras[camera])
    result = Result()
    for ratio in protocol.ratios:
        rng = np.random.default_rng((protocol.seed, photo, camera, round(ratio)))
        exposure, truth = expose(scene, ratio, cfa, model, protocol.iso, rng)
        reference = _encoded(truth)
        pictures: dict[str, NDArray[np.float32]] = {}
        for name, method in _worker.methods.items():
            start = time.perf_counter()
            pictures[name] = method(exposure)
            seconds = time.perf_counter() - start
            picture = _encoded(pictures[name])
            record = Record(
                photograph=_worker.cache.photos[photo].name,
                camera=model.name,
                phase=protocol.phases[(photo + camera) % len(protocol.phases)],
                ratio=ratio,
                method=name,
                psnr_db=round(psnr(picture, reference, data_range=1.0), 4),
                ssim=round(ssim(picture, reference, data_range=1.0), 5),
                seconds=round(seconds, 4),
            )
            result.records.append(record)
        if _worker.sheets.get(ratio) == (photo, camera):
            shown = {"input, amplified": demosaic_only(exposure), **pictures, "truth": truth}
            crops = {name: _crop(picture, scene.cam2rgb) for name, picture in shown.items()}
            result.sheets.append(Sheet(ratio, model.name, crops))
    return result


def central_scene(cache: PhotoCache, index: int, protocol: Protocol) -> Scene:
    """Return the middle of a photograph as a scene, with a camera drawn for it."""
    whole = cache.whole(index)
    height, width = (min(protocol.crop_px, side // 2 * 2) for side in whole.shape[:2])
    top, left = (whole.shape[0] - height) // 2, (whole.shape[1] - width) // 2
    middle = whole[top : top + height, left : left + width]
    return unprocess(middle, *sample_camera(np.random.default_rng((protocol.seed, index))))


def _detailed(cache: PhotoCache, protocol: Protocol, count: int) -> list[int]:
    """Return the photographs whose middle, as the sheet shows it, has the most contrast; in their order."""
    contrasts = []
    for index in range(len(cache)):
        scene = central_scene(cache, index, protocol)
        contrasts.append(float(_crop(scene.rgb, scene.cam2rgb).std()))
    return sorted(sorted(range(len(cache)), key=lambda index: -contrasts[index])[:count])


def expose(
    scene: Scene, ratio: float, cfa: CFA, camera: CameraNoise, iso: float, rng: np.random.Generator
) -> tuple[Exposure, NDArray[np.float32]]:
    """Take a dark frame of a scene; returns it and its truth, linear camera RGB (H, W, 3)."""
    clean, truth = scene.expose(ratio, cfa)
    noise = camera.typical(iso)
    black = noise.black_level_dn
    span = noise.white_level_dn - black
    mosaic = add_noise(clean, cfa, noise, rng)
    normalized = normalize(mosaic, cfa, (black,) * 4, noise.white_level_dn)
    read_dn = math.sqrt(noise.read_sigma_dn**2 + noise.row_sigma_dn**2 + QUANTIZATION_VARIANCE_DN2)
    exposure = Exposure(
        mosaic=mosaic,
        black_level_dn=black,
        white_level_dn=noise.white_level_dn,
        normalized=normalized,
        cfa=cfa,
        white_balance=scene.white_balance,
        ratio=ratio,
        gain=noise.gain / span,
        read_sigma=read_dn / span,
    )
    return exposure, truth


def _encoded(camera_rgb: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return what is measured: clipped to [0, 1] and display-encoded."""
    return eotf_inverse_srgb(np.clip(camera_rgb, 0, 1))


def _crop(camera_rgb: NDArray[np.float32], cam2rgb: NDArray[np.float64], side: int = 192) -> NDArray[np.uint8]:
    """Return the developed middle of a picture, side × side pixels at 100 %, 8-bit sRGB."""
    top, left = ((n - side) // 2 for n in camera_rgb.shape[:2])
    middle = np.ascontiguousarray(camera_rgb[top : top + side, left : left + side])
    # a clip level of 1 shows every method what the measure sees: nothing above display white
    return np.rint(develop(np.clip(middle, 0, 1), cam2rgb, clip_level=1.0) * 255).astype(np.uint8)


# ---------------------------------------------------------------------------------------------------------------------
# All of them, and the report
# ---------------------------------------------------------------------------------------------------------------------


def run(
    protocol: Protocol,
    photos: Sequence[Path],
    weights: Sequence[str],
    *,
    engine: EngineName = "openvino",
    precision: Precision = "auto",
    alone: bool = False,
    ensembles: Sequence[int] = (),
    workers: int,
    console: Console,
) -> tuple[list[Record], list[Sheet]]:
    """Score LibRaw, non-local means and the networks; returns records and sheet rows in a fixed order."""
    tasks = [(photo, camera) for photo in range(len(photos)) for camera in range(len(protocol.cameras))]
    shown = [ratio for ratio in protocol.ratios if ratio > 1][-5:]
    results: dict[tuple[int, int], Result] = {}
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with tempfile.TemporaryDirectory() as folder, Progress(*columns, console=console) as progress:
        bar = progress.add_task("photographs × cameras", total=len(tasks))
        cache = PhotoCache(photos, Path(folder))  # decoded once, before the processes share the files
        sheets = {
            ratio: (photo, 0) for ratio, photo in zip(shown, _detailed(cache, protocol, len(shown)), strict=False)
        }
        prepared = (protocol, photos, Path(folder), weights, engine, precision, alone, ensembles, sheets)
        # spawned, not forked: LibRaw's threads do not survive a fork
        with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _start_worker, prepared) as pool:
            futures = {pool.submit(_run_task, *task): task for task in tasks}
            for future in as_completed(futures):
                results[futures[future]] = future.result()
                progress.advance(bar)
    records = [record for task in tasks for record in results[task].records]
    rows = sorted((row for task in tasks for row in results[task].sheets), key=lambda row: row.ratio)
    return records, rows


@dataclass(frozen=True)
class Kept:
    """What is taken over from an earlier report."""

    records: list[Record]
    networks: dict[str, Any]
    commits: dict[str, str]
    """By method, what it was measured at."""


def earlier(path: Path, protocol: Protocol, methods: Sequence[str], scored: Sequence[str] = OPPONENTS) -> Kept:
    """Return the records of methods from a report that is there; it ends the program if they cannot be used.

    Args:
        path: The report.
        protocol: What its records have to be of.
        methods: Names of the methods.
        scored: Names of those that are scored anew: of them nothing is kept.
    """
    if not methods:
        return Kept([], {}, {})
    if both := sorted(set(methods) & set(scored)):
        raise SystemExit(f"{', '.join(both)}: scored anew; there is nothing to keep.")
    about = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {"protocol": None, "records": []}
    if about["protocol"] != json.loads(json.dumps(asdict(protocol))):
        raise SystemExit(f"{path}: holds no records of this protocol; nothing can be kept of it.")
    found = [Record(**record) for record in about["records"] if record["method"] in methods]
    if missing := sorted(set(methods) - {record.method for record in found}):
        raise SystemExit(f"{path}: holds no records of {', '.join(missing)}.")
    networks = {name: facts for name, facts in about["networks"].items() if name in methods}
    commits = {method: about.get("kept", {}).get(method, about["commit"]) for method in methods}
    return Kept(found, networks, commits)


def summarize(records: Iterable[Record]) -> dict[str, dict[float, dict[str, float]]]:
    """Return the mean scores by method and ratio: {"psnr_db", "ssim", "seconds", "images"}."""
    groups: dict[str, dict[float, list[Record]]] = {}
    for record in records:
        groups.setdefault(record.method, {}).setdefault(record.ratio, []).append(record)
    return {
        method: {
            ratio: {
                "psnr_db": float(np.mean([r.psnr_db for r in group])),
                "ssim": float(np.mean([r.ssim for r in group])),
                "seconds": float(np.median([r.seconds for r in group])),
                "images": len(group),
            }
            for ratio, group in by_ratio.items()
        }
        for method, by_ratio in groups.items()
    }


def provenance() -> dict[str, Any]:
    """Return what a score depends on outside the protocol: commit, versions, hardware."""
    root = Path(__file__).resolve().parents[1]

    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, check=False)
        return done.stdout.strip() if done.returncode == 0 else "unknown"

    names = ("numpy", "rawpy", "openvino", "imagecodecs", "pillow")
    return {
        "commit": git("rev-parse", "HEAD"),
        "uncommitted_changes": bool(git("status", "--porcelain", "--", "src", "benchmarks")),
        "versions": {"alen": __version__, "python": platform.python_version()}
        | {name: metadata.version(name) for name in names},
        "hardware": {"processor": _processor(), "cores": os.cpu_count(), "machine": platform.machine()},
    }


def command() -> list[str]:
    """Return the options this program was started with; of absolute paths, which mean one machine, the names alone."""
    return [Path(word).name if Path(word).is_absolute() else word for word in sys.argv[1:]]


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"


def write_json(path: Path, document: Mapping[str, Any], records: Sequence[Record]) -> None:
    """Write the document and, one a line, the records."""
    head = json.dumps(document, indent=1, ensure_ascii=False).removesuffix("\n}")
    lines = ",\n  ".join(json.dumps(asdict(record), ensure_ascii=False) for record in records)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'{head},\n "records": [\n  {lines}\n ]\n}}\n', encoding="utf-8")


def markdown(protocol: Protocol, records: Sequence[Record], about: Mapping[str, Any], image: str | None) -> str:
    """Return the section of the results page."""
    summary = summarize(records)
    images = len({(r.photograph, r.camera) for r in records})
    photographs = len({r.photograph for r in records})
    is_bayer = protocol.filter_array == "bayer"
    phases = "all Bayer phases" if is_bayer else f"{len(protocol.phases)} phases of X-Trans"
    lines = [
        f"## Quality on held-out photographs{'' if is_bayer else ', X-Trans'}",
        "",
        f"PSNR in dB / SSIM, higher is better; {images} images per ratio: {photographs} photographs, "
        f"{len(protocol.cameras)} cameras ({', '.join(protocol.cameras)}) at ISO {protocol.iso}, {phases}.",
        "",
        "| | " + " | ".join(f"×{ratio:g}" for ratio in protocol.ratios) + " |",
        "|---|" + "---|" * len(protocol.ratios),
    ]
    for method, by_ratio in summary.items():
        cells = (f"{by_ratio[r]['psnr_db']:.2f} / {by_ratio[r]['ssim']:.3f}" for r in protocol.ratios)
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    lines += ["", f"Measured: {protocol.metric}. The exposure ratio is given to every method."]
    lines += [
        "",
        f"- **LibRaw**: its own processing of the amplified mosaic, with the demosaicing{_FBDD[is_bayer]} and "
        "median passes that suit the noise best. Its wavelet threshold is left out: it ends the process with a memory "
        "error in rawpy 0.28.0 (LibRaw 0.22.2).",
        "- **Non-local means**: generalized Anscombe transform with the camera's true gain and read noise, non-local "
        "means tuned for each noise level on training photographs, exact unbiased inverse, LibRaw's demosaicing.",
        *([_ALONE_LINE] if any(name.endswith(_ALONE) for name in summary) else []),
        *([_ENSEMBLE_LINE] if any(_ENSEMBLE in name for name in summary) else []),
        *(f"- **{name}**: {n['parameters']:,} weights, {n['steps']:,} steps." for name, n in about["networks"].items()),
        "",
        f"Commit {about['commit'][:12]}, {about['hardware']['processor']}, {about['hardware']['cores']} cores"
        + "".join(f"; {method} at {commit[:12]}" for method, commit in about.get("kept", {}).items())
        + f"; every image is a record in `benchmarks/results/{_stem(protocol.filter_array)}.json`.",
    ]
    lines += _gains(protocol, records)
    if image is not None:
        lines += ["", f"![Crops at 100 %: input, methods and truth by ratio]({image})"]
    return "\n".join(lines) + "\n"


_FBDD: Final = {True: ", FBDD noise reduction", False: ""}
"""What LibRaw has for Bayer alone."""


def _stem(cfa: FilterArray) -> str:
    """Return the stem of the names of records and sheet."""
    return "quality" if cfa == "bayer" else f"quality-{cfa}"


def _gains(protocol: Protocol, records: Sequence[Record]) -> list[str]:
    """Return tables of what networks are ahead of their opponents, image by image."""
    scores = {(r.method, r.photograph, r.camera, r.ratio): r.psnr_db for r in records}
    methods = list(dict.fromkeys(r.method for r in records))
    networks = [method for method in methods if method not in OPPONENTS and not method.endswith(_ALONE)]
    images = list({(r.photograph, r.camera): r for r in records}.values())

    def differences(method: str, opponent: str, ratio: float, among: Sequence[Record]) -> list[float]:
        """Of each of some images."""
        keys = [(r.photograph, r.camera, ratio) for r in among]
        return [scores[method, *key] - scores[opponent, *key] for key in keys]

    lines = [
        "",
        "### How far ahead",
        "",
        "Differences of PSNR in dB, image by image. The interval is that of a bootstrap over the photographs.",
        "",
        "| | ratio | mean | 95 % interval | median | worst image | images behind |",
        "|---|---|---|---|---|---|---|",
    ]
    for method, opponent in product(networks, OPPONENTS):
        for ratio in protocol.ratios:
            values = differences(method, opponent, ratio, images)
            interval = bootstrap_mean(values, [r.photograph for r in images], seed=0)
            low, high = ("–" if end is None else f"{end:+.2f}" for end in (interval.low, interval.high))
            lines.append(
                f"| {method} − {opponent} | ×{ratio:g} | {interval.mean:+.2f} | {low} to {high} | "
                f"{np.median(values):+.2f} | {min(values):+.2f} | {np.mean(np.asarray(values) < 0):.0%} |"
            )
    kinds: dict[str, Callable[[Record], str]] = {
        "camera": lambda r: r.camera,
        "phase": lambda r: r.phase,
        "kind of scene": lambda r: "HDR panorama" if r.photograph.endswith(".hdr") else "photograph",
    }
    for kind, key in kinds.items():
        groups: dict[str, list[Record]] = {}
        for r in images:
            groups.setdefault(key(r), []).append(r)
        lines += ["", f"Mean differences by {kind}:", ""]
        lines += [f"| | {kind} | images | " + " | ".join(f"×{ratio:g}" for ratio in protocol.ratios) + " |"]
        lines += ["|---|---|---|" + "---|" * len(protocol.ratios)]
        of_one = [method for method in networks if _ENSEMBLE not in method]
        for method, (name, among) in product(of_one, groups.items()):
            means = [np.mean(differences(method, OPPONENTS[-1], ratio, among)) for ratio in protocol.ratios]
            cells = " | ".join(f"{mean:+.2f}" for mean in means)
            lines.append(f"| {method} − {OPPONENTS[-1]} | {name} | {len(among)} | {cells} |")
    return lines


def write_section(
    page: Path, section: str, *, markers: tuple[str, str] = _MARKERS["bayer"], title: str = "Results"
) -> None:
    """Replace a program's section of a page, between its markers; the rest of the page stays as it is."""
    first, last = markers
    text = page.read_text(encoding="utf-8") if page.is_file() else f"# {title}\n\n{first}\n{last}\n"
    before, begin, rest = text.partition(first)
    _, end, after = rest.partition(last)
    if not begin:
        before, after = text.rstrip() + "\n\n", "\n"
    elif not end:
        raise SystemExit(f"{page}: {first} has no {last}.")
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(f"{before}{first}\n{section}{last}{after}", encoding="utf-8")


def write_sheet(path: Path, rows: Sequence[tuple[str, Mapping[str, NDArray[np.uint8]]]]) -> None:
    """Write rows of crops with their captions as one JPEG; a column per method, its name above.

    Crops are 8-bit sRGB, (S, S, 3), all of one size.
    """
    names = list(rows[0][1])
    side = next(iter(rows[0][1].values())).shape[0]
    gap, caption = 4, 18
    font = ImageFont.load_default(13)
    titles = ["\n".join(_wrapped(name, side, font.getlength)) for name in names]
    above = caption * (1 + max(title.count("\n") for title in titles))
    sheet = Image.new("RGB", (len(names) * (side + gap) + gap, len(rows) * (side + caption) + above), "white")
    draw = ImageDraw.Draw(sheet)
    for column, title in enumerate(titles):
        draw.text((gap + column * (side + gap), 2), title, "black", font)
    for index, (words, crops) in enumerate(rows):
        top = above + index * (side + caption)
        for column, name in enumerate(names):
            sheet.paste(Image.fromarray(crops[name]), (gap + column * (side + gap), top))
        draw.text((gap, top + side + 1), words, "black", font)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_picture(path, np.asarray(sheet, dtype=np.float32) / np.float32(255), quality=75)


def _wrapped(words: str, width: float, length: Callable[[str], float]) -> list[str]:
    """Return words as lines that are no wider, if no word is."""
    lines: list[str] = []
    for word in words.split():
        if lines and length(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


app = cyclopts.App(help=__doc__)


@app.default
def main(
    *,
    photos: Path,
    cfa: FilterArray = "bayer",
    weights: Annotated[tuple[str, ...], cyclopts.Parameter(negative="")] = (),
    out: Path | None = None,
    page: Path = Path("docs/results.md"),
    crop: int = 512,
    quick: bool = False,
    engine: EngineName = "openvino",
    precision: Precision = "auto",
    alone: bool = False,
    ensemble: Annotated[tuple[int, ...], cyclopts.Parameter(negative="")] = (),
    keep: Annotated[tuple[str, ...], cyclopts.Parameter(negative="")] = (),
    workers: int | None = None,
) -> None:
    """Score LibRaw, non-local means and networks on held-out photographs.

    Args:
        photos: Folder of clean photographs, the one that was trained on; its held-out tenth is used.
        cfa: The sensors' filter array.
        weights: Networks: names of shipped weights or weights files. All that ship for the filter array, if none are
            named.
        out: Where the records go (JSON); by default benchmarks/results/quality.json, of X-Trans quality-xtrans.json.
        page: Page whose section is replaced; the sheet of crops goes to its folder images, by the name of the records.
        crop: Side of the central square of each photograph, at most.
        quick: Four photographs, two cameras and squares of 256 pixels, and no page: to see whether all works.
        engine: What runs the networks.
        precision: Their arithmetic; "auto" is bfloat16 where the processor computes in it.
        alone: Score networks that ship without the detail that is given back, too.
        ensemble: Score networks as the mean of so many orientations, too: 2, 4 or 8.
        keep: Methods whose records are taken over from the records that are there, of the same protocol: such as
            networks whose weights were not kept. None that are scored anew, as LibRaw and non-local means always are.
        workers: Processes; one per core if not given.
    """
    console = Console()
    held_out = split(find_photos(photos))[1]
    protocol = Protocol(crop_px=crop) if cfa == "bayer" else Protocol.xtrans(crop_px=crop)
    if quick:
        protocol = replace(protocol, crop_px=min(crop, 256), cameras=protocol.cameras[:2])
        held_out = [*held_out[:3], held_out[-1]]
    names = weights or shipped_for(cfa)
    stem = _stem(cfa)
    out = out if out is not None else Path("benchmarks/results") / f"{stem}.json"
    loaded = [load_weights(find_weights(name)) for name in names]
    scored = [
        method
        for name, network in zip(names, loaded, strict=True)
        for method in method_names(network.name, shipped=name in shipped_names(), alone=alone, ensembles=ensemble)
    ]
    kept = earlier(out, protocol, keep, (*OPPONENTS, *scored))
    count = workers or len(os.sched_getaffinity(0))
    start = time.perf_counter()
    records, rows = run(
        protocol,
        held_out,
        names,
        engine=engine,
        precision=precision,
        alone=alone,
        ensembles=ensemble,
        workers=count,
        console=console,
    )
    about = provenance() | {"command": command(), "seconds": round(time.perf_counter() - start, 1), "workers": count}
    networks = {w.name: {"sha256": w.digest, "parameters": w.parameters, "steps": w.facts.steps} for w in loaded}
    records += kept.records
    about["networks"] = networks | kept.networks
    about["kept"] = kept.commits
    document = {
        "benchmark": "quality",
        **about,
        "protocol": asdict(protocol),
        "summary": summarize(records),
    }
    write_json(out, document, records)
    section = markdown(protocol, records, about, None if quick else f"images/{stem}.jpg")
    if not quick:
        captioned = [(f"ratio {row.ratio:g}, {row.camera}", row.crops) for row in rows]
        write_sheet(page.parent / "images" / f"{stem}.jpg", captioned)
        write_section(page, section, markers=_MARKERS[cfa])
    console.print(section, markup=False, soft_wrap=True)
    console.print(f"{len(records)} records: {out}", markup=False, soft_wrap=True)


@app.command(name="page")
def write_page(
    *, cfa: FilterArray = "bayer", records: Path | None = None, page: Path = Path("docs/results.md")
) -> None:
    """Write the section of the page anew, from records that are there; nothing is measured.

    Args:
        cfa: The sensors' filter array.
        records: The records (JSON); by default those of the filter array in benchmarks/results.
        page: Page whose section is replaced.
    """
    stem = _stem(cfa)
    path = records if records is not None else Path("benchmarks/results") / f"{stem}.json"
    about = json.loads(path.read_text(encoding="utf-8"))
    settings: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in about["protocol"].items()
    }
    found = [Record(**record) for record in about["records"]]
    write_section(page, markdown(Protocol(**settings), found, about, f"images/{stem}.jpg"), markers=_MARKERS[cfa])


if __name__ == "__main__":
    app()

"""How fast is ALEN, how much memory does it take, and how much of the processor does it use.

``python -m benchmarks.speed`` measures in parts and writes ``benchmarks/results/speed.json`` and a section of
``docs/speed.md``: a frame against other methods, in turn ("peers"); frames of 1 to 150 megapixels ("sizes"); every
network and its stages against what the processor can do at best ("roofline"); narrower instruction sets
("instructions"); the command line ("cli"); a GPU, if there is one ("gpu"). Whatever is compared has a process of its
own, whose peak memory is its own. A row that fails holds its error; the others are measured all the same.

Torch and the engines are imported where they are used: a method's process holds what the method needs and no more.
"""

from __future__ import annotations

import functools
import json
import math
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, Self, get_args

import cyclopts
import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.speed_page import SID_EAGER, SID_OPENVINO, section
from benchmarks.speed_roofline import Row, count_macs, count_sid_unet, measure_limits, trace

if TYPE_CHECKING:
    from torch import nn

    from alen.engines import Precision

Part = Literal["peers", "sizes", "roofline", "instructions", "cli", "gpu"]

Call = Callable[[], object]
"""Makes a picture."""

Tick = Callable[[str], None]
"""Told what is measured next."""

_MARKERS: Final = ("<!-- speed: begin -->", "<!-- speed: end -->")
"""Markers around the section of the page that this program owns."""

_TITLE: Final = "Speed and memory"

_REPEATED_MP: Final = 24
"""Frames up to this size are enhanced again after the first call, whose compilation counts less in larger ones."""

_FILES: Final = 10
"""RAW files of one call of the command line."""

_FILES_ROUNDS: Final = 3
"""Calls with so many files."""

_GPU_MP: Final = (12.0, 24.0, 61.0)
"""Megapixels of the frames a GPU enhances."""


# ---------------------------------------------------------------------------------------------------------------------
# Processes
# ---------------------------------------------------------------------------------------------------------------------


class Worker:
    """A process of its own, spawned: it begins with nothing and its peak memory is that of what it is asked to do."""

    def __init__(self) -> None:
        self._pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()

    def call(self, work: Callable[..., Any], *arguments: object) -> Any:
        """Return what a function of this module returns there."""
        return self._pool.submit(work, *arguments).result()


def afresh(work: Callable[..., Any], *arguments: object) -> Any:
    """Return what a function returns in a process that ends afterwards."""
    with Worker() as worker:
        return worker.call(work, *arguments)


def attempt(work: Callable[..., Row], *arguments: object) -> Row:
    """Return what was measured, or the error that came instead."""
    try:
        return work(*arguments)
    except Exception as error:
        return {"error": f"{type(error).__name__}: {' '.join(str(error).split())}"}


# ---------------------------------------------------------------------------------------------------------------------
# A frame against other methods
# ---------------------------------------------------------------------------------------------------------------------


def make_frame(folder: Path, megapixels: float, crop_megapixels: float) -> None:
    """Write a made-up dark frame into a folder: as DNG, as packed planes, and part of it as an 8-bit picture."""
    from alen.color import eotf_inverse_srgb
    from alen.demosaic import demosaic_malvar
    from alen.doctor import made_up_dng
    from alen.enhance import amplified_planes
    from alen.raw import read_raw

    dng = made_up_dng(megapixels)
    (folder / "frame.dng").write_bytes(dng)
    amplified = amplified_planes(read_raw(dng), 100)
    planes = amplified.rows(0, amplified.shape[1])
    np.save(folder / "planes.npy", planes)
    side = min(round((crop_megapixels * 1e6) ** 0.5 / 2), *planes.shape[1:])
    picture = eotf_inverse_srgb(np.clip(demosaic_malvar(np.ascontiguousarray(planes[:, :side, :side])), 0, 1))
    np.save(folder / "picture.npy", np.rint(picture * 255).astype(np.uint8))


def convert_sid_unet(folder: Path) -> Row:
    """Write the See-in-the-Dark U-Net as an OpenVINO model for the folder's frame; returns nothing measured."""
    import torch

    from alen.openvino_runtime import ov

    class Whole(torch.nn.Module):
        def __init__(self, network: nn.Module) -> None:
            super().__init__()
            self.network = network

        def forward(self, planes: torch.Tensor) -> torch.Tensor:
            head = self.network.features(planes.clamp_max(1))  # type: ignore[operator]
            return torch.nn.functional.pixel_shuffle(head, 2)[0].permute(1, 2, 0)

    shape = np.load(folder / "planes.npy", mmap_mode="r").shape
    model = ov.convert_model(Whole(_sid_unet()).eval(), example_input=torch.zeros(1, 4, 32, 32))
    model.reshape([1, *shape])
    ov.save_model(model, folder / "sid_unet.xml", compress_to_fp16=False)
    return {}


def _sid_unet() -> nn.Module:
    import torch

    from alen.models.sid_unet import SidUnet

    torch.manual_seed(0)
    return SidUnet().eval()


def alen_network(folder: Path, model: str) -> Call:
    """Return ALEN as it comes: OpenVINO, all cores, bfloat16 where the processor has it."""
    from alen.engines.openvino import OpenVinoEngine
    from alen.weights import find_weights, load_weights

    planes = np.load(folder / "planes.npy")
    engine = OpenVinoEngine(load_weights(find_weights(model)))
    return lambda: engine.run(planes)


def sid_unet_eager(folder: Path) -> Call:
    """Return the U-Net as its users run it: eager torch, float32, the whole frame at once."""
    import torch

    planes = torch.from_numpy(np.load(folder / "planes.npy"))[None]
    network = _sid_unet()

    @torch.inference_mode()
    def run() -> object:
        return network(planes)[0].permute(1, 2, 0).contiguous().numpy()

    return run


def sid_unet_openvino(folder: Path) -> Call:
    """Return the U-Net in OpenVINO with the settings of ALEN's engine; it was converted before."""
    from alen.cores import usable_cores
    from alen.openvino_runtime import hints, ov, props

    planes = np.load(folder / "planes.npy")[None]
    core = ov.Core()
    has_bfloat16 = "BF16" in core.get_property("CPU", props.device.capabilities)
    settings = {
        hints.inference_precision: ov.Type.bf16 if has_bfloat16 else ov.Type.f32,
        hints.performance_mode: hints.PerformanceMode.LATENCY,
        props.inference_num_threads: usable_cores(),
        hints.enable_cpu_pinning: False,
    }
    request = core.compile_model(core.read_model(folder / "sid_unet.xml"), "CPU", settings).create_infer_request()
    return lambda: request.infer([planes], share_inputs=True, share_outputs=True)


def libraw(folder: Path) -> Call:
    """Return LibRaw from the DNG to an 8-bit picture: its default demosaicing and its stronger FBDD."""
    import rawpy

    def run() -> object:
        with rawpy.imread(str(folder / "frame.dng")) as raw:
            return raw.postprocess(fbdd_noise_reduction=rawpy.FBDDNoiseReductionMode.Full)

    return run


def scikit_image(folder: Path) -> Call:
    """Return scikit-image's non-local means in its fast mode: patch 5, distance 6."""
    from skimage.restoration import denoise_nl_means

    picture = np.load(folder / "picture.npy").astype(np.float32) / np.float32(255)
    settings = {"patch_size": 5, "patch_distance": 6, "h": 0.08, "sigma": 0.1, "fast_mode": True, "channel_axis": 2}
    return lambda: denoise_nl_means(picture, **settings)


def opencv(folder: Path) -> Call:
    """Return OpenCV's non-local means for color pictures: template 7, window 21."""
    import cv2

    picture = np.load(folder / "picture.npy")
    return lambda: cv2.fastNlMeansDenoisingColored(picture, None, 10, 10, 7, 21)


@dataclass(frozen=True)
class Peer:
    """A method that is timed."""

    name: str
    """Its name in the table."""
    prepare: Callable[[Path], Call]
    """Loads and compiles it for the frame in a folder."""
    is_network: bool = True
    """Whether it starts from packed planes."""
    on_crop: bool = False
    """Whether it gets part of the frame, and its time is multiplied."""


OTHERS: Final = (
    Peer(SID_OPENVINO, sid_unet_openvino),
    Peer(SID_EAGER, sid_unet_eager),
    Peer("LibRaw, AHD and FBDD", libraw, is_network=False),
    Peer("OpenCV, non-local means", opencv, is_network=False, on_crop=True),
    Peer("scikit-image, non-local means", scikit_image, is_network=False, on_crop=True),
)
"""Everything but ALEN."""

_call: Call | None = None
"""What this process times; set once by `_first`."""


def _first(prepare: Callable[[Path], Call], folder: Path) -> float:
    """Return the seconds of imports, loading, compilation and the first call."""
    global _call
    clock = time.perf_counter()
    _call = prepare(folder)
    _call()
    return time.perf_counter() - clock


def _again() -> float:
    assert _call is not None, "_first comes first"
    clock = time.perf_counter()
    _call()
    return time.perf_counter() - clock


def _peak() -> int | None:
    """Return the largest memory of this process so far, in bytes; `alen.doctor` would load an engine to tell."""
    status = Path("/proc/self/status")
    lines = status.read_text(encoding="ascii", errors="replace").splitlines() if status.is_file() else []
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), None)


def compare(folder: Path, peers: Sequence[Peer], rounds: int, tick: Tick) -> list[Row]:
    """Return what each method takes, one row each: called once, then in turn with the others, round after round."""
    pixels = math.prod(np.load(folder / "planes.npy", mmap_mode="r").shape)
    crop_pixels = math.prod(np.load(folder / "picture.npy", mmap_mode="r").shape[:2])
    rows: list[Row] = []
    with ExitStack() as stack:
        workers = [stack.enter_context(Worker()) for _ in peers]

        def first(peer: Peer, worker: Worker) -> Row:
            return {"first_seconds": worker.call(_first, peer.prepare, folder), "seconds": []}

        def again(row: Row, worker: Worker) -> Row:
            return row | {"seconds": [*row["seconds"], worker.call(_again)], "peak_bytes": worker.call(_peak)}

        for peer, worker in zip(peers, workers, strict=True):
            tick(f"{peer.name}, first call")
            rows.append(attempt(first, peer, worker))
        for index in range(rounds):
            for k, (peer, worker) in enumerate(zip(peers, workers, strict=True)):
                tick(f"{peer.name}, round {index + 1} of {rounds}")
                rows[k] = rows[k] if "error" in rows[k] else attempt(again, rows[k], worker)
    for peer, row in zip(peers, rows, strict=True):
        if "error" not in row:
            scale = pixels / crop_pixels if peer.on_crop else 1.0
            row["first_seconds"] += (scale - 1) * median(row["seconds"])  # what is done once does not grow
            row["seconds"] = [scale * seconds for seconds in row["seconds"]]
            row["scaled_by"] = scale
    return [{"method": peer.name, "is_network": peer.is_network} | row for peer, row in zip(peers, rows, strict=True)]


# ---------------------------------------------------------------------------------------------------------------------
# Sizes of frames, the command line, a GPU
# ---------------------------------------------------------------------------------------------------------------------


def write_dng(path: Path, megapixels: float) -> Row:
    """Write a made-up DNG, for another process to read, whose memory is measured; returns nothing measured."""
    from alen.doctor import made_up_dng

    path.write_bytes(made_up_dng(megapixels))
    return {}


def finish(path: Path, model: str, again: int) -> Row:
    """Return what a frame takes from the decoded RAW to the 8-bit picture, the first time and ``again`` times."""
    from alen.enhance import Enhancer
    from alen.raw import read_raw

    raw = read_raw(path)
    times = []
    clock = time.perf_counter()
    enhancer = Enhancer(model)
    for _ in range(1 + again):
        enhancer.finish(raw, ratio=100)
        times.append(time.perf_counter() - clock)
        clock = time.perf_counter()
    pixels = math.prod(raw.mosaic.shape)
    return {"pixels": pixels, "first_seconds": times[0], "seconds": times[1:], "peak_bytes": _peak()}


def measure_sizes(folder: Path, model: str, frames: Sequence[float], rounds: int, tick: Tick) -> list[Row]:
    """Return what frames take, from the smallest to the largest, each in a process of its own."""
    rows = []
    for megapixels in sorted(frames):
        tick(f"a frame of {megapixels:g} megapixels")
        path = folder / "size.dng"
        again = rounds if megapixels <= _REPEATED_MP else 0
        row = attempt(afresh, write_dng, path, megapixels)
        rows.append({"megapixels": megapixels, "model": model} | (row or attempt(afresh, finish, path, model, again)))
        path.unlink(missing_ok=True)
    return rows


def measure_cli(folder: Path, rounds: int, tick: Tick) -> Row:
    """Return the seconds of whole processes of `alen enhance`: of one file again and again, of several at once.

    Python keeps the modules' bytecode, as it does where ALEN is installed, even if the environment says otherwise.
    """
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    several = [folder / f"{index}.dng" for index in range(_FILES)]
    for path in several:
        path.symlink_to(folder / "frame.dng")

    def enhance(paths: Sequence[Path]) -> float:
        words = [sys.executable, "-m", "alen.cli", "enhance", *map(str, paths), "-o", f"{folder}{os.sep}", "--force"]
        clock = time.perf_counter()
        done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment)
        if done.returncode != 0:
            raise RuntimeError(f"alen enhance ended with {done.returncode}: {done.stderr.strip()[-200:]}")
        return time.perf_counter() - clock

    tick("command line, warm-up")
    cold = enhance(several[:1])
    tick("command line, one file")
    one = [enhance(several[:1]) for _ in range(rounds)]
    tick(f"command line, {_FILES} files")
    every = [enhance(several) for _ in range(_FILES_ROUNDS)]
    return {"cold_seconds": cold, "one_file_seconds": one, "files": _FILES, "all_files_seconds": every}


def measure_gpu(model: str, megapixels: float, rounds: int) -> Row:
    """Return the milliseconds of a frame on CUDA in bfloat16, planes and picture in the computer's memory."""
    import torch

    from alen.doctor import made_up_dng
    from alen.engines.torch import TorchEngine
    from alen.enhance import amplified_planes
    from alen.raw import read_raw
    from alen.weights import find_weights, load_weights

    amplified = amplified_planes(read_raw(made_up_dng(megapixels)), 100)
    planes = amplified.rows(0, amplified.shape[1])
    engine = TorchEngine(load_weights(find_weights(model)), device="cuda", precision="bfloat16")
    engine.run(planes)
    torch.cuda.reset_peak_memory_stats()
    times = []
    for _ in range(rounds):
        clock = time.perf_counter()
        engine.run(planes)  # returns when the picture is in the computer's memory
        times.append(1000 * (time.perf_counter() - clock))
    peak = torch.cuda.max_memory_allocated()
    return {"engine": engine.description, "milliseconds": times, "gpu_peak_bytes": peak}


def has_cuda() -> bool:
    """Tell whether torch finds a GPU."""
    import torch

    return torch.cuda.is_available()


def measure_roofline(folder: Path, models: Sequence[str], side: int, tick: Tick) -> Row:
    """Return the processor's limits, and of each network what it computes and where its time goes."""
    tick("the processor's limits")
    row: Row = {"limits": attempt(afresh, measure_limits, side), "networks": []}
    height, width = np.load(folder / "planes.npy", mmap_mode="r").shape[1:]
    row["sid_unet_macs"] = afresh(count_sid_unet, height, width)
    for model in models:
        tick(f"{model}, stage by stage")
        network: Row = {"model": model} | attempt(afresh, trace, folder, model, "auto", None, 1)
        if "error" not in network:
            macs = afresh(count_model, model, height, width, network["first_made_twice"])
            for name, stage in network["stages"].items():
                stage["macs"] = macs[name]
        row["networks"].append(network)
    return row


def count_model(model: str, height: int, width: int, twice: bool) -> dict[str, int]:
    """Return the multiplications of shipped weights by stage, see `count_macs`."""
    from alen.config import AlenConfig
    from alen.weights import find_weights, load_weights

    config = load_weights(find_weights(model)).config
    assert isinstance(config, AlenConfig), "the engine runs no other"
    return count_macs(config, height, width, twice=twice)


_ISAS: Final[Sequence[tuple[str, str, Precision]]] = (
    ("AVX2", "avx2", "float32"),
    ("AVX2", "avx2", "auto"),
    ("AVX512_CORE", "avx512bw", "float32"),
    ("AVX512_CORE_BF16", "avx512_bf16", "bfloat16"),
    ("AVX512_CORE_AMX", "amx_bf16", "bfloat16"),
)
"""Instruction sets as oneDNN names them, the flag that Linux has for each, and what is computed with it."""


def measure_instructions(folder: Path, model: str, rounds: int, tick: Tick) -> list[Row]:
    """Return what a frame takes with each instruction set that this processor has, and with no limit."""
    cpuinfo = Path("/proc/cpuinfo")
    flags = set(cpuinfo.read_text().split()) if cpuinfo.is_file() else set()
    rows = []
    limits: list[tuple[str | None, Precision]] = [(isa, precision) for isa, flag, precision in _ISAS if flag in flags]
    for isa, precision in [*limits, (None, "float32"), (None, "auto")]:
        tick(f"instructions: {isa or 'no limit'}, {precision}")
        row = attempt(afresh, trace, folder, model, precision, isa, rounds)
        if "error" not in row:
            kernels = Counter[str]()
            for entry in row.pop("stages").values():
                kernels.update(entry["nodes"])
            row["kernel"] = kernels.most_common(1)[0][0].partition(" ")[2]
        rows.append({"isa": isa, "asked": precision} | row)
    return rows


def _plain(value: Any) -> Any:
    """Return numbers of a document with as many digits as mean something: microseconds."""
    if isinstance(value, float):
        return round(value, 6)
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items()}
    return [_plain(entry) for entry in value] if isinstance(value, list | tuple) else value


# ---------------------------------------------------------------------------------------------------------------------
# All of it
# ---------------------------------------------------------------------------------------------------------------------

app = cyclopts.App(help=__doc__)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What decides what is measured."""

    parts: tuple[Part, ...] = get_args(Part)
    """What is measured."""
    rounds: int = 3
    """Calls of everything after the first, which is told apart."""
    megapixels: float = 12
    """Size of the frame that everything but "sizes" is measured with."""
    crop_megapixels: float = 1
    """Size of the part of it that slow methods get."""
    frames: tuple[float, ...] = (1, 6, 12, 24, 61, 100, 150)
    """Megapixels of the frames of "sizes"."""
    side: int = 4096
    """Of the matrices that tell the processor's peak."""

    def estimate(self) -> float:
        """Return the seconds it will take, roughly, on two cores of a server with bfloat16 but no AMX."""
        calls, megapixels = 1 + self.rounds, self.megapixels
        repeated = sum(frame for frame in self.frames if frame <= _REPEATED_MP)
        seconds: Mapping[Part, float] = {
            "peers": 40 + 2.2 * megapixels * calls,
            "sizes": 4 * len(self.frames) + 0.4 * (sum(self.frames) + self.rounds * repeated),
            "roofline": 45 + 2 * megapixels,
            "instructions": 6 * (8 + 0.55 * megapixels * (1 + min(self.rounds, 2))),
            "cli": (1 + calls) * (3 + 0.4 * megapixels) + 0.45 * megapixels * _FILES,
            "gpu": 3,
        }
        return sum(seconds[part] for part in self.parts)


def measure(settings: Settings, tick: Tick) -> Row:
    """Return the measurements of the parts that are asked for, by part."""
    from alen.weights import DEFAULT, shipped_for

    models = sorted(shipped_for("bayer"), key=lambda name: name != DEFAULT)
    parts, rounds = settings.parts, settings.rounds
    document: Row = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tick("a made-up frame")
        afresh(make_frame, folder, settings.megapixels, settings.crop_megapixels)
        if "peers" in parts:
            tick("the SID U-Net for OpenVINO")
            attempt(afresh, convert_sid_unet, folder)  # if this fails, there is no file for its row, which tells
            ours = [Peer(model, functools.partial(alen_network, model=model)) for model in models]
            document["peers"] = compare(folder, [*ours, *OTHERS], rounds, tick)
        if "sizes" in parts:
            document["sizes"] = measure_sizes(folder, DEFAULT, settings.frames, rounds, tick)
        if "roofline" in parts:
            document["roofline"] = measure_roofline(folder, models, settings.side, tick)
        if "instructions" in parts:
            document["instructions"] = measure_instructions(folder, DEFAULT, min(rounds, 2), tick)
        if "cli" in parts:
            document["cli"] = attempt(measure_cli, folder, rounds, tick)
    if "gpu" in parts:
        tick("GPU")
        there = [(model, size) for model in models for size in _GPU_MP] if afresh(has_cuda) else []
        document["gpu"] = [
            {"model": model, "megapixels": size} | attempt(afresh, measure_gpu, model, size, rounds)
            for model, size in there
        ]
    return document


@app.default
def main(
    *,
    parts: Annotated[tuple[Part, ...], cyclopts.Parameter(negative="", consume_multiple=True)] = Settings.parts,
    rounds: Annotated[int, cyclopts.Parameter(validator=cyclopts.validators.Number(gte=1))] = Settings.rounds,
    megapixels: float = Settings.megapixels,
    crop: float = Settings.crop_megapixels,
    frames: Annotated[tuple[float, ...], cyclopts.Parameter(negative="", consume_multiple=True)] = Settings.frames,
    side: int = Settings.side,
    out: Path = Path("benchmarks/results/speed.json"),
    page: Path = Path("docs/speed.md"),
) -> None:
    """Measure speed and memory.

    Args:
        parts: What is measured; the page is written only if that is everything.
        rounds: Calls of everything after the first, which is told apart.
        megapixels: Size of the frame that everything but "sizes" is measured with.
        crop: Megapixels of the part of it that slow methods get; their times are multiplied.
        frames: Megapixels of the frames of "sizes".
        side: Of the matrices that tell the processor's peak.
        out: Where the measurements go (JSON).
        page: Page whose section is replaced.
    """
    from alen.engines.openvino import available_devices
    from benchmarks.quality import command, provenance, write_section

    settings = Settings(
        parts=parts, rounds=rounds, megapixels=megapixels, crop_megapixels=crop, frames=frames, side=side
    )
    console = Console()
    console.print(f"This takes about {settings.estimate() / 60:.0f} minutes on two idle cores.")
    start = time.perf_counter()
    columns = (TextColumn("{task.description}"), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("", total=None)
        measured = measure(settings, lambda what: progress.update(bar, description=escape(what), advance=1))
    about = provenance()
    about["versions"] |= {name: metadata.version(name) for name in ("torch", "scikit-image", "opencv-python-headless")}
    document = {
        "benchmark": "speed",
        **about,
        "command": command(),
        "seconds": time.perf_counter() - start,
        "precision": "bfloat16" if available_devices()["CPU"][1] else "float32",
        "settings": asdict(settings),
        **measured,
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(_plain(document), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    text = section(document)
    if set(parts) == set(get_args(Part)):
        write_section(page, text, markers=_MARKERS, title=_TITLE)
    console.print(text, markup=False, soft_wrap=True)


@app.command(name="page")
def rewrite(*, results: Path = Path("benchmarks/results/speed.json"), page: Path = Path("docs/speed.md")) -> None:
    """Write the page's section anew from measurements there are.

    Args:
        results: The measurements (JSON).
        page: Page whose section is replaced.
    """
    from benchmarks.quality import write_section

    write_section(page, section(json.loads(results.read_text(encoding="utf-8"))), markers=_MARKERS, title=_TITLE)


if __name__ == "__main__":
    app()

"""What the processor could do, and what of it each stage of the network uses: part of `benchmarks.speed`.

Limits are measured, multiplications counted without computing them, and the engine's requests timed one by one with
OpenVINO's profiling. Whoever calls `measure_limits` or `trace` gives them a fresh process.
"""

from __future__ import annotations

import functools
import math
import os
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    import torch
    from torch import nn

    from alen.config import AlenConfig
    from alen.engines import Precision

Row = dict[str, Any]
"""What was measured of one thing, as it goes into the JSON file; {"error": …} if it failed."""

STAGES: Final[Mapping[str, tuple[str, ...]]] = {
    "survey": (),
    "front": ("stem", "down1"),
    "attend1": ("encode1.spatial",),
    "encode1": ("encode1.block", "down2"),
    "attend2": ("encode2.spatial",),
    "encode2": ("encode2.block", "down3"),
    "attend3": ("encode3.spatial",),
    "encode3": ("encode3.block",),
    "decode2": ("up2", "decode2"),
    "decode1": ("up1", "decode1"),
    "last": ("up0", "decode0", "head"),
    "composition": (),
}
"""Stages of the engine, in order, and the modules of the network each runs; the composition has what is left."""

MULTIPLYING: Final = ("Convolution", "MatMul", "FullyConnected", "ScaledDotProductAttention")
_MOVING: Final = ("Reorder", "Transpose", "Concat", "DepthToSpace", "Reshape", "Interpolate", "Split", "StridedSlice")
"""OpenVINO's operations (their names begin so) that multiply, and that only put values elsewhere."""


def count_macs(config: AlenConfig, height: int, width: int, *, twice: bool = False) -> dict[str, int]:
    """Return the multiplications with addition of each stage for packed planes (4, h, w), computing nothing.

    Convolutions and attention; ``twice`` if the last stage makes the first features again.
    """
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.utils.flop_counter import FlopCounterMode

    from alen.models.alen import Alen
    from alen.models.attention import NonLocal

    attention: dict[str, int] = {}

    def count_attention(name: str, module: nn.Module, inputs: tuple[torch.Tensor, ...], _: object) -> None:
        assert isinstance(module, NonLocal)
        h, w = (-(-side // module.query_pool) for side in inputs[0].shape[2:])
        keys = (
            (-(-h // module.key_pool)) * (-(-w // module.key_pool)) if module.key_grid is None else module.key_grid**2
        )
        attention[name] = 2 * h * w * keys * module.value.out_channels

    with FakeTensorMode(), torch.no_grad(), FlopCounterMode(display=False) as counter:
        network = Alen(config)
        for name, module in network.named_modules():
            if isinstance(module, NonLocal):  # the counter leaves fused attention out
                module.register_forward_hook(functools.partial(count_attention, name))
        network(torch.empty(1, config.plane_count, height, width))
    convolution = torch.ops.aten.convolution
    counts = {name: flops.get(convolution, 0) // 2 for name, flops in counter.get_flop_counts().items()}
    macs = {
        stage: sum(counts.get(f"Alen.{name}", 0) + attention.get(name, 0) for name in modules)
        for stage, modules in STAGES.items()
    }
    macs["composition"] = counts["Alen"] + sum(attention.values()) - sum(macs.values())
    if twice:
        macs["last"] += counts["Alen.stem"]
    return macs


def count_sid_unet(height: int, width: int) -> int:
    """Return the multiplications with addition of the See-in-the-Dark U-Net for packed planes (4, h, w)."""
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.utils.flop_counter import FlopCounterMode

    from alen.models.sid_unet import SidUnet

    with FakeTensorMode(), torch.no_grad(), FlopCounterMode(display=False) as counter:
        SidUnet()(torch.empty(1, 4, height, width))
        return int(counter.get_total_flops()) // 2


def measure_limits(side: int) -> Row:
    """Return what this processor does at best: operations per second of square matrix products, bytes per second.

    A product of side³ counts 2·side³ operations. Copied is as much as 16 of its matrices, which no cache holds; what is
    read and what is written both count.
    """
    import torch

    from alen.cores import usable_cores
    from alen.engines.openvino import available_devices
    from alen.openvino_runtime import hints, ops, ov

    def best(work: Callable[[], object]) -> float:
        times = []
        for _ in range(8):
            clock = time.perf_counter()
            work()
            times.append(time.perf_counter() - clock)
        return min(times)

    core, has_bfloat16 = ov.Core(), available_devices()["CPU"][1]
    left = np.random.default_rng(0).standard_normal((side, side), dtype=np.float32)
    limits: Row = {"side": side}
    for name, dtype, kind in (("float32", torch.float32, ov.Type.f32), ("bfloat16", torch.bfloat16, ov.Type.bf16)):
        if name == "bfloat16" and not has_bfloat16:
            continue
        x = torch.from_numpy(left).to(dtype)
        parameter = ops.parameter([side, side], np.float32)
        product = ops.matmul(parameter, ops.constant(left), False, False)
        settings = {hints.inference_precision: kind, hints.performance_mode: hints.PerformanceMode.LATENCY}
        request = core.compile_model(ov.Model([product], [parameter]), "CPU", settings).create_infer_request()
        limits[name] = {
            "torch": 2 * side**3 / best(functools.partial(torch.matmul, x, x)),
            "openvino": 2 * side**3 / best(functools.partial(request.infer, [left], share_inputs=True)),
        }
    cores, copied_bytes = usable_cores(), 16 * left.nbytes
    pieces = [
        (np.ones(copied_bytes // cores, np.uint8), np.empty(copied_bytes // cores, np.uint8)) for _ in range(cores)
    ]
    with ThreadPoolExecutor(cores) as pool:
        seconds = best(lambda: list(pool.map(lambda piece: np.copyto(piece[1], piece[0]), pieces)))
    limits["bytes_per_second"] = 2 * cores * (copied_bytes // cores) / seconds
    return limits


class _Request:
    """An inference request that tells its graph how long it took."""

    def __init__(self, request: Any, graph: _Graph) -> None:
        self._request, self._graph = request, graph

    def __getattr__(self, name: str) -> Any:
        return getattr(self._request, name)

    def infer(self, *arguments: Any, **settings: Any) -> Any:
        clock = time.perf_counter()
        result = self._request.infer(*arguments, **settings)
        seconds = time.perf_counter() - clock
        with self._graph.lock:
            self._graph.seconds += seconds
            self._graph.calls += 1
            self._graph.last = self._request
        return result


class _Graph:
    """A compiled graph, with profiling, that adds up since it was compiled.

    Of graphs of which several requests run at a time the seconds are the mean of that many cores.
    """

    def __init__(self, compiled: Any, streams: int) -> None:
        self._compiled = compiled
        self._streams = streams
        self.calls, self.seconds = 0, 0.0
        self.last: Any = None
        self.lock = Lock()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._compiled, name)

    def create_infer_request(self) -> _Request:
        return _Request(self._compiled.create_infer_request(), self)

    def totals(self) -> Row:
        """Return calls, seconds, bytes given and got, and the seconds by kind of operation."""
        ports = [*self._compiled.inputs, *self._compiled.outputs]
        size = sum(math.prod(port.shape) * port.element_type.size for port in ports)
        nodes = Counter[str]()
        for node in self.last.profiling_info if self.last is not None else ():
            # what OpenVINO tells is the mean of all calls so far, not the last one's
            nodes[f"{node.node_type} {node.exec_type}"] += self.calls * node.real_time.total_seconds() / self._streams
        seconds = self.seconds / self._streams
        return {"calls": self.calls, "seconds": seconds, "bytes": self.calls * size, "nodes": nodes}


def _since(before: Row, now: Row) -> Row:
    """Return what totals grew by."""
    nodes = {node: seconds - before["nodes"][node] for node, seconds in now["nodes"].items()}
    return {key: now[key] - before[key] for key in ("calls", "seconds", "bytes")} | {"nodes": nodes}


def trace(folder: Path, model: str, precision: Precision, isa: str | None, calls: int) -> Row:
    """Return the seconds of a frame's stages and operations, with OpenVINO's profiling; for a fresh process.

    Args:
        folder: Holds the frame.
        model: Weights.
        precision: Arithmetic of the layers with weights.
        isa: Widest instruction set that oneDNN may use, as it names them; None does not limit it.
        calls: Frames that are timed, at least one, after one that is not; of the stages the last is told.
    """
    if isa is not None:
        os.environ["ONEDNN_MAX_CPU_ISA"] = isa  # read when OpenVINO is loaded, which is below
    from alen.config import AlenConfig
    from alen.engines.bands import FIRST_BYTES, first_features_bytes
    from alen.engines.openvino import OpenVinoEngine
    from alen.openvino_runtime import ov, props
    from alen.weights import find_weights, load_weights

    graphs: dict[str, _Graph] = {}
    surveys: list[float] = []

    class Traced(OpenVinoEngine):
        def _compile(self, model: Any, precision: str, *, streams: int) -> Any:
            self._core.set_property(self._device, {props.enable_profiling: True})
            name = model.friendly_name.removeprefix("alen_")
            compiled = super()._compile(model, precision, streams=streams)
            graph = graphs["front" if name == "stem" else name] = _Graph(compiled, streams)
            return graph

        def _survey(self, planes: Any) -> Any:
            clock = time.perf_counter()
            surveyed = super()._survey(planes)
            surveys.append(time.perf_counter() - clock)
            return surveyed

    planes = np.load(folder / "planes.npy")
    weights = load_weights(find_weights(model))
    assert isinstance(weights.config, AlenConfig), "the engine runs no other"
    engine = Traced(weights, precision=precision)
    times = []
    before: dict[str, Row] = {}
    for _ in range(1 + calls):
        before = {name: graph.totals() for name, graph in graphs.items()}
        clock = time.perf_counter()
        engine.run(planes)
        times.append(time.perf_counter() - clock)
    stages = {name: _since(before[name], graph.totals()) for name, graph in graphs.items()}
    stages["survey"] = {"calls": 1, "seconds": surveys[-1], "bytes": 0, "nodes": {}}
    u, storage = weights.config.unshuffle, ov.Type.bf16 if engine.precision == "bfloat16" else ov.Type.f32
    size = first_features_bytes(weights.config, planes.shape[1] // u, planes.shape[2] // u, storage)
    return {
        "model": model,
        "precision": engine.precision,
        "seconds": times[1:],
        "first_made_twice": size > FIRST_BYTES,
        "stages": {name: stages[name] for name in STAGES if name in stages},
    }


REASONS: Final = {
    "multiplications at the peak": "what the network computes, at the rate of the best square matrix product",
    "multiplications below the peak": "convolutions of few channels and 1 × 1, which reach less of the peak; rows "
    "around bands, which are computed twice; below 0 where convolutions beat the square product",
    "moving": "features change their layout at the borders of stages; what is concatenated, shuffled or repeated is "
    "copied",
    "elementwise": "gates, masks, conversions, the curves of the picture, means of rows: each reads and writes all "
    "of its values, few operations for each",
    "between operations": "requests that begin and end, threads that meet",
    "survey": "the frame is read once before the network, for averages and the first gate (numpy)",
    "outside of OpenVINO": "planes copied into place, averages continued, memory taken and given back (numpy)",
}
"""Where time goes, and what it is spent on."""


def limit(limits: Row, precision: str) -> float:
    """Return the operations per second of the best matrix product in a precision."""
    return float(max(limits[precision].values()))


def accounts(network: Row, limits: Row) -> dict[str, float]:
    """Return the seconds of a traced frame by `REASONS`; they add up to the whole."""
    stages: Mapping[str, Row] = network["stages"]
    ideal = sum(2 * entry["macs"] / limit(limits, stage_precision(network, name)) for name, entry in stages.items())
    kinds: dict[str, float] = defaultdict(float)
    for entry in stages.values():
        for node, seconds in entry["nodes"].items():
            is_multiplying, is_moving = node.startswith(MULTIPLYING), node.startswith(_MOVING)
            kinds["multiplying" if is_multiplying else "moving" if is_moving else "elementwise"] += seconds
    survey = stages["survey"]["seconds"] if "survey" in stages else 0.0
    inside = sum(entry["seconds"] for entry in stages.values()) - survey
    return {
        "multiplications at the peak": ideal,
        "multiplications below the peak": kinds["multiplying"] - ideal,
        "moving": kinds["moving"],
        "elementwise": kinds["elementwise"],
        "between operations": inside - sum(kinds.values()),
        "survey": survey,
        "outside of OpenVINO": network["seconds"][-1] - inside - survey,
    }


def stage_precision(network: Row, stage: str) -> str:
    """Return what a stage of a traced network computes in: the composition is always float32."""
    return "float32" if stage == "composition" else str(network["precision"])

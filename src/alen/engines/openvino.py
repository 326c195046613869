"""The OpenVINO engine: the default on CPUs, no torch needed."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, Literal

import numpy as np
import openvino as ov
import openvino.properties as props
import openvino.properties.hint as hints
from numpy.typing import NDArray

from alen.allocator import return_freed_memory
from alen.config import PYRAMID, AlenConfig
from alen.cores import usable_cores
from alen.engines import Planes, PlanesArray, Precision, UnshuffledPlanes
from alen.engines.averages import ROWS, averages, between_rows
from alen.engines.bands import FIRST_BYTES, BandedTrunk, kept_bytes, stack_sums
from alen.engines.graph import composition, margin
from alen.errors import DeviceError, WeightsError
from alen.weights import Weights

BAND: Final = 64_000
"""Positions of a level that are computed at a time: their features stay in a processor's third-level cache."""
_GRAPHS_BYTES: Final = {"bfloat16": 360_000_000, "float32": 640_000_000}
"""Memory of the graphs and of what a band of them takes, about, by precision."""
_SURVEYED = 128_000
"""Packed pixels, about, that are averaged at a time."""
_STRIPE = 32_000
"""Packed pixels, about, whose picture is composed at a time: their values stay in a processor's second-level cache."""
_LATE: Final = 16
"""Averages over smaller squares are made when the picture is, not before: they would take a byte per pixel of the frame
while the features take most."""


class OpenVinoEngine:
    """A network compiled by OpenVINO for one device; compiled anew when the frame size changes.

    Args:
        weights: The network; an `AlenConfig` one.
        device: An OpenVINO device name, such as "CPU".
        precision: Arithmetic of the layers with weights. "auto" takes bfloat16 where the processor computes in it.
        threads: CPU threads; None leaves OpenVINO's choice, all cores.
        band: Positions, about, that are computed at a time; see `alen.engines.bands`.
        first_bytes: First features up to this size are kept instead of made twice.

    Raises:
        DeviceError: The device is not there, or cannot compute in that precision.
        WeightsError: The weights are of a network this engine does not build.
    """

    def __init__(
        self,
        weights: Weights,
        *,
        device: str = "CPU",
        precision: Precision = "auto",
        threads: int | None = None,
        band: int = BAND,
        first_bytes: int = FIRST_BYTES,
    ) -> None:
        if not isinstance(weights.config, AlenConfig):
            raise WeightsError(
                f"{weights.name}: holds a {type(weights.config).__name__.removesuffix('Config')}, but only the "
                "attention network (Alen) runs on OpenVINO. Name weights of that network."
            )
        if weights.config.spatial_attention and weights.config.pairwise != "embedded_gaussian":
            raise WeightsError(
                f"{weights.name}: compares positions by the pairwise function {weights.config.pairwise}, but OpenVINO "
                "runs embedded_gaussian alone. Run them in torch: alen.engines.torch.TorchEngine."
            )
        self._core = _core()
        if device not in self._core.available_devices:
            have = ", ".join(self._core.available_devices)
            raise DeviceError(f"The device {device} is not there. OpenVINO finds: {have}.")
        capabilities = self._core.get_property(device, props.device.capabilities)
        has_bfloat16 = "BF16" in capabilities
        if precision == "bfloat16" and not has_bfloat16:
            raise DeviceError(f"The device {device} does not compute in bfloat16. Use --precision float32.")
        self.precision: Literal["bfloat16", "float32"] = (
            "float32" if precision == "float32" or not has_bfloat16 else "bfloat16"
        )
        self._storage = ov.Type.bf16 if self.precision == "bfloat16" else ov.Type.f32
        self._weights = weights
        self._config = weights.config
        self._device = device
        self._threads = threads
        self._band = band
        self._first_bytes = first_bytes
        self._compiled_for: tuple[int, int] | None = None
        self._trunk: BandedTrunk | None = None
        self._composition: Any = None
        self._stripe_rows = 0

    @property
    def description(self) -> str:
        """Engine, device and precision in a few words."""
        return f"OpenVINO {ov.__version__.split('-')[0]}, {self._device}, {self.precision}"

    def needed_bytes(self, height: int, width: int) -> int:
        """Return the memory that packed planes (P, h, w) need beside themselves and the picture, about."""
        averages_bytes = sum(12 * height * width // side**2 for side in PYRAMID if side >= _LATE)
        u = self._config.unshuffle
        kept = kept_bytes(self._config, height // u, width // u, self._storage)
        return _GRAPHS_BYTES[self.precision] + averages_bytes + kept

    def run(self, planes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the linear picture (s·h, s·w, 3) of packed planes (P, h, w); see `alen.engines.Engine.run`."""
        _, height, width = planes.shape
        s = self._config.shuffle
        picture = np.empty((s * height, s * width, 3), dtype=np.float32)
        for _ in self._compose(PlanesArray(planes), lambda rows: picture[s * rows.start : s * rows.stop]):
            pass
        return picture

    def stripes(self, planes: Planes, progress: Callable[[float], None] | None = None) -> Iterator[NDArray[np.float32]]:
        """Yield the linear picture in pieces from top to bottom; see `alen.engines.Engine.stripes`."""
        s = self._config.shuffle
        buffer = np.empty((0, s * planes.shape[2], 3), dtype=np.float32)

        def target(rows: slice) -> NDArray[np.float32]:
            nonlocal buffer
            count = s * (rows.stop - rows.start)
            if len(buffer) < count:
                buffer = np.empty((count, s * planes.shape[2], 3), dtype=np.float32)
            return buffer[:count]

        return self._compose(planes, target, progress)

    def _compose(
        self,
        planes: Planes,
        target: Callable[[slice], NDArray[np.float32]],
        progress: Callable[[float], None] | None = None,
    ) -> Iterator[NDArray[np.float32]]:
        """Yield pieces of the picture of packed rows, put where ``target`` says."""
        try:
            with ThreadPoolExecutor(1) as pool:  # half of compiling waits for one core
                ready = pool.submit(self._made_ready, *planes.shape[1:])
                stack_means, levels = self._survey(planes)
            trunk = ready.result()
            compose = self._composer(planes, levels)
            u, s = self._config.unshuffle, self._config.shuffle
            for first, band, head in trunk.heads(UnshuffledPlanes(planes, u), stack_means, progress):
                new, rows = u * first, slice(u * band.start, u * band.stop)
                height = self._stripe_rows
                tops = [top for top in range(rows.start, rows.stop, height) if top + height > new]
                piece = target(slice(tops[0], rows.stop))
                channels, whole = head.shape[1], ov.Tensor(head, shared_memory=True)
                for top in tops:
                    here, there = top - rows.start, s * (top - tops[0])
                    part = ov.Tensor(whole, [0, 0, here, 0], [1, channels, here + height, head.shape[3]])  # no copy
                    compose(top, part, piece[there : there + s * height])
                yield piece[s * (new - tops[0]) :]
            return_freed_memory()  # frame after frame what the C library keeps would grow
        except (RuntimeError, MemoryError) as error:  # OpenVINO raises the first when memory runs out, numpy the second
            height, width = (self._config.shuffle * side for side in planes.shape[1:])
            raise DeviceError(
                f"OpenVINO failed on {height} × {width} pixels on {self._device} ({error}). The memory may be "
                "too small; close other programs."
            ) from error

    def _made_ready(self, height: int, width: int) -> BandedTrunk:
        """Compile for a frame size, if that is not done yet."""
        if self._trunk is None or self._compiled_for != (height, width):
            u = self._config.unshuffle
            self._trunk = self._composition = None  # frees the old ones before the new ones are made
            self._trunk = BandedTrunk(
                self._config,
                self._weights.arrays,
                height // u,
                width // u,
                lambda model: self._compile(model, self.precision),
                self._storage,
                band=self._band,
                first_bytes=self._first_bytes,
                threads=self._threads or usable_cores(),
            )
            period = self._config.period
            rows = _divisor(u * self._trunk.band_rows // period, _STRIPE // (period * width))
            self._stripe_rows = period * rows
            self._composition = self._compile(
                composition(self._config, self._weights.arrays, self._stripe_rows, width), "float32"
            )
            self._compiled_for = (height, width)
            return_freed_memory()  # compiling takes a lot for a moment
        return self._trunk

    def _survey(self, planes: Planes) -> tuple[NDArray[np.float32], list[NDArray[np.float32]]]:
        """Return what has to be known of the whole frame: means of the input stack, and averages for the base.

        The averages of sides below `_LATE` take no memory yet: `_composer` fills them in.
        """
        _, height, width = planes.shape
        step = max(_SURVEYED // (width * ROWS), 1) * ROWS
        levels: list[NDArray[np.float32]] = []
        if self._config.base == "mixtures":
            levels = [np.empty((3, -(-height // side), -(-width // side)), dtype=np.float32) for side in PYRAMID]

        def survey(top: int) -> NDArray[np.float64]:
            """Fill in the averages of a piece; returns the sums of its input stack."""
            part = planes.rows(top, min(top + step, height))
            if levels:
                _put(levels, top, averages(part, self._config), late=False)
            unshuffled = UnshuffledPlanes(PlanesArray(part), self._config.unshuffle)
            return stack_sums(unshuffled.rows(0, unshuffled.shape[1]), self._config.brightness)

        with ThreadPoolExecutor(self._threads or usable_cores()) as pool:  # numpy leaves the interpreter's lock
            sums = np.sum(list(pool.map(survey, range(0, height, step))), axis=0)
        positions = height * width / self._config.unshuffle**2
        return (sums / positions).astype(np.float32), levels

    def _composer(
        self, planes: Planes, levels: list[NDArray[np.float32]]
    ) -> Callable[[int, ov.Tensor, NDArray[np.float32]], None]:
        """Return what makes the picture of a stripe.

        Called with its first packed row, its channels of the head (1, C, n, w) and where the picture (s·n, s·w, 3)
        goes.
        """
        _, height, width = planes.shape
        count, beyond, period = self._stripe_rows, margin(self._config), self._config.period
        request = self._composition.create_infer_request()
        inputs = {}
        if self._config.base != "none":
            inputs["planes"] = np.empty(
                (1, self._config.plane_count, count + 2 * beyond, width + 2 * beyond), dtype=np.float32
            )
        for side, level in zip(PYRAMID, levels, strict=False):
            inputs[f"average{side}"] = np.empty((1, 3, count, level.shape[2]), dtype=np.float32)
        filled = 0 if levels else height

        def fill(stop: int) -> None:
            """Have the averages of sides below `_LATE` up to a row."""
            nonlocal filled
            while filled < min(stop, height):
                end = min(filled + ROWS, height)
                _put(levels, filled, averages(planes.rows(filled, end), self._config), late=True)
                filled = end

        def compose(start: int, head: ov.Tensor, out: NDArray[np.float32]) -> None:
            rows = slice(start, start + count)
            request.set_tensor("head", head)
            if "planes" in inputs:
                stripe = inputs["planes"][0]  # (P, n + 2m, w + 2m)
                top, bottom = max(rows.start - beyond, 0), min(rows.stop + beyond, height)
                first = top - (rows.start - beyond)
                last = first + bottom - top
                stripe[:, first:last, beyond:-beyond] = planes.rows(top, bottom)
                _continue(stripe.transpose(1, 0, 2), first, last, period)
                _continue(stripe.transpose(2, 0, 1), beyond, beyond + width, period)
            fill(rows.stop + _LATE)  # bilinear: one average more is looked at
            for side, level in zip(PYRAMID, levels, strict=False):
                between_rows(level, side, rows, inputs[f"average{side}"][0])
            request.set_output_tensor(ov.Tensor(out, shared_memory=True))
            request.infer(inputs, share_inputs=True, share_outputs=True)

        return compose

    def _compile(self, model: Any, precision: str) -> Any:
        settings: dict[Any, Any] = {
            hints.inference_precision: ov.Type.bf16 if precision == "bfloat16" else ov.Type.f32,
            hints.performance_mode: hints.PerformanceMode.LATENCY,
        }
        if self._device == "CPU":
            settings[props.inference_num_threads] = self._threads or usable_cores()
            settings[hints.enable_cpu_pinning] = False  # a core that something else keeps busy would hold up all
        return self._core.compile_model(model, self._device, settings)


def _put(levels: list[NDArray[np.float32]], top: int, pieces: list[NDArray[np.float32]], *, late: bool) -> None:
    """Put averages of a piece of the frame, beginning at row ``top``, where they belong: those `_LATE`, or others."""
    for level, side, piece in zip(levels, PYRAMID, pieces, strict=True):
        if (side < _LATE) == late:
            level[:, top // side : top // side + piece.shape[1]] = piece


def _continue(rows: NDArray[np.float32], first: int, last: int, period: int) -> None:
    """Fill the rows before ``first``, and those from ``last`` on, with the outermost patterns of those between."""
    for row in range(first):
        rows[row] = rows[first + (row - first) % period]
    for row in range(last, len(rows)):
        rows[row] = rows[last - period + (row - last) % period]


def _divisor(count: int, limit: int) -> int:
    """Return the largest divisor up to a limit, at least 1."""
    return max(n for n in range(1, max(limit, 1) + 1) if count % n == 0)


def available_devices() -> dict[str, tuple[str, bool]]:
    """Return the devices there are: their names in full, and whether they compute in bfloat16."""
    core = _core()
    facts = {}
    for name in core.available_devices:
        capabilities = core.get_property(name, props.device.capabilities)
        facts[name] = (str(core.get_property(name, props.device.full_name)), "BF16" in capabilities)
    return facts


@functools.cache
def _core() -> ov.Core:
    """Return the one OpenVINO core of this process, which lives as long as the process.

    On Linux a core's CPU plugin gives the calling thread a stack for signal handlers, and the one before it back as it
    goes. Of two cores, the first to be dropped frees the stack that the second puts back later: signal handlers that
    follow (torch's loader of data has one) write into whatever lies there by then.
    """
    return ov.Core()

"""The OpenVINO engine: the default on CPUs, no torch needed."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from alen.allocator import return_freed_memory
from alen.config import PYRAMID, AlenConfig
from alen.cores import usable_cores
from alen.engines import Planes, PlanesArray, Precision, UnshuffledPlanes, check_engine_settings
from alen.engines.averages import ROWS, averages, between_rows
from alen.engines.bands import FIRST_BYTES, BandedTrunk, band_rows, kept_bytes, stack_sums
from alen.engines.graph import COLORS, composition, margin
from alen.errors import DeviceError, SettingsError, WeightsError
from alen.openvino_runtime import hints, ops, ov, props
from alen.weights import Weights

BAND: Final = 64_000
"""Positions of a level that are computed at a time: their features stay in a processor's third-level cache."""
_GRAPHS_BYTES: Final = {"bfloat16": 360_000_000, "float32": 640_000_000}
"""Memory of the graphs and of what a band of them takes, about, by precision."""
_SURVEYED = 128_000
"""Packed pixels, about, that are averaged at a time."""
_STRIPE = 10_000
"""Packed pixels, about, whose picture a core composes at a time: their values stay in its second-level cache."""
_STREAMS: Final = 8
"""Stripes that are composed at a time, at most: each takes memory, and a copy of the graph, of its own."""
_LATE: Final = 16
_LATE_BYTES: Final = 40_000_000
"""Averages over squares smaller than `_LATE` that would take more memory than this are made when the picture is, not
when the frame is surveyed: they would take a byte per pixel while the features take most."""
_CORE_LOCK: Final = threading.Lock()
_LEFT_BEHIND: Final[list[Any]] = []
"""Graphs that a forked process has from its parent, without their threads: to take one down would wait for them."""
_LIMITS: Final = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")
"""Variables of the environment that keep OpenVINO from some of the processor's instructions. It offers bfloat16 all the
same, and fails at it where they leave none that it needs."""


class OpenVinoEngine:
    """A network compiled by OpenVINO for one device; compiled anew when the frame size changes.

    Args:
        weights: The network; an `AlenConfig` one.
        device: An OpenVINO device name, such as "CPU", in capitals or not.
        precision: Arithmetic of the layers with weights. "auto" takes bfloat16 where the processor computes in it.
        threads: CPU threads; None leaves OpenVINO's choice, all cores.
        band: Positions, about, that are computed at a time; see `alen.engines.bands`.
        first_bytes: First features up to this size are kept instead of made twice.

    Raises:
        DeviceError: The device is not there, or cannot compute in that precision.
        WeightsError: The weights are of a network this engine does not build.
        SettingsError: There is no such precision, or less than one thread is asked for.
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
        check_engine_settings(precision, threads)
        self._core = core()
        device = device.upper()
        if device not in self._core.available_devices:
            have = ", ".join(self._core.available_devices)
            raise DeviceError(f"The device {device} is not there. OpenVINO finds: {have}.")
        has_bfloat16 = _has_bfloat16(device)
        if precision == "bfloat16" and not has_bfloat16:
            raise DeviceError(f"The device {device} does not compute in bfloat16. Use --precision float32.")
        self.precision: Literal["bfloat16", "float32"] = (
            "float32" if precision == "float32" or not has_bfloat16 else "bfloat16"
        )
        self._storage = ov.Type.bf16 if self.precision == "bfloat16" else ov.Type.f32
        self._weights = weights
        self._config = weights.config
        self._device = device
        self._workers = threads or usable_cores()
        self._streams = min(self._workers, _STREAMS)
        self._band = band
        self._first_bytes = first_bytes
        self._compiled_for: tuple[int, int] | None = None
        self._process = os.getpid()
        self._trunk: BandedTrunk | None = None
        self._composition: Any = None
        self._stripe_rows = 0

    @property
    def description(self) -> str:
        """Engine, device and precision in a few words."""
        return f"OpenVINO {ov.__version__.split('-')[0]}, {self._device}, {self.precision}"

    def needed_bytes(self, height: int, width: int) -> int:
        """Return the memory that packed planes (P, h, w) need beside themselves and the picture, about."""
        averages_bytes = sum(12 * height * width // side**2 for side in PYRAMID if side not in _late(height, width))
        u = self._config.unshuffle
        kept = kept_bytes(self._config, height // u, width // u, self._storage)
        return _GRAPHS_BYTES[self.precision] + averages_bytes + kept

    def run(self, planes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the linear picture (s·h, s·w, 3) of packed planes (P, h, w); see `alen.engines.Engine.run`.

        Raises:
            SettingsError: The planes are not as many as the network's, or a side is no multiple of
                `AlenConfig.multiple`.
            DeviceError: OpenVINO failed, or the memory is too small.
        """
        self._check(planes.shape)
        _, height, width = planes.shape
        s = self._config.shuffle
        picture = np.empty((3, s * height, s * width), dtype=np.float32)
        for _ in self._compose(PlanesArray(planes), lambda rows: picture[:, s * rows.start : s * rows.stop]):
            pass
        return picture.transpose(1, 2, 0)

    def stripes(self, planes: Planes, progress: Callable[[float], None] | None = None) -> Iterator[NDArray[np.float32]]:
        """Yield the linear picture in pieces from top to bottom; see `alen.engines.Engine.stripes`.

        Raises:
            SettingsError: As of `run`, at once.
            DeviceError: As of `run`.
        """
        self._check(planes.shape)
        s = self._config.shuffle
        buffer = np.empty((3, 0, s * planes.shape[2]), dtype=np.float32)

        def target(rows: slice) -> NDArray[np.float32]:
            nonlocal buffer
            count = s * (rows.stop - rows.start)
            if buffer.shape[1] < count:
                buffer = np.empty((3, count, s * planes.shape[2]), dtype=np.float32)
            return buffer[:, :count]

        return self._compose(planes, target, progress)

    def _compose(
        self,
        planes: Planes,
        target: Callable[[slice], NDArray[np.float32]],
        progress: Callable[[float], None] | None = None,
    ) -> Iterator[NDArray[np.float32]]:
        """Yield pieces (n, s·w, 3) of the picture, put color by color where ``target`` says: (3, n, s·w) of rows."""
        is_callers = False

        def tell(share: float) -> None:
            nonlocal is_callers
            if progress is not None:
                is_callers = True
                progress(share)
                is_callers = False

        try:
            with ThreadPoolExecutor(1) as pool:  # half of compiling waits for one core
                ready = pool.submit(self._made_ready, *planes.shape[1:])
                stack_means, levels = self._survey(planes)
            trunk = ready.result()
            u, s = self._config.unshuffle, self._config.shuffle
            with ThreadPoolExecutor(self._streams) as pool:
                requests = [self._composition.create_infer_request() for _ in range(self._streams)]
                composer = _Composer(self._config, planes, levels, requests, self._stripe_rows, pool)
                for first, band, head in trunk.heads(UnshuffledPlanes(planes, u), stack_means, tell):
                    new, rows = u * first, slice(u * band.start, u * band.stop)
                    start = new - (new - rows.start) % self._stripe_rows
                    piece = target(slice(start, rows.stop))
                    composer.compose(slice(start, rows.stop), head, rows.start, piece)
                    yield piece[:, s * (new - start) :].transpose(1, 2, 0)
            return_freed_memory()  # frame after frame what the C library keeps would grow
        except (RuntimeError, MemoryError) as error:  # OpenVINO raises the first when memory runs out, numpy the second
            if is_callers:
                raise
            height, width = (self._config.shuffle * side for side in planes.shape[1:])
            raise DeviceError(
                f"OpenVINO failed on {height} × {width} pixels on {self._device} ({error}). The memory may be "
                "too small; close other programs."
            ) from error

    def _check(self, shape: tuple[int, ...]) -> None:
        """Raise SettingsError unless packed planes have a shape that the network is compiled for."""
        count, multiple = self._config.plane_count, self._config.multiple
        if len(shape) != 3 or shape[0] != count or 0 in shape or shape[1] % multiple or shape[2] % multiple:
            raise SettingsError(
                f"{self._weights.name} runs on packed planes ({count}, h, w), h and w multiples of {multiple}; got "
                f"{shape}. Pad them, see alen.tiling.Padding."
            )

    def _made_ready(self, height: int, width: int) -> BandedTrunk:
        """Compile for a frame size, if that is not done yet in this process."""
        if self._process != os.getpid():
            _LEFT_BEHIND.append((self._trunk, self._composition))
            self._trunk = self._composition = self._compiled_for = None
            self._process = os.getpid()
        if self._trunk is None or self._compiled_for != (height, width):
            config, arrays, u = self._config, self._weights.arrays, self._config.unshuffle
            rows = band_rows(config, 0, height // u, width // u, self._band)
            self._stripe_rows = u * _divisor(rows, _STRIPE // (u * width))
            self._trunk = self._composition = self._compiled_for = None  # frees the old ones before there are new ones

            def compile_composition() -> Any:
                model = composition(config, arrays, self._stripe_rows, width, self._storage)
                return self._compile(model, "float32", streams=self._streams)

            with ThreadPoolExecutor(1) as pool:  # it takes as long as four others
                compiled = pool.submit(compile_composition)
                self._trunk = BandedTrunk(
                    config,
                    arrays,
                    height // u,
                    width // u,
                    lambda model: self._compile(model, self.precision, streams=1),
                    self._storage,
                    band=self._band,
                    first_bytes=self._first_bytes,
                    threads=self._workers,
                )
            self._composition = compiled.result()
            self._compiled_for = (height, width)
            return_freed_memory()  # compiling takes a lot for a moment
        return self._trunk

    def _survey(self, planes: Planes) -> tuple[NDArray[np.float32], list[NDArray[np.float32]]]:
        """Return what has to be known of the whole frame: means of the input stack, and averages for the base.

        The averages of sides that are `_late` take no memory yet: `_Composer` fills them in.
        """
        _, height, width = planes.shape
        step = max(_SURVEYED // (width * ROWS), 1) * ROWS
        early = [side for side in PYRAMID if side not in _late(height, width)]
        levels: list[NDArray[np.float32]] = []
        if self._config.base == "mixtures":
            levels = [np.empty((3, -(-height // side), -(-width // side)), dtype=np.float32) for side in PYRAMID]

        def survey(top: int) -> NDArray[np.float64]:
            """Fill in the averages of a piece; returns the sums of its input stack."""
            part = planes.rows(top, min(top + step, height))
            if levels:
                _put(levels, top, averages(part, self._config), early)
            return stack_sums(part, self._config.brightness, self._config.unshuffle)

        with ThreadPoolExecutor(self._workers) as pool:  # numpy leaves the interpreter's lock
            sums = np.sum(list(pool.map(survey, range(0, height, step))), axis=0)
        positions = height * width / self._config.unshuffle**2
        return (sums / positions).astype(np.float32), levels

    def _compile(self, model: Any, precision: str, *, streams: int) -> Any:
        """Compile a graph of which as many requests run at a time, all threads shared among them."""
        settings: dict[Any, Any] = {hints.inference_precision: ov.Type.bf16 if precision == "bfloat16" else ov.Type.f32}
        if self._device == "CPU":
            settings[props.num_streams] = streams
            settings[props.inference_num_threads] = self._workers
            settings[hints.enable_cpu_pinning] = False  # a core that something else keeps busy would hold up all
        return self._core.compile_model(model, self._device, settings)


class _Composer:
    """Makes pictures of the head's channels, several stripes at a time: each on one core, in its nearest cache.

    Args:
        config: The network.
        planes: The frame.
        levels: Its averages; those of sides that are `_late` are filled in on the way.
        requests: Of the `composition` of a stripe, one for each thread of the pool.
        count: Packed rows of a stripe.
        pool: The threads.
    """

    def __init__(
        self,
        config: AlenConfig,
        planes: Planes,
        levels: list[NDArray[np.float32]],
        requests: list[Any],
        count: int,
        pool: ThreadPoolExecutor,
    ) -> None:
        self._config = config
        self._planes = planes
        self._levels = levels
        self._count = count
        self._pool = pool
        self._late = _late(*planes.shape[1:]) if levels else ()
        self._filled = 0 if self._late else planes.shape[1]
        self._free: SimpleQueue[Any] = SimpleQueue()
        for request in requests:
            self._free.put(request)

    def compose(self, rows: slice, head: ov.Tensor, top: int, out: NDArray[np.float32]) -> None:
        """Make the picture (3, s·n, s·w) of packed rows, whole stripes, of a head whose first packed row is ``top``."""
        s, u = self._config.shuffle, self._config.unshuffle
        _, _, width, channels = head.shape
        self._fill(rows.stop + max(self._late, default=0))  # bilinear: one average more is looked at

        def between(side: int, level: NDArray[np.float32]) -> NDArray[np.float32]:
            return between_rows(level, side, rows, self._count, u)

        smooth = list(self._pool.map(between, PYRAMID, self._levels))
        around = self._around(rows) if self._config.base != "none" else None

        def make(index: int) -> None:
            start = rows.start + index * self._count
            first, last = ((row - top) // u for row in (start, start + self._count))
            tensors = {"head": ov.Tensor(head, [0, first, 0, 0], [1, last, width, channels])}  # a part, no copy
            if around is not None:
                stripe = around[index * self._count :][: self._count + 2 * margin(self._config)]
                tensors["planes"] = ov.Tensor(stripe[None], shared_memory=True)
            for side, level in zip(PYRAMID, smooth, strict=False):
                tensors[f"average{side}"] = ov.Tensor(level[index : index + 1], shared_memory=True)
            request = self._free.get()
            try:
                for name, tensor in tensors.items():
                    request.set_tensor(name, tensor)
                for name, color in zip(COLORS, out, strict=True):
                    piece = color[s * (start - rows.start) :][: s * self._count]
                    request.set_tensor(name, ov.Tensor(piece, shared_memory=True))
                request.infer(share_outputs=True)
            finally:  # else who waits for it would wait for ever
                self._free.put(request)

        list(self._pool.map(make, range((rows.stop - rows.start) // self._count)))

    def _fill(self, stop: int) -> None:
        """Have the averages of sides that are late up to a row."""
        height = self._planes.shape[1]

        def fill(top: int) -> None:
            piece = averages(self._planes.rows(top, min(top + ROWS, height)), self._config)
            _put(self._levels, top, piece, self._late)

        tops = range(self._filled, min(stop, height), ROWS)
        list(self._pool.map(fill, tops))
        self._filled += len(tops) * ROWS

    def _around(self, rows: slice) -> NDArray[np.float32]:
        """Return packed rows with a margin (n + 2m, w + 2m, P): of stripes that begin anywhere one piece of memory."""
        count, height, width = self._planes.shape
        beyond, period = margin(self._config), self._config.period
        around = np.empty((rows.stop - rows.start + 2 * beyond, width + 2 * beyond, count), dtype=np.float32)
        top, bottom = max(rows.start - beyond, 0), min(rows.stop + beyond, height)
        first = top - (rows.start - beyond)
        last = first + bottom - top

        def fill(row: int) -> None:
            stop = min(row + ROWS, bottom)
            for index, plane in enumerate(self._planes.rows(row, stop)):
                around[row - top + first : stop - top + first, beyond:-beyond, index] = plane

        list(self._pool.map(fill, range(top, bottom, ROWS)))
        _continue(around, first, last, period)
        _continue(around.transpose(1, 0, 2), beyond, beyond + width, period)
        return around


def _late(height: int, width: int) -> tuple[int, ...]:
    """Return the sides of averages of a frame that are made when the picture is."""
    sides = tuple(side for side in PYRAMID if side < _LATE)
    return sides if sum(12 * height * width // side**2 for side in sides) > _LATE_BYTES else ()


def _put(
    levels: list[NDArray[np.float32]], top: int, pieces: list[NDArray[np.float32]], sides: Collection[int]
) -> None:
    """Put the averages over some sides of a piece of the frame, beginning at row ``top``, where they belong."""
    for level, side, piece in zip(levels, PYRAMID, pieces, strict=True):
        if side in sides:
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
    devices = core()
    facts = {}
    for name in devices.available_devices:
        facts[name] = (str(devices.get_property(name, props.device.full_name)), _has_bfloat16(name))
    return facts


def _has_bfloat16(device: str) -> bool:
    """Tell whether a device computes in bfloat16."""
    if "BF16" not in core().get_property(device, props.device.capabilities):
        return False
    return _convolves_in_bfloat16(device) if any(name in os.environ for name in _LIMITS) else True


@functools.cache
def _convolves_in_bfloat16(device: str) -> bool:
    """Tell whether a device compiles a small convolution in bfloat16, which takes a twentieth of a second."""
    planes = ops.parameter([1, 16, 8, 8], np.float32)
    kernels = ops.constant(np.zeros((16, 16, 3, 3), np.float32))
    model = ov.Model([ops.convolution(planes, kernels, [1, 1], [1, 1], [1, 1], [1, 1])], [planes])
    try:
        core().compile_model(model, device, {hints.inference_precision: ov.Type.bf16})
    except RuntimeError:
        return False
    return True


def core() -> ov.Core:
    """Return the one OpenVINO core of this process, which lives as long as the process.

    On Linux a core's CPU plugin gives the calling thread a stack for signal handlers, and the one before it back as it
    goes. Of two cores, the first to be dropped frees the stack that the second puts back later: signal handlers that
    follow (torch's loader of data has one) write into whatever lies there by then.
    """
    with _CORE_LOCK:  # the cache alone lets threads that come at the same time make one each
        return _made_core()


@functools.cache
def _made_core() -> ov.Core:
    return ov.Core()


def compiled_for_one_core(model: ov.Model) -> Any:
    """Return a graph that is compiled to run on the processor, in float32 and one thread, beside an engine."""
    settings: dict[Any, Any] = {
        hints.inference_precision: ov.Type.f32,
        hints.enable_cpu_pinning: False,
        props.num_streams: 1,
        props.inference_num_threads: 1,
    }
    return core().compile_model(model, "CPU", settings)

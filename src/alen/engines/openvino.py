"""The OpenVINO engine: the default on CPUs, no torch needed."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Final, Literal

import numpy as np
import openvino as ov
import openvino.properties as props
import openvino.properties.hint as hints
from numpy.typing import NDArray

from alen.config import PYRAMID, AlenConfig
from alen.cores import usable_cores
from alen.engines import Precision
from alen.engines.bands import BandedTrunk
from alen.engines.graph import averages, between_rows, composition, margin
from alen.errors import DeviceError, WeightsError
from alen.weights import Weights

BAND: Final = 64_000
"""Packed pixels that are computed at a time: their features stay in a processor's third-level cache."""
_STRIPE = 32_000
"""Packed pixels, about, whose picture is composed at a time: their values stay in a processor's second-level cache."""
_LEAST_ROWS = 8
"""Of a stripe: beside the rows it makes it reads a few more."""


class OpenVinoEngine:
    """A network compiled by OpenVINO for one device; compiled anew when the frame size changes.

    Args:
        weights: The network; an `AlenConfig` one.
        device: An OpenVINO device name, such as "CPU".
        precision: Arithmetic of the layers with weights. "auto" takes bfloat16 where the processor computes in it.
        threads: CPU threads; None leaves OpenVINO's choice, all cores.
        band: Packed pixels, about, that are computed at a time; see `alen.engines.bands`.

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
    ) -> None:
        if not isinstance(weights.config, AlenConfig):
            raise WeightsError(
                f"{weights.name}: holds a {type(weights.config).__name__.removesuffix('Config')}, but only the "
                "attention network (Alen) runs on OpenVINO. Name weights of that network."
            )
        if weights.config.cfa != "bayer":
            raise WeightsError(
                f"{weights.name}: made for the filter array {weights.config.cfa}, but only Bayer networks run on "
                "OpenVINO. Name weights for Bayer cameras."
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
        self._weights = weights
        self._config = weights.config
        self._device = device
        self._threads = threads
        self._band = band
        self._compiled_for: tuple[int, int] | None = None
        self._trunk: BandedTrunk | None = None
        self._averages: Any = None
        self._composition = self._compile(composition(self._config), "float32")

    @property
    def description(self) -> str:
        """Engine, device and precision in a few words."""
        return f"OpenVINO {ov.__version__.split('-')[0]}, {self._device}, {self.precision}"

    def run(self, planes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the linear picture (2h, 2w, 3) of packed planes (4, h, w); see `alen.engines.Engine.run`."""
        _, height, width = planes.shape
        picture = np.empty((2 * height, 2 * width, 3), dtype=np.float32)
        try:
            trunk = self._made_ready(height, width)
            compose = self._composer(planes)
            for rows, head in trunk.heads(planes):
                compose(rows, head, picture[2 * rows.start : 2 * rows.stop])
        except (RuntimeError, MemoryError) as error:  # OpenVINO raises the first when memory runs out, numpy the second
            raise DeviceError(
                f"OpenVINO failed on {2 * height} × {2 * width} pixels on {self._device} ({error}). The memory may be "
                "too small; close other programs."
            ) from error
        return picture

    def _made_ready(self, height: int, width: int) -> BandedTrunk:
        """Compile for a frame size, if that is not done yet."""
        if self._trunk is None or self._compiled_for != (height, width):
            self._trunk = self._averages = None  # frees the old ones before the new ones are made
            if self._config.base == "mixture":
                self._averages = self._compile(averages(height, width), "float32")
            self._trunk = BandedTrunk(
                self._config,
                self._weights.arrays,
                height,
                width,
                lambda model: self._compile(model, self.precision),
                ov.Type.bf16 if self.precision == "bfloat16" else ov.Type.f32,
                band=self._band,
            )
            self._compiled_for = (height, width)
        return self._trunk

    def _composer(
        self, planes: NDArray[np.float32]
    ) -> Callable[[slice, NDArray[np.float32], NDArray[np.float32]], None]:
        """Return what makes rows of the picture from their channels of the head.

        Called with the n rows, their head (1, C, n, w) and where the picture (2n, 2w, 3) goes. Made in stripes of whole
        rows, in the same few buffers.
        """
        _, height, width = planes.shape
        levels: list[NDArray[np.float32]] = []
        if self._averages is not None:
            averager = self._averages.create_infer_request()
            averager.infer({"planes": planes[None]}, share_inputs=True, share_outputs=True)
            levels = [averager.get_output_tensor(index).data[0] for index in range(len(PYRAMID))]
        request = self._composition.create_infer_request()
        inputs: dict[str, NDArray[np.float32]] = {}
        beyond = margin(self._config)
        step = max(_STRIPE // width, _LEAST_ROWS)

        def compose_stripe(rows: slice, head: NDArray[np.float32], out: NDArray[np.float32]) -> None:
            nonlocal inputs
            if not inputs or inputs["head"].shape[2] != rows.stop - rows.start:
                inputs = self._stripe_buffers(rows.stop - rows.start, width)
            inputs["head"][:] = head
            if "planes" in inputs:
                around = np.clip(np.arange(rows.start - beyond, rows.stop + beyond), 0, height - 1)  # edges repeated
                stripe = inputs["planes"][0]  # (4, n + 2m, w + 2m)
                np.take(planes, around, axis=1, out=stripe[:, :, beyond:-beyond])
                stripe[:, :, :beyond] = stripe[:, :, beyond, None]
                stripe[:, :, -beyond:] = stripe[:, :, -beyond - 1, None]
            for index, level in enumerate(levels):
                between_rows(level, PYRAMID[index], rows, inputs["averages"][0, 3 * index : 3 * index + 3])
            request.set_output_tensor(ov.Tensor(out, shared_memory=True))
            request.infer(inputs, share_inputs=True, share_outputs=True)

        def compose(rows: slice, head: NDArray[np.float32], out: NDArray[np.float32]) -> None:
            for top in range(rows.start, rows.stop, step):
                stripe = slice(top, min(top + step, rows.stop))
                first, last = top - rows.start, stripe.stop - rows.start
                compose_stripe(stripe, head[:, :, first:last], out[2 * first : 2 * last])

        return compose

    def _stripe_buffers(self, rows: int, width: int) -> dict[str, NDArray[np.float32]]:
        """Return arrays for the inputs of the composition of so many packed rows."""
        buffers = {"head": np.empty((1, self._config.head_channels, rows, width), dtype=np.float32)}
        if self._config.base != "none":
            beyond = margin(self._config)
            buffers["planes"] = np.empty((1, 4, rows + 2 * beyond, width + 2 * beyond), dtype=np.float32)
        if self._config.base == "mixture":
            buffers["averages"] = np.empty((1, 3 * len(PYRAMID), rows, width), dtype=np.float32)
        return buffers

    def _compile(self, model: Any, precision: str) -> Any:
        settings: dict[Any, Any] = {
            hints.inference_precision: ov.Type.bf16 if precision == "bfloat16" else ov.Type.f32,
            hints.performance_mode: hints.PerformanceMode.LATENCY,
        }
        if self._device == "CPU":
            settings[props.inference_num_threads] = self._threads or usable_cores()
            settings[hints.enable_cpu_pinning] = False  # a core that something else keeps busy would hold up all
        return self._core.compile_model(model, self._device, settings)


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

"""The OpenVINO engine: the default on CPUs, no torch needed."""

from __future__ import annotations

import os
from typing import Any, Literal

import numpy as np
import openvino as ov
import openvino.properties as props
import openvino.properties.hint as hints
from numpy.typing import NDArray

from alen.config import AlenConfig
from alen.engines import Precision
from alen.engines.graph import averages, composition, trunk
from alen.errors import DeviceError, WeightsError
from alen.weights import Weights

_STRIPE = 32
"""Packed rows whose picture is composed at a time."""


class OpenVinoEngine:
    """A network compiled by OpenVINO for one device; compiled anew when the frame size changes.

    Args:
        weights: The network; an `AlenConfig` one.
        device: An OpenVINO device name, such as "CPU".
        precision: Arithmetic of the layers with weights. "auto" takes bfloat16 where the processor computes in it.
        threads: CPU threads; None leaves OpenVINO's choice, all cores.

    Raises:
        DeviceError: The device is not there, or cannot compute in that precision.
        WeightsError: The weights are of a network this engine does not build.
    """

    def __init__(
        self, weights: Weights, *, device: str = "CPU", precision: Precision = "auto", threads: int | None = None
    ) -> None:
        if not isinstance(weights.config, AlenConfig):
            raise WeightsError(
                f"{weights.name}: holds a {type(weights.config).__name__.removesuffix('Config')}, but only the "
                "attention network (Alen) runs on OpenVINO. Name weights of that network."
            )
        self._core = ov.Core()
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
        self._compiled_for: tuple[int, int] | None = None
        self._trunk: Any = None
        self._averages: Any = None
        self._composition = self._compile(composition(self._config), "float32")

    @property
    def description(self) -> str:
        """Engine, device and precision in a few words."""
        return f"OpenVINO {ov.__version__.split('-')[0]}, {self._device}, {self.precision}"

    def run(self, planes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the linear picture (2h, 2w, 3) of packed planes (4, h, w); see `alen.engines.Engine.run`."""
        _, height, width = planes.shape
        if self._compiled_for != (height, width):
            self._trunk = self._averages = None  # frees the old ones before the new ones are made
            if self._config.base == "pyramid":
                self._averages = self._compile(averages(height, width), "float32")
            self._trunk = self._compile(trunk(self._config, self._weights.arrays, height, width), self.precision)
            self._compiled_for = (height, width)
        request = self._trunk.create_infer_request()
        try:
            request.infer({"planes": planes[None]}, share_inputs=True, share_outputs=True)
        except RuntimeError as error:  # what OpenVINO raises, too, when memory runs out
            raise DeviceError(
                f"OpenVINO failed on {2 * height} × {2 * width} pixels on {self._device} ({error}). The memory may be "
                "too small; close other programs."
            ) from error
        head = request.get_output_tensor(0).data  # (1, C, h, w)
        self._trunk.release_memory()  # of the layers, which is most of it; the output has its own

        picture = np.empty((2 * height, 2 * width, 3), dtype=np.float32)
        padded = np.pad(planes, ((0, 0), (1, 1), (1, 1)), mode="edge")[None]
        levels = None
        if self._averages is not None:
            averager = self._averages.create_infer_request()
            averager.infer({"planes": planes[None]}, share_inputs=True, share_outputs=True)
            levels = averager.get_output_tensor(0).data  # (1, 9, h, w)
        composer = self._composition.create_infer_request()
        has_base = self._config.base != "none"
        for top in range(0, height, _STRIPE):
            bottom = min(top + _STRIPE, height)
            inputs = {"head": np.ascontiguousarray(head[:, :, top:bottom])}
            if has_base:
                inputs["planes"] = np.ascontiguousarray(padded[:, :, top : bottom + 2])
            if levels is not None:
                inputs["averages"] = np.ascontiguousarray(levels[:, :, top:bottom])
            composer.infer(inputs, share_inputs=True, share_outputs=True)
            picture[2 * top : 2 * bottom] = composer.get_output_tensor(0).data
        return picture

    def _compile(self, model: Any, precision: str) -> Any:
        settings: dict[Any, Any] = {
            hints.inference_precision: ov.Type.bf16 if precision == "bfloat16" else ov.Type.f32,
            hints.performance_mode: hints.PerformanceMode.LATENCY,
        }
        if self._device == "CPU":
            settings[props.inference_num_threads] = self._threads or _cores()
            settings[hints.enable_cpu_pinning] = False  # a core that something else keeps busy would hold up all
        return self._core.compile_model(model, self._device, settings)


def _cores() -> int:
    """Return the number of cores this process may use."""
    if hasattr(os, "sched_getaffinity"):  # Linux alone has it before Python 3.13
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1

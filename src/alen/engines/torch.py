"""The torch engine: every network, on processors and accelerators. Needs torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from alen.color import eotf_srgb
from alen.config import AlenConfig
from alen.engines import Planes, Precision
from alen.errors import DeviceError, WeightsError
from alen.models.alen import Alen
from alen.models.sid_unet import SidUnet
from alen.weights import Weights


class TorchEngine:
    """A network in eager torch; any frame size.

    Args:
        weights: The network, `AlenConfig` or `SidUnetConfig`.
        device: A torch device, such as "cpu", "cuda" or "mps".
        precision: Arithmetic of the layers with weights; "auto" takes bfloat16 on CUDA devices that compute in it.
        threads: CPU threads of torch, for the whole process; None leaves them as they are.

    Raises:
        DeviceError: The device is not there, or cannot compute in that precision.
        WeightsError: The tensors are not those of the network.
    """

    def __init__(
        self, weights: Weights, *, device: str = "cpu", precision: Precision = "auto", threads: int | None = None
    ) -> None:
        self._device = _device(device)
        is_cuda = self._device.type == "cuda"
        has_bfloat16 = torch.cuda.is_bf16_supported() if is_cuda else self._device.type == "cpu"
        if precision == "bfloat16" and not has_bfloat16:
            raise DeviceError(f"The device {device} does not compute in bfloat16. Use --precision float32.")
        is_low = precision == "bfloat16" or (precision == "auto" and is_cuda and has_bfloat16)
        self.precision: Literal["bfloat16", "float32"] = "bfloat16" if is_low else "float32"
        if threads is not None:
            torch.set_num_threads(threads)
        config = weights.config
        self._network = Alen(config) if isinstance(config, AlenConfig) else SidUnet(config)
        try:
            self._network.load_state_dict({name: torch.from_numpy(array) for name, array in weights.arrays.items()})
        except RuntimeError as error:
            raise WeightsError(f"{weights.name}: its tensors are not those of its network ({error}).") from error
        self._network.to(self._device).eval()

    @property
    def description(self) -> str:
        """Engine, device and precision in a few words."""
        name = torch.cuda.get_device_name(self._device) if self._device.type == "cuda" else self._device.type
        return f"torch {torch.__version__}, {name}, {self.precision}"

    def needed_bytes(self, height: int, width: int) -> int | None:  # noqa: ARG002 - as the protocol has it
        """Return None: torch does not tell."""
        return None

    def run(self, planes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the linear picture of packed planes; see `alen.engines.Engine.run`.

        Planes (P, h, w) of networks for X-Trans, P = 9, become (3h, 3w, 3).

        Raises:
            DeviceError: The device's memory is too small.
        """
        tensor = torch.from_numpy(np.ascontiguousarray(planes))[None].to(self._device)
        try:
            with (
                torch.inference_mode(),
                torch.autocast(self._device.type, torch.bfloat16, enabled=self.precision == "bfloat16"),
            ):
                encoded = self._network(tensor)[0].permute(1, 2, 0).float().cpu()
        except torch.OutOfMemoryError as error:
            raise DeviceError(
                f"The memory of {self._device} is too small for {planes.shape[1]} × {planes.shape[2]} packed pixels."
            ) from error
        return eotf_srgb(np.ascontiguousarray(encoded.numpy()))

    def stripes(self, planes: Planes, progress: Callable[[float], None] | None = None) -> Iterator[NDArray[np.float32]]:
        """Yield the whole picture; see `alen.engines.Engine.stripes`."""
        picture = self.run(planes.rows(0, planes.shape[1]))
        if progress is not None:
            progress(1.0)
        yield picture


def _device(name: str) -> torch.device:
    """Return a device that is there; raises DeviceError."""
    try:
        device = torch.device(name.lower())
    except RuntimeError as error:
        raise DeviceError(f"The device {name} is none that torch knows. Use cpu, cuda or mps.") from error
    is_there = device.type == "cpu"
    if device.type == "cuda":
        is_there = torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count()
    elif device.type == "mps":
        is_there = torch.backends.mps.is_available()
    if not is_there:
        raise DeviceError(f"The device {name} is not there. Use --device cpu.")
    return device

"""The torch engine: every network, on processors and accelerators. Needs torch."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from alen.config import AlenConfig
from alen.engines import Planes, PlanesArray, Precision, check_engine_settings
from alen.engines.torch_bands import FIRST_BYTES, BandedAlen, kept_bytes
from alen.errors import DeviceError, WeightsError
from alen.models.alen import Alen
from alen.models.layers import eotf_srgb
from alen.models.sid_unet import SidUnet
from alen.weights import Weights

BAND: Final = 64_000
"""Positions of the first level that a processor computes at a time: their features stay in its third-level cache."""
ACCELERATOR_BAND: Final = 1_000_000
"""Positions that an accelerator computes at a time: enough to keep it busy."""
_TORCH_BYTES: Final = 300_000_000
"""Memory of torch itself, about."""
_BAND_CHANNELS: Final = 400
"""Values of a packed pixel of a band there are at the same time, about."""
_WHOLE_CHANNELS: Final = 400
"""Values of a packed pixel there are at the same time while `SidUnet` runs, about."""


class TorchEngine:
    """A network in eager torch; any frame size.

    The attention network runs band by band at bounded memory, see `alen.engines.torch_bands`; the See-in-the-Dark U-Net
    runs on the whole frame at once.

    Args:
        weights: The network, `AlenConfig` or `SidUnetConfig`.
        device: A torch device, such as "cpu", "cuda" or "mps".
        precision: Arithmetic of the layers with weights; "auto" takes bfloat16 on CUDA devices that compute in it. The
            attention network's last layer and what follows it are float32.
        threads: CPU threads of torch, for the whole process; None leaves them as they are.
        band: Positions of the first level, about, that are computed at a time; None takes `BAND` on processors, else
            `ACCELERATOR_BAND`.
        first_bytes: First features up to this size are kept instead of made twice.

    Raises:
        DeviceError: The device is not there, or cannot compute in that precision.
        WeightsError: The tensors are not those of the network.
    """

    def __init__(
        self,
        weights: Weights,
        *,
        device: str = "cpu",
        precision: Precision = "auto",
        threads: int | None = None,
        band: int | None = None,
        first_bytes: int = FIRST_BYTES,
    ) -> None:
        self._device = _device(device)
        is_cuda = self._device.type == "cuda"
        has_bfloat16 = torch.cuda.is_bf16_supported() if is_cuda else self._device.type == "cpu"
        if precision == "bfloat16" and not has_bfloat16:
            raise DeviceError(f"The device {device} does not compute in bfloat16. Use --precision float32.")
        is_low = precision == "bfloat16" or (precision == "auto" and is_cuda and has_bfloat16)
        self.precision: Literal["bfloat16", "float32"] = "bfloat16" if is_low else "float32"
        self._dtype = torch.bfloat16 if is_low else torch.float32
        check_engine_settings(precision, threads)
        if threads is not None:
            torch.set_num_threads(threads)
        self._config = config = weights.config
        self._network = Alen(config) if isinstance(config, AlenConfig) else SidUnet(config)
        try:
            self._network.load_state_dict({name: torch.from_numpy(array) for name, array in weights.arrays.items()})
        except RuntimeError as error:
            raise WeightsError(f"{weights.name}: its tensors are not those of its network ({error}).") from error
        self._network.to(self._device).eval()
        self._band = band or (BAND if self._device.type == "cpu" else ACCELERATOR_BAND)
        self._banded: BandedAlen | None = None
        if isinstance(self._network, Alen):
            self._banded = BandedAlen(self._network, self._dtype, band=self._band, first_bytes=first_bytes)

    @property
    def description(self) -> str:
        """Engine, device and precision in a few words."""
        name = torch.cuda.get_device_name(self._device) if self._device.type == "cuda" else self._device.type
        return f"torch {torch.__version__}, {name}, {self.precision}"

    def needed_bytes(self, height: int, width: int) -> int:
        """Return the memory that packed planes (P, h, w) need beside themselves and the picture, about.

        On an accelerator most of it is the accelerator's.
        """
        if not isinstance(self._config, AlenConfig):
            return _TORCH_BYTES + 4 * _WHOLE_CHANNELS * height * width
        band = max(min(self._band, height * width), 4 * width)
        return _TORCH_BYTES + 4 * _BAND_CHANNELS * band + kept_bytes(self._config, height, width, self._dtype)

    def run(self, planes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the linear picture of packed planes; see `alen.engines.Engine.run`.

        Planes (P, h, w) of any size, of networks for X-Trans with P = 9, become (s·h, s·w, 3); s is 2, for X-Trans 3.

        Raises:
            DeviceError: The device's memory is too small.
        """
        _, height, width = planes.shape
        side = self._config.shuffle
        picture = np.empty((side * height, side * width, 3), dtype=np.float32)
        reached = 0
        for piece in self.stripes(PlanesArray(planes)):
            picture[reached : reached + len(piece)] = piece
            reached += len(piece)
        return picture

    def stripes(self, planes: Planes, progress: Callable[[float], None] | None = None) -> Iterator[NDArray[np.float32]]:
        """Yield the linear picture in pieces from top to bottom; see `alen.engines.Engine.stripes`.

        Any frame size: a frame whose sides are no multiples of `AlenConfig.multiple` is continued by its last rows and
        columns, and the picture is cropped.

        Raises:
            DeviceError: The device's memory is too small.
        """
        _, height, width = planes.shape
        left = self._config.shuffle * height
        pieces = self._pieces(planes, progress)
        while left > 0:
            try:
                with _exact(self._device):
                    linear = _linear(next(pieces)[:, :, :left, : self._config.shuffle * width])
            except (RuntimeError, MemoryError) as error:  # torch has no error of its own for a processor's memory
                if not isinstance(error, MemoryError) and "memory" not in str(error).lower():
                    raise
                raise DeviceError(
                    f"The memory of {self._device} is too small for {height} × {width} packed pixels ({error})."
                ) from error
            left -= len(linear)
            yield linear

    def _pieces(self, planes: Planes, progress: Callable[[float], None] | None) -> Iterator[Tensor]:
        """Yield the display-encoded picture in pieces (1, 3, n, s·w) float32, not cropped."""
        if self._banded is None:
            whole = self._whole(planes)
            if progress is not None:
                progress(1.0)
            yield whole
            return
        multiple = self._banded.config.multiple
        if planes.shape[1] % multiple or planes.shape[2] % multiple:
            planes = _Continued(planes, multiple, self._config.period)
        yield from self._banded.pictures(planes, progress)

    @torch.inference_mode()
    def _whole(self, planes: Planes) -> Tensor:
        tensor = torch.from_numpy(np.ascontiguousarray(planes.rows(0, planes.shape[1])))[None].to(self._device)
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self.precision == "bfloat16"):
            encoded: Tensor = self._network(tensor)
        return encoded.float()


@dataclass(frozen=True)
class _Continued:
    """`Planes` continued by their last rows and columns to sides that are multiples."""

    planes: Planes
    multiple: int
    period: int
    """How many of the last are repeated: 1, or the 2 of a whole pattern of X-Trans."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(P, h, w)."""
        count, height, width = self.planes.shape
        return count, height + -height % self.multiple, width + -width % self.multiple

    def rows(self, start: int, stop: int) -> NDArray[np.float32]:
        """Return rows ``start`` to ``stop``."""
        _, height, width = self.planes.shape
        first = max(min(start, height - self.period), 0)
        part = self.planes.rows(first, min(stop, height))
        row, column = np.arange(start, stop), np.arange(self.shape[2])
        for index, size in ((row, height), (column, width)):
            beyond = index >= size
            index[beyond] = size - self.period + (index[beyond] - size) % self.period
        return part[:, row - first][:, :, column]


def _exact(device: torch.device) -> contextlib.AbstractContextManager[None]:
    """Return a context in which float32 convolutions are float32: cuDNN's default rounds their input to ten bits."""
    if device.type != "cuda":
        return contextlib.nullcontext()
    return torch.backends.cudnn.flags(enabled=True, allow_tf32=False)


@torch.inference_mode()
def _linear(encoded: Tensor) -> NDArray[np.float32]:
    """Return the linear picture (H, W, 3) of a display-encoded one (1, 3, H, W) on any device."""
    linear: NDArray[np.float32] = eotf_srgb(encoded)[0].permute(1, 2, 0).contiguous().cpu().numpy()
    return linear


def available_devices() -> dict[str, tuple[str, bool]]:
    """Return the devices there are, by the names `alen.enhance.make_engine` has for them.

    Returns:
        Their makers' names, and whether `TorchEngine` computes in bfloat16 there with the precision "auto".
    """
    found = {"torch": (f"the processor, by torch {torch.__version__}", False)}
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            with torch.cuda.device(index):
                found[f"cuda:{index}"] = torch.cuda.get_device_name(index), torch.cuda.is_bf16_supported()
    if torch.backends.mps.is_available():
        found["mps"] = "Metal", False
    return found


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
        have = ", ".join(other for other in available_devices() if other != "torch") or "none but the processor"
        raise DeviceError(f"The device {name} is not there. torch finds: {have}.")
    return device

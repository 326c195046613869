"""Weights of other programs as weights files of ours.

The See-in-the-Dark U-Net (https://github.com/cchen156/Learning-to-See-in-the-Dark) is known in two layouts: the
TensorFlow variables of its authors, and the state dict of its PyTorch ports, such as
https://github.com/lavi135246/pytorch-Learning-to-See-in-the-Dark. They differ in the axes of the kernels, in the order
of the head's channels (``depth_to_space`` against ``pixel_shuffle``), and in biases of the transposed convolutions,
which the ports have. Our attention network is taken with the names of its own state dict.

Nothing is unpickled: .safetensors, .npz without objects, and .pth through ``torch.load(weights_only=True)``.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from alen.config import AlenConfig, SidUnetConfig
from alen.errors import WeightsError
from alen.tensors import check_tensors

if TYPE_CHECKING:
    from torch import Tensor

Arrays = dict[str, NDArray[np.float32]]

PlaneOrder = Literal["sid", "ours"]
"""Order of the Bayer planes the weights were trained with: R, Gr, B, Gb as See-in-the-Dark packs, or R, Gr, Gb, B."""

_SID_PLANES: Final = (0, 1, 3, 2)
"""Where our planes stand in See-in-the-Dark's order: R, Gr, Gb, B of R, Gr, B, Gb."""

_BLOCKS: Final = {"encode0": 1, "encode1": 2, "encode2": 3, "encode3": 4, "encode4": 5} | {
    "decode3": 6,
    "decode2": 7,
    "decode1": 8,
    "decode0": 9,
}
"""Number of the authors' layers by our block."""

_UPS: Final = {"up3": 6, "up2": 7, "up1": 8, "up0": 9}


def read_state_dict(path: Path) -> Arrays:
    """Read tensors by name from a .safetensors, .npz or .pth file; returns float32.

    Raises:
        WeightsError: The file is missing, damaged, or holds anything but tensors.
    """
    if not path.is_file():
        raise WeightsError(f"{path}: no such file.")
    suffix = path.suffix.lower()
    try:
        if suffix == ".safetensors":
            with safe_open(path, framework="pt") as file:  # numpy has no bfloat16
                found = {name: _array(file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118 - not a mapping
        elif suffix == ".npz":
            found = _read_archive(path)
        elif suffix in (".pth", ".pt"):
            found = _read_torch(path)
        else:
            raise WeightsError(f"{path}: expected .safetensors, .npz or .pth.")
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, SafetensorError) as error:
        raise WeightsError(f"{path}: cannot be read as tensors by name ({error}).") from error
    for name, array in found.items():
        if not np.issubdtype(array.dtype, np.floating):
            raise WeightsError(f"{path}: {name} is of type {array.dtype}; weights are floating-point numbers.")
    return {name: np.asarray(array, dtype=np.float32) for name, array in found.items()}


def convert_sid_unet(
    arrays: Mapping[str, NDArray[np.float32]], *, plane_order: PlaneOrder
) -> tuple[Arrays, SidUnetConfig]:
    """Return the U-Net's weights under our names, and its configuration, found from their shapes.

    Args:
        arrays: By the names of the PyTorch ports ("conv1_1.weight", "upv6.weight", …, "conv10_1.bias"), of the
            TensorFlow variables ("g_conv1_1/weights", "Variable", "Variable_1", …, "g_conv10/biases"), or ours.
        plane_order: Order of the Bayer planes; X-Trans planes stand in one order alone.

    Raises:
        WeightsError: A name is unknown or missing, or a shape does not fit.
    """
    stripped = {_stripped(name): array for name, array in arrays.items()}
    if any(name.startswith("g_conv") for name in stripped):
        ours = _from_names({name: _torch_axes(array) for name, array in stripped.items()}, _tensorflow_names())
    elif any(name.startswith("conv1_1.") for name in stripped):
        ours = _from_names(stripped, _port_names())
    else:
        ours = dict(stripped)
    config = _config_of(ours)
    if any(name.startswith("g_conv") for name in stripped):  # channel 3·(s·y + x) + c is our s²·c + s·y + x
        order = np.arange(config.picture_channels).reshape(-1, 3).T.ravel()
        ours |= {f"head.{kind}": ours[f"head.{kind}"][order] for kind in ("weight", "bias")}
    if config.cfa == "bayer" and plane_order == "sid":
        ours["encode0.conv1.weight"] = ours["encode0.conv1.weight"][:, _SID_PLANES]
    check_tensors(ours, config)
    return {name: np.ascontiguousarray(array) for name, array in ours.items()}, config


def convert_alen(
    arrays: Mapping[str, NDArray[np.float32]], config: AlenConfig, *, plane_order: PlaneOrder
) -> tuple[Arrays, AlenConfig]:
    """Return the attention network's weights for our planes.

    Args:
        arrays: By the names of our state dict.
        config: The network.
        plane_order: Order of the Bayer planes; each copy of them at another brightness is put in ours.

    Raises:
        WeightsError: A name is unknown or missing, or a shape does not fit.
    """
    ours = {_stripped(name): array for name, array in arrays.items()}
    check_tensors(ours, config)
    if config.cfa == "bayer" and plane_order == "sid":
        order = np.concatenate([4 * copy + np.array(_SID_PLANES) for copy in range(len(config.brightness))])
        # the gate squeezes and excites the same channels that the convolution takes
        for name, axis in (
            ("stem.gate.squeeze.weight", 1),
            ("stem.gate.excite.weight", 0),
            ("stem.gate.excite.bias", 0),
            ("stem.conv1.weight", 1),
        ):
            if name in ours:
                ours[name] = np.take(ours[name], order, axis=axis)
    return {name: np.ascontiguousarray(array) for name, array in ours.items()}, config


def _read_archive(path: Path) -> dict[str, NDArray[Any]]:
    """Read the arrays of an .npz file; ValueError if it holds anything else."""
    archive = np.load(path, allow_pickle=False)
    if not isinstance(archive, np.lib.npyio.NpzFile):
        raise ValueError("it is a single array without a name")
    with archive:
        found = {name: archive[name] for name in archive.files}
    for name, array in found.items():
        if not isinstance(array, np.ndarray):
            raise ValueError(f"{name} in it is no array")
    return found


def _read_torch(path: Path) -> dict[str, NDArray[Any]]:
    """Read a state dict that torch saved; its unpickler is limited to tensors."""
    import torch

    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle makes the unpickler raise anything, down to a KeyError
        raise WeightsError(f"{path}: torch finds no plain state dict in it ({error}).") from error
    if isinstance(found, dict) and isinstance(found.get("state_dict"), dict):
        found = found["state_dict"]
    if not isinstance(found, dict) or not all(isinstance(value, torch.Tensor) for value in found.values()):
        raise WeightsError(f"{path}: expected tensors by name, a state dict.")
    return {str(name): _array(value) for name, value in found.items()}


def _array(tensor: Tensor) -> NDArray[Any]:
    """Return a tensor as an array, of a floating-point type in float32: numpy does not know all that torch does."""
    tensor = tensor.detach()
    array: NDArray[Any] = (tensor.float() if tensor.is_floating_point() else tensor).numpy()
    return array


def _stripped(name: str) -> str:
    """Return a name without what DataParallel and TensorFlow add."""
    return name.removeprefix("module.").removesuffix(":0")


def _port_names() -> dict[str, str]:
    """Return our names by those of the PyTorch ports; biases of the transposed convolutions are theirs alone."""
    names: dict[str, str] = {}
    for kind in ("weight", "bias"):
        for block, number in _BLOCKS.items():
            names |= {f"conv{number}_{k}.{kind}": f"{block}.conv{k}.{kind}" for k in (1, 2)}
        names |= {f"upv{number}.{kind}": f"{up}.{kind}" for up, number in _UPS.items()}
        names[f"conv10_1.{kind}"] = f"head.{kind}"
    return names


def _tensorflow_names() -> dict[str, str]:
    """Return our names by those of the TensorFlow variables; the transposed convolutions have none of their own."""
    names: dict[str, str] = {}
    for theirs, kind in (("weights", "weight"), ("biases", "bias")):
        for block, number in _BLOCKS.items():
            names |= {f"g_conv{number}_{k}/{theirs}": f"{block}.conv{k}.{kind}" for k in (1, 2)}
        names[f"g_conv10/{theirs}"] = f"head.{kind}"
    for count, up in enumerate(_UPS):
        names["Variable" if count == 0 else f"Variable_{count}"] = f"{up}.weight"
    return names


def _torch_axes(array: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a TensorFlow kernel (h, w, in, out) as (out, in, h, w).

    A transposed convolution's (h, w, out, in) becomes torch's (in, out, h, w) in the same way.
    """
    return array.transpose(3, 2, 0, 1) if array.ndim == 4 else array


def _from_names(arrays: Mapping[str, NDArray[np.float32]], names: Mapping[str, str]) -> Arrays:
    """Return arrays under our names; what TensorFlow's optimizer keeps beside them is left out."""
    kept = {name: array for name, array in arrays.items() if not re.search(r"/Adam(_1)?$|^beta\d_power$", name)}
    unknown = sorted(kept.keys() - names.keys())
    if unknown:
        raise WeightsError(f"Unknown keys, which belong to no layer of the U-Net: {', '.join(unknown)}.")
    return {names[name]: array for name, array in kept.items()}


def _config_of(arrays: Mapping[str, NDArray[np.float32]]) -> SidUnetConfig:
    """Return the configuration that the shapes of the U-Net's weights tell."""
    names = ["head.weight", *(f"encode{level}.conv1.weight" for level in range(5))]
    missing = [name for name in names if name not in arrays or arrays[name].ndim != 4]
    if missing:
        raise WeightsError(f"These are not the weights of the See-in-the-Dark U-Net: {', '.join(missing)} missing.")
    head, *firsts = (arrays[name].shape for name in names)
    w0, w1, w2, w3, w4 = (shape[0] for shape in firsts)
    for cfa in ("bayer", "xtrans"):
        config = SidUnetConfig(cfa=cfa, input_levels="sid", up_bias="up3.bias" in arrays, widths=(w0, w1, w2, w3, w4))
        if (firsts[0][1], head[0]) == (config.plane_count, config.picture_channels):
            return config
    raise WeightsError(f"A U-Net of {firsts[0][1]} planes and {head[0]} channels; expected 4 and 12, or 9 and 27.")

"""The tensors that a network's weights are: names and shapes from its configuration, without torch.

As torch has them in the state dicts of `alen.models.alen.Alen` and `alen.models.sid_unet.SidUnet`; tests hold them
together.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any, Final

from numpy.typing import NDArray

from alen.cfa import FilterArray
from alen.config import FILTERS, AlenConfig, SidUnetConfig
from alen.errors import WeightsError

_Shapes = dict[str, tuple[int, ...]]

_FILTER_SIDES: Final[Mapping[FilterArray, tuple[tuple[int, int], ...]]] = {
    "bayer": ((3, 3), (3, 5), (5, 3)),
    "xtrans": ((3, 3), (3, 3), (3, 3)),
}
"""Rows and columns of the demosaicking filters, in the order of `FILTERS`."""


def check_tensors(arrays: Mapping[str, NDArray[Any]], config: AlenConfig | SidUnetConfig) -> None:
    """Raise WeightsError unless names and shapes are those of the network."""
    wanted = tensor_shapes(config)
    unknown, missing = sorted(arrays.keys() - wanted.keys()), sorted(wanted.keys() - arrays.keys())
    if unknown or missing:
        parts = [f"unknown keys: {', '.join(unknown)}"] * bool(unknown)
        parts += [f"missing keys: {', '.join(missing)}"] * bool(missing)
        raise WeightsError(f"These are not the weights of the network; {'; '.join(parts)}.")
    for name, shape in wanted.items():
        if arrays[name].shape != shape:
            raise WeightsError(f"{name} has the shape {arrays[name].shape}, but the network's is {shape}.")


def tensor_shapes(config: AlenConfig | SidUnetConfig) -> _Shapes:
    """Return the shapes of a network's tensors by their names in the state dict."""
    return _alen(config) if isinstance(config, AlenConfig) else _sid_unet(config)


def _alen(config: AlenConfig) -> _Shapes:
    w0, w1, w2, w3 = config.widths
    shapes = _block("stem", config.input_channels, w0, config)
    for level, (above, width) in enumerate(((w0, w1), (w1, w2), (w2, w3)), start=1):
        shapes |= _down(f"down{level}", above, config) | _mixed(f"encode{level}", above, width, config)
    for level, (below, width) in enumerate(((w1, w0), (w2, w1), (w3, w2))):
        shapes |= _up(f"up{level}", below, width) | _block(f"decode{level}", 2 * width, width, config)
    shapes |= _conv("head", w0, config.head_channels * config.unshuffle**2, 1)
    if config.demosaicking == "learned":
        channels = config.picture_channels * config.period**2, config.plane_count * config.period**2
        shapes |= {name: (*channels, *sides) for name, sides in zip(FILTERS, _FILTER_SIDES[config.cfa], strict=True)}
    return shapes


def _sid_unet(config: SidUnetConfig) -> _Shapes:
    widths = config.widths
    shapes = _pair("encode0", config.plane_count, widths[0]) | _conv("head", widths[0], config.picture_channels, 1)
    for level, (width, below) in enumerate(itertools.pairwise(widths)):
        shapes |= _pair(f"encode{level + 1}", width, below) | _pair(f"decode{level}", 2 * width, width)
        shapes |= _up(f"up{level}", below, width, is_biased=config.up_bias)
    return shapes


def _conv(name: str, inputs: int, outputs: int, side: int) -> _Shapes:
    return {f"{name}.weight": (outputs, inputs, side, side), f"{name}.bias": (outputs,)}


def _linear(name: str, inputs: int, outputs: int) -> _Shapes:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def _up(name: str, inputs: int, outputs: int, *, is_biased: bool = True) -> _Shapes:
    return {f"{name}.weight": (inputs, outputs, 2, 2)} | ({f"{name}.bias": (outputs,)} if is_biased else {})


def _pair(name: str, inputs: int, outputs: int) -> _Shapes:
    return _conv(f"{name}.conv1", inputs, outputs, 3) | _conv(f"{name}.conv2", outputs, outputs, 3)


def _block(name: str, inputs: int, outputs: int, config: AlenConfig) -> _Shapes:
    """A CAB."""
    shapes = _pair(name, inputs, outputs)
    if config.channel_attention:
        shapes |= _linear(f"{name}.gate.squeeze", inputs, inputs) | _linear(f"{name}.gate.excite", inputs, inputs)
    return shapes


def _mixed(name: str, inputs: int, outputs: int, config: AlenConfig) -> _Shapes:
    """A MAB."""
    if not config.spatial_attention:
        return _block(f"{name}.block", inputs, outputs, config)
    inner = inputs // 4
    shapes = _conv(f"{name}.spatial.value", inputs, inner, 1) | _conv(f"{name}.spatial.project", inner, inputs, 1)
    if config.pairwise != "gaussian":
        shapes |= _conv(f"{name}.spatial.query", inputs, inner, 1) | _conv(f"{name}.spatial.key", inputs, inner, 1)
    if config.pairwise == "concatenation":
        shapes |= {f"{name}.spatial.weigh.weight": (1, 2 * inner)}
    return shapes | _block(f"{name}.block", 2 * inputs, outputs, config)


def _down(name: str, channels: int, config: AlenConfig) -> _Shapes:
    if config.downsample == "isl":
        return _conv(f"{name}.select", 4 * channels, channels, 1)
    return _conv(name, channels, channels, 3) if config.downsample == "strided" else {}

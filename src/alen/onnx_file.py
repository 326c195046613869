"""A network as an ONNX file for other programs: https://onnx.ai. Built from configuration and weights, without torch.

Mirrors `alen.models.alen.Alen` and `alen.models.sid_unet.SidUnet` layer by layer, under the names of their state dicts;
tests hold them together. One input, "planes", one output, "picture", of any size: padding and cropping are inside. What
both hold stands in the file's metadata, see `metadata`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from alen import __version__
from alen.config import (
    COLOR_FLOOR,
    DEMOSAICKED,
    LUMA,
    PYRAMID,
    PYRAMID_CEILING,
    PYRAMID_NOISE,
    AlenConfig,
    SidUnetConfig,
)
from alen.demosaic import demosaicking_kernels
from alen.replacing import replacing
from alen.weights import Weights, conventions

OPSET: Final = 17
"""Version of the operators: old enough for what is in use, new enough for all that is needed."""

_IR_VERSION: Final = 8
_SLOPE: Final = 0.2


def build_onnx(weights: Weights) -> onnx.ModelProto:
    """Return a network as a checked ONNX model, in float32.

    Input "planes": (1, P, height, width) float32; 4 planes of a Bayer mosaic at half its size, or 9 of an X-Trans
    mosaic at a third of it, as the weights' header says. Output "picture": (1, 3, s·height, s·width) float32, s = 2 or
    3: linear camera RGB of weights that have the target "camera", else the finished picture, display-encoded. Not
    clipped.
    """
    config = weights.config
    graph = _Graph(weights.arrays)
    picture = _alen(graph, config) if isinstance(config, AlenConfig) else _sid_unet(graph, config)
    graph.add("Identity", picture, output="picture")
    s = config.shuffle
    planes = helper.make_tensor_value_info("planes", TensorProto.FLOAT, [1, config.plane_count, "height", "width"])
    pictures = helper.make_tensor_value_info("picture", TensorProto.FLOAT, [1, 3, f"{s}*height", f"{s}*width"])
    model = helper.make_model(
        helper.make_graph(graph.nodes, "alen", [planes], [pictures], graph.constants),
        producer_name="alen",
        producer_version=__version__,
        ir_version=_IR_VERSION,
        opset_imports=[helper.make_opsetid("", OPSET)],
    )
    helper.set_model_props(model, metadata(weights))
    onnx.checker.check_model(model, full_check=True)
    return model


def metadata(weights: Weights) -> dict[str, str]:
    """Return what the file says of itself: which weights, order and levels of the planes, what comes out, licence."""
    said = conventions(weights.config)
    if weights.config.target == "camera":
        said |= {"output": "linear camera RGB: (DN − black)/(white − black) × white balance × ratio, not clipped"}
    return said | {
        "model": weights.name,
        "digest": weights.digest,
        "network": type(weights.config).__name__.removesuffix("Config"),
        "target": weights.config.target,
        "filter_array": weights.config.cfa,
        "config": json.dumps(asdict(weights.config)),
        "licence": weights.facts.licence,
        "data": weights.facts.data,
        "limits": weights.facts.limits,
    }


def write_onnx(path: Path, weights: Weights) -> None:
    """Write a network as an ONNX file, atomically; see `build_onnx`. Raises OSError if that cannot be done."""
    with replacing(path) as part:
        part.write_bytes(build_onnx(weights).SerializeToString())


# ---------------------------------------------------------------------------------------------------------------------
# The networks
# ---------------------------------------------------------------------------------------------------------------------


def _alen(graph: _Graph, config: AlenConfig) -> str:
    patterns = graph.unshuffle("planes", config.plane_count, config.period)
    padded = graph.shuffle(graph.pad_to_multiple(patterns, config.multiple // config.period), config.period)
    positions = graph.unshuffle(padded, config.plane_count, config.unshuffle)
    copies = [graph.clip(graph.add("Mul", positions, graph.number(factor)), -1, 1) for factor in config.brightness]
    layers = _AlenLayers(graph, config)
    skip0 = layers.block(graph.concat(copies), "stem")
    skip1 = layers.mixed(layers.down(skip0, "down1"), "encode1")
    skip2 = layers.mixed(layers.down(skip1, "down2"), "encode2")
    x = layers.mixed(layers.down(skip2, "down3"), "encode3")
    x = layers.block(graph.concat([graph.up(x, "up2"), skip2]), "decode2")
    x = layers.block(graph.concat([graph.up(x, "up1"), skip1]), "decode1")
    x = layers.block(graph.concat([graph.up(x, "up0"), skip0]), "decode0")
    head = graph.crop(graph.shuffle(graph.conv(x, "head"), config.unshuffle), "planes")
    encoded = _compose(graph, config, head, patterns, padded)
    return graph.decode(encoded) if config.target == "camera" else encoded


def _compose(graph: _Graph, config: AlenConfig, head: str, patterns: str, padded: str) -> str:
    """Return the display-encoded picture, see `alen.models.alen.Alen.compose`."""
    if config.base == "none":
        return graph.shuffle(head, config.shuffle)
    side = config.shuffle
    painted = graph.channels(head, 0, 3 * side**2)
    compressed = graph.compress_highlights(patterns)

    def demosaicked(kernels: NDArray[np.float32]) -> str:
        vertical, horizontal = (side // 2 for side in kernels.shape[2:])
        around = graph.pad(compressed, [0, 0, vertical, horizontal, 0, 0, vertical, horizontal])
        picture = graph.shuffle(graph.add("Conv", around, graph.constant(kernels)), config.period)
        return graph.expand_highlights(picture)  # (1, 3·s², h, w)

    isotropic, *directional = demosaicking_kernels(config.cfa, graph.arrays)
    weight = graph.channels(head, 3 * side**2, config.head_channels)
    if config.base == "demosaic":
        share = graph.add("Sigmoid", graph.shuffle(weight, side))
        base = graph.add("Mul", share, graph.shuffle(graph.encode(demosaicked(isotropic)), side))
        return graph.add("Add", graph.shuffle(painted, side), base)

    count = DEMOSAICKED + len(PYRAMID)
    of_luma = graph.add("Softmax", graph.channels(weight, 0, count), axis=1)
    of_color = graph.add("Softmax", graph.channels(weight, count, 2 * count), axis=1)
    pictures = [demosaicked(kernels) for kernels in (isotropic, *directional)]
    assert len(pictures) == DEMOSAICKED
    to_pixels = graph.integers(np.repeat(np.arange(3), side**2))  # gives each of three colors to its pixels
    pictures += [graph.add("Gather", level, to_pixels, axis=1) for level in _pyramid(graph, config, padded)]

    def mixture(shares: str) -> str:
        terms = enumerate(pictures)
        return graph.total([graph.add("Mul", graph.channels(shares, i, i + 1), picture) for i, picture in terms])

    color = mixture(of_color)
    to_luma = graph.constant(np.kron([LUMA, LUMA, LUMA], np.eye(side**2)).astype(np.float32)[:, :, None, None])
    own, luma = (graph.add("Conv", picture, to_luma) for picture in (color, mixture(of_luma)))  # for all three colors
    floor, zero = graph.number(COLOR_FLOOR), graph.number(0)
    above, below = (graph.add("Add", graph.add("Max", value, zero), floor) for value in (luma, own))
    share = graph.add("Min", graph.add("Div", above, below), graph.number(1))
    base = graph.add("Add", luma, graph.add("Mul", graph.add("Sub", color, own), share))
    return graph.shuffle(graph.add("Add", painted, graph.encode(base)), side)


def _pyramid(graph: _Graph, config: AlenConfig, padded: str) -> list[str]:
    """Return averages (1, 3, h, w) of the planes, see `alen.models.alen.pyramid`."""
    mix = np.zeros((3, config.plane_count, 1, 1), dtype=np.float32)
    for color, planes in enumerate(config.color_planes):
        mix[color, planes] = 1 / len(planes)
    coarse, reached = graph.add("Conv", padded, graph.constant(mix)), 1
    levels = []
    for side in PYRAMID:
        coarse, reached = graph.average(coarse, side // reached), side
        around = max(PYRAMID) // side
        below = graph.average(graph.add("Relu", graph.add("Neg", coarse)), around)
        ceilings = graph.add("Mul", below, graph.number(PYRAMID_NOISE))
        ceilings = graph.add("Add", ceilings, graph.number(PYRAMID_CEILING))
        ceiling = graph.crop(graph.repeat(ceilings, around), coarse)
        coarse = graph.add("Min", coarse, ceiling)
        scales = graph.constant(np.array([1, 1, side, side], dtype=np.float32))
        fine = graph.add("Resize", coarse, "", scales, mode="linear", coordinate_transformation_mode="half_pixel")
        levels.append(graph.crop(fine, "planes"))
    return levels


class _AlenLayers:
    """The blocks of the attention network by their names in the state dict."""

    def __init__(self, graph: _Graph, config: AlenConfig) -> None:
        self.graph = graph
        self.config = config

    def block(self, x: str, name: str) -> str:
        """A CAB."""
        if self.config.channel_attention:
            x = self.graph.add("Mul", x, self._gate(x, f"{name}.gate"))
        x = self.graph.leaky(self.graph.conv(x, f"{name}.conv1"))
        return self.graph.leaky(self.graph.conv(x, f"{name}.conv2"))

    def mixed(self, x: str, name: str) -> str:
        """A MAB."""
        if self.config.spatial_attention:
            x = self.graph.concat([x, self._nonlocal(x, f"{name}.spatial")])
        return self.block(x, f"{name}.block")

    def down(self, x: str, name: str) -> str:
        if self.config.downsample == "max":
            return self.graph.halve(x)
        if self.config.downsample == "strided":
            return self.graph.conv(x, name, stride=2)
        weight = self.graph.arrays[f"{name}.select.weight"]
        folded = weight.reshape(weight.shape[0], -1, 2, 2)  # unshuffle and 1 x 1 convolution in one
        bias = self.graph.weight(f"{name}.select.bias")
        return self.graph.add("Conv", x, self.graph.constant(folded), bias, strides=[2, 2])

    def _gate(self, x: str, name: str) -> str:
        graph = self.graph
        means = graph.add("Flatten", graph.add("GlobalAveragePool", x))  # (1, C)
        hidden = graph.add("Relu", graph.linear(means, f"{name}.squeeze"))
        logits = graph.linear(hidden, f"{name}.excite")
        if self.config.gate_limit is not None:
            limit = graph.number(self.config.gate_limit)
            logits = graph.add("Mul", graph.add("Tanh", graph.add("Div", logits, limit)), limit)
        gate = graph.add("Sigmoid", logits)
        gate = graph.add("Mul", gate, graph.number(self.config.gate_scale))
        return graph.add("Reshape", gate, graph.integers([1, -1, 1, 1]))

    def _nonlocal(self, x: str, name: str) -> str:
        graph, pairwise = self.graph, self.config.pairwise
        pooled = graph.average(x, 2)
        query = pooled if pairwise == "gaussian" else graph.conv(pooled, f"{name}.query")
        keys = pooled if pairwise == "gaussian" else graph.conv(pooled, f"{name}.key")
        queries = graph.positions(query)  # (1, P, D)
        key = graph.positions(self._reduce(keys))  # (1, M, D)
        value = graph.positions(self._reduce(graph.conv(pooled, f"{name}.value")))  # (1, M, D)
        attended = self._attend(queries, key, value, name)  # (1, P, D)
        flat = graph.add("Transpose", attended, perm=[0, 2, 1])
        size = graph.add("Concat", graph.integers([1, -1]), graph.size(query), axis=0)
        y = graph.conv(graph.add("Reshape", flat, size), f"{name}.project")
        channels = graph.add("Shape", y, start=0, end=2)
        return graph.add(
            "Resize",
            y,
            "",
            "",
            graph.add("Concat", channels, graph.size(x), axis=0),
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        )

    def _attend(self, query: str, key: str, value: str, name: str) -> str:
        """Return what the positions see, (1, P, D), see `alen.models.attention.NonLocal.attend`."""
        graph = self.graph
        if self.config.attention_limit is not None:
            query = graph.add("Mul", self._direction(query), graph.number(self.config.attention_limit))
            key = self._direction(key)
        across = graph.add("Transpose", key, perm=[0, 2, 1])  # (1, D, M)
        if self.config.pairwise in ("gaussian", "embedded_gaussian"):
            return graph.add("MatMul", graph.add("Softmax", graph.add("MatMul", query, across), axis=2), value)
        count = graph.add("Cast", graph.add("Shape", key, start=1, end=2), to=TensorProto.FLOAT)
        mean = graph.add("Div", value, count)
        if self.config.pairwise == "dot_product":
            return graph.add("MatMul", query, graph.add("MatMul", across, mean))
        weigh = self.graph.arrays[f"{name}.weigh.weight"]  # (1, 2D): of queries, of keys
        left, right = np.split(weigh, 2, axis=1)
        ours = graph.add("MatMul", query, graph.constant(np.ascontiguousarray(left.T)))  # (1, P, 1)
        theirs = graph.add("MatMul", graph.constant(np.ascontiguousarray(right)), across)  # (1, 1, M)
        return graph.add("MatMul", graph.add("Relu", graph.add("Add", ours, theirs)), mean)

    def _direction(self, x: str) -> str:
        """Return vectors (1, n, D) of length 1, or 0 where they are 0."""
        length = self.graph.add("ReduceL2", x, axes=[2])
        return self.graph.add("Div", x, self.graph.add("Max", length, self.graph.number(1e-12)))

    def _reduce(self, x: str) -> str:
        if self.config.key_grid is None:
            return self.graph.average(x, 4)
        return self.graph.average_to_grid(x, self.config.key_grid)


def _sid_unet(graph: _Graph, config: SidUnetConfig) -> str:
    def pair(x: str, name: str) -> str:
        return graph.leaky(graph.conv(graph.leaky(graph.conv(x, f"{name}.conv1")), f"{name}.conv2"))

    x = pair(graph.pad_to_multiple(graph.add("Min", "planes", graph.number(1)), 16), "encode0")
    skips = []
    for level in range(1, 5):
        skips.append(x)
        x = pair(graph.halve(x), f"encode{level}")
    for level in reversed(range(4)):
        x = pair(graph.concat([graph.up(x, f"up{level}"), skips[level]]), f"decode{level}")
    encoded = graph.shuffle(graph.crop(graph.conv(x, "head"), "planes"), config.shuffle)
    return graph.decode(encoded) if config.target == "camera" else encoded


# ---------------------------------------------------------------------------------------------------------------------
# The graph
# ---------------------------------------------------------------------------------------------------------------------


class _Graph:
    """Nodes and constants of a graph that grows; values go by their names."""

    def __init__(self, arrays: Mapping[str, NDArray[np.float32]]) -> None:
        self.arrays = arrays
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self._named: dict[bytes, str] = {}

    def add(self, kind: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        """Add a node; returns the name of its output."""
        output = output if output is not None else f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], name=output, **attributes))
        return output

    def constant(self, array: NDArray[Any], name: str | None = None) -> str:
        """Return the name of a constant; equal ones are stored once."""
        key = str((array.dtype, array.shape)).encode() + array.tobytes()
        if key not in self._named:
            self._named[key] = name if name is not None else f"constant_{len(self.constants)}"
            self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array), self._named[key]))
        return self._named[key]

    def weight(self, name: str) -> str:
        """Return the name of one of the network's tensors."""
        return self.constant(self.arrays[name], name)

    def number(self, value: float) -> str:
        """Return the name of a float32 scalar."""
        return self.constant(np.array(value, dtype=np.float32))

    def integers(self, values: Sequence[int] | NDArray[Any] | int) -> str:
        """Return the name of int64 values."""
        return self.constant(np.array(values, dtype=np.int64))

    def conv(self, x: str, name: str, *, stride: int = 1) -> str:
        padding = self.arrays[f"{name}.weight"].shape[-1] // 2
        inputs = (x, self.weight(f"{name}.weight"), self.weight(f"{name}.bias"))
        return self.add("Conv", *inputs, pads=[padding] * 4, strides=[stride, stride])

    def up(self, x: str, name: str) -> str:
        inputs = [x, self.weight(f"{name}.weight")]
        if f"{name}.bias" in self.arrays:
            inputs.append(self.weight(f"{name}.bias"))
        return self.add("ConvTranspose", *inputs, strides=[2, 2])

    def linear(self, x: str, name: str) -> str:
        return self.add("Gemm", x, self.weight(f"{name}.weight"), self.weight(f"{name}.bias"), transB=1)

    def leaky(self, x: str) -> str:
        return self.add("LeakyRelu", x, alpha=_SLOPE)

    def compress_highlights(self, planes: str) -> str:
        """See `alen.models.layers.compress_highlights`."""
        above = self.add("Max", planes, self.number(1))
        return self.add("Min", planes, self.add("Sqrt", self.add("Sqrt", above)))

    def expand_highlights(self, compressed: str) -> str:
        """See `alen.models.layers.expand_highlights`."""
        above = self.add("Max", compressed, self.number(1))
        square = self.add("Mul", above, above)
        return self.add("Add", compressed, self.add("Sub", self.add("Mul", square, square), above))

    def concat(self, values: Sequence[str]) -> str:
        return self.add("Concat", *values, axis=1)

    def clip(self, x: str, low: float, high: float) -> str:
        return self.add("Clip", x, self.number(low), self.number(high))

    def total(self, values: Sequence[str]) -> str:
        return self.add("Sum", *values)

    def halve(self, x: str) -> str:
        return self.add("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])

    def channels(self, x: str, start: int, end: int) -> str:
        return self.add("Slice", x, self.integers([start]), self.integers([end]), self.integers([1]))

    def shuffle(self, x: str, side: int) -> str:
        """Pixel shuffle as torch's: channel s²·c + s·y + x is pixel (y, x) of color c."""
        if side == 1:
            return x
        return self.add("DepthToSpace", x, blocksize=side, mode="CRD")

    def unshuffle(self, x: str, count: int, side: int) -> str:
        """Undo `shuffle` of ``count`` channels; as a convolution, because SpaceToDepth orders channels otherwise."""
        if side == 1:
            return x
        kernel = np.eye(side**2, dtype=np.float32).reshape(-1, 1, side, side)
        weight = self.constant(np.tile(kernel, (count, 1, 1, 1)))
        return self.add("Conv", x, weight, strides=[side, side], group=count)

    def size(self, x: str) -> str:
        """Return height and width, int64."""
        return self.add("Shape", x, start=2, end=4)

    def pad(self, x: str, pads: Sequence[int]) -> str:
        """Continue by the last rows and columns."""
        return self.add("Pad", x, self.integers(pads), mode="edge")

    def pad_to_multiple(self, x: str, multiple: int) -> str:
        """Continue by the last row and column until both sides are multiples."""
        return self.add("Pad", x, self._pads(x, multiple), mode="edge")

    def crop(self, x: str, like: str) -> str:
        """Cut off what reaches beyond another value's height and width."""
        return self.add("Slice", x, self.integers([0, 0]), self.size(like), self.integers([2, 3]))

    def repeat(self, x: str, side: int) -> str:
        """Repeat every pixel side × side times."""
        return self.add(
            "Resize",
            x,
            "",
            self.constant(np.array([1, 1, side, side], dtype=np.float32)),
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        )

    def average(self, x: str, side: int) -> str:
        """Average squares; a square that reaches over the edge averages what it has, as torch's ceil_mode does.

        As a ratio: of the average with zeros around the edge, and the share of the square that is inside.
        """
        pads = self._pads(x, side)
        ones = self.add("Expand", self.number(1), self.add("Concat", self.integers([1, 1]), self.size(x), axis=0))
        sums, shares = (
            self.add(
                "AveragePool",
                self.add("Pad", value, pads, mode="constant"),
                kernel_shape=[side, side],
                strides=[side, side],
            )
            for value in (x, ones)
        )
        return self.add("Div", sums, shares)

    def average_to_grid(self, x: str, side: int) -> str:
        """Average to a grid of cells, which overlap where they have to, as torch's adaptive_avg_pool2d does."""
        rows, columns = (self._cells(x, axis, side) for axis in (2, 3))
        return self.add("MatMul", self.add("MatMul", rows, x), self.add("Transpose", columns, perm=[1, 0]))

    def positions(self, x: str) -> str:
        """Return features (1, D, h, w) as (1, hw, D)."""
        return self.add("Transpose", self.add("Reshape", x, self.integers([0, 0, -1])), perm=[0, 2, 1])

    def encode(self, linear: str) -> str:
        """Inverse sRGB EOTF, odd below 0: see `alen.color.eotf_inverse_srgb`."""
        end = self.number(0.0031308)
        magnitude = self.add("Abs", linear)
        power = self.add("Pow", self.add("Max", magnitude, end), self.number(1 / 2.4))
        power = self.add("Sub", self.add("Mul", power, self.number(1.055)), self.number(0.055))
        straight = self.add("Mul", linear, self.number(12.92))
        return self._either(magnitude, end, straight, self.add("Mul", self.add("Sign", linear), power))

    def decode(self, encoded: str) -> str:
        """The sRGB EOTF, odd below 0: see `alen.color.eotf_srgb`."""
        end = self.number(0.04045)
        magnitude = self.add("Abs", encoded)
        lifted = self.add("Add", self.add("Max", magnitude, end), self.number(0.055))
        power = self.add("Pow", self.add("Div", lifted, self.number(1.055)), self.number(2.4))
        straight = self.add("Div", encoded, self.number(12.92))
        return self._either(magnitude, end, straight, self.add("Mul", self.add("Sign", encoded), power))

    def _either(self, magnitude: str, end: str, straight: str, power: str) -> str:
        return self.add("Where", self.add("LessOrEqual", magnitude, end), straight, power)

    def _pads(self, x: str, multiple: int) -> str:
        """Return the operand of Pad that makes height and width multiples by rows and columns at their ends."""
        missing = self.add("Mod", self.add("Neg", self.size(x)), self.integers([multiple, multiple]))
        return self.add("Concat", self.integers([0] * 6), missing, axis=0)

    def _cells(self, x: str, axis: int, side: int) -> str:
        """Return the matrix (side, n) that averages n rows or columns to cells i·n/side to (i + 1)·n/side."""
        length = self.add("Squeeze", self.add("Shape", x, start=axis, end=axis + 1))
        at = self.add("Range", self.integers(0), length, self.integers(1))  # (n,)
        first = self.integers(np.arange(side)[:, None])
        behind = self.add("Mul", self.integers(np.arange(1, side + 1)[:, None]), length)
        behind = self.add("Add", behind, self.integers(side - 1))
        start = self.add("Div", self.add("Mul", first, length), self.integers(side))  # (side, 1), rounded down
        end = self.add("Div", behind, self.integers(side))  # rounded up
        inside = self.add("And", self.add("GreaterOrEqual", at, start), self.add("Less", at, end))
        share = self.add("Cast", self.add("Sub", end, start), to=TensorProto.FLOAT)
        return self.add("Div", self.add("Cast", inside, to=TensorProto.FLOAT), share)

"""The attention network as OpenVINO graphs, built from its configuration and weights without torch.

Mirrors `alen.models.alen.Alen` layer by layer, under the names of its state dict; tests hold the two together. The
network is cut into stages, each a graph that makes a band of rows from a band that is a little larger. What describes
the whole frame, channel gates and attention, comes in from outside: `alen.engines.bands` runs the stages and knows it.
Stages may run in low precision; the averages and the composition of the picture run in float32, so that highlights keep
finer steps than bfloat16 has.

Features are (1, rows, width, channels) at the borders of a stage, so that a band of a frame is one piece of memory.
Convolutions take the rows above and below a band from its surroundings; where there are none, at the frame's edges, the
features have to be zero, as they are for a padded convolution: the inputs "mask" and "gate" see to it.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset13 as ops

from alen.config import DEMOSAICKED, PYRAMID, PYRAMID_CEILING, AlenConfig
from alen.demosaic import directional_kernels, malvar_kernels

_SLOPE = np.float32(0.2)
_CHANNELS_FIRST = [0, 3, 1, 2]
_CHANNELS_LAST = [0, 2, 3, 1]
"""Orders of axes for a transpose."""

Node = Any  # openvino.Node; the package has no type information
Arrays = Mapping[str, NDArray[np.float32]]


def front(config: AlenConfig, arrays: Arrays, rows: int, width: int, storage: ov.Type) -> Any:
    """Return the stage from packed planes to the first features at half size.

    Inputs: "planes" (1, 4, rows + 4, w) float32; "gate" (1, C, 1, 1), and "mask" as `_Builder.banded` has it.
    Outputs: "skip" (1, rows, w, C), "down" (1, rows/2, w/2, C), "pooled" (1, rows/4, w/4, C), and the means of every
    row of the first two, "skip_means" (1, C, rows) and "down_means".
    """
    planes = ops.parameter([1, 4, rows + 4, width], np.float32, name="planes")
    build = _Builder(config, arrays, storage)
    copies = [ops.clamp(ops.multiply(planes, _constant(factor)), -1.0, 1.0) for factor in config.brightness]
    gate = ops.parameter([1, len(copies) * 4, 1, 1], np.float32, name="gate")
    stack = ops.multiply(ops.concat(copies, 1), gate)
    return build.encoder(stack, "stem", "down1", [planes, gate], rows)


def encode(config: AlenConfig, arrays: Arrays, level: int, rows: int, width: int, storage: ov.Type) -> Any:
    """Return the stage of an encoder's level, 1 or 2, and of what halves its features.

    Inputs: "x" (1, rows + 4, w, C) and its "gate" (1, 1, 1, C); with spatial attention "seen" (1, rows/2 + 2, w/2, C),
    what the positions see of the frame, and "gate_seen"; "mask". Outputs as of `front`, but "pooled" for level 1 alone.
    """
    build = _Builder(config, arrays, storage)
    channels = config.widths[level - 1]
    inputs, features = build.gated("x", "gate", rows + 4, width, channels)
    if config.spatial_attention:
        seen, around = build.gated("seen", "gate_seen", rows // 2 + 2, width // 2, channels)
        features = ops.concat([features, _twofold(around, rows + 4, width)], 1)
        inputs += seen
    return build.encoder(features, f"encode{level}.block", f"down{level + 1}", inputs, rows, pooled=level == 1)


def attend(config: AlenConfig, arrays: Arrays, level: int, height: int, width: int, storage: ov.Type) -> Any:
    """Return the stage that lets every position of a level, 1 or 2, see the whole frame.

    Input: "pooled" (1, h, w, C), the features averaged 2 × 2. Outputs: "seen" (1, h, w, C), still to be repeated 2 × 2,
    and its "means" (1, C).
    """
    build = _Builder(config, arrays, storage)
    pooled, x = build.features("pooled", height, width, config.widths[level - 1])
    y = build.nonlocal_features(x, f"encode{level}.spatial")
    results = [build.stored(y, "seen"), ops.result(ops.reduce_mean(y, [2, 3], keep_dims=False), name="means")]
    return ov.Model(results, [pooled], f"alen_attend{level}")


def deepest(config: AlenConfig, arrays: Arrays, height: int, width: int, storage: ov.Type) -> Any:
    """Return the stage of the deepest level, for the whole frame.

    Input: "x" (1, h, w, C). Outputs: "y" (1, h, w, C') and its "means" (1, C').
    """
    build = _Builder(config, arrays, storage)
    parameter, x = build.features("x", height, width, config.widths[2])
    y = build.mixed(x, "encode3")
    results = [build.stored(y, "y"), ops.result(ops.reduce_mean(y, [2, 3], keep_dims=False), name="means")]
    return ov.Model(results, [parameter], "alen_deepest")


def decode(config: AlenConfig, arrays: Arrays, level: int, rows: int, width: int, storage: ov.Type) -> Any:
    """Return the stage of a decoder's level, 2, 1 or 0.

    Inputs: "x" (1, rows/2 + 2, w/2, C') from below and, of what it becomes, the "gate" (1, C, rows + 4, 1), zero in
    rows beyond the frame; "skip" (1, rows + 4, w, C) and "gate_skip" (1, 1, 1, C); "mask". Outputs: "y" (1, rows, w, C)
    and the means of its rows, "y_means" (1, C, rows); of level 0 the "head" (1, 12 and more, rows, w) float32 alone.
    """
    build = _Builder(config, arrays, storage)
    channels = config.widths[level]
    below, x = build.features("x", rows // 2 + 2, width // 2, config.widths[level + 1])
    gate = ops.parameter([1, channels, rows + 4, 1], np.float32, name="gate")
    skip, around = build.gated("skip", "gate_skip", rows + 4, width, channels)
    mask = ops.parameter([1, 1, rows + 2, 1], np.float32, name="mask")
    doubled = ops.multiply(build.up(x, f"up{level}"), gate)
    y = build.banded(ops.concat([doubled, around], 1), f"decode{level}", mask)
    if level == 0:
        results = [ops.result(build.conv(y, "head"), name="head")]
    else:
        results = [build.stored(y, "y"), _row_means(y, "y_means")]
    return ov.Model(results, [below, gate, *skip, mask], f"alen_decode{level}")


def averages(height: int, width: int) -> Any:
    """Return the ov.Model from planes (1, 4, h, w) to the averages of the "mixture" base, without their rows between.

    An output (1, 3, ⌈h/side⌉, w) for each of `PYRAMID`, see `alen.models.alen.pyramid`: continued along the rows, while
    `between_rows` continues what is needed of it down the columns. As a whole the averages would be as large as the
    picture.
    """
    planes = ops.parameter([1, 4, height, width], np.float32, name="planes")
    mix = np.array([[1, 0, 0, 0], [0, 0.5, 0.5, 0], [0, 0, 0, 1]], dtype=np.float32)[:, :, None, None]
    rgb = ops.convolution(planes, ops.constant(mix), [1, 1], [0, 0], [0, 0], [1, 1])  # (1, 3, h, w)
    levels, coarse, reached = [], rgb, 1
    for side in PYRAMID:
        coarse, reached = _average(coarse, side // reached), side
        if side >= 4:
            coarse = ops.minimum(coarse, _constant(PYRAMID_CEILING))
        fine = ops.interpolate(
            coarse,
            np.array([side * _shape(coarse)[3]]),
            "linear_onnx",
            "sizes",
            axes=np.array([3]),
            coordinate_transformation_mode="half_pixel",
        )
        levels.append(ops.result(ops.slice(fine, [0], [width], [1], [3]), name=f"average{side}"))
    return ov.Model(levels, [planes], "alen_averages")


def between_rows(level: NDArray[np.float32], side: int, rows: slice, out: NDArray[np.float32]) -> None:
    """Continue averages bilinearly down the columns.

    Args:
        level: (3, ⌈h/side⌉, w) from `averages`.
        side: Rows of an average.
        rows: The n rows of the frame that are wanted.
        out: (3, n, w), where they go.
    """
    position = np.maximum((np.arange(rows.start, rows.stop) + 0.5) / side - 0.5, 0)
    above = position.astype(np.intp)
    below = np.minimum(above + 1, level.shape[1] - 1)
    first = above[0]
    weights = np.zeros((rows.stop - rows.start, below[-1] + 1 - first), dtype=np.float32)
    row = np.arange(len(weights))
    weights[row, above - first] = above + 1 - position
    weights[row, below - first] += position - above
    np.matmul(weights, level[:, first : below[-1] + 1], out=out)


def composition(config: AlenConfig) -> Any:
    """Return the ov.Model that makes the picture of some rows.

    Inputs: "head" (1, 12 and more, h, w); with a base "planes" (1, 4, h + 2m, w + 2m), the same rows with m = `margin`
    packed pixels more on each side; with the "mixture" base "averages" (1, 3·`PYRAMID` levels, h, w) of these rows.
    Output: (2h, 2w, 3) linear.
    """
    head = ops.parameter([1, config.head_channels, -1, -1], np.float32, name="head")
    planes = ops.parameter([1, 4, -1, -1], np.float32, name="planes")
    if config.base == "none":
        encoded, parameters = ops.depth_to_space(head, "depth_first", 2), [head]
    elif config.base == "mixture":
        levels = ops.parameter([1, 3 * len(PYRAMID), -1, -1], np.float32, name="averages")
        painted, weight = ops.variadic_split(head, 1, [12, config.head_channels - 12]).outputs()
        shares = ops.split(ops.softmax(weight, 1), 1, DEMOSAICKED + len(PYRAMID)).outputs()
        smooth = _sum(
            ops.multiply(average, share)
            for average, share in zip(ops.split(levels, 1, len(PYRAMID)).outputs(), shares[DEMOSAICKED:], strict=True)
        )  # (1, 3, h, w)
        fourfold = ops.constant(np.kron(np.eye(3), np.ones((4, 1))).astype(np.float32)[:, :, None, None])
        base = ops.convolution(smooth, fourfold, [1, 1], [0, 0], [0, 0], [1, 1])  # each color to its 4 pixels
        kernels = (malvar_kernels(), directional_kernels(vertical=False), directional_kernels(vertical=True))
        for kernel, share in zip(kernels, shares, strict=False):
            # the planes reach 2 further on each side than the picture, which is 1 too far for a kernel's shorter side
            short = [axis for axis in (2, 3) if kernel.shape[axis] == 3]
            ones = [1] * len(short)
            around = ops.slice(planes, ones, [-1] * len(short), ones, short)
            detail = ops.convolution(around, ops.constant(kernel), [1, 1], [0, 0], [0, 0], [1, 1])
            base = ops.add(base, ops.multiply(detail, share))  # (1, 12, h, w)
        encoded = ops.depth_to_space(ops.add(painted, _encode(base)), "depth_first", 2)
        parameters = [head, planes, levels]
    else:
        painted, weight = ops.variadic_split(head, 1, [12, 4]).outputs()
        base = ops.convolution(planes, ops.constant(malvar_kernels()), [1, 1], [0, 0], [0, 0], [1, 1])
        base = ops.depth_to_space(_encode(base), "depth_first", 2)
        weight = ops.sigmoid(ops.depth_to_space(weight, "depth_first", 2))
        encoded = ops.add(ops.depth_to_space(painted, "depth_first", 2), ops.multiply(weight, base))
        parameters = [head, planes]
    linear = _decode(ops.transpose(ops.squeeze(encoded, [0]), [1, 2, 0]))  # (2h, 2w, 3)
    return ov.Model([ops.result(linear, name="linear")], parameters, "alen_composition")


def margin(config: AlenConfig) -> int:
    """Return by how many packed pixels the planes that `composition` gets reach beyond the picture."""
    return {"none": 0, "demosaic": 1, "mixture": 2}[config.base]


class _Builder:
    """The network's layers by their names in the state dict."""

    def __init__(self, config: AlenConfig, arrays: Arrays, storage: ov.Type) -> None:
        self.config = config
        self.arrays = arrays
        self.storage = storage

    def features(self, name: str, rows: int, width: int, channels: int) -> tuple[Node, Node]:
        """Return an input (1, rows, width, channels), and the same as (1, channels, rows, width) to compute with."""
        parameter = ops.parameter([1, rows, width, channels], self.storage, name=name)
        return parameter, ops.transpose(self._computable(parameter), _CHANNELS_FIRST)

    def gated(self, name: str, gate_name: str, rows: int, width: int, channels: int) -> tuple[list[Node], Node]:
        """The same times an input (1, 1, 1, channels); returns both inputs.

        Multiplied before it is transposed: right in front of a convolution or a concatenation a transpose costs
        nothing, because OpenVINO lays features out with the channels last anyway.
        """
        parameter = ops.parameter([1, rows, width, channels], self.storage, name=name)
        gate = ops.parameter([1, 1, 1, channels], np.float32, name=gate_name)
        return [parameter, gate], ops.transpose(ops.multiply(self._computable(parameter), gate), _CHANNELS_FIRST)

    def _computable(self, parameter: Node) -> Node:
        return parameter if self.storage == ov.Type.f32 else ops.convert(parameter, "f32")

    def stored(self, x: Node, name: str) -> Node:
        """Return an output (1, rows, width, channels)."""
        last = ops.transpose(x, _CHANNELS_LAST)
        return ops.result(last if self.storage == ov.Type.f32 else ops.convert(last, "bf16"), name=name)

    def encoder(
        self, x: Node, block: str, down: str, inputs: list[Node], rows: int, *, pooled: bool = True
    ) -> ov.Model:
        """Return the stage of a block of gated features and of the layer that halves what it makes of them."""
        mask = ops.parameter([1, 1, rows + 2, 1], np.float32, name="mask")
        skip = self.banded(x, block, mask)
        halved = self.down(skip, down)
        results = [self.stored(skip, "skip"), self.stored(halved, "down")]
        results += [_row_means(skip, "skip_means"), _row_means(halved, "down_means")]
        if pooled:
            results.append(self.stored(_average(halved, 2), "pooled"))
        return ov.Model(results, [*inputs, mask], f"alen_{block.partition('.')[0]}")

    def banded(self, x: Node, name: str, mask: Node) -> Node:
        """The convolutions of a CAB, (1, C, rows + 4, w) → (1, C', rows, w).

        ``mask`` (1, 1, rows + 2, 1) is 0 in rows beyond the frame, where the second one sees zeros, else 1.
        """
        x = ops.prelu(self.conv(x, f"{name}.conv1", rows=0), _constant(_SLOPE))
        return ops.prelu(self.conv(ops.multiply(x, mask), f"{name}.conv2", rows=0), _constant(_SLOPE))

    def conv(self, x: Node, name: str, *, stride: int = 1, rows: int | None = None) -> Node:
        """A convolution that keeps the size; ``rows`` of padding above and below, by default as beside."""
        weight = self.arrays[f"{name}.weight"]
        beside = weight.shape[-1] // 2
        padding = [beside if rows is None else rows, beside]
        return self._convolve(x, weight, self.arrays[f"{name}.bias"], stride, padding)

    def mixed(self, x: Node, name: str) -> Node:
        """A MAB of the whole frame."""
        if self.config.spatial_attention:
            y = self.nonlocal_features(_average(x, 2), f"{name}.spatial")
            x = ops.concat([x, _twofold(y, *_shape(x)[2:])], 1)
        if self.config.channel_attention:
            x = ops.multiply(x, self._gate(x, f"{name}.block.gate"))
        x = ops.prelu(self.conv(x, f"{name}.block.conv1"), _constant(_SLOPE))
        return ops.prelu(self.conv(x, f"{name}.block.conv2"), _constant(_SLOPE))

    def down(self, x: Node, name: str) -> Node:
        if self.config.downsample == "max":
            pooled = ops.max_pool(x, [2, 2], [1, 1], [0, 0], [0, 0], [2, 2], index_element_type="i64")
            return pooled.output(0)
        if self.config.downsample == "strided":
            return self.conv(x, name, stride=2)
        weight = self.arrays[f"{name}.select.weight"]
        folded = weight.reshape(weight.shape[0], -1, 2, 2)  # unshuffle and 1 x 1 convolution in one
        return self._convolve(x, folded, self.arrays[f"{name}.select.bias"], 2, [0, 0])

    def up(self, x: Node, name: str) -> Node:
        weight = ops.constant(np.ascontiguousarray(self.arrays[f"{name}.weight"]))
        y = ops.convolution_backprop_data(x, weight, [2, 2], None, [0, 0], [0, 0], [1, 1])
        return ops.add(y, ops.constant(self.arrays[f"{name}.bias"].reshape(1, -1, 1, 1)))

    def _gate(self, x: Node, name: str) -> Node:
        means = ops.reduce_mean(x, [2, 3], keep_dims=False)  # (1, C)
        hidden = ops.relu(self._linear(means, f"{name}.squeeze"))
        gate = ops.sigmoid(self._linear(hidden, f"{name}.excite"))
        gate = ops.multiply(gate, _constant(self.config.gate_scale))
        return ops.unsqueeze(gate, [2, 3])  # (1, C, 1, 1)

    def nonlocal_features(self, pooled: Node, name: str) -> Node:
        """What the positions of averaged features see, (1, C, h, w) → (1, C, h, w)."""
        query = self.conv(pooled, f"{name}.query")
        key = self._reduce(self.conv(pooled, f"{name}.key"))
        value = self._reduce(self.conv(pooled, f"{name}.value"))
        attended = ops.scaled_dot_product_attention(
            _positions(query), _positions(key), _positions(value), ops.constant(np.float32(0)), _constant(1.0)
        )  # (1, 1, P, D)
        _, channels, height, width = _shape(query)
        rows = ops.reshape(attended, np.array([1, height, width, channels]), special_zero=False)
        return self.conv(ops.transpose(rows, [0, 3, 1, 2]), f"{name}.project")

    def _reduce(self, x: Node) -> Node:
        if self.config.key_grid is None:
            return _average(x, 4)
        return ops.adaptive_avg_pool(x, np.array([self.config.key_grid, self.config.key_grid]))

    def _linear(self, x: Node, name: str) -> Node:
        weight, bias = self.arrays[f"{name}.weight"], self.arrays[f"{name}.bias"]
        return ops.add(ops.matmul(x, ops.constant(weight), False, True), ops.constant(bias))

    def _convolve(
        self, x: Node, weight: NDArray[np.float32], bias: NDArray[np.float32], stride: int, pads: list[int]
    ) -> Node:
        y = ops.convolution(x, ops.constant(np.ascontiguousarray(weight)), [stride, stride], pads, pads, [1, 1])
        return ops.add(y, ops.constant(bias.reshape(1, -1, 1, 1)))


def _row_means(x: Node, name: str) -> Node:
    return ops.result(ops.reduce_mean(x, [3], keep_dims=False), name=name)


def _twofold(x: Node, height: int, width: int) -> Node:
    """Repeat every position 2 × 2, and less at the end of an odd side."""
    return ops.interpolate(
        x,
        np.array([height, width]),
        "nearest",
        "sizes",
        axes=np.array([2, 3]),
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )


def _sum(terms: Iterable[Node]) -> Node:
    return functools.reduce(ops.add, terms)


def _constant(value: float | np.float32) -> Node:
    return ops.constant(np.float32(value))


def _average(x: Node, side: int) -> Node:
    """Average squares; a square that reaches over the edge averages what it has, as torch's ceil_mode does."""
    kernel = [min(side, n) for n in _shape(x)[2:]]
    return ops.avg_pool(x, kernel, [0, 0], [0, 0], kernel, True, "ceil")


def _shape(x: Node) -> list[int]:
    output = x if isinstance(x, ov.Output) else x.output(0)
    return [int(n) for n in output.get_shape()]


def _positions(x: Node) -> Node:
    """Return features (1, D, h, w) as (1, 1, hw, D).

    Transposed before it is flattened: a transpose right in front of the attention keeps OpenVINO from fusing it, and
    the matrix of all queries and keys is then built.
    """
    _, channels, height, width = _shape(x)
    last = ops.transpose(x, [0, 2, 3, 1])  # (1, h, w, D)
    return ops.reshape(last, np.array([1, 1, height * width, channels]), special_zero=False)


def _encode(linear: Node) -> Node:
    """Inverse sRGB EOTF, odd below 0: see `alen.color.eotf_inverse_srgb`.

    x clamped to the straight part, times its slope and, beyond its end, the excess of the power law over that end.
    """
    end = 0.0031308
    x = _flat(linear)
    power = _power(ops.maximum(ops.abs(x), _constant(end)), 1 / 2.4)
    slope = ops.add(ops.multiply(power, _constant(1.055 / end)), _constant(12.92 - 1.055 * end ** (1 / 2.4) / end))
    return _unflat(ops.multiply(ops.clamp(x, -end, end), slope), linear)


def _decode(encoded: Node) -> Node:
    """The sRGB EOTF, odd below 0: see `alen.color.eotf_srgb`. A product, as in `_encode`."""
    end = 0.04045
    x = _flat(encoded)
    lifted = ops.multiply(ops.add(ops.maximum(ops.abs(x), _constant(end)), _constant(0.055)), _constant(1 / 1.055))
    offset = 1 / 12.92 - ((end + 0.055) / 1.055) ** 2.4 / end
    slope = ops.add(ops.multiply(_power(lifted, 2.4), _constant(1 / end)), _constant(offset))
    return _unflat(ops.multiply(ops.clamp(x, -end, end), slope), encoded)


def _power(x: Node, exponent: float) -> Node:
    """Return x to the power of a constant, x > 0; OpenVINO's own power is not vectorized."""
    return ops.exp(ops.multiply(ops.log(x), _constant(exponent)))


def _flat(x: Node) -> Node:
    """Return all values in a row: 3 or 12 channels innermost, as OpenVINO lays them out, do not fill a vector."""
    return ops.reshape(x, np.array([-1]), special_zero=False)


def _unflat(x: Node, like: Node) -> Node:
    """Undo `_flat`."""
    return ops.reshape(x, ops.shape_of(like), special_zero=False)

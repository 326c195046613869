"""The attention network as an OpenVINO graph, built from its configuration and weights without torch.

Mirrors `alen.models.alen.Alen` layer by layer, under the names of its state dict; tests hold the two together. The
graph comes in two parts: the trunk, everything that has weights, may run in low precision; the composition of the
picture runs in float32, so that highlights keep finer steps than bfloat16 has.
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

Node = Any  # openvino.Node; the package has no type information
Arrays = Mapping[str, NDArray[np.float32]]


def trunk(config: AlenConfig, arrays: Arrays, height: int, width: int) -> Any:
    """Return the ov.Model from planes (1, 4, h, w) to the head's channels (1, 12 and more, h, w)."""
    planes = ops.parameter([1, 4, height, width], np.float32, name="planes")
    copies = [ops.clamp(ops.multiply(planes, _constant(factor)), -1.0, 1.0) for factor in config.brightness]
    build = _Builder(config, arrays)
    skip0 = build.block(ops.concat(copies, 1), "stem")
    skip1 = build.mixed(build.down(skip0, "down1"), "encode1")
    skip2 = build.mixed(build.down(skip1, "down2"), "encode2")
    x = build.mixed(build.down(skip2, "down3"), "encode3")
    x = build.block(ops.concat([build.up(x, "up2"), skip2], 1), "decode2")
    x = build.block(ops.concat([build.up(x, "up1"), skip1], 1), "decode1")
    x = build.block(ops.concat([build.up(x, "up0"), skip0], 1), "decode0")
    return ov.Model([ops.result(build.conv(x, "head"), name="head")], [planes], "alen_trunk")


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

    def __init__(self, config: AlenConfig, arrays: Arrays) -> None:
        self.config = config
        self.arrays = arrays

    def conv(self, x: Node, name: str, *, stride: int = 1) -> Node:
        weight = self.arrays[f"{name}.weight"]
        return self._convolve(x, weight, self.arrays[f"{name}.bias"], stride, weight.shape[-1] // 2)

    def block(self, x: Node, name: str) -> Node:
        """A CAB."""
        if self.config.channel_attention:
            x = ops.multiply(x, self._gate(x, f"{name}.gate"))
        x = ops.prelu(self.conv(x, f"{name}.conv1"), _constant(_SLOPE))
        return ops.prelu(self.conv(x, f"{name}.conv2"), _constant(_SLOPE))

    def mixed(self, x: Node, name: str) -> Node:
        """A MAB."""
        if self.config.spatial_attention:
            x = ops.concat([x, self._nonlocal(x, f"{name}.spatial")], 1)
        return self.block(x, f"{name}.block")

    def down(self, x: Node, name: str) -> Node:
        if self.config.downsample == "max":
            pooled = ops.max_pool(x, [2, 2], [1, 1], [0, 0], [0, 0], [2, 2], index_element_type="i64")
            return pooled.output(0)
        if self.config.downsample == "strided":
            return self.conv(x, name, stride=2)
        weight = self.arrays[f"{name}.select.weight"]
        folded = weight.reshape(weight.shape[0], -1, 2, 2)  # unshuffle and 1 x 1 convolution in one
        return self._convolve(x, folded, self.arrays[f"{name}.select.bias"], 2, 0)

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

    def _nonlocal(self, x: Node, name: str) -> Node:
        pooled = _average(x, 2)
        query = self.conv(pooled, f"{name}.query")
        key = self._reduce(self.conv(pooled, f"{name}.key"))
        value = self._reduce(self.conv(pooled, f"{name}.value"))
        attended = ops.scaled_dot_product_attention(
            _positions(query), _positions(key), _positions(value), ops.constant(np.float32(0)), _constant(1.0)
        )  # (1, 1, P, D)
        _, channels, height, width = _shape(query)
        rows = ops.reshape(attended, np.array([1, height, width, channels]), special_zero=False)
        y = self.conv(ops.transpose(rows, [0, 3, 1, 2]), f"{name}.project")
        return ops.interpolate(
            y,
            np.array(_shape(x)[2:]),
            "nearest",
            "sizes",
            axes=np.array([2, 3]),
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        )

    def _reduce(self, x: Node) -> Node:
        if self.config.key_grid is None:
            return _average(x, 4)
        return ops.adaptive_avg_pool(x, np.array([self.config.key_grid, self.config.key_grid]))

    def _linear(self, x: Node, name: str) -> Node:
        weight, bias = self.arrays[f"{name}.weight"], self.arrays[f"{name}.bias"]
        return ops.add(ops.matmul(x, ops.constant(weight), False, True), ops.constant(bias))

    def _convolve(
        self, x: Node, weight: NDArray[np.float32], bias: NDArray[np.float32], stride: int, padding: int
    ) -> Node:
        pads = [padding, padding]
        y = ops.convolution(x, ops.constant(np.ascontiguousarray(weight)), [stride, stride], pads, pads, [1, 1])
        return ops.add(y, ops.constant(bias.reshape(1, -1, 1, 1)))


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

"""The attention network as OpenVINO graphs, built from its configuration and weights without torch.

Mirrors `alen.models.alen.Alen` layer by layer, under the names of its state dict; tests hold the two together. The
network is cut into stages, each a graph that makes a band of rows from a band that is a little larger. What describes
the whole frame, channel gates and attention, comes in from outside: `alen.engines.bands` runs the stages and knows it.
Stages may run in low precision; the averages and the composition of the picture run in float32, so that highlights keep
finer steps than bfloat16 has.

Features are (1, rows, width, channels) at the borders of a stage, so that a band of a frame is one piece of memory, as
are the means of their rows, (1, rows, 1, channels). Convolutions take the rows above and below a band from its
surroundings; where there are none, at the frame's edges, the features have to be zero, as they are for a padded
convolution: the inputs "mask" and "gate" see to it.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alen.config import COLOR_FLOOR, DEMOSAICKED, LUMA, PYRAMID, AlenConfig
from alen.demosaic import demosaicking_kernels
from alen.engines.curves import constant, eotf_inverse_srgb, eotf_srgb
from alen.openvino_runtime import ops, ov

_SLOPE = np.float32(0.2)
COLORS = ("red", "green", "blue")
"""The outputs of `composition`."""
_CHANNELS_FIRST = [0, 3, 1, 2]
_CHANNELS_LAST = [0, 2, 3, 1]
"""Orders of axes for a transpose."""

Node = Any  # openvino.Node; the package has no type information
Arrays = Mapping[str, NDArray[np.float32]]


def front(config: AlenConfig, arrays: Arrays, rows: int, width: int, storage: ov.Type, *, keep: bool) -> Any:
    """Return the stage from packed planes to the first features at half size.

    Inputs: "planes" (1, P·u², rows + 4, w) float32, unshuffled by u; "gate_planes" (1, C, 1, 1), and
    "mask" as `_Builder.banded` has it. Outputs: "down" (1, rows/2, w/2, C), with spatial attention "pooled"
    (1, ⌈rows/4⌉, ⌈w/4⌉, C), and the means of every row of "down" and of the features at full size, "down_means"
    (1, rows/2, 1, C) and "skip_means" (1, rows, 1, C). These features themselves, "skip" (1, rows, w, C), are half of
    all that would have to be kept: they are an output if ``keep``, else `last` makes them again.
    """
    build = _Builder(config, arrays, storage)
    planes, gate, stack = _stack(config, rows + 4, width)
    return build.encoder([stack], "stem", "down1", [planes, gate], keep=keep)


def encode(config: AlenConfig, arrays: Arrays, level: int, rows: int, width: int, storage: ov.Type) -> Any:
    """Return the stage of an encoder's level, 1 to 3.

    Inputs: "x" (1, rows + 4, w, C) and its "gate" (1, 1, 1, C); with spatial attention "seen"
    (1, ⌈rows/2⌉ + 2, ⌈w/2⌉, C), what the positions see of the frame, and "gate_seen"; "mask". Outputs of levels 1 and
    2: those of `front`, "skip" among them. Of level 3, the deepest, "y" (1, rows, w, C) and "y_means"
    (1, rows, 1, C); with spatial attention it has an input "inside" (1, 1, rows + 4, 1), 0 in rows beyond the frame,
    which may end within one of "seen".
    """
    build = _Builder(config, arrays, storage)
    channels = config.widths[level - 1]
    inputs, x = build.gated("x", "gate", rows + 4, width, channels)
    features = [x]
    if config.spatial_attention:
        seen, around = build.gated("seen", "gate_seen", (rows + 1) // 2 + 2, (width + 1) // 2, channels)
        around = _twofold(around, rows + 4, width)
        if level == 3:
            inside = ops.parameter([1, 1, rows + 4, 1], np.float32, name="inside")
            around = ops.multiply(around, inside)
            seen.append(inside)
        features.append(around)
        inputs += seen
    block = f"encode{level}.block"
    if level < 3:
        return build.encoder(features, block, f"down{level + 1}", inputs, keep=True)
    mask = ops.parameter([1, 1, rows + 2, 1], np.float32, name="mask")
    y = build.banded(features, block, mask)
    return ov.Model([build.stored(y, "y"), build.row_means(y, "y_means")], [*inputs, mask], "alen_encode3")


def attend(
    config: AlenConfig, arrays: Arrays, level: int, rows: int, width: int, key_count: int, storage: ov.Type
) -> Any:
    """Return the stage that lets positions of a level, 1 to 3, see the whole frame.

    Inputs: "pooled" (1, rows, ⌈width/2⌉, C), "keys" and "values" (1, 1, K, D) float32; with an attention limit the keys
    are of that length. Outputs: "seen", as large as
    "pooled", still to be repeated 2 × 2, and "seen_means" (1, rows, 1, C), the means of every row of what it becomes.
    """
    build = _Builder(config, arrays, storage)
    name = f"encode{level}.spatial"
    columns = (width + 1) // 2
    pooled, x = build.features("pooled", rows, columns, config.widths[level - 1])
    query = build.conv(x, f"{name}.query")
    if config.attention_limit is not None:
        query = ops.normalize_l2(query, np.array([1]), 1e-24, "max")
    channels = _shape(query)[1]
    seen = [ops.parameter([1, 1, key_count, channels], np.float32, name=output) for output in ("keys", "values")]
    attended = ops.scaled_dot_product_attention(
        _positions(query), *seen, ops.constant(np.float32(0)), constant(1.0)
    )  # (1, 1, P, D)
    positions = _reshape(attended, 1, rows, columns, channels)
    y = build.conv(ops.transpose(positions, _CHANNELS_FIRST), f"{name}.project")
    results = [build.stored(y, "seen")]
    if width % 2:  # the last one is not repeated
        often = np.full(columns, 2 * columns / width, dtype=np.float32)
        often[-1] /= 2
        y = ops.multiply(y, ops.constant(often[None, None, None]))
    results.append(build.row_means(y, "seen_means"))
    return ov.Model(results, [pooled, *seen], f"alen_attend{level}")


def decode(config: AlenConfig, arrays: Arrays, level: int, rows: int, width: int, storage: ov.Type) -> Any:
    """Return the stage of a decoder's level, 2 or 1.

    Inputs: "x" (1, rows/2 + 2, w/2, C') from below and, of what it becomes, the "gate" (1, C, rows + 4, 1), zero in
    rows beyond the frame; "skip" (1, rows + 4, w, C) and "gate_skip" (1, 1, 1, C); "mask". Outputs: "y" (1, rows, w, C)
    and the means of its rows, "y_means" (1, rows, 1, C).
    """
    build = _Builder(config, arrays, storage)
    inputs, skip = build.gated("skip", "gate_skip", rows + 4, width, config.widths[level])
    y, inputs = build.decoder(level, rows, width, inputs, skip)
    return ov.Model([build.stored(y, "y"), build.row_means(y, "y_means")], inputs, f"alen_decode{level}")


def last(config: AlenConfig, arrays: Arrays, rows: int, width: int, storage: ov.Type, *, kept: bool) -> Any:
    """Return the last stage of the decoder.

    Inputs, if the first features were ``kept``: those of `decode`. Else it makes them again, and the inputs are
    "planes" (1, P·u², rows + 8, w) and "gate_planes" as of `front`, "mask_planes" (1, 1, rows + 6, 1); the others as of
    `decode`, but "gate_skip" is (1, C, rows + 4, 1) like "gate". Output: "head" (1, rows, w, C·u²) in `head_type`: all
    C channels of u × u packed pixels, ordered by `_head_order`, still to be shuffled. `composition` does that for what
    a processor's nearest cache holds; here it would take as long as the convolutions.
    """
    build = _Builder(config, arrays, storage)
    if kept:
        inputs, skip = build.gated("skip", "gate_skip", rows + 4, width, config.widths[0])
    else:
        planes, gate, stack = _stack(config, rows + 8, width)
        mask = ops.parameter([1, 1, rows + 6, 1], np.float32, name="mask_planes")
        gate_skip = ops.parameter([1, config.widths[0], rows + 4, 1], np.float32, name="gate_skip")
        inputs = [planes, gate, mask, gate_skip]
        skip = ops.multiply(build.banded([stack], "stem", mask), gate_skip)
    y, inputs = build.decoder(0, rows, width, inputs, skip)
    weight, bias = (arrays[f"head.{kind}"][_head_order(config)] for kind in ("weight", "bias"))
    # all positions in a column, which takes OpenVINO a fifth to a quarter less
    column = _reshape(ops.transpose(y, _CHANNELS_LAST), 1, rows * width, 1, config.widths[0])
    head = _pointwise(ops.transpose(column, _CHANNELS_FIRST), weight[:, :, 0, 0], bias)
    head = _reshape(ops.transpose(head, _CHANNELS_LAST), 1, rows, width, len(bias))
    head = ops.transpose(head, _CHANNELS_FIRST)
    return ov.Model([build.stored(head, "head", head_type(config, storage))], inputs, "alen_last")


def _head_order(config: AlenConfig) -> NDArray[np.intp]:
    """Return where the head's channels come from: of those of the picture, row and column of a position come last.

    The rows of u × u packed pixels of s × s are u·s rows, their columns likewise: (3, u·s, u·s) instead of
    (3, s, s, u, u). The others stay (C, u, u).
    """
    u, s = config.unshuffle, config.shuffle
    index = np.arange(config.head_channels * u**2)
    of_picture = index[: config.picture_channels * u**2].reshape(3, s, s, u, u).transpose(0, 3, 1, 4, 2)
    return np.concatenate([of_picture.ravel(), index[of_picture.size :]])


def head_type(config: AlenConfig, storage: ov.Type) -> ov.Type:
    """Return the type of the head's channels: float32 where they are all of the picture, not paint upon a base."""
    return ov.Type.f32 if config.base == "none" else storage


def composition(config: AlenConfig, arrays: Arrays, rows: int, width: int, storage: ov.Type) -> Any:
    """Return the ov.Model that makes the picture of some rows; of fixed size, which halves its time.

    It computes on positions of the network, n of them, u × u packed pixels each: arrays (…, rows of a position, columns
    of a position, n), so that every operation runs along all positions, however few channels it has. Rows and columns
    are two axes each: which packed pixel, and which of its s × s pixels, (u, s, u, s, n); what all pixels of a packed
    pixel share is (u, 1, u, 1, n).

    Inputs: "head" (1, rows/u, w/u, C·u²) as `last` makes it; with a base "planes" (1, rows + 2m, w + 2m, P), the same
    rows with m = `margin` packed pixels more on each side; with the base "mixtures", for each of `PYRAMID`,
    "average{side}" (1, 3, rows, ⌈w/side⌉), the first rows of all positions first, continued along the rows here.
    Outputs: the linear `COLORS`, (s·rows, s·w) each.
    """
    side, u = config.shuffle, config.unshuffle
    high, wide = rows // u, width // u
    of_picture, of_head, n = config.picture_channels, config.head_channels, high * wide
    head = ops.parameter([1, rows // u, width // u, of_head * u**2], head_type(config, storage), name="head")
    around = ops.parameter(
        [1, rows + 2 * margin(config), width + 2 * margin(config), config.plane_count], np.float32, name="planes"
    )
    channels = _planar(ops.convert(head, "f32"))
    painted, weight = channels, channels
    if of_head > of_picture:
        painted, weight = ops.variadic_split(channels, 1, [of_picture * u**2, (of_head - of_picture) * u**2]).outputs()
    painted = _reshape(painted, 3, u, side, u, side, n)
    patterns = _patterns(config, around)

    if config.base == "none":
        encoded, parameters = painted, [head]
    elif config.base == "mixtures":
        levels = [ops.parameter([1, 3, rows, -(-width // of)], np.float32, name=f"average{of}") for of in PYRAMID]
        count = DEMOSAICKED + len(PYRAMID)
        of_luma, of_color = (
            ops.softmax(half, 0) for half in ops.split(_reshape(weight, 2 * count, -1), 0, 2).outputs()
        )
        shares, apart = (
            ops.split(_reshape(all_shares, count, u, 1, u, 1, n), 0, count).outputs()
            for all_shares in (of_color, ops.subtract(of_luma, of_color))
        )
        smooth = [_along_rows(level, of, u, wide) for level, of in zip(levels, PYRAMID, strict=True)]
        details = [_demosaicked(config, patterns, kernel, n) for kernel in demosaicking_kernels(config.cfa, arrays)]
        color = ops.add(_mixture(smooth, shares[DEMOSAICKED:]), _mixture(details, shares))
        more = ops.add(
            _mixture([_luma(level) for level in smooth], apart[DEMOSAICKED:]),
            _mixture([_luma(detail) for detail in details], apart),
        )
        base = _join(color, more)
        # what was split comes second: else OpenVINO would add in place, and copy it for that
        encoded, parameters = ops.add(eotf_inverse_srgb(base), painted), [head, around, *levels]
    else:
        isotropic, *_ = demosaicking_kernels(config.cfa, arrays)
        base = eotf_inverse_srgb(_demosaicked(config, patterns, isotropic, n))
        weight = ops.sigmoid(_reshape(weight, 1, side, side, u, u, n))
        weight = ops.transpose(weight, [0, 3, 1, 4, 2, 5])
        encoded, parameters = ops.add(ops.multiply(weight, base), painted), [head, around]
    results = []
    for name, pixels in zip(COLORS, ops.split(eotf_srgb(encoded), 0, 3).outputs(), strict=True):
        placed = ops.transpose(_reshape(pixels, u * side, u * side, high, wide), [2, 0, 3, 1])
        results.append(ops.result(_reshape(placed, side * rows, side * width), name=name))
    return ov.Model(results, parameters, "alen_composition")


def _patterns(config: AlenConfig, planes: Node) -> Node:
    """Return planes (1, h, w, P) with compressed highlights, unshuffled by the mosaic's period: (1, h/p, w/p, P·p²)."""
    period, compressed = config.period, _compress_highlights(planes)
    if period == 1:
        return compressed
    _, height, width, count = _shape(planes)
    blocks = _reshape(compressed, height // period, period, width // period, period, count)
    patterns = ops.transpose(blocks, [0, 2, 4, 1, 3])
    return _reshape(patterns, 1, height // period, width // period, count * period**2)


def _demosaicked(config: AlenConfig, patterns: Node, kernel: NDArray[np.float32], n: int) -> Node:
    """Return the picture (3, u, s, u, s, n) of `_patterns` with a margin, demosaicked by a filter."""
    side, period, u = config.shuffle, config.period, config.unshuffle
    # the margin may reach further on a side than the filter does
    beyond = {axis: margin(config) // period - kernel.shape[axis + 1] // 2 for axis in (1, 2)}
    cut = [axis for axis, rows_or_columns in beyond.items() if rows_or_columns]
    if cut:
        begin, end = [beyond[axis] for axis in cut], [-beyond[axis] for axis in cut]
        patterns = ops.slice(patterns, begin, end, [1] * len(cut), cut)
    kernel = _of_positions(kernel, u // period, period, side)
    first, taps = ops.transpose(patterns, _CHANNELS_FIRST), ops.constant(kernel)
    detail = ops.convolution(first, taps, [u // period] * 2, [0, 0], [0, 0], [1, 1])
    detail = _planar(ops.transpose(detail, _CHANNELS_LAST))
    return _expand_highlights(_reshape(detail, 3, u, side, u, side, n))


def _along_rows(level: Node, side: int, u: int, wide: int) -> Node:
    """Continue averages bilinearly along the rows, (1, 3, rows, ⌈w/side⌉) → (3, u, 1, u, 1, n).

    The sum of an average and its two neighbors, weighted for each of its pixels; OpenVINO's interpolation takes several
    times as long.
    """
    _, _, rows, count = _shape(level)
    high, across = rows // u, side // u
    padded = ops.pad(level, [0, 0, 0, 1], [0, 0, 0, 1], "edge")
    offset = (np.arange(side, dtype=np.float32) + 0.5) / side - 0.5  # of the pixels from the middle of their average
    weights = (np.maximum(-offset, 0), 1 - np.abs(offset), np.maximum(offset, 0))
    fine = _sum(
        ops.multiply(
            _reshape(ops.slice(padded, [first], [first + count], [1], [3]), 3, u, 1, high, count, 1),
            ops.constant(np.ascontiguousarray(weight.reshape(across, u).T).reshape(1, 1, u, 1, 1, across)),
        )
        for first, weight in enumerate(weights)
    )  # (3, row, column, positions down, averages, positions of an average)
    fine = _reshape(fine, 3, u, u, high, count * across)
    if count * across != wide:
        fine = ops.slice(fine, [0], [wide], [1], [4])
    return _reshape(fine, 3, u, 1, u, 1, high * wide)


def margin(config: AlenConfig) -> int:
    """Return by how many packed pixels the planes that `composition` gets reach beyond the picture."""
    return {"none": 0, "demosaic": 1, "mixtures": 2}[config.base]


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

    def stored(self, x: Node, name: str, kind: ov.Type | None = None) -> Node:
        """Return an output (1, rows, width, channels), in the stages' storage if no type is given."""
        last = ops.transpose(x, _CHANNELS_LAST)
        return ops.result(last if (kind or self.storage) == ov.Type.f32 else ops.convert(last, "bf16"), name=name)

    def row_means(self, x: Node, name: str) -> Node:
        """Return an output (1, rows, 1, channels), the means of rows.

        Stored like features: for an output in float32 OpenVINO would compute in float32 whatever leads to it alone.
        """
        return self.stored(ops.reduce_mean(x, [3], keep_dims=True), name)

    def encoder(self, parts: list[Node], block: str, down: str, inputs: list[Node], *, keep: bool) -> ov.Model:
        """Return the stage of a block of gated features and of the layer that halves what it makes of them."""
        mask = ops.parameter([1, 1, _shape(parts[0])[2] - 2, 1], np.float32, name="mask")
        skip = self.banded(parts, block, mask)
        halved = self.down(skip, down)
        results = [
            self.stored(halved, "down"),
            self.row_means(skip, "skip_means"),
            self.row_means(halved, "down_means"),
        ]
        if keep:
            results.append(self.stored(skip, "skip"))
        if self.config.spatial_attention:
            results.append(self.stored(_average(halved, 2), "pooled"))
        return ov.Model(results, [*inputs, mask], f"alen_{block.partition('.')[0]}")

    def decoder(self, level: int, rows: int, width: int, inputs: list[Node], skip: Node) -> tuple[Node, list[Node]]:
        """Return a decoder's level (1, C, rows, w), from gated features (1, C, rows + 4, w) that were skipped to it.

        And its inputs, those of the skipped features among them.
        """
        below, x = self.features("x", rows // 2 + 2, width // 2, self.config.widths[level + 1])
        gate = ops.parameter([1, self.config.widths[level], rows + 4, 1], np.float32, name="gate")
        mask = ops.parameter([1, 1, rows + 2, 1], np.float32, name="mask")
        doubled = ops.multiply(self.up(x, f"up{level}"), gate)
        y = self.banded([doubled, skip], f"decode{level}", mask)
        return y, [*inputs, below, gate, mask]

    def banded(self, parts: Sequence[Node], name: str, mask: Node) -> Node:
        """The convolutions of a CAB, of parts (1, C, rows + 4, w) whose channels belong together, → (1, C', rows, w).

        ``mask`` (1, 1, rows + 2, 1) is 0 in rows beyond the frame, where the second one sees zeros, else 1. The first
        one is the sum of a convolution of each part: to put them into one piece of memory takes longer.
        """
        weight, terms, first = self.arrays[f"{name}.conv1.weight"], [], 0
        for part in parts:
            last = first + _shape(part)[1]
            bias = self.arrays[f"{name}.conv1.bias"] if first == 0 else None
            terms.append(self._convolve(part, weight[:, first:last], bias, 1, [0, weight.shape[-1] // 2]))
            first = last
        x = ops.prelu(_sum(terms), constant(_SLOPE))
        # the mask first: else OpenVINO would multiply in place, and copy what came in for it
        return ops.prelu(self.conv(ops.multiply(mask, x), f"{name}.conv2", rows=0), constant(_SLOPE))

    def conv(self, x: Node, name: str, *, stride: int = 1, rows: int | None = None) -> Node:
        """A convolution that keeps the size, ``rows`` of padding above and below, by default as beside."""
        weight, bias = (self.arrays[f"{name}.{kind}"] for kind in ("weight", "bias"))
        beside = weight.shape[-1] // 2
        return self._convolve(x, weight, bias, stride, [beside if rows is None else rows, beside])

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

    def _convolve(
        self, x: Node, weight: NDArray[np.float32], bias: NDArray[np.float32] | None, stride: int, pads: list[int]
    ) -> Node:
        ends, is_one_column = pads, stride > 1 and _shape(x)[3] <= stride
        if is_one_column:  # OpenVINO 2026.4 with AMX then reads beyond the features: a second one, cut off below
            ends = [pads[0], pads[1] + stride]
        y = ops.convolution(x, ops.constant(np.ascontiguousarray(weight)), [stride, stride], pads, ends, [1, 1])
        if is_one_column:
            y = ops.slice(y, [0], [1], [1], [3])
        return y if bias is None else ops.add(y, ops.constant(bias.reshape(1, -1, 1, 1)))


def _stack(config: AlenConfig, rows: int, width: int) -> tuple[Node, Node, Node]:
    """Return the inputs "planes" (1, P·u², rows, w) and "gate_planes", and the gated copies at all brightnesses.

    A convolution makes the copies, faster than a product for each and a concatenation.
    """
    count = config.plane_count * config.unshuffle**2
    planes = ops.parameter([1, count, rows, width], np.float32, name="planes")
    gate = ops.parameter([1, config.input_channels, 1, 1], np.float32, name="gate_planes")
    factors = np.concatenate([factor * np.eye(count, dtype=np.float32) for factor in config.brightness])
    return planes, gate, ops.multiply(ops.clamp(_pointwise(planes, factors), -1.0, 1.0), gate)


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
    return _reshape(last, 1, 1, height * width, channels)


def _mixture(pictures: Iterable[Node], shares: Iterable[Node]) -> Node:
    """Return the sum of pictures times shares, as `composition` has them; of more shares the first ones count."""
    return _sum(ops.multiply(picture, share) for picture, share in zip(pictures, shares, strict=False))


def _join(color: Node, more: Node) -> Node:
    """See `alen.models.alen`: the color differences to their luma, with a luma brighter by ``more``."""
    own = _luma(color)
    luma = ops.add(own, more)
    above, below = (ops.add(ops.maximum(value, constant(0)), constant(COLOR_FLOOR)) for value in (luma, own))
    share = ops.minimum(ops.divide(above, below), constant(1))
    return ops.add(luma, ops.multiply(ops.subtract(color, own), share))


def _luma(color: Node) -> Node:
    """Return the luma (1, …) of R, G and B (3, …)."""
    colors = ops.split(color, 0, 3).outputs()
    return _sum(ops.multiply(value, constant(weight)) for value, weight in zip(colors, LUMA, strict=True))


def _of_positions(kernel: NDArray[np.float32], u: int, period: int, side: int) -> NDArray[np.float32]:
    """Return the taps (C', P, ·, ·) that make all u × u patterns of a position of a filter (C, P, rows, columns).

    Channels are ordered as `composition` computes: (3, row of a position, its column), rows and columns in two parts
    each. With a stride of u they lie where they belong at once, which takes less time than to bring them there.
    """
    rows, columns = kernel.shape[2:]
    grouped = kernel.reshape(3, side, side, period, period, *kernel.shape[1:]).transpose(0, 3, 1, 4, 2, 5, 6, 7)
    taps = np.zeros((3, u, period, side, u, period, side, kernel.shape[1], rows + u - 1, columns + u - 1), np.float32)
    for row in range(u):
        for column in range(u):
            taps[:, row, :, :, column, ..., row : row + rows, column : column + columns] = grouped
    return taps.reshape(-1, *taps.shape[7:])


def _planar(last: Node) -> Node:
    """Return features (1, h, w, C) as (1, C, 1, h·w), channel by channel.

    As one row: else OpenVINO takes two to three times as long to bring them there.
    """
    _, height, width, channels = _shape(last)
    return ops.transpose(_reshape(last, 1, 1, height * width, channels), _CHANNELS_FIRST)


def _reshape(x: Node, *shape: int) -> Node:
    return ops.reshape(x, np.array(shape), special_zero=False)


def _pointwise(x: Node, matrix: NDArray[np.float32], bias: NDArray[np.float32] | None = None) -> Node:
    """Return each position's channels times a matrix (to, from)."""
    y = ops.convolution(x, ops.constant(matrix[:, :, None, None]), [1, 1], [0, 0], [0, 0], [1, 1])
    return y if bias is None else ops.add(y, ops.constant(bias.reshape(1, -1, 1, 1)))


def _compress_highlights(planes: Node) -> Node:
    """See `alen.models.layers.compress_highlights`."""
    above = ops.maximum(planes, constant(1))
    return ops.minimum(planes, ops.sqrt(ops.sqrt(above)))


def _expand_highlights(compressed: Node) -> Node:
    """See `alen.models.layers.expand_highlights`."""
    above = ops.maximum(compressed, constant(1))
    square = ops.multiply(above, above)
    return ops.add(compressed, ops.subtract(ops.multiply(square, square), above))

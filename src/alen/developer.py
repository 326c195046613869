"""Finished pictures, fast: the development of `alen.color` compiled by OpenVINO, rounded to whole numbers on the way.

numpy goes through memory once for each of a hundred operations. Compiled, pixels pass through several of them in the
processor's registers: a sixth of the time. The steps are those of `alen.color.Development`, told of a graph's values
instead of arrays; only the sRGB curve's power is computed differently, to 1e-6.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Final, Self

import numpy as np
import openvino as ov
import openvino.properties as props
import openvino.properties.hint as hints
from numpy.typing import NDArray
from openvino import opset13 as ops

from alen.color import Development
from alen.engines.curves import Node, constant, eotf_inverse_srgb
from alen.engines.openvino import core

_PIXELS: Final = 16_384
"""Pixels that are developed at a time: what is between the steps stays in the processor's second-level cache."""

_COLORS: Final = ("red", "green", "blue")
_NUMBERS: Final = {"red_shares": 3, "blue_shares": 3, "clip_scale": 1, "gain": 1, "white": 1, "shoulder_scale": 1}
"""The inputs that differ from picture to picture, and how many numbers they are: those of `Development`."""


class Developer:
    """Develops the pixels of a picture into whole numbers.

    Args:
        development: How.
        dtype: Of the picture: np.uint8 or np.uint16, in its full range.
    """

    def __init__(self, development: Development, dtype: type[np.uint8] | type[np.uint16]) -> None:
        self._dtype = dtype
        self._request = _compiled(np.dtype(dtype).name).create_infer_request()
        for name, count in _NUMBERS.items():
            numbers = np.array(getattr(development, name), dtype=np.float32).reshape(count)
            self._request.set_tensor(name, ov.Tensor(numbers))

    def develop(self, camera_rgb: NDArray[np.float32], out: NDArray[Any]) -> None:
        """Develop some rows.

        Args:
            camera_rgb: (H, W, 3) as of `alen.color.develop`; fastest with each color a plane of its own in memory.
            out: (H, W, 3) uint8 or uint16, contiguous; where they go.
        """
        colors = [np.ascontiguousarray(camera_rgb[..., index]).reshape(-1) for index in range(3)]
        pixels = out.reshape(-1, 3)
        for start in range(0, len(pixels), _PIXELS):
            parts = [color[start : start + _PIXELS] for color in colors]
            count = len(parts[0])
            is_whole = count == _PIXELS
            if not is_whole:
                parts = [np.concatenate([part, np.zeros(_PIXELS - count, np.float32)]) for part in parts]
            target = pixels[start : start + count] if is_whole else np.empty((_PIXELS, 3), self._dtype)
            for name, part in zip(_COLORS, parts, strict=True):
                self._request.set_tensor(name, ov.Tensor(part, shared_memory=True))
            self._request.set_output_tensor(ov.Tensor(target, shared_memory=True))
            self._request.infer(share_outputs=True)
            if not is_whole:
                pixels[start:] = target[:count]


@functools.cache
def _compiled(dtype: str) -> Any:
    """Return the graph: `_COLORS` (n,) and `_NUMBERS` → (n, 3)."""
    colors = [ops.parameter([_PIXELS], np.float32, name=name) for name in _COLORS]
    numbers = {name: ops.parameter([count], np.float32, name=name) for name, count in _NUMBERS.items()}
    apart = {
        name: [_Value(number) for number in ops.split(node, 0, _NUMBERS[name]).outputs()]
        for name, node in numbers.items()
    }
    fields: dict[str, Any] = {name: each[0] if len(each) == 1 else tuple(each) for name, each in apart.items()}
    development = Development(**fields)
    red, green, blue = (_Value(color) for color in colors)
    linear = development.develop((red, green, blue), _Value.maximum, _Value.minimum, _Value.sqrt)
    largest = float(np.iinfo(dtype).max)
    rounded = [
        ops.round(
            ops.clamp(ops.multiply(eotf_inverse_srgb(color.node), constant(largest)), 0.0, largest), "half_to_even"
        )
        for color in linear
    ]
    planes = ops.concat([ops.unsqueeze(color, np.array([0])) for color in rounded], 0)
    picture = ops.transpose(ops.convert(planes, dtype.replace("uint", "u")), [1, 0])
    model = ov.Model([ops.result(picture, name="picture")], [*colors, *numbers.values()], "alen_development")
    settings: dict[Any, Any] = {
        hints.inference_precision: ov.Type.f32,
        hints.enable_cpu_pinning: False,
        props.num_streams: 1,
        props.inference_num_threads: 1,
    }
    return core().compile_model(model, "CPU", settings)


class _Value:
    """A value of a graph, with Python's operators: OpenVINO's own take a number for one of float64."""

    def __init__(self, node: Node) -> None:
        self.node = node

    def __add__(self, other: _Value | float) -> Self:
        return self._with(ops.add, self, other)

    def __sub__(self, other: _Value | float) -> Self:
        return self._with(ops.subtract, self, other)

    def __rsub__(self, other: float) -> Self:
        return self._with(ops.subtract, other, self)

    def __mul__(self, other: _Value | float) -> Self:
        return self._with(ops.multiply, self, other)

    def __truediv__(self, other: _Value | float) -> Self:
        return self._with(ops.divide, self, other)

    def maximum(self, other: _Value | float) -> Self:
        return self._with(ops.maximum, self, other)

    def minimum(self, other: _Value | float) -> Self:
        return self._with(ops.minimum, self, other)

    def sqrt(self) -> Self:
        return type(self)(ops.sqrt(self.node))

    @classmethod
    def _with(cls, operation: Callable[[Node, Node], Node], *values: _Value | float) -> Self:
        return cls(operation(*(value.node if isinstance(value, _Value) else constant(value) for value in values)))

"""Finished pictures, fast: the development of `alen.color` compiled by OpenVINO, rounded to whole numbers on the way.

numpy goes through memory once for each of a hundred operations. Compiled, pixels pass through several of them in the
processor's registers: a sixth of the time. The steps are those of `alen.color.Development`, told of a graph's values
instead of arrays; only the sRGB curve's power is computed differently, to 1e-6.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from alen.color import Development
from alen.engines.curves import Node, constant, eotf_inverse_srgb
from alen.engines.graph import COLORS
from alen.engines.openvino import compiled_for_one_core
from alen.openvino_runtime import ops, ov

_PIXELS: Final = 16_384
"""Pixels that are developed at a time: what is between the steps stays in the processor's second-level cache."""

_SHADING: Final = ("red_shading", "green_shading", "blue_shading")
_NUMBERS: Final = {"red_shares": 3, "blue_shares": 3, "clip_scale": 1, "gain": 1, "white": 1, "shoulder_scale": 1}
"""The inputs that differ from picture to picture, and how many numbers they are: those of `Development`."""


class Developer:
    """Develops the pixels of a picture into whole numbers.

    Args:
        development: How.
        dtype: Of the picture: np.uint8 or np.uint16, in its full range.
        is_shaded: Whether pixels come with gains that give back what the lens lost.
    """

    def __init__(
        self, development: Development, dtype: type[np.uint8] | type[np.uint16], *, is_shaded: bool = False
    ) -> None:
        self._dtype = dtype
        self._request = _compiled(np.dtype(dtype).name, is_shaded).create_infer_request()
        for name, count in _NUMBERS.items():
            numbers = np.array(getattr(development, name), dtype=np.float32).reshape(count)
            self._request.set_tensor(name, ov.Tensor(numbers))

    def develop(
        self, camera_rgb: NDArray[np.float32], out: NDArray[Any], shading: NDArray[np.float32] | None = None
    ) -> None:
        """Develop some rows.

        Args:
            camera_rgb: (H, W, 3) as of `alen.color.develop`; fastest with each color a plane of its own in memory.
            out: (H, W, 3) uint8 or uint16, contiguous; where they go.
            shading: (3, H, W) gains, if there are such.
        """
        planes = [*np.moveaxis(camera_rgb, 2, 0), *(() if shading is None else shading)]
        flat = [np.ascontiguousarray(plane).reshape(-1) for plane in planes]
        pixels = out.reshape(-1, 3)
        whole = len(pixels) // _PIXELS * _PIXELS
        for start in range(0, whole, _PIXELS):
            self._develop([values[start : start + _PIXELS] for values in flat], pixels[start : start + _PIXELS])
        rest = len(pixels) - whole
        if rest:
            target = np.empty((_PIXELS, 3), self._dtype)
            self._develop([np.pad(values[whole:], (0, _PIXELS - rest)) for values in flat], target)
            pixels[whole:] = target[:rest]

    def _develop(self, inputs: Sequence[NDArray[np.float32]], target: NDArray[Any]) -> None:
        """Develop as many pixels as the graph takes."""
        for name, values in zip(COLORS + _SHADING, inputs, strict=False):
            self._request.set_tensor(name, ov.Tensor(values, shared_memory=True))
        self._request.set_output_tensor(ov.Tensor(target, shared_memory=True))
        self._request.infer(share_outputs=True)


@functools.cache
def _compiled(dtype: str, is_shaded: bool) -> Any:
    """Return the graph: `COLORS` (n,), perhaps `_SHADING` (n,), and `_NUMBERS` → "picture" (n, 3)."""
    names = COLORS + _SHADING if is_shaded else COLORS
    pixels = [ops.parameter([_PIXELS], np.float32, name=name) for name in names]
    numbers = {name: ops.parameter([count], np.float32, name=name) for name, count in _NUMBERS.items()}
    apart = {
        name: [_Value(number) for number in ops.split(node, 0, _NUMBERS[name]).outputs()]
        for name, node in numbers.items()
    }
    fields: dict[str, Any] = {name: each[0] if len(each) == 1 else tuple(each) for name, each in apart.items()}
    development = Development(**fields)
    red, green, blue, *gains = (_Value(values) for values in pixels)
    shading = (gains[0], gains[1], gains[2]) if gains else None
    linear = development.develop((red, green, blue), shading, _Value.maximum, _Value.minimum, _Value.sqrt)
    largest = float(np.iinfo(dtype).max)
    planes = ops.concat([ops.unsqueeze(color.node, np.array([0])) for color in linear], 0)
    encoded = ops.multiply(eotf_inverse_srgb(planes), constant(largest))
    rounded = ops.round(ops.clamp(encoded, 0.0, largest), "half_to_even")
    picture = ops.transpose(ops.convert(rounded, dtype.replace("uint", "u")), [1, 0])
    return compiled_for_one_core(
        ov.Model([ops.result(picture, name="picture")], [*pixels, *numbers.values()], "alen_development")
    )


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

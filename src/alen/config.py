"""What a network is, as plain data: read and written without torch, kept in the header of every weights file."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final, Literal, Self, get_args, get_origin, get_type_hints

from alen.cfa import PLANE_COLORS, FilterArray, reference
from alen.errors import SettingsError

FILTERS: Final = ("isotropic", "along_rows", "along_columns")
"""The demosaicking filters of the "mixtures" base: the same in all directions, along the rows, along the columns."""

DEMOSAICKED: Final = len(FILTERS)
"""Demosaicked inputs in the "mixtures" base."""

PYRAMID: Final = (2, 4, 16, 64)
"""Sides of the averages in the "mixtures" base, in packed pixels."""

LUMA: Final = (0.25, 0.5, 0.25)
"""What R, G and B, linear and white-balanced, count in the luma of the "mixtures" base."""

PYRAMID_CEILING: Final = 1.5
"""Averages are clipped here before they are averaged on, so that a lamp does not light the squares around it. Single
pixels are not: clipping their noise on one side would darken the darkest frames."""

PYRAMID_NOISE: Final = 10.0
"""How much the ceiling rises with the noise: this times how far averages of the same size reach below 0, in the mean
over a square of the largest size. Of noise with deviation σ around black that is 0.4 σ, so 4 σ; of lamps nothing."""

COLOR_FLOOR: Final = 0.02
"""Where the luma of the "mixtures" base is below that of the mixture its color comes from, color differences shrink
with it: a dark pixel beside a lamp has the lamp's hue, not the lamp's light. This is added to both lumas, so that noise
around black changes little."""


class _Layout:
    """What follows from the filter array a network is made for."""

    cfa: FilterArray

    @property
    def plane_count(self) -> int:
        """Packed planes: 4 of a Bayer mosaic, 9 of an X-Trans mosaic."""
        return reference(self.cfa).plane_count

    @property
    def shuffle(self) -> int:
        """Mosaic pixels along the side of a packed pixel: 2 of a Bayer mosaic, 3 of an X-Trans mosaic."""
        return reference(self.cfa).packed_side

    @property
    def period(self) -> int:
        """Packed pixels after which the places of the planes' pixels in the mosaic repeat: 1, or 2 of X-Trans."""
        return reference(self.cfa).size // self.shuffle

    @property
    def color_planes(self) -> tuple[tuple[int, ...], ...]:
        """The indices of the planes of R, G and B."""
        colors = PLANE_COLORS[self.cfa]
        return tuple(tuple(index for index, plane in enumerate(colors) if plane == color) for color in "RGB")

    @property
    def picture_channels(self) -> int:
        """Channels that a pixel shuffle turns into the picture: 12 of a Bayer mosaic, 27 of an X-Trans mosaic."""
        return 3 * self.shuffle**2

    def _check_choices(self) -> None:
        """Raise SettingsError unless every literal field holds one of its words."""
        for name, kind in get_type_hints(type(self)).items():
            value, words = getattr(self, name), get_args(kind)
            if get_origin(kind) is Literal and not (value in words and type(value) in map(type, words)):  # 2.0 is no 2
                raise SettingsError(f"{name} is one of {', '.join(map(str, words))}; got {value!r}.")


@dataclass(frozen=True, kw_only=True)
class AlenConfig(_Layout):
    """The attention network; the defaults are the paper's network as drawn."""

    cfa: FilterArray = "bayer"
    """The filter array: 4 planes at half the mosaic's size, or 9 planes at a third of it."""
    input_levels: Literal["balanced", "sid"] = "balanced"
    """What the planes hold: "balanced" is linear, white-balanced, times the exposure ratio, signed; "sid" is as
    See-in-the-Dark feeds its networks: linear, the colors as recorded, times the exposure ratio, clipped to [0, 1]."""

    target: Literal["camera", "srgb"] = "srgb"
    """What the output means: display-encoded camera RGB, to be developed, or the finished sRGB picture."""
    widths: tuple[int, int, int, int] = (32, 64, 128, 256)
    """Channels at the size of the input stack and at 1/2, 1/4 and 1/8 of it; multiples of 4."""
    unshuffle: Literal[1, 2] = 1
    """Side of the squares of packed pixels that one position of the network describes. 2 is an inverted shuffle at the
    entrance, whose 1 × 1 convolution is the first block's: four times the planes at half the size, a quarter of the
    operations. The head then makes four packed pixels at a time."""
    brightness: tuple[float, ...] = (0.5, 0.8, 1.0, 1.2)
    """Factors of the copies of the packed planes that make the input stack; each copy is clipped to [−1, 1]."""
    downsample: Literal["isl", "max", "strided"] = "isl"
    """How the encoder halves its features: inverted shuffle, max-pooling, strided convolution."""
    channel_attention: bool = True
    """Channel gates in every block."""
    spatial_attention: bool = True
    """Non-local features in the encoder's blocks."""
    pairwise: Literal["embedded_gaussian", "gaussian", "dot_product", "concatenation"] = "embedded_gaussian"
    """How non-local features compare positions: see `alen.models.attention.NonLocal`. Only the default, the paper's,
    runs on OpenVINO; concatenation builds the matrix of all queries and keys, which is large on frames."""
    attention_limit: float | None = None
    """Bound of the products of queries and keys: limit · the cosine between them, so that no position comes to see one
    key alone. None is as published."""
    gate_scale: float = 1.0
    """Upper bound of the channel gates. 1 is the published sigmoid, 2 starts as the identity."""
    gate_limit: float | None = None
    """Bound of the gates' logits: z becomes limit · tanh(z / limit), so that no channel can be shut off for good. None
    is as published."""
    key_grid: int | None = None
    """Side of the grid of keys and values; None pools them 4 × 4, as published: their number grows with the frame."""
    base: Literal["none", "demosaic", "mixtures"] = "none"
    """What the painted picture is added to: nothing; the demosaicked input times a weight predicted per pixel; or two
    mixtures, predicted per packed pixel, of the input demosaicked in `DEMOSAICKED` ways and its averages over squares
    of `PYRAMID` packed pixels: the luma (`LUMA`) of the one, the color differences to the luma of the other, see
    `COLOR_FLOOR`."""
    demosaicking: Literal["formulas", "learned"] = "formulas"
    """The demosaicking filters of the "mixtures" base: those of `alen.demosaic`, or weights of the network of the same
    size that start as those."""

    def __post_init__(self) -> None:
        """Raise SettingsError on values no network can be built from."""
        self._check_choices()
        if len(self.widths) != 4 or any(not _is_count(width, 4) or width % 4 for width in self.widths):
            raise SettingsError(f"widths are four multiples of 4; got {self.widths}.")
        if not self.brightness or not all(0 < factor < math.inf for factor in self.brightness):
            raise SettingsError(f"brightness holds at least one finite factor above 0; got {self.brightness}.")
        if self.key_grid is not None and not _is_count(self.key_grid, 1):
            raise SettingsError(f"key_grid is a whole number of at least 1; got {self.key_grid}.")
        if not all(0 < value < math.inf for value in (self.gate_scale, self.gate_limit) if value is not None):
            raise SettingsError(
                f"gate_scale and gate_limit are finite and above 0; got {self.gate_scale}, {self.gate_limit}."
            )
        if self.attention_limit is not None and (
            not 0 < self.attention_limit < math.inf or self.pairwise != "embedded_gaussian"
        ):
            raise SettingsError(
                "attention_limit is finite, above 0 and for embedded Gaussian non-local features alone; got "
                f"{self.attention_limit} and {self.pairwise}."
            )
        if self.demosaicking == "learned" and self.base != "mixtures":
            raise SettingsError(f'Demosaicking filters are learned for the base "mixtures" alone; got {self.base}.')
        if self.cfa == "xtrans" and self.base != "none" and (self.base, self.unshuffle) != ("mixtures", 2):
            raise SettingsError(
                "The base of an X-Trans network is none, or mixtures with unshuffle 2, which makes a position a whole "
                f"pattern of 6 × 6 pixels; got {self.base} and unshuffle {self.unshuffle}."
            )

    @classmethod
    def shipped(cls) -> Self:
        """Return the form of the weights "alen": unshuffled at the entrance, and wider than the paper's."""
        return cls(
            target="camera",
            widths=(64, 96, 128, 160),
            unshuffle=2,
            brightness=(0.25, 1.0, 4.0, 16.0),
            attention_limit=4.0,
            gate_scale=2.0,
            gate_limit=2.0,
            key_grid=16,
            base="mixtures",
            demosaicking="learned",
        )

    @classmethod
    def fast(cls) -> Self:
        """Return the form of the weights "alen-fast": narrower, it takes a third of the operations."""
        return replace(cls.shipped(), widths=(32, 48, 80, 128))

    @classmethod
    def xtrans(cls) -> Self:
        """Return the form of the weights "alen-xtrans": unshuffled, a position is a whole pattern of 6 × 6 pixels."""
        return replace(cls.shipped(), cfa="xtrans", widths=(64, 96, 128, 192))

    @property
    def input_channels(self) -> int:
        """Channels of the input stack: the planes at every brightness, times the pixels of a position."""
        return self.plane_count * len(self.brightness) * self.unshuffle**2

    @property
    def multiple(self) -> int:
        """What both packed sides are padded to a multiple of: three halvings of the input stack."""
        return 8 * self.unshuffle

    @property
    def head_channels(self) -> int:
        """Channels a packed pixel gets of the head: those of the picture, and those for the weights of the base."""
        shares = {"none": 0, "demosaic": self.shuffle**2, "mixtures": 2 * (DEMOSAICKED + len(PYRAMID))}
        return self.picture_channels + shares[self.base]


@dataclass(frozen=True, kw_only=True)
class SidUnetConfig(_Layout):
    """The See-in-the-Dark U-Net, https://arxiv.org/abs/1805.01934."""

    cfa: FilterArray = "bayer"
    """The filter array, as in `AlenConfig`."""
    input_levels: Literal["balanced", "sid"] = "balanced"
    """What the planes hold, as in `AlenConfig`."""

    target: Literal["camera", "srgb"] = "srgb"
    """What the output means, as in `AlenConfig`."""
    widths: tuple[int, int, int, int, int] = (32, 64, 128, 256, 512)
    """Channels at full packed size and at 1/2, 1/4, 1/8 and 1/16 of it."""
    up_bias: bool = False
    """Biases in the transposed convolutions: not in the authors' TensorFlow code, but in its PyTorch ports."""

    def __post_init__(self) -> None:
        """Raise SettingsError on values no network can be built from."""
        self._check_choices()
        if len(self.widths) != 5 or any(not _is_count(width, 1) for width in self.widths):
            raise SettingsError(f"widths are five numbers above 0; got {self.widths}.")


def _is_count(value: float, least: int) -> bool:
    """Return whether a value is a whole number, as Python has it, of at least so many."""
    return isinstance(value, int) and value >= least

"""What a network is, as plain data: read and written without torch, kept in the header of every weights file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, Self, get_args, get_origin, get_type_hints

from alen.errors import SettingsError

DEMOSAICKED: Final = 3
"""Demosaicked inputs in the "mixture" base: Malvar's, along the rows, along the columns."""

PYRAMID: Final = (2, 4, 16, 64)
"""Sides of the averages in the "mixture" base, in packed pixels."""

PYRAMID_CEILING: Final = 1.5
"""Averages over 4 × 4 packed pixels are clipped here before they are averaged on, so that a lamp does not light the
squares around it. Smaller ones are not: clipping their noise on one side would darken the darkest frames."""


@dataclass(frozen=True, kw_only=True)
class AlenConfig:
    """The attention network; the defaults are the paper's network as drawn."""

    target: Literal["camera", "srgb"] = "srgb"
    """What the output means: display-encoded camera RGB, to be developed, or the finished sRGB picture."""
    widths: tuple[int, int, int, int] = (32, 64, 128, 256)
    """Channels at full packed size and at 1/2, 1/4 and 1/8 of it; multiples of 4."""
    brightness: tuple[float, ...] = (0.5, 0.8, 1.0, 1.2)
    """Factors of the copies of the packed planes that make the input stack; each copy is clipped to [−1, 1]."""
    downsample: Literal["isl", "max", "strided"] = "isl"
    """How the encoder halves its features: inverted shuffle, max-pooling, strided convolution."""
    channel_attention: bool = True
    """Channel gates in every block."""
    spatial_attention: bool = True
    """Non-local features in the encoder's blocks."""
    gate_scale: float = 1.0
    """Upper bound of the channel gates. 1 is the published sigmoid, 2 starts as the identity."""
    key_grid: int | None = None
    """Side of the grid of keys and values; None pools them 4 × 4, as published: their number grows with the frame."""
    base: Literal["none", "demosaic", "mixture"] = "none"
    """What the painted picture is added to: nothing; the demosaicked input times a weight predicted per pixel; or a
    mixture, predicted per cell, of the input demosaicked in `DEMOSAICKED` ways and its averages over squares of
    `PYRAMID` packed pixels."""

    def __post_init__(self) -> None:
        """Raise SettingsError on values no network can be built from."""
        for name, kind in get_type_hints(type(self)).items():
            if get_origin(kind) is Literal and getattr(self, name) not in get_args(kind):
                words = ", ".join(get_args(kind))
                raise SettingsError(f"{name} is one of {words}; got {getattr(self, name)!r}.")
        if len(self.widths) != 4 or any(width < 4 or width % 4 for width in self.widths):
            raise SettingsError(f"widths are four multiples of 4; got {self.widths}.")
        if not self.brightness or any(factor <= 0 for factor in self.brightness):
            raise SettingsError(f"brightness holds at least one factor above 0; got {self.brightness}.")
        if self.key_grid is not None and self.key_grid < 1:
            raise SettingsError(f"key_grid is at least 1; got {self.key_grid}.")
        if self.gate_scale <= 0:
            raise SettingsError(f"gate_scale is above 0; got {self.gate_scale}.")

    @classmethod
    def shipped(cls) -> Self:
        """Return the form whose weights ship with the package."""
        return cls(target="camera", brightness=(0.25, 1.0, 4.0, 16.0), gate_scale=2.0, key_grid=16, base="mixture")

    @property
    def head_channels(self) -> int:
        """Channels of the head: 12 for the picture, and those for the weights of the base."""
        shares = {"none": 0, "demosaic": 4, "mixture": DEMOSAICKED + len(PYRAMID)}
        return 12 + shares[self.base]


@dataclass(frozen=True, kw_only=True)
class SidUnetConfig:
    """The See-in-the-Dark U-Net, https://arxiv.org/abs/1805.01934."""

    target: Literal["camera", "srgb"] = "srgb"
    """What the output means, as in `AlenConfig`."""
    widths: tuple[int, int, int, int, int] = (32, 64, 128, 256, 512)
    """Channels at full packed size and at 1/2, 1/4, 1/8 and 1/16 of it."""

"""What the shipped weights were trained for, and how to tell that a RAW image lies outside of it.

The ranges are those of `alen.noise.sample_generic` and of the recipe: exposure ratios 1 to 300, ISO 100 to 25600, 10 to
14 bits, black levels that drift by a fraction of the read noise. Outside, pictures may be good all the same; nobody has
looked.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from alen.cfa import CFA
from alen.levels import MAX_RATIO
from alen.raw import RawImage

ISO: Final = (100.0, 25600.0)
"""Speeds whose noise was simulated."""
LEAST_RANGE_DN: Final = 850.0
"""A little less than the range of 10 bits, black level taken off."""
MOST_CLIPPED: Final = 0.1
"""Share of the pixels from which on clipping is worth a word: what is clipped stays white."""
BLACK_DRIFT: Final = 2e-4
"""Of the range: twice the largest drift of the black level that was simulated, beside that of the noise."""

_BLOCK: Final = 64
"""Side of the blocks, in pixels of one color, whose means tell where black is."""
_ROW_STEP: Final = 4
"""Of their rows every fourth is read: enough, and a few milliseconds for twelve megapixels."""
_DEVIATIONS: Final = 6.0
"""By how many standard deviations the darkest of some thousand block means has to lie below black."""


def out_of_range(raw: RawImage, ratio: float, *, ratio_is_estimated: bool) -> tuple[str, ...]:
    """Return a sentence for everything about an image that lies outside what the weights were trained for.

    Args:
        raw: The image.
        ratio: The exposure ratio it is amplified by.
        ratio_is_estimated: Whether that was estimated from the image.
    """
    found: list[str] = []
    if ratio_is_estimated and ratio >= MAX_RATIO:
        found.append(
            f"The frame seems to be more than {MAX_RATIO:g} times too dark, the most that can be amplified; "
            "expect little of it."
        )
    if raw.iso is not None and not ISO[0] <= raw.iso <= ISO[1]:
        found.append(f"ISO {raw.iso:g} is outside the {ISO[0]:g} to {ISO[1]:g} that the network was trained for.")
    range_dn = raw.white_level - max(raw.black_level)
    if range_dn < LEAST_RANGE_DN:
        found.append(f"The sensor tells only {range_dn:.0f} levels apart; the network was trained for 10 bits or more.")
    clipped = float(np.mean(raw.mosaic >= raw.white_level))
    if clipped > MOST_CLIPPED:
        found.append(f"{clipped:.0%} of the pixels are clipped; what is lost there stays white.")
    below = below_black_dn(raw.mosaic, raw.cfa, raw.black_level)
    if below > BLACK_DRIFT * range_dn:
        found.append(
            f"Dark areas lie {below:.1f} DN below the black level of the file, more than noise explains; "
            "shadows may have a color cast."
        )
    return tuple(found)


def below_black_dn(mosaic: NDArray[np.uint16], cfa: CFA, black_level: tuple[float, float, float, float]) -> float:
    """Return by how much the darkest large block lies below black, in DN; 0 if none surely does.

    No light is below black, so a mean that is, beyond its noise, shows a black level that is too high. One that is too
    low cannot be told from light.

    Args:
        mosaic: (H, W) uint16.
        cfa: Its pattern.
        black_level: Of R, Gr, Gb and B.
    """
    n = cfa.size
    rows, columns = (side // n // _BLOCK for side in mosaic.shape)
    if not rows or not columns:
        return 0.0
    most = 0.0
    for (y, x), plane in np.ndenumerate(cfa.plane_map(n, n)):
        pixels = mosaic[y::n, x::n][: rows * _BLOCK : _ROW_STEP, : columns * _BLOCK]
        blocks = pixels.reshape(rows, _BLOCK // _ROW_STEP, columns, _BLOCK)
        means = blocks.mean(axis=(1, 3))
        row, column = np.unravel_index(means.argmin(), means.shape)
        darkest = blocks[row, :, column]
        below = black_level[plane] - float(means[row, column])
        of_rows = float(darkest.mean(axis=1).std()) / math.sqrt(len(darkest))  # row noise moves whole rows
        if below > _DEVIATIONS * max(of_rows, float(darkest.std()) / math.sqrt(darkest.size)):
            most = max(most, below)
    return most

"""What the shipped weights were trained for, and how to tell that a RAW image lies outside of it.

The ranges are those of `alen.cameras.sample_generic` and of the recipe: exposure ratios 1 to 300, ISO 100 to 25600, 10
to 14 bits, black levels that drift by a fraction of the read noise. Outside, pictures may be good all the same; nobody
has looked.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from alen.black_level import BLOCK, Levels
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


_DEVIATIONS: Final = 6.0
"""Standard errors that are noise."""


def out_of_range(raw: RawImage, ratio: float, black_level: Levels, *, ratio_is_estimated: bool) -> tuple[str, ...]:
    """Return a sentence for everything about an image that lies outside what the weights were trained for.

    Args:
        raw: The image, with the black level of the file.
        ratio: The exposure ratio it is amplified by.
        black_level: Levels of R, Gr, Gb and B that are used as black, see `alen.black_level.proven_black_level`.
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
    range_dn = (raw.white_level - max(raw.black_level)) / raw.scale
    if range_dn < LEAST_RANGE_DN:
        found.append(f"The sensor tells only {range_dn:.0f} levels apart; the network was trained for 10 bits or more.")
    clipped = float(np.mean(raw.mosaic >= raw.white_level))
    if clipped > MOST_CLIPPED:
        found.append(f"{clipped:.0%} of the pixels are clipped; what is lost there stays white.")
    used = raw.in_dn(black_level)
    drifts = [old - new for old, new in zip(raw.in_dn(raw.black_level), used, strict=True)]
    if max(drifts) > BLACK_DRIFT * range_dn:
        found.append(
            f"Dark areas lie up to {max(drifts):.1f} DN below the black level of the file, more than noise explains; "
            f"black is taken as {', '.join(f'{level:.1f}' for level in used)} DN (R, Gr, Gb, B)"
            + (", and shadows may keep a color cast." if min(drifts) == 0 else ".")
        )
    below = _below_black(raw, black_level)
    if below > BLACK_DRIFT * range_dn:
        found.append(
            f"The frame as a whole lies {below:.0f} DN below its black level, where no light can be: that level is "
            "wrong, and the picture with it."
        )
    return tuple(found)


def _below_black(raw: RawImage, black_level: Levels) -> float:
    """Return how far the mean of a frame lies below black, in DN, less what noise explains.

    0 of frames that are large enough to have proven a lower level, which is used by now: see `alen.black_level`.
    """
    n = raw.cfa.size
    if min(raw.mosaic.shape) >= BLOCK * n:
        return 0.0
    black = float(np.asarray(black_level)[raw.cfa.plane_map(n, n)].mean())
    error = float(raw.mosaic.std(dtype=np.float64)) / math.sqrt(raw.mosaic.size)
    return (black - float(raw.mosaic.mean(dtype=np.float64)) - _DEVIATIONS * error) / raw.scale

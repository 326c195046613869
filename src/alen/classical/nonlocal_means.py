"""Non-local means: every pixel becomes the mean of the pixels whose surroundings look alike.

"A non-local algorithm for image denoising", A. Buades, B. Coll, J.-M. Morel, CVPR 2005, and their "Non-Local Means
Denoising", IPOL 2011, https://doi.org/10.5201/ipol.2011.bcm_nlm, in the pixelwise form, with a box instead of a disk of
pixels. What we add: the surroundings may be compared in another picture (a guide), and every channel may have its own
strength, because eyes and cameras treat luminance and color noise differently.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from alen.errors import SettingsError


def nonlocal_means(
    planes: NDArray[np.float32],
    *,
    patch: int,
    window: int,
    sigma: float,
    h: float | Sequence[float],
    guide: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Denoise planes that share their structure.

    y(p) = Σ_q w(p, q) x(q) / Σ_q w(p, q) over the window around p, with w = exp(−max(d² − 2σ², 0)/h²) and d² the mean
    squared difference of the guide's patches around p and q, over all its channels. The weight of p itself is the
    largest of the others, so that a pixel without a double is not left alone. Beyond the edge the picture is mirrored.

    Args:
        planes: (C, H, W) float32, any scale.
        patch: Side of the patches in pixels, odd.
        window: Side of the window in pixels, odd; H and W at least (window + patch)/2.
        sigma: Standard deviation of the noise in the guide.
        h: Strength, in the guide's units; one for all channels of ``planes``, or one for each.
        guide: (C', H, W) float32, where patches are compared; None: ``planes`` itself.

    Returns:
        (C, H, W) float32.

    Raises:
        SettingsError: A side is even, a strength not positive, or the picture too small.
    """
    guide = planes if guide is None else guide
    channels, height, width = planes.shape
    strengths = [float(h)] * channels if isinstance(h, (int, float)) else [float(value) for value in h]
    if patch < 1 or window < 3 or patch % 2 == 0 or window % 2 == 0:
        raise SettingsError(f"Patch and window have odd sides, the window at least 3; got {patch} and {window}.")
    if len(strengths) != channels or min(strengths) <= 0:
        raise SettingsError(f"h is one positive number, or one for each of the {channels} channels; got {h}.")
    reach, half = window // 2, patch // 2
    if guide.shape[1:] != (height, width) or min(height, width) <= reach + half:
        raise SettingsError(
            f"A window of {window} and a patch of {patch} need sides above {reach + half} and a guide of the same "
            f"size; got {planes.shape} and {guide.shape}."
        )

    groups = [(value, [c for c in range(channels) if strengths[c] == value]) for value in sorted(set(strengths))]
    margin = reach + half
    padded_guide = np.pad(guide, ((0, 0), (margin, margin), (margin, margin)), mode="reflect")
    padded = np.pad(planes, ((0, 0), (reach, reach), (reach, reach)), mode="reflect")
    weighted = np.zeros_like(planes)
    total = np.zeros((len(groups), height, width), dtype=np.float32)
    largest = np.full((len(groups), height, width), np.finfo(np.float32).tiny, dtype=np.float32)

    for dy in range(reach + 1):
        for dx in range(-reach if dy else 1, reach + 1):
            # Differences belong to pairs: those of p and p + (dy, dx), for every p whose pair touches the picture,
            # serve p in one direction and p + (dy, dx) in the other.
            left = min(0, -dx)
            rows, columns = height + dy, width + abs(dx)
            distance = _patch_distance(padded_guide, margin - dy, margin + left, rows, columns, dy, dx, half)
            np.maximum(distance - np.float32(2 * sigma**2), 0, out=distance)
            for index, (strength, members) in enumerate(groups):
                pairs = np.exp(distance * np.float32(-1 / strength**2))
                forward = pairs[dy:, -left : -left + width]  # w(p, p + o)
                backward = pairs[:height, -left - dx : -left - dx + width]  # w(p, p − o)
                for weight, y, x in ((forward, dy, dx), (backward, -dy, -dx)):
                    total[index] += weight
                    np.maximum(largest[index], weight, out=largest[index])
                    for c in members:
                        weighted[c] += weight * padded[c, reach + y : reach + y + height, reach + x : reach + x + width]

    for index, (_, members) in enumerate(groups):
        total[index] += largest[index]
        for c in members:
            weighted[c] += largest[index] * planes[c]
            weighted[c] /= total[index]
    return weighted


def _patch_distance(
    padded: NDArray[np.float32], top: int, left: int, rows: int, columns: int, dy: int, dx: int, half: int
) -> NDArray[np.float32]:
    """Return the mean squared difference of patches around p and p + (dy, dx), for rows × columns pixels p.

    Args:
        padded: (C, H', W') the guide with its margin.
        top: Row of the first p in it.
        left: Column of the first p in it.
        rows: Rows of p.
        columns: Columns of p.
        dy: Rows from p to its partner.
        dx: Columns from p to its partner.
        half: Pixels that a patch reaches to each side.
    """
    y, x = top - half, left - half
    rows_in, columns_in = rows + 2 * half, columns + 2 * half
    difference = (
        padded[:, y : y + rows_in, x : x + columns_in]
        - padded[:, y + dy : y + dy + rows_in, x + dx : x + dx + columns_in]
    )
    squares = np.einsum("cyx,cyx->yx", difference, difference)
    side = 2 * half + 1
    lines = squares[:rows].copy()
    for shift in range(1, side):
        lines += squares[shift : shift + rows]
    sums: NDArray[np.float32] = lines[:, :columns].copy()
    for shift in range(1, side):
        sums += lines[:, shift : shift + columns]
    sums *= np.float32(1 / (side**2 * padded.shape[0]))
    return sums

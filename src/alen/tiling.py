"""Geometry of frames as values: padding to a phase and a multiple. Knows no network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alen.cfa import CFA, rggb_offset, xtrans_offset
from alen.errors import SettingsError


@dataclass(frozen=True)
class Padding:
    """Pixels added on each side of a mosaic, and taken off the picture again.

    What is added is the mosaic mirrored about its edges, to the nearest pixel at the same place of the filter array's
    pattern: of Bayer a reflection that does not repeat the edge.
    """

    top: int
    left: int
    bottom: int
    right: int
    period: int = 2
    """Side of the filter array's pattern: 2 of Bayer, 6 of X-Trans."""

    @classmethod
    def to_reference(cls, height: int, width: int, cfa: CFA, multiple: int) -> Padding:
        """Return the smallest padding to the phase of `alen.cfa.reference` and to sides that are multiples.

        Args:
            height: Rows of the mosaic.
            width: Columns of the mosaic.
            cfa: Its pattern: any phase of Bayer or X-Trans.
            multiple: What both padded sides are divisible by; itself divisible by the side of the pattern.

        Raises:
            SettingsError: ``multiple`` is not a whole number of patterns.
        """
        if multiple < cfa.size or multiple % cfa.size:
            raise SettingsError(f"A mosaic is padded to a multiple of whole patterns, {cfa.size}; got {multiple}.")
        top, left = rggb_offset(cfa) if cfa.is_bayer else xtrans_offset(cfa)
        return cls(top, left, -(height + top) % multiple, -(width + left) % multiple, cfa.size)

    def pad(self, mosaic: NDArray[Any]) -> NDArray[Any]:
        """Return (H + top + bottom, W + left + right)."""
        return self.pad_rows(mosaic, 0, self.top + len(mosaic) + self.bottom)

    def pad_rows(self, mosaic: NDArray[Any], start: int, stop: int) -> NDArray[Any]:
        """Return rows ``start`` to ``stop`` of ``pad(mosaic)``, without the others."""
        height, width = mosaic.shape
        first, last = start - self.top, stop - self.top
        rows = mosaic[first:last] if first >= 0 and last <= height else mosaic[self._source(first, last, height)]
        beside = self._source(-self.left, 0, width), self._source(width, width + self.right, width)
        if not (self.left or self.right):
            return rows
        return np.concatenate([rows[:, beside[0]], rows, rows[:, beside[1]]], axis=1)

    def crop(self, picture: NDArray[Any]) -> NDArray[Any]:
        """Return the view of a padded picture (H', W', …) that belongs to the mosaic: the inverse of `pad`."""
        height, width = picture.shape[:2]
        return picture[self.top : height - self.bottom, self.left : width - self.right]

    def _source(self, first: int, last: int, size: int) -> NDArray[np.intp]:
        """Return where rows, or columns, ``first`` to ``last`` of a mosaic and beyond it come from."""
        index = np.arange(first, last)
        for _ in range(16):  # again: the mirror image of a small mosaic may lie beyond its other side
            beyond = np.where(index < 0, index, np.maximum(index - (size - 1), 0))  # below 0 or, after the end, above
            if not beyond.any():
                break
            index = index - self.period * (np.sign(beyond) * -(-2 * np.abs(beyond) // self.period))
        inside = (index >= 0) & (index < size)
        return np.where(inside, index, np.minimum(np.arange(first, last) % self.period, size - 1))

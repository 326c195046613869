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
    def to_reference(cls, height: int, width: int, cfa: CFA, multiple: int, *, leaves_room: bool = False) -> Padding:
        """Return the smallest padding to the phase of `alen.cfa.reference` and to sides that are multiples.

        Args:
            height: Rows of the mosaic.
            width: Columns of the mosaic.
            cfa: Its pattern: any phase of Bayer or X-Trans.
            multiple: What both padded sides are divisible by; itself divisible by the side of the pattern.
            leaves_room: Make both sides as large as any phase of the pattern would need them, so that they do not
                depend on it.

        Raises:
            SettingsError: ``multiple`` is not a whole number of patterns.
        """
        if multiple < cfa.size or multiple % cfa.size:
            raise SettingsError(f"A mosaic is padded to a multiple of whole patterns, {cfa.size}; got {multiple}.")
        top, left = rggb_offset(cfa) if cfa.is_bayer else xtrans_offset(cfa)
        most_top, most_left = (cfa.size - 1, cfa.size - 1) if leaves_room else (top, left)
        bottom, right = -(height + most_top) % multiple, -(width + most_left) % multiple
        return cls(top, left, bottom + most_top - top, right + most_left - left, cfa.size)

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

    def crop_rows(self, rows: NDArray[Any], start: int, height: int) -> tuple[slice, NDArray[Any]]:
        """Crop some rows of a padded picture.

        Args:
            rows: (n, W', …) of it.
            start: The first of them.
            height: Rows of the mosaic.

        Returns:
            Which rows of the mosaic are among them, maybe none, and the view (m, W, …) that belongs to these.
        """
        first, last = (min(max(row - self.top, 0), height) for row in (start, start + len(rows)))
        offset = self.top - start
        return slice(first, last), rows[first + offset : last + offset, self.left : rows.shape[1] - self.right]

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

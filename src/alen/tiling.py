"""Geometry of frames as values: padding to a phase and a multiple. Knows no network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alen.cfa import CFA, rggb_offset
from alen.errors import SettingsError


@dataclass(frozen=True)
class Padding:
    """Pixels added on each side of a mosaic, and taken off the picture again."""

    top: int
    left: int
    bottom: int
    right: int

    @classmethod
    def to_rggb(cls, height: int, width: int, cfa: CFA, multiple: int) -> Padding:
        """Return the smallest padding that makes a Bayer mosaic start with RGGB and its sides multiples.

        Args:
            height: Rows of the mosaic.
            width: Columns of the mosaic.
            cfa: Its Bayer pattern.
            multiple: What both padded sides are divisible by; even.
        """
        if multiple < 2 or multiple % 2:
            raise SettingsError(f"A Bayer mosaic is padded to an even multiple; got {multiple}.")
        top, left = rggb_offset(cfa)
        return cls(top, left, -(height + top) % multiple, -(width + left) % multiple)

    def pad(self, mosaic: NDArray[Any]) -> NDArray[Any]:
        """Return (H + top + bottom, W + left + right): mirrored about the edge pixels, which keeps the CFA phase.

        Mirroring without repeating the edge moves every pixel by an even number of rows and columns.
        """
        widths = ((self.top, self.bottom), (self.left, self.right))
        return np.pad(mosaic, widths, mode="reflect")

    def pad_rows(self, mosaic: NDArray[Any], start: int, stop: int) -> NDArray[Any]:
        """Return rows ``start`` to ``stop`` of ``pad(mosaic)``, without the others."""
        height = len(mosaic)
        first, last = start - self.top, stop - self.top
        if first >= 0 and last <= height:
            rows = mosaic[first:last]
        else:
            period = max(2 * (height - 1), 1)
            index = np.arange(first, last) % period
            rows = mosaic[np.where(index < height, index, period - index)]
        if not (self.left or self.right):
            return rows
        return np.pad(rows, ((0, 0), (self.left, self.right)), mode="reflect")

    def crop(self, picture: NDArray[Any]) -> NDArray[Any]:
        """Return the view of a padded picture (H', W', …) that belongs to the mosaic: the inverse of `pad`."""
        height, width = picture.shape[:2]
        return picture[self.top : height - self.bottom, self.left : width - self.right]

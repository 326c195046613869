"""Geometric self-ensemble: the mean of the pictures that a network makes of a frame turned and mirrored.

A network's errors depend on how a scene lies on the filter array; those of several orientations cancel each other in
part, which costs nothing but time. (B. Lim, S. Son, H. Kim, S. Nah and K. M. Lee, "Enhanced deep residual networks for
single image super-resolution", 2017, section 3.4, https://arxiv.org/abs/1707.02921.) A mosaic is turned, not packed
planes: what it is afterwards is a mosaic of another phase.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from alen.cfa import CFA
from alen.engines import Engine, Planes
from alen.errors import SettingsError
from alen.tiling import Padding


@dataclass(frozen=True)
class Turn:
    """One of the eight ways in which a square lies on itself."""

    quarters: int = 0
    """Quarter turns counterclockwise, 0 to 3."""
    is_mirrored: bool = False
    """True if left and right change places after that."""

    @property
    def swaps_sides(self) -> bool:
        """True if rows become columns."""
        return self.quarters % 2 == 1

    def of(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return a view of an array (H, W, …), turned."""
        turned = np.rot90(array, self.quarters)
        return turned[:, ::-1] if self.is_mirrored else turned

    def cfa(self, cfa: CFA, height: int, width: int) -> CFA:
        """Return the pattern of a mosaic (height, width) when it is turned; X-Trans stays X-Trans."""
        n = cfa.size
        letters = np.array([list(row) for row in cfa.rows])
        frame = np.pad(letters, ((0, height % n), (0, width % n)), mode="wrap")  # what is left over shifts the pattern
        return CFA(tuple("".join(row) for row in self.of(frame)[:n, :n]))

    def black_level(
        self, black_level: tuple[float, float, float, float], cfa: CFA
    ) -> tuple[float, float, float, float]:
        """Return the black levels of R, Gr, Gb and B of a mosaic when it is turned.

        Gr is the green in rows with red: of Bayer the green in columns with red takes its place when sides are swapped.
        """
        red, green_red, green_blue, blue = black_level
        return (red, green_blue, green_red, blue) if self.swaps_sides and cfa.is_bayer else black_level


TURNS: Final = tuple(Turn(quarters, is_mirrored) for is_mirrored in (False, True) for quarters in (0, 2, 1, 3))
"""All of them, those first that gain most: turned by half, then by quarters, then mirrored."""

COUNTS: Final = (1, 2, 4, 8)
"""Of how many a mean may be: the first of `TURNS`."""


def check_ensemble(count: int) -> None:
    """Raise SettingsError unless a mean may be of so many orientations."""
    if count not in COUNTS:
        raise SettingsError(f"An ensemble is of 1, 2, 4 or 8 orientations; got {count}.")


def mean_stripes(
    engine: Engine,
    turned: Callable[[Turn], tuple[Planes, Padding]],
    count: int,
    progress: Callable[[float], None] | None = None,
) -> Iterator[NDArray[np.float32]]:
    """Yield the mean of pictures of a frame in several orientations, as `alen.engines.Engine.stripes` yields one.

    What padding adds around the frame is as the network makes it of the frame as it lies. The pictures' sum is kept in
    memory: 12 bytes per pixel.

    Args:
        engine: The network.
        turned: Makes the frame turned: its packed planes, and the padding that is in them.
        count: Of the first so many of `TURNS`.
        progress: As of `alen.engines.Engine.stripes`, for all orientations together.

    Raises:
        SettingsError: The count is not one of `COUNTS`.
    """
    check_ensemble(count)
    own, *others = TURNS[:count]
    planes, padding = turned(own)
    if not others:
        yield from engine.stripes(planes, progress)
        return

    def part(index: int) -> Callable[[float], None] | None:
        return None if progress is None else lambda share: progress((index + share) / count)

    side = 2 if planes.shape[0] == 4 else 3
    height = side * planes.shape[1] - padding.top - padding.bottom
    width = side * planes.shape[2] - padding.left - padding.right
    total = np.zeros((3, height, width), dtype=np.float32)
    # those of the frame's own sides last: for the other sides the network is compiled anew
    for index, turn in enumerate(sorted(others, key=lambda turn: not turn.swaps_sides)):
        view = turn.of(total.transpose(1, 2, 0))
        turned_planes, turned_padding = turned(turn)
        reached = 0
        for stripe in engine.stripes(turned_planes, part(index)):
            rows, piece = turned_padding.crop_rows(stripe, reached, len(view))
            view[rows] += piece
            reached += len(stripe)
    reached = 0
    for stripe in engine.stripes(planes, part(len(others))):
        mean = stripe.copy(order="K")
        rows, piece = padding.crop_rows(mean, reached, height)
        piece += total[:, rows].transpose(1, 2, 0)
        piece *= np.float32(1 / count)
        reached += len(stripe)
        yield mean

"""Engines: what runs a network on packed planes and says what it runs on.

`alen.engines.openvino` needs only the base install.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from numbers import Integral
from typing import Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from alen.errors import SettingsError

Precision = Literal["auto", "bfloat16", "float32"]
"""Arithmetic of the layers with weights; "auto" is bfloat16 where the device computes in it, else float32."""


def check_engine_settings(precision: str, threads: int | None) -> None:
    """Raise SettingsError unless a precision is one of `Precision` and threads are a whole number above 0, or None."""
    if precision not in get_args(Precision):
        raise SettingsError(f"The precision is one of {', '.join(get_args(Precision))}; got {precision!r}.")
    if threads is not None and not (isinstance(threads, Integral) and threads >= 1):
        raise SettingsError(f"At least one thread is needed, a whole number of them; got {threads!r}.")


class Planes(Protocol):
    """Packed planes R, Gr, Gb, B of a frame: linear, white-balanced, × ratio, signed.

    An engine may read the same rows several times, in bands, so that they need not be kept as a whole.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """(4, h, w): h and w multiples of `MULTIPLE`."""
        ...

    def rows(self, start: int, stop: int) -> NDArray[np.float32]:
        """Return rows ``start`` to ``stop``, (4, stop − start, w) float32; 0 ≤ start ≤ stop ≤ h."""
        ...


@dataclass(frozen=True)
class UnshuffledPlanes:
    """Planes (4, h, w) as (4·side², h/side, w/side), made row by row, in the order of torch's `pixel_unshuffle`."""

    planes: Planes
    """The planes as they are."""
    side: int
    """Of the squares of packed pixels that become one position."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(4·side², h/side, w/side)."""
        count, height, width = self.planes.shape
        return count * self.side**2, height // self.side, width // self.side

    def rows(self, start: int, stop: int) -> NDArray[np.float32]:
        """Return a copy of rows ``start`` to ``stop``."""
        count, _, width = self.shape
        rows = np.empty((count, stop - start, width), dtype=np.float32)
        self.put_rows(start, stop, rows)
        return rows

    def put_rows(self, start: int, stop: int, out: NDArray[np.float32]) -> None:
        """Put rows ``start`` to ``stop`` where they are wanted, (4·side², stop − start, w/side)."""
        rows = self.planes.rows(start * self.side, stop * self.side)
        squares = rows.reshape(len(rows), stop - start, self.side, -1, self.side)  # (4, n, s, w/s, s)
        for index in range(self.side**2):
            out[index :: self.side**2] = squares[:, :, index // self.side, :, index % self.side]


@dataclass(frozen=True)
class PlanesArray:
    """`Planes` that are an array."""

    array: NDArray[np.float32]
    """(4, h, w)."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(4, h, w)."""
        return self.array.shape

    def rows(self, start: int, stop: int) -> NDArray[np.float32]:
        """Return a view of rows ``start`` to ``stop``."""
        return self.array[:, start:stop]


class Engine(Protocol):
    """A network ready to run."""

    @property
    def description(self) -> str:
        """Engine, device and precision in a few words, for logs and metadata."""
        ...

    def needed_bytes(self, height: int, width: int) -> int | None:
        """Return the bytes that packed planes (4, h, w) need beside themselves and the picture; None if unknown."""
        ...

    def run(self, planes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the linear picture of packed planes (4, h, w), as of `Planes`.

        Returns:
            (2h, 2w, 3) float32, linear (the network's display encoding is undone), not clipped.
        """
        ...

    def stripes(self, planes: Planes, progress: Callable[[float], None] | None = None) -> Iterator[NDArray[np.float32]]:
        """Yield the same picture in pieces (rows, 2w, 3) from top to bottom, each valid until the next is asked for.

        Colors may be apart in memory, each a plane of its own.

        ``progress`` is told the share of the work that is done, in [0, 1], as often as it is known.
        """
        ...


MULTIPLE = 16
"""Packed sides are multiples of this: three times halved, and once more where a network unshuffles its input."""

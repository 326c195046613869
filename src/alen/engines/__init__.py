"""Engines: what runs a network on packed planes and says what it runs on.

`alen.engines.openvino` needs only the base install.
"""

from __future__ import annotations

from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Precision = Literal["auto", "bfloat16", "float32"]
"""Arithmetic of the layers with weights; "auto" is bfloat16 where the device computes in it, else float32."""


class Engine(Protocol):
    """A network ready to run."""

    @property
    def description(self) -> str:
        """Engine, device and precision in a few words, for logs and metadata."""
        ...

    def run(self, planes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the linear picture of packed planes.

        Args:
            planes: (4, h, w) float32, planes R, Gr, Gb, B; linear, white-balanced, × ratio, signed; h and w multiples
                of `MULTIPLE`.

        Returns:
            (2h, 2w, 3) float32, linear (the network's display encoding is undone), not clipped.
        """
        ...


MULTIPLE = 8
"""Packed sides are multiples of this: three times halved."""

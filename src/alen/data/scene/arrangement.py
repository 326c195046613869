"""Where everything stands, and what lights it."""

from __future__ import annotations

from typing import Final

import numpy as np

from alen.data.scene.light import Ball, Block, Column, Lamp, Light, disk_points
from alen.data.scene.view import TABLE_Y, Point

BULB: Final[Point] = (0.575, -0.035, 1.96)
CANDLE: Final[Point] = (-0.535, 0.375, 1.93)
BALL: Final = Ball((-0.16, TABLE_Y - 0.105, 1.98), 0.105)
SHELF: Final = Block((-0.50, 0.17, 2.38), (-0.055, TABLE_Y, 2.60))
POT: Final = Column(-0.80, 2.40, 0.086, 0.37, TABLE_Y)
CUP: Final = Column(0.66, 2.20, 0.053, 0.40, TABLE_Y)
LYING: Final = (
    Block((0.44, 0.505, 2.40), (0.70, TABLE_Y, 2.60)),
    Block((0.46, 0.455, 2.41), (0.69, 0.505, 2.58)),
)
CARD_CORNER: Final[Point] = (0.045, 0.325, 2.34)
CARD_RIGHT: Final[Point] = (0.34, 0.0, 0.02)
CARD_DOWN: Final[Point] = (0.0, 0.224, -0.085)
FRUIT: Final = (Ball((0.425, TABLE_Y - 0.054, 2.06), 0.054), Ball((0.50, TABLE_Y - 0.049, 1.98), 0.049))


def lighting() -> Light:
    """Return the lamps and what stands in their way."""
    neon = np.array([[-0.57 + 0.22 * k, -0.10, 2.93] for k in range(3)], np.float32)
    flame = np.array(CANDLE, np.float32) + np.array([[0.004 * (-1) ** k, -0.048 + 0.018 * k, 0] for k in range(4)])
    lamps = (
        Lamp(points=disk_points(BULB, 0.035, 12), color=(0.72, 0.60, 0.44), cone=(0.22, 0.60), leak=0.05),
        Lamp(points=flame.astype(np.float32), color=(0.060, 0.034, 0.0145)),
        Lamp(points=neon, color=(0.034, 0.012, 0.026)),
        Lamp(points=np.array([[0.50, 0.50, 2.10]], np.float32), color=(0.030, 0.018, 0.010)),  # the table's own glow
    )
    card = Block((0.05, 0.335, 2.352), (0.38, TABLE_Y, 2.358))
    wax = Column(CANDLE[0], CANDLE[2], 0.034, CANDLE[1] + 0.045, TABLE_Y)
    stem = Column(0.80, 2.42, 0.012, -0.10, TABLE_Y)
    return Light(lamps, (BALL, SHELF, POT, CUP, *LYING, *FRUIT, card, stem, wax))

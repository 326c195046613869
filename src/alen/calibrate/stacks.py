"""Stacks of frames: mean and variance over time of every pixel, from frames that are taken one by one."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from alen.calibrate.blocks import BLOCK_PX, Starts, block_means, block_starts, expanded, pattern_phases
from alen.errors import CalibrationError

LINEAR_SHARE: Final = 0.7
"""Part of the range between black and white that the line is fitted in: EMVA 1288 ends there, before sensors bend."""

_FLICKER_SHARE: Final = 1e-3
"""Part of the range that the mean of a frame changes by at least if it is the light; black levels drift by less."""


class Stack:
    """Moments over time of every pixel's difference from the first frame, added up frame by frame.

    Frames are made equal first: what a color has in common (a place in the pattern of the filter array, its "phase"),
    in the whole frame or in each of its blocks, is taken off. If the levels are told, light that has changed by more
    than the black level drifts (`_FLICKER_SHARE`) has changed the contrast in blocks, too, which is taken off as well.
    With two parts the frames go to one and the other in turn, each with moments of its own.

    Args:
        first: (H, W) uint16.
        period: Side of the pattern.
        side: Side of the blocks in pixels; None makes whole frames equal.
        parts: 1 or 2.
        levels: Mean black level and range in DN.
    """

    def __init__(
        self,
        first: NDArray[np.uint16],
        period: int,
        *,
        side: int | None = None,
        parts: int = 1,
        levels: tuple[float, float] | None = None,
    ) -> None:
        if first.ndim != 2:
            raise CalibrationError(f"A frame has two dimensions; got the shape {first.shape}.")
        self.shape = first.shape
        self.count = 1
        self._first = first.copy()
        self._period = period
        self._side = side
        self._counts = [1] + [0] * (parts - 1)
        self._weights = [1.0] + [0.0] * (parts - 1)  # of frames' brightness, squared; that of the first is 1
        self._sums = [np.zeros(first.shape, np.float32) for _ in range(parts)]
        self._squares = [np.zeros(first.shape, np.float32) for _ in range(parts)]
        self._common = [np.zeros(1)] * period**2
        self._levels = levels
        self._grown = 0.0  # sum of the shares by which frames are brighter than the first
        planes = [self._first[phase] for phase in pattern_phases(period)]
        self._blocks = [block_means(plane, self._starts(plane)) for plane in planes]

    def add(self, mosaic: NDArray[np.uint16]) -> tuple[NDArray[np.float32], list[NDArray[np.float64]]]:
        """Take a frame; returns its difference (H, W) from the first, and what was taken off by phase and block.

        Raises:
            CalibrationError: Its size is another.
        """
        if mosaic.shape != self.shape:
            raise CalibrationError(f"Frames of one size are needed; got {mosaic.shape} and {self.shape}.")
        residual = np.subtract(mosaic, self._first, dtype=np.float32)
        common = [block_means(residual[phase], self._starts(residual[phase])) for phase in pattern_phases(self._period)]
        growth = self._growth(common)
        for index, phase in enumerate(pattern_phases(self._period)):
            plane = residual[phase]
            plane -= expanded(common[index], self._starts(plane), plane.shape)
            if growth:
                plane -= np.float32(growth) * self._contrast(index, phase)
            self._common[index] = self._common[index] + common[index]
        part = self.count % len(self._sums)
        self._sums[part] += residual * np.float32(1 + growth)
        self._weights[part] += (1 + growth) ** 2
        self._squares[part] += residual * residual
        self._counts[part] += 1
        self._grown += growth
        self.count += 1
        return residual, common

    def _growth(self, changes: list[NDArray[np.float64]]) -> float:
        """Return by which share a frame is brighter than the first; 0 where the black level's drift may be the reason.

        From blocks that are well below saturation.
        """
        if self._levels is None:
            return 0.0
        black, range_dn = self._levels
        level = np.concatenate([blocks.ravel() for blocks in self._blocks]) - black
        change = np.concatenate([blocks.ravel() for blocks in changes])
        is_linear = level < 0.8 * LINEAR_SHARE * range_dn
        if not is_linear.any() or abs(change[is_linear].mean()) < _FLICKER_SHARE * range_dn:
            return 0.0
        return float(change[is_linear].sum() / level[is_linear].sum())

    def _contrast(self, index: int, phase: tuple[slice, slice]) -> NDArray[np.float32]:
        """Return what the pixels of a phase in the first frame differ from their blocks by: (h, w)."""
        plane = self._first[phase]
        return np.asarray(plane - expanded(self._blocks[index], self._starts(plane), plane.shape), np.float32)

    def _starts(self, plane: NDArray[Any]) -> Starts:
        """Return where the blocks of a phase begin."""
        return block_starts(plane.shape, self._period, self._side)

    def taken(self, part: int | None = None) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return mean and variance (H, W) over the frames of a part, or of all; they are taken, to save memory.

        The mean is at the brightness that all frames have in the mean. The variance gets back what taking off the means
        of blocks has cost it.
        """
        chosen = range(len(self._counts)) if part is None else (part,)
        first, *others = chosen
        sums, squares = self._sums[first], self._squares[first]
        for other in others:
            sums += self._sums[other]
            squares += self._squares[other]
        for index in chosen:
            self._sums[index] = self._squares[index] = np.empty((0, 0), np.float32)
        count = sum(self._counts[index] for index in chosen)
        weight = sum(self._weights[index] for index in chosen)
        sums /= np.float32(weight)
        height, width = (side // self._period for side in self.shape)
        starts = block_starts((height, width), self._period, self._side)
        pixels = height * width / (len(starts[0]) * len(starts[1]))  # of a phase in a block
        share = np.float32(pixels / max(pixels - 1, 1) / (count - 1))
        for rows in (slice(top, top + BLOCK_PX) for top in range(0, self.shape[0], BLOCK_PX)):
            squares[rows] = np.maximum(squares[rows] - np.float32(weight) * np.square(sums[rows]), 0) * share
        sums += self._first
        for index, phase in enumerate(pattern_phases(self._period)):
            plane = sums[phase]
            starts = self._starts(plane)
            common = np.broadcast_to(self._common[index], [len(start) for start in starts])
            plane += expanded(common / self.count, starts, plane.shape)
            if self._grown:
                plane += np.float32(self._grown / self.count) * self._contrast(index, phase)
        return sums, squares

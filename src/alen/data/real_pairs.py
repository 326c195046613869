"""Short exposures and their references as training pairs: aligned squares of real photographs.

Here arrays (H, W, C) become tensors (C, H, W). A sample depends on the seed and its index alone, so a resumed run sees
what an undisturbed one would have seen.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from alen.cfa import CFA, pack_any, reference
from alen.config import AlenConfig, SidUnetConfig
from alen.data.cache import PairCache
from alen.errors import DataError
from alen.levels import amplify, normalize


class RealPairs(Dataset[tuple[Tensor, Tensor]]):
    """Random squares of pairs, at the same place in the short exposure and in its reference.

    Item (i, s) is the i-th square of packed size s: planes (P, s, s) float32, see `network_planes`; truth
    (3, f·s, f·s) float32 in [0, 1], the reference as its renderer encoded it; P and f as the network's filter array
    has them.

    As in See-in-the-Dark's code, every scene comes once in an epoch, in random order, with one of its short exposures
    at random; item i belongs to epoch i // scenes. As there, too, planes and truth are flipped and transposed
    *together, after packing*. That is not quite what a mirrored scene would give: within a packed pixel the samples
    stay at their side, while the truth's pixels change sides, so that a flipped sample lies up to one mosaic pixel
    (two for X-Trans) beside its truth, and a transposed Gr where Gb belongs. Mirroring the mosaic itself would change
    the phase of its pattern instead.

    Args:
        cache: The pairs.
        network: Whose filter array and levels the planes have.
        seed: Decides all chance.
        names: Of the pairs to take; by default all.

    Raises:
        DataError: There are no pairs; on access, and by `check`: a mosaic has another filter array than the network,
            is smaller than the square, or has another size than its reference.
    """

    def __init__(
        self,
        cache: PairCache,
        network: AlenConfig | SidUnetConfig,
        *,
        seed: int,
        names: Collection[str] | None = None,
    ) -> None:
        self.cache = cache
        self.network = network
        self.seed = seed
        scenes: dict[tuple[str, str], list[int]] = {}
        for index, pair in enumerate(cache.pairs):
            if names is None or pair.name in names:
                scenes.setdefault((pair.camera, pair.scene), []).append(index)
        if not scenes:
            raise DataError("There are no pairs to train on.")
        self._scenes = list(scenes.values())

    @property
    def scenes(self) -> int:
        """Scenes; an epoch has as many squares."""
        return len(self._scenes)

    def check(self, size: int) -> None:
        """Raise DataError unless every pair is fit for squares of this packed size; only headers are read."""
        for index in (index for exposures in self._scenes for index in exposures):
            check_pair(self.cache, index, self.network, size)

    def __getitem__(self, item: tuple[int, int]) -> tuple[Tensor, Tensor]:
        index, size = item
        epoch, position = divmod(index, self.scenes)
        order = np.random.default_rng((self.seed, epoch, 0)).permutation(self.scenes)
        rng = np.random.default_rng((self.seed, index, 1))
        exposures = self._scenes[order[position]]
        planes, truth = random_square(self.cache, exposures[int(rng.integers(len(exposures)))], self.network, size, rng)
        for axis in (1, 2):
            if rng.random() < 0.5:
                planes, truth = np.flip(planes, axis), np.flip(truth, axis)
        if rng.random() < 0.5:
            planes, truth = planes.transpose(0, 2, 1), truth.transpose(0, 2, 1)
        return torch.from_numpy(np.ascontiguousarray(planes)), torch.from_numpy(np.ascontiguousarray(truth))


def check_pair(cache: PairCache, index: int, network: AlenConfig | SidUnetConfig, size: int) -> None:
    """Raise DataError unless squares of a packed size can be cut out of a pair for a network."""
    _check_sizes(cache, index)
    _cells(cache, index, network, size)


def random_square(
    cache: PairCache, index: int, network: AlenConfig | SidUnetConfig, size: int, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return a random square of a pair, as `square` does."""
    rows, columns = _cells(cache, index, network, size)
    return square(cache, index, network, size, (int(rng.integers(rows)), int(rng.integers(columns))))


def central_square(
    cache: PairCache, index: int, network: AlenConfig | SidUnetConfig, size: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the square in the middle of a pair, as `square` does; a smaller one where the pair is smaller."""
    height, width = cache.short(index).mosaic.shape
    size = min(size, (min(height, width) - 6) // network.shuffle // 16 * 16)
    rows, columns = _cells(cache, index, network, size)
    return square(cache, index, network, size, (rows // 2, columns // 2))


def square(
    cache: PairCache, index: int, network: AlenConfig | SidUnetConfig, size: int, cell: tuple[int, int]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Cut a square out of a pair, aligned to the pattern of the filter array.

    Args:
        cache: The pairs.
        index: Which of them.
        network: Whose filter array and levels the planes have.
        size: Side in packed pixels; even for X-Trans.
        cell: Row and column of the first repetition of the pattern (2 × 2 or 6 × 6 pixels) in the square.

    Returns:
        Planes (P, size, size) float32, see `network_planes`, and truth (3, f·size, f·size) float32 in [0, 1].

    Raises:
        DataError: The mosaic has another filter array, or another size than its reference.
    """
    _check_sizes(cache, index)
    short, picture, pair = cache.short(index), cache.reference(index), cache.pairs[index]
    standard = reference(network.cfa)
    y, x = _phase(short.cfa, standard, pair.name)
    top, left, side = y + standard.size * cell[0], x + standard.size * cell[1], network.shuffle * size
    window = (slice(top, top + side), slice(left, left + side))
    planes = network_planes(
        short.mosaic[window],
        standard,
        black_level=short.black_level,
        white_level=short.white_level,
        white_balance=short.white_balance,
        ratio=pair.ratio,
        network=network,
    )
    truth = picture[window].astype(np.float32) / np.float32(65535)  # (H, W, 3)
    return planes, np.ascontiguousarray(truth.transpose(2, 0, 1))


def network_planes(
    mosaic: NDArray[Any],
    cfa: CFA,
    *,
    black_level: tuple[float, float, float, float],
    white_level: float,
    white_balance: tuple[float, float, float],
    ratio: float,
    network: AlenConfig | SidUnetConfig,
) -> NDArray[np.float32]:
    """Return what a network is fed of a mosaic.

    Args:
        mosaic: (H, W) digital numbers, H and W multiples of 2 or, for X-Trans, of 6.
        cfa: Its pattern: any Bayer phase, or `alen.cfa.xtrans_reference`.
        black_level: Of R, Gr, Gb and B.
        white_level: Of all.
        white_balance: Gains of R, G and B; green = 1. Used for balanced levels alone.
        ratio: Exposure ratio.
        network: Its filter array and its levels, see `AlenConfig.input_levels`.

    Returns:
        (P, H/f, W/f) float32: 4 planes and f = 2 for Bayer, 9 and 3 for X-Trans.
    """
    normalized = normalize(mosaic, cfa, black_level, white_level)
    if network.input_levels == "balanced":
        levels = amplify(normalized, cfa, white_balance, ratio)
    else:  # See-in-the-Dark's: colors as recorded, what lies below black or above white is cut off
        levels = np.clip(normalized * np.float32(ratio), 0, 1)
    packed: NDArray[np.float32] = pack_any(levels, cfa)
    return packed


def _check_sizes(cache: PairCache, index: int) -> None:
    """Raise DataError unless a pair's picture lies on its short exposure."""
    mosaic, picture = cache.short(index).mosaic, cache.reference(index)
    if picture.shape != (*mosaic.shape, 3):
        raise DataError(
            f"{cache.pairs[index].name}: short exposure and reference differ in size: {mosaic.shape}, {picture.shape}."
        )


def _phase(cfa: CFA, standard: CFA, name: str) -> tuple[int, int]:
    """Return how many rows and columns to leave out so that a mosaic starts with the standard phase."""
    if cfa.size == standard.size:
        for y in range(cfa.size):
            for x in range(cfa.size):
                if cfa.shifted(y, x) == standard:
                    return y, x
    raise DataError(f"{name}: its filter array {cfa.name} is not the network's, {standard.name}. Take another recipe.")


def _cells(cache: PairCache, index: int, network: AlenConfig | SidUnetConfig, size: int) -> Sequence[int]:
    """Return at how many rows and columns of the pattern a square may start."""
    short, pair = cache.short(index), cache.pairs[index]
    standard = reference(network.cfa)
    phase, side = _phase(short.cfa, standard, pair.name), network.shuffle * size
    cells = [(n - start - side) // standard.size + 1 for n, start in zip(short.mosaic.shape, phase, strict=True)]
    if size < 1 or min(cells) < 1:
        height, width = short.mosaic.shape
        raise DataError(
            f"{pair.name}: {height} × {width} pixels have no room for a square of {side}. Train on smaller patches."
        )
    return cells

"""Real pairs: squares lie on their references, keep the phase of the pattern, and depend on seed and index alone."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from alen.cfa import CFA, mosaic_from_rgb, pack, xtrans_reference
from alen.config import AlenConfig, SidUnetConfig
from alen.data.cache import CachedMosaic
from alen.data.exposures import RawPair
from alen.data.real_pairs import RealPairs, central_square, network_planes, random_square
from alen.errors import DataError

_BAYER = SidUnetConfig(input_levels="sid")
_XTRANS = SidUnetConfig(cfa="xtrans", input_levels="sid")


@dataclass
class Frames:  # what `RealPairs` uses of a PairCache
    """A cache in memory: frames whose pixels tell their place, the reference as red, green and blue alike."""

    cfa: CFA
    size: tuple[int, int]
    names: tuple[str, ...] = ("a1", "a2", "b1")
    ratio: float = 1.0

    @property
    def pairs(self) -> tuple[RawPair, ...]:
        here = Path()
        return tuple(
            RawPair(
                name=name,
                scene=name[0],
                camera="C",
                short=here,
                reference=here,
                short_s=1,
                reference_s=1,
                ratio=self.ratio,
            )
            for name in self.names
        )

    def __len__(self) -> int:
        return len(self.names)

    def reference(self, index: int) -> NDArray[np.uint16]:
        height, width = self.size
        place = (np.arange(height * width) + 100 * index).reshape(height, width).astype(np.uint16)
        return np.stack([place, place + 20_000, place + 40_000], axis=2)

    def short(self, index: int) -> CachedMosaic:
        return CachedMosaic(
            mosaic=mosaic_from_rgb(self.reference(index), self.cfa),
            cfa=self.cfa,
            black_level=(0, 0, 0, 0),
            white_level=65535,
            white_balance=(2.0, 1.0, 1.5),
            cam2rgb=((1, 0, 0), (0, 1, 0), (0, 0, 1)),
        )


def _cache(*arguments: Any, **settings: Any) -> Any:
    return Frames(*arguments, **settings)


_PHASES = [(CFA.bayer(phase), _BAYER) for phase in ("RGGB", "GRBG", "GBRG", "BGGR")]
_PHASES += [(xtrans_reference().shifted(y, x), _XTRANS) for y, x in ((0, 0), (1, 4), (5, 2))]


@pytest.mark.parametrize(("cfa", "network"), _PHASES, ids=[cfa.name[:6] for cfa, _ in _PHASES])
def test_every_sample_is_the_color_of_its_pixel_in_the_reference(cfa: CFA, network: SidUnetConfig) -> None:
    cache = _cache(cfa, (113, 121))
    standard = CFA.bayer("RGGB") if cfa.is_bayer else xtrans_reference()
    for seed in range(5):
        planes, truth = random_square(cache, 1, network, 16, np.random.default_rng(seed))
        assert planes.dtype == truth.dtype == np.float32
        sampled = mosaic_from_rgb(truth.transpose(1, 2, 0), standard)
        levels = {"black_level": (0, 0, 0, 0), "white_level": 1, "white_balance": (1, 1, 1), "ratio": 1}
        np.testing.assert_allclose(planes, network_planes(sampled, standard, network=network, **levels), atol=1e-6)


def test_squares_reach_every_edge() -> None:
    cache, corners = _cache(CFA.bayer("RGGB"), (34, 36)), set()
    for seed in range(60):
        _, truth = random_square(cache, 0, _BAYER, 16, np.random.default_rng(seed))
        corners.add(round(float(truth[0, 0, 0]) * 65535))
    assert corners == {36 * y + x for y in (0, 2) for x in (0, 2, 4)}


def test_the_middle() -> None:
    _, truth = central_square(_cache(CFA.bayer("RGGB"), (48, 80)), 0, _BAYER, 16)
    assert round(float(truth[0, 0, 0]) * 65535) == 80 * 8 + 24
    planes, _ = central_square(_cache(CFA.bayer("RGGB"), (48, 80)), 0, _BAYER, 400)
    assert planes.shape == (4, 16, 16)  # smaller than asked for


def test_an_item_depends_on_seed_and_index_alone() -> None:
    first, second = (RealPairs(_cache(CFA.bayer("RGGB"), (64, 72)), _BAYER, seed=3) for _ in range(2))
    other = RealPairs(_cache(CFA.bayer("RGGB"), (64, 72)), _BAYER, seed=4)
    a = [first[i, 16] for i in range(8)]
    b = [pickle.loads(pickle.dumps(second))[i, 16] for i in reversed(range(8))][::-1]
    for (planes_a, truth_a), (planes_b, truth_b) in zip(a, b, strict=True):
        assert torch.equal(planes_a, planes_b)
        assert torch.equal(truth_a, truth_b)
    assert not all(torch.equal(x[1], other[i, 16][1]) for i, x in enumerate(a))


def test_flips_and_transposes_are_those_of_the_reference() -> None:
    """A flipped square is the square flipped, planes and truth alike; all eight ways occur."""
    pairs = RealPairs(_cache(CFA.bayer("RGGB"), (40, 48), names=("a1",)), _BAYER, seed=0)
    ways = set()
    for index in range(60):
        planes, truth = pairs[index, 16]
        green = truth[0].numpy() * 65535
        down, right = (round(float(v)) for v in (green[1, 0] - green[0, 0], green[0, 1] - green[0, 0]))
        ways.add((down, right))
        red = planes[0].numpy() * 65535  # of every second pixel: twice the step, in the same direction
        assert (round(float(red[1, 0] - red[0, 0])), round(float(red[0, 1] - red[0, 0]))) == (2 * down, 2 * right)
    assert ways == {(y, x) for s in (-1, 1) for t in (-1, 1) for y, x in ((48 * s, t), (s, 48 * t))}


def test_an_epoch_has_every_scene_once() -> None:
    cache = _cache(CFA.bayer("RGGB"), (40, 40), names=("a1", "a2", "b1", "c1", "d1"))
    pairs, seen = RealPairs(cache, _BAYER, seed=0), []
    assert pairs.scenes == 4
    for epoch in range(6):
        frames = [round(float(pairs[4 * epoch + i, 16][1].min()) * 65535) // 100 for i in range(4)]
        seen.append(frames)
    # the least value of a square tells the frame only roughly, the scenes' order by chance: epochs differ
    assert len({tuple(frames) for frames in seen}) > 1


def test_only_the_named_pairs_are_taken() -> None:
    cache = _cache(CFA.bayer("RGGB"), (32, 32))
    pairs = RealPairs(cache, _BAYER, seed=0, names={"a2"})
    assert pairs.scenes == 1
    assert {round(float(pairs[i, 16][1].min()) * 65535) for i in range(9)} == {100}  # the second frame's


def test_levels() -> None:
    mosaic = np.array([[500, 612], [712, 1512]], np.uint16)
    settings: dict[str, Any] = {
        "black_level": (512, 512, 512, 512),
        "white_level": 1512,
        "white_balance": (2.0, 1.0, 1.5),
        "ratio": 4,
    }
    cfa = CFA.bayer("RGGB")
    as_recorded = network_planes(mosaic, cfa, network=_BAYER, **settings)
    np.testing.assert_allclose(as_recorded.ravel(), [0, 0.4, 0.8, 1])
    balanced = network_planes(mosaic, cfa, network=AlenConfig(), **settings)
    np.testing.assert_allclose(balanced.ravel(), [-0.096, 0.4, 0.8, 6], rtol=1e-6)
    np.testing.assert_array_equal(pack(mosaic, cfa).ravel(), [500, 612, 712, 1512])


def test_refusals() -> None:
    with pytest.raises(DataError, match="no pairs"):
        RealPairs(_cache(CFA.bayer("RGGB"), (40, 40), names=()), _BAYER, seed=0)
    with pytest.raises(DataError, match="is not the network's"):
        RealPairs(_cache(CFA.bayer("RGGB"), (40, 40)), _XTRANS, seed=0)[0, 16]
    with pytest.raises(DataError, match="no room for a square of 64"):
        RealPairs(_cache(CFA.bayer("RGGB"), (40, 40)), _BAYER, seed=0)[0, 32]

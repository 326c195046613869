"""Turned frames: patterns, black levels and phases that follow, and the mean of their pictures."""

import dataclasses
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from alen.cfa import BAYER_PHASES, CFA, mosaic_from_rgb, reference, unpack_any
from alen.config import AlenConfig
from alen.engines import Planes, PlanesArray
from alen.enhance import Amplified, Enhancer, amplified_planes
from alen.errors import SettingsError
from alen.models.alen import Alen
from alen.raw import RawImage
from alen.self_ensemble import COUNTS, TURNS, Turn, mean_stripes
from alen.tiling import Padding
from alen.weights import TrainingFacts, save_weights
from frames import RATIO, Demosaicker, expose, ramp

_CFAS = [*map(CFA.bayer, BAYER_PHASES), *(CFA.xtrans().shifted(*shift) for shift in ((0, 0), (1, 4), (5, 3), (2, 2)))]
"""Every phase of Bayer, and some of X-Trans."""

every_cfa = pytest.mark.parametrize("cfa", _CFAS, ids=lambda cfa: cfa.name[:8])
every_size = pytest.mark.parametrize(("height", "width"), [(60, 84), (61, 83), (62, 97), (101, 64)])
every_turn = pytest.mark.parametrize("turn", TURNS, ids=str)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network with random weights for Bayer."""
    return _save(tmp_path_factory.mktemp("weights") / "small.safetensors", AlenConfig.shipped())


@pytest.fixture(scope="module")
def small_xtrans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for X-Trans."""
    return _save(tmp_path_factory.mktemp("weights") / "small-xtrans.safetensors", AlenConfig.xtrans())


def _save(path: Path, config: AlenConfig) -> Path:
    config = dataclasses.replace(config, widths=(4, 8, 8, 8))
    torch.manual_seed(0)
    arrays = {name: value.numpy() for name, value in Alen(config).state_dict().items()}
    save_weights(path, arrays, config, TrainingFacts(steps=0, photographs=0))
    return path


def _frame(cfa: CFA, height: int, width: int) -> RawImage:
    return expose(np.random.default_rng(3).uniform(0.1, 0.9, (height, width, 3)), cfa)


def test_the_eight_turns_are_all_there_are() -> None:
    square = np.arange(9).reshape(3, 3)
    seen = {turn.of(square).tobytes() for turn in TURNS}
    assert len(seen) == len(TURNS) == 8
    for first, second in itertools.product(TURNS, repeat=2):
        assert second.of(first.of(square)).tobytes() in seen
    np.testing.assert_array_equal(Turn(1).of(square), [[2, 5, 8], [1, 4, 7], [0, 3, 6]])
    np.testing.assert_array_equal(Turn(is_mirrored=True).of(square), [[2, 1, 0], [5, 4, 3], [8, 7, 6]])


@pytest.mark.parametrize("count", COUNTS)
def test_an_ensemble_prefers_no_direction(count: int) -> None:
    """Of two on, each comes with the one turned by half: what a filter's center is off by cancels out."""
    square = np.arange(16).reshape(4, 4)
    for turn in TURNS[: count if count > 1 else 0]:
        assert any(np.array_equal(other.of(square), Turn(2).of(turn.of(square))) for other in TURNS[:count])


def test_a_network_is_compiled_for_two_sizes_at_most() -> None:
    sizes = []

    class Engine(Demosaicker):
        def stripes(
            self, planes: Planes, progress: Callable[[float], None] | None = None
        ) -> Iterator[NDArray[np.float32]]:
            sizes.append(planes.shape[1:])
            return super().stripes(planes, progress)

    amplified = amplified_planes(_frame(CFA.bayer("RGGB"), 61, 83), RATIO).turned(TURNS[0])

    def turned(turn: Turn) -> tuple[Amplified, Padding]:
        frame = amplified.turned(turn)
        return frame, frame.padding

    for _ in mean_stripes(Engine(), turned, 8):
        pass
    assert sizes == [(48, 32)] * 4 + [(32, 48)] * 4


@every_cfa
@every_size
@every_turn
def test_the_pattern_turns_with_the_mosaic(turn: Turn, height: int, width: int, cfa: CFA) -> None:
    turned = turn.cfa(cfa, height, width)
    colors = turn.of(cfa.color_map(height, width))
    np.testing.assert_array_equal(colors, turned.color_map(*colors.shape))
    levels = (10.0, 20.0, 30.0, 40.0)
    black = turn.of(np.array(levels)[cfa.plane_map(height, width)])
    np.testing.assert_array_equal(black, np.array(turn.black_level(levels, turned))[turned.plane_map(*black.shape)])


@every_cfa
@every_size
def test_turned_frames_hold_the_same_light(height: int, width: int, cfa: CFA) -> None:
    """Planes of another phase, black levels and size: put together, cropped and turned back they are alike."""
    amplified = amplified_planes(_frame(cfa, height, width), RATIO)
    colors = mosaic_from_rgb(np.broadcast_to(np.arange(3), (height, width, 3)), cfa)
    for turn in TURNS:
        turned = amplified.turned(turn)
        light, seen = _mosaic(turned), _mosaic(amplified.turned(TURNS[0]))
        np.testing.assert_allclose(light, turn.of(seen), rtol=1e-5, atol=1e-6)
        own = turned.raw.cfa
        np.testing.assert_array_equal(own.color_map(*light.shape), turn.of(colors))
        sides = turned.shape[1:][::-1] if turn.swaps_sides else turned.shape[1:]
        assert sides == amplified.turned(TURNS[0]).shape[1:]  # so that an engine compiles no more than twice


def _mosaic(amplified: Amplified) -> NDArray[np.float32]:
    """Return the amplified mosaic (H, W) without what was added."""
    planes = amplified.rows(0, amplified.shape[1])
    return amplified.padding.crop(unpack_any(planes, reference(amplified.raw.cfa.kind)))


@pytest.mark.parametrize("count", [2, 4, 8])
@pytest.mark.parametrize(("height", "width"), [(61, 83), (74, 90)])
@pytest.mark.parametrize("cfa", [CFA.bayer("GBRG"), CFA.xtrans().shifted(1, 4)], ids=lambda cfa: cfa.kind)
def test_the_mean_of_pictures_that_were_turned_back(
    small: Path, small_xtrans: Path, cfa: CFA, count: int, height: int, width: int
) -> None:
    """As by hand: whole frames of other phases, each enhanced by itself, float32."""
    raw, weights = _frame(cfa, height, width), small if cfa.is_bayer else small_xtrans
    single, several = (Enhancer(weights, precision="float32", threads=1, recover=False, ensemble=n) for n in (1, count))
    by_hand = []
    for quarters, is_mirrored in [(0, 0), (2, 0), (1, 0), (3, 0), (0, 1), (2, 1), (1, 1), (3, 1)][:count]:
        mosaic, colors, levels = raw.mosaic, cfa.color_map(height, width), np.array(raw.black_level)
        mosaic, colors = np.rot90(mosaic, quarters), np.rot90(colors, quarters)
        if is_mirrored:
            mosaic, colors = np.fliplr(mosaic), np.fliplr(colors)
        if quarters % 2 and cfa.is_bayer:
            levels = levels[[0, 2, 1, 3]]
        own = CFA(tuple("".join("RGB"[c] for c in row[: cfa.size]) for row in colors[: cfa.size]))
        turned = dataclasses.replace(
            raw, mosaic=np.ascontiguousarray(mosaic), cfa=own, black_level=tuple(levels.tolist())
        )
        picture = single.enhance(turned, ratio=RATIO).linear
        by_hand.append(np.rot90(np.fliplr(picture) if is_mirrored else picture, -quarters))
    enhanced = several.enhance(raw, ratio=RATIO)
    np.testing.assert_allclose(enhanced.linear, np.mean(by_hand, axis=0), atol=2e-5)
    assert np.std([picture - by_hand[0] for picture in by_hand[1:]]) > 1e-4  # the network does see a difference
    assert enhanced.metadata["Ensemble"] == f"{count} orientations"
    assert "Ensemble" not in single.enhance(raw, ratio=RATIO).metadata


@pytest.mark.parametrize("phase", BAYER_PHASES)
@every_size
def test_pixels_stay_where_they_are(
    small: Path, phase: str, height: int, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Around an engine that demosaics alike in all directions, in pieces, with detail given back."""
    raw = expose(ramp(height, width), CFA.bayer(phase))
    pictures = []
    for count in (1, 8):
        enhancer = Enhancer(small, precision="float32", threads=1, ensemble=count)
        monkeypatch.setattr(enhancer, "_named", dataclasses.replace(enhancer._named, engine=Demosaicker()))
        pictures.append(enhancer.enhance(raw, ratio=RATIO).linear)
        finished = enhancer.finish(raw, ratio=RATIO)
        assert finished.picture.shape == (height, width, 3)
    inside = np.s_[2:-2, 2:-2]
    np.testing.assert_allclose(pictures[1][inside], pictures[0][inside], atol=1e-5)


def test_progress_is_that_of_all_orientations(small: Path) -> None:
    shares: list[float] = []
    raw = _frame(CFA.bayer("RGGB"), 64, 96)
    Enhancer(small, precision="float32", threads=1, ensemble=4).finish(raw, ratio=RATIO, progress=shares.append)
    assert shares == sorted(shares)
    assert 0 < shares[0] < 0.1
    assert shares[-1] == pytest.approx(1)
    assert any(0.25 < share <= 0.5 for share in shares)


def test_more_orientations_take_more_memory(small: Path) -> None:
    one, several = (
        Enhancer(small, precision="float32", threads=1, ensemble=n).needed_bytes(1000, 1000) for n in (1, 2)
    )
    assert one is not None
    assert several is not None
    assert several >= one + 12_000_000


@pytest.mark.parametrize("count", [0, 3, 16, -1])
def test_counts_that_are_no_ensemble(small: Path, count: int) -> None:
    with pytest.raises(SettingsError, match=f"An ensemble is of 1, 2, 4 or 8 orientations; got {count}"):
        Enhancer(small, ensemble=count)


def test_a_single_orientation_is_the_engine_s_picture() -> None:
    planes = np.random.default_rng(0).random((4, 16, 24), dtype=np.float32)
    engine = Demosaicker()
    amplified = amplified_planes(_frame(CFA.bayer("RGGB"), 32, 48), RATIO)
    stripes = [*mean_stripes(engine, lambda _: (PlanesArray(planes), amplified.padding), 1)]
    np.testing.assert_array_equal(np.concatenate(stripes), engine.run(planes))

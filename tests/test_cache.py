"""Caches of pairs: what is kept, what it costs, and that interruptions, changes and damage are survived."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from alen.data import cache as module
from alen.data.cache import PairCache
from alen.data.exposures import RawPair
from alen.data.sid import sid_pairs
from alen.errors import CorruptRawError, DataError, SettingsError
from alen.raw import read_raw, render_reference
from miniature import make_sid, write_exposure


@pytest.fixture(scope="module")
def sid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_sid(tmp_path_factory.mktemp("sid"), "sony", splits=("train",))


@pytest.fixture
def pairs(sid: Path) -> list[RawPair]:
    return sid_pairs(sid, "sony", "train")


def files(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in sorted(folder.iterdir())}


def test_a_cache_holds_what_the_files_hold(pairs: list[RawPair], tmp_path: Path) -> None:
    built = PairCache.build(pairs, tmp_path)
    for cache in (built, PairCache.open(tmp_path)):
        assert cache.pairs == tuple(pairs)
        assert len(cache) == 4
        for index, pair in enumerate(pairs):
            raw, short = read_raw(pair.short), cache.short(index)
            assert isinstance(short.mosaic, np.memmap)
            assert not short.mosaic.flags.writeable
            np.testing.assert_array_equal(short.mosaic, raw.mosaic)
            for name in ("cfa", "black_level", "white_level", "white_balance", "cam2rgb"):
                assert getattr(short, name) == getattr(raw, name)
            reference = cache.reference(index)
            assert isinstance(reference, np.memmap)
            np.testing.assert_array_equal(reference, render_reference(pair.reference))
        with pytest.raises(DataError, match="mosaic"):
            cache.reference_mosaic(0)


def test_mosaics_of_references_are_kept_on_request(pairs: list[RawPair], tmp_path: Path) -> None:
    cache = PairCache.build(pairs, tmp_path, reference="mosaic")
    raw, reference = read_raw(pairs[0].reference), cache.reference_mosaic(0)
    np.testing.assert_array_equal(reference.mosaic, raw.mosaic)
    assert reference.white_balance == raw.white_balance
    with pytest.raises(DataError, match="rendered"):
        cache.reference(0)
    with pytest.raises(SettingsError, match="reference"):
        PairCache.build(pairs, tmp_path, reference="both")  # type: ignore[arg-type]


def test_the_size_is_known_before(pairs: list[RawPair], tmp_path: Path) -> None:
    for kept, expected in (("rendered", 4 * 2 + 2 * 6), ("mosaic", 4 * 2 + 2 * 2)):
        forecast = PairCache.forecast_bytes(pairs, reference=kept)  # type: ignore[arg-type]
        assert forecast == expected * 128 * 192  # the two references are shared by two pairs each
        PairCache.build(pairs, tmp_path / kept, reference=kept)  # type: ignore[arg-type]
        arrays = list((tmp_path / kept).glob("*.npy"))
        assert sum(path.stat().st_size - 128 for path in arrays) == forecast


def test_nothing_is_done_twice(pairs: list[RawPair], tmp_path: Path) -> None:
    steps: list[tuple[int, int]] = []
    PairCache.build(pairs, tmp_path, progress=lambda done, total: steps.append((done, total)))
    assert steps == [(number, 6) for number in range(1, 7)]
    before = files(tmp_path)
    PairCache.build(pairs, tmp_path)
    after = files(tmp_path)
    assert {name: time for name, time in after.items() if name != "index.json"} == {
        name: time for name, time in before.items() if name != "index.json"
    }


def test_an_interrupted_build_goes_on(pairs: list[RawPair], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        PairCache.build(pairs, tmp_path, progress=stop)
    with pytest.raises(DataError, match="not finished"):
        PairCache.open(tmp_path)
    (tmp_path / ".half.npy.1234.part").write_bytes(b"half")
    before = files(tmp_path)
    decoded: list[str] = []

    def decode(source: Path) -> object:
        decoded.append(source.name)
        return read_raw(source)

    monkeypatch.setattr(module, "read_raw", decode)
    cache = PairCache.build(pairs, tmp_path)
    assert len(decoded) + 2 == len(pairs)  # two mosaics and a rendering were there
    after = files(tmp_path)
    assert all(after[name] == time for name, time in before.items() if not name.endswith(".part"))
    assert not [name for name in after if name.endswith(".part")]
    np.testing.assert_array_equal(cache.short(3).mosaic, read_raw(pairs[3].short).mosaic)


def test_a_failed_write_leaves_nothing_half(
    pairs: list[RawPair], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(DataError, match="No space left"):
        PairCache.build(pairs, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_changed_file_is_decoded_again(sid: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(sid, tmp_path / "sid"))
    pairs = sid_pairs(copy, "sony", "train")
    PairCache.build(pairs, tmp_path / "cache")
    shutil.copyfile(pairs[2].short, pairs[0].short)
    os.utime(pairs[0].short, ns=(1, 1))
    cache = PairCache.build(pairs, tmp_path / "cache")
    np.testing.assert_array_equal(cache.short(0).mosaic, read_raw(pairs[2].short).mosaic)


def test_a_cache_needs_no_raw_files_and_may_be_moved(sid: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(sid, tmp_path / "sid"))
    PairCache.build(sid_pairs(copy, "sony", "train"), tmp_path / "cache")
    shutil.rmtree(copy)
    cache = PairCache.open((tmp_path / "cache").rename(tmp_path / "moved"))
    assert cache.short(0).mosaic.shape == (128, 192)
    again = pickle.loads(pickle.dumps(cache))  # as workers get it
    np.testing.assert_array_equal(again.reference(1), cache.reference(1))


def test_damage_is_named(pairs: list[RawPair], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no cache"):
        PairCache.open(tmp_path)
    PairCache.build(pairs, tmp_path)
    index = (tmp_path / "index.json").read_text()
    for damaged in (index[:100], "[]", "{}", index.replace('"version": 1', '"version": 99')):
        (tmp_path / "index.json").write_text(damaged)
        with pytest.raises(DataError, match=r"index\.json"):
            PairCache.open(tmp_path)
    content = json.loads(index)
    content["pair_arrays"][0][0] = "../elsewhere"
    content["arrays"]["../elsewhere"] = content["arrays"][content["pair_arrays"][1][0]]
    (tmp_path / "index.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match="do not fit"):
        PairCache.open(tmp_path)
    (tmp_path / "index.json").write_text(index)
    array = next(tmp_path.glob("*.npy"))
    array.write_bytes(array.read_bytes()[:-2])
    with pytest.raises(DataError, match="cut off"):
        PairCache.open(tmp_path)
    PairCache.build(pairs, tmp_path)
    assert len(PairCache.open(tmp_path)) == 4


def test_what_cannot_be_built_is_refused_before(pairs: list[RawPair], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no pairs"):
        PairCache.build([], tmp_path)
    with pytest.raises(DataError, match="Two pairs are called"):
        PairCache.build([pairs[0], pairs[0]], tmp_path)
    gone = [replace(pair, name=str(n), short=tmp_path / f"{n}.ARW") for n, pair in enumerate(pairs * 3)]
    with pytest.raises(DataError, match=r"12 RAW files are missing: .*9\.ARW and 2 more"):
        PairCache.build(gone, tmp_path / "cache")
    with pytest.raises(DataError, match="size of its frames"):
        PairCache.forecast_bytes([replace(gone[0], reference=tmp_path / "x.ARW")])
    assert not (tmp_path / "cache").exists()


def test_a_full_disk_is_told_before(pairs: list[RawPair], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: usage(100, 99, 1))
    with pytest.raises(DataError, match="are free"):
        PairCache.build(pairs, tmp_path)


def test_a_damaged_file_stops_but_loses_nothing(sid: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(sid, tmp_path / "sid"))
    pairs = sid_pairs(copy, "sony", "train")
    pairs[2].short.write_bytes(pairs[2].short.read_bytes()[:3000])
    with pytest.raises(CorruptRawError, match=pairs[2].short.name):
        PairCache.build(pairs, tmp_path / "cache")
    assert len(list((tmp_path / "cache").glob("*.npy"))) == 3


def test_a_reference_of_another_size_is_refused(tmp_path: Path) -> None:
    short, long = tmp_path / "a.dng", tmp_path / "b.dng"
    write_exposure(short, relative=0.01)
    write_exposure(long, subset="fuji")
    pair = RawPair(
        name="a", scene="a", camera="x", short=short, reference=long, short_s=0.1, reference_s=10.0, ratio=100.0
    )
    with pytest.raises(DataError, match="same camera"):
        PairCache.build([pair], tmp_path / "cache", reference="mosaic")


def test_xtrans_pairs_are_cached(tmp_path: Path) -> None:
    sid = make_sid(tmp_path / "sid", "fuji", scenes_per_split=1, splits=("val",))
    pairs = sid_pairs(sid, "fuji", "val")[:1]
    cache = PairCache.build(pairs, tmp_path / "cache", reference="mosaic")
    short = cache.short(0)
    assert short.cfa.size == 6
    assert short.mosaic.shape == cache.reference_mosaic(0).mosaic.shape == (966, 1446)
    assert short.black_level == (1024.0,) * 4

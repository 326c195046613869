"""Training on miniature sets of real pairs: it runs, resumes, survives a kill, and may be spread over processes."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from alen.config import AlenConfig
from alen.data.cache import PairCache
from alen.data.own import own_pairs
from alen.data.sid import Split, sid_pairs
from alen.errors import DataError, TrainingError
from alen.training.config import Stage
from alen.training.loop import _batches, train
from alen.training.processes import Processes
from alen.training.recipes import pairs, sid_sony_released
from alen.training.sources import CachedPairs, own, see_in_the_dark
from alen.weights import Weights, load_weights
from miniature import make_sid, write_exposure
from real_run import FUJI, SONY, small

_SCRIPT = Path(__file__).with_name("real_run.py")
_PATIENCE_S = 300


@pytest.fixture(scope="module")
def sony(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_sid(tmp_path_factory.mktemp("sony"), "sony", splits=("train", "val"))


@pytest.fixture(scope="module")
def cache(sony: Path) -> Path:
    """Decoded once for all tests."""
    see_in_the_dark(sony, "sony", sony / "cache").prepare()
    return sony / "cache"


def _column(run: Path, name: str = "loss", file: str = "log.csv") -> list[str]:
    with (run / file).open(newline="") as lines:
        return [row[name] for row in csv.DictReader(lines)]


def _assert_equal(a: Weights, b: Weights) -> None:
    assert a.arrays.keys() == b.arrays.keys()
    for name, array in a.arrays.items():
        np.testing.assert_array_equal(array, b.arrays[name])


def test_six_steps_on_sony_frames_and_resuming(cache: Path, tmp_path: Path) -> None:
    whole = train(small(SONY()), see_in_the_dark(cache, "sony", cache), tmp_path / "a", threads=1, workers=0)

    class KilledError(Exception):
        pass

    def kill(report: object) -> None:
        if report.step == 5:  # type: ignore[attr-defined]
            raise KilledError

    source = see_in_the_dark(cache, "sony", cache)
    with pytest.raises(KilledError):
        train(small(SONY()), source, tmp_path / "b", threads=1, workers=0, report=kill)
    resumed = train(small(SONY()), source, tmp_path / "b", threads=1, workers=1, resume=True)
    assert _column(tmp_path / "a") == _column(tmp_path / "b")
    a = load_weights(whole)
    _assert_equal(a, load_weights(resumed))
    assert isinstance(a.config, AlenConfig)
    assert (a.config.target, a.config.input_levels) == ("srgb", "sid")
    assert (a.facts.photographs, set(a.facts.scores)) == (2, {"x100", "x250"})
    assert a.facts.data.startswith("See-in-the-Dark Sony")
    assert _column(tmp_path / "a", "ratio", "validation.csv") == ["100.0", "250.0"]
    assert (tmp_path / "a" / "pictures" / "step-0000006.jpg").is_file()


def test_six_steps_on_fuji_frames(tmp_path: Path) -> None:
    data = make_sid(tmp_path / "fuji", "fuji", scenes_per_split=1, splits=("train", "val"))
    weights = train(
        small(FUJI()), see_in_the_dark(data, "fuji", tmp_path / "cache"), tmp_path / "run", threads=1, workers=0
    )
    facts = load_weights(weights)
    assert facts.config.cfa == "xtrans"
    assert facts.arrays["head.weight"].shape == (27, 4, 1, 1)
    assert all(np.isfinite(float(value)) for value in _column(tmp_path / "run"))


def test_epochs_are_one_patch_of_every_scene(cache: Path, tmp_path: Path) -> None:
    config = dataclasses.replace(small(SONY()), epochs=2)
    train(config, see_in_the_dark(cache, "sony", cache), tmp_path / "run", threads=1, workers=0)
    assert _column(tmp_path / "run", "step") == ["1", "2", "3", "4"]  # of two scenes


def test_the_released_loss_asks_for_patches_of_five_scales(cache: Path, tmp_path: Path) -> None:
    config = small(sid_sony_released())
    with pytest.raises(ValueError, match="MS-SSIM needs sides of at least 176 pixels; got 32 × 32"):
        train(config, see_in_the_dark(cache, "sony", cache), tmp_path / "run", threads=1, workers=0)


def test_scenes_are_not_judged_by_themselves(cache: Path, tmp_path: Path) -> None:
    cached = PairCache.open(cache / "train").pairs
    with pytest.raises(DataError, match="at once"):
        CachedPairs(cached, cached, train_cache=tmp_path, held_out_cache=tmp_path, description="")
    with pytest.raises(DataError, match=r"others to judge by are needed; got 2 and 0"):
        CachedPairs(cached, (), train_cache=tmp_path, held_out_cache=tmp_path, description="")
    other = [dataclasses.replace(cached[0], scene="another", **{kind: tmp_path}) for kind in ("short", "reference")]
    for pair in other:
        with pytest.raises(DataError, match=r"at once\. Give all its pairs one scene"):
            CachedPairs(cached, [pair], train_cache=tmp_path, held_out_cache=tmp_path, description="")


def test_a_scene_before_two_cameras_is_held_out_of_both(tmp_path: Path) -> None:
    listed = own_pairs(_own(tmp_path, 3))
    pairs = [dataclasses.replace(pair, camera=f"of {pair.name}") for pair in listed]
    PairCache.build(pairs, tmp_path / "cache")
    source = own(tmp_path / "cache", tmp_path)
    assert source.facts()["pairs"] == {"train": 4, "scenes": 4, "held_out": ["2-0.1s", "2-0.04s"]}


def _own(folder: Path, scenes: int, subset: str = "sony") -> Path:
    """Write a list of own pairs, two of every scene."""
    folder.mkdir(exist_ok=True)
    lines = ["short,long"]
    for scene in range(scenes):
        write_exposure(folder / f"{scene}-long.dng", seed=scene, time_s=10.0, subset=subset)
        for time_s in (0.1, 0.04):
            name = f"{scene}-{time_s}s.dng"
            write_exposure(folder / name, seed=scene, relative=time_s / 10, time_s=time_s, subset=subset)
            lines.append(f"{name},{scene}-long.dng")
    path = folder / "pairs.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_own_pairs_and_their_cache_train_alike(tmp_path: Path) -> None:
    listed = _own(tmp_path, 3)
    first = train(small(pairs()), own(listed, tmp_path / "cache"), tmp_path / "a", threads=1, workers=0)
    source = own(tmp_path / "cache", tmp_path / "nowhere")
    assert source.scenes == 2
    assert source.facts()["pairs"]["held_out"] == ["2-0.1s", "2-0.04s"]
    second = train(small(pairs()), source, tmp_path / "b", threads=1, workers=0)
    assert not (tmp_path / "nowhere").exists()
    weights = load_weights(first)
    _assert_equal(weights, load_weights(second))
    assert weights.facts.data == "own pairs of short and long exposures: Miniature sony"
    assert set(weights.facts.scores) == {"x100", "x250"}


def test_a_run_is_not_resumed_with_other_ratios(tmp_path: Path) -> None:
    """The list may have been edited since; a list that has moved is the same."""
    listed = _own(tmp_path / "pairs", 3)
    run = tmp_path / "run"
    train(small(pairs(), steps=2), own(listed, tmp_path / "cache"), run, threads=1, workers=0)
    before = listed.read_text()
    header, *lines = before.splitlines()
    for ratios, told in (
        (["90", "", "", "", "", ""], r"0-0\.1s 100, now 90\. "),
        (["", "80", "90", "90", "90", "90"], r"0-0\.04s 250, now 80, and 4 more\. "),
    ):
        edited = [f"{line},{ratio}" for line, ratio in zip(lines, ratios, strict=True)]
        listed.write_text("\n".join([f"{header},ratio", *edited]) + "\n")
        source = own(listed, tmp_path / "cache")
        with pytest.raises(TrainingError, match=f"was begun with other ratios: {told}Resume with those"):
            train(small(pairs(), steps=2), source, run, resume=True, threads=1, workers=0)
    listed.write_text(before)
    moved = (tmp_path / "pairs").rename(tmp_path / "moved") / listed.name
    train(small(pairs(), steps=2), own(moved, tmp_path / "other"), run, resume=True, threads=1, workers=0)


def test_runs_from_before_ratios_were_kept_resume(tmp_path: Path) -> None:
    source = own(_own(tmp_path / "pairs", 2), tmp_path / "cache")
    train(small(pairs(), steps=2), source, tmp_path / "run", threads=1, workers=0)
    config = tmp_path / "run" / "config.json"
    facts = json.loads(config.read_text())
    assert facts.pop("ratios")["0-0.1s"] == 100
    config.write_text(json.dumps(facts))
    train(small(pairs(), steps=2), source, tmp_path / "run", resume=True, threads=1, workers=0)


def test_own_pairs_of_one_scene_cannot_be_judged(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="got 0 and 1"):
        own(_own(tmp_path, 1), tmp_path / "cache")


def test_own_pairs_of_the_other_filter_array_say_so(tmp_path: Path) -> None:
    source = own(_own(tmp_path, 2, "fuji"), tmp_path / "cache")
    with pytest.raises(DataError, match="filter array"):
        train(small(pairs()), source, tmp_path / "run", threads=1, workers=0)
    train(small(pairs("xtrans")), source, tmp_path / "other", threads=1, workers=0)


def test_pairs_are_checked_before_the_first_step(cache: Path, tmp_path: Path) -> None:
    """Also for the patches of the last stage."""
    stages = (Stage(share=0.5, patch_size=16, batch_size=1), Stage(share=0.5, patch_size=4096, batch_size=1))
    source = see_in_the_dark(cache, "sony", cache)
    with pytest.raises(DataError, match=r"have no room for a square of 8192\. Train on smaller patches"):
        train(dataclasses.replace(small(SONY()), stages=stages), source, tmp_path / "run", threads=1, workers=0)
    assert not (tmp_path / "run" / "log.csv").exists()


def test_mosaics_as_references_are_noticed_before_the_first_step(sony: Path, tmp_path: Path) -> None:
    for part in ("train", "val"):
        listed = tuple(sid_pairs(sony, "sony", cast(Split, part)))
        PairCache.build(listed, tmp_path / "mosaics" / part, reference="mosaic")
    source = see_in_the_dark(tmp_path / "mosaics", "sony", tmp_path / "mosaics")
    with pytest.raises(DataError, match="reference='mosaic'"):
        train(small(SONY()), source, tmp_path / "run", threads=1, workers=0)
    assert not (tmp_path / "run" / "log.csv").exists()


@pytest.mark.parametrize("workers", [0, 1])
def test_what_a_worker_meets_is_told_plainly(sony: Path, tmp_path: Path, workers: int) -> None:
    source = see_in_the_dark(sony, "sony", tmp_path / "cache")
    source.prepare()
    pairs = source.pairs(small(SONY()))
    for array in (tmp_path / "cache" / "train").glob("*.npy"):
        array.write_bytes(b"damaged since")
    batches = _batches(pairs, small(SONY()), 0, workers, Processes.join("cpu"))
    with pytest.raises(DataError, match=r"^[^\n]*\.npy: the array cannot be read"):
        next(batches)


def _command(data: Path, run: Path, *, batch: int, processes: int = 1, resume: bool = False) -> list[str]:
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    arguments = [str(data), str(data), str(run), str(batch)] + ["--resume"] * resume
    return [sys.executable, *(torchrun if processes > 1 else []), str(_SCRIPT), *arguments]


def _environment() -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


def _run(command: list[str]) -> None:
    done = subprocess.run(command, env=_environment(), capture_output=True, text=True, timeout=_PATIENCE_S, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


def _kill_after(command: list[str], run: Path, steps: int) -> None:
    """Start a run, and kill its first process without warning when it has done so many steps."""
    with subprocess.Popen(command, env=_environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as started:
        deadline = time.monotonic() + _PATIENCE_S
        while not (run / "log.csv").exists() or len((run / "log.csv").read_text().splitlines()) <= steps:
            assert started.poll() is None, "the run ended before it was killed"
            assert time.monotonic() < deadline
            time.sleep(0.005)
        os.kill(int(run.with_name(f"{run.name}.pids").joinpath("0").read_text()), signal.SIGKILL)
        started.wait(timeout=_PATIENCE_S)
    assert started.returncode != 0


def _descendants(pid: int) -> list[int]:
    children = [int(n) for n in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return children + [below for child in children for below in _descendants(child)]


@pytest.mark.skipif(not Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").exists(), reason="asks Linux's /proc")
def test_a_killed_run_leaves_no_process_behind(cache: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    command = [*_command(cache, run, batch=1, processes=1), "--ahead"]
    with subprocess.Popen(command, env=_environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as started:
        deadline = time.monotonic() + _PATIENCE_S
        while not (run / "log.csv").exists() or len((run / "log.csv").read_text().splitlines()) < 3:
            assert started.poll() is None, "the run ended before it was killed"
            assert time.monotonic() < deadline
            time.sleep(0.005)
        helpers = _descendants(started.pid)
        started.kill()
    assert len(helpers) >= 2  # a worker, and the server it was forked from
    while any(_is_alive(pid) for pid in helpers):
        assert time.monotonic() < deadline, "a data worker outlives its run"
        time.sleep(0.05)


def _is_alive(pid: int) -> bool:
    """Whether there is such a process, and it is not only waiting to be buried."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("processes", [1, 2])
def test_a_killed_run_goes_on_as_if_nothing_had_been(cache: Path, tmp_path: Path, processes: int) -> None:
    """And two processes compute what one does with twice the batch."""
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    _run(_command(cache, undisturbed, batch=1, processes=processes))
    steps = random.randrange(3, 36)
    _kill_after(_command(cache, killed, batch=1, processes=processes), killed, steps)
    assert not (killed / "weights.safetensors").exists() or load_weights(killed / "weights.safetensors")
    _run(_command(cache, killed, batch=1, processes=processes, resume=True))
    assert _column(killed) == _column(undisturbed), f"killed after step {steps}"
    assert len(_column(killed)) == 40
    assert _column(killed, "psnr", "validation.csv") == _column(undisturbed, "psnr", "validation.csv")
    _assert_equal(*(load_weights(run / "weights.safetensors") for run in (undisturbed, killed)))

    if processes == 2:
        alone = tmp_path / "alone"
        _run(_command(cache, alone, batch=2))
        for column, tolerance in (("loss", 1e-4), ("gradient_norm", 1e-2)):
            values = [[float(value) for value in _column(run, column)] for run in (alone, undisturbed)]
            np.testing.assert_allclose(*values, rtol=tolerance)
        source = see_in_the_dark(cache, "sony", cache)
        with pytest.raises(TrainingError, match="of 2 processes; this one has 1"):
            train(small(SONY(), steps=40), source, undisturbed, resume=True, threads=1, workers=0)

"""Training on tiny photographs: it learns, resumes bit for bit, writes what it promises, and stops on nonsense."""

from __future__ import annotations

import csv
import dataclasses
import itertools
import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file

from alen.cfa import FilterArray
from alen.config import FILTERS, AlenConfig, SidUnetConfig
from alen.data.photos import PhotoCache
from alen.errors import DataError, DeviceError, SettingsError, TrainingError
from alen.training import loop
from alen.training.checkpoint import steps_done
from alen.training.config import Drop, Stage, TrainingConfig
from alen.training.loop import StepReport, learning_rate_at
from alen.training.processes import place_among_processes
from alen.training.recipes import camera
from alen.training.release import release
from alen.training.sources import Photographs
from alen.training.validation import VALIDATION_RATIOS, PhotoValidation
from alen.weights import load_weights

TINY = TrainingConfig(
    network=dataclasses.replace(AlenConfig.shipped(), widths=(8, 8, 8, 8), key_grid=2),
    steps=6,
    stages=(Stage(share=0.5, patch_size=16, batch_size=3), Stage(share=0.5, patch_size=32, batch_size=1)),
    warmup_steps=2,
    checkpoint_every=2,
    validate_every=3,
    precision="float32",
)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for index in range(7):
        coarse = Image.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8))
        coarse.resize((144, 112), Image.Resampling.BICUBIC).save(folder / f"{index}.png")
    return folder


def train(config: TrainingConfig, photos: Path, run: Path, **others: Any) -> Path:
    return loop.train(config, Photographs(photos, photos.parent / "decoded"), run, threads=1, **others)


def _read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_run_resumes_bit_for_bit(photos: Path, tmp_path: Path) -> None:
    undisturbed = train(TINY, photos, tmp_path / "a", workers=1)

    class KilledError(Exception):
        pass

    def kill(report: object) -> None:
        if report.step == 5:  # type: ignore[attr-defined]
            raise KilledError

    with pytest.raises(KilledError):
        train(TINY, photos, tmp_path / "b", workers=0, report=kill)
    steps: list[int] = []
    resumed = train(TINY, photos, tmp_path / "b", workers=0, resume=True, report=lambda r: steps.append(r.step))
    assert steps == [5, 6]  # from the checkpoint after step 4

    losses_a, losses_b = ([row["loss"] for row in _read(tmp_path / run / "log.csv")] for run in "ab")
    assert losses_a == losses_b
    assert len(losses_a) == 6
    a, b = load_weights(undisturbed), load_weights(resumed)
    for name, array in a.arrays.items():
        np.testing.assert_array_equal(array, b.arrays[name])
    assert [row["step"] for row in _read(tmp_path / "b" / "validation.csv")] == ["3"] * 5 + ["6"] * 5
    assert (tmp_path / "a" / "pictures" / "step-0000006.jpg").is_file()
    facts = json.loads((tmp_path / "a" / "config.json").read_text())
    assert facts["photographs"] == {"train": 6, "held_out": ["5.png"]}
    assert a.facts.steps == 6
    assert a.facts.scores == b.facts.scores
    assert set(a.facts.scores) == {f"x{ratio:g}" for ratio in VALIDATION_RATIOS}
    page = (tmp_path / "a" / "run.md").read_text()
    assert "| learning_rate | 0.0005 |" in page
    assert f"torch {torch.__version__}" in page
    with Image.open(tmp_path / "a" / "curves.png") as curves:
        assert curves.format == "PNG"
    assert list((tmp_path / "a" / "tensorboard").iterdir())
    assert not list((tmp_path / "a").glob("*.part"))


@pytest.mark.parametrize("at", [3, 5])
@pytest.mark.parametrize("where", ["report", "average"])
def test_an_interrupted_run_goes_on_where_it_was(
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
    where: str,
    at: int,
) -> None:
    """Between two steps, or in the middle of the weights' change, which is finished first."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background ignores it
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
    average, calls = loop._average, itertools.count(1)

    def interrupt(*given: Any) -> None:
        if next(calls) == at:
            signal.raise_signal(signal.SIGINT)
        if where == "average":
            average(*given)

    config = dataclasses.replace(TINY, validate_every=6)
    undisturbed = train(config, photos, tmp_path / "whole", workers=0)
    with monkeypatch.context() as patched:
        if where == "average":
            patched.setattr(loop, "_average", interrupt)
        with pytest.raises(KeyboardInterrupt):
            train(config, photos, tmp_path / "b", workers=0, report=interrupt if where == "report" else None)
    assert steps_done(tmp_path / "b" / "checkpoint.safetensors") == at
    steps: list[int] = []
    resumed = train(config, photos, tmp_path / "b", workers=0, resume=True, report=lambda r: steps.append(r.step))
    assert steps == list(range(at + 1, 7))
    losses_a, losses_b = ([row["loss"] for row in _read(tmp_path / run / "log.csv")] for run in ("whole", "b"))
    assert losses_a == losses_b
    a, b = load_weights(undisturbed), load_weights(resumed)
    assert a.facts.scores == b.facts.scores
    for name, array in a.arrays.items():
        np.testing.assert_array_equal(array, b.arrays[name])


def test_an_interrupted_validation_is_made_again(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(PhotoValidation, "score", interrupt)
        with pytest.raises(KeyboardInterrupt):
            train(TINY, photos, tmp_path / "run", workers=0)
    assert steps_done(tmp_path / "run" / "checkpoint.safetensors") == 2
    train(TINY, photos, tmp_path / "run", workers=0, resume=True)
    assert [row["step"] for row in _read(tmp_path / "run" / "validation.csv")] == ["3"] * 5 + ["6"] * 5


def test_a_resumed_run_keeps_the_scores_of_the_last_validation(photos: Path, tmp_path: Path) -> None:
    config = dataclasses.replace(TINY, checkpoint_every=1)

    class KilledError(Exception):
        pass

    def killer(at: int) -> Callable[[StepReport], None]:
        def kill(report: StepReport) -> None:
            if report.step == at:
                raise KilledError

        return kill

    for at in (4, 5):
        with pytest.raises(KilledError):
            train(config, photos, tmp_path / "run", workers=0, resume=at > 4, report=killer(at))
    weights = load_weights(tmp_path / "run" / "weights.safetensors")
    assert weights.facts.steps == 5
    assert set(weights.facts.scores) == {f"x{ratio:g}" for ratio in VALIDATION_RATIOS}


def test_finished_run_is_not_overwritten_and_other_settings_do_not_resume(photos: Path, tmp_path: Path) -> None:
    config = dataclasses.replace(TINY, steps=2, validate_every=2)
    train(config, photos, tmp_path / "run", workers=0)
    with pytest.raises(TrainingError, match="--resume"):
        train(config, photos, tmp_path / "run", workers=0)
    with pytest.raises(TrainingError, match="learning_rate"):
        train(dataclasses.replace(config, learning_rate=1e-5), photos, tmp_path / "run", workers=0, resume=True)


def test_a_damaged_checkpoint_says_what_can_be_done(photos: Path, tmp_path: Path) -> None:
    config, run = dataclasses.replace(TINY, steps=2, validate_every=2), tmp_path / "run"
    weights = train(config, photos, run, workers=0)
    (run / "checkpoint.safetensors").write_bytes(b"cut off")
    with pytest.raises(
        TrainingError, match=r"Delete it, or start from .*run/weights\.safetensors with --init in a new"
    ):
        train(config, photos, run, workers=0, resume=True)
    weights.unlink()
    with pytest.raises(TrainingError, match=r"Delete it\.$"):
        train(config, photos, run, workers=0, resume=True)
    (run / "checkpoint.safetensors").unlink()
    train(config, photos, run, workers=0)


def test_a_run_is_not_resumed_with_other_photographs(photos: Path, tmp_path: Path) -> None:
    config = dataclasses.replace(TINY, steps=2, validate_every=2)
    train(config, photos, tmp_path / "run", workers=0)
    more = tmp_path / "more"
    shutil.copytree(photos, more)
    shutil.copy(more / "0.png", more / "another.png")
    longer = dataclasses.replace(config, steps=2)
    with pytest.raises(TrainingError, match=r"other photographs: 6 train, 1 held out, now 7 train, 1 held out"):
        train(longer, more, tmp_path / "run", workers=0, resume=True)
    replaced = tmp_path / "replaced"
    shutil.copytree(photos, replaced)
    shutil.copy(replaced / "0.png", replaced / "1.png")
    with pytest.raises(TrainingError, match=r"other photographs digest: \w{12}, now \w{12}\. Resume with those"):
        train(longer, replaced, tmp_path / "run", workers=0, resume=True)
    moved = tmp_path / "moved"
    shutil.copytree(photos, moved)
    train(longer, moved, tmp_path / "run", workers=0, resume=True)


def test_checkpoints_from_before_a_setting_resume(photos: Path, tmp_path: Path) -> None:
    config = dataclasses.replace(TINY, steps=2, validate_every=2)
    train(config, photos, tmp_path / "run", workers=0)
    path = tmp_path / "run" / "checkpoint.safetensors"
    with safe_open(path, framework="pt") as file:
        header, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    saved = json.loads(header["config"])
    assert saved["network"].pop("pairwise") == "embedded_gaussian"
    assert saved.pop("sensor") is None
    save_file(tensors, path, metadata=header | {"config": json.dumps(saved)})
    train(config, photos, tmp_path / "run", workers=0, resume=True)
    other = dataclasses.replace(
        config, network=dataclasses.replace(config.network, pairwise="dot_product", attention_limit=None)
    )
    with pytest.raises(TrainingError, match="different: network"):
        train(other, photos, tmp_path / "run", workers=0, resume=True)


@pytest.mark.parametrize(("cfa", "side"), [("bayer", 16), ("xtrans", 48)])
def test_photographs_too_small_to_judge_by_are_refused(tmp_path: Path, cfa: FilterArray, side: int) -> None:
    Image.new("RGB", (64, side - 1)).save(tmp_path / "small.png")
    with pytest.raises(DataError, match=rf"small\.png: .* 64 × {side - 1} pixels; {side} × {side} are needed"):
        PhotoValidation(PhotoCache([tmp_path / "small.png"], tmp_path / "decoded"), cfa=cfa)
    Image.new("RGB", (64, side)).save(tmp_path / "enough.png")
    PhotoValidation(PhotoCache([tmp_path / "enough.png"], tmp_path / "decoded"), cfa=cfa)


def test_the_last_level_learns_alone(photos: Path, tmp_path: Path) -> None:
    """Everything else stays to the last bit, areas of one color keep it, and the run resumes as any other."""
    first = train(dataclasses.replace(TINY, steps=2, validate_every=2), photos, tmp_path / "first", workers=0)
    config = dataclasses.replace(TINY, parts="last", learning_rate=1e-2)

    class KilledError(Exception):
        pass

    def kill(report: object) -> None:
        if report.step == 3:  # type: ignore[attr-defined]
            raise KilledError

    with pytest.raises(KilledError):
        train(config, photos, tmp_path / "b", workers=0, initial_weights=first, report=kill)
    resumed = train(config, photos, tmp_path / "b", workers=0, initial_weights=first, resume=True)
    whole = train(config, photos, tmp_path / "a", workers=0, initial_weights=first)
    before, after, again = (load_weights(path).arrays for path in (first, whole, resumed))
    last = ("up0.", "decode0.", "head.", *FILTERS)
    for name, array in before.items():
        np.testing.assert_array_equal(after[name], again[name])
        assert np.array_equal(after[name], array) != name.startswith(last), name
    for name in FILTERS:
        assert np.abs(after[name].sum(axis=(1, 2, 3)) - 1).max() < 1e-5


def test_training_starts_from_weights(photos: Path, tmp_path: Path) -> None:
    config = dataclasses.replace(TINY, steps=2, validate_every=2, learning_rate=1e-12, final_learning_rate=0.0)
    first = train(config, photos, tmp_path / "first", workers=0)
    tuned = train(config, photos, tmp_path / "tuned", workers=0, initial_weights=first)
    for name, array in load_weights(first).arrays.items():
        np.testing.assert_allclose(load_weights(tuned).arrays[name], array, atol=1e-6)
    started = f"- started from {first} {load_weights(first).digest}\n"
    train(config, photos, tmp_path / "tuned", workers=0, resume=True)  # its page does not forget
    assert started in (tmp_path / "tuned" / "run.md").read_text()
    assert json.loads((tmp_path / "tuned" / "config.json").read_text())["initial_weights"] == load_weights(first).digest
    other = dataclasses.replace(config, network=AlenConfig(widths=(4, 4, 4, 4)))
    with pytest.raises(TrainingError, match="another network"):
        train(other, photos, tmp_path / "other", workers=0, initial_weights=first)


def test_divergence_stops_the_run_and_names_the_place(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("alen.training.loop.training_loss", lambda p, *_, **__: p.sum() * float("nan"))
    with pytest.raises(TrainingError, match=r"Step 1: .* no longer a number \(first in .*\)\. Start with a lower"):
        train(TINY, photos, tmp_path / "run", workers=0)
    (tmp_path / "run" / "weights.safetensors").touch()
    with pytest.raises(TrainingError, match=r"Start from .*weights\.safetensors, .*\(--init\), with a lower"):
        train(TINY, photos, tmp_path / "run", workers=0)


def test_loss_falls(photos: Path, tmp_path: Path) -> None:
    config = dataclasses.replace(
        TINY,
        steps=60,
        stages=(Stage(share=1.0, patch_size=16, batch_size=4),),
        ratios=(1.0, 2.0),
        learning_rate=5e-3,
        validate_every=60,
        checkpoint_every=60,
    )
    train(config, photos, tmp_path / "run", workers=0)
    values = [float(row["loss"]) for row in _read(tmp_path / "run" / "log.csv")]
    assert np.mean(values[-15:]) < 0.7 * np.mean(values[:15])


def test_learning_rate_rises_then_falls() -> None:
    config = camera()
    rates = [learning_rate_at(step, config) for step in range(config.steps)]
    assert rates[0] == pytest.approx(config.learning_rate / config.warmup_steps)
    assert max(rates) == pytest.approx(config.learning_rate)
    assert rates.index(max(rates)) in (config.warmup_steps - 1, config.warmup_steps)
    assert rates[-1] == pytest.approx(config.final_learning_rate, rel=1e-2)


def test_learning_rate_falls_in_steps() -> None:
    drops = (Drop(after=0.5, learning_rate=1e-5), Drop(after=0.75, learning_rate=1e-6))
    config = dataclasses.replace(TINY, steps=8, schedule="steps", learning_rate=1e-4, drops=drops, warmup_steps=0)
    assert [learning_rate_at(step, config) for step in range(8)] == [1e-4] * 4 + [1e-5] * 2 + [1e-6] * 2


def test_gates_learn_at_their_own_rate(photos: Path, tmp_path: Path) -> None:
    fixed = dataclasses.replace(TINY, steps=2, gate_rate=0.0, ema_decay=0.0, validate_every=2)
    start = loop.build_network(TINY.network)  # gates' last layers begin at zero, so that the gates are 1
    arrays = load_weights(train(fixed, photos, tmp_path / "fixed", workers=0)).arrays
    moving = load_weights(
        train(dataclasses.replace(fixed, gate_rate=1.0), photos, tmp_path / "moving", workers=0)
    ).arrays
    excite = [name for name in arrays if name.endswith("gate.excite.weight")]
    assert len(excite) == 7
    for name in excite:
        assert not start.state_dict()[name].any()
        assert not arrays[name].any()
        assert moving[name].any()
    assert not np.array_equal(arrays["head.weight"], start.state_dict()["head.weight"].numpy())


def test_the_base_is_judged_beside_the_picture(photos: Path, tmp_path: Path) -> None:
    """By its log L2 with a weight of its own; where nothing is painted, base and picture are one."""
    plain = dataclasses.replace(TINY, steps=1, ssim_weight=0.0, validate_every=1)
    losses, start = {}, loop.build_network(TINY.network)
    painted = 12 * TINY.network.unshuffle**2  # channels of the head
    with torch.no_grad():
        start.head.weight[:painted], start.head.bias[:painted] = 0, 0
    source = Photographs(photos, photos.parent / "decoded")
    loop.save_weights_of(start, plain, tmp_path / "start.safetensors", 0, source, {})
    for weight in (0.0, 0.5, 2.0):
        config, run = dataclasses.replace(plain, base_weight=weight), tmp_path / f"{weight}"
        train(config, photos, run, workers=0, initial_weights=tmp_path / "start.safetensors")
        losses[weight] = float(_read(run / "log.csv")[0]["loss"])
    assert losses[0.5] == pytest.approx(1.5 * losses[0.0], rel=1e-4)
    assert losses[2.0] == pytest.approx(3.0 * losses[0.0], rel=1e-4)


def test_a_released_run_has_its_card(photos: Path, tmp_path: Path) -> None:
    train(TINY, photos, tmp_path / "run", workers=0)
    words = {"hardware": "a machine", "data": "pictures", "limits": "none known", "command": "alen train camera"}
    release(tmp_path / "run", tmp_path / "shipped.safetensors", **words, earlier_steps=1000)
    run, shipped = (
        load_weights(tmp_path / "run" / "weights.safetensors"),
        load_weights(tmp_path / "shipped.safetensors"),
    )
    assert {name: getattr(shipped.facts, name) for name in words} == words
    assert shipped.facts.steps == 1000 + TINY.steps
    assert list(shipped.facts.first_losses) == [float(row["loss"]) for row in _read(tmp_path / "run" / "log.csv")][:5]
    assert shipped.facts.scores == run.facts.scores
    assert (run.facts.licence, shipped.facts.licence) == ("not stated", "Apache-2.0")
    for name, array in run.arrays.items():
        np.testing.assert_array_equal(shipped.arrays[name], _stored(name, array))
    release(tmp_path / "run", tmp_path / "second.safetensors", **words, first=_beside(tmp_path / "first", -2.5))
    assert load_weights(tmp_path / "second.safetensors").facts.first_losses == (-2.5, -3.5)
    (tmp_path / "run" / "log.csv").write_text("step,loss\n1,0.5\n")
    with pytest.raises(TrainingError, match="Release a run that is whole"):
        release(tmp_path / "run", tmp_path / "other.safetensors", **words)


def _stored(name: str, array: np.ndarray) -> np.ndarray:
    """Return what a weights file that ships keeps of an array: of what runs in bfloat16 no more than that has."""
    rounded = array.ndim > 1 and name not in FILTERS
    kept = torch.from_numpy(array).bfloat16().float().numpy() if rounded else array
    return kept.astype(np.float16)


def _beside(run: Path, loss: float) -> Path:
    """Return the folder of a run of two steps, of which there is nothing but the log."""
    run.mkdir()
    (run / "log.csv").write_text(f"step,loss\n1,{loss}\n2,{loss - 1}\n")
    return run


def test_a_run_is_averaged_with_its_start(photos: Path, tmp_path: Path) -> None:
    words = {"hardware": "a machine", "data": "pictures", "limits": "none known", "command": "alen train camera"}
    start = train(TINY, photos, tmp_path / "start", workers=0)
    end = train(TINY, photos, tmp_path / "run", workers=0, initial_weights=start)
    out, cache = tmp_path / "shipped.safetensors", photos.parent / "decoded"
    with pytest.raises(TrainingError, match="photographs to judge it"):
        release(tmp_path / "run", out, **words, start=start)
    release(tmp_path / "run", out, **words, start=start, share=0.25, photos=photos, cache=cache)
    shipped, first, last = (load_weights(path) for path in (out, start, end))
    for name, array in shipped.arrays.items():
        np.testing.assert_array_equal(array, _stored(name, 0.75 * first.arrays[name] + 0.25 * last.arrays[name]))
    assert shipped.facts.scores.keys() == last.facts.scores.keys()
    assert shipped.facts.scores != last.facts.scores
    release(tmp_path / "run", out, **words, start=start, share=1.0, photos=photos, cache=cache)
    assert load_weights(out).facts.scores["x1"]["psnr_db"] == pytest.approx(
        last.facts.scores["x1"]["psnr_db"], abs=0.01
    )


def test_parts_of_a_step_are_one_large_batch(photos: Path, tmp_path: Path) -> None:
    whole = dataclasses.replace(
        TINY, steps=2, stages=(Stage(share=1.0, patch_size=16, batch_size=4),), loss="l2_ssim", validate_every=2
    )
    parts = dataclasses.replace(whole, stages=(Stage(share=1.0, patch_size=16, batch_size=2),), accumulate=2)
    for name, config in {"whole": whole, "parts": parts}.items():
        train(config, photos, tmp_path / name, workers=0)
    for column in ("loss", "gradient_norm"):
        values = [[float(row[column]) for row in _read(tmp_path / n / "log.csv")] for n in ("whole", "parts")]
        np.testing.assert_allclose(*values, rtol=1e-3)


def test_a_device_that_is_not_there(photos: Path, tmp_path: Path) -> None:
    for name in ("cuda:99", "mps", "toaster"):
        with pytest.raises(DeviceError, match=name.split(":")[0]):
            train(TINY, photos, tmp_path / "run", workers=0, device=name)


def test_a_process_that_is_alone_writes(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a cluster's scripts leave in the environment."""
    monkeypatch.setenv("RANK", "1")
    assert train(dataclasses.replace(TINY, steps=1, validate_every=1), photos, tmp_path / "run", workers=0).is_file()
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert place_among_processes() == (1, 2)


@pytest.mark.parametrize("others", [{"threads": 0}, {"workers": -1}])
def test_threads_and_workers_are_counted(photos: Path, tmp_path: Path, others: dict[str, int]) -> None:
    with pytest.raises(SettingsError, match="thread"):
        loop.train(TINY, Photographs(photos, photos.parent / "decoded"), tmp_path / "run", **others)
    assert not (tmp_path / "run").exists()


def test_stages_cover_the_run() -> None:
    sizes = [TINY.stage_at(step).patch_size for step in range(TINY.steps)]
    assert sizes == [16, 16, 16, 32, 32, 32]


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": 0},
        {"stages": ()},
        {"stages": (Stage(share=0.5, patch_size=16, batch_size=1),)},
        {"stages": (Stage(share=1.0, patch_size=24, batch_size=1),)},
        {"stages": (Stage(share=1.0, patch_size=16, batch_size=1, hard_share=1.5),)},
        {"ratios": (0.5, 3.0)},
        {"ema_decay": 1.0},
        {"learning_rate": float("nan")},
        {"learning_rate": 0.0},
        {"final_learning_rate": -1e-6},
        {"seed": -1},
        {"gate_rate": -0.1},
        {"base_weight": -0.1},
        {"base_weight": 0.5, "network": SidUnetConfig(target="camera")},
        {"base_weight": 0.5, "network": AlenConfig(target="camera")},
        {"parts": "first"},
        {"parts": "last", "network": SidUnetConfig(target="camera")},
        {"accumulate": 0},
        {"epochs": 0},
        {"loss": "l3"},
        {"schedule": "linear"},
        {"drops": (Drop(after=0.5, learning_rate=1e-5), Drop(after=0.4, learning_rate=1e-6))},
        {"drops": (Drop(after=1.0, learning_rate=1e-5),)},
    ],
)
def test_wrong_settings_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(SettingsError):
        dataclasses.replace(TINY, **wrong)  # type: ignore[arg-type]

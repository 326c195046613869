"""The training loop: one function to read from top to bottom."""

from __future__ import annotations

import copy
import csv
import json
import math
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Sampler

from alen import __version__
from alen.allocator import keep_freed_memory
from alen.color import develop, eotf_srgb
from alen.config import AlenConfig, SidUnetConfig
from alen.data.pairs import PhotoPairs, make_pair
from alen.data.photos import PhotoCache, find_photos, sample_camera, split, unprocess
from alen.errors import TrainingError
from alen.metrics import psnr, ssim
from alen.models.alen import Alen
from alen.models.sid_unet import SidUnet
from alen.noise import CAMERAS
from alen.picture import write_picture
from alen.training.checkpoint import load_checkpoint, save_checkpoint
from alen.training.config import TrainingConfig
from alen.training.losses import ssim_l2
from alen.weights import TrainingFacts, load_weights, save_weights

VALIDATION_RATIOS = (1.0, 8.0, 32.0, 100.0, 300.0)
"""Exposure ratios at which the held-out photographs are looked at during training."""


@dataclass(frozen=True)
class StepReport:
    """What is known after a step."""

    step: int
    """Steps done."""
    loss: float
    """The step's loss."""
    learning_rate: float
    """The step's learning rate."""
    seconds: float
    """Wall-clock seconds the step took, data included."""
    waiting: float
    """Share of them spent waiting for data, in [0, 1]."""
    gradient_norm: float
    """Norm of the gradient before it was limited."""
    validation: dict[float, tuple[float, float]] | None
    """Mean (PSNR in dB, SSIM) of the averaged weights by ratio, on steps that validated."""


def build_network(config: AlenConfig | SidUnetConfig) -> nn.Module:
    """Return the network a configuration describes, with fresh weights."""
    return Alen(config) if isinstance(config, AlenConfig) else SidUnet(config)


def train(
    config: TrainingConfig,
    photos: Path,
    run: Path,
    *,
    resume: bool = False,
    initial_weights: Path | None = None,
    cache: Path | None = None,
    threads: int | None = None,
    workers: int = 1,
    report: Callable[[StepReport], None] | None = None,
) -> Path:
    """Train a network on photographs.

    Args:
        config: The recipe.
        photos: Folder of clean photographs; a fixed tenth is held out and used for validation alone.
        run: The run's folder, for config.json, log.csv, validation.csv, checkpoint.safetensors, weights.safetensors
            and pictures of the validation.
        resume: Go on from the run's checkpoint if there is one.
        initial_weights: Weights to start from, of the same network; None starts fresh.
        cache: Folder for the decoded photographs (uncompressed, so larger than the originals); None: ``run/cache``.
        threads: CPU threads of the network; None leaves torch's choice.
        workers: Processes that make pairs ahead of time; 0 makes them in between, in this one. The pairs are the same.
        report: Called after every step.

    Returns:
        Path of the final weights: the moving average, safetensors.

    Raises:
        TrainingError: The loss stopped being a number, or the run cannot be resumed.
        DataError: The photographs cannot be used.
    """
    run.mkdir(parents=True, exist_ok=True)
    checkpoint = run / "checkpoint.safetensors"
    if checkpoint.exists() and not resume:
        raise TrainingError(f"{run}: a run is there already. Go on with --resume, or name another folder.")
    if threads is not None:
        torch.set_num_threads(threads)
    keep_freed_memory()
    torch.manual_seed(config.seed)

    train_photos, held_out = split(find_photos(photos))
    folder = cache if cache is not None else run / "cache"
    train_cache = PhotoCache(train_photos, folder)
    validation = ValidationSet(PhotoCache([p for p in held_out if p.suffix.lower() != ".hdr"], folder))

    network = build_network(config.network).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if initial_weights is not None:
        load_into(network, initial_weights, config.network)
    ema = copy.deepcopy(network).requires_grad_(False)
    optimizer = torch.optim.AdamW(network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    start = 0
    if checkpoint.exists():
        start = load_checkpoint(checkpoint, config=config, network=network, ema=ema, optimizer=optimizer)
    _describe_run(run, config, train_photos, held_out)

    pairs = PhotoPairs(train_cache, ratios=config.ratios, seed=config.seed)
    log = _CsvLog(run / "log.csv", ("step", "loss", "learning_rate", "gradient_norm", "seconds", "waiting"), start)
    scores = _CsvLog(run / "validation.csv", ("step", "ratio", "psnr", "ssim"), start)
    clock = time.perf_counter()
    for step, (planes, truth) in enumerate(_batches(pairs, config, start, workers), start=start):
        waited = time.perf_counter() - clock
        learning_rate = learning_rate_at(step, config)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate
        planes = planes.to(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16, enabled=config.precision == "bfloat16"):
            prediction = network(planes)
        loss = ssim_l2(prediction.float(), truth, ssim_weight=config.ssim_weight)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(network.parameters(), config.clip_norm)
        if not torch.isfinite(loss) or not torch.isfinite(norm):
            raise TrainingError(_explain_divergence(step, network, checkpoint))
        optimizer.step()
        _average(ema, network, min(config.ema_decay, (step + 1) / (step + 10)))

        done = step + 1
        validated = None
        if done % config.validate_every == 0 or done == config.steps:
            validated = validation.score(ema, config.precision)
            validation.write_pictures(ema, config.precision, run / "pictures" / f"step-{done:07d}.jpg")
            for ratio, (decibels, similarity) in validated.items():
                scores.write(done, ratio, f"{decibels:.4f}", f"{similarity:.5f}")
        if done % config.checkpoint_every == 0 or done == config.steps:
            save_checkpoint(checkpoint, step=done, config=config, network=network, ema=ema, optimizer=optimizer)
            save_weights_of(ema, config, run / "weights.safetensors", done, len(train_photos), validation.last)
        seconds = time.perf_counter() - clock
        log.write(
            done,
            f"{loss.item():.6f}",
            f"{learning_rate:.3e}",
            f"{float(norm):.4f}",
            f"{seconds:.3f}",
            f"{waited / seconds:.3f}",
        )
        if report is not None:
            report(StepReport(done, loss.item(), learning_rate, seconds, waited / seconds, float(norm), validated))
        clock = time.perf_counter()
    return run / "weights.safetensors"


def learning_rate_at(step: int, config: TrainingConfig) -> float:
    """Return the learning rate of a step (from 0): linear warm-up, then a cosine down to the final rate."""
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    progress = (step - config.warmup_steps) / max(config.steps - config.warmup_steps, 1)
    span = config.learning_rate - config.final_learning_rate
    return config.final_learning_rate + 0.5 * span * (1 + math.cos(math.pi * progress))


class ValidationSet:
    """Central squares of the held-out photographs at fixed ratios, cameras and noise; the same on every machine."""

    def __init__(self, cache: PhotoCache, *, side: int = 256) -> None:
        self.last: dict[float, tuple[float, float]] = {}
        self._samples: list[tuple[float, NDArray[np.float32], NDArray[np.float32], NDArray[np.float64]]] = []
        for index in range(len(cache)):
            whole = cache.whole(index)
            height, width = (min(side, n // 16 * 16) for n in whole.shape[:2])
            y, x = (whole.shape[0] - height) // 2, (whole.shape[1] - width) // 2
            for ratio in VALIDATION_RATIOS:
                rng = np.random.default_rng((index, int(ratio)))
                scene = unprocess(whole[y : y + height, x : x + width], *sample_camera(rng))
                noise = CAMERAS[index % len(CAMERAS)].typical(1600)
                planes, truth = make_pair(scene, ratio, noise, rng)
                self._samples.append((ratio, planes, truth, scene.cam2rgb))

    def score(self, network: nn.Module, precision: str) -> dict[float, tuple[float, float]]:
        """Return the mean (PSNR in dB, SSIM) by ratio, of display-encoded camera RGB clipped to [0, 1]."""
        values: dict[float, list[tuple[float, float]]] = {ratio: [] for ratio in VALIDATION_RATIOS}
        for ratio, planes, truth, _ in self._samples:
            picture, reference = np.clip(predict(network, planes, precision), 0, 1), np.clip(truth, 0, 1)
            pair = psnr(picture, reference, data_range=1.0), ssim(picture, reference, data_range=1.0)
            values[ratio].append(pair)
        means = {ratio: np.mean(pairs, axis=0) for ratio, pairs in values.items()}
        self.last = {ratio: (float(mean[0]), float(mean[1])) for ratio, mean in means.items()}
        return self.last

    def write_pictures(self, network: nn.Module, precision: str, path: Path, *, photos: int = 3) -> None:
        """Write a sheet: per photograph and ratio the prediction, developed; the truth in the last column."""
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = []
        ratios = len(VALIDATION_RATIOS)
        chosen = range(0, len(self._samples) // ratios, max(len(self._samples) // ratios // photos, 1))
        for photo in list(chosen)[:photos]:
            samples = self._samples[photo * ratios : (photo + 1) * ratios]
            row = [_developed(predict(network, planes, precision), c, ratio) for ratio, planes, _, c in samples]
            ratio, _, truth, cam2rgb = samples[-1]
            rows.append(np.concatenate([*row, _developed(truth, cam2rgb, ratio)], axis=1))
        width = min(row.shape[1] for row in rows)
        write_picture(path, np.concatenate([row[:, :width] for row in rows], axis=0))


def predict(network: nn.Module, planes: NDArray[np.float32], precision: str) -> NDArray[np.float32]:
    """Run a network on packed planes (4, h, w); returns the display-encoded picture (2h, 2w, 3)."""
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
        batch = torch.from_numpy(planes)[None].to(memory_format=torch.channels_last)
        picture: Tensor = network(batch)[0].float().permute(1, 2, 0)
    return np.ascontiguousarray(picture.numpy())


def load_into(network: nn.Module, path: Path, config: AlenConfig | SidUnetConfig) -> None:
    """Load weights of the same configuration into a network; WeightsError if they do not fit."""
    weights = load_weights(path)
    if weights.config != config:
        raise TrainingError(f"{path}: holds weights of another network: {weights.config}, but this is {config}.")
    network.load_state_dict({name: torch.from_numpy(array) for name, array in weights.arrays.items()})


def save_weights_of(
    network: nn.Module,
    config: TrainingConfig,
    path: Path,
    steps: int,
    photographs: int,
    scores: dict[float, tuple[float, float]],
) -> None:
    """Write a network's weights with the facts of its training."""
    arrays = {name: value.detach().float().cpu().numpy() for name, value in network.state_dict().items()}
    recipe = {key: value for key, value in asdict(config).items() if key != "network"}
    facts = TrainingFacts(
        steps=steps,
        photographs=photographs,
        recipe=recipe,
        scores={f"x{ratio:g}": {"psnr_db": round(s[0], 3), "ssim": round(s[1], 4)} for ratio, s in scores.items()},
    )
    save_weights(path, arrays, config.network, facts)


def _developed(encoded: NDArray[np.float32], cam2rgb: NDArray[np.float64], ratio: float) -> NDArray[np.float32]:
    return develop(eotf_srgb(encoded), cam2rgb, clip_level=ratio)


def _batches(
    pairs: Dataset[tuple[Tensor, Tensor]], config: TrainingConfig, start: int, workers: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the batches of steps ``start`` to the last, made ahead by other processes."""
    loader = DataLoader(
        pairs,
        batch_sampler=_Plan(config, start),
        num_workers=workers,
        prefetch_factor=4 if workers else None,
        worker_init_fn=_one_thread,
        multiprocessing_context="forkserver" if workers else None,
    )
    return iter(loader)


class _Plan(Sampler[list[tuple[int, int]]]):
    """Which pairs each step takes: lists of (index, packed size)."""

    def __init__(self, config: TrainingConfig, start: int) -> None:
        self.config = config
        self.start = start

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        index = 0
        for step in range(self.config.steps):
            stage = self.config.stage_at(step)
            if step >= self.start:
                yield [(index + k, stage.patch_size) for k in range(stage.batch_size)]
            index += stage.batch_size


def _one_thread(_worker: int) -> None:
    """Keep a data worker from competing with the network for cores."""
    torch.set_num_threads(1)


def _average(ema: nn.Module, network: nn.Module, decay: float) -> None:
    """Move the averaged weights toward the network's."""
    with torch.no_grad():
        averages: list[Tensor] = list(ema.parameters())
        values: list[Tensor] = list(network.parameters())
        torch._foreach_lerp_(averages, values, 1 - decay)


def _explain_divergence(step: int, network: nn.Module, checkpoint: Path) -> str:
    broken = [name for name, p in network.named_parameters() if p.grad is not None and not p.grad.isfinite().all()]
    where = f"first in {broken[0]}" if broken else "in the loss alone"
    return (
        f"Step {step + 1}: the loss or its gradient is no longer a number ({where}). The last checkpoint, "
        f"{checkpoint}, is from before; go on from it with a lower learning rate in a new run (--init)."
    )


def _describe_run(run: Path, config: TrainingConfig, train_photos: list[Path], held_out: list[Path]) -> None:
    """Write what the run is into config.json."""
    facts = {
        "config": asdict(config),
        "network": type(config.network).__name__,
        "photographs": {"train": len(train_photos), "held_out": [p.name for p in held_out]},
        "versions": {"alen": __version__, "torch": torch.__version__, "python": platform.python_version()},
        "threads": torch.get_num_threads(),
    }
    (run / "config.json").write_text(json.dumps(facts, indent=1) + "\n")


class _CsvLog:
    """A CSV file that grows by a line at a time; a resumed run drops the lines after its checkpoint."""

    def __init__(self, path: Path, columns: tuple[str, ...], start: int) -> None:
        kept: list[list[str]] = []
        if start and path.exists():
            with path.open(newline="") as file:
                kept = [row for row in list(csv.reader(file))[1:] if row and int(row[0]) <= start]
        self._path = path
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([list(columns), *kept])

    def write(self, *values: object) -> None:
        with self._path.open("a", newline="") as file:
            csv.writer(file).writerow(values)

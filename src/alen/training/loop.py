"""The training loop: one function to read from top to bottom."""

from __future__ import annotations

import contextlib
import copy
import math
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate

from alen.allocator import keep_freed_memory
from alen.config import AlenConfig, SidUnetConfig
from alen.errors import AlenError, SettingsError, TrainingError
from alen.models.alen import Alen
from alen.models.attention import ChannelGate
from alen.models.sid_unet import SidUnet
from alen.training.checkpoint import load_checkpoint, save_checkpoint
from alen.training.config import TrainingConfig
from alen.training.losses import log_l2, roll_off, training_loss
from alen.training.processes import Processes
from alen.training.records import Records, check_data, describe_run
from alen.training.sources import Source
from alen.weights import TrainingFacts, Weights, find_weights, load_weights, save_weights


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
    """Wall-clock seconds the step took, data included, validation not."""
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
    source: Source,
    run: Path,
    *,
    resume: bool = False,
    initial_weights: Path | None = None,
    threads: int | None = None,
    workers: int = 1,
    device: str = "cpu",
    report: Callable[[StepReport], None] | None = None,
) -> Path:
    """Train a network on pairs.

    Started by torchrun, several processes train it together: their batches make one large batch, and only the first
    writes. A run that was killed at any moment and resumed gives the same losses and weights bit for bit as one that
    was not, with as many processes and threads, on the same CPU; on CUDA up to what its kernels round at random.
    A run that is interrupted (KeyboardInterrupt) first writes the weights and the checkpoint of the last whole step.

    Args:
        config: The recipe.
        source: The pairs, and others held out for validation alone.
        run: The run's folder; its run.md tells what is in it.
        resume: Go on from the run's checkpoint if there is one.
        initial_weights: Weights to start from, of the same network: a file, or the name of shipped ones; None starts
            fresh.
        threads: CPU threads of the network; None leaves torch's choice.
        workers: Processes that make pairs ahead of time; 0 makes them in between, in this one. The pairs are the same.
        device: "cpu", "cuda" or "cuda:N".
        report: Called after every step, in the first process.

    Returns:
        Path of the final weights: the moving average, safetensors.

    Raises:
        TrainingError: The loss stopped being a number, or the run cannot be resumed.
        DataError: The data cannot be used.
        DeviceError: The device is not there.
    """
    if (threads is not None and threads < 1) or workers < 0:
        raise SettingsError(f"At least one thread is needed, and no less than 0 workers; got {threads}, {workers}.")
    check_folder(run, resume=resume)
    checkpoint, final = run / "checkpoint.safetensors", run / "weights.safetensors"
    processes = Processes.join(device)
    run.mkdir(parents=True, exist_ok=True)
    if threads is not None:
        torch.set_num_threads(threads)
    keep_freed_memory()
    torch.manual_seed(config.seed)

    config = config.in_steps(source.scenes)
    if processes.is_first:
        source.prepare()
    processes.wait()
    pairs = source.pairs(config)
    validation = source.validation(config) if processes.is_first else None

    network = build_network(config.network).to(processes.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    if initial_weights is not None:
        load_into(network, initial_weights, config.network)
    if config.parts == "last":
        assert isinstance(network, Alen), "TrainingConfig sees to it"
        network.requires_grad_(False)
        for parameter in network.last_level():
            parameter.requires_grad_(True)
    ema = copy.deepcopy(network).requires_grad_(False)
    optimizer = torch.optim.AdamW(
        _groups(network, config), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
    )
    start = 0
    if checkpoint.exists():
        check_data(run, source.facts())
        start = load_checkpoint(
            checkpoint, config=config, network=network, ema=ema, optimizer=optimizer, processes=processes.count
        )
    records: Records | None = None
    if processes.is_first:
        describe_run(run, config, source.facts(), processes, initial_weights, resumed=start > 0)
        records = Records(run, start)

    scores: Mapping[str, Any] = {}  # of the last validation
    if start and final.exists():
        scores = load_weights(final).facts.scores

    def save(done: int) -> None:
        # the checkpoint last: what a kill leaves without one is made again
        save_weights_of(ema, config, final, done, source, scores)
        save_checkpoint(
            checkpoint,
            step=done,
            config=config,
            network=network,
            ema=ema,
            optimizer=optimizer,
            processes=processes.count,
        )

    batches = _batches(pairs, config, start, workers, processes)
    done = saved = start
    is_whole = False  # are the weights and the records those of `done` steps?
    try:
        for step in range(start, config.steps):
            clock, waited = time.perf_counter(), 0.0
            learning_rate = learning_rate_at(step, config)
            for group in optimizer.param_groups:
                group["lr"] = group["share"] * learning_rate
            optimizer.zero_grad(set_to_none=True)
            loss = torch.zeros((), device=processes.device)
            for _ in range(config.accumulate):
                asked = time.perf_counter()
                planes, truth = next(batches)
                waited += time.perf_counter() - asked
                planes = planes.to(processes.device, memory_format=torch.channels_last)
                truth = truth.to(processes.device)
                with torch.autocast(processes.device.type, torch.bfloat16, enabled=config.precision == "bfloat16"):
                    prediction, base = network.with_base(planes) if config.base_weight else (network(planes), None)
                part = training_loss(prediction.float(), truth, config.loss, ssim_weight=config.ssim_weight)
                if base is not None:
                    part = part + config.base_weight * log_l2(roll_off(base), roll_off(truth))
                part = part / config.accumulate
                part.backward()  # type: ignore[no-untyped-call]
                loss += part.detach()
            loss = processes.average(network, loss)
            norm = nn.utils.clip_grad_norm_(
                network.parameters(), math.inf if config.clip_norm is None else config.clip_norm
            )
            if not torch.isfinite(loss) or not torch.isfinite(norm):
                raise TrainingError(_explain_divergence(step, network, final))
            with _uninterrupted():
                optimizer.step()
                if isinstance(network, Alen):
                    network.balance_filters()
                _average(ema, network, min(config.ema_decay, (step + 1) / (step + 10)))

                done, is_whole = step + 1, False
                if records is None or validation is None:  # the first process alone writes; the others wait for its sum
                    continue
                seconds = time.perf_counter() - clock
                values = {"loss": loss.item(), "learning_rate": learning_rate, "gradient_norm": float(norm)}
                values |= {"seconds": seconds, "waiting": waited / seconds}
                records.step(done, **values)
                validates = done % config.validate_every == 0 or done == config.steps
                is_whole = not validates
            validated = None
            if validates:
                validated = validation.score(ema, config.precision)
                scores = readable_scores(validated)
                validation.write_pictures(ema, config.precision, run / "pictures" / f"step-{done:07d}.jpg")
                records.validation(done, validated)
                is_whole = True
            if done % config.checkpoint_every == 0 or done == config.steps:
                save(done)
                saved = done
            if report is not None:
                report(StepReport(step=done, validation=validated, **values))
    except KeyboardInterrupt:
        if is_whole and done > saved:  # a validation that is not finished is made again, with the steps before it
            save(done)
        raise
    if records is not None:
        records.close()
    processes.leave()
    return final


def check_folder(run: Path, *, resume: bool) -> None:
    """Raise TrainingError if a folder is none, or holds a run that is not to be resumed."""
    if run.exists() and not run.is_dir():
        raise TrainingError(f"{run}: is a file. Name another folder for the run.")
    if (run / "checkpoint.safetensors").exists() and not resume:
        raise TrainingError(f"{run}: a run is there already. Go on with --resume, or name another folder.")


def learning_rate_at(step: int, config: TrainingConfig) -> float:
    """Return the learning rate of a step (from 0): linear warm-up, then a cosine down to the final rate, or drops."""
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    if config.schedule == "steps":
        rates = [config.learning_rate, *(d.learning_rate for d in config.drops if step >= d.after * config.steps)]
        return rates[-1]
    progress = (step - config.warmup_steps) / max(config.steps - config.warmup_steps, 1)
    span = config.learning_rate - config.final_learning_rate
    return config.final_learning_rate + 0.5 * span * (1 + math.cos(math.pi * progress))


def _groups(network: nn.Module, config: TrainingConfig) -> list[dict[str, Any]]:
    """Return what learns of the channel gates and of everything else, each with its share of the learning rate."""
    gates = [p for module in network.modules() if isinstance(module, ChannelGate) for p in module.parameters()]
    ids = {id(parameter) for parameter in gates}
    gates = [parameter for parameter in gates if parameter.requires_grad]
    others = [parameter for parameter in network.parameters() if parameter.requires_grad and id(parameter) not in ids]
    groups = [{"params": others, "share": 1.0}, {"params": gates, "share": config.gate_rate}]
    return [group for group in groups if group["params"]]


def load_into(network: nn.Module, path: Path, config: AlenConfig | SidUnetConfig) -> None:
    """Load weights of the same configuration, a file or shipped ones, into a network; TrainingError if they differ."""
    weights = initial_weights_of(path, config)
    network.load_state_dict({name: torch.from_numpy(array) for name, array in weights.arrays.items()})


def initial_weights_of(path: Path, config: AlenConfig | SidUnetConfig) -> Weights:
    """Return weights to start from, a file or shipped ones; TrainingError if they are of another configuration."""
    weights = load_weights(find_weights(str(path)))
    if weights.config != config:
        theirs, ours = asdict(weights.config), asdict(config)
        different = [f"{key} {theirs.get(key)} instead of {ours[key]}" for key in ours if theirs.get(key) != ours[key]]
        raise TrainingError(f"{path}: holds weights of another network: {'; '.join(different) or 'of another kind'}.")
    return weights


def save_weights_of(
    network: nn.Module,
    config: TrainingConfig,
    path: Path,
    steps: int,
    source: Source,
    scores: Mapping[str, Any],
) -> None:
    """Write a network's weights with the facts of its training."""
    arrays = {name: value.detach().float().cpu().numpy() for name, value in network.state_dict().items()}
    recipe = {key: value for key, value in asdict(config).items() if key != "network"}
    facts = TrainingFacts(
        steps=steps,
        photographs=source.scenes,
        recipe=recipe,
        scores=scores,
        licence="not stated",  # that is up to whose data they were learned from
        data=source.description if config.sensor is None else f"{source.description} of a {config.sensor.name}",
    )
    save_weights(path, arrays, config.network, facts)


def readable_scores(scores: dict[float, tuple[float, float]]) -> dict[str, dict[str, float]]:
    """Return PSNR and SSIM by ratio as a card has them: {"x8": {"psnr_db": 33.7, "ssim": 0.897}, …}."""
    return {f"x{ratio:g}": {"psnr_db": round(s[0], 3), "ssim": round(s[1], 4)} for ratio, s in scores.items()}


def _batches(
    pairs: Dataset[tuple[Tensor, Tensor]], config: TrainingConfig, start: int, workers: int, processes: Processes
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the batches of steps ``start`` to the last, made ahead by other processes."""
    loader: DataLoader[Any] = DataLoader(
        _Telling(pairs),
        collate_fn=_collate,
        batch_sampler=_Plan(config, start, processes),
        num_workers=workers,
        prefetch_factor=4 if workers else None,
        worker_init_fn=_start_worker,
        multiprocessing_context="forkserver" if workers else None,
    )
    return _without_errors(iter(loader))


def _without_errors(batches: Iterator[Any]) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield batches, and raise what a worker met as it was: torch would wrap it in the worker's traceback."""
    for batch in batches:
        if isinstance(batch, AlenError):
            raise batch
        yield batch


class _Telling(Dataset[Any]):
    """Pairs, or the error of alen in place of one that cannot be made."""

    def __init__(self, pairs: Dataset[tuple[Tensor, Tensor]]) -> None:
        self.pairs = pairs

    def __getitem__(self, item: Any) -> tuple[Tensor, Tensor] | AlenError:
        try:
            return self.pairs[item]
        except AlenError as error:
            return error


def _collate(samples: list[Any]) -> Any:
    """Return a batch of pairs, or the first error among them."""
    errors = [sample for sample in samples if isinstance(sample, AlenError)]
    return errors[0] if errors else default_collate(samples)


class _Plan(Sampler[list[tuple[int, int]]]):
    """Which pairs each part of each step takes in this process: lists of (index, packed size).

    A part's batches of all processes together are what one process with as many times the batch would take.
    """

    def __init__(self, config: TrainingConfig, start: int, processes: Processes) -> None:
        self.config = config
        self.start = start
        self.processes = processes

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        index = 0
        for step in range(self.config.steps):
            stage = self.config.stage_at(step)
            for _ in range(self.config.accumulate):
                first = index + self.processes.rank * stage.batch_size
                if step >= self.start:
                    yield [(first + k, stage.patch_size) for k in range(stage.batch_size)]
                index += self.processes.count * stage.batch_size


def _start_worker(_worker: int) -> None:
    """Keep a data worker from competing with the network for cores, and end it with the run, however that ends."""
    torch.set_num_threads(1)
    threading.Thread(target=_end_with_run, daemon=True).start()


def _end_with_run() -> None:
    """Wait for the run's process to end, and end this one: killed, it has no time to tell its workers."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "only data workers come here"
    parent.join()
    os._exit(1)


def _average(ema: nn.Module, network: nn.Module, decay: float) -> None:
    """Move the averaged weights toward the network's."""
    with torch.no_grad():
        averages: list[Tensor] = list(ema.parameters())
        values: list[Tensor] = list(network.parameters())
        torch._foreach_lerp_(averages, values, 1 - decay)


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Put an interrupt by the user, Ctrl-C, off until the end of the block."""
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield
        return
    caught: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _: caught.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if caught:
            before(signal.SIGINT, None)


def _explain_divergence(step: int, network: nn.Module, weights: Path) -> str:
    broken = [name for name, p in network.named_parameters() if p.grad is not None and not p.grad.isfinite().all()]
    where = f"first in {broken[0]}" if broken else "in the loss alone"
    start = f"from {weights}, which are from before (--init), " if weights.exists() else ""
    return (
        f"Step {step + 1}: the loss or its gradient is no longer a number ({where}). Start {start}"
        "with a lower learning rate (--lr) in a new folder."
    )

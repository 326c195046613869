"""Checkpoints for resuming: weights, their moving average and the optimizer's state in one safetensors file. No pickle.

Samples depend on the seed and the step alone, so no generator state has to be kept.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from alen.errors import TrainingError
from alen.replacing import replacing
from alen.training.config import TrainingConfig

_MOMENTS = ("exp_avg", "exp_avg_sq")


def save_checkpoint(
    path: Path,
    *,
    step: int,
    config: TrainingConfig,
    network: nn.Module,
    ema: nn.Module,
    optimizer: torch.optim.AdamW,
    processes: int = 1,
) -> None:
    """Write a checkpoint after ``step`` steps of so many processes.

    Atomic: a kill leaves the old one or the new one. One process writes for all.

    Raises:
        TrainingError: It cannot be written; the old one is still there.
    """
    tensors: dict[str, Tensor] = {}
    tensors.update({f"network.{name}": value for name, value in network.state_dict().items()})
    tensors.update({f"ema.{name}": value for name, value in ema.state_dict().items()})
    for name, parameter in _learning(network):
        for key in ("step", *_MOMENTS):
            tensors[f"adam.{key}.{name}"] = optimizer.state[parameter][key]
    tensors = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    header = {"step": str(step), "processes": str(processes), "config": json.dumps(asdict(config))}
    try:
        with replacing(path) as part:
            part.write_bytes(save(tensors, metadata=header))
    except OSError as error:
        raise TrainingError(
            f"{path}: the checkpoint cannot be written ({error.strerror or error}). Make room and go on with --resume."
        ) from error


def steps_done(path: Path) -> int:
    """Return after how many steps a checkpoint was written; 0 if there is none that can be read."""
    try:
        with safe_open(path, framework="pt") as file:
            return int((file.metadata() or {}).get("step", "0"))
    except (OSError, ValueError, SafetensorError):
        return 0


def load_checkpoint(
    path: Path,
    *,
    config: TrainingConfig,
    network: nn.Module,
    ema: nn.Module,
    optimizer: torch.optim.AdamW,
    processes: int = 1,
) -> int:
    """Restore a run; returns the number of steps done.

    Raises:
        TrainingError: The file is missing, damaged, belongs to another configuration, or to another number of
            processes; nothing has changed then.
    """
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (OSError, SafetensorError) as error:
        weights = path.with_name("weights.safetensors")
        other = f", or start from {weights} with --init in a new folder" if weights.exists() else ""
        raise TrainingError(f"{path}: cannot be read as a checkpoint ({error}). Delete it{other}.") from error
    saved, wanted = json.loads(header.get("config", "null")), json.loads(json.dumps(asdict(config)))
    if isinstance(saved, dict) and isinstance(saved.get("network"), dict):
        # settings that did not exist yet when it was written had their defaults
        saved = json.loads(json.dumps(asdict(type(config)()))) | saved
        saved["network"] = json.loads(json.dumps(asdict(type(config.network)()))) | saved["network"]
    if saved != wanted:
        keys = sorted(k for k in wanted if not isinstance(saved, dict) or saved.get(k) != wanted[k])
        raise TrainingError(
            f"{path}: the checkpoint belongs to another configuration; different: {', '.join(keys)}. "
            "Resume with the run's own settings, or start a new run in another folder."
        )
    if int(header.get("processes", "1")) != processes:
        raise TrainingError(
            f"{path}: the checkpoint belongs to a run of {header['processes']} processes; this one has {processes}, "
            "whose batches differ. Resume with as many."
        )
    network.load_state_dict({n.removeprefix("network."): t for n, t in tensors.items() if n.startswith("network.")})
    ema.load_state_dict({n.removeprefix("ema."): t for n, t in tensors.items() if n.startswith("ema.")})
    for name, parameter in _learning(network):
        # laid out in memory like the parameter: the fused AdamW goes through both in the order of memory
        state = {key: torch.empty_like(parameter).copy_(tensors[f"adam.{key}.{name}"]) for key in _MOMENTS}
        state["step"] = tensors[f"adam.step.{name}"].clone().to(parameter.device)
        optimizer.state[parameter] = state
    return int(header["step"])


def _learning(network: nn.Module) -> list[tuple[str, nn.Parameter]]:
    """Return the parameters that learn, by name."""
    return [(name, parameter) for name, parameter in network.named_parameters() if parameter.requires_grad]

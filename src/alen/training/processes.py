"""Several processes that train one network: what torchrun starts, and the one sum that keeps them alike.

The gradients are averaged as `torch.nn.parallel.DistributedDataParallel` does, but in one visible call after the
backward pass: a network of 11 MB leaves little to gain from overlapping the two.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn

from alen.errors import DeviceError

_PATIENCE = timedelta(hours=2)
"""How long the others wait for the first process, which alone decodes, validates and writes."""


@dataclass(frozen=True)
class Processes:
    """This process among those of the run."""

    rank: int
    """Number of this process, from 0."""
    count: int
    """Number of processes."""
    device: torch.device
    """Where this one computes."""

    @classmethod
    def join(cls, device: str) -> Processes:
        """Find the device and, if torchrun started this process, the other processes.

        Args:
            device: "cpu", "cuda" (with torchrun, each process takes its own) or "cuda:N".

        Raises:
            DeviceError: The device is not there.
        """
        rank, count = place_among_processes()
        found = find_device(device, local_rank=int(os.environ.get("LOCAL_RANK", "0")))
        if count > 1:
            if found.type == "cuda":
                torch.cuda.set_device(found)
            dist.init_process_group("nccl" if found.type == "cuda" else "gloo", timeout=_PATIENCE)
        return cls(rank, count, found)

    @property
    def is_first(self) -> bool:
        """True for the process that writes and reports."""
        return self.rank == 0

    def wait(self) -> None:
        """Wait until every process has come here."""
        if self.count > 1:
            dist.barrier()

    def average(self, network: nn.Module, loss: Tensor) -> Tensor:
        """Average the gradients over the processes, in place; returns the mean of the losses."""
        if self.count == 1:
            return loss
        gradients = [p.grad for p in network.parameters() if p.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients] + [loss.flatten()])
        dist.all_reduce(flat)
        flat /= self.count
        *pieces, mean = torch.split(flat, [gradient.numel() for gradient in gradients] + [1])
        for gradient, piece in zip(gradients, pieces, strict=True):
            gradient.copy_(piece.view_as(gradient))
        return mean.squeeze(0)

    def leave(self) -> None:
        """Wait for the others and part."""
        self.wait()
        if self.count > 1:
            dist.destroy_process_group()


def place_among_processes() -> tuple[int, int]:
    """Return the number of this process, from 0, and how many there are, as torchrun has set them.

    A process that is alone is the first, whatever a cluster's scripts have left in RANK: else nobody would write.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    return (int(os.environ.get("RANK", "0")) if count > 1 else 0), count


def computes_bfloat16(device: str) -> bool:
    """Tell whether a device computes in bfloat16; processors without AVX-512 imitate it, slower than float32."""
    return not device.startswith("cpu") or torch.backends.cpu.get_cpu_capability().startswith("AVX512")


def find_device(name: str, *, local_rank: int = 0) -> torch.device:
    """Return the torch device with this name: "cpu", "cuda" (that of this process) or "cuda:N".

    Raises:
        DeviceError: There is none.
    """
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise DeviceError(f"{name}: no name of a device. Name cpu, cuda or cuda:N.") from error
    if device.type == "cuda":
        there = torch.cuda.device_count() if torch.cuda.is_available() else 0
        index = local_rank if device.index is None else device.index
        if index >= there:
            raise DeviceError(f"The device cuda:{index} is not there; torch finds {there} CUDA devices. Use cpu.")
        return torch.device("cuda", index)
    if device.type != "cpu":
        raise DeviceError(f"Training runs on cpu and cuda, not on {name}.")
    return device

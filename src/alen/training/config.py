"""What a training run is, as plain data. `alen.training.recipes` holds the functions that return it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Literal, Self, get_args

from alen.cameras import MeasuredCamera
from alen.config import AlenConfig, SidUnetConfig
from alen.errors import SettingsError

Loss = Literal["log_l2_ssim", "l2_ssim", "l1_ms_ssim", "l1", "l2"]
"""What is minimized; see `alen.training.losses.training_loss`."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A part of a run with its own patches: small ones learn fast, large ones show attention what a frame is."""

    share: float
    """Share of the run's steps, in (0, 1]; the shares of all stages add up to 1."""
    patch_size: int
    """Side of a patch in packed pixels (2 × 2 of a Bayer mosaic, 3 × 3 of X-Trans); a multiple of 16."""
    batch_size: int
    """Patches per process and part of a step: see `TrainingConfig.accumulate`."""
    hard_share: float = 0.0
    """Of pairs made from photographs, the share of hard cases: see `alen.data.photos.random_scene`. Stages of the same
    patch size have the same."""


@dataclass(frozen=True, kw_only=True)
class Drop:
    """A step of the learning rate."""

    after: float
    """Share of the run after which the rate holds, in (0, 1)."""
    learning_rate: float
    """The rate from there on."""


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """Everything that decides the result of a run, beside its data and the number of processes."""

    network: AlenConfig | SidUnetConfig = field(default_factory=AlenConfig.shipped)
    """The network to train."""
    loss: Loss = "log_l2_ssim"
    """What is minimized."""
    steps: int = 19_000
    """Optimizer steps."""
    epochs: int | None = None
    """Length of the run in epochs instead: one patch of every training scene, as See-in-the-Dark counts; `in_steps`
    turns them into steps when the number of scenes is known."""
    stages: tuple[Stage, ...] = (
        Stage(share=0.58, patch_size=64, batch_size=8),
        Stage(share=0.37, patch_size=128, batch_size=6),
        Stage(share=0.05, patch_size=256, batch_size=2),
    )
    """Growing patches."""
    accumulate: int = 1
    """Parts of a step, each a batch of its own, whose gradients are averaged: memory of one, effect of all. Several
    processes multiply the batch in the same way."""
    ratios: tuple[float, float] = (1.0, 300.0)
    """Least and greatest exposure ratio of pairs made from photographs; drawn log-uniformly."""
    sensor: MeasuredCamera | None = None
    """The camera whose noise pairs made from photographs get; None: imaginary ones, `alen.cameras.sample_generic`."""
    schedule: Literal["cosine", "steps"] = "cosine"
    """How the learning rate falls: along a cosine to ``final_learning_rate``, or by ``drops``."""
    learning_rate: float = 5e-4
    """Peak learning rate of AdamW."""
    final_learning_rate: float = 5e-6
    """Learning rate at the end of the cosine."""
    gate_rate: float = 1.0
    """Learning rate of the channel gates, as a share of that of all other weights. Gates that learn as fast shut the
    deep levels off before these have learned anything: a coherent gradient moves all weights of a gate at once."""
    drops: tuple[Drop, ...] = ()
    """Steps of the learning rate, in the order of time; with the schedule "steps"."""
    warmup_steps: int = 500
    """Steps over which the learning rate rises from 0."""
    weight_decay: float = 1e-4
    """Decoupled weight decay; with 0, AdamW is Adam."""
    ssim_weight: float = 0.3
    """Weight of 1 − SSIM in the losses that have it."""
    base_weight: float = 0.0
    """Weight of the log L2 of the base alone, of networks with the base "mixtures", beside the loss of the picture.
    Without it the network mixes averages in where there is detail, and paints part of the detail on top."""
    ema_decay: float = 0.999
    """Decay of the moving average of the weights, which is what is judged and shipped; 0 ships the weights as they
    are."""
    clip_norm: float | None = 10.0
    """The gradient's norm is limited to this; None leaves it."""
    parts: Literal["all", "last"] = "all"
    """What learns: all weights, or those of the decoder's last level and what follows it, `Alen.last_level`. The last
    level makes detail, with a twentieth of the weights."""
    precision: Literal["bfloat16", "float32"] = "bfloat16"
    """Arithmetic of the network's layers; weights and the picture's composition are float32 either way."""
    seed: int = 0
    """Decides initial weights and every sample."""
    checkpoint_every: int = 500
    """Steps between checkpoints."""
    validate_every: int = 500
    """Steps between validations on the held-out part of the data."""

    def __post_init__(self) -> None:
        """Raise SettingsError on values that cannot be trained with."""
        if min(self.steps, self.checkpoint_every, self.validate_every) < 1 or self.warmup_steps < 0:
            raise SettingsError("steps, checkpoint_every and validate_every are at least 1.")
        if self.accumulate < 1 or (self.epochs is not None and self.epochs < 1):
            raise SettingsError(f"accumulate and epochs are at least 1; got {self.accumulate}, {self.epochs}.")
        if self.loss not in get_args(Loss):
            raise SettingsError(f"loss is one of {', '.join(get_args(Loss))}; got {self.loss!r}.")
        if self.schedule not in ("cosine", "steps"):
            raise SettingsError(f"schedule is cosine or steps; got {self.schedule!r}.")
        if self.parts not in ("all", "last") or (self.parts == "last" and not isinstance(self.network, AlenConfig)):
            raise SettingsError(f"parts is all or, of the attention network, last; got {self.parts!r}.")
        times = [drop.after for drop in self.drops]
        if times != sorted(times) or not all(0 < time < 1 for time in times):
            raise SettingsError(f"drops come after rising shares of the run, between 0 and 1; got {times}.")
        if self.gate_rate < 0 or self.base_weight < 0:
            raise SettingsError(f"gate_rate and base_weight are not below 0; got {self.gate_rate}, {self.base_weight}.")
        if self.base_weight and not (isinstance(self.network, AlenConfig) and self.network.base == "mixtures"):
            raise SettingsError('base_weight is for networks with the base "mixtures".')
        if not self.stages or abs(sum(stage.share for stage in self.stages) - 1) > 1e-6:
            raise SettingsError("The shares of the stages add up to 1.")
        for stage in self.stages:
            if stage.patch_size < 16 or stage.patch_size % 16 or stage.batch_size < 1:
                raise SettingsError(
                    "Patches are multiples of 16 packed pixels, at least one per step; got "
                    f"{stage.batch_size} of {stage.patch_size}."
                )
            if not 0 <= stage.hard_share <= 1:
                raise SettingsError(f"hard_share lies in [0, 1]; got {stage.hard_share}.")
        if not 1 <= self.ratios[0] <= self.ratios[1]:
            raise SettingsError(f"ratios are a range from at least 1; got {self.ratios}.")
        if not (0 < self.learning_rate < math.inf and 0 <= self.final_learning_rate < math.inf):
            raise SettingsError(
                "learning_rate is a positive number, final_learning_rate not below 0; got "
                f"{self.learning_rate}, {self.final_learning_rate}."
            )
        if not 0 <= self.seed < 2**63:
            raise SettingsError(f"seed is a whole number from 0 on; got {self.seed}.")
        if not 0 <= self.ema_decay < 1:
            raise SettingsError(f"ema_decay lies in [0, 1); got {self.ema_decay}.")

    def in_steps(self, scenes: int) -> Self:
        """Return the same run with its length in steps: epochs × scenes / patches per step of the first stage."""
        if self.epochs is None:
            return self
        patches = self.stages[0].batch_size * self.accumulate
        return replace(self, epochs=None, steps=max(self.epochs * scenes // patches, 1))

    def stage_at(self, step: int) -> Stage:
        """Return the stage a step (from 0) belongs to."""
        end = 0.0
        for stage in self.stages:
            end += stage.share
            if step < round(end * self.steps):
                return stage
        return self.stages[-1]

"""What a training run is, as plain data; a recipe is a function that returns it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from alen.config import AlenConfig, SidUnetConfig
from alen.errors import SettingsError


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A part of a run with its own patches: small ones learn fast, large ones show attention what a frame is."""

    share: float
    """Share of the run's steps, in (0, 1]; the shares of all stages add up to 1."""
    patch_size: int
    """Side of a patch in packed pixels (half of mosaic pixels); a multiple of 16."""
    batch_size: int
    """Patches per step."""


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """Everything that decides the result of a run on photographs."""

    network: AlenConfig | SidUnetConfig = field(default_factory=AlenConfig.shipped)
    """The network to train."""
    steps: int = 19_000
    """Optimizer steps."""
    stages: tuple[Stage, ...] = (
        Stage(share=0.58, patch_size=64, batch_size=8),
        Stage(share=0.37, patch_size=128, batch_size=6),
        Stage(share=0.05, patch_size=256, batch_size=2),
    )
    """Growing patches."""
    ratios: tuple[float, float] = (1.0, 300.0)
    """Least and greatest exposure ratio; drawn log-uniformly."""
    learning_rate: float = 5e-4
    """Peak learning rate of AdamW."""
    final_learning_rate: float = 5e-6
    """Learning rate at the end of the cosine."""
    warmup_steps: int = 500
    """Steps over which the learning rate rises from 0."""
    weight_decay: float = 1e-4
    """Decoupled weight decay."""
    ssim_weight: float = 0.3
    """Weight of 1 − SSIM beside the logarithm of the L2 norm."""
    ema_decay: float = 0.999
    """Decay of the moving average of the weights, which is what is judged and shipped."""
    clip_norm: float = 10.0
    """The gradient's norm is limited to this."""
    precision: Literal["bfloat16", "float32"] = "bfloat16"
    """Arithmetic of the network's layers; weights and the picture's composition are float32 either way."""
    seed: int = 0
    """Decides initial weights and every sample."""
    checkpoint_every: int = 500
    """Steps between checkpoints."""
    validate_every: int = 500
    """Steps between validations on the held-out photographs."""

    def __post_init__(self) -> None:
        """Raise SettingsError on values that cannot be trained with."""
        if min(self.steps, self.checkpoint_every, self.validate_every) < 1 or self.warmup_steps < 0:
            raise SettingsError("steps, checkpoint_every and validate_every are at least 1.")
        if not self.stages or abs(sum(stage.share for stage in self.stages) - 1) > 1e-6:
            raise SettingsError("The shares of the stages add up to 1.")
        for stage in self.stages:
            if stage.patch_size < 16 or stage.patch_size % 16 or stage.batch_size < 1:
                raise SettingsError(f"Patches are multiples of 16 packed pixels, at least one per step; got {stage}.")
        if not 1 <= self.ratios[0] <= self.ratios[1]:
            raise SettingsError(f"ratios are a range from at least 1; got {self.ratios}.")
        if not 0 <= self.ema_decay < 1:
            raise SettingsError(f"ema_decay lies in [0, 1); got {self.ema_decay}.")

    def stage_at(self, step: int) -> Stage:
        """Return the stage a step (from 0) belongs to."""
        end = 0.0
        for stage in self.stages:
            end += stage.share
            if step < round(end * self.steps):
                return stage
        return self.stages[-1]


def camera() -> TrainingConfig:
    """Return the recipe of the shipped weights: linear camera RGB of any Bayer camera, learned from photographs."""
    return TrainingConfig()

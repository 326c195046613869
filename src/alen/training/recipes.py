"""Recipes: functions that return the settings of a run.

Those for See-in-the-Dark (SID, https://arxiv.org/abs/1805.01934) feed the network as its authors do: (raw − black) /
(white − black) × ratio, clipped to [0, 1], *not* white-balanced; the references are LibRaw's pictures, so the network
learns the colors of the one camera. Their schedules count epochs. As in the authors' code an epoch is one random patch
of one random short exposure of every training scene, 161 steps for Sony and 135 for Fuji, not one of every pair.

The paper (https://arxiv.org/abs/2005.09829) tells neither the weights of its loss nor its schedule. Where it is silent
`sid_sony` and the ablations take equal weights and See-in-the-Dark's schedule.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from alen.cfa import FilterArray
from alen.config import AlenConfig, SidUnetConfig
from alen.training.config import Drop, Loss, Stage, TrainingConfig

Form = Literal["alen", "alen-fast", "alen-xtrans"]
"""Forms of the network that ship, by the names of their weights."""

_PATCH = (Stage(share=1.0, patch_size=512, batch_size=1),)
"""One patch of 512 × 512 packed pixels per step."""

_SID_DROPS = (Drop(after=2000 / 4000, learning_rate=1e-5),)
"""After epoch 2000 of 4000."""

_RELEASED_DROPS = (
    Drop(after=2000 / 5000, learning_rate=1e-5),
    Drop(after=3000 / 5000, learning_rate=2e-6),
    Drop(after=4000 / 5000, learning_rate=1e-6),
)
"""After epochs 2000, 3000 and 4000. The released code does not say when it stops; we take 5000."""


def camera(form: Form = "alen") -> TrainingConfig:
    """Return the recipe of shipped weights: linear camera RGB of any camera, learned from photographs.

    Ratios go beyond those that are asked for, so that the darkest frames are not at the edge of what was seen. The
    weights themselves come from several runs, one after the other, which this sums up; see their cards.
    """
    common = TrainingConfig(ratios=(1.0, 500.0), gate_rate=0.1, base_weight=0.5, learning_rate=1e-3)
    if form == "alen-xtrans":  # patches of 144, 288 and 576 pixels
        return replace(
            common,
            network=AlenConfig.xtrans(),
            steps=13_000,
            stages=(
                Stage(share=0.62, patch_size=48, batch_size=10, hard_share=0.2),
                Stage(share=0.34, patch_size=96, batch_size=3, hard_share=0.3),
                Stage(share=0.04, patch_size=192, batch_size=1, hard_share=0.3),
            ),
        )
    return replace(
        common,
        network=AlenConfig.shipped() if form == "alen" else AlenConfig.fast(),
        steps=16_000,
        stages=(
            Stage(share=0.62, patch_size=64, batch_size=12, hard_share=0.2),
            Stage(share=0.34, patch_size=128, batch_size=6, hard_share=0.3),
            Stage(share=0.04, patch_size=256, batch_size=2, hard_share=0.3),
        ),
    )


def sid_sony() -> TrainingConfig:
    """Return the recipe of the paper's network on SID's Sony set: SSIM + L2."""
    return _sid(AlenConfig(input_levels="sid"), "l2_ssim")


def sid_fuji() -> TrainingConfig:
    """Return the recipe of the paper's network on SID's Fuji set: SSIM + L2."""
    return _sid(AlenConfig(cfa="xtrans", input_levels="sid"), "l2_ssim")


def sid_sony_released() -> TrainingConfig:
    """Return the recipe of the paper's released code on SID's Sony set: max-pooling, 0.85 L1 + 0.15 (1 − MS-SSIM)."""
    network = AlenConfig(input_levels="sid", downsample="max", brightness=(0.8, 1.0, 1.2, 1.5))
    return _sid(network, "l1_ms_ssim", epochs=5000, drops=_RELEASED_DROPS)


def sid_fuji_released() -> TrainingConfig:
    """Return the recipe of the paper's released code on SID's Fuji set: max-pooling, 0.85 L1 + 0.15 (1 − MS-SSIM)."""
    network = AlenConfig(cfa="xtrans", input_levels="sid", downsample="max", brightness=(0.8, 1.0, 1.2, 1.5))
    return _sid(network, "l1_ms_ssim", epochs=5000, drops=_RELEASED_DROPS)


def sid_unet_sony() -> TrainingConfig:
    """Return the recipe of the See-in-the-Dark U-Net on its Sony set: L1, as its authors trained it."""
    return _sid(SidUnetConfig(input_levels="sid"), "l1")


def sid_unet_fuji() -> TrainingConfig:
    """Return the recipe of the See-in-the-Dark U-Net on its Fuji set: L1, as its authors trained it."""
    return _sid(SidUnetConfig(cfa="xtrans", input_levels="sid"), "l1")


def ablation_backbone() -> TrainingConfig:
    """Return the recipe of the paper's first ablation on SID's Sony set: no attention, max-pooling."""
    network = AlenConfig(input_levels="sid", downsample="max", channel_attention=False, spatial_attention=False)
    return _sid(network, "l2_ssim")


def ablation_channel_attention() -> TrainingConfig:
    """Return the recipe of the paper's second ablation on SID's Sony set: the backbone + channel attention."""
    return _sid(AlenConfig(input_levels="sid", downsample="max", spatial_attention=False), "l2_ssim")


def ablation_mixed_attention() -> TrainingConfig:
    """Return the recipe of the paper's third ablation on SID's Sony set: channel and non-local attention."""
    return _sid(AlenConfig(input_levels="sid", downsample="max"), "l2_ssim")


def ablation_inverted_shuffle() -> TrainingConfig:
    """Return the recipe of the paper's last ablation on SID's Sony set: + inverted shuffle, which is the network."""
    return sid_sony()


def pairs(cfa: FilterArray = "bayer") -> TrainingConfig:
    """Return the recipe for pairs of one's own: the paper's network and loss, for white-balanced levels.

    Balanced, and with signed shadows, they may be of several cameras. The schedule is See-in-the-Dark's.
    """
    return _sid(AlenConfig(cfa=cfa), "l2_ssim")


def _sid(
    network: AlenConfig | SidUnetConfig, loss: Loss, *, epochs: int = 4000, drops: tuple[Drop, ...] = _SID_DROPS
) -> TrainingConfig:
    """Return what all recipes for real pairs have in common: Adam 1e-4 falling in steps, batch 1, float32."""
    return TrainingConfig(
        network=network,
        loss=loss,
        ssim_weight=1.0,
        epochs=epochs,
        stages=_PATCH,
        schedule="steps",
        learning_rate=1e-4,
        drops=drops,
        warmup_steps=0,
        weight_decay=0.0,
        ema_decay=0.0,
        clip_norm=None,
        precision="float32",
        checkpoint_every=1000,
        validate_every=5000,
    )

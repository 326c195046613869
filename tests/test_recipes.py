"""Recipes say what their sources say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import pytest

from alen.config import AlenConfig, SidUnetConfig
from alen.training import recipes
from alen.training.config import TrainingConfig
from alen.training.loop import build_network, learning_rate_at

_FOR_SID = [
    recipes.sid_sony,
    recipes.sid_fuji,
    recipes.sid_sony_released,
    recipes.sid_fuji_released,
    recipes.sid_unet_sony,
    recipes.sid_unet_fuji,
    recipes.ablation_backbone,
    recipes.ablation_channel_attention,
    recipes.ablation_mixed_attention,
    recipes.ablation_inverted_shuffle,
]


@pytest.mark.parametrize("recipe", _FOR_SID, ids=lambda recipe: recipe.__name__)
def test_what_all_for_see_in_the_dark_have_in_common(recipe: Callable[[], TrainingConfig]) -> None:
    config = recipe()
    assert (config.network.target, config.network.input_levels) == ("srgb", "sid")
    assert config.network.cfa == ("xtrans" if "fuji" in recipe.__name__ else "bayer")
    assert [(stage.patch_size, stage.batch_size) for stage in config.stages] == [(512, 1)]
    assert (config.learning_rate, config.weight_decay, config.ema_decay, config.clip_norm) == (1e-4, 0, 0, None)


def test_schedules_count_epochs() -> None:
    """An epoch is a patch of each of Sony's 161 training scenes."""
    config = recipes.sid_unet_sony().in_steps(161)
    assert config.steps == 4000 * 161
    assert [learning_rate_at(161 * epoch, config) for epoch in (0, 1999, 2000, 3999)] == [1e-4, 1e-4, 1e-5, 1e-5]
    config = recipes.sid_sony_released().in_steps(161)
    rates = [learning_rate_at(161 * epoch, config) for epoch in (1999, 2000, 2999, 3000, 3999, 4000)]
    assert rates == [1e-4, 1e-5, 1e-5, 2e-6, 2e-6, 1e-6]


@pytest.mark.parametrize(
    ("recipe", "loss", "count"),
    [
        (recipes.sid_sony, "l2_ssim", 2_771_316),
        (recipes.sid_sony_released, "l1_ms_ssim", 2_685_076),
        (recipes.sid_unet_sony, "l1", 7_760_268),
        (recipes.ablation_mixed_attention, "l2_ssim", 2_685_076),
        (recipes.ablation_inverted_shuffle, "l2_ssim", 2_771_316),
    ],
)
def test_networks_and_losses(recipe: Callable[[], TrainingConfig], loss: str, count: int) -> None:
    config = recipe()
    assert config.loss == loss
    assert sum(p.numel() for p in build_network(config.network).parameters()) == count


def test_the_released_network() -> None:
    network = recipes.sid_fuji_released().network
    assert isinstance(network, AlenConfig)
    assert (network.downsample, network.brightness) == ("max", (0.8, 1.0, 1.2, 1.5))
    assert isinstance(recipes.sid_unet_fuji().network, SidUnetConfig)


def test_each_ablation_adds_to_the_one_before() -> None:
    networks = [recipe().network for recipe in _FOR_SID[-4:]]
    assert all(isinstance(network, AlenConfig) for network in networks)
    parts = [(n.channel_attention, n.spatial_attention, n.downsample) for n in networks if isinstance(n, AlenConfig)]
    assert parts == [(False, False, "max"), (True, False, "max"), (True, True, "max"), (True, True, "isl")]


@pytest.mark.parametrize("cfa", ["bayer", "xtrans"])
def test_own_pairs_may_be_of_several_cameras(cfa: Literal["bayer", "xtrans"]) -> None:
    config = recipes.pairs(cfa)
    assert config.network == AlenConfig(cfa=cfa, input_levels="balanced", target="srgb")
    assert config.loss == "l2_ssim"


def test_both_shipped_forms_have_a_recipe() -> None:
    slow, fast = recipes.camera(), recipes.camera("alen-fast")
    assert slow.network == AlenConfig.shipped()
    assert slow.gate_rate == fast.gate_rate < 1
    assert [stage.hard_share for stage in slow.stages] == [stage.hard_share for stage in fast.stages] == [0.2, 0.3, 0.3]
    assert slow.base_weight == fast.base_weight > 0
    assert fast.network == AlenConfig.fast()
    assert fast.network.target == "camera"

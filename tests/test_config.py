"""What a configuration refuses, and what the shipped one says."""

import dataclasses
from typing import Any

import pytest

from alen.config import AlenConfig, SidUnetConfig
from alen.errors import SettingsError


@pytest.mark.parametrize(
    "wrong",
    [
        {"widths": (32, 64, 128)},
        {"widths": (32, 64, 128, 250)},
        {"widths": (0, 64, 128, 256)},
        {"brightness": ()},
        {"brightness": (1.0, 0.0)},
        {"key_grid": 0},
        {"key_grid": 2.5},
        {"widths": (32.0, 64.0, 128.0, 256.0)},
        {"brightness": (1.0, float("nan"))},
        {"unshuffle": 2.0},
        {"gate_scale": float("nan")},
        {"gate_limit": float("inf")},
        {"attention_limit": float("nan")},
        {"gate_scale": 0.0},
        {"attention_limit": 0.0},
        {"attention_limit": 4.0, "pairwise": "dot_product"},
        {"cfa": "quad"},
        {"input_levels": "raw"},
        {"pairwise": "cosine"},
        {"demosaicking": "learned", "base": "demosaic"},
        {"demosaicking": "AHD"},
        {"base": "mixtures", "cfa": "xtrans"},
        {"base": "demosaic", "cfa": "xtrans"},
    ],
)
def test_refusals(wrong: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match=f"(?i){next(iter(wrong))}"):
        AlenConfig(**wrong)


@pytest.mark.parametrize("wrong", [{"widths": (4, 4)}, {"widths": (4, 4, 4, 4, 0)}, {"cfa": "quad"}, {"target": "raw"}])
def test_refusals_of_the_baseline(wrong: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match=next(iter(wrong))):
        SidUnetConfig(**wrong)


@pytest.mark.parametrize("kind", [AlenConfig, SidUnetConfig])
def test_layouts_of_the_filter_arrays(kind: type[AlenConfig] | type[SidUnetConfig]) -> None:
    bayer, xtrans = kind(), kind(cfa="xtrans")
    assert (bayer.plane_count, bayer.shuffle, bayer.picture_channels) == (4, 2, 12)
    assert (xtrans.plane_count, xtrans.shuffle, xtrans.picture_channels) == (9, 3, 27)


def test_defaults_are_the_paper() -> None:
    config = AlenConfig()
    assert 4 * len(config.brightness) == 16
    assert config.widths == (32, 64, 128, 256)
    assert (config.downsample, config.gate_scale, config.key_grid, config.base) == ("isl", 1.0, None, "none")
    assert (config.attention_limit, config.gate_limit) == (None, None)
    assert config.pairwise == "embedded_gaussian"
    assert config.head_channels == 12


def test_the_shipped_form_predicts_shares_of_luma_and_color() -> None:
    config = AlenConfig.shipped()
    assert config.target == "camera"
    assert config.head_channels == 12 + 2 * (3 + 4)


def test_frozen_and_by_keyword() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        AlenConfig().target = "camera"  # type: ignore[misc]
    with pytest.raises(TypeError):
        AlenConfig("camera")  # type: ignore[misc]

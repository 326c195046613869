"""Networks of other widths: the same picture when they grow, what matters most when they shrink."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch

from alen.config import FILTERS, AlenConfig, SidUnetConfig
from alen.errors import SettingsError, WeightsError
from alen.metrics import psnr
from alen.training import widths
from alen.training.loop import build_network
from alen.training.widths import app, change_widths
from alen.weights import TrainingFacts, Weights, load_weights, save_weights

_CONFIGS = {
    "alen": dataclasses.replace(AlenConfig.shipped(), widths=(8, 12, 16, 20)),
    "paper": AlenConfig(widths=(8, 12, 16, 20)),
    "X-Trans": dataclasses.replace(AlenConfig.xtrans(), widths=(8, 12, 16, 20)),
}
_WIDER = (12, 12, 24, 28)


def _weights(config: AlenConfig) -> Weights:
    torch.manual_seed(3)
    network = build_network(config)
    for parameter in network.parameters():  # gates that are open by half, biases that are not 0
        parameter.data += 0.02 * torch.randn_like(parameter)
    arrays = {name: tensor.numpy().copy() for name, tensor in network.state_dict().items()}
    return Weights("made up", "0" * 12, config, arrays, TrainingFacts(steps=1, photographs=1))


def _picture(config: AlenConfig, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    network = build_network(config)
    network.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})
    planes = torch.rand(1, config.plane_count, 32, 48, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        picture: np.ndarray = network(planes)[0].numpy()
    return np.moveaxis(picture, 0, 2)


@pytest.mark.parametrize("config", _CONFIGS.values(), ids=_CONFIGS.keys())
def test_a_wider_network_makes_the_same_picture(config: AlenConfig) -> None:
    weights = _weights(config)
    wider, arrays = change_widths(weights, _WIDER)
    assert wider == dataclasses.replace(config, widths=_WIDER)
    before, after = _picture(config, weights.arrays), _picture(wider, arrays)
    assert psnr(after, before, data_range=float(np.ptp(before))) > 40
    # and it is not the old one beside idle channels: what was added is seen, if hardly
    assert not np.array_equal(after, before)


def test_added_channels_learn_from_the_first_step_on() -> None:
    config, arrays = change_widths(_weights(_CONFIGS["alen"]), _WIDER)
    network = build_network(config)
    network.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})
    network(torch.rand(1, 4, 32, 32)).square().mean().backward()
    for name in ("stem.conv1", "stem.conv2", "encode2.block.conv1", "encode3.block.conv2", "decode2.conv1"):
        gradient = network.get_parameter(f"{name}.weight").grad
        assert gradient is not None
        added = gradient[-4:].flatten(1).abs().sum(dim=1)
        assert (added > 0).all(), name


@pytest.mark.parametrize("config", _CONFIGS.values(), ids=_CONFIGS.keys())
def test_idle_channels_are_what_is_taken_away(config: AlenConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = _weights(config)
    with monkeypatch.context() as patch:
        patch.setattr(widths, "build_network", _nothing)
        wider, arrays = change_widths(weights, _WIDER)
    back, restored = change_widths(dataclasses.replace(weights, config=wider, arrays=arrays), config.widths)
    assert back == config
    assert restored.keys() == weights.arrays.keys()
    for name, array in weights.arrays.items():
        np.testing.assert_array_equal(restored[name], array, err_msg=name)
    np.testing.assert_allclose(_picture(wider, arrays), _picture(config, weights.arrays), atol=1e-5)


def _nothing(config: AlenConfig) -> torch.nn.Module:
    network = build_network(config)
    for parameter in network.parameters():
        parameter.data.zero_()
    return network


def test_channels_that_nothing_sees_are_taken_away() -> None:
    weights = _weights(_CONFIGS["alen"])
    arrays = {name: array.copy() for name, array in weights.arrays.items()}
    unseen = [0, 3, 5, 6]  # of the first features that are skipped to the decoder
    arrays["down1.select.weight"].reshape(8, 8, 4)[:, unseen] = 0
    arrays["decode0.conv1.weight"][:, [8 + channel for channel in unseen]] = 0
    _, narrower = change_widths(dataclasses.replace(weights, arrays=arrays), (4, 12, 16, 20))
    np.testing.assert_array_equal(narrower["stem.conv2.bias"], arrays["stem.conv2.bias"][[1, 2, 4, 7]])


def test_other_networks_are_refused() -> None:
    weights = _weights(_CONFIGS["alen"])
    with pytest.raises(SettingsError, match="multiples of 4"):
        change_widths(weights, (6, 12, 16, 20))
    for config in (
        SidUnetConfig(),
        dataclasses.replace(AlenConfig(), spatial_attention=False),
        dataclasses.replace(AlenConfig(), channel_attention=False),
        dataclasses.replace(AlenConfig(), downsample="max"),
        dataclasses.replace(AlenConfig(), pairwise="gaussian"),
    ):
        with pytest.raises(WeightsError, match="made up: only networks with channel gates"):
            change_widths(dataclasses.replace(weights, config=config), _WIDER)


def test_the_command_writes_weights_that_load(tmp_path: Path) -> None:
    weights = _weights(_CONFIGS["alen"])
    save_weights(tmp_path / "before.safetensors", weights.arrays, weights.config, weights.facts)
    app(
        [str(tmp_path / "before.safetensors"), *map(str, _WIDER), str(tmp_path / "after.safetensors")],
        result_action="return_value",
    )
    after = load_weights(tmp_path / "after.safetensors")
    config, arrays = change_widths(weights, _WIDER)
    assert after.config == config
    for name, array in arrays.items():
        np.testing.assert_array_equal(after.arrays[name], array)


def test_the_command_makes_filters_learn(tmp_path: Path) -> None:
    """And the picture stays; filters that have learned already are kept, at other widths, too."""
    weights = _weights(dataclasses.replace(_CONFIGS["alen"], demosaicking="formulas"))
    before, after = tmp_path / "before.safetensors", tmp_path / "after.safetensors"
    save_weights(before, weights.arrays, weights.config, weights.facts)
    same = map(str, weights.config.widths)
    app([str(before), *same, str(after), "--demosaicking", "learned"], result_action="return_value")
    learns = load_weights(after)
    assert learns.config == _CONFIGS["alen"]
    np.testing.assert_array_equal(_picture(learns.config, learns.arrays), _picture(weights.config, weights.arrays))
    learned = _weights(_CONFIGS["alen"])
    save_weights(before, learned.arrays, learned.config, learned.facts)
    app([str(before), *map(str, _WIDER), str(after), "--demosaicking", "learned"], result_action="return_value")
    for name in FILTERS:
        np.testing.assert_array_equal(load_weights(after).arrays[name], learned.arrays[name])


def test_the_command_bounds_attention(tmp_path: Path) -> None:
    weights = _weights(dataclasses.replace(_CONFIGS["alen"], attention_limit=None))
    before, after = tmp_path / "before.safetensors", tmp_path / "after.safetensors"
    save_weights(before, weights.arrays, weights.config, weights.facts)
    same = map(str, weights.config.widths)
    app([str(before), *same, str(after), "--attention-limit", "4"], result_action="return_value")
    bounded = load_weights(after)
    assert bounded.config == _CONFIGS["alen"]
    for name, array in weights.arrays.items():
        np.testing.assert_array_equal(bounded.arrays[name], array)

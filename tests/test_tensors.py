"""The tensors of every network, told without torch, against torch's own."""

import dataclasses

import pytest

from alen.config import AlenConfig, SidUnetConfig
from alen.models.alen import Alen
from alen.models.sid_unet import SidUnet
from alen.tensors import tensor_shapes

_WIDTHS = (4, 8, 12, 16)


@pytest.mark.parametrize(
    "config",
    [
        AlenConfig(),
        AlenConfig.shipped(),
        AlenConfig.fast(),
        AlenConfig.xtrans(),
        AlenConfig(widths=_WIDTHS, unshuffle=2, brightness=(1.0, 4.0)),
        AlenConfig(widths=_WIDTHS, downsample="max", pairwise="gaussian"),
        AlenConfig(widths=_WIDTHS, downsample="strided", pairwise="concatenation"),
        AlenConfig(widths=_WIDTHS, channel_attention=False, pairwise="dot_product"),
        AlenConfig(widths=_WIDTHS, spatial_attention=False, base="demosaic"),
        AlenConfig(widths=_WIDTHS, cfa="xtrans"),
        dataclasses.replace(AlenConfig.xtrans(), demosaicking="formulas"),
        SidUnetConfig(),
        SidUnetConfig(widths=(4, 5, 6, 7, 8), cfa="xtrans", up_bias=True),
    ],
)
def test_they_are_those_of_the_network(config: AlenConfig | SidUnetConfig) -> None:
    network = Alen(config) if isinstance(config, AlenConfig) else SidUnet(config)
    assert tensor_shapes(config) == {name: tuple(value.shape) for name, value in network.state_dict().items()}

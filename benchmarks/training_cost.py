"""What a run on See-in-the-Dark costs, counted without computing: the table of ``docs/reproduce-sid.md``.

``python -m benchmarks.training_cost`` builds every network on tensors without data, counts the multiplications of a
forward pass over one patch and adds up what autograd keeps for the backward pass, loss included. Hours follow from an
assumed speed; nothing here is measured.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from alen.models.attention import NonLocal
from alen.training import recipes
from alen.training.config import TrainingConfig
from alen.training.loop import build_network
from alen.training.losses import training_loss

PEAK_TFLOPS: Final = 35.6
"""float32 operations of an NVIDIA RTX 3090 per second, by its maker, in 10¹²."""

ACHIEVED: Final = 0.25
"""Share of the peak that is assumed."""

RECIPES: Final = {
    "sid_unet_sony": 161,
    "ablation_backbone": 161,
    "ablation_channel_attention": 161,
    "ablation_mixed_attention": 161,
    "sid_sony": 161,
    "sid_sony_released": 161,
    "sid_unet_fuji": 135,
    "sid_fuji": 135,
    "sid_fuji_released": 135,
}
"""Training scenes by recipe."""


@dataclass(frozen=True)
class Cost:
    """What one step costs."""

    parameters: int
    """Weights of the network."""
    macs: int
    """Multiplications with addition of a forward pass, convolutions and attention; backward takes twice as many."""
    activation_bytes: int
    """What autograd keeps between forward and backward pass, attention fused."""

    def hours(self, steps: int) -> float:
        """Return how long so many steps take at the assumed speed; an operation is half a multiplication-addition."""
        return steps * 3 * 2 * self.macs / (PEAK_TFLOPS * 1e12 * ACHIEVED) / 3600


def cost(recipe: TrainingConfig) -> Cost:
    """Return the cost of a step of one patch."""
    config, side = recipe.network, recipe.stages[0].patch_size
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage()._cdata] = tensor  # held, so that no other storage gets its address
        return tensor

    with FakeTensorMode():
        network = build_network(config)
        attention = _count_attention(network)
        planes = torch.empty(1, config.plane_count, side, side)
        truth = torch.empty(1, 3, config.shuffle * side, config.shuffle * side)
        own = {parameter.untyped_storage()._cdata for parameter in network.parameters()}
        with FlopCounterMode(display=False) as counter, torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
            picture = network(planes)
            flops = counter.get_total_flops()
            training_loss(picture, truth, recipe.loss, ssim_weight=recipe.ssim_weight)
        return Cost(
            parameters=sum(parameter.numel() for parameter in network.parameters()),
            macs=flops // 2 + sum(attention),
            activation_bytes=sum(t.untyped_storage().nbytes() for key, t in kept.items() if key not in own),
        )


def _count_attention(network: nn.Module) -> list[int]:
    """Return a list that a forward pass fills with the multiplications of the attention, which the counter omits."""
    counted: list[int] = []

    def count(module: nn.Module, inputs: tuple[Tensor, ...], _output: Tensor) -> None:
        assert isinstance(module, NonLocal)
        queries = inputs[0].shape[2] * inputs[0].shape[3] // module.query_pool**2
        keys = queries // module.key_pool**2 if module.key_grid is None else module.key_grid**2
        counted.append(2 * queries * keys * module.value.out_channels)

    for module in network.modules():
        if isinstance(module, NonLocal):
            module.register_forward_hook(count)
    return counted


def main() -> None:
    """Print the table."""
    print("| recipe | parameters | steps | GMAC | hours | activations |\n|---|---|---|---|---|---|")
    for name, scenes in RECIPES.items():
        recipe: TrainingConfig = getattr(recipes, name)()
        steps, step = recipe.in_steps(scenes).steps, cost(recipe)
        print(
            f"| `{name.replace('_', '-')}` | {step.parameters:,} | {steps:,} | {step.macs / 1e9:.1f} | "
            f"{step.hours(steps):.1f} | {step.activation_bytes / 2**30:.2f} GiB |"
        )


if __name__ == "__main__":
    main()

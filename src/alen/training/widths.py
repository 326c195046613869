"""Weights for other widths: a wider network that goes on where a narrower one stopped, or the other way round.

``python -m alen.training.widths WEIGHTS 64 96 128 160 START.safetensors``, then ``alen train camera --init START…``

What is kept of a layer stays as it was. Channels that are added start as in a new network, but what was there sees next
to nothing of them: the picture is the same, and they have gradients from the first step on. (T. Chen, I. Goodfellow and
J. Shlens, "Net2Net", 2016, https://arxiv.org/abs/1511.05641, copy channels instead.) Channels that are taken away are
those that matter least: the weights that make them times the weights that see them.

Attention of weights from before `AlenConfig.attention_limit` can be bounded on the way: --attention-limit 4; and the
demosaicking filters of weights that have none of their own become weights that can learn: --demosaicking learned.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal, Self

import cyclopts
import numpy as np
import torch
from numpy.typing import NDArray

from alen.config import FILTERS, AlenConfig
from alen.demosaic import demosaicking_kernels
from alen.errors import WeightsError
from alen.training.loop import build_network
from alen.weights import Weights, find_weights, load_weights, save_weights

_GLIMPSE: Final = 0.02
"""Of the weights of a new network, with which channels that were there see those that are added."""

_SEED: Final = 1
"""Decides what added channels start with."""

_SQUEEZED: Final = "squeezed"
"""How the names of the features within gates end."""

app = cyclopts.App(help=__doc__)


@app.default
def main(
    weights: str,
    widths: tuple[int, int, int, int],
    out: Path,
    /,
    *,
    attention_limit: float | None = None,
    demosaicking: Literal["learned"] | None = None,
) -> None:
    """Write weights for other widths, to start a run from with --init.

    Args:
        weights: Weights that ship, by their name, or a file.
        widths: Channels at the size of the input stack and at 1/2, 1/4 and 1/8 of it.
        out: The weights file to write.
        attention_limit: Bound of the products of queries and keys from now on; that of the weights if not given.
        demosaicking: Makes the filters weights of the network; as in the weights if not given.
    """
    before = load_weights(find_weights(weights))
    config, arrays = change_widths(before, widths)
    if attention_limit is not None:
        config = replace(config, attention_limit=attention_limit)
    if demosaicking is not None and config.demosaicking != demosaicking:
        config = replace(config, demosaicking=demosaicking)
        arrays |= dict(zip(FILTERS, demosaicking_kernels(config.cfa), strict=True))
    save_weights(out, arrays, config, before.facts)


def change_widths(
    weights: Weights, widths: tuple[int, int, int, int]
) -> tuple[AlenConfig, dict[str, NDArray[np.float32]]]:
    """Return a network of other widths, and its weights.

    Args:
        weights: Of a network with both attentions and inverted shuffle layers.
        widths: The new `AlenConfig.widths`.

    Returns:
        The network, and its weights by the names of torch's state dict.

    Raises:
        WeightsError: The network is another one.
        SettingsError: There is no network of these widths.
    """
    old = weights.config
    if (
        not isinstance(old, AlenConfig)
        or not (old.channel_attention and old.spatial_attention)
        or (old.pairwise, old.downsample) != ("embedded_gaussian", "isl")
    ):
        raise WeightsError(
            f"{weights.name}: only networks with channel gates, embedded Gaussian non-local features and inverted "
            "shuffle layers change their widths."
        )
    new = replace(old, widths=widths)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        arrays = {name: tensor.numpy().copy() for name, tensor in build_network(new).state_dict().items()}
    before, after = _sizes(old), _sizes(new)
    kept = {name: _most_important(weights.arrays, name, before, min(before[name], after[name])) for name in before}
    for layer in _LAYERS:
        taken, given = (_Places.of(names, kept, before, after) for names in (layer.takes, layer.gives))
        if layer.unshuffled:
            taken = taken.unshuffled()
        weight, old_weight = layer.matrix(arrays), layer.matrix(weights.arrays)
        weight[given.new] *= np.float32(_GLIMPSE)
        weight[np.ix_(given.new, taken.new)] = old_weight[np.ix_(given.old, taken.old)]
        arrays[f"{layer.name}.bias"][given.new] = weights.arrays[f"{layer.name}.bias"][given.old]
    arrays |= {name: weights.arrays[name] for name in FILTERS if name in weights.arrays}
    return new, arrays


@dataclass(frozen=True)
class _Layer:
    """A layer, and the features that it takes and gives, by names of ours; several are concatenated."""

    name: str
    takes: tuple[str, ...]
    gives: tuple[str, ...]
    unshuffled: bool = False
    """Whether it takes each channel's four pixels as channels of their own."""
    transposed: bool = False
    """Whether in its weight what it takes comes first."""

    def matrix(self, arrays: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float32]:
        """Return its weight as what it gives × what it takes × its kernel, a view."""
        weight = arrays[f"{self.name}.weight"]
        return weight.swapaxes(0, 1) if self.transposed else weight


def _layers() -> Iterator[_Layer]:
    """Yield all layers of `alen.models.alen.Alen`."""
    yield from _block("stem", ("input",), "skip0")
    for level in (1, 2, 3):
        half, value, match, around = (f"{name}{level}" for name in ("half", "value", "match", "around"))
        spatial = f"encode{level}.spatial"
        yield _Layer(f"down{level}.select", (f"skip{level - 1}",), (half,), unshuffled=True)
        yield _Layer(f"{spatial}.value", (half,), (value,))
        yield _Layer(f"{spatial}.project", (value,), (around,))
        yield _Layer(f"{spatial}.query", (half,), (match,))
        yield _Layer(f"{spatial}.key", (half,), (match,))
        yield from _block(f"encode{level}.block", (half, around), f"skip{level}")
    below = "skip3"
    for level in (2, 1, 0):
        yield _Layer(f"up{level}", (below,), (f"doubled{level}",), transposed=True)
        below = f"decoded{level}"
        yield from _block(f"decode{level}", (f"doubled{level}", f"skip{level}"), below)
    yield _Layer("head", (below,), ("head",))


def _block(name: str, takes: tuple[str, ...], gives: str) -> Iterator[_Layer]:
    """Yield the layers of a CAB."""
    squeezed = tuple(f"{name}.{part}.{_SQUEEZED}" for part in takes)  # as many
    yield _Layer(f"{name}.gate.squeeze", takes, squeezed)
    yield _Layer(f"{name}.gate.excite", squeezed, takes)
    yield _Layer(f"{name}.conv1", takes, (f"{name}.between",))
    yield _Layer(f"{name}.conv2", (f"{name}.between",), (gives,))


_LAYERS: Final = tuple(_layers())


def _sizes(config: AlenConfig) -> dict[str, int]:
    """Return the number of channels of all features."""
    sizes = {"input": config.input_channels, "head": config.head_channels * config.unshuffle**2}
    for level, width in enumerate(config.widths):
        sizes |= {f"{name}{level}": width for name in ("skip", "doubled", "decoded")}
        sizes |= {f"{name}{level + 1}": width for name in ("half", "around")}
        sizes |= {f"{name}{level + 1}": width // 4 for name in ("value", "match")}
    for layer in _LAYERS:
        if layer.name.endswith(".squeeze"):
            sizes |= {squeezed: sizes[name] for name, squeezed in zip(layer.takes, layer.gives, strict=True)}
        elif layer.name.endswith(".conv2"):
            sizes[layer.takes[0]] = sizes[layer.gives[0]]
    return {name: sizes[name] for layer in _LAYERS for name in layer.takes + layer.gives}


def _most_important(
    arrays: Mapping[str, NDArray[np.float32]], features: str, sizes: Mapping[str, int], count: int
) -> NDArray[np.intp]:
    """Return the most important channels of features, in the order they were.

    A channel is worth the squares of the weights that make it times those of the weights that see it, which its scale
    does not change. Gates count for what lies within them alone. Queries are worth the keys they meet.
    """
    made, seen = np.ones(sizes[features]), np.zeros(sizes[features])
    is_seen = False
    for layer in _LAYERS:
        if (".gate." in layer.name) != features.endswith(_SQUEEZED):
            continue
        squares = layer.matrix(arrays).astype(np.float64) ** 2
        squares = squares.reshape(*squares.shape[:2], -1).sum(axis=2)  # what it gives × what it takes
        if features in layer.gives:
            made *= squares.sum(axis=1)[_part(layer.gives, features, sizes)]
        if features in layer.takes:
            by_channel = squares.sum(axis=0).reshape(-1, 4 if layer.unshuffled else 1).sum(axis=1)
            seen += by_channel[_part(layer.takes, features, sizes)]
            is_seen = True
    order = np.argsort(-made * seen if is_seen else -made, kind="stable")
    return np.sort(order[:count])


def _part(names: tuple[str, ...], features: str, sizes: Mapping[str, int]) -> slice:
    """Return where features lie among concatenated ones."""
    first = sum(sizes[name] for name in names[: names.index(features)])
    return slice(first, first + sizes[features])


@dataclass(frozen=True)
class _Places:
    """Where the channels that are kept were, and where they are."""

    old: NDArray[np.intp]
    new: NDArray[np.intp]

    @classmethod
    def of(
        cls,
        names: Sequence[str],
        kept: Mapping[str, NDArray[np.intp]],
        before: Mapping[str, int],
        after: Mapping[str, int],
    ) -> Self:
        """Return those of concatenated features, from the channels kept of each and their numbers of channels."""
        old, new = (np.cumsum([0] + [sizes[name] for name in names]) for sizes in (before, after))
        return cls(
            np.concatenate([first + kept[name] for first, name in zip(old, names, strict=False)]),
            np.concatenate([first + np.arange(len(kept[name])) for first, name in zip(new, names, strict=False)]),
        )

    def unshuffled(self) -> Self:
        """Return those of the four pixels of every channel."""
        old, new = ((4 * places[:, None] + np.arange(4)).ravel() for places in (self.old, self.new))
        return type(self)(old, new)


if __name__ == "__main__":
    app()

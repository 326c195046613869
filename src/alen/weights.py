"""Weights files: one safetensors file with the tensors and, in its header, all it takes to use and to judge them.

The header's "alen" entry is JSON: format version, network and its configuration, plane order, value conventions, the
facts of the training, licence. Read and written without torch; no pickle anywhere. https://huggingface.co/docs/safetensors
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from alen.cfa import PLANES, XTRANS_PLANES, FilterArray
from alen.config import DEMOSAICKED, FILTERS, PYRAMID, AlenConfig, SidUnetConfig
from alen.errors import SettingsError, WeightsError
from alen.replacing import replacing
from alen.tensors import check_tensors

FORMAT: Final = 4
"""Version of the header. In version 1 the base of the attention network was one "mixture" for luma and color alike;
before version 3 attention had no bound, before version 4 demosaicking filters were none of the weights."""

_BITS: Final = 8
"""Significant bits of bfloat16."""

DEFAULT: Final = "alen"
"""Name of the shipped weights that are used when none are named."""

FAST: Final = "alen-fast"
"""Name of the shipped weights for processors without bfloat16, and for previews."""

XTRANS: Final = "alen-xtrans"
"""Name of the shipped weights that X-Trans frames take in place of the shipped weights for Bayer cameras."""

_PLANES: Final = {"bayer": list(PLANES), "xtrans": list(XTRANS_PLANES)}
"""Order of the planes by filter array; those of X-Trans stand as See-in-the-Dark packs them."""

_INPUTS: Final = {
    "balanced": "linear, white-balanced, times exposure ratio, signed",
    "sid": "linear, not white-balanced, times exposure ratio, clipped to [0, 1]",
}
"""What the planes hold, by `AlenConfig.input_levels`."""

_OUTPUTS: Final = {
    "camera": "display-encoded RGB (inverse sRGB EOTF, continued above 1)",
    "srgb": "the finished picture, display-encoded, as the references of the training were",
}
"""What comes out, by `AlenConfig.target`."""

_NETWORKS: Final = {"Alen": AlenConfig, "SidUnet": SidUnetConfig}


@dataclass(frozen=True, kw_only=True)
class TrainingFacts:
    """What a model card says about the training."""

    steps: int
    """Optimizer steps behind the weights."""
    photographs: int
    """Photographs trained on."""
    recipe: Mapping[str, Any] = field(default_factory=dict)
    """Every setting of the run."""
    scores: Mapping[str, Any] = field(default_factory=dict)
    """Scores on the held-out photographs when the weights were written, by ratio."""
    licence: str = "Apache-2.0"
    """Licence of the weights."""
    data: str = "photographs, unprocessed to camera RGB, with simulated sensor noise"
    """What the weights were learned from, and under which licences."""
    hardware: str = ""
    """What they were trained on, and for how long."""
    command: str = ""
    """The command that trains them."""
    first_losses: Sequence[float] = ()
    """Losses of its first steps; on another processor the last digits differ."""
    limits: str = ""
    """Where they are known not to work well."""


@dataclass(frozen=True)
class Weights:
    """A network's weights in memory, with what they are."""

    name: str
    """The file's stem."""
    digest: str
    """First 12 hexadecimal digits of the file's SHA-256."""
    config: AlenConfig | SidUnetConfig
    """The network."""
    arrays: Mapping[str, NDArray[np.float32]]
    """Tensors by the name torch's state dict has for them."""
    facts: TrainingFacts
    """The training behind them."""

    @property
    def parameters(self) -> int:
        """Number of weights."""
        return sum(array.size for array in self.arrays.values())


def conventions(config: AlenConfig | SidUnetConfig) -> dict[str, str]:
    """Return in words what a network takes and gives: "planes", their order; "input", what they hold; "output"."""
    return {
        "planes": ", ".join(_PLANES[config.cfa]),
        "input": _INPUTS[config.input_levels],
        "output": _OUTPUTS[config.target],
    }


def save_weights(
    path: Path,
    arrays: Mapping[str, NDArray[np.float32]],
    config: AlenConfig | SidUnetConfig,
    facts: TrainingFacts,
    *,
    half: bool = False,
) -> None:
    """Write weights atomically, into a folder that is made if need be.

    ``half`` stores float16, and layers' matrices and kernels with the 8 significant bits that bfloat16 has: half the
    size, which zip and git make smaller still, and nothing lost where the network runs in bfloat16.

    Raises:
        WeightsError: The file cannot be written; one that was there before stays as it was.
    """
    network = next(name for name, kind in _NETWORKS.items() if isinstance(config, kind))
    header = {
        "format": FORMAT,
        "network": network,
        "config": asdict(config),
        "planes": _PLANES[config.cfa],
        "input": _INPUTS[config.input_levels],
        "output": _OUTPUTS[config.target],
        "facts": asdict(facts),
    }
    tensors = {
        name: _half(name, array) if half else np.ascontiguousarray(array, dtype=np.float32)
        for name, array in arrays.items()
    }
    data = save(tensors, metadata={"alen": json.dumps(header)})
    try:
        with replacing(path) as part:
            part.write_bytes(data)  # not by safetensors, whose files their owner alone may read
    except OSError as error:
        raise WeightsError(f"{path}: cannot be written ({error.strerror or error}). Choose another place.") from error


def _half(name: str, array: NDArray[np.float32]) -> NDArray[np.float16]:
    """Return float16; of matrices and kernels that run in bfloat16 no more than `_BITS` significant bits."""
    if array.ndim > 1 and name not in FILTERS:
        mantissa, exponent = np.frexp(array)
        array = np.ldexp(np.rint(mantissa * 2**_BITS) / 2**_BITS, exponent)
    return np.ascontiguousarray(array, dtype=np.float16)


def load_weights(path: Path) -> Weights:
    """Read a weights file; arrays are float32, finite, and those of the network.

    Raises:
        WeightsError: The file is missing, damaged, of a newer format, for planes in another order, or not of a network
            we know.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            text = (file.metadata() or {}).get("alen")
            if text is None:
                raise WeightsError(f"{path}: a safetensors file, but without the header that alen writes.")
            arrays = {name: file.get_tensor(name).astype(np.float32) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError as error:
        raise WeightsError(f"{path}: no such weights file. `alen models` lists those that ship.") from error
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{path}: is not a readable safetensors file ({error}).") from error
    except TypeError as error:  # numpy has no such type
        raise WeightsError(f"{path}: its numbers are of a type that is not read ({error}). Store float32.") from error
    try:
        header = json.loads(text)
        if header["format"] not in range(1, FORMAT + 1):
            raise WeightsError(f"{path}: header format {header['format']}; this version of alen reads up to {FORMAT}.")
        if header["format"] == 1 and header["config"].get("base") == "mixture":
            header["config"]["base"] = "mixtures"
            arrays |= _two_mixtures(arrays, header["config"]["unshuffle"])
        settings = {k: tuple(v) if isinstance(v, list) else v for k, v in header["config"].items()}
        config = _NETWORKS[header["network"]](**settings)
        facts = TrainingFacts(**header["facts"] | {"first_losses": tuple(header["facts"].get("first_losses", ()))})
        if not isinstance(planes := header.get("planes", _PLANES[config.cfa]), list):
            raise TypeError("planes are no list")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, SettingsError) as error:
        raise WeightsError(f"{path}: its header cannot be understood ({error!r}).") from error
    if planes != _PLANES[config.cfa]:
        raise WeightsError(
            f"{path}: made for planes in the order {', '.join(map(str, planes))}; alen packs "
            f"{', '.join(_PLANES[config.cfa])}. `alen convert` changes the order of other programs' weights."
        )
    try:
        check_tensors(arrays, config)
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from error
    broken = [name for name, array in arrays.items() if not np.isfinite(array).all()]
    if broken:
        raise WeightsError(
            f"{path}: holds values that are not finite numbers ({', '.join(broken)}): it is damaged, or its training "
            "went astray. Take another file."
        )
    digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()[:12]
    return Weights(Path(path).stem, digest, config, arrays, facts)


def _two_mixtures(arrays: Mapping[str, NDArray[np.float32]], unshuffle: int) -> dict[str, NDArray[np.float32]]:
    """Return the last layer of a network with one mixture so that both mixtures are that one: the same pictures."""
    channels = (DEMOSAICKED + len(PYRAMID)) * unshuffle**2
    names = ("head.weight", "head.bias")
    return {name: np.concatenate([arrays[name], arrays[name][-channels:]]) for name in names}


def shipped_names() -> tuple[str, ...]:
    """Return the names of the weights inside the package, sorted."""
    folder = resources.files("alen") / "shipped"
    return tuple(sorted(Path(f.name).stem for f in folder.iterdir() if f.name.endswith(".safetensors")))


def shipped_for(cfa: FilterArray) -> tuple[str, ...]:
    """Return the names of the shipped weights for a filter array, sorted."""
    return tuple(name for name in shipped_names() if load_weights(find_weights(name)).config.cfa == cfa)


def find_weights(name: str) -> Path:
    """Return the path of weights given by a shipped name or a file.

    Raises:
        WeightsError: There is neither.
    """
    if name in shipped_names():
        return Path(str(resources.files("alen") / "shipped" / f"{name}.safetensors"))
    path = Path(name)
    with contextlib.suppress(OSError):  # a name that the system refuses
        if path.is_file():
            return path
    raise WeightsError(f"{name}: neither a weights file nor one of the shipped weights ({', '.join(shipped_names())}).")

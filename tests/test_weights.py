"""Weights files: what is written comes back, and what is not one of ours is refused with a reason."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_torch_file

from alen.config import FILTERS, AlenConfig, SidUnetConfig
from alen.errors import WeightsError
from alen.models.alen import Alen
from alen.models.sid_unet import SidUnet
from alen.weights import TrainingFacts, find_weights, load_weights, save_weights, shipped_names

_FACTS = TrainingFacts(
    steps=1200,
    photographs=7,
    recipe={"steps": 1200, "ratios": [1.0, 300.0]},
    scores={"x100": {"psnr_db": 27.5, "ssim": 0.71}},
    licence="CC0-1.0",
    data="drawings",
)


def _arrays(config: AlenConfig | SidUnetConfig) -> dict[str, np.ndarray]:
    network = Alen(config) if isinstance(config, AlenConfig) else SidUnet(config)
    return {name: value.numpy() for name, value in network.state_dict().items()}


def _small(**settings: Any) -> AlenConfig:
    return dataclasses.replace(AlenConfig.shipped(), widths=(4, 4, 8, 8), **settings)


@pytest.mark.parametrize(
    "config",
    [
        _small(),
        AlenConfig(widths=(4, 4, 8, 8), downsample="max"),
        AlenConfig(widths=(4, 4, 8, 8), pairwise="concatenation"),
        SidUnetConfig(widths=(4, 4, 4, 4, 8)),
        AlenConfig(widths=(4, 4, 8, 8), cfa="xtrans", input_levels="sid"),
    ],
    ids=["shipped", "paper", "concatenation", "sid", "xtrans"],
)
def test_round_trip(tmp_path: Path, config: AlenConfig | SidUnetConfig) -> None:
    path, arrays = tmp_path / "mine.safetensors", _arrays(config)
    save_weights(path, arrays, config, _FACTS)
    weights = load_weights(path)
    assert weights.config == config
    assert weights.facts == _FACTS
    assert weights.name == "mine"
    assert weights.parameters == sum(array.size for array in arrays.values())
    assert weights.arrays.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(weights.arrays[name], array)
    assert [file.name for file in tmp_path.iterdir()] == ["mine.safetensors"]


def test_headers_from_before_a_setting_mean_its_default(tmp_path: Path) -> None:
    path, config = tmp_path / "old.safetensors", _small()
    save_weights(path, _arrays(config), config, _FACTS)
    with safe_open(path, framework="numpy") as file:
        header = json.loads(file.metadata()["alen"])
    assert header["config"].pop("pairwise") == "embedded_gaussian"
    save_file(_arrays(config), path, metadata={"alen": json.dumps(header)})
    assert load_weights(path).config == config


def test_the_header_says_what_the_planes_hold(tmp_path: Path) -> None:
    path, config = tmp_path / "sid.safetensors", SidUnetConfig(widths=(4, 4, 4, 4, 8), cfa="xtrans", input_levels="sid")
    save_weights(path, _arrays(config), config, _FACTS)
    with safe_open(path, framework="numpy") as file:
        header = json.loads(file.metadata()["alen"])
    assert "".join(header["planes"]) == "RGBRBGGGG"
    assert header["input"] == "linear, not white-balanced, times exposure ratio, clipped to [0, 1]"


def test_half_precision_halves_the_file(tmp_path: Path) -> None:
    whole, half, config = tmp_path / "whole.safetensors", tmp_path / "half.safetensors", _small()
    arrays = _arrays(config)
    save_weights(whole, arrays, config, _FACTS)
    save_weights(half, arrays, config, _FACTS, half=True)
    weights = load_weights(half)
    for name, array in arrays.items():
        assert weights.arrays[name].dtype == np.float32
        # half of bfloat16's, or of float16's; filters run in float32
        step = 2**-8 if array.ndim > 1 and name not in FILTERS else 2**-11
        np.testing.assert_allclose(weights.arrays[name], array, rtol=step, atol=2**-25)
    values = 4 * weights.parameters
    assert whole.stat().st_size - half.stat().st_size == pytest.approx(values / 2, rel=0.1)


def test_digest_tells_files_apart(tmp_path: Path) -> None:
    first, second, config = tmp_path / "a.safetensors", tmp_path / "b.safetensors", _small()
    arrays = _arrays(config)
    save_weights(first, arrays, config, _FACTS)
    save_weights(second, arrays, config, dataclasses.replace(_FACTS, steps=1201))
    assert load_weights(first).digest == load_weights(first).digest
    assert load_weights(first).digest != load_weights(second).digest
    assert len(load_weights(first).digest) == 12


def _header(**changes: Any) -> dict[str, str]:
    header = {
        "format": 1,
        "network": "Alen",
        "config": dataclasses.asdict(_small()),
        "facts": dataclasses.asdict(_FACTS),
    }
    return {"alen": json.dumps(header | changes)}


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        (None, "without the header"),
        ({"format": "pt"}, "without the header"),
        ({"alen": "not JSON"}, "cannot be understood"),
        ({"alen": "{}"}, "cannot be understood"),
        (_header(format=5), "header format 5; this version of alen reads up to 4"),
        (_header(network="Gpt"), "cannot be understood"),
        (_header(config={"depth": 3}), "cannot be understood"),
        (_header(config={"widths": [3, 5]}), "cannot be understood"),
        (_header(facts={}), "cannot be understood"),
        (_header(facts=[1]), "cannot be understood"),
        (_header(config=["widths"]), "cannot be understood"),
        (_header(config=None), "cannot be understood"),
        (_header(planes="RGGB"), "cannot be understood"),
        ({"alen": "[" * 100_000}, "cannot be understood"),
        (_header(config={"key_grid": 16.0}), "key_grid is a whole number"),
        (_header(planes=["R", "Gr", "B", "Gb"]), "in the order R, Gr, B, Gb; alen packs R, Gr, Gb, B"),
    ],
)
def test_headers_that_are_not_ours(tmp_path: Path, metadata: dict[str, str] | None, message: str) -> None:
    path = tmp_path / "other.safetensors"
    save_file({"x": np.zeros(3, np.float32)}, path, metadata=metadata)
    with pytest.raises(WeightsError, match=message) as caught:
        load_weights(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("config", [AlenConfig.fast(), AlenConfig.shipped()], ids=["alen-fast", "alen"])
def test_one_mixture_of_the_first_format_becomes_two_alike(tmp_path: Path, config: AlenConfig) -> None:
    """Files of before luma and color had shares of their own: every pixel of a position keeps its channels."""
    path, unshuffled, painted = tmp_path / "old.safetensors", config.unshuffle**2, config.picture_channels
    rng = np.random.default_rng(0)
    head = rng.normal(size=((painted + 7) * unshuffled, config.widths[0], 1, 1)).astype(np.float32)
    settings = dataclasses.asdict(config) | {"base": "mixture"}
    arrays = _arrays(config) | {"head.weight": head, "head.bias": np.ascontiguousarray(head[:, 0, 0, 0])}
    save_file(arrays, path, metadata=_header(format=1, config=settings))
    loaded = load_weights(path)
    assert loaded.config == config
    weight = loaded.arrays["head.weight"].reshape(config.head_channels, unshuffled, -1)
    before = head.reshape(painted + 7, unshuffled, -1)
    np.testing.assert_array_equal(weight[: painted + 7], before)
    np.testing.assert_array_equal(weight[painted + 7 :], before[painted:])
    assert loaded.arrays["head.bias"].shape == (config.head_channels * unshuffled,)


@pytest.mark.parametrize("length", [0, 5, 100, -4])
def test_cut_off_files(tmp_path: Path, length: int) -> None:
    path, config = tmp_path / "cut.safetensors", _small()
    save_weights(path, _arrays(config), config, _FACTS)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(WeightsError, match="not a readable safetensors file"):
        load_weights(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"head.bias": None}, "missing keys: head.bias"),
        ({"more": np.zeros(3, np.float32)}, "unknown keys: more"),
        ({"head.bias": np.zeros(3, np.float32)}, r"head.bias has the shape \(3,\), but the network's is \("),
        ({"up0.bias": np.full(4, np.nan, np.float32)}, r"not finite numbers \(up0.bias\)"),
    ],
)
def test_tensors_that_are_not_those_of_the_network(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    """They would be found out in the first frame, by errors that tell of something else."""
    path, config = tmp_path / "other.safetensors", _small()
    arrays = {name: array for name, array in (_arrays(config) | change).items() if array is not None}
    save_weights(path, arrays, config, _FACTS)
    with pytest.raises(WeightsError, match=rf"other\.safetensors: .*{message}"):
        load_weights(path)


def test_a_pickle_is_not_opened(tmp_path: Path) -> None:
    path = tmp_path / "model.pth"
    path.write_bytes(b"\x80\x04\x95" + bytes(200))
    with pytest.raises(WeightsError, match="not a readable safetensors file"):
        load_weights(path)


def test_missing_files(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no such weights file"):
        load_weights(tmp_path / "none.safetensors")
    with pytest.raises(WeightsError, match="neither a weights file nor one of the shipped weights"):
        find_weights("no-such-weights")
    with pytest.raises(WeightsError, match="neither a weights file nor one of the shipped weights"):
        find_weights("x" * 5000)


def test_weights_are_found_by_path(tmp_path: Path) -> None:
    path = tmp_path / "any.safetensors"
    path.touch()
    assert find_weights(str(path)) == path


def test_shipped_weights_fit_their_network() -> None:
    for name in shipped_names():
        weights = load_weights(find_weights(name))
        assert weights.name == name
        shapes = {key: array.shape for key, array in weights.arrays.items()}
        assert shapes == {key: array.shape for key, array in _arrays(weights.config).items()}
        assert all(np.isfinite(array).all() for array in weights.arrays.values())


@pytest.mark.parametrize(
    ("metadata", "message"), [({}, "without the header"), ({"alen": "{}"}, "(of a type that is|header cannot be)")]
)
def test_a_type_that_numpy_has_not_is_refused(tmp_path: Path, metadata: dict[str, str], message: str) -> None:
    """Other libraries may have taught numpy the type; then what is wrong is the header."""
    path = tmp_path / "bf16.safetensors"
    save_torch_file({"a": torch.ones(2, dtype=torch.bfloat16)}, path, metadata=metadata)
    with pytest.raises(WeightsError, match=rf"bf16\.safetensors: .*{message}"):
        load_weights(path)

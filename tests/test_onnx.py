"""The ONNX file against the networks in torch, in ONNX Runtime and in OpenVINO: every configuration, many sizes."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import tifffile
import torch
from numpy.typing import NDArray
from torch import nn

from alen.cli import main
from alen.config import AlenConfig, SidUnetConfig
from alen.enhance import Enhancer
from alen.metrics import psnr
from alen.models.alen import Alen
from alen.models.layers import eotf_srgb
from alen.models.sid_unet import SidUnet
from alen.onnx_file import build_onnx
from alen.openvino_runtime import ov
from alen.raw import read_raw
from alen.sample import make_sample
from alen.weights import TrainingFacts, Weights, find_weights, load_weights

_SMALL = (8, 8, 12, 16)
_CONFIGS: dict[str, AlenConfig | SidUnetConfig] = {
    "shipped": AlenConfig.shipped(),
    "paper": AlenConfig(widths=_SMALL),
    "not unshuffled": dataclasses.replace(AlenConfig.shipped(), widths=_SMALL, unshuffle=1),
    "unshuffled, paper": AlenConfig(widths=_SMALL, unshuffle=2),
    "demosaicked base": dataclasses.replace(
        AlenConfig.shipped(), widths=_SMALL, base="demosaic", demosaicking="formulas"
    ),
    "max": AlenConfig(widths=_SMALL, downsample="max"),
    "strided": AlenConfig(widths=_SMALL, downsample="strided"),
    "no attention": AlenConfig(widths=_SMALL, channel_attention=False, spatial_attention=False),
    "gaussian": AlenConfig(widths=_SMALL, pairwise="gaussian"),
    "dot product": AlenConfig(widths=_SMALL, pairwise="dot_product"),
    "concatenation": AlenConfig(widths=_SMALL, pairwise="concatenation"),
    "X-Trans": dataclasses.replace(AlenConfig.xtrans(), widths=_SMALL),
    "X-Trans, paper": AlenConfig(widths=_SMALL, cfa="xtrans", target="camera"),
    "U-Net": SidUnetConfig(widths=(4, 4, 8, 8, 8)),
    "U-Net, X-Trans": SidUnetConfig(widths=(4, 4, 8, 8, 8), cfa="xtrans", up_bias=True, target="camera"),
}
_SIZES = [(8, 8), (19, 23), (40, 56), (53, 90)]


def _network(config: AlenConfig | SidUnetConfig) -> nn.Module:
    """Return a network in which every parameter has a say: what starts at zero is drawn, too."""
    torch.manual_seed(0)
    network = Alen(config) if isinstance(config, AlenConfig) else SidUnet(config)
    with torch.no_grad():
        for p in network.parameters():
            if not p.any():
                p.normal_(std=0.2 / max(p.shape[-1], 1) ** 0.5)
    return network.eval()


def _weights(network: nn.Module) -> Weights:
    arrays = {name: value.numpy() for name, value in network.state_dict().items()}
    config: Any = network.config
    return Weights("test", "0" * 12, config, arrays, TrainingFacts(steps=0, photographs=0))


def _planes(config: AlenConfig | SidUnetConfig, height: int, width: int) -> NDArray[np.float32]:
    """Return signed, noisy planes with a lamp far above white."""
    rng = np.random.default_rng(5)
    if config.cfa == "xtrans":  # whole patterns
        height, width = height // 2 * 2, width // 2 * 2
    planes = rng.normal(0.3, 0.2, (1, config.plane_count, height, width)).astype(np.float32)
    planes[:, :, 2:4, 3:6] += 20
    return planes


def _expected(network: nn.Module, planes: NDArray[np.float32]) -> NDArray[np.float32]:
    with torch.inference_mode():
        picture = network(torch.from_numpy(planes))
        if network.config.target == "camera":  # type: ignore[union-attr]
            picture = eotf_srgb(picture)
    return np.asarray(picture)


@pytest.mark.parametrize("name", list(_CONFIGS))
def test_onnx_runtime_and_torch_agree(name: str) -> None:
    network = _network(_CONFIGS[name])
    model = build_onnx(_weights(network)).SerializeToString()
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    for size in _SIZES:
        planes = _planes(_CONFIGS[name], *size)
        expected = _expected(network, planes)
        (picture,) = session.run(["picture"], {"planes": planes})
        assert picture.shape == expected.shape
        assert psnr(picture[0], expected[0], data_range=float(np.abs(expected).max())) >= 90


@pytest.mark.parametrize("name", ["shipped", "paper", "X-Trans", "U-Net"])
def test_openvino_and_torch_agree(name: str, tmp_path: Path) -> None:
    network = _network(_CONFIGS[name])
    path = tmp_path / "model.onnx"
    onnx.save(build_onnx(_weights(network)), path)
    core = ov.Core()
    compiled = core.compile_model(core.read_model(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    for size in _SIZES:
        planes = _planes(_CONFIGS[name], *size)
        expected = _expected(network, planes)
        picture = compiled([planes])[0]
        assert picture.shape == expected.shape
        assert psnr(picture[0], expected[0], data_range=float(np.abs(expected).max())) >= 60


def test_the_command_writes_a_file_that_explains_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "new" / "alen.onnx"
    assert main(["export", "-o", str(path)]) == 0
    weights = load_weights(find_weights("alen"))
    assert weights.digest in capsys.readouterr().out
    model = onnx.load(path)
    said = {entry.key: entry.value for entry in model.metadata_props}
    assert said["planes"] == "R, Gr, Gb, B"
    assert said["input"] == "linear, white-balanced, times exposure ratio, signed"
    assert said["output"].startswith("linear camera RGB")
    assert (said["target"], said["licence"], said["digest"]) == ("camera", "Apache-2.0", weights.digest)
    assert json.loads(said["config"])["base"] == "mixtures"
    assert [entry.name for entry in (*model.graph.input, *model.graph.output)] == ["planes", "picture"]
    assert list(path.parent.iterdir()) == [path]

    before = path.read_bytes()
    assert main(["export", "-o", str(path)]) != 0
    assert "--force" in capsys.readouterr().err
    assert path.read_bytes() == before
    assert main(["export", "-o", str(path), "--force"]) == 0
    assert path.read_bytes() == before
    assert main(["export", "-o", str(tmp_path / "model.xml")]) != 0
    assert ".onnx" in capsys.readouterr().err


def test_the_lines_of_the_page_do_what_the_enhancer_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parents[1] / "docs" / "onnx.md").read_text(encoding="utf-8")
    (lines,) = re.findall(r"^```python run\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert "alen." not in lines.replace("alen.onnx", "")
    monkeypatch.chdir(tmp_path)
    sample = make_sample(tmp_path / "night.dng", height=96, width=128)
    assert main(["export", "-o", "alen.onnx"]) == 0
    exec(compile(lines, "docs/onnx.md", "exec"), {})  # our own page
    alone = Enhancer(precision="float32", recover=False)
    expected = alone.enhance(read_raw(sample.raw), ratio=100).linear
    picture = tifffile.imread("night.tif")
    assert picture.shape == expected.shape
    assert psnr(picture, expected, data_range=1.0) >= 60

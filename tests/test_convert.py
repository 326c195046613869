"""Converted weights compute what the original formula does, and what is not a state dict is refused."""

from __future__ import annotations

import stat
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_torch_file
from torch import Tensor

from alen.cli import main
from alen.config import AlenConfig, SidUnetConfig
from alen.convert import convert_alen, convert_sid_unet, read_state_dict
from alen.errors import WeightsError
from alen.models.alen import Alen
from alen.models.sid_unet import SidUnet
from alen.weights import load_weights

_WIDTHS = (4, 4, 6, 8, 8)
_PLANES = {12: 4, 27: 9}


def _port(channels: int = 12, *, bias: bool = True) -> dict[str, NDArray[np.float32]]:
    """Make up the state dict of a PyTorch port."""
    rng, arrays = np.random.default_rng(channels), {}

    def layer(name: str, *shape: int, has_bias: bool = True) -> None:
        scale = (2 / np.prod(shape[1:])) ** 0.5
        arrays[f"{name}.weight"] = (scale * rng.standard_normal(shape)).astype(np.float32)
        if has_bias:
            count = shape[1] if name.startswith("upv") else shape[0]
            arrays[f"{name}.bias"] = (0.1 * rng.standard_normal(count)).astype(np.float32)

    before = _PLANES[channels]
    for number, width in enumerate(_WIDTHS, start=1):
        layer(f"conv{number}_1", width, before, 3, 3)
        layer(f"conv{number}_2", width, width, 3, 3)
        before = width
    for number, width in zip((6, 7, 8, 9), reversed(_WIDTHS[:-1]), strict=True):
        layer(f"upv{number}", before, width, 2, 2, has_bias=bias)
        layer(f"conv{number}_1", width, 2 * width, 3, 3)
        layer(f"conv{number}_2", width, width, 3, 3)
        before = width
    layer("conv10_1", channels, before, 1, 1)
    return arrays


def _tensorflow(port: dict[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
    """Return the same layers as the authors' variables, with what their optimizer keeps."""
    arrays: dict[str, NDArray[np.float32]] = {"beta1_power": np.float32(0.5) * np.ones((), np.float32)}
    for name, array in port.items():
        layer, kind = name.split(".")
        kernel = array.transpose(2, 3, 1, 0) if array.ndim == 4 else array
        if layer.startswith("upv"):
            number = int(layer[3]) - 6
            arrays["Variable" + f"_{number}" * (number > 0)] = kernel
        else:
            scope = "g_conv10" if layer == "conv10_1" else f"g_{layer}"
            arrays[f"{scope}/{'weights' if kind == 'weight' else 'biases'}"] = kernel
            arrays[f"{scope}/{'weights' if kind == 'weight' else 'biases'}/Adam_1"] = kernel
    return arrays


def _original(arrays: dict[str, NDArray[np.float32]], planes: Tensor) -> Tensor:
    """The head's channels as the port computes them, layer by layer, from planes in See-in-the-Dark's order."""
    w = {name: torch.from_numpy(array) for name, array in arrays.items()}

    def pair(x: Tensor, number: int) -> Tensor:
        for k in (1, 2):
            x = F.conv2d(x, w[f"conv{number}_{k}.weight"], w[f"conv{number}_{k}.bias"], padding=1)
            x = torch.max(0.2 * x, x)
        return x

    skips, x = [], planes
    for number in range(1, 5):
        skips.append(pair(x, number))
        x = F.max_pool2d(skips[-1], 2)
    x = pair(x, 5)
    for number in range(6, 10):
        x = F.conv_transpose2d(x, w[f"upv{number}.weight"], w.get(f"upv{number}.bias"), stride=2)
        x = pair(torch.cat([x, skips.pop()], dim=1), number)
    return F.conv2d(x, w["conv10_1.weight"], w["conv10_1.bias"])


def _depth_to_space(x: Tensor, side: int) -> Tensor:
    """TensorFlow's: channel 3·(side·y + x) + c becomes color c of pixel (y, x)."""
    n, _, h, w = x.shape
    blocks = x.reshape(n, side, side, 3, h, w).permute(0, 3, 4, 1, 5, 2)
    return blocks.reshape(n, 3, side * h, side * w)


def _converted(arrays: dict[str, NDArray[np.float32]], **settings: Any) -> SidUnet:
    ours, config = convert_sid_unet(arrays, **settings)
    network = SidUnet(config)
    network.load_state_dict({name: torch.from_numpy(array) for name, array in ours.items()})
    return network


def _planes(count: int) -> Tensor:
    return torch.rand((2, count, 32, 48), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("bias", [True, False])
def test_a_port_on_our_planes_is_the_original_on_its_own(bias: bool) -> None:
    port, theirs = _port(bias=bias), _planes(4)
    network = _converted(port, plane_order="sid")
    assert network.config == SidUnetConfig(widths=_WIDTHS, input_levels="sid", up_bias=bias)
    with torch.inference_mode():
        expected = F.pixel_shuffle(_original(port, theirs), 2)
        torch.testing.assert_close(network(theirs[:, [0, 1, 3, 2]]), expected)
        in_our_order = _converted(port, plane_order="ours")
        torch.testing.assert_close(in_our_order(theirs), expected)


@pytest.mark.parametrize(("channels", "side"), [(12, 2), (27, 3)])
def test_the_authors_variables_on_our_planes_are_the_original_on_theirs(channels: int, side: int) -> None:
    port, theirs = _port(channels, bias=False), _planes(_PLANES[channels])
    network = _converted(_tensorflow(port), plane_order="sid")
    assert network.config.cfa == {2: "bayer", 3: "xtrans"}[side]
    with torch.inference_mode():
        expected = _depth_to_space(_original(port, theirs), side)
        torch.testing.assert_close(network(theirs[:, [0, 1, 3, 2]] if side == 2 else theirs), expected)


@pytest.mark.parametrize("gated", [True, False])
def test_the_attention_network_on_other_planes(gated: bool) -> None:
    torch.manual_seed(0)
    config = AlenConfig(widths=(4, 4, 8, 8), channel_attention=gated)
    original = Alen(config)
    arrays = {name: value.numpy() for name, value in original.state_dict().items()}
    ours, _ = convert_alen(arrays, config, plane_order="sid")
    network = Alen(config)
    network.load_state_dict({name: torch.from_numpy(array) for name, array in ours.items()})
    theirs = _planes(4)
    with torch.inference_mode():
        torch.testing.assert_close(network(theirs[:, [0, 1, 3, 2]]), original(theirs))


def test_unknown_and_missing_keys_are_named() -> None:
    port = _port()
    with pytest.raises(WeightsError, match=r"Unknown keys.*: conv11_1\.weight, fc\.bias"):
        convert_sid_unet(port | {"fc.bias": np.zeros(3), "conv11_1.weight": np.zeros(3)}, plane_order="sid")
    with pytest.raises(WeightsError, match=r"missing keys: decode1\.conv2\.bias"):
        convert_sid_unet({n: a for n, a in port.items() if n != "conv8_2.bias"}, plane_order="sid")
    with pytest.raises(WeightsError, match=r"conv3_1|encode2\.conv1\.weight missing"):
        convert_sid_unet({n: a for n, a in port.items() if n != "conv3_1.weight"}, plane_order="sid")
    with pytest.raises(WeightsError, match=r"decode2\.conv1\.weight has the shape"):
        convert_sid_unet(port | {"conv7_1.weight": np.zeros((6, 9, 3, 3), np.float32)}, plane_order="sid")
    with pytest.raises(WeightsError, match="unknown keys: extra"):
        convert_alen({"extra": np.zeros(3, np.float32)}, AlenConfig(), plane_order="ours")


@pytest.mark.parametrize("suffix", [".safetensors", ".npz", ".pth"])
def test_the_command(suffix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    port, source, output = _port(), tmp_path / f"port{suffix}", tmp_path / "sid.safetensors"
    match suffix:
        case ".safetensors":
            save_file(port, source)
        case ".npz":
            np.savez(source, **port)  # type: ignore[arg-type]
        case ".pth":
            torch.save({f"module.{name}": torch.from_numpy(array) for name, array in port.items()}, source)
    assert main(["convert", str(source), "-o", str(output), "--network", "sid-unet", "--plane-order", "sid"]) == 0
    assert stat.S_IMODE(output.stat().st_mode) == stat.S_IMODE(_touched(tmp_path / "ordinary").stat().st_mode)
    count = sum(array.size for array in port.values())
    assert capsys.readouterr().out == f"{output}: {count:,} weights of SidUnet, filter array bayer\n"
    weights = load_weights(output)
    expected, config = convert_sid_unet(port, plane_order="sid")
    assert weights.config == config
    for name, array in expected.items():
        np.testing.assert_array_equal(weights.arrays[name], array)


def _touched(path: Path) -> Path:
    path.touch()
    return path


def test_the_command_replaces_nothing_unasked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "port.safetensors"
    save_file(_port(), source)
    command = ["convert", str(source), "--plane-order", "sid", "-o"]
    raw = _touched(tmp_path / "night.dng")
    assert main([*command, str(raw)]) == 2
    assert "ends in .safetensors" in capsys.readouterr().err
    there = _touched(tmp_path / "there.safetensors")
    assert main([*command, str(there)]) == 1
    assert "is there already" in capsys.readouterr().err
    assert raw.read_bytes() == there.read_bytes() == b""
    assert main([*command, str(there), "--force"]) == 0
    assert main([*command, str(tmp_path / "new" / "sid.safetensors")]) == 0
    assert main([*command, str(raw / "sid.safetensors")]) == 1
    assert "cannot be written" in capsys.readouterr().err


class Harmful:
    """Something that would run code when unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("unpickled",))


def test_nothing_is_unpickled(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"conv1_1.weight": Harmful()}, tmp_path / "a.pth")
    np.savez(tmp_path / "b.npz", x=np.array([Harmful()], dtype=object))
    (tmp_path / "c.safetensors").write_bytes(b"nothing")
    (tmp_path / "d.pth").write_bytes(b"nothing")
    torch.save([1, 2], tmp_path / "e.pth")
    for file in sorted(tmp_path.iterdir()):
        with pytest.raises(WeightsError, match=file.name):
            read_state_dict(file)
    for name in ("none.pth", "a.h5"):
        with pytest.raises(WeightsError, match=name):
            read_state_dict(tmp_path / name)
    assert "unpickled" not in capsys.readouterr().out


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_every_floating_point_type_is_read(dtype: torch.dtype, suffix: str, tmp_path: Path) -> None:
    tensors = {"conv.weight": torch.randn(3, 4).to(dtype)}
    path = tmp_path / f"port{suffix}"
    if suffix == ".pth":
        torch.save(tensors, path)
    else:
        save_torch_file(tensors, path)
    found = read_state_dict(path)["conv.weight"]
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, tensors["conv.weight"].float().numpy())


def test_parameters_and_suffixes_in_capitals_are_read(tmp_path: Path) -> None:
    path = tmp_path / "PORT.PTH"
    torch.save({"a": torch.nn.Parameter(torch.ones(2))}, path)
    np.testing.assert_array_equal(read_state_dict(path)["a"], [1, 1])


def test_what_only_has_the_suffix_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.pth").write_bytes(b"hello world, this is no pickle")
    (tmp_path / "b.pth").write_bytes(b"")
    with (tmp_path / "c.npz").open("wb") as file:
        np.save(file, np.zeros(3))
    with zipfile.ZipFile(tmp_path / "d.npz", "w") as archive:
        archive.writestr("notes.txt", "no array")
    save_torch_file({"steps": torch.tensor([3])}, tmp_path / "e.safetensors")
    for file_path in sorted(tmp_path.iterdir()):
        with pytest.raises(WeightsError, match=file_path.name):
            read_state_dict(file_path)


def test_without_torch_it_says_what_needs_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    assert main(["convert", "w.pth", "-o", str(tmp_path / "w.safetensors"), "--plane-order", "sid"]) == 1
    assert capsys.readouterr().err.startswith("error: Converting weights needs torch, which is not installed.")

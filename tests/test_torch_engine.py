"""The torch engine: bands against the plain network and against each other, memory, devices."""

import dataclasses
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from numpy.typing import NDArray
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

from alen import doctor
from alen.cfa import CFA
from alen.cli import main
from alen.color import eotf_inverse_srgb
from alen.config import AlenConfig, SidUnetConfig
from alen.dng import write_cfa_dng
from alen.engines import PlanesArray, torch_bands
from alen.engines.torch import TorchEngine, available_devices
from alen.engines.torch_bands import FIRST_BYTES, BandedAlen, first_features_bytes, kept_bytes
from alen.enhance import make_engine
from alen.errors import DeviceError, WeightsError
from alen.metrics import psnr
from alen.models.alen import Alen
from alen.models.sid_unet import SidUnet
from alen.weights import TrainingFacts, Weights, save_weights

_SMALL = dataclasses.replace(AlenConfig.shipped(), widths=(4, 8, 8, 16), unshuffle=1)
_PAPER = AlenConfig(widths=(4, 8, 8, 16))
_CONFIGS = {
    "shipped": dataclasses.replace(_SMALL, unshuffle=2),
    "not unshuffled": _SMALL,
    "paper": _PAPER,
    "unshuffled, paper": dataclasses.replace(_PAPER, unshuffle=2),
    "demosaicked base": dataclasses.replace(_SMALL, base="demosaic", demosaicking="formulas"),
    "max": dataclasses.replace(_SMALL, downsample="max"),
    "strided": dataclasses.replace(_SMALL, downsample="strided"),
    "no gates": dataclasses.replace(_SMALL, channel_attention=False),
    "no spatial attention": dataclasses.replace(_SMALL, spatial_attention=False),
    "gaussian": dataclasses.replace(_PAPER, pairwise="gaussian"),
    "dot product": dataclasses.replace(_SMALL, pairwise="dot_product", attention_limit=None),
    "concatenation": dataclasses.replace(_PAPER, pairwise="concatenation"),
    "X-Trans": dataclasses.replace(AlenConfig.xtrans(), widths=(4, 8, 8, 16)),
    "X-Trans, paper": dataclasses.replace(_PAPER, cfa="xtrans"),
}
_SIZES = [(72, 40), (104, 24)]
"""Of the input stack; the deepest levels are 9 × 5 and 13 × 3."""

every_config = pytest.mark.parametrize("config", _CONFIGS.values(), ids=_CONFIGS.keys())


def _network(config: AlenConfig) -> Alen:
    """Return a network in which every parameter has a say: what starts at zero is drawn, too."""
    torch.manual_seed(0)
    network = Alen(config)
    with torch.no_grad():
        for p in network.parameters():
            if not p.any():
                p.normal_(std=0.2 / max(p.shape[-1], 1) ** 0.5)
    return network.eval()


def _weights(network: Alen | SidUnet) -> Weights:
    arrays = {name: value.numpy() for name, value in network.state_dict().items()}
    return Weights("test", "0" * 12, network.config, arrays, TrainingFacts(steps=0, photographs=0))


def _planes(config: AlenConfig | SidUnetConfig, height: int, width: int) -> NDArray[np.float32]:
    """Return signed, noisy planes with a lamp far above white."""
    rng = np.random.default_rng(5)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    scene = 0.3 + 0.3 * np.sin(x / 9) * np.cos(y / 7) + rng.normal(0, 0.2, (config.plane_count, height, width))
    scene[:, height // 2, width // 3] = 40
    return scene.astype(np.float32)


def _plain(network: Alen | SidUnet, planes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the display-encoded picture of the network itself."""
    with torch.inference_mode():
        picture = network(torch.from_numpy(planes)[None])[0].permute(1, 2, 0)
    return np.ascontiguousarray(picture.numpy())


def _banded(
    network: Alen, planes: NDArray[np.float32], dtype: torch.dtype, band: int, first_bytes: int = FIRST_BYTES
) -> NDArray[np.float32]:
    pieces = BandedAlen(network, dtype, band=band, first_bytes=first_bytes).pictures(PlanesArray(planes))
    return np.ascontiguousarray(torch.cat(list(pieces), dim=2)[0].permute(1, 2, 0).numpy())


@every_config
def test_bands_are_the_plain_network(config: AlenConfig) -> None:
    network = _network(config)
    for height, width in _SIZES:
        planes = _planes(config, config.unshuffle * height, config.unshuffle * width)
        expected = _plain(network, planes)
        for band, first_bytes in ((10**9, FIRST_BYTES), (700, 0)):
            picture = _banded(network, planes, torch.float32, band, first_bytes)
            assert picture.shape == expected.shape
            assert psnr(picture, expected, data_range=1.0) >= 100


@every_config
def test_in_bfloat16_bands_are_near_the_plain_network(config: AlenConfig) -> None:
    network = _network(config)
    planes = _planes(config, config.unshuffle * 72, config.unshuffle * 40)
    assert psnr(_banded(network, planes, torch.bfloat16, 700), _plain(network, planes), data_range=1.0) >= 50


@every_config
@pytest.mark.parametrize(("dtype", "least_db"), [(torch.float32, 100), (torch.bfloat16, 60)])
def test_the_size_of_the_bands_does_not_matter(config: AlenConfig, dtype: torch.dtype, least_db: float) -> None:
    """Whole frames, bands of four rows and others; nor does it matter whether first features are made twice."""
    network = _network(config)
    for height, width in _SIZES:
        planes = _planes(config, config.unshuffle * height, config.unshuffle * width)
        whole = _banded(network, planes, dtype, 10**9)
        for band, first_bytes in ((1, 0), (500, FIRST_BYTES)):
            assert psnr(_banded(network, planes, dtype, band, first_bytes), whole, data_range=1.0) >= least_db


@pytest.mark.parametrize("unshuffle", [1, 2])
@pytest.mark.parametrize("size", [(1, 1), (9, 70), (61, 35)])
def test_any_size(unshuffle: Any, size: tuple[int, int]) -> None:
    network = _network(dataclasses.replace(_SMALL, unshuffle=unshuffle))
    planes = _planes(network.config, *size)
    picture = TorchEngine(_weights(network), band=300).run(planes)
    assert picture.shape == (2 * size[0], 2 * size[1], 3)
    assert picture.dtype == np.float32
    assert psnr(eotf_inverse_srgb(picture), _plain(network, planes), data_range=1.0) >= 100


def test_long_frames_meet_averages_of_every_side() -> None:
    network = _network(_SMALL)
    planes = _planes(_SMALL, 208, 24)
    assert psnr(_banded(network, planes, torch.float32, 1), _plain(network, planes), data_range=1.0) >= 100


def test_highlights_have_no_steps_of_bfloat16() -> None:
    """A ramp above white, through the base alone: the last layer and the mixture are float32."""
    network = Alen(_SMALL).eval()
    with torch.no_grad():
        network.head.weight.zero_()
        network.head.bias.zero_()
        network.head.bias[12:15] = 30.0  # the share of the demosaicked pictures
    ramp = np.broadcast_to(np.linspace(4, 5, 64, dtype=np.float32), (4, 16, 64))
    picture = TorchEngine(_weights(network), precision="bfloat16").run(np.ascontiguousarray(ramp))
    expected = TorchEngine(_weights(network), precision="float32").run(np.ascontiguousarray(ramp))
    np.testing.assert_allclose(picture, expected, rtol=1e-5)
    assert len(np.unique(picture[8, 8:-8, 1])) > 100


def test_stripes_are_the_picture() -> None:
    engine = TorchEngine(_weights(_network(_SMALL)), band=700)
    planes = _planes(_SMALL, 88, 24)
    shares: list[float] = []
    stripes = list(engine.stripes(PlanesArray(planes), shares.append))
    assert len(stripes) > 1
    np.testing.assert_array_equal(np.concatenate(stripes), engine.run(planes))
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1)


def test_pieces_are_as_small_as_asked_for() -> None:
    """Also those of a network that makes four packed pixels at a time."""
    for config in (_SMALL, _CONFIGS["shipped"]):
        planes = PlanesArray(_planes(config, 96, 32))
        pieces = BandedAlen(_network(config), torch.float32, band=32 * 8).pictures(planes)
        assert [piece.shape[2] for piece in pieces] == [16] * 12


def test_memory_grows_with_the_frame_and_not_with_its_square() -> None:
    config = AlenConfig(widths=(32, 64, 128, 256))
    kept = 2 * 12_000_000 * (64 / 4 + 64 / 16 + 64 / 64 + 128 / 16 + 128 / 64)  # 15.5 bytes per pixel of the mosaic
    assert kept_bytes(config, 3000, 4000, torch.bfloat16) == kept
    assert kept_bytes(config, 6000, 4000, torch.bfloat16) == 2 * kept
    assert kept_bytes(config, 3000, 4000, torch.float32) == 2 * kept
    unshuffled = dataclasses.replace(config, unshuffle=2)
    assert kept_bytes(unshuffled, 6000, 8000, torch.bfloat16) == kept
    small = kept_bytes(config, 300, 400, torch.bfloat16)
    assert small == kept / 100 + first_features_bytes(config, 300, 400, torch.bfloat16)


class _Living(TorchDispatchMode):
    """Counts the bytes of the tensors that are there at the same time."""

    def __init__(self) -> None:
        super().__init__()
        self._known: dict[int, tuple[StorageWeakRef, int]] = {}
        self._total = 0
        self.most = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor):
            storage = result.untyped_storage()
            if storage._cdata not in self._known:
                self._known[storage._cdata] = StorageWeakRef(storage), storage.nbytes()
                self._total += storage.nbytes()
        if self._total > self.most:  # only then it matters what has gone
            self._known = {key: entry for key, entry in self._known.items() if not entry[0].expired()}
            self._total = sum(count for _, count in self._known.values())
            self.most = max(self.most, self._total)
        return result


@pytest.mark.parametrize(("unshuffle", "dtype"), [(1, torch.bfloat16), (2, torch.float32)])
def test_memory_is_bounded_as_forecast(unshuffle: Any, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice the rows take no more memory than the features and averages that are said to be kept."""
    monkeypatch.setattr(torch_bands, "_SURVEYED", 1)
    config = dataclasses.replace(_SMALL, unshuffle=unshuffle, widths=(16, 32, 64, 128))
    network = _network(config)
    most, kept = [], []
    for height in (96 * unshuffle, 192 * unshuffle):
        planes = _planes(config, height, 64 * unshuffle)
        banded = BandedAlen(network, dtype, band=64 * 8, first_bytes=0)
        with _Living() as living:
            for _ in banded.pictures(PlanesArray(planes)):
                pass
        most.append(living.most)
        first = first_features_bytes(config, height // unshuffle, 64, dtype)
        kept.append(kept_bytes(config, *planes.shape[1:], dtype) - first)
    assert most[1] - most[0] <= 1.1 * (kept[1] - kept[0])
    assert kept[1] < most[1]


def test_other_networks_run_on_the_whole_frame() -> None:
    torch.manual_seed(0)
    config = SidUnetConfig(widths=(4, 4, 8, 8, 8))
    network = SidUnet(config).eval()
    planes = _planes(config, 40, 24)
    engine = TorchEngine(_weights(network))
    (stripe,) = engine.stripes(PlanesArray(planes))
    assert psnr(eotf_inverse_srgb(stripe), _plain(network, planes), data_range=1.0) >= 100
    np.testing.assert_array_equal(engine.run(planes), stripe)
    assert engine.needed_bytes(80, 48) > engine.needed_bytes(40, 24)


def test_devices_that_are_not_there_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    weights = _weights(_network(_SMALL))
    for device in ("cuda", "cuda:1", "mps", "CUDA"):
        with pytest.raises(DeviceError, match=rf"The device {device.lower()} is not there. torch finds: none but the"):
            make_engine(weights, device=device, precision="auto", threads=None)
    for device in ("cuda:x", "mps:0:1"):
        with pytest.raises(DeviceError, match="none that torch knows"):
            make_engine(weights, device=device, precision="auto", threads=None)
    assert list(available_devices()) == ["torch"]


def test_the_name_of_a_device_tells_the_engine() -> None:
    weights = _weights(_network(_SMALL))
    for device, description in (("torch", "torch 2"), ("Torch", "torch 2"), ("CPU", "OpenVINO 2")):
        engine = make_engine(weights, device=device, precision="float32", threads=None)
        assert engine.description.startswith(description)
        assert engine.description.endswith((" cpu, float32", " CPU, float32"))
    with pytest.raises(DeviceError, match=r"The device TOASTER is not there. OpenVINO finds:"):
        make_engine(weights, device="TOASTER", precision="auto", threads=None)


def test_networks_that_raw_files_are_not_made_for_are_refused() -> None:
    weights = _weights(_network(dataclasses.replace(_SMALL, input_levels="sid")))
    with pytest.raises(WeightsError, match="test: made for sid levels"):
        make_engine(weights, device="torch", precision="auto", threads=None)


def test_without_torch_its_devices_say_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    weights = _weights(_network(_SMALL))
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "alen.engines.torch")
    with pytest.raises(DeviceError, match=r"The device cuda needs torch.*pip install 'alen\[train\]'"):
        make_engine(weights, device="cuda", precision="auto", threads=None)
    assert make_engine(weights, device="CPU", precision="float32", threads=1).description.startswith("OpenVINO")
    assert [device.name for device in doctor.devices() if device.name == "torch"] == []


def test_the_doctor_lists_the_devices_of_torch() -> None:
    found = [device.name for device in doctor.devices()]
    assert "CPU" in found
    assert "torch" in found


def test_pictures_of_both_engines_are_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the command line; frames that need more memory than allowed are refused."""
    monkeypatch.chdir(tmp_path)
    _dark(tmp_path / "in.dng")
    arrays = {name: value.numpy() for name, value in _network(_SMALL).state_dict().items()}
    save_weights(tmp_path / "small.safetensors", arrays, _SMALL, TrainingFacts(steps=0, photographs=0))
    common = ["enhance", "in.dng", "--linear", "--ratio", "50", "--model", "small.safetensors"]
    assert main([*common, "--device", "torch", "-o", "torch.tif"]) == 0
    assert main([*common, "--precision", "float32", "-o", "openvino.tif"]) == 0
    pictures = [tifffile.imread(f"{name}.tif") for name in ("torch", "openvino")]
    assert pictures[0].shape == (61, 90, 3)
    assert psnr(*(eotf_inverse_srgb(picture) for picture in pictures), data_range=1.0) >= 100
    capsys.readouterr()
    assert main([*common, "--device", "torch", "-o", "a.tif", "--max-memory", "0.1"]) == 1
    assert "in.dng: 0 megapixels need about 0." in capsys.readouterr().err
    assert main([*common, "--device", "cuda:99", "-o", "a.tif"]) == 1
    assert "The device cuda:99 is not there. torch finds: " in capsys.readouterr().err
    assert not (tmp_path / "a.tif").exists()


def _dark(path: Path) -> None:
    """Write a dark DNG of 61 × 90 pixels."""
    noise = np.random.default_rng(0).normal(600, 40, (61, 90))
    write_cfa_dng(
        path,
        np.rint(noise).astype(np.uint16),
        cfa=CFA.bayer("GRBG"),
        black_level=(512.0,) * 4,
        white_level=16000,
        white_balance=(2.0, 1.0, 1.5),
        xyz2cam=np.eye(3),
    )

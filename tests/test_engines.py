"""The OpenVINO engine against the network in torch: every configuration, many sizes, both precisions."""

import dataclasses
import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from alen.color import eotf_inverse_srgb, eotf_srgb
from alen.config import PYRAMID, AlenConfig, SidUnetConfig
from alen.engines import PlanesArray, UnshuffledPlanes, curves, graph, openvino
from alen.engines.averages import ROWS, averages, between_rows
from alen.engines.bands import BandedTrunk, first_features_bytes, kept_bytes, stack_sums
from alen.engines.openvino import OpenVinoEngine, available_devices, core
from alen.engines.torch import TorchEngine
from alen.errors import DeviceError, SettingsError, WeightsError
from alen.metrics import psnr
from alen.models.alen import Alen, pyramid
from alen.models.sid_unet import SidUnet
from alen.openvino_runtime import hints, ov
from alen.weights import TrainingFacts, Weights, find_weights, load_weights, shipped_names

_CONFIGS = {
    "shipped": AlenConfig.shipped(),
    "paper": AlenConfig(),
    "not unshuffled": dataclasses.replace(AlenConfig.shipped(), widths=(8, 16, 32, 64), unshuffle=1),
    "unshuffled, paper": AlenConfig(widths=(8, 16, 32, 64), unshuffle=2),
    "demosaicked base": dataclasses.replace(
        AlenConfig.shipped(), widths=(8, 16, 32, 64), unshuffle=1, base="demosaic", demosaicking="formulas"
    ),
    "max": AlenConfig(widths=(8, 16, 32, 64), downsample="max"),
    "strided": AlenConfig(widths=(8, 16, 32, 64), downsample="strided"),
    "X-Trans": dataclasses.replace(AlenConfig.xtrans(), widths=(8, 16, 32, 64)),
    "X-Trans, paper": AlenConfig(cfa="xtrans", widths=(8, 16, 32, 64)),
    "no attention": AlenConfig(widths=(8, 16, 32, 64), channel_attention=False, spatial_attention=False),
}
_SIZES = [(8, 8), (40, 56), (72, 104)]
"""Of the input stack; keys that fill, overlap and repeat in the cells they are averaged over."""

needs_bfloat16 = pytest.mark.skipif(
    "BF16" not in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"),
    reason="this processor does not compute in bfloat16",
)


@pytest.mark.parametrize(
    ("curve", "expected"), [(curves.eotf_inverse_srgb, eotf_inverse_srgb), (curves.eotf_srgb, eotf_srgb)]
)
def test_the_curves_are_those_of_color(curve: Any, expected: Any) -> None:
    """In all of what lamps reach, and a little worse beyond."""
    end = 2000.0 if curve is curves.eotf_inverse_srgb else float(eotf_inverse_srgb(np.float32(2000)))
    values = np.concatenate([np.geomspace(1e-6, end, 4001), [0.0, 2 * end]])
    values = np.concatenate([-values, values]).astype(np.float32)
    x = ov.opset13.parameter([len(values)], np.float32, name="x")
    model = ov.Model([ov.opset13.result(curve(x), name="y")], [x], "curve")
    compiled = core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    result = compiled({"x": values})[0]
    within = np.abs(values) <= end
    np.testing.assert_allclose(result[within], expected(values[within]), rtol=4e-6, atol=1e-9)
    np.testing.assert_allclose(result, expected(values), rtol=1e-3, atol=1e-9)


def _network(config: AlenConfig) -> Alen:
    """Return a network in which every parameter has a say: what starts at zero is drawn, too."""
    torch.manual_seed(0)
    network = Alen(config)
    with torch.no_grad():
        for p in network.parameters():
            if not p.any():
                p.normal_(std=0.2 / max(p.shape[-1], 1) ** 0.5)
    return network.eval()


def _weights(network: Alen) -> Weights:
    arrays = {name: value.numpy() for name, value in network.state_dict().items()}
    return Weights("test", "0" * 12, network.config, arrays, TrainingFacts(steps=0, photographs=0))


def _planes(height: int, width: int, count: int = 4) -> NDArray[np.float32]:
    """Return signed, noisy planes with a lamp far above white."""
    rng = np.random.default_rng(5)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    scene = 0.3 + 0.3 * np.sin(x / 9) * np.cos(y / 7) + rng.normal(0, 0.2, (count, height, width))
    scene[:, height // 2, width // 3] = 40
    return scene.astype(np.float32)


def _in_torch(network: Alen, planes: NDArray[np.float32]) -> NDArray[np.float32]:
    with torch.inference_mode():
        picture = network(torch.from_numpy(planes)[None])[0].permute(1, 2, 0)
    return np.ascontiguousarray(picture.numpy())


def _difference_db(engine: OpenVinoEngine, network: Alen, planes: NDArray[np.float32]) -> float:
    """Return the PSNR between both, display-encoded, in the range that is shown."""
    picture = engine.run(planes)
    side = network.config.shuffle
    assert picture.shape == (side * planes.shape[1], side * planes.shape[2], 3)
    assert picture.dtype == np.float32
    clipped = np.clip(eotf_inverse_srgb(picture), 0, 1), np.clip(_in_torch(network, planes), 0, 1)
    return psnr(*clipped, data_range=1.0)


@pytest.mark.parametrize("config", _CONFIGS.values(), ids=_CONFIGS.keys())
@pytest.mark.parametrize("first_bytes", [0, 10**9])
def test_float32_agrees_with_torch(config: AlenConfig, first_bytes: int) -> None:
    """Whether the first level's features are made twice or kept."""
    network = _network(config)
    engine = OpenVinoEngine(_weights(network), precision="float32", threads=1, first_bytes=first_bytes)
    for height, width in _SIZES:
        planes = _planes(config.unshuffle * height, config.unshuffle * width, config.plane_count)
        assert _difference_db(engine, network, planes) >= 100, (height, width)


@needs_bfloat16
@pytest.mark.parametrize("config", _CONFIGS.values(), ids=_CONFIGS.keys())
def test_bfloat16_agrees_with_torch(config: AlenConfig) -> None:
    network = _network(config)
    engine = OpenVinoEngine(_weights(network), precision="bfloat16", threads=1)
    for height, width in _SIZES:
        planes = _planes(config.unshuffle * height, config.unshuffle * width, config.plane_count)
        assert _difference_db(engine, network, planes) >= 50, (height, width)


@needs_bfloat16
@pytest.mark.skipif("alen" not in shipped_names(), reason="the weights are not part of this checkout")
@pytest.mark.parametrize("level", [0.02, 0.2])
def test_shipped_weights_agree_with_torch(level: float) -> None:
    weights = load_weights(find_weights("alen"))
    assert isinstance(weights.config, AlenConfig)
    network = Alen(weights.config)
    network.load_state_dict({name: torch.from_numpy(array) for name, array in weights.arrays.items()})
    rng = np.random.default_rng(2)
    planes = _planes(80, 112) + rng.normal(0, level, (4, 80, 112)).astype(np.float32)
    for precision, least in (("float32", 100), ("bfloat16", 50)):
        engine = OpenVinoEngine(weights, precision=precision, threads=1)  # type: ignore[arg-type]
        assert _difference_db(engine, network, planes) >= least, precision


def test_highlights_are_not_rounded() -> None:
    """Linear values far above white are as torch has them: not clipped, not limited to the display's range."""
    network = _network(_CONFIGS["demosaicked base"])
    picture = OpenVinoEngine(_weights(network), precision="float32", threads=1).run(30 + _planes(40, 56))
    expected = _in_torch(network, 30 + _planes(40, 56))
    np.testing.assert_allclose(eotf_inverse_srgb(picture), expected, rtol=1e-4)
    assert picture.max() > 10


@pytest.mark.parametrize("stage", ["encode", "decode", "last", "composition"])
def test_nothing_is_copied_between_operations(stage: str) -> None:
    """OpenVINO puts a copy, a reordering into the same order, before what it would compute in place and must not."""
    config = AlenConfig.shipped()
    model, has_bfloat16 = Alen(config), available_devices()["CPU"][1]
    arrays = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    storage = ov.Type.bf16 if has_bfloat16 else ov.Type.f32
    match stage:
        case "encode":
            made = graph.encode(config, arrays, 1, 16, 32, storage)
        case "decode":
            made = graph.decode(config, arrays, 1, 16, 32, storage)
        case "last":
            made = graph.last(config, arrays, 16, 32, storage, kept=True)
        case _:
            made = graph.composition(config, arrays, 4, 64, storage)
    precision = ov.Type.f32 if stage == "composition" else storage
    compiled = core().compile_model(made, "CPU", {hints.inference_precision: precision})
    for node in compiled.get_runtime_model().get_ops():
        facts = node.get_rt_info()
        if facts["layerType"].value == "Reorder":
            before = node.input_value(0).get_node().get_rt_info()
            kinds = [(of["outputLayouts"].value, of["outputPrecisions"].value) for of in (before, facts)]
            assert kinds[0] != kinds[1], node.get_friendly_name()


def test_the_same_frame_gives_the_same_picture() -> None:
    """Also after another size was in between."""
    engine = OpenVinoEngine(_weights(_network(_CONFIGS["demosaicked base"])), precision="float32", threads=1)
    first = engine.run(_planes(40, 56))
    engine.run(_planes(72, 104))
    np.testing.assert_array_equal(engine.run(_planes(40, 56)), first)


@pytest.mark.parametrize("name", ["demosaicked base", "shipped", "X-Trans"])
@pytest.mark.parametrize(("threads", "late_bytes"), [(1, 10**9), (3, 0)])
def test_long_frames_are_composed_in_stripes(
    name: str, threads: int, late_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stripes meet without a seam, several at a time, whether small averages are made before or on the way."""
    monkeypatch.setattr(openvino, "_STRIPE", 200)
    monkeypatch.setattr(openvino, "_LATE_BYTES", late_bytes)
    network = _network(dataclasses.replace(_CONFIGS[name], widths=(4, 4, 4, 4)))
    engine = OpenVinoEngine(_weights(network), precision="float32", threads=threads, band=700)
    assert _difference_db(engine, network, _planes(304, 32, network.config.plane_count)) >= 100


@pytest.mark.parametrize("precision", ["float32", pytest.param("bfloat16", marks=needs_bfloat16)])
@pytest.mark.parametrize("config", _CONFIGS.values(), ids=_CONFIGS.keys())
def test_the_size_of_the_bands_does_not_matter(config: AlenConfig, precision: Any) -> None:
    """Whole frames, bands of four rows, and bands of which the last overlaps the one before.

    Nor does it in float32 whether the first features are made twice; in bfloat16 kept ones are rounded once more.
    """
    config = dataclasses.replace(config, widths=(4, 4, 8, 8))
    weights = _weights(_network(config))
    for height, width in [(88, 24), (56, 72)]:
        planes = _planes(config.unshuffle * height, config.unshuffle * width, config.plane_count)
        whole, *banded = (
            OpenVinoEngine(weights, precision=precision, threads=1, band=band, first_bytes=first_bytes).run(planes)
            for band, first_bytes in ((10**9, 0), (1, 0), (700, 0), (1, 10**9), (700, 10**9))
        )
        if precision == "bfloat16":
            whole_kept, *banded_kept = banded[2:]
            pairs = [(whole, picture) for picture in banded[:2]] + [(whole_kept, picture) for picture in banded_kept]
        else:
            pairs = [(whole, picture) for picture in banded]
        for one, other in pairs:
            assert psnr(eotf_inverse_srgb(other), eotf_inverse_srgb(one), data_range=1.0) >= 120


def test_stripes_are_the_picture() -> None:
    config = dataclasses.replace(_CONFIGS["shipped"], widths=(4, 4, 8, 8))
    engine = OpenVinoEngine(_weights(_network(config)), precision="float32", threads=1, band=700)
    planes = _planes(176, 48)
    shares: list[float] = []
    stripes = [stripe.copy() for stripe in engine.stripes(PlanesArray(planes), shares.append)]
    assert len(stripes) > 1
    np.testing.assert_allclose(np.concatenate(stripes), engine.run(planes), rtol=1e-5, atol=1e-6)
    assert shares == sorted(shares)


def test_after_a_failure_it_compiles_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """For the size before it, too, whose graphs are gone."""
    config = dataclasses.replace(_CONFIGS["shipped"], widths=(4, 4, 8, 8))
    engine = OpenVinoEngine(_weights(_network(config)), precision="float32", threads=1)
    small, large = _planes(16, 32), _planes(32, 48)
    before = engine.run(small)
    compile_model = OpenVinoEngine._compile

    def fail(self: OpenVinoEngine, model: Any, precision: str, *, streams: int) -> Any:
        if model.get_friendly_name() == "alen_composition":
            raise RuntimeError("no memory")
        return compile_model(self, model, precision, streams=streams)

    with monkeypatch.context() as patched:
        patched.setattr(OpenVinoEngine, "_compile", fail)
        with pytest.raises(DeviceError, match="no memory"):
            engine.run(large)
    np.testing.assert_array_equal(engine.run(small), before)


@pytest.mark.parametrize("config", [AlenConfig.shipped(), AlenConfig.xtrans()], ids=["Bayer", "X-Trans"])
@pytest.mark.parametrize("size", [(8, 8), (64, 64), (136, 72), (200, 328)])
def test_averages_in_pieces_are_those_of_the_network(size: tuple[int, int], config: AlenConfig) -> None:
    """Continued down the columns here; that rows are continued right is part of the tests against torch."""
    planes = _planes(*size, config.plane_count)
    planes[:, :, 40:] += np.random.default_rng(1).normal(0, 3, planes[:, :, 40:].shape).astype(np.float32)
    planes[:, 5, 5] = 900  # a lamp, which is clipped
    height = size[0]
    pieces = [averages(planes[:, top : min(top + ROWS, height)], config) for top in range(0, height, ROWS)]
    expected = pyramid(torch.from_numpy(planes)[None], config)
    for index, side in enumerate(PYRAMID):
        level = np.concatenate([piece[index] for piece in pieces], axis=1)
        stripes = between_rows(level, side, slice(0, height), 8, 2)  # (stripes, 3, 8, m), even rows before odd ones
        rows = stripes.reshape(-1, 3, 2, 4, level.shape[2]).transpose(1, 0, 3, 2, 4)
        columns = rows.reshape(3, height, -1)
        position = np.maximum((np.arange(size[1]) + 0.5) / side - 0.5, 0)
        left = position.astype(np.intp)
        right, share = np.minimum(left + 1, level.shape[2] - 1), position - left
        continued = columns[:, :, left] * (1 - share) + columns[:, :, right] * share
        np.testing.assert_allclose(continued, expected[index][0].numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("u", [1, 2, 4])
def test_means_of_the_stack_are_those_of_its_copies(u: int) -> None:
    planes, brightness = _planes(16, 24), (0.25, 1.0, 16.0)
    unshuffled = F.pixel_unshuffle(torch.from_numpy(planes), u).numpy()
    np.testing.assert_array_equal(UnshuffledPlanes(PlanesArray(planes), u).rows(1, 3), unshuffled[:, 1:3])
    stack = np.concatenate([np.clip(unshuffled * factor, -1, 1) for factor in brightness])
    np.testing.assert_allclose(stack_sums(planes, brightness, u), stack.sum(axis=(1, 2)), rtol=1e-4)


def test_memory_grows_with_the_frame_and_not_with_its_square() -> None:
    """And the first features are kept while they are small."""
    config = AlenConfig(widths=(32, 64, 128, 256))
    kept = 2 * 12_000_000 * (64 / 4 + 128 / 16 + 128 / 64 + 256 / 64)
    assert kept_bytes(config, 3000, 4000, ov.Type.bf16) == kept
    assert kept_bytes(config, 6000, 4000, ov.Type.bf16) == 2 * kept
    assert kept_bytes(config, 3000, 4000, ov.Type.f32) == 2 * kept
    small = kept_bytes(config, 300, 400, ov.Type.bf16)
    assert small == kept / 100 + first_features_bytes(config, 300, 400, ov.Type.bf16)
    assert small == kept / 100 + 2 * 120_000 * 32


_PEAK_PROGRAM = """
import sys
from pathlib import Path
import numpy as np
from alen.engines.openvino import OpenVinoEngine
from alen.weights import find_weights, load_weights

class Planes:
    shape = (4, int(sys.argv[1]), 2048)
    def rows(self, start, stop):
        return np.full((4, stop - start, 2048), 0.25, dtype=np.float32)

engine = OpenVinoEngine(load_weights(find_weights("alen")), precision="auto")
for _ in engine.stripes(Planes()):
    pass
status = Path("/proc/self/status").read_text()
print(next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:")) * 1024)
print(engine.needed_bytes(*Planes.shape[1:]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells the memory")
@pytest.mark.skipif("alen" not in shipped_names(), reason="the weights are not part of this checkout")
def test_memory_is_bounded_as_forecast() -> None:
    """Twice the rows take no more memory than the features that are said to be kept, and a little."""
    (small, little), (large, much) = (
        [
            int(line)
            for line in subprocess.run(
                [sys.executable, "-c", _PEAK_PROGRAM, str(rows)], check=True, capture_output=True, text=True
            ).stdout.split()
        ]
        for rows in (320, 640)
    )
    assert large - small <= 2 * (much - little) + 60e6  # pages are handed out in large pieces


def test_bands_are_as_small_as_asked_for() -> None:
    compiled: list[Any] = []

    def compile_model(model: Any) -> Any:
        compiled.append(model)
        return model

    config = AlenConfig(widths=(4, 4, 8, 8))
    arrays = _weights(_network(config)).arrays
    BandedTrunk(config, arrays, 96, 64, compile_model, ov.Type.f32, band=64 * 12)
    rows = {model.get_friendly_name(): model.input("mask").shape[2] - 2 for model in compiled if _has_mask(model)}
    assert rows == {
        "alen_stem": 12,
        "alen_encode1": 24,
        "alen_encode2": 24,  # the whole level
        "alen_encode3": 12,
        "alen_decode2": 24,
        "alen_decode1": 24,
        "alen_last": 12,
    }


def _has_mask(model: Any) -> bool:
    return any("mask" in value.get_names() or value.get_node().get_friendly_name() == "mask" for value in model.inputs)


def test_description_says_what_it_runs_on() -> None:
    engine = OpenVinoEngine(_weights(_network(_CONFIGS["max"])), precision="float32", threads=1)
    assert engine.description.startswith("OpenVINO 20")
    assert engine.description.endswith(", CPU, float32")


def test_unknown_devices_are_refused() -> None:
    weights = _weights(_network(_CONFIGS["max"]))
    with pytest.raises(DeviceError, match=r"The device TPU is not there. OpenVINO finds: .*CPU"):
        OpenVinoEngine(weights, device="TPU")


def test_missing_bfloat16_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ov.Core, "get_property", lambda *_: ["FP32"])
    weights = _weights(_network(_CONFIGS["max"]))
    with pytest.raises(DeviceError, match="does not compute in bfloat16"):
        OpenVinoEngine(weights, precision="bfloat16")
    assert OpenVinoEngine(weights, precision="auto", threads=1).precision == "float32"


def test_other_networks_are_refused() -> None:
    config = SidUnetConfig(widths=(4, 4, 4, 4, 8))
    arrays = {name: value.numpy() for name, value in SidUnet(config).state_dict().items()}
    weights = Weights("sid", "0" * 12, config, arrays, TrainingFacts(steps=0, photographs=0))
    with pytest.raises(WeightsError, match="sid: holds a SidUnet"):
        OpenVinoEngine(weights)


@pytest.mark.parametrize("pairwise", ["gaussian", "dot_product", "concatenation"])
def test_other_pairwise_functions_are_refused_and_run_in_torch(pairwise: Any) -> None:
    network = _network(AlenConfig(widths=(4, 4, 4, 4), pairwise=pairwise))
    weights = _weights(network)
    with pytest.raises(WeightsError, match=f"pairwise function {pairwise}.*TorchEngine"):
        OpenVinoEngine(weights)
    planes = _planes(16, 24)
    encoded = eotf_inverse_srgb(TorchEngine(weights).run(planes))
    np.testing.assert_allclose(encoded, _in_torch(network, planes), atol=1e-4)


def test_without_spatial_attention_no_pairwise_function_is_refused() -> None:
    config = AlenConfig(widths=(4, 4, 4, 4), spatial_attention=False, pairwise="gaussian")
    assert OpenVinoEngine(_weights(_network(config)), precision="float32").precision == "float32"


def test_the_engine_needs_no_torch(tmp_path: Path) -> None:
    code = "import alen.engines.openvino, alen.enhance, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=tmp_path).returncode == 0


_LIMITED_PROGRAM = """
import numpy as np
from alen.engines.openvino import OpenVinoEngine, available_devices
from alen.errors import DeviceError
from alen.weights import find_weights, load_weights

weights = load_weights(find_weights("alen-fast"))
assert not available_devices()["CPU"][1]
engine = OpenVinoEngine(weights)
assert engine.precision == "float32"
assert np.isfinite(engine.run(np.full((4, 32, 48), 0.1, np.float32))).all()
try:
    OpenVinoEngine(weights, precision="bfloat16")
except DeviceError as error:
    assert "does not compute in bfloat16" in str(error)
else:
    raise AssertionError
"""


@pytest.mark.parametrize("variable", ["ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"])
def test_instructions_that_are_forbidden_are_not_counted_on(variable: str) -> None:
    """OpenVINO offers bfloat16 all the same, and used to fail at it with a word about the memory."""
    subprocess.run([sys.executable, "-c", _LIMITED_PROGRAM], check=True, env={**os.environ, variable: "AVX2"})


@needs_bfloat16
def test_limits_that_leave_bfloat16_leave_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "ALL")
    assert OpenVinoEngine(load_weights(find_weights("alen-fast"))).precision == "bfloat16"


_NARROW_PROGRAM = """
import numpy as np
from alen.engines.openvino import OpenVinoEngine
from alen.weights import find_weights, load_weights

weights = load_weights(find_weights("alen-fast"))
planes = np.random.default_rng(0).random((4, 352, 16), dtype=np.float32)
low, high = (OpenVinoEngine(weights, precision=precision).run(planes) for precision in ("bfloat16", "float32"))
print(np.abs(low - high).max())
"""


@needs_bfloat16
@pytest.mark.skipif(sys.platform != "linux", reason="the C library of Linux fills memory with what is asked for")
def test_frames_of_one_column_at_the_deepest_level_do_not_depend_on_what_was_in_the_memory() -> None:
    """Matrix units and a stride of 2: of features two columns wide OpenVINO read what was behind them."""
    filled = os.environ | {"MALLOC_PERTURB_": "1", "MALLOC_MMAP_THRESHOLD_": "4000000000"}
    done = subprocess.run([sys.executable, "-c", _NARROW_PROGRAM], check=True, env=filled, capture_output=True)
    assert float(done.stdout) < 0.01


_STACK_PROGRAM = """
import ctypes
import sys
from alen.config import AlenConfig
from alen.engines.openvino import OpenVinoEngine
from alen.weights import find_weights, load_weights

class Stack(ctypes.Structure):
    _fields_ = [("start", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t)]

weights = load_weights(find_weights("alen"))
first = OpenVinoEngine(weights)
second = OpenVinoEngine(weights)
del first, second
stack = Stack()
assert ctypes.CDLL(None).sigaltstack(None, ctypes.byref(stack)) == 0
if stack.flags & 2:  # SS_DISABLE
    sys.exit(0)
spans = [line.split()[0].split("-") for line in open("/proc/self/maps")]
assert any(int(low, 16) <= stack.start and stack.start + stack.size <= int(high, 16) for low, high in spans)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the alternate signal stack of Linux")
def test_the_stack_for_signal_handlers_is_still_there_when_engines_have_gone() -> None:
    """Two OpenVINO cores, dropped in the order they were made, leave a stack that is freed memory."""
    subprocess.run([sys.executable, "-c", _STACK_PROGRAM], check=True)


def test_threads_that_come_at_the_same_time_share_one_core(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[object] = []

    def make() -> object:
        made.append(object())
        time.sleep(0.05)
        return made[-1]

    monkeypatch.setattr(openvino.ov, "Core", make)
    openvino._made_core.cache_clear()
    try:
        with ThreadPoolExecutor(4) as pool:
            got = [pool.submit(core) for _ in range(4)]
        assert {id(future.result()) for future in got} == {id(made[0])}
    finally:
        openvino._made_core.cache_clear()


_FORK_PROGRAM = """
import os
import signal
import numpy as np
from alen.engines.openvino import OpenVinoEngine
from alen.weights import find_weights, load_weights

engine = OpenVinoEngine(load_weights(find_weights("alen-fast")), precision="float32")
planes = np.random.default_rng(0).random((4, 32, 48), dtype=np.float32)
picture = engine.run(planes)
child = os.fork()
if child == 0:
    signal.alarm(60)
    os._exit(0 if np.array_equal(engine.run(planes), picture) else 1)
assert os.waitpid(child, 0)[1] == 0
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_an_engine_that_was_used_runs_in_a_forked_process() -> None:
    """Its threads are not there: what the parent had compiled would wait for them for ever."""
    subprocess.run([sys.executable, "-c", _FORK_PROGRAM], check=True)


@pytest.mark.parametrize("shape", [(3, 32, 48), (9, 32, 48), (4, 40, 32), (4, 32, 24), (4, 0, 16), (32, 48)])
def test_planes_of_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    """Without that OpenVINO says something of its own, and we that the memory were too small."""
    engine = OpenVinoEngine(load_weights(find_weights("alen-fast")), precision="float32")
    planes = np.zeros(shape, dtype=np.float32)
    with pytest.raises(SettingsError, match=re.escape(f"(4, h, w), h and w multiples of 16; got {shape}")):
        engine.run(planes)
    with pytest.raises(SettingsError, match="multiples of 16"):
        engine.stripes(PlanesArray(planes))


@pytest.mark.parametrize("engine", [OpenVinoEngine, TorchEngine])
def test_settings_that_are_none_are_refused(engine: type[OpenVinoEngine] | type[TorchEngine]) -> None:
    weights = load_weights(find_weights("alen-fast"))
    with pytest.raises(SettingsError, match="precision is one of"):
        engine(weights, precision="foo")  # type: ignore[arg-type]
    for threads in (0, 1.5, "2"):
        with pytest.raises(SettingsError, match="At least one thread"):
            engine(weights, threads=threads)  # type: ignore[arg-type]

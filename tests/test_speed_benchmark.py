"""The benchmark of speed: its counts against counts by hand, its page from measurements that were made up."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks import speed
from benchmarks.speed_page import TARGETS, section, times_of
from benchmarks.speed_roofline import REASONS, accounts, count_macs, count_sid_unet

from alen.config import AlenConfig

_GFLOP = 1e9


def _network() -> dict[str, Any]:
    """A traced network of two stages and one second: 10 GMAC in bfloat16, 1 in float32."""
    front = {"calls": 2, "seconds": 0.5, "bytes": 1_000_000_000, "macs": 10_000_000_000}
    composition = {"calls": 1, "seconds": 0.2, "bytes": 0, "macs": 1_000_000_000}
    return {
        "model": "alen",
        "precision": "bfloat16",
        "seconds": [1.0],
        "stages": {
            "survey": {"calls": 1, "seconds": 0.1, "bytes": 0, "macs": 0, "nodes": {}},
            "front": front | {"nodes": {"Convolution brgconv_avx512_bf16": 0.3, "Reorder jit_uni_bf16": 0.1}},
            "composition": composition | {"nodes": {"Convolution brgconv_avx512_f32": 0.05, "Log ref_f32": 0.1}},
        },
    }


_LIMITS = {
    "side": 64,
    "bfloat16": {"torch": 80 * _GFLOP, "openvino": 100 * _GFLOP},
    "float32": {"torch": 50 * _GFLOP, "openvino": 40 * _GFLOP},
    "bytes_per_second": 4e9,
}


def _peer(method: str, first: float, seconds: list[float], peak: int, scaled_by: float = 1.0) -> dict[str, Any]:
    figures = {"first_seconds": first, "seconds": seconds, "peak_bytes": peak, "scaled_by": scaled_by}
    return {"method": method, "is_network": True} | figures


def _document() -> dict[str, Any]:
    return {
        "commit": "0123456789abcdef",
        "hardware": {"processor": "a processor", "cores": 2},
        "seconds": 180.0,
        "precision": "bfloat16",
        "settings": {"megapixels": 12.0},
        "peers": [
            _peer("alen", 5.0, [2.0, 1.9, 2.3], 800_000_000),
            _peer("SID U-Net, OpenVINO", 2.0, [1.0, 1.0, 1.0], 1_600_000_000),
            _peer("SID U-Net, torch", 12.0, [8.0, 8.0, 8.0], 4_000_000_000),
            _peer("OpenCV, non-local means", 12.0, [120.0, 120.0], 60_000_000, 12.0),
            {"method": "LibRaw", "is_network": False, "error": "MemoryError: a | b"},
        ],
        "sizes": [
            {"megapixels": 1.0, "pixels": 1e6, "first_seconds": 1.5, "seconds": [0.5], "peak_bytes": 5e8},
            {"megapixels": 150.0, "pixels": 1.5e8, "first_seconds": 75.0, "seconds": [], "peak_bytes": 3e9},
        ],
        "roofline": {"limits": _LIMITS, "networks": [_network()], "sid_unet_macs": 20_000_000_000},
        "instructions": [
            {"isa": "AVX2", "asked": "float32", "precision": "float32", "seconds": [6.0], "kernel": "brgconv_avx2_f32"},
            {"isa": "AVX2", "asked": "auto", "error": "DeviceError: no pooling"},
            {"isa": None, "asked": "auto", "precision": "bfloat16", "seconds": [2.0], "kernel": "brgconv_avx512_bf16"},
        ],
        "cli": {"cold_seconds": 6.0, "one_file_seconds": [4.0], "files": 10, "all_files_seconds": [29.0, 30.0, 35.0]},
        "gpu": [],
    }


def test_multiplications_equal_those_counted_by_hand() -> None:
    config = AlenConfig(widths=(4, 4, 4, 4), brightness=(1.0,), key_grid=2)
    macs = count_macs(config, 16, 16)
    block = 9 * (8 * 4 + 4 * 4)  # of a position: both convolutions, after a concatenation
    assert macs["front"] == 256 * 9 * (4 * 4 + 4 * 4) + 64 * 4 * 16
    assert macs["attend1"] == 16 * 4 * 4 + 2 * 16 * 2**2  # four 1 × 1 convolutions, then 16 queries and 4 keys, twice
    assert macs["encode1"] == 64 * block + 16 * 4 * 16
    assert macs["encode3"] == 4 * block
    assert macs["last"] == 64 * 4 * 16 + 256 * block + 256 * 4 * 12
    assert macs["survey"] == macs["composition"] == 0
    assert count_macs(config, 16, 16, twice=True)["last"] - macs["last"] == 256 * 9 * (4 * 4 + 4 * 4)


def test_a_base_is_counted_as_composition() -> None:
    demosaicking = 4 * 12 * (3 * 3 + 3 * 5 + 5 * 3)  # in three ways, at every packed pixel
    assert count_macs(AlenConfig.shipped(), 16, 16)["composition"] == 256 * demosaicking


def test_the_u_net_of_12_megapixels_takes_560_gmac() -> None:
    assert count_sid_unet(1424, 2128) == pytest.approx(560e9, rel=0.001)


def test_where_the_time_goes_adds_up_to_the_frame() -> None:
    spent = accounts(_network(), _LIMITS)
    assert list(spent) == list(REASONS)
    assert sum(spent.values()) == pytest.approx(1.0)
    assert spent["multiplications at the peak"] == pytest.approx(0.2 + 0.04)
    assert spent["multiplications below the peak"] == pytest.approx(0.35 - 0.24)
    assert spent["moving"] == pytest.approx(0.1)
    assert spent["elementwise"] == pytest.approx(0.1)
    assert spent["between operations"] == pytest.approx(0.7 - 0.55)
    assert spent["outside of OpenVINO"] == pytest.approx(0.2)


def test_targets_are_ratios_of_medians_in_the_same_run() -> None:
    document = _document()
    assert times_of("alen", "SID U-Net, torch")(document) == pytest.approx(0.25)
    assert times_of("alen", "SID U-Net, OpenVINO", "peak_bytes")(document) == pytest.approx(0.5)
    assert times_of("alen", "LibRaw")(document) is None
    assert times_of("alen-fast", "alen")(document) is None
    assert all(target.at_most > 0 for target in TARGETS)


def test_the_page_tells_losses_and_failures_beside_wins() -> None:
    page = section(_document())
    for line in (
        "| alen | 5.00 | 2.00 (1.90 to 2.30) | 1.00 | 0.80 | 1.00 |",
        "| SID U-Net, OpenVINO | 2.00 | 1.00 (1.00 to 1.00) | 0.50 | 1.60 | 2.00 |",
        "| OpenCV, non-local means, × 12 | 12.0 | 120 (120 to 120) | 60.00 | 0.06 of the part |  |",
        "| LibRaw | failed: MemoryError: a / b |  |  |  |  |",
        "| time of `alen` over the SID U-Net's in OpenVINO | ≤ 1 | 2.00 | **missed** |",
        "| time of `alen` over the SID U-Net's in eager torch | ≤ 0.125 | 0.25 | **missed** |",
        "| peak at 61 megapixels, GB | ≤ 2 | – | not measured |",
        "| peak at 150 megapixels, GB | ≤ 3 | 3.00 | reached |",
        "| `alen enhance` of 12 megapixels, whole process, s | ≤ 2.5 | 4.00 | **missed** |",
        "| 1 | 1.50 | 0.50 | 0.500 | 0.50 |",
        "| 150 | 75.0 | – | 0.500 | 3.00 |",
        "| alen | bfloat16 | 11 | 2.00 | 11 | 11% |",
        "| SID U-Net, torch | float32 | 20 | 8.00 | 5 | 10% |",
        "| front | 2 | 0.500 | 50% | 10.0 | 40% | 60% | 1.00 | 50% |",
        "| `AVX2` | float32 | 6.00 | 3.00 | `brgconv_avx2_f32` |",
        "| `AVX2` | auto | failed: DeviceError: no pooling |  |  |",
        "| none | auto: bfloat16 | 2.00 | 1.00 | `brgconv_avx512_bf16` |",
    ):
        assert line in page.splitlines()
    assert "Slower than: SID U-Net, OpenVINO (2.0 times)." in page
    assert "10 files in one call: 3.00 s per file, 0.75 of that" in page
    assert "no GPU" in page


def test_a_page_of_some_parts_has_those_alone() -> None:
    document = _document()
    page = section({key: document[key] for key in ("commit", "hardware", "seconds", "settings", "cli")})
    assert [line for line in page.splitlines() if line.startswith("#")] == [
        "## Command line",
        "## Reached and missed",
    ]


def test_methods_take_turns_and_one_that_fails_stops_none(tmp_path: Path) -> None:
    np.save(tmp_path / "planes.npy", np.zeros((4, 16, 16), np.float32))
    np.save(tmp_path / "picture.npy", np.zeros((16, 16, 3), np.uint8))
    peers = [
        speed.Peer("no such weights", functools.partial(speed.alen_network, model="none")),
        speed.Peer("OpenCV", speed.opencv, is_network=False, on_crop=True),
    ]
    told: list[str] = []
    failed, measured = speed.compare(tmp_path, peers, 2, told.append)
    assert "neither a weights file nor one of the shipped weights" in failed["error"]
    assert len(measured["seconds"]) == 2
    assert measured["scaled_by"] == 4  # the picture is a quarter of the mosaic
    assert min(measured["first_seconds"], *measured["seconds"]) > 0
    assert [line for line in told if line.startswith("OpenCV")] == [
        "OpenCV, first call",
        "OpenCV, round 1 of 2",
        "OpenCV, round 2 of 2",
    ]


def test_the_default_run_fits_into_a_quarter_of_an_hour() -> None:
    assert speed.Settings().estimate() < 15 * 60

"""The scoreboard: what ships is judged as it ships, and records that are kept are of the same protocol."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks import quality
from benchmarks.quality import Protocol, Record, earlier, expose, markdown, networks, write_json

from alen.cameras import CAMERAS
from alen.cfa import CFA
from alen.data import charts
from alen.data.photos import unprocess
from alen.enhance import Enhancer
from alen.metrics import psnr
from alen.weights import find_weights, load_weights
from frames import GAINS, make_raw

_PROTOCOL = Protocol(cameras=("Sony A7S II",), ratios=(1, 8))
_NETWORK = {"sha256": "0" * 12, "parameters": 7_760_268, "steps": 5000}


def _records(method: str, psnr_db: float) -> list[Record]:
    return [Record(f"{n}.jpg", "Sony A7S II", "RGGB", r, method, psnr_db, 0.9, 1.0) for n in range(2) for r in (1, 8)]


def _report(path: Path) -> dict[str, Any]:
    about = {"commit": "a" * 40, "networks": {"unet": _NETWORK}}
    write_json(path, about | {"protocol": vars(_PROTOCOL)}, _records("LibRaw", 20.0) + _records("unet", 30.0))
    return about


def test_records_of_other_methods_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "quality.json"
    _report(path)
    kept = earlier(path, _PROTOCOL, ["unet"])
    assert kept.records == _records("unet", 30.0)
    assert kept.networks == {"unet": _NETWORK}
    assert kept.commits == {"unet": "a" * 40}
    assert earlier(path, _PROTOCOL, []).records == []


@pytest.mark.parametrize(
    ("protocol", "methods", "words"),
    [(Protocol(ratios=(1, 8)), ["unet"], "no records of this protocol"), (_PROTOCOL, ["x"], "no records of x")],
)
def test_other_protocols_and_methods_cannot_be_kept(
    tmp_path: Path, protocol: Protocol, methods: list[str], words: str
) -> None:
    _report(tmp_path / "quality.json")
    with pytest.raises(SystemExit, match=words):
        earlier(tmp_path / "quality.json", protocol, methods)
    with pytest.raises(SystemExit, match="no records of this protocol"):
        earlier(tmp_path / "none.json", protocol, methods)
    with pytest.raises(SystemExit, match="LibRaw: scored anew"):
        earlier(tmp_path / "quality.json", _PROTOCOL, ["LibRaw"])


def test_what_is_scored_anew_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither twice on the page."""

    def fail(*_: object, **__: object) -> None:
        raise AssertionError("scored in spite of it")

    monkeypatch.setattr(quality, "run", fail)
    monkeypatch.setattr(quality, "find_photos", lambda _: [Path(f"{n}.jpg") for n in range(10)])
    for kept in ("alen-fast", "alen-fast, network alone", "alen-fast, ensemble of 2"):
        with pytest.raises(SystemExit, match=f"{kept}: scored anew"):
            quality.main(
                photos=tmp_path,
                weights=("alen-fast",),
                out=tmp_path / "quality.json",
                alone=True,
                ensemble=(2,),
                keep=(kept,),
            )


def test_the_page_says_what_was_kept_and_what_is_the_network_alone() -> None:
    records = [r for name in ("LibRaw", "Non-local means", "x", "x, network alone", "unet") for r in _records(name, 30)]
    hardware = {"processor": "slide rule", "cores": 1}
    about = {"commit": "b" * 40, "hardware": hardware, "networks": {"x": _NETWORK}, "kept": {"unet": "a" * 40}}
    page = markdown(_PROTOCOL, records, about, None)
    assert "| x, network alone | 30.00 / 0.900 | 30.00 / 0.900 |" in page
    assert "- **Network alone**: without the detail" in page
    assert "Commit bbbbbbbbbbbb, slide rule, 1 cores; unet at aaaaaaaaaaaa; every image" in page
    assert "x, network alone − LibRaw" not in page
    assert "Ensemble" not in page


def test_the_page_says_what_an_ensemble_is() -> None:
    records = [r for name in ("LibRaw", "Non-local means", "x", "x, ensemble of 8") for r in _records(name, 30)]
    about = {"commit": "b" * 40, "hardware": {"processor": "slide rule", "cores": 1}, "networks": {"x": _NETWORK}}
    page = markdown(_PROTOCOL, records, about, None)
    assert "- **Ensemble of n**: the mean of the pictures of n orientations" in page
    assert "| x, ensemble of 8 − LibRaw |" in page


@pytest.mark.parametrize(
    "ratio",
    [2, pytest.param(8, marks=pytest.mark.xfail(strict=True, reason="the network alone keeps more: 2 dB come back"))],
)
def test_what_ships_is_judged_with_what_it_gives_back(ratio: float) -> None:
    weights = load_weights(find_weights("alen-fast"))
    methods = networks(weights, "openvino", "float32", shipped=True, alone=True)
    assert list(methods) == ["alen-fast", "alen-fast, network alone"]
    scene = unprocess(charts.zone_plate(160, 160), (2.0, 1.0, 1.5), np.eye(3))
    exposure, truth = expose(scene, ratio, CFA.bayer("GRBG"), CAMERAS[0], 1600, np.random.default_rng(0))
    shipped, alone = (psnr(method(exposure), truth, data_range=1.0) for method in methods.values())
    assert shipped > alone + 3
    others = networks(weights, "openvino", "float32", shipped=False, alone=True)
    assert psnr(others["alen-fast"](exposure), truth, data_range=1.0) == pytest.approx(alone, abs=1e-6)


@pytest.mark.parametrize("cfa", [CFA.bayer("GRBG"), CFA.xtrans().shifted(1, 4)], ids=lambda cfa: cfa.kind)
def test_an_ensemble_is_that_of_the_program(cfa: CFA) -> None:
    """Of a frame of odd sides, with what is done before and after it."""
    weights = load_weights(find_weights("alen-fast" if cfa.is_bayer else "alen-xtrans"))
    methods = networks(weights, "openvino", "float32", shipped=True, ensembles=(2, 8))
    assert list(methods) == [weights.name, f"{weights.name}, ensemble of 2", f"{weights.name}, ensemble of 8"]
    scene = unprocess(charts.zone_plate(151, 163), GAINS, np.eye(3))
    exposure, truth = expose(scene, 4, cfa, CAMERAS[0], 1600, np.random.default_rng(0))
    scores = [psnr(method(exposure), truth, data_range=1.0) for method in methods.values()]
    assert scores[0] < scores[1] < scores[2]
    black = (exposure.black_level_dn,) * 4
    frame = dataclasses.replace(
        make_raw(exposure.mosaic, cfa), black_level=black, white_level=exposure.white_level_dn, white_balance=GAINS
    )
    enhancer = Enhancer(weights.name, precision="float32", threads=1, ensemble=8)
    picture = enhancer.enhance(frame, ratio=4).linear
    np.testing.assert_allclose(picture, list(methods.values())[2](exposure), atol=1e-4)

"""Evaluation: protocols and their lists, the pictures compared, records that resume, intervals, the report."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from alen.cfa import CFA, mosaic_from_rgb
from alen.cli import main
from alen.config import AlenConfig, SidUnetConfig
from alen.data.exposures import RawPair
from alen.dng import write_cfa_dng
from alen.errors import DataError, SettingsError, WeightsError
from alen.evaluate.lpips import Lpips
from alen.evaluate.pictures import align_brightness, oetf_bt709, predict, quantize, read_pair, render_as_libraw
from alen.evaluate.protocols import PROTOCOLS, find_protocol, select
from alen.evaluate.published import PUBLISHED, other_protocols, same_protocol
from alen.evaluate.records import Record, Run, Settings, fingerprint, make_engine, read_records
from alen.evaluate.summary import bootstrap_mean, differences, scores
from alen.models.alen import Alen
from alen.models.sid_unet import SidUnet
from alen.raw import read_raw, render_reference
from alen.weights import TrainingFacts, load_weights, save_weights
from miniature import WHITE_BALANCE, XYZ2CAM, make_eld, make_sid, write_exposure

_CAMERA = dataclasses.replace(AlenConfig.shipped(), widths=(4, 4, 4, 4), key_grid=2)
_SRGB = AlenConfig(widths=(4, 4, 4, 4), input_levels="sid")
_UNET = SidUnetConfig(widths=(4, 4, 4, 4, 4), input_levels="sid")


def _weights(path: Path, config: AlenConfig | SidUnetConfig) -> str:
    torch.manual_seed(0)
    network = Alen(config) if isinstance(config, AlenConfig) else SidUnet(config)
    arrays = {name: value.numpy() for name, value in network.state_dict().items()}
    save_weights(path, arrays, config, TrainingFacts(steps=0, photographs=0))
    return str(path)


@pytest.fixture(scope="module")
def sony(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_sid(tmp_path_factory.mktemp("sid"), "sony", splits=("test", "val"))


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("weights")
    return [
        _weights(folder / "camera.safetensors", _CAMERA),
        _weights(folder / "paper.safetensors", _SRGB),
        _weights(folder / "unet.safetensors", _UNET),
    ]


@pytest.fixture(scope="module")
def evaluated(sony: Path, networks: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run")
    arguments = [
        "evaluate",
        "sid-sony-598",
        "--data",
        str(sony),
        "--out",
        str(out),
        "--partial",
        "--weights",
        *networks,
    ]
    assert main(arguments) == 0
    return out


# ---------------------------------------------------------------------------------------------------------------------
# Protocols
# ---------------------------------------------------------------------------------------------------------------------


def _full_size_lists(folder: Path) -> None:
    """Write a test list with the official counts: 50 scenes, 93 _00_ exposures, 598 in all, as FACTS has them."""
    scenes = ["10034", "10045", "10172", *(f"1{n:04}" for n in range(200, 247))]
    bursts = [("0.1", 1), ("0.04", 1), ("0.033", 1)]
    first = {scene: 2 if index < 43 else 1 for index, scene in enumerate(scenes)}  # 43 · 2 + 7 = 93
    first["10034"] = 1  # the three scenes have 5 of them: 88 remain
    first[scenes[43]] = 2
    lines = []
    extra = dict.fromkeys(scenes, 0)
    extra["10034"] = 31  # and 36 − 5 others: 562 remain
    left = 598 - 93 - 31
    for index, scene in enumerate(scenes[3:]):
        extra[scene] = left // 47 + (index < left % 47)
    for scene in scenes:
        names = [f"{scene}_00_{bursts[n][0]}s" for n in range(first[scene])]
        names += [f"{scene}_{n + 1:02}_0.1s" for n in range(extra[scene])]
        lines += [f"./Sony/short/{name}.ARW ./Sony/long/{scene}_00_10s.ARW ISO200 F8\n" for name in names]
    (folder / "Sony_test_list.txt").write_text("".join(lines))


@pytest.mark.parametrize(("name", "count"), [("598", 598), ("562", 562), ("93", 93), ("88", 88)])
def test_sony_protocols_select_their_number_of_images(tmp_path: Path, name: str, count: int) -> None:
    _full_size_lists(tmp_path)
    protocol = find_protocol(f"SID-Sony-{name}")
    assert protocol.images == count
    assert len(protocol.pairs(tmp_path)) == count


def test_missing_files_are_named_one_by_one(
    tmp_path: Path, networks: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    _full_size_lists(tmp_path)
    assert main(["evaluate", "sid-sony-88", "--data", str(tmp_path), "--weights", networks[0]]) == 1
    message = capsys.readouterr().err
    assert "sid-sony-88: 135 of the 135 files of its 88 pairs are missing" in message
    named = re.findall(r"^  (.+)$", message, re.MULTILINE)
    assert len(named) == len(set(named)) == 135
    assert str(tmp_path / "Sony" / "short" / "10200_00_0.1s.ARW") in named
    assert not any("10034" in name for name in named)
    with pytest.raises(DataError, match="135 of the 135 files"):  # nothing is left
        select(find_protocol("sid-sony-88"), tmp_path, is_partial=True)


def test_another_number_of_images_is_refused_or_marked(sony: Path) -> None:
    protocol = find_protocol("sid-sony-598")
    with pytest.raises(DataError, match=r"598 images, but the list in .* names 4"):
        select(protocol, sony)
    partial = select(protocol, sony, is_partial=True)
    assert partial.deviation == "4 of 598 images"
    assert len(partial.pairs) == 4


def test_models_are_chosen_on_another_split_than_the_one_reported(sony: Path) -> None:
    chosen = {pair.scene for pair in find_protocol("sid-sony-val").pairs(sony)}
    reported = {pair.scene for pair in find_protocol("sid-sony-598").pairs(sony)}
    assert chosen
    assert not chosen & reported


def test_unknown_protocol(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "sid", "--data", ".", "--weights", "x"]) == 2
    error = capsys.readouterr().err
    assert all(name in error for name in PROTOCOLS)


# ---------------------------------------------------------------------------------------------------------------------
# Pictures
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("peak", [0.6, 1.3])
def test_our_rendering_is_that_of_libraw(peak: float) -> None:
    """A smooth, noiseless scene through a DNG and LibRaw, and the same scene rendered by us."""
    x = np.linspace(0.02, peak, 192)[None, :, None]
    y = np.linspace(0, 1, 128)[:, None, None]
    camera_rgb = (x * ((1 - y) * [1, 0.8, 0.6] + y * [0.6, 0.8, 1])).astype(np.float32)
    light = mosaic_from_rgb(camera_rgb / np.float32(WHITE_BALANCE), CFA.bayer("RGGB"))
    file = io.BytesIO()
    write_cfa_dng(
        file,
        np.clip(np.rint(light * (16383 - 512) + 512), 0, 16383).astype(np.uint16),
        cfa=CFA.bayer("RGGB"),
        black_level=(512,) * 4,
        white_level=16383,
        white_balance=WHITE_BALANCE,
        xyz2cam=XYZ2CAM,
        iso=100,
        exposure_time_s=1.0,
        aperture=8.0,
        camera="smooth",
    )
    raw, reference = read_raw(file.getvalue()), render_reference(file.getvalue()) / 65535
    error = np.abs(render_as_libraw(camera_rgb, raw.cam2rgb, raw.white_balance) - reference)[8:-8, 8:-8]
    assert np.median(error) < 2e-4
    assert error.max() < 4e-3


def test_bt709_is_continuous_and_has_its_known_values() -> None:
    x = np.linspace(0, 1, 100_001, dtype=np.float32)
    y = oetf_bt709(x)
    assert np.all(np.diff(y) >= 0)
    assert np.diff(y).max() < 4.6e-5 + 2e-7  # no step where line and power law meet
    np.testing.assert_allclose(oetf_bt709(np.float32([-1, 0, 0.01, 0.18, 1])), [0, 0, 0.045, 0.4088, 1], atol=1e-4)


def test_quantization() -> None:
    eighths = np.arange(256, dtype=np.float32) / np.float32(255)
    for how in ("floor8", "round8", "none"):
        np.testing.assert_allclose(quantize(eighths, how) * 255, np.arange(256), atol=1e-4)  # no level moves
    between = np.float32([0.7 / 255, 254.99 / 255])
    assert np.rint(quantize(between, "floor8") * 255).tolist() == [0, 254]
    assert np.rint(quantize(between, "round8") * 255).tolist() == [1, 255]


def test_brightness_is_aligned_over_unsaturated_pixels() -> None:
    truth = np.linspace(0.1, 0.6, 500, dtype=np.float32)
    aligned, alpha = align_brightness(0.5 * truth, truth)
    assert alpha == pytest.approx(2.0, rel=1e-6)
    np.testing.assert_allclose(aligned, truth, atol=1e-6)
    clipped = np.append(truth, np.float32(1.0))
    assert align_brightness(np.append(0.5 * truth, np.float32(0)), clipped)[1] == pytest.approx(2.0, rel=1e-6)
    assert align_brightness(np.zeros_like(truth), truth)[1] == 1.0


# ---------------------------------------------------------------------------------------------------------------------
# Runs
# ---------------------------------------------------------------------------------------------------------------------


def test_every_image_has_a_record_of_each_network_and_ratio(evaluated: Path) -> None:
    records = read_records(evaluated / "records.jsonl")
    assert len(records) == 4 * 3 * 2
    assert len({record.key for record in records}) == len(records)
    assert {record.deviation for record in records} == {"4 of 598 images"}
    assert {record.split for record in records} == {"test"}
    assert {record.precision for record in records} == {"float32"}
    assert {record.quantization for record in records} == {"floor8"}
    assert {(record.weights, record.network, record.target) for record in records} == {
        ("camera", "Alen", "camera"),
        ("paper", "Alen", "srgb"),
        ("unet", "SidUnet", "srgb"),
    }
    for record in records:
        assert (record.height_px, record.width_px) == (128, 192)
        assert 0 < record.psnr_db < 60
        assert -1 <= record.ssim < 1
        assert record.ms_ssim is None  # too small for five scales
        assert record.lpips is None
        if record.ratio_origin == "known":
            assert record.ratio == record.exposure_ratio
    assert sorted({record.exposure_ratio for record in records}) == [100, 250]
    assert len(list((evaluated / "crops").rglob("*.jpg"))) == 4 * 3


def test_interrupted_runs_go_on(
    evaluated: Path, sony: Path, networks: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    complete = (evaluated / "records.jsonl").read_text().splitlines(keepends=True)
    own = [line for line in complete if json.loads(line)["weights"] == "paper"]
    half = tmp_path / "records.jsonl"
    half.write_text("".join(own[:5]) + own[5][:40])  # killed in the middle of a line
    arguments = ["evaluate", "sid-sony-598", "--data", str(sony), "--out", str(tmp_path), "--partial"]
    arguments += ["--weights", networks[1]]
    assert main(arguments) == 0
    after = read_records(half)
    assert half.read_text().splitlines(keepends=True)[:5] == own[:5]  # as they were
    whole = [Record(**json.loads(line)) for line in own]
    assert [dataclasses.replace(r, seconds=0) for r in after] == [dataclasses.replace(r, seconds=0) for r in whole]
    before = half.read_bytes()
    capsys.readouterr()
    assert main(arguments) == 0
    assert half.read_bytes() == before
    assert capsys.readouterr().out.count("; from the records") == 4


def test_a_bad_file_does_not_stop_the_run(
    networks: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = make_sid(tmp_path / "sid", "sony", splits=("test",), scenes_per_split=1)
    (data / "Sony" / "short" / "10001_00_0.1s.ARW").write_bytes(b"no photograph")
    out = tmp_path / "out"
    arguments = ["evaluate", "sid-sony-93", "--data", str(data), "--out", str(out), "--partial", "--ratio", "known"]
    assert main([*arguments, "--weights", networks[1]]) == 1
    assert "10001_00_0.1s" in capsys.readouterr().err
    assert [record.image for record in read_records(out / "records.jsonl")] == ["10001_00_0.04s"]
    assert "Not scored" in (out / "report.md").read_text()


def test_a_line_cut_off_inside_a_character_is_left_out(evaluated: Path, tmp_path: Path) -> None:
    line = (evaluated / "records.jsonl").read_bytes().splitlines(keepends=True)[0]
    entry = json.dumps(json.loads(line) | {"image": "Fenêtre\u2028rue"}, ensure_ascii=False).encode()
    path = tmp_path / "records.jsonl"
    path.write_bytes(entry + b"\n" + entry[: entry.index(b"\xc3") + 1])
    assert [record.image for record in read_records(path)] == ["Fenêtre\u2028rue"]
    path.write_bytes(entry[: entry.index(b"\xc3") + 1] + b"\n" + entry)
    with pytest.raises(DataError, match=r"records\.jsonl, line 1"):
        read_records(path)


def test_records_of_another_kind_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    path.write_text('{"image": "a"}\n{"image": "b"}\n')
    with pytest.raises(DataError, match=r"records\.jsonl, line 1"):
        read_records(path)


def test_finished_pictures_are_not_scored_as_mosaics(networks: list[str], tmp_path: Path) -> None:
    from alen.evaluate.pictures import check_network

    with pytest.raises(WeightsError, match="compares mosaics"):
        check_network(_SRGB, find_protocol("eld-SonyA7S2-x100"))
    check_network(_CAMERA, find_protocol("eld-SonyA7S2-x100"))


def test_networks_for_the_other_filter_array_are_refused_before_the_first_image() -> None:
    from alen.evaluate.pictures import check_network

    for protocol in PROTOCOLS.values():
        for cfa in ("bayer", "xtrans"):
            network = dataclasses.replace(_UNET, cfa=cfa, target="camera")
            if protocol.cfa in (None, cfa):
                check_network(network, protocol)
            else:
                with pytest.raises(WeightsError, match=f"is of {protocol.cfa} mosaics, .* made for {cfa}"):
                    check_network(network, protocol)
    assert {name: protocol.cfa for name, protocol in PROTOCOLS.items() if protocol.cfa != "bayer"} == {
        "sid-fuji-524": "xtrans",
        "sid-fuji-94": "xtrans",
        "sid-fuji-val": "xtrans",
        "pairs": None,
    }


def test_mosaics_are_compared_by_planes(sony: Path) -> None:
    pair = find_protocol("sid-sony-598").pairs(sony)[0]
    whole, square = (read_pair(pair, "mosaic", crop).truth for crop in (None, 64))
    assert whole.shape == (64, 96, 4)
    assert square.shape == (32, 32, 4)
    np.testing.assert_array_equal(square, whole[16:48, 32:64])
    assert 0 <= whole.min() < whole.max() <= 1


def test_eld_compares_mosaics(networks: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, out = make_eld(tmp_path / "eld", scenes=10), tmp_path / "out"
    arguments = ["evaluate", "eld-SonyA7S2-x200-crop512", "--data", str(data), "--out", str(out), "--ratio", "known"]
    assert main([*arguments, "--weights", networks[0]]) == 0
    records = read_records(out / "records.jsonl")
    assert len(records) == 30
    assert {record.deviation for record in records} == {""}
    assert {record.quantization for record in records} == {"none"}
    assert all(record.alpha is not None and 0.5 < record.alpha < 2 for record in records)
    assert set(next(iter(scores(records).values()))) == {200, None}
    assert "- Ratio: known: from ISO speed × exposure time of both files;" in (out / "report.md").read_text()
    assert main([*arguments, "--weights", networks[1]]) == 1
    assert "compares mosaics" in capsys.readouterr().err
    gone = data / "SonyA7S2" / "scene-3" / "IMG_0005.ARW"
    gone.unlink()
    assert main([*arguments, "--weights", networks[0]]) == 1
    assert f"  {gone}\n" in capsys.readouterr().err
    assert len(select(find_protocol("eld-SonyA7S2-x100"), data).pairs) == 30  # another ratio's file
    partial = select(find_protocol("eld-SonyA7S2-x200"), data, is_partial=True)
    assert partial.deviation == "29 of 30 images"
    assert [str(gone) in message for message in partial.left_out] == [True]


def test_parts_of_eld_and_of_own_pairs_are_scored(
    networks: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = make_eld(tmp_path / "eld", scenes=2)
    (data / "SonyA7S2" / "scene-2" / "IMG_0004.ARW").write_bytes(b"no photograph")
    protocol = find_protocol("eld-SonyA7S2-x100")
    selection = select(protocol, data, is_partial=True)
    assert selection.deviation == "5 of 30 images"
    with pytest.raises(DataError, match="60 of the 60 files of SonyA7S2 at ×100"):
        select(protocol, tmp_path, is_partial=True)
    table = tmp_path / "pairs.csv"
    place = "eld/SonyA7S2/scene-1"
    lines = [f"{place}/IMG_0004.ARW,{place}/IMG_0006.ARW,100\n", f"{place}/none.ARW,{place}/IMG_0006.ARW,100\n"]
    table.write_text("".join(["short,long,ratio\n", *lines]))
    arguments = ["evaluate", "pairs", "--data", str(table), "--out", str(tmp_path / "out"), "--weights", networks[0]]
    assert main(arguments) == 1
    assert "pairs.csv, line 3: " in capsys.readouterr().err
    assert main([*arguments, "--partial", "--ratio", "known"]) == 0
    assert "left out: " in capsys.readouterr().out
    assert [record.deviation for record in read_records(tmp_path / "out" / "records.jsonl")] == ["1 of 2 images"]
    table.write_text("".join(["short,long,ratio\n", lines[1]]))
    with pytest.raises(DataError, match=r"no pair in .* can be scored:\n.*line 2: .*none\.ARW"):
        select(find_protocol("pairs"), table, is_partial=True)


def test_own_pairs_are_scored(networks: list[str], tmp_path: Path) -> None:
    write_exposure(tmp_path / "dark.dng", relative=0.02, time_s=0.2)
    write_exposure(tmp_path / "bright.dng")
    table = tmp_path / "pairs.csv"
    table.write_text("short,long\ndark.dng,bright.dng\n")
    out = tmp_path / "out"
    arguments = ["evaluate", "pairs", "--data", str(table), "--out", str(out), "--quantize", "none"]
    assert main([*arguments, "--engine", "torch", "--weights", networks[0]]) == 0
    known, estimated = read_records(out / "records.jsonl")
    assert (known.ratio_origin, estimated.ratio_origin) == ("known", "estimated")
    assert known.ratio == pytest.approx(50)
    assert known.quantization == "none"
    assert known.engine.startswith("torch")
    write_exposure(tmp_path / "dark.dng", seed=1, relative=0.02, time_s=0.2)  # another photograph of the same name
    assert main([*arguments, "--engine", "torch", "--weights", networks[0]]) == 0
    again = read_records(out / "records.jsonl")
    assert len(again) == 4
    assert again[2].files != known.files
    crops = [out / "crops" / r.digest / f"{r.image}-{r.files}.jpg" for r in (known, again[2])]
    assert crops[0].read_bytes() != crops[1].read_bytes()
    write_exposure(tmp_path / "dark.dng", relative=0.02, time_s=0.2)  # the first one again, from the records
    assert main([*arguments, "--engine", "torch", "--weights", networks[0]]) == 0
    assert len(read_records(out / "records.jsonl")) == 4
    assert base64.b64encode(crops[0].read_bytes()).decode() in (out / "report.html").read_text()


def test_frames_of_a_burst_have_fingerprints_of_their_own(tmp_path: Path) -> None:
    """Taken in the same second they may differ in their pixels alone."""
    head = bytes(1 << 17)
    prints = set()
    for name, pixels in (("a", head), ("b", b"\1" + head[1:]), ("c", head)):
        path = tmp_path / name
        path.write_bytes(head + pixels)
        pair = RawPair(
            name=name, scene="s", camera="c", short=path, reference=path, short_s=1.0, reference_s=1.0, ratio=1.0
        )
        prints.add(fingerprint(pair))
    assert len(prints) == 2  # copies are the same


def test_records_follow_the_list(networks: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Another ratio in the list is measured anew; another scene is taken over."""
    write_exposure(tmp_path / "dark.dng", relative=0.02, time_s=0.2)
    write_exposure(tmp_path / "bright.dng")
    table, out = tmp_path / "pairs.csv", tmp_path / "out"
    arguments = ["evaluate", "pairs", "--data", str(table), "--out", str(out), "--weights", networks[0]]
    table.write_text("short,long,ratio,scene\ndark.dng,bright.dng,50,first\n")
    assert main(arguments) == 0
    report = (out / "report.md").read_text()
    assert "| ×50 |" in report
    assert "- Ratio: known: as the list gives it, else from the exposure times of both files; estimated:" in report
    table.write_text("short,long,ratio,scene\ndark.dng,bright.dng,20,second\n")
    assert main(arguments) == 0
    known, estimated, anew = read_records(out / "records.jsonl")
    assert (known.ratio, estimated.ratio_origin, anew.ratio) == (50, "estimated", 20)
    assert anew.psnr_db != known.psnr_db
    (pair,) = (selection := select(find_protocol("pairs"), table)).pairs
    work = Run(find_protocol("pairs"), selection, [load_weights(Path(networks[0]))], Settings(), out)
    (step,) = work.steps()
    assert step.measured == 0
    assert {(r.scene, r.exposure_ratio) for r in step.records} == {(pair.scene, pair.ratio)} == {("second", 20)}


def test_networks_of_one_name_are_told_apart(networks: list[str], tmp_path: Path) -> None:
    write_exposure(tmp_path / "dark.dng", relative=0.02, time_s=0.2)
    write_exposure(tmp_path / "bright.dng")
    table, out = tmp_path / "pairs.csv", tmp_path / "out"
    table.write_text("short,long\ndark.dng,bright.dng\n")
    runs = [tmp_path / seed / "sid-sony" / "weights.safetensors" for seed in ("first", "second")]
    for run, network in zip(runs, networks, strict=False):
        run.parent.mkdir(parents=True)
        shutil.copy(network, run)
    arguments = ["evaluate", "pairs", "--data", str(table), "--out", str(out), "--ratio", "known", "--weights"]
    for names, chosen in (({"sid-sony"}, runs[:1]), ({f"sid-sony-{load_weights(run).digest}" for run in runs}, runs)):
        assert main([*arguments, *map(str, chosen)]) == 0
        rows = re.findall(r"^\| (\S+) \| known \|", (out / "report.md").read_text(), re.MULTILINE)
        assert (set(rows), len(rows)) == (names, len(names))  # also where the figures come from the records
    assert len(read_records(out / "records.jsonl")) == 2


def test_both_engines_agree(sony: Path, networks: list[str]) -> None:
    weights = load_weights(Path(networks[0]))
    pair = find_protocol("sid-sony-598").pairs(sony)[0]
    exposures = read_pair(pair, "picture")
    pictures = [
        predict(
            exposures,
            100.0,
            "known",
            engine=make_engine(weights, Settings(engine=name)),
            config=weights.config,
            protocol=find_protocol("sid-sony-598"),
        ).values
        for name in ("openvino", "torch")
    ]
    np.testing.assert_allclose(*pictures, atol=2e-3)


def test_xtrans_frames_are_scored(tmp_path: Path) -> None:
    data = make_sid(tmp_path / "sid", "fuji", splits=("test",), scenes_per_split=1)
    weights = _weights(tmp_path / "xtrans.safetensors", dataclasses.replace(_UNET, cfa="xtrans"))
    out = tmp_path / "out"
    arguments = ["evaluate", "sid-fuji-94", "--data", str(data), "--out", str(out), "--partial", "--ratio", "known"]
    assert main([*arguments, "--weights", weights]) == 0
    records = read_records(out / "records.jsonl")
    assert [(record.height_px, record.width_px) for record in records] == [(960, 1440)] * 2  # whole patterns
    assert all(record.ms_ssim is not None for record in records)


# ---------------------------------------------------------------------------------------------------------------------
# Means, report
# ---------------------------------------------------------------------------------------------------------------------


def test_bootstrap_is_deterministic_and_draws_scenes() -> None:
    rng = np.random.default_rng(0)
    scene_means = np.repeat(rng.normal(30, 2, 40), 10)
    values = scene_means + rng.normal(0, 0.1, 400)
    scenes = [str(index // 10) for index in range(400)]
    interval = bootstrap_mean(values, scenes, seed=3)
    assert interval == bootstrap_mean(values, scenes, seed=3)
    assert interval != bootstrap_mean(values, scenes, seed=4)
    assert interval.mean == pytest.approx(values.mean())
    assert interval.low is not None
    assert interval.high is not None
    assert interval.low < interval.mean < interval.high
    # 40 scenes decide, not 400 images: ± 1.96 · 2 / √40
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * scene_means.std() / 40**0.5, rel=0.15)
    assert bootstrap_mean([1.0, 2.0], ["a", "a"], seed=0).low is None


def test_means_are_of_images_and_differences_by_image(evaluated: Path) -> None:
    records = read_records(evaluated / "records.jsonl")
    for method, by_ratio in scores(records).items():
        own = [r for r in records if (r.digest, r.ratio_origin) == (method.digest, method.ratio_origin)]
        assert by_ratio[None].psnr_db.mean == pytest.approx(np.mean([r.psnr_db for r in own]))
        assert by_ratio[100].images == by_ratio[250].images == 2
    found = differences(records)
    assert [(d.first.weights, d.second.weights) for d in found] == [("paper", "camera")] * 2 + [("unet", "camera")] * 2


def test_reports_stand_on_their_own(evaluated: Path) -> None:
    page = (evaluated / "report.html").read_text()
    text = (evaluated / "report.md").read_text()
    assert not re.search(r"""(?:src|href|srcset|action|data)\s*=\s*["']?(?!data:)[^"'\s>]""", page)
    assert not re.search(r"@import|url\(|<script|<link|<iframe", page)
    assert "http" not in re.sub(r"base64,[A-Za-z0-9+/=]+", "", page)
    assert page.count("data:image/jpeg;base64,") == 4 * 3  # worst and best of 4 images, each once
    assert "<svg" in page
    for report in (page, text):
        assert "4 of 598 images" in report
        assert "28.88" in report  # published under this protocol
        assert "cut off to 8 bits" in report
        assert "left out: no weights file was named (--lpips FILE)" in report
        assert "test: for reporting alone" in report
        assert "known: from the exposure times in the files" in report


def test_published_figures_are_marked_and_have_sources() -> None:
    assert all(figure.source and figure.mark in "SCR" for figure in PUBLISHED)
    paper = {(f.method, f.ratio): f.psnr_db for f in same_protocol("sid-sony-88")}
    assert paper["ALEN", None] == 29.86
    assert paper["ALEN", 300] == 28.66
    assert not {f.protocol for f in other_protocols("sid-sony-88")} & {"sid-sony-88", "sid-fuji"}
    assert other_protocols("sid-sony-val") == ()
    for protocol in PROTOCOLS:  # a printed mean stands in a report once
        figures = [*same_protocol(protocol), *other_protocols(protocol)]
        printed = [(f.method, f.psnr_db, f.ssim, f.source) for f in figures if f.ratio is None]
        assert len(set(printed)) == len(printed), protocol


# ---------------------------------------------------------------------------------------------------------------------
# LPIPS
# ---------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def lpips_file(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    shapes = {0: (8, 3, 11, 11), 3: (12, 8, 5, 5), 6: (16, 12, 3, 3), 8: (16, 16, 3, 3), 10: (16, 16, 3, 3)}
    arrays = {}
    for index, (number, shape) in enumerate(shapes.items()):
        arrays[f"features.{number}.weight"] = rng.normal(0, 0.1, shape).astype(np.float32)
        arrays[f"features.{number}.bias"] = rng.normal(0, 0.1, shape[0]).astype(np.float32)
        arrays[f"lin{index}.model.1.weight"] = rng.random((1, shape[0], 1, 1)).astype(np.float32)
    save_file(arrays, tmp_path / "lpips.safetensors")
    return tmp_path / "lpips.safetensors"


def test_lpips_is_a_distance(lpips_file: Path) -> None:
    rng = np.random.default_rng(1)
    truth = rng.random((63, 71, 3), dtype=np.float32)
    near, far = (np.clip(truth + s * rng.standard_normal(truth.shape), 0, 1).astype(np.float32) for s in (0.02, 0.3))
    measure = Lpips(lpips_file)
    assert measure.distance(truth, truth) == 0
    assert measure.distance(near, truth) == pytest.approx(measure.distance(truth, near), rel=1e-5)
    assert 0 < measure.distance(near, truth) < measure.distance(far, truth)
    with pytest.raises(SettingsError, match="at least 31"):
        measure.distance(truth[:30], truth[:30])


def test_lpips_names_what_a_file_lacks(tmp_path: Path) -> None:
    save_file({"features.0.weight": np.zeros((8, 3, 11, 11), np.float32)}, tmp_path / "other.safetensors")
    with pytest.raises(WeightsError, match=r"holds no features\.0\.bias"):
        Lpips(tmp_path / "other.safetensors")

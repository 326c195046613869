"""From a RAW image to linear camera RGB and a picture: every phase, odd sizes, and what the numbers mean."""

import dataclasses
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from alen.cfa import BAYER_PHASES, CFA, pack, pack_xtrans, xtrans_reference
from alen.config import AlenConfig
from alen.enhance import Enhancer, amplified_planes
from alen.errors import DeviceError, PictureError, SettingsError, UnsupportedRawError, WeightsError
from alen.levels import amplify, bright_ratio, normalize
from alen.models.alen import Alen
from alen.picture import quantize, write_linear_tiff, write_picture
from alen.weights import TrainingFacts, save_weights, shipped_names
from frames import BLACK, GAINS, RATIO, WHITE, Demosaicker, expose, make_raw, ramp

every_phase = pytest.mark.parametrize("phase", BAYER_PHASES)
every_size = pytest.mark.parametrize(("height", "width"), [(64, 96), (61, 83), (62, 97), (101, 64)])


@pytest.fixture(scope="module")
def enhancer(tmp_path_factory: pytest.TempPathFactory) -> Enhancer:
    """A small network with random weights."""
    config = dataclasses.replace(AlenConfig.shipped(), widths=(4, 8, 8, 8))
    torch.manual_seed(0)
    arrays = {name: value.numpy() for name, value in Alen(config).state_dict().items()}
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    save_weights(path, arrays, config, TrainingFacts(steps=0, photographs=0))
    return Enhancer(path, precision="float32", threads=1)


@pytest.fixture(scope="module")
def xtrans_enhancer(tmp_path_factory: pytest.TempPathFactory) -> Enhancer:
    """A small network that shows the frame demosaicked by the isotropic filters."""
    config = dataclasses.replace(AlenConfig.xtrans(), widths=(4, 8, 8, 8))
    network = Alen(config)
    with torch.no_grad():
        network.head.weight.zero_()
        network.head.bias.view(config.head_channels, -1)[[27, 34]] = 60.0  # its shares of luma and of color
    arrays = {name: value.numpy() for name, value in network.state_dict().items()}
    path = tmp_path_factory.mktemp("weights") / "small-xtrans.safetensors"
    save_weights(path, arrays, config, TrainingFacts(steps=0, photographs=0))
    return Enhancer(path, precision="float32", threads=1)


@pytest.fixture
def demosaicker(enhancer: Enhancer, monkeypatch: pytest.MonkeyPatch) -> Enhancer:
    """The same pipeline around `Demosaicker`."""
    monkeypatch.setattr(enhancer, "_named", dataclasses.replace(enhancer._named, engine=Demosaicker()))
    monkeypatch.setattr(enhancer, "_max_memory_bytes", None)
    return enhancer


_STEP = RATIO * max(GAINS) / (WHITE - 510)
"""What a step of the sensor is in the result."""


@every_phase
@every_size
def test_pixels_stay_where_they_are(demosaicker: Enhancer, phase: str, height: int, width: int) -> None:
    scene = ramp(height, width)
    linear = demosaicker.enhance(expose(scene, CFA.bayer(phase)), ratio=RATIO).linear
    assert linear.shape == (height, width, 3)
    assert linear.dtype == np.float32
    inside = np.s_[2:-2, 2:-2]  # the ramp is mirrored at the edge
    np.testing.assert_allclose(linear[inside], scene[inside], atol=2 * _STEP)


@every_phase
def test_a_crop_of_the_sensor_is_a_crop_of_the_picture(demosaicker: Enhancer, phase: str) -> None:
    """Rolling the mosaic rolls the pattern and the picture."""
    rng = np.random.default_rng(1)
    raw = expose(rng.uniform(0.1, 0.9, (60, 70, 3)), CFA.bayer(phase))
    whole = demosaicker.enhance(raw, ratio=RATIO).linear
    for dy, dx in ((1, 0), (0, 1), (1, 1), (3, 2)):
        part = dataclasses.replace(raw, mosaic=raw.mosaic[dy:, dx:], cfa=raw.cfa.shifted(dy, dx))
        linear = demosaicker.enhance(part, ratio=RATIO).linear
        np.testing.assert_allclose(linear[4:-4, 4:-4], whole[dy:, dx:][4:-4, 4:-4], atol=1e-5)


@every_phase
@every_size
def test_the_network_sees_every_phase_alike(enhancer: Enhancer, phase: str, height: int, width: int) -> None:
    """A mosaic of another phase is the RGGB mosaic it becomes when it is mirrored outward, less what was added."""
    rng = np.random.default_rng(2)
    raw = expose(rng.uniform(0.1, 0.9, (height, width, 3)), CFA.bayer(phase))
    linear = enhancer.enhance(raw, ratio=RATIO).linear
    assert linear.shape == (height, width, 3)
    assert np.isfinite(linear).all()
    top, left = divmod(phase.index("R"), 2)
    mirrored = make_raw(np.pad(raw.mosaic, ((top, 0), (left, 0)), mode="reflect"), CFA.bayer("RGGB"))
    expected = enhancer.enhance(mirrored, ratio=RATIO).linear[top:, left:]
    np.testing.assert_allclose(linear, expected, atol=1e-6)


@every_phase
def test_gray_is_gray(demosaicker: Enhancer, phase: str) -> None:
    """Also where a channel saturates: nothing turns magenta."""
    for level in (0.2, 0.9, 20.0):
        gray = np.full((33, 47, 3), level)
        picture = demosaicker.enhance(expose(gray, CFA.bayer(phase)), ratio=RATIO).picture()
        assert picture.shape == (33, 47, 3)
        assert 0 <= picture.min() <= picture.max() <= 1
        assert np.ptp(picture, axis=2).max() < 2 / 255
        assert np.ptp(picture) < 4 / 255


def test_shadows_keep_their_sign(demosaicker: Enhancer) -> None:
    """Noise around black has the mean black, not the mean of what is left after clipping."""
    rng = np.random.default_rng(3)
    cfa = CFA.bayer("RGGB")
    black = np.array(BLACK)[cfa.plane_map(128, 128)]
    dark = make_raw(np.rint(rng.normal(black, 8)).astype(np.uint16), cfa)
    linear = demosaicker.enhance(dark, ratio=100.0).linear
    assert linear.min() < -0.1
    assert abs(linear.mean()) < 0.004  # clipped at 0 it would be 0.03


def test_exposure_is_a_choice_of_the_development(demosaicker: Enhancer) -> None:
    enhanced = demosaicker.enhance(expose(np.full((32, 32, 3), 0.1), CFA.bayer("RGGB")), ratio=RATIO)
    means = [float(enhanced.picture(exposure_ev=ev).mean()) for ev in (-1.0, 0.0, 1.0)]
    assert means[0] < means[1] < means[2]
    np.testing.assert_allclose(enhanced.linear, 0.1, atol=2 * _STEP)


def test_a_picture_may_take_the_place_of_the_linear_one(demosaicker: Enhancer) -> None:
    enhanced = demosaicker.enhance(expose(ramp(61, 83), CFA.bayer("GBRG")), ratio=RATIO)
    apart = enhanced.picture(exposure_ev=0.5)
    assert enhanced.picture(exposure_ev=0.5, out=enhanced.linear) is enhanced.linear
    np.testing.assert_array_equal(enhanced.linear, apart)


def test_the_ratio_scales_the_result(demosaicker: Enhancer) -> None:
    raw = expose(ramp(40, 48), CFA.bayer("GRBG"))
    once, twice = (demosaicker.enhance(raw, ratio=ratio) for ratio in (10.0, 20.0))
    np.testing.assert_allclose(twice.linear, 2 * once.linear, rtol=1e-5)
    assert (once.ratio, once.ratio_is_estimated) == (10.0, False)


def test_without_a_ratio_it_is_estimated(demosaicker: Enhancer) -> None:
    scene = ramp(64, 80) * 0.3
    estimates = [demosaicker.enhance(expose(scene, CFA.bayer("RGGB"), ratio)) for ratio in (10.0, 40.0)]
    assert all(enhanced.ratio_is_estimated for enhanced in estimates)
    assert estimates[1].ratio == pytest.approx(4 * estimates[0].ratio, rel=0.05)


def test_the_look_is_that_of_the_estimate(demosaicker: Enhancer) -> None:
    scene = np.full((64, 96, 3), 0.02)
    scene[:, :12] = 0.5  # an eighth of the frame is lit
    raw = expose(scene, CFA.bayer("RGGB"))
    natural, bright = (demosaicker.enhance(raw, look=look) for look in ("natural", "bright"))
    assert demosaicker.enhance(raw).ratio == bright.ratio > natural.ratio
    assert demosaicker.finish(raw, look="bright").ratio == bright.ratio
    assert natural.metadata["ExposureRatio"] == f"{natural.ratio:.4g} (estimated, natural look)"
    assert demosaicker.enhance(raw, ratio=5.0, look="bright").ratio == 5.0
    with pytest.raises(SettingsError, match="The look is natural or bright"):
        demosaicker.enhance(raw, ratio=5.0, look="dark")  # type: ignore[arg-type]


def test_a_ratio_far_too_high_is_made_of_a_picture_that_is_not(enhancer: Enhancer) -> None:
    """Above white networks leave the noise; of what they see half lies at 0.7 at most, and the rest follows."""
    scene = np.full((96, 128, 3), 0.3) * np.linspace(0.5, 1.5, 128)[:, None]
    noise = np.random.default_rng(0).normal(0, 0.03, scene.shape)
    raw = expose(scene + noise, CFA.bayer("RGGB"))
    most = bright_ratio(normalize(raw.mosaic, raw.cfa, BLACK, WHITE), raw.cfa, GAINS, 0.7, 0.05)
    assert most == pytest.approx(RATIO * 0.7 / 0.3, rel=0.03)
    seen, brighter = enhancer.enhance(raw, ratio=most), enhancer.enhance(raw, ratio=1.5 * most)
    assert brighter.ratio == 1.5 * most
    np.testing.assert_allclose(brighter.linear, 1.5 * seen.linear, rtol=1e-5, atol=1e-6)
    assert "NetworkRatio" not in seen.metadata
    assert brighter.metadata["NetworkRatio"] == f"{most:.4g}"
    assert brighter.metadata["ExposureRatio"] == f"{1.5 * most:.4g} (given)"
    finished = enhancer.finish(raw, ratio=1.5 * most, exposure_ev=-1.0)
    expected = np.rint(brighter.picture(exposure_ev=-1.0) * 255)
    assert np.abs(finished.picture - expected).max() <= 1
    assert enhancer.finish(raw, ratio=1.5 * most, exposure_ev=20.0).picture.min() == 255


def test_a_night_with_lamps_is_seen_as_dark_as_it_is(enhancer: Enhancer) -> None:
    """However bright the lamps: only where half of a frame would be too bright the network sees less."""
    scene = np.full((96, 128, 3), 0.05)
    scene[40:60, 50:90] = 30.0
    raw = expose(scene, CFA.bayer("RGGB"), ratio=RATIO)
    assert enhancer.enhance(raw).ratio < RATIO / 2
    assert "NetworkRatio" not in enhancer.enhance(raw, ratio=RATIO).metadata


@pytest.mark.parametrize("window", [0.3, 0.55, 0.85])
def test_a_window_does_not_hide_the_room(enhancer: Enhancer, window: float) -> None:
    """However much of the frame it fills: the ratio was given for the rest, and the network sees that as it is."""
    scene = np.random.default_rng(0).uniform(0.1, 0.4, (96, 128, 3))
    scene[:, : round(128 * window)] = 0.5 * 100
    seen = enhancer.enhance(expose(scene, CFA.bayer("RGGB"), ratio=100), ratio=100)
    network_ratio = float(seen.metadata.get("NetworkRatio", "100"))
    assert 0.045 <= 0.25 * network_ratio / 100 <= 0.25


@pytest.mark.parametrize("ratio", [0.0, 0.99, 300.1, -5.0, float("nan"), float("inf")])
def test_ratios_out_of_range(enhancer: Enhancer, ratio: float) -> None:
    raw = expose(ramp(32, 32), CFA.bayer("RGGB"))
    with pytest.raises(SettingsError, match="The ratio lies between 1 and 300"):
        enhancer.enhance(raw, ratio=ratio)


@pytest.mark.parametrize("file", ["night.dng", Path("night.dng"), b"II*", None])
def test_a_file_is_read_before_it_is_enhanced(enhancer: Enhancer, file: Any) -> None:
    """Whoever forgets it is told how."""
    for method in (enhancer.enhance, enhancer.finish, amplified_planes):
        with pytest.raises(SettingsError, match=r"A RawImage is needed; got \w+\. .*read_raw\(") as told:
            method(file)
        assert ("read_raw('night.dng')" in str(told.value)) == isinstance(file, str | Path)


def test_a_picture_is_written_not_what_it_is_made_of(demosaicker: Enhancer, tmp_path: Path) -> None:
    enhanced = demosaicker.enhance(expose(ramp(64, 96), CFA.bayer("RGGB")), ratio=RATIO)
    for write in (write_picture, write_linear_tiff):
        with pytest.raises(SettingsError, match=r"array \(H, W, 3\); got Enhanced\. .*picture\(\)"):
            write(tmp_path / "a.tif", enhanced)
    assert not list(tmp_path.iterdir())


def test_weights_for_another_filter_array_are_refused(enhancer: Enhancer, xtrans_enhancer: Enhancer) -> None:
    """A file's own weights say what they are for; those that ship find their like."""
    with pytest.raises(UnsupportedRawError, match=r"test.dng: is of an X-Trans sensor, but the weights small are"):
        enhancer.enhance(make_raw(np.full((60, 90), 600, np.uint16), CFA.xtrans()))
    with pytest.raises(UnsupportedRawError, match=r"test.dng: is of a Bayer sensor, but the weights small-xtrans"):
        xtrans_enhancer.enhance(make_raw(np.full((60, 90), 600, np.uint16), CFA.bayer("RGGB")))


@pytest.mark.skipif("alen-xtrans" not in shipped_names(), reason="the weights are not part of this checkout")
def test_shipped_weights_take_both_kinds_of_sensors() -> None:
    both = Enhancer("alen-fast", precision="float32", threads=1)
    models = []
    for cfa in (CFA.bayer("GRBG"), CFA.xtrans(), CFA.bayer("RGGB")):
        scene = np.broadcast_to(np.array([0.6, 0.4, 0.2]), (96, 144, 3))
        enhanced = both.enhance(expose(scene, cfa), ratio=RATIO)
        np.testing.assert_allclose(enhanced.linear.mean(axis=(0, 1)), [0.6, 0.4, 0.2], rtol=0.1)
        models.append(enhanced.metadata["Model"].split()[0])
    assert models == ["alen-fast", "alen-xtrans", "alen-fast"]


_XTRANS_SHIFTS = [(0, 0), (1, 4), (5, 3), (2, 2)]


@pytest.mark.parametrize("shift", _XTRANS_SHIFTS)
@every_size
def test_of_xtrans_pixels_stay_where_they_are(
    xtrans_enhancer: Enhancer, shift: tuple[int, int], height: int, width: int
) -> None:
    """A crop of the mosaic, whose pattern begins elsewhere, gives a crop of the picture."""
    scene = ramp(height, width)
    cfa = CFA.xtrans().shifted(*shift)
    linear = xtrans_enhancer.enhance(expose(scene, cfa), ratio=RATIO).linear
    assert linear.shape == (height, width, 3)
    inside = np.s_[6:-6, 6:-6]
    np.testing.assert_allclose(linear[inside], scene[inside], atol=0.02)
    finished = xtrans_enhancer.finish(expose(scene, cfa), ratio=RATIO)
    assert finished.picture.shape == (height, width, 3)


@pytest.mark.parametrize("shift", _XTRANS_SHIFTS)
def test_xtrans_planes_are_made_row_by_row(shift: tuple[int, int]) -> None:
    cfa = CFA.xtrans().shifted(*shift)
    raw = expose(np.random.default_rng(2).uniform(0, 1, (61, 83, 3)), cfa)
    amplified = amplified_planes(raw, RATIO)
    mosaic = amplify(normalize(raw.mosaic, cfa, BLACK, WHITE), cfa, GAINS, RATIO)
    whole = pack_xtrans(amplified.padding.pad(mosaic), xtrans_reference())
    assert amplified.shape == whole.shape
    for start in range(0, whole.shape[1], 3):
        stop = min(start + 3, whole.shape[1])
        np.testing.assert_array_equal(amplified.rows(start, stop), whole[:, start:stop])


def test_a_black_level_proven_too_high_is_lowered() -> None:
    """The planes, the estimated ratio and the metadata all go by the level that the dark areas prove."""
    raw = expose(np.zeros((256, 256, 3)), CFA.bayer("RGGB"))
    drifted = dataclasses.replace(raw, black_level=(raw.black_level[0] + 9.0, *raw.black_level[1:]))
    amplified = amplified_planes(drifted, RATIO)
    assert amplified.raw.black_level == pytest.approx(raw.black_level, abs=0.5)
    np.testing.assert_array_equal(amplified.raw.mosaic, drifted.mosaic)
    assert amplified.rows(0, 128).mean() == pytest.approx(amplified_planes(raw, RATIO).rows(0, 128).mean(), abs=1e-3)


def test_metadata_tell_how_it_was_made(enhancer: Enhancer) -> None:
    enhanced = enhancer.enhance(expose(ramp(32, 32), CFA.bayer("RGGB")), ratio=12.5)
    assert enhanced.metadata["ExposureRatio"] == "12.5 (given)"
    assert enhanced.metadata["BlackLevel"] == ", ".join(f"{level:.2f}" for level in BLACK)
    assert enhanced.metadata["Model"] == f"small {enhancer.weights.digest}"
    assert enhanced.metadata["Software"].startswith("alen ")
    assert "CPU, float32" in enhanced.metadata["Engine"]
    assert list(enhanced.seconds) == ["prepare", "network"]


def test_missing_weights(tmp_path: Path) -> None:
    with pytest.raises(WeightsError):
        Enhancer(tmp_path / "none.safetensors")


def test_weights_that_paint_finished_pictures_are_refused(tmp_path: Path) -> None:
    """Their output is sRGB already; developed once more it would look like a picture with wrong colors."""
    config = AlenConfig(widths=(4, 8, 8, 8))
    arrays = {name: value.numpy() for name, value in Alen(config).state_dict().items()}
    path = tmp_path / "srgb.safetensors"
    save_weights(path, arrays, config, TrainingFacts(steps=0, photographs=0))
    with pytest.raises(WeightsError, match="finished sRGB"):
        Enhancer(path)


@every_phase
@every_size
def test_planes_are_made_row_by_row(phase: str, height: int, width: int) -> None:
    """As of the whole mosaic, normalized, amplified, padded and packed, to the last bit."""
    cfa = CFA.bayer(phase)
    raw = expose(np.random.default_rng(2).uniform(0, 1, (height, width, 3)), cfa)
    amplified = amplified_planes(raw, RATIO)
    mosaic = amplify(normalize(raw.mosaic, cfa, BLACK, WHITE), cfa, GAINS, RATIO)
    whole = pack(amplified.padding.pad(mosaic), CFA.bayer("RGGB"))
    assert amplified.shape == whole.shape
    for start in range(0, whole.shape[1], 3):
        stop = min(start + 3, whole.shape[1])
        np.testing.assert_array_equal(amplified.rows(start, stop), whole[:, start:stop])


@every_phase
@every_size
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_finished_picture_is_the_enhanced_one_rounded(
    demosaicker: Enhancer, phase: str, height: int, width: int, dtype: type[np.uint8] | type[np.uint16]
) -> None:
    raw = expose(np.random.default_rng(2).uniform(0, 2, (height, width, 3)), CFA.bayer(phase))
    finished = demosaicker.finish(raw, ratio=RATIO, exposure_ev=0.5, dtype=dtype)
    expected = np.empty((height, width, 3), dtype=dtype)
    quantize(demosaicker.enhance(raw, ratio=RATIO).picture(exposure_ev=0.5), out=expected, name="a")
    assert finished.picture.dtype == dtype
    different = finished.picture != expected  # half way between two steps, but for float32's last bits
    np.testing.assert_allclose(finished.picture.astype(int), expected.astype(int), atol=1)
    assert different.mean() < (0.001 if dtype is np.uint8 else 0.05)
    assert (finished.ratio, finished.ratio_is_estimated) == (RATIO, False)
    assert list(finished.seconds) == ["prepare", "network"]


@every_size
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_in_whole_numbers_both_are_the_same(
    demosaicker: Enhancer, height: int, width: int, dtype: type[np.uint8] | type[np.uint16]
) -> None:
    """Whatever is written beside a picture, the picture stays."""
    raw = expose(np.random.default_rng(2).uniform(0, 1.2, (height, width, 3)), CFA.bayer("GRBG"))
    finished = demosaicker.finish(raw, ratio=RATIO, exposure_ev=0.5, dtype=dtype)
    developed = demosaicker.enhance(raw, ratio=RATIO).developed(dtype, exposure_ev=0.5)
    np.testing.assert_array_equal(developed, finished.picture)


@pytest.mark.parametrize("exposure_ev", [np.nan, np.inf, 20.5, -21.0])
def test_exposures_out_of_range(demosaicker: Enhancer, exposure_ev: float) -> None:
    raw = expose(ramp(64, 64), CFA.bayer("RGGB"))
    with pytest.raises(SettingsError, match="within ±20 stops"):
        demosaicker.finish(raw, exposure_ev=exposure_ev)
    enhanced = demosaicker.enhance(raw)
    for make in (enhanced.picture, partial(enhanced.developed, np.uint8)):
        with pytest.raises(SettingsError, match="within ±20 stops"):
            make(exposure_ev=exposure_ev)


def test_finished_pictures_of_other_numbers_are_refused(demosaicker: Enhancer) -> None:
    raw = expose(ramp(64, 64), CFA.bayer("RGGB"))
    with pytest.raises(SettingsError, match="uint8 or uint16; got float32"):
        demosaicker.finish(raw, dtype=np.float32)  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="uint8 or uint16; got float32"):
        demosaicker.enhance(raw).developed(np.float32)


def test_what_is_no_number_is_not_developed(demosaicker: Enhancer) -> None:
    """Whole numbers could not tell."""
    enhanced = demosaicker.enhance(expose(ramp(64, 64), CFA.bayer("RGGB")))
    enhanced.linear[40, 7, 1] = np.nan
    with pytest.raises(PictureError, match="not finite numbers"):
        enhanced.developed(np.uint8)


@pytest.mark.skipif("alen-xtrans" not in shipped_names(), reason="the weights are not part of this checkout")
def test_threads_that_come_at_the_same_time_make_one_network_for_xtrans(monkeypatch: pytest.MonkeyPatch) -> None:
    both = Enhancer("alen-fast", precision="float32", threads=1)
    made = []

    def load(model: str) -> object:
        made.append(model)
        time.sleep(0.05)
        return both._named

    monkeypatch.setattr(both, "_load", load)
    raw = make_raw(np.full((60, 90), 600, np.uint16), CFA.xtrans())
    with ThreadPoolExecutor(4) as pool:
        found = [pool.submit(both._network_for, raw) for _ in range(4)]
    assert {id(network.result()) for network in found} == {id(both._named)}
    assert made == ["alen-xtrans"]


def test_what_progress_raises_is_not_taken_for_the_engines(enhancer: Enhancer) -> None:
    """Programs stop a frame like this, and OpenVINO's own errors are RuntimeErrors, too."""

    def stop(share: float) -> None:
        raise RuntimeError("not wanted any more")

    raw = expose(ramp(64, 96), CFA.bayer("RGGB"))
    with pytest.raises(RuntimeError, match=r"^not wanted any more$"):
        enhancer.finish(raw, ratio=RATIO, progress=stop)
    assert enhancer.finish(raw, ratio=RATIO).picture.any()


def test_progress_grows_to_the_whole(enhancer: Enhancer) -> None:
    """Told by the real engine."""
    raw = expose(ramp(128, 96), CFA.bayer("RGGB"))
    shares: list[float] = []
    enhancer.finish(raw, ratio=RATIO, progress=shares.append)
    assert len(shares) >= 7  # stages
    assert shares == sorted(shares)
    assert 0 < shares[0] < 0.5
    assert shares[-1] == pytest.approx(1)


def test_frames_that_need_more_memory_than_allowed_are_refused(demosaicker: Enhancer) -> None:
    raw = expose(ramp(64, 96), CFA.bayer("RGGB"))
    demosaicker._max_memory_bytes = 200_000_000
    demosaicker.finish(raw, ratio=RATIO)
    demosaicker._max_memory_bytes = 120_000_000
    for enhance in (demosaicker.finish, demosaicker.enhance):
        with pytest.raises(DeviceError, match=r"test.dng: 0 megapixels need about 0.1 GB, more than the 0.12 GB"):
            enhance(raw, ratio=RATIO)


@pytest.mark.parametrize("size", [0, -1, float("nan")])
def test_no_memory_at_all_is_no_setting(size: float, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="The largest memory is above 0"):
        Enhancer(tmp_path / "none.safetensors", max_memory_bytes=size)  # type: ignore[arg-type]


@pytest.mark.parametrize("cfa", [CFA.bayer("GBRG"), CFA.xtrans()], ids=lambda cfa: cfa.kind)
def test_hot_pixels_do_not_reach_the_picture(
    cfa: CFA, demosaicker: Enhancer, xtrans_enhancer: Enhancer, monkeypatch: pytest.MonkeyPatch
) -> None:
    clean = expose(np.full((67, 91, 3), 0.2), cfa)
    hot = clean.mosaic.copy()
    hot[20, 30] = hot[41, 55] = 9000
    hot[33, 70] = 0
    raw = dataclasses.replace(make_raw(hot, cfa), name="hot.dng")
    with_them = demosaicker if cfa.is_bayer else xtrans_enhancer
    enhanced = with_them.enhance(raw, ratio=RATIO)
    np.testing.assert_allclose(enhanced.linear, with_them.enhance(clean, ratio=RATIO).linear, atol=1e-2)
    assert enhanced.metadata["ReplacedPixels"] == "3"
    np.testing.assert_array_equal(enhanced.raw.mosaic, hot)  # as shot
    monkeypatch.setattr(with_them, "_repair", False)
    kept = with_them.enhance(raw, ratio=RATIO)
    assert kept.linear[20, 30].max() > 0.5
    assert kept.metadata["ReplacedPixels"] == "0"

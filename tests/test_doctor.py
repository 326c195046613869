"""The doctor: measurements grow with the frame, forecasts lie on their line, and the command shows both."""

from __future__ import annotations

import json

import numpy as np
import pytest

from alen import doctor
from alen.cli import main
from alen.doctor import Measurement, devices, forecast, measure, total_memory_bytes
from alen.enhance import ENSEMBLE_BYTES, Enhancer
from alen.errors import DeviceError, WeightsError
from alen.weights import shipped_names

_POINTS = [
    Measurement(1.0, 0.5, 400_000_000, 390_000_000),
    Measurement(5.0, 1.5, 800_000_000, 790_000_000),
    Measurement(9.0, 3.25, 850_000_000, 800_000_000),
]


def test_time_lies_on_the_lines_between_and_grows_in_proportion_beyond() -> None:
    assert [forecast(_POINTS, size, None).seconds for size in (1.0, 3.0, 5.0, 7.0, 9.0)] == [0.5, 1, 1.5, 2.375, 3.25]
    assert forecast(_POINTS, 18.0, None).seconds == pytest.approx(0.25 + 2 * 3.0)
    assert forecast(_POINTS, 0.0, None).seconds == 0.25


def test_memory_is_what_is_reckoned_with_and_what_the_nearest_took_beyond() -> None:
    assert forecast(_POINTS, 4.0, 700_000_000).peak_bytes == 710_000_000
    assert forecast(_POINTS, 100.0, 2_000_000_000).peak_bytes == 2_050_000_000
    assert forecast(_POINTS, 4.0, None).peak_bytes is None
    assert forecast([Measurement(1.0, 0.5, None), *_POINTS[1:]], 1.0, 400_000_000).peak_bytes is None


def test_larger_frames_take_more() -> None:
    (small, large), (beyond,) = measure(precision="float32", sizes_mp=(0.05, 1.0), forecast_mp=(4.0,))
    assert 0 < small.seconds < large.seconds < beyond.seconds
    if small.peak_bytes is not None and large.peak_bytes is not None and beyond.peak_bytes is not None:
        assert large.peak_bytes - small.peak_bytes > 0.95e6 * 4 * 3  # at least the picture
        assert beyond.peak_bytes > large.peak_bytes


def test_several_orientations_take_as_much_more_as_is_said() -> None:
    one, several = (Enhancer(precision="float32", ensemble=count) for count in (1, 8))
    for height, width in ((400, 600), (3000, 4000)):
        needed = [enhancer.needed_bytes(height, width) for enhancer in (one, several)]
        assert None not in needed
        assert np.diff(needed) == ENSEMBLE_BYTES * height * width


@pytest.mark.skipif("alen-xtrans" not in shipped_names(), reason="the weights are not part of this checkout")
def test_weights_for_xtrans_are_measured_with_frames_of_xtrans() -> None:
    (entry,), _ = measure(model="alen-xtrans", precision="float32", sizes_mp=(0.05,))
    assert entry.seconds > 0


def test_what_cannot_be_measured_is_an_error() -> None:
    with pytest.raises(DeviceError, match="TOASTER"):
        measure(device="TOASTER", sizes_mp=(0.05,))
    with pytest.raises(WeightsError, match="nothing"):
        measure(model="nothing", sizes_mp=(0.05,))


def test_there_is_a_processor_and_memory() -> None:
    assert "CPU" in [device.name for device in devices()]
    memory = total_memory_bytes()
    assert memory is None or memory > 1e8


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_the_command(options: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    sizes = (6.0, 12.0, 24.0, 45.0, 61.0, 100.0)
    forecasts = [forecast(_POINTS, size, round(size * 1e8)) for size in sizes]
    monkeypatch.setattr(doctor, "measure", lambda **_: (_POINTS, forecasts))
    monkeypatch.setattr(doctor, "total_memory_bytes", lambda: 2_000_000_000)
    assert main(["doctor", "--precision", "float32", *options]) == 0
    shown = capsys.readouterr().out
    if options:
        facts = json.loads(shown)
        assert facts["seconds_per_megapixel"] == 0.3438
        assert facts["precision"] == "float32"
        assert [entry["megapixels"] for entry in facts["forecasts"]] == [6, 12, 24, 45, 61, 100]
        assert facts["devices"][0]["name"]
    else:
        assert "0.34 s" in shown
        assert "24 MP" in shown
        assert "more than there is" in shown
        assert "--ensemble 2|4|8" in shown
        assert "14 MB a megapixel more" in shown
        assert ("--model alen-fast" in shown) == ("alen-fast" in shipped_names())  # in float32 it is worth a word

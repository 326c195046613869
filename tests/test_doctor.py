"""The doctor: measurements grow with the frame, forecasts lie on their line, and the command shows both."""

from __future__ import annotations

import json

import pytest

from alen import doctor
from alen.cli import main
from alen.doctor import Measurement, devices, forecast, measure, total_memory_bytes
from alen.errors import DeviceError, WeightsError

_POINTS = [Measurement(1.0, 0.5, 400_000_000), Measurement(5.0, 1.5, 800_000_000)]


def test_forecasts_lie_on_the_line_through_what_was_measured() -> None:
    assert forecast(_POINTS, 1.0) == doctor.Forecast(1.0, 0.5, 400_000_000)
    assert forecast(_POINTS, 25.0) == doctor.Forecast(25.0, 6.5, 2_800_000_000)
    unknown = [Measurement(1.0, 0.5, None), Measurement(5.0, 1.5, None)]
    assert forecast(unknown, 9.0).peak_bytes is None


def test_larger_frames_take_more() -> None:
    small, large = measure(precision="float32", sizes_mp=(0.05, 1.0))
    assert 0 < small.seconds < large.seconds
    if small.peak_bytes is not None and large.peak_bytes is not None:
        assert large.peak_bytes - small.peak_bytes > 0.95e6 * 4 * 3  # at least the picture


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
    monkeypatch.setattr(doctor, "measure", lambda **_: _POINTS)
    monkeypatch.setattr(doctor, "total_memory_bytes", lambda: 2_000_000_000)
    assert main(["doctor", "--precision", "float32", *options]) == 0
    shown = capsys.readouterr().out
    if options:
        facts = json.loads(shown)
        assert facts["seconds_per_megapixel"] == 0.25
        assert facts["precision"] == "float32"
        assert [entry["megapixels"] for entry in facts["forecasts"]] == [6, 12, 24, 45, 61, 100]
        assert facts["devices"][0]["name"]
    else:
        assert "0.25 s" in shown
        assert "24 MP" in shown
        assert "more than there is" in shown

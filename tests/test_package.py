"""The package's promises: what it exports, what importing it costs, what runs without torch."""

from __future__ import annotations

import subprocess
import sys

import pytest

import alen
from alen import errors


def _run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_all_is_sorted_and_importable() -> None:
    assert alen.__all__ == sorted(alen.__all__)
    for name in alen.__all__:
        assert getattr(alen, name) is not None
    assert set(alen.__all__) <= set(dir(alen))
    with pytest.raises(AttributeError, match="nonsense"):
        _ = alen.nonsense  # type: ignore[attr-defined]


def test_importing_does_no_work() -> None:
    loaded = _run("import sys; before = set(sys.modules); import alen; print(sorted(set(sys.modules) - before))")
    assert "numpy" not in loaded
    assert "openvino" not in loaded


def test_enhancing_needs_no_torch() -> None:
    code = (
        "import sys; sys.modules['torch'] = None; "  # any import of torch fails
        "import alen.cli, alen.enhance, alen.sample, alen.weights, alen.engines.openvino; print('ok')"
    )
    assert _run(code) == "ok"


def test_nobody_is_told() -> None:
    """OpenVINO's model converter reports its import to Google Analytics; it stays usable, and its telemetry, too."""
    code = (
        "import sys; import alen.engines.openvino, alen.developer; import openvino; "
        "print(openvino.convert_model.__name__, 'openvino_telemetry' in sys.modules); import openvino_telemetry"
    )
    assert _run(code) == "convert_model False"


def test_every_error_is_drawn_in_the_tree() -> None:
    names = {name for name, value in vars(errors).items() if isinstance(value, type)}
    for name in names:
        assert name in (errors.__doc__ or "")
        assert issubclass(getattr(errors, name), errors.AlenError)

"""OpenVINO, imported so that nobody is told: all of alen takes it from here.

Importing `openvino` imports its model converter, and that reports the import to Google Analytics, with an identifier
that it leaves in the user's home, wherever the package `openvino_telemetry`, which comes with it, can be imported.
"""

from __future__ import annotations

import sys
from typing import Final

__all__ = ["hints", "ops", "ov", "props"]

_TELEMETRY: Final = "openvino_telemetry"

_blocks = _TELEMETRY not in sys.modules
if _blocks:
    sys.modules[_TELEMETRY] = None  # type: ignore[assignment]  # importing it fails, and the converter does without
try:
    import openvino as ov
    import openvino.properties as props
    import openvino.properties.hint as hints
    from openvino import opset13 as ops
finally:
    if _blocks:
        del sys.modules[_TELEMETRY]

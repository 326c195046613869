"""ALEN: from an almost black RAW photograph to a finished picture, with one attention network.

>>> from alen import Enhancer, read_raw, write_picture          # doctest: +SKIP
>>> enhanced = Enhancer().enhance(read_raw("night.dng"))        # doctest: +SKIP
>>> write_picture("night.jpg", enhanced.picture())              # doctest: +SKIP

Importing this package does no work: each public name is loaded when it is first used. Training and the networks
(`alen.training`, `alen.models`) need torch and are imported from their own modules.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from alen.color import develop
    from alen.enhance import Enhanced, Enhancer
    from alen.errors import AlenError
    from alen.picture import write_linear_tiff, write_picture
    from alen.raw import RawImage, read_raw

__version__ = "0.1.0"

__all__ = [
    "AlenError",
    "Enhanced",
    "Enhancer",
    "RawImage",
    "__version__",
    "develop",
    "read_raw",
    "write_linear_tiff",
    "write_picture",
]

_HOMES = {
    "AlenError": "alen.errors",
    "Enhanced": "alen.enhance",
    "Enhancer": "alen.enhance",
    "RawImage": "alen.raw",
    "develop": "alen.color",
    "read_raw": "alen.raw",
    "write_linear_tiff": "alen.picture",
    "write_picture": "alen.picture",
}


def __getattr__(name: str) -> Any:
    """Load a public name from its module (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'alen' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

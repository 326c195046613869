"""The processor cores this process may use."""

from __future__ import annotations

import os


def usable_cores() -> int:
    """Return the number of cores this process may use, which may be fewer than the computer has."""
    if hasattr(os, "sched_getaffinity"):  # Linux alone has it before Python 3.13
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1

"""The C library's memory: when what is freed goes back to the kernel."""

from __future__ import annotations

import ctypes
import platform
from typing import Final

_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
"""Parameters of mallopt, malloc.h."""


def keep_freed_memory() -> None:
    """Let glibc keep what is freed for the next array, up to 2 GiB; elsewhere nothing happens.

    By default large blocks go back to the kernel, which clears every page before it hands it out again. For a process
    that makes one picture-sized array after the other that is a tenth of its time, and up to half in eager torch.
    Changes the whole process: for what owns it to call, such as the command line or a training run.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_THRESHOLD, 1 << 30)
        libc.mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1)


def return_freed_memory() -> None:
    """Give what is freed back to the kernel now, whatever `keep_freed_memory` said, with glibc."""
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)

"""Opcode lists: the corrections that a DNG asks its reader for, in order.

Source: Adobe's Digital Negative Specification 1.6.0.0, chapter 7, "Opcode List Processing".
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

_MAX_OPCODES: Final = 64
"""Corrections of a list: cameras ask for a dozen at most, and each takes time."""

_HEADER: Final = struct.Struct(">4I")
"""Number, DNG version, flags, bytes that follow; opcodes are big-endian whatever the file is."""


def each_opcode(values: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield number and parameters of each opcode of a list.

    Args:
        values: The value of OpcodeList1, 2 or 3.

    Raises:
        struct.error: The list is cut off or endless; those before are yielded.
    """
    (count,) = struct.unpack_from(">I", values)
    if count > _MAX_OPCODES:
        raise struct.error(f"{count} opcodes")
    offset = 4
    for _ in range(count):
        number, _, _, size = _HEADER.unpack_from(values, offset)
        offset += _HEADER.size
        yield number, values[offset : offset + size]
        offset += size

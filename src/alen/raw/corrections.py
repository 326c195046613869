"""What a DNG asks to be corrected: its opcode lists."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from alen.cfa import CFA
from alen.dng import Directory
from alen.lens_distortion import LensDistortion, read_lens_distortion
from alen.lens_shading import LensShading, read_lens_shading, read_vignette
from alen.listed_pixels import read_listed_pixels


def lens_shading_of(
    directory: Directory | None, cfa: CFA, visible: tuple[int, int], warnings: list[str]
) -> LensShading | None:
    """Return the gains of a DNG's OpcodeList2 and OpcodeList3; warns of what else the first asks for."""
    before, after = (_opcodes(directory, tag) for tag in (51009, 51022))
    is_whole = _is_active_area(directory, visible)
    shading: LensShading | None = None
    others: tuple[str, ...] = ()
    if before is not None:
        shading, others = read_lens_shading(before, cfa, *visible) if is_whole else (None, ("another area",))
    radial = read_vignette(after) if after is not None and is_whole else ()
    if radial:
        shading = replace(shading or LensShading(), radial=radial)
    if others:
        warnings.append(
            f"The DNG asks for corrections (OpcodeList2: {', '.join(others)}) that are not applied"
            f"{'; its lens shading is corrected' if shading is not None else ''}."
        )
    return shading


def lens_distortion_of(
    directory: Directory | None, visible: tuple[int, int], warnings: list[str]
) -> LensDistortion | None:
    """Return the warps of a DNG's OpcodeList3; warns if they cannot be used."""
    opcodes = _opcodes(directory, 51022)
    if opcodes is None or not _is_active_area(directory, visible):
        return None
    try:
        return read_lens_distortion(opcodes, *visible)
    except ValueError as error:
        warnings.append(f"The DNG's correction of the lens's distortion cannot be used ({error}); lines stay bent.")
        return None


def listed_defects_of(
    directory: Directory | None, mosaic: NDArray[np.uint16], margins: tuple[int, int], warnings: list[str]
) -> NDArray[np.intp] | None:
    """Return the pixels that a DNG's OpcodeList1 lists as defective; warns of what else it asks for."""
    opcodes = _opcodes(directory, 51008)
    if directory is None or opcodes is None:
        return None
    is_as_stored = 50712 not in directory.fields  # LinearizationTable
    places, others = read_listed_pixels(opcodes, mosaic, *margins, is_as_stored=is_as_stored)
    if others:
        warnings.append(f"The DNG asks for corrections (OpcodeList1: {', '.join(others)}) that are not applied.")
    return places if len(places) else None


def _opcodes(directory: Directory | None, tag: int) -> bytes | None:
    """Return an opcode list of a DNG."""
    field = None if directory is None else directory.fields.get(tag)
    return field.values if field is not None and isinstance(field.values, bytes) else None


def _is_active_area(directory: Directory | None, visible: tuple[int, int]) -> bool:
    """Return whether what LibRaw shows is the DNG's active area, which opcodes are for."""
    if directory is None:
        return False
    active = directory.integers(50829) or (0, 0, *directory.integers(257)[:1], *directory.integers(256)[:1])
    return len(active) == 4 and (active[2] - active[0], active[3] - active[1]) == visible

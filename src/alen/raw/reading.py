"""RAW files through LibRaw: opened, decoded, checked, interpreted."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

import numpy as np
import rawpy
from numpy.typing import NDArray

from alen.cfa import CFA, PLANES, xtrans_offset
from alen.dng import Directory, read_directories
from alen.errors import CorruptRawError, RawError, SettingsError, UnsupportedRawError
from alen.levels import normalize
from alen.raw.colors import choose_matrices, choose_white_balance, matrix_value
from alen.raw.containers import (
    CONVERT,
    COPY_AGAIN,
    MIN_BITS_PER_PIXEL,
    check_structure,
    load,
    raw_directories,
    recognize,
)
from alen.raw.corrections import lens_distortion_of, lens_shading_of, listed_defects_of
from alen.raw.image import Gains, RawHeader, RawImage
from alen.raw.metadata import camera_name, exif_block, read_exposure, read_noise_profile, read_tags
from alen.white_balance import estimate_white_balance

_MIN_SIDE: Final = 16
"""Below this nothing is a photograph."""

_LIBRAW_MIN_SIDE: Final = 22
"""LibRaw itself takes no smaller DNGs."""

_MAX_UNWRITTEN: Final = 0.02
"""Part of the rows or columns that may hold a single value below white: a dead line, a masked edge."""

_MAX_ZEROS: Final = 0.25
"""Part of the pixels that may be 0 where the black level is far above 0; dead pixels are a thousandth."""

_EXIF_ORIENTATION: Final = {0: 1, 1: 2, 2: 4, 3: 3, 4: 5, 5: 8, 6: 6, 7: 7}
"""LibRaw's flip (bit 0 mirrors left and right, 1 top and bottom, 2 then transposes) as EXIF orientation."""


def read_raw(source: str | os.PathLike[str] | bytes | BinaryIO) -> RawImage:
    """Decode a RAW file with a Bayer or X-Trans mosaic.

    Args:
        source: A path, the bytes of a file, or a binary file that is read to its end.

    Returns:
        The picture; the same for every reading of the same file, bit for bit.

    Raises:
        RawNotFoundError: There is no such file.
        NotRawError: It is something else: a JPEG, a text, an empty file, a folder.
        CorruptRawError: It is a RAW file, but damaged or cut off.
        UnsupportedRawError: It is a sound RAW file, but of neither mosaic, or LibRaw cannot decode it.
        RawError: It cannot be opened.
        SettingsError: ``source`` is none of these.
    """
    with _opened(source) as opened:
        opened.raw.unpack()
        return _interpret(opened)


def read_header(source: str | os.PathLike[str] | bytes | BinaryIO) -> RawHeader:
    """Read size and exposure of a RAW file without decoding its mosaic.

    Args:
        source: A path, the bytes of a file, or a binary file that is read to its end.

    Raises:
        RawError: As in `read_raw`, as far as it can be told without decoding.
    """
    with _opened(source) as opened:
        tags = read_tags(opened.data, opened.structure)
        exposure = read_exposure(opened.raw, tags)
        return RawHeader(
            height=int(opened.raw.sizes.height),
            width=int(opened.raw.sizes.width),
            camera=camera_name(tags, opened.structure),
            iso=exposure.iso,
            exposure_time_s=exposure.time_s,
            aperture=exposure.aperture,
        )


def render_reference(source: str | os.PathLike[str] | bytes | BinaryIO) -> NDArray[np.uint16]:
    """Render a RAW file as See-in-the-Dark renders its references: LibRaw's demosaicking, the camera's white balance.

    This is rawpy's ``postprocess(use_camera_wb=True, half_size=False, no_auto_bright=True, output_bps=16)``: sRGB
    primaries, the BT.709 curve (not that of sRGB), no brightening; AHD for Bayer, Markesteijn for X-Trans. Unlike
    there, a frame that was held upright is not turned, so that the picture always lies on the mosaic.

    Args:
        source: A path, the bytes of a file, or a binary file that is read to its end.

    Returns:
        (H, W, 3) uint16, display-encoded, 65535 = white; visible area, sensor orientation.

    Raises:
        RawError: As in `read_raw`.
    """
    with _opened(source) as opened:
        opened.raw.unpack()
        shape = (*_interpret(opened).mosaic.shape, 3)  # also refuses what decodes into nonsense
        picture = np.asarray(
            opened.raw.postprocess(
                use_camera_wb=True, half_size=False, no_auto_bright=True, output_bps=16, user_flip=0
            ),
            dtype=np.uint16,
        )
    if picture.shape != shape:
        raise UnsupportedRawError(
            f"{opened.name}: LibRaw renders {picture.shape[1]} × {picture.shape[0]} pixels of it, but its mosaic "
            f"has {shape[1]} × {shape[0]}; the pixels of a reference must lie on the mosaic."
        )
    return picture


@dataclass(frozen=True)
class _Opened:
    """A file that LibRaw has opened, with what messages and metadata need."""

    raw: Any
    """The rawpy object; its arrays die with it."""
    data: bytes
    structure: list[Directory]
    name: str
    kind: str


@contextlib.contextmanager
def _opened(source: str | os.PathLike[str] | bytes | BinaryIO) -> Iterator[_Opened]:
    """Check a file and open it; LibRaw's errors inside become ours."""
    data, name = load(source)
    try:
        structure = read_directories(data)
    except MemoryError as error:
        raise RawError(f"{name}: the file is too large for the memory. Close other programs and try again.") from error
    kind = recognize(data, structure, name)
    check_structure(data, structure, name, kind)
    with _translated_errors(data, structure, name, kind), rawpy.imread(io.BytesIO(data)) as raw:
        _check_size(raw, data, name, kind)
        yield _Opened(raw, data, structure, name, kind)


def _check_size(raw: Any, data: bytes, name: str, kind: str) -> None:
    """Raise if the picture is too small, too large for the bytes of the file, or turned, before memory is taken."""
    sizes = raw.sizes
    if min(sizes.height, sizes.width) < _MIN_SIDE:
        raise CorruptRawError(
            f"{name}: this is {kind} of {sizes.width} × {sizes.height} pixels; at least {_MIN_SIDE} × {_MIN_SIDE} are "
            f"needed. {COPY_AGAIN}"
        )
    if 8 * len(data) < MIN_BITS_PER_PIXEL * sizes.raw_height * sizes.raw_width:
        raise CorruptRawError(
            f"{name}: this is {kind} without its picture: {len(data):,} bytes cannot hold {sizes.raw_width:,} × "
            f"{sizes.raw_height:,} pixels. {COPY_AGAIN}"
        )
    if sizes.top_margin + sizes.height > sizes.raw_height or sizes.left_margin + sizes.width > sizes.raw_width:
        # LibRaw gives the size after rotation by 45° for Fujifilm's SuperCCD, whose mosaic stands on a corner.
        raise UnsupportedRawError(
            f"{name}: this is {kind} of a sensor with diagonal rows (SuperCCD); only rectangular Bayer sensors are "
            "supported."
        )


@contextlib.contextmanager
def _translated_errors(data: bytes, structure: list[Directory], name: str, kind: str) -> Iterator[None]:
    """Turn LibRaw's errors into ours."""
    try:
        yield
    except rawpy.LibRawFileUnsupportedError as error:
        is_whole = bool(structure) and not any(directory.is_damaged for directory in structure)
        if is_whole and (directories := raw_directories(structure)):
            sides = directories[0].integers(256)[:1] + directories[0].integers(257)[:1]
            if kind == "a DNG" and sides and min(sides) < _LIBRAW_MIN_SIDE:
                raise UnsupportedRawError(
                    f"{name}: this is {kind} of {' × '.join(map(str, sides))} pixels; LibRaw takes DNGs from "
                    f"{_LIBRAW_MIN_SIDE} × {_LIBRAW_MIN_SIDE} on."
                ) from error
            raise UnsupportedRawError(
                f"{name}: this is {kind} of a camera or compression that LibRaw "
                f"{'.'.join(map(str, rawpy.libraw_version))} does not know. {CONVERT}"
            ) from error
        raise CorruptRawError(
            f"{name}: this is {kind}, but LibRaw finds no picture in its {len(data):,} bytes. {COPY_AGAIN} If other "
            "programs open it, convert it to DNG with them."
        ) from error
    except (rawpy.LibRawTooBigError, rawpy.LibRawUnsufficientMemoryError, MemoryError) as error:
        raise RawError(f"{name}: this is {kind} too large for the memory. Close other programs.") from error
    except (rawpy.LibRawNotImplementedError, rawpy.LibRawRequestForNonexistentImageError) as error:
        raise UnsupportedRawError(f"{name}: this is {kind} that LibRaw cannot decode ({_words(error)}).") from error
    except (rawpy.LibRawError, OSError) as error:
        raise CorruptRawError(
            f"{name}: this is {kind} that is damaged or cut off (LibRaw: {_words(error)}). {COPY_AGAIN}"
        ) from error


def _words(error: BaseException) -> str:
    """Return LibRaw's message; rawpy hands on some as bytes."""
    argument = error.args[0] if error.args else ""
    return argument.decode("ascii", errors="replace") if isinstance(argument, bytes) else str(argument)


def _interpret(opened: _Opened) -> RawImage:
    """Build the RawImage from an unpacked rawpy object, metadata first: its arrays are views that die with it."""
    raw, data, structure, name, kind = opened.raw, opened.data, opened.structure, opened.name, opened.kind
    cfa, indices = _cfa(raw, name, kind)
    is_dng = kind == "a DNG"
    mosaic_directory = next(iter(raw_directories(structure)), None) if is_dng else None
    warnings: list[str] = []
    black_level = _black_level(raw, cfa, indices, mosaic_directory)
    white_level = float(raw.white_level)
    if not all(0 <= black < white_level for black in black_level):
        raise CorruptRawError(
            f"{name}: this is {kind} with contradictory levels: black {black_level}, white {white_level:g}. {CONVERT}"
        )
    tags = read_tags(data, structure)
    exposure = read_exposure(raw, tags)
    camera = camera_name(tags, structure)
    cam2rgb, xyz2cam = choose_matrices(raw, is_dng, camera, warnings)
    sizes = raw.sizes
    if sizes.pixel_aspect != 1:
        warnings.append(f"The pixels are not square (aspect {sizes.pixel_aspect:g}); the picture looks stretched.")
    visible = sizes.height, sizes.width
    lens_shading = lens_shading_of(mosaic_directory, cfa, visible, warnings)
    lens_distortion = lens_distortion_of(mosaic_directory, visible, warnings)
    mosaic = np.array(raw.raw_image_visible, dtype=np.uint16, order="C")  # a copy
    _check_mosaic(mosaic, black_level, white_level, name, kind)
    mosaic.flags.writeable = False
    listed_defects = listed_defects_of(mosaic_directory, mosaic, (sizes.top_margin, sizes.left_margin), warnings)

    def estimate() -> Gains | None:
        return (
            None
            if xyz2cam is None
            else estimate_white_balance(normalize(mosaic, cfa, black_level, white_level), cfa, xyz2cam)
        )

    white_balance = choose_white_balance(raw, exposure, estimate, warnings)
    return RawImage(
        mosaic=mosaic,
        cfa=cfa,
        black_level=black_level,
        white_level=white_level,
        white_balance=white_balance,
        cam2rgb=cam2rgb,
        xyz2cam=None if xyz2cam is None else matrix_value(xyz2cam),
        orientation=_EXIF_ORIENTATION.get(sizes.flip, 1),
        iso=exposure.iso,
        exposure_time_s=exposure.time_s,
        aperture=exposure.aperture,
        camera=camera,
        exif=exif_block(tags, exposure),
        noise_profile=read_noise_profile(structure),
        lens_shading=lens_shading,
        lens_distortion=lens_distortion,
        listed_defects=listed_defects,
        warnings=tuple(warnings),
        name=name,
    )


def _cfa(raw: Any, name: str, kind: str) -> tuple[CFA, NDArray[np.intp]]:
    """Return the pattern of the visible area and LibRaw's color index (0 = R, 1 = G1, 2 = B, 3 = G2) of its pixels."""
    if raw.raw_type != rawpy.RawType.Flat:
        raise UnsupportedRawError(
            f"{name}: this is {kind} that is demosaicked already (linear); the network takes the mosaic of the sensor. "
            "Give the camera's original RAW file, or a DNG converted without demosaicking."
        )
    if raw.num_colors != 3 or raw.color_desc != b"RGBG":
        raise UnsupportedRawError(
            f"{name}: this is {kind} without a filter array of red, green and blue; only Bayer and X-Trans sensors "
            "are supported."
        )
    sizes = raw.sizes
    # Equal to raw_colors_visible[:6, :6], which would build an array of the whole frame.
    indices = np.array(
        [[raw.raw_color(sizes.top_margin + y, sizes.left_margin + x) for x in range(6)] for y in range(6)]
    )  # (6, 6)
    letters = ["".join("RGBG"[index] if index < 4 else "?" for index in row) for row in indices.tolist()]
    side = 2 if np.array_equal(indices, np.tile(indices[:2, :2], (3, 3))) else 6
    try:
        cfa = CFA(tuple(row[:side] for row in letters[:side]))
    except SettingsError as error:
        raise UnsupportedRawError(f"{name}: this is {kind} with the unknown filter array {letters}.") from error
    if cfa.size == 2 and not cfa.is_bayer:
        raise UnsupportedRawError(
            f"{name}: this is {kind} with the filter array {cfa.name}; only the Bayer pattern in its four phases is "
            "supported."
        )
    if cfa.size == 6:
        try:
            xtrans_offset(cfa)
        except SettingsError as error:
            raise UnsupportedRawError(
                f"{name}: this is {kind} with a filter array of 6 × 6 pixels that is not X-Trans: {letters}."
            ) from error
    return cfa, indices


def _black_level(
    raw: Any, cfa: CFA, indices: NDArray[np.intp], directory: Directory | None
) -> tuple[float, float, float, float]:
    """Return the black levels of R, Gr, Gb and B; from the DNG's tags where LibRaw has cut off their fractions."""
    planes = cfa.plane_map(6, 6)
    levels = np.array(raw.black_level_per_channel, dtype=np.float64)[indices]  # (6, 6), of the colors R, G1, B, G2
    whole = _plane_means(levels, planes)
    if directory is not None:
        # the tag begins with the active area; of one that begins at an odd place LibRaw shows a row, or column, less
        top, left = directory.integers(50829)[:2] or (0, 0)
        cropped = raw.sizes.top_margin - top, raw.sizes.left_margin - left
        exact = _dng_black_level(cfa, directory, *cropped)
        is_alike = exact is not None and all(abs(a - b) < 1 for a, b in zip(whole, exact, strict=True))
        if exact is not None and (is_alike or any(pixels % 2 for pixels in cropped)):
            whole = exact
    return whole[0], whole[1], whole[2], whole[3]


def _dng_black_level(cfa: CFA, directory: Directory, cropped_rows: int, cropped_columns: int) -> list[float] | None:
    """Return the mean of the DNG tag BlackLevel over the pixels of R, Gr, Gb and B; None if it is not that simple.

    The pattern ``cfa`` begins so many rows and columns after what the tag begins with.
    """
    values = directory.numbers(50714)
    repeat = directory.integers(50713) or (1, 1)
    if 50715 in directory.fields or 50716 in directory.fields:  # BlackLevelDeltaH, -V
        return None
    if len(repeat) != 2 or not 0 < len(values) == repeat[0] * repeat[1] <= 64 or not np.all(np.isfinite(values)):
        return None
    rows, columns = repeat[0] * cfa.size, repeat[1] * cfa.size
    levels = np.tile(np.reshape(values, repeat), (cfa.size, cfa.size))  # (rows, columns)
    levels = np.roll(levels, (-cropped_rows, -cropped_columns), axis=(0, 1))
    return _plane_means(levels, cfa.plane_map(rows, columns))


def _plane_means(values: NDArray[np.float64], planes: NDArray[np.uint8]) -> list[float]:
    """Return the means over R, Gr, Gb and B; X-Trans has no rows without red, so its Gb is Gr."""
    means = [float(values[planes == plane].mean()) if np.any(planes == plane) else None for plane in range(len(PLANES))]
    return [means[1] or 0.0 if mean is None else mean for mean in means]


def _check_mosaic(
    mosaic: NDArray[np.uint16], black_level: tuple[float, ...], white_level: float, name: str, kind: str
) -> None:
    """Raise CorruptRawError if the decoded values cannot be those of a sensor.

    What a decoder did not reach stays zero or keeps one value: lines of a single value below white. (A line of clipped
    pixels has a single value, too.)
    """
    problem = None
    for axis, what in ((1, "rows"), (0, "columns")):
        low, high = mosaic.min(axis=axis), mosaic.max(axis=axis)
        unwritten = float(np.mean((low == high) & (high < white_level)))
        if unwritten > _MAX_UNWRITTEN:
            problem = f"{unwritten:.0%} of its {what} are empty"
    if min(black_level) >= 16:
        zeros = 1 - np.count_nonzero(mosaic) / mosaic.size
        if zeros > _MAX_ZEROS:
            problem = problem or f"{zeros:.0%} of its pixels are zero"
    if high.max() > 1.5 * white_level:
        beyond = np.count_nonzero(mosaic > 1.5 * white_level) / mosaic.size
        if beyond > 0.01:
            problem = problem or f"{beyond:.0%} of its pixels lie far above the white level {white_level:g}"
    if problem:
        raise CorruptRawError(f"{name}: this is {kind} that is damaged: {problem}. {COPY_AGAIN}")

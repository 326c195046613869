"""Sheets that help to judge: a picture before and after, and how bright it could be."""

from __future__ import annotations

import dataclasses
import math
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from alen.color import MAX_EV, Development
from alen.demosaic import demosaic_linear
from alen.developer import Developer
from alen.enhance import Enhanced, amplified_planes
from alen.levels import MAX_RATIO
from alen.picture import orient
from alen.undistort import undistorting

_COLUMN_PX: Final = 640
"""Longest side of a reduced frame, and width of a crop at most."""

_GAP_PX: Final = 6
_TITLE_PX: Final = 34
_FONT_PX: Final = 18
_PAPER: Final = 24
_INK: Final = 225
"""Gray values of what is between the pictures and of the titles."""

_STRIPE: Final = 64
"""Packed rows that are demosaicked and developed at a time."""


def before_after(enhanced: Enhanced, *, exposure_ev: float = 0.0) -> NDArray[np.float32]:
    """Return the picture as shot, merely brightened, and enhanced, side by side.

    All three come from the same RAW file through the same development. The first two skip the network: the mosaic is
    demosaicked by linear filters, once as the camera exposed it, once times the exposure ratio. Above stand
    the whole frames, reduced; below, pixel by pixel, the part of the frame with the most detail.

    Args:
        enhanced: The enhanced image.
        exposure_ev: Stops by which the brightened and the enhanced picture are developed brighter.

    Returns:
        (H, W, 3) float32 in [0, 1], display-encoded sRGB, upright.
    """
    shot, brightened = without_network(enhanced, exposure_ev)
    clean = enhanced.developed(np.uint8, exposure_ev=exposure_ev)
    orientation = enhanced.raw.orientation
    frames = [np.ascontiguousarray(orient(frame, orientation)) for frame in (shot, brightened, clean)]
    height, width, _ = frames[0].shape
    scale = min(_COLUMN_PX / max(height, width), 1.0)
    small = (max(round(width * scale), 1), max(round(height * scale), 1))
    reduced = [Image.fromarray(frame).resize(small, Image.Resampling.BOX) for frame in frames]
    titles = ("as shot", f"brightened {enhanced.ratio:.3g} times, no network", "ALEN")
    column = min(_COLUMN_PX, width)
    crop = min(column, 3 * _COLUMN_PX // 4, height)
    top, left = _most_detail(np.asarray(reduced[2].convert("L")), height, width, crop, column)
    crops = [Image.fromarray(frame[top : top + crop, left : left + column]) for frame in frames]

    step = column + _GAP_PX
    size = (3 * step + _GAP_PX, 2 * _TITLE_PX + small[1] + crop + 2 * _GAP_PX)
    sheet = Image.new("RGB", size, (_PAPER, _PAPER, _PAPER))
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(_FONT_PX)
    for index in range(3):
        x = _GAP_PX + index * step
        draw.text((x, _TITLE_PX // 2), titles[index], fill=(_INK, _INK, _INK), font=font, anchor="lm")
        sheet.paste(reduced[index], (x + (column - small[0]) // 2, _TITLE_PX))
        below = _TITLE_PX + small[1]
        if index == 0:
            draw.text((x, below + _TITLE_PX // 2), "100 %", fill=(_INK, _INK, _INK), font=font, anchor="lm")
        sheet.paste(crops[index], (x, below + _TITLE_PX))
    return np.asarray(sheet, dtype=np.float32) / np.float32(255)


def ratio_sheet(enhanced: Enhanced, *, exposure_ev: float = 0.0) -> NDArray[np.float32]:
    """Return the picture, reduced, as other exposure ratios would make it: from a quarter to four times its own.

    Brighter and darker developments of one run of the network, which another ratio would change little.

    Args:
        enhanced: The enhanced image.
        exposure_ev: Stops by which all are developed brighter.

    Returns:
        (H, W, 3) float32 in [0, 1], display-encoded sRGB, upright; titles tell the ratios.
    """
    ratios = sheet_ratios(enhanced.ratio)
    small = reduced_to(enhanced, _COLUMN_PX)
    frames = []
    for ratio in ratios:
        ev = min(max(exposure_ev + math.log2(ratio / enhanced.ratio), -MAX_EV), MAX_EV)
        frame = small.developed(np.uint8, exposure_ev=ev)
        frames.append(Image.fromarray(np.ascontiguousarray(orient(frame, enhanced.raw.orientation))))
    frame_width, frame_height = frames[0].size
    step = frame_width + _GAP_PX
    sheet = Image.new("RGB", (len(frames) * step + _GAP_PX, _TITLE_PX + frame_height + _GAP_PX), (_PAPER,) * 3)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(_FONT_PX)
    for index, (ratio, image) in enumerate(zip(ratios, frames, strict=True)):
        x = _GAP_PX + index * step
        mine = ("  (estimated)" if enhanced.ratio_is_estimated else "  (given)") if ratio == enhanced.ratio else ""
        draw.text((x, _TITLE_PX // 2), f"ratio {ratio:.3g}{mine}", fill=(_INK,) * 3, font=font, anchor="lm")
        sheet.paste(image, (x, _TITLE_PX))
    return np.asarray(sheet, dtype=np.float32) / np.float32(255)


def sheet_ratios(ratio: float) -> tuple[float, ...]:
    """Return the ratios of a sheet: a stop apart, as many as lie between 1 and `alen.levels.MAX_RATIO`."""
    return tuple(ratio * factor for factor in (0.25, 0.5, 1.0, 2.0, 4.0) if 1 <= ratio * factor <= MAX_RATIO)


def reduced_to(enhanced: Enhanced, longest_px: int) -> Enhanced:
    """Return an enhanced image whose linear values are means of squares, so that no side is longer than asked for."""
    height, width, _ = enhanced.linear.shape
    side = min(max(-(-max(height, width) // longest_px), 1), height, width)
    rows, columns = height // side, width // side
    linear = enhanced.linear[: rows * side, : columns * side]
    return dataclasses.replace(enhanced, linear=linear.reshape(rows, side, columns, side, 3).mean(axis=(1, 3)))


def without_network(enhanced: Enhanced, exposure_ev: float) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return the frame as shot and the frame merely brightened, by linear filters instead of the network.

    Args:
        enhanced: The enhanced image.
        exposure_ev: Stops by which the second is developed brighter.

    Returns:
        Two display-encoded pictures (H, W, 3) uint8, sensor orientation.
    """
    amplified = amplified_planes(enhanced.raw, enhanced.ratio)
    ratio, side, padding = enhanced.ratio, amplified.side, amplified.padding
    matrix, clip_level, whole_shading = enhanced.raw.cam2rgb, enhanced.clip_level, enhanced.shading
    height, width, _ = enhanced.linear.shape
    rows = amplified.shape[1]
    shot = np.empty((height, width, 3), dtype=np.uint8)
    brightened = np.empty_like(shot)
    straighten = undistorting(enhanced.raw.lens_distortion, height, width, is_shaded=whole_shading is not None)
    bright, dark = (
        Developer(
            Development.of(matrix, exposure_ev=ev, clip_level=level), np.uint8, is_shaded=whole_shading is not None
        )
        for ev, level in ((exposure_ev, clip_level), (0.0, clip_level / ratio))
    )
    for top in range(0, rows, _STRIPE):
        bottom = min(top + _STRIPE, rows)
        first, last = max(top - 2, 0), min(bottom + 2, rows)  # the filters reach one pattern further
        here = slice(max(side * top - padding.top, 0), min(side * bottom - padding.top, height))
        begin = here.start + padding.top - side * first
        rgb = demosaic_linear(amplified.rows(first, last))[begin : begin + here.stop - here.start]
        rgb = rgb[:, padding.left : padding.left + width]
        gains = None if whole_shading is None else whole_shading(here.start, here.stop)
        for made, straight, of_straight in straighten(here, rgb, gains):
            bright.develop(straight, brightened[made], of_straight)
            dark.develop(straight / np.float32(ratio), shot[made], of_straight)
    return shot, brightened


def _most_detail(gray: NDArray[np.uint8], height: int, width: int, rows: int, columns: int) -> tuple[int, int]:
    """Return the top left corner of the crop of a frame (height, width) that holds the most detail.

    Args:
        gray: (h, w), the reduced frame.
        height: Rows of the frame.
        width: Columns of the frame.
        rows: Rows of the crop.
        columns: Columns of the crop.
    """
    h, w = gray.shape
    levels = gray.astype(np.float64)
    detail = np.zeros((h, w))
    detail[:-1] += np.abs(np.diff(levels, axis=0))
    detail[:, :-1] += np.abs(np.diff(levels, axis=1))
    detail = np.minimum(detail, 40)  # the rim of a lamp is not worth more than print
    window = max(min(rows * h // height, h), 1), max(min(columns * w // width, w), 1)
    sums = np.pad(detail.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    a, b = window
    inside = sums[a:, b:] - sums[:-a, b:] - sums[a:, :-b] + sums[:-a, :-b]  # (h - a + 1, w - b + 1)
    y, x = np.unravel_index(int(np.argmax(inside)), inside.shape)
    return min(int(y) * height // h, height - rows), min(int(x) * width // w, width - columns)

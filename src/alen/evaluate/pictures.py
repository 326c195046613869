"""The two pictures that a protocol compares, made from a pair of RAW files and a network.

What is compared must come from the same rendering. References of See-in-the-Dark are LibRaw's, so camera RGB is
rendered as LibRaw does it: "highlight mode" clip, camera matrix, sRGB primaries, and the curve of ITU-R BT.709
(https://www.itu.int/rec/R-REC-BT.709), which is not that of sRGB. LibRaw also takes the
brightest pixel of a frame for its white level where it lies between 75 % and 100 % of the nominal one: such a reference
is up to a third brighter. No short exposure tells that, so it is not imitated; a network that was trained on these
references may learn part of it, one that was not loses decibels by it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from alen.cfa import CFA, mosaic_from_rgb, pack, pack_any, reference, xtrans_offset
from alen.color import eotf_inverse_srgb
from alen.config import AlenConfig, SidUnetConfig
from alen.data.exposures import RawPair
from alen.demosaic import demosaic_malvar
from alen.engines import MULTIPLE, Engine
from alen.errors import DataError, WeightsError
from alen.evaluate.protocols import Domain, Protocol
from alen.levels import amplify, estimate_ratio, normalize
from alen.raw import RawImage, read_raw, render_reference
from alen.tiling import Padding

Quantization = Literal["floor8", "round8", "none"]
"""How both pictures are stored before they are compared: 8 bits cut off, 8 bits rounded, or float."""

RatioOrigin = Literal["known", "estimated"]
"""Where the ratio comes from: what is known of the exposures, or the short exposure alone."""

_ALPHA: Final = 1.09929682680944
_BETA: Final = 0.018053968510807
"""Constants of BT.709's curve with the digits that make it continuous (as in ITU-R BT.2020)."""

_SHOWN_PX: Final = 192
"""Side of the crops a report shows."""

_FRAME_PX: Final = 360
"""Longer side of the whole frame a report shows."""


def oetf_bt709(linear: NDArray[np.float32]) -> NDArray[np.float32]:
    """Encode linear light with the curve of BT.709, as LibRaw does unless told otherwise.

    Args:
        linear: Any shape; negative values are taken as 0.

    Returns:
        Same shape, float32; not clipped above 1.

    Example:
        >>> [round(float(value), 4) for value in oetf_bt709(np.float32([0.01, 0.18, 1.0]))]
        [0.045, 0.4088, 1.0]
    """
    x = np.maximum(linear, 0, dtype=np.float32)
    curve = np.float32(_ALPHA) * x ** np.float32(0.45) - np.float32(_ALPHA - 1)
    return np.where(x < np.float32(_BETA), np.float32(4.5) * x, curve).astype(np.float32)


def render_as_libraw(
    camera_rgb: NDArray[np.float32], cam2rgb: ArrayLike, white_balance: tuple[float, float, float]
) -> NDArray[np.float32]:
    """Render linear camera RGB as LibRaw renders a reference.

    Args:
        camera_rgb: (H, W, 3) float32, linear, white-balanced (green = 1), × ratio, not clipped.
        cam2rgb: (3, 3) from white-balanced camera RGB to linear sRGB.
        white_balance: Gains it was balanced with. LibRaw divides them by the smallest, so that all channels of a
            saturated pixel reach display white.

    Returns:
        (H, W, 3) float32 in [0, 1], BT.709-encoded.
    """
    balanced = np.clip(camera_rgb * np.float32(1 / min(white_balance)), 0, 1)
    matrix = np.asarray(cam2rgb, dtype=np.float32)
    return oetf_bt709(np.clip(balanced @ matrix.T, 0, 1))


def quantize(picture: NDArray[np.float32], how: Quantization) -> NDArray[np.float32]:
    """Return a picture in [0, 1] as it is after it was stored in 8 bits: multiples of 1/255, float32.

    Example:
        >>> [float(quantize(np.float32([0.5]), how)[0] * 255) for how in ("floor8", "round8", "none")]
        [127.0, 128.0, 127.5]
    """
    if how == "none":
        return picture
    levels = picture * np.float32(255)
    # float32 puts some exact levels a hair below themselves; no real value lies that near
    whole = np.floor(levels + np.float32(1e-4)) if how == "floor8" else np.floor(levels + np.float32(0.5))
    return np.asarray(whole * np.float32(1 / 255), dtype=np.float32)


def align_brightness(prediction: NDArray[np.float32], truth: NDArray[np.float32]) -> tuple[NDArray[np.float32], float]:
    """Scale a prediction by the factor that brings it nearest to the truth: α = ⟨p, g⟩/⟨p, p⟩ where g < 1.

    Args:
        prediction: Any shape; clipped to [0, 1] before and after.
        truth: Same shape, in [0, 1].

    Returns:
        The prediction × α, clipped to [0, 1], and α; α is 1 where the prediction is black.
    """
    p = np.clip(prediction, 0, 1)
    is_unsaturated = truth < 1
    inside, goal = p[is_unsaturated].astype(np.float64), truth[is_unsaturated].astype(np.float64)
    energy = float(inside @ inside)
    alpha = float(inside @ goal) / energy if energy > 0 else 1.0
    return np.clip(p * np.float32(alpha), 0, 1), alpha


@dataclass(frozen=True)
class Exposures:
    """A pair, decoded."""

    raw: RawImage
    """The short exposure."""
    normalized: NDArray[np.float32]
    """(H, W) of the short exposure; of an X-Trans frame the whole patterns in it alone, as See-in-the-Dark crops it."""
    cfa: CFA
    """The filter array that ``normalized`` begins with."""
    truth: NDArray[np.float32]
    """What predictions are compared with: (H, W, 3), BT.709-encoded, or packed planes (h, w, 4); in [0, 1]."""
    shown_truth: NDArray[np.float32]
    """(H, W, 3) of the truth in [0, 1], to look at."""


@dataclass(frozen=True)
class Prediction:
    """What a network made of a pair."""

    values: NDArray[np.float32]
    """Same shape and meaning as `Exposures.truth`."""
    ratio: float
    """Exposure ratio it was amplified by."""
    alpha: float | None
    """Factor that aligned its brightness; None where the protocol aligns none."""
    shown: NDArray[np.float32]
    """(H, W, 3) in [0, 1], to look at."""


def read_pair(pair: RawPair, domain: Domain, crop_px: int | None = None) -> Exposures:
    """Decode both exposures of a pair.

    Args:
        pair: Which.
        domain: What is compared.
        crop_px: Side of the central square of the truth; None for all of it.

    Raises:
        RawError: A file cannot be used.
        DataError: The two have different sizes or filter arrays.
    """
    raw = read_raw(pair.short)
    window = _whole_patterns(raw)
    cfa = raw.cfa.shifted(window[0].start, window[1].start)
    normalized = normalize(raw.mosaic, raw.cfa, raw.black_level, raw.white_level)[window]
    if domain == "picture":
        truth = render_reference(pair.reference).astype(np.float32) * np.float32(1 / 65535)
        if truth.shape[:2] != raw.mosaic.shape:
            raise DataError(f"{pair.reference}: has {_size(truth)} pixels, its short exposure {_size(raw.mosaic)}.")
        return Exposures(raw, normalized, cfa, truth[window], truth[window])
    if not cfa.is_bayer:
        raise DataError(f"{pair.short}: mosaics are compared of Bayer cameras; got {cfa.name}.")
    reference = read_raw(pair.reference)
    if reference.mosaic.shape != raw.mosaic.shape or reference.cfa != raw.cfa:
        raise DataError(
            f"{pair.reference}: has {_size(reference.mosaic)} pixels, {reference.cfa.name}; its short exposure "
            f"{_size(raw.mosaic)}, {raw.cfa.name}."
        )
    mosaic = normalize(reference.mosaic, reference.cfa, reference.black_level, reference.white_level)
    balanced = amplify(mosaic, raw.cfa, raw.white_balance, 1.0)
    padding = Padding.to_reference(balanced.shape[0], balanced.shape[1], raw.cfa, 2)
    camera_rgb = padding.crop(demosaic_malvar(pack(padding.pad(balanced), CFA.bayer("RGGB"))))
    shown = render_as_libraw(camera_rgb, raw.cam2rgb, raw.white_balance)
    return Exposures(raw, normalized, cfa, _planes(np.clip(mosaic, 0, 1), cfa, crop_px), shown)


def _whole_patterns(raw: RawImage) -> tuple[slice, slice]:
    """Return the rows and columns of a frame that are scored: all of a Bayer frame."""
    height, width = raw.mosaic.shape
    if raw.cfa.is_bayer:
        return slice(0, height), slice(0, width)
    top, left = (-added % 6 for added in xtrans_offset(raw.cfa))
    return slice(top, top + (height - top) // 6 * 6), slice(left, left + (width - left) // 6 * 6)


def predict(
    exposures: Exposures,
    known_ratio: float,
    origin: RatioOrigin,
    *,
    engine: Engine,
    config: AlenConfig | SidUnetConfig,
    protocol: Protocol,
) -> Prediction:
    """Run a network on a short exposure and make of it what the protocol compares.

    Args:
        exposures: The pair.
        known_ratio: The known ratio of the pair.
        origin: Which ratio to use.
        engine: The network.
        config: Its configuration: what it takes and gives.
        protocol: What is compared.

    Raises:
        WeightsError: The network does not make what the protocol compares, or not from this filter array.
    """
    raw, cfa = exposures.raw, exposures.cfa
    check_network(config, protocol)
    if cfa.is_bayer != (config.cfa == "bayer"):
        raise WeightsError(f"{raw.name}: its filter array is {cfa.name}, the network is made for {config.cfa}.")
    ratio = known_ratio
    if origin == "estimated":
        ratio = estimate_ratio(exposures.normalized, cfa, raw.white_balance)
    linear = _run(exposures, ratio, engine, config)
    if config.target == "srgb":
        picture = np.clip(eotf_inverse_srgb(linear), 0, 1)  # the engine decoded what was encoded all along
        return Prediction(picture, ratio, None, picture)
    shown = render_as_libraw(linear, raw.cam2rgb, raw.white_balance)
    if protocol.domain == "picture":
        return Prediction(shown, ratio, None, shown)
    mosaic = mosaic_from_rgb(linear / np.asarray(raw.white_balance, dtype=np.float32), cfa)
    values, alpha = align_brightness(_planes(mosaic, cfa, protocol.crop_px), exposures.truth)
    return Prediction(values, ratio, alpha, shown)


def check_network(config: AlenConfig | SidUnetConfig, protocol: Protocol) -> None:
    """Raise WeightsError if a network cannot be scored under a protocol."""
    if protocol.domain == "mosaic" and config.target != "camera":
        raise WeightsError(
            f"{protocol.name} compares mosaics, but these weights paint finished pictures (target srgb). Name weights "
            'with the target "camera".'
        )
    if protocol.cfa not in (None, config.cfa):
        raise WeightsError(
            f"{protocol.name} is of {protocol.cfa} mosaics, but these weights are made for {config.cfa}. Name weights "
            "for its camera."
        )


def _run(exposures: Exposures, ratio: float, engine: Engine, config: AlenConfig | SidUnetConfig) -> NDArray[np.float32]:
    """Return the linear picture (H, W, 3) of the whole frame."""
    cfa = exposures.cfa
    is_sid = config.input_levels == "sid"
    gains = (1.0, 1.0, 1.0) if is_sid else exposures.raw.white_balance
    amplified = amplify(exposures.normalized, cfa, gains, ratio)
    if is_sid:
        np.clip(amplified, 0, 1, out=amplified)
    padding = Padding.to_reference(amplified.shape[0], amplified.shape[1], cfa, config.shuffle * MULTIPLE)
    return padding.crop(engine.run(pack_any(padding.pad(amplified), reference(config.cfa))))


def _planes(mosaic: NDArray[np.float32], cfa: CFA, crop_px: int | None) -> NDArray[np.float32]:
    """Return packed planes as a picture (h, w, 4), of the central square if there is one; odd rims are dropped."""
    top, left = (0, 0) if crop_px is None else tuple(max(0, (side - crop_px) // 4 * 2) for side in mosaic.shape)
    height, width = (side - start for side, start in zip(mosaic.shape, (top, left), strict=True))
    if crop_px is not None:
        height, width = min(height, crop_px), min(width, crop_px)
    part = mosaic[top : top + height // 2 * 2, left : left + width // 2 * 2]
    return np.ascontiguousarray(pack(part, cfa).transpose(1, 2, 0))


def _size(picture: NDArray[np.generic]) -> str:
    return f"{picture.shape[1]} × {picture.shape[0]}"


# ---------------------------------------------------------------------------------------------------------------------
# What a report shows
# ---------------------------------------------------------------------------------------------------------------------


def strip(exposures: Exposures, prediction: Prediction) -> Image.Image:
    """Return what to look at: the whole prediction, and at 100 % the input, the prediction and the truth.

    The square is the one with the most contrast in the truth, the same for every network.
    """
    top, left, side = _busiest_square(exposures.shown_truth)
    crops: list[NDArray[np.float32]] = [
        _shown_input(exposures, prediction.ratio, top, left, side),
        prediction.shown[top : top + side, left : left + side],
        exposures.shown_truth[top : top + side, left : left + side],
    ]
    frame = _image(prediction.shown)
    frame.thumbnail((_FRAME_PX, _SHOWN_PX), reducing_gap=2.0)
    gap, height = 4, max(frame.height, side)
    sheet = Image.new("RGB", (frame.width + 3 * (side + gap), height), "white")
    sheet.paste(frame, (0, 0))
    for index, crop in enumerate(crops):
        sheet.paste(_image(crop), (frame.width + gap + index * (side + gap), 0))
    return sheet


def _busiest_square(picture: NDArray[np.float32]) -> tuple[int, int, int]:
    """Return top, left and side of the square with the largest variance of green, on a grid of half its side."""
    side = min(_SHOWN_PX, *(n // 2 * 2 for n in picture.shape[:2]))
    step = max(2, side // 4 * 2)

    def contrast(place: tuple[int, int]) -> float:
        top, left = place
        return float(picture[top : top + side : 2, left : left + side : 2, 1].var())

    places = [
        (top, left)
        for top in range(0, picture.shape[0] - side + 1, step)
        for left in range(0, picture.shape[1] - side + 1, step)
    ]
    top, left = max(places, key=contrast)
    return top, left, side


def _shown_input(exposures: Exposures, ratio: float, top: int, left: int, side: int) -> NDArray[np.float32]:
    """Return a square of the input, amplified and merely demosaicked; X-Trans in blocks of 3 × 3."""
    raw = exposures.raw
    cfa = exposures.cfa.shifted(top, left)
    square = exposures.normalized[top : top + side, left : left + side]
    balanced = amplify(np.ascontiguousarray(square), cfa, raw.white_balance, ratio)
    if cfa.is_bayer:
        padding = Padding.to_reference(side, side, cfa, 2)
        camera_rgb = padding.crop(demosaic_malvar(pack(padding.pad(balanced), CFA.bayer("RGGB"))))
    else:
        camera_rgb = _block_colors(balanced, cfa)
    return render_as_libraw(camera_rgb, raw.cam2rgb, raw.white_balance)


def _block_colors(mosaic: NDArray[np.float32], cfa: CFA) -> NDArray[np.float32]:
    """Return (H, W, 3): each block of 3 × 3 pixels, which holds all colors, as their means."""
    height, width = mosaic.shape
    colors = cfa.color_map(height, width)
    rows, columns = -(-height // 3), -(-width // 3)
    block = (np.arange(height)[:, None] // 3 * columns + np.arange(width) // 3).ravel()
    means = []
    for color in range(3):
        is_color = (colors == color).ravel()
        total = np.bincount(block[is_color], mosaic.ravel()[is_color], rows * columns)
        count = np.bincount(block[is_color], minlength=rows * columns)
        means.append((total / np.maximum(count, 1))[block].reshape(height, width))
    return np.stack(means, axis=2).astype(np.float32)


def _image(picture: NDArray[np.float32]) -> Image.Image:
    return Image.fromarray(np.rint(np.clip(picture, 0, 1) * 255).astype(np.uint8))

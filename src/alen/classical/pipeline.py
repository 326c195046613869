"""The classical pipelines that every network has to beat, as functions from a dark mosaic to linear camera RGB.

`libraw` is LibRaw's own processing of the amplified mosaic. `nonlocal_means_pipeline` is the honest opponent: it knows
the camera's true noise, stabilizes its variance, denoises the packed planes by non-local means with separate strengths
for luminance and color, and only then demosaics. Both choose their settings by the noise at hand (`contrast`); the
tables were tuned for PSNR on photographs outside the benchmark's held-out tenth.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from typing import Final, Literal, TypeVar

import numpy as np
import rawpy
from numpy.typing import NDArray

from alen.cfa import CFA, pack, unpack
from alen.classical.nonlocal_means import FilterSettings, nonlocal_means
from alen.classical.variance import stabilize, unstabilize
from alen.dng import write_cfa_dng
from alen.errors import SettingsError
from alen.levels import amplify
from alen.tiling import Padding

_RGGB: Final = CFA.bayer("RGGB")

_OPPONENT: Final = np.array(
    [
        [0.5, 0.5, 0.5, 0.5],
        [math.sqrt(0.5), 0, 0, -math.sqrt(0.5)],
        [0.5, -0.5, -0.5, 0.5],
        [0, math.sqrt(0.5), -math.sqrt(0.5), 0],
    ],
    dtype=np.float32,
)
"""Orthonormal, so white noise stays white: luminance, red − blue, magenta − green, green − green of R, Gr, Gb, B."""


@dataclass(frozen=True, kw_only=True)
class LibRawSettings:
    """What LibRaw is asked to do beside scaling; named as in its documentation."""

    demosaic: Literal["LINEAR", "VNG", "PPG", "AHD", "DCB", "DHT", "AAHD"] = "AHD"
    """Demosaicing; AHD is its default."""
    fbdd: Literal["Off", "Light", "Full"] = "Off"
    """Noise reduction before demosaicing."""
    median_passes: int = 0
    """Passes of the 3 × 3 median over the color differences after demosaicing."""


@dataclass(frozen=True, kw_only=True)
class NonLocalMeansSettings:
    """Non-local means on stabilized planes, whose noise has a standard deviation of 1."""

    patch: int
    """Side of the patches in packed pixels, odd."""
    window: int
    """Side of the search window in packed pixels, odd."""
    strength: float
    """h of luminance, in standard deviations of the noise."""
    color_strength: float
    """h of the three color planes, likewise."""
    color_share: float = 1.0
    """Weight of each color plane, relative to luminance, where patches are compared; 1 compares them alike."""
    after: LibRawSettings = LibRawSettings(demosaic="DHT")
    """How the denoised mosaic is demosaicked. A median takes out the single pixels that found no double."""


_Settings = TypeVar("_Settings")

_LIBRAW_BY_CONTRAST: Final = (
    (70.0, LibRawSettings(demosaic="VNG", median_passes=3)),
    (18.0, LibRawSettings(demosaic="VNG", fbdd="Light", median_passes=3)),
    (0.0, LibRawSettings(demosaic="LINEAR", fbdd="Full", median_passes=10)),
)
"""Settings from this contrast on."""

_DHT: Final = LibRawSettings(demosaic="DHT", median_passes=2)
_VNG: Final = LibRawSettings(demosaic="VNG", median_passes=2)

_NONLOCAL_MEANS_BY_CONTRAST: Final = (
    (55.0, NonLocalMeansSettings(patch=1, window=21, strength=0.7, color_strength=0.91)),
    (8.0, NonLocalMeansSettings(patch=3, window=31, strength=0.6, color_strength=0.96, color_share=0.7, after=_DHT)),
    (2.0, NonLocalMeansSettings(patch=5, window=31, strength=0.65, color_strength=1.17, color_share=0.43, after=_VNG)),
    (0.0, NonLocalMeansSettings(patch=5, window=41, strength=0.9, color_strength=1.44, color_share=0.43, after=_VNG)),
)
"""Settings from this contrast on. Two scales, a second pass guided by the first and a smoothed guide did not help."""


def contrast(ratio: float, gain: float, read_sigma: float) -> float:
    """Return how many standard deviations of the noise lie between black and display white, in the green pixels.

    About 100 where a picture looks clean, 10 where it is grainy, 1 where hardly anything can be seen.

    Args:
        ratio: Exposure ratio.
        gain: System gain in normalized units per electron, K/(white − black).
        read_sigma: Standard deviation of all noise but the photons', normalized: σ/(white − black).
    """
    white, black = stabilize(np.array([1 / (ratio * gain), 0], dtype=np.float32), read_sigma / gain)
    return float(white - black)


def libraw(
    normalized: NDArray[np.float32],
    cfa: CFA,
    white_balance: tuple[float, float, float],
    ratio: float,
    *,
    gain: float,
    read_sigma: float,
    settings: LibRawSettings | None = None,
) -> NDArray[np.float32]:
    """Process the amplified mosaic with LibRaw.

    The mosaic is multiplied by the ratio, written into a DNG in memory, black in its file well above 0, and developed
    to linear camera RGB without automatic brightness. As in any use of LibRaw, shadows are clipped at black and
    highlights at display white.

    Args:
        normalized: (H, W) float32 mosaic, see `alen.levels.normalize`.
        cfa: Its Bayer pattern.
        white_balance: Gains R, G, B; green = 1.
        ratio: Exposure ratio.
        gain: System gain in normalized units per electron; with ``read_sigma`` it chooses the settings.
        read_sigma: Standard deviation of all noise but the photons', normalized.
        settings: Instead of the tuned ones.

    Returns:
        (H, W, 3) float32 linear camera RGB, white-balanced, × ratio, in [0, 1].
    """
    if settings is None:
        settings = _tuned(_LIBRAW_BY_CONTRAST, contrast(ratio, gain, read_sigma))
    black, white = 4096, 64096
    scaled = np.rint(normalized * np.float32(ratio * (white - black)) + np.float32(black))
    return _develop_with_libraw(np.clip(scaled, 0, white).astype(np.uint16), cfa, black, white, white_balance, settings)


def nonlocal_means_pipeline(
    normalized: NDArray[np.float32],
    cfa: CFA,
    white_balance: tuple[float, float, float],
    ratio: float,
    *,
    gain: float,
    read_sigma: float,
    settings: NonLocalMeansSettings | None = None,
) -> NDArray[np.float32]:
    """Denoise a mosaic by variance-stabilized non-local means, amplify and demosaic it.

    Args:
        normalized: (H, W) float32 mosaic, see `alen.levels.normalize`.
        cfa: Its Bayer pattern.
        white_balance: Gains R, G, B; green = 1.
        ratio: Exposure ratio.
        gain: System gain in normalized units per electron, K/(white − black).
        read_sigma: Standard deviation of all noise but the photons', normalized: σ/(white − black), with quantization.
        settings: Instead of the tuned ones.

    Returns:
        (H, W, 3) float32 linear camera RGB, white-balanced, × ratio, clipped to [0, 1].

    Raises:
        SettingsError: The gain is not above 0, the read noise below 0, or the mosaic too small for the window.
    """
    if not (gain > 0 and read_sigma >= 0):
        raise SettingsError(f"The gain is above 0 and the read noise at least 0; got {gain} and {read_sigma}.")
    if settings is None:
        settings = _tuned(_NONLOCAL_MEANS_BY_CONTRAST, contrast(ratio, gain, read_sigma))
    height, width = normalized.shape
    padding = Padding.to_rggb(height, width, cfa, 2)
    electrons = pack(padding.pad(normalized) / np.float32(gain), _RGGB)
    clean = _denoise_planes(electrons, read_sigma / gain, settings) * np.float32(gain)
    mosaic = amplify(unpack(clean, _RGGB), _RGGB, white_balance, ratio)
    return demosaic_with_libraw(padding.crop(mosaic), cfa, settings.after)


def demosaic_with_libraw(
    mosaic: NDArray[np.float32], cfa: CFA, settings: LibRawSettings | None = None
) -> NDArray[np.float32]:
    """Demosaic a white-balanced mosaic (H, W), clipped to [0, 1], with LibRaw; returns (H, W, 3) float32.

    The default is DHT: on denoised mosaics the best of LibRaw's methods where the picture is bright, 2 dB above
    Malvar's linear one.
    """
    scaled = np.rint(np.clip(mosaic, 0, 1) * np.float32(65535)).astype(np.uint16)
    settings = settings if settings is not None else LibRawSettings(demosaic="DHT")
    return _develop_with_libraw(scaled, cfa, 0, 65535, (1.0, 1.0, 1.0), settings)


def _tuned(table: tuple[tuple[float, _Settings], ...], level: float) -> _Settings:
    """Return the settings of a table, ordered by falling contrast, for a contrast of 0 or more."""
    return next(settings for lowest, settings in table if level >= lowest)


def _denoise_planes(
    electrons: NDArray[np.float32], read_sigma: float, settings: NonLocalMeansSettings
) -> NDArray[np.float32]:
    """Denoise packed planes R, Gr, Gb, B in electrons; returns electrons, signed."""
    opponent = _mix(_OPPONENT, stabilize(electrons, read_sigma))
    # the squared weights of the four planes sum to 4, so that the guide's noise stays 1 on average
    share = np.array([1.0] + [settings.color_share] * 3, dtype=np.float32)
    share *= np.float32(2 / np.linalg.norm(share))
    reach = min(opponent.shape[1:]) - settings.patch // 2 - 1
    denoised = nonlocal_means(
        np.moveaxis(opponent, 0, 2),
        FilterSettings(
            patch=settings.patch,
            window=min(settings.window, 2 * reach + 1),
            sigma=1.0,
            h=(settings.strength, *[settings.color_strength] * 3),
            least_weight=float(np.finfo(np.float32).tiny),  # lamps are not averaged with the dark around them
        ),
        guide=np.moveaxis(opponent * share[:, None, None], 0, 2),
        threads=1,
    )
    return unstabilize(_mix(_OPPONENT.T, np.moveaxis(denoised, 2, 0)), read_sigma)


def _mix(matrix: NDArray[np.float32], planes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return matrix (4, 4) times planes (4, h, w)."""
    mixed: NDArray[np.float32] = np.tensordot(matrix, planes, 1)
    return mixed


def _develop_with_libraw(
    mosaic: NDArray[np.uint16],
    cfa: CFA,
    black: int,
    white: int,
    white_balance: tuple[float, float, float],
    settings: LibRawSettings,
) -> NDArray[np.float32]:
    """Let LibRaw develop a mosaic (H, W) uint16 to linear camera RGB (H, W, 3) in [0, 1]."""
    file = io.BytesIO()
    write_cfa_dng(
        file,
        mosaic,
        cfa=cfa,
        black_level=(black, black, black, black),
        white_level=white,
        white_balance=white_balance,
        xyz2cam=np.eye(3),
        compress=False,
    )
    file.seek(0)
    with rawpy.imread(file) as raw:
        rgb = raw.postprocess(
            demosaic_algorithm=rawpy.DemosaicAlgorithm[settings.demosaic],
            fbdd_noise_reduction=rawpy.FBDDNoiseReductionMode[settings.fbdd],
            median_filter_passes=settings.median_passes,
            user_wb=[white_balance[0], white_balance[1], white_balance[2], white_balance[1]],
            output_color=rawpy.ColorSpace.raw,
            output_bps=16,
            gamma=(1, 1),
            no_auto_bright=True,
            adjust_maximum_thr=0.0,
            highlight_mode=rawpy.HighlightMode.Clip,
            user_flip=0,
        )
    picture: NDArray[np.float32] = rgb.astype(np.float32) / np.float32(65535)
    return picture

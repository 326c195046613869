"""The classical pipelines that every network has to beat, as functions from a dark mosaic to linear camera RGB.

`libraw` is LibRaw's own processing of the amplified mosaic. `nonlocal_means_pipeline` is the honest opponent: it knows
the camera's true noise, stabilizes its variance, denoises the packed planes by non-local means with separate strengths
for luminance and color, and only then demosaics. Both choose their settings by the noise at hand (`contrast`); the
tables were tuned for PSNR on photographs outside the benchmark's held-out tenth. Both take Bayer and X-Trans.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeVar

import numpy as np
import rawpy
from numpy.typing import NDArray

from alen.cfa import (
    CFA,
    XTRANS_PLANES,
    mosaic_from_rgb,
    pack_any,
    reference,
    unpack_any,
    xtrans_reference,
)
from alen.classical.nonlocal_means import FilterSettings, nonlocal_means
from alen.classical.variance import stabilize, unstabilize
from alen.demosaic import demosaic_xtrans, xtrans_kernels
from alen.dng import write_cfa_dng
from alen.errors import SettingsError
from alen.levels import amplify
from alen.tiling import Padding

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

_XTRANS_OPPONENT: Final = np.array(
    [[1 / 3] * 9] + [[1 / math.sqrt(k * (k + 1))] * k + [-math.sqrt(k / (k + 1))] + [0] * (8 - k) for k in range(1, 9)],
    dtype=np.float32,
)
"""The same for the nine planes of X-Trans: their sum, and what each departs from the mean of those before it (Helmert's
matrix)."""

_RGB_OPPONENT: Final = np.array(
    [[3**-0.5, 3**-0.5, 3**-0.5], [2**-0.5, 0, -(2**-0.5)], [6**-0.5, -2 * 6**-0.5, 6**-0.5]], dtype=np.float32
)
"""The same for R, G, B: luminance, red − blue, magenta − green."""

_LEAST_XTRANS_PX: Final = 516
"""Side from which on LibRaw demosaics X-Trans; a multiple of its pattern's 6."""

_XTRANS_RIM_PX: Final = 12
"""What X-Trans mosaics are continued by on all sides for LibRaw, whose linear interpolation leaves a rim undone."""


@dataclass(frozen=True, kw_only=True)
class LibRawSettings:
    """What LibRaw is asked to do beside scaling; named as in its documentation."""

    demosaic: Literal["LINEAR", "VNG", "PPG", "AHD", "DCB", "DHT", "AAHD"] = "AHD"
    """Demosaicing; AHD is its default. Of X-Trans, LINEAR and VNG are themselves, PPG is one pass of Markesteijn's, and
    the others are three."""
    fbdd: Literal["Off", "Light", "Full"] = "Off"
    """Noise reduction before demosaicing; of Bayer alone."""
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
    domain: Literal["planes", "colors"] = "planes"
    """What is filtered: packed planes, or, of X-Trans alone, the linearly demosaicked mosaic, whose pixels stand closer
    and whose noise is correlated. Then patch and window are in pixels, strengths in deviations of that noise."""
    after: LibRawSettings = LibRawSettings(demosaic="DHT")
    """How the denoised mosaic is demosaicked. A median takes out the single pixels that found no double."""


_Settings = TypeVar("_Settings")

_LIBRAW_BY_CONTRAST: Final = (
    (70.0, LibRawSettings(demosaic="VNG", median_passes=3)),
    (18.0, LibRawSettings(demosaic="VNG", fbdd="Light", median_passes=3)),
    (0.0, LibRawSettings(demosaic="LINEAR", fbdd="Full", median_passes=10)),
)
"""Settings from this contrast on."""

_LIBRAW_XTRANS_BY_CONTRAST: Final = (
    (80.0, LibRawSettings(demosaic="AHD", median_passes=3)),
    (0.0, LibRawSettings(demosaic="LINEAR", median_passes=10)),
)
"""The same for X-Trans."""

_DHT: Final = LibRawSettings(demosaic="DHT", median_passes=2)
_VNG: Final = LibRawSettings(demosaic="VNG", median_passes=2)

_NONLOCAL_MEANS_BY_CONTRAST: Final = (
    (55.0, NonLocalMeansSettings(patch=1, window=21, strength=0.7, color_strength=0.91)),
    (8.0, NonLocalMeansSettings(patch=3, window=31, strength=0.6, color_strength=0.96, color_share=0.7, after=_DHT)),
    (2.0, NonLocalMeansSettings(patch=5, window=31, strength=0.65, color_strength=1.17, color_share=0.43, after=_VNG)),
    (0.0, NonLocalMeansSettings(patch=5, window=41, strength=0.9, color_strength=1.44, color_share=0.43, after=_VNG)),
)
"""Settings from this contrast on. Two scales, a second pass guided by the first and a smoothed guide did not help."""


_MARKESTEIJN: Final = LibRawSettings(demosaic="AHD", median_passes=2)
_LINEAR: Final = LibRawSettings(demosaic="LINEAR", median_passes=2)

_XTRANS_DARK: Final = NonLocalMeansSettings(
    patch=5, window=31, strength=0.65, color_strength=1.17, color_share=0.43, after=_LINEAR
)

_NONLOCAL_MEANS_XTRANS_BY_CONTRAST: Final = (
    (
        120.0,
        NonLocalMeansSettings(
            patch=3,
            window=21,
            strength=0.4,
            color_strength=0.7,
            color_share=0.6,
            domain="colors",
            after=_MARKESTEIJN,
        ),
    ),
    (
        20.0,
        NonLocalMeansSettings(
            patch=3,
            window=21,
            strength=0.65,
            color_strength=1.0,
            color_share=0.6,
            domain="colors",
            after=_MARKESTEIJN,
        ),
    ),
    (8.0, _XTRANS_DARK),
    (0.0, replace(_XTRANS_DARK, window=41)),
)
"""The same for X-Trans. Planes that are filtered and then demosaicked are best in the dark; where there is light, their
lattice is too coarse, and demosaicked colors are filtered and sampled again before LibRaw demosaics them."""


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
        cfa: Its pattern: any phase of Bayer or X-Trans.
        white_balance: Gains R, G, B; green = 1.
        ratio: Exposure ratio.
        gain: System gain in normalized units per electron; with ``read_sigma`` it chooses the settings.
        read_sigma: Standard deviation of all noise but the photons', normalized.
        settings: Instead of the tuned ones.

    Returns:
        (H, W, 3) float32 linear camera RGB, white-balanced, × ratio, in [0, 1].
    """
    if settings is None:
        table = _LIBRAW_BY_CONTRAST if cfa.is_bayer else _LIBRAW_XTRANS_BY_CONTRAST
        settings = _tuned(table, contrast(ratio, gain, read_sigma))
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
        cfa: Its pattern: any phase of Bayer or X-Trans.
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
        table = _NONLOCAL_MEANS_BY_CONTRAST if cfa.is_bayer else _NONLOCAL_MEANS_XTRANS_BY_CONTRAST
        settings = _tuned(table, contrast(ratio, gain, read_sigma))
    height, width = normalized.shape
    standard = reference(cfa.kind)
    padding = Padding.to_reference(height, width, cfa, cfa.size)
    electrons = pack_any(padding.pad(normalized) / np.float32(gain), standard)
    if settings.domain == "colors":
        clean = _denoise_colors(electrons, read_sigma / gain, white_balance, settings)
    else:
        planes = _denoise_planes(electrons, read_sigma / gain, settings)
        clean = unpack_any(planes, standard)
    mosaic = amplify(clean * np.float32(gain), standard, white_balance, ratio)
    return demosaic_with_libraw(padding.crop(mosaic), cfa, settings.after)


def demosaic_with_libraw(
    mosaic: NDArray[np.float32], cfa: CFA, settings: LibRawSettings | None = None
) -> NDArray[np.float32]:
    """Demosaic a white-balanced mosaic (H, W), clipped to [0, 1], with LibRaw; returns (H, W, 3) float32.

    The default is DHT, of X-Trans Markesteijn's: on denoised mosaics the best of LibRaw's methods where the picture is
    bright, of Bayer 2 dB above Malvar's linear one.
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
    """Denoise packed planes (P, h, w) in electrons; returns electrons, signed."""
    count = len(electrons)
    mixing = _OPPONENT if count == len(_OPPONENT) else _XTRANS_OPPONENT
    opponent = _mix(mixing, stabilize(electrons, read_sigma))
    # the squared weights of the P planes sum to P, so that the guide's noise stays 1 on average
    share = np.array([1.0] + [settings.color_share] * (count - 1), dtype=np.float32)
    share *= np.float32(math.sqrt(count) / np.linalg.norm(share))
    reach = min(opponent.shape[1:]) - settings.patch // 2 - 1
    denoised = nonlocal_means(
        np.moveaxis(opponent, 0, 2),
        FilterSettings(
            patch=settings.patch,
            window=min(settings.window, 2 * reach + 1),
            sigma=1.0,
            h=(settings.strength, *[settings.color_strength] * (count - 1)),
            least_weight=float(np.finfo(np.float32).tiny),  # lamps are not averaged with the dark around them
        ),
        guide=np.moveaxis(opponent * share[:, None, None], 0, 2),
        threads=1,
    )
    return unstabilize(_mix(mixing.T, np.moveaxis(denoised, 2, 0)), read_sigma)


def _denoise_colors(
    electrons: NDArray[np.float32],
    read_sigma: float,
    white_balance: tuple[float, float, float],
    settings: NonLocalMeansSettings,
) -> NDArray[np.float32]:
    """Denoise packed X-Trans planes (9, h, w) in electrons as a picture; returns its mosaic (3h, 3w) in electrons."""
    # stabilized values are about square roots: times the roots of the gains, gray has no color
    gains = np.sqrt(np.asarray(white_balance, dtype=np.float32))
    of_planes = gains[["RGB".index(color) for color in XTRANS_PLANES]]
    rgb = demosaic_xtrans(stabilize(electrons, read_sigma) * of_planes[:, None, None])
    kernels = xtrans_kernels("isotropic").reshape(3, 36, 36, 9) * np.repeat(of_planes, 4)[:, None]
    variances = np.square(np.tensordot(_RGB_OPPONENT, kernels, 1)).sum(axis=(2, 3)).mean(axis=1)  # (3,), of the noise
    share = np.array([1.0, settings.color_share, settings.color_share], dtype=np.float32)
    sigma = math.sqrt(float(np.mean(variances * share**2)))
    opponent = rgb @ _RGB_OPPONENT.T
    denoised = nonlocal_means(
        opponent,
        FilterSettings(
            patch=settings.patch,
            window=settings.window,
            sigma=sigma,
            h=(settings.strength * sigma, *[settings.color_strength * sigma] * 2),
            least_weight=float(np.finfo(np.float32).tiny),
        ),
        guide=opponent * share,
        threads=1,
    )
    mosaic = mosaic_from_rgb((denoised @ _RGB_OPPONENT) / gains, xtrans_reference())
    return unstabilize(mosaic, read_sigma)


def _mix(matrix: NDArray[np.float32], planes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return matrix (P, P) times planes (P, h, w)."""
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
    padding = Padding(0, 0, 0, 0)
    if not cfa.is_bayer:  # continued by its mirror images
        rim = _XTRANS_RIM_PX
        bottom, right = (max(_LEAST_XTRANS_PX - rim - side, rim) for side in mosaic.shape)
        padding = Padding(rim, rim, bottom, right, cfa.size)
        mosaic = padding.pad(mosaic)
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
    picture: NDArray[np.float32] = padding.crop(rgb).astype(np.float32) / np.float32(65535)
    return picture

"""From a RAW image to linear camera RGB and on to a picture: the pipeline the command line runs.

Here arrays (H, W) become packed planes for the engine, and the engine's picture becomes (H, W, 3) of the full visible
size.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from alen import __version__
from alen.cfa import CFA, pack
from alen.color import develop
from alen.engines import MULTIPLE, Engine, Precision
from alen.engines.openvino import OpenVinoEngine
from alen.errors import SettingsError, UnsupportedRawError, WeightsError
from alen.levels import MAX_RATIO, amplify, estimate_ratio, normalize
from alen.raw import RawImage
from alen.tiling import Padding
from alen.weights import DEFAULT, find_weights, load_weights


@dataclass(frozen=True)
class Amplified:
    """A RAW image ready for an engine."""

    planes: NDArray[np.float32]
    """(4, h, w) packed planes R, Gr, Gb, B; linear, white-balanced, × ratio, signed; sides multiples of `MULTIPLE`."""
    padding: Padding
    """What was added around the mosaic to get there, and has to come off the picture."""
    ratio: float
    """Exposure ratio it was amplified by."""
    ratio_is_estimated: bool
    """True if the ratio was estimated from the image, False if it was given."""


def check_ratio(ratio: float | None) -> None:
    """Raise SettingsError unless an exposure ratio is 1 to `MAX_RATIO`, or None, which stands for the estimate."""
    if ratio is not None and not (math.isfinite(ratio) and 1 <= ratio <= MAX_RATIO):
        raise SettingsError(f"The ratio lies between 1 and {MAX_RATIO:g}, or is estimated; got {ratio:g}.")


def amplified_planes(raw: RawImage, ratio: float | None = None) -> Amplified:
    """Normalize, amplify, pad and pack a RAW image.

    Args:
        raw: The image; Bayer.
        ratio: By how much it was exposed too short, 1 to `MAX_RATIO`; None estimates it.

    Raises:
        UnsupportedRawError: The image is of an X-Trans sensor.
        SettingsError: The ratio is out of its range.
    """
    check_ratio(ratio)
    if not raw.cfa.is_bayer:
        raise UnsupportedRawError(
            f"{raw.name}: this is a RAW file with an X-Trans filter array (6 × 6), for which there are no weights yet; "
            "only Bayer sensors are supported."
        )
    normalized = normalize(raw.mosaic, raw.cfa, raw.black_level, raw.white_level)
    used = ratio if ratio is not None else estimate_ratio(normalized, raw.cfa, raw.white_balance)
    amplified = amplify(normalized, raw.cfa, raw.white_balance, used)
    height, width = amplified.shape
    padding = Padding.to_rggb(height, width, raw.cfa, 2 * MULTIPLE)
    return Amplified(pack(padding.pad(amplified), CFA.bayer("RGGB")), padding, used, ratio is None)


@dataclass(frozen=True)
class Enhanced:
    """A clean, demosaicked RAW image."""

    linear: NDArray[np.float32]
    """(H, W, 3) linear camera RGB: (DN − black)/(white − black) × white balance gain (green = 1) × ratio, as a
    noiseless, fully sampled sensor would give it; unclipped above 1, full visible size, sensor orientation."""
    raw: RawImage
    """What it was made from."""
    ratio: float
    """Exposure ratio it was amplified by."""
    ratio_is_estimated: bool
    """True if the ratio was estimated from the image, False if it was given."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """Program, model and its digest, engine, ratio: what a picture made from it should tell."""
    seconds: Mapping[str, float] = field(default_factory=dict)
    """Wall-clock seconds by part: "prepare", "network"."""

    def picture(self, *, exposure_ev: float = 0.0, out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """Return the developed sRGB picture (H, W, 3) float32 in [0, 1], display-encoded, sensor orientation.

        Args:
            exposure_ev: Brighter (above 0) or darker by this many stops.
            out: Where to put it; ``linear`` itself, if that is no longer needed. By default a new array.
        """
        return develop(self.linear, self.raw.cam2rgb, exposure_ev=exposure_ev, clip_level=self.clip_level, out=out)

    @property
    def clip_level(self) -> float:
        """Value at which the first channel of the sensor saturates."""
        return self.ratio * min(self.raw.white_balance)


class Enhancer:
    """A network made ready to enhance any number of RAW images.

    Args:
        model: Name of shipped weights, or the path of a weights file.
        device: Device of the engine, such as "CPU".
        precision: Arithmetic of the network's layers; "auto" takes bfloat16 where the processor computes in it.
        threads: CPU threads; None uses all cores.

    Raises:
        WeightsError: The weights cannot be used, or were not trained for camera RGB.
        DeviceError: The device is not there.
    """

    def __init__(
        self,
        model: str | Path = DEFAULT,
        *,
        device: str = "CPU",
        precision: Precision = "auto",
        threads: int | None = None,
    ) -> None:
        self.weights = load_weights(find_weights(str(model)))
        if self.weights.config.target != "camera":
            raise WeightsError(
                f"{model}: these weights paint finished sRGB pictures, and there is no linear camera RGB to develop. "
                'Name weights with the target "camera".'
            )
        self.engine: Engine = OpenVinoEngine(self.weights, device=device, precision=precision, threads=threads)

    def enhance(self, raw: RawImage, *, ratio: float | None = None) -> Enhanced:
        """Clean and demosaic a RAW image.

        Args:
            raw: The image; Bayer.
            ratio: By how much it was exposed too short, 1 to `MAX_RATIO`; None estimates it.

        Raises:
            SettingsError: The ratio is out of its range.
        """
        start = time.perf_counter()
        amplified = amplified_planes(raw, ratio)
        prepared = time.perf_counter()
        linear = amplified.padding.crop(self.engine.run(amplified.planes))
        done = time.perf_counter()
        metadata = {
            "Software": f"alen {__version__}",
            "Model": f"{self.weights.name} {self.weights.digest}",
            "Engine": self.engine.description,
            "ExposureRatio": f"{amplified.ratio:.4g} ({'estimated' if amplified.ratio_is_estimated else 'given'})",
        }
        seconds = {"prepare": prepared - start, "network": done - prepared}
        return Enhanced(linear, raw, amplified.ratio, amplified.ratio_is_estimated, metadata, seconds)

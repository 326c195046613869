"""From a RAW image to linear camera RGB and on to a picture: the pipeline the command line runs.

Here arrays (H, W) become packed planes for the engine, and the engine's picture becomes (H, W, 3) of the full visible
size. Both in pieces: a frame as a whole is only its mosaic and its picture.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from alen import __version__
from alen.black_level import proven_black_level
from alen.cfa import CFA, reference
from alen.color import MAX_EV, Development, Shading, develop
from alen.defective_pixels import DefectivePixels, defective_pixels_at, find_defective_pixels
from alen.developer import Developer
from alen.engines import MULTIPLE, Engine, Precision
from alen.engines.openvino import OpenVinoEngine
from alen.errors import DeviceError, PictureError, SettingsError, UnsupportedRawError, WeightsError
from alen.levels import (
    LOOK,
    MAX_RATIO,
    Look,
    amplify_packed,
    bright_ratio,
    check_look,
    estimate_ratio,
    normalize,
    saturation,
)
from alen.noise_level import estimate_noise_level
from alen.picture import not_a_number
from alen.raw import RawImage
from alen.recovery import Recovery
from alen.self_ensemble import TURNS, Turn, check_ensemble, mean_stripes
from alen.tiling import Padding
from alen.undistort import Piece, kept_bytes, rows_of, undistorting
from alen.weights import DEFAULT, XTRANS, Weights, find_weights, load_weights, shipped_names

_PROCESS_BYTES: Final = 120_000_000
"""Memory of Python and of what it has imported, about."""

_ENGINE_BYTES: Final = 300_000_000
"""Memory of an engine that stays when a frame is done, about."""

_Whole = TypeVar("_Whole", np.uint8, np.uint16)

_STRIPE: Final = 64
"""Rows of a whole frame that are straightened at a time."""

ENSEMBLE_BYTES: Final = 2 + 12
"""Bytes per pixel that several orientations take beside one: the mosaic, turned, and the pictures' sum."""

_BRIGHTEST_MIDDLE: Final = 0.7
"""The linear value that half of a frame reaches at most as the network sees it. Networks have hardly seen pictures most
of which is above white: they leave the noise in them, and colors shift."""

_DARKEST_TENTH: Final = 0.05
"""The linear value that nine tenths of a frame reach at least as the network sees it, if the ratio allows: in shadows
that are darker it errs by more, and that is multiplied by what the ratio is above the network's."""


def check_ratio(ratio: float | None) -> None:
    """Raise SettingsError unless an exposure ratio is 1 to `MAX_RATIO`, or None, which stands for the estimate."""
    if ratio is not None and not (math.isfinite(ratio) and 1 <= ratio <= MAX_RATIO):
        raise SettingsError(f"The ratio lies between 1 and {MAX_RATIO:g}, or is estimated; got {ratio:g}.")


def _check_image(raw: object) -> None:
    """Raise SettingsError unless this is a RAW image that was read."""
    if not isinstance(raw, RawImage):
        file = repr(os.fspath(raw)) if isinstance(raw, (str, os.PathLike)) else "FILE"
        raise SettingsError(
            f"A RawImage is needed; got {type(raw).__name__}. Read the file first, with alen.read_raw({file})."
        )


def _check_development(exposure_ev: float, dtype: type) -> None:
    """Raise SettingsError for what a picture in whole numbers cannot be made with."""
    if not abs(exposure_ev) <= MAX_EV:
        raise SettingsError(f"The exposure is within ±{MAX_EV} stops; got {exposure_ev}.")
    if np.dtype(dtype) not in (np.uint8, np.uint16):
        raise SettingsError(f"A finished picture is of uint8 or uint16; got {np.dtype(dtype)}.")


@dataclass(frozen=True)
class Amplified:
    """A RAW image as an engine reads it: `alen.engines.Planes`, made of the mosaic whenever they are asked for."""

    raw: RawImage
    """The image, with the black level that is used: see `proven_black_level`."""
    mosaic: NDArray[np.uint16]
    """(H, W) what is amplified: the image's mosaic, or one without its defective pixels."""
    ratio: float
    """Exposure ratio it is amplified by."""
    ratio_is_estimated: bool
    """True if the ratio was estimated from the image, False if it was given."""
    look: Look
    """How bright the estimate makes the picture; means nothing for a given ratio."""
    padding: Padding
    """What is added around the mosaic, mirrored, to begin in the phase of `alen.cfa.reference` and to get packed sides
    that are multiples of `MULTIPLE`; it has to come off the picture."""

    @property
    def side(self) -> int:
        """Mosaic pixels along the side of a packed pixel: 2, of X-Trans 3."""
        return self.raw.cfa.packed_side

    @property
    def saturation(self) -> NDArray[np.float32]:
        """(P,) the value at which each plane saturates: white balance × ratio."""
        return saturation(self.raw.cfa.kind, self.raw.white_balance, self.ratio)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(4, h, w), of X-Trans (9, h, w)."""
        height, width = self.raw.mosaic.shape
        padding, side = self.padding, self.side
        rows, columns = height + padding.top + padding.bottom, width + padding.left + padding.right
        return self.raw.cfa.plane_count, rows // side, columns // side

    def rows(self, start: int, stop: int) -> NDArray[np.float32]:
        """Return packed rows (P, stop − start, w) float32: normalized, × white balance and ratio, signed."""
        raw, cfa, side = self.raw, reference(self.raw.cfa.kind), self.side
        period = cfa.size // side  # packed rows of a whole pattern
        first, last = start // period * period, -(-stop // period) * period
        mosaic = self.padding.pad_rows(self.mosaic, side * first, side * last)
        planes = amplify_packed(mosaic, cfa, raw.black_level, raw.white_level, raw.white_balance, self.ratio)
        return planes[:, start - first : stop - first]

    def turned(self, turn: Turn) -> Amplified:
        """Return it as of an image that was turned: its mosaic (both are alike), pattern, black levels, padding."""
        mosaic = np.ascontiguousarray(turn.of(self.mosaic))
        cfa = turn.cfa(self.raw.cfa, *self.mosaic.shape)
        raw = replace(self.raw, mosaic=mosaic, cfa=cfa, black_level=turn.black_level(self.raw.black_level, cfa))
        return replace(self, raw=raw, mosaic=mosaic, padding=_padding(mosaic, cfa, leaves_room=True))


def _padding(mosaic: NDArray[np.uint16], cfa: CFA, *, leaves_room: bool = False) -> Padding:
    height, width = mosaic.shape
    return Padding.to_reference(height, width, cfa, cfa.packed_side * MULTIPLE, leaves_room=leaves_room)


def amplified_planes(raw: RawImage, ratio: float | None = None, *, look: Look = LOOK) -> Amplified:
    """Return a RAW image as an engine reads it, its black level lowered where the image proves it too high.

    Args:
        raw: The image; Bayer or X-Trans.
        ratio: By how much it was exposed too short, 1 to `MAX_RATIO`; None estimates it.
        look: How bright an estimated ratio makes the picture, see `estimate_ratio`; of no effect on a given one.

    Raises:
        SettingsError: The ratio is out of its range, there is no such look, or the image was not read.
    """
    _check_image(raw)
    check_ratio(ratio)
    check_look(look)
    raw = replace(raw, black_level=proven_black_level(raw.mosaic, raw.cfa, raw.black_level))
    used = ratio
    if used is None:
        normalized = normalize(raw.mosaic, raw.cfa, raw.black_level, raw.white_level)
        used = estimate_ratio(normalized, raw.cfa, raw.white_balance, look=look)
    return Amplified(raw, raw.mosaic, used, ratio is None, look, _padding(raw.mosaic, raw.cfa))


@dataclass(frozen=True)
class Finished:
    """A picture, developed from a RAW image."""

    picture: NDArray[np.uint8] | NDArray[np.uint16]
    """(H, W, 3) display-encoded sRGB, full range of its type, full visible size, sensor orientation."""
    raw: RawImage
    """What it was made from, with the black level that was used: see `alen.black_level.proven_black_level`."""
    ratio: float
    """Exposure ratio it was amplified by."""
    ratio_is_estimated: bool
    """True if the ratio was estimated from the image, False if it was given."""
    metadata: Mapping[str, str]
    """As of `Enhanced`."""
    seconds: Mapping[str, float]
    """Wall-clock seconds by part: "prepare", "network", which develops beside."""


@dataclass(frozen=True)
class Enhanced:
    """A clean, demosaicked RAW image."""

    linear: NDArray[np.float32]
    """(H, W, 3) linear camera RGB: (DN − black)/(white − black) × white balance gain (green = 1) × ratio, as a
    noiseless, fully sampled sensor would give it; unclipped above 1, full visible size, sensor orientation."""
    raw: RawImage
    """What it was made from, with the black level that was used: see `alen.black_level.proven_black_level`."""
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
        picture = np.empty_like(self.linear) if out is None else out
        make = partial(develop, cam2rgb=self.raw.cam2rgb, exposure_ev=exposure_ev, clip_level=self.clip_level)
        if self.raw.lens_distortion is None:
            return make(self.linear, shading=self.shading, out=picture)
        for rows, piece, gains in self.pieces():
            make(piece, shading=None if gains is None else partial(rows_of, gains), out=picture[rows])
        return picture

    def developed(self, dtype: type[_Whole], *, exposure_ev: float = 0.0) -> NDArray[_Whole]:
        """Return `picture` in whole numbers, as `Enhancer.finish` makes it: quicker, and in less memory.

        Args:
            dtype: Of the picture: np.uint8 or np.uint16, in its full range. Values half way may go either way.
            exposure_ev: Brighter (above 0) or darker by this many stops.

        Raises:
            SettingsError: The exposure is out of its range, or a picture is not of such numbers.
            PictureError: ``linear`` holds what is no number.
        """
        _check_development(exposure_ev, dtype)
        picture: NDArray[_Whole] = np.empty(self.linear.shape, dtype=dtype)
        development = Development.of(self.raw.cam2rgb, exposure_ev=exposure_ev, clip_level=self.clip_level)
        developer = Developer(development, dtype, is_shaded=self.shading is not None)
        for rows, piece, gains in self.pieces():
            if np.isnan(piece.max()):  # max passes nan on
                raise PictureError(not_a_number(self.raw.name))
            developer.develop(piece, picture[rows], gains)
        return picture

    def pieces(self) -> Iterator[Piece]:
        """Yield ``linear`` from top to bottom with straight lines, and the gains that give back what the lens lost."""
        height, width, _ = self.linear.shape
        shading = self.shading
        straighten = undistorting(self.raw.lens_distortion, height, width, is_shaded=shading is not None)
        for top in range(0, height, _STRIPE):
            rows = slice(top, min(top + _STRIPE, height))
            gains = None if shading is None else shading(rows.start, rows.stop)
            yield from straighten(rows, self.linear[rows], gains)

    @property
    def shading(self) -> Shading | None:
        """What gives back what the lens lost, for frames of the size of ``linear``, which may have been reduced.

        None if the RAW file does not say it.
        """
        shading = self.raw.lens_shading
        return None if shading is None else shading.over(*self.linear.shape[:2])

    @property
    def clip_level(self) -> float:
        """Value at which the first channel of the sensor saturates."""
        return self.ratio * min(self.raw.white_balance)


@dataclass(frozen=True)
class _Network:
    """Weights, and what runs them."""

    weights: Weights
    engine: Engine


class Enhancer:
    """A network made ready to enhance any number of RAW images.

    Images of X-Trans sensors take the shipped weights for X-Trans in place of others that ship; these are made ready
    when the first such image comes. Several threads may ask at a time; they get their turn.

    Args:
        model: Name of shipped weights, or the path of a weights file.
        device: Where to compute, see `make_engine`.
        precision: Arithmetic of the network's layers; "auto" takes bfloat16 where the device computes in it, but
            float32 in torch on the processor.
        threads: CPU threads; None uses all cores.
        max_memory_bytes: Frames that would need more are refused; None does not look.
        recover: Give back detail that the network lost, see `alen.recovery`; without, pictures are the network's own.
        repair: Replace hot and dead pixels, see `alen.defective_pixels`; those that a DNG lists are replaced always.
        undistort: Make straight lines straight in pictures, where a DNG says how, see `alen.lens_distortion`.
        ensemble: Of how many orientations of the frame a picture is the mean: 1, 2, 4 or 8, each of which takes as long
            as one; see `alen.self_ensemble`.

    Raises:
        WeightsError: The weights cannot be used, or were not trained for camera RGB.
        DeviceError: The device is not there, or needs torch, which is not installed.
    """

    def __init__(
        self,
        model: str | Path = DEFAULT,
        *,
        device: str = "CPU",
        precision: Precision = "auto",
        threads: int | None = None,
        max_memory_bytes: int | None = None,
        recover: bool = True,
        repair: bool = True,
        undistort: bool = True,
        ensemble: int = 1,
    ) -> None:
        check_ensemble(ensemble)
        self._recover = recover
        self._repair = repair
        self._undistort = undistort
        self._ensemble = ensemble
        self._lock = threading.Lock()
        if max_memory_bytes is not None and not max_memory_bytes > 0:
            raise SettingsError(f"The largest memory is above 0; got {max_memory_bytes / 1e9:g} GB.")
        self._max_memory_bytes = max_memory_bytes
        self._make_engine = partial(make_engine, device=device, precision=precision, threads=threads)
        self._is_shipped = str(model) in shipped_names()
        self._named = self._load(str(model))
        self._xtrans: _Network | None = None

    @property
    def weights(self) -> Weights:
        """The weights that were named."""
        return self._named.weights

    @property
    def engine(self) -> Engine:
        """What runs them."""
        return self._named.engine

    def enhance(
        self,
        raw: RawImage,
        *,
        ratio: float | None = None,
        look: Look = LOOK,
        beside_bytes_per_pixel: int = 0,
        progress: Callable[[float], None] | None = None,
    ) -> Enhanced:
        """Clean and demosaic a RAW image.

        Args:
            raw: The image; Bayer or X-Trans.
            ratio: By how much it was exposed too short, 1 to `MAX_RATIO`; None estimates it.
            look: How bright an estimated ratio makes the picture: "natural" or "bright"; of no effect on a given one.
            beside_bytes_per_pixel: What the caller will make of it, counted towards the largest memory.
            progress: Told, again and again, the share of the work that is done, in [0, 1].

        Raises:
            UnsupportedRawError: The weights are not for the image's filter array.
            SettingsError: The ratio is out of its range, there is no such look, or the image was not read.
            DeviceError: The engine failed.
        """
        clock = time.perf_counter()
        network = self._network_for(raw)
        raw = raw if self._undistort else replace(raw, lens_distortion=None)
        amplified, seen, defects = self._amplified(
            network, raw, ratio, look, bytes_per_pixel=12 + beside_bytes_per_pixel
        )
        prepared = time.perf_counter()
        linear = np.empty((*raw.mosaic.shape, 3), dtype=np.float32)
        brighter = np.float32(amplified.ratio / seen.ratio)

        def keep(rows: slice, piece: NDArray[np.float32]) -> None:
            np.multiply(piece, brighter, out=linear[rows])

        self._make(network, seen, lambda: keep, progress)
        seconds = {"prepare": prepared - clock, "network": time.perf_counter() - prepared}
        metadata = _metadata(network, amplified, seen, defects, self._ensemble)
        return Enhanced(linear, amplified.raw, amplified.ratio, amplified.ratio_is_estimated, metadata, seconds)

    def finish(
        self,
        raw: RawImage,
        *,
        ratio: float | None = None,
        look: Look = LOOK,
        exposure_ev: float = 0.0,
        dtype: type[np.uint8] | type[np.uint16] = np.uint8,
        progress: Callable[[float], None] | None = None,
    ) -> Finished:
        """Clean, demosaic and develop a RAW image in pieces, of which nothing but the picture is kept.

        The picture is that of ``enhance(raw).picture()``, rounded; values half way may go either way.

        Args:
            raw: The image; Bayer or X-Trans.
            ratio: By how much it was exposed too short, 1 to `MAX_RATIO`; None estimates it.
            look: How bright an estimated ratio makes the picture: "natural" or "bright"; of no effect on a given one.
            exposure_ev: Brighter (above 0) or darker by this many stops.
            dtype: Of the picture: 8 or 16 bits.
            progress: Told, again and again, the share of the work that is done, in [0, 1].

        Raises:
            UnsupportedRawError: The weights are not for the image's filter array.
            SettingsError: The ratio or the exposure is out of its range, there is no such look, a picture is not of
                such numbers, or the image was not read.
            DeviceError: The engine failed.
            PictureError: The network's result is not a number.
        """
        _check_development(exposure_ev, dtype)
        clock = time.perf_counter()
        network = self._network_for(raw)
        raw = raw if self._undistort else replace(raw, lens_distortion=None)
        bytes_per_pixel = 3 * np.dtype(dtype).itemsize
        amplified, seen, defects = self._amplified(network, raw, ratio, look, bytes_per_pixel=bytes_per_pixel)
        prepared = time.perf_counter()
        picture = np.empty((*raw.mosaic.shape, 3), dtype=dtype)
        clip_level = seen.ratio * min(raw.white_balance)
        exposure_ev = min(exposure_ev + math.log2(amplified.ratio / seen.ratio), MAX_EV)

        development = Development.of(raw.cam2rgb, exposure_ev=exposure_ev, clip_level=clip_level)

        shading = None if raw.lens_shading is None else raw.lens_shading.over(*raw.mosaic.shape)

        def start() -> Callable[[slice, NDArray[np.float32]], None]:
            is_shaded = shading is not None
            developer = Developer(development, dtype, is_shaded=is_shaded)
            straighten = undistorting(raw.lens_distortion, *raw.mosaic.shape, is_shaded=is_shaded)

            def finish_piece(rows: slice, piece: NDArray[np.float32]) -> None:
                if np.isnan(piece.max()):  # max passes nan on
                    raise PictureError(not_a_number(raw.name))
                gains = None if shading is None else shading(rows.start, rows.stop)
                for made, straight, of_straight in straighten(rows, piece, gains):
                    developer.develop(straight, picture[made], of_straight)

            return finish_piece

        self._make(network, seen, start, progress)
        seconds = {"prepare": prepared - clock, "network": time.perf_counter() - prepared}
        metadata = _metadata(network, amplified, seen, defects, self._ensemble)
        return Finished(picture, amplified.raw, amplified.ratio, amplified.ratio_is_estimated, metadata, seconds)

    def needed_bytes(self, height: int, width: int, *, bytes_per_pixel: int = 3) -> int | None:
        """Return the memory of the process that a frame needs with the weights that were named, about.

        Args:
            height: Rows of its mosaic.
            width: Columns of it.
            bytes_per_pixel: Of the picture: 3 or 6 of what `finish` makes, 12 of what `enhance` makes.

        Returns:
            Bytes, or None if the engine does not tell.
        """
        return _needed_bytes(self._named, height, width, bytes_per_pixel, self._ensemble)

    def _make(
        self,
        network: _Network,
        amplified: Amplified,
        start: Callable[[], Callable[[slice, NDArray[np.float32]], None]],
        progress: Callable[[float], None] | None,
    ) -> None:
        """Have a picture made: what ``start`` returns gets the linear camera RGB of rows, from top to bottom.

        It runs, and lost detail is given back, while the engine is at the next piece; ``start`` is called and the noise
        is measured while it is at the first.
        """
        if self._ensemble > 1:
            amplified = amplified.turned(TURNS[0])  # with the padding that all have

        def turned(turn: Turn) -> tuple[Amplified, Padding]:
            frame = amplified if turn == TURNS[0] else amplified.turned(turn)
            return frame, frame.padding

        with self._lock:
            reached = 0

            def begin() -> tuple[Recovery, Callable[[slice, NDArray[np.float32]], None]]:
                noise = estimate_noise_level(amplified, amplified.saturation) if self._recover else None
                return Recovery(amplified, amplified.saturation, noise), start()

            def work() -> None:
                nonlocal reached
                ready = recovery.ready()
                rows, piece = amplified.padding.crop_rows(ready, reached, len(amplified.mosaic))
                if rows.start < rows.stop:
                    take(rows, piece)
                reached += len(ready)

            pending: Future[None] | None = None
            with ThreadPoolExecutor(1) as pool:
                begun = pool.submit(begin)
                for stripe in mean_stripes(network.engine, turned, self._ensemble, progress):
                    recovery, take = begun.result()
                    if pending is not None:
                        pending.result()
                    recovery.add(stripe)  # before the engine uses its memory again
                    pending = pool.submit(work)
            if pending is not None:
                pending.result()

    def _load(self, model: str) -> _Network:
        """Make weights ready."""
        weights = load_weights(find_weights(model))
        if weights.config.target != "camera":
            raise WeightsError(
                f"{model}: these weights paint finished sRGB pictures, and there is no linear camera RGB to develop. "
                'Name weights with the target "camera".'
            )
        return _Network(weights, self._make_engine(weights))

    def _network_for(self, raw: RawImage) -> _Network:
        """Return the network for an image's filter array; raises UnsupportedRawError, SettingsError if it is none."""
        _check_image(raw)
        kind, name = raw.cfa.kind, self.weights.name
        if self.weights.config.cfa == kind:
            return self._named
        if kind == "bayer":
            raise UnsupportedRawError(
                f"{raw.name}: is of a Bayer sensor, but the weights {name} are for X-Trans. Name others, such as "
                f"{DEFAULT}."
            )
        if not self._is_shipped or XTRANS not in shipped_names():
            raise UnsupportedRawError(
                f"{raw.name}: is of an X-Trans sensor, but the weights {name} are for Bayer. Name others, such as "
                f"{XTRANS}."
            )
        with self._lock:  # once, for threads that come at the same time
            if self._xtrans is None:
                self._xtrans = self._load(XTRANS)
        return self._xtrans

    def _amplified(
        self, network: _Network, raw: RawImage, ratio: float | None, look: Look, *, bytes_per_pixel: int
    ) -> tuple[Amplified, Amplified, int]:
        """Return the image amplified as it is wanted, and as the engine reads it: see `_BRIGHTEST_MIDDLE`.

        Of both the defective pixels are replaced; the third is how many there were.

        Raises DeviceError if it and a picture of so many bytes per pixel are too large.
        """
        height, width = raw.mosaic.shape
        needed = _needed_bytes(network, height, width, bytes_per_pixel, self._ensemble)
        if needed is not None and raw.lens_distortion is not None:
            needed += kept_bytes(raw.lens_distortion, height, width)
        if self._max_memory_bytes is not None and needed is not None and needed > self._max_memory_bytes:
            raise DeviceError(
                f"{raw.name}: {height * width / 1e6:.0f} megapixels need about {needed / 1e9:.1f} GB, more than "
                f"the {self._max_memory_bytes / 1e9:g} GB that were allowed. Allow more, "
                f"{'take one orientation instead of an ensemble, ' if self._ensemble > 1 else ''}"
                "or use another computer."
            )
        listed = DefectivePixels.none()
        if raw.listed_defects is not None:
            listed = defective_pixels_at(raw.mosaic, raw.cfa, raw.listed_defects)
        mosaic = listed.replaced(raw.mosaic)
        with ThreadPoolExecutor(1) as pool:  # which takes about as long as the rest
            finding = pool.submit(find_defective_pixels, mosaic, raw.cfa, raw.white_balance) if self._repair else None
            amplified = amplified_planes(raw, ratio, look=look)
            most = amplified.ratio
            if ratio is not None:
                normalized = normalize(raw.mosaic, raw.cfa, amplified.raw.black_level, raw.white_level)
                most = bright_ratio(normalized, raw.cfa, raw.white_balance, _BRIGHTEST_MIDDLE, _DARKEST_TENTH)
            defects = DefectivePixels.none() if finding is None else finding.result()
        amplified = replace(amplified, mosaic=defects.replaced(mosaic))
        return amplified, replace(amplified, ratio=min(amplified.ratio, most)), len(listed) + len(defects)


def _needed_bytes(network: _Network, height: int, width: int, bytes_per_pixel: int, ensemble: int) -> int | None:
    """Return the memory of the process that a frame (height, width) needs, about; None if the engine does not tell."""
    side = network.weights.config.shuffle
    engine = network.engine.needed_bytes(height // side, width // side)
    if engine is None:
        return None
    # the engine gives its memory back while the picture grows, all but the graphs
    mosaic_bytes = 4 * height * width  # with and without defective pixels
    if ensemble > 1:
        mosaic_bytes += ENSEMBLE_BYTES * height * width
    return _PROCESS_BYTES + mosaic_bytes + max(engine, min(engine, _ENGINE_BYTES) + bytes_per_pixel * height * width)


def _metadata(
    network: _Network, amplified: Amplified, seen: Amplified, replaced_pixels: int, ensemble: int
) -> dict[str, str]:
    more = {"NetworkRatio": f"{seen.ratio:.4g}"} if seen.ratio < amplified.ratio else {}
    if ensemble > 1:
        more["Ensemble"] = f"{ensemble} orientations"
    origin = f"estimated, {amplified.look} look" if amplified.ratio_is_estimated else "given"
    return {
        "Software": f"alen {__version__}",
        "Model": f"{network.weights.name} {network.weights.digest}",
        "Engine": network.engine.description,
        "BlackLevel": ", ".join(f"{level:.2f}" for level in amplified.raw.in_dn(amplified.raw.black_level)),
        "ReplacedPixels": f"{replaced_pixels}",
        "ExposureRatio": f"{amplified.ratio:.4g} ({origin})",
        **more,
    }


def make_engine(weights: Weights, *, device: str, precision: Precision, threads: int | None) -> Engine:
    """Return what runs a network on a device; nothing takes the place of a device that is not there.

    Args:
        weights: The network.
        device: "cuda", "cuda:N", "mps", or "torch", which is torch on the processor; all other names, such as "CPU",
            are OpenVINO's. Only the former import torch.
        precision: As of `Enhancer`.
        threads: As of `Enhancer`.

    Raises:
        WeightsError: The engine does not run the network, or it is not one for planes as of `Amplified`.
        DeviceError: The device is not there, or needs torch, which is not installed.
    """
    name = device.lower()
    if name != "torch" and name.partition(":")[0] not in ("cuda", "mps"):
        return OpenVinoEngine(weights, device=device, precision=precision, threads=threads)
    config = weights.config
    if config.input_levels != "balanced":
        raise WeightsError(
            f"{weights.name}: made for {config.input_levels} levels; only networks for balanced levels enhance RAW "
            "files."
        )
    try:
        from alen.engines.torch import TorchEngine
    except ModuleNotFoundError as error:
        raise DeviceError(
            f"The device {device} needs torch, which is not installed. Install it with: pip install 'alen[train]'"
        ) from error
    return TorchEngine(weights, device="cpu" if name == "torch" else name, precision=precision, threads=threads)

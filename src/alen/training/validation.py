"""Validation: the averaged weights on held-out pictures, the same ones on every machine."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from alen.cameras import CAMERAS, MeasuredCamera
from alen.cfa import FilterArray, reference
from alen.color import develop, eotf_srgb
from alen.config import AlenConfig, SidUnetConfig
from alen.data.cache import PairCache
from alen.data.pairs import make_pair
from alen.data.photos import PhotoCache, sample_camera, unprocess
from alen.data.real_pairs import central_square, check_pair
from alen.errors import DataError
from alen.metrics import psnr, ssim
from alen.picture import write_picture

VALIDATION_RATIOS = (1.0, 8.0, 32.0, 100.0, 300.0)
"""Exposure ratios at which the held-out photographs are looked at during training."""


class Validation(Protocol):
    """The held-out part of a source of pairs."""

    def score(self, network: nn.Module, precision: str) -> dict[float, tuple[float, float]]:
        """Return the mean (PSNR in dB, SSIM) by ratio, of display-encoded pictures clipped to [0, 1]."""
        ...

    def write_pictures(self, network: nn.Module, precision: str, path: Path) -> None:
        """Write a sheet of predictions; the truth in the last column."""
        ...


class PhotoValidation:
    """Central squares of the held-out photographs at fixed ratios, cameras and noise; the same on every machine.

    The noise is that of the calibrated cameras at ISO 1600 in turn, or of ``sensor`` at its ISO speeds in turn.

    Raises:
        DataError: A photograph has no room for a square.
    """

    def __init__(
        self,
        cache: PhotoCache,
        *,
        side: int = 256,
        sensor: MeasuredCamera | None = None,
        cfa: FilterArray = "bayer",
    ) -> None:
        sensor_cfa = reference(cfa)
        multiple = 8 * sensor_cfa.size
        noises = [camera.typical(1600) for camera in CAMERAS]
        if sensor is not None:
            noises = [noise.typical() for noise in sensor.noises]
        self._samples: list[tuple[float, NDArray[np.float32], NDArray[np.float32], NDArray[np.float64]]] = []
        for index in range(len(cache)):
            whole = cache.whole(index)
            height, width = (min(side, n) // multiple * multiple for n in whole.shape[:2])
            if not height or not width:
                raise DataError(
                    f"{cache.photos[index]}: is held out to judge by, but has {whole.shape[1]} × {whole.shape[0]} "
                    f"pixels; {multiple} × {multiple} are needed. Remove it from the folder."
                )
            y, x = (whole.shape[0] - height) // 2, (whole.shape[1] - width) // 2
            for ratio in VALIDATION_RATIOS:
                rng = np.random.default_rng((index, int(ratio)))
                scene = unprocess(whole[y : y + height, x : x + width], *sample_camera(rng))
                planes, truth = make_pair(scene, ratio, noises[index % len(noises)], rng, sensor_cfa)
                self._samples.append((ratio, planes, truth, scene.cam2rgb))

    def score(self, network: nn.Module, precision: str) -> dict[float, tuple[float, float]]:
        """Return the mean (PSNR in dB, SSIM) by ratio, of display-encoded camera RGB clipped to [0, 1]."""
        values: dict[float, list[tuple[float, float]]] = {ratio: [] for ratio in VALIDATION_RATIOS}
        for ratio, planes, truth, _ in self._samples:
            picture, reference = np.clip(predict(network, planes, precision), 0, 1), np.clip(truth, 0, 1)
            pair = psnr(picture, reference, data_range=1.0), ssim(picture, reference, data_range=1.0)
            values[ratio].append(pair)
        means = {ratio: np.mean(pairs, axis=0) for ratio, pairs in values.items()}
        return {ratio: (float(mean[0]), float(mean[1])) for ratio, mean in means.items()}

    def write_pictures(self, network: nn.Module, precision: str, path: Path, *, photos: int = 3) -> None:
        """Write a sheet: per photograph and ratio the prediction, developed; the truth in the last column."""
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = []
        ratios = len(VALIDATION_RATIOS)
        chosen = range(0, len(self._samples) // ratios, max(len(self._samples) // ratios // photos, 1))
        for photo in list(chosen)[:photos]:
            samples = self._samples[photo * ratios : (photo + 1) * ratios]
            row = [_developed(predict(network, planes, precision), c, ratio) for ratio, planes, _, c in samples]
            ratio, _, truth, cam2rgb = samples[-1]
            rows.append(np.concatenate([*row, _developed(truth, cam2rgb, ratio)], axis=1))
        width = min(row.shape[1] for row in rows)
        write_picture(path, np.concatenate([row[:, :width] for row in rows], axis=0))


class PairValidation:
    """Squares from the middle of real pairs: the first of every scene and ratio."""

    def __init__(
        self,
        cache: PairCache,
        network: AlenConfig | SidUnetConfig,
        *,
        names: Collection[str] | None = None,
        side: int = 256,
    ) -> None:
        self.cache = cache
        self.network = network
        self.side = side
        first: dict[tuple[str, str, float], int] = {}
        for index, pair in enumerate(cache.pairs):
            if names is None or pair.name in names:
                first.setdefault((pair.camera, pair.scene, round(pair.ratio, 1)), index)
        self._chosen = [(ratio, index) for (_, _, ratio), index in first.items()]
        for _, index in self._chosen:
            check_pair(cache, index, network, 16)  # the least that `central_square` cuts out

    def score(self, network: nn.Module, precision: str) -> dict[float, tuple[float, float]]:
        """Return the mean (PSNR in dB, SSIM) by ratio, of display-encoded pictures clipped to [0, 1]."""
        values: dict[float, list[tuple[float, float]]] = {}
        for ratio, index in self._chosen:
            picture, reference = self._predicted(network, precision, index)
            pair = psnr(picture, reference, data_range=1.0), ssim(picture, reference, data_range=1.0)
            values.setdefault(ratio, []).append(pair)
        means = {ratio: np.mean(values[ratio], axis=0) for ratio in sorted(values)}
        return {ratio: (float(mean[0]), float(mean[1])) for ratio, mean in means.items()}

    def write_pictures(self, network: nn.Module, precision: str, path: Path, *, scenes: int = 3) -> None:
        """Write a sheet: some scenes below each other, the prediction beside the truth."""
        path.parent.mkdir(parents=True, exist_ok=True)
        chosen = self._chosen[:: max(len(self._chosen) // scenes, 1)][:scenes]
        rows = [np.concatenate(self._predicted(network, precision, index), axis=1) for _, index in chosen]
        width = min(row.shape[1] for row in rows)
        write_picture(path, np.concatenate([row[:, :width] for row in rows], axis=0))

    def _predicted(
        self, network: nn.Module, precision: str, index: int
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        planes, truth = central_square(self.cache, index, self.network, self.side)
        picture = np.clip(predict(network, planes, precision), 0, 1)
        return picture, truth.transpose(1, 2, 0)


def predict(network: nn.Module, planes: NDArray[np.float32], precision: str) -> NDArray[np.float32]:
    """Run a network on packed planes (P, h, w); returns the display-encoded picture (f·h, f·w, 3)."""
    device = next(network.parameters()).device
    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
        batch = torch.from_numpy(planes)[None].to(device, memory_format=torch.channels_last)
        picture: Tensor = network(batch)[0].float().permute(1, 2, 0)
    return np.ascontiguousarray(picture.cpu().numpy())


def _developed(encoded: NDArray[np.float32], cam2rgb: NDArray[np.float64], ratio: float) -> NDArray[np.float32]:
    return develop(eotf_srgb(encoded), cam2rgb, clip_level=ratio)

"""Photographs as training pairs: short, noisy exposures as packed planes, and their truth.

Here mosaics become planes, and arrays (H, W, C) tensors (C, H, W). A sample depends on the seed and its index alone, so
a resumed run sees what an undisturbed one would have seen.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from alen.cameras import MeasuredCamera, sample_generic
from alen.cfa import CFA, FilterArray, pack_any, reference
from alen.color import eotf_inverse_srgb
from alen.data.photos import PhotoCache, Scene, random_scene
from alen.levels import amplify, normalize
from alen.noise import NoiseParameters, add_noise

_RGGB = reference("bayer")


class PhotoPairs(Dataset[tuple[Tensor, Tensor]]):
    """Pairs made from photographs, the physics of noise, and chance.

    Item (i, s) is the i-th pair in packed size s: planes (4, s, s) float32 linear, white-balanced, × ratio, signed;
    truth (3, 2s, 2s) float32 display-encoded camera RGB. Of X-Trans, with s even, (9, s, s) and (3, 3s, 3s). The noise
    is that of ``sensor``, else of imaginary cameras. ``hard_shares`` tells by packed size how many of the scenes are
    hard cases, see `random_scene`.
    """

    def __init__(
        self,
        cache: PhotoCache,
        *,
        ratios: tuple[float, float],
        seed: int,
        sensor: MeasuredCamera | None = None,
        hard_shares: Mapping[int, float] | None = None,
        cfa: FilterArray = "bayer",
    ) -> None:
        self.cache = cache
        self.cfa = reference(cfa)
        self.ratios = ratios
        self.seed = seed
        self.sensor = sensor
        self.hard_shares = hard_shares if hard_shares is not None else {}

    def __getitem__(self, item: tuple[int, int]) -> tuple[Tensor, Tensor]:
        index, size = item
        rng = np.random.default_rng((self.seed, index))
        side = size * self.cfa.packed_side
        scene = random_scene(self.cache, side, rng, hard_share=self.hard_shares.get(size, 0.0))
        low, high = np.log(self.ratios)
        ratio = float(np.exp(rng.uniform(low, high)))
        noise = sample_generic(rng) if self.sensor is None else self.sensor.sample(rng)
        planes, truth = make_pair(scene, ratio, noise, rng, self.cfa)
        return to_tensors(planes, truth)


def make_pair(
    scene: Scene, ratio: float, noise: NoiseParameters, rng: np.random.Generator, cfa: CFA = _RGGB
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Expose a scene through a sensor with noise.

    Args:
        scene: The scene, of a size that the filter array can be packed in.
        ratio: By how much the exposure is too short.
        noise: The sensor's noise.
        rng: Source of randomness.
        cfa: The sensor's filter array, in the phase of `alen.cfa.reference`.

    Returns:
        Packed planes (4, H/2, W/2) or, of X-Trans, (9, H/3, W/3), linear, white-balanced, × ratio; and the
        display-encoded truth (H, W, 3).
    """
    clean, truth = scene.expose(ratio, cfa)
    mosaic = add_noise(clean, cfa, noise, rng)
    black = noise.black_level_dn
    normalized = normalize(mosaic, cfa, (black, black, black, black), noise.white_level_dn)
    amplified = amplify(normalized, cfa, scene.white_balance, ratio)
    return pack_any(amplified, cfa), eotf_inverse_srgb(truth)


def to_tensors(planes: NDArray[np.float32], picture: NDArray[np.float32]) -> tuple[Tensor, Tensor]:
    """Return planes (P, h, w) and a picture (H, W, 3) as tensors (P, h, w) and (3, H, W)."""
    return torch.from_numpy(planes), torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1)))

"""LPIPS with the user's weights: "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric".

R. Zhang et al., CVPR 2018, https://arxiv.org/abs/1801.03924, version 0.1 on AlexNet: features after each of five
convolutions, divided by their length over channels, squared differences weighted by learned channel weights, averaged
over positions, added over layers. The weights are not shipped and not downloaded: name a safetensors file that holds
AlexNet's convolutions under torchvision's names (``features.0.weight`` and ``.bias``, also 3, 6, 8 and 10) and the
learned weights under the authors' (``lin0.model.1.weight`` … ``lin4.model.1.weight``). Needs torch.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from alen.errors import SettingsError, WeightsError

_LAYERS: Final = ((0, 4, 2), (3, 1, 2), (6, 1, 1), (8, 1, 1), (10, 1, 1))
"""AlexNet's convolutions: number in torchvision's ``features``, stride, padding."""

_POOLED: Final = (1, 2)
"""Convolutions with a 3 × 3 max-pooling of stride 2 before them, by their place in `_LAYERS`."""

_SHIFT: Final = (-0.030, -0.088, -0.188)
_SCALE: Final = (0.458, 0.448, 0.450)
"""What the authors subtract from and divide values in [−1, 1] by, for R, G and B."""

_MIN_SIDE: Final = 31
"""Smaller pictures leave nothing after AlexNet's poolings."""


class Lpips:
    """The distance, ready to measure.

    Args:
        path: The weights, see above.

    Raises:
        WeightsError: The file cannot be read, tensors are missing or of other shapes, or torch is not installed.
    """

    def __init__(self, path: Path) -> None:
        try:
            import torch
        except ImportError as error:
            raise WeightsError("LPIPS needs torch. Install it with: pip install 'alen[train]'") from error
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        try:
            arrays = load_file(path)
            self.digest = hashlib.sha256(path.read_bytes()).hexdigest()[:12]
        except (OSError, SafetensorError) as error:
            raise WeightsError(f"{path}: is not a readable safetensors file ({error}).") from error
        self._convolutions: list[tuple[Any, Any]] = []
        self._weights: list[Any] = []
        channels = 3
        for index, (number, _, _) in enumerate(_LAYERS):
            names = (f"features.{number}.weight", f"features.{number}.bias", f"lin{index}.model.1.weight")
            absent = [name for name in names if name not in arrays]
            if absent:
                raise WeightsError(
                    f"{path}: holds no {', '.join(absent)}. Expected AlexNet's features.N.weight and .bias "
                    "(torchvision's names) and lin0…lin4.model.1.weight."
                )
            weight, bias, linear = (torch.from_numpy(arrays[name].astype(np.float32)) for name in names)
            if weight.ndim != 4 or weight.shape[1] != channels or linear.numel() != weight.shape[0]:
                raise WeightsError(f"{path}: {names[0]} or {names[2]} has another shape than AlexNet's.")
            channels = weight.shape[0]
            self._convolutions.append((weight, bias))
            self._weights.append(linear.reshape(1, -1, 1, 1))

    def distance(self, prediction: NDArray[np.float32], truth: NDArray[np.float32]) -> float:
        """Return how far two pictures are apart.

        Args:
            prediction: (H, W, 3) float32, display-encoded, in [0, 1]; H and W at least 31.
            truth: Same shape.

        Returns:
            0 for equal pictures; lower is better. Symmetric in the two.

        Raises:
            SettingsError: The shapes differ, are not of a picture, or too small.
        """
        import torch

        if prediction.shape != truth.shape or prediction.ndim != 3 or prediction.shape[2] != 3:
            raise SettingsError(f"LPIPS compares two pictures (H, W, 3); got {prediction.shape}, {truth.shape}.")
        if min(prediction.shape[:2]) < _MIN_SIDE:
            raise SettingsError(f"LPIPS needs sides of at least {_MIN_SIDE} pixels; got {prediction.shape[:2]}.")
        with torch.inference_mode():
            layers = (self._features(picture) for picture in (prediction, truth))
            total = 0.0
            for a, b, weight in zip(*layers, self._weights, strict=True):
                total += float(((a - b) ** 2 * weight).sum(dim=1).mean())
        return total

    def _features(self, picture: NDArray[np.float32]) -> list[Any]:
        """Return the unit features of all layers, (1, C, h, w) each."""
        import torch
        import torch.nn.functional as F

        x = torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)[None] * 2 - 1  # (1, 3, H, W)
        x = (x - torch.tensor(_SHIFT).reshape(1, 3, 1, 1)) / torch.tensor(_SCALE).reshape(1, 3, 1, 1)
        features = []
        for index, ((weight, bias), (_, stride, padding)) in enumerate(zip(self._convolutions, _LAYERS, strict=True)):
            if index in _POOLED:
                x = F.max_pool2d(x, 3, 2)
            x = F.relu(F.conv2d(x, weight, bias, stride=stride, padding=padding))
            features.append(x / (x.square().sum(dim=1, keepdim=True).sqrt() + 1e-10))
        return features

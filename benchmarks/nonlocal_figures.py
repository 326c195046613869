"""The pictures of ``docs/nonlocal.md``: what the filter and the network's attention look at, from the same pixels.

``python -m benchmarks.nonlocal_figures`` photographs the program's own night scene with little light, picks pixels, and
draws for each the weights map of non-local means in its window and the attention maps of the trained network over the
frame.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cyclopts
import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.colors import LogNorm
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from alen.cameras import CAMERAS
from alen.cfa import CFA, pack
from alen.classical.nonlocal_means import FilterSettings, nonlocal_weights
from alen.classical.variance import stabilize
from alen.color import cam2rgb_from_xyz2cam, develop
from alen.config import AlenConfig
from alen.levels import amplify, normalize
from alen.models.alen import Alen
from alen.models.attention import NonLocal
from alen.noise import QUANTIZATION_VARIANCE_DN2
from alen.sample import WHITE_BALANCE, XYZ2CAM, camera_truth, expose
from alen.weights import Weights, find_weights, load_weights

_RGGB: Final = CFA.bayer("RGGB")
_ISO: Final = 800.0
_SETTINGS: Final = FilterSettings(patch=5, window=35, sigma=1.0, h=0.65)
"""Of the filter on stabilized planes, whose noise has a standard deviation of 1."""

_COLORS: Final = ("#ff4fd8", "#33d6ff", "#ffe14d")
"""Of the pixels' marks."""


@dataclass(frozen=True)
class Frame:
    """A dark exposure, half size: one pixel for each 2 × 2 cell of the mosaic."""

    stabilized: NDArray[np.float32]
    """(h, w, 4) planes R, Gr, Gb, B with noise of standard deviation 1: what the filter compares."""
    amplified: NDArray[np.float32]
    """(4, h, w) planes × white balance × ratio: what the network gets."""
    picture: NDArray[np.float32]
    """(h, w, 3) sRGB in [0, 1] of the same planes, for showing."""


def photograph(height: int, width: int, ratio: float) -> Frame:
    """Return the night scene exposed ``ratio`` times too short; height and width in pixels of the mosaic."""
    noise = next(camera for camera in CAMERAS if camera.name == "Sony A7S II").typical(_ISO)
    mosaic = expose(camera_truth(height, width), _RGGB, ratio=ratio, iso=_ISO)
    black = noise.black_level_dn
    electrons = pack((mosaic - np.float32(black)) / np.float32(noise.gain), _RGGB)
    read_dn = math.sqrt(noise.read_sigma_dn**2 + noise.row_sigma_dn**2 + QUANTIZATION_VARIANCE_DN2)
    normalized = normalize(mosaic, _RGGB, (black, black, black, black), noise.white_level_dn)
    planes = pack(amplify(normalized, _RGGB, WHITE_BALANCE, ratio), _RGGB)
    rgb = np.stack([planes[0], 0.5 * (planes[1] + planes[2]), planes[3]], axis=2)
    picture = develop(rgb, cam2rgb_from_xyz2cam(XYZ2CAM), clip_level=ratio * min(WHITE_BALANCE))
    return Frame(np.moveaxis(stabilize(electrons, read_dn / noise.gain), 0, 2), planes, picture)


def attention_maps(weights: Weights, planes: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """Return the attention of the network's non-local operations on planes (4, h, w), shallow to deep.

    Returns:
        For each operation (rows, columns, side, side) float32: for every query the weights of the grid of keys, with
        sum 1.
    """
    if not isinstance(weights.config, AlenConfig) or weights.config.key_grid is None:
        raise SystemExit(f"{weights.name}: only attention networks whose keys lie on a grid can be drawn.")
    network = Alen(weights.config)
    network.load_state_dict({name: torch.from_numpy(array) for name, array in weights.arrays.items()})
    network.eval()
    maps: list[NDArray[np.float32]] = []

    def record(operation: nn.Module, inputs: tuple[Tensor, ...], _: Any) -> None:
        assert isinstance(operation, NonLocal)
        height, width = (-(-side // operation.query_pool) for side in inputs[0].shape[2:])
        assert operation.key_grid is not None
        found = operation.attention(inputs[0])[0]  # (P, M)
        maps.append(found.reshape(height, width, operation.key_grid, operation.key_grid).numpy())

    for module in network.modules():
        if isinstance(module, NonLocal):
            module.register_forward_hook(record)
    with torch.inference_mode():
        network(torch.from_numpy(planes)[None])
    return maps


def report(frame: Frame, pixels: list[tuple[int, int]], maps: list[NDArray[np.float32]]) -> Table:
    """Return the numbers of docs/nonlocal.md: how many pixels or keys share a sum, and what attention depends on.

    As many as share it is 1/Σw², the number of equal weights that would average noise as well. "alike" is the mean
    cosine between the maps of all queries and their mean; "darkness" the rank correlation of that mean with how dark
    the keys' cells are.
    """
    table = Table("pixel", "non-local means", *(f"block {index + 1}" for index in range(len(maps))))
    height = frame.stabilized.shape[0]
    for row, column in pixels:
        queries = []
        for attention in maps:
            side = round(height / attention.shape[0])
            queries.append(attention[row // side, column // side])
        filtered = nonlocal_weights(frame.stabilized, _SETTINGS, row=row, column=column)
        table.add_row(f"{row}, {column}", *(f"{1 / np.sum(np.square(w)):.1f}" for w in (filtered, *queries)))
    alike, darkness = [], []
    for attention in maps:
        keys = attention.shape[2]
        every = attention.reshape(-1, keys * keys)
        mean = every.mean(axis=0)
        norms = np.linalg.norm(every, axis=1) * np.linalg.norm(mean)
        alike.append(f"{np.mean(every @ mean / norms):.2f}")
        rows, columns = (frame.amplified.shape[axis] // keys for axis in (1, 2))
        light = frame.amplified[:, : keys * rows, : keys * columns].reshape(4, keys, rows, keys, columns)
        ranks = [np.argsort(np.argsort(values)) for values in (mean, -light.mean(axis=(0, 2, 4)).ravel())]
        darkness.append(f"{np.asarray(np.corrcoef(ranks))[0, 1]:.2f}")
    table.add_row("alike", "", *alike)
    table.add_row("darkness", "", *darkness)
    return table


def draw_weights(path: Path, frame: Frame, pixels: list[tuple[int, int]]) -> None:
    """Draw the frame with the pixels and their windows, then for each pixel its window and its weights."""
    reach = _SETTINGS.reach
    figure = plt.figure(figsize=(11, 4.0), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(1, 1.15))
    axes = left.subplots()
    _show(axes, frame.picture)
    axes.set_title("the dark frame, amplified")
    cells = right.subplots(2, len(pixels))
    for (row, column), color, (window, weights) in zip(pixels, _COLORS, cells.T, strict=True):
        axes.add_patch(_square(row, column, _SETTINGS.window, color))
        axes.plot(column, row, "+", color=color, markersize=7)
        extent = (column - reach - 0.5, column + reach + 0.5, row + reach + 0.5, row - reach - 0.5)
        _show(window, frame.picture[row - reach : row + reach + 1, column - reach : column + reach + 1], extent)
        window.add_patch(_square(row, column, _SETTINGS.patch, color))
        found = nonlocal_weights(frame.stabilized, _SETTINGS, row=row, column=column)
        norm = LogNorm(found.max() * 1e-3, found.max())
        image = weights.imshow(np.maximum(found, norm.vmin or 0), cmap="magma", norm=norm, extent=extent)
        _plain(weights)
        weights.add_patch(_square(row, column, _SETTINGS.patch, color))
        right.colorbar(image, ax=weights, location="bottom", shrink=0.9)
    cells[0, 0].set_ylabel("window, patch")
    cells[1, 0].set_ylabel("weights, sum 1")
    _save(figure, path)


def draw_attention(path: Path, frame: Frame, pixels: list[tuple[int, int]], maps: list[NDArray[np.float32]]) -> None:
    """Draw for each pixel a row with the attention of each operation over the whole frame."""
    height, width = frame.picture.shape[:2]
    figure, cells = plt.subplots(len(pixels), len(maps), figsize=(11, 6.6), layout="constrained")
    gray = (0.35 + 0.65 * np.sqrt(np.clip(frame.picture.mean(axis=2, keepdims=True), 0, 1))).repeat(3, axis=2)
    for (row, column), color, line in zip(pixels, _COLORS, cells, strict=True):
        for depth, (attention, axes) in enumerate(zip(maps, line, strict=True)):
            side = round(height / attention.shape[0])
            grid = attention[row // side, column // side]
            relative = grid.size * grid  # 1 everywhere is the plain mean of the frame
            _show(axes, gray)
            limit = max(float(relative.max()), 2.0)
            extent = (-0.5, width - 0.5, height - 0.5, -0.5)
            image = axes.imshow(relative, cmap="magma", alpha=0.6, vmin=0, vmax=limit, extent=extent)
            axes.plot(column, row, "+", color=color, markersize=9, markeredgewidth=2)
            figure.colorbar(image, ax=axes, shrink=0.8)
            if axes in cells[0]:
                axes.set_title(f"block {depth + 1}: a query every {2 * side} × {2 * side} pixels")
    _save(figure, path)


def _show(axes: Any, picture: NDArray[np.float32], extent: tuple[float, float, float, float] | None = None) -> None:
    axes.imshow(np.clip(picture, 0, 1), extent=extent, interpolation="nearest")
    _plain(axes)


def _plain(axes: Any) -> None:
    axes.set_xticks([])
    axes.set_yticks([])


def _square(row: int, column: int, side: int, color: str) -> Any:
    return plt.Rectangle((column - side / 2, row - side / 2), side, side, fill=False, edgecolor=color, linewidth=1.5)


def _save(figure: Any, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, pil_kwargs={"quality": 88})
    plt.close(figure)


app = cyclopts.App(help=__doc__)


@app.default
def main(
    *,
    weights: str = "alen",
    folder: Path = Path("docs/images"),
    ratio: float = 32.0,
    pixels: tuple[tuple[int, int], ...] = ((182, 140), (60, 252), (110, 215)),
) -> None:
    """Draw the pictures of docs/nonlocal.md.

    Args:
        weights: Of the network: a shipped name or a weights file.
        folder: Where the pictures go.
        ratio: Exposure ratio of the dark frame.
        pixels: Three pixels (row, column) of the half-size frame, 256 × 384.
    """
    loaded = load_weights(find_weights(weights))
    frame = photograph(512, 768, ratio)
    maps = attention_maps(loaded, frame.amplified)
    draw_weights(folder / "nonlocal-weights.jpg", frame, list(pixels))
    draw_attention(folder / "nonlocal-attention.jpg", frame, list(pixels), maps)
    console = Console()
    console.print(f"{loaded.name}: {loaded.facts.steps} steps, SHA-256 {loaded.digest}…")
    console.print(report(frame, list(pixels), maps))


if __name__ == "__main__":
    app()

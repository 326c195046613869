"""Hard cases: stars, lamps, neon, text, a zone plate, a color checker and dark areas, each with a figure of its own.

``python -m benchmarks.hard_cases`` exposes the charts of `alen.data.charts` through the calibrated noise of a camera,
as `benchmarks.quality` exposes photographs, and lets LibRaw, tuned non-local means and networks make linear camera RGB
of them. Beside PSNR and SSIM it measures what each chart is for. It writes one record per picture (JSON), a section of
``docs/hard-cases.md`` and a sheet of crops.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import cv2
import cyclopts
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from skimage.color import deltaE_ciede2000, rgb2lab

from alen.cameras import CAMERAS
from alen.cfa import CFA
from alen.color import cam2rgb_from_xyz2cam, develop, eotf_inverse_srgb
from alen.data import charts
from alen.data.photos import Scene, unprocess
from alen.engines import Precision
from alen.metrics import psnr, ssim
from alen.picture import write_picture
from alen.sample import WHITE_BALANCE, XYZ2CAM
from alen.weights import find_weights, load_weights, shipped_for, shipped_names
from benchmarks.quality import (
    OPPONENTS,
    EngineName,
    Exposure,
    Method,
    command,
    demosaic_only,
    expose,
    networks,
    provenance,
    run_libraw,
    run_nonlocal_means,
    write_section,
    write_sheet,
)

_MARKERS: Final = ("<!-- hard cases: begin -->", "<!-- hard cases: end -->")
"""Around the section of the page that this program owns."""

_CAM2RGB: Final = cam2rgb_from_xyz2cam(XYZ2CAM)
"""The sample's camera: the Sony A7S II."""

_GRAYS: Final = slice(18, 24)
"""The gray patches of the color checker."""

_BLOCK_PX: Final = 16
"""Side of the squares whose means show clouds: pixel noise is averaged out of them."""

_LUMINANCE: Final = np.array([0.2126, 0.7152, 0.0722])
"""Of linear sRGB (IEC 61966-2-1)."""

_SCORES: Final = "PSNR / SSIM"
"""Name of the first row of every table."""

_ZONE_BANDS: Final = ((0.02, 0.1), (0.1, 0.2), (0.2, 0.3), (0.3, 0.4))
"""Local frequencies of the zone plate that are measured together, in cycles per pixel."""

_TEXT_GROUPS: Final = {"8 and 10": (8, 10), "12 and 15": (12, 15), "19 to 32": (19, 24, 32)}
"""Sizes of letters that are measured together, in pixels."""

_STAR_GROUPS: Final = {"faint": (0.03, 0.2), "middle": (0.2, 1.4), "bright": (1.4, 10.0)}
"""Peaks of stars that are measured together: linear green above the sky."""


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """Everything that decides which pictures are made; two results compare only if their protocols are equal."""

    height_px: int = 384
    """Height of the charts."""
    width_px: int = 512
    """Width of the charts."""
    camera: str = "Sony A7S II"
    """Camera whose calibrated noise is used; its color matrix is the sample's."""
    white_balance: tuple[float, float, float] = WHITE_BALANCE
    """Gains of R, G, B: lamp light, which makes blue noisy."""
    iso: int = 1600
    """ISO speed of the noise: typical parameters, no black drift."""
    ratios: tuple[float, ...] = (1, 8, 100, 300)
    """Exposure ratios; every method is told the ratio."""
    phase: str = "RGGB"
    """Bayer phase."""
    seed: int = 0
    """Seed of the noise, with the chart and the ratio."""


@dataclass(frozen=True)
class Picture:
    """A method's picture of a chart beside the truth."""

    linear: NDArray[np.float32]
    """(H, W, 3) linear camera RGB as the method makes it."""
    truth: NDArray[np.float32]
    """(H, W, 3) linear camera RGB of a noiseless, fully sampled sensor; clipped where the sensor clips."""
    clip_level: float
    """Camera RGB at which ``linear`` saturates: 1 for methods that end at display white."""
    truth_clip_level: float
    """The same of the truth: the exposure ratio, as green has the smallest gain."""


@dataclass(frozen=True)
class Record:
    """The figures of one method on one chart at one ratio."""

    chart: str
    ratio: float
    method: str
    psnr_db: float
    ssim: float
    seconds: float
    figures: Mapping[str, float]


# ---------------------------------------------------------------------------------------------------------------------
# What each chart is for
# ---------------------------------------------------------------------------------------------------------------------


def color_checker_figures(picture: Picture) -> dict[str, float]:
    """CIEDE2000 between the means of patches and the truth's, and the spread of R, G, B over the grays."""
    boxes = charts.checker_boxes(*picture.truth.shape[:2])
    found, wanted = (
        np.array([_srgb(linear)[box].mean(axis=(0, 1)) for box in boxes]) for linear in (picture.linear, picture.truth)
    )
    difference = deltaE_ciede2000(_lab(found), _lab(wanted))
    grays = 255 * _encoded(found[_GRAYS]) - 255 * _encoded(wanted[_GRAYS])
    return {
        "mean ΔE2000 of the patches": float(difference.mean()),
        "largest ΔE2000": float(difference.max()),
        "color in the grays, of 255 steps": float(np.ptp(grays, axis=1).max()),
    }


def gradients_figures(picture: Picture) -> dict[str, float]:
    """Clouds, blotches and grid in flat dark fields, and the color of fields and ramps."""
    shape = picture.truth.shape[:2]
    fields = charts.field_boxes(*shape)
    found, wanted = _srgb(picture.linear), _srgb(picture.truth)
    clouds, blotches, grids = [], [], []
    for box in fields:
        blocks = _lab(_block_means(found[box]))  # (rows, columns, 3)
        clouds.append(float(np.sqrt(blocks[..., 1:].var(axis=(0, 1)).sum())))
        blotches.append(float(blocks[..., 0].std()))
        grids.append(_grid_amplitude(255 * _encoded(found[box])))
    pairs = [(found[box].mean(axis=(0, 1)), wanted[box].mean(axis=(0, 1))) for box in fields]
    field_error = [deltaE_ciede2000(_lab(a), _lab(b)) for a, b in pairs]
    ramp_error = [
        deltaE_ciede2000(_lab(_block_means(found[box])), _lab(_block_means(wanted[box]))).mean()
        for box in charts.ramp_boxes(*shape)
    ]
    return {
        "color clouds: deviation of a*, b* of 16 × 16 means": float(np.mean(clouds)),
        "the same, worst field": max(clouds),
        "blotches: deviation of L* of 16 × 16 means": float(np.mean(blotches)),
        "2-pixel grid, of 255 steps, worst field": max(grids),
        "mean ΔE2000 of the fields": float(np.mean(field_error)),
        "mean ΔE2000 along the ramps": float(np.mean(ramp_error)),
    }


def lamps_figures(picture: Picture) -> dict[str, float]:
    """Color in and around white lamps, and dark or bright rings around them."""
    height, width = picture.truth.shape[:2]
    y, x = np.arange(height)[:, None] + 0.5, np.arange(width) + 0.5
    developed = rgb2lab(_developed(picture.linear, picture.clip_level))
    cores, rims = [], []
    lights = np.zeros((height, width), dtype=bool)
    for lamp in charts.lamp_places(height, width):
        beyond = np.hypot(y - lamp.row, x - lamp.column) - lamp.radius_px
        cores.append(_chroma(developed[beyond < -1]))
        lights |= beyond < -1
        rims.append(_chroma(developed[np.abs(beyond) <= 2]))
    return {
        "chroma of a lamp's core, mean": float(np.mean(cores)),
        "chroma of a lamp's core, worst lamp": max(cores),
        "chroma of a lamp's rim, mean": float(np.mean(rims)),
        "chroma of a lamp's rim, worst lamp": max(rims),
        "dark holes in the lamps, of 1000 pixels": _holes(developed, lights),
        **_ringing(picture, _srgb(picture.truth).max(axis=2) > 2 * charts.WALL),
    }


def neon_sign_figures(picture: Picture) -> dict[str, float]:
    """Color of the tubes' rims, holes in the tubes, and dark or bright rings around them."""
    found = rgb2lab(_developed(picture.linear, picture.clip_level))
    wanted = rgb2lab(_developed(picture.truth, picture.truth_clip_level))
    tubes = _srgb(picture.truth).max(axis=2) > 0.8 * charts.NEON_RIM
    chroma, true_chroma = (np.hypot(lab[..., 1], lab[..., 2]) for lab in (found, wanted))
    colored, white = tubes & (true_chroma > 10), tubes & (true_chroma < 3)
    error = np.hypot(*(found[..., axis] - wanted[..., axis] for axis in (1, 2)))
    return {
        "color error of the rims: distance in a*, b*": float(error[colored].mean()),
        "chroma of the rims, share of the true one": float(chroma[colored].mean() / true_chroma[colored].mean()),
        "chroma of cores that are white in truth": float(chroma[white].mean()),
        "dark holes in the tubes, of 1000 pixels": _holes(found, tubes),
        **_ringing(picture, tubes),
    }


def star_field_figures(picture: Picture) -> dict[str, float]:
    """Share of the stars that are found, and specks that are none.

    A star is found where the brightest pixel within 1 pixel of its place is a local maximum and has a quarter of the
    light it has in truth. A false one is a local maximum, half as bright as the faintest star, 3 pixels from any star.
    Light ends at display white for all. Where there is a false star every few pixels, faint stars are found by chance.
    """
    height, width = picture.truth.shape[:2]
    found, wanted = (np.clip(_srgb(x) @ _LUMINANCE, 0, 1) for x in (picture.linear, picture.truth))
    sky = float(np.asarray(charts.SKY) @ _LUMINANCE)
    peaks = (found == cv2.dilate(found, np.ones((3, 3), np.uint8))).astype(np.uint8)
    light = cv2.dilate(np.where(peaks > 0, found, 0) - sky, np.ones((3, 3), np.uint8))
    true_light = cv2.dilate(wanted - sky, np.ones((3, 3), np.uint8))
    stars = charts.stars(height, width)
    is_found = {star: light[_pixel(star)] >= 0.25 * true_light[_pixel(star)] for star in stars}
    shares = {
        f"{name} stars found": float(np.mean([is_found[s] for s in stars if low <= s.peak < high]))
        for name, (low, high) in _STAR_GROUPS.items()
    }
    free = np.ones((height, width), dtype=bool)
    for star in stars:
        row, column = _pixel(star)
        free[max(row - 3, 0) : row + 4, max(column - 3, 0) : column + 4] = False
    faintest = 0.5 * min(float(true_light[_pixel(star)]) for star in stars)
    false = (peaks > 0) & free & (found - sky > faintest)
    return shares | {"false stars in 10,000 pixels of sky": 1e4 * float(false.sum() / free.sum())}


def text_figures(picture: Picture) -> dict[str, float]:
    """Contrast of the letters that is kept, by their size."""
    found, wanted = (_srgb(linear) @ _LUMINANCE for linear in (picture.linear, picture.truth))
    lines = charts.text_lines(*picture.truth.shape[:2])
    figures = {}
    for name, sizes in _TEXT_GROUPS.items():
        chosen = [line.box for line in lines if line.size_px in sizes]
        figures[f"contrast kept, letters of {name} pixels"] = _kept(
            *(np.concatenate([_centered(y[box]).ravel() for box in chosen]) for y in (found, wanted))
        )
    blocks = _lab(_block_means(_srgb(picture.linear), 4))
    figures["false color: mean chroma of 4 × 4 means"] = float(np.hypot(blocks[..., 1], blocks[..., 2]).mean())
    return figures


def zone_plate_figures(picture: Picture) -> dict[str, float]:
    """Contrast of the rings that is kept, by their frequency, and false color."""
    found, wanted = (_srgb(linear) @ _LUMINANCE for linear in (picture.linear, picture.truth))
    frequency = charts.zone_frequency(*picture.truth.shape[:2])
    figures = {}
    for low, high in _ZONE_BANDS:
        ring = (frequency >= low) & (frequency < high)
        figures[f"contrast kept, {low:g} to {high:g} cycles/pixel"] = _kept(
            _centered(found[ring]), _centered(wanted[ring])
        )
    blocks = _lab(_block_means(_srgb(picture.linear), 4))
    rings = np.isfinite(_block_means(np.where(np.isfinite(frequency), 1, np.nan)[..., None], 4)[..., 0])
    figures["false color: mean chroma of 4 × 4 means"] = float(np.hypot(blocks[..., 1], blocks[..., 2])[rings].mean())
    return figures


FIGURES: Final[Mapping[str, Callable[[Picture], dict[str, float]]]] = {
    "color checker": color_checker_figures,
    "gradients": gradients_figures,
    "lamps": lamps_figures,
    "neon sign": neon_sign_figures,
    "star field": star_field_figures,
    "text": text_figures,
    "zone plate": zone_plate_figures,
}
"""What is measured, by chart."""


def _srgb(camera_rgb: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return linear sRGB (…, 3) of camera RGB: the matrix and nothing else, not clipped."""
    return np.asarray(camera_rgb @ _CAM2RGB.T, dtype=np.float64)


def _encoded(linear: NDArray[Any]) -> NDArray[np.float32]:
    """Return display-encoded values, clipped to [0, 1]."""
    return np.clip(eotf_inverse_srgb(linear), 0, 1)


def _lab(linear_srgb: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return CIELAB (D65) of linear sRGB (…, 3), clipped to what a display shows."""
    lab: NDArray[np.float64] = rgb2lab(_encoded(linear_srgb).astype(np.float64))
    return lab


def _developed(camera_rgb: NDArray[np.float32], clip_level: float) -> NDArray[np.float64]:
    return develop(camera_rgb, _CAM2RGB, clip_level=clip_level).astype(np.float64)


def _chroma(lab: NDArray[np.float64]) -> float:
    """Return the chroma of the mean color of pixels (n, 3): what is left when noise is averaged."""
    _, a, b = lab.mean(axis=0)
    return float(np.hypot(a, b))


def _block_means(picture: NDArray[np.float64], side: int = _BLOCK_PX) -> NDArray[np.float64]:
    """Return the means of all whole squares, (H, W, C) → (H/side, W/side, C)."""
    height, width = (n // side for n in picture.shape[:2])
    whole = picture[: height * side, : width * side]
    return np.asarray(whole.reshape(height, side, width, side, -1).mean(axis=(1, 3)), dtype=np.float64)


def _grid_amplitude(encoded: NDArray[np.float32]) -> float:
    """Return the largest difference between the four phases of the 2 × 2 cell, over the channels, (H, W, 3)."""
    phases = np.array([encoded[y::2, x::2].mean(axis=(0, 1), dtype=np.float64) for y in (0, 1) for x in (0, 1)])
    return float(np.ptp(phases, axis=0).max())


def _centered(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(values - values.mean(), dtype=np.float64)


def _kept(found: NDArray[np.float64], wanted: NDArray[np.float64]) -> float:
    """Return the share of a centered signal that is in the picture: ⟨found, wanted⟩/⟨wanted, wanted⟩.

    The ratio of standard deviations would count noise as contrast; this does not.
    """
    return float(np.sum(found * wanted) / np.sum(wanted * wanted))


def _holes(lab: NDArray[np.float64], lights: NDArray[np.bool_]) -> float:
    """Return how many of 1000 pixels of lights, which are white or nearly so, are darker than middle gray (L* 50)."""
    return 1e3 * float((lab[..., 0][lights] < 50).mean())


def _pixel(star: charts.Star) -> tuple[int, int]:
    return int(star.row), int(star.column)


def _ringing(picture: Picture, lights: NDArray[np.bool_]) -> dict[str, float]:
    """Return how far the mean profile around lights falls below and rises above the truth, in display-encoded steps.

    Profiles are means of linear luminance over all pixels of one distance, 2 to 12 pixels outside of the lights, less
    the error farther away, which is none of the lights'.
    """
    distance = cv2.distanceTransform((~lights).astype(np.uint8), cv2.DIST_L2, 5)
    found, wanted = (_srgb(linear) @ _LUMINANCE for linear in (picture.linear, picture.truth))

    def error(near: float, far: float) -> float:
        ring = (distance >= near) & (distance < far)
        a, b = (255 * float(eotf_inverse_srgb(y[ring].mean())) for y in (found, wanted))
        return a - b

    elsewhere = error(20, np.inf)
    profile = [error(d, d + 1) - elsewhere for d in range(2, 12)]
    return {
        "dark ring around lights, of 255 steps": max(0.0, -min(profile)),
        "bright ring around lights, of 255 steps": max(0.0, max(profile)),
    }


# ---------------------------------------------------------------------------------------------------------------------
# All charts, and the report
# ---------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Shown:
    """One row of the sheet."""

    chart: str
    ratio: float
    middle: tuple[float, float]
    """Of the crop, as a share of height and width."""
    exposure_ev: float = 0.0
    """By how many stops it is brightened, to see into the dark."""

    @property
    def caption(self) -> str:
        """What stands below the row."""
        brighter = f", {self.exposure_ev:+g} EV" if self.exposure_ev else ""
        return f"{self.chart}, ratio {self.ratio:g}{brighter}"


SHEET: Final = (
    Shown("color checker", 100, (0.5, 0.42)),
    Shown("gradients", 100, (0.75, 0.5), 2.0),
    Shown("gradients", 300, (0.75, 0.5), 2.0),
    Shown("lamps", 1, (0.8, 0.75)),
    Shown("lamps", 100, (0.8, 0.75)),
    Shown("neon sign", 100, (0.62, 0.75)),
    Shown("star field", 100, (0.5, 0.5), 1.0),
    Shown("text", 1, (0.3, 0.5)),
    Shown("text", 100, (0.3, 0.5)),
    Shown("zone plate", 1, (0.35, 0.62)),
    Shown("zone plate", 100, (0.35, 0.62)),
)
"""What the sheet shows."""


@dataclass(frozen=True)
class Row:
    """One row of the sheet of crops: 8-bit sRGB squares by method."""

    shown: Shown
    crops: Mapping[str, NDArray[np.uint8]]


def scene_of(chart: str, protocol: Protocol) -> Scene:
    """Return a chart as the camera of the protocol sees it."""
    rendered = charts.CHARTS[chart](protocol.height_px, protocol.width_px)
    return unprocess(rendered, protocol.white_balance, _CAM2RGB)


def measure(
    chart: str, ratio: float, methods: Mapping[str, Method], protocol: Protocol
) -> tuple[list[Record], dict[str, Picture]]:
    """Expose one chart and let every method make a picture of it; returns records and pictures by method."""
    exposure, truth = _exposed(chart, ratio, protocol)
    reference = _encoded(truth)
    records, pictures = [], {}
    for name, method in methods.items():
        start = time.perf_counter()
        linear = method(exposure)
        seconds = time.perf_counter() - start
        # LibRaw clips at display white, and so does what ends with it
        picture = Picture(linear, truth, 1.0 if name in OPPONENTS else ratio, ratio)
        figures = {key: round(value, 4) for key, value in FIGURES[chart](picture).items()}
        scores = (psnr(_encoded(linear), reference, data_range=1.0), ssim(_encoded(linear), reference, data_range=1.0))
        records.append(Record(chart, ratio, name, round(scores[0], 4), round(scores[1], 5), round(seconds, 3), figures))
        pictures[name] = picture
    pictures = {"input, amplified": Picture(demosaic_only(exposure), truth, ratio, ratio), **pictures}
    return records, pictures | {"truth": Picture(truth, truth, ratio, ratio)}


def _exposed(chart: str, ratio: float, protocol: Protocol) -> tuple[Exposure, NDArray[np.float32]]:
    camera = next(c for c in CAMERAS if c.name == protocol.camera)
    rng = np.random.default_rng((protocol.seed, list(FIGURES).index(chart), round(ratio)))
    return expose(scene_of(chart, protocol), ratio, CFA.bayer(protocol.phase), camera, protocol.iso, rng)


def crop(picture: Picture, shown: Shown, side: int = 150) -> NDArray[np.uint8]:
    """Return a developed square at 100 %, 8-bit sRGB."""
    linear, clip_level = picture.linear, picture.clip_level
    if shown.chart not in ("lamps", "neon sign"):  # as the measure sees it: nothing above display white
        linear, clip_level = np.clip(linear, 0, 1), 1.0
    top, left = (
        min(max(0, round(share * n) - side // 2), max(0, n - side))
        for share, n in zip(shown.middle, linear.shape[:2], strict=True)
    )
    square = np.ascontiguousarray(linear[top : top + side, left : left + side])
    developed = develop(square, _CAM2RGB, exposure_ev=shown.exposure_ev, clip_level=clip_level)
    return np.rint(255 * developed).astype(np.uint8)


def run(
    protocol: Protocol, methods: Mapping[str, Method], console: Console
) -> tuple[list[Record], list[Row], dict[tuple[str, float], dict[str, Picture]]]:
    """Measure every chart at every ratio; returns records, rows of the sheet, and the pictures."""
    records: list[Record] = []
    every: dict[tuple[str, float], dict[str, Picture]] = {}
    for chart in FIGURES:
        for ratio in protocol.ratios:
            measured, every[chart, ratio] = measure(chart, ratio, methods, protocol)
            records += measured
        console.print(f"{chart}: done")
    rows = [
        Row(shown, {name: crop(picture, shown) for name, picture in every[shown.chart, shown.ratio].items()})
        for shown in SHEET
        if shown.ratio in protocol.ratios
    ]
    return records, rows, every


def markdown(protocol: Protocol, records: Sequence[Record], about: Mapping[str, Any]) -> str:
    """Return the section of the page."""
    methods = list(dict.fromkeys(record.method for record in records))
    found = {(r.chart, r.ratio, r.method): r for r in records}
    red, _, blue = protocol.white_balance
    lines = [
        f"Charts of {protocol.height_px} × {protocol.width_px} pixels, noise of the {protocol.camera} at ISO "
        f"{protocol.iso}, white balance {red:g}, 1, {blue:g}; every method is told the ratio. PSNR (dB) and SSIM of "
        "camera RGB clipped to [0, 1] and display-encoded, as in [results.md](results.md).",
    ]
    for chart in FIGURES:
        lines += ["", f"### {chart.capitalize()}", "", "| | | " + " | ".join(f"×{r:g}" for r in protocol.ratios) + " |"]
        lines.append("|---|---|" + "---|" * len(protocol.ratios))
        for name in (_SCORES, *found[chart, protocol.ratios[0], methods[0]].figures):
            for method in methods:
                cells = " | ".join(_cell(found[chart, ratio, method], name) for ratio in protocol.ratios)
                lines.append(f"| {name if method == methods[0] else ''} | {method} | {cells} |")
    lines += _bright(protocol, found, [method for method in methods if method not in OPPONENTS])
    lines += [
        "",
        f"Commit {about['commit'][:12]}, {about['hardware']['processor']}, {about['hardware']['cores']} cores; every "
        "picture is a record in `benchmarks/results/hard_cases.json`.",
        "",
        "![Crops at 100 %: input, methods and truth, a row per chart and ratio](hard-cases.jpg)",
    ]
    return "\n".join(lines) + "\n"


def _bright(protocol: Protocol, found: Mapping[tuple[str, float, str], Record], networks: Sequence[str]) -> list[str]:
    """Return the table of files that are bright already: how networks compare to LibRaw at the lowest ratio."""
    ratio = min(protocol.ratios)
    lines = ["", "### Bright files", "", f"PSNR less LibRaw's at ×{ratio:g}, in dB.", ""]
    lines += ["| | " + " | ".join(FIGURES) + " |", "|---|" + "---|" * len(FIGURES)]
    for method in networks:
        gains = [found[chart, ratio, method].psnr_db - found[chart, ratio, OPPONENTS[0]].psnr_db for chart in FIGURES]
        lines.append(f"| {method} | " + " | ".join(f"{gain:+.2f}" for gain in gains) + " |")
    return lines


def _cell(record: Record, name: str) -> str:
    if name == _SCORES:
        return f"{record.psnr_db:.2f} / {record.ssim:.3f}"
    value = record.figures[name]
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def write_json(path: Path, document: Mapping[str, Any], records: Sequence[Record]) -> None:
    """Write the document and, one a line, the records."""
    head = json.dumps(document, indent=1, ensure_ascii=False).removesuffix("\n}")
    lines = ",\n  ".join(json.dumps(asdict(record), ensure_ascii=False) for record in records)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'{head},\n "records": [\n  {lines}\n ]\n}}\n', encoding="utf-8")


def write_pictures(folder: Path, every: Mapping[tuple[str, float], Mapping[str, Picture]]) -> None:
    """Write every picture as a PNG, developed as in use."""
    folder.mkdir(parents=True, exist_ok=True)
    for (chart, ratio), pictures in every.items():
        for name, picture in pictures.items():
            words = f"{chart} x{ratio:g} {name}".replace(",", "").replace(" ", "-")
            write_picture(folder / f"{words}.png", develop(picture.linear, _CAM2RGB, clip_level=picture.clip_level))


app = cyclopts.App(help=__doc__)


@app.default
def main(
    *,
    weights: Annotated[tuple[str, ...], cyclopts.Parameter(negative="")] = (),
    out: Path = Path("benchmarks/results/hard_cases.json"),
    page: Path = Path("docs/hard-cases.md"),
    pictures: Path | None = None,
    quick: bool = False,
    engine: EngineName = "openvino",
    precision: Precision = "auto",
) -> None:
    """Measure LibRaw, non-local means and networks on the charts.

    Args:
        weights: Networks: names of shipped weights or weights files. All that ship, if none are named.
        out: Where the records go (JSON).
        page: Page whose section is replaced; the sheet of crops goes beside it.
        pictures: Folder for all pictures as PNG, to look at; none are kept if it is not given.
        quick: Charts of 160 × 240 pixels, ratios 1 and 100, and no page: to see whether all works.
        engine: What runs the networks.
        precision: Their arithmetic; "auto" is bfloat16 where the processor computes in it.
    """
    console = Console()
    protocol = Protocol(height_px=160, width_px=240, ratios=(1, 100)) if quick else Protocol()
    names = weights or shipped_for("bayer")
    loaded = [load_weights(find_weights(name)) for name in names]
    methods: dict[str, Method] = dict(zip(OPPONENTS, (run_libraw, run_nonlocal_means), strict=True))
    for name, w in zip(names, loaded, strict=True):
        methods |= networks(w, engine, precision, shipped=name in shipped_names())
    start = time.perf_counter()
    records, rows, every = run(protocol, methods, console)
    about = provenance() | {"command": command(), "seconds": round(time.perf_counter() - start, 1)}
    shown = {w.name: {"sha256": w.digest, "parameters": w.parameters, "steps": w.facts.steps} for w in loaded}
    document = {
        "benchmark": "hard cases",
        **about,
        "protocol": asdict(protocol),
        "engine": engine,
        "precision": precision,
        "networks": shown,
    }
    write_json(out, document, records)
    section = markdown(protocol, records, about)
    if pictures is not None:
        write_pictures(pictures, every)
    if not quick:
        write_sheet(page.parent / "hard-cases.jpg", [(row.shown.caption, row.crops) for row in rows])
        write_section(page, section, markers=_MARKERS, title="Hard cases")
    console.print(section, markup=False, soft_wrap=True)
    console.print(f"{len(records)} records: {out}", markup=False, soft_wrap=True)


if __name__ == "__main__":
    app()

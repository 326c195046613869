"""How near does the estimated exposure ratio come to the known one, and what does that cost.

``python -m benchmarks.auto_ratio --photos DIR`` exposes the held-out photographs as `benchmarks.quality` does and
estimates every frame's ratio. The known ratio brings a frame back to the brightness of its photograph, so the
difference is one to the photographer's choice, in stops. Of a few of the frames a network makes pictures with the known
and with the estimated ratio; both are multiplied by the factor that brings them nearest to the truth: then PSNR tells
what the wrong brightness did to the picture besides. It writes one record per frame (JSON) and a section of
``docs/auto-ratio.md``.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Final, get_args

import cyclopts
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from alen.cameras import CAMERAS
from alen.cfa import CFA
from alen.color import eotf_inverse_srgb
from alen.data.photos import PhotoCache, find_photos, split
from alen.evaluate.summary import bootstrap_mean
from alen.levels import LOOK, MAX_RATIO, Look, estimate_ratio
from alen.metrics import psnr
from alen.weights import DEFAULT, find_weights, load_weights, shipped_names
from benchmarks.quality import Method, Protocol, central_scene, command, expose, network, provenance, write_section

MARKERS: Final = ("<!-- auto ratio: begin -->", "<!-- auto ratio: end -->")
"""Around the section of the page that this program owns."""

THIRD: Final = 1 / 3
"""Stops that an experienced eye would hardly correct."""


@dataclass(frozen=True)
class Scores:
    """PSNR in dB of what the network made of one frame."""

    known: float
    """With the known ratio."""
    known_aligned: float
    """The same, brought nearest to the truth by one factor."""
    aligned: dict[Look, float]
    """With the estimated ratio of each look, brought nearest to the truth by one factor."""


@dataclass(frozen=True)
class Record:
    """One frame."""

    photograph: str
    camera: str
    phase: str
    ratio: float
    """The known one."""
    estimated: dict[Look, float]
    """The estimated one, by look."""
    without_noise: dict[Look, float]
    """What would be estimated of the same frame without noise."""
    psnr_db: Scores | None
    """None of the frames that no pictures were made of."""

    def stops(self, look: Look) -> float:
        """Return by how many stops the estimate is brighter than the photograph."""
        return float(np.log2(self.estimated[look] / self.ratio))

    def noise_stops(self, look: Look) -> float:
        """Return by how many stops noise made the estimate brighter."""
        return float(np.log2(self.estimated[look] / self.without_noise[look]))

    def cost(self, look: Look) -> float | None:
        """Return by how many dB the picture is worse than that with the known ratio, both aligned."""
        return None if self.psnr_db is None else self.psnr_db.known_aligned - self.psnr_db.aligned[look]


def aligned(picture: NDArray[np.float32], truth: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a picture × ⟨p, g⟩/⟨p, p⟩ over the values where the truth g is below 1, as ELD's evaluation aligns.

    Args:
        picture: Linear, any shape; not clipped, because an estimate that is too bright lifts above 1 what is below.
        truth: Linear, same shape.
    """
    is_unsaturated = truth < 1
    p, g = (x[is_unsaturated].astype(np.float64) for x in (picture, truth))
    energy = float(p @ p)
    return picture * np.float32(float(p @ g) / energy if energy > 0 else 1.0)


def measure(
    protocol: Protocol, cache: PhotoCache, method: Method | None, pictures_of: Sequence[tuple[int, int]]
) -> Iterator[Record]:
    """Yield the records of all photographs through all cameras of a protocol.

    Args:
        protocol: What is exposed, and how.
        cache: The photographs.
        method: A network; None measures stops alone.
        pictures_of: Photographs and cameras, by number, that the network makes pictures of.
    """
    for photo, path in enumerate(cache.photos):
        scene = central_scene(cache, photo, protocol)
        for index, name in enumerate(protocol.cameras):
            cfa = CFA.bayer(protocol.phases[(photo + index) % len(protocol.phases)])
            camera = next(c for c in CAMERAS if c.name == name)
            for ratio in protocol.ratios:
                rng = np.random.default_rng((protocol.seed, photo, index, round(ratio)))
                frame, truth = expose(scene, ratio, cfa, camera, protocol.iso, rng)
                clean, _ = scene.expose(ratio, cfa)
                estimated, without_noise = (
                    {look: round(estimate_ratio(m, cfa, scene.white_balance, look=look), 4) for look in get_args(Look)}
                    for m in (frame.normalized, clean)
                )
                scores = None
                if method is not None and (photo, index) in pictures_of:

                    def psnr_db(picture: NDArray[np.float32], truth: NDArray[np.float32] = truth) -> float:
                        shown, goal = (eotf_inverse_srgb(np.clip(x, 0, 1)) for x in (picture, truth))
                        return round(psnr(shown, goal, data_range=1.0), 4)

                    known = method(frame)
                    others = {look: method(replace(frame, ratio=value)) for look, value in estimated.items()}
                    scores = Scores(
                        known=psnr_db(known),
                        known_aligned=psnr_db(aligned(known, truth)),
                        aligned={look: psnr_db(aligned(other, truth)) for look, other in others.items()},
                    )
                yield Record(path.name, name, cfa.name, ratio, estimated, without_noise, scores)


def summarize(records: Sequence[Record], look: Look) -> dict[str, float | int | None]:
    """Return what a group of records says about a look."""
    stops = np.array([record.stops(look) for record in records])
    # frames that are beyond the limits have nothing to tell about noise
    inside = [r for r in records if 1 < r.without_noise[look] < MAX_RATIO and 1 < r.estimated[look] < MAX_RATIO]
    noise = np.array([record.noise_stops(look) for record in inside])
    scored = [record for record in records if record.psnr_db is not None]
    summary: dict[str, float | int | None] = {
        "frames": len(records),
        "median_stops": float(np.median(stops)),
        "mean_absolute_stops": float(np.abs(stops).mean()),
        "p90_absolute_stops": float(np.percentile(np.abs(stops), 90)),
        "within_a_third": float(np.mean(np.abs(stops) <= THIRD)),
        "median_noise_stops": float(np.median(noise)) if len(noise) else None,
        "pictures": len(scored),
    }
    if scored:
        cost = np.array([record.cost(look) for record in scored])
        interval = bootstrap_mean(cost, [record.photograph for record in scored], seed=0)
        summary |= {
            "known_db": float(np.mean([r.psnr_db.known for r in scored if r.psnr_db])),
            "known_aligned_db": float(np.mean([r.psnr_db.known_aligned for r in scored if r.psnr_db])),
            "aligned_db": float(np.mean([r.psnr_db.aligned[look] for r in scored if r.psnr_db])),
            "cost_db": interval.mean,
            "cost_low_db": interval.low,
            "cost_high_db": interval.high,
            "cost_worst_db": float(cost.max()),
        }
    return summary


def markdown(protocol: Protocol, records: Sequence[Record], about: dict[str, Any]) -> str:
    """Return the section of the page."""
    photographs = len({record.photograph for record in records})
    lines = [
        "## Estimated against known, on the scoreboard's photographs",
        "",
        f"{len(records)} frames: {photographs} held-out photographs, {len(protocol.cameras)} cameras at ISO "
        f"{protocol.iso}, central squares of at most {protocol.crop_px} pixels. Stops are estimated / known, positive "
        "if brighter than the photograph; noise is what it moves the estimate by.",
        "",
        "| look | ratio | median | mean absolute | 90th percentile | within ⅓ stop | noise, median |",
        "|---|---|---|---|---|---|---|",
    ]
    groups: list[tuple[str, list[Record]]] = [
        (f"×{ratio:g}", [r for r in records if r.ratio == ratio]) for ratio in protocol.ratios
    ]
    groups.append(("all", list(records)))
    for look in get_args(Look):
        for name, group in groups:
            s = summarize(group, look)
            noise = "–" if s["median_noise_stops"] is None else f"{s['median_noise_stops']:+.2f}"
            lines.append(
                f"| {look} | {name} | {s['median_stops']:+.2f} | {s['mean_absolute_stops']:.2f} | "
                f"{s['p90_absolute_stops']:.2f} | {s['within_a_third']:.0%} | {noise} |"
            )
    scored = [(name, [r for r in group if r.psnr_db is not None]) for name, group in groups]
    if scored[-1][1]:
        lines += [
            "",
            f"PSNR in dB of the network's pictures of {len(scored[-1][1])} of these frames. *Aligned* is multiplied by "
            "the factor α = ⟨p, g⟩/⟨p, p⟩ over unsaturated values, as ELD's evaluation does; the cost is the "
            "difference of the two aligned columns, with a 95 % interval over photographs.",
            "",
            "| look | ratio | known | known, aligned | estimated, aligned | cost | 95 % interval | worst picture |",
            "|---|---|---|---|---|---|---|---|",
        ]
        for look in get_args(Look):
            for name, group in scored:
                s = summarize(group, look)
                low, high = ("–" if end is None else f"{end:+.2f}" for end in (s["cost_low_db"], s["cost_high_db"]))
                lines.append(
                    f"| {look} | {name} | {s['known_db']:.2f} | {s['known_aligned_db']:.2f} | {s['aligned_db']:.2f} | "
                    f"{s['cost_db']:+.2f} | {low} to {high} | {s['cost_worst_db']:+.2f} |"
                )
    lines += [
        "",
        f"`python -m benchmarks.auto_ratio --photos DIR`, commit {about['commit'][:12]}; the default look is {LOOK}; "
        "every frame is a record in `benchmarks/results/auto_ratio.json`.",
    ]
    return "\n".join(lines) + "\n"


app = cyclopts.App(help=__doc__)


@app.default
def main(
    *,
    photos: Path,
    weights: str = DEFAULT,
    out: Path = Path("benchmarks/results/auto_ratio.json"),
    page: Path = Path("docs/auto-ratio.md"),
    crop: int = 512,
    photographs: int | None = None,
    cameras: int = 5,
    pictures: Annotated[tuple[int, int], cyclopts.Parameter(consume_multiple=False)] = (4, 2),
    write_page: bool = True,
) -> None:
    """Compare estimated and known exposure ratios on held-out photographs.

    Args:
        photos: Folder of clean photographs, the one that was trained on; its held-out tenth is used.
        weights: Network that makes pictures: name of shipped weights or a weights file.
        out: Where the records go (JSON).
        page: Page whose section is replaced.
        crop: Side of the central square of each photograph, at most.
        photographs: So many of them, spread over all; all, if not given.
        cameras: So many of the scoreboard's cameras.
        pictures: Photographs and cameras of which the network makes pictures; 0 0 measures stops alone.
        write_page: Replace the section; else only print it.
    """
    console = Console()
    held_out = split(find_photos(photos))[1]
    if photographs is not None:
        held_out = [held_out[i] for i in _spread(len(held_out), photographs)]
    protocol = Protocol(crop_px=crop)
    protocol = replace(protocol, cameras=protocol.cameras[:cameras])
    pictures_of = [(photo, camera) for photo in _spread(len(held_out), pictures[0]) for camera in range(pictures[1])]
    loaded = load_weights(find_weights(weights)) if pictures_of else None
    method = None if loaded is None else network(loaded, "openvino", "auto", shipped=weights in shipped_names())
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        cache = PhotoCache(held_out, Path(folder))
        total = len(held_out) * len(protocol.cameras) * len(protocol.ratios)
        records = list(track(measure(protocol, cache, method, pictures_of), "frames", total=total, console=console))
    about = provenance() | {"command": command(), "seconds": round(time.perf_counter() - start, 1)}
    document = {
        "benchmark": "auto_ratio",
        **about,
        "protocol": asdict(protocol),
        "network": None if loaded is None else {"name": loaded.name, "sha256": loaded.digest},
        "summary": {
            look: {
                **{
                    f"{ratio:g}": summarize([r for r in records if r.ratio == ratio], look) for ratio in protocol.ratios
                },
                "all": summarize(records, look),
            }
            for look in get_args(Look)
        },
    }
    head = json.dumps(document, indent=1, ensure_ascii=False).removesuffix("\n}")
    lines = ",\n  ".join(json.dumps(asdict(record), ensure_ascii=False) for record in records)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(f'{head},\n "records": [\n  {lines}\n ]\n}}\n', encoding="utf-8")
    section = markdown(protocol, records, about)
    if write_page:
        write_section(page, section, markers=MARKERS, title="The automatic ratio")
    console.print(section, markup=False, soft_wrap=True)


def _spread(count: int, chosen: int) -> list[int]:
    """Return at most so many indices, spread evenly over ``range(count)``."""
    return sorted({int(i) for i in np.linspace(0, count - 1, min(chosen, count)).round()})


if __name__ == "__main__":
    app()

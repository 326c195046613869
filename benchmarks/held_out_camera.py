"""What do weights that have seen no camera lose on one: against weights that learned its own noise.

``python -m benchmarks.held_out_camera --photos DIR --runs FOLDER`` trains shipped weights on for some steps, once with
imaginary cameras, as they were trained, and once for each camera with its own calibrated noise, everything else alike.
Both then enhance the held-out photographs through that camera. What the first is behind the second is the drop of a
held-out camera. It writes ``benchmarks/results/held_out_camera.json`` and a section of ``docs/results.md``. Runs are
ordinary run folders: finished ones are only read, interrupted ones go on.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Final

import cyclopts
import numpy as np
from rich.console import Console

from alen.cameras import CAMERAS, CameraNoise, MeasuredCamera, MeasuredNoise
from alen.color import eotf_inverse_srgb
from alen.data.photos import PhotoCache, find_photos, split
from alen.evaluate.summary import bootstrap_mean
from alen.metrics import psnr
from alen.training.config import Stage, TrainingConfig
from alen.training.loop import StepReport, train
from alen.training.recipes import camera as recipe
from alen.training.sources import Photographs
from alen.weights import load_weights
from benchmarks.ablation import refuse_other_settings
from benchmarks.quality import Protocol, central_scene, command, expose, network, provenance, write_section

_MARKERS: Final = ("<!-- held-out camera: begin -->", "<!-- held-out camera: end -->")
"""Around the section of the page that this program owns."""

_ISOS: Final = (400.0, 1600.0, 6400.0)
"""Speeds that are judged."""

_TRAINED_ISOS: Final = (100.0, 200.0, 400.0, 800.0, 1600.0, 3200.0, 6400.0, 12800.0)
"""Speeds of which a camera's own noise is learned."""

_IMAGINARY: Final = "imaginary cameras"


@dataclass(frozen=True)
class Record:
    """One image, enhanced by weights that do not know its camera and by those that do."""

    photograph: str
    camera: str
    iso: float
    ratio: float
    imaginary_db: float
    own_db: float


def measured(camera: CameraNoise) -> MeasuredCamera:
    """Return a calibrated camera as one that was measured without error: its laws at the usual speeds."""

    def at(iso: float) -> MeasuredNoise:
        noise = camera.typical(iso)
        shape = None if noise.read_lambda is None else (noise.read_lambda, noise.read_lambda)
        return MeasuredNoise(
            iso=iso,
            gain=noise.gain,
            gain_error=0.0,
            read_sigma_dn=noise.read_sigma_dn,
            read_error=0.0,
            read_lambda=shape,
            row_sigma_dn=noise.row_sigma_dn,
            row_error=0.0,
            black_offset_dn=(0.0, 0.0, 0.0, 0.0),
            drift_sigma_dn=0.0,  # frames that are judged have none either, to the advantage of who knows
            drift_color_share=0.0,
            black_level_dn=noise.black_level_dn,
            white_level_dn=noise.white_level_dn,
        )

    return MeasuredCamera(name=camera.name, noises=tuple(at(iso) for iso in _TRAINED_ISOS))


def planned(sensor: MeasuredCamera | None, steps: int) -> TrainingConfig:
    """Return how the shipped weights "alen-fast" are trained on."""
    return replace(
        recipe("alen-fast"),
        sensor=sensor,
        steps=steps,
        stages=(Stage(share=1.0, patch_size=64, batch_size=12, hard_share=0.3),),
        learning_rate=2e-4,
        warmup_steps=steps // 10,
        ema_decay=0.99,
        validate_every=steps,
        checkpoint_every=max(steps // 5, 1),
    )


def score(imaginary: Path, own: Path, camera: CameraNoise, photos: Sequence[Path], protocol: Protocol) -> list[Record]:
    """Enhance the photographs through a camera with both weights."""
    methods = [
        network(load_weights(run / "weights.safetensors"), "openvino", "auto", shipped=False)
        for run in (imaginary, own)
    ]
    records = []
    with tempfile.TemporaryDirectory() as folder:
        cache = PhotoCache(photos, Path(folder))
        for index, photo in enumerate(photos):
            scene, cfa = central_scene(cache, index, protocol), protocol.cfa(index)
            for iso in _ISOS:
                for ratio in protocol.ratios:
                    rng = np.random.default_rng((protocol.seed, index, round(iso), round(ratio)))
                    exposure, truth = expose(scene, ratio, cfa, camera, iso, rng)
                    reference = eotf_inverse_srgb(np.clip(truth, 0, 1))
                    scores = (
                        psnr(eotf_inverse_srgb(np.clip(method(exposure), 0, 1)), reference, data_range=1.0)
                        for method in methods
                    )
                    records.append(Record(photo.name, camera.name, iso, ratio, *(round(db, 4) for db in scores)))
    return records


def section(records: Sequence[Record], about: dict[str, Any]) -> str:
    """Return the page's section."""
    ratios = sorted({r.ratio for r in records})
    lines = [
        "## A camera that was held out",
        "",
        "All shipped weights learn from imaginary cameras, so every calibrated camera is one they have not seen. What "
        f"does that cost? `alen-fast` was trained on for {about['steps']:,} steps, once with imaginary cameras, once "
        "with the camera's own noise, everything else alike; both then enhance the held-out photographs through that "
        f"camera, at ISO {', '.join(f'{iso:g}' for iso in _ISOS)}, without drift of the black level. PSNR in dB, own "
        "noise − imaginary cameras:",
        "",
        "| | " + " | ".join(f"×{ratio:g}" for ratio in ratios) + " | all | 95 % interval |",
        "|---|" + "---|" * (len(ratios) + 2),
    ]
    for name in dict.fromkeys(r.camera for r in records):
        mine = [r for r in records if r.camera == name]
        cells = [np.mean([r.own_db - r.imaginary_db for r in mine if r.ratio == ratio]) for ratio in ratios]
        interval = bootstrap_mean([r.own_db - r.imaginary_db for r in mine], [r.photograph for r in mine], seed=0)
        low, high = ("–" if end is None else f"{end:+.2f}" for end in (interval.low, interval.high))
        row = " | ".join(f"{cell:+.2f}" for cell in cells)
        lines.append(f"| {name} | {row} | {interval.mean:+.2f} | {low} to {high} |")
    lines += [
        "",
        f"Judged at commit {about['commit'][:12]}, {about['hardware']['processor']}; every image is a record in "
        "`benchmarks/results/held_out_camera.json`.",
    ]
    return "\n".join(lines) + "\n"


app = cyclopts.App(help=__doc__)


@app.default
def main(
    *,
    photos: Path,
    runs: Path,
    cameras: Annotated[tuple[str, ...], cyclopts.Parameter(consume_multiple=True, negative="")] = (
        "Sony A7S II",
        "Canon EOS 700D",
    ),
    steps: int = 1500,
    cache: Path | None = None,
    threads: int | None = None,
    out: Path = Path("benchmarks/results/held_out_camera.json"),
    page: Path = Path("docs/results.md"),
) -> None:
    """Train what is missing and judge the weights on the cameras that one of them has not seen.

    Args:
        photos: Folder of clean photographs; a tenth of them is held out.
        runs: Folder of the runs.
        cameras: Names of calibrated cameras.
        steps: Optimizer steps of every run.
        cache: Folder for decoded photographs; runs/decoded if not given.
        threads: CPU threads of the network; torch's choice if not given.
        out: Where the scores go (JSON).
        page: Page whose section is replaced.
    """
    console = Console()
    known = {camera.name: camera for camera in CAMERAS}
    if unknown := sorted(set(cameras) - set(known)):
        raise SystemExit(f"No such cameras: {', '.join(unknown)}. There are: {', '.join(known)}.")
    source = Photographs(photos, cache if cache is not None else runs / "decoded")

    def trained(name: str) -> Path:
        run = runs / f"{name.replace(' ', '-')}-{steps}-steps"

        def tell(report: StepReport) -> None:
            if report.step % 100 == 0 or report.step == steps:
                console.print(f"{name}: step {report.step} of {steps}", markup=False)

        config = planned(None if name == _IMAGINARY else measured(known[name]), steps)
        refuse_other_settings(run, config)
        weights = run / "weights.safetensors"
        if not weights.is_file() or load_weights(weights).facts.steps != steps:
            train(config, source, run, resume=True, initial_weights=Path("alen-fast"), threads=threads, report=tell)
        return run

    folders = {name: trained(name) for name in (_IMAGINARY, *cameras)}
    protocol, held_out = Protocol(crop_px=384, ratios=(1, 8, 32, 100, 300)), split(find_photos(photos))[1]
    records = [r for n in cameras for r in score(folders[_IMAGINARY], folders[n], known[n], held_out, protocol)]
    about = provenance() | {"command": command(), "steps": steps}
    document = {"benchmark": "held_out_camera", **about, "records": [asdict(record) for record in records]}
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    write_section(page, section(records, about), markers=_MARKERS)
    console.print(section(records, about), markup=False, soft_wrap=True)


if __name__ == "__main__":
    app()

"""`alen evaluate`: score weights under a named protocol and write the report."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter

from alen.commands.console import FAILED, INTERRUPTED, OK, Flag, Progress, complain, count
from alen.errors import SettingsError

if TYPE_CHECKING:
    from alen.weights import Weights

evaluate = App(
    name="evaluate",
    help="Score weights under a named protocol.",
    usage="Usage: alen evaluate PROTOCOL --data DIR --weights W [W...] [OPTIONS]",
    help_epilogue="Examples:\n\n"
    "  alen evaluate sid-sony-88 --data sid/ --weights runs/first/weights.safetensors\n"
    "  alen evaluate sid-sony-val --data sid/ --weights a.safetensors b.safetensors --ratio known\n"
    "  alen evaluate eld-SonyA7S2-x100 --data eld/ --weights alen\n"
    "  alen evaluate pairs --data pairs.csv --weights alen --out runs/mine",
)


@evaluate.default
def run(
    protocol: str,
    /,
    *,
    data: Path,
    weights: Annotated[list[str], Parameter(consume_multiple=True, negative=(), json_list=False)],
    out: Path | None = None,
    ratio: Literal["both", "known", "estimated"] = "both",
    quantize: Literal["protocol", "floor8", "round8", "none"] = "protocol",
    engine: Literal["auto", "openvino", "torch"] = "auto",
    device: str = "cpu",
    precision: Literal["auto", "bfloat16", "float32"] = "float32",
    threads: int | None = None,
    lpips: Path | None = None,
    seed: int = 0,
    partial: Annotated[bool, Flag] = False,
) -> int:
    """Score weights under a named protocol: a record per image, and a report beside published figures.

    An interrupted run goes on where it stopped when it is started again. An
    image that cannot be scored is reported, and the others are done.
    docs/evaluation.md says what each protocol measures.

    Args:
        protocol: pairs, sid-sony-88 (the paper's), sid-sony-93, -562, -598, -val, sid-fuji-94, -524, -val,
            eld-CAMERA-x100 or -x200 (whole frames), with -crop512 (central squares).
        data: Folder of the data set; of "pairs" the CSV file that lists them.
        weights: Names of shipped weights, or weights files; the first is what the others are compared with.
        out: Folder of the records and the report; evaluation/PROTOCOL if not given.
        ratio: Exposure ratio: known from the exposure times, estimated from the short exposure alone, or both.
        quantize: How pictures are stored before they are compared: 8 bits cut off (floor8), rounded, or not at all.
        engine: What runs the networks; "auto" takes OpenVINO where it can, else torch.
        device: Device of the engine, such as cpu or cuda.
        precision: Arithmetic of the networks; bfloat16 is faster, and what "alen enhance" takes where it can.
        threads: CPU threads of the networks.
        lpips: Weights of LPIPS (safetensors); without them it is left out.
        seed: Of the confidence intervals.
        partial: Score what there is of the protocol's images; the records and the report say so.
    """
    from alen.allocator import keep_freed_memory

    keep_freed_memory()
    from alen.evaluate.protocols import find_protocol, select
    from alen.evaluate.records import Failure, Record, Run, Settings
    from alen.evaluate.report import Report, markdown, write_report
    from alen.weights import find_weights, load_weights

    chosen = find_protocol(protocol)
    if seed < 0:
        raise SettingsError(f"The seed is a whole number from 0 on; got {seed}.")
    settings = Settings(
        quantization=None if quantize == "protocol" else quantize,
        ratios=("known", "estimated") if ratio == "both" else (ratio,),
        engine=engine,
        device=device,
        precision=precision,
        threads=threads,
        lpips=lpips,
    )
    networks = _named([(load_weights(path), path) for path in map(find_weights, weights)])
    selection = select(chosen, data, is_partial=partial)
    folder = out if out is not None else Path("evaluation") / chosen.name
    work = Run(chosen, selection, networks, settings, folder)
    size = f"{count(selection.pairs, 'image')}, {count(networks, 'network')}"
    print(f"{chosen.name}: {size}; the records are in {folder}")
    if selection.deviation:
        print(f"  deviates from the protocol: {selection.deviation}")
    for message in selection.left_out:
        print(f"  left out: {message}")
    if lpips is None and chosen.domain == "picture":
        print("  LPIPS is left out: no weights file was named (--lpips FILE)")
    elif lpips is not None and chosen.domain == "mosaic":
        print("  LPIPS is left out: it compares finished pictures, not mosaics")
    records: list[Record] = []
    clock = _Clock(len(selection.pairs))
    failures: list[Failure] = []
    try:
        with Progress(len(selection.pairs), "images") as progress:
            for number, step in enumerate(work.steps(), start=1):
                records += step.records
                failures += step.failures
                for failure in step.failures:
                    complain(f"{failure.image}: {failure.message}")
                if step.records:
                    figures = ", ".join(f"{r.weights} {r.psnr_db:.2f} dB ({r.ratio_origin})" for r in step.records)
                    left = clock.left(number) if step.measured else "; from the records"
                    print(f"[{number}/{len(selection.pairs)}] {step.image}: {figures}{left}", flush=True)
                clock.restart()
                progress.advance()
    except KeyboardInterrupt:
        complain("interrupted; go on with the same command.")
        return INTERRUPTED
    if not records:
        complain("no image could be scored.")
        return FAILED
    report = Report(chosen, records, failures, seed, work.crop_path)
    written = write_report(folder, report)
    print()
    print(markdown(report), end="")
    print(f"\nThe report with pictures: {written[1]}")
    return FAILED if failures else OK


def _named(loaded: Sequence[tuple[Weights, Path]]) -> list[Weights]:
    """Return weights under the names of their runs where they lie in one, for all runs call them "weights".

    Those that share a name get their digests behind it.
    """
    names = [
        path.absolute().parent.name if path.name == "weights.safetensors" else weights.name for weights, path in loaded
    ]
    counts = Counter(names)
    return [
        replace(weights, name=name if counts[name] == 1 else f"{name}-{weights.digest}")
        for (weights, _), name in zip(loaded, names, strict=True)
    ]


class _Clock:
    """The time left, for those who read a log; images found in the records do not count."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._spent = 0.0
        self._measured = 0
        self._start = time.perf_counter()

    def restart(self) -> None:
        """Begin the next image."""
        self._start = time.perf_counter()

    def left(self, number: int) -> str:
        """Return in words how long the images after this one take at most."""
        self._spent += time.perf_counter() - self._start
        self._measured += 1
        minutes = (self._total - number) * self._spent / self._measured / 60
        return f"; {minutes:.0f} min left" if minutes >= 1 else ""

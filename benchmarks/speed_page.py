"""The page of `benchmarks.speed`: tables, and which figures are reached and which are missed."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Final

from benchmarks.speed_roofline import MULTIPLYING, REASONS, Row, accounts, limit, stage_precision

SID_OPENVINO: Final = "SID U-Net, OpenVINO"
SID_EAGER: Final = "SID U-Net, torch"
"""Methods that the targets name."""

Document = Mapping[str, Any]
"""What the JSON file holds."""


@dataclass(frozen=True)
class Target:
    """A figure that has to be reached."""

    sentence: str
    """What is measured."""
    value: Callable[[Document], float | None]
    """Takes it from the document; None if it was not measured."""
    at_most: float
    """The bound."""


def times_of(method: str, other: str, key: str = "seconds") -> Callable[[Document], float | None]:
    """Return what takes from a document how many times as much one method of "peers" takes as another."""

    def value(document: Document) -> float | None:
        rows = {row["method"]: row for row in document.get("peers", ()) if "error" not in row}
        figures = [figure(rows[name], key) for name in (method, other) if name in rows]
        return figures[0] / figures[1] if len(figures) == 2 else None

    return value


def peak_gigabytes(megapixels: float) -> Callable[[Document], float | None]:
    """Return what takes from a document the peak memory of a frame."""

    def value(document: Document) -> float | None:
        row = _size(document, megapixels)
        return row["peak_bytes"] / 1e9 if row is not None and row["peak_bytes"] is not None else None

    return value


def _size(document: Document, megapixels: float) -> Row | None:
    rows = (row for row in document.get("sizes", ()) if "error" not in row)
    return next((row for row in rows if row["megapixels"] == megapixels), None)


def _per_pixel_of_large_frames(document: Document) -> float | None:
    small, large = _size(document, 12), _size(document, 150)
    if small is None or large is None:
        return None
    return float((large["first_seconds"] / large["pixels"]) / (small["first_seconds"] / small["pixels"]))


def _one_file(document: Document) -> float | None:
    row = document.get("cli", {"error": ""})
    return None if "error" in row else figure(row, "one_file_seconds")


def _each_of_ten_files(document: Document) -> float | None:
    row = document.get("cli", {"error": ""})
    return None if "error" in row else figure(row, "all_files_seconds") / row["files"]


TARGETS: Final = (
    Target("time of `alen` over the SID U-Net's in OpenVINO", times_of("alen", SID_OPENVINO), 1.0),
    Target("time of `alen` over the SID U-Net's in eager torch", times_of("alen", SID_EAGER), 0.125),
    Target("peak of `alen` over the SID U-Net's in eager torch", times_of("alen", SID_EAGER, "peak_bytes"), 0.333),
    Target("peak at 12 megapixels, GB", peak_gigabytes(12), 1.2),
    Target("peak at 61 megapixels, GB", peak_gigabytes(61), 2.0),
    Target("peak at 150 megapixels, GB", peak_gigabytes(150), 3.0),
    Target("time per pixel at 150 over that at 12 megapixels, first frames", _per_pixel_of_large_frames, 1.3),
    Target("`alen enhance` of 12 megapixels, whole process, s", _one_file, 2.5),
    Target("one of ten such files in one call, s", _each_of_ten_files, 1.6),
)
"""What is judged, reached or missed. Seconds were asked of two cores with AMX; ratios of any processor."""


def figure(row: Row, key: str) -> float:
    """Return a measured figure; of several calls the median."""
    return float(median(row[key]) if isinstance(row[key], list) else row[key])


def section(document: Document) -> str:
    """Return the program's section of the page, of the parts that were measured."""
    about = document["hardware"]
    lines = [
        f"Measured at commit {document['commit'][:12]} on {about['processor']}, {about['cores']} cores, in "
        f"{document['seconds'] / 60:.0f} minutes; every call is in `benchmarks/results/speed.json`.",
    ]
    parts: Mapping[str, Callable[[Document], list[str]]] = {
        "peers": _peers,
        "sizes": _sizes,
        "roofline": _roofline,
        "instructions": _instructions,
        "cli": _cli,
        "gpu": _gpu,
    }
    for part, write in parts.items():
        if part in document:
            lines += ["", *write(document)]
    return "\n".join([*lines, "", *_targets(document)]) + "\n"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a Markdown table, after an empty one."""
    return ["", f"| {' | '.join(head)} |", "|---" * len(head) + "|", *(f"| {' | '.join(row)} |" for row in rows)]


def _failed(name: str, row: Row, columns: int) -> list[str]:
    error = textwrap.shorten(str(row["error"]), 120, placeholder=" …").replace("|", "/")
    return [name, f"failed: {error}", *[""] * (columns - 2)]


def _peers(document: Document) -> list[str]:
    rows: Sequence[Row] = document["peers"]
    sound = [row for row in rows if "error" not in row]
    ours = next((row for row in sound if row["method"] == "alen"), None)
    head = ["", "first call, s", "later calls, s", "× `alen`", "peak memory, GB", "× `alen`"]
    cells = []
    for row in rows:
        if "error" in row:
            cells.append(_failed(row["method"], row, len(head)))
            continue
        scale = row["scaled_by"]
        times, memory = (
            f"{figure(row, key) / figure(ours, key):.2f}" if ours is not None and row[key] else "–"
            for key in ("seconds", "peak_bytes")
        )
        cells.append(
            [
                f"{row['method']}, × {scale:.0f}" if scale > 1 else row["method"],
                _s(row["first_seconds"]),
                f"{_s(median(row['seconds']))} ({_s(min(row['seconds']))} to {_s(max(row['seconds']))})",
                times,
                _gb(row["peak_bytes"]) + (" of the part" if scale > 1 else ""),
                memory if scale == 1 else "",
            ]
        )
    lines = [
        f"## A frame of {document['settings']['megapixels']:g} megapixels against other methods",
        *table(head, cells),
        "",
        "All in the same run, called in turn; the first call includes imports, loading and compiling, of the later "
        "ones the median (least to most).",
        "",
        "- **Networks**: from packed planes in memory to the picture. The See-in-the-Dark U-Net has its 7.76 million "
        "weights drawn at random, which take as long as trained ones. In torch it is eager, float32 and whole, as "
        f"its users run it; in OpenVINO it has the precision ({document['precision']}) and the settings of our "
        "engine, and was converted before.",
        "- **LibRaw**: from a DNG of this size to an 8-bit picture, AHD and the stronger FBDD noise reduction. Its "
        "wavelet threshold is left out: it ends the process with a memory error in rawpy 0.28.0 (LibRaw 0.22.2).",
        "- **Non-local means**: of a part of the demosaicked 8-bit picture; time is multiplied by the pixels it lacks, "
        "memory is not. OpenCV: template 7, window 21; scikit-image: fast mode, patch 5, distance 6, one thread.",
    ]
    mine = [row for row in sound if row["method"].startswith("alen")]
    return [
        *lines,
        *(_ahead(row, [other for other in sound if other not in mine]) for row in mine),
    ]


def _ahead(mine: Row, others: Sequence[Row]) -> str:
    """Return in a sentence what a network is faster than, and what it is slower than."""
    ratios = {row["method"]: figure(row, "seconds") / figure(mine, "seconds") for row in others}
    faster = ", ".join(f"{name} ({ratio:.1f} times)" for name, ratio in ratios.items() if ratio >= 1)
    slower = ", ".join(f"{name} ({1 / ratio:.1f} times)" for name, ratio in ratios.items() if ratio < 1)
    return f"- **`{mine['method']}`** is faster than: {faster or 'none'}. Slower than: {slower or 'none'}."


def _targets(document: Document) -> list[str]:
    rows = []
    for target in TARGETS:
        value = target.value(document)
        verdict = "not measured" if value is None else "reached" if value <= target.at_most else "**missed**"
        rows.append([target.sentence, f"≤ {target.at_most:g}", "–" if value is None else f"{value:.2f}", verdict])
    return [
        "## Reached and missed",
        *table(["figure", "asked", "measured", ""], rows),
        "",
        "Seconds were asked of two cores with AMX, a unit for matrix products that most processors lack.",
    ]


def _sizes(document: Document) -> list[str]:
    head = ["megapixels", "first frame, s", "later frames, s", "s per megapixel", "peak memory, GB"]
    cells = []
    for row in document["sizes"]:
        name = f"{row['megapixels']:g}"
        if "error" in row:
            cells.append(_failed(name, row, len(head)))
            continue
        later = figure(row, "seconds") if row["seconds"] else None
        per_megapixel = 1e6 * (later if later is not None else row["first_seconds"]) / row["pixels"]
        times = [_s(row["first_seconds"]), "–" if later is None else _s(later), f"{per_megapixel:.3f}"]
        cells.append([name, *times, _gb(row["peak_bytes"])])
    return [
        "## Sizes of frames",
        *table(head, cells),
        "",
        "`alen` from the decoded RAW to the 8-bit picture (`Enhancer.finish`), each size in a process of its own. "
        "The first frame of a process includes loading and compiling; where there are later ones, seconds per "
        "megapixel are theirs. The peak is that of the whole process, decoding the RAW file included.",
    ]


def _roofline(document: Document) -> list[str]:
    roofline = document["roofline"]
    limits = roofline["limits"]
    lines = ["## What of the processor is used"]
    if "error" in limits:
        return [*lines, "", f"Its limits could not be measured: {limits['error']}."]
    products = [f"{p} {limit(limits, p) / 1e9:,.0f} GFLOP/s" for p in ("bfloat16", "float32") if p in limits]
    lines += [
        "",
        f"The peak, measured in the same run: square matrix products of side {limits['side']}, by torch or OpenVINO, "
        f"whichever is faster, {', '.join(products)}; copies {limits['bytes_per_second'] / 1e9:.0f} GB/s, counting "
        "what is read and what is written. GMAC are multiplications with addition, two operations each, of what the "
        "network is defined by; rows around bands, which are computed twice, do not count.",
    ]
    traced = [network for network in roofline["networks"] if "error" not in network]
    low = traced[0]["precision"] if traced else "float32"
    networks = {n["model"]: (sum(e["macs"] for e in n["stages"].values()), n["precision"]) for n in traced}
    networks |= {SID_OPENVINO: (roofline["sid_unet_macs"], low), SID_EAGER: (roofline["sid_unet_macs"], "float32")}
    peers = {row["method"]: row for row in document.get("peers", ()) if "error" not in row}
    rows = []
    for name, (macs, precision) in networks.items():
        if name in peers:
            seconds = figure(peers[name], "seconds")
            rate = 2 * macs / seconds
            share = f"{rate / limit(limits, precision):.0%}"
            rows.append([name, precision, f"{macs / 1e9:.0f}", _s(seconds), f"{rate / 1e9:,.0f}", share])
    if rows:
        lines += table(["", "precision", "GMAC", "s", "GFLOP/s", "of the peak"], rows)
    for network in roofline["networks"]:
        lines += ["", f"### `{network['model']}`, stage by stage"]
        lines += ["", f"Failed: {network['error']}."] if "error" in network else _network(network, limits)
    return lines


def _network(network: Row, limits: Row) -> list[str]:
    total = network["seconds"][-1]
    rows = []
    for name, entry in network["stages"].items():
        seconds, macs = entry["seconds"], entry["macs"]
        multiplying = sum(value for node, value in entry["nodes"].items() if node.startswith(MULTIPLYING))
        of_peak = 2 * macs / limit(limits, stage_precision(network, name)) / seconds
        of_bandwidth = entry["bytes"] / limits["bytes_per_second"] / seconds
        cells = [name, str(entry["calls"]), f"{seconds:.3f}", f"{seconds / total:.0%}", f"{macs / 1e9:.1f}"]
        cells += [f"{of_peak:.0%}", f"{multiplying / seconds:.0%}"] if macs else ["–", "–"]
        cells += [f"{entry['bytes'] / 1e9:.2f}", f"{of_bandwidth:.0%}"] if entry["bytes"] else ["–", "–"]
        rows.append(cells)
    head = ["stage", "calls", "s", "of the frame", "GMAC", "of the peak", "in multiplications"]
    head += ["GB in and out", "of the bandwidth"]
    spent = accounts(network, limits)
    where = [[name, f"{spent[name]:.3f}", f"{spent[name] / total:.0%}", why] for name, why in REASONS.items()]
    return [
        "",
        f"One frame in {total:.2f} s, with OpenVINO's profiling on; {network['precision']}, the composition of the "
        "picture "
        'float32. "In multiplications" is the part of a stage\'s time that convolutions, matrix products and attention '
        "take, GB those that its requests are given and give back.",
        *table(head, rows),
        "",
        "Where the time goes:",
        *table(["", "s", "of the frame", "what it is"], where),
    ]


def _instructions(document: Document) -> list[str]:
    rows: Sequence[Row] = document["instructions"]
    widest = next((row for row in rows if row["isa"] is None and row["asked"] == "auto" and "error" not in row), None)
    head = ["limit", "precision asked for", "s", "× no limit", "most time in"]
    cells = []
    for row in rows:
        name = f"`{row['isa']}`" if row["isa"] else "none"
        if "error" in row:
            cells.append([name, row["asked"], *_failed("", row, len(head) - 1)[1:]])
            continue
        ratio = f"{figure(row, 'seconds') / figure(widest, 'seconds'):.2f}" if widest else "–"
        asked = row["asked"] if row["asked"] != "auto" else f"auto: {row['precision']}"
        cells.append([name, asked, _s(figure(row, "seconds")), ratio, f"`{row['kernel']}`"])
    text = (
        f"`alen` on {document['settings']['megapixels']:g} megapixels, with oneDNN limited by `ONEDNN_MAX_CPU_ISA`, "
        "as far as this processor goes. The last column is OpenVINO's name of the kernel that took most of the time: "
        "it tells whether the limit holds. A limit is not another processor: its caches and its clock stay."
    )
    if any(row["isa"] == "AVX2" and row["asked"] == "auto" and "error" in row for row in rows):
        text += (
            ' Limited to AVX2, OpenVINO still offers bfloat16, which "auto" took then, and failed at it; it takes '
            "float32 now."
        )
    return ["## Instruction sets", *table(head, cells), "", text]


def _cli(document: Document) -> list[str]:
    row, lines = document["cli"], ["## Command line", ""]
    if "error" in row:
        return [*lines, f"Failed: {row['error']}."]
    one, each = figure(row, "one_file_seconds"), figure(row, "all_files_seconds") / row["files"]
    return [
        *lines,
        f"`alen enhance` of a DNG of {document['settings']['megapixels']:g} megapixels to JPEG, the whole process, "
        f"files in the system's cache: {_s(one)} s (before, for the first time in this run: {_s(row['cold_seconds'])} "
        f"s). {row['files']} files in one call: {_s(each)} s per file, {each / one:.2f} of that. The made-up frame is "
        "noise from edge to edge, which takes longer to write than a photograph.",
    ]


def _gpu(document: Document) -> list[str]:
    lines = ["## GPU", ""]
    if not document["gpu"]:
        return [*lines, "This machine has no GPU that torch finds: nothing was measured, and nothing is claimed."]
    cells = []
    for row in document["gpu"]:
        name = f"{row['model']}, {row['megapixels']:g} megapixels"
        if "error" in row:
            cells.append(_failed(name, row, 3))
        else:
            cells.append([name, f"{figure(row, 'milliseconds'):.0f}", _gb(row["gpu_peak_bytes"])])
    return [
        *lines,
        "Eager torch in bfloat16, from planes to picture, both in the computer's memory.",
        *table(["", "ms", "peak of the GPU's memory, GB"], cells),
    ]


def _s(seconds: float) -> str:
    """Return seconds with three digits."""
    return f"{seconds:.2f}" if seconds < 10 else f"{seconds:.1f}" if seconds < 100 else f"{seconds:.0f}"


def _gb(size: float | None) -> str:
    return "–" if size is None else f"{size / 1e9:.2f}"

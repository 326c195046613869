"""Reports: the figures of a run beside published ones, as Markdown and as one HTML file that loads nothing.

Pictures are embedded, the plot is drawn as SVG by hand, and there is no script: the page can be archived, mailed and
opened without a network.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from alen.evaluate.protocols import Protocol
from alen.evaluate.published import MARKS, Published, other_protocols, same_protocol
from alen.evaluate.records import Failure, Record
from alen.evaluate.summary import (
    Difference,
    Interval,
    Method,
    Score,
    by_method,
    differences,
    nominal_ratio,
    ratios,
    scores,
)

SHOWN_IMAGES: Final = 3
"""Worst and best images that are shown of each network."""

_COLORS: Final = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Colors that the color-blind tell apart (Okabe and Ito, 2008)."""

_QUANTIZATION: Final = {
    "floor8": "both pictures × 255 and cut off to 8 bits, as the code of the ALEN paper stores them",
    "round8": "both pictures rounded to 8 bits, as See-in-the-Dark's code stores them",
    "none": "float, not quantized",
}

_LPIPS_LEFT_OUT: Final = "left out: no weights file was named (--lpips FILE)."

_SPLITS: Final = {
    "test": "test: for reporting alone, nothing was or may be chosen by it",
    "val": "val: for choosing models; not to be reported as a result",
    "own": "own pairs",
}

_STYLE: Final = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff; max-width: 62rem; margin: 2rem auto;
  padding: 0 1rem; }
h1 { font-size: 1.6rem; line-height: 1.2; margin-bottom: .3rem; }
h2 { font-size: 1.2rem; margin-top: 2.2rem; border-bottom: 1px solid #ddd; padding-bottom: .2rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .7rem; text-align: left; border-bottom: 1px solid #e4e4e4; vertical-align: top; }
th { border-bottom: 2px solid #888; }
small { color: #555; white-space: nowrap; }
figure { margin: 1rem 0; }
figure img, svg { max-width: 100%; height: auto; }
figcaption { font-size: .88rem; color: #333; }
.warning { background: #fff3d6; border-left: 4px solid #e69f00; padding: .6rem 1rem; }
"""


@dataclass(frozen=True)
class Table:
    """A table as text."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Report:
    """What a report says; the same for both forms.

    Args of the functions below. Records are those of one protocol, quantization and precision.
    """

    protocol: Protocol
    """What was measured."""
    records: Sequence[Record]
    """At least one."""
    failures: Sequence[Failure]
    """Images that could not be scored."""
    seed: int
    """Of the confidence intervals."""
    crop_path: Callable[[Record], Path]
    """Where the picture of a record lies, if it is there."""

    @property
    def title(self) -> str:
        """The protocol's name."""
        return f"Evaluation: {self.protocol.name}"

    def facts(self) -> list[tuple[str, str]]:
        """Return what decides about the figures."""
        first = self.records[0]
        images = len({record.image for record in self.records})
        names = {(r.weights, r.digest): r for r in self.records}.values()
        facts = [
            ("Images", f"{images}: {self.protocol.selection}"),
            ("Split", _SPLITS[self.protocol.split]),
            ("Ratio", f"known: {self.protocol.known_ratio}; estimated: from the short exposure alone"),
            ("Quantization", _QUANTIZATION[first.quantization]),
            ("PSNR", "data range 1, of each image, then the mean over images (not pooled)"),
            ("SSIM", "Gaussian window 11 × 11, σ 1.5, per channel; MS-SSIM with the same window and five scales"),
            ("Brackets", f"95 % confidence interval of the mean, from resampled scenes (seed {self.seed})"),
            ("Precision", ", ".join(dict.fromkeys(record.engine for record in self.records))),
        ]
        facts += [("Weights", f"{r.weights} {r.digest}: {r.network}, output {r.target}") for r in names]
        if any(r.target == "camera" for r in names) and self.protocol.domain == "picture":
            facts.append(("Rendering", "the output “camera” is rendered as LibRaw renders the references"))
        if first.lpips is None and self.protocol.domain == "picture":
            facts.append(("LPIPS", _LPIPS_LEFT_OUT))
        facts.append(("Program", f"alen {first.version}"))
        return facts

    def warnings(self) -> list[str]:
        """Return what is wrong with this run."""
        found = []
        deviation = max((record.deviation for record in self.records), key=len)
        if deviation:
            found.append(
                f"This run deviates from {self.protocol.name}: {deviation}. Its figures compare with nobody's."
            )
        counts = {len(own) for own in by_method(self.records).values()}
        if len(counts) > 1:
            found.append("Not all networks were scored on the same images; see the number of images in the table.")
        if self.failures:
            found.append(f"{len(self.failures)} could not be scored; see the end.")
        return found

    def results(self) -> Table:
        """Return the means by ratio and over all images."""
        table = scores(self.records, seed=self.seed)
        columns: list[int | None] = [*ratios(self.records), None]
        has_ms_ssim = any(by_ratio[None].ms_ssim is not None for by_ratio in table.values())
        has_lpips = any(by_ratio[None].lpips is not None for by_ratio in table.values())
        head = ["Network", "Ratio", *(_ratio(ratio) for ratio in columns), "SSIM"]
        head += ["MS-SSIM"] * has_ms_ssim + ["LPIPS"] * has_lpips + ["Images"]
        rows = []
        for method, by_ratio in table.items():
            total = by_ratio[None]
            cells = [_decibels(by_ratio[c].psnr_db) if c in by_ratio else "–" for c in columns]
            row = [method.weights, method.ratio_origin, *cells, _plain(total.ssim.mean)]
            row += [_plain(total.ms_ssim)] * has_ms_ssim + [_plain(total.lpips)] * has_lpips + [str(total.images)]
            rows.append(tuple(row))
        return Table(tuple(head), tuple(rows))

    def published(self) -> Table | None:
        """Return the published figures of this protocol."""
        figures = same_protocol(self.protocol.name)
        if not figures:
            return None
        methods = dict.fromkeys((f.method, f.source, f.mark) for f in figures)
        columns: list[int | None] = [*sorted({f.ratio for f in figures if f.ratio is not None})]
        columns += [None] * any(f.ratio is None for f in figures)
        rows = []
        for method, source, mark in methods:
            own = {f.ratio: f for f in figures if (f.method, f.source, f.mark) == (method, source, mark)}
            cells = [f"{own[c].psnr_db:.2f}" if c in own else "–" for c in columns]
            ssim = next((f.ssim for f in own.values() if f.ssim is not None), None)
            notes = "; ".join(dict.fromkeys(f.note for f in own.values() if f.note))
            rows.append((method, *cells, _plain(ssim), f"{source}{'; ' + notes if notes else ''}", mark))
        return Table(("Published", *(_ratio(c) for c in columns), "SSIM", "Paper", "Mark"), tuple(rows))

    def not_comparable(self) -> Table | None:
        """Return the published figures of the same data set under other, or unknown, protocols."""
        figures = other_protocols(self.protocol.name)
        if not figures:
            return None
        return Table(("Published", "Protocol", "all", "SSIM", "Paper", "Mark"), tuple(_other(f) for f in figures))

    def compared(self) -> Table | None:
        """Return the differences of the networks to the first."""
        found = differences(self.records, seed=self.seed)
        if not found:
            return None
        return Table(
            ("Network", "against", "Ratio", "PSNR, difference", "Images"), tuple(_difference(d) for d in found)
        )

    def extremes(self) -> list[tuple[Method, str, list[Record]]]:
        """Return of every network the worst and the best images at the first origin of the ratio."""
        first = self.records[0].ratio_origin
        found = []
        for method, own in by_method(self.records).items():
            if method.ratio_origin != first:
                continue
            ordered = sorted(own, key=lambda record: record.psnr_db)
            worst = ordered[:SHOWN_IMAGES]
            best = [record for record in ordered[::-1][:SHOWN_IMAGES] if record not in worst]
            found += [(method, "worst", worst), (method, "best", best)]
        return found


def _ratio(ratio: int | None) -> str:
    return "all" if ratio is None else f"×{ratio}"


def _plain(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _decibels(interval: Interval) -> str:
    if interval.low is None or interval.high is None:
        return f"{interval.mean:.2f}"
    return f"{interval.mean:.2f} [{interval.low:.2f}, {interval.high:.2f}]"


def _other(figure: Published) -> tuple[str, ...]:
    protocol = figure.protocol if figure.protocol[-1].isdigit() else "not stated, or mixed"
    source = f"{figure.source}{'; ' + figure.note if figure.note else ''}"
    return (figure.method, protocol, f"{figure.psnr_db:.2f}", _plain(figure.ssim), source, figure.mark)


def _difference(difference: Difference) -> tuple[str, ...]:
    interval = difference.psnr_db
    text = _signed(interval.mean)
    if interval.low is not None and interval.high is not None:
        text += f" [{_signed(interval.low)}, {_signed(interval.high)}]"
    first, second = difference.first, difference.second
    return (first.weights, second.weights, first.ratio_origin, text, str(difference.images))


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "−")


def _caption(record: Record) -> str:
    return (
        f"{record.image}, ×{record.exposure_ratio:g}: {record.psnr_db:.2f} dB, SSIM {record.ssim:.3f}; whole frame, "
        "and at 100 %: input, network, truth"
    )


# ---------------------------------------------------------------------------------------------------------------------
# Markdown
# ---------------------------------------------------------------------------------------------------------------------


def markdown(report: Report) -> str:
    """Return the report as Markdown; pictures are left to the HTML."""
    lines = [f"# {report.title}", ""]
    lines += [line for warning in report.warnings() for line in (f"**{warning}**", "")]
    lines += [f"- {name}: {text}" for name, text in report.facts()]
    lines += ["", "## Results", "", "PSNR in dB.", "", *_markdown_table(report.results())]
    if (compared := report.compared()) is not None:
        lines += ["", "Image by image against the first network:", "", *_markdown_table(compared)]
    if (published := report.published()) is not None:
        lines += ["", "## Published under this protocol", "", *_markdown_table(published), "", _marks()]
    if (others := report.not_comparable()) is not None:
        lines += [
            "",
            "## Published under other protocols",
            "",
            _NOT_COMPARABLE,
            "",
            *_markdown_table(others),
            "",
            _marks(),
        ]
    lines += ["", "## Worst and best images", ""]
    for method, which, records in report.extremes():
        names = ", ".join(f"{record.image} ({record.psnr_db:.2f} dB)" for record in records)
        lines.append(f"- {method.weights}, {which}: {names or '–'}")
    if report.failures:
        lines += ["", "## Not scored", ""]
        lines += [f"- {failure.image}: {failure.message}" for failure in report.failures]
    return "\n".join(lines) + "\n"


_NOT_COMPARABLE: Final = (
    "These figures are of the same data set, but of other images, or the source does not say of which. The same "
    "weights differ by 0.4 dB between protocols: they show where the field stands, and rank nothing here."
)


def _marks() -> str:
    return "Marks. " + "; ".join(f"{mark}: {text}" for mark, text in MARKS.items()) + "."


def _markdown_table(table: Table) -> list[str]:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    return [line(table.head), "|" + "---|" * len(table.head), *(line(row) for row in table.rows)]


# ---------------------------------------------------------------------------------------------------------------------
# HTML
# ---------------------------------------------------------------------------------------------------------------------


def html_page(report: Report) -> str:
    """Return the report as one HTML page that loads nothing."""
    parts = [f"<h1>{html.escape(report.title)}</h1>"]
    parts += [f'<p class="warning">{html.escape(warning)}</p>' for warning in report.warnings()]
    parts += ["<h2>Results</h2>", "<p>PSNR in dB.</p>", _html_table(report.results())]
    if (compared := report.compared()) is not None:
        parts += ["<p>Image by image against the first network:</p>", _html_table(compared)]
    table = scores(report.records, seed=report.seed)
    if len(ratios(report.records)) > 1:
        parts += [f"<figure>{plot(table)}<figcaption>PSNR over the exposure ratio; bars are 95 % confidence intervals."]
        parts += ["</figcaption></figure>"]
    if (published := report.published()) is not None:
        parts += ["<h2>Published under this protocol</h2>", _html_table(published), f"<p>{html.escape(_marks())}</p>"]
    parts += ["<h2>What was measured</h2>", _html_table(Table((), tuple(report.facts())))]
    parts += ["<h2>Worst and best images</h2>"]
    for method, which, records in report.extremes():
        parts += [f"<h3>{html.escape(method.weights)}: {which}</h3>"] if records else []
        parts += [_figure(report.crop_path(record), _caption(record)) for record in records]
    if (others := report.not_comparable()) is not None:
        parts += ["<h2>Published under other protocols</h2>", f"<p>{html.escape(_NOT_COMPARABLE)}</p>"]
        parts += [_html_table(others), f"<p>{html.escape(_marks())}</p>"]
    if report.failures:
        parts += ["<h2>Not scored</h2>", "<ul>"]
        parts += [f"<li>{html.escape(f.image)}: {html.escape(f.message)}</li>" for f in report.failures]
        parts += ["</ul>"]
    parts += ["<h2>Every image</h2>", _every_image(report.records)]
    body = "\n".join(parts)
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(report.title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def _html_table(table: Table) -> str:
    def cell(text: str) -> str:
        number, bracket, rest = html.escape(text).partition(" [")
        return f"{number}<br><small>[{rest}</small>" if bracket and rest.endswith("]") else html.escape(text)

    head = "<tr>" + "".join(f"<th>{html.escape(text)}</th>" for text in table.head) + "</tr>" if table.head else ""
    rows = "\n".join("<tr>" + "".join(f"<td>{cell(text)}</td>" for text in row) + "</tr>" for row in table.rows)
    return f'<div class="scroll"><table>\n{head}\n{rows}\n</table></div>'


def _figure(path: Path, caption: str) -> str:
    text = html.escape(caption)
    if not path.is_file():
        return f"<p>{text} (its picture is not there)</p>"
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    picture = f'<img alt="{text}" src="data:image/jpeg;base64,{data}">'
    return f"<figure>{picture}<figcaption>{text}</figcaption></figure>"


def _every_image(records: Sequence[Record]) -> str:
    methods = by_method(records)
    images = dict.fromkeys((record.image, nominal_ratio(record)) for record in records)
    found = {method: {record.image: record.psnr_db for record in own} for method, own in methods.items()}
    rows = []
    for image, ratio in images:
        cells = (f"{found[m][image]:.2f}" if image in found[m] else "–" for m in methods)
        rows.append((image, _ratio(ratio), *cells))
    head = ("Image", "Ratio", *(f"{method.weights}, {method.ratio_origin}" for method in methods))
    return f"<details><summary>PSNR of {len(rows)} images</summary>{_html_table(Table(head, tuple(rows)))}</details>"


def plot(table: Mapping[Method, Mapping[int | None, Score]]) -> str:
    """Return PSNR over the exposure ratio as SVG: a line per network, dashed where the ratio is estimated.

    Args:
        table: From `alen.evaluate.summary.scores`; at least two ratios.
    """
    width, height, left, right, top, bottom = 760, 390, 56, 236, 30, 44
    columns = sorted({ratio for by_ratio in table.values() for ratio in by_ratio if ratio is not None})
    points = [by_ratio[r].psnr_db for by_ratio in table.values() for r in columns if r in by_ratio]
    low = min(p.mean if p.low is None else p.low for p in points)
    high = max(p.mean if p.high is None else p.high for p in points)
    step = next(s for s in (0.5, 1, 2, 5, 10, 20) if (high - low) / s <= 8 or s == 20)
    first, last = low // step * step, -(-high // step) * step
    last = last if last > first else first + step

    def x(ratio: int) -> float:
        place = columns.index(ratio) / max(len(columns) - 1, 1)
        return left + 30 + place * (width - left - right - 60)

    def y(value: float) -> float:
        return top + (last - value) / (last - first) * (height - top - bottom)

    parts = [
        f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
        'font-family="system-ui, sans-serif" font-size="13" aria-label="PSNR over the exposure ratio">'
    ]
    for index in range(round((last - first) / step) + 1):
        value = first + index * step
        parts.append(f'<path d="M{left} {y(value):.1f}H{width - right}" stroke="#ddd"/>')
        parts.append(f'<text x="{left - 8}" y="{y(value) + 4:.1f}" text-anchor="end">{value:g}</text>')
    for ratio in columns:
        parts.append(f'<text x="{x(ratio):.1f}" y="{height - bottom + 20}" text-anchor="middle">×{ratio}</text>')
    middle = (left + width - right) / 2
    parts.append(f'<text x="{middle:.0f}" y="{height - 6}" text-anchor="middle">exposure ratio</text>')
    parts.append(f'<text x="{left - 8}" y="{top - 14}" text-anchor="end">dB</text>')
    digests = list(dict.fromkeys(method.digest for method in table))
    for index, (method, by_ratio) in enumerate(table.items()):
        color = _COLORS[digests.index(method.digest) % len(_COLORS)]
        dashes = ' stroke-dasharray="6 4"' if method.ratio_origin == "estimated" else ""
        # side by side by a few pixels, so that bars do not hide each other
        shift = 4 * (index - (len(table) - 1) / 2)
        own = [(x(r) + shift, by_ratio[r].psnr_db) for r in columns if r in by_ratio]
        line = " ".join(f"{px:.1f},{y(interval.mean):.1f}" for px, interval in own)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{color}" stroke-width="2"{dashes}/>')
        for px, interval in own:
            parts.append(f'<circle cx="{px:.1f}" cy="{y(interval.mean):.1f}" r="3.5" fill="{color}"/>')
            if interval.low is not None and interval.high is not None:
                bar = f"M{px:.1f} {y(interval.low):.1f}V{y(interval.high):.1f}"
                parts.append(f'<path d="{bar}" stroke="{color}" stroke-width="1.5"/>')
        place = top + 14 + 20 * index
        start = width - right + 14
        parts.append(f'<path d="M{start} {place - 4}h24" stroke="{color}" stroke-width="2"{dashes}/>')
        label = html.escape(f"{method.weights[:18]}, {method.ratio_origin}")
        parts.append(f'<text x="{start + 30}" y="{place}">{label}</text>')
    parts.append("</svg>")
    return "".join(parts)


def write_report(folder: Path, report: Report) -> tuple[Path, Path]:
    """Write report.md and report.html into a folder, atomically; returns their paths."""
    paths = folder / "report.md", folder / "report.html"
    for path, text in zip(paths, (markdown(report), html_page(report)), strict=True):
        part = path.with_name(path.name + ".part")
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    return paths

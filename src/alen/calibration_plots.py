"""Pictures of a calibration: photon-transfer curve, darks against the fitted distributions, rows. Needs matplotlib."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from alen.calibrate import Calibration, difference_density
from alen.errors import PictureError
from alen.replacing import replacing

_POINT, _LINE, _OTHER, _GRAY = "#0072b2", "#d55e00", "#009e73", "#777777"
"""Colors that the color-blind tell apart (Okabe and Ito, 2008)."""

_DPI: Final = 110


def draw_plots(calibration: Calibration, folder: Path) -> list[Path]:
    """Draw the plots of a calibration as PNG; returns their paths.

    Raises:
        ImportError: matplotlib is not installed.
        PictureError: They cannot be written.
    """
    try:
        return _draw_plots(calibration, folder)
    except OSError as error:
        reason = error.strerror or str(error)
        raise PictureError(f"{folder}: the plots cannot be written ({reason}). Choose another folder.") from error


def _draw_plots(calibration: Calibration, folder: Path) -> list[Path]:
    from matplotlib.figure import Figure

    written = []
    for name, draw in (("photon-transfer", _draw_transfer), ("darks", _draw_darks), ("rows", _draw_rows)):
        figure = Figure(figsize=(11, 4.6), layout="constrained")
        draw(figure, calibration)
        path = folder / f"iso{calibration.iso.iso:g}-{name}.png"
        with replacing(path) as part:
            figure.savefig(part, format="png", dpi=_DPI)
        written.append(path)
    return written


def _draw_transfer(figure: Any, calibration: Calibration) -> None:
    """Draw variance over mean with the fitted line, and what the points deviate from it by."""
    iso, transfer = calibration.iso, calibration.transfer
    level, variance = np.array(transfer.level_dn), np.array(transfer.variance_dn2)
    gain = transfer.gain
    curve, deviation = figure.subplots(1, 2, width_ratios=(3, 2))
    end = 1.05 * float(level.max())
    line = np.array([0.0, end])
    curve.fill_between(
        line,
        transfer.variance_at_black_dn2 + gain.low * line,
        transfer.variance_at_black_dn2 + gain.high * line,
        color=_LINE,
        alpha=0.2,
        linewidth=0,
        label=f"95 %: {gain.low:.4g} to {gain.high:.4g}",
    )
    curve.plot(
        line, transfer.variance_at_black_dn2 + gain.value * line, color=_LINE, label=f"K = {gain.value:.4g} DN/e⁻"
    )
    curve.plot(level, variance, "o", color=_POINT, markersize=4, label="flats, by brightness")
    curve.plot(0, iso.dark_sigma_dn.value**2, "s", color=_OTHER, markersize=7, label="darks")
    curve.set(
        title=f"{calibration.camera.camera}, ISO {iso.iso:g}",
        xlabel="mean above black (DN)",
        ylabel="variance over time (DN²)",
        xlim=(-0.02 * end, end),
    )
    curve.set_ylim(bottom=0)
    curve.legend(loc="upper left", frameon=False)
    expected = transfer.variance_at_black_dn2 + gain.value * level
    deviation.axhline(0, color=_LINE)
    deviation.plot(level, 100 * (variance / expected - 1), "o", color=_POINT, markersize=4)
    deviation.set(title="deviation from the line", xlabel="mean above black (DN)", ylabel="variance (%)")
    reach = max(1.2 * float(np.abs(100 * (variance / expected - 1)).max()), 1.0)
    deviation.set_ylim(-reach, reach)
    _plain(curve, deviation)


def _draw_darks(figure: Any, calibration: Calibration) -> None:
    """Draw the differences of darks against both distributions, and the correlation over lambda."""
    iso, dark = calibration.iso, calibration.dark
    histogram, correlation = figure.subplots(1, 2, width_ratios=(3, 2))
    shape = dark.shape
    if shape is None:
        histogram.text(0.5, 0.5, "Rounding to whole DN hides\nthe shape of the read noise.", ha="center", va="center")
        for axes in (histogram, correlation):
            axes.set_axis_off()
        return
    # so many whole DN that neither rounding nor the histogram's own bins make a comb
    step = float(shape.values[1] - shape.values[0])
    width = np.ceil(8 * step * shape.sigma_dn) / shape.sigma_dn if step * shape.sigma_dn > 0.1 else 1 / shape.sigma_dn
    farthest = int(np.ceil(np.abs(shape.values[shape.counts > 0]).max() / width))
    edges = (np.arange(-farthest, farthest + 2) - 0.5) * width
    counts = np.histogram(shape.values, edges, weights=shape.counts)[0]
    middles, taken = (edges[1:] + edges[:-1]) / 2, counts > 0
    density = counts / counts.sum() / width
    histogram.plot(
        middles[taken] * shape.sigma_dn,
        density[taken],
        "o",
        color=_POINT,
        markersize=4,
        label=f"{iso.dark_frames} darks, each less the one before",
    )
    for tukey_lambda, color, style, label in (
        (None, _GRAY, "--", f"Gaussian, σ = {iso.read_sigma_dn.value:.3g} DN"),
        (shape.tukey_lambda.value, _LINE, "-", f"Tukey lambda, λ = {_signed(shape.tukey_lambda.value)}"),
    ):
        x, expected = difference_density(tukey_lambda, shape.sigma_dn)
        until = np.interp(edges, x, np.cumsum(expected) * (x[1] - x[0]))
        in_bins = np.maximum(np.diff(until) / width, 1e-30)
        histogram.plot(middles * shape.sigma_dn, in_bins, style, color=color, label=label)
    histogram.set(
        title="differences of successive darks, without frame and row offsets",
        xlabel="difference (DN)",
        ylabel="density (per standard deviation)",
        yscale="log",
        ylim=(float(density[taken].min()) / 4, 20 * float(density.max())),
        xlim=(-farthest * width * shape.sigma_dn * 1.05, farthest * width * shape.sigma_dn * 1.05),
    )
    histogram.legend(loc="upper left", frameon=False, fontsize=9)
    lambdas, ppcc = np.array(shape.lambdas), np.array(shape.ppcc)
    loss = 1 - ppcc
    correlation.axvspan(
        shape.tukey_lambda.low, shape.tukey_lambda.high, color=_LINE, alpha=0.2, linewidth=0, label="95 %"
    )
    correlation.plot(lambdas, loss, color=_POINT, label="Tukey lambda")
    correlation.axhline(1 - shape.ppcc_gaussian, color=_GRAY, linestyle="--", label="Gaussian")
    correlation.axvline(shape.tukey_lambda.value, color=_LINE)
    correlation.set(
        title="probability plot correlation", xlabel="lambda", ylabel="1 − PPCC (less is better)", yscale="log"
    )
    correlation.legend(loc="upper right", frameon=False)
    _plain(histogram, correlation)


def _draw_rows(figure: Any, calibration: Calibration) -> None:
    """Draw the mean of the rows, fixed and of single frames, and the spectrum of what changes."""
    dark, iso = calibration.dark, calibration.iso
    parts = figure.subplot_mosaic([["frame", "spectrum"], ["mean", "spectrum"]], width_ratios=(3, 2), sharex=False)
    spectrum = parts["spectrum"]
    rows = np.arange(len(dark.row_profile_dn))
    reach = 1.1 * max(float(np.abs(dark.row_means_dn[-1]).max()), float(np.abs(dark.row_profile_dn).max()))
    for name, values, color, title in (
        (
            "frame",
            dark.row_means_dn[-1],
            _OTHER,
            f"one dark less the mean of all: row noise σ = {iso.row_sigma_dn.value:.3g} DN",
        ),
        ("mean", dark.row_profile_dn, _POINT, "mean of the darks: fixed pattern"),
    ):
        parts[name].plot(rows, values, color=color, linewidth=0.7)
        parts[name].set(title=title, ylabel="mean of the row (DN)", ylim=(-reach, reach), xlim=(0, len(rows)))
    parts["mean"].set_xlabel("row")
    frequency, power = _spectrum(dark.row_means_dn)
    spectrum.plot(frequency, power, color=_POINT, linewidth=0.9, label="measured")
    white = dark.row_floor_dn2 + iso.row_sigma_dn.value**2
    spectrum.axhline(white, color=_LINE, label="independent rows of this σ")
    spectrum.axhline(dark.row_floor_dn2, color=_GRAY, linestyle="--", label="pixels' share, without row noise")
    spectrum.set(
        title="spectrum of the row means over time",
        xlabel="frequency (cycles per row)",
        ylabel="power (DN²)",
        yscale="log",
        xlim=(0, 0.5),
    )
    low, high = spectrum.get_ylim()
    spectrum.set_ylim(low, high * (high / low) ** 0.35)
    spectrum.legend(loc="upper right", frameon=False, fontsize=9)
    _plain(*parts.values())


def _signed(value: float) -> str:
    """Return a number with a minus sign as it is printed."""
    return f"{value:.3f}".replace("-", "−")


def _spectrum(row_means: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return frequencies and the power of rows (N, H) over them, averaged to some 100 points.

    Scaled so that independent rows have their variance everywhere.
    """
    count, height = row_means.shape
    power = np.square(np.abs(np.fft.rfft(row_means, axis=1))).sum(axis=0) / (height * max(count - 1, 1))
    frequency = np.fft.rfftfreq(height)
    width = max(len(power) // 100, 1)
    ends = len(power) // width * width
    means = [values[:ends].reshape(-1, width).mean(axis=1) for values in (frequency[: len(power)], power)]
    return means[0][1:], means[1][1:]


def _plain(*many: Any) -> None:
    """Take away what is no data."""
    for axes in many:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)

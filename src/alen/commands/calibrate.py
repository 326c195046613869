"""`alen calibrate`: measure the noise of a camera."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from alen.commands.console import OK, Flag, Progress, print_table

if TYPE_CHECKING:
    from alen.camera_file import CameraFile, IsoCalibration, Measured
    from alen.raw import RawHeader

_Frames = Parameter(consume_multiple=True, negative=(), json_list=False)
"""Of an option that takes all files up to the next option."""


def calibrate(
    *,
    dark: Annotated[list[Path], _Frames],
    flat: Annotated[list[Path], _Frames],
    output: Annotated[Path, Parameter(name=("--output", "-o"))],
    plots: Path | None = None,
    iso: float | None = None,
    force: Annotated[bool, Flag] = False,
) -> int:
    """Measure the noise of a camera at one ISO speed, from dark and flat frames.

    Gain, read noise and its distribution, row noise, black level and its
    drift, hot pixels, with 95 % intervals. You say which frames are which: by
    their brightness, flats of a night scene could be taken for darks.

    Args:
        dark: RAW files taken with the lens cap on, or folders of them: two or more, better ten.
        flat: RAW files of an evenly lit wall at several exposures, two or more of each, or a burst of one still scene;
            or folders of them.
        output: The calibration, JSON. If it exists already, this ISO speed is added to it.
        plots: Folder for pictures of the measurement; needs matplotlib.
        iso: ISO speed, where the files do not tell it.
        force: Replace this ISO speed if the calibration has it.
    """
    from alen.batch import raw_files_of
    from alen.calibrate import calibrate as measure
    from alen.camera_file import read_camera, write_camera
    from alen.errors import CalibrationError
    from alen.raw import read_header

    if not output.absolute().parent.is_dir():
        raise CalibrationError(f"{output}: the folder for the calibration does not exist. Make it, or choose another.")
    before = read_camera(output) if output.exists() else None
    darks, flats = raw_files_of(dark, "--dark"), raw_files_of(flat, "--flat")
    if before is not None:
        _refuse_known(before, read_header(darks[0]), iso, force=force)
    with Progress(len(darks) + len(flats), "frames") as progress:
        calibration = measure(darks, flats, iso=iso, progress=progress.advance)
    camera = calibration.camera if before is None else before.merged(calibration.camera, replace=force)
    write_camera(output, camera)
    print_table(f"{camera.camera}, ISO {calibration.iso.iso:g}", _rows(calibration.iso))
    for note in calibration.iso.notes:
        print(f"  note: {note}")
    speeds = ", ".join(f"{entry.iso:g}" for entry in camera.isos)
    print(f"{output}: the calibration, ISO {speeds}. Train for it with: alen train camera --camera {output} ...")
    if plots is not None:
        if find_spec("matplotlib") is None:
            print("No plots: they need matplotlib, which is not installed. Install it with: pip install 'alen[plots]'")
        else:
            from alen.calibration_plots import draw_plots

            print("plots: " + ", ".join(str(path) for path in draw_plots(calibration, plots)))
    return OK


def _refuse_known(before: CameraFile, first: RawHeader, iso: float | None, *, force: bool) -> None:
    """Raise CalibrationError before the work if the file is of another camera, or has the ISO speed already."""
    from alen.errors import CalibrationError

    if first.camera != before.camera:
        raise CalibrationError(
            f"The calibration is of another camera: it is {before.camera}, but {first.camera} in the new frames. Write "
            "these into a file of their own."
        )
    speed = first.iso if iso is None else iso
    if speed in [entry.iso for entry in before.isos] and not force:
        raise CalibrationError(
            f"ISO {speed:g} is calibrated already. Replace it with --force, or write another file with -o."
        )


def _rows(iso: IsoCalibration) -> list[tuple[str, str]]:
    """Return the rows of the table of a calibration."""
    means = zip(("R", "Gr", "Gb", "B"), iso.dark_mean_dn, strict=True)
    exposures = f"{iso.flat_exposures} exposure{'s' * (iso.flat_exposures != 1)}"
    shape = "hidden by the rounding to whole DN"
    if iso.read_lambda is not None and iso.ppcc_tukey is not None and iso.ppcc_gaussian is not None:
        better = "fits better than" if iso.ppcc_tukey > iso.ppcc_gaussian else "fits no better than"
        shape = f"{_range(iso.read_lambda)}, {better} a Gaussian (PPCC {iso.ppcc_tukey:.6f}, {iso.ppcc_gaussian:.6f})"
    return [
        ("frames", f"{iso.dark_frames} darks, {iso.flat_frames} flats of {exposures}"),
        ("gain K", f"{_range(iso.gain_dn_per_e)} DN per electron"),
        ("read noise", f"{_range(iso.read_sigma_dn)} DN; {_range(iso.read_sigma_e)} e⁻"),
        ("with row noise and rounding", f"{_range(iso.dark_sigma_dn)} DN"),
        ("its Tukey lambda", shape),
        ("row noise", f"{_range(iso.row_sigma_dn)} DN; {_range(iso.row_sigma_e)} e⁻"),
        ("black level", ", ".join(f"{name} {mean.value:.2f}" for name, mean in means) + " DN"),
        ("that of the files", ", ".join(f"{level:g}" for level in iso.file_black_level_dn) + " DN"),
        (
            "drift between frames",
            f"{_range(iso.frame_drift_sigma_dn)} DN; of its variance {iso.frame_drift_color_share:.0%} by color",
        ),
        ("fixed pattern", f"{iso.fixed_pattern_sigma_dn:.3g} DN"),
        ("hot pixels", f"{iso.hot_pixels:,} above {iso.hot_threshold_dn:.3g} DN"),
    ]


def _range(measured: Measured) -> str:
    """Return a value with its interval."""
    return f"{measured.value:.3g} ({measured.low:.3g} to {measured.high:.3g})"

"""The command line: parse, call the library, report. Slow imports wait for the command that needs them.

Exit codes: 0 all done, 1 something failed (the rest is done), 2 wrong usage, 130 interrupted. Wrong usage is what would
be wrong on every computer: errors of the parser and `SettingsError`; all others depend on what is there. Results go to
standard output, errors and progress to standard error.
"""

from __future__ import annotations

import atexit
import gc
import io
import json
import math
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from cyclopts import App, CoercionError, CycloptsError, CycloptsPanel, MissingArgumentError, Parameter, Token

from alen import __version__
from alen.commands.calibrate import calibrate
from alen.commands.console import FAILED, INTERRUPTED, OK, WRONG_USAGE, Flag, Progress, complain, print_table, waiting
from alen.commands.convert import convert
from alen.commands.data import data
from alen.commands.doctor import doctor
from alen.commands.evaluate import evaluate
from alen.commands.export import export
from alen.commands.serve import serve
from alen.commands.train import train
from alen.errors import AlenError, NotRawError, SettingsError

if TYPE_CHECKING:
    from alen.batch import Done
    from alen.black_level import Levels
    from alen.raw import RawImage
    from alen.weights import Weights

_ORIENTATIONS: Final = {
    1: "upright",
    2: "mirrored",
    3: "turned by 180°",
    4: "mirrored, turned by 180°",
    5: "mirrored, to be turned clockwise",
    6: "to be turned clockwise",
    7: "mirrored, to be turned counterclockwise",
    8: "to be turned counterclockwise",
}
"""EXIF orientation in words."""

_LEAST_SIGNAL: Final = 2.0
_SHOT_SHARE: Final = 0.5
"""For a gain to be told by a frame, where it is bright: signal in deviations without light, and the variance of photons
in that without light."""

_NEEDED: Final[dict[object, str]] = {
    float: "a number is needed",
    int: "a whole number is needed",
    bool: "it takes no value",
}
"""What an option takes, by its type, in words."""

app = App(
    name="alen",
    version=__version__,
    help="From an almost black RAW photograph to a finished picture.",
    help_format="plaintext",
    suppress_keyboard_interrupt=False,  # main tells of it
    usage="Usage: alen COMMAND",
    help_epilogue="First steps:\n\n"
    "  alen sample night.dng          make a dark RAW file to try things with\n"
    "  alen enhance night.dng         make a picture of it: night.alen.jpg\n"
    "  alen enhance --help            see what else it can do",
)

app.command(evaluate)
app.command(train)
app.command(
    convert,
    usage="Usage: alen convert STATE_DICT -o WEIGHTS --plane-order ORDER [OPTIONS]",
    help_epilogue="Examples:\n\n"
    "  alen convert checkpoint_sony.pth -o sid.safetensors --network sid-unet --plane-order sid\n"
    "  alen convert model.npz -o sid.safetensors --network sid-unet --plane-order sid",
)
app.command(
    calibrate,
    usage="Usage: alen calibrate --dark DARK... --flat FLAT... -o CAMERA.json [OPTIONS]",
    help_epilogue="Examples:\n\n"
    "  alen calibrate --dark darks/ --flat flats/ -o camera.json --plots plots/\n"
    "  alen calibrate --dark dark*.arw --flat wall*.arw -o camera.json\n"
    "  alen calibrate --dark iso3200/darks/ --flat iso3200/flats/ -o camera.json\n\n"
    "The last adds another ISO speed to the file. Then:\n\n"
    "  alen train camera --photos photographs/ --out runs/mine --camera camera.json --init alen",
)
app.command(data)
app.command(
    export,
    usage="Usage: alen export -o FILE.onnx [OPTIONS]",
    help_epilogue="Examples:\n\n"
    "  alen export -o alen.onnx\n"
    "  alen export -o mine.onnx --model runs/first/weights.safetensors",
)
app.command(
    serve,
    usage="Usage: alen serve [OPTIONS]",
    help_epilogue="Examples:\n\n  alen serve --open\n  alen serve --host 0.0.0.0 --port 8000 --max-memory 4",
)
app.command(
    doctor,
    usage="Usage: alen doctor [OPTIONS]",
    help_epilogue="Examples:\n\n  alen doctor\n  alen doctor --precision float32\n  alen doctor --json",
)


def _auto_or_number(_: object, tokens: Sequence[Token]) -> Literal["auto"] | float:
    """Return the value of --ratio."""
    from alen.levels import MAX_RATIO

    (token,) = tokens
    if token.value == "auto":
        return "auto"
    try:
        return float(token.value)
    except ValueError:
        raise ValueError(f'"auto" or a number from 1 to {MAX_RATIO:g} is needed; got "{token.value}".') from None


_Files = Annotated[list[Path], Parameter(name="FILE", negative=(), json_list=False)]  # "[1].dng" is a file


@app.command(
    usage="Usage: alen enhance FILE... [OPTIONS]",
    help_epilogue="Examples:\n\n"
    "  alen enhance night.arw\n"
    "  alen enhance night.arw -o night.jpg --ratio 100 --ev 0.5 --compare\n"
    "  alen enhance night.arw --look natural\n"
    "  alen enhance night.arw -o night.tif --linear\n"
    "  alen enhance card/ -o pictures/ --format png\n"
    "  alen enhance night.arw --dng\n"
    "  alen enhance night.arw --dark darks/\n"
    "  alen enhance best.arw --ensemble 8",
)
def enhance(
    files: _Files,
    /,
    *,
    output: Annotated[str | None, Parameter(name=("--output", "-o"))] = None,
    ratio: Annotated[Literal["auto"] | float, Parameter(show_choices=False, converter=_auto_or_number)] = "auto",
    look: Literal["natural", "bright"] | None = None,
    ev: float = 0.0,
    linear: Annotated[bool, Flag] = False,
    picture_format: Annotated[Literal["jpg", "png", "tif", "dng"] | None, Parameter(name="--format")] = None,
    quality: int = 95,
    model: str = "alen",
    device: str = "CPU",
    precision: Literal["auto", "bfloat16", "float32"] = "auto",
    threads: int | None = None,
    max_memory: float | None = None,
    force: Annotated[bool, Flag] = False,
    compare: Annotated[bool, Flag] = False,
    ratios: Annotated[bool, Flag] = False,
    dng: Annotated[bool, Flag] = False,
    dark: Annotated[list[Path] | None, Parameter(consume_multiple=True, negative=(), json_list=False)] = None,
    keep_hot_pixels: Annotated[bool, Flag] = False,
    keep_distortion: Annotated[bool, Flag] = False,
    ensemble: Literal[1, 2, 4, 8] = 1,
) -> int:
    """Turn dark RAW files into finished pictures.

    Every picture is upright, in sRGB, and keeps the EXIF of its RAW file
    (with --linear: in sensor orientation and the camera's own colors).
    A file that cannot be used is reported, and the others are done.

    Args:
        files: RAW files, or folders: then all RAW files in them.
        output: A folder (ending with a slash, existing, or for several files), or the picture's name, whose suffix
            tells its format. Without it, NAME.alen.jpg beside each RAW file.
        ratio: By how much the frame was exposed too short, 1 to 300; "auto" estimates it from the frame.
        look: What "auto" aims at: bright, as by day (the default); or natural, as photographers expose, so that nights
            stay nights. Not beside a given ratio.
        ev: Brighter (above 0) or darker than that, in stops.
        linear: Write scene-linear camera RGB instead: 32-bit float TIFF, white-balanced, unclipped, not turned.
        picture_format: jpg (8 bit), png or tif (16 bit), or dng (linear, 16 bit: to develop in other programs), where
            no suffix tells it; jpg by default.
        quality: Of JPEG files, 1 to 100.
        model: Name of shipped weights (see "alen models"), or a weights file. X-Trans files take alen-xtrans in place
            of other shipped weights.
        device: Where to compute: a device of OpenVINO (CPU, GPU), or of torch: cuda, cuda:N, mps, torch (torch on the
            processor). "alen doctor" lists those that are there.
        precision: Arithmetic of the network; "auto" takes bfloat16 where the device computes in it.
        threads: Processor cores that the network computes on; by default all. On "torch", torch's threads.
        max_memory: Gigabytes; frames that would need more are refused before they are begun. "alen doctor" tells what
            frames need.
        force: Replace existing files.
        compare: Write NAME.compare.jpg, too: as shot, merely brightened and enhanced, side by side.
        ratios: Write NAME.ratios.jpg, too: the picture at exposure ratios from a quarter to four times its own.
        dng: Write NAME.alen.dng, too: the linear DNG of --format dng, from one run of the network.
        dark: RAW files of the same camera and settings taken with the lens cap on, or folders of them, to take fixed
            patterns and hot pixels off; named after the files to enhance.
        keep_hot_pixels: Leave single pixels that no light explains as they are; by default they are replaced. Those
            that a DNG lists as defective are replaced always.
        keep_distortion: Leave lines bent as the lens bends them; by default DNGs that say how are straightened.
        ensemble: Make the mean of pictures of the frame in so many orientations, each of which takes as long as one:
            less is lost, and less noise is left.
    """
    from alen.batch import Failed, PictureSettings, enhance_files, plan, raw_files_of
    from alen.dark_frames import read_dark_frames
    from alen.enhance import Enhancer

    darks = [] if dark is None else raw_files_of(dark, "--dark")
    settings = PictureSettings(
        ratio=None if ratio == "auto" else ratio,
        look=look,
        exposure_ev=ev,
        linear=linear,
        quality=quality,
        compare=compare,
        ratios=ratios,
        dng=dng,
        overwrite=force,
        dark=read_dark_frames(darks) if darks else None,
    )
    jobs = plan(files, output=output, picture_format=picture_format, linear=linear, dng=dng, darks=darks)
    if max_memory is not None and not math.isfinite(max_memory):
        raise SettingsError(
            f"The largest memory is a number of gigabytes; got {max_memory:g}. Leave it out for no limit."
        )
    max_memory_bytes = None if max_memory is None else int(max_memory * 1e9)
    enhancer = Enhancer(
        model,
        device=device,
        precision=precision,
        threads=threads,
        max_memory_bytes=max_memory_bytes,
        repair=not keep_hot_pixels,
        undistort=not keep_distortion,
        ensemble=ensemble,
    )
    failures = 0
    start = time.perf_counter()
    with Progress(len(jobs), "pictures", is_long=True) as progress:
        for number, outcome in enumerate(enhance_files(jobs, enhancer, settings, progress.share), start=1):
            if isinstance(outcome, Failed):
                failures += 1
                complain(_located(outcome.source, outcome.error))
            else:
                print((f"[{number}/{len(jobs)}] " if len(jobs) > 1 else "") + _line(outcome), flush=True)
                for warning in outcome.warnings:
                    print(f"  warning: {warning}")
            progress.advance()
    if len(jobs) > 1:
        seconds = time.perf_counter() - start
        print(
            f"{len(jobs) - failures} of {len(jobs)} pictures in {seconds:.1f} s"
            + f", {failures} failed" * (failures > 0)
        )
    return FAILED if failures else OK


@app.command(
    usage="Usage: alen sample OUT.dng [OPTIONS]",
    help_epilogue="Examples:\n\n"
    "  alen sample night.dng --ratio 250\n"
    "  alen sample fuji.dng --cfa xtrans\n"
    "  alen enhance night.dng --ratio 250 --compare",
)
def sample(
    out: Annotated[Path, Parameter(name="OUT")],
    /,
    *,
    ratio: float = 100.0,
    iso: float = 800.0,
    seed: int = 0,
    cfa: Literal["bayer", "xtrans"] = "bayer",
    force: Annotated[bool, Flag] = False,
) -> int:
    """Make an extremely dark RAW file, with its bright reference, to try things with.

    The scene is rendered by the program, the noise is that of a measured camera.

    Args:
        out: The DNG; its reference, NAME.reference.png, goes beside it.
        ratio: How many times too short the exposure is, 1 to 1000.
        iso: ISO speed, 100 to 25600; the higher, the less light is left.
        seed: Another number makes another scene and other noise.
        cfa: The sensor's filter array: Bayer, or Fuji's X-Trans.
        force: Replace existing files.
    """
    from alen.cfa import CFA
    from alen.sample import make_sample

    array = CFA.bayer("RGGB") if cfa == "bayer" else CFA.xtrans()
    with waiting("Rendering the scene ..."):
        paths = make_sample(out, ratio=ratio, iso=iso, seed=seed, cfa=array, force=force)
    print(f"{paths.raw}: dark RAW file, {ratio:g} × too short, ISO {iso:g}")
    print(f"{paths.reference}: what it would show with enough light")
    return OK


@app.command(
    usage="Usage: alen info FILE... [OPTIONS]",
    help_epilogue="Examples:\n\n  alen info night.arw\n  alen info card/ --json",
)
def info(
    files: _Files, /, *, as_json: Annotated[bool, Parameter(name="--json", negative=(), show_default=False)] = False
) -> int:
    """Show what RAW files say: camera, levels, colors, exposure, and how dark they are.

    Args:
        files: RAW files, or folders: then all RAW files in them.
        as_json: Print a JSON array instead of tables, one object per file.
    """
    from alen.batch import find_raw_files, is_folder, no_raw_file_in
    from alen.raw import read_raw

    found: list[dict[str, Any]] = []
    failures = 0
    for file in find_raw_files(files):
        try:
            if is_folder(file):
                raise NotRawError(no_raw_file_in(file))
            facts = {"file": str(file), **_facts(read_raw(file))}
        except AlenError as error:
            failures += 1
            complain(_located(file, error))
            found.append({"file": str(file), "error": str(error)})
            continue
        found.append(facts)
        if not as_json:
            print_table(str(file), _readable(facts))
    if as_json:
        print(json.dumps(found, indent=2))
    return FAILED if failures else OK


@app.command(
    usage="Usage: alen models [MODEL]...",
    help_epilogue="Examples:\n\n  alen models\n  alen models runs/first/weights.safetensors",
)
def models(names: Annotated[list[str] | None, Parameter(name="MODEL", negative=(), json_list=False)] = None, /) -> int:
    """Show what weights are: size, training, licence, scores.

    Args:
        names: Names of shipped weights, or weights files; without any, all that ship.
    """
    from alen.weights import find_weights, load_weights, shipped_names

    chosen = names or shipped_names()
    if not chosen:
        print("No weights ship with this installation. Name a file with --model.")
    for name in chosen:
        weights = load_weights(find_weights(name))
        print_table(weights.name, _card(weights))
    return OK


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Args:
        arguments: What follows the program's name; None takes what the process was started with.
    """
    if arguments is None:  # OpenVINO takes longer to import its model converter, and telemetry, than all the rest
        sys.modules.setdefault("openvino.tools.ovc", None)  # type: ignore[arg-type]
        atexit.register(gc.freeze)  # else all that was imported is searched for cycles as the process ends: 0.05 s
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # whoever started us has closed it; Windows does without a console
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 - for all the process
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without "→" or "×" shows "?" instead
    given = sys.argv[1:] if arguments is None else arguments
    try:
        if "" in given:
            raise SettingsError("An argument is empty; perhaps a variable of the shell has no value.")
        code = app(
            given,
            exit_on_error=False,
            print_error=False,
            result_action="return_value",
        )
    except CycloptsError as error:
        _complain_of_usage(error)
        if isinstance(error, MissingArgumentError) and given[0] == "enhance" and "--dark" in given:
            print("Name the files to enhance before --dark, which takes all that follows.", file=sys.stderr)
        return WRONG_USAGE
    except SettingsError as error:
        complain(str(error))
        return WRONG_USAGE
    except AlenError as error:
        complain(str(error))
        return FAILED
    except OSError as error:
        complain(f"{error.filename}: {error.strerror}" if error.filename else str(error))
        return FAILED
    except KeyboardInterrupt:
        complain("interrupted")
        return INTERRUPTED
    return code if isinstance(code, int) else OK


def _complain_of_usage(error: CycloptsError) -> None:
    """Print what is wrong with the arguments, without names of Python's types."""
    from rich.console import Console

    if isinstance(error, CoercionError) and error.msg is None and error.token is not None:
        needed = _NEEDED.get(error.target_type)
        if needed is not None:
            error.msg = f'{needed}; got "{error.token.value}".'
    Console(stderr=True).print(CycloptsPanel(error))


def _located(file: Path, error: AlenError) -> str:
    """Return the message of an error with the whole path of the file, of which some tell the name alone."""
    message = str(error)
    if message.startswith(str(file)):
        return message
    return str(file) + message.removeprefix(file.name) if message.startswith(f"{file.name}:") else f"{file}: {message}"


def _line(done: Done) -> str:
    """Return what became of a file, in one line."""
    ratio = f"ratio {done.ratio:.3g} ({'estimated' if done.ratio_is_estimated else 'given'})"
    seconds = ", ".join(f"{part} {value:.2f} s" for part, value in done.seconds.items())
    beside = {"linear DNG": done.linear_dng, "comparison": done.comparison, "other ratios": done.ratio_sheet}
    others = "".join(f"; {what} {path}" for what, path in beside.items() if path is not None)
    return f"{done.source} → {done.target}  {done.size_px[0]} × {done.size_px[1]}, {ratio}, {seconds}{others}"


def _facts(raw: RawImage) -> dict[str, Any]:
    """Return what a RAW image says, as plain data."""
    from alen.black_level import proven_black_level
    from alen.levels import estimate_ratio, normalize
    from alen.trained_range import out_of_range

    height, width = raw.mosaic.shape
    black = proven_black_level(raw.mosaic, raw.cfa, raw.black_level)
    ratio = estimate_ratio(normalize(raw.mosaic, raw.cfa, black, raw.white_level), raw.cfa, raw.white_balance)
    return {
        "camera": raw.camera,
        "width_px": width,
        "height_px": height,
        "cfa": raw.cfa.name,
        "black_level_dn": list(raw.black_level),
        "used_black_level_dn": list(black),
        "white_level_dn": raw.white_level,
        "white_balance": list(raw.white_balance),
        "cam2rgb": [list(row) for row in raw.cam2rgb],
        "iso": raw.iso,
        "exposure_time_s": raw.exposure_time_s,
        "aperture": raw.aperture,
        "orientation": raw.orientation,
        "lens_shading_stops": None if raw.lens_shading is None else raw.lens_shading.largest_stops,
        "lens_distortion_percent": None
        if raw.lens_distortion is None
        else 100 * raw.lens_distortion.largest_shift(height, width),
        "estimated_ratio": ratio,
        **_noise(raw, black),
        "warnings": [*raw.warnings, *out_of_range(raw, ratio, black, ratio_is_estimated=True)],
    }


def _noise(raw: RawImage, black: Levels) -> dict[str, float | None]:
    """Return what the frame tells of its noise: system gain, and standard deviation without light."""
    import numpy as np

    from alen.cfa import pack_any, reference
    from alen.engines import PlanesArray
    from alen.levels import normalize
    from alen.noise_level import estimate_noise_level
    from alen.tiling import Padding

    height, width = raw.mosaic.shape
    padding = Padding.to_reference(height, width, raw.cfa, raw.cfa.size)
    cfa = reference(raw.cfa.kind)
    planes = pack_any(normalize(padding.pad(raw.mosaic), cfa, black, raw.white_level), cfa)
    level = estimate_noise_level(PlanesArray(planes), np.ones(len(planes), dtype=np.float32))
    range_dn = (raw.white_level - sum(black) / len(black)) / raw.scale
    bright = float(np.percentile(planes.mean(axis=2), 98))  # of rows: noise averages out
    has_light = (
        level is not None
        and bright > _LEAST_SIGNAL * math.sqrt(level.read_variance)
        and level.gain * bright > _SHOT_SHARE * level.read_variance
    )
    return {
        "estimated_gain_dn_per_e": level.gain * range_dn if level is not None and has_light else None,
        "estimated_read_noise_dn": None if level is None else math.sqrt(level.read_variance) * range_dn,
    }


def _readable(facts: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the rows of the table of a RAW image."""
    width, height = facts["width_px"], facts["height_px"]
    rows = [
        ("camera", facts["camera"]),
        ("size", f"{width} × {height}, {width * height / 1e6:.1f} megapixels"),
        ("filter array", facts["cfa"]),
        ("black level R, Gr, Gb, B", ", ".join(f"{value:g}" for value in facts["black_level_dn"])),
        *_used_black_level(facts),
        ("white level", f"{facts['white_level_dn']:g}"),
        ("white balance R, G, B", ", ".join(f"{value:.3g}" for value in facts["white_balance"])),
        ("exposure", _exposure(facts["exposure_time_s"], facts["aperture"], facts["iso"])),
        ("orientation", _ORIENTATIONS[facts["orientation"]]),
        *_lens(facts["lens_shading_stops"], facts["lens_distortion_percent"]),
        ("estimated ratio", f"{facts['estimated_ratio']:.3g}"),
        ("estimated noise", _noise_in_words(facts["estimated_gain_dn_per_e"], facts["estimated_read_noise_dn"])),
    ]
    return rows + [("warning", warning) for warning in facts["warnings"]]


def _used_black_level(facts: dict[str, Any]) -> list[tuple[str, str]]:
    """Return a row if it is not the file's."""
    used = facts["used_black_level_dn"]
    if used == facts["black_level_dn"]:
        return []
    return [("black level used", ", ".join(f"{value:.2f}" for value in used))]


def _lens(stops: float | None, percent: float | None) -> list[tuple[str, str]]:
    """Return a row for each thing the file says of its lens."""
    rows: list[tuple[str, str]] = []
    if stops is not None:
        rows.append(("lens shading", f"corrected in pictures, by up to {stops:.2g} stops"))
    if percent is not None:
        rows.append(("lens distortion", f"corrected in pictures, by up to {percent:.2g} % of half the diagonal"))
    return rows


def _noise_in_words(gain: float | None, read_noise: float | None) -> str:
    """Return the noise of a frame as calibrations state it."""
    if read_noise is None:
        return "cannot be told"
    per_electron = "too dark to tell DN per electron" if gain is None else f"{gain:.3g} DN per electron"
    return f"{per_electron}, {read_noise:.3g} DN without light"


def _exposure(time_s: float | None, aperture: float | None, iso: float | None) -> str:
    """Return an exposure as photographers write it."""
    parts: list[str] = []
    if time_s is not None:
        parts.append(f"1/{1 / time_s:.0f} s" if time_s < 0.3 else f"{time_s:g} s")
    if aperture is not None:
        parts.append(f"f/{aperture:g}")
    if iso is not None:
        parts.append(f"ISO {iso:g}")
    return ", ".join(parts) or "unknown"


def _card(weights: Weights) -> list[tuple[str, str]]:
    """Return the rows of a model card."""
    facts = weights.facts
    rows = [
        ("digest", weights.digest),
        ("network", f"{type(weights.config).__name__.removesuffix('Config')}, output {weights.config.target}"),
        ("parameters", f"{weights.parameters:,}"),
        ("trained on", facts.data),
        ("photographs", f"{facts.photographs:,}"),
        ("steps", f"{facts.steps:,}"),
        ("licence", facts.licence),
    ]
    optional = {"hardware": facts.hardware, "command": facts.command, "limits": facts.limits}
    rows += [(name, text) for name, text in optional.items() if text]
    if facts.first_losses:
        rows.append(("first losses", ", ".join(f"{loss:.4f}" for loss in facts.first_losses)))
    for ratio, score in facts.scores.items():
        text = str(score)
        if isinstance(score, dict):
            text = f"{score.get('psnr_db', float('nan')):.2f} dB, SSIM {score.get('ssim', float('nan')):.3f}"
        rows.append((f"score at {ratio.replace('x', '× ')}", text))
    return rows


if __name__ == "__main__":
    sys.exit(main())

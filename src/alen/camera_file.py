"""camera.json: the noise of one camera as `alen calibrate` measured it, at one ISO speed or several.

JSON with a format number, one object per ISO speed. Key names carry their units: ``_dn`` digital numbers, ``_e``
electrons, ``_s`` seconds. What was measured is an object of ``value``, ``low`` and ``high``, the last two being a 95 %
confidence interval. The reader takes exactly these keys, types and ranges, so a file that it accepts can be trained on.
"""

from __future__ import annotations

import json
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from alen.cameras import MeasuredCamera, MeasuredNoise
from alen.cfa import CFA
from alen.errors import CalibrationError, SettingsError
from alen.replacing import replacing

FORMAT: Final = 1
"""Version of the file."""

_KIND: Final = "alen camera calibration"
"""What the file says it is, so that another JSON file is not taken for one."""

_MAX_BYTES: Final = 16_000_000
"""Longest file that is read; a calibration has some ten kilobytes per ISO speed."""

_DEVIATIONS_95: Final = 1.96
"""Standard deviations from the middle to the end of a 95 % interval."""


@dataclass(frozen=True)
class Measured:
    """A measured value with its 95 % confidence interval."""

    value: float
    low: float
    high: float

    def __post_init__(self) -> None:
        """Raise SettingsError unless the value lies within its interval."""
        if not self.low <= self.value <= self.high:
            raise SettingsError(f"A value lies within its interval; got {self.value} in {self.low} to {self.high}.")

    @property
    def relative_error(self) -> float:
        """Standard error as a share of the value, from the width of the interval; 0 for a value of 0."""
        return (self.high - self.low) / (2 * _DEVIATIONS_95 * abs(self.value)) if self.value else 0.0


@dataclass(frozen=True)
class HotPixel:
    """A pixel that is bright without light; counted from the top left of the visible area, sensor orientation."""

    row: int
    column: int
    excess_dn: float


@dataclass(frozen=True, kw_only=True)
class IsoCalibration:
    """The noise at one ISO speed. Quantities per CFA color are R, Gr, Gb, B."""

    iso: float
    """ISO speed of all frames."""
    bit_depth: int
    """Bits that the white level needs."""
    file_black_level_dn: tuple[float, float, float, float]
    """Black level that the files tell (mean over the darks, should it vary)."""
    white_level_dn: float
    """White level that the files tell."""
    dark_frames: int
    """Number of dark frames."""
    dark_exposures_s: tuple[float, ...]
    """Their exposure times, each once."""
    flat_frames: int
    """Number of flat frames that were used."""
    flat_exposures: int
    """Number of exposures that they are of."""
    gain_dn_per_e: Measured
    """System gain K: digital numbers per electron."""
    read_sigma_dn: Measured
    """Standard deviation of the read noise of a pixel, without row noise and quantization."""
    read_sigma_e: Measured
    """The same in electrons."""
    dark_sigma_dn: Measured
    """Standard deviation of a pixel in the dark over time, with row noise and quantization."""
    read_lambda: Measured | None
    """Shape of the read noise: Tukey's lambda (0.14 is nearly a Gaussian, less has heavier tails); None if the
    rounding to whole DN hides it."""
    read_tukey_scale_dn: float | None
    """Scale of the Tukey-lambda distribution, as scipy's ``tukeylambda`` takes it; its standard deviation is
    ``read_sigma_dn``."""
    ppcc_tukey: float | None
    """Probability plot correlation coefficient of the darks with that distribution; 1 is a perfect fit."""
    ppcc_gaussian: float | None
    """The same with a Gaussian."""
    row_sigma_dn: Measured
    """Standard deviation of the offset that the pixels of a row have in common, from frame to frame; without what
    whole frames have in common."""
    row_sigma_e: Measured
    """The same in electrons."""
    dark_mean_dn: tuple[Measured, Measured, Measured, Measured]
    """True black level: mean of the darks per color."""
    dark_offset_dn: tuple[float, float, float, float]
    """True black level less the file's."""
    frame_drift_sigma_dn: Measured
    """Standard deviation, from frame to frame, of the mean of a color against the file's black level."""
    frame_drift_color_share: float
    """Share of the drift's variance that each color has for itself, 0 to 1; the rest is common to all four."""
    fixed_pattern_sigma_dn: float
    """Standard deviation from pixel to pixel of what all darks have in common, without hot pixels and shading."""
    hot_pixels: int
    """Number of hot pixels."""
    hot_threshold_dn: float
    """What a pixel exceeds its neighborhood by to be counted."""
    hot_listed: tuple[HotPixel, ...]
    """Where they are: the brightest, at most 1,000."""
    curve_level_dn: tuple[float, ...]
    """Photon-transfer curve: mean above black of every point."""
    curve_variance_dn2: tuple[float, ...]
    """Photon-transfer curve: variance over time of every point."""
    notes: tuple[str, ...]
    """What is to be known about the frames, one sentence each."""
    program: str
    """Program and version that measured it."""

    def __post_init__(self) -> None:
        """Raise SettingsError on values that no camera has."""
        if not (self.iso > 0 and self.gain_dn_per_e.low > 0 and self.read_sigma_dn.low >= 0):
            raise SettingsError("ISO speed and gain are above 0, read noise is at least 0.")
        if not (self.row_sigma_dn.low >= 0 and self.frame_drift_sigma_dn.low >= 0):
            raise SettingsError("Row noise and drift are at least 0.")
        if not 0 <= self.frame_drift_color_share <= 1:
            raise SettingsError(f"frame_drift_color_share is 0 to 1; got {self.frame_drift_color_share}.")
        if not all(0 <= black < self.white_level_dn <= 65535 for black in self.file_black_level_dn):
            raise SettingsError("Levels are 0 <= black < white <= 65535.")
        if len(self.curve_level_dn) != len(self.curve_variance_dn2):
            raise SettingsError("The photon-transfer curve has a variance for every level.")
        self.noise()

    def noise(self) -> MeasuredNoise:
        """Return what training needs of it."""
        shape = self.read_lambda
        r, gr, gb, b = self.dark_offset_dn
        return MeasuredNoise(
            iso=self.iso,
            gain=self.gain_dn_per_e.value,
            gain_error=self.gain_dn_per_e.relative_error,
            read_sigma_dn=self.read_sigma_dn.value,
            read_error=self.read_sigma_dn.relative_error,
            read_lambda=None if shape is None else (shape.low, shape.high),
            row_sigma_dn=self.row_sigma_dn.value,
            row_error=self.row_sigma_dn.relative_error,
            black_offset_dn=(r, gr, gb, b),
            drift_sigma_dn=self.frame_drift_sigma_dn.value,
            drift_color_share=self.frame_drift_color_share,
            black_level_dn=sum(self.file_black_level_dn) / 4,
            white_level_dn=int(self.white_level_dn),
        )


@dataclass(frozen=True, kw_only=True)
class CameraFile:
    """A camera with its calibrations."""

    camera: str
    """Maker and model, as the files tell."""
    cfa: str
    """Filter array of the visible area, its rows joined, such as "RGGB"."""
    height_px: int
    """Rows of the visible area."""
    width_px: int
    """Columns of the visible area."""
    isos: tuple[IsoCalibration, ...]
    """The calibrations by rising ISO speed."""

    def __post_init__(self) -> None:
        """Raise SettingsError unless there are calibrations of rising ISO speed."""
        speeds = [calibration.iso for calibration in self.isos]
        if not speeds or any(a >= b for a, b in pairwise(speeds)):
            raise SettingsError(f"A camera has calibrations of rising ISO speed; got {speeds}.")
        rows = {4: 2, 36: 6}.get(len(self.cfa), 1)
        CFA(tuple(self.cfa[rows * y : rows * (y + 1)] for y in range(rows)))

    @property
    def noise(self) -> MeasuredCamera:
        """What training needs of it."""
        return MeasuredCamera(name=self.camera, noises=tuple(calibration.noise() for calibration in self.isos))

    def merged(self, other: CameraFile, *, replace: bool = False) -> CameraFile:
        """Return this camera with the calibrations of another file of it added.

        Raises:
            CalibrationError: It is another camera, or an ISO speed is there already and ``replace`` is False.
        """
        for what, ours, theirs in (
            ("the camera", self.camera, other.camera),
            ("the filter array", self.cfa, other.cfa),
            ("the size", f"{self.width_px} × {self.height_px}", f"{other.width_px} × {other.height_px}"),
        ):
            if ours != theirs:
                raise CalibrationError(
                    f"The calibration is of another camera: {what} is {ours}, but {theirs} in the new frames. Write "
                    "these into a file of their own."
                )
        isos = {calibration.iso: calibration for calibration in self.isos}
        for calibration in other.isos:
            if calibration.iso in isos and not replace:
                raise CalibrationError(
                    f"ISO {calibration.iso:g} is calibrated already. Replace it with --force, or write another file."
                )
            isos[calibration.iso] = calibration
        return CameraFile(
            camera=self.camera,
            cfa=self.cfa,
            height_px=self.height_px,
            width_px=self.width_px,
            isos=tuple(isos[iso] for iso in sorted(isos)),
        )


def write_camera(path: Path, camera: CameraFile) -> None:
    """Write a calibration, atomically: a kill leaves the old file or the new one.

    Raises:
        CalibrationError: The file cannot be written.
    """
    text = _lines({"format": FORMAT, "kind": _KIND, **asdict(camera)}, "")
    try:
        with replacing(path) as part:
            part.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise CalibrationError(f"{path}: the calibration cannot be written ({error.strerror or error}).") from error


def read_camera(path: Path) -> CameraFile:
    """Read a calibration.

    Raises:
        CalibrationError: The file is missing, no calibration, of another format, or holds what no calibration does.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise CalibrationError(f"{path}: there is no such calibration. Make one with alen calibrate.") from error
    except OSError as error:
        raise CalibrationError(f"{path}: the calibration cannot be read ({error.strerror or error}).") from error
    if len(data) > _MAX_BYTES:
        raise CalibrationError(f"{path}: is longer than any calibration; it is something else.")
    try:
        content = json.loads(data.decode("utf-8-sig"), parse_constant=_refuse_constant, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise CalibrationError(
            f"{path}: is not readable as JSON ({error}). Make it again with alen calibrate."
        ) from error
    if not isinstance(content, dict) or content.get("kind") != _KIND:
        raise CalibrationError(f"{path}: is not a calibration that alen calibrate wrote.")
    if content.get("format") != FORMAT or isinstance(content["format"], bool):
        raise CalibrationError(
            f"{path}: is of format {content.get('format')!r}; this version of alen reads {FORMAT}. Calibrate again."
        )
    content = {key: value for key, value in content.items() if key not in ("format", "kind")}
    try:
        camera = _parse(CameraFile, content, "camera")
    except SettingsError as error:
        raise CalibrationError(f"{path}: {error} Make it again with alen calibrate.") from error
    assert isinstance(camera, CameraFile)
    return camera


def _lines(value: Any, indent: str) -> str:
    """Return JSON with a line for every key, and plain lists and objects on one line."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    if not any(isinstance(item, (dict, list, tuple)) for item in inner):
        return json.dumps(value, allow_nan=False, ensure_ascii=False)
    deeper = indent + " "
    if isinstance(value, dict):
        items = [f"{json.dumps(key)}: {_lines(item, deeper)}" for key, item in value.items()]
        opening, closing = "{", "}"
    else:
        items = [_lines(item, deeper) for item in value]
        opening, closing = "[", "]"
    return f"{opening}\n{deeper}" + f",\n{deeper}".join(items) + f"\n{indent}{closing}"


def _refuse_constant(name: str) -> float:
    """Refuse NaN and Infinity, which are no JSON."""
    raise ValueError(f"{name} is no number")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object; ValueError if a key is there twice."""
    keys = [key for key, _ in pairs]
    if len(set(keys)) < len(keys):
        raise ValueError("a key is there twice")
    return dict(pairs)


def _parse(kind: Any, value: Any, where: str) -> Any:
    """Return a JSON value as a type of the classes above, whose fields it has exactly; SettingsError otherwise."""
    if is_dataclass(kind):
        return _parse_object(kind, value, where)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):  # X | None
        return None if value is None else _parse(arguments[0], value, where)
    if origin is tuple:
        if not isinstance(value, list) or (arguments[-1] is not Ellipsis and len(value) != len(arguments)):
            raise SettingsError(f"{where} is not a list of the right length.")
        return tuple(_parse(arguments[0], item, f"{where}[{index}]") for index, item in enumerate(value))
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value) if abs(value) < 2**53 else math.inf
    if not isinstance(value, kind) or isinstance(value, bool):
        raise SettingsError(f"{where} is {value!r}, not a {kind.__name__}.")
    if kind is float and not math.isfinite(value):
        raise SettingsError(f"{where} is not a finite number.")
    return value


def _parse_object(kind: Any, value: Any, where: str) -> Any:
    """Return a JSON object as a dataclass."""
    if not isinstance(value, Mapping):
        raise SettingsError(f"{where} is not an object.")
    names = [field.name for field in fields(kind)]
    wrong = sorted(set(names) ^ set(value))
    if wrong:
        raise SettingsError(f"{where} lacks or has in excess: {', '.join(wrong)}.")
    hints = typing.get_type_hints(kind)
    parsed = {name: _parse(hints[name], value[name], f"{where}.{name}") for name in names}
    try:
        return kind(**parsed)
    except SettingsError as error:
        raise SettingsError(f"{where}: {error}") from error

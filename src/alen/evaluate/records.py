"""Runs: networks over the pairs of a protocol, one record per image, written as it is made.

Records are lines of JSON. A line says all that decides about its figures, so that a run that was interrupted goes on
where it stopped, and a file can hold the records of many runs.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Final, Literal

from alen import __version__
from alen.config import AlenConfig
from alen.data.exposures import RawPair
from alen.engines import Engine, Precision, check_engine_settings
from alen.errors import AlenError, DataError, SettingsError, WeightsError
from alen.evaluate.lpips import Lpips
from alen.evaluate.pictures import (
    Exposures,
    Quantization,
    RatioOrigin,
    check_network,
    predict,
    quantize,
    read_pair,
    strip,
)
from alen.evaluate.protocols import Protocol, Selection
from alen.metrics import MS_SSIM_MIN_SIDE, ms_ssim, psnr, ssim
from alen.weights import Weights

MAX_PSNR_DB: Final = 150.0
"""What equal pictures are recorded with, whose PSNR is infinite."""

_SAMPLED_BYTES: Final = 1 << 16
"""Of each part of a file that `fingerprint` looks at."""

EngineName = Literal["auto", "openvino", "torch"]
"""What runs the networks; "auto" is OpenVINO for the attention network on Bayer mosaics, torch for the others."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a run is done, beyond its protocol."""

    quantization: Quantization | None = None
    """How both pictures are stored before they are compared; None is the protocol's: "floor8" of pictures, "none" of
    mosaics."""
    ratios: tuple[RatioOrigin, ...] = ("known", "estimated")
    """Which ratios every image is scored with."""
    engine: EngineName = "auto"
    """What runs the networks."""
    device: str = "cpu"
    """Device of the engine."""
    precision: Precision = "float32"
    """Arithmetic of the networks' layers. float32 gives the same figures on every machine; bfloat16 is what `alen
    enhance` takes where the processor computes in it."""
    threads: int | None = None
    """CPU threads; None uses all cores."""
    lpips: Path | None = None
    """Weights of LPIPS; None leaves it out."""

    def __post_init__(self) -> None:
        """Raise SettingsError unless there is at least one ratio, and each once, and an engine can be set so."""
        check_engine_settings(self.precision, self.threads)
        if not self.ratios or len(set(self.ratios)) != len(self.ratios):
            raise SettingsError(f"Ratios are known, estimated or both; got {', '.join(self.ratios) or 'none'}.")

    def quantization_for(self, protocol: Protocol) -> Quantization:
        """Return the quantization that is used under a protocol."""
        if self.quantization is not None:
            return self.quantization
        return "floor8" if protocol.domain == "picture" else "none"


@dataclass(frozen=True, kw_only=True)
class Record:
    """The figures of one network on one image, with all that decides about them."""

    protocol: str
    """Name of the protocol."""
    split: str
    """Part of the data set."""
    deviation: str
    """Empty, or how the run deviates from the protocol, such as "4 of 88 images"."""
    image: str
    """Name of the pair."""
    scene: str
    """Scene of the pair."""
    camera: str
    """Camera of the pair."""
    files: str
    """Fingerprint of the two RAW files, see `fingerprint`."""
    weights: str
    """Name of the weights."""
    digest: str
    """First 12 hexadecimal digits of the SHA-256 of their file."""
    network: str
    """"Alen" or "SidUnet"."""
    target: str
    """What the network's output means: "camera" or "srgb"."""
    ratio_origin: str
    """"known" or "estimated"."""
    ratio: float
    """Exposure ratio that was used."""
    exposure_ratio: float
    """The pair's known exposure ratio."""
    alpha: float | None
    """Factor that aligned the brightness; None where the protocol aligns none."""
    psnr_db: float
    """PSNR of the image, at most `MAX_PSNR_DB`."""
    ssim: float
    """SSIM of the image."""
    ms_ssim: float | None
    """MS-SSIM of the image; None if it is smaller than 176 pixels."""
    lpips: float | None
    """LPIPS of the image; None if it was left out."""
    lpips_digest: str | None
    """Digest of the weights of LPIPS."""
    quantization: str
    """How both pictures were stored before they were compared."""
    precision: str
    """Arithmetic of the network's layers: "float32" or "bfloat16"."""
    engine: str
    """Engine, device and precision in words."""
    height_px: int
    """Rows of what was compared."""
    width_px: int
    """Columns of what was compared."""
    seconds: float
    """Wall-clock seconds of the network and the making of its picture."""
    version: str
    """Version of this program."""

    @property
    def key(self) -> tuple[Any, ...]:
        """What makes a record the same as another: equal keys are not measured twice."""
        return _key(
            self.protocol,
            self.digest,
            self.files,
            self.ratio_origin,
            self.exposure_ratio if self.ratio_origin == "known" else None,  # where it is estimated, it decides nothing
            self.quantization,
            self.precision,
            self.lpips_digest,
        )


@dataclass(frozen=True)
class Failure:
    """An image that could not be scored."""

    image: str
    """Name of the pair."""
    message: str
    """Why."""


@dataclass(frozen=True)
class Step:
    """What became of one image, with all networks and ratios."""

    image: str
    """Name of the pair."""
    records: tuple[Record, ...]
    """Its records, those found in the file included; in the order of the weights, then of the ratios."""
    failures: tuple[Failure, ...]
    """What went wrong."""
    measured: int
    """How many of the records are new."""


def _key(*parts: Any) -> tuple[Any, ...]:
    return parts


def _exposure_ratio(pair: RawPair) -> float:
    """Return the ratio of a pair as it is recorded."""
    return round(pair.ratio, 4)


def _renamed(record: Record, pair: RawPair, network: Weights) -> Record:
    """Return a record with what its pair and its weights are called now: a name or a scene decides about no figure."""
    return replace(
        record,
        image=pair.name,
        scene=pair.scene,
        camera=pair.camera,
        exposure_ratio=_exposure_ratio(pair),
        weights=network.name,
    )


def fingerprint(pair: RawPair) -> str:
    """Return 12 hexadecimal digits that tell the files of a pair from others: of their sizes, begins, middles and ends.

    The head of a RAW file holds the time it was taken, but in seconds: what tells the frames of a burst apart is the
    noise of their pixels.

    Raises:
        OSError: A file cannot be read.
    """
    digest = hashlib.sha256()
    for path in (pair.short, pair.reference):
        with path.open("rb") as file:
            size = path.stat().st_size
            digest.update(size.to_bytes(8, "little"))
            for start in (0, size // 2, max(size - _SAMPLED_BYTES, 0)):
                file.seek(start)
                digest.update(file.read(_SAMPLED_BYTES))
    return digest.hexdigest()[:12]


def read_records(path: Path) -> list[Record]:
    """Read a file of records; none if it is not there. A last line that was cut off by an interruption is left out.

    Raises:
        DataError: A line is none of ours.
    """
    if not path.exists():
        return []
    names = {field.name for field in fields(Record)}
    lines = path.read_bytes().splitlines(keepends=True)  # a line may be cut off inside a character
    records = []
    for number, line in enumerate(lines, start=1):
        try:
            entry = json.loads(line.decode("utf-8"))
            if not isinstance(entry, dict) or set(entry) != names:
                raise ValueError("other fields")
            records.append(Record(**entry))
        except ValueError as error:
            if number == len(lines) and not line.endswith(b"\n"):
                break
            raise DataError(
                f"{path}, line {number}: is not a record of this version ({error}). Choose another folder with --out."
            ) from error
    return records


def write_records(path: Path, records: Sequence[Record]) -> None:
    """Write a file of records anew, atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_text("".join(_line(record) for record in records), encoding="utf-8")
    part.replace(path)


def make_engine(weights: Weights, settings: Settings) -> Engine:
    """Return the engine that runs a network.

    Raises:
        DeviceError: The device is not there.
        WeightsError: The engine does not build this network, or it needs torch, which is not installed.
    """
    is_openvino = isinstance(weights.config, AlenConfig) and weights.config.pairwise == "embedded_gaussian"
    if settings.engine == "openvino" or (settings.engine == "auto" and is_openvino):
        from alen.engines.openvino import OpenVinoEngine

        return OpenVinoEngine(
            weights, device=settings.device.upper(), precision=settings.precision, threads=settings.threads
        )
    try:
        from alen.engines.torch import TorchEngine
    except ImportError as error:
        raise WeightsError(
            f"{weights.name}: this network runs on torch, which is not installed. Install it with: "
            "pip install 'alen[train]'"
        ) from error
    return TorchEngine(weights, device=settings.device, precision=settings.precision, threads=settings.threads)


class Run:
    """Networks, a protocol and a folder to write to.

    The folder gets ``records.jsonl`` and, to look at, ``crops/DIGEST/IMAGE-FILES.jpg``.

    Args:
        protocol: What is measured.
        selection: The pairs.
        weights: The networks.
        settings: How.
        out: The folder; made if it is not there. What it holds of the same run is not measured again.

    Raises:
        SettingsError: The same weights are named twice.
        DataError: The folder holds a file of records that is none.
        DeviceError: The device is not there.
        WeightsError: A network cannot be built, or not be scored under the protocol.
    """

    def __init__(
        self, protocol: Protocol, selection: Selection, weights: Sequence[Weights], settings: Settings, out: Path
    ) -> None:
        for network in weights:
            check_network(network.config, protocol)
        if len({network.digest for network in weights}) != len(weights):
            raise SettingsError("The same weights are named twice.")
        self.protocol = protocol
        self.selection = selection
        self.weights = tuple(weights)
        self.settings = settings
        self.out = out
        self.quantization = settings.quantization_for(protocol)
        self._lpips = Lpips(settings.lpips) if settings.lpips is not None and protocol.domain == "picture" else None
        self._engines = {network.digest: make_engine(network, settings) for network in weights}
        self._path = out / "records.jsonl"
        known = read_records(self._path)
        # what a smaller selection left behind belongs to this one now
        known = [
            replace(record, deviation=selection.deviation) if record.protocol == protocol.name else record
            for record in known
        ]
        self._known: Mapping[tuple[Any, ...], Record] = {record.key: record for record in known}
        write_records(self._path, known)  # without a line that was cut off

    def steps(self) -> Iterator[Step]:
        """Score image by image; an image that fails does not end the run."""
        for pair in self.selection.pairs:
            try:
                step = self._step(pair, fingerprint(pair))
            except (AlenError, OSError) as error:
                step = Step(pair.name, (), (Failure(pair.name, str(error)),), 0)
            yield step

    def _step(self, pair: RawPair, files: str) -> Step:
        wanted = [(network, origin) for network in self.weights for origin in self.settings.ratios]
        found = {(n.digest, origin): self._known.get(self._key(n, pair, files, origin)) for n, origin in wanted}
        exposures: Exposures | None = None
        records: list[Record] = []
        failures: list[Failure] = []
        measured = 0
        for network, origin in wanted:
            record = found[network.digest, origin]
            if record is None:
                if exposures is None:
                    exposures = read_pair(pair, self.protocol.domain, self.protocol.crop_px)
                try:
                    record = self._measure(pair, files, exposures, network, origin)
                    measured += 1
                except (AlenError, OSError) as error:
                    failures.append(Failure(pair.name, f"{network.name}: {error}"))
                    continue
            records.append(_renamed(record, pair, network))
        return Step(pair.name, tuple(records), tuple(failures), measured)

    def crop_path(self, record: Record) -> Path:
        """Return where the picture of a record to look at lies, if there is one.

        The fingerprint of the files finds it: another photograph may have the same name, and a name may change.
        """
        folder = self.out / "crops" / record.digest
        return next(folder.glob(f"*-{record.files}.jpg"), folder / f"{record.image}-{record.files}.jpg")

    def _key(self, network: Weights, pair: RawPair, files: str, origin: RatioOrigin) -> tuple[Any, ...]:
        ratio = _exposure_ratio(pair) if origin == "known" else None
        precision = getattr(self._engines[network.digest], "precision", self.settings.precision)
        lpips = self._lpips.digest if self._lpips is not None else None
        return _key(self.protocol.name, network.digest, files, origin, ratio, self.quantization, precision, lpips)

    def _measure(
        self, pair: RawPair, files: str, exposures: Exposures, network: Weights, origin: RatioOrigin
    ) -> Record:
        """Score one network on one image, write the record and the picture to look at."""
        engine = self._engines[network.digest]
        start = time.perf_counter()
        prediction = predict(
            exposures, pair.ratio, origin, engine=engine, config=network.config, protocol=self.protocol
        )
        seconds = time.perf_counter() - start
        a, b = (quantize(picture, self.quantization) for picture in (prediction.values, exposures.truth))
        height, width = b.shape[:2]
        score = psnr(a, b, data_range=1.0)
        if math.isnan(score):
            raise DataError(f"{pair.name}: the network's picture holds values that are no numbers.")
        record = Record(
            protocol=self.protocol.name,
            split=self.protocol.split,
            deviation=self.selection.deviation,
            image=pair.name,
            scene=pair.scene,
            camera=pair.camera,
            files=files,
            weights=network.name,
            digest=network.digest,
            network=type(network.config).__name__.removesuffix("Config"),
            target=network.config.target,
            ratio_origin=origin,
            ratio=round(prediction.ratio, 4),
            exposure_ratio=_exposure_ratio(pair),
            alpha=None if prediction.alpha is None else round(prediction.alpha, 6),
            psnr_db=round(min(score, MAX_PSNR_DB), 5),
            ssim=round(ssim(a, b, data_range=1.0), 6),
            ms_ssim=round(ms_ssim(a, b, data_range=1.0), 6) if min(height, width) >= MS_SSIM_MIN_SIDE else None,
            lpips=round(self._lpips.distance(a, b), 6) if self._lpips is not None else None,
            lpips_digest=self._lpips.digest if self._lpips is not None else None,
            quantization=self.quantization,
            precision=getattr(engine, "precision", self.settings.precision),
            engine=engine.description,
            height_px=height,
            width_px=width,
            seconds=round(seconds, 3),
            version=__version__,
        )
        if origin == self.settings.ratios[0]:
            path = self.crop_path(record)
            path.parent.mkdir(parents=True, exist_ok=True)
            strip(exposures, prediction).save(path, quality=88)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(_line(record))
        return record


def _line(record: Record) -> str:
    return json.dumps(asdict(record), ensure_ascii=False, allow_nan=False) + "\n"

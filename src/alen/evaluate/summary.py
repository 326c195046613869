"""From records to means: per ratio and over all, with 95 % confidence intervals.

Images of one scene resemble each other, so the bootstrap draws scenes, not images: every resample is as many scenes as
there are, drawn with replacement, with all their images. (B. Efron, R. Tibshirani, "An Introduction to the Bootstrap",
1993, chapter 13, percentile intervals.)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from alen.errors import SettingsError
from alen.evaluate.records import Record

RESAMPLES: Final = 5000
"""Resamples of a bootstrap: the ends of its interval wander by a hundredth of a dB."""


@dataclass(frozen=True)
class Interval:
    """A mean with its 95 % confidence interval."""

    mean: float
    """Mean over images."""
    low: float | None
    """Lower end; None if there is but one scene, which tells nothing about others."""
    high: float | None
    """Upper end."""


@dataclass(frozen=True)
class Score:
    """What one network reached on a group of images."""

    images: int
    """How many."""
    psnr_db: Interval
    """PSNR, mean over images (not pooled)."""
    ssim: Interval
    """SSIM, mean over images."""
    ms_ssim: float | None
    """MS-SSIM, mean over images; None if one of them has none."""
    lpips: float | None
    """LPIPS, mean over images; None if one of them has none."""


@dataclass(frozen=True, order=True)
class Method:
    """One network with one origin of the ratio."""

    weights: str
    """Name of the weights."""
    digest: str
    """Their digest."""
    ratio_origin: str
    """"known" or "estimated"."""


@dataclass(frozen=True)
class Difference:
    """How much better the first of two methods is, image by image."""

    first: Method
    second: Method
    images: int
    """Images that both have."""
    psnr_db: Interval
    """Difference of PSNR; an interval without 0 is a difference that other scenes would show, too."""


def bootstrap_mean(values: ArrayLike, groups: Sequence[str], *, seed: int, resamples: int = RESAMPLES) -> Interval:
    """Return the mean of values with its 95 % interval over resampled groups.

    Args:
        values: (N,) numbers.
        groups: The group of each, such as its scene.
        seed: Decides the resamples: the same seed gives the same interval.
        resamples: How many.

    Raises:
        SettingsError: There are no values, or not as many groups.

    Example:
        >>> bootstrap_mean([1.0, 2.0, 3.0], ["a", "b", "c"], seed=0)
        Interval(mean=2.0, low=1.0, high=3.0)
    """
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.ndim != 1 or not numbers.size or len(groups) != numbers.size or resamples < 1:
        raise SettingsError(f"A mean needs values, and as many groups; got {numbers.shape}, {len(groups)}.")
    names, index = np.unique(np.asarray(groups), return_inverse=True)
    mean = float(numbers.mean())
    if len(names) < 2:
        return Interval(mean, None, None)
    totals, counts = np.bincount(index, numbers), np.bincount(index)
    drawn: NDArray[np.int64] = np.random.default_rng(seed).integers(0, len(names), (resamples, len(names)))
    means = totals[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    low, high = np.percentile(means, (2.5, 97.5))
    return Interval(mean, float(low), float(high))


def by_method(records: Sequence[Record]) -> dict[Method, list[Record]]:
    """Return the records of each network and origin of the ratio, in the order in which they first appear."""
    groups: dict[Method, list[Record]] = {}
    for record in records:
        groups.setdefault(Method(record.weights, record.digest, record.ratio_origin), []).append(record)
    return groups


def nominal_ratio(record: Record) -> int:
    """Return the exposure ratio a record is grouped by: rounded; of ELD, which only comes near it, the named one."""
    if record.protocol.startswith("eld-"):
        return int(record.protocol.split("-x")[1].split("-")[0])
    return round(record.exposure_ratio)


def ratios(records: Sequence[Record]) -> tuple[int, ...]:
    """Return the exposure ratios of records, see `nominal_ratio`, ascending."""
    return tuple(sorted({nominal_ratio(record) for record in records}))


def score(records: Sequence[Record], *, seed: int = 0) -> Score:
    """Return the means of records of one method.

    Raises:
        SettingsError: There are none.
    """
    scenes = [record.scene for record in records]

    def mean(get: Callable[[Record], float | None]) -> float | None:
        values = [get(record) for record in records]
        present = [value for value in values if value is not None]
        return float(np.mean(present)) if values and len(present) == len(values) else None

    return Score(
        images=len(records),
        psnr_db=bootstrap_mean([record.psnr_db for record in records], scenes, seed=seed),
        ssim=bootstrap_mean([record.ssim for record in records], scenes, seed=seed),
        ms_ssim=mean(lambda record: record.ms_ssim),
        lpips=mean(lambda record: record.lpips),
    )


def scores(records: Sequence[Record], *, seed: int = 0) -> Mapping[Method, Mapping[int | None, Score]]:
    """Return the scores of every method by exposure ratio, and over all images under None."""
    table: dict[Method, dict[int | None, Score]] = {}
    for method, own in by_method(records).items():
        table[method] = {
            ratio: score([record for record in own if nominal_ratio(record) == ratio], seed=seed)
            for ratio in ratios(own)
        }
        table[method][None] = score(own, seed=seed)
    return table


def differences(records: Sequence[Record], *, seed: int = 0) -> list[Difference]:
    """Return how every network compares with the first one, at the same origin of the ratio, image by image."""
    groups = by_method(records)
    firsts: dict[str, Method] = {}
    found = []
    for method, own in groups.items():
        first = firsts.setdefault(method.ratio_origin, method)
        if first == method:
            continue
        others = {record.image: record.psnr_db for record in groups[first]}
        both = [record for record in own if record.image in others]
        if both:
            gains = [record.psnr_db - others[record.image] for record in both]
            interval = bootstrap_mean(gains, [record.scene for record in both], seed=seed)
            found.append(Difference(method, first, len(both), interval))
    return found

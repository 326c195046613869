"""Where pairs come from: photographs with simulated noise, or real pairs. Each brings its own validation."""

from __future__ import annotations

import filecmp
import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

from torch import Tensor
from torch.utils.data import Dataset

from alen.data.cache import PairCache
from alen.data.exposures import RawPair
from alen.data.own import own_pairs
from alen.data.pairs import PhotoPairs
from alen.data.photos import HELD_OUT_EVERY, PhotoCache, find_photos, split
from alen.data.real_pairs import RealPairs
from alen.data.sid import SUBSETS, Split, Subset, sid_pairs
from alen.errors import DataError
from alen.training.config import TrainingConfig
from alen.training.validation import PairValidation, PhotoValidation, Validation

_SPLITS: Final[tuple[Split, Split]] = ("train", "val")


class Source(Protocol):
    """Something to train on."""

    @property
    def scenes(self) -> int:
        """Photographs or scenes to train on; an epoch has a patch of each."""
        ...

    @property
    def description(self) -> str:
        """What it is, for the header of the weights."""
        ...

    def facts(self) -> Mapping[str, Any]:
        """Return what config.json says about the data."""
        ...

    def prepare(self) -> None:
        """Decode what is not decoded yet; with several processes the first does it for all."""
        ...

    def pairs(self, config: TrainingConfig) -> Dataset[tuple[Tensor, Tensor]]:
        """Return the pairs: item (index, packed size) depends on that and the seed alone."""
        ...

    def validation(self, config: TrainingConfig) -> Validation:
        """Return the held-out part."""
        ...


class Photographs:
    """Clean photographs, unprocessed, with simulated noise; a fixed tenth is held out, and copies of these left out.

    Args:
        folder: Folder of the photographs.
        cache: Folder for their decoded form (uncompressed, so larger than the originals).

    Raises:
        DataError: There is no such folder, or too few photographs in it.
    """

    description = "photographs, unprocessed to camera RGB, with simulated sensor noise"

    def __init__(self, folder: Path, cache: Path) -> None:
        train, self._held_out = split(find_photos(folder))
        self._train = _without_copies(train, self._held_out)
        if not self._train or all(photo.suffix.lower() == ".hdr" for photo in self._held_out):
            raise DataError(
                f"{folder}: at least two photographs are needed that are no HDR panoramas, one of them to judge by."
            )
        self._cache = cache

    @property
    def scenes(self) -> int:
        """Photographs to train on."""
        return len(self._train)

    def facts(self) -> Mapping[str, Any]:
        """Return how many photographs are trained on, a digest of their names and sizes, and which are held out."""
        files = "\n".join(f"{path.name} {path.stat().st_size}" for path in self._train)
        return {
            "photographs": {"train": self.scenes, "held_out": [p.name for p in self._held_out]},
            "photographs_digest": hashlib.sha256(files.encode("utf-8", "surrogateescape")).hexdigest()[:12],
        }

    def prepare(self) -> None:
        """Decode the photographs."""
        PhotoCache([*self._train, *self._held_out], self._cache)

    def pairs(self, config: TrainingConfig) -> PhotoPairs:
        """Return pairs made from the photographs."""
        cache = PhotoCache(self._train, self._cache)
        hard_shares = {stage.patch_size: stage.hard_share for stage in config.stages}
        return PhotoPairs(
            cache,
            ratios=config.ratios,
            seed=config.seed,
            sensor=config.sensor,
            hard_shares=hard_shares,
            cfa=config.network.cfa,
        )

    def validation(self, config: TrainingConfig) -> PhotoValidation:
        """Return squares of the photographs held out, with the noise of the camera that is trained for."""
        photos = [p for p in self._held_out if p.suffix.lower() != ".hdr"]
        return PhotoValidation(PhotoCache(photos, self._cache), sensor=config.sensor, cfa=config.network.cfa)


class CachedPairs:
    """Real pairs, decoded into caches: of scenes to train on, and of others to judge by.

    Args:
        train: Pairs to train on.
        held_out: Pairs of other scenes.
        train_cache: Folder of the cache of those to train on.
        held_out_cache: Folder of the cache of the others; it may be the same.
        description: What they are, for the header of the weights.
        progress: Called with (arrays done, arrays in all) of a cache while it is built.

    Raises:
        DataError: One of them is empty, or a scene or a RAW file is in both.
    """

    def __init__(
        self,
        train: Sequence[RawPair],
        held_out: Sequence[RawPair],
        *,
        train_cache: Path,
        held_out_cache: Path,
        description: str,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        self._train = tuple(train)
        self._held_out = tuple(held_out)
        self._train_cache = train_cache
        self._held_out_cache = held_out_cache
        self._progress = progress
        self.description = description
        scenes, others = ({_scene(pair) for pair in part} for part in (train, held_out))
        if not scenes or not others:
            raise DataError(
                f"Scenes to train on and others to judge by are needed; got {len(scenes)} and {len(others)}."
            )
        if scenes & others:
            raise DataError(f"Scenes are trained on and held out at once: {sorted(scenes & others)[:3]}.")
        files, other_files = (
            {path.resolve() for pair in part for path in (pair.short, pair.reference)} for part in (train, held_out)
        )
        if files & other_files:
            raise DataError(
                f"{min(files & other_files)}: is trained on and held out at once. Give all its pairs one scene."
            )
        self._scenes = len(scenes)

    @property
    def scenes(self) -> int:
        """Scenes to train on."""
        return self._scenes

    def facts(self) -> Mapping[str, Any]:
        """Return how many pairs and scenes are trained on, which pairs are held out, and the ratios of all."""
        held_out = [pair.name for pair in self._held_out]
        return {
            "pairs": {"train": len(self._train), "scenes": self.scenes, "held_out": held_out},
            "ratios": {pair.name: pair.ratio for pair in (*self._train, *self._held_out)},
        }

    def prepare(self) -> None:
        """Decode what is not decoded yet; caches that hold all need no RAW files."""
        caches: dict[Path, list[RawPair]] = {}
        for folder, pairs in ((self._train_cache, self._train), (self._held_out_cache, self._held_out)):
            caches.setdefault(folder, []).extend(pairs)
        for folder, wanted in caches.items():
            if not _holds(folder, wanted):
                PairCache.build(wanted, folder, progress=self._progress)

    def pairs(self, config: TrainingConfig) -> RealPairs:
        """Return random squares of the pairs."""
        names = {pair.name for pair in self._train}
        pairs = RealPairs(PairCache.open(self._train_cache), config.network, seed=config.seed, names=names)
        pairs.check(max(stage.patch_size for stage in config.stages))  # now, not hours later
        return pairs

    def validation(self, config: TrainingConfig) -> PairValidation:
        """Return squares from the middle of the pairs held out."""
        names = {pair.name for pair in self._held_out}
        return PairValidation(PairCache.open(self._held_out_cache), config.network, names=names)


def see_in_the_dark(
    data: Path, subset: Subset, cache: Path, *, progress: Callable[[int, int], None] | None = None
) -> CachedPairs:
    """Return See-in-the-Dark's pairs as its authors train on them: the first frame of every burst.

    Args:
        data: Folder that holds Sony/ or Fuji/ and the lists; or a folder of caches, "train" and "val", as `alen data
            sid` makes them.
        subset: The camera.
        cache: Folder for the caches, if ``data`` holds none.
        progress: Called with (arrays done, arrays in all) of a cache while it is built.

    Raises:
        DataError: There are neither pairs nor caches.
    """
    if (data / "train").is_dir() and (data / "val").is_dir():
        cache = data
        parts = [PairCache.open(data / split).pairs for split in _SPLITS]
    else:
        parts = [tuple(sid_pairs(data, subset, split)) for split in _SPLITS]
    train, held_out = ([pair for pair in part if "_00_" in pair.short.stem] for part in parts)
    description = f"See-in-the-Dark {SUBSETS[subset].folder} (https://arxiv.org/abs/1805.01934), first frames of bursts"
    return CachedPairs(
        train,
        held_out,
        train_cache=cache / "train",
        held_out_cache=cache / "val",
        description=description,
        progress=progress,
    )


def own(data: Path, cache: Path, *, progress: Callable[[int, int], None] | None = None) -> CachedPairs:
    """Return pairs of the user's; every tenth scene, by name, is held out of all cameras, and one of fewer than ten.

    Args:
        data: CSV of the pairs, see `alen.data.own`; or a cache of them, as `alen data own` makes it.
        cache: Folder for the cache, if ``data`` is none.
        progress: Called with (arrays done, arrays in all) while it is built.

    Raises:
        DataError: The pairs cannot be used, or are of a single scene.
        RawError: A RAW file cannot be used.
    """
    if data.is_dir():
        cache, pairs = data, PairCache.open(data).pairs
    else:
        pairs = tuple(own_pairs(data))
    scenes = sorted({pair.scene for pair in pairs})
    held_out = set(scenes[min(HELD_OUT_EVERY // 2, len(scenes) - 1) :: HELD_OUT_EVERY])
    cameras = ", ".join(sorted({pair.camera for pair in pairs}))
    return CachedPairs(
        [pair for pair in pairs if pair.scene not in held_out],
        [pair for pair in pairs if pair.scene in held_out],
        train_cache=cache,
        held_out_cache=cache,
        description=f"own pairs of short and long exposures: {cameras}",
        progress=progress,
    )


def _without_copies(train: Sequence[Path], held_out: Sequence[Path]) -> list[Path]:
    """Return the files to train on that are no copies, byte for byte, of one held out."""
    of_size: dict[int, list[Path]] = {}
    for path in held_out:
        of_size.setdefault(path.stat().st_size, []).append(path)
    return [
        path
        for path in train
        if not any(filecmp.cmp(path, other, shallow=False) for other in of_size.get(path.stat().st_size, ()))
    ]


def _scene(pair: RawPair) -> tuple[str, str]:
    """Return what tells a scene from others."""
    return pair.camera, pair.scene


def _holds(folder: Path, pairs: Sequence[RawPair]) -> bool:
    """Tell whether a cache holds all of these pairs."""
    try:
        return set(pairs) <= set(PairCache.open(folder).pairs)
    except DataError:
        return False

"""Miniature sets of real pairs: a few small RAW files in the layout and under the names of the published ones.

The files are DNGs whatever their suffix says; LibRaw goes by content. Their light is the rendered scene's, their noise
that of a measured Sony A7S II.
"""

from __future__ import annotations

import functools
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from alen.cameras import CAMERAS
from alen.cfa import CFA, mosaic_from_rgb
from alen.data.scene import night_scene
from alen.dng import write_cfa_dng
from alen.noise import add_noise

WHITE_BALANCE: Final = (2.0, 1.0, 2.25)
XYZ2CAM: Final = ((0.5838, -0.1430, -0.0246), (-0.3497, 1.1477, 0.2297), (-0.0748, 0.1885, 0.5778))
SONY_SIZE: Final = (128, 192)
FUJI_SIZE: Final = (966, 1446)
"""Height and width; LibRaw takes smaller X-Trans DNGs for thumbnails."""

_FIRST_DIGITS: Final = {"train": "0", "val": "2", "test": "1"}
_SHORT_TIMES: Final = {"sony": ("0.1", "0.04"), "fuji": ("0.1", "0.033")}
_BLACKS: Final = {"sony": 512.0, "fuji": 1024.0}


def make_sid(
    folder: Path,
    subset: str,
    *,
    scenes_per_split: int = 2,
    splits: Sequence[str] = ("train", "val", "test"),
    lists: bool = True,
) -> Path:
    """Build a miniature See-in-the-Dark and return its folder, to be given to `sid_pairs`.

    Every scene has a reference of 10 s and two short exposures: ×100 and ×250 (Sony), ×100 and ×300 after the cap
    (Fuji; 10 / 0.033 = 303). All Fuji scenes show the same picture, because X-Trans files cannot be small.

    Args:
        folder: Where to; made if it is not there.
        subset: "sony" (RGGB, 128 × 192) or "fuji" (X-Trans, 966 × 1446).
        scenes_per_split: Scenes of each split.
        splits: Which of them.
        lists: Write the lists, too.
    """
    camera, suffix = {"sony": ("Sony", ".ARW"), "fuji": ("Fuji", ".RAF")}[subset]
    for kind in ("short", "long"):
        (folder / camera / kind).mkdir(parents=True, exist_ok=True)
    made: dict[str, Path] = {}
    for split in splits:
        lines = []
        for number in range(1, scenes_per_split + 1):
            scene = f"{_FIRST_DIGITS[split]}{number:04}"
            seed = 100 * int(scene[0]) + number if subset == "sony" else 0
            long = f"{camera}/long/{scene}_00_10s{suffix}"
            _make_exposure(folder / long, subset, seed, 10.0, made)
            for time in _SHORT_TIMES[subset]:
                short = f"{camera}/short/{scene}_00_{time}s{suffix}"
                _make_exposure(folder / short, subset, seed, float(time), made)
                lines.append(f"./{short} ./{long} ISO800 F8\n")
        if lists:
            (folder / f"{camera}_{split}_list.txt").write_text("".join(lines))
    return folder


def make_eld(folder: Path, camera: str = "SonyA7S2", *, scenes: int = 1) -> Path:
    """Build a miniature ELD of one camera: 16 exposures of each scene in the published order; return the folder."""
    suffix = {"SonyA7S2": ".ARW", "NikonD850": ".nef", "CanonEOS70D": ".CR2", "CanonEOS700D": ".CR2"}[camera]
    for scene in range(1, scenes + 1):
        place = folder / camera / f"scene-{scene}"
        place.mkdir(parents=True, exist_ok=True)
        exposures = [(100.0, 4.0)]
        for iso in (800.0, 1600.0, 3200.0):
            exposures += [(iso, 400 / iso / factor) for factor in (1, 10, 100, 200)] + [(100.0, 4.0)]
        for number, (iso, time_s) in enumerate(exposures, start=1):
            path = place / f"IMG_{number:04}{suffix}"
            write_exposure(path, seed=scene, relative=iso * time_s / 400, time_s=time_s, iso=iso)
    return folder


def write_exposure(
    path: Path,
    *,
    seed: int = 0,
    relative: float = 1.0,
    time_s: float = 10.0,
    iso: float = 800.0,
    subset: str = "sony",
    orientation: int = 1,
) -> Path:
    """Write one RAW file of the scene.

    Args:
        path: Where to.
        seed: Chooses the part of the scene, and the noise.
        relative: Light on the sensor, 1 = as in the reference.
        time_s: Exposure time it tells.
        iso: ISO speed it tells.
        subset: "sony" or "fuji": filter array, size and black level.
        orientation: EXIF orientation it tells.
    """
    if subset == "sony":
        cfa = CFA.bayer("RGGB")
        scene = _part_of_the_scene(seed)
    else:
        cfa = CFA.xtrans()
        height, width = FUJI_SIZE
        scene = np.repeat(np.repeat(_part_of_the_scene(seed), 8, axis=0), 8, axis=1)[:height, :width]
    light = mosaic_from_rgb(scene / np.asarray(WHITE_BALANCE, np.float32), cfa) * np.float32(relative)
    camera = next(camera for camera in CAMERAS if camera.name == "Sony A7S II")
    noise = camera.typical(800)
    rng = np.random.default_rng((seed, round(1e6 * relative), round(iso)))
    mosaic = add_noise(light.astype(np.float32), cfa, noise, rng)
    black = _BLACKS[subset]
    if black != noise.black_level_dn:
        mosaic = np.minimum(mosaic.astype(np.int32) + round(black - noise.black_level_dn), 16_383).astype(np.uint16)
    write_cfa_dng(
        path,
        mosaic,
        cfa=cfa,
        black_level=(black,) * 4,
        white_level=16_383,
        white_balance=WHITE_BALANCE,
        xyz2cam=XYZ2CAM,
        iso=iso,
        exposure_time_s=time_s,
        aperture=8.0,
        camera="Miniature " + subset,
        orientation=orientation,
        compress=subset == "sony",
    )
    return path


@functools.cache
def _scene() -> np.ndarray:
    """Return the rendered scene: rendering is slow, so all miniatures are parts of this one."""
    return night_scene(256, 384)


def _part_of_the_scene(seed: int) -> np.ndarray:
    """Return a part (128, 192, 3) of the scene, mirrored in half of the cases."""
    rng = np.random.default_rng(seed)
    height, width = SONY_SIZE
    y, x = int(rng.integers(256 - height)), int(rng.integers(384 - width))
    part = _scene()[y : y + height, x : x + width]
    return part[:, ::-1] if seed % 2 else part


def _make_exposure(path: Path, subset: str, seed: int, time_s: float, made: dict[str, Path]) -> None:
    """Write an exposure of See-in-the-Dark, or copy it where the same one was made before."""
    key = f"{seed} {time_s}"
    if key in made:
        shutil.copyfile(made[key], path)
    else:
        made[key] = write_exposure(path, seed=seed, relative=time_s / 10, time_s=time_s, subset=subset)

"""Made-up frames, and an engine that only demosaics, to test what is around networks."""

import io
import struct
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alen.cfa import CFA, mosaic_from_rgb
from alen.demosaic import demosaic_malvar
from alen.dng import write_cfa_dng
from alen.engines import Planes
from alen.raw import RawImage

BLACK = (500.0, 510.0, 505.0, 495.0)
WHITE = 16000.0
GAINS = (2.0, 1.0, 1.5)
RATIO = 8.0
XYZ2CAM = ((0.8, -0.2, -0.1), (-0.5, 1.3, 0.2), (-0.1, 0.2, 0.6))


class Demosaicker:
    """An engine that demosaics and does nothing else."""

    description = "a stub"

    def needed_bytes(self, height: int, width: int) -> int | None:
        return 100 * height * width

    def run(self, planes: NDArray[np.float32]) -> NDArray[np.float32]:
        return demosaic_malvar(planes)

    def stripes(self, planes: Planes, progress: Callable[[float], None] | None = None) -> Iterator[NDArray[np.float32]]:
        """In pieces of 16 rows, so that they have to be put together."""
        assert planes.shape[1] % 8 == planes.shape[2] % 8 == 0
        picture = self.run(planes.rows(0, planes.shape[1]))
        for top in range(0, len(picture), 16):
            if progress is not None:
                progress(min((top + 16) / len(picture), 1.0))
            yield picture[top : top + 16].copy()


def make_raw(mosaic: NDArray[np.uint16], cfa: CFA) -> RawImage:
    return RawImage(
        mosaic=mosaic,
        cfa=cfa,
        black_level=BLACK,
        white_level=WHITE,
        white_balance=GAINS,
        cam2rgb=((1.6, -0.4, -0.2), (-0.3, 1.5, -0.2), (0.0, -0.6, 1.6)),
        orientation=1,
        iso=800.0,
        exposure_time_s=0.1,
        aperture=2.0,
        camera="test",
        exif=None,
        noise_profile=None,
        warnings=(),
        name="test.dng",
    )


def expose(rgb: NDArray[np.float64], cfa: CFA, ratio: float = RATIO) -> RawImage:
    """Return the RAW image of a scene in white-balanced camera RGB, ``ratio`` times too dark, without noise."""
    height, width, _ = rgb.shape
    light = mosaic_from_rgb(rgb / (np.array(GAINS) * ratio), cfa)
    black = np.array(BLACK)[cfa.plane_map(height, width)]
    return make_raw(np.clip(np.rint(black + light * (WHITE - black)), 0, 65535).astype(np.uint16), cfa)


def ramp(height: int, width: int) -> NDArray[np.float64]:
    """Return a gray plane that Malvar's filters reproduce exactly, and that no shift or mirror leaves alike."""
    y, x = np.mgrid[:height, :width]
    return np.repeat((0.5 + 0.011 * y + 0.023 * x)[..., None], 3, axis=2)


def make_dng(light: NDArray[np.floating[Any]], cfa: CFA, **changes: Any) -> bytes:
    """Return a DNG of a mosaic of normalized light (H, W); what is above 1 is clipped. Changes are of its tags."""
    tags: dict[str, Any] = {
        "black_level": (512.0,) * 4,
        "white_level": 16_383,
        "white_balance": GAINS,
        "xyz2cam": XYZ2CAM,
        "iso": 800,
        "exposure_time_s": 0.1,
    }
    mosaic = np.minimum(np.rint(512 + light * (16_383 - 512)), 16_383).astype(np.uint16)
    file = io.BytesIO()
    write_cfa_dng(file, mosaic, cfa=cfa, **{**tags, **changes})
    return file.getvalue()


def with_opcodes(dng: bytes, data: bytes, tag: int = 51009) -> bytes:
    """Return a DNG of ours in which an opcode list has taken the place of BaselineSharpness."""
    patched = bytearray(dng)
    (count,) = struct.unpack_from("<H", patched, 8)
    (at,) = (p for p in range(10, 10 + 12 * count, 12) if struct.unpack_from("<H", patched, p)[0] == 50732)
    struct.pack_into("<HHII", patched, at, tag, 7, len(data), len(patched))
    return bytes(patched) + data

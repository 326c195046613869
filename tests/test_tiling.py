import itertools

import numpy as np
import pytest

from alen.cfa import BAYER_PHASES, CFA, pack
from alen.errors import SettingsError
from alen.tiling import Padding

SIZES = [(16, 16), (17, 16), (23, 31), (37, 64), (97, 101)]


@pytest.mark.parametrize("phase", BAYER_PHASES)
@pytest.mark.parametrize(("size", "multiple"), list(itertools.product(SIZES, [2, 16, 32])))
def test_cropping_undoes_padding(phase: str, size: tuple[int, int], multiple: int) -> None:
    mosaic = np.random.default_rng(0).integers(0, 65_536, size, dtype=np.uint16)
    padding = Padding.to_rggb(*size, CFA.bayer(phase), multiple)
    padded = padding.pad(mosaic)
    assert padded.dtype == mosaic.dtype
    assert padded.shape[0] % multiple == padded.shape[1] % multiple == 0
    np.testing.assert_array_equal(padding.crop(padded), mosaic)


@pytest.mark.parametrize("phase", BAYER_PHASES)
@pytest.mark.parametrize(("size", "multiple"), list(itertools.product(SIZES, [2, 16, 32])))
def test_padded_mosaic_is_rggb_at_every_pixel(phase: str, size: tuple[int, int], multiple: int) -> None:
    cfa = CFA.bayer(phase)
    padding = Padding.to_rggb(*size, cfa, multiple)
    rggb = CFA.bayer("RGGB")
    for of_cfa, of_rggb in ((cfa.color_map, rggb.color_map), (cfa.plane_map, rggb.plane_map)):
        padded = padding.pad(of_cfa(*size))
        np.testing.assert_array_equal(padded, of_rggb(*padded.shape))


@pytest.mark.parametrize("phase", BAYER_PHASES)
@pytest.mark.parametrize("size", SIZES)
def test_padding_is_the_smallest(phase: str, size: tuple[int, int]) -> None:
    padding = Padding.to_rggb(*size, CFA.bayer(phase), 16)
    assert max(padding.top, padding.left) <= 1
    assert max(padding.bottom, padding.right) < 16


@pytest.mark.parametrize("phase", BAYER_PHASES)
def test_a_picture_is_cropped_as_its_mosaic(phase: str) -> None:
    cfa = CFA.bayer(phase)
    padding = Padding.to_rggb(23, 31, cfa, 16)
    mosaic = np.random.default_rng(0).random((23, 31))
    padded = padding.pad(mosaic)
    picture = np.stack([padded, padded, padded], axis=-1)
    assert padding.crop(picture).shape == (23, 31, 3)
    np.testing.assert_array_equal(padding.crop(picture)[..., 1], mosaic)


@pytest.mark.parametrize("phase", BAYER_PHASES)
def test_mirrored_pixels_are_pixels_of_the_mosaic(phase: str) -> None:
    cfa = CFA.bayer(phase)
    mosaic = cfa.plane_map(23, 31).astype(np.int64) * 1000 + np.arange(23 * 31).reshape(23, 31) % 1000
    padded = Padding.to_rggb(23, 31, cfa, 32).pad(mosaic)
    assert set(padded.ravel().tolist()) <= set(mosaic.ravel().tolist())
    planes = pack(padded, CFA.bayer("RGGB"))
    for index in range(4):
        assert np.all(planes[index] // 1000 == index)


@pytest.mark.parametrize("multiple", [0, -2, 1, 15])
def test_the_multiple_is_even(multiple: int) -> None:
    with pytest.raises(SettingsError, match="even"):
        Padding.to_rggb(16, 16, CFA.bayer("RGGB"), multiple)


def test_xtrans_has_no_rggb_phase() -> None:
    with pytest.raises(SettingsError, match="Bayer"):
        Padding.to_rggb(16, 16, CFA.xtrans(), 16)


@pytest.mark.parametrize("phase", BAYER_PHASES)
@pytest.mark.parametrize("size", [*SIZES, (1, 1), (2, 3), (5, 1)])
def test_padded_rows_are_rows_of_what_is_padded(phase: str, size: tuple[int, int]) -> None:
    """Also where the padding is larger than the mosaic, and mirrors it more than once."""
    mosaic = np.random.default_rng(0).integers(0, 65_536, size, dtype=np.uint16)
    padding = Padding.to_rggb(*size, CFA.bayer(phase), 32)
    padded = padding.pad(mosaic)
    for start, stop in ((0, len(padded)), (0, 2), (2, 8), (len(padded) - 2, len(padded)), (4, len(padded))):
        np.testing.assert_array_equal(padding.pad_rows(mosaic, start, stop), padded[start:stop])

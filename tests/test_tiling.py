import itertools

import numpy as np
import pytest

from alen.cfa import BAYER_PHASES, CFA, pack, xtrans_reference
from alen.errors import SettingsError
from alen.tiling import Padding

SIZES = [(16, 16), (17, 16), (23, 31), (37, 64), (97, 101)]


@pytest.mark.parametrize("phase", BAYER_PHASES)
@pytest.mark.parametrize(("size", "multiple"), list(itertools.product(SIZES, [2, 16, 32])))
def test_cropping_undoes_padding(phase: str, size: tuple[int, int], multiple: int) -> None:
    mosaic = np.random.default_rng(0).integers(0, 65_536, size, dtype=np.uint16)
    padding = Padding.to_reference(*size, CFA.bayer(phase), multiple)
    padded = padding.pad(mosaic)
    assert padded.dtype == mosaic.dtype
    assert padded.shape[0] % multiple == padded.shape[1] % multiple == 0
    np.testing.assert_array_equal(padding.crop(padded), mosaic)


@pytest.mark.parametrize("phase", BAYER_PHASES)
@pytest.mark.parametrize(("size", "multiple"), list(itertools.product(SIZES, [2, 16, 32])))
def test_padded_mosaic_is_rggb_at_every_pixel(phase: str, size: tuple[int, int], multiple: int) -> None:
    cfa = CFA.bayer(phase)
    padding = Padding.to_reference(*size, cfa, multiple)
    rggb = CFA.bayer("RGGB")
    for of_cfa, of_rggb in ((cfa.color_map, rggb.color_map), (cfa.plane_map, rggb.plane_map)):
        padded = padding.pad(of_cfa(*size))
        np.testing.assert_array_equal(padded, of_rggb(*padded.shape))


@pytest.mark.parametrize("phase", BAYER_PHASES)
@pytest.mark.parametrize("size", SIZES)
def test_padding_is_the_smallest(phase: str, size: tuple[int, int]) -> None:
    padding = Padding.to_reference(*size, CFA.bayer(phase), 16)
    assert max(padding.top, padding.left) <= 1
    assert max(padding.bottom, padding.right) < 16


@pytest.mark.parametrize("phase", BAYER_PHASES)
def test_a_picture_is_cropped_as_its_mosaic(phase: str) -> None:
    cfa = CFA.bayer(phase)
    padding = Padding.to_reference(23, 31, cfa, 16)
    mosaic = np.random.default_rng(0).random((23, 31))
    padded = padding.pad(mosaic)
    picture = np.stack([padded, padded, padded], axis=-1)
    assert padding.crop(picture).shape == (23, 31, 3)
    np.testing.assert_array_equal(padding.crop(picture)[..., 1], mosaic)


@pytest.mark.parametrize("phase", BAYER_PHASES)
def test_mirrored_pixels_are_pixels_of_the_mosaic(phase: str) -> None:
    cfa = CFA.bayer(phase)
    mosaic = cfa.plane_map(23, 31).astype(np.int64) * 1000 + np.arange(23 * 31).reshape(23, 31) % 1000
    padded = Padding.to_reference(23, 31, cfa, 32).pad(mosaic)
    assert set(padded.ravel().tolist()) <= set(mosaic.ravel().tolist())
    planes = pack(padded, CFA.bayer("RGGB"))
    for index in range(4):
        assert np.all(planes[index] // 1000 == index)


@pytest.mark.parametrize("multiple", [0, -2, 1, 15])
@pytest.mark.parametrize("cfa", [CFA.bayer("RGGB"), CFA.xtrans()], ids=["Bayer", "X-Trans"])
def test_the_multiple_is_of_whole_patterns(multiple: int, cfa: CFA) -> None:
    with pytest.raises(SettingsError, match="whole patterns"):
        Padding.to_reference(16, 16, cfa, multiple)


@pytest.mark.parametrize("phase", BAYER_PHASES)
@pytest.mark.parametrize("size", [*SIZES, (2, 3), (5, 7)])
def test_of_bayer_the_mosaic_is_reflected(phase: str, size: tuple[int, int]) -> None:
    """As numpy does it."""
    mosaic = np.random.default_rng(0).integers(0, 65_536, size, dtype=np.uint16)
    padding = Padding.to_reference(*size, CFA.bayer(phase), 32)
    widths = ((padding.top, padding.bottom), (padding.left, padding.right))
    np.testing.assert_array_equal(padding.pad(mosaic), np.pad(mosaic, widths, mode="reflect"))


@pytest.mark.parametrize(("row", "column"), list(itertools.product(range(6), range(6))))
@pytest.mark.parametrize("size", [(6, 7), (13, 19), (61, 100)])
def test_a_padded_xtrans_mosaic_is_in_the_reference_phase(row: int, column: int, size: tuple[int, int]) -> None:
    cfa = CFA.xtrans().shifted(row, column)
    padding = Padding.to_reference(*size, cfa, 48)
    padded = padding.pad(cfa.color_map(*size))
    assert padded.shape[0] % 48 == padded.shape[1] % 48 == 0
    np.testing.assert_array_equal(padded, xtrans_reference().color_map(*padded.shape))
    np.testing.assert_array_equal(padding.crop(padded), cfa.color_map(*size))


def test_of_xtrans_the_mosaic_is_mirrored_to_the_nearest_pixel_of_the_pattern() -> None:
    """Brightness goes back where it came from, a pattern at a time."""
    rows = np.repeat(np.arange(60)[:, None], 60, axis=1)
    padding = Padding.to_reference(60, 60, xtrans_reference(), 96)
    below = padding.pad(rows)[60:, 0]
    mirrored = 59 - (np.arange(60, 96) - 59)
    assert np.all(below % 6 == np.arange(60, 96) % 6)
    assert np.abs(below - mirrored).max() <= 5


@pytest.mark.parametrize("phase", BAYER_PHASES)
@pytest.mark.parametrize("size", [*SIZES, (1, 1), (2, 3), (5, 1)])
def test_padded_rows_are_rows_of_what_is_padded(phase: str, size: tuple[int, int]) -> None:
    """Also where the padding is larger than the mosaic, and mirrors it more than once."""
    mosaic = np.random.default_rng(0).integers(0, 65_536, size, dtype=np.uint16)
    padding = Padding.to_reference(*size, CFA.bayer(phase), 32)
    padded = padding.pad(mosaic)
    for start, stop in ((0, len(padded)), (0, 2), (2, 8), (len(padded) - 2, len(padded)), (4, len(padded))):
        np.testing.assert_array_equal(padding.pad_rows(mosaic, start, stop), padded[start:stop])


@pytest.mark.parametrize("cfa", [*map(CFA.bayer, BAYER_PHASES), CFA.xtrans(), CFA.xtrans().shifted(1, 4)])
@pytest.mark.parametrize("size", SIZES)
def test_with_room_sides_do_not_depend_on_the_phase(cfa: CFA, size: tuple[int, int]) -> None:
    multiple = 16 * cfa.packed_side
    padding, least = (
        Padding.to_reference(*size, cfa, multiple, leaves_room=leaves_room) for leaves_room in (True, False)
    )
    assert (padding.top, padding.left) == (least.top, least.left)
    added = np.array([padding.top + padding.bottom, padding.left + padding.right])
    np.testing.assert_array_equal(np.add(size, added), -(-(np.array(size) + cfa.size - 1) // multiple) * multiple)


@pytest.mark.parametrize("count", [1, 3, 7, 16, 100])
@pytest.mark.parametrize("phase", BAYER_PHASES)
def test_rows_are_cropped_as_the_whole(phase: str, count: int) -> None:
    mosaic = np.arange(23 * 31).reshape(23, 31)
    padding = Padding.to_reference(23, 31, CFA.bayer(phase), 16)
    padded, found = padding.pad(mosaic), np.zeros_like(mosaic)
    reached = 0
    for top in range(0, len(padded), count):
        rows, piece = padding.crop_rows(padded[top : top + count], top, 23)
        assert rows.start == min(reached, 23)
        assert len(piece) == rows.stop - rows.start
        found[rows] = piece
        reached = rows.stop
    np.testing.assert_array_equal(found, mosaic)

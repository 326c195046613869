import numpy as np
import pytest

from alen.cfa import (
    BAYER_PHASES,
    CFA,
    PLANE_COLORS,
    PLANES,
    XTRANS_PLANES,
    FilterArray,
    mosaic_from_rgb,
    pack,
    pack_any,
    pack_picture,
    pack_xtrans,
    reference,
    rggb_offset,
    unpack,
    unpack_xtrans,
    xtrans_offset,
    xtrans_reference,
)
from alen.errors import SettingsError

PATTERNS = [*(CFA.bayer(phase) for phase in BAYER_PHASES), CFA.xtrans()]


@pytest.mark.parametrize("cfa", PATTERNS, ids=lambda cfa: cfa.name[:4])
@pytest.mark.parametrize("shift", [(0, 0), (1, 0), (0, 1), (3, 5), (-1, 4), (-7, -2)])
def test_rolling_the_data_rolls_the_cfa(cfa: CFA, shift: tuple[int, int]) -> None:
    colors = cfa.color_map(6 * 5, 6 * 7)
    rolled = np.roll(colors, (-shift[0], -shift[1]), axis=(0, 1))
    np.testing.assert_array_equal(cfa.shifted(*shift).color_map(*colors.shape), rolled)


@pytest.mark.parametrize("cfa", PATTERNS, ids=lambda cfa: cfa.name[:4])
def test_cropping_the_data_shifts_the_cfa(cfa: CFA) -> None:
    colors = cfa.color_map(23, 31)
    for y, x in [(1, 0), (2, 3), (5, 7)]:
        np.testing.assert_array_equal(cfa.shifted(y, x).color_map(23 - y, 31 - x), colors[y:, x:])


@pytest.mark.parametrize("cfa", PATTERNS, ids=lambda cfa: cfa.name[:4])
def test_shifting_back_is_the_identity(cfa: CFA) -> None:
    assert cfa.shifted(1, 5).shifted(-1, -5) == cfa
    assert cfa.shifted(cfa.size, -cfa.size) == cfa


@pytest.mark.parametrize("phase", BAYER_PHASES)
@pytest.mark.parametrize("shape", [(2, 2), (10, 6), (34, 62)])
def test_unpack_inverts_pack(phase: str, shape: tuple[int, int]) -> None:
    cfa = CFA.bayer(phase)
    mosaic = np.random.default_rng(0).integers(0, 65_536, shape, dtype=np.uint16)
    planes = pack(mosaic, cfa)
    assert planes.shape == (4, shape[0] // 2, shape[1] // 2)
    assert planes.dtype == mosaic.dtype
    assert not np.shares_memory(planes, mosaic)
    np.testing.assert_array_equal(unpack(planes, cfa), mosaic)
    np.testing.assert_array_equal(pack(unpack(planes, cfa), cfa), planes)


@pytest.mark.parametrize("phase", BAYER_PHASES)
def test_each_plane_holds_its_color_alone(phase: str) -> None:
    cfa = CFA.bayer(phase)
    planes = pack(cfa.plane_map(6, 8), cfa)
    for index in range(len(PLANES)):
        assert np.all(planes[index] == index)
    np.testing.assert_array_equal(pack(cfa.color_map(6, 8), cfa)[:, 0, 0], [0, 1, 1, 2])


@pytest.mark.parametrize("phase", BAYER_PHASES)
def test_gr_stands_in_red_rows_and_gb_in_blue_rows(phase: str) -> None:
    cfa = CFA.bayer(phase)
    colors, planes = cfa.color_map(4, 4), cfa.plane_map(4, 4)
    for row_colors, row_planes in zip(colors, planes, strict=True):
        assert set(row_planes) == ({0, 1} if 0 in row_colors else {2, 3})


def test_planes_of_rggb_stand_as_pixel_unshuffle_takes_them() -> None:
    mosaic = np.arange(6 * 8).reshape(6, 8)
    unshuffled = mosaic.reshape(3, 2, 4, 2).transpose(1, 3, 0, 2).reshape(4, 3, 4)  # torch.nn.PixelUnshuffle(2)
    np.testing.assert_array_equal(pack(mosaic, CFA.bayer("RGGB")), unshuffled)


def test_pattern_is_named_from_its_first_pixel() -> None:
    # OpenCV and kornia would call this one "RG", by its pixel (1, 1).
    np.testing.assert_array_equal(CFA.bayer("BGGR").color_map(2, 2), [[2, 1], [1, 0]])


@pytest.mark.parametrize("phase", BAYER_PHASES)
def test_rggb_offset_leads_to_rggb(phase: str) -> None:
    cfa = CFA.bayer(phase)
    top, left = rggb_offset(cfa)
    assert 0 <= top <= 1
    assert 0 <= left <= 1
    assert cfa.shifted(-top, -left).name == "RGGB"


@pytest.mark.parametrize("cfa", PATTERNS, ids=lambda cfa: cfa.name[:4])
def test_mosaic_from_rgb_samples_the_pixels_own_color(cfa: CFA) -> None:
    rgb = np.random.default_rng(1).random((13, 17, 3)).astype(np.float32)
    mosaic = mosaic_from_rgb(rgb, cfa)
    assert mosaic.dtype == np.float32
    colors = cfa.color_map(13, 17)
    for index in range(3):
        np.testing.assert_array_equal(mosaic[colors == index], rgb[..., index][colors == index])


def test_xtrans_has_every_color_in_every_row_and_column() -> None:
    cfa = CFA.xtrans()
    colors = cfa.color_map(6, 6)
    assert [int(np.sum(colors == index)) for index in range(3)] == [8, 20, 8]
    for lines in (colors, colors.T):
        assert all(set(line) == {0, 1, 2} for line in lines.tolist())
    assert not cfa.is_bayer


def test_what_is_not_bayer_cannot_be_packed() -> None:
    with pytest.raises(SettingsError, match="Bayer"):
        pack(np.zeros((12, 12)), CFA.xtrans())
    with pytest.raises(SettingsError, match="Bayer"):
        rggb_offset(CFA.xtrans())


@pytest.mark.parametrize("shape", [(3, 4), (4, 3), (5, 5)])
def test_odd_sides_cannot_be_packed(shape: tuple[int, int]) -> None:
    with pytest.raises(SettingsError, match="even"):
        pack(np.zeros(shape), CFA.bayer("RGGB"))


@pytest.mark.parametrize("rows", [(), ("RGB",), ("RG", "G"), ("RG", "GW"), ("RG",), ("RGG", "GBG", "GGB")])
def test_a_pattern_is_a_square_of_the_three_colors(rows: tuple[str, ...]) -> None:
    with pytest.raises(SettingsError, match="pattern"):
        CFA(rows)


def test_an_unknown_phase_is_refused() -> None:
    with pytest.raises(SettingsError, match="phase"):
        CFA.bayer("RGBG")


# ---------------------------------------------------------------- X-Trans planes


def test_xtrans_planes_are_an_exact_inverse_pair() -> None:
    mosaic = np.random.default_rng(0).integers(0, 16_384, (18, 30), dtype=np.uint16)
    planes = pack_xtrans(mosaic, xtrans_reference())
    assert planes.shape == (9, 6, 10)
    assert planes.dtype == np.uint16
    np.testing.assert_array_equal(np.sort(planes, axis=None), np.sort(mosaic, axis=None))
    np.testing.assert_array_equal(unpack_xtrans(planes, xtrans_reference()), mosaic)


def test_every_xtrans_plane_has_one_color() -> None:
    planes = pack_xtrans(xtrans_reference().color_map(12, 18), xtrans_reference())
    assert ["RGB"[plane[0, 0]] for plane in planes] == list(XTRANS_PLANES)
    assert all(np.all(plane == plane[0, 0]) for plane in planes)


def test_xtrans_planes_stay_in_place() -> None:
    blocks = np.arange(12 // 3 * 18 // 3).reshape(4, 6)
    planes = pack_xtrans(np.repeat(np.repeat(blocks, 3, axis=0), 3, axis=1), xtrans_reference())
    np.testing.assert_array_equal(planes, np.broadcast_to(blocks, planes.shape))


def test_xtrans_planes_are_those_of_see_in_the_dark() -> None:
    y, x = np.mgrid[:12, :12]
    planes = pack_xtrans(100 * y + x, xtrans_reference())
    # read off the published packing of the Fuji frames: the planes' values at (0, 0), (0, 1), (1, 0) and (1, 1)
    assert planes[0, :2, :2].ravel().tolist() == [0, 4, 301, 303]
    assert planes[3, :2, :2].ravel().tolist() == [102, 205, 502, 405]
    assert planes[4, :2, :2].ravel().tolist() == [202, 105, 402, 505]
    assert planes[5, :2, :2].ravel().tolist() == [100, 103, 400, 403]
    np.testing.assert_array_equal(planes[:, 2:, 2:], planes[:, :2, :2] + 606)


@pytest.mark.parametrize("shift", [(0, 0), (1, 2), (5, 3), (4, 5)])
def test_every_xtrans_phase_is_shifted_to_the_reference(shift: tuple[int, int]) -> None:
    cfa = CFA.xtrans().shifted(*shift)
    y, x = xtrans_offset(cfa)
    assert 0 <= y < 6
    assert 0 <= x < 6
    assert cfa.shifted(-y, -x) == xtrans_reference()
    assert cfa.shifted(-y % 6, -x % 6) == xtrans_reference()
    assert xtrans_offset(xtrans_reference()) == (0, 0)


def test_what_is_not_xtrans_in_phase_cannot_be_packed() -> None:
    with pytest.raises(SettingsError, match="X-Trans"):
        xtrans_offset(CFA.bayer("RGGB"))
    with pytest.raises(SettingsError, match="xtrans_offset"):
        pack_xtrans(np.zeros((12, 12)), xtrans_reference().shifted(1, 0))
    with pytest.raises(SettingsError, match="xtrans_offset"):
        unpack_xtrans(np.zeros((9, 4, 4)), CFA.bayer("RGGB"))
    with pytest.raises(SettingsError, match="multiples of 6"):
        pack_xtrans(np.zeros((12, 15)), xtrans_reference())
    with pytest.raises(SettingsError, match="even sides"):
        unpack_xtrans(np.zeros((9, 4, 3)), xtrans_reference())


@pytest.mark.parametrize(("cfa", "kind", "side", "planes"), [("bayer", "bayer", 2, 4), ("xtrans", "xtrans", 3, 9)])
def test_filter_arrays_tell_how_they_are_packed(cfa: FilterArray, kind: str, side: int, planes: int) -> None:
    array = reference(cfa)
    assert (array.kind, array.packed_side, array.plane_count) == (kind, side, planes)
    mosaic = np.random.default_rng(0).normal(size=(12, 18)).astype(np.float32)
    packed = pack_any(mosaic, array)
    assert packed.shape == (planes, 12 // side, 18 // side)
    np.testing.assert_array_equal(np.sort(packed, axis=None), np.sort(mosaic, axis=None))


@pytest.mark.parametrize("kind", ["bayer", "xtrans"])
def test_a_picture_is_packed_as_its_mosaic_is(kind: FilterArray) -> None:
    cfa = reference(kind)
    picture = np.random.default_rng(0).random((cfa.packed_side * 14, cfa.packed_side * 22, 3))
    packed = pack_any(mosaic_from_rgb(picture, cfa), cfa)
    np.testing.assert_array_equal(pack_picture(picture, cfa.plane_count), packed)


@pytest.mark.parametrize("kind", ["bayer", "xtrans"])
def test_planes_have_the_colors_they_are_told_to_have(kind: FilterArray) -> None:
    cfa = reference(kind)
    colors = pack_any(cfa.color_map(12, 12), cfa)
    assert ["RGB"[plane[0, 0]] for plane in colors] == list(PLANE_COLORS[kind])
    assert all((plane == plane[0, 0]).all() for plane in colors)

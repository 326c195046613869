"""ELD: which images make pairs, their ratios, and what is said when they are not there."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from alen.data.eld import CAMERAS, check, eld_pairs
from alen.errors import DataError, SettingsError
from miniature import make_eld, write_exposure


@pytest.fixture(scope="module")
def eld(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_eld(tmp_path_factory.mktemp("eld"))
    for scene in range(2, 11):
        shutil.copytree(folder / "SonyA7S2" / "scene-1", folder / "SonyA7S2" / f"scene-{scene}")
    return folder


@pytest.mark.parametrize(("ratio", "shorts"), [(100, (4, 9, 14)), (200, (5, 10, 15))])
def test_pairs_are_those_of_the_authors(eld: Path, ratio: int, shorts: tuple[int, ...]) -> None:
    pairs = eld_pairs(eld, "SonyA7S2", ratio)
    assert len(pairs) == 30
    assert len({pair.name for pair in pairs}) == 30
    assert len({pair.scene for pair in pairs}) == 10
    place = eld / "SonyA7S2" / "scene-1"
    assert [pair.short for pair in pairs[:3]] == [place / f"IMG_{number:04}.ARW" for number in shorts]
    assert [pair.reference for pair in pairs[:3]] == [place / f"IMG_{number:04}.ARW" for number in (6, 11, 16)]
    # ISO × time: a reference of 4 s at ISO 100 against ISO 800, 1600 and 3200
    assert [pair.ratio for pair in pairs[:3]] == pytest.approx([ratio] * 3, rel=1e-4)
    assert [pair.short_s for pair in pairs[:3]] == pytest.approx([400 / iso / ratio for iso in (800, 1600, 3200)])
    assert pairs[0].reference_s == 4


def test_a_complete_camera(eld: Path) -> None:
    report = check(eld, "SonyA7S2")
    assert report.is_complete
    assert str(report).endswith("90 of 90 files of 10 scenes; complete")


def test_what_is_missing_is_named(eld: Path) -> None:
    report = check(eld, "NikonD850")
    assert len(report.missing) == report.files == 90
    assert report.missing[0] == eld / "NikonD850" / "scene-1" / "IMG_0004.nef"
    with pytest.raises(DataError, match=r"60 files of CanonEOS70D are missing, .*scene-1.IMG_0004\.CR2"):
        eld_pairs(eld, "CanonEOS70D", 100)
    with pytest.raises(DataError, match="no such folder"):
        check(eld / "missing", "SonyA7S2")


def test_another_order_is_noticed(eld: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(eld, tmp_path / "eld"))
    shutil.copyfile(copy / "SonyA7S2/scene-3/IMG_0003.ARW", copy / "SonyA7S2/scene-3/IMG_0004.ARW")
    with pytest.raises(DataError, match=r"10 times less .* expected 100"):
        eld_pairs(copy, "SonyA7S2", 100)


def test_only_the_sets_cameras_and_ratios(eld: Path) -> None:
    with pytest.raises(SettingsError, match=", ".join(CAMERAS)):
        eld_pairs(eld, "iPhone", 100)
    with pytest.raises(SettingsError, match="100 and 200"):
        eld_pairs(eld, "SonyA7S2", 300)


def test_a_file_without_exposure_is_named(eld: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from alen.data import eld as module
    from alen.raw import RawHeader

    blank = RawHeader(height=1, width=1, camera="x", iso=None, exposure_time_s=None, aperture=None)
    monkeypatch.setattr(module, "read_header", lambda _: blank)
    with pytest.raises(DataError, match=r"IMG_0004\.ARW: the file does not tell"):
        eld_pairs(eld, "SonyA7S2", 100)
    assert write_exposure(tmp_path / "a.dng").exists()

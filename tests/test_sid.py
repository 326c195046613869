"""See-in-the-Dark: lists, pairs, counts; with and without the files."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import pytest

from alen.data.sid import SUBSETS, ListLine, check, missing_files, read_list, sid_pairs
from alen.errors import DataError
from miniature import make_sid

LINE = "./Sony/short/10003_00_0.04s.ARW ./Sony/long/10003_00_10s.ARW ISO200 F5.6\n"


@pytest.fixture
def sid(tmp_path: Path) -> Path:
    return make_sid(tmp_path / "sid", "sony")


def written(folder: Path, text: str, name: str = "Sony_test_list.txt") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text)
    return folder / name


def test_a_line_is_read(tmp_path: Path) -> None:
    (line,) = read_list(written(tmp_path, f"\n{LINE}\n"))
    assert isinstance(line, ListLine)
    assert (str(line.short), str(line.reference)) == (
        "Sony/short/10003_00_0.04s.ARW",
        "Sony/long/10003_00_10s.ARW",
    )
    assert (line.iso, line.aperture) == (200, 5.6)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (LINE + "nonsense\n", r"line 2: expected"),
        (LINE.replace("ISO200", "200"), r"line 1: expected"),
        (LINE.replace("./Sony/short", "/Sony/short"), r"line 1: .* leads out"),
        (LINE.replace("./Sony/long", "./Sony/../../long"), r"line 1: .* leads out"),
        (LINE.replace("./Sony/long", "C:/long"), r"line 1: .* leads out"),
        (LINE.replace("./Sony/long/", "..\\"), r"line 1: .* leads out"),
        ("", "empty"),
    ],
)
def test_nonsense_is_named_with_its_line(text: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"Sony_test_list\.txt.*{words}"):
        read_list(written(tmp_path, text))


def test_a_list_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        read_list(tmp_path / "missing.txt")
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="cannot be read"):
        read_list(tmp_path / "binary.txt")


def test_pairs_need_only_the_list(tmp_path: Path) -> None:
    written(tmp_path, LINE + LINE.replace("0.04s", "0.033s").replace("_00_0", "_01_0") + LINE)
    first, second = sid_pairs(tmp_path, "sony", "test")  # the repeated line counts once
    assert (first.name, first.scene, first.camera) == ("10003_00_0.04s", "10003", "Sony")
    assert (first.short_s, first.reference_s, first.ratio) == (0.04, 10.0, 250.0)
    assert second.ratio == 300  # 10 / 0.033 = 303, capped
    assert missing_files([first, second]) == [first.short, first.reference, second.short]
    report = check(tmp_path, "sony")
    assert [(part.split, part.pairs, len(part.missing)) for part in report.splits] == [
        ("train", 0, 0),
        ("val", 0, 0),
        ("test", 2, 3),
    ]
    assert not report.is_complete
    assert "2 of 598 pairs, 1 of 50 scenes listed; incomplete, 3 files missing" in str(report)


def test_a_whole_official_list_is_complete(tmp_path: Path) -> None:
    for split, digit in (("train", 0), ("val", 2), ("test", 1)):
        pairs, scenes = SUBSETS["fuji"].pairs[split], SUBSETS["fuji"].scenes[split]  # type: ignore[index]
        lines = []
        for number in range(pairs):
            scene = f"{digit}{number % scenes:04}"
            names = f"{scene}_{number // scenes:02}_0.1s.RAF", f"{scene}_00_10s.RAF"
            lines.append(f"./Fuji/short/{names[0]} ./Fuji/long/{names[1]} ISO200 F8")
            for kind, name in zip(("short", "long"), names, strict=True):
                (tmp_path / "Fuji" / kind).mkdir(parents=True, exist_ok=True)
                (tmp_path / "Fuji" / kind / name).touch()
        written(tmp_path, "\n".join(lines), f"Fuji_{split}_list.txt")
    report = check(tmp_path, "fuji")
    assert report.is_complete
    assert report.missing == ()
    assert "135 of 135 scenes listed; complete" in str(report)


def test_names_alone_give_the_same_pairs(sid: Path, caplog: pytest.LogCaptureFixture) -> None:
    listed = {split: sid_pairs(sid, "sony", split) for split in ("train", "val", "test")}  # type: ignore[arg-type]
    for path in sid.glob("*_list.txt"):
        path.unlink()
    for split, pairs in listed.items():
        with caplog.at_level(logging.WARNING):
            found = sid_pairs(sid, "sony", split)  # type: ignore[arg-type]
        assert sorted(found, key=str) == sorted(pairs, key=str)
        assert {pair.scene[0] for pair in found} == {{"train": "0", "val": "2", "test": "1"}[split]}
    assert "no such list; 4 pairs were derived" in caplog.text
    assert "found by their names (no list)" in str(check(sid, "sony"))


def test_several_references_make_several_names(sid: Path) -> None:
    (sid / "Sony_train_list.txt").unlink()
    shutil.copyfile(sid / "Sony/long/00001_00_10s.ARW", sid / "Sony/long/00001_00_30s.ARW")
    pairs = [pair for pair in sid_pairs(sid, "sony", "train") if pair.scene == "00001"]
    assert {pair.name for pair in pairs} == {
        f"00001_00_{short}s-00001_00_{long}s" for short in ("0.1", "0.04") for long in ("10", "30")
    }


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"neither Sony_train_list\.txt nor pairs"):
        sid_pairs(tmp_path, "sony", "train")
    with pytest.raises(DataError, match="no such folder"):
        check(tmp_path / "missing", "fuji")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (LINE.replace("10003_00_10s", "10004_00_10s"), "another scene"),
        (LINE.replace("0.04s", "darks"), "SCENE_NN_SECONDSs"),
        (LINE.replace("0.04s", "0s"), "SCENE_NN_SECONDSs"),
    ],
)
def test_names_are_checked(line: str, words: str, tmp_path: Path) -> None:
    written(tmp_path, line)
    with pytest.raises(DataError, match=words):
        sid_pairs(tmp_path, "sony", "test")

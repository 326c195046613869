"""`alen data` as a user sees it."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path

import pytest

from alen.cli import main
from alen.data.cache import PairCache
from miniature import make_eld, make_sid


@pytest.fixture
def sid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return make_sid(tmp_path / "sid", "sony", scenes_per_split=1)


def test_what_is_there_is_told(sid: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "sid", "sid"]) == 0
    out = capsys.readouterr().out
    assert out == (
        "See-in-the-Dark, Sony, in sid\n"
        "  train  2 of 1,865 pairs, 1 of 161 scenes listed; incomplete; the list is not the official one\n"
        "  val    2 of 234 pairs, 1 of 20 scenes listed; incomplete; the list is not the official one\n"
        "  test   2 of 598 pairs, 1 of 50 scenes listed; incomplete; the list is not the official one\n"
    )
    assert main(["data", "sid", "sid", "--check"]) == 1
    assert sid.is_dir()


def test_what_is_there_is_told_without_lists(
    sid: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    for path in sid.glob("*_list.txt"):
        path.unlink()
    (sid / "Sony/short/20001_00_0.1s.ARW").unlink()
    assert main(["data", "sid", "sid", "--split", "val", "--check"]) == 1
    assert capsys.readouterr().out == (
        "See-in-the-Dark, Sony, in sid\n"
        "  val    1 of 234 pairs, 1 of 20 scenes found by their names (no list); "
        "incomplete; the rest cannot be named without the list\n"
    )
    assert not caplog.messages  # the report says it
    assert main(["data", "sid", "sid", "--split", "val", "--cache", "cache"]) == 0
    assert [message.split(": ", 1)[1] for message in caplog.messages] == [
        "there is no such list; 1 pair was derived from the names of the files"
    ]


def test_the_first_ten_missing_files_are_named(sid: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = (sid / "Sony_val_list.txt").read_text().splitlines()[0]
    (sid / "Sony_val_list.txt").write_text("\n".join(line.replace("_00_0", f"_{n:02}_0") for n in range(20, 33)))
    assert main(["data", "sid", "sid"]) == 1
    out = capsys.readouterr().out
    assert out.count("  missing: sid/Sony/short/2000") == 10
    assert out.endswith("  … and 3 more; --json names all\n")
    assert main(["data", "sid", "sid", "--json"]) == 1
    facts = json.loads(capsys.readouterr().out)
    assert len(facts["splits"]["val"]["missing"]) == 13
    assert facts["splits"]["train"] == {
        "pairs": 2,
        "scenes": 1,
        "official_pairs": 1865,
        "official_scenes": 161,
        "is_listed": True,
        "is_complete": False,
        "missing": [],
    }
    assert main(["data", "sid", "sid", "--cache", "cache"]) == 1
    assert "13 files are missing, so no cache was built" in capsys.readouterr().err
    assert not Path("cache").exists()


def test_a_cache_is_built_after_its_size_is_told(sid: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "sid", "sid", "--cache", "cache"]) == 0
    out, err = capsys.readouterr()
    assert "cache: the cache of 6 pairs takes 0.7 MB;" in err  # (2 · 2 + 6) bytes · 128 · 192, three times
    assert "cache/train: 2 pairs, ready\n" in out
    for split in ("train", "val", "test"):
        assert len(PairCache.open(Path("cache") / split)) == 2
    assert main(["data", "sid", "sid", "--cache", "other", "--split", "val", "--reference", "mosaic"]) == 0
    assert [path.name for path in Path("other").iterdir()] == ["val"]
    assert PairCache.open(Path("other/val")).reference_mosaic(0).mosaic.shape == (128, 192)


def test_a_cache_of_what_training_reads(sid: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A burst has more frames than its first, and training takes none of them."""
    first = next((sid / "Sony" / "short").glob("0*_00_0.1s.ARW"))
    second = first.with_name(first.name.replace("_00_", "_01_"))
    shutil.copyfile(first, second)
    with (sid / "Sony_train_list.txt").open("a") as lines:
        reference = next((sid / "Sony" / "long").glob("0*.ARW"))
        lines.write(f"./Sony/short/{second.name} ./Sony/long/{reference.name} ISO800 F8\n")
    assert main(["data", "sid", "sid", "--cache", "cache", "--split", "train", "--first-frames"]) == 0
    assert "cache/train: 2 pairs, ready\n" in capsys.readouterr().out
    assert second.stem not in {pair.name for pair in PairCache.open(Path("cache/train")).pairs}
    assert main(["data", "sid", "sid", "--cache", "cache", "--split", "train"]) == 0
    assert len(PairCache.open(Path("cache/train"))) == 3


def test_eld_and_own_pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    make_eld(tmp_path / "eld")
    assert main(["data", "eld", "eld", "--check"]) == 1
    assert "9 of 90 files of 10 scenes; incomplete, 81 missing" in capsys.readouterr().out
    for scene in range(2, 11):
        shutil.copytree(tmp_path / "eld/SonyA7S2/scene-1", tmp_path / f"eld/SonyA7S2/scene-{scene}")
    assert main(["data", "eld", "eld", "--check", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["is_complete"] is True
    place = "eld/SonyA7S2/scene-1"
    (tmp_path / "pairs.csv").write_text(f"short,long,ratio\n{place}/IMG_0004.ARW,{place}/IMG_0006.ARW,100\n")
    assert main(["data", "own", "pairs.csv", "--cache", "cache"]) == 0
    out, err = capsys.readouterr()
    assert out == "pairs.csv: 1 pair of 1 scene, Miniature sony\ncache: 1 pair, ready\n"
    assert "cache: the cache of 1 pair takes 0.2 MB;" in err
    assert PairCache.open(tmp_path / "cache").pairs[0].ratio == 100


def test_what_is_not_there_fails_with_a_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for command in (["sid", "none"], ["eld", "none"], ["own", "none.csv"]):
        assert main(["data", *command]) == 1
        assert capsys.readouterr().err.startswith("error: none")


def test_a_download_is_unpacked_and_checked(sid: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # the archive is there already: nothing is fetched
    new = tmp_path / "new"
    new.mkdir()
    with zipfile.ZipFile(new / "Sony2025.zip", "w") as archive:
        for path in sorted(sid.rglob("*.*")):
            archive.write(path, path.relative_to(sid).as_posix())
    assert main(["data", "sid", "new", "--download"]) == 0
    out, err = capsys.readouterr()
    assert "Sony2025.zip: about 25 GB from https://" in err
    assert "new: 12 files unpacked" in err
    assert "2 of 1,865 pairs, 1 of 161 scenes listed" in out
    table = tmp_path / "table.toml"
    table.write_text("[other]\nfile='a.zip'\nurl=''\ngigabytes=1\nsha256=''\npage=''\n")
    assert main(["data", "sid", "new", "--download", "--downloads", "table.toml"]) == 1
    assert "there is no [sid-sony] in it" in capsys.readouterr().err

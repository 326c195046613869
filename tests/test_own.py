"""Own pairs: what a CSV may say, and the line of every mistake."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from alen.data.own import own_pairs
from alen.errors import DataError, NotRawError, RawNotFoundError
from alen.raw import RawHeader, read_header
from miniature import write_exposure


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for place in ("a", "b"):
        (tmp_path / place).mkdir()
        write_exposure(tmp_path / place / "short 1.arw", relative=0.01, time_s=0.1)
        write_exposure(tmp_path / place / "long.dng", time_s=10.0)
    (tmp_path / "text.arw").write_text("no RAW file")
    return tmp_path


def listed(folder: Path, text: str) -> Path:
    path = folder / "pairs.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_ratio_and_scene_come_from_the_files(folder: Path) -> None:
    (pair,) = own_pairs(listed(folder, "short,long\na/short 1.arw,a/long.dng\n"))
    assert (pair.name, pair.scene, pair.camera) == ("short 1", "long", "Miniature sony")
    assert (pair.short, pair.reference) == (folder / "a/short 1.arw", folder / "a/long.dng")
    assert (pair.short_s, pair.reference_s) == (0.1, 10.0)
    assert pair.ratio == pytest.approx(100)


def test_ratio_and_scene_may_be_given(folder: Path) -> None:
    text = "\ufeffScene, long ,SHORT,ratio\r\nnight,a/long.dng,a/short 1.arw,33.5\r\n\r\n,b/long.dng,b/short 1.arw,\r\n"
    first, second = own_pairs(listed(folder, text))
    assert (first.scene, first.ratio, first.name) == ("night", 33.5, "a-short 1-long")
    assert (second.scene, second.name) == ("b/long.dng", "b-short 1-long")
    assert second.ratio == pytest.approx(100)


def test_every_reference_is_a_scene_of_its_own(folder: Path) -> None:
    write_exposure(folder / "a" / "short 2.arw", relative=0.02, time_s=0.2)
    lines = "a/short 1.arw,a/long.dng\na/short 2.arw,./b/../a/long.dng\nb/short 1.arw,b/long.dng\n"
    assert [pair.scene for pair in own_pairs(listed(folder, f"short,long\n{lines}"))] == [
        "a/long.dng",
        "a/long.dng",
        "b/long.dng",
    ]


def test_all_pairs_of_a_reference_are_of_one_scene(folder: Path) -> None:
    """Else one of them would be trained on while another one judges."""
    write_exposure(folder / "a" / "short 2.arw", relative=0.02, time_s=0.2)
    lines = "a/short 1.arw,a/long.dng,{}\na/short 2.arw,b/../a/long.dng,{}\nb/short 1.arw,b/long.dng,\n"
    for first, second in (("night", ""), ("", "night"), ("night", "night")):
        pairs = own_pairs(listed(folder, f"short,long,scene\n{lines.format(first, second)}"))
        assert [pair.scene for pair in pairs] == ["night", "night", "b/long.dng"]
    with pytest.raises(DataError, match=r"line 3: long\.dng is of the scene street here, of night in line 2"):
        own_pairs(listed(folder, f"short,long,scene\n{lines.format('night', 'street')}"))


def test_pairs_of_many_folders_have_names_of_their_own(folder: Path) -> None:
    places = ("paris/night", "rome/night", "rome/day")
    for place in places:
        (folder / place).mkdir(parents=True)
        for name in ("1.dng", "1.arw", "2.dng"):
            write_exposure(folder / place / name, relative=0.5, time_s=20 if name[0] == "2" else 0.2)
    lines = [f"{place}/1.dng,{place}/2.dng\n" for place in places]
    names = [pair.name for pair in own_pairs(listed(folder, "short,long\n" + "".join(lines)))]
    assert names == ["paris-night-1-2", "rome-night-1-2", "day-1-2"]
    lines += ["rome/day/1.arw,rome/day/2.dng\n", "rome/day/1.arw,paris/night/2.dng\n", "a/short 1.arw,a/long.dng\n"]
    names = [pair.name for pair in own_pairs(listed(folder, "short,long\n" + "".join(lines)))]
    assert names[2:] == [
        "rome-day-1.dng-rome-day-2.dng",
        "rome-day-1.arw-rome-day-2.dng",
        "rome-day-1.arw-paris-night-2.dng",
        "short 1",
    ]
    (folder / "c").symlink_to(folder / "a")
    with pytest.raises(DataError, match=r"line 2: .*short 1.* twice, again in line 3"):
        own_pairs(listed(folder, "short,long\na/short 1.arw,a/long.dng\nc/short 1.arw,b/../a/long.dng\n"))


@pytest.mark.parametrize(
    ("change", "words"),
    [({"iso": 100.0}, "the ISO speed of “short” is ISO 800, .* ISO 100"), ({"aperture": 4.0}, "the aperture .* f/4")],
)
def test_a_ratio_is_given_where_more_than_the_time_differs(
    folder: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, float], words: str
) -> None:
    def header(path: Path) -> RawHeader:
        found = read_header(path)
        return dataclasses.replace(found, **change) if path.stem == "long" else found

    monkeypatch.setattr("alen.data.own.read_header", header)
    with pytest.raises(DataError, match=rf"pairs\.csv, line 2: {words}.* column “ratio”"):
        own_pairs(listed(folder, "short,long\na/short 1.arw,a/long.dng\n"))
    (pair,) = own_pairs(listed(folder, "short,long,ratio\na/short 1.arw,a/long.dng,12.5\n"))
    assert pair.ratio == 12.5


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "line 1: expected the header"),
        ("short;long\n", "line 1: expected the header"),
        ("short,long,iso\n", "line 1: expected the header"),
        ("short,long,long\n", "line 1: expected the header"),
        ("short,long\n", "no pairs in it"),
        ("short,long\na/short 1.arw,a/long.dng\na/short 1.arw\n", "line 3: “long” is empty"),
        ("short,long\na/short 1.arw,a/long.dng,1,2\n", "line 2: there are more values"),
        ("short,long\na/long.dng,a/short 1.arw\n", "line 2: .* swapped"),
        ("short,long,ratio\na/short 1.arw,a/long.dng,many\n", "line 2: the ratio .*many"),
        ("short,long,ratio\na/short 1.arw,a/long.dng,nan\n", "line 2: the ratio"),
        ("short,long,ratio\na/short 1.arw,a/long.dng,0.5\n", "line 2: the ratio"),
        ("short,long\na/short 1.arw,a/long.dng\na/short 1.arw,a/long.dng\n", "line 2: .* twice"),
        ("short,long\na/long.dng,b/../a/long.dng\n", "line 2: .* the same file"),
        ('short,long\n"a/short 1.arw,a/long.dng\n', "cannot be read"),
    ],
)
def test_mistakes_are_named_with_their_line(text: str, words: str, folder: Path) -> None:
    with pytest.raises(DataError, match=rf"pairs\.csv.*{words}"):
        own_pairs(listed(folder, text))


def test_what_cannot_be_read(folder: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        own_pairs(folder / "missing.csv")
    (folder / "binary.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="cannot be read"):
        own_pairs(folder / "binary.csv")
    with pytest.raises(NotRawError, match=r"pairs\.csv, line 2: .*text\.arw"):
        own_pairs(listed(folder, "short,long\ntext.arw,a/long.dng\n"))
    with pytest.raises(RawNotFoundError, match=r"pairs\.csv, line 2: .*missing\.arw: there is no such file"):
        own_pairs(listed(folder, "short,long\na/missing.arw,a/long.dng\n"))


def test_what_cannot_be_read_may_be_left_out(folder: Path) -> None:
    lines = "text.arw,a/long.dng\na/short 1.arw,a/long.dng\nb/short 1.arw,b/missing.dng\n"
    left_out: list[str] = []
    (pair,) = own_pairs(listed(folder, f"short,long\n{lines}"), left_out=left_out)
    assert pair.name == "a-short 1-long"  # as if all were there
    assert ["line 2" in left_out[0], "line 4" in left_out[1], len(left_out)] == [True, True, 2]
    with pytest.raises(DataError, match="line 2: the ratio"):
        own_pairs(listed(folder, f"short,long,ratio\na/short 1.arw,a/long.dng,none\n{lines}"), left_out=left_out)

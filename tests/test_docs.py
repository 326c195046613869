"""README and docs: links lead somewhere, names exist, commands take the options they are shown with."""

from __future__ import annotations

import contextlib
import functools
import importlib
import io
import re
import shlex
from pathlib import Path

import pytest

from alen.cfa import CFA, mosaic_from_rgb
from alen.cli import main
from frames import GAINS, RATIO, make_dng, ramp

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
NAME = re.compile(r"`(alen(?:\.[A-Za-z_]\w*)+)(?:\([^`]*\))?`")
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
OPTION = re.compile(r"--[a-z][a-z-]*")

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def _anchors(page: Path) -> set[str]:
    """Return what a page's headings are linked by, as GitHub names them."""
    prose = BLOCK.sub("", page.read_text(encoding="utf-8"))
    titles = re.findall(r"^#+ (.*)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pages
def test_links_lead_somewhere(page: Path) -> None:
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        path, _, anchor = target.partition("#")
        if path.startswith(("https://", "mailto:")):
            continue
        there = page.parent / path if path else page
        assert there.exists(), target
        assert not anchor or anchor in _anchors(there), target


@pages
def test_names_exist(page: Path) -> None:
    for name in set(NAME.findall(page.read_text(encoding="utf-8"))):
        assert _exists(name), name


def _exists(name: str) -> bool:
    """Tell whether a dotted name can be imported, or is an attribute of what can be."""
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        try:
            thing: object = importlib.import_module(".".join(parts[:count]))
        except ModuleNotFoundError:
            continue
        for part in parts[count:]:
            if not hasattr(thing, part) and part not in getattr(thing, "__annotations__", {}):
                return False
            thing = getattr(thing, part, None)
        return True
    return False


def _commands(page: Path) -> list[list[str]]:
    """Return the words of every line of a page's blocks that runs the program."""
    lines = []
    for language, block in BLOCK.findall(page.read_text(encoding="utf-8")):
        if language in ("", "sh", "bash", "console"):
            lines += block.replace("\\\n", " ").splitlines()
    return [shlex.split(line, comments=True) for line in lines if line.startswith("alen ")]


@functools.cache
def _help(*command: str) -> str:
    """Return what a command says of itself."""
    with contextlib.redirect_stdout(io.StringIO()) as said:
        assert main([*command, "--help"]) == 0, command
    return said.getvalue()


def _options(words: list[str]) -> set[str]:
    """Return the options of a command as words: of all below it, if the next one is left open."""
    _, first, *others = words
    below = set(re.findall(r"^│ ([a-z][a-z-]*) ", _help(first), re.MULTILINE))
    chosen = below if "…" in others[:1] else below.intersection(others[:1])
    return {
        option
        for helped in (_help(first), *(_help(first, name) for name in chosen))
        for option in OPTION.findall(helped)
    }


@pages
def test_commands_take_their_options(page: Path) -> None:
    for words in _commands(page):
        assert {word.partition("=")[0] for word in words if word.startswith("--")} <= _options(words), words


@pages
def test_options_in_sentences_exist(page: Path) -> None:
    """What is said of a command: `alen enhance --ratio`."""
    for code in re.findall(r"`(alen [a-z][^`]*)`", page.read_text(encoding="utf-8")):
        assert set(OPTION.findall(code)) <= _options(code.replace("[", " ").replace("]", " ").split()), code


@functools.cache
def _help_of_benchmark(name: str) -> str:
    app = getattr(importlib.import_module(name), "app", None)
    with contextlib.redirect_stdout(io.StringIO()) as said, contextlib.suppress(SystemExit):
        if app is not None:  # one takes none
            app(["--help"])
    return said.getvalue()


@pages
def test_benchmarks_take_their_options(page: Path) -> None:
    for name, line in re.findall(r"python -m (benchmarks\.\w+)([^`\n]*)", page.read_text(encoding="utf-8")):
        assert set(OPTION.findall(line)) <= set(OPTION.findall(_help_of_benchmark(name))), (name, line)


@pytest.mark.parametrize("page", ["README.md", "docs/library.md"])
def test_the_lines_of_python_run(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One block after the other, as a reader would type them."""
    monkeypatch.chdir(tmp_path)
    scene = ramp(48, 64)
    light = mosaic_from_rgb(scene / (GAINS[0] * RATIO * scene.max()), CFA.bayer("GBRG"))
    Path("night.dng").write_bytes(make_dng(light, CFA.bayer("GBRG")))
    known: dict[str, object] = {}
    for language, block in BLOCK.findall((ROOT / page).read_text(encoding="utf-8")):
        if language == "python":
            exec(compile(block, page, "exec"), known)  # our own page
    assert Path("night.jpg").stat().st_size > 0

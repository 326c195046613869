"""Downloads against a server of our own: resumed, retried, checked; archives that mean harm."""

from __future__ import annotations

import hashlib
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alen.data import download as module
from alen.data.download import Source, download, read_sources, unpack
from alen.errors import DataError

DATA = np.random.default_rng(0).bytes(300_000)


class Server(ThreadingHTTPServer):
    """Serves DATA, with faults to order."""

    break_after: list[int]
    statuses: list[int]
    asked: list[str | None]
    ranges = True
    tag = '"one"'
    data = DATA


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server, wanted = self.server, self.headers.get("Range")
        server.asked.append(wanted)
        if server.statuses:
            self.send_error(server.statuses.pop(0))
            return
        start = 0
        if wanted and server.ranges and self.headers.get("If-Range", server.tag) == server.tag:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= len(server.data):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(server.data)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(server.data) - 1}/{len(server.data)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(server.data) - start))
        self.send_header("ETag", server.tag)
        self.end_headers()
        end = start + server.break_after.pop(0) if server.break_after else None
        self.wfile.write(server.data[start:end])

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is http.server's
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(module, "_sleep", lambda _: None)
    monkeypatch.setattr(module, "_CHUNK", 1 << 14)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Server(("127.0.0.1", 0), Handler) as running:
        running.break_after, running.statuses, running.asked = [], [], []
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def source(server: Server, **changes: Any) -> Source:
    fields = {
        "name": "set",
        "file": "set.zip",
        "url": f"http://127.0.0.1:{server.server_address[1]}/set.zip",
        "gigabytes": 0.0003,
        "sha256": hashlib.sha256(DATA).hexdigest(),
        "page": "https://example.org/set",
    }
    return Source(**{**fields, **changes})


def test_a_file_is_downloaded_once(server: Server, tmp_path: Path) -> None:
    steps: list[tuple[int, int | None]] = []
    path = download(source(server), tmp_path / "new", progress=lambda done, total: steps.append((done, total)))
    assert path.read_bytes() == DATA
    assert steps[-1] == (len(DATA), len(DATA))
    assert [item.name for item in path.parent.iterdir()] == ["set.zip"]
    download(source(server), tmp_path / "new")
    assert server.asked == [None]


def test_a_broken_transfer_goes_on_where_it_broke(server: Server, tmp_path: Path) -> None:
    server.break_after = [100_000, 50_000]
    server.statuses = []
    assert download(source(server), tmp_path).read_bytes() == DATA
    assert server.asked == [None, "bytes=100000-", "bytes=150000-"]


def test_what_an_interrupted_program_left_is_used(server: Server, tmp_path: Path) -> None:
    (tmp_path / "set.zip.part").write_bytes(DATA[:200_000])
    assert download(source(server), tmp_path).read_bytes() == DATA
    assert server.asked == ["bytes=200000-"]


def test_a_part_that_is_whole_needs_no_transfer(server: Server, tmp_path: Path) -> None:
    (tmp_path / "set.zip.part").write_bytes(DATA)
    assert download(source(server), tmp_path).read_bytes() == DATA


def test_a_part_that_is_too_long_is_started_again(server: Server, tmp_path: Path) -> None:
    (tmp_path / "set.zip.part").write_bytes(DATA + b"more")
    assert download(source(server), tmp_path).read_bytes() == DATA


def test_a_file_that_changed_meanwhile_is_started_again(server: Server, tmp_path: Path) -> None:
    server.break_after = [100_000]
    server.statuses = []
    (tmp_path / "set.zip.part").write_bytes(b"old" * 1000)
    (tmp_path / "set.zip.part.tag").write_text('"another"')
    assert download(source(server), tmp_path).read_bytes() == DATA
    assert server.asked == ["bytes=3000-", "bytes=100000-"]


def test_a_server_without_ranges_sends_all_again(server: Server, tmp_path: Path) -> None:
    server.ranges = False
    (tmp_path / "set.zip.part").write_bytes(b"x" * 1000)
    assert download(source(server), tmp_path).read_bytes() == DATA


def test_a_busy_server_is_asked_again(server: Server, tmp_path: Path) -> None:
    server.statuses = [503, 429, 500]
    assert download(source(server), tmp_path).read_bytes() == DATA
    assert len(server.asked) == 4


def test_a_refusal_is_final(server: Server, tmp_path: Path) -> None:
    server.statuses = [404]
    with pytest.raises(DataError, match=r"404 .*example\.org/set"):
        download(source(server), tmp_path)
    assert len(server.asked) == 1


def test_giving_up_keeps_what_arrived(server: Server, tmp_path: Path) -> None:
    server.break_after = [1000] + [0] * 20
    with pytest.raises(DataError, match="8 times in a row"):
        download(source(server), tmp_path)
    assert (tmp_path / "set.zip.part").read_bytes() == DATA[:1000]
    assert not (tmp_path / "set.zip").exists()


def test_a_wrong_digest_is_refused(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="SHA-256"):
        download(source(server, sha256="0" * 64), tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert download(source(server, sha256=""), tmp_path).read_bytes() == DATA


def test_without_an_address_it_says_where_to_look(tmp_path: Path) -> None:
    eld = read_sources()["eld"]
    with pytest.raises(DataError, match=r"by hand from https://github\.com/Vandermode/ELD"):
        download(eld, tmp_path)
    with pytest.raises(DataError, match="https://"):
        download(Source(**{**vars(eld), "url": "file:///etc/passwd"}), tmp_path)


def test_the_table_that_ships() -> None:
    sources = read_sources()
    assert {name: (item.file, item.gigabytes) for name, item in sources.items()} == {
        "sid-sony": ("Sony2025.zip", 25),
        "sid-fuji": ("Fuji2025.zip", 52),
        "eld": ("ELD.zip", 12),
    }


@pytest.mark.parametrize(
    "text",
    [
        "nonsense",
        "[a]\nfile = 'a.zip'\n",
        "[a]\nfile = '../a.zip'\nurl = ''\ngigabytes = 1\nsha256 = ''\npage = ''\n",
        "[a]\nfile = 'a.zip'\nurl = ''\ngigabytes = 1\nsha256 = 'abc'\npage = ''\n",
        "[a]\nfile = 'a.zip'\nurl = 3\ngigabytes = 1\nsha256 = ''\npage = ''\n",
        "a = 1\n",
    ],
)
def test_a_table_with_mistakes_is_refused(text: str, tmp_path: Path) -> None:
    table = tmp_path / "own.toml"
    table.write_text(text)
    with pytest.raises(DataError, match=r"own\.toml"):
        read_sources(table)


def archive(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        for name, data in members.items():
            file.writestr(zipfile.ZipInfo(name), data)
    return path


def test_an_archive_is_unpacked_once(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.zip", {"Sony/short/a.ARW": b"a" * 99, "Sony/long/b.ARW": b"b"})
    steps: list[tuple[int, int]] = []
    files = unpack(path, tmp_path / "sid", progress=lambda done, total: steps.append((done, total)))
    assert [file.read_bytes() for file in files] == [b"a" * 99, b"b"]
    assert steps == [(1, 2), (2, 2)]
    files[0].write_bytes(b"cut")
    before = files[1].stat().st_mtime_ns
    unpack(path, tmp_path / "sid")
    assert files[0].read_bytes() == b"a" * 99
    assert files[1].stat().st_mtime_ns == before


@pytest.mark.parametrize("name", ["../evil", "/evil", "a/../../evil", "C:/evil", "a\\..\\evil", "link/evil"])
def test_archives_that_lead_out_write_nothing(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "in" / "sid"
    folder.mkdir(parents=True)
    (folder / "link").symlink_to(tmp_path)
    with pytest.raises(DataError, match="leads out"):
        unpack(archive(tmp_path / "a.zip", {"good": b"good", name: b"evil"}), folder)
    assert not list(tmp_path.rglob("evil"))
    assert not (folder / "good").exists()


def test_links_in_archives_are_refused(tmp_path: Path) -> None:
    info = zipfile.ZipInfo("link")
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr(info, "/etc")
    with pytest.raises(DataError, match="leads out"):
        unpack(tmp_path / "a.zip", tmp_path / "sid")


def test_damaged_archives_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text.zip").write_text("no archive")
    path = archive(tmp_path / "a.zip", {"a": b"abcdefgh" * 100})
    path.write_bytes(path.read_bytes().replace(b"abcdefghabcd", b"abcdefghXXXX", 1))
    for damaged in (path, tmp_path / "text.zip"):
        with pytest.raises(DataError, match="damaged"):
            unpack(damaged, tmp_path / "sid")
    assert list((tmp_path / "sid").iterdir()) == []
    with pytest.raises(DataError, match="cannot be unpacked"):
        unpack(tmp_path / "missing.zip", tmp_path / "sid")

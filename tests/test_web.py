"""The web page: what its server answers, to whom, and what it keeps."""

from __future__ import annotations

import contextlib
import errno
import gc
import io
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image
from starlette.testclient import TestClient

from alen import picture
from alen.cfa import CFA, mosaic_from_rgb
from alen.cli import main
from alen.commands.serve import _listening
from alen.enhance import Enhancer
from alen.raw import read_raw
from alen.web import app as web_app
from alen.web import frames as web_frames
from alen.web.app import make_app
from alen.web.frames import FrameStore
from frames import GAINS, RATIO, make_dng, ramp

HEIGHT, WIDTH = 66, 98
BASE = "http://localhost:8765"


def _dng(orientation: int = 1) -> bytes:
    scene = ramp(HEIGHT, WIDTH)
    light = mosaic_from_rgb(scene / (np.array(GAINS) * RATIO * scene.max()), CFA.bayer("RGGB"))
    return make_dng(light, CFA.bayer("RGGB"), orientation=orientation)


@pytest.fixture(scope="module")
def enhancer() -> Enhancer:
    return Enhancer("alen-fast", precision="float32", threads=1)


@pytest.fixture
def store(enhancer: Enhancer, tmp_path: Path) -> Iterator[FrameStore]:
    store = FrameStore(enhancer, tmp_path, max_bytes=10**9)
    yield store
    store.close()


@pytest.fixture
def client(store: FrameStore) -> Iterator[TestClient]:
    with TestClient(_app(store), base_url=BASE) as client:
        yield client


def _app(store: FrameStore, **changes: Any) -> Any:
    return make_app(store, **{"hosts": ("localhost", "[::1]"), "max_upload_bytes": 10**6, **changes})


def _added(client: TestClient, data: bytes | None = None, **query: Any) -> dict[str, Any]:
    """Upload a frame, and wait until something has become of it."""
    query = {"name": "a.dng", "ratio": RATIO, **query}
    answer = client.post("/frames", params=query, content=_dng() if data is None else data)
    assert answer.status_code == 201, answer.text
    return _settled(client, answer.json()["id"])


def _settled(client: TestClient, token: str) -> dict[str, Any]:
    for _ in range(600):
        facts: dict[str, Any] = client.get(f"/frames/{token}").json()
        if facts["state"] in ("done", "failed"):
            return facts
        assert facts.get("share", 0) <= 1
        time.sleep(0.05)
    raise AssertionError("it takes for ever")


def test_a_frame_becomes_pictures(client: TestClient, enhancer: Enhancer, tmp_path: Path) -> None:
    facts = _added(client, _dng(orientation=6))
    assert facts["state"] == "done", facts
    assert (facts["width"], facts["height"]) == (HEIGHT, WIDTH)
    assert facts["ratio"] == RATIO
    assert facts["ratio_is_estimated"] is False
    assert facts["iso"] == 800
    assert facts["warnings"] == []
    path = f"/frames/{facts['id']}"
    previews = [Image.open(io.BytesIO(client.get(f"{path}/{kind}.jpg").content)) for kind in ("before", "after")]
    assert [preview.size for preview in previews] == [(HEIGHT, WIDTH)] * 2
    finished = enhancer.finish(read_raw(io.BytesIO(_dng(orientation=6))), ratio=RATIO).picture
    for picture_format, atol in (("jpg", 6), ("png", 1), ("tif", 1)):
        answer = client.get(f"{path}/picture", params={"format": picture_format})
        assert answer.headers["content-disposition"] == f'attachment; filename="a.alen.{picture_format}"'
        assert int(answer.headers["content-length"]) == len(answer.content)
        if picture_format == "tif":
            shown = tifffile.imread(io.BytesIO(answer.content)) // 257
        else:
            shown = np.asarray(Image.open(io.BytesIO(answer.content)).convert("RGB"))
        upright = np.rot90(finished, -1)
        assert np.abs(shown.astype(int) - upright).mean() < atol
        assert b'"Source": "a.dng"' in answer.content
    dng = client.get(f"{path}/picture", params={"format": "dng", "ev": 1})
    assert tifffile.imread(io.BytesIO(dng.content)).shape == (HEIGHT, WIDTH, 3)
    inline = client.get(f"{path}/picture", params={"view": 1})
    assert inline.headers["content-disposition"].startswith("inline")
    kept = {file.suffix for file in (tmp_path / facts["id"]).iterdir()}
    assert kept == {".raw", ".npy"}  # pictures are gone once they are sent


def test_exposure_is_chosen_afterwards(client: TestClient) -> None:
    path = f"/frames/{_added(client)['id']}"
    means = [
        np.asarray(Image.open(io.BytesIO(client.get(f"{path}/after.jpg", params={"ev": ev}).content))).mean()
        for ev in (-2, 0, 2)
    ]
    assert means[0] < 0.7 * means[1] < 0.7 * means[2]
    assert client.get(f"{path}/after.jpg", params={"ev": "much"}).status_code == 400
    assert client.get(f"{path}/after.jpg", params={"ev": "nan"}).status_code == 400
    assert client.get(f"{path}/picture", params={"format": "exe"}).status_code == 400


def test_a_frame_can_be_enhanced_again(client: TestClient) -> None:
    facts = _added(client)
    again = client.post(f"/frames/{facts['id']}/again", params={"ratio": "auto", "look": "natural"})
    assert again.json()["state"] in ("waiting", "working")
    settled = _settled(client, facts["id"])
    assert settled["state"] == "done"
    assert settled["ratio_is_estimated"] is True
    assert client.get(f"/frames/{facts['id']}/after.jpg").status_code == 200


def test_what_cannot_be_enhanced_says_so_under_its_own_name(client: TestClient) -> None:
    jpeg = io.BytesIO()
    Image.new("RGB", (30, 20)).save(jpeg, "JPEG")
    facts = _added(client, jpeg.getvalue(), name="holiday.arw")
    assert facts["state"] == "failed"
    assert facts["error"].startswith("holiday.arw: this is a JPEG")
    assert "frame.raw" not in facts["error"]
    assert client.get(f"/frames/{facts['id']}/picture").status_code == 404
    assert _added(client)["state"] == "done"  # the next one is not held up


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({"ratio": "301"}, "between 1 and"),
        ({"ratio": "nan"}, "between 1 and"),
        ({"ratio": "much"}, "A number is needed for ratio"),
        ({"look": "ugly"}, "look"),
    ],
)
def test_settings_that_cannot_be_are_refused_before_anything_is_stored(
    client: TestClient, tmp_path: Path, query: dict[str, str], words: str
) -> None:
    answer = client.post("/frames", params={"name": "a.dng", **query}, content=_dng())
    assert answer.status_code == 400
    assert words in answer.json()["error"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\photos\\b.nef", "b.nef"),
        ("\x00\x1b[31m.dng", "[31m.dng"),
        ("", "frame"),
        ("..", ".."),
        ("ü" * 300 + ".dng", "ü" * 116 + ".dng"),
    ],
)
def test_names_are_shown_and_never_paths(client: TestClient, tmp_path: Path, name: str, shown: str) -> None:
    facts = _added(client, name=name)
    assert facts["name"] == shown
    assert [path.name for path in tmp_path.iterdir()] == [facts["id"]]
    answer = client.get(f"/frames/{facts['id']}/picture")
    assert answer.status_code == 200
    assert "/" not in answer.headers["content-disposition"].partition("filename")[2].replace("utf-8''", "")


def test_uploads_are_counted_while_they_come(store: FrameStore, tmp_path: Path) -> None:
    """Without a length, too: what says nothing of its size must not fill the disk."""
    with TestClient(_app(store, max_upload_bytes=5000), base_url=BASE) as client:

        def endless() -> Iterator[bytes]:
            for _ in range(1000):
                yield bytes(1000)

        answer = client.post("/frames", params={"name": "big.dng"}, content=endless())
        assert answer.status_code == 413
        assert "big.dng: is larger than" in answer.json()["error"]
        assert client.post("/frames", params={"name": "none.dng"}, content=b"").status_code == 400
        assert list(tmp_path.iterdir()) == []
        assert client.get("/frames").json() == {"frames": [], "max_upload_bytes": 5000}


def test_the_oldest_make_room(enhancer: Enhancer, tmp_path: Path) -> None:
    store = FrameStore(enhancer, tmp_path, max_bytes=150_000)
    with contextlib.closing(store), TestClient(_app(store), base_url=BASE) as client:
        tokens = [_added(client)["id"] for _ in range(4)]
        left = [facts["id"] for facts in client.get("/frames").json()["frames"]]
        assert left
        assert left == tokens[-len(left) :]
        assert tokens[0] not in left
        assert {path.name for path in tmp_path.iterdir()} == set(left)
        assert client.get(f"/frames/{tokens[0]}").status_code == 404


def test_what_is_removed_is_gone(client: TestClient, tmp_path: Path) -> None:
    facts = _added(client)
    assert client.delete(f"/frames/{facts['id']}").status_code == 204
    assert list(tmp_path.iterdir()) == []
    for method, rest in (("GET", ""), ("GET", "/after.jpg"), ("GET", "/picture"), ("DELETE", ""), ("POST", "/again")):
        assert client.request(method, f"/frames/{facts['id']}{rest}").status_code == 404
    waiting = client.post("/frames", params={"name": "a.dng"}, content=_dng()).json()
    assert client.delete(f"/frames/{waiting['id']}").status_code == 204
    assert _added(client)["state"] == "done"
    for _ in range(100):
        if len(list(tmp_path.iterdir())) == 1:
            break
        time.sleep(0.05)
    assert len(list(tmp_path.iterdir())) == 1


def _stored_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_there_is_room_where_all_are_uploaded_before_the_first_is_done(enhancer: Enhancer, tmp_path: Path) -> None:
    """A frame takes several times its RAW file once it is done, and then nobody asks for an upload any more."""
    store = FrameStore(enhancer, tmp_path, max_bytes=250_000)
    with contextlib.closing(store), TestClient(_app(store), base_url=BASE) as client:
        tokens = [client.post("/frames", params={"ratio": RATIO}, content=_dng()).json()["id"] for _ in range(5)]
        _settled(client, tokens[-1])
        left = [facts["id"] for facts in client.get("/frames").json()["frames"]]
        assert 1 <= len(left) < 5
        assert left == tokens[-len(left) :]
        assert _stored_bytes(tmp_path) <= 250_000 + 100_000  # and the one that was made last


def test_uploads_at_once_make_room_together(enhancer: Enhancer, tmp_path: Path) -> None:
    store = FrameStore(enhancer, tmp_path, max_bytes=1)
    with contextlib.closing(store), TestClient(_app(store), base_url=BASE) as client, ThreadPoolExecutor(8) as pool:
        for _ in range(3):
            answers = pool.map(lambda _: client.post("/frames", content=b"no RAW file").status_code, range(16))
            assert set(answers) == {201}


def test_a_full_disk_is_told_and_what_was_written_is_deleted(
    client: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def save(path: Path, _: object) -> None:
        path.write_bytes(bytes(1000))
        raise OSError("18432 requested and 992 written")  # as NumPy says it, without a number or a reason

    monkeypatch.setattr(np, "save", save)
    facts = _added(client)
    assert facts["state"] == "failed"
    assert "the disk is full" in facts["error"]
    assert [path.name for path in (tmp_path / facts["id"]).iterdir()] == ["frame.raw"]


def test_a_folder_that_is_gone_is_told(client: TestClient, tmp_path: Path) -> None:
    """Systems clear their temporary folders."""
    facts = _added(client)
    shutil.rmtree(tmp_path)
    answer = client.post("/frames", params={"name": "a.dng"}, content=_dng())
    assert answer.status_code == 507
    assert "a.dng: cannot be stored" in answer.json()["error"]
    assert client.get(f"/frames/{facts['id']}/picture").status_code == 404
    assert client.post(f"/frames/{facts['id']}/again").status_code == 200
    assert _settled(client, facts["id"])["error"].startswith("a.dng: there is no such file")
    tmp_path.mkdir()


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="open files are not listed")
def test_frames_that_are_done_hold_no_files_open(client: TestClient, tmp_path: Path) -> None:
    """Systems allow some hundreds, which would be the end of large batches of small frames."""
    facts = _added(client)
    for path in ("after.jpg", "picture"):
        assert client.get(f"/frames/{facts['id']}/{path}").status_code == 200
    gc.collect()
    held = [link.readlink() for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    assert not [path for path in held if path.is_relative_to(tmp_path)]


def test_a_picture_outlives_its_frame_until_it_is_sent(client: TestClient, store: FrameStore, tmp_path: Path) -> None:
    facts = _added(client)
    path, _ = store.write(facts["id"], "png", 0.0)
    store.remove(facts["id"])
    with Image.open(path) as picture:
        assert picture.size == (WIDTH, HEIGHT)
    path.unlink()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("wanted", ["bytes=x", "bytes=99999999-", "bytes=0-9", "bytes=0-9,20-29"])
def test_pictures_are_deleted_however_they_are_asked_for(client: TestClient, tmp_path: Path, wanted: str) -> None:
    facts = _added(client)
    client.get(f"/frames/{facts['id']}/picture", headers={"range": wanted})
    assert {path.suffix for path in tmp_path.rglob("*") if path.is_file()} == {".raw", ".npy"}


def test_a_picture_that_cannot_be_written_is_told_under_the_name_to_save(
    client: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not under that of a temporary file, which nobody has chosen."""
    facts = _added(client, name="night.dng")

    def write(file: object, path: Path, *_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setitem(picture._ENCODERS, ".png", write)
    answer = client.get(f"/frames/{facts['id']}/picture", params={"format": "png"})
    assert answer.status_code == 500
    assert answer.json()["error"].startswith("night.alen.png: the picture cannot be written")
    assert str(tmp_path) not in answer.text


def test_one_picture_is_written_at_a_time(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each takes memory as a file of its own would."""
    tokens = [_added(client)["id"] for _ in range(3)]
    at_work, most = [], []

    def write(target: Path, *_: object, **__: object) -> None:
        at_work.append(target)
        most.append(len(at_work))
        time.sleep(0.05)
        target.write_bytes(b"picture")
        at_work.remove(target)

    monkeypatch.setattr(web_frames, "write_enhanced", write)
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda token: client.get(f"/frames/{token}/picture").content, 2 * tokens))
    assert answers == [b"picture"] * 6
    assert most == [1] * 6


def test_the_store_is_no_way_out_of_its_folder(client: TestClient) -> None:
    for token in ("%252e%252e", "....", "a/b", "%00", "x"):
        assert client.get(f"/frames/{token}").status_code in (404, 405)
    assert client.get("/page/index.html").status_code == 404
    assert client.get("/../app.py").status_code == 404


# ---------------------------------------------------------------- whom it answers


@pytest.mark.parametrize("host", ["localhost:8765", "localhost", "LOCALHOST:1", "[::1]:8765", "[::1]"])
def test_it_answers_to_its_names(client: TestClient, host: str) -> None:
    assert client.get("/", headers={"host": host}).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example:8765", "", "127.0.0.1:8765", "localhost:1:2"])
def test_it_does_not_answer_to_others(client: TestClient, host: str) -> None:
    """A page of another site could point its own name to this computer, and read what is here."""
    answer = client.get("/frames", headers={"host": host})
    assert answer.status_code == 403
    assert "error" in answer.json()


def test_other_sites_pages_cannot_send_anything(client: TestClient, tmp_path: Path) -> None:
    facts = _added(client)
    for origin in ("https://evil.example", "null", "http://localhost:9999"):
        headers = {"origin": origin}
        assert client.post("/frames", content=_dng(), headers=headers).status_code == 403
        assert client.delete(f"/frames/{facts['id']}", headers=headers).status_code == 403
        assert client.post(f"/frames/{facts['id']}/again", headers=headers).status_code == 403
    assert len(list(tmp_path.iterdir())) == 1
    assert client.delete(f"/frames/{facts['id']}", headers={"origin": BASE}).status_code == 204


def test_any_name_where_the_network_is_let_in(store: FrameStore) -> None:
    with TestClient(_app(store, hosts=("*",)), base_url="http://studio.local:8765") as client:
        assert client.get("/").status_code == 200
        assert client.post("/frames", content=b"x", headers={"origin": "http://evil.example"}).status_code == 403


def test_the_page_needs_nothing_from_elsewhere(client: TestClient) -> None:
    page = client.get("/")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert page.headers["x-content-type-options"] == "nosniff"
    texts = [client.get(path).text for path in web_app._PAGE]
    assert all(texts)
    for text in texts:
        assert not re.search(r"https?://|style=|onclick|innerHTML|eval\(", text)
    for name in re.findall(r'(?:href|src)="([^"]+)"', texts[0]):
        assert client.get(f"/{name}").status_code == 200


# ---------------------------------------------------------------- the command


@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_the_command_serves_until_it_is_interrupted(tmp_path: Path, number: str) -> None:
    """Or ended, or its terminal closed; also in the middle of an upload, of which it then says nothing."""
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "alen", "serve", "--port", "0", "--model", "alen-fast", "--precision", "float32"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environment) as process:
        assert process.stdout is not None
        address = re.search(r"http://127\.0\.0\.1:(\d+)/", process.stdout.readline())
        assert address is not None
        assert [path.name[:5] for path in tmp_path.iterdir()] == ["alen-"]
        with _client_of(address[0]) as client:
            assert client.get("/").status_code == 200
            assert client.post("/frames", params={"name": "a.dng"}, content=_dng()).status_code == 201
            large = client.post("/frames", params={"ratio": "much"}, content=bytes(10**7))  # the answer is not lost
            assert large.status_code == 400
        with socket.create_connection(("127.0.0.1", int(address[1]))) as upload:
            upload.sendall(b"POST /frames HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n" + bytes(9000))
            while len(list(tmp_path.glob("*/*"))) < 2:
                time.sleep(0.02)
            process.send_signal(getattr(signal, number))
            said, complained = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "deleted" in said
    assert complained == ""
    assert list(tmp_path.iterdir()) == []


def _client_of(address: str) -> Any:
    """Return a client of a real server."""
    import httpx2

    return httpx2.Client(base_url=address, timeout=30)


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="no IPv6")
def test_all_addresses_are_those_of_both_kinds() -> None:
    """The address that is printed, localhost, is IPv4 in most places."""
    with _listening("::", 0) as listener:
        for host in ("127.0.0.1", "::1"):
            socket.create_connection((host, listener.getsockname()[1]), timeout=5).close()


def test_a_port_that_is_taken_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert main(["serve", "--port", str(port)]) == 1
    assert f"port {port}" in capsys.readouterr().err
    assert main(["serve", "--host", "no.such.host.invalid"]) == 1
    assert "Choose another" in capsys.readouterr().err


@pytest.mark.parametrize(
    "option", [("--port", "70000"), ("--max-upload", "0"), ("--max-disk", "nan"), ("--max-memory", "-1")]
)
def test_options_that_cannot_be_are_refused(option: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", *option]) == 2
    assert capsys.readouterr().err


def test_without_its_packages_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("alen.commands.serve.find_spec", lambda _: None)
    assert main(["serve"]) == 1
    assert "pip install 'alen[web]'" in capsys.readouterr().err

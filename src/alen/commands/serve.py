"""`alen serve`: the web page."""

from __future__ import annotations

import contextlib
import logging
import math
import signal
import socket
import tempfile
import webbrowser
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Final, Literal

from cyclopts import Parameter

from alen.commands.console import OK, Flag
from alen.errors import ServerError, SettingsError

_LOCAL: Final = ("localhost", "127.0.0.1", "[::1]")
"""Names of this computer for itself."""

_ANY: Final = ("", "0.0.0.0", "::")
"""Addresses that stand for all of the computer's."""


def serve(
    *,
    host: str = "127.0.0.1",
    port: int = 8765,
    open_page: Annotated[bool, Parameter(name="--open", negative=(), show_default=False)] = False,
    model: str = "alen",
    device: str = "CPU",
    precision: Literal["auto", "bfloat16", "float32"] = "auto",
    threads: int | None = None,
    ensemble: Literal[1, 2, 4, 8] = 1,
    max_memory: float | None = None,
    max_upload: float = 500.0,
    max_disk: float = 10.0,
    keep_hot_pixels: Annotated[bool, Flag] = False,
    keep_distortion: Annotated[bool, Flag] = False,
) -> int:
    """Serve a web page that turns RAW files dropped onto it into pictures.

    Files go to this computer and nowhere else, and are deleted when the
    command ends (Ctrl-C).

    Args:
        host: Address to listen at; by default only this computer's own browsers reach it. 0.0.0.0 lets everybody in the
            network use it.
        port: Port to listen at; 0 takes a free one.
        open_page: Open the page in the browser.
        model: As of "alen enhance".
        device: As of "alen enhance".
        precision: As of "alen enhance".
        threads: As of "alen enhance".
        ensemble: As of "alen enhance".
        max_memory: Gigabytes; frames that would need more are refused.
        max_upload: Megabytes of the largest RAW file.
        max_disk: Gigabytes for frames in the temporary folder; beyond, the oldest are removed.
        keep_hot_pixels: As of "alen enhance".
        keep_distortion: As of "alen enhance".
    """
    for what, value in (("--max-upload", max_upload), ("--max-disk", max_disk), ("--max-memory", max_memory or 1.0)):
        if not (math.isfinite(value) and value > 0):
            raise SettingsError(f"{what} is above 0; got {value:g}.")
    if not 0 <= port <= 65_535:
        raise SettingsError(f"The port lies between 0 and 65535; got {port}.")
    for package in ("starlette", "uvicorn"):
        if find_spec(package) is None:
            raise ServerError(
                f"The web page needs {package}, which is not installed. Install it with: pip install 'alen[web]'"
            )
    import uvicorn

    from alen.enhance import Enhancer
    from alen.web.app import make_app
    from alen.web.frames import FrameStore

    listener = _listening(host, port)
    with (
        _ended_as_by_ctrl_c(),
        listener,
        tempfile.TemporaryDirectory(prefix="alen-", ignore_cleanup_errors=True) as folder,
    ):
        enhancer = Enhancer(
            model,
            device=device,
            precision=precision,
            threads=threads,
            max_memory_bytes=None if max_memory is None else int(max_memory * 1e9),
            repair=not keep_hot_pixels,
            undistort=not keep_distortion,
            ensemble=ensemble,
        )
        store = FrameStore(enhancer, Path(folder), max_bytes=int(max_disk * 1e9))
        is_open = host in _ANY
        shown = f"[{host}]" if ":" in host else host
        hosts = ("*",) if is_open else (*_LOCAL, shown.lower())
        app = make_app(store, hosts=hosts, max_upload_bytes=int(max_upload * 1e6))
        address = f"http://{'localhost' if is_open else shown}:{listener.getsockname()[1]}/"
        server = uvicorn.Server(
            uvicorn.Config(app, log_level="warning", access_log=False, lifespan="off", timeout_graceful_shutdown=0)
        )
        # that uploads and pictures are cut off is no error when everything ends
        logging.getLogger("uvicorn.error").addFilter(lambda _: not server.should_exit)
        with contextlib.closing(store), contextlib.suppress(KeyboardInterrupt):  # which is the way to end it
            print(f"The page is at {address} until you press Ctrl-C.", flush=True)
            if is_open:
                print("Everybody in the network can use it, under this computer's name or address.", flush=True)
            if open_page:
                webbrowser.open(address)
            server.run(sockets=[listener])
    print("The page is closed; its frames are deleted.")
    return OK


def _listening(host: str, port: int) -> socket.socket:
    """Return a socket that listens; raises ServerError."""
    try:
        family = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
        is_both = family == socket.AF_INET6 and host in _ANY and socket.has_dualstack_ipv6()
        return socket.create_server((host, port), family=family, dualstack_ipv6=is_both)
    except (OSError, UnicodeError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ServerError(
            f"Cannot listen at {host or 'all addresses'}, port {port}: {reason}. Choose another --port or --host."
        ) from error


@contextlib.contextmanager
def _ended_as_by_ctrl_c() -> Iterator[None]:
    """Have a terminal that closes, or a system that shuts down, end the block as Ctrl-C does: frames are deleted."""
    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    handled = [number for number in numbers if signal.getsignal(number) == signal.SIG_DFL]  # not what nohup ignores
    for number in handled:
        signal.signal(number, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        yield
    finally:
        for number in handled:
            signal.signal(number, signal.SIG_DFL)

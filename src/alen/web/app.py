"""The web page's server: what it answers, and to whom.

Whoever opens the page may use the computer's processor and disk, so that it listens to this computer alone unless told
otherwise, and every request has to be addressed to a name it was told of: a page of another site that points its own
name here (DNS rebinding) is refused, and so is what other sites' pages send (their Origin is not ours). Nothing is
loaded from elsewhere (Content-Security-Policy). Uploads are counted while they come; names of files are never paths.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from alen.errors import AlenError, SettingsError
from alen.web.frames import FrameNotFoundError, FrameSettings, FrameStore

_PAGE: Final = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
}
"""Files of the page by path."""

_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; img-src 'self'; style-src 'self'; script-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""Of every answer."""

_MEDIA_TYPES: Final = {"jpg": "image/jpeg", "png": "image/png", "tif": "image/tiff", "dng": "image/x-adobe-dng"}


def make_app(store: FrameStore, *, hosts: Iterable[str], max_upload_bytes: int) -> ASGIApp:
    """Return the application.

    Args:
        store: Where frames go.
        hosts: Names, without port, that requests may be addressed to, lower case; "*" for any.
        max_upload_bytes: Size of the largest RAW file.
    """
    answers = _Answers(store, max_upload_bytes)
    routes = [
        *(Route(path, functools.partial(_page, *file), methods=["GET"]) for path, file in _PAGE.items()),
        Route("/favicon.ico", _no_icon, methods=["GET"]),
        Route("/frames", answers.list_frames, methods=["GET"]),
        Route("/frames", answers.add, methods=["POST"]),
        Route("/frames/{token}", answers.show, methods=["GET"]),
        Route("/frames/{token}", answers.remove, methods=["DELETE"]),
        Route("/frames/{token}/again", answers.again, methods=["POST"]),
        Route("/frames/{token}/before.jpg", answers.before, methods=["GET"]),
        Route("/frames/{token}/after.jpg", answers.after, methods=["GET"]),
        Route("/frames/{token}/picture", answers.picture, methods=["GET"]),
    ]
    handlers: dict[Any, Any] = {AlenError: _explained, HTTPException: _refused}
    return _Guard(Starlette(routes=routes, exception_handlers=handlers), frozenset(hosts))


class _Guard:
    """Refuses what is not addressed to us, or comes from another site's page; adds `_HEADERS` to all answers."""

    def __init__(self, app: ASGIApp, hosts: frozenset[str]) -> None:
        self._app = app
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = [(name.lower().encode(), value.encode()) for name, value in _HEADERS.items()]
                message["headers"] = [*message.get("headers", ()), *headers]
            await send(message)

        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        problem = self._problem(Request(scope))
        if problem is not None:
            await JSONResponse({"error": problem}, status_code=403)(scope, receive, send_guarded)
            return
        await self._app(scope, receive, send_guarded)

    def _problem(self, request: Request) -> str | None:
        """Return why a request is refused, or None."""
        host = request.headers.get("host", "")
        name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
        if "*" not in self._hosts and name.lower() not in self._hosts:
            return f"This server does not answer as {host!r}. Open the address it printed, or allow the name by --host."
        origin = request.headers.get("origin")
        if request.method not in ("GET", "HEAD") and origin is not None and origin.partition("://")[2] != host:
            return "Requests of other sites' pages are refused."
        return None


class _Answers:
    """What is answered to requests for frames."""

    def __init__(self, store: FrameStore, max_upload_bytes: int) -> None:
        self._store = store
        self._max_upload_bytes = max_upload_bytes

    def list_frames(self, _: Request) -> Response:
        return JSONResponse({"frames": self._store.all_facts(), "max_upload_bytes": self._max_upload_bytes})

    async def add(self, request: Request) -> Response:
        """Take a RAW file, the request's body, as it comes."""
        try:
            return JSONResponse(await self._taken(request), status_code=201)
        except ClientDisconnect:
            return Response(status_code=400)  # nobody is there to read it
        except (AlenError, HTTPException):
            await self._pass_over(request)
            raise

    async def _taken(self, request: Request) -> dict[str, Any]:
        """Return the facts of the frame that a request brings."""
        settings = _settings(request)
        name = request.query_params.get("name", "")
        token = None
        try:
            token, path = await run_in_threadpool(self._store.new_upload)
            size = 0
            with path.open("xb") as file:
                async for chunk in request.stream():
                    size += len(chunk)
                    if size > self._max_upload_bytes:
                        limit = self._max_upload_bytes / 1e6
                        raise HTTPException(413, f"{name}: is larger than the {limit:.0f} MB that are allowed.")
                    await run_in_threadpool(file.write, chunk)
            if size == 0:
                raise HTTPException(400, f"{name}: is empty.")
            return self._store.add(token, name, settings)
        except BaseException as error:
            if token is not None:
                self._store.discard_upload(token)
            if isinstance(error, OSError):
                raise HTTPException(507, f"{name}: cannot be stored ({error.strerror}). Remove frames.") from error
            raise

    async def _pass_over(self, request: Request) -> None:
        """Read what is left of a file that is not taken: some browsers look for the answer only then."""
        left = self._max_upload_bytes
        with contextlib.suppress(ClientDisconnect, RuntimeError):  # of Starlette, where it was read to its end
            async for chunk in request.stream():
                left -= len(chunk)
                if left < 0:
                    return

    def show(self, request: Request) -> Response:
        return JSONResponse(self._store.facts(request.path_params["token"]))

    def remove(self, request: Request) -> Response:
        self._store.remove(request.path_params["token"])
        return Response(status_code=204)

    def again(self, request: Request) -> Response:
        return JSONResponse(self._store.again(request.path_params["token"], _settings(request)))

    def before(self, request: Request) -> Response:
        return Response(self._store.before(request.path_params["token"]), media_type="image/jpeg")

    def after(self, request: Request) -> Response:
        jpeg = self._store.after(request.path_params["token"], _number(request, "ev") or 0.0)
        return Response(jpeg, media_type="image/jpeg")

    def picture(self, request: Request) -> Response:
        """Answer with a picture to be saved, or looked at."""
        picture_format = request.query_params.get("format", "jpg")
        path, name = self._store.write(request.path_params["token"], picture_format, _number(request, "ev") or 0.0)
        disposition = "inline" if "view" in request.query_params else "attachment"
        media_type = _MEDIA_TYPES[picture_format]
        return _PassingFile(path, filename=name, media_type=media_type, content_disposition_type=disposition)


class _PassingFile(FileResponse):
    """A file that is deleted once it is sent, or nobody wants it any more."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            Path(self.path).unlink(missing_ok=True)


async def _page(name: str, media_type: str, _: Request) -> Response:
    """Answer with a file of the page."""
    return Response((files("alen.web") / "page" / name).read_bytes(), media_type=media_type)


async def _no_icon(_: Request) -> Response:
    """Answer to browsers, which ask for one."""
    return Response(status_code=204)


def _settings(request: Request) -> FrameSettings:
    """Return how a frame is to be enhanced, of a request's query."""
    look = request.query_params.get("look", "bright")
    ratio = request.query_params.get("ratio", "auto")
    return FrameSettings(
        ratio=None if ratio == "auto" else _number(request, "ratio"),
        look=look,  # type: ignore[arg-type] # is checked there
    )


def _number(request: Request, name: str) -> float | None:
    """Return a number of a request's query, None if it is not there."""
    text = request.query_params.get(name)
    try:
        return None if text is None else float(text)
    except ValueError as error:
        raise SettingsError(f"A number is needed for {name}; got {text!r}.") from error


async def _explained(_: Request, error: Exception) -> Response:
    """Answer with what went wrong."""
    status = 404 if isinstance(error, FrameNotFoundError) else 400 if isinstance(error, SettingsError) else 500
    return JSONResponse({"error": str(error)}, status_code=status)


async def _refused(_: Request, error: Exception) -> Response:
    """Answer with what HTTP has to say."""
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, status_code=error.status_code)

"""Downloading the published sets: resumed, retried, checked, and unpacked without leaving the folder.

Addresses stand in a small table (downloads.toml beside this module) that anybody can replace by a file of their own,
because addresses of data sets do not last. Nothing is downloaded unless it is asked for.
"""

from __future__ import annotations

import hashlib
import http.client
import re
import shutil
import ssl
import stat
import time
import tomllib
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final
from urllib.parse import urlsplit

from alen.errors import DataError

TABLE: Final = Path(__file__).with_name("downloads.toml")
"""The table that ships."""

ATTEMPTS: Final = 8
"""Times in a row that a transfer may fail without a byte of progress."""

_CHUNK: Final = 1 << 20
_TIMEOUT_S: Final = 60.0
_LONGEST_WAIT_S: Final = 60.0

_sleep = time.sleep
"""Waits between attempts; tests replace it."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """A file that can be downloaded."""

    name: str
    """Its name in the table."""
    file: str
    """Name of the file on disk."""
    url: str
    """Address; empty if none is known."""
    gigabytes: float
    """Size as published, in 10⁹ bytes."""
    sha256: str
    """Digest, 64 hexadecimal digits; empty if not known."""
    page: str
    """Page about the set."""


class _InterruptedError(Exception):
    """A transfer broke off; trying again may help."""


def read_sources(table: Path = TABLE) -> dict[str, Source]:
    """Read a table of addresses.

    Raises:
        DataError: It cannot be read, or an entry is not of the table's form.
    """
    try:
        content = tomllib.loads(table.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise DataError(f"{table}: the table of addresses cannot be read ({error}).") from error
    return {name: _source(table, name, entry) for name, entry in content.items()}


def download(source: Source, folder: Path, *, progress: Callable[[int, int | None], None] | None = None) -> Path:
    """Download a file into a folder, or go on with what is there.

    What arrives is kept in FILE.part until it is whole; a server that supports ranges sends only the rest. A transfer
    that breaks is tried again after a growing pause, up to `ATTEMPTS` times without progress.

    Args:
        source: What.
        folder: Where to; made if it is not there. A file that is there already is kept as it is.
        progress: Called with (bytes there, bytes in all or None).

    Returns:
        The file.

    Raises:
        DataError: No address is known, the server refuses, the disk is full, or the digest is another one.
    """
    target = folder / source.file
    if target.is_file():
        return target
    if not source.url:
        raise DataError(
            f"{source.name}: no address is known that a program can fetch. Get {source.file} by hand from "
            f"{source.page} and put it into {folder}, or name a table with its “url” (see {TABLE.name})."
        )
    if urlsplit(source.url).scheme not in ("http", "https"):
        raise DataError(f"{source.name}: an address begins with https:// or http://; got {source.url!r}.")
    part = target.with_name(target.name + ".part")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _fetch(source, part, progress)
        if source.sha256:
            _check_digest(source, part)
        part.replace(target)
    except OSError as error:
        raise DataError(f"{target}: the file cannot be written: {error.strerror or error}.") from error
    return target


def unpack(archive: Path, folder: Path, *, progress: Callable[[int, int], None] | None = None) -> list[Path]:
    """Unpack a ZIP archive; files that are there in their full length are kept.

    Each file is written under a temporary name, its checksum compared, and renamed.

    Args:
        archive: The ZIP file.
        folder: Where to.
        progress: Called with (files done, files in all).

    Returns:
        The files, in the order of the archive.

    Raises:
        DataError: It is no sound archive, one of its names leads out of the folder or is a link (then nothing is
            written), or the disk is too small.
    """
    try:
        with zipfile.ZipFile(archive) as file:
            members = [(info, _inner_target(archive, info, folder)) for info in file.infolist() if not info.is_dir()]
            waiting = [item for item in members if not _is_there(*item)]
            needed = sum(info.file_size for info, _ in waiting)
            folder.mkdir(parents=True, exist_ok=True)
            free = shutil.disk_usage(folder).free
            if needed > free:
                raise DataError(
                    f"{archive}: unpacked it needs {needed / 1e9:.1f} GB more, but {free / 1e9:.1f} GB are free in "
                    f"{folder}."
                )
            for number, (info, target) in enumerate(members, start=1):
                if not _is_there(info, target):
                    _unpack_member(file, info, target)
                if progress is not None:
                    progress(number, len(members))
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        raise DataError(f"{archive}: the archive is damaged ({error}). Delete it and download it again.") from error
    except OSError as error:
        raise DataError(f"{archive}: cannot be unpacked into {folder}: {error.strerror or error}.") from error
    return [target for _, target in members]


def _source(table: Path, name: str, entry: Any) -> Source:
    fields: Mapping[str, Any] = entry if isinstance(entry, dict) else {}
    try:
        source = Source(name=name, **{**fields, "gigabytes": float(fields["gigabytes"])})
        texts = (source.file, source.url, source.sha256, source.page)
        is_sound = all(isinstance(text, str) for text in texts) and re.fullmatch(r"(?i)([0-9a-f]{64})?", source.sha256)
        if not is_sound or source.file in ("", ".", "..") or any(sign in source.file for sign in "/\\:"):
            raise ValueError("a file name, an address and a digest are expected")
    except (TypeError, ValueError, KeyError) as error:
        raise DataError(
            f"{table}, [{name}]: expected file, url, gigabytes, sha256 and page as in {TABLE.name} ({error})."
        ) from error
    return source


def _fetch(source: Source, part: Path, progress: Callable[[int, int | None], None] | None) -> None:
    """Transfer until the file is whole; raises DataError when trying on is of no use."""
    failures = 0
    while True:
        before = _length(part)
        try:
            _transfer(source, part, progress)
        except (
            _InterruptedError,
            urllib.error.URLError,
            http.client.HTTPException,
            ssl.SSLError,
            TimeoutError,
            ConnectionError,
        ) as error:
            if isinstance(error, urllib.error.HTTPError) and error.code < 500 and error.code not in (408, 429):
                raise DataError(
                    f"{source.url}: the server refuses ({error.code} {error.reason}). The address may have changed; "
                    f"see {source.page}, and name a table with the new one."
                ) from error
            failures = failures + 1 if _length(part) <= before else 1
            if failures >= ATTEMPTS:
                raise DataError(
                    f"{source.url}: the transfer failed {failures} times in a row ({error}). What has arrived is kept; "
                    "try again later, it goes on."
                ) from error
            _sleep(min(2.0 ** (failures - 1), _LONGEST_WAIT_S))
        else:
            return


def _transfer(source: Source, part: Path, progress: Callable[[int, int | None], None] | None) -> None:
    """Ask for what is missing and append it; raises _InterruptedError if less arrives than was announced."""
    start = _length(part)
    tag = part.with_name(part.name + ".tag")
    headers = {"User-Agent": "alen", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
        if tag.is_file():
            # if the file is another one by now, all of it is sent
            headers["If-Range"] = tag.read_text(encoding="ascii", errors="replace")
    request = urllib.request.Request(source.url, headers=headers)
    try:
        response = urllib.request.urlopen(request, timeout=_TIMEOUT_S)
    except urllib.error.HTTPError as error:
        whole = _total(error.headers.get("Content-Range"))
        if error.code == 416 and start and whole == start:
            tag.unlink(missing_ok=True)
            return  # it is all there
        if error.code == 416:
            part.unlink(missing_ok=True)
            raise _InterruptedError("the part that was there did not fit; starting again") from error
        raise
    with response:
        resumes = response.status == 206 and (response.headers.get("Content-Range") or "").startswith(f"bytes {start}-")
        start = start if resumes else 0
        length = response.headers.get("Content-Length")
        total = start + int(length) if length is not None and length.isdigit() else None
        if total is not None and total - start > shutil.disk_usage(part.parent).free:
            raise DataError(f"{part}: {(total - start) / 1e9:.1f} GB are needed, more than is free on this disk.")
        mark = response.headers.get("ETag") or response.headers.get("Last-Modified")
        if mark and not mark.startswith("W/"):
            tag.write_text(mark, encoding="ascii", errors="replace")
        done = start
        with part.open("ab" if resumes else "wb") as file:
            while chunk := response.read(_CHUNK):
                file.write(chunk)
                done += len(chunk)
                if progress is not None:
                    progress(done, total)
    if total is not None and done < total:
        raise _InterruptedError(f"it broke off after {done:,} of {total:,} bytes")
    tag.unlink(missing_ok=True)


def _length(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _total(content_range: str | None) -> int | None:
    """Return the length that a Content-Range header tells: "bytes */1234"."""
    text = (content_range or "").rpartition("/")[2]
    return int(text) if text.isdigit() else None


def _check_digest(source: Source, part: Path) -> None:
    """Raise DataError, and remove the file, if its digest is not the published one."""
    with part.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != source.sha256.lower():
        part.unlink()
        raise DataError(
            f"{source.file}: SHA-256 is {digest}, expected {source.sha256}. The file was damaged on its way or has "
            "changed; it has been removed. Try again."
        )


def _inner_target(archive: Path, info: zipfile.ZipInfo, folder: Path) -> Path:
    """Return where a member goes; raises DataError for names that leave the folder, and for links."""
    inner = PurePosixPath(info.filename)
    is_link = stat.S_ISLNK(info.external_attr >> 16)
    if inner.is_absolute() or ".." in inner.parts or not inner.parts or is_link or re.search(r"[\\:\0]", info.filename):
        raise DataError(f"{archive}: {info.filename!r} leads out of the folder. Do not use this archive.")
    target = folder / inner
    if not target.resolve().is_relative_to(folder.resolve()):  # through a link that lies in the folder
        raise DataError(f"{archive}: {info.filename!r} leads out of {folder} through a link in it.")
    return target


def _is_there(info: zipfile.ZipInfo, target: Path) -> bool:
    return target.is_file() and target.stat().st_size == info.file_size


def _unpack_member(file: zipfile.ZipFile, info: zipfile.ZipInfo, target: Path) -> None:
    """Write one member; zipfile compares its checksum at the end."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.part")
    try:
        with file.open(info) as source, part.open("wb") as copy:
            shutil.copyfileobj(source, copy, _CHUNK)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)

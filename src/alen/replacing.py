"""Files that are replaced as a whole: a kill or a full disk leaves the old one or the new one, never a part."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield the path of a file beside ``path``, in a folder that is made if need be.

    It takes the name of ``path`` when the block ends well, and vanishes when it does not.

    Raises:
        OSError: The folder cannot be made, or the file not be renamed.
    """
    part = path.with_name(path.name + ".part")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield part
        part.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):  # the first error is the one to tell
            part.unlink(missing_ok=True)
        raise

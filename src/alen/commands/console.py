"""What the commands share: exit codes, messages, tables, progress."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from typing import Any, Final

from cyclopts import Parameter

from alen.errors import AlenError, TrainingError

OK: Final = 0
FAILED: Final = 1
WRONG_USAGE: Final = 2
INTERRUPTED: Final = 130
"""Exit codes."""

Flag = Parameter(negative=(), show_default=False)
"""Of a switch that is off unless named."""


def complain(message: str) -> None:
    """Print an error."""
    print(f"error: {message}", file=sys.stderr)


def count(things: Sequence[Any] | set[str], what: str) -> str:
    """Return how many things there are, such as "3 pairs"."""
    return f"{len(things):,} {what}{'s' * (len(things) != 1)}"


def print_table(title: str, rows: Sequence[tuple[str, str]]) -> None:
    """Print names and values."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title), title_justify="left", show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(Text(name), Text(value))  # Text, because file names may hold brackets
    Console().print(table)


def require_torch(what: str = "Training", error: type[AlenError] = TrainingError) -> None:
    """Raise an error with what to do if torch, which ``what`` needs, is not there."""
    from importlib.util import find_spec

    if find_spec("torch") is None:
        raise error(f"{what} needs torch, which is not installed. Install it with: pip install 'alen[train]'")


@contextlib.contextmanager
def waiting(what: str) -> Iterator[None]:
    """Show what is being done, if somebody watches, where there is no telling how far it is."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(what):
        yield


class Progress:
    """A bar with the time left, if somebody watches and there are several things to do, or one that takes long."""

    def __init__(self, total: int, what: str, *, is_long: bool = False) -> None:
        self._bar: Any = None
        self._done = 0
        self._shown = 0.0
        if (total > 1 or is_long) and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("left"))
            # what is printed must not run into the bar, unless it goes to a file anyway
            self._bar = Progress(*columns, console=Console(stderr=True), redirect_stdout=sys.stdout.isatty())
            self._task = self._bar.add_task(what, total=total)

    def __enter__(self) -> Progress:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def advance(self) -> None:
        """Count one thing done."""
        self._done += 1
        self.share(0.0)

    def share(self, share: float) -> None:
        """Show which share of the thing at hand is done."""
        self._shown = max(self._shown, self._done + share)  # a failure may come before what was told of others' work
        if self._bar is not None:
            self._bar.update(self._task, completed=self._shown)

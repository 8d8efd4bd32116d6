"""What the commands show: progress, one-line errors, summaries. All of it goes to stderr."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import typer

from leadline.errors import LeadlineError, UsageError, printable

if TYPE_CHECKING:
    from rich.progress import Progress

INTERRUPTED = 130  # exit code after Ctrl-C, as of other programs
HEARTBEAT_S = 10  # between two lines of progress where stderr is no terminal


class Step(Protocol):
    """What an engine calls after each piece of work."""

    def __call__(self, done: int, total: int | None, name: str) -> None: ...


def say(line: str, quiet: bool = False) -> None:
    """One line for the user, unless quiet."""
    if not quiet:
        print(line, file=sys.stderr, flush=True)


@contextmanager
def notices() -> Iterator[None]:
    """What the library warns of, a line each; the same line is said once, however many pictures it is of."""
    logger, handler = logging.getLogger("leadline"), _Once(logging.WARNING)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


def hush(quiet: bool) -> bool:
    """What an option --quiet that says "errors only" asks of this command line's `notices`."""
    for handler in logging.getLogger("leadline").handlers:
        if quiet and isinstance(handler, _Once):
            handler.setLevel(logging.ERROR)
    return quiet


class _Once(logging.Handler):
    def __init__(self, level: int) -> None:
        super().__init__(level)
        self.said: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        line = record.getMessage()
        if line not in self.said:
            self.said.add(line)
            say(line)


def report(figures: Mapping[str, Any]) -> None:
    """One JSON object on stdout, for scripts: ASCII, since names of files may be no text."""
    print(json.dumps(figures, indent=2))


def paths(files: Iterable[str | Path]) -> None:
    """Names of files on stdout, one per line, in the very bytes that the system knows them by."""
    sys.stdout.flush()
    sys.stdout.buffer.writelines(os.fsencode(file) + b"\n" for file in files)
    sys.stdout.buffer.flush()


def table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Columns on stdout: plain text, so that `grep` and `awk` read them too."""
    widths = [max(map(len, column)) for column in zip(titles, *rows, strict=True)]
    for row in (titles, *rows):
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def usage_errors() -> tuple[type[BaseException], ...]:
    """The classes of wrong command lines: ours, and Typer's, whatever package they live in."""
    ours = [UsageError]
    theirs = [c for c in typer.BadParameter.__mro__ if c.__name__ in ("ClickException", "TyperException")]
    return (*ours, *theirs)


def fail(error: Exception) -> int:
    """Print one line about an error and return the exit code that belongs to it."""
    if isinstance(error, usage_errors()):
        show = getattr(error, "format_message", lambda: str(error))
        if type(error).__name__ == "NoArgsIsHelpError":
            say(show())  # the help page itself
        else:
            say(f"error: {' '.join(show().split())}")
        return 2
    if isinstance(error, LeadlineError):
        say(f"error: {error}")
    elif isinstance(error, OSError) and error.strerror:  # a full disk, a missing permission: no bug of ours
        where = (
            f"{printable(os.fsdecode(error.filename))}: " if isinstance(error.filename, str | bytes) else ""
        )
        say(f"error: {where}{error.strerror}; check the name, the permissions and the space on the disk")
    else:
        what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        say(f"error: {' '.join(what.split())} (this is a bug: please report it with the output of --debug)")
    return 1


@contextmanager
def bar(title: str, quiet: bool = False) -> Iterator[Step]:
    """Progress with rate and time left: a live bar on a terminal, a line now and then in a log."""
    if quiet:
        yield lambda done, total, name: None
    elif sys.stderr.isatty():
        with _live() as live:
            task = live.add_task(title, total=None, rate="", file="")
            yield lambda done, total, name: live.update(
                task, completed=done, total=total, file=name, rate=_rate(live.tasks[0].speed)
            )
    else:
        yield _Log(title)


def _live() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[file]}", markup=False),
    )
    return Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=False)


class _Log:
    """Progress as lines, at most one every HEARTBEAT_S seconds; the rate is that since the first call."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.first: tuple[int, float] | None = None  # what was done then, and when
        self.last = time.monotonic()

    def __call__(self, done: int, total: int | None, name: str) -> None:
        now = time.monotonic()
        if self.first is None:
            self.first = done, now
        if now - self.last < HEARTBEAT_S:
            return
        self.last = now
        speed = (done - self.first[0]) / max(now - self.first[1], 1e-9)
        left = f"{clock((total - done) / speed)} left" if total and speed else ""
        words = (f"{self.title} {done}/{total or '?'}", _rate(speed), left, name)
        say(", ".join(word for word in words if word))


def _rate(per_second: float | None) -> str:
    if not per_second:
        return ""
    return f"{per_second:.1f}/s" if per_second >= 1 else f"{1 / per_second:.1f} s each"


def clock(seconds: float) -> str:
    """A duration as people say it.

    >>> clock(4.23), clock(125), clock(7322)
    ('4.2 s', '2 min 5 s', '2 h 2 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"

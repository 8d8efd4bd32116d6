"""What a person sees of a training: a live line on a terminal, plain lines in a file, or silence."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn
from rich.table import Column

Facts = Mapping[str, float]


class Display(Protocol):
    """What the loop tells; every call is cheap and may do nothing."""

    def say(self, line: str) -> None: ...
    def start(self, total: int, done: int) -> None: ...
    def step(self, step: int, facts: Facts) -> None: ...
    def log(self, step: int, facts: Facts) -> None: ...
    def phase(self, name: str) -> None: ...
    def close(self) -> None: ...


class Silent:
    """Shows nothing."""

    def say(self, line: str) -> None: ...
    def start(self, total: int, done: int) -> None: ...
    def step(self, step: int, facts: Facts) -> None: ...
    def log(self, step: int, facts: Facts) -> None: ...
    def phase(self, name: str) -> None: ...
    def close(self) -> None: ...


class Live:
    """Progress with rate and time left on stderr: one moving line on a terminal, otherwise a line per log
    entry.
    """

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(file=sys.stderr, soft_wrap=True, highlight=False)
        count = MofNCompleteColumn(table_column=Column(no_wrap=True))
        columns = (BarColumn(None), count, TextColumn("{task.description}"))  # the bar takes what is left
        self.bar = (
            Progress(*columns, console=self.console, transient=True) if self.console.is_terminal else None
        )
        self.task: TaskID | None = None
        self.total = self.first = 0
        self.began = time.monotonic()

    def say(self, line: str) -> None:
        self.console.print(line, markup=False)

    def start(self, total: int, done: int) -> None:
        self.total, self.first, self.began = total, done, time.monotonic()
        if self.bar:
            self.task = self.bar.add_task("loading the first batch", total=total, completed=done)
            self.bar.start()

    def step(self, step: int, facts: Facts) -> None:
        if self.bar and self.task is not None:
            self.bar.update(self.task, completed=step, description=self._line(step, facts))

    def log(self, step: int, facts: Facts) -> None:
        if not self.bar:
            self.say(f"step {step}/{self.total}  {self._line(step, facts)}")

    def phase(self, name: str) -> None:
        if self.bar and self.task is not None:
            self.bar.update(self.task, description=name)

    def close(self) -> None:
        if self.bar:
            self.bar.stop()

    def _line(self, step: int, facts: Facts) -> str:
        """`loss 0.6612  lr 9.1e-04  13.2/s  12% waiting  1:02:03 left`: pictures, and waiting for them."""
        per_step = (time.monotonic() - self.began) / max(1, step - self.first)
        wait = facts["wait"] / max(facts["seconds"], 1e-9)
        left = clock(per_step * (self.total - step))
        return (
            f"loss {facts['loss']:.4f}  lr {facts['lr']:.1e}  {facts['rate']:.1f}/s  "
            f"{wait:.0%} waiting  {left} left"
        )


def clock(seconds: float) -> str:
    """Hours, minutes and seconds.

    >>> clock(3723.4)
    '1:02:03'
    """
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"

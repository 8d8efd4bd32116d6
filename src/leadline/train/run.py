"""The run folder: recipe, environment, log, heartbeat, and the signals that end a run early but in order.

    recipe.yaml             as resolved
    environment.json        of the newest start; log.jsonl has it for every one
    log.jsonl               one line per event
    curves.png              heartbeat.json
    checkpoints/<step>/     samples/<step>.png
    model/                  when the training is complete

Whatever is replaced here is replaced as a whole, so a run that is killed can be looked at and resumed.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import IO, Any, Self

from leadline.errors import SaveError, TrainError
from leadline.save import atomic


class Log:
    """log.jsonl: one JSON object per line; its `event` says what it is, `step` when."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, event: str, step: int, **facts: Any) -> None:
        """Append one line. Numbers that are not finite become null, as JSON knows none."""
        line = json.dumps({"event": event, "step": step, **_finite(facts)})
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(line + "\n")

    def read(self) -> list[dict[str, Any]]:
        """All complete lines; one that a killed process left half written is passed over."""
        if not self.path.exists():
            return []
        lines = []
        for line in self.path.read_text(encoding="utf-8").splitlines():
            try:
                lines.append(json.loads(line))
            except json.JSONDecodeError:
                continue
        return lines

    def cut(self, step: int) -> None:
        """Forget what happened after a step: a resumed run will do it again."""
        kept = [line for line in self.read() if line["step"] <= step]
        write(self.path, "".join(json.dumps(line) + "\n" for line in kept))


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(v) for key, v in value.items()}
    if isinstance(value, float):
        return value if abs(value) < float("inf") else None  # nan compares false too
    return value


def write(path: Path, text: str) -> None:
    """Replace a text file as a whole."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextmanager
def locked(folder: Path, main: bool = True) -> Iterator[None]:
    """Only one training (its main process) works in a folder. TrainError if another does; dead ones do not
    count.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "w") as file:
        if main and sys.platform != "win32":  # no flock there: the run is unguarded
            _lock(file, folder)
        yield


def _lock(file: IO[str], folder: Path) -> None:
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise TrainError(
            f"{folder}: another process trains here: wait for it or choose another folder"
        ) from None


class Heartbeat:
    """heartbeat.json tells from outside that a training lives, and `say` is called when one thing takes
    long, or when the file cannot be written.
    """

    def __init__(
        self, path: Path | None, say: Callable[[str], None], every: float = 10, patience: float = 120
    ) -> None:
        self.path, self.say, self.every, self.patience = path, say, every, patience
        self.step, self.phase, self.since, self.warned = 0, "starting", time.monotonic(), 0.0
        self.unwritten = False
        self.ended = threading.Event()

    def now(self, step: int, phase: str) -> None:
        """What the training is busy with."""
        self.step, self.phase, self.since, self.warned = step, phase, time.monotonic(), 0.0

    def beat(self) -> None:
        """Write the file; warn after `patience` seconds in one phase, then after twice as long, and so on."""
        seconds = time.monotonic() - self.since
        facts = {"time": time.time(), "pid": os.getpid(), "step": self.step, "phase": self.phase}
        if self.path:
            self._write(self.path, facts | {"seconds_in_phase": round(seconds, 1)})
        if seconds > max(self.patience, 2 * self.warned):
            self.warned = seconds
            self.say(f"step {self.step}: {self.phase} for {seconds:.0f} s now")

    def _write(self, path: Path, facts: Mapping[str, Any]) -> None:
        """A full disk or a share that is away ends neither the beats nor the warnings; it is said once."""
        try:
            write(path, json.dumps(facts))
            self.unwritten = False
        except (OSError, SaveError) as error:
            if not self.unwritten:
                self.say(f"the heartbeat cannot be written, training goes on: {error}")
            self.unwritten = True

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self.ended.wait(self.every):
            self.beat()


class Stop:
    """SIGTERM and the first SIGINT become a wish to stop, which the loop grants. A second interrupts."""

    def __init__(self) -> None:
        self.signal: str | None = None

    def _wish(self, number: int, frame: FrameType | None) -> None:
        if self.signal and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = signal.Signals(number).name

    @contextmanager
    def listening(self) -> Iterator[Stop]:
        """Handlers are in place within it. Outside the main thread Python allows none: nothing happens."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        old = {number: signal.signal(number, self._wish) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield self
        finally:
            for number, handler in old.items():
                signal.signal(number, handler)

"""A file of JSON, one object per line, appended and synced: what a long piece of work has done so far.

A process that dies leaves at worst one torn line, which is passed over.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from leadline.errors import SaveError
from leadline.save.files import refused

try:
    import fcntl
except ImportError:  # Windows: processes there do not see each other
    fcntl = None  # type: ignore[assignment]


def read(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of a journal; none if there is no such file. Lines that make no sense are passed over.

    Raises SaveError if it is there and cannot be read.
    """
    try:
        with open(path, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                with contextlib.suppress(ValueError):  # torn, or edited
                    found = json.loads(line)
                    if isinstance(found, dict):
                        yield found
    except FileNotFoundError:
        pass
    except OSError as error:
        raise SaveError(f"cannot read {path}: {error.strerror}; choose another output folder") from error


class Journal:
    """A journal, open for appending. Several processes may have it open at once."""

    def __init__(self, path: Path, when_alone: Callable[[], None] = lambda: None) -> None:
        """Make the folder and the file; the next line begins a new one, whatever a killed process left.

        when_alone: called if nobody else has it open, before anybody can. Raises SaveError if it cannot be
        written.
        """
        self.path = path
        self._one_at_a_time = threading.Lock()
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT
        flags |= getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)  # each known to one system only
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._handle = os.open(path, flags, 0o666)
        except OSError as error:
            raise refused(error, path) from error
        if self._alone():
            when_alone()
        self._share()
        self._end_torn_line()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._handle)

    def append(self, line: Mapping[str, Any]) -> None:
        """Add an object; it is on disk when this returns. Raises SaveError."""
        self.extend([line])

    def extend(self, lines: Iterable[Mapping[str, Any]]) -> None:
        """Add objects; they are on disk when this returns. Raises SaveError."""
        data = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
        try:
            with self._one_at_a_time:
                while data:  # a full disk takes a part first
                    data = data[os.write(self._handle, data) :]
                os.fsync(self._handle)
        except OSError as error:
            raise refused(error, self.path) from error

    def _end_torn_line(self) -> None:
        if os.fstat(self._handle).st_size:
            os.lseek(self._handle, -1, os.SEEK_END)
            if os.read(self._handle, 1) != b"\n":
                os.write(self._handle, b"\n")

    def _alone(self) -> bool:
        """Whether nobody else writes here now. The lock ends with the process, however that ends."""
        if fcntl is None:
            return True
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True

    def _share(self) -> None:
        """Be seen by other processes, and let them in."""
        if fcntl is not None:
            with contextlib.suppress(OSError):  # a file system without locks
                fcntl.flock(self._handle, fcntl.LOCK_SH)

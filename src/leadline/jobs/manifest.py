"""`manifest.jsonl`: what a results folder holds, one line of JSON per event, appended and synced.

The last line of a name counts. A process that dies leaves at worst one torn line, which is passed over.

{"settings": "5f3c", "of": {"model": "small", "seed": 0 ...}}           a run began with these settings
{"name": "a/x", "state": "writing", "outputs": [...] ...}               these files are about to be written
{"name": "a/x", "state": "done", "outputs": [...] ...}                  they are all there, whole
{"name": "a/y", "state": "failed", "stage": "read", "reason": ...}      this input gave no result
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, NamedTuple

from leadline.errors import SaveError
from leadline.save.files import refused, remove_leftovers

try:
    import fcntl
except ImportError:  # Windows: runs there do not see each other
    fcntl = None  # type: ignore[assignment]

NAME = "manifest.jsonl"


State = Literal["writing", "done", "failed"]


class Stamp(NamedTuple):
    """How an input is known again: it changes when the file is edited, and stays when it is moved."""

    size: int
    mtime_ns: int


class Entry(NamedTuple):
    """The last thing that happened to one name."""

    input: str  # absolute path
    stamp: Stamp
    state: State
    settings: str  # hash
    formats: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()  # below the results folder
    stage: str = ""  # of a failure: read, predict, write
    reason: str = ""


class Past(NamedTuple):
    """What the manifest says before a run."""

    entries: dict[str, Entry]  # by name
    settings: dict[str, dict[str, Any]]  # by hash


def load(folder: Path) -> Past:
    """Read a folder's manifest; empty if there is none. Lines that make no sense are passed over.

    Raises SaveError if it is there and cannot be read.
    """
    past = Past({}, {})
    try:
        with open(folder / NAME, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                with contextlib.suppress(ValueError, TypeError, KeyError, AttributeError):  # torn, or edited
                    _take(json.loads(line), past)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise SaveError(
            f"cannot read {folder / NAME}: {error.strerror}; choose another output folder"
        ) from error
    return past


def digest(settings: Mapping[str, Any]) -> str:
    """The short hash by which lines refer to settings. Equal settings have equal hashes."""
    text = json.dumps(settings, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()


class Manifest:
    """The manifest of a results folder, open for appending. Several runs may have it open at once."""

    def __init__(self, folder: Path, past: Past) -> None:
        """Make the folder and the file, and clear away what killed runs have left half written.

        Raises SaveError if the folder cannot be written.
        """
        self.path = folder / NAME
        self._one_at_a_time = threading.Lock()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            flags = os.O_RDWR | os.O_APPEND | os.O_CREAT
            flags |= getattr(os, "O_NOFOLLOW", 0) | getattr(
                os, "O_BINARY", 0
            )  # each known to one system only
            self._handle = os.open(self.path, flags, 0o666)
        except OSError as error:
            raise refused(error, self.path) from error
        if self._alone():  # else the temporary files may be somebody's at work
            dead = (entry for entry in past.entries.values() if entry.state == "writing")
            remove_leftovers({(folder / output).parent for entry in dead for output in entry.outputs})
        self._share()
        self._end_torn_line()

    def __enter__(self) -> Manifest:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._handle)

    def begin(self, settings: Mapping[str, Any]) -> None:
        """Note the settings of a run. Raises SaveError."""
        self._append({"settings": digest(settings), "of": settings})

    def put(self, name: str, entry: Entry) -> None:
        """Record what happened to a name; it is on disk when this returns. Raises SaveError."""
        words = {"name": name} | entry._asdict() | entry.stamp._asdict()
        del words["stamp"]
        self._append({key: value for key, value in words.items() if value not in ("", ())})

    def _append(self, line: Mapping[str, Any]) -> None:
        data = json.dumps(line).encode() + b"\n"
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
        """Be seen by other runs, and let them in."""
        if fcntl is not None:
            with contextlib.suppress(OSError):  # a file system without locks
                fcntl.flock(self._handle, fcntl.LOCK_SH)


def _take(line: dict[str, Any], past: Past) -> None:
    if "of" in line:
        past.settings[line["settings"]] = dict(line["of"])
        return
    past.entries[str(line["name"])] = Entry(
        str(line["input"]),
        Stamp(line["size"], line["mtime_ns"]),
        line["state"],
        sys.intern(line["settings"]),
        tuple(map(sys.intern, line.get("formats", ()))),
        tuple(map(str, line.get("outputs", ()))),
        line.get("stage", ""),
        line.get("reason", ""),
    )

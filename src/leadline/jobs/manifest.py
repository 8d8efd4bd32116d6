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
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from leadline.save.files import remove_leftovers
from leadline.save.journal import Journal, read

NAME = "manifest.jsonl"
PART = "manifest.part-"


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
    for line in read(folder / NAME):
        with contextlib.suppress(ValueError, TypeError, KeyError, AttributeError):  # edited
            _take(line, past)
    for path in parts(folder):
        part = load_part(path)
        done = {name for name, entry in past.entries.items() if entry.state == "done"}
        past.entries.update({name: x for name, x in part.items() if x.state == "done" or name not in done})
    return past


def parts(folder: Path) -> list[Path]:
    """The files in which processes that work for one run note what they do: `manifest.part-*.jsonl`."""
    return sorted(folder.glob(f"{PART}*.jsonl"))


def load_part(path: Path) -> dict[str, Entry]:
    """What one of them says, by name."""
    past = Past({}, {})
    for line in read(path):
        with contextlib.suppress(ValueError, TypeError, KeyError, AttributeError):
            _take(line, past)
    return past.entries


def digest(settings: Mapping[str, Any]) -> str:
    """The short hash by which lines refer to settings. Equal settings have equal hashes."""
    text = json.dumps(settings, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()


class Manifest(Journal):
    """The manifest of a results folder, open for appending. Several runs may have it open at once."""

    def __init__(self, folder: Path, past: Past, name: str = NAME) -> None:
        """Make the folder and the file, and clear away what killed runs have left half written. name: of a
        part, such as `manifest.part-1.jsonl`, in place of the whole.

        Raises SaveError if the folder cannot be written.
        """
        self.folder = folder

        def clear() -> None:  # only while alone: else the temporary files may be somebody's at work
            dead = (entry for entry in past.entries.values() if entry.state == "writing")
            remove_leftovers({(folder / output).parent for entry in dead for output in entry.outputs})

        super().__init__(folder / name, when_alone=clear if name == NAME else lambda: None)

    def begin(self, settings: Mapping[str, Any]) -> None:
        """Note the settings of a run. Raises SaveError."""
        self.append({"settings": digest(settings), "of": settings})

    def put(self, name: str, entry: Entry) -> None:
        """Record what happened to a name; it is on disk when this returns. Raises SaveError."""
        self.append(_line(name, entry))

    def take_parts(self) -> None:
        """Bring what the parts say into this file, and remove them. Only when nobody writes them any more.

        Raises SaveError.
        """
        for path in parts(self.folder):
            self.extend(_line(name, entry) for name, entry in load_part(path).items())
            path.unlink(missing_ok=True)


def _line(name: str, entry: Entry) -> dict[str, Any]:
    words = {"name": name} | entry._asdict() | entry.stamp._asdict()
    del words["stamp"]
    return {key: value for key, value in words.items() if value not in ("", ())}


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

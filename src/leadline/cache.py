"""Leadline's own folder for what can be made again: digests of large files, encoded empty prompts.

Everything in it may be deleted at any time; models that were fetched without their text encoder, because its
prompt lay here, then need another download. Where it cannot be written, things are made again each time.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from pathlib import Path

from leadline.errors import SaveError
from leadline.save.files import write_bytes

COMMIT = re.compile(r"[0-9a-f]{40}")
SHA256 = re.compile(r"[0-9a-f]{64}")


def folder() -> Path:
    """$LEADLINE_CACHE, or `leadline` in the user's folder of caches ($XDG_CACHE_HOME, ~/.cache)."""
    if own := os.environ.get("LEADLINE_CACHE"):
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "leadline"


def sha256(file: Path) -> str:
    """The SHA-256 of a file, in hexadecimal: read once, then remembered until size or time of change differ.

    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile() as file:
    ...     sha256(Path(file.name))[:16]
    'e3b0c44298fc1c14'
    """
    file = file.resolve()
    status = file.stat()
    facts = f"{file}\n{status.st_size}\n{status.st_mtime_ns}\n{status.st_ctime_ns}\n{status.st_ino}"
    note = f"sha256/{hashlib.sha256(facts.encode(errors='surrogateescape')).hexdigest()[:32]}"
    known = read_note(note)
    if SHA256.fullmatch(known):
        return known
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    write_note(note, digest)
    return digest


def empty_text_file(encoder: str) -> Path:
    """Where the empty prompt is kept, encoded by the text encoder whose weights have this SHA-256."""
    return folder() / "empty_text" / f"{encoder}.safetensors"


def note_encoder(snapshot: Path, encoder: str) -> None:
    """Remember whose text encoder a downloaded folder goes with, since the encoder itself is not fetched."""
    write_note(f"encoder_of/{snapshot.name}", encoder)


def encoder_of(snapshot: Path) -> str | None:
    """The SHA-256 that was noted for a downloaded folder, which is named by its commit."""
    known = read_note(f"encoder_of/{snapshot.name}") if COMMIT.fullmatch(snapshot.name) else ""
    return known if SHA256.fullmatch(known) else None


def read_note(name: str) -> str:
    """A short text, "" if it was never written."""
    try:
        return (folder() / name).read_text(encoding="ascii")
    except (OSError, ValueError):
        return ""


def write_note(name: str, text: str) -> None:
    """Keep a short text, where the folder can be written."""
    with contextlib.suppress(SaveError):
        write_bytes(folder() / name, text.encode("ascii"))

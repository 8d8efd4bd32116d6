"""Downloads in the hub's cache on this machine: where they are, and whether they are whole and sound.

The cache keeps every file under the name of its hash, so that it can be held against it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

from leadline import layout
from leadline.cache import COMMIT, SHA256, empty_text_file, encoder_of, sha256
from leadline.cards import Hub

HASH = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")  # git's of small files, SHA-256 of large ones
FILES = (  # of a repository that has no card of ours
    *("card.yaml", "model_index.json", "config.json", "model*", "pytorch_model*", "diffusion_pytorch_model*"),
    *("unet/*", "vae/*", "scheduler/*", "text_encoder/*", "tokenizer/*", layout.EMPTY_TEXT),
    *("image_encoder/*", "domains/*"),
)


def home(hub: Hub, cache: Path | None) -> Path:
    """The folder of all revisions of a repository."""
    from huggingface_hub import constants

    return Path(cache or constants.HF_HUB_CACHE).expanduser() / f"models--{hub.id.replace('/', '--')}"


def on_disk(hub: Hub, cache: Path | None = None) -> Path | None:
    """The folder of a repository's revision in the hub's cache on this machine, complete or not."""
    own, commit = home(hub, cache), hub.revision
    if not COMMIT.fullmatch(commit):
        try:
            commit = (own / "refs" / commit).read_text(encoding="ascii").strip()
        except (OSError, ValueError):
            return None
    folder = own / "snapshots" / commit
    return folder if COMMIT.fullmatch(commit) and folder.is_dir() else None


def complete(hub: Hub, cache: Path | None = None) -> bool:
    """Whether all that a model needs of a repository's revision is on this machine."""
    folder = on_disk(hub, cache)
    return folder is not None and not lacking(folder, hub)


def source(folder: Path) -> str | None:
    """The id of the repository that a folder is a download of; None for any other folder.

    >>> source(Path("models--someone--something/snapshots/" + 40 * "0"))
    'someone/something'
    """
    commit, snapshots, name = (folder.absolute().parts[::-1] + ("", ""))[:3]
    if snapshots != "snapshots" or not COMMIT.fullmatch(commit) or not name.startswith("models--"):
        return None
    return name.removeprefix("models--").replace("--", "/", 1)


def lacking(folder: Path, hub: Hub) -> list[str]:
    """What a model needs of a repository and its folder does not hold: patterns, or words."""
    names = _names(folder)
    gaps = layout.gaps(names, hub.files if hub.files != FILES else ())
    encoder = encoder_of(folder)
    if layout.EMPTY_TEXT in names or (encoder and empty_text_file(encoder).is_file()):
        gaps = [gap for gap in gaps if "text_encoder" not in gap]
    return gaps


def spoiled(folder: Path, known: Mapping[str, str]) -> list[str]:
    """Files of a downloaded folder whose content is not what the known hashes, or their own names, say.

    The cache keeps content under the name of its hash and links to it. Nothing is known of other files.
    """
    hashes = {name: (folder / name).resolve().name for name in _names(folder) if (folder / name).is_symlink()}
    expected = {name: x for name, x in (hashes | dict(known)).items() if (folder / name).is_file()}
    return [name for name, x in expected.items() if not _fits(folder / name, x)]


def _fits(file: Path, expected: str) -> bool:
    if SHA256.fullmatch(expected):
        return sha256(file) == expected
    if HASH.fullmatch(expected):
        content = file.read_bytes()
        return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest() == expected
    return True  # no hash: a link that somebody else has made


def _names(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]

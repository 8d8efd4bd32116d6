"""Captions of photographs for models that read them: written down, or by a captioner, which is asked once.

What a captioner has said of a picture is kept on this machine, by the picture's numbers and the captioner's
name, and never asked again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from leadline import cache, colour
from leadline.errors import SaveError, UsageError, printable
from leadline.image import Picture
from leadline.save.files import write_bytes

Captions = str | Mapping[str, str] | Callable[[Picture], str]
AUTO = "auto"  # the captioner of PrimeDepth's authors
LONGEST = 2000  # characters of a caption that is read from a file


class Captioner(Protocol):
    """As leadline.networks.labellers has them."""

    name: str

    def __call__(self, pictures: Sequence[NDArray[np.uint8]]) -> list[str]: ...


class Listed:
    """Captions by the names of pictures: as they were given, without folders, or without an ending too."""

    def __init__(self, captions: Mapping[str, str], name: str = "captions") -> None:
        self.captions, self.name = captions, name

    def __call__(self, picture: Picture) -> str:
        """The caption, or "" for a picture that is not listed."""
        path = PurePath(picture.name)
        found = (self.captions.get(name) for name in (picture.name, path.name, path.stem))
        return next((caption for caption in found if caption is not None), "")

    def __str__(self) -> str:
        digest = hashlib.blake2b(json.dumps(dict(self.captions), sort_keys=True).encode(), digest_size=8)
        return f"{self.name} {digest.hexdigest()}"


class Asked:
    """Captions by a captioner, each kept when it has been made."""

    def __init__(self, captioner: Captioner) -> None:
        self.captioner = captioner

    def __call__(self, picture: Picture) -> str:
        """What it says of the upright picture at its own size."""
        rgb = colour.as_bytes(picture.rgb)
        file = self._file(rgb)
        with contextlib.suppress(OSError, UnicodeDecodeError):
            return file.read_text(encoding="utf-8")
        (caption,) = self.captioner([rgb])
        with contextlib.suppress(SaveError):  # where it cannot be kept, it is made again
            write_bytes(file, caption.encode())
        return caption

    def _file(self, rgb: NDArray[np.uint8]) -> Path:
        digest = hashlib.blake2b(f"{self.captioner.name}\n{rgb.shape}\n".encode(), digest_size=16)
        digest.update(np.ascontiguousarray(rgb).data)
        return cache.folder() / "captions" / f"{digest.hexdigest()}.txt"

    def __str__(self) -> str:
        return f"by {self.captioner.name}"


def by(captions: Captions) -> Callable[[Picture], str]:
    """One caption for all, captions by the names of pictures, or whatever says one of a picture.

    >>> by({"a.jpg": "a house"})(Picture(np.zeros((1, 1, 3), np.uint8), name="photos/a.jpg"))
    'a house'
    """
    if isinstance(captions, str):
        return _Always(captions)
    return Listed(captions) if isinstance(captions, Mapping) else captions


class _Always:
    def __init__(self, caption: str) -> None:
        self.caption = caption

    def __call__(self, picture: Picture) -> str:
        return self.caption

    def __str__(self) -> str:
        return repr(self.caption)


def choose(
    what: str, *, device: str | torch.device = "auto", download: bool = False
) -> Callable[[Picture], str]:
    """By a word of the command line: a .json file of names and captions; `auto`, BLIP-2; or another
    captioner, a folder or a repository of the hub.

    Raises UsageError for a file that holds no captions, WeightsError for a captioner that is not there.
    """
    if what.endswith(".json"):
        return Listed(_read(Path(what)), what)
    from leadline.networks import labellers  # transformers takes seconds to import

    name = labellers.DEFAULT_CAPTIONER if what == AUTO else what
    return Asked(labellers.captioner(name, device=device, download=download))


def _read(file: Path) -> dict[str, str]:
    try:
        data: Any = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{file}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise UsageError(f'{file}: no JSON: {{"a.jpg": "a house", ...}} is needed') from None
    if not isinstance(data, dict):
        raise UsageError(f'{file}: holds {type(data).__name__}, {{"a.jpg": "a house", ...}} is needed')
    wrong = [key for key, x in data.items() if not isinstance(x, str) or len(x) > LONGEST]
    if wrong:
        raise UsageError(
            f"{file}: {printable(str(wrong[0]))[:80]!r} has no caption of up to {LONGEST} characters"
        )
    return data

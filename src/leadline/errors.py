"""What may go wrong, as a small class tree, and the one check of array shapes.

Every message is one line with three parts: what was found, what was wanted, what to do next. The command line
prints `str(error)` and nothing else; a traceback for a user's mistake is a bug.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Protocol


class LeadlineError(Exception):
    """Any failure that the caller can do something about. `str(error)` is one line."""

    def __str__(self) -> str:
        return " ".join(super().__str__().split())  # messages of other libraries may span lines


class UsageError(LeadlineError):
    """A wrong option, name or combination of them. The command line ends with exit code 2."""


class ShapeError(LeadlineError):
    """An array has another shape than the function needs."""


class ImageError(LeadlineError):
    """A picture cannot be read: not an image, truncated, empty, too large, or in an unknown layout."""


class KindError(LeadlineError):
    """A prediction was asked for a quantity that it does not hold."""


class CameraError(LeadlineError):
    """Intrinsics are impossible or implausible, or belong to an image of another size."""


class DocumentError(LeadlineError):
    """A recipe, card or protocol does not parse or does not validate."""


class WeightsError(LeadlineError):
    """Weights are missing, damaged, or belong to another network."""


class DeviceError(LeadlineError):
    """A device or precision that this machine does not have, or whose memory does not suffice."""


class DataError(LeadlineError):
    """A data set is missing, incomplete, or holds values that cannot be right."""


class SaveError(LeadlineError):
    """A result cannot be written, or a written one cannot be read back."""


class TrainError(LeadlineError):
    """A training cannot start, go on or be resumed."""


class Shaped(Protocol):
    """Anything with a shape: numpy arrays, torch tensors."""

    @property
    def shape(self) -> Sequence[int]: ...


def check_shape(x: Shaped, pattern: str, name: str = "array", **known: int) -> dict[str, int]:
    """Compare a shape with a pattern and return the sizes of its letters.

    A pattern is words between spaces: a number must match exactly, a letter takes any size but the same one
    each time, `...` at the front stands for any leading axes. Sizes in `known` are bound beforehand.

    Raises ShapeError on a mismatch.

    >>> import numpy as np
    >>> check_shape(np.zeros((2, 3, 4, 5)), "B 3 H W")
    {'B': 2, 'H': 4, 'W': 5}
    >>> check_shape(np.zeros((4, 5)), "... H W", H=4)
    {'H': 4, 'W': 5}
    >>> check_shape(np.zeros((4, 5)), "H W 3", "normals")
    Traceback (most recent call last):
    leadline.errors.ShapeError: normals: the shape is [4, 5], [H, W, 3] is needed
    """
    shape, words = tuple(x.shape), pattern.split()
    axes = words[1:] if words[:1] == ["..."] else words
    tail = shape[len(shape) - len(axes) :] if axes is not words else shape
    bound = dict(known)
    fits = len(tail) == len(axes) and all(
        _fits(size, word, bound) for size, word in zip(tail, axes, strict=True)
    )
    if not fits:
        raise ShapeError(f"{name}: the shape is {list(shape)}, [{', '.join(words)}] is needed{_where(known)}")
    return bound


def _fits(size: int, word: str, bound: dict[str, int]) -> bool:
    wanted = int(word) if word.isdigit() else bound.setdefault(word, size)
    return size == wanted


def _where(known: dict[str, int]) -> str:
    return " with " + ", ".join(f"{letter} = {size}" for letter, size in known.items()) if known else ""


def printable(text: str) -> str:
    """On one line and safe to print: control characters and stray bytes of file names as escapes.

    >>> printable("two\\nlines"), printable("caf\u00e9")
    ('two\\\\nlines', 'caf\u00e9')
    """
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def nearest(word: str, choices: Iterable[str]) -> str | None:
    """The choice that looks most like `word`, or None if none comes close. For "did you mean".

    >>> nearest("processing_size", ["processing_res", "seed"])
    'processing_res'
    >>> nearest("xyz", ["processing_res", "seed"]) is None
    True
    """
    found = difflib.get_close_matches(word, list(choices), n=1, cutoff=0.6)
    return found[0] if found else None


def did_you_mean(word: str, choices: Iterable[str], otherwise: str = "") -> str:
    """What to say of an unknown word: the choice that looks most like it, or else all of them.

    otherwise: in place of the whole list.

    >>> did_you_mean("depht", ["depth", "normals"]), did_you_mean("x", ["depth", "normals"])
    ("did you mean 'depth'?", 'known are depth, normals')
    """
    choices = list(choices)
    close = nearest(word, choices)
    return f"did you mean {close!r}?" if close else otherwise or f"known are {', '.join(choices) or 'none'}"


def extra(name: str) -> str:
    """What to type for an optional part of the installation.

    >>> extra("heif")
    "pip install '.[heif]' in the clone of leadline"
    """
    return f"pip install '.[{name}]' in the clone of leadline"

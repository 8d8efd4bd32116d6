"""Names of files in published folders: which of the forms of a network's weights is read, and what a download
needs. Names come from strangers, so they are compared and never followed.

One network's weights may lie in a folder in several forms: safetensors or torch's own, whole or in shards,
full precision or a variant such as fp16. One form is taken, by these rules and never by an index file's word.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import NamedTuple

from leadline.errors import WeightsError

STEMS = ("diffusion_pytorch_model", "model", "pytorch_model")  # diffusers', transformers', transformers' old
WEIGHTS = re.compile(
    r"(?P<stem>diffusion_pytorch_model|pytorch_model|model)(\.(?P<variant>\w+?))?"
    r"(-(?P<number>\d{5})-of-(?P<count>\d{5}))?(\.(?P<late>\w+?))?\.(?P<suffix>safetensors|bin)"
)
TEXTS = (".json", ".txt", ".yaml")  # the only other files that are fetched: never code
CHECKPOINTS = (".ckpt", ".pth", ".pt")  # authors' own: tensors are read out of them and nothing else
PLAIN = re.compile(r"[A-Za-z0-9_][\w.+-]*(/[A-Za-z0-9_][\w.+-]*)*", re.ASCII)
EMPTY_TEXT = "empty_text.safetensors"  # in place of a text encoder: the only prompt is the empty one
OPTIONAL = ("model_index.json", "card.yaml", EMPTY_TEXT)  # of a complete folder


class Form(NamedTuple):
    """One form of a network's weights."""

    stem: str
    variant: str  # "": full precision
    suffix: str


def weights_of(names: Iterable[str], variant: str | None = None) -> list[str]:
    """Of the names in one folder, those of the network's weights, in one form: a file, or all of its shards.

    `variant` goes first where it exists; otherwise full precision does, then fp16, then any; safetensors go
    before torch's own. Empty if no form is complete.

    >>> weights_of(["config.json", "model.bin", "model.fp16.safetensors", "model.safetensors"])
    ['model.safetensors']
    >>> weights_of(["model.bin", "model.fp16.safetensors"], variant="fp16")
    ['model.fp16.safetensors']
    >>> weights_of(["model-00001-of-00002.bin"])
    []
    """
    forms: dict[Form, list[tuple[str, int, int]]] = {}
    for name in names:
        if found := WEIGHTS.fullmatch(name):
            form = Form(found["stem"], _variant(name), found["suffix"])
            shard = (name, int(found["number"] or 1), int(found["count"] or 1))
            forms.setdefault(form, []).append(shard)
    complete = {form: kept for form, shards in forms.items() if (kept := _complete(shards))}
    if not complete:
        return []
    return complete[min(complete, key=lambda form: _rank(form, variant))]


def _complete(shards: list[tuple[str, int, int]]) -> list[str]:
    """A whole file, or else all shards of one count."""
    for count in sorted({count for _, _, count in shards}):
        names = {number: name for name, number, n in shards if n == count}
        if sorted(names) == list(range(1, count + 1)):
            return [names[number] for number in sorted(names)]
    return []


def _rank(form: Form, variant: str | None) -> tuple[int, str, bool, int]:
    likes = [variant, "", "fp16"] if variant else ["", "fp16"]
    like = likes.index(form.variant) if form.variant in likes else len(likes)
    return like, form.variant, form.suffix == "bin", STEMS.index(form.stem)


def needed(names: Iterable[str], patterns: Sequence[str] = (), variant: str | None = None) -> list[str]:
    """Of a repository's files, those that a model needs: texts and one form of each network's weights.

    Names that lead out of their folder, hidden files and code are left out, whatever the patterns say. Raises
    WeightsError if a variant is asked for that no network has.

    >>> needed(["unet/config.json", "unet/model.bin", "unet/model.safetensors", "pipeline.py", "../x.json"])
    ['unet/config.json', 'unet/model.safetensors']
    """
    listed = sorted(name for name in names if PLAIN.fullmatch(name) and _asked(name, patterns))
    folders: dict[str, list[str]] = {}
    for name in listed:
        folder, _, last = name.rpartition("/")
        folders.setdefault(folder, []).append(last)
    kept = [
        f"{folder}/{last}".lstrip("/")
        for folder, inside in folders.items()
        for last in weights_of(inside, variant)
    ]
    if variant and not any(_variant(name) == variant for name in kept):
        raise WeightsError(f"no weights of variant {variant!r}: leave it out, or ask for another one")
    return sorted(kept + [name for name in listed if _is_text(name) or _is_checkpoint(name, patterns)])


def gaps(names: Iterable[str], patterns: Sequence[str] = ()) -> list[str]:
    """What a folder lacks: patterns that no file meets, and networks that have a config.json but no weights.

    >>> gaps(["unet/config.json", "vae/config.json", "vae/model.bin"], ["unet/*", "vae/*", "scheduler/*"])
    ['scheduler/*', 'weights in unet']
    """
    names = list(names)
    missing = [p for p in patterns if p not in OPTIONAL and not any(fnmatchcase(name, p) for name in names)]
    networks = [PurePosixPath(name).parent for name in names if PurePosixPath(name).name == "config.json"]
    for folder in networks:
        inside = [PurePosixPath(name).name for name in names if PurePosixPath(name).parent == folder]
        if not weights_of(inside):
            missing.append(f"weights in {folder}" if folder.name else "weights")
    return missing


def _is_checkpoint(name: str, patterns: Sequence[str]) -> bool:
    """A file of an author's own making, which counts only if it is asked for by its very name."""
    return name in patterns and name.endswith(CHECKPOINTS)


def _asked(name: str, patterns: Sequence[str]) -> bool:
    return not patterns or any(fnmatchcase(name, pattern) for pattern in patterns)


def _is_text(name: str) -> bool:
    return name == EMPTY_TEXT or (name.endswith(TEXTS) and ".index." not in name)


def _variant(name: str) -> str:
    found = WEIGHTS.fullmatch(PurePosixPath(name).name)
    return (found["variant"] or found["late"] or "") if found else ""

"""What a model's name means: a card of ours, a repository of the hub, a folder; and what the model is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from leadline import cards
from leadline.cards import Card, Hub
from leadline.errors import UsageError, WeightsError, did_you_mean, nearest, printable
from leadline.hub.download import fetch, undescribed
from leadline.hub.snapshot import FILES, lacking, on_disk, source, spoiled

ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
AUTOENCODER = ("config.json", "diffusion_pytorch_model*")  # files of a repository with nothing else
EVERYTHING = ("*",)  # texts and weights, that is: never code
REVISION = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)*", re.ASCII)


def obtain(
    model: str | Path,
    card: str | Path | None = None,
    *,
    download: bool = False,
    variant: str | None = None,
) -> tuple[Path, Card]:
    """A model's folder as `find` finds it, and what it is as `card_of` says.

    Nothing is downloaded that no card describes. Raises WeightsError as they do.
    """
    if card is not None:
        _given(card)
    folder = find(model, download=download, variant=variant, described=card is not None)
    return folder, card_of(model, folder, card)


def find(
    model: str | Path,
    *,
    cache: Path | None = None,
    download: bool = False,
    refresh: bool = False,
    variant: str | None = None,
    described: bool = True,
) -> Path:
    """The folder of a model: of a bundled or published one by its name, or one on this machine as it is.

    As text: a name of `leadline.cards`, or a repository of the hub, each with `@` and a revision if wanted.
    A name goes before a folder of the same name: write `./small` for the folder.

    cache: a folder of downloads in place of the hub's own. download: fetch what is not on this machine.
    refresh: ask the hub even so, for newer files of that revision, and mend damaged ones. variant: fetch
    these weights, such as "fp16", where they exist. described: False refuses to download a repository that
    no card says anything of.

    Raises WeightsError if the model is unknown, not here, or damaged.

    >>> find("no-such-model")
    Traceback (most recent call last):
    leadline.errors.WeightsError: model 'no-such-model' is unknown ...
    """
    is_name = isinstance(model, str) and (not model or model in cards.names())
    if not is_name and Path(model).is_dir():
        return Path(model)
    if isinstance(model, Path):
        raise WeightsError(f"{model}: no such folder, a model's folder or name is needed")
    hub = repository(model)
    if hub is None:
        return cards.BUNDLED / model
    described = described or cards.has(hub.id) or cards.ingredient(model.partition("@")[0]) is not None
    return _whole(hub, model, cache, download, refresh, variant=variant, described=described)


def autoencoder(name: str | Path, *, cache: Path | None = None, download: bool = False) -> Path:
    """The folder of an autoencoder alone, in diffusers' layout: `tiny`, a repository of the hub, or one on
    this machine as it is.

    Raises UsageError for a word that means none, WeightsError as `find` does.
    """
    word = str(name).partition("@")[0]
    known = word in cards.AUTOENCODERS
    if not known and Path(name).is_dir():
        return Path(name)
    if not known and not ID.fullmatch(word):
        hint = did_you_mean(word, cards.AUTOENCODERS)
        raise UsageError(f"autoencoder {printable(word)!r} is unknown, and no folder: {hint}")
    hub = repository(str(name)) or Hub(id=word)
    hub = hub if known else hub.model_copy(update={"files": AUTOENCODER})
    return _whole(hub, str(name), cache, download)


def labeller(name: str | Path, *, cache: Path | None = None, download: bool = False) -> Path:
    """The folder of a captioner or segmenter in transformers' layout: one on this machine as it is, or a
    repository of the hub.

    Raises UsageError for a word that means neither, WeightsError as `find` does.
    """
    if Path(name).is_dir():
        return Path(name)
    hub = repository(str(name)) if ID.fullmatch(str(name).partition("@")[0]) else None
    if hub is None:
        raise UsageError(f"{printable(str(name))!r} is no folder and no repository such as someone/something")
    everything = hub.model_copy(update={"files": EVERYTHING})
    return _whole(
        everything, str(name), cache, download, way="give its folder, or allow the download (--download)"
    )


def _whole(
    hub: Hub,
    word: str,
    cache: Path | None,
    download: bool,
    refresh: bool = False,
    way: str = "",
    **fetching: Any,
) -> Path:
    """A repository's folder, whole and sound: from this disk, or where that is asked for, from the hub."""
    folder = on_disk(hub, cache)
    gaps = lacking(folder, hub) if folder else []
    bad = [] if refresh or gaps or not folder else spoiled(folder, hub.sha256)
    if folder and not (gaps or bad or refresh):
        return folder
    if download:
        return fetch(hub, cache=cache, **fetching)
    if folder and bad:
        problem = f"damaged, its hash is not the hub's: {way or f'leadline models download {word}'}"
        raise WeightsError(f"{folder / bad[0]}: {problem}")
    part = f"only in part on this machine, without {', '.join(gaps)}" if gaps else "not on this machine"
    way = way or f"give its folder, or allow the download (leadline models download {word})"
    known = cards.has(hub.id) or cards.ingredient(word.partition("@")[0])
    close = None if known else nearest(word, cards.known())
    hint = f"did you mean {close!r}? If not, " if close else ""
    named = word if hub.id in word else f"{word} ({hub.id})"
    raise WeightsError(f"weights of {named} are {part}: {hint}{way}")


def repository(model: str) -> Hub | None:
    """The repository that a name, of an autoencoder or a prior too, or hub id means, at the revision after
    `@`; None for bundled models.

    Raises WeightsError if it is unknown, or the revision cannot be one.

    >>> repository("someone/something@v2").revision
    'v2'
    """
    name, at, revision = model.partition("@")
    if at and (not REVISION.fullmatch(revision) or ".." in revision):
        raise WeightsError(f"revision {revision!r} of {name}: a commit, branch or tag is needed")
    if not cards.has(name) and ID.fullmatch(name) and ".." not in name:
        return Hub(id=name, revision=revision or "main", files=FILES)
    part = cards.ingredient(name)
    hub = part.hub if part else cards.get(name).hub
    if at and not hub:
        raise WeightsError(f"{name} is part of this installation and has no revisions: leave out @{revision}")
    return hub.model_copy(update={"revision": revision}) if hub and at else hub


def card_of(model: str | Path, folder: Path, given: str | Path | None = None) -> Card:
    """What the model in a found folder is: as `given` says (a card's name or YAML file), or our card of that
    name or of the repository that the folder was downloaded from, or the card.yaml in the folder; on this
    machine's own folders, in the other order. What a folder says elsewhere of its class is not asked.

    Of downloaded models, the card's revision is the commit on disk. Raises WeightsError if nothing says it.
    """
    own, id = folder / "card.yaml", source(folder)
    names = [model.partition("@")[0] if isinstance(model, str) else "", id or ""]
    listed = next((name for name in names if cards.has(name)), None)
    if given is not None:
        card = _given(given)
    elif listed and (id or not own.is_file()):
        card = cards.get(listed)
    elif own.is_file():
        card = cards.read(own)
    else:
        raise undescribed(folder)
    if id is None:
        return card
    hub = (card.hub or Hub(id=id)).model_copy(update={"revision": folder.absolute().name})
    return card.model_copy(update={"hub": hub})


def _given(card: str | Path) -> Card:
    """What the user says that a model is."""
    return cards.read(Path(card)) if Path(card).is_file() else cards.get(str(card))

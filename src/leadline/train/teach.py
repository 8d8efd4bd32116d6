"""Self-training: a teacher's word on photographs becomes a data set of the recipe (E2E-FT Sec. 7).

    labels/teacher.json     who said it, and how sure it had to be
    labels/pairs.yaml       what its maps are: the folder trains as the set `folder`
    labels/images/          the photographs
    labels/pseudo/, normals/, masks/    what it says, and where

A pixel counts where the teacher says nearly the same of the photograph and of its mirror image: what differs
there it does not know. The pupil sees the photographs through the recipe's augmentation, so that it has to
find by itself what the teacher saw plainly.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from leadline import align, documents, predict
from leadline.data.photographs import Photographs
from leadline.data.sample import Sample
from leadline.errors import DataError, KindError
from leadline.predict import Model
from leadline.prediction import Kind
from leadline.recipe import DataEntry, Recipe, SelfTraining
from leadline.save import atomic, containers, inside, write_bytes
from leadline.train.run import Stop

ENTRY = "self_training"  # of the mix
RECORD, MEANING = "teacher.json", "pairs.yaml"
Array = NDArray[Any]


def labelled(settings: SelfTraining) -> bool:
    """Whether all photographs have been labelled."""
    return (Path(settings.labels) / MEANING).is_file()


def with_labels(recipe: Recipe) -> Recipe:
    """The recipe with the labels as one more data set; without self-training, the recipe itself."""
    settings = recipe.self_training
    if settings is None:
        return recipe
    entry = DataEntry(
        set="folder",
        options={"path": settings.labels},
        ratio=settings.ratio,
        sizes=settings.sizes,
        augment=settings.augment,
    )
    if recipe.data.get(ENTRY, entry) != entry:  # a run's own recipe.yaml has it already
        raise DataError(f"data set {ENTRY} is what self-training makes: call yours something else")
    return recipe.model_copy(update={"data": {**recipe.data, ENTRY: entry}})


def label(
    recipe: Recipe,
    say: Callable[[str], None],
    model: Model | None = None,
    *,
    stop: Stop | None = None,
    attempt: Callable[[Sample], None] | None = None,
    share: tuple[int, int] = (0, 1),
) -> None:
    """Ask the teacher about every photograph that has no label yet; go on where an earlier call was stopped.

    model: the teacher, where it is loaded already. stop: a wish to leave after a photograph. attempt: told of
    the first label, before there are others; what it raises ends the labelling. share: (rank, world), of
    processes that each take every world-th photograph; `finish` says that all are done. DataError: the folder
    holds the word of another teacher, or there are no photographs. KindError: the teacher says nothing that a
    training can use.
    """
    settings = recipe.self_training
    if settings is None or labelled(settings):
        return
    folder, photographs = Path(settings.labels), Photographs(settings.photographs)
    teacher = model or predict.load(settings.teacher, device=recipe.device)
    kind = teacher.method.kind
    if not kind.is_depth and kind is not Kind.normals:
        raise KindError(f"teacher {settings.teacher} says {kind}: depth, disparity or normals are needed")
    _agree(folder, settings, kind)
    rank, world = share
    for number in range(rank, len(photographs), world):
        if stop is not None and stop.signal:
            return
        sample = photographs[number]
        mask = inside(folder, f"masks/{_flat(sample.name)}.png")
        if not mask.exists():
            values, sure = opinion(teacher, sample.rgb, settings.agreement)
            if attempt:
                normals, pseudo = (values, None) if kind is Kind.normals else (None, values)
                attempt(replace(sample, valid=sure, normals=normals, pseudo=pseudo, pseudo_kind=kind))
                attempt = None
            _write(folder, sample.name, sample.rgb, values, sure, kind)
        if (number + 1) % 100 == 0:
            say(f"self-training: {number + 1} of {len(photographs)} photographs are labelled")
    if world == 1:
        finish(recipe)


def finish(recipe: Recipe) -> None:
    """Write what the labels are, if every photograph has one: from then on the folder is a data set."""
    settings = recipe.self_training
    if settings is None or labelled(settings):
        return
    folder, photographs = Path(settings.labels), Photographs(settings.photographs)
    if all(inside(folder, f"masks/{_flat(name)}.png").exists() for name in photographs.names):
        kind = _record(folder)["kind"]
        meaning = {"frame": "opencv"} if kind == Kind.normals else {"pseudo_kind": kind}
        write_bytes(folder / MEANING, documents.to_yaml(meaning).encode())


def opinion(teacher: Model, rgb: Array, agreement: float) -> tuple[Array, Array]:
    """The teacher's map of a picture uint8 [H,W,3], and bool [H,W]: where that of the mirror image agrees.

    Depths and disparities are compared after the best scale and shift, as shares of the range between their
    2nd and 98th percentiles; normals by their angle, as a share of half a turn.
    """
    values = teacher(rgb).values
    other = teacher(np.ascontiguousarray(rgb[:, ::-1])).values[:, ::-1]
    if values.ndim == 3:
        cosine = (values * (other * np.array([-1, 1, 1], np.float32))).sum(axis=-1)
        return values, np.arccos(np.clip(cosine, -1, 1)) / np.pi < agreement
    a, b = (torch.from_numpy(np.ascontiguousarray(x))[None, None] for x in (values, other))
    everywhere = torch.isfinite(a) & torch.isfinite(b)
    scale, shift = align.fit(b, a, everywhere)
    low, high = np.quantile(values[np.isfinite(values)], [0.02, 0.98])
    difference = (scale * b + shift - a).abs()[0, 0].numpy()
    return values, difference < agreement * max(high - low, 1e-6)


def _record(folder: Path) -> dict[str, Any]:
    """Who has labelled the folder's pictures, and how."""
    try:
        return dict(json.loads((folder / RECORD).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"{folder / RECORD}: cannot be read ({error}): choose another folder") from None


def _agree(folder: Path, settings: SelfTraining, kind: Kind) -> None:
    """Write who teaches what, or find it unchanged."""
    wanted = {"teacher": settings.teacher, "kind": kind.value, "agreement": settings.agreement}
    record = folder / RECORD
    if record.exists():
        found = _record(folder)
        if found != wanted:
            raise DataError(
                f"{folder} holds labels by {found}, not {wanted}: choose another folder for labels"
            )
    folder.mkdir(parents=True, exist_ok=True)
    with atomic(record) as temporary:
        temporary.write_text(json.dumps(wanted), encoding="utf-8")


def _write(folder: Path, name: str, rgb: Array, values: Array, sure: Array, kind: Kind) -> None:
    """Picture and map, and at last the mask: a photograph with a mask is done."""
    stem = _flat(name)
    write_bytes(inside(folder, f"images/{stem}.png"), _png(rgb))
    if kind is Kind.normals:
        write_bytes(inside(folder, f"normals/{stem}.npy"), containers.npy_bytes(values.astype(np.float16)))
    else:
        stored = containers.npz_bytes({"pseudo": values.astype(np.float32)}, {})
        write_bytes(inside(folder, f"pseudo/{stem}.npz"), stored)
    write_bytes(inside(folder, f"masks/{stem}.png"), _png(sure.astype(np.uint8) * 255))


def _flat(name: str) -> str:
    """A file name for a photograph in a subfolder, which no other photograph has.

    >>> _flat("summer/pier.jpg")
    'summer%2Fpier.jpg'
    """
    return name.replace("%", "%25").replace("/", "%2F")


def _png(array: Array) -> bytes:
    file = io.BytesIO()
    Image.fromarray(array).save(file, "PNG")
    return file.getvalue()

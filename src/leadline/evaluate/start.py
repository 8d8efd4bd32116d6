"""From what is asked for, mostly words, to a run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from leadline import protocols
from leadline.errors import UsageError
from leadline.evaluate import shards
from leadline.evaluate.models import Contender, Live
from leadline.evaluate.plan import Combination, choose, combination, labelled
from leadline.evaluate.run import Order, Outcome, Progress, Say, run
from leadline.evaluate.shards import Shard
from leadline.evaluate.sources import Opener, Source
from leadline.predict import Model


def measure(
    models: Iterable[str | Model | Contender],
    data: Iterable[str | Source],
    out: str | Path,
    *,
    protocol: str | Path | Sequence[str | Path] = (),
    changes: Iterable[str] = (),
    root: str | Path | None = None,
    lists: str | Path | None = None,
    limit: int | None = None,
    shard: Shard | None = None,
    batch_size: int = 1,
    save_predictions: bool = False,
    overwrite: bool = False,
    say: Say = lambda line: None,
    progress: Progress = lambda done, total, name: None,
    **options: Any,
) -> Outcome:
    """Measure models on data sets into the run folder `out`, where an earlier run is taken up.

    models: names and folders as `leadline.load` takes them, `label=name`, `average:A+B`, `oracle:A+B` with
    the labels of others here, loaded models, or `Stored` predictions. data: names of data sets, or
    `name=path`. protocol: names or YAML files; of several the first that scores a model's kind on a data set
    is taken, without any the first of all there are. changes: words `key.path=value` on all of them.
    root: where data sets lie that have no path; lists: a list file, or a folder of published lists.
    limit: pictures of each set, from its beginning. shard: this process's part; by default what a launcher
    (accelerate, torchrun) says. options: of `Live`, for names and loaded models, and for names through it of
    `leadline.load`. `say` gets every choice in words.

    Raises UsageError, KindError, DataError or WeightsError before any work; SaveError where files cannot be
    written.
    """
    words = [protocol] if isinstance(protocol, str | Path) else list(protocol)
    changes = list(changes)
    if changes and not words:
        raise UsageError(f"change {changes[0]!r}: of which protocol? Name it")
    wanted = [protocols.load(word, changes) for word in words or protocols.NAMES]
    shard = shards.of_launcher() if shard is None else shard
    contenders, combinations = _models(models, {"batch_size": batch_size, **options})
    if overwrite and shard.of > 1:
        raise UsageError(f"one of {shard.of} processes cannot overwrite what others do: delete {out} before")
    say = say if shard.number == 0 else _quiet
    order = Order(Path(out), shard, batch_size, save_predictions, overwrite, say, progress)
    sources = [one if isinstance(one, Source) else _source(one, root, lists) for one in data]
    if not contenders or not sources:
        raise UsageError("nothing to measure: at least one model and one data set are needed")
    opener = Opener(order.out, limit)
    jobs = choose(contenders, combinations, wanted, sources, opener)
    for data_set in opener.opened.values():
        say(str(data_set))
    return run(jobs, order, combinations)


def _models(
    models: Iterable[str | Model | Contender], options: dict[str, Any]
) -> tuple[list[Contender], list[Combination]]:
    contenders: list[Contender] = []
    combinations: list[Combination] = []
    for model in models:
        if not isinstance(model, str):
            contenders.append(Live(model, **options) if isinstance(model, Model) else model)
        elif found := combination(model):
            combinations.append(found)
        else:
            label, name = labelled(model)
            contenders.append(Live(name, label, **options))
    return contenders, combinations


def _source(word: str, root: str | Path | None, lists: str | Path | None) -> Source:
    name, _, path = word.partition("=")
    place = path or root
    return Source(name, Path(place) if place else None, Path(lists) if lists else None)


def _quiet(line: str) -> None:
    """Only the first process speaks."""

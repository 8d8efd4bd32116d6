"""From a recipe's data sets to the loop: opened, mixed, loaded by other processes in a fixed order."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from leadline.data import open_set
from leadline.data.augment import Options, augment
from leadline.data.mix import Mix, Set, Source, Stages, fetch
from leadline.data.sample import Sample
from leadline.errors import LeadlineError
from leadline.recipe import Recipe, Validation

START = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
SIGNALS = (signal.SIGINT, signal.SIGTERM)  # the main process's affair: it saves, then ends its workers


def open_all(recipe: Recipe) -> dict[str, Set]:
    """The recipe's data sets by entry name."""
    return {name: open_set(entry.set or name, entry.options) for name, entry in recipe.data.items()}


def stages(recipe: Recipe, sets: dict[str, Set], rank: int = 0, world: int = 1) -> Stages:
    """The whole training as batches by number: `accumulate` of them per optimiser step."""
    mixes = []
    for number, stage in enumerate(recipe.plan):
        sources = [
            Source(
                data=sets[name],
                ratio=entry.ratio,
                augment=stage.augment or entry.augment or recipe.augment,
                sizes=stage.sizes or entry.sizes,
                size_weights=stage.size_weights if stage.sizes else entry.size_weights,
                name=name,
            )
            for name, entry in recipe.data.items()
        ]
        batch = stage.batch or recipe.batch
        mix = Mix(sources, batch.size, (recipe.seed, number), rank, world)
        mixes.append((mix, stage.steps * batch.accumulate))
    return Stages(mixes)


def accumulation(recipe: Recipe, step: int) -> tuple[int, int]:
    """(number of the first batch, how many batches) of an optimiser step."""
    first = start = 0
    for stage in recipe.plan:
        count = (stage.batch or recipe.batch).accumulate
        if step < start + stage.steps:
            break
        first, start = first + stage.steps * count, start + stage.steps
    return first + (step - start) * count, count


class _Loading(Dataset[list[Sample] | LeadlineError]):
    """An error of ours travels as a value: a worker that raised would wrap it into pages of traceback."""

    def __init__(self, batches: Stages) -> None:
        self.batches = batches

    def __getitem__(self, number: int) -> list[Sample] | LeadlineError:
        try:
            return self.batches[number]
        except LeadlineError as error:
            return error


def stream(batches: Stages, first: int, workers: int) -> Generator[list[Sample]]:
    """Batches number `first` to the last, in order, loaded ahead by `workers` processes (0: here, one by
    one).

    Workers are started by a fork server, so nothing of this process's threads or device is copied into them.
    """
    loader: DataLoader[list[Sample] | LeadlineError] = DataLoader(
        _Loading(batches),
        sampler=range(first, len(batches)),
        batch_size=None,
        num_workers=workers,
        collate_fn=_unchanged,
        worker_init_fn=_quiet_worker if workers else None,
        multiprocessing_context=START if workers else None,
        prefetch_factor=4 if workers else None,
        generator=torch.Generator(),  # without one, torch would draw from its global generator
    )
    with _signals_held():
        batches_in_order = iter(loader)
    for samples in batches_in_order:
        if isinstance(samples, LeadlineError):
            raise samples
        yield samples


def _unchanged(samples: list[Sample] | LeadlineError) -> list[Sample] | LeadlineError:
    return samples


@contextmanager
def _signals_held() -> Iterator[None]:
    """Processes started within it are deaf to signals from the first moment; ours arrive when it is left."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    resource_tracker.ensure_running()  # it unblocks both signals when it starts, so it has to be there before
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _quiet_worker(number: int) -> None:
    """One thread each, deaf to signals also where the fork server was started by others."""
    torch.set_num_threads(1)
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A main process that was killed leaves no worker behind (torch watches the fork server in its place)."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def validation(name: str, entry: Validation) -> list[list[Sample]]:
    """The pictures of one validation set in batches of one size: brought to `size`, otherwise as they are."""
    data = open_set(entry.set or name, entry.options)
    groups: dict[tuple[int, int], list[Sample]] = {}
    for index in range(min(entry.count, len(data))):
        sample = augment(
            fetch(data, index, entry.size), np.random.default_rng(0), Options(flip=0), entry.size
        )
        groups.setdefault(sample.size, []).append(sample)
    return [
        group[start : start + entry.batch]
        for group in groups.values()
        for start in range(0, len(group), entry.batch)
    ]

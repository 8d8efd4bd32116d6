"""Batches in a fixed order, loaded ahead by other processes that end with this one.

It stands apart from the training loop: what these processes import, each of them pays for in start-up time
and memory, and it must not be diffusers.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.context import BaseContext

import torch
from torch.utils.data import DataLoader, Dataset

from leadline import devices
from leadline.data.mix import Stages
from leadline.data.sample import Sample
from leadline.errors import LeadlineError

SIGNALS = (signal.SIGINT, signal.SIGTERM)  # the main process's affair: it saves, then ends its workers


def processes() -> BaseContext:
    """How processes that make samples are started: forked from a fork server, which imports torch once for
    all of them; where there is none (Windows), as new ones. Nothing of this process's threads or device is
    copied.
    """
    methods = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
    context.set_forkserver_preload([__name__])  # without effect on a server that runs already
    return context


def quiet() -> None:
    """What such a process does first: it computes on one core, keeps its memory, and ends with its parent."""
    torch.set_num_threads(1)
    devices.keep_freed_memory()
    threading.Thread(target=_end_with_parent, daemon=True).start()


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
    """
    loader: DataLoader[list[Sample] | LeadlineError] = DataLoader(
        _Loading(batches),
        sampler=range(first, len(batches)),
        batch_size=None,
        num_workers=workers,
        collate_fn=_unchanged,
        worker_init_fn=_start if workers else None,
        multiprocessing_context=processes() if workers else None,
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


def _start(number: int) -> None:
    """Deaf to signals also where the fork server was started by others."""
    quiet()
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _end_with_parent() -> None:
    """A main process that was killed leaves no worker behind: what others watch is the fork server, which
    lives as long as a worker does.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)

"""How a run's work overlaps, and how it is stopped."""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

logger = logging.getLogger(__name__)
T = TypeVar("T")
R = TypeVar("R")


class Stop(threading.Event):
    """Set when no new input should be begun."""

    interrupted = False  # by Ctrl-C


def overlapped(items: Iterable[T], work: Callable[[T], R], ahead: int) -> Generator[tuple[T, Future[R]]]:
    """Each item with its work, done in a thread while the caller is busy with those before; in order.

    At most `ahead` items wait beside the one that is handed out, so memory stays constant.

    >>> [(item, work.result()) for item, work in overlapped([1, 2, 3], lambda x: x * x, ahead=1)]
    [(1, 1), (2, 4), (3, 9)]
    """
    pool, waiting = ThreadPoolExecutor(1), deque[tuple[T, Future[R]]]()
    try:
        for item in items:
            waiting.append((item, pool.submit(work, item)))
            if len(waiting) > ahead:
                yield waiting.popleft()
        while waiting:
            yield waiting.popleft()
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def interruptible() -> Iterator[Stop]:
    """A `Stop` that the first Ctrl-C sets; the second does what it did before. Only in the main thread."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = signal.getsignal(signal.SIGINT) or signal.SIG_DFL

    def first(*_: object) -> None:
        stop.interrupted = True
        stop.set()
        signal.signal(signal.SIGINT, before)
        with contextlib.suppress(RuntimeError):  # the stream may be in the middle of a line
            logger.warning("finishing what is at work; Ctrl-C again stops at once")

    signal.signal(signal.SIGINT, first)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)

"""Random numbers of a training: every use has its own stream, derived from the seed and the step."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

import numpy as np
import torch

STEP, VALIDATE, CHECK = range(1, 4)  # what a stream is for: the last part of its key


def derive(*key: int) -> int:
    """A seed of 63 bits from whole numbers, well mixed (numpy's SeedSequence).

    >>> derive(0, 1) != derive(1, 0)
    True
    """
    return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> np.uint64(1))


def generator(*key: int) -> torch.Generator:
    """A CPU generator for these numbers."""
    return torch.Generator().manual_seed(derive(*key))


@lru_cache(maxsize=1)
def marigolds(seed: int, count: int) -> tuple[int, ...]:
    """The seeds that Marigold's code draws for so many micro-steps, in the order in which it uses them.

    >>> marigolds(2024, 3)[-1]
    12575256798339521926
    """
    numbers = random.Random(seed)
    return tuple(numbers.randint(-(2**63), 2**64 - 1) for _ in range(count))[::-1]


@contextmanager
def seeded(*key: int) -> Iterator[None]:
    """Within it, layers that draw from torch's own generator (dropout) get the key's stream.

    Afterwards torch's generators are as they were: a training neither depends on the caller's state nor
    changes it.
    """
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(derive(*key))
        yield

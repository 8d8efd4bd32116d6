"""Random numbers of a training: every use has its own stream, derived from the seed and the step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

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

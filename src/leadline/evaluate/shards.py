"""Which pictures of a data set are one process's work."""

from __future__ import annotations

import os
import re
from typing import NamedTuple

import torch

from leadline.errors import UsageError


class Shard(NamedTuple):
    """One of `of` processes, counted from 0. They take turns, so that hard pictures are spread."""

    number: int = 0
    of: int = 1

    def places(self, total: int) -> range:
        """Its places in a data set of that many pictures.

        >>> list(Shard(1, 3).places(7))
        [1, 4]
        """
        return range(self.number, total, self.of)


def parse(text: str) -> Shard:
    """'2/4' is the second of four. Raises UsageError.

    >>> parse("2/4")
    Shard(number=1, of=4)
    """
    found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
    if not found or not 1 <= int(found[1]) <= int(found[2]):
        raise UsageError(f"shard is {text!r}: i/n is needed, 1 <= i <= n, such as 1/4")
    return Shard(int(found[1]) - 1, int(found[2]))


def of_launcher() -> Shard:
    """The place that `accelerate launch` or torchrun have given this process; without them, all of the work.

    >>> of_launcher()
    Shard(number=0, of=1)
    """
    rank, world = os.environ.get("RANK", "0"), os.environ.get("WORLD_SIZE", "1")
    return Shard(int(rank), int(world)) if rank.isdigit() and world.isdigit() and int(world) > 0 else Shard()


def device(wanted: str) -> str:
    """The device of this process: with "auto", where a launcher starts several, they share out the GPUs."""
    local = os.environ.get("LOCAL_RANK", "")
    if wanted != "auto" or not local.isdigit() or not torch.cuda.is_available():
        return wanted
    return f"cuda:{int(local) % torch.cuda.device_count()}"

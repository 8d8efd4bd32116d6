"""Shards on many processes of one machine or a cluster, by Ray Data.

What travels are photographs as they are stored. Each actor loads the networks once, labels shards one after
the other, and writes them itself into a folder that all machines share. An actor that dies is started again
by Ray, and its shard begun anew; as a shard's bytes depend on nothing else, that comes to the same.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from leadline import cluster
from leadline.errors import DataError
from leadline.label.order import Networks, Order, load
from leadline.label.plan import Item, Shard
from leadline.label.settings import agree
from leadline.label.shard import Failure, Made, make
from leadline.label.work import reason


def make_all(out: Path, order: Order, shards: Sequence[Shard], workers: int | None) -> Iterator[Made]:
    """Make shards, as they come. Raises what `make` and `load` raise, UsageError without Ray or places."""
    rows = [
        {"shard": shard.number, "first": shard.first, "items": json.dumps(shard.items)} for shard in shards
    ]
    options = {"order": order, "out": str(out.absolute())}
    for row in cluster.each(rows, Worker, options, read=_read, workers=workers, device=order.device):
        failed = tuple(Failure(*failure) for failure in json.loads(row["failed"]))
        yield Made(row["shard"], row["count"], failed)


def _read(row: dict[str, Any]) -> dict[str, Any]:
    """A shard's photographs, undecoded; where one cannot be read, why."""
    data, faults = [], []
    for item in json.loads(row["items"]):
        try:
            data.append(Item(*item).read())
            faults.append("")
        except Exception as error:
            data.append(b"")
            faults.append(reason(error))
    return row | {"data": data, "faults": faults}


@dataclass
class Worker:
    """What an actor does. Networks are loaded with the first shard, so that a mistake comes back as one."""

    order: Order
    out: str
    networks: Networks | None = None

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """A shard's photographs -> what it came to."""
        if self.networks is None:
            self.networks = load(self.order)
            agree(Path(self.out), self.networks)
        items = tuple(Item(*item) for item in json.loads(row["items"]))
        stored = dict(zip(items, zip(row["data"], row["faults"], strict=True), strict=True))

        def fetch(item: Item) -> bytes:
            data, fault = stored[item]
            if fault:
                raise DataError(fault)
            return bytes(data)

        made = make(Path(self.out), Shard(row["shard"], row["first"], items), self.networks, fetch)
        return {"shard": made.number, "count": made.count, "failed": json.dumps(made.failed)}

"""The errors of all pixels of a data set, for protocols that pool them: one heap per process, kept on disk.

It is written now and then: a kill loses the pictures of the last half minute, which are done again.
"""

from __future__ import annotations

import io
import time
from pathlib import Path
from typing import Self

import numpy as np

from leadline.errors import SaveError
from leadline.metrics.summary import Pool
from leadline.save.files import write_bytes

EVERY_S = 30  # between two writings


class Heap:
    """What one process has pooled, and of which pictures."""

    def __init__(self, path: Path) -> None:
        self.path, self.pool = path, Pool()
        self.places: set[int] = set()
        self._written = time.monotonic()

    @classmethod
    def read(cls, path: Path) -> Self:
        """The heap in a file; empty if there is none. Raises SaveError for a damaged one."""
        heap = cls(path)
        if path.exists():
            try:
                with np.load(path, allow_pickle=False) as stored:
                    heap.pool = Pool.of(stored["values"], stored["counts"])
                    heap.places = set(stored["places"].tolist())
            except (OSError, ValueError, KeyError) as error:
                raise _damaged(path, error) from None
        return heap

    @staticmethod
    def places_of(path: Path) -> set[int]:
        """Of which pictures the heap in a file is; its values stay there."""
        try:
            with np.load(path, allow_pickle=False) as stored:
                return set(stored["places"].tolist())
        except (OSError, ValueError, KeyError) as error:
            raise _damaged(path, error) from None

    def add(self, place: int, errors: Pool) -> None:
        """Take in a picture's errors. Raises SaveError."""
        self.pool.merge(errors)
        self.places.add(place)
        if time.monotonic() - self._written > EVERY_S:
            self.write()

    def write(self) -> None:
        """Put it on disk, whole. Raises SaveError."""
        values, counts = self.pool.distinct()
        data = io.BytesIO()
        np.savez(data, values=values, counts=counts, places=np.array(sorted(self.places), np.int64))
        write_bytes(self.path, data.getvalue())
        self._written = time.monotonic()


def _damaged(path: Path, error: Exception) -> SaveError:
    return SaveError(f"{path}: damaged ({error}): delete its folder, and run again")

"""Pickles of numpy arrays, read without running them: OASIS's normals come as such.

A pickle is a program that may call any function. Here it finds none but the few stand-ins below, which keep
what numpy would have been told; the arrays are then made from that.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import re
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leadline.errors import DataError

LONGEST = 10_000  # operations; a dictionary of arrays has some dozens
PLAIN = re.compile(r"[<>|=]?[biuf][1248]")


def load(data: bytes) -> Any:
    """What was pickled, if it is made of containers, numbers, text and numeric arrays; else a DataError."""
    if len(list(islice(pickletools.genops(data), LONGEST))) == LONGEST:  # nests crash Python
        raise DataError("a pickle of more than some arrays: it is not read")
    return _arrays(_Reader(io.BytesIO(data)).load())


class _Dtype:
    """Stands for numpy.dtype: its name, and the byte order that its state holds."""

    def __init__(self, name: str, *_: object) -> None:
        self.name, self.order = name, "="

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = state[1]

    def numpy(self) -> np.dtype[Any]:
        if not PLAIN.fullmatch(self.name):
            raise DataError(f"an array of type {self.name!r}, numbers are wanted")
        return np.dtype((self.order if self.order in "<>" else "=") + self.name.lstrip("<>|="))


class _Array:
    """Stands for numpy.ndarray."""

    state: tuple[Any, ...] = ()

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.state = state

    def numpy(self) -> NDArray[Any]:
        _, shape, dtype, columns_first, numbers = self.state
        return np.frombuffer(numbers, dtype.numpy()).reshape(shape, order="F" if columns_first else "C")


def _rebuilt(*_: object) -> _Array:
    return _Array()


def _from_buffer(numbers: bytes, dtype: _Dtype, shape: tuple[int, ...], order: str, *_: object) -> _Array:
    array = _Array()
    array.state = (1, shape, dtype, order == "F", numbers)
    return array


def _scalar(dtype: _Dtype, number: bytes) -> Any:
    return np.frombuffer(number, dtype.numpy())[0].item()


def _encoded(text: str, encoding: str) -> bytes:
    return text.encode("latin1")


STAND_INS = {
    "numpy.ndarray": _Array,
    "numpy.dtype": _Dtype,
    "numpy.core.multiarray._reconstruct": _rebuilt,
    "numpy.core.multiarray.scalar": _scalar,
    "numpy.core.numeric._frombuffer": _from_buffer,  # protocol 5
    "_codecs.encode": _encoded,  # bytes in protocols 0 to 2
    "builtins.bytes": lambda: b"",
}


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        full = f"{module}.{name}".replace("numpy._core.", "numpy.core.").replace("__builtin__.", "builtins.")
        if full not in STAND_INS:
            raise DataError(f"a pickle that asks for {module}.{name}: it is not read, arrays alone are")
        return STAND_INS[full]


def _arrays(x: Any) -> Any:
    """Arrays in the place of their stand-ins, at the first level of a dictionary or list too."""
    if isinstance(x, dict):
        return {key: value.numpy() if isinstance(value, _Array) else value for key, value in x.items()}
    return x.numpy() if isinstance(x, _Array) else x

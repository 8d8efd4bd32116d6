"""Pickled arrays are read; pickled programs are not run."""

from __future__ import annotations

import os
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest

from leadline.data import pickled
from leadline.errors import DataError

BOX = {
    "min_y": 1,
    "max_y": np.int64(3),
    "normal": np.arange(24, dtype=np.float32).reshape(2, 4, 3),
    "wide": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "big": np.arange(4, dtype=">i2"),
    "flags": np.array([True, False]),
    "empty": np.zeros((0, 3)),
}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_come_back_as_they_were(protocol):
    found = pickled.load(pickle.dumps(BOX, protocol))
    assert found.keys() == BOX.keys()
    for key, value in BOX.items():
        np.testing.assert_array_equal(found[key], value)
        assert np.asarray(found[key]).dtype.kind == np.asarray(value).dtype.kind


def test_arrays_of_older_versions_of_numpy_are_read():
    data = pickle.dumps(BOX["normal"], 2).replace(b"numpy._core", b"numpy.core")
    np.testing.assert_array_equal(pickled.load(data), BOX["normal"])


class Payload:
    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def text(word: bytes) -> bytes:
    return b"X" + struct.pack("<I", len(word)) + word


@pytest.mark.parametrize(
    "program",
    [
        lambda path: pickle.dumps(Payload(path)),
        lambda path: pickle.dumps({"normal": Payload(path)}),
        lambda path: (
            b"\x80\x02cbuiltins\neval\n" + text(f"__import__('os').mkdir({str(path)!r})".encode()) + b"\x85R."
        ),
        lambda path: b"\x80\x02cos\nmkdir\n" + text(str(path).encode()) + b"\x85R.",
        lambda path: (
            b"\x80\x04" + text(b"os") + text(b"mkdir") + b"\x93" + text(str(path).encode()) + b"\x85R."
        ),
        lambda path: b"\x80\x02(ios\nmkdir\n.",
    ],
    ids=["reduce", "inside", "eval", "global", "stack global", "inst"],
)
def test_programs_do_not_run(program, tmp_path):
    with pytest.raises(DataError, match=r"a pickle that asks for \w+\.\w+: it is not read"):
        pickled.load(program(tmp_path / "fired"))
    assert not (tmp_path / "fired").exists()


@pytest.mark.parametrize(
    "data",
    [
        b"\x80\x02)" + b"\x85" * 300_000 + b".",
        b"\x80\x02})" + b"\x85" * 300_000 + b"K\x01s.",
    ],
    ids=["deep", "deep key"],
)
def test_nests_that_would_crash_python_are_refused(data):
    with pytest.raises(DataError, match="of more than some arrays"):
        pickled.load(data)


def state(dtype: str, shape: tuple[int, ...], numbers: bytes) -> bytes:
    """An array whose state is written by hand."""

    class Made:
        def __reduce__(self):
            rebuild, arguments, rest = np.zeros(1).__reduce__()
            return rebuild, arguments, (1, shape, np.dtype(dtype), False, numbers)

    return pickle.dumps(Made())


@pytest.mark.parametrize(
    "data",
    [
        state("f4", (10**6, 10**6), bytes(8)),
        state("f4", (-1, 3), bytes(8)),
        state("O", (1,), bytes(8)),
        state("V8", (1,), bytes(8)),
        state("M8[s]", (1,), bytes(8)),
        pickle.dumps(np.zeros(1, [("x", "f4")])),
        pickle.dumps(np.array([{}], object)),
        b"",
        b"\x80\x02",
    ],
)
def test_arrays_that_are_not_what_they_claim_are_refused(data):
    with pytest.raises((DataError, ValueError, EOFError, pickle.UnpicklingError, IndexError, AttributeError)):
        pickled.load(data)

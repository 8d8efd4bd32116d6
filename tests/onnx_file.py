"""A tiny ONNX file, written by hand: the mean of an image's colours as its map, without the package onnx.

The format is protocol buffers: each field is a key, number * 8 + wire type (0 varint, 2 bytes), then a value.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

FLOAT = 1  # of TensorProto.DataType


def mean_of_colours(file: Path, shape: Sequence[int | str] = ("B", 3, "H", "W")) -> Path:
    """Write a network with input `image` of that shape, and outputs `other` (its negative) and `depth`."""
    mean = _node("ReduceMean", "image", "depth", _text(5, _text(1, "axes") + _int(8, 1) + _int(20, 7)))
    shape_out = (shape[0], 1, *shape[2:])
    graph = _text(1, mean) + _text(1, _node("Neg", "depth", "other")) + _text(2, "tiny")
    graph += _text(11, _value("image", shape))
    graph += _text(12, _value("other", shape_out)) + _text(12, _value("depth", shape_out))
    file.write_bytes(_int(1, 8) + _text(7, graph) + _text(8, _text(1, "") + _int(2, 17)))
    return file


def _node(kind: str, taken: str, given: str, more: bytes = b"") -> bytes:
    return _text(1, taken) + _text(2, given) + _text(4, kind) + more


def _value(name: str, shape: Sequence[int | str]) -> bytes:
    sides = [_int(1, side) if isinstance(side, int) else _text(2, side) for side in shape]
    tensor = _int(1, FLOAT) + _text(2, b"".join(_text(1, side) for side in sides))
    return _text(1, name) + _text(2, _text(1, tensor))


def _int(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _text(field: int, value: str | bytes) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return _varint(field << 3 | 2) + _varint(len(data)) + data


def _varint(value: int) -> bytes:
    parts = []
    while value > 127:
        parts.append(value & 127 | 128)
        value >>= 7
    return bytes([*parts, value])

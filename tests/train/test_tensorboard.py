"""Events for TensorBoard, read back by the published layout of its files."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from training import Straight, small_recipe

from leadline.train import tensorboard, train


def records(path: Path) -> Iterator[bytes]:
    data = path.read_bytes()
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        assert data[8:12] == tensorboard._checksum(data[:8])
        assert data[12 + length : 16 + length] == tensorboard._checksum(data[12 : 12 + length])
        yield data[12 : 12 + length]
        data = data[16 + length :]


def fields(message: bytes) -> dict[int, Any]:
    """A message of protocol buffers by the numbers of its fields."""
    found: dict[int, Any] = {}
    while message:
        key, message = varint(message)
        if key & 7 == 0:
            value, message = varint(message)
        elif key & 7 == 2:
            size, message = varint(message)
            value, message = message[:size], message[size:]
        else:
            size, kind = {1: (8, "<d"), 5: (4, "<f")}[key & 7]
            (value,), message = struct.unpack(kind, message[:size]), message[size:]
        found[key >> 3] = value
    return found


def varint(data: bytes) -> tuple[int, bytes]:
    value = 0
    for place, byte in enumerate(data):
        value |= (byte & 127) << 7 * place
        if byte < 128:
            return value, data[place + 1 :]
    raise ValueError("cut off")


def test_numbers_and_pictures_come_back(tmp_path):
    Image.new("RGB", (300, 2)).save(tmp_path / "a.png")
    events = tensorboard.Events(tmp_path / "events", step=7)
    events.numbers(300, {"train/loss": 0.25, "train/images": 4})
    events.picture(300, "samples", tmp_path / "a.png")
    version, start, loss, images, picture = (fields(record) for record in records(events.path))
    assert version[3] == b"brain.Event:2"
    assert (start[2], fields(start[7])) == (7, {1: 1})
    assert loss[2] == 300
    assert fields(fields(loss[5])[1]) == {1: b"train/loss", 2: 0.25}
    assert fields(fields(images[5])[1])[2] == 4.0
    image = fields(fields(fields(picture[5])[1])[4])
    assert image == {1: 2, 2: 300, 3: 3, 4: (tmp_path / "a.png").read_bytes()}


def test_a_training_leaves_its_figures(tmp_path):
    train(small_recipe(), tmp_path, method=Straight())
    (file,) = (tmp_path / "tensorboard").iterdir()
    values: dict[str, list[float]] = {}
    for record in map(fields, records(file)):
        value = fields(fields(record[5])[1]) if 5 in record else {}
        if 2 in value:
            values.setdefault(value[1].decode(), []).append((record[2], value[2]))
    assert [step for step, _ in values["train/loss"]] == [4, 8, 12, 16, 20]
    assert [step for step, _ in values["held/loss"]] == [0, 5, 10, 15, 20]
    assert values["train/lr"][0][1] == pytest.approx(1e-2, rel=0.1)

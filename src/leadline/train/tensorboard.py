"""A run's figures and pictures as TensorBoard reads them, written without it: records of protocol buffers.

record: length (8 bytes), its checksum (4), the event, its checksum (4); checksums are CRC-32C, masked
event: 1 time, 2 step, 3 file version, 5 summary {1 value}, 7 session {1 status}
value: 1 tag, 2 number, 4 image
image: 1 height, 2 width, 3 channels, 4 the PNG file
"""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Mapping
from pathlib import Path

from PIL import Image

VARINT, EIGHT_BYTES, BYTES, FOUR_BYTES = 0, 1, 2, 5  # wire types
START = 1  # of a session: what other files of the run say of later steps no longer counts


class Events:
    """One file of events per start of a run, in the folder `tensorboard`."""

    def __init__(self, folder: Path, step: int) -> None:
        folder.mkdir(exist_ok=True)
        now = time.time()
        self.path = folder / f"events.out.tfevents.{now:.0f}.{os.getpid()}.leadline"
        self._append(_field(3, b"brain.Event:2"), step=0)
        self._append(_field(7, _field(1, START)), step)

    def numbers(self, step: int, facts: Mapping[str, float]) -> None:
        """One number per tag; `train/loss` is drawn in the section `train`."""
        for tag, value in facts.items():
            self._append(_field(5, _field(1, _field(1, tag.encode()) + _field(2, float(value)))), step)

    def picture(self, step: int, tag: str, file: Path) -> None:
        """A PNG file."""
        with Image.open(file) as opened:
            width, height = opened.size
        image = _field(1, height) + _field(2, width) + _field(3, 3) + _field(4, file.read_bytes())
        self._append(_field(5, _field(1, _field(1, tag.encode()) + _field(4, image))), step)

    def _append(self, content: bytes, step: int) -> None:
        event = _key(1, EIGHT_BYTES) + struct.pack("<d", time.time()) + _field(2, step) + content
        length = struct.pack("<Q", len(event))
        with open(self.path, "ab") as file:
            file.write(length + _checksum(length) + event + _checksum(event))


def _field(number: int, value: int | float | bytes) -> bytes:
    """A field of a message: whole numbers as varints, others as four bytes, text and messages with length."""
    if isinstance(value, bytes):
        return _key(number, BYTES) + _varint(len(value)) + value
    if isinstance(value, float):
        return _key(number, FOUR_BYTES) + struct.pack("<f", value)
    return _key(number, VARINT) + _varint(value)


def _key(number: int, wire: int) -> bytes:
    return _varint(number << 3 | wire)


def _varint(value: int) -> bytes:
    """Seven bits at a time, the lowest first.

    >>> _varint(300)
    b'\\xac\\x02'
    """
    some = bytearray()
    while value > 127:
        some.append(value & 127 | 128)
        value >>= 7
    return bytes([*some, value])


def _checksum(data: bytes) -> bytes:
    crc = crc32c(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def crc32c(data: bytes) -> int:
    """Castagnoli's checksum.

    >>> hex(crc32c(b"123456789"))
    '0xe3069283'
    """
    crc = 0xFFFFFFFF
    for byte in data:
        crc = TABLE[(crc ^ byte) & 255] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def _entry(value: int) -> int:
    for _ in range(8):
        value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
    return value


TABLE = [_entry(value) for value in range(256)]

"""Arrays <-> the bytes of a file format, with a few lines of text. Nothing here knows what the numbers mean.

Every pair is `<format>_bytes(arrays, text) -> bytes` and `read_<format>(bytes) -> arrays, text`. The readers
raise whatever their libraries raise on damaged input: `save.read` turns that into one line.
"""

from __future__ import annotations

import io
import json
import re
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from leadline.errors import SaveError, extra

Array = NDArray[Any]
Text = Mapping[str, str]
LARGEST = 16 * 178_956_970  # bytes a compressed file may unfold to: Pillow's limit of pixels, 16 bytes each
IMAGE_DESCRIPTION = 270  # TIFF tag
PNG_LEVEL = 4  # of zlib: 6 takes half as long again for 0-15 % less
NONE, UP = 0, 2  # PNG's filters of a row: as it is, or the difference from the row above


def npy_bytes(array: Array) -> bytes:
    """numpy's own format. It has no room for text."""
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()


def read_npy(data: bytes) -> Array:
    """The array of an .npy file; pickled objects are refused."""
    return np.asarray(np.lib.format.read_array(io.BytesIO(data), allow_pickle=False))


def npz_bytes(arrays: Mapping[str, Array], text: Text) -> bytes:
    """Named arrays, compressed; the text as a JSON string named `meta`. Equal input gives equal bytes."""
    file = io.BytesIO()
    np.savez_compressed(file, allow_pickle=False, **arrays, meta=np.array(json.dumps(text)))
    return file.getvalue()


def read_npz(data: bytes) -> tuple[dict[str, Array], Text]:
    """All arrays of an .npz file, and its text if it has any."""
    with zipfile.ZipFile(io.BytesIO(data)) as members:
        size = sum(member.file_size for member in members.infolist())
    if size > LARGEST:
        raise SaveError(f"the arrays unfold to {size:,} bytes, at most {LARGEST:,} are read")
    with np.load(io.BytesIO(data), allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files}
    text = arrays.pop("meta", None)
    return arrays, _text(str(text)) if text is not None else {}


def png_bytes(array: Array, text: Text) -> bytes:
    """uint8 [H,W,3] as RGB or [H,W] as grey, uint16 [H,W] as 16-bit grey; text in chunks of these names.

    Pillow's encoder keeps Python's lock, and a network beside it waits; zlib does not.
    """
    info = PngInfo()
    for name, words in text.items():
        info.add_text(name, words)
    height, width = array.shape[:2]
    deep = array.dtype == np.uint16
    rows = array.astype(">u2" if deep else np.uint8).reshape(height, -1).view(np.uint8)
    if deep:  # of depth, differences between rows are shorter; of pictures they are not
        rows = np.diff(rows, axis=0, prepend=np.zeros_like(rows[:1]))
    scanned = np.insert(rows, 0, UP if deep else NONE, axis=1)
    header = struct.pack(">IIBBBBB", width, height, 16 if deep else 8, 2 if array.ndim == 3 else 0, 0, 0, 0)
    texts = [(kind, data) for kind, data, *_ in info.chunks]
    chunks = [
        (b"IHDR", header),
        *texts,
        (b"IDAT", zlib.compress(scanned.tobytes(), PNG_LEVEL)),
        (b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    """Of a PNG file: length, kind, content, check sum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def read_png16(data: bytes) -> tuple[Array, Text]:
    """The counts, uint16 [H,W], of a 16-bit grey PNG. 8-bit pictures are refused: they hold colours."""
    with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
        if not image.mode.startswith("I"):
            raise SaveError(
                "an 8-bit picture holds colours, not values: read the .npy or 16-bit file beside it"
            )
        counts = np.array(image).astype(np.uint16)
        return counts, dict(getattr(image, "text", {}))


def pfm_bytes(array: Array) -> bytes:
    """Portable float map: float32 [H,W] or [H,W,3], little-endian, rows bottom-up. No room for text."""
    height, width = array.shape[:2]
    header = f"{'Pf' if array.ndim == 2 else 'PF'}\n{width} {height}\n-1.0\n"
    return header.encode() + np.ascontiguousarray(array[::-1], "<f4").tobytes()


def read_pfm(data: bytes) -> Array:
    """float32 [H,W] or [H,W,3], rows top-down, of either byte order; the size of the scale is ignored."""
    header = re.match(rb"(P[fF])\s+(\d+)\s+(\d+)\s+([-+.\deE]+)\s", data)
    if header is None:
        raise ValueError("no PFM header")
    width, height = int(header[2]), int(header[3])
    shape = (height, width) if header[1] == b"Pf" else (height, width, 3)
    values = np.frombuffer(data, "<f4" if float(header[4]) < 0 else ">f4", offset=header.end())
    return values.reshape(shape)[::-1].astype(np.float32)


def tiff_bytes(array: Array, text: Text) -> bytes:
    """float32 [H,W] as one deflated page; the text as JSON in ImageDescription."""
    file = io.BytesIO()
    tags = {IMAGE_DESCRIPTION: json.dumps(text)}
    Image.fromarray(array).save(file, "TIFF", compression="tiff_adobe_deflate", tiffinfo=tags)
    return file.getvalue()


def read_tiff(data: bytes) -> tuple[Array, Text]:
    """float32 [H,W] of a single-page TIFF, and its text if ImageDescription holds any of ours."""
    with Image.open(io.BytesIO(data), formats=["TIFF"]) as image:
        if image.mode != "F":
            raise SaveError(f"a TIFF of mode {image.mode}, float32 values are needed: read another file")
        return np.array(image), _text(image.tag_v2.get(IMAGE_DESCRIPTION, ""))  # type: ignore[attr-defined]


def exr_bytes(channels: Mapping[str, Array], text: Text) -> bytes:
    """Channels [H,W], float32 or float16, with lossless ZIP; the text as header attributes of these names."""
    library = openexr()
    header = {"compression": library.ZIP_COMPRESSION, "type": library.scanlineimage, **text}
    with tempfile.TemporaryDirectory() as folder:  # the library writes to names only
        path = Path(folder) / "image.exr"
        with library.File(header, dict(channels)) as file:
            file.write(str(path))
        return path.read_bytes()


def read_exr(data: bytes) -> tuple[dict[str, Array], Text]:
    """All channels [H,W] of an EXR file, and those header attributes that are text."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "image.exr"
        path.write_bytes(data)
        with openexr().File(str(path), separate_channels=True) as file:
            text = {name: words for name, words in file.header().items() if isinstance(words, str)}
            return {name: np.array(channel.pixels) for name, channel in file.channels().items()}, text


def openexr() -> Any:
    """The library for EXR files, imported when it is needed. Raises SaveError where it is not installed."""
    try:
        import OpenEXR  # noqa: PLC0415
    except ImportError as error:
        raise SaveError(
            f"format 'exr' needs the package OpenEXR, which is not installed: {extra('exr')}, or "
            "choose tiff, pfm or npy"
        ) from error
    return OpenEXR


def _text(words: str) -> Text:
    """The text of a JSON object; nothing if the words are another program's."""
    try:
        found = json.loads(words)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}

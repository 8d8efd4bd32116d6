"""Files that are no usable image: every kind of damage that folders of photographs hold, or a stranger sends.

`write_all(folder)` makes them and says which word must stand in the one line that each ends in. Names are
unique, most end in an image suffix, and none needs more than a few kilobytes on disk.
"""

from __future__ import annotations

import io
import os
import socket
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

SIZE = (67, 45)  # width, height of the picture that is damaged


def write_all(folder: Path) -> list[tuple[Path, str]]:
    """Write every bad input below `folder`; return each path with a word of the message it must cause."""
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for name, content, word in _contents():
        path = folder / name
        path.write_bytes(content)
        made.append((path, word))
    return made + list(_not_files(folder))


def _contents() -> Iterator[tuple[str, bytes, str]]:
    yield from _cut_short()
    yield from _not_images()
    yield from _broken_png()
    yield from _broken_others()
    yield from _bombs()
    yield from _odd_numbers()


def picture() -> Image.Image:
    """A small colourful RGB picture that no codec stores in a few bytes."""
    rng = np.random.default_rng(0)
    return Image.fromarray(rng.integers(0, 256, (SIZE[1], SIZE[0], 3), np.uint8))


def encoded(kind: str, image: Image.Image | None = None, **options: object) -> bytes:
    """The picture in one of Pillow's formats."""
    out = io.BytesIO()
    (image or picture()).save(out, kind, **options)
    return out.getvalue()


def _cut_short() -> Iterator[tuple[str, bytes, str]]:
    whole = {
        "plain.jpg": encoded("JPEG"),
        "progressive.jpeg": encoded("JPEG", progressive=True),
        "rgb.png": encoded("PNG"),
        "interlaced_grey.PNG": encoded("PNG", picture().convert("L")),
        "lossless.webp": encoded("WEBP", lossless=True),
        "lossy.webp": encoded("WEBP"),
        "plain.gif": encoded("GIF"),
        "raw.tif": encoded("TIFF"),
        "lzw.tiff": encoded("TIFF", compression="tiff_lzw"),
        "plain.bmp": encoded("BMP"),
        "plain.ppm": encoded("PPM"),
        "plain.jp2": encoded("JPEG2000"),
        "plain.avif": encoded("AVIF"),
    }
    for name, content in whole.items():
        for share in (0.05, 0.4, 0.8):
            kept = max(24, int(share * len(content)))  # enough to be known for what it was
            yield f"cut_{share}_{name}", content[:kept], "damaged"


def _not_images() -> Iterator[tuple[str, bytes, str]]:
    yield "zero_bytes.jpg", b"", "empty"
    yield "zero_bytes.png", b"", "empty"
    yield "text.jpg", b"Dear Sir or Madam,\n", "not an image"
    yield "one_byte.png", b"\x89", "not an image"
    yield "page.jpg", b"<!DOCTYPE html><html><body>404 Not Found</body></html>", "not an image"
    yield "record.png", b'{"error": "quota exceeded"}', "not an image"
    yield "zeros.jpg", bytes(5000), "not an image"
    yield "noise.webp", np.random.default_rng(1).bytes(5000), "not an image"
    yield "utf16.bmp", "picture".encode("utf-16"), "not an image"
    yield "vector.png", b'<svg xmlns="http://www.w3.org/2000/svg"/>', "not an image"
    yield "postscript.jpg", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"
    yield "document.jpg", b"%PDF-1.7\n", "not an image"
    yield "archive.jpg", b"PK\x03\x04" + bytes(60), "not an image"
    yield "array.png", b"\x93NUMPY\x01\x00v\x00", "not an image"
    yield "pickle.png", b"\x80\x04cos\nsystem\n(S'true'\ntR.", "not an image"
    yield "film.jpg", b"\x00\x00\x00 ftypisom" + bytes(60), "not an image"
    yield "lfs_pointer.jpg", b"version https://git-lfs.github.com/spec/v1\n", "not an image"
    yield "wrong_magic.jpg", b"\x00\x00" + encoded("JPEG")[2:], "not an image"
    yield "wrong_magic.png", encoded("PNG").replace(b"PNG", b"GNP", 1), "not an image"
    yield "as_text.png", encoded("PNG").replace(b"\r\n", b"\n"), "not an image"  # FTP in text mode


def _broken_png() -> Iterator[tuple[str, bytes, str]]:
    good = zlib.compress(bytes((3 * 9 + 1) * 7))
    yield "no_pixels.png", png((9, 7), None), "damaged"
    yield "broken_zlib.png", png((9, 7), b"\x78\x9c" + b"\xff" * 40), "damaged"
    yield "short_zlib.png", png((9, 7), zlib.compress(bytes(20))), "damaged"
    yield "zero_width.png", png((0, 7), good), "damaged"
    yield "zero_height.png", png((9, 0), good), "damaged"
    yield "no_palette.png", png((9, 7), zlib.compress(bytes(70)), colour=3), "damaged"
    yield "odd_depth.png", png((9, 7), good, bits=7), "damaged"
    yield "odd_colour.png", png((9, 7), good, colour=5), "damaged"
    flipped = bytearray(png((9, 7), good))
    flipped[20] ^= 1  # width, without its checksum
    yield "checksum.png", bytes(flipped), "damaged"
    yield (
        "text_bomb.png",
        png((9, 7), good, chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(2**25)))),
        "damaged",
    )


def _broken_others() -> Iterator[tuple[str, bytes, str]]:
    yield "only_ends.jpg", b"\xff\xd8\xff\xd9", "damaged"
    yield "no_size.jpg", b"\xff\xd8\xff\xe0\x00\x10JFIF\0\1\1\0\0\1\0\1\0\0\xff\xd9", "damaged"
    jpeg = encoded("JPEG")
    frame = jpeg.index(b"\xff\xc0")
    yield "zero_width.jpg", jpeg[: frame + 7] + b"\0\0" + jpeg[frame + 9 :], "damaged"
    yield "nowhere.tif", b"II*\0" + struct.pack("<I", 10**9), "damaged"
    yield "no_entries.tif", b"II*\0" + struct.pack("<IHI", 8, 0, 0), "damaged"
    yield "samples.tif", tiff(9, 7, samples=2048), "damaged"
    yield "circle.tif", b"II*\0" + struct.pack("<IHI", 8, 0, 8), "damaged"
    yield "zero_width.gif", b"GIF89a" + struct.pack("<HHBBB", 0, 0, 0, 0, 0) + b";", "damaged"
    yield "no_frame.gif", b"GIF89a" + struct.pack("<HHBBB", 9, 7, 0, 0, 0) + b";", "damaged"
    for compression in ("lzw", "adobe_deflate"):  # what libtiff decodes
        squeezed = encoded("TIFF", compression=f"tiff_{compression}")
        yield f"broken_{compression}.tif", squeezed[:900] + bytes(90) + squeezed[990:], "damaged"
    yield "words.ppm", b"P6 nine seven 255\n", "damaged"
    yield "negative.ppm", b"P6 -9 7 255\n" + bytes(189), "damaged"
    yield "photo.heic", b"\0\0\0\x18ftypheic" + bytes(40), "HEIC"


def _bombs() -> Iterator[tuple[str, bytes, str]]:
    """Headers that promise more pixels than memory holds; a few bytes each."""
    yield "bomb.png", png((60000, 60000), zlib.compress(bytes(100))), "--max-pixels"
    yield "bomb_side.png", png((2**31 - 1, 2), zlib.compress(bytes(100))), "--max-pixels"
    yield "bomb.gif", b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0, 0, 0) + GIF_FRAME, "--max-pixels"
    yield "bomb.bmp", bmp(50000, 50000), "--max-pixels"
    yield "bomb.tif", tiff(70000, 70000), "--max-pixels"
    yield "bomb.ppm", b"P6 100000 100000 255\n", "--max-pixels"
    yield "bomb.qoi", b"qoif" + struct.pack(">IIBB", 90000, 90000, 3, 0) + bytes(16), "--max-pixels"
    jpeg = encoded("JPEG")
    size = jpeg.index(b"\xff\xc0") + 5
    yield "bomb.jpg", jpeg[:size] + struct.pack(">HH", 65000, 65000) + jpeg[size + 4 :], "--max-pixels"


def _odd_numbers() -> Iterator[tuple[str, bytes, str]]:
    floats = np.full((7, 9), 0.5, np.float32)
    floats[3, 4] = np.nan
    yield "nan.tif", encoded("TIFF", Image.fromarray(floats)), "NaN"
    yield "metres.tif", encoded("TIFF", Image.fromarray(np.full((7, 9), 12.5, np.float32))), "[0,1]"
    yield "huge_integers.tif", encoded("TIFF", Image.fromarray(np.full((7, 9), 10**6, np.int32))), "integers"


def _not_files(folder: Path) -> Iterator[tuple[Path, str]]:
    (folder / "folder.jpg").mkdir()
    yield folder / "folder.jpg", "folder"
    yield folder / "missing.jpg", "no such file"
    yield folder / "text.jpg" / "inside.jpg", "cannot be opened"
    yield folder / f"{'long' * 80}.jpg", "cannot be opened"
    for name, target, word in (
        ("dangling.jpg", "nothing.jpg", "link"),
        ("circle_a.jpg", "circle_b.jpg", "link"),
        ("circle_b.jpg", "circle_a.jpg", "link"),
        ("device.jpg", "/dev/zero", "device"),
    ):
        (folder / name).symlink_to(target)
        yield folder / name, word
    os.mkfifo(folder / "pipe.png")
    yield folder / "pipe.png", "pipe"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(_short(folder / "socket.png"))
    yield folder / "socket.png", "socket"
    if os.geteuid() != 0:  # root reads everything
        (folder / "secret.jpg").write_bytes(encoded("JPEG"))
        (folder / "secret.jpg").chmod(0)
        yield folder / "secret.jpg", "permission"


def _short(path: Path) -> str:
    """The path as a socket's address, which may have 107 bytes only."""
    return min(str(path), os.path.relpath(path), key=len)


def chunk(tag: bytes, data: bytes) -> bytes:
    """One PNG chunk with its checksum."""
    return struct.pack(">I", len(data)) + tag + data + struct.pack(">I", zlib.crc32(tag + data))


def png(
    size: tuple[int, int], pixels: bytes | None, extra: bytes = b"", *, bits: int = 8, colour: int = 2
) -> bytes:
    """A PNG file from the bytes of its pixel chunk, which may be wrong or missing."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", *size, bits, colour, 0, 0, 0))
    body = b"" if pixels is None else chunk(b"IDAT", pixels)
    return b"\x89PNG\r\n\x1a\n" + header + extra + body + chunk(b"IEND", b"")


GIF_FRAME = b"," + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\x00;"


def bmp(width: int, height: int) -> bytes:
    """The header of a 24-bit BMP."""
    return (
        b"BM"
        + struct.pack("<IHHI", 54, 0, 0, 54)
        + struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, *[0] * 6)
    )


def tiff(width: int, height: int, samples: int = 1) -> bytes:
    """A grey TIFF of one empty strip."""
    tags = {256: width, 257: height, 258: 8, 259: 1, 262: 1, 273: 8, 277: samples, 278: height, 279: 1}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + struct.pack("<I", 0)

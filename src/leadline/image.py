"""One door for pictures: paths, bytes, file objects, PIL images, numpy arrays, torch tensors -> `Picture`.

What comes out is upright RGB: EXIF orientation applied, transparency laid over white or black, the first
frame of an animation, grey repeated, palettes and CMYK converted (colour profiles are not applied). A file is
known by its first bytes, not by its name. Whatever is wrong ends in one `ImageError`: before any pixel is
decoded, if the header already says that they are too many.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import io
import logging
import os
import re
import stat
import threading
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, BinaryIO, Literal

import numpy as np
from PIL import Image, UnidentifiedImageError, _imaging

from leadline.camera import Camera
from leadline.errors import CameraError, ImageError, UsageError, extra, printable
from leadline.pixels import Over, as_rgb, channels_last, from_torch, stored, upright

MAX_PIXELS = 178_956_970  # Pillow's own limit: 512 MiB of RGB
LARGEST_FILE = 2**30  # bytes
ORIENTATION = 0x0112  # EXIF tag

# Formats that begin with a signature and are decoded in here (Pillow would hand EPS to another program).
SIGNATURES = {
    "JPEG": rb"\xff\xd8\xff",
    "PNG": rb"\x89PNG\r\n\x1a\n",
    "GIF": rb"GIF8[79]a",
    "WebP": rb"RIFF....WEBP",
    "TIFF": rb"II[*+]\x00|MM\x00[*+]",
    "BMP": rb"BM",
    "PPM": rb"P[1-7fF][\s#]",
    "QOI": rb"qoif",
    "JPEG 2000": rb"\xff\x4f\xff\x51|....jP  \r\n\x87\n",
    "AVIF": rb"....ftypavi[fs]",
    "HEIC": rb"....ftyp(hei[cxms]|hev[cxms]|mif1|msf1)",
}
# Of the files that a folder is searched for, in lower case; what they are is told by their first bytes.
SUFFIXES = frozenset(
    {
        *(".avif", ".bmp", ".dib", ".gif", ".heic", ".heif", ".j2k", ".jfif", ".jp2", ".jpe", ".jpeg"),
        *(".jpg", ".mpo", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".qoi", ".tif", ".tiff", ".webp"),
    }
)


@dataclass(frozen=True, eq=False)
class Picture:
    """An upright RGB image, and what its source says about the camera."""

    rgb: np.ndarray  # [H,W,3]: uint8, or float32 in [0,1] where the source has more than 8 bits
    camera: Camera | None = None  # of the upright image
    camera_source: Literal["given", "exif"] | None = None  # a camera from EXIF is uncertain by some per cent
    name: str = "image"  # the very path, which look-ups need and messages escape, or the kind of source
    notes: tuple[str, ...] = ()  # what was done to the pixels, in words

    @property
    def height(self) -> int:
        """Rows."""
        return int(self.rgb.shape[0])

    @property
    def width(self) -> int:
        """Columns."""
        return int(self.rgb.shape[1])


def read(
    source: Any, *, max_pixels: int = MAX_PIXELS, camera: Camera | None = None, over: Over = "white"
) -> Picture:
    """Anything that is one image -> `Picture`.

    source: a path, bytes, a file opened in binary mode, a PIL image, numpy [H,W] or [H,W,C], torch [H,W],
    [C,H,W] or [1,C,H,W]. Arrays are uint8, uint16, or float in [0,1], with 1 or 3 channels, or 4 with alpha.
    camera: of the upright image. Without one, EXIF's 35 mm focal length is used if the file has it.
    over: what shows through transparent pixels.

    Raises ImageError if the source cannot be read as an image or has more than `max_pixels` pixels,
    CameraError if the camera belongs to another size.

    >>> read(np.zeros((2, 3), np.uint16)).rgb.shape
    (2, 3, 3)
    """
    if over not in ("white", "black"):
        raise UsageError(f"over is {over!r}, 'white' or 'black' is needed")
    picture = _read(source, max_pixels, over)
    if camera is None:
        return picture
    if (camera.width, camera.height) != (picture.width, picture.height):
        raise CameraError(
            f"{printable(picture.name)}: the camera is of a {camera.width}x{camera.height} image, the "
            f"upright image is {picture.width}x{picture.height}; give the camera of the upright image, or "
            "use camera.resized()"
        )
    return replace(picture, camera=camera, camera_source="given")


def is_one(source: Any) -> bool:
    """Whether `read` would take this for one image, and not for a list or stream of them.

    >>> is_one("photo.jpg"), is_one(np.zeros((2, 3))), is_one(["photo.jpg"])
    (True, True, False)
    """
    known = (str, os.PathLike, bytes, bytearray, memoryview, Image.Image, np.ndarray, Picture, Mapping)
    is_file_or_tensor = hasattr(source, "read") or hasattr(source, "detach")
    return isinstance(source, known) or is_file_or_tensor or not isinstance(source, Iterable)


def sniff(head: bytes) -> str | None:
    """The image format whose signature the first 16 bytes carry, by its usual name; None for all else.

    >>> sniff(b"GIF89a..."), sniff(b"%PDF-1.7")
    ('GIF', None)
    """
    return next((name for name, start in SIGNATURES.items() if re.match(start, head, re.DOTALL)), None)


def _read(source: Any, max_pixels: int, over: Over) -> Picture:
    if isinstance(source, Picture):
        return source
    if isinstance(source, str | os.PathLike):
        return _read_path(os.fspath(source), max_pixels, over)
    if isinstance(source, bytes | bytearray | memoryview):
        return _decode(io.BytesIO(source), "image bytes", max_pixels, over)
    if isinstance(source, Image.Image):
        path = os.fsdecode(getattr(source, "filename", "") or "PIL image")
        name = printable(path)
        with _quiet_pillow(max_pixels), _damage_named(name, source.format or "PIL image", max_pixels):
            return replace(_picture(source, None, name, max_pixels, over), name=path)
    if isinstance(source, np.ndarray):
        return Picture(as_rgb(channels_last(source), "array", over), name="array")
    if hasattr(source, "read"):
        return _read_file_object(source, max_pixels, over)
    if hasattr(source, "detach"):  # a torch tensor; torch itself is not needed to read files
        return Picture(as_rgb(from_torch(source), "tensor", over), name="tensor")
    found = type(source).__name__
    raise ImageError(
        f"{found} is not an image: give a path, bytes, a binary file, or a PIL, numpy or torch image"
    )


def stored_bytes(path: str | os.PathLike[str]) -> bytes:
    """All bytes of an image file, undecoded. Raises ImageError, as `read` does."""
    name = printable(os.fsdecode(path))
    with _opened(path, name) as file:
        data = file.read(LARGEST_FILE + 1)
    if len(data) > LARGEST_FILE:
        raise ImageError(f"{name}: more than {LARGEST_FILE:,} bytes, this is no photograph")
    return data


def _read_path(path: str | bytes, max_pixels: int, over: Over) -> Picture:
    name = printable(os.fsdecode(path))
    with _opened(path, name) as file:
        return replace(_decode(file, name, max_pixels, over), name=os.fsdecode(path))


@contextlib.contextmanager
def _opened(path: str | bytes | os.PathLike[str], name: str) -> Iterator[BinaryIO]:
    try:
        mode = os.stat(path).st_mode
        if stat.S_ISDIR(mode):
            raise ImageError(f"{name}: a folder, one image file is needed; read the files in it one by one")
        if not stat.S_ISREG(mode):  # opening a pipe would wait for ever
            raise ImageError(f"{name}: a pipe, socket or device, a regular file is needed; copy it to one")
        with open(path, "rb") as file:
            yield file
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise ImageError(f"{name}: {_why_unopened(os.fspath(path), error)}") from error


def _why_unopened(path: str | bytes, error: OSError | ValueError) -> str:
    if isinstance(error, FileNotFoundError):
        if os.path.islink(path):
            return "a link to a file that does not exist; restore the file, or remove the link"
        is_url = re.match(r"\w+://", os.fsdecode(path))
        return "no such file; " + ("download it first" if is_url else "check the name")
    if isinstance(error, OSError) and error.errno == errno.ELOOP:
        return "a link that leads back to itself; remove it"
    if isinstance(error, PermissionError):
        return "no permission to read it; change that with chmod"
    reason = error.strerror if isinstance(error, OSError) else error
    return f"cannot be opened ({reason}); check the name"


def _read_file_object(file: Any, max_pixels: int, over: Over) -> Picture:
    name = file.name if isinstance(getattr(file, "name", None), str) else "image stream"
    content = file.read()
    if not isinstance(content, bytes):
        raise ImageError(f"{printable(name)}: opened as text, bytes are needed; open it in mode 'rb'")
    return replace(_decode(io.BytesIO(content), printable(name), max_pixels, over), name=name)


def _decode(file: BinaryIO, name: str, max_pixels: int, over: Over) -> Picture:
    head = file.read(32)
    if not head:
        raise ImageError(f"{name}: empty (0 bytes), an image is needed; copy or download it again")
    kind = sniff(head)
    if kind is None:
        start = printable(head[:16].decode("ascii", "backslashreplace"))
        raise ImageError(f"{name}: not an image, it begins with '{start}'; known are {', '.join(SIGNATURES)}")
    with _quiet_pillow(max_pixels), _damage_named(name, kind, max_pixels), _open(file, kind, name) as image:
        return _picture(image, file, name, max_pixels, over)


def _open(file: BinaryIO, kind: str, name: str) -> Image.Image:
    file.seek(0)
    if kind != "HEIC":
        return Image.open(file, formats=[kind.upper().replace(" ", "")])
    try:
        import pillow_heif
    except ImportError as error:
        hint = f"{extra('heif')}, or convert the file to PNG"
        raise ImageError(f"{name}: HEIC needs the extra 'heif'; {hint}") from error
    heic: Image.Image = pillow_heif.HeifImageFile(file)
    return heic


def _picture(image: Image.Image, file: BinaryIO | None, name: str, max_pixels: int, over: Over) -> Picture:
    width, height = image.size
    if width < 1 or height < 1:
        raise ImageError(f"{name}: {width}x{height} pixels, at least 1x1 is needed")
    if width * height > max_pixels:
        raise _too_large(name, f"{width}x{height} = {width * height}", max_pixels)
    turned = _orientation(image) if image.format == "TIFF" else 1  # Pillow does so itself, then forgets it
    array = stored(image, file, name)  # [H,W,C]
    orientation = _orientation(image)  # PNG may say so after its pixels
    rgb = upright(as_rgb(array, name, over), orientation)
    notes = [
        f"EXIF orientation {max(turned, orientation)} applied" if turned != 1 or orientation != 1 else "",
        f"transparent parts are {over}" if array.shape[2] == 4 else "",
    ]
    camera = _exif_camera(image, rgb.shape[1], rgb.shape[0])
    return Picture(rgb, camera, "exif" if camera else None, name, tuple(note for note in notes if note))


def _orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(ORIENTATION, 1)
    except Exception:  # a photograph with a broken EXIF block is still a photograph
        return 1
    return value if value in range(1, 9) else 1


def _exif_camera(image: Image.Image, width: int, height: int) -> Camera | None:
    try:
        return Camera.from_exif(image, width, height)
    except Exception:  # as above
        return None


@contextlib.contextmanager
def _damage_named(name: str, kind: str, max_pixels: int) -> Iterator[None]:
    """Make one ImageError of whatever a decoder raises: on broken bytes Pillow raises nearly every class."""
    try:
        yield
    except ImageError:
        raise
    except Image.DecompressionBombError as error:
        pixels = re.search(r"\d+", str(error))
        raise _too_large(name, pixels[0] if pixels else "too many", max_pixels) from error
    except MemoryError as error:
        raise ImageError(f"{name}: does not fit into memory; shrink it, or lower --max-pixels") from error
    except Exception as error:
        reason = "bad header" if isinstance(error, UnidentifiedImageError) else str(error) or "bad data"
        raise ImageError(
            f"{name}: damaged or cut short {kind} ({printable(reason)[:100]}); copy or download it again"
        ) from error


def _too_large(name: str, size: str, max_pixels: int) -> ImageError:
    return ImageError(
        f"{name}: {size} pixels, at most {max_pixels} are read; if you trust the file, raise --max-pixels"
    )


class _QuietPillow:
    """While any thread decodes: no warnings and log lines of Pillow, no words of libtiff, our pixel limit.

    All are settings of the whole process: the first thread in changes them, the last one out restores them.
    """

    def __init__(self) -> None:
        self._lock, self._inside, self._undo = threading.Lock(), 0, contextlib.ExitStack()

    @contextlib.contextmanager
    def __call__(self, max_pixels: int) -> Iterator[None]:
        with self._lock:
            if self._inside == 0:
                self._begin()
            self._inside += 1
            if Image.MAX_IMAGE_PIXELS is not None:  # Pillow refuses above twice this number
                Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS, -(-max_pixels // 2))
        try:
            yield
        finally:
            with self._lock:
                self._inside -= 1
                if self._inside == 0:
                    self._undo.close()

    def _begin(self) -> None:
        self._undo.callback(setattr, Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
        self._undo.enter_context(warnings.catch_warnings())
        warnings.filterwarnings("ignore", module=r"PIL\.")
        pillow = logging.getLogger("PIL")
        self._undo.callback(pillow.setLevel, pillow.level)
        pillow.setLevel(logging.CRITICAL + 1)
        # libtiff writes to stderr, where it is linked in
        with contextlib.suppress(OSError, AttributeError):
            set_handler = ctypes.CDLL(_imaging.__file__).TIFFSetErrorHandler
            set_handler.argtypes, set_handler.restype = [ctypes.c_void_p], ctypes.c_void_p
            self._undo.callback(set_handler, set_handler(None))


_quiet_pillow = _QuietPillow()

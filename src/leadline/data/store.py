"""Where a data set's files lie: a folder, or a tar or zip archive that is read without unpacking it.

Nothing is ever written, and no name is followed out of the folder or archive. An archive's directory is read
when it is first needed; its files by any process or thread. Whatever is wrong with a file ends in one
DataError that names it.
"""

from __future__ import annotations

import io
import os
import re
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property, lru_cache
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Protocol, TypeVar

from leadline.errors import DataError, LeadlineError, printable

LARGEST = 2**30  # bytes of one file of an archive; the largest map of any data set here has 0.1 GB
PACKED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"7z\xbc\xaf", b"(\xb5/\xfd", b"Rar!")  # how such files begin
T = TypeVar("T")


class Store:
    """Files by name, relative to `base` within a folder or archive; "/" stands between the parts of a name.

    Raises DataError if there is no such folder, or the file is no archive that can be read at random.
    """

    def __init__(self, path: str | Path, base: str = "", files: Files | None = None) -> None:
        self.path, self.base = Path(path), base
        self._files = files or _files(self.path)

    def below(self, folder: str) -> Store:
        """The same files, seen from a folder within."""
        return Store(self.path, f"{self.base}{clean(folder)}/", self._files) if folder else self

    def glob(self, pattern: str) -> list[str]:
        """Names that match, sorted. `*` stands for any letters but "/"; hidden files are left out."""
        return sorted(self._find(pattern))

    def names(self) -> list[str]:
        """All names: of an archive in its own order, of a folder sorted."""
        return [name.removeprefix(self.base) for name in self._files.every() if name.startswith(self.base)]

    def holds(self, pattern: str) -> bool:
        """Whether any name matches; stops at the first."""
        return next(self._find(pattern), None) is not None

    def _find(self, pattern: str) -> Iterator[str]:
        names = self._files.find(self.base, pattern)
        return (name for name in names if not PurePosixPath(name).name.startswith("."))

    def has(self, name: str) -> bool:
        """Whether there is a file of that name."""
        return self._files.has(self.base + clean(name))

    def first(self, names: Iterable[str]) -> str:
        """The first of several names that is there; if none is, the first: reading it says so."""
        names = list(names)
        return next((name for name in names if self.has(name)), names[0])

    def open(self, name: str) -> BinaryIO:
        """The file, for reading. Raises DataError."""
        with self.naming(name):
            return self._files.open(self.base + clean(name))

    def read(self, name: str) -> bytes:
        """All bytes of a file. Raises DataError."""
        with self.naming(name), self.open(name) as file:
            return file.read()

    def load(self, name: str, decode: Callable[[bytes], T]) -> T:
        """`decode` of a file's bytes; whatever it raises becomes one DataError that names the file."""
        data = self.read(name)
        with self.naming(name):
            return decode(data)

    def only_folder(self) -> str | None:
        """The folder that everything lies in, if there is one such."""
        tops = [top for top in self._files.tops() if not top.startswith((".", "__MACOSX"))]
        return tops[0] if len(tops) == 1 else None

    def label(self, name: str) -> str:
        """A file's name for messages: 'folder/name', or 'archive.tar: name'."""
        return printable(f"{self.path}{self._files.between}{self.base}{name}")

    @contextmanager
    def naming(self, name: str) -> Iterator[None]:
        """Whatever goes wrong within, as one DataError that names the file."""
        try:
            yield
        except FileNotFoundError as error:
            raise DataError(f"{self.label(name)} is missing: copy or unpack the whole data set") from error
        except LeadlineError as error:
            named = str(error).startswith(printable(str(self.path)))
            raise DataError(str(error) if named else f"{self.label(name)}: {error}") from error
        except Exception as error:  # decoders raise anything
            found = f"{type(error).__name__}: {printable(str(error))[:120]}"
            fault = f"{self.label(name)}: damaged, or not of its format ({found})"
            raise DataError(f"{fault}: copy it again") from error


def clean(name: str) -> str:
    """A relative name without "./". Raises DataError for one that leads out.

    >>> clean("./test/a.png")
    'test/a.png'
    """
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\0" in name or not path.parts:
        raise DataError(f"the name {printable(name)!r} leads out of the data set: a relative one is needed")
    return str(path)


class Files(Protocol):
    """What stands behind a store."""

    between: str  # the path and a name, in messages

    def find(self, base: str, pattern: str) -> Iterator[str]:
        """Names below `base` that match, without it, in any order."""
        ...

    def every(self) -> Iterable[str]:
        """All names, in the order in which they lie there."""
        ...

    def tops(self) -> Iterable[str]:
        """Names of what lies at the top."""
        ...

    def has(self, name: str) -> bool: ...

    def open(self, name: str) -> BinaryIO:
        """Raises FileNotFoundError, DataError, and what the file system raises."""
        ...


class Nothing:
    """What stands behind a data set that needs no files."""

    between = ": "

    def find(self, base: str, pattern: str) -> Iterator[str]:
        return iter(())

    def every(self) -> Iterable[str]:
        return ()

    def tops(self) -> Iterable[str]:
        return ()

    def has(self, name: str) -> bool:
        return False

    def open(self, name: str) -> BinaryIO:
        raise FileNotFoundError(name)


def _files(path: Path) -> Files:
    try:
        if path.is_dir():
            return _Folder(path)
        with open(path, "rb") as file:
            head = file.read(16)
        is_tar = not head.startswith(PACKED) and tarfile.is_tarfile(path)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}: give the data set's folder or archive") from error
    if is_tar or head.startswith(b"PK"):
        return _Tar(path) if is_tar else _Zip(path)
    if head.startswith(PACKED):
        raise DataError(f"{path}: compressed, single files cannot be looked up in it: unpack it first")
    raise DataError(f"{path}: neither a folder nor an archive (tar, zip): give the folder that holds it")


class _Folder:
    between = "/"

    def __init__(self, path: Path) -> None:
        self.path = path

    def find(self, base: str, pattern: str) -> Iterator[str]:
        below = self.path / base
        return (path.relative_to(below).as_posix() for path in below.glob(pattern))

    def every(self) -> Iterable[str]:
        files = (path for path in self.path.rglob("*") if path.is_file())
        return sorted(path.relative_to(self.path).as_posix() for path in files)

    def tops(self) -> Iterable[str]:
        return os.listdir(self.path)

    def has(self, name: str) -> bool:
        return (self.path / name).is_file()

    def open(self, name: str) -> BinaryIO:
        path = self.path / name
        if path.exists() and not path.is_file():  # opening a pipe would wait for ever
            raise DataError("no regular file: replace it by one")
        return open(path, "rb")


class _Archive:
    between = ": "
    index: Mapping[str, Any]  # name -> where it lies; None for links and devices

    def __init__(self, path: Path) -> None:
        self.path = path

    def find(self, base: str, pattern: str) -> Iterator[str]:
        wanted = re.compile(re.escape(pattern).replace(r"\*", "[^/]*"))
        below = (name.removeprefix(base) for name in self.index if name.startswith(base))
        return (name for name in below if wanted.fullmatch(name))

    def every(self) -> Iterable[str]:
        return self.index

    def tops(self) -> Iterable[str]:
        return {name.split("/")[0] for name in self.index}

    def has(self, name: str) -> bool:
        return name in self.index

    def place(self, name: str) -> Any:
        if name not in self.index:
            raise FileNotFoundError(name)
        if self.index[name] is None:
            raise DataError("a link or no regular file: pack the files themselves (tar --dereference)")
        return self.index[name]

    def inside(self, member: str) -> str:
        try:
            return clean(member)
        except DataError as error:
            raise DataError(f"{self.path}: {error}") from error

    def damaged(self, error: Exception) -> DataError:
        return DataError(f"{self.path}: a damaged archive, or cut short ({error}): copy it again")


class _Tar(_Archive):
    """A tar file's members lie in it as they are: once their places are known, reading needs no state."""

    @cached_property
    def index(self) -> Mapping[str, tuple[int, int] | None]:  # type: ignore[override]
        """name -> (first byte, length)."""
        found: dict[str, tuple[int, int] | None] = {}
        try:
            with tarfile.open(self.path, "r:") as archive:
                for member in archive:
                    plain = member.isreg() and not member.issparse()
                    if not member.isdir():
                        found[self.inside(member.name)] = (member.offset_data, member.size) if plain else None
                _check_end(self.path, archive.offset)
        except (tarfile.TarError, OSError, ValueError, EOFError) as error:
            raise self.damaged(error) from error
        return found

    def open(self, name: str) -> BinaryIO:
        start, size = self.place(name)
        _check_size(size)
        with open(self.path, "rb") as file:
            file.seek(start)
            data = file.read(size)
        if len(data) != size:
            raise DataError(f"{len(data):,} of {size:,} bytes are there: copy the archive again")
        return io.BytesIO(data)


def _check_end(path: Path, end: int) -> None:
    """tarfile takes any damaged header for the end of the archive; the true end is a block of zeros."""
    with open(path, "rb") as file:
        file.seek(end)
        if file.read(tarfile.BLOCKSIZE).strip(b"\0"):
            raise tarfile.ReadError(f"no file begins at byte {end:,}")


class _Zip(_Archive):
    @cached_property
    def index(self) -> Mapping[str, zipfile.ZipInfo | None]:  # type: ignore[override]
        try:
            members = _zip(self.path, os.getpid()).infolist()
        except (zipfile.BadZipFile, OSError, ValueError) as error:
            raise self.damaged(error) from error
        return {self.inside(m.filename): None if _is_link(m) else m for m in members if not m.is_dir()}

    def open(self, name: str) -> BinaryIO:
        member = self.place(name)
        _check_size(member.file_size)
        return io.BytesIO(_zip(self.path, os.getpid()).read(member))


def _is_link(member: zipfile.ZipInfo) -> bool:
    return (member.external_attr >> 16) & 0o170000 == 0o120000  # what Unix says of symbolic links


@lru_cache(maxsize=8)
def _zip(path: Path, process: int) -> zipfile.ZipFile:
    """The archive, opened once per process: after a fork, two would move one file's place."""
    return zipfile.ZipFile(path)


def _check_size(size: int) -> None:
    if size > LARGEST:
        raise DataError(f"unfolds to {size:,} bytes, at most {LARGEST:,} are read: unpack the archive")

"""Files that are either there, whole, or not there at all."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from leadline.errors import SaveError

_PREFIX, _SUFFIX = ".leadline-", ".partial"
_ADVICE = {
    errno.ENOSPC: "free some space and run again",
    errno.EDQUOT: "free some space and run again",
    errno.EFBIG: "raise the limit of file sizes",
    errno.EROFS: "choose another output folder",
    errno.EACCES: "choose another output folder, or change its permissions",
    errno.EPERM: "choose another output folder, or change its permissions",
    errno.ENAMETOOLONG: "rename the input, or choose a shorter output folder",
}


@contextmanager
def atomic(path: Path | str) -> Iterator[Path]:
    """A temporary name in the folder of `path`: write there; on leaving, it is synced and renamed to `path`.

    If the block raises, or the process dies, whatever stood at `path` before stands there still. Missing
    folders are made. The file has the permissions that the umask gives, whichever library writes it. Raises
    SaveError if the system refuses.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with atomic(Path(folder) / "a.txt") as temporary:
    ...         _ = temporary.write_text("all of it")
    ...     [(file.name, file.read_text()) for file in Path(folder).iterdir()]
    [('a.txt', 'all of it')]
    """
    path = Path(path)
    name = hashlib.blake2b(path.name.encode(errors="surrogateescape"), digest_size=8).hexdigest()
    temporary = (
        path.parent / f"{_PREFIX}{name}-{os.getpid()}{_SUFFIX}"
    )  # short, whatever the length of the name
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch()
        mode = stat.S_IMODE(temporary.stat().st_mode)
        yield temporary
        if stat.S_IMODE(temporary.stat().st_mode) != mode:  # safetensors lets nobody else read
            temporary.chmod(mode)
        _sync(temporary)
        os.replace(temporary, path)
        _sync_names(path.parent)
    except OSError as error:
        raise refused(error, path) from error
    finally:
        with contextlib.suppress(OSError):  # gone already, unless something failed
            temporary.unlink()


def write_bytes(path: Path | str, data: bytes) -> None:
    """Write a whole file, atomically. Raises SaveError."""
    with atomic(path) as temporary:
        temporary.write_bytes(data)


def create(path: Path, data: bytes) -> bool:
    """Write a whole file unless one of that name is there, or another process makes one at the same time:
    then False, and theirs stands. Raises SaveError.
    """
    own = path.with_name(f"{_PREFIX}{path.name}-{os.getpid()}-{threading.get_ident()}{_SUFFIX}")
    write_bytes(own, data)
    try:
        os.link(own, path)
    except FileExistsError:
        return False
    except OSError:  # a file system without hard links
        if path.exists():
            return False
        write_bytes(path, data)
    finally:
        own.unlink(missing_ok=True)
    return True


def refused(error: OSError, path: Path | str) -> SaveError:
    """The one line for a file that the system would not write."""
    reason = error.strerror or str(error)
    advice = _ADVICE.get(error.errno or 0, "check the output folder")
    return SaveError(f"cannot write {path}: {reason}; {advice}")


def remove_leftovers(folders: Iterable[Path]) -> None:
    """Delete the temporary files that killed runs have left in these folders (not below them).

    Only while no other run writes there: its files would be taken too.
    """
    for folder in folders:
        with contextlib.suppress(OSError):
            for path in folder.glob(f"{_PREFIX}*{_SUFFIX}"):
                path.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    """Ask the disk to hold a file's content."""
    handle = os.open(path, os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sync_names(folder: Path) -> None:
    """Ask the disk to hold a folder's list of names, where it can (Windows and some shares cannot)."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def inside(folder: Path, name: str) -> Path:
    """`folder / name`, if that is below the folder once all links are followed; its own folder is made.

    Raises SaveError for names that lead elsewhere ("../x", or through a link that points out of the folder).
    """
    path = folder / name
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        home = folder.resolve()
        if not path.parent.resolve().is_relative_to(home):
            raise SaveError(f"{path} leads out of {home}: results stay below the output folder")
    except OSError as error:
        raise refused(error, path) from error
    return path

"""Folders, tar and zip archives behind one face; hostile and damaged ones are one line."""

from __future__ import annotations

import io
import os
import pickle
import tarfile
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest

from leadline.data.store import Store
from leadline.errors import DataError

FILES = {"test/a b/1.txt": b"one", "test/c/2.txt": b"two" * 1000, "3.txt": b""}


def tar(path: Path, files: dict[str, bytes] = FILES, prefix: str = "", **changes: object) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(prefix + name)
            member.size = len(data)
            for key, value in changes.items():
                setattr(member, key, value)
            archive.addfile(member, io.BytesIO(data))
    return path


def zipped(path: Path, files: dict[str, bytes] = FILES) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def folder(path: Path) -> Path:
    for name, data in FILES.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


def dotted(path: Path) -> Path:
    return tar(path, prefix="./")


@pytest.fixture(params=[folder, tar, dotted, zipped], ids=lambda f: f.__name__)
def store(request, tmp_path):
    return Store(request.param(tmp_path / "files"))


def test_files_are_read_by_name(store):
    assert {name: store.read(name) for name in FILES} == FILES
    assert store.read("./test/c/2.txt") == b"two" * 1000
    with store.open("3.txt") as file:
        assert file.read() == b""
    assert store.load("test/a b/1.txt", bytes.decode) == "one"


def test_names_are_found_by_patterns(store):
    assert store.glob("test/*/*.txt") == ["test/a b/1.txt", "test/c/2.txt"]
    assert store.glob("*.txt") == ["3.txt"]
    assert store.holds("test/*/1.txt")
    assert not store.holds("*/1.txt")


def test_what_a_mac_leaves_beside_files_is_left_out(tmp_path):
    store = Store(tar(tmp_path / "a.tar", {"x/1.png": b"", "x/._1.png": b"", "x/.DS_Store": b""}))
    assert store.glob("x/*") == ["x/1.png"]
    assert not store.holds("x/*_1.png")


def test_a_store_below_a_folder_has_its_own_names(store):
    below = store.below("test").below("c")
    assert below.glob("*") == ["2.txt"]
    assert below.has("2.txt")
    assert not below.has("3.txt")
    assert below.read("2.txt") == FILES["test/c/2.txt"]
    assert store.below("") is store


def test_the_first_name_that_is_there_is_taken(store):
    assert store.first(["no.txt", "3.txt", "test/c/2.txt"]) == "3.txt"
    assert store.first(["no.txt", "nor.txt"]) == "no.txt"


def test_the_only_folder_is_known(tmp_path):
    assert Store(tar(tmp_path / "a.tar", {"x/1": b"", "x/2": b"", ".DS_Store": b""})).only_folder() == "x"
    assert Store(tar(tmp_path / "b.tar")).only_folder() is None


def test_a_missing_file_is_named_with_its_archive(store):
    with pytest.raises(DataError, match=r"files(/|: )test/none.png is missing: copy or unpack") as error:
        store.read("test/none.png")
    assert str(error.value).startswith(str(store.path))


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/../../b", "", "a\0b"])
def test_names_that_lead_out_are_refused(store, name):
    with pytest.raises(DataError, match="leads out of the data set"):
        store.read(name)


def test_what_a_decoder_raises_is_one_line_with_the_name(store):
    def fails(data: bytes) -> None:
        raise RuntimeError("line one\nline two")

    with pytest.raises(
        DataError, match=r"files(/|: )3.txt: damaged, or not of its format \(RuntimeError: line one"
    ):
        store.load("3.txt", fails)


def test_processes_threads_and_copies_read_on(store):
    """One index, no shared place in a file: whoever reads gets its own bytes."""
    store.read("3.txt")
    seen: list[bool] = []

    def read_often() -> None:
        seen.extend(store.read("test/c/2.txt") == FILES["test/c/2.txt"] for _ in range(50))

    threads = [threading.Thread(target=read_often) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [True] * 200
    assert pickle.loads(pickle.dumps(store)).read("test/c/2.txt") == FILES["test/c/2.txt"]


@pytest.mark.filterwarnings(
    "ignore:.*multi-threaded:DeprecationWarning"
)  # Python 3.12 on: pytest has threads
def test_a_forked_process_disturbs_nobody(store):
    store.read("3.txt")
    child = os.fork()
    if child == 0:
        good = all(store.read("test/c/2.txt") == FILES["test/c/2.txt"] for _ in range(200))
        os._exit(0 if good else 1)
    assert all(store.read("test/a b/1.txt") == b"one" for _ in range(200))
    assert os.waitpid(child, 0)[1] == 0


# --- what strangers might send ---


def linked(path: Path, target: str = "/etc/passwd", kind: bytes = tarfile.SYMTYPE) -> Path:
    with tarfile.open(path, "w") as archive:
        member = tarfile.TarInfo("a.png")
        member.type, member.linkname = kind, target
        archive.addfile(member)
    return path


def zip_link(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        info = zipfile.ZipInfo("a.png")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, "/etc/passwd")
    return path


@pytest.mark.parametrize(
    "make",
    [
        linked,
        lambda path: linked(path, "a.png", tarfile.LNKTYPE),
        lambda path: linked(path, "", tarfile.FIFOTYPE),
        lambda path: linked(path, "", tarfile.CHRTYPE),
        zip_link,
    ],
    ids=["symlink", "hard link", "pipe", "device", "zip"],
)
def test_links_and_devices_are_not_followed(make, tmp_path):
    with pytest.raises(
        DataError, match=r"x.tar: a.png: a link or no regular file: pack the files themselves"
    ):
        Store(make(tmp_path / "x.tar")).read("a.png")


@pytest.mark.parametrize("make", [tar, zipped], ids=["tar", "zip"])
@pytest.mark.parametrize("name", ["../../evil.png", "/etc/cron.d/evil", "a/../../b"])
def test_an_archive_with_names_that_lead_out_is_refused_whole(make, name, tmp_path):
    store = Store(make(tmp_path / "x", {"good.png": b"1", name: b"2"}))
    with pytest.raises(DataError, match=r"x: the name '.*' leads out of the data set"):
        store.read("good.png")


def half(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


BIG = {"1.bin": os.urandom(9000), "2.bin": os.urandom(9000)}


def spoilt_header(path: Path) -> Path:
    data = bytearray(tar(path, BIG).read_bytes())
    data[512 + 9216 : 512 + 9216 + 100] = b"\xff" * 100  # the second member's name
    path.write_bytes(data)
    return path


def endless(path: Path) -> Path:
    """A header that claims ten gigabytes."""
    member = tarfile.TarInfo("1.bin")
    member.size = 10**10
    path.write_bytes(member.tobuf() + b"x" * 2000)
    return path


@pytest.mark.parametrize(
    "make",
    [
        lambda path: half(tar(path, BIG)),
        lambda path: half(zipped(path, BIG)),
        spoilt_header,
        endless,
    ],
    ids=["tar cut", "zip cut", "tar spoilt", "tar endless"],
)
def test_a_damaged_archive_is_named(make, tmp_path):
    path = make(tmp_path / "x.archive")
    with pytest.raises(DataError, match=r"x.archive: a damaged archive, or cut short \(.*\): copy it again"):
        Store(path).read("1.bin")


def test_an_archive_that_shrinks_after_it_was_opened_is_named(tmp_path):
    store = Store(tar(tmp_path / "x.tar", BIG))
    assert store.has("2.bin")
    half(store.path)
    with pytest.raises(DataError, match=r"x.tar: 2.bin: [\d,]+ of 9,000 bytes are there"):
        store.read("2.bin")


def test_a_zip_bomb_is_not_unfolded(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", bytes(1000))
        archive.filelist[0].file_size = 2**31
    with pytest.raises(DataError, match=r"a.npy: unfolds to 2,147,483,648 bytes, at most"):
        Store(tmp_path / "x.zip").read("a.npy")


def test_a_wrong_byte_in_a_zip_is_found(tmp_path):
    data = bytearray(zipped(tmp_path / "x.zip", BIG).read_bytes())
    data[5000] ^= 1
    (tmp_path / "x.zip").write_bytes(data)
    with pytest.raises(DataError, match="x.zip: 1.bin: damaged"):
        Store(tmp_path / "x.zip").read("1.bin")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x1f\x8b" + bytes(600), "compressed, single files cannot be looked up in it: unpack it first"),
        (b"7z\xbc\xaf'\x1c" + bytes(600), "compressed"),
        (b"hello", "neither a folder nor an archive"),
        (b"", "neither a folder nor an archive"),
    ],
)
def test_files_that_are_no_archives_are_answered_with_what_to_do(data, message, tmp_path):
    (tmp_path / "x").write_bytes(data)
    with pytest.raises(DataError, match=message):
        Store(tmp_path / "x")


def test_pipes_in_folders_are_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(DataError, match="a.png: no regular file"):
        Store(tmp_path).read("a.png")


def test_links_in_ones_own_folder_are_followed(tmp_path):
    (tmp_path / "data").mkdir()
    np.save(tmp_path / "far.npy", np.zeros(3))
    (tmp_path / "data/near.npy").symlink_to(tmp_path / "far.npy")
    assert Store(tmp_path / "data").read("near.npy")[:6] == b"\x93NUMPY"

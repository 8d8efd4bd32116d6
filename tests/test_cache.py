"""What is remembered is right, or made again."""

from __future__ import annotations

import hashlib
import os

import pytest

from leadline import cache


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LEADLINE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def file(tmp_path):
    (tmp_path / "file").write_bytes(b"one")
    return tmp_path / "file"


def digest(data):
    return hashlib.sha256(data).hexdigest()


def test_a_digest_is_read_once(file, tmp_path, monkeypatch):
    assert cache.sha256(file) == digest(b"one")
    monkeypatch.setattr(cache.hashlib, "file_digest", None)
    assert cache.sha256(file) == digest(b"one")
    (tmp_path / "link").symlink_to(file)
    assert cache.sha256(tmp_path / "link") == digest(b"one")


def test_a_changed_file_is_read_again_though_its_size_and_date_are_the_same(file):
    before = file.stat()
    cache.sha256(file)
    file.write_bytes(b"two")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert cache.sha256(file) == digest(b"two")


@pytest.mark.parametrize("damage", [b"", b"not a digest", b"\xff\xfe", b"0" * 63])
def test_damaged_notes_count_as_none(file, damage):
    cache.sha256(file)
    (note,) = (cache.folder() / "sha256").iterdir()
    note.write_bytes(damage)
    assert cache.sha256(file) == digest(b"one")


def test_without_a_place_to_write_it_is_slower_only(file, monkeypatch):
    monkeypatch.setenv("LEADLINE_CACHE", str(file / "below"))
    assert cache.sha256(file) == digest(b"one")
    assert cache.sha256(file) == digest(b"one")


def test_the_place_is_the_users_own_choice(monkeypatch, tmp_path):
    monkeypatch.delenv("LEADLINE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache.folder() == tmp_path / "leadline"


def test_encoders_are_noted_for_commits_only(tmp_path):
    for name, known in (("a" * 40, "b" * 64), ("main", None)):
        cache.note_encoder(tmp_path / name, "b" * 64)
        assert cache.encoder_of(tmp_path / name) == known

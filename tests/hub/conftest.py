"""A hub on loopback for these tests."""

from __future__ import annotations

import fake_hub
import huggingface_hub.constants
import pytest
from fake_hub import FILES, ID, Repository


@pytest.fixture(scope="module")
def server():
    with fake_hub.serve() as running:
        yield running


@pytest.fixture
def online(server, tmp_path, monkeypatch):
    """The hub on loopback with one model; its cache and ours in a folder of the test."""
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("LEADLINE_CACHE", str(tmp_path / "own"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    server.repositories = {ID: Repository(dict(FILES))}
    server.asked = []
    return server

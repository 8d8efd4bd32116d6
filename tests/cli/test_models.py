"""`leadline models`: what is here, what can be fetched, and where it lies."""

from __future__ import annotations

import json

import fake_hub
import huggingface_hub
import pytest
from fake_hub import Repository

NAME = "depth-anything-v2-small"
ID = "depth-anything/Depth-Anything-V2-Small-hf"
FILES = {"config.json": b"{}", "model.safetensors": b"numbers", "README.md": b"words"}


@pytest.fixture
def hub(tmp_path, monkeypatch):
    with fake_hub.serve() as running:
        running.repositories[ID] = Repository(dict(FILES))
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        yield running


def test_download_prints_the_folder_and_the_licence(run, hub):
    assert json.loads(run("models", "info", NAME, "--json").out)["weights"] == f"huggingface.co/{ID}"
    done = run("models", "download", NAME)
    assert done.code == 0
    folder = done.out.strip()
    assert folder.endswith(Repository({}).commit)
    assert "licence Apache-2.0" in done.err
    assert json.loads(run("models", "info", NAME, "--json").out)["weights"] == "on this machine"
    row = next(line for line in run("models", "list").out.splitlines() if line.startswith(f"{NAME} "))
    assert "on this machine" in row
    assert run("models", "download", f"{ID}@main").out.strip() == folder
    facts = run("models", "info", f"{NAME}@main").out
    assert "kind: affine_disparity" in facts
    assert "aliases" not in facts  # it never had another name


def test_what_cannot_be_fetched_is_one_line_and_code_1(run, hub):
    hub.repositories[ID].hashes = {"model.safetensors": "0" * 64}
    for words in (("models", "download", NAME), ("models", "download", "nobody/nothing")):
        done = run(*words)
        assert done.code == 1
        assert done.out == ""
        assert [line for line in done.err.splitlines() if line.startswith("error: ")] == [
            done.err.splitlines()[-1]
        ]


def test_bundled_models_need_no_download(run):
    done = run("models", "download", "small")
    assert done.code == 0
    assert done.out.strip().endswith("small")

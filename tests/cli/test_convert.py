"""`leadline convert`: one line for whatever goes wrong, a folder that predicts for what goes right."""

from __future__ import annotations

import huggingface_hub
import pytest
import torch
from safetensors.torch import save_file
from tiny_primedepth import card, checkpoint

from leadline import cards, hub
from leadline.networks import primedepth


def test_a_checkpoint_becomes_a_folder(run, tmp_path, monkeypatch):
    save_file({"labeller.x": torch.zeros(2)}, tmp_path / "a.safetensors")
    calls = []

    def convert(*words, **options):
        calls.append((words, options))
        return ["labeller 668 tensors, no text"]

    monkeypatch.setattr(primedepth, "convert", convert)
    done = run("convert", tmp_path / "a.safetensors", "-o", tmp_path / "out", "--fp16")
    assert done.code == 0
    assert done.out.split() == [str(tmp_path / "out")]
    assert "668 tensors" in done.err
    ((words, options),) = calls
    assert words == (tmp_path / "a.safetensors", tmp_path / "out", cards.get("primedepth"))
    assert options == {"base": None, "fp16": True}


def test_the_base_is_a_name_or_a_folder(run, tmp_path, monkeypatch):
    bases = []
    monkeypatch.setattr(primedepth, "convert", lambda *words, base, **options: bases.append(base) or [])
    monkeypatch.setattr(hub.models, "_whole", lambda repository, *words, **options: tmp_path / repository.id)
    for base in ("stable-diffusion-2-1-base", tmp_path):
        assert run("convert", "a.ckpt", "-o", tmp_path / "out", "--base", base).code == 0
    assert bases == [tmp_path / "stabilityai" / "stable-diffusion-2-1-base", tmp_path]


@pytest.mark.parametrize(
    ("file", "more", "code", "message"),
    [
        ("none.ckpt", (), 1, "no such file"),
        ("text.ckpt", (), 1, "damaged or no weights file"),
        ("other.safetensors", (), 1, "no checkpoint of PrimeDepth"),
        ("alone.safetensors", (), 1, "has no unet"),
        ("alone.safetensors", ("--card", "depth-anything-v2-small"), 2, "only PrimeDepth's checkpoint"),
        ("alone.safetensors", ("--card", "primdepth"), 1, "did you mean 'primedepth'"),
        ("alone.safetensors", ("--base", "stable-diffusion-2-1-base"), 1, "are not on this machine"),
        ("alone.safetensors", ("--base", "./nowhere"), 1, "'./nowhere' is unknown, and no folder"),
    ],
)
def test_mistakes_are_one_line(run, tmp_path, monkeypatch, file, more, code, message):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    (tmp_path / "text.ckpt").write_text("Dear Sir or Madam")
    save_file({"x.y": torch.zeros(2)}, tmp_path / "other.safetensors")
    own = {name: x for name, x in checkpoint().items() if name.startswith("labeller.convs")}
    save_file(own, tmp_path / "alone.safetensors")
    cards.write(card(), tmp_path / "card.yaml")
    done = run("convert", tmp_path / file, "-o", tmp_path / "out", *more)
    assert done.code == code
    assert message in done.err
    assert "Traceback" not in done.err
    assert len(done.err.strip().splitlines()) == 1

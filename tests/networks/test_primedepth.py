"""The authors' checkpoint: read safely, turned into a folder that gives the same, or refused in one line."""

from __future__ import annotations

import json
import os
from collections import OrderedDict
from pathlib import Path

import pytest
import tiny_primedepth
import torch
from safetensors.torch import load_file, save_file
from tiny import seeded
from tiny_primedepth import BUILD, card, checkpoint, text_encoder
from torch.testing import assert_close

from leadline import cards
from leadline.errors import WeightsError
from leadline.methods.primedepth import PrimeDepth
from leadline.networks import primedepth as folders
from leadline.networks.prompts import Prompts
from leadline.weights import ldm, primedepth


class Callback:
    """What a training leaves in its checkpoints."""


class Bomb:
    """Runs a command when it is unpickled as its makers meant."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self):
        return os.system, (f"touch {self.trace}",)


TABLES = {
    "betas": torch.ones(1000),
    "sqrt_one_minus_alphas_cumprod": torch.ones(1000),
    "logvar": torch.ones(1000),
}
UNUSED = {
    "cond_stage_model.model.logit_scale": torch.ones(()),
    "cond_stage_model.model.text_projection": torch.ones(2, 2),
}


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    """A folder with a tokenizer."""
    home = tmp_path_factory.mktemp("words")
    (home / "tokenizer").mkdir()
    (home / "tokenizer" / "vocab.json").write_text(json.dumps(tiny_primedepth.VOCABULARY))
    (home / "tokenizer" / "merges.txt").write_text("#version: 0.2\na b</w>\n")
    return home


@pytest.fixture(scope="module")
def published(tmp_path_factory, words):
    """The converted folder of a checkpoint as PyTorch Lightning writes it, with a bomb in it."""
    home = tmp_path_factory.mktemp("published")
    state = OrderedDict(checkpoint() | text_encoder() | TABLES | UNUSED)
    whole = {
        "state_dict": state,
        "callbacks": {Callback: Callback()},
        "hyper_parameters": Bomb(home / "bang"),
        "global_step": 3,
    }
    torch.save(whole, home / "PrimeDepth.ckpt")
    folders.convert(home / "PrimeDepth.ckpt", home / "model", card(), base=words, build=BUILD)
    return home


def test_nothing_in_a_checkpoint_is_run(published):
    assert not (published / "bang").exists()
    found = primedepth.read(published / "PrimeDepth.ckpt")
    assert len(found.own) == sum(name.startswith("labeller.") for name in checkpoint())
    assert found.text_layers == 3


@torch.inference_mode()
def test_before_equals_after_conversion(published):
    """Against networks that were filled by the checkpoint's own names, without a folder between."""
    state = checkpoint()
    after = PrimeDepth.load(published / "model", card())
    own = {
        primedepth.own_name(n.removeprefix("labeller.")): x for n, x in state.items() if n[:9] == "labeller."
    }
    before = PrimeDepth.load(published / "model", card())
    for p in before.parameters():
        p.zero_()
    unet = {ldm.unet_name(n[22:]): x for n, x in state.items() if n.startswith("model.diffusion_model.")}
    coder = ldm.coder({n[18:]: x for n, x in state.items() if n.startswith("first_stage_model.")})
    before.unet.load_state_dict(unet)
    before.autoencoder.load_state_dict(coder)
    heads = {n: x.flatten(1) if ".to_" in n and x.dim() == 4 else x for n, x in own.items()}
    before.load_state_dict(heads, strict=False)
    rgb = torch.rand(1, 3, 40, 56) * 2 - 1
    values = [model(rgb, generators=seeded(0))["disparity"] for model in (before, after)]
    assert_close(*values, rtol=0, atol=2e-5 * float(values[0].abs().max()))


@pytest.mark.slow
@torch.inference_mode()
def test_half_the_size_is_nearly_the_same(published, tmp_path, words):
    folders.convert(published / "PrimeDepth.ckpt", tmp_path, card(), base=words, build=BUILD, fp16=True)
    rgb = torch.rand(1, 3, 40, 56) * 2 - 1
    full, half = (
        PrimeDepth.load(folder)(rgb, generators=seeded(0))["disparity"]
        for folder in (published / "model", tmp_path)
    )
    assert (full - half).abs().max() < 0.02 * full.abs().max()
    sizes = [(folder / folders.OWN).stat().st_size for folder in (published / "model", tmp_path)]
    assert sizes[1] < 0.52 * sizes[0]


def test_a_folder_with_the_checkpoint_is_converted_once(published, tmp_path, monkeypatch):
    monkeypatch.setenv("LEADLINE_CACHE", str(tmp_path / "cache"))
    calls = []

    def convert(file, folder, known):
        calls.append(file)
        (folder / folders.OWN).parent.mkdir(parents=True)
        (folder / folders.OWN).touch()
        cards.write(known, folder / "card.yaml")
        return []

    monkeypatch.setattr(folders, "convert", convert)
    for _ in range(2):
        folder, _ = folders.at_home(published, card())
    assert len(calls) == 1
    assert (folder / folders.OWN).is_file()
    assert folders.at_home(published / "model", card())[0] == published / "model"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("no refiner", r"missing: refiner\.blocks\.\* "),
        ("more", r"1 unexpected: labeller_more\.x"),
        ("not finite", "not finite"),
        ("shape", "1 of another shape: conv_in.bias"),
        ("other", r"holds .*, and no labeller\.\*"),
    ],
)
def test_what_is_missing_or_too_much_is_named_by_module(change, message, tmp_path, words):
    state = dict(checkpoint() | text_encoder())
    if change == "no refiner":
        state = {n: x for n, x in state.items() if not n.startswith("labeller.refiner.output_blocks")}
    elif change == "more":
        state["labeller_more.x"] = torch.zeros(2)
    elif change == "not finite":
        name = "labeller.refiner.out.0.weight"
        state[name] = state[name] * torch.inf
    elif change == "shape":
        state["model.diffusion_model.input_blocks.0.0.bias"] = torch.zeros(7)
    else:
        state = {f"x.{n}": x for n, x in list(state.items())[:9]}
    save_file(state, tmp_path / "x.safetensors")
    with pytest.raises(WeightsError, match=message):
        convert_and_load(tmp_path, words)


def convert_and_load(folder, base):
    folders.convert(folder / "x.safetensors", folder / "out", card(), base=base, build=BUILD)
    return PrimeDepth.load(folder / "out")


def test_parts_that_a_checkpoint_lacks_come_from_the_base(published, tmp_path, words):
    own = {n: x for n, x in checkpoint().items() if n.startswith("labeller.")}
    save_file(own, tmp_path / "own.safetensors")
    with pytest.raises(WeightsError, match="has no unet: give a folder of Stable Diffusion 2.1 with --base"):
        folders.convert(tmp_path / "own.safetensors", tmp_path / "out", card(), base=None, build=BUILD)
    base = published / "model"
    notes = folders.convert(tmp_path / "own.safetensors", tmp_path / "out", card(), base=base, build=BUILD)
    assert any(note.startswith("unet from") for note in notes)
    assert any("text_layer penultimate" in note for note in notes)
    assert cards.read(tmp_path / "out" / "card.yaml").config["text_layer"] == "penultimate"


def test_a_checkpoint_without_text_needs_a_text_encoder(tmp_path):
    save_file(checkpoint(), tmp_path / "x.safetensors")
    with pytest.raises(WeightsError, match="no text encoder came with the checkpoint"):
        folders.convert(tmp_path / "x.safetensors", tmp_path / "out", card(), build=BUILD)


@torch.inference_mode()
def test_captions_change_the_map_and_layers_the_text(published):
    folder = published / "model"
    last, penultimate = (PrimeDepth.load(folder, text_layer=layer) for layer in ("last", "penultimate"))
    assert not torch.equal(last.empty_text, penultimate.empty_text)
    rgb = torch.rand(2, 3, 32, 32) * 2 - 1
    empty = last(rgb, generators=seeded(0, 1))["disparity"]
    two = last(rgb, generators=seeded(0, 1), text=["a", ""])["disparity"]
    assert_close(two[1], empty[1])
    assert not torch.allclose(two[0], empty[0])
    with pytest.raises(WeightsError, match="has 3 layers, this model reads the output of layer 9"):
        PrimeDepth.load(folder, text_layers=9)


def test_captions_are_cut_and_padded(published):
    prompts = Prompts(published / "model", 3)
    assert prompts._ids("a b", 6) == [5, 2, 3, 6, 0, 0]
    assert prompts._ids("ab " * 9, 5) == [5, 4, 4, 4, 6]
    assert prompts.encode("ab").shape == (1, 77, 24)
    copied = load_file(published / "model" / "text_encoder" / "model.safetensors")
    assert len(copied) == 4 + 3 * 16


def test_names_of_full_size_weights():
    pairs = {
        "input_blocks.3.0.op.weight": "down_blocks.0.downsamplers.0.conv.weight",
        "middle_block.1.proj_in.weight": "mid_block.attentions.0.proj_in.weight",
        "output_blocks.2.1.conv.bias": "up_blocks.0.upsamplers.0.conv.bias",
        "output_blocks.11.1.proj_out.weight": "up_blocks.3.attentions.2.proj_out.weight",
        "out.2.weight": "conv_out.weight",
    }
    assert {name: ldm.unet_name(name) for name in pairs} == pairs

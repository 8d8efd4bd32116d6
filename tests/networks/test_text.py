"""The empty prompt is encoded once, exactly, and the encoder is not needed again."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tiny
import torch
from safetensors.torch import load_file, save_file
from torch.testing import assert_close
from transformers import CLIPTextConfig, CLIPTextModel

from leadline import cache
from leadline.errors import WeightsError
from leadline.networks import text

CONFIG = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "hidden_act": "gelu",
    "vocab_size": 99,
    "max_position_embeddings": 77,
}
IDS = (97, 98, 0)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LEADLINE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path):
    """A model's folder with the encoder of the stored arrays, its weights by their classic names."""
    home = tmp_path / "model" / "text_encoder"
    home.mkdir(parents=True)
    (home / "config.json").write_text(json.dumps(CONFIG))
    network = CLIPTextModel(CLIPTextConfig(**CONFIG))
    state = {}
    for name, x in network.state_dict().items():
        classic = f"text_model.{name.removeprefix('text_model.')}"
        state[classic] = tiny.named("clip." + classic, tuple(x.shape))
    save_file(state, home / "model.safetensors")
    tokenizer = tmp_path / "model" / "tokenizer"
    tokenizer.mkdir()
    vocabulary = {"!": 0, "<|startoftext|>": 97, "<|endoftext|>": 98}
    (tokenizer / "vocab.json").write_text(json.dumps(vocabulary))
    return tmp_path / "model"


def test_the_encoding_is_that_of_the_stored_arrays(folder, golden):
    stored = golden("e2e/tiny_clip")
    found = text.empty_text(folder)
    assert_close(found, stored.out77, atol=1e-5, rtol=0)
    assert_close(found[:, :2], stored.out2, atol=1e-5, rtol=0)
    assert not found.requires_grad


@pytest.mark.parametrize("change", ["short names", "positions kept", "torch's own", "half precision"])
def test_weights_of_any_version_are_understood(folder, golden, change):
    home = folder / "text_encoder"
    state = load_file(home / "model.safetensors")
    tolerance = 1e-5
    if change == "short names":
        state = {name.removeprefix("text_model."): x for name, x in state.items()}
    elif change == "positions kept":
        state["text_model.embeddings.position_ids"] = torch.arange(77)[None]
    elif change == "half precision":
        state, tolerance = {name: x.half() for name, x in state.items()}, 0.01
    (home / "model.safetensors").unlink()
    if change == "torch's own":
        torch.save(state, home / "pytorch_model.bin")
    else:
        save_file(state, home / "model.safetensors")
    assert_close(text.empty_text(folder), golden("e2e/tiny_clip").out77, atol=tolerance, rtol=0)


def test_the_second_time_the_encoder_is_not_loaded(folder, monkeypatch):
    first = text.empty_text(folder)
    monkeypatch.setattr(text, "encode", None)
    assert torch.equal(text.empty_text(folder), first)
    (folder / "text_encoder" / "config.json").unlink()
    assert torch.equal(text.empty_text(folder), first)


def test_other_weights_or_tokens_are_encoded_anew(folder):
    first = text.empty_text(folder)
    (folder / "tokenizer" / "special_tokens_map.json").write_text(
        '{"pad_token": {"content": "<|endoftext|>"}}'
    )
    padded = text.empty_text(folder)
    assert torch.equal(padded[:, :2], first[:, :2])
    assert not torch.equal(padded, first)
    file = folder / "text_encoder" / "model.safetensors"
    state = load_file(file)
    state["text_model.final_layer_norm.bias"] += 1
    save_file(state, file)
    assert_close(text.empty_text(folder), padded + 1)


def test_what_is_kept_but_damaged_is_made_again(folder):
    first = text.empty_text(folder)
    (kept,) = (cache.folder() / "empty_text").iterdir()
    kept.write_bytes(b"damaged")
    assert torch.equal(text.empty_text(folder), first)


def test_a_cache_that_cannot_be_written_costs_time_only(folder, tmp_path, monkeypatch, golden):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LEADLINE_CACHE", str(tmp_path / "file" / "below"))
    assert_close(text.empty_text(folder), golden("e2e/tiny_clip").out77, atol=1e-5, rtol=0)


def test_a_downloaded_folder_without_encoder_finds_what_is_kept(folder, tmp_path):
    first = text.empty_text(folder)
    snapshot = tmp_path / ("a" * 40)
    snapshot.mkdir()
    (folder / "tokenizer").rename(snapshot / "tokenizer")
    assert text.empty_text(snapshot) is None
    cache.note_encoder(snapshot, cache.sha256(folder / "text_encoder" / "model.safetensors"))
    assert torch.equal(text.empty_text(snapshot), first)
    (kept,) = (cache.folder() / "empty_text").iterdir()
    kept.write_bytes(b"damaged")
    with pytest.raises(WeightsError, match="download it again"):
        text.empty_text(snapshot)
    assert not kept.exists()  # what is not there, a download fetches


@pytest.mark.parametrize("shape", [(2, 24), (1, 77, 24)])
def test_an_array_given_by_path_goes_first(folder, tmp_path, shape):
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float16)
    np.save(tmp_path / "text.npy", x)
    found = text.empty_text(folder, tmp_path / "text.npy")
    assert found.dtype == torch.float32
    assert found.shape == (1, *shape[-2:])
    assert torch.equal(found.flatten(), torch.from_numpy(x).float().flatten())


def test_a_folder_without_text_has_none(tmp_path):
    assert text.empty_text(tmp_path) is None


def test_without_tokenizer_the_tokens_are_stable_diffusions(tmp_path):
    assert text.token_ids(tmp_path) == (49406, 49407, 0)


@pytest.mark.parametrize(
    ("name", "x"),
    [
        ("objects.npy", np.array([{}])),
        ("flat.npy", np.zeros(5, np.float32)),
        ("words.npy", np.array(["a"])),
        ("nan.npy", np.full((2, 4), np.nan, np.float32)),
        ("missing.npy", None),
        ("other.safetensors", None),
    ],
)
def test_arrays_that_are_none_are_an_error_of_one_line(tmp_path, name, x):
    if x is not None:
        np.save(tmp_path / name, x)
    elif name.startswith("other"):
        save_file({"text": torch.zeros(1, 2, 4)}, tmp_path / name)
    with pytest.raises(WeightsError, match=name) as error:
        text.empty_text(tmp_path, tmp_path / name)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("file", "content", "found"),
    [
        ("text_encoder/config.json", '{"num_hidden_layers": 1000000000}', "at most are built"),
        (
            "text_encoder/config.json",
            '{"hidden_size": 30, "num_attention_heads": 7}',
            "cannot be built|can be",
        ),
        ("text_encoder/config.json", "{}", "do not fit"),
        ("text_encoder/config.json", "[", "no JSON"),
        ("tokenizer/vocab.json", "{}", "vocab.json lacks"),
        ("tokenizer/vocab.json", '{"!": 0, "<|startoftext|>": 97, "<|endoftext|>": 99}', "not among its 99"),
        ("text_encoder/model.safetensors", "x", "damaged"),
    ],
)
def test_damaged_encoders_are_an_error_of_one_line(folder, file, content, found):
    (folder / file).write_text(content)
    with pytest.raises(WeightsError, match=found) as error:
        text.empty_text(folder)
    assert "\n" not in str(error.value)

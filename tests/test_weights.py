"""Weights come in strictly and safely, or not at all."""

from __future__ import annotations

import json
import pickle

import pytest
import tiny
import torch
from safetensors.torch import load_file, save_file
from torch.testing import assert_close

from leadline import weights
from leadline.errors import WeightsError

FILE = "diffusion_pytorch_model.safetensors"
NETWORKS = {
    "unet": tiny.UNET,
    "plain": tiny.PLAIN_UNET,
    "kl": tiny.AUTOENCODER,
    "tiny": tiny.TINY_AUTOENCODER,
    "blocks": tiny.BLOCKS,
}


@pytest.fixture
def saved(tmp_path):
    """The folder of a small UNet."""
    weights.save_network(weights.build(tiny.PLAIN_UNET), tmp_path / "unet")
    return tmp_path / "unet"


def change(folder, edit):
    state = load_file(folder / FILE)
    edit(state)
    save_file(state, folder / FILE)


@pytest.mark.parametrize("name", NETWORKS)
def test_saved_networks_come_back_equal(name, tmp_path):
    network = weights.build(NETWORKS[name], seed=3)
    weights.save_network(network, tmp_path)
    again = weights.load_network(tmp_path)
    assert type(again) is type(network)
    assert not again.training
    assert list(again.state_dict()) == list(network.state_dict())
    for key, tensor in network.state_dict().items():
        assert torch.equal(again.state_dict()[key], tensor)


@pytest.mark.parametrize("name", ["unet", "plain", "kl", "tiny"])
def test_diffusers_reads_what_is_saved(name, tmp_path):
    network = weights.build(NETWORKS[name])
    weights.save_network(network, tmp_path)
    theirs = type(network).from_pretrained(tmp_path)
    assert all(torch.equal(x, theirs.state_dict()[key]) for key, x in network.state_dict().items())


def test_what_diffusers_saves_is_read(tmp_path):
    network = weights.build(tiny.AUTOENCODER)
    network.save_pretrained(tmp_path)
    assert torch.equal(weights.load_network(tmp_path).quant_conv.weight, network.quant_conv.weight)


def test_half_precision_halves_the_file_and_rounds(tmp_path):
    network = weights.build(tiny.PLAIN_UNET)
    weights.save_network(network, tmp_path / "full")
    weights.save_network(network, tmp_path / "half", fp16=True)
    full, half = ((tmp_path / name / FILE).stat().st_size for name in ("full", "half"))
    assert half < 0.6 * full
    again = weights.load_network(tmp_path / "half")
    assert again.conv_in.weight.dtype == torch.float32
    assert torch.equal(again.conv_in.weight, network.conv_in.weight.half().float())


def test_what_half_precision_cannot_hold_is_refused(tmp_path):
    with pytest.raises(WeightsError, match="big too large for half precision"):
        weights.save_state(
            {"big": torch.tensor([1e6]), "small": torch.ones(1)}, tmp_path / "x.safetensors", fp16=True
        )
    assert list(tmp_path.iterdir()) == []


def test_building_is_seeded_and_leaves_the_callers_random_state_alone():
    before = torch.get_rng_state()
    one, same, other = (weights.build(tiny.PLAIN_UNET, seed).conv_in.weight for seed in (1, 1, 2))
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_options_that_do_not_exist_are_refused_in_recipes_and_left_out_of_files(tmp_path):
    with pytest.raises(WeightsError, match="no option 'layer_per_block': did you mean 'layers_per_block'"):
        weights.build(tiny.PLAIN_UNET | {"layer_per_block": 1})
    weights.save_network(weights.build(tiny.PLAIN_UNET), tmp_path)
    config = weights.read_json(tmp_path / "config.json")
    (tmp_path / "config.json").write_text(json.dumps(config | {"of_another_version": 1}))
    weights.load_network(tmp_path)


def test_a_tiny_autoencoder_whose_blocks_do_not_fit_together_is_refused():
    config = {"_class_name": "AutoencoderTiny", "decoder_block_out_channels": [16, 8, 8]}
    with pytest.raises(WeightsError, match=r"decoder_block_out_channels is \[16, 8, 8\].*one width"):
        weights.build(config)


def test_loading_leaves_the_random_state_alone(saved):
    before = torch.get_rng_state()
    weights.load_network(saved)
    assert torch.equal(before, torch.get_rng_state())


def test_differences_are_named_in_groups_and_in_one_line(saved):
    def edit(state):
        for name in [n for n in state if n.startswith("mid_block.")]:
            del state[name]
        state["conv_in.weight"] = torch.zeros(16, 8, 3, 3)
        state["text_model.embedding"] = torch.zeros(2)

    change(saved, edit)
    with pytest.raises(WeightsError) as error:
        weights.load_network(saved)
    text = str(error.value)
    assert "\n" not in text
    assert "missing: mid_block." in text
    assert "* (" in text
    assert "1 unexpected: text_model.embedding" in text
    assert "conv_in.weight [16, 8, 3, 3] for [16, 48, 3, 3]" in text
    assert len(text) < 500 + len(str(saved))


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_values_that_are_not_finite_are_found(saved, value):
    change(saved, lambda state: state["conv_out.bias"].fill_(value))
    with pytest.raises(WeightsError, match=r"conv_out\.bias not finite, the file may be damaged"):
        weights.load_network(saved)


@pytest.mark.parametrize("keep", [0, 7, 100, 5000])
def test_truncated_files_are_an_error_of_one_line(saved, keep):
    data = (saved / FILE).read_bytes()
    (saved / FILE).write_bytes(data[:keep])
    with pytest.raises(WeightsError, match="damaged"):
        weights.load_network(saved)


def test_pickled_weights_are_read_without_running_them(saved):
    state = load_file(saved / FILE)
    (saved / FILE).unlink()
    torch.save(state, saved / "diffusion_pytorch_model.bin")
    assert_close(weights.load_network(saved).conv_in.weight, state["conv_in.weight"])


class Trap:
    fired = False

    def __reduce__(self):
        return (setattr, (Trap, "fired", True))


@pytest.mark.parametrize(
    "save",
    [torch.save, lambda x, f: f.write_bytes(pickle.dumps(x, 2)), lambda x, f: f.write_bytes(pickle.dumps(x))],
)
def test_code_in_a_checkpoint_does_not_run(saved, save):
    (saved / FILE).unlink()
    save({"conv_in.weight": Trap()}, saved / "diffusion_pytorch_model.bin")
    with pytest.raises(WeightsError, match="not read|damaged"):
        weights.load_network(saved)
    assert not Trap.fired


@pytest.mark.parametrize("variant", ["", ".fp16", ".non_ema"])
@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
def test_every_form_of_weights_is_read(saved, variant, suffix):
    state = load_file(saved / FILE)
    (saved / FILE).unlink()
    file = saved / f"diffusion_pytorch_model{variant}.{suffix}"
    torch.save(state, file) if suffix == "bin" else save_file(state, file)
    again = weights.load_network(saved).state_dict()
    assert all(torch.equal(again[name], x) for name, x in state.items())


def test_full_precision_goes_before_variants(saved):
    state = load_file(saved / FILE)
    (saved / FILE).unlink()
    save_file(
        {name: x.half() for name, x in state.items()}, saved / "diffusion_pytorch_model.fp16.safetensors"
    )
    half = weights.load_network(saved).conv_in.weight
    assert torch.equal(half, state["conv_in.weight"].half().float())
    torch.save(state, saved / "diffusion_pytorch_model.bin")
    assert torch.equal(weights.load_network(saved).conv_in.weight, state["conv_in.weight"])


@pytest.mark.parametrize("index", [True, False])
def test_shards_are_joined_with_or_without_their_index(saved, index):
    network = weights.load_network(saved)
    (saved / FILE).unlink()
    network.save_pretrained(saved, max_shard_size="100KB")
    assert len(list(saved.glob("*-of-*.safetensors"))) > 2
    if not index:
        (saved / f"{FILE}.index.json").unlink()
    again = weights.load_network(saved).state_dict()
    assert all(torch.equal(again[name], x) for name, x in network.state_dict().items())


def test_the_old_format_of_torch_is_read(saved):
    state = load_file(saved / FILE)
    (saved / FILE).unlink()
    file = saved / "diffusion_pytorch_model.bin"
    torch.save(state, file, _use_new_zipfile_serialization=False)
    assert torch.equal(weights.load_network(saved).conv_in.weight, state["conv_in.weight"])


def test_safetensors_go_first(saved):
    before = weights.load_network(saved).state_dict()
    (saved / "diffusion_pytorch_model.bin").write_bytes(b"never looked at")
    after = weights.load_network(saved).state_dict()
    assert all(torch.equal(after[name], weight) for name, weight in before.items())


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("{", "no JSON"),
        ("[]", "JSON object"),
        ("{}", "class 'None' is unknown"),
        ('{"_class_name": "os.system"}', "class 'os.system' is unknown"),
        ('{"_class_name": "UNet2Model"}', "did you mean 'UNet2DModel'"),
        ('{"_class_name": "UNet2DModel", "block_out_channels": [7]}', "cannot be built"),
    ],
)
def test_bad_configurations_are_an_error_of_one_line(saved, text, found):
    (saved / "config.json").write_text(text)
    with pytest.raises(WeightsError, match=found) as error:
        weights.load_network(saved)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["config.json", FILE])
def test_missing_files_are_named(saved, name):
    (saved / name).unlink()
    with pytest.raises(WeightsError, match=name.split(".")[0]):
        weights.load_network(saved)


@pytest.mark.parametrize("flat", [True, False])
def test_old_names_of_attention_are_understood(tmp_path, flat):
    network = weights.build(tiny.AUTOENCODER)
    weights.save_network(network, tmp_path)
    new_to_old = {new: old for old, new in weights.OLD_ATTENTION.items()}

    def rename(state):
        for name in list(state):
            for new, old in new_to_old.items():
                if f".{new}." in name and "attentions" in name:
                    x = state.pop(name)
                    kernel = x if flat or x.dim() == 1 else x[:, :, None, None]
                    state[name.replace(f".{new}.", f".{old}.")] = kernel.contiguous()

    change(tmp_path, rename)
    assert any(".proj_attn." in name for name in load_file(tmp_path / FILE))
    again = weights.load_network(tmp_path).state_dict()
    assert all(torch.equal(again[name], x) for name, x in network.state_dict().items())


def test_old_names_elsewhere_are_left_alone():
    state = {"query.weight": torch.zeros(1), "encoder.query.weight": torch.zeros(1)}
    assert list(weights.rename_old_attention(state)) == list(state)

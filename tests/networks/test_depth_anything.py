"""Depth Anything's networks: sizes, all layouts of files, and what is refused in strangers' folders."""

from __future__ import annotations

import json

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from tiny_depth_anything import VARIANTS, authors, card, made, output, pictures

from leadline.errors import LeadlineError, WeightsError
from leadline.methods.depth_anything import Config, DepthAnything
from leadline.networks import depth_anything as networks
from leadline.networks.depth_anything import FILE


@pytest.fixture(params=VARIANTS)
def model(request) -> DepthAnything:
    return made(**VARIANTS[request.param])


def test_networks_have_the_published_sizes_and_read_the_published_layers():
    millions = {"small": 24.8, "base": 97.5, "large": 335.3}  # the authors' table
    for encoder, wanted in millions.items():
        with torch.device("meta"):
            network = networks.build(networks.architecture(encoder))
        assert round(sum(p.numel() for p in network.parameters()) / 1e6, 1) == wanted
    taps = {
        (encoder, version): networks.architecture(encoder, version)["backbone_config"]["out_indices"]
        for encoder in ("small", "large")
        for version in (1, 2)
    }
    assert taps["small", 1] == [9, 10, 11, 12]
    assert taps["small", 2] == [3, 6, 9, 12]
    assert taps["large", 1] == [21, 22, 23, 24]
    assert taps["large", 2] == [5, 12, 18, 24]


def test_transformers_reads_and_writes_our_folders(model, tmp_path):
    model.save(tmp_path / "ours")
    kind = transformers.DepthAnythingForDepthEstimation
    theirs, report = kind.from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not any(report[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    theirs.save_pretrained(tmp_path / "theirs")
    own = model.config.model_dump(exclude_defaults=True, include={"version", "max_depth_m"})
    again = DepthAnything.load(tmp_path / "theirs", model.card.model_copy(update={"config": own}))
    rgb = pictures()
    assert torch.equal(output(model, rgb), output(again, rgb))


def test_names_of_transformers_in_memory_are_read_too(tmp_path):
    model = made()
    model.save(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save(model.network.state_dict(), tmp_path / "pytorch_model.bin")
    rgb = pictures()
    assert torch.equal(output(DepthAnything.load(tmp_path), rgb), output(model, rgb))


def test_a_config_of_the_authors_hub_mixin_is_no_hindrance(tmp_path):
    torch.save(authors().state_dict(), tmp_path / "pytorch_model.bin")
    (tmp_path / "config.json").write_text('{"encoder": "vits", "features": 64, "use_bn": false}')
    assert DepthAnything.load(tmp_path, card()).config.version == 2


def test_published_configs_hold_nulls_and_options_that_must_not_be_followed(tmp_path):
    made().save(tmp_path)
    stored = json.loads((tmp_path / "config.json").read_text())
    elsewhere = {"backbone": "somebody/network", "use_pretrained_backbone": True, "use_timm_backbone": True}
    changed = stored | {"max_depth": None} | elsewhere
    (tmp_path / "config.json").write_text(json.dumps(changed))
    assert torch.equal(
        output(DepthAnything.load(tmp_path), pictures()[:1] * 0), output(made(), pictures()[:1] * 0)
    )


class Payload:
    def __reduce__(self):
        return print, ("this must never run",)


def config(folder, **changes):
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def weights_in(folder, name, change=lambda state: state):
    """The weights in another form: torch's own, or safetensors, with other contents perhaps."""
    state = change(load_file(folder / FILE))
    (folder / FILE).unlink()
    torch.save(state, folder / name) if name.endswith((".bin", ".pth")) else save_file(state, folder / name)


def sharded(folder):
    network = transformers.DepthAnythingForDepthEstimation.from_pretrained(folder)
    (folder / FILE).unlink()
    network.save_pretrained(folder, max_shard_size="30KB")
    assert len(list(folder.glob("model-*-of-*.safetensors"))) > 1


FORMS = {
    "shards": sharded,
    "variant": lambda folder: weights_in(folder, "model.fp16.safetensors"),
    "torch's": lambda folder: weights_in(folder, "pytorch_model.bin"),
    "torch's variant": lambda folder: weights_in(folder, "pytorch_model.fp16.bin"),
    "one .pth": lambda folder: weights_in(folder, "anything.pth"),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_weights_is_read(form, tmp_path):
    model, rgb = made(), pictures()
    model.save(tmp_path)
    FORMS[form](tmp_path)
    assert torch.equal(output(DepthAnything.load(tmp_path), rgb), output(model, rgb))


def without(folder, name):
    (folder / name).unlink()


def two_files(folder):
    without(folder, FILE)
    for name in "ab":
        torch.save(authors().state_dict(), folder / f"{name}.pth")


def whole_numbers(state):
    return {name: x.int() if name == "head.conv3.bias" else x for name, x in state.items()}


def one_number_for_three(state):
    return {**authors().state_dict(), "pretrained.blocks.0.attn.qkv.weight": torch.ones(())}


SPOILT = {
    "nothing": (lambda folder: without(folder, FILE), "0 .pth files, and no other weights"),
    "two": (two_files, "2 .pth files"),
    "payload": (
        lambda folder: weights_in(folder, "pytorch_model.bin", lambda _: {"head.conv1.weight": Payload()}),
        "holds more than tensors",
    ),
    "truncated": (
        lambda folder: (folder / FILE).write_bytes((folder / FILE).read_bytes()[:-100]),
        "damaged or no weights file",
    ),
    "types": (lambda folder: weights_in(folder, "model.bin", whole_numbers), "head.conv3.bias torch.int32"),
    "joint": (lambda folder: weights_in(folder, "a.pth", one_number_for_three), "unexpected: .*qkv.weight"),
    "another": (lambda folder: config(folder, model_type="zoedepth"), "describes 'zoedepth'"),
    "backbone": (lambda folder: config(folder, backbone_config={"model_type": "swin"}), "on 'swin'"),
    "no backbone": (lambda folder: config(folder, backbone_config=None), "on None"),
    "numbers": (lambda folder: config(folder, neck_hidden_sizes=[0, -1, 2, 3]), "cannot be built"),
    "shapes": (lambda folder: config(folder, fusion_hidden_size=4), "of another shape"),
}


@pytest.mark.parametrize("how", SPOILT)
def test_damaged_and_hostile_folders_end_in_one_line(how, tmp_path, capfd):
    spoil, words = SPOILT[how]
    made().save(tmp_path)
    spoil(tmp_path)
    with pytest.raises(LeadlineError, match=words) as caught:
        DepthAnything.load(tmp_path)
    assert "\n" not in str(caught.value)
    assert "never run" not in capfd.readouterr().out


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [({"fusion_size": 8}, "fusion_hidden_size"), ({"backbone_config": {"heads": 2}}, "num_attention_heads")],
)
def test_unknown_options_of_the_network_are_refused(wrong, hint):
    with pytest.raises(WeightsError, match=hint):
        DepthAnything.random(Config(network=wrong))

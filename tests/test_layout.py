"""Of the forms in which weights are published, one is taken; strangers' names are never followed."""

from __future__ import annotations

import pytest

from leadline import layout
from leadline.errors import WeightsError

STEM = "diffusion_pytorch_model"


@pytest.mark.parametrize(
    ("names", "variant", "taken"),
    [
        ([f"{STEM}.bin", f"{STEM}.safetensors"], None, [f"{STEM}.safetensors"]),
        ([f"{STEM}.fp16.safetensors", f"{STEM}.bin"], None, [f"{STEM}.bin"]),
        ([f"{STEM}.fp16.bin", f"{STEM}.fp16.safetensors"], None, [f"{STEM}.fp16.safetensors"]),
        ([f"{STEM}.fp16.safetensors", f"{STEM}.safetensors"], "fp16", [f"{STEM}.fp16.safetensors"]),
        ([f"{STEM}.safetensors"], "fp16", [f"{STEM}.safetensors"]),
        ([f"{STEM}.non_ema.safetensors", f"{STEM}.fp16.bin"], None, [f"{STEM}.fp16.bin"]),
        (["pytorch_model.bin"], None, ["pytorch_model.bin"]),
        (["model.safetensors", "pytorch_model.bin", "flax_model.msgpack"], None, ["model.safetensors"]),
        (
            ["model-00002-of-00002.safetensors", "model-00001-of-00002.safetensors"],
            None,
            ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"],
        ),
        (
            ["model-00001-of-00001.fp16.safetensors", "model.fp16-00001-of-00002.safetensors"],
            "fp16",
            ["model-00001-of-00001.fp16.safetensors"],
        ),
        (["model-00001-of-00002.safetensors", "model.bin"], None, ["model.bin"]),
        (["model-00000-of-00000.bin", "model-00002-of-00002.bin"], None, []),
        (["config.json", "model.safetensors.index.json", "my_model.bin", "model.bin.exe"], None, []),
    ],
)
def test_one_form_is_taken(names, variant, taken):
    assert layout.weights_of(names, variant) == taken
    assert layout.weights_of(reversed(names), variant) == taken


@pytest.mark.parametrize(
    "name",
    [
        "../a.json",
        "/a.json",
        "unet/../../a.json",
        "unet//a.json",
        "unet/.hidden.json",
        "a\\b.json",
        "C:/a.json",
    ]
    + ["unet/a.json\n", "unet/model.bin\0", "~/a.json", "pipeline.py", "run.sh", "a.pkl", "model.onnx", ""],
)
def test_names_that_lead_elsewhere_and_code_are_not_needed(name):
    assert layout.needed([name, "unet/config.json"]) == ["unet/config.json"]


def test_patterns_choose_folders_and_a_variant_must_exist_somewhere():
    names = [
        "unet/config.json",
        "unet/model.fp16.bin",
        "unet/model.bin",
        "vae/model.bin",
        "other/config.json",
    ]
    patterns = ["unet/*", "vae/*"]
    assert layout.needed(names, patterns) == ["unet/config.json", "unet/model.bin", "vae/model.bin"]
    chosen = layout.needed(names, patterns, "fp16")
    assert chosen == ["unet/config.json", "unet/model.fp16.bin", "vae/model.bin"]
    with pytest.raises(WeightsError, match="no weights of variant 'bf16'"):
        layout.needed(names, patterns, "bf16")


def test_an_authors_own_file_is_needed_only_by_its_very_name():
    names = ["PrimeDepth.ckpt", "other.ckpt", "run.py"]
    assert layout.needed(names, ["PrimeDepth.ckpt", "run.py"]) == ["PrimeDepth.ckpt"]
    assert layout.needed(names, ["*.ckpt"]) == layout.needed(names) == []


def test_gaps_name_what_an_interrupted_download_lacks():
    names = ["config.json", "unet/config.json", "unet/model-00001-of-00002.bin", "vae/model.bin"]
    assert layout.gaps(names, ["unet/*", "vae/*", "scheduler/*", "model_index.json"]) == [
        "scheduler/*",
        "weights",
        "weights in unet",
    ]

"""Damaged and hostile checkpoints end in one line each; nothing in them is run, and nothing explodes."""

from __future__ import annotations

import shutil
import subprocess
import sys

import hostile
import published
import pytest
import torch

import leadline
from leadline.errors import LeadlineError

CARD = "marigold-e2e-ft-depth"
FOUND = {  # what some of the lines must say
    "payload_in_a_zip": "holds more than tensors and is not read: ask for safetensors",
    "a_key_that_crashes_python": "nested beyond any checkpoint's depth",
    "a_zip_bomb": "unpacks to 30.0 MB",
    "a_zip_whose_entries_overlap": "unpacks to 5.0 MB",
    "a_view_of_ten_billion_numbers": "conv_out.bias is no plain tensor",
    "a_pointer_of_git_lfs": "git lfs pull",
    "not_a_number": "conv_out.bias not finite",
    "too_large_for_float32": "conv_out.bias not finite",
    "integers_for_weights": "conv_out.bias torch.int8, torch.float32 is needed",
    "another_shape": r"conv_in.weight \[16, 4, 3, 3\] for \[16, 8, 3, 3\]",
    "a_tensor_missing": "1 missing: conv_out.bias",
    "thousands_of_names": "5000 unexpected",
    "an_index_that_points_elsewhere": "no weights",
    "an_index_with_absolute_paths": "no weights",
    "a_shard_missing": "no weights, or not all shards",
    "one_name_in_two_shards": "in two shards",
    "a_class_of_the_systems": "class 'os.system' is unknown",
    "a_billion_layers": "layers_per_block is 1000000000, 64 at most",
    "a_config_of_a_gigabyte": "larger than 16 MB",
    "a_schedule_of_a_trillion_steps": "no trained one has",
    "an_autoencoder_for_a_unet": "unet/config.json: network class 'AutoencoderKL' belongs elsewhere",
    "a_unet_for_an_autoencoder": "vae/config.json: network class 'UNet2DConditionModel' belongs elsewhere",
    "a_unet_that_never_saw_a_picture": "makes 4 channels of 4, with latents of 4 .* must make 4 of 8",
    "a_unet_that_gives_three_channels": "makes 3 channels of 8, with latents of 4 .* must make 4 of 8",
    "a_unet_that_wants_to_know_a_class": "num_class_embeds, latents and a text are all it gets",
    "an_autoencoder_of_other_latents": "with latents of 16 channels it must make 16 of 32",
    "a_text_encoder_of_another_model": "empty prompt has 32 channels, this UNet reads 24",
    "a_prompt_without_its_end": "empty prompt has 1 tokens, this UNet needs 2",
}


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    return published.stable_diffusion(tmp_path_factory.mktemp("good") / "model")


@pytest.fixture
def folder(good, tmp_path):
    return shutil.copytree(good, tmp_path / "model")


def load(folder):
    card = None if (folder / "card.yaml").exists() else CARD
    return leadline.load(folder, device="cpu", card=card)


def test_the_folder_is_good_before_it_is_spoilt(folder):
    (folder / "pipeline.py").write_text("raise SystemExit")  # of published folders: never imported
    assert load(folder).card.name == CARD


@pytest.mark.parametrize("name", hostile.TRICKS)
def test_a_spoilt_checkpoint_ends_in_one_line(name, folder, tmp_path):
    hostile.TRICKS[name](folder)
    with pytest.raises(LeadlineError, match=FOUND.get(name, ".")) as error:
        load(folder)
    line = str(error.value)
    assert line.isprintable()
    assert len(line) < 700 + 3 * len(str(folder))
    assert not (tmp_path / "fired").exists()


def test_the_payloads_would_fire(folder, tmp_path):
    """Else the tests above prove nothing."""
    hostile.payloads.payload_in_a_zip(folder)
    torch.load(folder / hostile.BIN, weights_only=False)
    assert (tmp_path / "fired").exists()


@pytest.mark.slow
def test_the_crash_is_one(folder):
    """Without the look at its depth, this pickle ends Python itself."""
    hostile.payloads.a_key_that_crashes_python(folder)
    code = f"import torch; torch.load({str(folder / hostile.BIN)!r}, weights_only=True)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode < 0


def test_there_are_thirty_of_them():
    assert len(hostile.TRICKS) >= 30
    assert set(FOUND) <= set(hostile.TRICKS)

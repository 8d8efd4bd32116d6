"""Folders whose files lead elsewhere, are none, or do not go together."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import tiny
import torch
from safetensors.torch import load_file

from hostile.tools import FILE, config, trick
from leadline import weights


@trick
def an_index_that_points_elsewhere(folder: Path) -> None:
    secret = folder.parent / "secret.safetensors"
    (folder / FILE).rename(secret)
    names = dict.fromkeys(load_file(secret), f"../../{secret.name}")
    (folder / f"{FILE}.index.json").write_text(json.dumps({"weight_map": names}))


@trick
def an_index_with_absolute_paths(folder: Path) -> None:
    secret = folder.parent / "secret.safetensors"
    (folder / FILE).rename(secret)
    names = dict.fromkeys(load_file(secret), str(secret))
    (folder / f"{FILE}.index.json").write_text(json.dumps({"weight_map": names}))


@trick
def a_shard_missing(folder: Path) -> None:
    (folder / FILE).rename(folder / FILE.replace(".safetensors", "-00001-of-00002.safetensors"))


@trick
def one_name_in_two_shards(folder: Path) -> None:
    data = (folder / FILE).read_bytes()
    (folder / FILE).unlink()
    for number in (1, 2):
        (folder / FILE.replace(".safetensors", f"-0000{number}-of-00002.safetensors")).write_bytes(data)


@trick
def a_folder_for_a_file(folder: Path) -> None:
    (folder / FILE).unlink()
    (folder / FILE).mkdir()


@trick
def a_link_to_an_endless_device(folder: Path) -> None:
    (folder / FILE).unlink()
    (folder / FILE).symlink_to("/dev/zero")


@trick
def a_pipe_that_never_speaks(folder: Path) -> None:
    (folder / FILE).unlink()
    os.mkfifo(folder / FILE)


@trick
def a_config_that_is_a_pipe(folder: Path) -> None:
    (folder / "unet/config.json").unlink()
    os.mkfifo(folder / "unet/config.json")


@trick
def a_class_of_the_systems(folder: Path) -> None:
    config(folder, _class_name="os.system")


@trick
def a_billion_layers(folder: Path) -> None:
    config(folder, layers_per_block=10**9)


@trick
def a_thousand_blocks(folder: Path) -> None:
    config(folder, down_block_types=["DownBlock2D"] * 1000, block_out_channels=[32] * 1000)


@trick
def channels_without_end(folder: Path) -> None:
    config(folder, block_out_channels=[2**40, 2**41])


@trick
def words_for_numbers(folder: Path) -> None:
    config(folder, block_out_channels="many", norm_num_groups=None)


@trick
def no_blocks(folder: Path) -> None:
    config(folder, down_block_types=[], up_block_types=[], block_out_channels=[])


@trick
def a_config_too_deep(folder: Path) -> None:
    (folder / "unet/config.json").write_text("[" * 200_000)


@trick
def a_config_of_a_gigabyte(folder: Path) -> None:
    with (folder / "unet/config.json").open("r+b") as file:
        file.truncate(10**9)  # takes no space on the disk


@trick
def a_config_in_another_alphabet(folder: Path) -> None:
    (folder / "unet/config.json").write_bytes(b"\xff\xfe{\x00}\x00")


@trick
def a_schedule_of_a_trillion_steps(folder: Path) -> None:
    config(folder, "scheduler/scheduler_config.json", num_train_timesteps=10**12)


@trick
def a_schedule_of_words(folder: Path) -> None:
    config(folder, "scheduler/scheduler_config.json", beta_start="os.system")


@trick
def a_card_with_code(folder: Path) -> None:
    fired = folder.parent / "fired"
    (folder / "card.yaml").write_text(f"name: !!python/object/apply:os.system ['touch {fired}']\n")


@trick
def a_card_that_laughs(folder: Path) -> None:
    lines = ["a0: &a0 [ha, ha]", *(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 40))]
    (folder / "card.yaml").write_text("\n".join(lines))


@trick
def a_card_of_no_method(folder: Path) -> None:
    (folder / "card.yaml").write_text("{name: a, method: 'os:system', kind: normals}")


@trick
def an_autoencoder_for_a_unet(folder: Path) -> None:
    shutil.rmtree(folder / "unet")
    shutil.copytree(folder / "vae", folder / "unet")


@trick
def a_unet_for_an_autoencoder(folder: Path) -> None:
    shutil.rmtree(folder / "vae")
    shutil.copytree(folder / "unet", folder / "vae")


@trick
def a_unet_that_never_saw_a_picture(folder: Path) -> None:
    network(folder / "unet", tiny.UNET | {"in_channels": 4})


@trick
def a_unet_that_gives_three_channels(folder: Path) -> None:
    network(folder / "unet", tiny.UNET | {"out_channels": 3})


@trick
def a_unet_that_wants_to_know_a_class(folder: Path) -> None:
    network(folder / "unet", tiny.UNET | {"num_class_embeds": 10})


@trick
def an_autoencoder_of_other_latents(folder: Path) -> None:
    network(folder / "vae", tiny.AUTOENCODER | {"latent_channels": 16})


@trick
def a_text_encoder_of_another_model(folder: Path) -> None:
    prompt(folder, 2, 32)


@trick
def a_prompt_without_its_end(folder: Path) -> None:
    prompt(folder, 1, 24)


def network(folder: Path, config: dict[str, Any]) -> None:
    """Another network, whole and sound, in place of the folder's."""
    shutil.rmtree(folder)
    weights.save_network(weights.build(config), folder)


def prompt(folder: Path, tokens: int, channels: int) -> None:
    weights.save_state({"empty_text": torch.zeros(1, tokens, channels)}, folder / "empty_text.safetensors")

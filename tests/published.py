"""Folders as the makers of published models lay them out, with tiny networks in place of large ones."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import tiny
import tiny_geowizard
import tiny_primedepth
import torch
from safetensors.torch import load_file, save_file
from tiny_depth_anything import NETWORK
from transformers import CLIPTextConfig, CLIPTextModel

from leadline import weights
from leadline.cards import Card, Ingredient
from leadline.networks import depth_anything

COMMIT = "5ea" + "0" * 37
SCHEDULER: dict[str, Any] = {
    "_class_name": "DDIMScheduler",
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "v_prediction",
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
}
TEXT_ENCODER: dict[str, Any] = {
    "hidden_size": 24,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "hidden_act": "gelu",
    "vocab_size": 64,
    "max_position_embeddings": 77,
}
VOCABULARY = {"!": 0, "<|startoftext|>": 5, "<|endoftext|>": 6}


def stable_diffusion(folder: Path) -> Path:
    """A folder of Marigold's kind, whose index names the wrong pipeline, as some published ones do."""
    for name, config, prefix in (("unet", tiny.UNET, "unet."), ("vae", tiny.AUTOENCODER, "vae.")):
        network = weights.build(config)
        tiny.fill(network, prefix)
        weights.save_network(network, folder / name)
    _json(folder / "scheduler/scheduler_config.json", SCHEDULER)
    _json(folder / "model_index.json", {"_class_name": "StableDiffusionPipeline"})
    _json(folder / "text_encoder/config.json", TEXT_ENCODER)
    encoder = CLIPTextModel(CLIPTextConfig(**TEXT_ENCODER)).state_dict()
    state = {name: tiny.named(name, tuple(x.shape)) for name, x in encoder.items()}
    save_file(state, folder / "text_encoder/model.safetensors")
    two_words(folder)
    return folder


def transformers(folder: Path, config: dict[str, Any]) -> Path:
    """A folder of Depth Anything, for a card's config."""
    published = depth_anything.architecture(config["encoder"], config["version"], config.get("max_depth_m"))
    inner = published["backbone_config"] | NETWORK["backbone_config"]
    network = depth_anything.build(published | NETWORK | {"backbone_config": inner})
    with torch.no_grad():
        tiny.fill(network, "")
    depth_anything.save(network, folder)
    return folder


def primedepth(folder: Path, config: dict[str, Any]) -> Path:
    """PrimeDepth's checkpoint, converted already: so no network of full size is needed."""
    own = {key: value for key, value in tiny_primedepth.SMALL.items() if key in ("unet", "autoencoder")}
    tiny_primedepth.small(**own, **config, text_tokens=77, refiner_channels=512, classes=150, size={}).save(
        folder
    )
    (folder / "card.yaml").unlink()
    (folder / "PrimeDepth.ckpt").touch()
    return folder


def geowizard(folder: Path, version: str) -> Path:
    """A folder of GeoWizard's first release, as old ones say it; of the second the UNet alone."""
    model = tiny_geowizard.published(version=version)
    if version == "v2":
        weights.save_network(model.unet, folder / "unet_v2")
        return folder
    model.save(folder)
    for name in ("card.yaml", "feature_extractor/preprocessor_config.json"):
        (folder / name).unlink()
    _json(folder / "scheduler/scheduler_config.json", SCHEDULER | {"timestep_spacing": "leading"})
    tower = folder / "image_encoder"
    state = load_file(tower / "model.safetensors")
    places = {"vision_model.embeddings.position_ids": torch.arange(5)[None]}  # that older versions kept
    torch.save(state | places, tower / "pytorch_model.bin")
    (tower / "model.safetensors").unlink()
    config = json.loads((folder / "unet/config.json").read_text())
    _json(folder / "unet/config.json", config | {"decay": 0.9999, "optimization_step": 7000})
    return folder


def two_words(folder: Path) -> None:
    """A tokenizer's files for the prompts of GeoWizard's second release."""
    words = ("indoor", "outdoor", "object", "geometry")
    merges, pieces = [], set()
    for word in words:
        parts = [*word[:-1], f"{word[-1]}</w>"]
        pieces.update(parts)
        left = parts[0]
        for part in parts[1:]:
            merges.append(f"{left} {part}")
            left += part
            pieces.add(left)
    start = max(VOCABULARY.values()) + 1
    vocabulary = VOCABULARY | {piece: start + i for i, piece in enumerate(sorted(pieces))}
    _json(folder / "tokenizer/vocab.json", vocabulary)
    (folder / "tokenizer/merges.txt").write_text("\n".join(["#version: 0.2", *dict.fromkeys(merges)]) + "\n")


def into_cache(card: Card | Ingredient, folder: Path, cache: Path) -> None:
    """Put a folder where the hub's cache would keep the card's model."""
    assert card.hub is not None
    home = cache / f"models--{card.hub.id.replace('/', '--')}"
    (home / "refs").mkdir(parents=True, exist_ok=True)
    (home / "refs" / card.hub.revision).write_text(COMMIT)
    shutil.copytree(folder, home / "snapshots" / COMMIT, dirs_exist_ok=True)


def _json(file: Path, data: dict[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(data))

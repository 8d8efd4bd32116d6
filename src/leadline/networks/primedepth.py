"""PrimeDepth in folders: the prior and what was trained on it, and the authors' checkpoint turned into one.

unet/ vae/ scheduler/          the frozen prior, as diffusers has it
text_encoder/ tokenizer/       where captions can be read; empty_text.safetensors: the empty one, encoded
primedepth/model.safetensors   refiner.*, depth_head.*, segmentation_head.*
card.yaml                      sizes and switches
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

import torch
from torch import Tensor, nn

from leadline import cache, cards, weights
from leadline.cards import Card
from leadline.errors import WeightsError
from leadline.layout import EMPTY_TEXT
from leadline.networks import prompts, stable_diffusion
from leadline.networks.prompts import Prompts
from leadline.save.files import atomic
from leadline.schedule import Schedule
from leadline.weights import primedepth as published
from leadline.weights.primedepth import Checkpoint

log = logging.getLogger(__name__)
OWN = "primedepth/model.safetensors"
Made = TypeVar("Made", bound=nn.Module)

SD_UNET: dict[str, Any] = {
    "_class_name": "UNet2DConditionModel",
    "sample_size": 64,
    "in_channels": 4,
    "out_channels": 4,
    "down_block_types": ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"],
    "up_block_types": ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3,
    "block_out_channels": [320, 640, 1280, 1280],
    "layers_per_block": 2,
    "cross_attention_dim": 1024,
    "attention_head_dim": [5, 10, 20, 20],  # heads, in spite of the name
    "use_linear_projection": True,
}
SD_AUTOENCODER: dict[str, Any] = {
    "_class_name": "AutoencoderKL",
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "block_out_channels": [128, 256, 512, 512],
    "layers_per_block": 2,
    "scaling_factor": 0.18215,
}
SD_TEXT: dict[str, Any] = {  # OpenCLIP ViT-H/14's
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_attention_heads": 16,
    "max_position_embeddings": 77,
    "vocab_size": 49408,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-5,
}


class Build(NamedTuple):
    """Sizes of the networks in a checkpoint that says nothing of them: diffusers' and transformers' words."""

    unet: Mapping[str, Any] = SD_UNET
    autoencoder: Mapping[str, Any] = SD_AUTOENCODER
    text: Mapping[str, Any] = SD_TEXT


def random(kind: type[Made], config: Any, seed: int, empty_text: Tensor | None) -> Made:
    """Networks that a config describes, all drawn from the seed, the text too where none is given."""
    unet, autoencoder = stable_diffusion.build(config, seed)
    if empty_text is None:
        width = cast(Any, unet).config.cross_attention_dim
        generator = torch.Generator().manual_seed(seed)
        empty_text = torch.randn(1, config.text_tokens, width, generator=generator)
    return _drawn(kind, seed, config, unet, autoencoder, empty_text)


def begin(kind: type[Made], folder: Path, config: Any, card: Card, seed: int) -> Made:
    """A new model on the prior in a diffusers folder. Raises WeightsError."""
    unet, autoencoder, schedule, text = stable_diffusion.load(folder, None, config)
    if text is None:
        raise WeightsError(f"{folder}: no text goes with its UNet: {EMPTY_TEXT} or a text encoder is needed")
    there = prompts.find(folder, _layers(config))
    return _drawn(kind, seed, config, unet, autoencoder, text, schedule, card, there)


def at_home(folder: Path, card: Card) -> tuple[Path, Card]:
    """The folder to load from and its card: of the authors' checkpoint, what that is converted to."""
    checkpoints = sorted(folder.glob("*.ckpt"))
    if (folder / OWN).is_file() or len(checkpoints) != 1:
        return folder, card
    folder = _converted(checkpoints[0], card)
    return folder, card.model_copy(update={"config": cards.read(folder / "card.yaml").config})


def load(kind: type[Made], folder: Path, config: Any, card: Card) -> Made:
    """The model of a folder, in float32. Raises WeightsError."""
    unet, autoencoder, schedule, text = stable_diffusion.load(folder, None, config)
    there = _prompts(folder, config)
    stored = card.config.get("text_layer", type(config).model_fields["text_layer"].default)
    if text is None or stored != config.text_layer:
        if there is None:
            raise WeightsError(f"{folder}: no text encoder to encode the empty caption with: fetch it too")
        text = there.encode("")
    with torch.device("meta"):
        made = kind(config, unet, autoencoder, text, schedule, card, there)
    state = weights.load_fitting([folder / OWN], own(made), folder / OWN)
    made.load_state_dict(state, strict=False, assign=True)
    return made.eval()


def save(model: Any, folder: Path, *, fp16: bool = False) -> None:
    """The folder that `load` reads back, but for its card."""
    stable_diffusion.save(model.parts, folder, "PrimeDepth", model.schedule.to_config(), fp16=fp16)
    (folder / OWN).parent.mkdir(parents=True, exist_ok=True)
    weights.save_state(own(model), folder / OWN, fp16=fp16)
    if model.prompts is not None:
        model.prompts.copy_to(folder)


def own(model: nn.Module) -> dict[str, Tensor]:
    """What is not of the prior."""
    prior = ("unet.", "autoencoder.", "slopes")
    return {name: x for name, x in model.state_dict().items() if not name.startswith(prior)}


def convert(
    file: Path,
    folder: Path,
    card: Card,
    *,
    base: Path | None = None,
    fp16: bool = False,
    build: Build | None = None,
) -> list[str]:
    """The authors' checkpoint as a folder; what was found in it and done, in words.

    card: what the checkpoint is; the folder's says what came of it. base: a folder of Stable Diffusion 2.1,
    for the parts that the checkpoint lacks, and for the tokenizer. No code in the checkpoint is run. Raises
    WeightsError where something is missing or too much.
    """
    build, found = build or Build(), published.read(file)
    notes = [_contents(found)]
    networks = {
        name: _part(name, state, config, among, base, file, notes)
        for name, state, config, among in (
            ("unet", found.unet, build.unet, weights.UNETS),
            ("vae", found.vae, build.autoencoder, weights.AUTOENCODERS),
        )
    }
    weights.save_folder(folder, "PrimeDepth", networks, Schedule().to_config(), fp16=fp16)
    _save_text(found, folder, build, base, fp16)
    (folder / OWN).parent.mkdir(parents=True, exist_ok=True)
    card = _as_found(card, found, folder, notes)
    cards.write(card, folder / "card.yaml")
    weights.save_state(found.own, folder / OWN, fp16=fp16)  # last: whoever finds it finds the whole
    return notes


def _as_found(card: Card, found: Checkpoint, folder: Path, notes: list[str]) -> Card:
    """The card of what a checkpoint has turned out to hold; the empty caption is encoded on the way."""
    config, more = dict(card.config), {}
    layers = int(config.get("text_layers", 24))
    if config.get("text_layer") == "last" and found.text_layers < layers:
        more["text_layer"] = "penultimate"
        notes.append(
            f"text_layer penultimate: the last of {layers} layers, which the authors' code reads, is missing"
        )
    if not any(name.startswith("segmentation_head.") for name in found.own):
        more["segmentation"] = "none"
    run = layers if (config | more).get("text_layer") == "last" else layers - 1
    there = prompts.find(folder, run)
    if there is None:
        raise WeightsError(f"{folder}: no text encoder came with the checkpoint: give one with --base")
    weights.save_state({"empty_text": there.encode("")}, folder / EMPTY_TEXT)
    if not there.reads_words:
        notes.append("no tokenizer: captions need one, give a folder of Stable Diffusion 2.1 with --base")
    return card.model_copy(update={"hub": None, "config": config | more})


def _contents(found: Checkpoint) -> str:
    parts = {"labeller": found.own, "unet": found.unet, "vae": found.vae, "text": found.text}
    counts = [f"{name} {len(state)} tensors" if state else f"no {name}" for name, state in parts.items()]
    return ", ".join(counts)


def _part(
    name: str,
    state: weights.State,
    config: Mapping[str, Any],
    among: Any,
    base: Path | None,
    file: Path,
    notes: list[str],
) -> nn.Module:
    """A network of the checkpoint, or where it has none, of the base."""
    if not state:
        if base is None:
            raise WeightsError(f"{file}: has no {name}: give a folder of Stable Diffusion 2.1 with --base")
        notes.append(f"{name} from {base}")
        return weights.load_network(base / name, among)
    network = weights.empty(config, among)
    weights.check_state(state, {n: x.shape for n, x in network.state_dict().items()}, file)
    network.load_state_dict({n: x.float() for n, x in state.items()}, assign=True)
    return network


def _save_text(found: Checkpoint, folder: Path, build: Build, base: Path | None, fp16: bool) -> None:
    """The checkpoint's text encoder with all of its layers, or the base's; the base's tokenizer."""
    if base is not None:
        Prompts(base, 0).copy_to(folder)
    if found.text:
        home = folder / "text_encoder"
        home.mkdir(parents=True, exist_ok=True)
        config = {"architectures": ["CLIPTextModel"], "model_type": "clip_text_model", **build.text}
        with atomic(home / "config.json") as temporary:
            facts = config | {"num_hidden_layers": found.text_layers}
            temporary.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
        weights.save_state(found.text, home / "model.safetensors", fp16=fp16)


def _converted(file: Path, card: Card) -> Path:
    """The folder that a checkpoint is converted to once, beside what else this machine keeps."""
    folder = cache.folder() / "converted" / cache.sha256(file)[:32]
    if not (folder / OWN).is_file():  # written last
        log.warning("%s is converted once, to %s", file, folder)
        for note in convert(file, folder, card):
            log.info("%s", note)
    return folder


def _prompts(folder: Path, config: Any) -> Prompts | None:
    return prompts.find(folder, _layers(config))


def _layers(config: Any) -> int:
    whole: int = config.text_layers
    return whole if config.text_layer == "last" else whole - 1


def _drawn(kind: type[Made], seed: int, *parts: Any) -> Made:
    """With what is not of the prior drawn from the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return kind(*parts)

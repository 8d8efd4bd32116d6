"""GeoWizard in folders, as its makers and diffusers have it.

unet/ vae/ scheduler/     version 2 is published as a UNet alone, in unet_v2/
image_encoder/            v1: CLIP's vision tower, in transformers' layout
domains/                  v2, where we save one: its three prompts, encoded, in place of a text encoder
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from leadline import weights
from leadline.errors import WeightsError
from leadline.networks import conv_in, latent, stable_diffusion
from leadline.networks.geowizard import CLIP_DEVIATION, CLIP_MEAN, DOMAINS, WIDTHS, ImageEncoder
from leadline.networks.prompts import Prompts
from leadline.save.files import atomic
from leadline.schedule import Schedule

TOKENS = 4  # of "indoor geometry": start, two words, end
CLIP_FILE, DOMAINS_FILE = "image_encoder/model.safetensors", "domains/model.safetensors"
CLIP_OPTIONS = (  # that a folder may set
    "hidden_size", "intermediate_size", "projection_dim", "num_hidden_layers", "num_attention_heads",
    "num_channels", "image_size", "patch_size", "hidden_act", "layer_norm_eps",
)  # fmt: skip


class Parts(NamedTuple):
    """A model's folder in memory."""

    unet: nn.Module
    autoencoder: nn.Module
    schedule: Schedule
    image_encoder: ImageEncoder | None  # v1
    domain_texts: Tensor | None  # v2: its prompts encoded [3,N,C], in the order of DOMAINS


def random(config: Any, seed: int) -> Parts:
    """Networks that a config describes, all drawn from the seed; the prompts of version 2 too."""
    unet, autoencoder = stable_diffusion.build(config, seed)
    if config.version == "v1":
        encoder = ImageEncoder(_clip(config.image_encoder, "image_encoder", seed + 2))
        return Parts(unet, autoencoder, Schedule(), encoder, None)
    width = cast(Any, unet).config.cross_attention_dim
    generator = torch.Generator().manual_seed(seed)
    texts = torch.randn(len(DOMAINS), TOKENS, width, generator=generator)
    return Parts(unet, autoencoder, Schedule(), None, texts)


def load(folder: Path, config: Any) -> Parts:
    """The model of a folder, in float32. Parts that it lacks come from the config's `base`. Raises
    WeightsError.
    """
    home = _homes(folder, config.base)
    unet = weights.load_network(folder / config.unet_folder, weights.UNETS)
    return Parts(unet, *_rest(home, config.version))


def begin(folder: Path, config: Any, seed: int) -> Parts:
    """A new model on Stable Diffusion 2 in a folder: its UNet reads two latents, the switcher, and in version
    1 a picture's token in place of a text. What has no counterpart is drawn from the seed.
    """
    parts = _rest(_homes(folder, config.base), config.version)
    autoencoder, _, encoder, texts = parts
    old: Any = weights.load_network(folder / "unet", weights.UNETS)
    wanted = {
        **old.config,
        "_class_name": type(old).__name__,
        "in_channels": 2 * latent.channels(autoencoder),
        "class_embed_type": "projection",
        "projection_class_embeddings_input_dim": WIDTHS[config.version],
        "cross_attention_dim": encoder.width if encoder else cast(Tensor, texts).shape[2],
    }
    unet = weights.build(wanted, seed, weights.UNETS)
    conv_in.widen(old, wanted["in_channels"])  # the bias is left alone
    state = unet.state_dict()
    kept = {name: x for name, x in old.state_dict().items() if state[name].shape == x.shape}
    unet.load_state_dict(state | kept)
    return Parts(unet, *parts)


def save(parts: Parts, folder: Path, scheduler: Mapping[str, Any], *, fp16: bool = False) -> None:
    """The folder that `load` reads back, but for its card; a v1 is one for the authors' program too."""
    index: dict[str, Any] = {}
    if parts.image_encoder is not None:
        index["image_encoder"] = ["transformers", "CLIPVisionModelWithProjection"]
        index["feature_extractor"] = ["transformers", "CLIPImageProcessor"]
        _save_clip(parts.image_encoder.clip, folder, fp16)
    if parts.domain_texts is not None:
        (folder / DOMAINS_FILE).parent.mkdir(parents=True, exist_ok=True)
        weights.save_state({"domain_texts": parts.domain_texts}, folder / DOMAINS_FILE, fp16=fp16)
    networks = {"unet": parts.unet, "vae": parts.autoencoder}
    name = "DepthNormalEstimationPipeline"
    weights.save_folder(folder, name, networks, scheduler, index=index, fp16=fp16)


class _Homes:
    """Where each part lies: in the folder, else in that of the base."""

    def __init__(self, folder: Path, base: Path | None) -> None:
        self.folder, self.base = folder, base

    def of(self, *names: str) -> Path:
        """The folder that has one of these parts. Raises WeightsError."""
        for home in filter(None, (self.folder, self.base)):
            if any((home / name).is_dir() for name in names):
                return home
        asked = f"in {self.folder}" + (f" or {self.base}" if self.base else "")
        raise WeightsError(
            f"no {names[0]} {asked}: name a model that has one, model.base=geowizard-v1 or its folder"
        )


def _homes(folder: Path, base: str | None) -> _Homes:
    return _Homes(folder, weights.find(base) if base else None)


def _rest(home: _Homes, version: str) -> tuple[nn.Module, Schedule, ImageEncoder | None, Tensor | None]:
    """All but the UNet."""
    vae = weights.load_network(home.of("vae") / "vae", weights.AUTOENCODERS)
    file = home.of("scheduler") / "scheduler" / "scheduler_config.json"
    schedule = Schedule.from_config(weights.read_json(file))
    if version == "v1":
        clip = _load_clip(home.of("image_encoder") / "image_encoder")
        return vae, schedule, ImageEncoder(clip), None
    return vae, schedule, None, _domain_texts(home.of("text_encoder", "domains"))


def _domain_texts(folder: Path) -> Tensor:
    """The prompts "indoor geometry" and so on [3,N,C], without padding: the encoder's mask is causal, so that
    the first tokens of a padded prompt are those of it alone. As stored, or encoded now.
    """
    file = folder / DOMAINS_FILE
    if file.is_file():
        state = weights.load_state(file)
        if set(state) != {"domain_texts"} or state["domain_texts"].dim() != 3:
            raise WeightsError(
                f"{file}: holds no encoded prompts, domain_texts [3,N,C]: save the model again"
            )
        return state["domain_texts"].float()
    layers = weights.read_json(folder / "text_encoder" / "config.json").get("num_hidden_layers")
    prompts = Prompts(folder, layers if isinstance(layers, int) else 0)
    return torch.cat([prompts.encode(f"{domain} geometry")[:, :TOKENS] for domain in DOMAINS]).float()


def _clip(config: Mapping[str, Any], where: Path | str, seed: int | None = None) -> nn.Module:
    """CLIP's vision tower by transformers' words, drawn from the seed, or without numbers."""
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection  # seconds, that few runs need

    options = {key: config[key] for key in CLIP_OPTIONS if config.get(key) is not None}
    weights.check_plausible(options, where)
    try:
        if seed is None:
            with torch.device("meta"):
                return cast(nn.Module, CLIPVisionModelWithProjection(CLIPVisionConfig(**options)))
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            return cast(nn.Module, CLIPVisionModelWithProjection(CLIPVisionConfig(**options))).eval()
    except Exception as error:  # a stranger's numbers can fail in any way there is
        raise WeightsError(f"{where}: no CLIP vision tower can be built from it: {error}") from None


def _load_clip(home: Path) -> nn.Module:
    network = _clip(weights.read_json(home / "config.json"), home)

    def named(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: x for name, x in state.items() if not name.endswith("position_ids")}

    expected = network.state_dict()
    network.load_state_dict(
        weights.load_fitting(weights.weights_files(home), expected, home, named), assign=True
    )
    places: Any = cast(Any, network).vision_model.embeddings  # a buffer that no file holds
    count = places.position_embedding.num_embeddings
    places.register_buffer("position_ids", torch.arange(count)[None], persistent=False)
    return network.eval()


def _save_clip(clip: nn.Module, folder: Path, fp16: bool) -> None:
    """CLIP's vision tower and how pictures come to it, as transformers has them."""
    (folder / CLIP_FILE).parent.mkdir(parents=True, exist_ok=True)
    weights.save_state(clip.state_dict(), folder / CLIP_FILE, fp16=fp16)
    config: Any = clip.config
    side = {"height": config.image_size, "width": config.image_size}
    files: dict[str, dict[str, Any]] = {
        "image_encoder/config.json": {
            "architectures": ["CLIPVisionModelWithProjection"],
            "model_type": "clip_vision_model",
            **{key: getattr(config, key) for key in CLIP_OPTIONS},
        },
        "feature_extractor/preprocessor_config.json": {
            "image_processor_type": "CLIPImageProcessor",
            "image_mean": CLIP_MEAN,
            "image_std": CLIP_DEVIATION,
            "crop_size": side,
            "size": {"shortest_edge": config.image_size},
        },
    }
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        with atomic(folder / name) as temporary:
            temporary.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")

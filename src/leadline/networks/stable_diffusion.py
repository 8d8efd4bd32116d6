"""What descends from Stable Diffusion: a UNet that is told the empty prompt, an autoencoder, noise levels,
and the folder that they lie in. `Descendant` is what all methods hold that are built of these.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, Self, get_args

from pydantic import Field
from torch import Tensor, nn

from leadline import cards, presets, weights
from leadline.cards import Card
from leadline.errors import UsageError, WeightsError
from leadline.layout import EMPTY_TEXT
from leadline.networks import conv_in, latent
from leadline.networks import text as prompt
from leadline.networks.banded import specialise_autoencoder
from leadline.networks.one_step import specialise_unet
from leadline.prediction import Kind
from leadline.presets import Preset
from leadline.schedule import PredictionType, Schedule
from leadline.sizes import SizeRule

PIPELINES = {"depth": "MarigoldDepthPipeline", "normals": "MarigoldNormalsPipeline"}  # diffusers'
MORE_INPUTS = ("class_embed_type", "num_class_embeds", "addition_embed_type", "encoder_hid_dim_type")


class Config(presets.Config):
    """What the Config of every method on these networks holds."""

    checkpoint_unet: bool = False  # recompute activations in the backward pass: less memory, same gradients
    text_tokens: Literal[2, 77] = 2  # of the empty prompt: its start and end, or padded
    # diffusers configurations, to start from random weights; saved models have them in their folders
    unet: dict[str, Any] = Field({}, exclude=True)
    autoencoder: dict[str, Any] = Field({}, exclude=True)
    random_seed: int = Field(0, exclude=True)  # of a network that starts random beside loaded ones
    widen: bool = Field(False, exclude=True)  # to train from a UNet that reads fewer latents
    share_bias: bool = Field(False, exclude=True)  # where a UNet is widened: E2E-FT's code halves its bias


class Parts(NamedTuple):
    """A model's folder in memory."""

    unet: nn.Module
    autoencoder: nn.Module
    schedule: Schedule
    empty_text: Tensor | None  # the encoded empty prompt [1,N,C]


class Descendant(nn.Module):
    """What methods on these networks have in common; forward and objective are each method's own.

    A method's constructor takes its config, the `Parts` one by one, and the card. empty_text: the encoded
    empty prompt [1,N,C], None where the UNet reads no text. card: what the weights are.
    """

    presets: ClassVar[Mapping[str, Preset]] = presets.PRESETS
    config: Config
    empty_text: Tensor | None
    steps: int | None = None
    members: int | None = None

    def __init__(
        self,
        config: Config,
        parts: Parts,
        card: Card | None,
        *,
        method: str,
        kind: Kind,
        latents: int = 1,
        tokens: int | None = None,
    ) -> None:
        """latents: how many the UNet reads side by side. tokens: the empty prompt is kept whole, and has at
        least so many; None: the config's `text_tokens` of it are kept. The autoencoder is frozen. Raises
        WeightsError for parts that are not of one model.
        """
        super().__init__()
        unet, autoencoder, schedule, text = parts
        check(unet, autoencoder, text, latents=latents, tokens=tokens or config.text_tokens)
        self.config, self.unet, self.autoencoder, self.schedule = config, unet, autoencoder, schedule
        if text is not None:
            text = (text if tokens else text[:, : config.text_tokens]) if takes_text(unet) else None
        self.register_buffer("empty_text", text, persistent=False)
        self.kind, self.preset = kind, config.preset
        self.card = card or Card(name="untitled", method=method, kind=kind)
        autoencoder.requires_grad_(False)
        if config.checkpoint_unet:
            recompute(unet)

    @property
    def parts(self) -> Parts:
        """What the constructor was given."""
        return Parts(self.unet, self.autoencoder, self.schedule, self.empty_text)

    @property
    def size_rule(self) -> SizeRule:
        """How pictures come in: the preset's rule, the config's changes, sides that the networks can take."""
        return self.preset.size.in_multiples(latent.multiple(self.autoencoder, self.unet))

    def empty_prompt(self, tokens: int | None = None) -> Tensor | None:
        """The encoded empty prompt in so many tokens, by default as many as the config says."""
        return None if self.empty_text is None else self.empty_text[:, : tokens or self.config.text_tokens]

    def output(self, seen: Tensor, t: int | Tensor, text: Tensor | None = None) -> Tensor:
        """What the UNet says to the latents [B,C,h,w] at t and the text [1,N,C], else the empty prompt."""
        return output(self.unet, seen, t, self.empty_prompt() if text is None else text)

    def faster(
        self, timesteps: Sequence[int], *, zero_start: bool = False, mean_channels: bool = False
    ) -> Parts:
        """The parts `for_prediction` with the empty prompt."""
        parts = self.parts._replace(empty_text=self.empty_prompt())
        return for_prediction(parts, timesteps, zero_start=zero_start, mean_channels=mean_channels)

    def with_autoencoder(self, autoencoder: nn.Module) -> Self:
        """The same model with another autoencoder for its latents (else WeightsError); weights are shared."""
        latent.check_alike(self.autoencoder, autoencoder)
        make: Any = type(self)
        made: Self = make(self.config, *self.parts._replace(autoencoder=autoencoder), self.card)
        return made

    def train(self, mode: bool = True) -> Self:
        """Training mode; networks that are frozen stay in evaluation mode."""
        super().train(mode)
        for network in self.children():
            network.train(mode and any(p.requires_grad for p in network.parameters()))
        return self

    @classmethod
    def random(cls, config: Any, seed: int = 0, empty_text: Tensor | None = None) -> Self:
        """From nothing: the networks that the config describes, with weights drawn from the seed."""
        make: Any = cls
        made: Self = make(config, *build(config, seed), empty_text=empty_text)
        return made

    def write(
        self,
        folder: Path,
        class_name: str,
        scheduler: Mapping[str, Any] | None,
        *,
        index: Mapping[str, Any] | None = None,
        fp16: bool = False,
    ) -> None:
        """`save` of the parts, and card.yaml."""
        save(self.parts, folder, class_name, scheduler, index=index, fp16=fp16)
        card = cards.up_to_date(self.card, self.kind, self.config, self.parameters())
        cards.write(card, folder / "card.yaml")


def build(config: Config, seed: int = 0) -> tuple[nn.Module, nn.Module]:
    """The UNet and the autoencoder that a config describes, with weights drawn from the seed."""
    return (
        weights.build(config.unet, seed, weights.UNETS),
        weights.build(config.autoencoder, seed + 1, weights.AUTOENCODERS),
    )


def load(
    folder: Path,
    empty_text: Path | None,
    config: Config,
    *,
    latents: int = 1,
    base: Path | None = None,
    otherwise: Schedule | None = None,
) -> Parts:
    """A diffusers folder, its weights in float32; `empty_text` is a file with the encoded empty prompt, in
    place of the folder's own (leadline.networks.text).

    Networks that the config describes replace the folder's, with random weights; a folder with nothing but
    an autoencoder has Stable Diffusion 2's schedule. latents: how many the UNet is to read side by side; one
    that reads a single one is widened where the config says so (leadline.networks.conv_in). base: the folder
    of a model whose parts serve where this one lacks them; it may then be a UNet alone. otherwise: the
    schedule where there is none. Of one that latents cannot have, what it predicts is kept, and the levels
    are those of `otherwise`. Raises WeightsError or UsageError, one line.
    """

    def home(*names: str) -> Path:
        return folder if base is None or any((folder / name).exists() for name in names) else base

    own = folder / "unet" if home("unet") == folder else folder
    file = home("scheduler") / "scheduler" / "scheduler_config.json"
    otherwise = otherwise or (Schedule() if config.unet and not file.exists() else None)
    parts = Parts(
        _part(own, config.unet, config.random_seed, weights.UNETS),
        _part(home("vae") / "vae", config.autoencoder, config.random_seed + 1, weights.AUTOENCODERS),
        _schedule(file, otherwise),
        prompt.empty_text(home(EMPTY_TEXT, "text_encoder"), empty_text),
    )
    unet: Any = parts.unet
    channels = latent.channels(parts.autoencoder)
    if config.widen and latents > 1 and unet.config.in_channels == channels:
        conv_in.widen(unet, latents * channels, share_bias=config.share_bias)
    return parts


def _part(folder: Path, config: dict[str, Any], seed: int, among: weights.Classes) -> nn.Module:
    return weights.build(config, seed, among) if config else weights.load_network(folder, among)


def _schedule(file: Path, otherwise: Schedule | None) -> Schedule:
    if otherwise is not None and not file.exists():
        return otherwise
    stated = weights.read_json(file)
    try:
        return Schedule.from_config(stated)
    except UsageError:
        if otherwise is None:
            raise
    says = stated.get("prediction_type", "epsilon")  # diffusers' default
    return replace(otherwise, prediction_type=says) if says in get_args(PredictionType) else otherwise


def save(
    parts: Parts,
    folder: Path,
    class_name: str,
    scheduler: Mapping[str, Any] | None,
    *,
    index: Mapping[str, Any] | None = None,
    fp16: bool = False,
) -> None:
    """The folder that `load` reads back; fp16 halves it and rounds. index: more for model_index.json."""
    networks = {"unet": parts.unet, "vae": parts.autoencoder}
    weights.save_folder(folder, class_name, networks, scheduler, index=index, fp16=fp16)
    if parts.empty_text is not None:
        weights.save_state({"empty_text": parts.empty_text}, folder / EMPTY_TEXT, fp16=fp16)


def pipeline_index(target: str, steps: int, resolution: int) -> dict[str, Any]:
    """What diffusers' Marigold pipelines want to know beside their networks, in model_index.json."""
    shifted = {"scale_invariant": True, "shift_invariant": True} if target == "depth" else {}
    return shifted | {
        "prediction_type": target,
        "default_denoising_steps": steps,
        "default_processing_resolution": resolution,
        "text_encoder": [None, None],
        "tokenizer": [None, None],
    }


def for_prediction(
    parts: Parts, timesteps: Sequence[int], *, zero_start: bool = False, mean_channels: bool = False
) -> Parts:
    """The same model, faster, for prediction at these timesteps with the empty text alone; results differ by
    rounding. The UNet has a faster form for one timestep, the autoencoder for any. The weights stay those of
    `parts`; folded ones follow no change of them, so that a model moved to another device or type is made
    anew.

    zero_start: the start latent, the second half of the UNet's input, holds zeros. mean_channels: decoded
    pictures have one channel, the mean of the three. What the fast forms do not cover stays as it is.
    """
    unet: Any = parts.unet
    text = parts.empty_text
    if next(unet.parameters()).device.type == "mps":
        return parts  # it has no float64, in which weights are folded and norms are summed
    if len(timesteps) == 1 and text is not None and takes_text(unet):
        zeros = unet.config.in_channels // 2 if zero_start else 0
        unet = specialise_unet(unet, timesteps[0], text, zero_channels=zeros)
    autoencoder = specialise_autoencoder(parts.autoencoder, mean_channels=mean_channels)
    return parts._replace(unet=unet, autoencoder=autoencoder)


def recompute(network: nn.Module) -> None:
    """Compute activations again in the backward pass. Raises UsageError for a network that cannot."""
    model: Any = network
    if not getattr(model, "_supports_gradient_checkpointing", False):
        name = type(network).__name__
        raise UsageError(f"{name} cannot compute its activations again: leave its checkpointing out")
    model.enable_gradient_checkpointing()


def takes_text(unet: nn.Module) -> bool:
    """Whether it has cross attention."""
    return bool(getattr(unet.config, "cross_attention_dim", None))


def check(
    unet: nn.Module, autoencoder: nn.Module, empty_text: Tensor | None, *, latents: int, tokens: int
) -> None:
    """Raises WeightsError unless they are parts of one model: a UNet that reads so many latents side by side
    and so many tokens of the empty prompt, and gives one latent.
    """
    config: Any = unet.config
    if more := [name for name in MORE_INPUTS if config.get(name) is not None]:
        found = f"the UNet's config sets {', '.join(more)}, latents and a text are all it gets"
        raise WeightsError(f"{found}: use one of Stable Diffusion 2's kind")
    channels = latent.channels(autoencoder)
    reads, gives = config.in_channels, config.out_channels
    if (reads, gives) != (latents * channels, channels):
        raise WeightsError(
            f"the UNet makes {gives} channels of {reads}, with latents of {channels} channels it must make "
            f"{channels} of {latents * channels}: use the UNet and the autoencoder of one model"
        )
    if takes_text(unet):
        _check_text(config.cross_attention_dim, empty_text, tokens)


def _check_text(width: int | tuple[int, ...], empty_text: Tensor | None, tokens: int) -> None:
    stored, found = (0, None) if empty_text is None else empty_text.shape[1:]
    if stored < tokens:
        raise WeightsError(
            f"the encoded empty prompt has {stored} tokens, this UNet needs {tokens}: "
            f"pass empty_text [1,N,C], or keep {EMPTY_TEXT} in the model's folder"
        )
    widths = {width} if isinstance(width, int) else set(width)
    if widths != {found}:
        needed = " and ".join(map(str, sorted(widths)))
        raise WeightsError(
            f"the encoded empty prompt has {found} channels, this UNet reads {needed}: "
            "use the text encoder of the same model"
        )


def output(unet: nn.Module, seen: Tensor, t: int | Tensor, text: Tensor | None) -> Tensor:
    """What the UNet says to the latents [B,C,h,w] at t (one for all, or [B]) and the text [1,N,C] of all."""
    if text is None or not takes_text(unet):
        out: Tensor = unet(seen, t).sample
    else:
        out = unet(seen, t, text.to(seen.dtype).expand(len(seen), -1, -1)).sample
    return out

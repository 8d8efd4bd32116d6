"""PrimeDepth: depth from a frozen diffusion network's preimage, by one pass (Zavadski, Kalsan, Rother).

Sec. 3.2: at the last denoising step, a UNet's features and attention tell all about a picture.   -> refine
Sec. 3.3: a refiner of the decoder's build reads them stage by stage; two heads read the refiner.  -> forward
Sec. 3.4: depth by a loss blind to scale and shift (eq. 3), classes beside it (eq. 4 and 5).       -> loss

Symbols are the paper's: z_0 the picture's latent, z_1 with one step of noise, L_ssi, L_dice, L_focal, lambda.
Where paper and released code differ, the code is followed, but for text_layer, and for sizes: the preset
"primedepth" has the code's, which cut off what is left of a multiple of 8. The networks are in
leadline.networks.preimage and leadline.networks.refiner; the weights as the authors published them in
leadline.networks.primedepth.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Generator, Tensor, nn

from leadline import ade20k, cards, coding, losses, noise
from leadline.cards import Card
from leadline.data.sample import Batch
from leadline.errors import DataError, UsageError, check_shape
from leadline.losses import Loss
from leadline.networks import banded, latent, preimage, prompts, refiner, stable_diffusion
from leadline.networks import primedepth as folders
from leadline.networks.preimage import Maps
from leadline.networks.prompts import Prompts
from leadline.networks.refiner import Watch
from leadline.networks.stable_diffusion import Parts
from leadline.prediction import Kind
from leadline.presets import Percentiles, Preset
from leadline.schedule import Schedule
from leadline.sizes import SizeRule

STEP = 1  # code: the timestep, of noise and of the UNet, counted from 0
MOST_LAMBDA, LEAST_SSI = 1e4, 1e-8  # guards of eq. 5
MEMORY = 0.99  # of the sign of the slopes that the loss has fitted
FIT = SizeRule(1024, multiple=8, pad="replicate", enlarge=False)
REFERENCE = SizeRule(  # code: up to 7 rows and columns are missing below and to the right
    1024, rounding="torchvision", enlarge=False, quantise=True, repeat_edge=True
)
PRESETS = {
    preset.name: preset
    for preset in (Preset("leadline", FIT, stretch=True), Preset("primedepth", REFERENCE, stretch=True))
}


class Config(stable_diffusion.Config):
    """What distinguishes one PrimeDepth from another. Defaults are the paper's model."""

    output_sign: Literal[-1, 1] = 1  # of the raw output: the loss is blind to it; 1: large is near
    # code: last; Stable Diffusion's own: penultimate
    text_layer: Literal["last", "penultimate"] = "penultimate"
    text_tokens: Literal[2, 77] = 77  # code: all of Stable Diffusion's; a constant text needs fewer
    text_layers: int = 24  # of the text encoder, as long as none is cut off
    # released program: a sample of the autoencoder's code, not its mean
    vae_sample: Literal["sample", "mode"] = "sample"
    noise: bool = True  # Sec. 3.3: one step of it; False: none at all, and t = 1 all the same
    # Table 3's switches
    self_attention: bool = True
    cross_attention: bool = True
    features: bool = True
    fusion: Literal["staged", "block"] = "staged"
    segmentation: Literal["train", "keep", "none"] = "train"  # keep: its head is there, and stays as it is
    loss: Literal["pixel", "latent"] = "pixel"
    refiner_ratio: float = Field(0.5, gt=0)  # Sec. 3.3: half the decoder's widths
    refiner_channels: int = Field(512, ge=1)  # Sec. 3.3: read by the heads
    classes: int = Field(len(ade20k.NAMES), ge=2)
    # what the paper leaves open
    focal_reduction: Literal["mean", "sum"] = "mean"  # eq. 4 has the sum, which drowns everything else
    lambda_per: Literal["batch", "image"] = "batch"
    caption_dropout: float = Field(0.0, ge=0, le=1)  # ours: as often, a caption is the empty one in training
    percentiles: Percentiles = (0.02, 0.98)  # latent loss: disparities that become -1 and 1
    checkpoint_refiner: bool = False  # recompute activations in the backward pass: less memory
    checkpoint_heads: bool = False

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not (self.features or self.self_attention or self.cross_attention):
            raise ValueError("features, self_attention and cross_attention are all off: nothing is left")
        return self

    @property
    def presets(self) -> Mapping[str, Preset]:
        """`leadline`: pictures are padded to multiples of 8; `primedepth`: the released program's sizes."""
        return PRESETS


class PrimeDepth(stable_diffusion.Descendant):
    """A frozen UNet and autoencoder, and what is trained: the refiner with its fusion modules, and two heads.

    words: encodes other texts than the empty one, where the model has a text encoder.
    """

    presets: ClassVar = PRESETS
    config: Config
    empty_text: Tensor
    slopes: Tensor

    def __init__(
        self,
        config: Config,
        unet: nn.Module,
        autoencoder: nn.Module,
        empty_text: Tensor,
        schedule: Schedule | None = None,
        card: Card | None = None,
        words: Prompts | None = None,
    ) -> None:
        if config.checkpoint_unet:
            raise UsageError(
                "PrimeDepth's UNet is frozen and keeps no activations: leave out checkpoint_unet"
            )
        parts = Parts(unet, refiner.set_eps(autoencoder), schedule or Schedule(), empty_text)
        super().__init__(config, parts, card, method="primedepth", kind=Kind.affine_disparity)
        self.unet.requires_grad_(False)
        self.prompts = words
        # running mean of their signs; 0: none were fitted yet
        self.register_buffer("slopes", torch.zeros((), device=empty_text.device))
        blocks, channels = preimage.blocks(unet), config.refiner_channels
        maps = Maps(config.self_attention, config.cross_attention * self.empty_text.shape[1])
        plan = refiner.Plan(maps, config.features, config.fusion, config.refiner_ratio, channels)
        made: Any = unet
        embedded, width = made.time_embedding.linear_2.out_features, empty_text.shape[2]
        self.refiner = refiner.Refiner(blocks, plan, embedded, width)
        if config.loss == "pixel":
            self.depth_head = refiner.head(autoencoder, channels, 3)
        else:  # Sec. 3.3: the autoencoder's decoder, which cannot be trained then
            self.depth_head = nn.Conv2d(channels, latent.channels(autoencoder), 3, padding=1)
        if config.segmentation != "none":
            self.segmentation_head = refiner.head(autoencoder, channels, config.classes)
            self.segmentation_head.requires_grad_(config.segmentation == "train")
        self.pair = (refiner.Interleaved(unet, self.refiner),)  # a tuple: its networks have their names here
        self.refiner.recompute = config.checkpoint_refiner
        if config.checkpoint_heads:
            refiner.recompute(self.depth_head)
            refiner.recompute(getattr(self, "segmentation_head", None))

    @property
    def turns(self) -> list[nn.Module]:
        """The networks that can take turns on a device (leadline.networks.offload)."""
        apart = [net for name, net in self.named_children() if name not in ("unet", "refiner")]
        return [*self.pair, *apart]

    @property
    def also(self) -> dict[str, Kind]:
        """Further outputs of `forward`, by name."""
        classes = {} if self.config.segmentation == "none" else {"segmentation": Kind.segmentation}
        return classes | ({} if self.refiner.last_look is None else {"attention": Kind.picture})

    @property
    def size_rule(self) -> SizeRule:
        """How pictures come in: the preset's rule, the config's changes."""
        rule = self.preset.size
        return rule if rule.pad == "none" else rule.in_multiples(latent.factor(self.autoencoder))

    def forward(
        self,
        rgb: Tensor,
        *,
        generators: Sequence[Generator] | None = None,
        camera: object = None,
        text: Tensor | Sequence[str] | None = None,
        also: Sequence[str] = (),
        noises: tuple[Tensor, Tensor] | None = None,
        watch: Watch | None = None,
    ) -> dict[str, Tensor]:
        """RGB [B,3,h,w] in [-1,1] -> "disparity" [B,1,h,w], without bounds, larger is nearer; and, if `also`
        names them, "segmentation" [B,1,h,w], ADE20K's class numbers, "attention" [B,3,h,w] in [-1,1].

        generators: one per image, for the sample of the code and the noise, in this order; or `noises`
        themselves [B,C,h/f,w/f] each. text: captions, or encoded ones [B or 1,N,C]; None: the empty one.
        watch: called with every stage's name and value. Of sides that are no multiple of 8 the rest is lost.
        """
        check_shape(rgb, "B 3 h w", "rgb")
        attention: list[Tensor] = []
        keep = attention.append if "attention" in also else None
        z_1 = self.noised(rgb, generators, noises)  # [B,C,h/f,w/f]
        refiner.tell(watch, "x_noisy", z_1)
        refined = self.refine(z_1, self._encoded(text, len(rgb)), watch, keep)  # [B,512,h/f,w/f]
        outputs = {"disparity": self.sign * self._depth(refined, watch)}
        if "segmentation" in also:
            logits = self.segmentation_head(refined)
            outputs["segmentation"] = logits.argmax(dim=1, keepdim=True).to(rgb.dtype)
        if attention:
            (maps,) = attention
            outputs["attention"] = F.interpolate(
                preimage.principal(maps.float()), outputs["disparity"].shape[2:]
            )
        return outputs

    def noised(
        self,
        rgb: Tensor,
        generators: Sequence[Generator] | None = None,
        noises: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """The picture's latent with one step of noise, z_1 [B,C,h/f,w/f]."""
        (height, width), least = rgb.shape[2:], latent.factor(self.autoencoder)
        if min(height, width) < least:
            raise UsageError(f"{width}x{height} pixels are too few for a latent: {least} each are needed")
        mean, deviation = latent.moments(self.autoencoder, rgb)
        n_1, n_2 = noises or (None, None)
        z_0 = mean
        if deviation is not None and self.config.vae_sample == "sample":
            z_0 = mean + deviation * (noise.like(mean, "gaussian", generators) if n_1 is None else n_1)
        if not self.config.noise:
            return z_0
        n_2 = noise.like(mean, "gaussian", generators) if n_2 is None else n_2
        return self.schedule.noisy(z_0, n_2, STEP)

    def refine(self, z_1: Tensor, text: Tensor, watch: Watch | None = None, keep: Any = None) -> Tensor:
        """The refiner's map [B,512,h,w] of z_1 [B,C,h,w] and the text [B,N,C]. keep: gets its last maps of
        attention [B,heads*64,h,w].
        """
        refined: Tensor = self.pair[0](z_1, STEP, text, watch, keep)
        return refined

    @property
    def sign(self) -> Tensor:
        """That makes near things large in the raw output, []."""
        return torch.where(self.slopes == 0, float(self.config.output_sign), self.slopes.sign())

    def _depth(self, refined: Tensor, watch: Watch | None = None) -> Tensor:
        """Raw depth [B,1,h,w]: the mean over the channels."""
        if self.config.loss == "latent":
            return latent.decode(self.autoencoder, self.depth_head(refined)).mean(dim=1, keepdim=True)
        channels: Tensor = self.depth_head(refined)
        refiner.tell(watch, "depth3", channels)
        return channels.mean(dim=1, keepdim=True)

    def _encoded(self, text: Tensor | Sequence[str] | None, count: int) -> Tensor:
        return prompts.encoded(text, self.empty_text, self.prompts, count)

    # --- training ---

    def loss(self, batch: Batch, generator: Generator | None = None) -> Loss:
        """Eq. 5 on one batch, in float32: L_dice + L_focal + lambda L_ssi, lambda such that both halves are
        equal. Without segmentation L_ssi alone. Raises DataError if the batch lacks what is compared.

        Its value says nothing of depth: look at the part "ssi".
        """
        wanted, valid = _disparity(batch)
        if self.config.segmentation == "train" and batch.classes is None:
            raise DataError(
                "the batch has no classes, which PrimeDepth's segmentation learns: label them, or set "
                "model.segmentation=keep"
            )
        generators = None if generator is None else [generator] * len(batch)
        refined = self.refine(self.noised(batch.rgb, generators), self._captions(batch, generator))
        ssi = self._latent_loss if self.config.loss == "latent" else self._pixel_loss
        depth, weight = ssi(refined, wanted, valid)
        parts = {"ssi": depth.detach().mean()}
        if self.config.segmentation != "train" or batch.classes is None:
            return Loss(depth.mean(), parts, weight)
        log_q = self.segmentation_head(refined).float().log_softmax(dim=1)
        dice = losses.dice(log_q.exp(), batch.classes)
        focal = losses.focal(log_q, batch.classes, self.config.focal_reduction)
        labelled = ((batch.classes >= 0) & (batch.classes < log_q.shape[1])).flatten(1).any(dim=1).sum()
        segmentation = Loss(dice + focal, {"dice": dice.detach(), "focal": focal.detach()}, labelled)
        factor = balance(dice + focal, depth)  # [], or [B] for images that are weighed alone
        own = Loss((factor * depth).mean(), parts | {"lambda": factor.mean()}, weight)
        if depth.ndim:
            return losses.summed(segmentation, own)
        return losses.summed(segmentation, replace(own, total=depth), factors=_both_halves)

    def _pixel_loss(self, refined: Tensor, wanted: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """L_ssi of the batch, or of each image that counts; and the number of those that do."""
        pred = self._depth(refined).float()
        total, slopes, count = losses.aligned_mse(pred, wanted, valid)
        if self.training:
            self._remember(slopes)
        if self.config.lambda_per == "image":
            alone = zip(*(torch.split(x, 1) for x in (pred, wanted, valid)), strict=True)
            each = [loss for loss, _, counts in (losses.aligned_mse(*images) for images in alone) if counts]
            total = torch.stack(each) if each else total
        return total, count

    def _latent_loss(self, refined: Tensor, wanted: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """V.Latent: squared error of the latent of disparity in [-1,1], where all of a cell is valid."""
        target, valid = coding.picture(wanted, valid, *self.config.percentiles)
        with torch.no_grad():
            z = latent.encode(self.autoencoder, target)
        cells = latent.whole(valid, latent.factor(self.autoencoder))
        error = torch.where(cells, self.depth_head(refined).float() - z.float(), 0).square()
        return error.sum() / (z.shape[1] * cells.sum()).clamp(min=1), cells.sum()

    def trial(self, batch: Batch, generators: Sequence[Generator]) -> dict[str, Tensor]:
        """What validation looks at: the prediction, with the pictures' captions as in the training."""
        told = any(batch.captions) and self.prompts is not None
        return self.forward(batch.rgb, generators=generators, text=batch.captions if told else None)

    @torch.no_grad()
    def _remember(self, slopes: Tensor) -> None:
        """Which sign of the raw output is near, as far as the fits of the loss show."""
        now = slopes.sign().mean().to(self.slopes)
        self.slopes.copy_(torch.where(self.slopes == 0, now, MEMORY * self.slopes + (1 - MEMORY) * now))

    def _captions(self, batch: Batch, generator: Generator | None) -> Tensor:
        captions = batch.captions
        if not any(captions) or self.prompts is None:
            return self._encoded(None, len(batch))
        device = "cpu" if generator is None else generator.device
        left_out = torch.rand(len(captions), generator=generator, device=device) < self.config.caption_dropout
        words = ["" if out else caption for caption, out in zip(captions, left_out.tolist(), strict=True)]
        return self._encoded(words, len(batch))

    # --- weights ---

    def for_prediction(self, steps: int | None = None) -> Self:
        """A faster model for prediction, in a fraction of the memory: autoencoder and heads work in bands of
        rows. Weights are shared.
        """
        twin = self._like(banded.specialise_autoencoder(self.autoencoder))
        for name in ("depth_head", "segmentation_head"):
            head: Any = getattr(self, name, None)
            if banded.covers(head):
                setattr(twin, name, banded.Head(head, mean_channels=name == "depth_head"))
        return twin.eval()

    def with_autoencoder(self, autoencoder: nn.Module) -> Self:
        """The same model with another encoder for its latents (else WeightsError); weights are shared."""
        latent.check_alike(self.autoencoder, autoencoder)
        return self._like(autoencoder)

    def _like(self, autoencoder: nn.Module) -> Self:
        twin = copy.copy(self)
        twin._modules = {**self._modules, "autoencoder": autoencoder}  # the twin's own list of them
        return twin

    @classmethod
    def random(cls, config: Config, seed: int = 0, empty_text: Tensor | None = None) -> Self:
        """From nothing: networks that the config describes, with weights drawn from the seed."""
        return folders.random(cls, config, seed, empty_text)

    @classmethod
    def begin(cls, folder: Path, card: Card, seed: int = 0, **options: Any) -> Self:
        """A new model on the prior in a diffusers folder: Stable Diffusion 2.1, or a smaller one. Refiner and
        fusion are drawn from the seed, heads are the autoencoder's decoder where shapes agree.
        """
        config = cards.config_of(card, Config, **options)
        return folders.begin(cls, folder, config, card, seed)

    @classmethod
    def load(cls, folder: Path, card: Card | None = None, **options: Any) -> Self:
        """A folder that `save` or `leadline convert` has written, or one with the authors' checkpoint, in
        float32. `options` replace entries of the card's config. Raises WeightsError or DocumentError.
        """
        folder, card = folders.at_home(folder, card or cards.read(folder / "card.yaml"))
        config = cards.config_of(card, Config, **options)
        return folders.load(cls, folder, config, card)

    def save(self, folder: Path, *, fp16: bool = False) -> None:
        """A folder that `load` reads back; fp16 halves it and rounds."""
        folders.save(self, folder, fp16=fp16)
        config = self.config.model_copy(update={"output_sign": int(self.sign)})
        cards.write(cards.up_to_date(self.card, self.kind, config, self.parameters()), folder / "card.yaml")


def balance(segmentation: Tensor, depth: Tensor) -> Tensor:
    """lambda of eq. 5: what makes the depth term as large as the segmentation's; no gradient passes.

    depth: [] or [B]. It is guarded: no more than 10000, and depth counts as 1e-8 at least; where nothing is
    segmented, which costs 0, depth alone teaches.

    >>> balance(torch.tensor(3.0), torch.tensor(0.5)).item()
    6.0
    """
    found = (segmentation / depth.clamp(min=LEAST_SSI)).clamp(0, MOST_LAMBDA)
    return torch.where(segmentation > 0, found, 1).detach()


def _both_halves(means: Tensor) -> Tensor:
    """Of the segmentation's loss and the depth's [2] over the whole batch: what each is multiplied by."""
    return torch.stack([torch.ones_like(means[0]), balance(means[0], means[1])])


def _disparity(batch: Batch) -> tuple[Tensor, Tensor]:
    """What depth is compared with, and where: pseudo-labels of disparity as they are, or 1 / depth."""
    if batch.pseudo is not None and batch.pseudo_kind is not Kind.metric_depth:
        if batch.pseudo_kind is not Kind.affine_disparity:
            raise DataError(
                f"the batch's pseudo-labels are {batch.pseudo_kind}, which has no inverse: PrimeDepth learns "
                "of affine disparity or metric depth"
            )
        return batch.pseudo, batch.valid
    depth = batch.depth_m if batch.pseudo is None else batch.pseudo
    if depth is None:
        raise DataError("the batch has no depth, which PrimeDepth needs: choose other data")
    return coding.disparity(depth, batch.valid)

"""GeoWizard: depth and normals denoised together by one network (Fu et al.).

Sec. 3.2: a UNet's batch holds each picture twice, a switcher says which row is depth and which normals, and
    both see each other in every self-attention; a second switch names the kind of scene.      -> forward
Sec. 3.3: trained to denoise both, each from noise of its own with several resolutions.         -> diffuse
E2E-FT (Martin Garcia et al.): the same network in one pass from zeros, trained on the task.    -> compare

Symbols are E2E-FT's (Sec. 3.2, 4), as Marigold's here: x the picture's latent, z_t noisy latents of geometry,
z_0 clean ones, epsilon the noise. Where paper and released code differ, the code is followed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, Self

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Generator, Tensor, nn

from leadline import cards, coding, losses, noise, presets, schedule
from leadline.cards import Card
from leadline.data.sample import Batch
from leadline.errors import DataError, UsageError, check_shape
from leadline.losses import Loss
from leadline.networks import frozen, geowizard, latent, stable_diffusion
from leadline.networks import geowizard_folders as folders
from leadline.networks.banded import specialise_autoencoder
from leadline.networks.geowizard import ImageEncoder
from leadline.networks.geowizard_folders import Parts
from leadline.prediction import Kind
from leadline.presets import Percentiles, Preset
from leadline.schedule import Schedule, Spacing
from leadline.sizes import SizeRule

KINDS = {"depth": Kind.affine_depth, "normals": Kind.normals}  # in the order of a UNet's rows
DEPTH_WEIGHT = 0.5  # E2E-FT Supp. B: its depth loss is about twice the angular one
LEVELS = 10  # code: of the noise, at most
AUTHORS = replace(  # the authors' repository, 2024, of which E2E-FT's is a child
    presets.get("e2e-ft"),
    name="geowizard",
    size=replace(presets.FIRST, filter="bicubic", quantise_between=True),  # Pillow's
    steps=10,
    members=10,
    spacing="leading",
    clean_latent=False,
    unit_once=True,
    normals_out="nearest",
)
PRESETS = {
    preset.name: preset
    for preset in (
        Preset("leadline", presets.PADDED, clip_normals=False),
        AUTHORS,
        replace(  # E2E-FT's copy: with the first weights, its "single-step fix"
            AUTHORS, name="geowizard-e2e-ft", steps=1, members=1, spacing="trailing", clean_latent=True
        ),
    )
}


Start = Literal["gaussian", "pyramid", "zeros"]


def _start(given: Mapping[str, Any]) -> Start:
    """The noise of a configuration that says none."""
    return "zeros" if given.get("objective") == "e2e" else "gaussian"


class Config(stable_diffusion.Config):
    """What distinguishes one GeoWizard from another. Defaults are the first release's."""

    target: Literal["depth", "normals"] = "depth"  # the main output; the other one is there for the asking
    domain: Literal["indoor", "outdoor", "object"] = "indoor"  # of a picture that nothing else is known of
    version: Literal["v1", "v2"] = "v1"  # v1: a token of the picture, domain in the switcher; v2: three texts
    objective: Literal["diffusion", "e2e"] = "diffusion"  # e2e: one pass at the last noise level
    noise: Start = Field(default_factory=_start)  # where it starts; e2e: zeros
    spacing: Spacing = "leading"  # of timesteps; e2e has one, the last
    joint_attention: bool = True  # false: what the released program computes where xformers does not run
    percentiles: Percentiles = (0.02, 0.98)  # code: depths that become -1 and 1, or are moved there
    frame: Literal["opencv"] = "opencv"  # of the network's normals; the released program turns them all round
    checkpoint_autoencoder: bool = False  # as checkpoint_unet, for e2e
    base: str | None = Field(None, exclude=True)  # name, hub id or folder of parts that the folder lacks
    unet_folder: str = Field("unet", exclude=True)
    image_encoder: dict[str, Any] = Field({}, exclude=True)  # as `unet`, in transformers' words

    @property
    def presets(self) -> Mapping[str, Preset]:
        """The programs that `compat` names."""
        return PRESETS


class Told(NamedTuple):
    """What the UNet is told beside latents, for each of its rows."""

    context: Tensor  # [2B,N,C]
    classes: Tensor  # [2B,10 or 4]


class GeoWizard(nn.Module):
    """A diffusion network of two outputs: RGB and noise in, depth and normals out. Only the UNet is trained.

    image_encoder: of version 1. domain_texts: of version 2, its three prompts encoded [3,N,C]. card: what the
    weights are.
    """

    presets: ClassVar = PRESETS
    kinds: ClassVar = KINDS
    domain_texts: Tensor | None

    def __init__(
        self,
        config: Config,
        unet: nn.Module,
        autoencoder: nn.Module,
        schedule: Schedule | None = None,
        image_encoder: ImageEncoder | None = None,
        domain_texts: Tensor | None = None,
        card: Card | None = None,
    ) -> None:
        super().__init__()
        self.config, self.unet, self.autoencoder = config, unet, autoencoder
        self.schedule = schedule or Schedule()
        self.image_encoder = image_encoder
        self.register_buffer("domain_texts", domain_texts, persistent=False)
        geowizard.check(unet, autoencoder, self._context_width(), config.version)
        self.kind = KINDS[config.target]
        self.also = {name: kind for name, kind in KINDS.items() if name != config.target}
        self.card = card or Card(name="untitled", method="geowizard", kind=self.kind)
        self.preset = config.preset
        one_pass = config.objective == "e2e"
        self.steps: int | None = None if one_pass else self.preset.steps or self.card.defaults.steps
        self.members: int | None = self.preset.members or self.card.defaults.ensemble
        if one_pass and config.noise == "zeros":  # nothing is drawn
            self.members = None
        if config.joint_attention:
            geowizard.join(unet)
        for network in filter(None, (autoencoder, image_encoder)):
            network.requires_grad_(False)
        if config.checkpoint_unet:
            stable_diffusion.recompute(unet)

    def _context_width(self) -> int:
        if self.config.version == "v1" and self.image_encoder is not None:
            return self.image_encoder.width
        if self.config.version == "v2" and self.domain_texts is not None:
            return int(self.domain_texts.shape[2])
        lacking = "image encoder" if self.config.version == "v1" else "encoded prompts"
        raise UsageError(f"GeoWizard {self.config.version} needs its {lacking}: give them with the networks")

    @property
    def size_rule(self) -> SizeRule:
        """How pictures come in: the preset's rule, the config's changes, sides that the networks can take."""
        return self.preset.size.in_multiples(latent.multiple(self.autoencoder, self.unet))

    @property
    def settings(self) -> dict[str, Any]:
        """What results depend on beside the weights."""
        return {"target": self.config.target, "domain": self.config.domain}

    # ---- prediction --------------------------------------------------------------------------------------

    def forward(
        self,
        rgb: Tensor,
        *,
        generators: Sequence[Generator] | None = None,
        camera: object = None,
        text: Sequence[str] | None = None,
        also: Sequence[str] = (),
        z_T: Tensor | None = None,
        steps: int | None = None,
    ) -> dict[str, Tensor]:
        """RGB [B,3,h,w] in [-1,1] -> {target: map of the same size}, and the other one if `also` names it.

        "depth" [B,1,h,w] in [-1,1], 1 = far; "normals" [B,3,h,w], unit vectors in the OpenCV frame. Noise
        needs one generator per image, or the start latents z_T. With E generators or latents per image,
        those of one image together, there are E maps of each in that order. text: the domains of the images,
        in place of the config's. The camera is not used. Raises UsageError for an unknown domain, for noise
        without generators and for more steps than there are, ShapeError for z_T of other sizes.
        """
        check_shape(rgb, "B 3 h w", "rgb")
        x = latent.encode(self.autoencoder, rgb)  # [B,C,h/f,w/f]
        steps = steps or self.steps or 1
        told = self.told(rgb, text or [self.config.domain] * len(rgb))
        names = [self.config.target, *(name for name in also if name in self.also)]
        maps = []
        for z, _ in latent.starts(x, generators, z_T, partial(self.start, x, steps=steps)):
            maps.append(self.maps(self.denoise(x, z, told, steps), names))
        return {name: torch.stack([one[name] for one in maps], dim=1).flatten(0, 1) for name in names}

    def told(self, rgb: Tensor, domains: Sequence[str]) -> Told:
        """Of pictures [B,3,h,w] and their domains. The switcher: Sec. 3.2."""
        width = geowizard.WIDTHS[self.config.version]
        classes = geowizard.class_vectors(domains, width).to(rgb)
        if self.image_encoder is not None:
            context = self.image_encoder(rgb)  # [B,1,C]
        else:
            assert self.domain_texts is not None
            context = self.domain_texts[geowizard.domain_numbers(domains)]  # [B,N,C]
        return Told(context.repeat(2, 1, 1), classes)

    def start(self, x: Tensor, generators: Sequence[Generator] | None, *, steps: int) -> Tensor:
        """Start latents as x [B,C,h,w], from which both depth and normals begin; pyramid noise is annealed
        for the first of so many timesteps.
        """
        if self.config.noise != "pyramid":
            return noise.like(x, self.config.noise, generators)
        if generators is None or len(generators) != len(x):
            raise UsageError(f"pyramid noise for {len(x)} images needs one generator each: pass generators")
        shape, strength = (1, *x.shape[1:]), self.timesteps(steps)[0] / self.schedule.steps
        return torch.cat([annealed(shape, *noise.sources(g), strength) for g in generators]).to(x)

    def denoise(self, x: Tensor, z: Tensor, told: Told, steps: int) -> Tensor:
        """Pictures' latents x and noise z [B,C,h,w] -> the clean latents of depth and normals [2B,C,h,w]."""
        *_, (z_end, z_0) = self._trajectory(x, z, told, steps)
        return z_0 if self.preset.clean_latent or self.config.objective == "e2e" else z_end

    def each_step(self, rgb: Tensor, *, generators: Sequence[Generator], steps: int) -> Iterator[Tensor]:
        """As `forward`, with one generator per image: what each of the steps takes for the result."""
        x = latent.encode(self.autoencoder, rgb)
        told = self.told(rgb, [self.config.domain] * len(rgb))
        for _, z_0 in self._trajectory(x, self.start(x, generators, steps=steps), told, steps):
            yield self.maps(z_0, [self.config.target])[self.config.target]

    def _trajectory(self, x: Tensor, z: Tensor, told: Told, steps: int) -> Iterator[tuple[Tensor, Tensor]]:
        """After each step the latents, and what the step takes for the clean ones, [2B,C,h,w] each."""
        x, z = x.repeat(2, 1, 1, 1), z.repeat(2, 1, 1, 1)
        return self.schedule.ddim(z, self.timesteps(steps), lambda z, t: self.output(x, z, t, told))

    def output(self, x: Tensor, z: Tensor, t: int | Tensor, told: Told) -> Tensor:
        """What the network says to latents [2B,C,h,w] of pictures and geometry at t."""
        if self.config.joint_attention:
            geowizard.check_joint(self.unet)
        return geowizard.output(self.unet, torch.cat([x, z], dim=1), t, *told)

    def timesteps(self, steps: int) -> list[int]:
        """In falling order; one pass has the last, whatever a program would take. Raises UsageError for more
        than there are.
        """
        if self.config.objective == "e2e":
            return schedule.timesteps(steps, "trailing", self.schedule.steps)
        return schedule.timesteps(steps, self.preset.spacing or self.config.spacing, self.schedule.steps)

    def maps(self, z: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
        """Clean latents [2B,C,h,w] -> the maps of these names; those of the others are not decoded."""
        halves = dict(zip(KINDS, z.chunk(2), strict=True))
        z = torch.cat([halves[name] for name in names])
        decoded = frozen.decode(self.autoencoder, z, recompute=self.config.checkpoint_autoencoder)
        parts = decoded.chunk(len(names))
        return {name: self.head(name, part) for name, part in zip(names, parts, strict=True)}

    def head(self, name: str, decoded: Tensor) -> Tensor:
        """Decoder output [B,3,h,w] -> the quantity: mean over channels, or unit vectors."""
        if name == "depth":
            return decoded.mean(dim=1, keepdim=True).clamp(-1, 1)  # [B,1,h,w]
        return coding.unit(decoded, self.preset)

    # ---- training ----------------------------------------------------------------------------------------

    def loss(self, batch: Batch, generator: Generator | None = None) -> Loss:
        """The objective on one batch, in float32; domains are the batch's, where it knows them.

        Raises DataError if the batch lacks depth or normals, UsageError where noise needs a generator.
        """
        if batch.depth_m is None or batch.normals is None:
            lacking = "depth" if batch.depth_m is None else "normals"
            raise DataError(f"the batch has no {lacking}, GeoWizard learns both: choose other data")
        domains = self._domains(batch)
        if self.config.objective == "e2e":
            generators = None if generator is None else [generator] * len(batch)
            pred = self(batch.rgb, generators=generators, text=domains, also=tuple(self.also))
            return self.compare(pred, batch.depth_m, batch.normals, batch.valid)
        if generator is None:
            raise UsageError("diffusion is trained with noise: pass a generator")
        wanted, valid = self._wanted(batch.depth_m, batch.normals, batch.valid)
        with torch.no_grad():
            x, z_0 = (latent.encode(self.autoencoder, picture) for picture in (batch.rgb, wanted))
            told = self.told(batch.rgb, domains)
        T = self.schedule.steps
        t = torch.randint(0, T, (len(x),), generator=generator, device=generator.device).repeat(2)
        strength = (t / T).view(-1, 1, 1, 1)
        epsilon = annealed(tuple(z_0.shape), *noise.sources(generator), strength).to(z_0)
        return self.diffuse(x, z_0, epsilon, t.to(x.device), told, valid)

    def diffuse(self, x: Tensor, z_0: Tensor, epsilon: Tensor, t: Tensor, told: Told, valid: Tensor) -> Loss:
        """Sec. 3.3: squared error of v. x [B,C,h,w]; z_0 and its noise [2B,C,h,w] at timesteps t [2B]; cells
        count whose pixels are all valid [B,1,H,W] (in the authors' data, all are).
        """
        z_t = self.schedule.noisy(z_0, epsilon, t)
        v = self.output(x.repeat(2, 1, 1, 1), z_t, t, told)
        cells = latent.whole(valid, latent.factor(self.autoencoder)).repeat(2, 1, 1, 1)
        return losses.diffusion(v, self.schedule.target(z_0, epsilon, t), cells)

    def trial(self, batch: Batch, generators: Sequence[Generator]) -> dict[str, Tensor]:
        """What validation looks at: the prediction, told of the pictures' domains as in training."""
        return self.forward(batch.rgb, generators=generators, text=self._domains(batch))

    def _domains(self, batch: Batch) -> list[str]:
        """The batch's, and the config's where it knows none."""
        return [domain or self.config.domain for domain in batch.domains or [""] * len(batch)]

    def _wanted(self, depth: Tensor, normals: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """Depth and normals as pictures [2B,3,h,w] in [-1,1], and where both are known. What is unknown is
        far, and faces the camera.
        """
        valid = valid & depth.isfinite() & (depth > 0)
        shown, kept = coding.picture(depth, valid, *self.config.percentiles)
        facing = normals.new_tensor([0.0, 0.0, -1.0]).view(1, 3, 1, 1)
        return torch.cat([shown, torch.where(valid, normals, facing)]), kept

    def compare(self, pred: Mapping[str, Tensor], depth_m: Tensor, normals: Tensor, valid: Tensor) -> Loss:
        """E2E-FT's objective on both maps: metric depth [B,1,h,w] after the best scale and shift, and the
        angle to normals [B,3,h,w]; `valid` [B,1,h,w].
        """
        plain, known = self.preset.plain_losses, valid & depth_m.isfinite()
        inside, kept = coding.clip_to_percentiles(depth_m, known, *self.config.percentiles)
        depth = losses.scale_shift_l1(pred["depth"].float(), inside, kept, compat=plain)
        angle = losses.angular(pred["normals"].float(), normals, valid, compat=plain)
        ssi = Loss(DEPTH_WEIGHT * depth, {"ssi": depth.detach()}, kept.sum())
        return losses.summed(ssi, Loss(angle, {"angle": angle.detach()}, valid.sum()))

    def train(self, mode: bool = True) -> Self:
        """Training mode; what is frozen stays in evaluation mode."""
        super().train(mode)
        for network in filter(None, (self.autoencoder, self.image_encoder)):
            network.eval()
        return self

    # ---- files -------------------------------------------------------------------------------------------

    def for_prediction(self, steps: int | None = None) -> Self:
        """A model whose autoencoder works in bands of rows, in less memory; weights are shared."""
        return self._with(specialise_autoencoder(self.autoencoder)).eval()

    def with_autoencoder(self, autoencoder: nn.Module) -> Self:
        """The same model with another autoencoder for its latents (else WeightsError); weights are shared."""
        latent.check_alike(self.autoencoder, autoencoder)
        return self._with(autoencoder)

    def _with(self, autoencoder: nn.Module) -> Self:
        return type(self)(self.config, *self._parts()._replace(autoencoder=autoencoder), self.card)

    def _parts(self) -> Parts:
        return Parts(self.unet, self.autoencoder, self.schedule, self.image_encoder, self.domain_texts)

    @classmethod
    def random(cls, config: Config, seed: int = 0) -> Self:
        """From nothing: the networks that the config describes, with weights drawn from the seed."""
        return cls(config, *folders.random(config, seed))

    @classmethod
    def begin(cls, folder: Path, card: Card, seed: int = 0, **options: Any) -> Self:
        """A new model on Stable Diffusion 2 in a diffusers folder, as the authors begin."""
        config = cards.config_of(card, Config, **options)
        return cls(config, *folders.begin(folder, config, seed), card)

    @classmethod
    def load(cls, folder: Path, card: Card | None = None, **options: Any) -> Self:
        """A folder as published or as `save` has written it, in float32. `card` is for folders that have no
        card.yaml, `options` replace entries of its config. Raises WeightsError or DocumentError, one line.
        """
        card = card or cards.read(folder / "card.yaml")
        config = cards.config_of(card, Config, **options)
        return cls(config, *folders.load(folder, config), card)

    def save(self, folder: Path, *, fp16: bool = False) -> None:
        """A folder with card.yaml, which `load` reads back; fp16 halves it and rounds."""
        spacing = "trailing" if self.config.objective == "e2e" else self.config.spacing
        folders.save(self._parts(), folder, self.schedule.to_config(spacing), fp16=fp16)
        card = cards.up_to_date(self.card, self.kind, self.config, self.parameters())
        cards.write(card, folder / "card.yaml")


def annealed(
    shape: tuple[int, ...], normal: noise.Normal, uniform: noise.Uniform, strength: Tensor | float
) -> Tensor:
    """GeoWizard's noise of several resolutions [B,C,h,w] with deviation 1 over all of it (code).

    Level i is drawn at the size divided by r^i, r uniform in 1.5..3, enlarged, and added with weight
    strength * 0.9^i; strength is t / T, a number or [B,1,1,1]. So level 0 is a second noise of full size.
    Unlike `leadline.noise.pyramid`, each size is counted from the whole one.

    >>> x = annealed((1, 4, 6, 8), *noise.sources(Generator().manual_seed(0)), 0.999)
    >>> x.shape, round(x.std().item(), 4)
    (torch.Size([1, 4, 6, 8]), 1.0)
    """
    z, (height, width) = normal(shape), shape[-2:]
    for i in range(LEVELS):
        r = 1.5 * uniform() + 1.5
        h, w = max(1, int(height / r**i)), max(1, int(width / r**i))
        coarse = normal((*shape[:-2], h, w))
        z = z + F.interpolate(coarse, (height, width), mode="bilinear") * strength * 0.9**i
        if h == 1 or w == 1:
            break
    return z / z.std()

"""MetricGold's model: prediction, the second stage of its training, files."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Generator, Tensor, nn

from leadline import cards, losses, noise, schedule, weights
from leadline.camera import Camera
from leadline.cards import Card
from leadline.coding import Codec
from leadline.data.sample import Batch
from leadline.errors import CameraError, DataError, UsageError, WeightsError, check_shape
from leadline.losses import Loss
from leadline.methods.metricgold import autoencoder as depth_stage
from leadline.methods.metricgold.config import PRESETS, RANGE, Config
from leadline.networks import field_of_view, frozen, latent, stable_diffusion
from leadline.networks.stable_diffusion import Parts
from leadline.prediction import Kind
from leadline.schedule import Schedule

CANONICAL = ("canonical_width", "canonical_fixed")
DEPTH_VAE, VIEW = "depth_vae", "field_of_view"  # folders of their own


class MetricGold(stable_diffusion.Descendant):
    """A diffusion network, denoising depth beside a picture, with an autoencoder for each of them.

    depth_autoencoder: None: the picture's serves for both. view: with camera fov, what the network is told.
    """

    presets: ClassVar = PRESETS
    config: Config

    def __init__(
        self,
        config: Config,
        unet: nn.Module,
        autoencoder: nn.Module,
        schedule: Schedule | None = None,
        empty_text: Tensor | None = None,
        card: Card | None = None,
        *,
        depth_autoencoder: nn.Module | None = None,
        view: field_of_view.FieldOfView | None = None,
    ) -> None:
        instead = ", or model.zero_snr=false"
        schedule = (schedule or Schedule()).ending(zero_snr=config.zero_snr, instead=instead)
        parts = Parts(unet, autoencoder, schedule, empty_text)
        super().__init__(config, parts, card, method="metricgold", kind=Kind.metric_depth, latents=2)
        self.codec = Codec(config.near_m, config.far_m, config.codec)
        if config.objective == "diffusion":
            self.steps, self.members = self.card.defaults.steps, self.card.defaults.ensemble
        told = config.camera == "fov" and config.stage == "unet"  # the first stage has no UNet to tell
        self.needs_camera, self.masks_beyond = told or config.camera in CANONICAL, config.far_mask
        if config.stage == "vae" and depth_autoencoder is None:
            depth_autoencoder = copy.deepcopy(autoencoder)
        if depth_autoencoder is not None:
            latent.check_alike(autoencoder, depth_autoencoder)
        self.depth_autoencoder = depth_autoencoder
        self.view = (view or field_of_view.FieldOfView(field_of_view.width(unet))) if told else None
        if config.depth_latent_scale:
            self._set_latent_scale(config.depth_latent_scale)
        self._choose_weights()

    def _set_latent_scale(self, factor: float) -> None:
        depth: Any = self.depth_autoencoder
        if depth is None:
            raise UsageError(
                "depth_latent_scale is of a depth autoencoder, and this model has none: train stage=vae first"
            )
        depth.register_to_config(scaling_factor=factor)

    def _choose_weights(self) -> None:
        """What is trained: the UNet, or a part of the depth's autoencoder."""
        vae, depth = self.config.stage == "vae", self.depth_autoencoder
        if vae:
            self.unet.requires_grad_(False)
        if depth is not None and vae:
            depth_stage.choose_weights(depth, self.config)
        elif depth is not None:
            depth.requires_grad_(False)

    @property
    def own(self) -> nn.Module:
        """The depth's autoencoder."""
        return self.depth_autoencoder or self.autoencoder

    # ---- prediction --------------------------------------------------------------------------------------

    def forward(
        self,
        rgb: Tensor,
        *,
        generators: Sequence[Generator] | None = None,
        camera: Sequence[Camera | None] | None = None,
        text: Tensor | None = None,
        z_T: Tensor | None = None,
        steps: int | None = None,
    ) -> dict[str, Tensor]:
        """RGB [B,3,h,w] in [-1,1] -> {"depth": metres within the model's range [B,1,h,w]}.

        Noise needs one generator per image, or the start latents z_T; with E per image, those of one image
        together, there are E maps of each in that order [B*E,1,h,w]. camera: of each picture, for models that
        know it (CameraError without). `text` [1,N,C] replaces the empty prompt.
        """
        check_shape(rgb, "B 3 h w", "rgb")
        self._check_stage()
        x, scale = latent.encode(self.autoencoder, rgb), self._scale(camera, rgb)
        with self._told(camera):
            return {"depth": self._metres(x, generators, text, z_T, steps, scale)}

    def _check_stage(self) -> None:
        """Raises UsageError for a model whose UNet nobody has trained yet."""
        if self.config.stage == "vae":
            raise UsageError(
                f"{self.card.name} is a first stage, an autoencoder that predicts nothing: train a second "
                "one from it (recipes/metricgold.yaml, start=its folder)"
            )

    def _metres(
        self,
        x: Tensor,
        generators: Sequence[Generator] | None,
        text: Tensor | None,
        z_T: Tensor | None,
        steps: int | None,
        scale: Tensor,
    ) -> Tensor:
        if self.config.objective == "one_step":
            return self._decoded(self._at_once(x, text)) * scale
        maps = []
        for start, _ in latent.starts(x, generators, z_T, partial(noise.like, x, "gaussian")):
            z = self.denoise(x, start, steps or self.steps or 1, text)  # [B,C,h/f,w/f]
            maps.append(self._decoded(z) * scale)
        return torch.stack(maps, dim=1).flatten(0, 1)

    def denoise(self, x: Tensor, z: Tensor, steps: int, text: Tensor | None = None) -> Tensor:
        """The picture's latent x and noise z [B,C,h,w] -> the depth's latent."""
        *_, (z_end, _) = self._trajectory(x, z, steps, text)
        return z_end

    def _trajectory(
        self, x: Tensor, z: Tensor, steps: int, text: Tensor | None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """After each step of DDIM the latent, and what the step takes for the clean one."""
        return self.schedule.ddim(z, self.timesteps(steps), lambda z, t: self._output(x, z, t, text))

    def each_step(
        self,
        rgb: Tensor,
        *,
        generators: Sequence[Generator],
        steps: int,
        camera: Sequence[Camera | None] | None = None,
    ) -> Iterator[Tensor]:
        """As `forward`, with one generator per image: the metres that each step takes for the result."""
        self._check_stage()
        x, scale = latent.encode(self.autoencoder, rgb), self._scale(camera, rgb)
        with self._told(camera):
            for _, z_0 in self._trajectory(x, noise.like(x, "gaussian", generators), steps, None):
                yield self._decoded(z_0) * scale

    def _at_once(self, x: Tensor, text: Tensor | None = None) -> Tensor:
        """One step from zeros at t = T, to the clean latent (E2E-FT)."""
        t, zeros = self.schedule.steps - 1, torch.zeros_like(x)
        return self.schedule.clean(zeros, self._output(x, zeros, t, text), t)

    def head(self, z: Tensor) -> Tensor:
        """The depth's latent -> its code [B,1,h,w], nominally in [-1,1]: decoded, mean over channels."""
        return frozen.decode(self.own, z).mean(dim=1, keepdim=True)

    def _decoded(self, z: Tensor) -> Tensor:
        """The depth's latent -> its canonical metres [B,1,h,w], which half precision could not hold."""
        return self.codec.decode(self.head(z).float())

    def beyond(self, metres: Tensor, camera: Camera | None) -> Tensor:
        """Where results [1,1,H,W] lie at an end of the range, so that they say "there or beyond"; bool. The
        camera is that which the network knew.
        """
        return self.codec.beyond(metres / self._scale([camera], metres))

    def _output(self, x: Tensor, z: Tensor, t: int | Tensor, text: Tensor | None) -> Tensor:
        """Sec. 3.2 writes the depth first; in the code and in Marigold's checkpoints the picture is."""
        return self.output(torch.cat([x, z], dim=1), t, text)

    def timesteps(self, steps: int) -> list[int]:
        """DDIM's, in falling order. Raises UsageError for more than there are."""
        return schedule.timesteps(steps, self.preset.spacing or self.config.spacing, self.schedule.steps)

    def for_prediction(self, steps: int | None = None) -> Self:
        """A faster model for prediction with the empty prompt in so many steps; weights are shared."""
        self._check_stage()
        one = self.config.objective == "one_step"
        chosen = [self.schedule.steps - 1] if one else self.timesteps(steps or self.steps or 1)
        chosen = [] if self.view is not None else chosen  # a UNet for one timestep embeds none
        parts = self.faster(chosen, zero_start=one)
        alone = self.parts._replace(autoencoder=self.own)
        own = stable_diffusion.for_prediction(alone, [], mean_channels=True).autoencoder
        # the autoencoder already has its scale
        config = self.config.model_copy(update={"checkpoint_unet": False, "depth_latent_scale": None})
        return type(self)(config, *parts, self.card, depth_autoencoder=own, view=self.view).eval()

    def with_autoencoder(self, autoencoder: nn.Module) -> Self:
        """The same model with another autoencoder for the picture's latents (else WeightsError), and for the
        depth's where it has none of its own; weights are shared.
        """
        latent.check_alike(self.autoencoder, autoencoder)
        parts, own = self.parts._replace(autoencoder=autoencoder), self.depth_autoencoder
        return type(self)(self.config, *parts, self.card, depth_autoencoder=own, view=self.view)

    # ---- the camera --------------------------------------------------------------------------------------

    def _scale(self, cameras: Sequence[Camera | None] | None, like: Tensor) -> Tensor:
        """What canonical depth is multiplied by to be metres, [B,1,1,1]: f / W (Depth Pro), f / f_c
        (Metric3D).

        The same picture seen by a longer lens shows things farther off; so depths are learnt as though all
        had one lens.
        """
        if self.config.camera not in CANONICAL:
            return like.new_ones(())
        known = self._known(cameras)
        if self.config.camera == "canonical_width":
            factors = [camera.fx / camera.width for camera in known]
        else:
            factors = [(camera.fx + camera.fy) / 2 / self.config.focal_px for camera in known]
        dtype = torch.promote_types(like.dtype, torch.float32)
        return torch.tensor(factors, dtype=dtype, device=like.device).view(-1, 1, 1, 1)

    def _told(self, cameras: Sequence[Camera | None] | None) -> Any:
        """The network knows the field of view within it, if it is one that does."""
        told = None if self.view is None else self.view(self._known(cameras))
        return field_of_view.told(self.unet, told)

    def _known(self, cameras: Sequence[Camera | None] | None) -> list[Camera]:
        known = [camera for camera in cameras or [] if camera is not None]
        if not known or len(known) < len(cameras or []):
            raise CameraError(
                f"camera {self.config.camera} needs the camera of each picture: give --fov or --focal-px, or "
                "train on data that have one"
            )
        return known

    # ---- training ----------------------------------------------------------------------------------------

    def loss(self, batch: Batch, generator: Generator | None = None) -> Loss:
        """The objective of the stage on one batch, in float32: eq. 4, or denoising, or one step end to end.

        Timesteps and then noise come from the generator. Raises DataError for a batch without depth,
        UsageError without a generator where one is needed, CameraError where the camera is to be known.
        """
        y, known = self.label(batch)
        if self.config.stage == "vae":
            return depth_stage.rebuilding(self.own, y, known, self.config, self.codec, generator)
        with torch.no_grad():
            x = latent.encode(self.autoencoder, batch.rgb)
        with self._told(batch.cameras):
            if self.config.objective == "one_step":
                code = self.head(self._at_once(x))
                return depth_stage.comparison(code, y, known, self.config, self.codec, "log")
            return self._denoising(x, y, known, generator)

    def _denoising(self, x: Tensor, y: Tensor, known: Tensor, generator: Generator | None) -> Loss:
        if generator is None:
            raise UsageError("diffusion is trained with noise: pass a generator")
        with torch.no_grad():
            z_0 = latent.encode(self.own, y.expand(-1, 3, -1, -1))
        T = self.schedule.steps
        t = torch.randint(0, T, (len(x),), generator=generator, device=generator.device)
        shape, sources = tuple(x.shape), noise.sources(generator)
        if self.config.noise == "pyramid":
            strength = (noise.STRENGTH * t / T).view(-1, 1, 1, 1)  # [B,1,1,1]
            epsilon = noise.pyramid(shape, *sources, strength).to(x)
        else:
            epsilon = noise.gaussian(shape, *sources).to(x)
        return self.compare(x, z_0, epsilon, t.to(x.device), known)

    def compare(self, x: Tensor, z_0: Tensor, epsilon: Tensor, t: Tensor, known: Tensor) -> Loss:
        """Mean squared error of v over latents [B,C,h,w] at t [B], in cells known as a whole; `known`
        [B,1,H,W] is of the picture.
        """
        z_t = self.schedule.noisy(z_0, epsilon, t)
        wanted = self.schedule.target(z_0, epsilon, t)
        cells = latent.whole(known, latent.factor(self.autoencoder))
        return losses.diffusion(self._output(x, z_t, t, None), wanted, cells)

    def label(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Code [B,1,h,w] of the batch's depth, or of another model's metres, and where it is known. What is
        unknown, as the sky, is far; depths beyond the range are its ends.
        """
        depth = batch.said(Kind.metric_depth) if batch.depth_m is None else batch.depth_m
        if depth is None:
            raise DataError("the batch has no depth, which MetricGold is trained on: choose other data")
        canonical = depth / self._scale(batch.cameras, depth)  # what the range is of
        known = batch.valid & (depth > 0)
        few = known.float().mean(dim=(1, 2, 3)) < self.config.known_share
        close = (known & (canonical < self.config.near_m)).float().mean(dim=(1, 2, 3))
        teaches = ~few & (close <= self.config.near_share)
        if self.config.far == "mask":
            known &= canonical < self.config.far_m
        y = self.codec.encode(torch.where(batch.valid, canonical, 0))
        return y, known & teaches.view(-1, 1, 1, 1)

    def trial(self, batch: Batch, generators: Sequence[Generator]) -> dict[str, Tensor]:
        """What validation looks at: the prediction, or in the autoencoder's stage the truth, rebuilt."""
        if self.config.stage == "unet":
            return self.forward(batch.rgb, generators=generators, camera=batch.cameras)
        y, _ = self.label(batch)
        code = self.head(latent.encode(self.own, y.expand(-1, 3, -1, -1)))
        return {"depth": self.codec.decode(code.float()) * self._scale(batch.cameras, y)}

    # ---- files -------------------------------------------------------------------------------------------

    @classmethod
    def load(
        cls, folder: Path, card: Card | None = None, *, empty_text: Path | None = None, **options: Any
    ) -> Self:
        """A diffusers folder, in float32, perhaps with a `depth_vae`.

        `card` is for folders that have no card.yaml, `options` replace entries of its config; `empty_text` is
        a file with the encoded empty prompt [1,N,C]. Raises WeightsError where nobody says the range, for
        a part that is missing, and for weights of another model; DocumentError.
        """
        card = card or cards.read(folder / "card.yaml")
        if missing := [key for key in RANGE if key not in card.config and key not in options]:
            raise WeightsError(
                f"{folder}: its card does not say {', '.join(missing)}, so its numbers are no metres: add it "
                "to the card's config, or in a recipe to model"
            )
        config = cards.config_of(card, Config, **options)
        parts = stable_diffusion.load(folder, empty_text, config, latents=2)
        index, own, view = folder / "model_index.json", None, None
        named = weights.read_json(index) if index.is_file() else {}
        if (folder / DEPTH_VAE).is_dir() or DEPTH_VAE in named:
            own = weights.load_network(folder / DEPTH_VAE, weights.AUTOENCODERS)
        told = card.config.get("camera") == "fov" and card.config.get("stage", "unet") == "unet"
        if config.camera == "fov" and (told or (folder / VIEW).is_dir()):
            view = field_of_view.FieldOfView(field_of_view.width(parts.unet))
            state = weights.load_fitting([folder / VIEW / weights.FILE], view.state_dict(), folder / VIEW)
            view.load_state_dict(state)
        return cls(config, *parts, card, depth_autoencoder=own, view=view)

    def save(self, folder: Path, *, fp16: bool = False) -> None:
        """A folder with card.yaml, which `load` reads back. The card always says the range of the metres."""
        scheduler, own = self.schedule.to_config(self.config.spacing), self.depth_autoencoder
        named = {} if own is None else {DEPTH_VAE: ["diffusers", type(own).__name__]}
        says = {key: getattr(self.config, key) for key in (*RANGE, "camera")}
        index = says | named | {"scale_invariant": False, "shift_invariant": False}
        stable_diffusion.save(self.parts, folder, "MetricGoldPipeline", scheduler, index=index, fp16=fp16)
        if own is not None:
            weights.save_network(own, folder / DEPTH_VAE, fp16=fp16)
        if self.view is not None:
            (folder / VIEW).mkdir(exist_ok=True)
            weights.save_state(self.view.state_dict(), folder / VIEW / weights.FILE, fp16=fp16)
        card = cards.up_to_date(self.card, self.kind, self.config, self.parameters())
        cards.write(card.model_copy(update={"config": says | card.config}), folder / "card.yaml")

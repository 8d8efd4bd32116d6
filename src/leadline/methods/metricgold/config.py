"""What distinguishes one MetricGold model from another, each value beside its source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal, Self

from pydantic import Field, model_validator

from leadline import presets
from leadline.networks import stable_diffusion
from leadline.presets import Preset
from leadline.schedule import Spacing

SIZE = replace(presets.PADDED, antialias_out=True)  # small pictures come back from a larger size smooth
PRESETS = {"leadline": Preset("leadline", SIZE, log_metres=True)}
RANGE = ("codec", "near_m", "far_m")  # without them a checkpoint says no metres


class Config(stable_diffusion.Config):
    """What distinguishes one MetricGold model from another. Defaults are the paper's; where it is silent,
    what its authors' notebook or the arithmetic suggests.
    """

    codec: Literal["log", "linear"] = "log"  # eq. 3, or what it is compared with, eq. 2
    near_m: float = Field(0.1, gt=0)  # d_min: the notebook's
    far_m: float = Field(80.0, gt=0)  # d_max: the notebook's; canonical_width reaches as far with 160
    far: Literal["supervise", "mask"] = "supervise"  # depths beyond: known to be far, or not looked at
    stage: Literal["unet", "vae"] = "unet"  # what is trained: the depth's autoencoder comes first
    # stage vae: what is trained of it; the decoder alone keeps latents as they are
    depth_vae: Literal["decoder", "paper"] = "decoder"
    kl_weight: float = Field(1e-6, ge=0)  # depth_vae paper: eq. 4, per element of the latent
    depth_latent_scale: float | None = Field(None, gt=0)  # of the depth's latents; None: as its autoencoder's
    gradient_weight: float = Field(0.5, ge=0)  # of slopes beside errors: depth_vae decoder, one_step
    objective: Literal["diffusion", "one_step"] = "diffusion"  # one_step: through the decoder, as E2E-FT
    noise: Literal["gaussian", "pyramid"] = "gaussian"  # of training; pyramid: Marigold's, annealed
    # Sec. 4 has DDPM's levels, the last with 7 % of the truth: its scale, which prediction does not know
    zero_snr: bool = True
    spacing: Spacing = "trailing"  # of DDIM's timesteps
    camera: Literal["none", "canonical_width", "canonical_fixed", "fov"] = "none"  # how it is known
    focal_px: float = Field(1000.0, gt=0)  # canonical_fixed: the focal length for which metres are learnt
    known_share: float = Field(0.5, ge=0, le=1)  # pictures with fewer known pixels teach nothing ...
    near_share: float = Field(0.02, ge=0, le=1)  # ... nor those with more nearer than near_m, canonical
    far_mask: bool = False  # results are not valid where they lie at an end of the range
    reduction: Literal["median", "mean"] = "median"  # of an ensemble's logarithms
    harmonise: bool = False  # members are brought to one scale first

    @property
    def presets(self) -> Mapping[str, Preset]:
        """The names that `compat` takes: the released program predicts no metres that could be repeated."""
        return PRESETS

    @property
    def preset(self) -> Preset:
        """The preset, with the config's own size and ensembling."""
        own = super().preset
        how = replace(own.ensembling, reduction=self.reduction, harmonise=self.harmonise)
        return replace(own, ensembling=how)

    @model_validator(mode="after")
    def _has_a_range(self) -> Self:
        if self.far_m <= self.near_m:
            raise ValueError(
                f"near_m is {self.near_m:g} and far_m {self.far_m:g}: the far end must be farther"
            )
        return self

"""Where released versions of one method differ in small, result-changing ways: the differences as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, model_validator

from leadline.ensemble import Ensembling
from leadline.errors import UsageError, did_you_mean
from leadline.schedule import Spacing
from leadline.sizes import Filter, SizeRule


def _rising(shares: tuple[float, float]) -> tuple[float, float]:
    if not 0 <= shares[0] < shares[1] <= 1:
        raise ValueError(f"{shares}: two rising shares between 0 and 1 are wanted, such as [0.02, 0.98]")
    return shares


Percentiles = Annotated[tuple[float, float], AfterValidator(_rising)]


@dataclass(frozen=True)
class Preset:
    """The arithmetic around a network. Everything but the name is a number or a switch, never a code path."""

    name: str
    size: SizeRule  # what a model's card does not say otherwise
    ensembling: Ensembling = Ensembling()
    steps: int | None = None  # of denoising, where the program has a default of its own; None: the card's
    members: int | None = None  # of an ensemble, likewise
    spacing: Spacing | None = None  # of timesteps, where the program fixes it; None: the card's
    clean_latent: bool = False  # decode the last step's clean latent, not where the sampler ended
    unsigned_rgb: bool = False  # colours reach the autoencoder in [0,1]
    stretch: bool = False  # minimum and maximum of each map become 0 and 1 before it is resized
    clip_normals: bool = True  # Marigold: components are cut to [-1,1] before vectors get unit length
    norm_floor: float = 1e-6  # normals: n / (max(|n|, norm_floor) + norm_extra)
    norm_extra: float = 0.0
    log_metres: bool = False  # metric depth is resized as its logarithm
    unit_once: bool = False  # normals go to the resize as the method gives them, which with norm_extra shows
    renormalise: bool = True  # normals are made unit length again after a resize
    normals_out: Filter | None = None  # that brings them to the picture's size; None: the size rule's
    plain_losses: bool = False  # float32 normal equations and a bare arccos, as the authors released them


PADDED = SizeRule(768, multiple=8, pad="replicate")  # the only geometry whose output has the processed size
FIRST = SizeRule(768, rounding="author", quantise=True, filter_out="bicubic", antialias_out=True)  # Pillow's
AUTHORS = SizeRule(768, rounding="author", quantise=True, antialias_out=True)  # torchvision's

FIRST_MARIGOLD = Preset(  # the authors' repository, January to March 2024
    "marigold-v1",
    FIRST,
    Ensembling("joint", "lower_median"),
    steps=10,
    members=10,
    spacing="leading",
    stretch=True,
    renormalise=False,
)
PRESETS = {
    preset.name: preset
    for preset in (
        Preset("leadline", PADDED),
        Preset("diffusers", PADDED, Ensembling("pairs", "lower_median", max_res=1024), members=1),
        replace(  # December 2023
            FIRST_MARIGOLD, name="marigold-v0", size=replace(FIRST, filter="bicubic"), unsigned_rgb=True
        ),
        FIRST_MARIGOLD,
        Preset(  # the authors' repository, May 2025
            "marigold-v1.1",
            AUTHORS,
            Ensembling("pairs", "lower_median", max_iter=50, tol=1e-6, max_res=1024),
            members=1,
            renormalise=False,
        ),
        Preset(
            "e2e-ft",  # the authors' repository, October 2024
            AUTHORS,
            Ensembling("joint", "lower_median", normals="member"),
            steps=1,
            members=1,
            spacing="trailing",
            clean_latent=True,
            stretch=True,
            clip_normals=False,
            norm_floor=0.0,
            norm_extra=1e-5,
            renormalise=False,
            plain_losses=True,
        ),
    )
}


def get(name: str, among: Mapping[str, Preset] = PRESETS) -> Preset:
    """The preset of that name. Raises UsageError that names the nearest one.

    >>> get("e2e-ft").stretch
    True
    """
    if name not in among:
        raise UsageError(f"preset {name!r} is unknown: {did_you_mean(name, among)}")
    return among[name]


class Config(BaseModel):
    """What the Config of every method holds: the arithmetic around its network."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    compat: str = "leadline"  # arithmetic of a released program: the name of a preset
    size: dict[str, Any] = {}  # what differs from that preset's SizeRule

    @property
    def presets(self) -> Mapping[str, Preset]:
        """The names that `compat` takes, and what they mean for this model."""
        return PRESETS

    @property
    def preset(self) -> Preset:
        """The preset of `compat`, with the config's own size."""
        preset = get(self.compat, self.presets)
        return replace(preset, size=replace(preset.size, **self.size))

    @model_validator(mode="after")
    def _possible(self) -> Self:
        try:
            _ = self.preset
        except (TypeError, UsageError) as error:
            raise ValueError(f"size or compat: {error}") from None
        return self

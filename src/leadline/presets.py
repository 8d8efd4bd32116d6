"""Where released versions of one method differ in small, result-changing ways: the differences as data."""

from __future__ import annotations

from dataclasses import dataclass

from leadline.errors import UsageError, nearest
from leadline.sizes import SizeRule


@dataclass(frozen=True)
class Preset:
    """The arithmetic around a network. Everything but the name is a number or a switch, never a code path."""

    name: str
    size: SizeRule  # what a model's card does not say otherwise
    stretch: bool = False  # minimum and maximum of each map become 0 and 1 before it is resized
    norm_floor: float = 1e-6  # normals: n / (max(|n|, norm_floor) + norm_extra)
    norm_extra: float = 0.0
    renormalise: bool = True  # normals are made unit length again after a resize
    plain_losses: bool = False  # float32 normal equations and a bare arccos, as the authors released them


PRESETS = {
    preset.name: preset
    for preset in (
        Preset("leadline", SizeRule(768, multiple=8, pad="replicate")),  # diffusers' geometry
        Preset(
            "e2e-ft",  # the authors' repository, October 2024
            SizeRule(768, rounding="author", quantise=True, antialias_out=True),
            stretch=True,
            norm_floor=0.0,
            norm_extra=1e-5,
            renormalise=False,
            plain_losses=True,
        ),
    )
}


def get(name: str) -> Preset:
    """The preset of that name. Raises UsageError that names the nearest one.

    >>> get("e2e-ft").stretch
    True
    """
    if name not in PRESETS:
        hint = nearest(name, PRESETS)
        known = f"did you mean {hint!r}?" if hint else f"known are {', '.join(PRESETS)}"
        raise UsageError(f"preset {name!r} is unknown: {known}")
    return PRESETS[name]

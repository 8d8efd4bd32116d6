"""Where released versions of one method differ in small, result-changing ways: the differences as data."""

from __future__ import annotations

from dataclasses import dataclass

from leadline.errors import UsageError, nearest


@dataclass(frozen=True)
class Preset:
    """The arithmetic around a network. The defaults are this library's own; see `PRESETS` for the others."""

    name: str
    stretch: bool = False  # each map's minimum and maximum become 0 and 1
    norm_floor: float = 1e-6  # normals: n / max(|n|, floor)
    norm_extra: float = 0.0  # normals: n / (|n| + extra), the authors' guard, in place of the floor
    renormalise: bool = True  # normals are made unit length again after a resize
    plain_losses: bool = False  # float32 normal equations and a bare arccos, as released


PRESETS = {
    preset.name: preset
    for preset in (
        Preset("leadline"),
        Preset("e2e-ft", stretch=True, norm_floor=0.0, norm_extra=1e-5, renormalise=False, plain_losses=True),
    )
}


def get(name: str) -> Preset:
    """The preset of that name. Raises UsageError that names the nearest one.

    >>> get("e2e-ft").stretch
    True
    """
    if name not in PRESETS:
        hint = nearest(name, PRESETS)
        raise UsageError(
            f"preset {name!r} is unknown: "
            + (f"did you mean {hint!r}?" if hint else f"known are {', '.join(PRESETS)}")
        )
    return PRESETS[name]

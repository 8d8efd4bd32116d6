"""Marigold in small, with the weights of the stored arrays."""

from __future__ import annotations

import tiny

from leadline import weights
from leadline.cards import Card, Defaults
from leadline.methods.marigold import Config, Marigold
from leadline.prediction import Kind
from leadline.schedule import Schedule

SCHEDULES = {  # of the stored arrays: (spacing, zero-terminal SNR)
    "tz": ("trailing", True),
    "t": ("trailing", False),
    "l": ("leading", False),
}


def published(schedule=None, defaults=None, **options):
    """A model in the published layout, with the weights of the stored arrays."""
    unet, autoencoder = weights.build(tiny.UNET), weights.build(tiny.AUTOENCODER)
    tiny.fill(unet, "unet.")
    tiny.fill(autoencoder, "vae.")
    config, text = Config(**options), tiny.fixed("empty_text_embedding", 1, 2, 24)
    kind = Kind.normals if config.target == "normals" else Kind.affine_depth
    card = Card(name="tiny", method="marigold", kind=kind, defaults=defaults or Defaults(steps=2))
    return Marigold(config, unet, autoencoder, schedule, text, card).eval()


def stored(name, **options):
    spacing, zero_snr = SCHEDULES[name]
    return published(Schedule(zero_snr=zero_snr), spacing=spacing, **options)

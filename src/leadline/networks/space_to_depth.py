"""The lossless latent: every block of r x r pixels becomes one latent pixel of r^2 times the channels.

Takes the place of a variational autoencoder where a model is trained from nothing: no reconstruction error,
so edges can stay as sharp as the picture's, and no work at all.
"""

from __future__ import annotations

import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor


class SpaceToDepth(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Pixel blocks as latent channels. No weights; saved like any diffusers model, so that folders name it.

    >>> import torch
    >>> x = torch.rand(1, 3, 8, 12); latent = SpaceToDepth(factor=4)
    >>> latent.encode(x).shape, bool((latent.decode(latent.encode(x)) == x).all())
    (torch.Size([1, 48, 2, 3]), True)
    """

    config_name = "config.json"

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(self, factor: int = 4) -> None:
        super().__init__()
        self.factor = factor

    def encode(self, x: Tensor) -> Tensor:
        """[B,C,H,W] -> [B,C*r*r,H/r,W/r]; H and W must be multiples of r."""
        return F.pixel_unshuffle(x, self.factor)

    def decode(self, z: Tensor) -> Tensor:
        """[B,C*r*r,h,w] -> [B,C,h*r,w*r]: 3 channels, or 1 where the latent holds r*r channels."""
        return F.pixel_shuffle(z, self.factor)

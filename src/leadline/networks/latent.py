"""One way to call every autoencoder: pictures in [-1,1] <-> the latents that a diffusion network knows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, AutoencoderTiny
from torch import Generator, Tensor, nn

from leadline.errors import ShapeError, WeightsError, check_shape
from leadline.networks.kept import Latents
from leadline.networks.space_to_depth import SpaceToDepth

DECODERS = ("decoder", "post_quant_conv")  # what a latent passes on its way to a picture


def encode(autoencoder: nn.Module, x: Tensor) -> Tensor:
    """Pictures [B,3,H,W] in [-1,1] -> scaled latents [B,C,h,w]; the mean of a variational code, never a
    sample.

    Sides that are no multiple of `factor(autoencoder)` lose their remainder at the bottom and right.
    """
    kept: Latents | None = getattr(autoencoder, "kept_latents", None)
    return kept.get(x, partial(_encode, autoencoder)) if kept else _encode(autoencoder, x)


def moments(autoencoder: nn.Module, x: Tensor) -> tuple[Tensor, Tensor | None]:
    """Pictures [B,3,H,W] in [-1,1] -> mean and deviation of their scaled latents, [B,C,h,w] each; None where
    an autoencoder knows of no deviation.
    """
    kept: Latents | None = getattr(autoencoder, "kept_latents", None)
    if not hasattr(autoencoder, "quant_conv") and not hasattr(autoencoder, "moments"):
        return encode(autoencoder, x), None
    work = partial(_moments, autoencoder)
    mean, deviation = (kept.get(x, work, "moments") if kept else work(x)).chunk(2, dim=1)
    return mean, deviation


def _moments(autoencoder: nn.Module, x: Tensor) -> Tensor:
    """Mean and deviation of scaled latents, one behind the other, [B,2C,h,w]."""
    model: Any = autoencoder
    if hasattr(model, "moments"):
        mean, logvar = model.moments(x).chunk(2, dim=1)
    else:
        code = model.encode(x).latent_dist
        mean, logvar = code.mean, code.logvar
    deviation = (0.5 * logvar.clamp(-30, 20)).exp()
    both: Tensor = torch.cat([mean, deviation], dim=1) * model.config.scaling_factor
    return both


def keep(autoencoder: nn.Module, folder: Path) -> None:
    """From now on each picture's latents are looked for in the folder, and kept there. For frozen weights."""
    autoencoder.kept_latents = Latents(folder, autoencoder)  # type: ignore[assignment]


def _encode(autoencoder: nn.Module, x: Tensor) -> Tensor:
    model: Any = autoencoder
    if isinstance(autoencoder, AutoencoderTiny):  # it would add to them instead
        h, w = (side - side % factor(autoencoder) for side in x.shape[2:])
        x = x[..., :h, :w]
    code = model.encode(x)
    latents: Tensor
    if isinstance(autoencoder, SpaceToDepth):
        latents = code
    else:
        mean = code.latent_dist.mode() if hasattr(code, "latent_dist") else code.latents
        latents = mean * model.config.scaling_factor
    return latents


def decode(autoencoder: nn.Module, z: Tensor) -> Tensor:
    """Scaled latents [B,C,h,w] -> pictures [B,3,H,W], nominally in [-1,1], not clipped; gradients pass."""
    model: Any = autoencoder
    picture: Tensor
    if isinstance(autoencoder, SpaceToDepth):
        picture = model.decode(z)
    else:
        picture = model.decode(z / model.config.scaling_factor).sample
    return picture


def starts(
    x: Tensor,
    generators: Sequence[Generator] | None,
    z_T: Tensor | None,
    draw: Callable[[Sequence[Generator] | None], Tensor],
) -> Iterator[tuple[Tensor, Sequence[Generator] | None]]:
    """Each member's start latents, as the pictures' x [B,C,h,w], and its generators, one per picture.

    An ensemble of E has E generators or latents z_T [B*E,C,h,w] per picture, those of one picture together.
    Without z_T a member's start is what `draw` makes of its generators. Raises ShapeError for z_T of other
    sizes than x, or of other numbers.

    >>> z = torch.arange(4.0).view(4, 1, 1, 1)
    >>> [start.flatten().tolist() for start, _ in starts(z[:2], None, z, lambda _: z)]
    [[0.0, 2.0], [1.0, 3.0]]
    """
    if z_T is not None:
        check_shape(z_T, "N C h w", "z_T", C=x.shape[1], h=x.shape[2], w=x.shape[3])
        if not len(z_T) or len(z_T) % len(x):
            raise ShapeError(f"z_T holds {len(z_T)} latents for {len(x)} pictures: the same number for each")
    given = z_T if z_T is not None else generators or ()
    members = max(1, len(given) // len(x))
    for e in range(members):
        own = generators and generators[e::members]
        yield draw(own) if z_T is None else z_T[e::members], own


def posterior(autoencoder: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """Means and logarithms of variances [B,C,h,w] of a variational code, not scaled, of pictures [B,3,H,W].

    The logarithms are cut to -30 and 20.
    """
    model: Any = autoencoder
    code = model.encode(x).latent_dist
    return code.mean, code.logvar


def scale(autoencoder: nn.Module) -> float:
    """What a code is multiplied by to be a latent."""
    model: Any = autoencoder
    return 1.0 if isinstance(autoencoder, SpaceToDepth) else float(model.config.scaling_factor)


def check_variational(autoencoder: nn.Module) -> None:
    """Raises WeightsError for an autoencoder whose codes are no distributions."""
    if not isinstance(autoencoder, AutoencoderKL):
        name = type(autoencoder).__name__
        raise WeightsError(f"{name} codes without a distribution, depth_vae=paper trains one: say decoder")


def whole(valid: Tensor, factor: int) -> Tensor:
    """Which latent pixels all pixels below are valid for: [B,1,H,W] bool -> [B,1,H/factor,W/factor].

    >>> import torch
    >>> whole(torch.tensor([[[[1, 1, 1, 0], [1, 1, 1, 1]]]], dtype=torch.bool), 2).tolist()
    [[[[True, False]]]]
    """
    return F.max_pool2d((~valid).float(), factor) == 0


def factor(autoencoder: nn.Module) -> int:
    """How many pixels one latent pixel covers along a side."""
    model: Any = autoencoder
    if isinstance(autoencoder, SpaceToDepth):
        return int(model.factor)
    return int(2 ** (len(model.config.block_out_channels) - 1))


def channels(autoencoder: nn.Module) -> int:
    """Of a latent."""
    model: Any = autoencoder
    if isinstance(autoencoder, SpaceToDepth):
        return int(3 * model.factor**2)
    return int(model.config.latent_channels)


def check_alike(own: nn.Module, other: nn.Module) -> None:
    """Raises WeightsError unless the other autoencoder's latents have the shape of a model's own."""
    (found, by), (needed, to) = ((channels(x), factor(x)) for x in (other, own))
    if (found, by) != (needed, to):
        raise WeightsError(
            f"this autoencoder makes {found} channels at 1/{by} of the picture, the model's own {needed} at "
            f"1/{to}: use one for the same latents"
        )


def multiple(autoencoder: nn.Module, unet: nn.Module) -> int:
    """What the sides of a picture must be multiples of for these networks to run.

    diffusers' conditional UNet passes on the sizes of its skips and takes any latent; its plain UNet2DModel
    does not.
    """
    model: Any = unet
    halvings = 0 if hasattr(model.config, "cross_attention_dim") else len(model.config.block_out_channels) - 1
    strict = isinstance(autoencoder, SpaceToDepth) or halvings
    return factor(autoencoder) * 2**halvings if strict else 1

"""The first stage: an autoencoder for pictures of depth, from the one for photographs (Sec. 3.2, eq. 4).

decoder    the way back alone is trained: latents stay what the UNet's prior knows
paper      the way in too, with drawn latents that are kept near the normal distribution
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Generator, Tensor, nn

from leadline import losses
from leadline.coding import Codec
from leadline.errors import UsageError, WeightsError
from leadline.losses import Loss
from leadline.methods.metricgold.config import Config
from leadline.networks import latent


def choose_weights(autoencoder: nn.Module, config: Config) -> None:
    """Which of its weights are trained. Raises WeightsError for one that cannot be trained so."""
    autoencoder.requires_grad_(config.depth_vae == "paper")
    if config.depth_vae == "paper":
        latent.check_variational(autoencoder)
        return
    network: Any = autoencoder
    if getattr(network, "decoder", None) is None:
        raise WeightsError(f"{type(network).__name__} has no decoder to train: choose another autoencoder")
    for part in (network.decoder, getattr(network, "post_quant_conv", None)):
        if part is not None:
            part.requires_grad_(True)


def rebuilding(
    autoencoder: nn.Module,
    y: Tensor,
    known: Tensor,
    config: Config,
    codec: Codec,
    generator: Generator | None,
) -> Loss:
    """The objective for codes [B,1,h,w] that are known [B,1,h,w]. Its parts tell the deviation of the scaled
    latents, too: far from 1, the UNet's noise levels do not fit them (`depth_latent_scale`).
    """
    picture = y.expand(-1, 3, -1, -1)
    if config.depth_vae == "decoder":
        with torch.no_grad():
            z = latent.encode(autoencoder, picture)
        code = latent.decode(autoencoder, z).mean(dim=1, keepdim=True)
        found = comparison(code, y, known, config, codec, "code")
    else:
        z, kl = _drawn(autoencoder, picture, generator)
        code = latent.decode(autoencoder, z).float()
        error = losses.l1(code, picture, known)
        parts = {"code": error.detach(), "absrel": absrel(code, y, known, codec)}
        own = Loss(config.kl_weight * kl, {"kl": kl.detach()}, len(picture))
        found = losses.summed(Loss(error, parts, known.sum()), own)
    found.parts["deviation"] = z.detach().float().std()
    return found


def _drawn(autoencoder: nn.Module, picture: Tensor, generator: Generator | None) -> tuple[Tensor, Tensor]:
    """A latent from each code, and how far codes are from the normal distribution, per element."""
    if generator is None:
        raise UsageError("latents are drawn in training: pass a generator")
    mean, log_variance = latent.posterior(autoencoder, picture)
    epsilon = torch.randn(mean.shape, generator=generator, device=generator.device).to(mean)
    z = mean + (log_variance / 2).exp() * epsilon
    kl = losses.kl(mean.float(), log_variance.float()).mean() / mean[0].numel()
    return latent.scale(autoencoder) * z, kl


def comparison(code: Tensor, y: Tensor, known: Tensor, config: Config, codec: Codec, name: str) -> Loss:
    """Error and slopes of codes [B,1,h,w]; of logarithmic ones, both are relative."""
    code = code.float()
    error, slopes = losses.l1(code, y, known), losses.slopes(code, y, known)
    parts = {name: error.detach(), "slopes": slopes.detach(), "absrel": absrel(code, y, known, codec)}
    return Loss(error + config.gradient_weight * slopes, parts, known.sum())


def absrel(code: Tensor, y: Tensor, known: Tensor, codec: Codec) -> Tensor:
    """Relative error in metres. Of a rebuilt truth it is the least that a perfect UNet would leave."""
    found, truth = (codec.decode(c.detach().mean(dim=1, keepdim=True)) for c in (code, y))
    return losses.l1(found / truth, torch.ones_like(truth), known)

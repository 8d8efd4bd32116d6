"""More input channels for a trained network: its first convolution is repeated, its weights shared out."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from leadline.errors import UsageError


def repeat(weight: Tensor, bias: Tensor, times: int, *, share_bias: bool = False) -> tuple[Tensor, Tensor]:
    """Kernel [O,C,k,k] and bias [O] -> kernel [O,times*C,k,k], divided by `times`, and bias.

    A picture given `times` times then has the answer of the old kernel, if the bias is left alone, as
    Marigold does. `share_bias` divides the bias as well, as E2E-FT's and GeoWizard's code does.
    """
    return weight.repeat(1, times, 1, 1) / times, bias / times if share_bias else bias.clone()


def widen(unet: nn.Module, channels: int = 8, *, share_bias: bool = False) -> nn.Module:
    """The UNet itself, taking `channels` input channels from now on; nothing happens if it does already.

    `channels` must be a multiple of what it takes now (UsageError).
    """
    old: Any = unet.conv_in
    times, rest = divmod(channels, old.in_channels)
    if rest:
        raise UsageError(
            f"{channels} input channels asked for, but the UNet has {old.in_channels}: use a multiple"
        )
    if times > 1:
        new = nn.Conv2d(channels, old.out_channels, old.kernel_size, old.stride, old.padding)
        weight, bias = repeat(old.weight.detach(), old.bias.detach(), times, share_bias=share_bias)
        new.weight, new.bias = nn.Parameter(weight), nn.Parameter(bias)
        unet.conv_in = new
        unet.register_to_config(in_channels=channels)  # type: ignore[operator]
    return unet

"""3x3 convolutions with 4/9 of the multiplications: Winograd's F(2x2, 3x3), after Lavin and Gray (2016).

A block of 2x2 results depends on 4x4 pixels d, and with their eq. 8

    Y = A^T [(G g G^T) * (B^T d B)] A

each of the 16 products in the middle is, over all blocks and channels, one matrix product. A and B hold ones
and zeros, G halves, and sums are shorter than those of the plain convolution: the result is no less exact.
On processors alone, and for many channels, where the sums around the products cost little beside these.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LEAST_CHANNELS = 256  # with half as many the sums cost what the products save
LEAST_PIXELS = 1024  # below, transforming the kernel does
SPREAD = 4  # values held at a time for each value that comes in or goes out


def pays(conv: nn.Conv2d, x: Tensor) -> bool:
    """Whether this is quicker than the plain convolution of a map x [1,C,H,W]."""
    many = min(conv.in_channels, conv.out_channels) >= LEAST_CHANNELS
    return (
        many
        and x.shape[2] * x.shape[3] >= LEAST_PIXELS
        and x.dtype == torch.float32
        and x.device.type == "cpu"
    )


def convolution(conv: nn.Conv2d) -> Callable[[Tensor], Tensor]:
    """[1,C,h + 2,W] -> [1,O,h,W]: as padding=(0, 1) of the plain 3x3 convolution."""
    kernels, bias = transformed(conv.weight), conv.bias
    return lambda window: convolve(window, kernels, bias)


def transformed(weight: Tensor) -> Tensor:
    """Kernel [O,C,3,3] -> G g G^T as matrices [16,C,O]."""
    g = _filtered(_filtered(weight.permute(2, 3, 0, 1), 0), 1)  # [4,4,O,C]
    return g.flatten(0, 1).transpose(1, 2)


def convolve(window: Tensor, kernels: Tensor, bias: Tensor | None) -> Tensor:
    """[1,C,h + 2,W] and kernels [16,C,O] -> [1,O,h,W].

    >>> x, w = torch.rand(1, 3, 7, 9), torch.rand(5, 3, 3, 3)
    >>> torch.allclose(convolve(x, transformed(w), None), F.conv2d(x, w, padding=(0, 1)), atol=1e-5)
    True
    """
    height, width = window.shape[2] - 2, window.shape[3]
    h, w = -(-height // 2), -(-width // 2)  # blocks
    d = F.pad(window[0].permute(1, 2, 0), (0, 0, 1, 1 + width % 2, 0, height % 2))  # [2h+2,2w+2,C]
    rows = d.new_empty(4, h, 2 * w + 2, d.shape[2])
    _differences([d[i : i + 2 * h : 2] for i in range(4)], list(rows))
    blocks = d.new_empty(4, 4, h, w, d.shape[2])
    _differences([rows[:, :, i : i + 2 * w : 2] for i in range(4)], list(blocks.unbind(1)))
    m = torch.bmm(blocks.view(16, h * w, -1), kernels).view(4, 4, h, w, -1)
    y = m.new_empty(2, 4, h, w, m.shape[4])
    _sums(m, list(y))
    out = m.new_empty(h, 2, w, 2, m.shape[4])
    for parity in range(2):
        _sums(y[parity], [out[:, parity, :, 0], out[:, parity, :, 1]])
    result = out.view(2 * h, 2 * w, -1)[:height, :width].permute(2, 0, 1)[None]
    return result if bias is None else result.add_(bias[:, None, None])


def _filtered(g: Tensor, dim: int) -> Tensor:
    """G along one dimension: 3 -> 4."""
    first, middle, last = g.unbind(dim)
    even, odd = (first + last) / 2, middle / 2
    return torch.stack([first, even + odd, even - odd, last], dim)


def _differences(d: list[Tensor], out: list[Tensor]) -> None:
    """B^T along one dimension: 4 -> 4."""
    torch.sub(d[0], d[2], out=out[0])
    torch.add(d[1], d[2], out=out[1])
    torch.sub(d[2], d[1], out=out[2])
    torch.sub(d[1], d[3], out=out[3])


def _sums(m: Tensor, out: list[Tensor]) -> None:
    """A^T along the first dimension: 4 -> 2."""
    torch.add(m[0], m[1], out=out[0]).add_(m[2])
    torch.sub(m[1], m[2], out=out[1]).sub_(m[3])

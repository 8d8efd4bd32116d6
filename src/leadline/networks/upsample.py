"""Nearest-neighbour doubling followed by a 3x3 convolution, as four 2x2 convolutions of the small map.

Of the nine pixels under the kernel only four differ, and which of them coincide depends on whether the row
and the column of the result are even or odd. So one kernel of summed weights serves each of the four cases,
with 4/9 of the multiplications and without the doubled map:

    even row 2i  reads rows i-1, i, i   -> weights w0, w1 + w2 on rows i-1, i
    odd row 2i+1 reads rows i, i, i+1   -> weights w0 + w1, w2 on rows i, i+1

The sums are made at each call: of large maps they cost a percent of the convolution, and nothing is stored
twice. Of small maps they would cost more than they save.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from diffusers.models.upsampling import Upsample2D
from torch import Tensor, nn

LEAST_PIXELS = 256  # of the small map: with 108 of them the plain way is a third quicker on a processor


def pays(x: Tensor) -> bool:
    """Whether this is quicker than doubling and convolving a map x [B,C,H,W]."""
    return x.shape[2] * x.shape[3] >= LEAST_PIXELS


def phases(weight: Tensor) -> Iterator[tuple[int, int, Tensor]]:
    """Kernel [O,C,3,3] -> for each parity of row and column: row, column, and its kernel [O,C,2,2]."""
    for row, rows in enumerate(_sums(weight, 2)):
        for column, kernel in enumerate(_sums(rows, 3)):
            yield row, column, kernel.contiguous(memory_format=torch.channels_last)


def double(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """[B,C,H,W] -> [B,O,2H,2W]: doubled, then convolved with a kernel [O,C,3,3] and a border of one zero.

    >>> x, w, b = torch.rand(1, 2, 3, 5), torch.rand(4, 2, 3, 3), torch.rand(4)
    >>> plain = F.conv2d(F.interpolate(x, scale_factor=2.0), w, b, padding=1)
    >>> torch.allclose(double(x, w, b), plain, atol=1e-5)
    True
    """
    batch, _, height, width = x.shape
    shape = (batch, len(weight), 2 * height, 2 * width)
    out = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
    for row, column, kernel in phases(weight):
        y = F.conv2d(x, kernel, bias, padding=1)  # [B,O,H+1,W+1]: one row and column too many
        out[:, :, row::2, column::2] = y[:, :, row : row + height, column : column + width]
    return out


class Doubling(nn.Module):
    """Nearest x2 and 3x3 convolution in one; small maps, and sizes not exactly doubled, the plain way."""

    def __init__(self, plain: Upsample2D) -> None:
        super().__init__()
        self.plain = plain

    def forward(self, x: Tensor, output_size: tuple[int, int] | None = None) -> Tensor:
        """[B,C,h,w] -> [B,O,2h,2w], or of the size asked for."""
        out: Tensor
        exact = output_size is None or tuple(output_size) == (2 * x.shape[2], 2 * x.shape[3])
        if not (exact and pays(x)):
            out = self.plain(x, output_size)
        else:
            out = double(x, self.plain.conv.weight, self.plain.conv.bias)
        return out


def covers(module: nn.Module) -> bool:
    """Whether a module doubles its map and convolves it as above, and does nothing else."""
    conv = getattr(module, "conv", None)
    return (
        isinstance(module, Upsample2D)
        and type(conv) is nn.Conv2d
        and (conv.kernel_size, conv.padding) == ((3, 3), (1, 1))
        and module.interpolate
        and module.norm is None
    )


def _sums(weight: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Three taps along `dim` -> the two taps of even and of odd results."""
    first, middle, last = weight.unbind(dim)
    return torch.stack([first, middle + last], dim), torch.stack([first + middle, last], dim)

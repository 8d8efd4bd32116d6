"""Winograd's convolution against the plain one."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.testing import assert_close

from leadline.networks import winograd


def error(values: Tensor, exact: Tensor) -> float:
    return float((values.double() - exact).abs().max() / exact.abs().max())


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (1, 4), (3, 5), (6, 8), (7, 10)])
def test_any_size_even_or_odd(size):
    conv = nn.Conv2d(5, 7, 3, padding=1).double()
    x = torch.randn(1, 5, size[0] + 2, size[1], dtype=torch.float64)
    with torch.no_grad():
        assert_close(winograd.convolution(conv)(x), F.conv2d(x, conv.weight, conv.bias, padding=(0, 1)))


def test_a_convolution_without_bias():
    x, weight = torch.randn(1, 3, 6, 4), torch.randn(2, 3, 3, 3)
    y = winograd.convolve(x, winograd.transformed(weight), None)
    assert_close(y, F.conv2d(x, weight, padding=(0, 1)), rtol=1e-4, atol=1e-5)


def test_rounding_is_that_of_float32():
    x, weight = torch.randn(1, 256, 10, 16), torch.randn(32, 256, 3, 3)
    exact = F.conv2d(x.double(), weight.double(), padding=(0, 1))
    assert error(winograd.convolve(x, winograd.transformed(weight), None), exact) < 2e-6


@pytest.mark.parametrize(
    ("channels", "size", "dtype", "expected"),
    [
        ((512, 256), (64, 64), torch.float32, True),
        ((256, 128), (64, 64), torch.float32, False),
        ((512, 512), (8, 8), torch.float32, False),
        ((512, 512), (64, 64), torch.bfloat16, False),
    ],
)
def test_it_is_taken_for_many_channels_and_large_maps_alone(channels, size, dtype, expected):
    with torch.device("meta"):
        conv = nn.Conv2d(*channels, 3, padding=1)
    assert winograd.pays(conv, torch.empty(1, 1, 1, 1, dtype=dtype).expand(1, 1, *size)) is expected

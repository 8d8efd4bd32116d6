"""More input channels for a trained UNet."""

from __future__ import annotations

import pytest
import tiny
import torch
from torch.testing import assert_close

from leadline import weights
from leadline.errors import UsageError
from leadline.networks import conv_in


@pytest.mark.parametrize(
    ("names", "times", "share_bias"),
    [("e2e_{}", 2, True), ("e2e_{}_x3", 3, True), ("marigold_{}", 2, False)],
)
def test_repeat_matches_reference(names, times, share_bias, golden):
    g = golden("e2e/conv_in")
    weight, bias = conv_in.repeat(g.weight_in, g.bias_in, times, share_bias=share_bias)
    assert torch.equal(weight, g[names.format("weight")])
    assert torch.equal(bias, g[names.format("bias")])


def test_a_widened_unet_gives_the_old_answer_to_doubled_input():
    unet = weights.build(tiny.UNET | {"in_channels": 4}).eval()
    z, text = torch.randn(1, 4, 8, 8), torch.randn(1, 2, 24)
    with torch.inference_mode():
        before = unet(z, 999, text).sample
        after = conv_in.widen(unet, 8)(torch.cat([z, z], dim=1), 999, text).sample
    assert_close(after, before, rtol=1e-5, atol=1e-5)
    assert unet.config.in_channels == 8


def test_a_unet_that_is_wide_enough_stays_as_it_is():
    unet = weights.build(tiny.UNET)
    before = unet.conv_in
    assert conv_in.widen(unet, 8).conv_in is before


def test_impossible_widths_are_refused():
    with pytest.raises(UsageError, match="the UNet has 8"):
        conv_in.widen(weights.build(tiny.UNET), 12)


def test_a_widened_unet_survives_saving(tmp_path):
    unet = conv_in.widen(weights.build(tiny.UNET | {"in_channels": 4}), 8)
    weights.save_network(unet, tmp_path)
    assert torch.equal(weights.load_network(tmp_path).conv_in.weight, unet.conv_in.weight)


def test_metricgolds_doubled_convolution_matches_reference(golden):
    g = golden("metricgold/conv_in_8ch")
    weight, bias = conv_in.repeat(g.weight4, g.bias4, 2)
    assert_close(weight, g.weight8, rtol=0, atol=1e-5)
    assert_close(bias, g.bias8, rtol=0, atol=1e-5)

    def seen(*latents):
        return torch.nn.functional.conv2d(torch.cat(latents, dim=1), weight, bias, padding=1)

    assert_close(seen(g.rgb_latent, g.depth_latent), g.out8, rtol=0, atol=1e-5)
    assert_close(g.out4_of_mean, g.out8, rtol=0, atol=1e-5)
    assert_close(seen(g.rgb_latent, g.rgb_latent), g.out8_same, rtol=0, atol=1e-5)
    assert_close(g.out4_same, g.out8_same, rtol=0, atol=1e-5)

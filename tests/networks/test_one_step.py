"""The plain networks and their one-step forms, held together."""

from __future__ import annotations

from typing import Any

import pytest
import tiny
import torch
import torch.nn.functional as F
from diffusers.models.attention_processor import Attention
from diffusers.models.upsampling import Upsample2D
from torch import Tensor, nn

from leadline import weights
from leadline.errors import UsageError
from leadline.networks import upsample
from leadline.networks.one_step import (
    ConstantText,
    Timeless,
    TwoTokens,
    specialise_unet,
)

T = 999
UNET: dict[str, Any] = tiny.UNET | {  # Stable Diffusion 2 in small: four levels, heads of one width
    "down_block_types": ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"],
    "up_block_types": ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3,
    "block_out_channels": [8, 16, 32, 32],
    "layers_per_block": 2,
    "norm_num_groups": 4,
    "attention_head_dim": [2, 4, 8, 8],
}


@pytest.fixture(autouse=True)
def small_maps_are_doubled_as_large_ones(monkeypatch):
    monkeypatch.setattr(upsample, "LEAST_PIXELS", 1)


def unet(**options: Any) -> nn.Module:
    network = weights.build(UNET | options).eval()
    tiny.fill(network, "unet.")
    return network


def text(tokens: int = 2) -> Tensor:
    return tiny.fixed(f"text_{tokens}", 1, tokens, 24)


def seen(batch: int = 1, height: int = 16, width: int = 24) -> Tensor:
    """Latents of pictures beside the zeros of the only step."""
    z = torch.randn(batch, 4, height, width)
    return torch.cat([z, torch.zeros_like(z)], dim=1)


def assert_same(fast: Tensor, plain: Tensor, tolerance: float = 1e-4) -> None:
    """Largest difference against the range of the plain values."""
    assert fast.shape == plain.shape
    span = (plain.max() - plain.min()).item()
    assert (fast - plain).abs().max().item() <= tolerance * span


def count(network: nn.Module, kind: type[nn.Module]) -> int:
    return sum(isinstance(module, kind) for module in network.modules())


@torch.inference_mode()
def compare(plain: nn.Module, x: Tensor, tokens: int = 2) -> nn.Module:
    fast = specialise_unet(plain, T, text(tokens), zero_channels=4)
    condition = text(tokens).expand(len(x), -1, -1)
    assert_same(fast(x, T, condition).sample, plain(x, T, condition).sample)
    return fast


@pytest.mark.parametrize("size", [(16, 24), (9, 13), (8, 11), (7, 8)])
def test_the_fast_unet_gives_the_answer_of_the_plain_one_at_any_size(size):
    compare(unet(), seen(1, *size))


@pytest.mark.parametrize("tokens", [1, 2, 3, 77])
def test_any_number_of_tokens(tokens):
    compare(unet(), seen(), tokens)


@pytest.mark.parametrize(
    "options",
    [
        {"use_linear_projection": False},
        {"attention_head_dim": 4},  # Stable Diffusion 1: one number of heads
        {"attention_head_dim": [1, 2, 4, 4]},
        {"upcast_attention": True},
        {"transformer_layers_per_block": 2},
        {"only_cross_attention": True},
        {"time_embedding_act_fn": "silu"},
    ],
)
def test_variants_of_the_structure(options):
    compare(unet(**options), seen())


def test_a_batch():
    compare(unet(), seen(3))


def test_everything_that_can_be_folded_is():
    plain = unet()
    blocks, upsamplers = 8 + 2 + 12, 3
    texts = sum(isinstance(m, Attention) and m.is_cross_attention for m in plain.modules())
    fast = specialise_unet(plain, T, text(), zero_channels=4)
    assert count(fast, Timeless) == blocks
    assert count(fast, upsample.Doubling) == upsamplers
    assert count(fast, TwoTokens) == texts == 6 + 1 + 9
    assert fast.unet.conv_in.conv.in_channels == 4


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({"resnet_time_scale_shift": "scale_shift"}, Timeless),
        ({"class_embed_type": "timestep", "num_class_embeds": None}, TwoTokens),
        ({"center_input_sample": True}, ()),
    ],
)
def test_what_is_not_covered_stays_plain(options, kept):
    plain = unet(**options)
    fast = specialise_unet(plain, T, text(), zero_channels=4)
    assert not kept or count(fast, kept) == 0
    if "class_embed_type" not in options:
        compare(plain, seen())


def test_the_plain_unet_stays_as_it_was():
    plain, x = unet().requires_grad_(True), seen()
    with torch.inference_mode():
        before = plain(x, T, text()).sample
    specialise_unet(plain, T, text(), zero_channels=4)
    with torch.inference_mode():
        assert torch.equal(plain(x, T, text()).sample, before)
        assert not torch.equal(plain(x, 1, text()).sample, before)
    assert all(p.requires_grad for p in plain.parameters())


def test_weights_are_shared_and_folded_ones_not_kept():
    plain = unet()
    fast = specialise_unet(plain, T, text())
    own = {p.data_ptr() for p in plain.parameters()}
    new = [p for p in fast.parameters() if p.data_ptr() not in own]
    total = sum(p.numel() for p in plain.parameters())
    assert sum(p.numel() for p in new) < 0.02 * total
    assert sum(p.numel() for p in fast.parameters()) < 0.97 * total


def test_another_timestep_or_text_is_refused():
    fast = specialise_unet(unet(), T, text())
    with torch.inference_mode():
        fast(seen())
        fast(seen(2), torch.tensor(T), text().expand(2, -1, -1))
        with pytest.raises(UsageError, match="specialised for 999"):
            fast(seen(), 1)
        with pytest.raises(UsageError, match="another text"):
            fast(seen(), T, text() + 1)
        with pytest.raises(UsageError, match="another text"):
            fast(seen(), T, text(77))


def test_the_configuration_is_that_of_the_unet():
    assert specialise_unet(unet(), T, text()).config.cross_attention_dim == 24


@torch.inference_mode()
def test_bfloat16_stays_near_float32():
    plain, x = unet(), seen()
    wanted = plain(x, T, text()).sample
    fast = specialise_unet(plain, T, text(), zero_channels=4).to(torch.bfloat16)
    assert_same(fast(x.bfloat16(), T).sample.float(), wanted, 0.05)


@pytest.mark.parametrize("scale", [1, 30])
def test_two_tokens_are_a_sigmoid_also_where_it_saturates(scale):
    attention = Attention(16, cross_attention_dim=24, heads=4, dim_head=4, bias=True)
    x, condition = torch.randn(2, 10, 16) * scale, text()
    with torch.inference_mode():
        plain = attention(x, encoder_hidden_states=condition.expand(2, -1, -1))
        assert_same(TwoTokens(attention, condition)(x), plain)
        assert_same(ConstantText(attention, condition)(x), plain)


@pytest.mark.parametrize("size", [(1, 1), (1, 4), (5, 3)])
def test_four_small_convolutions_equal_doubling_and_one_large(size):
    x, weight, bias = torch.randn(2, 3, *size), torch.randn(5, 3, 3, 3), torch.randn(5)
    plain = F.conv2d(F.interpolate(x, scale_factor=2.0, mode="nearest"), weight, bias, padding=1)
    assert_same(upsample.double(x, weight, bias), plain)
    assert_same(upsample.double(x, weight, None), plain - bias[:, None, None])


@pytest.mark.parametrize(("height", "width", "fast"), [(15, 17, False), (16, 16, True), (2, 128, True)])
def test_small_maps_are_doubled_the_plain_way(height, width, fast, monkeypatch):
    monkeypatch.undo()
    module, calls = upsample.Doubling(Upsample2D(4, use_conv=True)), []
    module.plain.register_forward_hook(lambda *_: calls.append(1))
    module(torch.rand(1, 4, height, width))
    assert len(calls) == (not fast)

"""The preimage: pooled attention against the authors' operator, parts that live only until they are used."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
import tiny
import tiny_primedepth
import torch
import torch.nn.functional as F
from tiny_primedepth import fixed, thinned
from torch.testing import assert_close

from leadline import weights
from leadline.errors import WeightsError
from leadline.networks import one_step, preimage, refiner
from leadline.networks.preimage import Maps

SIZES = {  # of the stored maps: heads, channels of a head, every so many queries
    **dict.fromkeys(("8x8", "16x16", "9x11", "4x4", "1x1", "3x5", "15x17"), (2, 16, 1)),
    "24x32": (2, 16, 7),
    "7x7": (1, 16, 1),
    "20x13": (1, 16, 1),
    "48x64": (1, 16, 7),
    "33x40": (1, 16, 7),
    "64x64": (2, 64, 61),
    "37x128": (1, 40, 61),
}
SLOW = {"72x128": (1, 64, 61)}


def pooled(q, k, height, width):
    """Maps [1,heads*64,h,w] by the fused way."""
    _, maps = preimage.attention_and_maps(q, k, torch.zeros_like(q), height, width)
    return maps.transpose(2, 3).flatten(1, 2)  # [1,heads*64,h*w]


def axis(n):
    return torch.from_numpy(preimage.axis(n)).float()


def check_pooling(size, heads, channels, stride, golden):
    height, width = map(int, size.split("x"))
    shape = (1, heads, height * width, channels)
    q, k = 2 * fixed(f"pool.q.{size}", *shape), fixed(f"pool.k.{size}", *shape)
    name = f"self_{size}" + (f"_stride{stride}" if stride > 1 else "")
    maps = pooled(q, k, height, width)[..., ::stride]
    assert_close(thinned(maps), golden("primedepth/pooling")[name].view_as(thinned(maps)), rtol=0, atol=5e-6)


@pytest.mark.parametrize("size", SIZES)
def test_pooled_attention_is_the_authors_operator(size, golden):
    check_pooling(size, *SIZES[size], golden)


@pytest.mark.slow
@pytest.mark.parametrize("size", SLOW)
def test_pooled_attention_of_large_maps_is_the_authors_operator(size, golden):
    check_pooling(size, *SLOW[size], golden)


def test_axes_are_pooled_as_the_authors_do(golden):
    g = golden("primedepth/pooling")
    for name in (name for name in g if name.startswith("axis_")):
        assert_close(axis(int(name.removeprefix("axis_"))), g[name], rtol=0, atol=5e-6)


def test_any_array_is_pooled_as_the_authors_do(golden):
    raw = fixed("pool.raw.12x10", 2, 3, 120, 120).abs()
    maps = raw @ preimage.pooling(12, 10)  # [2,3,120,64]
    maps = maps / maps.amax(dim=(2, 3), keepdim=True)
    made = maps.transpose(2, 3).reshape(2, 192, 12, 10)
    assert_close(made, golden("primedepth/pooling").raw_12x10, rtol=0, atol=5e-6)


def test_maps_of_tokens_are_the_probabilities(golden):
    """A head's tokens one after the other, whatever is computed at a time."""
    attention = transformer().transformer_blocks[0].attn2
    y, text, place = torch.randn(2, 24, 16), torch.randn(2, 77, 12), torch.empty(2, 24, 2 * 77)
    out = preimage.tokens(attention, y, text, place)
    plain = preimage.tokens(attention, y, text, None)
    q, k = attention.to_q(y).unflatten(2, (2, 8)), attention.to_k(text).unflatten(2, (2, 8))
    probability = torch.einsum("bqhd,bkhd->bqhk", q, k).mul(8**-0.5).softmax(-1)
    assert_close(place, probability.flatten(2))
    assert_close(out, plain)
    stored = golden("primedepth/pooling").cross_4x6
    given = fixed("pool.cross.4x6", 2, 3, 24, 77).softmax(-1)  # the layout of channels
    assert_close(given.transpose(2, 3).reshape(2, 231, 4, 6), stored)


def transformer():
    return tiny_primedepth.small().unet.down_blocks[0].attentions[0]


@torch.inference_mode()
def test_chunks_change_nothing(monkeypatch):
    model = tiny_primedepth.small()
    x, text = torch.randn(1, 16, 6, 9), torch.randn(1, 3, 12)
    whole, maps = preimage.attend(transformer(), x, text, Maps(tokens=3))
    monkeypatch.setattr(preimage, "CHUNK_BYTES", 4 * 2 * 3 * 5)  # five pixels at a time
    again, chunked = preimage.attend(transformer(), x, text, Maps(tokens=3))
    assert_close(again, whole)
    assert_close(chunked, maps)
    assert maps.shape == (1, 2 * (64 + 3), 6, 9)
    assert model is not None


@torch.inference_mode()
def test_a_block_by_block_run_is_diffusers_own():
    unet = tiny_primedepth.small().unet
    x, text = torch.randn(2, 4, 5, 7), torch.randn(2, 3, 12)
    seen = []
    hooks = [
        resnet.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        for block in unet.up_blocks
        for resnet in block.resnets
    ]
    unet(x, 1, text)
    for hook in hooks:
        hook.remove()
    parts = preimage.parts(unet, x, one_step.time_embedding(unet, 1), text, Maps(tokens=3))
    for part, features in zip(parts, seen, strict=True):
        assert_close(part.features, features, rtol=1e-4, atol=1e-5)


@torch.inference_mode()
def test_maps_are_left_out_where_they_are_not_wanted():
    unet = tiny_primedepth.small().unet
    x, emb, text = torch.randn(1, 4, 8, 8), one_step.time_embedding(unet, 1), torch.randn(1, 3, 12)
    for maps in (Maps(False, 3), Maps(True, 0), Maps(False, 0)):
        blocks = preimage.blocks(unet)
        for part, block in zip(preimage.parts(unet, x, emb, text, maps), blocks, strict=True):
            found = 0 if part.attention is None else part.attention.shape[1]
            assert found == maps.per_head * sum(block.heads)


@torch.inference_mode()
def test_maps_come_to_the_size_of_the_features_where_the_encoder_has_none():
    """As in a UNet without attention at its finest level."""
    change = {
        "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"],
        "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"],
    }
    unet = weights.build(tiny_primedepth.SMALL["unet"] | change)
    x, emb, text = torch.randn(1, 4, 9, 8), one_step.time_embedding(unet, 1), torch.randn(1, 2, 12)
    for part in preimage.parts(unet, x, emb, text, Maps(tokens=2)):
        assert part.attention is None or part.attention.shape[2:] == part.features.shape[2:]


@torch.inference_mode()
def test_a_part_lives_only_until_it_is_used():
    unet = tiny_primedepth.small().unet
    x, emb, text = torch.randn(1, 4, 8, 8), one_step.time_embedding(unet, 1), torch.randn(1, 3, 12)
    before: list[weakref.ref] = []
    for part in preimage.parts(unet, x, emb, text, Maps(tokens=3)):
        gc.collect()
        assert [ref for ref in before if ref() is not None] == []
        before += [weakref.ref(x) for x in part[:2]]
        del part


@torch.inference_mode()
def test_bfloat16_keeps_maps_near_float32():
    """Rounded queries and keys alone would move them by up to 8e-3."""
    layer, text = transformer(), torch.randn(1, 3, 12)
    x = torch.randn(1, 16, 12, 12).bfloat16()
    _, exact = preimage.attend(layer, x.float(), text, Maps(tokens=0))
    _, half = preimage.attend(layer.bfloat16(), x, text.bfloat16(), Maps(tokens=0))
    assert half.dtype == torch.bfloat16
    assert (half.float() - exact).abs().mean() < 4e-3


VARIANTS = {  # of Table 3: switches and, verified with the authors' constructor, all weights
    (True, 77, True): 408_079_713,
    (True, 0, True): 337_903_609,
    (False, 77, True): 347_960_193,
    (False, 0, True): 298_973_689,
    (True, 77, False): 299_384_033,
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_full_size_has_the_published_number_of_weights(variant):
    from leadline.networks.primedepth import SD_AUTOENCODER, SD_UNET

    unet, autoencoder = weights.empty(SD_UNET), weights.empty(SD_AUTOENCODER)
    pixels, tokens, features = variant
    with torch.device("meta"):
        plan = refiner.Plan(Maps(pixels, tokens), features)
        made = [
            refiner.Refiner(preimage.blocks(unet), plan, 1280, 1024),
            refiner.head(autoencoder, 512, 3),
            refiner.head(autoencoder, 512, 150),
        ]
    assert sum(p.numel() for part in made for p in part.parameters()) == VARIANTS[variant]
    assert sum(p.numel() for p in unet.parameters()) == 865_910_724


def test_a_unet_of_another_build_is_refused():
    with pytest.raises(WeightsError, match="UNet2DModel has no preimage"):
        preimage.blocks(weights.build(tiny.PLAIN_UNET))


@pytest.mark.parametrize("size", [(1, 2), (3, 1), (1, 1), (2, 8), (37, 5)])
def test_any_size_is_pooled(size):
    height, width = size
    maps = torch.rand(height, width)
    separate = axis(height) @ maps @ axis(width).T
    assert_close(maps.flatten() @ preimage.pooling(height, width), separate.flatten())


def test_pooling_reads_every_key():
    for n in (1, 2, 7, 8, 9, 33, 64):
        assert_close(axis(n).sum(dim=1), torch.ones(8))
    assert np.count_nonzero(preimage.axis(96)[:, 88:]) > 0
    assert F.relu(-preimage.pooling(5, 9)).max() == 0

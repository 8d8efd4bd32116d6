"""The plain autoencoder and the banded one, held together; what the banded one may hold in memory."""

from __future__ import annotations

import weakref
from typing import Any

import pytest
import tiny
import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from leadline import weights
from leadline.networks import bands, latent, upsample, winograd
from leadline.networks.banded import specialise_autoencoder

AUTOENCODER = tiny.AUTOENCODER | {"block_out_channels": [8, 16, 32, 32], "layers_per_block": 2}


class Peak(TorchDispatchMode):
    """The most bytes that tensors made under it hold at once, the input apart."""

    def __init__(self, given: Tensor) -> None:
        super().__init__()
        self.now = self.most = 0
        self.known = {given.untyped_storage()._cdata}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **kwargs or {})
        for x in tree_leaves(out):
            if isinstance(x, Tensor) and x.untyped_storage()._cdata not in self.known:
                self._came(x.untyped_storage())
        return out

    def _came(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        self.known.add(key)
        self.now += size
        self.most = max(self.most, self.now)
        weakref.finalize(storage, self._went, key, size)

    def _went(self, key: int, size: int) -> None:
        self.known.discard(key)
        self.now -= size


@pytest.fixture(autouse=True)
def small_maps_are_doubled_as_large_ones(monkeypatch):
    monkeypatch.setattr(upsample, "LEAST_PIXELS", 1)


def autoencoder(**options: Any) -> nn.Module:
    network = weights.build(AUTOENCODER | options).eval()
    tiny.fill(network, "vae.")
    return network


def pictures(batch: int = 1, height: int = 64, width: int = 48) -> Tensor:
    return torch.rand(batch, 3, height, width) * 2 - 1


def assert_same(fast: Tensor, plain: Tensor, tolerance: float = 1e-4) -> None:
    """Largest difference against the range of the plain values."""
    assert fast.shape == plain.shape
    assert (fast - plain).abs().max().item() <= tolerance * (plain.max() - plain.min()).item()


@torch.inference_mode()
def compare(plain: nn.Module, x: Tensor, **options: Any) -> None:
    fast = specialise_autoencoder(plain, **options)
    z = latent.encode(plain, x)
    assert_same(latent.encode(fast, x), z)
    assert_same(latent.decode(fast, z), latent.decode(plain, z))


@pytest.mark.parametrize("band_bytes", [1, 5_000, 40_000, 10**8])
def test_bands_of_any_height_give_the_answer_of_the_whole(band_bytes):
    compare(autoencoder(), pictures(), band_bytes=band_bytes)


@pytest.mark.parametrize("size", [(8, 8), (24, 200), (61, 45), (72, 40)])
def test_any_size(size):
    compare(autoencoder(), pictures(1, *size), band_bytes=5_000)


@pytest.mark.parametrize(
    "options",
    [
        {"block_out_channels": [8, 8, 8, 8]},  # no shortcut needs a convolution
        {"block_out_channels": [8, 12, 16, 32]},  # results that do not fit into their input's place
        {"layers_per_block": 1},
        {"mid_block_add_attention": False},
        {"use_quant_conv": False, "use_post_quant_conv": False},
        {"act_fn": "relu"},
        {"down_block_types": ["DownEncoderBlock2D"] * 3 + ["AttnDownEncoderBlock2D"]},
        {"up_block_types": ["AttnUpDecoderBlock2D"] + ["UpDecoderBlock2D"] * 3},
    ],
)
def test_variants_of_the_structure_and_modules_that_stay_plain(options):
    compare(autoencoder(**options), pictures(), band_bytes=5_000)


@pytest.mark.parametrize("band_bytes", [1, 40_000, 10**8])
def test_quick_convolutions_give_the_same(monkeypatch, band_bytes):
    monkeypatch.setattr(winograd, "LEAST_CHANNELS", 16)
    monkeypatch.setattr(winograd, "LEAST_PIXELS", 1)
    calls = []
    convolve = winograd.convolve
    monkeypatch.setattr(winograd, "convolve", lambda *args: calls.append(1) or convolve(*args))
    compare(autoencoder(), pictures(1, 72, 40), band_bytes=band_bytes)
    assert calls


def test_values_far_from_zero_keep_their_statistics():
    plain = autoencoder()
    with torch.no_grad():
        plain.encoder.conv_in.bias.add_(30)
    compare(plain, pictures(), band_bytes=5_000)


def test_moments_on_a_gpu_are_taken_of_contiguous_maps(monkeypatch):
    network, x = autoencoder(), torch.rand(1, 3, 40, 56) * 2 - 1
    here = latent.encode(specialise_autoencoder(network), x)
    plain, maps = torch.native_group_norm, []

    def as_a_gpu_does(x, *others):
        assert x.is_contiguous()  # CUDA's kernel: "Expected X.is_contiguous(memory_format) to be true"
        maps.append(x.shape)
        return plain(x, *others)

    monkeypatch.setattr(bands, "LAYOUTS", {})  # no processor among the devices
    monkeypatch.setattr(torch, "native_group_norm", as_a_gpu_does)
    there = latent.encode(specialise_autoencoder(network), x)
    assert maps
    torch.testing.assert_close(there, here, atol=1e-6, rtol=1e-5)


def test_every_residual_block_of_the_published_structure_is_banded(monkeypatch):
    calls = []
    residual_block = bands.residual_block
    monkeypatch.setattr(bands, "residual_block", lambda *args: calls.append(1) or residual_block(*args))
    compare(autoencoder(), pictures())
    assert len(calls) == (4 * 2 + 2) + (4 * 3 + 2)


@torch.inference_mode()
def test_an_image_alone_is_the_image_in_a_batch():
    fast, x = specialise_autoencoder(autoencoder(), band_bytes=5_000), pictures(3)
    z = latent.encode(fast, x)
    assert_same(z, latent.encode(fast.vae, x))
    for i in range(3):
        assert torch.equal(latent.encode(fast, x[i : i + 1]), z[i : i + 1])


@torch.inference_mode()
def test_one_channel_is_the_mean_of_three():
    plain = autoencoder()
    fast = specialise_autoencoder(plain, mean_channels=True)
    z = latent.encode(plain, pictures())
    assert_same(latent.decode(fast, z), latent.decode(plain, z).mean(dim=1, keepdim=True))


@torch.inference_mode()
def test_what_comes_in_is_left_alone():
    fast = specialise_autoencoder(autoencoder(use_post_quant_conv=False), band_bytes=5_000)
    x = pictures().contiguous(memory_format=torch.channels_last)
    z = latent.encode(fast, x).contiguous(memory_format=torch.channels_last)
    before = x.clone(), z.clone()
    latent.encode(fast, x), latent.decode(fast, z)
    assert torch.equal(x, before[0])
    assert torch.equal(z, before[1])


@torch.inference_mode()
def test_bfloat16_stays_near_float32():
    plain = autoencoder()
    z = latent.encode(plain, pictures())
    wanted = latent.decode(plain, z)
    fast = specialise_autoencoder(plain.to(torch.bfloat16))
    assert_same(latent.decode(fast, z.bfloat16()).float(), wanted, 0.05)


@torch.inference_mode()
def test_memory_stays_under_half_of_the_plain_autoencoders():
    plain, x = autoencoder(), pictures(1, 96, 128)
    fast, z = specialise_autoencoder(plain, band_bytes=30_000), latent.encode(plain, x)
    for run, arg, maps in ((latent.encode, x, 2), (latent.decode, z, 2.5)):
        with Peak(arg) as before:
            run(plain, arg)
        with Peak(arg) as after:
            run(fast, arg)
        assert after.most < 0.5 * before.most
        assert after.most < maps * 4 * 8 * 96 * 128 + 150_000  # maps of the widest level, and a few bands


def test_other_autoencoders_come_back_as_they_are():
    for config in (tiny.TINY_AUTOENCODER, tiny.BLOCKS):
        other = weights.build(config)
        assert specialise_autoencoder(other) is other


def test_weights_are_shared_and_the_plain_path_stays():
    plain = autoencoder()
    x = pictures()
    with torch.inference_mode():
        before = latent.encode(plain, x)
        fast = specialise_autoencoder(plain)
        assert_same(latent.encode(plain, x), before)
    assert isinstance(fast.vae, AutoencoderKL)
    assert {p.data_ptr() for p in fast.parameters()} == {p.data_ptr() for p in plain.parameters()}
    assert latent.factor(fast) == latent.factor(plain) == 8

"""PrimeDepth at its full size: statistics and samples of every stage against the authors' code.

Six gigabytes of memory and some minutes; the weights follow from their published names.
"""

from __future__ import annotations

import re

import pytest
import torch
from tiny_primedepth import fixed, listed, weight
from torch import Tensor, nn

from leadline import weights
from leadline.methods.primedepth import Config, PrimeDepth
from leadline.networks.primedepth import SD_AUTOENCODER, SD_UNET
from leadline.weights import ldm, primedepth

CASES = {"256x256": "full256", "203x330": "fullns", "512x512": "full512"}  # height x width
TO_LDM = (  # of autoencoders
    (r"down_blocks\.(\d)\.resnets\.", r"down.\1.block."),
    (r"down_blocks\.(\d)\.downsamplers\.0\.", r"down.\1.downsample."),
    (r"up_blocks\.0\.", "up_blocks.up.3."),
    (r"up_blocks\.1\.", "up_blocks.up.2."),
    (r"up_blocks\.2\.", "up_blocks.up.1."),
    (r"up_blocks\.3\.", "up_blocks.up.0."),
    (r"up_blocks\.(up\.\d)\.resnets\.", r"\1.block."),
    (r"up_blocks\.(up\.\d)\.upsamplers\.0\.", r"\1.upsample."),
    (r"mid_block\.resnets\.0\.", "mid.block_1."),
    (r"mid_block\.resnets\.1\.", "mid.block_2."),
    (r"mid_block\.attentions\.0\.group_norm\.", "mid.attn_1.norm."),
    (r"mid_block\.attentions\.0\.to_out\.0\.", "mid.attn_1.proj_out."),
    (r"mid_block\.attentions\.0\.to_", "mid.attn_1."),
    (r"conv_norm_out\.", "norm_out."),
    (r"conv_shortcut\.", "nin_shortcut."),
)


def published_names() -> dict[str, str]:
    """Of the UNet, the fusion modules and the refiner, which have the same names at any size."""
    names = {}
    for name, _ in listed():
        if name.startswith("model.diffusion_model."):
            names["unet." + ldm.unet_name(name.removeprefix("model.diffusion_model."))] = name
        elif name.startswith("labeller."):
            names[primedepth.own_name(name.removeprefix("labeller."))] = name
    return names


def of_autoencoder(name: str) -> str:
    """Of the autoencoder and the heads, which have more blocks than the tiny ones."""
    for pattern, new in TO_LDM:
        name = re.sub(pattern, new, name)
    for ours, theirs in (
        ("autoencoder.", "first_stage_model."),
        ("depth_head.", "labeller.depth_predictor."),
        ("segmentation_head.", "labeller.label_predictor."),
    ):
        name = re.sub(f"^{ours}", theirs, name)
    return name


@pytest.fixture(scope="module")
def model() -> PrimeDepth:
    with torch.device("meta"):
        text = torch.zeros(1, 77, 1024, device="cpu")
        made = PrimeDepth(Config(), weights.empty(SD_UNET), weights.empty(SD_AUTOENCODER), text)
    names = published_names()
    for name, p in list(made.named_parameters()):
        if name.startswith(("autoencoder.decoder.", "autoencoder.post_quant")):
            filled = torch.zeros(p.shape)  # nothing reads it
        else:
            filled = weight(names.get(name) or of_autoencoder(name), tuple(p.shape))
        home, _, last = name.rpartition(".")
        setattr(made.get_submodule(home), last, nn.Parameter(filled, requires_grad=False))
    return made.eval().for_prediction()


def check(name: str, x: Tensor, g) -> None:
    """Statistics and 64 samples, within 1e-4 of the stage's deviation."""
    assert tuple(x.shape) == tuple(g[f"{name}/shape"].tolist()), name
    mean, deviation, low, high, rms = g[f"{name}/stats"].tolist()
    exact = x.double()
    found = [exact.mean(), exact.std(correction=0), exact.min(), exact.max(), exact.square().mean().sqrt()]
    for value, wanted in zip(found, (mean, deviation, low, high, rms), strict=True):
        assert abs(float(value) - wanted) <= 1e-4 * deviation, (name, float(value), wanted)
    places = torch.arange(64) * x.numel() // 64
    error = (x.flatten()[places] - g[f"{name}/samples"]).abs().max()
    assert error <= 1e-4 * deviation, (name, float(error / deviation))


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
@torch.inference_mode()
def test_full_size_stages_are_the_authors(case, model, golden):
    g, tag = golden(f"primedepth/full_{case}"), CASES[case]
    height, width = map(int, case.split("x"))
    h, w = height // 8, width // 8
    picture = (0.5 + 0.25 * fixed(f"input.image.{tag}", height, width, 3)).clamp(0, 1).mul(255).round()
    assert int(picture.long().sum()) == int(g.image_sum)
    rgb = picture.permute(2, 0, 1)[None] / 255 * 2 - 1
    noises = fixed(f"input.vae_noise.{tag}", 1, 4, h, w), fixed(f"input.q_noise.{tag}", 1, 4, h, w)
    checked = []

    def watch(name: str, x: Tensor) -> None:
        if name == "depth3":  # in bands its mean alone is made
            return
        name = re.sub(r"^(feat|attn)_in_(\d+)$", r"\1_conv_\2_in", name)
        check(name, x, g)
        checked.append(name)

    text = fixed(f"input.context.{tag}", 1, 77, 1024)
    out = model(rgb, text=text, noises=noises, watch=watch)["disparity"][0, 0]
    check("depth", out, g)
    assert len(checked) == 70
    deviation = g["depth/stats"][1]
    assert (out[::8, ::8] - g.depth_small).abs().max() <= 1e-4 * deviation

"""What networks are trained on, and what users get."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from leadline import coding, presets
from leadline.coding import Codec
from leadline.errors import UsageError
from leadline.prediction import Kind


def test_clipping_to_percentiles_matches_reference(golden):
    g = golden("e2e/normaliser")
    clipped, kept = coding.clip_to_percentiles(g.depth[None], g.valid[None])
    assert_close(clipped[0], g.e2e_metric, rtol=1e-6, atol=0)
    assert torch.equal(kept[0], g.valid)


def test_depth_between_its_quantiles_matches_reference(golden):
    """E2E-FT's, whose unknown pixels are far; Marigold's, where they are what their numbers say."""
    g = golden("e2e/normaliser")
    made, kept = coding.picture(g.depth[None], g.valid[None])
    assert_close(made[0, :1], g.e2e_depth_norm, rtol=0, atol=1e-6)
    assert torch.equal(kept[0], g.valid)
    scaled, ranged = coding.by_quantiles(g.depth[None], g.valid[None])
    assert_close(scaled[0], g.marigold_norm, rtol=0, atol=1e-6)
    assert_close(scaled[0], g.marigold_norm_noclip.clamp(-1, 1), rtol=0, atol=1e-6)
    assert ranged.all()


@pytest.mark.parametrize("count", [1, 2, 3, 50, 1001])
def test_quantiles_equal_torchs(count):
    values = torch.rand(count)
    found = torch.stack(coding.quantiles(values, 0.02, 0.98))
    assert_close(found, values.quantile(torch.tensor([0.02, 0.98])), rtol=0, atol=1e-6)


def test_an_image_without_range_is_left_out():
    depth = torch.stack([torch.full((1, 4, 4), 3.0), torch.rand(1, 4, 4), torch.rand(1, 4, 4)])
    valid = torch.ones_like(depth, dtype=torch.bool)
    valid[2] = False
    clipped, kept = coding.clip_to_percentiles(depth, valid)
    assert [int(k.sum()) for k in kept] == [0, 16, 0]
    assert clipped.isfinite().all()


def test_clipping_leaves_its_input_alone():
    depth, valid = torch.rand(1, 1, 4, 4), torch.rand(1, 1, 4, 4) > 0.5
    before = depth.clone(), valid.clone()
    coding.clip_to_percentiles(depth, valid)
    assert torch.equal(depth, before[0])
    assert torch.equal(valid, before[1])


def test_disparity_of_invalid_and_impossible_depths():
    depth = torch.tensor([4.0, 0.0, -1.0, torch.nan, torch.inf, 2.0]).view(1, 1, 2, 3)
    valid = torch.tensor([1, 1, 1, 1, 1, 0], dtype=torch.bool).view(1, 1, 2, 3)
    disparity, defined = coding.disparity(depth, valid)
    assert disparity.flatten().tolist() == [0.25, 0, 0, 0, 0, 0]
    assert defined.flatten().tolist() == [True, False, False, False, True, False]


def test_publishing_depth_keeps_its_range_unless_the_preset_stretches():
    value = torch.tensor([-0.5, 0.0, 0.5, 0.3]).view(1, 1, 2, 2)
    plain = coding.publish(value, Kind.affine_depth, presets.get("leadline"), lambda x: x)
    assert_close(plain.flatten(), torch.tensor([0.25, 0.5, 0.75, 0.65]))
    wide = coding.publish(value, Kind.affine_disparity, presets.get("e2e-ft"), lambda x: x)
    assert_close(wide.flatten(), torch.tensor([0.0, 0.5, 1.0, 0.8]))


def test_publishing_cuts_what_a_resize_overshoots():
    value = torch.tensor([-1.0, 1.0]).view(1, 1, 1, 2)
    assert coding.publish(
        value, Kind.affine_depth, presets.get("leadline"), lambda x: x * 3 - 1
    ).flatten().tolist() == [0, 1]


def test_published_normals_are_unit_after_a_resize():
    n = torch.nn.functional.normalize(torch.randn(1, 3, 4, 4), dim=1)

    def restore(x):
        return torch.nn.functional.interpolate(x, (9, 7), mode="bilinear")

    free = coding.publish(n, Kind.normals, presets.get("leadline"), restore).norm(dim=1)
    assert_close(free, torch.ones_like(free))
    authors = coding.publish(n, Kind.normals, presets.get("e2e-ft"), restore).norm(dim=1)
    assert authors.min() < 0.9


def test_unknown_presets_are_named():
    with pytest.raises(UsageError, match="did you mean 'e2e-ft'"):
        presets.get("e2e_ft")


# Metres and the codes of them

TAGS = {
    "dmin0p1_dmax80": (0.1, 80),
    "dmin0p1_dmax100": (0.1, 100),
    "dmin0p5_dmax80": (0.5, 80),
    "dmin0p001_dmax80": (0.001, 80),
    "dmin0p1_dmax10": (0.1, 10),
}


@pytest.mark.parametrize("tag", TAGS)
def test_codes_of_metres_match_reference(tag, golden):
    g, codec = golden("metricgold/log_codec"), Codec(*TAGS[tag])
    depth, valid = g.depth_f64, g.valid.bool()
    y = codec.encode(depth)
    assert_close(y[valid], g[f"enc_{tag}_f64"][valid], rtol=0, atol=1e-9)
    assert_close(codec.decode(y)[valid], g[f"roundtrip_{tag}_f64"][valid], rtol=1e-9, atol=0)
    assert_close(codec.metres(g.y_f64), g[f"dec_unclipped_{tag}_f64"], rtol=1e-9, atol=0)
    assert_close(codec.decode(g.y_f64), g[f"dec_clipped_{tag}_f64"], rtol=1e-9, atol=0)
    linear = Codec(*TAGS[tag], law="linear")
    assert_close(linear.encode(depth)[valid], g[f"linear_enc_{tag}_f64"][valid], rtol=0, atol=1e-9)
    assert codec.relative_error(0.01) == pytest.approx(g[f"relerr_per_0p01_{tag}_f64"].item(), rel=1e-9)
    assert_close(codec.encode(depth.float())[valid], g[f"enc_{tag}_f64"][valid].float(), rtol=1e-5, atol=1e-6)


def test_the_notebooks_code_is_another(golden):
    g = golden("metricgold/log_codec")
    inside = g.valid.bool() & (g.depth_f64 > 0.1) & (g.depth_f64 < 80)
    u, y = g.notebook_u_dmin0p1_dmax80_f64[inside], Codec().encode(g.depth_f64)[inside]
    assert_close(2 * u - 1, y, rtol=0, atol=1e-9)


@pytest.mark.parametrize("law", ["log", "linear"])
def test_metres_survive_their_code(law):
    codec, depth = Codec(0.1, 80, law), torch.rand(10_000) * 79.8 + 0.15
    assert_close(codec.decode(codec.encode(depth.double())), depth.double(), rtol=1e-12, atol=0)
    if law == "log":  # in single precision too
        assert_close(codec.decode(codec.encode(depth)), depth, rtol=1e-6, atol=0)


def test_depths_beyond_the_range_are_its_ends_and_marked():
    depth = torch.tensor([0.01, 0.1, 1, 79, 80, 500, torch.inf, torch.nan, 0, -1])
    codec = Codec()
    y = codec.encode(depth)
    assert y.tolist()[:2] == [-1, -1]
    assert y.tolist()[4:] == [1] * 6
    assert codec.beyond(depth).tolist() == [True, True, False, False, *[True] * 6]
    assert codec.decode(torch.tensor([-3.0, 3.0])).tolist() == pytest.approx([0.1, 80])

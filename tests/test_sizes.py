"""Size rules: integers and pixels equal to the authors' and to diffusers', and back to the picture's size."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from leadline import presets, sizes
from leadline.errors import ImageError, ShapeError, UsageError
from leadline.methods import primedepth
from leadline.sizes import SizeRule, prepare, processed_size, restore, to_tensor, unpad

HERE = Path(__file__).parent
RULES = [
    SizeRule(),
    SizeRule(24, rounding="nearest"),
    SizeRule(24, edge="area", rounding="nearest", multiple=8),
    SizeRule(24, edge="short", rounding="nearest", multiple=14, filter="bicubic"),
    SizeRule(24, rounding="nearest", multiple=8, pad="replicate"),
    SizeRule(0, multiple=16, pad="replicate", quantise=True),
    SizeRule(24, rounding="nearest", filter="bicubic", quantise=True, antialias_out=True),
    SizeRule(24, rounding="nearest", filter="area"),
    SizeRule(
        28, "short", "cover", 14, filter="bicubic", antialias=False, filter_out="bilinear", corners_out=True
    ),
    SizeRule(24, rounding="torchvision", enlarge=False, quantise=True, repeat_edge=True),
]
side = st.integers(1, 257)


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height * 1000 + width).integers(0, 256, (height, width, 3), np.uint8)


def test_integers_equal_the_tables_of_both_programs(golden):
    for H, W, R, *rest in golden("e2e/resize").table.tolist():
        author, diffusers = tuple(rest[:2]), tuple(rest[4:6])
        assert processed_size(H, W, SizeRule(R, rounding="author")) == author
        assert processed_size(H, W, SizeRule(R)) == diffusers


def test_padding_equals_the_table(golden):
    for H, W, R, *rest in golden("e2e/resize").table.tolist():
        if max(rest[6:]) <= 520:  # the rest of the rows only cost time
            prepared = prepare(np.zeros((H, W, 3), np.uint8), SizeRule(R, multiple=8, pad="replicate"))
            assert list(prepared.tensor.shape[2:]) == rest[6:]


def test_author_rule_truncates_where_theirs_does(golden):
    for R, longest, result in golden("e2e/resize").author_rule_maxedge_mismatch.tolist():
        assert processed_size(longest, longest, SizeRule(R, rounding="author")) == (result, result)


@pytest.mark.parametrize(("res", "name"), [(24, "down24"), (80, "up80")])
@pytest.mark.parametrize("mode", ["bilinear", "bicubic", "nearest-exact"])
def test_8_bit_resize_equals_the_authors(golden, res, name, mode):
    g = golden("e2e/resize")
    rule = SizeRule(res, rounding="author", filter=mode, quantise=True)
    levels = (prepare(g.img_u8.permute(1, 2, 0).numpy(), rule).tensor[0] + 1) / 2 * 255
    assert torch.equal(levels.round().byte(), g[f"author_u8_{name}_{mode.removesuffix('-exact')}"])


@pytest.mark.parametrize(("res", "name"), [(24, "down24"), (80, "up80")])
@pytest.mark.parametrize("mode", ["bilinear", "bicubic", "nearest", "nearest-exact", "area"])
def test_float_resize_equals_diffusers(golden, res, name, mode):
    g = golden("e2e/resize")
    x = prepare(g.img_u8.permute(1, 2, 0).numpy(), SizeRule(res, filter=mode)).tensor[0]
    torch.testing.assert_close(x, g[f"diffusers_f32_{name}_{mode.replace('-', '_')}"], rtol=0, atol=1e-6)


@pytest.mark.parametrize("res", [24, 0])
def test_padded_input_equals_diffusers(golden, res):
    g = golden("e2e/resize")
    prepared = prepare(g.img_u8.permute(1, 2, 0).numpy(), SizeRule(res, multiple=8, pad="replicate"))
    torch.testing.assert_close(prepared.tensor[0], g[f"diffusers_preprocess_{res}"], rtol=0, atol=1e-6)
    h, w = prepared.processed
    padding = [prepared.tensor.shape[2] - h, prepared.tensor.shape[3] - w]
    assert padding == g[f"diffusers_preprocess_{res}_pad"].tolist()


@pytest.mark.parametrize(("way", "size"), [("up", (37, 53)), ("down", (7, 11))])
@pytest.mark.parametrize(
    ("program", "mode"),
    [("author", "bilinear"), ("author", "bicubic"), ("author", "nearest-exact"), ("diffusers", "bilinear")],
)
def test_output_resize_equals_both_programs(golden, way, size, program, mode):
    g = golden("e2e/resize")
    rule = SizeRule(filter=mode, antialias_out=program == "author")
    x = restore(g.pred[None, None], prepare(noise(*size), rule))
    wanted = g[f"{program}_pred_{way}_{mode.removesuffix('-exact')}"]
    torch.testing.assert_close(x[0, 0], wanted, rtol=0, atol=1e-6)


def test_the_first_release_resized_with_pillow_and_its_presets_do_as_well(golden):
    g, first = golden("e2e/resize"), presets.get("marigold-v0").size
    rule = replace(first, processing_res=24)
    levels = (prepare(g.img_u8.permute(1, 2, 0).numpy(), rule).tensor[0] + 1) / 2 * 255
    away = (levels.round() - g.v1_first_release_u8_down24).abs()
    assert away.max() <= 1  # Pillow rounds to 8 bits between its two passes, and computes in integers
    back = restore(g.pred[None, None], prepare(noise(37, 53), first))
    torch.testing.assert_close(back[0, 0], g.v1_first_release_pred_up, rtol=0, atol=1e-5)
    assert presets.get("marigold-v1").size == replace(first, filter="bilinear")


@settings(max_examples=60, deadline=None)
@given(height=side, width=side, rule=st.sampled_from(RULES))
def test_every_size_goes_in_and_comes_back(height, width, rule):
    prepared = prepare(noise(height, width), rule)
    _, channels, h, w = prepared.tensor.shape
    assert channels == 3
    assert h % rule.multiple == w % rule.multiple == 0
    assert prepared.tensor.dtype == torch.float32
    assert -2 < prepared.tensor.min() <= prepared.tensor.max() < 2  # bicubic overshoots
    assert restore(unpad(prepared.tensor[:, :1], prepared), prepared).shape == (1, 1, height, width)


@settings(max_examples=30, deadline=None)
@given(height=side, width=side)
def test_own_size_changes_no_pixel(height, width):
    rgb = noise(height, width)
    prepared = prepare(rgb, SizeRule(multiple=8, pad="replicate"))
    back = (restore(unpad(prepared.tensor, prepared), prepared)[0].permute(1, 2, 0) + 1) / 2 * 255
    np.testing.assert_array_equal(back.round().byte().numpy(), rgb)


@pytest.mark.parametrize("mode", ["bilinear", "bicubic", "nearest", "nearest-exact"])
def test_bands_of_rows_give_the_numbers_of_the_whole(monkeypatch, mode):
    rgb, rule = noise(301, 199), SizeRule(80, filter=mode)
    whole = prepare(rgb, rule).tensor
    monkeypatch.setattr(sizes, "BAND", 32)
    assert torch.equal(prepare(rgb, rule).tensor, whole)


OTHERS = {  # first column of the table -> rule of other programs than Marigold's
    2: SizeRule(518, edge="short", rounding="cover", multiple=14),  # Depth Anything
    4: SizeRule(518, edge="closest", rounding="multiple", multiple=14),  # transformers
    6: SizeRule(770, edge="short", rounding="cover", multiple=14),
    10: SizeRule(384, edge="closest", rounding="multiple", multiple=32),  # MiDaS
}


@pytest.mark.parametrize("column", OTHERS)
def test_integers_equal_the_tables_of_depth_anything_and_midas(golden, column):
    rule, possible = OTHERS[column], 0
    for H, W, *rest in golden("geowizard/depth_anything_resize").sizes.tolist():
        wanted = tuple(rest[column - 2 : column])
        if 1 <= min(wanted) <= max(wanted) <= 100_000:
            assert processed_size(H, W, rule) == wanted
            possible += 1
        else:
            with pytest.raises(ImageError, match="or crop it"):
                processed_size(H, W, rule)
    assert possible == 29


@pytest.mark.parametrize(("name", "size"), [("up", (28, 42)), ("down", (28, 28))])
def test_bicubic_without_antialiasing_equals_opencv(golden, name, size):
    g = golden("geowizard/depth_anything_resize")
    rule = SizeRule(28, edge="short", rounding="cover", multiple=14, filter="bicubic", antialias=False)
    prepared = prepare(g[f"image_{name}"].numpy(), rule)
    assert prepared.processed == size
    levels = (prepared.tensor[0] + 1) / 2
    torch.testing.assert_close(levels.permute(1, 2, 0), g[f"resized_{name}"], rtol=0, atol=1e-5)


def test_output_corners_may_lie_on_the_pictures():
    x = torch.rand(1, 1, 5, 9)
    back = restore(
        x, prepare(noise(37, 53), SizeRule(filter="bicubic", filter_out="bilinear", corners_out=True))
    )
    for row, column in ((0, 0), (0, -1), (-1, 0), (-1, -1)):
        torch.testing.assert_close(back[0, 0, row, column], x[0, 0, row, column])
    assert x.min() <= back.min() <= back.max() <= x.max()


def test_float_pictures_keep_more_than_8_bits():
    ramp = np.broadcast_to(np.linspace(0, 1, 4096, dtype=np.float32)[None, :, None], (1, 4096, 3))
    assert len(prepare(ramp, SizeRule()).tensor[0, 0, 0].unique()) == 4096
    assert len(prepare(ramp, SizeRule(quantise=True)).tensor[0, 0, 0].unique()) == 256


def test_tensor_of_a_read_only_array_is_its_own():
    rgb = noise(4, 5)
    rgb.flags.writeable = False
    x = to_tensor(rgb)
    x += 1
    assert rgb.max() <= 255
    assert x.shape == (1, 3, 4, 5)


def test_extreme_shapes_are_refused_in_words():
    with pytest.raises(ImageError, match="5000x1 would be worked on at 768x0, 1x1 to"):
        processed_size(1, 5000, SizeRule(768))
    with pytest.raises(ImageError, match="or crop it"):
        processed_size(1, 5000, SizeRule(768, edge="short"))
    with pytest.raises(ImageError, match="choose another processing resolution"):
        processed_size(40, 50, SizeRule(9_999_999))


@pytest.mark.parametrize("wrong", [{"processing_res": -1}, {"multiple": 0}])
def test_impossible_rules_are_refused(wrong):
    with pytest.raises(UsageError, match="0 .* or more"):
        SizeRule(**wrong)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"edge": "longest"}, "edge 'longest' is unknown: did you mean 'long'?"),
        ({"rounding": "floor"}, "rounding 'floor' is unknown: known are author, diffusers, nearest"),
        ({"pad": "reflect"}, "pad 'reflect' is unknown: did you mean 'replicate'?"),
        ({"pad": None}, "pad None is unknown"),
        ({"filter": "bilinea"}, "filter 'bilinea' is unknown: did you mean 'bilinear'?"),
        ({"filter_out": "lanczos"}, "filter_out 'lanczos' is unknown"),
    ],
)
def test_unknown_words_are_refused(wrong, says):
    with pytest.raises(UsageError) as caught:
        SizeRule(**wrong)
    assert says in str(caught.value)


def test_padded_output_of_another_size_is_refused():
    prepared = prepare(noise(20, 30), SizeRule(multiple=8, pad="replicate"))
    with pytest.raises(ShapeError, match="network output"):
        unpad(torch.zeros(1, 1, 12, 16), prepared)


def test_integers_equal_primedepths_table():
    rows = (HERE / "golden" / "primedepth" / "resize_cases.csv").read_text().splitlines()[1:]
    rule = primedepth.PRESETS["primedepth"].size
    for row in rows:
        width, height, w, h, latent_w, latent_h, *_ = map(int, row.split(","))
        assert processed_size(height, width, rule) == (h, w)
        assert (h // 8, w // 8) == (latent_h, latent_w)


def test_rows_that_an_output_lacks_repeat_the_last_where_the_picture_kept_its_size():
    rule = SizeRule(64, enlarge=False, rounding="torchvision", repeat_edge=True)
    kept = prepare(noise(29, 43), rule)
    assert kept.processed == (29, 43)
    out = torch.rand(1, 1, 24, 40)
    made = restore(out, kept)
    assert torch.equal(made[..., :24, :40], out)
    assert torch.equal(made[..., 24:, 40:], out[..., -1:, -1:].expand(1, 1, 5, 3))
    made_smaller = prepare(noise(90, 100), rule)
    assert made_smaller.processed == (57, 64)
    assert restore(torch.rand(1, 1, 56, 64), made_smaller).shape == (1, 1, 90, 100)


def test_class_numbers_are_never_mixed():
    out = torch.tensor([[[[1.0, 5.0], [1.0, 9.0]]]])
    made = restore(out, prepare(noise(9, 14), SizeRule(24)), nearest=True)
    assert made.unique().tolist() == [1, 5, 9]

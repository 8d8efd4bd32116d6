"""Pictures: the authors' colours to the byte, near looks alike in every kind, invalid pixels stay grey."""

import numpy as np
import pytest

from leadline import colour
from leadline.errors import KindError, ShapeError, UsageError

RAMP = np.linspace(0, 1, 201, dtype=np.float32).reshape(3, 67)


def test_spectral_is_the_authors_picture(golden):
    g = golden("e2e/colormap")
    ours = colour.picture(g.values.numpy(), "affine_depth", limits=(0, 1))
    np.testing.assert_array_equal(ours, g.author_u8.numpy())


def test_spectral_is_near_diffusers_picture_which_needs_no_table(golden):
    g = golden("e2e/colormap")
    ours = colour.picture(g.values.numpy(), "affine_depth", limits=(0, 1)).astype(int)
    np.testing.assert_array_equal(ours, g.diffusers_matplotlib_u8.numpy())
    assert np.abs(ours - g.diffusers_custom_u8.numpy()).max() == 3  # straight lines between 11 colours


def test_uncertainty_is_marigolds_picture(golden):
    g = golden("e2e/colormap")
    np.testing.assert_array_equal(colour.uncertainty(g.uncertainty[0, 0].numpy()), g.uncertainty_u8.numpy())
    assert colour.uncertainty(np.zeros((2, 3))).max() == 0
    hidden = colour.uncertainty(np.ones((1, 2)), valid=np.array([[True, False]]))
    assert hidden.tolist() == [[255, 0]]


def test_spectral_table_is_the_authors_table(golden):
    table = (golden("e2e/colormap").spectral_lut256.numpy() * 255).astype(np.uint8)
    np.testing.assert_array_equal(colour.table("spectral"), table)


@pytest.mark.parametrize("which", ["marigold", "e2e", "diffusers"])
def test_normals_are_the_authors_picture_but_rounded(golden, which):
    g = golden("e2e/colormap")
    vectors = np.moveaxis(g.normals.numpy(), 0, -1)  # Marigold's frame
    ours = colour.normals(vectors * np.array([1, -1, -1], np.float32)).astype(int)
    truncated = g[f"{which}_normals_u8"].numpy().astype(int)
    assert set(np.unique(ours - truncated)) == {0, 1}  # the authors cut the fraction off, we round


@pytest.mark.parametrize("name", ["Spectral", "turbo", "inferno", "viridis", "magma"])
def test_tables_are_those_of_matplotlib(name):
    matplotlib = pytest.importorskip("matplotlib")
    theirs = (matplotlib.colormaps[name](np.arange(256))[:, :3] * 255).astype(np.uint8)
    near_first = theirs if name == "Spectral" else theirs[::-1]
    np.testing.assert_array_equal(colour.table(name.lower()), near_first)


@pytest.mark.parametrize("cmap", colour.MAPS)
def test_near_has_one_colour_in_every_kind(cmap):
    depth = colour.picture(RAMP, "affine_depth", cmap=cmap)
    metric = colour.picture(3 + 8 * RAMP, "metric_depth", cmap=cmap)
    disparity = colour.picture(5 - 2 * RAMP, "affine_disparity", cmap=cmap)
    for other in (metric, disparity):  # one entry of the table at most, from rounding
        assert (
            np.abs(other.astype(int) - depth).max()
            <= np.abs(np.diff(colour.table(cmap).astype(int), axis=0)).max()
        )
    np.testing.assert_array_equal(depth[0, 0], colour.table(cmap)[0])
    np.testing.assert_array_equal(disparity[-1, -1], colour.table(cmap)[-1])


def test_the_near_ends_are_red_bright_and_white():
    near = {name: colour.table(name)[0].astype(int) for name in colour.MAPS}
    for name in ("spectral", "turbo"):
        assert near[name][0] > 2 * max(near[name][1:])
    for name in ("inferno", "viridis", "magma", "grey"):
        assert near[name].sum() > 1.8 * colour.table(name)[-1].astype(int).sum()
    assert near["grey"].tolist() == [255] * 3
    assert near["grey_inverted"].tolist() == [0] * 3


def test_invalid_pixels_are_neutral_and_do_not_count():
    spoiled, valid = RAMP.copy(), np.ones(RAMP.shape, bool)
    spoiled[:, :2] = [[np.nan, np.inf], [-np.inf, 1e30], [np.nan, np.nan]]
    valid[1, 1] = False
    picture = colour.picture(spoiled, "metric_depth", valid=valid)
    assert (picture[:, :2] == colour.NEUTRAL).all()
    np.testing.assert_array_equal(picture[:, 2:], colour.picture(RAMP[:, 2:], "metric_depth"))


def test_percentiles_clip_the_picture_only_there():
    sky = RAMP.copy()
    sky[-1, -2:] = 1000
    clipped = colour.picture(sky, "metric_depth")
    assert len(np.unique(clipped.reshape(-1, 3), axis=0)) > 150
    whole = colour.picture(sky, "metric_depth", percentiles=(0, 100))
    assert len(np.unique(whole.reshape(-1, 3), axis=0)) == 2
    assert sky[-1, -1] == 1000


@pytest.mark.parametrize("kind", ["affine_depth", "affine_disparity", "metric_depth"])
@pytest.mark.parametrize("values", [np.full((2, 3), 7, np.float32), np.full((2, 3), np.nan, np.float32)])
def test_nothing_to_tell_apart_is_one_colour(kind, values):
    for picture in (colour.picture(values, kind), colour.controlnet(values, kind)):
        assert len(np.unique(picture.reshape(-1, 3), axis=0)) == 1


def test_facing_normals_are_128_128_255_and_other_frames_differ():
    facing = np.tile(np.float32([0, 0, -1]), (2, 3, 1))
    up = np.tile(np.float32([0, -1, 0]), (2, 3, 1))
    assert colour.normals(facing)[0, 0].tolist() == [128, 128, 255]
    assert colour.normals(up)[0, 0].tolist() == [128, 255, 128]
    assert colour.normals(up, frame="opencv")[0, 0].tolist() == [128, 0, 128]
    assert colour.picture(facing, "normals", valid=np.zeros((2, 3), bool)).tolist() == [[[128] * 3] * 3] * 2


def test_controlnet_is_white_near_and_spans_the_inner_percentiles():
    disparity = colour.controlnet(RAMP, "affine_disparity")
    assert disparity.dtype == np.uint8
    assert disparity.shape == (3, 67, 3)
    low, high = np.percentile(RAMP, [2, 98])
    expected = np.round(np.clip((RAMP - low) / (high - low), 0, 1) * 255)
    assert np.abs(disparity[..., 0] - expected).max() <= 1
    depth = colour.controlnet(RAMP, "affine_depth")
    assert np.abs(depth.astype(int) - disparity[::-1, ::-1]).max() <= 1
    metric = colour.controlnet(1 / (0.1 + RAMP), "metric_depth")
    assert np.abs(metric.astype(int) - disparity).max() <= 1


def test_controlnet_shows_unknown_as_far():
    values = np.float32([[0, 1, 2, np.inf, -1, 5]])
    grey = colour.controlnet(values, "metric_depth", valid=np.array([[True] * 5 + [False]]))[0, :, 0]
    assert grey[[0, 3, 4, 5]].tolist() == [0] * 4
    assert grey[1] == 255
    with pytest.raises(KindError, match="holds normals"):
        colour.controlnet(np.zeros((2, 2, 3)), "normals")


def test_classes_have_ade20ks_colours():
    rows = {0: (120, 120, 120), 2: (6, 230, 230), 20: (0, 102, 200), 149: (92, 0, 255), 150: (128, 128, 128)}
    picture = colour.picture(np.array([list(rows)], np.float32), "segmentation")
    assert [tuple(pixel) for pixel in picture[0].tolist()] == list(rows.values())


def test_side_by_side_has_the_pictures_height():
    picture = np.full((10, 8, 3), 7, np.uint8)
    same = colour.side_by_side(np.full((10, 8, 3), 1.0, np.float32), picture)
    assert same.shape == (10, 16, 3)
    assert (same[:, :8] == 255).all()
    assert (same[:, 8:] == 7).all()
    assert colour.side_by_side(np.zeros((20, 30, 3), np.uint8), picture).shape == (10, 23, 3)


def test_mistakes_are_named():
    with pytest.raises(UsageError, match="did you mean 'viridis'"):
        colour.picture(RAMP, "affine_depth", cmap="virdis")
    with pytest.raises(ShapeError, match="values of affine_depth"):
        colour.picture(RAMP[None], "affine_depth")

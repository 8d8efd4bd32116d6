"""Large pictures: seen as a whole and in tiles, whatever the kind, the batch and the company; no seam."""

from __future__ import annotations

import logging
import zlib

import numpy as np
import pytest
import torch
from PIL import Image
from seams import seam_ratio
from torch import Tensor, nn

import leadline
from leadline import presets, tiles
from leadline.camera import Camera
from leadline.cards import Card
from leadline.errors import DeviceError, UsageError, WeightsError
from leadline.predict import Model
from leadline.prediction import Kind, Prediction
from leadline.scenes import analytic
from leadline.sizes import SizeRule
from leadline.tiles import Window

SIZE = (240, 320)
TILE = 96
NATIVE = {"processing_res": 0, "tile": TILE}
GREY = {"depth": Kind.affine_depth, "disparity": Kind.affine_disparity, "metres": Kind.metric_depth}


class Blind(nn.Module):
    """Depth is the grey of the picture. But each picture, or part of one, gets a scale and a shift of its own
    and a smooth error, which follow from its pixels and its noise.
    """

    card, preset = Card(name="blind", method="fake", kind="affine_depth"), presets.get("leadline")
    size_rule = SizeRule(160, rounding="nearest", multiple=8, pad="replicate")
    steps, members = 1, 1

    def __init__(self, *names: str, error: float = 0.3) -> None:
        super().__init__()
        self.names, self.error = names or ("disparity",), error
        self.kind = {**GREY, "normals": Kind.normals}[self.names[0]]
        self.seen: list[tuple[int, ...]] = []
        self.cameras: list[Camera | None] = []

    def for_prediction(self, steps):
        return self

    def timesteps(self, steps):
        return list(range(steps))

    def forward(self, rgb, *, generators, camera=None, text=None, steps=1):
        self.seen.append(tuple(rgb.shape))
        self.cameras += camera
        members = len(generators) // len(rgb)
        each = [self._one(rgb[i // members], g) for i, g in enumerate(generators)]
        return {name: torch.stack([self._as(name, x) for x in each]) for name in self.names}

    def _one(self, rgb: Tensor, generator: torch.Generator) -> Tensor:
        grey = rgb.float().mean(0, keepdim=True)
        rng = np.random.default_rng(
            zlib.crc32(rgb.float().numpy().tobytes()) + generator.initial_seed() % 2**32
        )
        y, x = (torch.linspace(0, np.pi, side) for side in grey.shape[1:])
        bend = torch.cos(y + rng.uniform(0, 6))[:, None] + torch.cos(x + rng.uniform(0, 6))
        scale, shift = np.exp(rng.uniform(-1, 0)), rng.uniform(-0.2, 0.2)
        return scale * (grey + self.error * float(grey.std()) * bend) + shift

    def _as(self, name: str, x: Tensor) -> Tensor:
        if name == "metres":
            return 5 + 4 * x
        return x if name in GREY else torch.cat([0.3 * x, 0.3 * x.flip(0), -torch.ones_like(x)])


def scene(name: str) -> np.ndarray:
    """A picture [H,W,3] in [0,1] whose grey is the disparity of an analytic scene."""
    inverse = 1 / analytic.exact(name, SIZE).depth
    return np.repeat((inverse / inverse.max()).astype(np.float32)[..., None], 3, axis=2)


def windows_of(result: Prediction) -> list[Window]:
    return tiles.layout(*result.settings["processed_size"], TILE, TILE // 4, 8)


def as_map(values: np.ndarray) -> Tensor:
    return torch.from_numpy(values)[None, None]


@pytest.fixture
def model() -> Model:
    return Model(Blind(), device="cpu")


# --- seams ---


@pytest.mark.parametrize("name", ["plane", "corner", "sphere"])
def test_no_seam_is_visible_on_a_smooth_scene(name, model):
    picture = scene(name)
    result = model(picture, **NATIVE)
    truth = picture[..., 0]
    scale, shift = np.polyfit(truth.ravel(), result.values.ravel(), 1)
    away = as_map(result.values - scale * truth - shift)
    for order in (1, 2):
        assert seam_ratio(away, windows_of(result), order) < 2


def test_the_bundled_model_leaves_no_seam_in_a_photograph(photograph, monkeypatch):
    model = leadline.load("small", device="cpu")
    options = {"processing_res": 384, "tile": 192}
    size = {"overlap": 48, "multiple": 32}
    result = model(photograph, **options)
    windows = tiles.layout(*result.settings["processed_size"], 192, **size)
    assert result.settings["tiles"]["count"] == len(windows) > 3
    small = Image.fromarray(result.values).resize(result.settings["processed_size"][::-1])
    assert seam_ratio(as_map(np.array(small)), windows, 1) < 2.5
    monkeypatch.setattr(tiles, "level", lambda x, whole, cell: x)
    monkeypatch.setattr(tiles, "_bell", lambda length: torch.ones(length))
    pasted = Image.fromarray(model(photograph, **options).values).resize(small.size)
    assert seam_ratio(as_map(np.array(pasted)), windows, 1) > 10


# --- which pictures, and as what ---


def test_tiles_are_for_pictures_processed_at_a_larger_size(model):
    picture = scene("sphere")
    plain = model(picture, processing_res=96)
    np.testing.assert_array_equal(model(picture, processing_res=96, tile=96).values, plain.values)
    np.testing.assert_array_equal(model(picture, processing_res=96, tile=0).values, plain.values)
    assert "tiles" not in plain.settings
    model.method.seen.clear()
    large = model(picture, **NATIVE)
    assert model.method.seen == [(1, 3, 120, 160)] + 15 * [(1, 3, 96, 96)]
    assert large.values.shape == SIZE
    assert large.settings["processed_size"] == SIZE
    assert large.settings["tiles"] == {"size": (96, 96), "overlap": 24, "count": 15, "replaced": 0}
    assert large.record()["settings"]["tiles"]["size"] == [96, 96]


@pytest.mark.parametrize("size", [(1, 500), (500, 3), (97, 101), (129, 260)])
@pytest.mark.parametrize("multiple", [1, 8, 14])
def test_any_size_gives_a_finite_map_of_that_size(size, multiple, model):
    model.method.size_rule = SizeRule(160, rounding="nearest", multiple=multiple, pad="replicate")
    picture = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    result = model(picture, processing_res=0, tile=64)
    assert result.values.shape == size
    assert np.isfinite(result.values).all()
    assert 0 <= result.values.min() <= result.values.max() <= 1
    assert all(side % multiple == 0 for shape in model.method.seen for side in shape[2:])


def test_affine_depth_keeps_its_ends():
    """Tiles may leave the whole's range; what is beyond it is not cut off."""
    result = Model(Blind("depth"), device="cpu")(scene("sphere"), **NATIVE)
    for end in (result.values.min(), result.values.max()):
        assert (result.values == end).mean() < 0.01


def test_metric_depth_keeps_the_metres_of_the_whole():
    model = Model(Blind("metres"), device="cpu")
    picture = scene("corner")
    whole, result = model(picture), model(picture, **NATIVE)
    assert result.kind is Kind.metric_depth
    np.testing.assert_allclose(result.metres(), whole.metres(), atol=0.25)
    assert abs(result.metres().mean() - whole.metres().mean()) < 0.01


def test_normals_are_unit_vectors_and_further_outputs_come_along():
    result = Model(Blind("depth", "disparity", "normals"), device="cpu")(scene("sphere"), **NATIVE)
    assert set(result.also) == {"disparity", "normals"}
    normals = result.also["normals"].values
    np.testing.assert_allclose(np.linalg.norm(normals, axis=-1), 1, atol=1e-5)
    assert seam_ratio(as_map(normals[..., 0].copy()), windows_of(result), 1) < 3
    assert result.also["disparity"].settings["tiles"]["count"] == 15


# --- as though alone ---


def test_batches_of_tiles_and_company_change_nothing(model):
    large, other, small = scene("sphere"), scene("stairs")[:200], scene("corner")[:60, :90]
    alone = [model(picture, **NATIVE).values for picture in (large, small, other)]
    for batch_size in (1, 2, 5):
        together = model([large, small, other], batch_size=batch_size, **NATIVE)
        for a, b in zip(alone, together, strict=True):
            np.testing.assert_allclose(b.values, a, atol=0 if batch_size == 1 else 1e-5, rtol=0)
    assert max(shape[0] for shape in model.method.seen) == 5


def test_one_large_picture_is_in_hand_at_a_time(model):
    read = []
    source = (read.append(i) or scene("plane") for i in range(50))
    results = model(source, batch_size=4, **NATIVE)
    for count in range(1, 4):
        next(results)
        assert len(read) == count


def test_tiles_have_the_cameras_of_their_pixels(model):
    camera = Camera.from_fov(640, 480, horizontal=70)
    picture = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    result = model(picture, processing_res=320, tile=96, camera=camera)
    assert result.camera == camera
    whole, *parts = model.method.cameras
    assert (whole.width, whole.height) == (160, 120)
    for window, part in zip(windows_of(result), parts, strict=True):
        assert part == camera.resized(320, 240).cropped(window.left, window.top, 96, 96)


def test_every_tile_has_the_pictures_seed(model):
    one, other = (model(scene("sphere"), seed=seed, **NATIVE) for seed in (1, 1))
    np.testing.assert_array_equal(one.values, other.values)
    assert np.abs(model(scene("sphere"), seed=2, **NATIVE).values - one.values).max() > 1e-4


def test_ensembles_are_merged_in_each_tile():
    model = Model(Blind("disparity", "normals"), device="cpu")
    options = {"ensemble_size": 3, "uncertainty": True, **NATIVE}
    result, whole = model(scene("sphere"), **options), model(scene("sphere"), **{**options, "tile": 0})
    for found in (result, result.also["normals"]):
        assert found.uncertainty.shape == SIZE
        assert 0 <= found.uncertainty.min() < found.uncertainty.max() < 1
    typical = np.median(result.uncertainty) / np.median(whole.uncertainty)
    assert 0.2 < typical < 2  # an error of the same share, in the units of the whole map
    (again,) = model([scene("sphere")], batch_size=4, **options)
    np.testing.assert_allclose(again.uncertainty, result.uncertainty, atol=1e-5)


# --- what goes wrong ---


class Contrary(Blind):
    """Where it sees a bright part only, it turns it inside out."""

    def _one(self, rgb: Tensor, generator: torch.Generator) -> Tensor:
        x = super()._one(rgb, generator)
        return -x if rgb.shape[2] == TILE and rgb.mean() > 0.3 else x


def test_a_tile_that_contradicts_the_whole_is_left_to_it(caplog):
    model, picture = Model(Contrary(error=0), device="cpu"), scene("corner")
    with caplog.at_level(logging.INFO, logger="leadline"):
        result = model(picture, **NATIVE)
    replaced = result.settings["tiles"]["replaced"]
    assert 0 < replaced < 8
    assert f"{replaced} of 15 tiles contradict the whole, it replaces them" in caplog.text
    assert np.corrcoef(result.values.ravel(), picture[..., 0].ravel())[0, 1] > 0.999


class Broken(Blind):
    """Gives NaN for one tile: always, or in half precision only."""

    def __init__(self, only_half: bool) -> None:
        super().__init__()
        self.only_half = only_half

    def forward(self, rgb, **options):
        outputs = super().forward(rgb, **options)
        bad = len(self.seen) == 4 and not (self.only_half and rgb.dtype == torch.float32)
        return {name: x * torch.nan if bad else x for name, x in outputs.items()}


def test_a_tile_that_is_not_finite_is_an_error_of_its_picture():
    failed, fine = Model(Broken(only_half=False), device="cpu").stream([scene("sphere")] * 2, **NATIVE)
    assert isinstance(failed, WeightsError)
    assert isinstance(fine, Prediction)


def test_a_tile_that_overflows_is_done_again_in_float32(caplog):
    result = Model(Broken(only_half=True), device="cpu", dtype="bfloat16")(scene("sphere"), **NATIVE)
    assert "done again in float32" in caplog.text
    assert result.settings["dtype"] == "float32"


class Hungry(Blind):
    def forward(self, rgb, **options):
        if rgb.shape[2] == TILE:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super().forward(rgb, **options)


def test_tiles_that_do_not_fit_into_memory_are_an_error_of_their_picture():
    found = list(Model(Hungry(), device="cpu").stream([scene("sphere"), scene("plane")[:60, :90]], **NATIVE))
    assert [type(result) for result in found] == [DeviceError, Prediction]
    assert "array: not enough memory on cpu for 96x96 pixels" in str(found[0])


@pytest.mark.parametrize("tile", [-1, 1, 63])
def test_tiles_too_small_to_see_anything_are_refused(tile, model):
    with pytest.raises(UsageError, match=f"tile is {tile} pixels, 64 or more are needed, or 0 for none"):
        model.stream([], tile=tile)


def test_a_model_without_a_size_of_its_own_sees_the_whole_at_that_of_a_tile(model):
    model.method.size_rule = SizeRule(0, multiple=8, pad="replicate")
    model(scene("plane"), tile=TILE)
    assert model.method.seen[0] == (1, 3, 72, 96)

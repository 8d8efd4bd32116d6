"""Models from elsewhere: a function, an ONNX file."""

from __future__ import annotations

import numpy as np
import onnx_file
import pytest
import torch

from leadline import cards
from leadline.cards import Card
from leadline.errors import LeadlineError, ShapeError, UsageError, WeightsError
from leadline.methods.external import External, on_pictures
from leadline.predict import Model, external, load
from leadline.prediction import Kind

CARD = Card(name="mine", method="onnx", kind=Kind.affine_depth)


def model(function, kind=Kind.affine_depth, **more) -> Model:
    return external(function, kind, name="mine", **more)


def photo(height=20, width=30) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def folder(path, shape=("B", 3, "H", "W"), kind=Kind.affine_depth, **config):
    path.mkdir(exist_ok=True)
    onnx_file.mean_of_colours(path / "model.onnx", shape)
    cards.write(CARD.model_copy(update={"kind": kind, "config": config}), path / "card.yaml")
    return path


def test_a_function_gets_the_photo_as_it_is():
    seen = []

    def function(rgb):
        seen.append(rgb)
        return rgb[..., 0]

    prediction = model(function)(photo())
    assert prediction.kind is Kind.affine_depth
    assert prediction.model == "mine"
    np.testing.assert_array_equal(seen[0], photo())
    red = photo()[..., 0].astype(np.float32)
    np.testing.assert_allclose(prediction.values, (red - red.min()) / (red.max() - red.min()), atol=1e-6)


def test_metric_values_stay_what_they_are():
    metres = np.linspace(1, 90, 600, dtype=np.float32).reshape(20, 30)
    np.testing.assert_array_equal(model(lambda _: metres, Kind.metric_depth)(photo()).metres(), metres)


def test_normals_come_back_in_the_opencv_frame():
    facing = np.broadcast_to(np.float32([0, 0, 1]), (20, 30, 3))  # towards the viewer in OpenGL's axes
    normals = model(lambda _: facing, Kind.normals, frame="opengl")(photo()).normals
    np.testing.assert_allclose(normals[0, 0], [0, 0, -1], atol=1e-6)


@pytest.mark.parametrize("wrong", [np.zeros((20, 31)), np.zeros((20, 30, 3)), np.zeros(20)])
def test_values_of_another_size_are_refused(wrong):
    with pytest.raises(ShapeError, match="mine returns"):
        model(lambda _: wrong)(photo())


def test_values_that_are_not_finite_are_refused():
    with pytest.raises(LeadlineError, match="not finite"):
        model(lambda rgb: np.full(rgb.shape[:2], np.nan))(photo())


@pytest.mark.parametrize("act", [lambda m: m.loss(None), lambda m: m.save(None), lambda m: m.random(None)])
def test_what_needs_the_inside_of_a_model_is_refused(act):
    with pytest.raises(UsageError, match="elsewhere"):
        act(External(on_pictures(lambda rgb: rgb[..., 0]), CARD))


class TestOnnx:
    """With ONNX Runtime, where it is installed."""

    @pytest.fixture(autouse=True)
    def _runtime(self):
        pytest.importorskip("onnxruntime")

    def test_a_folder_with_a_card_is_a_model(self, tmp_path):
        prediction = load(folder(tmp_path / "mine", kind=Kind.metric_depth, output="depth"))(photo())
        np.testing.assert_allclose(prediction.values, photo().mean(2) / 255, atol=1e-6)

    def test_the_output_is_the_one_that_the_card_names(self, tmp_path):
        first = load(folder(tmp_path / "a"))(photo())
        named = load(folder(tmp_path / "b", output="depth"))(photo())
        np.testing.assert_allclose(first.values, 1 - named.values, atol=1e-6)  # the first is its negative

    def test_colours_are_normalised_as_the_card_says(self, tmp_path):
        config = {"output": "depth", "mean": [0.5, 0.5, 0.5], "std": [0.1, 0.1, 0.1]}
        prediction = load(folder(tmp_path / "a", kind=Kind.metric_depth, **config))(photo())
        wanted = np.maximum((photo().mean(2) / 255 - 0.5) / 0.1, 0)
        np.testing.assert_allclose(prediction.values, wanted, atol=1e-5)

    def test_a_file_of_one_size_gets_and_returns_every_size(self, tmp_path):
        fixed = load(folder(tmp_path / "a", (1, 3, 16, 24), Kind.metric_depth, output="depth"))
        smooth = np.tile(np.linspace(0, 250, 30, dtype=np.uint8)[None, :, None], (20, 1, 3))
        several = [smooth, smooth[:, ::-1].copy()]
        for picture, one in zip(several, fixed(several, batch_size=2), strict=True):
            np.testing.assert_allclose(one.values, picture.mean(2) / 255, atol=0.03)

    def test_another_file_of_the_same_name_is_another_model(self, tmp_path):
        a, b = (load(folder(tmp_path / "a", shape)) for shape in [("B", 3, "H", "W"), (1, 3, 16, 24)])
        assert not torch.equal(a.network.state_dict()["digest"], b.network.state_dict()["digest"])

    @pytest.mark.parametrize(
        ("config", "message"),
        [
            ({"output": "dpeth"}, "'dpeth' does not exist: choose from other, depth"),
            ({"file": "other.onnx"}, "other.onnx: no such file"),
            ({"outputs": "depth"}, "did you mean 'output'"),
        ],
    )
    def test_a_wrong_card_is_named(self, tmp_path, config, message):
        with pytest.raises(LeadlineError, match=message):
            load(folder(tmp_path / "a", **config))

    def test_a_damaged_file_is_named(self, tmp_path):
        path = folder(tmp_path / "a")
        (path / "model.onnx").write_bytes(b"no network")
        with pytest.raises(WeightsError, match="is it an ONNX file"):
            load(path)

    def test_an_input_in_another_layout_is_named(self, tmp_path):
        with pytest.raises(WeightsError, match=r"\[B, 3, H, W\] is needed"):
            load(folder(tmp_path / "a", (1, 16, 24, 3)))

import json
import pickle
from dataclasses import FrozenInstanceError
from pathlib import Path

import numpy as np
import pytest

from leadline import __version__
from leadline.camera import Camera
from leadline.errors import CameraError, KindError, LeadlineError, ShapeError, UsageError
from leadline.prediction import Kind, Prediction

DEPTHS = [Kind.affine_depth, Kind.affine_disparity, Kind.metric_depth]


def make(kind, values=None, **more):
    if values is None:
        values = np.linspace(1, 4, 12, dtype=np.float32).reshape(3, 4)
        if Kind(kind) in (Kind.normals, Kind.picture):
            values = np.stack([values * 0, values * 0, -values / values], -1)
    return Prediction(values, kind, **more)


def test_each_kind_says_its_unit_and_its_near_end():
    said = {kind: (kind.unit, kind.near_is) for kind in Kind}
    assert said == {
        Kind.affine_depth: ("none", "small"),
        Kind.affine_disparity: ("none", "large"),
        Kind.metric_depth: ("metre", "small"),
        Kind.normals: ("none", None),
        Kind.segmentation: ("none", None),
        Kind.picture: ("none", None),
    }


@pytest.mark.parametrize("kind", Kind)
def test_size_is_the_image_size(kind):
    result = make(kind)
    assert (result.height, result.width) == (3, 4)
    assert (result.unit, result.near_is) == (kind.unit, kind.near_is)


def test_an_unknown_kind_names_the_nearest():
    with pytest.raises(UsageError, match="kind is 'affine': did you mean 'affine_depth'"):
        Prediction(np.zeros((2, 3), np.float32), "affine")


def test_kind_may_come_as_the_word_of_a_file():
    assert make("metric_depth").kind is Kind.metric_depth
    with pytest.raises(ValueError, match="depth_metric"):
        make("depth_metric")


@pytest.mark.parametrize("kind", DEPTHS)
def test_depth_is_raw(kind):
    result = make(kind)
    assert result.depth is result.values


@pytest.mark.parametrize(
    ("kind", "call", "names"),
    [
        ("affine_depth", Prediction.metres, "align_to"),
        ("affine_disparity", Prediction.metres, "metric model"),
        ("normals", Prediction.metres, "metric model"),
        ("affine_depth", Prediction.disparity, "align_to"),
        ("affine_disparity", Prediction.affine_depth, "align_to"),
        ("normals", lambda p: p.depth, "normals"),
        ("segmentation", lambda p: p.depth, "segmentation"),
        ("metric_depth", lambda p: p.normals, "normals model"),
    ],
)
def test_what_makes_no_sense_is_refused_and_the_right_call_named(kind, call, names):
    with pytest.raises(KindError, match=names):
        call(make(kind))


def test_refusal_points_at_the_further_output_that_has_it():
    normals = make("normals")
    with pytest.raises(KindError, match=r"prediction\.also\['normals'\]"):
        _ = make("affine_depth", also={"normals": normals}).normals


def test_metres_and_raw_values_are_the_same_array():
    result = make("metric_depth")
    assert result.metres() is result.values
    assert make("affine_disparity").disparity().dtype == np.float32


def test_disparity_of_metric_depth_is_the_inverse_of_valid_pixels_only():
    values = np.array([[2.0, 4.0, 0.0, np.nan, 5.0]], np.float32)
    valid = np.array([[True, True, True, True, False]])
    result = make("metric_depth", values, valid=valid).disparity()
    assert result.tolist() == [[0.5, 0.25, 0, 0, 0]]
    assert result.dtype == np.float32


def test_affine_depth_of_metric_depth_spans_the_valid_pixels():
    values = np.array([[2.0, 3.0, 4.0, 900.0]], np.float32)
    valid = np.array([[True, True, True, False]])
    assert make("metric_depth", values, valid=valid).affine_depth().tolist() == [[0, 0.5, 1, 1]]
    assert make("metric_depth", values, valid=~valid).affine_depth().tolist() == [[0, 0, 0, 0]]
    assert make("metric_depth", values, valid=valid & False).affine_depth().max() == 0


def test_a_prediction_is_frozen():
    with pytest.raises(FrozenInstanceError):
        make("affine_depth").kind = Kind.metric_depth


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("affine_depth", np.zeros((1, 3, 4), np.float32)),
        ("normals", np.zeros((3, 4), np.float32)),
        ("normals", np.zeros((3, 3, 4), np.float32)),
        ("metric_depth", np.zeros((3, 4), np.float64)),
        ("metric_depth", np.zeros((3, 4), np.uint16)),
    ],
)
def test_arrays_of_another_layout_or_type_are_refused(kind, values):
    with pytest.raises(ShapeError):
        Prediction(values, kind)


@pytest.mark.parametrize(
    "more",
    [
        {"valid": np.ones((4, 3), bool)},
        {"valid": np.ones((3, 4), np.uint8)},
        {"uncertainty": np.ones((3, 5), np.float32)},
        {"uncertainty": np.ones((3, 4), np.float64)},
    ],
)
def test_masks_and_uncertainty_must_fit_the_values(more):
    with pytest.raises(ShapeError):
        make("affine_depth", **more)


def test_the_camera_must_be_of_this_image():
    with pytest.raises(CameraError, match="8x6 image, values are 4x3"):
        make("metric_depth", camera=Camera.from_fov(8, 6, horizontal=60))


def test_normals_are_in_the_opencv_frame_unless_said_otherwise():
    assert make("normals").frame == "opencv"
    assert make("affine_depth").frame is None


def test_the_record_is_plain_json_and_complete():
    result = make(
        "metric_depth",
        camera=Camera.from_fov(4, 3, horizontal=60),
        camera_source="exif",
        model="small",
        revision="abc",
        settings={"processed": (384, 288), "seed": np.int64(3), "folder": Path("a/b"), "kind": Kind.normals},
    )
    record = json.loads(json.dumps(result.record(), allow_nan=False))
    assert record["schema"] == 1
    assert (record["kind"], record["unit"], record["near_is"]) == ("metric_depth", "metre", "small")
    assert (record["width"], record["height"], record["frame"]) == (4, 3, None)
    assert Camera(**record["camera"]) == result.camera
    assert record["camera_source"] == "exif"
    assert record["settings"] == {"processed": [384, 288], "seed": 3, "folder": "a/b", "kind": "normals"}
    assert record["versions"]["leadline"] == __version__
    assert set(record["versions"]) == {"leadline", "torch", "numpy"}


def test_predictions_travel_between_processes():
    sent = make("affine_depth", valid=np.eye(3, 4, dtype=bool), settings={"seed": 1})
    received = pickle.loads(pickle.dumps(sent))
    assert np.array_equal(received.values, sent.values)
    assert np.array_equal(received.valid, sent.valid)
    assert received.kind is sent.kind


def test_refusals_are_one_line():
    with pytest.raises(LeadlineError) as caught:
        make("affine_depth").metres()
    assert "\n" not in str(caught.value)


def test_classes_have_names():
    values = np.array([[2, 0, 149, 150, -1]], np.float32)
    valid = np.array([[True, False, True, True, True]])
    prediction = Prediction(values, Kind.segmentation, valid=valid)
    assert prediction.classes() == {2: "sky", 149: "flag"}
    assert prediction.record()["classes"] == {"2": "sky", "149": "flag"}
    with pytest.raises(KindError, match="holds affine_depth, no classes"):
        make(Kind.affine_depth).classes()

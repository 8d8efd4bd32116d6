"""The protocol of benchmarks/bundled.py, on fakes whose right answer is known."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from leadline.errors import DataError

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def bundled():
    sys.path.insert(0, str(BENCHMARKS))
    try:
        import bundled

        yield bundled
    finally:
        sys.path.remove(str(BENCHMARKS))


@pytest.fixture
def frame(bundled):
    rng = np.random.default_rng(0)
    depth = rng.uniform(1, 9, (24, 32)).astype(np.float32)
    valid = rng.random((24, 32)) > 0.2
    rgb = rng.integers(0, 256, (24, 32, 3), dtype=np.uint8)
    return bundled.Frame("fake", rgb, np.where(valid, depth, 0), valid, 10)


def right_depth(frame):
    return np.where(frame.valid, frame.depth_m, 5).astype(np.float32)


@pytest.mark.parametrize(
    ("fit", "raw"),
    [
        ("in depth", lambda d: 0.2 * d - 3),
        ("in depth", lambda d: 2 - 0.1 * d),  # a negative scale is allowed
        ("in disparity", lambda d: 7 / d + 1),
        ("inverted", lambda d: 40 * d),
        ("negated", lambda d: 3 - 2 / d),
    ],
)
def test_a_prediction_right_up_to_its_own_scale_and_shift_is_perfect(bundled, frame, fit, raw):
    metres = bundled.aligned(raw(right_depth(frame)), frame, fit)
    delta1, absrel = bundled.score(metres, frame)
    assert delta1 == 1
    assert absrel < 1e-3


def test_the_wrong_space_is_worse(bundled, frame):
    disparity = 1 / right_depth(frame)
    assert bundled.score(bundled.aligned(disparity, frame, "in depth"), frame)[0] < 0.95


def test_invalid_pixels_count_neither_in_the_fit_nor_in_the_score(bundled, frame):
    raw = np.where(frame.valid, frame.depth_m, 1e6).astype(np.float32)
    assert bundled.score(bundled.aligned(raw, frame, "in depth"), frame)[0] == 1


def test_predictions_are_clipped_to_the_range_of_the_set(bundled, frame):
    raw = right_depth(frame)
    raw[0, 0] = 1e4 if not frame.valid[0, 0] else raw[0, 0]
    outlier = np.where(frame.valid, raw, 1e4).astype(np.float32)
    metres = bundled.aligned(outlier, frame, "in depth")
    assert metres.max() <= 10
    assert metres.min() >= 1e-3


def test_delta1_and_absrel_are_the_textbook_ones(bundled, frame):
    factor = np.where(np.arange(32) % 2, 1.2, 1.3).astype(np.float32)
    delta1, absrel = bundled.score(right_depth(frame) * factor, frame)
    odd = frame.valid[:, 1::2].sum() / frame.valid.sum()
    assert delta1 == pytest.approx(odd, abs=1e-6)
    assert absrel == pytest.approx(0.2 * odd + 0.3 * (1 - odd), abs=1e-4)


def test_the_best_of_several_fits_comes_first(bundled, frame):
    fits = ["negated", "inverted", "in depth"]
    fake = bundled.Contender("fake", "here", lambda rgb: 40 * right_depth(frame), fits)
    scores = bundled.measure(fake, [frame, frame])
    assert [s.delta1 for s in scores] == sorted((s.delta1 for s in scores), reverse=True)
    assert {s.fit for s in scores} == set(fake.fits)
    assert scores[0].seconds > 0


def test_a_smaller_prediction_is_brought_to_the_size_of_the_truth(bundled):
    ramp = np.tile(np.linspace(0, 1, 16, dtype=np.float32), (12, 1))
    large = bundled.resized(ramp, (24, 32))
    assert large.shape == (24, 32)
    assert np.all(np.diff(large, axis=1) >= 0)


def test_the_mean_gives_every_set_the_same_weight_and_the_record_is_json(bundled, frame):
    fake = bundled.Contender("fake", "here", lambda rgb: right_depth(frame), ["in depth"])
    other = bundled.Frame("bad", frame.rgb, frame.depth_m[::-1].copy(), frame.valid[::-1].copy(), 10)
    sets = {"good": [frame] * 3, "bad": [other], "apart": [other]}
    best = bundled.compare([fake], sets, ["good", "bad"])["fake"]
    assert best["mean"].delta1 == pytest.approx((best["good"].delta1 + best["bad"].delta1) / 2)
    assert set(json.loads(json.dumps(best["good"].record()))) >= {"delta1", "absrel", "seconds"}


def _write(root, folder, stem, depth, unit, image_folder=None):
    (root / folder).mkdir(parents=True, exist_ok=True)
    photo = root / (image_folder or folder) / f"{stem}.jpg"
    photo.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((*depth.shape, 3), np.uint8)).save(photo)
    Image.fromarray((depth * unit).astype(np.uint16)).save(root / folder / f"{stem}.png")


def _set(bundled, name):
    return next(s for s in bundled.frames.SETS if s.name == name)


def test_nyu_frames_lose_their_white_border_and_small_ones_do_not(bundled, tmp_path):
    for i in range(3):
        _write(tmp_path, "rgbd_indoor/nyuv2", f"sync_{i}", np.full((480, 640), 2.0), 1000)
    _write(tmp_path, "rgbd_indoor/nyuv2", "fastdepth", np.full((224, 224), 2.0), 1000)
    small, *large = bundled.frames.real(tmp_path, _set(bundled, "nyu"))
    assert small.valid.all()
    assert all(f.valid.sum() == 426 * 560 and f.valid[45, 41] and not f.valid[44, 41] for f in large)
    assert large[0].depth_m.max() == 2


def test_kitti_validation_is_the_last_eight_of_the_jam(bundled, tmp_path):
    for i in range(10):
        depth = np.array([[0, 1.5, 79, 81]])
        _write(tmp_path, "kitti/lidar_depth", f"raw20110926_{i:010}", depth, 256, "kitti/image")
    found = bundled.frames.real(tmp_path, _set(bundled, "kitti_jam"))
    assert [f.name[-2:] for f in found] == [f"{i:02}" for i in range(2, 10)]
    assert found[0].valid.tolist() == [[False, True, True, False]]


@pytest.mark.parametrize(("fx", "known"), [("50", True), ("0", False), ("", False)])
def test_a_frame_has_the_camera_of_the_table_and_none_where_that_is_not_known(bundled, tmp_path, fx, known):
    _write(tmp_path, "rgbd_indoor/marigold_dc_sample", "one", np.full((6, 8), 2.0), 1000)
    row = f"marigold_dc_sample,one,8,6,{fx},{fx},3.5,2.5"
    table = "group,frame,width,height,fx,fy,cx,cy\n" + row + "\n"
    (tmp_path / "rgbd_indoor" / "frames.csv").write_text(table)
    camera = bundled.frames.real(tmp_path, _set(bundled, "laser"))[0].camera
    assert (camera is not None) == known
    if camera is not None:
        assert (camera.fx, camera.cx, camera.cy) == (50, 4, 3)


def test_a_missing_frame_is_an_error(bundled, tmp_path):
    with pytest.raises(DataError, match="0 files match .* 26 wanted"):
        bundled.frames.real(tmp_path, _set(bundled, "livingroom"))


def test_sets_of_frames_never_meet(bundled):
    """Not even in one recording: what shares a folder has other files of it, or another name."""
    sets = bundled.frames.SETS
    names = {(s.depth, s.depth.split("/")[1] + s.depth.split("/")[2][:3]) for s in sets}
    assert len({name for _, name in names}) == len({s.depth for s in sets})
    numbers = [(s.depth, number) for s in sets for number in range(100)[s.start : s.stop]]
    assert len(set(numbers)) == len(numbers)

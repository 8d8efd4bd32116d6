"""Faults planted into rendered scenes are all found, and scenes as they are raise no doubt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
import training
from training import Straight, small_recipe

from leadline.camera import z_to_ray
from leadline.data import DATASETS
from leadline.data.sample import Sample
from leadline.data.scenes import Scenes
from leadline.errors import DataError, TrainError
from leadline.train import geometry, preflight, train


@pytest.fixture(scope="module", params=[(None, 0), (None, 3), ("street", 3)], ids=str)
def samples(request) -> list[Sample]:
    kind, seed = request.param
    scenes = Scenes(seed=seed, count=8, size=(72, 96), kind=kind)
    return [scenes[i] for i in range(8)]


def along_rays(sample: Sample) -> Sample:
    return replace(sample, depth_m=z_to_ray(sample.depth_m, sample.camera).astype(np.float32))


def disparity(sample: Sample) -> Sample:
    known = np.isfinite(sample.depth_m)
    return replace(sample, depth_m=np.where(known, 1 / sample.depth_m, 0).astype(np.float32), valid=known)


def mirrored(*axes: int) -> Callable[[Sample], Sample]:
    return lambda sample: replace(sample, depth_m=np.flip(sample.depth_m, axes).copy(), normals=None)


def turned(*signs: int) -> Callable[[Sample], Sample]:
    return lambda sample: replace(sample, normals=sample.normals * np.float32(signs))


FAULTS = {
    "distances along the rays": along_rays,
    "look like disparities": disparity,
    "left and right of the depths": mirrored(1),
    "top and bottom of the depths": mirrored(0),
    "when both of the depths": mirrored(0, 1),
    "when x are negated": turned(-1, 1, 1),
    "when y and z are negated": turned(1, -1, -1),
    "when x and y and z are negated": turned(-1, -1, -1),
}


def test_rooms_in_centimetres_are_doubted():
    """They could be landscapes by each number alone."""
    rooms = [Scenes(seed=3, count=8, size=(36, 48), kind="room")[i] for i in range(8)]
    assert list(geometry.doubts(rooms)) == []
    wrong = [replace(s, depth_m=100 * s.depth_m) for s in rooms]
    (doubt,) = geometry.doubts(wrong)
    assert "centimetres or millimetres" in doubt


@pytest.mark.parametrize("kind", ["room", "street", None])
def test_worlds_in_metres_are_near_enough(kind):
    samples = [Scenes(seed=5, count=8, size=(36, 48), kind=kind)[i] for i in range(8)]
    assert not [doubt for doubt in geometry.doubts(samples) if "centimetres" in doubt]


class Centimetres(Scenes):
    def at(self, index: int, size: tuple[int, int]) -> Sample:
        made = super().at(index, size)
        return replace(made, depth_m=100 * made.depth_m)


def test_a_training_on_rooms_in_centimetres_stops_before_the_first_step(tmp_path, monkeypatch):
    monkeypatch.setitem(DATASETS, "raw", "training:Centimetres")
    monkeypatch.setattr(training, "Centimetres", Centimetres, raising=False)
    options = "{count: 8, seed: 3, kind: room}"
    wrong = [f"data={{raw: {{options: {options}, sizes: [[48, 64]]}}}}", "stages={}", "steps=1"]
    with pytest.raises(DataError, match="data set raw: depths are .* m off in the median.* preflight=warn"):
        train(small_recipe(*wrong), tmp_path / "stop", method=Straight())
    assert train(small_recipe(*wrong, "preflight=warn"), tmp_path / "warn", method=Straight()).finished


def test_scenes_raise_no_doubt(samples):
    assert list(geometry.doubts(samples)) == []
    bare = [replace(s, normals=None, camera=None) for s in samples]
    assert list(geometry.doubts(bare)) == []


@pytest.mark.parametrize("words", FAULTS)
def test_a_planted_fault_is_found_and_named(samples, words):
    (found,) = geometry.doubts([FAULTS[words](sample) for sample in samples])
    assert words in found


def test_noise_and_constants_say_nothing(samples):
    rng = np.random.default_rng(0)
    for made in (np.ones((72, 96)), 1 + rng.random((72, 96))):
        plain = [replace(s, depth_m=made.astype(np.float32), normals=None) for s in samples]
        assert list(geometry.doubts(plain)) == []
    assert list(geometry.doubts([])) == []


class Rays(Scenes):
    def at(self, index: int, size: tuple[int, int]) -> Sample:
        return along_rays(super().at(index, size))


def test_a_training_stops_before_the_first_step_or_says_so(tmp_path, monkeypatch):
    monkeypatch.setitem(DATASETS, "rays", "training:Rays")
    monkeypatch.setattr(training, "Rays", Rays, raising=False)
    wrong = ["data={rays: {options: {count: 8}, sizes: [[48, 64]]}}", "stages={}", "steps=1"]
    with pytest.raises(DataError, match="data set rays: depths look like distances .* preflight=warn"):
        train(small_recipe(*wrong), tmp_path / "stop", method=Straight())
    assert train(small_recipe(*wrong, "preflight=warn"), tmp_path / "warn", method=Straight()).finished


def test_a_part_that_no_gradient_reaches_is_named():
    """As where somebody saves memory with no_grad round a decoder that is trained too."""
    parts = torch.nn.ModuleDict({"unet": torch.nn.Linear(2, 2), "decoder": torch.nn.Linear(2, 2)})
    with torch.no_grad():
        z = parts["unet"](torch.ones(1, 2))
    parts["decoder"](z).sum().backward()
    with pytest.raises(TrainError, match="no gradient reaches unet"):
        preflight.check_gradient(parts)

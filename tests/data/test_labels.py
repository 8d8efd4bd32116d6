"""Labels beside a data set: found by the names of its pictures, brought to their size, and learnt from."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import label_runs
import numpy as np
import pytest
import tiny_primedepth
import torch
import trees
from PIL import Image

from leadline import ade20k, cli, recipe
from leadline.data import open_set
from leadline.data.labels import as_ade20k
from leadline.data.mix import fetch
from leadline.data.sample import collate
from leadline.data.scenes import Scenes
from leadline.data.view import View
from leadline.errors import DataError, UsageError
from leadline.label import Order, label, run
from leadline.methods.primedepth import Config, PrimeDepth

ORDER = Order(depth=None, classes="fake", captions="fake", device="cpu")
SIZE = (24, 32)
RECIPES = Path(__file__).parents[2] / "recipes"


@pytest.fixture(autouse=True)
def _fake(monkeypatch):
    monkeypatch.setattr(run, "load", label_runs.networks)


@pytest.fixture
def rooms(tmp_path) -> Path:
    """Four prepared frames, each unlike the others."""
    rng = np.random.default_rng(0)
    for number in range(4):
        name = f"ai_001_00{number}/{{}}_cam_00_fr0000.png"
        trees.picture(tmp_path, f"rooms/{name.format('rgb')}", smooth(rng))
        trees.counts(tmp_path, f"rooms/{name.format('depth_plane')}", rng.uniform(1, 9, SIZE), 1000)
    return tmp_path / "rooms"


def smooth(rng: np.random.Generator) -> np.ndarray:
    """Colours that a JPEG hardly changes, dark on one side, bright on the other."""
    low, high = np.sort(rng.integers(0, 256, (2, 1, 1, 3)), axis=0)
    ramp = np.linspace(0, 1, SIZE[1])[None, :, None]
    return np.broadcast_to((low + (high - low) * ramp), (*SIZE, 3)).astype(np.uint8)


def seen(name: str, path: Path, labels: Path, **options) -> list:
    data = View(labels={"path": labels, **options}).over(open_set(name, {"path": path}))
    return [fetch(data, number, None) for number in range(len(data))]


def test_a_data_set_is_labelled_and_finds_its_labels_again(rooms, tmp_path):
    summary = label([rooms], tmp_path / "labels", ORDER, data={"set": "hypersim"}, per_shard=3)
    assert (summary.done, summary.failed) == (4, [])
    bare = open_set("hypersim", {"path": rooms})
    for number, sample in enumerate(seen("hypersim", rooms, tmp_path / "labels")):
        (caption,) = label_runs.Captioner()([bare[number].rgb])
        assert sample.caption == caption
        np.testing.assert_array_equal(sample.classes, label_runs.Segmenter()([sample.rgb])[0].numbers)
        np.testing.assert_array_equal(sample.depth_m, bare[number].depth_m)
        assert (sample.pseudo, sample.name) == (None, bare[number].name)
    again = label([rooms], tmp_path / "labels", ORDER, data={"set": "hypersim"}, per_shard=3)
    assert (again.done, again.skipped) == (0, 4)


def test_frames_of_the_renderer_are_labelled_without_being_prepared(tmp_path):
    trees.hypersim_native(tmp_path / "raw", trees.colours(SIZE), trees.truth_for("hypersim", SIZE))
    label([tmp_path / "raw"], tmp_path / "labels", ORDER, data={"set": "hypersim"})
    (sample,) = seen("hypersim", tmp_path / "raw", tmp_path / "labels")
    assert sample.caption.startswith("a picture of")
    assert sample.classes.shape == SIZE


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"set": "hypersin"}, "did you mean 'hypersim'"),
        ({"set": "hypersim", "parts": "train"}, "did you mean 'part'"),
        ({"set": "hypersim", "part": "trane"}, "did you mean 'train'"),
        ({"set": "photographs"}, "photographs has no names .*: name its files"),
    ],
)
def test_data_sets_that_cannot_be_labelled_are_refused(rooms, tmp_path, data, message):
    with pytest.raises((DataError, UsageError), match=message):
        label([rooms], tmp_path / "labels", ORDER, data=data)


def test_files_that_were_labelled_by_themselves_are_found_without_their_endings(rooms, tmp_path):
    label([f"{rooms}/ai_*/rgb_*.png"], tmp_path / "labels", ORDER)
    assert all(sample.caption for sample in seen("hypersim", rooms, tmp_path / "labels"))


def test_classes_of_smaller_pictures_come_to_the_pictures_size(rooms, tmp_path):
    whole, small = tmp_path / "whole", tmp_path / "small"
    label([rooms], whole, ORDER, data={"set": "hypersim"})
    label([rooms], small, replace(ORDER, size=16), data={"set": "hypersim"})
    for one, other in zip(seen("hypersim", rooms, whole), seen("hypersim", rooms, small), strict=True):
        assert other.classes.shape == SIZE
        assert (one.classes == other.classes).mean() > 0.9
    made = [seen("hypersim", rooms, small, fields=[field])[0] for field in ("classes", "caption")]
    assert [(x.classes is None, x.caption is None) for x in made] == [(False, True), (True, False)]


def test_pictures_without_labels_have_unknown_classes_and_no_caption(rooms, tmp_path):
    chosen = tmp_path / "list.txt"
    lines = [f"ai_001_00{n}/rgb_cam_00_fr0000.png ai_001_00{n}/depth_plane_cam_00_fr0000.png" for n in (0, 2)]
    chosen.write_text("\n".join(lines))
    data = {"set": "hypersim", "list_file": chosen}
    label([rooms], tmp_path / "labels", ORDER, data=data)
    samples = seen("hypersim", rooms, tmp_path / "labels")
    assert [sample.caption is None for sample in samples] == [False, True, False, True]
    assert (samples[1].classes == ade20k.UNKNOWN).all()
    assert collate(samples).classes.shape == (4, *SIZE)


def test_labels_of_other_pictures_are_refused(rooms, tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "photo.png")
    label([tmp_path / "photo.png"], tmp_path / "labels", ORDER)
    wanted = r"labels of 0 of the 4 pictures, and none of ai_001_000/rgb.* \(it has photo"
    with pytest.raises(DataError, match=wanted):
        seen("hypersim", rooms, tmp_path / "labels")
    with pytest.raises(DataError, match="by the names of pictures, this set has none"):
        View(labels={"path": tmp_path / "labels"}).over(Scenes(count=2))
    with pytest.raises(DataError, match="not depth"):
        seen("hypersim", rooms, tmp_path / "labels", fields=["depth"])
    with pytest.raises(DataError, match="did you mean 'min_certainty'"):
        seen("hypersim", rooms, tmp_path / "labels", min_certanty=0.5)
    for number in range(4):
        (tmp_path / f"other/ai_001_00{number}").mkdir(parents=True)
        Image.new("RGB", (32, 8)).save(tmp_path / f"other/ai_001_00{number}/rgb_cam_00_fr0000.png")
    label([tmp_path / "other"], tmp_path / "wide", ORDER, recursive=True)
    with pytest.raises(DataError, match="has 32x24 pixels, its classes 32x8: label it again"):
        seen("hypersim", rooms, tmp_path / "wide")


def test_what_is_labelled_is_found_by_a_crop_too(rooms, tmp_path):
    label([rooms], tmp_path / "labels", ORDER, data={"set": "hypersim"})
    entry = View(labels={"path": tmp_path / "labels"}, range_m=(2, 5))
    made = entry.over(open_set("hypersim", {"path": rooms}))
    assert made.name_of(1) == "ai_001_001/rgb_cam_00_fr0000.png"
    assert made[1].caption
    assert not made[1].valid.all()


def test_primedepths_second_stage_learns_of_captions_and_classes(rooms, tmp_path):
    """Its recipe's own entry, from the files to the loss."""
    label([rooms], tmp_path / "labels", ORDER, data={"set": "hypersim"})
    paths = [f"data.hypersim.options={{path: {rooms}}}", f"data.hypersim.labels.path={tmp_path / 'labels'}"]
    chosen = recipe.load(RECIPES / "primedepth.yaml", paths)
    entry = chosen.data["hypersim"]
    data = entry.over(open_set("hypersim", entry.options))
    batch = collate([fetch(data, number, None) for number in range(2)])
    config = Config.model_validate(tiny_primedepth.SMALL | {"segmentation": chosen.model["segmentation"]})
    model = PrimeDepth.random(config)
    heard: list[str] = []
    model.prompts = SimpleNamespace(encode=lambda caption: heard.append(caption) or torch.zeros(1, 2, 12))
    loss = model.loss(batch, torch.Generator().manual_seed(0))
    assert {"ssi", "dice", "focal", "lambda"} <= set(loss.parts)
    assert heard == batch.captions
    assert all(caption.startswith("a picture of") for caption in heard)


def test_ade20ks_own_list_is_known_in_other_words():
    """Released segmenters call some of its classes otherwise, and keep its order."""
    assert as_ade20k(ade20k.NAMES, "labels").tolist() == [*range(150), -1]
    others = ["window ", "tub", "tv", "plane"]
    words = [others.pop() if number in (8, 37, 89, 90) else name for number, name in enumerate(ade20k.NAMES)]
    assert as_ade20k(words, "labels").tolist() == [*range(150), -1]


def test_cityscapes_classes_are_found_by_name():
    names = (
        *("road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign"),
        *("vegetation", "terrain", "sky", "person", "rider", "car", "truck", "bus", "train"),
        *("motorcycle", "bicycle"),
    )
    found = as_ade20k(names, "labels").tolist()
    assert found[:4] == [ade20k.number(name) for name in ("road", "sidewalk", "building", "wall")]
    assert [name for name, number in zip(names, found, strict=False) if number < 0] == [
        *("traffic sign", "vegetation", "terrain", "rider", "train", "motorcycle")
    ]


def test_the_command_labels_a_data_set(rooms, tmp_path, capsys):
    words = (
        "label",
        rooms,
        "-o",
        tmp_path / "labels",
        "--depth",
        "none",
        "--captions",
        "x",
        "--part",
        "train",
    )
    assert cli.main([str(word) for word in words]) == 2
    assert "--part is of a data set: say which, as --set hypersim" in capsys.readouterr().err
    assert cli.main([str(word) for word in (*words, "--set", "hypersim", "--device", "cpu")]) == 0
    record = json.loads((tmp_path / "labels/shard-000000.json").read_text())
    assert [sample["name"] for sample in record["samples"]] == [
        f"ai_001_00{number}/rgb_cam_00_fr0000.png" for number in range(4)
    ]

"""Self-training: labels where a teacher agrees with itself, as one more set of any recipe."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from PIL import Image

import leadline
import leadline.data
from leadline import recipe
from leadline.data.sample import Sample, collate
from leadline.errors import DataError, KindError
from leadline.methods import e2e_ft, metricgold
from leadline.prediction import Kind
from leadline.train import teach, train
from leadline.train.run import Stop

SIZE = (16, 24)


@pytest.fixture
def photographs(tmp_path) -> Path:
    folder = tmp_path / "photographs"
    folder.mkdir()
    for number in range(2):
        pixels = np.random.default_rng(number).integers(0, 256, (*SIZE, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


def brightness(rgb: np.ndarray) -> np.ndarray:
    """Depth by brightness, but on the left half nonsense that does not know mirrors."""
    made = rgb.mean(axis=-1) / 255
    made[:, :12] = np.random.default_rng(0).random((SIZE[0], 12))
    return made.astype(np.float32)


def asked(photographs: Path, tmp_path: Path, **more) -> recipe.Recipe:
    settings = {"photographs": str(photographs), "teacher": "bright", "labels": str(tmp_path / "labels")}
    text = {"method": "e2e-ft", "data": {"scenes": {"sizes": [list(SIZE)]}}, "steps": 1, "device": "cpu"}
    text |= {"optimiser": {"lr": 1e-3}, "self_training": settings | {"sizes": [list(SIZE)]} | more}
    return recipe.load(str(text))


def teacher(function, kind: str = "affine_depth"):
    return leadline.external(function, kind)


def test_photographs_of_like_names_have_labels_of_their_own(photographs, tmp_path):
    (photographs / "a").mkdir()
    (photographs / "0.png").rename(photographs / "a" / "b.png")
    (photographs / "1.png").rename(photographs / "a__b.png")
    teach.label(asked(photographs, tmp_path), print, teacher(brightness))
    assert len(leadline.data.open_set("folder", {"path": tmp_path / "labels"})) == 2


def test_a_damaged_record_of_the_teacher_is_one_line(photographs, tmp_path):
    chosen = asked(photographs, tmp_path)
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / teach.RECORD).write_text("{")
    with pytest.raises(DataError, match="teacher.json: cannot be read .* choose another folder"):
        teach.label(chosen, print, teacher(brightness))


def test_labels_count_where_the_teacher_agrees_with_itself(photographs, tmp_path):
    chosen = asked(photographs, tmp_path)
    teach.label(chosen, print, teacher(brightness))
    data = teach.with_labels(chosen).data
    assert list(data) == ["scenes", "self_training"]
    sample = leadline.data.open_set("folder", {"path": tmp_path / "labels"})[0]
    assert sample.pseudo_kind is Kind.affine_depth
    rgb = np.asarray(Image.open(photographs / "0.png"))
    wanted = brightness(rgb)
    wanted = (wanted - wanted.min()) / np.ptp(wanted)  # an affine depth is published from 0 to 1
    np.testing.assert_allclose(sample.pseudo, wanted, atol=1e-5)
    assert sample.valid.mean() < 0.35  # of noise, a tenth agrees by chance


def test_a_sure_teacher_is_believed_everywhere(photographs, tmp_path):
    chosen = asked(photographs, tmp_path)
    teach.label(chosen, print, teacher(lambda rgb: (rgb.mean(axis=-1) / 255).astype(np.float32)))
    sample = leadline.data.open_set("folder", {"path": tmp_path / "labels"})[1]
    assert sample.valid.all()


def test_labels_are_made_once_and_by_one_teacher(photographs, tmp_path):
    chosen = asked(photographs, tmp_path)
    teach.label(chosen, print, teacher(brightness))
    teach.label(chosen, print, teacher(lambda rgb: 1 / 0))
    (tmp_path / "labels" / teach.MEANING).unlink()
    with pytest.raises(DataError, match="holds labels by"):
        teach.label(asked(photographs, tmp_path, agreement=0.5), print, teacher(brightness))
    with pytest.raises(KindError, match="depth, disparity or normals"):
        teach.label(chosen, print, teacher(brightness, "segmentation"))


def test_normals_are_taught_too(photographs, tmp_path):
    def facing(rgb: np.ndarray) -> np.ndarray:
        return np.broadcast_to(np.array([0.6, 0, -0.8], np.float32), rgb.shape)

    teach.label(asked(photographs, tmp_path), print, teacher(facing, "normals"))
    sample = leadline.data.open_set("folder", {"path": tmp_path / "labels"})[0]
    assert not sample.valid.any()  # in the mirror it should have been -0.6
    assert sample.normals.shape == (*SIZE, 3)


@pytest.mark.parametrize(
    ("target", "kind", "span"), [("depth", "affine_depth", 10), ("disparity", "affine_disparity", 1)]
)
def test_the_pupils_loss_takes_the_teachers_word(target, kind, span):
    loss = "paper" if target == "depth" else "midas"
    model = tiny.small(target=target, loss=loss, percentiles=None)
    said = np.random.default_rng(0).random(SIZE).astype(np.float32)
    rgb = np.zeros((*SIZE, 3), np.uint8)
    sample = Sample(rgb, np.ones(SIZE, bool), pseudo=said, pseudo_kind=Kind(kind))
    wanted, valid = model._wanted(collate([sample]))
    np.testing.assert_allclose(wanted[0, 0], span * said, rtol=1e-6)
    assert valid.all()
    assert model.loss(collate([sample])).total.isfinite()


def test_another_quantity_is_refused():
    sample = Sample(
        np.zeros((*SIZE, 3), np.uint8), np.ones(SIZE, bool), pseudo=np.ones(SIZE, np.float32),
        pseudo_kind=Kind.affine_disparity,
    )  # fmt: skip
    config = e2e_ft.Config(unet=tiny.PLAIN_UNET, autoencoder=tiny.BLOCKS, noise="none", clamp=False)
    with pytest.raises(DataError, match="affine_disparity, training is on affine_depth"):
        e2e_ft.E2EFT.random(config)._wanted(collate([sample]))


def test_a_recipe_trains_on_what_a_model_says(photographs, tmp_path):
    """From photographs alone to a model, whose card names the teacher."""
    taught = tmp_path / "teacher"
    tiny.small(size={"processing_res": 24, "multiple": 8}).save(taught)
    words = [
        "steps=2", "workers=0", "device=cpu", "batch.size=2", "validation={}", "every.sample=0",
        "data={scenes: {options: {seed: 1, count: 4}, sizes: [[16, 24]]}}",
        f"self_training={{photographs: {photographs}, teacher: {taught}, labels: {tmp_path / 'labels'}, "
        "sizes: [[16, 24]], agreement: 0.9, augment: {jitter: 0.5}}",
    ]  # fmt: skip
    chosen = recipe.load(Path(__file__).parents[2] / "recipes" / "tiny.yaml", words)
    outcome = train(chosen, tmp_path / "run")
    assert outcome.finished
    text = (outcome.model / "README.md").read_text()
    assert f"scenes, photographs labelled by {taught}" in text
    assert train(chosen, tmp_path / "run").step == 2  # the labels are there


def test_photographs_of_one_name_in_two_folders_are_two(photographs, tmp_path):
    for name, folder in (("0.png", "a"), ("1.png", "b")):
        (photographs / folder).mkdir()
        (photographs / name).rename(photographs / folder / "same.png")
    teach.label(asked(photographs, tmp_path), print, teacher(brightness))
    labelled = leadline.data.open_set("folder", {"path": tmp_path / "labels"})
    assert len(labelled) == 2
    assert not np.array_equal(labelled[0].rgb, labelled[1].rgb)


def test_a_stopped_labelling_goes_on_where_it_was(photographs, tmp_path):
    chosen, stop, asked_for = asked(photographs, tmp_path), Stop(), []

    def once(rgb: np.ndarray) -> np.ndarray:
        asked_for.append(rgb)
        stop.signal = "SIGTERM"
        return brightness(rgb)

    teach.label(chosen, print, teacher(once), stop=stop)
    assert len(asked_for) == 2  # of one photograph, and of its mirror image
    assert not teach.labelled(chosen.self_training)
    teach.label(chosen, print, teacher(once))
    assert len(asked_for) == 4
    assert teach.labelled(chosen.self_training)


def test_processes_share_the_photographs_out(photographs, tmp_path):
    chosen = asked(photographs, tmp_path)
    for rank in range(2):
        teach.finish(chosen)
        assert not teach.labelled(chosen.self_training)
        teach.label(chosen, print, teacher(brightness), share=(rank, 2))
        assert len(list((tmp_path / "labels" / "masks").iterdir())) == rank + 1
    teach.finish(chosen)
    assert len(leadline.data.open_set("folder", {"path": tmp_path / "labels"})) == 2


def test_a_word_that_the_pupil_cannot_learn_is_refused_after_the_first(photographs, tmp_path):
    taught = tmp_path / "teacher"
    tiny.small(size={"processing_res": 24, "multiple": 8}).save(taught)  # it says disparity
    words = [
        "steps=2", "workers=0", "device=cpu", "batch.size=2", "validation={}", "every.sample=0",
        "model.target=depth", "model.loss=paper",
        "data={scenes: {options: {seed: 1, count: 4}, sizes: [[16, 24]]}}",
        f"self_training={{photographs: {photographs}, teacher: {taught}, labels: {tmp_path / 'labels'}, "
        "sizes: [[16, 24]]}",
    ]  # fmt: skip
    chosen = recipe.load(Path(__file__).parents[2] / "recipes" / "tiny.yaml", words)
    with pytest.raises(DataError, match="pseudo-labels are affine_disparity, training is on affine_depth"):
        train(chosen, tmp_path / "run")
    assert not list((tmp_path / "labels").rglob("*.png"))


def test_the_name_of_the_labels_is_kept_for_them(photographs, tmp_path):
    chosen = asked(photographs, tmp_path)
    made = teach.with_labels(chosen)
    assert teach.with_labels(made) == made  # as a run's own recipe
    other = chosen.model_copy(update={"data": {teach.ENTRY: chosen.data["scenes"]}})
    with pytest.raises(DataError, match="call yours something else"):
        teach.with_labels(other)


def test_metres_teach_metres_and_by_their_reciprocal_disparity():
    said = 1 + np.random.default_rng(0).random(SIZE).astype(np.float32)
    sample = Sample(np.zeros((*SIZE, 3), np.uint8), np.ones(SIZE, bool), pseudo=said)
    batch = collate([replace(sample, pseudo_kind=Kind.metric_depth)])
    model = tiny.small(target="disparity", loss="midas")
    np.testing.assert_allclose(model._wanted(batch)[0][0, 0], 1 / said, rtol=1e-6)
    unet = tiny.PLAIN_UNET | {"in_channels": 24, "out_channels": 12}
    config = {"unet": unet, "autoencoder": tiny.BLOCKS | {"factor": 2}}
    ranged = metricgold.Config(codec="log", near_m=0.1, far_m=80.0, **config)
    metres = metricgold.MetricGold.random(ranged)
    true = replace(batch, depth_m=batch.pseudo, pseudo=None, pseudo_kind=None)
    assert torch.equal(metres.label(batch)[0], metres.label(true)[0])
    with pytest.raises(DataError, match="affine_disparity, training is on metric_depth"):
        metres.label(replace(batch, pseudo_kind=Kind.affine_disparity))

"""Captioners and segmenters: one answer alone and in company, at the picture's size; strangers refused."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import tiny_labellers as tiny
import torch
import transformers

from leadline.errors import UsageError, WeightsError
from leadline.networks import labellers

CAPTIONERS = ("blip", "blip2", "git")
SEGMENTERS = ("segformer", "maskformer")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    home = tmp_path_factory.mktemp("labellers")
    return {name: getattr(tiny, name)(home / name) for name in (*CAPTIONERS, *SEGMENTERS)}


@pytest.fixture(scope="module")
def pictures():
    rng = np.random.default_rng(0)
    sizes = ((40, 50), (33, 20), (64, 64), (30, 90))
    return [rng.integers(0, 256, (*size, 3), np.uint8) // (1 + n) for n, size in enumerate(sizes)]


@pytest.mark.parametrize("name", CAPTIONERS)
@pytest.mark.parametrize("prompt", ["", "a photo of"])
def test_captions_are_words_of_the_picture_alone(folders, pictures, name, prompt):
    captioner = labellers.captioner(folders[name], device="cpu", prompt=prompt)
    together = captioner(pictures)
    assert together == [captioner([picture])[0] for picture in pictures] == captioner(pictures)
    assert len(set(together)) > 1
    assert not any(text.startswith("a photo of") or "[SEP]" in text for text in together)


def test_a_caption_is_what_the_folders_own_parts_say(folders, pictures):
    processor = transformers.BlipProcessor.from_pretrained(folders["blip"], local_files_only=True)
    network = transformers.BlipForConditionalGeneration.from_pretrained(folders["blip"])
    tokens = network.generate(**processor(images=pictures[0], return_tensors="pt"), max_new_tokens=20)
    expected = processor.decode(tokens[0], skip_special_tokens=True).strip()
    assert labellers.captioner(folders["blip"], device="cpu")(pictures[:1]) == [expected]


def test_a_captioner_may_come_with_its_processor_in_parts(folders, pictures, tmp_path):
    shutil.copytree(folders["git"], tmp_path / "parts")
    for name in ("processor_config.json", "preprocessor_config.json"):
        (tmp_path / "parts" / name).unlink(missing_ok=True)
    whole = transformers.AutoProcessor.from_pretrained(folders["git"])
    whole.image_processor.save_pretrained(tmp_path / "parts")
    config = json.loads((tmp_path / "parts/tokenizer_config.json").read_text())
    config.pop("processor_class", None)
    (tmp_path / "parts/tokenizer_config.json").write_text(json.dumps(config))
    parts = labellers.captioner(tmp_path / "parts", device="cpu")
    assert parts(pictures) == labellers.captioner(folders["git"], device="cpu")(pictures)


@pytest.mark.parametrize("name", SEGMENTERS)
def test_classes_have_the_pictures_size_and_do_not_depend_on_company(folders, pictures, name):
    segmenter = labellers.segmenter(folders[name], device="cpu")
    assert segmenter.names == list(tiny.CLASSES.values())
    together = segmenter(pictures)
    for found, picture in zip(together, pictures, strict=True):
        (alone,) = segmenter([picture])
        assert found.numbers.shape == found.confidence.shape == picture.shape[:2]
        assert (found.numbers.dtype, found.confidence.dtype) == (np.int32, np.float32)
        assert 0 <= found.numbers.min() <= found.numbers.max() < len(tiny.CLASSES)
        assert 0 <= found.confidence.min() < found.confidence.max() <= 1
        assert (alone.numbers == found.numbers).mean() > 0.99
        np.testing.assert_allclose(alone.confidence, found.confidence, atol=1e-4)


def test_classes_are_the_most_likely_of_the_enlarged_scores(folders, pictures):
    segmenter = labellers.segmenter(folders["segformer"], device="cpu")
    inputs = segmenter.processor(images=pictures[:1], return_tensors="pt")
    with torch.inference_mode():
        scores = segmenter.network(**inputs).logits
    scores = torch.nn.functional.interpolate(scores, pictures[0].shape[:2], mode="bilinear")[0]
    (found,) = segmenter(pictures[:1])
    assert (found.numbers == scores.argmax(dim=0).numpy()).all()
    np.testing.assert_allclose(found.confidence, scores.softmax(dim=0).amax(dim=0).numpy(), atol=1e-6)


def test_large_pictures_are_told_apart_at_a_bounded_size(folders, monkeypatch):
    monkeypatch.setattr(labellers, "LARGEST", 32)
    rng = np.random.default_rng(1)
    picture = rng.integers(0, 256, (64, 64, 3), np.uint8)
    (found,) = labellers.segmenter(folders["segformer"], device="cpu")([picture])
    assert found.numbers.shape == (64, 64)
    assert (found.numbers[:, ::2] == found.numbers[:, 1::2]).all()  # each of 32 pixels became two


def _edited(folder, home, **changes):
    """A copy of a folder whose config.json says something else."""
    shutil.copytree(folder, home)
    config = json.loads((home / "config.json").read_text())
    (home / "config.json").write_text(json.dumps({**config, **changes}))
    return home


def test_folders_of_another_kind_are_refused_in_one_line(folders, tmp_path):
    with pytest.raises(WeightsError, match="'segformer' is no captioner"):
        labellers.captioner(folders["segformer"], device="cpu")
    with pytest.raises(WeightsError, match="'blip' is no segmenter"):
        labellers.segmenter(folders["blip"], device="cpu")
    with pytest.raises(WeightsError, match=r"config\.json"):
        labellers.segmenter(tmp_path, device="cpu")


def test_code_of_strangers_is_not_run(folders, tmp_path):
    marker = tmp_path / "ran"
    code = _edited(
        folders["segformer"],
        tmp_path / "code",
        model_type="own",
        auto_map={"AutoConfig": "own.Own", "AutoModelForSemanticSegmentation": "own.Own"},
    )
    (code / "own.py").write_text(f"open({str(marker)!r}, 'w')")
    with pytest.raises(WeightsError, match="cannot be loaded"):
        labellers.segmenter(code, device="cpu")
    assert not marker.exists()


def test_a_network_that_lies_partly_elsewhere_is_refused(folders, tmp_path):
    folder = _edited(folders["segformer"], tmp_path / "x", backbone="someone/else")
    with pytest.raises(WeightsError, match="backbone 'someone/else' is described elsewhere"):
        labellers.segmenter(folder, device="cpu")


def test_damaged_and_incomplete_weights_are_refused(folders, tmp_path):
    cut, lacking, broken = tmp_path / "cut", tmp_path / "lacking", tmp_path / "broken"
    for folder in (cut, lacking, broken):
        shutil.copytree(folders["segformer"], folder)
    whole = (cut / "model.safetensors").read_bytes()
    (cut / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(WeightsError, match="cannot be loaded"):
        labellers.segmenter(cut, device="cpu")
    from safetensors.torch import load_file, save_file

    state = load_file(lacking / "model.safetensors")
    first = min(state)
    save_file({k: v for k, v in state.items() if k != first}, lacking / "model.safetensors", {"format": "pt"})
    with pytest.raises(WeightsError, match=f"weights lack {first}"):
        labellers.segmenter(lacking, device="cpu")
    state[first] = state[first] * torch.nan
    save_file(state, broken / "model.safetensors", {"format": "pt"})
    with pytest.raises(WeightsError, match="not finite"):
        labellers.segmenter(broken, device="cpu")


def test_names_are_folders_or_repositories_on_this_machine(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="no folder and no repository"):
        labellers.segmenter("no-such")
    with pytest.raises(WeightsError, match="not on this machine"):
        labellers.segmenter("someone/segformer")
    with pytest.raises(UsageError, match="no folder and no repository"):
        labellers.captioner("marigold-e2e-ft-depth")

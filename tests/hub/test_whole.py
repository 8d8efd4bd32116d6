"""From a name to a prediction: tiny networks in the makers' layout come from a hub on loopback."""

from __future__ import annotations

import huggingface_hub
import numpy as np
import published
import pytest
from fake_hub import COMMIT, ID, NAME, Repository

import leadline
from leadline.errors import WeightsError

OTHER, OTHER_ID = "marigold-depth-v1-1", "prs-eth/marigold-depth-v1-1"
UNET, ENCODER = "unet/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Of a folder as its makers published it, by their names."""
    folder = published.stable_diffusion(tmp_path_factory.mktemp("made") / "model")
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def predicted(model, **options):
    picture = np.random.default_rng(0).integers(0, 256, (35, 50, 3), np.uint8)
    loaded = leadline.load(model, device="cpu", **options)
    return loaded(picture, processing_res=32, **({"steps": 1} if loaded.method.steps else {}))


def test_over_a_bad_line_the_numbers_are_those_of_the_folder(online, files, tmp_path):
    online.repositories[ID] = Repository(dict(files), cut={UNET: 2, ENCODER: 1})
    fetched = predicted(NAME, download=True)
    assert (fetched.model, fetched.revision) == (NAME, COMMIT)
    assert online.fetched().count(UNET) == 3
    for name, data in files.items():
        (tmp_path / "own" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "own" / name).write_bytes(data)
    assert np.array_equal(fetched.values, predicted(tmp_path / "own", card=NAME).values)


def test_a_text_encoder_comes_once_and_later_runs_ask_nobody(online, files, monkeypatch):
    online.repositories[ID] = Repository(dict(files))
    online.repositories[OTHER_ID] = Repository(dict(files), commit="beef" + 36 * "0")
    predicted(NAME, download=True)
    assert online.fetched().count(ENCODER) == 1
    first = predicted(OTHER, download=True)
    assert online.fetched().count(ENCODER) == 1
    assert online.fetched().count(UNET) == 2
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    online.asked.clear()
    assert np.array_equal(predicted(OTHER).values, first.values)
    assert online.asked == []


def test_other_weights_than_their_hash_says_are_never_loaded(online, files):
    online.repositories[ID] = Repository(dict(files), hashes={UNET: 64 * "0"})
    with pytest.raises(WeightsError, match=f"{UNET}: not what its hash says"):
        predicted(NAME, download=True)

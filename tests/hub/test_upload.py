"""A model goes to the hub when asked, whole; what the hub refuses is one line."""

from __future__ import annotations

import pytest

from leadline import cards
from leadline.cards.readme import readme
from leadline.errors import UsageError, WeightsError
from leadline.hub import upload


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "model"
    (folder / "unet").mkdir(parents=True)
    (folder / "unet/diffusion_pytorch_model.safetensors").write_bytes(b"w" * 100)
    cards.write(cards.get("small"), folder / "card.yaml")
    (folder / "README.md").write_text(readme(cards.get("small")))
    (folder / "state.pt").write_bytes(b"a training's state")
    (folder / ".hidden").write_bytes(b"x")
    return folder


def test_a_models_folder_arrives_whole_and_nothing_else(online, model):
    where = upload.push(model, "someone/my-depth")
    sent = online.repositories["someone/my-depth"].files
    files = {"README.md", "card.yaml", "unet/diffusion_pytorch_model.safetensors"}
    assert files <= set(sent) <= files | {".gitattributes"}
    assert sent["card.yaml"] == (model / "card.yaml").read_bytes()
    assert where.startswith(f"{online.url}/someone/my-depth/commit/")
    assert online.private["someone/my-depth"]


def test_what_the_hub_refuses_is_one_line(online, model):
    online.closed = True
    try:
        with pytest.raises(WeightsError, match="does not let you write there: set HF_TOKEN .* stays in"):
            upload.push(model, "someone/my-depth")
    finally:
        online.closed = False


def test_wrong_words_and_folders_are_named(online, tmp_path):
    for word in ("depth", "../x", "a/b/c", ""):
        with pytest.raises(UsageError, match="such as someone/my-depth"):
            upload.check_id(word)
    with pytest.raises(WeightsError, match="has no card.yaml"):
        upload.push(tmp_path, "someone/my-depth")


def test_offline_is_said(model, monkeypatch):
    with pytest.raises(WeightsError, match="could not be pushed to"):
        upload.push(model, "someone/my-depth")


def test_a_readme_says_what_the_card_does():
    text = readme(cards.get("marigold-depth-v1-0"))
    assert text.startswith("---\nlicense: apache-2.0\npipeline_tag: depth-estimation\n")
    for words in ("affine_depth", "Hypersim", "RAIL++-M", "Bingxin Ke", "949,576,107"):
        assert words in text
    other = readme(cards.get("marigold-depth-v1-1"))
    assert "license: other\nlicense_name: " in other

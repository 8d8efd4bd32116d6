"""Models are found by name, hub id or folder, and a card says what they are."""

from __future__ import annotations

from pathlib import Path

import pytest
from fake_hub import COMMIT, FILES, ID, NAME, NEEDED, Repository, listed

from leadline import cards, hub, weights
from leadline.cards import Card
from leadline.errors import LeadlineError, UsageError, WeightsError

TAESD = {"config.json": b"{}", "diffusion_pytorch_model.safetensors": b"x", "taesd_decoder.safetensors": b"y"}


def test_any_repository_can_be_loaded_if_a_card_says_what_it_is(online):
    online.repositories["someone/own"] = Repository(dict(FILES))
    folder = hub.find("someone/own", download=True)
    assert listed(folder) == NEEDED
    with pytest.raises(WeightsError, match="has no card.yaml: say with a card which model it is"):
        hub.card_of("someone/own", folder)
    card = hub.card_of("someone/own", folder, NAME)
    assert card.method == "e2e-ft"
    online.repositories["someone/carded"] = Repository(
        {**FILES, "card.yaml": b"{name: mine, method: e2e-ft, kind: affine_depth}"}
    )
    card = hub.card_of("someone/carded", hub.find("someone/carded", download=True))
    assert (card.name, card.hub.id, card.hub.revision) == ("mine", "someone/carded", COMMIT)


def test_a_repository_that_nothing_describes_is_refused_before_it_is_fetched(online):
    online.repositories["someone/own"] = Repository(dict(FILES))
    with pytest.raises(WeightsError, match="someone/own has no card.yaml: say with a card"):
        hub.obtain("someone/own", download=True)
    with pytest.raises(WeightsError, match="'no-such-card' is unknown"):
        hub.obtain("someone/own", "no-such-card", download=True)
    assert online.fetched() == []
    folder, card = hub.obtain("someone/own", NAME, download=True)
    assert (listed(folder), card.hub.revision) == (NEEDED, COMMIT)


def test_a_downloaded_folder_is_known_by_its_place(online):
    folder = hub.find(NAME, download=True)
    for given in (folder, str(folder)):
        found, card = hub.obtain(given)
        assert (found, card.name, card.hub.revision) == (folder, NAME, COMMIT)


def test_the_revision_of_a_prediction_is_the_commit_on_disk(online):
    folder = hub.find(NAME, download=True)
    assert hub.card_of(NAME, folder).hub.revision == COMMIT


def test_a_card_in_a_repository_does_not_replace_ours(online):
    online.repositories[ID].files["card.yaml"] = (
        b"{name: other, method: e2e-ft, kind: normals, frame: opencv}"
    )
    assert hub.card_of(ID, hub.find(ID, download=True)) == hub.card_of(NAME, hub.find(NAME))


@pytest.mark.parametrize("revision", ["", "../main", "a/../../b", "-x", "a b", "é", "a\n"])
def test_revisions_that_cannot_be_are_refused(revision):
    with pytest.raises(WeightsError, match="a commit, branch or tag is needed"):
        hub.repository(f"{NAME}@{revision}")


def test_bundled_models_have_no_revisions():
    with pytest.raises(WeightsError, match="leave out @v1"):
        hub.repository("small@v1")


def test_find_takes_folders_as_they_are(tmp_path):
    assert weights.find(tmp_path) == tmp_path
    assert weights.find(str(tmp_path)) == tmp_path


@pytest.mark.parametrize("name", ["marigold-e2e-ft-dept", "GonzaloMG/marigold-e2e-ft-dept"])
def test_find_names_the_nearest_model(name):
    with pytest.raises(WeightsError, match="marigold-e2e-ft-depth'"):
        hub.find(name)


@pytest.mark.parametrize("name", ["no such thing", "/not/a/folder", "a\0b", "", "../x"])
def test_names_that_mean_nothing_are_an_error_of_one_line(name, monkeypatch, tmp_path):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")  # where no folder has such a name
    with pytest.raises(WeightsError, match="unknown, and no folder") as error:
        hub.find(name)
    assert str(error.value).isprintable()


def test_a_repository_that_is_not_here_may_be_fetched():
    with pytest.raises(WeightsError, match="weights of not/here are not on this machine: give its folder"):
        hub.find("not/here")
    with pytest.raises(WeightsError, match=r"stable-diffusion-2\) are not on this machine: give its folder"):
        hub.find("stable-diffusion-2")  # a prior, which has no card of its own


@pytest.mark.parametrize("name", ["tiny", "tiny@main", "madebyollin/taesd", f"madebyollin/taesd@{COMMIT}"])
def test_a_light_autoencoder_is_found_as_models_are(online, name):
    online.repositories["madebyollin/taesd"] = Repository(dict(TAESD))
    with pytest.raises(WeightsError, match="not on this machine"):
        hub.autoencoder(name)
    assert online.fetched() == []
    folder = hub.autoencoder(name, download=True)
    assert listed(folder) == ["config.json", "diffusion_pytorch_model.safetensors"]
    assert hub.autoencoder(name) == hub.find(name, download=True) == hub.autoencoder(folder) == folder


def test_a_whole_model_is_not_fetched_for_its_autoencoder(online):
    with pytest.raises(WeightsError, match="without config.json"):
        hub.autoencoder(ID, download=True)
    assert online.fetched() == []


def test_unknown_autoencoders_are_named():
    with pytest.raises(UsageError, match="autoencoder 'tinny' is unknown, and no folder: did you mean"):
        hub.autoencoder("tinny")


def test_a_hub_cache_that_others_filled_is_read(tmp_path):
    home = tmp_path / "models--GonzaloMG--marigold-e2e-ft-depth"
    snapshot = home / "snapshots" / COMMIT
    for name in NEEDED:
        (snapshot / name).parent.mkdir(parents=True, exist_ok=True)
        (snapshot / name).write_bytes(FILES[name])
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text(COMMIT)
    assert hub.find(NAME, cache=tmp_path) == hub.find(ID, cache=tmp_path) == snapshot


def test_find_knows_bundled_models(tmp_path, monkeypatch):
    monkeypatch.setattr(cards, "BUNDLED", tmp_path)
    (tmp_path / "toy").mkdir()
    cards.write(Card(name="toy", method="e2e-ft", kind="affine_depth"), tmp_path / "toy" / "card.yaml")
    assert hub.find("toy") == tmp_path / "toy"


def test_a_name_goes_before_a_folder_of_that_name(tmp_path, monkeypatch):
    monkeypatch.setattr(cards, "BUNDLED", tmp_path / "bundled")
    (tmp_path / "bundled" / "small").mkdir(parents=True)
    card = Card(name="small", method="e2e-ft", kind="affine_depth")
    cards.write(card, tmp_path / "bundled" / "small" / "card.yaml")
    (tmp_path / "small").mkdir()  # somebody's pictures
    monkeypatch.chdir(tmp_path)
    assert hub.find("small") == tmp_path / "bundled" / "small"
    for folder in ("./small", Path("small")):
        assert hub.find(folder).resolve() == tmp_path / "small"


def test_errors_of_weights_are_errors_of_leadline(tmp_path):
    with pytest.raises(LeadlineError, match="no such folder"):
        weights.find(tmp_path / "gone")


def test_a_captioner_or_segmenter_is_fetched_whole_and_without_code(online):
    texts = {"config.json": b"{}", "preprocessor_config.json": b"{}", "tokenizer.json": b"{}"}
    files = texts | {
        "model.safetensors": b"weights",
        "pytorch_model.bin": b"twins",
        "own.py": b"raise SystemExit",
    }
    online.repositories["someone/seg"] = Repository(files)
    with pytest.raises(WeightsError, match="not on this machine"):
        hub.labeller("someone/seg")
    folder = hub.labeller("someone/seg", download=True)
    assert listed(folder) == sorted([*texts, "model.safetensors"])
    assert hub.labeller("someone/seg") == hub.labeller(folder) == folder
    with pytest.raises(UsageError, match="no folder and no repository"):
        hub.labeller(NAME)

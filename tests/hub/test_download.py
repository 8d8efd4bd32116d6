"""Downloads are whole, checked, and only what is needed."""

from __future__ import annotations

import shutil

import huggingface_hub
import pytest
from fake_hub import COMMIT, FILES, ID, NAME, NEEDED, Repository, listed

from leadline import cache, cards, hub
from leadline.cards import Hub
from leadline.errors import WeightsError


@pytest.mark.parametrize("name", [NAME, ID, f"{NAME}@main", f"{ID}@{COMMIT}"])
def test_a_download_brings_what_is_needed_and_nothing_else(online, name):
    folder = hub.find(name, download=True)
    assert folder.name == COMMIT
    assert listed(folder) == NEEDED
    assert sorted(set(online.fetched())) == NEEDED
    assert all((folder / file).read_bytes() == FILES[file] for file in NEEDED)


def test_what_is_here_is_found_again_without_the_network(online):
    folder = hub.find(NAME, download=True)
    online.asked.clear()
    assert hub.find(NAME) == hub.find(ID) == hub.find(f"{NAME}@{COMMIT}") == folder
    assert hub.find(NAME, download=True) == folder
    assert online.asked == []
    assert hub.complete(cards.get(NAME).hub)


def test_nothing_is_fetched_unless_asked(online):
    with pytest.raises(WeightsError, match="not on this machine: give its folder, or allow the download"):
        hub.find(NAME)
    assert online.asked == []
    assert not hub.complete(cards.get(NAME).hub)


def test_offline_mode_is_honoured(online, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(WeightsError, match="HF_HUB_OFFLINE is set"):
        hub.find(NAME, download=True)
    assert online.asked == []


def test_half_precision_is_fetched_where_it_exists(online):
    folder = hub.find(NAME, download=True, variant="fp16")
    kept = [name for name in listed(folder) if not name.endswith(("json", "txt"))]
    assert kept == [
        "text_encoder/model.safetensors",
        "unet/diffusion_pytorch_model.fp16.safetensors",
        "vae/diffusion_pytorch_model.safetensors",
    ]
    assert hub.find(NAME) == folder


def test_a_variant_that_does_not_exist_is_an_error(online):
    with pytest.raises(WeightsError, match="no weights of variant 'fp8'"):
        hub.find(NAME, download=True, variant="fp8")
    assert online.fetched() == []


def test_torchs_own_format_is_taken_where_there_is_no_other(online):
    del online.repositories[ID].files["unet/diffusion_pytorch_model.safetensors"]
    del online.repositories[ID].files["unet/diffusion_pytorch_model.fp16.safetensors"]
    assert "unet/diffusion_pytorch_model.bin" in listed(hub.find(NAME, download=True))


def test_the_text_encoder_is_not_fetched_once_its_prompt_is_known(online):
    encoder = online.repositories[ID].hash_of("text_encoder/model.safetensors")
    kept = cache.empty_text_file(encoder)
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"")
    folder = hub.find(NAME, download=True)
    assert "text_encoder/model.safetensors" not in online.fetched()
    assert cache.encoder_of(folder) == encoder
    assert hub.find(NAME) == folder
    kept.unlink()
    with pytest.raises(WeightsError, match="only in part .*weights in text_encoder"):
        hub.find(NAME)
    assert "text_encoder/model.safetensors" in listed(hub.find(NAME, download=True))


@pytest.mark.parametrize("file", ["unet/diffusion_pytorch_model.safetensors", "unet/config.json"])
def test_cut_connections_are_taken_up(online, file):
    online.repositories[ID].files[file] = b"{" + bytes(50_000) + b"}"
    online.repositories[ID].cut = {file: 3}
    folder = hub.find(NAME, download=True)
    assert (folder / file).read_bytes() == online.repositories[ID].files[file]
    assert online.fetched().count(file) == 4


def test_a_hub_that_goes_away_is_an_error_and_what_has_arrived_is_kept(online):
    online.repositories[ID].files["vae/diffusion_pytorch_model.safetensors"] = b""
    online.repositories[ID].hashes = {"vae/diffusion_pytorch_model.safetensors": "0" * 64}
    with pytest.raises(WeightsError):
        hub.find(NAME, download=True)
    online.repositories[ID] = Repository(dict(FILES))
    online.asked.clear()
    hub.find(NAME, download=True)
    assert "unet/diffusion_pytorch_model.safetensors" not in online.fetched()
    assert "vae/diffusion_pytorch_model.safetensors" in online.fetched()


@pytest.mark.parametrize("file", ["unet/diffusion_pytorch_model.safetensors", "vae/config.json"])
def test_what_is_not_what_its_hash_says_is_refused_and_removed(online, file):
    true = online.repositories[ID].hash_of(file)
    online.repositories[ID].hashes = {file: true[:-1] + ("1" if true[-1] == "0" else "0")}
    with pytest.raises(WeightsError, match=f"{file}: not what its hash says, fetched twice") as error:
        hub.find(NAME, download=True)
    assert "\n" not in str(error.value)
    folder = hub.on_disk(Hub(id=ID, revision=COMMIT))
    assert file not in listed(folder)
    assert online.fetched().count(file) == 2


def test_a_hash_on_the_card_is_held_against_the_file(online, monkeypatch):
    file = "unet/diffusion_pytorch_model.safetensors"
    card = cards.get(NAME)
    pinned = card.model_copy(update={"hub": card.hub.model_copy(update={"sha256": {file: "0" * 64}})})
    monkeypatch.setattr(cards, "get", lambda name: pinned)
    with pytest.raises(WeightsError, match="not what its hash says"):
        hub.find(NAME, download=True)


def test_damage_on_this_disk_is_found_and_mended(online):
    folder = hub.find(NAME, download=True)
    file = folder / "vae/diffusion_pytorch_model.safetensors"
    data = file.read_bytes()
    file.resolve().write_bytes(b"X" + data[1:])
    with pytest.raises(
        WeightsError, match=f"damaged, its hash is not the hub's: leadline models download {NAME}"
    ):
        hub.find(NAME)
    hub.find(NAME, download=True, refresh=True)
    assert file.read_bytes() == data
    assert hub.find(NAME) == folder


def test_an_interrupted_download_is_named_and_completed(online):
    folder = hub.find(NAME, download=True)
    (folder / "unet/diffusion_pytorch_model.safetensors").unlink()
    shutil.rmtree(folder / "scheduler")
    with pytest.raises(
        WeightsError, match=r"only in part on this machine, without scheduler/\*, weights in unet"
    ):
        hub.find(NAME)
    assert listed(hub.find(NAME, download=True)) == NEEDED


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("nobody/nothing", "no such model, or it is private"),
        (f"{NAME}@v9", "no revision 'v9'"),
    ],
)
def test_what_the_hub_does_not_have_is_an_error_of_one_line(online, name, found):
    with pytest.raises(WeightsError, match=found) as error:
        hub.find(name, download=True)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("status", [401, 403, 500])
def test_a_hub_that_refuses_is_an_error_of_one_line(online, status):
    online.repositories[ID].status = status
    with pytest.raises(WeightsError, match="could not be fetched") as error:
        hub.find(NAME, download=True)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 400


def test_a_hub_that_does_not_answer_is_an_error_of_one_line(online, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(WeightsError, match="could not be fetched.*try again") as error:
        hub.find(NAME, download=True)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("commit", ["../../../../elsewhere", "", "main"])
def test_a_commit_that_is_none_is_refused(online, commit):
    online.repositories[ID].commit = commit
    with pytest.raises(WeightsError, match="names no commit"):
        hub.find(NAME, download=True)


@pytest.mark.parametrize(
    "trick", ["unet/../../../../out.json", "/etc/out.json", "unet/..\\out.json", "C:/out.json"]
)
def test_names_that_lead_elsewhere_are_not_fetched(online, tmp_path, trick):
    online.repositories[ID].files[trick] = b"{}"
    folder = hub.find(NAME, download=True)
    assert listed(folder) == NEEDED
    assert trick not in online.fetched()
    assert not list(tmp_path.rglob("out.json"))


def test_a_hash_that_is_a_path_leads_nowhere(online, tmp_path):
    file = "unet/diffusion_pytorch_model.safetensors"
    online.repositories[ID].hashes = {file: "../../../../elsewhere"}
    with pytest.raises(WeightsError, match=f"{file}: the hub gives no hash"):
        hub.find(NAME, download=True)
    assert online.fetched() == []
    assert not list(tmp_path.rglob("elsewhere*"))


@pytest.mark.parametrize("card", [None, NAME])
def test_a_repository_with_a_part_missing_is_no_model(online, card):
    del online.repositories[ID].files["unet/diffusion_pytorch_model.safetensors"]
    del online.repositories[ID].files["unet/diffusion_pytorch_model.fp16.safetensors"]
    online.repositories[ID].files["unet/diffusion_pytorch_model-00001-of-00002.bin"] = b"half"
    del online.repositories[ID].files["unet/diffusion_pytorch_model.bin"]
    online.repositories["someone/own"] = online.repositories[ID]
    with pytest.raises(WeightsError, match="c0ffee0 is no whole model, without weights in unet: ask for"):
        hub.obtain("someone/own" if card else ID, card, download=True)

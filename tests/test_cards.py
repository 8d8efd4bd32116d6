"""Cards: every model says what it is."""

from __future__ import annotations

import pytest

from leadline import cards, presets
from leadline.cards import Card
from leadline.errors import DocumentError, UsageError, WeightsError
from leadline.methods import METHODS, get
from leadline.prediction import Kind

PUBLISHED = [name for name in cards.names() if not cards.is_bundled(name)]


@pytest.mark.parametrize("name", cards.names())
def test_every_card_is_complete(name):
    card = cards.get(name)
    assert card.name == name
    assert card.method in METHODS
    for fact in ("licence", "training_data", "summary"):
        assert getattr(card, fact) not in ("", "unknown"), fact
    assert (card.frame is not None) == (card.kind == Kind.normals)


@pytest.mark.parametrize("name", cards.names())
def test_every_cards_config_is_one_its_method_takes(name):
    card = cards.get(name)
    _, config = get(card.method)
    made = config.model_validate({"size": card.size_rule, **card.config})
    assert made.size == card.size_rule
    assert {key: getattr(made, key) for key in card.config} == card.config


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_models_are_found_by_their_hub_id(name):
    card = cards.get(name)
    assert card.hub is not None
    assert cards.get(card.hub.id).hub.id == card.hub.id
    assert card.terms
    assert card.citation
    assert card.parameters
    if card.method != "depth-anything":
        assert "terms of use" in card.terms  # Stable Diffusion 2's, from which they derive


@pytest.mark.parametrize("name", PUBLISHED)
def test_cards_say_what_a_published_folder_might_say_wrong(name):
    """Timestep spacing and sampler, kind, range: never taken from a folder's own class or scheduler."""
    card = cards.get(name)
    needed = {
        "marigold": {"target", "sampler"} | ({"spacing"} if card.config.get("sampler") == "ddim" else set()),
        "e2e-ft": {"target"},
        "depth-anything": {"encoder", "version"}
        | ({"max_depth_m"} if card.kind == "metric_depth" else set()),
        "primedepth": {"output_sign", "text_layer"},
        "geowizard": {"version", "target", "domain", "objective", "noise", "spacing"},
    }
    assert needed[card.method] <= set(card.config)
    if card.method in ("marigold", "e2e-ft", "geowizard"):
        assert card.size_rule["processing_res"] == 768


def test_earlier_ids_are_known():
    for id in ("Bingxin/Marigold", "prs-eth/marigold-v1-0"):
        assert cards.get(id).name == "marigold-depth-v1-0"
        assert cards.has(id)
    assert not cards.has("Bingxin/Marigolds")


def test_of_several_models_in_one_repository_its_id_means_the_first():
    assert cards.get("lemonaddie/geowizard").name == "geowizard-v1"


@pytest.mark.parametrize(
    ("name", "steps", "frame"),
    [
        ("marigold-depth-v1-0", 10, None),
        ("marigold-depth-lcm-v1-0", 1, None),
        ("marigold-depth-v1-1", 4, None),
        ("marigold-normals-v1-1", 4, "opengl"),
        ("gonzalomg-marigold-normals", 50, "e2e_ft"),
        ("geowizard-v2", 10, None),
        ("geowizard-e2e-ft", 1, None),
        ("depth-anything-v2-metric-outdoor-large", 1, None),
    ],
)
def test_cards_hold_their_makers_choices(name, steps, frame):
    card = cards.get(name)
    assert (card.defaults.steps, card.frame) == (steps, frame)


def test_the_published_normals_look_left():
    assert cards.get("marigold-e2e-ft-normals").frame == "e2e_ft"


def test_a_card_survives_its_file(tmp_path):
    card = Card(name="a", method="e2e-ft", kind=Kind.affine_disparity, limits="two\nlines: yes", parameters=5)
    cards.write(card, tmp_path / "card.yaml")
    assert cards.read(tmp_path / "card.yaml") == card


def test_bundled_models_are_listed_first(tmp_path, monkeypatch):
    monkeypatch.setattr(cards, "BUNDLED", tmp_path)
    (tmp_path / "toy").mkdir()
    cards.write(
        Card(name="toy", method="e2e-ft", kind=Kind.normals, frame="opencv"), tmp_path / "toy" / "card.yaml"
    )
    assert cards.names()[0] == "toy"
    assert cards.is_bundled("toy")
    assert not cards.is_bundled("marigold-e2e-ft-depth")


def test_a_task_chooses_the_bundled_model_of_its_kind(tmp_path, monkeypatch):
    monkeypatch.setattr(cards, "BUNDLED", tmp_path)
    for name, kind in (
        ("metres", Kind.metric_depth),
        ("another", Kind.affine_depth),
        ("small", Kind.affine_depth),
    ):
        (tmp_path / name).mkdir()
        cards.write(Card(name=name, method="e2e-ft", kind=kind), tmp_path / name / "card.yaml")
    assert [cards.bundled_for(task) for task in ("depth", "metric")] == ["small", "metres"]
    with pytest.raises(UsageError, match="no model for normals is part of this installation: name one"):
        cards.bundled_for("normals")
    with pytest.raises(UsageError, match="task 'metrics' is unknown: did you mean 'metric'"):
        cards.bundled_for("metrics")


def test_unknown_models_are_an_error_that_names_the_nearest():
    with pytest.raises(WeightsError, match="did you mean 'marigold-e2e-ft-normals'"):
        cards.get("marigold-e2e-ft-normal")


def test_a_word_that_no_size_rule_knows_is_an_error_that_names_the_card():
    card = Card(name="mine", method="e2e-ft", kind="affine_depth", size_rule={"edge": "longest"})
    with pytest.raises(DocumentError, match="mine: config: .*edge 'longest' is unknown: did you mean 'long'"):
        cards.config_of(card, presets.Config)


def test_unknown_keys_are_refused(tmp_path):
    (tmp_path / "card.yaml").write_text("{name: a, method: e2e-ft, kind: normals, license: MIT}")
    with pytest.raises(DocumentError, match="did you mean 'licence'"):
        cards.read(tmp_path / "card.yaml")

"""The tables that the pages take from cards and results."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path

import pytest

from leadline import cards
from leadline.cards import Card, Defaults, Hub
from leadline.prediction import Kind

ROOT = Path(__file__).parents[1]
SPEC = importlib.util.spec_from_file_location("generated", ROOT / "docs" / "generated.py")
generated = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(generated)

PAGES = sorted((ROOT / "docs").rglob("*.md"))
RESULTS = sorted((ROOT / "docs" / "results").glob("*.json"))


@pytest.fixture
def family(tmp_path, monkeypatch):
    """Three models of one family, of which one is larger and one is not said to be of any size."""
    monkeypatch.setattr(cards, "HERE", tmp_path)
    monkeypatch.setattr(cards, "BUNDLED", tmp_path / "none")
    shared = {"method": "e2e-ft", "kind": Kind.affine_depth, "training_data": "rooms", "licence": "MIT"}
    for card in (
        Card(name="a-large", parameters=2_000_000_000, hub=Hub(id="some/Large"), **shared),
        Card(name="a-small", parameters=5_000_000, limits="blurred", **shared),
        Card(name="b", **(shared | {"licence": "CC-BY-4.0"}), defaults=Defaults(steps=4, ensemble=5)),
    ):
        cards.write(card, tmp_path / f"{card.name}.yaml")


def test_a_marker_is_replaced_and_the_rest_of_the_page_stays(family):
    page = "# Title\n\n<!-- cards: b -->\n\nText with `<!-- cards: b -->` in it.\n"
    first, rest = page.split("<!-- cards: b -->", 1)
    made = generated.on_page_markdown(page, page=None, config=None, files=None)
    assert made.startswith(first)
    assert made.endswith(rest)
    assert "CC-BY-4.0" in made[len(first) : -len(rest)]


def test_models_differ_in_columns_and_what_they_share_is_said_once(family):
    heading, _, *rest = generated.models("a-*").splitlines()
    assert heading == "| Name (`-m`) | Parameters |"
    small, large = rest[:2]  # by size
    assert small == "| `a-small` | 5 M, 20 MB as float32 |"
    assert large.startswith("| `a-large`<br><small>[some/Large](https://huggingface.co/some/Large)</small> |")
    assert large.endswith("| 2000 M, 8.0 GB as float32 |")
    assert "- **Trained on**: rooms" in rest
    assert "- **Licence**: MIT" in rest


def test_long_facts_name_the_models_they_are_about(family):
    lines = generated.models("*").splitlines()
    assert lines[lines.index("- **Limits**") + 1 :] == ["    - `a-small`: blurred"]


def test_models_come_in_the_order_asked_for_and_once(family):
    rows = [line for line in generated.models("b", "*").splitlines() if line.startswith("| `")]
    assert [re.match(r"\| `([\w-]+)`", row)[1] for row in rows] == ["b", "a-small", "a-large"]


def test_what_a_card_does_not_hold_is_left_out(family):
    alone = generated.models("b")
    assert alone.splitlines() == [
        "- **Kind**: `affine_depth`",
        "- **By default**: 4 steps, 5 members",
        "- **Licence**: CC-BY-4.0",
        "- **Trained on**: rooms",
    ]


@pytest.mark.parametrize(
    "marker", ["<!-- card: small -->", "<!-- cards: smal -->", "<!-- results: * nights -->"]
)
def test_a_marker_that_means_nothing_stops_the_build(marker, tmp_path, monkeypatch):
    monkeypatch.setattr(generated, "RESULTS", tmp_path)
    _store(tmp_path / "one.json", image_s=1.0)
    with pytest.raises(LookupError):
        generated.on_page_markdown(marker)


def test_results_that_are_not_there_show_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(generated, "RESULTS", tmp_path)
    assert generated.results("one*", "image_s") == ""


def test_results_say_where_and_how_they_were_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(generated, "RESULTS", tmp_path)
    _store(tmp_path / "one-a.json", image_s=0.128, peak_mib=500.4)
    _store(tmp_path / "one-b.json", image_s=0.5, peak_mib=600)
    _store(tmp_path / "other.json", image_s=9)
    assert generated.results("one*", "image_s", "peak_mib").splitlines() == [
        "| each further one, s | peak memory, MiB | on |",
        "| --- | --- | --- |",
        "| 0.13 | 500 | a desk |",
        "| 0.5 | 600 | a desk |",
        "",
        "Measured with `python benchmarks/one.py`.",
    ]


def test_results_of_several_sizes_are_a_row_each_and_what_was_not_measured_is_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr(generated, "RESULTS", tmp_path)
    small, large = {"time_ratio": 0.5, "peak_gib": 3.04}, {"time_ratio": None, "peak_gib": 9.0}
    _store(tmp_path / "one.json", **{"256": small, "1024": large})
    assert generated.results("one", "size", "time_ratio", "peak_gib").splitlines()[2:4] == [
        "| 256 | 0.50 | 3.0 | a desk |",
        "| 1024 |  | 9.0 | a desk |",
    ]


@pytest.mark.parametrize("file", RESULTS, ids=lambda file: file.name)
def test_stored_results_name_a_benchmark_of_ours_and_its_machine(file):
    stored = json.loads(file.read_text(encoding="utf-8"))
    assert set(stored) == {"command", "machine", "figures"}
    script = re.match(r"python (benchmarks/\w+\.py)", stored["command"])
    assert (ROOT / script[1]).is_file()
    assert stored["machine"]
    assert stored["figures"]


def test_every_model_has_its_place_on_one_page():
    markers = [
        found for page in PAGES for found in generated.MARKER.findall(page.read_text(encoding="utf-8"))
    ]
    lists = [generated._named(patterns.split()) for word, patterns in markers if word == "cards"]
    placed = sorted(card.name for chosen in lists for card in chosen)
    assert placed == sorted(cards.names())


def test_licences_name_every_model():
    text = generated.licences()
    assert [name for name in cards.names() if f"`{name}`" not in text] == []


def _store(file: Path, **figures: float) -> None:
    stored = {"command": "python benchmarks/one.py", "machine": "a desk", "figures": figures}
    file.write_text(json.dumps(stored))


def test_a_protocol_is_a_list_of_facts_and_a_row_per_data_set():
    lines = generated.protocol("marigold").splitlines()
    assert "- **Align**: `affine_depth` depth" in lines
    assert "| `nyuv2` | 654, `d9a47a1568b7` | 0.001 to 10 | nyu |  | own size |" in lines
    assert "| `diode` | 771, `657e430e9e75` |  |  | 0.6 to 350 | 640 px |" in lines
    assert "the truth's own" in generated.protocol("boundary-f1")

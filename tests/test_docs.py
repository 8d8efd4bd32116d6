"""The code blocks of README.md and docs/ are run, page by page and in their order.

Blocks marked `python` and `bash` run; `yaml` blocks must be the recipes and cards that they look like, or
parse. Blocks marked `shell` are for the reader: they install, download, or train for long. Of these the
predictions run too; other commands of ours must be ones that the command line understands. Published models
are stood in for by tiny ones that work at 64 pixels.
"""

from __future__ import annotations

import os
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import huggingface_hub
import published
import pytest
import typer

from leadline import cards, cli, documents, methods, presets, protocols, recipe
from leadline.predict import Model

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
BLOCK = re.compile(r"^```(\w+)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"^leadline (.*)$", re.MULTILINE)
OURS = re.compile(r"(leadline [^|<>;&$*`]*\n)+")  # commands that need no shell: run here, they start at once
MODEL = re.compile(r"(?:-m |--model |load\(\"|models download )([\w-]+)")
LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)")


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def run_python(code: str, names: dict[str, object]) -> None:
    exec(compile(code, "block", "exec"), names)


def run_bash(code: str) -> None:
    plain = re.sub(r"\\\n|#.*", "", code)
    if OURS.fullmatch(plain):
        for words in map(shlex.split, COMMAND.findall(plain)):
            assert cli.main(words) == 0, words
        return
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = ["bash", "-euo", "pipefail", "-c", code]
    done = subprocess.run(
        command, env=os.environ | {"PATH": path}, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, f"{code}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"


def run_shell(code: str) -> None:
    """Predictions run; of other commands the words must exist."""
    for words in map(shlex.split, COMMAND.findall(re.sub(r"\\\n|#.*", "", code))):
        assert cli.main(words if words[0] == "predict" else [*words, "--help"]) == 0, words


def check_yaml(code: str) -> None:
    """A recipe, a protocol, a model's card, or some other document."""
    data = documents.parse(code)
    if {"extends", "measure"} & set(data):
        Path("protocol.yaml").write_text(code, encoding="utf-8")
        protocols.load("protocol.yaml")
    if code.startswith("method:"):
        recipe.load(code)
    elif {"name", "method", "kind"} <= set(data):
        card = documents.validate(data, cards.Card, "card")
        methods.get(card.method)[1].model_validate({"size": card.size_rule, **card.config})


def stand_in(text: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a tiny model into the hub's cache for each published one that a page loads."""
    predict = Model.stream

    def at_64(self: Model, images: Any, **options: Any) -> Any:
        return predict(self, images, **(options | {"processing_res": 64}))

    monkeypatch.setattr(Model, "stream", at_64)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(home))
    for card in map(cards.get, {name for name in MODEL.findall(text) if cards.has(name)}):
        if card.method == "depth-anything":
            published.into_cache(card, published.transformers(home / card.name, card.config), home)
        elif card.method == "primedepth":
            published.into_cache(card, published.primedepth(home / card.name, card.config), home)
        elif card.method == "geowizard":
            own = published.geowizard(home / card.name, card.config["version"])
            published.into_cache(card, own, home)
        elif card.hub:
            published.into_cache(card, published.stable_diffusion(home / card.name), home)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_block_of_a_page_runs(page, tmp_path, monkeypatch, photograph):
    for folder in ("examples", "recipes"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    (tmp_path / "photo.jpg").symlink_to(photograph)
    monkeypatch.chdir(tmp_path)
    text = page.read_text(encoding="utf-8")
    stand_in(text, tmp_path / "hub", monkeypatch)
    names: dict[str, object] = {"__name__": "page"}
    blocks = BLOCK.findall(text)
    for language, code in blocks:
        if language == "python":
            run_python(code, names)
        elif language == "bash":
            run_bash(code)
        elif language == "shell":
            run_shell(code)
        elif language == "yaml":
            check_yaml(code)
    assert {language for language, _ in blocks} <= {
        *("python", "bash", "yaml", "shell", "text", "json", "bibtex")
    }


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_to_files(page):
    missing = [
        link for link in LINK.findall(page.read_text(encoding="utf-8")) if not (page.parent / link).exists()
    ]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_a_page_starts_with_something_to_paste(page):
    first = BLOCK.search(page.read_text(encoding="utf-8"))
    assert first
    assert first[1] in ("bash", "python", "shell")
    assert page.read_text(encoding="utf-8")[: first.start()].count("\n") < 20


@pytest.mark.parametrize("script", sorted((ROOT / "examples").glob("*.py")), ids=name)
def test_example_scripts_run(script, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(script)])
    runpy.run_path(str(script), run_name="__main__")
    assert capsys.readouterr().out


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) < 120


def test_every_page_can_be_reached():
    listed = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert not [page for page in PAGES[1:] if str(page.relative_to(ROOT / "docs")) not in listed]


@pytest.mark.parametrize("method", sorted({cards.get(name).method for name in cards.names()}))
def test_every_method_with_models_has_a_page_that_says_when_to_use_it_and_what_it_costs(method):
    text = (ROOT / "docs" / "papers" / f"{method.replace('-', '_')}.md").read_text(encoding="utf-8")
    titles = ("When to use it", "Models", "Speed and memory", "Training", "Citation")
    assert [title for title in titles if f"## {title}\n" not in text] == []


def test_every_paper_that_a_card_cites_can_be_copied_from_a_page():
    blocks = (block for page in PAGES for block in BLOCK.findall(page.read_text(encoding="utf-8")))
    entries = "".join(code for language, code in blocks if language == "bibtex")
    cited = {cards.get(name).citation for name in cards.names()} - {""}
    assert [citation for citation in cited if citation.split(", ")[1] not in entries] == []


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_models_that_a_page_names_exist(page):
    named = set(
        re.findall(r"`((?:marigold|stable-diffusion|depth-anything)-[\w-]+)`", page.read_text("utf-8"))
    )
    trained = {file.stem for file in (ROOT / "docs" / "results").rglob("*.json")}  # by benchmarks
    assert named - set(cards.names()) - set(presets.PRESETS) - trained == set()


def test_the_page_on_predicting_names_every_option():
    group: Any = typer.main.get_command(cli.app)
    options = [
        word for option in group.commands["predict"].params for word in option.opts if word.startswith("--")
    ]
    text = (ROOT / "docs" / "predict.md").read_text(encoding="utf-8")
    assert [word for word in options if word not in text] == []

"""The code blocks of README.md and docs/ are run, page by page and in their order.

Blocks marked `python` and `bash` run; `yaml` blocks that begin with `method:` must be recipes, others must
parse. Blocks marked `shell` are for the reader: they install, download, or train for long.
"""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from leadline import documents, recipe

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
BLOCK = re.compile(r"^```(\w+)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)")


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def run_python(code: str, names: dict[str, object]) -> None:
    exec(compile(code, "block", "exec"), names)


def run_bash(code: str) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = ["bash", "-euo", "pipefail", "-c", code]
    done = subprocess.run(
        command, env=os.environ | {"PATH": path}, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, f"{code}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"


def check_yaml(code: str) -> None:
    recipe.load(code) if code.startswith("method:") else documents.parse(code)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_block_of_a_page_runs(page, tmp_path, monkeypatch):
    for folder in ("examples", "recipes"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "page"}
    blocks = BLOCK.findall(page.read_text(encoding="utf-8"))
    for language, code in blocks:
        if language == "python":
            run_python(code, names)
        elif language == "bash":
            run_bash(code)
        elif language == "yaml":
            check_yaml(code)
    assert {language for language, _ in blocks} <= {"python", "bash", "yaml", "shell", "text", "json"}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_to_files(page):
    missing = [
        link for link in LINK.findall(page.read_text(encoding="utf-8")) if not (page.parent / link).exists()
    ]
    assert not missing


@pytest.mark.parametrize("page", [p for p in PAGES if p.parent.name != "papers"], ids=name)
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

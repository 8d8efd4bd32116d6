from pathlib import Path
from typing import Literal

import pytest
from pydantic import BaseModel, Field, field_validator

from leadline import documents
from leadline.errors import DocumentError


class Optimiser(BaseModel):
    name: Literal["adamw", "sgd"] = "adamw"
    lr: float = Field(gt=0)


class Resize(BaseModel):
    kind: Literal["resize"]
    processing_res: int


class Flip(BaseModel):
    kind: Literal["flip"]
    probability: float


class Recipe(BaseModel):
    method: str
    optimiser: Optimiser
    data: dict[str, float] = {}
    stages: list[Optimiser] = []
    augment: list[Resize | Flip] = []
    folder: Path | None = None
    resume: Optimiser | None = None

    @field_validator("method")
    @classmethod
    def _known(cls, value):
        if value != "e2e-ft":
            raise ValueError("no such method")
        return value


TEXT = "method: e2e-ft\noptimiser: {lr: 3.0e-5}\n"


def test_a_document_is_read_from_a_file_or_from_text(tmp_path):
    file = tmp_path / "recipe.yaml"
    file.write_text(TEXT)
    assert documents.load(file, Recipe) == documents.load(TEXT, Recipe)
    assert documents.load(TEXT, Recipe).optimiser.lr == 3e-5


def test_what_is_dumped_loads_to_an_equal_document():
    recipe = documents.load(
        TEXT + "data: {scenes: 0.9}\nfolder: runs/a\nstages: [{lr: 1}, {lr: 2}]\n", Recipe
    )
    assert documents.load(documents.dump(recipe), Recipe) == recipe


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (TEXT + "optimizer: {}\n", "text: optimizer: unknown key, did you mean 'optimiser'?"),
        (
            "method: e2e-ft\noptimiser: {lr: 1, nmae: sgd}\n",
            "text: optimiser.nmae: unknown key, did you mean 'name'?",
        ),
        (
            TEXT + "stages: [{lr: 1}, {lr: 1, lrr: 2}]\n",
            "text: stages.1.lrr: unknown key, did you mean 'lr'?",
        ),
        (TEXT + "resume: {lr: 1, name_: sgd}\n", "text: resume.name_: unknown key, did you mean 'name'?"),
        (TEXT + "zzz: 1\n", "known are augment, data, folder, method, optimiser, resume, stages"),
        (
            "method: e2e-ft\noptimiser: {lr: 0}\n",
            "text: optimiser.lr: Input should be greater than 0, found 0",
        ),
        (
            "method: e2e-ft\noptimiser: {name: adam, lr: 1}\n",
            "optimiser.name: Input should be 'adamw' or 'sgd'",
        ),
        ("method: marigold\noptimiser: {lr: 1}\n", "text: method: no such method, found 'marigold'"),
        ("optimiser: {lr: 1}\n", "text: method: Field required"),
        ("{}", "text: method: Field required; optimiser: Field required"),
        ("method: 1\nsteps: x\na: 1\nb: 2\nc: 3\n", "and "),
    ],
)
def test_errors_name_the_key_and_what_would_be_right(text, says):
    with pytest.raises(DocumentError) as caught:
        documents.load(text, Recipe)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unknown_keys_inside_a_choice_of_models_are_named():
    with pytest.raises(DocumentError, match="did you mean 'processing_res'"):
        documents.load(TEXT + "augment: [{kind: resize, processing_res: 4, processing_re: 3}]\n", Recipe)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "NoneType, a mapping"),
        ("- a\n- b\n", "list, a mapping"),
        ("just words", "str, a mapping"),
        ("1: a", "a mapping"),
        ("a: b: c", "line 1"),
        ("a: [1, 2", "line 1"),
        ("a: 1\nb: 2\na: 3\n", "line 3: key 'a' is given twice"),
        ("a: {b: 1, b: 2}", "key 'b' is given twice"),
        ("a: &x [1]\nb: *x\n", "line 2: aliases"),
        ("a: !!python/object/apply:os.system ['true']", "could not determine a constructor"),
        ("a: " + "[" * 5000, "YAML"),
        ("a: \x00", "YAML"),
    ],
)
def test_text_that_is_no_plain_mapping_is_refused_in_one_line(text, says):
    with pytest.raises(DocumentError, match=says) as caught:
        documents.parse(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00a", b"#" * 1_000_001])
def test_files_that_are_no_documents_are_refused(tmp_path, content):
    file = tmp_path / "card.yaml"
    file.write_bytes(content)
    with pytest.raises(DocumentError, match=r"card\.yaml: "):
        documents.parse(file)


def test_missing_files_and_folders_are_named(tmp_path):
    with pytest.raises(DocumentError, match=r"none\.yaml: cannot be read: No such file"):
        documents.parse(tmp_path / "none.yaml")
    with pytest.raises(DocumentError, match="Is a directory"):
        documents.parse(tmp_path)


def test_overrides_reach_any_depth_and_leave_the_original_alone():
    data = documents.parse(TEXT)
    changed = documents.override(data, ["optimiser.lr=1e-3", "data.scenes=0.5", "method=other=name"])
    assert documents.validate({**changed, "method": "e2e-ft"}, Recipe).optimiser.lr == 1e-3
    assert changed["data"] == {"scenes": 0.5}
    assert changed["method"] == "other=name"
    assert data == documents.parse(TEXT)


@pytest.mark.parametrize("assignment", ["optimiser", "=3", "optimiser..lr=3", ".lr=1", "method.lr=1", "a=[1"])
def test_malformed_overrides_are_refused(assignment):
    with pytest.raises(DocumentError):
        documents.override(documents.parse(TEXT), [assignment])


@pytest.mark.parametrize("text", ["{size: 1", "one: two", '"a', "[1"])
def test_a_value_that_cannot_be_read_is_named_with_its_override(text):
    with pytest.raises(DocumentError) as caught:
        documents.override({}, ["steps=1", f"batch={text}"])
    assert str(caught.value).startswith(f"override {'batch=' + text!r}: its value cannot be read (")
    assert "close its brackets and quotes" in str(caught.value)

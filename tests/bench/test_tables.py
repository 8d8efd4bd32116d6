"""The forms of a benchmark, from measured and drawn figures."""

import csv
import json

import pytest

from leadline import bench
from leadline.errors import UsageError

MACHINE = {
    "gpu": None,
    "processor": "A & B",
    "threads": 1,
    "cores": 2,
    "versions": {"torch": "2", "leadline": "1"},
}


def cell(model: str, size: int, seconds: float, **more: object) -> dict[str, object]:
    """A measured one whose parts are fixed shares of a picture's time."""
    shares = {
        "read": 0.05,
        "pre": 0.1,
        "network": 0.6,
        "post": 0.1,
        "write": 0.15,
        "predict": 0.8,
        "total": 1.0,
    }
    times = {part: {"median": share * seconds, "p95": 2 * share * seconds} for part, share in shares.items()}
    own = {"model": model, "height": size, "width": size, "device": "cpu", "dtype": "float32", "steps": None}
    own |= {"ensemble_size": None, "load_s": 1.0, "seconds": times}
    return own | {"memory_mib": {"weights": 1.0, "peak": 500.0, "beyond_weights": 20.0}} | more


@pytest.fixture
def document():
    cells = [
        cell(model, size, seconds * size) for size in (256, 512) for model, seconds in [("a", 1), ("b_b", 4)]
    ]
    failed = cell("a", 1024, 1) | {"error": "not enough memory"}
    return {"machine": MACHINE, "cells": [*cells, failed]}


def test_several_sizes_are_primedepths_table_with_factors_to_the_first_model(document):
    grid, parts = bench.grids(document)
    assert grid.headings == ["Resolution", "a", "b_b", "b_b : a"]
    assert grid.rows == [["256x256", "205", "819", "4.0"], ["512x512", "410", "1.64e+03", "4.0"]]
    assert len(parts.rows) == 4


def test_one_size_is_fiffdepths_table(document):
    document["cells"] = document["cells"][:2]
    grid, _ = bench.grids(document)
    assert grid.headings == ["Method", "a", "b_b"]
    assert grid.rows == [["Time (s)", "205", "819"]]
    assert "256x256" in grid.title


def test_devices_and_precisions_are_never_in_one_table(document):
    document["cells"].append(cell("a", 256, 1, device="cuda", dtype="float16"))
    assert len(bench.grids(document)) == 3


def test_steps_and_members_stand_with_the_models_name(document):
    document["cells"] = [cell("m", 256, 1, steps=50, ensemble_size=10)]
    assert bench.grids(document)[0].headings == ["Method", "m 50 steps ×10"]


@pytest.mark.parametrize("form", ["md", "tex"])
def test_pages_say_what_was_measured_on_and_what_was_not(document, form):
    text = bench.render(document, f"bench.{form}")
    assert "1 threads of 2 cores; torch 2, leadline 1" in text
    assert ("not enough memory" in text) == (form == "md")
    assert (r"A \& B" in text) == (form == "tex")


def test_csv_has_a_line_per_part_and_one_per_failure(document):
    rows = list(csv.DictReader(bench.render(document, "bench.csv").splitlines()))
    assert len(rows) == 4 * (1 + 7) + 1
    total = next(row for row in rows if row["part"] == "total")
    assert (total["median_s"], total["p95_s"], total["beyond_weights_mib"]) == ("256.0", "512.0", "20.0")
    assert rows[-1]["error"] == "not enough memory"


def test_json_reads_back(document):
    assert json.loads(bench.render(document, "bench.json")) == document


def test_unknown_forms_and_sizes_are_refused(document):
    with pytest.raises(UsageError, match=".json, .md, .tex, .csv"):
        bench.render(document, "bench.pdf")
    for word in ("0", "12y34", "99999", "x12"):
        with pytest.raises(UsageError, match="size is"):
            bench.cells(["a"], [word])


def test_cells_are_all_combinations():
    found = bench.cells(["a", "b"], ["64", "32x16"], ["cpu"], ["float32", "bfloat16"], repeats=2)
    assert len(found) == 8
    assert {(one.height, one.width) for one in found} == {(64, 64), (16, 32)}

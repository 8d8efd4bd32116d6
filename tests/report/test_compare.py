"""What stands in one table, who is best in it, and what is marked."""

import pytest
import run_folders as runs

from leadline.errors import SaveError, UsageError
from leadline.report import compare, load
from leadline.report.tables import FEWER, IN_DOMAIN, OTHER_PROTOCOL


@pytest.fixture
def tables(tmp_path):
    """`tables(result, ...)` of results that were made in `tmp_path / "run"`."""

    def make(*made, beside=False):
        return compare.compare(load.read([runs.save(tmp_path / "run", made)]), beside)

    return make


@pytest.fixture
def result(tmp_path):
    def make(*args, **more):
        return runs.result(tmp_path / "run", *args, **more)

    return make


def places(table, column):
    return {line.label: line.cells[column].place for line in table.ours if column in line.cells}


def test_best_and_second_best_are_those_of_the_printed_figures(tables, result):
    (table,) = tables(*(result(name, "nyuv2", x) for name, x in [("a", 0.1), ("b", 0.05), ("c", 0.2)]))
    assert places(table, ("nyuv2", "absrel")) == {"a": 2, "b": 1, "c": None}
    assert places(table, ("nyuv2", "delta1")) == {"a": 2, "b": 1, "c": None}
    assert [line.rank for line in table.lines] == [2, 1, 3]


def test_an_oracle_takes_no_part_in_places_and_ranks(tables, result, tmp_path):
    made = [result(name, "nyuv2", x) for name, x in [("a", 0.1), ("b", 0.2)]]
    (table,) = tables(*made, runs.oracle(tmp_path / "run", ["a", "b"], "nyuv2", 0.05))
    oracle = table.lines[-1]
    assert oracle.is_oracle
    assert (oracle.rank, oracle.cells["nyuv2", "delta1"].place) == (None, None)
    assert places(table, ("nyuv2", "delta1"))["a"] == 1
    assert oracle.note == "by δ1: a 50 %, b 50 %"


def test_a_single_line_is_neither_best_nor_ranked(tables, result):
    (table,) = tables(result("a", "nyuv2", 0.1))
    assert places(table, ("nyuv2", "delta1")) == {"a": None}
    assert table.lines[0].rank is None


@pytest.mark.parametrize(
    "other",
    [
        {"changes": ["sets.nyuv2.box=null"]},  # other pixels
        {"changes": ["mirror=true"]},
        {"pictures": 10},  # other pictures
    ],
)
def test_what_is_measured_otherwise_stands_in_another_table(tables, result, other):
    first, second = tables(result("a", "nyuv2", 0.1), result("b", "nyuv2", 0.1, **other))
    assert [line.label for table in (first, second) for line in table.lines] == ["a", "b"]


def test_what_is_aligned_otherwise_stands_beside_it_and_the_table_says_so(tables, result):
    (table,) = tables(result("a", "nyuv2", 0.1), result("b", "nyuv2", 0.1, protocol="marigold-disparity"))
    assert [(line.protocol, line.alignment) for line in table.lines] == [
        ("marigold 1", "depth"),
        ("marigold-disparity 1", "disparity"),
    ]
    assert any("different protocols" in note for note in table.legend)


def test_a_model_that_was_trained_on_the_data_is_marked(tables, result):
    (table,) = tables(result("marigold-depth-v1-0", "hypersim", 0.1), result("nobody-knows", "hypersim", 0.2))
    marks = [line.cells["hypersim", "delta1"].marks for line in table.lines]
    assert marks == [(IN_DOMAIN,), ()]
    assert [line.train_sets for line in table.lines] == ["Hypersim, Virtual KITTI 2", "unknown"]


def test_figures_over_fewer_pictures_are_marked_and_counted(tables, result):
    (table,) = tables(result("a", "nyuv2", 0.1, skipped=3), result("b", "nyuv2", 0.1))
    assert table.lines[0].cells["nyuv2", "delta1"].marks == (FEWER,)
    assert "Pictures without figures, 0 of them by a mistake: a on nyuv2 3." in table.notes


def test_predictions_that_run_against_the_truth_are_counted(tables, result):
    made = result("a", "nyuv2", 0.1)
    made["entry"]["reversed"] = ["3.png"]
    (table,) = tables(made)
    assert table.notes[-1].endswith("they count: a on nyuv2 1.")


def test_published_lines_stand_beside_ours_with_source_and_training_sets(tables, result):
    (table,) = tables(result("a", "nyuv2", 0.1), beside=True)
    line = next(line for line in table.published if line.label == "Marigold + E2E FT")
    assert line.source.startswith("E2E-FT, Table 1")
    assert line.train_sets == "Hypersim, Virtual KITTI 2"
    assert {name: cell.text for name, cell in line.cells.items()} == {
        ("nyuv2", "absrel"): "5.2",
        ("nyuv2", "delta1"): "96.6",
    }
    assert line.marks == ()
    quoted = next(line for line in table.published if line.source.startswith("PrimeDepth, Table 1"))
    assert quoted.marks == (OTHER_PROTOCOL,)
    assert table.columns[0].published is False  # 12 pictures are not the list
    assert any(note.startswith("‡") for note in table.legend)


def test_a_set_of_ones_own_that_is_called_like_a_papers_has_no_published_lines(tables, result):
    (table,) = tables(result("a", "nyuv2", 0.1, changes=["sets.nyuv2.data=folder"]), beside=True)
    assert table.published == []
    assert not any(note.startswith("‡") for note in table.legend)


def test_what_a_paper_prints_twice_stands_once(tables, result):
    (table,) = tables(result("a", "nyuv2", 0.1), beside=True)
    assert [line.source for line in table.published if line.label.startswith("Marigold + E2E FT")] == [
        "E2E-FT, Table 1, Table 4, Table 5, Table A-2, Table A-4",
        "E2E-FT, Table A-2",
    ]


def test_one_model_in_several_runs_is_one_line_per_choice(tmp_path):
    folders = []
    for steps, data in [(1, "nyuv2"), (1, "kitti"), (4, "nyuv2")]:
        folder = tmp_path / f"{steps}-{data}"
        folders.append(runs.save(folder, [runs.result(folder, "m", data, 0.1, steps=steps, ensemble_size=1)]))
    (table,) = compare.compare(load.read(folders), False)
    assert [(line.steps, sorted({data for data, _ in line.cells})) for line in table.lines] == [
        (1, ["kitti", "nyuv2"]),
        (4, ["nyuv2"]),
    ]


def test_lines_of_one_name_say_their_run(tmp_path):
    folders = [tmp_path / name for name in ("first", "second")]
    for folder in folders:
        runs.save(folder, [runs.result(folder, "m", "nyuv2", 0.1)])
    (table,) = compare.compare(load.read(folders), False)
    assert [line.label for line in table.lines] == ["m (first)", "m (second)"]


def test_details_have_all_figures(tables, result, tmp_path):
    runs.save(tmp_path / "run", [result("a", "nyuv2", 0.1), result("a", "kitti", 0.1)])
    results = load.read([tmp_path / "run"])
    first, second = compare.details(results)
    assert [column.metric for column in first.columns] == ["absrel", "delta1", "rmse", "silog"]
    assert {column.data for column in second.columns} == {"kitti"}
    assert not first.has("rank")  # which is over the figures that papers rank by


def test_a_folder_without_results_and_a_run_given_twice_are_refused(tmp_path):
    with pytest.raises(SaveError, match="finished run"):
        load.read([tmp_path])
    folder = runs.save(tmp_path / "run", [runs.result(tmp_path / "run", "m", "nyuv2", 0.1)])
    with pytest.raises(UsageError, match="twice"):
        load.read([folder, folder / "results.json"])

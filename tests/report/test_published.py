"""What papers print, and what their models were trained on."""

import csv
import re
from collections import Counter

import pytest

from leadline import cards
from leadline.report import published, write

DATA = {
    "nyuv2": "nyuv2", "kitti": "kitti", "eth3d": "eth3d", "scannet": "scannet", "diode": "diode",
    "diode-full": "diode", "da-2k": "da2k", "ibims-1": "ibims", "sintel": "sintel", "spring": "spring",
    "p3m-10k": "p3m10k", "dis-5k": "dis5k", "am-2k": "am2k", "rabbitai": "rabbitai",
    "nuscenes-c": "nuscenes-c", "all": "all", "100 images 512x512 (titan rtx)": "512x512",
}  # fmt: skip
METRICS = {
    "AbsRel": "absrel", "mean_angular_error": "mean", "within_11.25deg": "within11.25",
    "boundary_F1": "boundary_f1", "runtime": "seconds", "runtime_factor": "factor",
    "AbsRel_share": "absrel_share",
}  # fmt: skip


def test_every_figure_of_the_papers_is_there():
    figures = Counter(row.source for row in published.rows() for _ in row.figures)
    assert sum(figures.values()) == 916  # cells of 16 tables
    assert figures["E2E-FT, Table 5"] == 150
    assert figures["FiffDepth, Table 1"] == 16 * 11
    assert figures["PrimeDepth, Table 4"] == 20


@pytest.mark.data
def test_every_row_of_the_published_files_is_in_a_report(shared_data, tmp_path):
    write([], tmp_path / "all.csv")
    with (tmp_path / "all.csv").open(newline="") as file:
        lines = [line for line in csv.DictReader(file) if line["metric"]]
    keys = ("data", "metric", "model", "steps", "ensemble")
    shown = {(*_paper(line["source"]), *(line[k] for k in keys), float(line["value"])) for line in lines}
    files = sorted((shared_data / "published").glob("*_results.csv"))
    rows = [row for file in files for row in csv.DictReader(file.read_text().splitlines())]
    assert len(rows) == 916
    for row in rows:
        paper, table = _paper(f"{row['paper']}, {row['source_table']}")
        metric = METRICS.get(row["metric"], row["metric"])
        data = DATA.get(row["dataset"].lower(), row["dataset"].split()[0])
        data += "-normals" * (metric in ("mean", "within11.25"))
        method = re.sub(r"\bOur\b", "PrimeDepth", row["method"].removesuffix(" (Ours)"))
        wanted = (paper, table, data, metric, method, row["steps"], row["ensemble"], float(row["value"]))
        assert wanted in shown


def _paper(source: str) -> tuple[str, str]:
    """Paper and number of the table, of a table that is printed in parts."""
    paper, table, *_ = source.split(", ")
    return paper, table


@pytest.mark.parametrize(
    ("source", "method", "column", "value"),
    [
        ("E2E-FT, Table 1", "Marigold + E2E FT", ("kitti", "absrel"), 9.6),
        ("E2E-FT, Table 6", "Stable Diffusion + E2E FT", ("scannet-normals", "mean"), 14.7),
        ("FiffDepth, Table 2", "Depth Pro", ("sintel", "boundary_f1"), 0.409),
        ("PrimeDepth, Table 2", "PrimeDepth", ("nuscenes-c", "delta1"), 79.2),
        ("PrimeDepth, Table 2", "PrimeDepth", ("all", "average_rank"), 3.0),
        ("PrimeDepth, Table 4", "Marigold", ("1024x1024", "seconds"), 221.79),
    ],
)  # fmt: skip
def test_figures_stand_where_the_paper_has_them(source, method, column, value):
    (row,) = (row for row in published.rows() if (row.source, row.row.method) == (source, method))
    assert row.figures[column] == value


def test_lines_name_training_sets_that_exist():
    named = {row.row.train for row in published.rows()} - {None}
    assert named == set(published.train_sets())


@pytest.mark.parametrize(
    ("data", "train_sets", "expected"),
    [
        ("kitti", "Hypersim, Virtual KITTI 2", False),
        ("kitti", "KITTI, NYUv2", True),
        ("vkitti2", "Hypersim, Virtual KITTI 2", True),
        ("hypersim-normals", "Hypersim, InteriorVerse", True),
        ("diode-indoor", "DIODE", True),
        ("nyuv2", "unknown", None),
        ("scannet", "16 public sets, ScanNet among them", True),
        ("scenes", cards.get("small").training_data, True),
        ("nyuv2", cards.get("small").training_data, False),
        ("nyuv2", cards.get("marigold-normals-v0-1").training_data, None),
    ],
)
def test_what_a_model_was_trained_on_is_in_domain(data, train_sets, expected):
    assert published.in_domain(data, train_sets) is expected

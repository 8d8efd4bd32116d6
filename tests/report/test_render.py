"""The file that a report is: whole, on its own, and with everything that was measured."""

import csv
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import run_folders as runs

from leadline import report
from leadline.errors import SaveError, UsageError
from leadline.evaluate import Source, measure
from leadline.report import published


class Page(HTMLParser):
    """What a page holds: tables as rows of cells, addresses that a browser would load, text of scripts."""

    VOID = ("meta", "link", "img", "input", "br")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tables, self.loads, self.images, self.open = [], [], [], []
        self.svgs = self.scripts = 0
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
        elif tag == "img":
            self.images.append(given["src"])
        self.svgs += tag == "svg"
        self.scripts += tag == "script" and "src" not in given
        self.loads += [value for name, value in attrs if name in ("src", "href", "srcset", "action")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"</{tag}> closes another element"

    def handle_data(self, data):
        if self.open and {"td", "th"} & set(self.open):
            self.tables[-1][-1][-1] += data


@pytest.fixture
def folder(tmp_path):
    """Two models and their oracle on two sets, one of them with categories, and one in several steps."""
    run = tmp_path / "first"
    made = [runs.result(run, name, "nyuv2", x) for name, x in [("one & <two>", 0.1), ("b_c", 0.2)]]
    made += [
        runs.result(run, name, "kitti", x, grouped=True) for name, x in [("one & <two>", 0.1), ("b_c", 0.2)]
    ]
    made += [runs.oracle(run, ["one & <two>", "b_c"], "nyuv2", 0.08)]
    return runs.save(run, made)


@pytest.fixture
def steps(tmp_path):
    folders = []
    for steps, members in [(1, 1), (4, 1), (1, 10)]:
        run = tmp_path / f"steps-{steps}-{members}"
        chosen = {"steps": steps, "ensemble_size": members}
        folders.append(runs.save(run, [runs.result(run, "m", "nyuv2", 0.1 / steps, **chosen)]))
    return folders


def written(tmp_path, form, *folders, **options):
    out = tmp_path / f"report.{form}"
    assert report.write(folders, out, **options) == []
    return out.read_text(encoding="utf-8")


def test_html_is_one_file_that_loads_nothing(tmp_path, folder):
    text = written(tmp_path, "html", folder, published="all")
    page = Page(text)
    assert page.open == []
    assert page.loads
    assert all(value.startswith(("#", "data:")) for value in page.loads)
    assert not re.search(r"@import|url\(", text)
    assert page.scripts == 1
    assert "aria-sort" in text


def test_html_tables_have_every_model_and_figure(tmp_path, folder):
    page = Page(written(tmp_path, "html", folder))
    main = page.tables[0]
    lines = [row[0].strip() for row in main[2:]]
    assert {"one & <two>", "b_c"} < set(lines)
    assert any(label.startswith("Marigold + E2E FT") for label in lines)
    assert any(label.startswith("oracle:") for label in lines)
    widths = {len(row) for row in main[2:]}
    assert len(widths) == 1


def test_headings_know_their_columns(tmp_path, folder):
    text = written(tmp_path, "html", folder)
    table = text[text.index("<table>") : text.index("</table>")]
    columns = [int(number) for number in re.findall(r'data-column="(\d+)"', table)]
    cells = len(Page(text).tables[0][2])
    assert sorted(columns) == list(range(cells))


def test_html_draws_boxes_per_category(tmp_path, folder):
    text = written(tmp_path, "html", folder)
    drawing = text[text.index("<svg") : text.index("</svg>")]
    assert all(f"kitti: {group}: 4 pictures" in drawing for group in runs.GROUPS)
    assert drawing.count('class="box"') == 2 * (1 + 3) + 1  # two models, four categories; the oracle in one


def test_html_draws_curves_against_steps_and_members(tmp_path, steps):
    text = written(tmp_path, "html", *steps)
    assert "nyuv2: AbsRel against steps" in text
    assert "nyuv2: AbsRel against ensemble size" in text
    assert Page(text).svgs == 1 + 4  # boxes; two figures, two choices


def test_without_several_steps_there_are_no_curves(tmp_path, folder):
    assert "against" not in written(tmp_path, "html", folder)


def test_markdown_tables_are_whole(tmp_path, folder):
    text = written(tmp_path, "md", folder)
    assert "| **" in text or " **" in text
    assert "b\\_c" in text
    blocks = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    assert len(blocks) == 1 + 1 + 2  # main, quartiles, all figures of two sets
    for block in blocks:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}) == 1


def test_latex_escapes_and_closes_what_it_opens(tmp_path, folder):
    text = written(tmp_path, "tex", folder, published="all")
    assert r"one \& $<$two$>$" in text
    assert r"b\_c" in text
    assert text.count(r"\begin{") == text.count(r"\end{") == 3 * (1 + 16)
    assert text.count("{") - text.count(r"\{") == text.count("}") - text.count(r"\}")
    for table in text.split(r"\begin{tabular}")[1:]:
        columns = len(re.match(r"\{([lr]+)\}", table)[1])
        rows = re.findall(r"^[^%\\\n].*?&.*\\\\$", table.partition(r"\midrule")[2], re.MULTILINE)
        assert rows
        assert {len(re.findall(r"(?<!\\)&", row)) for row in rows} == {columns - 1}


def test_csv_has_a_line_per_figure_in_one_unit(tmp_path, folder):
    rows = list(csv.DictReader(written(tmp_path, "csv", folder, published="all").splitlines()))
    ours = [row for row in rows if row["source"] == "measured" and row["metric"] == "absrel"]
    assert {row["unit"] for row in ours} == {"%"}
    assert all(5 < float(row["value"]) < 30 for row in ours)
    assert all(float(row["low"]) <= float(row["value"]) <= float(row["high"]) for row in ours)
    ranks = {row["model"]: float(row["value"]) for row in rows if row["metric"] == "average_rank"}
    assert ranks["one & <two>"] < ranks["b_c"]
    printed = [row for row in rows if row["table"].startswith(("E2E-FT", "FiffDepth", "PrimeDepth"))]
    assert len(printed) == sum(len(row.figures) for row in published.rows())


def test_without_runs_the_papers_tables_are_shown(tmp_path):
    page = Page(written(tmp_path, "html"))
    assert len(page.tables) == 16
    assert sum(len(table) - 2 for table in page.tables) == len(list(published.rows()))


def test_published_lines_can_be_left_out(tmp_path, folder):
    assert "E2E-FT, Table" not in written(tmp_path, "html", folder, published="none")


def test_the_best_and_the_worst_pictures_are_shown(tmp_path):
    run = tmp_path / "run"
    measure(["small"], ["scenes"], run, limit=3, device="cpu", save_predictions=True)
    text = written(tmp_path, "html", run, data={"scenes": Source("scenes")}, shots=1)
    page = Page(text)
    assert len(page.images) == 2 * 4
    assert all(image.startswith("data:image/jpeg;base64,") for image in page.images)
    values = [float(value) for value in re.findall(r"<figcaption><b>([\d.]+) %</b>", text)]
    assert len(values) == 2
    assert values[0] > values[1]  # delta1
    assert "†" in text  # small was trained on such scenes


def test_what_cannot_be_shown_is_named(tmp_path):
    run = tmp_path / "run"
    measure(["small"], ["scenes"], run, limit=1, device="cpu")
    (line,) = report.write([run], tmp_path / "report.html", data={"scenes": Source("scenes")})
    assert "--save-predictions" in line


def test_mistakes_are_one_line(tmp_path, folder):
    with pytest.raises(UsageError, match=r"did you mean '.html'|.html, .md"):
        report.write([folder], tmp_path / "report.htm")
    with pytest.raises(SaveError, match="finished run"):
        report.write([tmp_path / "nothing"], tmp_path / "report.html")


def test_errors_of_few_points_stay_visible_in_small_pictures():
    from leadline.report.pictures import heat, shrink

    values, counts = np.zeros((40, 1000)), np.zeros((40, 1000), bool)
    values[7, 503], counts[7, 503] = 0.5, True
    small, seen = shrink(values, counts, 100)
    assert small.shape == (4, 100)
    assert seen.sum() == 1
    assert small[seen] == 0.5
    assert heat(small, seen, 0.5)[seen].tolist() != heat(small, seen, 0.5)[~seen][:1].tolist()

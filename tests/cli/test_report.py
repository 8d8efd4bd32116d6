"""`leadline report`: from words to one file."""

import pytest
import run_folders as runs


@pytest.fixture
def folder(tmp_path):
    run = tmp_path / "run"
    return runs.save(run, [runs.result(run, name, "nyuv2", 0.1) for name in ("a", "b")])


@pytest.mark.parametrize("form", ["html", "md", "tex", "csv"])
def test_a_run_becomes_a_file_whose_name_is_printed(run, folder, tmp_path, form):
    out = tmp_path / f"report.{form}"
    done = run("report", folder, "-o", out)
    assert (done.code, done.out, done.err) == (0, f"{out}\n", "")
    assert "nyuv2" in out.read_text()


def test_what_cannot_be_shown_is_said_and_the_rest_is_written(run, folder, tmp_path):
    out = tmp_path / "report.html"
    done = run("report", folder, "-o", out, "-d", f"nyuv2={tmp_path}")
    assert done.code == 0
    assert done.err.startswith("not shown: a on nyuv2: no predictions are kept")
    assert out.exists()


def test_steps_of_a_model_are_drawn(run, photo, tiny_sampler, tmp_path):
    out = tmp_path / "report.html"
    done = run("report", "-o", out, "--spread", tiny_sampler, "--photo", photo, "--steps", 3)
    assert done.code == 0, done.err
    text = out.read_text()
    assert "standard deviation over 3 steps" in text
    assert text.count("data:image/jpeg") == 4


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["report", "-o", "report.pdf"], ".html, .md, .tex, .csv"),
        (["report", "--published", "some"], "none, beside or all"),
        (["report", "--spread", "small"], "--photo"),
        (["report", "--steps", "1"], "--steps"),
    ],
)
def test_mistakes_end_in_one_line_and_code_2(run, tmp_path, monkeypatch, words, expected):
    monkeypatch.chdir(tmp_path)
    done = run(*words)
    assert done.code == 2
    (line,) = done.err.splitlines()
    assert expected in line
    assert not list(tmp_path.iterdir())


def test_a_model_of_one_step_has_no_spread(run, photo, tiny_model, tmp_path):
    done = run("report", "-o", tmp_path / "r.html", "--spread", tiny_model, "--photo", photo)
    assert done.code == 2
    assert "works in one step" in done.err


def test_a_folder_that_is_no_run_is_one_line(run, tmp_path):
    done = run("report", tmp_path, "-o", tmp_path / "r.html")
    assert done.code == 1
    assert (
        done.err
        == f"error: {tmp_path}/results.json: No such file or directory: give the folder of a finished run\n"
    )

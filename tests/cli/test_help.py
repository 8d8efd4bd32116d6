"""The command line answers at once, explains itself on one screen, and names mistakes in one line."""

import errno
import json
import subprocess
import sys

import pytest

import leadline

COMMANDS = [
    *("predict", "train", "data", "data synth", "models", "models list", "models info", "models download"),
    *("eval", "report", "bench", "doctor", "label", "data prepare", "data check", "data stats", "data show"),
]
SCREEN = 50  # lines of a terminal window of 80 columns on a small laptop
PREDICT = (
    "--steps --ensemble-size --uncertainty --tile "
    "--out --model --format --processing-res --seed --device --dtype --batch-size --recursive --overwrite "
    "--skip-existing --on-error --max-pixels --layout --cmap --compat --download --card --fov --focal-px "
    "--focal-mm --sensor-mm --K --json --quiet --plain --offload --compile --align --align-method "
    "--align-scale --also --captions --engine --workers --task --set"
)
HEAVY = ("torch", "diffusers", "transformers", "PIL", "pydantic", "rich", "leadline.predict")


def test_help_imports_nothing_heavy():
    """That keeps it under 0.5 s, which benchmarks/predict_speed.py measures."""
    code = f"""if True:
        import sys
        from leadline import cli
        code = cli.main(["--help"])
        print([module for module in {HEAVY} if module in sys.modules], file=sys.stderr)
        sys.exit(code)"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0
    assert "predict" in done.stdout
    assert done.stderr.strip() == "[]"


@pytest.mark.parametrize("command", COMMANDS)
def test_help_fits_a_screen(run, command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    done = run(*command.split(), "--help")
    assert done.code == 0
    lines = done.out.splitlines()
    assert len(lines) <= SCREEN
    assert max(map(len, lines)) <= 80


def test_predict_help_names_every_option(run):
    text = run("predict", "--help").out
    assert [word for word in PREDICT.split() if word not in text] == []


def test_version(run):
    assert run("--version")[:3] == (0, f"leadline {leadline.__version__}\n", "")


@pytest.mark.parametrize("words", ["", "models", "data"])
def test_without_a_command_the_help_is_shown(run, words):
    done = run(*words.split())
    assert done.code == 2
    assert "Commands:" in done.err


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("predcit x.jpg", "predict"),
        ("predict", "INPUT"),
        ("predict x.jpg --sed 3", "--seed"),
        ("predict x.jpg --seed three", "--seed"),
        ("predict x.jpg --batch-size 0", "--batch-size"),
        ("predict x.jpg --on-error ignore", "--on-error"),
        ("predict x.jpg --format pngg", "did you mean 'png'"),
        ("predict x.jpg --format ,", "npy"),
        ("predict x.jpg --cmap spektral", "did you mean 'spectral'"),
        ("predict x.jpg --layout marigolds", "did you mean 'marigold'"),
        ("predict x.jpg --model marigold-e2e-ft-dept", "did you mean 'marigold-e2e-ft-depth'"),
        ("predict x.jpg --fov 60 --focal-px 500", "--fov and --focal-px"),
        ("predict x.jpg --focal-mm 35", "--sensor-mm"),
        ("predict x.jpg --K 1,2,3", "fx,fy,cx,cy"),
        ("predict - a.jpg", "one picture"),
        ("predict a.jpg -o - --json", "--json"),
        ("predict a.jpg -o - --format npy,png", "one --format"),
        ("predict no-such-file.jpg -o -", "no file"),
        ("predict - -o out --json", "--json"),
        ("predict x.jpg --fov 0.5", "radians"),
        ("predict x.jpg --fov nan", "--fov"),
        ("predict x.jpg --focal-px -3", "--focal-px is -3"),
        ("predict x.jpg --focal-mm inf --sensor-mm 36", "--focal-mm is inf"),
        ("predict x.jpg --focal-mm 50 --sensor-mm 0", "--sensor-mm is 0"),
        ("predict x.jpg --out=", "--out"),
        ("predict x.jpg --model .", "no card.yaml"),
        ("models info marigold", "unknown"),
        ("predict x.jpg --model . --card marigold-depth-v1", "did you mean 'marigold-depth-v1"),
        ("models lst", "list"),
        ("models download small-er", "unknown"),
        ("models download marigold-e2e-ft-depth@../x", "a commit, branch or tag"),
        ("models download small@v2", "leave out @v2"),
        ("data synth", "OUT"),
        ("data synth x --size 24y32", "24y32"),
        ("data synth x --kind rom", "room"),
        ("data synth x --count 0", "--count"),
        ("train", "RECIPE"),
        ("train no-such.yaml", "no-such.yaml"),
        ("predict x.jpg --engine spark", "plain or ray"),
        ("predict x.jpg --workers 2", "--engine ray"),
        ("predict - --engine ray", "without a pipe"),
        ("predict x.jpg --engine ray --align points.csv", "without --align"),
        ("label", "INPUT"),
        ("label x.jpg --depth smal", "did you mean 'small'"),
        ("label x.jpg --depth none", "nothing to label with"),
        ("label x.jpg --shard 3/2", "1 <= i <= n"),
        ("label x.jpg --prompt a", "name a captioner"),
        ("label x.jpg --confidence flip", "mirror or ensemble"),
        ("doctor --jsn", "--json"),
    ],
)
def test_mistakes_end_in_one_line_and_code_2(run, tmp_path, monkeypatch, words, expected):
    monkeypatch.chdir(tmp_path)
    done = run(*words.split())
    assert done.code == 2
    assert done.out == ""
    (line,) = done.err.splitlines()
    assert line.startswith("error: ")
    assert expected in line
    assert not list(tmp_path.iterdir())


def test_unexpected_errors_are_one_line_too_unless_debug(run, monkeypatch):
    def broken(_):
        raise ZeroDivisionError("of all things\nin two lines")

    monkeypatch.setattr("leadline.cards.get", broken)
    done = run("models", "info", "small")
    assert done.code == 1
    assert len(done.err.splitlines()) == 1
    assert "ZeroDivisionError: of all things in two lines" in done.err
    with pytest.raises(ZeroDivisionError):
        run("--debug", "models", "info", "small")


def test_what_the_system_refuses_is_no_bug_of_ours(run, monkeypatch):
    def refused(_):
        raise PermissionError(errno.EACCES, "Permission denied", "/some/where")

    monkeypatch.setattr("leadline.cards.get", refused)
    done = run("models", "info", "small")
    assert done.code == 1
    assert done.err.startswith("error: /some/where: Permission denied; check")
    assert len(done.err.splitlines()) == 1


def test_ctrl_c_is_130(run, monkeypatch):
    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr("leadline.cards.get", interrupted)
    assert run("models", "info", "small").code == 130


def test_a_reader_that_leaves_is_no_error():
    script = f"{sys.executable} -m leadline models list --json | head -c 1"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True)
    assert done.stdout == "{"
    assert done.stderr == ""


def test_models_list_and_info_agree(run):
    listed = json.loads(run("models", "list", "--json").out)
    assert listed
    table = run("models", "list").out
    for name, facts in listed.items():
        assert name in table
        assert json.loads(run("models", "info", name, "--json").out) == facts
    assert "licence: Apache-2.0" in run("models", "info", "marigold-e2e-ft-depth").out


def test_models_info_reads_a_folder(run, tiny_model, tmp_path):
    assert "kind: affine_disparity" in run("models", "info", tiny_model).out
    assert "no card.yaml" in run("models", "info", tmp_path).err

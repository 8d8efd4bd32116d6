"""`leadline train`, `data synth` and `doctor`: words reach the engines, results and codes come back."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from leadline.cli import doctor
from leadline.cli.ui import bar, clock
from leadline.data.synth import SynthFolder

RECIPE = Path(__file__).parents[2] / "recipes" / "tiny.yaml"


# --- train ---


def test_train_runs_a_recipe_with_overrides_and_resumes(run, tmp_path):
    words = ("train", RECIPE, "--run", tmp_path / "run", "--json", "-q")
    overrides = ("device=cpu", "workers=0", "every.validate=0", "every.sample=0")
    report = json.loads(run(*words, "steps=2", *overrides).out)
    assert (report["step"], report["finished"]) == (2, True)
    assert (Path(report["model"]) / "card.yaml").is_file()
    report = json.loads(run(*words, "steps=3", *overrides).out)
    assert report["step"] == 3
    refused = run(*words, "steps=4", *overrides, "--no-resume")
    assert refused.code == 1
    assert "resume it" in refused.err


@pytest.mark.parametrize(
    ("word", "expected"),
    [("stps=3", "did you mean 'steps'"), ("steps=many", "steps"), ("steps", "key.path=value")],
)
def test_wrong_overrides_are_usage_errors(run, tmp_path, word, expected):
    done = run("train", RECIPE, word, "--run", tmp_path / "run")
    assert done.code == 2
    (line,) = done.err.splitlines()
    assert expected in line
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("signal", "code"), [("SIGTERM", 0), ("SIGINT", 130)])
def test_a_training_that_a_service_stops_is_no_failure(run, tmp_path, monkeypatch, signal, code):
    import leadline.train
    from leadline.train.loop import Outcome

    stopped = Outcome(3, False, "stopped", signal=signal)
    monkeypatch.setattr(leadline.train, "train", lambda *_, **__: stopped)
    assert run("train", RECIPE, "--run", tmp_path / "run", "-q").code == code


def test_a_finished_model_is_pushed_where_it_is_asked(run, tmp_path, monkeypatch):
    import leadline.train
    from leadline.hub import upload
    from leadline.train.loop import Outcome

    pushed = []
    monkeypatch.setattr(leadline.train, "train", lambda *_, **__: Outcome(3, True, "done", tmp_path))
    monkeypatch.setattr(upload, "push", lambda folder, id, private: pushed.append((folder, id, private)))
    words = ("train", RECIPE, "--run", tmp_path / "run", "--push-to-hub")
    assert run(*words, "someone/my-depth", "-q").code == 0
    assert pushed == [(tmp_path, "someone/my-depth", True)]
    assert run(*words, "depth").code == 2
    another = Outcome(3, True, "done", tmp_path, main=False)  # a process beside the one that speaks
    monkeypatch.setattr(leadline.train, "train", lambda *_, **__: another)
    done = run(*words, "someone/my-depth", "--json")
    assert (done.code, done.out, len(pushed)) == (0, "", 1)


# --- data synth ---


def test_synth_fills_a_folder_and_goes_on(run, tmp_path):
    words = ("data", "synth", tmp_path / "set", "--size", "16x24", "--seed", 3, "--workers", 1, "-q")
    assert run(*words, "--count", 2).out == f"{tmp_path / 'set'}\n"
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "set").rglob("*.npz")}
    report = json.loads(run(*words, "--count", 3, "--json").out)
    assert (report["count"], report["sizes"]) == (3, [[16, 24]])
    assert all(p.stat().st_mtime_ns == time for p, time in before.items())
    found = SynthFolder(tmp_path / "set")
    assert len(found) == 3
    assert found[2].rgb.shape == (16, 24, 3)
    other = run(*words, "--count", 3, "--seed", 4)
    assert other.code == 1
    assert "seed" in other.err


# --- doctor ---


def test_doctor_tests_a_model(run, tiny_model):
    done = run("doctor", tiny_model)
    assert done.code == 0
    for word in ("python", "torch", "cores", "memory", "cpu", "repeatable"):
        assert word in done.out


def test_doctor_json_and_a_model_that_is_not_there(run):
    done = run("doctor", "no-such-model", "--json")
    checks = json.loads(done.out)["checks"]
    assert done.code == 1
    assert [c["name"] for c in checks if c["state"] == "problem"] == ["no-such-model"]


def test_doctor_finds_damaged_weights(run, tiny_model, tmp_path):
    import shutil

    folder = shutil.copytree(tiny_model, tmp_path / "damaged")
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    done = run("doctor", folder)
    assert done.code == 1
    assert "damaged" in done.out


def test_doctor_notices_leading_spacing_with_few_steps(tmp_path):
    file = tmp_path / "scheduler" / "scheduler_config.json"
    file.parent.mkdir()
    for said, noticed in (("trailing", False), ("leading", True), (None, True)):
        file.write_text(json.dumps({"timestep_spacing": said} if said else {}))
        checks = list(doctor.spacing(str(tmp_path)))
        assert bool(checks) == noticed
    assert checks[0].state == "note"
    assert "trailing" in checks[0].text


# --- progress ---


def test_progress_without_a_terminal_is_a_line_now_and_then(capsys, monkeypatch):
    monkeypatch.setattr("leadline.cli.ui.HEARTBEAT_S", 0)
    times = iter(np.arange(0, 100, 0.5).tolist())
    monkeypatch.setattr("leadline.cli.ui.time.monotonic", lambda: next(times))
    with bar("pictures") as step:
        for done in range(1, 4):
            step(done, 9, f"p{done}")
    assert capsys.readouterr().err.splitlines()[-1] == "pictures 3/9, 2.0/s, 3.0 s left, p3"


def test_progress_on_a_terminal_shows_rate_and_time_left():
    script = (
        "import sys, time\n"
        "from leadline.cli.ui import bar\n"
        "with bar('pictures') as step:\n"
        "    for i in range(1, 6):\n"
        "        step(i, 9, f'p{i}.jpg'); time.sleep(0.3)\n"
    )
    command = f'{sys.executable} -c "{script}"'
    typescript = ["script", "-qec", command, "/dev/null"]
    try:
        shown = subprocess.run(typescript, capture_output=True, text=True, stdin=subprocess.DEVNULL).stdout
    except FileNotFoundError:
        pytest.skip("needs the program `script` to make a terminal")
    assert "5/9" in shown
    assert "/s" in shown
    assert "0:00:0" in shown
    assert "p5.jpg" in shown


def test_durations_read_as_people_say_them():
    assert [clock(s) for s in (0.04, 59.9, 60, 3600, 90061)] == [
        "0.0 s",
        "59.9 s",
        "1 min 0 s",
        "1 h 0 min",
        "25 h 1 min",
    ]

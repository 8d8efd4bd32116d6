"""Folder runs: names that never meet, runs that go on where they stopped, failures that stay alone."""

import errno
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import weakref
from pathlib import Path

import numpy as np
import processes
import pytest
from bad_inputs import write_all
from folder_runs import FORMATS, Fake, photographs, results, run

from leadline import image, jobs, save
from leadline.camera import Camera
from leadline.errors import DeviceError, SaveError, UsageError
from leadline.jobs import run as engine
from leadline.jobs.manifest import load

SCRIPT = Path(__file__).with_name("folder_runs.py")


def names(inputs, recursive=True, **options):
    """Name -> source below the folder of the test, for a short comparison."""
    found = jobs.collect(inputs, recursive, **options)
    assert len({job.name for job in found}) == len(found)
    return {job.name: job.source for job in found}


def states(out):
    return {name: entry.state for name, entry in load(out).entries.items()}


# --- what is an input, and what its results are called ---


def test_folders_keep_their_tree_and_skip_what_is_no_image(tmp_path):
    photographs(tmp_path, ["x.jpg", "b/y.JPEG", "b/c/frame.0001.Tiff", "._x.jpg", ".git/z.png"])
    (tmp_path / "notes.txt").write_text("x.jpg")
    assert list(names([tmp_path])) == ["x", "b/y", "b/c/frame.0001"]
    assert list(names([tmp_path], recursive=False)) == ["x"]


def test_a_folder_that_cannot_be_listed_is_named_and_not_passed_over(tmp_path, monkeypatch):
    photographs(tmp_path, ["x.jpg", "b/y.jpg"])
    listed = os.scandir

    def scandir(path):  # root may list every folder
        if os.fspath(path).endswith("b"):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return listed(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert list(names([tmp_path], recursive=False)) == ["x"]
    with pytest.raises(UsageError, match=r"/b: the folder cannot be listed \(Permission denied\): change"):
        names([tmp_path])


def test_equal_stems_keep_their_suffix(tmp_path):
    photographs(tmp_path, ["a/x.jpg", "a/x.png", "a/x.jpg.png", "a/y.jpg", "b/x.jpg", "frame.0001.jpg"])
    found = names([tmp_path])
    assert set(found) == {"a/x.jpg", "a/x.png", "a/x.jpg.png", "a/y", "b/x", "frame.0001"}
    assert found["a/x.jpg.png"].endswith("a/x.jpg.png")


def test_names_differ_in_more_than_case_and_accents(tmp_path):
    photographs(tmp_path, ["X.jpg", "x.png", "caf\u00e9.jpg", "cafe\u0301.png", "y.jpg", "Y.jpg"])
    found = names([tmp_path])
    assert {"X.jpg", "x.png", "caf\u00e9.jpg", "cafe\u0301.png"} < set(found)
    hashed = [name for name in found if name.casefold().startswith("y")]  # suffix and folder are equal too
    assert all("~" in name for name in hashed)
    assert len(hashed) == 2


def test_several_folders_are_told_apart_by_their_names(tmp_path):
    for folder in ("one", "two"):
        photographs(tmp_path / folder, ["x.jpg", f"only {folder}.jpg"])
    assert set(names([tmp_path / "one", tmp_path / "two"])) == {
        "one/x.jpg",
        "two/x.jpg",
        "only one",
        "only two",
    }
    assert len(names([tmp_path / "one", tmp_path / "one" / "x.jpg"])) == 2  # each file once


def test_names_come_from_the_list_not_from_its_order_or_the_past(tmp_path):
    files = [photographs(tmp_path, [name]) / name for name in ("x.jpg", "x.png", "X.JPG", "b/x.jpg")]
    assert names(files) == names(files[::-1])


def test_globs_and_lists(tmp_path, monkeypatch):
    photographs(tmp_path, ["in/a/x.jpg", "in/b/x.jpg", "in/b/raw.dat", "other.jpg"])
    monkeypatch.chdir(tmp_path)
    assert set(names(["in/*/*"])) == {"a/x", "b/x"}
    assert set(names(["in/**/*.dat"])) == {"b/raw"}
    (tmp_path / "in/list.TXT").write_text(
        "\ufeff# photographs\n\n a/x.jpg \r\n../other.jpg\nb/none.jpg\n", "utf-8"
    )
    found = names(["in/list.TXT"])
    assert set(found) == {"a/x", "other", "b/none"}
    assert found["other"] == str(tmp_path / "other.jpg")


def test_a_file_named_by_itself_is_known_by_its_content(tmp_path):
    photographs(tmp_path, ["photo.txt", "without suffix", "brackets[1].jpg"])
    found = names([tmp_path / "photo.txt", tmp_path / "without suffix", tmp_path / "brackets[1].jpg"])
    assert set(found) == {"photo", "without suffix", "brackets[1]"}


@pytest.mark.parametrize("inputs", [["missing.jpg"], ["*.jpg"], ["."], [], ["binary.txt"]])
def test_nothing_found_is_one_line(tmp_path, monkeypatch, inputs):
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError):
        jobs.files(inputs, "out", model=Fake())
    assert not Path("out").exists()


def test_unusual_names_become_safe_ones(tmp_path):
    photographs(
        tmp_path, ["tab\tname.jpg", "back\\slash.jpg", "n" * 240 + ".jpg", "n" * 239 + "m.jpg", "..jpg"]
    )
    (tmp_path / os.fsdecode(b"latin\xe9.jpg")).write_bytes((tmp_path / "..jpg").read_bytes())
    found = names([tmp_path])
    assert {"tab_name", "back_slash"} < set(found)
    assert all(len(os.fsencode(name)) <= 200 for name in found)
    explicit = [os.path.join(tmp_path, name) for name in os.listdir(tmp_path)]
    summary = jobs.files(explicit, tmp_path / "out", model=Fake())
    assert (summary.done, summary.failed) == (6, [])


def test_results_in_the_input_folder_are_not_read_again(tmp_path):
    photographs(tmp_path / "in", ["x.jpg", "a/y.jpg"])
    for out in (tmp_path / "in", tmp_path / "in" / "out", tmp_path / "in" / "a"):
        first = jobs.files([tmp_path / "in"], out, model=Fake(), recursive=True, overwrite=True)
        again = jobs.files([tmp_path / "in"], out, model=Fake(), recursive=True)
        globbed = jobs.files([f"{tmp_path}/in/**/*.jpg"], out, model=Fake())
        assert again.total == again.skipped == first.total
        assert globbed.total == globbed.skipped
        if out.name == "in":
            for name in results(out):
                if not name.endswith(".jpg"):
                    (out / name).unlink()
            (out / "manifest.jsonl").unlink()


def test_names_from_a_list_stay_below_the_output_folder(tmp_path):
    photographs(tmp_path, ["out of it/x.jpg", "in/y.jpg"])
    (tmp_path / "in" / "list.txt").write_text(f"../out of it/x.jpg\n{tmp_path}/in/../in/y.jpg\n/etc/passwd\n")
    summary = jobs.files([tmp_path / "in" / "list.txt"], tmp_path / "in" / "out", model=Fake())
    assert summary.done == 2
    assert {Path(name).parent for name in results(tmp_path / "in" / "out")} == {Path()}
    assert [failure[:2] for failure in summary.failed] == [("passwd", "read")]


def test_links_in_the_output_folder_lead_nowhere(tmp_path):
    photographs(tmp_path / "in", ["a/x.jpg", "y.jpg"])
    (tmp_path / "out").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out" / "a").symlink_to(tmp_path / "elsewhere")
    summary = jobs.files([tmp_path / "in"], tmp_path / "out", model=Fake(), recursive=True)
    assert summary.done == 1
    (failure,) = summary.failed
    assert failure[:2] == ("a/x", "write")
    assert "output folder" in failure.reason
    assert list((tmp_path / "elsewhere").iterdir()) == []


# --- what a run writes, and what the next one does ---


def test_a_run_writes_what_single_calls_write(tmp_path):
    photographs(tmp_path / "in", ["a/x.jpg", "y.png"])
    camera = Camera.from_fov(10, 12, horizontal=60)
    options = {"formats": ["npz", "side"], "style": save.Style(cmap="turbo"), "camera": camera}
    calls = []
    summary = jobs.files(
        [tmp_path / "in"], tmp_path / "out", model=Fake(), recursive=True, seed=2, **options,
        progress=lambda *call: calls.append(call),
    )  # fmt: skip
    assert str(summary) == "2 done"
    assert calls == [(1, 2, "y"), (2, 2, "a/x")]
    picture = image.read(tmp_path / "in" / "a" / "x.jpg", camera=camera)
    (prediction,) = Fake().stream([picture], seed=2)
    save.write(
        prediction, tmp_path / "alone", "a/x", ["npz", "side"], rgb=picture.rgb, style=options["style"]
    )
    alone, together = results(tmp_path / "alone"), results(tmp_path / "out")
    assert set(together) == {*alone, "y_depth.npz", "y_side.png"}
    assert all(together[name] == content for name, content in alone.items())


def test_what_is_done_is_skipped(tmp_path):
    photographs(tmp_path / "in", ["x.jpg", "y.jpg"])
    run(tmp_path / "in", tmp_path / "out")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    model = Fake()
    again = jobs.files([tmp_path / "in"], tmp_path / "out", model=model, formats=FORMATS)
    assert str(again) == "0 done, 2 done before"
    assert model.seen == []
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}


def test_edited_inputs_lost_results_and_new_formats_are_done_again(tmp_path):
    photographs(tmp_path / "in", ["x.jpg", "y.jpg", "z.jpg"])
    out, model = tmp_path / "out", Fake()
    jobs.files([tmp_path / "in"], out, model=model)
    (tmp_path / "in" / "x.jpg").write_bytes((tmp_path / "in" / "z.jpg").read_bytes() + b" ")
    (out / "y_depth.npy").unlink()
    model.seen.clear()
    jobs.files([tmp_path / "in"], out, model=model)
    assert model.seen == ["x.jpg", "y.jpg"]
    np.testing.assert_array_equal(np.load(out / "x_depth.npy"), np.load(out / "z_depth.npy"))
    more = jobs.files([tmp_path / "in"], out, model=model, formats=["tiff"])
    assert more.done == 3
    for formats in (["npy"], ["tiff", "png"], None):
        assert jobs.files([tmp_path / "in"], out, model=model, formats=formats).skipped == 3


def test_moved_inputs_are_known_again(tmp_path):
    photographs(tmp_path / "in", ["x.jpg"])
    jobs.files([tmp_path / "in"], tmp_path / "out", model=Fake())
    (tmp_path / "in").rename(tmp_path / "moved")
    assert jobs.files([tmp_path / "moved"], tmp_path / "out", model=Fake()).skipped == 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model": Fake(name="large")}, "model fake -> large"),
        ({"seed": 1}, "seed 0 -> 1"),
        ({"processing_res": 64}, "processing_res None -> 64"),
        ({"style": save.Style(cmap="turbo")}, "cmap None -> turbo"),
    ],
)
def test_other_settings_never_mix_in_silence(tmp_path, change, said):
    photographs(tmp_path / "in", ["x.jpg", "y.jpg"])
    options = {"model": Fake()}
    jobs.files([tmp_path / "in"], tmp_path / "out", **options)
    before = results(tmp_path / "out")
    with pytest.raises(UsageError, match=f"2 results of other settings .{said}"):
        jobs.files([tmp_path / "in"], tmp_path / "out", **options | change)
    assert results(tmp_path / "out") == before
    assert jobs.files([tmp_path / "in"], tmp_path / "out", overwrite=True, **options | change).done == 2
    assert jobs.files([tmp_path / "in"], tmp_path / "out", **options | change).skipped == 2


def test_a_camera_may_depend_on_the_size_of_the_image(tmp_path):
    photographs(tmp_path / "in", ["x.jpg"])
    photographs(tmp_path / "in", ["wide.jpg"], size=(10, 40))

    def seeing(degrees):
        return lambda width, height: Camera.from_fov(width, height, horizontal=degrees)

    def go(camera):
        return jobs.files([tmp_path / "in"], tmp_path / "out", model=Fake(), camera=camera)

    assert go(seeing(90)).done == 2
    camera = save.read(tmp_path / "out" / "wide_depth.npy").camera
    assert (camera.width, round(camera.fx)) == (40, 20)
    assert go(seeing(90)).skipped == 2
    with pytest.raises(UsageError, match="camera"):
        go(seeing(60))
    other = jobs.files([tmp_path / "in"], tmp_path / "other", model=Fake(), camera=seeing(90)(40, 10))
    assert [failure[:2] for failure in other.failed] == [("x", "read")]


def test_a_model_trained_on_under_its_name_is_another(tmp_path):
    class Weights:
        def __init__(self, value):
            torch = pytest.importorskip("torch")
            self.state_dict = lambda: {"layer.weight": torch.full((40, 3), value)}

    photographs(tmp_path / "in", ["x.jpg"])
    for value, expected in ((1.0, "1 done"), (1.0, "0 done, 1 done before"), (1.5, None)):
        model = Fake()
        model.network = Weights(value)
        if expected:
            assert str(jobs.files([tmp_path / "in"], tmp_path / "out", model=model)) == expected
        else:
            with pytest.raises(UsageError, match="weights"):
                jobs.files([tmp_path / "in"], tmp_path / "out", model=model)


def test_results_of_other_inputs_are_not_replaced(tmp_path):
    for folder in ("one", "two"):
        photographs(tmp_path / folder, ["x.jpg"])
    os.utime(tmp_path / "one" / "x.jpg", ns=(0, 0))
    os.utime(tmp_path / "two" / "x.jpg", ns=(0, 0))  # not even if size and time agree, as archives make them
    jobs.files([tmp_path / "one"], tmp_path / "out", model=Fake())
    with pytest.raises(UsageError, match="results of other inputs"):
        jobs.files([tmp_path / "two"], tmp_path / "out", model=Fake())
    assert jobs.files([tmp_path / "two"], tmp_path / "out", model=Fake(), overwrite=True).done == 1


def test_files_of_the_user_are_not_replaced(tmp_path):
    photographs(tmp_path, ["x.jpg", "y.jpg"])
    (tmp_path / "x.json").write_text("labels of mine")
    summary = jobs.files([tmp_path], tmp_path, model=Fake())
    assert summary.done == 1
    (failure,) = summary.failed
    assert failure[:2] == ("x", "write")
    assert "x.json exists, and no run wrote it" in failure.reason
    assert (tmp_path / "x.json").read_text() == "labels of mine"
    assert not (tmp_path / "x_depth.npy").exists()
    assert jobs.files([tmp_path], tmp_path, model=Fake(), overwrite=True).done == 2
    assert save.read(tmp_path / "x_depth.npy").model == "fake"


def test_a_torn_or_foreign_line_of_the_manifest_is_passed_over(tmp_path):
    photographs(tmp_path / "in", ["x.jpg", "y.jpg"])
    run(tmp_path / "in", tmp_path / "out")
    manifest = tmp_path / "out" / "manifest.jsonl"
    lines = manifest.read_bytes().splitlines(keepends=True)
    manifest.write_bytes(b'"a string"\n[]\n{"name": 3}\n\xff\xfe\n' + b"".join(lines)[:-20])
    again = run(tmp_path / "in", tmp_path / "out")
    assert (again.done, again.skipped) == (1, 1)
    assert states(tmp_path / "out") == {"x": "done", "y": "done"}
    assert run(tmp_path / "in", tmp_path / "out").skipped == 2


def test_the_manifest_says_all(tmp_path):
    photographs(tmp_path / "in", ["a/x.jpg"])
    (tmp_path / "in" / "bad.png").write_bytes(b"no image")
    run(tmp_path / "in", tmp_path / "out")
    lines = [json.loads(line) for line in (tmp_path / "out" / "manifest.jsonl").read_text().splitlines()]
    assert lines[0]["of"]["model"] == "fake"
    last = {line["name"]: line for line in lines[1:]}
    size = (tmp_path / "in" / "a" / "x.jpg").stat().st_size
    assert last["a/x"]["input"] == str(tmp_path / "in" / "a" / "x.jpg")
    assert (last["a/x"]["state"], last["a/x"]["size"]) == ("done", size)
    assert set(last["a/x"]["outputs"]) == set(results(tmp_path / "out"))
    assert (last["bad"]["state"], last["bad"]["stage"]) == ("failed", "read")
    assert "not an image" in last["bad"]["reason"]


# --- what goes wrong ---


def test_bad_inputs_are_named_and_the_good_ones_done(tmp_path):
    bad = write_all(tmp_path / "in")
    good = [f"good {number}.jpg" for number in range(5)]
    photographs(tmp_path / "in", good)
    (tmp_path / "list.txt").write_text("\n".join(os.path.relpath(path, tmp_path) for path, _ in bad))
    summary = jobs.files(
        [tmp_path / "in", tmp_path / "list.txt"], tmp_path / "out", model=Fake(), batch_size=4
    )
    assert summary.done == len(good)
    assert len(summary.failed) == len(bad) >= 60
    reasons = {load(tmp_path / "out").entries[name].input: reason for name, _, reason in summary.failed}
    for path, word in bad:
        assert word in reasons[str(path)]
        assert "\n" not in reasons[str(path)]
    assert {failure.stage for failure in summary.failed} == {"read"}
    assert str(summary) == f"5 done, {len(bad)} failed"


@pytest.mark.parametrize("batch_size", [1, 3])
@pytest.mark.parametrize("breakage", [RuntimeError("shapes\ndiffer"), DeviceError("too large")])
def test_a_picture_that_breaks_the_model_is_found_out_alone(tmp_path, batch_size, breakage):
    photographs(tmp_path / "in", [f"{number}.jpg" for number in range(8)])
    photographs(tmp_path / "in", ["5.jpg"], size=(3, 3))
    model = Fake()
    model.breaks = lambda picture: breakage if picture.width == 3 else None
    summary = jobs.files([tmp_path / "in"], tmp_path / "out", model=model, batch_size=batch_size)
    (failure,) = summary.failed
    reason = "too large" if isinstance(breakage, DeviceError) else "RuntimeError: shapes differ"
    assert failure == ("5", "predict", reason)
    assert summary.done == 7
    assert run(tmp_path / "in", tmp_path / "other").done == 8
    model.breaks = lambda picture: None
    again = jobs.files([tmp_path / "in"], tmp_path / "out", model=model, batch_size=batch_size)
    assert (again.done, again.skipped) == (1, 7)


def test_errors_that_the_model_hands_back_are_failures(tmp_path):
    class Polite(Fake):
        def stream(self, images, **options):
            for number, result in enumerate(super().stream(images, **options)):
                yield DeviceError(f"{self.seen[-1]}: no memory") if number == 1 else result

    photographs(tmp_path / "in", ["a.jpg", "b.jpg", "c.jpg"])
    summary = jobs.files([tmp_path / "in"], tmp_path / "out", model=Polite())
    assert (summary.done, summary.failed) == (2, [("b", "predict", "b.jpg: no memory")])


def test_a_model_that_cannot_begin_raises(tmp_path):
    class Broken(Fake):
        def stream(self, images, **options):
            raise UsageError("batch size is -1")

    photographs(tmp_path / "in", ["a.jpg"])
    with pytest.raises(UsageError, match="batch size"):
        jobs.files([tmp_path / "in"], tmp_path / "out", model=Broken())


def test_on_error_stop_leaves_the_rest(tmp_path):
    photographs(tmp_path / "in", [f"{number:02}.jpg" for number in range(20)])
    (tmp_path / "in" / "03.jpg").write_bytes(b"")
    summary = jobs.files([tmp_path / "in"], tmp_path / "out", model=Fake(), on_error="stop")
    assert summary.done == 3
    assert [failure.name for failure in summary.failed] == ["03"]
    assert "stopped with 16 left" in str(summary)
    assert not summary.interrupted
    with pytest.raises(UsageError, match="on_error"):
        jobs.files([tmp_path / "in"], tmp_path / "out", model=Fake(), on_error="ignore")


def test_a_format_that_the_model_cannot_fill_is_said_before_the_first_picture(tmp_path):
    photographs(tmp_path / "in", ["x.jpg"])
    model = Fake("normals")
    with pytest.raises(UsageError, match="cannot hold normals"):
        jobs.files([tmp_path / "in"], tmp_path / "out", model=model, formats=["npy", "tiff"])
    assert model.seen == []
    assert jobs.files([tmp_path / "in"], tmp_path / "out", model=model).done == 1


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_a_full_disk_ends_the_run_with_one_line(tmp_path, monkeypatch, number):
    photographs(tmp_path / "in", [f"{number}.jpg" for number in range(6)])
    replace, calls = os.replace, []

    def refuse(old, new):
        calls.append(new)
        if len(calls) > 4:
            raise OSError(number, os.strerror(number))
        replace(old, new)

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(SaveError, match=os.strerror(number)) as error:
        jobs.files([tmp_path / "in"], tmp_path / "out", model=Fake())
    assert "\n" not in str(error.value)
    monkeypatch.undo()
    again = jobs.files([tmp_path / "in"], tmp_path / "out", model=Fake())
    assert (again.done, again.skipped) == (5, 1)
    assert not [name for name in results(tmp_path / "out") if name.startswith(".")]


def test_a_disk_too_full_for_the_manifest_ends_the_run_too(tmp_path, monkeypatch):
    photographs(tmp_path / "in", ["a.jpg", "b.jpg", "c.jpg"])
    (tmp_path / "in" / "b.jpg").write_bytes(b"")
    put = engine.Manifest.put

    def refuse(self, name, entry):
        if entry.state == "failed":
            raise SaveError("no space") from OSError(errno.ENOSPC, "no space")
        put(self, name, entry)

    monkeypatch.setattr(engine.Manifest, "put", refuse)
    with pytest.raises(SaveError, match="no space"):
        jobs.files([tmp_path / "in"], tmp_path / "out", model=Fake())


def test_a_limit_of_the_system_ends_the_run_with_one_line(tmp_path):
    """Not a stand-in: the kernel itself refuses files above 2,000 bytes."""
    photographs(tmp_path / "in", ["x.jpg"], size=(40, 40))
    code = f"""
import resource, sys
from pathlib import Path
from folder_runs import run
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
try:
    run(Path({str(tmp_path / "in")!r}), Path({str(tmp_path / "out")!r}))
except Exception as error:
    print(type(error).__name__, error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=SCRIPT.parent, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("SaveError cannot write")
    assert done.stdout.count("\n") == 1
    assert results(tmp_path / "out") == {}


@pytest.mark.parametrize("out", ["file", "file/below"])
def test_an_output_folder_that_cannot_be_is_one_line(tmp_path, out):
    photographs(tmp_path / "in", ["x.jpg"])
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(SaveError):
        jobs.files([tmp_path / "in"], tmp_path / out, model=Fake())


# --- stopping, and dying ---


def interrupting(model, after):
    """Press Ctrl-C while the model works on its so-many-th picture."""

    def press(picture):
        if len(model.seen) == after:
            signal.raise_signal(signal.SIGINT)

    model.breaks = press
    return model


def test_ctrl_c_finishes_the_picture_at_work_and_says_how_to_go_on(tmp_path, caplog):
    photographs(tmp_path / "in", [f"{number}.jpg" for number in range(9)])
    before = signal.getsignal(signal.SIGINT)
    with caplog.at_level(logging.WARNING):
        summary = jobs.files([tmp_path / "in"], tmp_path / "out", model=interrupting(Fake(), 3))
    assert summary.interrupted
    assert str(summary) == "3 done; stopped with 6 left: run the same command again to go on"
    assert "Ctrl-C again" in caplog.text
    assert signal.getsignal(signal.SIGINT) is before
    again = jobs.files([tmp_path / "in"], tmp_path / "out", model=Fake())
    assert (again.done, again.skipped) == (6, 3)


def test_a_second_ctrl_c_interrupts_at_once_and_nothing_is_half(tmp_path):
    photographs(tmp_path / "in", [f"{number}.jpg" for number in range(9)])
    model = Fake()

    def press_twice(picture):
        if len(model.seen) == 3:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

    model.breaks = press_twice
    with pytest.raises(KeyboardInterrupt):
        jobs.files([tmp_path / "in"], tmp_path / "out", model=model)
    assert jobs.files([tmp_path / "in"], tmp_path / "out", model=Fake()).done in (6, 7, 8)


def test_a_run_in_a_thread_leaves_signals_alone(tmp_path):
    photographs(tmp_path / "in", ["x.jpg"])
    done = []
    thread = threading.Thread(
        target=lambda: done.append(jobs.files([tmp_path / "in"], tmp_path / "out", model=Fake()))
    )
    thread.start()
    thread.join()
    assert str(done[0]) == "1 done"


def tree(folder, count):
    return photographs(folder, [f"{number % 3}/{number:03}.png" for number in range(count)])


@pytest.mark.parametrize("kills", [8, pytest.param(60, marks=pytest.mark.slow)])
def test_killed_at_random_moments_and_run_again_nothing_differs(tmp_path, kills):
    count = 24
    tree(tmp_path / "in", count)
    done = processes.run(SCRIPT.name, "random", tmp_path / "in", tmp_path / "out", kills, 1, seconds=300)
    assert done.err == ""
    assert len(results(tmp_path / "out.whole")) == len(FORMATS) * count
    for folder in range(int(done.out)):
        assert set(states(tmp_path / f"out.{folder}").values()) == {"done"}


def test_killed_before_each_request_to_the_disk_no_file_is_half(tmp_path):
    tree(tmp_path / "in", 1)
    done = processes.run(SCRIPT.name, "everywhere", tmp_path / "in", tmp_path / "out")
    assert done.err == ""
    assert int(done.out) > 15  # moments of death


def test_runs_side_by_side_do_not_disturb_each_other(tmp_path):
    """As `xargs -P` starts them: one output folder, a part of the inputs each."""
    tree(tmp_path / "in", 30)
    code = "import sys; from pathlib import Path; from folder_runs import *; from leadline import jobs\n"
    code += "jobs.files(sys.argv[2:], Path(sys.argv[1]), model=Fake(), formats=FORMATS)"
    started = [
        processes.start(f"-c {code}", tmp_path / "out", *part)
        for part in (sorted((tmp_path / "in" / folder).iterdir()) for folder in "012")
    ]
    assert [process.wait() for process in started] == [0, 0, 0]
    assert len(results(tmp_path / "out")) == 30 * len(FORMATS)
    assert set(states(tmp_path / "out").values()) == {"done"}


# --- memory ---


def test_few_pictures_are_held_however_many_there_are(tmp_path, monkeypatch):
    photographs(tmp_path / "in", [f"{number:03}.png" for number in range(60)], size=(4, 4))
    alive, most, read = weakref.WeakSet(), [], image.read

    def counted(*arguments, **options):
        picture = read(*arguments, **options)
        alive.add(picture)
        most.append(len(alive))
        return picture

    monkeypatch.setattr(image, "read", counted)
    jobs.files([tmp_path / "in"], tmp_path / "out", model=Fake(), formats=["side"])
    assert len(most) >= 60
    assert max(most) <= 6  # two read ahead, one being read, one at the model, two on their way to the disk

"""`leadline predict` from the words to the files, with a tiny model."""

import io
import json
import os
import signal
import sys
import time
from types import SimpleNamespace
from unittest.mock import ANY

import numpy as np
import processes
import pytest
from PIL import Image
from tests.bad_inputs import write_all
from tests.cli.conftest import save_photo

from leadline import save


@pytest.fixture
def predict(run, tiny_model):
    """`predict(words...)` with the tiny model."""
    return lambda *words: run("predict", "--model", tiny_model, *words)


@pytest.fixture
def stdin(monkeypatch):
    """`stdin(bytes)` puts them there."""

    def put(data):
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(data), isatty=lambda: False))

    return put


def names(folder):
    return sorted(
        str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file() and p.suffix != ".jsonl"
    )


def values(folder, name="photo"):
    return np.load(folder / f"{name}_depth.npy")


def test_a_photograph_becomes_three_files_which_stdout_names(predict, photo, tmp_path):
    out = tmp_path / "out"
    done = predict(photo, "-o", out)
    assert done.code == 0
    assert names(out) == ["photo.json", "photo_depth.npy", "photo_depth_colored.png"]
    assert sorted(done.out.splitlines()) == [str(out / name) for name in names(out)]
    assert values(out).shape == (30, 40)


def test_one_line_says_sizes_model_device_and_why(predict, photo, tmp_path):
    first, *_ = predict(photo, "-o", tmp_path / "out").err.splitlines()
    for word in ("40x30", "32x24", "affine_disparity", "e2e-ft", "cpu", "as asked", "float32", "licence"):
        assert word in predict(photo, "-o", tmp_path / "again", "--device", "cpu", "--overwrite").err
    assert "auto" in first


def test_folders_lists_globs_and_subfolders(predict, tmp_path):
    for name in ("a/x.jpg", "a/x.png", "a/deep/Y.JPG", "frame.0001.jpg"):
        save_photo(tmp_path / "in" / name)
    (tmp_path / "list.txt").write_text("in/a/x.png\n")
    flat, deep, listed, globbed = (tmp_path / name for name in ("flat", "deep", "listed", "globbed"))
    assert predict(tmp_path / "in", "-o", flat, "-f", "npy").code == 0
    assert names(flat) == ["frame.0001.json", "frame.0001_depth.npy"]
    assert predict(tmp_path / "in", "-o", deep, "-f", "npz", "--recursive").code == 0
    assert len(list(deep.rglob("*.npz"))) == 4
    assert (deep / "a" / "deep" / "Y_depth.npz").exists()
    assert predict(tmp_path / "list.txt", "-o", listed, "-f", "npz").code == 0
    assert len(list(listed.rglob("*.npz"))) == 1
    assert predict(tmp_path / "in" / "a" / "*.[jp][pn]g", "-o", globbed, "-f", "npz").code == 0
    assert len(list(globbed.rglob("*.npz"))) == 2


def test_formats_as_a_list_or_repeated(predict, photo, tmp_path):
    everything = "npy,npz,png16,pfm,tiff,png,controlnet,side,json"
    assert predict(photo, "-o", tmp_path / "all", "--format", everything).code == 0
    assert len(names(tmp_path / "all")) == 9
    assert predict(photo, "-o", tmp_path / "two", "-f", "pfm", "-f", "tiff").code == 0
    assert names(tmp_path / "two") == ["photo.json", "photo_depth.pfm", "photo_depth.tiff"]


def test_marigold_names_and_colour_map(predict, run, photo, tiny_normals, tmp_path):
    out = tmp_path / "out"
    assert run("predict", "-m", tiny_normals, photo, "-o", out, "--layout", "marigold").code == 0
    assert "normals_npy/photo_pred.npy" in names(out)
    for cmap in ("grey", "turbo"):
        assert predict(photo, "-o", tmp_path / cmap, "--cmap", cmap).code == 0
    grey, turbo = (
        np.asarray(Image.open(tmp_path / c / "photo_depth_colored.png")) for c in ("grey", "turbo")
    )
    assert np.ptp(grey.astype(int), axis=-1).max() == 0 < np.ptp(turbo.astype(int), axis=-1).max()


def test_a_layout_that_cannot_hold_the_kind_is_a_usage_error(predict, photo, tmp_path):
    for out in (tmp_path / "out", "-"):
        done = predict(photo, "-o", out, "--layout", "marigold")
        assert done.code == 2
        (line,) = done.err.splitlines()  # before any work
        assert "marigold" in line


def test_processing_size_changes_the_result_and_is_recorded(predict, photo, tmp_path):
    assert predict(photo, "-o", tmp_path / "a").code == 0
    assert predict(photo, "-o", tmp_path / "b", "--processing-res", 0).code == 0
    record = json.loads((tmp_path / "b" / "photo.json").read_text())
    assert record["settings"]["processed_size"] == [30, 40]
    assert not np.array_equal(values(tmp_path / "a"), values(tmp_path / "b"))


def test_large_pictures_are_worked_on_in_tiles(predict, tmp_path):
    big, out = save_photo(tmp_path / "big.png", (140, 100)), tmp_path / "out"
    save_photo(tmp_path / "little.png")
    inputs = [big, tmp_path / "little.png"]
    done = predict(*inputs, "-o", out, "--processing-res", "native", "--tile", 64)
    assert done.code == 0
    assert "140x100 worked on at 140x100 in 6 tiles of 64x64 by" in done.err
    records = [json.loads((out / f"{name}.json").read_text())["settings"] for name in ("big", "little")]
    assert records[0]["tiles"] == {"size": [64, 64], "overlap": 16, "count": 6, "replaced": ANY}
    assert "tiles" not in records[1]
    assert values(out, "big").shape == (100, 140)
    again = predict(*inputs, "-o", out, "--processing-res", 0, "--tile", 64)
    assert "2 done before" in again.err  # native is 0
    assert predict(*inputs, "-o", out, "--processing-res", "native").code == 2  # other settings


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--processing-res", "all"], "--processing-res is 'all': a number of pixels is needed, or native"),
        (["--processing-res", "-8"], "--processing-res is '-8': a number of pixels is needed, or native"),
        (["--tile", "20"], "tile is 20 pixels, 64 or more are needed, or 0 for none"),
    ],
)
def test_impossible_sizes_are_usage_errors(predict, photo, words, message):
    done = predict(photo, *words)
    assert (done.code, done.err.strip()) == (2, f"error: {message}")


def test_batches_agree_with_single_pictures(predict, tmp_path):
    for i in range(5):
        save_photo(tmp_path / "in" / f"{i}.png", seed=i)
    for size in (1, 2):
        assert predict(tmp_path / "in", "-o", tmp_path / f"by{size}", "--batch-size", size).code == 0
    for i in range(5):
        one, two = values(tmp_path / "by1", str(i)), values(tmp_path / "by2", str(i))
        assert np.abs(one - two).max() <= 1e-5 * np.ptp(one)


@pytest.mark.parametrize(
    ("words", "fx"),
    [
        (["--fov", "90"], 20),
        (["--focal-px", "33"], 33),
        (["--focal-mm", "18", "--sensor-mm", "36"], 20),
        (["--K", "31,32,19,14"], 31),
    ],
)
def test_camera_options_reach_the_record(predict, photo, tmp_path, words, fx):
    assert predict(photo, "-o", tmp_path / "out", *words).code == 0
    record = json.loads((tmp_path / "out" / "photo.json").read_text())
    assert record["camera"]["fx"] == pytest.approx(fx)
    assert (record["camera"]["width"], record["camera_source"]) == (40, "given")


def test_another_camera_is_another_setting(predict, photo, tmp_path):
    assert predict(photo, "-o", tmp_path / "out", "--fov", 60).code == 0
    assert predict(photo, "-o", tmp_path / "out", "--fov", 60).code == 0
    done = predict(photo, "-o", tmp_path / "out", "--fov", 70)
    assert done.code == 2
    assert "another camera" in done.err


def test_an_impossible_camera_fails_its_picture_alone(predict, tmp_path):
    save_photo(tmp_path / "in" / "small.png", (40, 30))
    save_photo(tmp_path / "in" / "wide.png", (4000, 8))
    done = predict(tmp_path / "in", "-o", tmp_path / "out", "--focal-px", 40)
    assert done.code == 1
    assert "wide.png (read): a focal length of 40 px" in done.err
    assert values(tmp_path / "out", "small").shape == (30, 40)


def test_what_is_done_is_skipped_unless_overwrite(predict, photo, tmp_path):
    out = tmp_path / "out"
    predict(photo, "-o", out)
    before = (out / "photo_depth.npy").stat().st_mtime_ns
    again = predict(photo, "-o", out, "--skip-existing")
    assert again.code == 0
    assert again.out == ""
    assert "1 done before" in again.err
    assert (out / "photo_depth.npy").stat().st_mtime_ns == before
    assert predict(photo, "-o", out, "--overwrite").code == 0
    assert (out / "photo_depth.npy").stat().st_mtime_ns > before


def test_other_settings_do_not_mix_into_a_folder(predict, photo, tmp_path):
    predict(photo, "-o", tmp_path / "out")
    done = predict(photo, "-o", tmp_path / "out", "--seed", 7)
    assert done.code == 2
    assert "seed 0 -> 7" in done.err


def test_json_report(predict, photo, tmp_path):
    (photo.parent / "broken.jpg").write_text("no picture")
    done = predict(photo.parent, "-o", tmp_path / "out", "--json", "-q")
    report = json.loads(done.out)
    assert done.code == 1
    assert (report["total"], report["done"], report["skipped"]) == (2, 1, 0)
    (failure,) = report["failed"]
    assert failure["input"].endswith("broken.jpg")
    assert failure["stage"] == "read"
    (result,) = report["results"]
    assert result["input"] == str(photo)
    assert all(os.path.exists(file) for file in result["files"])


def test_names_that_are_no_text_come_back_in_their_own_bytes(predict, tmp_path):
    good, bad = (tmp_path / os.fsdecode(name) for name in (b"caf\xe9.png", b"bad\xff\nname.png"))
    save_photo(tmp_path / "photo.png").rename(good)
    bad.write_text("no picture")
    done = predict(good, bad, "-f", "npy", "-o", tmp_path / "out")
    result, _ = done.raw.splitlines()
    assert result == os.fsencode(tmp_path) + b"/out/caf\xe9_depth.npy"
    assert os.path.exists(result)
    _, failure, _ = done.err.splitlines()
    assert failure.startswith("failed: ")
    assert failure.count(r"bad\udcff\nname.png") == 1
    done = predict(good, bad, "-o", tmp_path / "again", "--json")
    report = json.loads(done.raw.decode("ascii"))
    assert report["results"][0]["input"] == str(good)
    assert report["failed"][0]["input"] == str(bad)


def test_an_empty_word_is_not_the_folder_where_we_are(predict, photo, monkeypatch):
    monkeypatch.chdir(photo.parent)
    done = predict("", "-o", "out")
    assert done.code == 2
    assert "is a variable empty?" in done.err
    assert names(photo.parent) == ["photo.jpg"]


def test_quiet_says_nothing_but_errors(predict, photo, tmp_path):
    assert predict(photo, "-o", tmp_path / "out", "--quiet")[:3] == (0, "", "")
    (photo.parent / "broken.jpg").write_text("no picture")
    done = predict(photo.parent, "-o", tmp_path / "out", "-q")
    assert (done.code, done.out) == (1, "")
    (line,) = done.err.splitlines()
    assert "broken.jpg (read): not an image" in line


def test_on_error_stop_ends_the_run(predict, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jpg").write_text("no picture")
    for i in range(20):
        save_photo(tmp_path / "in" / f"b{i:02}.png")
    done = predict(tmp_path / "in", "-o", tmp_path / "out", "--on-error", "stop")
    assert done.code == 1
    assert "run the same command again" in done.err
    assert len(list((tmp_path / "out").glob("*.npy"))) < 20


def test_max_pixels(predict, photo, tmp_path):
    done = predict(photo, "-o", tmp_path / "out", "--max-pixels", 100)
    assert done.code == 1
    assert "--max-pixels" in done.err


def test_steps_ensembles_and_uncertainty(run, photo, tiny_sampler, tmp_path):
    words = ("predict", photo, "-m", tiny_sampler, "-f", "npz,json", "--device", "cpu")
    more = ("--steps", 3, "--ensemble-size", 2, "--uncertainty")
    assert run(*words, "-o", tmp_path / "a", *more).code == 0
    settings = json.loads((tmp_path / "a" / "photo.json").read_text())["settings"]
    assert (settings["steps"], settings["ensemble_size"]) == (3, 2)
    with np.load(tmp_path / "a" / "photo_depth.npz") as stored:
        assert stored["uncertainty"].shape == stored["depth"].shape == (30, 40)
    assert run(*words, "-o", tmp_path / "b").code == 0
    with np.load(tmp_path / "b" / "photo_depth.npz") as stored:
        assert "uncertainty" not in stored
    assert "other settings" in run(*words, "-o", tmp_path / "b", "--steps", 3).err


def test_uncertainty_is_always_kept_in_a_file(run, photo, stdin, tiny_sampler, tmp_path):
    words = ("-m", tiny_sampler, "--device", "cpu", "--steps", 1, "--ensemble-size", 2, "--uncertainty")
    assert run("predict", photo, "-o", tmp_path / "a", *words).code == 0
    usual = ["photo.json", "photo_depth.npy", "photo_depth_colored.png"]
    assert names(tmp_path / "a") == [*usual, "photo_depth_uncertainty.png"]
    stdin(photo.read_bytes())
    assert run("predict", "-", "-o", tmp_path / "b", "-f", "tiff", *words).code == 0
    assert names(tmp_path / "b") == ["stdin_depth.tiff", "stdin_depth_uncertainty.png"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("-o -", "stdout takes one format, and png holds no uncertainty: add -f npz"),
        ("-o - -f npy", "and npy holds no uncertainty"),
        ("--layout marigold", "layout 'marigold' has no file for uncertainty"),
        ("--align x.csv", "--uncertainty is of the model's own numbers"),
        ("--align x.csv -f uncertainty", "--uncertainty is of the model's own numbers"),
    ],
)
def test_uncertainty_that_no_file_could_keep_is_refused(predict, photo, words, says):
    done = predict(photo, "--uncertainty", *words.split())
    assert (done.code, done.out) == (2, "")
    (line,) = done.err.splitlines()
    assert says in line


def test_offload_and_plain_change_no_numbers_that_one_sees(run, photo, tiny_sampler, tmp_path):
    words = ("predict", photo, "-m", tiny_sampler, "-f", "npy", "--device", "cpu")
    for name, more in (("a", []), ("b", ["--offload"]), ("c", ["--offload", "--plain"])):
        assert run(*words, "-o", tmp_path / name, *more).code == 0
        np.testing.assert_allclose(values(tmp_path / name), values(tmp_path / "a"), atol=1e-4)


def test_offload_and_compile_exclude_each_other(predict, photo, tmp_path):
    ran = predict(photo, "-o", tmp_path / "out", "--offload", "--compile")
    assert ran.code == 2
    assert "choose offload or compile" in ran.err


def test_too_many_steps_are_told_before_anything_is_read(run, photo, tiny_sampler, tmp_path):
    ran = run("predict", photo, tmp_path, "-m", tiny_sampler, "-o", tmp_path / "out", "--steps", 2000)
    assert (ran.code, ran.out) == (2, "")
    assert "ask for 1 to 1000" in ran.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--steps", 4], "works in one step"),
        (["--ensemble-size", 3], "makes no ensembles"),
        (["--uncertainty"], "ensemble size of 2"),
    ],
)
def test_a_model_of_one_step_refuses_what_it_does_not_have(predict, photo, tmp_path, words, says):
    ran = predict(photo, "-o", tmp_path / "a", *words)
    assert ran.code == 2
    assert says in ran.err
    assert not (tmp_path / "a").exists()


def test_compat_and_precision_are_recorded(predict, photo, tmp_path):
    words = ("--compat", "e2e-ft", "--dtype", "bfloat16", "--device", "cpu")
    assert predict(photo, "-o", tmp_path / "out", *words).code == 0
    settings = json.loads((tmp_path / "out" / "photo.json").read_text())["settings"]
    assert (settings["preset"], settings["device"]) == ("e2e-ft", "cpu")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--device", "cuda:7"], "cuda:7"),
        (["--device", "gpu"], "auto, cpu"),
        (["--dtype", "flaot16"], "float16"),
        (["--compat", "e2eft"], "e2e-ft"),
    ],
)
def test_what_the_machine_or_the_model_lacks_is_a_usage_error(predict, photo, tmp_path, words, expected):
    done = predict(photo, "-o", tmp_path / "out", *words)
    assert done.code == 2
    (line,) = done.err.splitlines()
    assert expected in line


def test_missing_inputs_and_unknown_weights(predict, run, photo, tmp_path):
    assert predict(tmp_path / "nothing.jpg", "-o", tmp_path / "out").code == 2
    done = run("predict", "-m", "marigold-e2e-ft-depth", photo, "-o", tmp_path / "out")
    assert done.code == 1
    assert "download" in done.err
    assert len(done.err.splitlines()) == 1


# --- pipes ---


def test_stdin_to_stdout_is_a_picture_by_default(predict, photo, stdin):
    stdin(photo.read_bytes())
    done = predict("-", "-o", "-")
    assert done.code == 0
    assert Image.open(io.BytesIO(done.raw)).size == (40, 30)


def test_stdout_takes_any_one_format_and_equals_the_file(predict, photo, stdin, tmp_path):
    stdin(photo.read_bytes())
    piped = np.load(io.BytesIO(predict("-", "-o", "-", "--format", "npy").raw))
    assert predict(photo, "-o", tmp_path / "out", "-q").code == 0
    assert np.array_equal(piped, values(tmp_path / "out"))


def test_a_named_file_may_go_to_stdout_beside_the_photograph(predict, photo):
    assert Image.open(io.BytesIO(predict(photo, "-o", "-", "--format", "side").raw)).size == (80, 30)


def test_stdin_into_a_folder_never_replaces_unasked(predict, photo, stdin, tmp_path):
    for words, code in (([], 0), ([], 1), (["-f", "tiff,json"], 1), (["--overwrite"], 0)):
        stdin(photo.read_bytes())
        assert predict("-", "-o", tmp_path / "out", *words).code == code
    assert not (tmp_path / "out" / "stdin_depth.tiff").exists()  # all of it or nothing
    stdin(photo.read_bytes())
    assert predict("-", "-o", tmp_path / "quiet", "-q").out == ""
    assert save.read(tmp_path / "out" / "stdin_depth.npy").values.shape == (30, 40)


@pytest.mark.parametrize("data", [b"", b"no picture", b"\xff\xd8\xff\xe0"])
def test_bad_bytes_on_stdin_are_one_line(predict, stdin, data):
    stdin(data)
    done = predict("-", "-o", "-")
    assert (done.code, done.out) == (1, "")
    assert len(done.err.splitlines()) == 1


def test_terminals_get_no_binary_and_give_no_picture(predict, photo, monkeypatch):
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    assert "stdin is a terminal" in predict("-", "-o", "-").err
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert "stdout is a terminal" in predict(photo, "-o", "-").err


# --- bad files, signals ---


def test_bad_inputs_end_in_one_line_each_and_the_good_ones_are_done(tiny_model, tmp_path):
    bad = write_all(tmp_path / "in")
    good = [save_photo(tmp_path / "in" / f"good{i}.png", seed=i) for i in range(3)]
    listed = tmp_path / "all.txt"
    listed.write_text("\n".join(str(path) for path in [good[0], *(p for p, _ in bad), *good[1:]]))
    words = ["predict", listed, "-o", tmp_path / "out", "-m", tiny_model, "-q", "--json"]
    done = processes.run("-m leadline", *words)
    assert done.returncode == 1
    assert "Traceback" not in done.err
    report = json.loads(done.out)
    assert report["done"] == 3
    assert len(report["failed"]) == len(bad) >= 60
    reasons = {failure["input"]: failure["reason"] for failure in report["failed"]}
    for path, word in bad:
        assert word in reasons[str(path)], path.name
    lines = done.err.splitlines()
    assert len(lines) == len(bad)
    assert all(line.startswith("failed: ") for line in lines)


def test_ctrl_c_finishes_the_picture_and_says_how_to_go_on(tiny_model, tmp_path):
    for i in range(400):
        save_photo(tmp_path / "in" / f"{i:03}.png")
    words = ["predict", tmp_path / "in", "-o", tmp_path / "out", "-m", tiny_model]
    process = processes.start("-m leadline", *words)
    while not list((tmp_path / "out").glob("*.npy")) and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert process.wait() == 130
    assert "run the same command again" in process.err
    assert "Traceback" not in process.err
    written = list((tmp_path / "out").glob("*.npy"))
    assert 0 < len(written) < 400
    for file in written:
        assert np.load(file).shape == (30, 40)


def test_the_sign_of_a_models_output_can_be_turned(run, photo, tmp_path):
    from tiny_primedepth import SMALL

    from leadline.methods.primedepth import Config, PrimeDepth

    PrimeDepth.random(Config.model_validate(SMALL)).save(tmp_path / "model")
    found = {}
    for sign in (1, -1):
        out = tmp_path / f"{sign}"
        words = ("predict", "--model", tmp_path / "model", photo, "--set", f"output_sign={sign}", "-o", out)
        assert run(*words).code == 0
        found[sign] = np.load(out / "photo_depth.npy")
    np.testing.assert_allclose(found[1], 1 - found[-1], atol=1e-6)
    refused = run("predict", "--model", tmp_path / "model", photo, "--set", "output_sign=2", "-o", tmp_path)
    assert (refused.code, "output_sign" in refused.err) == (2, True)


def test_a_task_and_a_domain_of_a_model_that_has_several(run, photo, tmp_path):
    from tiny_geowizard import E2E, published

    published(**E2E, size={"processing_res": 32}).save(tmp_path / "model")
    words = ("predict", "--model", tmp_path / "model", photo)
    assert run(*words, "-o", tmp_path / "a", "--also", "normals").code == 0
    done = run(*words, "-o", tmp_path / "b", "--task", "normals", "--set", "domain=outdoor")
    assert done.code == 0
    assert "photo_normals.npy" in names(tmp_path / "b")
    record = json.loads((tmp_path / "b" / "photo.json").read_text())
    assert (record["kind"], record["settings"]["domain"]) == ("normals", "outdoor")
    refused = run(*words, "-o", tmp_path / "c", "--set", "domain=outdor")
    assert refused.code == 2
    assert "domain" in refused.err


def test_the_filtered_depth_of_fiffdepth_lies_beside_its_depth(run, photo, tmp_path):
    from tiny_fiffdepth import published

    published(size={"processing_res": 32}).save(tmp_path / "model")
    words = ("predict", "--model", tmp_path / "model", photo, "--also", "filtered")
    assert run(*words, "-o", tmp_path / "out").code == 0
    depth, filtered = (np.load(tmp_path / f"out/photo_{name}.npy") for name in ("depth", "filtered"))
    assert depth.shape == filtered.shape == (30, 40)
    assert np.abs(depth - filtered).max() > 1e-3

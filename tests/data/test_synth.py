"""leadline.data.synth: folders of rendered scenes, resumable and whole."""

import signal
import time

import numpy as np
import processes
import pytest

from leadline.data.scenes import Scenes
from leadline.data.synth import SynthFolder, synthesise
from leadline.errors import DataError

SIZES = ((16, 24), (24, 16))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return synthesise(tmp_path_factory.mktemp("synth") / "scenes", 5, SIZES, seed=9, workers=2)


def test_what_is_read_is_what_was_rendered(folder):
    samples = SynthFolder(folder)
    assert len(samples) == 5
    for index, sample in enumerate(samples[i] for i in range(5)):
        truth = Scenes(seed=9, count=5).at(index, SIZES[index % 2])
        np.testing.assert_array_equal(sample.rgb, truth.rgb)
        np.testing.assert_array_equal(sample.depth_m, truth.depth_m)
        np.testing.assert_array_equal(sample.classes, truth.classes)
        np.testing.assert_allclose(sample.normals, truth.normals, atol=1e-3)
        np.testing.assert_allclose(sample.camera.K, truth.camera.K)


def test_files_do_not_depend_on_the_number_of_processes(folder, tmp_path):
    alone = SynthFolder(synthesise(tmp_path / "alone", 3, SIZES, seed=9, workers=1))
    for index in range(3):
        np.testing.assert_array_equal(alone[index].depth_m, SynthFolder(folder)[index].depth_m)


def test_a_larger_count_adds_scenes_and_leaves_the_others_alone(tmp_path):
    synthesise(tmp_path, 2, SIZES, workers=1)
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.npz")}
    seen = []
    synthesise(tmp_path, 4, SIZES, workers=1, progress=lambda done, count: seen.append((done, count)))
    assert seen == [(2, 4), (3, 4), (4, 4)]
    assert {p: p.stat().st_mtime_ns for p in before} == before
    assert len(SynthFolder(tmp_path)) == 4


@pytest.mark.parametrize("change", [{"seed": 1}, {"sizes": ((8, 8),)}, {"kind": "room"}])
def test_any_other_change_is_refused(tmp_path, change):
    synthesise(tmp_path, 1, SIZES, workers=1)
    with pytest.raises(DataError, match=f"was made with {next(iter(change))} = .*use another folder"):
        synthesise(tmp_path, 1, **({"sizes": SIZES, "workers": 1} | change))


@pytest.mark.parametrize("text", ["", '{"format": 1,', "[1]"])
def test_a_damaged_record_is_named(tmp_path, text):
    (tmp_path / "scenes.json").write_text(text)
    with pytest.raises(DataError, match=r"scenes\.json: cannot be read .*: use another folder, or delete"):
        synthesise(tmp_path, 1, SIZES, workers=1)


def test_a_killed_run_leaves_whole_files_and_goes_on(tmp_path):
    call = f"synthesise({str(tmp_path)!r}, 400, {SIZES!r}, workers=1)"
    code = f"from leadline.data.synth import synthesise; {call}"
    run = processes.start(f"-c {code}")
    deadline = time.monotonic() + 120
    while len(list(tmp_path.rglob("*.npz"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    run.send_signal(signal.SIGKILL)
    assert run.wait() == -signal.SIGKILL
    assert processes.all_leave(run)
    done = len(SynthFolder(tmp_path))
    assert 2 <= done < 400
    for index in range(done):
        assert SynthFolder(tmp_path)[index].rgb.shape in ((16, 24, 3), (24, 16, 3))
    synthesise(tmp_path, done + 1, SIZES, workers=1)
    assert len(SynthFolder(tmp_path)) == done + 1


def test_parts_and_fields_can_be_chosen(folder):
    some = SynthFolder(folder, start=1, count=2, fields=("normals",))
    assert len(some) == 2
    assert some[0].classes is None
    np.testing.assert_array_equal(some[0].rgb, SynthFolder(folder)[1].rgb)


def test_missing_empty_and_damaged_folders_are_named(folder, tmp_path):
    with pytest.raises(DataError, match=r"has no scenes.json: make the folder with `leadline data synth"):
        SynthFolder(tmp_path)
    with pytest.raises(DataError, match="holds no scenes from 99 on"):
        SynthFolder(folder, start=99)
    synthesise(tmp_path, 1, ((8, 8),), workers=1)
    file = next(tmp_path.rglob("*.npz"))
    file.write_bytes(file.read_bytes()[:300])
    with pytest.raises(DataError, match="cannot be read .*delete it"):
        SynthFolder(tmp_path)[0]

"""Shards of pseudo-labels: what is in them, what becomes of bad files and full disks, and of killed runs."""

from __future__ import annotations

import errno
import json
import sys
import tarfile
import threading
from dataclasses import replace
from pathlib import Path

import bad_inputs
import label_runs
import numpy as np
import processes
import pytest
import torch
from folder_runs import photographs
from label_runs import ORDER, PER_SHARD, results
from PIL import Image

from leadline import ade20k, image
from leadline.data import open_set
from leadline.data.mix import fetch
from leadline.data.sample import collate
from leadline.errors import DataError, SaveError, UsageError, WeightsError
from leadline.evaluate.shards import Shard as Part
from leadline.label import Order, label, plan, run, verify
from leadline.label.shard import _Hashed
from leadline.prediction import Kind

NAMES = [f"{number:02d}.png" for number in range(10)]


@pytest.fixture
def inputs(tmp_path) -> Path:
    return photographs(tmp_path / "in", NAMES)


@pytest.fixture(autouse=True)
def _fake(monkeypatch):
    monkeypatch.setattr(run, "load", label_runs.networks)


def made(inputs, out, order=ORDER, **options):
    return label([inputs] if isinstance(inputs, Path) else inputs, out, order, per_shard=PER_SHARD, **options)


def members(out: Path) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for path in sorted(out.glob("*.tar")):
        with tarfile.open(path) as tar:
            found |= {member.name: tar.extractfile(member).read() for member in tar}
    return found


def test_every_photograph_is_in_a_shard_with_all_its_labels(inputs, tmp_path):
    out, seen = tmp_path / "out", []
    summary = made(inputs, out, progress=lambda *step: seen.append(step))
    assert (summary.total, summary.done, summary.skipped, summary.failed) == (10, 10, 0, [])
    assert (summary.shards, summary.whole) == (3, True)
    assert [done for done, total, _ in seen if total == 10] == list(range(1, 11))
    found = members(out)
    endings = ("png", "depth.png", "confidence.png", "classes.png", "certainty.png", "txt", "json")
    assert list(found) == [f"{number:09d}.{ending}" for number in range(10) for ending in endings]
    assert [found[f"{number:09d}.png"] for number in range(10)] == [
        (inputs / name).read_bytes() for name in NAMES
    ]
    words = json.loads(found["000000003.json"])
    assert (words["name"], words["source"]) == ("03", str(inputs / "03.png"))
    assert (words["height"], words["width"], words["depth"]["kind"]) == (12, 10, "affine_disparity")
    assert (out / "sheet.jpg").is_file()


def test_records_count_and_hash_what_is_there(inputs, tmp_path):
    out = tmp_path / "out"
    made(inputs, out)
    index = [json.loads(line) for line in (out / "index.jsonl").read_text().splitlines()]
    assert [line["count"] for line in index] == [4, 4, 2]
    assert verify(out) == []
    shard = out / index[1]["file"]
    assert shard.stat().st_size == index[1]["bytes"]
    data = bytearray(shard.read_bytes())
    data[700] ^= 1
    shard.write_bytes(data)
    (line,) = verify(out)
    assert "shard-000001.tar: not what its record says" in line


def test_as_training_data_they_are_what_the_networks_said(inputs, tmp_path):
    made(inputs, tmp_path / "out")
    data = open_set("label-shards", {"path": tmp_path / "out", "min_confidence": 0.0})
    assert len(data) == 10
    sample = fetch(data, 3, None)
    picture = image.read(inputs / "03.png")
    (depth,) = label_runs.Depth().stream([picture])
    assert (sample.pseudo_kind, sample.depth_m, sample.name) == (Kind.affine_disparity, None, "03")
    np.testing.assert_array_equal(sample.rgb, picture.rgb)
    np.testing.assert_allclose(sample.pseudo, depth.values, atol=np.ptp(depth.values) / 65535)
    np.testing.assert_array_equal(sample.classes, label_runs.Segmenter()([picture.rgb])[0].numbers)
    assert [sample.caption] == label_runs.Captioner()([picture.rgb])
    batch = collate([sample, data[4]])
    assert batch.pseudo.shape == (2, 1, 12, 10)
    assert batch.captions[0] == sample.caption
    assert batch.classes.dtype == torch.int64


def test_classes_are_those_of_ade20k_by_their_names(inputs, tmp_path, monkeypatch):
    monkeypatch.setattr(label_runs.Segmenter, "names", ["terrain", "Sky"])
    made(inputs, tmp_path / "out")
    data = open_set("label-shards", {"path": tmp_path / "out"})
    bright = label_runs.Segmenter()([data[3].rgb])[0].numbers == 1
    np.testing.assert_array_equal(data[3].classes, np.where(bright, ade20k.number("sky"), ade20k.UNKNOWN))


def test_classes_that_are_not_ade20ks_are_refused_unless_they_are_left_out(inputs, tmp_path, monkeypatch):
    monkeypatch.setattr(label_runs.Segmenter, "names", ["dark", "bright"])
    made(inputs, tmp_path / "out")
    with pytest.raises(DataError, match=r"its classes \(dark, bright \.\.\.\) are not ADE20K's"):
        open_set("label-shards", {"path": tmp_path / "out"})
    assert len(open_set("label-shards", {"path": tmp_path / "out", "fields": ["depth"]})) == 10


def test_confidence_is_the_agreement_with_the_mirrored_picture(inputs, tmp_path):
    made(inputs, tmp_path / "out")
    all_, some = (
        open_set("label-shards", {"path": tmp_path / "out", "min_confidence": c})[0] for c in (0.0, 0.95)
    )
    (depth,) = label_runs.Depth().stream([image.read(inputs / "00.png")])
    low, high = np.percentile(depth.values, (2, 98))
    lean = np.linspace(0.1, 0, 10, dtype=np.float32)
    apart = np.abs(lean[::-1] - lean) / (high - low)  # the model leans to the left in every picture
    assert all_.valid.all()
    assert not some.valid[:, apart > 0.08].any()
    assert some.valid[:, apart < 0.02].all()


def test_uncertain_classes_are_ignored_where_that_is_asked_for(inputs, tmp_path):
    made(inputs, tmp_path / "out")
    data = open_set("label-shards", {"path": tmp_path / "out", "min_certainty": 0.6, "fields": ["classes"]})
    (found,) = label_runs.Segmenter()([data[0].rgb])
    certain = np.rint(found.confidence * 255) >= round(255 * 0.6)
    np.testing.assert_array_equal(data[0].classes, np.where(certain, found.numbers, -1))
    assert data[0].pseudo is None
    assert data[0].caption is None


def test_large_turned_and_odd_pictures_are_stored_as_they_are_labelled(tmp_path):
    home = tmp_path / "in"
    home.mkdir()
    rng = np.random.default_rng(0)
    wide = Image.fromarray(rng.integers(0, 256, (40, 100, 3), np.uint8))
    wide.save(home / "wide.png")
    turned = Image.Exif()
    turned[0x0112] = 6
    wide.save(home / "turned.jpg", exif=turned)
    wide.convert("P").save(home / "palette.gif")
    made(home, tmp_path / "out", replace(ORDER, size=50))
    data = open_set("label-shards", {"path": tmp_path / "out"})
    sizes = {data[i].name: data[i].size for i in range(3)}
    assert sizes == {"palette": (20, 50), "turned": (50, 20), "wide": (20, 50)}
    assert {name.split(".")[1] for name in members(tmp_path / "out")} >= {"jpg", "depth"}
    made(home, tmp_path / "whole", replace(ORDER, size=0))
    whole = open_set("label-shards", {"path": tmp_path / "whole"})
    assert {whole[i].size for i in range(3)} == {(40, 100), (100, 40)}


def test_archives_of_photographs_are_labelled_as_the_files_are(inputs, tmp_path):
    for part in range(2):
        with tarfile.open(tmp_path / f"part{part}.tar", "w") as tar:
            for name in NAMES[5 * part : 5 * part + 5]:
                tar.add(inputs / name, arcname=f"photos/{name}")
                caption = tarfile.TarInfo(f"photos/{name[:-4]}.txt")
                tar.addfile(caption)
    summary = made([tmp_path / "*.tar"], tmp_path / "out")
    assert (summary.done, summary.failed) == (10, [])
    made(inputs, tmp_path / "files")
    (tars, files) = (members(tmp_path / name) for name in ("out", "files"))
    assert {k: v for k, v in tars.items() if not k.endswith("json")} == {
        k: v for k, v in files.items() if not k.endswith("json")
    }
    index = (tmp_path / "out/index.jsonl").read_text().splitlines()
    assert [json.loads(line)["count"] for line in index] == [4, 1, 4, 1]  # no shard is of two archives


def test_what_is_done_is_left_alone_and_more_photographs_are_added(inputs, tmp_path):
    out = tmp_path / "out"
    made(inputs, out)
    before = results(out)
    again = made(inputs, out)
    assert (again.done, again.skipped, again.shards) == (0, 10, 0)
    assert results(out) == before
    photographs(inputs, ["00a.png", "99.png"])
    more = made(inputs, out)
    assert (more.done, more.skipped) == (2, 10)
    assert (
        before.items() - results(out).items()
        == {k: v for k, v in before.items() if k in ("index.jsonl", "sheet.jpg")}.items()
    )
    assert len(open_set("label-shards", {"path": out})) == 12


def test_parts_make_up_the_whole_however_many_there_are(inputs, tmp_path):
    made(inputs, tmp_path / "whole")
    out = tmp_path / "out"
    first = made(inputs, out, part=Part(0, 2))
    assert (first.total, first.done, first.whole) == (6, 6, False)
    rest = [made(inputs, out, part=Part(number, 3)) for number in range(3)]
    assert sum(part.done for part in rest) == 4
    assert rest[-1].whole
    assert results(out) == results(tmp_path / "whole")


def test_two_processes_that_begin_at_once_agree_on_the_plan(inputs, tmp_path):
    items = plan.collect([inputs], False, tmp_path / "out")
    (tmp_path / "out").mkdir()
    plans: list[list[plan.Shard]] = []
    threads = [
        threading.Thread(target=lambda n=n: plans.append(plan.settle(tmp_path / "out", items[n:], 3)))
        for n in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    shards, _ = plan.load(tmp_path / "out")
    planned = [item for shard in shards for item in shard.items]
    assert sorted(planned) == sorted(items)
    assert [shard.first for shard in shards] == [
        sum(len(other.items) for other in shards[:n]) for n in range(len(shards))
    ]


def test_bad_files_are_recorded_and_spoil_nothing(tmp_path):
    bad = bad_inputs.write_all(tmp_path / "in")
    photographs(tmp_path / "in", ["good_1.png", "good_2.png"])
    paths = [
        path for path, _ in bad if path.name not in ("folder.jpg", "inside.jpg") and path.name[:4] != "long"
    ]
    paths = [path for path in paths if path.name != "missing.jpg"]
    (tmp_path / "list.txt").write_text("\n".join(str(p) for p in [*paths, *(tmp_path / "in").glob("good*")]))
    summary = made([tmp_path / "list.txt"], tmp_path / "out")
    assert summary.done == 2
    reasons = {Path(failure.source).name: failure for failure in summary.failed}
    assert len(reasons) == len(paths)
    assert {failure.stage for failure in summary.failed} == {"read"}
    for path, word in bad:
        if path in paths:
            assert word in reasons[path.name].reason, path.name
            assert "\n" not in reasons[path.name].reason


def test_a_photograph_that_breaks_a_network_is_named_with_its_stage(inputs, tmp_path, monkeypatch):
    target = image.read(inputs / "05.png").rgb

    class Broken(label_runs.Segmenter):
        def __call__(self, pictures):
            if any(np.array_equal(picture, target) for picture in pictures):
                raise RuntimeError("no such\nclass")
            return super().__call__(pictures)

    monkeypatch.setattr(run, "load", lambda order: replace(label_runs.networks(order), classes=Broken()))
    summary = made(inputs, tmp_path / "out")
    assert summary.done == 9
    (failure,) = summary.failed
    assert failure == ("05", str(inputs / "05.png"), "classes", "RuntimeError: no such class")
    assert made(inputs, tmp_path / "out").failed == [failure]  # said again, not tried again
    monkeypatch.setattr(run, "load", label_runs.networks)
    mended = made(inputs, tmp_path / "out", retry=True)
    assert (mended.done, mended.skipped, mended.failed) == (4, 6, [])
    made(inputs, tmp_path / "whole")
    assert results(tmp_path / "out") == results(tmp_path / "whole")


def test_a_full_disk_ends_the_run_and_the_next_one_goes_on(inputs, tmp_path, monkeypatch):
    made(inputs, tmp_path / "whole")
    first, second, _ = (path.stat().st_size for path in sorted((tmp_path / "whole").glob("*.tar")))
    out, room, write = tmp_path / "out", [first + second // 2], _Hashed.write

    def full(self, data):
        room[0] -= len(data)
        if room[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(self, data)

    with monkeypatch.context() as patch:
        patch.setattr(_Hashed, "write", full)
        with pytest.raises(SaveError, match="No space left on device; free some space and run again"):
            made(inputs, out)
    assert [path.name for path in out.glob("*.tar")] == ["shard-000000.tar"]
    assert not list(out.glob(".leadline-*"))
    assert made(inputs, out).skipped == 4
    assert results(out) == results(tmp_path / "whole")


def test_other_settings_are_refused(inputs, tmp_path):
    made(inputs, tmp_path / "out")
    photographs(inputs, ["more.png"])
    before = results(tmp_path / "out")
    with pytest.raises(UsageError, match="other settings \\(size 1024 -> 64\\): choose the same"):
        made(inputs, tmp_path / "out", replace(ORDER, size=64))
    with pytest.raises(UsageError, match="depth.confidence mirror -> none"):
        made(inputs, tmp_path / "out", replace(ORDER, confidence="none"))
    with pytest.raises(UsageError, match="size 1024 -> 64"):
        made(inputs, tmp_path / "out", replace(ORDER, size=64), engine="ray")
    assert results(tmp_path / "out") == before  # the photograph is in no plan


def test_a_network_that_is_not_there_leaves_no_folder(inputs, tmp_path, monkeypatch):
    def missing(order):
        raise WeightsError("no such model")

    monkeypatch.setattr(run, "load", missing)
    with pytest.raises(WeightsError):
        made(inputs, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"depth": None}, "nothing to label with"),
        ({"confidence": "flip"}, "none, mirror or ensemble"),
        ({"depth": None, "classes": "x", "confidence": "mirror"}, "name a model of depth"),
        ({"prompt": "a"}, "name a captioner"),
        ({"size": -1}, "size -1"),
    ],
)
def test_orders_that_make_no_sense_are_refused(options, words):
    with pytest.raises(UsageError, match=words):
        Order(**options)


def test_nothing_to_label_and_impossible_runs_are_refused(inputs, tmp_path, monkeypatch):
    with pytest.raises(UsageError, match="no image in"):
        made(tmp_path / "in" / "none*", tmp_path / "out")
    with tarfile.open(tmp_path / "empty.tar", "w"):
        pass
    with pytest.raises(UsageError, match="no photograph in these archives"):
        made([tmp_path / "empty.tar"], tmp_path / "out")
    with pytest.raises(UsageError, match="plain or ray"):
        made(inputs, tmp_path / "out", engine="spark")
    with pytest.raises(UsageError, match="engine ray has several"):
        made(inputs, tmp_path / "out", workers=3)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match="needs Ray, which is not installed"):
        made(inputs, tmp_path / "out", engine="ray")
    assert not (tmp_path / "out").exists()
    with pytest.raises(DataError, match="has no labels.json"):
        open_set("label-shards", {"path": tmp_path})


def test_a_damaged_shard_is_made_anew(inputs, tmp_path):
    out = tmp_path / "out"
    made(inputs, out)
    before = results(out)
    (out / "shard-000001.tar").write_bytes(b"cut")
    (out / "shard-000002.json").unlink()
    assert made(inputs, out).shards == 2
    assert results(out) == before


@pytest.mark.skipif(sys.platform == "win32", reason="needs fork")
@pytest.mark.parametrize("mode", ["plain", pytest.param("everywhere", marks=pytest.mark.slow)])
def test_a_killed_run_loses_nothing_and_repeats_nothing(inputs, tmp_path, mode):
    """Ten kills at random moments; before every single request to the disk."""
    numbers = ["10", "0"] if mode == "plain" else []
    done = processes.run("label_runs.py", mode, inputs, tmp_path / "out", *numbers, seconds=600)
    assert done.returncode == 0, done.err
    assert int(done.out) >= 1

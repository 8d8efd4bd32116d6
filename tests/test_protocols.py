"""Protocols are data: what they say, how they are changed, what they refuse."""

from __future__ import annotations

import gzip
import hashlib

import pytest

from leadline import protocols
from leadline.data.sets import SETS
from leadline.errors import DocumentError, KindError, UsageError
from leadline.metrics import Pool, depth, normals
from leadline.prediction import Kind
from leadline.protocols import NAMES, choose, load

# the published program's table: nearest and farthest depth, box, resolution of the models
MARIGOLD = {
    "nyuv2": (1e-3, 10, "nyu", 0),
    "kitti": (1e-5, 80, "eigen", 0),
    "eth3d": (1e-5, None, None, 756),
    "scannet": (1e-3, 10, None, 0),
    "hypersim": (1e-5, 65, None, 0),
    "vkitti2": (1e-5, 80, "eigen", 0),
}


@pytest.mark.parametrize("name", NAMES)
def test_every_protocol_is_whole(name):
    protocol = load(name)
    assert protocol.name == name
    for entry, rule in protocol.sets.items():
        assert (rule.data or entry) in SETS
        assert rule.layout is None or rule.layout in SETS[rule.data or entry]
    assert set(protocol.rank) <= set(protocol.metrics)
    assert protocols.load(name).document()["name"] == name


def test_metrics_have_the_names_of_their_functions():
    assert set(protocols.METRICS["depth"]) == set(depth.FORMULAS)
    assert set(protocols.METRICS["normals"]) == set(normals.summary(Pool()))


def test_all_files_are_on_the_list():
    assert sorted(file.stem for file in protocols.HERE.glob("*.yaml")) == sorted(NAMES)


@pytest.mark.parametrize(("data", "facts"), MARIGOLD.items(), ids=list(MARIGOLD))
def test_marigold_measures_as_its_program(data, facts):
    rule = load("marigold").rule(data)
    assert (*rule.range, rule.box, rule.processing_res) == facts
    assert rule == load("marigold-disparity").rule(data)


def test_marigold_takes_diodes_mask_alone_and_clips_to_its_scanner():
    rule = load("marigold").rule("diode")
    assert (rule.range, rule.clip, rule.processing_res) == (None, (0.6, 350), 640)


def test_metric_depth_is_never_aligned_unless_it_is_said():
    for name in ("marigold", "marigold-disparity", "primedepth"):
        with pytest.raises(KindError, match="metric, zoedepth-metric"):
            load(name).spaces(Kind.metric_depth)
    assert load("metric").spaces(Kind.metric_depth)[0] == "none"
    assert load("zoedepth-metric").spaces(Kind.metric_depth) == ("none",)
    asked = load("marigold", ["align.metric_depth=depth"])
    assert asked.spaces(Kind.metric_depth) == ("depth",)


def test_a_disparity_model_is_not_fitted_in_depth_nor_the_other_way_round():
    with pytest.raises(KindError, match="does not score affine_disparity: protocols for it are marigold-d"):
        load("marigold").spaces(Kind.affine_disparity)
    with pytest.raises(
        KindError, match="does not score affine_depth: protocols for it are marigold, primedepth"
    ):
        load("marigold-disparity").spaces(Kind.affine_depth)


def test_primedepth_has_the_papers_five_sets_and_87_scenes():
    protocol = load("primedepth")
    assert {"kitti", "nyuv2", "eth3d", "rabbitai", "nuscenes-c"} < set(protocol.sets)
    listing = protocol.rule("nuscenes-c").list
    counts = {group: len(names) for group, names in listing.groups.items()}
    assert counts == {
        "Day Cloudy": 20, "Day Sunny": 18, "Day Rain": 8, "Night": 19, "Night Dark": 8, "Night Rain": 14,
    }  # fmt: skip
    assert len({name for names in listing.groups.values() for name in names}) == 87
    assert hashlib.sha256(listing.text().encode()).hexdigest() == listing.sha256


@pytest.mark.parametrize("name", NAMES)
def test_lists_are_the_published_ones(name, shared_data):
    files = {
        hashlib.sha256(text).hexdigest(): text
        for text in (gzip.decompress(file.read_bytes()) for file in (shared_data / "splits").glob("*.gz"))
    }
    for rule in load(name).sets.values():
        if rule.list is not None and not rule.list.groups:
            lines = [line for line in files[rule.list.sha256].decode().splitlines() if line.strip()]
            assert len([line for line in lines if " None" not in line]) == rule.list.samples


def test_the_hash_is_of_the_content_and_not_of_the_file(tmp_path):
    other = tmp_path / "same.yaml"
    text = (protocols.HERE / "marigold.yaml").read_text(encoding="utf-8")
    other.write_text("# a comment\n" + text.replace("[1.0e-3, 10]", "[0.001, 10.0]"), encoding="utf-8")
    assert load(other).hash == load("marigold").hash
    other.write_text(text.replace("[1.0e-3, 10]", "[0.001, 10.5]"), encoding="utf-8")
    assert load(other).hash != load("marigold").hash


def test_a_file_may_extend_a_protocol_and_replace_entries(tmp_path):
    mine = tmp_path / "mine.yaml"
    mine.write_text(
        "extends: marigold\nname: mine\nversion: 2\nsets:\n"
        "  nyuv2: {box: null}\n  kitti: null\n  frames: {data: folder, range: [0.1, 5]}\n"
    )
    protocol, marigold = load(mine), load("marigold")
    assert protocol.rule("nyuv2") == marigold.rule("nyuv2").model_copy(update={"box": None})
    assert "kitti" not in protocol.sets
    assert protocol.rule("frames").data == "folder"
    assert protocol.metrics == marigold.metrics


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("extends: marigolds", "did you mean 'marigold'"),
        ("extends: marigold\nsets: {nyuv2: {boxx: nyu}}", "sets.nyuv2.boxx: unknown key, did you mean 'box'"),
        ("extends: marigold\nsets: {nyuv2: {box: nyy}}", "did you mean 'nyu'"),
        ("extends: marigold\nalign: {affine_dept: depth}", "align.affine_dept"),
        ("extends: marigold\nalign: {affine_depth: dept}", "align.affine_depth"),
        ("extends: marigold\nalign: {affine_depth: zero}", "zero is for boundary-recall"),
        ("extends: marigold\nalign: {normals: none}", "normals cannot be measured by depth"),
        (
            "extends: marigold\nsets: {kitchens: folder}",
            r"mine\.yaml: sets\.kitchens: found 'folder', a mapping",
        ),
        ("extends: marigold\nsets: [folder]", r"mine\.yaml: sets: found \['folder'\], a mapping"),
        ("extends: marigold\nmetrics: []", "metrics"),
        ("extends: marigold\nmetrics: [absrell]", "did you mean 'absrel'"),
    ],
)
def test_a_wrong_file_is_named_in_one_line(tmp_path, text, message):
    mine = tmp_path / "mine.yaml"
    mine.write_text(text)
    with pytest.raises((DocumentError, UsageError), match=message) as error:
        load(mine)
    assert "\n" not in str(error.value)


def test_a_file_that_is_extended_lies_beside_the_one_that_does_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lab").mkdir()
    (tmp_path / "lab" / "base.yaml").write_text("extends: marigold\nversion: 7\n")
    (tmp_path / "lab" / "mine.yaml").write_text("extends: base.yaml\nname: mine\n")
    assert load("lab/mine.yaml").version == 7


def test_a_file_without_sets_cannot_be_extended(tmp_path):
    (tmp_path / "base.yaml").write_text("name: base\n")
    (tmp_path / "mine.yaml").write_text("extends: base.yaml\n")
    with pytest.raises(DocumentError, match=r"base\.yaml: sets: found None, a mapping"):
        load(tmp_path / "mine.yaml")


def test_a_protocol_cannot_extend_itself(tmp_path):
    mine = tmp_path / "mine.yaml"
    mine.write_text(f"extends: {mine}\n")
    with pytest.raises(UsageError, match="extends itself"):
        load(mine)


@pytest.mark.parametrize(
    ("kind", "data", "name"),
    [
        (Kind.affine_depth, "nyuv2", "marigold"),
        (Kind.affine_disparity, "nyuv2", "marigold-disparity"),
        (Kind.metric_depth, "kitti", "metric"),
        (Kind.normals, "ibims-normals", "dsine-normals"),
        (Kind.normals, "diode-normals", "marigold-normals"),
        (Kind.affine_disparity, "sintel", "boundary-f1"),
        (Kind.affine_depth, "dis5k", "boundary-recall"),
        (Kind.metric_depth, "da2k", "da2k"),
        (Kind.affine_disparity, "nuscenes-c", "primedepth"),
        (Kind.metric_depth, "ddad", "zoedepth-metric"),
    ],
)
def test_kind_and_data_choose_the_protocol(kind, data, name):
    assert choose(map(load, NAMES), kind, data).name == name


def test_what_no_protocol_can_score_is_named():
    with pytest.raises(KindError, match="does not score normals: protocols for it are dsine"):
        choose([load("marigold")], Kind.normals, "nyuv2")
    with pytest.raises(UsageError, match="no protocol here has data set 'nyuv3': did you mean 'nyuv2'"):
        choose([load("marigold")], Kind.affine_depth, "nyuv3")
    with pytest.raises(UsageError, match="did you mean 'zoedepth-metric'"):
        load("zoedepth-metrc")


def test_resolutions_are_for_the_models_that_the_authors_ran():
    marigold = load("marigold")
    assert marigold.works_at("marigold-e2e-ft-depth", "eth3d") == 756
    assert marigold.works_at("stable-diffusion-e2e-ft-depth", "nyuv2") == 0
    assert marigold.works_at("small", "nyuv2") is None
    assert load("marigold-disparity").works_at("depth-anything-v2-large", "nyuv2") is None

"""Every protocol on every set that it has: opened as it asks, cut, perfect predictions score perfectly."""

from __future__ import annotations

import hashlib
from pathlib import Path

import measured
import numpy as np
import pytest
import trees

from leadline import protocols
from leadline.data.sets import SETS
from leadline.errors import DataError, UsageError
from leadline.evaluate import Source, views
from leadline.evaluate.figures import higher_is_better
from leadline.evaluate.score import score
from leadline.evaluate.sources import Opener
from leadline.prediction import Kind
from leadline.protocols import Rule, load

CASES = [
    (name, data)
    for name in protocols.NAMES
    for data in load(name).sets
    if data not in ("scenes", "manifest", "folder")  # no files, or of any form
]
SIZES = {"kitti": (375, 1242), "nyu": (480, 640), "nyu-pixels": (480, 640)}


def size_for(rule: Rule) -> tuple[int, int]:
    return SIZES.get(rule.crop or "") or SIZES.get(rule.box or "") or (24, 32)


def truth(data: str, size: tuple[int, int]) -> np.ndarray:
    """A square before a slope, where depth is asked for."""
    made = trees.truth_for(data, size)
    if trees.kind_of(data) == "pairs":
        return made
    rows, columns = (np.arange(side) / side for side in size)
    square = ((abs(rows - 0.5) < 0.2)[:, None] & (abs(columns - 0.5) < 0.2)[None]).astype(bool)
    if trees.kind_of(data) == "matte":
        return square
    if trees.kind_of(data) == "normals":
        return made
    return np.where(square, 1.5, 4 + 2 * rows[:, None]).astype(np.float32)


def written(folder: Path, data: str, rule: Rule) -> Source:
    """The data set's files below a folder."""
    name = {"nuscenes-c": "nuscenes"}.get(data, data)
    size = size_for(rule)
    layouts = [rule.layout, *SETS[data]]
    write = next(trees.TREES[key] for layout in (*layouts, "scans") if (key := (name, layout)) in trees.TREES)
    write(folder / "data", trees.colours(size), truth(data, size))
    if data != "nuscenes-c":
        return Source(data, folder / "data")
    (folder / "scenes.csv").write_text("category,scene_name\nNight Rain,scene-0062\n")
    return Source(data, folder / "data", folder / "scenes.csv")


@pytest.mark.parametrize(("name", "data"), CASES)
def test_a_perfect_prediction_of_every_set_scores_perfectly(name, data, tmp_path):
    protocol = load(name)
    rule = protocol.rule(data)
    opened = Opener(tmp_path)(written(tmp_path, data, rule), rule)
    sample = views.cut(opened.listed[0], rule)
    assert sample.size == (rule.resize or ((352, 1216) if rule.crop else size_for(rule)))
    for kind in protocol.align:
        values = perfect(sample, kind)
        found = score([measured.predicted(values, kind)], sample, protocol, rule).values
        for figure in protocol.rank:
            best = {"within11.25": 100}.get(figure, 1) if higher_is_better(figure) else 0
            assert found[figure] == pytest.approx(best, abs=0.02), (kind, figure)
    assert opened.published in (None, False)


def perfect(sample, kind: Kind) -> np.ndarray:
    if kind is Kind.normals:
        return sample.normals
    if sample.matte is not None:
        depth = np.where(sample.matte, 1.0, 8.0)
    elif sample.pairs is not None:
        depth = np.full(sample.size, 5.0)
        for (near_row, near_column), (far_row, far_column) in sample.pairs:
            depth[near_row, near_column], depth[far_row, far_column] = 1, 9
    else:
        depth = np.where(sample.valid, sample.depth_m, 5)
    return measured.as_kind(depth, kind)


def test_categories_of_nuscenes_come_with_its_scenes(tmp_path):
    rule = load("primedepth").rule("nuscenes-c")
    opened = Opener(tmp_path)(written(tmp_path, "nuscenes-c", rule), rule)
    assert opened.listed[0].group == "Night Rain"


def test_the_papers_own_table_is_the_list_where_none_is_given(tmp_path):
    rule = load("primedepth").rule("nuscenes-c")
    place = written(tmp_path, "nuscenes-c", rule)
    with pytest.raises(DataError, match="its tables have no 'scene-"):  # the tree holds one scene of the 87
        Opener(tmp_path / "run")(Source("nuscenes-c", place.path), rule)
    assert len((tmp_path / "run" / "lists" / "nuscenes-c.csv").read_text().splitlines()) == 88


class TestLists:
    """A list is found by its content, then by its name."""

    @pytest.fixture
    def place(self, tmp_path):
        return written(tmp_path, "scannet", load("marigold").rule("scannet")).path

    def rule(self, sha256: str) -> Rule:
        rule = load("marigold").rule("scannet")
        return rule.model_copy(update={"list": rule.list.model_copy(update={"sha256": sha256})})

    def test_the_published_one_is_known_by_its_content(self, place, tmp_path):
        text = "scene0406_02/color/000300.jpg scene0406_02/depth/000300.png\n"
        lists = tmp_path / "lists"
        (lists / "deep").mkdir(parents=True)
        (lists / "other.txt").write_text("something else\n")
        (lists / "deep" / "renamed.txt").write_text(text)
        rule = self.rule(hashlib.sha256(text.encode()).hexdigest())
        opened = Opener(tmp_path / "run")(Source("scannet", place, lists), rule)
        assert opened.published is True
        assert opened.facts()["list"] == "renamed.txt"
        assert ", the published one" in str(opened)

    def test_another_of_its_name_is_taken_and_said_to_be_another(self, place, tmp_path):
        lists = tmp_path / "lists"
        lists.mkdir()
        row = "scene0406_02/color/000300.jpg scene0406_02/depth/000300.png\n"
        (lists / "scannet_val_sampled_list_800_1.txt").write_text(row)
        opened = Opener(tmp_path / "run")(Source("scannet", place, lists), self.rule("0" * 64))
        assert opened.published is False
        assert "not the published one" in str(opened)

    def test_none_is_a_mistake_if_lists_were_given(self, place, tmp_path):
        with pytest.raises(UsageError, match="no file is the list of scannet"):
            Opener(tmp_path / "run")(Source("scannet", place, tmp_path), self.rule("0" * 64))

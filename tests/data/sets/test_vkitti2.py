"""Virtual KITTI 2: what E2E-FT trains on, and normals computed beforehand."""

from __future__ import annotations

import numpy as np
import pytest
import trees

from leadline.data.sets import open_set, vkitti2
from leadline.errors import DataError


def test_papers_train_on_parts_of_their_own(tmp_path):
    """Marigold on six variations of four scenes, E2E-FT on five others of all, fog and rain among them."""
    names = trees.TREES["vkitti2", "native"](tmp_path, trees.colours(), trees.truth_for("vkitti2"))
    assert names.rgb.startswith("Scene01/clone/")
    for place in (
        "Scene01/fog/",
        "Scene02/15-deg-left/",
        "Scene02/rain/",
        "Scene06/clone/",
        "Scene20/sunset/",
    ):
        for file in (names.rgb, names.map):
            trees.put(tmp_path, file.replace("Scene01/clone/", place), (tmp_path / file).read_bytes())

    def places(part: str) -> list[str]:
        return ["/".join(row.split("/")[:2]) for _, row in open_set("vkitti2", tmp_path, part=part).rows]

    assert places("e2e-ft") == ["Scene01/fog", "Scene02/rain", "Scene20/sunset"]
    assert places("marigold") == ["Scene02/15-deg-left", "Scene06/clone", "Scene20/sunset"]
    assert places("marigold-val") == ["Scene01/clone"]
    assert len(open_set("vkitti2", tmp_path)) == 6
    without = open_set("vkitti2", tmp_path, exclude=["*/fog/*", "*/rain/*"])
    assert len(without) == 4
    assert without.name_of(0) == names.rgb
    with pytest.raises(DataError, match="part 'marigolds' is unknown: did you mean 'marigold'"):
        open_set("vkitti2", tmp_path, part="marigolds")


def test_the_parts_are_those_of_the_published_lists():
    """Of the whole data set, by its numbers of frames: 20,148, 5,364 and 21,260 pictures."""
    frames = {"Scene01": 447, "Scene02": 233, "Scene06": 270, "Scene18": 339, "Scene20": 837}
    angles = [f"{angle}-deg-{side}" for angle in (15, 30) for side in ("left", "right")]
    weather = [*angles, "clone", "fog", "morning", "overcast", "rain", "sunset"]
    names = [
        (f"{scene}/{variation}/frames/rgb/Camera_0/rgb_00000.jpg", 2 * count)
        for scene, count in frames.items()
        for variation in weather
    ]
    parts = (vkitti2.marigold, vkitti2.marigold_val, vkitti2.e2e_ft)
    found = [sum(count for name, count in names if wanted(name)) for wanted in parts]
    assert found == [20148, 5364, 21260]


def test_virtual_kittis_computed_normals_lie_beside(tmp_path):
    names = trees.TREES["vkitti2", "native"](tmp_path, trees.colours(), trees.truth_for("vkitti2"))
    wanted = trees.truth_for("vkitti-normals")
    counts = trees.encoded(wanted * trees.E2E, 65535).astype(np.uint16)
    file = (
        names.rgb.replace("frames/rgb", "frames/normal").replace("/rgb_", "/normal_").replace(".jpg", ".png")
    )
    trees.png16_rgb(tmp_path, f"vkitti_DAG_normals/{file}", counts)
    sample = open_set("vkitti2", tmp_path)[0]
    np.testing.assert_allclose(sample.normals, wanted, atol=1e-4)

"""leadline.scenes.analytic: the renderer against closed forms in float64."""

import numpy as np
import pytest

from leadline.errors import UsageError
from leadline.scenes import analytic


@pytest.mark.parametrize("name", analytic.NAMES)
@pytest.mark.parametrize("size", [(96, 128), (65, 40)])
def test_depth_normals_and_camera_agree_with_closed_forms(name: str, size: tuple[int, int]) -> None:
    made, truth = analytic.scene(name, size), analytic.exact(name, size)
    depth, finite = made.depth[0].numpy(), np.isfinite(truth.depth)
    assert made.camera == truth.camera
    assert np.array_equal(np.isfinite(depth), finite)
    assert finite.mean() > 0.4
    assert np.abs(depth[finite] / truth.depth[finite] - 1).max() < 1e-4
    assert np.abs(made.normals.permute(1, 2, 0).numpy() - truth.normals)[finite].max() < 1e-4


def test_the_closed_forms_lie_on_their_surfaces() -> None:
    """The formulas themselves: points of the sphere are at its radius, of the ground at its height."""
    truth = analytic.exact("sphere", (60, 80))
    points = truth.depth[..., None] * truth.camera.rays().astype(np.float64)
    slope = np.array([[1, 0, 0], [0, np.cos(0.2), np.sin(0.2)], [0, -np.sin(0.2), np.cos(0.2)]])
    world = points @ slope.T + [0, -analytic.HEIGHT, 0]
    distance = np.linalg.norm(world - analytic.SPHERE, axis=-1)
    on_sphere = distance < analytic.RADIUS + 1e-3
    on_wall = (
        np.minimum(np.abs(world[..., 0] - analytic.WALL_X), np.abs(world[..., 2] - analytic.WALL_Z)) < 1e-3
    )
    on_floor = np.abs(world[..., 1]) < 1e-3
    assert on_sphere.sum() > 200
    assert (on_sphere | on_wall | on_floor).all()


def test_an_unknown_scene_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'sphere'"):
        analytic.scene("spere")

import io
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from PIL import Image, ImageOps

from leadline.camera import (
    FILM_DIAGONAL_MM,
    NORMAL_FRAMES,
    Camera,
    convert_normals,
    ray_to_z,
    z_to_ray,
)
from leadline.errors import CameraError, LeadlineError, ShapeError, UsageError

WIDTH, HEIGHT = 40, 30
CAMERA = Camera(31.0, 33.0, 19.0, 16.5, WIDTH, HEIGHT)  # neither square pixels nor a centred axis
sides = st.integers(1, 90)
steps = st.one_of(
    st.tuples(st.just("resized"), st.tuples(sides, sides)),
    st.tuples(st.just("cropped"), st.tuples(st.integers(-5, 9), st.integers(-5, 9), sides, sides)),
    st.tuples(st.just("padded"), st.tuples(*[st.integers(0, 9)] * 4)),
    st.tuples(st.just("flipped"), st.just(())),
    st.tuples(st.just("rotated"), st.tuples(st.integers(1, 8))),
)


def moved(pixels, points, step, arguments, camera):
    """What a step does to pixels [N,2] and to the world [N,3], written without the camera's own methods."""
    u, v = pixels.T
    x, y, z = points.T
    w, h = camera.width, camera.height
    if step == "resized":
        return np.stack([u * arguments[0] / w, v * arguments[1] / h], 1), points
    if step in ("cropped", "padded"):
        sign = 1 if step == "cropped" else -1
        return np.stack([u - sign * arguments[0], v - sign * arguments[1]], 1), points
    corner, world = {
        1: ((u, v), (x, y)),
        2: ((w - u, v), (-x, y)),
        3: ((w - u, h - v), (-x, -y)),
        4: ((u, h - v), (x, -y)),
        5: ((v, u), (y, x)),
        6: ((h - v, u), (-y, x)),
        7: ((h - v, w - u), (-y, -x)),
        8: ((v, w - u), (y, -x)),
    }[arguments[0] if arguments else 2]
    return np.stack(corner, 1), np.stack([*world, z], 1)


@settings(max_examples=200, deadline=None)
@given(st.lists(steps, max_size=6))
def test_points_stay_on_their_pixels_through_any_chain(chain):
    rng = np.random.default_rng(0)
    points = rng.uniform((-2, -2, 1), (2, 2, 9), (20, 3))
    camera, pixels = CAMERA, CAMERA.project(points)
    for step, arguments in chain:
        pixels, points = moved(pixels, points, step, arguments, camera)
        camera = getattr(camera, step)(*arguments)
    assert_allclose(camera.project(points), pixels, atol=1e-6 * max(camera.width, camera.height))
    assert_allclose(camera.unproject(points[:, 2], pixels), points, atol=1e-6)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_turns_the_camera_as_it_turns_the_picture(orientation):
    image = Image.new("L", (WIDTH, HEIGHT))
    image.putpixel((5, 9), 255)
    image.getexif()[0x0112] = orientation
    upright = np.asarray(ImageOps.exif_transpose(image))
    row, column = np.argwhere(upright == 255)[0]
    camera = CAMERA.rotated(orientation)
    assert (camera.height, camera.width) == upright.shape
    pixel, _ = moved(np.array([[5.5, 9.5]]), np.zeros((1, 3)), "rotated", (orientation,), CAMERA)
    assert_allclose(pixel[0], (column + 0.5, row + 0.5))
    ray = np.abs(CAMERA.unproject(np.ones(1), np.array([[5.5, 9.5]])))[0, :2]
    turned = np.abs(camera.unproject(np.ones(1), pixel))[0, :2]
    assert_allclose(turned, ray[::-1] if orientation >= 5 else ray)


@pytest.mark.parametrize("orientation", [0, 9, None, "6"])
def test_unknown_orientations_are_refused(orientation):
    with pytest.raises(CameraError, match="1 to 8"):
        CAMERA.rotated(orientation)


@pytest.mark.parametrize("size", [(20, 15), (80, 60), (61, 47)])
def test_resizing_keeps_rays_where_the_resized_picture_has_them(size):
    rays = CAMERA.rays()
    resized = CAMERA.resized(*size).rays()
    for axis in (
        0,
        1,
    ):  # slopes are linear in the pixel, so that a bilinear filter keeps them, but for the border
        picture = Image.fromarray(rays[..., axis]).resize(size, Image.Resampling.BILINEAR)
        assert_allclose(np.asarray(picture)[3:-3, 3:-3], resized[3:-3, 3:-3, axis], atol=1e-5)


def test_rays_go_through_pixel_centres():
    camera = Camera(2, 4, 1, 1, 2, 2)
    assert camera.rays().tolist() == [
        [[-0.25, -0.125, 1], [0.25, -0.125, 1]],
        [[-0.25, 0.125, 1], [0.25, 0.125, 1]],
    ]
    assert camera.rays().dtype == np.float32


def test_unprojected_depth_map_projects_to_pixel_centres():
    depth = np.random.default_rng(1).uniform(1, 9, (HEIGHT, WIDTH))
    pixels = CAMERA.project(CAMERA.unproject(depth))
    v, u = np.mgrid[0:HEIGHT, 0:WIDTH] + 0.5
    assert_allclose(pixels, np.stack([u, v], -1), atol=1e-4)


def test_points_that_are_not_in_front_have_no_pixel():
    pixels = CAMERA.project(np.array([[1.0, 1, 1], [1, 1, 0], [1, 1, -2]]))
    assert np.isnan(pixels).tolist() == [[False, False], [True, True], [True, True]]


def test_depth_of_another_size_is_refused():
    with pytest.raises(ShapeError, match="H = 30, W = 40"):
        CAMERA.unproject(np.ones((WIDTH, HEIGHT)))
    with pytest.raises(ShapeError):
        ray_to_z(np.ones((HEIGHT, 1)), CAMERA)


def test_distance_and_depth_convert_back_and_agree_with_points():
    depth = np.random.default_rng(2).uniform(1, 9, (HEIGHT, WIDTH))
    distance = z_to_ray(depth, CAMERA)
    assert_allclose(distance, np.linalg.norm(CAMERA.unproject(depth), axis=-1), rtol=1e-5)
    assert_allclose(ray_to_z(distance, CAMERA), depth, rtol=1e-6)
    assert (distance >= depth).all()


# --- made from what users have ---


def test_integer_centres_are_moved_by_half_a_pixel():
    K = [[500, 0, 319.5], [0, 510, 239.5], [0, 0, 1]]
    camera = Camera.from_K(K, 640, 480, centres="integer")
    assert (camera.fx, camera.fy, camera.cx, camera.cy) == (500, 510, 320, 240)
    assert Camera.from_K(K, 640, 480).cx == 319.5
    assert_allclose(Camera.from_K(camera.K, 640, 480).K, camera.K)


@pytest.mark.parametrize(
    "K",
    [
        [[500, 9, 320], [0, 500, 240], [0, 0, 1]],
        [[500, 0, 320], [0, 500, 240], [0, 0, 2]],
        [[500, 0, 0], [0, 500, 0], [320, 240, 1]],
        [[-500, 0, 320], [0, 500, 240], [0, 0, 1]],
        [[500, 0, np.nan], [0, 500, 240], [0, 0, 1]],
        np.eye(4),
        [500, 500, 320, 240],
    ],
)
def test_matrices_that_are_no_pinhole_are_refused(K):
    with pytest.raises(LeadlineError):
        Camera.from_K(K, 640, 480)


def test_normalised_matrices_are_refused_with_a_hint():
    with pytest.raises(CameraError, match="divided by the image's size"):
        Camera.from_K([[0.8, 0, 0.5], [0, 1.1, 0.5], [0, 0, 1]], 640, 480)


@pytest.mark.parametrize(("side", "index"), [("horizontal", 0), ("vertical", 1)])
@pytest.mark.parametrize("angle", [5, 40, 90, 169])
def test_fields_of_view_come_back(side, index, angle):
    assert Camera.from_fov(1000, 1000, **{side: angle}).fov[index] == pytest.approx(angle)


def test_the_diagonal_field_of_view_spans_the_corners():
    camera = Camera.from_fov(30, 40, diagonal=90)
    assert camera.fx == camera.fy == pytest.approx(25)


@pytest.mark.parametrize(
    ("make", "hint"),
    [
        (lambda: Camera.from_fov(640, 480, horizontal=4.9), "focal length"),
        (lambda: Camera.from_fov(640, 480, vertical=171), "5 to 170"),
        (lambda: Camera.from_fov(640, 480, horizontal=1.2), "radians"),
        (lambda: Camera.from_fov(640, 480, horizontal=-30), "5 to 170"),
        (lambda: Camera.from_focal_px(4.2, 4000, 3000), "millimetres.*from_focal_mm"),
        (lambda: Camera.from_focal_px(24, 4000, 3000), "millimetres.*from_focal_mm"),
        (lambda: Camera.from_focal_px(40000, 640, 480), "larger image.*resized"),
        (lambda: Camera.from_focal_mm(0.05, 36, 640, 480), "5 to 170"),
        (lambda: Camera.from_focal_mm(50, 0, 640, 480), "sensor width"),
        (lambda: Camera.from_focal_px(0, 640, 480), "positive"),
        (lambda: Camera.from_focal_px(float("nan"), 640, 480), "finite"),
        (lambda: Camera(500, 500, 320, 240, 0, 480), "0x480"),
    ],
)
def test_odd_numbers_are_refused_with_a_hint(make, hint):
    with pytest.raises(CameraError, match=hint):
        make()


@pytest.mark.parametrize("angles", [{}, {"horizontal": 60, "vertical": 40}])
def test_exactly_one_field_of_view_is_needed(angles):
    with pytest.raises(UsageError, match="one of horizontal, vertical, diagonal"):
        Camera.from_fov(640, 480, **angles)


def test_unknown_centres_are_refused():
    with pytest.raises(UsageError, match="'corner'"):
        Camera.from_K(CAMERA.K, WIDTH, HEIGHT, centres="corner")


def test_crops_may_see_less_than_any_lens():
    assert max(CAMERA.cropped(20, 15, 1, 1).fov) < 5


def photograph(f35):
    image = Image.new("RGB", (60, 40))
    if f35 is not None:
        image.getexif().get_ifd(0x8769)[0xA405] = f35
    file = io.BytesIO()
    image.save(file, "JPEG", exif=image.getexif())
    return Image.open(io.BytesIO(file.getvalue()))


def test_exif_focal_length_is_by_the_diagonal():
    camera = Camera.from_exif(photograph(28), 4000, 3000)
    assert (
        camera.fx == camera.fy == pytest.approx(28 * math.sqrt(4000**2 + 3000**2) / math.sqrt(36**2 + 24**2))
    )
    assert (camera.cx, camera.cy) == (2000, 1500)
    assert Camera.from_exif(photograph(28).getexif(), 3000, 4000).fx == camera.fx


@pytest.mark.parametrize("f35", [None, 0, 65535])
def test_absent_or_impossible_exif_is_no_camera(f35):
    assert Camera.from_exif(photograph(f35), 4000, 3000) is None


@pytest.mark.parametrize("value", ["28 mm", b"\xff", (1, 2), None, float("nan")])
def test_nonsense_in_exif_is_no_camera(value):
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0xA405] = value
    assert Camera.from_exif(exif, 4000, 3000) is None


# --- frames of normals ---


@pytest.mark.parametrize("a", NORMAL_FRAMES)
@pytest.mark.parametrize("b", NORMAL_FRAMES)
def test_frames_convert_there_and_back(a, b):
    normals = np.random.default_rng(3).normal(size=(4, 5, 3)).astype(np.float32)
    there = convert_normals(normals, a, b)
    assert there.dtype == np.float32
    assert np.array_equal(convert_normals(there, b, a), normals)


@pytest.mark.parametrize(
    ("frame", "facing", "floor", "wall_on_the_left"),
    [
        ("opencv", (0, 0, -1), (0, -1, 0), (1, 0, 0)),
        ("opengl", (0, 0, 1), (0, 1, 0), (1, 0, 0)),
        ("e2e_ft", (0, 0, 1), (0, 1, 0), (-1, 0, 0)),
    ],
)
def test_walls_and_floors_point_where_each_frame_says(frame, facing, floor, wall_on_the_left):
    in_opencv = np.array([(0, 0, -1.0), (0, -1, 0), (1, 0, 0)])
    assert_allclose(convert_normals(in_opencv, "opencv", frame), [facing, floor, wall_on_the_left])


def test_unknown_frames_are_refused():
    with pytest.raises(UsageError, match="did you mean 'opencv'"):
        convert_normals(np.zeros(3), "opencw", "opengl")
    with pytest.raises(UsageError, match="known are"):
        convert_normals(np.zeros(3), "opengl", "blender")


def test_metricgolds_cameras_match_reference(golden):
    g = golden("metricgold/canonical_camera")
    fx, fy, cx, cy = g.intrinsics_f64.tolist()
    camera = Camera(fx, fy, cx, cy, 1242, 375)
    assert_allclose(camera.fov, (g.hfov_deg_f64.item(), g.vfov_deg_f64.item()), atol=0.2)  # theirs is centred
    centred = replace(camera, cx=1242 / 2, cy=375 / 2)
    assert_allclose(centred.fov, (g.hfov_deg_f64.item(), g.vfov_deg_f64.item()), rtol=1e-9)
    for f35, (w, h), f in zip(g.f35_mm_f64.tolist(), g.f35_wh.tolist(), g.f35_px_f64.tolist(), strict=True):
        assert math.isclose(f35 * math.hypot(w, h) / FILM_DIAGONAL_MM, f, rel_tol=1e-9)
    for angle, width, f in zip(g.fov_to_f_deg_f64, g.fov_to_f_width, g.fov_to_f_px_f64, strict=True):
        made = Camera.from_fov(int(width), 400, horizontal=angle.item())
        assert math.isclose(made.fx, f.item(), rel_tol=1e-9)
    # a label scaled by the focal length belongs to the camera of that focal length
    assert_allclose(g.depth_f64 * g.label_ratio_f64, g.depth_canonical_label_f64, rtol=1e-9)
    assert_allclose(g.intrinsics_canonical_label_f64, [g.f_canonical_f64.item()] * 2 + [cx, cy], rtol=1e-9)


def test_a_resize_scales_the_camera_and_padding_moves_its_centre_as_stored(golden):
    g = golden("metricgold/canonical_camera")
    fx, fy, cx, cy = g.intrinsics_f64.tolist()
    scale = g.resize_scale_f64.item()
    (h, w), (top, bottom, left, right) = g.resized_hw.tolist(), g.pad_top_bottom_left_right.tolist()
    resized = Camera(fx * scale, fy * scale, cx * scale, cy * scale, w, h)
    assert_allclose([resized.fx, resized.fy, resized.cx, resized.cy], g.intrinsics_resized_f64, rtol=1e-9)
    ours = Camera(fx, fy, cx, cy, 1242, 375).resized(w, h)  # sides are rounded: each has its own factor
    assert_allclose([ours.fx, ours.cx], g.intrinsics_resized_f64[[0, 2]], rtol=1e-3)
    padded = resized.padded(left, top, right, bottom)
    assert_allclose([padded.fx, padded.fy, padded.cx, padded.cy], g.intrinsics_resized_padded_f64, rtol=1e-9)
    assert (padded.height, padded.width) == tuple(g.net_hw.tolist())


def test_points_and_planar_depths_match_reference(golden):
    g = golden("metricgold/canonical_camera")
    fx, fy, cx, cy = g.K_small_f64.tolist()
    camera = Camera(fx, fy, cx + 0.5, cy + 0.5, 20, 12)  # theirs counts pixel centres as integers
    assert_allclose(camera.unproject(g.depth_f64.numpy()), g.points_f64, rtol=1e-6, atol=1e-6)
    distance = g.hs_distance_f64.numpy()
    view = Camera.from_focal_px(g.hs_focal_f64.item(), distance.shape[1], distance.shape[0])
    assert_allclose(ray_to_z(distance, view), g.hs_depth_f64, rtol=1e-6)

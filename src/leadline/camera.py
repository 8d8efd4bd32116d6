"""Pinhole cameras, rays and points, and the frames of surface normals.

Frame: OpenCV, x right, y down, z forward. Pixels: the image spans [0, width] x [0, height], so that the first
pixel's centre lies at (0.5, 0.5), the image's centre at (width / 2, height / 2), and a flip is `width - cx`.
Files that count pixel centres as integers are converted at the border: `from_K(..., centres="integer")`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from leadline.errors import CameraError, UsageError, check_shape, did_you_mean

if TYPE_CHECKING:
    from PIL import Image

NARROWEST, WIDEST = 5.0, 170.0  # degrees; outside, the unit of the focal length is the likelier explanation
FILM_DIAGONAL_MM = math.hypot(36, 24)
ASSUMED_FOV = 60.0  # degrees across a picture whose camera nobody knows
FloatArray = NDArray[np.floating[Any]]
EXIF_IFD, FOCAL_LENGTH_35MM = 0x8769, 0xA405


@dataclass(frozen=True)
class Camera:
    """Intrinsics in pixels of the one image they belong to. A changed image needs the changed camera.

    Raises CameraError for sizes or focal lengths that are not positive, and for numbers that are not finite.

    >>> camera = Camera.from_fov(640, 480, horizontal=90)
    >>> round(camera.fx, 6), camera.cx, camera.cy
    (320.0, 320.0, 240.0)
    >>> camera.resized(320, 240).cropped(10, 0, 300, 240).cx
    150.0
    """

    fx: float
    fy: float
    cx: float
    cy: float
    width: int
    height: int

    def __post_init__(self) -> None:
        if not all(math.isfinite(number) for number in (self.fx, self.fy, self.cx, self.cy)):
            raise CameraError(f"camera holds a number that is not finite: {self}")
        if self.fx <= 0 or self.fy <= 0:
            raise CameraError(f"focal lengths are {self.fx:g} and {self.fy:g} px, positive ones are needed")
        if self.width < 1 or self.height < 1:
            raise CameraError(f"image size is {self.width}x{self.height}, at least 1x1 is needed")

    # --- made from what users have ---

    @classmethod
    def from_K(cls, K: Any, width: int, height: int, centres: Literal["half", "integer"] = "half") -> Camera:
        """From a 3x3 matrix [[fx,0,cx],[0,fy,cy],[0,0,1]] in pixels.

        `centres` says where the file's first pixel centre lies: "half" at 0.5 (COLMAP), "integer" at 0
        (OpenCV and most data sets), which adds 0.5 to cx and cy. Raises CameraError for a skewed, normalised
        or otherwise odd matrix.
        """
        matrix = np.asarray(K, dtype=float)
        check_shape(matrix, "3 3", "K")
        fx, fy = matrix[0, 0], matrix[1, 1]
        if abs(matrix[0, 1]) > 1e-3 * abs(fx) or not np.allclose(
            matrix[[1, 2, 2, 2], [0, 0, 1, 2]], [0, 0, 0, 1]
        ):
            raise CameraError(f"K is {matrix.tolist()}, a matrix [[fx,0,cx],[0,fy,cy],[0,0,1]] is needed")
        if max(matrix[0, 2], matrix[1, 2]) <= 1 < min(width, height):
            raise CameraError("K is divided by the image's size: multiply its rows by width and height first")
        half = {"half": 0.0, "integer": 0.5}.get(centres)
        if half is None:
            raise UsageError(f"centres is {centres!r}, 'half' or 'integer' is needed")
        camera = cls(
            float(fx), float(fy), float(matrix[0, 2]) + half, float(matrix[1, 2]) + half, width, height
        )
        return _plausible(camera)

    @classmethod
    def from_fov(
        cls,
        width: int,
        height: int,
        *,
        horizontal: float | None = None,
        vertical: float | None = None,
        diagonal: float | None = None,
    ) -> Camera:
        """From exactly one field of view in degrees; square pixels, axis through the image's centre."""
        given = [
            (angle, extent)
            for angle, extent in (
                (horizontal, width),
                (vertical, height),
                (diagonal, math.hypot(width, height)),
            )
            if angle is not None
        ]
        if len(given) != 1:
            raise UsageError(
                f"{len(given)} fields of view are given, one of horizontal, vertical, diagonal is needed"
            )
        angle, extent = given[0]
        if not NARROWEST <= angle <= WIDEST:
            hint = "given in radians?" if 0 < angle < math.pi else "is it a focal length?"
            raise CameraError(f"field of view is {angle:g}, 5 to 170 degrees are possible: {hint}")
        return cls.from_focal_px(extent / 2 / math.tan(math.radians(angle) / 2), width, height)

    @classmethod
    def from_focal_px(cls, f: float, width: int, height: int) -> Camera:
        """From a focal length in pixels of this image; square pixels, axis through its centre."""
        return _plausible(cls(float(f), float(f), width / 2, height / 2, width, height))

    @classmethod
    def from_focal_mm(cls, mm: float, sensor_width_mm: float, width: int, height: int) -> Camera:
        """From a lens in millimetres and the sensor's width (36 for "full frame" and 35 mm equivalents).

        >>> Camera.from_focal_mm(18, sensor_width_mm=36, width=640, height=480).fx
        320.0
        """
        if not sensor_width_mm > 0:
            raise CameraError(f"sensor width is {sensor_width_mm:g} mm, a positive width is needed")
        return cls.from_focal_px(mm / sensor_width_mm * width, width, height)

    @classmethod
    def from_exif(cls, exif: Image.Exif | Image.Image, width: int, height: int) -> Camera | None:
        """From the 35 mm equivalent focal length of a photograph's EXIF block; uncertain by some per cent.

        f = f35 * sqrt(W^2 + H^2) / sqrt(36^2 + 24^2): the equivalence is by the diagonal, so a turned image
        has the same f. None if the tag is absent, 0 (which means unknown) or implausible.
        """
        block: Any = exif.getexif() if hasattr(exif, "getexif") else exif
        try:
            f35 = float(block.get_ifd(EXIF_IFD).get(FOCAL_LENGTH_35MM, 0))
            return cls.from_focal_px(f35 * math.hypot(width, height) / FILM_DIAGONAL_MM, width, height)
        except (CameraError, TypeError, ValueError, ZeroDivisionError):  # EXIF blocks hold anything
            return None

    # --- what it says ---

    @property
    def K(self) -> FloatArray:
        """The matrix [3,3], float64, pixel centres at +0.5."""
        return np.array([[self.fx, 0, self.cx], [0, self.fy, self.cy], [0, 0, 1]])

    @property
    def fov(self) -> tuple[float, float]:
        """Horizontal and vertical field of view in degrees."""
        return _angle(self.fx, self.cx, self.width), _angle(self.fy, self.cy, self.height)

    # --- together with the image ---

    def resized(self, width: int, height: int) -> Camera:
        """The camera of this image scaled to another size, each side by its own factor."""
        x, y = width / self.width, height / self.height
        return Camera(self.fx * x, self.fy * y, self.cx * x, self.cy * y, width, height)

    def cropped(self, left: int, top: int, width: int, height: int) -> Camera:
        """The camera of the window of `width` x `height` pixels whose first pixel is (left, top)."""
        return replace(self, cx=self.cx - left, cy=self.cy - top, width=width, height=height)

    def padded(self, left: int, top: int, right: int, bottom: int) -> Camera:
        """The camera of this image with so many pixels added at each side."""
        return self.cropped(-left, -top, self.width + left + right, self.height + top + bottom)

    def flipped(self) -> Camera:
        """The camera of the image mirrored left to right (which shows the mirrored world)."""
        return replace(self, cx=self.width - self.cx)

    def rotated(self, orientation: int) -> Camera:
        """The camera after an image stored with this EXIF orientation (1-8) was set upright.

        Orientations 2, 4, 5 and 7 mirror the image, and with it the world.
        """
        if orientation not in range(1, 9):
            raise CameraError(f"EXIF orientation is {orientation!r}, 1 to 8 are possible")
        camera = self._transposed() if orientation >= 5 else self
        camera = camera.flipped() if orientation in (2, 3, 6, 7) else camera
        return camera._upended() if orientation in (3, 4, 7, 8) else camera

    def _transposed(self) -> Camera:
        return Camera(self.fy, self.fx, self.cy, self.cx, self.height, self.width)

    def _upended(self) -> Camera:
        return replace(self, cy=self.height - self.cy)

    # --- rays and points ---

    def rays(self) -> FloatArray:
        """Directions (x/z, y/z, 1) through all pixel centres, float32 [H,W,3]. Times depth: points."""
        x = (np.arange(self.width) + 0.5 - self.cx) / self.fx  # [W]
        y = (np.arange(self.height) + 0.5 - self.cy) / self.fy  # [H]
        grid_x, grid_y = np.meshgrid(x, y)  # [H,W] each
        return np.stack([grid_x, grid_y, np.ones_like(grid_x)], axis=-1).astype(np.float32)

    def project(self, points: FloatArray) -> FloatArray:
        """Points [...,3] in the camera's frame -> pixels [...,2]; NaN for points not in front (z <= 0).

        >>> Camera(100, 100, 50, 40, 100, 80).project(np.array([0.1, 0.2, 1.0]))
        array([60., 60.])
        """
        check_shape(points, "... 3", "points")
        points = np.asarray(points)
        z = np.where(points[..., 2:] > 0, points[..., 2:], np.nan)  # [...,1]
        pixels: FloatArray = points[..., :2] / z * (self.fx, self.fy) + (self.cx, self.cy)
        return pixels

    def unproject(self, depth: FloatArray, pixels: FloatArray | None = None) -> FloatArray:
        """Depth along the optical axis -> points [...,3] in the camera's frame, in the unit of the depth.

        Without `pixels`, depth [H,W] covers the image; with pixels [...,2], depth is [...].
        Raises ShapeError if the depth map has another size than the camera.
        """
        depth = np.asarray(depth)
        if pixels is None:
            check_shape(depth, "H W", "depth", H=self.height, W=self.width)
            return self.rays() * depth[..., None]
        check_shape(pixels, "... 2", "pixels")
        slopes = (np.asarray(pixels) - (self.cx, self.cy)) / (self.fx, self.fy)  # [...,2]
        return np.concatenate([slopes, np.ones_like(slopes[..., :1])], axis=-1) * depth[..., None]


def ray_to_z(distance: FloatArray, camera: Camera) -> FloatArray:
    """Distance along each pixel's ray [H,W] -> depth along the optical axis [H,W], same unit."""
    check_shape(distance, "H W", "distance", H=camera.height, W=camera.width)
    return distance / _ray_lengths(camera)


def z_to_ray(depth: FloatArray, camera: Camera) -> FloatArray:
    """Depth along the optical axis [H,W] -> distance along each pixel's ray [H,W], same unit.

    >>> camera = Camera.from_fov(2, 2, horizontal=90)
    >>> z_to_ray(np.ones((2, 2)), camera).round(4).tolist()
    [[1.2247, 1.2247], [1.2247, 1.2247]]
    """
    check_shape(depth, "H W", "depth", H=camera.height, W=camera.width)
    return depth * _ray_lengths(camera)


def _ray_lengths(camera: Camera) -> FloatArray:
    lengths: FloatArray = np.linalg.norm(camera.rays(), axis=-1)  # [H,W], never below 1
    return lengths


# Signs that turn a frame's x, y, z into OpenCV's. Each is its own inverse.
NORMAL_FRAMES = {
    "opencv": (1, 1, 1),  # x right, y down, z forward
    "opengl": (1, -1, -1),  # x right, y up, z towards the viewer: Marigold, diffusers
    "e2e_ft": (-1, -1, -1),  # x left, y up, z towards the viewer: E2E-FT's normals
}


def normal_signs(from_frame: str, to_frame: str) -> tuple[int, int, int]:
    """Factors of x, y and z between two frames of normals. Raises UsageError for an unknown frame.

    >>> normal_signs("e2e_ft", "opengl")
    (-1, 1, 1)
    """
    for frame in (from_frame, to_frame):
        if frame not in NORMAL_FRAMES:
            raise UsageError(f"frame of normals is {frame!r}: {did_you_mean(frame, NORMAL_FRAMES)}")
    x, y, z = (a * b for a, b in zip(NORMAL_FRAMES[from_frame], NORMAL_FRAMES[to_frame], strict=True))
    return x, y, z


def convert_normals(normals: FloatArray, from_frame: str, to_frame: str) -> FloatArray:
    """Unit vectors [...,3] from one frame to another; see NORMAL_FRAMES.

    >>> convert_normals(np.array([0.0, 0.0, 1.0]), "opengl", "opencv").tolist()
    [0.0, -0.0, -1.0]
    """
    check_shape(normals, "... 3", "normals")
    return normals * np.array(normal_signs(from_frame, to_frame), normals.dtype)


def _angle(focal: float, centre: float, extent: float) -> float:
    return math.degrees(math.atan(centre / focal) + math.atan((extent - centre) / focal))


def _plausible(camera: Camera) -> Camera:
    """The camera, if its wider field of view is between 5 and 170 degrees. (Crops may be narrower.)"""
    fov = max(camera.fov)
    if NARROWEST <= fov <= WIDEST:
        return camera
    found = f"a focal length of {camera.fx:g} px sees {fov:.3g} degrees of {camera.width}x{camera.height} px"
    in_mm = "is it in millimetres? Then use Camera.from_focal_mm"
    larger = "does it belong to a larger image? Then make that camera and call .resized"
    raise CameraError(f"{found}, 5 to 170 are possible: {in_mm if fov > WIDEST else larger}")

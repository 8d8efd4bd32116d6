"""Camera options -> the camera of an image, once its size is known."""

from __future__ import annotations

import math
from collections.abc import Callable

from leadline.camera import Camera
from leadline.errors import CameraError, UsageError

CameraOf = Callable[[int, int], Camera]  # width, height of the upright image


def choose(
    fov: float | None, focal_px: float | None, focal_mm: float | None, sensor_mm: float | None, K: str | None
) -> CameraOf | None:
    """The one camera that the options describe; None without any. Raises UsageError for more than
    one, and for numbers that no camera has.

    fov: horizontal, degrees. focal_mm needs sensor_mm, the sensor's width. K: "fx,fy,cx,cy" in pixels of the
    upright image, pixel centres at +0.5.

    >>> choose(90, None, None, None, None)(640, 480).fx.__round__(3)
    320.0
    """
    given = {"--fov": fov, "--focal-px": focal_px, "--focal-mm": focal_mm, "--K": K}
    named = [name for name, value in given.items() if value is not None]
    if len(named) > 1:
        raise UsageError(f"{' and '.join(named)} are given: one way to describe the camera is needed")
    if (focal_mm is None) != (sensor_mm is None):
        raise UsageError("--focal-mm and --sensor-mm (the sensor's width) belong together: give both")
    for option, value in {**given, "--sensor-mm": sensor_mm}.items():
        if isinstance(value, float) and not 0 < value < math.inf:
            raise UsageError(f"{option} is {value:g}: a positive number is needed")
    if fov is not None:
        _check_fov(fov)
        return lambda width, height: Camera.from_fov(width, height, horizontal=fov)
    if focal_px is not None:
        return lambda width, height: Camera.from_focal_px(focal_px, width, height)
    if focal_mm is not None and sensor_mm is not None:
        return lambda width, height: Camera.from_focal_mm(focal_mm, sensor_mm, width, height)
    return None if K is None else _from_text(K)


def _check_fov(fov: float) -> None:
    """An angle is possible or not whatever the image: said once, not for each of them."""
    try:
        Camera.from_fov(1, 1, horizontal=fov)
    except CameraError as error:
        raise UsageError(f"--fov: {error}") from None


def _from_text(K: str) -> CameraOf:
    try:
        fx, fy, cx, cy = (float(number) for number in K.split(","))
    except ValueError:
        raise UsageError(f"--K is {K!r}: four numbers fx,fy,cx,cy in pixels are needed") from None
    return lambda width, height: Camera.from_K([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], width, height)

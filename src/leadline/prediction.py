"""What a result is: numbers that say what they mean, and refuse to be read as something else."""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

import numpy as np

from leadline import ade20k
from leadline.camera import Camera
from leadline.errors import CameraError, KindError, ShapeError, UsageError, check_shape, did_you_mean

RECORD_SCHEMA = 1  # rises when a key of `Prediction.record` changes its meaning
CameraSource = Literal["given", "exif", "model", "assumed"]


class Kind(StrEnum):
    """The quantity that a prediction holds. It is stated by the model's card, never guessed from values."""

    affine_depth = "affine_depth"  # linear in depth, unknown scale and shift; 0 near, 1 far
    affine_disparity = "affine_disparity"  # linear in 1/depth, unknown scale and shift; larger is nearer
    metric_depth = "metric_depth"  # metres along the optical axis (z, not the length of the ray)
    normals = "normals"  # unit vectors in the camera's frame
    segmentation = "segmentation"  # class numbers, ADE20K's
    picture = "picture"  # colours in [-1,1]: what autoencoders give, or what is shown of a network's inside

    @classmethod
    def named(cls, word: str) -> Kind:
        """The kind of that name. Raises UsageError that names the nearest one.

        >>> Kind.named("affine-depth")
        Traceback (most recent call last):
        leadline.errors.UsageError: kind is 'affine-depth': did you mean 'affine_depth'?
        """
        if word not in list(cls):
            raise UsageError(f"kind is {word!r}: {did_you_mean(str(word), map(str, cls))}")
        return cls(word)

    @property
    def unit(self) -> str:
        """`metre` for metric depth, `none` for all others."""
        return "metre" if self is Kind.metric_depth else "none"

    @property
    def near_is(self) -> Literal["small", "large"] | None:
        """Which end of the values is near the camera; None where there is no such end."""
        ends: dict[Kind, Literal["small", "large"]]
        ends = {Kind.affine_depth: "small", Kind.metric_depth: "small", Kind.affine_disparity: "large"}
        return ends.get(self)

    @property
    def is_depth(self) -> bool:
        """Whether the values order pixels by distance."""
        return self.near_is is not None

    @property
    def is_coloured(self) -> bool:
        """Whether there are three values per pixel."""
        return self in (Kind.normals, Kind.picture)


@dataclass(frozen=True, eq=False)
class Prediction:
    """One image's result, at the size of the image. Arrays are checked once, when it is made.

    Raises UsageError for an unknown kind, ShapeError if an array's shape or type does not fit its kind,
    CameraError if the camera belongs to an image of another size.

    >>> depth = Prediction(np.array([[1.0, 2.0]], np.float32), Kind.metric_depth)
    >>> depth.unit, depth.near_is, depth.metres().max().item()
    ('metre', 'small', 2.0)
    """

    values: np.ndarray  # [H,W], or [H,W,3] for normals and pictures; float32
    kind: Kind
    valid: np.ndarray | None = None  # [H,W] bool; None: all pixels
    # [H,W] float32, in the unit of the values, of metric depth in shares of it; larger is less certain
    uncertainty: np.ndarray | None = None
    camera: Camera | None = None
    camera_source: CameraSource | None = None
    model: str = ""
    revision: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)  # as resolved: processed size, seed, preset ...
    frame: str | None = None  # of normals, always "opencv" in memory
    also: Mapping[str, Prediction] = field(default_factory=dict)  # further outputs of the same model, by name

    def __post_init__(self) -> None:
        kind = Kind.named(self.kind)
        object.__setattr__(self, "kind", kind)  # the plain string of a file is welcome too
        size = check_shape(self.values, f"H W{' 3' * kind.is_coloured}", f"values of {kind}")
        height, width = size["H"], size["W"]
        _check_dtype(self.values, np.float32, "values")
        if self.valid is not None:
            check_shape(self.valid, "H W", "valid", H=height, W=width)
            _check_dtype(self.valid, np.bool_, "valid")
        if self.uncertainty is not None:
            check_shape(self.uncertainty, "H W", "uncertainty", H=height, W=width)
            _check_dtype(self.uncertainty, np.float32, "uncertainty")
        if kind is Kind.normals and self.frame is None:
            object.__setattr__(self, "frame", "opencv")
        if self.camera is not None and (self.camera.width, self.camera.height) != (width, height):
            found = f"{self.camera.width}x{self.camera.height}"
            raise CameraError(
                f"camera is of a {found} image, values are {width}x{height}: use camera.resized()"
            )

    @property
    def height(self) -> int:
        """Rows of the image."""
        return int(self.values.shape[0])

    @property
    def width(self) -> int:
        """Columns of the image."""
        return int(self.values.shape[1])

    @property
    def unit(self) -> str:
        """`metre` or `none`."""
        return self.kind.unit

    @property
    def near_is(self) -> Literal["small", "large"] | None:
        """Whether small or large values are near; None for normals and segmentation."""
        return self.kind.near_is

    @property
    def depth(self) -> np.ndarray:
        """The raw values [H,W] of whichever depth-like kind this is. Raises KindError for all other kinds."""
        if not self.kind.is_depth:
            raise KindError(f"this prediction holds {self.kind}, not depth{self._elsewhere('depth')}")
        return self.values

    @property
    def normals(self) -> np.ndarray:
        """Unit vectors [H,W,3], OpenCV frame: x right, y down, z forward; surfaces in view look back, z < 0.

        Raises KindError unless the prediction is of this kind.
        """
        if self.kind is not Kind.normals:
            other = self._elsewhere("normals") or ": use a normals model"
            raise KindError(f"this prediction holds {self.kind}, not normals{other}")
        return self.values

    def metres(self) -> np.ndarray:
        """Depth along the optical axis in metres, [H,W]. Raises KindError unless the kind is metric."""
        if self.kind is not Kind.metric_depth:
            raise KindError(
                f"{self.kind} has no unit: align it to known depths (align_to) or use a metric model"
            )
        return self.values

    def disparity(self) -> np.ndarray:
        """Inverse depth [H,W], larger is nearer: raw for affine disparity, 1/metre for metric depth.

        Pixels that are not valid, or not in front of the camera, become 0 in metric depth's. Raises KindError
        for affine depth: its unknown shift makes 1/x meaningless.
        """
        if self.kind is Kind.affine_disparity:
            return self.values
        if self.kind is not Kind.metric_depth:
            raise KindError(f"{self.kind} has no inverse depth: align it to known depths first (align_to)")
        usable = (self.values > 0) & self._mask()
        inverse = np.zeros_like(self.values)
        inverse[usable] = 1 / self.values[usable]
        return inverse

    def affine_depth(self) -> np.ndarray:
        """Depth [H,W] up to scale and shift, 0 near and 1 far: raw for affine depth, stretched for metric.

        Metric depth is stretched from its nearest to its farthest valid pixel; all pixels are 0 if these are
        equal. Raises KindError for affine disparity: its unknown shift makes 1/x meaningless.
        """
        if self.kind is Kind.affine_depth:
            return self.values
        if self.kind is not Kind.metric_depth:
            raise KindError(f"{self.kind} has no linear depth: align it to known depths first (align_to)")
        inside = self.values[self._mask() & np.isfinite(self.values)]
        near, far = (inside.min(), inside.max()) if inside.size else (0.0, 0.0)
        return (
            np.clip((self.values - near) / (far - near), 0, 1) if far > near else np.zeros_like(self.values)
        )

    def classes(self) -> dict[int, str]:
        """The numbers that occur in a segmentation, with their names in ADE20K. Raises KindError for another
        kind.
        """
        if self.kind is not Kind.segmentation:
            other = self._elsewhere("segmentation") or ": ask a model for it that makes one"
            raise KindError(f"this prediction holds {self.kind}, no classes{other}")
        numbers = np.unique(self.values[self._mask()]).astype(int).tolist()
        return {n: ade20k.NAMES[n] for n in numbers if 0 <= n < len(ade20k.NAMES)}

    def align_to(self, depth_m: np.ndarray, valid: np.ndarray | None = None, **options: Any) -> Prediction:
        """This prediction in metres, fitted to known depths, a map [H,W] or points [N,3]: see `align.to`."""
        align = importlib.import_module("leadline.align")  # late: facts stand below functions, without torch
        aligned: Prediction = align.to(self, depth_m, valid, **options)
        return aligned

    def record(self) -> dict[str, Any]:
        """Everything but the arrays, as plain JSON types: the record that is written beside each result."""
        return {
            "schema": RECORD_SCHEMA,
            "kind": str(self.kind),
            "unit": self.unit,
            "near_is": self.near_is,
            "frame": self.frame,
            "height": self.height,
            "width": self.width,
            "camera": asdict(self.camera) if self.camera else None,
            "camera_source": self.camera_source,
            "model": self.model,
            "revision": self.revision,
            **(
                {"classes": {str(number): name for number, name in self.classes().items()}}
                if self.kind is Kind.segmentation
                else {}
            ),
            "settings": _plain(self.settings),
            "versions": {name: _version(name) for name in ("leadline", "torch", "numpy")},
        }

    def _mask(self) -> np.ndarray:
        return np.ones((self.height, self.width), bool) if self.valid is None else self.valid

    def _elsewhere(self, name: str) -> str:
        return f": it is in prediction.also[{name!r}]" if name in self.also else ""


def _check_dtype(array: np.ndarray, wanted: type[np.generic], name: str) -> None:
    if array.dtype != wanted:
        raise ShapeError(f"{name}: the type is {array.dtype}, {np.dtype(wanted)} is needed: use .astype")


def _plain(value: Any) -> Any:
    """Settings as JSON types: numpy scalars become numbers, tuples lists, paths and enumerations strings."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        return value.item()
    return str(value) if isinstance(value, Path | StrEnum) else value


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)  # asks the files on disk: torch need not be imported
    except importlib.metadata.PackageNotFoundError:
        return None

"""What a training sees of a data set's samples: a part of the picture, a range of depths, normals.

Data sets give all that they have, as evaluation needs it; what is cut off or not believed is the training's
choice, and stands in its recipe.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from leadline import crops
from leadline.data.augment import cut
from leadline.data.labels import labelled
from leadline.data.mix import Scalable, Set
from leadline.data.sample import Sample
from leadline.errors import DataError, UsageError, did_you_mean
from leadline.surface import d2nt

ONE_BASED = {"d2nt": 0.0, "e2e-ft": -1.0}  # E2E-FT counts the first pixel as 1 in files that count it as 0


class View(BaseModel):
    """How a data set's samples are looked at. The defaults change nothing."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    crop: str | None = Field(
        None, description="a rectangle of leadline.crops that is cut out, such as kitti's 352x1216"
    )
    range_m: tuple[float, float] | None = Field(
        None, description="depths (metres) that are not between these two are not valid"
    )
    normals: Literal["d2nt", "e2e-ft"] | None = Field(
        None, description="made of the depth, in place of the set's own; e2e-ft: with its authors' pixel"
    )
    domain: Literal["indoor", "outdoor", "object"] | None = Field(
        None, description="what kind of scenes the set holds, for models that are told so"
    )
    labels: dict[str, Any] = Field(
        {}, description="options of label-shards, such as path: what they say of the set's pictures is added"
    )

    @field_validator("crop")
    @classmethod
    def _known(cls, crop: str | None) -> str | None:
        if crop is not None and crop not in crops.BOXES:
            raise ValueError(f"crop is {crop!r}: {did_you_mean(crop, crops.BOXES)}")
        return crop

    @model_validator(mode="after")
    def _ordered(self) -> View:
        if self.range_m and not 0 <= self.range_m[0] < self.range_m[1]:
            raise ValueError(f"range_m is {list(self.range_m)}, wanted two rising depths in metres")
        return self

    def of(self, sample: Sample) -> Sample:
        """The sample as a training sees it. DataError if it lacks what that takes."""
        if self.domain:
            sample = replace(sample, domain=self.domain)
        if self.normals:
            sample = with_normals(sample, self.normals)
        if self.crop:
            sample = cropped(sample, self.crop)
        return within(sample, *self.range_m) if self.range_m else sample

    def over(self, data: Set) -> Set:
        """The data set, seen so. DataError if the labels are not of its pictures."""
        if self.labels:
            data = labelled(data, self.labels)
        if not (self.crop or self.range_m or self.normals or self.domain):
            return data
        return ScalableViewed(data, self) if isinstance(data, Scalable) else Viewed(data, self)


class Viewed:
    """A data set through a view."""

    def __init__(self, data: Set, view: View) -> None:
        self.data, self.view = data, view

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> Sample:
        return self.view.of(self.data[index])

    def name_of(self, index: int) -> str:
        """As the set knows the picture before it is read."""
        name: str = getattr(self.data, "name_of", str)(index)
        return name


class ScalableViewed(Viewed):
    """One whose samples come at any size."""

    data: Scalable  # type: ignore[assignment]

    def at(self, index: int, size: tuple[int, int]) -> Sample:
        """Sample `index` at (height, width), before anything is cut off."""
        return self.view.of(self.data.at(index, size))


def with_normals(sample: Sample, counted: Literal["d2nt", "e2e-ft"] = "d2nt") -> Sample:
    """The sample with normals of its depth, by D2NT in centimetres as E2E-FT makes them (Supp. B). They count
    where the depth does. DataError without depth or camera.
    """
    camera, depth = sample.camera, sample.depth_m
    if camera is None or depth is None:
        lacking = "camera" if camera is None else "depth"
        raise DataError(f"sample {sample.name} has no {lacking}: its normals cannot be made of the depth")
    shift = ONE_BASED[counted]
    counting = replace(camera, cx=camera.cx + shift, cy=camera.cy + shift)
    normals = d2nt(100 * np.where(np.isfinite(depth), depth, 0), counting)
    believed = sample.valid & (np.abs(np.linalg.norm(normals, axis=-1) - 1) < 1e-3)
    return replace(sample, normals=np.where(believed[..., None], normals, np.float32(0)), valid=believed)


def cropped(sample: Sample, name: str) -> Sample:
    """The rectangle of that name (`leadline.crops`), in its own pixels. DataError for a smaller picture."""
    try:
        box = crops.box(name, *sample.size)
    except (DataError, UsageError) as error:
        raise DataError(f"sample {sample.name}: {error}") from None
    size = box.bottom - box.top, box.right - box.left
    return cut(sample, (box.left, box.top, size[1], size[0]), size)


def within(sample: Sample, near_m: float, far_m: float) -> Sample:
    """The sample, valid only where near_m < depth < far_m; without a depth, as it is."""
    if sample.depth_m is None:
        return sample
    return replace(sample, valid=sample.valid & (sample.depth_m > near_m) & (sample.depth_m < far_m))

"""How much a prediction still changes from step to step (E2E-FT, Figure 2b): the standard deviation of every
pixel over what each denoising step takes for the result. Where it is small, the first step has said it all.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch

from leadline import colour, image, noise, sizes
from leadline.camera import ASSUMED_FOV, Camera
from leadline.data.sample import Array
from leadline.errors import UsageError
from leadline.image import Picture
from leadline.methods import Sampler
from leadline.predict import Model, load
from leadline.prediction import Kind
from leadline.report.pictures import data_uri, heat, thumbnail

LARGEST = 0.1  # what the brightest colour stands for, in the units of `each_step`


class Request(NamedTuple):
    """A model with steps by its name, a photograph, and how many steps."""

    model: str
    photo: Path
    steps: int = 50


class Spread(NamedTuple):
    """images: what is seen -> a data URI. mean, largest: of the standard deviations of all pixels."""

    title: str
    images: dict[str, str]
    mean: float
    largest: float


def draw(wanted: Request) -> Spread:
    """Load, predict, draw. Raises UsageError for a model without steps, or what loading and reading do."""
    model = load(wanted.model)
    photograph = image.read(wanted.photo)
    maps = each_step(model, photograph, wanted.steps)
    deviation = maps.std(axis=0).max(axis=-1)  # of normals, the axis that moves most
    shown = {
        "photograph": photograph.rgb,
        "after the first step": _picture(maps[0], model.kind),
        "after the last step": _picture(maps[-1], model.kind),
        "standard deviation": heat(deviation, np.ones(deviation.shape, bool), LARGEST),
    }
    images = {name: data_uri(thumbnail(picture)) for name, picture in shown.items()}
    title = f"{model.card.name}, standard deviation over {len(maps)} steps"
    return Spread(title, images, float(deviation.mean()), float(deviation.max()))


def each_step(model: Model, photograph: Picture, steps: int, seed: int = 0) -> Array:
    """What each step takes for the result, [S,h,w,C] at the size of the network: depth in [0,1], normals, or
    of metric depth the natural logarithm of metres. Raises UsageError for a model without steps.
    """
    if model.method.steps is None:
        raise UsageError(f"{model.card.name} works in one step: nothing changes from step to step")
    prepared = sizes.prepare(photograph.rgb, model.method.size_rule)
    x = prepared.tensor.to(model.device, model.dtype)
    options: dict[str, Any] = {"generators": noise.members(seed, 1), "steps": steps}
    if getattr(model.method, "needs_camera", False):
        width, height = photograph.width, photograph.height
        options["camera"] = [photograph.camera or Camera.from_fov(width, height, horizontal=ASSUMED_FOV)]
    with torch.inference_mode():
        found = cast(Sampler, model.method).each_step(x, **options)
        maps = [sizes.unpad(one, prepared)[0].float().movedim(0, -1).cpu().numpy() for one in found]
    values: Array = np.stack(maps)
    if model.kind is Kind.metric_depth:
        return np.log(values)
    return values if model.kind is Kind.normals else (values + 1) / 2


def _picture(values: Array, kind: Kind) -> Array:
    if kind is Kind.normals:
        return colour.picture(values, kind)
    return colour.picture(np.exp(values[..., 0]) if kind is Kind.metric_depth else values[..., 0], kind)

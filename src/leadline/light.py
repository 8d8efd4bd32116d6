"""A light autoencoder in place of a model's own: less time and memory, and another result.

What it costs is measured on the first picture of a run, with both.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
import torch
from torch import nn

from leadline import weights
from leadline.errors import LeadlineError, UsageError
from leadline.hub import source
from leadline.methods import Decoder, Method
from leadline.prediction import Kind, Prediction


@dataclass(frozen=True, eq=False)
class Light:
    """An autoencoder, and the name by which results know it."""

    name: str
    network: nn.Module


def load(name: str | Path, *, download: bool = False) -> Light:
    """`tiny`, a repository of the hub, or a folder; what is not on this machine is fetched if `download`.

    Raises WeightsError, or UsageError for a word that means none.
    """
    folder = weights.autoencoder(name, download=download)
    id = source(folder)
    known = f"{name} ({id} at {folder.name})" if id else str(name)
    return Light(known, weights.load_network(folder, weights.AUTOENCODERS))


class Trial(NamedTuple):
    """What became of a picture, and the seconds it took."""

    result: Prediction | LeadlineError
    seconds: float


def lighter(method: Method, light: Light, dtype: torch.dtype) -> Method:
    """The method with the light autoencoder. Raises UsageError for one that has none, WeightsError for one
    with other latents.
    """
    if not hasattr(method, "with_autoencoder"):
        raise UsageError(f"{method.card.name} has no autoencoder: leave out vae")
    network = nn.Module.to(light.network, dtype)  # diffusers' own warns, whatever there is to warn of
    return cast(Decoder, method).with_autoencoder(network)


def trial(predict: Callable[[], Sequence[Prediction | LeadlineError]], device: torch.device) -> Trial:
    """The first result, with its time. GPUs get a round to prepare themselves."""
    if device.type == "cuda":
        predict()
    start = time.perf_counter()
    result = predict()[0]
    return Trial(result, time.perf_counter() - start)


def cost(own: Trial, light: Trial) -> str:
    """What a light autoencoder gains and loses on a picture, against the model's own, in words."""
    if isinstance(own.result, LeadlineError):
        return f"is not compared, the model's own fails: {own.result}"
    if isinstance(light.result, LeadlineError):
        return f"fails: {light.result}"
    times = f"takes {light.seconds:.3g} s, the model's own {own.seconds:.3g} s"
    return f"{times}; the result differs by {difference(own.result, light.result)}"


def difference(own: Prediction, light: Prediction) -> str:
    """How far two results of one picture lie apart, in words: in percent of the range of the first, normals
    in degrees.

    >>> maps = (np.array([[0, 4], [2, x]], np.float32) for x in (2, 3))
    >>> difference(*(Prediction(values, Kind.metric_depth) for values in maps))
    '6.25 % of its range on average, 25 % at most'
    """
    if own.kind is Kind.normals:
        chord = np.linalg.norm(own.values - light.values, axis=-1)
        apart = np.degrees(2 * np.arcsin((chord / 2).clip(0, 1)))
        return f"{apart.mean():.3g} degrees on average, {apart.max():.3g} at most"
    apart = np.abs(own.values - light.values) * (100 / (np.ptp(own.values) or 1))
    return f"{apart.mean():.3g} % of its range on average, {apart.max():.3g} % at most"

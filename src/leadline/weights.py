"""Networks by their diffusers configuration: built, loaded strictly, saved."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import diffusers
import torch
from torch import nn

from leadline.errors import WeightsError, nearest
from leadline.networks.space_to_depth import SpaceToDepth

NETWORKS: dict[str, type[nn.Module]] = {
    "UNet2DConditionModel": diffusers.UNet2DConditionModel,
    "UNet2DModel": diffusers.UNet2DModel,
    "AutoencoderKL": diffusers.AutoencoderKL,
    "AutoencoderTiny": diffusers.AutoencoderTiny,
    "SpaceToDepth": SpaceToDepth,
}


def build(config: Mapping[str, Any], seed: int = 0) -> nn.Module:
    """A network with random weights from a diffusers configuration; its key `_class_name` says which (see
    `NETWORKS`).

    The same seed gives the same weights; the caller's random state is left as it was. Raises WeightsError
    for an unknown class.
    """
    network = network_class(config)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return network.from_config(dict(config))  # type: ignore[attr-defined, no-any-return]


def network_class(config: Mapping[str, Any]) -> type[nn.Module]:
    """The class named by a diffusers configuration, from the known ones only: no code is looked up by a
    file's word.
    """
    name = str(config.get("_class_name"))
    if name not in NETWORKS:
        hint = nearest(name, NETWORKS) or ", ".join(NETWORKS)
        raise WeightsError(f"network class {name!r} is unknown: use {hint}")
    return NETWORKS[name]

"""Whether methods would run on another device than the processor, found without one.

Weights and pictures lie on torch's device `meta`: tensors there have a shape, a type and no numbers. Whoever
brings them together with tensors of the processor is caught, as CUDA would do it, but for what moves them.
What else CUDA's kernels ask for is named below. Its autocast is not imitated: losses are in float32.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any
from unittest import mock

import pytest
import tiny
import tiny_depth_anything
import tiny_fiffdepth
import tiny_geowizard
import tiny_marigold
import tiny_primedepth
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from leadline import methods
from leadline.camera import Camera
from leadline.cards import Card, Defaults
from leadline.data.sample import Batch
from leadline.methods import autoencoder, latent_diffusion, metricgold
from leadline.predict import Model
from leadline.prediction import Kind

CPU, ELSEWHERE = torch.device("cpu"), torch.device("meta")
ATEN = torch.ops.aten
MOVES = (ATEN._to_copy.default, ATEN.copy_.default)
JOINS = (ATEN.cat.default, ATEN.stack.default)  # a number of the processor may meet any device, but not here
INDEXED = (ATEN.index.Tensor, ATEN.index_put.default, ATEN.index_put_.default)  # by numbers of the processor
CONTIGUOUS = {  # what CUDA's kernels do not take otherwise, by its place among the arguments
    ATEN.native_group_norm.default: (0,),
    ATEN.native_group_norm_backward.default: (0, 1),
}
CAMERA = Camera.from_fov(48, 32, horizontal=60)


def metricgold_of(**options: Any) -> nn.Module:
    parts, card = tiny.published().parts, Card(name="tiny", method="metricgold", kind=Kind.metric_depth)
    card = card.model_copy(update={"defaults": Defaults(steps=2)})
    return metricgold.MetricGold(metricgold.Config(**options), *parts, card)


def prior() -> nn.Module:
    networks = {"unet": tiny_fiffdepth.ONE_LATENT, "autoencoder": tiny.AUTOENCODER}
    return latent_diffusion.LatentDiffusion.random(latent_diffusion.Config(**networks, steps=2))


MODELS = {
    "e2e-ft": tiny.published,
    "e2e-ft normals": lambda: tiny.published(target="normals", noise="pyramid", train_autoencoder="decoder"),
    "e2e-ft small": lambda: tiny.small(log_weight=0.5),
    "marigold": tiny_marigold.published,
    "marigold lcm": lambda: tiny_marigold.published(target="normals", full_z_range=False, sampler="lcm"),
    "geowizard": lambda: tiny_geowizard.published(noise="pyramid"),
    "geowizard v2": lambda: tiny_geowizard.published(version="v2", **tiny_geowizard.E2E),
    "primedepth": lambda: tiny_primedepth.small(lambda_per="image"),
    "primedepth latent": lambda: tiny_primedepth.small(loss="latent", fusion="block"),
    "fiffdepth": tiny_fiffdepth.published,
    "metricgold": lambda: metricgold_of(noise="pyramid", camera="canonical_width", far_mask=True),
    "metricgold one step": lambda: metricgold_of(objective="one_step", camera="fov"),
    "metricgold vae": lambda: metricgold_of(stage="vae", depth_vae="paper"),
    "depth-anything": tiny_depth_anything.made,
    "depth-anything metric": lambda: tiny_depth_anything.made(max_depth_m=20),
    "latent-diffusion": prior,
    "autoencoder": lambda: autoencoder.Autoencoder.random(
        autoencoder.Config(autoencoder=tiny.TINY_AUTOENCODER)
    ),
}
NOT_HERE = {"onnx"}  # another library runs it, on numpy arrays


class Strict(TorchDispatchMode):
    """Within it devices are kept apart. Numbers that are asked for are ones, and masks true everywhere."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        lists = (x if isinstance(x, list | tuple) else [x] for x in (*args, *kwargs.values()))
        seen = [x for some in lists for x in some if isinstance(x, Tensor)]
        away = any(x.device == ELSEWHERE for x in seen)
        if away and torch.is_inference_mode_enabled():  # what is made of other operations comes as one
            with self:
                parts = func.decompose(*args, **kwargs)
            if parts is not NotImplemented:
                return parts
        self.check(func, seen, args, kwargs)
        if away and func is ATEN._local_scalar_dense.default:
            return torch.ones((), dtype=args[0].dtype).item()
        if away and func is ATEN.equal.default:
            return True
        if away and func is ATEN._to_copy.default and kwargs.get("device") == CPU:
            return torch.ones(args[0].shape, dtype=kwargs.get("dtype") or args[0].dtype)
        if away and func is ATEN.index.Tensor and getattr(args[1][-1], "dtype", None) == torch.bool:
            return args[0].flatten()
        return func(*args, **kwargs)

    def check(self, func: Any, seen: list[Tensor], args: Any, kwargs: Any) -> None:
        generator = kwargs.get("generator")
        if generator is not None:
            device = kwargs.get("device") or (seen[0].device if seen else CPU)
            assert generator.device == device, f"{func} with a generator of another device"
        if func in INDEXED:
            assert {x.device for x in args[1] if x is not None} <= {CPU, args[0].device}, func
            seen = [args[0], *args[2:3]]
        if func not in MOVES:
            devices = {x.device for x in seen if x.dim() or func in JOINS or x.device != CPU}
            assert len(devices) < 2, f"{func} of tensors on two devices"
        for place in CONTIGUOUS.get(func, ()):
            assert args[place].is_contiguous(), f"{func} of a map that is not contiguous"


@contextmanager
def strict() -> Iterator[None]:
    plain = mock.patch.object(torch, "autocast", return_value=nullcontext())  # none is known for `meta`
    with plain, Strict():
        yield


def batch(height: int, width: int) -> Batch:
    """Of all that losses look at."""
    known = {"cameras": [CAMERA] * 2, "domains": ["indoor", "outdoor"]}
    classes = torch.ones(2, height, width, dtype=torch.int64)
    return replace(tiny.batch(2, height, width), **known, classes=classes)


def test_every_method_is_here():
    assert {name.split()[0] for name in MODELS} | NOT_HERE == set(methods.METHODS)


@pytest.mark.parametrize("name", MODELS)
def test_losses_and_predictions_stay_on_the_device(name):
    method: Any = MODELS[name]().train().to(ELSEWHERE)
    size = (28, 42) if name.startswith("depth-anything") else (32, 48)
    with strict():
        loss = method.loss(batch(*size).to(ELSEWHERE), torch.Generator())
        loss.total.backward()
        if name == "metricgold vae":  # a first stage predicts nothing
            assert method.trial(batch(*size).to(ELSEWHERE), [])["depth"].device == ELSEWHERE
            return
        model = Model(method, device=ELSEWHERE, dtype="float16")
        options = {"ensemble_size": 2} if method.members else {}
        options |= {"steps": 2 if name == "marigold lcm" else 1} if method.steps else {}  # noise between two
        also = tuple(getattr(method, "also", ()))
        found = model(torch.zeros(3, 32, 48), processing_res=0, also=also, **options)
    assert {x.device for x in (loss.total, *loss.parts.values())} == {ELSEWHERE}
    assert found.values.shape[:2] == (32, 48)

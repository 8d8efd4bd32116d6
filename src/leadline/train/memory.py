"""What a training step will hold in memory, found without holding it: the step is run on tensors that have a
shape, a type and no numbers (torch's fake tensors), and their bytes are counted as they come and go.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, unset_fake_temporarily
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

from leadline import cards, methods
from leadline.camera import Camera
from leadline.data.sample import Batch
from leadline.errors import WeightsError
from leadline.recipe import Recipe
from leadline.train import build, optimise, preflight, randomness

GIB = 2**30
ATEN = torch.ops.aten
Sizes = Mapping[str, tuple[int, int]]  # data set -> (height, width)


@dataclass(frozen=True)
class Need:
    """Bytes that one process of a training holds at its worst moment, by what they are for.

    activations: all beside the others, gradients being counted in full. flop: multiplications and additions
    of a step. parameters: trained and frozen, by the network's parts. multiple: what sides must be of.
    """

    weights: int
    gradients: int
    optimiser: int
    average: int
    activations: int
    flop: int
    parameters: dict[str, tuple[int, int]]
    multiple: int
    of_stable_diffusion: bool = False  # weights are not here: counted as Stable Diffusion 2's

    @property
    def total(self) -> int:
        return self.weights + self.gradients + self.optimiser + self.average + self.activations


def need(recipe: Recipe, make: Callable[[Recipe], Any] = build.method, own: Sizes | None = None) -> Need:
    """Of a recipe's largest batch; no data are read. Weights that it starts from must be on this machine, but
    for Stable Diffusion 2 and what was made of it, whose sizes are known.

    make: another way to a recipe's network. own: of data sets without `sizes`, the (height, width) that their
    pictures have; without it 480x640.
    """
    with FakeTensorMode() as mode:
        method, known = _imagined(recipe, make, mode)
        trained = [p for p in method.parameters() if p.requires_grad]
        size, batch, accumulate = largest(recipe, preflight.multiple(method), own or {})
        gradients, weights = _bytes(trained), _bytes([*method.parameters(), *method.buffers()])
        if accumulate > 1:  # the second batch finds gradients of the first
            for p in trained:
                p.grad = torch.empty_like(p)
        given = gradients if accumulate > 1 else 0
        method.train()
        samples = _batch(batch, size)
        with _counting() as (peak, flops), _autocast(recipe):
            method.loss(samples, randomness.generator(0)).total.backward()
    return Need(
        weights=weights,
        gradients=gradients,
        optimiser=sum(optimise.state_bytes(recipe.optimiser.name, p.shape) for p in trained),
        average=gradients if recipe.ema.decay else 0,
        activations=max(0, given + peak.most - gradients),
        flop=flops.get_total_flops() * accumulate,
        parameters={name: _counted(part) for name, part in method.named_children()},
        multiple=preflight.multiple(method),
        of_stable_diffusion=known,
    )


def _counted(module: nn.Module) -> tuple[int, int]:
    counts = [0, 0]
    for p in module.parameters():
        counts[not p.requires_grad] += p.numel()
    return counts[0], counts[1]


def largest(recipe: Recipe, multiple: int, own: Sizes) -> tuple[tuple[int, int], int, int]:
    """(height, width), pictures and accumulation of the stage and size with the most pixels at once."""
    found = [
        (size, batch.size, batch.accumulate)
        for stage in recipe.plan
        for batch in [stage.batch or recipe.batch]
        for name, entry in recipe.data.items()
        for size in stage.sizes or entry.sizes or (own.get(name, (480, 640)),)
    ]
    (height, width), pictures, accumulate = max(found, key=lambda x: math.prod(x[0]) * x[1])
    return (-(-height // multiple) * multiple, -(-width // multiple) * multiple), pictures, accumulate


def _imagined(recipe: Recipe, make: Callable[[Recipe], Any], mode: FakeTensorMode) -> tuple[Any, bool]:
    """The recipe's method without numbers; random weights are not even drawn. And whether its start is not
    here, but known to be of Stable Diffusion 2's size.
    """
    known = False
    try:
        with unset_fake_temporarily() if recipe.start else nullcontext():
            method = make(recipe)
    except WeightsError:
        method, known = _as_stable_diffusion(recipe), True
        if method is None:
            raise
    for module in method.modules():
        for name, p in module._parameters.items():
            if p is not None and not isinstance(p, FakeTensor):
                module._parameters[name] = nn.Parameter(mode.from_tensor(p.data), p.requires_grad)
        for name, buffer in module._buffers.items():
            if buffer is not None and not isinstance(buffer, FakeTensor):
                module._buffers[name] = mode.from_tensor(buffer)
    return method, known


def _of_stable_diffusion(start: str | None) -> bool:
    """Whether a model's name says that it is Stable Diffusion 2, or was made of it."""
    name = (start or "").partition("@")[0]
    return name in cards.PRIORS or (cards.has(name) and "Stable Diffusion 2" in cards.get(name).terms)


def _as_stable_diffusion(recipe: Recipe) -> Any:
    """The recipe's method with networks of that size, one or two latents in, as it asks; None where the size
    of its networks is not known.
    """
    from leadline.networks.primedepth import SD_AUTOENCODER, SD_UNET  # seconds of imports
    from leadline.networks.stable_diffusion import Descendant

    kind, config = methods.get(recipe.method)
    copies = recipe.model.get("stage") == "vae"  # an autoencoder, which cannot be done without numbers
    if copies or not (_of_stable_diffusion(recipe.start) and issubclass(kind, Descendant)):
        return None
    text = torch.zeros(1, 77, SD_UNET["cross_attention_dim"])
    for channels in (8, 4):
        networks = {"unet": SD_UNET | {"in_channels": channels}, "autoencoder": SD_AUTOENCODER}
        with suppress(WeightsError):
            return kind.random(config.model_validate(recipe.model | networks), 0, text)
    return None


def _batch(count: int, size: tuple[int, int]) -> Batch:
    """Pictures with all that a sample may hold, every pixel valid."""
    height, width = size
    return Batch(
        rgb=torch.zeros(count, 3, height, width),
        valid=torch.ones(count, 1, height, width, dtype=torch.bool),
        depth_m=torch.ones(count, 1, height, width),
        normals=torch.ones(count, 3, height, width),
        cameras=[Camera.from_fov(width, height, horizontal=60)] * count,
        names=[""] * count,
        classes=torch.zeros(count, height, width, dtype=torch.int64),
    )


def _autocast(recipe: Recipe) -> torch.autocast:
    half = recipe.precision != "float32"
    return torch.autocast("cpu", getattr(torch, recipe.precision) if half else torch.bfloat16, half)


@contextmanager
def _counting() -> Iterator[tuple[Peak, FlopCounterMode]]:
    name = "_scaled_dot_product_flash_attention_for_cpu"
    forward: Any = sdpa_flop_count
    backward: Any = sdpa_backward_flop_count
    attention = {
        getattr(ATEN, name): lambda q, k, v, *_, **__: forward(q, k, v),
        getattr(ATEN, f"{name}_backward"): lambda g, q, k, v, *_, **__: backward(g, q, k, v),
    }
    with FlopCounterMode(display=False, custom_mapping=attention) as flops, Peak() as peak:
        yield peak, flops


class Peak(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """The most bytes that tensors made under it hold at once.

    Fake tensors have no numbers to ask for: a number is said to be 0.5 (1, True), a mask to be true
    everywhere.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.most = 0
        self._known: set[int] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is ATEN._local_scalar_dense.default:
            return {torch.bool: True, torch.int64: 1}.get(args[0].dtype, 0.5)
        if func is ATEN.index.Tensor and args[1][-1] is not None and args[1][-1].dtype == torch.bool:
            return args[0].flatten()
        given = {x.untyped_storage()._cdata for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)}
        out = func(*args, **kwargs or {})
        for x in tree_leaves(out):
            if isinstance(x, Tensor) and x.untyped_storage()._cdata not in given:
                self._came(x.untyped_storage())
        return out

    def _came(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key not in self._known:
            self._known.add(key)
            self.now += size
            self.most = max(self.most, self.now)
            weakref.finalize(storage, self._went, key, size)

    def _went(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size


def _bytes(tensors: Sequence[Tensor]) -> int:
    return sum(x.numel() * x.element_size() for x in tensors)

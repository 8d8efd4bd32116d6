"""How good the weights are now: loss and accuracy on pictures that are never trained on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from leadline import align, metrics
from leadline.data.sample import Batch, Sample
from leadline.prediction import Kind
from leadline.train import randomness


def measure(
    method: Any,
    batches: Sequence[Sequence[Sample]],
    to_device: Callable[[Sequence[Sample]], Batch],
    seed: int,
) -> dict[str, float]:
    """Means over the pictures: `loss`, and by the method's kind `delta1` (depths) or `degrees` (normals).

    The loss is the mean over batches, weighted by their pictures. The random numbers are the same every time.
    """
    values: dict[str, list[float]] = {}
    for number, samples in enumerate(batches):
        batch, key = to_device(samples), (seed, number, randomness.VALIDATE)
        with randomness.seeded(*key):
            total = method.loss(batch, randomness.generator(*key)).total
            generators = [randomness.generator(*key, picture) for picture in range(len(batch))]
            outputs = seen(method, batch, generators)
        values.setdefault("loss", []).extend([float(total)] * len(batch))
        for name, each in accuracy(next(iter(outputs.values())), batch, method.kind).items():
            values.setdefault(name, []).extend(each.tolist())
    return {name: torch.tensor(each, dtype=torch.float64).nanmean().item() for name, each in values.items()}


def seen(method: Any, batch: Batch, generators: Sequence[torch.Generator]) -> dict[str, Tensor]:
    """What a method says of a batch: of its pictures, or what its own `trial` of the batch gives."""
    if hasattr(method, "trial"):
        outputs: dict[str, Tensor] = method.trial(batch, generators)
        return outputs
    said: dict[str, Tensor] = method(batch.rgb, generators=generators)
    return said


def accuracy(pred: Tensor, batch: Batch, kind: Kind) -> dict[str, Tensor]:
    """One figure per picture [B], nan where a picture has no valid pixel; nothing if the batch holds no
    truth.

    delta1: share of the pixels whose depth is within a factor 1.25 after the best scale and shift in the
    space that the method predicts (metric depth: as it is). degrees: mean angle to the true normals.
    """
    if kind == Kind.normals and batch.normals is not None:
        valid = batch.valid & (batch.normals.norm(dim=1, keepdim=True) > 0)
        cosine = torch.nn.functional.cosine_similarity(pred.float(), batch.normals, dim=1)[:, None]
        return {"degrees": _mean(torch.rad2deg(cosine.clamp(-1, 1).acos()), valid)}
    if not kind.is_depth or batch.depth_m is None:
        return {}
    valid = batch.valid & batch.depth_m.isfinite()
    depth = torch.where(valid, batch.depth_m, 1)
    inverse = kind == Kind.affine_disparity
    value = pred.float()
    if kind != Kind.metric_depth:
        scale, shift = align.fit(value, 1 / depth if inverse else depth, valid)
        value = scale * value + shift
    value = value.clamp(min=1e-3)
    value = 1 / value if inverse else value
    return {"delta1": metrics.delta1(value, depth, valid)}


def _mean(values: Tensor, valid: Tensor) -> Tensor:
    """[B,1,h,w] -> mean over each picture's valid pixels, [B]."""
    return torch.where(valid, values, 0).sum(dim=(1, 2, 3)) / valid.sum(dim=(1, 2, 3))

"""Two processes with a picture each: together the gradient of one with both, whatever a loss consists of."""

from __future__ import annotations

from dataclasses import fields, replace
from types import SimpleNamespace
from typing import Any

import pytest
import tiny
import tiny_primedepth
import torch
from torch import Tensor
from torch.testing import assert_close

from leadline import losses
from leadline.data.sample import Batch, collate
from leadline.data.scenes import Scenes
from leadline.losses import Loss
from leadline.methods import e2e_ft, fiffdepth
from leadline.train.team import Team

BLOCKS = tiny.BLOCKS | {"factor": 2}
UNET = tiny.PLAIN_UNET | {"in_channels": 12, "out_channels": 12, "block_out_channels": [8, 16]}


class Ranks:
    """Stands for accelerate where process after process computes: `reduce` adds what the others will say."""

    num_processes = 2

    def __init__(self, found: list[Loss]) -> None:
        self.said: list[Tensor] = []
        self.listening = True
        for loss in found:
            self.shared(loss)
        self.listening = False

    def reduce(self, own: Tensor) -> Tensor:
        if self.listening:
            self.said.append(own)
            return own
        return sum(self.said[1:], start=self.said[0])

    def shared(self, loss: Loss) -> tuple[Tensor, float]:
        return Team.shared(SimpleNamespace(accelerator=self), loss)


def part(batch: Batch, number: int) -> Batch:
    """One picture of a batch."""
    one = slice(number, number + 1)
    held = {f.name: getattr(batch, f.name) for f in fields(batch)}
    many = {name: x for name, x in held.items() if isinstance(x, Tensor | list | tuple) and len(x)}
    return replace(batch, **{name: x[one] for name, x in many.items()})


def gradients(method: Any, total: Tensor) -> Tensor:
    trained = [p for p in method.parameters() if p.requires_grad]
    found = torch.autograd.grad(total, trained, allow_unused=True)
    each = [torch.zeros_like(p) if g is None else g for p, g in zip(trained, found, strict=True)]
    return torch.cat([g.flatten() for g in each])


def scenes() -> Batch:
    """Two rooms; of the second the lower half is unknown."""
    batch = collate([Scenes(seed=4, count=2, size=(16, 24), kind="room")[i] for i in range(2)])
    batch.valid[1, :, 8:] = False
    return batch


def e2e(**options) -> tuple[Any, Batch]:
    config = {"unet": UNET, "autoencoder": BLOCKS, "noise": "none", "clamp": False} | options
    return e2e_ft.E2EFT.random(e2e_ft.Config(**config), 0), scenes()


def fiff(**options) -> tuple[Any, Batch]:
    """Each picture has noise of its own, in whatever company."""
    model = fiffdepth.FiffDepth.random(fiffdepth.Config(unet=UNET, autoencoder=BLOCKS, **options), 0)
    plain = model.trajectory
    model.trajectory = lambda x_0, d, t, _: plain(x_0, d, torch.full_like(t, 400), x_0.flip(-1))
    return model, scenes()


def prime(labelled: bool) -> tuple[Any, Batch]:
    model = tiny_primedepth.small(noise=False, vae_sample="mode")
    batch = tiny_primedepth.batch()
    batch.valid[1, :, 8:] = False
    if not labelled:
        batch.classes[1] = -1
    return model, batch


def unknown(method: Any, batch: Batch) -> tuple[Any, Batch]:
    batch.valid[1] = False
    return method, batch


CASES = {
    "E2E-FT, depth": lambda: e2e(),
    "E2E-FT, normals": lambda: e2e(target="normals"),
    "MiDaS, one picture unknown": lambda: unknown(*e2e(target="disparity", loss="midas", log_weight=3.0)),
    "FiffDepth": lambda: fiff(),
    "PrimeDepth": lambda: prime(True),
    "PrimeDepth, one picture without classes": lambda: prime(False),
}


@pytest.mark.parametrize("name", CASES)
def test_two_processes_have_the_gradient_of_one(name):
    method, batch = CASES[name]()
    method.train()
    generator = torch.Generator()
    whole = method.loss(batch, generator)
    wanted = gradients(method, whole.total)
    halves = [method.loss(part(batch, i), generator) for i in range(2)]
    ranks = Ranks(halves)
    shared = [ranks.shared(loss) for loss in halves]
    found = sum(gradients(method, total) for total, _ in shared) / 2
    assert_close(found, wanted, rtol=0, atol=1e-4 * wanted.abs().max().item())
    assert [mean for _, mean in shared] == pytest.approx([whole.total.item()] * 2, rel=1e-4)
    naive = sum(gradients(method, method.loss(part(batch, i), generator).total) for i in range(2)) / 2
    assert (naive - wanted).abs().max() > 1e-3 * wanted.abs().max()  # else nothing was tested


def test_a_sum_of_means_is_itself_where_one_process_computes():
    two, three = torch.tensor(2.0), torch.tensor(3.0)
    one, other = Loss(two, {"a": two}, 5), Loss(three, {"b": three}, 1)
    found = losses.summed(one, other, factors=lambda means: torch.stack([means[1], means[0]]))
    assert found.total == 12
    assert set(found.parts) == {"a", "b"}


def test_a_process_without_anything_known_takes_no_part():
    """As FiffDepth's photographs without one known cell."""
    full, empty = Loss(torch.tensor(4.0), {}, torch.tensor(8)), Loss(torch.tensor(0.0), {}, torch.tensor(0))
    ranks = Ranks([full, empty])
    assert ranks.shared(full) == (torch.tensor(8.0), 4.0)
    assert ranks.shared(empty) == (torch.tensor(0.0), 4.0)

"""Large pictures: seen as a whole, at the resolution that the model was made for, and in tiles at their own.

Each tile is predicted as though it were a picture of its own, with the picture's seed. Tiles have the detail,
the whole has the layout: leadline.tiles puts them together.
"""

from __future__ import annotations

import logging
import math
from functools import partial

import torch
from torch import Tensor

from leadline import sizes, tasks, tiles
from leadline.errors import LeadlineError
from leadline.prediction import Kind
from leadline.running import Runner
from leadline.sizes import Prepared
from leadline.tasks import OVERLAP, Large, Map, Plan, Seen, Task

log = logging.getLogger(__name__)

CELL = 12  # pixels of the whole: what is wider than that is taken from it


def see(task: Large, plan: Plan, runner: Runner) -> Seen | LeadlineError:
    """What the networks say of it, or the error that it ends in. One batch of tiles is on the device at a
    time; maps lie in main memory, which is larger.
    """
    return tasks.or_error(partial(_seen, task, plan, runner), f"{task.name}: its map of tiles")


@torch.inference_mode()
def _seen(task: Large, plan: Plan, runner: Runner) -> Seen:
    (whole,) = _on_cpu([task.seen_at_once()], plan, runner)
    parts: list[Seen] = []
    for i in range(0, len(task.windows), plan.batch_size):
        batch = [task.part(window) for window in task.windows[i : i + plan.batch_size]]
        parts += _on_cpu(batch, plan, runner)
    maps, replaced = {}, 0
    for name, wide in whole.maps.items():
        if wide.kind in (Kind.segmentation, Kind.picture):
            maps[name] = wide  # what things are is seen better from afar
            continue
        own = [part.maps[name] for part in parts]
        scales = _scales(task, wide, own)
        maps[name] = _in_range(_joined(task, wide, own, scales), runner.method.preset.stretch)
        replaced = max(replaced, int((scales == 0).sum()))
    if replaced:
        log.info("%s: %d of %d tiles contradict the whole, it replaces them", task.name, replaced, len(parts))
    tiling = {"size": task.windows[0][2:], "overlap": round(OVERLAP * plan.tile), "count": len(parts)}
    dtype = torch.float32 if any(part.dtype == torch.float32 for part in parts) else whole.dtype
    return Seen(maps, dtype, {**tiling, "replaced": replaced})


def _on_cpu(some: list[Task], plan: Plan, runner: Runner) -> list[Seen]:
    """What `tasks.see` says, at the sizes of the pictures. Raises its errors."""
    found: list[Seen] = []
    for task, seen in zip(some, tasks.see(some, plan, runner), strict=True):
        if isinstance(seen, LeadlineError):
            raise seen
        maps = {name: _restored(own, task.prepared) for name, own in seen.maps.items()}
        found.append(Seen(maps, seen.dtype))
    return found


def _restored(own: Map, prepared: Prepared) -> Map:
    spread = None if own.spread is None else sizes.restore(own.spread.cpu(), prepared)
    nearest = own.kind is Kind.segmentation
    return Map(own.kind, sizes.restore(own.value.cpu(), prepared, nearest=nearest), spread)


def _scales(task: Large, whole: Map, parts: list[Map]) -> Tensor:
    """Of the tiles, [N]; 0 where the whole replaces one.

    Metric depth is brought to the whole's scale as well: networks know metres by what they see of a scene,
    and see little of it in a tile. Normals have no scale.
    """
    if not whole.kind.is_depth:
        return torch.ones(len(parts), dtype=torch.float64)
    return tiles.align(task.windows, [part.value for part in parts], whole.value)


def _joined(task: Large, whole: Map, parts: list[Map], scales: Tensor) -> Map:
    """One map of all tiles, with the whole's layout."""
    cell = CELL * math.sqrt(math.prod(task.prepared.processed) / math.prod(task.whole.processed))
    placed = tiles.placed(task.windows, [part.value for part in parts], whole.value, scales)
    levelled = (
        tiles.level(x, window.cut(whole.value), cell) for window, x in zip(task.windows, placed, strict=True)
    )
    value = tiles.blend(task.windows, levelled, whole.value.shape)
    spreads = [part.spread for part in parts if part.spread is not None]
    if whole.spread is None:
        return Map(whole.kind, value, None)
    placed = tiles.placed(task.windows, spreads, whole.spread, scales)
    return Map(whole.kind, value, tiles.blend(task.windows, placed, whole.spread.shape))


def _in_range(found: Map, stretch: bool) -> Map:
    """Affine maps of tiles may leave [-1,1], the range that is published: it is widened. Where maps are
    stretched anyway, so is their uncertainty.
    """
    if found.kind not in (Kind.affine_depth, Kind.affine_disparity):
        return found
    low, high = found.value.aminmax()
    if not stretch:
        low, high = low.clamp(max=-1), high.clamp(min=1)
    factor = 2 / (high - low) if high > low else torch.ones(())
    spread = None if found.spread is None else found.spread * factor
    return Map(found.kind, (found.value - low) * factor - 1, spread)

"""A picture as a task: read and prepared, seen by the networks, its ensemble merged."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from leadline import devices, ensemble, image, noise, sizes, tiles
from leadline.camera import ASSUMED_FOV, Camera
from leadline.errors import DeviceError, LeadlineError, WeightsError, printable
from leadline.image import Picture
from leadline.methods import Method
from leadline.prediction import CameraSource, Kind
from leadline.running import Runner
from leadline.sizes import Prepared, SizeRule
from leadline.tiles import Window

log = logging.getLogger(__name__)

KINDS = {"depth": Kind.affine_depth, "disparity": Kind.affine_disparity, "normals": Kind.normals}
OVERLAP = 0.25  # of neighbouring tiles of a large picture, at least, in shares of their side
T = TypeVar("T")
Run = Callable[..., dict[str, Tensor]]  # as `Runner`


@dataclass(frozen=True)
class Plan:
    """What is done with every image."""

    rule: SizeRule  # the size at which to work
    seed: int
    steps: int | None  # None: the method has no choice
    members: int
    uncertainty: bool
    batch_size: int = 1
    tile: int = 0  # pixels: pictures that are processed at a larger size are seen in tiles; 0: at once
    whole: SizeRule = SizeRule()  # the size at which those are seen as a whole
    also: tuple[str, ...] = ()  # names of further outputs that are wanted
    needs_camera: bool = False  # one is assumed for pictures without
    captions: Callable[[Picture], str] | None = None  # for a model that reads them


@dataclass(frozen=True, eq=False)
class Task:
    """A picture on its way: all that is needed of it once it is prepared."""

    prepared: Prepared
    camera: Camera | None
    camera_source: CameraSource | None
    name: str  # for messages
    notes: tuple[str, ...]
    caption: str

    @property
    def network_camera(self) -> Camera | None:
        """The camera of the prepared tensor."""
        (h, w), (_, _, height, width) = self.prepared.processed, self.prepared.tensor.shape
        return self.camera and self.camera.resized(w, h).padded(0, 0, width - w, height - h)


@dataclass(frozen=True, eq=False)
class Large(Task):
    """A picture to be seen in tiles."""

    windows: tuple[Window, ...]  # in its processed pixels
    whole: Prepared  # the same picture, small enough to be seen at once, to be enlarged to the processed size

    @property
    def network_camera(self) -> Camera | None:
        """Of the whole, whose metres the tiles are brought to."""
        return self.seen_at_once().network_camera

    def seen_at_once(self) -> Task:
        """All of it."""
        return replace(self._as_task(), prepared=self.whole)

    def part(self, window: Window) -> Task:
        """A tile, as though it were a picture."""
        (h, w), (top, left, height, width) = self.prepared.processed, window
        camera = self.camera and self.camera.resized(w, h).cropped(left, top, width, height)
        prepared = sizes.crop(self.prepared, top, left, height, width)
        return replace(self._as_task(), prepared=prepared, camera=camera)

    def _as_task(self) -> Task:
        return Task(self.prepared, self.camera, self.camera_source, self.name, self.notes, self.caption)


class Map(NamedTuple):
    """A quantity over a prepared picture, in the network's range, without padding."""

    kind: Kind
    value: Tensor  # [1,C,h,w], merged from all members
    spread: Tensor | None  # [1,1,h,w], their uncertainty: see `ensemble.merge`; None: there is one member


class Seen(NamedTuple):
    """What the networks say of a picture."""

    maps: dict[str, Map]  # by the output's name, the main one first
    dtype: torch.dtype  # in which it was computed
    tiling: Mapping[str, Any] | None = None  # of a large picture: size, overlap, count of its tiles


# --- reading ---


def read(source: Any, plan: Plan, camera: Camera | None) -> Task | LeadlineError:
    """A picture, whatever `leadline.image.read` takes, prepared, or the error that it ends in."""
    return or_error(partial(_prepared, source, plan, camera), _called(source))


def _prepared(source: Any, plan: Plan, camera: Camera | None) -> Task:
    picture = image.read(source, camera=camera)
    prepared = sizes.prepare(picture.rgb, plan.rule)
    known = picture.camera
    known_by: CameraSource | None = picture.camera_source
    if known is None and plan.needs_camera:
        known, known_by = Camera.from_fov(picture.width, picture.height, horizontal=ASSUMED_FOV), "assumed"
        log.warning(  # without the picture's name: one line serves all, each record says where it holds
            "no focal length is known: %g degrees across are assumed, metres follow from it "
            "(--fov, --focal-px)",
            ASSUMED_FOV,
        )
    caption = plan.captions(picture) if plan.captions else ""
    task = Task(prepared, known, known_by, printable(picture.name), picture.notes, caption)
    windows = _windows(prepared, plan.tile) if plan.tile else []
    if len(windows) < 2:
        return task
    h, w = prepared.processed
    whole = replace(sizes.prepare(picture.rgb, plan.whole), height=h, width=w)
    return Large(**vars(task), windows=tuple(windows), whole=whole)


def _windows(prepared: Prepared, tile: int) -> list[Window]:
    return tiles.layout(*prepared.processed, tile, round(OVERLAP * tile), prepared.rule.multiple)


def _called(source: Any) -> str:
    """What errors call a picture that has not come far."""
    if isinstance(source, str | os.PathLike):
        return printable(os.fsdecode(source))
    return printable(str(getattr(source, "name", "picture")))


def ahead(tasks: Iterable[Task | LeadlineError], count: int) -> list[Task | LeadlineError]:
    """The next tasks, at most `count`. A large picture is the last of them, for the sake of memory."""
    some: list[Task | LeadlineError] = []
    for task in islice(tasks, count):
        some.append(task)
        if isinstance(task, Large):
            break
    return some


def batches(tasks: Sequence[Task | LeadlineError], batch_size: int) -> Iterator[dict[int, Task]]:
    """Tasks by their place, in batches of one processed size, large ones alone; errors are left out."""
    groups: dict[Any, dict[int, Task]] = {}
    for i, task in enumerate(tasks):
        if isinstance(task, Task):
            groups.setdefault(i if isinstance(task, Large) else task.prepared.tensor.shape, {})[i] = task
    for group in groups.values():
        rest = iter(group.items())
        while batch := dict(islice(rest, batch_size)):
            yield batch


# --- seeing ---


def see(tasks: Sequence[Task], plan: Plan, runner: Runner) -> list[Seen | LeadlineError]:
    """Pictures of one processed size. One that does not fit into memory does no harm to the others."""
    try:
        outputs = _forward(tasks, plan, runner)
    except DeviceError as error:
        if len(tasks) == 1:
            return [error]
        return [seen for task in tasks for seen in see([task], plan, runner)]
    starts = range(0, len(tasks) * plan.members, plan.members)
    apart = [{name: x[i : i + plan.members] for name, x in outputs.items()} for i in starts]
    return [
        or_error(partial(_merged, task, own, plan, runner), f"{task.name}: its ensemble")
        for task, own in zip(tasks, apart, strict=True)
    ]


def _forward(tasks: Sequence[Task], plan: Plan, run: Run) -> dict[str, Tensor]:
    """Outputs by name, [B*E,C,h,w] float32, on the device."""
    try:
        return run(
            torch.cat([task.prepared.tensor for task in tasks]),
            generators=[generator for _ in tasks for generator in noise.members(plan.seed, plan.members)],
            cameras=[task.network_camera for task in tasks],
            steps=plan.steps,
            also=plan.also,
            captions=[task.caption for task in tasks] if plan.captions else (),
        )
    except DeviceError as error:
        raise DeviceError(f"{tasks[0].name}: {error}") from None


@torch.inference_mode()
def _merged(task: Task, outputs: dict[str, Tensor], plan: Plan, runner: Runner) -> Seen:
    """One picture's outputs [E,C,h,w] -> its maps."""
    dtype = runner.dtype
    if not _finite(outputs) and dtype != torch.float32:
        log.warning("%s: not finite in %s, done again in float32", task.name, devices.dtype_name(dtype))
        dtype = torch.float32
        outputs = _forward([task], plan, runner.in_float32)
    if not _finite(outputs):
        raise WeightsError(
            f"{task.name}: the output of model {runner.method.card.name} is not finite: "
            "its file may be damaged, fetch or train it again"
        )
    main, known = next(iter(outputs)), KINDS | further(runner.method)
    maps = {}
    for name, x in outputs.items():
        kind = runner.method.kind if name == main else known[name]
        members = sizes.unpad(x, task.prepared)
        alone = len(members) == 1
        value, spread = (
            (members, None) if alone else ensemble.merge(members, kind, runner.method.preset.ensembling)
        )
        maps[name] = Map(kind, value, spread)
    return Seen(maps, dtype)


def further(method: Method) -> dict[str, Kind]:
    """What a method gives beside its main output when asked for it by name."""
    return dict(getattr(method, "also", {}))


def _finite(outputs: Mapping[str, Tensor]) -> bool:
    return all(bool(x.isfinite().all()) for x in outputs.values())


# --- errors ---


def or_error(work: Callable[[], T], what: str) -> T | LeadlineError:
    """What `work` returns, or the error that one picture ends in, as where `what` exceeds the memory."""
    try:
        return work()
    except LeadlineError as error:
        return error
    except (RuntimeError, MemoryError) as error:
        if not devices.is_out_of_memory(error):
            raise
        devices.release(error)
    return DeviceError(f"{what} does not fit into memory: make the picture smaller")

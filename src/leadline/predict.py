"""A model by its name, pictures in, predictions out.

Each picture is predicted as though alone: its noise comes from a generator of its own, and it shares nothing
with its neighbours but the time on the device. So order and company change no result; a batch size above 1
does by rounding only.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Literal, TypedDict, Unpack, cast, overload

import numpy as np
import torch
from PIL.Image import Image
from torch import Tensor, nn

from leadline import captions as words
from leadline import (
    cards,
    coding,
    devices,
    ensemble,
    image,
    large,
    light,
    methods,
    presets,
    sizes,
    tasks,
    weights,
)
from leadline.camera import Camera
from leadline.captions import Captions
from leadline.errors import KindError, LeadlineError, UsageError, did_you_mean
from leadline.image import Picture
from leadline.light import Light
from leadline.methods import Method, Metric, Sampler
from leadline.prediction import Kind, Prediction
from leadline.running import Runner
from leadline.tasks import Large, Map, Plan, Seen, Task

log = logging.getLogger(__name__)

OneImage = str | os.PathLike[str] | bytes | BinaryIO | Image | np.ndarray | Tensor | Picture
LOOK_AHEAD = 4  # batches: how far a stream is read to fill them with pictures of one size
SMALLEST_TILE = 64  # pixels: networks see nothing in less


class Options(TypedDict, total=False):
    """What may be asked of a model with its images: see `Model.stream`."""

    processing_res: int | None
    seed: int
    batch_size: int
    camera: Camera | None
    steps: int | None
    ensemble_size: int | None
    uncertainty: bool
    tile: int | None
    also: Sequence[str]
    captions: Captions | None


def load(
    model: str | Path,
    *,
    device: str | torch.device = "auto",
    dtype: str | torch.dtype = "auto",
    compat: str | None = None,
    download: bool = False,
    card: str | Path | None = None,
    task: str | None = None,
    config: Mapping[str, Any] | None = None,
    variant: str | None = None,
    empty_text: str | Path | None = None,
    vae: str | Path | None = None,
    fast: bool = True,
    offload: bool = False,
    compile: bool = False,
) -> Model:
    """A model, ready to predict.

    model: a bundled or published name (`leadline models list`), a folder, or a repository of the hub; names
    and repositories may end in `@` and a revision.
    device: "auto" takes a GPU if there is one; a device that is missing is an error, never replaced.
    dtype: "auto" is float32, with which results are proven; "float16" and "bfloat16" save memory on GPUs.
    compat: a name of leadline.presets, to repeat the arithmetic of a released program.
    download: fetch weights that are not here yet; variant: these of them, such as "fp16", where they exist.
    card: what the model is, as the name of a published one or a YAML file, for folders without card.yaml.
    task: of a model with several outputs, the main one, "depth" or "normals".
    config: entries of the method's Config in place of the card's, such as {"domain": "outdoor"} of GeoWizard.
    empty_text: a .npy or .safetensors file with the encoded empty prompt, in place of a text encoder's.
    vae: a light autoencoder in place of the model's own, faster and lossy: "tiny", a folder, or a hub
    repository. What it costs is measured on the first picture, and one line says it.
    fast: networks in their fast forms; else as they are, slower and larger. Results differ by rounding.
    offload: on a GPU, networks wait in main memory and come over one at a time, when they run.
    compile: by torch.compile, a minute or more for each of up to four sizes; where it fails, a line says so.

    Raises WeightsError, DeviceError, DocumentError or UsageError.
    """
    folder, known = weights.obtain(model, card, download=download, variant=variant)
    if known.kind is Kind.picture:
        raise KindError(f"{known.name} gives pictures, no geometry: name it as the `start` of a training")
    method, _ = methods.get(known.method)
    options: dict[str, Any] = methods.choice(known, task) | dict(config or {})
    if compat is not None:
        options["compat"] = presets.get(compat, method.presets).name
    options |= {} if empty_text is None else {"empty_text": Path(empty_text)}
    chosen = None if vae is None else light.load(vae, download=download)
    own, way = method.load(folder, known, **options), {"fast": fast, "offload": offload, "compile": compile}
    loaded = Model(own, device=device, dtype=dtype, vae=chosen, **way)
    log.info("%s; licence %s; %s", loaded.describe(), known.licence, known.terms or "no further terms")
    return loaded


def external(
    function: Callable[[np.ndarray], np.ndarray],
    kind: Kind | str,
    *,
    name: str = "external",
    frame: Literal["opencv", "opengl", "e2e_ft"] = "opencv",
    device: str | torch.device = "cpu",
) -> Model:
    """A function of a photograph as a model: it predicts, and is measured, like any other.

    function: RGB uint8 [H,W,3] -> values [H,W] of the kind, or normals [H,W,3] in the frame; one photograph
    at a time, at its own size. Affine values are stretched to [0,1]. device: only where values end up.

    >>> model = external(lambda rgb: rgb.mean(axis=2), "affine_disparity", name="brightness")
    >>> model(np.eye(3, dtype=np.uint8)).values.max().item()
    1.0
    """
    from leadline.methods.external import External, on_pictures

    kind = Kind.named(kind)
    card = cards.Card(name=name, method="function", kind=kind, frame=frame if kind is Kind.normals else None)
    return Model(External(on_pictures(function), card), device=device)


class Model:
    """A method with its weights on a device. Calling it predicts.

    >>> from leadline.methods.e2e_ft import E2EFT, Config
    >>> tiny = {"_class_name": "UNet2DModel", "in_channels": 48, "out_channels": 48, "norm_num_groups": 8,
    ...     "down_block_types": ["DownBlock2D"], "up_block_types": ["UpBlock2D"], "block_out_channels": [8]}
    >>> config = Config(noise="none", unet=tiny, autoencoder={"_class_name": "SpaceToDepth", "factor": 4})
    >>> model = Model(E2EFT.random(config), device="cpu")
    >>> model(torch.rand(3, 30, 50), processing_res=32).values.shape
    (30, 50)
    """

    def __init__(
        self,
        method: Method,
        *,
        device: str | torch.device = "auto",
        dtype: str | torch.dtype = "auto",
        vae: Light | None = None,
        fast: bool = True,
        offload: bool = False,
        compile: bool = False,
    ) -> None:
        self.device, self._why = devices.choose(device)
        self.dtype = devices.choose_dtype(dtype, self.device)
        self.method, self.vae = method, vae and vae.name
        if vae is not None:
            self.method = light.lighter(method, vae, self.dtype)
        self.network = cast(nn.Module, self.method)
        self._run = partial(
            Runner, device=self.device, dtype=self.dtype, fast=fast, offload=offload, compile=compile
        )
        self._compared = vae is None  # until the first picture has shown what it costs, the model's own works
        self.runner = self._run(method)

    @property
    def kind(self) -> Kind:
        """Of the main output."""
        return self.method.kind

    @property
    def card(self) -> cards.Card:
        """What the weights are: training data, licence, limits."""
        return self.method.card

    def describe(self) -> str:
        """Model, kind, size, device and why, precision: one line."""
        millions = sum(weight.numel() for weight in self.network.parameters()) / 1e6
        what = f"{self.card.name}: {self.kind} by {self.card.method}, {millions:.1f} M parameters"
        return f"{what}, on {self.device} ({self._why}), {devices.dtype_name(self.dtype)}"

    @overload
    def __call__(  # type: ignore[overload-overlap]
        self, images: OneImage, **options: Unpack[Options]
    ) -> Prediction: ...
    @overload
    def __call__(self, images: Iterable[Any], **options: Unpack[Options]) -> Iterator[Prediction]: ...
    def __call__(self, images: Any, **options: Unpack[Options]) -> Prediction | Iterator[Prediction]:
        """One image, whatever `leadline.image.read` takes -> its Prediction; a list or generator -> a stream.

        Options are those of `stream`. The first image that fails ends it: ImageError for one that cannot be
        read, CameraError for a camera of another size, DeviceError where memory does not suffice,
        WeightsError where the weights give no finite numbers.
        """
        alone = image.is_one(images)
        results = self.stream([images] if alone else images, **options)
        return _raised(next(results)) if alone else map(_raised, results)

    def stream(
        self,
        images: Iterable[Any],
        *,
        processing_res: int | None = None,
        seed: int = 0,
        batch_size: int = 1,
        camera: Camera | None = None,
        steps: int | None = None,
        ensemble_size: int | None = None,
        uncertainty: bool = False,
        tile: int | None = None,
        also: Sequence[str] = (),
        captions: Captions | None = None,
    ) -> Iterator[Prediction | LeadlineError]:
        """One result per image, in order: its Prediction, or the error that it ended in.

        Images are read as results are asked for; with batches, up to 4 batches ahead, to put together those
        that are processed at one size.

        processing_res: pixels at which to work, as the model's size rule counts them (usually of the longer
        edge); 0: the image's own size; None: what the model was made for.
        seed: of every image's own noise.
        camera: of every image, upright. Without one, EXIF is asked.
        steps: of denoising; None: what the model, or the program that `compat` names, was made for.
        ensemble_size: how often each image is predicted, from other noise, to be merged into one result;
        None: as for steps. The first member is what the image gives alone.
        uncertainty: whether results say how far the members of their ensemble disagree.
        tile: images that are processed at a larger size than so many pixels are worked on twice: as a whole,
        at the size that the model was made for, and in tiles of about so many pixels, a batch at a time, that
        are put together without seams (leadline.tiles); None or 0: at once, as all others.
        also: further outputs by name, where the model has any: they are in `prediction.also`.
        captions: what pictures show, for a model that reads words: one for all, by name, or a callable.

        Raises UsageError for impossible options.
        """
        if not 0 <= seed < 2**63:
            raise UsageError(f"seed is {seed}, 0 or more (and below 2**63) is needed")
        if batch_size < 1:
            raise UsageError(f"batch size is {batch_size}, 1 or more is needed")
        plan = self._plan(seed, steps, ensemble_size, uncertainty)
        needs_camera = getattr(self.method, "needs_camera", False)
        plan = replace(plan, batch_size=batch_size, also=self._also(also), needs_camera=needs_camera)
        if captions is not None:
            if getattr(self.method, "prompts", None) is None:
                raise UsageError(f"{self.card.name} reads no captions: leave them out")
            plan = replace(plan, captions=words.by(captions))
        return self._stream(iter(images), self._sized(plan, processing_res, tile or 0), camera)

    def _plan(self, seed: int, steps: int | None, ensemble_size: int | None, uncertainty: bool) -> Plan:
        method, name = self.method, self.card.name
        steps = method.steps if steps is None else steps
        members = (method.members or 1) if ensemble_size is None else ensemble_size
        if steps is not None and steps < 1 or members < 1:
            raise UsageError(f"{steps} steps, ensemble size {members}: both must be 1 or more")
        if method.steps is None and steps not in (None, 1):
            raise UsageError(f"{name} works in one step, {steps} are asked for: leave out steps")
        if method.members is None and members > 1:
            raise UsageError(
                f"{name} makes no ensembles, {members} members are asked for: leave out their size"
            )
        if uncertainty and members == 1:
            raise UsageError(
                "uncertainty is the spread of an ensemble: ask for an ensemble size of 2 or more"
            )
        if method.steps is not None and steps is not None:
            cast(Sampler, method).timesteps(steps)
        if members > 1:
            ensemble.check(self.kind, method.preset.ensembling)
        return Plan(method.size_rule, seed, steps if method.steps else None, members, uncertainty)

    def _also(self, names: Sequence[str]) -> tuple[str, ...]:
        known = tasks.further(self.method)
        for name in names:
            if name not in known:
                hint = did_you_mean(name, known) if known else "leave it out"
                raise UsageError(f"{self.card.name} has no further output {name!r}: {hint}")
        return tuple(dict.fromkeys(names))

    def _sized(self, plan: Plan, processing_res: int | None, tile: int) -> Plan:
        """The plan for pictures of that size, and tiles of that size."""
        if tile and tile < SMALLEST_TILE:
            raise UsageError(f"tile is {tile} pixels, {SMALLEST_TILE} or more are needed, or 0 for none")
        whole = plan.rule if plan.rule.processing_res else replace(plan.rule, processing_res=tile)
        rule = plan.rule if processing_res is None else replace(plan.rule, processing_res=processing_res)
        return replace(plan, rule=rule, whole=whole, tile=tile)

    def _stream(
        self, images: Iterator[Any], plan: Plan, camera: Camera | None
    ) -> Iterator[Prediction | LeadlineError]:
        ahead = 1 if plan.batch_size == 1 else LOOK_AHEAD * plan.batch_size
        read = (tasks.read(source, plan, camera) for source in images)
        while some := tasks.ahead(read, ahead):
            results: dict[int, Prediction | LeadlineError] = {}
            for batch in tasks.batches(some, plan.batch_size):
                results.update(zip(batch, self._predict(list(batch.values()), plan), strict=True))
            for i, task in enumerate(some):
                yield task if isinstance(task, LeadlineError) else results.pop(i)

    def _predict(self, batch: list[Task], plan: Plan) -> list[Prediction | LeadlineError]:
        """Tasks of one processed size, or a large one."""
        if not self._compared:
            return [self._first(batch[0], plan), *(self._predict(batch[1:], plan) if batch[1:] else [])]
        if isinstance(batch[0], Large):
            found = [large.see(batch[0], plan, self.runner)]
        else:
            found = tasks.see(batch, plan, self.runner)
        return [
            seen
            if isinstance(seen, LeadlineError)
            else tasks.or_error(
                partial(self._result, task, seen, plan), f"{task.name}: the result at its own size"
            )
            for task, seen in zip(batch, found, strict=True)
        ]

    def _first(self, task: Task, plan: Plan) -> Prediction | LeadlineError:
        """The first picture, also by the model's own autoencoder, which is then let go; one line compares."""
        self._compared = True
        predict = partial(self._predict, [task], plan)
        own = light.trial(predict, self.device)
        self.runner.end()
        self.runner = self._run(self.method)
        found = light.trial(predict, self.device)
        log.warning("%s: autoencoder %s %s", task.name, self.vae, light.cost(own, found))
        return found.result

    def _result(self, task: Task, seen: Seen, plan: Plan) -> Prediction:
        """What the networks say of one picture -> its prediction."""
        settings = {
            "processing_res": task.prepared.rule.processing_res,
            "processed_size": task.prepared.processed,  # height, width
            **({} if seen.tiling is None else {"tiles": seen.tiling}),
            "seed": plan.seed,
            **({} if plan.steps is None else {"steps": plan.steps, "ensemble_size": plan.members}),
            "preset": self.method.preset.name,
            **getattr(self.method, "settings", {}),
            **({"vae": self.vae} if self.vae else {}),
            "device": str(self.device),
            "dtype": devices.dtype_name(seen.dtype),
            "image": task.notes,
        }
        main, *others = (self._published(task, own, plan, settings) for own in seen.maps.values())
        return replace(main, also=dict(zip(list(seen.maps)[1:], others, strict=True)))

    @torch.inference_mode()
    def _published(self, task: Task, found: Map, plan: Plan, settings: dict[str, Any]) -> Prediction:
        """One map of a picture -> the numbers users get."""
        restore, spread = partial(sizes.restore, prepared=task.prepared), found.spread
        x = coding.publish(found.value, found.kind, self.method.preset, restore)  # [1,C,H,W]
        valid, settings = self._marked(x, found.kind, task, settings)
        values = x[0].permute(1, 2, 0).contiguous().cpu().numpy()  # [H,W,C]
        return Prediction(
            values if found.kind.is_coloured else values[..., 0],
            found.kind,
            valid,
            uncertainty=restore(spread)[0, 0].clamp(min=0).cpu().numpy()
            if plan.uncertainty and spread is not None
            else None,
            camera=task.camera,
            camera_source=task.camera_source,
            model=self.card.name,
            revision=self.card.hub.revision if self.card.hub else None,
            settings=settings,
        )

    def _marked(
        self, x: Tensor, kind: Kind, task: Task, settings: dict[str, Any]
    ) -> tuple[np.ndarray | None, dict[str, Any]]:
        """Which metres [1,1,H,W] are valid, and settings that say how many lie at the end of the range."""
        if kind is not Kind.metric_depth or not hasattr(self.method, "beyond"):
            return None, settings
        metric = cast(Metric, self.method)
        beyond = metric.beyond(x, task.network_camera)[0, 0].cpu().numpy()
        settings = settings | {"share_at_range_end": float(beyond.mean())}
        return (~beyond if metric.masks_beyond else None), settings


def _raised(result: Prediction | LeadlineError) -> Prediction:
    if isinstance(result, LeadlineError):
        raise result
    return result

"""A model by its name, pictures in, predictions out.

Each picture is predicted as though alone: its noise comes from a generator of its own, and it shares nothing
with its neighbours but the time on the device. So order and company change no result; a batch size above 1
does by rounding only.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, cast, overload

import numpy as np
import torch
from PIL.Image import Image
from torch import Generator, Tensor, nn

from leadline import cards, coding, devices, image, methods, presets, sizes, weights
from leadline.camera import Camera
from leadline.errors import DeviceError, LeadlineError, UsageError, WeightsError
from leadline.image import Picture
from leadline.methods import Method
from leadline.prediction import CameraSource, Kind, Prediction
from leadline.sizes import Prepared, SizeRule

log = logging.getLogger(__name__)

OneImage = str | os.PathLike[str] | bytes | BinaryIO | Image | np.ndarray | Tensor | Picture
KINDS = {"depth": Kind.affine_depth, "disparity": Kind.affine_disparity, "normals": Kind.normals}
LOOK_AHEAD = 4  # batches: how far a stream is read to fill them with pictures of one size


def load(
    model: str | Path,
    *,
    device: str | torch.device = "auto",
    dtype: str | torch.dtype = "auto",
    compat: str | None = None,
    download: bool = False,
) -> Model:
    """A model, ready to predict.

    model: a bundled or published name (`leadline models list`), or a folder with a card.yaml.
    device: "auto" takes a GPU if there is one; a device that is missing is an error, never replaced.
    dtype: "auto" is float32, with which results are proven; "float16" and "bfloat16" save memory on GPUs.
    compat: a name of leadline.presets, to repeat the arithmetic of a released program.
    download: fetch the weights of a published model that is not on this machine yet.

    Raises WeightsError, DeviceError or UsageError.
    """
    if compat is not None:
        presets.get(compat)
    folder = weights.find(model, download=download)
    card = cards.read(folder / "card.yaml") if (folder / "card.yaml").is_file() else cards.get(str(model))
    method, _ = methods.get(card.method)
    options = {} if compat is None else {"compat": compat}
    loaded = Model(method.load(folder, card, **options), device=device, dtype=dtype)
    log.info("%s; licence %s; %s", loaded.describe(), card.licence, card.terms or "no further terms")
    return loaded


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
        self, method: Method, *, device: str | torch.device = "auto", dtype: str | torch.dtype = "auto"
    ) -> None:
        self.method = method
        self.device, self._why = devices.choose(device)
        self.dtype = devices.choose_dtype(dtype, self.device)
        self.network = cast(nn.Module, method).requires_grad_(False).eval()
        self._place(self.dtype)

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
        return f"{what}, on {self.device} ({self._why}), {_name(self.dtype)}"

    @overload
    def __call__(  # type: ignore[overload-overlap]
        self,
        images: OneImage,
        *,
        processing_res: int | None = None,
        seed: int = 0,
        batch_size: int = 1,
        camera: Camera | None = None,
    ) -> Prediction: ...
    @overload
    def __call__(
        self,
        images: Iterable[Any],
        *,
        processing_res: int | None = None,
        seed: int = 0,
        batch_size: int = 1,
        camera: Camera | None = None,
    ) -> Iterator[Prediction]: ...
    def __call__(
        self,
        images: Any,
        *,
        processing_res: int | None = None,
        seed: int = 0,
        batch_size: int = 1,
        camera: Camera | None = None,
    ) -> Prediction | Iterator[Prediction]:
        """One image, whatever `leadline.image.read` takes -> its Prediction; a list or generator -> a stream.

        Options are those of `stream`. The first image that fails ends it: ImageError for one that cannot be
        read, CameraError for a camera of another size, DeviceError where memory does not suffice,
        WeightsError where the weights give no finite numbers.
        """
        alone = image.is_one(images)
        results = self.stream(
            [images] if alone else images,
            processing_res=processing_res,
            seed=seed,
            batch_size=batch_size,
            camera=camera,
        )
        return _raised(next(results)) if alone else map(_raised, results)

    def stream(
        self,
        images: Iterable[Any],
        *,
        processing_res: int | None = None,
        seed: int = 0,
        batch_size: int = 1,
        camera: Camera | None = None,
    ) -> Iterator[Prediction | LeadlineError]:
        """One result per image, in order: its Prediction, or the error that it ended in.

        Images are read as results are asked for; with batches, up to 4 batches ahead, to put together those
        that are processed at one size.

        processing_res: pixels at which to work, as the model's size rule counts them (usually of the longer
        edge); 0: the image's own size; None: what the model was made for.
        seed: of every image's own noise.
        camera: of every image, upright. Without one, EXIF is asked.

        Raises UsageError for impossible options.
        """
        if not 0 <= seed < 2**63:
            raise UsageError(f"seed is {seed}, 0 or more (and below 2**63) is needed")
        if batch_size < 1:
            raise UsageError(f"batch size is {batch_size}, 1 or more is needed")
        rule = self.method.size_rule
        rule = rule if processing_res is None else replace(rule, processing_res=processing_res)
        return self._stream(iter(images), rule, seed, batch_size, camera)

    def _stream(
        self, images: Iterator[Any], rule: SizeRule, seed: int, batch_size: int, camera: Camera | None
    ) -> Iterator[Prediction | LeadlineError]:
        ahead = 1 if batch_size == 1 else LOOK_AHEAD * batch_size
        while tasks := [_task(source, rule, camera) for source in islice(images, ahead)]:
            results: dict[int, Prediction | LeadlineError] = {}
            for batch in _batches(tasks, batch_size):
                results.update(zip(batch, self._predict(list(batch.values()), seed), strict=True))
            for i, task in enumerate(tasks):
                yield task if isinstance(task, LeadlineError) else results.pop(i)

    def _predict(self, tasks: list[_Task], seed: int) -> list[Prediction | LeadlineError]:
        """Tasks of one processed size. What does not fit into memory together is tried one by one."""
        try:
            outputs = self._forward(tasks, seed)
            apart = [{name: x[i : i + 1] for name, x in outputs.items()} for i in range(len(tasks))]
            return [self._result(task, own, seed) for task, own in zip(tasks, apart, strict=True)]
        except RuntimeError as error:
            if not devices.is_out_of_memory(error):
                raise
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        if len(tasks) == 1:
            return [_too_large(tasks[0], self.device)]
        log.warning("out of memory with %d pictures at a time, going on one by one", len(tasks))
        return [result for task in tasks for result in self._predict([task], seed)]

    @torch.inference_mode()
    def _forward(self, tasks: list[_Task], seed: int, dtype: torch.dtype | None = None) -> dict[str, Tensor]:
        """Outputs by name, [B,C,h,w] float32, on the device."""
        rgb = torch.cat([task.prepared.tensor for task in tasks])  # [B,3,h,w]
        rgb = rgb.to(self.device, dtype or self.dtype, memory_format=torch.channels_last)
        generators = [Generator().manual_seed(seed) for _ in tasks]
        cameras = [task.network_camera for task in tasks]
        outputs = self.method.forward(rgb, generators=generators, camera=cameras)
        return {name: x.float() for name, x in outputs.items()}

    def _result(self, task: _Task, outputs: dict[str, Tensor], seed: int) -> Prediction | LeadlineError:
        """One picture's outputs [1,C,h,w] -> its prediction."""
        dtype = self.dtype
        if not _finite(outputs) and dtype != torch.float32:
            log.warning("%s: not finite in %s, done again in float32", task.name, _name(dtype))
            dtype = torch.float32
            outputs = self._forward_in_float32(task, seed)
        if not _finite(outputs):
            return WeightsError(
                f"{task.name}: the output of model {self.card.name} is not finite: "
                "its file may be damaged, fetch or train it again"
            )
        settings = {
            "processing_res": task.prepared.rule.processing_res,
            "processed_size": task.prepared.processed,  # height, width
            "seed": seed,
            "preset": self.method.preset.name,
            "device": str(self.device),
            "dtype": _name(dtype),
            "image": task.notes,
        }
        kinds = [self.kind] + [KINDS[name] for name in list(outputs)[1:]]
        main, *others = (
            self._published(task, x, kind, settings) for x, kind in zip(outputs.values(), kinds, strict=True)
        )
        return replace(main, also=dict(zip(list(outputs)[1:], others, strict=True)))

    def _forward_in_float32(self, task: _Task, seed: int) -> dict[str, Tensor]:
        self._place(torch.float32)
        try:
            return self._forward([task], seed, torch.float32)
        finally:
            self._place(self.dtype)

    @torch.inference_mode()
    def _published(self, task: _Task, x: Tensor, kind: Kind, settings: dict[str, Any]) -> Prediction:
        restore = partial(sizes.restore, prepared=task.prepared)
        x = coding.publish(sizes.unpad(x, task.prepared), kind, self.method.preset, restore)  # [1,C,H,W]
        values = x[0].permute(1, 2, 0).contiguous().cpu().numpy()  # [H,W,C]
        return Prediction(
            values if kind is Kind.normals else values[..., 0],
            kind,
            camera=task.camera,
            camera_source=task.camera_source,
            model=self.card.name,
            revision=self.card.hub.revision if self.card.hub else None,
            settings=settings,
        )

    def _place(self, dtype: torch.dtype) -> None:
        # channels last: 2 to 20 % faster on a processor (measured), and what half precision wants on GPUs
        self.network.to(self.device, dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]


@dataclass(frozen=True, eq=False)
class _Task:
    """A picture on its way: all that is needed of it once it is prepared."""

    prepared: Prepared
    camera: Camera | None
    camera_source: CameraSource | None
    name: str
    notes: tuple[str, ...]

    @property
    def network_camera(self) -> Camera | None:
        """The camera of the prepared tensor."""
        (h, w), (_, _, height, width) = self.prepared.processed, self.prepared.tensor.shape
        return self.camera and self.camera.resized(w, h).padded(0, 0, width - w, height - h)


def _task(source: Any, rule: SizeRule, camera: Camera | None) -> _Task | LeadlineError:
    try:
        picture = image.read(source, camera=camera)
        prepared = sizes.prepare(picture.rgb, rule)
    except LeadlineError as error:
        return error
    return _Task(prepared, picture.camera, picture.camera_source, picture.name, picture.notes)


def _batches(tasks: list[_Task | LeadlineError], batch_size: int) -> Iterator[dict[int, _Task]]:
    """Tasks by their place, in batches of one processed size; errors are left out."""
    groups: dict[torch.Size, dict[int, _Task]] = {}
    for i, task in enumerate(tasks):
        if isinstance(task, _Task):
            groups.setdefault(task.prepared.tensor.shape, {})[i] = task
    for group in groups.values():
        rest = iter(group.items())
        while batch := dict(islice(rest, batch_size)):
            yield batch


def _finite(outputs: Mapping[str, Tensor]) -> bool:
    return all(bool(x.isfinite().all()) for x in outputs.values())


def _too_large(task: _Task, device: torch.device) -> DeviceError:
    height, width = task.prepared.tensor.shape[2:]
    return DeviceError(
        f"{task.name}: not enough memory on {device} for {width}x{height} pixels: "
        "choose a smaller processing resolution"
    )


def _raised(result: Prediction | LeadlineError) -> Prediction:
    if isinstance(result, LeadlineError):
        raise result
    return result


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")

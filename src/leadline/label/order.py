"""What is asked of the labels, and the networks that make them: all that decides what is in the shards."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from leadline import image
from leadline.errors import UsageError
from leadline.jobs.settings import weights_digest

if TYPE_CHECKING:
    from leadline.networks.labellers import Captioner, Segmenter
    from leadline.predict import Model

FORMAT = 1  # of the shards; rises when readers of older ones would misread them


@dataclass(frozen=True)
class Order:
    """Which labels, by which networks; names as `leadline.load` and `leadline.networks.labellers` take them.

    depth: a model of any kind of depth, or None. classes: a segmenter, or None. captions: a captioner, or
    None; prompt: what its captions go on from. confidence: how far depth may be believed: "mirror" also
    predicts the mirrored picture, "ensemble" takes the spread of an ensemble's members. size: pixels; larger
    pictures are stored, and labelled, with a longer edge of so many; 0: as they are.

    Raises UsageError where nothing is asked for, or what is asked does not go together.
    """

    depth: str | None = "small"
    classes: str | None = None
    captions: str | None = None
    prompt: str = ""
    confidence: Literal["none", "mirror", "ensemble"] = "none"
    size: int = 1024
    seed: int = 0
    processing_res: int | None = None
    steps: int | None = None
    ensemble_size: int | None = None
    card: str | None = None
    batch_size: int = 4
    device: str = "auto"
    dtype: str = "auto"
    download: bool = False
    max_pixels: int = image.MAX_PIXELS

    def __post_init__(self) -> None:
        if not (self.depth or self.classes or self.captions):
            raise UsageError("nothing to label with: name a model of depth, a segmenter or a captioner")
        if self.confidence not in ("none", "mirror", "ensemble"):
            raise UsageError(f"confidence is {self.confidence!r}: none, mirror or ensemble is needed")
        if self.confidence != "none" and not self.depth:
            raise UsageError(f"confidence {self.confidence!r} is of depth: name a model of depth")
        if self.prompt and not self.captions:
            raise UsageError("a prompt is for captions: name a captioner")
        if self.size < 0 or self.batch_size < 1:
            raise UsageError(
                f"size {self.size}, batch size {self.batch_size}: 0 or more, 1 or more is needed"
            )


@dataclass(frozen=True)
class Networks:
    """An order's networks, loaded."""

    order: Order
    depth: Model | None
    classes: Segmenter | None
    captions: Captioner | None

    def settings(self) -> dict[str, Any]:
        """All that changes labels by more than rounding, as JSON types: shards of one folder share it."""
        order, depth = self.order, self.depth
        settings: dict[str, Any] = {"format": FORMAT, "size": order.size}
        if depth is not None:
            settings["depth"] = {
                "model": depth.card.name,
                "revision": depth.card.hub.revision if depth.card.hub else None,
                "weights": weights_digest(depth.network),
                "kind": str(depth.kind),
                "dtype": str(depth.dtype).removeprefix("torch."),
                **{key: getattr(order, key) for key in ("seed", "processing_res", "steps", "ensemble_size")},
                "confidence": order.confidence,
            }
        if self.classes is not None:
            digest = weights_digest(self.classes.network)
            name = Path(self.classes.name).name  # of a folder: wherever it lies
            settings["classes"] = {"model": name, "weights": digest, "names": self.classes.names}
        if self.captions is not None:
            digest = weights_digest(self.captions.network)
            name = Path(self.captions.name).name
            settings["captions"] = {"model": name, "weights": digest, "prompt": order.prompt}
        return settings


def load(order: Order) -> Networks:
    """The networks, on their device. Raises UsageError, WeightsError or DeviceError."""
    from leadline.networks import labellers
    from leadline.predict import load as load_model

    place: dict[str, Any] = {"device": order.device, "dtype": order.dtype, "download": order.download}
    depth = load_model(order.depth, card=order.card, **place) if order.depth else None
    if depth is not None:
        if not depth.kind.is_depth:
            raise UsageError(f"{depth.card.name} predicts {depth.kind}: labels need a model of depth")
        depth.stream([], **sampling(order))  # what it cannot do is said before the work
    classes = labellers.segmenter(order.classes, **place) if order.classes else None
    captions = labellers.captioner(order.captions, prompt=order.prompt, **place) if order.captions else None
    return Networks(order, depth, classes, captions)


def sampling(order: Order) -> dict[str, Any]:
    """How the model of depth is asked."""
    return {
        "seed": order.seed,
        "processing_res": order.processing_res,
        "steps": order.steps,
        "ensemble_size": order.ensemble_size,
        "uncertainty": order.confidence == "ensemble",
        "batch_size": order.batch_size,
    }

"""What results depend on: two runs into one folder must agree on it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict
from typing import Any, Protocol

from leadline.camera import Camera
from leadline.captions import by
from leadline.errors import CameraError, LeadlineError
from leadline.image import Picture
from leadline.jobs.known import Known
from leadline.prediction import Kind, Prediction
from leadline.save import Style

CameraOf = Callable[[int, int], Camera]  # width, height of the upright image


class Predictor(Protocol):
    """What a run needs of a model; `leadline.load` gives one."""

    @property
    def kind(self) -> Kind: ...
    @property
    def card(self) -> Any: ...

    method: Any
    network: Any
    dtype: Any

    def stream(
        self,
        images: Iterable[Picture],
        *,
        processing_res: int | None,
        seed: int,
        batch_size: int,
        **more: Any,
    ) -> Iterator[Prediction | LeadlineError]:
        """One result per picture, in order."""


def of_run(
    model: Predictor,
    style: Style,
    asked: Mapping[str, Any],
    *,
    camera: Camera | CameraOf | None,
    known: Known | None,
) -> dict[str, Any]:
    """All settings that change what is in the files of a run, as JSON types. Formats only add files.

    asked: options of the model's stream, as far as they were given; its own follow from the model.
    """
    captions = asked.get("captions")
    return {
        "model": model.card.name,
        "revision": model.card.hub.revision if model.card.hub else None,
        "weights": weights_digest(model.network),
        "preset": model.method.preset.name,
        **getattr(model.method, "settings", {}),
        "dtype": str(model.dtype).removeprefix("torch."),
        **asked,
        **({} if captions is None else {"captions": str(by(captions))}),
        "camera": _words(camera) if camera else None,
        **asdict(style),
        **({"align": known.settings} if known else {}),
    }


def _words(camera: Camera | CameraOf) -> Any:
    """A camera, or what a rule for cameras gives for images of three sizes."""
    if isinstance(camera, Camera):
        return asdict(camera)
    words: list[Any] = []
    for side in (100, 1000, 10000):
        try:
            words.append(asdict(camera(side, side)))
        except CameraError as error:  # not for images of that size
            words.append(str(error))
    return words


def weights_digest(network: Any) -> str:
    """A short hash of the first numbers of every weight: trained on, a model of the same name is another."""
    digest = hashlib.blake2b(digest_size=6)
    for name, weight in network.state_dict().items():
        digest.update(name.encode())
        digest.update(weight.detach().flatten()[:16].float().cpu().numpy().tobytes())
    return digest.hexdigest()

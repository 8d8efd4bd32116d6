"""What is measured: a model that predicts, or a folder of predictions. Both give predictions of pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from leadline import cards, methods, weights
from leadline.errors import KindError, LeadlineError, UsageError
from leadline.evaluate import stored, views
from leadline.image import Picture
from leadline.jobs.settings import weights_digest
from leadline.predict import Model, load
from leadline.prediction import Kind, Prediction
from leadline.protocols import Protocol as Rules

Result = Prediction | LeadlineError


class Contender(Protocol):
    """Something that is measured. `start` comes before `facts` and `predict`, `stop` after them."""

    label: str  # its name in results
    name: str  # of its card, by which protocols know it
    kind: Kind
    live: bool  # whether it predicts now, so that its time can be measured
    trained_on: str  # data sets, as its card says

    def start(self) -> None:
        """Load what is needed. Raises LeadlineError."""
        ...

    def stop(self) -> None:
        """Let go of it."""
        ...

    def facts(self) -> dict[str, Any]:
        """What it is, as JSON types: equal facts give equal predictions."""
        ...

    def settings(self, rules: Rules, data: str) -> dict[str, Any]:
        """How it works on a data set, as JSON types."""
        ...

    def predict(self, pictures: Sequence[Picture], rules: Rules, data: str) -> list[Result]:
        """One result per picture, in order."""
        ...


class Live:
    """A model. Its settings are those asked for, or the protocol's, or its card's."""

    live = True

    def __init__(
        self,
        model: str | Path | Model,
        label: str | None = None,
        *,
        processing_res: int | None = None,
        steps: int | None = None,
        ensemble_size: int | None = None,
        seed: int | None = None,
        batch_size: int = 1,
        **loading: Any,
    ) -> None:
        """loading: options of `leadline.load`, for names. WeightsError: the model is not on this machine."""
        if isinstance(model, Model) and loading:
            raise UsageError(
                f"{model.card.name} is loaded already: give {', '.join(loading)} where that is done"
            )
        self.source, self.loading, self.batch_size = model, loading, batch_size
        self.model = model if isinstance(model, Model) else None
        self.card = model.card if isinstance(model, Model) else _card(model, loading)
        self.label, self.name = label or self.card.name, self.card.name
        if isinstance(model, Model):
            self.kind = model.kind
        else:
            self.kind = methods.kind_of(self.card, loading.get("task"), loading.get("config"))
        self.trained_on = self.card.training_data
        self.asked = {
            "processing_res": processing_res,
            "steps": steps,
            "ensemble_size": ensemble_size,
            "seed": seed,
        }

    def start(self) -> None:
        if self.model is None and not isinstance(self.source, Model):
            self.model = load(self.source, **self.loading)

    def stop(self) -> None:
        if not isinstance(self.source, Model):
            self.model = None  # the next one may need the memory
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def facts(self) -> dict[str, Any]:
        model = self._started()
        return {
            "name": self.name,
            "kind": str(model.kind),
            "revision": self.card.hub.revision if self.card.hub else None,
            "weights": weights_digest(model.network),
            "preset": model.method.preset.name,
            **getattr(model.method, "settings", {}),
            "dtype": str(model.dtype).removeprefix("torch."),
        }

    def settings(self, rules: Rules, data: str) -> dict[str, Any]:
        sampling = rules.sampling.get(self.name)
        rule = rules.rule(data)
        own = {
            "processing_res": rules.works_at(self.name, data),
            "steps": sampling and sampling.steps,
            "ensemble_size": sampling and sampling.ensemble_size,
            "seed": rules.seed if rule.seed is None else rule.seed,
        }
        return {key: own[key] if asked is None else asked for key, asked in self.asked.items()}

    def predict(self, pictures: Sequence[Picture], rules: Rules, data: str) -> list[Result]:
        model, options = self._started(), self.settings(rules, data)
        results = list(model.stream(pictures, batch_size=self.batch_size, **options))
        if not rules.mirror:
            return results
        flipped = [views.mirrored(picture) for picture in pictures]
        turned = model.stream(flipped, batch_size=self.batch_size, **options)
        return [_mean(a, b) for a, b in zip(results, turned, strict=True)]

    def _started(self) -> Model:
        if self.model is None:
            self.start()
        assert self.model is not None
        return self.model


class Stored:
    """A folder of predictions that were made elsewhere."""

    live = False

    def __init__(
        self,
        folder: str | Path,
        label: str | None = None,
        *,
        kind: str | None = None,
        frame: str | None = None,
    ) -> None:
        """kind, frame: of what the files hold, where the folder does not say it. Raises UsageError."""
        self.folder = Path(folder)
        self.meaning = stored.meaning_of(self.folder, kind, frame)
        self.kind, self.name = self.meaning.kind, self.meaning.model
        self.label = label or self.meaning.model or self.folder.name
        self.trained_on = cards.get(self.name).training_data if cards.has(self.name) else "unknown"

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def facts(self) -> dict[str, Any]:
        return {"folder": str(self.folder.resolve()), **self.meaning._asdict(), "kind": str(self.kind)}

    def settings(self, rules: Rules, data: str) -> dict[str, Any]:
        return {}

    def predict(self, pictures: Sequence[Picture], rules: Rules, data: str) -> list[Result]:
        return [self._read(picture.name, rules, data) for picture in pictures]

    def _read(self, name: str, rules: Rules, data: str) -> Result:
        try:
            return stored.read(self.folder, name, rules.rule(data), self.meaning)
        except LeadlineError as error:
            return error


def _card(model: str | Path, loading: Mapping[str, Any]) -> Any:
    options = {key: loading[key] for key in ("download", "variant") if key in loading}
    return weights.card_of(model, weights.find(model, **options), loading.get("card"))


def _mean(result: Result, mirrored: Result) -> Result:
    """Of a prediction and that of the mirrored picture, turned back."""
    if isinstance(result, LeadlineError) or isinstance(mirrored, LeadlineError):
        return result if isinstance(result, LeadlineError) else mirrored
    if result.kind is Kind.normals:
        return KindError("normals have no mean with the mirrored picture here: leave out mirror")
    return replace(result, values=((result.values + mirrored.values[:, ::-1]) / 2).astype(np.float32))

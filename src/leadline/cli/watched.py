"""A model as the commands use it: it says once what goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from leadline.errors import LeadlineError

if TYPE_CHECKING:
    from leadline.image import Picture
    from leadline.predict import Model
    from leadline.prediction import Prediction


class Watched:
    """A model that says once, with its first result, what goes on."""

    def __init__(self, model: Model, say: Callable[[str], None]) -> None:
        self.model = model
        self.say: Callable[[str], None] | None = say
        self.kind, self.card = model.kind, model.card
        self.method, self.network, self.dtype = model.method, model.network, model.dtype

    def check(self, **options: Any) -> None:
        """Raises UsageError for options that this model does not have, before the work."""
        self.model.stream([], **options)

    def stream(self, images: Iterable[Picture], **options: Any) -> Iterator[Prediction | LeadlineError]:
        """As `Model.stream`."""
        for result in self.model.stream(images, **options):
            self._note(result)
            yield result

    def one(self, picture: Picture, **options: Any) -> Prediction:
        """The prediction of one picture; its error is raised."""
        (result,) = self.stream([picture], **options)
        if isinstance(result, LeadlineError):
            raise result
        return result

    def _note(self, result: Prediction | LeadlineError) -> None:
        if self.say is None or isinstance(result, LeadlineError):
            return
        height, width = result.settings["processed_size"]
        sizes = f"{result.width}x{result.height} worked on at {width}x{height}"
        if tiles := result.settings.get("tiles"):
            sizes += f" in {tiles['count']} tiles of {tiles['size'][1]}x{tiles['size'][0]}"
        self.say(f"{sizes} by {self.model.describe()}; licence {self.card.licence}")
        self.say = None

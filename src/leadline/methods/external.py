"""Models from elsewhere: an ONNX file, or a function of the picture. They predict and are measured; training
them is their makers' affair.

Affine values come as they are and are stretched to [0,1], which changes nothing that an affine map means.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Literal, NoReturn, Self

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict
from torch import Generator, Tensor, nn

from leadline import cards, coding, documents
from leadline.cache import sha256
from leadline.cards import Card
from leadline.errors import ShapeError, UsageError, WeightsError, extra
from leadline.prediction import Kind
from leadline.presets import Preset
from leadline.sizes import SizeRule

PRESETS = {"leadline": Preset("leadline", SizeRule(), stretch=True)}
PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}  # of ONNX Runtime, by device
OUTPUTS = {Kind.affine_disparity: "disparity", Kind.normals: "normals"}  # all others: depth

Values = Callable[[Tensor], Tensor]  # RGB [B,3,h,w] in [0,1] -> [B,1,h,w], or directions [B,3,h,w]


class Config(BaseModel):
    """What is to be known about an ONNX file. It stands under `config` on the model's card."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str = "model.onnx"  # in the model's folder
    input: str | None = None  # name of the picture, [B,3,h,w]; None: the first input
    output: str | None = None  # name of the map, [B,1,h,w], [B,h,w] or [B,3,h,w]; None: the first output
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)  # the network gets (colours in [0,1] - mean) / std
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    compat: Literal["leadline"] = "leadline"
    size: dict[str, Any] = {}  # fields of SizeRule; a file that takes one size only gets the picture at that


class External(nn.Module):
    """A model of which only the way from a picture to its values is known."""

    presets: ClassVar[Mapping[str, Preset]] = PRESETS
    steps: int | None = None
    members: int | None = None

    def __init__(self, values: Values, card: Card, size_rule: SizeRule | None = None) -> None:
        super().__init__()
        self.values, self.card, self.kind = values, card, card.kind
        self.preset = PRESETS["leadline"]
        self.size_rule = size_rule or self.preset.size

    def forward(
        self,
        rgb: Tensor,
        *,
        generators: Sequence[Generator] | None = None,
        camera: object = None,
        text: object = None,
    ) -> dict[str, Tensor]:
        """RGB [B,3,h,w] in [-1,1] -> its one output, of the same size. Raises ShapeError for another one."""
        x = self.values((rgb.float() + 1) / 2).to(rgb.device, torch.float32)
        wanted = [len(rgb), 3 if self.kind is Kind.normals else 1, *rgb.shape[2:]]
        if list(x.shape) != wanted:
            raise ShapeError(
                f"{self.card.name} returns {list(x.shape)}, {wanted} is needed for {self.kind}: "
                "check the kind and the output that are given"
            )
        if self.kind is Kind.normals:
            x = coding.turned(x, self.card.frame or "opencv", "opencv")
        return {OUTPUTS.get(self.kind, "depth"): x}

    def for_prediction(self, steps: int | None = None) -> Self:
        """Itself: it has no other way."""
        return self

    def loss(self, batch: object, generator: object = None) -> NoReturn:
        """Raises UsageError: there are no gradients through it."""
        raise UsageError(f"{self.card.name} comes from elsewhere: it cannot be trained here")

    def save(self, folder: Path, *, fp16: bool = False) -> NoReturn:
        """Raises UsageError: its file and its card are all there is."""
        raise UsageError(f"{self.card.name} comes from elsewhere: copy its file and its card.yaml")

    @classmethod
    def random(cls, config: object, seed: int = 0) -> NoReturn:
        """Raises UsageError: of its networks nothing is known."""
        raise UsageError("models from elsewhere cannot be built from nothing: choose another method")

    @classmethod
    def load(cls, folder: Path, card: Card | None = None, **options: Any) -> Self:
        """A folder with a card.yaml and the ONNX file that it names.

        Raises WeightsError if the file is missing or damaged, or ONNX Runtime is not installed.
        """
        card = card or cards.read(folder / "card.yaml")
        given = {"size": card.size_rule} | card.config | options
        config = documents.validate(given, Config, f"{card.name}: config")
        file = folder / config.file
        if not file.is_file():
            raise WeightsError(f"{file}: no such file: put it there, or name it on the card as config.file")
        model = cls(Onnx(file, config), card, replace(PRESETS["leadline"].size, **config.size))
        digest = torch.frombuffer(bytearray.fromhex(sha256(file)), dtype=torch.uint8)
        model.register_buffer("digest", digest)  # in place of weights: runs notice another file
        return model


def on_pictures(function: Callable[[np.ndarray], np.ndarray]) -> Values:
    """A function of one picture, uint8 [H,W,3] -> [H,W] or normals [H,W,3], as one of batches."""

    def values(rgb: Tensor) -> Tensor:
        pictures = (rgb * 255).round().clamp(0, 255).byte().movedim(1, -1).numpy(force=True)
        maps = [torch.from_numpy(np.array(function(picture), np.float32)) for picture in pictures]
        x = torch.stack(maps)
        return x.movedim(-1, 1) if x.dim() == 4 else x.unsqueeze(1)

    return values


class Onnx:
    """An ONNX file, run where the pictures are. Pictures go to the file's own size and maps come back."""

    def __init__(self, file: Path, config: Config) -> None:
        self.file, self.config = file, config
        self._sessions = {"cpu": _session(file, "cpu")}
        taken = _named(self._sessions["cpu"].get_inputs(), config.input, f"{file}: input")
        if len(taken.shape) != 4 or taken.shape[1] not in (3, None) and not isinstance(taken.shape[1], str):
            raise WeightsError(
                f"{file}: input {taken.name} is {taken.shape}, [B, 3, H, W] is needed: convert it"
            )
        self.input, self.taken = taken.name, taken.shape
        self.output = _named(self._sessions["cpu"].get_outputs(), config.output, f"{file}: output").name

    def __call__(self, rgb: Tensor) -> Tensor:
        """RGB [B,3,h,w] in [0,1] -> [B,C,h,w]."""
        device = rgb.device.type
        if device not in self._sessions:
            self._sessions[device] = _session(self.file, device)
        mean, std = (rgb.new_tensor(x).view(1, 3, 1, 1) for x in (self.config.mean, self.config.std))
        x = (rgb - mean) / std
        batch, _, height, width = (
            side if isinstance(side, int) else own for side, own in zip(self.taken, x.shape, strict=True)
        )
        batches = torch.split(_resized(x, height, width), batch)
        run = self._sessions[device].run
        maps = [run([self.output], {self.input: one.numpy(force=True)})[0] for one in batches]
        y = torch.from_numpy(np.concatenate(maps)).to(rgb.device).float()
        return _resized(y if y.dim() == 4 else y.unsqueeze(1), *rgb.shape[2:])


def _session(file: Path, device: str) -> Any:
    try:
        import onnxruntime
    except ImportError:
        raise WeightsError(f"{file}: ONNX needs the extra 'onnx': {extra('onnx')}") from None
    provider = PROVIDERS.get(device)
    if provider not in onnxruntime.get_available_providers():
        raise WeightsError(f"{file}: this ONNX Runtime cannot use {device}: choose the device cpu")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors only
    try:
        return onnxruntime.InferenceSession(str(file), options, providers=[provider])
    except Exception as error:  # classes of its own
        raise WeightsError(f"{file}: cannot be run ({str(error)[:200]}): is it an ONNX file?") from None


def _named(known: Sequence[Any], name: str | None, what: str) -> Any:
    """The one of a session's inputs or outputs that is meant."""
    found = [x for x in known if name in (None, x.name)]
    if not found:
        raise WeightsError(f"{what} {name!r} does not exist: choose from {', '.join(x.name for x in known)}")
    return found[0]


def _resized(x: Tensor, height: int, width: int) -> Tensor:
    """[B,C,*,*] -> [B,C,height,width], bilinear, antialiased."""
    if tuple(x.shape[2:]) == (height, width):
        return x
    return F.interpolate(x, (height, width), mode="bilinear", antialias=True)

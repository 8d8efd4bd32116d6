"""Captions and classes of photographs, by any captioner or segmenter of transformers.

They are strangers: each comes with its own way to bring pictures in and answers out, in its own folder, and
is run by that. What leaves here is the same for all: texts, and maps of class numbers at a picture's size.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from torch import Tensor, nn

from leadline import devices, hub, weights
from leadline.errors import WeightsError, printable
from leadline.weights.state import check_finite, grouped

log = logging.getLogger(__name__)
Rgb = NDArray[np.uint8]  # [H,W,3]

LONGEST = 20  # tokens of a caption: what transformers takes by default, as PrimeDepth's authors did
LARGEST = 1024  # pixels of the longer side at which classes are told apart; enlarged from there
DEFAULT_CAPTIONER = "Salesforce/blip2-opt-2.7b"  # PrimeDepth's


class Classes(NamedTuple):
    """What is where in a picture."""

    numbers: NDArray[np.int32]  # [H,W]
    confidence: NDArray[np.float32]  # [H,W], the class's share of what all classes score, in [0,1]


class Captioner:
    """Photographs -> what they show, in words. The same photograph always gets the same ones: no sampling.

    prompt: words that the caption goes on from, or what is asked, for networks that take any; not said again.
    """

    def __init__(self, name: str, network: nn.Module, processor: Any, prompt: str = "") -> None:
        self.name, self.network, self.processor, self.prompt = name, network, processor, prompt

    @torch.inference_mode()
    def __call__(self, pictures: Sequence[Rgb]) -> list[str]:
        """RGB uint8 [H,W,3] of any sizes -> a caption each, without special tokens; "" is one too."""
        words = {"text": [self.prompt] * len(pictures)} if self.prompt else {}
        inputs = self.processor(images=list(pictures), return_tensors="pt", **words)
        own: Any = self.network
        tokens = own.generate(**_placed(inputs, self.network), do_sample=False, max_new_tokens=LONGEST)
        tokenizer = getattr(self.processor, "tokenizer", self.processor)
        texts = tokenizer.batch_decode(tokens, skip_special_tokens=True)
        return [_without(text.strip(), self.prompt) for text in texts]


class Segmenter:
    """Photographs -> class numbers. names: of the classes, in the order of their numbers."""

    def __init__(self, name: str, network: nn.Module, processor: Any) -> None:
        self.name, self.network, self.processor = name, network, processor
        config: Any = network.config
        self.names = [str(config.id2label[number]) for number in sorted(config.id2label)]

    @torch.inference_mode()
    def __call__(self, pictures: Sequence[Rgb]) -> list[Classes]:
        """RGB uint8 [H,W,3] of any sizes -> classes at those sizes, told apart at 1024 pixels at most."""
        inputs = self.processor(images=list(pictures), return_tensors="pt")
        outputs = self.network(**_placed(inputs, self.network))
        sizes = [_within(*picture.shape[:2]) for picture in pictures]
        found = self.processor.post_process_semantic_segmentation(
            outputs, target_sizes=sizes, return_segmentation_scores=True
        )
        logits = hasattr(outputs, "logits")  # others score with shares already
        return [
            _classes(one.segmentation, one.segmentation_scores, logits, picture.shape[:2])
            for one, picture in zip(found, pictures, strict=True)
        ]


def captioner(
    name: str | Path = DEFAULT_CAPTIONER,
    *,
    device: str | torch.device = "auto",
    dtype: str | torch.dtype = "auto",
    download: bool = False,
    prompt: str = "",
) -> Captioner:
    """A captioner in transformers' layout (BLIP, BLIP-2, GIT, LLaVA ...): a folder, or a repository of the
    hub, fetched only where `download` says so.

    dtype "auto" is float32. Raises WeightsError, UsageError or DeviceError.
    """
    folder = hub.labeller(name, download=download)
    network = _network(folder, transformers.AutoModelForImageTextToText, "captioner", device, dtype)
    return Captioner(str(name), network, _processor(folder), prompt)


def segmenter(
    name: str | Path,
    *,
    device: str | torch.device = "auto",
    dtype: str | torch.dtype = "auto",
    download: bool = False,
) -> Segmenter:
    """A semantic segmenter in transformers' layout (SegFormer, UperNet, Mask2Former ...), as `captioner`.

    Raises WeightsError also for one whose processor cannot say what belongs to which class.
    """
    folder = hub.labeller(name, download=download)
    kinds = (
        transformers.AutoModelForSemanticSegmentation,
        transformers.AutoModelForUniversalSegmentation,
    )
    with _quiet(), _named(folder):
        config = _config(folder)
    kind = next((kind for kind in kinds if type(config) in kind._model_mapping), kinds[0])
    network, processor = _network(folder, kind, "segmenter", device, dtype), _processor(folder)
    if not hasattr(processor, "post_process_semantic_segmentation"):
        problem = f"{type(processor).__name__} gives no semantic classes"
        raise WeightsError(f"{folder}: {problem}: choose another segmenter, such as a SegFormer")
    return Segmenter(str(name), network, processor)


def _network(
    folder: Path, kind: Any, role: str, device: str | torch.device, dtype: str | torch.dtype
) -> nn.Module:
    """The folder's network if it is of that kind, whole and finite, on the device."""
    place, _ = devices.choose(device)
    precision = devices.choose_dtype(dtype, place)
    with _quiet(), _named(folder):
        config = _config(folder)
        if type(config) not in kind._model_mapping:
            found = f"model type {printable(str(config.model_type))!r}"
            raise WeightsError(f"{folder}: {found} is no {role} of transformers: choose another folder")
        network, report = kind.from_pretrained(
            folder, config=config, dtype=torch.float32, local_files_only=True, output_loading_info=True
        )
    if report["missing_keys"]:
        gaps = grouped(sorted(report["missing_keys"]))
        raise WeightsError(f"{folder}: weights lack {gaps}: fetch the {role} again")
    check_finite(network.state_dict(), folder)
    return cast(nn.Module, network).requires_grad_(False).eval().to(place, precision)


def _config(folder: Path) -> Any:
    """The folder's configuration, if it describes the whole network: some name a part that lies elsewhere."""
    stored = weights.read_json(folder / "config.json")
    if isinstance(stored.get("backbone"), str) and not stored.get("backbone_config"):
        elsewhere = f"its backbone {printable(stored['backbone'])[:80]!r} is described elsewhere"
        raise WeightsError(f"{folder}: {elsewhere}: choose a folder with a backbone_config")
    weights.check_plausible({k: v for k, v in stored.items() if k.endswith("layers")}, folder / "config.json")
    return transformers.AutoConfig.from_pretrained(folder, local_files_only=True)


def _processor(folder: Path) -> Any:
    """What brings pictures in and answers out; where a folder has no joint one, put together of its parts."""
    with _quiet(), _named(folder):
        processor = transformers.AutoProcessor.from_pretrained(folder, local_files_only=True)
        if hasattr(processor, "batch_decode") and not hasattr(processor, "image_processor"):  # a tokenizer
            return _Parts(
                transformers.AutoImageProcessor.from_pretrained(folder, local_files_only=True), processor
            )
        return processor


class _Parts:
    """An image processor and a tokenizer side by side, as older captioners come."""

    def __init__(self, image_processor: Any, tokenizer: Any) -> None:
        self.image_processor, self.tokenizer = image_processor, tokenizer

    def __call__(self, images: list[Rgb], return_tensors: str, **words: Any) -> Any:
        inputs = self.image_processor(images=images, return_tensors=return_tensors)
        return {**inputs, **(self.tokenizer(**words, return_tensors=return_tensors) if words else {})}


def _placed(inputs: Any, network: nn.Module) -> dict[str, Tensor]:
    """Inputs on the network's device, pictures in its precision."""
    some = next(network.parameters())
    return {
        name: x.to(some.device, some.dtype if x.is_floating_point() else None)
        for name, x in inputs.items()
        if isinstance(x, Tensor)
    }


def _without(text: str, prompt: str) -> str:
    """A caption without the words that it was made to begin with: some networks say them again.

    >>> _without("a photo of a house", "A photo of"), _without("a house", "a photo of")
    ('a house', 'a house')
    """
    begins = text.lower().startswith(prompt.strip().lower())
    return text[len(prompt.strip()) :].strip() if begins else text


def _within(height: int, width: int) -> tuple[int, int]:
    scale = min(1.0, LARGEST / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def _classes(numbers: Tensor, scores: Tensor, logits: bool, size: tuple[int, int]) -> Classes:
    """Scores [C,h,w] of classes and the best one's number [h,w] -> both at a picture's size (H, W)."""
    scores = scores.float()
    shares = scores.softmax(dim=0) if logits else scores / scores.sum(dim=0).clamp(min=1e-12)
    best = shares.gather(0, numbers[None].long())[0].clamp(0, 1)
    rows, columns = (
        ((np.arange(new) + 0.5) * old / new).astype(np.int64)
        for new, old in zip(size, best.shape, strict=True)
    )
    place = rows[:, None], columns
    return Classes(numbers.cpu().numpy().astype(np.int32)[place], best.cpu().numpy()[place])


@contextmanager
def _named(folder: Path) -> Iterator[None]:
    """Whatever transformers raises over a folder, as one line."""
    try:
        yield
    except WeightsError:
        raise
    except Exception as error:  # a stranger's folder can fail in any way there is
        reason = printable(" ".join(str(error).split()))[:200]
        raise WeightsError(
            f"{folder}: cannot be loaded ({type(error).__name__}: {reason}): fetch it again"
        ) from None


@contextmanager
def _quiet() -> Iterator[None]:
    """No bars and no advice from transformers."""
    words = transformers.utils.logging
    before, bar = words.get_verbosity(), words.is_progress_bar_enabled()
    words.set_verbosity_error()
    words.disable_progress_bar()
    try:
        yield
    finally:
        words.set_verbosity(before)
        if bar:
            words.enable_progress_bar()

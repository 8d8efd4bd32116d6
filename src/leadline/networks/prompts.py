"""Captions in the words of a diffusion network: CLIP's text encoder and tokenizer, in a model's folder."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from leadline import weights
from leadline.errors import UsageError, WeightsError
from leadline.networks import text

TOKENIZER = ("vocab.json", "merges.txt")


class Prompts:
    """Encodes captions; the encoder is loaded when the first one comes. layers: how many of it run.

    Stable Diffusion 2 reads what the last but one of 24 layers gives, after the last norm; published folders
    have cut the last one off.
    """

    def __init__(self, folder: Path, layers: int) -> None:
        self.folder, self.layers = folder, layers
        self.encode = lru_cache(maxsize=256)(self._encode)

    @property
    def reads_words(self) -> bool:
        """Whether there is a tokenizer; without one the empty caption alone can be encoded."""
        return all((self.folder / "tokenizer" / name).is_file() for name in TOKENIZER)

    def copy_to(self, folder: Path) -> None:
        """Encoder and tokenizer into another model's folder."""
        for name in ("text_encoder", "tokenizer"):
            source, target = self.folder / name, folder / name
            if source.is_dir() and source.resolve() != target.resolve():
                shutil.copytree(source, target, dirs_exist_ok=True)

    @torch.inference_mode()
    def _encode(self, caption: str) -> Tensor:
        """A caption [1,N,C], cut to the N tokens that the encoder takes, padded to as many.

        Raises WeightsError where files are missing or damaged.
        """
        network = self._network()
        config: Any = network.config
        ids = self._ids(caption, config.max_position_embeddings)
        tokens = torch.tensor([ids])
        places = torch.arange(len(ids))[None]
        return cast(Tensor, network(input_ids=tokens, position_ids=places).last_hidden_state).clone()

    def _network(self) -> Any:
        if not hasattr(self, "_loaded"):
            self._loaded = text.load_encoder(self.folder / "text_encoder", self.layers)
        return self._loaded

    def _ids(self, caption: str, count: int) -> list[int]:
        start, end, pad = text.token_ids(self.folder)
        words = self._tokens(caption)[: count - 2] if caption else []
        return [start, *words, end] + [pad] * (count - 2 - len(words))

    def _tokens(self, caption: str) -> list[int]:
        if not self.reads_words:
            home = self.folder / "tokenizer"
            raise WeightsError(f"{home}: {' and '.join(TOKENIZER)} are needed for captions: fetch them too")
        if not hasattr(self, "_tokenizer"):
            from transformers import CLIPTokenizer

            vocab, merges = (self.folder / "tokenizer" / name for name in TOKENIZER)
            weights.read_json(vocab)
            self._tokenizer = CLIPTokenizer(str(vocab), str(merges))
        ids: list[int] = self._tokenizer(caption, add_special_tokens=False)["input_ids"]
        return ids


def find(folder: Path, layers: int) -> Prompts | None:
    """The text encoder of a model's folder, None if there is none. Raises WeightsError for one that has fewer
    layers than shall run.
    """
    home = folder / "text_encoder"
    if not text.has_weights(home):
        return None
    there = weights.read_json(home / "config.json").get("num_hidden_layers", 0)
    if not isinstance(there, int) or there < layers:
        raise WeightsError(
            f"{home}: has {there} layers, this model reads the output of layer {layers}: use a whole text "
            "encoder, or text_layer penultimate"
        )
    return Prompts(folder, layers)


def encoded(
    text: Tensor | Sequence[str] | None, empty: Tensor, prompts: Prompts | None, count: int
) -> Tensor:
    """A text for `count` pictures [B,N,C]: given so [B or 1,N,C], as captions, or the empty one [1,N,C].

    Raises UsageError for captions where there is no encoder, or for a text of another shape.
    """
    if text is None or isinstance(text, Tensor):
        found = empty if text is None else text
    else:
        if prompts is None and any(text):
            raise UsageError("this model has no text encoder to read captions with: leave them out")
        rows = [prompts.encode(words)[:, : empty.shape[1]] if words and prompts else empty for words in text]
        found = torch.cat([row.to(empty) for row in rows])
    if found.shape[1:] != empty.shape[1:]:
        shape, needed = list(found.shape[1:]), list(empty.shape[1:])
        raise UsageError(f"the text has {shape} tokens and channels, this model reads {needed}")
    return found.to(empty).expand(count, -1, -1)

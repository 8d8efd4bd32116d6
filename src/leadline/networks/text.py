"""The encoded empty prompt, a constant of each text encoder: computed once, kept, and the encoder forgotten.

Models of Marigold's kind read pictures, not words, but their networks were made to read a text too. It is
always the empty one: its start and its end (2 tokens), padded for some (77). The encoder's mask is causal,
so the first 2 of the 77 are those of the 2 alone, and one array serves both.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from leadline import cache, weights
from leadline.errors import LeadlineError, WeightsError, check_shape
from leadline.layout import EMPTY_TEXT

log = logging.getLogger(__name__)

START, END, PAD = 49406, 49407, 0  # Stable Diffusion 2's; it pads with "!"
OPTIONS = (  # that a folder may set
    "vocab_size", "hidden_size", "intermediate_size", "projection_dim", "num_hidden_layers",
    "num_attention_heads", "max_position_embeddings", "hidden_act", "layer_norm_eps",
)  # fmt: skip


def empty_text(folder: Path, given: Path | None = None) -> Tensor | None:
    """The empty prompt [1,N,C] for the model in a folder, float32; None if the folder knows of no text.

    In this order: `given`, a .npy or .safetensors file; empty_text.safetensors in the folder; what this
    machine has kept for the folder's encoder; the encoder itself, and then it is kept.

    Raises WeightsError where a file is damaged or of another shape.
    """
    if given is not None:
        return _read(given)
    if (folder / EMPTY_TEXT).is_file():
        return _read(folder / EMPTY_TEXT)
    home = folder / "text_encoder"
    files = weights.weights_files(home) if has_weights(home) else []
    encoder = _digest(files) if files else cache.encoder_of(folder)
    if encoder is None:
        return None
    ids = token_ids(folder)
    kept = _kept(encoder, ids)
    if kept is None and files:
        log.info("encoding the empty prompt with %s, once", home)
        kept = encode(home, ids)
        _keep(encoder, ids, kept)
    if kept is None:
        raise WeightsError(f"{folder}: its empty prompt is not on this machine any more: download it again")
    return kept


def token_ids(folder: Path) -> tuple[int, int, int]:
    """Start, end and padding of a prompt, by the folder's tokenizer; without one, Stable Diffusion 2's.

    Raises WeightsError if the tokenizer's files do not name them.
    """
    home = folder / "tokenizer"
    if not (home / "vocab.json").is_file():
        return START, END, PAD
    vocabulary = weights.read_json(home / "vocab.json")
    names = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "pad_token": "!"}
    for file in ("tokenizer_config.json", "special_tokens_map.json"):
        if (home / file).is_file():
            given = weights.read_json(home / file)
            names |= {name: _word(given[name]) for name in names if given.get(name) is not None}
    start, end, pad = (vocabulary.get(word) for word in names.values())
    if not (isinstance(start, int) and isinstance(end, int) and isinstance(pad, int)):
        raise WeightsError(f"{home}: vocab.json lacks one of {list(names.values())}: fetch it again")
    return start, end, pad


@torch.inference_mode()
def encode(home: Path, ids: tuple[int, int, int]) -> Tensor:
    """The empty prompt [1,N,C] by the text encoder in a folder, N its longest text (77), after the last norm.

    Raises WeightsError where files are missing, damaged or no CLIP text encoder's.
    """
    network = load_encoder(home)
    config: Any = network.config
    start, end, pad = ids
    count = config.max_position_embeddings
    if not 0 <= min(ids) <= max(ids) < config.vocab_size or count < 2:
        raise WeightsError(
            f"{home}: tokens {ids} are not among its {config.vocab_size}: use its own tokenizer"
        )
    tokens = torch.tensor([[start, end] + [pad] * (count - 2)])
    out = network(input_ids=tokens, position_ids=torch.arange(count)[None]).last_hidden_state
    return cast(Tensor, out).clone()  # [1,N,C]


def load_encoder(home: Path, layers: int | None = None) -> nn.Module:
    """The text encoder in a folder, whose weights go by the names of any version of transformers; its first
    `layers` and its last norm alone, if so many are asked for.

    Raises WeightsError where files are missing, damaged or no CLIP text encoder's.
    """
    from transformers import CLIPTextConfig, CLIPTextModel  # seconds, that most runs need not pay

    config = weights.read_json(home / "config.json")
    options = {key: config[key] for key in OPTIONS if config.get(key) is not None}
    options |= {} if layers is None else {"num_hidden_layers": layers}
    weights.check_plausible(options, home / "config.json")

    def fitting(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        named = _short_names(state)
        return named if layers is None else {n: x for n, x in named.items() if _layer(n) < layers}

    try:
        with torch.device("meta"):
            network = cast(nn.Module, CLIPTextModel(CLIPTextConfig(**options)))
    except Exception as error:  # a stranger's numbers can fail in any way there is
        raise WeightsError(f"{home}: no CLIP text encoder can be built from config.json: {error}") from None
    in_memory = {_short(name): name for name in network.state_dict()}
    expected = {name: network.state_dict()[long] for name, long in in_memory.items()}
    state = weights.load_fitting(weights.weights_files(home), expected, home, fitting)
    network.load_state_dict({in_memory[name]: x for name, x in state.items()}, assign=True)
    return network.eval()


def _short_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {_short(name): x for name, x in state.items() if not name.endswith("position_ids")}


def _layer(name: str) -> int:
    """The layer that a weight belongs to, -1 if none."""
    found = re.match(r"encoder\.layers\.(\d+)\.", name)
    return int(found[1]) if found else -1


def _short(name: str) -> str:
    return name.removeprefix("text_model.")


def _read(file: Path) -> Tensor:
    """[N,C] or [1,N,C] from a file -> [1,N,C] float32."""
    try:
        if file.suffix == ".npy":
            x = torch.from_numpy(np.load(file, allow_pickle=False)).float()
        else:
            state = weights.load_state(file)
            x = state["empty_text"].float().clone()
        x = x if x.dim() == 3 else x[None]
        check_shape(x, "1 N C", str(file))
    except LeadlineError as error:
        raise WeightsError(str(error)) from None
    except KeyError:
        raise WeightsError(f"{file}: has no tensor 'empty_text', [1,N,C] is needed") from None
    except Exception as error:  # a stranger's bytes can fail in any way there is
        raise WeightsError(f"{file}: no array of an encoded prompt ({error}): a .npy is needed") from None
    if not bool(x.isfinite().all()):
        raise WeightsError(f"{file}: not finite: encode the empty prompt again")
    return x


def _kept(encoder: str, ids: tuple[int, int, int]) -> Tensor | None:
    """What this machine has for an encoder and these tokens; damaged files count as none."""
    file = cache.empty_text_file(encoder)
    try:
        state = weights.load_state(file)
    except WeightsError:
        state = {}
    if {"empty_text", "ids"} == set(state) and state["ids"].tolist() == list(ids):
        return state["empty_text"].float().clone()  # off the file: where numbers lie changes rounding
    with contextlib.suppress(OSError):  # gone, the next download brings the encoder where it is not here
        file.unlink(missing_ok=True)
    return None


def _keep(encoder: str, ids: tuple[int, int, int], text: Tensor) -> None:
    try:
        weights.save_state({"empty_text": text, "ids": torch.tensor(ids)}, cache.empty_text_file(encoder))
    except LeadlineError as error:
        log.warning("the encoded empty prompt could not be kept, it is made again each time: %s", error)


def has_weights(home: Path) -> bool:
    """Whether weights lie in a folder, if there is one."""
    return home.is_dir() and any(path.suffix in (".safetensors", ".bin") for path in home.iterdir())


def _digest(files: list[Path]) -> str:
    digests = [cache.sha256(file) for file in files]
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


def _word(token: Any) -> str:
    """Tokens are written as words, or as objects with their content."""
    return str(token.get("content") if isinstance(token, dict) else token)

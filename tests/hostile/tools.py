"""How a good folder of Marigold's kind is spoilt: the list of tricks, and what they are made of."""

from __future__ import annotations

import collections
import json
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch._utils import _rebuild_tensor_v2

FILE = "unet/diffusion_pytorch_model.safetensors"
BIN = "unet/diffusion_pytorch_model.bin"
KEY = "conv_out.bias"
TRICKS: dict[str, Callable[[Path], object]] = {}


def trick(function: Callable[[Path], object]) -> Callable[[Path], object]:
    TRICKS[function.__name__] = function
    return function


def state_of(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / FILE)


def safetensors(folder: Path, **changes: Tensor | None) -> None:
    """Other tensors under some names; None removes one."""
    state = state_of(folder) | {key.replace("__", "."): x for key, x in changes.items()}
    save_file({key: x for key, x in state.items() if x is not None}, folder / FILE)


def torchs(folder: Path, state: Any, **options: Any) -> None:
    """torch's own format in place of safetensors."""
    (folder / FILE).unlink()
    torch.save(state, folder / BIN, **options)


def raw(folder: Path, data: bytes, name: str = BIN) -> None:
    (folder / FILE).unlink()
    (folder / name).write_bytes(data)


def zipped(folder: Path, pickled: bytes, **options: Any) -> None:
    (folder / FILE).unlink()
    with zipfile.ZipFile(folder / BIN, "w", **options) as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/version", "3\n")


def header(folder: Path, entries: Any, data: bytes = b"", length: int | None = None) -> None:
    """A safetensors file by hand."""
    text = entries if isinstance(entries, bytes) else json.dumps(entries).encode()
    (folder / FILE).write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)


def config(folder: Path, file: str = "unet/config.json", **changes: Any) -> None:
    data = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps(data | changes))


def rebuilt(shape: tuple[int, ...], stride: tuple[int, ...]) -> Any:
    """A tensor of four numbers that claims another shape."""
    storage = torch.storage.TypedStorage(
        wrap_storage=torch.zeros(4).untyped_storage(), dtype=torch.float32, _internal=True
    )

    class Claim:
        def __reduce__(self) -> tuple[Any, ...]:
            return _rebuild_tensor_v2, (storage, 0, shape, stride, False, collections.OrderedDict())

    return Claim()

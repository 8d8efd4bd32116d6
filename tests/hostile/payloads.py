"""Code in place of numbers, and pickles made to crash their reader."""

from __future__ import annotations

import os
import pickle
import struct
from pathlib import Path
from typing import Any

import torch

from hostile.tools import FILE, KEY, raw, state_of, torchs, trick, zipped


class Payload:
    """Makes the folder `fired` when it is unpickled by a loader that runs code."""

    def __init__(self, folder: Path) -> None:
        self.file = str(folder.parent / "fired")

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.file,)


@trick
def payload_in_a_zip(folder: Path) -> None:
    torchs(folder, {**state_of(folder), KEY: Payload(folder)})


@trick
def payload_in_the_old_format(folder: Path) -> None:
    torchs(folder, {KEY: Payload(folder)}, _use_new_zipfile_serialization=False)


@trick
def payload_in_a_bare_pickle(folder: Path) -> None:
    raw(folder, pickle.dumps({KEY: Payload(folder)}, 2))


@trick
def payload_in_a_new_pickle(folder: Path) -> None:
    raw(folder, pickle.dumps({KEY: Payload(folder)}, 5))


@trick
def payload_beside_good_weights(folder: Path) -> None:
    torchs(folder, {"state_dict": state_of(folder), "hook": Payload(folder)})


@trick
def payload_as_safetensors(folder: Path) -> None:
    (folder / FILE).write_bytes(pickle.dumps(Payload(folder)))


@trick
def payload_by_eval(folder: Path) -> None:
    code = f"__import__('os').mkdir({str(folder.parent / 'fired')!r})"
    zipped(folder, b"\x80\x02cbuiltins\neval\nX" + struct.pack("<I", len(code)) + code.encode() + b"\x85R.")


@trick
def payload_by_torchs_own_functions(folder: Path) -> None:
    file = str(folder.parent / "fired").encode()
    zipped(folder, b"\x80\x02ctorch\nsave\n}X" + struct.pack("<I", len(file)) + file + b"\x86R.")


@trick
def payload_in_the_text_encoder(folder: Path) -> None:
    (folder / "text_encoder/model.safetensors").unlink()
    torch.save(Payload(folder), folder / "text_encoder/pytorch_model.bin")


@trick
def a_whole_module(folder: Path) -> None:
    torchs(folder, torch.nn.Linear(2, 2))


@trick
def a_pickle_too_deep(folder: Path) -> None:
    zipped(folder, b"\x80\x02)" + b"\x85" * 300_000 + b".")


@trick
def a_key_that_crashes_python(folder: Path) -> None:
    zipped(folder, b"\x80\x02})" + b"\x85" * 300_000 + b"K\x01s.")

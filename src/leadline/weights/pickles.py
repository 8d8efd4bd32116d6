"""torch's own files (`.bin`, `.pth`) of strangers: tensors out of them, and nothing else.

torch's weights-only loader runs no code. Before it sees a file, what could still hurt is refused: contents
that unpack to more than the file holds, and nests so deep that Python itself would crash on them.

Checkpoints of whole trainings hold objects of other classes beside their tensors (callbacks, counters), which
that loader refuses. They are read with the same loader's own list of what may be made, and in place of every
other class stands one that does nothing.
"""

from __future__ import annotations

import pickle
import pickletools
import warnings
import zipfile
from collections import OrderedDict
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any, Self

import torch
from torch import Tensor

from leadline.errors import WeightsError

DEEPEST = 1000  # of things in things; checkpoints reach 10
STORAGES = ("Float", "Half", "BFloat16", "Double", "Long", "Int", "Short", "Char", "Byte", "Bool")
PICKLES = 5  # that the old format puts before its numbers
PUT = ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE")
GET = ("GET", "BINGET", "LONG_BINGET")


def load(file: Path, *, inert: bool = False) -> Any:
    """What torch.save wrote, without running it; numbers are read on use, where the format allows that.

    inert: objects of classes that are not of torch's tensors become `Inert`, instead of an error.

    Raises WeightsError for bombs, and whatever torch and zipfile raise for damaged files.
    """
    with file.open("rb") as stream:
        zipped = stream.read(4) == b"PK\3\4"
        stream.seek(0)
        if zipped:
            _check_zip(file)
        else:
            end = file.stat().st_size
            for _ in range(PICKLES):
                if stream.tell() < end:  # a single pickle is none of torch's: the loader says so
                    _check_nesting(file, stream)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about odd pickles: they are refused, or hold tensors only
        try:
            return torch.load(file, map_location="cpu", weights_only=True, mmap=zipped)
        except pickle.UnpicklingError:
            if not inert:
                raise
        return torch.load(file, map_location="cpu", weights_only=False, mmap=zipped, pickle_module=_READER)


class Inert:
    """What stands in the place of an object that is no tensor: it takes anything and does nothing."""

    def __new__(cls, *_: Any, **__: Any) -> Self:
        return super().__new__(cls)

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def __call__(self, *_: Any, **__: Any) -> Inert:
        return self

    def __setstate__(self, _: Any) -> None: ...

    def __setitem__(self, *_: Any) -> None: ...

    def append(self, _: Any) -> None:
        """Nothing."""

    def extend(self, _: Any) -> None:
        """Nothing."""


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        return ALLOWED.get((module, name), Inert)

    @classmethod
    def read(cls, file: IO[bytes], **options: Any) -> Any:
        return cls(file, **options).load()


ALLOWED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): torch._utils._rebuild_tensor_v2,
    ("torch._utils", "_rebuild_parameter"): torch._utils._rebuild_parameter,
    **{("torch", f"{kind}Storage"): getattr(torch, f"{kind}Storage") for kind in STORAGES},
    **{("torch", kind): getattr(torch, kind) for kind in ("float32", "float16", "bfloat16", "int64")},
}


def is_plain(x: Tensor) -> bool:
    """Whether a tensor is what it looks like: in memory, dense, and no larger than what stands behind it."""
    if x.layout != torch.strided or x.device.type != "cpu" or x.is_quantized:
        return False
    return x.numel() * x.element_size() <= x.untyped_storage().nbytes()


def _check_zip(file: Path) -> None:
    """torch.save compresses nothing, so all entries together are no larger than the file."""
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        unpacked = sum(entry.file_size for entry in entries)
        if unpacked > file.stat().st_size or any(e.compress_type != zipfile.ZIP_STORED for e in entries):
            raise WeightsError(
                f"{file}: unpacks to {unpacked / 1e6:.1f} MB, it is no checkpoint: use another one"
            )
        for entry in entries:
            if entry.filename.endswith(".pkl"):
                with archive.open(entry) as stream:
                    _check_nesting(file, stream)


def _check_nesting(file: Path, stream: IO[bytes]) -> None:
    """Follow one pickle's operations without carrying them out, keeping only how deep each thing is."""
    stack: list[int | None] = []  # depths; None is a mark
    memo: dict[Any, int | None] = {}
    for op, argument, _ in pickletools.genops(stream):
        if op.name in PUT:
            memo[len(memo) if op.name == "MEMOIZE" else argument] = stack[-1]
        elif op.name in GET:
            stack.append(memo[argument])
        elif op.name == "MARK":
            stack.append(None)
        else:
            deepest = _take(stack, op)
            if deepest > DEEPEST:
                raise WeightsError(f"{file}: nested beyond any checkpoint's depth: use another one")
            stack.extend([deepest] * len(op.stack_after))


def _take(stack: list[int | None], op: pickletools.OpcodeInfo) -> int:
    """Remove what an operation takes from the stack; the depth of what it makes of it."""
    kinds = [kind.name for kind in op.stack_before]
    taken: list[int] = []
    if "mark" in kinds:
        while (depth := stack.pop()) is not None:
            taken.append(depth)
        kinds = kinds[: kinds.index("mark")]
    taken += [stack.pop() or 0 for _ in kinds]
    return 1 + max(taken) if taken else 0


_READER = SimpleNamespace(
    __name__="pickle", Unpickler=_Unpickler, load=_Unpickler.read
)  # as torch.load calls it

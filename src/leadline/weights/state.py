"""Named tensors out of files and into them: strictly, safely, and never half."""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from leadline.errors import WeightsError, printable
from leadline.save.files import atomic
from leadline.weights import pickles

State = dict[str, Tensor]
FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
OTHERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool)
LFS = b"version https://git-lfs"  # how the files of a clone without large files begin


def load_state(file: Path) -> State:
    """Named tensors from a `.safetensors` file, or from torch's own format without running any code in it.

    Raises WeightsError if the file is damaged, holds more than tensors, or has values that are not finite.
    """
    state = open_state(file)
    check_finite(state, file)
    return state


def load_fitting(
    files: Sequence[Path],
    expected: Mapping[str, Tensor],
    where: Path,
    rename: Callable[[State], State] = lambda state: state,
) -> State:
    """The tensors of one file or all shards, in float32, if they are those of a network's state.

    expected: the network's own state, on the meta device perhaps. rename: brings old names to its names. What
    does not fit is refused before its numbers are read. Raises WeightsError.
    """
    state: State = {}
    for file in files:
        part = open_state(file)
        if twice := part.keys() & state.keys():
            raise WeightsError(f"{file}: {grouped(sorted(twice))} in two shards: use the files of one model")
        state |= part
    state = rename(state)
    check_state(state, {name: x.shape for name, x in expected.items()}, where)
    check_dtypes(state, expected, where)
    state = {name: x.float() if x.is_floating_point() else x for name, x in state.items()}
    check_finite(state, where)
    return state


def open_state(file: Path, *, nested: bool = False) -> State:
    """As `load_state`, without a look at the values: they are read from the disk when they are used.

    nested: it may be a training's checkpoint, whose `state_dict` alone is meant; objects beside it that are
    no tensors are not made.
    """
    try:
        if file.suffix == ".safetensors":
            state = load_file(file)
        else:
            state = pickles.load(file, inert=nested)
            state = state["state_dict"] if nested and _is_training(state) else state
    except FileNotFoundError:
        raise WeightsError(f"{file}: no such file") from None
    except WeightsError:
        raise
    except pickle.UnpicklingError:
        raise WeightsError(f"{file}: holds more than tensors and is not read: ask for safetensors") from None
    except Exception as error:  # a stranger's bytes can fail in any way there is
        if _is_pointer(file):
            raise WeightsError(f"{file}: a pointer to the weights, not they: run git lfs pull") from None
        reason = printable(str(error))[:200]
        raise WeightsError(f"{file}: damaged or no weights file ({reason}): fetch it again") from None
    if not isinstance(state, dict) or not all(isinstance(name, str) for name in state):
        raise WeightsError(f"{file}: holds {type(state).__name__}, named tensors are needed")
    for name, x in state.items():
        if not isinstance(x, Tensor):
            found = f"{printable(name)} is a {type(x).__name__}"
            raise WeightsError(f"{file}: {found}, named tensors are needed: save its state_dict alone")
        if not pickles.is_plain(x) or x.dtype not in FLOATS + OTHERS:
            found = f"{printable(name)} is no plain tensor ({x.dtype}, {list(x.shape)})"
            raise WeightsError(f"{file}: {found}: use another file")
    return dict(state)


def _is_training(state: object) -> bool:
    return isinstance(state, dict) and isinstance(state.get("state_dict"), dict)


def _is_pointer(file: Path) -> bool:
    with file.open("rb") as stream:
        return stream.read(len(LFS)) == LFS


def save_state(state: Mapping[str, Tensor], file: Path, *, fp16: bool = False) -> None:
    """Named tensors as safetensors, in one move: never half a file. `fp16` halves float32; what overflows
    is refused.
    """
    ready = {name: x.detach().cpu().contiguous() for name, x in state.items()}
    if fp16:
        ready = {name: x.half() if x.is_floating_point() else x for name, x in ready.items()}
        broken = [name for name, x in ready.items() if not bool(x.isfinite().all())]
        if broken:
            raise WeightsError(f"{grouped(broken)} too large for half precision: save in float32")
    with atomic(file) as temporary:
        save_file(ready, temporary)


def check_state(state: Mapping[str, Tensor], expected: Mapping[str, Iterable[int]], where: Path) -> None:
    """Compare names and shapes. Raises WeightsError with the differences, grouped, in one line."""
    missing = [name for name in expected if name not in state]
    extra = [printable(name) for name in state if name not in expected]
    shapes = [
        f"{name} {list(state[name].shape)} for {list(shape)}"
        for name, shape in expected.items()
        if name in state and list(state[name].shape) != list(shape)
    ]
    parts = [f"{len(missing)} missing: {grouped(missing)}"] if missing else []
    parts += [f"{len(extra)} unexpected: {grouped(extra)}"] if extra else []
    more = ", ..." if len(shapes) > 4 else ""
    parts += [f"{len(shapes)} of another shape: {', '.join(shapes[:4])}{more}"] if shapes else []
    if parts:
        raise WeightsError(
            f"{where}: weights do not fit config.json: {'; '.join(parts)}: use the files of one model"
        )


def check_dtypes(state: Mapping[str, Tensor], expected: Mapping[str, Tensor], where: Path) -> None:
    """Floating-point numbers where the network has them. Raises WeightsError."""
    wrong = [name for name, x in state.items() if x.is_floating_point() != expected[name].is_floating_point()]
    if wrong:
        found = state[wrong[0]].dtype
        needed = f"{expected[wrong[0]].dtype} is needed"
        raise WeightsError(f"{where}: {grouped(wrong)} {found}, {needed}: use the files of one model")


def check_finite(state: Mapping[str, Tensor], where: Path) -> None:
    """Raises WeightsError where a tensor holds NaN or infinity."""
    broken = [name for name, x in state.items() if x.is_floating_point() and not bool(x.isfinite().all())]
    if broken:
        raise WeightsError(f"{where}: {grouped(broken)} not finite, the file may be damaged: fetch it again")


def grouped(names: Iterable[str], most: int = 4) -> str:
    """Names cut to the longest common depth that leaves few groups, each with its count.

    >>> grouped(["a.b.weight", "a.b.bias", "c.weight"])
    'a.b.weight, a.b.bias, c.weight'
    >>> grouped([f"up.{i}.conv.{j}" for i in (0, 1) for j in range(3)])
    'up.0.conv.* (3), up.1.conv.* (3)'
    """
    names = [name if len(name) <= 100 else f"{name[:97]}..." for name in names]
    if len(names) <= most:
        return ", ".join(names)
    for depth in range(max(1, *(name.count(".") for name in names)), 0, -1):
        groups = Counter(".".join(name.split(".")[:depth]) for name in names)
        if len(groups) <= most:
            break
    listed = [group if group in names else f"{group}.* ({n})" for group, n in groups.most_common(most)]
    return ", ".join(listed) + (", ..." if len(groups) > most else "")

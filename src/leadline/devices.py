"""Which device and precision to compute with, named by the user or chosen and said why; and the processor's
memory.
"""

from __future__ import annotations

import ctypes
import gc
import sys
import traceback

import torch
import torch.nn.functional as F

from leadline.errors import DeviceError, UsageError, did_you_mean

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
FULL = ("allocate memory", "out of memory", "bad_alloc", "ALLOC_FAILED")  # where errors have no class for it
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3  # <malloc.h> of glibc
LARGEST = 2**31 - 1  # what mallopt takes


def available() -> list[str]:
    """Names of the devices of this machine, the processor first."""
    names = ["cpu"] + [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    return names + (["mps"] if torch.backends.mps.is_available() else [])


def choose(wanted: str | torch.device = "auto") -> tuple[torch.device, str]:
    """The device, and in words why this one. "auto" takes a GPU if there is one.

    Raises DeviceError if the device is not on this machine: it is never replaced by another.

    >>> choose("cpu")
    (device(type='cpu'), 'as asked')
    """
    if wanted == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda"), f"auto: {torch.cuda.get_device_name()}"
        found = torch.device("mps" if "mps" in available() else "cpu")
        return found, "auto: Apple GPU" if found.type == "mps" else "auto: no GPU found"
    try:
        device = torch.device(wanted)
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:  # torch raises all three
        reason = str(error).partition("\n")[0][:100]
        raise DeviceError(
            f"device {str(wanted)!r} is not on this machine ({reason}): use auto, {', '.join(available())}"
        ) from error
    return device, "as asked"


def check_dtype(name: str) -> None:
    """Raises UsageError unless it is "auto" or a name of `DTYPES`."""
    if name not in ("auto", *DTYPES):
        raise UsageError(f"dtype {name!r} is unknown: {did_you_mean(name, ['auto', *DTYPES])}")


def choose_dtype(wanted: str | torch.dtype, device: torch.device) -> torch.dtype:
    """The precision by its name; "auto" is float32, with which results are proven.

    Raises UsageError for an unknown name, DeviceError if the device does not compute in it.

    >>> choose_dtype("auto", torch.device("cpu"))
    torch.float32
    """
    name = str(wanted).removeprefix("torch.")
    check_dtype(name)
    if name == "auto":
        return torch.float32
    try:
        one = torch.ones(1, 1, 1, 1, device=device, dtype=DTYPES[name])
        F.conv2d(one, one)
    except RuntimeError as error:
        raise DeviceError(f"{device} does not compute in {name}: use float32") from error
    return DTYPES[name]


def dtype_name(dtype: torch.dtype) -> str:
    """As users write it.

    >>> dtype_name(torch.float32)
    'float32'
    """
    return str(dtype).removeprefix("torch.")


def has_own_memory(device: torch.device) -> bool:
    """Whether it has memory beside the processor's."""
    return device.type not in ("cpu", "mps")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device (or the processor's memory) was full."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in FULL)


def release(error: BaseException | None) -> None:
    """Let go of what a failed call has left: the arrays in its frames, and memory that torch keeps for later.

    `error` is spoiled for debuggers: its traceback shows lines, and no variables any more.
    """
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()


def keep_freed_memory() -> None:
    """This process keeps the memory it frees, for its own next use, until it ends. Only glibc is asked.

    By default glibc gives large arrays back to the system when they are freed, and the system clears every
    page of the next one when it is first touched. A training on the CPU frees and asks all the time: with
    several processes on two cores, half of their time was the system's; this way it was 1 %.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt:  # musl has none
        mallopt(M_MMAP_THRESHOLD, LARGEST)  # arrays come from the heap ...
        mallopt(M_TRIM_THRESHOLD, LARGEST)  # ... which is not cut when its end is free ...
        mallopt(M_TOP_PAD, 64 * 2**20)  # ... and grows by so many bytes beyond what is asked for


def give_back_freed_memory() -> None:
    """What this process has freed goes back to the system now. Only glibc is asked.

    It keeps freed arrays of up to 32 MB for its own next use, in pieces that larger ones do not fit into: in
    one step of Stable Diffusion's networks at 576x768, 160 MB beside the widest maps.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim:
        trim(0)

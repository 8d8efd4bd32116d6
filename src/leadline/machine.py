"""What a piece of work stands on: versions, machine, command; and how much memory it took."""

from __future__ import annotations

import os
import platform
import sys
import time
from importlib import metadata
from typing import Any

import torch

PACKAGES = ("leadline", "torch", "numpy", "diffusers", "accelerate", "transformers", "safetensors", "pillow")


def environment() -> dict[str, Any]:
    """Versions, machine, command and time, as JSON types."""
    return {
        "versions": {package: _version(package) for package in PACKAGES},
        "python": platform.python_version(),
        "system": platform.platform(),
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "command": sys.argv,
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


class Memory:
    """The most memory that is held from here on."""

    def __init__(self) -> None:
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()

    def peak(self) -> dict[str, float]:
        """In MiB: of the process since it began, and of its GPU since this object was made, where known."""
        found = {}
        if sys.platform != "win32":
            import resource

            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # kilobytes; on macOS bytes
            found["process_peak_mib"] = round(peak / (2**20 if sys.platform == "darwin" else 2**10), 1)
        if torch.cuda.is_available():
            found["gpu_peak_mib"] = round(torch.cuda.max_memory_allocated() / 2**20, 1)
        return found


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None

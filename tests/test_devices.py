"""The processor's memory."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource, torch
from leadline.devices import keep_freed_memory

def arrays():
    for megabytes in (1, 48, 100, 20):
        torch.ones(megabytes * 2**18)

keep_freed_memory()
for _ in range(3):
    arrays()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    arrays()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_freed_memory_is_used_again_and_not_fetched_anew():
    done = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 1000  # 200,000 pages of 4 KiB otherwise


HELD = """
import numpy as np
from pathlib import Path
from leadline import devices
def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
many = [np.ones(100_000, np.uint8) for _ in range(1000)]
kept = many[::50]  # they keep the heap from shrinking from its end
full = resident()
del many
devices.give_back_freed_memory()
print(full - resident())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_freed_memory_goes_back_when_asked():
    done = subprocess.run([sys.executable, "-c", HELD], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 80e6  # of 98 MB that nobody holds

"""Fixtures and markers of the whole suite.

Unmarked tests are fast, run on the CPU and need no network. The others say, when skipped, what they need.
"""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

HERE = Path(__file__).parent
ROOT = HERE.parent

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell's background jobs start like this
    signal.signal(signal.SIGINT, signal.default_int_handler)
os.environ["HF_HUB_OFFLINE"] = (
    "1"  # a test that reaches for the network fails at once, also in child processes
)
os.environ["LEADLINE_CACHE"] = tempfile.mkdtemp(prefix="leadline-tests-")  # never the user's own
torch.set_num_threads(1)  # sums in one order on every machine


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="also run the tests marked slow")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    missing = {
        "slow": None if config.getoption("--slow") else "slow: run pytest with --slow",
        "gpu": None if torch.cuda.is_available() else "needs a CUDA device",
        "data": None if _data_folder() else "needs data sets: set LEADLINE_DATA to their folder",
    }
    for item in items:
        for marker, reason in missing.items():
            if reason and item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(autouse=True)
def _repeatable() -> None:
    """Tests may draw from the global generators, each from the same state; the library itself may not."""
    torch.manual_seed(0)
    np.random.seed(0)


class Golden:
    """The arrays of one stored case: `g.pred` or `g["pred"]`, numbers and booleans as torch tensors."""

    def __init__(self, file: Path, case: str | None) -> None:
        prefixes = ("",) if case is None else (f"{case}/", f"{case}_")
        with np.load(file, allow_pickle=False) as stored:
            self._arrays = {
                key.removeprefix(prefix): stored[key]
                for prefix in prefixes
                for key in stored.files
                if key.startswith(prefix)
            }
        if not self._arrays:
            raise KeyError(f"{file.name} holds no case {case!r}")

    def __getitem__(self, key: str) -> torch.Tensor:
        array = self._arrays[key]
        return array if array.dtype.kind in "US" else torch.from_numpy(np.ascontiguousarray(array))

    def __getattr__(self, key: str) -> torch.Tensor:
        if key.startswith("_"):
            raise AttributeError(key)
        return self[key]

    def __contains__(self, key: str) -> bool:
        return key in self._arrays

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)


@pytest.fixture
def golden() -> Callable[..., Golden]:
    """`golden("eval/alignment", "depth")` -> the arrays `depth/...` of tests/golden/eval/alignment.npz."""
    return lambda name, case=None: Golden(HERE / "golden" / f"{name}.npz", case)


def _data_folder() -> Path | None:
    named = os.environ.get("LEADLINE_DATA")
    folder = Path(named) if named else ROOT.parent / "shared" / "data"
    return folder if folder.is_dir() else None


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data sets; without it the test is skipped."""
    folder = _data_folder()
    if folder is None:
        pytest.skip("needs data sets: set LEADLINE_DATA to their folder")
    return folder


@pytest.fixture(scope="session")
def photograph() -> Path:
    """The example photograph of the repository."""
    (path,) = (ROOT / "examples").glob("*.jpg")
    return path

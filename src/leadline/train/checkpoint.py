"""Checkpoints: complete folders or none, the newest few and the best, whatever moment the process dies."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch

from leadline.errors import SaveError, TrainError
from leadline.save import atomic

STATE, FACTS = "state.pt", "facts.json"


def save(folder: Path, step: int, state: dict[str, Any], facts: dict[str, Any]) -> Path:
    """Write `folder/<step>`: tensors and optimiser state in state.pt, what a person may read in facts.json.

    It is written under a temporary name, synced and renamed, so a folder with a number for a name is
    complete.
    """
    folder.mkdir(parents=True, exist_ok=True)
    target, temporary = folder / f"{step:08d}", folder / f".{step:08d}.{os.getpid()}"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        with open(temporary / STATE, "wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        with atomic(temporary / FACTS) as name:
            name.write_text(json.dumps(facts, indent=1), encoding="utf-8")
        temporary.rename(target)
    except (OSError, RuntimeError, SaveError) as error:  # torch reports a full disk as a RuntimeError
        shutil.rmtree(temporary, ignore_errors=True)
        raise TrainError(
            f"{target}: cannot be saved ({error}): make room and resume from the one before"
        ) from None
    return target


def steps(folder: Path) -> list[int]:
    """The steps of the complete checkpoints, in order."""
    if not folder.is_dir():
        return []
    return sorted(int(p.name) for p in folder.iterdir() if p.name.isdigit() and (p / FACTS).is_file())


def load(folder: Path, step: int) -> dict[str, Any]:
    """The state of a checkpoint, tensors on the CPU; no code from the file is run. TrainError if
    unreadable.
    """
    path = folder / f"{step:08d}" / STATE
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a damaged archive
        reason = " ".join(str(error).split())[:100]
        raise TrainError(
            f"{path}: cannot be read ({reason}): delete its folder to go on from the one before"
        ) from None
    if not isinstance(state, dict):
        raise TrainError(f"{path}: holds {type(state).__name__}, wanted a training's state")
    return state


def facts(folder: Path, step: int) -> dict[str, Any]:
    """What a checkpoint says of itself: its step, the best validation so far."""
    known: dict[str, Any] = json.loads((folder / f"{step:08d}" / FACTS).read_text(encoding="utf-8"))
    return known


def prune(folder: Path, keep: int, best: int | None) -> None:
    """Delete all but the newest `keep` checkpoints and the best, and what a killed process left behind."""
    old = [step for step in steps(folder)[:-keep] if step != best]
    left = [p for p in folder.iterdir() if p.name.startswith(".")]
    for step in old:  # half deleted, it must not look complete
        left.append((folder / f"{step:08d}").rename(folder / f".{step:08d}.old"))
    for path in left:
        shutil.rmtree(path, ignore_errors=True)

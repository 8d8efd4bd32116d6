"""Procedural scenes on disk: rendered once by all cores, read many times; a run that was stopped goes on
where it was.

A folder holds `scenes.json` (what was asked for) and one file per scene, `000/000123.npz`, with the arrays
rgb uint8 [H,W,3], depth float32 [H,W] metres (inf: sky), normals float16 [H,W,3] OpenCV frame, classes uint8
[H,W], and K float64 [3,3].
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from leadline import __version__
from leadline.camera import Camera
from leadline.data.loading import processes, quiet
from leadline.data.sample import Sample
from leadline.data.scenes import Scenes, ade20k_classes, eight_bit
from leadline.errors import DataError
from leadline.save import atomic

FORMAT = 1


def synthesise(
    out: str | Path,
    count: int,
    sizes: Sequence[tuple[int, int]] = ((192, 256),),
    seed: int = 0,
    *,
    kind: str | None = None,
    textures: str | Path | None = None,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Render scenes 0 .. count-1 of `seed` into the folder `out`; those that are there are left alone.
    Returns the folder.

    sizes: (height, width), in turn: scene i gets number i modulo their count. workers: processes, by default
    one per core; the files do not depend on it. progress(done, count) is called as files appear. A larger
    `count` later adds scenes; any other change is a DataError.
    """
    folder = Path(out)
    settings = {
        "format": FORMAT,
        "seed": seed,
        "sizes": [list(s) for s in sizes],
        "kind": kind,
        "textures": textures and str(textures),
    }
    Scenes(seed, count, sizes[0], kind, textures)  # mistakes are named before a process is started
    _agree(folder, settings, count)
    missing = [i for i in range(count) if not _path(folder, i).exists()]
    done = count - len(missing)
    if progress:
        progress(done, count)
    jobs = [(folder, i, sizes[i % len(sizes)], seed, kind, textures) for i in missing]
    workers = min(workers or os.cpu_count() or 1, max(1, len(jobs)))
    with ProcessPoolExecutor(workers, processes(), initializer=quiet) as pool:
        for _ in pool.map(_write, jobs, chunksize=8):
            done += 1
            if progress:
                progress(done, count)
    return folder


class SynthFolder:
    """Reads what `synthesise` wrote: the scenes `start` .. `start + count`, by default all that are there.

    fields: which of normals and classes to read beside picture and depth; what a training does not use need
    not be read.
    """

    def __init__(
        self,
        path: str | Path,
        start: int = 0,
        count: int | None = None,
        fields: Sequence[str] = ("normals", "classes"),
    ) -> None:
        self.folder, self.fields = Path(path), frozenset(fields)
        if not (self.folder / "scenes.json").is_file():
            raise DataError(
                f"{path} has no scenes.json: make the folder with `leadline data synth {path} --count N`"
            )
        self.numbers = sorted(int(p.stem) for p in self.folder.glob("[0-9]*/[0-9]*.npz"))[start:][:count]
        if not self.numbers:
            raise DataError(
                f"{path} holds no scenes from {start} on: run `leadline data synth {path}` to its end"
            )

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: int) -> Sample:
        path = _path(self.folder, self.numbers[index])
        try:
            with open(path, "rb") as raw, np.load(raw, allow_pickle=False) as file:
                rgb, depth, K = file["rgb"], file["depth"], file["K"]
                normals = file["normals"].astype(np.float32) if "normals" in self.fields else None
                classes = ade20k_classes(file["classes"]) if "classes" in self.fields else None
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            fault = f"{path} cannot be read ({type(error).__name__})"
            raise DataError(f"{fault}: delete it and run `leadline data synth` again") from error
        height, width = depth.shape
        name = f"{path.parent.name}/{path.name}"
        valid = np.ones(depth.shape, bool)
        return Sample(rgb, valid, depth, normals, Camera.from_K(K, width, height), name, classes)


def _write(job: tuple[Path, int, tuple[int, int], int, str | None, str | Path | None]) -> None:
    folder, index, size, seed, kind, textures = job
    made = Scenes(seed, index + 1, size, kind, textures).scene(index, size)
    path = _path(folder, index)
    path.parent.mkdir(exist_ok=True)
    with atomic(path) as temporary, open(temporary, "wb") as file:
        np.savez(
            file,
            rgb=eight_bit(made.rgb),
            depth=made.depth[0].numpy(),
            normals=made.normals.permute(1, 2, 0).numpy().astype(np.float16),
            classes=made.classes.numpy().astype(np.uint8),
            K=made.camera.K,
        )


def _path(folder: Path, index: int) -> Path:
    return folder / f"{index // 1000:03d}" / f"{index:06d}.npz"


def _agree(folder: Path, settings: dict[str, Any], count: int) -> None:
    """Write the settings, or find them unchanged."""
    record = folder / "scenes.json"
    if record.exists():
        found = _settings(record)
        for key, value in settings.items():
            if found.get(key) != value:
                made = f"{folder} was made with {key} = {found.get(key)!r}, not {value!r}"
                raise DataError(f"{made}: use another folder, or the same {key}")
    folder.mkdir(parents=True, exist_ok=True)
    with atomic(record) as temporary:
        temporary.write_text(json.dumps({**settings, "count": count, "leadline": __version__}, indent=1))


def _settings(record: Path) -> dict[str, Any]:
    """What a folder was made with."""
    try:
        return dict(json.loads(record.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        hint = "use another folder, or delete this one with its scenes"
        raise DataError(f"{record}: cannot be read ({error}): {hint}") from None

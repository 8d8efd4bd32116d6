"""Photographs of which nothing else is known: for models of pictures, such as autoencoders and priors."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from leadline import image
from leadline.data.sample import Sample
from leadline.errors import DataError


class Photographs:
    """All pictures of a folder and its subfolders, in the order of their names; no depth, no normals.

    Hidden files and folders are left out. Raises DataError if nothing is found.
    """

    def __init__(self, path: str | Path) -> None:
        self.folder = Path(path)
        found = (p for p in self.folder.rglob("*") if p.suffix.lower() in image.SUFFIXES)
        self.files = sorted(p for p in found if not _is_hidden(p.relative_to(self.folder)))
        if not self.files:
            endings = ", ".join(sorted(image.SUFFIXES))
            raise DataError(f"{path} holds no photographs ({endings}): choose another folder")

    def __len__(self) -> int:
        return len(self.files)

    @property
    def names(self) -> list[str]:
        """Of each picture, its path within the folder."""
        return [file.relative_to(self.folder).as_posix() for file in self.files]

    def __getitem__(self, index: int) -> Sample:
        rgb = image.read(self.files[index]).rgb
        return Sample(rgb, np.ones(rgb.shape[:2], bool), name=self.names[index])


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)

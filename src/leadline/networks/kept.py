"""Latents that are kept on disk: a picture that comes again is not encoded again.

A file belongs to the numbers of a picture and to the autoencoder's weights and configuration, so that a wrong
one is never read: a mirrored picture has its own. A picture is encoded as though alone, and what is read is
what was computed, to the bit.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from leadline.save import files

Encode = Callable[[Tensor], Tensor]  # pictures [B,3,H,W] -> latents [B,C,h,w]


class Latents:
    """The latents that one autoencoder has made: float32 arrays, in a folder of its own within `folder`."""

    def __init__(self, folder: Path, autoencoder: nn.Module) -> None:
        digest = hashlib.blake2b(_config(autoencoder), digest_size=16)
        for name, weight in autoencoder.state_dict().items():
            digest.update(name.encode())
            digest.update(_bytes(weight))
        self.folder = folder / digest.hexdigest()

    @torch.no_grad()
    def get(self, x: Tensor, encode: Encode, what: str = "") -> Tensor:
        """Latents of pictures, from the folder where they are there, else encoded and kept. Raises SaveError
        where that cannot be written.

        what: tells apart what else is made of the same pictures.
        """
        return torch.cat([self._one(picture, encode, what) for picture in torch.split(x, 1)])

    def _one(self, x: Tensor, encode: Encode, what: str) -> Tensor:
        path = self._path(x, what)
        try:
            return torch.from_numpy(np.load(path, allow_pickle=False)).to(x.device)
        except (OSError, ValueError, EOFError):  # not there, or damaged
            z = encode(x).float()
        path.parent.mkdir(parents=True, exist_ok=True)
        file = io.BytesIO()
        np.save(file, z.cpu().numpy())
        files.write_bytes(path, file.getvalue())
        return z

    def _path(self, x: Tensor, what: str) -> Path:
        device = x.device.type
        precision = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype
        about = f"{tuple(x.shape)} {precision}{what and ' ' + what}".encode()
        name = hashlib.blake2b(about + _bytes(x), digest_size=16).hexdigest()
        return self.folder / name[:2] / f"{name}.npy"


def _config(autoencoder: nn.Module) -> bytes:
    """What decides latents beside the weights, such as the factor that scales them; not where it was."""
    config: dict[str, Any] = dict(getattr(autoencoder, "config", {}))
    own = {key: value for key, value in config.items() if not key.startswith("_")}
    return json.dumps(own, sort_keys=True, default=str).encode()


def _bytes(x: Tensor) -> bytes:
    return x.detach().float().cpu().contiguous().numpy().tobytes()

"""From stored pixels of any layout to upright RGB: PIL images of all modes, numpy arrays, torch tensors."""

from __future__ import annotations

import sys
from typing import Any, BinaryIO, Literal

import numpy as np
from PIL import Image

from leadline.errors import ImageError

Over = Literal["white", "black"]

# Raw modes of 16-bit colour, and those that read the same bytes in the other order: see `_low_bytes`.
_OTHER = {"L": "B", "B": "L", "N": "B" if sys.byteorder == "little" else "L"}
SWAPPED = {f"{mode};16{a}": f"{mode};16{b}" for mode in ("RGB", "RGBA") for a, b in _OTHER.items()}
SWAPPED["LA;16B"] = "RGBA"  # grey high, grey low, alpha high, alpha low


def stored(image: Image.Image, file: BinaryIO | None, name: str) -> np.ndarray:
    """The pixels of a PIL image of any mode, [H,W,C] with C = 1, 3 or 4: uint8, uint16 or float32.

    file: what the image was opened from, to fetch the low bytes of 16-bit colour, which Pillow leaves behind.
    """
    raw = _raw_mode(image)
    image.load()
    if image.mode.startswith("I;16"):
        return np.asarray(image).astype(np.uint16)[..., None]
    if image.mode == "F":
        return np.asarray(image)[..., None]
    if image.mode == "I":
        return _narrowed(np.asarray(image), name)[..., None]
    low = _low_bytes(image.format, file) if file and raw in SWAPPED else None
    if image.mode == "La":  # Pillow knows no direct way
        image = image.convert("LA")
    high = np.asarray(image.convert("RGBA" if image.has_transparency_data else "RGB"))
    if low is None or low.shape != high.shape:  # 16-bit RGB with one transparent colour gained a channel
        return high
    both: np.ndarray = high.astype(np.uint16) * 256 + low
    return both


def channels_last(array: np.ndarray) -> np.ndarray:
    """numpy [H,W] or [H,W,C] -> [H,W,C]. Raises ImageError for other shapes; [C,H,W] is named as such."""
    if array.ndim == 2:
        return array[..., None]
    if array.ndim == 3 and array.shape[2] in (1, 3, 4):
        return array
    shape = list(array.shape)
    if array.ndim == 3 and shape[0] in (1, 3, 4):
        raise ImageError(f"array has shape {shape}, [H,W,C] is needed: use array.transpose(1, 2, 0)")
    raise ImageError(f"array has shape {shape}, [H,W] or [H,W,C] with 1, 3 or 4 channels is needed")


def from_torch(tensor: Any) -> np.ndarray:
    """torch [H,W], [C,H,W] or [1,C,H,W] -> numpy [H,W,C]. Raises ImageError for other shapes."""
    shape = list(tensor.shape)
    if len(shape) == 4 and shape[0] == 1:
        tensor = tensor[0]
    if tensor.ndim == 2:
        tensor = tensor[None]
    if tensor.ndim != 3 or tensor.shape[0] not in (1, 3, 4):
        turn = ": use tensor.permute(2, 0, 1)" if len(shape) == 3 and shape[2] in (1, 3, 4) else ""
        raise ImageError(f"tensor has shape {shape}, one [C,H,W] with 1, 3 or 4 channels is needed{turn}")
    tensor = tensor.detach().cpu()
    tensor = tensor.float() if tensor.is_floating_point() else tensor  # numpy knows no bfloat16
    array: np.ndarray = tensor.numpy().transpose(1, 2, 0)
    return array


def as_rgb(array: np.ndarray, name: str, over: Over = "white") -> np.ndarray:
    """[H,W,1|3|4], uint8, uint16 or float in [0,1] -> [H,W,3], uint8 or float32 in [0,1], in its own memory.

    One channel is repeated; a fourth is alpha, laid over a colour. Raises ImageError for other numbers.
    """
    if 0 in array.shape:
        raise ImageError(f"{name}: {array.shape[1]}x{array.shape[0]} pixels, at least 1x1 is needed")
    if array.dtype == np.uint16:
        array = array / np.float32(65535)
    elif np.issubdtype(array.dtype, np.floating):
        array = _in_unit_range(array, name)
    elif array.dtype != np.uint8:
        raise ImageError(f"{name}: numbers are {array.dtype}; uint8, uint16, or floats in [0,1] are needed")
    if array.shape[2] == 4:
        return _composed(array, over)
    return np.array(np.broadcast_to(array, (*array.shape[:2], 3)), order="C")


def upright(rgb: np.ndarray, orientation: int) -> np.ndarray:
    """Undo the turn and mirroring that an EXIF orientation (1-8) stands for; from 5 on H and W swap."""
    rgb = rgb.swapaxes(0, 1) if orientation >= 5 else rgb
    rgb = rgb[:, ::-1] if orientation in (2, 3, 6, 7) else rgb
    rgb = rgb[::-1] if orientation in (3, 4, 7, 8) else rgb
    return np.ascontiguousarray(rgb)


def _narrowed(values: np.ndarray, name: str) -> np.ndarray:
    """int32 -> uint16, as which older programs store 16-bit grey."""
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > 65535:
        raise ImageError(
            f"{name}: 32-bit integers from {low} to {high} have no known white; save as 16 bits (0 to 65535)"
        )
    return values.astype(np.uint16)


def _low_bytes(kind: str | None, file: BinaryIO) -> np.ndarray:
    """The low bytes [H,W,3|4] of a 16-bit colour PNG or TIFF.

    Of 16-bit colour, Pillow keeps the high bytes only. Told the other byte order, it keeps the low ones.
    """
    file.seek(0)
    with Image.open(file, formats=[kind or ""]) as image:
        raw = _raw_mode(image)
        image.tile = [tile._replace(args=_swapped(tile.args)) for tile in image.tile]
        array = np.asarray(image)
    return array[..., [1, 1, 1, 3]] if raw == "LA;16B" else array


def _raw_mode(image: Image.Image) -> str:
    """How the pixels lie in the file; "" once they are loaded."""
    tiles = getattr(image, "tile", None)
    args = tiles[0].args if tiles else ""
    return str(args[0] if isinstance(args, tuple) else args)


def _swapped(args: Any) -> Any:
    return (SWAPPED[args[0]], *args[1:]) if isinstance(args, tuple) else SWAPPED[args]


def _in_unit_range(array: np.ndarray, name: str) -> np.ndarray:
    low, high = float(array.min()), float(array.max())  # NaN anywhere makes both NaN
    if not np.isfinite([low, high]).all():
        raise ImageError(f"{name}: NaN or infinite pixels; floats in [0,1] are needed, replace them first")
    if low < -1e-5 or high > 1 + 1e-5:  # what resizing elsewhere leaves as rounding errors may pass
        hint = "divide by 255" if low >= 0 and 128 < high <= 255 else "scale them first"
        raise ImageError(f"{name}: floats from {low:g} to {high:g}, in [0,1] are needed: {hint}")
    return array.astype(np.float32).clip(0, 1)


def _composed(rgba: np.ndarray, over: Over) -> np.ndarray:
    """[H,W,4] -> [H,W,3], laid over one colour."""
    whole = 255 if rgba.dtype == np.uint8 else 1
    back = np.float32(whole if over == "white" else 0)
    alpha = rgba[..., 3:] / np.float32(whole)  # [H,W,1]
    rgb = back + (rgba[..., :3] - back) * alpha  # [H,W,3] float32
    return np.round(rgb).astype(np.uint8) if whole == 255 else rgb

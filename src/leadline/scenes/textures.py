"""Textures for the procedural worlds: drawn patterns and, where given, crops of photographs; tileable, with
mip levels.

A texture is SIZE x SIZE RGB, uint8, one tile of an endless pattern. Its pyramid is stored flat, finest level
first, so that a whole scene samples all its textures with one gather.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

SIZE = 256
LEVELS = 9  # 256 .. 1
_SIDES = [SIZE >> level for level in range(LEVELS)]
_STARTS = np.cumsum([0] + [side * side for side in _SIDES])
TEXELS = int(_STARTS[-1])

Rng = np.random.Generator
Array = NDArray[np.float32]

CROPS_PER_PHOTOGRAPH = 4
VARIANTS = 24  # drawings of each pattern
KEPT = (
    2048  # pyramids in memory, a quarter of a megabyte each: with fewer they would be drawn again and again
)


class Textures:
    """A fixed, numbered collection: photograph crops first (if any), then the drawn patterns by name.

    `photographs`: arrays [H,W,3] uint8, used under their own terms; none are needed.

    >>> bank = Textures()
    >>> bank.pyramid(bank.numbers("brick")[0]).shape == (TEXELS, 3)
    True
    """

    def __init__(self, photographs: Sequence[NDArray[np.uint8]] = ()) -> None:
        self.photographs = tuple(photographs)
        self._crops = len(self.photographs) * CROPS_PER_PHOTOGRAPH
        self.pyramid = lru_cache(maxsize=KEPT)(self._pyramid)

    def numbers(self, pattern: str) -> range:
        """The numbers of all textures of one pattern; `photograph` for the crops, if any."""
        if pattern == "photograph":
            return range(self._crops)
        start = self._crops + list(PATTERNS).index(pattern) * VARIANTS
        return range(start, start + VARIANTS)

    def _pyramid(self, number: int) -> Tensor:
        """[TEXELS, 3] uint8."""
        rng = np.random.default_rng([17, number])
        if number < self._crops:
            tile = _crop(self.photographs[number // CROPS_PER_PHOTOGRAPH], rng)
        else:
            drawing = list(PATTERNS.values())[(number - self._crops) // VARIANTS]
            tile = np.clip(drawing(rng) * 255, 0, 255).astype(np.uint8)
        level = torch.from_numpy(tile).float().permute(2, 0, 1)[None]
        flat = []
        for _ in range(LEVELS):
            flat.append(level[0].flatten(1).T.round().to(torch.uint8))
            level = torch.nn.functional.avg_pool2d(level, 2) if level.shape[-1] > 1 else level
        return torch.cat(flat)


def sample(pyramids: Tensor, which: Tensor, uv: Tensor, footprint: Tensor) -> Tensor:
    """Texture colours, bilinear in the mip level whose texels are as large as a pixel.

    Shapes: pyramids [K,TEXELS,3] uint8, which [P], uv [2,P] in tiles, footprint [P] tiles per pixel -> [P,3]
    in [0,1].
    """
    device = pyramids.device
    level = (footprint * SIZE).clamp(min=1).log2().round().long().clamp(max=LEVELS - 1)  # [P]
    side = torch.tensor(_SIDES, device=device)[level]
    start = torch.tensor(_STARTS[:-1], device=device)[level] + which * TEXELS
    texels = pyramids.view(-1, 3)
    x, y = (uv - uv.floor()) * side - 0.5  # tiles -> texels, centres at +0.5
    x0, y0 = x.floor(), y.floor()
    fx, fy = (x - x0)[:, None], (y - y0)[:, None]
    x0, y0 = x0.long() % side, y0.long() % side
    x1, y1 = (x0 + 1) % side, (y0 + 1) % side
    top = texels[start + y0 * side + x0] * (1 - fx) + texels[start + y0 * side + x1] * fx
    bottom = texels[start + y1 * side + x0] * (1 - fx) + texels[start + y1 * side + x1] * fx
    colour: Tensor = (top * (1 - fy) + bottom * fy) / 255
    return colour


def noise(rng: Rng, cells: tuple[int, int] = (4, 4), octaves: int = 5, roughness: float = 0.6) -> Array:
    """Tileable value noise in [0,1], [SIZE,SIZE]; `cells`: rows and columns of the coarsest lattice."""
    total = np.zeros((SIZE, SIZE), np.float32)
    for octave in range(octaves):
        rows, columns = (min(SIZE, c << octave) for c in cells)
        lattice = rng.random((rows, columns), dtype=np.float32) - 0.5
        total += roughness**octave * _stretch(lattice)
    low, high = total.min(), total.max()
    return np.asarray((total - low) / max(high - low, 1e-6), np.float32)


def _stretch(lattice: Array) -> Array:
    """A periodic lattice, smoothly interpolated to [SIZE,SIZE]."""
    for axis in (0, 1):
        count = lattice.shape[axis]
        position = np.arange(SIZE) * count / SIZE
        low = position.astype(int)
        weight = (position - low).astype(np.float32)
        weight = weight * weight * (3 - 2 * weight)
        weight = weight[:, None] if axis == 0 else weight[None, :]
        lattice = (
            np.take(lattice, low, axis) * (1 - weight) + np.take(lattice, (low + 1) % count, axis) * weight
        )
    return lattice


def _crop(photograph: NDArray[np.uint8], rng: Rng) -> NDArray[np.uint8]:
    """A square crop, mirrored once in each direction so that it tiles."""
    height, width = photograph.shape[:2]
    side = int(min(height, width) * rng.uniform(0.3, 1.0))
    top, left = rng.integers(height - side + 1), rng.integers(width - side + 1)
    crop = (
        torch.from_numpy(photograph[top : top + side, left : left + side].copy())
        .permute(2, 0, 1)[None]
        .float()
    )
    half = torch.nn.functional.interpolate(crop, (SIZE // 2, SIZE // 2), mode="bilinear", antialias=True)[0]
    tile = torch.cat([half, half.flip(2)], 2)
    return torch.cat([tile, tile.flip(1)], 1).permute(1, 2, 0).round().clamp(0, 255).to(torch.uint8).numpy()


def _blend(weight: Array, a: Array, b: Array) -> Array:
    return np.asarray(weight[..., None] * a + (1 - weight[..., None]) * b, np.float32)


def _shaded(image: Array, light: Array, base: float, depth: float) -> Array:
    """The image times base + depth * light, [SIZE,SIZE,3] and [SIZE,SIZE]."""
    return np.asarray(image * (base + depth * light[..., None]), np.float32)


def _colour(rng: Rng, saturation: float = 0.5) -> Array:
    """A colour of random brightness, most often near grey, rather warm than cold; `saturation` bounds how far
    it leaves grey.
    """
    grey, strength = rng.uniform(0.15, 0.95), saturation * rng.random() ** 1.5
    warmth = np.array([0.12, 0.0, -0.12]) * rng.uniform(-0.3, 1.0)
    colour = np.clip(grey * (1 + strength * rng.uniform(-1, 1, 3) + warmth), 0, 1)
    return np.asarray(colour, np.float32)


def _tinted(rng: Rng, base: tuple[float, float, float], spread: float = 0.25) -> Array:
    return np.clip(
        np.array(base) * rng.uniform(0.55, 1.25) * rng.uniform(1 - spread, 1 + spread, 3), 0, 1
    ).astype(np.float32)


def _grid(
    rows: int, columns: int, offset: float = 0.0
) -> tuple[Array, Array, NDArray[np.int64], NDArray[np.int64]]:
    """Position inside each cell (0..1, two arrays) and its row and column; every second row is shifted by
    `offset` cells.
    """
    y, x = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32) / SIZE
    row = np.minimum((y * rows).astype(np.int64), rows - 1)
    shifted = x * columns + offset * (row % 2)
    return shifted % 1, (y * rows) % 1, row, shifted.astype(np.int64) % columns


def _cloudy(rng: Rng) -> Array:
    first = _blend(noise(rng, (int(rng.integers(2, 7)),) * 2), _colour(rng), _colour(rng))
    return _blend(noise(rng, (3, 3)) * rng.uniform(0, 0.6), np.broadcast_to(_colour(rng), first.shape), first)


def _plaster(rng: Rng) -> Array:
    return _colour(rng, 0.25) * (0.88 + 0.2 * noise(rng, (3, 3), 6, 0.75)[..., None])


def _brick(rng: Rng) -> Array:
    rows = 2 * int(rng.integers(3, 9))
    columns = max(1, int(rows * rng.uniform(0.3, 1.0)))
    u, v, row, column = _grid(rows, columns, 0.5)
    shade = rng.uniform(0.7, 1.15, (rows, columns)).astype(np.float32)[row, column]
    joint = ((u < 0.05) | (v < 0.1)).astype(np.float32)
    wall = _tinted(rng, (0.6, 0.4, 0.32)) * (shade * (0.8 + 0.4 * noise(rng, (8, 8))))[..., None]
    return _blend(joint, np.broadcast_to(_colour(rng, 0.1), wall.shape), wall)


def _tile(rng: Rng) -> Array:
    count = int(rng.integers(1, 9))
    u, v, row, column = _grid(count, count)
    joint = ((u < 0.03) | (v < 0.03)).astype(np.float32)
    two = np.stack([_colour(rng), _colour(rng)])
    face = (
        two[(row + column) % 2 * int(rng.random() < 0.4)]
        * rng.uniform(0.9, 1.05, (count, count))[row, column, None]
    )
    return _blend(
        joint, np.broadcast_to(_colour(rng, 0.1), face.shape), face * (0.9 + 0.15 * noise(rng)[..., None])
    )


def _planks(rng: Rng) -> Array:
    rows = int(rng.integers(3, 12))
    _, v, row, _ = _grid(rows, 1)
    grain = noise(rng, (int(rng.integers(16, 48)), 2), 3, 0.7)
    shade = rng.uniform(0.75, 1.15, rows).astype(np.float32)[row]
    wood = _tinted(rng, (0.55, 0.38, 0.24)) * (shade * (0.7 + 0.5 * grain))[..., None]
    return wood * np.where(v < 0.04, 0.5, 1.0)[..., None]


def _checker(rng: Rng) -> Array:
    count = 2 * int(rng.integers(1, 7))
    _, _, row, column = _grid(count, count)
    two = np.stack([_colour(rng), _colour(rng)])
    return _shaded(two[(row + column) % 2], noise(rng), 0.85, 0.2)


def _stripes(rng: Rng) -> Array:
    count = int(rng.integers(2, 24))
    colours = np.stack([_colour(rng, 0.8) for _ in range(int(rng.integers(2, 5)))])
    edges = np.sort(rng.random(count))
    band = np.searchsorted(edges, np.arange(SIZE) / SIZE) % len(colours)
    image = np.broadcast_to(colours[band][:, None], (SIZE, SIZE, 3))
    plaid = 0.5 * image + 0.5 * image.transpose(1, 0, 2) if rng.random() < 0.4 else image
    return _shaded(plaid, noise(rng), 0.85, 0.2)


def _speckle(rng: Rng) -> Array:
    """Asphalt, gravel, terrazzo, carpet."""
    grain = noise(rng, (64, 64), 3, 0.9) * 0.7 + 0.3 * noise(rng, (4, 4))
    return _blend(
        np.clip((grain - rng.uniform(0.2, 0.5)) * rng.uniform(1, 3), 0, 1),
        _colour(rng, 0.3),
        _colour(rng, 0.3),
    )


def _road(rng: Rng) -> Array:
    colour = rng.uniform(0.25, 0.6) * rng.uniform(0.94, 1.06, 3).astype(np.float32)
    patched = _shaded(np.broadcast_to(colour, (SIZE, SIZE, 3)), noise(rng, (2, 3)), 0.85, 0.25)
    return _shaded(patched, noise(rng, (48, 48), 3, 0.9), 0.8, 0.3)


def _grass(rng: Rng) -> Array:
    blades = noise(rng, (96, 64), 2, 0.9) * 0.5 + 0.5 * noise(rng, (6, 6), 5, 0.7)
    dry = _blend(noise(rng, (3, 3)), _tinted(rng, (0.35, 0.45, 0.16)), _tinted(rng, (0.55, 0.5, 0.28)))
    return _shaded(dry, blades, 0.35, 0.9)


def _foliage(rng: Rng) -> Array:
    clumps = noise(rng, (12, 12), 4, 0.85)
    return _shaded(_tinted(rng, (0.28, 0.35, 0.15), 0.25), np.clip(2.2 * clumps - 0.45, 0.05, 1.4), 0.0, 1.0)


def _bark(rng: Rng) -> Array:
    return _shaded(_tinted(rng, (0.4, 0.32, 0.25)), noise(rng, (3, 40), 3, 0.7), 0.35, 0.9)


def _facade(rng: Rng) -> Array:
    """A grid of windows in a wall; one tile is a few storeys high."""
    rows, columns = int(rng.integers(1, 4)), int(rng.integers(1, 5))
    u, v, row, column = _grid(rows, columns)
    wide, tall = rng.uniform(0.25, 0.85), rng.uniform(0.35, 0.8)
    x, y = np.abs(u - 0.5) / wide * 2, np.abs(v - 0.55) / tall * 2
    frame, glass = (x < 1) & (y < 1), (x < 0.88) & (y < 0.9)
    wall = _plaster(rng) if rng.random() < 0.6 else _brick(rng)
    panes = _tinted(rng, (0.3, 0.36, 0.42)) * rng.uniform(0.4, 1.8, (rows, columns))[row, column, None]
    image = _blend(frame.astype(np.float32), np.broadcast_to(_colour(rng, 0.2), wall.shape), wall)
    return np.where(glass[..., None], panes * (0.6 + 0.6 * noise(rng, (4, 4))[..., None]), image)


def _spines(rng: Rng) -> Array:
    """Rows of books, drawers, stacked goods."""
    count, rows = int(rng.integers(10, 40)), int(rng.integers(1, 4))
    u, v, row, column = _grid(rows, count)
    colours = rng.uniform(0.08, 0.85, (rows, count, 3)).astype(np.float32)[row, column]
    gap = (u < 0.08) | (v < rng.uniform(0.0, 0.3))
    return np.where(gap[..., None], 0.08, colours * (0.8 + 0.3 * noise(rng)[..., None]))


def _stones(rng: Rng) -> Array:
    """Cells about random points: paving, rubble, cracked earth."""
    points = rng.random((int(rng.integers(12, 80)), 2)).astype(np.float32)
    y, x = np.mgrid[0:SIZE:2, 0:SIZE:2].astype(np.float32) / SIZE
    delta = np.abs(np.stack([y, x], -1)[:, :, None] - points)  # [128,128,n,2]
    distance = np.sort(np.linalg.norm(np.minimum(delta, 1 - delta), axis=-1), axis=-1)[..., :2]
    rim = np.clip((distance[..., 1] - distance[..., 0]) * rng.uniform(20, 60), 0, 1).repeat(2, 0).repeat(2, 1)
    return _blend(rim, _colour(rng, 0.3), _colour(rng, 0.2)) * (0.75 + 0.4 * noise(rng, (8, 8)))[..., None]


def _poster(rng: Rng) -> Array:
    """Random rectangles and discs: pictures, signs, packaging, screens."""
    image = np.broadcast_to(_colour(rng, 0.9), (SIZE, SIZE, 3)).copy()
    y, x = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32) / SIZE
    for _ in range(int(rng.integers(4, 25))):
        cx, cy, w, h = rng.random(), rng.random(), rng.uniform(0.02, 0.3), rng.uniform(0.01, 0.3)
        dx, dy = np.abs(x - cx) / w, np.abs(y - cy) / h
        inside = (dx * dx + dy * dy < 1) if rng.random() < 0.4 else (dx < 1) & (dy < 1)
        image[inside] = _colour(rng, 1.0)
    return _shaded(image, noise(rng), 0.9, 0.15)


def _plain(rng: Rng) -> Array:
    return np.broadcast_to(_colour(rng, 0.6), (SIZE, SIZE, 3)) * (0.97 + 0.05 * noise(rng)[..., None])


def _bare(rng: Rng) -> Array:
    """Nearly white, to be coloured by a material's gain."""
    return np.asarray(0.93 + 0.07 * noise(rng, (3, 3), 6, 0.75)[..., None].repeat(3, 2), np.float32)


PATTERNS: dict[str, Callable[[Rng], Array]] = {
    "cloudy": _cloudy,
    "plaster": _plaster,
    "brick": _brick,
    "tile": _tile,
    "planks": _planks,
    "checker": _checker,
    "stripes": _stripes,
    "speckle": _speckle,
    "road": _road,
    "grass": _grass,
    "foliage": _foliage,
    "bark": _bark,
    "facade": _facade,
    "spines": _spines,
    "stones": _stones,
    "poster": _poster,
    "plain": _plain,
    "bare": _bare,
}

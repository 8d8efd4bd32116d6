"""A world to a picture with exact answers: planar depth, normals, camera, object ids, classes.

Rays have z = 1 in the camera frame, so the ray parameter is the planar depth. Everything runs on the device
given, from one seed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from leadline.camera import Camera
from leadline.scenes import shapes
from leadline.scenes.layouts import LAYOUTS, SHARES
from leadline.scenes.shapes import length
from leadline.scenes.textures import Rng, Textures, sample
from leadline.scenes.world import CLASSES, SURROUNDINGS, Light, Stage, World

TILE = 64  # pixels: rays x solids of one tile stay in the processor's cache
SHADOW_STEP = 2  # shadows are cast for every second pixel of every second row, then smoothed
SHADOW_REACH = 80.0  # metres from which the sun's shadow still falls


@dataclass(frozen=True)
class Scene:
    """One rendered picture. All tensors share height and width.

    rgb [3,H,W] in [0,1], display colours; depth [1,H,W] metres along the optical axis, inf for sky; normals
    [3,H,W] unit, OpenCV camera frame, pointing towards the viewer, zero for sky; valid [1,H,W] bool: not sky;
    ids [H,W] object numbers, 0 for sky; classes [H,W] positions in CLASSES; camera in pixels of this picture;
    kind: the layout.
    """

    rgb: Tensor
    depth: Tensor
    normals: Tensor
    valid: Tensor
    ids: Tensor
    classes: Tensor
    camera: Camera
    kind: str


def render(
    seed: int,
    size: tuple[int, int] = (128, 160),
    *,
    kind: str | None = None,
    textures: Textures | None = None,
    device: torch.device | str = "cpu",
) -> Scene:
    """The scene number `seed` at `size` (height, width). The same arguments give the same bits on one
    machine's CPU.

    >>> bool((render(3, (24, 32)).depth == render(3, (24, 32)).depth).all())
    True
    """
    rng = np.random.default_rng([seed, 2601])
    drawn = str(rng.choice(list(SHARES), p=list(SHARES.values())))
    kind = kind or drawn
    world = World(rng, textures or _plain_textures())
    stage = LAYOUTS[kind](world)
    return picture(world, stage, size, kind=kind, device=device)


def picture(
    world: World, stage: Stage, size: tuple[int, int], *, kind: str, device: torch.device | str = "cpu"
) -> Scene:
    """Render a world from its stage; `render` without the choice of layout."""
    height, width = size
    camera = stage_camera(stage, height, width)
    solids = world.solids(device)
    rotation = torch.tensor(stage.rotation(), dtype=torch.float32, device=device)
    origin = torch.tensor(stage.position, dtype=torch.float32, device=device)[:, None]  # [3,1]
    rays = torch.from_numpy(np.ascontiguousarray(camera.rays().reshape(-1, 3).T)).to(device)  # [3,P], z = 1
    direction = rotation @ rays
    depth, index = _cast_in_view(solids, origin, direction, height, width)
    seen = index >= 0
    surface = index.clamp(min=0)

    image = (height, width)
    points = origin + direction * torch.where(
        seen, depth, 1.0
    )  # the sky gets a point too, and no use is made of it
    normal, uv = shapes.surface(solids, surface, points)
    normal = torch.where((normal * direction).sum(0) > 0, -normal, normal)  # inner sides face the viewer too
    albedo, shine, glow = _materials(world, surface, uv, depth, direction, normal, camera)
    points, normal, direction, albedo = (x.view(3, *image) for x in (points, normal, direction, albedo))
    light = _lighting(world, stage, solids, points, normal, direction, shine.view(image))
    colour = albedo * (light + glow.view(image))
    sky = _sky(world, stage, direction)
    seen, depth = seen.view(image), depth.view(image)
    colour = torch.where(seen, colour, sky)
    if stage.fog:
        clear = torch.exp(-stage.fog * torch.where(seen, depth * length(direction), 1e5))
        colour = colour * clear + sky.mean((1, 2), keepdim=True) * (1 - clear)

    labels = torch.tensor(world.labels, device=device)[surface].view(image)
    numbers = torch.tensor(world.ids, device=device)[surface].view(image)
    return Scene(
        rgb=develop(colour, world.rng),
        depth=depth[None],
        normals=torch.where(seen, torch.einsum("ji,jhw->ihw", rotation, normal), 0.0),
        valid=seen[None],
        ids=torch.where(seen, numbers, 0),
        classes=torch.where(seen, labels, CLASSES.index("sky")),
        camera=camera,
        kind=kind,
    )


def develop(linear: Tensor, rng: Rng) -> Tensor:
    """What a camera makes of linear light [3,H,W]: exposure, white balance, vignette, blur, noise, contrast
    curve -> [0,1].
    """
    height, width = linear.shape[1:]
    device = linear.device
    key = float(np.exp(rng.normal(math.log(0.22), 0.35)))
    linear = linear * (key / linear.mean().clamp(min=1e-4))
    balance = np.exp(rng.normal(0, 0.08, 3)).astype(np.float32)
    linear = linear * torch.from_numpy(balance).to(device)[:, None, None]
    if rng.random() < 0.4:
        y, x = torch.linspace(-1, 1, height, device=device), torch.linspace(-1, 1, width, device=device)
        linear = linear / (1 + rng.uniform(0, 0.35) * (y[:, None] ** 2 + x**2)) ** 2
    if rng.random() < 0.5:
        linear = _blur(linear, rng.uniform(0.3, 0.9))
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    grain = torch.randn(linear.shape, generator=generator).to(device)
    linear = (
        linear.clamp(min=0) + grain * float(10 ** rng.uniform(-3.3, -1.7)) * linear.clamp(min=0.01).sqrt()
    )
    display = linear.clamp(0, 1) ** (1 / rng.uniform(1.9, 2.5))
    return display + rng.uniform(-0.1, 0.25) * display * (1 - display) * (2 * display - 1)


def _plain_textures(cache: list[Textures] = []) -> Textures:  # noqa: B006 (made once, never changed)
    if not cache:
        cache.append(Textures())
    return cache[0]


def stage_camera(stage: Stage, height: int, width: int) -> Camera:
    focal = max(height, width) / 2 / math.tan(math.radians(stage.fov) / 2)
    return Camera(focal, focal, width / 2, height / 2, width, height)


def _cast_in_view(
    solids: shapes.Solids, origin: Tensor, direction: Tensor, height: int, width: int
) -> tuple[Tensor, Tensor]:
    """`shapes.cast` by tiles; a tile sees only the solids whose bounding sphere reaches into its pyramid of
    view.
    """
    depth = torch.full((height, width), math.inf, device=origin.device)
    index = torch.full((height, width), -1, dtype=torch.long, device=origin.device)
    offset, radius = solids.centre - origin.T, solids.radius()  # [N,3], [N]
    for tile in _tiles(height, width):
        rays = direction.view(3, height, width)[:, *tile]
        corners = rays[:, [0, 0, -1, -1], [0, -1, -1, 0]]  # [3,4], clockwise
        planes = torch.linalg.cross(corners, corners.roll(-1, 1), dim=0)  # inward normals of the pyramid
        planes = planes / length(planes).clamp(min=1e-12)  # a pyramid one pixel thin culls nothing
        near = ((offset @ planes) > -radius[:, None] * 1.01 - 1e-3).all(1).nonzero()[:, 0]
        if len(near):
            t, which = shapes.cast(solids.take(near), origin, rays.reshape(3, -1))
            depth[tile] = t.view(rays.shape[1:])
            index[tile] = torch.where(which >= 0, near[which], -1).view(rays.shape[1:])
    return depth.flatten(), index.flatten()


def _tiles(height: int, width: int) -> Iterator[tuple[slice, slice]]:
    for top in range(0, height, TILE):
        for left in range(0, width, TILE):
            yield slice(top, top + TILE), slice(left, left + TILE)


def _materials(
    world: World,
    surface: Tensor,
    uv: Tensor,
    depth: Tensor,
    direction: Tensor,
    normal: Tensor,
    camera: Camera,
) -> tuple[Tensor, Tensor, Tensor]:
    """Linear albedo [3,P], shine [P], glow [P]."""
    device = uv.device
    numbers = sorted({m.texture for m in world.materials})
    pyramids = torch.stack([world.textures.pyramid(n) for n in numbers]).to(device)
    rows = [(numbers.index(m.texture), m.tile, *m.gain, m.flat, m.shine, m.glow) for m in world.materials]
    tile, *gain, flat, shine, glow = torch.tensor(
        [r[1:] for r in rows], dtype=torch.float32, device=device
    ).T[:, surface]  # [P] each
    which = torch.tensor([r[0] for r in rows], device=device)[surface]
    slant = (normal * direction).sum(0).abs() / length(direction)
    footprint = torch.where(depth.isfinite(), depth, 0) / camera.fx / slant.clamp(min=0.15) / tile
    shift = torch.frac(
        torch.sin(surface.float() * 12.9898) * 43758.5453
    )  # each solid starts elsewhere in its tile
    texel = sample(pyramids, which, uv / tile + shift, footprint).T  # [3,P]
    mean = pyramids[:, -1].float().T[:, which] / 255
    texel = texel + flat * (mean - texel)
    return texel**2.2 * torch.stack(gain), shine, glow


def _lighting(
    world: World,
    stage: Stage,
    solids: shapes.Solids,
    points: Tensor,
    normal: Tensor,
    direction: Tensor,
    shine: Tensor,
) -> Tensor:
    """Light that leaves a white surface, [3,H,W]: ambient from above and below, less in corners, then every
    lamp; the first casts shadows. Shapes: points, normal, direction [3,H,W]; shine [H,W].
    """
    device = points.device
    ambient = (0.75 - 0.25 * normal[1]) * _openness(world, solids, points, normal)  # y points down
    total = _column(stage.ambient, device) * ambient
    outer = [
        CLASSES[label] in SURROUNDINGS - {"building"} or m.glow > 1
        for label, m in zip(world.labels, world.materials, strict=True)
    ]
    casters = solids.take((~torch.tensor(outer, device=device)).nonzero()[:, 0])
    for number, light in enumerate(stage.lights):
        towards, falloff = _towards(light, points)
        facing = (normal * towards).sum(0).clamp(min=0) * falloff
        if number == 0:
            reach = SHADOW_REACH if light.is_sun else 0.97
            path = towards if light.is_sun else _column(light.position, device) - points
            facing = facing * (1 - _occlusion(casters, points + 2e-3 * normal, path, reach))
        halfway = towards - direction / length(direction)
        glint = (
            shine
            * ((normal * halfway).sum(0) / length(halfway).clamp(min=1e-6)).clamp(min=0) ** 24
            * (facing > 0)
        )
        total = total + _column(light.colour, device) * (facing + glint * falloff)
    return total


def _openness(world: World, solids: shapes.Solids, points: Tensor, normal: Tensor) -> Tensor:
    """Share of ambient light that reaches each point, [H,W]: one short random ray each, then smoothed."""
    generator = torch.Generator().manual_seed(int(world.rng.integers(2**62)))
    scatter = torch.randn(points.shape, generator=generator).to(points.device)
    reach = float(world.rng.uniform(0.3, 1.2))
    closed = _occlusion(solids, points + 5e-3 * normal, normal + 0.9 * scatter / length(scatter), reach)
    smooth = torch.nn.functional.avg_pool2d(closed[None, None], 9, 1, padding=4, count_include_pad=False)[
        0, 0
    ]
    return 1 - 0.75 * smooth


def _occlusion(casters: shapes.Solids, start: Tensor, path: Tensor, reach: float) -> Tensor:
    """1 where a solid stands between `start` and `start + reach * path`, else 0; in between where shadows
    end. [3,H,W] -> [H,W].
    """
    height, width = start.shape[1:]
    start, path = start[:, ::SHADOW_STEP, ::SHADOW_STEP], path[:, ::SHADOW_STEP, ::SHADOW_STEP]
    dark = torch.zeros(start.shape[1:], device=start.device)
    for tile in _tiles(*dark.shape) if len(casters) else ():
        a, d = start[:, *tile].flatten(1), path[:, *tile].flatten(1)
        ends = torch.cat([a, a + reach * d], dim=1)
        low, high = ends.amin(1), ends.amax(1)  # the box that all paths of the tile stay in
        gap = (casters.centre - casters.centre.clamp(low, high)).norm(dim=1)
        near = (gap < casters.radius()).nonzero()[:, 0]
        if len(near):
            dark[tile] = shapes.blocked(casters.take(near), a, d, reach).view(dark[tile].shape).float()
    return torch.nn.functional.interpolate(
        dark[None, None], (height, width), mode="bilinear", align_corners=False
    )[0, 0]


def _towards(light: Light, points: Tensor) -> tuple[Tensor, Tensor]:
    """Unit directions to the light, like `points`, and its falloff."""
    position = _column(light.position, points.device)
    if light.is_sun:
        return position.expand_as(points), torch.ones_like(points[0])
    offset = position - points
    squared = (offset * offset).sum(0).clamp(min=1e-4)
    return offset / squared.sqrt(), 1 / (0.3 + squared)


def _sky(world: World, stage: Stage, direction: Tensor) -> Tensor:
    unit = direction / length(direction)
    up = (-unit[1]).clamp(0, 1)
    low, high = (_column(c, direction.device) for c in (stage.sky_low, stage.sky_high))
    colour = low + (high - low) * up**0.6
    if stage.cloud_cover:
        plane = (unit[[0, 2]] / (up + 0.15)).flatten(1) * 0.25
        pyramid = world.textures.pyramid(stage.clouds)[None].to(direction.device)
        first = torch.zeros_like(plane[0])
        cloud = sample(pyramid, first.long(), plane, first).mean(1).view(up.shape)
        cover = ((cloud - cloud.mean()) * 4 + stage.cloud_cover).clamp(0, 1)
        colour = colour + cover * (low.mean() * 1.1 - colour) * 0.85
    return colour


def _column(values: Sequence[float], device: torch.device) -> Tensor:
    return torch.tensor(values, dtype=torch.float32, device=device)[:, None, None]


def _blur(image: Tensor, sigma: float) -> Tensor:
    offsets = torch.arange(-2, 3, device=image.device, dtype=torch.float32)
    weights = torch.exp(-0.5 * (offsets / sigma) ** 2)
    weights = weights / weights.sum()
    padded = torch.nn.functional.pad(image[:, None], (2, 2, 2, 2), mode="replicate")
    rows = torch.nn.functional.conv2d(padded, weights.view(1, 1, 5, 1))
    return torch.nn.functional.conv2d(rows, weights.view(1, 1, 1, 5))[:, 0]

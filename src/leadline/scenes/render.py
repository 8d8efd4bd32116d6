"""A world to a picture with exact answers: planar depth, normals, camera, object ids, classes.

Rays have z = 1 in the camera frame, so the ray parameter is the planar depth. Everything runs on the device
given, from one seed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
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

TILE = 16  # pixels: a tile's rays meet few solids
GROUP = 1024  # tiles at once: memory stays bounded however large the picture
SHADOW_STEP = 2  # shadows are cast for every second pixel of every second row, then smoothed
SHADOW_REACH = 80.0  # metres from which the sun's shadow still falls
LEAST_CASTER = 0.015  # radius over distance: what looks smaller casts no shadow that one could see


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
    key = float(np.exp(rng.normal(math.log(0.15), 0.4)))  # of the middle tones: a bright sky may burn out
    linear = linear * (key / linear.clamp(min=1e-4).log().mean().exp())
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
    return display + rng.uniform(-0.1, 0.9) * display * (1 - display) * (2 * display - 1)


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
    tiles = split(direction.view(3, height, width))  # [T,3,R]
    corners = tiles[:, :, [0, TILE - 1, -1, -TILE]]  # [T,3,4], clockwise
    planes = torch.linalg.cross(corners, corners.roll(-1, 2), dim=1)  # inward normals of the pyramid
    planes = planes / planes.norm(dim=1, keepdim=True).clamp(min=1e-12)  # one pixel thin, it culls nothing
    offset, radius = solids.centre - origin.T, solids.radius()  # [N,3], [N]
    near = (torch.matmul(offset, planes) > -radius[:, None] * 1.01 - 1e-3).all(2)  # [T,N]
    parts = [shapes.cast(solids, origin, tiles[g], near[g]) for g in _groups(len(tiles))]
    depth, index = (join(torch.cat(maps), height, width) for maps in zip(*parts, strict=True))
    return depth.flatten(), index.flatten()


def split(maps: Tensor) -> Tensor:
    """[C,H,W] -> tiles [T,C,TILE*TILE], row by row; the last ones repeat the border."""
    height, width = maps.shape[1:]
    rows = torch.arange(height + -height % TILE, device=maps.device).clamp(max=height - 1)
    columns = torch.arange(width + -width % TILE, device=maps.device).clamp(max=width - 1)
    blocks = maps[:, rows][:, :, columns].view(len(maps), len(rows) // TILE, TILE, -1, TILE)
    return blocks.permute(1, 3, 0, 2, 4).reshape(-1, len(maps), TILE * TILE)


def join(tiles: Tensor, height: int, width: int) -> Tensor:
    """Tiles [T,TILE*TILE] -> [H,W], what `split` took apart."""
    rows = -(-height // TILE)
    blocks = tiles.view(rows, -1, TILE, TILE).transpose(1, 2)  # [h,TILE,w,TILE]
    return blocks.reshape(rows * TILE, -1)[:height, :width]


def _groups(tiles: int) -> list[slice]:
    return [slice(start, start + GROUP) for start in range(0, tiles, GROUP)]


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
    numbers = sorted({world.materials[i].texture for i in set(surface.tolist())})  # of what is seen
    place = {n: i for i, n in enumerate(numbers)}
    pyramids = torch.stack([world.textures.pyramid(n) for n in numbers]).to(device)
    rows = [(place.get(m.texture, 0), m.tile, *m.gain, m.flat, m.shine, m.glow) for m in world.materials]
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
        (CLASSES[label] in SURROUNDINGS - {"building"} and not stage.walled) or m.glow > 1
        for label, m in zip(world.labels, world.materials, strict=True)
    ]
    camera = torch.tensor(stage.position, dtype=torch.float32, device=device)
    apparent = solids.radius() / length((solids.centre - camera).T)
    casts = ~torch.tensor(outer, device=device) & (apparent > LEAST_CASTER)
    casters = solids.take(casts.nonzero()[:, 0])
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
    if not len(casters):
        return torch.zeros(height, width, device=start.device)
    a, d = split(start), split(path)  # [T,3,R]
    near = _on_the_way(casters, a, a + reach * d)
    parts = [shapes.blocked(casters, a[g], d[g], reach, near[g]) for g in _groups(len(a))]
    dark = join(torch.cat(parts), *start.shape[1:]).float()
    return torch.nn.functional.interpolate(
        dark[None, None], (height, width), mode="bilinear", align_corners=False
    )[0, 0]


def _on_the_way(solids: shapes.Solids, a: Tensor, b: Tensor) -> Tensor:
    """Which solids the straight paths from a to b [T,3,R] of a tile can meet, [T,N]: those whose bounding
    sphere reaches into the capsule about all of the tile's paths.
    """
    (start, wide), (end, wider) = (_ball(x) for x in (a, b))  # [T,3], [T]
    along = end - start
    offset = solids.centre - start[:, None]  # [T,N,3]
    share = (offset * along[:, None]).sum(2) / (along * along).sum(1, keepdim=True).clamp(min=1e-12)
    gap: Tensor = (offset - share.clamp(0, 1)[..., None] * along[:, None]).norm(dim=2)
    return gap < solids.radius() * 1.01 + torch.maximum(wide, wider)[:, None] + 1e-3


def _ball(points: Tensor) -> tuple[Tensor, Tensor]:
    """Centre [T,3] and radius [T] of a ball about the points [T,3,R]."""
    centre = (points.amin(2) + points.amax(2)) / 2
    radius: Tensor = (points - centre[..., None]).norm(dim=1).amax(1)
    return centre, radius


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

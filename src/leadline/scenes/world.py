"""The stage on which a procedural scene is built: solids with materials, labels and ids, a camera pose,
lights.

World frame: metres, x right, y down, z forward at zero yaw; the ground is y = 0, so things that stand on it
have negative y.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from leadline.scenes import shapes
from leadline.scenes.textures import Rng, Textures

# Semantic classes, by their names in ADE20K (its 150-class list); the position is the class number in
# `Scene.classes`.
CLASSES = (
    "void", "wall", "building", "sky", "floor", "tree", "ceiling", "road", "bed", "windowpane", "grass",
    "cabinet", "sidewalk", "person", "earth", "door", "table", "mountain", "plant", "curtain", "chair", "car",
    "water", "painting", "sofa", "shelf", "house", "rug", "field", "fence", "desk", "rock", "wardrobe",
    "lamp", "railing", "cushion", "box", "column", "signboard", "path", "stairs", "book", "hill", "bench",
    "stool", "barrel", "basket", "bag", "ball", "plaything", "truck", "bus", "van", "pole", "streetlight",
    "bottle", "poster", "pot", "vase", "tray", "ashcan", "plate", "monitor", "traffic light", "glass", "food",
    "sculpture", "dirt track", "television receiver", "light", "fireplace", )  # fmt: skip

# What a scene is enclosed by: never in the camera's way, and no casters of shadows unless a stage is walled.
SURROUNDINGS = frozenset(
    {
        "wall",
        "floor",
        "ceiling",
        "building",
        "road",
        "grass",
        "earth",
        "sidewalk",
        "hill",
        "mountain",
        "path",
        "field",
    }
)

Vector = tuple[float, float, float] | NDArray[np.float64]


@dataclass(frozen=True)
class Material:
    """`texture` number in the collection; `tile` metres per tile; `gain` multiplies linear colour; `flat`
    0..1 fades the texture to one colour; `shine` strength of highlights; `glow` light given off by itself.
    """

    texture: int
    tile: float
    gain: tuple[float, float, float] = (1.0, 1.0, 1.0)
    flat: float = 0.0
    shine: float = 0.0
    glow: float = 0.0


@dataclass(frozen=True)
class Light:
    """A lamp at `position` (metres), or the sun where `position` is a direction towards it; `colour` is
    linear RGB power.
    """

    position: tuple[float, float, float]
    colour: tuple[float, float, float]
    is_sun: bool = False


@dataclass
class Stage:
    """What surrounds the solids: camera pose, lights, air."""

    position: NDArray[np.float64]
    yaw: float = 0.0
    pitch: float = 0.0  # positive looks down
    roll: float = 0.0
    fov: float = 60.0  # degrees, over the longer side of the picture
    lights: list[Light] = field(default_factory=list)
    ambient: tuple[float, float, float] = (0.5, 0.5, 0.5)
    walled: bool = False  # surroundings cast shadows too: the sun comes in by windows alone
    fog: float = 0.0  # extinction per metre
    sky_low: tuple[float, float, float] = (0.8, 0.85, 0.9)
    sky_high: tuple[float, float, float] = (0.3, 0.5, 0.85)
    clouds: int = 0  # texture number
    cloud_cover: float = 0.0

    def rotation(self) -> NDArray[np.float64]:
        """Camera to world, [3,3]."""
        return turn_y(self.yaw) @ turn_x(-self.pitch) @ turn_z(self.roll)


class World:
    """Collects solids; `rng` is the scene's own generator, so the same seed builds the same world."""

    def __init__(self, rng: Rng, textures: Textures) -> None:
        self.rng = rng
        self.textures = textures
        self.kinds: list[int] = []
        self.centres: list[NDArray[np.float64]] = []
        self.halves: list[NDArray[np.float64]] = []
        self.rotations: list[NDArray[np.float64]] = []
        self.materials: list[Material] = []
        self.labels: list[int] = []
        self.ids: list[int] = []
        self._origin, self._turn = np.zeros(3), np.eye(3)
        self._label, self._id = 0, 0

    @contextmanager
    def thing(self, label: str, x: float, z: float, yaw: float = 0.0, y: float = 0.0) -> Iterator[None]:
        """Solids added inside belong to one object that stands at (x, z), turned by `yaw`; y < 0 lifts it off
        the ground.
        """
        before = self._origin, self._turn, self._label, self._id
        self._origin = self._origin + self._turn @ np.array([x, y, z])
        self._turn = self._turn @ turn_y(yaw)
        self._label = CLASSES.index(label)
        self._id = max([self._id, *self.ids], default=0) + 1
        yield
        self._origin, self._turn, self._label, self._id = before

    def add(
        self,
        shape: int,
        centre: Vector,
        half: Vector,
        material: Material,
        rotation: NDArray[np.float64] | None = None,
    ) -> None:
        """One solid, placed in the frame of the current thing. `half`: half extents in metres."""
        self.kinds.append(shape)
        self.centres.append(self._origin + self._turn @ np.asarray(centre, float))
        self.halves.append(np.maximum(np.asarray(half, float), 1e-3))
        self.rotations.append(self._turn if rotation is None else self._turn @ rotation)
        self.materials.append(material)
        self.labels.append(self._label)
        self.ids.append(self._id)

    def box(
        self, centre: Vector, half: Vector, material: Material, rotation: NDArray[np.float64] | None = None
    ) -> None:
        self.add(shapes.BOX, centre, half, material, rotation)

    def cylinder(self, base: Vector, radius: float, height: float, material: Material) -> None:
        """Upright, standing on `base`."""
        centre = np.asarray(base, float) - np.array([0, height / 2, 0])
        self.add(shapes.CYLINDER, centre, (radius, height / 2, radius), material)

    def rod(self, start: Vector, end: Vector, radius: float, material: Material) -> None:
        """A thin cylinder between two points."""
        a, b = np.asarray(start, float), np.asarray(end, float)
        half = np.array([radius, float(np.linalg.norm(b - a)) / 2, radius])
        self.add(shapes.CYLINDER, (a + b) / 2, half, material, along(b - a))

    def ball(self, centre: Vector, radius: float | Vector, material: Material) -> None:
        half = np.broadcast_to(np.asarray(radius, float), 3)
        self.add(shapes.SPHERE, centre, half, material)

    def material(
        self, *patterns: str, tile: tuple[float, float] = (0.5, 2.0), photo: float = 0.25, **options: float
    ) -> Material:
        """A random material of the given patterns; with probability `photo` a photograph crop, where the
        collection has some.
        """
        rng = self.rng
        crops = self.textures.numbers("photograph")
        numbers = (
            crops if len(crops) and rng.random() < photo else self.textures.numbers(str(rng.choice(patterns)))
        )
        tint = rng.uniform(0.7, 1.25) * rng.uniform(0.92, 1.08, 3)
        return Material(
            texture=int(rng.choice(numbers)),
            tile=float(np.exp(rng.uniform(*np.log(tile)))),
            gain=(float(tint[0]), float(tint[1]), float(tint[2])),
            flat=options.get("flat", float(max(0.0, rng.uniform(-0.6, 0.8)))),
            shine=options.get("shine", float(max(0.0, rng.uniform(-0.5, 0.5)))),
            glow=options.get("glow", 0.0),
        )

    def paint(
        self, *colours: tuple[float, float, float], spread: float = 0.25, shine: float = 0.0
    ) -> Material:
        """A plain coat in one of the colours (linear), lighter or darker by up to `spread`."""
        colour = np.asarray(colours[self.rng.integers(len(colours))]) * self.rng.uniform(
            1 - spread, 1 + spread
        )
        texture = self.textures.numbers("bare")[0]
        return Material(texture, 2.0, (float(colour[0]), float(colour[1]), float(colour[2])), shine=shine)

    def solids(self, device: torch.device | str = "cpu") -> shapes.Solids:
        halves = np.stack(self.halves)
        rotations = np.stack(self.rotations)
        to_object = np.swapaxes(rotations, 1, 2) / halves[:, :, None]
        arrays = [to_object, np.stack(self.centres), halves]
        tensors = [torch.tensor(a, dtype=torch.float32, device=device) for a in arrays]
        return shapes.Solids(torch.tensor(self.kinds, device=device), *tensors)

    def clear_around(self, position: NDArray[np.float64], radius: float, keep: frozenset[str]) -> None:
        """Remove the objects that the camera would stand in: those with a solid whose box is nearer than
        `radius`.
        """
        bad: set[int] = set()
        parts = zip(self.centres, self.halves, self.rotations, self.labels, self.ids, strict=True)
        for centre, half, rotation, label, number in parts:
            outside = np.maximum(np.abs(rotation.T @ (position - centre)) - half, 0)
            if np.linalg.norm(outside) < radius and CLASSES[label] not in keep:
                bad.add(number)
        kept = [i for i, number in enumerate(self.ids) if number not in bad]
        for name in ("kinds", "centres", "halves", "rotations", "materials", "labels", "ids"):
            setattr(self, name, [getattr(self, name)[i] for i in kept])


def turn_x(angle: float) -> NDArray[np.float64]:
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[1, 0, 0], [0, c, -s], [0, s, c]])


def turn_y(angle: float) -> NDArray[np.float64]:
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


def turn_z(angle: float) -> NDArray[np.float64]:
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])


def along(direction: NDArray[np.float64]) -> NDArray[np.float64]:
    """A rotation whose y axis lies along `direction`."""
    y = direction / max(float(np.linalg.norm(direction)), 1e-9)
    helper = np.array([1.0, 0, 0]) if abs(y[0]) < 0.9 else np.array([0, 0, 1.0])
    x = np.cross(y, helper)
    x /= np.linalg.norm(x)
    return np.stack([x, y, np.cross(x, y)], axis=1)

"""Whether depths and normals are what they are said to be, told from pictures of a data set alone.

Most pictures hold planes. Seen by a pinhole camera, 1 / z of a plane is an affine function of the pixel's
place; with distances along the rays, or with disparities, another function of the numbers is. Which one is
affine along rows and columns is thus measured, not believed. Normals are compared with those of the depth,
and where colours change with where depth does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from leadline.camera import Camera, z_to_ray
from leadline.data.sample import Array, Sample
from leadline.surface import d2nt

FLATTEST = 0.3  # share of the places that is taken for planes
BETTER = 0.5  # what another reading's error must be at most, relative to that of the reading in force
FARTHEST_MEDIAN_M = 100  # of a data set; rooms in centimetres have 200 to 400
ROUNDING = 1e-6  # relative errors under this say nothing
OPPOSITE = -0.3  # agreement of an axis' signs, from -1 to 1
FAINT = 0.01  # mean product of two normals' parts along an axis that says nothing
MIRRORS = {"left and right": np.s_[:, ::-1], "top and bottom": np.s_[::-1], "both": np.s_[::-1, ::-1]}


def doubts(samples: Sequence[Sample]) -> Iterator[str]:
    """One line for each thing that looks wrong with these samples of one data set, taken together."""
    found = list(_depth_doubts([s for s in samples if s.depth_m is not None]))
    both = [s for s in samples if s.depth_m is not None and s.normals is not None and s.camera is not None]
    yield from found or _normals_doubts(both)  # wrong depths have no right normals


def _depth_doubts(samples: Sequence[Sample]) -> Iterator[str]:
    yield from _unit_doubts(samples)
    errors = {name: _pooled([_errors(s)[name] for s in samples]) for name in ("planar", "ray", "inverse")}
    planar = errors.pop("planar")
    name = min(errors, key=lambda key: errors[key])
    if planar > ROUNDING and errors[name] < BETTER * planar:
        yield {
            "ray": "depths look like distances along the rays: convert them (leadline.camera.ray_to_z)",
            "inverse": "depths look like disparities: take their reciprocals",
        }[name]
    aligned, mirrored = _edges(samples)
    where = max(mirrored, key=lambda key: mirrored[key], default="")
    if where and mirrored[where] > 0.1 and mirrored[where] > 2 * aligned:
        yield f"edges of pictures and depths agree when {where} of the depths are swapped: flip both or none"


def _unit_doubts(samples: Sequence[Sample]) -> Iterator[str]:
    """Pictures of anything are seldom farther off than a street is long: not half of all their pixels."""
    depths = [_nearness(s) for s in samples]
    medians = [1 / float(np.median(near[near > 0])) for near in depths if (near > 0).any()]
    if medians and (middle := float(np.median(medians))) > FARTHEST_MEDIAN_M:
        yield f"depths are {middle:.0f} m off in the median: are they centimetres or millimetres?"


def _errors(sample: Sample) -> dict[str, Array]:
    """How far from affine each reading of a depth map is at each place, along rows and columns."""
    depth = sample.depth_m
    assert depth is not None
    valid = sample.valid & np.isfinite(depth) & (depth > 0)
    depth = np.where(valid, depth, 1).astype(np.float64)
    readings = {"planar": 1 / depth, "inverse": depth}
    if sample.camera is not None:
        readings["ray"] = z_to_ray(np.ones_like(depth), sample.camera) / depth
    else:
        readings["ray"] = readings["planar"]
    return {name: np.concatenate([*_bends(f, valid)]) for name, f in readings.items()}


def _bends(f: Array, valid: Array) -> Iterator[Array]:
    """Second differences over an eighth of the map, relative to the values."""
    for values, known in ((f, valid), (f.T, valid.T)):
        far = max(1, values.shape[1] // 16)
        a, b, c = values[:, : -2 * far], values[:, far:-far], values[:, 2 * far :]
        ok = known[:, : -2 * far] & known[:, far:-far] & known[:, 2 * far :]
        yield (np.abs(a - 2 * b + c) / (np.abs(a) + 2 * np.abs(b) + np.abs(c) + 1e-12))[ok]


def _pooled(errors: Sequence[Array]) -> float:
    together = np.concatenate(errors) if errors else np.zeros(0)
    return float(np.quantile(together, FLATTEST)) if together.size else 0.0


def _edges(samples: Sequence[Sample]) -> tuple[float, dict[str, float]]:
    """Correlation of where colours and where depths change: as they are, and with the depths mirrored."""
    pairs = [(_steepness(s.rgb.mean(axis=2)), _steepness(_nearness(s))) for s in samples]
    pairs = [(a, b) for a, b in pairs if a.std() * b.std() > 0]

    def agreement(mirror: Any) -> float:
        found = [np.corrcoef(a.ravel(), b[mirror].ravel())[0, 1] for a, b in pairs]
        return float(np.mean(found)) if found else 0.0

    return agreement(np.s_[:]), {name: agreement(mirror) for name, mirror in MIRRORS.items()}


def _nearness(sample: Sample) -> Array:
    """1 / depth, 0 where it is unknown."""
    depth = sample.depth_m
    assert depth is not None
    valid = sample.valid & np.isfinite(depth) & (depth > 0)
    return np.where(valid, 1 / np.where(valid, depth, 1), 0)


def _steepness(x: Array) -> Array:
    down, across = np.gradient(x.astype(np.float64))
    steep = np.hypot(down, across)
    limited: Array = np.minimum(steep, 4 * steep.mean())  # the steepest shall not outweigh all others
    return limited


def _normals_doubts(samples: Sequence[Sample]) -> Iterator[str]:
    """Axes along which normals point the other way than those of the depth."""
    pairs = [_beside(s) for s in samples]
    given, expected = (np.concatenate(x) for x in zip(*pairs, strict=True)) if pairs else np.zeros((2, 0, 3))
    both = given * expected  # [N,3]
    agreement = both.sum(0) / np.maximum(np.abs(both).sum(0), 1e-12)  # of each axis, in [-1,1]
    known = np.abs(both).mean(0) > FAINT if len(both) else np.zeros(3, bool)  # a bare road says nothing of z
    turned = [a for a, sign, sure in zip("xyz", agreement, known, strict=True) if sure and sign < OPPOSITE]
    if turned:
        axes = " and ".join(turned)
        yield f"normals agree with the depths when {axes} are negated: convert them (camera.convert_normals)"


def _beside(sample: Sample) -> tuple[Array, Array]:
    """Normals [N,3] as given and of the depth, where both are known."""
    assert sample.depth_m is not None
    assert sample.normals is not None
    camera: Camera | None = sample.camera
    assert camera is not None
    valid = sample.valid & np.isfinite(sample.depth_m) & (np.linalg.norm(sample.normals, axis=-1) > 0.5)
    expected = d2nt(100 * np.where(valid, sample.depth_m, 1), camera, "v2")
    return sample.normals[valid], expected[valid]

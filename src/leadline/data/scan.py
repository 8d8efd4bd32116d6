"""Every sample of a data set looked at once: its figures, and what speaks against it, with the evidence.

A scan keeps a line per sample in a journal if it is given one, and goes on from there.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from leadline.data import open_set
from leadline.data.loading import processes, quiet
from leadline.data.mix import Set, fetch
from leadline.data.sample import Array, Sample
from leadline.data.view import View
from leadline.errors import LeadlineError, UsageError, did_you_mean
from leadline.save import journal

PLAUSIBLE_M = (0.02, 500.0)  # median depth of a picture; millimetres read as metres give thousands
Progress = Callable[[int, int, str], None]
Line = dict[str, Any]


@dataclass(frozen=True)
class Limits:
    """What a sample must have beyond values that can be right.

    depth_range_m: least difference of its nearest and farthest depth. rgb_range: least difference of its
    darkest and brightest colour, of 255. invalid: largest share of pixels without a depth. near: (metres,
    largest share of the known depths that are nearer).
    """

    depth_range_m: float = 0.0
    rgb_range: int = 0
    invalid: float = 1.0
    near: tuple[float, float] = (0.0, 1.0)


FILTERS = {
    "none": Limits(),
    "marigold": Limits(depth_range_m=0.5, rgb_range=10, invalid=0.03),  # its rule for Hypersim (Marigold#158)
    "metric": Limits(invalid=0.5, near=(0.1, 0.02)),  # for TartanAir and other worlds with broken maps
}


class Source(NamedTuple):
    """A data set as the command line names it, and how it is looked at."""

    name: str
    options: Mapping[str, Any]
    view: View = View()

    def open(self) -> Set:
        """DataError if it is not there."""
        return self.view.over(open_set(self.name, self.options))


def limits(name: str) -> Limits:
    """The limits of that name. UsageError names the nearest one."""
    if name not in FILTERS:
        raise UsageError(f"filter is {name!r}: {did_you_mean(name, FILTERS)}")
    return FILTERS[name]


def figures(sample: Sample) -> Line:
    """Size, shares of known pixels, nearest, median and farthest depth in metres, range of colours."""
    found: Line = {
        "size": list(sample.size),
        "valid": float(sample.valid.mean()),
        "rgb_range": int(sample.rgb.max()) - int(sample.rgb.min()),
        "group": sample.group,
    }
    if sample.depth_m is not None:
        known = sample.depth_m[sample.valid & np.isfinite(sample.depth_m)]
        points = np.quantile(known, [0, 0.5, 1]) if known.size else [np.nan] * 3
        found |= dict(zip(("near_m", "median_m", "far_m"), map(float, points), strict=True))
    if sample.normals is not None:
        found["normals"] = float((np.linalg.norm(sample.normals, axis=-1) > 0.5).mean())
    return found


def faults(sample: Sample, wanted: Limits = FILTERS["none"]) -> Iterator[str]:
    """One line for each thing that speaks against a sample: values that a correct reader never gives, then
    what the limits forbid.
    """
    if not sample.valid.any():
        yield "no pixel is valid: is the depth's unit or mask right?"
        return
    if sample.depth_m is not None:
        yield from _impossible_depth(sample.depth_m[sample.valid])
    if sample.normals is not None:
        length = np.linalg.norm(sample.normals[sample.valid], axis=-1)
        if not ((np.abs(length - 1) < 0.02) | (length == 0)).all():
            found = f"{length.min():.3f} to {length.max():.3f}"
            yield f"normals have lengths {found}, wanted 1, or 0 where there is none (sky)"
    yield from _forbidden(sample, wanted)


def _impossible_depth(depth: Array) -> Iterator[str]:
    if not (depth > 0).all():  # false for nan too
        yield "valid depths must be above 0 (inf: sky): correct `valid`"
        return
    solid = depth[np.isfinite(depth)]
    median, (low, high) = float(np.median(solid)) if solid.size else PLAUSIBLE_M[1], PLAUSIBLE_M
    if not low <= median <= high:
        found = f"median depth is {median:.4g} m, wanted {low} to {high:.0f}"
        yield f"{found}: are these millimetres or centimetres?"


def _forbidden(sample: Sample, wanted: Limits) -> Iterator[str]:
    invalid = 1 - float(sample.valid.mean())
    if invalid > wanted.invalid:
        yield f"{invalid:.1%} of the pixels are not valid, at most {wanted.invalid:.1%} are allowed"
    rgb_range = int(sample.rgb.max()) - int(sample.rgb.min())
    if rgb_range < wanted.rgb_range:
        yield f"colours differ by {rgb_range} of 255, at least {wanted.rgb_range} are wanted"
    known = None if sample.depth_m is None else sample.depth_m[sample.valid & np.isfinite(sample.depth_m)]
    if known is None or not known.size:
        return
    if np.ptp(known) < wanted.depth_range_m:
        yield f"depths differ by {np.ptp(known):.3g} m, at least {wanted.depth_range_m} m are wanted"
    metres, share = wanted.near
    nearer = float((known < metres).mean())
    if nearer > share:
        yield f"{nearer:.1%} of the depths are under {metres} m, at most {share:.0%} are allowed"


def look(data: Set, index: int, wanted: Limits) -> Line:
    """One sample's line: its number and name, its figures, and `refused`, the reasons; a sample that cannot
    be read has one reason and no figures.
    """
    name = getattr(data, "name_of", str)(index)
    try:
        sample = fetch(data, index, None)
        return {"index": index, "name": sample.name or name, "refused": [*faults(sample, wanted)]} | figures(
            sample
        )
    except LeadlineError as error:
        return {"index": index, "name": name, "refused": [str(error)]}


def scan(
    source: Source,
    wanted: Limits = FILTERS["none"],
    *,
    record: Path | None = None,
    count: int | None = None,
    workers: int = 1,
    progress: Progress | None = None,
) -> list[Line]:
    """Look at all samples, or at `count` spread over the set; lines in the order of their numbers.

    record: a journal; pictures that it says are good, of the same set, view and limits, are not looked at
    again, wherever they stand in the set by now. workers: processes. progress(done, total, name).
    """
    data = source.open()
    total, asked, known = len(data), _asked(source, wanted), keys(data)
    numbers = range(total) if not count or count >= total else np.linspace(0, total - 1, count).astype(int)
    lines = journal.read(record) if record else iter(())
    good = {line["picture"]: line for line in lines if line.get("asked") == asked and not line["refused"]}
    done = {int(n): good[known[n]] | {"index": int(n)} for n in numbers if known[n] in good}
    missing = [int(number) for number in numbers if int(number) not in done]
    with journal.Journal(record) if record else nullcontext() as opened:
        for line in each(source, _look, [(number, wanted) for number in missing], workers):
            done[line["index"]] = line
            if opened:
                opened.append({"asked": asked, "picture": known[line["index"]]} | line)
            if progress:
                progress(len(done), len(numbers), line["name"])
    return [done[int(number)] for number in numbers]


def keys(data: Set) -> list[str]:
    """By what records know a set's pictures, whose numbers change as files come: their names before they are
    read, and which of that name.
    """
    seen: Counter[str] = Counter()
    found = []
    for number in range(len(data)):
        name = getattr(data, "name_of", str)(number)
        found.append(f"{name} {seen[name] + 1}" if seen[name] else name)
        seen[name] += 1
    return found


def settings(source: Source, wanted: Limits) -> Line:
    """What decides on a picture's line, as JSON holds it."""
    return {
        "set": source.name,
        "options": {key: str(value) for key, value in sorted(source.options.items())},
        "view": source.view.model_dump(mode="json", exclude={"labels"}),  # no figure is of these
        "limits": json.loads(json.dumps(vars(wanted))),
    }


def _asked(source: Source, wanted: Limits) -> str:
    """The settings in short."""
    return hashlib.sha256(json.dumps(settings(source, wanted)).encode()).hexdigest()[:16]


def each(
    source: Source, work: Callable[[Set, Any], Line], jobs: Sequence[Any], workers: int
) -> Iterator[Line]:
    """`work(data set, job)` of each job, in their order, by so many processes that each open the set once."""
    if workers <= 1 or len(jobs) < 2:
        data = source.open()
        for job in jobs:
            yield work(data, job)
        return
    workers = min(workers, os.cpu_count() or 1, len(jobs))
    with ProcessPoolExecutor(workers, processes(), initializer=_start, initargs=(source, work)) as pool:
        yield from pool.map(_run, jobs, chunksize=1)


_OPEN: dict[str, Any] = {}  # of a worker process


def _start(source: Source, work: Callable[[Set, Any], Line]) -> None:
    quiet()
    _OPEN.update(data=source.open(), work=work)


def _run(job: Any) -> Line:
    line: Line = _OPEN["work"](_OPEN["data"], job)
    return line


def _look(data: Set, job: tuple[int, Limits]) -> Line:
    return look(data, *job)


def summary(lines: Sequence[Line]) -> Line:
    """Figures over a scan: how many, refused ones, sizes, and shares and depths from the least to the
    largest by quarters, of the whole and of each group.
    """
    kept = [line for line in lines if not line["refused"]]
    sizes: dict[str, int] = {}
    for line in kept:
        height, width = line["size"]
        sizes[f"{width}x{height}"] = sizes.get(f"{width}x{height}", 0) + 1
    found: Line = {"pictures": len(lines), "refused": len(lines) - len(kept), "sizes": sizes}
    for key in ("valid", "normals", "near_m", "median_m", "far_m", "rgb_range"):
        values = [line[key] for line in kept if line.get(key) is not None and np.isfinite(line[key])]
        if values:
            points = np.quantile(values, [0, 0.25, 0.5, 0.75, 1])
            found[key] = [float(f"{point:.4g}") for point in points]
    groups = sorted({line["group"] for line in kept if line.get("group")})
    if len(groups) > 1:
        found["groups"] = {g: summary([x for x in lines if x.get("group") == g]) for g in groups}
    return found

"""Data sets brought into a form that trains fast: decoded once, looked at, what is refused left out.

    prepared.json       what was asked for      prepared.jsonl      one line per picture
    form pairs:     OUT/images/NAME.png, depth/NAME.npz, normals/NAME.npy, classes/NAME.png,
                    pseudo/NAME.npz, and pairs.csv, which trains as the set `manifest`
    form marigold:  OUT/PART/SCENE/rgb_cam_00_fr0000.png, depth_plane_*.png, normal_cam_*.npy, and
                    filename_list_PART.txt, filename_meta_PART.csv: Hypersim as Marigold's scripts make it

Files are written whole or not at all; the same command goes on where it was stopped.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from leadline import __version__
from leadline.camera import convert_normals
from leadline.data import decode, scan
from leadline.data.augment import Options, augment
from leadline.data.mix import Set, fetch
from leadline.data.sample import Array, Sample
from leadline.data.scan import FILTERS, Limits, Line, Progress, Source
from leadline.data.sets.hypersim import frame_of
from leadline.data.sets.hypersim_raw import millimetres
from leadline.errors import DataError, LeadlineError, UsageError
from leadline.save import atomic, containers, inside, journal, write_bytes

SETTINGS, JOURNAL = "prepared.json", "prepared.jsonl"
Write = Callable[[Sample, Path], Line]


class Job(NamedTuple):
    """One picture's work."""

    number: int
    out: Path
    form: str
    size: tuple[int, int] | None
    wanted: Limits


def prepare(
    source: Source,
    out: str | Path,
    *,
    form: str = "pairs",
    part: str = "all",
    size: tuple[int, int] | None = None,
    wanted: Limits = FILTERS["none"],
    workers: int = 1,
    progress: Progress | None = None,
) -> list[Line]:
    """Write a data set's pictures and maps below `out`; those that are there are left alone, and what was
    refused is looked at again. Returns a line per picture: its files, its figures, and in `refused` why it
    was left out.

    form: "pairs" for any set, "marigold" for Hypersim. part: its name in Marigold's form. size: (height,
    width) that pictures are brought to. wanted: what else is refused (`scan.FILTERS`). DataError: the folder
    was made with other settings, or two pictures would have one name; UsageError: the form does not suit the
    set.
    """
    if form not in FORMS or (form == "marigold" and source.name != "hypersim"):
        raise UsageError(f"form is {form!r} for {source.name}: choose pairs, or for hypersim marigold")
    data = source.open()
    folder = Path(out) / part if form == "marigold" else Path(out)
    _agree(folder / SETTINGS, _settings(source, form, size, wanted))
    known = scan.keys(data)
    if form == "pairs":
        _check_names(known)
    made = {line.get("picture"): line for line in journal.read(folder / JOURNAL) if not line["refused"]}
    done = {n: made[key] | {"index": n} for n, key in enumerate(known) if key in made}
    jobs = [Job(number, folder, form, size, wanted) for number in range(len(data)) if number not in done]
    with journal.Journal(folder / JOURNAL) as opened:
        for line in scan.each(source, _work, jobs, workers):
            opened.append({"picture": known[line["index"]]} | line)
            done[line["index"]] = line
            if progress:
                progress(len(done), len(data), line["name"])
    lines = [done[number] for number in range(len(data))]
    FORMS[form].table(folder, part, [line for line in lines if not line["refused"]])
    return lines


def _check_names(names: Sequence[str]) -> None:
    """DataError for two pictures whose files would have one name."""
    first: dict[str, str] = {}
    for name in names:
        other = first.setdefault(_stem(name), name)
        if other != name:
            raise DataError(f"{other} and {name} would be one file of pairs: rename one")


def _stem(name: str) -> str:
    return PurePosixPath(name).with_suffix("").as_posix()


def _settings(source: Source, form: str, size: tuple[int, int] | None, wanted: Limits) -> dict[str, Any]:
    """What decides on the files; where the data set lies does not."""
    found = scan.settings(source, wanted)
    found["options"].pop("path", None)
    return found | {"form": form, "size": list(size) if size else None}


def _agree(record: Path, settings: Mapping[str, Any]) -> None:
    """Write the settings, or find them unchanged."""
    if record.exists():
        found = json.loads(record.read_text(encoding="utf-8"))
        for key, value in settings.items():
            if found.get(key) != value:
                made = f"{record.parent} was made with {key} = {found.get(key)!r}, not {value!r}"
                raise DataError(f"{made}: use another folder, or the same {key}")
    record.parent.mkdir(parents=True, exist_ok=True)
    with atomic(record) as temporary:
        temporary.write_text(json.dumps({**settings, "leadline": __version__}, indent=1), encoding="utf-8")


def _work(data: Set, job: Job) -> Line:
    """One picture, read, looked at and written; a picture that cannot be read is refused, not an error."""
    name = getattr(data, "name_of", str)(job.number)
    try:
        sample = fetch(data, job.number, None)
        reasons = [*scan.faults(sample, job.wanted)]
        if job.size:
            sample = augment(sample, np.random.default_rng(0), Options(flip=0), job.size)
    except LeadlineError as error:
        return {"index": job.number, "name": name, "refused": [str(error)]}
    line: Line = {"index": job.number, "name": sample.name or name, "refused": reasons}
    line |= scan.figures(sample)
    return line if reasons else line | FORMS[job.form].write(sample, job.out)


# ---- pairs -----------------------------------------------------------------------------------------------

CAMERA = ("fx", "fy", "cx", "cy")
PAIR = ("image", "depth", "normals", "frame", *CAMERA, "group", "classes", "caption", "pseudo", "pseudo_kind")


def _write_pair(sample: Sample, out: Path) -> Line:
    stem = _stem(sample.name)
    row: Line = {"image": f"images/{stem}.png", "group": sample.group}
    _png(inside(out, row["image"]), sample.rgb)
    if sample.depth_m is not None:
        row["depth"] = f"depth/{stem}.npz"
        known = np.where(sample.valid & np.isfinite(sample.depth_m), sample.depth_m, np.float32(0))
        write_bytes(inside(out, row["depth"]), containers.npz_bytes({"depth": known}, {}))
    if sample.normals is not None:
        row |= {"normals": f"normals/{stem}.npy", "frame": "opencv"}
        write_bytes(inside(out, row["normals"]), containers.npy_bytes(sample.normals.astype(np.float16)))
    if sample.pseudo is not None:
        row |= {"pseudo": f"pseudo/{stem}.npz", "pseudo_kind": str(sample.pseudo_kind)}
        said = np.where(sample.valid, sample.pseudo, np.float32(np.nan))
        write_bytes(inside(out, row["pseudo"]), containers.npz_bytes({"pseudo": said}, {}))
    if sample.classes is not None:
        row["classes"] = f"classes/{stem}.png"
        known = (sample.classes >= 0) & (sample.classes < decode.UNKNOWN)
        _png(inside(out, row["classes"]), np.where(known, sample.classes, decode.UNKNOWN).astype(np.uint8))
    if sample.caption:
        row["caption"] = " ".join(sample.caption.split())  # a table has a line for each picture
    if sample.camera is not None:
        row |= {key: getattr(sample.camera, key) for key in CAMERA}
    return {"row": row}


def _pairs_table(out: Path, part: str, lines: Sequence[Line]) -> None:
    _csv(out / "pairs.csv", PAIR, [line["row"] for line in lines])


# ---- Marigold's form of Hypersim -------------------------------------------------------------------------


def _write_marigold(sample: Sample, out: Path) -> Line:
    frame = frame_of(sample.name)
    end = f"cam_{frame.cam}_fr{frame.number}"
    row = {"rgb_path": f"{frame.scene}/rgb_{end}.png", "depth_path": f"{frame.scene}/depth_plane_{end}.png"}
    depth = sample.depth_m if sample.depth_m is not None else np.zeros(sample.size, np.float32)
    counts = millimetres(np.where(sample.valid, depth, 0))
    _png(inside(out, row["rgb_path"]), sample.rgb)
    _png(inside(out, row["depth_path"]), counts)
    if sample.normals is not None:
        vectors = convert_normals(sample.normals.astype(np.float64), "opencv", "opengl")
        write_bytes(inside(out, f"{frame.scene}/normal_cam_{end}.npy"), containers.npy_bytes(vectors))
    known = counts[counts > 0] / 1000
    facts = _statistics("rgb", sample.rgb) | _statistics("depth", known if known.size else np.zeros(1))
    row |= {"scene_name": frame.scene, "camera_name": f"cam_{frame.cam}", "frame_id": str(int(frame.number))}
    return {"row": row | facts | {"invalid_ratio": float((counts == 0).mean())}}


def _statistics(name: str, values: Array) -> Line:
    found = {"mean": values.mean(), "std": values.std(), "min": values.min(), "max": values.max()}
    return {f"{name}_{key}": float(value) for key, value in found.items()}


def _marigold_tables(out: Path, part: str, lines: Sequence[Line]) -> None:
    rows = [
        line["row"] | {"included_in_public_release": True, "split_partition_name": part} for line in lines
    ]
    text = "".join(f"{row['rgb_path']} {row['depth_path']}\n" for row in rows)
    write_bytes(out / f"filename_list_{part}.txt", text.encode())
    of_frame = ("scene_name", "camera_name", "frame_id", "included_in_public_release", "exclude_reason")
    statistics = [
        f"{name}_{key}" for name in ("rgb", "depth") for key in ("path", "mean", "std", "min", "max")
    ]
    titles = (*of_frame, "split_partition_name", *statistics, "invalid_ratio")
    _csv(out / f"filename_meta_{part}.csv", titles, rows)


# ---- files -----------------------------------------------------------------------------------------------


class Form(NamedTuple):
    """How a picture is written, and what is written when all are."""

    write: Write
    table: Callable[[Path, str, Sequence[Line]], None]


FORMS = {"pairs": Form(_write_pair, _pairs_table), "marigold": Form(_write_marigold, _marigold_tables)}


def _png(path: Path, array: Array) -> None:
    file = io.BytesIO()
    Image.fromarray(array).save(file, "PNG", compress_level=3)
    write_bytes(path, file.getvalue())


def _csv(path: Path, titles: Sequence[str], rows: Sequence[Line]) -> None:
    file = io.StringIO()
    table = csv.DictWriter(file, titles, restval="", extrasaction="ignore", lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    write_bytes(path, file.getvalue().encode())

"""Data sets on disk, by name: what each is read by, and `open_set`.

A data set lies somewhere as a folder or archive, in one of its layouts, and is read line by line of a list,
or all that lies there. Every layout is a constant of a small file of its own: what it is recognised by, which
rows lie there, and how one is read.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TypeVar, cast

from leadline.data.layouts import Layout
from leadline.data.lists import FileList, Row, is_table, read_list
from leadline.data.sample import Sample, check
from leadline.data.store import Nothing, Store
from leadline.errors import DataError, LeadlineError, did_you_mean, printable

T = TypeVar("T")
SETS: dict[str, dict[str, str]] = {
    "nyuv2": {"prepared": "nyuv2:PREPARED", "labelled": "nyuv2:LABELLED", "bts": "nyuv2:BTS"},
    "kitti": {"prepared": "kitti:PREPARED", "native": "kitti:NATIVE", "native-train": "kitti:NATIVE_TRAIN"},
    "kitti-stereo": {"native": "kitti:STEREO"},
    "eth3d": {"prepared": "eth3d:PREPARED", "native": "eth3d:NATIVE"},
    "scannet": {"native": "scannet:NATIVE", "prepared": "scannet:PREPARED"},
    "diode": {"scans": "diode:ALL"},
    "diode-indoor": {"scans": "diode:INDOOR", "unmasked": "diode:INDOOR_UNMASKED"},
    "diode-outdoor": {"scans": "diode:OUTDOOR", "unmasked": "diode:OUTDOOR_UNMASKED"},
    "hypersim": {"prepared": "hypersim:PREPARED", "native": "hypersim:NATIVE", "exact": "hypersim:EXACT"},
    "vkitti2": {"prepared": "vkitti2:PREPARED", "native": "vkitti2:NATIVE"},
    "rabbitai": {"challenge": "rabbitai:CHALLENGE"},
    "nuscenes": {"native": "nuscenes:ALL"},
    "nuscenes-c": {"native": "nuscenes:LISTED"},
    "interiorverse-normals": {"native": "interiorverse:NATIVE"},
    "sintel": {"final": "sintel:FINAL", "clean": "sintel:CLEAN"},
    "spring": {"native": "spring:TRAIN"},
    "ibims": {"raw": "ibims:RAW", "mat": "ibims:MAT"},
    "middlebury": {"native": "middlebury:NATIVE"},
    "tartanair": {"native": "tartanair:NATIVE"},
    "tum": {"sequences": "tum:SEQUENCES", "sequence": "tum:SEQUENCE"},
    "sunrgbd": {"flat": "sunrgbd:FLAT", "native": "sunrgbd:NATIVE"},
    "diml-indoor": {"native": "diml:INDOOR"},
    "diml-outdoor": {"native": "diml:OUTDOOR"},
    "ddad": {"flat": "ddad:FLAT"},
    "am2k": {"native": "mattes:AM2K"},
    "p3m10k": {"native": "mattes:P3M_NP"},
    "p3m10k-blurred": {"native": "mattes:P3M_P"},
    "dis5k": {"native": "mattes:DIS5K"},
    "da2k": {"native": "da2k:NATIVE"},
    "nyuv2-normals": {"dsine": "dsine:NYUV2", "marigold": "marigold_normals:NYUV2"},
    "scannet-normals": {"dsine": "dsine:SCANNET", "marigold": "marigold_normals:SCANNET"},
    "ibims-normals": {"dsine": "dsine:IBIMS", "marigold": "marigold_normals:IBIMS"},
    "sintel-normals": {"dsine": "dsine:SINTEL", "marigold": "marigold_normals:SINTEL"},
    "vkitti-normals": {"dsine": "dsine:VKITTI"},
    "oasis-normals": {"dsine": "dsine:OASIS", "marigold": "marigold_normals:OASIS"},
    "diode-normals": {"marigold": "marigold_normals:DIODE"},
    "hypersim-normals": {"marigold": "hypersim:NORMALS"},
    "scenes": {"procedural": "rendered:SCENES"},
    "folder": {"pairs": "own:FOLDER"},
    "manifest": {"table": "own:TABLE"},
}
# Archives as Marigold and E2E-FT publish them, below a folder that holds one folder per set.
ARCHIVES = {
    "nyuv2": "nyuv2/nyu_labeled_extracted.tar",
    "kitti": "kitti/kitti_eigen_split_test.tar",
    "eth3d": "eth3d/eth3d.tar",
    "scannet": "scannet/scannet_val_sampled_800_1.tar",
    "diode": "diode/diode_val.tar",
    "hypersim": "hypersim/hypersim_processed_val.tar",
    "vkitti2": "vkitti/vkitti.tar",
}


class Listed:
    """A data set that was found: its rows in order, read one by one.

    name, layout: what it was opened as. rows: (number of the list's line, row). list: the list, or None where
    all rows that lie there are meant; it knows how many lines it dropped.
    """

    def __init__(
        self, name: str, layout: str, store: Store, rows: Sequence[Row], list: FileList | None
    ) -> None:
        self.name, self.layout, self.store, self.rows, self.list = name, layout, store, tuple(rows), list

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Sample:
        """The sample of a row, checked. DataError names list, line and file."""
        _, row = self.rows[index]
        with _named(self.where(index), row):
            return check(_layout(self.name, self.layout).read(self.store, row))

    def name_of(self, index: int) -> str:
        """The picture's file, known before anything is read."""
        return _picture_of(self.rows[index][1])

    def where(self, index: int) -> str:
        """A row's place for messages: 'nyuv2, list.txt line 3'."""
        line, _ = self.rows[index]
        return f"{self.name}, {self.list.name} line {line}" if self.list and line else self.name


def open_set(
    name: str,
    path: str | Path | None = None,
    *,
    list_file: str | Path | None = None,
    layout: str | None = None,
    part: str | None = None,
    exclude: Sequence[str] = (),
) -> Listed:
    """A data set of `SETS` at a folder or archive, or in a folder of such (`ARCHIVES`), in the layout found.

    list_file: which rows, as papers publish them; without one, all that lie there. layout: that one only.
    part: without a list, what the layout knows by that name, such as `train`. exclude: rows whose picture
    matches one of these patterns (`*` stands for any letters) are left out.
    DataError: nothing of the set lies there, the list cannot be read, or a name is unknown.
    """
    layouts = _known("data set", name, SETS)
    chosen = {layout: _known(f"{name}'s layout", layout, layouts)} if layout else layouts
    if name == "manifest" and path is not None and is_table(path):
        list_file, path = path, Path(path).parent
    found, store = _recognise(name, path, chosen, part)
    read_by = _layout(name, found)
    listed = read_list(list_file) if list_file else None
    with _named(f"{name}, {listed.name}" if listed else name, str(path)):
        if listed is None:
            of_part = _known(f"{name}'s part", part, read_by.parts) if part else read_by.rows
            rows = [(0, row) for row in of_part(store)]
        else:
            rows = read_by.expand(store, listed.rows) if read_by.expand else list(listed.rows)
    rows = [(line, row) for line, row in rows if not any(fnmatchcase(_picture_of(row), p) for p in exclude)]
    if not rows:
        raise DataError(f"{name}: {store.label('')} holds nothing to read without a list: give one")
    return Listed(name, found, store, rows, listed)


def _picture_of(row: str) -> str:
    """The picture's file: a table's column, or the first of a list's."""
    return str(json.loads(row)["image"]) if row.startswith("{") else row.split("\t")[0].split()[0]


@contextmanager
def _named(where: str, what: str) -> Iterator[None]:
    """What is wrong with a data set's files, as one DataError that says where."""
    try:
        yield
    except LeadlineError as error:
        raise DataError(f"{where}: {error}") from error
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:  # numbers that make no sense
        fault = f"{printable(what)[:200]} cannot be read ({type(error).__name__}: {error})"
        raise DataError(f"{where}: {fault}: copy its files again") from error


def _known(what: str, word: str, table: Mapping[str, T]) -> T:
    if word not in table:
        hint = did_you_mean(word, table) if table else "it has none"
        raise DataError(f"{what} {word!r} is unknown: {hint}")
    return table[word]


def _layout(name: str, layout: str) -> Layout:
    module, _, constant = SETS[name][layout].partition(":")
    return cast(Layout, getattr(importlib.import_module(f"{__name__}.{module}"), constant))


def _recognise(
    name: str, path: str | Path | None, layouts: Iterable[str], part: str | None
) -> tuple[str, Store]:
    """The first layout whose sign is found, and the store it was found in."""
    signs = {layout: _layout(name, layout).sign for layout in layouts}
    for layout in signs:
        if not signs[layout]:
            return layout, Store(name, files=Nothing())
    if path is None:
        raise DataError(
            f"data set {name} lies nowhere yet: give its folder or archive (in a recipe "
            f"data.{name}.options.path=FOLDER, to measure -d {name}=FOLDER)"
        )
    for store in _stores(name, Path(path), part):
        for layout in signs:
            for base in _layout(name, layout).bases:
                if store.below(base).holds(signs[layout]):
                    return layout, store.below(base)
    wanted = ", ".join(f"{sign} ({layout})" for layout, sign in signs.items())
    raise DataError(f"{path}: nothing of data set {name} was found: wanted are files such as {wanted}")


def _stores(name: str, path: Path, part: str | None) -> Iterator[Store]:
    """The path itself, what lies in it under the set's name, and the one folder that holds all the rest."""
    store = Store(path)
    yield store
    archive = Path(ARCHIVES.get(name, name).replace("_val.", f"_{part or 'val'}."))
    for inner in (path / archive, path / archive.name, path / name):
        if path.is_dir() and inner.exists():
            yield Store(inner)
    only = store.only_folder()
    if only:
        yield store.below(only)

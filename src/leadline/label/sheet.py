"""A contact sheet of shards: photographs with their labels, to be looked at before a training learns them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from leadline import colour
from leadline.data.labels import LabelShards
from leadline.data.sample import Array, Sample
from leadline.prediction import Kind
from leadline.save.files import atomic

COUNT = 24  # photographs, evenly chosen from all
COLUMNS = 2  # of photographs with their labels
WIDTH = 240  # pixels of a picture
LINE = 14  # pixels of a line of text
LETTERS = 40  # of a caption, per picture's width


def write(folder: Path, path: Path, count: int = COUNT) -> None:
    """The sheet of a folder of shards as a JPEG; nothing is written where no photograph has labels."""
    data = LabelShards(folder, empty=True, classes="own")
    if not len(data):
        return
    places = np.unique(np.linspace(0, len(data) - 1, min(count, len(data))).round().astype(int))
    rows = [_row(data[int(place)]) for place in places]
    width = max(row.width for row in rows)
    lines = [rows[start : start + COLUMNS] for start in range(0, len(rows), COLUMNS)]
    page = Image.new(
        "RGB", (width * min(COLUMNS, len(rows)), sum(max(r.height for r in x) for x in lines)), "white"
    )
    top = 0
    for line in lines:
        for column, row in enumerate(line):
            page.paste(row, (column * width, top))
        top += max(row.height for row in line)
    with atomic(path) as temporary:
        page.save(temporary, "JPEG", quality=88)


def _row(sample: Sample) -> Image.Image:
    """Photograph, depth (grey where it is not believed) and classes side by side, the caption below."""
    pictures = [sample.rgb]
    if sample.pseudo is not None and sample.pseudo_kind is not None:
        pictures.append(colour.picture(sample.pseudo, sample.pseudo_kind, valid=sample.valid))
    if sample.depth_m is not None:
        pictures.append(colour.picture(sample.depth_m, Kind.metric_depth, valid=sample.valid))
    if sample.classes is not None:
        shown = sample.classes >= 0
        pictures.append(colour.classes(np.where(shown, sample.classes + 1, 0), valid=shown))
    height = max(1, round(WIDTH * sample.size[0] / sample.size[1]))
    row = Image.new("RGB", (WIDTH * len(pictures), min(height, 2 * WIDTH) + LINE), "white")
    for place, picture in enumerate(pictures):
        row.paste(_thumbnail(picture, height), (WIDTH * place, 0))
    words = f"{sample.name.rpartition('/')[2]}  {sample.caption or ''}"[: LETTERS * len(pictures)]
    printable = words.encode("ascii", "replace").decode()
    ImageDraw.Draw(row).text((3, row.height - LINE + 1), printable, fill="black")
    return row


def _thumbnail(picture: Array, height: int) -> Image.Image:
    made = Image.fromarray(np.ascontiguousarray(picture)).resize((WIDTH, height), Image.Resampling.BILINEAR)
    return made.crop((0, 0, WIDTH, min(height, 2 * WIDTH)))

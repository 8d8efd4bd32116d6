"""The best and the worst pictures of a result: photograph, prediction, truth, and where the error lies.

Needs the predictions of the run (`leadline eval --save-predictions`) and the data set where it lay.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

from leadline import colour, documents
from leadline.data.sample import Array, Sample
from leadline.errors import DataError, LeadlineError
from leadline.evaluate import figures, score, stored, views
from leadline.evaluate.ledger import Record
from leadline.evaluate.sources import Data, Opener, Source
from leadline.metrics import normals
from leadline.prediction import Kind, Prediction
from leadline.protocols import Protocol
from leadline.report.compare import main_figures
from leadline.report.load import Result
from leadline.report.tables import factor, heading, text, unit

WIDTH = 260  # pixels of a thumbnail
QUALITY = 82  # of its JPEG
LARGEST = {"depth": 0.5, "normals": 60.0}  # relative error and degrees that the brightest colour stands for


class Shot(NamedTuple):
    """A picture with its figure. images: what is seen -> a data URI."""

    name: str
    figure: str
    images: dict[str, str]


class Gallery(NamedTuple):
    """The best and the worst pictures of a model on a data set. order: what is seen of each; scale: what the
    colours of errors mean.
    """

    title: str
    order: str
    scale: str
    best: list[Shot]
    worst: list[Shot]


def gallery(result: Result, source: Source, count: int = 3) -> Gallery:
    """Raises DataError if the data are not those that were measured, or nothing was kept of the run."""
    folder = result.records_folder / "predictions"
    if not result.records or not folder.is_dir():
        raise DataError(f"{result.model} on {result.data}: no predictions are kept: eval --save-predictions")
    rules = documents.validate(result.rules, Protocol, f"protocol {result.protocol}")
    data = Opener(result.run, result.settings["pictures"])(source, rules.rule(result.data))
    if data.facts()["rows_sha256"] != result.settings["rows_sha256"]:
        raise DataError(f"{data}: others than were measured in {result.run}: give the same folder and list")
    metric = main_figures(result)[0]
    order = sorted(result.records, key=lambda record: record.values[metric])
    order = order[::-1] if figures.higher_is_better(metric) else order
    best, worst = order[:count], order[::-1][: max(0, min(count, len(order) - count))]
    shots = [[_shot(one, metric, data, rules, result) for one in part] for part in (best, worst)]
    scale = {"depth": "error: |d - d*| / d*, black 0, brightest 0.5 and more"}
    scale["normals"] = "error: angle, black 0, brightest 60° and more"
    title = f"{result.model} on {result.data}, by {heading(metric)}"
    order_of = ", ".join(shots[0][0].images)
    return Gallery(title, order_of.capitalize(), scale.get(_errors(rules), ""), *shots)


def galleries(
    results: Sequence[Result], sources: Mapping[str, Source], count: int = 3
) -> tuple[list[Gallery], list[str]]:
    """Those that can be made, and in a line each why others cannot."""
    found, missing = [], []
    for result in results:
        if len(result.models) != 1 or result.data not in sources:
            continue
        try:
            found.append(gallery(result, sources[result.data], count))
        except LeadlineError as error:
            missing.append(str(error))
    return found, missing


def _shot(record: Record, metric: str, data: Data, rules: Protocol, result: Result) -> Shot:
    rule, folder = rules.rule(data.name), result.records_folder / "predictions"
    sample = views.cut(data.listed[record.place], rule)
    prediction = stored.read(folder, sample.name, rule, stored.meaning_of(folder))
    images = {
        "photograph": data_uri(thumbnail(sample.rgb)),
        "prediction": data_uri(thumbnail(colour.picture(prediction.values, prediction.kind))),
        **{
            name: data_uri(picture)
            for name, picture in _truth_and_error(prediction, sample, rules, data.name)
        },
    }
    figure = f"{text(metric, factor(metric) * record.values[metric])} {unit(metric, rules.measure)}"
    return Shot(record.name, figure.strip(), images)


def _truth_and_error(
    prediction: Prediction, sample: Sample, rules: Protocol, data: str
) -> list[tuple[str, Array]]:
    """What the prediction is measured against, and how far off it is, as small pictures."""
    measured = _errors(rules)
    if measured == "depth":
        truth = score.known_depths(sample, rules.rule(data))
        metres = score.in_metres([prediction], truth, rules, rules.rule(data))
        error = ((metres - truth.depth_m).abs() / truth.depth_m)[0, 0].numpy()
        counts = truth.counts[0, 0].numpy()
        depth_m, seen = shrink(truth.depth_m[0, 0].numpy(), counts)
        shown = colour.picture(depth_m, Kind.metric_depth, valid=seen)
    elif measured == "normals" and sample.normals is not None:
        counts = sample.valid & np.isfinite(sample.normals).all(-1) & (sample.normals != 0).any(-1)
        pair = (
            torch.from_numpy(np.ascontiguousarray(x)).movedim(-1, 0)[None]
            for x in (prediction.normals, sample.normals)
        )
        error = normals.angular_error(*pair)[0, 0].numpy()
        shown = thumbnail(colour.normals(sample.normals, valid=counts))
    else:
        return []
    return [("truth", shown), ("error", heat(*shrink(error, counts), LARGEST[measured]))]


def _errors(rules: Protocol) -> str:
    """Of what a protocol's errors are drawn."""
    return {"boundary-f1": "depth"}.get(rules.measure, rules.measure)


def heat(error: Array, counts: Array, largest: float) -> Array:
    """Errors [H,W] as uint8 [H,W,3]: black 0, bright `largest` and more, grey where nothing counts."""
    entries = 255 - np.round(np.clip(np.nan_to_num(error) / largest, 0, 1) * 255).astype(np.int64)
    return np.where(counts[..., None], colour.table("inferno")[entries], np.uint8(colour.NEUTRAL))


def shrink(values: Array, counts: Array, width: int = WIDTH) -> tuple[Array, Array]:
    """Means over blocks of the pixels that count, [H,W] -> [h,w], and where there is one.

    A few points of a laser stay visible that way.

    >>> shrink(np.array([[1.0, 3.0, 0.0, 0.0]]), np.array([[True, True, True, False]]), 2)
    (array([[2., 0.]]), array([[ True,  True]]))
    """
    step = max(1, -(-values.shape[1] // width))
    rows, columns = (np.arange(0, size, step) for size in values.shape)

    def total(x: Array) -> Array:
        return np.add.reduceat(np.add.reduceat(x, rows, axis=0), columns, axis=1)

    number = total(counts.astype(np.float64))
    sums = total(np.where(counts, values, 0).astype(np.float64))
    return sums / np.maximum(number, 1), number > 0


def thumbnail(rgb: Array) -> Array:
    """A picture, uint8 [H,W,3], made small."""
    image = Image.fromarray(rgb)
    image.thumbnail((WIDTH, 4 * WIDTH), Image.Resampling.LANCZOS)
    return np.asarray(image)


def data_uri(rgb: Array) -> str:
    """A picture as the address of an `img`."""
    data = io.BytesIO()
    Image.fromarray(rgb).save(data, "JPEG", quality=QUALITY, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(data.getvalue()).decode()}"

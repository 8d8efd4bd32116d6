"""Figures of one model on frames with depth, per frame, for benchmarks/small_systems.py.

Affine models are fitted to the truth by least squares, scale and shift per frame, in the space in which they
predict; as they are anchored in practice, also to 20 known points, which then do not count. Metric models are
taken as they are, and beside that after one factor per frame, which leaves what is not an error of scale.
Each frame's own camera is given to models that want one; "no camera" leaves the usual one to be assumed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import frames
import numpy as np
import small_measure
import torch
from frames import Frame
from PIL import Image
from torch.nn.functional import interpolate

import leadline
from leadline import align, colour, image, metrics, save
from leadline.data.sample import Batch, collate
from leadline.data.synth import SynthFolder, synthesise
from leadline.prediction import Kind, Prediction

POINTS = 20  # known depths that anchor an affine model
BANDS = 4  # octaves of a spectrum
WIDTH = 960  # pixels of a picture
STEPS, MEMBERS = 10, 5  # of models that denoise
Figures = dict[str, list[float]]  # metric -> value per frame
Results = dict[str, Any]


def measure(run: Path, data: Path | None, images: int) -> Results:
    """All figures of a finished run's model, with what is known of its training."""
    model = leadline.load(run / "model", device="cpu")
    facts = small_measure.length(run) | {"method": model.card.method, "machine": small_measure.machine()}
    if model.method.config.model_dump().get("stage") == "vae":
        return facts | {"figures": {"scenes": rebuilt(model.method, run.parent / "held_out", images)}}
    return facts | {"figures": figures(model, data, images)}


def bundled(name: str, data: Path | None, images: int) -> Results:
    """Figures of a model that was not trained here."""
    model = leadline.load(name, device="cpu")
    return {
        "method": model.card.method,
        "machine": small_measure.machine(),
        "figures": figures(model, data, images),
    }


def average(names: Sequence[str], data: Path | None, images: int) -> Results:
    """Figures of the mean of affine models, each fitted to the truth, in metres."""
    models = [leadline.load(name, device="cpu") for name in names]
    found: dict[str, Figures] = {}
    for name, some in test_sets(data, images).items():
        for frame in some:
            metres = np.mean([fitted(model(frame.rgb), frame, frame.valid) for model in models], axis=0)
            for metric, value in scores(metres, frame, frame.valid, edges=name == "scenes").items():
                found.setdefault(name, {}).setdefault(metric, []).append(value)
    return {"method": "average", "machine": small_measure.machine(), "figures": found}


def test_sets(data: Path | None, images: int) -> dict[str, Sequence[Frame]]:
    """Held-out scenes, and real test frames where there are any."""
    real = {s.name: frames.real(data, s) for s in frames.SETS if data and s.split == "test"}
    return {"scenes": list(frames.scenes(images)), **real}


def figures(model: leadline.Model, data: Path | None, images: int) -> dict[str, Figures]:
    """Of a model, label -> figures: a label is a set of frames, with what is done otherwise."""
    found: dict[str, Figures] = {}
    for name, some in test_sets(data, images).items():
        for place, frame in enumerate(some):
            for label, values in of_frame(model, frame, name, place):
                own = found.setdefault(label, {})
                for metric, value in values.items():
                    own.setdefault(metric, []).append(value)
    return found


def of_frame(
    model: leadline.Model, frame: Frame, name: str, place: int
) -> Iterator[tuple[str, dict[str, float]]]:
    """The figures of one frame, by label."""
    if model.kind is Kind.metric_depth:
        yield from _metric(model, frame, name, place)
        return
    also = ["filtered"] if model.card.method == "fiffdepth" else []
    prediction = model(frame.rgb, also=also)
    yield name, scores(fitted(prediction, frame, frame.valid), frame, frame.valid, edges=name == "scenes")
    known = points(frame, place)
    yield f"{name}, {POINTS} points", scores(fitted(prediction, frame, known), frame, frame.valid & ~known)
    for other in prediction.also.values():
        metres = fitted(other, frame, frame.valid)
        yield f"{name}, filtered", scores(metres, frame, frame.valid, edges=name == "scenes")
        size = prediction.settings["processed_size"]
        bands = zip(spectrum(prediction.values, size), spectrum(other.values, size), strict=True)
        yield f"{name}, spectrum", {f"octave {i}": 10 * np.log10(b / a) for i, (a, b) in enumerate(bands, 1)}


def _metric(
    model: leadline.Model, frame: Frame, name: str, place: int
) -> Iterator[tuple[str, dict[str, float]]]:
    """Noise is each frame's own: one that all share would move the scale of all."""
    ways: dict[str, dict[str, Any]] = {"": {}}
    if model.method.steps:
        one = {"steps": STEPS, "seed": place}
        ways = {"": one, f" x{MEMBERS}": one | {"ensemble_size": MEMBERS}}
    truth = float(np.median(np.log(frame.depth_m[frame.valid])))
    for suffix, more in ways.items():
        metres = model(frame.rgb, camera=frame.camera, **more).metres()
        bias = float(np.median(np.log(metres[frame.valid]))) - truth
        scale = {"log_bias": bias, "log_error": abs(bias), "log_truth": truth}
        yield name + suffix, scores(metres, frame, frame.valid) | scale
        yield f"{name}{suffix}, one factor", scores(metres * np.exp(-bias), frame, frame.valid)
    if getattr(model.method, "needs_camera", False):
        yield f"{name}, no camera", scores(model(frame.rgb, **ways[""]).metres(), frame, frame.valid)


def fitted(prediction: Prediction, frame: Frame, known: np.ndarray) -> np.ndarray:
    """Metres [H,W] of an affine prediction, from depths that are known."""
    far = frame.far_m
    return align.to(prediction, frame.depth_m, known, near_m=frames.NEAR_M, far_m=far).metres()


def points(frame: Frame, seed: int) -> np.ndarray:
    """A mask [H,W] of a few valid pixels, drawn."""
    known = np.zeros(frame.valid.shape, bool)
    places = np.flatnonzero(frame.valid)
    drawn = np.random.default_rng(seed).choice(places, min(POINTS, len(places) // 2), replace=False)
    known.flat[drawn] = True
    return known


def scores(metres: np.ndarray, frame: Frame, valid: np.ndarray, *, edges: bool = False) -> dict[str, float]:
    """delta1 and AbsRel where it is valid; boundary F1 of frames whose truth is whole."""
    clipped = np.clip(metres, frames.NEAR_M, frame.far_m)
    tensors = [torch.tensor(x)[None, None] for x in (clipped, frame.depth_m, valid)]
    found = {"delta1": float(metrics.delta1(*tensors)), "absrel": float(metrics.absrel(*tensors))}
    return found | ({"boundary_f1": float(metrics.boundary_f1(*tensors))} if edges else {})


def spectrum(values: np.ndarray, size: tuple[int, int]) -> list[float]:
    """Mean power per octave of frequency, the finest last, of a map made as small as the network worked on.

    The map gets deviation 1 and fades to its edges (Hann): its ends do not meet, and without that the jump
    between them would be most of each octave.
    """
    small = interpolate(torch.from_numpy(values)[None, None], size, mode="bilinear", antialias=True)
    wave = small[0, 0].numpy()
    window = np.outer(*(np.hanning(side + 2)[1:-1] for side in wave.shape))
    centred = (wave - np.average(wave, weights=window)) / max(float(wave.std()), 1e-9)
    power = np.abs(np.fft.fft2(window * centred)) ** 2
    rows, columns = (np.fft.fftfreq(side) for side in wave.shape)
    radius = np.hypot(rows[:, None], columns[None])
    ends = 0.5 / 2.0 ** np.arange(BANDS, -1, -1)
    bands = zip(ends, ends[1:], strict=False)
    return [float(power[(radius > low) & (radius <= high)].mean()) + 1e-12 for low, high in bands]


def rebuilt(method: Any, folder: Path, images: int) -> Figures:
    """AbsRel of the truth after the autoencoders: the depth's own, and the picture's."""
    found: Figures = {"absrel": [], "absrel_original": []}
    scenes = SynthFolder(
        synthesise(folder, images, (small_measure.RENDERED,), small_measure.SEED), count=images
    )
    with torch.inference_mode():
        for i in range(images):
            batch = collate([scenes[i]])
            for name, network in (("absrel", method.own), ("absrel_original", method.autoencoder)):
                found[name].append(_ceiling(method, network, batch))
    return found


def _ceiling(method: Any, network: Any, batch: Batch) -> float:
    from leadline.networks import latent

    y, known = method.label(batch)
    code = latent.decode(network, latent.encode(network, y.expand(-1, 3, -1, -1))).mean(dim=1, keepdim=True)
    metres, truth = method.codec.decode(code), method.codec.decode(y)
    return float(metrics.absrel(metres, truth, known))


def pair(run: Path, photograph: Path, file: Path) -> None:
    """A picture: the photograph, its depth, and what the filter makes of it."""
    model = leadline.load(run / "model", device="cpu")
    depth = model(photograph, also=["filtered"])
    shown = [colour.picture(p.values, p.kind) for p in (depth, depth.also["filtered"])]
    row = np.concatenate([image.read(photograph).rgb, *shown], axis=1)
    file.parent.mkdir(parents=True, exist_ok=True)
    with save.atomic(file) as temporary:
        picture = Image.fromarray(row)
        picture.resize((WIDTH, WIDTH * picture.height // picture.width)).save(temporary, "PNG")


def load(folder: Path) -> dict[str, Results]:
    """All stored figures by model."""
    return {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in sorted(folder.glob("*.json"))}

"""How good the small models are beside PyDNet++, a published network for phones, in one run.

    python benchmarks/bundled.py --data DATA --peer pydnetpp_448x640.onnx --model small --sheet sheet.png

Each prediction is fitted to the truth by least squares, scale and shift per image, in the space in which
the model predicts: depth models in metres, disparity models in 1/metres and then inverted; the result is
clipped to 1 mm and the set's far limit. delta1 (share of pixels with max(p/g, g/p) < 1.25) and AbsRel are
taken per image on its valid pixels and averaged over images. PyDNet++ gets the best of three fits on each
set, all printed. Models are chosen with `--split validation`; the test sets are for the report only.
Seconds: median per image from decoded photograph to depth at its size, after a warm-up.
The last line is one JSON object: model -> set -> {delta1, absrel, seconds}, "mean" being over the real sets.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import frames
import numpy as np
import sheet
import torch
from frames import Frame
from PIL import Image

import leadline
from leadline import align, metrics
from leadline.errors import KindError, LeadlineError, UsageError
from leadline.prediction import Kind, Prediction

Fit = tuple[Callable[[np.ndarray], np.ndarray], Kind]  # done to the raw values; what they then are
FITS: dict[str, Fit] = {
    "in depth": (lambda raw: raw, Kind.affine_depth),
    "in disparity": (lambda raw: raw, Kind.affine_disparity),
    "inverted": (lambda raw: 1 / np.maximum(raw, 1e-6), Kind.affine_disparity),
    "negated": (np.negative, Kind.affine_disparity),
}
OWN_FIT = {Kind.affine_depth: ["in depth"], Kind.affine_disparity: ["in disparity"]}


@dataclass(frozen=True)
class Contender:
    """Something that turns a photograph (uint8 [H,W,3]) into raw depth-like values [H,W]."""

    name: str
    source: str
    predict: Callable[[np.ndarray], np.ndarray]
    fits: Sequence[str]


@dataclass(frozen=True)
class Score:
    """Means over the images of one set, for one way to fit."""

    fit: str
    delta1: float
    absrel: float
    seconds: float

    def record(self) -> dict[str, float | str]:
        return {
            "delta1": round(self.delta1, 4),
            "absrel": round(self.absrel, 4),
            "seconds": round(self.seconds, 4),
            "fit": self.fit,
        }


def ours(name: str) -> Contender:
    """A bundled model, or a folder with one."""
    model = leadline.load(name, device="cpu")
    kind = Kind(model.kind)
    if kind not in OWN_FIT:
        raise KindError(f"{name} predicts {kind}; this benchmark compares affine depth and affine disparity")
    return Contender(name, model.describe(), lambda rgb: model(rgb).values, OWN_FIT[kind])


def gradient() -> Contender:
    """What needs no network: the lower in the picture, the nearer. A model has to be well above it."""

    def predict(rgb: np.ndarray) -> np.ndarray:
        height, width = rgb.shape[:2]
        return np.tile(np.linspace(0, 1, height, dtype=np.float32)[:, None], (1, width))

    return Contender(
        "gradient", "no network: disparity rises evenly from top to bottom", predict, ["in disparity"]
    )


def pydnet(file: Path, threads: int) -> Contender:
    """PyDNet++ through ONNX Runtime: RGB/255 at 448x640, bilinear to it and back."""
    try:
        import onnxruntime
    except ImportError:
        raise UsageError("--peer needs onnxruntime: pip install onnxruntime, or leave --peer out") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])

    def predict(rgb: np.ndarray) -> np.ndarray:
        small = np.asarray(Image.fromarray(rgb).resize((640, 448), Image.Resampling.BILINEAR), np.float32)
        fine = session.run(["depth_fine"], {"image": small.transpose(2, 0, 1)[None] / 255})[0]
        return resized(fine[0, 0], rgb.shape[:2])

    digest = hashlib.sha256(file.read_bytes()).hexdigest()[:16]
    source = f"PyDNet++ of FilippoAleotti/mobilePydnet (Apache-2.0), {file}, sha256 {digest}..."
    return Contender("pydnet++", source, predict, ["in depth", "inverted", "negated"])


def resized(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Float map [h,w] -> [H,W], bilinear; unchanged where the size is right already."""
    if values.shape == size:
        return values
    image = Image.fromarray(values.astype(np.float32))
    return np.asarray(image.resize((size[1], size[0]), Image.Resampling.BILINEAR))


def aligned(raw: np.ndarray, frame: Frame, fit: str) -> np.ndarray:
    """Raw values -> metres [H,W]: least squares on the frame's valid pixels, clipped to its range."""
    transform, kind = FITS[fit]
    prediction = Prediction(transform(raw), kind)
    return align.to(prediction, frame.depth_m, frame.valid, near_m=frames.NEAR_M, far_m=frame.far_m).metres()


def in_metres(contender: Contender, frame: Frame) -> np.ndarray:
    """One image's prediction with its first fit, at the size of the truth."""
    return aligned(resized(contender.predict(frame.rgb), frame.depth_m.shape), frame, contender.fits[0])


def score(pred_m: np.ndarray, frame: Frame) -> tuple[float, float]:
    """delta1 and AbsRel of one image on its valid pixels."""
    tensors = [torch.tensor(x)[None, None] for x in (pred_m, frame.depth_m, frame.valid)]
    return float(metrics.delta1(*tensors)), float(metrics.absrel(*tensors))


def measure(contender: Contender, images: Sequence[Frame]) -> list[Score]:
    """One Score per way to fit, best delta1 first."""
    contender.predict(images[0].rgb)  # warm-up: the first call pays for allocation and planning
    seconds: list[float] = []
    figures: dict[str, list[tuple[float, float]]] = {fit: [] for fit in contender.fits}
    for frame in images:
        start = time.perf_counter()
        raw = contender.predict(frame.rgb)
        seconds.append(time.perf_counter() - start)
        raw = resized(raw, frame.depth_m.shape)
        for fit, rows in figures.items():
            rows.append(score(aligned(raw, frame, fit), frame))
    median = statistics.median(seconds)
    scores = [Score(fit, *np.mean(rows, axis=0).tolist(), median) for fit, rows in figures.items()]
    return sorted(scores, key=lambda s: -s.delta1)


def mean(best: Sequence[Score]) -> Score:
    """Every real set counts the same, whatever its number of frames."""
    figures = np.mean([(s.delta1, s.absrel, s.seconds) for s in best], axis=0).tolist()
    return Score("own", *figures)


def compare(
    contenders: Sequence[Contender], sets: dict[str, Sequence[Frame]], real: Sequence[str]
) -> dict[str, dict[str, Score]]:
    """Contender -> set -> its best Score, printing all of them; "mean" is over the sets named in `real`."""
    result: dict[str, dict[str, Score]] = {}
    for contender in contenders:
        best = result[contender.name] = {}
        for name, images in sets.items():
            scores = measure(contender, images)
            best[name] = scores[0]
            for s in scores:
                mark = "*" if s is scores[0] else " "
                print(
                    f"{contender.name[-24:]:24} {name:11} {len(images):3} images {s.fit:12}{mark} "
                    f"delta1 {s.delta1:.3f}  absrel {s.absrel:.3f}  {s.seconds:.3f} s",
                    flush=True,
                )
        if real:
            best["mean"] = mean([best[name] for name in real])
            print(f"{contender.name[-24:]:24} mean of {', '.join(real)}: delta1 {best['mean'].delta1:.3f}")
    return result


def arguments() -> argparse.Namespace:
    about = __doc__ or ""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds kitti/ and rgbd_indoor/")
    parser.add_argument("--model", action="append", default=[], help="name or folder; may be repeated")
    parser.add_argument("--peer", type=Path, help="pydnetpp_448x640.onnx")
    parser.add_argument("--split", choices=["test", "validation"], default="test")
    parser.add_argument("--scenes", type=int, default=200, help="held-out rendered scenes; 0: none")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--sheet", type=Path, help="picture to write: photograph, truth, predictions")
    parser.add_argument("--sheet-rows", type=int, default=4, help="frames per set on the sheet")
    return parser.parse_args()


def main() -> None:
    args = arguments()
    logging.getLogger("leadline").setLevel(logging.ERROR)  # a fit may well be negative; the figures say it
    torch.set_num_threads(args.threads)
    chosen = [s for s in frames.SETS if s.split == args.split]
    sets: dict[str, Sequence[Frame]] = {s.name: frames.real(args.data, s) for s in chosen}
    contenders = [*(ours(name) for name in args.model or ["small"]), gradient()]
    if args.peer:
        contenders.append(pydnet(args.peer, args.threads))
    print(f"{platform.processor() or platform.machine()}, {args.threads} threads, torch {torch.__version__}")
    for which in chosen:
        print(f"data: {which.name} from {frames.sources(args.data, which)} ({args.data / which.depth})")
    if args.scenes:
        sets["scenes"] = list(frames.scenes(args.scenes))
        print(f"data: scenes 0-{args.scenes - 1} of seed {frames.SCENE_SEED}, rendered, {frames.SCENE_SIZE}")
    for contender in contenders:
        print(f"model: {contender.name}: {contender.source}")
    result = compare(contenders, sets, [s.name for s in chosen])
    if args.sheet:
        shown = [frame for images in sets.values() for frame in images[: args.sheet_rows]]
        sheet.write(args.sheet, shown, [[in_metres(c, f) for c in contenders] for f in shown])
    print(json.dumps({c: {s: v.record() for s, v in best.items()} for c, best in result.items()}))


if __name__ == "__main__":
    try:
        main()
    except LeadlineError as error:
        sys.exit(f"error: {error}")

"""Figures of one small model on held-out scenes, per image, for benchmarks/small_scale.py.

Depth is fitted to the truth by least squares, scale and shift per image, in metres; delta1 and AbsRel count
pixels up to 80 m. Normals: the mean angle per image, in degrees. Every image draws its noise from its own
generator.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from leadline import align, cards, ensemble, methods, metrics, noise, save
from leadline.data.augment import Options, augment
from leadline.data.sample import Batch, collate
from leadline.data.synth import SynthFolder, synthesise
from leadline.methods import autoencoder
from leadline.networks import latent
from leadline.prediction import Kind

SEED = 400  # of the held-out scenes; no recipe has it
RENDERED, SIZE = (144, 192), (72, 96)  # height, width: as rendered, as the models see them
FAR_M = 80
STEPS = (1, 2, 4, 10, 50)
MEMBERS = 10  # of an ensemble
ENSEMBLED = (("leading", 1), *(("trailing", steps) for steps in STEPS))
SPREAD_IMAGES, SPREAD_STEPS, DRAWN, SHOWN = 8, 50, 8, 4
Figures = dict[str, list[float]]  # metric -> value per image
WAYS: dict[str, Callable[..., tuple[Tensor, Tensor]]] = {  # how a latent space may be asked to hold depth
    "depth": autoencoder.depth_picture,
    "disparity": autoencoder.disparity_picture,
}


def measure(name: str, run: Path, scenes: Path, images: int) -> dict[str, Any]:
    """All figures of a finished run's model, with what is known of its training."""
    card = cards.read(run / "model" / "card.yaml")
    method = methods.get(card.method)[0].load(run / "model").eval()
    batches = held_out(scenes, images)
    by_method = {"autoencoder": latents, "latent-diffusion": prior, "marigold": denoiser, "e2e-ft": one_step}
    with torch.inference_mode():
        found = by_method[card.method](method, batches, run)
    facts = {"name": name, "method": card.method, "kind": str(card.kind), "images": images, **length(run)}
    return facts | {"size": list(SIZE), "machine": machine(), "figures": found}


def held_out(folder: Path, images: int) -> list[Batch]:
    """Rendered once into `folder`, then brought to the models' size, eight at a time."""
    scenes = SynthFolder(synthesise(folder, images, (RENDERED,), SEED), count=images)
    samples = [augment(scenes[i], np.random.default_rng(0), Options(flip=0), SIZE) for i in range(images)]
    return [collate(samples[i : i + 8]) for i in range(0, images, 8)]


def length(run: Path) -> dict[str, Any]:
    """Steps, pictures and hours of computing of a run, from its log."""
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    done = [line for line in lines if line["event"] == "train"]
    steps = [0, *(line["step"] for line in done)]
    weights = np.diff(steps)
    pictures = sum(int(n) * line["images"] for n, line in zip(weights, done, strict=True))
    hours = sum(int(n) * line["seconds"] for n, line in zip(weights, done, strict=True)) / 3600
    return {"steps": steps[-1], "pictures": round(pictures), "hours": round(hours, 2)}


def machine() -> str:
    return f"{platform.machine()}, torch {torch.__version__}"


# ---- what each kind of model is asked ---------------------------------------------------------------------


def latents(method: Any, batches: Sequence[Batch], run: Path) -> dict[str, Figures]:
    """Round trips: PSNR in dB of pictures with values in [-1,1], and what the geometry in them loses."""
    found: dict[str, Figures] = {"photograph": {"psnr": []}, "normals": {"psnr": [], "degrees": []}}
    rows = []
    for batch in batches:
        rows += [(x, again(method, x)) for x in batch.rgb[:SHOWN].split(1)]
        found["photograph"]["psnr"] += psnr(batch.rgb, again(method, batch.rgb), torch.ones_like(batch.valid))
        n = again(method, batch.normals)
        found["normals"]["psnr"] += psnr(batch.normals, n, batch.valid)
        found["normals"]["degrees"] += degrees(n, batch)
        for way, as_picture in WAYS.items():
            x, known = as_picture(batch.depth_m, batch.valid, 0.02, 0.98)
            y = again(method, x).mean(dim=1, keepdim=True)
            own = found.setdefault(way, {"psnr": [], "range_error": []})
            own["psnr"] += psnr(x, y.expand_as(x), known)
            own["range_error"] += mean((y - x[:, :1]).abs() / 2, known)
    _sheet([torch.cat(pair, dim=3)[0] for pair in rows[:SHOWN]], run / "sheet.png")
    return found


def again(method: Any, x: Tensor) -> Tensor:
    network = method.autoencoder
    picture: Tensor = latent.decode(network, latent.encode(network, x)).clamp(-1, 1)
    return picture


def prior(method: Any, batches: Sequence[Batch], run: Path) -> dict[str, Figures]:
    """Figure A-1: samples by leading and trailing steps. Noise shows as roughness: the mean difference
    between neighbouring pixels, beside that of the pictures themselves.
    """
    x = latent.encode(method.autoencoder, batches[0].rgb)  # for its shape
    shape, generators = x[:1].expand(DRAWN, -1, -1, -1), [noise.members(i, 1)[0] for i in range(DRAWN)]
    z_T = noise.like(shape, "gaussian", generators)
    pictures = torch.cat([batch.rgb for batch in batches])
    found = {"pictures": {"roughness": roughness(pictures)}, "round trip": {"roughness": []}}
    found["round trip"]["roughness"] = roughness(again(method, pictures))
    rows = []
    for spacing in ("leading", "trailing"):
        for steps in STEPS:
            drawn = method.draw(z_T, steps, spacing)
            found[f"{spacing} {steps}"] = {"roughness": roughness(drawn)}
            rows.append(torch.cat(list(drawn[:SHOWN]), dim=2))
    _sheet(rows, run / "sheet.png")
    return found


def denoiser(method: Any, batches: Sequence[Batch], run: Path) -> dict[str, Figures]:
    """Table 1 and Figure 5: leading and trailing, few steps and many, alone and in ensembles; Figure 2b: how
    much pixels still change over the steps.
    """
    ways = [(spacing, steps, 1) for spacing in ("leading", "trailing") for steps in STEPS]
    ways += [(spacing, steps, MEMBERS) for spacing, steps in ENSEMBLED]
    found, rows = {}, []
    for spacing, steps, members in ways:
        method.config = method.config.model_copy(update={"spacing": spacing})
        label = f"{spacing} {steps}" + f" x{members}" * (members > 1)
        outputs = list(_denoised(method, batches, steps, members))
        found[label] = scores(method, outputs, batches)
        if members == 1 and steps in (1, 50):
            rows.append(outputs[0][:SHOWN])
    for spacing in ("leading", "trailing"):
        method.config = method.config.model_copy(update={"spacing": spacing})
        found[f"spread {spacing}"] = {"deviation": spread(method, batches)}
    _predictions(method, batches[0], rows, run / "sheet.png")
    return found


def _denoised(method: Any, batches: Sequence[Batch], steps: int, members: int) -> Iterator[Tensor]:
    first = 0
    for batch in batches:
        seeds = range(first, first + len(batch))
        generators = [g for seed in seeds for g in noise.members(seed, members)]
        (maps,) = method(batch.rgb, generators=generators, steps=steps).values()  # [B*E,C,h,w]
        first += len(batch)
        groups = maps.split(members)
        how = ensemble.Ensembling()
        yield maps if members == 1 else torch.cat([ensemble.merge(m, method.kind, how)[0] for m in groups])


def spread(method: Any, batches: Sequence[Batch]) -> list[float]:
    """Per image: standard deviation over the steps of what each takes for the result, mean over pixels."""
    rgb = torch.cat([batch.rgb for batch in batches])[:SPREAD_IMAGES]
    generators = [noise.members(i, 1)[0] for i in range(len(rgb))]
    maps = torch.stack(list(method.each_step(rgb, generators=generators, steps=SPREAD_STEPS)))  # [S,B,C,h,w]
    deviation: list[float] = maps.std(dim=0).mean(dim=(1, 2, 3)).tolist()
    return deviation


def one_step(method: Any, batches: Sequence[Batch], run: Path) -> dict[str, Figures]:
    """Tables 4, 5, A-2 and 2: one pass. And what needs no network: depth that falls from top to bottom."""
    outputs, first = [], 0
    for batch in batches:
        generators = [noise.members(first + i, 1)[0] for i in range(len(batch))]
        outputs += method(batch.rgb, generators=generators).values()
        first += len(batch)
    _predictions(method, batches[0], [outputs[0][:SHOWN]], run / "sheet.png")
    found = {"one step": scores(method, outputs, batches)}
    if method.kind != Kind.normals:
        rows = torch.linspace(1, -1, SIZE[0]).view(1, 1, -1, 1)
        falling = [rows.expand(len(batch), 1, *SIZE) for batch in batches]
        found["no network"] = scores(method, falling, batches)
    return found


# ---- figures per image ------------------------------------------------------------------------------------


def scores(method: Any, outputs: Sequence[Tensor], batches: Sequence[Batch]) -> Figures:
    """What is measured of a model's kind, per image."""
    found: Figures = {}
    for pred, batch in zip(outputs, batches, strict=True):
        if method.kind == Kind.normals:
            found.setdefault("degrees", []).extend(degrees(pred, batch))
            continue
        valid = batch.valid & batch.depth_m.isfinite() & (batch.depth_m < FAR_M)
        depth = torch.where(valid, batch.depth_m, 1)
        scale, shift = align.fit(pred, depth, valid)
        fitted = (scale * pred + shift).clamp(1e-3, FAR_M)
        found.setdefault("absrel", []).extend(metrics.absrel(fitted, depth, valid).tolist())
        found.setdefault("delta1", []).extend(metrics.delta1(fitted, depth, valid).tolist())
    return found


def degrees(pred: Tensor, batch: Batch) -> list[float]:
    """Mean angle to the true normals, where there are any."""
    truth = batch.normals
    valid = batch.valid & (truth.norm(dim=1, keepdim=True) > 0)
    cosine = torch.nn.functional.cosine_similarity(pred, truth, dim=1)[:, None]
    return mean(torch.rad2deg(cosine.clamp(-1, 1).acos()), valid)


def psnr(x: Tensor, y: Tensor, valid: Tensor) -> list[float]:
    """Peak signal to noise in dB of pictures whose range is 2 wide."""
    error = (x - y).square().mean(dim=1, keepdim=True)
    return [float(10 * np.log10(4 / max(value, 1e-12))) for value in mean(error, valid)]


def roughness(pictures: Tensor) -> list[float]:
    across = (pictures[..., 1:] - pictures[..., :-1]).abs().mean(dim=(1, 2, 3))
    down = (pictures[..., 1:, :] - pictures[..., :-1, :]).abs().mean(dim=(1, 2, 3))
    found: list[float] = ((across + down) / 2).tolist()
    return found


def mean(values: Tensor, valid: Tensor) -> list[float]:
    """[B,1,h,w] -> mean over each image's valid pixels."""
    sums = torch.where(valid, values, 0).sum(dim=(1, 2, 3)) / valid.sum(dim=(1, 2, 3)).clamp(min=1)
    found: list[float] = sums.tolist()
    return found


# ---- pictures and files -----------------------------------------------------------------------------------


def _predictions(method: Any, batch: Batch, predicted: Sequence[Tensor], file: Path) -> None:
    """Columns are scenes; rows the photograph, the truth, and predictions; far is bright."""
    normals = method.kind == Kind.normals
    truth = batch.normals if normals else WAYS["depth"](batch.depth_m, batch.valid, 0.02, 0.98)[0]
    lines = [batch.rgb[:SHOWN], truth[:SHOWN], *(x.expand(-1, 3, -1, -1) for x in predicted)]
    _sheet([torch.cat(list(line), dim=2) for line in lines], file)


def _sheet(rows: Sequence[Tensor], file: Path) -> None:
    """Pictures [3,h,w] in [-1,1] below each other."""
    whole = torch.cat(list(rows), dim=1).clamp(-1, 1).permute(1, 2, 0).numpy()
    with save.atomic(file) as temporary:
        Image.fromarray(np.round((whole + 1) * 127.5).astype(np.uint8)).save(temporary, "PNG")


def store(figures: dict[str, Any], file: Path) -> None:
    """As JSON, five digits; the run's sheet goes along as a picture by the page."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with save.atomic(file) as temporary:
        temporary.write_text(json.dumps(rounded(figures)) + "\n", encoding="utf-8")


def rounded(results: dict[str, Any]) -> dict[str, Any]:
    """The same with figures of five digits."""
    figures = {
        label: {metric: [float(f"{x:.5g}") for x in values] for metric, values in own.items()}
        for label, own in results["figures"].items()
    }
    return results | {"figures": figures}

"""`leadline doctor`: is this machine ready, and is this model what it says."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from leadline.cli import ui
from leadline.cli.models import card_of
from leadline.cli.options import Json
from leadline.errors import LeadlineError, extra

PACKAGES = (
    *("torch", "numpy", "diffusers", "transformers", "accelerate"),
    *("safetensors", "huggingface-hub", "pydantic", "pillow"),
)
EXTRAS = {  # module -> what it is for, and the extra that brings it
    "pillow_heif": f"reads HEIC photographs: {extra('heif')}",
    "OpenEXR": f"writes EXR files: {extra('exr')}",
    "matplotlib": f"draws training curves: {extra('plots')}",
    "scipy": f"aligns ensembles as released programs do: {extra('compat')}",
    "h5py": f"reads data sets kept in HDF5: {extra('datasets')}",
    "pyarrow": f"reads tables of pairs in Parquet: {extra('parquet')}",
    "onnxruntime": f"runs models in ONNX files: {extra('onnx')}",
    "ray": f"labels and predicts on many machines: {extra('ray')}",
    "bitsandbytes": f"keeps optimisers' states in 8 bits: {extra('lean')}",
}
FEW_STEPS = 4  # at so many steps or fewer, the spacing of timesteps decides everything


@dataclass(frozen=True)
class Check:
    """One finding. Only a problem changes the exit code."""

    name: str
    state: Literal["ok", "note", "problem"]
    text: str


def doctor(
    model: Annotated[
        list[str] | None,
        typer.Argument(metavar="[MODEL]...", help="Names or folders to test. [default: what is bundled]"),
    ] = None,
    json_report: Json = False,
) -> int:
    """Show versions, devices, cores and memory, and test the models. Exit code 1: something is wrong."""
    checks = []
    for check in examine(model):
        checks.append(check)
        if not json_report:
            print(f"{check.state:8} {check.name:16} {check.text}", flush=True)
    if json_report:
        ui.report({"checks": [asdict(check) for check in checks]})
    return int(any(check.state == "problem" for check in checks))


def examine(models: list[str] | None) -> Iterator[Check]:
    """All checks, the quick ones first."""
    yield from versions()
    yield from extras()
    yield from machine()
    yield from devices()
    from leadline import cards
    from leadline.prediction import Kind

    predicting = [name for name in cards.names() if cards.get(name).kind is not Kind.picture]
    names = models or [name for name in predicting if cards.is_bundled(name)]
    if not names:
        yield Check(
            "models", "problem", "no model is bundled: this installation is incomplete, install it anew"
        )
    for name in names:
        yield from spacing(name)
        yield self_test(name)


def versions() -> Iterator[Check]:
    """Python's and those of the packages that results depend on."""
    yield Check("python", "ok", f"{platform.python_version()} on {platform.platform()}")
    for package in ("leadline", *PACKAGES):
        try:
            yield Check(package, "ok", importlib.metadata.version(package))
        except importlib.metadata.PackageNotFoundError:
            state: Literal["note", "problem"] = "note" if package == "leadline" else "problem"
            yield Check(package, state, "not installed as a package: pip install . in its clone")


def extras() -> Iterator[Check]:
    """Optional packages; all may be absent."""
    for module, purpose in EXTRAS.items():
        found = importlib.util.find_spec(module) is not None
        yield Check(module, "ok" if found else "note", "installed" if found else f"not installed; {purpose}")


def machine() -> Iterator[Check]:
    """Cores this process may use, memory, and whether the network is allowed."""
    import torch

    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield Check("cores", "ok", f"{usable} usable of {os.cpu_count()}, torch uses {torch.get_num_threads()}")
    yield Check("memory", *memory())
    offline = os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on")
    yield Check(
        "network", "ok", "off by HF_HUB_OFFLINE" if offline else "used only where you ask for a download"
    )


def memory() -> tuple[Literal["ok", "note"], str]:
    """Free and whole memory, as far as the system tells."""
    try:
        page = os.sysconf("SC_PAGE_SIZE") / 2**30
        whole, free = (os.sysconf(name) * page for name in ("SC_PHYS_PAGES", "SC_AVPHYS_PAGES"))
    except (AttributeError, ValueError, OSError):
        return "note", "unknown on this system"
    table = Path("/proc/meminfo")
    if table.exists():  # counts what caches would give back, too
        lines = dict(line.split(":") for line in table.read_text().splitlines() if ":" in line)
        free = int(lines["MemAvailable"].split()[0]) / 2**20
    return ("ok" if free > 1 else "note"), f"{free:.1f} GiB free of {whole:.1f}"


def devices() -> Iterator[Check]:
    """Where networks can run, and what `--device auto` takes."""
    import torch

    for number in range(torch.cuda.device_count()):
        facts = torch.cuda.get_device_properties(number)
        half = "bfloat16" if torch.cuda.is_bf16_supported() else "float16"
        yield Check(f"cuda:{number}", "ok", f"{facts.name}, {facts.total_memory / 2**30:.0f} GiB, {half}")
    if torch.backends.mps.is_available():
        yield Check("mps", "ok", "Apple GPU")
    yield Check("cpu", "ok", f"{platform.processor() or platform.machine()}, float32")


def spacing(name: str) -> Iterator[Check]:
    """One-step models start at the last timestep; many published scheduler files say otherwise."""
    import json

    file = Path(name) / "scheduler" / "scheduler_config.json"
    if not file.is_file():
        return
    try:
        said = json.loads(file.read_text(encoding="utf-8")).get("timestep_spacing", "leading")
    except (OSError, ValueError, AttributeError):
        yield Check(name, "problem", f"{file} is no JSON object: fetch it again")
        return
    try:
        steps = card_of(name).defaults.steps
    except LeadlineError:
        steps = 1  # unknown: the case in which the spacing matters most
    if said != "trailing" and steps <= FEW_STEPS:
        text = (
            f"scheduler file says {said!r} spacing for {steps} step(s), which starts far from pure noise: "
            "Leadline uses 'trailing' all the same, other programs will not"
        )
        yield Check(name, "note", text)


def self_test(name: str) -> Check:
    """Load, predict the same small picture twice: finite, of its size, and the same both times."""
    import time

    import numpy as np

    from leadline import load

    picture = np.indices((48, 64)).sum(0).astype(np.uint8)
    try:
        start = time.perf_counter()
        model = load(name, device="cpu")
        loaded = time.perf_counter()
        first, second = model(picture), model(picture)
        seconds = (time.perf_counter() - loaded) / 2
    except LeadlineError as error:
        return Check(name, "problem", str(error))
    if first.values.shape[:2] != (48, 64) or not np.isfinite(first.values).all():
        return Check(
            name, "problem", "its output is not finite or of the wrong size: the file may be damaged"
        )
    if not np.array_equal(first.values, second.values):
        return Check(name, "problem", "two predictions of one picture differ")
    return Check(
        name, "ok", f"loaded in {loaded - start:.1f} s, {seconds:.2f} s per small picture, repeatable"
    )

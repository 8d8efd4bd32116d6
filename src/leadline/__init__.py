"""Leadline: depth and surface normals from one photograph, with diffusion priors.

Names are imported when they are first used, so that `import leadline` costs nothing and loads no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from leadline import align as align
    from leadline import bench as bench
    from leadline import camera as camera
    from leadline import colour as colour
    from leadline import evaluate as evaluate
    from leadline import image as image
    from leadline import jobs as jobs
    from leadline import label as label
    from leadline import metrics as metrics
    from leadline import protocols as protocols
    from leadline import report as report
    from leadline import save as save
    from leadline import scenes as scenes
    from leadline.camera import Camera as Camera
    from leadline.errors import LeadlineError as LeadlineError
    from leadline.predict import Model as Model
    from leadline.predict import external as external
    from leadline.predict import load as load
    from leadline.prediction import Kind as Kind
    from leadline.prediction import Prediction as Prediction

__version__ = "0.1.0"

_MODULE_OF = {
    "Camera": "leadline.camera",
    "Kind": "leadline.prediction",
    "LeadlineError": "leadline.errors",
    "Model": "leadline.predict",
    "Prediction": "leadline.prediction",
    "external": "leadline.predict",
    "load": "leadline.predict",
}
_MODULES = (
    "align",
    "bench",
    "camera",
    "colour",
    "evaluate",
    "image",
    "jobs",
    "label",
    "metrics",
    "protocols",
    "report",
    "save",
    "scenes",
)

__all__ = ["__version__", *_MODULE_OF, *_MODULES]


def __getattr__(name: str) -> Any:
    if name in _MODULE_OF:
        return getattr(importlib.import_module(_MODULE_OF[name]), name)
    if name in _MODULES:
        return importlib.import_module(f"leadline.{name}")
    raise AttributeError(f"module 'leadline' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)

"""Measures of normals: the angle to the truth, per image (Marigold) or over all pixels at once (DSINE).

Both summarise a heap of angles with the same formulas; they differ in what is one heap. The figures differ
too, and belong to different tables:

    scores, pool = Scores(), Pool()
    for place, (name, pred, target, valid) in enumerate(images):
        errors = normals.pool(normals.angular_error(pred, target), valid)
        scores.add(place, name, normals.summary(errors, decimals=4))  # Marigold: scores.means()
        pool.merge(errors)                                            # DSINE: normals.summary(pool)
"""

from __future__ import annotations

import torch
from torch import Tensor

from leadline.errors import check_shape
from leadline.metrics.summary import Pool

LIMITS = (5, 7.5, 11.25, 22.5, 30)  # degrees


def angular_error(pred: Tensor, target: Tensor) -> Tensor:
    """Angle between two fields of directions in degrees, [B,3,H,W] each -> [B,1,H,W] float32.

    Directions may have any length, in one frame; 90 where one of them has none. It is the arccosine of a
    float32 cosine, as the papers compute it: below 0.02 degrees it is rounding.

    >>> x, y = torch.eye(3)[0].view(1, 3, 1, 1), torch.eye(3)[1].view(1, 3, 1, 1)
    >>> angular_error(3 * x, y).item(), angular_error(3 * x, x).item()
    (90.0, 0.0)
    """
    check_shape(pred, "B 3 H W", "pred", **check_shape(target, "B 3 H W", "target"))
    cosine = torch.cosine_similarity(pred.float(), target.float(), dim=1, eps=1e-8)
    return torch.rad2deg(cosine.clamp(-1, 1).acos())[:, None]


def pool(error: Tensor, valid: Tensor) -> Pool:
    """The angles of the valid pixels as one heap, [B,1,H,W] each. Raises DataError for one not finite."""
    check_shape(valid, "B 1 H W", "valid", **check_shape(error, "B 1 H W", "error"))
    heap = Pool()
    heap.add(error[valid].cpu().numpy())
    return heap


def summary(errors: Pool, decimals: int | None = None) -> dict[str, float]:
    """Mean, median and root mean square in degrees, and the percentages below each of `LIMITS`.

    `decimals`: to round to; Marigold rounds each image's values to 4. All NaN for an empty heap.

    >>> heap = Pool()
    >>> heap.add([4.0, 6.0])
    >>> {name: x for name, x in summary(heap, 2).items() if name in ("mean", "rmse", "within5", "within7.5")}
    {'mean': 5.0, 'rmse': 5.1, 'within5': 50.0, 'within7.5': 100.0}
    """
    values = {"mean": errors.mean(), "median": errors.median(), "rmse": errors.rms()}
    values |= {f"within{limit:g}": 100 * errors.share_below(limit) for limit in LIMITS}
    return values if decimals is None else {name: round(value, decimals) for name, value in values.items()}

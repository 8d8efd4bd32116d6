"""Measures of depth and normals, per image, and what becomes of them over a data set."""

from leadline.metrics.boundary import boundary_f1, boundary_recall
from leadline.metrics.depth import (
    absrel,
    delta1,
    delta2,
    delta3,
    every,
    irmse,
    log10,
    outside1,
    rmse,
    rmse_log,
    silog,
    silog_half,
    sqrel,
)
from leadline.metrics.normals import angular_error
from leadline.metrics.ordinal import nearer
from leadline.metrics.summary import Pool, Scores

__all__ = [
    "Pool", "Scores", "absrel", "angular_error", "boundary_f1", "boundary_recall", "delta1", "delta2",
    "delta3", "every", "irmse", "log10", "nearer", "outside1", "rmse", "rmse_log", "silog",
    "silog_half", "sqrel",
]  # fmt: skip

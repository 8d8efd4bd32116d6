"""Scale and shift that bring affine predictions to known depths: fits, spaces, and predictions in metres."""

from leadline.align.fits import fit, select
from leadline.align.known import to
from leadline.align.points import read_points
from leadline.align.spaces import METHODS, ONE_NUMBER, Aligned, clip, depths, subsample

__all__ = [
    "METHODS", "ONE_NUMBER", "Aligned", "clip", "depths", "fit", "read_points", "select",
    "subsample", "to",
]  # fmt: skip

"""Training: `train(recipe, run)` runs a recipe in a folder that holds everything about it, and resumes
there.
"""

from leadline.train.loop import Outcome as Outcome
from leadline.train.loop import train as train

__all__ = ["Outcome", "train"]

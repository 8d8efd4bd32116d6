"""What a picture costs in time and memory: models x sizes x precisions x devices, as the papers' tables."""

from leadline.bench.plan import Cell, cells, run
from leadline.bench.tables import FORMATS, grids, machine, render

__all__ = ["FORMATS", "Cell", "cells", "grids", "machine", "render", "run"]

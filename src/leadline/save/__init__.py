"""Results as files: every one says its kind, unit, camera and model, is written whole, and reads back."""

from leadline.save.files import atomic, inside, write_bytes
from leadline.save.formats import COLOURED, FORMATS, Style
from leadline.save.reading import read
from leadline.save.writing import Output, choose, encode, plan, write

__all__ = [
    "COLOURED", "FORMATS", "Output", "Style", "atomic", "choose", "encode", "inside", "plan", "read", "write",
    "write_bytes",
]  # fmt: skip

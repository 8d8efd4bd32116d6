"""Results as files: every one says its kind, unit, camera and model, is written whole, and reads back."""

from leadline.save.files import atomic, inside, refused, remove_leftovers, write_bytes
from leadline.save.formats import FORMATS, Style
from leadline.save.reading import read
from leadline.save.writing import Output, choose, encode, output_name, plan, write

__all__ = [
    "FORMATS", "Output", "Style", "atomic", "choose", "encode", "inside", "output_name", "plan", "read",
    "refused", "remove_leftovers", "write", "write_bytes",
]  # fmt: skip

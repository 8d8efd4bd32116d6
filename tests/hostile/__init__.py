"""Checkpoints that strangers might hand one: each trick spoils a good folder of Marigold's kind.

`TRICKS` names them all. Payloads make `fired` beside the folder; nothing else may ever do so.
"""

from hostile import files, folders, payloads
from hostile.tools import BIN, TRICKS

__all__ = ["BIN", "TRICKS", "files", "folders", "payloads"]

"""Networks compiled by torch for pictures of fixed sizes, as long as there are few of those.

The autoencoder in row bands (leadline.networks.banded) is no network of one piece and runs as it is.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import nn

from leadline import devices
from leadline.errors import LeadlineError

log = logging.getLogger(__name__)
T = TypeVar("T")

SIZES = 4  # each takes its minute and its memory; torch itself gives up at eight
BACKEND = "inductor"


class Compiler:
    """Runs what calls the networks of models, with compiled ones at the sizes that come first."""

    def __init__(self) -> None:
        self._compiled: dict[nn.Module, Callable[..., Any] | None] = {}  # None: not yet
        self._sizes: set[tuple[int, ...]] = set()
        self._most = SIZES

    def add(self, model: nn.Module) -> None:
        """The networks of a model, its children, run compiled when `run` calls them, and only then."""
        for network in model.children():
            for module in (network, getattr(network, "encoder", None), getattr(network, "decoder", None)):
                if module is not None:
                    self._compiled[module] = None

    def end(self) -> None:
        """The models that were added are not used any more."""
        self._compiled.clear()

    def run(self, work: Callable[[], T], size: tuple[int, ...]) -> T:
        """What `work` returns, which gives the networks a batch of this size [B,3,h,w]. If the compiler
        fails, it is called once more without.
        """
        if self._takes(size):
            try:
                with self._installed():
                    return work()
            except Exception as error:  # compilers fail in any way there is
                if devices.is_out_of_memory(error) or isinstance(error, LeadlineError):
                    raise
                self._give_up(error)
        return work()

    @contextmanager
    def _installed(self) -> Iterator[None]:
        for module, compiled in self._compiled.items():
            compiled = compiled or torch.compile(module.forward, backend=BACKEND, dynamic=False)
            self._compiled[module] = module.forward = compiled
        try:
            yield
        finally:
            for module in self._compiled:
                del module.forward

    def _takes(self, size: tuple[int, ...]) -> bool:
        if size not in self._sizes and self._most:
            count, _, height, width = size
            what = f"of {width}x{height} pixels" + (f", {count} at a time" if count > 1 else "")
            if len(self._sizes) < self._most:
                self._sizes.add(size)
                log.warning("compiling for pictures %s: the first takes a minute or more", what)
            else:
                self._most = 0
                log.warning("pictures %s, and of any further size, go on uncompiled", what)
        return size in self._sizes

    def _give_up(self, error: Exception) -> None:
        self._sizes, self._most = set(), 0
        reason = getattr(error, "inner_exception", error)  # torch wraps what the backend says
        first = str(reason).strip().partition("\n")[0] or type(reason).__name__
        log.warning("torch.compile fails here, going on uncompiled: %s", first)

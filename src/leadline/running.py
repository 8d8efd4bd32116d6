"""A method's networks on a device: placed there, in the quickest form known, given what fits into memory.

Where memory does not suffice, a ladder is climbed, and every rung of it is logged:

    half as many pictures at a time, down to one
    -> the networks' fast forms, which take less, where they were switched off
    -> networks wait in main memory, where there is a device beside it
    -> an error that says what to change

What is climbed stays, so that nothing fails twice. What failed leaves nothing behind: the next picture finds
the device as the last one did.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar, cast

import torch
from torch import Generator, Tensor, nn

from leadline import devices
from leadline.camera import Camera
from leadline.errors import DeviceError, UsageError
from leadline.methods import Method
from leadline.networks.compiled import Compiler
from leadline.networks.offload import Turns

log = logging.getLogger(__name__)
T = TypeVar("T")

Rung = Callable[[], str | None]  # what was done about memory, in words; None: nothing is left to do


class Runner:
    """A method on a device. Calling it gives what its networks say to a batch of prepared pictures.

    fast: run the fast forms of networks that have one. offload: networks wait in main memory and come to the
    device to run. compile: by torch, for each size of a batch, up to four. Raises DeviceError where the
    weights do not fit into memory, UsageError for compile and offload together.
    """

    def __init__(
        self,
        method: Method,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
        *,
        fast: bool = True,
        offload: bool = False,
        compile: bool = False,
    ) -> None:
        if offload and compile:
            raise UsageError("networks that wait in main memory are not compiled: choose offload or compile")
        self.method, self.device, self.dtype, self.fast = method, device, dtype, fast
        self.network = cast(nn.Module, method).requires_grad_(False).eval()
        self._most = sys.maxsize  # pixels at a time, of all pictures of a batch
        self._turns = Turns(device) if offload else None
        self._compiler = Compiler() if compile else None
        self._forms: dict[bool, Method] = {}  # for prediction in one step, or in more
        self._placed: torch.dtype | None = None
        size = sum(weight.numel() for weight in self.network.parameters()) * dtype.itemsize / 1e9
        self._fit(
            partial(self._place, dtype), f"{size:.1f} GB of weights", "a smaller model", self._offloaded
        )

    def __call__(
        self,
        rgb: Tensor,
        *,
        generators: Sequence[Generator],
        cameras: Sequence[Camera | None],
        steps: int | None = None,
        dtype: torch.dtype | None = None,
        also: Sequence[str] = (),
        captions: Sequence[str] = (),
    ) -> dict[str, Tensor]:
        """Prepared pictures [B,3,h,w] -> outputs by name, [B*E,C,h,w] float32, on the device.

        generators: E for each picture, those of one picture together; they are left as they are, so that
        whoever calls again gets the same. cameras: of the prepared pixels. steps: None for methods without.
        dtype: to compute in; None: the runner's. also: further outputs, where the method has any. captions:
        one for each picture, where it reads them. Raises DeviceError where not even one picture fits into
        memory.
        """
        outputs: list[dict[str, Tensor]] = []
        members, what = len(generators) // len(rgb), f"{rgb.shape[3]}x{rgb.shape[2]} pixels"
        while len(rgb):
            work = partial(self._some, rgb, generators, cameras, steps, dtype or self.dtype, also, captions)
            rungs = partial(self._fewer, rgb), self._lean, self._offloaded
            some = self._fit(work, what, "a smaller processing resolution or smaller tiles", *rungs)
            done = len(next(iter(some.values()))) // members
            rgb, generators, cameras = rgb[done:], generators[done * members :], cameras[done:]
            captions = captions[done:]
            outputs.append(some)
        return self._fit(partial(_joined, outputs), what, "fewer pictures at a time")

    def in_float32(self, rgb: Tensor, **options: Any) -> dict[str, Tensor]:
        """The same, computed in float32: the weights stay as they were rounded."""
        try:
            return self(rgb, dtype=torch.float32, **options)
        finally:
            self._place(self.dtype)

    def end(self) -> None:
        """The networks are free for another runner, and stay where they are."""
        if self._turns is not None:
            self._turns.end()

    def _some(
        self,
        rgb: Tensor,
        generators: Sequence[Generator],
        cameras: Sequence[Camera | None],
        steps: int | None,
        dtype: torch.dtype,
        also: Sequence[str],
        captions: Sequence[str],
    ) -> dict[str, Tensor]:
        """Outputs of the first pictures, as many as go at a time."""
        self._place(dtype)
        form, count = self._form(steps), self._count(rgb)
        chosen = generators[: count * (len(generators) // len(rgb))]
        x = rgb[:count].to(self.device, dtype, memory_format=torch.channels_last)
        more: dict[str, Any] = {} if steps is None else {"steps": steps}
        more |= {"also": also} if also else {}
        more |= {"text": captions[:count]} if captions else {}

        @torch.inference_mode()
        def work() -> dict[str, Tensor]:
            own = [generator.clone_state() for generator in chosen]
            outputs = form.forward(x, generators=own, camera=cameras[:count], **more)
            return {name: value.float() for name, value in outputs.items()}

        if self._compiler is None or dtype != self.dtype:
            return work()
        return self._compiler.run(work, tuple(x.shape))

    def _place(self, dtype: torch.dtype) -> None:
        if self._placed == dtype:
            return
        self._forms.clear()
        for forms in (self._turns, self._compiler):
            if forms is not None:
                forms.end()
        self._placed, home = None, self.device if self._turns is None else torch.device("cpu")
        # channels last: 2 to 20 % faster on a processor (measured), and what half precision wants on GPUs
        self.network.to(home, dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._placed = dtype

    def _form(self, steps: int | None) -> Method:
        """The method as it predicts, made when it is first needed."""
        one = steps in (None, 1)
        if one not in self._forms:
            form = self.method.for_prediction(steps) if self.fast else self.method
            if self._turns is not None:
                self._turns.add(cast(nn.Module, form))
            if self._compiler is not None:
                self._compiler.add(cast(nn.Module, form))
            self._forms[one] = form
        return self._forms[one]

    def _fit(self, work: Callable[[], T], what: str, smaller: str, *rungs: Rung) -> T:
        """What `work` returns. As often as memory does not suffice, the next rung is climbed before it is
        called again; DeviceError at the end of the ladder.
        """
        while True:
            try:
                return work()
            except (RuntimeError, MemoryError) as error:
                if not devices.is_out_of_memory(error):
                    raise
                devices.release(error)
            climbed = next((words for rung in rungs if (words := rung())), None)
            if climbed is None:
                choices = ", or ".join([smaller, *self._elsewhere()])
                raise DeviceError(f"not enough memory on {self.device} for {what}: choose {choices}")
            log.warning("out of memory on %s for %s: %s", self.device, what, climbed)

    def _count(self, rgb: Tensor) -> int:
        """How many of these pictures go at a time."""
        return min(len(rgb), max(1, self._most // rgb[0, 0].numel()))

    def _fewer(self, rgb: Tensor) -> str | None:
        half = self._count(rgb) // 2
        if half == 0:
            return None
        self._most = half * rgb[0, 0].numel()
        return f"going on with {half} at a time"

    def _lean(self) -> str | None:
        if self.fast:
            return None
        self.fast, self._placed = True, None
        return "going on with the networks' fast forms, which take less; results differ by rounding"

    def _offloaded(self) -> str | None:
        if self._turns is not None or not devices.has_own_memory(self.device):
            return None
        self._turns, self._compiler, self._placed = Turns(self.device), None, None
        return "networks wait in main memory from now on, and come to the device to run"

    def _elsewhere(self) -> list[str]:
        """What else would help on this device."""
        if self.device.type == "cpu":
            return []
        half = ["dtype float16 or bfloat16"] if self.dtype == torch.float32 else []
        return [*half, "device cpu"]


def _joined(outputs: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    if len(outputs) == 1:
        return outputs[0]
    return {name: torch.cat([some[name] for some in outputs]) for name in outputs[0]}

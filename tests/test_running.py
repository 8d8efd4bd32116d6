"""Running a method: what is done when memory is full, networks that wait elsewhere, compiled networks."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import weakref
from pathlib import Path

import pytest
import tiny
import torch
from torch import nn
from torch.testing import assert_close

from leadline import devices, weights
from leadline.errors import DeviceError, UsageError
from leadline.methods import marigold
from leadline.methods.marigold import Marigold
from leadline.networks import compiled
from leadline.running import Runner

CPU = torch.device("cpu")
FULL = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


class Hungry(nn.Module):
    """A method of one convolution and noise that runs out of memory above so many pixels at a time. It keeps
    a diary of what it was given.
    """

    def __init__(self, most: int, lean: Hungry | None = None) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 1, 3, padding=1)
        nn.init.constant_(self.conv.weight, 0.1)
        nn.init.zeros_(self.conv.bias)
        self.most, self.lean = most, lean
        self.seen: list[tuple[int, ...]] = []
        self.held: list[weakref.ref[torch.Tensor]] = []

    def for_prediction(self, steps=None):
        return self.lean or self

    def forward(self, rgb, *, generators, camera):
        self.seen.append(tuple(rgb.shape))
        assert len(camera) == len(rgb)
        noise = torch.cat([torch.randn(1, 1, *rgb.shape[2:], generator=g) for g in generators])
        self.held.append(weakref.ref(noise))
        if rgb[:, 0].numel() > self.most:
            raise FULL
        return {"depth": self.conv(rgb).repeat_interleave(len(noise) // len(rgb), 0) + noise.to(rgb)}


def pictures(count: int, height: int = 8, width: int = 8) -> torch.Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(1))


def own(caplog) -> list[str]:
    """What Leadline has said; torch's compiler says a lot beside."""
    return [record.getMessage() for record in caplog.records if record.name.startswith("leadline")]


def run(runner: Runner, rgb: torch.Tensor, members: int = 1, **options) -> torch.Tensor:
    generators = [torch.Generator().manual_seed(seed) for seed in range(members * len(rgb))]
    (value,) = runner(rgb, generators=generators, cameras=[None] * len(rgb), **options).values()
    return value


# --- the ladder ---


@pytest.mark.parametrize("members", [1, 3])
def test_what_is_too_much_together_goes_in_halves_and_changes_nothing(members, caplog):
    rgb, method = pictures(7), Hungry(most=2 * 64)
    found = run(Runner(method, CPU), rgb, members)
    assert_close(found, run(Runner(Hungry(most=10**6), CPU), rgb, members))
    assert [shape[0] for shape in method.seen] == [7, 3, 1, 1, 1, 1, 1, 1, 1]
    assert [line.rpartition(" with ")[2] for line in own(caplog)] == ["3 at a time", "1 at a time"]


def test_nothing_fails_twice():
    method = Hungry(most=2 * 64)
    runner = Runner(method, CPU)
    run(runner, pictures(4))
    method.seen.clear()
    run(runner, pictures(4))
    run(runner, pictures(8, height=4, width=4))  # a quarter of the pixels: four times as many at a time
    assert [shape[0] for shape in method.seen] == [2, 2, 8]


def test_the_fast_forms_of_networks_come_where_they_were_switched_off(caplog):
    method = Hungry(most=10, lean=Hungry(most=64))
    runner = Runner(method, CPU, fast=False)
    assert run(runner, pictures(1)).shape == (1, 1, 8, 8)
    assert "fast forms, which take less; results differ by rounding" in caplog.text
    run(runner, pictures(1))
    assert (len(method.seen), len(method.lean.seen)) == (1, 2)


def test_the_end_of_the_ladder_is_one_line_and_the_next_picture_finds_all_as_it_was(caplog):
    method = Hungry(most=100)
    runner = Runner(method, CPU, fast=False)
    with pytest.raises(DeviceError) as caught:
        run(runner, pictures(2, height=16, width=32))
    assert str(caught.value) == (
        "not enough memory on cpu for 32x16 pixels: choose a smaller processing resolution or smaller tiles"
    )
    assert len(own(caplog)) == 2  # fewer at a time, fast forms
    assert run(runner, pictures(1)).shape == (1, 1, 8, 8)


def test_an_error_keeps_nothing_of_what_did_not_fit():
    method = Hungry(most=10)
    with pytest.raises(DeviceError) as caught:
        run(Runner(method, CPU), pictures(2))
    assert [kept() for kept in method.held] == [None] * len(method.held)
    assert caught.value.__context__ is caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (FULL, True),
        (MemoryError(), True),
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"),
            True,
        ),
        (RuntimeError("CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)"), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 17.97 GB)"), True),
        (RuntimeError("shapes do not match"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_full_memory_is_told_from_mistakes(error, full):
    assert devices.is_out_of_memory(error) is full


LIMITED = """
import resource, sys
import numpy as np
import tiny, torch
from leadline.predict import Model

torch.set_num_threads(1)
model = Model(tiny.published(), device="cpu")
small, large = (np.full((*size, 3), 90, np.uint8) for size in ((24, 32), (2000, 3000)))
alone = model(small, processing_res=0)
pages = int(open("/proc/self/statm").read().split()[0])
limit = pages * resource.getpagesize() + 400 * 2**20
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
failed, done = model.stream([large, small], processing_res=0)
print(repr(failed))
assert (done.values == alone.values).all()
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's /proc")
def test_a_process_whose_memory_was_full_predicts_the_next_picture():
    paths = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[1] / "src")])
    command, env = [sys.executable, "-c", LIMITED], {**os.environ, "PYTHONPATH": paths}
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip() == (
        "DeviceError('array: not enough memory on cpu for 3000x2000 pixels: "
        "choose a smaller processing resolution or smaller tiles')"
    )


# --- networks that wait in main memory ---


@pytest.fixture
def beside(monkeypatch) -> None:
    """The processor counts as a device with memory of its own."""
    monkeypatch.setattr(devices, "has_own_memory", lambda device: True)


@pytest.mark.usefixtures("beside")
def test_networks_leave_the_device_before_a_picture_is_given_up(caplog):
    with pytest.raises(DeviceError, match="not enough memory"):
        run(Runner(Hungry(most=10), CPU), pictures(1))
    assert "networks wait in main memory from now on" in caplog.text


def test_the_error_names_what_the_device_leaves_to_choose():
    runner = Runner(Hungry(most=10), CPU)
    assert runner._elsewhere() == []
    runner.device = torch.device("cuda")
    assert runner._elsewhere() == ["dtype float16 or bfloat16", "device cpu"]
    runner.dtype = torch.float16
    assert runner._elsewhere() == ["device cpu"]


class Heavy(nn.Module):
    """A method with one network, which does not fit onto a device in one piece."""

    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Conv2d(3, 1, 1)
        self.homes: list[torch.device] = []

    def to(self, home, *args, **kwargs):
        self.homes.append(home)
        if len(self.homes) == 1:
            raise FULL
        return super().to(home, *args, **kwargs)

    def for_prediction(self, steps=None):
        return self

    def forward(self, rgb, **_):
        return {"depth": self.network(rgb)}


@pytest.mark.usefixtures("beside")
def test_weights_that_do_not_fit_wait_in_main_memory(caplog):
    runner = Runner(Heavy(), CPU)
    assert "out of memory on cpu for 0.0 GB of weights: networks wait in main memory" in caplog.text
    assert run(runner, pictures(2)).shape == (2, 1, 8, 8)


def test_weights_that_fit_nowhere_are_an_error():
    with pytest.raises(DeviceError, match="memory on cpu for 0.0 GB of weights: choose a smaller model"):
        Runner(Heavy(), CPU)


def diffuser(**options) -> Marigold:
    unet, autoencoder = weights.build(tiny.UNET), weights.build(tiny.AUTOENCODER)
    tiny.fill(unet, "unet.")
    tiny.fill(autoencoder, "vae.")
    text = tiny.fixed("empty_text_embedding", 1, 2, 24)
    return Marigold(marigold.Config(**options), unet, autoencoder, empty_text=text)


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("steps", [1, 2])
def test_networks_that_wait_give_the_same(steps, fast):
    rgb = pictures(2, 16, 24)
    on, off = (
        run(Runner(diffuser(), CPU, fast=fast, offload=offload), rgb, 2, steps=steps)
        for offload in (True, False)
    )
    assert torch.equal(on, off)


@pytest.mark.parametrize("fast", [True, False])
def test_networks_take_turns(fast, monkeypatch):
    runner, moves = Runner(diffuser(), CPU, fast=fast, offload=True), []
    names = {id(network): name for name, network in runner._form(1).named_children()}
    to = nn.Module.to

    def noted(self, place, *args, **kwargs):
        if id(self) in names:
            moves.append(f"{names[id(self)]} {'home' if place == 'cpu' else 'over'}")
        return to(self, place, *args, **kwargs)

    monkeypatch.setattr(nn.Module, "to", noted)
    for _ in range(2):
        run(runner, pictures(1, 16, 24), steps=1)
    turn = ["autoencoder home", "unet over", "unet home", "autoencoder over"]
    assert moves == ["autoencoder over", *turn, "autoencoder over", *turn]


def test_turns_end_with_other_forms_of_the_networks():
    method = diffuser()
    runner = Runner(method, CPU, torch.bfloat16, fast=False, offload=True)
    rgb = pictures(1, 16, 24)
    whole = run(Runner(diffuser().bfloat16(), CPU, fast=False), rgb, steps=1)
    generators = [torch.Generator().manual_seed(0)]
    again = runner.in_float32(rgb, generators=generators, cameras=[None], steps=1)["depth"]
    assert_close(again, whole)
    assert {weight.dtype for weight in method.parameters()} == {torch.bfloat16}
    assert not any(hasattr(network, "_hf_hook") for network in method.children())
    run(runner, rgb, steps=1)
    assert all(hasattr(network, "_hf_hook") for network in method.children())


@pytest.mark.gpu
@pytest.mark.parametrize("fast", [True, False])
def test_on_a_gpu_networks_that_wait_give_the_same_and_only_the_last_is_there(fast):
    gpu, rgb = torch.device("cuda"), pictures(1, 16, 24)
    on, off = (Runner(diffuser(), gpu, fast=fast, offload=offload) for offload in (True, False))
    assert_close(run(on, rgb, steps=2), run(off, rgb, steps=2))
    places = {name: next(part.parameters()).device.type for name, part in on.network.named_children()}
    assert places == {"unet": "cpu", "autoencoder": "cuda"}


# --- compiled networks ---


class Body(nn.Module):
    """A network that a compiler has something to do with."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 1, 3, padding=1)
        nn.init.constant_(self.conv.weight, 0.1)
        nn.init.zeros_(self.conv.bias)

    def forward(self, x):
        return torch.tanh(self.conv(x) * 2 + 1)


class Whole(nn.Module):
    """A method of one network and a head."""

    def __init__(self, head=torch.neg) -> None:
        super().__init__()
        self.body, self.head = Body(), head

    def for_prediction(self, steps=None):
        return self

    def forward(self, rgb, **_):
        return {"depth": self.head(self.body(rgb))}


@pytest.fixture
def traced(monkeypatch) -> list[object]:
    """Networks are traced as for compiling and run as they are; what was traced is listed."""
    graphs = []
    monkeypatch.setattr(compiled, "BACKEND", lambda graph, _: graphs.append(graph) or graph.forward)
    torch.compiler.reset()  # what torch keeps of the same code is of another backend
    return graphs


def test_compiled_networks_run_at_four_sizes_and_all_others_uncompiled(traced, caplog):
    method = Whole()
    runner, plain = Runner(method, CPU, compile=True), Runner(method, CPU)
    for width in (16, 24, 32, 40, 48, 56, 16):
        rgb = pictures(1, 16, width)
        assert_close(run(runner, rgb), run(plain, rgb))
    assert len(traced) == compiled.SIZES == 4
    said = own(caplog)
    assert said[0] == "compiling for pictures of 16x16 pixels: the first takes a minute or more"
    assert said[-1] == "pictures of 48x16 pixels, and of any further size, go on uncompiled"
    assert len(said) == 5


def test_a_compiler_that_fails_is_one_line_and_the_networks_run_without(monkeypatch, caplog):
    def broken(graph, inputs):
        raise RuntimeError("No working C++ compiler found\nand more words")

    monkeypatch.setattr(compiled, "BACKEND", broken)
    torch.compiler.reset()
    runner, rgb = Runner(Whole(), CPU, compile=True), pictures(1, 16, 16)
    assert_close(run(runner, rgb), run(Runner(Whole(), CPU), rgb))
    run(runner, pictures(1, 16, 32))
    assert own(caplog)[1:] == ["torch.compile fails here, going on uncompiled: No working C++ compiler found"]


def test_a_mistake_in_a_compiled_method_is_not_hidden(traced):
    with pytest.raises(ZeroDivisionError):
        run(Runner(Whole(head=lambda _: 1 / 0), CPU, compile=True), pictures(1, 16, 16))


def test_compiled_networks_do_not_wait_in_main_memory():
    with pytest.raises(UsageError, match="choose offload or compile"):
        Runner(Whole(), CPU, offload=True, compile=True)


COMPILER = pytest.mark.skipif(not shutil.which("g++"), reason="needs a C++ compiler, g++")


@COMPILER
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")
def test_compiled_equals_uncompiled(caplog, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    torch.compiler.reset()
    rgb = pictures(2, 16, 24)
    found, plain = (run(Runner(Whole(), CPU, compile=on), rgb) for on in (True, False))
    assert_close(found, plain, rtol=0, atol=1e-5)
    assert len(own(caplog)) == 1  # that it takes a while


@COMPILER
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")
@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("steps", [1, 2])
def test_compiled_diffusion_equals_uncompiled(steps, fast, caplog):
    torch.compiler.reset()
    rgb = pictures(1, 16, 24)
    found, plain = (
        run(Runner(diffuser(), CPU, fast=fast, compile=on), rgb, steps=steps) for on in (True, False)
    )
    assert_close(found, plain, rtol=0, atol=1e-5)
    assert len(own(caplog)) == 1  # that it takes a while

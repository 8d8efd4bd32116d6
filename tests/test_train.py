"""Training: resumed equals undisturbed, whatever ended it; mistakes are named; weights learn."""

from __future__ import annotations

import io
import json
import math
import os
import re
import signal
import socket
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

sys.path.insert(0, str(Path(__file__).parent))  # loader processes import the data set by this name

import processes
from training import KillAt, Straight, small_recipe

from leadline import methods, recipe
from leadline.data.sample import Batch
from leadline.errors import DataError, DeviceError, TrainError, UsageError
from leadline.losses import Loss
from leadline.recipe import Ema, Optimiser, Schedule
from leadline.train import checkpoint, export, optimise, pictures, preflight, train
from leadline.train.display import Live, Silent
from leadline.train.loop import Trainer
from leadline.train.run import Heartbeat, Log, locked

RECIPES = Path(__file__).parents[1] / "recipes"
TIMES = {"seconds", "wait", "rate"}


def final(run: Path) -> dict:
    """All that a run's last checkpoint holds but the clock."""
    steps = checkpoint.steps(run / "checkpoints")
    state = checkpoint.load(run / "checkpoints", steps[-1])
    state["window"] = {name: value for name, value in state["window"].items() if name not in TIMES}
    return state


def lines(run: Path) -> list[dict]:
    """The log without clocks and machine facts."""
    kept = [line for line in Log(run / "log.jsonl").read() if line["event"] in ("train", "validation")]
    return [{key: value for key, value in line.items() if key not in TIMES} for line in kept]


def assert_same(a: object, b: object) -> None:
    torch.testing.assert_close(a, b, rtol=0, atol=0, equal_nan=True)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("undisturbed")
    outcome = train(small_recipe(), run, method=Straight())
    assert (outcome.step, outcome.finished) == (20, True)
    return run


# ---- interrupted = uninterrupted -------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stopped_and_resumed_equals_undisturbed(undisturbed, tmp_path, number):
    stopped = train(small_recipe(), tmp_path, method=Straight(), display=KillAt(10, number))
    assert (stopped.step, stopped.finished) == (10, False)
    assert "the same command goes on" in stopped.message
    assert train(small_recipe(), tmp_path, method=Straight()).finished
    assert_same(final(tmp_path), final(undisturbed))
    assert lines(tmp_path) == lines(undisturbed)


@pytest.mark.parametrize("stop", [1, 7, 8, 19])
def test_a_stop_at_any_step_and_at_stage_borders_changes_nothing(undisturbed, tmp_path, stop):
    train(small_recipe(), tmp_path, method=Straight(), display=KillAt(stop))
    train(small_recipe(), tmp_path, method=Straight())
    assert_same(final(tmp_path), final(undisturbed))
    assert lines(tmp_path) == lines(undisturbed)


SCRIPT = """
import os, signal, sys
import torch
from leadline.train import checkpoint, train
import processes
from training import KillAt, Straight, small_recipe

def die_while_saving(state, file):
    torch.serialization.save(state, file)
    if state["step"] == 10:
        os.kill(os.getpid(), signal.SIGKILL)

if sys.argv[1] == "saving":
    checkpoint.torch.save = die_while_saving
step = 13 if sys.argv[1] == "step" else 99
train(small_recipe(*sys.argv[3:]), sys.argv[2], method=Straight(), display=KillAt(step, signal.SIGKILL))
"""


@pytest.mark.parametrize(("moment", "reached", "workers"), [("step", 10, 1), ("saving", 5, 0)])
def test_killed_and_resumed_equals_undisturbed(undisturbed, tmp_path, moment, reached, workers):
    killed = processes.start(f"-c {SCRIPT}", moment, tmp_path, f"workers={workers}")
    assert killed.wait() == -signal.SIGKILL
    assert processes.all_leave(killed)
    assert checkpoint.steps(tmp_path / "checkpoints")[-1] == reached
    assert train(small_recipe(), tmp_path, method=Straight()).finished
    assert_same(final(tmp_path), final(undisturbed))
    assert lines(tmp_path) == lines(undisturbed)
    assert not [path for path in (tmp_path / "checkpoints").iterdir() if path.name.startswith(".")]


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # of one core
def test_loader_processes_do_not_change_the_training(undisturbed, tmp_path):
    train(small_recipe("workers=2"), tmp_path, method=Straight())
    assert_same(final(tmp_path), final(undisturbed))


@pytest.mark.parametrize("moment", [pytest.param("start", marks=pytest.mark.slow), "train"])
def test_sigterm_to_the_whole_process_group_saves(tmp_path, moment):
    """As a service manager or a closed terminal sends it: the loaders must not die before the checkpoint."""
    many = ["stages.first.steps=100000", "every.checkpoint=0"]
    process = processes.start("training.py", tmp_path, "workers=2", *many)
    log = tmp_path / "log.jsonl"
    deadline = time.monotonic() + 60
    while not (log.exists() and f'"{moment}"' in log.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGTERM)
    assert process.wait() == 0
    assert "stopped by SIGTERM" in process.out
    assert len(checkpoint.steps(tmp_path / "checkpoints")) >= 1


def test_another_seed_trains_otherwise(undisturbed, tmp_path):
    train(small_recipe("seed=1"), tmp_path, method=Straight())
    assert any(
        (a != b).any()
        for a, b in zip(
            final(tmp_path)["weights"].values(), final(undisturbed)["weights"].values(), strict=True
        )
    )


def test_the_callers_random_state_is_neither_read_nor_written(undisturbed, tmp_path):
    method = Straight()
    torch.manual_seed(1234)
    np.random.seed(1234)
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), torch.get_num_threads()
    train(small_recipe(), tmp_path, method=method)
    assert_same((torch.get_rng_state(), np.random.get_state()[1], torch.get_num_threads()), before)
    assert_same(final(tmp_path), final(undisturbed))


# ---- what a run leaves behind ----------------------------------------------------------------------------


def test_the_run_folder_holds_everything(undisturbed):
    names = {path.name for path in undisturbed.iterdir()}
    assert {"recipe.yaml", "log.jsonl", "curves.png", "checkpoints", "samples", "model"} <= names
    assert sorted(p.name for p in (undisturbed / "samples").iterdir()) == [
        f"{s:08d}.png" for s in (0, 10, 20)
    ]
    with Image.open(undisturbed / "samples" / "00000020.png") as sheet:
        assert sheet.size == (3 * 12, 4 * 8)  # photograph, target, prediction of 4 held-out pictures
    start, first, *_ = Log(undisturbed / "log.jsonl").read()
    assert (start["event"], start["versions"]["torch"]) == ("start", torch.__version__)
    assert (first["event"], first["step"]) == ("validation", 0)
    assert [line["step"] for line in lines(undisturbed) if line["event"] == "train"] == [4, 8, 12, 16, 20]


def test_what_a_training_starts_from_is_not_its_best_checkpoint(tmp_path):
    """Nor is a loss that is no number: the best of what was trained can always be exported."""

    class Spoilt(Straight):
        def loss(self, batch: Batch, generator: torch.Generator) -> Loss:
            found = super().loss(batch, generator)
            if not self.training and self.calls <= 5:
                found.total.fill_(torch.nan)
            return found

    run = tmp_path / "run"
    train(small_recipe("optimiser.lr=10", "stages={}", "steps=15"), run, method=Spoilt())
    best = final(run)["best"]
    assert best["step"] in checkpoint.steps(run / "checkpoints")
    assert math.isfinite(best["value"])


def test_the_newest_checkpoints_and_the_best_stay(undisturbed):
    best = final(undisturbed)["best"]["step"]
    assert checkpoint.steps(undisturbed / "checkpoints") == sorted({best, 15, 20})
    values = {line["step"]: line["loss"] for line in lines(undisturbed) if line["event"] == "validation"}
    assert min(values, key=values.get) == best


def test_the_model_has_the_averaged_weights(undisturbed):
    saved = torch.load(undisturbed / "model" / "weights.pt")
    assert_same({name: saved[name] for name in final(undisturbed)["average"]}, final(undisturbed)["average"])


def test_more_steps_go_on_from_a_finished_run(undisturbed, tmp_path):
    train(small_recipe("stages.second.steps=2"), tmp_path, method=Straight())
    outcome = train(small_recipe("stages.second.steps=4"), tmp_path, method=Straight())
    assert outcome.step == 12
    resumed = [line for line in Log(tmp_path / "log.jsonl").read() if line["event"] == "resume"]
    assert [line["changed"] for line in resumed] == [["stages"]]


def test_a_damaged_last_line_of_the_log_is_passed_over(tmp_path):
    log = Log(tmp_path / "log.jsonl")
    log.write("train", 1, loss=math.nan)
    with open(log.path, "a") as file:
        file.write('{"event": "tra')
    assert log.read() == [{"event": "train", "step": 1, "loss": None}]


def test_heartbeat_says_what_takes_long(tmp_path):
    said: list[str] = []
    heart = Heartbeat(tmp_path / "heartbeat.json", said.append, patience=0)
    heart.now(7, "waiting for batch 7: scenes, pictures 3, 1 ...")
    time.sleep(0.01)
    heart.beat()
    assert json.loads((tmp_path / "heartbeat.json").read_text())["step"] == 7
    assert len(said) == 1
    assert said[0].startswith("step 7: waiting for batch 7: scenes, pictures 3, 1 ...")


def test_a_heartbeat_that_cannot_be_written_is_said_once_and_goes_on(tmp_path):
    said: list[str] = []
    (tmp_path / "away").touch()
    heart = Heartbeat(tmp_path / "away" / "heartbeat.json", said.append, patience=0)
    for _ in range(2):
        time.sleep(0.01)
        heart.beat()
    assert ["cannot be written" in line for line in said] == [True, False, False]
    assert said[1].startswith("step 0: starting for")


def test_each_batch_of_a_step_is_waited_for_by_its_name(tmp_path, monkeypatch):
    phases: list[str] = []
    monkeypatch.setattr(Heartbeat, "now", lambda self, step, phase: phases.append(phase))
    train(small_recipe("stages={}", "steps=2", "batch={size: 6, accumulate: 2}"), tmp_path, method=Straight())
    waited = [phase for phase in phases if phase.startswith("waiting")]
    assert [phase.split(":")[0] for phase in waited] == [f"waiting for batch {n}" for n in range(4)]
    assert all(phase.count(",") == 6 for phase in waited)  # all six pictures


def test_the_display_writes_plain_lines_where_there_is_no_terminal(tmp_path):
    out = io.StringIO()
    train(small_recipe(), tmp_path, method=Straight(), display=Live(Console(file=out, soft_wrap=True)))
    written = out.getvalue().splitlines()
    assert written[0] == "started: straight, 0.00 M trainable parameters, cpu, float32, 20 steps"
    assert written[1].startswith("step 0: validation held: loss 1.5")
    pattern = r"step 20/20  loss \d\.\d+  lr \d\.\de-0\d  .*/s  \d+% waiting  0:00:00 left"
    assert re.fullmatch(pattern, written[-2])


def test_a_terminal_shows_rate_and_time_left_on_one_line(tmp_path):
    out = io.StringIO()
    terminal = Console(file=out, force_terminal=True, width=80, color_system=None)
    live = Live(terminal)
    live.start(20_000, 0)
    live.began -= 3600
    live.step(5_000, {"loss": 0.66, "lr": 9.1e-4, "rate": 13.2, "wait": 1.0, "seconds": 10.0})
    live.bar.refresh()
    live.close()
    shown = re.split(r"[\r\n]+", re.sub(r"\x1b\[[^a-zA-Z]*[a-zA-Z]", "", out.getvalue()))
    (line,) = {text.rstrip() for text in shown if "left" in text}
    assert line.endswith("5000/20000 loss 0.6600  lr 9.1e-04  13.2/s  10% waiting  3:00:00 left")
    assert len(line) <= 80


def test_parts_of_a_loss_cannot_hide_other_figures(tmp_path):
    class Rude(Straight):
        def loss(self, batch: Batch, generator: torch.Generator) -> Loss:
            total = super().loss(batch, generator).total
            return Loss(total, {name: 0 * total.detach() for name in ("loss", "step", "lr", "gradient_norm")})

    train(small_recipe(), tmp_path, method=Rude())
    last = lines(tmp_path)[-2]
    assert (last["event"], last["step"]) == ("train", 20)
    assert all(last[name] > 0 and last[f"loss_{name}"] == 0 for name in ("loss", "lr", "gradient_norm"))


def test_curves_show_losses_rate_and_gradient(tmp_path):
    train_line = {"event": "train", "loss": 0.5, "lr": 1e-3, "gradient_norm": 2.0}
    log = [{"step": step} | train_line for step in (10, 20)]
    log += [{"event": "validation", "step": step, "set": "held", "loss": 0.7} for step in (0, 20)]

    def coloured(log, colour):
        pictures.curves(log, tmp_path / "curves.png")
        with Image.open(tmp_path / "curves.png") as picture:
            pixels = np.asarray(picture.convert("RGB"))
        wanted = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
        panels = (pixels == wanted).all(-1).reshape(3, -1)  # losses, learning rate, gradient norm
        return (panels.sum(axis=1) > 300).tolist()

    assert coloured(log, pictures.COLOURS[0]) == [True, True, True]
    assert coloured(log, pictures.COLOURS[1]) == [True, False, False]
    assert coloured([*log[2:], {"event": "train", "step": 1, "loss": None, "lr": 0.0}], pictures.COLOURS[0])


# ---- learning --------------------------------------------------------------------------------------------


def test_thirty_steps_on_four_pictures_halve_the_loss(tmp_path):
    easy = small_recipe(
        "data={ramps: {options: {count: 4}}}",
        *("stages={}", "steps=30", "batch={size: 4}"),
        *("optimiser.lr=0.05", "schedule={}", "ema.decay=0"),
    )
    train(easy, tmp_path, method=Straight(dropout=0))
    losses = [line["loss"] for line in lines(tmp_path) if line["event"] == "validation"]
    assert losses[-1] < losses[0] / 2


def test_accumulation_equals_a_larger_batch(tmp_path):
    def weights(name: str, *overrides: str) -> dict[str, torch.Tensor]:
        base = ["data={ramps: {options: {count: 8}}}", "stages={}", "steps=4", "augment={flip: 0}"]
        method = Straight(dropout=0, noise=0)
        train(small_recipe(*base, *overrides), tmp_path / name, method=method)
        return final(tmp_path / name)["weights"]

    whole, parts = weights("whole", "batch.size=4"), weights("parts", "batch={size: 2, accumulate: 2}")
    torch.testing.assert_close(whole, parts, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("case", "warmup", "total"),
    [("e2e_20000_100", 100, 20000), ("marigold_25000_100", 100, 25000), ("e2e_4gpu_80000_400", 400, 80000)],
)
def test_learning_rate_matches_the_authors(golden, case, warmup, total):
    g = golden("e2e/lr", case)
    schedule = Schedule(decay="exponential", warmup=warmup, final=0.01)
    factors = [optimise.lr_factor(i, schedule, total) for i in g.iter.tolist()]
    torch.testing.assert_close(torch.tensor(factors, dtype=torch.float64), g.factor, rtol=0, atol=1e-12)


def test_the_published_recipe_has_the_authors_learning_rate(golden):
    published = recipe.load(RECIPES / "e2e_ft_depth.yaml")
    rates = [optimise.lr_at(step, published) for step in range(210)]
    expected = golden("e2e/lr").e2e_lr_first210
    torch.testing.assert_close(torch.tensor(rates, dtype=torch.float64), expected, rtol=0, atol=1e-12)


def test_a_stage_has_its_own_rate_and_schedule():
    rates = [optimise.lr_at(step, small_recipe()) for step in (0, 3, 8, 14)]
    assert rates[:3] == [0, 1e-2, 5e-3]
    assert rates[3] == pytest.approx(5e-3 * (0.01 + 0.99 * 0.5))


def test_the_average_follows_its_formula_and_gives_the_weights_back():
    layer = torch.nn.Linear(1, 1, bias=False)
    layer.weight.data.fill_(1)
    average = optimise.Average(layer, Ema(decay=0.9, warm=False))
    layer.weight.data.fill_(2)
    average.update(0)
    with average.applied():
        assert layer.weight.item() == pytest.approx(0.9 * 1 + 0.1 * 2)
    assert layer.weight.item() == 2


def test_parameter_groups_take_the_first_pattern_that_matches():
    settings = Optimiser(lr=1, groups={"bias": {"weight_decay": 0, "lr_factor": 0.5}})
    optimiser = optimise.optimiser(Straight(), settings)
    optimise.set_lr(optimiser, 0.2)
    assert [(g["weight_decay"], g["lr"], len(g["params"])) for g in optimiser.param_groups] == [
        (0, 0.1, 2),
        (0.01, 0.2, 2),
    ]
    with pytest.raises(TrainError, match="gamma"):
        optimise.optimiser(Straight(), Optimiser(lr=1, groups={"gamma": {}}))


def test_bfloat16_trains(tmp_path):
    outcome = train(small_recipe("precision=bfloat16"), tmp_path, method=Straight())
    assert outcome.finished
    assert all(math.isfinite(line["loss"]) for line in lines(tmp_path))


PLAIN = ("model={dropout: 0, noise: 0}", "ema.decay=0")  # nothing that each process draws for itself


def together(run: Path, *overrides: str) -> None:
    """A training by two processes on this machine."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    world = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    ranks = [
        processes.start("training.py", run, *overrides, env=world | {"RANK": rank, "LOCAL_RANK": rank})
        for rank in ("0", "1")
    ]
    assert [process.wait(240) for process in ranks] == [0, 0], ranks[0].err


def test_two_processes_train_as_one_with_twice_the_batch(tmp_path):
    """Also where one has more valid pixels than the other, or all of them; and they stop as one."""
    holes = "data.many.options={count: 7, holes: true}"
    together(tmp_path / "two", *PLAIN, holes)
    twice = ["stages.first.batch={size: 4, accumulate: 2}", "stages.second.batch.size=6"]
    one = small_recipe(*PLAIN, holes, *twice)
    train(one, tmp_path / "one", method=Straight(dropout=0, noise=0))
    two, one = final(tmp_path / "two"), final(tmp_path / "one")
    torch.testing.assert_close(two["weights"], one["weights"], rtol=1e-4, atol=1e-5)
    losses = [[line["loss"] for line in lines(tmp_path / run)] for run in ("two", "one")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_weights_in_shards_train_as_whole_ones(tmp_path, monkeypatch):
    """As accelerate launch --use_fsdp starts them; stopped and resumed, in shards, is one process's run."""
    plain = (*PLAIN, "data.many.options={count: 7}", "ema.decay=0.9", "stages.second.steps=4")
    plain += ("schedule={}", "stages.second.schedule={}")  # the rates do not know of the stop
    twice = ["stages.first.batch={size: 4, accumulate: 2}", "stages.second.batch.size=6"]
    train(small_recipe(*plain, *twice), tmp_path / "one", method=Straight(dropout=0, noise=0))
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    monkeypatch.setenv("FSDP_VERSION", "2")
    together(tmp_path / "two", *plain, "stages.second.steps=2")
    together(tmp_path / "two", *plain)
    two, one = final(tmp_path / "two"), final(tmp_path / "one")
    for key in ("weights", "average"):
        torch.testing.assert_close(two[key], one[key], rtol=1e-4, atol=1e-5)
    model = torch.load(tmp_path / "two/model/weights.pt")
    torch.testing.assert_close(model, torch.load(tmp_path / "one/model/weights.pt"), rtol=1e-4, atol=1e-5)


# ---- mistakes --------------------------------------------------------------------------------------------


def test_a_step_without_a_finite_gradient_is_skipped_and_counted(tmp_path):
    before = Straight()
    train(small_recipe("stages={}", "steps=1", "schedule={}"), tmp_path / "a", method=Straight(poison=2))
    assert_same(final(tmp_path / "a")["weights"], dict(before.state_dict()))
    train(small_recipe(), tmp_path / "b", method=Straight(poison=7))
    skipped = [line for line in Log(tmp_path / "b" / "log.jsonl").read() if line["event"] == "skipped"]
    assert [line["step"] for line in skipped] == [3]  # call 1 is the check, 2 to 5 are steps 1 and 2
    assert all(w.isfinite().all() for w in final(tmp_path / "b")["weights"].values())


def test_a_loss_that_is_not_finite_names_its_samples_and_may_stop(tmp_path):
    """Those of the batch whose loss it was, not of the whole step; what was trained before is saved."""
    stopping = small_recipe("non_finite=stop")
    with pytest.raises(TrainError, match=r"step 3: gradient is not finite with ramp \d, ramp \d: look at"):
        train(stopping, tmp_path, method=Straight(poison=7))
    (skipped,) = [line for line in Log(tmp_path / "log.jsonl").read() if line["event"] == "skipped"]
    assert len(skipped["names"]) == 2  # of the four of the step
    assert checkpoint.steps(tmp_path / "checkpoints") == [2]


def test_only_the_rank_whose_loss_is_not_finite_names_samples(tmp_path):
    together(tmp_path, *PLAIN[1:], "model={poison: 7, poisoned: 1, dropout: 0, noise: 0}")
    (skipped,) = [line for line in Log(tmp_path / "log.jsonl").read() if line["event"] == "skipped"]
    assert len(skipped["names"]) == 2  # of the eight of the step


@pytest.mark.parametrize("may_scale", [True, False])
def test_a_scale_of_float16_that_is_too_large_does_not_stop_a_training(tmp_path, may_scale):
    said: list[str] = []
    trainer = SimpleNamespace(
        bad_in_row=0,
        step=2,
        accelerator=SimpleNamespace(is_main_process=True),
        log=Log(tmp_path / "log.jsonl"),
        display=SimpleNamespace(say=said.append),
        recipe=small_recipe("non_finite=stop"),
        _save=lambda: said.append("saved"),
    )
    with nullcontext() if may_scale else pytest.raises(TrainError, match="step 3: gradient is not finite"):
        Trainer._count_bad(trainer, ["ramp 1"], may_scale=may_scale)
    assert ("saved" in said) is not may_scale


def test_a_missing_package_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "bitsandbytes.optim", None)
    with pytest.raises(TrainError, match="adamw8bit needs bitsandbytes: install the extra 'lean'"):
        train(small_recipe("optimiser.name=adamw8bit"), tmp_path, method=Straight())


def test_half_precision_of_gpus_is_refused_on_the_processor(tmp_path):
    with pytest.raises(DeviceError, match="float16 is trained on a CUDA device: use bfloat16"):
        train(small_recipe("precision=float16"), tmp_path, method=Straight())


def test_a_training_that_stays_broken_ends(tmp_path):
    method = Straight()
    method.layers[0].bias.data.fill_(math.nan)
    with pytest.raises(TrainError, match="no finite gradient in 3 steps up to 3"):
        train(small_recipe("max_bad_steps=3"), tmp_path, method=method)
    assert checkpoint.steps(tmp_path / "checkpoints") == [2]


class Detached(Straight):
    def forward(self, rgb, **_):
        return {"depth": super().forward(rgb)["depth"].detach() + 0 * self.layers[0].bias.sum()}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("{count: 8, unit: 1000.0}", "ramp 0: median depth is 1543 m, .* millimetres"),
        ("{count: 8, valid: false}", "ramp 0: no pixel is valid"),
        ("{count: 0}", "data set ramps is empty"),
        ("{size: [4, 4], cuont: 8}", "option 'cuont' is unknown: did you mean 'count'"),
        ("{unit: -1.0}", "must be above 0"),
    ],
)
def test_wrong_data_are_named_before_step_1(tmp_path, options, message):
    wrong = small_recipe(f"data={{ramps: {{options: {options}}}}}")
    with pytest.raises(DataError, match=message):
        train(wrong, tmp_path, method=Straight())
    assert not Log(tmp_path / "log.jsonl").read()


@pytest.mark.parametrize(
    ("overrides", "error", "message"),
    [
        (["data={hypersym: 1}"], UsageError, "'hypersym' is unknown here"),
        (["data={synth-folder: 1}"], DataError, "synth-folder needs path"),
        (["data={synth-folder: {options: {path: /nowhere}}}"], DataError, "/nowhere"),
        (
            ["data.many.sizes=[]", "data.many.set=uneven", "stages.second.sizes=[]"],
            DataError,
            "data set many has pictures of 12x8, 14x8, wanted one size in a batch: give it `sizes`",
        ),
        (["optimiser.groups={nothing: {}}"], TrainError, "'nothing'"),
        (
            ["stages.first.sizes=[[8, 9]]"],
            DataError,
            "size [8, 9]: this network needs multiples of 2: for example [8, 8]",
        ),
        (["validation.held.size=[7, 8]"], DataError, "size [7, 8]"),
        (
            ["data={ramps: {options: {size: [7, 8]}}}", "stages={}", "steps=1"],
            DataError,
            "8x7 pixels, this network needs multiples of 2: give its data set `sizes`",
        ),
    ],
)
def test_wrong_recipes_end_in_one_line_before_step_1(tmp_path, overrides, error, message):
    with pytest.raises(error) as caught:
        train(small_recipe(*overrides), tmp_path, method=Straight())
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_any_data_set_lacks_is_heard_before_step_1(tmp_path):
    """Not when its first batch comes: here, in the ninth."""

    class Picky(Straight):
        def loss(self, batch: Batch, generator: torch.Generator) -> Loss:
            if batch.depth_m.max() > 50:
                raise DataError("the batch has no normals")
            return super().loss(batch, generator)

    wrong = "data={many: {set: ramps, ratio: 30}, few: {set: ramps, options: {count: 3, unit: 40}}}"
    with pytest.raises(DataError, match="no normals"):
        train(small_recipe(wrong, "seed=3"), tmp_path, method=Picky())
    assert not [line for line in Log(tmp_path / "log.jsonl").read() if line["event"] == "train"]


def test_the_published_recipes_say_which_data_are_missing(tmp_path):
    for name in ("e2e_ft_depth", "e2e_ft_normals"):
        with pytest.raises(DataError, match="data set hypersim lies nowhere yet: give its folder"):
            train(recipe.load(RECIPES / f"{name}.yaml"), tmp_path)


def test_a_network_that_receives_no_gradient_is_noticed(tmp_path):
    with pytest.raises(TrainError, match="no trainable weight receives a gradient"):
        train(small_recipe(), tmp_path / "detached", method=Detached())
    with pytest.raises(TrainError, match="everything frozen"):
        train(small_recipe(), tmp_path / "frozen", method=Straight().requires_grad_(False))


def test_unused_weights_are_mentioned():
    method = torch.nn.ModuleDict({"layers": torch.nn.ModuleList([torch.nn.Linear(1, 1) for _ in range(2)])})
    method["layers"][0](torch.ones(1, 1)).sum().backward()
    assert preflight.check_gradient(method) == [
        "2 trainable weights are not used by the loss, first layers.1.weight"
    ]


def test_a_folder_with_a_training_is_not_overwritten(undisturbed):
    with pytest.raises(TrainError, match="holds a training at step 20"):
        train(small_recipe(), undisturbed, resume=False, method=Straight())


def test_a_checkpoint_of_another_network_is_refused(undisturbed):
    other = Straight()
    other.layers[0] = torch.nn.Conv2d(3, 8, 1)
    with pytest.raises(TrainError, match=r"layers.0.weight \[8, 3, 3, 3\].*\[8, 3, 1, 1\]"):
        train(small_recipe(), undisturbed, method=other)


def test_fewer_steps_than_done_are_refused(undisturbed):
    with pytest.raises(TrainError, match="at step 20, the recipe ends at 9"):
        train(small_recipe("stages.second.steps=1"), undisturbed, method=Straight())


def test_two_processes_cannot_train_in_one_folder(tmp_path):
    with locked(tmp_path), pytest.raises(TrainError, match="another process trains here"):
        train(small_recipe(), tmp_path, method=Straight())


def test_settings_changed_on_resume_count(tmp_path):
    train(small_recipe("stages.second.steps=2"), tmp_path, method=Straight())
    later = small_recipe("stages.second.steps=4", "optimiser.groups={bias: {weight_decay: 0.3}}")
    train(later, tmp_path, method=Straight())
    groups = final(tmp_path)["optimiser"]["param_groups"]
    assert [(group["weight_decay"], group["lr_factor"]) for group in groups] == [(0.3, 1.0), (0.01, 1.0)]
    with pytest.raises(TrainError, match="grouped otherwise"):
        train(small_recipe("optimiser.groups={}"), tmp_path, method=Straight())


def test_a_full_disk_is_one_line_and_leaves_the_checkpoint_before(tmp_path, monkeypatch):
    def full(state: object, file: object) -> None:
        raise OSError(28, "No space left on device")

    train(small_recipe(), tmp_path, method=Straight(), display=KillAt(6))
    monkeypatch.setattr(checkpoint.torch, "save", full)
    with pytest.raises(TrainError, match="cannot be saved .*No space left on device"):
        train(small_recipe(), tmp_path, method=Straight())
    assert checkpoint.steps(tmp_path / "checkpoints") == [5, 6]
    assert not [path for path in (tmp_path / "checkpoints").iterdir() if path.name.startswith(".")]


def test_a_damaged_checkpoint_is_named(tmp_path):
    train(small_recipe("stages.second.steps=2"), tmp_path, method=Straight())
    state = tmp_path / "checkpoints" / "00000010" / "state.pt"
    state.write_bytes(state.read_bytes()[:100])
    with pytest.raises(TrainError, match="00000010/state.pt: cannot be read .* delete its folder"):
        train(small_recipe(), tmp_path, method=Straight())


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_a_missing_device_is_one_line(tmp_path):
    with pytest.raises(DeviceError, match="found no CUDA device"):
        train(small_recipe("device=cuda"), tmp_path, method=Straight())


# ---- the real thing --------------------------------------------------------------------------------------


def test_the_tiny_recipe_trains_and_its_model_loads(tmp_path):
    tiny = recipe.load(
        RECIPES / "tiny.yaml",
        ["steps=4", "batch.size=2", "workers=0", "data.scenes.sizes=[[16, 24]]", "every.log=1"]
        + ["validation.scenes.count=2", "validation.scenes.size=[16, 24]", "every.checkpoint=2"],
    )
    outcome = train(tiny, tmp_path / "run", display=Silent())
    method, _ = methods.get("e2e-ft")
    x = torch.rand(1, 3, 16, 24)
    expected = method.load(outcome.model).eval()(x)["disparity"]
    exported = export(tmp_path / "run", tmp_path / "again")
    assert_same(method.load(exported).eval()(x)["disparity"], expected)
    assert method.load(exported).card.training_data == "scenes"


@pytest.mark.parametrize("total", [25000, 16000])
def test_metricgolds_learning_rates_match_reference(total, golden):
    g = golden("metricgold/lr_schedule")
    schedule = Schedule(decay="exponential", warmup=100, final=0.01)
    found = [optimise.lr_factor(i, schedule, total) for i in g.iterations.tolist()]
    assert found == pytest.approx(g[f"alpha_total{total}_ratio0p01_warm100_f64"].tolist(), abs=1e-12)


class Recorder(Straight):
    """Writes down the seeds it is trained with."""

    def __init__(self) -> None:
        super().__init__()
        self.seeds: list[int] = []

    def loss(self, batch: Batch, generator: torch.Generator) -> Loss:
        if self.training:
            self.seeds.append(generator.initial_seed())
        return super().loss(batch, generator)


def test_marigolds_order_has_its_seeds_of_timesteps_and_noise(tmp_path, golden):
    """They are drawn before the training and used from the end of their list."""
    method, stored = Recorder(), golden("e2e/loaders").seed_sequence_2024
    wanted = small_recipe("order=marigold", "seed=2024")
    train(wanted, tmp_path / "run", method=method)
    assert method.seeds[::-1][: len(stored)] == [int(seed) % 2**64 for seed in stored]

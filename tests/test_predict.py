"""Predicting: each picture as though alone, in order, in steady memory; what fails says so in its place."""

from __future__ import annotations

import logging
import random
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from bad_inputs import encoded
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import nn

from leadline import Prediction, devices, load, presets, sizes
from leadline.camera import Camera
from leadline.cards import Card
from leadline.errors import DeviceError, ImageError, LeadlineError, UsageError, WeightsError
from leadline.image import Picture
from leadline.methods.e2e_ft import E2EFT, Config
from leadline.predict import LOOK_AHEAD, Model
from leadline.prediction import Kind
from leadline.sizes import SizeRule

CPU = torch.device("cpu")


class Fake(nn.Module):
    """A method of one convolution plus its image's own noise; it keeps a diary of what it was given."""

    kind, card, preset = (
        Kind.affine_depth,
        Card(name="fake", method="fake", kind="affine_depth"),
        presets.get("leadline"),
    )
    size_rule = SizeRule(32, rounding="nearest", multiple=8, pad="replicate")
    steps, members = None, None

    def __init__(self, *names: str) -> None:
        super().__init__()
        self.names = names or ("depth",)
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        with torch.no_grad():
            self.conv.weight.copy_(torch.linspace(-0.2, 0.3, 81).view(3, 3, 3, 3))
            self.conv.bias.zero_()
        self.seen: list[tuple[int, ...]] = []
        self.cameras: list[Camera | None] = []

    def for_prediction(self, steps=None):
        return self

    def forward(self, rgb, *, generators=None, camera=None, text=None):
        self.seen.append(tuple(rgb.shape))
        self.cameras += camera
        noise = torch.cat([torch.randn(1, 3, *rgb.shape[2:], generator=g) for g in generators])
        x = torch.tanh(self.conv(rgb) + 0.1 * noise.to(rgb))
        return {name: x if name == "normals" else x.mean(1, keepdim=True) for name in self.names}


@pytest.fixture
def model() -> Model:
    return Model(Fake(), device="cpu")


def pictures(*shapes: tuple[int, int]) -> list[np.ndarray]:
    rng = np.random.default_rng(7)
    return [rng.integers(0, 256, (*shape, 3), np.uint8) for shape in shapes]


MIXED = pictures(
    (20, 30), (30, 20), (40, 60), (20, 30), (7, 33), (30, 20), (20, 30), (60, 40), (33, 33), (20, 30), (5, 5)
)


# --- sizes and layouts ---


@pytest.mark.parametrize("size", [(1, 1), (7, 333), (333, 7), (3000, 4000)])
def test_output_has_the_size_of_the_input(model, size):
    result = model(np.zeros((*size, 3), np.uint8))
    assert result.values.shape == size
    assert result.values.dtype == np.float32
    assert result.values.flags.c_contiguous


@settings(max_examples=30, deadline=None)
@given(
    height=st.integers(1, 257), width=st.integers(1, 257), processing_res=st.sampled_from([None, 0, 24, 65])
)
def test_every_size_gives_finite_depth_in_range(height, width, processing_res):
    values = Model(Fake(), device="cpu")(*pictures((height, width)), processing_res=processing_res).values
    assert values.shape == (height, width)
    assert 0 <= values.min() <= values.max() <= 1


def test_all_kinds_of_source_give_one_result(model, tmp_path):
    (rgb,) = pictures((20, 30))
    path = tmp_path / "picture.png"
    Image.fromarray(rgb).save(path)
    wanted = model(rgb).values
    tensor = torch.from_numpy(rgb).permute(2, 0, 1)
    with path.open("rb") as file:
        for source in (path, str(path), path.read_bytes(), file, Image.fromarray(rgb), tensor, Picture(rgb)):
            np.testing.assert_array_equal(model(source).values, wanted)


def test_a_list_or_generator_gives_a_stream(model):
    for many in (MIXED, tuple(MIXED), iter(MIXED), (rgb for rgb in MIXED)):
        results = model(many)
        assert iter(results) is results
        assert [result.values.shape for result in results] == [rgb.shape[:2] for rgb in MIXED]
    assert list(model([])) == []


def test_normals_are_unit_vectors_in_opencvs_frame():
    method = Fake("normals")
    method.kind = Kind.normals
    result = Model(method, device="cpu")(*pictures((45, 70)))
    assert result.frame == "opencv"
    assert result.normals.shape == (45, 70, 3)
    np.testing.assert_allclose(np.linalg.norm(result.normals, axis=-1), 1, atol=1e-5)


def test_further_outputs_hang_on_the_main_one():
    result = Model(Fake("depth", "normals", "disparity"), device="cpu")(*pictures((20, 30)))
    assert result.kind is Kind.affine_depth
    assert {name: other.kind for name, other in result.also.items()} == {
        "normals": Kind.normals,
        "disparity": Kind.affine_disparity,
    }
    assert result.also["normals"].values.shape == (20, 30, 3)


# --- as though alone ---


@pytest.mark.parametrize("batch_size", [2, 5, 64])
def test_batches_equal_singles_up_to_rounding(model, batch_size):
    alone = [model(rgb).values for rgb in MIXED]
    together = [result.values for result in model(MIXED, batch_size=batch_size)]
    for a, b in zip(alone, together, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_order_and_company_change_nothing_at_batch_size_1(model):
    alone = [model(rgb).values for rgb in MIXED]
    order = random.Random(3).sample(range(len(MIXED)), len(MIXED))
    for i, result in zip(order, model([MIXED[i] for i in order]), strict=True):
        np.testing.assert_array_equal(result.values, alone[i])


def test_the_seed_is_of_each_image(model):
    rgb = MIXED[0]
    first, second = model([rgb, rgb], seed=1)
    np.testing.assert_array_equal(first.values, second.values)
    assert np.abs(model(rgb, seed=2).values - first.values).max() > 1e-3


def test_the_callers_random_numbers_are_left_alone(model):
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    list(model(MIXED, batch_size=3))
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (np.random.get_state()[1] == states[1]).all()
    assert random.getstate() == states[2]


def test_batches_hold_one_processed_size_and_no_padding_for_company(model):
    list(model(MIXED, batch_size=3))
    assert sum(shape[0] for shape in model.method.seen) == len(MIXED)
    assert max(shape[0] for shape in model.method.seen) == 3
    assert (3, 3, 24, 32) in model.method.seen


# --- ensembles ---


class Drawing(Fake):
    """A method that denoises: its noise falls with the steps."""

    steps, members = 2, 1

    def timesteps(self, steps):
        if steps > 50:
            raise UsageError(f"{steps} steps asked for, ask for 1 to 50")
        return list(range(steps))

    def forward(self, rgb, *, generators, steps, **options):
        count = len(generators) // len(rgb)
        x = super().forward(rgb.repeat_interleave(count, 0), generators=generators, **options)
        return {name: value / steps for name, value in x.items()}


def test_the_first_member_is_what_the_image_gives_alone():
    model = Model(Drawing(), device="cpu")
    alone = model(MIXED[0], ensemble_size=1, steps=3)
    np.testing.assert_array_equal(alone.values, Model(Drawing(), device="cpu")(MIXED[0], steps=3).values)
    assert np.abs(alone.values - model(MIXED[0]).values).max() > 1e-3
    assert alone.uncertainty is None


@pytest.mark.parametrize("batch_size", [1, 3])
def test_ensembles_have_uncertainty_at_the_images_size(batch_size):
    model = Model(Drawing("depth", "normals"), device="cpu")
    alone = [model(rgb, ensemble_size=4, uncertainty=True, seed=1) for rgb in MIXED[:4]]
    together = model(MIXED[:4], ensemble_size=4, uncertainty=True, seed=1, batch_size=batch_size)
    for a, b in zip(alone, together, strict=True):
        for one, other in ((a, b), (a.also["normals"], b.also["normals"])):
            assert one.uncertainty.shape == one.values.shape[:2]
            assert 0 <= one.uncertainty.min() < one.uncertainty.max() <= 1
            np.testing.assert_allclose(one.values, other.values, atol=1e-4)
            np.testing.assert_allclose(one.uncertainty, other.uncertainty, atol=1e-4)


def test_settings_name_steps_and_members():
    result = Model(Drawing(), device="cpu")(MIXED[0], ensemble_size=3)
    assert (result.settings["steps"], result.settings["ensemble_size"]) == (2, 3)
    assert result.uncertainty is None


def test_members_that_overflow_are_done_again_together(caplog):
    class Weak(Drawing):
        def forward(self, rgb, **options):
            outputs = super().forward(rgb, **options)
            return outputs if rgb.dtype == torch.float32 else {k: x * torch.nan for k, x in outputs.items()}

    result = Model(Weak(), device="cpu", dtype="bfloat16")(MIXED[0], ensemble_size=2, uncertainty=True)
    assert result.settings["dtype"] == "float32"
    assert np.isfinite(result.uncertainty).all()


# --- streams ---


@pytest.mark.parametrize(("batch_size", "ahead"), [(1, 1), (4, 4 * LOOK_AHEAD)])
def test_a_stream_is_read_as_far_as_needed(model, batch_size, ahead):
    read = []
    source = (read.append(i) or rgb for i, rgb in enumerate(pictures(*[(9, 12)] * 100)))
    results = model(source, batch_size=batch_size)
    assert read == []
    for count in range(1, 4):
        next(results)
        assert count <= len(read) <= count - 1 + ahead


def test_a_stream_without_end_is_no_problem(model):
    def forever():
        while True:
            yield MIXED[0]

    results = model(forever(), batch_size=2)
    assert all(next(results).values.shape == (20, 30) for _ in range(20))


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's /proc")
def test_memory_after_200_pictures_is_that_after_20(model):
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1])

    rng = np.random.default_rng(0)
    photographs = (rng.integers(0, 256, (240, 320, 3), np.uint8) for _ in range(200))
    pages = [resident() for _ in model(photographs, batch_size=2)]
    assert pages[-1] <= 1.02 * pages[20]


# --- failures ---


def test_a_call_ends_at_the_first_bad_image(model):
    results = model([MIXED[0], b"", MIXED[1]])
    assert next(results).values.shape == (20, 30)
    with pytest.raises(ImageError, match="empty"):
        next(results)
    with pytest.raises(ImageError, match="no such file"):
        model("missing.jpg")


@pytest.mark.parametrize("batch_size", [1, 3])
def test_a_stream_names_the_bad_image_in_its_place_and_goes_on(model, batch_size):
    sources = [MIXED[0], b"text", MIXED[1], np.full((3, 4), np.nan), MIXED[0], None]
    results = list(model.stream(sources, batch_size=batch_size))
    assert [type(result) for result in results] == [
        Prediction,
        ImageError,
        Prediction,
        ImageError,
        Prediction,
        ImageError,
    ]
    assert "NaN" in str(results[3])
    np.testing.assert_allclose(results[4].values, model(MIXED[0]).values, atol=1e-5)


def test_an_extreme_shape_is_an_image_error(model):
    model.method.size_rule = SizeRule(32)
    with pytest.raises(ImageError, match="5000x1 would be worked on at 32x0"):
        model(np.zeros((1, 5000), np.uint8))


class Broken(Fake):
    """Gives NaN for dark pictures: always, or in half precision only."""

    def __init__(self, only_half: bool) -> None:
        super().__init__()
        self.only_half = only_half

    def forward(self, rgb, **options):
        outputs = super().forward(rgb, **options)
        if rgb.dtype == torch.float32 and self.only_half:
            return outputs
        dark = (rgb.mean(dim=(1, 2, 3), keepdim=True) < -0.9).expand(-1, 1, *rgb.shape[2:])
        return {name: torch.where(dark, torch.nan, x) for name, x in outputs.items()}


def test_output_that_is_not_finite_is_an_error_of_that_image_alone():
    model = Model(Broken(only_half=False), device="cpu")
    bright, dark, again = model.stream([MIXED[0], np.zeros((20, 30), np.uint8), MIXED[0]], batch_size=3)
    assert isinstance(dark, WeightsError)
    assert "array: the output of model fake is not finite: its file may be damaged" in str(dark)
    np.testing.assert_array_equal(bright.values, again.values)


def test_half_precision_that_overflows_is_done_again_in_float32(caplog):
    half, whole = Model(Broken(only_half=True), device="cpu", dtype="bfloat16"), Model(Fake(), device="cpu")
    dark = np.zeros((20, 30), np.uint8)
    with caplog.at_level(logging.WARNING):
        bright, repeated = half([MIXED[0], dark], batch_size=2)
    assert "not finite in bfloat16, done again in float32" in caplog.text
    assert (bright.settings["dtype"], repeated.settings["dtype"]) == ("bfloat16", "float32")
    np.testing.assert_allclose(repeated.values, whole(dark).values, atol=0.01)  # weights stay rounded
    assert next(half.network.parameters()).dtype == torch.bfloat16
    assert np.abs(bright.values - whole(MIXED[0]).values).max() < 0.05


class Hungry(Fake):
    """Runs out of memory above so many pixels."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most

    def forward(self, rgb, **options):
        if rgb.numel() > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super().forward(rgb, **options)


def test_batches_that_do_not_fit_are_done_one_by_one(caplog):
    model = Model(Hungry(most=3 * 24 * 32), device="cpu")
    results = list(model.stream(pictures((20, 30), (20, 30), (30, 30), (20, 30)), batch_size=4))
    assert [isinstance(result, Prediction) for result in results] == [True, True, False, True]
    assert isinstance(results[2], DeviceError)
    assert str(results[2]) == (
        "array: not enough memory on cpu for 32x32 pixels: "
        "choose a smaller processing resolution or smaller tiles"
    )
    assert "going on with 1 at a time" in caplog.text


def test_a_mistake_in_a_method_is_not_hidden():
    class Wrong(Fake):
        def forward(self, rgb, **options):
            raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes do not match"):
        Model(Wrong(), device="cpu")(MIXED[0])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"seed": -1}, "seed is -1, 0 or more"),
        ({"batch_size": 0}, "batch size is 0, 1 or more"),
        ({"processing_res": -8}, "processing resolution is -8"),
        ({"steps": 4}, "fake works in one step, 4 are asked for"),
        ({"ensemble_size": 2}, "fake makes no ensembles"),
        ({"uncertainty": True}, "ensemble size of 2 or more"),
        ({"ensemble_size": 0}, "ensemble size 0: both must be 1 or more"),
    ],
)
def test_impossible_options_are_refused_before_anything_is_read(model, options, words):
    with pytest.raises(UsageError, match=words):
        model.stream(iter(lambda: pytest.fail("read"), None), **options)


def test_options_that_the_methods_schedule_or_this_machine_lacks_are_refused_as_early(monkeypatch):
    model = Model(Drawing(), device="cpu")
    with pytest.raises(UsageError, match="51 steps asked for"):
        model.stream(iter(lambda: pytest.fail("read"), None), steps=51)
    model.method.preset = presets.get("diffusers")
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    model.stream([], ensemble_size=1)
    with pytest.raises(UsageError, match="'pairs' needs scipy, which is not installed"):
        model.stream(iter(lambda: pytest.fail("read"), None), ensemble_size=2)
    model.method.kind = Kind.normals  # which nothing aligns
    model.stream([], ensemble_size=2)


def test_what_does_not_fit_at_the_pictures_own_size_is_its_error_alone(model, monkeypatch):
    restore = sizes.restore

    def hungry(x, prepared):
        if (prepared.height, prepared.width) == (60, 40):
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return restore(x, prepared)

    monkeypatch.setattr(sizes, "restore", hungry)
    results = list(model.stream(MIXED, batch_size=4))
    (failed,) = [i for i, result in enumerate(results) if not isinstance(result, Prediction)]
    assert MIXED[failed].shape == (60, 40, 3)
    assert str(results[failed]) == (
        "array: the result at its own size does not fit into memory: make the picture smaller"
    )


# --- what the result says ---


def test_settings_are_those_in_force(model):
    result = model(MIXED[0], seed=5, processing_res=48)
    assert result.model == "fake"
    assert result.settings == {
        "processing_res": 48,
        "processed_size": (32, 48),
        "seed": 5,
        "preset": "leadline",
        "device": "cpu",
        "dtype": "float32",
        "image": (),
    }
    assert result.record()["settings"]["processed_size"] == [32, 48]


def test_cameras_come_from_exif_or_the_caller(model):
    exif = Image.Exif()
    exif[0x0112] = 6
    exif.get_ifd(0x8769)[0xA405] = 28
    photo = encoded("JPEG", Image.fromarray(MIXED[2]), exif=exif)  # stored 60x40, upright 40x60
    result = model(photo)
    assert result.camera_source == "exif"
    assert (result.camera.width, result.camera.height) == (40, 60)
    assert result.settings["image"] == ("EXIF orientation 6 applied",)
    given = Camera.from_fov(40, 60, horizontal=50)
    result = model(photo, camera=given)
    assert (result.camera, result.camera_source) == (given, "given")
    assert model(MIXED[0]).camera is None


def test_the_network_gets_the_camera_of_its_own_pixels(model):
    model(MIXED[0], camera=Camera.from_fov(30, 20, horizontal=90))
    (camera,) = model.method.cameras
    assert (camera.width, camera.height) == (32, 24)  # 20x30 at 32 is 21x32, padded to multiples of 8
    assert camera.fx == pytest.approx(16)
    assert camera.cy == pytest.approx(10.5)


# --- devices ---


@pytest.mark.parametrize("wanted", ["cuda:99", "mps", "abacus"])
def test_a_missing_device_is_an_error_that_lists_the_others(wanted):
    if wanted in devices.available():
        pytest.skip(f"needs a machine without {wanted}")
    with pytest.raises(DeviceError, match=f"device '{wanted}' is not on this machine .*: use auto, cpu"):
        Model(Fake(), device=wanted)


def test_auto_says_what_it_took_and_why():
    line = Model(Fake()).describe()
    assert line.startswith("fake: affine_depth by fake, 0.0 M parameters, on ")
    assert "(auto: " in line
    assert line.endswith("), float32")


@pytest.mark.parametrize("wanted", ["cpu", CPU])
def test_an_asked_for_device_is_taken(wanted):
    assert Model(Fake(), device=wanted, dtype="bfloat16").describe().endswith("on cpu (as asked), bfloat16")


def test_unknown_precision_names_the_nearest():
    with pytest.raises(UsageError, match="'flaot32' is unknown: did you mean 'float32'"):
        devices.choose_dtype("flaot32", CPU)
    assert devices.choose_dtype(torch.float16, CPU) is torch.float16


# --- from a folder ---


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A tiny random model as it lies on disk."""
    blocks = {"down_block_types": ["DownBlock2D"] * 2, "up_block_types": ["UpBlock2D"] * 2}
    unet = {"_class_name": "UNet2DModel", "in_channels": 48, "out_channels": 48, "norm_num_groups": 8}
    unet |= {"block_out_channels": [16, 32], "layers_per_block": 1} | blocks
    config = Config(
        target="disparity",
        noise="none",
        clamp=False,
        size={"processing_res": 64},
        unet=unet,
        autoencoder={"_class_name": "SpaceToDepth", "factor": 4},
    )
    folder = tmp_path_factory.mktemp("models") / "tiny"
    E2EFT.random(config).save(folder)
    return folder


def test_a_folder_is_loaded_and_predicts_the_same_again(folder):
    first, second = load(folder, device="cpu"), load(str(folder), device="cpu")
    assert first.kind is Kind.affine_disparity
    a, b = first(MIXED[2]), second(MIXED[2])
    np.testing.assert_array_equal(a.values, b.values)
    assert 0 <= a.values.min() < 0.5 < a.values.max() <= 1
    assert a.settings["processed_size"] == (42, 64)


@pytest.mark.parametrize("batch_size", [2, 5])
def test_a_real_network_gives_in_batches_what_it_gives_alone(folder, batch_size):
    model = load(folder, device="cpu")
    alone = [model(rgb).values for rgb in MIXED]
    for a, b in zip(alone, model(MIXED, batch_size=batch_size), strict=True):
        np.testing.assert_allclose(a, b.values, atol=1e-5)


@pytest.mark.parametrize("size", [(1, 1), (7, 333), (333, 7)])
def test_a_real_network_takes_every_shape(folder, size):
    assert load(folder, device="cpu")(*pictures(size)).values.shape == size


def test_compat_chooses_the_arithmetic_of_a_released_program(folder):
    model = load(folder, device="cpu", compat="e2e-ft")
    assert model(MIXED[2]).settings["preset"] == "e2e-ft"
    with pytest.raises(UsageError, match="did you mean 'e2e-ft'"):
        load(folder, device="cpu", compat="e2eft")


def test_an_unknown_model_is_one_line(tmp_path):
    with pytest.raises(LeadlineError, match="unknown"):
        load("no-such-model")
    with pytest.raises(LeadlineError, match="no such folder"):
        load(tmp_path / "nowhere")

"""What is measured of one cell."""

import pytest
import torch

from leadline.bench import measure
from leadline.bench.plan import Cell
from leadline.errors import WeightsError
from leadline.methods.e2e_ft import E2EFT, Config


@pytest.fixture
def model(tmp_path):
    unet = {"_class_name": "UNet2DModel", "in_channels": 12, "out_channels": 12, "norm_num_groups": 4}
    unet |= {"down_block_types": ["DownBlock2D"], "up_block_types": ["UpBlock2D"], "block_out_channels": [8]}
    latent = {"_class_name": "SpaceToDepth", "factor": 2}
    config = Config(noise="none", unet=unet, autoencoder=latent, size={"processing_res": 32})
    E2EFT.random(config).save(tmp_path / "tiny")
    return str(tmp_path / "tiny")


def test_one_pictures_parts_are_its_whole(model):
    found = measure.measure(Cell(model, 40, 64, "cpu", repeats=1, warm_up=1))
    own = {part: seconds["median"] for part, seconds in found["seconds"].items()}
    assert set(own) == set(measure.PARTS)
    assert all(value > 0 for value in own.values())
    assert own["pre"] + own["network"] + own["post"] == pytest.approx(own["predict"])
    assert own["read"] + own["predict"] + own["write"] == pytest.approx(own["total"])


def test_it_says_what_was_measured_and_on_what(model):
    found = measure.measure(Cell(model, 40, 64, "cpu", repeats=3, warm_up=0))
    assert all(own["median"] <= own["p95"] for own in found["seconds"].values())
    assert found["load_s"] > 0
    assert (found["device"], found["dtype"]) == ("cpu", "float32")
    assert found["machine"]["processor"]
    assert found["machine"]["versions"]["torch"]


@pytest.mark.parametrize(("own", "size"), [(False, (40, 64)), (True, (24, 32))])
def test_networks_work_at_the_pictures_size_unless_asked(model, monkeypatch, own, size):
    seen = []
    network = measure.Watch.__call__

    def watched(self, rgb, **options):
        seen.append(tuple(rgb.shape[2:]))
        return network(self, rgb, **options)

    monkeypatch.setattr(measure.Watch, "__call__", watched)
    measure.measure(Cell(model, 40, 64, "cpu", repeats=1, warm_up=0, own_resolution=own))
    assert seen == [size]


def test_the_peak_is_what_was_held_and_given_back():
    peak = measure.Peak(torch.device("cpu"))
    torch.ones(32 * 2**20).sum()  # 128 MiB
    found = peak.mib()
    if found["peak"] is None:
        pytest.skip("memory is measured on Linux only")
    assert 120 < found["beyond_weights"] < 200
    assert found["peak"] > found["beyond_weights"]


def test_what_cannot_be_loaded_is_our_error(tmp_path):
    with pytest.raises(WeightsError):
        measure.measure(Cell(str(tmp_path), 40, 64, "cpu"))

"""Noise levels, timesteps, and the clean latent behind an output."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from leadline.errors import UsageError
from leadline.schedule import Schedule, timesteps

COUNTS = (1, 2, 3, 4, 10, 50, 100, 999, 1000)


@pytest.mark.parametrize("zero_snr", [False, True])
def test_noise_levels_match_reference(zero_snr, golden):
    expected = golden("e2e/ddim")[f"alphas_cumprod_zsnr{int(zero_snr)}"]
    assert_close(Schedule(zero_snr=zero_snr).alphas_cumprod, expected, rtol=1e-6, atol=1e-6)


def test_zero_snr_leaves_no_signal_at_the_end():
    assert Schedule(zero_snr=True).alphas_cumprod[-1] == 0


@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
@pytest.mark.parametrize("count", COUNTS)
def test_timesteps_match_reference(count, spacing, golden):
    expected = golden("e2e/ddim")[f"ts_{spacing}_{count}"].tolist()
    if expected[0] == 1000:  # diffusers' leading rule runs out of the schedule
        with pytest.raises(UsageError, match="999 is the last"):
            timesteps(count, spacing)
    else:
        assert timesteps(count, spacing) == expected


def test_trailing_counts_that_diffusers_gets_wrong_are_right_here(golden):
    for count, returned, last in golden("e2e/ddim").trailing_bad_counts.tolist():
        assert (returned, last) == (count + 1, -1)
        steps = timesteps(count)
        assert len(steps) == count
        assert steps[0] == 999
        assert steps[-1] >= 0


def test_every_trailing_count_falls_strictly_within_the_schedule():
    for count in range(1, 1001):
        steps = timesteps(count)
        assert len(set(steps)) == count
        assert steps == sorted(steps, reverse=True)
        assert steps[-1] >= 0


@pytest.mark.parametrize("count", [0, -1, 1001])
def test_impossible_counts_are_refused(count):
    with pytest.raises(UsageError, match="ask for 1 to 1000"):
        timesteps(count)


def test_unknown_spacing_is_refused():
    with pytest.raises(UsageError, match="trailing"):
        timesteps(1, "tailing")


def test_clean_latent_matches_reference(golden):
    g, schedule = golden("e2e/ddim"), Schedule()
    assert schedule.alphas_cumprod[999] == g.e2e_alpha999
    zeros = torch.zeros_like(g.e2e_v)
    assert_close(schedule.clean_from_v(zeros, g.e2e_v, 999), g.e2e_x0_zeros, rtol=0, atol=1e-6)
    assert_close(schedule.clean(g.traj_init, g.e2e_v, 999), g.e2e_x0_gauss, rtol=0, atol=1e-6)


@pytest.mark.parametrize("predicts", ["v_prediction", "epsilon", "sample"])
def test_clean_latent_inverts_the_noising(predicts):
    schedule = Schedule(prediction_type=predicts)
    x_0, noise = torch.randn(2, 3, 4, 5, 6, dtype=torch.float64).unbind()
    t = torch.tensor([3, 500, 999])
    a = schedule.alphas_cumprod[t].double().view(3, 1, 1, 1)
    x_t, v = a.sqrt() * x_0 + (1 - a).sqrt() * noise, a.sqrt() * noise - (1 - a).sqrt() * x_0
    out = {"v_prediction": v, "epsilon": noise, "sample": x_0}[predicts]
    assert_close(schedule.clean(x_t, out, t), x_0, rtol=0, atol=1e-6)
    assert_close(schedule.clean(x_t[:1], out[:1], 3), x_0[:1], rtol=0, atol=1e-6)


def test_epsilon_without_signal_is_refused():
    x = torch.zeros(1, 4, 2, 2)
    with pytest.raises(UsageError, match="no signal"):
        Schedule(zero_snr=True, prediction_type="epsilon").clean(x, x, 999)


def test_config_survives_the_round_trip_and_diffusers_agrees():
    diffusers = pytest.importorskip("diffusers")
    for schedule in (
        Schedule(),
        Schedule(zero_snr=True),
        Schedule(beta_schedule="linear", prediction_type="sample"),
    ):
        assert Schedule.from_config(schedule.to_config()) == schedule
        theirs = diffusers.DDIMScheduler.from_config(schedule.to_config())
        assert_close(schedule.alphas_cumprod, theirs.alphas_cumprod, rtol=1e-6, atol=1e-6)
        theirs.set_timesteps(1)
        assert theirs.timesteps.tolist() == [999]


def test_missing_keys_take_the_defaults_of_ddim():
    schedule = Schedule.from_config({"clip_sample": False})
    assert schedule == Schedule(1000, 0.0001, 0.02, "linear", False, "epsilon")


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({}, "clip_sample"),  # DDIM's default is to clip
        ({"clip_sample": True}, "clip_sample"),
        ({"clip_sample": False, "thresholding": True}, "thresholding"),
        ({"clip_sample": False, "beta_schedule": "squaredcos_cap_v2"}, "squaredcos"),
        ({"clip_sample": False, "prediction_type": "flow"}, "flow"),
    ],
)
def test_schedulers_that_would_change_the_result_are_refused(change, found):
    with pytest.raises(UsageError, match=found):
        Schedule.from_config(change)

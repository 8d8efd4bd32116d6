"""Noise levels, timesteps, the clean latent behind an output, and the steps of the samplers."""

from __future__ import annotations

import math

import pytest
import torch
from torch.testing import assert_close

from leadline.errors import UsageError
from leadline.schedule import Schedule, lcm_timesteps, scaled_linear_betas, timesteps, zero_snr_betas

COUNTS = (*range(1, 11), 12, 15, 20, 25, 30, 40, 50, 100, 999, 1000)
PREDICTIONS = ("v_prediction", "epsilon", "sample")


@pytest.mark.parametrize("zero_snr", [False, True])
def test_noise_levels_match_reference(zero_snr, golden):
    g, case, schedule = golden("e2e/ddim"), f"zsnr{int(zero_snr)}", Schedule(zero_snr=zero_snr)
    assert_close(schedule.alphas_cumprod, g[f"alphas_cumprod_{case}"], rtol=1e-6, atol=1e-6)
    assert schedule.alphas_cumprod[0] == g[f"final_alpha_cumprod_{case}"]  # where DDIM's last step ends
    betas = scaled_linear_betas()
    assert_close(betas, g.betas_zsnr0, rtol=1e-6, atol=0)
    # quotients of small numbers: where another processor stored them, diffusers' own are 3e-6 away
    assert_close(zero_snr_betas(betas), g.betas_zsnr1, rtol=0, atol=4e-6)


def test_zero_snr_leaves_no_signal_at_the_end():
    assert Schedule(zero_snr=True).alphas_cumprod[-1] == 0


def test_zero_snr_is_diffusers_to_the_bit():
    ddim = pytest.importorskip("diffusers.schedulers.scheduling_ddim")
    betas = scaled_linear_betas()
    assert torch.equal(zero_snr_betas(betas), ddim.rescale_zero_terminal_snr(betas.clone()))


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


@pytest.mark.parametrize("predicts", PREDICTIONS)
def test_clean_latent_inverts_the_noising(predicts):
    schedule = Schedule(prediction_type=predicts)
    x_0, noise = torch.randn(2, 3, 4, 5, 6, dtype=torch.float64).unbind()
    t = torch.tensor([3, 500, 999])
    a = schedule.alphas_cumprod[t].double().view(3, 1, 1, 1)
    x_t, v = a.sqrt() * x_0 + (1 - a).sqrt() * noise, a.sqrt() * noise - (1 - a).sqrt() * x_0
    out = {"v_prediction": v, "epsilon": noise, "sample": x_0}[predicts]
    assert_close(schedule.clean(x_t, out, t), x_0, rtol=0, atol=1e-6)
    assert_close(schedule.clean(x_t[:1], out[:1], 3), x_0[:1], rtol=0, atol=1e-6)


def stub(x, t, g):
    """The network of the stored trajectories."""
    return torch.tanh(0.7 * x - 0.4 * g.traj_cond + 0.3 * math.cos(t / 100))


@pytest.mark.parametrize("alpha_to_one", [False, True])
@pytest.mark.parametrize("zero_snr", [False, True])
@pytest.mark.parametrize("spacing", ["leading", "trailing"])
@pytest.mark.parametrize("predicts", PREDICTIONS)
@pytest.mark.parametrize("count", [1, 2, 3, 4, 10])
def test_ddim_matches_reference(count, predicts, spacing, zero_snr, alpha_to_one, golden):
    g = golden("e2e/ddim")
    schedule = Schedule(zero_snr=zero_snr, prediction_type=predicts, alpha_to_one=alpha_to_one)
    case = f"traj_{predicts}_{spacing}_{count}_zsnr{int(zero_snr)}_a1{int(alpha_to_one)}"
    if predicts == "epsilon" and spacing == "trailing" and zero_snr:
        assert f"{case}_prev" not in g
        with pytest.raises(UsageError, match="no signal"):
            schedule.step(g.traj_init, stub(g.traj_init, 999, g), 999, 0)
        return
    steps = list(schedule.ddim(g.traj_init, timesteps(count, spacing), lambda x, t: stub(x, t, g)))
    assert len(steps) == count
    x, clean = steps[-1]
    for found, expected in ((clean, g[f"{case}_x0"]), (x, g[f"{case}_prev"])):
        assert_close(found, expected, rtol=0, atol=1e-6 * expected.abs().max().item())


@pytest.mark.parametrize("count", [1, 2, 3, 4, 8, 50])
def test_lcm_timesteps_match_reference(count, golden):
    assert lcm_timesteps(count) == golden("e2e/ddim")[f"lcm_ts_{count}"].tolist()


def test_all_lcm_timesteps_are_diffusers():
    diffusers = pytest.importorskip("diffusers")
    theirs = diffusers.LCMScheduler.from_config(Schedule().to_config())
    for count in range(1, 51):
        theirs.set_timesteps(count)
        assert lcm_timesteps(count) == theirs.timesteps.tolist()
    with pytest.raises(UsageError, match="ask for 1 to 50"):
        lcm_timesteps(51)


@pytest.mark.parametrize("count", [1, 2, 4])
def test_lcm_matches_reference(count, golden):
    g, schedule = golden("e2e/ddim"), Schedule()
    generator = torch.Generator().manual_seed(7)
    x, chosen = g.traj_init, lcm_timesteps(count)
    for t, t_next in zip(chosen, [*chosen[1:], None], strict=True):
        x = schedule.consistent(x, stub(x, t, g), t)
        if t_next is not None:
            x = schedule.noisy(x, torch.randn(x.shape, generator=generator), t_next)
    for expected in (g[f"lcm_denoised_{count}"], g[f"lcm_out_{count}"]):
        assert_close(x, expected, rtol=0, atol=1e-6 * expected.abs().max().item())


@pytest.mark.parametrize("zero_snr", ["", "_zsnr"])
def test_noising_and_velocity_match_reference(zero_snr, golden):
    g, schedule = golden("e2e/ddim"), Schedule(zero_snr=bool(zero_snr))
    x_t = schedule.noisy(g.train_z0, g.train_eps, g.train_t)
    assert_close(x_t, g[f"train_noisy{zero_snr}"], rtol=1e-6, atol=1e-6)
    v = schedule.target(g.train_z0, g.train_eps, g.train_t)
    assert_close(v, g[f"train_v{zero_snr}"], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("predicts", PREDICTIONS)
def test_the_wanted_output_leads_back_to_the_clean_latent(predicts):
    schedule = Schedule(prediction_type=predicts)
    x_0, noise = torch.randn(2, 3, 4, 5, 6).unbind()
    x_t, wanted = schedule.noisy(x_0, noise, 400), schedule.target(x_0, noise, 400)
    assert_close(schedule.clean(x_t, wanted, 400), x_0, rtol=0, atol=1e-5)
    assert_close(schedule.step(x_t, wanted, 400, 100), schedule.noisy(x_0, noise, 100), rtol=0, atol=1e-5)


def test_epsilon_without_signal_is_refused():
    x = torch.zeros(1, 4, 2, 2)
    with pytest.raises(UsageError, match="no signal"):
        Schedule(zero_snr=True, prediction_type="epsilon").clean(x, x, 999)


def test_config_survives_the_round_trip_and_diffusers_agrees():
    diffusers = pytest.importorskip("diffusers")
    for schedule in (
        Schedule(),
        Schedule(zero_snr=True),
        Schedule(beta_schedule="linear", prediction_type="sample", alpha_to_one=True),
    ):
        assert Schedule.from_config(schedule.to_config()) == schedule
        theirs = diffusers.DDIMScheduler.from_config(schedule.to_config())
        assert theirs.final_alpha_cumprod == (1 if schedule.alpha_to_one else theirs.alphas_cumprod[0])
        assert_close(schedule.alphas_cumprod, theirs.alphas_cumprod, rtol=1e-6, atol=1e-6)
        theirs.set_timesteps(1)
        assert theirs.timesteps.tolist() == [999]


def test_missing_keys_take_the_defaults_of_ddim():
    schedule = Schedule.from_config({"clip_sample": False})
    assert schedule == Schedule(1000, 0.0001, 0.02, "linear", False, "epsilon", True)


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


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"prediction_type": "epsilon", "rescale_betas_zero_snr": True}, "v_prediction or sample is needed"),
        ({"num_train_timesteps": 0}, "no trained one has"),
        ({"num_train_timesteps": 1.5}, "no trained one has"),
    ],
)
def test_schedules_that_cannot_work_are_refused(change, words):
    with pytest.raises(UsageError, match=words):
        Schedule.from_config(Schedule().to_config() | change)


@pytest.mark.parametrize("spacing", ["leading", "trailing"])
def test_fifty_steps_of_metricgold_match_reference(spacing, golden):
    g, schedule = golden("metricgold/ddim50"), Schedule()
    for count in (50, 10, 4, 1):
        assert timesteps(count, spacing) == g[f"timesteps_{spacing}_{count}"].tolist()
    z, seen = g.init_noise, []
    for t in timesteps(50, spacing):
        v = 0.7 * torch.tanh(z) - 0.5 * g.rgb_latent + 0.001 * t
        z = schedule.step(z, v, t, t - 20)
        seen.append(z)
    assert_close(torch.stack(seen[:3]), g[f"traj_first3_{spacing}"], rtol=0, atol=1e-4)
    assert_close(z, g[f"final_{spacing}"], rtol=0, atol=1e-4)


def test_metricgolds_levels_without_signal_match_reference(golden):
    g = golden("metricgold/tiny_metric_pipeline")
    found = Schedule(zero_snr=True).alphas_cumprod
    assert_close(found, g.alphas_cumprod_zero_snr, rtol=0, atol=1e-6)
    assert_close(found.double(), g.alphas_cumprod_zero_snr_f64, rtol=0, atol=1e-6)

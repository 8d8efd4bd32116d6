"""Objectives: the authors' values and gradients, what they ignore, and finite gradients everywhere."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from leadline import align, losses


def midas(pred, target, valid):
    return losses.midas(pred, target, valid).total


MAPS = [losses.scale_shift_l1, midas]


def with_gradient(function, pred, *rest, **options):
    pred = pred.clone().requires_grad_()
    value = function(pred, *rest, **options)
    value.backward()
    return value.detach(), pred.grad


def close_gradients(found, expected):
    assert_close(found, expected, rtol=0, atol=1e-5 * expected.abs().max().item() + 1e-12)


def random_maps(count=2, height=16, width=20):
    pred, target = torch.randn(2, count, 1, height, width)
    return pred, target, torch.rand(count, 1, height, width) > 0.3


@pytest.mark.parametrize("compat", [False, True])
@pytest.mark.parametrize(("case", "mask"), [("ssi", "ssi_mask"), ("ssi_one_empty", "ssi_onemask")])
def test_scale_shift_l1_matches_reference(case, mask, compat, golden):
    g = golden("e2e/losses")
    loss, grad = with_gradient(losses.scale_shift_l1, g.ssi_pred, g.ssi_gt, g[mask], compat=compat)
    assert_close(loss, g[f"{case}_loss"].squeeze(), rtol=0, atol=1e-5)
    close_gradients(grad, g[f"{case}_grad"])


def test_scale_shift_l1_of_a_constant_matches_reference_under_compat(golden):
    g = golden("e2e/losses")
    loss, grad = with_gradient(losses.scale_shift_l1, g.ssi_const_pred, g.ssi_gt, g.ssi_mask, compat=True)
    assert_close(loss, g.ssi_const_loss.squeeze(), rtol=0, atol=1e-5)
    assert_close(grad, g.ssi_const_grad)


@pytest.mark.parametrize("constant", [0.0, 0.1, 0.25, -3.3, 1e4])
def test_scale_shift_l1_of_a_constant_is_the_best_constant_fit(constant, golden):
    g = golden("e2e/losses")
    pred = torch.full_like(g.ssi_gt, constant)
    loss, grad = with_gradient(losses.scale_shift_l1, pred, g.ssi_gt, g.ssi_mask)
    errors = [(t[m] - t[m].mean()).abs() for t, m in zip(g.ssi_gt, g.ssi_mask, strict=True)]
    assert_close(loss, torch.cat(errors).mean(), rtol=1e-5, atol=1e-5)
    assert grad.isfinite().all()


def test_scale_shift_l1_sends_its_gradient_through_the_fit():
    pred, target, valid = random_maps()
    _, grad = with_gradient(losses.scale_shift_l1, pred, target, valid)
    scale, shift = align.fit(pred, target, valid)  # held fixed
    _, short = with_gradient(lambda p: ((scale * p + shift - target).abs() * valid).sum() / valid.sum(), pred)
    assert (grad - short).abs().max() > 0.1 * short.abs().max()
    per_image = (grad * valid).sum(dim=(1, 2, 3))  # a shift of the prediction changes nothing
    assert_close(per_image, torch.zeros(2), rtol=0, atol=1e-6)


@pytest.mark.parametrize("compat", [False, True])
def test_angular_matches_reference(compat, golden):
    g = golden("e2e/losses")

    def pipeline(raw):
        n = raw / (raw.norm(dim=1, keepdim=True) + 1e-5)
        return losses.angular(n.clamp(-1, 1), g.ang_gt, g.ang_mask, compat=compat)

    loss, grad = with_gradient(pipeline, g.ang_raw)
    # vectors shorter than 1 by 1e-5 have a smaller dot product: only the authors' arccos sees that
    assert_close(loss, g.ang_loss.squeeze(), rtol=0, atol=1e-5 if compat else 1e-4)
    tolerance = (1e-5 if compat else 5e-3) * g.ang_grad_raw.abs().max().item()
    assert_close(grad, g.ang_grad_raw, rtol=0, atol=tolerance)


@pytest.mark.parametrize("sign", [1, -1])
def test_angular_gradient_is_finite_at_equal_and_opposite_vectors(sign, golden):
    g = golden("e2e/losses")
    assert not g.ang_exact_grad.isfinite().all()  # the authors' is not
    loss, grad = with_gradient(losses.angular, sign * g.ang_gt, g.ang_gt, g.ang_mask)
    assert grad.isfinite().all()
    assert_close(loss, torch.tensor(0.0 if sign > 0 else torch.pi), rtol=0, atol=1e-3)


def test_median_and_deviation_by_hand():
    x = torch.tensor([5.0, 1.0, 2.0, 9.0, 100.0, 7.0]).view(1, 1, 2, 3)
    valid = x < 50
    # median 5; deviations 0 4 3 4 2, mean 2.6
    expected = torch.tensor([0.0, -4.0, -3.0, 4.0, 0.0, 2.0]).view(1, 1, 2, 3) / 2.6
    assert_close(losses.by_median_and_deviation(x, valid), expected)


def test_gradient_matching_by_hand():
    residual = torch.zeros(1, 1, 4, 4)
    residual[..., 2:] = 1.0  # a step between columns 1 and 2
    valid = torch.ones_like(residual, dtype=torch.bool)
    # scale 1: 4 steps over 16 pixels; scale 2: columns 0 and 2, 2 steps over 4 pixels; then a single pixel
    assert_close(losses._edges(residual, valid, 4), torch.tensor(4 / 16 + 2 / 4))
    valid[..., 0, :] = False
    assert_close(losses._edges(residual, valid, 1), torch.tensor(3 / 12))


@pytest.mark.parametrize("function", MAPS)
def test_scale_and_shift_of_the_prediction_change_nothing(function):
    pred, target, valid = random_maps()
    moved = pred * torch.tensor([3.0, 0.2]).view(2, 1, 1, 1) + torch.tensor([-7.0, 40.0]).view(2, 1, 1, 1)
    assert_close(function(moved, target, valid), function(pred, target, valid), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("function", MAPS)
def test_a_right_prediction_costs_nothing_and_noise_costs_more(function):
    _, target, valid = random_maps()
    right = 0.5 * target + 2
    noisy = right + 0.1 * torch.randn_like(right)
    assert function(right, target, valid) < 1e-5
    assert function(noisy, target, valid) > 1e-2


@pytest.mark.parametrize("function", [*MAPS, losses.angular])
@pytest.mark.parametrize("poison", [torch.nan, torch.inf, 1e30])
def test_pixels_outside_the_mask_are_never_looked_at(function, poison):
    pred, target, valid = random_maps()
    if function is losses.angular:
        pred, target = (torch.nn.functional.normalize(torch.randn(2, 3, 16, 20), dim=1) for _ in range(2))
    expected = with_gradient(function, pred, target, valid)
    found = with_gradient(function, pred.where(valid, poison), target.where(valid, poison), valid)
    assert_close(found[0], expected[0])
    assert_close(found[1], expected[1])
    assert (found[1].where(~valid, 0) == 0).all()


@pytest.mark.parametrize("function", [*MAPS, losses.angular])
@pytest.mark.parametrize("compat", [False, True])
def test_an_empty_mask_costs_nothing_and_has_zero_gradient(function, compat):
    options = {"compat": compat} if function in (losses.scale_shift_l1, losses.angular) else {}
    pred, target = torch.randn(2, 2, 3 if function is losses.angular else 1, 8, 8)
    loss, grad = with_gradient(function, pred, target, torch.zeros(2, 1, 8, 8, dtype=torch.bool), **options)
    assert loss == 0
    assert (grad == 0).all()


@pytest.mark.parametrize("function", MAPS)
def test_an_empty_image_leaves_the_others_alone(function):
    pred, target, valid = random_maps()
    valid[1] = False
    loss, grad = with_gradient(function, pred, target, valid)
    assert_close(loss, function(pred[:1], target[:1], valid[:1]))
    assert (grad[1] == 0).all()
    assert (grad[0] != 0).any()


@pytest.mark.parametrize("function", MAPS)
@pytest.mark.parametrize("pixels", [1, 2])
def test_constants_and_single_pixels_have_finite_gradients(function, pixels):
    _, target, _ = random_maps()
    some = torch.zeros_like(target, dtype=torch.bool)
    some.view(2, -1)[:, :pixels] = True
    for valid in (some, torch.ones_like(some)):
        for pred, truth in ((torch.ones_like(target), target), (target, torch.ones_like(target))):
            loss, grad = with_gradient(function, pred, truth, valid)
            assert loss.isfinite()
            assert grad.isfinite().all()


def test_midas_is_the_sum_of_its_parts():
    pred, target, valid = random_maps()
    valid[1] = False
    loss = losses.midas(pred, target, valid, gradient_weight=0.7)
    residual = losses.by_median_and_deviation(pred, valid) - losses.by_median_and_deviation(target, valid)
    assert_close(loss.parts["l1"], residual[0][valid[0]].abs().mean())  # the other image does not count
    assert_close(loss.parts["edges"], losses._edges(residual[:1], valid[:1]))
    assert_close(loss.total, loss.parts["l1"] + 0.7 * loss.parts["edges"])
    assert loss.weight == 1


def test_midas_with_log_weight_adds_the_relative_error_after_a_fit():
    pred, target = torch.rand(2, 1, 8, 8), torch.rand(2, 1, 8, 8) + 0.1
    valid = torch.rand(2, 1, 8, 8) > 0.2
    plain, loss = losses.midas(pred, target, valid), losses.midas(pred, target, valid, log_weight=0.7)
    assert_close(loss.total, plain.total + 0.7 * losses.aligned_log_l1(pred, target, valid))


def test_aligned_log_l1_is_the_log_of_the_depth_ratio_after_the_fit():
    target, valid = torch.rand(1, 1, 6, 7) + 0.2, torch.ones(1, 1, 6, 7, dtype=torch.bool)
    pred = 0.5 * target + 0.01 * torch.randn(1, 1, 6, 7) - 4
    scale, shift = np.polyfit(pred.flatten().numpy().astype(float), target.flatten().numpy().astype(float), 1)
    ratio = (scale * pred + shift) / target
    assert_close(losses.aligned_log_l1(pred, target, valid), ratio.log().abs().mean(), atol=1e-5, rtol=0)


def test_aligned_log_l1_ignores_the_sky_and_has_a_finite_gradient_without_a_valid_pixel():
    target = torch.rand(2, 1, 6, 7) + 0.2
    target[1] = 0  # an image of nothing but sky
    pred, valid = torch.rand(2, 1, 6, 7, requires_grad=True), torch.ones(2, 1, 6, 7, dtype=torch.bool)
    loss = losses.aligned_log_l1(pred, target, valid)
    loss.backward()
    assert_close(loss, losses.aligned_log_l1(pred[:1], target[:1], valid[:1]))
    assert torch.isfinite(pred.grad).all()
    assert (pred.grad[1] == 0).all()


def test_the_error_of_denoising_is_the_mean_square_over_the_cells_that_count():
    wanted, cells = torch.randn(2, 4, 3, 5), torch.ones(2, 1, 3, 5, dtype=torch.bool)
    cells[0, :, :2] = False
    out = (wanted + torch.tensor([1.0, 2, 3, 4]).view(4, 1, 1)).where(cells, torch.nan).requires_grad_()
    loss = losses.diffusion(out, wanted, cells)
    loss.total.backward()
    assert loss.total.item() == pytest.approx((1 + 4 + 9 + 16) / 4)
    assert loss.weight == 4 * cells.sum()
    assert torch.equal(out.grad.isfinite() & (out.grad != 0), cells.expand_as(out))
    assert losses.diffusion(out, wanted, cells & False).total == 0


@pytest.mark.parametrize("function", MAPS)
def test_gradients_agree_with_finite_differences(function):
    pred, target, valid = random_maps(1, 3, 4)
    x = pred.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda p: function(p, target.double(), valid), [x], eps=1e-7, atol=1e-4)

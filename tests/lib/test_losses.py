"""Losses by hand, and the compiled ones against their twin."""

from __future__ import annotations

import pytest
import torch

from stages.lib.losses import anisotropy, anisotropy_twin, image_errors, image_errors_twin


def test_errors_are_means_per_view():
    image = torch.zeros(2, 4, 4, 3)
    image[1] = 0.5
    empty = torch.zeros(2, 4, 4, 4, dtype=torch.uint8)
    rgb, mask = image_errors(image, torch.full((2, 4, 4), 0.3), empty, torch.zeros(2, 3))
    assert rgb.tolist() == [0.0, 0.25]
    assert mask.tolist() == pytest.approx([0.09, 0.09])


def test_the_target_is_blended_by_straight_alpha():
    rgba = torch.tensor([[[[255, 0, 0, 51]]]], dtype=torch.uint8)
    background = torch.tensor([[1.0, 1.0, 0.5]])
    blended = torch.tensor([[[[1.0, 0.8, 0.4]]]])
    rgb, mask = image_errors(blended, torch.full((1, 1, 1), 0.2), rgba, background)
    assert rgb.item() < 1e-12
    assert mask.item() < 1e-12


def test_compiled_errors_equal_the_twin():
    generator = torch.Generator().manual_seed(0)
    image, alpha = (torch.rand(3, 9, 7, *tail, generator=generator) for tail in ((3,), ()))
    rgba = torch.randint(256, (3, 9, 7, 4), generator=generator, dtype=torch.uint8)
    background, weights = torch.rand(3, 3, generator=generator), torch.rand(2, 3, generator=generator)
    found = []
    for function, dtype in ((image_errors, torch.float32), (image_errors_twin, torch.float64)):
        leaves = [image.to(dtype).requires_grad_(), alpha.to(dtype).requires_grad_()]
        rgb, mask = function(*leaves, rgba, background.to(dtype))
        gradients = torch.autograd.grad((weights[0] * rgb + weights[1] * mask).sum(), leaves)
        found.append([rgb, mask, *gradients])
    for ours, theirs in zip(*found, strict=True):
        assert float((ours.double() - theirs).norm() / theirs.norm()) < 1e-6


def test_anisotropy_is_measured_on_scales_not_on_their_logs():
    # A ratio of exactly 10 exceeds 7.5 by 2.5; ratios below 7.5 are free.
    scales = torch.tensor([[0.1, 0.05, 0.01], [0.1, 0.1, 0.1]])
    assert anisotropy(scales.log(), 7.5).item() == pytest.approx(1.25, rel=1e-5)


def test_anisotropy_equals_its_twin():
    log_scales = torch.randn(500, 3, generator=torch.Generator().manual_seed(5))
    found = []
    for function, dtype in ((anisotropy, torch.float32), (anisotropy_twin, torch.float64)):
        leaf = log_scales.to(dtype, copy=True).requires_grad_()
        value = function(leaf, 3.0)
        (2 * value).backward()
        found.append([value.detach(), leaf.grad])
    for ours, theirs in zip(*found, strict=True):
        assert float((ours.double() - theirs).norm() / theirs.norm()) < 1e-6

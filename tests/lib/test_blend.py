"""Blending equals its twin, in values and gradients."""

from __future__ import annotations

import torch

from stages.lib.blend import blend, blend_twin


def test_equals_the_twin():
    chance = torch.Generator().manual_seed(0)
    values = torch.randn(3, 9, 5, generator=chance)
    nearest = torch.randint(9, (40, 4), generator=chance)
    weights = torch.rand(40, 4, generator=chance)
    outer = torch.randn(3, 40, 5, generator=chance)
    found = []
    for function, dtype in ((blend, torch.float32), (blend_twin, torch.float64)):
        leaf = values.to(dtype).requires_grad_()
        out = function(leaf, nearest, weights)
        found.append([out.detach(), torch.autograd.grad((out * outer).sum(), leaf)[0]])
    for ours, theirs in zip(*found, strict=True):
        assert torch.allclose(ours.double(), theirs, atol=1e-5)


def test_one_neighbour_of_weight_one_is_that_neighbour():
    values = torch.randn(1, 6, 3)
    nearest = torch.tensor([[4], [0]])
    assert torch.equal(blend(values, nearest, torch.ones(2, 1))[0], values[0, [4, 0]])

"""The compiled features equal their `grid_sample` twin, in values and in every gradient."""

from __future__ import annotations

import pytest
import torch

from stages.lib.hexplane import cut_time, features, features_twin


def planes(levels=2, channels=8, dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    space = [torch.rand(3, 6 * 2**i, 6 * 2**i, channels, generator=generator, dtype=dtype) for i in range(levels)]
    time = [torch.rand(3, 4, 6 * 2**i, channels, generator=generator, dtype=dtype) for i in range(levels)]
    return space, time


def gradients(function, points, time, space, over_time, weight):
    leaves = [points, *space, *over_time]
    for leaf in leaves:
        leaf.requires_grad_()
    value = function(points, time, space, over_time)
    return value, torch.autograd.grad((value * weight.to(value.dtype)).sum(), leaves)


@pytest.mark.parametrize("time", [[0.0], [0.37], [1.0], [0.2, 0.3, 0.9]])
def test_equals_the_twin(time):
    generator = torch.Generator().manual_seed(1)
    points = torch.rand(200, 3, generator=generator) * 1.9 - 0.95
    weight = torch.randn(len(time), 200, 16, generator=generator)
    space, over_time = planes()
    value, grads = gradients(
        features, points.clone(), time, [p.clone() for p in space], [p.clone() for p in over_time], weight
    )
    doubled = [[p.double() for p in group] for group in (space, over_time)]
    truth, truth_grads = gradients(features_twin, points.double(), time, *doubled, weight)
    assert torch.allclose(value.double(), truth, atol=1e-6)
    for ours, theirs in zip(grads, truth_grads, strict=True):
        assert float((ours.double() - theirs).norm() / theirs.norm()) < 5e-6


def test_a_zero_factor_does_not_lose_the_gradient_of_the_others():
    space, over_time = planes(levels=1)
    space[0][0] = 0
    points = torch.rand(50, 3, generator=torch.Generator().manual_seed(2)) - 0.5
    weight = torch.ones(50, 8)
    _, grads = gradients(features, points, [0.5], space, over_time, weight)
    assert float(grads[1][0].abs().sum()) > 0.1
    assert float(grads[1][1].abs().sum()) == 0


@pytest.mark.parametrize("channels", [2, 8])
def test_neutral_planes_give_ones(channels):
    points = torch.rand(20, 3) * 2 - 1
    ones = [torch.ones(3, 4, 4, channels)], [torch.ones(3, 3, 4, channels)]
    assert torch.allclose(features(points, [0.3], *ones), torch.ones(1, 20, channels), atol=1e-6)


def test_outside_points_are_clamped_and_get_no_gradient():
    space, over_time = planes(levels=1)
    points = torch.tensor([[2.0, 0.1, 0.2], [1.0, 0.1, 0.2]])
    value, grads = gradients(features, points, [0.5], space, over_time, torch.ones(1, 2, 8))
    assert torch.allclose(value[0, 0], value[0, 1])
    assert float(grads[0][0, 0]) == 0
    assert float(grads[0][0, 1].abs()) > 0


def test_the_whole_time_axis_is_used():
    over_time = torch.arange(5.0)[None, :, None, None].expand(3, 5, 2, 1)
    assert cut_time(over_time, [0.0, 0.5, 1.0])[:, 0, 0, 0].tolist() == [0.0, 2.0, 4.0]


def test_two_runs_are_bitwise_equal():
    points = torch.rand(500, 3, generator=torch.Generator().manual_seed(3)) * 2 - 1
    runs = []
    for _ in range(2):
        space, over_time = planes()
        runs.append(gradients(features, points.clone(), [0.4], space, over_time, torch.ones(1, 500, 16))[1])
    assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))

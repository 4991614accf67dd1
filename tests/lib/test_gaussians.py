"""Where gaussians start, and the round trip between training tensors and files."""

from __future__ import annotations

import numpy as np
import torch

from stages.lib.cameras import ZERO123PP_V11_AZIMUTH_DEG, ZERO123PP_V11_ELEVATION_DEG, orbit
from stages.lib.gaussians import (
    INITIAL_OPACITY,
    SH_C0,
    from_tensors,
    optimiser,
    rates,
    take_rows,
    to_tensors,
    visual_hull,
)
from stages.settings import CanonicalSettings

SETTINGS = CanonicalSettings(n_gaussians=400)


def cameras():
    azimuth = [0.0, *ZERO123PP_V11_AZIMUTH_DEG]
    elevation = [0.0, *ZERO123PP_V11_ELEVATION_DEG]
    return orbit(azimuth, elevation, 2.0, 49.1, 64, 64)


def test_they_start_just_below_the_surface_of_the_hull(ball):
    gaussians = visual_hull(
        ball(cameras(), np.array([0.2, 0.0, 0.0]), 0.4), cameras(), SETTINGS, np.random.default_rng(0)
    )
    distance = np.linalg.norm(gaussians.means - [0.2, 0.0, 0.0], axis=1)
    # A hull of seven views is larger than the ball, and the shell is 0.05 thick along each axis.
    assert 0.3 < distance.min() < distance.max() < 0.6
    assert abs(np.median(distance) - 0.42) < 0.05
    assert len(gaussians.means) == 400


def test_their_colours_are_those_of_the_pictures(ball):
    gaussians = visual_hull(ball(cameras(), np.zeros(3), 0.4), cameras(), SETTINGS, np.random.default_rng(0))
    colour = gaussians.sh[:, 0] * SH_C0 + 0.5
    above, below = gaussians.means[:, 1] > 0.25, gaussians.means[:, 1] < -0.25
    assert colour[above, 0].mean() > colour[above, 2].mean() + 0.3
    assert colour[below, 2].mean() > colour[below, 0].mean() + 0.3


def test_an_empty_hull_falls_back_to_the_ball():
    gaussians = visual_hull(np.zeros((7, 64, 64, 4), np.uint8), cameras(), SETTINGS, np.random.default_rng(0))
    assert len(gaussians.means) == 400
    assert np.linalg.norm(gaussians.means, axis=1).max() <= SETTINGS.init_radius + 1e-6


def test_opacity_starts_as_stated(ball):
    gaussians = visual_hull(ball(cameras(), np.zeros(3), 0.4), cameras(), SETTINGS, np.random.default_rng(0))
    assert np.allclose(1 / (1 + np.exp(-gaussians.opacity_logits)), INITIAL_OPACITY)


def test_tensors_and_back(ball):
    gaussians = visual_hull(ball(cameras(), np.zeros(3), 0.4), cameras(), SETTINGS, np.random.default_rng(0))
    back = from_tensors(to_tensors(gaussians, torch.device("cpu")))
    assert all(np.array_equal(getattr(back, name), value) for name, value in vars(gaussians).items())


def test_rates_decay_log_linearly_over_the_whole_run():
    settings = CanonicalSettings(lr_means=1e-2, lr_means_final=1e-4)
    assert [round(rates(settings, p)["means"], 10) for p in (0.0, 0.5, 1.0)] == [1e-2, 1e-3, 1e-4]
    assert rates(settings, 0.0, factor=0.5)["sh"] == 0.5 * settings.lr_sh


def test_one_optimiser_group_a_parameter(ball):
    gaussians = visual_hull(ball(cameras(), np.zeros(3), 0.4), cameras(), SETTINGS, np.random.default_rng(0))
    params = to_tensors(gaussians, torch.device("cpu"))
    adam = optimiser(params, rates(SETTINGS, 0.0))
    assert [group["name"] for group in adam.param_groups] == list(params)
    assert all(group["params"][0] is params[group["name"]] for group in adam.param_groups)


def test_rows_are_taken_and_their_gradients_return():
    generator = torch.Generator().manual_seed(2)
    rows = torch.tensor([4, 0, 3])
    tensors = {"means": torch.randn(6, 3, generator=generator), "opacity_logits": torch.randn(6, generator=generator)}
    found = []
    for dtype in (torch.float32, torch.float64):
        leaves = {name: value.to(dtype, copy=True).requires_grad_() for name, value in tensors.items()}
        taken = take_rows(leaves, rows)
        sum(value.square().sum() for value in taken.values()).backward()
        found.append([*taken.values(), *(leaf.grad for leaf in leaves.values())])
    for ours, theirs in zip(*found, strict=True):
        assert float((ours.double() - theirs).abs().max()) < 1e-6
    assert float(found[0][2][[1, 2, 5]].abs().sum()) == 0

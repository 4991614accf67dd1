"""Surgery keeps every gaussian's own values and optimiser state; choices follow the settings."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.cli import StageError
from stages.lib.densify import SPLIT_SHRINK, STAG4D_RGB_WEIGHT, Statistics, chosen, densify, due
from stages.lib.gaussians import NAMES, optimiser
from stages.settings import DensifySettings

SHAPES = {"means": (3,), "quats": (4,), "log_scales": (3,), "opacity_logits": (), "sh": (1, 3)}
RATES = dict.fromkeys(NAMES, 1e-3)


def model(count, scale=0.05, opacity=0.9, seed=0):
    generator = torch.Generator().manual_seed(seed)
    params = {name: torch.randn(count, *shape, generator=generator) * 0.1 for name, shape in SHAPES.items()}
    params["log_scales"] = torch.full((count, 3), scale).log()
    params["opacity_logits"] = torch.full((count,), opacity).logit()
    params = {name: value.requires_grad_() for name, value in params.items()}
    adam = optimiser(params, RATES)
    sum(
        (value * torch.arange(1.0, count + 1).reshape(-1, *[1] * (value.ndim - 1))).sum() for value in params.values()
    ).backward()
    adam.step()
    return params, adam


def statistics(gradient):
    gradient = torch.as_tensor(gradient, dtype=torch.float32)
    return Statistics(gradient, torch.ones_like(gradient), torch.zeros_like(gradient))


def generator():
    return torch.Generator().manual_seed(5)


def test_the_top_fraction_is_chosen():
    mask = chosen(statistics(torch.arange(1, 201)), DensifySettings(fraction=0.025))
    assert torch.nonzero(mask)[:, 0].tolist() == [195, 196, 197, 198, 199]


def test_unseen_gaussians_do_not_dilute_the_fraction():
    stats = statistics(torch.cat([torch.arange(1, 101), torch.zeros(100)]))
    stats.visible[100:] = 0
    assert torch.nonzero(chosen(stats, DensifySettings(fraction=0.02)))[:, 0].tolist() == [98, 99]


def test_fixed_threshold_is_in_units_of_stag4ds_loss():
    mask = chosen(
        statistics(torch.tensor([1.9e-4, 2.1e-4]) / STAG4D_RGB_WEIGHT), DensifySettings(mode="fixed_threshold")
    )
    assert mask.tolist() == [False, True]


def test_statistics_are_means_over_visible_views_in_ndc():
    stats = Statistics.zeros(2, torch.device("cpu"))
    gradient = torch.tensor([[[3.0, 4.0], [1.0, 0.0]], [[0.0, 0.0], [7.0, 7.0]]])
    stats.add(gradient, torch.tensor([[True, True], [True, False]]), torch.tensor([[8.0, 2.0], [4.0, 99.0]]), side=16)
    assert stats.gradient.tolist() == [40.0, 8.0]
    assert stats.visible.tolist() == [2.0, 1.0]
    assert stats.radius.tolist() == [0.5, 0.125]


def test_clone_repeats_the_values():
    params, adam = model(4)
    before = {name: value.detach().clone() for name, value in params.items()}
    done = densify(params, adam, statistics([0, 0, 0, 1]), DensifySettings(fraction=0.25), generator())
    assert (done.cloned, done.split, done.pruned, done.total) == (1, 0, 0, 5)
    for name in NAMES:
        assert torch.equal(params[name][:4], before[name])
        assert torch.equal(params[name][4], before[name][3])


def test_split_shrinks_and_removes_the_parent():
    params, adam = model(4, scale=0.2)
    before = params["log_scales"].detach().clone()
    settings_ = DensifySettings(fraction=0.25, prune_max_scale=10)
    done = densify(params, adam, statistics([0, 1, 0, 0]), settings_, generator())
    assert (done.cloned, done.split, done.total) == (0, 1, 5)
    assert torch.allclose(params["log_scales"][3:].exp(), before[1].exp() / SPLIT_SHRINK)
    assert not torch.equal(params["means"][3], params["means"][4])


def test_pruning_by_opacity_scale_and_screen():
    params, adam = model(5)
    with torch.no_grad():
        params["opacity_logits"][0] = torch.tensor(0.005).logit()
        params["log_scales"][1, 0] = torch.tensor(0.2).log()
        params["log_scales"][2] = torch.tensor(0.0005).log()
    stats = statistics(torch.zeros(5))
    stats.radius[3] = 0.3
    survivor = params["means"][4].detach().clone()
    done = densify(params, adam, stats, DensifySettings(), generator())
    assert (done.pruned, done.total) == (4, 1)
    assert torch.equal(params["means"][0], survivor)


def test_pruning_everything_is_refused():
    params, adam = model(3, opacity=0.001)
    with pytest.raises(StageError, match="every gaussian would be pruned"):
        densify(params, adam, statistics([0, 0, 0]), DensifySettings(), generator())


def test_the_cap_takes_the_largest_gradients():
    params, adam = model(10)
    before = params["means"].detach().clone()
    settings_ = DensifySettings(fraction=0.5, max_gaussians=11)
    assert densify(params, adam, statistics(torch.arange(10)), settings_, generator()).total == 11
    assert torch.equal(params["means"][10], before[9])


@given(st.lists(st.sampled_from(["keep", "clone", "split", "prune"]), min_size=2, max_size=12), st.integers(0, 99))
@settings(deadline=None, max_examples=40)
def test_optimiser_state_follows_every_surgery(fates, seed):
    fates = ["keep", *fates]
    params, adam = model(len(fates), seed=seed)
    old_means = params["means"]
    moments = adam.state[old_means]["exp_avg"].clone()
    with torch.no_grad():
        for index, fate in enumerate(fates):
            params["opacity_logits"][index] = -9.0 if fate == "prune" else 5.0
            params["log_scales"][index] = -0.7 if fate == "split" else -3.0
    grow = sum(fate in ("clone", "split") for fate in fates)
    gradient = [1.0 if fate in ("clone", "split") else 0.0 for fate in fates]
    values = params["means"].detach().clone()
    settings_ = DensifySettings(mode="fixed_threshold", prune_max_scale=10)
    done = densify(params, adam, statistics(gradient), settings_, generator())
    kept = [index for index, fate in enumerate(fates) if fate in ("keep", "clone")]
    assert done.total == len(fates) + grow - fates.count("prune")
    assert torch.equal(params["means"][: len(kept)], values[kept])
    state = adam.state[params["means"]]["exp_avg"]
    assert state.shape == params["means"].shape
    assert torch.equal(state[: len(kept)], moments[kept])
    assert float(state[len(kept) :].abs().sum()) == 0
    assert all(group["params"][0] is params[group["name"]] for group in adam.param_groups)
    assert old_means not in adam.state


def test_rounds_fall_inside_the_window():
    settings_ = DensifySettings(start=0.2, stop=0.6, interval=100)
    assert [step for step in range(1, 1001) if due(settings_, step, 1000)] == [200, 300, 400, 500, 600]
    assert not due(DensifySettings(mode="off"), 200, 1000)

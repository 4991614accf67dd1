"""Surgery keeps every gaussian's own values and optimiser state; choices follow the settings."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.cli import StageError
from stages.contracts import Gaussians
from stages.lib.cameras import orbit
from stages.lib.densify import (
    GRADIENT_COLUMNS,
    SPLIT_SHRINK,
    STAG4D_RGB_WEIGHT,
    Statistics,
    chosen,
    densify,
    gradient_rows,
    largest_scales,
    round_steps,
)
from stages.lib.drawing import draw_on_black
from stages.lib.gaussians import NAMES, optimiser
from stages.lib.motion import ATTRIBUTES, Motion
from stages.settings import DensifySettings, DynamicSettings
from tests.lib.test_motion import FIELD, FRAMES, TIMES, baked, motion

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
    """Every gaussian seen once; gradients (R, N), or (N,) for the whole clip."""
    gradient = torch.as_tensor(gradient, dtype=torch.float32)
    gradient = gradient if gradient.ndim == 2 else gradient[None]
    return Statistics(gradient, torch.ones_like(gradient), torch.zeros_like(gradient))


def generator():
    return torch.Generator().manual_seed(5)


def everywhere(count, frames=1):
    return torch.ones(frames, count, dtype=torch.bool)


def whole_clip(params, adam, stats, settings_):
    """A round on a clip of one frame."""
    return densify(params, adam, everywhere(len(params["means"])), stats, settings_, generator())[0]


def test_the_top_fraction_is_chosen():
    mask = chosen(statistics(torch.arange(1, 201)), everywhere(200), DensifySettings(fraction=0.025))
    assert torch.nonzero(mask[0])[:, 0].tolist() == [195, 196, 197, 198, 199]


def test_unseen_gaussians_do_not_dilute_the_fraction():
    stats = statistics(torch.cat([torch.arange(1, 101), torch.zeros(100)]))
    stats.visible[0, 100:] = 0
    mask = chosen(stats, everywhere(200), DensifySettings(fraction=0.02))
    assert torch.nonzero(mask[0])[:, 0].tolist() == [98, 99]


def test_fixed_threshold_is_in_units_of_stag4ds_loss():
    stats = statistics(torch.tensor([1.9e-4, 2.1e-4]) / STAG4D_RGB_WEIGHT)
    assert chosen(stats, everywhere(2), DensifySettings(mode="fixed_threshold")).tolist() == [[False, True]]


def test_statistics_are_means_over_visible_views_in_ndc():
    stats = Statistics.zeros(2, 3, torch.device("cpu"))
    gradient = torch.tensor([[[3.0, 4.0], [1.0, 0.0]], [[0.0, 0.0], [7.0, 7.0]]])
    views = torch.tensor([[True, True], [True, False]]), torch.tensor([[8.0, 2.0], [4.0, 99.0]])
    # The second frame draws the first and the last gaussian only.
    stats.add(1, torch.tensor([0, 2]), gradient, *views, side=16)
    assert stats.gradient.tolist() == [[0.0, 0.0, 0.0], [40.0, 0.0, 8.0]]
    assert stats.visible.tolist() == [[0.0, 0.0, 0.0], [2.0, 0.0, 1.0]]
    assert stats.radius.tolist() == [[0.0, 0.0, 0.0], [0.5, 0.0, 0.125]]
    assert stats.mean()[1].tolist() == [20.0, 0.0, 8.0]


def test_clone_repeats_the_values():
    params, adam = model(4)
    before = {name: value.detach().clone() for name, value in params.items()}
    done = whole_clip(params, adam, statistics([0, 0, 0, 1]), DensifySettings(fraction=0.25))
    assert (done.cloned, done.split, done.pruned, done.total) == (1, 0, 0, 5)
    for name in NAMES:
        assert torch.equal(params[name][:4], before[name])
        assert torch.equal(params[name][4], before[name][3])


def test_split_shrinks_and_removes_the_parent():
    params, adam = model(4, scale=0.2)
    before = params["log_scales"].detach().clone()
    settings_ = DensifySettings(fraction=0.25, prune_max_scale=10)
    done = whole_clip(params, adam, statistics([0, 1, 0, 0]), settings_)
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
    stats.radius[0, 3] = 0.3
    survivor = params["means"][4].detach().clone()
    done = whole_clip(params, adam, stats, DensifySettings())
    assert (done.pruned, done.total) == (4, 1)
    assert torch.equal(params["means"][0], survivor)


def test_pruning_everything_is_refused():
    params, adam = model(3, opacity=0.001)
    with pytest.raises(StageError, match="every gaussian would be pruned"):
        whole_clip(params, adam, statistics([0, 0, 0]), DensifySettings())


def test_the_cap_takes_the_largest_gradients():
    params, adam = model(10)
    before = params["means"].detach().clone()
    settings_ = DensifySettings(fraction=0.5, max_gaussians=11)
    assert whole_clip(params, adam, statistics(torch.arange(10)), settings_).total == 11
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
    done = whole_clip(params, adam, statistics(gradient), settings_)
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
    settings_ = DensifySettings(start=0.2, stop=0.6, rounds=5)
    assert round_steps(settings_, 1000) == [200, 300, 400, 500, 600]
    assert round_steps(settings_, 10) == [2, 3, 4, 5, 6]
    assert round_steps(settings_, 1) == [1]
    assert round_steps(DensifySettings(mode="off"), 1000) == []


# ---------------------------------------------------------------- frame by frame

FRAMEWISE = DensifySettings(scope="frame", mode="fixed_threshold", neighbourhood=1)


def framewise(params, adam, present, gradient, settings_=FRAMEWISE, shapes=None):
    frames = len(present)
    log_scales, opacity = shapes or (
        params["log_scales"].detach().expand(frames, -1, -1),
        params["opacity_logits"].detach().expand(frames, -1),
    )
    found = largest_scales(log_scales), opacity
    return densify(params, adam, present, statistics(gradient), settings_, generator(), found)


def test_each_frame_has_its_own_threshold():
    gradient = torch.stack([torch.arange(1, 201), torch.arange(200, 0, -1) * 1e-3])
    mask = chosen(statistics(gradient), everywhere(200, 2), DensifySettings(fraction=0.025))
    assert [torch.nonzero(row)[:, 0].tolist() for row in mask] == [[195, 196, 197, 198, 199], [0, 1, 2, 3, 4]]


def test_a_clone_lives_around_the_frame_that_asked_for_it():
    params, adam = model(3)
    gradient = torch.zeros(6, 3)
    gradient[4, 1] = 1
    done, present = framewise(params, adam, everywhere(3, 6), gradient)
    assert (done.cloned, done.total) == (1, 4)
    assert done.frames == (3, 3, 3, 4, 4, 4)
    assert torch.nonzero(present[:, 3])[:, 0].tolist() == [3, 4, 5]
    assert bool(present[:, :3].all())
    assert torch.equal(params["means"][3], params["means"][1])


def test_a_split_replaces_its_parent_in_those_frames_only():
    params, adam = model(3, scale=0.2)
    gradient = torch.zeros(6, 3)
    gradient[0, 1] = 1
    settings_ = FRAMEWISE.model_copy(update={"prune_max_scale": 10})
    done, present = framewise(params, adam, everywhere(3, 6), gradient, settings_)
    assert (done.split, done.total) == (1, 5)
    assert present.int().tolist() == [[1, 0, 1, 1, 1]] * 3 + [[1, 1, 1, 0, 0]] * 3


def test_pruning_clears_one_frame_and_deletes_what_is_left_nowhere():
    params, adam = model(3)
    opacity = params["opacity_logits"].detach().repeat(2, 1)
    opacity[1, 0] = -9
    opacity[:, 2] = -9
    survivors = params["means"].detach()[:2].clone()
    shapes = params["log_scales"].detach().expand(2, -1, -1), opacity
    done, present = framewise(params, adam, everywhere(3, 2), torch.zeros(2, 3), shapes=shapes)
    assert (done.pruned, done.total) == (3, 2)
    assert present.tolist() == [[True, True], [False, True]]
    assert torch.equal(params["means"], survivors)


def test_an_emptied_frame_is_named():
    params, adam = model(3)
    opacity = params["opacity_logits"].detach().repeat(4, 1)
    opacity[2] = -9
    with pytest.raises(StageError, match="every gaussian of frame 2 would be pruned"):
        framewise(
            params, adam, everywhere(3, 4), torch.zeros(4, 3), shapes=(params["log_scales"].detach()[None], opacity)
        )


def test_the_cap_counts_gaussian_frames():
    params, adam = model(10)
    settings_ = FRAMEWISE.model_copy(update={"max_gaussians": 11})
    gradient = torch.zeros(4, 10)
    gradient[1] = torch.arange(1, 11)
    # Each clone takes three frames of the four free gaussian-frames, so the largest gradient alone fits.
    done, present = framewise(params, adam, everywhere(10, 4), gradient, settings_)
    assert done.total == 11
    assert int(present.sum()) == 43
    assert torch.equal(params["means"][10], params["means"][9])


def test_match_reaches_the_count_in_the_rounds_that_are_left():
    params, adam = model(10)
    present = everywhere(10, 4)
    settings_ = DensifySettings(mode="match", match="other", max_gaussians=17)
    totals = []
    for rounds in (3, 2, 1):
        stats = statistics(torch.rand(len(params["means"]), generator=torch.Generator().manual_seed(rounds)) + 0.1)
        done, present = densify(params, adam, present, stats, settings_, generator(), rounds=rounds)
        totals.append(done.total)
    assert totals == [12, 14, 17]


def test_rounds_share_the_room_under_the_cap():
    params, adam = model(100)
    present, totals = everywhere(100, 4), []
    settings_ = DensifySettings(fraction=0.5, max_gaussians=120)
    for rounds in (4, 3, 2, 1):
        stats = statistics(torch.rand(len(params["means"]), generator=generator()) + 0.1)
        done, present = densify(params, adam, present, stats, settings_, generator(), rounds=rounds)
        totals.append(done.total)
    assert totals == [105, 110, 115, 120]


def test_what_is_too_large_is_split_when_due_and_pruned_otherwise():
    params, adam = model(40, scale=0.2)
    gradient = torch.zeros(40)
    gradient[7] = 1
    settings_ = DensifySettings(max_gaussians=100)
    with torch.no_grad():
        params["log_scales"][:] = -4
        params["log_scales"][[3, 7]] = math.log(0.15)
    done, _ = densify(params, adam, everywhere(40, 2), statistics(gradient), settings_, generator())
    assert (done.split, done.pruned, done.total) == (1, 1, 40)
    assert float(params["log_scales"].detach().amax()) == pytest.approx(math.log(0.15 / 1.6))


def test_every_frames_choice_lives_equally_long():
    for frame in range(6):
        params, adam = model(3)
        gradient = torch.zeros(6, 3)
        gradient[frame, 1] = 1
        _, present = framewise(params, adam, everywhere(3, 6), gradient)
        assert int(present[:, 3].sum()) == 3 and bool(present[frame, 3])


FATES = st.sampled_from(["keep", "clone", "split", "prune"])


HISTORIES = st.lists(st.lists(FATES, min_size=3, max_size=3), min_size=1, max_size=6)


def after(history, seed, frames):
    """Params, optimiser and presence of four gaussians after rounds of these fates, each on a frame and gaussian drawn
    by chance; the params before; and the frames (F,) that some round touched."""
    params, adam = model(4, seed=seed)
    present = everywhere(4, frames)
    before = {name: value.detach().clone() for name, value in params.items()}
    chance = torch.Generator().manual_seed(seed)
    touched = torch.zeros(frames, dtype=torch.bool)
    for fates in history:
        count = len(params["means"])
        gradient, opacity = torch.zeros(frames, count), torch.full((frames, count), 5.0)
        log_scales = torch.full((frames, count, 3), -3.0)
        for fate in fates:
            frame = int(torch.randint(frames, (), generator=chance))
            # The first gaussian is left alone, so that no frame is emptied.
            row = 1 + int(torch.randint(count - 1, (), generator=chance)) if count > 1 else 0
            if fate == "keep" or row == 0:
                continue
            if fate == "prune":
                opacity[frame, row] = -9.0
                touched[frame] = True
            else:
                gradient[frame, row] = 1.0
                log_scales[:, row] = -0.7 if fate == "split" else -3.0
                first = min(max(frame - 1, 0), frames - 3)
                touched[first : first + 3] = True
        settings_ = FRAMEWISE.model_copy(update={"prune_max_scale": 10})
        _, present = framewise(params, adam, present, gradient, settings_, (log_scales, opacity))
        assert present.shape == (frames, len(params["means"]))
        assert bool(present.any(0).all())
    assert bool(present[:, 0].all())
    return params, adam, present, before, touched


def origins(params, before) -> list[int]:
    """The gaussian that each row descends from: colour is never changed by surgery, so it is a name."""
    names = {float(value): index for index, value in enumerate(before["sh"][:, 0, 0])}
    return [names[name] for name in params["sh"].detach()[:, 0, 0].tolist()]


@given(HISTORIES, st.integers(0, 99))
@settings(deadline=None, max_examples=60)
def test_rows_stay_with_their_gaussian_and_other_frames_stay_as_they_were(history, seed):
    """After any rounds of clone, split and prune on any frames: values, presence and optimiser state belong to the same
    gaussian as before, and a frame that no round touched has exactly its old gaussians."""
    fresh, adam = model(4, seed=seed)
    moments = adam.state[fresh["sh"]]["exp_avg"].clone()
    params, adam, present, before, touched = after(history, seed, frames=5)
    state = adam.state[params["sh"]]["exp_avg"]
    for row, origin in enumerate(origins(params, before)):
        assert torch.equal(params["quats"][row], before["quats"][origin])
        assert torch.equal(state[row], moments[origin]) or not bool(state[row].any())
    for frame in torch.nonzero(~touched)[:, 0].tolist():
        rows = torch.nonzero(present[frame])[:, 0]
        for name in NAMES:
            assert torch.equal(params[name][rows].sort(0).values, before[name].sort(0).values)


WINDOW = 2


def rendered(moved, sh, present, frame) -> np.ndarray:
    """Picture (H, W, 3) of the gaussians present in one frame, from attributes (F, N, ...) as they were baked."""
    rows = torch.nonzero(present[frame])[:, 0]
    shown = {name: value[frame, rows].detach().numpy() for name, value in moved.items()}
    camera = orbit(0.0, 0.0, 2.0, 49.1, 24, 24)
    return draw_on_black(Gaussians(**shown, sh=sh[rows].detach().numpy()), camera).image[0]


@given(HISTORIES, st.integers(0, 99))
@settings(deadline=None, max_examples=25)
def test_every_survivor_keeps_its_own_history_and_untouched_frames_their_pictures(history, seed):
    """The same through the buffer: after any rounds a gaussian's result is that of its original alone with its own
    presence, and a frame is drawn as before when no round touched it or, with an encoder, its window."""
    params, _, present, before, touched = after(history, seed, frames=FRAMES)
    rectified = motion(encoder="gru", buffer="attributes", length=WINDOW, width=8, seed=seed)
    plain = Motion(DynamicSettings(field=FIELD), FRAMES, torch.Generator().manual_seed(seed))
    with torch.no_grad():
        for parameter in plain.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator())
        found, whole = baked(rectified, params, present), baked(rectified, before)
        unrectified, whole_unrectified = (plain.deformed(gaussians, TIMES) for gaussians in (params, before))
        origin = origins(params, before)
        for row in {0, 1 % len(origin), len(origin) // 2, len(origin) - 1}:
            own = {name: params[name][row : row + 1] for name in NAMES}
            one = {name: before[name][origin[row] : origin[row] + 1] for name in NAMES}
            # Children of a split have a place and size of their own.
            alone = baked(rectified, one if torch.equal(own["means"], one["means"]) else own, present[:, row : row + 1])
            for name in ATTRIBUTES:
                assert torch.allclose(found[name][:, row], alone[name][:, 0], atol=1e-5)
    everyone = everywhere(4, FRAMES)
    for frame in torch.nonzero(~touched)[:, 0].tolist():
        calm = not bool(touched[max(0, frame - WINDOW + 1) : frame + 1].any())
        for now, then in [(unrectified, whole_unrectified), (found, whole)][: 1 + calm]:
            difference = rendered(now, params["sh"], present, frame) - rendered(then, before["sh"], everyone, frame)
            # A mean: a pixel at the cut-off of alpha may fall to either side.
            assert np.abs(difference).mean() < 1e-5


def test_gradients_are_tested_for_a_log_normal_distribution():
    chance = torch.Generator().manual_seed(0)
    normal = torch.exp(torch.randn(2000, generator=chance) * 0.8 - 6)
    uniform = torch.rand(2000, generator=chance)
    rows = [
        dict(zip(GRADIENT_COLUMNS, row, strict=True))
        for row in gradient_rows(statistics(torch.stack([normal, uniform])))
    ]
    assert [row["row"] for row in rows] == [0, 1]
    assert rows[0]["ks_distance"] < rows[0]["ks_bound"] < rows[1]["ks_distance"]
    assert rows[0]["mean_log10"] == pytest.approx(-6 / 2.302585, abs=0.03)
    assert rows[0]["std_log10"] == pytest.approx(0.8 / 2.302585, abs=0.02)
    assert sum(value for name, value in rows[0].items() if name.startswith("from_")) == 2000

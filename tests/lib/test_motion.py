"""The model of motion and its rectification: identity at the start, short histories, one history a gaussian."""

from __future__ import annotations

import pytest
import torch

from stages.cli import StageError
from stages.experiment import Experiment
from stages.lib.imports import ROOT
from stages.lib.motion import ATTRIBUTES, Motion
from stages.lib.rectification import Rectification, spread_over
from stages.settings import DynamicSettings, FieldSettings, TemporalSettings, read_yaml

FIELD = FieldSettings(resolution=4, levels=1, channels=8, width=16)
FRAMES = 8
TIMES = [frame / (FRAMES - 1) for frame in range(FRAMES)]
COUNT = 30

every_encoder = pytest.mark.parametrize("encoder", ["mamba", "gru", "attention"])
both_buffers = pytest.mark.parametrize("buffer", ["features", "attributes"])


def motion(stirred=True, seed=0, **temporal) -> Motion:
    """A model; `stirred` gives every parameter a value that matters."""
    settings = TemporalSettings(**{"encoder": "mamba", "length": 4, "width": 16, "controls": None} | temporal)
    model = Motion(DynamicSettings(field=FIELD, temporal=settings), FRAMES, torch.Generator().manual_seed(seed))
    if stirred:
        chance = torch.Generator().manual_seed(seed + 1)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += 0.1 * torch.randn(parameter.shape, generator=chance)
    return model


def gaussians(count=COUNT, seed=3):
    chance = torch.Generator().manual_seed(seed)
    shapes = {"means": (3,), "quats": (4,), "log_scales": (3,), "opacity_logits": ()}
    params = {name: 0.3 * torch.randn(count, *shape, generator=chance) for name, shape in shapes.items()}
    params["log_scales"] = params["log_scales"] - 3.5
    return params


def spread_of(model, params, present=None):
    present = torch.ones(FRAMES, len(params["means"]), dtype=torch.bool) if present is None else present
    return spread_over(params["means"], present, model.rectification.settings)


def baked(model, params, present=None):
    """Attributes (F, N, ...) evaluated frame by frame from an empty buffer, as `bake` does."""
    found, buffer, spread = [], (), spread_of(model, params)
    for frame, time in enumerate(TIMES):
        here = None if present is None else present[frame : frame + 1]
        moved, buffer = model(params, [time], here, spread, buffer)
        found.append(moved)
    return {name: torch.cat([moved[name] for moved in found]) for name in ATTRIBUTES}


def trained(model, params, first, count, present=None, rows=None):
    """Attributes of a sub-clip after its warm-up, as a step of the fit sees them."""
    length, spread = model.rectification.settings.length, spread_of(model, params)
    before = range(max(0, first - length + 1), first)
    clip = range(first, first + count)
    past, here = (None, None) if present is None else (present[before], present[clip])
    buffer = model.warm(params, [TIMES[frame] for frame in before], past, spread)
    return model(params, [TIMES[frame] for frame in clip], here, spread, buffer, rows)[0]


@every_encoder
@both_buffers
@pytest.mark.parametrize("controls", [None, 8])
def test_an_untrained_model_changes_nothing(encoder, buffer, controls):
    model, params = motion(False, encoder=encoder, buffer=buffer, controls=controls), gaussians()
    moved = baked(model, params)
    for name in ATTRIBUTES:
        assert torch.equal(moved[name], params[name].expand(FRAMES, *params[name].shape))


@every_encoder
def test_an_untrained_model_learns(encoder):
    model, params = motion(False, encoder=encoder), gaussians()
    adam = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(2):
        moved = trained(model, params, 3, 2)
        adam.zero_grad()
        (moved["log_scales"].square().mean() + moved["quats"].square().mean()).backward()
        adam.step()
    still = [name for name, value in model.rectification.named_parameters() if not value.grad.any()]
    assert not still


@every_encoder
@pytest.mark.parametrize("controls", [None, 8])
@pytest.mark.parametrize("first", [0, 2, 5])
def test_training_and_baking_agree_on_a_frame(encoder, controls, first):
    """With attributes in the buffer the history of a frame is its T - 1 predecessors, wherever a sub-clip starts."""
    model, params = motion(encoder=encoder, buffer="attributes", controls=controls), gaussians()
    whole, part = baked(model, params), trained(model, params, first, 3)
    for name in ATTRIBUTES:
        assert torch.allclose(part[name], whole[name][first : first + 3], atol=1e-5)


@every_encoder
def test_training_and_baking_agree_with_features_in_the_buffer(encoder):
    """Features remember more than the buffer holds: exact while warm-up reaches the first frame, and after it much
    nearer than without warm-up."""
    model, params = motion(encoder=encoder), gaussians()
    whole = baked(model, params)
    exact, late = trained(model, params, 3, 2), trained(model, params, 6, 2)
    cold, _ = model(params, TIMES[6:], None, None)
    for name in ("log_scales", "quats"):
        assert torch.allclose(exact[name], whole[name][3:5], atol=1e-5)
        error, without = ((moved[name] - whole[name][6:]).norm() for moved in (late, cold))
        assert error < 0.5 * without


@every_encoder
@both_buffers
def test_the_past_matters_and_the_future_does_not(encoder, buffer):
    model, params = motion(encoder=encoder, buffer=buffer), gaussians()
    whole = baked(model, params)["log_scales"]
    alone = model(params, [TIMES[4]], None, None)[0]["log_scales"][0]
    assert not torch.allclose(whole[4], alone, atol=1e-4)
    assert torch.allclose(whole[0], model(params, [TIMES[0]], None, None)[0]["log_scales"][0], atol=1e-6)


def test_the_window_is_as_long_as_asked():
    model, params = motion(length=3, buffer="attributes"), gaussians()
    buffer = model.warm(params, TIMES[:6], None, None)
    assert len(buffer) == 2
    assert model(params, [TIMES[6]], None, None, buffer)[1][0] is buffer[1]
    assert motion(length=1).warm(params, TIMES[:6], None, None) == ()


@every_encoder
@both_buffers
def test_an_absent_frame_is_no_history(encoder, buffer):
    """A gaussian that is absent from frames 2 and 3 has the history of one for which they never happened, whatever its
    attributes would be there."""
    model, params = motion(encoder=encoder, buffer=buffer, length=6), gaussians()
    present = torch.ones(FRAMES, COUNT, dtype=torch.bool)
    present[2:4, 7] = False
    full, gone = baked(model, params), baked(model, params, present)
    others = torch.arange(COUNT) != 7
    for name in ("log_scales", "quats"):
        assert torch.allclose(full[name][:, others], gone[name][:, others], atol=1e-6)
        assert not torch.allclose(full[name][4:, 7], gone[name][4:, 7], atol=1e-5)
    never = torch.zeros(FRAMES, COUNT, dtype=torch.bool)
    first_seen = baked(model, params, never)["log_scales"][5]
    assert torch.allclose(first_seen, model(params, [TIMES[5]], None, None)[0]["log_scales"][0], atol=1e-6)


@both_buffers
def test_each_row_has_its_own_history(buffer):
    """Reordering gaussians, adding some and removing some leaves the others' results as they were."""
    model, params = motion(buffer=buffer), gaussians()
    whole = baked(model, params)
    order = torch.randperm(COUNT, generator=torch.Generator().manual_seed(1))[:20]
    more = gaussians(5, seed=9)
    changed = {name: torch.cat([more[name], params[name][order]]) for name in params}
    found = baked(model, changed)
    for name in ATTRIBUTES:
        assert torch.allclose(found[name][:, 5:], whole[name][:, order], atol=1e-6)


@pytest.mark.parametrize("controls", [None, 8])
def test_rows_asked_for_are_the_same_as_among_all(controls):
    model, params = motion(controls=controls), gaussians()
    present = torch.ones(FRAMES, COUNT, dtype=torch.bool)
    rows = torch.tensor([2, 11, 29])
    whole, part = trained(model, params, 3, 2, present), trained(model, params, 3, 2, present, rows)
    for name in ATTRIBUTES:
        assert torch.allclose(part[name], whole[name][:, rows], atol=1e-6)


def test_controls_are_far_apart_and_blend_to_one():
    params = gaussians()
    present = torch.ones(FRAMES, COUNT, dtype=torch.bool)
    present[3, :10] = False
    spread = spread_over(params["means"], present, TemporalSettings(controls=6, neighbours=3))
    assert len(set(spread.rows.tolist())) == 6
    assert int(spread.rows.min()) >= 10
    assert torch.allclose(spread.weights.sum(1), torch.ones(COUNT))
    points = params["means"]
    apart = torch.cdist(points[spread.rows], points[spread.rows]) + 9 * torch.eye(6)
    assert float(apart.min()) > float(torch.cdist(points, points).median()) / 2
    # A control hears itself far above the others.
    place = spread.nearest[spread.rows[0]].tolist().index(0)
    assert float(spread.weights[spread.rows[0], place]) > 0.9


def test_no_gaussian_is_a_control_twice_even_where_clones_coincide():
    means = gaussians()["means"][:3].repeat(4, 1)
    spread = spread_over(means, torch.ones(FRAMES, 12, dtype=torch.bool), TemporalSettings(controls=8, neighbours=2))
    assert len(set(spread.rows.tolist())) == 8


def test_as_many_controls_as_gaussians_are_nearly_the_gaussians_themselves():
    model, params = motion(controls=None), gaussians()
    own = baked(model, params)
    model.rectification.settings = model.rectification.settings.model_copy(update={"controls": COUNT, "neighbours": 1})
    spread_out = baked(model, params)
    for name in ATTRIBUTES:
        assert torch.allclose(own[name], spread_out[name], atol=1e-5)


def test_no_gaussian_that_lasts_is_refused():
    present = torch.eye(COUNT, dtype=torch.bool)
    with pytest.raises(StageError, match="no gaussian is present in every frame"):
        spread_over(gaussians()["means"], present, TemporalSettings(controls=4))


def test_without_an_encoder_there_is_no_rectification():
    model = Motion(DynamicSettings(field=FIELD), FRAMES, torch.Generator())
    assert model.rectification is None
    assert model.warm(gaussians(), TIMES, None, None) == ()
    assert not any(name.startswith("rectification") for name in model.state_dict())


def test_the_papers_size_has_the_papers_number_of_parameters():
    """4DSTR prints 0.1 M; config/gpu.yaml is the paper's setting."""
    experiment = Experiment(read_yaml(ROOT / "config" / "gpu.yaml"))
    settings = experiment.settings("4dstr").dynamic
    rectification = Rectification(settings.temporal, settings.field.bounds, torch.Generator().manual_seed(0))
    assert 0.09e6 <= sum(parameter.numel() for parameter in rectification.parameters()) <= 0.12e6
    assert settings.temporal.encoder == "mamba" and settings.temporal.controls is None


def test_gradients_reach_the_past_frames_of_the_sub_clip_only():
    """Within a sub-clip gradients pass through the buffer; warm-up has none."""
    model, params = motion(buffer="features"), gaussians()
    field = model.field
    moved = trained(model, params, 4, 3)
    moved["log_scales"][2].sum().backward()
    # Cells of the time axis hold frames 0 to 7 two by two: the last cells learn, those of the warm-up do not.
    learned = field.time[0].grad.abs().sum(dim=(0, 2, 3))
    assert len(learned) == 4
    assert float(learned[0]) == 0
    assert float(learned[2]) > 0

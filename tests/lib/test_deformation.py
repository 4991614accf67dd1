"""Design choices of the deformation field, as tests."""

from __future__ import annotations

import pytest
import torch

from stages.lib.deformation import (
    Deformation,
    penalty,
    penalty_twin,
    plane_smoothness,
    time_l1,
    time_smoothness,
)
from stages.settings import FieldSettings, RegulariserSettings, SettingsError

SMALL = FieldSettings(resolution=4, levels=2, channels=8, width=8)


def field(settings=SMALL, frames=8, seed=0):
    return Deformation(settings, frames, torch.Generator().manual_seed(seed))


def test_an_untrained_field_is_the_identity():
    residuals = field()(torch.rand(10, 3) - 0.5, [0.0, 0.5, 1.0])
    sizes = {"means": 3, "log_scales": 3, "quats": 4}
    assert {name: tuple(value.shape) for name, value in residuals.items()} == {
        name: (3, 10, size) for name, size in sizes.items()
    }
    assert all(torch.equal(value, torch.zeros_like(value)) for value in residuals.values())


def test_times_together_equal_times_alone():
    model = field()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.rand(parameter.shape, generator=torch.Generator().manual_seed(3))
    means = torch.rand(10, 3) - 0.5
    together = model(means, [0.2, 0.7])
    for place, time in enumerate((0.2, 0.7)):
        alone = model(means, [time])
        assert all(torch.allclose(together[name][place], alone[name][0], atol=1e-6) for name in alone)


def test_an_untrained_field_still_learns():
    model = field()
    sum(value.sum() for value in model(torch.rand(10, 3) - 0.5, [0.3]).values()).backward()
    assert all(float(head.weight.grad.abs().sum()) > 0 for head in model.heads.values())


def test_means_outside_the_bounds_are_refused():
    means = torch.tensor([[0.0, -0.9, 0.2]]).repeat(300, 1)
    field().check_bounds(means)
    means[:4, 1] = -1.5
    text = r"4 of 300 gaussians lie outside .* bounds of 1.0, the farthest at 1.500.*bounds: 1.65"
    with pytest.raises(SettingsError, match=text):
        field().check_bounds(means)


def test_a_few_strays_are_no_reason_to_refuse_a_scene():
    means = torch.zeros(300, 3)
    means[:3, 1] = -1.5
    field().check_bounds(means)


def test_half_as_many_time_cells_as_frames():
    assert field(frames=24).time[0].shape == (3, 12, 4, 8)
    assert field(FieldSettings(time_resolution=7), 24).time[0].shape[1] == 7


def test_opacity_moves_only_when_asked():
    assert "opacity_logits" not in field()(torch.zeros(2, 3), [0.0])
    assert field(FieldSettings(opacity=True))(torch.zeros(2, 3), [0.0])["opacity_logits"].shape == (1, 2)


def test_same_seed_same_field():
    first, second, third = field(seed=1).state_dict(), field(seed=1).state_dict(), field(seed=2).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["space.0"], third["space.0"])


def test_regularisers_are_zero_where_nothing_bends():
    model = field()
    with torch.no_grad():
        for plane in [*model.space, *model.time]:
            plane.copy_(torch.ones_like(plane))
    assert time_smoothness(model).item() == 0
    assert plane_smoothness(model).item() == 0
    assert time_l1(model).item() == 0


def test_time_smoothness_by_hand():
    model = field(FieldSettings(resolution=2, levels=1, channels=8, time_resolution=3), 6)
    with torch.no_grad():
        model.time[0].copy_(torch.tensor([0.0, 1.0, 0.0])[None, :, None, None].expand(3, 3, 2, 1))
    # One second difference of -2 everywhere.
    assert time_smoothness(model).item() == 4.0
    assert time_l1(model).item() == pytest.approx(2 / 3)


@pytest.mark.parametrize("frames", [4, 24])
@pytest.mark.parametrize("channels", [8, 12])
def test_the_penalty_of_all_planes_equals_its_terms(frames, channels):
    # 4 frames have 2 time cells, which cannot bend; 12 channels are not in eights, so both ways are the twin.
    weights = RegulariserSettings(time_smoothness=0.3, plane_smoothness=0.2, time_l1=0.1)
    found = []
    for function in (penalty, penalty_twin):
        model = field(FieldSettings(resolution=5, levels=2, channels=channels, width=8), frames)
        generator = torch.Generator().manual_seed(3)
        with torch.no_grad():
            for plane in model.time:
                plane += 0.1 * torch.randn(plane.shape, generator=generator)
        value = function(model, weights)
        (2 * value).backward()
        found.append([value.detach(), *(plane.grad for plane in model.plane_parameters())])
    for ours, theirs in zip(*found, strict=True):
        assert float(theirs.norm()) > 0
        assert float((ours - theirs).norm() / theirs.norm()) < 1e-6


def test_a_plane_that_is_neutral_has_no_gradient():
    model = field()
    penalty(model, RegulariserSettings(time_l1=1.0, time_smoothness=1.0, plane_smoothness=0.0)).backward()
    assert all(float(plane.grad.abs().max()) == 0 for plane in model.plane_parameters())

"""The half turn about x: literal facts, the definition of spherical harmonics, and a picture from a turned camera."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from stages.contracts import Gaussians
from stages.lib.axes import SH_SIGNS, TURN, half_turn
from stages.lib.cameras import Cameras, orbit
from stages.lib.drawing import draw_rgba
from tests.reference.raster_twin import rotation_matrix, sh_basis


@pytest.fixture(params=[0, 1, 2, 3])
def gaussians(request) -> Gaussians:
    """50 gaussians of any orientation, coloured by spherical harmonics of each degree."""
    generator = np.random.default_rng(request.param)
    shapes = {"means": (50, 3), "quats": (50, 4), "log_scales": (50, 3), "opacity_logits": (50,)}
    arrays = {name: generator.normal(0, 0.4, shape).astype(np.float32) for name, shape in shapes.items()}
    arrays["log_scales"] -= 2.5
    sh = generator.normal(0, 0.4, (50, (request.param + 1) ** 2, 3)).astype(np.float32)
    return Gaussians(**arrays, sh=sh)


def test_up_becomes_down_and_front_becomes_back():
    one, colour = np.array([[0.1, 0.2, 0.3]], np.float32), np.zeros((1, 1, 3), np.float32)
    turned = half_turn(Gaussians(one, np.array([[1, 0, 0, 0]], np.float32), one, one[:, 0], colour))
    assert turned.means[0].tolist() == pytest.approx([0.1, -0.2, -0.3])
    assert turned.quats.tolist() == [[1, 0, 0, 0]]


def test_twice_is_the_same(gaussians):
    again = half_turn(half_turn(gaussians))
    for name, array in vars(gaussians).items():
        assert np.array_equal(getattr(again, name), array), name


def covariances(gaussians: Gaussians) -> np.ndarray:
    axes = rotation_matrix(torch.from_numpy(gaussians.quats).double()).numpy()
    return axes @ (np.exp(2 * gaussians.log_scales)[:, :, None] * axes.swapaxes(1, 2))


def test_the_ellipsoids_turn(gaussians):
    turned = TURN[:, None] * covariances(gaussians) * TURN
    assert np.abs(covariances(half_turn(gaussians)) - turned).max() < 1e-7
    assert np.abs(covariances(gaussians) - turned).max() > 1e-3


def test_a_colour_seen_along_a_turned_direction_is_the_colour_seen_before(gaussians):
    directions = torch.nn.functional.normalize(torch.randn(40, 3, generator=torch.Generator().manual_seed(0)), dim=1)
    bases = gaussians.sh.shape[1]
    turned = half_turn(gaussians)
    before = torch.einsum("dk,nkc->dnc", sh_basis(directions.double(), bases), torch.from_numpy(gaussians.sh).double())
    after = torch.einsum(
        "dk,nkc->dnc",
        sh_basis((directions * torch.from_numpy(TURN)).double(), bases),
        torch.from_numpy(turned.sh).double(),
    )
    assert (before - after).abs().max() < 1e-6
    assert bases == 1 or not np.array_equal(turned.sh, gaussians.sh)
    assert len(SH_SIGNS) == 16


def test_the_turned_object_looks_the_same_from_a_turned_camera(gaussians):
    cameras = orbit([20.0, 200.0], [10.0, -35.0], 2.0, 49.1, 48, 48)
    turned = cameras.world_to_camera.copy()
    turned[:, :3, :3] = turned[:, :3, :3] * TURN
    moved = Cameras(turned, cameras.intrinsics, cameras.width, cameras.height)
    before, after = draw_rgba(gaussians, cameras).astype(int), draw_rgba(half_turn(gaussians), moved).astype(int)
    assert before[..., 3].max() > 200
    # One step of 255 where float32 rounds the other way; straight colour of a nearly clear pixel may differ more.
    assert np.abs(before - after)[before[..., 3] > 5].max() <= 1
    assert np.abs(draw_rgba(gaussians, moved).astype(int) - before).max() > 100

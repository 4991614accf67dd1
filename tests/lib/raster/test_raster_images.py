"""Literal facts of the image model, and the ugly inputs."""

from __future__ import annotations

import importlib.util
import math
import subprocess
import sys

import numpy as np
import pytest
import torch

from stages.lib.cameras import Cameras, orbit
from stages.lib.raster import choose_backend, render, render_numpy
from tests.benchmarks.raster import random_scene

SH_C0 = 0.28209479177387814
SH_C1 = 0.4886025119029199
# Front, focal length 100 pixels, distance 2: one world unit at the origin is 50 pixels.
CAMERA = Cameras(
    orbit(0.0, 0.0, 2.0, 45.0, 64, 64).world_to_camera, np.array([[[100.0, 0, 32], [0, 100, 32], [0, 0, 1]]]), 64, 64
)
BLACK = np.zeros(3, np.float32)


def ball(mean=(0.0, 0.0, 0.0), scale=0.1, opacity=0.8, color=(1.0, 0.5, 0.0)) -> list[np.ndarray]:
    """One round gaussian of a colour, as the five arrays."""
    sh = ((np.array(color) - 0.5) / SH_C0).reshape(1, 1, 3)
    arrays = ([mean], [[1.0, 0, 0, 0]], [[scale] * 3], [opacity], sh)
    return [np.array(array, np.float32) for array in arrays]


def together(*gaussians: list[np.ndarray]) -> list[np.ndarray]:
    return [np.concatenate(arrays) for arrays in zip(*gaussians, strict=True)]


def tensors(arrays) -> list[torch.Tensor]:
    return [torch.from_numpy(np.array(array)).requires_grad_() for array in arrays]


def test_one_gaussian_by_hand():
    # Standard deviation 0.1 * 50 = 5 pixels, variance 25 + 0.3; the four middle pixels are 0.5 off in x and y.
    rendered = render_numpy(*ball(), CAMERA, BLACK)
    alpha = 0.8 * math.exp(-0.5 * 0.5 / 25.3)
    assert rendered.alpha[0, 31:33, 31:33] == pytest.approx(alpha, rel=1e-5)
    assert rendered.image[0, 31, 31] == pytest.approx([alpha, 0.5 * alpha, 0.0], abs=1e-5)
    assert rendered.depth[0, 31, 31] == pytest.approx(2.0 * alpha, rel=1e-5)
    # 3 pixels right and 4 down of that pixel's centre.
    assert rendered.alpha[0, 36, 35] == pytest.approx(0.8 * math.exp(-0.5 * (3.5**2 + 4.5**2) / 25.3), rel=1e-5)


def test_a_contribution_under_1_255_is_left_out():
    alpha = render_numpy(*ball(), CAMERA, BLACK).alpha[0]
    assert alpha[alpha > 0].min() >= 1 / 255
    reach = math.sqrt(2 * math.log(255 * 0.8) * 25.3)
    offset = np.arange(64) + 0.5 - 32
    inside = np.hypot(offset[:, None], offset) < reach
    assert np.array_equal(alpha > 0, inside)
    rendered = render(*tensors(ball()), CAMERA, torch.zeros(3), backend="numba")
    assert float(rendered.radii) == pytest.approx(reach, rel=1e-5)


def test_the_nearer_gaussian_covers():
    near, far = ball((0, 0, 0.5), color=(1, 0, 0)), ball((0, 0, -0.5), color=(0, 1, 0), opacity=0.6)
    for order in ((near, far), (far, near)):
        rendered = render_numpy(*together(*order), CAMERA, np.array([0.0, 0.0, 1.0]))
        # Depths 1.5 and 2.5, variances (100 * 0.1 / depth)^2 + 0.3.
        first = 0.8 * math.exp(-0.25 / ((10 / 1.5) ** 2 + 0.3))
        second = 0.6 * math.exp(-0.25 / ((10 / 2.5) ** 2 + 0.3))
        rest = (1 - first) * (1 - second)
        assert rendered.image[0, 31, 31] == pytest.approx([first, (1 - first) * second, rest], rel=1e-5)
        assert rendered.depth[0, 31, 31] == pytest.approx(1.5 * first + 2.5 * (1 - first) * second, rel=1e-5)


def test_a_pixel_ends_before_its_transmittance_would_reach_the_cut():
    # Transmittance 1, 0.02, 0.0004, then 8e-6 would be under 1e-4: the third gaussian is not blended.
    stack = together(*(ball((0, 0, 0.1 * i), scale=2.0, opacity=0.98) for i in range(3)))
    alpha = render_numpy(*stack, CAMERA, BLACK).alpha[0, 31, 31]
    assert alpha == pytest.approx(1 - 0.02**2, abs=1e-5)


@pytest.mark.parametrize(("azimuth", "expected"), [(0.0, -SH_C1 * 0.3), (180.0, SH_C1 * 0.3), (90.0, SH_C1 * 0.2)])
def test_first_degree_harmonics_by_hand(azimuth, expected):
    # The direction runs from the camera to the gaussian: -z at azimuth 0, -x at azimuth 90.
    arrays = ball(opacity=1.0, scale=1.0)
    arrays[4] = np.zeros((1, 4, 3), np.float32)
    arrays[4][0, 2, 0], arrays[4][0, 3, 0] = 0.3, 0.2
    camera = Cameras(orbit(azimuth, 0.0, 2.0, 45.0, 64, 64).world_to_camera, CAMERA.intrinsics, 64, 64)
    rendered = render_numpy(*arrays, camera, BLACK)
    assert rendered.image[0, 31, 31, 0] / rendered.alpha[0, 31, 31] == pytest.approx(0.5 + expected, abs=1e-5)


def test_an_offset_of_one_pixel_moves_the_image_by_one_pixel():
    inputs = tensors(ball((0.1, 0.0, 0.0)))
    offset = torch.tensor([[[1.0, 0.0]]])
    still = render(*inputs, CAMERA, torch.zeros(3), backend="numba").image
    moved = render(*inputs, CAMERA, torch.zeros(3), backend="numba", means2d_offset=offset).image
    assert torch.allclose(moved[:, :, 1:], still[:, :, :-1], atol=1e-5)


def test_background_per_view_and_nothing_to_see():
    cameras = orbit([0.0, 90.0], 0.0, 2.0, 45.0, 20, 10)
    background = np.array([[1, 0, 0], [0, 0, 1]], np.float32)
    rendered = render_numpy(*(array[:0] for array in ball()), cameras, background)
    assert rendered.image.shape == (2, 10, 20, 3)
    assert np.array_equal(rendered.image[:, 3, 7], background)
    assert not rendered.alpha.any() and not rendered.depth.any()


def test_no_gaussians_have_empty_gradients():
    inputs = tensors(array[:0] for array in ball())
    background = torch.zeros(3, requires_grad=True)
    render(*inputs, CAMERA, background, backend="numba").image.sum().backward()
    assert [tuple(tensor.grad.shape) for tensor in inputs] == [(0, 3), (0, 4), (0, 3), (0,), (0, 1, 3)]
    assert background.grad.tolist() == [64.0 * 64.0] * 3


CULLED = {
    "behind the camera": ball((0, 0, 5.0)),
    "at the camera": ball((0, 0, 2.0)),
    "outside the image": ball((40.0, 0, 0)),
    "opacity 0": ball(opacity=0.0),
    "fainter than 1/255": ball(opacity=0.003),
    "negative opacity": ball(opacity=-0.5),
    "NaN mean": ball((math.nan, 0, 0)),
    "infinite mean": ball((0, math.inf, 0)),
    "huge mean": ball((1e30, 1e30, -1e30)),
    "NaN scale": ball(scale=math.nan),
    "infinite scale": ball(scale=math.inf),
    "overflowing scale": ball(scale=1e25),
    "NaN opacity": ball(opacity=math.nan),
    "zero quaternion": [*ball()[:1], np.zeros((1, 4), np.float32), *ball()[2:]],
    "NaN quaternion": [*ball()[:1], np.full((1, 4), np.nan, np.float32), *ball()[2:]],
}


@pytest.mark.parametrize("case", CULLED)
def test_what_cannot_be_drawn_is_culled_and_leaves_the_others_alone(case):
    alone = render_numpy(*ball(), CAMERA, BLACK)
    inputs = tensors(together(CULLED[case], ball()))
    rendered = render(*inputs, CAMERA, torch.zeros(3), backend="numba")
    assert np.array_equal(rendered.image.detach().numpy(), alone.image)
    assert rendered.visible.tolist() == [[False, True]]
    assert rendered.radii[0, 0] == 0
    (rendered.image.sum() + rendered.depth.sum()).backward()
    for tensor in inputs:
        assert not tensor.grad[0].any()
        assert torch.isfinite(tensor.grad[1]).all()
        assert tensor.grad[1].any() or tensor is inputs[1]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_colours_that_are_not_finite_do_not_crash(value):
    arrays = ball()
    arrays[4][:] = value
    inputs = tensors(arrays)
    render(*inputs, CAMERA, torch.zeros(3), backend="numba").image.sum().backward()
    assert inputs[0].grad.shape == (1, 3)


def test_a_gaussian_wider_than_the_image():
    rendered = render_numpy(*ball(scale=50.0, opacity=0.5), CAMERA, BLACK)
    assert rendered.alpha == pytest.approx(0.5, abs=1e-3)


def test_threads_and_repeats_agree_bit_for_bit():
    scene = random_scene(800, 80, 3, bases=4)

    def run(threads):
        inputs = scene.tensors()
        rendered = render(*inputs, scene.cameras, torch.ones(3), backend="numba", threads=threads)
        (rendered.image.square().sum() + rendered.depth.sum()).backward()
        return [rendered.image.detach(), rendered.depth.detach(), *(tensor.grad for tensor in inputs)]

    first = run(1)
    for threads in (1, 2, 64):
        assert all(torch.equal(a, b) for a, b in zip(first, run(threads), strict=True))


def test_two_live_graphs_do_not_share_memory():
    scenes = [random_scene(200, 32, 1, seed=seed) for seed in (0, 1)]

    def forward(scene):
        inputs = scene.tensors()
        return inputs, render(*inputs, scene.cameras, torch.ones(3), backend="numba").image.square().sum()

    expected = []
    for scene in scenes:
        inputs, loss = forward(scene)
        loss.backward()
        expected.append([tensor.grad for tensor in inputs])
    (first, first_loss), (second, second_loss) = forward(scenes[0]), forward(scenes[1])
    second_loss.backward()
    first_loss.backward()
    for inputs, gradients in zip((first, second), expected, strict=True):
        assert all(torch.equal(tensor.grad, gradient) for tensor, gradient in zip(inputs, gradients, strict=True))


def test_changing_an_input_before_backward_is_refused():
    inputs = tensors(ball())
    loss = render(*inputs, CAMERA, torch.zeros(3), backend="numba").image.sum()
    with torch.no_grad():
        inputs[0].add_(1.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_without_depth_the_image_is_the_same():
    scene = random_scene(200, 32, 2)
    inputs = [torch.from_numpy(array) for array in scene.arrays]
    full, plain = (
        render(*inputs, scene.cameras, torch.ones(3), backend="numba", with_depth=flag) for flag in (True, False)
    )
    assert plain.depth is None
    assert torch.equal(full.image, plain.image) and torch.equal(full.alpha, plain.alpha)


def test_render_numpy_gives_the_pixels_of_render_and_takes_read_only_doubles():
    scene = random_scene(200, 32, 2, bases=9)
    doubles = [array.astype(np.float64) for array in scene.arrays]
    for array in doubles:
        array.flags.writeable = False
    arrays = render_numpy(*doubles, scene.cameras, np.ones(3))
    inputs = [torch.from_numpy(array) for array in scene.arrays]
    rendered = render(*inputs, scene.cameras, torch.ones(3), backend="numba")
    assert np.array_equal(arrays.image, rendered.image.numpy())
    assert np.array_equal(arrays.alpha, rendered.alpha.numpy())
    assert np.array_equal(arrays.depth, rendered.depth.numpy())


def test_rendering_arrays_imports_no_torch_and_the_package_no_gsplat():
    program = """
import sys
import numpy as np
import stages.lib.raster as raster
assert not {"torch", "numba", "gsplat"} & set(sys.modules), sorted(sys.modules)
from stages.lib.cameras import orbit
zero = np.zeros((1, 1, 3), np.float32)
camera = orbit(0, 0, 2, 45, 8, 8)
out = raster.render_numpy(zero[0], np.ones((1, 4)), zero[0] + 0.1, np.ones(1), zero, camera, np.zeros(3))
assert out.alpha.max() > 0.5
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize(
    ("index", "wrong", "message"),
    [
        (1, np.zeros((1, 3)), r"quats has shape \(1, 3\); expected \(1, 4\)"),
        (2, np.zeros((2, 3)), r"scales has shape \(2, 3\); expected \(1, 3\)"),
        (3, np.zeros((1, 1)), r"opacities has shape \(1, 1\); expected \(1,\)"),
        (4, np.zeros((1, 3, 3)), r"sh has shape \(1, 3, 3\); expected \(1, K, 3\) with K one of \(1, 4, 9, 16\)"),
    ],
)
def test_wrong_shapes_are_named(index, wrong, message):
    arrays = ball()
    arrays[index] = wrong.astype(np.float32)
    with pytest.raises(ValueError, match=message):
        render_numpy(*arrays, CAMERA, BLACK)
    with pytest.raises(ValueError, match=message):
        render(*tensors(arrays), CAMERA, torch.zeros(3), backend="numba")


def test_other_wrong_arguments_are_named():
    inputs = tensors(ball())
    with pytest.raises(TypeError, match=r"means is torch.float64; expected torch.float32"):
        render(inputs[0].double(), *inputs[1:], CAMERA, torch.zeros(3), backend="numba")
    with pytest.raises(ValueError, match=r"background has shape \(4,\); expected \(3,\) or \(1, 3\)"):
        render(*inputs, CAMERA, torch.zeros(4), backend="numba")
    with pytest.raises(ValueError, match=r"means2d_offset has shape \(1, 2\); expected \(1, 1, 2\)"):
        render(*inputs, CAMERA, torch.zeros(3), backend="numba", means2d_offset=torch.zeros(1, 2))
    with pytest.raises(ValueError, match="backend is 'cuda'; expected one of numba, gsplat"):
        render(*inputs, CAMERA, torch.zeros(3), backend="cuda")
    with pytest.raises(ValueError, match="threads is 0; expected 1 or more"):
        render(*inputs, CAMERA, torch.zeros(3), backend="numba", threads=0)


def test_backend_follows_the_device(monkeypatch):
    assert choose_backend("cpu") == "numba"
    assert choose_backend(torch.device("cpu")) == "numba"
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install gsplat==1\.5\.3"):
        choose_backend("cuda:0")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    assert choose_backend(torch.device("cuda", 0)) == "gsplat"

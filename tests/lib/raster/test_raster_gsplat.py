"""gsplat on CUDA against our Numba kernels; skipped where there is no CUDA device or no gsplat."""

from __future__ import annotations

import importlib.util

import pytest
import torch

from stages.lib.raster import render
from tests.benchmarks.raster import random_scene

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available() or importlib.util.find_spec("gsplat") is None,
    reason="needs a CUDA device and `pip install gsplat==1.5.3`",
)

NAMES = ("means", "quats", "scales", "opacities", "sh", "background", "means2d_offset")


@pytest.mark.parametrize("bases", [1, 4, 9, 16])
def test_gsplat_and_numba_draw_the_same_image_with_the_same_gradients(bases):
    scene = random_scene(2000, 96, 3, bases=bases)
    results = {}
    for backend, device in (("numba", "cpu"), ("gsplat", "cuda")):
        inputs = [torch.from_numpy(array).to(device).requires_grad_() for array in scene.arrays]
        inputs.append(torch.tensor([0.2, 0.5, 0.8], device=device, requires_grad=True))
        inputs.append(torch.zeros(3, 2000, 2, device=device, requires_grad=True))
        rendered = render(*inputs[:5], scene.cameras, inputs[5], backend=backend, means2d_offset=inputs[6])
        generator = torch.Generator().manual_seed(0)
        loss = 0.0
        for output in (rendered.image, rendered.alpha, rendered.depth):
            loss = loss + (output * torch.randn(output.shape, generator=generator).to(device)).sum()
        loss.backward()
        results[backend] = (rendered, [tensor.grad.cpu() for tensor in inputs])
    (ours, our_gradients), (theirs, their_gradients) = results["numba"], results["gsplat"]
    error = (ours.image - theirs.image.cpu()).detach().square().mean()
    assert float(-10 * torch.log10(error)) > 45.0
    assert torch.allclose(ours.depth, theirs.depth.cpu(), atol=0.05)
    for name, a, b in zip(NAMES, our_gradients, their_gradients, strict=True):
        # The scene crosses some of the cuts at 1/255 and 1e-4, and gsplat adds gradients in no fixed order.
        assert float((a - b).norm() / a.norm()) < 5e-3, name


def test_gsplat_draws_nothing_from_nothing():
    scene = random_scene(1, 32, 2)
    inputs = [torch.from_numpy(array[:0]).cuda() for array in scene.arrays]
    rendered = render(*inputs, scene.cameras, torch.ones(3).cuda(), backend="gsplat")
    assert rendered.image.shape == (2, 32, 32, 3)
    assert float(rendered.image.min()) == 1.0

"""The CPU backend as one autograd function: torch tensors around `numba_passes`, without copies."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from stages.lib.cameras import Cameras
from stages.lib.raster import Rendered
from stages.lib.raster.numba_passes import (
    EMPTY_VIEWS,
    Gaussians,
    View,
    backward_pass,
    contiguous,
    forward_pass,
    use_threads,
    view_of,
)


def _array(tensor: Tensor) -> np.ndarray:
    """The memory of a CPU tensor, copied only where it is not contiguous float32."""
    return contiguous(tensor.detach().numpy())


class _Rasterize(torch.autograd.Function):
    """Inputs to image (V,H,W,3), alpha (V,H,W), depth (V,H,W) or empty, and radii (V,N)."""

    @staticmethod
    def forward(
        ctx,
        means: Tensor,
        quats: Tensor,
        scales: Tensor,
        opacities: Tensor,
        sh: Tensor,
        background: Tensor,
        means2d_offset: Tensor | None,
        view: View,
        with_depth: bool,
        threads: int,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        gaussians = Gaussians(*(_array(t) for t in (means, quats, scales, opacities, sh)))
        shifts = EMPTY_VIEWS if means2d_offset is None else _array(means2d_offset)
        with use_threads(threads):
            result = forward_pass(gaussians, view, _array(background), shifts, with_depth)
        outputs = tuple(torch.from_numpy(a) for a in (result.image, result.alpha, result.depth, result.radii))
        ctx.save_for_backward(means, quats, scales, opacities, sh, *outputs[:3])
        ctx.gaussians, ctx.view, ctx.state, ctx.threads = gaussians, view, result.state, threads
        ctx.mark_non_differentiable(outputs[3])
        ctx.set_materialize_grads(False)
        return outputs

    @staticmethod
    def backward(ctx, grad_image, grad_alpha, grad_depth, _grad_radii):
        # Looking at the saved inputs raises if one was changed in place since; their memory is in ctx.gaussians.
        outputs = tuple(_array(t) for t in ctx.saved_tensors[5:])
        with_depth = outputs[2].size > 0 and grad_depth is not None
        grads = (
            np.zeros_like(outputs[0]) if grad_image is None else _array(grad_image),
            np.zeros_like(outputs[1]) if grad_alpha is None else _array(grad_alpha),
            _array(grad_depth) if with_depth else EMPTY_VIEWS,
        )
        needs = ctx.needs_input_grad
        result = None
        if any(needs[:5]) or needs[6]:
            with use_threads(ctx.threads):
                result = backward_pass(ctx.gaussians, ctx.view, ctx.state, outputs, grads, needs[6])
        names = ("means", "quats", "scales", "opacities", "sh")
        found = [
            torch.from_numpy(getattr(result, name)) if need else None
            for name, need in zip(names, needs[:5], strict=True)
        ]
        # The background shows through what is left: d image / d background is the final transmittance.
        background = None
        if needs[5]:
            background = torch.from_numpy(np.einsum("vhwc,vhw->vc", grads[0], 1.0 - outputs[1]))
        offset = torch.from_numpy(result.means2d) if needs[6] else None
        return (*found, background, offset, None, None, None)


def render(
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    opacities: Tensor,
    sh: Tensor,
    cameras: Cameras,
    background: Tensor,
    means2d_offset: Tensor | None,
    with_depth: bool,
    threads: int,
) -> Rendered:
    """`stages.lib.raster.render` on the CPU; its arguments are already checked, background is (V,3)."""
    view = view_of(cameras, sh.shape[1])
    image, alpha, depth, radii = _Rasterize.apply(
        means, quats, scales, opacities, sh, background, means2d_offset, view, with_depth, threads
    )
    return Rendered(image, alpha, depth if with_depth else None, radii > 0, radii)

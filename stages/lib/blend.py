"""Values of a few points blended onto many, each from its nearest ones.

Letters: M tables, C points that own values, N points that blend k of them, P values.
"""

from __future__ import annotations

import numpy as np
import torch
from numba import njit
from torch import Tensor

from stages.lib.raster.simd import FAST


def blend(values: Tensor, nearest: Tensor, weights: Tensor) -> Tensor:
    """(M, N, P): weights (N, k) times the rows `nearest` (N, k) of values (M, C, P); differentiable in values.

    Compiled on the CPU in float32; elsewhere the slow twin `blend_twin`.
    """
    if values.device.type != "cpu" or values.dtype != torch.float32:
        return blend_twin(values, nearest, weights)
    return _Blend.apply(values, nearest, weights)


def blend_twin(values: Tensor, nearest: Tensor, weights: Tensor) -> Tensor:
    """The same in plain torch, on any device and precision."""
    return (values[:, nearest] * weights[..., None].to(values.dtype)).sum(2)


@njit(cache=True, error_model="numpy", fastmath=FAST)
def _gather(values, nearest, weights, out):
    size = values.shape[2]
    for m in range(values.shape[0]):
        for n in range(nearest.shape[0]):
            first, weight = nearest[n, 0], weights[n, 0]
            for p in range(size):
                out[m, n, p] = weight * values[m, first, p]
            for k in range(1, nearest.shape[1]):
                other, weight = nearest[n, k], weights[n, k]
                for p in range(size):
                    out[m, n, p] += weight * values[m, other, p]


@njit(cache=True, error_model="numpy", fastmath=FAST)
def _scatter(grad, nearest, weights, sums):
    for m in range(grad.shape[0]):
        for n in range(nearest.shape[0]):
            for k in range(nearest.shape[1]):
                place, weight = nearest[n, k], weights[n, k]
                for p in range(grad.shape[2]):
                    sums[m, place, p] += weight * grad[m, n, p]


class _Blend(torch.autograd.Function):
    """Sums in the order of the points, so that two runs are equal."""

    @staticmethod
    def forward(ctx, values, nearest, weights):
        ctx.arrays = nearest.contiguous().numpy(), weights.contiguous().numpy()
        ctx.shape = tuple(values.shape)
        out = np.empty((values.shape[0], len(nearest), values.shape[2]), np.float32)
        _gather(values.detach().contiguous().numpy(), *ctx.arrays, out)
        return torch.from_numpy(out)

    @staticmethod
    def backward(ctx, grad):
        sums = np.zeros(ctx.shape, np.float32)
        _scatter(grad.contiguous().numpy(), *ctx.arrays, sums)
        return torch.from_numpy(sums), None, None

"""Penalties on the planes of a deformation field, value and gradient in one pass over each plane.

Vocabulary and conventions
--------------------------
- *bend*: mean squared second difference along an axis; *apart*: mean distance from 1, which means no change.
- Planes (A, B, C) are walked as `outer` rows of `length` steps of `inner` channels, all flat; `inner` is in eights.
- The planes hold a hundred thousand numbers, more than all gaussians; plain autograd reads and writes them forty times
  a descent for these penalties alone.
"""

from __future__ import annotations

import numpy as np
import torch
from numba import njit
from torch import Tensor

from stages.lib.raster.simd import FAST, LANES, lane_sum, load, select, splat, store


@njit(cache=True, error_model="numpy", fastmath=FAST)
def _bend(plane, outer, length, inner, weight, grad):
    """Weighted bend of a plane along its middle axis; adds its derivative to grad."""
    if length < 3:
        return 0.0
    share = weight / np.float64(outer * (length - 2) * inner)
    factor = splat(np.float32(2 * share))
    total = 0.0
    for row in range(outer):
        for step in range(length - 2):
            first = (row * length + step) * inner
            squares = splat(np.float32(0))
            for a in range(first, first + inner, LANES):
                b, c = a + inner, a + 2 * inner
                middle = load(plane, b)
                difference = load(plane, a) - middle + (load(plane, c) - middle)
                squares = squares + difference * difference
                slope = factor * difference
                store(grad, a, load(grad, a) + slope)
                store(grad, b, load(grad, b) - (slope + slope))
                store(grad, c, load(grad, c) + slope)
            total += np.float64(lane_sum(squares))
    return total * share


@njit(cache=True, error_model="numpy", fastmath=FAST)
def _apart(plane, weight, grad):
    """Weighted distance of a plane from 1; adds its derivative to grad."""
    share = weight / np.float64(plane.size)
    zero, one = splat(np.float32(0)), splat(np.float32(1))
    up, down = splat(np.float32(share)), splat(np.float32(-share))
    total = 0.0
    for a in range(0, plane.size, LANES):
        difference = load(plane, a) - one
        slope = select(difference > zero, up, select(difference < zero, down, zero))
        store(grad, a, load(grad, a) + slope)
        total += np.float64(lane_sum(select(difference > zero, difference, -difference)))
    return total * share


class _Roughness(torch.autograd.Function):
    """All planes in one node, which keeps their gradients."""

    @staticmethod
    def forward(ctx, over_space: float, over_time: float, from_one: float, count: int, *planes):
        total, ctx.gradients = 0.0, []
        for index, plane in enumerate(planes):
            array = plane.detach().contiguous().numpy()
            flat, gradient = array.ravel(), np.zeros(array.size, np.float32)
            three, rows, columns, channels = array.shape
            if index < count:
                total += _bend(flat, three, rows, columns * channels, over_space, gradient)
                total += _bend(flat, three * rows, columns, channels, over_space, gradient)
            else:
                total += _bend(flat, three, rows, columns * channels, over_time, gradient)
                total += _apart(flat, from_one, gradient)
            ctx.gradients.append(torch.from_numpy(gradient.reshape(array.shape)))
        return torch.tensor(total, dtype=torch.float32)

    @staticmethod
    def backward(ctx, grad):
        return None, None, None, None, *(gradient * grad for gradient in ctx.gradients)


def fits(planes: list[Tensor]) -> bool:
    """Whether `roughness` can take these planes: float32 on the CPU, channels in eights."""
    return all(p.device.type == "cpu" and p.dtype == torch.float32 and p.shape[3] % LANES == 0 for p in planes)


def roughness(
    space: list[Tensor], time: list[Tensor], *, over_space: float, over_time: float, from_one: float
) -> Tensor:
    """Weighted sum of the bends of space planes (3, R, R, C) along both axes, of those of time planes (3, S, R, C)
    along time, and of the latter's distances from 1."""
    return _Roughness.apply(float(over_space), float(over_time), float(from_one), len(space), *space, *time)

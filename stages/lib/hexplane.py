"""HexPlane features of points at one time: six planes multiplied, levels concatenated.

Cao & Johnson 2023 (HexPlane), as used for gaussians by Wu et al. 2024 (4DGaussians) and STAG4D.

Vocabulary and conventions
--------------------------
- N points, C channels, R cells of a spatial axis, S cells of the time axis, L levels.
- `space` (3, R, R, C): planes (y, x), (z, x), (z, y); rows are the first named axis.
- `time` (3, S, R, C): planes (time, x), (time, y), (time, z).
- Coordinates are in [-1, 1] at the outer cells (`align_corners`), clamped outside; so bounds must contain
  the points, or the feature becomes constant in silence (`Deformation.check_bounds`).
- The time is one number for all points, so each time plane is first cut to a line (R, C).
"""

from __future__ import annotations

import numpy as np
import torch
from numba import njit
from torch import Tensor
from torch.nn import functional

# (row axis, column axis) of each spatial plane, as indices into x y z.
SPACE_AXES = ((1, 0), (2, 0), (2, 1))


@njit(cache=True, error_model="numpy", inline="always")
def _cell(coordinate, cells):
    position = min(
        max((coordinate + np.float32(1)) * np.float32(0.5) * np.float32(cells - 1), np.float32(0)),
        np.float32(cells - 1),
    )
    low = min(np.int64(position), cells - 2)
    inside = np.float32(1) if -1 <= coordinate <= 1 else np.float32(0)
    return low, position - np.float32(low), inside * np.float32(0.5) * np.float32(cells - 1)


@njit(cache=True, error_model="numpy", fastmath=True, inline="always")
def _factors(points, n, space, lines, low, frac, slope, factors):
    """Fill the six interpolated feature vectors (6, C) of point n, and its cells, fractions and slopes (3,)."""
    cells, channels = space.shape[1], space.shape[3]
    for axis in range(3):
        low[axis], frac[axis], slope[axis] = _cell(points[n, axis], cells)
    for plane in range(3):
        row, column = (1, 0) if plane == 0 else ((2, 0) if plane == 1 else (2, 1))
        i, j, u, v = low[row], low[column], frac[row], frac[column]
        w00, w01 = (1 - u) * (1 - v), (1 - u) * v
        w10, w11 = u * (1 - v), u * v
        a, b, c, d = space[plane, i, j], space[plane, i, j + 1], space[plane, i + 1, j], space[plane, i + 1, j + 1]
        for k in range(channels):
            factors[plane, k] = w00 * a[k] + w01 * b[k] + w10 * c[k] + w11 * d[k]
        e, f, w = lines[plane, low[plane]], lines[plane, low[plane] + 1], frac[plane]
        for k in range(channels):
            factors[3 + plane, k] = (1 - w) * e[k] + w * f[k]


@njit(cache=True, error_model="numpy", fastmath=True)
def _forward(points, space, lines, out, offset):
    channels = space.shape[3]
    low, frac, slope = np.empty(3, np.int64), np.empty(3, np.float32), np.empty(3, np.float32)
    factors = np.empty((6, channels), np.float32)
    for n in range(points.shape[0]):
        _factors(points, n, space, lines, low, frac, slope, factors)
        for k in range(channels):
            out[n, offset + k] = (
                factors[0, k] * factors[1, k] * factors[2, k] * factors[3, k] * factors[4, k] * factors[5, k]
            )


@njit(cache=True, error_model="numpy", fastmath=True)
def _backward(points, space, lines, grad, offset, grad_points, grad_space, grad_lines):
    channels = space.shape[3]
    low, frac, slope = np.empty(3, np.int64), np.empty(3, np.float32), np.empty(3, np.float32)
    factors = np.empty((6, channels), np.float32)
    others = np.empty((6, channels), np.float32)
    for n in range(points.shape[0]):
        _factors(points, n, space, lines, low, frac, slope, factors)
        for k in range(channels):
            # Products of the other five, from prefixes and suffixes: exact where a factor is zero.
            p1 = factors[0, k] * factors[1, k]
            p2 = p1 * factors[2, k]
            p3 = p2 * factors[3, k]
            s4 = factors[5, k] * factors[4, k]
            s3 = s4 * factors[3, k]
            s2 = s3 * factors[2, k]
            g = grad[n, offset + k]
            others[0, k] = g * factors[1, k] * s2
            others[1, k] = g * factors[0, k] * s2
            others[2, k] = g * p1 * s3
            others[3, k] = g * p2 * s4
            others[4, k] = g * p3 * factors[5, k]
            others[5, k] = g * p3 * factors[4, k]
        for plane in range(3):
            row, column = (1, 0) if plane == 0 else ((2, 0) if plane == 1 else (2, 1))
            i, j, u, v = low[row], low[column], frac[row], frac[column]
            w00, w01 = (1 - u) * (1 - v), (1 - u) * v
            w10, w11 = u * (1 - v), u * v
            a, b, c, d = space[plane, i, j], space[plane, i, j + 1], space[plane, i + 1, j], space[plane, i + 1, j + 1]
            ga, gb = grad_space[plane, i, j], grad_space[plane, i, j + 1]
            gc, gd = grad_space[plane, i + 1, j], grad_space[plane, i + 1, j + 1]
            du, dv = np.float32(0), np.float32(0)
            for k in range(channels):
                o = others[plane, k]
                ga[k] += w00 * o
                gb[k] += w01 * o
                gc[k] += w10 * o
                gd[k] += w11 * o
                du += o * ((1 - v) * (c[k] - a[k]) + v * (d[k] - b[k]))
                dv += o * ((1 - u) * (b[k] - a[k]) + u * (d[k] - c[k]))
            grad_points[n, row] += du * slope[row]
            grad_points[n, column] += dv * slope[column]
            e, f, w = lines[plane, low[plane]], lines[plane, low[plane] + 1], frac[plane]
            ge, gf = grad_lines[plane, low[plane]], grad_lines[plane, low[plane] + 1]
            dw = np.float32(0)
            for k in range(channels):
                o = others[3 + plane, k]
                ge[k] += (1 - w) * o
                gf[k] += w * o
                dw += o * (f[k] - e[k])
            grad_points[n, plane] += dw * slope[plane]


class _HexPlane(torch.autograd.Function):
    """All levels in one node; sums are in point order, so the result does not depend on threads."""

    @staticmethod
    def forward(ctx, points, levels, *planes):
        arrays = [plane.detach().numpy() for plane in planes]
        xyz = points.detach().numpy()
        channels = arrays[0].shape[3]
        out = np.empty((xyz.shape[0], levels * channels), np.float32)
        for level in range(levels):
            _forward(xyz, arrays[2 * level], arrays[2 * level + 1], out, level * channels)
        ctx.levels, ctx.xyz, ctx.arrays = levels, xyz, arrays
        return torch.from_numpy(out)

    @staticmethod
    def backward(ctx, grad):
        gradient = grad.contiguous().numpy()
        grad_points = np.zeros_like(ctx.xyz)
        grads = [np.zeros_like(array) for array in ctx.arrays]
        for level in range(ctx.levels):
            space, lines = ctx.arrays[2 * level], ctx.arrays[2 * level + 1]
            offset = level * space.shape[3]
            _backward(ctx.xyz, space, lines, gradient, offset, grad_points, grads[2 * level], grads[2 * level + 1])
        return torch.from_numpy(grad_points), None, *(torch.from_numpy(g) for g in grads)


def cut_time(planes: Tensor, time: float) -> Tensor:
    """Lines (3, R, C) of time planes (3, S, R, C) at `time` in [0, 1], linear between cells."""
    position = min(max(time, 0.0), 1.0) * (planes.shape[1] - 1)
    low = min(int(position), planes.shape[1] - 2)
    return torch.lerp(planes[:, low], planes[:, low + 1], position - low)


def features(points: Tensor, time: float, space: list[Tensor], time_planes: list[Tensor]) -> Tensor:
    """Features (N, L C) of points (N, 3) in [-1, 1] at `time` in [0, 1]; differentiable in all tensors.

    Compiled on the CPU in float32; elsewhere the slow twin `features_twin`.
    """
    if points.device.type != "cpu" or points.dtype != torch.float32:
        return features_twin(points, time, space, time_planes)
    planes = []
    for plane, over_time in zip(space, time_planes, strict=True):
        planes += [plane, cut_time(over_time, time).contiguous()]
    return _HexPlane.apply(points.contiguous(), len(space), *planes)


def features_twin(points: Tensor, time: float, space: list[Tensor], time_planes: list[Tensor]) -> Tensor:
    """The same through `grid_sample`, on any device and precision."""
    found = []
    when = torch.full_like(points[:, 0], 2 * time - 1)
    for plane, over_time in zip(space, time_planes, strict=True):
        product = torch.ones((), dtype=points.dtype, device=points.device)
        for index, (row, column) in enumerate(SPACE_AXES):
            product = product * _sample(plane[index], points[:, row], points[:, column])
        for axis in range(3):
            product = product * _sample(over_time[axis], when, points[:, axis])
        found.append(product)
    return torch.cat(found, dim=1)


def _sample(plane: Tensor, row: Tensor, column: Tensor) -> Tensor:
    grid = torch.stack([column, row], dim=-1)[None, :, None]
    image = plane.permute(2, 0, 1)[None]
    return functional.grid_sample(image, grid, mode="bilinear", padding_mode="border", align_corners=True)[0, :, :, 0].T

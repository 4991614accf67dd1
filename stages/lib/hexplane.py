"""HexPlane features of points at some times: six planes multiplied, levels concatenated.

Cao & Johnson 2023 (HexPlane), as used for gaussians by Wu et al. 2024 (4DGaussians) and STAG4D.

Vocabulary and conventions
--------------------------
- N points, M times, C channels, R cells of a spatial axis, S cells of the time axis, L levels.
- `space` (3, R, R, C): planes (y, x), (z, x), (z, y); rows are the first named axis.
- `time` (3, S, R, C): planes (time, x), (time, y), (time, z).
- Coordinates are in [-1, 1] at the outer cells (`align_corners`), clamped outside; so bounds must contain
  the points, or the feature becomes constant (`Deformation.check_bounds` allows a few).
- The times are the same for all points, so each time plane is first cut to one line (R, C) a time.
"""

from __future__ import annotations

import numpy as np
import torch
from numba import njit
from torch import Tensor
from torch.nn import functional

from stages.lib.raster.simd import FAST, LANES, lane_sum, load, splat, store

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


@njit(cache=True, error_model="numpy", fastmath=FAST, inline="always")
def _place(points, n, cells, channels, low, frac, slope, corners, weights):
    """Of point n: cells, fractions and slopes (3,); where its four corners begin on each flat spatial plane, and
    their weights (3, 4)."""
    for axis in range(3):
        low[axis], frac[axis], slope[axis] = _cell(points[n, axis], cells)
    for plane in range(3):
        row, column = (1, 0) if plane == 0 else ((2, 0) if plane == 1 else (2, 1))
        u, v = frac[row], frac[column]
        first = ((plane * cells + low[row]) * cells + low[column]) * channels
        corners[plane, 0], corners[plane, 1] = first, first + channels
        corners[plane, 2], corners[plane, 3] = first + cells * channels, first + (cells + 1) * channels
        weights[plane, 0], weights[plane, 1] = (1 - u) * (1 - v), (1 - u) * v
        weights[plane, 2], weights[plane, 3] = u * (1 - v), u * v


@njit(cache=True, error_model="numpy", fastmath=FAST, inline="always")
def _on_plane(space, corners, weights, plane, k):
    """Eight channels from k on of a point on one spatial plane."""
    value = splat(weights[plane, 0]) * load(space, corners[plane, 0] + k)
    value = value + splat(weights[plane, 1]) * load(space, corners[plane, 1] + k)
    value = value + splat(weights[plane, 2]) * load(space, corners[plane, 2] + k)
    return value + splat(weights[plane, 3]) * load(space, corners[plane, 3] + k)


@njit(cache=True, error_model="numpy", fastmath=FAST, inline="always")
def _add(array, index, value):
    store(array, index, load(array, index) + value)


@njit(cache=True, error_model="numpy", fastmath=FAST)
def _forward(points, space, lines, times, cells, channels, out, offset):
    """Fill columns offset to offset + C of flat out (M, N, .) from flat space (3, R, R, C) and lines (M, 3, R, C)."""
    low, frac, slope = np.empty(3, np.int64), np.empty(3, np.float32), np.empty(3, np.float32)
    corners, weights = np.empty((3, 4), np.int64), np.empty((3, 4), np.float32)
    count = points.shape[0]
    width = out.shape[0] // (times * count)
    for n in range(count):
        _place(points, n, cells, channels, low, frac, slope, corners, weights)
        u, v, w = splat(frac[0]), splat(frac[1]), splat(frac[2])
        for k in range(0, channels, LANES):
            still = _on_plane(space, corners, weights, 0, k)
            still = still * _on_plane(space, corners, weights, 1, k)
            still = still * _on_plane(space, corners, weights, 2, k)
            for m in range(times):
                a = ((3 * m) * cells + low[0]) * channels + k
                b = ((3 * m + 1) * cells + low[1]) * channels + k
                c = ((3 * m + 2) * cells + low[2]) * channels + k
                x0, y0, z0 = load(lines, a), load(lines, b), load(lines, c)
                x = x0 + u * (load(lines, a + channels) - x0)
                y = y0 + v * (load(lines, b + channels) - y0)
                z = z0 + w * (load(lines, c + channels) - z0)
                store(out, (m * count + n) * width + offset + k, still * x * y * z)


@njit(cache=True, error_model="numpy", fastmath=FAST)
def _backward(points, space, lines, times, cells, channels, grad, offset, grad_points, grad_space, grad_lines):
    low, frac, slope = np.empty(3, np.int64), np.empty(3, np.float32), np.empty(3, np.float32)
    corners, weights = np.empty((3, 4), np.int64), np.empty((3, 4), np.float32)
    count = points.shape[0]
    width = grad.shape[0] // (times * count)
    one = splat(np.float32(1))
    for n in range(count):
        _place(points, n, cells, channels, low, frac, slope, corners, weights)
        u, v, w = splat(frac[0]), splat(frac[1]), splat(frac[2])
        along = splat(np.float32(0)), splat(np.float32(0)), splat(np.float32(0))
        for k in range(0, channels, LANES):
            f0 = _on_plane(space, corners, weights, 0, k)
            f1 = _on_plane(space, corners, weights, 1, k)
            f2 = _on_plane(space, corners, weights, 2, k)
            still = f0 * f1 * f2
            moving = splat(np.float32(0))
            dx, dy, dz = along
            for m in range(times):
                a = ((3 * m) * cells + low[0]) * channels + k
                b = ((3 * m + 1) * cells + low[1]) * channels + k
                c = ((3 * m + 2) * cells + low[2]) * channels + k
                x0, y0, z0 = load(lines, a), load(lines, b), load(lines, c)
                slope_x = load(lines, a + channels) - x0
                slope_y = load(lines, b + channels) - y0
                slope_z = load(lines, c + channels) - z0
                x, y, z = x0 + u * slope_x, y0 + v * slope_y, z0 + w * slope_z
                g = load(grad, (m * count + n) * width + offset + k)
                moving = moving + g * x * y * z
                g = g * still
                gx, gy, gz = g * y * z, g * x * z, g * x * y
                _add(grad_lines, a, (one - u) * gx)
                _add(grad_lines, a + channels, u * gx)
                _add(grad_lines, b, (one - v) * gy)
                _add(grad_lines, b + channels, v * gy)
                _add(grad_lines, c, (one - w) * gz)
                _add(grad_lines, c + channels, w * gz)
                dx, dy, dz = dx + gx * slope_x, dy + gy * slope_y, dz + gz * slope_z
            # The product of the other factors, never a quotient: exact where a factor is zero.
            g0, g1, g2 = moving * f1 * f2, moving * f0 * f2, moving * f0 * f1
            row, column = _scatter(space, grad_space, corners, weights, frac, 0, k, g0)
            dy, dx = dy + row, dx + column
            row, column = _scatter(space, grad_space, corners, weights, frac, 1, k, g1)
            dz, dx = dz + row, dx + column
            row, column = _scatter(space, grad_space, corners, weights, frac, 2, k, g2)
            along = dx, dy + column, dz + row
        for axis in range(3):
            grad_points[n, axis] += lane_sum(along[axis]) * slope[axis]


@njit(cache=True, error_model="numpy", fastmath=FAST, inline="always")
def _scatter(space, grad_space, corners, weights, frac, plane, k, g):
    """Add a gradient of eight channels to the four corners; its derivatives along the plane's row and column axis."""
    row, column = (1, 0) if plane == 0 else ((2, 0) if plane == 1 else (2, 1))
    i, j, o, p = corners[plane, 0] + k, corners[plane, 1] + k, corners[plane, 2] + k, corners[plane, 3] + k
    _add(grad_space, i, splat(weights[plane, 0]) * g)
    _add(grad_space, j, splat(weights[plane, 1]) * g)
    _add(grad_space, o, splat(weights[plane, 2]) * g)
    _add(grad_space, p, splat(weights[plane, 3]) * g)
    a, b, c, d = load(space, i), load(space, j), load(space, o), load(space, p)
    u, v = splat(frac[row]), splat(frac[column])
    across, down = b - a, c - a
    twist = d - c - across
    return g * (down + v * twist), g * (across + u * twist)


class _HexPlane(torch.autograd.Function):
    """All levels in one node; sums are in point order, so the result does not depend on threads."""

    @staticmethod
    def forward(ctx, points, *planes):
        arrays = [plane.detach().numpy() for plane in planes]
        xyz = points.detach().numpy()
        channels, times = arrays[0].shape[3], arrays[1].shape[0]
        out = np.empty((times, xyz.shape[0], len(arrays) // 2 * channels), np.float32)
        for level, (space, lines) in enumerate(zip(arrays[::2], arrays[1::2], strict=True)):
            cells = space.shape[1]
            _forward(xyz, space.ravel(), lines.ravel(), times, cells, channels, out.ravel(), level * channels)
        ctx.xyz, ctx.arrays = xyz, arrays
        return torch.from_numpy(out)

    @staticmethod
    def backward(ctx, grad):
        gradient = grad.contiguous().numpy().ravel()
        grad_points = np.zeros_like(ctx.xyz)
        grads = [np.zeros_like(array) for array in ctx.arrays]
        channels, times = ctx.arrays[0].shape[3], ctx.arrays[1].shape[0]
        for level in range(len(ctx.arrays) // 2):
            space, lines = ctx.arrays[2 * level : 2 * level + 2]
            sums = (array.ravel() for array in grads[2 * level : 2 * level + 2])
            sizes = times, space.shape[1], channels
            _backward(
                ctx.xyz, space.ravel(), lines.ravel(), *sizes, gradient, level * channels, grad_points, *sums
            )  # fmt: skip
        return torch.from_numpy(grad_points), *(torch.from_numpy(g) for g in grads)


def cut_time(planes: Tensor, times: list[float]) -> Tensor:
    """Lines (M, 3, R, C) of time planes (3, S, R, C) at M times in [0, 1], linear between cells."""
    cells = planes.shape[1]
    positions = [min(max(time, 0.0), 1.0) * (cells - 1) for time in times]
    low = [min(int(position), cells - 2) for position in positions]
    high = [cell + 1 for cell in low]
    weights = planes.new_tensor([position - cell for position, cell in zip(positions, low, strict=True)])
    return torch.lerp(planes[:, low], planes[:, high], weights[None, :, None, None]).transpose(0, 1)


def features(points: Tensor, times: list[float], space: list[Tensor], time_planes: list[Tensor]) -> Tensor:
    """Features (M, N, L C) of points (N, 3) in [-1, 1] at M times in [0, 1]; differentiable in all tensors.

    The spatial planes are read once for all times. Compiled on the CPU in float32 for channels in
    eights; elsewhere the slow twin `features_twin`.
    """
    if points.device.type != "cpu" or points.dtype != torch.float32 or space[0].shape[3] % LANES:
        return features_twin(points, times, space, time_planes)
    planes = []
    for plane, over_time in zip(space, time_planes, strict=True):
        planes += [plane, cut_time(over_time, times).contiguous()]
    return _HexPlane.apply(points.contiguous(), *planes)


def features_twin(points: Tensor, times: list[float], space: list[Tensor], time_planes: list[Tensor]) -> Tensor:
    """The same through `grid_sample`, on any device and precision."""
    return torch.stack([_features_at(points, time, space, time_planes) for time in times])


def _features_at(points: Tensor, time: float, space: list[Tensor], time_planes: list[Tensor]) -> Tensor:
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

"""Head whose weights are made per token: the dynamic weighting of ADAPT (Aydemir et al. 2023).

Vocabulary and conventions
--------------------------
- D channels, E = D / 2 inputs of the small network, P numbers of the attribute (scale 3, quaternion 4).
- C *owners* have a feature; each of N tokens blends its k nearest owners (Spread), or is its own owner.
- A token's *source* (D,), made from its feature by `Source`, gives the weights of a small network for that token
  alone: W1 (P,E), b1 (P,), W2 (P,P), b2 (P,). Its input f (E,) is made of the feature, the current attribute, the
  change since the past one and a flag that tells whether there is a past one; it gives W2 relu(norm(W1 f + b1)) + b2,
  where norm is a layer norm over the P numbers.
- The source passes a perceptron, but what follows it is linear in it, and so is f in all its parts. So an owner makes
  its weights and its share of f once, as one *row* (Q,) = [W1, b1, W2, b2, share of f], and tokens blend rows.
- W2 and b2 start at zero for every source, so the residual does; the layers that make them learn from the first step.
"""

from __future__ import annotations

import numpy as np
import torch
from numba import njit
from torch import Tensor, nn
from torch.nn import functional

from stages.lib.raster.simd import FAST, LANES, lane_sum, load, splat, store
from stages.lib.temporal.mamba import drawn_linear

# Of the layer norm: torch's own default.
EPSILON = 1e-5


class Source(nn.Module):
    """Residual perceptron from features (..., D) to sources (..., D)."""

    def __init__(self, width: int, generator: torch.Generator) -> None:
        super().__init__()
        self.hidden = drawn_linear(width, width, generator)
        self.residual = drawn_linear(width, width, generator)

    def forward(self, feature: Tensor) -> Tensor:
        return feature + self.residual(torch.relu(self.hidden(feature)))


class DynamicWeights(nn.Module):
    """`rows` makes what owners contribute, `forward` the residuals of the tokens that blend them."""

    def __init__(self, width: int, size: int, generator: torch.Generator) -> None:
        super().__init__()
        inputs = width // 2
        # Its columns: feature, current attribute, change, known.
        self.project = drawn_linear(width + 2 * size + 1, inputs, generator)
        # All generated weights as one matrix: [W1, b1, W2, b2].
        self.weights = drawn_linear(width, size * (inputs + 1 + size + 1), generator)
        with torch.no_grad():
            self.weights.weight[size * (inputs + 1) :] = 0
            self.weights.bias[size * (inputs + 1) :] = 0
        self.norm = nn.LayerNorm(size, EPSILON)

    def rows(self, source: Tensor, feature: Tensor, change: Tensor, known: Tensor) -> Tensor:
        """Rows (M,C,Q) of owners from source and feature (M,C,D), the change since the past attribute (M,C,P) and
        known (M,C) bool: whether there is a past one. Without one the change must be zero."""
        width, size = feature.shape[-1], change.shape[-1]
        columns = torch.cat([self.project.weight[:, :width], self.project.weight[:, width + size :]], dim=1)
        given = torch.cat([feature, change, known[..., None].to(feature.dtype)], dim=-1)
        share = functional.linear(given, columns, self.project.bias)
        return torch.cat([self.weights(source), share], dim=-1)

    def forward(self, rows: Tensor, current: Tensor, nearest: Tensor | None, weights: Tensor | None) -> Tensor:
        """Residuals (M,N,P) of current attributes (M,N,P); weights (N,k) times the rows `nearest` (N,k) of rows
        (M,C,Q) and sum to 1; None = each token is its own owner.

        Compiled on the CPU in float32 for E in eights; elsewhere the slow twin `small_networks_twin`.
        """
        width, size = len(self.project.bias), current.shape[-1]
        columns = self.project.weight[:, -2 * size - 1 : -size - 1]
        if nearest is None:
            nearest = torch.arange(current.shape[1], device=rows.device)[:, None]
            weights = torch.ones(current.shape[1], 1, device=rows.device)
        fits = rows.device.type == "cpu" and rows.dtype == torch.float32 and width % LANES == 0
        network = small_networks if fits else small_networks_twin
        return network(rows, current, columns.T, self.norm.weight, self.norm.bias, nearest, weights)


def small_networks(rows, current, columns, scale, shift, nearest, weights) -> Tensor:
    """Outputs (M,N,P) of each token's own network: rows (M,C,Q), current (M,N,P), columns (P,E) through which the
    current attribute enters f, scale and shift (P,) of the norm, nearest and weights (N,k). CPU, float32."""
    return _SmallNetworks.apply(rows, current, columns, scale, shift, nearest, weights)


def small_networks_twin(rows, current, columns, scale, shift, nearest, weights) -> Tensor:
    """The same in plain torch, on any device and precision."""
    size, width = len(scale), columns.shape[1]
    row = (rows[:, nearest] * weights[..., None].to(rows.dtype)).sum(2)
    first, first_bias, second, second_bias, share = row.split([size * width, size, size * size, size, width], dim=2)
    entering = share + current @ columns
    inner = (first.unflatten(2, (size, width)) * entering[:, :, None]).sum(-1) + first_bias
    inner = torch.relu(functional.layer_norm(inner, (size,), scale, shift, EPSILON))
    return (second.unflatten(2, (size, size)) * inner[:, :, None]).sum(-1) + second_bias


@njit(cache=True, error_model="numpy", fastmath=FAST, inline="always")
def _blended(rows, table, nearest, weights, n, row):
    """Fill row (Q,) of token n: its owners' rows in `table`, weighted."""
    size = row.shape[0]
    whole = size - size % LANES
    for k in range(nearest.shape[1]):
        begin, weight = (table + nearest[n, k]) * size, weights[n, k]
        lanes = splat(weight)
        for q in range(0, whole, LANES):
            before = load(row, q) if k else splat(np.float32(0))
            store(row, q, before + lanes * load(rows, begin + q))
        for q in range(whole, size):
            row[q] = (row[q] if k else np.float32(0)) + weight * rows[begin + q]


@njit(cache=True, error_model="numpy", fastmath=FAST, inline="always")
def _inner(row, current, place, columns, width, scale, shift, normal, active):
    """Complete f at the end of row, fill the normalised and the active inner values (P,) of one token; returns
    1 / their standard deviation."""
    size = scale.shape[0]
    entering = row.shape[0] - width
    for k in range(0, width, LANES):
        total = load(row, entering + k)
        for p in range(size):
            total = total + splat(current[place + p]) * load(columns, p * width + k)
        store(row, entering + k, total)
    mean = np.float32(0)
    for p in range(size):
        total = splat(np.float32(0))
        for k in range(0, width, LANES):
            total = total + load(row, p * width + k) * load(row, entering + k)
        normal[p] = lane_sum(total) + row[size * width + p]
        mean += normal[p]
    mean /= np.float32(size)
    variance = np.float32(0)
    for p in range(size):
        normal[p] -= mean
        variance += normal[p] * normal[p]
    inverse = np.float32(1) / np.sqrt(variance / np.float32(size) + np.float32(EPSILON))
    for p in range(size):
        normal[p] *= inverse
        active[p] = max(normal[p] * scale[p] + shift[p], np.float32(0))
    return inverse


@njit(cache=True, error_model="numpy", fastmath=FAST)
def _forward(rows, current, columns, scale, shift, nearest, weights, tables, row, out):
    size, count = scale.shape[0], nearest.shape[0]
    width = columns.shape[0] // size
    owners = rows.shape[0] // (tables * row.shape[0])
    normal, active = np.empty(size, np.float32), np.empty(size, np.float32)
    second = size * (width + 1)
    for m in range(tables):
        for n in range(count):
            place = (m * count + n) * size
            _blended(rows, m * owners, nearest, weights, n, row)
            _inner(row, current, place, columns, width, scale, shift, normal, active)
            for p in range(size):
                total = row[second + size * size + p]
                for q in range(size):
                    total += row[second + p * size + q] * active[q]
                out[place + p] = total


@njit(cache=True, error_model="numpy", fastmath=FAST)
def _backward(
    rows, current, columns, scale, shift, nearest, weights, grad, tables, row, d_row,
    d_rows, d_current, d_columns, d_scale, d_shift,
):  # fmt: skip
    size, count, length = scale.shape[0], nearest.shape[0], row.shape[0]
    width = columns.shape[0] // size
    owners = rows.shape[0] // (tables * length)
    normal, active = np.empty(size, np.float32), np.empty(size, np.float32)
    d_inner = np.empty(size, np.float32)
    second, entering, whole = size * (width + 1), length - width, length - length % LANES
    for m in range(tables):
        for n in range(count):
            place = (m * count + n) * size
            _blended(rows, m * owners, nearest, weights, n, row)
            inverse = _inner(row, current, place, columns, width, scale, shift, normal, active)
            mean, along = np.float32(0), np.float32(0)
            for q in range(size):
                total = np.float32(0)
                for p in range(size):
                    total += row[second + p * size + q] * grad[place + p]
                    d_row[second + p * size + q] = grad[place + p] * active[q]
                total = total if active[q] > 0 else np.float32(0)
                d_scale[q] += total * normal[q]
                d_shift[q] += total
                d_inner[q] = total * scale[q]
                mean += d_inner[q]
                along += d_inner[q] * normal[q]
            mean, along = mean / np.float32(size), along / np.float32(size)
            for p in range(size):
                d_row[second + size * size + p] = grad[place + p]
                d_inner[p] = inverse * (d_inner[p] - mean - normal[p] * along)
                d_row[size * width + p] = d_inner[p]
                d_current[place + p] = np.float32(0)
            for k in range(0, width, LANES):
                here = load(row, entering + k)
                total = splat(np.float32(0))
                for p in range(size):
                    slope = splat(d_inner[p])
                    total = total + slope * load(row, p * width + k)
                    store(d_row, p * width + k, slope * here)
                store(d_row, entering + k, total)
                for p in range(size):
                    value = splat(current[place + p])
                    store(d_columns, p * width + k, load(d_columns, p * width + k) + value * total)
                    d_current[place + p] += lane_sum(total * load(columns, p * width + k))
            for k in range(nearest.shape[1]):
                begin, weight = (m * owners + nearest[n, k]) * length, weights[n, k]
                lanes = splat(weight)
                for q in range(0, whole, LANES):
                    store(d_rows, begin + q, load(d_rows, begin + q) + lanes * load(d_row, q))
                for q in range(whole, length):
                    d_rows[begin + q] += weight * d_row[q]


class _SmallNetworks(torch.autograd.Function):
    """Keeps its inputs; sums over tokens in order, so two runs are equal."""

    @staticmethod
    def forward(ctx, rows, current, columns, scale, shift, nearest, weights):
        tensors = (rows, current, columns, scale, shift, nearest, weights)
        ctx.arrays = [tensor.detach().contiguous().numpy() for tensor in tensors]
        rows, current, columns, scale, shift, nearest, weights = ctx.arrays
        out = np.empty(current.shape, np.float32)
        row = np.empty(rows.shape[2], np.float32)
        flat = rows.ravel(), current.ravel(), columns.ravel(), scale, shift, nearest, weights
        _forward(*flat, len(rows), row, out.ravel())
        return torch.from_numpy(out)

    @staticmethod
    def backward(ctx, grad):
        rows, current, columns, scale, shift, nearest, weights = ctx.arrays
        found = [np.zeros_like(array) for array in (rows, current, columns, scale, shift)]
        row, d_row = np.empty(rows.shape[2], np.float32), np.empty(rows.shape[2], np.float32)
        flat = rows.ravel(), current.ravel(), columns.ravel(), scale, shift, nearest, weights
        _backward(*flat, grad.contiguous().numpy().ravel(), len(rows), row, d_row, *(array.ravel() for array in found))
        return (*(torch.from_numpy(array) for array in found), None, None)

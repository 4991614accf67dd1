"""Head whose weights are made per token: the dynamic weighting of ADAPT (Aydemir et al. 2023).

Vocabulary and conventions
--------------------------
- N tokens, D channels, E = D / 2 inputs of the small network, P numbers of the attribute (scale 3, quaternion 4).
- A token's *source* (N, D), made from its feature by `Source`, gives the weights of a small network for that token
  alone: W1 (P,E), b1 (P,), W2 (P,P), b2 (P,), in this order one row of a matrix. Its input f (E,) is made of the
  feature, the current attribute, the change since the past one and a flag that tells whether there is a past one; it
  gives W2 relu(norm(W1 f + b1)) + b2, where norm is a layer norm over the P numbers.
- The source passes a perceptron, but what follows it is linear in it; so a source may be blended from neighbours.
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
    """Residual perceptron from features (N,D) to sources (N,D)."""

    def __init__(self, width: int, generator: torch.Generator) -> None:
        super().__init__()
        self.hidden = drawn_linear(width, width, generator)
        self.residual = drawn_linear(width, width, generator)

    def forward(self, feature: Tensor) -> Tensor:
        return feature + self.residual(torch.relu(self.hidden(feature)))


class DynamicWeights(nn.Module):
    """Residual (N,P) from source and feature (N,D), the current attribute and its change since the past one (N,P), and
    known (N,) bool: whether there is a past one. Without one the change must be zero."""

    def __init__(self, width: int, size: int, generator: torch.Generator) -> None:
        super().__init__()
        inputs = width // 2
        self.project = drawn_linear(width + 2 * size + 1, inputs, generator)
        # All generated weights as one matrix: [W1, b1, W2, b2].
        self.weights = drawn_linear(width, size * (inputs + 1 + size + 1), generator)
        with torch.no_grad():
            self.weights.weight[size * (inputs + 1) :] = 0
            self.weights.bias[size * (inputs + 1) :] = 0
        self.norm = nn.LayerNorm(size, EPSILON)

    def forward(self, source: Tensor, feature: Tensor, current: Tensor, change: Tensor, known: Tensor) -> Tensor:
        entering = self.project(torch.cat([feature, current, change, known[:, None].to(feature.dtype)], dim=1))
        return small_network(self.weights(source), entering, self.norm.weight, self.norm.bias)


def small_network(made: Tensor, entering: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Outputs (N,P) of each token's own network: made (N, P E + P + P P + P), entering (N,E), scale and shift (P,) of
    the norm.

    Compiled on the CPU in float32 for E in eights; elsewhere the slow twin `small_network_twin`.
    """
    if made.device.type != "cpu" or made.dtype != torch.float32 or entering.shape[1] % LANES:
        return small_network_twin(made, entering, scale, shift)
    return _SmallNetwork.apply(made, entering, scale, shift)


def small_network_twin(made: Tensor, entering: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """The same in plain torch, on any device and precision."""
    size, width = len(scale), entering.shape[1]
    first, first_bias, second, second_bias = made.split([size * width, size, size * size, size], dim=1)
    inner = (first.unflatten(1, (size, width)) * entering[:, None]).sum(-1) + first_bias
    inner = torch.relu(functional.layer_norm(inner, (size,), scale, shift, EPSILON))
    return (second.unflatten(1, (size, size)) * inner[:, None]).sum(-1) + second_bias


@njit(cache=True, error_model="numpy", fastmath=FAST, inline="always")
def _inner(made, entering, begin, place, width, scale, shift, normal, active):
    """Fill the normalised (P,) and active (P,) inner values of one token; returns 1 / their standard deviation."""
    size = scale.shape[0]
    mean = np.float32(0)
    for p in range(size):
        total = splat(np.float32(0))
        for k in range(0, width, LANES):
            total = total + load(made, begin + p * width + k) * load(entering, place + k)
        normal[p] = lane_sum(total) + made[begin + size * width + p]
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
def _forward(made, entering, scale, shift, out):
    count, size = out.shape
    width = entering.shape[0] // count
    row = size * (width + 1 + size + 1)
    normal, active = np.empty(size, np.float32), np.empty(size, np.float32)
    for n in range(count):
        begin = n * row
        _inner(made, entering, begin, n * width, width, scale, shift, normal, active)
        second = begin + size * (width + 1)
        for p in range(size):
            total = made[second + size * size + p]
            for q in range(size):
                total += made[second + p * size + q] * active[q]
            out[n, p] = total


@njit(cache=True, error_model="numpy", fastmath=FAST)
def _backward(made, entering, scale, shift, grad, d_made, d_entering, d_scale, d_shift):
    count, size = grad.shape
    width = entering.shape[0] // count
    row = size * (width + 1 + size + 1)
    normal, active = np.empty(size, np.float32), np.empty(size, np.float32)
    d_inner = np.empty(size, np.float32)
    for n in range(count):
        begin, place = n * row, n * width
        inverse = _inner(made, entering, begin, place, width, scale, shift, normal, active)
        second = begin + size * (width + 1)
        mean, along = np.float32(0), np.float32(0)
        for q in range(size):
            total = np.float32(0)
            for p in range(size):
                total += made[second + p * size + q] * grad[n, p]
                d_made[second + p * size + q] = grad[n, p] * active[q]
            total = total if active[q] > 0 else np.float32(0)
            d_scale[q] += total * normal[q]
            d_shift[q] += total
            d_inner[q] = total * scale[q]
            mean += d_inner[q]
            along += d_inner[q] * normal[q]
        mean, along = mean / np.float32(size), along / np.float32(size)
        for p in range(size):
            d_made[second + size * size + p] = grad[n, p]
            d_inner[p] = inverse * (d_inner[p] - mean - normal[p] * along)
            d_made[begin + size * width + p] = d_inner[p]
        for k in range(0, width, LANES):
            here = load(entering, place + k)
            total = splat(np.float32(0))
            for p in range(size):
                slope = splat(d_inner[p])
                total = total + slope * load(made, begin + p * width + k)
                store(d_made, begin + p * width + k, slope * here)
            store(d_entering, place + k, total)


class _SmallNetwork(torch.autograd.Function):
    """Keeps its inputs; sums over tokens in order."""

    @staticmethod
    def forward(ctx, made, entering, scale, shift):
        ctx.arrays = [tensor.detach().contiguous().numpy() for tensor in (made, entering, scale, shift)]
        out = np.empty((len(made), len(scale)), np.float32)
        made, entering, scale, shift = ctx.arrays
        _forward(made.ravel(), entering.ravel(), scale, shift, out)
        return torch.from_numpy(out)

    @staticmethod
    def backward(ctx, grad):
        made, entering, scale, shift = ctx.arrays
        d_made, d_entering = np.empty_like(made), np.empty_like(entering)
        d_scale, d_shift = np.zeros_like(scale), np.zeros_like(shift)
        flat = made.ravel(), entering.ravel(), scale, shift, grad.contiguous().numpy()
        _backward(*flat, d_made.ravel(), d_entering.ravel(), d_scale, d_shift)
        return tuple(torch.from_numpy(array) for array in (d_made, d_entering, d_scale, d_shift))

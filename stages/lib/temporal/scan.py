"""Selective scan of a state-space model (Mamba; Gu & Dao 2023): compiled on the CPU, with a plain torch twin.

Vocabulary and conventions
--------------------------
- N sequences, S tokens (oldest first), E inner channels, STATES = 16 states a channel, LANES channels in a register.
- x (N,S,E) enters with step sizes delta (N,S,E) >= 0; input_weights (N,S,16) and output_weights (N,S,16) are the
  papers' B and C; decay (E,16) < 0 is A and skip (E,) is D. With a state h (E,16) that starts at zero:
      h_t = exp(delta_t decay) h_(t-1) + delta_t x_t input_weights_t
      y_t = h_t output_weights_t + skip x_t
- The *last* token's output alone needs no recurrence: with the *elapsed* time of token t, the sum of the deltas
  after it, y = sum_t delta_t x_t sum_n pair_tn exp(elapsed_t decay_n), pair_tn = input_weights_tn
  output_weights_last,n. So its backward pass needs no states either.
- Kernels take *rates* (16,E) = transposed decay in units of log 2, flat arrays, and channels in eights; their lanes
  are channels, so the states of a token are a plain loop. They keep what one sequence needs and nothing of the others.
"""

from __future__ import annotations

import importlib.util
import math

import numpy as np
import torch
from numba import njit
from torch import Tensor
from torch.autograd.function import once_differentiable

from stages.lib.raster.simd import FAST, LANES, exp2_of_negative, lane_sum, load, splat, store

STATES = 16
LOG2_E = math.log2(math.e)
LOG_2 = np.float32(math.log(2))


def compilable(x: Tensor, states: int) -> bool:
    """Whether the kernels take this tensor (...,E): float32 on the CPU, channels in eights, 16 states."""
    return x.device.type == "cpu" and x.dtype == torch.float32 and x.shape[-1] % LANES == 0 and states == STATES


# ---------------------------------------------------------------------------------------------- one sequence, last


@njit(cache=True, error_model="numpy", fastmath=FAST)
def last_forward(rates, elapsed, entering, pairs, present, row, tokens, channels, out, place):
    """out[place : place + E] = the last token's y without its skip, of the sequence whose tokens are rows 0 to S.

    elapsed (S,E), entering (S,E) = delta x and pairs (S,16) begin at 0; present (.,S) begins at `row`.
    """
    for k in range(0, channels, LANES):
        # The last token has not decayed.
        total = np.float32(0)
        for n in range(STATES):
            total += pairs[(tokens - 1) * STATES + n]
        value = splat(total) * load(entering, (tokens - 1) * channels + k)
        for t in range(tokens - 1):
            if not present[row + t]:
                continue
            passed = load(elapsed, t * channels + k)
            seen = splat(np.float32(0))
            for n in range(STATES):
                left = exp2_of_negative(load(rates, n * channels + k) * passed)
                seen = seen + splat(pairs[t * STATES + n]) * left
            value = value + seen * load(entering, t * channels + k)
        store(out, place + k, value)


@njit(cache=True, error_model="numpy", fastmath=FAST)
def last_backward(
    rates, elapsed, entering, pairs, present, row, tokens, channels, grad, place,
    grad_elapsed, grad_entering, grad_pairs, grad_decay, sums,
):  # fmt: skip
    """Gradients of `last_forward`: overwrites grad_elapsed, grad_entering and grad_pairs in the rows of present
    tokens, adds to grad_decay (16,E). `sums` (16 LANES,) is scratch."""
    for t in range(tokens - 1):
        if not present[row + t]:
            continue
        for n in range(STATES):
            store(sums, n * LANES, splat(np.float32(0)))
        for k in range(0, channels, LANES):
            passed = load(elapsed, t * channels + k)
            outer = load(grad, place + k)
            along = outer * load(entering, t * channels + k)
            timed = along * passed
            seen, slope = splat(np.float32(0)), splat(np.float32(0))
            for n in range(STATES):
                rate = load(rates, n * channels + k)
                left = exp2_of_negative(rate * passed)
                weighted = splat(pairs[t * STATES + n]) * left
                seen = seen + weighted
                slope = slope + weighted * rate
                store(sums, n * LANES, load(sums, n * LANES) + along * left)
                # The logarithms of 2 in rates and in the derivative of a power of 2 cancel.
                place_n = n * channels + k
                store(grad_decay, place_n, load(grad_decay, place_n) + timed * weighted)
            store(grad_entering, t * channels + k, outer * seen)
            store(grad_elapsed, t * channels + k, along * slope * splat(LOG_2))
        for n in range(STATES):
            grad_pairs[t * STATES + n] = lane_sum(load(sums, n * LANES))
    last = (tokens - 1) * channels
    total, product = np.float32(0), splat(np.float32(0))
    for n in range(STATES):
        total += pairs[(tokens - 1) * STATES + n]
    for k in range(0, channels, LANES):
        outer = load(grad, place + k)
        product = product + outer * load(entering, last + k)
        store(grad_entering, last + k, outer * splat(total))
        store(grad_elapsed, last + k, splat(np.float32(0)))
    for n in range(STATES):
        grad_pairs[(tokens - 1) * STATES + n] = lane_sum(product)


@njit(cache=True, error_model="numpy", fastmath=FAST)
def _scan_last(x, delta, rates, entering_weights, leaving_weights, tokens, channels, out):
    """Fill flat out (N,E), without the skip, from flat x, delta (N,S,E), input weights (N,S,16), output (N,16)."""
    size = tokens * channels
    elapsed, entering = np.empty(size, np.float32), np.empty(size, np.float32)
    pairs, present = np.empty(tokens * STATES, np.float32), np.ones(tokens, np.bool_)
    for i in range(out.shape[0] // channels):
        _prepare_last(x, delta, entering_weights, leaving_weights, i, tokens, channels, elapsed, entering, pairs)
        last_forward(rates, elapsed, entering, pairs, present, 0, tokens, channels, out, i * channels)


@njit(cache=True, error_model="numpy", fastmath=FAST)
def _prepare_last(x, delta, entering_weights, leaving_weights, i, tokens, channels, elapsed, entering, pairs):
    """elapsed, entering and pairs of sequence i."""
    begin = i * tokens
    for k in range(0, channels, LANES):
        since = splat(np.float32(0))
        for t in range(tokens - 1, -1, -1):
            step = load(delta, (begin + t) * channels + k)
            store(elapsed, t * channels + k, since)
            store(entering, t * channels + k, step * load(x, (begin + t) * channels + k))
            since = since + step
    for t in range(tokens):
        for n in range(STATES):
            pairs[t * STATES + n] = entering_weights[(begin + t) * STATES + n] * leaving_weights[i * STATES + n]


@njit(cache=True, error_model="numpy", fastmath=FAST)
def _scan_last_backward(
    x, delta, rates, entering_weights, leaving_weights, tokens, channels, grad,
    grad_x, grad_delta, grad_decay, grad_entering_weights, grad_leaving_weights,
):  # fmt: skip
    """Overwrite the gradients of `_scan_last` but grad_decay, to which it adds."""
    size = tokens * channels
    elapsed, entering = np.empty(size, np.float32), np.empty(size, np.float32)
    grad_elapsed, grad_entering = np.empty(size, np.float32), np.empty(size, np.float32)
    pairs, grad_pairs = np.empty(tokens * STATES, np.float32), np.empty(tokens * STATES, np.float32)
    present, sums = np.ones(tokens, np.bool_), np.empty(STATES * LANES, np.float32)
    for i in range(grad.shape[0] // channels):
        _prepare_last(x, delta, entering_weights, leaving_weights, i, tokens, channels, elapsed, entering, pairs)
        last_backward(
            rates, elapsed, entering, pairs, present, 0, tokens, channels, grad, i * channels,
            grad_elapsed, grad_entering, grad_pairs, grad_decay, sums,
        )  # fmt: skip
        begin = i * tokens
        for k in range(0, channels, LANES):
            # The delta of a token ages all tokens before it.
            older = splat(np.float32(0))
            for t in range(tokens):
                place, here = (begin + t) * channels + k, t * channels + k
                store(grad_x, place, load(grad_entering, here) * load(delta, place))
                store(grad_delta, place, load(grad_entering, here) * load(x, place) + older)
                older = older + load(grad_elapsed, here)
        for n in range(STATES):
            total = np.float32(0)
            for t in range(tokens):
                place, here = (begin + t) * STATES + n, grad_pairs[t * STATES + n]
                grad_entering_weights[place] = here * leaving_weights[i * STATES + n]
                total += here * entering_weights[place]
            grad_leaving_weights[i * STATES + n] = total


# ------------------------------------------------------------------------------------------------ all tokens' outputs


@njit(cache=True, error_model="numpy", fastmath=FAST)
def _scan(x, delta, rates, entering_weights, leaving_weights, tokens, channels, out):
    """Fill flat out (N,S,E), without the skip; weights are (N,S,16)."""
    state = np.empty(STATES * LANES, np.float32)
    for i in range(out.shape[0] // (tokens * channels)):
        for k in range(0, channels, LANES):
            state[:] = 0
            for row in range(i * tokens, (i + 1) * tokens):
                step = load(delta, row * channels + k)
                entering = step * load(x, row * channels + k)
                value = splat(np.float32(0))
                for n in range(STATES):
                    left = exp2_of_negative(load(rates, n * channels + k) * step)
                    now = left * load(state, n * LANES) + entering * splat(entering_weights[row * STATES + n])
                    store(state, n * LANES, now)
                    value = value + now * splat(leaving_weights[row * STATES + n])
                store(out, row * channels + k, value)


@njit(cache=True, error_model="numpy", fastmath=FAST)
def _scan_backward(
    x, delta, rates, entering_weights, leaving_weights, tokens, channels, grad,
    grad_x, grad_delta, grad_decay, grad_entering_weights, grad_leaving_weights,
):  # fmt: skip
    """Overwrite grad_x and grad_delta; add to the others. The states of eight channels of one sequence are redone."""
    size = STATES * LANES
    states, lefts = np.zeros((tokens + 1) * size, np.float32), np.empty(tokens * size, np.float32)
    adjoint = np.empty(size, np.float32)
    for i in range(grad.shape[0] // (tokens * channels)):
        for k in range(0, channels, LANES):
            for t in range(tokens):
                row = i * tokens + t
                step = load(delta, row * channels + k)
                entering = step * load(x, row * channels + k)
                for n in range(STATES):
                    here = t * size + n * LANES
                    left = exp2_of_negative(load(rates, n * channels + k) * step)
                    store(lefts, here, left)
                    now = left * load(states, here) + entering * splat(entering_weights[row * STATES + n])
                    store(states, here + size, now)
            adjoint[:] = 0
            for t in range(tokens - 1, -1, -1):
                row = i * tokens + t
                step, value = load(delta, row * channels + k), load(x, row * channels + k)
                outer, entering = load(grad, row * channels + k), step * value
                to_entering, to_step = splat(np.float32(0)), splat(np.float32(0))
                for n in range(STATES):
                    here, place = t * size + n * LANES, n * channels + k
                    left = load(lefts, here)
                    to_state = load(adjoint, n * LANES) + outer * splat(leaving_weights[row * STATES + n])
                    grad_leaving_weights[row * STATES + n] += lane_sum(outer * load(states, here + size))
                    grad_entering_weights[row * STATES + n] += lane_sum(to_state * entering)
                    to_entering = to_entering + to_state * splat(entering_weights[row * STATES + n])
                    to_left = to_state * left * load(states, here)
                    to_step = to_step + to_left * load(rates, place)
                    store(grad_decay, place, load(grad_decay, place) + to_left * step)
                    store(adjoint, n * LANES, to_state * left)
                store(grad_x, row * channels + k, to_entering * step)
                store(grad_delta, row * channels + k, to_entering * value + to_step * splat(LOG_2))


# ------------------------------------------------------------------------------------------------------- in autograd


def rates_of(decay: Tensor) -> np.ndarray:
    """Flat rates (16 E,) that the kernels take, of decay (E,16)."""
    return (decay.detach().T * LOG2_E).contiguous().numpy().ravel()


def flat(tensor: Tensor) -> np.ndarray:
    """The memory of a CPU tensor as a vector, copied only where it is not contiguous."""
    return tensor.detach().contiguous().numpy().ravel()


class _SelectiveScan(torch.autograd.Function):
    """Either kernel in one node, without the skip; the output weights' shape (N,S,16) or (N,16) says which."""

    @staticmethod
    def forward(ctx, x, delta, decay, input_weights, output_weights):
        ctx.save_for_backward(x, delta, decay, input_weights, output_weights)
        arrays = flat(x), flat(delta), rates_of(decay), flat(input_weights), flat(output_weights)
        only_last = output_weights.dim() == 2
        out = x.new_empty((x.shape[0], x.shape[2]) if only_last else x.shape)
        (_scan_last if only_last else _scan)(*arrays, x.shape[1], x.shape[2], out.numpy().ravel())
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        x, delta, decay, input_weights, output_weights = ctx.saved_tensors
        arrays = flat(x), flat(delta), rates_of(decay), flat(input_weights), flat(output_weights)
        shapes = x.shape, x.shape, (STATES, x.shape[2]), input_weights.shape, output_weights.shape
        grads = [x.new_zeros(shape) for shape in shapes]
        kernel = _scan_last_backward if output_weights.dim() == 2 else _scan_backward
        kernel(*arrays, x.shape[1], x.shape[2], flat(grad), *(g.numpy().ravel() for g in grads))
        grads[2] = grads[2].T
        return tuple(grads)


def selective_scan(
    x: Tensor, delta: Tensor, decay: Tensor, input_weights: Tensor, output_weights: Tensor, skip: Tensor
) -> Tensor:
    """y (N,S,E) of all tokens, or (N,E) of the last where output_weights is (N,16), that token's alone.

    Compiled on the CPU (`compilable`); on CUDA mamba_ssm's kernel where it is installed; elsewhere `scan_twin`.
    """
    only_last = output_weights.dim() == 2
    if compilable(x, decay.shape[1]):
        y = _SelectiveScan.apply(x, delta, decay, input_weights, output_weights)
        return y + skip * (x[:, -1] if only_last else x)
    if x.is_cuda and importlib.util.find_spec("mamba_ssm") is not None:
        return scan_mamba_ssm(x, delta, decay, input_weights, output_weights, skip)
    return scan_twin(x, delta, decay, input_weights, output_weights, skip)


def scan_twin(
    x: Tensor, delta: Tensor, decay: Tensor, input_weights: Tensor, output_weights: Tensor, skip: Tensor
) -> Tensor:
    """The same as the recurrence in plain torch, on any device and precision, for any number of states."""
    only_last = output_weights.dim() == 2
    state = x.new_zeros(x.shape[0], x.shape[2], decay.shape[1])
    outputs = []
    for t in range(x.shape[1]):
        left = torch.exp(delta[:, t, :, None] * decay)
        state = left * state + (delta[:, t] * x[:, t])[..., None] * input_weights[:, t, None]
        if not only_last:
            outputs.append((state * output_weights[:, t, None]).sum(-1))
    if only_last:
        return (state * output_weights[:, None]).sum(-1) + skip * x[:, -1]
    return torch.stack(outputs, dim=1) + skip * x


def scan_mamba_ssm(
    x: Tensor, delta: Tensor, decay: Tensor, input_weights: Tensor, output_weights: Tensor, skip: Tensor
) -> Tensor:
    """The same through mamba_ssm's CUDA kernel, which wants tokens last and all tokens' output weights."""
    from mamba_ssm.ops.selective_scan_interface import selective_scan_fn

    only_last = output_weights.dim() == 2
    if only_last:
        output_weights = output_weights[:, None].expand_as(input_weights)
    x, delta, input_weights, output_weights = (
        tensor.transpose(1, 2).contiguous() for tensor in (x, delta, input_weights, output_weights)
    )
    y = selective_scan_fn(x, delta, decay, input_weights, output_weights, skip).transpose(1, 2)
    return y[:, -1] if only_last else y

"""Norm, Mamba mixer and residual of the last token as one autograd node on the CPU.

In separate torch operations the block spends most of its time on (N,S,E) tensors that do not fit a cache, and on a
hundred small calls where N is small. Here chunks of sequences go through matrix products and kernels in turn, in
scratch memory that stays in the cache; the backward pass repeats them and keeps only y (N,E) in between.

Vocabulary and conventions
--------------------------
- Letters and names are those of `stages.lib.temporal.mamba` and `scan`; R numbers make the step sizes. The slow twin
  is `MambaBlock.last_twin` in `encoders`.
- *normed* (N,S,D), zero where absent; *before* and x (N,S,E) before and after convolution and silu; *projected*
  (N,S,R+32) = [step, input weights, output weights]; *gate* z and y (N,E) of the last token.
- Kernels take flat arrays, D and E in eights, and weights with the channel as the last axis: taps (4,E), steps (R,E).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numba import njit
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import LayerNorm

from stages.lib.raster.simd import (
    FAST,
    LANES,
    exp2_of_negative,
    lane_sum,
    load,
    maximum,
    select,
    splat,
    square_root,
    store,
)
from stages.lib.temporal.mamba import TAPS, Mixer
from stages.lib.temporal.scan import LOG2_E, STATES, flat, last_backward, last_forward, rates_of

# Rows (tokens) of a chunk: larger ones leave the caches, smaller ones are more calls; flat between 1,000 and 5,000.
CHUNK_ROWS = 2560
NEGATIVE_LOG2_E = np.float32(-LOG2_E)


@njit(cache=True, error_model="numpy", fastmath=FAST, inline="always")
def _exp_of_minus_size(value):
    """exp(-|value|)."""
    return exp2_of_negative(maximum(value, -value) * splat(NEGATIVE_LOG2_E))


@njit(cache=True, error_model="numpy", fastmath=FAST, inline="always")
def _sigmoid(value):
    small = _exp_of_minus_size(value)
    large = splat(np.float32(1)) / (splat(np.float32(1)) + small)
    return select(value >= splat(np.float32(0)), large, small * large)


@njit(cache=True, error_model="numpy", fastmath=FAST, inline="always")
def _softplus(value):
    """log(1 + exp(value)) as max(value, 0) + log(1 + e) with e = exp(-|value|) <= 1.

    log(1 + e) = 2 artanh(r), r = e / (2 + e) <= 1/3; seven terms leave a relative error of 2e-8.
    """
    small = _exp_of_minus_size(value)
    ratio = small / (splat(np.float32(2)) + small)
    square = ratio * ratio
    series = splat(np.float32(1 / 13))
    series = series * square + splat(np.float32(1 / 11))
    series = series * square + splat(np.float32(1 / 9))
    series = series * square + splat(np.float32(1 / 7))
    series = series * square + splat(np.float32(1 / 5))
    series = series * square + splat(np.float32(1 / 3))
    series = series * square + splat(np.float32(1))
    return maximum(value, splat(np.float32(0))) + splat(np.float32(2)) * ratio * series


@njit(cache=True, error_model="numpy", fastmath=FAST, inline="always")
def _moments(window, begin, width, epsilon):
    """Mean and 1 / standard deviation of a token, in all lanes."""
    total = splat(np.float32(0))
    for k in range(0, width, LANES):
        total = total + load(window, begin + k)
    mean = splat(lane_sum(total) / np.float32(width))
    total = splat(np.float32(0))
    for k in range(0, width, LANES):
        away = load(window, begin + k) - mean
        total = total + away * away
    spread = splat(lane_sum(total) / np.float32(width) + epsilon)
    return mean, splat(np.float32(1)) / square_root(spread)


@njit(cache=True, error_model="numpy", fastmath=FAST)
def _normalise(window, present, first, rows, width, gain, bias, epsilon, normed):
    """Fill normed from row `first` of window on; zeros where absent, whatever is there."""
    for row in range(rows):
        if present[first + row]:
            begin = (first + row) * width
            mean, scale = _moments(window, begin, width, epsilon)
            for k in range(0, width, LANES):
                value = (load(window, begin + k) - mean) * scale
                store(normed, row * width + k, value * load(gain, k) + load(bias, k))
        else:
            for k in range(0, width, LANES):
                store(normed, row * width + k, splat(np.float32(0)))


@njit(cache=True, error_model="numpy", fastmath=FAST)
def _normalise_backward(
    window, present, first, sequences, tokens, width, gain, epsilon, grad_normed, grad_last, grad_out,
    grad_window, grad_gain, grad_bias,
):  # fmt: skip
    """Fill grad_window from row `first` on. The last token gets grad_last (N,D) more through the norm, and grad_out
    (flat, of all sequences) through the residual."""
    for row in range(sequences * tokens):
        begin, place = (first + row) * width, row * width
        if not present[first + row]:
            for k in range(0, width, LANES):
                store(grad_window, begin + k, splat(np.float32(0)))
            continue
        mean, scale = _moments(window, begin, width, epsilon)
        sequence = row // tokens
        last = row % tokens == tokens - 1
        along, along_value = splat(np.float32(0)), splat(np.float32(0))
        for k in range(0, width, LANES):
            outer = load(grad_normed, place + k)
            if last:
                outer = outer + load(grad_last, sequence * width + k)
                store(grad_normed, place + k, outer)
            value = (load(window, begin + k) - mean) * scale
            store(grad_bias, k, load(grad_bias, k) + outer)
            store(grad_gain, k, load(grad_gain, k) + outer * value)
            outer = outer * load(gain, k)
            along, along_value = along + outer, along_value + outer * value
        centre = splat(lane_sum(along) / np.float32(width))
        slope = splat(lane_sum(along_value) / np.float32(width))
        for k in range(0, width, LANES):
            value = (load(window, begin + k) - mean) * scale
            inner = (load(grad_normed, place + k) * load(gain, k) - centre - value * slope) * scale
            if last:
                inner = inner + load(grad_out, (first // tokens + sequence) * width + k)
            store(grad_window, begin + k, inner)


@njit(cache=True, error_model="numpy", fastmath=FAST, inline="always")
def _convolved(before, taps, bias, begin, t, channels, k):
    """Eight channels of the convolution at token t of the sequence whose rows begin at `begin`; zeros stand before."""
    value = load(bias, k)
    for back in range(min(t + 1, TAPS)):
        value = value + load(taps, (TAPS - 1 - back) * channels + k) * load(before, (begin + t - back) * channels + k)
    return value


@njit(cache=True, error_model="numpy", fastmath=FAST)
def _convolve(before, taps, bias, sequences, tokens, channels, x):
    for i in range(sequences):
        for t in range(tokens):
            for k in range(0, channels, LANES):
                value = _convolved(before, taps, bias, i * tokens, t, channels, k)
                store(x, (i * tokens + t) * channels + k, value * _sigmoid(value))


@njit(cache=True, error_model="numpy", fastmath=FAST)
def _convolve_backward(before, taps, bias, sequences, tokens, channels, grad_x, grad_before, grad_taps, grad_bias):
    """Overwrite grad_before; add to grad_taps and grad_bias."""
    one = splat(np.float32(1))
    for i in range(sequences):
        begin = i * tokens
        for k in range(0, channels, LANES):
            zero = splat(np.float32(0))
            after1, after2, after3 = zero, zero, zero
            total, tap0, tap1, tap2, tap3 = zero, zero, zero, zero, zero
            for t in range(tokens - 1, -1, -1):
                value = _convolved(before, taps, bias, begin, t, channels, k)
                share = _sigmoid(value)
                here = load(grad_x, (begin + t) * channels + k) * share * (one + value * (one - share))
                # A token enters its own sum by the last tap and those of the three after it by the others.
                inner = here * load(taps, 3 * channels + k) + after1 * load(taps, 2 * channels + k)
                inner = inner + after2 * load(taps, channels + k) + after3 * load(taps, k)
                entered = load(before, (begin + t) * channels + k)
                tap3, tap2, tap1, tap0 = (
                    tap3 + here * entered, tap2 + after1 * entered, tap1 + after2 * entered, tap0 + after3 * entered,
                )  # fmt: skip
                total = total + here
                store(grad_before, (begin + t) * channels + k, inner)
                after1, after2, after3 = here, after1, after2
            store(grad_bias, k, load(grad_bias, k) + total)
            store(grad_taps, k, load(grad_taps, k) + tap0)
            store(grad_taps, channels + k, load(grad_taps, channels + k) + tap1)
            store(grad_taps, 2 * channels + k, load(grad_taps, 2 * channels + k) + tap2)
            store(grad_taps, 3 * channels + k, load(grad_taps, 3 * channels + k) + tap3)


@njit(cache=True, error_model="numpy", fastmath=FAST, inline="always")
def _step(projected, place, steps, step_bias, rank, channels, k):
    """Eight step sizes before their softplus."""
    value = load(step_bias, k)
    for r in range(rank):
        value = value + splat(projected[place + r]) * load(steps, r * channels + k)
    return value


@njit(cache=True, error_model="numpy", fastmath=FAST)
def _prepare(
    x, projected, present, first, begin, steps, step_bias, rank, tokens, channels, elapsed, entering, deltas, pairs
):
    """What `last_forward` takes, of the sequence whose rows begin at `begin`, and deltas (S,E)."""
    size = rank + 2 * STATES
    leaving = (begin + tokens - 1) * size + rank + STATES
    for t in range(tokens):
        for n in range(STATES):
            pairs[t * STATES + n] = projected[(begin + t) * size + rank + n] * projected[leaving + n]
    for k in range(0, channels, LANES):
        since = splat(np.float32(0))
        for t in range(tokens - 1, -1, -1):
            if present[first + begin + t]:
                place = t * channels + k
                delta = _softplus(_step(projected, (begin + t) * size, steps, step_bias, rank, channels, k))
                store(deltas, place, delta)
                store(elapsed, place, since)
                store(entering, place, delta * load(x, (begin + t) * channels + k))
                since = since + delta


@njit(cache=True, error_model="numpy", fastmath=FAST)
def _scan_and_gate(
    x, projected, gate, present, first, steps, step_bias, rates, skip, sequences, tokens, channels, rank, y, gated
):
    """Fill y and gated (N,E) of the last tokens."""
    scratch = np.empty((3, tokens * channels), np.float32)
    elapsed, entering, deltas = scratch[0], scratch[1], scratch[2]
    pairs = np.empty(tokens * STATES, np.float32)
    for i in range(sequences):
        begin = i * tokens
        _prepare(
            x, projected, present, first, begin, steps, step_bias, rank, tokens, channels,
            elapsed, entering, deltas, pairs,
        )  # fmt: skip
        last_forward(rates, elapsed, entering, pairs, present, first + begin, tokens, channels, y, i * channels)
        for k in range(0, channels, LANES):
            place = i * channels + k
            value = load(y, place) + load(skip, k) * load(x, (begin + tokens - 1) * channels + k)
            store(y, place, value)
            opening = load(gate, place)
            store(gated, place, value * opening * _sigmoid(opening))


@njit(cache=True, error_model="numpy", fastmath=FAST)
def _scan_and_gate_backward(
    x, projected, gate, y, present, first, steps, step_bias, rates, skip, sequences, tokens, channels, rank, grad,
    gated, grad_x, grad_projected, grad_gate, grad_steps, grad_step_bias, grad_decay, grad_skip,
):  # fmt: skip
    """From grad (N,E) of gated: fill gated again, and the gradients; the last four are added to."""
    scratch = np.empty((5, tokens * channels), np.float32)
    elapsed, entering, deltas = scratch[0], scratch[1], scratch[2]
    grad_elapsed, grad_entering = scratch[3], scratch[4]
    pairs, grad_pairs = np.empty(tokens * STATES, np.float32), np.empty(tokens * STATES, np.float32)
    sums, grad_y = np.empty(STATES * LANES, np.float32), np.empty(channels, np.float32)
    size = rank + 2 * STATES
    one = splat(np.float32(1))
    for i in range(sequences):
        begin = i * tokens
        for k in range(0, channels, LANES):
            place = i * channels + k
            opening, outer, value = load(gate, place), load(grad, place), load(y, place)
            share = _sigmoid(opening)
            store(gated, place, value * opening * share)
            store(grad_gate, place, outer * value * share * (one + opening * (one - share)))
            outer = outer * opening * share
            store(grad_y, k, outer)
            store(grad_skip, k, load(grad_skip, k) + outer * load(x, (begin + tokens - 1) * channels + k))
        _prepare(
            x, projected, present, first, begin, steps, step_bias, rank, tokens, channels,
            elapsed, entering, deltas, pairs,
        )  # fmt: skip
        last_backward(
            rates, elapsed, entering, pairs, present, first + begin, tokens, channels, grad_y, 0,
            grad_elapsed, grad_entering, grad_pairs, grad_decay, sums,
        )  # fmt: skip
        leaving = (begin + tokens - 1) * size + rank + STATES
        grad_projected[begin * size : (begin + tokens) * size] = 0
        for t in range(tokens):
            if present[first + begin + t]:
                for n in range(STATES):
                    place, here = (begin + t) * size + rank + n, grad_pairs[t * STATES + n]
                    grad_projected[leaving + n] += here * projected[place]
                    grad_projected[place] = here * projected[leaving + n]
        for k in range(0, channels, LANES):
            # The delta of a token ages all tokens before it.
            older, total = splat(np.float32(0)), splat(np.float32(0))
            for t in range(tokens):
                row, here = (begin + t) * channels + k, t * channels + k
                if not present[first + begin + t]:
                    store(grad_x, row, splat(np.float32(0)))
                    continue
                step = _step(projected, (begin + t) * size, steps, step_bias, rank, channels, k)
                inner = load(grad_entering, here)
                to_x = inner * load(deltas, here)
                to_step = (inner * load(x, row) + older) * _sigmoid(step)
                older = older + load(grad_elapsed, here)
                if t == tokens - 1:
                    to_x = to_x + load(grad_y, k) * load(skip, k)
                store(grad_x, row, to_x)
                total = total + to_step
                for r in range(rank):
                    number = (begin + t) * size + r
                    place = r * channels + k
                    grad_projected[number] += lane_sum(to_step * load(steps, place))
                    store(grad_steps, place, load(grad_steps, place) + to_step * splat(projected[number]))
            store(grad_step_bias, k, load(grad_step_bias, k) + total)


def fits(window: Tensor) -> bool:
    """Whether the kernels take this window: float32 on the CPU, channels in eights."""
    return window.device.type == "cpu" and window.dtype == torch.float32 and window.shape[2] % LANES == 0


@dataclass(frozen=True)
class _Sizes:
    """Sizes of a call: N, S, D, E, R, and sequences a chunk."""

    sequences: int
    tokens: int
    width: int
    inner: int
    rank: int

    @property
    def chunk(self) -> int:
        return max(1, min(self.sequences, CHUNK_ROWS // self.tokens))


class _Chunks:
    """Scratch memory of a call, and the part of the forward pass that the backward pass repeats.

    Tensors for the products and, beside them, the same memory as arrays for the kernels.
    """

    def __init__(self, window, present, gain, bias, in_proj, taps, conv_bias, x_proj, steps, epsilon) -> None:
        sequences, tokens, width = window.shape
        self.sizes = _Sizes(sequences, tokens, width, len(conv_bias), steps.shape[1])
        self.window, self.present = flat(window), flat(present)
        self.gain, self.bias, self.epsilon = flat(gain), flat(bias), np.float32(epsilon)
        self.taps, self.conv_bias, self.steps = flat(taps[:, 0].T), flat(conv_bias), flat(steps.T)
        self.enter, self.open = in_proj[: len(conv_bias)], in_proj[len(conv_bias) :]
        self.x_proj = x_proj
        sizes = self.sizes
        rows = sizes.chunk * tokens
        self.normed, self.before = window.new_empty(rows, width), window.new_empty(rows, sizes.inner)
        self.x, self.projected = window.new_empty(rows, sizes.inner), window.new_empty(rows, len(x_proj))
        self.gate, self.gated = (window.new_empty(sizes.chunk, sizes.inner) for _ in range(2))
        self.arrays = [flat(t) for t in (self.normed, self.before, self.x, self.projected, self.gate, self.gated)]

    def begins(self) -> range:
        return range(0, self.sizes.sequences, self.sizes.chunk)

    def count(self, begin: int) -> int:
        return min(self.sizes.chunk, self.sizes.sequences - begin)

    def fill(self, begin: int) -> int:
        """Everything before the scan, of the chunk that begins at a sequence; gives its number of sequences."""
        sizes, count = self.sizes, self.count(begin)
        rows = count * sizes.tokens
        normed, before, x, *_ = self.arrays
        _normalise(
            self.window, self.present, begin * sizes.tokens, rows, sizes.width,
            self.gain, self.bias, self.epsilon, normed,
        )  # fmt: skip
        torch.mm(self.normed[:rows], self.enter.T, out=self.before[:rows])
        _convolve(before, self.taps, self.conv_bias, count, sizes.tokens, sizes.inner, x)
        torch.mm(self.x[:rows], self.x_proj.T, out=self.projected[:rows])
        torch.mm(self.last(count), self.open.T, out=self.gate[:count])
        return count

    def last(self, count: int) -> Tensor:
        """normed of the last tokens (count,D), a view."""
        return self.normed[self.sizes.tokens - 1 : count * self.sizes.tokens : self.sizes.tokens]


class _MambaBlock(torch.autograd.Function):
    """Feature (N,D) of the last token; arguments as in `mamba_block`."""

    @staticmethod
    def forward(
        ctx, window, present, gain, bias, in_proj, taps, conv_bias, x_proj, steps, step_bias, a_log, skip, out_proj,
        epsilon,
    ):  # fmt: skip
        chunks = _Chunks(window, present, gain, bias, in_proj, taps, conv_bias, x_proj, steps, epsilon)
        sizes = chunks.sizes
        y = window.new_empty(sizes.sequences, sizes.inner)
        out = window[:, -1].clone()
        _, _, x, projected, gate, gated = chunks.arrays
        weights = chunks.steps, flat(step_bias), rates_of(-torch.exp(a_log)), flat(skip)
        for begin in chunks.begins():
            count = chunks.fill(begin)
            _scan_and_gate(
                x, projected, gate, chunks.present, begin * sizes.tokens, *weights,
                count, sizes.tokens, sizes.inner, sizes.rank, y[begin : begin + count].numpy().ravel(), gated,
            )  # fmt: skip
            out[begin : begin + count].addmm_(chunks.gated[:count], out_proj.T)
        ctx.save_for_backward(
            window, present, gain, bias, in_proj, taps, conv_bias, x_proj, steps, step_bias, a_log, skip, out_proj, y
        )
        ctx.epsilon = epsilon
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        *inputs, y = ctx.saved_tensors
        window, present, gain, bias, in_proj, taps, conv_bias, x_proj, steps, step_bias, a_log, skip, out_proj = inputs
        chunks = _Chunks(window, present, gain, bias, in_proj, taps, conv_bias, x_proj, steps, ctx.epsilon)
        sizes, inner = chunks.sizes, chunks.sizes.inner
        grad = grad.contiguous()
        grad_flat, y_flat = flat(grad), flat(y)
        decay = -torch.exp(a_log)
        weights = chunks.steps, flat(step_bias), rates_of(decay), flat(skip)
        grad_window = torch.empty_like(window, memory_format=torch.contiguous_format)
        grad_in, grad_x_proj, grad_out_proj = (torch.zeros_like(t) for t in (in_proj, x_proj, out_proj))
        # Sums over all tokens, first within a chunk: fewer roundings.
        groups = [sizes.width] * 2 + [inner * n for n in (TAPS, 1, sizes.rank, 1, STATES, 1)]
        total = window.new_zeros(sum(groups))
        part = torch.empty_like(total)
        sums = [p.numpy() for p in part.split(groups)]
        grad_x, grad_before = torch.empty_like(chunks.x), torch.empty_like(chunks.x)
        grad_projected, grad_normed = torch.empty_like(chunks.projected), torch.empty_like(chunks.normed)
        grad_gated, grad_gate = torch.empty_like(chunks.gate), torch.empty_like(chunks.gate)
        grad_last = window.new_empty(sizes.chunk, sizes.width)
        to_x, to_before, to_projected, to_normed, to_gated, to_gate, to_last = (
            flat(t) for t in (grad_x, grad_before, grad_projected, grad_normed, grad_gated, grad_gate, grad_last)
        )
        window_sums = flat(grad_window)
        _, before, x, projected, gate, gated = chunks.arrays
        for begin in chunks.begins():
            count = chunks.fill(begin)
            first, rows = begin * sizes.tokens, count * sizes.tokens
            part.zero_()
            here = grad[begin : begin + count]
            torch.mm(here, out_proj, out=grad_gated[:count])
            _scan_and_gate_backward(
                x, projected, gate, y_flat[begin * inner :], chunks.present, first, *weights,
                count, sizes.tokens, inner, sizes.rank, to_gated,
                gated, to_x, to_projected, to_gate, *sums[4:],
            )  # fmt: skip
            grad_out_proj.addmm_(here.T, chunks.gated[:count])
            grad_x_proj.addmm_(grad_projected[:rows].T, chunks.x[:rows])
            grad_x[:rows].addmm_(grad_projected[:rows], x_proj)
            _convolve_backward(
                before, chunks.taps, chunks.conv_bias, count, sizes.tokens, inner, to_x, to_before, *sums[2:4]
            )
            grad_in[:inner].addmm_(grad_before[:rows].T, chunks.normed[:rows])
            grad_in[inner:].addmm_(grad_gate[:count].T, chunks.last(count))
            torch.mm(grad_before[:rows], chunks.enter, out=grad_normed[:rows])
            torch.mm(grad_gate[:count], chunks.open, out=grad_last[:count])
            _normalise_backward(
                chunks.window, chunks.present, first, count, sizes.tokens, sizes.width, chunks.gain, chunks.epsilon,
                to_normed, to_last, grad_flat, window_sums, *sums[:2],
            )  # fmt: skip
            total += part
        to_gain, to_bias, to_taps, to_conv_bias, to_steps, to_step_bias, to_decay, to_skip = total.split(groups)
        return (
            grad_window, None, to_gain, to_bias, grad_in, to_taps.view(TAPS, inner).T[:, None], to_conv_bias,
            grad_x_proj, to_steps.view(sizes.rank, inner).T, to_step_bias, to_decay.view(STATES, inner).T * decay,
            to_skip, grad_out_proj, None,
        )  # fmt: skip


def mamba_block(window: Tensor, present: Tensor | None, norm: LayerNorm, mixer: Mixer) -> Tensor:
    """window[:, -1] + mixer.last(norm(window), present), (N,D), where `fits`; absent tokens of the window are not read
    and get a gradient of zero."""
    if present is None:
        present = torch.ones(window.shape[:2], dtype=torch.bool)
    return _MambaBlock.apply(
        window, present, norm.weight, norm.bias, mixer.in_proj.weight, mixer.conv1d.weight, mixer.conv1d.bias,
        mixer.x_proj.weight, mixer.dt_proj.weight, mixer.dt_proj.bias, mixer.A_log, mixer.D, mixer.out_proj.weight,
        norm.eps,
    )  # fmt: skip

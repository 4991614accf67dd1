"""A small perceptron with two hidden layers and several heads, row by row of a long table.

Its layers are so narrow that memory costs more than arithmetic: hidden values of 16,000 rows do not fit a cache, and
plain autograd writes and reads them a dozen times. So the table is walked in chunks whose hidden values stay in the
cache, and the backward pass computes them again instead of keeping them.

Letters: N rows, I inputs, W hidden units, H heads with O outputs in all; the second hidden layer has H W units, W a
head.
"""

from __future__ import annotations

import torch
from torch import Tensor

# Rows of a chunk: 1024 x 96 hidden values are 0.4 MB, and a call's overhead is small beside its arithmetic.
CHUNK_ROWS = 1024


def perceptron(rows: Tensor, first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor], last: Tensor, bias: Tensor):
    """Outputs (N, O) of rows (N, I): relu(rows A + a), relu(. B + b), . last + bias; differentiable in everything.

    first: (W, I) and (W,); second: (H W, W) and (H W,); last (O, H W), zero where an output is not its head's; bias
    (O,). On the CPU in chunks; elsewhere the slow twin `perceptron_twin`.
    """
    if rows.device.type != "cpu":
        return perceptron_twin(rows, first, second, last, bias)
    return _Perceptron.apply(rows, *first, *second, last, bias)


def perceptron_twin(rows: Tensor, first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor], last: Tensor, bias):
    """The same in one piece, kept by autograd."""
    hidden = torch.nn.functional.linear(rows, *first).relu()
    return torch.nn.functional.linear(torch.nn.functional.linear(hidden, *second).relu(), last, bias)


class _Perceptron(torch.autograd.Function):
    """Keeps its inputs only; sums over chunks in order, so the result does not depend on anything else."""

    @staticmethod
    def forward(ctx, rows, first, first_bias, second, second_bias, last, bias):
        ctx.save_for_backward(rows, first, first_bias, second, second_bias, last)
        out = rows.new_empty(len(rows), len(last))
        for part, into in zip(rows.split(CHUNK_ROWS), out.split(CHUNK_ROWS), strict=True):
            hidden = torch.addmm(first_bias, part, first.T).relu_()
            torch.addmm(bias, torch.addmm(second_bias, hidden, second.T).relu_(), last.T, out=into)
        return out

    @staticmethod
    def backward(ctx, grad):
        rows, first, first_bias, second, second_bias, last = ctx.saved_tensors
        d_rows = torch.empty_like(rows)
        d_first, d_second, d_last = (torch.zeros_like(weight) for weight in (first, second, last))
        d_first_bias, d_second_bias = torch.zeros_like(first_bias), torch.zeros_like(second_bias)
        chunks = zip(rows.split(CHUNK_ROWS), grad.split(CHUNK_ROWS), d_rows.split(CHUNK_ROWS), strict=True)
        for part, part_grad, into in chunks:
            hidden = torch.addmm(first_bias, part, first.T).relu_()
            wide = torch.addmm(second_bias, hidden, second.T).relu_()
            d_last.addmm_(part_grad.T, wide)
            # Both are zero or positive, so the sign is the mask of relu.
            d_wide = torch.mm(part_grad, last).mul_(wide.sign_())
            d_second.addmm_(d_wide.T, hidden)
            d_second_bias += d_wide.sum(0)
            d_hidden = torch.mm(d_wide, second).mul_(hidden.sign_())
            d_first.addmm_(d_hidden.T, part)
            d_first_bias += d_hidden.sum(0)
            torch.mm(d_hidden, first, out=into)
        return d_rows, d_first, d_first_bias, d_second, d_second_bias, d_last, grad.sum(0)

"""The chunked perceptron equals its twin, in values and in every gradient, at any number of rows."""

from __future__ import annotations

import pytest
import torch

from stages.lib.perceptron import CHUNK_ROWS, perceptron, perceptron_twin


@pytest.mark.parametrize("rows", [1, CHUNK_ROWS, 2 * CHUNK_ROWS + 7])
def test_equals_the_twin(rows):
    chance = torch.Generator().manual_seed(0)
    shapes = [(rows, 5), (8, 5), (8,), (24, 8), (24,), (7, 24), (7,)]
    tensors = [torch.randn(*shape, generator=chance) for shape in shapes]
    weight = torch.randn(rows, 7, generator=chance)
    found = []
    for function, dtype in ((perceptron, torch.float32), (perceptron_twin, torch.float64)):
        leaves = [tensor.to(dtype).requires_grad_() for tensor in tensors]
        x, a, b, c, d, last, bias = leaves
        out = function(x, (a, b), (c, d), last, bias)
        found.append([out, *torch.autograd.grad((out * weight.to(dtype)).sum(), leaves)])
    for ours, theirs in zip(*found, strict=True):
        assert ours.shape == theirs.shape
        assert float(((ours.double() - theirs).norm() / theirs.norm()).detach()) < 1e-6

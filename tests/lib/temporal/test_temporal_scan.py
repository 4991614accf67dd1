"""The compiled scan equals its twin in values and in every gradient; the twin is right; CUDA's layout is."""

from __future__ import annotations

import sys
from types import ModuleType

import numpy as np
import pytest
import torch
from numba import njit
from torch.nn import functional

from stages.lib.raster.simd import load, store
from stages.lib.temporal.block import _softplus
from stages.lib.temporal.scan import STATES, compilable, scan_mamba_ssm, scan_twin, selective_scan


def scan_input(sequences=40, tokens=10, channels=16, only_last=False, dtype=torch.float32, states=STATES, seed=0):
    """x, delta, decay, input weights, output weights, skip, as a Mixer makes them."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=dtype)

    delta = functional.softplus(normal(sequences, tokens, channels) - 2)
    decay = -torch.arange(1, states + 1, dtype=dtype) * torch.exp(0.1 * normal(channels, states))
    weights = 0.5 * normal(sequences, tokens, states), 0.5 * normal(sequences, tokens, states)
    leaves = normal(sequences, tokens, channels), delta, decay, weights[0]
    leaves = (*leaves, weights[1][:, -1] if only_last else weights[1], normal(channels))
    return [leaf.contiguous().requires_grad_() for leaf in leaves]


def doubled(leaves):
    return [leaf.detach().double().requires_grad_() for leaf in leaves]


@pytest.mark.parametrize("only_last", [True, False])
@pytest.mark.parametrize("tokens", [1, 2, 10])
def test_equals_the_twin(tokens, only_last):
    leaves = scan_input(tokens=tokens, only_last=only_last)
    assert compilable(leaves[0], STATES)
    value = selective_scan(*leaves)
    assert torch.allclose(value, scan_twin(*leaves), atol=1e-6)
    precise = doubled(leaves)
    truth = scan_twin(*precise)
    assert torch.allclose(value.double(), truth, atol=1e-6)
    weight = torch.randn(value.shape, generator=torch.Generator().manual_seed(1))
    grads = torch.autograd.grad((value * weight).sum(), leaves)
    truths = torch.autograd.grad((truth * weight).sum(), precise)
    for ours, theirs in zip(grads, truths, strict=True):
        assert float((ours - theirs).norm()) <= 3e-6 * float(theirs.norm())


@pytest.mark.parametrize("only_last", [True, False])
def test_gradients_of_the_twin(only_last):
    leaves = scan_input(2, 3, 2, only_last, torch.float64, states=3)
    assert torch.autograd.gradcheck(scan_twin, leaves)


def test_the_last_output_is_that_of_all():
    leaves = scan_input()
    full = selective_scan(*leaves)[:, -1]
    leaves[4] = leaves[4][:, -1]
    assert torch.allclose(selective_scan(*leaves), full, atol=1e-6)


@pytest.mark.parametrize("only_last", [True, False])
def test_a_step_of_zero_leaves_the_state_and_what_enters_by_it_does_not_matter(only_last):
    leaves = [leaf.detach() for leaf in scan_input(only_last=only_last)]
    leaves[1][:, 4] = 0
    value = selective_scan(*leaves)
    leaves[0][:, 4] = 1e6
    leaves[3][:, 4] = -1e6
    other = selective_scan(*leaves)
    kept = [True] * 10
    kept[4] = only_last
    assert torch.equal(value if only_last else value[:, kept], other if only_last else other[:, kept])


def test_large_steps_forget():
    leaves = [leaf.detach() for leaf in scan_input(only_last=True)]
    leaves[1][:] = 1e4
    value = selective_scan(*leaves)
    # The states are of the order of the steps and partly cancel.
    assert torch.allclose(value, scan_twin(*leaves), atol=1e-6 * 1e4)
    assert bool(value.isfinite().all())


def test_nan_is_not_hidden():
    leaves = [leaf.detach() for leaf in scan_input(only_last=True)]
    leaves[0][3, 2, 5] = torch.nan
    value = selective_scan(*leaves)
    assert bool(value[3, 5].isnan())
    assert int(value.isnan().sum()) == 1


def test_two_runs_are_bitwise_equal():
    def run():
        leaves = scan_input(200, only_last=True)
        return torch.autograd.grad(selective_scan(*leaves).square().sum(), leaves)

    assert all(torch.equal(a, b) for a, b in zip(run(), run(), strict=True))


@pytest.mark.parametrize("only_last", [True, False])
def test_layout_for_cuda(monkeypatch, only_last):
    """A stand-in with mamba_ssm's documented layout, tokens last, gives our result."""

    def selective_scan_fn(u, delta, A, B, C, D=None):
        assert all(tensor.is_contiguous() for tensor in (u, delta, B, C))
        state, outputs = 0, []
        for t in range(u.shape[2]):
            left = torch.exp(torch.einsum("be,en->ben", delta[..., t], A))
            state = left * state + torch.einsum("be,bn,be->ben", delta[..., t], B[..., t], u[..., t])
            outputs.append(torch.einsum("ben,bn->be", state, C[..., t]))
        return torch.stack(outputs, dim=2) + u * D[:, None]

    stand_in = ModuleType("mamba_ssm.ops.selective_scan_interface")
    stand_in.selective_scan_fn = selective_scan_fn
    for name in ("mamba_ssm", "mamba_ssm.ops"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, stand_in.__name__, stand_in)
    leaves = scan_input(dtype=torch.float64, only_last=only_last)
    assert torch.allclose(scan_mamba_ssm(*leaves), scan_twin(*leaves), atol=1e-12)


def test_softplus_of_the_kernels():
    @njit
    def run(values, out):
        for k in range(0, len(values), 8):
            store(out, k, _softplus(load(values, k)))

    values = np.linspace(-20, 20, 8000, dtype=np.float32)
    out = np.empty_like(values)
    run(values, out)
    truth = np.logaddexp(0, values.astype(np.float64))
    assert np.abs(out / truth - 1).max() < 2e-6

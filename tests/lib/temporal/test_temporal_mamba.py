"""The mixer is Mamba's: parameters, initialisation and the published formula, written again here in float64."""

from __future__ import annotations

import importlib.util
import math

import pytest
import torch
from torch.nn import functional

from stages.lib.temporal.mamba import Mixer

SHAPES = {
    "A_log": (64, 16),
    "D": (64,),
    "in_proj.weight": (128, 32),
    "conv1d.weight": (64, 1, 4),
    "conv1d.bias": (64,),
    "x_proj.weight": (34, 64),
    "dt_proj.weight": (64, 2),
    "dt_proj.bias": (64,),
    "out_proj.weight": (32, 64),
}


def mixer(width=32, seed=0):
    return Mixer(width, torch.Generator().manual_seed(seed))


def reference(state, tokens, present=None):
    """Mamba's published forward pass with tokens last, term by term, in float64; absent: no input and no step."""
    state = {name: value.double() for name, value in state.items()}
    both = torch.einsum("od,bld->bol", state["in_proj.weight"], tokens.double())
    x, z = both.chunk(2, dim=1)
    there = torch.ones_like(x) if present is None else present[:, None].double()
    x = x * there
    length = x.shape[2]
    padded = functional.pad(x, (3, 0))
    taps = state["conv1d.weight"]
    x = sum(taps[:, 0, j, None] * padded[:, :, j : j + length] for j in range(4)) + state["conv1d.bias"][:, None]
    x = x / (1 + torch.exp(-x))
    projected = torch.einsum("oe,bel->bol", state["x_proj.weight"], x)
    rank = state["dt_proj.weight"].shape[1]
    step, b, c = projected[:, :rank], projected[:, rank : rank + 16], projected[:, rank + 16 :]
    delta = torch.einsum("er,brl->bel", state["dt_proj.weight"], step) + state["dt_proj.bias"][:, None]
    delta = torch.log(1 + torch.exp(delta)) * there
    a = -torch.exp(state["A_log"])
    discrete_a = torch.exp(torch.einsum("bdl,dn->bdln", delta, a))
    discrete_b_x = torch.einsum("bdl,bnl,bdl->bdln", delta, b, x)
    h, outputs = torch.zeros_like(discrete_a[:, :, 0]), []
    for i in range(length):
        h = discrete_a[:, :, i] * h + discrete_b_x[:, :, i]
        outputs.append(torch.einsum("bdn,bn->bd", h, c[:, :, i]))
    y = torch.stack(outputs, dim=2) + x * state["D"][:, None]
    y = y * z / (1 + torch.exp(-z))
    return torch.einsum("de,bel->bld", state["out_proj.weight"], y)


@pytest.mark.parametrize("tokens", [1, 3, 10])
def test_equals_the_published_formula(tokens):
    module = mixer()
    sequences = torch.randn(20, tokens, 32, generator=torch.Generator().manual_seed(1), requires_grad=True)
    truth = reference(module.state_dict(), sequences.detach())
    assert torch.allclose(module(sequences).double(), truth, atol=1e-5)
    assert torch.allclose(module.last(sequences).double(), truth[:, -1], atol=1e-5)


def test_gradients_are_those_of_the_published_formula():
    module = mixer()
    sequences = torch.randn(20, 6, 32, generator=torch.Generator().manual_seed(1))
    module.last(sequences).square().sum().backward()
    state = {name: p.detach().double().requires_grad_() for name, p in module.named_parameters()}
    reference(state, sequences)[:, -1].square().sum().backward()
    for name, parameter in module.named_parameters():
        truth = state[name].grad
        assert float((parameter.grad - truth).norm()) <= 1e-5 * float(truth.norm()), name


@pytest.mark.skipif(
    importlib.util.find_spec("mamba_ssm") is None or not torch.cuda.is_available(), reason="needs mamba_ssm and CUDA"
)
@pytest.mark.parametrize("tokens", [1, 3, 10])
def test_the_real_package_takes_our_weights_and_agrees(monkeypatch, tokens):
    """mamba_ssm's own module against ours on the CPU, outputs and gradients, in float32."""
    from mamba_ssm import Mamba

    for place in (torch.backends.cudnn, torch.backends.cuda.matmul):
        monkeypatch.setattr(place, "allow_tf32", False)
    ours, theirs = mixer(), Mamba(d_model=32, d_state=16, d_conv=4, expand=2).cuda()
    theirs.load_state_dict(ours.state_dict())
    sequences = torch.randn(20, tokens, 32, generator=torch.Generator().manual_seed(1))
    mine, other = sequences.clone().requires_grad_(), sequences.cuda().requires_grad_()
    here, there = ours(mine), theirs(other)
    assert torch.allclose(there.cpu(), here, atol=1e-5)
    here.square().sum().backward()
    there.square().sum().backward()
    compared = {"sequences": (mine.grad, other.grad)}
    named = dict(theirs.named_parameters())
    compared |= {name: (parameter.grad, named[name].grad) for name, parameter in ours.named_parameters()}
    for name, (expected, found) in compared.items():
        assert float((found.cpu() - expected).norm()) <= 1e-5 * float(expected.norm()), name


def test_parameters_are_mamba_ssms():
    module = mixer()
    assert {name: tuple(value.shape) for name, value in module.state_dict().items()} == SHAPES
    assert sum(parameter.numel() for parameter in module.parameters()) == 9920
    assert mixer(40).dt_proj.weight.shape == (80, 3)


def test_initialisation_rules():
    module = mixer()
    assert torch.allclose(module.A_log.exp(), torch.arange(1.0, 17).expand(64, 16))
    assert bool((module.D == 1).all())
    steps = functional.softplus(module.dt_proj.bias.detach())
    assert 1e-3 <= float(steps.min()) < float(steps.max()) <= 0.1 + 1e-6
    for weight, bound in (
        (module.in_proj.weight, 32**-0.5),
        (module.x_proj.weight, 64**-0.5),
        (module.out_proj.weight, 64**-0.5),
        (module.conv1d.weight, 0.5),
        (module.dt_proj.weight, 2**-0.5),
    ):
        assert 0.9 * bound < float(weight.detach().abs().max()) <= bound
        assert math.isclose(float(weight.detach().std()), bound / 3**0.5, rel_tol=0.15)


def test_absent_tokens_are_zeros_to_the_convolution_and_nothing_to_the_state():
    generator = torch.Generator().manual_seed(2)
    module, tokens = mixer(), torch.randn(20, 10, 32, generator=generator)
    present = torch.rand(20, 10, generator=generator) > 0.5
    present[:, -1] = True
    truth = reference(module.state_dict(), tokens, present)
    assert torch.allclose(module(tokens, present)[present].double(), truth[present], atol=1e-5)
    assert torch.allclose(module.last(tokens, present).double(), truth[:, -1], atol=1e-5)


def test_absent_tokens_at_the_start_give_the_shorter_sequence():
    module = mixer().double()
    tokens = torch.randn(4, 7, 32, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    present = torch.ones(4, 7, dtype=torch.bool)
    present[:, :3] = False
    tokens[:, :3] = torch.nan
    assert torch.allclose(module(tokens, present)[:, 3:], module(tokens[:, 3:]), rtol=0, atol=1e-13)
    assert torch.allclose(module.last(tokens, present), module.last(tokens[:, 3:]), rtol=0, atol=1e-13)

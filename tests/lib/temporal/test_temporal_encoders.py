"""What all encoders promise: the same interface and size, order, masks without leaks, reproducible bits."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.lib.temporal.encoders import build
from stages.settings import TemporalSettings

KINDS = ("mamba", "gru", "attention")
kinds = pytest.mark.parametrize("kind", KINDS)
layers = pytest.mark.parametrize("layers", [1, 2])


def encoder(kind, layers=1, width=32, seed=0, length=10):
    chosen = TemporalSettings(encoder=kind, layers=layers, width=width, length=length)
    return build(chosen, torch.Generator().manual_seed(seed))


def window(sequences=12, tokens=10, width=32, seed=1):
    return torch.randn(sequences, tokens, width, generator=torch.Generator().manual_seed(seed))


def mask(sequences=12, tokens=10, seed=2):
    present = torch.rand(sequences, tokens, generator=torch.Generator().manual_seed(seed)) > 0.5
    present[:, -1] = True
    return present


@kinds
@layers
@pytest.mark.parametrize("tokens", [1, 2, 10])
def test_any_length_gives_the_feature_of_the_current_token(kind, layers, tokens):
    module = encoder(kind, layers)
    out = module(window(tokens=tokens))
    assert out.shape == (12, 32)
    everyone = torch.ones(12, tokens, dtype=torch.bool)
    assert torch.allclose(module(window(tokens=tokens), everyone), out, atol=1e-6)


@kinds
@torch.no_grad()
def test_order_and_history_matter(kind):
    module, tokens = encoder(kind), window()
    swapped = tokens[:, [1, 0, *range(2, 10)]]
    longer = module(tokens)
    assert float((module(swapped) - longer).abs().max()) > 1e-5
    assert float((module(tokens[:, 1:]) - longer).abs().max()) > 1e-5


def test_sizes_are_within_15_per_cent():
    counts = {kind: sum(p.numel() for p in encoder(kind).parameters()) for kind in KINDS}
    # Norm and mixer.
    assert counts["mamba"] == 64 + 9920
    assert all(abs(count / counts["mamba"] - 1) < 0.15 for count in counts.values()), counts


@kinds
@layers
def test_absent_tokens_at_the_start_give_the_shorter_window(kind, layers):
    module, tokens, present = encoder(kind, layers).double(), window().double(), torch.ones(12, 10, dtype=torch.bool)
    present[:, :4] = False
    tokens[:, :4] = torch.nan
    assert torch.allclose(module(tokens, present), module(tokens[:, 4:]), rtol=0, atol=1e-12)


@kinds
def test_absent_tokens_at_the_start_in_float32(kind):
    module, tokens, present = encoder(kind), window(), torch.ones(12, 10, dtype=torch.bool)
    present[:, :4] = False
    assert torch.allclose(module(tokens, present), module(tokens[:, 4:]), rtol=0, atol=5e-7)


@kinds
@layers
@pytest.mark.parametrize("value", [torch.nan, torch.inf, 3e38])
def test_absent_tokens_reach_neither_outputs_nor_gradients(kind, layers, value):
    module, present = encoder(kind, layers), mask()

    def run(fill):
        tokens = torch.where(present[..., None], window(), fill).requires_grad_()
        out = module(tokens, present)
        return out, *torch.autograd.grad(out.square().sum(), [tokens, *module.parameters()])

    quiet, loud = run(0.25), run(value)
    assert all(bool(tensor.isfinite().all()) for tensor in loud)
    assert all(torch.equal(a, b) for a, b in zip(quiet, loud, strict=True))
    assert float(loud[1][~present].abs().max()) == 0
    assert float(loud[1][present].abs().min()) > 0


@kinds
@layers
def test_without_history_gradients_are_finite_and_only_the_current_tokens(kind, layers):
    module, present = encoder(kind, layers), torch.zeros(12, 10, dtype=torch.bool)
    present[:, -1] = True
    tokens = torch.full((12, 10, 32), torch.nan)
    tokens[:, -1] = window()[:, -1]
    tokens.requires_grad_()
    out = module(tokens, present)
    out.sum().backward()
    assert torch.allclose(out, module(tokens[:, -1:]), atol=1e-6)
    assert all(bool(parameter.grad.isfinite().all()) for parameter in module.parameters())
    assert float(tokens.grad[:, :-1].abs().max()) == 0


ENCODERS = {(kind, layers): encoder(kind, layers, width=8) for kind in KINDS for layers in (1, 2)}


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_no_mask_lets_an_absent_token_through(data):
    module = ENCODERS[data.draw(st.sampled_from(sorted(ENCODERS)))]
    tokens = data.draw(st.integers(1, 10))
    rows = data.draw(st.lists(st.lists(st.booleans(), min_size=tokens, max_size=tokens), min_size=1, max_size=5))
    present = torch.tensor(rows)
    present[:, -1] = True
    value = data.draw(st.floats(width=32))
    quiet = torch.where(present[..., None], window(len(rows), tokens, 8), 0.0)
    loud = torch.where(present[..., None], quiet, value)
    assert torch.equal(module(quiet, present), module(loud, present))


@kinds
def test_the_generator_alone_decides(kind):
    torch.manual_seed(0)
    first = encoder(kind, 2).state_dict()
    torch.manual_seed(1)
    before = torch.get_rng_state()
    second = encoder(kind, 2).state_dict()
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(first[name], second[name]) for name in first)
    other = encoder(kind, 2, seed=1).state_dict()
    assert any(not torch.equal(first[name], other[name]) for name in first)


@kinds
def test_two_runs_are_bitwise_equal(kind):
    def run():
        module, tokens = encoder(kind), window(300).requires_grad_()
        return torch.autograd.grad(module(tokens).square().sum(), [tokens, *module.parameters()])

    assert all(torch.equal(a, b) for a, b in zip(run(), run(), strict=True))


@kinds
def test_save_and_load_is_the_identity(kind):
    module, other = encoder(kind, 2), encoder(kind, 2, seed=5)
    other.load_state_dict(module.state_dict())
    assert torch.equal(module(window()), other(window()))


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("shape", [(1, 1), (12, 3), (300, 10)])
def test_the_fused_mamba_block_equals_its_twin(shape, masked):
    """Parameters away from their start, several chunks; float32 against float64."""
    module, precise = encoder("mamba"), encoder("mamba").double()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    precise.load_state_dict(module.state_dict())
    present = mask(*shape) if masked else None
    tokens, exact = window(*shape).requires_grad_(), window(*shape).double().requires_grad_()
    out, truth = module(tokens, present), precise.blocks[0].last_twin(exact, present)
    assert torch.allclose(out.double(), truth, atol=1e-6)
    grads = torch.autograd.grad(out.square().sum(), [tokens, *module.parameters()])
    truths = torch.autograd.grad(truth.square().sum(), [exact, *precise.parameters()])
    for ours, theirs in zip(grads, truths, strict=True):
        assert float((ours - theirs).norm()) <= 5e-6 * float(theirs.norm()) + 1e-12


def test_a_window_that_is_a_view_is_read_right():
    module = encoder("mamba")
    whole = window(tokens=10)
    assert torch.equal(module(whole[:, 3:]), module(whole[:, 3:].clone()))
    assert torch.equal(module(whole.transpose(0, 1).contiguous().transpose(0, 1)), module(whole))


@kinds
def test_no_sequences_give_no_features(kind):
    tokens = window(sequences=0).requires_grad_()
    out = encoder(kind)(tokens)
    out.sum().backward()
    assert out.shape == (0, 32)


@pytest.mark.parametrize("width", [4, 12, 20])
@kinds
def test_widths_that_the_kernels_do_not_take(kind, width):
    module, tokens = encoder(kind, 2, width), window(width=width).requires_grad_()
    module(tokens).sum().backward()
    assert bool(tokens.grad.isfinite().all())


def test_off_is_not_an_encoder():
    with pytest.raises(ValueError, match="mamba, gru, attention"):
        encoder("off")

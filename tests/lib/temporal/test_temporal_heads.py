"""The head starts as no correction, learns from the first step, and tells no change from no past."""

from __future__ import annotations

import pytest
import torch

from stages.lib.temporal.heads import EPSILON, DynamicWeights, Source, small_networks, small_networks_twin

sizes = pytest.mark.parametrize("size", [3, 4])


def head_and_input(size, width=32, count=50):
    generator = torch.Generator().manual_seed(0)
    head = DynamicWeights(width, size, generator)
    shapes = [(2, count, columns) for columns in (width, width, size, size)]
    source, feature, current, change = (torch.randn(shape, generator=generator) for shape in shapes)
    known = torch.rand(2, count, generator=generator) > 0.3
    return head, [source, feature, current, change * known[..., None], known]


def residuals(head, source, feature, current, change, known, nearest=None, weights=None):
    return head(head.rows(source, feature, change, known), current, nearest, weights)


def spread(owners=50, tokens=80, k=4):
    generator = torch.Generator().manual_seed(5)
    weights = torch.rand(tokens, k, generator=generator)
    return torch.randint(owners, (tokens, k), generator=generator), weights / weights.sum(1, keepdim=True)


def trained(head):
    """The head with weights away from zero."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return head


@sizes
def test_starts_at_exactly_zero_and_moves_with_the_first_step(size):
    head, given = head_and_input(size)
    assert float(residuals(head, *given).detach().abs().max()) == 0
    optimizer = torch.optim.SGD(head.parameters(), lr=0.1)
    (residuals(head, *given) - 1).square().mean().backward()
    optimizer.step()
    assert float(residuals(head, *given).detach().abs().max()) > 0
    optimizer.zero_grad()
    (residuals(head, *given) - 1).square().mean().backward()
    assert all(bool(parameter.grad.any()) for parameter in head.parameters())


@sizes
def test_no_change_is_not_the_same_as_an_unknown_past(size):
    head, (source, feature, current, change, known) = head_and_input(size)
    trained(head)
    none, yes, no = torch.zeros_like(change), torch.ones_like(known), torch.zeros_like(known)
    found = residuals(head, source, feature, current, none, yes) - residuals(head, source, feature, current, none, no)
    assert float(found.detach().abs().max()) > 1e-3


@sizes
@pytest.mark.parametrize("place", range(4))
def test_source_feature_current_attribute_and_change_all_matter(size, place):
    head, given = head_and_input(size)
    trained(head)
    moved = [tensor + 0.5 if i == place else tensor for i, tensor in enumerate(given)]
    assert float((residuals(head, *moved) - residuals(head, *given)).detach().abs().max()) > 1e-3


@sizes
def test_weights_are_of_each_token_alone(size):
    head, given = head_and_input(size)
    trained(head)
    alone = [residuals(head, *(tensor[:, i : i + 1] for tensor in given)) for i in range(50)]
    assert torch.allclose(residuals(head, *given), torch.cat(alone, dim=1), atol=1e-5)


@sizes
def test_blending_rows_is_blending_sources_features_and_changes(size):
    """The rule that lets owners make their rows once; true because all that follows the source is linear."""
    head, (source, feature, _, change, known) = head_and_input(size)
    trained(head)
    nearest, weights = spread()
    current = torch.randn(2, len(nearest), size, generator=torch.Generator().manual_seed(6))
    known[0], known[1] = True, False

    def blended(values):
        return (values[:, nearest] * weights[..., None]).sum(2)

    fast = residuals(head, source, feature, current, change, known, nearest, weights)
    everyone = known[:, :1].expand(-1, len(nearest))
    slow = residuals(head, blended(source), blended(feature), current, blended(change), everyone)
    assert torch.allclose(fast, slow, atol=1e-4)


@sizes
def test_one_owner_of_weight_one_is_the_tokens_own(size):
    head, given = head_and_input(size)
    trained(head)
    nearest, weights = torch.arange(50)[:, None], torch.ones(50, 1)
    assert torch.equal(residuals(head, *given, nearest, weights), residuals(head, *given))


@sizes
def test_the_compiled_network_equals_its_twin(size, width=16, owners=20):
    generator = torch.Generator().manual_seed(2)
    nearest, weights = spread(owners, 60)
    length = size * (width + 2 + size) + width
    shapes = (2, owners, length), (2, 60, size), (size, width), (size,), (size,)
    leaves = [torch.randn(shape, generator=generator).requires_grad_() for shape in shapes]
    precise = [leaf.detach().double().requires_grad_() for leaf in leaves]
    value = small_networks(*leaves, nearest, weights)
    truth = small_networks_twin(*precise, nearest, weights)
    assert torch.allclose(value.double(), truth, atol=1e-5 * float(truth.detach().abs().max()))
    outer = torch.randn(value.shape, generator=generator)
    grads = torch.autograd.grad((value * outer).sum(), leaves)
    truths = torch.autograd.grad((truth * outer).sum(), precise)
    for ours, theirs in zip(grads, truths, strict=True):
        assert float((ours - theirs).norm()) <= 1e-5 * float(theirs.norm())


def test_equal_inner_values_have_finite_gradients():
    """A layer norm of equal numbers divides by its epsilon alone."""
    shapes = (1, 4, 3 * (8 + 2 + 3) + 8), (1, 4, 3), (3, 8)
    leaves = [torch.zeros(shape).requires_grad_() for shape in shapes]
    leaves += [torch.ones(3, requires_grad=True), torch.zeros(3, requires_grad=True)]
    found = small_networks(*leaves, torch.arange(4)[:, None], torch.ones(4, 1))
    grads = torch.autograd.grad(found.sum(), leaves)
    assert EPSILON > 0 and all(bool(grad.isfinite().all()) for grad in grads)


def test_the_generator_alone_decides():
    def states():
        generator = torch.Generator().manual_seed(7)
        modules = Source(32, generator), DynamicWeights(32, 3, generator)
        return [value for module in modules for value in module.state_dict().values()]

    assert all(torch.equal(a, b) for a, b in zip(states(), states(), strict=True))


def test_save_and_load_is_the_identity():
    head, given = head_and_input(3)
    other = DynamicWeights(32, 3, torch.Generator().manual_seed(9))
    other.load_state_dict(trained(head).state_dict())
    assert torch.equal(residuals(head, *given), residuals(other, *given))

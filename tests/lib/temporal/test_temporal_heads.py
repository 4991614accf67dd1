"""The head starts as no correction, learns from the first step, and tells no change from no past."""

from __future__ import annotations

import pytest
import torch

from stages.lib.temporal.heads import EPSILON, DynamicWeights, Source, small_network, small_network_twin

sizes = pytest.mark.parametrize("size", [3, 4])


def head_and_input(size, width=32, count=50):
    generator = torch.Generator().manual_seed(0)
    head = DynamicWeights(width, size, generator)
    *drawn, change = (torch.randn(count, columns, generator=generator) for columns in (width, width, size, size))
    known = torch.rand(count, generator=generator) > 0.3
    return head, [*drawn, change * known[:, None], known]


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
    assert float(head(*given).detach().abs().max()) == 0
    optimizer = torch.optim.SGD(head.parameters(), lr=0.1)
    (head(*given) - 1).square().mean().backward()
    optimizer.step()
    assert float(head(*given).detach().abs().max()) > 0
    optimizer.zero_grad()
    (head(*given) - 1).square().mean().backward()
    assert all(bool(parameter.grad.any()) for parameter in head.parameters())


@sizes
def test_no_change_is_not_the_same_as_an_unknown_past(size):
    head, (source, feature, current, change, known) = head_and_input(size)
    trained(head)
    none, yes, no = torch.zeros_like(change), torch.ones_like(known), torch.zeros_like(known)
    found = head(source, feature, current, none, yes) - head(source, feature, current, none, no)
    assert float(found.detach().abs().max()) > 1e-3


@sizes
def test_current_attribute_and_change_both_matter(size):
    head, given = head_and_input(size)
    trained(head)
    before = head(*given)
    for place in (2, 3):
        moved = [tensor + 0.5 if i == place else tensor for i, tensor in enumerate(given)]
        assert float((head(*moved) - before).detach().abs().max()) > 1e-3


@sizes
def test_weights_are_of_each_token_alone(size):
    head, given = head_and_input(size)
    trained(head)
    alone = torch.cat([head(*(tensor[i : i + 1] for tensor in given)) for i in range(50)])
    assert torch.allclose(head(*given), alone, atol=1e-5)


@sizes
def test_the_compiled_network_equals_its_twin(size, width=16, count=60):
    generator = torch.Generator().manual_seed(2)
    shapes = (count, size * (width + 2 + size)), (count, width), (size,), (size,)
    leaves = [torch.randn(shape, generator=generator).requires_grad_() for shape in shapes]
    precise = [leaf.detach().double().requires_grad_() for leaf in leaves]
    value, truth = small_network(*leaves), small_network_twin(*precise)
    assert torch.allclose(value.double(), truth, atol=1e-5 * float(truth.detach().abs().max()))
    weight = torch.randn(value.shape, generator=generator)
    grads = torch.autograd.grad((value * weight).sum(), leaves)
    truths = torch.autograd.grad((truth * weight).sum(), precise)
    for ours, theirs in zip(grads, truths, strict=True):
        assert float((ours - theirs).norm()) <= 1e-5 * float(theirs.norm())


def test_equal_inner_values_have_finite_gradients():
    """A layer norm of equal numbers divides by its epsilon alone."""
    made, entering = torch.zeros(4, 3 * (8 + 2 + 3)), torch.zeros(4, 8)
    leaves = [tensor.requires_grad_() for tensor in (made, entering, torch.ones(3), torch.zeros(3))]
    grads = torch.autograd.grad(small_network(*leaves).sum(), leaves)
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
    assert torch.equal(head(*given), other(*given))

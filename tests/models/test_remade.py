"""Outputs that are made again in the backward pass: the same gradients, and nothing kept of them meanwhile."""

import pytest
import torch
from torch import nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils.checkpoint import checkpoint

from aa_lightning.models.token.lean import Gated, RMSNorm
from aa_lightning.models.token.remade import applied, made_again


@pytest.fixture
def parts():
    torch.manual_seed(0)
    return nn.Parameter(torch.rand(6)), nn.Linear(6, 5), torch.randn(4, 6, requires_grad=True)


def gradients(out, parts):
    weight, linear, x = parts
    return torch.autograd.grad((out * torch.arange(5.0)).sum(), [x, weight, linear.weight])


def test_a_linear_layer_keeps_how_its_input_is_made_and_not_the_input(parts):
    weight, linear, x = parts
    expected = gradients(linear(RMSNorm.apply(x, weight, 1e-6)), parts)
    with made_again():
        normed = applied(RMSNorm, x, weight, 1e-6)
        memory, out = StorageWeakRef(normed.untyped_storage()), linear(normed)
        del normed
    assert memory.expired()
    assert all(map(torch.equal, gradients(out, parts), expected))


def test_weights_may_be_gone_meanwhile(parts):
    """As those of a sharded norm are, between its forward and its backward pass."""
    weight, linear, x = parts
    normed = RMSNorm.apply(x, weight, 1e-6)
    (expected,) = torch.autograd.grad(linear(normed).sum(), linear.weight)
    with made_again():
        out = linear(applied(RMSNorm, x, weight, 1e-6))
    weight.untyped_storage().resize_(0)
    assert torch.equal(torch.autograd.grad(out.sum(), linear.weight)[0], expected)


def test_a_part_of_an_output_is_kept_as_it_is(parts):
    weight, linear, x = parts
    expected = gradients(linear(RMSNorm.apply(x, weight, 1e-6)[:2]), parts)
    with made_again():
        out = linear(applied(RMSNorm, x, weight, 1e-6)[:2])
    assert all(map(torch.equal, gradients(out, parts), expected))


def test_what_comes_to_lie_in_the_place_of_an_output_is_not_taken_for_it(parts):
    weight, linear, x = parts
    with made_again():
        gone = applied(RMSNorm, x, weight, 1e-6)
        memory = gone.untyped_storage()
        del gone
        other = torch.empty(0).set_(memory, 0, (4, 6)).fill_(3.0)
        out = linear(other)
    (found,) = torch.autograd.grad(out.sum(), linear.weight)
    assert torch.equal(found, torch.full((5, 6), 12.0))


def test_checkpointed_layers_give_the_same_gradients(parts):
    weight, linear, x = parts

    def layer(x):
        normed = applied(RMSNorm, x, weight, 1e-6)
        return linear(applied(Gated, normed, x, torch.nn.functional.silu, torch.ops.aten.silu_backward))

    expected = gradients(layer(x), parts)
    with made_again():
        out = checkpoint(layer, x, use_reentrant=False)
    assert all(map(torch.equal, gradients(out, parts), expected))

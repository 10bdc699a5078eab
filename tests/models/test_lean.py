"""Norms, gated layers and activations that keep their inputs alone give the library's numbers and gradients."""

import copy
from types import MethodType

import pytest
import torch
from transformers.activations import QuickGELUActivation

from tests.contract.support import MODELS, borrow, modality

TOKENS = [model for model in MODELS if modality(model) != "t2i"]


def slimmed(model: str):
    """Modules of a model that are lean, one for each class: no towers that are kept, nothing of a short last layer."""
    _, policy, _ = borrow(model)
    changed = [module for module in policy.network.modules() if isinstance(vars(module).get("forward"), MethodType)]
    return {type(module): module for module in changed if "whole" not in vars(module)}


def width(module) -> int:
    if isinstance(module, QuickGELUActivation):
        return 6
    return len(module.weight) if "RMSNorm" in type(module).__name__ else module.gate_proj.in_features


def read(module, given: torch.Tensor):
    """Output, and gradients of input and weights, in a direction of their own."""
    x = given.clone().requires_grad_()
    out = module(x)
    weights = list(module.parameters())
    return out, *torch.autograd.grad((out * out.detach().cos()).sum(), [x, *weights])


@pytest.mark.parametrize("model", TOKENS)
def test_numbers_and_gradients_are_those_of_the_library(model):
    for module in slimmed(model).values():
        own = copy.deepcopy(module).requires_grad_()
        for weight in own.parameters():
            weight.data.add_(torch.linspace(-0.2, 0.2, weight.numel()).view(weight.shape))
        plain = copy.deepcopy(own)
        del plain.forward
        size = width(own)
        given = torch.linspace(-3, 3, 20 * size).cos().view(size, 2, 10).transpose(0, 2)  # not contiguous
        for ours, theirs in zip(read(own, given), read(plain, given), strict=True):
            assert (ours - theirs).norm() <= 1e-6 * theirs.norm(), type(own).__name__


@pytest.mark.parametrize("model", TOKENS)
def test_every_norm_of_a_decoder_is_lean(model):
    _, policy, _ = borrow(model)
    norms = [module for module in policy.network.writer.get_decoder().modules() if "RMSNorm" in type(module).__name__]
    assert norms and all("forward" in vars(norm) for norm in norms)


def saved(module, given: torch.Tensor) -> int:
    """Bytes that the backward pass of a module keeps, weights left out."""
    kept = {}

    def keep(tensor):
        kept[tensor.data_ptr()] = tensor.nbytes
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        module(given.requires_grad_())
    for weight in module.parameters():
        kept.pop(weight.data_ptr(), None)
    return sum(kept.values())


def test_a_norm_keeps_its_input_and_a_number_for_each_token():
    norm = next(module for kind, module in slimmed("tiny_llama").items() if "RMSNorm" in kind.__name__)
    rows = torch.randn(50, len(norm.weight))
    assert saved(norm, rows) == rows.nbytes + 50 * 4


def test_a_gated_layer_keeps_gate_and_up_and_what_its_linear_layers_read():
    layer = next(module for kind, module in slimmed("tiny_llama").items() if "MLP" in kind.__name__)
    rows = torch.randn(50, layer.gate_proj.in_features)
    inside = 50 * layer.gate_proj.out_features * 4
    assert saved(layer, rows) == rows.nbytes + 3 * inside

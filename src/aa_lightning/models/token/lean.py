"""Norms, gated layers and activations that keep their inputs for the backward pass and nothing else.

What lies between the inputs and the output of an element-wise function is cheap to compute again, and dear to keep: the
library's own keep five tensors of a row's size in a norm and three in a gated layer. Numbers are theirs.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import MethodType

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, silu
from transformers.activations import GELUTanh, QuickGELUActivation, SiLUActivation

from aa_lightning.models.token import remade

_QUICK = 1.702
_GATED = {"gate_proj", "up_proj", "down_proj", "act_fn"}
_silu_backward = torch.ops.aten.silu_backward
_gelu_tanh = partial(gelu, approximate="tanh"), partial(torch.ops.aten.gelu_backward, approximate="tanh")
# by the class of an activation: the function, and (gradient of its output, its input) → gradient of its input
_ACTIVATIONS: dict[type, tuple[Callable[..., Tensor], Callable[..., Tensor]]] = {
    SiLUActivation: (silu, _silu_backward),
    nn.SiLU: (silu, _silu_backward),
    GELUTanh: _gelu_tanh,
}


def slim(model: nn.Module) -> None:
    """Give the norms, gated layers and activations of a model's parts a forward pass that keeps inputs alone.

    Modules stay where they are and call their linear layers as before, so that adapters and sharding see no difference.
    """
    for module in model.modules():
        forward = _forward_of(module)
        if forward is not None:
            module.forward = MethodType(forward, module)


def _forward_of(module: nn.Module) -> Callable[..., Tensor] | None:
    kind = type(module).__name__
    if kind.endswith("RMSNorm"):
        if "variance_epsilon" in vars(module):
            return _norm
        return _norm_of_gemma if kind.startswith("Gemma") else None
    children = dict(module.named_children())
    if children.keys() == _GATED and type(children["act_fn"]) in _ACTIVATIONS:
        return _gated
    return _quick_gelu if isinstance(module, QuickGELUActivation) else None


def _norm(self: nn.Module, hidden_states: Tensor) -> Tensor:
    return remade.applied(RMSNorm, hidden_states, self.weight, self.variance_epsilon)


def _norm_of_gemma(self: nn.Module, x: Tensor) -> Tensor:
    return remade.applied(RMSNorm, x.float(), 1.0 + self.weight.float(), self.eps).type_as(x)


def _gated(self: nn.Module, x: Tensor) -> Tensor:
    return self.down_proj(remade.applied(Gated, self.gate_proj(x), self.up_proj(x), *_ACTIVATIONS[type(self.act_fn)]))


def _quick_gelu(self: nn.Module, input: Tensor) -> Tensor:
    return remade.applied(QuickGELU, input)


class RMSNorm(torch.autograd.Function):
    """w · x / √(mean(x²) + ε) over the last dimension (1910.07467 eq. 4), in float32."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        wide = x.float()
        scale = torch.linalg.vector_norm(wide, dim=-1, keepdim=True).square_().div_(x.shape[-1]).add_(eps).rsqrt_()
        ctx.save_for_backward(x, weight, scale)
        normed = (wide * scale).to(x.dtype)
        return normed.mul_(weight) if normed.dtype == weight.dtype else normed * weight

    @staticmethod
    def backward(ctx, grad: Tensor):
        """With n = x · scale and g the gradient, all (…, H): ∂w = Σ g n, ∂x = scale · (g w − n · mean(g w n))."""
        x, weight, scale = ctx.saved_tensors
        wide, weight32, width = x.float(), weight.float(), x.shape[-1]
        normed = wide * scale
        product = normed * grad
        rows = product.reshape(-1, width)
        to_weight = torch.mv(rows.t(), rows.new_ones(len(rows)))
        pull = torch.mv(rows, weight32).view(scale.shape).div_(width).mul_(scale)
        to_x = torch.mul(grad, weight32, out=product).mul_(scale)
        return to_x.sub_(normed.mul_(pull)).to(x.dtype), to_weight.to(weight.dtype), None


class Gated(torch.autograd.Function):
    """activation(gate) · up (2002.05202 eq. 5)."""

    @staticmethod
    def forward(ctx, gate: Tensor, up: Tensor, activation: Callable, slope: Callable) -> Tensor:
        ctx.save_for_backward(gate, up)
        ctx.activation, ctx.slope = activation, slope
        return activation(gate).mul_(up)

    @staticmethod
    def backward(ctx, grad: Tensor):
        gate, up = ctx.saved_tensors
        return ctx.slope(grad * up, gate), ctx.activation(gate).mul_(grad), None, None


class QuickGELU(torch.autograd.Function):
    """x · sigmoid(1.702 x), which is silu(1.702 x) / 1.702 (1606.08415 section 2)."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return silu(_QUICK * x).div_(_QUICK)

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return _silu_backward(grad, _QUICK * x)

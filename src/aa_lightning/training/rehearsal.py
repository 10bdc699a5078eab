"""A step rehearsed without memory behind its weights: what it would hold and compute.

Weights are shapes alone, the batch is real. What follows from the batch, such as the places of tokens, is computed; what
weights have a part in keeps its shape. The code is that of training, so that each family, layout, adapter and algorithm
counts as it is: no formula has to follow them.
"""

from __future__ import annotations

import copy
import weakref
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry, sdpa_backward_flop_count, sdpa_flop_count

from aa_lightning.algos.step import Step, computed, prepared
from aa_lightning.types import Algorithm, Batch

_aten = torch.ops.aten
_attention = _aten._scaled_dot_product_flash_attention_for_cpu.default
_attention_backward = _aten._scaled_dot_product_flash_attention_for_cpu_backward.default
_AUTOCAST = {"bf16-mixed": torch.bfloat16, "bf16": torch.bfloat16, "16-mixed": torch.float16, "16": torch.float16}


@dataclass(frozen=True)
class Footprint:
    """The bytes that a step holds on a process that has all of the model, and what it computes.

    Attributes:
        weights: of the policy, those that stay as they are too.
        trained: of the policy, those that train.
        gradients, moments: of these; the moments are AdamW's.
        reference: a copy of its own; 0: there is none.
        working: the most of all else at a time: activations, and what operations need meanwhile.
        peak: the most at a time; less than the sum of all where gradients come as activations go.
        flop: of a forward and a backward pass, those of the reference and of what is computed again included.
    """

    weights: int
    trained: int
    gradients: int
    moments: int
    reference: int
    working: int
    peak: int
    flop: int


def rehearse(
    policy: nn.Module, algorithm: Algorithm, batch: Batch, precision: str = "32-true", accumulates: bool = False
) -> Footprint:
    """Go through a step that is not the first one: gradients of the last one stand until the forward pass has ended, as
    Lightning has it.

    Args:
        policy: a policy or a reward model; it may lie on the meta device, and stays as it is.
        batch: one forward pass, on the CPU.
        precision: `trainer.precision`.
        accumulates: whether a step adds up several passes, so that gradients stand in the backward pass as well.

    Raises:
        RuntimeError: what the model does next depends on numbers that its weights give.
    """
    hollow, ledger = _hollow(policy).train(), Ledger()
    trained = [parameter for parameter in hollow.parameters() if parameter.requires_grad]
    with ledger:
        weights = sum(map(ledger.claim, hollow.parameters()))
        reference = sum(ledger.claim(p) for network in hollow.reference_modules() for p in network.parameters())
        optimizer = torch.optim.AdamW(trained, fused=True)
        for parameter in trained:
            parameter.grad = torch.empty_like(parameter)
            parameter.register_post_accumulate_grad_hook(ledger.claim_gradient)
        gradients = sum(ledger.claim(parameter.grad) for parameter in trained)
        optimizer.step()
        moments = sum(ledger.claim(value) for state in optimizer.state.values() for value in state.values())
        ledger.peak = ledger.most_working = 0  # of what follows
        with _mixed(precision):
            loss = _loss(hollow, algorithm, batch)
        if not accumulates:
            optimizer.zero_grad()
        loss.backward()
        del loss
        optimizer.step()
    trains = sum(parameter.numel() * parameter.element_size() for parameter in trained)
    return Footprint(weights, trains, gradients, moments, reference, ledger.most_working, ledger.peak, ledger.flop)


def _loss(policy: nn.Module, algorithm: Algorithm, batch: Batch) -> Tensor:
    memory = {name: torch.zeros((), dtype=torch.float64) for name in algorithm.remembers}
    return computed(algorithm, policy, prepared(policy, batch), Step(memory=memory, measured=True))[0]


def _mixed(precision: str) -> AbstractContextManager:
    return torch.autocast("cpu", _AUTOCAST[precision]) if precision in _AUTOCAST else nullcontext()


def _hollow(policy: nn.Module) -> nn.Module:
    """A copy, with its reference, of which tensors are shapes alone; weights that are one stay one."""
    networks, shapes = [policy, *policy.reference_modules()], {}
    with FakeTensorMode(allow_non_fake_inputs=True):
        for parameter in (parameter for network in networks for parameter in network.parameters()):
            shapes[id(parameter)] = nn.Parameter(_shape_of(parameter), requires_grad=parameter.requires_grad)
        for buffer in (buffer for network in networks for buffer in network.buffers()):
            shapes[id(buffer)] = _shape_of(buffer)
    return copy.deepcopy(policy, shapes)


def _shape_of(tensor: Tensor) -> Tensor:
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype)


class Ledger(TorchDispatchMode):
    """Counts, while the context lasts, the bytes behind tensors that live, and FLOPs of products.

    Attributes:
        peak: the most bytes at a time.
        most_working: the most at a time of those that nobody claimed.
        flop: two for each product of two numbers that is added up.
    """

    def __init__(self):
        super().__init__()
        self.peak = self.most_working = self.flop = self._alive = self._claimed = 0
        self._bytes: dict[int, int] = {}  # by the address of a storage
        self._owned: set[int] = set()

    def claim(self, tensor: Tensor) -> int:
        """Count a tensor (…) to the state of training, and return its bytes; 0 where it is claimed already."""
        key = self._see(tensor)
        if key in self._owned:
            return 0
        self._owned.add(key)
        self._claimed += self._bytes[key]
        return self._bytes[key]

    def claim_gradient(self, parameter: nn.Parameter) -> None:
        """Count a gradient to the state of training."""
        self.claim(parameter.grad)

    def _see(self, tensor: Tensor) -> int:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key not in self._bytes:
            self._bytes[key] = storage.nbytes()
            self._alive += self._bytes[key]
            weakref.finalize(storage, self._forget, key)
        return key

    def _forget(self, key: int) -> None:
        size = self._bytes.pop(key)
        self._alive -= size
        if key in self._owned:
            self._owned.remove(key)
            self._claimed -= size

    def __torch_dispatch__(self, operation: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        if operation is _aten.index.Tensor:
            args = (args[0], _places(args[1]))
        made = operation(*args, **kwargs)
        for value in tree_leaves(made):
            if isinstance(value, Tensor):
                self._see(value)
        self.peak = max(self.peak, self._alive)
        self.most_working = max(self.most_working, self._alive - self._claimed)
        self.flop += _flop(operation, args, kwargs, made)
        return made


def _places(index: list[Tensor | None]) -> list[Tensor | None]:
    """Masks as places, while their numbers are there: a shape alone does not say how many are true."""
    found: list[Tensor | None] = []
    for one in index:
        is_mask = type(one) is Tensor and one.dtype == torch.bool
        found += one.nonzero().unbind(1) if is_mask else [one]
    return found


def _flop(operation: Any, args: tuple, kwargs: dict, made: Any) -> int:
    if operation is _attention:
        query, key, value, _, causal = (*args, 0.0, False)[:5]
        return sdpa_flop_count(query.shape, key.shape, value.shape) // (2 if causal else 1)
    if operation is _attention_backward:
        gradient, query, key, value, _, _, _, causal = args[:8]
        return sdpa_backward_flop_count(gradient.shape, query.shape, key.shape, value.shape) // (2 if causal else 1)
    count = flop_registry.get(operation.overloadpacket)
    return 0 if count is None else count(*args, **kwargs, out_val=made)

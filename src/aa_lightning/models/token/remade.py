"""Outputs of element-wise functions that are made again in the backward pass, where linear layers would keep them.

A linear layer keeps what it reads. Where that is a norm, or a gate times what it lets through, it is made again from what
these keep themselves: a pass over memory, beside the product of matrices that the layer's backward step is.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

Make = Callable[[], Tensor]
Known = dict[tuple[int, int], tuple["weakref.ref[Tensor]", Make]]  # outputs by their place, as long as they are there
_known: ContextVar[Known | None] = ContextVar("known", default=None)


def applied(function: type[torch.autograd.Function], *inputs: Any) -> Tensor:
    """Apply an element-wise function: its output (…), which within `made_again` nobody who reads it keeps.

    Args:
        inputs: those that the function keeps, and numbers.
    """
    output, known = function.apply(*inputs), _known.get()
    if known is not None and output.requires_grad and output.is_contiguous():
        place = _place(output)
        known[place] = (
            weakref.ref(output, lambda _: known.pop(place, None)),
            partial(function.apply, *map(_kept, inputs)),
        )
    return output


def _place(tensor: Tensor) -> tuple[int, int]:
    """Name the place of a tensor (…) in memory. One that is a shape alone has a storage too, but no address."""
    return tensor.untyped_storage()._cdata, tensor.storage_offset()


def _kept(value: Any) -> Any:
    """An input as it will be in the backward pass. Weights are small here, and sharding may have taken them away by then."""
    if isinstance(value, nn.Parameter):
        return value.detach().clone()
    return value.detach() if isinstance(value, Tensor) else value


@contextmanager
def made_again() -> Iterator[None]:
    """Inside, the backward pass keeps how an output of `applied` is made, and not the output.

    In a checkpointed layer the checkpoint's own hooks are asked, which keep neither.
    """
    known: Known = {}

    def pack(tensor: Tensor) -> Tensor | Make:
        if _place(tensor) not in known or not tensor.is_contiguous():
            return tensor
        reference, make = known[_place(tensor)]
        output = reference()
        same = output is not None and output.numel() == tensor.numel()
        return partial(_made, make, tensor.shape) if same else tensor

    def unpack(kept: Tensor | Make) -> Tensor:
        return kept if isinstance(kept, Tensor) else kept()

    before = _known.set(known)
    try:
        with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
            yield
    finally:
        _known.reset(before)


@torch.no_grad()
def _made(make: Make, shape: torch.Size) -> Tensor:
    return make().view(shape)

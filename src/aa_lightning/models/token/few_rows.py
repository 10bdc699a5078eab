"""Linear layers for few rows at a time on a CPU, by weights that are laid out for it once.

The product that PyTorch takes there reads large weights at a fraction of the memory's speed where it has few rows: with
eight of them a head of 32,000 words takes 9 ms, and 3.7 ms in oneDNN's own layout. Making that takes 30 ms.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache, partial

import torch
from torch import Tensor, nn

_LARGE = 2**18  # weights, from which on a layer gains by it
_MOST = 2**30  # bytes of all copies
_ROWS = 8  # that the layout is made for; it serves any number
_WORTH = 16  # calls of each layer, from which on the copies pay


@contextmanager
def laid_out(modules: Iterable[nn.Module], calls: int) -> Iterator[None]:
    """Let large linear layers read copies of their weights while the context lasts, in which weights stay as they are and
    there are no gradients.

    Args:
        modules: among which they are; those that are no plain layers of 32 bits on a CPU stay as they are.
        calls: how often each is called at most.
    """
    changed = _chosen(modules) if calls >= _WORTH and _works() else []
    for layer in changed:
        copied = torch.ops.mkldnn._reorder_linear_weight(layer.weight, _ROWS)
        layer.forward = partial(_forward, copied, layer.bias)
    try:
        yield
    finally:
        for layer in changed:
            del layer.forward


def _forward(weight: Tensor, bias: Tensor | None, rows: Tensor) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(rows, weight, bias, "none", [], "")


def _chosen(modules: Iterable[nn.Module]) -> list[nn.Linear]:
    """The layers that gain, as far as copies have room."""
    if torch.is_autocast_enabled("cpu"):
        return []
    found, room = [], _MOST
    for layer in dict.fromkeys(modules):
        if type(layer) is nn.Linear and "forward" not in vars(layer) and _is_plain(layer.weight):
            room -= layer.weight.nbytes
            if room >= 0:
                found.append(layer)
    return found


def _is_plain(weight: Tensor) -> bool:
    plain = type(weight.data) is Tensor and weight.device.type == "cpu" and weight.dtype == torch.float32
    return plain and weight.numel() >= _LARGE


@cache
def _works() -> bool:
    """Tell whether this build has such products, and they are right."""
    rows, weight = torch.randn(3, 64, generator=torch.Generator().manual_seed(0)), torch.eye(64) * 2
    try:
        copied = torch.ops.mkldnn._reorder_linear_weight(weight, _ROWS)
        return bool(torch.allclose(_forward(copied, None, rows), 2 * rows))
    except (RuntimeError, AttributeError, NotImplementedError):  # of another release, or not built for this machine
        return False

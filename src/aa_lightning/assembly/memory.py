"""Bytes that one process holds in a step, by the strategy that places a model."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from aa_lightning.assembly.devices import GIB
from aa_lightning.configuration.strategy import Strategy

if TYPE_CHECKING:
    from torch import nn

    from aa_lightning.training.rehearsal import Footprint

_NF4 = 0.5 + 4 / 64  # bytes of a weight of four bits with a float32 scale for each 64 (2305.14314 section 3)
_PER_WEIGHT = {"nf4": _NF4, "int8": 1.0}
_BUCKET = 200_000_000  # numbers that DeepSpeed reduces at a time, as Lightning sets it
_LIVE = 1_000_000_000  # weights that ZeRO-3 keeps gathered


@dataclass(frozen=True)
class Held:
    """Bytes on one process.

    Attributes:
        working: activations, what operations need meanwhile, and what a strategy gathers; less what comes as other goes.
    """

    weights: int
    gradients: int
    optimizer: int
    reference: int
    working: int

    @property
    def total(self) -> int:
        return sum(getattr(self, field.name) for field in fields(self))

    def rows(self) -> list[list[str]]:
        """Name and GiB."""
        names = {"working": "activations and more"}
        parts = [(names.get(field.name, field.name), getattr(self, field.name)) for field in fields(self)]
        return [[name, f"{size / GIB:.3g}"] for name, size in [*parts, ("total", self.total)]]


def held(
    step: Footprint, policy: nn.Module, strategy: Strategy, processes: int, quantization: str | None, copies: bool
) -> Held:
    """Count what a process holds where `processes` of them train together.

    Args:
        step: of one that has all of the model; under DeepSpeed with weights of 16 bits.
        policy: that it was rehearsed with.
        copies: whether AdamW makes a copy of what trains as it steps, as on graphics cards where it is not one kernel.
    """
    saved = _saved(policy, quantization) if quantization else 0
    if strategy.is_deepspeed:
        return _of_zero(step, strategy, processes)
    if strategy.shards_weights:
        return _of_fsdp(step, policy, processes, copies)
    buckets = step.gradients if processes > 1 else 0  # DDP's, from which gradients are averaged
    state = step.weights + step.gradients + step.moments + step.reference
    return Held(
        step.weights - saved,
        step.gradients + buckets,
        step.moments,
        step.reference,
        max(step.peak - state, step.gradients * copies),
    )


def _of_fsdp(step: Footprint, policy: nn.Module, processes: int, copies: bool) -> Held:
    """Shards, and whole for a while: what stands outside of blocks, in a block and the one that is fetched ahead, and the
    gradients of a block."""
    from aa_lightning.training.strategies import blocks

    networks = [*policy.children(), *policy.reference_modules()]
    sizes = [[bytes_of(block) for block in blocks(network)] for network in networks]
    outside = sum(bytes_of(network) - sum(inside) for network, inside in zip(networks, sizes, strict=True))
    largest = max((size for inside in sizes for size in inside), default=0)
    shares = [-(-part // processes) for part in (step.weights, step.gradients, step.moments, step.reference)]
    return Held(*shares, max(step.working + outside + 3 * largest, shares[1] * copies))


def _of_zero(step: Footprint, strategy: Strategy, processes: int) -> Held:
    """Weights and gradients of 16 bits; a float32 copy and both moments of what trains, in shards (1910.02054 section 3)."""
    numbers, stage, offloads = step.trained // 2, strategy.stage or 0, strategy.offload
    whole = step.weights + step.reference
    gathered = min(whole, 2 * _LIVE) if stage == 3 else 0
    bucket = 2 * min(numbers, _BUCKET)
    on_device = 0 if offloads and stage == 3 else 1
    state = (step.weights * on_device, step.gradients, 0 if offloads else 12 * numbers, step.reference * on_device)
    shares = (-(-size // (processes if stage >= least else 1)) for size, least in zip(state, (3, 2, 1, 3), strict=True))
    return Held(*shares, step.working + gathered + bucket)


def bytes_of(module: nn.Module) -> int:
    """Of its weights."""
    return sum(parameter.numel() * parameter.element_size() for parameter in module.parameters())


def _saved(policy: nn.Module, quantization: str) -> int:
    """Bytes that frozen linear layers lose where their weights are quantised; the output layer's are not."""
    from torch import nn

    frozen = [
        module.weight
        for name, module in policy.named_modules()
        if isinstance(module, nn.Linear) and not module.weight.requires_grad and not name.endswith("lm_head")
    ]
    return int(sum(weight.numel() * (weight.element_size() - _PER_WEIGHT[quantization]) for weight in frozen))

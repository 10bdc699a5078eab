"""The step that a batch is part of. It is for algorithms alone: policies and references are given the batch."""

from __future__ import annotations

from dataclasses import dataclass, field
from inspect import signature
from typing import TYPE_CHECKING, Any

from aa_lightning.types import Algorithm, Batch, Metrics

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Step:
    """Beside its batch, as an algorithm gets it.

    Attributes:
        normalizer: what a mean over terms divides by (`Algorithm.normalizer`, added up over the step), () or one number per
            part of a mixture; None: the terms of the batch.
        memory: the running statistics that the algorithm remembers; what it writes there lasts.
        measured: whether metrics are written down, so that what only they need is computed.
    """

    normalizer: Tensor | None = None
    memory: dict[str, Tensor] = field(default_factory=dict)
    measured: bool = False


ALONE = Step()  # of a batch by itself


def computed(algorithm: Algorithm, policy: Any, batch: Batch, step: Step) -> tuple[Tensor, Metrics]:
    """Compute the loss () and the metrics; an algorithm gets the step where its `__call__` has a parameter of that name."""
    return algorithm(policy, batch, step) if takes_step(algorithm) else algorithm(policy, batch)


def credited(algorithm: Algorithm, experience: Any, memory: dict[str, Tensor]) -> dict[str, Tensor]:
    """Turn a rollout's rewards into what is learned from, (P, K, …) each, by an algorithm that draws responses; it gets the
    memory where its `credit` has a parameter of that name."""
    given = {"memory": memory} if "memory" in signature(type(algorithm).credit).parameters else {}
    return algorithm.credit(experience, **given)


def prepared(policy: Any, batch: Batch) -> Batch:
    """Make a batch and its branches ready to be read."""
    batch = policy.prepare(batch)
    batch.branches = {name: policy.prepare(branch) for name, branch in batch.branches.items()}
    return batch


def takes_step(algorithm: Algorithm) -> bool:
    """Tell whether `__call__` has a parameter `step`."""
    return "step" in signature(type(algorithm).__call__).parameters

"""The reference of an alignment objective, in its forms: a frozen copy, the policy with its adapter off, what was read of
it before the policy moved (`models/token/kept.py`), none.

A frozen copy is never a registered submodule: it has no place in checkpoints, gradients or the optimiser, and a strategy
places or shards it by itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor, nn

from aa_lightning.models.lora import Adapters
from aa_lightning.types import Batch, Likelihood, LogLikelihood, Rollout, Statistic

ReferenceForm = Literal["frozen", "adapter", "kept", "none"]


class Reference:
    """Offers `log_likelihood` without gradient, by whichever network stands for the reference."""

    def __init__(self, form: ReferenceForm, network: nn.Module | None = None, adapters: Adapters | None = None):
        self.form, self.network, self.adapters = form, network, adapters

    def modules(self) -> list[nn.Module]:
        """Networks that a strategy must place or shard by itself."""
        return [self.network] if self.form == "frozen" else []

    @contextmanager
    def active(self, policy_network: nn.Module) -> Iterator[Likelihood]:
        """The reference, while the context lasts.

        Raises:
            ValueError: the run was built without a reference.
        """
        with self.standing(policy_network) as network:
            yield Frozen(network)

    @contextmanager
    def standing(self, policy_network: nn.Module) -> Iterator[nn.Module]:
        """The network that stands for the reference, while the context lasts.

        Raises:
            ValueError: the run was built without a reference.
        """
        if self.form == "none":
            raise ValueError(
                "the algorithm reads policy.as_reference(), and the policy was built without a reference: write "
                "uses_reference = True into the algorithm's class, and leave model.reference=auto"
            )
        if self.form == "frozen":
            yield self.network
            return
        with self.adapters.off(), evaluating(policy_network):
            yield policy_network


class Frozen:
    """A network as a reference: same numbers, no graph."""

    def __init__(self, network: nn.Module):
        self._network = network

    @torch.no_grad()
    def action_logprobs(self, rollout: Rollout) -> Tensor:
        """(P, K, A): log-probabilities of drawn actions, of the distribution that they were drawn from."""
        return self._network.action_logprobs(rollout)

    @torch.no_grad()
    def log_likelihood(
        self, batch: Batch, tokens: Tensor | None = None, statistic: Statistic | None = None, measure: bool = False
    ) -> LogLikelihood:
        """Its terms, (P, K, T); arguments as for a policy."""
        return self._network(batch, tokens=tokens, statistic=statistic, measure=measure)


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """No dropout, while the context lasts: what is read or drawn must not depend on draws of its own."""
    was_training = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(was_training)


def frozen(network: nn.Module) -> nn.Module:
    """Take gradients and dropout away from a copy."""
    return network.requires_grad_(False).eval()


def choose_form(wanted: str, lora_rank: int, needed: bool) -> ReferenceForm:
    """`auto` becomes the cheapest form that is right.

    Raises:
        ValueError: the adapter form without an adapter.
    """
    if not needed or wanted == "none":
        return "none"
    if wanted == "adapter" and lora_rank == 0:
        raise ValueError(
            "model.reference=adapter takes the policy with its adapter off as the reference, and there is no adapter: "
            "set model.lora.rank=16, or model.reference=frozen"
        )
    if wanted == "auto":
        return "adapter" if lora_rank > 0 else "frozen"
    return wanted

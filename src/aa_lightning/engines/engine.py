"""The one protocol of what draws responses: the policy itself, another program with its weights, or another model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

from torch import Tensor

from aa_lightning.models.families.offer import ModelOffer
from aa_lightning.types import Batch, Prompt, Rollout, Sampling


class Engine(ABC):
    """Draws responses with the weights that a policy has when it is asked.

    Attributes:
        reports: whether it gives the log-probabilities with which it drew; if not, those of its rollouts are 0.
        exact: whether those are the policy's own, as it trains. If not, both are compared (`gap`).
    """

    reports: ClassVar[bool] = True
    exact: ClassVar[bool] = False

    def why_not(self, offer: ModelOffer, config: Any) -> str | None:
        """Say why it cannot draw the responses of a model that writes texts, before weights load; None: it can.

        Args:
            offer: of the model.
            config: the library's, of the model.
        """
        return None

    @abstractmethod
    def generate(self, policy: Any, prompts: Sequence[Prompt], batch: Batch, n: int, sampling: Sampling) -> Rollout:
        """Draw n responses to each prompt.

        Args:
            policy: whose weights are followed.
            prompts: as people read them, P of them.
            batch: the same, encoded, on the policy's device.
        """


class Own(Engine):
    """The policy draws itself: all kinds of models, media and grammars, and the probabilities of training."""

    exact = True

    def generate(self, policy: Any, prompts: Sequence[Prompt], batch: Batch, n: int, sampling: Sampling) -> Rollout:
        return policy.sample(batch, n, sampling)


def gap(own: Tensor, engines: Tensor, chosen: Tensor) -> Tensor:
    """Scalar: the mean distance in nats between log-probabilities of actions under the policy and those of an engine.

    Args:
        own, engines: (P, K, A).
        chosen: (P, K, A) 1 where there was a choice.
    """
    return ((own - engines).abs() * chosen).sum() / chosen.sum().clamp(min=1)

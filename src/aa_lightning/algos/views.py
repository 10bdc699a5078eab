"""The two things that a preference objective compares.

A view is made once from the policy and a batch, and then read with the policy and with the reference, so that both see
the same pair.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from aa_lightning.algos.hyperparameters import Count, Part, Positive, hyperparameters
from aa_lightning.algos.readings import OwnMistakes, TwoPrompts, View, WithCollision, WithDivergence
from aa_lightning.data.corruption.options import CorruptionOptions
from aa_lightning.types import Batch, Policy


@hyperparameters
class Responses(Part):
    """The chosen and the rejected response."""

    name: Literal["responses"]

    def of(self, policy: Policy, batch: Batch, statistic: str | None) -> View:
        return {None: View, "collision": WithCollision, "divergence": WithDivergence}[statistic](batch)


@hyperparameters
class Prompts(Part):
    """The chosen response under the prompt and under a corrupted one (mDPO 2406.11839, Image-DPO 2501.00569)."""

    name: Literal["prompts"]
    corruption: CorruptionOptions
    wants: ClassVar = ("corrupted",)

    def of(self, policy: Policy, batch: Batch, statistic: str | None) -> View:
        return TwoPrompts(batch)


@hyperparameters
class SelfGenerated(Part):
    """The chosen response and the policy's likeliest tokens in its place under a corrupted prompt (POVID 2402.11411)."""

    name: Literal["self_generated"]
    corruption: CorruptionOptions
    wants: ClassVar = ("corrupted",)

    def of(self, policy: Policy, batch: Batch, statistic: str | None) -> View:
        return OwnMistakes(batch, policy.likeliest(batch.branches["corrupted"]))


@hyperparameters
class Adversarial(Part):
    """Both responses under media moved to make the chosen one unlikely, by projected gradient descent (2502.11455).

    Attributes:
        size: largest change, in the processor's units; rate: of a step; steps: how many.
    """

    name: Literal["adversarial"]
    size: Positive
    rate: Positive
    steps: Count
    wants: ClassVar = ("media",)

    def of(self, policy: Policy, batch: Batch, statistic: str | None) -> View:
        return View(replace(batch, prompt={**batch.prompt, **self._moved(policy, batch)}))

    def _moved(self, policy: Policy, batch: Batch):
        import torch

        media = {k: v for k, v in batch.prompt.items() if k in batch.blocks and v.is_floating_point() and v.ndim > 1}
        found = dict(media)
        for _ in range(self.steps):
            found = {key: value.detach().requires_grad_() for key, value in found.items()}
            moved = replace(batch, prompt={**batch.prompt, **found}, measured=False)
            chosen = policy.log_likelihood(moved).total[:, 0]
            gradients = torch.autograd.grad(chosen.sum(), list(found.values()))
            found = {
                key: (found[key] - self.rate * gradient.sign()).clamp(media[key] - self.size, media[key] + self.size)
                for key, gradient in zip(found, gradients, strict=True)
            }
        return {key: value.detach() for key, value in found.items()}


Comparison = Annotated[Responses | Prompts | SelfGenerated | Adversarial, Field(discriminator="name")]

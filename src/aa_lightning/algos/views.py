"""Which two things a preference objective compares.

A view is made once from the policy and a batch, and then read with the policy and with the reference, so that both see
the same pair.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from aa_lightning.algos.options import Count, Part, Positive, hyperparameters
from aa_lightning.data.corruption import CorruptionOptions
from aa_lightning.types import Batch, Likelihood, LogLikelihood, Policy


@dataclass
class View:
    """A batch to read, in one of the ways below."""

    batch: Batch

    def read(self, model: Likelihood) -> LogLikelihood:
        """(P, 2, T) terms of what is compared."""
        return model.log_likelihood(self.batch)


@dataclass
class WithCollision(View):
    """Each term comes with log Σ_v p_v²."""

    def read(self, model: Likelihood) -> LogLikelihood:
        return model.log_likelihood(self.batch, collision=True)


@dataclass
class TwoPrompts(View):
    """The chosen response after its prompt, and after a spoiled one."""

    def read(self, model: Likelihood) -> LogLikelihood:
        clean, spoiled = model.log_likelihood(self.batch), model.log_likelihood(self.batch.branches["corrupted"])
        return _beside(clean, spoiled)


@dataclass
class OwnMistakes(View):
    """The chosen response, and what the policy would have said at each of its tokens had it not seen clearly."""

    own: object = None

    def read(self, model: Likelihood) -> LogLikelihood:
        return _beside(model.log_likelihood(self.batch), model.log_likelihood(self.batch, read=self.own))


def _beside(first: LogLikelihood, second: LogLikelihood) -> LogLikelihood:
    import torch

    terms = torch.stack([first.terms[:, 0], second.terms[:, 0]], 1)
    return LogLikelihood(terms, torch.stack([first.mask[:, 0], second.mask[:, 0]], 1))


# ---------------------------------------------------------------- options


@hyperparameters
class Responses(Part):
    """The chosen and the rejected response."""

    name: Literal["responses"]

    def of(self, policy: Policy, batch: Batch, collision: bool) -> View:
        return WithCollision(batch) if collision else View(batch)


@hyperparameters
class Prompts(Part):
    """The chosen response under the prompt and under a corrupted one (mDPO 2406.11839, Image-DPO 2501.00569)."""

    name: Literal["prompts"]
    corruption: CorruptionOptions
    wants: ClassVar = ("corrupted",)

    def of(self, policy: Policy, batch: Batch, collision: bool) -> View:
        return TwoPrompts(batch)


@hyperparameters
class Own(Part):
    """The chosen response and the policy's likeliest tokens in its place under a corrupted prompt (POVID 2402.11411)."""

    name: Literal["own"]
    corruption: CorruptionOptions
    wants: ClassVar = ("corrupted",)

    def of(self, policy: Policy, batch: Batch, collision: bool) -> View:
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

    def of(self, policy: Policy, batch: Batch, collision: bool) -> View:
        return View(replace(batch, prompt={**batch.prompt, **self._moved(policy, batch)}))

    def _moved(self, policy: Policy, batch: Batch):
        import torch

        media = {k: v for k, v in batch.prompt.items() if k in batch.blocks and v.is_floating_point() and v.ndim > 1}
        found = dict(media)
        for _ in range(self.steps):
            found = {key: value.detach().requires_grad_() for key, value in found.items()}
            chosen = policy.log_likelihood(replace(batch, prompt={**batch.prompt, **found})).total[:, 0]
            gradients = torch.autograd.grad(chosen.sum(), list(found.values()))
            found = {
                key: (found[key] - self.rate * gradient.sign()).clamp(media[key] - self.size, media[key] + self.size)
                for key, gradient in zip(found, gradients, strict=True)
            }
        return {key: value.detach() for key, value in found.items()}


Compare = Annotated[Responses | Prompts | Own | Adversarial, Field(discriminator="name")]

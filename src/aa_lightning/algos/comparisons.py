"""The two things that a preference objective compares.

A view is made once from the policy and a batch, and then read with the policy and with the reference, so that both see
the same pair.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from aa_lightning.algos.hyperparameters import Component, Count, Positive, hyperparameters
from aa_lightning.configuration.schema import BY_NAME
from aa_lightning.data.corruption.options import CorruptionOptions
from aa_lightning.types import Batch, Likelihood, LogLikelihood, Policy, Statistic

if TYPE_CHECKING:
    from torch import Tensor


@dataclass
class View:
    """A batch to read, in one of the ways below."""

    batch: Batch

    def read(self, model: Likelihood, statistic: Statistic | None = None, measure: bool = False) -> LogLikelihood:
        """(P, 2, T) terms of what is compared, with a statistic of each whole distribution and measures where asked for."""
        return model.log_likelihood(self.batch, statistic=statistic, measure=measure)


@dataclass
class TwoPrompts(View):
    """The chosen response after its prompt, and after a spoiled one."""

    def read(self, model: Likelihood, statistic: Statistic | None = None, measure: bool = False) -> LogLikelihood:
        clean = model.log_likelihood(self.batch, measure=measure)
        return _beside(clean, model.log_likelihood(self.batch.branches["corrupted"]))


@dataclass
class OwnMistakes(View):
    """The chosen response, and the policy's likeliest tokens under the corrupted prompt, (P, 2, T)."""

    own: Tensor

    def read(self, model: Likelihood, statistic: Statistic | None = None, measure: bool = False) -> LogLikelihood:
        clean = model.log_likelihood(self.batch, measure=measure)
        return _beside(clean, model.log_likelihood(self.batch, tokens=self.own))


def _beside(first: LogLikelihood, second: LogLikelihood) -> LogLikelihood:
    """No measures: the first one's were asked for so that in a mixture one reading serves all (`weighted_sum.Once`)."""
    import torch

    terms = torch.stack([first.terms[:, 0], second.terms[:, 0]], 1)
    return LogLikelihood(terms, torch.stack([first.mask[:, 0], second.mask[:, 0]], 1))


@hyperparameters
class Responses(Component):
    """The chosen and the rejected response."""

    name: Literal["responses"]

    def of(self, policy: Policy, batch: Batch) -> View:
        return View(batch)


@hyperparameters
class Prompts(Component):
    """The chosen response under the prompt and under a corrupted one (mDPO 2406.11839, Image-DPO 2501.00569)."""

    name: Literal["prompts"]
    corruption: CorruptionOptions
    wants: ClassVar = ("corrupted",)
    of_reference: ClassVar = ("corrupted",)

    def of(self, policy: Policy, batch: Batch) -> View:
        return TwoPrompts(batch)


@hyperparameters
class SelfGenerated(Component):
    """The chosen response and the policy's likeliest tokens in its place under a corrupted prompt (POVID 2402.11411)."""

    name: Literal["self_generated"]
    corruption: CorruptionOptions
    wants: ClassVar = ("corrupted",)
    of_reference: ClassVar = None

    def of(self, policy: Policy, batch: Batch) -> View:
        import torch

        with torch.no_grad():
            own = policy.log_likelihood(batch.branches["corrupted"], statistic="argmax").statistic
        return OwnMistakes(batch, own)


@hyperparameters
class Adversarial(Component):
    """Both responses under media moved to make the chosen one unlikely, by projected gradient descent (2502.11455).

    Attributes:
        size: largest change, in the processor's units; rate: of a step; steps: how many.
    """

    name: Literal["adversarial"]
    size: Positive
    rate: Positive
    steps: Count
    wants: ClassVar = ("media",)
    of_reference: ClassVar = None

    def of(self, policy: Policy, batch: Batch) -> View:
        return View(replace(batch, prompt={**batch.prompt, **self._moved(policy, batch)}))

    def _moved(self, policy: Policy, batch: Batch):
        import torch

        media = {k: v for k, v in batch.prompt.items() if k in batch.blocks and v.is_floating_point() and v.ndim > 1}
        found = dict(media)
        for _ in range(self.steps):
            found = {key: value.detach().requires_grad_() for key, value in found.items()}
            moved = replace(batch, prompt={**batch.prompt, **found})
            chosen = policy.log_likelihood(moved).total[:, 0]
            gradients = torch.autograd.grad(chosen.sum(), list(found.values()))
            found = {
                key: (found[key] - self.rate * gradient.sign()).clamp(media[key] - self.size, media[key] + self.size)
                for key, gradient in zip(found, gradients, strict=True)
            }
        return {key: value.detach() for key, value in found.items()}


Comparison = Annotated[Responses | Prompts | SelfGenerated | Adversarial, Field(discriminator="name"), BY_NAME]


def statistic_of(comparison: Component, target_margin: Component | None, weight: Component | None) -> Statistic | None:
    """The number of each whole distribution that comes with the log-likelihoods.

    Raises:
        ValueError: two components want different ones, or the view has none.
    """
    read = {"target_margin": target_margin, "weight": weight}
    wanting = {name: component.statistic for name, component in read.items() if component and component.statistic}
    if len(wanting) > 1:
        raise ValueError(
            f"algo.target_margin={target_margin.name} and algo.weight={weight.name} read different numbers of whole "
            "distributions, of which one comes with the log-likelihoods: type algo.weight=null, or another target_margin"
        )
    if wanting and comparison.name != "responses":
        (name,) = wanting
        raise ValueError(
            f"algo.{name} reads whole distributions at the tokens of two responses, and algo.comparison={comparison.name} "
            f"compares something else: type algo.{name}=null, or 'algo.comparison={{name: responses}}'"
        )
    return next(iter(wanting.values()), None)

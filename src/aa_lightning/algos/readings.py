"""Log-likelihoods of the two things that are compared: their terms, and perhaps a number beside each."""

from __future__ import annotations

from dataclasses import dataclass

from aa_lightning.algos.hyperparameters import Part
from aa_lightning.types import Batch, Likelihood, LogLikelihood


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
class WithDivergence(View):
    """Each term comes with KL(reference ‖ policy)."""

    def read(self, model: Likelihood) -> LogLikelihood:
        return model.with_divergence(self.batch)


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


def statistic_of(comparison: Part, target_margin: Part | None, weight: Part | None) -> str | None:
    """The number of each whole distribution that comes with the log-likelihoods.

    Raises:
        ValueError: two parts want different ones, or the view has none.
    """
    wanting = {
        name: part.statistic
        for name, part in (("target_margin", target_margin), ("weight", weight))
        if part and part.statistic
    }
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

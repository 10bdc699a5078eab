"""All held-out measures of one model on one data set, with the samples that a report shows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import torch

from aa_lightning.evaluation import measures
from aa_lightning.evaluation.measures import Measured, ReferenceTotals
from aa_lightning.models.reference import evaluating
from aa_lightning.system.random_state import fixed_draws
from aa_lightning.types import Example, Sampling

Loader = Any  # yields batches, afresh at each iteration


@dataclass
class HeldOutSets:
    """Loaders over the same held-out examples in the forms that the measures read; None where the data cannot serve."""

    examples: Sequence[Example]
    pairs: Loader | None = None
    ratings: Loader | None = None
    demonstrations: Loader | None = None
    prompts: Loader | None = None


@dataclass(frozen=True)
class Suite:
    """Measures of a run, on its held-out loaders.

    Attributes:
        sets: the held-out data.
        controls: the same data without what should matter (blanked pictures), by name.
        reference: whether the policy has a reference to compare with, which stays or moves; None: it has none.
        scores: whether the model is a reward model.
        max_new_tokens: of an answer.
        groups: names of data sets that are measured apart too; ids of rows begin with them.
    """

    sets: HeldOutSets
    controls: dict[str, HeldOutSets]
    reference: Literal["stays", "moves"] | None
    scores: bool
    max_new_tokens: int
    groups: Sequence[str] = ()
    totals: dict[str, ReferenceTotals] = field(default_factory=dict)  # of the reference on each form of the data

    def run(
        self,
        model: Any,
        device: torch.device,
        whole: Callable[[], AbstractContextManager] = nullcontext,
        untrained: bool = False,
    ) -> Measured:
        """Measure a model; its mode and all random states are left as they were.

        Args:
            whole: a context in which sharded weights are whole, for generation.
            untrained: whether the model is its reference still.
        """
        for name in ("", *self.controls):
            self._totals(name).untrained = untrained
        with evaluating(model):
            measured = self._measure(model, "", self.sets, device, whole)
            for name, sets in self.controls.items():
                measured.add(self._measure(model, name, sets, device, whole), f"{name}/")
        return measured

    @fixed_draws(0)
    def answers(self, model: Any, device: torch.device, whole: Callable[[], AbstractContextManager]) -> Measured:
        """Have held-out prompts answered greedily, and check the answers; arguments as for `run`."""
        with evaluating(model):
            return Measured() if self.sets.prompts is None else self._answered(model, self.sets, device, whole)

    def _answered(self, model: Any, sets: HeldOutSets, device: torch.device, whole) -> Measured:
        with whole():
            greedy = Sampling(max_new_tokens=self.max_new_tokens, temperature=0.0)
            drawn = partial(model.sample, n=1, sampling=greedy)
            return measures.answers(drawn, sets.prompts, device, self.groups, written=_written(sets.examples))

    def read_reference(self, policy: Any, device: torch.device) -> None:
        """Read the reference of all that is compared with it; measures of this policy find it there."""
        for name, sets in {"": self.sets, **self.controls}.items() if self.reference else ():
            for loader in (sets.pairs, sets.ratings):
                for number, batch in enumerate(loader or ()):
                    self._totals(name).read(number, policy.prepare(batch.to(device)), policy)

    def _totals(self, name: str) -> ReferenceTotals:
        return self.totals.setdefault(name, ReferenceTotals(self.reference == "moves"))

    @fixed_draws(0)
    def _measure(self, model: Any, name: str, sets: HeldOutSets, device: torch.device, whole) -> Measured:
        measured = Measured()
        reference = None if self.reference is None else self._totals(name)
        if not len(sets.examples):
            return measured
        if self.scores:
            with whole() if model.speaks else nullcontext():
                if sets.pairs is None:
                    return measures.verdicts(model, sets.ratings, device, self.groups)
                return measures.rewards(model, sets.pairs, device, self.groups)
        if sets.pairs is not None:
            measured.add(measures.preferences(model, sets.pairs, device, reference, self.groups))
        if sets.ratings is not None:
            measured.add(measures.ratings(model, sets.ratings, device, reference, self.groups))
        if sets.demonstrations is not None:
            measured.add(measures.demonstrations(model, sets.demonstrations, device, self.groups))
        if sets.prompts is not None:
            answered = self._answered(model, sets, device, whole)
            measured.add(answered)
            measured.responses, measured.verdicts = answered.responses, answered.verdicts
        return measured


def _written(examples: Sequence[Example]) -> str:
    """The kind of the parts in which the data's own responses differ from plain text, or text."""
    first = examples[0].responses if len(examples) else []
    return next((part["type"] for said in first for part in said if part["type"] != "text"), "text")

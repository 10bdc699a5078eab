"""Held-out measures of a policy or reward model, each over every example exactly once."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from aa_lightning.models.reward.scorer import Scorer
from aa_lightning.rewards import answers as verifiers
from aa_lightning.rewards import mathematics
from aa_lightning.rewards.rules import final
from aa_lightning.system.console import bar
from aa_lightning.system.lazy_packages import torchmetrics_lazily
from aa_lightning.types import Batch, Check, Likelihood, Policy, Response, Rollout, text


@dataclass
class Measured:
    """Means of the measures, by name.

    Attributes:
        measures: means over the examples.
        examples: how many examples each mean is of, on all ranks together.
        responses: what was said on this rank, by the prompt's id.
        verdicts: whether that is right, by the prompt's id; None where it cannot be checked.
    """

    measures: dict[str, float] = field(default_factory=dict)
    examples: dict[str, int] = field(default_factory=dict)
    responses: dict[str, Response] = field(default_factory=dict)
    verdicts: dict[str, bool | None] = field(default_factory=dict)

    def add(self, other: Measured, prefix: str = "") -> None:
        """Take what else was measured, but not what was said."""
        self.measures |= {f"{prefix}{name}": value for name, value in other.measures.items()}
        self.examples |= {f"{prefix}{name}": count for name, count in other.examples.items()}


class Averages(torchmetrics_lazily().Metric):
    """Means over all batches and ranks, and over the rows of each group by themselves. Every rank names them up front,
    or ranks without a batch would not take part.

    Args:
        names: of the measures.
        groups: of rows, by what their ids begin with: `<group>/<row>`.
    """

    full_state_update = False

    def __init__(self, device: torch.device, names: Sequence[str], groups: Sequence[str] = ()):
        super().__init__()
        every = [*names, *(f"{group}/{name}" for group in groups for name in names)]
        self._place, self._groups = {name: place for place, name in enumerate(every)}, groups
        exact = torch.float32 if device.type == "mps" else torch.float64  # mps has no doubles
        # of values, and how many there are
        self.add_state("sums", torch.zeros(len(every), 2, dtype=exact), dist_reduce_fx="sum")
        self.to(device)
        self.update({}, [])  # or a rank that has nothing to measure would be warned of it

    def update(self, values: dict[str, Tensor], ids: Sequence[str]) -> None:
        """Take one value (P,) of each measure for each row."""
        for name, value in values.items():
            self._take(name, value)
        for group in self._groups:
            rows = [i for i, row in enumerate(ids) if row.startswith(f"{group}/")]
            for name, value in values.items() if rows else ():
                self._take(f"{group}/{name}", value[rows])

    def compute(self) -> Measured:
        """Return the means that were measured at least once."""
        found = {name: self.sums[place].tolist() for name, place in self._place.items()}
        seen = {name: (total / count, round(count)) for name, (total, count) in found.items() if count}
        return Measured({name: mean for name, (mean, _) in seen.items()}, {name: n for name, (_, n) in seen.items()})

    def _take(self, name: str, value: Tensor) -> None:
        """NaN stands for a row that has nothing to measure."""
        known = ~value.isnan()
        self.sums[self._place[name]] += torch.stack([value.nansum(), known.sum()]).to(self.sums)


@dataclass(frozen=True)
class Totals:
    """Log-likelihoods of the responses of a batch, (P, K) each: whole ones in nats, and means over their terms."""

    total: Tensor
    mean: Tensor

    @classmethod
    def of(cls, model: Likelihood, batch: Batch) -> Totals:
        """Read what a policy or a reference gives a batch, (P, K)."""
        found = model.log_likelihood(batch)
        return cls(found.total, found.mean)


class ReferenceTotals:
    """The reference's log-likelihoods of held-out batches: read when they are first asked for, and kept while it stays.

    Args:
        moves: whether the reference changes in a run; nothing is kept then.

    Attributes:
        untrained: whether the policy is its reference still, so that one of them need not be read.
    """

    def __init__(self, moves: bool = False):
        self._moves, self.untrained = moves, False
        self._policy: Policy | None = None
        self._read: dict[int, Totals] = {}

    def read(self, number: int, batch: Batch, policy: Policy) -> Totals:
        """Read what the reference gives a batch, (P, K).

        Args:
            number: of the batch, which comes with the same rows and draws every time.
        """
        kept = self._kept(policy)
        if number not in kept or self._moves:
            with policy.as_reference() as frozen:
                kept[number] = Totals.of(frozen, batch)
        return kept[number]

    def both(self, number: int, batch: Batch, policy: Policy) -> tuple[Totals, Totals]:
        """Read what the policy gives a batch, and what its reference does, (P, K)."""
        if not self.untrained:
            return Totals.of(policy, batch), self.read(number, batch, policy)
        kept = self._kept(policy)
        if number not in kept:
            kept[number] = Totals.of(policy, batch)
        return kept[number], kept[number]

    def _kept(self, policy: Policy) -> dict[int, Totals]:
        if self._policy is not policy:
            self._policy, self._read = policy, {}
        return self._read


def _both(number: int, batch: Batch, policy: Policy, reference: ReferenceTotals | None) -> tuple[Totals, Totals | None]:
    """Read what a policy gives a batch, and what its reference does, where there is one."""
    return (Totals.of(policy, batch), None) if reference is None else reference.both(number, batch, policy)


def check_verifiers(checks: Collection[Check]) -> None:
    """Refuse checks of answers whose library is not installed.

    Raises:
        ValueError: with what to type.
    """
    if "math" in checks:
        mathematics.require()


@torch.no_grad()
def preferences(
    policy: Policy,
    batches: Iterable[Batch],
    device: torch.device,
    reference: ReferenceTotals | None,
    groups: Sequence[str] = (),
) -> Measured:
    """Measure how the policy ranks held-out pairs.

    Args:
        reference: what the reference gave these batches; None: there is none.

    Returns:
        preference_accuracy and margin: of the implicit reward log π − log π_ref (a tie counts half), with a reference;
        likelihood_accuracy and likelihood_margin: of log π itself; logp_chosen, logp_rejected: nats.
    """
    names = ["likelihood_accuracy", "likelihood_margin", "logp_chosen", "logp_rejected"]
    averages = Averages(device, [*names, *(["preference_accuracy", "margin"] if reference is not None else [])], groups)
    for number, batch in enumerate(_shown(batches)):
        batch = policy.prepare(batch.to(device))
        own, frozen = _both(number, batch, policy, reference)
        averages.update(_ranked(own.total, "likelihood_accuracy", "likelihood_margin"), batch.ids)
        averages.update({"logp_chosen": own.total[:, 0], "logp_rejected": own.total[:, 1]}, batch.ids)
        if frozen is not None:
            averages.update(_ranked(own.total - frozen.total, "preference_accuracy", "margin"), batch.ids)
    return averages.compute()


@torch.no_grad()
def rewards(scorer: Scorer, batches: Iterable[Batch], device: torch.device, groups: Sequence[str] = ()) -> Measured:
    """Measure how a reward model ranks held-out pairs: reward_accuracy (a tie counts half) and reward_margin."""
    averages = Averages(device, ["reward_accuracy", "reward_margin"], groups)
    for batch in _shown(batches):
        score = scorer.score(scorer.prepare(batch.to(device)))
        averages.update(_ranked(score, "reward_accuracy", "reward_margin"), batch.ids)
    return averages.compute()


@torch.no_grad()
def verdicts(scorer: Scorer, batches: Iterable[Batch], device: torch.device, groups: Sequence[str] = ()) -> Measured:
    """Measure how often the sign of a reward tells right from wrong: verdict_accuracy of answers, or the mean over their
    steps."""
    averages = Averages(device, ["verdict_accuracy"], groups)
    for batch in _shown(batches):
        batch = scorer.prepare(batch.to(device))
        if "steps" in batch.supervision:
            labels = batch.supervision["steps"][:, 0]  # (P, S), NaN: no step
            logits = scorer.score_steps(batch, batch.supervision["step_ends"])[:, 0]
        else:
            labels, logits = batch.supervision["desirable"].float(), scorer.score(batch)
        right = ((logits > 0) == (labels > 0.5)) & ~labels.isnan()
        averages.update({"verdict_accuracy": right.sum(-1) / (~labels.isnan()).sum(-1)}, batch.ids)
    return averages.compute()


@torch.no_grad()
def ratings(
    policy: Policy,
    batches: Iterable[Batch],
    device: torch.device,
    reference: ReferenceTotals | None,
    groups: Sequence[str] = (),
) -> Measured:
    """Measure how the policy ranks desirable answers above others.

    Args:
        reference: what the reference gave these batches; None: there is none.

    Returns:
        verdict_accuracy: how often the implicit reward log π − log π_ref is positive for a desirable answer and negative for
        another (none at all counts half), with a reference; logp_per_term: of the desirable ones.
    """
    averages = Averages(device, ["logp_per_term", *(["verdict_accuracy"] if reference is not None else [])], groups)
    for number, batch in enumerate(_shown(batches)):
        batch = policy.prepare(batch.to(device))
        (own, frozen), desirable = _both(number, batch, policy, reference), batch.supervision["desirable"][:, 0].bool()
        averages.update({"logp_per_term": own.mean[:, 0].masked_fill(~desirable, math.nan)}, batch.ids)
        if frozen is not None:
            gained = (own.total - frozen.total)[:, 0]
            right = ((gained > 0) == desirable) & (gained != 0)
            averages.update({"verdict_accuracy": right.float() + 0.5 * (gained == 0).float()}, batch.ids)
    return averages.compute()


@torch.no_grad()
def demonstrations(
    policy: Policy, batches: Iterable[Batch], device: torch.device, groups: Sequence[str] = ()
) -> Measured:
    """The mean log-likelihood per term of held-out responses, `logp_per_term`."""
    averages = Averages(device, ["logp_per_term"], groups)
    for batch in _shown(batches):
        mean = policy.log_likelihood(policy.prepare(batch.to(device))).mean[:, 0]
        averages.update({"logp_per_term": mean}, batch.ids)
    return averages.compute()


def answers(
    draw: Callable[[Batch], Rollout],
    batches: Iterable[Batch],
    device: torch.device,
    groups: Sequence[str] = (),
    written: str = "text",
) -> Measured:
    """Answer prompts and check what has a reference answer, each as its data says (rewards/answers.py).

    Args:
        written: the kind of part in which an answer stands: text, or the first image or audio of a response.

    Returns:
        answer_accuracy of what was said, picture_accuracy of what was drawn or sound_accuracy of what was played (a
        response without one is wrong); the responses, and whether each is right.
    """
    name, verify = _VERIFIERS[written]
    averages, told = Averages(device, [name], groups), Measured()
    for batch in _shown(batches):
        responses = [drawn[0] for drawn in draw(batch.to(device)).responses]
        verdicts = [
            None if expected is None else verify(check, expected, response)
            for expected, check, response in zip(batch.answers, batch.checks, responses, strict=True)
        ]
        told.responses |= dict(zip(batch.ids, responses, strict=True))
        told.verdicts |= dict(zip(batch.ids, verdicts, strict=True))
        known = [math.nan if verdict is None else float(verdict) for verdict in verdicts]
        averages.update({name: torch.tensor(known)}, batch.ids)
    told.add(averages.compute())
    return told


def _said(check: Check, expected: str, response: Response) -> bool | None:
    """As rewards judge it: what a model thinks before it answers is no answer."""
    spoken = any(part["type"] == "text" for part in response)
    return verifiers.said(check, expected, [text(final(verifiers.spoken(response)))] if spoken else response)


_VERIFIERS = {
    "text": ("answer_accuracy", _said),
    "image": ("picture_accuracy", verifiers.drew),
    "audio": ("sound_accuracy", verifiers.played),
}


def _shown(batches: Iterable[Batch]) -> Iterable[Batch]:
    """With a progress bar, where the user waits."""
    return bar(batches, "measuring", "batch")


def _ranked(values: Tensor, accuracy: str, margin: str) -> dict[str, Tensor]:
    gap = values[:, 0] - values[:, 1]
    return {accuracy: (gap > 0).float() + 0.5 * (gap == 0).float(), margin: gap}

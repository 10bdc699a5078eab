"""Held-out measures of a policy or reward model, each over every example exactly once."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor
from torchmetrics import MeanMetric

from aa_lightning.console import bar
from aa_lightning.data.shapes import can_check, can_check_sound, check_answer, check_picture, check_sound
from aa_lightning.models.scorer import Scorer
from aa_lightning.types import Batch, Policy, Response, Rollout

Measures = dict[str, float]


class Averages:
    """Means over all batches and ranks, and over the rows of each group by themselves. Every rank names them up front,
    or ranks without a batch would not take part.

    Args:
        names: of the measures.
        groups: of rows, by what their ids begin with: `<group>/<row>`.
    """

    def __init__(self, device: torch.device, names: Sequence[str], groups: Sequence[str] = ()):
        self._device, self._groups = device, groups
        every = [*names, *(f"{group}/{name}" for group in groups for name in names)]
        self._means = {name: MeanMetric(nan_strategy="ignore").to(device) for name in every}
        for mean in self._means.values():
            mean.update(0.0, weight=0.0)  # or a rank that has nothing to measure would be warned of it

    def update(self, values: dict[str, Tensor], ids: Sequence[str]) -> None:
        """Take one value (P,) of each measure for each row."""
        for name, value in values.items():
            self._means[name].update(value.float().to(self._device))
        for group in self._groups:
            rows = [i for i, row in enumerate(ids) if row.startswith(f"{group}/")]
            for name, value in values.items() if rows else ():
                self._means[f"{group}/{name}"].update(value[rows].float().to(self._device))

    def compute(self) -> Measures:
        """What was measured at least once."""
        means = {name: mean.compute().item() for name, mean in self._means.items()}
        return {name: mean for name, mean in means.items() if not math.isnan(mean)}


@torch.no_grad()
def preferences(
    policy: Policy, batches: Iterable[Batch], device: torch.device, reference: bool, groups: Sequence[str] = ()
) -> Measures:
    """How the policy ranks held-out pairs.

    Returns:
        preference_accuracy and margin: of the implicit reward log π − log π_ref (a tie counts half), with a reference;
        likelihood_accuracy and likelihood_margin: of log π itself; logp_chosen, logp_rejected: nats.
    """
    names = ["likelihood_accuracy", "likelihood_margin", "logp_chosen", "logp_rejected"]
    averages = Averages(device, [*names, *(["preference_accuracy", "margin"] if reference else [])], groups)
    for batch in _shown(batches):
        batch = policy.prepare(batch.to(device))
        total = policy.log_likelihood(batch).total
        averages.update(_ranked(total, "likelihood_accuracy", "likelihood_margin"), batch.ids)
        averages.update({"logp_chosen": total[:, 0], "logp_rejected": total[:, 1]}, batch.ids)
        if reference:
            with policy.as_reference() as frozen:
                gained = total - frozen.log_likelihood(batch).total
            averages.update(_ranked(gained, "preference_accuracy", "margin"), batch.ids)
    return averages.compute()


@torch.no_grad()
def rewards(scorer: Scorer, batches: Iterable[Batch], device: torch.device, groups: Sequence[str] = ()) -> Measures:
    """How a reward model ranks held-out pairs: reward_accuracy (a tie counts half) and reward_margin."""
    averages = Averages(device, ["reward_accuracy", "reward_margin"], groups)
    for batch in _shown(batches):
        score = scorer.score(scorer.prepare(batch.to(device)))
        averages.update(_ranked(score, "reward_accuracy", "reward_margin"), batch.ids)
    return averages.compute()


@torch.no_grad()
def verdicts(scorer: Scorer, batches: Iterable[Batch], device: torch.device, groups: Sequence[str] = ()) -> Measures:
    """How often the sign of a reward tells right from wrong: verdict_accuracy of answers, or the mean over their steps."""
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
def demonstrations(
    policy: Policy, batches: Iterable[Batch], device: torch.device, groups: Sequence[str] = ()
) -> Measures:
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
) -> tuple[Measures, list[Rollout]]:
    """Answer prompts and check what has a reference answer.

    Args:
        written: the kind of part in which an answer stands: text, or the first image or audio of a response.

    Returns:
        answer_accuracy of what was said, picture_accuracy of what was drawn or sound_accuracy of what was played (a
        response without one is wrong); and the rollouts themselves.
    """
    name, check = _CHECKS[written]
    averages, rollouts = Averages(device, [name], groups), []
    for batch in _shown(batches):
        rollout = draw(batch.to(device))
        rollouts.append(rollout)
        verdicts = {
            row: check(expected, responses[0])
            for row, expected, responses in zip(batch.ids, batch.answers, rollout.responses, strict=True)
            if expected is not None
        }
        checked = {row: verdict for row, verdict in verdicts.items() if verdict is not None}
        if checked:
            averages.update({name: torch.tensor(list(checked.values()))}, list(checked))
    return averages.compute(), rollouts


def _said(expected: str, response: Response) -> bool | None:
    """Whether the text is right; None: there is no text to check."""
    return check_answer(expected, spoken(response)) if spoken(response) else None


def _drew(expected: str, response: Response) -> bool | None:
    """Whether the first picture is right; None: the expected answer is none that can be read off a picture."""
    if not can_check(expected):
        return None
    pictures = [part["image"] for part in response if part["type"] == "image"]
    return bool(pictures) and check_picture(expected, pictures[0])


def _played(expected: str, response: Response) -> bool | None:
    """Whether the first sound is right; None: the expected answer is none that can be heard in a sound."""
    if not can_check_sound(expected):
        return None
    sounds = [part["audio"] for part in response if part["type"] == "audio"]
    return bool(sounds) and check_sound(expected, sounds[0])


_CHECKS = {
    "text": ("answer_accuracy", _said),
    "image": ("picture_accuracy", _drew),
    "audio": ("sound_accuracy", _played),
}


def _shown(batches: Iterable[Batch]) -> Iterable[Batch]:
    """With a progress bar, where the user waits."""
    return bar(batches, "measuring", "batch")


def spoken(response: Response) -> str:
    """The text of a response."""
    return "".join(part["text"] for part in response if part["type"] == "text")


def _ranked(values: Tensor, accuracy: str, margin: str) -> dict[str, Tensor]:
    gap = values[:, 0] - values[:, 1]
    return {accuracy: (gap > 0).float() + 0.5 * (gap == 0).float(), margin: gap}

"""Preferences among what is drawn: the best and the worst response to each prompt are a pair."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from aa_lightning.algos.experience import Experience
from aa_lightning.algos.hyperparameters import NonNegative, PolicyObjective, ReferenceSync, hyperparameters
from aa_lightning.algos.plain import completed
from aa_lightning.algos.step import ALONE, Step, computed
from aa_lightning.algos.weighted_sum import Once
from aa_lightning.types import Batch, LikelihoodKind, Policy

if TYPE_CHECKING:
    from torch import Tensor

    from aa_lightning.losses.advantages import Summed


@hyperparameters
class DrawnPreference(PolicyObjective):
    """Online DPO (2402.04792): any objective on pairs, on the response of the highest and that of the lowest reward. Prompts
    whose responses are all as good teach nothing.

    With rivals a pair is one response of each half of a group, those that are farthest apart (XPO, 2405.21046 algorithm 1).

    Attributes:
        objective: on pairs, as its own file says it.
        rivals: share of the reference in what draws the second half of each group; 0: the policy draws all.
        optimism: α of α · log π(rival), added to the loss, so that less is believed of what the reference says.
    """

    objective: Any
    rivals: Annotated[float, Field(ge=0, le=1)] = 0.0
    optimism: NonNegative = 0.0

    supervision: ClassVar = "prompt"
    draws_responses: ClassVar = True
    needs_group: ClassVar = True
    of_reference: ClassVar = None
    accepts: ClassVar[tuple[LikelihoodKind, ...]] = ("exact",)

    def __post_init__(self):
        if self.optimism and not self.rivals:
            raise ValueError(
                "algo.optimism is about what the reference says, and algo.rivals=0 lets the policy draw all responses: type "
                "algo.rivals=1, or algo.optimism=0"
            )
        if isinstance(self.objective, dict):  # while options are checked, it is settings still
            return
        object.__setattr__(self, "objective", completed(self.objective))
        if self.objective.supervision != "preference" or self.objective.wants:
            brings = [self.objective.supervision, *self.objective.wants]
            raise ValueError(
                f"algo.objective learns from {' with '.join(brings)}, and drawn responses are pairs by their rewards alone: "
                "name an objective on pairs that wants nothing else, such as options/preference@objective"
            )

    @property
    def uses_reference(self) -> bool:
        return self.objective.uses_reference or self.rivals > 0

    @property
    def ref_sync(self) -> ReferenceSync | None:
        """Say how the reference follows the policy; None: it stays."""
        return self.objective.ref_sync

    @property
    def remembers(self) -> tuple[str, ...]:
        """Statistics that are carried from step to step."""
        return self.objective.remembers

    def credit(self, experience: Experience, summed: Summed | None = None, memory: Any = None) -> dict[str, Tensor]:
        """Turn rewards into pairs.

        Returns:
            By name: `pair` (P, 2) the places of the better and the worse response; `apart` (P,) whether one is better;
            `rewards` (P, K), `chosen` (P, K, A).
        """
        rewards, counted = experience.reward, experience.counted > 0
        pair = self._against_rivals(rewards, counted) if self.rivals else _farthest(rewards, counted)
        return {"pair": pair, "apart": _gap(rewards, pair) > 0, "rewards": rewards, "chosen": experience.chosen}

    def _against_rivals(self, rewards: Tensor, counted: Tensor) -> Tensor:
        """(P, 2) places in both halves; where no rewards differ a rival twice, which compares with nothing."""
        import torch

        half = rewards.shape[1] // 2
        ours = _farthest(rewards[:, :half], counted[:, :half])
        theirs = _farthest(rewards[:, half:], counted[:, half:]) + half
        over, under = (torch.stack([one[:, 0], other[:, 1]], 1) for one, other in ((ours, theirs), (theirs, ours)))
        won, lost = _gap(rewards, over), _gap(rewards, under)
        pair = over.where((won >= lost)[:, None], under)
        return pair.where((torch.maximum(won, lost) > 0)[:, None], half)

    def normalizer(self, batch: Batch) -> float | list[float]:
        """That of the objective on its pairs."""
        return self.objective.normalizer(self._pairs(batch))

    def __call__(self, policy: Policy, batch: Batch, step: Step = ALONE):
        pairs, once = self._pairs(batch), Once(policy)
        loss, metrics = computed(self.objective, once, pairs, step)
        if self.rivals:
            rival = batch.supervision["pair"].long().argmax(1, keepdim=True)  # those of rivals are the larger places
            said = once.log_likelihood(pairs, measure=step.measured).nats.gather(1, rival).mean()
            loss, metrics = loss + self.optimism * said, {**metrics, "logp/rival": said.detach()}
        rewards = batch.supervision["rewards"]
        equal = (~batch.supervision["apart"].bool()).to(rewards.dtype).mean()
        return loss, {**metrics, "reward/mean": rewards.nanmean(), "advantage/zero": equal}

    def _pairs(self, batch: Batch) -> Batch:
        """A batch of the same prompts with two responses each."""
        import torch

        pair, prompts = batch.supervision["pair"].long(), torch.arange(len(batch.supervision["pair"]))
        taken = {
            key: torch.cat([value[prompts[:, None], pair.to(prompts.device)], value[len(pair) :, :2]])
            for key, value in batch.response.items()
        }
        return replace(batch, response=taken, supervision={})


def _farthest(rewards: Tensor, counted: Tensor) -> Tensor:
    """(P, 2) the places of the best and the worst of the rewards (P, K) that count."""
    import torch

    best, worst = rewards.where(counted, -torch.inf), rewards.where(counted, torch.inf)
    return torch.stack([best.argmax(1), worst.argmin(1)], 1)


def _gap(rewards: Tensor, pair: Tensor) -> Tensor:
    """(P,) by how much the first of a pair is better."""
    first, second = rewards.gather(1, pair).unbind(1)
    return first - second

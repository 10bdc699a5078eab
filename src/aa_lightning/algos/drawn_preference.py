"""Preferences among what the policy draws: the best and the worst response to each prompt are a pair."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from aa_lightning.algos.experience import Experience
from aa_lightning.algos.hyperparameters import PolicyObjective, hyperparameters
from aa_lightning.algos.plain import completed
from aa_lightning.algos.step import ALONE, Step, computed
from aa_lightning.types import Batch, LikelihoodKind, Policy

if TYPE_CHECKING:
    from torch import Tensor

    from aa_lightning.losses.advantages import Summed


@hyperparameters
class DrawnPreference(PolicyObjective):
    """Online DPO (2402.04792): any objective on pairs, on the response of the highest and that of the lowest reward. Prompts
    whose responses are all as good teach nothing.

    Attributes:
        objective: on pairs, as its own file says it.
    """

    objective: Any

    supervision: ClassVar = "prompt"
    draws_responses: ClassVar = True
    needs_group: ClassVar = True
    of_reference: ClassVar = None
    accepts: ClassVar[tuple[LikelihoodKind, ...]] = ("exact",)

    def __post_init__(self):
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
        return self.objective.uses_reference

    @property
    def remembers(self) -> tuple[str, ...]:
        """Statistics that are carried from step to step."""
        return self.objective.remembers

    def credit(self, experience: Experience, summed: Summed | None = None, memory: Any = None) -> dict[str, Tensor]:
        """Turn rewards into pairs.

        Returns:
            By name: `pair` (P, 2) the places of the best and the worst response; `apart` (P,) whether one is better;
            `rewards` (P, K), `chosen` (P, K, A).
        """
        import torch

        rewards, counted = experience.reward, experience.counted > 0
        best = rewards.where(counted, -torch.inf).argmax(1)
        worst = rewards.where(counted, torch.inf).argmin(1)
        pair = torch.stack([best, worst], 1)
        apart = (rewards.gather(1, pair[:, :1]) > rewards.gather(1, pair[:, 1:]))[:, 0]
        return {"pair": pair, "apart": apart, "rewards": rewards, "chosen": experience.chosen}

    def normalizer(self, batch: Batch) -> float | list[float]:
        """That of the objective on its pairs."""
        return self.objective.normalizer(self._pairs(batch))

    def __call__(self, policy: Policy, batch: Batch, step: Step = ALONE):
        loss, metrics = computed(self.objective, policy, self._pairs(batch), step)
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

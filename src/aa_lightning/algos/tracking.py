"""Advantages over what earlier rollouts were worth, which is kept with the run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from aa_lightning import losses
from aa_lightning.algos.advantages import Advantage, Credit, filled
from aa_lightning.algos.experience import Experience
from aa_lightning.algos.hyperparameters import Count, NonNegative, hyperparameters

if TYPE_CHECKING:
    from torch import Tensor

    from aa_lightning.losses.advantages import Summed


@hyperparameters
class Moving(Advantage):
    """The reward over a moving average of the mean rewards of earlier rollouts (reinforcement comparison, Williams 1992). The
    first rollout has its own mean.

    Attributes:
        decay: of what a rollout counts in the average, with each later one.
    """

    name: Literal["moving"]
    decay: Annotated[float, Field(ge=0, lt=1)]

    remembers: ClassVar = ("average", "average_weight")  # sums of (1 − decay) decay^age, with rewards and alone

    def __call__(self, experience: Experience, rewards: Tensor, penalty: Tensor, summed: Summed) -> Credit:
        counted, memory = experience.counted, experience.memory
        reward = filled(rewards + penalty.sum(-1), counted)
        baseline = mean = losses.advantages.moments(reward, counted, summed)[0]
        if memory is not None:
            total, weight = (memory[name] for name in self.remembers)
            if weight > 0:
                baseline = (total / weight).to(reward)
            memory["average"] = self.decay * total + (1 - self.decay) * mean.to(total)
            memory["average_weight"] = self.decay * weight + (1 - self.decay)
        return {"advantages": (reward - baseline) * counted}


@hyperparameters
class PerPrompt(Advantage):
    """The reward over the mean of the last rewards of its prompt, in their standard deviation (DDPO, 2305.13301); of a prompt
    with few of them, over those of the rollout.

    Attributes:
        last: rewards of a prompt that are kept, the newest.
        fewest: of them that are enough.
        eps: added to the deviation, which is that of n rewards.
    """

    name: Literal["per_prompt"]
    last: Count
    fewest: Count
    eps: NonNegative

    remembers: ClassVar = (
        "tracked_prompts",
        "tracked_rewards",
    )  # (N,) rows of the data, and (N, last) their rewards or NaN

    def __post_init__(self):
        if self.fewest > self.last:
            raise ValueError(
                f"algo.advantage.fewest={self.fewest} rewards of a prompt are never there where algo.advantage.last="
                f"{self.last} are kept: type algo.advantage.last={self.fewest}"
            )

    def __call__(self, experience: Experience, rewards: Tensor, penalty: Tensor, summed: Summed) -> Credit:
        of, counted = losses.advantages, experience.counted
        reward = filled(rewards + penalty.sum(-1), counted)
        mean, variance = of.moments(reward, counted, summed, correction=0)
        std = variance.sqrt()
        if experience.memory is not None:
            mean, std = of.by_history(self._remembered(experience, reward), self.fewest, mean, std)
        return {"advantages": (reward - mean) / (std + self.eps) * counted}

    def _remembered(self, experience: Experience, reward: Tensor) -> Tensor:
        """(P, last) the rewards of each prompt, the newest at the end, and NaN where there are none."""
        import torch

        memory = experience.memory
        prompts, history = (memory[name] for name in self.remembers)
        if not prompts.ndim:  # nothing yet
            prompts, history = torch.zeros(0, dtype=torch.long), reward.new_zeros(0, self.last)
        places = {prompt: place for place, prompt in enumerate(prompts.tolist())}
        new = [prompt for prompt in dict.fromkeys(experience.prompts) if prompt not in places]
        places |= {prompt: len(places) + place for place, prompt in enumerate(new)}
        prompts = torch.cat([prompts, torch.tensor(new, dtype=torch.long)])
        history = torch.cat([history, history.new_full((len(new), self.last), torch.nan)])
        for prompt, own, counted in zip(experience.prompts, reward, experience.counted, strict=True):
            place = places[prompt]
            history[place] = torch.cat([history[place], own[counted > 0].to(history)])[-self.last :]
        memory |= {"tracked_prompts": prompts, "tracked_rewards": history}
        return history[[places[prompt] for prompt in experience.prompts]].to(reward)

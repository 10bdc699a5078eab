"""Responses drawn from the policy as it is now, scored, and read once more where an algorithm asks for it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any
from zlib import crc32

import torch
import torch.distributed as dist
from torch import Tensor

from aa_lightning.algos.experience import Experience
from aa_lightning.algos.step import credited, prepared
from aa_lightning.configuration.schema import Rollouts
from aa_lightning.engines.engine import Engine
from aa_lightning.models.reference import evaluating
from aa_lightning.rewards.grading import Ask
from aa_lightning.rewards.reward import Rewards
from aa_lightning.system.random_state import fixed_draws
from aa_lightning.training import strategies
from aa_lightning.training.datamodule import Item, branches_of
from aa_lightning.training.groups import Group, beside, divided, first, joined, parted
from aa_lightning.types import Algorithm, Batch, Prompt, Response, Rollout, Sampling

_ASKED = 32  # prompts of rewards that the policy answers at a time
SHOWN = 4  # prompts of a drawing whose responses are kept for the report


@dataclass
class Shown:
    """A prompt with its K responses and what each reward gave them."""

    prompt: Prompt
    responses: list[Response]
    rewards: dict[str, list[float]]


class Drawing:
    """Draws groups of responses.

    Args:
        algorithm: that learns from them.
        engine: that draws them.
        rewards: of responses.
        options: the section `rollout`.
        micro_batch_size: prompts of a forward pass with what was drawn to them.
        seed: of the draws; those to a prompt follow from it, the drawing's number and the prompt.
        running: gives the trainer of the run.
    """

    def __init__(
        self,
        algorithm: Algorithm,
        engine: Engine,
        rewards: Rewards,
        options: Rollouts,
        micro_batch_size: int,
        seed: int,
        running: Callable[[], Any],
    ):
        self.algorithm, self.engine, self.rewards, self.options = algorithm, engine, rewards, options
        self.micro_batch_size, self.seed, self._running = micro_batch_size, seed, running
        self.shown: list[Shown] = []
        self.seconds: dict[str, float] = {}

    def drawn(self, items: Sequence[Item], indices: Sequence[int], number: str) -> list[Group]:
        """The groups of all processes, in the order of their prompts.

        Args:
            items: this process's share of the prompts.
            indices: of them among the training rows.
            number: of the drawing, unlike any other one's in this run.
        """
        trainer = self._running()
        policy, self.seconds = trainer.lightning_module.policy, {}
        with torch.no_grad(), evaluating(policy), trainer.precision_plugin.forward_context():
            with self._timed("draw"), strategies.whole_weights(trainer, policy):
                parts = list(self._sampled(policy, items, indices, number, trainer.strategy.root_device))
            groups = self._scored(items, indices, parts, self._asking(policy, number, trainer.strategy.root_device))
            with self._timed("read"):
                self._read(policy, items, groups, trainer.strategy.root_device)
        strategies.reshard(policy)
        return _of_all_processes(groups)

    def credited(self, groups: list[Group]) -> list[dict[str, Tensor]]:
        """Turn rewards into what is learned from each group, (1, K, …), by the algorithm's rule over all of them."""
        told = joined([group.told for group in groups])
        experience = Experience(
            rewards=joined([group.rewards for group in groups]),
            weights=self.rewards.weights,
            old_logprobs=told["old_logprobs"],
            chosen=told["chosen"],
            reference_logprobs=told.get("reference_logprobs"),
            values=told.get("values"),
            ended=told["ended"],
            greedy_rewards=told.get("greedy_rewards"),
            engine_logprobs=told.get("engine_logprobs"),
            prompts=[group.index for group in groups],
        )
        sizes = [group.told["chosen"].shape[2] for group in groups]
        return parted(credited(self.algorithm, experience, self._running().lightning_module.memory), sizes)

    def total(self, group: Group) -> Tensor:
        """(1, K) the weighted sum of a group's rewards."""
        return sum(self.rewards.weights[name] * values for name, values in group.rewards.items())

    # ------------------------------------------------------------ one process

    def _sampled(
        self, policy: Any, items: Sequence[Item], indices: Sequence[int], number: str, device: Any
    ) -> Iterator[tuple[Rollout, Any]]:
        """Rollouts of a few prompts at a time, with greedy ones where the algorithm compares with them."""
        size = self.options.batch_size or len(items)
        greedy = Sampling(max_new_tokens=self.options.max_new_tokens, temperature=0.0)
        for start in range(0, len(items), size):
            part = items[start : start + size]
            prompts = [item.example for item in part]
            batch = policy.encoder.collate([item.encoded for item in part]).to(device)
            seeds = tuple(crc32(f"{self.seed}/{number}/{row}".encode()) for row in indices[start : start + size])
            sampling = replace(greedy, temperature=self.options.temperature, seeds=seeds)
            with fixed_draws(seeds[0]):  # of engines that take no seeds of prompts
                rollout = self._generated(policy, prompts, batch, sampling)
                yield rollout, policy.sample(batch, 1, greedy) if self.algorithm.needs_greedy else None

    def _generated(self, policy: Any, prompts: list[Prompt], batch: Batch, sampling: Sampling) -> Rollout:
        """Groups by the engine, or one half of them, and the other half by what the reference has its share in."""
        count, share = self.options.responses, self.algorithm.rivals
        if not share:
            return self.engine.generate(policy, prompts, batch, count, sampling)
        ours = self.engine.generate(policy, prompts, batch, count // 2, sampling)
        others = tuple(crc32(f"{one}/rival".encode()) for one in sampling.seeds)  # or equal networks would say the same
        return beside(ours, policy.sample(batch, count // 2, replace(sampling, reference=share, seeds=others)))

    def _asking(self, policy: Any, number: str, device: Any) -> Ask:
        """The function that draws answers of the policy to prompts of rewards."""

        def ask(prompts: Sequence[Prompt], n: int, sampling: Sampling) -> list[list[Response]]:
            said: list[list[Response]] = []
            for start in range(0, len(prompts), _ASKED):
                some = prompts[start : start + _ASKED]
                batch = policy.encoder.collate([policy.encoder.encode(prompt, []) for prompt in some]).to(device)
                seeds = tuple(crc32(f"{self.seed}/{number}/{prompt.id}".encode()) for prompt in some)
                with fixed_draws(seeds[0]):
                    said += policy.sample(batch, n, replace(sampling, seeds=seeds)).responses
            return said

        return ask

    def _scored(
        self, items: Sequence[Item], indices: Sequence[int], parts: list[tuple[Rollout, Any]], ask: Ask
    ) -> list[Group]:
        """Groups with their rewards."""
        prompts = [item.example for item in items]
        groups, start = [], 0
        for rollout, _ in parts:
            size = len(rollout.batch)
            groups += divided(rollout, indices[start : start + size])
            start += size
        with self._timed("score"):
            given = self._judged(prompts, [rollout for rollout, _ in parts], ask)
            for place, group in enumerate(groups):
                group.rewards = {name: values[place : place + 1].float().cpu() for name, values in given.items()}
            if self.algorithm.needs_greedy:
                best = self._judged(prompts, [greedy for _, greedy in parts], ask)
                total = sum(self.rewards.weights[name] * values[:, 0] for name, values in best.items())
                for place, group in enumerate(groups):
                    group.told["greedy_rewards"] = total[place : place + 1].float().cpu()
        self.shown = [
            Shown(prompt, said, {name: values[0].tolist() for name, values in group.rewards.items()})
            for prompt, said, group in zip(prompts[:SHOWN], _said([r for r, _ in parts]), groups, strict=False)
        ]
        return groups

    def _judged(self, prompts: list[Prompt], rollouts: list[Rollout], ask: Ask) -> dict[str, Tensor]:
        """(P, K) of each reward."""
        lengths = torch.cat([rollout.mask.sum(-1) for rollout in rollouts]).cpu()
        return self.rewards(prompts, _said(rollouts), lengths, ask)

    def _read(self, policy: Any, items: Sequence[Item], groups: list[Group], device: Any) -> None:
        """Log-probabilities of a reference, and of the policy where an engine has others, and values of a critic, in forward
        passes as large as those of training."""
        if self.engine.exact and not self.algorithm.uses_reference and not self.algorithm.needs_values:
            return
        for start in range(0, len(groups), self.micro_batch_size):
            some = groups[start : start + self.micro_batch_size]
            batch = batch_of(policy.encoder, items[start : start + self.micro_batch_size], some)
            found = self._read_again(policy, prepared(policy, batch.to(device)), joined([group.told for group in some]))
            sizes = [group.told["chosen"].shape[2] for group in some]
            for group, own in zip(some, parted(found, sizes), strict=True):
                group.told |= {key: value.float().cpu() for key, value in own.items()}

    def _read_again(self, policy: Any, batch: Batch, told: dict[str, Tensor]) -> dict[str, Tensor]:
        """(P, K, A) each, of a batch of drawn responses with what is known of them."""
        rollout = Rollout(batch, [], told["old_logprobs"], told["chosen"], told["ended"])
        found = {}
        if not self.engine.exact:
            found["old_logprobs"] = policy.action_logprobs(rollout)
            if self.engine.reports:
                found["engine_logprobs"] = told["old_logprobs"]
        if self.algorithm.uses_reference:
            with policy.as_reference() as reference:
                found["reference_logprobs"] = reference.action_logprobs(rollout)
        if self.algorithm.needs_values:
            found["values"] = policy.values(batch)
        return found

    @contextmanager
    def _timed(self, what: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.seconds[what] = self.seconds.get(what, 0.0) + time.perf_counter() - began


def _said(rollouts: list[Rollout]) -> list[list[Response]]:
    return [row for rollout in rollouts for row in rollout.responses]


def batch_of(encoder: Any, items: Sequence[Item], groups: Sequence[Group]) -> Batch:
    """Prompts with what was drawn to them."""
    batch = encoder.with_drawn([item.encoded for item in items], joined([group.response for group in groups]))
    batch.draws = joined([group.draws for group in groups])
    return batch


def longest_drawn(encoder: Any, items: Sequence[Item], algorithm: Algorithm, options: Rollouts) -> Batch:
    """Prompts of a token model with responses as long as may be drawn: what a step of learning holds at most.

    Args:
        encoder: of the model.
        items: the prompts.
        algorithm: that learns from them.
        options: the section `rollout`.
    """
    shape = (len(items), options.responses, options.max_new_tokens)
    response = {"input_ids": torch.full(shape, encoder.end), "mask": torch.ones(shape)}
    batch = encoder.with_drawn([item.encoded for item in items], response)
    batch.draws = {"temperature": torch.tensor(options.temperature)}
    batch.branches = branches_of(encoder, items)
    zeros = torch.zeros(shape)
    batch.supervision = algorithm.credit(
        Experience(
            rewards={"any": torch.arange(shape[0] * shape[1]).view(shape[:2]).float()},
            weights={"any": 1.0},
            old_logprobs=zeros,
            chosen=torch.ones(shape),
            reference_logprobs=zeros if algorithm.uses_reference else None,
            values=zeros if algorithm.needs_values else None,
            ended=torch.ones(shape[:2], dtype=torch.bool),
            greedy_rewards=torch.zeros(len(items)) if algorithm.needs_greedy else None,
        )
    )
    if "chosen" in batch.supervision:
        batch.response = first(batch.response, batch.supervision["chosen"].shape[1])
    return batch


def _of_all_processes(groups: list[Group]) -> list[Group]:
    """Those of rank 0 first."""
    if not dist.is_initialized():
        return groups
    everyone: list[list[Group]] = [[]] * dist.get_world_size()
    dist.all_gather_object(everyone, groups)
    return [group for part in everyone for group in part]

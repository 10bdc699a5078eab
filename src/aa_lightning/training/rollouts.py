"""A loader whose rows are made as training goes on: prompts, and what the policy answers to them when they are asked for.

A *drawing* takes prompts from an endless shuffled order, over all processes, and gives a group of responses to each. A
*rollout* is one drawing, or several where groups are replaced. It is learned from in steps of `loader.batch_size` groups,
each divided among processes and accumulated forward passes as the steps of any loader. All processes hold all groups of a
rollout, so that a step is the same on any number of them, and a checkpoint of one process has what is left of it.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import get_worker_info

from aa_lightning.configuration.check import split_batch
from aa_lightning.configuration.schema import Rollouts
from aa_lightning.configuration.wording import ConfigError
from aa_lightning.engines.engine import Engine
from aa_lightning.rewards.reward import Rewards
from aa_lightning.training.datamodule import AlignmentData, EncodedExamples, Item, branches_of
from aa_lightning.training.drawing import Drawing, batch_of
from aa_lightning.training.groups import Group, joined
from aa_lightning.training.loader import TrainLoader, rank_of_processes
from aa_lightning.training.rollout_statistics import statistics
from aa_lightning.types import Algorithm, Batch

SECONDS = ("time/draw_s", "time/score_s", "time/read_s")
_ROUNDING = 1e-3  # of advantages, which are differences over standard deviations
Step = tuple[list[int], list[int]]  # the places of groups that are read, and of those that are counted alone


class PromptLoader(TrainLoader):
    """The prompts of drawings, each process's share as neighbours: what is drawn at a time is the same on any number of
    processes that shares divide."""

    def indices(self) -> list[list[int]]:
        """This epoch's shares of this rank, as indices into the data set."""
        rank, processes = rank_of_processes()
        share = self.batch_size // processes
        return [together[rank * share : (rank + 1) * share] for together in self._forward_passes(self.epoch)]

    def endless(self) -> Iterator[tuple[list[int], list[Item]]]:
        """Shares from where the loader stands, with their indices."""
        while True:
            for items, _ in self:
                yield self.indices()[self.position - 1], pickle.loads(items) if isinstance(items, bytes) else items


def prompts_of(items: Sequence[Item]) -> list[Item] | bytes:
    """Items as they are, which a data worker writes out: it keeps them, and each of their tensors, if it were shared,
    would hold a file open there as long as it is kept, of which a process may have 1024."""
    return list(items) if get_worker_info() is None else pickle.dumps(list(items))


class RolloutLoader:
    """Micro-batches of what the policy draws, each with the terms of its window; one epoch per iteration.

    An epoch asks as many prompts as there are, if none is drawn to in place of another.

    Args:
        prompts: those of drawings.
        examples: the training rows, encoded.
        drawing: draws to prompts, and has responses scored.
        options: the section `rollout`.
        batch_size: groups of a step, over all processes.
        micro_batch_size: groups of a forward pass.
        seed: of the order in which groups are learned from.
        count: the terms of a batch that a mean over a step divides by.
    """

    def __init__(
        self,
        prompts: PromptLoader,
        examples: EncodedExamples,
        drawing: Drawing,
        options: Rollouts,
        *,
        batch_size: int,
        micro_batch_size: int | None,
        seed: int,
        count: Callable[[Batch], float | list[float]],
    ):
        self.prompts, self.examples, self.drawing, self.options = prompts, examples, drawing, options
        self.batch_size, self.micro_batch_size, self.seed, self.count = batch_size, micro_batch_size, seed, count
        self.epoch = self.position = 0  # micro-batches of this epoch handed out, on each rank
        self.number = 0  # of rollouts
        self.told: dict[str, float] = {}  # of the last rollout
        self.seconds = dict.fromkeys(SECONDS, 0.0)  # that the last step waited for a rollout
        self._place = 0  # steps of this rollout handed out
        self._groups: dict[int, Group] = {}  # those that are still learned from, by their places in the rollout
        self._steps: list[Step] = []
        self._items: dict[int, Item] = {}  # this process's prompts of the last drawings
        self._asked = prompts.endless()

    @property
    def accumulate(self) -> int:
        """Micro-batches per step on each process."""
        return split_batch(self.batch_size, self.micro_batch_size, rank_of_processes()[1])[1]

    @property
    def is_used_up(self) -> bool:
        """Tell whether the next step takes a new rollout."""
        return self._place >= len(self._steps) and self.position % self.accumulate == 0

    def __len__(self) -> int:
        steps = self.prompts.batch_size // self.batch_size * self.options.epochs
        return self.prompts.size // self.prompts.batch_size * steps * self.accumulate

    def __iter__(self) -> Iterator[tuple[Batch, Tensor | None]]:
        if self.position >= len(self):
            self.epoch, self.position = self.epoch + 1, 0
        while self.position < len(self):
            self.seconds = dict.fromkeys(SECONDS, 0.0)
            if self._place >= len(self._steps):
                self._draw()
            read, counted = self._steps[self._place]
            window = [self._batch(places) for places in self._shares(read)]
            terms = self._terms(window, counted)
            self._place += 1
            for batch in window:
                self.position += 1
                yield batch, terms

    # ------------------------------------------------------------ a rollout

    def _draw(self) -> None:
        """Draw until there are groups enough, and plan the steps that learn from them."""
        every, useful, self._items, self.number = [], [], {}, self.number + 1
        for drawing in range(1 + self.options.refill):
            indices, items = next(self._asked)
            self._items |= dict(zip(indices, items, strict=True))
            groups = self.drawing.drawn(items, indices, f"{self.number}/{drawing}")
            every += groups
            useful = [group for group in every if self._teaches(group)]
            for what, seconds in self.drawing.seconds.items():
                self.seconds[f"time/{what}_s"] += seconds
            if len(useful) >= self.prompts.batch_size:
                break
        self.told = statistics(every, self.drawing.rewards.weights, bool(self.drawing.algorithm.rivals))
        self.told["rollout/drawings"] = len(every) / self.prompts.batch_size
        self._plan(self._chosen(every, useful))

    def _chosen(self, every: list[Group], useful: list[Group]) -> list[Group]:
        """The groups of a rollout: all that have rewards, or as many useful ones as there are, and others to fill it up.

        Raises:
            ValueError: too few have rewards.
        """
        sound = [group for group in every if not any(values.isnan().any() for values in group.rewards.values())]
        if self.options.refill:
            whole = max(len(useful) // self.batch_size * self.batch_size, self.prompts.batch_size)
            others = [group for group in sound if not self._teaches(group)]
            sound = [*useful, *others][:whole]
        together = self.accumulate * rank_of_processes()[1]
        if len(sound) < together:
            raise ValueError(
                f"of {len(every)} prompts {len(sound)} have a reward for each response, and a step takes {together} at "
                "least: look at what the rewards say above, and mend them, or type a larger rollout.prompts"
            )
        return sound

    def _plan(self, groups: list[Group]) -> None:
        """Give each group what is learned from it, and deal all into steps, once for each epoch."""
        for group, learned in zip(groups, self.drawing.credited(groups), strict=True):
            group.learn(learned)
        self._groups, self._place = dict(enumerate(groups)), 0
        self._steps = self._dealt([self._is_read(group) for group in groups])

    def _is_read(self, group: Group) -> bool:
        """Tell whether a step would be another one without reading a group. Rewards that are equal have no advantage within
        a group, up to the rounding of their mean; they may have one among all."""
        if not self.options.skip_equal or self.drawing.algorithm.reads_equal or self._teaches(group):
            return True
        return bool(group.told["advantages"].abs().max() > _ROUNDING)

    def _dealt(self, is_read: Sequence[bool]) -> list[Step]:
        """The steps of a rollout, by which of its groups are read."""
        together, steps = self.accumulate * rank_of_processes()[1], []
        for epoch in range(self.options.epochs):
            generator = torch.Generator().manual_seed((self.seed * 1_000_003 + self.number) * 1009 + epoch)
            order = torch.randperm(len(is_read), generator=generator).tolist()
            for start in range(0, len(order), self.batch_size):
                step = order[start : start + self.batch_size]
                if len(step) >= together:
                    steps.append(_read_first(step[: len(step) // together * together], is_read, together))
        return steps

    def _teaches(self, group: Group) -> bool:
        """Tell whether any response of a group is better than another, and all have a reward."""
        total = self.drawing.total(group)
        return bool((total.amax() > total.amin()) if total.shape[-1] > 1 else total.isfinite().all())

    # ------------------------------------------------------------ a step

    def _shares(self, read: list[int]) -> list[list[int]]:
        """This rank's groups of each forward pass."""
        rank, processes = rank_of_processes()
        size = len(read) // self.accumulate
        return [read[start : start + size][rank::processes] for start in range(0, len(read), size)]

    def _batch(self, places: Sequence[int]) -> Batch:
        groups = [self._groups[place] for place in places]
        items = [self._items.get(group.index) or self.examples[group.index] for group in groups]
        batch = batch_of(self.examples.encoder, items, groups)
        batch.supervision = joined([group.told for group in groups])
        batch.branches = branches_of(self.examples.encoder, items)
        return batch

    def _terms(self, window: Sequence[Batch], counted: list[int]) -> Tensor:
        """Terms of this rank's batches, and of its share of the groups that are not read."""
        rank, processes = rank_of_processes()
        others = [self._groups[place] for place in counted[rank::processes]]
        batches = list(window)
        if others:
            response, told = (joined([getattr(group, part) for group in others]) for part in ("response", "told"))
            batches.append(Batch([str(group.index) for group in others], {}, response, supervision=told))
        return torch.tensor([self.count(batch) for batch in batches], dtype=torch.float64).sum(0).float()

    # ------------------------------------------------------------ checkpoints

    def state_dict(self) -> dict[str, Any]:
        """The place in the prompts, and what is left of the rollout."""
        left = {place for read, counted in self._steps[self._place :] for place in (*read, *counted)}
        return {
            "epoch": self.epoch,
            "steps": self.position // self.accumulate,
            "asked": self.prompts.state_dict(),
            "number": self.number,
            "told": self.told,
            "left": [[read, counted] for read, counted in self._steps[self._place :]],
            "groups": {place: self._groups[place].plain() for place in sorted(left)},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go to a saved place.

        Raises:
            ConfigError: it was saved with another order of the prompts, or for another number of processes.
        """
        self.prompts.load_state_dict(state["asked"])
        self._asked = self.prompts.endless()
        self.epoch, self.position = state["epoch"], state["steps"] * self.accumulate
        self.number, self.told = state["number"], state["told"]
        self._steps, self._place = [(read, counted) for read, counted in state["left"]], 0
        self._groups = {place: Group(**group) for place, group in state["groups"].items()}
        together = self.accumulate * rank_of_processes()[1]
        if any(len(read) % together for read, _ in self._steps):
            raise ConfigError(
                f"the checkpoint has a step of {len(self._steps[0][0])} groups left, which {together} forward passes cannot "
                "share\ntype: the loader.micro_batch_size and trainer.devices of the first run"
            )


def _read_first(step: list[int], is_read: Sequence[bool], together: int) -> Step:
    """Divide a step's groups into those that are read, as many in each pass, and the others."""
    first = sorted(step, key=lambda place: not is_read[place])
    count = max(-(-sum(is_read[place] for place in step) // together), 1) * together
    return first[:count], first[count:]


class RolloutData(AlignmentData):
    """The data of a run that learns from what its policy draws; arguments as for other runs, and

    Args:
        algorithm: that learns.
        engine: that draws responses.
        rewards: of responses.
        rollouts: the section `rollout`.
    """

    def __init__(self, *args: Any, algorithm: Algorithm, engine: Engine, rewards: Rewards, rollouts: Rollouts):
        super().__init__(*args)
        self.algorithm, self.engine, self.rewards, self.rollouts = algorithm, engine, rewards, rollouts

    @cached_property
    def train_loader(self) -> RolloutLoader:
        """The loader of what is drawn to the training rows."""
        prompts = PromptLoader(
            self.train_examples,
            prompts_of,
            batch_size=self.rollouts.prompts or self.options.batch_size,
            seed=self.seed,
            workers=self.options.given_workers,
            lengths=self.train_examples.lengths() if self.options.group_by_length else None,
            pace=self._pace() if self.options.workers == "auto" else None,
        )
        drawing = Drawing(
            self.algorithm,
            self.engine,
            self.rewards,
            self.rollouts,
            self.micro_batch_size,
            self.seed,
            lambda: self.trainer,
        )
        return RolloutLoader(
            prompts,
            self.train_examples,
            drawing,
            self.rollouts,
            batch_size=self.options.batch_size,
            micro_batch_size=self.micro_batch_size,
            seed=self.seed,
            count=self.count,
        )

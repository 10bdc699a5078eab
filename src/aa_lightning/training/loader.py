"""Loaders whose place in the data can be saved and found again to the example, on any number of processes.

The order is a function of (seed, epoch). A *step* takes `batch_size` prompts from it, over all processes and
accumulated forward passes; a *window* is one process's share of a step: `accumulate` micro-batches. A loader counts
what it handed out, not what its workers fetched ahead, and the count is the same on all ranks, since Lightning saves
only rank 0's.
"""

from __future__ import annotations

import itertools
import os
import signal
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.utils.data import DataLoader

from aa_lightning.configuration.check import split_batch
from aa_lightning.configuration.wording import ConfigError
from aa_lightning.system.processes import end_with_parent
from aa_lightning.training.pace import Pace

Collate = Callable[[Sequence[Any]], Any]
SORTED_STEPS = 50  # steps whose examples are sorted together when batches are made of similar lengths


class TrainLoader:
    """Micro-batches of an endless shuffled order, one epoch per iteration; the tail that fills no step is left out.

    Args:
        dataset: a sequence of items; the same index must give the same item.
        collate: items → batch.
        batch_size: prompts per step, over all processes.
        micro_batch_size: prompts per forward pass and process; None: no accumulation.
        seed: of the order.
        workers: processes that fetch ahead; 0: in this one.
        count: how many terms of a batch are supervised, one number or several. If given, their sum over its window comes
            with each batch, so that a token mean can be exact over ranks and accumulated micro-batches.
        lengths: of each example; if given, a step takes examples of similar length.
        pace: if given, it says after some steps how many workers go on; which rows come does not depend on it.

    Raises:
        ConfigError: the data is smaller than one step, or a step cannot be divided among the processes.
    """

    def __init__(
        self,
        dataset: Sequence[Any],
        collate: Collate,
        *,
        batch_size: int,
        micro_batch_size: int | None = None,
        seed: int = 0,
        workers: int = 0,
        count: Callable[[Any], float | list[float]] | None = None,
        lengths: Sequence[int] | None = None,
        pace: Pace | None = None,
    ):
        if len(dataset) < batch_size:
            raise ConfigError(
                f"the training data has {len(dataset)} examples, fewer than one step of loader.batch_size={batch_size}"
                f"\ntype: loader.batch_size={max(len(dataset), 1)}, or give more data"
            )
        self.size, self.batch_size, self.micro_batch_size = len(dataset), batch_size, micro_batch_size
        self.seed, self.count, self.lengths = seed, count, lengths
        self.epoch = 0
        self.position = 0  # micro-batches of this epoch handed out, on each rank
        self._plan: list[list[int]] = []  # micro-batches wanted next, one list for good: data workers live on
        self._fetched_by = partial(_fetcher, dataset, collate, self._plan)
        self._fetch, self._pace = self._fetched_by(workers), pace

    @property
    def accumulate(self) -> int:
        """Micro-batches per step on each process."""
        return split_batch(self.batch_size, self.micro_batch_size, rank_of_processes()[1])[1]

    def __len__(self) -> int:
        return self.size // self.batch_size * self.accumulate

    def __iter__(self) -> Iterator[tuple[Any, Tensor | None]]:
        """Micro-batches, each with the terms of its window, () or (parts of a mixture,), or None."""
        if self.position >= len(self):  # here, since nobody asks for more after the last one of a known number
            self.epoch, self.position = self.epoch + 1, 0
        for batch, terms in self._from(self.position):
            self.position += 1
            yield batch, terms

    def indices(self) -> list[list[int]]:
        """This epoch's micro-batches on this rank, as indices into the data set."""
        rank, world = rank_of_processes()
        return [together[rank::world] for together in self._forward_passes(self.epoch)]

    def once(self, steps: int) -> list[list[int]]:
        """Micro-batches of this rank that bring every row of so many steps at least once, as training divides them."""
        rank, world = rank_of_processes()
        found, seen, left = [], set[int](), steps * self.accumulate
        for epoch in itertools.count():
            for together in self._forward_passes(epoch)[:left]:
                if not seen.issuperset(together):
                    found.append(together[rank::world])
                    seen.update(together)
            left -= len(self)
            if left <= 0 or len(seen) == self.size:
                break
        return found

    def fetch(self, plan: list[list[int]]) -> Iterator[Any]:
        """Batches of other rows than those that come next."""
        self._plan[:] = plan
        return _raising(self._fetch)

    def state_dict(self) -> dict[str, int]:
        """The place in the data, in prompts over all ranks: a run may continue on another number of processes."""
        done = self.position * (self.batch_size // self.accumulate)
        return {"epoch": self.epoch, "prompts": done, **self._identity()}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go to a saved place.

        Raises:
            ConfigError: it was saved with another order, or lies inside a micro-batch of this loader.
        """
        for name, mine in self._identity().items():
            if state[name] != mine:
                raise ConfigError(
                    f"the checkpoint was written with {name}={state[name]}, this run has {name}={mine}: their orders "
                    f"of the data differ, so the run cannot be continued exactly\n"
                    f"type: the settings of the first run, or init=<run folder> to start anew from its weights"
                )
        together = self.batch_size // self.accumulate
        self.epoch = state["epoch"]
        self.position, rest = divmod(state["prompts"], together)
        if rest:
            raise ConfigError(
                f"the checkpoint stands after {state['prompts']} prompts, in the middle of a forward pass of {together}"
                f"\ntype: the loader.micro_batch_size and trainer.devices of the first run"
            )

    def _identity(self) -> dict[str, int]:
        return {"seed": self.seed, "examples": self.size, "batch_size": self.batch_size}

    def _forward_passes(self, epoch: int) -> list[list[int]]:
        """The rows that all processes read at the same time."""
        together = self.batch_size // self.accumulate
        return [step[k : k + together] for step in self._steps(epoch) for k in range(0, self.batch_size, together)]

    def _steps(self, epoch: int) -> list[list[int]]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
        order = torch.randperm(self.size, generator=generator).tolist()
        if self.lengths is not None:
            order = _sorted_in_chunks(order, self.lengths, SORTED_STEPS * self.batch_size)
        whole = self.size // self.batch_size
        steps = [order[k * self.batch_size : (k + 1) * self.batch_size] for k in range(whole)]
        if self.lengths is not None:
            steps = [steps[k] for k in torch.randperm(whole, generator=generator).tolist()]
        return steps

    def _from(self, position: int) -> Iterator[tuple[Any, Tensor | None]]:
        """Micro-batches from a place on. With a count, the window is fetched whole before its first one is handed out;
        a window that a checkpoint cut is fetched again, as its count is needed."""
        window = self.accumulate if self.count else 1
        skip = position % window
        for batches in self._windows(position - skip, window):
            terms = self._terms(batches)
            yield from ((batch, terms) for batch in batches[skip:])
            skip = 0

    def _windows(self, place: int, size: int) -> Iterator[list[Any]]:
        """`size` micro-batches at a time, from a place on. What passes between two of them is the time of training."""
        self._plan[:] = self.indices()[place:]
        fetched, asked = _raising(self._fetch), time.perf_counter()
        while batches := list(itertools.islice(fetched, size)):
            ready = time.perf_counter()
            yield batches
            place, trained = place + len(batches), time.perf_counter()
            if self._begins_workers(len(batches), ready - asked, trained - ready):
                self._plan[:] = self.indices()[place:]
                fetched = _raising(self._fetch)
            asked = time.perf_counter()

    def _begins_workers(self, batches: int, reading: float, training: float) -> bool:
        """Tell whether workers go on from here, by the seconds of a window."""
        if self._pace is None:
            return False
        world = rank_of_processes()[1]
        self._pace.add(batches * self.batch_size // (self.accumulate * world), reading, training)
        workers = self._pace.workers(int(os.environ.get("LOCAL_WORLD_SIZE", world)))
        if workers is not None:
            self._pace = None
        if workers:
            self._fetch = self._fetched_by(workers)
        return bool(workers)

    def _terms(self, window: list[Any]) -> Tensor | None:
        if self.count is None:
            return None
        return torch.tensor([self.count(batch) for batch in window], dtype=torch.float64).sum(0).float()


class EvalLoader:
    """Each held-out example exactly once, in order. All ranks get the same number of batches, none of them empty, so
    that a sharded model's ranks stay in step; the sizes differ by one at most.

    Args:
        batch_size: prompts per batch and process.

    Raises:
        ConfigError: there are fewer examples than processes.
    """

    def __init__(self, dataset: Sequence[Any], collate: Collate, *, batch_size: int, workers: int = 0):
        self.size, self.batch_size = len(dataset), batch_size
        self._plan: list[list[int]] = []
        self._fetch = _fetcher(dataset, collate, self._plan, workers)

    def __len__(self) -> int:
        return self._batches(rank_of_processes()[1])

    def __iter__(self) -> Iterator[Any]:
        self._plan[:] = self.indices()
        return _raising(self._fetch)

    def indices(self) -> list[list[int]]:
        """The batches of this rank, as indices into the data set: `size` dealt out to batches × ranks evenly."""
        rank, world = rank_of_processes()
        cells = self._batches(world) * world
        bounds = [k * self.size // cells for k in range(cells + 1)] if cells else []
        return [list(range(bounds[k], bounds[k + 1])) for k in range(rank, cells, world)]

    def _batches(self, world: int) -> int:
        if 0 < self.size < world:
            raise ConfigError(
                f"{self.size} held-out examples cannot be shared among {world} processes\n"
                f"type: data.val_share=0.3 to hold out more rows, evaluation.num_examples={world} and "
                f"evaluation.num_generations={world} or more, or evaluation.num_examples=0 to measure nothing"
            )
        return min(-(-self.size // (self.batch_size * world)), self.size // world)


def _fetcher(dataset: Sequence[Any], collate: Collate, plan: list[list[int]], workers: int) -> DataLoader:
    return DataLoader(
        _Told(dataset) if workers else dataset,
        batch_sampler=plan,
        collate_fn=_collate_told(collate) if workers else collate,
        num_workers=workers,
        persistent_workers=workers > 0,
        worker_init_fn=_begin_worker,
        pin_memory=torch.cuda.is_available(),
        generator=torch.Generator().manual_seed(0),  # its own: else starting an epoch would draw from the global one
    )


def _begin_worker(number: int) -> None:
    """A data worker ends with its process, and not by a Ctrl-C that this process shall answer."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    end_with_parent()


@dataclass
class _Refused:
    """The error of a row on its way out of a worker: torch would bury it in a traceback."""

    message: str
    story: str


@dataclass
class _Told:
    """A data set whose rows may be refusals."""

    dataset: Sequence[Any]

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        try:
            return self.dataset[index]
        except ValueError as error:
            return _Refused(str(error), traceback.format_exc())


def _collate_told(collate: Collate) -> Collate:
    def first_refusal_or_batch(items: Sequence[Any]) -> Any:
        refused = [item for item in items if isinstance(item, _Refused)]
        return refused[0] if refused else collate(items)

    return first_refusal_or_batch


def _raising(batches: Iterable[Any]) -> Iterator[Any]:
    for batch in batches:
        if isinstance(batch, _Refused):
            raise ValueError(batch.message) from RuntimeError(batch.story)
        yield batch


def _sorted_in_chunks(order: list[int], lengths: Sequence[int], chunk: int) -> list[int]:
    chunks = (order[k : k + chunk] for k in range(0, len(order), chunk))
    return [index for part in chunks for index in sorted(part, key=lengths.__getitem__)]


def rank_of_processes() -> tuple[int, int]:
    """(rank, processes), known only once the processes are connected, hence asked for late."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)

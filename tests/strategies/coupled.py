"""A toy policy whose log-likelihoods are linear in one weight vector, and a step of an algorithm on some rows of four."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor

from aa_lightning.algos.joining import Tally
from aa_lightning.algos.step import Step, computed
from aa_lightning.losses import distributed
from aa_lightning.types import Batch, LogLikelihood
from tests.vectors.support import algorithm

ROWS, WIDTH, TERMS = 4, 3, 5
COUPLED = ["aot", "aot_paired", "kto", "kto_batch", "bco", "bco_pair", "beta_dpo", "dpo"]


class Linear:
    """terms = features · w; the reference has another, fixed w."""

    likelihood = "exact"

    def __init__(self, weight: Tensor):
        self.weight = weight

    def log_likelihood(self, batch: Batch, tokens=None, statistic=None, measure=False) -> LogLikelihood:
        features = batch.response["features"]  # (P, K, T, width)
        return LogLikelihood(features @ self.weight - 2.0, torch.ones(features.shape[:-1], dtype=torch.float64))

    @contextmanager
    def as_reference(self):
        yield Linear(torch.tensor([0.3, -0.2, 0.1], dtype=torch.float64))


def rows(chosen: list[int], responses: int, seed: int = 0) -> Batch:
    """Some of four rows, always the same ones."""
    draw = torch.Generator().manual_seed(seed)
    features = torch.randn(ROWS, responses, TERMS, WIDTH, generator=draw, dtype=torch.float64)
    desirable = torch.tensor([[True], [False], [False], [True]])
    return Batch(
        ids=[str(i) for i in chosen],
        prompt={},
        response={"features": features[chosen]},
        supervision={"desirable": desirable[chosen]},
    )


def step(name: str, chosen: list[int], weight: Tensor, memory: dict[str, Tensor]) -> tuple[float, Tensor]:
    """The loss on some rows and its gradient."""
    objective = algorithm(name)
    responses = 1 if objective.supervision == "rating" else 2
    batch = rows(chosen, responses)
    batch.branches["mismatched"] = rows(chosen, responses, seed=1)
    weight = weight.clone().requires_grad_()
    loss, _ = computed(objective, Linear(weight), batch, Step(memory=memory))
    loss.backward()
    return loss.item(), weight.grad


def two_steps(name: str, chosen: list[int], average) -> list:
    """Losses and weights of two steps of gradient descent; `average` is over processes."""
    weight, told = torch.tensor([0.5, 0.4, -0.3], dtype=torch.float64), []
    memory = {key: torch.zeros((), dtype=torch.float64) for key in algorithm(name).remembers}
    for _ in range(2):
        loss, gradient = step(name, chosen, weight, memory)
        weight = weight - 0.1 * average(gradient)
        told.append([average(torch.tensor(loss, dtype=torch.float64)).item(), weight.tolist()])
    return told


def held_out(name: str, chosen: list[int], add: Callable[[Tensor], Tensor]) -> dict[str, float]:
    """What is measured on some rows, as validation adds it up over processes."""
    objective, tally = algorithm(name), Tally()
    memory = {key: torch.zeros((), dtype=torch.float64) for key in objective.remembers}
    batch = rows(chosen, 1 if objective.supervision == "rating" else 2)
    batch.branches["mismatched"] = rows(chosen, len(batch.response["features"][0]), seed=1)
    policy = Linear(torch.tensor([0.5, 0.4, -0.3], dtype=torch.float64))
    loss, metrics = computed(objective, policy, batch, Step(memory=memory))
    tally.add({"loss": loss, **metrics}, len(batch))
    return {key: value.item() for key, value in tally.taken(add).items()}


def of_none(rank: int) -> list[float]:
    """The rows of both processes, where the second has none."""
    own = torch.arange(3.0)[: 3 * (1 - rank), None].expand(-1, 2)
    return distributed.all_gather_with_grad(own)[:, 0].tolist()


def _sum_over_processes(value: Tensor) -> Tensor:
    dist.all_reduce(value)
    return value


def _mean_over_processes(value: Tensor) -> Tensor:
    dist.all_reduce(value)
    return value / dist.get_world_size()


def of_two_processes(rank: int) -> dict[str, list | dict]:
    """What each algorithm came to, in one of two processes."""
    mine, unequal = list(range(rank, ROWS, 2)), [[0, 1, 2], [3]][rank]
    told = {name: two_steps(name, mine, _mean_over_processes) for name in COUPLED}
    told |= {f"held out {name}": held_out(name, unequal, _sum_over_processes) for name in COUPLED}
    return told | {"of none": of_none(rank)}

"""A toy policy whose log-likelihoods are linear in one weight vector, and a step of an algorithm on some rows of four."""

from __future__ import annotations

import json
import sys
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor

from aa_lightning.types import Batch, LogLikelihood
from aa_lightning.workers import leave
from tests.vectors.support import algorithm

ROWS, WIDTH, TERMS = 4, 3, 5


class Linear:
    """terms = features · w; the reference has another, fixed w."""

    likelihood = "exact"

    def __init__(self, weight: Tensor):
        self.weight = weight

    def log_likelihood(self, batch: Batch, collision: bool = False, read=None) -> LogLikelihood:
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
    batch.memory = memory
    weight = weight.clone().requires_grad_()
    loss, _ = objective(Linear(weight), batch)
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


def _mean_over_processes(value: Tensor) -> Tensor:
    dist.all_reduce(value)
    return value / dist.get_world_size()


def main() -> None:
    """One of two processes: names of algorithms in, what each came to out, as JSON on rank 0."""
    rank, store, *names = sys.argv[1:]
    dist.init_process_group(
        "gloo", init_method=f"file://{store}", rank=int(rank), world_size=2, timeout=timedelta(seconds=60)
    )
    mine = list(range(int(rank), ROWS, 2))
    told = {name: two_steps(name, mine, _mean_over_processes) for name in names}
    if rank == "0":
        print(json.dumps(told))


if __name__ == "__main__":
    main()
    leave(0)

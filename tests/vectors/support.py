"""Worked numbers, and a policy that returns them.

A vector is `{"id", "inputs", "params", "expected", "gradients", "checked_against", "note"}`; the files' `_meta` says
what the inputs mean. `checked_against` names the code of others that gave the same numbers.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import Tensor

from aa_lightning.types import Batch, LogLikelihood

ROOT = Path(__file__).parents[2]
TOLERANCE = {torch.float64: 1e-10, torch.float32: 2e-5}
_GARBAGE = 1e3  # what stands in padding; any finite number must do


class GivenTerms:
    """A policy whose log-likelihoods are given."""

    likelihood = "exact"

    def __init__(self, likelihood: LogLikelihood, reference: LogLikelihood | None = None):
        self._likelihood, self._reference = likelihood, reference

    def log_likelihood(self, batch: Batch, tokens=None, statistic=None, measure=False) -> LogLikelihood:
        return self._likelihood

    @contextmanager
    def as_reference(self) -> Iterator[GivenTerms]:
        yield GivenTerms(self._reference)


class GivenRewards:
    """A reward model whose rewards are given."""

    def __init__(self, rewards: Tensor):
        self._rewards = rewards

    def score(self, batch: Batch) -> Tensor:
        return self._rewards


def vectors(family: str, *algorithms: str) -> list[tuple[str, dict]]:
    """(algorithm, vector) of a family's file."""
    found = json.loads((ROOT / "tests" / "vectors" / f"{family}.json").read_text())
    return [(name, vector) for name in algorithms for vector in found[name]]


def vector(family: str, algorithm: str, id: str) -> dict:
    return next(v for _, v in vectors(family, algorithm) if v["id"] == id)


def algorithm(name: str, **options):
    """The algorithm of `conf/algo/<name>.yaml` with options changed."""
    cfg = {**settings(name), **options}
    return instantiate(OmegaConf.create(cfg), _convert_="all")


@cache
def settings(name: str) -> dict:
    """What `algo=<name>` says, without what a tiny model's recipe changes in it."""
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return OmegaConf.to_container(compose(f"algo/{name}"), resolve=True)["algo"]


def empty_batch(p: int, **fields) -> Batch:
    """A batch of which only the supervision is looked at."""
    return Batch(ids=[str(i) for i in range(p)], prompt={}, response={}, **fields)


def leaves(rows: Sequence[Sequence[float]], dtype: torch.dtype) -> list[Tensor]:
    """Ragged lists as tensors that get gradients."""
    return [torch.tensor(row, dtype=dtype, requires_grad=True) for row in rows]


def padded(*columns: Sequence[Tensor], side: str = "right") -> LogLikelihood:
    """Ragged terms as (P, K, T); `columns[k][p]` are those of response k to prompt p, and garbage fills the rest."""
    width = 2 + max(len(row) for column in columns for row in column)
    pairs = [[_pad(row, width, side) for row in rows] for rows in zip(*columns, strict=True)]
    terms = torch.stack([torch.stack([row for row, _ in pair]) for pair in pairs])
    mask = torch.stack([torch.stack([kept for _, kept in pair]) for pair in pairs])
    return LogLikelihood(terms, mask)


def _pad(row: Tensor, width: int, side: str) -> tuple[Tensor, Tensor]:
    fill, zeros = row.new_full((width - len(row),), _GARBAGE), row.new_zeros(width - len(row))
    ones = torch.ones_like(row, requires_grad=False)
    if side == "right":
        return torch.cat([row, fill]), torch.cat([ones, zeros])
    return torch.cat([fill, row]), torch.cat([zeros, ones])


def assert_close(got: Tensor, expected: float | Sequence, dtype: torch.dtype) -> None:
    """|got − expected| ≤ tolerance · max(1, |expected|), element by element."""
    want = torch.tensor(expected, dtype=torch.float64)
    error = (got.detach().double() - want).abs()
    assert error.shape == want.shape
    assert (error <= TOLERANCE[dtype] * want.abs().clamp(min=1)).all(), f"{got} instead of {want}"

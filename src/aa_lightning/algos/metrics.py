"""Metrics of objectives under one set of names, whose meanings stand in docs/algorithms.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aa_lightning.types import Batch, LogLikelihood, Metrics

if TYPE_CHECKING:
    from torch import Tensor

# of margins and differences of lengths: a correlation's parts
MOMENTS = ("moment/both", "moment/margin", "moment/length")
NAMES = (
    *("reward/chosen", "reward/rejected", "reward/margin", "reward/accuracy", "reward/baseline", "reward/ties"),
    *("logp/chosen", "logp/rejected", "logp/per_term", "length/chosen", "length/rejected", "length/correlation"),
    *("entropy/chosen", "entropy/rejected", "token_accuracy/chosen", "token_accuracy/rejected"),
    *("kl", "weight/best", "cost/sign_accuracy", "accuracy/<criterion>", "loss/<objective>"),
    *("count/chosen", "count/rejected", *MOMENTS),
    *("reward/mean", "advantage/std", "advantage/zero", "length/mean", "entropy/mean", "ratio/mean"),
    *("clip/low", "clip/high", "value/loss", "value/explained", "cost/mean", "multiplier"),
    *("process/accuracy", "logp/rival"),
)
FEWEST = 4  # rows that a correlation is of: fewer would often agree by chance


def of_rewards(rewards: Tensor, size: Tensor | None = None, counted: Tensor | None = None) -> Metrics:
    """Of the first, better response and of the last, worse one of each prompt.

    Args:
        rewards, size: (P, K) rewards and lengths; None: nothing is said about lengths.
        counted: (P,) the prompts that this is about; None: all.
    """
    rewards = rewards.detach()
    found = {} if counted is None else {f"count/{side}": counted.sum() for side in ("chosen", "rejected")}
    if counted is not None:
        rewards, size = rewards[counted], None if size is None else size[counted]
    margin = rewards[:, 0] - rewards[:, -1]
    found |= {
        "reward/chosen": _mean(rewards[:, 0]),
        "reward/rejected": _mean(rewards[:, -1]),
        "reward/margin": _mean(margin),
        "reward/accuracy": _mean((margin > 0).to(margin.dtype)),
    }
    if size is None:
        return found
    longer = (size[:, 0] - size[:, -1]).to(margin.dtype)
    moments = dict(zip(MOMENTS, (margin * longer, margin**2, longer**2), strict=True))
    found |= {name: _mean(values) for name, values in moments.items()}
    return {**found, **_lengths(size), "length/correlation": correlation(margin, longer)}


def of_likelihoods(likelihood: LogLikelihood, reference: LogLikelihood | None = None) -> Metrics:
    """Of the first and the last response of each prompt; of the only one where there is one."""
    logp = likelihood.total.detach()
    found = {f"logp/{name}": logp[:, column].mean() for name, column in _sides(logp)}
    for measure, values in _measures(likelihood):
        found |= {f"{measure}/{name}": values[:, column].mean() for name, column in _sides(values)}
    return {**found, **_lengths(likelihood.size), **log_ratio(likelihood, reference)}


def of_ratings(
    rewards: Tensor,
    right: Tensor,
    middle: Tensor | float = 0.0,
    likelihood: LogLikelihood | None = None,
    reference: LogLikelihood | None = None,
) -> Metrics:
    """Means over responses that are right (`chosen`) and over those that are not, 0 where a batch has none of a kind.

    Args:
        rewards, right: (P, K), right as booleans; `middle` is the reward above which a response is taken to be right.
    """
    rewards, sides = rewards.detach(), (("chosen", right), ("rejected", ~right))
    found = {f"count/{name}": counted.sum() for name, counted in sides}
    found |= {f"reward/{name}": mean_of(rewards, counted) for name, counted in sides}
    both = right.any() & (~right).any()
    found["reward/margin"] = (found["reward/chosen"] - found["reward/rejected"]) * both
    found["reward/accuracy"] = _mean(((rewards > middle) == right).to(rewards.dtype))
    if likelihood is None:
        return found
    for name, counted in sides:
        found[f"logp/{name}"] = mean_of(likelihood.total.detach(), counted)
        found[f"length/{name}"] = mean_of(likelihood.size, counted)
        found |= {f"{measure}/{name}": mean_of(values, counted) for measure, values in _measures(likelihood)}
    return {**found, **log_ratio(likelihood, reference)}


def log_ratio(likelihood: LogLikelihood, reference: LogLikelihood | None) -> Metrics:
    """`kl`, the mean over responses of log π − log π_ref: what is there of a divergence where nothing is sampled."""
    return {} if reference is None else {"kl": (likelihood.total.detach() - reference.total).mean()}


def response_sizes(batch: Batch) -> Tensor | None:
    """(P, K) tokens of the responses; None where they are none of tokens."""
    return batch.response["mask"].float().sum(-1)[: len(batch)] if "mask" in batch.response else None


def mean_of(values: Tensor, counted: Tensor) -> Tensor:
    """() over those that count; 0 where none does."""
    share = counted.to(values.dtype)
    return (values * share).sum() / share.sum().clamp(min=1)


def correlation(one: Tensor, two: Tensor) -> Tensor:
    """() Pearson's, over the rows of a batch; 0 where one of them is the same in all rows, or rows are too few."""
    if len(one) < FEWEST:
        return one.new_zeros(())
    one, two = one - one.mean(), two.to(one.dtype) - two.to(one.dtype).mean()
    return (one * two).sum() / (one.norm() * two.norm()).clamp(min=1e-12)


def of_moments(found: Metrics, rows: Tensor) -> Tensor:
    """() the same correlation, of margins with differences of lengths, from means over so many rows."""
    margin, longer = found["reward/margin"], found["length/chosen"] - found["length/rejected"]
    both, squared, longer_squared = (found[name] for name in MOMENTS)
    spread = ((squared - margin**2).clamp(min=0) * (longer_squared - longer**2).clamp(min=0)).sqrt()
    return (both - margin * longer) / spread.clamp(min=1e-9) * (rows >= FEWEST)


def _mean(values: Tensor) -> Tensor:
    """() 0 of none."""
    return values.sum() / max(values.numel(), 1)


def _measures(likelihood: LogLikelihood) -> list[tuple[str, Tensor]]:
    """Names, and means over the tokens of each response (P, K)."""
    size = likelihood.size.clamp(min=1)
    return [(name, (values * likelihood.mask).sum(-1) / size) for name, values in likelihood.measures.items()]


def _lengths(size: Tensor) -> Metrics:
    return {f"length/{name}": _mean(size[:, column]) for name, column in _sides(size)}


def _sides(values: Tensor) -> tuple[tuple[str, int], ...]:
    return (("chosen", 0), ("rejected", -1)) if values.shape[1] > 1 else (("chosen", 0),)

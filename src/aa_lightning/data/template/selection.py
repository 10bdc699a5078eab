"""Selection of the scored answers that are learnt from. Pure functions of scores; templates and data functions use them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from random import Random


def best_of_n(scores: Sequence[float]) -> tuple[int, int]:
    """The indices of the highest and of the lowest score, the first of equals.

    With a reward model's scores this is best-of-n; with similarities of a picture and its descriptions it is the ranking
    of CLIP-DPO (2408.10433).
    """
    ranking = range(len(scores))
    return max(ranking, key=lambda i: scores[i]), min(ranking, key=lambda i: scores[i])


def accept_probabilities(scores: Sequence[float], beta: float) -> list[float]:
    """exp((score − highest) / beta): how likely statistical rejection sampling keeps each answer. RSO, 2309.06657.

    Args:
        beta: small keeps little but the best; large keeps all.
    """
    highest = max(scores)
    return [math.exp((score - highest) / beta) for score in scores]


def rejection_sampling(scores: Sequence[float], beta: float, rng: Random) -> list[int]:
    """The answers that a draw with `accept_probabilities` keeps; the best one always stays."""
    chances = accept_probabilities(scores, beta)
    return [i for i, chance in enumerate(chances) if rng.random() < chance]


def above(scores: Sequence[float], threshold: float) -> list[int]:
    """The answers whose score is over a threshold (rejection-sampling fine-tuning, 2308.01825)."""
    return [i for i, score in enumerate(scores) if score > threshold]


def csr_reward(likelihoods: Sequence[float], similarities: Sequence[float], weight: float) -> float:
    """The calibrated self-reward of a response: Σ over its sentences of w · similarity + (1 − w) · likelihood.

    Args:
        likelihoods: of each sentence, the model's own log-probability.
        similarities: of each sentence with the picture.
        weight: of the similarity; 0.9 in the paper.

    Returns:
        The reward. CSR, 2405.14622.
    """
    pairs = zip(likelihoods, similarities, strict=True)
    return sum(weight * similarity + (1 - weight) * likelihood for likelihood, similarity in pairs)


def claim_score(yes: Sequence[float], no: Sequence[float]) -> int:
    """Minus the number of claims of a response that are rather denied than affirmed.

    Args:
        yes: of each claim, asked as a question about the picture, the probability of yes.
        no: that of no.

    Returns:
        The score. RLAIF-V, 2405.17220.
    """
    return -sum(denied > affirmed for affirmed, denied in zip(yes, no, strict=True))


def acceptable(gap: float | None, lengths: tuple[int, int], least: float | None, ratio: float | None) -> bool:
    """Tell whether a pair teaches more than the noise of its scores and the length of its responses.

    Args:
        gap: by how much the better response is better; None: unknown.
        lengths: of the two responses.
        least: the gap that is asked for; None: any.
        ratio: how many times as long the longer one may be; None: any.
    """
    short, long = sorted(lengths)
    wide = least is None or (gap is not None and gap >= least)
    return wide and (ratio is None or long <= ratio * short)

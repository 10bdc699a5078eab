"""Labels of responses, as tensors."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher

import torch
from torch import Tensor

from aa_lightning.types import Example, Feedback, Preference, Ranking, Rating


def supervision(examples: Sequence[Example]) -> dict[str, Tensor]:
    """margin (P,) and safe (P, 2) where every row has them, desirable (P, 1) for ratings, scores (P, K) for rankings."""
    found = {}
    if all(isinstance(e, Preference) for e in examples):
        if all(e.margin is not None for e in examples):
            found["margin"] = torch.tensor([float(e.margin) for e in examples])
        if all(e.safe is not None for e in examples):
            found["safe"] = torch.tensor([e.safe for e in examples])
    if all(isinstance(e, Rating) for e in examples):
        found["desirable"] = torch.tensor([[e.desirable] for e in examples])
    if all(isinstance(e, Ranking) for e in examples):
        found["scores"] = torch.tensor([e.scores for e in examples])
    return found


def ratings(examples: Sequence[Feedback], criteria: Sequence[str]) -> Tensor:
    """(P, 2, criteria) the scores of both responses; NaN where a row has none."""
    missing = (float("nan"), float("nan"))
    return torch.tensor([[e.scores.get(name, missing) for name in criteria] for e in examples]).transpose(1, 2)


def steps(labels: Sequence[Sequence[bool]], ends: Sequence[Sequence[int]]) -> dict[str, Tensor]:
    """Right or wrong steps of one response per prompt.

    Args:
        labels: of each row's steps.
        ends: the place of each step's last token; a step without one was cut off.

    Returns:
        steps (P, 1, S) 1 right, 0 wrong, NaN padding; step_ends (P, 1, S).
    """
    size = max(map(len, ends))
    right, place = torch.full((len(ends), 1, size), float("nan")), torch.zeros(len(ends), 1, size, dtype=torch.long)
    for row, (label, end) in enumerate(zip(labels, ends, strict=True)):
        right[row, 0, : len(end)] = torch.tensor(label[: len(end)], dtype=right.dtype)
        place[row, 0, : len(end)] = torch.tensor(end)
    return {"steps": right, "step_ends": place}


def after(mask: Tensor, sizes: Sequence[Sequence[int]]) -> Tensor:
    """(P, K, T) the tokens of a mask that come after the first `sizes[p][k]` of each response."""
    first = torch.ones(len(mask), *mask.shape[1:2], dtype=torch.long)
    first[: len(sizes)] = torch.tensor(sizes)
    return mask * (torch.arange(mask.shape[-1]) >= first[..., None])


def changed_tokens(ids: Tensor, mask: Tensor) -> Tensor:
    """(P, 2, T) the tokens of two responses that have no counterpart in the other one; ids, mask (P, 2, T)."""
    changed = torch.zeros_like(mask, dtype=torch.bool)
    for row, (tokens, counted) in enumerate(zip(ids, mask.bool(), strict=True)):
        first, second = (line[kept].tolist() for line, kept in zip(tokens, counted, strict=True))
        for kind, a, b, c, d in SequenceMatcher(None, first, second, autojunk=False).get_opcodes():
            if kind != "equal":
                changed[row, 0, a:b], changed[row, 1, c:d] = True, True
    return changed

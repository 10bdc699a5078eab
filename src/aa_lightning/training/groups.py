"""Groups of drawn responses, each by itself: what was drawn to one prompt, and what is learned from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from aa_lightning.types import Rollout

Tensors = dict[str, Tensor]


@dataclass
class Group:
    """K responses to one prompt, on the CPU.

    Attributes:
        index: of the prompt among the training rows.
        response: what the policy wrote, as `Policy.sample` has it, (1, K, …).
        draws: what the log-probabilities of its actions depend on besides, (1, …), or () where all groups share it.
        told: (1, K, …) or (1,) what is known of the responses.
        rewards: (1, K) of each reward, by its name.
    """

    index: int
    response: Tensors
    draws: Tensors
    told: Tensors = field(default_factory=dict)
    rewards: Tensors = field(default_factory=dict)

    def learn(self, learned: Tensors) -> None:
        """Keep what is learned from the responses, or from the first of them, (1, K, …), in place of what was known."""
        self.told = learned
        if "chosen" in learned:
            self.response = first(self.response, learned["chosen"].shape[1])

    def plain(self) -> dict[str, Any]:
        """As a checkpoint holds it."""
        return asdict(self)


def divided(rollout: Rollout, indices: Sequence[int]) -> list[Group]:
    """The groups of a rollout, without padding that only other groups need.

    Args:
        indices: (P) of the prompts.
    """
    batch = rollout.batch
    told = {"old_logprobs": rollout.logprobs, "chosen": rollout.mask, "ended": rollout.ended}
    found = []
    for place, index in enumerate(indices):
        own = [{key: _own(value, place) for key, value in part.items()} for part in (batch.response, batch.draws, told)]
        if "mask" in batch.response:
            width = max(int(own[0]["mask"].sum(-1).max()), 1)
            own = [_cut(part, batch.response["mask"].shape[-1], width) for part in own]
        found.append(Group(index, *own))
    return found


def _own(tensor: Tensor, place: int) -> Tensor:
    """A prompt's share; the copy alone is kept, and not what it is a part of."""
    return (tensor[place : place + 1] if tensor.ndim else tensor).detach().cpu().clone()


def _cut(tensors: Tensors, length: int, width: int) -> Tensors:
    """Tensors of one number for each token, (1, K, T), cut behind the longest response."""
    return {
        key: value[..., :width].clone() if value.ndim == 3 and value.shape[-1] == length else value
        for key, value in tensors.items()
    }


def joined(tensors: Sequence[Tensors]) -> Tensors:
    """Join what groups hold, one after another, (P, …), padded with zeros; of what all share, the first."""
    return {key: _joined([one[key] for one in tensors]) for key in tensors[0]}


def _joined(tensors: Sequence[Tensor]) -> Tensor:
    if not tensors[0].ndim:
        return tensors[0]
    sizes = [max(one.shape[axis] for one in tensors) for axis in range(1, tensors[0].ndim)]
    return torch.cat([padded(one, sizes) for one in tensors])


def beside(ours: Rollout, theirs: Rollout) -> Rollout:
    """Two rollouts to the same prompts as one, the responses of the second behind those of the first."""
    response = {key: _beside(value, theirs.batch.response[key]) for key, value in ours.batch.response.items()}
    tensors = [_beside(getattr(ours, name), getattr(theirs, name)) for name in ("logprobs", "mask", "ended")]
    said = [first + second for first, second in zip(ours.responses, theirs.responses, strict=True)]
    return Rollout(replace(ours.batch, response=response), said, *tensors)


def _beside(ours: Tensor, theirs: Tensor) -> Tensor:
    sizes = [max(pair) for pair in zip(ours.shape[2:], theirs.shape[2:], strict=True)]
    return torch.cat([padded(one, [one.shape[1], *sizes]) for one in (ours, theirs)], 1)


def first(tensors: Tensors, count: int) -> Tensors:
    """The part of what is known (P, K, …) that is about the first responses of each group, (P, count, …)."""
    return {key: value[:, :count] if value.ndim > 1 else value for key, value in tensors.items()}


def padded(tensor: Tensor, sizes: Sequence[int]) -> Tensor:
    """A tensor (N, …) with zeros behind it up to the sizes of its other axes."""
    missing = [size - own for size, own in zip(sizes, tensor.shape[1:], strict=True)]
    return pad(tensor, [amount for count in reversed(missing) for amount in (0, count)]) if any(missing) else tensor


def parted(tensors: Tensors, sizes: Sequence[int]) -> list[Tensors]:
    """The share of each group, (1, K) or, without padding, (1, K, A, …).

    Args:
        tensors: (P, K) or (P, K, A, …).
        sizes: (P) A of each group.
    """
    return [{key: _part(value, place, size) for key, value in tensors.items()} for place, size in enumerate(sizes)]


def _part(tensor: Tensor, place: int, size: int) -> Tensor:
    own = tensor[place : place + 1]
    return (own[:, :, :size] if own.ndim > 2 else own).clone()

"""Statistics over all processes, so that a loss that couples the rows of a batch does not depend on how they are divided.

What is gathered keeps its gradient: each process computes the loss of all rows, and its backward pass is scaled so that
the average over processes is the gradient of that loss.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx, own: Tensor, counts: list[int]) -> Tensor:
        ctx.counts = counts
        padded = own.new_zeros(max(counts), *own.shape[1:])  # a collective wants the same shape of every process
        padded[: len(own)] = own
        pieces = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(pieces, padded)
        return torch.cat([piece[:count] for piece, count in zip(pieces, counts, strict=True)])

    @staticmethod
    def backward(ctx, grad: Tensor):
        return grad.split(ctx.counts)[dist.get_rank()] * len(ctx.counts), None


def all_gather_with_grad(own: Tensor) -> Tensor:
    """Gather the rows of all processes in their order, (N, …) → (Σ N, …), with gradients. Numbers of rows may differ."""
    return _Gather.apply(own, _rows_of_each(own)) if _connected() else own


def _rows_of_each(own: Tensor) -> list[int]:
    """Gather how many rows each process holds."""
    counts = [torch.zeros((), dtype=torch.long, device=own.device) for _ in range(dist.get_world_size())]
    dist.all_gather(counts, torch.tensor(len(own), device=own.device))
    return torch.stack(counts).tolist()


@torch.no_grad()
def running_mean(values: Tensor, memory: dict[str, Tensor]) -> Tensor:
    """() the mean of all values seen so far, these included; `memory` keeps reward_sum and reward_count.

    BCO's shift, 2404.04656.
    """
    own = all_gather_with_grad(values.detach())
    memory["reward_sum"] = memory["reward_sum"] + own.double().sum()
    memory["reward_count"] = memory["reward_count"] + own.numel()
    return (memory["reward_sum"] / memory["reward_count"]).to(values.dtype)


@torch.no_grad()
def beta_dpo_beta(
    beta: float,
    margin: Tensor,
    noise: Tensor,
    rate: float,
    keep: float,
    momentum: float,
    memory: dict[str, Tensor],
) -> tuple[Tensor, Tensor]:
    """β₀ (1 + a (ḡ − M₀)) with ḡ the mean margin of the pairs kept and M₀ its running mean. β-DPO, 2407.08639.

    Args:
        margin: (P,) u_chosen − u_rejected of this process's rows.
        noise: (P,) uniform in (0, 1), one number of each row's own.
        rate: a. keep: share of pairs kept, of which the integer part is drawn without replacement with density N(M₀, σ).
        momentum: of M₀ and σ.
        memory: margin_mean, margin_std, margin_steps.

    Returns:
        () the strength, at least 1e-3, and (P,) weights whose mean over all processes is 1, 0 for pairs left out.
    """
    everyone, luck = all_gather_with_grad(torch.stack([margin.detach(), noise], -1)).unbind(-1)
    first = memory["margin_steps"] == 0
    spread = everyone.std(correction=0)
    for name, value in (("margin_mean", everyone.mean()), ("margin_std", spread)):
        memory[name] = value if first else momentum * memory[name] + (1 - momentum) * value
    memory["margin_steps"] = memory["margin_steps"] + 1
    density = -0.5 * ((everyone - memory["margin_mean"]) / memory["margin_std"].clamp(min=1e-6)) ** 2
    count = max(1, int(keep * len(everyone)))
    score = density - torch.log(-torch.log(luck))  # Gumbel: the largest are a draw without replacement
    least = score.topk(count).values[-1]
    used = beta * (1 + rate * (everyone[score >= least].mean() - memory["margin_mean"]))
    own = _own(score, margin) >= least
    return used.clamp(min=1e-3), own.to(margin.dtype) * len(everyone) / count


def _own(everyone: Tensor, own: Tensor) -> Tensor:
    """This process's rows of what was gathered."""
    return everyone.split(_rows_of_each(own))[dist.get_rank()] if _connected() else everyone


@torch.no_grad()
def mean(values: Tensor) -> Tensor:
    """() the mean over all elements of all processes, detached."""
    sums = torch.stack([values.detach().double().sum(), values.new_tensor(values.numel(), dtype=torch.float64)])
    if _connected():
        dist.all_reduce(sums)
    return (sums[0] / sums[1]).to(values.dtype)


def _connected() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1

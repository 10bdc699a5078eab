"""The numbers of a rollout: over all responses that were drawn, learned from or not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from aa_lightning.engines.engine import gap
from aa_lightning.training.groups import Group, first, joined


def statistics(groups: Sequence[Group], weights: Mapping[str, float], rivals: bool = False) -> dict[str, float]:
    """Means over the responses of the policy in some groups, by the names of metrics.

    Args:
        groups: as they were drawn, with their rewards.
        weights: of rewards in their sum.
        rivals: whether the second half of each group was drawn by another than the policy.

    Returns:
        rollout/reward, rollout/reward_std (within groups), rollout/reward/<name>; rollout/length, in actions that were
        chosen; rollout/cut, the share that was cut; rollout/equal, the share of groups whose rewards are equal;
        rollout/faults, the share of groups without rewards; rollout/entropy, nats per action, of what was drawn;
        rollout/kl, nats per response from the reference, where there is one; rollout/logprob_gap, nats per action between
        an engine and the policy, where these are two; rollout/won, how often a response is better than its rival, where it
        has one, ties being half.
    """
    told, rewards = (joined([getattr(group, part) for group in groups]) for part in ("told", "rewards"))
    others = None
    if rivals:
        half = told["chosen"].shape[1] // 2
        others = sum(weights[name] * values[:, half:] for name, values in rewards.items())
        told, rewards = first(told, half), first(rewards, half)
    total = sum(weights[name] * values for name, values in rewards.items())
    sound = total.isfinite().all(-1)
    chosen, old = told["chosen"], told["old_logprobs"]
    found = {f"rollout/reward/{name}": _mean(values[sound]) for name, values in rewards.items()}
    found |= {
        "rollout/reward": _mean(total[sound]),
        "rollout/reward_std": _mean(total[sound].std(-1)) if total.shape[-1] > 1 and sound.any() else 0.0,
        "rollout/length": _mean(chosen.sum(-1)),
        "rollout/cut": 1.0 - _mean(told["ended"].float()),
        "rollout/equal": _mean((total.amax(-1) == total.amin(-1))[sound].float()),
        "rollout/faults": 1.0 - _mean(sound.float()),
        "rollout/entropy": (-(old * chosen).sum() / chosen.sum().clamp(min=1)).item(),
    }
    if "engine_logprobs" in told:
        found["rollout/logprob_gap"] = gap(old, told["engine_logprobs"], chosen).item()
    if "reference_logprobs" in told:
        found["rollout/kl"] = _mean(((old - told["reference_logprobs"]) * chosen).sum(-1))
    if others is not None:
        found["rollout/won"] = _mean(((total - others)[sound].sign() + 1) / 2)
    return found


def _mean(values: Tensor) -> float:
    """0 of none."""
    return values.double().mean().item() if values.numel() else 0.0

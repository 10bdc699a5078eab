"""The numbers of a rollout: over all responses that were drawn, learned from or not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from aa_lightning.engines.engine import gap
from aa_lightning.training.groups import Group, joined


def statistics(groups: Sequence[Group], weights: Mapping[str, float]) -> dict[str, float]:
    """Means over the responses of some groups, by the names of metrics.

    Args:
        groups: as they were drawn, with their rewards.
        weights: of rewards in their sum.

    Returns:
        rollout/reward, rollout/reward_std (within groups), rollout/reward/<name>; rollout/length, in actions that were
        chosen; rollout/cut, the share that was cut; rollout/equal, the share of groups whose rewards are equal;
        rollout/faults, the share of groups without rewards; rollout/entropy, nats per action, of what was drawn;
        rollout/kl, nats per response from the reference, where there is one; rollout/logprob_gap, nats per action between
        an engine and the policy, where these are two.
    """
    told, rewards = (joined([getattr(group, part) for group in groups]) for part in ("told", "rewards"))
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
    return found


def _mean(values: Tensor) -> float:
    """0 of none."""
    return values.double().mean().item() if values.numel() else 0.0

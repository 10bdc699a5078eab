"""Warnings of a run that goes on: rules on the metrics of its first and of its last steps."""

from __future__ import annotations

import math
from collections.abc import Mapping

Means = Mapping[str, float]  # of metrics over some steps, by their names in docs/algorithms.md

WATCHED = ("logp/chosen", "length/chosen", "reward/margin", "length/correlation")
WATCHED += ("rollout/reward", "rollout/length", "rollout/cut", "rollout/equal", "rollout/entropy", "rollout/kl")
WATCHED += ("val/answer_accuracy", "val/picture_accuracy", "val/sound_accuracy")
STOPPING = ("gamed", "longer", "divergence")  # what ends a run with rollout.stop_on_alarm=true
LIKELIHOOD = 1.0  # nats per token that chosen responses may lose
MARGIN = 10.0  # where a logistic loss has 1/20000 of its slope left
CORRELATION = 0.8  # of margins with differences of lengths
FALLEN = 0.05  # of held-out answers that were right
GROWN = 2.0  # times as many actions as at the start
CUT = 0.5  # of drawn responses
KL = 20.0  # nats per response
EQUAL = 0.8  # of groups
ENTROPY = 0.1  # of what it was at the start


def logged_as(name: str) -> str:
    """The column of metrics.csv in which a watched metric stands."""
    return name if name.startswith(("rollout/", "val/")) else f"train/{name}"


def alarms(first: Means, last: Means) -> dict[str, str]:
    """A sentence or two for each rule that is broken, by the rule's name: what is seen, and what to try."""
    rules = {"likelihood": _likelihood, "margin": _margin, "length": _length}
    rules |= {"gamed": _gamed, "longer": _longer, "divergence": _divergence, "equal": _equal, "entropy": _entropy}
    told = {name: rule(first, last) for name, rule in rules.items()}
    return {name: text for name, text in told.items() if text is not None}


def _both(name: str, first: Means, last: Means) -> tuple[float, float]:
    """A metric at the start and now; NaN where it was not logged."""
    return first.get(name, math.nan), last.get(name, math.nan)


def _likelihood(first: Means, last: Means) -> str | None:
    """Both responses of a pair may become less likely (2410.08847)."""
    before, after = _per_token(first), _per_token(last)
    if before is None or after is None or before - after <= LIKELIHOOD:
        return None
    return (
        f"Chosen responses have lost {before - after:.1f} nats per token since the start (from {before:.2f} to {after:.2f}): "
        "the model moves away from both responses of a pair. Try algo.nll=1.0, which holds the chosen one, algo=dpop, or a "
        "lower optimizer.lr."
    )


def _per_token(means: Means) -> float | None:
    """None where a response has one term, a denoising error in place of tokens."""
    length = means.get("length/chosen", 0.0)
    return means["logp/chosen"] / length if length > 1 and "logp/chosen" in means else None


def _margin(first: Means, last: Means) -> str | None:
    before, after = _both("reward/margin", first, last)
    if not (after > MARGIN and after > before):
        return None
    return (
        f"The reward margin has grown from {before:.1f} to {after:.1f}: pairs are told apart beyond doubt, and what still "
        "grows is confidence. Try fewer trainer.max_steps, a lower optimizer.lr, algo=ipo, whose margin has a target, or "
        "label smoothing (algo=cdpo; algo.label_smoothing=0.1 of a reward model)."
    )


def _length(first: Means, last: Means) -> str | None:
    before, after = _both("length/correlation", first, last)
    if not abs(after) > CORRELATION:
        return None
    kind = "longer" if after > 0 else "shorter"
    return (
        f"Reward margins follow length differences (correlation {after:.2f}, {before:.2f} at the start): the model may be "
        f"learning to prefer {kind} responses. Try algo=dpo_norm, algo=ld_dpo or algo=r_dpo, or pairs of similar lengths."
    )


def _gamed(first: Means, last: Means) -> str | None:
    """Rewards that rise while what they stand for falls (2210.10760)."""
    if not last.get("rollout/reward", 0.0) > first.get("rollout/reward", math.inf):
        return None
    for name in ("answer_accuracy", "picture_accuracy", "sound_accuracy"):
        before, after = _both(f"val/{name}", first, last)
        if before - after > FALLEN:
            return (
                f"The reward has risen from {first['rollout/reward']:.3g} to {last['rollout/reward']:.3g} while held-out "
                f"{name} fell from {before:.0%} to {after:.0%}: the reward is gamed. Look at what is drawn (report.html), "
                "mend the reward, hold the policy to its reference (algo.loss_kl), or take an earlier checkpoint."
            )
    return None


def _longer(first: Means, last: Means) -> str | None:
    before, after = _both("rollout/length", first, last)
    cut, cut_now = _both("rollout/cut", first, last)
    if not (cut_now > CUT and cut_now > cut and after > GROWN * before):
        return None
    return (
        f"Drawn responses have grown from {before:.0f} to {after:.0f} actions, and {cut_now:.0%} of them are cut: length is "
        "rewarded, or ending is not learned. Try algo.overlong, algo.drop_unfinished=true, or algo=dr_grpo, whose loss does "
        "not favour long wrong answers."
    )


def _divergence(first: Means, last: Means) -> str | None:
    before, after = _both("rollout/kl", first, last)
    if not (after > KL and after > before):
        return None
    return (
        f"Drawn responses are {after:.0f} nats from the reference ({before:.1f} at the start): the policy has left what it "
        "could say before. Try a larger coefficient of algo.loss_kl or algo.reward_kl, or a lower optimizer.lr."
    )


def _equal(first: Means, last: Means) -> str | None:
    """Groups without a better response teach nothing (2503.14476)."""
    equal = last.get("rollout/equal", math.nan)
    if not equal > EQUAL:
        return None
    return (
        f"In {equal:.0%} of the groups all responses have the same reward, so that little is learned of what is drawn. Try "
        "rollout.refill=4, which draws to other prompts in their place, rollout.skip_equal=true, which reads the others "
        "alone, more rollout.responses, or prompts that are neither too hard nor too easy."
    )


def _entropy(first: Means, last: Means) -> str | None:
    """A policy that has found the answers is sure of them; one that has not should go on looking."""
    before, after = _both("rollout/entropy", first, last)
    if not 0 <= after < ENTROPY * before or last["rollout/reward"] > first["rollout/reward"]:
        return None
    return (
        f"The entropy of what is drawn has fallen from {before:.3g} to {after:.3g} nats per action: all responses to a "
        "prompt become the same, and nothing new is found. Try a lower optimizer.lr, algo=dapo, whose clip leaves more room "
        "upwards, or a higher rollout.temperature."
    )

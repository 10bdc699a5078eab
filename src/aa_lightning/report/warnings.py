"""Warnings of a run that goes on: rules on the metrics of its first and of its last steps."""

from __future__ import annotations

import math
from collections.abc import Mapping

Means = Mapping[str, float]  # of metrics over some steps, by their names in docs/algorithms.md

WATCHED = ("logp/chosen", "length/chosen", "reward/margin", "length/correlation")
LIKELIHOOD = 1.0  # nats per token that chosen responses may lose
MARGIN = 10.0  # where a logistic loss has 1/20000 of its slope left
CORRELATION = 0.8  # of margins with differences of lengths


def alarms(first: Means, last: Means) -> dict[str, str]:
    """A sentence or two for each rule that is broken, by the rule's name: what is seen, and what to try."""
    rules = {"likelihood": _likelihood, "margin": _margin, "length": _length}
    told = {name: rule(first, last) for name, rule in rules.items()}
    return {name: text for name, text in told.items() if text is not None}


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
    before, after = (means.get("reward/margin", math.nan) for means in (first, last))
    if not (after > MARGIN and after > before):
        return None
    return (
        f"The reward margin has grown from {before:.1f} to {after:.1f}: pairs are told apart beyond doubt, and what still "
        "grows is confidence. Try fewer trainer.max_steps, a lower optimizer.lr, algo=ipo, whose margin has a target, or "
        "label smoothing (algo=cdpo; algo.label_smoothing=0.1 of a reward model)."
    )


def _length(first: Means, last: Means) -> str | None:
    before, after = (means.get("length/correlation", math.nan) for means in (first, last))
    if not abs(after) > CORRELATION:
        return None
    kind = "longer" if after > 0 else "shorter"
    return (
        f"Reward margins follow length differences (correlation {after:.2f}, {before:.2f} at the start): the model may be "
        f"learning to prefer {kind} responses. Try algo=dpo_norm, algo=ld_dpo or algo=r_dpo, or pairs of similar lengths."
    )

"""Findings in the curves and the data: each finding is a sentence with its numbers."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from aa_lightning.report.cost import cost
from aa_lightning.report.page import Html, number, section, tag
from aa_lightning.report.warnings import WATCHED, alarms, logged_as
from aa_lightning.runs.reader import Run

_WASTE = 0.25  # share of the tokens or of the time


def findings(run: Run) -> list[str]:
    """The findings of a run, worst first; an empty list if nothing stands out."""
    return [*_not_finite(run), *_overfitting(run), *_drifting(run), *_dropped(run), *_waste(run)]


def findings_section(run: Run) -> Html | None:
    found = findings(run)
    return section("Worth a look", tag("ul", *(tag("li", text) for text in found))) if found else None


def _not_finite(run: Run) -> list[str]:
    names = dict.fromkeys(name for row in run.metrics for name in row)
    texts = []
    for name in names:
        steps, values = run.series(name)
        bad = [step for step, value in zip(steps, values, strict=True) if not math.isfinite(value)]
        if bad:
            texts.append(f"{name} is not finite in {len(bad)} of {len(steps)} rows, first at step {bad[0]}.")
    return texts


def _overfitting(run: Run) -> list[str]:
    steps, losses = run.series("val/loss")
    finite = [(loss, step) for step, loss in zip(steps, losses, strict=True) if math.isfinite(loss)]
    if len(finite) < 3:
        return []
    (lowest, at), (last, end) = min(finite), finite[-1]
    spread = max(finite)[0] - lowest
    if at == end or last - lowest < 0.1 * spread:
        return []
    return [f"val/loss was lowest at step {at} ({number(lowest)}) and ended at {number(last)}: later steps overfit."]


def _drifting(run: Run) -> list[str]:
    """Warnings of a run at its end; and chosen responses that fell, if less."""
    ends = {name: found for name in WATCHED if (found := _ends(run.series(logged_as(name))[1])) is not None}
    told = alarms(*({name: found[moment] for name, found in ends.items()} for moment in (0, 1)))
    return [*told.values(), *([] if "likelihood" in told else _displacement(run))]


def _displacement(run: Run) -> list[str]:
    """Chosen responses that become less likely while preferences are learned (2410.08847)."""
    chosen, margin = (_ends(run.series(f"train/{name}")[1]) for name in ("logp/chosen", "reward/margin"))
    if not chosen or not margin or chosen[1] >= chosen[0] or margin[1] <= margin[0]:
        return []
    return [
        f"The log-probability of chosen responses fell from {number(chosen[0])} to {number(chosen[1])} while the "
        f"reward margin grew: the model moves away from both responses. A likelihood term (algo.nll) counters it."
    ]


def _dropped(run: Run) -> list[str]:
    rows = run.dropped
    if not rows:
        return []
    reasons = Counter(row["reason"] for row in rows)
    told = "; ".join(f"{count} × {reason}" for reason, count in reasons.most_common(3))
    counted = "1 row of the data was" if len(rows) == 1 else f"{len(rows)} rows of the data were"
    return [f"{counted} left out: {told}."]


def _waste(run: Run) -> list[str]:
    padding, step, data = (cost(run, name) for name in ("data/padding_share", "time/step_s", "time/data_s"))
    drawn = (cost(run, f"time/{name}_s") for name in ("draw", "score", "read"))  # which a step waits for as well
    data -= sum(seconds for seconds in drawn if math.isfinite(seconds))
    found = []
    if padding > _WASTE:
        found.append(
            f"{padding:.0%} of the tokens were padding: loader.group_by_length=true batches rows of similar length."
        )
    if data > _WASTE * step:
        found.append(
            f"{data / step:.0%} of a step is waiting for data: more loader.workers read ahead, on cores that are free."
        )
    return found


def _ends(values: Sequence[float]) -> tuple[float, float] | None:
    """Means of the first and the last tenth of the finite values; None for fewer than ten."""
    finite = [value for value in values if math.isfinite(value)]
    if len(finite) < 10:
        return None
    tenth = len(finite) // 10
    return sum(finite[:tenth]) / tenth, sum(finite[-tenth:]) / tenth

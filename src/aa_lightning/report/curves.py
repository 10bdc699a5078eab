"""Curves of metrics.csv."""

from __future__ import annotations

import math
from collections.abc import Sequence

from aa_lightning.report.page import Html, number, section, tag
from aa_lightning.report.plot import Curve, draw, mean
from aa_lightning.runs.reader import HELDOUT, Run

MOST_POINTS = 1500  # of one curve; beyond it neighbours are averaged, or a long run makes a page of many megabytes
_PANELS: dict[str, tuple[str, ...]] = {
    "Reward of what was drawn": ("rollout/reward",),
    "Length of what was drawn": ("rollout/length",),
    "Share cut": ("rollout/cut",),
    "Share of groups with equal rewards": ("rollout/equal",),
    "Entropy of what was drawn": ("rollout/entropy",),
    "KL of what was drawn": ("rollout/kl",),
    "Held-out answers": ("answer_accuracy",),
    "Loss": ("loss",),
    "Reward margin": ("reward/margin",),
    "Reward accuracy": ("reward/accuracy",),
    "Reward": ("reward/chosen", "reward/rejected"),
    "Log-probability": ("logp/chosen", "logp/rejected"),
    "Learning rate": ("lr",),
    "Gradient norm": ("grad_norm",),
}
_COLOURS = ("c1", "c2")  # of the page's style


def curves_section(run: Run) -> Html | None:
    """The panels that every alignment run is judged by, and all others folded away."""
    if not run.metrics:
        return None
    known = [figure for title, names in _PANELS.items() if (figure := _figure(run, title, names))]
    shown = {f"{split}/{name}" for names in _PANELS.values() for name in names for split in ("train", "val")}
    shown |= {name for names in _PANELS.values() for name in names}
    columns = dict.fromkeys(name for row in run.metrics for name in row if name not in ("step", "epoch"))
    shown |= {name for name in columns if name.startswith(HELDOUT)}  # two points, which the table shows better
    rest = dict.fromkeys(name.removeprefix("train/").removeprefix("val/") for name in columns if name not in shown)
    more = [figure for name in rest if (figure := _figure(run, name, (name,)))]
    folded = tag("details", tag("summary", f"More curves ({len(more)})"), _grid(more)) if more else None
    return section("Curves", _grid(known), folded)


def _grid(figures: list[Html]) -> Html:
    return tag("div", *figures, class_="curves")


def _figure(run: Run, title: str, names: Sequence[str]) -> Html | None:
    curves = [curve for index, name in enumerate(names) for curve in _curves(run, name, index, len(names) > 1)]
    if not curves:
        return None
    entries = [
        tag("span", tag("i", class_=f"swatch {curve.colour}{' dashed' * curve.dashed}"),
            f"{curve.label} ", tag("b", number(_last(curve.values))))
        for curve in curves
    ]  # fmt: skip
    return tag("figure", tag("figcaption", tag("h3", title), tag("p", *entries)), draw(title, curves))


def _curves(run: Run, name: str, index: int, several: bool) -> list[Curve]:
    """The curve of a metric in training, in validation, or as it is named (time/step_s has no split)."""
    found = []
    for split in ("train/", "val/", ""):
        steps, values = thin(*run.series(split + name))
        if any(map(math.isfinite, values)):
            own = name.rsplit("/", 1)[-1] if several or not split else ""
            shown_split = "" if several and split == "train/" else split.rstrip("/")
            label = f"{own} {shown_split}".strip()
            found.append(Curve(split + name, label, _COLOURS[index], split == "val/", steps, values))
    return found


def thin(steps: Sequence[float], values: Sequence[float]) -> tuple[list[float], list[float]]:
    """At most MOST_POINTS points, each the mean of equally many neighbours; values that are not finite become NaN."""
    size = math.ceil(len(steps) / MOST_POINTS) or 1
    groups = [slice(start, start + size) for start in range(0, len(steps), size)]
    return [mean(steps[group]) for group in groups], [mean(values[group]) for group in groups]


def _last(values: Sequence[float]) -> float:
    return next((value for value in reversed(values) if math.isfinite(value)), math.nan)

"""Curves of metrics.csv as inline SVG. Matplotlib draws; the page's style colours, so that dark mode works."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aa_lightning.report.page import Html, escape, number, section, tag
from aa_lightning.runs.reader import HELDOUT, Run
from aa_lightning.system.shown import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_POINTS = 1500  # of one curve; beyond it neighbours are averaged, or a long run makes a page of many megabytes
_SMOOTH_FROM = 40  # points; a curve as long as this gets a running mean on top
_PANELS: dict[str, tuple[str, ...]] = {
    "Loss": ("loss",),
    "Reward margin": ("reward/margin",),
    "Reward accuracy": ("reward/accuracy",),
    "Reward": ("reward/chosen", "reward/rejected"),
    "Log-probability": ("logp/chosen", "logp/rejected"),
    "Learning rate": ("lr",),
    "Gradient norm": ("grad_norm",),
}
# matplotlib knows no CSS variables: these stand-ins are replaced in its output
_COLOURS = {"#a0b001": "var(--c1)", "#a0b002": "var(--c2)", "#a0b00e": "var(--line)", "#a0b00f": "var(--soft)"}
_CURVE_COLOURS = ("#a0b001", "#a0b002")


@dataclass(frozen=True)
class Curve:
    """One metric over steps. `metric` is its full name; values that are not finite are NaN."""

    metric: str
    label: str
    colour: str
    dashed: bool
    steps: Sequence[float]
    values: Sequence[float]


def curves_section(run: Run) -> Html | None:
    """The panels that every alignment run is judged by, and all others folded away."""
    if not run.metrics:
        return None
    known = [figure for title, names in _PANELS.items() if (figure := _figure(run, title, names))]
    shown = {f"{split}/{name}" for names in _PANELS.values() for name in names for split in ("train", "val")}
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
        tag("span", tag("i", class_=f"swatch c{_CURVE_COLOURS.index(curve.colour) + 1}{' dashed' * curve.dashed}"),
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
            found.append(Curve(split + name, label, _CURVE_COLOURS[index], split == "val/", steps, values))
    return found


def thin(steps: Sequence[float], values: Sequence[float]) -> tuple[list[float], list[float]]:
    """At most MOST_POINTS points, each the mean of equally many neighbours; values that are not finite become NaN."""
    size = math.ceil(len(steps) / MOST_POINTS) or 1
    groups = [slice(start, start + size) for start in range(0, len(steps), size)]
    return [_mean(steps[group]) for group in groups], [_mean(values[group]) for group in groups]


def running_mean(values: Sequence[float], width: int) -> list[float]:
    """The mean of the last `width` finite values at each point."""
    return [_mean(values[max(0, end - width) : end]) for end in range(1, len(values) + 1)]


def draw(title: str, curves: Sequence[Curve]) -> Html:
    """One panel as SVG; the group of each raw curve has the id `curve:<metric>`."""
    import matplotlib
    from matplotlib.figure import Figure

    fixed = {"svg.fonttype": "none", "svg.hashsalt": printable(title), "path.simplify": False, "font.size": 10}
    with matplotlib.rc_context(fixed):
        figure = Figure(figsize=(4.4, 2.4))
        axes = figure.add_axes((0.15, 0.12, 0.83, 0.77))  # given: to measure margins takes longer than all the rest
        _dress(axes)
        for curve in curves:
            _plot(axes, curve)
        out = io.StringIO()
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(out, format="svg", transparent=True, metadata=nothing)
    svg = out.getvalue()
    svg = svg[svg.index("<svg") :]
    for stand_in, colour in _COLOURS.items():
        svg = svg.replace(stand_in, colour)
    return Html(svg.replace("<svg ", f'<svg role="img" aria-label="{escape(title)}" ', 1))


def _dress(axes: Axes) -> None:
    line, soft = "#a0b00e", "#a0b00f"
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(line)
    axes.grid(axis="y", color=line, linewidth=0.7)
    axes.tick_params(colors=soft, length=0)
    axes.ticklabel_format(axis="y", style="sci", scilimits=(-3, 5))
    axes.yaxis.get_offset_text().set_color(soft)
    axes.locator_params(axis="x", nbins=6, integer=True)
    axes.locator_params(axis="y", nbins=5)
    axes.set_axisbelow(True)


def _plot(axes: Axes, curve: Curve) -> None:
    smooth = not curve.dashed and len(curve.values) >= _SMOOTH_FROM
    marker = "o" if curve.dashed or len(curve.values) < 3 else None
    (raw,) = axes.plot(
        curve.steps,
        curve.values,
        color=curve.colour,
        linewidth=0.8 if smooth else 1.8,
        alpha=0.35 if smooth else 1.0,
        linestyle="--" if curve.dashed else "-",
        marker=marker,
        markersize=3.5,
    )
    raw.set_gid(f"curve:{printable(curve.metric)}")
    if smooth:
        axes.plot(curve.steps, running_mean(curve.values, len(curve.values) // 20), color=curve.colour, linewidth=1.8)


def _mean(values: Sequence[float]) -> float:
    finite = [value for value in values if math.isfinite(value)]
    return sum(finite) / len(finite) if finite else math.nan


def _last(values: Sequence[float]) -> float:
    return next((value for value in reversed(values) if math.isfinite(value)), math.nan)

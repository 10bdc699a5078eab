"""Curves over steps as inline SVG: axes, ticks, lines. The page's style colours, so that dark mode works."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from aa_lightning.report.page import Html, tag

_WIDTH, _HEIGHT = 440, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 60, 430, 28, 212
_SMOOTH_FROM = 40  # points; a curve as long as this gets a running mean on top
_ROOM = 0.05  # of the span of all values, on each side
_PLAIN = (1e-3, 1e5)  # axes whose largest number is outside of these are written as multiples of a power of ten
_LARGEST = 1e300  # of what is drawn, so that the distance of two is a number too
_STEPS = (1, 2, 2.5, 5, 10)


@dataclass(frozen=True)
class Curve:
    """One metric over steps.

    Attributes:
        metric: its full name.
        label: its name in the legend.
        colour: c1 or c2, of the page's style.
        dashed: whether its points are few and far between, as those of a validation are.
        steps: increasing.
        values: one for each step; NaN where there is none.
    """

    metric: str
    label: str
    colour: str
    dashed: bool
    steps: Sequence[float]
    values: Sequence[float]


@dataclass(frozen=True)
class Axis:
    """Numbers from `low` to `high` on pixels from `start` to `end`."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        """The pixel of a number."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def draw(title: str, curves: Sequence[Curve]) -> Html:
    """One panel. The group of each curve has the id `curve:<metric>`, and its first path is the raw one."""
    xs = [step for curve in curves for step in curve.steps]
    ys = [value for curve in curves for value in curve.values if _is_drawn(value)]
    across, up = spanning(xs, _LEFT, _RIGHT), spanning(ys, _BOTTOM, _TOP)
    return tag(
        "svg",
        *_rows(up, ticks(up.low, up.high, 6)),
        *_columns(across, ticks(across.low, across.high, 6, whole=True)),
        *(_curve(curve, across, up) for curve in curves),
        class_="plot",
        viewBox=f"0 0 {_WIDTH} {_HEIGHT}",
        role="img",
        aria_label=title,
    )


def spanning(values: Sequence[float], start: float, end: float) -> Axis:
    """An axis on which all values have room; where they are all the same, that one lies in the middle."""
    low, high = min(values), max(values)
    room = (high - low) * _ROOM or abs(high) * _ROOM or 1.0
    return Axis(low - room, high + room, start, end)


def ticks(low: float, high: float, most: int, whole: bool = False) -> list[float]:
    """At most `most` round numbers at equal distances from `low` to `high`."""
    size = 10.0 ** math.floor(math.log10((high - low) / most))
    distances = [step * size for step in (*_STEPS, 20, 25, 50)]
    if whole:
        distances = [distance for distance in distances if distance % 1 == 0] or [1]
    distance = next(d for d in distances if math.floor(high / d) - math.ceil(low / d) < most)
    return [n * distance for n in range(math.ceil(low / distance), math.floor(high / distance) + 1)]


def written(numbers: Sequence[float]) -> tuple[list[str], str]:
    """Numbers of an axis with the digits that tell them apart, and the power of ten that they are multiples of."""
    largest = max(map(abs, numbers), default=0.0)
    exponent = 0 if largest == 0 or _PLAIN[0] <= largest < _PLAIN[1] else math.floor(math.log10(largest))
    scaled = [number / 10.0**exponent for number in numbers]
    gap = min((b - a for a, b in pairwise(scaled)), default=1.0)
    digits = next((d for d in range(8) if abs(gap * 10**d - round(gap * 10**d)) < 1e-6), 8)
    texts = [f"{number:.{digits}f}".replace("-", "−") for number in scaled]
    return texts, f"×10{_raised(exponent)}" if exponent else ""


def running_mean(values: Sequence[float], width: int) -> list[float]:
    """The mean of the last `width` finite values at each point."""
    return [mean(values[max(0, end - width) : end]) for end in range(1, len(values) + 1)]


def mean(values: Sequence[float]) -> float:
    """The mean of the finite ones; NaN where there is none."""
    finite = [value for value in values if math.isfinite(value)]
    return sum(finite) / len(finite) if finite else math.nan


def _rows(up: Axis, numbers: Sequence[float]) -> list[Html]:
    texts, power = written(numbers)
    marks = []
    for number, text in zip(numbers, texts, strict=True):
        y = f"{up.at(number):.1f}"
        marks.append(tag("line", class_="grid", x1=str(_LEFT), x2=str(_RIGHT), y1=y, y2=y))
        marks.append(tag("text", text, x=str(_LEFT - 6), y=y, dy="0.35em", text_anchor="end"))
    return [*marks, tag("text", power, x=str(_LEFT), y=str(_TOP - 12))] if power else marks


def _columns(across: Axis, numbers: Sequence[float]) -> list[Html]:
    texts, power = written(numbers)
    bottom = tag("line", class_="base", x1=str(_LEFT), x2=str(_RIGHT), y1=str(_BOTTOM), y2=str(_BOTTOM))
    places = zip(numbers, texts, strict=True)
    marks = [
        tag("text", text, x=f"{across.at(n):.1f}", y=str(_BOTTOM + 20), text_anchor="middle") for n, text in places
    ]
    return [
        bottom,
        *marks,
        *([tag("text", power, x=str(_RIGHT), y=str(_BOTTOM - 6), text_anchor="end")] if power else []),
    ]


def _curve(curve: Curve, across: Axis, up: Axis) -> Html:
    smooth = not curve.dashed and len(curve.values) >= _SMOOTH_FROM
    classes = f"{curve.colour}{' faint' * smooth}{' dashed' * curve.dashed}"
    lines = [tag("path", class_=classes, d=_path(curve.steps, curve.values, across, up))]
    if smooth:
        means = running_mean(curve.values, len(curve.values) // 20)
        lines.append(tag("path", class_=curve.colour, d=_path(curve.steps, means, across, up)))
    if curve.dashed or len(curve.values) < 3:
        lines += [
            tag("circle", class_=curve.colour, cx=f"{across.at(step):.1f}", cy=f"{up.at(value):.1f}", r="2.5")
            for step, value in zip(curve.steps, curve.values, strict=True)
            if _is_drawn(value)
        ]
    return tag("g", *lines, id=f"curve:{curve.metric}")


def _path(steps: Sequence[float], values: Sequence[float], across: Axis, up: Axis) -> str:
    """One command for each value: a move where the one before is missing, a line where it is there."""
    commands, before = [], False
    for step, value in zip(steps, values, strict=True):
        there = _is_drawn(value)
        if there:
            command = "L{} {}" if before else "M{} {}h0"  # a point alone is a dot
            commands.append(command.format(f"{across.at(step):.1f}", f"{up.at(value):.1f}"))
        before = there
    return "".join(commands)


def _is_drawn(value: float) -> bool:
    return abs(value) < _LARGEST  # which NaN is not


def _raised(exponent: int) -> str:
    return str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))

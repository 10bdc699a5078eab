"""The cost of a run, the data that it left out, and the command that repeats it."""

from __future__ import annotations

import math
import platform
from importlib.metadata import PackageNotFoundError, version
from statistics import median

from aa_lightning.report.page import Html, number, section, table, tag
from aa_lightning.runs.reader import Run

_COSTS = {
    "throughput/prompts_per_s": ("prompts per second", 1),
    "throughput/tokens_per_s": ("tokens per second", 1),
    "throughput/train_s": ("seconds of training", 1),
    "time/step_s": ("seconds per step", 1),
    "time/data_s": ("seconds per step waiting for data", 1),
    "data/padding_share": ("% padding", 100),
    "memory/peak_gib": ("GiB peak memory", 1),
}
_PACKAGES = ("aa-lightning", "torch", "lightning", "transformers", "diffusers", "peft", "deepspeed")
_SHOWN_DROPPED = 50


def cost_section(run: Run) -> Html | None:
    """Throughput, memory and padding: as summarised, else the median of what was logged."""
    known = {name: cost(run, name) for name in _COSTS}
    tiles = [
        tag("div", tag("b", number(value * _COSTS[name][1])), tag("span", _COSTS[name][0]), class_="tile")
        for name, value in known.items()
        if not math.isnan(value)
    ]
    return section("Speed and memory", tag("div", *tiles, class_="tiles")) if tiles else None


def cost(run: Run, name: str) -> float:
    """One cost of a run under its metric name (`time/step_s`, or `step_s` alone); NaN if it is recorded nowhere."""
    for part in ("throughput", "memory", "train"):
        recorded = run.summary.get(part) or {}
        for key in (name, name.rsplit("/", 1)[-1]):
            if recorded.get(key) is not None:
                return float(recorded[key])
    logged = [value for value in run.series(name)[1] if math.isfinite(value)]
    return median(logged) if logged else math.nan


def dropped_section(run: Run) -> Html | None:
    """The rows that training did not see, each with its reason."""
    rows = run.dropped
    if not rows:
        return None
    cells = [[row["row"], row["column"], row["reason"]] for row in rows[:_SHOWN_DROPPED]]
    more = f"and {len(rows) - _SHOWN_DROPPED} more" if len(rows) > _SHOWN_DROPPED else None
    listing = tag("details", tag("summary", "Which, and why"), table(("row", "column", "reason"), cells), more)
    return section(f"Dropped rows ({len(rows)})", listing)


def repeat_section(run: Run) -> Html:
    """The command, the files, the configuration and the versions."""
    config = run.place.config
    folded = [("Configuration", config.read_text(encoding="utf-8", errors="replace"))] if config.is_file() else []
    if run.error:
        folded.insert(0, ("Error", run.error))
    return section(
        "Repeat it",
        tag("pre", run.command) if run.command else None,
        tag("p", *_links(run), class_="links"),
        *(tag("details", tag("summary", title), tag("pre", text)) for title, text in folded),
        tag("p", _versions(run), class_="note"),
    )


def _links(run: Run) -> list[Html]:
    place = run.place
    paths = (place.export, place.checkpoints, place.samples, place.events, place.summary, place.metrics, place.config)
    return [tag("a", path.name, href=path.name) for path in paths if path.exists()]


def _versions(run: Run) -> str:
    recorded = run.summary.get("versions")
    if recorded:
        return f"Ran with {_list(recorded)}."
    found = {"Python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return f"This page was written with {_list(found)}."


def _list(versions: dict[str, str]) -> str:
    return ", ".join(f"{name} {release}" for name, release in versions.items())

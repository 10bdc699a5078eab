"""Differences from the algorithm as its own file has it, and what set it."""

from __future__ import annotations

from aa_lightning.configuration.wording import show
from aa_lightning.report.page import Html, section, table
from aa_lightning.runs.reader import Run


def changes_section(run: Run) -> Html | None:
    """A row for each value; a run that was cut off has them in its configuration."""
    changed = run.summary.get("changed") or run.config.get("changed") or []
    if not changed:
        return None
    cells = [[one["key"], show(one["value"]), show(one["default"]), one["from"]] for one in changed]
    return section("Other than the algorithm's own file", table(("option", "here", "in the file", "set by"), cells))

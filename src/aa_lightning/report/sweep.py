"""The table at the end of a sweep: every job's overrides, objective, held-out numbers and time, best first.

Jobs are ordered by one measure that all of them have, the first of `evaluation.catalogue.OBJECTIVES`; where there is none,
each has its own, named in its row.

    python -m aa_lightning.sweep outputs/sweeps/<date>/<time>

`SweepTable` prints it at the end of every `-m` run, with any sweeper and launcher:

    hydra:
      callbacks:
        sweep_table:
          _target_: aa_lightning.report.sweep_callback.SweepTable
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aa_lightning.evaluation.catalogue import OBJECTIVES, objective_of
from aa_lightning.report.heldout import measures
from aa_lightning.report.page import Html, address, number, page, tag
from aa_lightning.report.page import table as html_table
from aa_lightning.runs.reader import Run, find_runs
from aa_lightning.system.atomic import write_text
from aa_lightning.system.shown import inert, one_line, printable

_WIDEST = 60  # characters of a cell in the terminal


def minimizes(runs: Sequence[Run]) -> bool:
    """Tell whether the sweep looked for the smallest objective: only a sweeper that was told so does (optuna)."""
    return any("minimize" in str(run.hydra.get("sweeper", {}).get("direction")).lower() for run in runs)


def compared(runs: Sequence[Run]) -> str | None:
    """The measure that runs are ordered by: the first one that all of them have, of those with any; None: there is none."""
    found = [after for after in map(_after, runs) if objective_of(after) is not None]
    return next((name for name in OBJECTIVES if found and all(name in after for after in found)), None)


def ranked(runs: Sequence[Run]) -> list[Run]:
    """The best objective first, runs with different ones apart; runs without one last, in their own order."""
    sign = 1 if minimizes(runs) else -1
    shared, names = compared(runs), [*OBJECTIVES, None]

    def place(run: Run) -> tuple[bool, int, float]:
        name, value = _objective(run, shared)
        return math.isnan(value), names.index(name), 0.0 if math.isnan(value) else sign * value

    return sorted(runs, key=place)


def varied(runs: Sequence[Run]) -> tuple[list[str], dict[str, str]]:
    """The override keys that differ between runs, and those that all runs share with their value."""
    keys = dict.fromkeys(key for run in runs for key in run.overrides)
    values = {key: {run.overrides.get(key) for run in runs} for key in keys}
    constant = {key: runs[0].overrides[key] for key in keys if len(values[key]) == 1}
    return [key for key in keys if key not in constant], constant


def rows(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """One flat dict per job, best first: job, status, the varied overrides, objective and which measure that is, held-out,
    seconds, error."""
    (keys, _), shared = varied(runs), compared(runs)
    names = dict.fromkeys(measure.name for run in runs for measure in measures(run))
    found = []
    for run in ranked(runs):
        row: dict[str, Any] = {"job": run.name, "status": run.status}
        row |= {key: run.overrides.get(key, "") for key in keys}
        name, row["objective"] = _objective(run, shared)
        row["measure"] = name or ""
        held = {measure.name: (measure.before, measure.after) for measure in measures(run)}
        for name in names:
            row[f"{name} before"], row[f"{name} after"] = held.get(name, (math.nan, math.nan))
        row["seconds"] = _seconds(run)
        row["error"] = _error(run)
        found.append(row)
    return found


def table(runs: Sequence[Run]) -> str:
    """The sweep as text for a terminal: varied overrides, objective, held-out numbers before → after, time, errors."""
    shown = _shown(runs)
    lines = [[one_line(key) for key in shown[0]], *([_clip(one_line(cell)) for cell in row.values()] for row in shown)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    text = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    return "\n".join([one_line(_title(runs)), text[0], "  ".join("─" * width for width in widths), *text[1:]])


def write_sweep(folder: str | Path) -> Path:
    """Write sweep.csv, sweep.json and sweep.html into a multirun folder and return the path of the page.

    Raises:
        ValueError: no job has left a run folder in it.
    """
    folder = Path(folder)
    runs = find_runs(folder)
    found = rows(runs)
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow([inert(name) for name in found[0]])
    writer.writerows([inert(cell) for cell in row.values()] for row in found)
    write_text(folder / "sweep.csv", text.getvalue())
    plain = [{key: _finite(value) for key, value in row.items()} for row in found]
    write_text(folder / "sweep.json", json.dumps(plain, indent=1))
    path = folder / "sweep.html"
    write_text(path, _page(folder, runs))
    return path


# ---------------------------------------------------------------- cells


def _title(runs: Sequence[Run]) -> str:
    _, constant = varied(runs)
    states = [run.status for run in runs]
    counted = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    shared = " ".join(f"{key}={value}" for key, value in constant.items())
    return " · ".join(filter(None, (f"{len(runs)} jobs ({counted})", shared, _order(runs))))


def _order(runs: Sequence[Run]) -> str:
    """In which order the jobs stand."""
    order, name = "smallest" if minimizes(runs) else "largest", compared(runs)
    if name is not None:
        return f"{order} {_label(name)} first"
    apart = any(objective_of(_after(run)) for run in runs)
    return f"no measure that all have: {order} of its own first" if apart else f"{order} objective first"


def _after(run: Run) -> dict[str, float]:
    """Held-out measures after training."""
    return {name: after for name, (_, after) in run.heldout.items() if not math.isnan(after)}


def _objective(run: Run, name: str | None) -> tuple[str | None, float]:
    """A measure of a run, or the run's own objective; and its name, where that is known."""
    if name is None:
        return objective_of(_after(run)), run.objective
    return name, _after(run).get(name, math.nan)


def _label(name: str) -> str:
    return name.replace("_", " ")


def _seconds(run: Run) -> float:
    """From the job's start to its summary, by the times at which Hydra and the run wrote their files."""
    started, ended = run.place.typed, run.place.summary
    if not (started.is_file() and ended.is_file()):
        return math.nan
    return ended.stat().st_mtime - started.stat().st_mtime


def _shown(runs: Sequence[Run]) -> list[dict[str, str]]:
    """One dict of cells per job, best first; columns without any content are left out."""
    (keys, _), shared = varied(runs), compared(runs)
    labels = dict.fromkeys(measure.label for run in runs for measure in measures(run))
    found = []
    for run in ranked(runs):
        moved = {one.label: f"{one.show(one.before)} → {one.show(one.after)}" for one in measures(run)}
        row = {"job": run.name, "status": run.status}
        row |= {key: run.overrides.get(key, "") for key in keys}
        name, value = _objective(run, shared)
        row["objective"] = _blank_or(number(value), value)
        row["of"] = _label(name) if name and shared is None else ""
        row |= {label: moved.get(label, "") for label in labels}
        row["seconds"] = _blank_or(f"{_seconds(run):.0f}", _seconds(run))
        row["error"] = _error(run)
        found.append(row)
    filled = [key for key in found[0] if any(row[key] for row in found)]
    return [{key: row[key] for key in filled} for row in found]


def _error(run: Run) -> str:
    return (run.error or "").partition("\n")[0] if run.status == "failed" else ""


def _blank_or(text: str, value: float) -> str:
    return "" if math.isnan(value) else text


def _clip(cell: str) -> str:
    return cell if len(cell) <= _WIDEST else cell[: _WIDEST - 1] + "…"


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _page(folder: Path, runs: Sequence[Run]) -> Html:
    shown = _shown(runs)
    head = [key for key in shown[0] if key != "error"]
    body = []
    for run, row in zip(ranked(runs), shown, strict=True):
        job = tag("div", _job(run, folder), tag("span", _error(run), class_="bad wrap"))
        body.append([job, *(row[key] for key in head[1:])])
    return page(
        f"Sweep {folder.name}",
        tag("h1", f"Sweep {folder.name}"),
        tag("p", _title(runs), class_="facts"),
        html_table(head, body, class_="numbers"),
        tag("p", *(tag("a", name, href=name) for name in ("sweep.csv", "sweep.json")), class_="links"),
    )


def _job(run: Run, folder: Path) -> str:
    report = run.place.report
    return tag("a", run.name, href=address(report.relative_to(folder))) if report.is_file() else run.name


def main() -> None:
    parser = argparse.ArgumentParser("python -m aa_lightning.sweep", description="Collect the jobs of a sweep.")
    parser.add_argument("folder", help="a sweep folder, such as outputs/sweeps/<date>/<time>")
    folder = parser.parse_args().folder
    try:
        path = write_sweep(folder)
    except ValueError as error:
        parser.error(printable(error))
    print(printable(f"{table(find_runs(folder))}\n\n{path}"))


if __name__ == "__main__":
    main()

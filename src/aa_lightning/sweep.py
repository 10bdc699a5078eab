"""The table at the end of a sweep: every job's overrides, objective, held-out numbers and time, best first.

    python -m aa_lightning.sweep outputs/sweeps/<date>/<time>

`SweepTable` prints it at the end of every `-m` run, with any sweeper and launcher:

    hydra:
      callbacks:
        sweep_table:
          _target_: aa_lightning.sweep.SweepTable
"""

from __future__ import annotations

import argparse
import atexit
import contextlib
import csv
import io
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback

from aa_lightning.report.heldout import measures
from aa_lightning.report.page import Html, number, page, tag
from aa_lightning.report.page import table as html_table
from aa_lightning.runs import Run, find_runs

_WIDEST = 60  # characters of a cell in the terminal


def minimizes(runs: Sequence[Run]) -> bool:
    """Whether the sweep looked for the smallest objective: only a sweeper that was told so does (optuna)."""
    return any("minimize" in str(run.hydra.get("sweeper", {}).get("direction")).lower() for run in runs)


def ranked(runs: Sequence[Run]) -> list[Run]:
    """The best objective first; runs without one last, in their own order."""
    sign = 1 if minimizes(runs) else -1
    return sorted(runs, key=lambda run: math.inf if math.isnan(run.objective) else sign * run.objective)


def varied(runs: Sequence[Run]) -> tuple[list[str], dict[str, str]]:
    """The override keys that differ between runs, and those that all runs share with their value."""
    keys = dict.fromkeys(key for run in runs for key in run.overrides)
    values = {key: {run.overrides.get(key) for run in runs} for key in keys}
    constant = {key: runs[0].overrides[key] for key in keys if len(values[key]) == 1}
    return [key for key in keys if key not in constant], constant


def rows(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """One flat dict per job, best first: job, status, the varied overrides, objective, held-out, seconds, error."""
    keys, _ = varied(runs)
    names = dict.fromkeys(measure.name for run in runs for measure in measures(run))
    found = []
    for run in ranked(runs):
        row: dict[str, Any] = {"job": run.name, "status": run.status}
        row |= {key: run.overrides.get(key, "") for key in keys}
        row["objective"] = run.objective
        held = {measure.name: (measure.before, measure.after) for measure in measures(run)}
        for name in names:
            row[f"{name} before"], row[f"{name} after"] = held.get(name, (math.nan, math.nan))
        row["seconds"] = _seconds(run)
        row["error"] = (run.error or "").partition("\n")[0] if run.status == "failed" else ""
        found.append(row)
    return found


def table(runs: Sequence[Run]) -> str:
    """The sweep as text for a terminal: the varied overrides, objective, held-out numbers after training, time."""
    shown = [{key: _cell(key, value) for key, value in row.items()} for row in rows(runs)]
    head = [key for key in shown[0] if not key.endswith(" before") and any(row[key] for row in shown)]
    lines = [[key.removesuffix(" after") for key in head], *([row[key] for key in head] for row in shown)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    text = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    return "\n".join([_title(runs), text[0], "  ".join("─" * width for width in widths), *text[1:]])


def write_sweep(folder: str | Path) -> Path:
    """Write sweep.csv, sweep.json and sweep.html into a multirun folder and return the path of the page.

    Raises:
        ValueError: no job has left a run folder in it.
    """
    folder = Path(folder)
    runs = find_runs(folder)
    found = rows(runs)
    with (folder / "sweep.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(found[0]))
        writer.writeheader()
        writer.writerows(found)
    plain = [{key: _finite(value) for key, value in row.items()} for row in found]
    (folder / "sweep.json").write_text(json.dumps(plain, indent=1), encoding="utf-8")
    path = folder / "sweep.html"
    path.write_text(_page(folder, runs), encoding="utf-8")
    return path


class SweepTable(Callback):
    """Prints the table and writes sweep.csv, sweep.json and sweep.html when a sweep ends.

    Hydra does not reach `on_multirun_end` once a job has failed, so the table is also due when the process ends.
    """

    def on_multirun_start(self, config: Any, **kwargs: Any) -> None:
        self._folder = Path(config.hydra.sweep.dir).absolute()
        atexit.register(self._finish)

    def on_job_end(self, config: Any, job_return: Any, **kwargs: Any) -> None:
        """Leave error.txt in the folder of a job that failed, where the job itself did not."""
        path = Path(config.hydra.runtime.output_dir) / "error.txt"
        try:
            with contextlib.redirect_stderr(io.StringIO()):  # Hydra prints a line for each look at a failed result
                _ = job_return.return_value
        except Exception as error:  # whatever the job raised
            if not path.is_file():
                path.write_text(f"{type(error).__name__}: {error}\n", encoding="utf-8")

    def on_multirun_end(self, config: Any, **kwargs: Any) -> None:
        self._finish()

    def _finish(self) -> None:
        atexit.unregister(self._finish)
        if not self._folder.is_dir():
            return  # the sweep ended before its first job
        try:
            path = write_sweep(self._folder)
        except ValueError as error:
            print(f"No sweep table: {error}", file=sys.stderr)
            return
        print(f"\n{table(find_runs(self._folder))}\n\n{path}", flush=True)


# ---------------------------------------------------------------- cells


def _title(runs: Sequence[Run]) -> str:
    _, constant = varied(runs)
    states = [run.status for run in runs]
    counted = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    shared = " ".join(f"{key}={value}" for key, value in constant.items())
    order = "smallest" if minimizes(runs) else "largest"
    return " · ".join(filter(None, (f"{len(runs)} jobs ({counted})", shared, f"{order} objective first")))


def _seconds(run: Run) -> float:
    """From the job's start to its summary, by the times at which Hydra and the run wrote their files."""
    started, ended = run.folder / ".hydra" / "overrides.yaml", run.folder / "summary.json"
    if not (started.is_file() and ended.is_file()):
        return math.nan
    return ended.stat().st_mtime - started.stat().st_mtime


def _cell(key: str, value: Any) -> str:
    if not isinstance(value, float):
        return value if len(value) <= _WIDEST else value[: _WIDEST - 1] + "…"
    if math.isnan(value):
        return ""
    return f"{value:.0f}" if key == "seconds" else number(value)


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _page(folder: Path, runs: Sequence[Run]) -> Html:
    found = rows(runs)
    head = [key for key in found[0] if any(_cell(key, row[key]) for row in found)]
    pairs = zip(ranked(runs), found, strict=True)
    body = [[_html_cell(run, folder, key, row[key]) for key in head] for run, row in pairs]
    return page(
        f"Sweep {folder.name}",
        tag("h1", f"Sweep {folder.name}"),
        tag("p", _title(runs), class_="facts"),
        html_table(head, body, class_="numbers"),
        tag("p", *(tag("a", name, href=name) for name in ("sweep.csv", "sweep.json")), class_="links"),
    )


def _html_cell(run: Run, folder: Path, key: str, value: Any) -> str:
    if key == "job" and (run.folder / "report.html").is_file():
        return tag("a", value, href=(run.folder / "report.html").relative_to(folder).as_posix())
    if key == "error":
        return tag("span", value, class_="bad wrap")
    return value if isinstance(value, str) else _cell(key, value)


def main() -> None:
    parser = argparse.ArgumentParser("python -m aa_lightning.sweep", description="Collect the jobs of a sweep.")
    parser.add_argument("folder", help="a sweep folder, such as outputs/sweeps/<date>/<time>")
    folder = parser.parse_args().folder
    try:
        path = write_sweep(folder)
    except ValueError as error:
        parser.error(str(error))
    print(f"{table(find_runs(folder))}\n\n{path}")


if __name__ == "__main__":
    main()

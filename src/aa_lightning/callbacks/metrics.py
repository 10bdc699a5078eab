"""metrics.csv: one row per logged step, complete at any moment, continued by a resumed run."""

from __future__ import annotations

import csv
import io
from argparse import Namespace
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only

from aa_lightning.atomic import write_text
from aa_lightning.console import say
from aa_lightning.shown import inert, of_inert, one_line


class MetricsCsv(Logger):
    """Lightning's own CSV logger deletes the file when a run resumes; this one goes on with it.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path):
        super().__init__()
        self.path = path
        self._columns, self._last = ["step", "epoch"], -1
        self._torn = self._spoiled = False  # whether a kill cut the last line, or any line is none of ours
        if path.is_file():
            self._torn = not path.read_bytes().endswith(b"\n")
            names, rows = self._read()
            lost = len(rows) - len(rows := [row for row in rows if _is_whole(row)])
            self._spoiled = self._torn or lost > 0
            if lost:
                say(f"{path}: {lost} rows are damaged, and left out from now on")
            self._columns = names if {"step", "epoch"} <= {*names} else self._columns
            self._last = int(rows[-1]["step"]) if rows else -1

    @property
    def name(self) -> str:
        return "metrics"

    @property
    def version(self) -> str:
        return ""

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """The configuration stands in config.yaml."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        row = {"step": step, **{one_line(key): f"{value:.8g}" for key, value in metrics.items()}}
        if "epoch" in metrics:
            row["epoch"] = int(metrics["epoch"])
        new = [key for key in row if key not in self._columns]
        self._columns += new
        later, self._last = self._last < step, step
        if not new and not self._spoiled and later:
            self._append(row)
            return
        rows = [known for known in self._read()[1] if _is_whole(known)]
        self._torn = self._spoiled = False
        same = [known for known in rows if int(known["step"]) == step]  # validation, or a resumed run's first row
        earlier = [known for known in rows if int(known["step"]) < step]  # a killed run may have got further
        self._rewrite([*earlier, {**(same[0] if same else {}), **row}])

    def latest(self, prefix: str) -> dict[str, float]:
        """The values of the last row that has any whose name begins so."""
        for row in filter(_is_whole, reversed(self._read()[1])):
            found = {
                key: float(value) for key, value in row.items() if key.startswith(prefix) and value not in ("", None)
            }
            if found:
                return found
        return {}

    def _read(self) -> tuple[list[str], list[dict[str, str]]]:
        """Columns and rows of the file, but a last line that a kill cut. They are not kept: a long run has many."""
        if not self.path.is_file():
            return [], []
        with self.path.open(newline="", encoding="utf-8", errors="replace") as file:
            lines = list(csv.reader(file))
        head, *cells = (lines[:-1] if self._torn else lines) or [[]]
        names = [of_inert(name) for name in head]
        return names, [dict(zip(names, row, strict=False)) for row in cells]

    def _append(self, row: dict[str, Any]) -> None:
        if not self.path.is_file():
            self._rewrite([row])
            return
        with self.path.open("a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, self._columns).writerow(row)

    def _rewrite(self, rows: list[dict[str, Any]]) -> None:
        text = io.StringIO(newline="")
        csv.writer(text).writerow([inert(name) for name in self._columns])
        csv.DictWriter(text, self._columns).writerows(rows)
        write_text(self.path, text.getvalue())


def _is_whole(row: dict[str, str]) -> bool:
    """Whether a row is one that a run wrote: a step, and numbers or nothing."""
    try:
        int(row["step"])
        return [float(value) for value in row.values() if value] != []
    except (KeyError, ValueError):
        return False

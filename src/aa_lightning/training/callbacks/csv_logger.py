"""metrics.csv: one row per logged step, complete at any moment, continued by a resumed run."""

from __future__ import annotations

import csv
import io
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only

from aa_lightning.system.atomic import written
from aa_lightning.system.console import say
from aa_lightning.system.shown import inert, of_inert, one_line


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
            self._look_through()

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
        self._rewrite(row)
        self._torn = self._spoiled = False

    def latest(self, prefix: str) -> dict[str, float]:
        """The values of the last row that has any whose name begins so."""
        found: dict[str, float] = {}
        for row in filter(_is_whole, self._rows()):
            found = {key: float(value) for key, value in row.items() if key.startswith(prefix) and value} or found
        return found

    def _look_through(self) -> None:
        """Find out what stands in the file of a run that goes on."""
        with self.path.open(newline="", encoding="utf-8", errors="replace") as file:
            names = [of_inert(name) for name in next(csv.reader(file), [])]
        self._columns = names if {"step", "epoch"} <= {*names} else self._columns
        lost = 0
        for row in self._rows():
            if _is_whole(row):
                self._last = int(row["step"])
            else:
                lost += 1
        self._spoiled = self._torn or lost > 0
        if lost:
            say(f"{self.path}: {lost} rows are damaged, and left out from now on")

    def _rows(self) -> Iterator[dict[str, str]]:
        """The rows of the file, but a last line that a kill cut. One by one: a long run has more than should be held."""
        if not self.path.is_file():
            return
        with self.path.open(newline="", encoding="utf-8", errors="replace") as file:
            lines = csv.reader(file)
            names = [of_inert(name) for name in next(lines, [])]
            before = None
            for cells in lines:
                if before is not None:
                    yield before
                before = dict(zip(names, cells, strict=False))
            if before is not None and not self._torn:
                yield before

    def _append(self, row: dict[str, Any]) -> None:
        if not self.path.is_file():
            self._rewrite(row)
            return
        with self.path.open("a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, self._columns).writerow(row)

    def _rewrite(self, row: dict[str, Any]) -> None:
        """The whole file with a row at its end: what stood at its step already (validation, or a resumed run's first row)
        stays in it, later rows go (a killed run may have got further)."""
        same: dict[str, str] = {}
        with written(self.path) as raw:
            file = io.TextIOWrapper(raw, encoding="utf-8", newline="")
            csv.writer(file).writerow([inert(name) for name in self._columns])
            writer = csv.DictWriter(file, self._columns)
            for known in filter(_is_whole, self._rows()):
                if int(known["step"]) < int(row["step"]):
                    writer.writerow(known)
                elif int(known["step"]) == int(row["step"]):
                    same = same or known
            writer.writerow({**same, **row})
            file.detach()  # flushed, and left open for its owner


def _is_whole(row: dict[str, str]) -> bool:
    """Tell whether a row is one that a run wrote: a step, and numbers or nothing."""
    try:
        int(row["step"])
        return [float(value) for value in row.values() if value] != []
    except (KeyError, ValueError):
        return False

"""metrics.csv: one row per logged step, complete at any moment, continued by a resumed run."""

from __future__ import annotations

import csv
import os
from argparse import Namespace
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only


class MetricsCsv(Logger):
    """Lightning's own CSV logger deletes the file when a run resumes; this one goes on with it.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path):
        super().__init__()
        self.path = path
        self._columns = ["step", "epoch"]
        self._rows: list[dict[str, Any]] = []
        self._torn = False  # whether a kill cut the last line
        if path.is_file():
            lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
            self._torn = not lines or not lines[-1].endswith("\n")
            reader = csv.DictReader(lines[:-1] if self._torn else lines)
            self._rows = list(reader)
            self._columns = list(reader.fieldnames or self._columns)

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
        row = {"step": step, **{key: f"{value:.8g}" for key, value in metrics.items()}}
        if "epoch" in metrics:
            row["epoch"] = int(metrics["epoch"])
        new = [key for key in row if key not in self._columns]
        self._columns += new
        if not new and not self._torn and self._last_step() < step:
            self._rows.append(row)
            self._append(row)
            return
        same = [known for known in self._rows if int(known["step"]) == step]  # validation, or a resumed run's first row
        earlier = [known for known in self._rows if int(known["step"]) < step]  # a killed run may have got further
        self._rows, self._torn = [*earlier, {**(same[0] if same else {}), **row}], False
        self._rewrite()

    def latest(self, prefix: str) -> dict[str, float]:
        """The values of the last row that has any whose name begins so."""
        for row in reversed(self._rows):
            found = {
                key: float(value) for key, value in row.items() if key.startswith(prefix) and value not in ("", None)
            }
            if found:
                return found
        return {}

    def _last_step(self) -> int:
        return int(self._rows[-1]["step"]) if self._rows else -1

    def _append(self, row: dict[str, Any]) -> None:
        fresh = not self.path.is_file()
        with self.path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self._columns)
            if fresh:
                writer.writeheader()
            writer.writerow(row)

    def _rewrite(self) -> None:
        aside = self.path.with_suffix(".partial")
        with aside.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self._columns)
            writer.writeheader()
            writer.writerows(self._rows)
        os.replace(aside, self.path)

"""Run folders read back: what a report, a sweep table or a notebook looks at. Imports no torch.

For notebooks:

    runs = find_runs("outputs")
    runs[0].heldout["preference_accuracy"]      # (0.52, 0.91): before, after
    runs[0].series("train/loss")                # ([10, 20, …], [0.69, 0.66, …])
    pandas.DataFrame(frame(runs))               # one row per run
"""

from __future__ import annotations

import contextlib
import csv
import json
import math
import shlex
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from aa_lightning.configuration.nested import leaves
from aa_lightning.configuration.plain_yaml import read_mapping
from aa_lightning.runs.layout import RunFolder
from aa_lightning.runs.received import settings_of
from aa_lightning.system.shown import of_inert

Status = Literal["finished", "failed", "unfinished"]
HELDOUT = "heldout/"


class Run:
    """One run folder. Files are read when they are first asked for; a run that was cut off has only some of them.

    Raises:
        ValueError: the folder is no run folder; the message says what is missing and what to give instead.
    """

    def __init__(self, folder: str | Path):
        self.folder, self.place = Path(folder), RunFolder(folder)
        if not is_run(self.folder):
            raise ValueError(_no_run(self.folder))

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r}, {self.status})"

    @property
    def name(self) -> str:
        return self.folder.resolve().name

    @cached_property
    def config(self) -> dict[str, Any]:
        """The resolved configuration; of a run that failed before it was resolved, the composed one."""
        return read_mapping(self.place.config if self.place.config.is_file() else self.place.composed)

    @cached_property
    def summary(self) -> dict[str, Any]:
        """summary.json; empty where the run did not finish."""
        return _read_json(self.place.summary, {})

    @cached_property
    def metrics(self) -> list[dict[str, float]]:
        """metrics.csv, a dict per row; empty cells are left out, `nan` and `inf` are kept."""
        path = self.place.metrics
        return _read_metrics(path.read_text(encoding="utf-8", errors="replace")) if path.is_file() else []

    @cached_property
    def samples(self) -> dict[str, list[dict[str, Any]]]:
        """Samples, under `before` and `after`, as far as present."""
        found = {moment: _read_json(self.place.samples / f"{moment}.json", []) for moment in ("before", "after")}
        return {moment: rows for moment, rows in found.items() if rows}

    @cached_property
    def drawn(self) -> dict[str, list[dict[str, Any]]]:
        """Responses drawn in training with their rewards, under `drawn_first` and `drawn_latest`, as far as present."""
        names = ("drawn_first", "drawn_latest")
        return {name: _read_json(self.place.samples / f"{name}.json", []) for name in names}

    @cached_property
    def hydra(self) -> dict[str, Any]:
        """The record of Hydra about itself (.hydra/hydra.yaml); empty for a run that Python code started."""
        path = self.place.settings
        return _section(read_mapping(path), "hydra") if path.is_file() else {}

    @cached_property
    def typed(self) -> list[str]:
        """Overrides as they were typed: `["algo=dpo", "+algo.beta=0.1"]`; empty for a run that Python code started."""
        return settings_of(self.folder) if self.place.typed.is_file() else []

    @property
    def overrides(self) -> dict[str, str]:
        """Overrides by key: `{"algo": "dpo", "algo.beta": "0.1"}`."""
        return dict(_key_value(item) for item in self.typed)

    @property
    def command(self) -> str | None:
        """The command that repeats the run, or None if that is not recorded."""
        name = self.hydra.get("job", {}).get("name")
        if name is None:
            return self.summary.get("command")
        return shlex.join(["python", "-m", f"aa_lightning.{name}", *self.typed])

    @property
    def dropped(self) -> list[dict[str, str]]:
        """The rows that training left out: row, column, reason."""
        rows = [row if isinstance(row, dict) else {"reason": row} for row in self.summary.get("dropped") or []]
        return [{key: str(row.get(key, "")) for key in ("row", "column", "reason")} for row in rows]

    @property
    def error(self) -> str | None:
        """Why the run failed (error.txt), or None."""
        path = self.place.error
        return path.read_text(encoding="utf-8", errors="replace").strip() if path.is_file() else None

    @property
    def status(self) -> Status:
        if self.summary:
            return "finished"
        return "unfinished" if self.error is None else "failed"

    @property
    def objective(self) -> float:
        """The number that a sweep compares; NaN where there is none."""
        return _number(self.summary.get("objective"))

    def choice(self, group: str) -> str | None:
        """Return the option of a config group (`algo`, `model`, `data` …) the run used, or None if it is not recorded."""
        chosen = self.hydra.get("runtime", {}).get("choices", {}).get(group)
        return chosen or self.summary.get(group)

    @cached_property
    def heldout(self) -> dict[str, tuple[float, float]]:
        """Held-out measure → (before, after), without the `heldout/` prefix; NaN where one was not measured."""
        before, after = (_numbers(self.summary.get(moment)) for moment in ("before", "after"))
        names = [name for name in {**after, **before} if name.startswith(HELDOUT)]
        return {name.removeprefix(HELDOUT): (before.get(name, math.nan), after.get(name, math.nan)) for name in names}

    def series(self, name: str) -> tuple[list[int], list[float]]:
        """Steps and values of one logged metric, in the order of logging."""
        rows = [row for row in self.metrics if name in row]
        return [int(row["step"]) for row in rows], [row[name] for row in rows]

    def media(self, name: str) -> Path | None:
        """Locate a media file of a sample; None if it is not there or lies outside of the run folder."""
        root = self.folder.resolve()
        for folder in (RunFolder(root).samples, root):
            with contextlib.suppress(OSError, ValueError):  # a name that no file can have
                path = (folder / name).resolve()
                if path.is_relative_to(root) and path.is_file():
                    return path
        return None


def is_run(folder: Path) -> bool:
    """Tell whether a folder was written by a run: it has a config.yaml, or what Hydra records when a job starts."""
    place = RunFolder(folder)
    return (place.config.is_file() and folder.name != place.hydra.name) or place.typed.is_file()


def find_runs(folder: str | Path) -> list[Run]:
    """All runs in a folder, itself included, in natural order of their paths (2_x before 10_x).

    Raises:
        ValueError: there is none.
    """
    folder = Path(folder)
    runs = [Run(path) for path in _run_folders(folder)]
    if not runs:
        raise ValueError(_no_run(folder))
    return sorted(runs, key=lambda run: natural(str(run.folder)))


def frame(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """One flat row per run: who, how it ended, the objective, and each held-out measure before and after."""
    rows = []
    for run in runs:
        row: dict[str, Any] = {"run": run.name, "status": run.status}
        row |= {group: run.choice(group) for group in ("algo", "model", "modality", "data")}
        row["objective"] = run.objective
        for measure, (before, after) in run.heldout.items():
            row |= {f"{measure} before": before, f"{measure} after": after}
        rows.append(row)
    return rows


def differences(runs: Sequence[Run]) -> dict[str, list[Any]]:
    """The config keys whose values differ between runs, each with its value per run (None: the run has no such key)."""
    flat = [dict(leaves(run.config)) for run in runs]
    keys = dict.fromkeys(key for config in flat for key in config)
    columns = {key: [config.get(key) for config in flat] for key in keys}
    return {key: values for key, values in columns.items() if any(value != values[0] for value in values)}


def natural(text: str) -> list[tuple[int, int, str]]:
    """A sort key that compares runs of digits as numbers."""
    pieces: list[str] = [""]
    for character in text:
        if character.isdigit() != pieces[-1][-1:].isdigit():
            pieces.append("")
        pieces[-1] += character
    return [(0, int(piece), "") if piece.isdecimal() else (1, 0, piece) for piece in pieces]


# ---------------------------------------------------------------- reading


def _run_folders(folder: Path) -> Iterator[Path]:
    if is_run(folder):
        yield folder
        return
    for child in folder.iterdir() if folder.is_dir() else ():
        if child.is_dir() and not child.name.startswith("."):
            yield from _run_folders(child)


def _section(whole: dict[str, Any], name: str) -> dict[str, Any]:
    found = whole.get(name)
    return found if isinstance(found, dict) else {}


def _read_json(path: Path, missing: Any) -> Any:
    """Read a JSON file of the type that `missing` has; `missing` where there is no file."""
    if not path.is_file():
        return missing
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise _damaged(path, f"is not valid JSON ({error})") from error
    if not isinstance(content, type(missing)):
        raise _damaged(path, f"holds a {type(content).__name__}")
    return content


def _damaged(path: Path, how: str) -> ValueError:
    return ValueError(
        f"{path} {how}, and was damaged since the run wrote it: delete the file to look at the rest of the run, or resume "
        "the run, which writes it again"
    )


def _read_metrics(text: str) -> list[dict[str, float]]:
    lines = text.splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        lines.pop()  # cut off in mid-write: its last number may have lost digits
    rows = csv.DictReader(lines[1:], [of_inert(name) for name in next(csv.reader(lines[:1]), [])])
    parsed = [{key: _number(cell) for key, cell in row.items() if key and cell} for row in rows]
    return [row for row in parsed if math.isfinite(row.get("step", math.nan))]


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def _numbers(values: Any) -> dict[str, float]:
    return {name: _number(value) for name, value in values.items()} if isinstance(values, dict) else {}


def _key_value(override: str) -> tuple[str, str]:
    key, _, value = override.partition("=")
    return key.lstrip("+~"), value


def _no_run(folder: Path) -> str:
    wanted = "give a folder that aa_lightning.train wrote, such as outputs/<date>/<time>_dpo_ti2t"
    if not folder.is_dir():
        return f"there is no folder {folder}: {wanted}"
    inside = sorted(str(path) for path in _run_folders(folder))
    if inside:
        return f"{folder} is no run folder, but holds {len(inside)} of them: give one of them, for example {inside[0]}"
    found = ", ".join(sorted(path.name for path in folder.iterdir())[:6]) or "nothing"
    return f"{folder} is no run folder: it has no config.yaml (it holds {found}); {wanted}"

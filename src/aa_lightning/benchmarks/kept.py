"""Answers as lines of files that grow: what stands there is not asked for again."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from aa_lightning.system.atomic import write_text

Row = dict[str, Any]


class KeptAnswers:
    """The answers to one benchmark in a folder: `<name>.jsonl`, and `<name>.<place>.jsonl` of each other process until all
    are there.

    Args:
        folder: made if it is not there.
        name: of the benchmark.
        settings: all that decides what is said; answers under others are refused.
        place: of this process.

    Raises:
        ValueError: there are answers under other settings.
    """

    def __init__(self, folder: Path, name: str, settings: Mapping[str, Any], place: int = 0):
        self.folder, self.name = folder, name
        self.path = folder / f"{name}.jsonl"
        self._own = self.path if place == 0 else folder / f"{name}.{place}.jsonl"
        folder.mkdir(parents=True, exist_ok=True)
        self._check(folder / f"{name}.settings.json", settings, place)
        _mend(self._own)

    def read(self) -> dict[str, Row]:
        """The rows of all processes by their ids, each id once."""
        found: dict[str, Row] = {}
        for file in self._files():
            for line in _whole(file.read_bytes()).splitlines():
                row = json.loads(line)
                found.setdefault(row["id"], row)
        return found

    def append(self, rows: Iterable[Row]) -> None:
        """Add rows, and bring them to the disk."""
        told = "".join(f"{json.dumps(row, ensure_ascii=True)}\n" for row in rows)
        with self._own.open("ab") as file:
            file.write(told.encode())
            file.flush()
            os.fsync(file.fileno())

    def finish(self, rows: Iterable[Row]) -> None:
        """Put all rows in their order into one file, in place of those of the processes."""
        write_text(self.path, "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows))
        for file in self._files():
            if file != self.path:
                file.unlink()

    def _files(self) -> list[Path]:
        others = sorted(self.folder.glob(f"{self.name}.[0-9]*.jsonl"))
        return [file for file in (self.path, *others) if file.is_file()]

    def _check(self, file: Path, settings: Mapping[str, Any], place: int) -> None:
        wanted = json.loads(json.dumps(settings))
        if file.is_file() and self._files():
            before = json.loads(file.read_text(encoding="utf-8"))
            other = [key for key in wanted if before.get(key) != wanted[key]]
            if other:
                raise ValueError(
                    f"{self.path} has answers that were given under another {' and another '.join(other)}, and they do not "
                    "go together: type hydra.run.dir=<another folder>, or leave it out for a new one"
                )
        elif place == 0:
            write_text(file, json.dumps(wanted, indent=1))


def _whole(told: bytes) -> bytes:
    """The lines that were written to their ends."""
    return told[: told.rfind(b"\n") + 1]


def _mend(file: Path) -> None:
    """Cut off the line at which a process was killed."""
    if file.is_file():
        whole = len(_whole(file.read_bytes()))
        if whole < file.stat().st_size:
            os.truncate(file, whole)

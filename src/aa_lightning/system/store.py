"""Values kept on the disk by their keys, for any number of processes, none of which is served what was damaged."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from pathlib import Path
from typing import TypeVar

_Found = TypeVar("_Found")
_PATIENCE = 120.0  # seconds to wait for other processes that write
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR)  # the last: it is some other file
_TABLE = "CREATE TABLE IF NOT EXISTS kept (key BLOB PRIMARY KEY, sum INTEGER, value BLOB) WITHOUT ROWID"


class _Unsorted(Exception):
    """A file that has just been written to does not give it back: its order is damaged, of which SQLite says nothing."""

    sqlite_errorcode = sqlite3.SQLITE_CORRUPT


class Store:
    """Values in one SQLite file. A call opens and closes it, so that nothing is held over a fork, or once it is replaced.

    Each value has a sum. One that does not fit is taken away, as if it had not been there. A file that SQLite cannot read is
    given up, with a marker beside it, and the next one is begun: its name is never used again, since other processes may
    have it open.

    Args:
        folder: made when something is asked for.
    """

    def __init__(self, folder: Path):
        self.folder = folder

    def get(self, keys: Iterable[bytes]) -> dict[bytes, bytes]:
        """The values of those keys that are there."""
        return self._in_file(lambda base: _get(base, keys))

    def put(self, values: Mapping[bytes, bytes]) -> None:
        """Keep all of these values or none; a key that is there already keeps its value."""
        rows = [(key, zlib.crc32(key + value), value) for key, value in values.items()]
        self._in_file(lambda base: _put(base, rows))

    def _in_file(self, work: Callable[[sqlite3.Connection], _Found]) -> _Found:
        self.folder.mkdir(parents=True, exist_ok=True)
        while True:
            file = self.folder / f"{len([*self.folder.glob('*.damaged')])}.sqlite"
            try:
                with closing(sqlite3.connect(file, timeout=_PATIENCE, isolation_level=None)) as base:
                    base.execute(
                        "PRAGMA synchronous = OFF"
                    )  # a killed process loses nothing, a failing machine a few rows
                    base.execute(_TABLE)
                    return work(base)
            except (sqlite3.DatabaseError, _Unsorted) as error:
                if error.sqlite_errorcode & 0xFF not in _DAMAGED:
                    raise OSError(
                        f"nothing can be kept in {self.folder} ({error}): make room there, or let $AA_LIGHTNING_CACHE name "
                        "another folder"
                    ) from error
                file.with_suffix(".damaged").touch()
                file.unlink(missing_ok=True)


def _get(base: sqlite3.Connection, keys: Iterable[bytes]) -> dict[bytes, bytes]:
    found = {}
    for key in keys:
        row = base.execute("SELECT sum, value FROM kept WHERE key = ?", (key,)).fetchone()
        if row is None:
            continue
        if isinstance(row[1], bytes) and zlib.crc32(key + row[1]) == row[0]:
            found[key] = row[1]
        else:
            base.execute("DELETE FROM kept WHERE key = ?", (key,))
    return found


def _put(base: sqlite3.Connection, rows: list[tuple[bytes, int, bytes]]) -> None:
    base.execute("BEGIN IMMEDIATE")
    base.executemany("INSERT OR IGNORE INTO kept VALUES (?, ?, ?)", rows)
    base.execute("COMMIT")
    keys = {key for key, _, _ in rows}
    if _get(base, keys).keys() < keys:
        raise _Unsorted

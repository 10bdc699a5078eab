"""Rows of local files. JSON, JSON lines and CSV need nothing but Python; parquet and arrow need `datasets`."""

from __future__ import annotations

import csv
import mimetypes
import os
from array import array
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from aa_lightning.data.errors import BadRow
from aa_lightning.data.records import Record, code_that_reads, recorded, state_of
from aa_lightning.data.sources.cells import is_empty
from aa_lightning.data.sources.written import Doubled, fault_of, parse, parse_all
from aa_lightning.data.template.allowed import below
from aa_lightning.system.console import bar

Row = dict[str, Any]
_LARGE = 2**24  # bytes of a file whose lines are worth remembering
_MOST_COLUMNS = 1_000
_LONGEST_CELL = 2**27  # characters of a table's cell, which may be a medium in base64


class Counted:
    """A source whose columns are those of all its rows, which are read once to count them."""

    @cached_property
    def _counts(self) -> Counter[str]:
        return filled(self)

    @property
    def columns(self) -> list[str]:
        return list(self._counts)

    def filled(self) -> Counter[str]:
        return self._counts


class JsonLines(Counted):
    """A file with one JSON object per line, read line by line; empty lines do not count.

    A line that is no object is a bad row when it is read, not before. Where lines of a large file begin, and what its columns
    are, is kept in the cache.
    """

    def __init__(self, path: Path):
        self.path = path
        self._state = state_of(path) if path.stat().st_size >= _LARGE else None
        index = self._recorded("lines", lambda: _index(path))
        self.starts, self.lines = index.numbers["starts"], index.numbers["lines"]

    @cached_property
    def _counts(self) -> Counter[str]:
        return Counter(self._recorded("columns", lambda: Record(told=filled(self))).told)

    def _recorded(self, what: str, make: Callable[[], Record]) -> Record:
        return make() if self._state is None else recorded(f"{what} {code_that_reads()} {self._state}", make)

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, index: int) -> Row:
        start, end = self.starts[index], self.starts[index + 1]
        file = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            line = os.pread(file, end - start, start).partition(b"\n")[0]  # empty lines may follow
        finally:
            os.close(file)
        where = f"{self.path.name}, line {self.lines[index]}"
        try:
            row = parse(line)
        except ValueError as error:
            raise BadRow(str(index), where, f"The line is not JSON ({error}).") from error
        return _columns(row, str(index), where, "line holds")


def _index(path: Path) -> Record:
    """Find the beginnings of the lines that say something, with the end of the file, and their numbers."""
    starts, lines, start = array("q"), array("q"), 0
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                starts.append(start)
                lines.append(number)
            start += len(line)
    starts.append(start)
    return Record({"starts": starts, "lines": lines})


class Rows(Counted):
    """Rows in memory."""

    def __init__(self, rows: list[Any], origin: str):
        self.rows, self.origin = rows, origin

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Row:
        row = self.rows[index]
        if isinstance(row, csv.Error):
            raise BadRow(str(index), self.origin, f"The line cannot be read: {row}.")
        row = _columns(row, str(index), self.origin, "element is")
        if None in row or (None in row.values() and self.origin.endswith(".csv")):
            raise BadRow(str(index), self.origin, f"The line has another number of cells than the header's {len(row)}.")
        return row


def _columns(row: Any, index: str, where: str, holds: str) -> Row:
    """A row that is an object whose columns stand once each."""
    if not isinstance(row, dict):
        raise BadRow(index, where, f"The {holds} a {type(row).__name__}, not an object with columns.")
    if len(row) > _MOST_COLUMNS:
        raise BadRow(index, where, f"The {holds} an object with {len(row)} columns; {_MOST_COLUMNS} are read at most.")
    if isinstance(row, Doubled):
        raise BadRow(index, row.key, f"The column stands twice in {where}.")
    return row


class MediaFolder(Counted):
    """A folder of media with a metadata file: `file_name` names the picture, sound or video of a row, by its ending;
    `image_file_name`, `audio_file_name` and so on name several, of which any may be null."""

    def __init__(self, metadata: JsonLines | Rows, folder: Path, below_root: bool = True):
        self.metadata, self.folder, self.below_root = metadata, folder, below_root

    def __len__(self) -> int:
        return len(self.metadata)

    def __getitem__(self, index: int) -> Row:
        row = self.metadata[index]
        named = {name: row[name] for name in row if name == "file_name" or name.endswith("_file_name")}
        if not named:
            raise BadRow(str(index), "file_name", f"There is no such column; the columns are {', '.join(row)}.")
        return {**row, **{_medium(*pair): self._file(index, *pair) for pair in named.items()}}

    def _file(self, index: int, column: str, name: Any) -> Path | None:
        """The file as a path, which counts as judged; texts are yet to be."""
        if name is None or name == "":
            return None
        folder = self.folder.absolute()
        if not isinstance(name, str) or fault_of(name) is not None:
            raise BadRow(str(index), column, f"A file's name was expected, and {name!a:.80} found.")
        try:
            return below(folder, name) if self.below_root else folder / name
        except ValueError as error:
            raise BadRow(str(index), column, str(error)) from error


def _medium(column: str, file: Any) -> str:
    """The column that a file goes to: `audio` of `audio_file_name`, or the medium that the file's type means."""
    if column != "file_name":
        return column.removesuffix("_file_name")
    medium = (mimetypes.guess_type(str(file), strict=False)[0] or "image").partition("/")[0]
    return medium if medium in ("audio", "video") else "image"


def filled(source: Any) -> Counter[str]:
    """Every column of a source with the number of its rows that say something there."""
    counts: Counter[str] = Counter()
    for index in bar(range(len(source)), "reading columns", "row"):
        try:
            row = source[index]
        except BadRow:
            continue
        for column, value in row.items():
            counts[column] += not is_empty(value)
    return counts


def read_json(path: Path) -> Rows | JsonLines:
    """A list of objects; a file that begins with an object is read as JSON lines."""
    with path.open("rb") as file:
        if file.read(64).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{"):
            return JsonLines(path)
    try:
        rows = parse_all(path.read_text(encoding="utf-8-sig", errors="surrogateescape"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON ({error}); one object per line belongs in a .jsonl file") from error
    if not isinstance(rows, list):
        raise ValueError(f"{path} holds a {type(rows).__name__}; rows are a list of objects")
    return Rows(rows, path.name)


def read_csv(path: Path) -> Rows:
    """A table with a header; every cell is a text."""
    with path.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
        lines = list(file)
    head = lines[0] if lines else ""
    # one column whose name holds semicolons or tabs is a table that is cut there
    cut = next((sign for sign in ";\t" if "," not in head and sign in head), ",")
    csv.field_size_limit(_LONGEST_CELL)
    reader = csv.DictReader(lines, delimiter=cut)
    columns = reader.fieldnames or []
    twice = [name for name, count in Counter(columns).items() if count > 1]
    if twice:
        raise ValueError(f"{path} has the column {twice[0]!r} twice: give each column of its header a name of its own")
    return Rows(list(_records(reader, lines)), path.name)


def _records(reader: csv.DictReader, lines: list[str]) -> Iterator[Row | csv.Error]:
    """The rows of a table; in place of one that cannot be read, why."""
    while True:
        start = reader.line_num
        try:
            row = next(reader)
            if reader.line_num == len(lines) > start + 1:  # a quote that is never closed takes all lines after it along
                list(csv.reader(lines[start:], reader.reader.dialect, strict=True))
            yield row
        except StopIteration:
            return
        except csv.Error as error:
            yield csv.Error(f"lines {start + 1} to {reader.line_num}: {error}")


def read_media_folder(metadata: Path, below_root: bool = True) -> MediaFolder:
    """The folder of a metadata.jsonl or metadata.csv."""
    return MediaFolder(READERS[metadata.suffix](metadata), metadata.parent, below_root)


def _read_arrow(path: Path) -> Any:
    from aa_lightning.data.sources.arrow import ArrowRows, load_file

    return ArrowRows(load_file(path))


def _read_shard(path: Path) -> Any:
    from aa_lightning.data.sources.shards import Shard

    return Shard(path)


READERS: dict[str, Callable[[Path], Any]] = {
    ".jsonl": JsonLines,
    ".json": read_json,
    ".csv": read_csv,
    ".parquet": _read_arrow,
    ".arrow": _read_arrow,
    ".tar": _read_shard,
}

"""Sequences of rows: `len(source)`, `source[i] -> dict`, `source.columns`."""

from __future__ import annotations

import difflib
import functools
import glob
import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, Protocol

from aa_lightning.data.options import Table
from aa_lightning.data.shapes import Shapes
from aa_lightning.data.sources.files import READERS, read_media_folder
from aa_lightning.system.console import bar

Row = dict[str, Any]
_TELLING = ("metadata.jsonl", "metadata.csv", "dataset_info.json", "state.json")  # of a folder


class Source(Protocol):
    """A data set before the template. `filled` counts, for each column, the rows that say something there."""

    columns: list[str]

    def filled(self) -> Counter[str]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Row: ...


class Chain:
    """Several sources, one after another."""

    def __init__(self, sources: Sequence[Source]):
        self.sources = sources
        self.ends = list(accumulate(len(source) for source in sources))
        self.columns = list(dict.fromkeys(column for source in sources for column in source.columns))

    def filled(self) -> Counter[str]:
        return sum((source.filled() for source in self.sources), Counter())

    def __len__(self) -> int:
        return self.ends[-1]

    def __getitem__(self, index: int) -> Row:
        which = bisect_right(self.ends, index)
        start = self.ends[which - 1] if which else 0
        return self.sources[which][index - start]


def open_source(options: Shapes | Table) -> Source:
    """The rows that a source's options name.

    Raises:
        FileNotFoundError: no such file; the message has the near matches.
        ValueError: a file of an unknown kind.
    """
    if isinstance(options, Shapes):
        return options
    if not is_local(options):
        return _from_hub(options)
    return _opened(local_files(options), options.below_root)


def check_files(options: Shapes | Table) -> None:
    """Find the files that a source means, without opening them.

    Raises:
        FileNotFoundError: there is none; the message has the near matches.
    """
    if not isinstance(options, Shapes) and is_local(options):
        local_files(options)


def media_root(options: Shapes | Table) -> str | None:
    """The folder that relative media paths start from: the one given, or that of the file."""
    if isinstance(options, Shapes):
        return None
    if options.root is not None or not is_local(options):
        return options.root
    path = Path(options.path)
    if path.is_dir():
        return str(path)
    return str(path.parent) if not glob.has_magic(options.path) else str(Path(local_files(options)[0]).parent)


def is_confined(options: Shapes | Table) -> bool:
    """Tell whether media must lie below their root: one that is given, or that of a folder or an archive."""
    if isinstance(options, Shapes) or not options.below_root:
        return False
    whole = is_local(options) and (Path(options.path).expanduser().is_dir() or Path(options.path).suffix == ".tar")
    return options.root is not None or whole


def is_local(options: Table) -> bool:
    """Tell whether a path means files of this machine: it exists, looks like a path, or ends like a file."""
    path = options.path
    named = "/" not in path and Path(path).suffix != ""  # ids of the hub have an owner
    looks_local = (
        named or path.startswith(("/", "./", "../", "~")) or glob.has_magic(path) or Path(path).suffix in READERS
    )
    return looks_local or Path(path).exists()


def local_files(options: Table) -> list[Path]:
    """The files that a local path, a pattern, or a folder with names means.

    Raises:
        FileNotFoundError: there is none; the message has the near matches.
    """
    path = Path(options.path).expanduser()
    inside = path.is_dir() and options.files
    patterns = [str(path / name) for name in options.files] if inside else [str(path)]
    found = []
    for pattern in patterns:
        matches = sorted(glob.glob(pattern)) if glob.has_magic(pattern) else _numbered(pattern)
        absent = [match for match in matches if not Path(match).exists()]
        if absent or not matches:
            raise FileNotFoundError(_missing(Path(absent[0] if absent else pattern)))
        found += [Path(match) for match in matches]
    return found


def _numbered(pattern: str) -> list[str]:
    """The names that `shard-{000..127}.tar` stands for; any other name stands for itself."""
    found = re.search(r"\{(\d+)\.\.(\d+)\}", pattern)
    if found is None:
        return [pattern]
    first, last = found[1], found[2]
    numbers = (str(number).zfill(len(first)) for number in range(int(first), int(last) + 1))
    return [f"{pattern[: found.start()]}{number}{pattern[found.end() :]}" for number in numbers]


def _open_file(path: Path, below_root: bool) -> Source:
    if path.is_dir():
        return _open_folder(path, below_root)
    if path.suffix not in READERS:
        raise ValueError(f"{path} ends with {path.suffix!r}; rows are read from {', '.join(READERS)} files")
    return READERS[path.suffix](path)


def _open_folder(path: Path, below_root: bool) -> Source:
    if (path / "dataset_info.json").exists() and (path / "state.json").exists():
        return READERS[".arrow"](path)
    for name in ("metadata.jsonl", "metadata.csv"):
        if (path / name).exists():
            return read_media_folder(path / name, below_root)
    inside = ", ".join(sorted(child.name for child in path.iterdir())[:10]) or "nothing"
    raise ValueError(
        f"{path} is a folder without metadata.jsonl, metadata.csv or a saved data set; in it: {inside}. "
        f"Name the files: path={path}/*.parquet"
    )


def _opened(paths: list[Path], below_root: bool = True) -> Source:
    return _opened_once(tuple(paths), below_root, tuple(map(_state, paths)))


def _state(path: Path) -> object:
    """A value that is another one once a file, or what tells of the files of a folder, is."""
    told = [path / name for name in _TELLING] if path.is_dir() else [path]
    known = [file.stat() for file in told if file.exists()]
    return tuple((state.st_ino, state.st_size, state.st_mtime_ns) for state in known)


@functools.lru_cache(maxsize=8)
def _opened_once(paths: tuple[Path, ...], below_root: bool, states: tuple[object, ...]) -> Source:
    """The rows of some files, opened once for all splits as long as they stay in this state."""
    sources = [_open_file(path, below_root) for path in bar(paths, "opening files", "file", delay=2.0)]
    return sources[0] if len(sources) == 1 else Chain(sources)


def _from_hub(options: Table) -> Source:
    if options.files and all(name.endswith(".tar") for name in options.files):
        from aa_lightning.data.sources.shards import hub_shards

        return _opened(hub_shards(options))
    from aa_lightning.data.sources.arrow import ArrowRows, load_hub

    return ArrowRows(load_hub(options))


def _missing(path: Path) -> str:
    """Names the first part of a path that does not exist, and what stands beside it under similar names."""
    parent = path.parent
    if not parent.is_dir():
        return f"there is no {path}: the folder {parent} does not exist"
    names = sorted(child.name for child in parent.iterdir())
    near = difflib.get_close_matches(path.name, names, n=3, cutoff=0.5)
    there = (
        f"did you mean {', '.join(near)}?" if near else f"in {parent.resolve()}: {', '.join(names[:10]) or 'nothing'}"
    )
    return f"there is no {path}; {there}"

"""Rows of tar shards in the WebDataset layout: files of one sample share a name and differ in their endings.

A shard is read through an index of where each file lies, made once and kept in the user's cache; no shard is ever
loaded into memory, and a medium is read only when it is decoded.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import tarfile
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from aa_lightning.data.errors import BadRow
from aa_lightning.data.options import Table
from aa_lightning.data.sources.written import fault_of, parse
from aa_lightning.media.storage import Stretch
from aa_lightning.system.atomic import written
from aa_lightning.system.cache import cache_root

Row = dict[str, Any]
KEY = "__key__"  # the column with a sample's name
_TEXTS = ("txt", "text", "caption", "cls", "transcript")  # read as texts; json is parsed; all else are media
_BLOCK = 512  # bytes
_LONGEST_TEXT = 2**27  # bytes
_LAYOUT = 2  # of the index; another one is made anew


class Shard:
    """The samples of one tar file. Columns are the endings of their files, and `__key__`, their name.

    A place where the file breaks off is a bad row, and so is a sample that has a file twice.
    """

    def __init__(self, path: Path):
        self.path = path
        self._index = _load(path) or _make(path)

    def __len__(self) -> int:
        return len(self._index["keys"])

    def __getitem__(self, index: int) -> Row:
        key = self._index["keys"][index].decode()
        faults = self._index["faults"] == index
        if faults.any():
            raise BadRow(str(index), self.path.name, str(self._index["reasons"][faults][0]))
        starts = self._index["starts"]
        members = range(starts[index], starts[index + 1])
        return {KEY: key, **{self._ending(member): self._value(index, member) for member in members}}

    @property
    def columns(self) -> list[str]:
        return [KEY, *map(str, self._index["endings"])]

    def filled(self) -> Counter[str]:
        """By the index: a file that is there says something."""
        counts = Counter(self._index["kinds"].tolist())
        return Counter({KEY: len(self), **{str(e): counts[kind] for kind, e in enumerate(self._index["endings"])}})

    def _ending(self, member: int) -> str:
        return str(self._index["endings"][self._index["kinds"][member]])

    def _value(self, index: int, member: int) -> Any:
        """A text, a parsed JSON value, or where a medium stands."""
        ending = self._ending(member)
        stretch = Stretch(self.path, int(self._index["offsets"][member]), int(self._index["sizes"][member]))
        last = ending.rpartition(".")[2].lower()
        if last != "json" and last not in _TEXTS:
            return stretch
        try:
            if stretch.size > _LONGEST_TEXT:
                raise ValueError(f"it has {stretch.size} bytes, and {_LONGEST_TEXT} are read at most")
            content = stretch.read().decode("utf-8-sig")
            return parse(content) if last == "json" else content
        except ValueError as error:
            name = f"{self._index['keys'][index].decode()}.{ending}"
            raise BadRow(
                str(index), ending, f"{name} in {self.path.name} is no {_EXPECTED[last == 'json']} ({error})."
            ) from error


_EXPECTED = {True: "JSON", False: "text in UTF-8"}


def hub_shards(options: Table) -> list[Path]:
    """The shards of a hub repository, downloaded as they are into the hub's cache.

    Raises:
        ValueError: they cannot be fetched, or there are none of these names.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    prefix = f"{options.data_dir}/" if options.data_dir else ""
    patterns = [f"{prefix}{name}" for name in options.files or []]
    try:
        folder = Path(
            snapshot_download(options.path, repo_type="dataset", revision=options.revision, allow_patterns=patterns)
        )
    except (OSError, ValueError, HfHubHTTPError, LocalEntryNotFoundError) as error:
        raise ValueError(f"the shards {', '.join(patterns)} of {options.path!r} cannot be fetched: {error}") from error
    found = sorted({path for pattern in patterns for path in folder.glob(pattern)})
    if not found:
        raise ValueError(
            f"the hub's {options.path!r} has no files {', '.join(patterns)}: say which in data.train.files"
        )
    return found


# ---------------------------------------------------------------- the index


@dataclass
class _Sample:
    files: dict[str, tuple[int, int]] = field(default_factory=dict)  # ending: offset, size
    fault: str | None = None


def _make(path: Path) -> dict[str, np.ndarray]:
    """The index of a shard, written to the cache."""
    samples: dict[str, _Sample] = {}
    try:
        for name, offset, size in _members(path):
            folder, _, base = name.rpartition("/")
            stem, dot, ending = base.partition(".")
            if not stem or not dot:  # hidden files, and files without an ending
                continue
            sample = samples.setdefault(f"{folder}/{stem}" if folder else stem, _Sample())
            if (fault := fault_of(name)) is not None:
                sample.fault = f"The name of a file in {path.name} cannot be read. {fault}"
            if ending in sample.files:
                sample.fault = f"{path.name} has {name} twice."
            sample.files[ending] = (offset, size)
    except (tarfile.TarError, OSError, EOFError) as error:
        # not "sample": every name with a slash at its end is free
        samples["broken/"] = _Sample(
            fault=f"The shard breaks off after {len(samples)} samples ({error}). Fetch it again, or leave it out."
        )
    index = _arrays(samples)
    with contextlib.suppress(OSError):  # a cache that cannot be written costs time, nothing else
        _save(_place(path), index)
    return index


def _members(path: Path) -> Iterator[tuple[str, int, int]]:
    """Name, offset and size of each file, in order.

    Raises:
        TarError: the archive breaks off, also where Python's reader would take a broken header for its end.
    """
    length = path.stat().st_size
    with tarfile.open(path, "r:") as tar:
        while (member := tar.next()) is not None:
            tar.members = []  # else every header stays in memory
            if member.offset_data + member.size > length:
                raise tarfile.ReadError(f"inside {member.name}")
            if member.isfile():
                yield member.name, member.offset_data, member.size
        with path.open("rb") as file:
            file.seek(tar.offset)
            end = file.read(_BLOCK)
    if len(end) < _BLOCK or any(end):
        raise tarfile.ReadError("there is no end mark" if not end else "a header is damaged")


def _arrays(samples: dict[str, _Sample]) -> dict[str, np.ndarray]:
    endings = sorted({ending for sample in samples.values() for ending in sample.files})
    number = {ending: i for i, ending in enumerate(endings)}
    members = [(number[e], *place) for sample in samples.values() for e, place in sample.files.items()]
    kinds, offsets, sizes = np.array(members, dtype=np.int64).reshape(-1, 3).T
    faults = [(i, sample.fault) for i, sample in enumerate(samples.values()) if sample.fault is not None]
    return {
        "keys": np.array([key.encode(errors="backslashreplace") for key in samples], dtype=np.bytes_),
        "starts": np.cumsum([0, *(len(sample.files) for sample in samples.values())], dtype=np.int64),
        "kinds": kinds.astype(np.int32),
        "offsets": offsets,
        "sizes": sizes,
        "endings": np.array(endings, dtype=np.str_),
        "faults": np.array([i for i, _ in faults], dtype=np.int64),
        "reasons": np.array([reason for _, reason in faults], dtype=np.str_),
    }


def _place(path: Path) -> Path:
    """Return where the index of a shard is kept: named by the shard's place, size and time, so that another one is seen."""
    whole, known = path.resolve(), path.stat()
    named = f"{_LAYOUT}/{whole}/{known.st_size}/{known.st_mtime_ns}"
    return cache_root() / "shards" / f"{path.stem}-{hashlib.sha256(named.encode()).hexdigest()[:16]}.npz"


def _load(path: Path) -> dict[str, np.ndarray] | None:
    try:
        with np.load(_place(path), allow_pickle=False) as kept:
            return dict(kept)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):  # there is none yet, or it is spoiled
        return None


def _save(target: Path, index: dict[str, np.ndarray]) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    archive = io.BytesIO()  # a signal amid an archive on disk would leave one whose file is closed
    np.savez(archive, **index)
    with written(target) as file:
        file.write(archive.getbuffer())

"""Records of what reading large files told, kept in the user's cache as long as the files stay as they are."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import zlib
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

from aa_lightning.system.cache import cache_root, code_of, keep_newest, made_once
from aa_lightning.system.console import say

_MOST = 32  # records that stay
_BLOCKS, _BLOCK = 64, 4096  # of a file's bytes, which are compared


@dataclass
class Record:
    """Findings, as numbers of eight bytes by name, and whatever JSON can hold."""

    numbers: dict[str, array] = field(default_factory=dict)
    told: Any = None


def recorded(key: str, make: Callable[[], Record], agrees: Callable[[Record], bool] = lambda record: True) -> Record:
    """A record of the cache, made where there is none. Of processes that want it at once one makes it, and the others wait.

    Args:
        key: all that decides what the record says.
        make: finds it out.
        agrees: tells whether a kept one still holds; one that does not is made anew.
    """
    folder, made = cache_root() / "rows" / blake2b(key.encode(), digest_size=16).hexdigest(), []

    def fill(workshop: Path) -> None:
        made.append(make())
        _write(made[0], workshop)

    try:
        while not made:
            made_once(folder, fill, lambda holder: say(f"{holder} is reading these rows; this one waits for it"))
            if not made:
                which = folder.stat().st_ino
                record = _read(folder)
                if record is not None and agrees(record):
                    os.utime(folder)
                    return record
                if folder.stat().st_ino == which:  # nobody has made it anew meanwhile
                    shutil.rmtree(folder, ignore_errors=True)
        keep_newest(folder.parent, _MOST)
    except OSError:  # a cache that cannot be written costs time, nothing else
        pass
    return made[0] if made else make()


def state_of(path: Path) -> str:
    """A file's place, size, time of change, and bytes from all over it, as one line."""
    known = path.stat()
    digest = blake2b(digest_size=16)
    with path.open("rb") as file:
        for block in range(_BLOCKS):
            file.seek(block * max(_BLOCK, known.st_size // _BLOCKS))
            digest.update(file.read(_BLOCK))
        file.seek(max(0, known.st_size - _BLOCK))
        digest.update(file.read(_BLOCK))
    return f"{path.resolve()} {known.st_size} {known.st_mtime_ns} {digest.hexdigest()}"


def code_that_reads() -> str:
    """A digest of the code that makes examples of rows."""
    return code_of("data", "media", "types.py")


def _write(record: Record, folder: Path) -> None:
    sums = {}
    for name, numbers in record.numbers.items():
        sums[name] = zlib.crc32(numbers)
        with (folder / f"{name}.numbers").open("wb") as file:
            numbers.tofile(file)
    (folder / "told.json").write_text(json.dumps({"sums": sums, "told": record.told}), encoding="utf-8")


def _read(folder: Path) -> Record | None:
    """The record of a folder; None where its bytes are spoiled."""
    with contextlib.suppress(ValueError, LookupError, TypeError, AttributeError):
        known = json.loads((folder / "told.json").read_text(encoding="utf-8"))
        numbers = {name: _numbers(folder / f"{name}.numbers") for name in known["sums"]}
        if all(zlib.crc32(numbers[name]) == known["sums"][name] for name in numbers):
            return Record(numbers, known["told"])
    return None


def _numbers(path: Path) -> array:
    found = array("q")
    with path.open("rb") as file:
        found.fromfile(file, path.stat().st_size // found.itemsize)
    return found

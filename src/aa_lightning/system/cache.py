"""Cache of what is made once for a machine: tiny models, stages, indexes of shards, what large files of rows told, what
references said, what frozen towers saw."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path

from aa_lightning.system.atomic import publish, write_text
from aa_lightning.system.locks import Busy, Lock


def cache_root() -> Path:
    """`$AA_LIGHTNING_CACHE`, or `aa_lightning` in the user's cache folder: `$XDG_CACHE_HOME`, or `~/.cache`."""
    given = os.environ.get("AA_LIGHTNING_CACHE")
    if given:
        return Path(given)
    users = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    users = users if users.is_absolute() else Path.home() / ".cache"  # relative ones are invalid there
    return users / "aa_lightning"


@functools.cache
def code_of(*places: str) -> str:
    """A digest of files and folders of this package: what another version of them made is made anew."""
    package = Path(__file__).parents[1]
    files = [file for place in places for file in [package / place, *(package / place).rglob("*.py")] if file.is_file()]
    return blake2b(b"".join(file.read_bytes() for file in sorted(files)), digest_size=16).hexdigest()


def made_once(folder: Path, make: Callable[[Path], None], waiting: Callable[[str], None] = lambda holder: None) -> Path:
    """A folder of the cache, made if it is not there, or not as it was made. Of processes that want it at once one makes it,
    and the others wait; where that one ends on the way, the next takes over.

    Args:
        folder: stands whole, or not at all.
        make: fills an empty folder.
        waiting: told who makes it meanwhile.
    """
    if _is_whole(folder):
        return folder
    lock, workshop = _lock_and_workshop(folder)
    lock.take(waiting)
    try:
        if not _is_whole(folder):
            _remove_abandoned(folder.parent)
            shutil.rmtree(workshop, ignore_errors=True)
            workshop.mkdir()
            make(workshop)
            write_text(_list_of(folder), json.dumps(_sizes(workshop)))
            shutil.rmtree(folder, ignore_errors=True)
            publish(workshop, folder)
    finally:
        lock.release()
    return folder


def keep_newest(parent: Path, count: int) -> None:
    """Remove folders of the cache but those that were made, or touched, last."""
    folders = _by_age(parent)
    for folder in folders[: max(0, len(folders) - count)]:
        _remove(folder)


def keep_within(parent: Path, most: int) -> None:
    """Remove folders of the cache, those that were made or touched first, until the others take no more bytes than `most`.
    The newest stays."""
    folders = _by_age(parent)
    size = sum(map(bytes_of, folders[-1:]))
    for folder in reversed(folders[:-1]):
        size += bytes_of(folder)
        if size > most:
            _remove(folder)


def bytes_of(folder: Path) -> int:
    """Bytes of the files in a folder; 0 where there is none."""
    size = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # another process removes it
            size += path.stat().st_size
    return size


def _by_age(parent: Path) -> list[Path]:
    """The folders of a part of the cache, the oldest first."""
    ages = []
    for folder in parent.glob("[!.]*"):
        with contextlib.suppress(FileNotFoundError):  # another process removes it
            ages.append((folder.stat().st_mtime_ns, folder))
    return [folder for _, folder in sorted(ages)]


def _remove(folder: Path) -> None:
    _list_of(folder).unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def _is_whole(folder: Path) -> bool:
    """Tell whether every file is there that was made, as long as it was."""
    listed = _list_of(folder)
    try:
        wanted = json.loads(listed.read_text(encoding="utf-8")) if listed.is_file() and folder.is_dir() else None
        return wanted is not None and wanted.items() <= _sizes(folder).items()
    except (ValueError, AttributeError):
        return False


def _list_of(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.json")


def _sizes(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): path.stat().st_size for path in folder.rglob("*") if path.is_file()}


def _lock_and_workshop(folder: Path) -> tuple[Lock, Path]:
    return Lock(folder.with_name(f".{folder.name}.lock")), folder.with_name(f".{folder.name}.partial")


def _remove_abandoned(parent: Path) -> None:
    """Remove the workshops of processes that are gone."""
    for workshop in parent.glob(".*.partial"):
        lock, _ = _lock_and_workshop(parent / workshop.name.removeprefix(".").removesuffix(".partial"))
        with contextlib.suppress(Busy):
            lock.take()
            shutil.rmtree(workshop, ignore_errors=True)
            lock.release()

"""Where this package keeps what is made once for a machine: tiny models, stages, indexes of shards."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from aa_lightning.atomic import publish
from aa_lightning.locks import Busy, Lock


def cache_root() -> Path:
    """`$AA_LIGHTNING_CACHE`, or `aa_lightning` in the user's cache folder: `$XDG_CACHE_HOME`, or `~/.cache`."""
    given = os.environ.get("AA_LIGHTNING_CACHE")
    if given:
        return Path(given)
    users = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    return (
        users if users.is_absolute() else Path.home() / ".cache"
    ) / "aa_lightning"  # relative ones are invalid there


def made_once(folder: Path, make: Callable[[Path], None], waiting: Callable[[str], None] = lambda holder: None) -> Path:
    """A folder of the cache, made if it is not there. Of processes that want it at once one makes it, and the others wait;
    where that one ends on the way, the next takes over.

    Args:
        folder: stands whole, or not at all.
        make: fills an empty folder.
        waiting: told who makes it meanwhile.
    """
    if folder.is_dir():
        return folder
    lock, workshop = _lock_and_workshop(folder)
    lock.take(waiting)
    try:
        if not folder.is_dir():
            _remove_abandoned(folder.parent)
            shutil.rmtree(workshop, ignore_errors=True)
            workshop.mkdir()
            make(workshop)
            publish(workshop, folder)
    finally:
        lock.release()
    return folder


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

"""Run folders: each is made for one run, and written by one process at a time."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import time
from collections.abc import Iterator
from itertools import chain, count
from pathlib import Path

from aa_lightning.configuration.wording import ConfigError
from aa_lightning.runs.checkpoints import remove
from aa_lightning.system.atomic import remove_parts
from aa_lightning.system.locks import Busy, Lock
from aa_lightning.system.processes import is_worker

LOCK = ".lock"
JOB_FOLDER = ".job-"  # begins the names of the folders in which processes of a job tell each other things
_RANK_FOLDER = "aa_lightning_rank"
_HOUR = 3600.0
_held: dict[Path, Lock] = {}


def new_folder(wanted: Path) -> Path:
    """Make a folder that no other run has.

    Args:
        wanted: its name; where that is taken, `_2`, `_3`, … is added.
    """
    wanted.parent.mkdir(parents=True, exist_ok=True)
    others = (wanted.with_name(f"{wanted.name}_{number}") for number in count(2))
    return next(path for path in chain([wanted], others) if _made(path))


def hold(folder: Path) -> None:
    """Keep other processes from writing into a run folder, until `release` or the end of this process. What a process that
    is gone left unfinished in it is removed.

    Raises:
        ConfigError: another process writes there.
    """
    folder = folder.absolute()
    if folder in _held:
        return
    lock = Lock(folder / LOCK)
    try:
        lock.take()
    except Busy as holder:
        raise ConfigError(
            f"{folder} is written by another run ({holder}), and two in one folder would overwrite each other\n"
            "type: the same command once that one has ended; kill -INT <its process> stops it with a checkpoint"
        ) from None
    _held[folder] = lock
    _clean(folder)


def release(folder: Path) -> None:
    """Let others write into a run folder."""
    lock = _held.pop(folder.absolute(), None)
    if lock is not None:
        lock.release()


@contextlib.contextmanager
def holding(folder: Path) -> Iterator[None]:
    """Inside, no other process writes into a run folder. Ranks rely on who started them, which holds it for all."""
    if is_worker() or folder.absolute() in _held:
        yield
        return
    hold(folder)
    try:
        yield
    finally:
        release(folder)


@contextlib.contextmanager
def rank_folder() -> Iterator[Path]:
    """A temporary folder for a rank that writes nothing which lasts; those of ranks that were killed go."""
    for old in Path(tempfile.gettempdir()).glob(f"{_RANK_FOLDER}*"):
        with contextlib.suppress(OSError, Busy):
            if not (old / LOCK).is_file() and time.time() - old.stat().st_mtime < _HOUR:
                continue  # it is being made
            lock = Lock(old / LOCK)
            lock.take()
            shutil.rmtree(old)
            lock.release()
    folder = Path(tempfile.mkdtemp(prefix=_RANK_FOLDER))
    try:
        hold(folder)
        yield folder
    finally:
        release(folder)
        shutil.rmtree(folder, ignore_errors=True)


def _made(folder: Path) -> bool:
    try:
        folder.mkdir()
    except FileExistsError:
        return False
    return True


def _clean(folder: Path) -> None:
    remove_parts(folder)
    for path in [*folder.glob(f"{JOB_FOLDER}*"), *folder.glob(".*.partial"), *folder.glob("checkpoints/*.partial")]:
        remove(path)

"""Files and folders that stand whole or not at all, whatever ends the process or the machine meanwhile.

All are written aside, brought to the disk, and renamed. What a killed process left aside is removed by the next one that
writes into the same folder; nobody removes what is still being written.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_PART = ".part"


def write_text(target: Path, text: str) -> None:
    """Write a text file in one piece, in UTF-8."""
    with written(target) as file:
        file.write(text.encode("utf-8"))


@contextlib.contextmanager
def written(target: Path) -> Iterator[BinaryIO]:
    """A binary file that becomes `target` once the block ends well."""
    remove_parts(target.parent)
    aside = target.with_name(f".{target.name}.{os.getpid()}{_PART}")
    with _own(aside) as file:
        try:
            yield file
            file.flush()
            os.fsync(file.fileno())
            os.replace(aside, target)
        except BaseException:
            aside.unlink(missing_ok=True)
            raise
    _sync(target.parent)


def _own(aside: Path) -> BinaryIO:
    """A new part, locked, which tells others that it has an owner. One that was taken for abandoned before it was locked is
    made again."""
    while True:
        aside.unlink(missing_ok=True)
        file = aside.open("xb")
        with contextlib.suppress(OSError):  # the file system knows no locks
            fcntl.flock(file.fileno(), fcntl.LOCK_EX)  # who looks whether it is abandoned is soon done
        if aside.exists():
            return file
        file.close()


def publish(aside: Path, target: Path) -> Path:
    """Give a finished file or folder its name. A file in its place is replaced; a folder there must be gone or empty.

    Returns:
        `target`.
    """
    for path in [*aside.rglob("*"), aside] if aside.is_dir() else [aside]:
        if stat.S_ISREG(path.lstat().st_mode) or path.is_dir():
            _sync(path)
    os.replace(aside, target)
    _sync(target.parent)
    return target


def remove_parts(folder: Path) -> None:
    """Remove what processes that are gone were writing."""
    for part in folder.glob(f".*{_PART}"):
        with contextlib.suppress(OSError), part.open("rb") as file:
            # its owner may have given that file its name meanwhile, and begun another of this one
            if _try_lock(file.fileno()) and os.path.samestat(os.fstat(file.fileno()), part.stat()):
                part.unlink()


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # another process has it, or the file system knows no locks
        return False
    return True


def _sync(path: Path) -> None:
    """Bring a file or the names in a folder to the disk, where the file system can."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some file systems cannot sync folders
            os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""Locks that end with the process that holds them, and that say who that is.

`filelock` empties the file of a lock that somebody else holds; here that file says which process it is.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL)  # of file systems that have none


class Busy(Exception):
    """Another process holds the lock; the message says which, where, and since when."""


class Lock:
    """A file that one process at a time holds. The system takes it back when that process ends, however it ends.

    Args:
        path: of the file; it is there only while somebody holds the lock, or after a kill.
    """

    def __init__(self, path: Path):
        self.path = path
        self._descriptor: int | None = None

    def take(self, wait: Callable[[str], None] | None = None) -> None:
        """Hold the lock from now on.

        Args:
            wait: told once who holds it, before waiting for the end of that; None: do not wait.

        Raises:
            Busy: another process holds it, and `wait` is None.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        while self._descriptor is None:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
            try:
                self._lock(descriptor, wait)
                if _is_at(descriptor, self.path):
                    self._descriptor, descriptor = descriptor, -1
            finally:
                if descriptor >= 0:  # not ours, or a file that its last holder has removed
                    os.close(descriptor)
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, json.dumps(_own()).encode(), 0)

    def release(self) -> None:
        """Let others have it."""
        if self._descriptor is not None:
            self.path.unlink(missing_ok=True)
            os.close(self._descriptor)
            self._descriptor = None

    def _lock(self, descriptor: int, wait: Callable[[str], None] | None) -> None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            holder = _holder(descriptor)
            if wait is None:
                raise Busy(holder) from None
        except OSError as error:
            if error.errno in _NO_LOCKS:
                return
            raise
        wait(holder)
        fcntl.flock(descriptor, fcntl.LOCK_EX)


def _is_at(descriptor: int, path: Path) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    return False


def _own() -> dict[str, str | int]:
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    return {"pid": os.getpid(), "host": socket.gethostname(), "since": since, "program": Path(sys.argv[0]).name}


def _holder(descriptor: int) -> str:
    """Who wrote the file: `process 123 on host since 2026-01-01 12:00:00`."""
    try:
        told = json.loads(os.pread(descriptor, 4096, 0))
        return f"process {int(told['pid'])} on {told['host']} since {told['since']}"
    except (ValueError, KeyError, TypeError):  # it has only just taken it
        return "another process"

"""Limits of time and memory around what others wrote and this process interprets, such as a chat template."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from aa_lightning.system.processes import held_memory

SECONDS = 10.0  # a prompt is written in a thousandth of one
GIB = 1.0


class BeyondLimits(RuntimeError):
    """An operation took more time or memory than it may; the message says which."""


@contextmanager
def limited(seconds: float = SECONDS, gib: float = GIB) -> Iterator[None]:
    """Inside, too long a computation ends, and so does one that takes too much memory.

    Python looks at signals between its operations and within long ones. They reach main threads alone, of data workers too;
    in another thread there is no limit.

    Raises:
        BeyondLimits: it was ended.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, frame: FrameType | None) -> None:
        raise BeyondLimits(f"more than {seconds:g} s")

    began = time.monotonic()
    handler = signal.signal(signal.SIGALRM, end)
    left, every = signal.setitimer(signal.ITIMER_REAL, seconds)  # of somebody else's timer
    memory = _limit_memory(gib)
    try:
        yield
    except MemoryError as error:
        raise BeyondLimits(f"more than {gib:g} GiB of memory") from error
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        if memory is not None:
            _set_memory(memory)
        if left:
            signal.setitimer(signal.ITIMER_REAL, max(left - (time.monotonic() - began), 1e-3), every)


def _limit_memory(gib: float) -> tuple[int, int] | None:
    """Let this process take so much more; its limits before, where the system knows them."""
    if sys.platform != "linux":
        return None
    import resource

    before = resource.getrlimit(resource.RLIMIT_DATA)
    most, bounds = held_memory() + int(gib * 2**30), [limit for limit in before if limit != resource.RLIM_INFINITY]
    _set_memory((min(most, *bounds) if bounds else most, before[1]))
    return before


def _set_memory(limits: tuple[int, int]) -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_DATA, limits)

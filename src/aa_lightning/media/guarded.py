"""The guarded process of `guard.py`: it calls what it is told to within limits, and ends with who started it.

`python -m aa_lightning.media.guarded <id of the process that asks> [writes]`
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import numpy as np

from aa_lightning.media.errors import MediaError
from aa_lightning.media.guard import Arrays
from aa_lightning.media.options import GuardOptions
from aa_lightning.system.processes import die_with, held_memory

_PIPE = 2**20  # bytes


def main() -> None:
    """Answer pickled calls with a line of JSON and the bytes of arrays."""
    asked, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    if sys.platform == "linux":
        die_with(int(sys.argv[1]))  # elsewhere it ends when nothing more is asked
        _widen(answers.fileno())
    _leave_no_traces("writes" in sys.argv)
    answers.write(b"ready\n")
    answers.flush()
    while True:
        try:
            function, arguments, limits, within = pickle.load(asked)
        except EOFError:
            return
        head, arrays = _answer(function, arguments, limits, within)
        del arguments
        answers.write(json.dumps(head).encode() + b"\n")
        for array in arrays:
            answers.write(array.reshape(-1).view(np.uint8))
        answers.flush()


def _answer(
    function: Callable[..., Arrays], arguments: Any, limits: GuardOptions, within: float
) -> tuple[dict[str, Any], list[np.ndarray]]:
    try:
        with _limited(limits, within):
            found = {name: np.ascontiguousarray(array) for name, array in function(*arguments).items()}
    except MediaError as error:
        return {"error": str(error)}, []
    except MemoryError:
        return {"error": None}, []
    except Exception as error:  # of outside software, for what a stranger wrote
        return {"error": f"It cannot be decoded ({type(error).__name__}: {str(error)[:200]})."}, []
    return {"arrays": {name: (str(array.dtype), array.shape) for name, array in found.items()}}, list(found.values())


@contextmanager
def _limited(limits: GuardOptions, within: float) -> Iterator[None]:
    """The kernel ends this process when the time is over, wherever it is; memory over the limit is not given."""
    _limit_memory(limits.bytes)
    signal.setitimer(signal.ITIMER_PROF, limits.seconds)  # of computing
    signal.setitimer(signal.ITIMER_REAL, within)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)


def _limit_memory(more: int) -> None:
    if sys.platform != "linux":
        return
    import resource

    resource.setrlimit(resource.RLIMIT_DATA, (held_memory() + more, resource.RLIM_INFINITY))


def _widen(pipe: int) -> None:
    """Let a picture pass at once: each time that a pipe is full, two processes take turns."""
    import fcntl

    with contextlib.suppress(OSError):  # there is a bound on all of a user's pipes
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE)


def _leave_no_traces(writes: bool) -> None:
    """No core dumps, no files, nothing in the terminal: decoders print what they find. What may write prints to stderr."""
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if not writes:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    for number in (signal.SIGPROF, signal.SIGALRM):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    if writes:
        os.dup2(2, 1)
        return
    nowhere: BinaryIO
    with open(os.devnull, "r+b") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)


if __name__ == "__main__":
    main()

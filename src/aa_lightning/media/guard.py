"""Functions that can die, called in a process of their own: its death or delay becomes a `MediaError`.

Decoders of other languages read what strangers made. What goes wrong in them ends a process, takes its memory or never
returns, and no exception tells of it. Here it ends the guarded process alone, which the next call starts anew.
"""

from __future__ import annotations

import json
import math
import os
import pickle
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

from aa_lightning.media.errors import MediaError
from aa_lightning.media.options import GuardOptions

Arrays = dict[str, np.ndarray]
TYPES = ("uint8", "float32", "float64", "int64")  # of arrays that come back
PATIENCE = 3
SLOW = (-signal.SIGPROF, -signal.SIGALRM)  # what the guarded process dies of when its time is over


class TooSlow(MediaError):
    """The time of a call is over."""


def call(
    function: Callable[..., Arrays],
    *arguments: Any,
    what: str,
    limits: GuardOptions,
    within: float | None = None,
    writes: bool = False,
) -> Arrays:
    """Call a function in the guarded process of this thread.

    Args:
        function: one that can be imported by its name.
        arguments: of the function; they travel pickled.
        what: is made of them, for errors: the sound of 'a.mp3'.
        limits: of the call.
        within: seconds in all, waiting too; None: so many times those of computing that a busy machine refuses nothing.
        writes: whether it may write files and print, as code of the user's own does; it then has another process.

    Raises:
        MediaError: of the function, of its time or memory, or of its death.
    """
    if writes not in _own.guarded or not _own.guarded[writes].serves:
        _own.guarded[writes] = _Guarded(writes)
    return _own.guarded[writes].call((function, arguments, limits, within or limits.seconds * PATIENCE), what)


class _Guarded:
    """A process that serves the thread that started it, and ends with it."""

    def __init__(self, writes: bool) -> None:
        self._owner = os.getpid()
        found = {
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
        }
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-P",
                "-W",
                "ignore",
                "-m",
                "aa_lightning.media.guarded",
                str(self._owner),
                *["writes"] * writes,
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **found},
            start_new_session=True,  # Ctrl-C is for who asks
        )
        weakref.finalize(self, _end, self._process, self._owner)
        if self._process.stdout.readline() != b"ready\n":
            raise RuntimeError(f"the process that decodes media could not start (exit code {self._process.wait()})")

    @property
    def serves(self) -> bool:
        """Tell whether it lives, and is not one of the process that this one was forked from."""
        return self._owner == os.getpid() and self._process.poll() is None

    def call(self, asked: tuple[Callable[..., Arrays], Any, GuardOptions, float], what: str) -> Arrays:
        limits = asked[2]
        try:
            pickle.dump(asked, self._process.stdin, protocol=5)
            self._process.stdin.flush()
            return self._answer(what, limits)
        except (EOFError, BrokenPipeError):
            raise _of_death(self._process.wait(), what, limits) from None
        except BaseException as error:
            if not isinstance(error, MediaError):  # such as Ctrl-C: an answer may be on its way
                _end(self._process, self._owner)
            raise

    def _answer(self, what: str, limits: GuardOptions) -> Arrays:
        answer = json.loads(self._line())
        if "error" in answer:
            memory = f"Decoding the {what} takes more than {limits.bytes} bytes of memory (data.media.guard.bytes)."
            raise MediaError(answer["error"] or memory)
        return {name: self._array(kind, shape, limits) for name, (kind, shape) in answer["arrays"].items()}

    def _line(self) -> bytes:
        line = self._process.stdout.readline()
        if not line.endswith(b"\n"):
            raise EOFError
        return line

    def _array(self, kind: str, shape: list[int], limits: GuardOptions) -> np.ndarray:
        if kind not in TYPES or math.prod(shape) * np.dtype(kind).itemsize > limits.bytes:
            raise RuntimeError(f"the process that decodes media answered with {shape} numbers of type {kind}")
        array = np.empty(shape, kind)
        if self._process.stdout.readinto(array.reshape(-1).view(np.uint8)) < array.nbytes:
            raise EOFError
        return array


class _Own(threading.local):
    """State of each thread."""

    def __init__(self) -> None:
        self.guarded: dict[bool, _Guarded] = {}


_own = _Own()


def _end(process: subprocess.Popen[bytes], owner: int) -> None:
    if os.getpid() == owner:  # a fork holds a copy, which is not its own
        process.kill()
        process.wait()
    process.stdin.close()
    process.stdout.close()


def _of_death(code: int, what: str, limits: GuardOptions) -> MediaError:
    if code in SLOW:
        return TooSlow(f"Decoding the {what} takes more than {limits.seconds:g} s (data.media.guard.seconds).")
    how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    return MediaError(
        f"The {what} ended the process that decoded it ({how}): it is damaged, or of a kind that its decoder fails on."
    )

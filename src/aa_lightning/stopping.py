"""Ctrl-C and SIGTERM: heard from the first moment of a command, and answered by its exit code.

Outside of training they end the command where it is. In training they are kept until the step has ended and a checkpoint
of it is whole (`callbacks/checkpoint.py`). A second Ctrl-C ends the process at once, whatever it does.
"""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType

_asked: int | None = None  # the first signal that came
_kept = False  # whether signals wait for the end of a step


class Stopped(SystemExit):
    """A signal asked this process to end; the exit code tells which, as shells do."""

    def __init__(self, number: int = signal.SIGTERM):
        super().__init__(128 + number)
        self.number = number


def listen() -> None:
    """Hear Ctrl-C and SIGTERM from now on, in this process; only a main thread can."""
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) is not signal.SIG_IGN:  # as a shell starts what runs in the background
                signal.signal(number, heard)


def is_listening() -> bool:
    """Whether `listen` was called, and nobody took the signals since."""
    return signal.getsignal(signal.SIGTERM) is heard


def asked() -> int | None:
    """The signal that asked this process to end."""
    return _asked


def keep(wanted: bool) -> None:
    """Whether signals wait from now on until `asked` is looked at."""
    global _kept
    _kept = wanted


def end_if_asked() -> None:
    """For places that an exception from a signal's handler may not have reached, since a library swallowed it.

    Raises:
        Stopped: a signal came.
    """
    if _asked is not None:
        raise Stopped(_asked)


def heard(number: int, frame: FrameType | None) -> None:
    """The handler of both signals."""
    global _asked
    if _asked is not None:
        if number == signal.SIGINT:
            os._exit(128 + number)
        return  # a batch system tells every process of a job, and their parent hands it on as well
    _asked = number
    if not _kept:
        raise Stopped(number)

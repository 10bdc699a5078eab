"""Ctrl-C and SIGTERM: heard from the first moment of a command, and answered by its exit code.

Outside of training they end the command where it is. In training they are kept until the step has ended and a checkpoint
of it is whole (`training/callbacks/checkpoint.py`). A second Ctrl-C ends the process at once, whatever it does.
"""

from __future__ import annotations

import os
import signal
import sys
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
        sys.unraisablehook = _unraisable


def is_listening() -> bool:
    """Tell whether `listen` was called, and nobody took the signals since."""
    return signal.getsignal(signal.SIGTERM) is heard


def asked() -> int | None:
    """The signal that asked this process to end."""
    return _asked


def keep(wanted: bool) -> None:
    """Set whether signals wait from now on until `asked` is looked at, and end nothing."""
    global _kept
    _kept = wanted


def end_if_asked() -> None:
    """For places that an exception from a signal's handler may not have reached, since a library swallowed it.

    Raises:
        Stopped: a signal came.
    """
    if _asked is not None:
        raise Stopped(_asked)


def _unraisable(event: sys.UnraisableHookArgs) -> None:
    """A signal that came in a finalizer, from which no exception gets out, comes again. What finalizers of half-made
    objects complain of after a signal is of no use to anyone."""
    global _asked
    if not isinstance(event.exc_value, Stopped):
        if _asked is None:
            sys.__unraisablehook__(event)
        return
    _asked = None
    again = threading.Timer(0.01, os.kill, (os.getpid(), event.exc_value.number))
    again.daemon = True
    again.start()


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
    if "LOCAL_RANK" not in os.environ:  # those who started a rank have said so
        os.write(2, b"\nstopping after this step and its checkpoint; Ctrl-C again ends at once\n")

"""Calls that end when their time is over, whatever they do in Python.

In the main thread the kernel's alarm interrupts them, inside a regular expression or a sleep too. In another thread they run
in one more, which is told to end and no longer waited for.
"""

from __future__ import annotations

import ctypes
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, TypeVar

_Found = TypeVar("_Found")
_AGAIN = 0.2  # seconds until the next alarm, where the code that runs swallowed one
_MOST_LEFT = 8  # calls that never ended, which keep a thread each
_left: list[threading.Thread] = []


class _Over(BaseException):
    """The time is over. No `except Exception` stops it on its way."""


def within(seconds: float | None, function: Callable[..., _Found], *arguments: Any) -> _Found:
    """Call a function that may take so long.

    Args:
        seconds: None: as long as it wants.

    Raises:
        TimeoutError: it took longer.
    """
    if seconds is None:
        return function(*arguments)
    if threading.current_thread() is not threading.main_thread():
        return _in_thread(seconds, function, *arguments)
    try:
        with _alarm(seconds):
            return function(*arguments)
    except _Over:
        raise TimeoutError(f"it took longer than {seconds:g} s") from None


@contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    armed = [True]

    def over(number: int, frame: FrameType | None) -> None:
        if armed:
            raise _Over

    before = signal.signal(signal.SIGALRM, over)
    try:
        signal.setitimer(signal.ITIMER_REAL, seconds, _AGAIN)
        yield
        armed.clear()
    finally:
        armed.clear()
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _in_thread(seconds: float, function: Callable[..., _Found], *arguments: Any) -> _Found:
    import torch

    _left[:] = [thread for thread in _left if thread.is_alive()]
    if len(_left) >= _MOST_LEFT:
        raise TimeoutError(f"{len(_left)} calls before it took longer than they may, and go on still")
    told: dict[str, Any] = {}
    device = torch.cuda.current_device() if torch.cuda.is_initialized() else None

    def work() -> None:
        try:
            if device is not None:
                torch.cuda.set_device(device)
            with torch.no_grad():
                told["value"] = function(*arguments)
        except BaseException as error:
            told["error"] = error

    thread = threading.Thread(target=work, daemon=True, name="reward")
    thread.start()
    thread.join(seconds)
    if not told:
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(_Over))
        _left.append(thread)
        raise TimeoutError(f"it took longer than {seconds:g} s")
    if "error" in told:
        raise told["error"]
    return told["value"]

"""Calls beside those of this thread, each kind in a thread of its own."""

from __future__ import annotations

import queue
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

Call = Callable[[], Any]


class Beside:
    """A thread that calls one function after another. It stays, since guarded processes end with theirs; and it ends with
    this process, whatever it waits for, as the threads of an executor do not."""

    def __init__(self, name: str):
        self._asked: queue.SimpleQueue[tuple[Future, Call] | None] = queue.SimpleQueue()
        threading.Thread(target=_work, args=(self._asked,), daemon=True, name=name).start()
        weakref.finalize(self, self._asked.put, None)

    def begun(self, call: Call) -> Future:
        """Begin a call; what is given can be waited for."""
        future: Future = Future()
        self._asked.put((future, call))
        return future


def done(call: Call) -> Future:
    """Do the same in this thread, at once; what ends the process is raised here."""
    future: Future = Future()
    try:
        future.set_result(call())
    except Exception as error:
        future.set_exception(error)
    return future


def _work(asked: queue.SimpleQueue[tuple[Future, Call] | None]) -> None:
    while (one := asked.get()) is not None:
        future, call = one
        try:
            future.set_result(call())
        except BaseException as error:
            future.set_exception(error)
        del one, future, call

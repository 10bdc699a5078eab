"""The number of processes that read ahead, told by the first steps of a run."""

from __future__ import annotations

import math
from collections.abc import Callable

from aa_lightning.system.console import say
from aa_lightning.system.processes import cores

_STEPS = 3  # windows that are measured, after a first one in which much is done for once
_SHARE = 0.05  # of the time that training takes: reading less than this delays nobody
_SHORT = 30.0  # seconds that are left to read before all rows are in memory
_SPARE = 1.25  # workers above those that read just as fast as rows are trained on


class Pace:
    """Measures reading against training while one process does both.

    Args:
        unread: how many rows are not in memory yet; None: they will never all be.
        begin: called with the number of processes that will read, before they start.
    """

    def __init__(self, unread: Callable[[], int | None], begin: Callable[[int], None]):
        self._unread, self._begin = unread, begin
        self._windows, self._rows, self._reading, self._training = 0, 0, 0.0, 0.0

    def add(self, rows: int, reading: float, training: float) -> None:
        """Count a window of a step: its rows, and the seconds in which they were read, and trained on."""
        self._windows += 1
        if self._windows > 1:
            self._rows += rows
            self._reading, self._training = self._reading + reading, self._training + training

    def workers(self, processes: int) -> int | None:
        """Return the number of processes to read ahead from now on; None: it is not known yet.

        Args:
            processes: that train on this machine, each with its share of the cores.
        """
        if self._windows <= _STEPS:
            return None
        unread = self._unread()
        left = math.inf if unread is None else unread * self._reading / self._rows
        if left < _SHORT or self._reading < _SHARE * self._training:
            return 0
        wanted = math.ceil(_SPARE * self._reading / self._training)
        workers = min(wanted, cores() // processes - 1)  # one core trains
        if workers > 0:
            say(
                f"reading rows takes {self._reading / self._training:.0%} of a step: {workers} process(es) read them ahead"
            )
            self._begin(workers)
        return max(workers, 0)

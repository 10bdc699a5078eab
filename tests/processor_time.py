"""Processor time of commands, which tests compare with what their libraries take to import, as machines differ."""

import resource
import subprocess
import sys
from collections.abc import Callable


def spent(command: Callable[[], object]) -> float:
    """Seconds of processor time in the processes that a function starts and waits for."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def of_libraries() -> float:
    """Seconds that Hydra, pydantic and NumPy take to import, at this moment."""
    return spent(lambda: subprocess.run([sys.executable, "-c", "import hydra, numpy, pydantic"], check=True))

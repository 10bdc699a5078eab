"""Several processes on this machine: started, watched and ended together. Imports no torch.

Lightning can start processes itself, but then every child repeats the command line: in a sweep each child would draw
hyperparameters of its own, and a failing job would take the sweep with it. Here the children are told what to do, and
Lightning finds itself in processes that exist already, as under torchrun.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

FAILURE_GRACE = 3.0  # seconds that the other ranks get to end, once one has failed: they may be stuck waiting for it
INTERRUPT_GRACE = 60.0  # seconds to write a checkpoint after Ctrl-C or SIGTERM
_POLL = 0.05


class WorkersFailed(RuntimeError):
    """Ranks that ended with an error of their own, not those that were ended because of it.

    Attributes:
        codes: rank → exit code; minus the signal's number where a signal ended it.
    """

    def __init__(self, codes: dict[int, int], reason: str):
        super().__init__(reason)
        self.codes = codes


def is_worker() -> bool:
    """Whether torchrun, Slurm or `run_workers` started this process as one rank of several."""
    slurm = int(os.environ.get("SLURM_NTASKS", 1)) > 1 and "SLURM_PROCID" in os.environ
    return "LOCAL_RANK" in os.environ or slurm


def rank() -> int:
    """This process's place among all, 0 where there is only one."""
    names = ("RANK", "SLURM_PROCID") if "LOCAL_RANK" in os.environ else ("SLURM_PROCID",)
    found = [os.environ[name] for name in names if name in os.environ]
    return int(found[0]) if found and is_worker() else 0


def run_workers(
    command: Sequence[str],
    count: int,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout: float | None = None,
    done: Callable[[int], bool] = lambda place: False,
) -> None:
    """Run a command in `count` processes that find each other as ranks, and wait for all of them.

    When one fails the others are ended: SIGTERM, a moment, SIGKILL, since a rank that waits in a collective traps the
    former. Ctrl-C and SIGTERM are handed on, with time to write a checkpoint.

    Args:
        timeout: seconds for all; None waits for ever.
        done: whether a rank has left all that it was started for; how it ends afterwards is no failure.

    Raises:
        WorkersFailed: which ranks failed and how.
    """
    started: list[subprocess.Popen] = []
    try:
        with _sigterm_raises():
            ranks = _rank_environments(count)
            started += [_start(command, {**os.environ, **(env or {}), **own}, cwd) for own in ranks]
            codes = _watch(started, timeout, done)
    except KeyboardInterrupt:
        _end(started, signal.SIGINT, INTERRUPT_GRACE)
        raise
    except Terminated:
        _end(started, signal.SIGTERM, INTERRUPT_GRACE)
        raise
    finally:
        _end(started, signal.SIGTERM, FAILURE_GRACE)
    if codes:
        raise WorkersFailed(codes, told_endings(codes, count))


def leave(code: int) -> NoReturn:
    """End this rank as multiprocessing ends its own: threads, then what is registered for the end, no finalization.

    Threads of a process group that meet the end of the interpreter, or of the libraries below it, take the process with
    them (SIGABRT). Some outlive their group: sharded models and engines hold on to it.
    """
    distributed = sys.modules.get("torch.distributed")
    if code == 0 and distributed is not None and distributed.is_initialized():
        distributed.destroy_process_group()
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def end_with_parent() -> None:
    """End this process once the one that started it is gone, even if that was killed."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@dataclass
class Terminated(SystemExit):
    """SIGTERM came."""

    code: int = 128 + signal.SIGTERM


@contextlib.contextmanager
def _sigterm_raises() -> Iterator[None]:
    """SIGTERM must not end the parent before its children; only a main thread may say so."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number, frame):
        raise Terminated

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _rank_environments(count: int) -> list[dict[str, str]]:
    """torchrun's variables: Lightning, accelerate and DeepSpeed all know them, inside Slurm and Kubernetes too."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    threads = os.environ.get("OMP_NUM_THREADS", str(max((os.cpu_count() or 1) // count, 1)))
    shared = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
        "GROUP_RANK": "0",
        "TORCHELASTIC_RUN_ID": f"aa_lightning_{port}",
        "OMP_NUM_THREADS": threads,
    }
    return [{**shared, "RANK": str(place), "LOCAL_RANK": str(place)} for place in range(count)]


def _start(command: Sequence[str], env: Mapping[str, str], cwd: Path | None) -> subprocess.Popen:
    # a process group of its own: Ctrl-C reaches it once, through us, and its data workers end with it
    return subprocess.Popen(list(command), env=dict(env), cwd=cwd, process_group=0)


def _watch(started: Sequence[subprocess.Popen], timeout: float | None, done: Callable[[int], bool]) -> dict[int, int]:
    """Wait until all have ended well or one has not; the exit codes of those that failed."""
    end = None if timeout is None else time.monotonic() + timeout
    while True:
        codes = [process.poll() for process in started]
        failed = {place: code for place, code in enumerate(codes) if code and not done(place)}
        if failed or None not in codes:
            return failed
        if end is not None and time.monotonic() > end:
            late = [place for place, code in enumerate(codes) if code is None]
            raise WorkersFailed({}, f"rank(s) {late} did not end within {timeout:g} s")
        time.sleep(_POLL)


def _end(started: Sequence[subprocess.Popen], first: signal.Signals, grace: float) -> None:
    for number, wait in ((first, grace), (signal.SIGKILL, 5.0)):
        running = [process for process in started if process.poll() is None]
        for process in running:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
        end = time.monotonic() + wait
        while time.monotonic() < end and any(process.poll() is None for process in running):
            time.sleep(_POLL)


def told_endings(codes: Mapping[int, int], count: int) -> str:
    """Which ranks ended how, in words."""
    return "; ".join(_how(place, code, count) for place, code in codes.items())


def _how(place: int, code: int, count: int) -> str:
    if code > 0:
        return f"rank {place} of {count} ended with exit code {code}"
    name = signal.Signals(-code).name
    memory = " (the system may have run out of memory)" if name == "SIGKILL" else ""
    return f"rank {place} of {count} was ended by {name}{memory}"

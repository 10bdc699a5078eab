"""Several processes on this machine: started, watched and ended together. Imports no torch.

Lightning can start processes itself, but then every child repeats the command line: in a sweep each child would draw
hyperparameters of its own, and a failing job would take the sweep with it. Here the children are told what to do, and
Lightning finds itself in processes that exist already, as under torchrun.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from aa_lightning.system.signals import Stopped

FAILURE_GRACE = 3.0  # seconds that the other ranks get to end, once one has failed: they may be stuck waiting for it
INTERRUPT_GRACE = 60.0  # seconds to write a checkpoint after Ctrl-C or SIGTERM
_POLL = 0.05
_PARENT = "AA_LIGHTNING_PARENT"  # in the environment of a process that was started here: who started it
_PR_SET_PDEATHSIG = 1  # of Linux: the signal that this process gets when its parent ends


class WorkersFailed(RuntimeError):
    """Ranks that ended with an error of their own, not those that were ended because of it.

    Attributes:
        codes: rank → exit code; minus the signal's number where a signal ended it.
    """

    def __init__(self, codes: dict[int, int], reason: str):
        super().__init__(reason)
        self.codes = codes


def is_worker() -> bool:
    """Tell whether torchrun, Slurm or `run_workers` started this process as one rank of several."""
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
        ranks = _rank_environments(count)
        started.extend(_start(command, {**os.environ, **(env or {}), **own}, cwd) for own in ranks)  # one by one
        codes = _watch(started, timeout, done)
    except (KeyboardInterrupt, Stopped) as stop:
        print("\nstopping; Ctrl-C again ends at once", file=sys.stderr, flush=True)
        _end(started, stop.number if isinstance(stop, Stopped) else signal.SIGINT, INTERRUPT_GRACE)
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


def run_alone(command: Sequence[str], env: Mapping[str, str]) -> int:
    """Run a command in a process group of its own, which ends with this call, and wait for it.

    Returns:
        Its exit code.
    """
    process = _start(command, env, None)
    try:
        return process.wait()
    finally:
        _end([process], signal.SIGTERM, FAILURE_GRACE)


def end_with_parent() -> None:
    """End this process once the one that started it is gone, even if that was killed: at once on Linux, else soon."""
    parent = int(os.environ.pop(_PARENT, os.getppid()))
    die_with(parent)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def die_with(parent: int) -> None:
    """Have the system end this process when the thread that started it ends, which only Linux does; one that comes too late
    for that ends here."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def held_memory() -> int:
    """The bytes of this process that RLIMIT_DATA counts, on Linux."""
    import resource

    with open("/proc/self/statm", "rb", buffering=0) as sizes:  # in pages, of which the sixth number is it
        return int(sizes.read().split()[5]) * resource.getpagesize()


def cores() -> int:
    """The processor cores that this process may use; on systems that do not tell, all that there are."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


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
    return subprocess.Popen(list(command), env={**env, _PARENT: str(os.getpid())}, cwd=cwd, process_group=0)


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
                # data workers are needed until a rank has written its checkpoint
                (os.killpg if number == signal.SIGKILL else os.kill)(process.pid, number)
        end = time.monotonic() + wait
        while time.monotonic() < end and any(process.poll() is None for process in running):
            time.sleep(_POLL)


def told_endings(codes: Mapping[int, int], count: int) -> str:
    """Describe how each rank ended."""
    return "; ".join(_how(place, code, count) for place, code in codes.items())


def _how(place: int, code: int, count: int) -> str:
    if code > 0:
        return f"rank {place} of {count} ended with exit code {code}"
    name = signal.Signals(-code).name
    memory = " (the system may have run out of memory)" if name == "SIGKILL" else ""
    return f"rank {place} of {count} was ended by {name}{memory}"

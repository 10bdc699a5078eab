"""Where numbers were measured, and how they are written down."""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

import torch

RESULTS = Path(__file__).parent / "results"
_LIBRARIES = ("torch", "transformers", "trl")


def arguments(description: str) -> argparse.ArgumentParser:
    """The options that every benchmark has."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=7)
    return parser


def seconds(work: Callable[[], object], device: str) -> float:
    """Duration of one call: processor time where one thread of the CPU does it all, so that other jobs do not count."""
    clock = time.process_time if device == "cpu" and torch.get_num_threads() == 1 else time.perf_counter
    _wait(device)
    start = clock()
    work()
    _wait(device)
    return clock() - start


def alternated(contenders: Sequence[Callable[[], object]], repeats: int, device: str) -> list[list[float]]:
    """Durations of each, in turn (A B A B …), so that a slow spell hits all; a first round does not count."""
    for contender in contenders:
        contender()
    rounds = [[seconds(contender, device) for contender in contenders] for _ in range(repeats)]
    return [list(times) for times in zip(*rounds, strict=True)]


def median_ratio(slow: Sequence[float], fast: Sequence[float]) -> float:
    """The median over rounds of slow / fast."""
    return statistics.median(a / b for a, b in zip(slow, fast, strict=True))


def described(device: str) -> str:
    """Device, threads, versions and command of this run, as lines of Markdown."""
    name = torch.cuda.get_device_name() if device == "cuda" else f"{_processor()}, {torch.get_num_threads()} thread(s)"
    versions = ", ".join(f"{library} {version(library)}" for library in _LIBRARIES)
    command = " ".join(["python -m", _module(), *sys.argv[1:]])
    return f"* device: {name}\n* versions: Python {platform.python_version()}, {versions}\n* command: `{command}`\n"


def write(name: str, device: str, content: str) -> None:
    """Print a result and keep it under benchmarks/results/."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}_{device}.md"
    path.write_text(content)
    print(f"{content}\nwritten to {path.relative_to(Path.cwd())}")


def peak_memory(device: str) -> int:
    """Bytes that this process held at most."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    status = Path("/proc/self/status").read_text()  # not ru_maxrss, which starts at the parent's
    return 1024 * next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))


def memory_apart(module: str, *arguments: str) -> float:
    """MiB that `python -m <module> --memory …` prints last: what a contender takes, in a process of its own."""
    returned = {"MALLOC_MMAP_THRESHOLD_": str(2**16)}  # freed tensors go back to the system: the peak is what is alive
    command = [sys.executable, "-m", module, "--memory", *arguments]
    answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env={**os.environ, **returned})
    return float(answer.stdout.strip().splitlines()[-1])


def memory_in_use(device: str) -> int:
    """Bytes that this process holds."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def _module() -> str:
    return "benchmarks" if sys.argv[0].endswith("__main__.py") else f"benchmarks.{Path(sys.argv[0]).stem}"


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    names = [line for line in info.read_text().splitlines() if "model name" in line] if info.is_file() else []
    return names[0].split(":", 1)[1].strip() if names else platform.processor()

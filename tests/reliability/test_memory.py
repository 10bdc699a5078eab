"""A long run holds no more at its end than after its first steps: memory, open files, threads, data workers."""

from __future__ import annotations

import contextlib
import json
import statistics
import subprocess
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
import pytest

from tests.reliability.killing import rows_of
from tests.reliability.support import TRAIN, UNMEASURED, start

MB = 1e6
WARM = 0.1  # share of the steps that caches, pools and the allocator have to fill up
SLOPE = 2.0  # MB for each thousand steps
RUN = [*UNMEASURED, "modality=t2t", "algo=dpo", "data.train.size=64", "data.val.size=8", "loader.batch_size=2"]


@dataclass
class Held:
    """What a run and its data workers hold after some steps."""

    step: int
    memory: float  # MB that are theirs alone
    handles: int
    threads: int
    processes: int


def watched(folder: Path, steps: int, workers: int) -> list[Held]:
    """What a run holds, looked at from outside twice a second, from its first row of metrics to its last step."""
    own = [f"trainer.max_steps={steps}", f"trainer.val_check_interval={steps // 20}", f"loader.workers={workers}"]
    process = start(TRAIN, *RUN, *own, f"checkpoint.every_n_steps={steps // 20}", f"hydra.run.dir={folder}")
    found: list[Held] = []
    while process.poll() is None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.5)
        rows = rows_of(folder)
        with contextlib.suppress(psutil.Error):
            if rows and int(rows[-1]["step"]) < steps - 5:
                found.append(held(process.pid, int(rows[-1]["step"])))
    assert process.returncode == 0, process.communicate()[1]
    assert len(found) > 20, "the run ended before it could be watched"
    return found


def held(pid: int, step: int) -> Held:
    root = psutil.Process(pid)
    every = [root, *root.children(recursive=True)]
    return Held(
        step,
        sum(one.memory_full_info().uss for one in every) / MB,
        sum(one.num_fds() for one in every),
        sum(one.num_threads() for one in every),
        len(every),
    )


def slope(found: list[Held]) -> float:
    """MB for each thousand steps, by least squares."""
    return 1000 * statistics.linear_regression([one.step for one in found], [one.memory for one in found]).slope


def check_steady(found: list[Held], steps: int) -> None:
    late = [one for one in found if one.step > WARM * steps]
    third = len(late) // 3
    assert slope(late) < SLOPE, [(one.step, one.memory) for one in late[:: len(late) // 20 or 1]]
    for name in ("handles", "threads", "processes"):
        first, last = (statistics.median(getattr(one, name) for one in part) for part in (late[:third], late[-third:]))
        assert first == last, (name, first, last)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_ten_thousand_steps_hold_no_more_than_one_thousand(tmp_path, workers):
    began, found = time.monotonic(), watched(tmp_path / "run", 10_000, workers)
    late = [one for one in found if one.step > WARM * 10_000]
    print(json.dumps({"workers": workers, "seconds": round(time.monotonic() - began), "slope": slope(late)}))
    print(json.dumps([asdict(one) for one in (late[0], late[len(late) // 2], late[-1])]))
    check_steady(found, 10_000)
